"""Targets of LiteRT, run: the delivered file says what it is, its digest is the file's own, and what lies beside it
works."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from support import keras_models, sample_files
from support.checkout import first_way, write
from support.metadata_samples import LABELS, NET
from support.tflite_builders import dense

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import tflite
from tflite_recipes.files.samples import digits
from tflite_recipes.files.tflite.metadata import RECIPE_DIGEST, STANDARD, read_metadata, write_metadata
from tflite_recipes.files.tflite.metadata_table import Content
from tflite_recipes.steps.litert_target import CpuTarget, GenericTarget
from tflite_recipes.steps.source import DigitsSource, TFLiteSource

CODE = {"predict.py", "predict.cc", "Predict.kt", "Predict.swift", "runtime.json", "README.txt"}
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def problems(target, source=None):
    return [(problem.where, first_way(problem)) for problem in target.problems({"source": source})]


# Before anything runs


@pytest.mark.parametrize("kind", [GenericTarget, CpuTarget])
def test_labels_are_looked_at_before_anything_runs(here, kind):
    write(here / "l.txt", "cat\n\ndog\n")
    target = kind(labels="l.txt", metadata=True)
    assert problems(target) == [("target.labels", "target.labels=OTHER.txt")]
    write(here / "l.txt", "cat\ndog\n")
    assert problems(target) == []


def test_labels_are_counted_where_the_source_tells_its_outputs(here):
    (here / "model.tflite").write_bytes(dense())
    target = GenericTarget(labels="l.txt", metadata=True)
    for labels, wrong in (("a\nb\n", []), ("a\nb\nc\n", [("target.labels", "target.labels=OTHER.txt")])):
        write(here / "l.txt", labels)
        assert problems(target, TFLiteSource("model.tflite")) == wrong
        assert problems(target, DigitsSource(1, 32, 0.1, 0, {})) == []
    (here / "model.tflite").write_bytes(b"damaged")  # which the source says itself
    assert problems(target, TFLiteSource("model.tflite")) == []


def test_what_nothing_would_say_is_refused(here):
    write(here / "l.txt", "cat\ndog\n")
    silent = GenericTarget(labels="l.txt", model_name="net", description="Sees.")
    keys = [f"target.{key}" for key in ("labels", "model_name", "description")]
    assert problems(silent) == [(key, "target.metadata=true") for key in keys]
    assert problems(GenericTarget(deploy=True, labels="l.txt", model_name="net", description="Sees.")) == []
    assert problems(GenericTarget(metadata=False, deploy=False)) == []


# Runs


def run(*overrides, recipe="convert", **more):
    result = api.run(recipe, [*overrides, "tracking=none"], progress=False, **more)
    assert result.status in (ExitStatus.DONE, ExitStatus.GATE), [problem.lines() for problem in result.problems]
    return result


def runtime_of(result):
    return json.loads((result.output_dir / "deploy" / "runtime.json").read_text(encoding="utf-8"))


def predicted(result, folder, **arrays):
    """What predict.py makes of arrays, in a process of its own that has the deployed files alone."""
    np.savez(folder / "in.npz", **arrays)
    command = [sys.executable, "-I", str(result.output_dir / "deploy" / "predict.py"), "in.npz", "--output", "out.npz"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "out.npz", allow_pickle=True)), done.stdout


def by_us(result, stateful=False, **arrays):
    from tflite_recipes.backend.running import runtime

    (signature,) = tflite.read_tflite(result.path).signatures
    return runtime.run(result.path, signature.key, arrays, lambda *_: None, stateful=stateful)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    write(folder / "numbers.txt", "\n".join(NUMBERS))
    words = ["target.description='Tells handwritten digits apart.'", "target.model_name=Digits"]
    labels = f"target.labels={folder / 'numbers.txt'}"
    return run(labels, *words, "source.epochs=2", recipe="digits_integer_only", output_dir=folder / "out")


@pytest.mark.slow
def test_the_digest_in_the_tags_is_that_of_the_delivered_file(described):
    digest = hashlib.sha256(described.path.read_bytes()).hexdigest()
    assert described.tags["tflite_recipes.tflite_sha256"] == digest
    assert runtime_of(described)["model"]["sha256"] == digest
    assert runtime_of(described)["model"]["bytes"] == described.metrics["size.tflite_bytes"]
    assert read_metadata(described.path).model is not None


@pytest.mark.slow
def test_the_file_tells_its_name_its_labels_and_its_recipe(described):
    stated = read_metadata(described.path)
    assert stated.model.name == "Digits"
    said = f"Tells handwritten digits apart. Made by tflite_recipes; recipe digest {described.digest}."
    assert stated.model.description == said
    assert stated.recipe_digest == described.digest
    assert stated.files == {"labels.txt": "".join(f"{number}\n" for number in NUMBERS).encode()}
    assert [tensor.name for tensor in (*stated.model.inputs, *stated.model.outputs)] == ["image", "digit"]
    assert [tensor.labels for tensor in (*stated.model.inputs, *stated.model.outputs)] == ["", "labels.txt"]
    names = [*tflite.read_tflite(described.path).metadata]
    assert names == ["min_runtime_version", "CONVERSION_METADATA", STANDARD, RECIPE_DIGEST]


@pytest.mark.slow
def test_the_python_code_gives_what_this_package_gives(described, tmp_path):
    assert {path.name for path in (described.output_dir / "deploy").iterdir()} == {*CODE, "labels.txt"}
    images = digits.held_out().images[:7]
    found, printed = predicted(described, tmp_path, image=images)
    np.testing.assert_array_equal(found["digit"], by_us(described, image=images)["digit"])
    best = NUMBERS[int(found["digit"][0].argmax())]
    assert printed.splitlines()[1].split()[1] == best


@pytest.mark.slow
def test_tensorflows_own_interpreter_runs_the_file_too(described, tmp_path):
    code = """
