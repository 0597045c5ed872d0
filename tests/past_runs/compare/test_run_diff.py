"""What differs between two runs, on facts made by hand."""

import json
import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import REPOSITORY, write
from support.past_run_records import past_run

from tflite_recipes.api import compose
from tflite_recipes.past_runs.compare import run_facts
from tflite_recipes.past_runs.compare.metric_directions import better, higher_is_better
from tflite_recipes.past_runs.compare.run_diff import changes, diff_facts
from tflite_recipes.past_runs.compare.run_facts import Facts
from tflite_recipes.past_runs.compare.serialization import diff_json
from tflite_recipes.past_runs.compare.tensor_types import diff_tensors
from tflite_recipes.past_runs.compare.terminal_tables import show_diff

OLD = REPOSITORY / "tests" / "golden" / "old_recipes"


def tensor(name, dtype):
    return {"name": name, "dtype": dtype, "shape": [1]}


def op(name, inputs, outputs, subgraph=0):
    return {"subgraph": subgraph, "index": 0, "name": name, "inputs": inputs, "outputs": outputs}


def ops(*operators):
    names = [one["name"] for one in operators]
    return {
        "operators": list(operators),
        "op_counts": {name: names.count(name) for name in names},
        "tensor_dtypes": {"float32": 2},
    }


FLOAT = ops(
    op("CONV_2D", [tensor("in", "float32"), tensor("a/conv/w", "float32"), None], [tensor("a/conv/out", "float32")]),
    op("SOFTMAX", [tensor("a/conv/out", "float32")], [tensor("end", "float32")]),
)
INT8 = ops(
    op("QUANTIZE", [tensor("in", "float32")], [tensor("in_int8", "int8")]),
    op("CONV_2D", [tensor("in_int8", "int8"), tensor("a/conv/w", "int8"), None], [tensor("a/conv/out", "int8")]),
    op("SOFTMAX", [tensor("a/conv/out", "int8")], [tensor("end", "int8")]),
)

A = Facts(
    past_run(1, {"size.tflite_bytes": 4000.0, "accuracy.tflite": 0.9, "ops.flex": 0.0, "time.total_s": 3.0}),
    {"optimization": "none", "source.epochs": 4, "worker.timeout_s": None, "calibration.low": None},
    {"python": "3.11", "cpu": "x", "keras": "3.15"},
    {"source.path": "abc"},
    FLOAT,
    {"a/conv/out": "conv"},
)
B = Facts(
    past_run(
        2,
        {"size.tflite_bytes": 1000.0, "accuracy.tflite": 0.8, "ops.flex": 0.0, "calibration.stability": 0.9},
        tags={
            "gate.evaluation.max_drop": "0.1 of 0.02, 0.08 over: FAILED",
            "outcome": "gate_failed",
            "warnings": "few",
        },
    ),
    {"optimization": "integer_only", "source.epochs": 4, "worker.timeout_s": 5, "calibration.samples": 10},
    {"python": "3.12", "cpu": "x", "keras": "3.15"},
    {"source.path": "abc"},
    INT8,
)


def test_config_is_added_removed_and_changed_without_what_is_aside():
    found = diff_facts(A, B)
    assert [(one.name, one.kind, one.a, one.b) for one in found.config] == [
        ("calibration.low", "removed", None, None),
        ("calibration.samples", "added", None, 10),
        ("optimization", "changed", "none", "integer_only"),
    ]
    asked = diff_facts(A, B, everything=True)
    assert {one.name for one in asked.config} - {one.name for one in found.config} == {"worker.timeout_s"}


def test_digests_are_told_whether_the_same_or_not():
    kinds = {one.name: one.kind for one in diff_facts(A, B).digests}
    assert kinds == {"recipe_digest": "changed", "source_sha256": "same", "source.path": "same"}


