"""Code that runs one file, in Python, C++, Kotlin and Swift, with its own names, shapes, types and scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_recipes.targets.deploy.code_ports import Port
from tflite_recipes.targets.deploy.runtimes import FLEX, RUNTIME
from tflite_recipes.targets.deploy.template_text import comment, lines, literal, page

_FOLDER = "litert"
_C_TYPES = {
    "float32": "kTfLiteFloat32",
    "int8": "kTfLiteInt8",
    "uint8": "kTfLiteUInt8",
    "int16": "kTfLiteInt16",
    "int32": "kTfLiteInt32",
    "int64": "kTfLiteInt64",
    "bool": "kTfLiteBool",
}
# How a stored value goes into a ByteBuffer and comes out of it, and the bytes that it takes.
_KOTLIN = {
    "float32": ("putFloat({})", "getFloat()", 4),
    "int8": ("put(({}).toByte())", "get().toInt()", 1),
    "uint8": ("put(({}).toByte())", "get().toInt() and 0xFF", 1),
    "int16": ("putShort(({}).toShort())", "getShort().toInt()", 2),
    "int32": ("putInt({})", "getInt()", 4),
    "int64": ("putLong({})", "getLong()", 8),
    "bool": ("put((if ({}) 1 else 0).toByte())", "get() != 0.toByte()", 1),
}
_KOTLIN_ARRAYS = {"float32": "FloatArray", "int64": "LongArray", "bool": "BooleanArray"}
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-(2**31), 2**31 - 1)}
_SWIFT = {
    "float32": ("Float", "0"),
    "int8": ("Int8", "0"),
    "uint8": ("UInt8", "0"),
    "int16": ("Int16", "0"),
    "int32": ("Int32", "0"),
    "int64": ("Int64", "0"),
    "bool": ("Bool", "false"),
}


# State of the file that its source does not have: the C API resets it by a function of its experimental header.
_C_HEADERS = """
#if __has_include("tflite/c/c_api_experimental.h")
#include "tflite/c/c_api_experimental.h"
#else
#include "tensorflow/lite/c/c_api_experimental.h"
#endif
"""
_C_RESET = """  // The file keeps state between invokes, the model does not: reset it before each.
  Check(TfLiteInterpreterResetVariableTensors(interpreter), "TfLiteInterpreterResetVariableTensors");
"""
_KOTLIN_RESET = """    // The file keeps state between invokes, the model does not.
    interpreter.resetVariableTensors()
"""
_SWIFT_RESET = """    // The file keeps state between invokes, the model does not.
    try check(TfLiteInterpreterResetVariableTensors(interpreter), "resetting state")
"""


@dataclass(frozen=True)
class Model:
    """What the snippets are made of.

    labelled: the output that `labels` are of, "" for none. flex, custom: its select TF ops and its custom ops, by
    name. stateful, resets: whether the application keeps the file's state
    between invokes, or resets it before each. notes: what else a developer has to know.
    """

    name: str
    signature: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...] = ()
    labelled: str = ""
    stateful: bool = False
    resets: bool = False
    flex: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a size of an input is open."""
        return any(port.is_open for port in self.inputs)


def _notes(model: Model, start: str) -> str:
    return "".join(f"\n{start}{comment(note)}" for note in model.notes)


def python(model: Model) -> str:
    """For `ai-edge-litert` and numpy."""
    return page(
        f"{_FOLDER}/predict.py",
        model=comment(model.name),
        inputs=lines((comment(str(port)) for port in model.inputs), "    "),
        outputs=lines((comment(str(port)) for port in model.outputs), "    "),
        notes=_notes(model, "\n"),
        signature=literal(model.signature),
        stateful=str(model.stateful),
        labelled=literal(model.labelled) if model.labels else "None",
    )


