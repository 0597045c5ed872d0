"""Models that plain int8 spoils, and what a search within integer schemes wins back, on data that it did not see."""

import csv

import numpy as np
import pytest
from support.checkout import REPOSITORY
from support.tf_scripts import run_script

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow

# The scheme that may be tried, how the case is scored, and what the winner has to be for the reason that it wins.
FIDELITY = ["evaluation.labels=null", "evaluation.metric=range_fidelity"]
RESCUED = {
    "depthwise": ("integer_only", [], "equalize"),
    "many_classes": ("full_integer", [], "1 op float"),
    "two_scales": ("full_integer", [*FIDELITY, "evaluation.max_drop=0.02"], "op"),
    "wide_regressor": (
        "full_integer",
        ["evaluation.metric=function", "evaluation.function=metric.py:log_r2"],
        "full_integer",
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescue")
    run_script(REPOSITORY / "benchmarks" / "rescue_models.py", folder, *RESCUED)
    return folder


def asked(data, scoring, *overrides):
    """A request in the folder of a case, judged by `data` with a limit of 1 % of the source's score, or the case's."""
    calibration = ["calibration=npz", "calibration.path=calibration.npz"]
    gate = [f"evaluation.path={data}", "evaluation.max_drop=0.01", "evaluation.relative_drop=true"]
    source = ["source=keras", "source.path=model.keras", "tracking=none"]
    return [*source, *calibration, "evaluation=npz", *gate, *scoring, *overrides]


@pytest.mark.parametrize("case", RESCUED)
def test_a_search_wins_back_what_plain_int8_loses(models, monkeypatch, tmp_path, case):
    scheme, scoring, because = RESCUED[case]
    monkeypatch.chdir(models / case)
    # The metadata would tell the recipe of the search from the one that is judged by other samples.
    plain = "target.metadata=false"
    search = asked("search.npz", scoring, "optimization=auto", f"optimization.schemes=[{scheme}]", plain)
    found = api.run("convert", search, output_dir=tmp_path / "search", progress=False)
    assert found.status == ExitStatus.DONE, (found.problems, found.warnings)
    rows = list(csv.DictReader((tmp_path / "search" / "search.csv").read_text(encoding="utf-8").splitlines()))
    (chosen,) = (row for row in rows if row["chosen"])
    assert because in chosen["candidate"]
    assert rows[0]["candidate"] == scheme
    assert float(rows[0]["drop"]) > 0.01 * abs(float(rows[0]["metric_source"]))

    again = [f"evaluation.path={models / case / 'held_out.npz'}"]
    result = api.run(str(found.found), again, output_dir=tmp_path / "held_out", progress=False)
    assert result.status == ExitStatus.DONE, (result.problems, result.gates)
    assert result.path.read_bytes() == found.path.read_bytes()
    assert result.metrics["accuracy.relative_drop"] <= result.gates[0].limit <= 0.02


def test_a_rule_finds_the_last_layer_by_the_name_that_the_model_has_for_it(models, monkeypatch, tmp_path):
    """In the file its output is named after nothing in the model."""
    monkeypatch.chdir(models / "many_classes")
    rule = 'optimization.rules=[{name: "^probabilities$", op: SOFTMAX, scheme: float}]'
    for quantizer in ("tflite_converter", "litert_quantizer"):
        words = asked("held_out.npz", [], "optimization=full_integer", f"optimization.quantizer={quantizer}", rule)
        result = api.run("convert", words, output_dir=tmp_path / quantizer, progress=False)
        assert result.status == ExitStatus.DONE, (result.problems, result.gates)
        assert result.metrics["rules.0.matched_ops"] == result.metrics["ops.float"] == 1
        assert not [text for text in result.warnings if "stayed float" in text]


def test_the_data_of_a_case_does_not_overlap(models):
    for case in RESCUED:
        parts = [np.load(models / case / f"{name}.npz") for name in ("calibration", "search", "held_out")]
        (name,) = (key for key in parts[0].files if key != "labels")
        rows = [row.tobytes() for part in parts for row in part[name]]
        assert len(rows) >= 4000
        assert len(set(rows)) > 0.99 * len(rows)  # a digit may be drawn twice alike
