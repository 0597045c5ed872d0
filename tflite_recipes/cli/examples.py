"""The examples that `--help` of each command ends with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

_WIDTH = 100
_MODEL = "source=keras source.path=model.keras"
# What an example does, and its words behind `tflite-recipes COMMAND`.
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "run": (
        ("convert your own model", f"convert {_MODEL}"),
        (
            "convert it to int8, with a limit on the lost accuracy",
            f"convert {_MODEL} optimization=integer_only calibration=npz calibration.path=cal.npz evaluation=npz "
            "evaluation.path=test.npz evaluation.max_drop=0.01",
        ),
        ("convert it in two ways and compare the files", f"convert -m {_MODEL} optimization=none,dynamic_range"),
    ),
    "ls": (
        ("list the recipes", ""),
        ("list the options of a group", "target"),
    ),
    "show": (
        ("print every key of a recipe with its value", "digits_integer_only"),
        ("keep a request as a recipe", f"convert {_MODEL} optimization=float16 > mine.yaml"),
    ),
    "check": (
        ("find mistakes in a request, without TensorFlow", f"convert {_MODEL} optimization=dynamic_range"),
        ("also load the model and try the conversion", f"convert {_MODEL} --deep"),
        ("check every job of a sweep", f"convert -m {_MODEL} optimization=none,float16"),
    ),
    "cp": (
        ("copy a recipe to recipes/, to change it", "digits_integer_only"),
        ("copy an option under another name", "target/cortex_m4 conf/target/my_board.yaml"),
    ),
    "inspect": (
        ("print ops, tensors and sizes of a file", "model.tflite"),
        ("search them for what stays in float", "model.tflite | grep float32"),
    ),
    "rules": (
        ("print rules that keep the worst ops in float, as an override", "RUN_FOLDER"),
        ("the same for the 3 worst ops in 16x8, for a recipe's file", "RUN_FOLDER --top 3 --scheme int16x8 --yaml"),
    ),
    "reproduce": (
        ("rebuild a run and compare the file with the run's own", "RUN_ID"),
        ("the model is in another place now", "RUN_ID --source models/model.keras"),
        ("take the run from a server", "RUN_ID --tracking-uri http://127.0.0.1:5000"),
    ),
    "diff": (
        ("what differs between two runs", "RUN_A RUN_B"),
        ("the same as JSON, with every tensor", "RUN_A RUN_B --all --json"),
    ),
    "compare": (
        ("the newest runs of an experiment in a table", "tflite_recipes"),
        ("two runs, as a page with a plot", "RUN_A RUN_B --output out"),
    ),
    "sync": (
        ("list what is missing in MLflow", "--dry-run"),
        ("upload it", ""),
        ("upload one run to a server", "RUN_FOLDER --tracking-uri http://127.0.0.1:5000"),
    ),
}


def shown(command: str) -> str:
    """Return the examples of a command as the end of its help. A shell takes them as they stand."""
    lines = ["examples:"]
    for what, words in EXAMPLES[command]:
        whole = f"tflite-recipes {command} {words}".rstrip()
        broken = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines += [f"  # {what}", "  " + " \\\n      ".join(broken)]
    return "\n".join(lines)