def test_environment_gates_and_warnings_of_one_alone():
    found = diff_facts(A, B)
    assert [(one.name, one.a, one.b) for one in found.environment] == [("python", "3.11", "3.12")]
    assert found.same["environment"] == 2
    assert [(one.name, one.kind) for one in found.gates] == [("evaluation.max_drop", "added")]
    assert [(one.name, one.kind) for one in found.warnings] == [("few", "added")]
    assert (found.a.outcome, found.b.outcome) == ("passed", "gate_failed")


def test_metrics_have_their_changes_and_which_is_better():
    found = {one.name: one for one in diff_facts(A, B).metrics}
    size = found["size.tflite_bytes"]
    assert (size.absolute, size.relative, size.better) == (-3000.0, -0.75, True)
    assert found["accuracy.tflite"].better is False
    assert (found["ops.flex"].changed, found["ops.flex"].relative) == (False, None)
    assert (found["calibration.stability"].absolute, found["calibration.stability"].changed) == (None, True)


def test_a_score_by_another_metric_is_not_better_or_worse():
    other = replace(B, run=replace(B.run, params={**B.run.params, "accuracy.metric": "mean_absolute_error"}))
    assert next(one for one in diff_facts(A, other).metrics if one.name == "accuracy.tflite").better is None


def test_tensors_are_matched_by_name_with_their_layers():
    found = diff_facts(A, B)
    assert found.ops == {"CONV_2D": (1, 1), "SOFTMAX": (1, 1), "QUANTIZE": (0, 1)}
    assert [(one.name, one.layer, one.op, one.role, one.a, one.b) for one in found.tensors.changed] == [
        ("a/conv/w", "conv", "CONV_2D", "input 1", "float32", "int8"),
        ("a/conv/out", "conv", "CONV_2D", "output 0", "float32", "int8"),
        ("end", "", "SOFTMAX", "output 0", "float32", "int8"),
    ]
    assert (found.tensors.same, found.tensors.only_a, found.tensors.only_b) == (1, (), ("in_int8",))


def test_tensors_of_one_name_are_told_apart_by_graph_and_joined_within():
    twice = [tensor("c", "int32"), tensor("c", "float32")]
    a = ops(op("ADD", twice, [tensor("y", "float32")]), op("ADD", [tensor("c", "int8")], [], subgraph=1))
    b = ops(op("ADD", twice[:1], [tensor("y", "float32")]), op("ADD", [tensor("c", "int8")], [], subgraph=1))
    (change,) = diff_tensors(a, b).changed
    assert (change.name, change.a, change.b) == ("c", "float32 + int32", "int32")


def test_a_run_without_a_model_still_differs_and_is_told():
    failed = Facts(past_run(3, status="FAILED", tags={"outcome": "failed"}), missing=("no model (failed)",))
    found = diff_facts(A, failed)
    assert found.notes == (f"{3:032x} has no model (failed)",)
    assert found.ops == {"CONV_2D": (1, 0), "SOFTMAX": (1, 0)}
    assert found.tensors.changed == ()
    # Without a recipe.yaml of both, both configs are those of the params: text against text.
    assert found.config == ()
    assert found.environment == ()
    assert found.differs


@dataclass(frozen=True)
class Kept:
    """The text artifacts of a run, in the place of the runs that a server has."""

    texts: dict[str, str]

    def text(self, run, name):
        return self.texts.get(name)

    def json(self, run, name):
        return {"op_counts": {}}


def tagged(digest, **tags):
    return past_run(1, tags={"recipe_digest": digest, **tags})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["digits_integer_only", "digits_auto"])
def test_old_run_has_the_digest_of_today_beside_a_new_one(here, recipe):
    old = (OLD / f"{recipe}.yaml").read_text()
    new = compose(str(write(here / "x.yaml", old)))
    (logged,) = re.findall(r"recipe digest ([0-9a-f]{64})", old)
    sides = [
        run_facts.read(Kept({"recipe.yaml": old}), tagged(logged)),
        run_facts.read(Kept({"recipe.yaml": new.to_yaml()}), tagged(new.digest)),
    ]
    assert [side.recipe_digest for side in sides] == [new.digest, new.digest]
    found = diff_facts(*sides)
    assert [(one.name, one.kind) for one in found.digests if one.name == "recipe_digest"] == [("recipe_digest", "same")]
    assert found.config == ()


