"""How the worker sets up TensorFlow and Keras."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
START = """
import gc, json, sys
from tflite_recipes.backend.models import session
session.start()
unused = sorted(name for name in ("sklearn", "matplotlib") if name in sys.modules)
import matplotlib
import sklearn
import keras
print(json.dumps({"unused": unused, "frozen": gc.get_freeze_count(), "sklearn": sklearn.__name__,
                  "galleries": hasattr(keras.visualization, "plot_image_gallery")}))
"""


@pytest.fixture(scope="module")
def started():
    answer = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def test_start_leaves_out_packages_that_no_conversion_uses(started):
    assert started["unused"] == []


def test_start_packages_that_were_left_out_can_be_imported_afterwards(started):
    assert started["sklearn"] == "sklearn"
    assert started["galleries"]


def test_start_takes_what_was_imported_from_the_garbage_collector(started):
    assert started["frozen"] > 100_000
