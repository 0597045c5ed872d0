"""What firmware needs to run a file with TensorFlow Lite Micro: C++ sources that build as they are."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.files.tflite.io_contract import carries_state
from tflite_recipes.targets.deploy import cpp_text

if TYPE_CHECKING:  # which reads the format, and composing a recipe need not
    from tflite_recipes.files.tflite import TFLiteFile

_TEMPLATES = Path(__file__).resolve().parent / "templates" / "micro"
_ALIGNMENT = 16
# The custom op that Vela makes of all that the NPU computes.
ETHOS_U = "ethos-u"
_NO_FILES = "target.deploy=false"
_RESET = """  // The file keeps state between invokes, the model does not: reset it before each.
  if (interpreter.Reset() != kTfLiteOk) {
    return failed("the state cannot be reset");
  }
"""


@dataclass(frozen=True)
class Sample:
    """Real values of one invoke: what each input is fed, and what LiteRT without delegates gave for each output; arrays
    by name, of the tensor's number of values. `origin`: what they are, in words."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    origin: str = "a sample"


@dataclass(frozen=True)
class _Port:
    """An input or output. `word`: its name in identifiers; `index`: its place in the file; `scale` 0: not quantized."""

    side: str
    entry: Mapping[str, Any]
    word: str
    index: int

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def dtype(self) -> str:
        return str(self.entry["tflite"]["dtype"])

    @property
    def stored(self) -> str:
        return cpp_text.TYPES[self.dtype]

    @property
    def dims(self) -> list[int]:
        """Open sizes are 1: what the file stores for them, and all that the interpreter knows."""
        return [size or 1 for size in self.entry["tflite"]["shape"]]

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def scale(self) -> float:
        return float(self.entry["tflite"].get("scale") or 0.0) if self.dtype != "float32" else 0.0

    @property
    def zero_point(self) -> int:
        return int(self.entry["tflite"].get("zero_point") or 0)

    @property
    def real(self) -> str:
        """The type that `quantize_` takes and `dequantize_` gives."""
        return "float" if self.scale else self.stored

    @property
    def type(self) -> str:
        return f"{self.side.capitalize()}_{self.word}"


def files(
    data: bytes,
    contract: Mapping[str, Any],
    ops: Sequence[str],
    arena_bytes: int | None,
    name: str,
    *,
    order: Mapping[str, Sequence[str]] | None = None,
    resource_variables: int = 0,
    registered: Collection[str] = (),
    sample: Sample | None = None,
) -> dict[str, str]:
    """The texts by file name.

    data: the file; also one that Vela compiled, whose inputs and outputs are those of the file that it was made from.
    contract: as io_contract.json. ops: builtin names and custom codes. arena_bytes: the smallest arena that allocates,
    as measured on this machine; None: not known, and the build asks for it. order: the names of the main subgraph's
    `inputs` and `outputs` tensors where they are not in the contract's order. resource_variables: how many the model
    has. registered: custom ops whose kernels the firmware brings. Errors: StepError for an op that TensorFlow Lite
    Micro has not, and for a type, a size or a tensor that it cannot take.
    """
    ports = [port for side in ("inputs", "outputs") for port in _ports(side, contract, order)]
    namespace = f"model_{cpp_text.word(name)}"
    common = {"NAMESPACE": namespace, "NAME": cpp_text.quoted(name)}
    texts = {
        "model_data.h": {"SHA256": hashlib.sha256(data).hexdigest(), "BYTES": str(len(data))},
        "model_data.cc": {"ROWS": cpp_text.byte_rows(data)},
        "op_resolver.h": _resolver(ops, registered),
        "arena.h": _arena(arena_bytes),
        "quantization.h": {},
        "tensor_io.h": {"PORTS": "\n\n".join(_declared(port) for port in ports)},
        "sample_data.h": _sample_declared(ports, sample),
        "sample_data.cc": {"ARRAYS": "\n\n".join(_sample_arrays(ports, sample)) if sample else "// No sample."},
        "main.cc": {**_main(ports, resource_variables), "RESET": _RESET if _resets(contract) else ""},
        "Makefile": {},
        "README.txt": _readme(name, ops, registered, _resets(contract)),
    }
    return {file: _filled(file, {**common, **values}) for file, values in texts.items()}


