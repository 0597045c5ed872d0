"""Gates compare with the model that the user named, whatever steps did to it before it was converted."""

import numpy as np
import pytest

import tflite_recipes
from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files.models import sha256_of

pytestmark = pytest.mark.slow

STEPS = "steps=[source,substitution,{before},pruning,freeze,calibration,{after},optimization,target,evaluation]"
OWN = """
import dataclasses
import numpy as np


@dataclasses.dataclass(frozen=True)
class Ruin:
    def __call__(self, state, reporter):
        kernel = state.model.owner.layers[-1].kernel
        kernel.assign(np.roll(kernel.numpy(), 1, axis=1))
        return state


@dataclasses.dataclass(frozen=True)
class RuinVariables:
    def __call__(self, state, reporter):
        kernel = state.model.owner.kernel
        kernel.assign(np.roll(kernel.numpy(), 1, axis=1))
        return state


@dataclasses.dataclass(frozen=True)
class Nothing:
    def __call__(self, state, reporter):
        return dataclasses.replace(state)


@dataclasses.dataclass(frozen=True)
class Double:
    # a model that gives its scores twice as large, and calls them so
    def __call__(self, state, reporter):
        inner = state.model.call
        call = lambda **tensors: {"twice": 2.0 * next(iter(inner(**tensors).values()))}
        return dataclasses.replace(state, model=dataclasses.replace(state.model, call=call, outputs=("twice",)))


@dataclasses.dataclass(frozen=True)
class Rename:
    # a model that calls its two outputs otherwise, and lists them in another order
    def __call__(self, state, reporter):
        inner = state.model.call
        names = {"first": "a", "second": "z"}
        call = lambda **tensors: {new: inner(**tensors)[old] for new, old in names.items()}
        return dataclasses.replace(state, model=dataclasses.replace(state.model, call=call, outputs=tuple(names)))


@dataclasses.dataclass(frozen=True)
class Negate:
    # a model that gives the negative of its two outputs under other names, in their order
    def __call__(self, state, reporter):
        inner = state.model.call
        names = {"first": "z", "second": "a"}
        call = lambda **tensors: {new: -inner(**tensors)[old] for new, old in names.items()}
        return dataclasses.replace(state, model=dataclasses.replace(state.model, call=call, outputs=tuple(names)))


@dataclasses.dataclass(frozen=True)
class Halves:
    # a model that takes the input in two parts
    def __call__(self, state, reporter):
        import tensorflow as tf
        from tflite_recipes import TensorSpec
        inner = state.model.call
        call = lambda a, b: inner(x=tf.concat([a, b], 1))
        inputs = tuple(TensorSpec(name, (None, 4), "float32") for name in ("a", "b"))
        return dataclasses.replace(state, model=dataclasses.replace(state.model, call=call, inputs=inputs))


@dataclasses.dataclass(frozen=True)
class RuinFile:
    # the float .tflite, in place
    def __call__(self, state, reporter):
        data = state.float_file.read_bytes()
        kernel = np.load("kernel.npy").T.tobytes()
        other = np.roll(np.load("kernel.npy").T, 1, axis=0).tobytes()
        assert data.count(kernel) == 1
        state.float_file.write_bytes(data.replace(kernel, other))
        return state


@dataclasses.dataclass(frozen=True)
class RuinFrozen:
    # the frozen SavedModel, in place
    def __call__(self, state, reporter):
        path = state.saved_model / "saved_model.pb"
        data = path.read_bytes()
        kernel = np.load("kernel.npy").tobytes()
        other = np.roll(np.load("kernel.npy"), 1, axis=1).tobytes()
        assert kernel in data
        path.write_bytes(data.replace(kernel, other))
        return state


@dataclasses.dataclass(frozen=True)
class RuinFolder:
    # a SavedModel with variables, in place
    def __call__(self, state, reporter):
        import tensorflow as tf
        loaded = tf.saved_model.load(str(state.saved_model))
        loaded.kernel.assign(np.roll(loaded.kernel.numpy(), 1, axis=1))
        tf.saved_model.save(loaded, str(state.saved_model), signatures=dict(loaded.signatures))
        return state
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier that is right about every sample of test.npz, as .keras, SavedModel and .tflite."""
    import keras
    import tensorflow as tf

    place = tmp_path_factory.mktemp("baseline")
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((8, 3)).astype("float32")
    x = rng.standard_normal((400, 8)).astype("float32")
    scores = np.sort(x @ kernel, axis=1)
    x = x[scores[:, -1] - scores[:, -2] > 0.5]  # far from where rounding would decide
    labels = (x @ kernel).argmax(axis=1)
    model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3, activation="softmax", name="y")])
    model.layers[-1].set_weights([kernel, np.zeros(3, "float32")])
    model.save(place / "model.keras")
    outputs = [keras.layers.Dense(3, activation="softmax", name=name)(model.inputs[0]) for name in ("z", "a")]
    two = keras.Model(model.inputs[0], outputs)
    two.set_weights([kernel, np.zeros(3, "float32"), np.roll(kernel, 1, axis=1), np.zeros(3, "float32")])
    two.save(place / "two.keras")
    archive = tf.Module()
    archive.kernel = tf.Variable(kernel)
    spec = tf.TensorSpec([None, 8], tf.float32, name="x")
    archive.serve = tf.function(lambda x: {"y": tf.nn.softmax(x @ archive.kernel)}, input_signature=[spec])
    tf.saved_model.save(archive, str(place / "saved_model"), signatures={"serving_default": archive.serve})
    (place / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(place / "saved_model")).convert())
    np.save(place / "kernel.npy", kernel)
    np.savez(place / "test.npz", x=x, a=x[:, :4], b=x[:, 4:], labels=labels)
    np.savez(place / "wide.npz", x=x, labels=labels)
    (place / "own.py").write_text(OWN)
    texts(place, keras)
    return place


