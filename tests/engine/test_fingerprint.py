"""The fingerprint of a run covers contents, which the recipe digest does not."""

import hashlib

import pytest
from support.checkout import write
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.core import user_code
from tflite_recipes.core.state import State
from tflite_recipes.engine.fingerprint import TAG, run_fingerprint


def test_fingerprint_is_the_sha256_of_the_json_in_the_readme():
    text = '{"code":[["a.b","22"],["layers.py","11"]],"inputs":{"source.path":"33"},"recipe_digest":"44"}'
    code = [("layers.py", "11"), ("a.b", "22"), ("layers.py", "11")]
    assert run_fingerprint("44", {"source.path": "33"}, code) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        ("45", {"source.path": "33"}, [("a", "1")]),
        ("44", {"source.path": "34"}, [("a", "1")]),
        ("44", {"source.weights": "33"}, [("a", "1")]),
        ("44", {"source.path": "33"}, [("a", "2")]),
        ("44", {"source.path": "33"}, []),
    ],
)
def test_fingerprint_changes_with_each_part(other):
    assert run_fingerprint("44", {"source.path": "33"}, [("a", "1")]) != run_fingerprint(*other)


def test_named_file_is_told_by_its_name_without_its_folder(here, tmp_path):
    write(here / "nets" / "make.py", "def build():\n    pass\n")
    heard = RecordingReporter()
    user_code.record("function", ["nets/make.py:build"], State(tmp_path), heard)
    assert heard.code == [("make.py", hashlib.sha256((here / "nets" / "make.py").read_bytes()).hexdigest())]


FACTORY = """
import helper

def build():
    import keras
    i = keras.Input((4,), name="x")
    keras.utils.set_random_seed(0)
    return keras.Model(i, keras.layers.Dense({units}, name="y")(i))
"""


def tags(name):
    overrides = ["source=factory", "source.function=make.py:build", "tracking=none"]
    return api.run("convert", overrides, output_dir=name, progress=False).tags


@pytest.mark.slow
def test_edited_code_changes_the_fingerprint_and_keeps_the_digest(here):
    write(here / "helper.py", "A = 1\n")
    write(here / "make.py", FACTORY.format(units=2))
    first, again = tags("first")[TAG], tags("again")[TAG]
    assert first == again
    write(here / "make.py", FACTORY.format(units=3))
    edited = tags("edited")[TAG]
    write(here / "helper.py", "A = 2\n")  # which the factory imports
    assert len({first, edited, tags("imported")[TAG]}) == 3
    digests = {(here / name / "recipe.yaml").read_text() for name in ("first", "edited", "imported")}
    assert len(digests) == 1
