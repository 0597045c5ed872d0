"""Which files a recipe reads, and what is told of them."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import write

from tflite_recipes.config import composition, recipe_inputs

MODEL = "def build():\n    raise SystemExit\n"


def composed(*overrides):
    return composition.compose("convert", ["source=factory", "source.function=make.py:build", *overrides])


@pytest.mark.slow
def test_files_are_known_by_the_keys_that_name_them(here):
    write(here / "make.py", MODEL)
    np.savez(here / "cal.npz", x=np.zeros((3, 4), "float32"), labels=np.zeros(3, "int64"))
    write(here / "w.weights.h5", "weights")
    recipe = composed("calibration=npz", "calibration.path=cal.npz", "evaluation=npz", "evaluation.path=cal.npz")
    assert recipe_inputs.paths_of(recipe) == {"calibration.path": "cal.npz", "evaluation.path": "cal.npz"}
    (first, _) = recipe_inputs.read_inputs(recipe)
    data = (here / "cal.npz").read_bytes()
    assert (first.sha256, first.bytes) == (hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.slow
def test_a_machines_own_keys_are_no_inputs(here):
    write(here / "make.py", MODEL)
    write(here / "id_ed25519", "secret")
    recipe = composed("target=cpu", "target.runner=ssh", "target.host=pi", "target.identity_file=id_ed25519")
    assert recipe_inputs.paths_of(recipe) == {}


def test_a_text_that_is_no_path_is_none(here):
    recipe = composition.compose("convert", ["source=keras_application", "source.weights=imagenet"])
    assert recipe_inputs.paths_of(recipe) == {}


def test_a_folder_is_known_by_its_files(here):
    write(here / "data" / "a" / "1.txt", "one")
    write(here / "data" / "b" / "2.txt", "three")
    told = recipe_inputs.described("calibration.path", "data")
    (here / "data").rename(here / "moved")
    again = recipe_inputs.described("calibration.path", "moved")
    assert (told.sha256, told.bytes) == (again.sha256, again.bytes) == (told.sha256, len("onethree"))
    write(here / "moved" / "b" / "2.txt", "other")
    assert recipe_inputs.described("calibration.path", "moved").sha256 != told.sha256


@given(st.lists(st.builds(recipe_inputs.Input, st.text(), st.text(), st.text(), st.integers(0)), max_size=3))
def test_what_is_written_is_read(given_inputs):
    assert recipe_inputs.from_text(recipe_inputs.to_text(given_inputs)) == tuple(given_inputs)


@pytest.mark.parametrize("text", ["{}x", json.dumps([{"key": "a"}]), json.dumps(["a"])])
def test_what_is_something_else_is_refused(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        recipe_inputs.from_text(text)