def write(
    folder: Path,
    path: Path,
    contract: Mapping[str, Any],
    *,
    arena_bytes: int | None,
    name: str,
    registered: Collection[str] = (),
    sample: Sample | None = None,
) -> tuple[Path, ...]:
    """Write the sources for the file `path` into `folder`: ops, the order of inputs and outputs, and the resource
    variables are the file's own. Errors: StepError as of `files`, and where an NPU could not read the file in place."""
    from tflite_recipes.files.tflite import read_tflite

    file = read_tflite(path)
    graph = file.subgraphs[0]
    ops = list(dict.fromkeys(op.label for subgraph in file.subgraphs for op in subgraph.operators))
    if ETHOS_U in ops:
        check_alignment(file)
    texts = files(
        path.read_bytes(),
        contract,
        ops,
        arena_bytes,
        name,
        order={side: [graph.tensors[i].name for i in getattr(graph, side)] for side in ("inputs", "outputs")},
        resource_variables=sum(op.name == "VAR_HANDLE" for subgraph in file.subgraphs for op in subgraph.operators),
        registered=registered,
        sample=sample,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for each, text in texts.items():
        (folder / each).write_text(text, encoding="utf-8")
    return tuple(folder / each for each in texts)


def check_alignment(file: TFLiteFile) -> None:
    """The NPU reads its commands and weights where they lie in the array, which begins at a multiple of 16."""
    for tensor in file.subgraphs[0].tensors:
        if tensor.buffer_bytes and tensor.buffer_offset % _ALIGNMENT:
            what = (
                f"{tensor.name!r} lies at byte {tensor.buffer_offset}: the NPU needs it at a multiple of {_ALIGNMENT}"
            )
            raise StepError(Problem(what, "target", _NO_FILES))


def _filled(file: str, values: Mapping[str, str]) -> str:
    """The template with its `@NAME@`s replaced, each by what is given for it, in one go."""
    text = (_TEMPLATES / file).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z0-9]+)@", lambda found: values[found[1]], text)


def _ports(side: str, contract: Mapping[str, Any], order: Mapping[str, Sequence[str]] | None) -> Iterator[_Port]:
    entries = contract[side]
    for number, (entry, word) in enumerate(zip(entries, cpp_text.words(e["name"] for e in entries), strict=True)):
        where = f"{side.removesuffix('s')} {entry['name']}"
        if entry["tflite"]["dtype"] not in cpp_text.TYPES:
            what = f"firmware has no type for {entry['tflite']['dtype']} as an input or output"
            raise StepError(Problem(what, where, _NO_FILES))
        if None in entry["tflite"]["shape"][1:]:
            what = f"TensorFlow Lite Micro takes no open sizes besides the batch, and it has {entry['tflite']['shape']}"
            raise StepError(Problem(what, where, _NO_FILES))
        tensor = entry["tflite"]["tensor"]
        if order is not None and tensor not in order[side]:
            what = f"its tensor {tensor!r} is not among the {side} of the file's main graph: {', '.join(order[side])}"
            raise StepError(Problem(what, where, _NO_FILES))
        index = number if order is None else list(order[side]).index(tensor)
        yield _Port(side.removesuffix("s"), entry, word, index)


def _resolver(ops: Sequence[str], registered: Collection[str]) -> dict[str, str]:
    from tflite_recipes.targets.micro.kernels import ADD_METHODS, CUSTOM_ADD_METHODS

    known = ADD_METHODS | CUSTOM_ADD_METHODS
    if unknown := sorted({op for op in ops if op not in known and op not in registered}):
        what = f"TensorFlow Lite Micro has no kernel for {', '.join(unknown)}"
        raise StepError(Problem(what, "target", _NO_FILES))
    calls = sorted({f"{known[op]}()" for op in ops if op in known})
    own = sorted({op for op in ops if op not in known})
    makers = [f"Register_{word}" for word in cpp_text.words(own)]
    calls += [f"AddCustom({cpp_text.string(op)}, {maker}())" for op, maker in zip(own, makers, strict=True)]
    lines = [f"  if (resolver.{call} != kTfLiteOk) {{\n    return kTfLiteError;\n  }}" for call in calls]
    declared = [f"\n// The firmware's own kernel.\nTFLMRegistration* {maker}();" for maker in makers]
    return {
        "COUNT": str(max(1, len(calls))),
        "OPS": "\n".join(lines) or "  static_cast<void>(resolver);",
        "OWN": "".join(f"{text}\n" for text in declared),
    }


