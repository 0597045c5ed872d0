"""Past runs side by side, made by hand: the table, the axes, the front, the page, the picture."""

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.page_check import Checked
from support.past_run_records import past_run, scheme

from tflite_recipes.cli.compare import keep_of_sweep
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.pareto import dominates
from tflite_recipes.past_runs.compare import comparison_page, output_files, pareto_plot
from tflite_recipes.past_runs.compare.comparison import Axis, compare_runs
from tflite_recipes.past_runs.compare.selection import sift
from tflite_recipes.past_runs.compare.serialization import comparison_csv, comparison_json
from tflite_recipes.past_runs.compare.terminal_tables import blocks, show_comparison

DROP = "0.01 of 0.02, 0.01 left: passed"
OVER = "0.2 of 0.02, 0.18 over: FAILED"


def scored(number, option, size, drop, **more):
    metrics = {"size.tflite_bytes": size, "accuracy.tflite": 0.9 - drop, "accuracy.drop": drop, "parity.sqnr_db": 40.0}
    gate = {"gate.evaluation.max_drop": OVER if drop > 0.02 else DROP}
    return past_run(number, metrics, {**scheme(option), **more.pop("params", {})}, gate, **more)


RUNS = [
    scored(1, "none", 4000.0, 0.0),
    scored(2, "float16", 2000.0, 0.01),
    scored(3, "dynamic_range", 2100.0, 0.01),
    scored(4, "integer_only", 1000.0, 0.2, params={"optimization.rules": "[<b>]"}),
    scored(5, "integer_only", 1100.0, 0.25, params={"optimization.rules": "[]", "optimization.new": "1"}),
    past_run(6, {}, scheme("int16x8"), {"outcome": "failed"}, "FAILED"),
]


def compared(runs=None, **axes):
    return compare_runs(runs or RUNS, "sqlite:///runs.db", "some <runs>", **axes)


def test_the_keys_are_those_that_runs_differ_in_and_that_do_not_follow_from_an_option():
    found = compared()
    assert found.keys == ("optimization.new", "optimization.rules")
    assert [run.scheme for run in found.runs] == [
        *("none", "float16", "dynamic_range", "integer_only", "integer_only", "int16x8"),
    ]
    assert found.runs[3].config == {"optimization.new": "", "optimization.rules": "[<b>]"}
    assert compared([RUNS[0], scored(7, "none", 1.0, 0.0, params={"source.epochs": "9"})]).keys == ("source.epochs",)
    aside = scored(8, "none", 1.0, 0.0, params={"worker.timeout_s": "9", "parity.data": "x", "latency.host": "y"})
    assert compared([RUNS[0], aside]).keys == ()


def test_an_option_of_another_group_is_a_key_but_what_follows_from_it_is_not():
    other = scored(7, "none", 1.0, 0.0, params={"source": "keras", "source.epochs": None, "source.path": "m.keras"})
    assert compared([RUNS[0], other]).keys == ("source",)


def test_the_axes_are_size_and_drop_and_the_front_is_marked():
    found = compared()
    assert (found.x, found.y) == (Axis("size.tflite_bytes", False), Axis("accuracy.drop", False))
    assert [run.pareto for run in found.runs] == [True, True, False, True, False, None]
    assert [run.number for run in found.front] == [4, 2, 1]
    assert found.notes == ("not on the plot, for want of size.tflite_bytes or accuracy.drop: 6",)


def test_without_accuracy_parity_is_compared_of_which_more_is_better():
    runs = [past_run(n, {"size.tflite_bytes": 10.0 * n, "parity.sqnr_db": 20.0 * n}) for n in (1, 2)]
    worse = past_run(3, {"size.tflite_bytes": 30.0, "parity.sqnr_db": 30.0})
    found = compared([*runs, worse])
    assert found.y == Axis("parity.sqnr_db", True)
    assert [run.pareto for run in found.runs] == [True, True, False]
    assert found.metrics == ("size.tflite_bytes", "parity.sqnr_db")


def test_of_several_sources_the_score_itself_is_compared():
    found = compared([RUNS[0], replace(RUNS[1], tags={**RUNS[1].tags, "tflite_recipes.source_sha256": "other"})])
    assert found.y == Axis("accuracy.tflite", True)
    assert "several source models" in found.notes[0]


def test_scores_by_several_metrics_are_not_put_on_one_axis():
    mixed = [RUNS[0], scored(7, "none", 50.0, 0.1, params={"accuracy.metric": "mean_absolute_error"})]
    found = compared(mixed)
    assert found.y == Axis("parity.sqnr_db", True)
    assert found.notes == (
        "scored by different metrics (accuracy, mean_absolute_error): accuracy is not put on one axis",
    )
    assert "on one axis says little" in compared(mixed, y="accuracy.drop").notes[0]
    (note, *_) = compared(mixed, y="accuracy.tflite").notes
    assert note == "of accuracy.tflite more is better in some runs and less in others"


