"""Rules beside one that changes what the outputs mean are still held against the model."""

from types import SimpleNamespace

import numpy as np
import pytest

from tflite_recipes.core.errors import StepError
from tflite_recipes.core.state import Intent, State

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype("float32")


@pytest.fixture(scope="module")
def network():
    """A model with an op that LiteRT lacks, dropout that is on, and a softmax at its end."""
    import tensorflow as tf

    module, rng = tf.Module(), np.random.default_rng(1)
    module.first, module.last = (tf.Variable(rng.normal(size=(4, 4)).astype("float32")) for _ in range(2))

    def serve(x):
        return {"y": tf.nn.softmax(tf.nn.dropout(tf.math.erf(x @ module.first), 0.5) @ module.last)}

    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    return module


@pytest.fixture
def freeze(network, tmp_path):
    from tflite_recipes.backend.models import frozen_model, source_model

    def run(*rules, **how):
        metrics, warnings = {}, []
        reporter = SimpleNamespace(measure=metrics.update, warn=warnings.append, progress=lambda *_: None)
        model = source_model.of_function(network.serve.get_concrete_function(), "serving_default", network, {})
        state = State(tmp_path, Intent(), source_model.replace(model, rules=rules))
        frozen = frozen_model.freeze(state, frozen_model.How(**how), reporter)
        return SimpleNamespace(frozen=frozen, metrics=metrics, warnings=warnings)

    return run


@pytest.mark.parametrize(("rules", "variables"), [(("logits", "no_dropout"), "auto"), (("no_dropout",), "keep")])
def test_other_rules_are_compared_with_the_outputs_as_they_are_meant(freeze, network, rules, variables):
    import tensorflow as tf

    done = freeze(*rules, "erf", variables=variables)
    assert 0.0 < done.metrics["substitution.max_relative_error"] < 2e-3
    assert done.frozen.reference not in (None, done.frozen.path, done.frozen.redefined)
    signature = tf.saved_model.load(str(done.frozen.reference)).signatures[done.frozen.signature]
    scores = tf.math.erf(X @ network.first) @ network.last
    meant = scores if "logits" in rules else tf.nn.softmax(scores)
    assert np.allclose(signature(x=tf.constant(X))["y"], meant, atol=1e-6)
    assert not any("are not compared" in warning for warning in done.warnings)


def test_other_rule_that_changes_the_outputs_is_refused(freeze, monkeypatch):
    from tflite_recipes.backend.models.rewriting import op_replacements

    def wrong(op, inputs, walker):
        if "erf" not in walker.rules:
            return None
        walker.matched("erf")
        return [2.0 * inputs[0]]

    monkeypatch.setitem(op_replacements.HANDLERS, "Erf", [wrong])
    with pytest.raises(StepError) as refused:
        freeze("logits", "no_dropout", "erf")
    assert [problem.where for problem in refused.value.problems] == ["output y"]


@pytest.mark.parametrize("rules", [("logits", "no_dropout"), ("logits", "erf")])
def test_outputs_without_another_rule_or_at_random_are_not_compared(freeze, rules):
    done = freeze(*rules)
    assert done.frozen.reference is None
    assert "substitution.max_relative_error" not in done.metrics
    assert any("are not compared" in warning for warning in done.warnings)
