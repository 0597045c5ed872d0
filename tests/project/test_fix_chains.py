"""Fixes are pasted until the command ends well or prints none: no fix leads back to where it came from."""

import shlex

import numpy as np
import pytest
from support.checkout import SHARED, write

from tflite_recipes import api
from tflite_recipes.config import composition
from tflite_recipes.core.errors import ExitStatus, RequestError

pytestmark = pytest.mark.slow
MODELS = SHARED / "models"
MOST_FIXES = 5
WAKE_WORD, DGA = f"source.path={MODELS / 'str_ww.h5'}", f"source.path={MODELS / 'dga_cnn_lstm.h5'}"
KERAS, WHOLE = ["source=keras", WAKE_WORD], ["source=digits"]
SHARED_DATA = f"calibration.path={MODELS / 'dga_test.npz'}"
CHECKS = {
    "no model": [],
    "a missing model": ["source=keras", "source.path=nowhere.keras"],
    "a model of another kind": ["source=tflite", WAKE_WORD],
    "a SavedModel as a Keras file": ["source=keras", f"source.path={MODELS / 'kws_saved_model'}"],
    "a quantized file": ["source=tflite", f"source.path={MODELS / 'kws_int8.tflite'}"],
    "a file with rules": ["source=tflite", f"source.path={MODELS / 'mnist_lstm.tflite'}", "substitution=rules",
                          "substitution.rules=[logits]"],
    "a file with pruning": ["source=tflite", f"source.path={MODELS / 'mnist_lstm.tflite'}", "pruning=constant",
                            "pruning.sparsity=0.5"],
    "a SavedModel with rules on layers": ["source=saved_model", f"source.path={MODELS / 'kws_saved_model'}",
                                          "substitution=rules", "substitution.rules=[fused_lstm]"],
    "data of another dtype": ["source=keras", DGA, "calibration=npz", SHARED_DATA, "optimization=integer_only"],
    "data of another model": [*KERAS, "calibration=npz", SHARED_DATA, "optimization=integer_only"],
    "integers without data": [*KERAS, "optimization=integer_only"],
    "a folder for a file": [*KERAS, "calibration=npz", "calibration.path=folder"],
    "a key of nothing": [*KERAS, "substitution.rules=[logits]"],
    "a choice that there is not": [*KERAS, "optimization=int8", "target=raspberry"],
    "a value out of range": [*WHOLE, "calibration=digits", "calibration.samples=-3"],
    "a rule twice": [*WHOLE, "substitution=rules", "substitution.rules=[logits,logits]"],
    "a type that a scheme lacks": [*WHOLE, "optimization=float16", "optimization.input_type=int8"],
    "a key with a typing error": [*WHOLE, "optimization.schme=float16", "epochs=3"],
    "a step twice": [*WHOLE, "steps=[source,freeze,freeze,optimization]"],
    "code that is not there": ["source=factory", "source.function=mine.py:biuld"],
    "code without a place": ["source=factory", "source.function=build"],
    "a metric without its function": [*WHOLE, "evaluation=npz", "evaluation.path=x.npz", "evaluation.metric=function"],
    "a file without a name": [*KERAS, "calibration=npz", "calibration.path=''"],
    "a home folder": ["source=keras", "source.path=~/nowhere.keras"],
    "a model as an override": ["mine.pb"],
    "an NPU and floats": [*WHOLE, "target=ethos_u55_128", "optimization=none"],
    "a device without a host": [*WHOLE, "target=raspberry_pi4", "target.runner=ssh"],
}  # fmt: skip
TINY = ["source=factory", "source.function=mine.py:build", "tracking=none"]
TEXTS = ["source=factory", "source.function=texts.py:build", "tracking=none", "calibration=npz"]
RUNS = {
    "a rule that matches nothing": [*TINY, "substitution=rules", "substitution.rules=[fused_lstm]"],
    "a graph rule that matches nothing": [*TINY, "substitution=rules", "substitution.rules=[unroll,erf]"],
    "arguments that it lacks": [*TINY, "+source.arguments.units=3"],
    "several texts in a sample": [*TEXTS, "+source.arguments.words=2", "calibration.path=two.npz",
                                  "optimization=full_integer"],
    "a batch that one quantizer cannot take": [*TEXTS, "+source.arguments.words=1", "calibration.path=one.npz",
                                               "optimization=full_integer",
                                               "optimization.quantizer=litert_quantizer"],
    "a scheme that changes nothing": [*TINY, "optimization=dynamic_range"],
}  # fmt: skip
MODEL_OF_TEXT = """
def build(words):
    import keras
    layers = keras.layers
    i = keras.Input((words,), dtype="string", name="x")
    h = layers.StringLookup(vocabulary=[f"w{number}" for number in range(20)])(i)
    h = layers.Flatten()(layers.Embedding(21, 16)(h))
    return keras.Model(i, layers.Dense(32, name="y")(layers.Dense(64, activation="relu")(h)))
"""


@pytest.fixture
def places(here):
    (here / "folder").mkdir()
    (here / "mine.pb").write_bytes(b"graph")
    write(here / "mine.py", "def build():\n    import keras\n    i = keras.Input((4,), name='x')\n"
          "    return keras.Model(i, keras.layers.Dense(2, name='y')(i))\n")  # fmt: skip
    write(here / "texts.py", MODEL_OF_TEXT)
    for name, count in (("one", 1), ("two", 2)):
        np.savez(
            here / f"{name}.npz", x=np.array([[f"w{(row + at) % 20}" for at in range(count)] for row in range(16)])
        )
    np.savez(here / "x.npz", image=np.zeros((3, 8, 8, 1), "float32"), labels=np.zeros(3, "int64"))
    return here


def pasted(command, problems):
    """The command with every fix behind it; None if no fix is printed."""
    words = [word for problem in problems for word in shlex.split(problem.fix) if word != "-m"]
    return [*command, *words] if words else None


def last_word(attempt, command):
    """Paste fixes until the command ends well or prints none. The problems that are left, and how often it went on."""
    seen = []
    for number in range(MOST_FIXES + 1):
        problems = attempt(command)
        assert problems not in seen, [problem.lines() for problem in problems]
        seen.append(problems)
        command = pasted(command, problems)
        if command is None:
            return problems, number
    pytest.fail(f"more than {MOST_FIXES} fixes: {command}")


def check(command):
    try:
        composition.compose("convert", ["tracking=none", *command])
    except RequestError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("name", CHECKS)
def test_fixes_of_a_check_lead_to_an_end(places, shared, name):
    problems, _ = last_word(check, CHECKS[name])
    assert all(problem.where for problem in problems)
    mended = {"a file with rules", "a file with pruning", "a rule twice", "a type that a scheme lacks",
              "a key with a typing error", "a value out of range", "code that is not there"}  # fmt: skip
    if name in mended:
        assert problems == ()


def test_fixes_of_a_run_lead_to_an_end(places):
    def attempt(command):
        try:
            result = api.run("convert", command, progress=False)
        except RequestError as error:
            return error.problems
        assert result.problems or result.status == ExitStatus.DONE
        return result.problems

    left = {name: last_word(attempt, command)[0] for name, command in RUNS.items()}
    assert left == {**dict.fromkeys(RUNS, ()), "arguments that it lacks": left["arguments that it lacks"]}
    assert [problem.where for problem in left["arguments that it lacks"]] == ["source.arguments"]