def cpp(model: Model) -> str:
    """For the C API."""
    functions = [f"Create{name}" for name in _distinct(model.custom)]
    declared = lines(f"TfLiteOperator* {function}();" for function in functions)
    head = "\n// The application brings these: what TfLiteOperatorCreate gave, for the custom ops of these names.\n"
    named = [f"{literal(label)}," for label in model.labels]
    place = [port.name for port in model.outputs].index(model.labelled) if model.labels else -1
    return page(
        f"{_FOLDER}/predict.cc",
        model=comment(model.name),
        build=f"\n// Besides: {FLEX['c++']}." if model.flex else "",
        notes=_notes(model, "// "),
        custom_declarations=f"{head}{declared}\n" if functions else "",
        custom_registrations="".join(
            f"  TfLiteInterpreterOptionsAddOperator(options, {function}());\n" for function in functions
        ),
        inputs=lines(map(_c_port, model.inputs), "    "),
        outputs=lines(map(_c_port, model.outputs), "    "),
        open="true" if model.is_open else "false",
        headers=_C_HEADERS if model.resets else "",
        reset=_C_RESET if model.resets else "",
        labelled=str(place),
        labels=f"\n{lines(named, '    ')}\n" if named else "",
    )


def _distinct(names: Sequence[str]) -> list[str]:
    words = ["".join(letter for letter in name if letter.isalnum() and letter.isascii()) for name in names]
    return [word if words.count(word) == 1 else f"{word}{number}" for number, word in enumerate(words)]


def _c_port(port: Port) -> str:
    shape = ", ".join(map(str, port.sizes))
    return f"{{{literal(port.name)}, {_C_TYPES[port.dtype]}, {{{shape}}}, {port.scale!r}, {port.zero_point}}},"


def kotlin(model: Model) -> str:
    """For the Interpreter of LiteRT on Android."""
    shapes = [f"{p.identifier}Shape: IntArray = intArrayOf({_sizes(p)})," for p in model.inputs if p.is_open]
    resize = [
        f"    interpreter.resizeInput({number}, {port.identifier}Shape)\n"
        for number, port in enumerate(model.inputs)
        if port.is_open
    ]
    return page(
        f"{_FOLDER}/Predict.kt",
        model=comment(model.name),
        gradle=comment(FLEX["android"] if model.flex else RUNTIME["android"]),
        notes=_notes(model, "// "),
        docs=lines((comment(str(port)) for port in (*model.inputs, *model.outputs)), "   * "),
        results=lines((f"val {p.identifier}: {_kotlin_array(p)}," for p in model.outputs), "    "),
        parameters=lines([*(f"{p.identifier}: {_kotlin_array(p)}," for p in model.inputs), *shapes], "    "),
        resize="".join(resize),
        reset=_KOTLIN_RESET if model.resets else "",
        feeds=lines(_kotlin_feed(number, port) for number, port in enumerate(model.inputs)),
        takes=lines(
            f"    val {port.identifier}Bytes = bytes(interpreter.getOutputTensor({number}).numBytes())"
            for number, port in enumerate(model.outputs)
        ),
        fed=", ".join(f"{port.identifier}Bytes" for port in model.inputs),
        taken=", ".join(f"{number} to {port.identifier}Bytes" for number, port in enumerate(model.outputs)),
        reads=lines(map(_kotlin_read, model.outputs)),
        returned=", ".join(port.identifier for port in model.outputs),
        labels=_kotlin_labels(model),
    )


def _sizes(port: Port) -> str:
    return ", ".join(map(str, port.sizes))


def _kotlin_array(port: Port) -> str:
    return "FloatArray" if port.scale else _KOTLIN_ARRAYS.get(port.dtype, "IntArray")


def _kotlin_feed(number: int, port: Port) -> str:
    put, name = _KOTLIN[port.dtype][0], port.identifier
    low, high = _LIMITS.get(port.dtype, (0, 0))
    value = f"stored(value, {port.scale!r}, {port.zero_point}, {low}, {high})" if port.scale else "value"
    return (
        f"    val {name}Bytes = bytes(interpreter.getInputTensor({number}).numBytes())\n"
        f"    for (value in {name}) {name}Bytes.{put.format(value)}\n"
        f"    {name}Bytes.rewind()"
    )


