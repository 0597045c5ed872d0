"""Which quantization schemes there are, and what each quantizer makes of them. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, unique

from tflite_recipes.core.state import CALIBRATED as CALIBRATED_NAMES


@unique
class Scheme(Enum):
    """Quantization schemes."""

    none = "float32 throughout"
    dynamic_range = "int8 weights, activations quantized as they come"
    dynamic_range_int4 = "int4 weights where an op takes them, activations quantized as they come"
    weight_only_int8 = "int8 weights, computed in float32"
    weight_only_int4 = "int4 weights where an op takes them, computed in float32"
    float16 = "float16 weights"
    full_integer = "int8 wherever an integer kernel exists, float elsewhere"
    integer_only = "int8 throughout, or the conversion fails"
    int16x8 = "int16 activations, int8 weights"
    int16x8_fallback = "int16 activations and int8 weights wherever a kernel exists, float elsewhere"


@unique
class IOType(Enum):
    """Types that a TFLite model's inputs and outputs can be given."""

    float32 = "float32"
    int8 = "int8"
    uint8 = "uint8"
    int16 = "int16"


class Quantizer(Enum):
    """What quantizes."""

    tflite_converter = "TensorFlow's converter, while it converts"
    litert_quantizer = "litert_quantizer, from the converted float file; takes more ops in 16x8"
    ai_edge_quantizer = litert_quantizer  # the package's name up to 0.10, in recipes of that time


@unique
class RuleScheme(Enum):
    """What a rule can make of an op."""

    float = "float32"
    float16 = "float16 weights"
    dynamic_range = "int8 weights, activations quantized as they come"
    dynamic_range_int4 = "int4 weights, activations quantized as they come"
    weight_only_int8 = "int8 weights, computed in float32"
    weight_only_int4 = "int4 weights, computed in float32"
    full_integer = "int8"
    int16x8 = "int16 activations, int8 weights"


CALIBRATED = tuple(Scheme[name] for name in CALIBRATED_NAMES)
WEIGHT_ONLY = (Scheme.weight_only_int8, Scheme.weight_only_int4)
# Only TensorFlow's converter calibrates these with its own kernels; all others it does not have.
_CONVERTERS = (Scheme.none, Scheme.dynamic_range, Scheme.float16, *CALIBRATED)
_FLOAT = (IOType.float32,)
# Both quantizers give these.
IO_TYPES = {
    **dict.fromkeys(Scheme, _FLOAT),
    Scheme.full_integer: (IOType.float32, IOType.int8, IOType.uint8),
    Scheme.integer_only: (IOType.int8, IOType.uint8, IOType.float32),
    Scheme.int16x8: (IOType.float32, IOType.int16),
    Scheme.int16x8_fallback: (IOType.float32, IOType.int16),
}
BLOCK_SIZES = (32, 64, 128, 256)
# Weights with a scale for each block along a row: what LiteRT computes rightly.
BLOCKWISE = (Scheme.dynamic_range_int4, *WEIGHT_ONLY)
# No op may compute in float: rules that leave one float contradict these.
STRICT = {Scheme.integer_only: Scheme.full_integer, Scheme.int16x8: Scheme.int16x8_fallback}
# Ending of the float file as it was before channels were evened out, beside the one that is quantized.
BEFORE_EQUALIZING = ".converted.tflite"


def takes(quantizer: Quantizer, scheme: Scheme) -> bool:
    """Whether a quantizer can make a scheme."""
    return quantizer is Quantizer.litert_quantizer or scheme in _CONVERTERS


def takes_per_tensor(quantizer: Quantizer, scheme: Scheme) -> bool:
    """Whether one scale for each weight tensor is to be had. litert_quantizer would write it for dynamic range too,
    which LiteRT's depthwise kernel computes wrongly."""
    return scheme in CALIBRATED or (quantizer is Quantizer.litert_quantizer and scheme in WEIGHT_ONLY)


def takes_per_tensor_dense(quantizer: Quantizer, scheme: Scheme) -> bool:
    """Whether Dense layers alone can have one scale for their weights."""
    return takes_per_tensor(quantizer, scheme)


def needs_samples(scheme: Scheme, rules: Iterable[RuleScheme] = ()) -> bool:
    """Whether ranges of activations have to be measured."""
    return scheme in CALIBRATED or any(rule in (RuleScheme.full_integer, RuleScheme.int16x8) for rule in rules)


def plainer(scheme: str) -> str:
    """Return the override for a scheme that rounds less than one, "" for float32: what helps where integers do not."""
    if scheme in ("", Scheme.none.name):
        return ""
    return f"optimization={(Scheme.dynamic_range if scheme in CALIBRATED_NAMES else Scheme.none).name}"


# What other tools and papers call the schemes.
_OTHER_NAMES: dict[Scheme, tuple[str, ...]] = {
    Scheme.none: ("float", "float32", "fp32", "f32", "off", "no"),
    Scheme.float16: ("fp16", "f16", "half"),
    Scheme.dynamic_range: ("dynamic", "drq", "dynamic_int8", "hybrid", "w8", "default"),
    Scheme.weight_only_int8: ("weight_only", "weights", "w8a32"),
    Scheme.weight_only_int4: ("int4", "i4", "w4", "w4a32", "weights_int4"),
    Scheme.dynamic_range_int4: ("w4a8", "dynamic_int4"),
    Scheme.integer_only: ("int8", "i8", "uint8", "w8a8", "8bit", "integer", "int", "int8_only", "full_int8"),
    Scheme.full_integer: ("int8_fallback", "integer_fallback"),
    Scheme.int16x8: ("16x8", "int16", "i16", "w8a16", "a16w8", "int16_int8"),
}


def by_other_name(name: str) -> str:
    """Return the scheme that is known elsewhere by this name; "" for other names."""
    plain = name.lower().replace("-", "_")
    return next((scheme.name for scheme, names in _OTHER_NAMES.items() if plain in names), "")
