"""A search as a request, and what it leaves: candidates as recipes, table, plot and page. No TensorFlow."""

import csv
import io
import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.checkout import REPOSITORY, first_way
from support.page_check import Checked

from tflite_recipes import api
from tflite_recipes.config import composition
from tflite_recipes.conversion.quality import tensor_errors
from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus, Problem
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.result import RunResult
from tflite_recipes.core.state import Gate
from tflite_recipes.engine.search import asked_of, delivery, hints, rehearsed
from tflite_recipes.engine.search.candidate_outcome import DROP_GATE, Head, Outcome, best_of_each
from tflite_recipes.engine.search.candidates import Candidate, Rule, folder_name, others, recipe_of
from tflite_recipes.engine.search.search_loop import outcome_of, space_of
from tflite_recipes.engine.search.search_page import render
from tflite_recipes.engine.search.search_plot import pareto
from tflite_recipes.report import console
from tflite_recipes.steps.auto_optimization import AutoOptimization

SVG = "{http://www.w3.org/2000/svg}"


def problems(*overrides, recipe="digits_auto"):
    return {problem.where: problem for problem in api.check(recipe, overrides)}


def test_the_option_allows_every_scheme():
    values = yaml.safe_load((REPOSITORY / "conf" / "optimization" / "auto.yaml").read_text(encoding="utf-8"))
    assert set(values["schemes"]) == set(Scheme.__members__)
    assert set(AutoOptimization().schemes) == set(Scheme)


@pytest.mark.slow
def test_a_search_needs_a_gate(here):
    found = problems("evaluation.max_drop=null")
    assert found["evaluation.max_drop"].fix == "evaluation.max_drop=0.01"
    assert problems("evaluation.max_drop=null", "evaluation.min_score=0.9") == {}
    (found,) = problems("evaluation=none").values()
    assert problems("evaluation=none", *shlex.split(found.fix)) == {}
    Path("model.keras").write_bytes(b"")
    found = problems("source=keras", "source.path=model.keras", "optimization=auto", recipe="convert")
    (said,) = (problem for where, problem in found.items() if where.startswith("evaluation"))
    assert said.fix.endswith("evaluation.max_drop=0.01")
    assert first_way(found["calibration"]) == "calibration=npz calibration.path=FILE"


def test_a_search_needs_data_for_the_schemes_that_are_calibrated(here):
    found = problems("calibration=none")
    assert first_way(found["calibration"]) == "calibration=digits"
    (other,) = map(shlex.split, found["calibration"].alternatives)
    assert {"dynamic_range", "float16", "none"} <= set(re.findall(r"\w+", other[0].partition("=")[2]))
    assert problems("calibration=none", *other) == {}


def test_a_search_for_latency_needs_a_target_that_measures_it(here):
    assert problems("optimization.objective=latency")["target"].fix == "target=cpu"
    assert problems("optimization.objective=latency", "target=cpu") == {}


def test_types_that_no_scheme_gives(here):
    asked = ["optimization.input_type=int16", "optimization.output_type=int16"]
    found = problems(*asked, "optimization.schemes=[integer_only,none]")["optimization.input_type"]
    assert found.fix == "'optimization.schemes=[int16x8,int16x8_fallback]'"
    assert problems(*asked, "optimization.schemes=[int16x8]") == {}
    none = problems("optimization.input_type=int16", "optimization.output_type=int8")["optimization.input_type"]
    assert none.fix == "optimization.input_type=null optimization.output_type=null"


def test_a_search_that_may_try_nothing(here):
    assert set(problems("optimization.schemes=[]", "optimization.quantizers=[]", "optimization.max_runs=0")) == {
        "optimization.max_runs"
    }
    assert set(problems("optimization.schemes=[]", "optimization.quantizers=[]")) == {
        "optimization.schemes",
        "optimization.quantizers",
    }
    asked = ("optimization.schemes=[weight_only_int4]", "optimization.quantizers=[tflite_converter]")
    found = problems(*asked)["optimization.quantizers"]
    assert found.fix == "'optimization.quantizers=[tflite_converter,litert_quantizer]'"