import sys
import numpy as np
import tensorflow as tf
results = []
interpreter = tf.lite.Interpreter(sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.full((1, 8, 8, 1), 5, "int8"))
interpreter.invoke()
np.save("y.npy", interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""
    command = [sys.executable, "-c", code, str(described.path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    image = np.full((1, 8, 8, 1), (5 + 128) * 0.003921568859368563, "float32")
    expected = np.rint(by_us(described, image=image)["digit"] * 256) - 128
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(described, here):
    again = run(recipe=str(described.output_dir / "recipe.yaml"))
    assert again.path.read_bytes() == described.path.read_bytes()
    assert (again.output_dir / "deploy" / "predict.cc").read_bytes() == (
        described.output_dir / "deploy" / "predict.cc"
    ).read_bytes()


@pytest.mark.slow
def test_labels_that_suit_no_output_fail_the_metadata_and_keep_the_file(here):
    write(here / "l.txt", "a\nb\n")
    overrides = ["target.labels=l.txt", "source.epochs=1", "tracking=none"]
    result = api.run("digits_float", overrides, progress=False)
    assert (result.status, result.outcome) == (ExitStatus.FAILED, "passed")
    assert read_metadata(result.path).model is None
    assert len(result.problems) == 1
    assert (result.problems[0].where, result.problems[0].what) == (
        "target.labels",
        "2 labels, and places in the last axis of the outputs: 10 of 'digit'",
    )


@pytest.mark.slow
def test_nothing_is_added_where_nothing_is_asked_for(here):
    result = run("target.metadata=false", "target.deploy=false", "source.epochs=1", recipe="digits_float")
    assert read_metadata(result.path).model is None
    assert read_metadata(result.path).recipe_digest == ""
    assert not (result.output_dir / "deploy").exists()
    apart = run("target.metadata=false", "source.epochs=1", "target=cpu", recipe="digits_float", output_dir=here / "o")
    assert read_metadata(apart.path).model is None
    assert runtime_of(apart)["model"]["name"] == "digits"
    assert apart.metrics["latency.p50_ms"] > 0


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")

    def get(name):
        if not (root / name).exists():
            (root / name).mkdir()
            keras_models.write(name, root / name)
        return root / name

    return get


@pytest.mark.slow
def test_what_was_done_to_pictures_is_said_and_a_fixed_batch_is_filled_up(here, models):
    sample_files.images(here / "images", 8, (20, 20, 3))
    result = run(
        "source=keras",
        f"source.path={models('cnn') / 'model.keras'}",
        "source.input_shapes={picture: [2, 16, 16, 3]}",
        "optimization=full_integer",
        "calibration=images",
        "calibration.path=images",
        "calibration.mean=127.5",
        "calibration.std=127.5",
        "target=cpu",
        "target.max_latency_ms=1e-6",
    )
    assert result.status == ExitStatus.GATE
    stated = read_metadata(result.path)
    (picture,) = stated.model.inputs
    assert (picture.content, picture.size, picture.mean, picture.std) == (Content.image, (16, 16), (127.5,), (127.5,))
    assert (picture.minimum, picture.maximum) == ((-1.0,), (1.0,))
    assert stated.model.name == "model"
    arrays = {"picture": np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 3)).astype("float32")}
    found, _ = predicted(result, here, **arrays)
    np.testing.assert_allclose(found["scores"], by_us(result, **arrays)["scores"], atol=1e-6)
    assert runtime_of(result)["inputs"][0]["preprocessing"]["mean"] == 127.5


@pytest.mark.slow
def test_several_inputs_are_fed_by_their_names(here, models):
    result = run("source=keras", f"source.path={models('two_inputs') / 'model.keras'}")
    rng = np.random.default_rng(0)
    (signature,) = tflite.read_tflite(result.path).signatures
    arrays = {name: rng.random((3, 4), "float32") for name, _ in signature.inputs}
    assert len(arrays) == 2
    found, _ = predicted(result, here, **arrays)
    for name, values in by_us(result, **arrays).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    assert [tensor.name for tensor in read_metadata(result.path).model.inputs] == list(arrays)


FUNCTIONS = """
import tensorflow as tf


class Function(tf.Module):
    def __init__(self, run):
        super().__init__()
        self.run = tf.function(run, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])


def bessel():
    return Function(lambda x: {"y": tf.math.bessel_i0(x)})


class Counter(tf.Module):
    def __init__(self):
        super().__init__()
        self.sum = tf.Variable(tf.zeros([1, 4]))

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def run(self, x):
        return {"y": self.sum.assign_add(x) * 1.0}


def counter():
    return Counter()
"""


@pytest.mark.slow
def test_a_model_with_state_keeps_it_between_invokes(here):
    write(here / "own.py", FUNCTIONS)
    result = run("source=factory", "source.function=own.py:counter")
    x = np.ones((3, 4), "float32")
    found, _ = predicted(result, here, x=x)
    np.testing.assert_array_equal(found["y"], np.cumsum(x, axis=0))
    assert "the model keeps state between invokes" in (result.output_dir / "deploy" / "predict.cc").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "key", "op"),
    [
        ("conversion.select_user_tf_ops=[BesselI0]", "select_tf_ops", "FlexBesselI0"),
        ("conversion.allow_custom_ops=true", "custom_ops", "BesselI0"),
    ],
)
def test_a_file_that_no_runtime_here_takes_is_described_all_the_same(here, more, key, op):
    write(here / "own.py", FUNCTIONS)
    flex = ["conversion.select_tf_ops=true", "conversion.fallback=[]", more]
    result = run("source=factory", "source.function=own.py:bessel", *flex)
    assert (runtime_of(result)["libraries"][key]["needed"], runtime_of(result)["libraries"][key]["ops"]) == (True, [op])
    assert runtime_of(result)["tested_with"] is None
    assert read_metadata(result.path).recipe_digest == result.digest


