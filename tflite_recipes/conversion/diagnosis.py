"""What the converter's messages mean: the ops, where they came from, and the override that helps.

The converter speaks in MLIR locations: `loc(callsite(fused["MaxPool3D:", "model/pool/MaxPool3D@__inference…"] at …)):
'tf.MaxPool3D' op is neither a custom op nor a flex op`, and ends with lists, `TF Select ops: …` and `Custom ops: …`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tflite_recipes.conversion.converter_messages import in_words
from tflite_recipes.conversion.remedies import Finding, asked_together, override_of, problem_of
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.shapes import layer_of
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.targets import litert_ops

_LOCATION = re.compile(r'fused\["(\w+):", "([^"@]+)')
_NO_KERNEL = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_UNSUPPORTED_16X8 = re.compile(r"not yet supported for op: '(\w+)'")
_BY_16X8 = {
    "NEG": "integer_ops",
    "ZEROS_LIKE": "integer_ops",
    "SQUARED_DIFFERENCE": "integer_ops",
    "ELU": "integer_ops",
    "CONV_3D": "conv_3d",
    "WHILE": "unroll",
}
_WHERE = "optimization"
# The calibrator's runtime has no kernel for an op: with Flex it names that.
_CUSTOM = "Failed to initialize op resolver for calibration"
_LONGEST = 400
_OF_TYPES = re.compile(
    r"must be [^\n]*(values|type)[^\n]*but got|(element|data|tensor|input|output) ?types?\b|->type\b"
    r"|\btypes? [^\n]{0,40}(not|un)[ -]?supported|unsupported [^\n]{0,20}types?\b|\bdtypes?\b",
    re.IGNORECASE,
)
_OF_SHAPES = re.compile(
    r"static|\branked|\brank\b|\bshapes?\b|dimension|num_(input|output)_elements|\bsizes?\b", re.IGNORECASE
)
# LiteRT's kernels of GATHER, GATHER_ND and EMBEDDING_LOOKUP.
_OUT_OF_TABLE = re.compile(r"(gather|gather_nd|Embedding Lookup:) index out of bounds")
_LOOP_ALONE = "a loop over time needs a fixed batch and length"


@dataclass(frozen=True)
class Case:
    """What is known of a conversion that failed. inputs: the signature's; layers: the model's; sizes: shapes of the
    samples that the recipe names."""

    scheme: str
    inputs: tuple[TensorSpec, ...] = ()
    layers: Collection[str] = ()
    sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)


def diagnose(message: str, case: Case) -> Problem:
    """The problem behind a failed conversion, with one fix where one is known.

    A dynamic batch or size is behind many a message that names something else.
    """
    dynamic = open_sizes(case.inputs)
    if "TensorList" in message or "element_shape to be static" in message:
        return _list_problem(message, case, dynamic)
    if missing := _missing(message, case.layers):
        if dynamic and any(finding.op in litert_ops.OF_FIXED_SIZE for finding in missing):
            listed = "; ".join(
                str(replace(f, why="cannot be converted while an input's size is open")) for f in missing
            )
            what = f"{listed}: {', '.join(map(str, dynamic))}"
            return Problem(what, "source.input_shapes", *sizes_given(dynamic, case.sizes))
        return _without_kernel(message, missing, case)
    if refused := _UNSUPPORTED_16X8.findall(message):
        return _no_16x8(list(dict.fromkeys(refused)), case)
    if "IsPowerOfTwo" in message:
        what = "LiteRT transforms powers of two only (RFFT2D)"
        return Problem(what, _WHERE, override_of("fourier"), (), ("fourier",))
    if "Select TensorFlow op" in message or _CUSTOM in message:
        needs = "the Flex delegate" if "Select TensorFlow op" in message else "custom ops"
        what = f"{case.scheme} is calibrated by running the model, and what needs {needs} cannot be run here"
        return Problem(what, _WHERE, "optimization=dynamic_range")
    if _OUT_OF_TABLE.search(message):
        what = "the calibration samples hold numbers beyond the table that the model looks them up in"
        return Problem(what, "calibration", "", ("give samples whose numbers are rows of the table",))
    return _other(message, case)


def _list_problem(message: str, case: Case, dynamic: Sequence[TensorSpec]) -> Problem:
    found = _LOCATION.search(message)
    layer = layer_of(found[2], case.layers) if found else ""
    what = f"{_LOOP_ALONE}{f' ({found[1]} in {layer or found[2]})' if found else ''}"
    remedies = ("unroll", "fixed_batch")
    if dynamic:
        return Problem(what, _WHERE, *sizes_given(dynamic, case.sizes), remedies)
    ors = (override_of("fixed_batch", case.inputs), override_of("select_tf_ops"))
    return Problem(what, _WHERE, override_of("unroll"), ors, (*remedies, "select_tf_ops"))


def _missing(message: str, layers: Collection[str]) -> list[Finding]:
    """The ops without a kernel, each with the layer it came from."""
    found: list[Finding] = []
    for line in message.splitlines():
        if named := _NO_KERNEL.search(line):
            place = _LOCATION.search(line)
            layer = layer_of(place[2], layers) if place else ""
            found.append(Finding(named[1], layer, "LiteRT has no kernel", litert_ops.REMEDIES.get(named[1], ())))
    return list(dict.fromkeys(found))


def _listed(message: str, title: str) -> list[str]:
    lines = [line.partition(title)[2] for line in message.splitlines() if line.strip().startswith(title)]
    return [name.removeprefix("tf.").strip() for line in lines for name in line.split(",")]


def _without_kernel(message: str, missing: list[Finding], case: Case) -> Problem:
    """Substitutions where there are some for all; else TensorFlow's kernels, and custom ops for what they lack too."""
    flex, custom = _listed(message, "TF Select ops: "), _listed(message, "Custom ops: ")
    beyond = [*(["select_tf_ops"] if flex else []), *(["allow_custom_ops"] if custom else [])]
    problem = problem_of(missing, _WHERE, case.inputs)
    names = tuple(dict.fromkeys([*(name for finding in missing for name in finding.remedies), *beyond]))
    everything = asked_together(beyond, case.inputs)
    if any(finding.op in litert_ops.TEXT for finding in missing):
        cut = "substitution=rules 'substitution.rules=[token_ids]'"
        ors = (everything,) if everything else ()
        return replace(problem, fix=cut, alternatives=ors, remedies=names)
    if problem.fix:
        return replace(problem, alternatives=(*problem.alternatives, everything) if beyond else (), remedies=names)
    if not flex and any(finding.op in litert_ops.FLOAT_ONLY for finding in missing):
        return replace(problem, fix=override_of("float32"), remedies=("float32", *names))
    return replace(problem, fix=everything, remedies=names)