def test_search_has_the_digest_of_its_own_recipe_and_not_of_what_it_found():
    search, found = ((OLD / f"{name}.yaml").read_text() for name in ("digits_auto", "digits_integer_only"))
    (logged,) = re.findall(r"recipe digest ([0-9a-f]{64})", search)
    read = run_facts.read(Kept({"search.yaml": search, "recipe.yaml": found}), tagged(logged, chosen_digest="c" * 64))
    assert read.recipe_digest == compose(str(OLD / "digits_auto.yaml")).digest


def test_digest_stays_as_tagged_where_it_is_of_another_recipe():
    text = (OLD / "digits_auto.yaml").read_text()
    assert run_facts.read(Kept({"recipe.yaml": text}), tagged("d" * 64)).recipe_digest == "d" * 64
    assert run_facts.read(Kept({}), tagged("d" * 64)).recipe_digest == "d" * 64
    assert run_facts.read(Kept({"recipe.yaml": text}), tagged("")).recipe_digest == ""


def test_what_a_recipe_file_says_by_key():
    text = """
defaults: [/base, {/mine: own}, {override /optimization: none}, _self_]
name: x
steps: [source]
pruning: null
optimization: {_target_: a.B, rules: [{name: x, op: y}], input_shapes: {}, nested: {low: null}}
"""
    assert run_facts.config_of(text) == {
        "mine": "own",
        "optimization": "none",
        "steps": ["source"],
        "optimization.rules": [{"name": "x", "op": "y"}],
        "optimization.input_shapes": {},
        "optimization.nested.low": None,
    }


VALUES = st.none() | st.booleans() | st.integers(0, 2) | st.text("ab", max_size=2)
CONFIGS = st.dictionaries(st.text("abc.", min_size=1, max_size=3), VALUES, max_size=6)
TEXTS = st.dictionaries(st.sampled_from(["python", "cpu", "keras"]), st.sampled_from("12"), max_size=3)
METRICS = st.dictionaries(
    st.sampled_from(["accuracy.tflite", "parity.cosine", "size.tflite_bytes", "time.total_s", "new"]),
    st.sampled_from([0.0, 1.0, -2.5, float("nan")]),
)
TENSORS = st.lists(st.builds(tensor, st.sampled_from("abcd"), st.sampled_from(["int8", "float32"])), max_size=3)
OPS = st.lists(st.builds(op, st.sampled_from(["ADD", "MUL"]), TENSORS, TENSORS, st.integers(0, 1)), max_size=5)
RUNS = st.builds(
    past_run,
    st.integers(1, 3),
    METRICS,
    st.dictionaries(
        st.sampled_from(["accuracy.metric", "evaluation.higher_is_better"]), st.sampled_from(["mine", "true", "false"])
    ),
    st.dictionaries(
        st.sampled_from(["warnings", "gate.a", "gate.b", "outcome", "verdict"]), st.sampled_from(["x", "y\nx"])
    ),
)
FACTS = st.builds(
    Facts,
    RUNS,
    st.none() | CONFIGS,
    TEXTS,
    st.dictionaries(st.sampled_from(["source.path"]), st.sampled_from(["12", "34"])),
    OPS.map(lambda found: ops(*found) if found else {}),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["one", "two"])),
    st.sampled_from([(), ("no model (failed)",)]),
)


@given(FACTS)
def test_a_run_does_not_differ_from_itself(one):
    found = diff_facts(one, one)
    assert not found.differs
    assert (found.config, found.environment, found.gates, found.warnings) == ((), (), (), ())
    assert found.tensors.changed == ()
    assert not any(metric.changed for metric in found.metrics)