def _arena(measured: int | None) -> dict[str, str]:
    if measured is None:
        why = "// It was not measured for this model."
        size = (
            "#ifndef ARENA_BYTES\n"
            '#error "the arena was not measured: define ARENA_BYTES, and read at a first run what is used"\n'
            "#endif"
        )
        return {"WHY": why, "SIZE": size}
    reserved = -(-measured // _ALIGNMENT) * _ALIGNMENT
    why = (
        f"// {measured} bytes are the smallest arena that sufficed on a 64-bit host with the reference kernels; this\n"
        f"// is rounded up to a multiple of {_ALIGNMENT}, with no other reserve. A 32-bit board needs less for the\n"
        "// interpreter's records, its pointers being half as wide; optimized kernels (CMSIS-NN, ESP-NN) may need\n"
        "// buffers on top."
    )
    return {"WHY": why, "SIZE": f"#ifndef ARENA_BYTES\n#define ARENA_BYTES {reserved}\n#endif"}


def _declared(port: _Port) -> str:
    """The type of an input or output, and its helper."""
    dims = ", ".join(map(str, port.dims))
    prepared = port.entry.get("preprocessing") or {}
    lines = [f"// {port.side.capitalize()} {cpp_text.quoted(port.name)}: {port.dtype} [{dims}]"]
    if port.scale:
        lines[0] += ", real = kScale * (stored - kZeroPoint)"
    if prepared:
        lines.append("// Before it is quantized, the raw data has to go through what the calibration samples did:")
        lines += [f"//   {cpp_text.quoted(key)}: {cpp_text.quoted(value)}" for key, value in prepared.items()]
    lines += [
        f"struct {port.type} {{",
        f"  using Stored = {port.stored};",
        f"  static constexpr char kName[] = {cpp_text.string(port.name)};",
        f"  static constexpr std::size_t kIndex = {port.index};",
        f"  static constexpr std::array<int, {len(port.dims)}> kDims = {{{dims}}};",
        f"  static constexpr std::size_t kElements = {port.elements};",
        f"  static constexpr float kScale = {cpp_text.number(port.scale, 'float32')};",
        f"  static constexpr std::int32_t kZeroPoint = {cpp_text.number(port.zero_point, 'int32')};",
        "};",
        "",
        *_helper(port),
    ]
    return "\n".join(lines)


def _helper(port: _Port) -> list[str]:
    """`quantize_` of an input, `dequantize_` of an output."""
    if port.side == "input":
        head = f"inline {port.stored} quantize_{port.word}({port.real} value)"
        call = f"quantized<{port.stored}>(value, {port.type}::kScale, {port.type}::kZeroPoint)"
    else:
        head = f"inline {port.real} dequantize_{port.word}({port.stored} value)"
        call = f"dequantized<{port.stored}>(value, {port.type}::kScale, {port.type}::kZeroPoint)"
    return [f"{head} {{", f"  return {call if port.scale else 'value'};", "}"]


def _sample_names(port: _Port) -> tuple[str, str]:
    """Type and name of the array of an input's real values, or of an output's stored ones."""
    return (port.real, f"sample_{port.word}") if port.side == "input" else (port.stored, f"expected_{port.word}")


def _sample_declared(ports: Sequence[_Port], sample: Sample | None) -> dict[str, str]:
    named = [(port, *_sample_names(port)) for port in ports]
    absent = "\n".join(f"constexpr const {kind}* {array} = nullptr;" for _, kind, array in named)
    if sample is None:
        return {"WHAT": "No sample was at hand: main.cc runs on zeros.", "ABSENT": absent, "PRESENT": absent}
    present = "\n".join(f"extern const {kind} {array}[{port.type}::kElements];" for port, kind, array in named)
    what = f"Of {sample.origin}: each input's real values, and what LiteRT without delegates has each output store."
    return {"WHAT": what, "ABSENT": absent, "PRESENT": present}


def _sample_arrays(ports: Sequence[_Port], sample: Sample) -> Iterator[str]:
    """Definitions. Errors: StepError where a value is missing or too many."""
    import numpy as np

    for port in ports:
        kind, array = _sample_names(port)
        given = sample.inputs if port.side == "input" else sample.outputs
        values = np.asarray(given[port.name]).reshape(-1)
        if len(values) != port.elements:
            what = f"the sample has {len(values)} values, the tensor {port.elements}"
            raise StepError(Problem(what, f"{port.side} {port.name}", _NO_FILES))
        if port.side == "output" and port.scale:
            values = _stored(values, port)
        dtype = port.dtype if port.side == "output" or not port.scale else "float32"
        text = cpp_text.rows(values.astype(dtype).tolist(), dtype)
        yield f"const {kind} {array}[{port.type}::kElements] = {{\n{text}\n}};"


def _stored(real: Any, port: _Port) -> Any:
    """What an output stores of real values that came from it: whole steps, so there are no ties."""
    import numpy as np

    limits = np.iinfo(port.dtype)
    return np.clip(np.rint(real.astype("float64") / port.scale) + port.zero_point, limits.min, limits.max)


def _main(ports: Sequence[_Port], resource_variables: int) -> dict[str, str]:
    """What main.cc does for each tensor, and how the interpreter is made where the model has variables."""
    fill = [
        f"  ready = fill<model::{p.type}>(interpreter, model::quantize_{p.word}, model::sample_{p.word}) && ready;"
        if p.side == "input"
        else f"  ready = values<model::{p.type}>(interpreter.output(model::{p.type}::kIndex)) != nullptr && ready;"
        for p in ports
    ]
    show = [
        f"  same = show<model::{p.type}>(interpreter, model::dequantize_{p.word}, model::expected_{p.word}) && same;"
        for p in ports
        if p.side == "output"
    ]
    made = "  static tflite::MicroInterpreter interpreter(flatbuffer, resolver, arena, model::kArenaBytes);"
    includes = ""
    if resource_variables:
        made = (
            "  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, model::kArenaBytes);\n"
            "  tflite::MicroResourceVariables* variables =\n"
            f"      tflite::MicroResourceVariables::Create(allocator, {resource_variables});\n"
            "  static tflite::MicroInterpreter interpreter(flatbuffer, resolver, allocator, variables);"
        )
        headers = ("micro_allocator", "micro_resource_variable")
        includes = "".join(f'\n#include "tensorflow/lite/micro/{header}.h"' for header in headers)
    return {"FILL": "\n".join(fill), "SHOW": "\n".join(show), "INTERPRETER": made, "INCLUDES": includes}


def _resets(contract: Mapping[str, Any]) -> bool:
    """Return whether the file keeps state that its source does not."""
    return bool(contract.get("stateful")) and not carries_state(contract)


def _readme(name: str, ops: Sequence[str], registered: Collection[str], resets: bool) -> dict[str, str]:
    title = f"The model {cpp_text.quoted(name)} for TensorFlow Lite Micro"
    npu, notes = "", []
    if ETHOS_U in ops:
        npu = (
            "   With the Ethos-U's driver: CO_PROCESSOR=ethos_u ETHOSU_ARCH=u55 (u65, u85) beside it. The host has no\n"
            "   such NPU: there main.cc builds, and says that the kernel is missing.\n"
        )
        notes.append("The NPU reads the model and works in the arena: both have to lie in memory that it reaches.")
    if any(op in registered for op in ops):
        notes.append("Bring the kernels that op_resolver.h declares; here: make ... EXTRA_SOURCES=kernel.cc")
    if resets:
        notes.append(
            "The file keeps state between invokes, the model does not: call Reset() before each, as main.cc does."
        )
    numbered = "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 6))
    return {"RULE": "=" * len(title), "NPU": npu, "NOTES": numbered}
