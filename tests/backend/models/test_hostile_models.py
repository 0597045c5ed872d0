"""Files that would do something else than build a model: nothing happens without trust, and with it they load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import hostile_models as hostile
from support import hostile_saved_models as saved

pytestmark = pytest.mark.slow

# Load each file in one process, as the worker does: with trust or without.
_LOAD = """
import pathlib, sys
from tflite_recipes.backend.models import session, source_model
from tflite_recipes.core.errors import RecipeError
from support.reporters import RecordingReporter
session.start()
trust = sys.argv[1] == "trust"
for path in map(pathlib.Path, sys.argv[2:]):
    try:
        if path.is_dir():
            source_model.load_saved_model(path, "serving_default", {}, trust)
        else:
            source_model.load_keras(path, [], trust, {}, RecordingReporter())
        print(path.name, "loaded")
    except RecipeError as error:
        print(path.name, *(problem.fix or problem.what for problem in error.problems))
"""


def load(here, trust, *paths):
    """What became of each file, by its name."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _LOAD, "trust" if trust else "none", *map(str, paths)]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_keras_files_touch_nothing_without_trust_and_load_with_it(tmp_path):
    canaries = {name: tmp_path / f"canary_{name}" for name in ("op", "alias", "module")}
    hostile.write_module(tmp_path, canaries["module"])
    mask = {"class_name": "__typespec__", "spec_name": "Anything", "module": hostile.MODULE, "registered_name": "x"}
    activation = {"class_name": "function", "module": hostile.MODULE, "config": "relu", "registered_name": "relu"}
    models = {
        "op.h5": hostile.functional(hostile.write_file(canaries["op"])),
        # Returns its input, after it has printed it.
        "printing.h5": hostile.functional(
            {
                **hostile.op_layer("TFOpLambda", 1.0, function="compat.v1.Print"),
                "inbound_nodes": [["x", 0, 0, {"data": [1]}]],
            }
        ),
        "alias.h5": hostile.functional(
            hostile.op_layer("TFOpLambda", str(canaries["alias"]), {"contents": "x"}, function="compat.v1.write_file")
        ),
        "module.keras": {**mask, "config": {"name": "q"}},
        "function.keras": {
            "module": "keras.layers",
            "class_name": "Dense",
            "registered_name": None,
            "config": {"name": "d", "units": 2, "activation": activation},
        },
        "plain.h5": hostile.functional(
            {**hostile.op_layer("TFOpLambda", 1.0, function="math.sin"), "inbound_nodes": [["x", 0, 0, {}]]}
        ),
    }
    writers = {name: hostile.write_keras if name.endswith(".keras") else hostile.write_h5 for name in models}
    paths = [writers[name](tmp_path / name, model) for name, model in models.items()]
    refused = load(tmp_path, False, *paths)
    assert refused.pop("plain.h5") == "loaded"
    assert set(refused) == set(models) - {"plain.h5"}
    assert "loaded" not in refused.values()
    assert not any(canary.exists() for canary in canaries.values())
    trusted = load(tmp_path, True, *paths)
    assert trusted["printing.h5"] == "loaded"
    # Keras builds no model from an op that gives nothing, but it has run it.
    assert all(canary.exists() for canary in canaries.values())


def test_saved_models_touch_nothing_without_trust_and_load_with_it(tmp_path):
    folders = {name: tmp_path / name for name in saved.WRITING}
    for name, folder in folders.items():
        saved.KINDS[name](folder / name, folder)
        assert not (folder / "canary").exists()
    models = [folder / name for name, folder in folders.items()]
    assert set(load(tmp_path, False, *models).values()) == {"source.trust=true"}
    assert not any((folder / "canary").exists() for folder in folders.values())
    assert set(load(tmp_path, True, *models).values()) == {"loaded"}
    assert all((folder / "canary").exists() for folder in folders.values())