@pytest.mark.slow
@given(FACTS, FACTS)
def test_exchanged_it_is_the_mirror_image(one, other):
    assert repr(diff_facts(other, one)) == repr(diff_facts(one, other).mirrored())


@given(CONFIGS, CONFIGS)
def test_changes_make_the_one_from_the_other(a, b):
    made = dict(a)
    for change in changes(a, b):
        if change.kind == "removed":
            del made[change.name]
        else:
            made[change.name] = change.b
    assert made == b


@given(FACTS, FACTS)
def test_json_has_no_infinity_and_survives(one, other):
    data = diff_json(diff_facts(one, other))
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("parity.sqnr_db", {}, True),
        ("size.tflite_bytes", {}, False),
        ("accuracy.drop", {}, False),
        ("accuracy.tflite", {"accuracy.metric": "accuracy"}, True),
        ("accuracy.tflite", {"accuracy.metric": "mean_absolute_error"}, False),
        ("accuracy.tflite", {"accuracy.metric": "own.py:loss", "evaluation.higher_is_better": "False"}, False),
        ("accuracy.tflite", {"accuracy.metric": "own.py:score", "evaluation.higher_is_better": "True"}, True),
    ],
)
def test_the_direction_of_a_metric(name, params, expected):
    assert higher_is_better(name, params) is expected
    assert better(name, 1.0, 2.0, params) is expected
    assert better(name, 1.0, 1.0, params) is None


def test_how_long_it_took_is_neither_better_nor_worse():
    assert better("time.total_s", 1.0, 2.0, {}) is None


def test_how_long_it_took_is_no_difference(capsys):
    slower = replace(A.run, metrics={**A.run.metrics, "time.total_s": 30.0})
    found = diff_facts(A, replace(A, run=slower))
    assert not found.differs
    assert [metric.name for metric in found.metrics if metric.changed] == ["time.total_s"]
    show_diff(found)
    assert "nothing differs, but for how long it took: " in capsys.readouterr().out


def test_shares_are_told_where_they_say_something(capsys):
    named = {"accuracy.drop": (-0.1, 2.0), "parity.sqnr_db": (10.0, 20.0), "latency.p50_ms": (1.0, 30.0)}
    one, two = (replace(A, run=replace(A.run, metrics={n: v[i] for n, v in named.items()})) for i in (0, 1))
    show_diff(diff_facts(one, two))
    out = capsys.readouterr().out
    assert "(×30)" in out
    assert "×22" not in out
    assert "(+2.1e+03%)" in out
    assert "(+100%)" not in out


def test_on_a_terminal_what_differs_is_beside_and_the_rest_in_a_line(capsys):
    show_diff(diff_facts(A, B))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for line in (
        ["optimization", "none", "integer_only"],
        ["source_sha256", "s", "s", "the", "same"],
        ["python", "3.11", "3.12"],
        ["QUANTIZE", "-", "1"],
        ["a/conv/w", "conv", "CONV_2D", "input", "1", "float32", "int8"],
        ["size.tflite_bytes", "4,000", "B", "1,000", "B", "-3,000", "B", "(-75%)", "better"],
        ["warning", "only", "in", "b:", "few"],
    ):
        assert line in lines
    assert lines[-1][:8] == ["the", "same", "in", "both:", "1", "key,", "2", "packages"]
    show_diff(diff_facts(A, A))
    assert "nothing differs: 3 keys, 3 digests, 3 packages" in capsys.readouterr().out


def test_of_many_tensors_some_are_shown_unless_all_are_asked_for(capsys):
    one, two = (ops(*(op("ADD", [], [tensor(f"t{n:02}", kind)]) for n in range(30))) for kind in ("float32", "int8"))
    found = diff_facts(replace(A, ops=one), replace(A, ops=two))
    show_diff(found)
    out = capsys.readouterr().out
    assert "tensors by name: float32 -> int8 (30)" in out
    assert "and 10 more" in out
    show_diff(found, everything=True)
    assert "t29" in capsys.readouterr().out