@pytest.mark.slow
def test_a_candidates_recipe_is_the_one_that_is_composed_by_hand(here):
    recipe = composition.compose("digits_auto", ["calibration.samples=50", "optimization.max_runs=4"])
    found = recipe_of(recipe, asked_of(recipe), Candidate("int16x8", "litert_quantizer"))
    by_hand = ["calibration.samples=50", "optimization=int16x8", "optimization.quantizer=litert_quantizer"]
    assert found.digest == composition.compose("digits_auto", by_hand).digest
    assert list(found.overrides) == by_hand
    assert asked_of(found) is None
    assert found.choices["optimization"] == "int16x8"
    Path("found.yaml").write_text(found.to_yaml(), encoding="utf-8")
    assert composition.compose("found.yaml").digest == found.digest


def test_types_that_are_asked_for_bind_every_candidate(here):
    recipe = composition.compose("digits_auto", ["optimization.input_type=uint8"])
    auto = asked_of(recipe)
    assert recipe_of(recipe, auto, Candidate("full_integer", "tflite_converter")).config["optimization"]["input_type"]
    candidate, made = rehearsed(recipe)
    assert (candidate.scheme, made.config["optimization"]["input_type"]) == ("integer_only", "uint8")  # no weight_only
    only = composition.compose("digits_auto", ["optimization.input_type=int16"])
    assert rehearsed(only)[0].scheme == "int16x8"  # the first that can
    assert rehearsed(composition.compose("digits_float")) is None


def test_only_overrides_of_the_optimization_are_replaced():
    given = ["optimization=auto", "++optimization.max_runs=2", "~optimization.x", "optimizations=1", "a=optimization"]
    assert others(given) == ["optimizations=1", "a=optimization"]


def test_a_candidate_in_words():
    rules = (Rule("a", "*", "float"), Rule("b", "*", "float"), Rule("c", "*", "int16x8"))
    candidate = Candidate("full_integer", "litert_quantizer", (("equalize", True), ("block_size", 32)), rules)
    assert str(candidate) == "full_integer, litert_quantizer, equalize, block_size 32, 2 ops float, 1 op int16x8"
    name = "03_full_integer_litert_quantizer_equalize_block_size_32_2_ops_float_1_op_int16x8"
    assert folder_name(3, candidate) == name


def test_a_tensors_rule_finds_that_tensor_alone():
    rule = Rule.of_tensor("a/b(1);c:0", "float")
    assert re.search(rule.name, "a/b(1);c:0")
    assert not re.search(rule.name, "a/b(1);c:01")


def test_space_of_a_search(here):
    space = space_of(asked_of(composition.compose("digits_auto", ["optimization.quantizers=[litert_quantizer]"])))
    assert space.quantizers == ("litert_quantizer",)
    assert {"quantizer", "per_channel", "equalize", "rules", "block_size"} <= space.keys


CHAIN = [
    ("CONV_2D", ("image", "w"), ("features",)),
    ("FULLY_CONNECTED", ("features", "w2"), ("logits",)),
    ("SOFTMAX", ("logits",), ("probabilities_int8",)),
    ("DEQUANTIZE", ("probabilities_int8",), ("probabilities",)),
    ("FULLY_CONNECTED", ("features", "w3"), ("box",)),
    ("MEAN", ("features",), ("mean",)),
]


def test_the_ends_of_a_file():
    assert hints.heads_of(CHAIN) == (Head("probabilities_int8", "logits"), Head("", "box"))
    assert hints.heads_of([]) == ()
    assert hints.heads_of([("RESHAPE", ("b",), ("a",)), ("RESHAPE", ("a",), ("b",))]) == ()


def error(tensor, op, own, inputs=()):
    return tensor_errors.TensorError(
        tensor, "", op, "activation", "int8", (None, 4), 0.1, 0, own, own, 0.1, 0.3, 0.0, inputs=inputs, output=tensor
    )


def test_the_files_of_a_run_tell_its_ends_and_the_ops_that_lose_most(tmp_path):
    assert hints.losing_ops(tmp_path) == hints.heads(tmp_path) == ()
    listed = [
        {
            "subgraph": 0,
            "name": op,
            "inputs": [None, *({"name": n} for n in ins)],
            "outputs": [{"name": n} for n in outs],
        }
        for op, ins, outs in CHAIN
    ]
    (tmp_path / "ops.json").write_text(json.dumps({"operators": listed}))
    assert hints.heads(tmp_path) == hints.heads_of(CHAIN)
    rows = [
        error("image", "INPUT", 60.0),
        error("float_logits", "FULLY_CONNECTED", 20.0, ("image",)),
        error("flat", "RESHAPE", 5.0, ("float_logits",)),
        error("float_probabilities", "SOFTMAX", 10.0, ("flat",)),
    ]
    tensor_errors.write_csv(tmp_path / "quantization_error.csv", rows)
    assert hints.losing_ops(tmp_path) == ("float_probabilities", "float_logits")
    assert hints.heads(tmp_path) == (Head("float_probabilities", "float_logits"),)  # rules go by these names


