"""Which layers in the config of a Keras model hold code, and which are custom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def walk(tree: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object in a config, in the order of the file, with the name of the layer it belongs to."""
    stack: list[tuple[Any, str]] = [(tree, "")]
    while stack:
        node, owner = stack.pop()
        if isinstance(node, dict):
            class_name, config = node.get("class_name"), node.get("config")
            if isinstance(class_name, str) and isinstance(config, dict):
                name = config.get("name")
                owner = name if isinstance(name, str) and name else owner or class_name
            yield node, owner
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, owner) for child in reversed(list(children)))


def holds_code(node: dict[str, Any]) -> bool:
    """Loading this object would run code that stands in the file."""
    class_name = node.get("class_name")
    # With a module beside it, Keras also takes a dotted name such as `layers.Lambda`.
    if isinstance(class_name, str) and class_name.rpartition(".")[2] in ("Lambda", "__lambda__"):
        return True
    if node.get("function_type") == "lambda":  # a subclass of Lambda, in Keras 2
        return True
    # A lambda outside of a Lambda layer, as both Kerases write it into HDF5: code, defaults, closure.
    value = node.get("value") if len(node) == 1 else None
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


# Packages whose classes are found without being named: Keras itself, and what it imports by itself where it is there.
_KNOWN = ("keras", "tf_keras", "tensorflow", "tensorflow_model_optimization", "keras_hub", "keras_cv", "keras_nlp")


def is_custom(node: dict[str, Any]) -> bool:
    """This object is of a class that Keras does not bring along."""
    class_name, module = node.get("class_name"), node.get("module")
    top = module.partition(".")[0] if isinstance(module, str) else ""
    if class_name == "function" and isinstance(node.get("config"), str):
        # By its name alone it may be one that Keras has.
        return module is not None and top != "builtins" and top not in _KNOWN
    if not isinstance(class_name, str) or class_name.startswith("__") or not isinstance(node.get("config"), dict):
        return False
    if "module" not in node:
        return ">" in class_name
    if top == "builtins":  # also where a class lands whose file was run without a module name
        return bool(node.get("registered_name"))
    return top not in _KNOWN


def custom_name(node: dict[str, Any]) -> str:
    """The name of a custom object's class, or of the function that it is."""
    return str(node["config"] if node["class_name"] == "function" else node["class_name"])


# What tensorflow-model-optimization wraps around layers. The first three hold ranges that were learned in training.
_QUANTIZERS = ("QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2")
_WRAPPERS = (*_QUANTIZERS, "QuantizeAnnotate", "PruneLowMagnitude", "ClusterWeights")


def wrappers_among(nodes: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The kinds of wrappers that tensorflow-model-optimization has put around layers of a model."""
    names = [node.get("class_name") for node in nodes if isinstance(node.get("config"), dict)]
    return tuple(wrapper for wrapper in _WRAPPERS if wrapper in names)


def carries_ranges(model: dict[str, Any]) -> bool:
    """Whether every layer was trained quantization-aware, so that the file has all ranges that int8 needs."""
    config = model["config"]
    layers = config.get("layers") if isinstance(config, dict) else None
    kinds = {layer.get("class_name") for layer in layers or () if isinstance(layer, dict)}
    return bool(kinds & set(_QUANTIZERS)) and kinds <= {"InputLayer", *_QUANTIZERS}
