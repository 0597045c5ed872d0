"""The Markdown at the top of a run's page in MLflow."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.state import Gate
from tflite_recipes.tracking.run_description import Story, description, sweep_description

DONE = events.RunFinished(RunOutcome.passed, 8.0)
METRICS = {
    **{"size.float_bytes": 86184.0, "size.tflite_bytes": 29264.0, "latency.p50_ms": 0.5},
    **{"accuracy.source": 0.99, "accuracy.tflite": 0.98, "accuracy.drop": 0.01},
}


def story(**more):
    told = Story()
    choices = {"source": "keras", "pruning": "none", "optimization": "integer_only", "tracking": "mlflow"}
    told.take(events.RunStarted("my_recipe", "d" * 64, choices, {}, (), "out"))
    told.take(events.Measured(METRICS))
    told.take(events.Noted({"accuracy.metric": "accuracy"}))
    told.take(events.Tagged({"tflite_recipes.outcome": "passed", **more}))
    return told


def test_the_first_line_says_what_it_came_to():
    first = description(story(), DONE, "7", "r1").splitlines()[0]
    assert first == (
        "**my\\_recipe**: **passed**; size 86,184 B → 29,264 B (34.0% of the source); accuracy 0.99 → 0.98 (drop 0.01)"
    )


def test_options_figures_gates_warnings_and_links():
    told = story(**{"tflite_recipes.remedies": "unroll"})
    told.take(events.Judged(Gate("evaluation.max_drop", 0.01, 0.02, True)))
    for number in range(5):
        told.take(events.Warned(f"warning {number}\n  on two lines"))
    told.take(events.ArtifactKept("/somewhere/out/report.html"))
    told.take(events.ArtifactKept("/somewhere/out/model.tflite", "model"))
    lines = description(told, DONE, "7", "r1").splitlines()
    for line in (
        "`source=keras optimization=integer_only`",
        "| size | &emsp;86,184 B | &emsp;29,264 B | &emsp;34.0% of the source |",
        "| latency, median |  | &emsp;0.500 ms |  |",
        "- gate evaluation.max\\_drop: 0.01 of 0.02, 0.01 left: passed",
        "- remedies taken: unroll",
        "- 5 warnings, the first of them:",
        "  - warning 2 on two lines",
        "Run it again: `tflite-recipes reproduce r1`",
        "Artifacts: [the report](#/experiments/7/runs/r1/artifacts/report.html), "
        "[the file](#/experiments/7/runs/r1/artifacts/model/model.tflite)",
    ):
        assert line in lines
    assert "warning 3" not in "\n".join(lines)


def test_without_a_file_there_is_nothing_to_reproduce():
    told = story()
    told.take(events.ArtifactKept("/somewhere/out/recipe.yaml"))
    text = description(told, events.RunFinished(RunOutcome.killed, 1.0), "7", "r1")
    assert "tflite-recipes reproduce" not in text
    assert "`mlflow artifacts download -r r1 -a recipe.yaml -d .`, then `tflite-recipes run recipe.yaml`" in text


def test_an_event_that_is_told_again_counts_once():
    told, warned = story(), events.Warned("once")
    told.take(warned)
    told.take(warned)
    assert told.warnings == ["once"]


def test_what_failed_has_its_fixes_as_commands():
    problem = Problem("no kernel", "layer a", "'source.input_shapes={x: [1,8]}'", ("target=generic",))
    text = description(Story("r"), events.RunFinished(RunOutcome.failed, 1.0, (problem,)), "1", "id")
    assert "**r**: **failed**" in text
    assert "- layer a: no kernel\n  - fix: `'source.input_shapes={x: [1,8]}'`\n  - or: `target=generic`" in text


def test_a_repeated_run_says_which_and_what_differs():
    tags = {
        "tflite_recipes.verdict": "differs",
        "tflite_recipes.reproduces": "old",
        "tflite_recipes.differences": "numpy",
    }
    text = description(story(**tags), DONE, "1", "new")
    assert "**passed**" in text
    assert "repeats run `old`: **differs**" in text
    assert "- differs: numpy" in text


def test_names_are_no_markup():
    told = Story(recipe="a|b <script>[x](y) *c*\nd")
    text = description(told, DONE, "1", "id")
    assert text.startswith("**a\\|b &lt;script&gt;\\[x\\](y) \\*c\\* d**: ")
    assert "<" not in text


@given(st.lists(st.text(max_size=900), max_size=40), st.lists(st.text(max_size=900), max_size=20))
def test_it_is_always_short_enough_and_cut_between_lines(names, fixes):
    told = Story("r", metrics=dict(METRICS), warnings=["w" * 500] * 5, artifacts=["model/model.tflite"])
    told.gates += [Gate(f"{name}|", 1.0, 2.0, True) for name in names]
    problems = tuple(Problem(name, "", fix) for name, fix in zip(names, fixes, strict=False))
    event = events.RunFinished(RunOutcome.failed, 1.0, problems)
    text = description(told, event, "1", "id")
    assert len(text) <= 8000
    assert text.splitlines()[-3] == "Run it again: `tflite-recipes reproduce id`"
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_commands_with_backticks_stay_code():
    text = sweep_description("r", ["a=`b`", "c=1,2"], "parent")
    assert "over `` a=`b` ``, `c=1,2`" in text
    assert "`tflite-recipes compare parent`" in text