def _no_16x8(ops: Sequence[str], case: Case) -> Problem:
    what = f"the converter cannot quantize {', '.join(ops)} to 16x8"
    rules = dict.fromkeys(_BY_16X8[op] for op in ops if op in _BY_16X8)
    other = "optimization=full_integer"
    return Problem(
        what,
        _WHERE,
        "optimization.quantizer=litert_quantizer",
        (other,),
        (*rules, "litert_quantizer", "full_integer"),
    )


def _other(message: str, case: Case) -> Problem:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = next((line for line in lines if "error:" in line or _LOCATION.search(line)), lines[0] if lines else "")
    found = _LOCATION.search(telling)
    reason = telling.rpartition("): ")[2] if found else telling.partition("error:")[2] or telling
    found = found or _LOCATION.search(message)
    place = f" ({found[1]} in {layer_of(found[2], case.layers) or found[2]})" if found else ""
    what = f"the converter refused: {in_words(reason.strip())[:_LONGEST]}{place}"
    if "Max and min for dynamic tensors should be recorded" in message:
        what += "; its calibrator cannot follow an input of integers in this scheme"
        remedies = ("litert_quantizer", "full_integer")
        return Problem(what, _WHERE, override_of(remedies[0]), (override_of(remedies[1]),), remedies)
    float_io = "optimization.input_type=float32 optimization.output_type=float32"
    fix = f"optimization=full_integer {float_io}" if case.scheme in ("integer_only", "int16x8") else ""
    of_batch = () if is_about_types(message) else ("fixed_batch",)
    return Problem(what, _WHERE, fix, (), (*of_batch, *(("full_integer",) if fix else ())))


def is_about_types(message: str) -> bool:
    """Whether a message of the converter or the runtime is about types, so that another batch changes nothing.

    The converter's shape constraints have the form of its type constraints: `must be statically shaped tensor of …`.
    """
    return _OF_TYPES.search(message) is not None and _OF_SHAPES.search(message) is None


def open_sizes(inputs: Iterable[TensorSpec]) -> list[TensorSpec]:
    """The inputs with a dynamic dimension besides the batch."""
    return [spec for spec in inputs if None in spec.shape[1:]]


def sizes_given(dynamic: Iterable[TensorSpec], sizes: Mapping[str, Sequence[int]]) -> tuple[str, tuple[str, ...]]:
    """The fix that gives open sizes, where the samples have them, and what to write where only the user knows them."""
    known = {
        spec.name: [spec.shape[0], *(a if a is not None else b for a, b in zip(spec.shape[1:], given[1:], strict=True))]
        for spec in dynamic
        if len(given := sizes.get(spec.name, ())) == len(spec.shape)
    }
    unknown = [spec for spec in dynamic if spec.name not in known]
    if known and not unknown:
        return assignment("source.input_shapes", known), ()
    return "", tuple(f"give {spec.name} a shape: 'source.input_shapes={{{spec.name}: [1,…]}}'" for spec in unknown)