@pytest.mark.slow
def test_text_comes_out_as_text(here, models):
    result = run("source=saved_model", f"source.path={models('lookup_table') / 'saved_model'}")
    found, printed = predicted(result, here, ids=np.array([2, 0, 7]))
    assert found["words"].tolist() == [b"two", b"zero", b"?"]
    assert "two" in printed
    assert {path.name for path in (result.output_dir / "deploy").iterdir()} == {
        "predict.py",
        "runtime.json",
        "README.txt",
    }


@pytest.mark.slow
def test_metadata_that_a_source_came_with_is_replaced_and_this_is_said(here):
    (here / "plain.tflite").write_bytes(dense())
    write_metadata(here / "plain.tflite", here / "model.tflite", NET, "ab" * 32, LABELS)
    result = run("source=tflite", "source.path=model.tflite")
    said = "the file came with metadata of its own, of 'net' and labels.txt: it is replaced"
    assert said in result.warnings
    assert read_metadata(result.path).recipe_digest == result.digest
    plain = run("source=tflite", "source.path=plain.tflite", output_dir=here / "other")
    assert not [text for text in plain.warnings if "metadata of its own" in text]


@pytest.mark.slow
def test_labels_that_two_outputs_fit_are_given_to_the_first_and_this_is_said(here):
    code = (
        "import tensorflow as tf\n\n\nclass Two(tf.Module):\n"
        '    @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="x")])\n'
        '    def run(self, x):\n        return {"a": x + 1.0, "b": x * 2.0}\n'
    )
    write(here / "two.py", code)
    write(here / "l.txt", "cat\ndog\n")
    result = run("source=factory", "source.function=two.py:Two", "target.labels=l.txt")
    assert "the labels are those of output a; b would fit them too" in result.warnings
    assert [tensor.labels for tensor in read_metadata(result.path).model.outputs] == ["labels.txt", ""]
