"""What can be done for a model that does not convert as it is: each remedy, and the override that asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique

from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.state import TensorSpec


@unique
class Rule(Enum):
    """Substitutions in the model's graph, each by ops that every LiteRT runtime has."""

    float32 = "float16, bfloat16 and float64 computation rebuilt at float32"
    unroll = "loops of a known number of steps (recurrent layers, TensorArrays) written out step by step"
    erf = "erf as GELU where it is part of one, else as a quotient of polynomials"
    resize = "bicubic, area, Lanczos, Gaussian and antialiased resizing as products with two constant matrices"
    pooling_3d = "3-D pooling as 2-D pooling of each slice, then over the slices"
    conv_3d = "3-D convolution, which has no integer kernel, as a sum of 2-D ones"
    fourier = "Fourier transforms of any length (STFT, MFCC, DCT) as products with constant matrices"
    integer_ops = "negation, squares, ELU, bounds and splits read in part, by ops that integers can be had of"
    unstack = "unstacked parts that are joined along another axis, by a transpose"
    branches = "branches without effects as all results and a choice between them"
    dynamic_matmul = "bounded products of two computed matrices as a batch of one"
    l2_norm = "L2 normalization over other axes than the last, by ops that the converter leaves apart"
    no_dropout = "dropout that is on in inference, left out"
    logits = "a softmax or sigmoid at an output, left out"
    token_ids = "text vectorization cut off: the file takes token ids, the vocabulary is kept beside it"
    fused_lstm = "LSTM layers rebuilt at batch 1 so that the converter fuses each into one op, which keeps its state"


class Remedy(Enum):
    """What `conversion.fallback` may list; all that rules can, and more."""

    float32 = Rule.float32.value
    unroll = Rule.unroll.value
    fixed_batch = "the batch fixed at 1"
    erf = Rule.erf.value
    resize = Rule.resize.value
    pooling_3d = Rule.pooling_3d.value
    conv_3d = Rule.conv_3d.value
    fourier = Rule.fourier.value
    integer_ops = Rule.integer_ops.value
    unstack = Rule.unstack.value
    branches = Rule.branches.value
    dynamic_matmul = Rule.dynamic_matmul.value
    l2_norm = Rule.l2_norm.value
    no_dropout = Rule.no_dropout.value
    select_tf_ops = "TensorFlow's own kernels for the ops that LiteRT lacks (Flex)"
    allow_custom_ops = "custom ops, which the application registers"
    bound_masks = "attention masks bounded to what a softmax can tell apart, from the calibrated scores"
    full_integer = "float where there is no integer kernel"
    litert_quantizer = "quantized by litert_quantizer"
    ai_edge_quantizer = litert_quantizer  # the package's name up to 0.10, in recipes of that time


# None of the graph's: whether they help shows in the conversion.
BEYOND_THE_GRAPH = ("select_tf_ops", "allow_custom_ops", "full_integer", "litert_quantizer")
# Taken on the float file, whether the conversion would fail or not: without it integers lose accuracy.
ON_FLOAT_FILES = ("bound_masks",)
# How far a rule's outputs may be from those that they stand for, as a share of the range of the output.
TOLERANCES = {
    Rule.float32: 3e-2,  # what the lower precision had lost
    Rule.erf: 2e-3,  # in integers it is one of a tanh, which is nearer than eight bits are
}
TOLERANCE = 1e-4
# How far a float file may be from its source, where no rule with a wider tolerance was carried out.
FLOAT_LIMIT = 1e-2
# Against ops that the converter gives no error for and compiles wrongly.
AGAINST_FAULTS = ("unstack", "branches", "dynamic_matmul", "l2_norm")
# Rules that change what the outputs are, or that stand for something random: there is nothing to compare with.
NOT_COMPARED = frozenset({Rule.no_dropout, Rule.logits, Rule.token_ids})
# Carried out on the Keras model, before it is traced; all others on the graph.
ON_LAYERS = frozenset({Rule.token_ids, Rule.fused_lstm})


@dataclass(frozen=True)
class Finding:
    """An op that the conversion asked for cannot have as it is.

    layer: where it comes from. why: what is wrong with it. remedies: what would help, best first.
    """

    op: str
    layer: str
    why: str
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.op}{f' in {self.layer}' if self.layer else ''}: {self.why}"


def override_of(remedy: str, inputs: tuple[TensorSpec, ...] = ()) -> str:
    """What to paste to ask for a remedy by hand."""
    if remedy in Rule.__members__:
        return f"substitution=rules {assignment('substitution.rules', [remedy])}"
    if remedy == "fixed_batch":
        fixed = {spec.name: [1, *spec.shape[1:]] if spec.shape else [] for spec in inputs}
        return assignment("source.input_shapes", fixed) if fixed else "target.dynamic_batch=false"
    if remedy == "full_integer":
        return "optimization=full_integer"
    if remedy == "litert_quantizer":
        return "optimization.quantizer=litert_quantizer"
    if remedy in ON_FLOAT_FILES:
        return added_to_fallback(remedy, ())
    return f"conversion.{remedy}=true"


def added_to_fallback(remedy: str, fallback: Iterable[str]) -> str:
    """Return what to paste to have a remedy taken besides those that may be taken already."""
    return assignment("conversion.fallback", [*fallback, remedy])


def float_limit(rules: Iterable[str]) -> float:
    """Return how far a float file may be from its source once these rules were carried out."""
    return max([FLOAT_LIMIT, *(TOLERANCES[Rule[name]] for name in rules if Rule[name] in TOLERANCES)])


def asked_together(remedies: Iterable[str], inputs: tuple[TensorSpec, ...] = ()) -> str:
    """One line of overrides that asks for several remedies."""
    names = list(dict.fromkeys(remedies))
    rules = [name for name in names if name in Rule.__members__]
    lines = [f"substitution=rules {assignment('substitution.rules', rules)}"] if rules else []
    return " ".join([*lines, *(override_of(name, inputs) for name in names if name not in rules)])


def problem_of(findings: Iterable[Finding], where: str, inputs: tuple[TensorSpec, ...]) -> Problem:
    """Ops that cannot be converted, as one problem with what would help all of them."""
    listed = list(dict.fromkeys(findings))
    what = "; ".join(map(str, listed[:6])) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
    best = [found.remedies[0] for found in listed if found.remedies]
    others = [name for found in listed for name in found.remedies[1:]]
    fix = asked_together(best, inputs) if len(best) == len(listed) else ""
    ors = [override_of(name, inputs) for name in dict.fromkeys(others) if name not in best]
    return Problem(what, where, fix, tuple(ors))
