"""What a file's metadata says of it, from what is known of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tflite_recipes.files.tflite import Tensor, TFLiteFile
from tflite_recipes.files.tflite.metadata_table import ColorSpace, Content, ModelMetadata, TensorMetadata
from tflite_recipes.targets.deploy.label_list import FILE

_COLORS = {"rgb": ColorSpace.rgb, "gray": ColorSpace.grayscale}
# What a pixel's channel holds before it is scaled.
_PIXELS = (0.0, 255.0)


def describe(
    file: TFLiteFile, contract: Mapping[str, Any], name: str, description: str, digest: str, labelled: str = ""
) -> ModelMetadata:
    """The metadata of a file whose I/O contract is `contract`; tensors in the order of the file's main graph.

    labelled: the output that the labels are of. The standard has no field for a recipe's digest, so the description
    ends with it.
    """
    graph = file.subgraphs[0]
    known = {entry["tflite"]["tensor"]: entry for entry in (*contract["inputs"], *contract["outputs"])}
    inputs, outputs = (
        tuple(_tensor(graph.tensors[index], known.get(graph.tensors[index].name, {}), labelled) for index in side)
        for side in (graph.inputs, graph.outputs)
    )
    said = f"Made by tflite_recipes; recipe digest {digest}." if digest else "Made by tflite_recipes."
    return ModelMetadata(name, " ".join(filter(None, (description.strip(), said))), inputs, outputs)


def _tensor(tensor: Tensor, entry: Mapping[str, Any], labelled: str) -> TensorMetadata:
    done = entry.get("preprocessing", {})
    name = entry.get("name") or tensor.name
    mean, std = normalization(done)
    content = Content.image if "size" in done else Content.audio if "sample_rate" in done else Content.features
    image, audio = content is Content.image, content is Content.audio
    low, high = ([(pixel - m) / s for m, s in _pairs(mean, std)] for pixel in _PIXELS) if image else ((), ())
    return TensorMetadata(
        name=name,
        description=" ".join(_sentences(tensor, done)),
        content=content,
        color_space=_COLORS.get(done["channels"], ColorSpace.unknown) if image else ColorSpace.unknown,
        size=(int(done["size"][1]), int(done["size"][0])) if image else None,
        sample_rate=int(done["sample_rate"]) if audio else 0,
        channels=int(done["channels"]) if audio else 0,
        mean=mean,
        std=std,
        minimum=tuple(map(min, zip(low, high, strict=True))),
        maximum=tuple(map(max, zip(low, high, strict=True))),
        labels=FILE if entry and name == labelled else "",
    )


def normalization(done: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the standard's (x - mean) / std, one a channel or one for all; x · scale + offset is the same
    with std 1 / scale and mean -offset / scale. Empty where the samples were not scaled, but for pictures, whose pixels
    are fed as they are."""
    if "mean" in done or "std" in done:
        return _numbers(done.get("mean", 0.0)), _numbers(done.get("std", 1.0))
    if "scale" in done or "offset" in done:
        pairs = _pairs(_numbers(done.get("offset", 0.0)), _numbers(done.get("scale", 1.0)))
        return tuple(-offset / scale if offset else 0.0 for offset, scale in pairs), tuple(1 / s for _, s in pairs)
    return ((0.0,), (1.0,)) if "size" in done else ((), ())


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, (list, tuple)) else (float(value),)


def _pairs(first: tuple[float, ...], second: tuple[float, ...]) -> list[tuple[float, float]]:
    """Channel by channel; one number is that of every channel."""
    count = max(len(first), len(second))
    both = (values * count if len(values) == 1 else values for values in (first, second))
    return list(zip(*both, strict=True))


def _sentences(tensor: Tensor, done: Mapping[str, Any]) -> Iterable[str]:
    """Type and shape; then what has to be done to raw data, in words, whether or not a field says it too."""
    sizes = " x ".join("any" if size is None else str(size) for size in tensor.shape)
    scale = f", scale {tensor.scales[0]:.9g}, zero point {(*tensor.zero_points, 0)[0]}" if tensor.scales else ""
    yield f"{tensor.dtype} of {sizes or 'one number'}{scale}."
    if steps := list(preprocessing_words(done)):
        yield f"To be fed: {'; '.join(steps)}."


def preprocessing_words(done: Mapping[str, Any]) -> Iterable[str]:
    """Each step of a preprocessing as samples record it, in words."""
    if "size" in done:
        height, width = done["size"]
        smooth = " with antialiasing" if done.get("antialias") else ""
        yield f"a picture resized to {width} x {height} pixels ({done['resize']}{smooth}, crop {done['crop']})"
        yield f"channels {done['channels']}"
    if "sample_rate" in done:
        yield f"sound of {done['sample_rate']} Hz, {done['channels']} channel(s), {done['frames']} frames"
        yield f"samples as {done['values']}"
    if "columns" in done:
        yield f"columns {', '.join(map(str, done['columns']))}"
    if "feature" in done:
        yield f"feature {done['feature']}"
    if "mean" in done or "std" in done:
        yield f"(x - {done.get('mean', 0.0)}) / {done.get('std', 1.0)}"
    elif "scale" in done or "offset" in done:
        yield f"x * {done.get('scale', 1.0)} + {done.get('offset', 0.0)}"
