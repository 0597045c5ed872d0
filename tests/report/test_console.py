"""What people see of a run."""

import io

import pytest

from tflite_recipes.core import events, number_format
from tflite_recipes.core.errors import ExitStatus, Problem
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.result import RunResult
from tflite_recipes.core.state import Gate
from tflite_recipes.report import console


def told(*happened):
    stream = io.StringIO()
    listener = console.Console(stream)
    for event in happened:
        listener(event)
    return stream.getvalue().splitlines()


def test_progress_is_one_line_a_part_where_nobody_looks_on():
    lines = told(
        events.StepStarted("source", "digits"),
        events.Progress("training epochs", 1, 3, "loss 1.0"),
        events.Progress("training epochs", 3, 3, "loss 0.1"),
        events.Progress("calibration samples", 5, 100),
        events.StepFinished("source", 1.234),
    )
    assert lines == ["• source = digits", "  training epochs 3/3  loss 0.1", "  calibration samples 5/100", "  1.2 s"]


def test_names_with_brackets_are_no_markup():
    assert told(events.Warned("layer [red]conv[/red] stayed float")) == [
        "  warning: layer [red]conv[/red] stayed float"
    ]


def test_a_death_shows_the_end_of_the_log():
    problems = (Problem("it died", "source"),)
    assert told(events.RunFinished(RunOutcome.failed, 1.0, problems, "Traceback …")) == []
    lines = told(events.RunFinished(RunOutcome.failed, 1.0, problems, "one\ntwo", died=True))
    assert lines == ["the last lines of converter.log:", "  | one", "  | two"]


def test_a_gate_shows_its_fix_and_the_other_ways():
    gate = Gate("target.flash_kb", 2.0, 1.0, False, fix="optimization=float16", alternatives=("a smaller model",))
    assert told(events.Judged(gate))[1:] == ["  fix: optimization=float16", "  or: a smaller model"]
    gate = Gate("target.flash_kb", 2.0, 1.0, False, fix="calibration=npz calibration.path=FILE")
    assert told(events.Judged(gate))[1:] == ["  or: calibration=npz calibration.path=FILE"]


def test_the_last_lines_are_the_path_and_the_run(capsys, tmp_path):
    gate = Gate("target.flash_kb", 27.75, 16.0, False)
    metrics = {"size.tflite_bytes": 28416.0, "time.source_s": 3.0, "time.total_s": 4.0}
    result = RunResult(
        *("mine", "d" * 64, ExitStatus.GATE, tmp_path, tmp_path / "model.tflite", metrics, (gate,)),
        run_id="abc",
        outcome=RunOutcome.gate_failed,
    )
    console.show_result(result)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["mine: gate_failed", f"model:  {tmp_path / 'model.tflite'}", "run ID: abc"]
    assert [line.split() for line in lines[:3]] == [
        ["size.tflite_bytes", "28,416", "B"],
        ["time.total_s", "4.0", "s"],
        ["gate", "target.flash_kb", "27.75", "of", "16,", "11.75", "over:", "FAILED"],
    ]


def test_an_estimate_is_called_one(capsys, tmp_path):
    metrics = {"target.cycles": 5000.0, "target.macs": 7.0}
    tags = number_format.estimated(["target.cycles"])
    path = tmp_path / "model.tflite"
    console.show_result(RunResult("mine", "d" * 64, ExitStatus.DONE, tmp_path, path, metrics, tags=tags))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[:2]]
    assert lines == [["target.cycles", "estimated", "5,000"], ["target.macs", "7"]]


@pytest.mark.parametrize("said", ["digits/3", "no: a gate failed: target.flash_kb"])
def test_what_a_run_was_registered_as_stands_before_its_model(capsys, tmp_path, said):
    tags = {"tflite_recipes.registered": said}
    path = tmp_path / "model.tflite"
    console.show_result(RunResult("mine", "d" * 64, ExitStatus.DONE, tmp_path, path, run_id="abc", tags=tags))
    assert capsys.readouterr().out.splitlines()[-3:] == [f"registered: {said}", f"model:  {path}", "run ID: abc"]


def test_what_was_not_tracked_says_last_how_to_upload_it(capsys, tmp_path):
    problem = Problem("no answer", "tracking.uri", "", ("tflite-recipes sync out",))
    result = RunResult(
        *("mine", "d" * 64, ExitStatus.UNTRACKED, tmp_path, tmp_path / "model.tflite"),
        problems=(problem,),
        outcome=RunOutcome.passed,
    )
    console.show_result(result)
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("mine: passed, not tracked", "upload: tflite-recipes sync out")


def test_a_failed_run_points_to_its_log(capsys, tmp_path):
    console.show_result(RunResult("mine", "d" * 64, ExitStatus.FAILED, tmp_path))
    assert capsys.readouterr().out.splitlines() == [
        "mine: failed",
        f"log:    {tmp_path / 'converter.log'}",
        "run ID: none (not tracked)",
    ]


def test_long_fixes_are_not_broken_over_lines(capsys):
    fix = "'source.input_shapes={" + ",".join(f"input_{n}: [1,224,224,3]" for n in range(20)) + "}'"
    console.show_problems([Problem("several", "source.input_shapes", fix)])
    assert f"fix: {fix}\n" in capsys.readouterr().err
