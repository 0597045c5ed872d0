"""Branches that guard a division or an exponential: in integers only values count that are chosen."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support.tf_scripts import run_code

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, numpy as np, tensorflow as tf
rng = np.random.default_rng(5)
one, other = (tf.constant(rng.standard_normal((8, 6)).astype("f4") * 0.6) for _ in range(2))
inputs = rng.standard_normal((48, 1, 8)).astype("f4")
cases = {
    "quotient": lambda x: tf.cond(tf.reduce_mean(tf.abs(x)) > 0.05,
        lambda: tf.nn.relu(x @ one) / tf.reduce_mean(tf.abs(x)), lambda: tf.zeros([1, 6])),
    "exponent": lambda x: tf.cond(tf.reduce_max(x) < 1.5,
        lambda: tf.nn.relu(x @ one) * tf.exp(tf.reduce_max(x) * 3.0), lambda: tf.tanh(x @ other) * 20.0),
}
for name, call in cases.items():
    x = inputs.copy()
    if name == "quotient":
        x[::8] = 0.0
    owner = tf.Module()
    owner.run = tf.function(lambda x: {"y": call(x)}, input_signature=[tf.TensorSpec([1, 8], name="x")])
    tf.saved_model.save(owner, f"{sys.argv[1]}/{name}", {"serving_default": owner.run})
    np.savez(f"{sys.argv[1]}/{name}.npz", x=x[:, 0])
    np.save(f"{sys.argv[1]}/{name}.npy", np.array([owner.run(row)["y"].numpy() for row in x]))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    run_code(SCRIPT, folder)
    return folder


# Without the guard: LiteRT fails to invoke, .87, .87.
@pytest.mark.parametrize(
    ("name", "scheme", "limit"),
    [("quotient", "integer_only", 0.06), ("exponent", "integer_only", 0.2), ("exponent", "full_integer", 0.2)],
)
def test_guarded_branch_sets_no_scale_and_never_fails_where_it_is_not_chosen(here, models, name, scheme, limit):
    request = ["source=saved_model", f"source.path={models / name}", "calibration=npz", "tracking=none"]
    request += [f"calibration.path={models / name}.npz", f"optimization={scheme}"]
    request += ["optimization.input_type=float32", "optimization.output_type=float32"]
    result = api.run("convert", request, progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    run = Interpreter(str(result.path), num_threads=1).get_signature_runner()
    samples, expected = np.load(f"{models / name}.npz")["x"], np.load(f"{models / name}.npy")
    rows = np.array([run(x=row[None])["y"] for row in samples])
    assert np.abs(rows - expected).max() < limit * np.ptp(expected)
    run(x=np.zeros((1, 8), np.float32))
