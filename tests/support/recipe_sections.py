"""A good recipe as plain sections, and what is wrong with changed ones."""

from __future__ import annotations

import copy

import pytest

from tflite_recipes.config import recipe as recipes
from tflite_recipes.core.errors import RequestError

STEPS = "tflite_recipes.steps"


OURS = ["source", "substitution", "pruning", "freeze", "calibration", "optimization", "target", "evaluation"]


CONFIG = {
    "name": None,
    "steps": OURS,
    "source": {
        "_target_": f"{STEPS}.DigitsSource",
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.002,
        "seed": 0,
        "input_shapes": {},
    },
    "substitution": {"_target_": None},
    "pruning": {"_target_": None},
    "freeze": {"_target_": f"{STEPS}.Freeze", "variables": "auto"},
    "calibration": {"_target_": f"{STEPS}.DigitsCalibration", "samples": 10, "seed": 0},
    "optimization": {
        "_target_": f"{STEPS}.Optimization",
        "scheme": "integer_only",
        "input_type": "int8",
        "output_type": "int8",
        "per_channel": True,
        "quantizer": "tflite_converter",
    },
    "target": {
        "_target_": f"{STEPS}.GenericTarget",
        "flash_kb": None,
        "dynamic_batch": True,
        "op_sets": ["builtin", "select_tf", "custom"],
    },
    "evaluation": {"_target_": f"{STEPS}.DigitsEvaluation", "max_drop": 0.02},
    "worker": {"timeout_s": None, "memory_gb": None},
    "conversion": {
        "fallback": ["unroll"],
        "select_tf_ops": False,
        "allow_custom_ops": False,
        "select_user_tf_ops": [],
        "unfold_batchmatmul": False,
        "exclude_conversion_metadata": False,
    },
    "io_contract": {"inputs": {}, "outputs": {}},
    "tracking": {
        "_target_": "tflite_recipes.tracking.Mlflow",
        "uri": "sqlite:///mlflow.db",
        "experiment": "e",
        "run_name": None,
        "tags": {},
    },
}


CHOICES = {"source": "digits", "optimization": "integer_only"}


def config(**changes):
    """The good config with sections or `section__key`s changed; `...` takes one out."""
    changed = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        holder = changed[section] if key else changed
        if value is ...:
            del holder[key or section]
        else:
            holder[key or section] = value
    return changed


def built(name="mine", **changes):
    return recipes.build(config(**changes), CHOICES, ["source", "optimization"], ["a=1"], name)


def problems(**changes):
    with pytest.raises(RequestError) as raised:
        built(**changes)
    return raised.value.problems


def said(**changes):
    return [(problem.where, problem.what) for problem in problems(**changes)]
