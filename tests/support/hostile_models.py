"""Model files whose loading would do something else than build a model. Each touches the file `canary` if it can."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np

Json = Any
MODULE = "class_of_a_stranger"


def input_layer() -> Json:
    config = {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "ragged": False, "name": "x"}
    return {"class_name": "InputLayer", "config": config, "name": "x", "inbound_nodes": []}


def dense(**config: Json) -> Json:
    settings = {"name": "d", "units": 2, "activation": "linear", "use_bias": True, **config}
    return {"class_name": "Dense", "config": settings, "name": "d", "inbound_nodes": [[["x", 0, 0, {}]]]}


def functional(*extra: Json, last: Json = None) -> Json:
    """A model of Keras 2 with one Dense layer, and layers that stand beside it."""
    layers = [input_layer(), *extra, last or dense()]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "trainable": True, "layers": layers, **ends}}


def op_layer(class_name: str, first: Json, kwargs: Json = None, **config: Json) -> Json:
    """A layer that calls something on a constant while the model is built."""
    settings = {"name": "w", "trainable": True, "dtype": "float32", **config}
    nodes = [["_CONSTANT_VALUE", -1, first, kwargs or {}]]
    return {"class_name": class_name, "config": settings, "name": "w", "inbound_nodes": nodes}


def write_file(canary: Path, class_name: str = "TFOpLambda", function: str = "io.write_file") -> Json:
    return op_layer(class_name, str(canary), {"contents": "x"}, function=function)


def type_spec(module: str = MODULE, spec: str = "Anything") -> Json:
    named = {"spec_name": spec, "module": module, "registered_name": "x"}
    return {"class_name": "__typespec__", "config": {"name": "q"}, **named}


def write_h5(path: Path, model: Json) -> Path:
    """Write an HDF5 model of Keras 2 with the weights of its Dense layer."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = b"2.15.0"
        file.attrs["backend"] = b"tensorflow"
        weights = file.create_group("model_weights")
        names = [layer["name"] for layer in model["config"]["layers"]]
        weights.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            own = [b"d/kernel:0", b"d/bias:0"] if name == "d" else []
            weights.create_group(name).attrs["weight_names"] = own
        weights["d/d/kernel:0"] = np.ones((4, 2), "float32")
        weights["d/d/bias:0"] = np.zeros(2, "float32")
    return path


def write_keras(path: Path, model: Json, version: str = "2.15.0") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", b"")
    return path


def write_module(folder: Path, canary: Path) -> Path:
    """Write the Python module that only a loader which imports what a file names would run."""
    path = folder / f"{MODULE}.py"
    path.write_text(
        f"open({str(canary)!r}, 'w').close()\n"
        "def relu(x): return x\n"
        "class Anything:\n"
        "    @classmethod\n    def from_config(cls, config): return cls()\n"
        "    @classmethod\n    def _deserialize(cls, *a): return cls()\n"
        "Dense = Scale = Anything\n"
    )
    return path


def inside_h5(path: Path, group: str) -> dict[str, Any]:
    """The datasets below a group of an HDF5 file."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file[group].visititems(lambda name, node: found.update({name: node.shape}) if hasattr(node, "shape") else None)
    return found