def _kotlin_read(port: Port) -> str:
    _, get, width = _KOTLIN[port.dtype]
    name = port.identifier
    value = f"{name}Bytes.{get}"
    value = f"real({value}, {port.scale!r}, {port.zero_point})" if port.scale else value
    count = f"{name}Bytes.capacity() / {width}"
    return f"    {name}Bytes.rewind()\n    val {name} = {_kotlin_array(port)}({count}) {{ {value} }}"


def _kotlin_labels(model: Model) -> str:
    if not model.labels:
        return ""
    (port,) = (port for port in model.outputs if port.name == model.labelled)
    name, kind = port.identifier, _kotlin_array(port)
    return (
        f"\n  /** `labels`: the lines of labels.txt, {len(model.labels)} of them. */\n"
        f"  fun named({name}: {kind}, labels: List<String>) =\n"
        f"    labels.zip({name}.toList()).sortedByDescending {{ it.second }}\n"
    )


def swift(model: Model) -> str:
    """For the C API on iOS."""
    pods = f"{RUNTIME['ios']}; {FLEX['ios']}" if model.flex else RUNTIME["ios"]
    shapes = [f"{p.identifier}Shape: [Int32] = [{_sizes(p)}]" for p in model.inputs if p.is_open]
    parameters = [*(f"{p.identifier}: [{_swift_element(p)}]" for p in model.inputs), *shapes]
    return page(
        f"{_FOLDER}/Predict.swift",
        model=comment(model.name),
        pods=comment(pods),
        notes=_notes(model, "// "),
        results=lines((f"let {p.identifier}: [{_swift_element(p)}]" for p in model.outputs), "    "),
        docs=lines((comment(str(port)) for port in (*model.inputs, *model.outputs)), "  /// "),
        parameters=",\n".join(f"    {parameter}" for parameter in parameters),
        resize="".join(
            f"    try resize({number}, {port.identifier}Shape)\n"
            for number, port in enumerate(model.inputs)
            if port.is_open
        ),
        reset=_SWIFT_RESET if model.resets else "",
        feeds=lines(_swift_feed(number, port) for number, port in enumerate(model.inputs)),
        reads=lines(_swift_read(number, port) for number, port in enumerate(model.outputs)),
        returned=", ".join(f"{port.identifier}: {port.identifier}" for port in model.outputs),
        labels=_swift_labels(model),
    )


def _swift_element(port: Port) -> str:
    return "Float" if port.scale else _SWIFT[port.dtype][0]


def _swift_feed(number: int, port: Port) -> str:
    kind, name = _SWIFT[port.dtype][0], port.identifier
    if not port.scale:
        return f"    try feed({number}, {name})"
    values = f"{name}.map {{ stored($0, {port.scale!r}, {port.zero_point}) }}"
    return f"    let {name}Stored: [{kind}] = {values}\n    try feed({number}, {name}Stored)"


def _swift_read(number: int, port: Port) -> str:
    kind, zero = _SWIFT[port.dtype]
    name = port.identifier
    if not port.scale:
        return f"    let {name} = try read({number}, {kind}({zero}))"
    values = f"{name}Stored.map {{ real($0, {port.scale!r}, {port.zero_point}) }}"
    return f"    let {name}Stored = try read({number}, {kind}({zero}))\n    let {name}: [Float] = {values}"


def _swift_labels(model: Model) -> str:
    if not model.labels:
        return ""
    (port,) = (port for port in model.outputs if port.name == model.labelled)
    name, kind = port.identifier, _swift_element(port)
    return (
        f"\n  /// `labels`: the lines of labels.txt, {len(model.labels)} of them.\n"
        f"  static func named(_ {name}: [{kind}], _ labels: [String]) -> [(String, {kind})] {{\n"
        f"    zip(labels, {name}).map {{ ($0, $1) }}.sorted {{ $0.1 > $1.1 }}\n"
        "  }\n"
    )
