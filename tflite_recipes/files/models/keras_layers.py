"""Which objects in the config of a Keras model are Keras's own and harmless, and which are custom or hold code.

The config is walked as data. What is not on the lists of `allowed_names` is custom, or needs trust.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tflite_recipes.files.models import allowed_names
from tflite_recipes.files.models.custom_objects import NAMELESS
from tflite_recipes.files.models.protos import message_class


def walk(tree: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object in a config, in the order of the file, with the name of the layer it belongs to. JSON inside of
    texts counts: Keras 2 keeps composite tensors in that way."""
    stack: list[tuple[Any, str]] = [(tree, "")]
    while stack:
        node, owner = stack.pop()
        if isinstance(node, dict):
            class_name, config = node.get("class_name"), node.get("config")
            if isinstance(class_name, str) and isinstance(config, dict):
                name = config.get("name")
                owner = name if isinstance(name, str) and name else owner or class_name
            yield node, owner
        stack.extend((child, owner) for child in reversed(_children(node)))


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    # Whatever may be JSON, because a key can be written with escapes, as in "class\\u005fname".
    if isinstance(node, str) and node.lstrip()[:1] in ("{", "["):
        try:
            return [json.loads(node)]
        except (ValueError, RecursionError):
            return []  # Keras reads JSON only, too
    return node if isinstance(node, list) else []


def _last(name: Any) -> str:
    """The name without the package and the module before it, which some loaders cut off."""
    return name.rpartition(">")[2].rpartition(".")[2] if isinstance(name, str) else ""


def _named(node: dict[str, Any]) -> set[str]:
    """The names that a loader may take for the class of an object."""
    return {_last(node.get("class_name")), _last(node.get("registered_name"))} - {""}


def holds_code(node: dict[str, Any]) -> bool:
    """Loading this object would run code that stands in the file."""
    if _named(node) & {"Lambda", "__lambda__"}:
        return True
    # Subclasses of Lambda and wrappers of RNN cells, in Keras 2: `function_type`, `residual_fn_type`, …
    if any(isinstance(key, str) and key.endswith("_type") and node[key] == "lambda" for key in node):
        return True
    # A lambda outside of a Lambda layer, as both Kerases write it into HDF5: code, defaults, closure.
    value = node.get("value") if len(node) == 1 else None
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


# Packages whose classes and functions are found without being named, if they are on the lists.
_KERAS, _TFMOT = ("keras", "tf_keras"), "tensorflow_model_optimization"
# Packages that a Keras imports by itself where they are installed.
_MODEL_PACKAGES = ("keras_hub", "keras_cv", "keras_nlp")
_IMPORTED = (*_KERAS, _TFMOT, *_MODEL_PACKAGES, "tensorflow")
# Data that is neither a class nor a function.
_DATA = (
    *("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"),
    *("TensorShape", "CompositeTensor"),
)
_OP_LAYERS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer")


def _is_object(node: dict[str, Any]) -> bool:
    return "class_name" in node and "config" in node


def _is_known_class(name: str, module: Any) -> bool:
    """Whether a class is on the lists. Without a module, as in `.h5` files, only Keras itself is looked through."""
    top = module.partition(".")[0] if isinstance(module, str) else ""
    keras = module == "" or top in _KERAS
    return (keras and name in allowed_names.keras_classes()) or (
        (module == "" or top == _TFMOT) and name in allowed_names.tfmot_classes()
    )


def _is_known_function(name: Any, module: Any) -> bool:
    top = module.partition(".")[0] if isinstance(module, str) else ""
    return name in allowed_names.keras_functions() and top in ("", "builtins", "tensorflow", *_KERAS)


def custom_names(node: dict[str, Any]) -> tuple[str, ...]:
    """Return the names that the user has to give for this object; () if it is Keras's own, or no class or function.

    The name that it is registered under counts too: Keras 2 imports the module that the file names unless it is given.
    """
    class_name, registered, module = node.get("class_name"), node.get("registered_name"), node.get("module", "")
    if not _is_object(node) or not isinstance(class_name, str) or class_name.startswith("__") or class_name in _DATA:
        return ()
    name = node["config"] if class_name == "function" else class_name
    if not isinstance(name, str) or _last(class_name) in _OP_LAYERS or holds_code(node):
        return ()  # said by `reach`, and as code
    known = _is_known_function if class_name == "function" else _is_known_class
    short = name if name == NAMELESS else name.rpartition(">")[2]
    bare = registered.rpartition(">")[2] if isinstance(registered, str) and registered != NAMELESS else short
    if known(name, module) and (bare in (short, "function") or known(bare, module)):
        return ()
    if bare not in (short, "function"):
        return (name, bare)
    as_registered = class_name != "function" and isinstance(registered, str) and ">" in registered
    return (str(registered) if as_registered else name,)