def texts(place, keras):
    """A classifier of words, and words that it is right about."""
    vectorize = keras.layers.TextVectorization(max_tokens=12, output_sequence_length=2, name="vectorize")
    words = [f"word{number}" for number in range(9)]
    vectorize.adapt(words)
    text = keras.Input((1,), dtype="string", name="text")
    embedding = keras.layers.Embedding(12, 3, name="table")
    hidden = keras.layers.GlobalAveragePooling1D()(embedding(vectorize(text)))
    model = keras.Model(text, keras.layers.Dense(3, activation="softmax", name="y")(hidden))
    table = np.zeros((12, 3), "float32")
    ids = vectorize(np.array(words)[:, None]).numpy()[:, 0]
    table[ids, np.arange(9) % 3] = 8.0
    embedding.set_weights([table])
    model.layers[-1].set_weights([np.eye(3, dtype="float32"), np.zeros(3, "float32")])
    model.save(place / "words.keras")
    np.savez(place / "words.npz", text=np.array(words * 4)[:, None], labels=np.arange(36) % 9 % 3)


@pytest.fixture
def convert(folder, monkeypatch, tmp_path):
    """`convert("key=value", before="own.py:Ruin")`: model.keras judged by test.npz, with steps of the user's own."""
    monkeypatch.chdir(folder)

    def run(*overrides, before="", after="", source="keras", data="test.npz"):
        path = {"keras": "model.keras", "saved_model": "saved_model", "tflite": "model.tflite"}[source]
        steps = STEPS.format(before=before, after=after).replace(",,", ",")
        arguments = [f"source={source}", f"source.path={path}", f"hydra.run.dir={tmp_path}/${{now:%f}}"]
        judged = ["evaluation=npz", f"evaluation.path={data}", "evaluation.max_drop=0.02"] if data else []
        mine = [steps] if before or after else []
        return api.run("convert", [*arguments, *judged, "tracking=none", *mine, *overrides], progress=False)

    return run


def from_source(result):
    return {name: value for name, value in result.metrics.items() if name.startswith("parity.from_source_")}


def assert_ruined(result, score=1.0):
    """The file does what the ruined model does, and the gate sees what that is."""
    assert result.status == ExitStatus.GATE, result.problems
    assert result.metrics["accuracy.source"] == score
    assert result.metrics["accuracy.tflite"] < 0.8
    assert result.metrics["accuracy.drop"] == pytest.approx(score - result.metrics["accuracy.tflite"])
    (gate,) = result.gates
    assert (gate.name, gate.passed, gate.measured) == ("evaluation.max_drop", False, result.metrics["accuracy.drop"])
    assert result.metrics["parity.cosine"] > 0.9999  # conversion did nothing wrong
    assert from_source(result)["parity.from_source_cosine"] < 0.95