def test_axes_that_are_asked_for_and_one_that_no_run_has():
    found = compared(x="parity.sqnr_db", y="size.tflite_bytes")
    assert (found.x.metric, found.y.metric) == ("parity.sqnr_db", "size.tflite_bytes")
    assert [run.pareto for run in found.runs] == [False, False, False, True, False, None]
    with pytest.raises(RequestError) as refused:
        compared(y="accuracy.drp")
    assert refused.value.problems[0].lines()[1] == "fix: --y accuracy.drop"


def test_runs_with_nothing_measured_are_a_table_all_the_same(tmp_path, capsys):
    found = compared([RUNS[5], past_run(7)])
    assert (found.x, found.y, found.front) == (None, None, ())
    assert not pareto_plot.write(found, tmp_path / "pareto.png")
    assert {path.name for path in output_files.write(found, tmp_path / "out")} == {
        *("compare.html", "compare.json", "compare.csv"),
    }
    show_comparison(found)
    assert "int16x8" in capsys.readouterr().out


RUN = st.builds(
    lambda number, size, drop: past_run(
        number, {name: v for name, v in (("size.tflite_bytes", size), ("accuracy.drop", drop)) if v is not None}
    ),
    st.integers(1, 99),
    st.none() | st.integers(1, 5).map(float),
    st.none() | st.integers(0, 5).map(float) | st.just(float("nan")),
)


@given(st.lists(RUN, min_size=1, max_size=12))
def test_no_optimal_run_is_beaten_and_every_other_is(runs):
    found = compared(runs)
    if found.x is None or found.y is None:
        assert found.plotted == ()
        return
    places = {run.number: (found.x.cost(run.metrics), found.y.cost(run.metrics)) for run in found.plotted}
    for run in found.plotted:
        beaten = any(dominates(places[other.number], places[run.number]) for other in found.front)
        assert beaten is not run.pareto


# ---- which runs


def test_an_experiment_is_its_runs_without_parents_candidates_and_strangers():
    sweep = past_run(1, tags={"recipe_digest": None})
    job = past_run(2, tags={"mlflow.parentRunId": sweep.run_id})
    search = past_run(3, tags={"mlflow.parentRunId": sweep.run_id})
    candidate = past_run(4, tags={"mlflow.parentRunId": search.run_id})
    stranger = past_run(5, tags={"recipe": None})
    orphan = past_run(6, tags={"mlflow.parentRunId": "gone"})
    listed = [sweep, job, search, candidate, stranger, orphan]
    kept, left_out = sift(listed)
    assert kept == [job, search, orphan]
    assert left_out == {
        "parents of sweeps": 1,
        "candidates of searches, which --candidates shows": 1,
        "runs of other tools": 1,
    }
    assert candidate in sift(listed, candidates=True)[0]


# ---- what is written


def test_json_and_csv_have_every_run():
    found = replace(compared(), left_out={"older": 2}, parent_run_id="p")
    data = json.loads(json.dumps(comparison_json(found), allow_nan=False))
    assert set(data) == {
        *("uri", "title", "parent_run_id", "keys", "x", "y", "runs", "front", "notes", "left_out"),
    }
    assert data["x"] == {"metric": "size.tflite_bytes", "higher_is_better": False}
    assert data["runs"][1]["metrics"]["parity.sqnr_db"] == 40.0
    assert data["front"] == [data["runs"][place]["run_id"] for place in (3, 1, 0)]
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert [row["pareto"] for row in rows] == ["yes", "yes", "no", "yes", "no", ""]
    assert (rows[3]["scheme"], rows[3]["optimization.rules"]) == ("integer_only", "[<b>]")
    assert (rows[0]["size.tflite_bytes"], rows[5]["size.tflite_bytes"]) == ("4000", "")
    assert rows[3]["gates"] == f"evaluation.max_drop {OVER}"


def test_a_password_in_the_uri_is_not_written():
    found = replace(compared(), uri="postgresql://me:s/e:c@ret@host:5432/runs")
    assert comparison_json(found)["uri"] == "postgresql://host:5432/runs"
    assert comparison_json(compared())["uri"] == "sqlite:///runs.db"


def test_the_page_is_whole_safe_and_names_every_run():
    checked = Checked(comparison_page.render(compared()))
    text = " ".join(checked.text)
    for part in ("some <runs>", "[<b>]", "4,000 B", "a gate said no", "evaluation.max_drop failed", "1 passed", "◎"):
        assert part in text
    assert all(run.run_id[16:] in text for run in RUNS)
    assert "size.tflite_bytes (less is better)" in text