def made(number, scheme, size, drop, kind=None, latency=None, **more):
    passed = drop is not None and drop <= 0.01
    gates = (Gate(DROP_GATE, drop, 0.01, passed),) if drop is not None else ()
    return Outcome(
        number,
        Candidate(scheme, "tflite_converter"),
        kind or ("passed" if passed else "missed"),
        size=size,
        latency=latency,
        source_score=0.9,
        score=None if drop is None else 0.9 - drop,
        drop=drop,
        gates=gates,
        **more,
    )


OUTCOMES = [
    made(1, "integer_only", 1000, 0.2, reason="evaluation.max_drop 0.2 of 0.01"),
    made(2, "dynamic_range", 1100, 0.005, run_id="abc", folder=Path("x/02_dynamic_range")),
    made(3, "int16x8", None, None, "failed", reason="<no> kernel & no way, 'x'"),
    made(4, "none", 4000, 0.0),
    made(5, "float16", 2000, 0.1),
]


def test_the_table_has_every_candidate():
    rows = list(csv.DictReader(io.StringIO(delivery.table(OUTCOMES, OUTCOMES[1]))))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["chosen"] for row in rows] == ["", "yes", "", "", ""]
    assert (rows[1]["size_bytes"], rows[1]["drop"], rows[1]["run_id"]) == ("1100", "0.005", "abc")
    assert (rows[2]["status"], rows[2]["reason"], rows[2]["size_bytes"]) == ("failed", "<no> kernel & no way, 'x'", "")
    assert rows[0]["gates"] == "evaluation.max_drop 0.2 of 0.01, 0.19 over: FAILED"


def test_the_best_of_each_scheme_is_told_whatever_became_of_it():
    ruled = Candidate("integer_only", "tflite_converter", (), (Rule.of_tensor("a.b/c;d", "float"),))
    rescued = replace(made(6, "integer_only", 1010, 0.05), candidate=ruled)
    outcomes = [*OUTCOMES, rescued]
    each = best_of_each(["integer_only", "int16x8", "weight_only_int4", "none"], outcomes, "size")
    rows = list(csv.DictReader(io.StringIO(delivery.table(each, OUTCOMES[3]))))
    assert [row["scheme"] for row in rows] == ["integer_only", "int16x8", "weight_only_int4", "none"]
    assert [row["status"] for row in rows] == ["missed", "failed", "not tried", "passed"]
    assert [row["number"] for row in rows] == ["6", "3", "", "4"]
    assert (rows[0]["drop"], rows[0]["ruled_ops"]) == ("0.05", "a.b/c")
    assert [row["chosen"] for row in rows] == ["", "", "", "yes"]


def test_the_plot_shows_who_has_a_file_the_front_the_gate_and_the_choice():
    plot = ElementTree.fromstring(pareto(OUTCOMES, OUTCOMES[1], "size"))
    dots = [one for one in plot.iter(f"{SVG}circle") if one.get("r") == "5"]
    (ring,) = (one for one in plot.iter(f"{SVG}circle") if one.get("r") == "9")
    assert len(dots) == 4
    by_name = {one.find(f"{SVG}title").text: one for one in dots}
    chosen = by_name["2 dynamic_range: passed"]
    assert (ring.get("cx"), ring.get("cy")) == (chosen.get("cx"), chosen.get("cy"))
    (line,) = plot.iter(f"{SVG}polyline")
    assert len(line.get("points").split()) == 3  # float16 is larger and worse than dynamic_range
    (gate,) = plot.iter(f"{SVG}line")
    heights = {name: float(one.get("cy")) for name, one in by_name.items()}
    # upwards is a larger drop, so what passes lies below the line
    assert heights["2 dynamic_range: passed"] > float(gate.get("y1")) > heights["1 integer_only: missed"]
    across = [float(by_name[name].get("cx")) for name in ("1 integer_only: missed", "4 none: passed")]
    assert across == sorted(across)