KEPT = ("freeze.variables=keep",)
LARGE = ("freeze.constants_mb=0",)
PRUNED = ("pruning=constant", "pruning.epochs=0", "pruning.final_sparsity=0.9")


def test_pruning_is_what_a_gate_sees(convert):
    assert_ruined(convert(*PRUNED))


def test_nothing_is_compared_twice_where_no_step_changed_the_model(convert):
    kept = [convert(*KEPT, source="saved_model", **{where: "own.py:Nothing"}) for where in ("before", "after")]
    for result in (convert(), convert(before="own.py:Nothing"), convert(after="own.py:Nothing"), *kept):
        assert result.status == ExitStatus.DONE, result.problems
        assert result.metrics["accuracy.source"] == result.metrics["accuracy.tflite"] == 1.0
        assert from_source(result) == {}


def test_step_behind_the_conversion_leaves_the_model_that_gates_compare_with(convert):
    steps = "steps=[source,substitution,freeze,optimization,'own.py:RuinFrozen',target,evaluation]"
    result = convert(steps, source="saved_model")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["accuracy.source"] == result.metrics["accuracy.tflite"] == 1.0


@pytest.mark.parametrize(
    ("source", "where", "step", "overrides"),
    [
        ("keras", "before", "Ruin", ()),
        ("saved_model", "before", "RuinVariables", ()),
        ("saved_model", "before", "RuinVariables", KEPT),
        ("saved_model", "before", "RuinVariables", LARGE),
        ("tflite", "before", "RuinFile", ()),
        ("saved_model", "after", "RuinFrozen", ()),
        ("saved_model", "after", "RuinFolder", KEPT),
        ("tflite", "after", "RuinFile", ()),
    ],
)
def test_a_step_of_the_users_own_is_what_a_gate_sees(convert, folder, source, where, step, overrides):
    saved = sha256_of(folder / "saved_model")
    assert_ruined(convert(*overrides, source=source, **{where: f"own.py:{step}"}))
    assert sha256_of(folder / "saved_model") == saved


def test_constants_of_a_graph_count_as_parameters(convert, folder):
    import tensorflow as tf

    kernel = tf.constant(np.load(folder / "kernel.npy"))
    module = tf.Module()
    spec = tf.TensorSpec([None, 8], tf.float32, name="x")
    module.serve = tf.function(lambda x: {"y": tf.nn.softmax(x @ kernel)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "constants"), signatures={"serving_default": module.serve})
    variables = convert(source="saved_model", data="")
    constants = convert("source.path=constants", source="saved_model", data="")
    for result in (variables, constants):
        assert result.metrics["size.float_bytes"] == 4 * 24
        assert result.metrics["size.ratio"] == pytest.approx(result.metrics["size.tflite_bytes"] / (4 * 24))
    assert "parity.top1_agreement" in constants.metrics  # a softmax


def test_metrics_without_labels_compare_with_the_named_model(convert):
    labels = "evaluation.labels=null"
    for metric in ("top1_agreement", "range_fidelity"):
        result = convert(*PRUNED, labels, f"evaluation.metric={metric}")
        assert result.status == ExitStatus.GATE
        assert result.metrics["accuracy.source"] == 1.0
        assert result.metrics["accuracy.tflite"] < 0.8
    random = convert(*PRUNED, "evaluation.max_drop=0.02", data="")
    assert random.status == ExitStatus.GATE
    assert random.metrics["parity.cosine"] > 0.9999


def test_outputs_and_inputs_that_a_step_replaced_are_bound(convert):
    twice = convert("evaluation.max_drop=0.0", before="own.py:Double")
    assert twice.status == ExitStatus.DONE, twice.problems
    assert from_source(twice)["parity.from_source_max_abs_error"] == pytest.approx(1.0, abs=0.05)
    halves = convert("evaluation.max_drop=0.0", before="own.py:Halves")
    assert halves.status == ExitStatus.DONE, halves.problems
    assert halves.metrics["accuracy.source"] == halves.metrics["accuracy.tflite"] == 1.0
    assert from_source(halves)["parity.from_source_max_abs_error"] < 1e-5