def names_by_trust(node: dict[str, Any]) -> tuple[str, ...]:
    """Return the custom names of an object that a Keras finds by itself once the file is trusted; () for others.

    Each of them has a `reach`, so that trust is asked for.
    """
    top = str(node.get("module") or "").partition(".")[0]
    is_found = top in _IMPORTED or _is_feature_column(node)
    return custom_names(node) if is_found and reach(node) else ()


def package_of(node: dict[str, Any]) -> str:
    """Return the package of models that an object is from, "" if it is from none."""
    module = node.get("module")
    top = module.partition(".")[0] if isinstance(module, str) and _is_object(node) else ""
    return top if top in _MODEL_PACKAGES else ""


def _is_feature_column(node: dict[str, Any]) -> bool:
    module = node.get("module")
    top = module.partition(".")[0] if isinstance(module, str) else ""
    name = node.get("class_name")
    is_one = isinstance(name, str) and name in allowed_names.FEATURE_COLUMNS
    return is_one and _is_object(node) and top in ("", "tensorflow", *_KERAS)


def reach(node: dict[str, Any]) -> str:
    """Return what loading this object would do beyond building a model; "" for nothing.

    What is allowed is on the lists; the names are those that the loader looks up.
    """
    vocabulary = node.get("vocabulary")
    if isinstance(vocabulary, str) and vocabulary:
        return f"reads the file {vocabulary}"
    if "class_name" not in node:
        return ""
    class_name, config = node["class_name"], node.get("config")
    if not isinstance(class_name, str):
        return "names a class that is not a text"
    if class_name == "TypeSpec":
        spec = str(node.get("type_spec"))
        return "" if spec.removeprefix("tf.") in allowed_names.TYPE_SPECS else f"builds the type {spec}"
    if class_name == "__typespec__":
        return _type_spec(node)
    if class_name == "function" and "config" in node and not isinstance(config, str):
        return "names a function that is not a text"
    ops = [name for name in _named(node) if name in _OP_LAYERS]
    if ops and "config" in node:
        return next(filter(None, (_op_layer(name, config) for name in ops)), "")
    if class_name.startswith("__") and class_name.endswith("__") and class_name not in _DATA:
        return "" if holds_code(node) else f"builds {class_name}"
    module = node.get("module")
    if not custom_names(node):
        return ""
    if _is_feature_column(node):
        return f"uses the feature column {class_name}"
    if not isinstance(module, str):
        return ""
    if module.partition(".")[0] in _IMPORTED:
        return f"uses {module}.{config if class_name == 'function' else class_name}"
    # Keras 2 does not look among the user's classes then, but imports the module.
    unregistered = node.get("registered_name", "") is None and class_name != "function"
    return f"imports the module {module}" if unregistered else ""


def _type_spec(node: dict[str, Any]) -> str:
    spec, module, registered = node.get("spec_name"), node.get("module"), node.get("registered_name")
    top = module.partition(".")[0] if isinstance(module, str) else ""
    registered_as = registered.rpartition(">")[2] if isinstance(registered, str) else spec
    if spec in allowed_names.TYPE_SPECS and top == "tensorflow" and registered_as == spec:
        return ""
    return f"imports {module}.{spec}"


def _op_layer(kind: str, config: Any) -> str:
    """What one of the layers does by which Keras 2 calls functions, methods and ops of TensorFlow."""
    config = config if isinstance(config, dict) else {}
    function, attribute, symbol = config.get("function"), config.get("attr_name"), config.get("cls_symbol")
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        known = isinstance(function, str) and function in allowed_names.tensorflow_functions()
        return "" if known else f"calls the TensorFlow function {function}"
    if kind == "ClassMethod":
        method = config.get("method_name")
        known = symbol == "RaggedTensor" and isinstance(method, str) and method in allowed_names.RAGGED_METHODS
        return "" if known else f"calls the method {symbol}.{method}"
    if kind in ("InstanceMethod", "InstanceProperty"):
        known = isinstance(attribute, str) and attribute in allowed_names.TENSOR_ATTRIBUTES
        return "" if known else f"uses the attribute {attribute}"
    op = _op_of(config.get("node_def"))
    return "" if op in allowed_names.tensorflow_ops() - {"PrintV2"} else f"runs the op {op}"


def _op_of(node_def: Any) -> str:
    """The op of a NodeDef, as a mapping or as the text of its bytes; "" if it cannot be read."""
    if isinstance(node_def, dict):
        return str(node_def.get("op", ""))
    if not isinstance(node_def, str):
        return ""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    node = message_class("tflite_recipes_node", {"Node": "string name 1, string op 2"}, "Node")()
    try:
        node.ParseFromString(node_def.encode())
    except (DecodeError, UnicodeError):
        return ""
    return str(node.op)


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
    kinds = {str(layer.get("class_name")) for layer in layers or () if isinstance(layer, dict)}
    return bool(kinds & set(_QUANTIZERS)) and kinds <= {"InputLayer", *_QUANTIZERS}