@pytest.mark.parametrize(("outcomes", "dots"), [([], []), (OUTCOMES[2:3], []), (OUTCOMES[3:4], ["4 none: passed"])])
def test_the_plot_of_little(outcomes, dots):
    plot = ElementTree.fromstring(pareto(outcomes, None, "size"))
    assert [one.find(f"{SVG}title").text for one in plot.iter(f"{SVG}circle")] == dots
    assert ("no candidate has a file and a measured drop" in "".join(plot.itertext())) == (not dots)


def test_the_plot_of_a_search_for_latency():
    outcomes = [made(1, "none", 10, 0.0, latency=2.0), made(2, "float16", 5, 0.0, latency=4.0)]
    text = pareto(outcomes, outcomes[0], "latency")
    assert "latency.p50_ms (ms)" in text
    assert len(ElementTree.fromstring(text).find(f"{SVG}polyline").get("points").split()) == 1


class Page(Checked):
    """A page whose links stay in its folder."""

    def link(self, where):
        if not where.startswith("candidates/"):
            super().link(where)


def test_the_page_is_whole_and_safe(here):
    recipe = composition.compose("digits_auto")
    found = "name: <found>"
    plot = pareto(OUTCOMES, OUTCOMES[1], "size")
    page = Page(
        render(recipe, OUTCOMES, OUTCOMES[:1], OUTCOMES[1], plot, found, {"size.tflite_bytes": 1100.0}, ["a <warning>"])
    )
    text = " ".join(page.text)
    for part in ("passed", "2 dynamic_range", "<no> kernel", "1,100 B", "name: <found>", "AutoOptimization"):
        assert part in text
    nearest = Page(render(recipe, OUTCOMES, [], OUTCOMES[0], "", found, {}, []))
    assert "no candidate passes" in " ".join(nearest.text)
    assert "no candidate gave a file" in " ".join(Page(render(recipe, [], [], None, "", "", {}, [])).text)


def test_a_result_is_an_outcome(tmp_path):
    gates = (Gate("target.flash_kb", 9.0, 8.0, False), Gate(DROP_GATE, 0.25, 0.5, True))
    metrics = {"size.tflite_bytes": 9216.0, "accuracy.source": 0.9, "accuracy.tflite": 0.7, "accuracy.drop": 0.2}
    result = RunResult("r", "d", ExitStatus.GATE, tmp_path, tmp_path / "model.tflite", metrics, gates)
    result = replace(result, outcome=RunOutcome.gate_failed)
    outcome = outcome_of(2, Candidate("none", "tflite_converter"), result)
    assert (outcome.outcome, outcome.drop, outcome.reason) == ("missed", 0.25, "target.flash_kb 9 of 8")
    assert not outcome.only_lost_quality
    failed = RunResult("r", "d", ExitStatus.FAILED, tmp_path, problems=(Problem("no kernel", "ELU", "fix=1"),))
    outcome = outcome_of(3, Candidate("int16x8", "tflite_converter"), failed)
    assert (outcome.outcome, outcome.reason, outcome.size) == ("failed", "ELU: no kernel", None)


def test_a_candidate_is_a_line_on_the_terminal():
    stream = io.StringIO()
    listener = console.Console(stream)
    listener(events.Progress("candidates", 0, 30, "integer_only"))
    metrics = {"size.tflite_bytes": 28416.0, "accuracy.tflite": 0.98, "accuracy.drop": 0.001}
    listener(events.Tried(1, "integer_only", "passed", metrics))
    listener(events.Tried(2, "int16x8", "failed", {}, "ELU: no [kernel]"))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines == [
        "1 integer_only 28,416 B metric 0.98 drop 0.001 passed",
        "2 int16x8 failed: ELU: no [kernel]",
    ]


def test_an_event_of_a_search_survives_json():
    event = events.Tried(2, "int16x8", "failed", {"size.tflite_bytes": 1.0}, "why")
    assert events.from_json(events.to_json(event)) == event


def test_the_result_of_a_search_names_the_recipe(capsys, tmp_path):
    result = RunResult(
        "mine", "d", ExitStatus.DONE, tmp_path, tmp_path / "model.tflite", found=tmp_path / "recipe.yaml"
    )
    result = replace(result, outcome=RunOutcome.done)
    console.show_result(result)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "mine: done",
        f"recipe: {tmp_path / 'recipe.yaml'}",
        f"model:  {tmp_path / 'model.tflite'}",
        "run ID: none (not tracked)",
    ]