@pytest.mark.slow
def test_the_picture_is_a_png_and_leaves_nothing_beside_it(tmp_path):
    written = output_files.write(compared(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    data = (tmp_path / "pareto.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000


HOSTILE = "<script>x</script> | `q` $a_{$ [b] \N{GRINNING FACE} \x1b]0;t\x07\x9b31m\u202e " + "L" * 300


@pytest.mark.slow
def test_names_are_neither_markup_nor_formulas_nor_commands_of_the_terminal(tmp_path, capsys, recwarn):
    named = [replace(run, name=f"{place} {HOSTILE}", run_id=HOSTILE) for place, run in enumerate(RUNS)]
    found = compare_runs(named, "sqlite:///runs.db", HOSTILE)
    page_text = output_files.write(found, tmp_path)[0].read_text("utf-8")
    assert "<script" not in page_text
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert not recwarn.list
    show_comparison(found)
    out = capsys.readouterr().out
    assert "\\x1b]0;t\\x07\\x9b31m\\u202e" in out
    assert not set(out) & {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.mark.slow
def test_the_picture_of_another_comparison_goes(tmp_path):
    output_files.write(compared(), tmp_path)
    written = output_files.write(compared(RUNS[5:]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert "pareto.png" not in {path.name for path in written}


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RequestError, match="cannot be written to"):
        output_files.write(compared(), tmp_path / "taken")


# ---- on a terminal


COLUMN = st.tuples(
    st.text("ab.", min_size=1, max_size=30), st.lists(st.text("xyz", max_size=30), min_size=2, max_size=2)
)


@given(st.lists(COLUMN, min_size=1, max_size=8), st.integers(40, 160))
def test_a_table_goes_on_below_where_it_is_too_wide(columns, width):
    given_ = [("#", ["1", "2*"], False), *((title, cells, False) for title, cells in columns)]
    found = blocks(given_, width)
    assert [column for block in found for column in block[1:]] == given_[1:]
    for block in found:
        assert block[0] == given_[0]
        widths = [max(map(cell_len, (title, *cells))) for title, cells, _ in block]
        assert sum(widths) + len(widths) - 1 <= width


def test_the_table_marks_the_front_and_says_what_it_is(capsys):
    found = compared()
    show_comparison(replace(found, left_out={"older ones": 3}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "some <runs>: 6 runs of digits; not in it: older ones (3)"
    rows = {line.split()[0]: line.split() for line in lines[3:9]}
    assert set(rows) == {"1*", "2*", "3", "4*", "5", "6"}
    assert rows["2*"][1:] == ["float16", "2,000", "B", "0.89", "0.01", "1", "passed", "passed"]
    assert ["2*", RUNS[1].run_id] in [line.split() for line in lines]
    assert lines[-2] == (
        "* no other run beats it in both: size.tflite_bytes (less is better) against accuracy.drop (less is better)"
    )


def test_a_sweeps_runs_are_told_apart_by_their_keys_and_not_twice(capsys):
    swept = [replace(run, name=f"digits optimization={run.params['optimization']}") for run in RUNS]
    found = compared(swept)
    assert found.named == ("scheme",)
    assert [run.label for run in found.runs] == [run.label for run in compared().runs]
    assert comparison_json(found)["runs"][0]["name"] == "digits optimization=none"
    show_comparison(found)
    assert capsys.readouterr().out.startswith("some <runs>: 6 runs of digits\n")
    assert compared([*swept, replace(RUNS[0], name="digits and others")]).named == ("name", "scheme")


def test_what_a_run_noted_is_no_key():
    noted = [replace(run, params={**run.params, "input_example.data": str(run.run_id)}) for run in RUNS]
    assert compared(noted).keys == compared().keys


def test_candidates_are_told_by_their_names(capsys):
    named = [replace(run, name=f"{place:02} {run.params['optimization']}") for place, run in enumerate(RUNS[:2], 1)]
    found = compared(named)
    assert found.named == ("name",)
    assert [run.label for run in found.runs] == ["none", "float16"]
    assert compared([RUNS[0], named[1]]).named == ("name", "scheme")


@pytest.mark.parametrize("command", ["diff", "compare"])
def test_the_commands_have_help_and_say_what_is_missing(cli, here, command):
    assert f"usage: tflite-recipes {command}" in cli(command, "--help").out
    for arguments in ((), ("--json",)):
        answer = cli(command, *arguments)
        assert (answer.status, answer.out) == (2, "")
        assert f"or: tflite-recipes {command} " in answer.err
    answer = cli(command, "a", "b", "tracking.uri=sqlite:///none.db")
    assert (answer.status, "there is no file none.db" in answer.err) == (2, True)
    assert list(here.iterdir()) == []


def test_completion_knows_the_flags():
    from tflite_recipes.cli.completion import candidates

    assert "--output " in candidates("tflite-recipes compare --o")
    assert candidates("tflite-recipes compare --candidates --y ") == []
    assert candidates("tflite-recipes diff --a") == ["--all "]


def test_a_sweep_whose_comparison_cannot_be_kept_says_so_in_a_line(here, capsys):
    keep_of_sweep("sqlite:///none.db", "0" * 32)
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("the runs' comparison is not logged: tracking.uri: there is no file none.db")
