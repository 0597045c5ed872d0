"""Ops of a model file that TensorFlow Lite Micro has no kernel for, as far as the file itself tells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.schemes import CALIBRATED, Scheme
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.files import models
from tflite_recipes.files.models.keras_layers import walk
from tflite_recipes.steps.source import KerasSource, TFLiteSource

# Layers and activations of Keras 3 whose conversion has an op without a kernel, whatever surrounds them: each was
# converted and seen to have it, which a test asks again. GELU and TILE are in an integer_only file too, while 3-D
# convolutions are rewritten before they are quantized.
ACTIVATIONS = {"gelu": "GELU"}
LAYERS = {"UpSampling3D": "TILE", "Conv3D": "CONV_3D", "Conv3DTranspose": "CONV_3D_TRANSPOSE"}
SURE_IN_INTEGERS = frozenset({"GELU", "TILE"})
_NAMED = 6


def op_problems(steps: Mapping[str, Any], custom: bool) -> Iterable[Problem]:
    """Ops of a `.tflite` source, and those that layers of a Keras file are sure to become.

    custom: the application registers custom ops, so they are no problem. What is to be rewritten before it is
    converted is not judged: the run itself tells.
    """
    source = steps.get("source")
    try:
        if isinstance(source, TFLiteSource):
            yield from _told(_of_tflite(Path(source.path), custom))
        elif isinstance(source, KerasSource) and "substitution" not in steps:
            scheme = getattr(steps.get("optimization"), "scheme", None)
            yield from _told(entry for entry in _of_keras(Path(source.path)) if _sure(entry[0], scheme))
    except RequestError:
        return  # said by the source


def _sure(op: str, scheme: Any) -> bool:
    """Whether nothing is rewritten, for want of an integer kernel, so that the file is without this op."""
    return scheme not in CALIBRATED or (scheme is Scheme.integer_only and op in SURE_IN_INTEGERS)


def _told(found: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """One problem an op, from (op, where it stands)."""
    places: dict[str, list[str]] = {}
    for op, place in found:
        places.setdefault(op, []).append(place)
    for op, all_ in places.items():
        more = f" and {len(all_) - _NAMED} more" if len(all_) > _NAMED else ""
        what = f"TensorFlow Lite Micro has no kernel for {op}, which is in {', '.join(all_[:_NAMED])}{more}"
        yield Problem(what, "target", "target=generic")


def _of_tflite(path: Path, custom: bool) -> Iterator[tuple[str, str]]:
    from tflite_recipes.files.tflite import read_tflite
    from tflite_recipes.targets.micro.kernels import has_kernel

    for graph in read_tflite(path).subgraphs:
        for op in graph.operators:
            if not has_kernel(op) and not (custom and op.is_custom):
                yield op.label, graph.tensors[op.outputs[0]].name if op.outputs else f"op {op.index}"


def _of_keras(path: Path) -> Iterator[tuple[str, str]]:
    if models.read_keras_file(path).generation != 3:
        return
    for node, owner in walk(json.loads(models.config_of(path))):
        kind, config = node.get("class_name"), node.get("config")
        if kind in LAYERS:
            yield LAYERS[kind], owner
        if (
            isinstance(config, dict)
            and config.get("activation") in ACTIVATIONS
            and node.get("module") == "keras.layers"
        ):
            yield ACTIVATIONS[config["activation"]], owner