def test_renamed_outputs_are_compared_with_those_that_they_stand_for(convert):
    scored = ("source.path=two.keras", "evaluation.output=second")
    alike = convert(*scored, before="own.py:Rename")
    assert alike.status == ExitStatus.DONE, alike.problems
    assert alike.metrics["accuracy.source"] == alike.metrics["accuracy.tflite"] == 1.0
    assert from_source(alike)["parity.from_source_max_abs_error"] < 1e-6
    assert not any("by their order" in warning for warning in alike.warnings)
    other = convert("source.path=two.keras", before="own.py:Negate")
    assert other.metrics["accuracy.source"] == 1.0
    assert from_source(other)["parity.from_source_cosine"] == pytest.approx(-1.0)
    assert any("by their order" in warning for warning in other.warnings)


def test_samples_that_the_named_model_cannot_take_are_no_green_gate(convert):
    result = convert("evaluation.metric=top1_agreement", "evaluation.max_drop=0.5", before="own.py:Halves", data="")
    assert result.status == ExitStatus.FAILED
    (problem,) = result.problems
    assert (problem.where, problem.fix) == ("evaluation", "evaluation=none")
    assert convert(before="own.py:Halves", data="").status == ExitStatus.DONE


def test_the_softmax_that_logits_cuts_off_is_put_back_for_scores(convert):
    rule = ("substitution=rules", "substitution.rules=[logits]", "optimization=dynamic_range")
    fidelity = convert(*rule, "evaluation.labels=null", "evaluation.metric=range_fidelity")
    assert fidelity.status == ExitStatus.DONE, fidelity.problems
    assert fidelity.metrics["accuracy.tflite"] > 0.98
    assert from_source(fidelity)["parity.from_source_max_abs_error"] < 1e-6
    labelled = convert(*rule, "evaluation.min_score=0.99", "evaluation.max_drop=null")
    assert labelled.metrics["accuracy.source"] == 1.0
    assert [(gate.name, gate.passed) for gate in labelled.gates] == [("evaluation.min_score", True)]
    assert_ruined(convert(*rule, *PRUNED))


def test_a_search_judges_every_candidate_by_the_named_model(convert):
    schemes = "optimization.schemes=[none,float16]"
    result = convert(*PRUNED, "optimization=auto", schemes, "optimization.max_runs=2")
    assert result.status == ExitStatus.GATE, result.problems
    assert result.metrics["accuracy.source"] == 1.0
    assert from_source(result)["parity.from_source_cosine"] < 0.95


CUT = ("source.path=words.keras", "substitution=rules", "substitution.rules=[token_ids]")
SHUFFLED = """
import dataclasses
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shuffle:
    def __call__(self, state, reporter):
        layer = state.model.owner.get_layer("table")
        layer.set_weights([np.roll(layer.get_weights()[0], 1, axis=1)])
        return state
"""


def test_text_is_turned_into_ids_before_the_file_that_token_ids_cut(convert, folder):
    result = convert(*CUT, data="words.npz")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["accuracy.source"] == result.metrics["accuracy.tflite"] == 1.0
    (folder / "shuffle.py").write_text(SHUFFLED)
    before = convert(*CUT, before="shuffle.py:Shuffle", data="words.npz")
    steps = "steps=[source,'shuffle.py:Shuffle',substitution,freeze,optimization,target,evaluation]"
    first = convert(*CUT, steps, data="words.npz")
    for changed in (before, first):  # behind the cut, and before it
        assert changed.status == ExitStatus.GATE, changed.problems
        assert (changed.metrics["accuracy.source"], changed.metrics["accuracy.tflite"]) == (1.0, 0.0)


def test_a_run_whose_model_a_step_ruined_is_not_registered_and_is_reproduced_as_such(convert, tmp_path):
    uri = f"sqlite:///{tmp_path}/runs.db"
    tracking = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.register_as=pruned")
    own = convert(*KEPT, *tracking, source="saved_model", before="own.py:RuinVariables")
    ruined = convert(*PRUNED, *tracking)
    for number, run in enumerate((own, ruined)):
        assert_ruined(run)
        folder = tmp_path / f"again{number}"
        again = tflite_recipes.reproduce(run.run_id, uri, output_dir=folder, progress=False, trust=True)
        assert again.verdict is not None
        assert again.verdict.value == "identical bytes"
        assert_ruined(again.run)
    import mlflow

    client = mlflow.MlflowClient(uri)
    assert client.search_registered_models() == []
    assert "accuracy.drop" in client.get_run(ruined.run_id).data.metrics
