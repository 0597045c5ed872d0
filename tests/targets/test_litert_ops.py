"""The table of ops without a kernel, asked again of the installed converter."""

import json
import subprocess
import sys

import pytest
from support.checkout import REPOSITORY

from tflite_recipes.targets.litert_ops import ONLY_CUSTOM, ONLY_FLEX

ASKED = ["Erf", "MaxPool3D", "ResizeBicubic", "StringLower", "Cholesky", "Svd", "BesselI0", "Betainc", "Relu", "AddV2"]


@pytest.mark.slow
def test_the_installed_converter_says_the_same():
    script = REPOSITORY / "benchmarks" / "probe_ops.py"
    done = subprocess.run([sys.executable, str(script), *ASKED], capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    assert {name for name, answer in answers.items() if answer == "flex"} == ONLY_FLEX & set(ASKED)
    assert {name for name, answer in answers.items() if answer == "custom"} == ONLY_CUSTOM & set(ASKED)
    assert answers["Relu"] == answers["AddV2"] == "builtin"
