"""Build the models of the hard cases, and what each is judged by.

    python benchmarks/gauntlet_models.py SCRIPTS FOLDER [NAME ...]     writes FOLDER/NAME/

SCRIPTS is a folder of scripts that write models: `python SCRIPT OUT NAME ...`. Each function of one parameter `d` is a
case. `ARGS` of a script holds the overrides that a case needs. A script may leave out the inputs and the expected
outputs of a case. They are then taken from its calibration samples and from the model, which TensorFlow runs here.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

INPUTS, EXPECTED, LABELLED, REFERENCE = "inputs.npz", "expected_all.npz", "test.npz", "reference.npz"
# What a file takes whose text was cut off: the ids of the words.
TOKENS = "token_ids.npy"
SETTINGS = "case.json"
_SAMPLES = 8
# A case of text comes without samples.
_SENTENCES = ("the quick brown fox", "jumps over the lazy dog", "a lazy fox", "the dog jumps over the quick fox")
# The architecture that a file of weights alone needs: the fix asks for this module.
_ARCHITECTURE = """import keras


def build():
    return keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3)])
"""


def cases(scripts: Path) -> dict[str, tuple[Path, list[str]]]:
    """Return the script and the overrides of each case by its name. No script is imported."""
    found: dict[str, tuple[Path, list[str]]] = {}
    for script in sorted(scripts.glob("*.py")):
        body = ast.parse(script.read_text(encoding="utf-8")).body
        overrides: dict[str, list[str]] = {}
        for node in body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["ARGS"]:
                overrides = ast.literal_eval(node.value)
        for node in body:
            if isinstance(node, ast.FunctionDef) and [one.arg for one in node.args.args] == ["d"]:
                found[node.name] = (script, list(overrides.get(node.name, ())))
    return found


def _run(script: Path, *arguments: object) -> None:
    subprocess.run([sys.executable, str(script), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def build(scripts: Path, folder: Path, names: Sequence[str], run: Callable[..., None] = _run) -> None:
    """Write the models that are missing in the folder, by one process for each script and one for the references.

    run: starts such a process, with the script and its arguments.
    """
    known = cases(scripts)
    missing = [name for name in names if not (folder / name / SETTINGS).exists()]
    for script in sorted({known[name][0] for name in missing}):
        own = [name for name in missing if known[name][0] == script]
        run(script, folder, *own)
    for name in missing:
        if (folder / name / "only.weights.h5").exists():
            (folder / name / "my_model.py").write_text(_ARCHITECTURE, encoding="utf-8")
    if missing:
        run(Path(__file__).resolve(), "--references", folder, *missing)
    for name in missing:
        settings = json.dumps({"overrides": known[name][1]})
        (folder / name / SETTINGS).write_text(settings, encoding="utf-8")


def _write_reference(folder: Path) -> None:
    """Write the inputs and the outputs of a case that lacks them, and the accuracy of a labelled one."""
    if not (folder / INPUTS).exists():
        np.savez(folder / INPUTS, **_inputs(folder))
    if not (folder / "calibration.npz").exists():
        np.savez(folder / "calibration.npz", text=np.array(_SENTENCES * 4)[:, None])
        (layer,) = (one for one in _keras_model(folder).layers if type(one).__name__ == "TextVectorization")
        np.save(folder / TOKENS, np.asarray(layer(np.array(_SENTENCES)[:, None])))
    if not (folder / "expected.npy").exists():
        run, rows = _function(folder), np.load(folder / INPUTS)
        outputs: dict[str, Any] = {}
        for k in range(len(rows[rows.files[0]])):
            for name, value in run({key: rows[key][k : k + 1] for key in rows.files}).items():
                outputs[f"{k}/{name}"] = np.asarray(value)
        np.savez(folder / REFERENCE, **outputs)
    if (folder / LABELLED).exists():
        rows, run = np.load(folder / LABELLED), _function(folder)
        (name,) = (key for key in rows.files if key != "labels")
        classes = np.asarray(next(iter(run({name: rows[name]}).values()))).argmax(-1)
        (folder / "accuracy.json").write_text(json.dumps(float(np.mean(classes == rows["labels"]))))


def _inputs(folder: Path) -> dict[str, Any]:
    if not (folder / "calibration.npz").exists():
        return {"text": np.array(_SENTENCES)[:, None]}
    rows = np.load(folder / "calibration.npz")
    return {name: rows[name][:_SAMPLES] for name in rows.files}


def _function(folder: Path) -> Any:
    """Return the model as a function of tensors by input name, which returns outputs by name or position."""
    import tensorflow as tf

    if (folder / "saved_model").exists():
        loaded = tf.saved_model.load(str(folder / "saved_model"))

        def run(x: Mapping[str, Any]) -> Mapping[str, Any]:
            rows = {key: tf.constant(value) for key, value in x.items()}
            # Of several signatures, the file has one: their outputs have names of their own.
            return {name: value for one in loaded.signatures.values() for name, value in one(**rows).items()}

        return run
    model = _keras_model(folder)
    names = [tensor.name.split(":")[0] for tensor in model.inputs]

    def call(x: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = {name: tf.constant(x[name]) for name in x}
        several = isinstance(getattr(model, "_inputs_struct", None), dict)
        fed = rows if several else [rows[name] for name in names] if len(names) > 1 else next(iter(rows.values()))
        y = model(fed, training=False)
        if isinstance(y, Mapping):
            return y
        return {str(k): one for k, one in enumerate(y if isinstance(y, list | tuple) else [y])}

    return call


def _keras_model(folder: Path) -> Any:
    """Load a model as its author would, who trusts the file: by Keras 3, else by tf_keras."""
    import keras
    import tf_keras

    scope: dict[str, Any] = {}
    for module in folder.glob("*.py"):
        exec(module.read_text(encoding="utf-8"), scope)
    if "build" in scope:
        model = scope["build"]()
        model.load_weights(folder / "only.weights.h5")
        return model
    (file,) = [*folder.glob("model.keras"), *folder.glob("model.h5")]
    own = {name: value for name, value in scope.items() if isinstance(value, type)}
    try:
        return keras.models.load_model(file, compile=False, safe_mode=False, custom_objects=own)
    except (ValueError, TypeError):
        return tf_keras.models.load_model(file, compile=False)


if __name__ == "__main__":
    if sys.argv[1] == "--references":
        for case in sys.argv[3:]:
            _write_reference(Path(sys.argv[2]) / case)
    else:
        build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(cases(Path(sys.argv[1]))))
