"""Which inputs the config of a Keras model declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tflite_recipes.core.state import TensorSpec


def keras_inputs(model: dict[str, Any], generation: int) -> tuple[TensorSpec, ...] | None:
    """The declared inputs, in the model's own order; None where only Keras itself can tell."""
    config = model["config"]
    layers = _layers_of(config)
    if not layers:
        return None
    if isinstance(config, dict) and "input_layers" in config:
        by_name = {_name(layer): layer for layer in layers}
        specs = [_input_spec(by_name.get(name, {})) for name in _flat_names(config["input_layers"])]
    elif layers[0].get("class_name") == "InputLayer":
        specs = [_input_spec(layers[0])]
    elif model["class_name"] == "Sequential" and generation == 2:
        specs = [_first_layer_spec(config, layers)]
    else:
        # Keras 3 makes up a name when it builds the model, by how many others it has built before.
        return None
    found = tuple(spec for spec in specs if spec is not None)
    return found if found and len(found) == len(specs) else None


def _layers_of(config: Any) -> list[dict[str, Any]]:
    layers = config.get("layers") if isinstance(config, dict) else config  # early Keras 2: Sequential is a bare list
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return []
    return layers


def _name(layer: dict[str, Any]) -> str:
    config = layer.get("config")
    name = layer.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return name if isinstance(name, str) else ""


def _flat_names(structure: Any) -> list[str]:
    """Layer names of a nest of `[name, node, tensor]`, in Keras' order: dicts by key, whatever their own order."""
    names: list[str] = []
    stack = [structure]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(node[key] for key in sorted(node, reverse=True))
        elif isinstance(node, list) and len(node) >= 3 and isinstance(node[0], str):
            names.append(node[0])
        elif isinstance(node, list):
            stack.extend(reversed(node))
        else:
            names.append("")  # no layer has this name, so the inputs count as unknown
    return names


def _input_spec(layer: dict[str, Any]) -> TensorSpec | None:
    config = layer.get("config")
    if layer.get("class_name") != "InputLayer" or not isinstance(config, dict):
        return None
    return _spec(_name(layer), config.get("batch_shape", config.get("batch_input_shape")), config.get("dtype"))


def _first_layer_spec(config: Any, layers: Sequence[dict[str, Any]]) -> TensorSpec | None:
    """The input of a Sequential as Keras 2 derives it from its first layer, or from the shape it was built with."""
    name = f"{_name(layers[0])}_input"
    first: Any = layers[0].get("config")
    while inner := _layers_of(first):
        first = inner[0].get("config")
    if isinstance(first, dict) and "batch_input_shape" in first:
        return _spec(name, first["batch_input_shape"], first.get("dtype"))
    return _spec(name, config.get("build_input_shape"), None) if isinstance(config, dict) else None


def _spec(name: str, shape: Any, dtype: Any) -> TensorSpec | None:
    if not name or not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return None
    if isinstance(dtype, dict):
        policy = dtype.get("config")
        dtype = policy.get("name") if isinstance(policy, dict) else None
    # A mixed policy computes in another type than the one it takes; without a type Keras takes its default.
    known = isinstance(dtype, str) and not dtype.startswith("mixed_")
    return TensorSpec(name, tuple(shape), dtype if known else "float32")
