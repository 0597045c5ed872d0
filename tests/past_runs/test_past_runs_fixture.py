"""Runs that earlier code made: they are reproduced, compared, uploaded and run again."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml
from support import past_store, writers

import tflite_recipes
from tflite_recipes import api
from tflite_recipes.config import recipe as recipes
from tflite_recipes.core.environment import THREADS
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files.tflite.differences import compare as compare_files

pytestmark = pytest.mark.slow

IDENTICAL = "identical bytes"
REBUILDABLE = {
    "integer_only": past_store.INTEGER_ONLY,
    "pruned": past_store.PRUNED,
    "int16x8": past_store.INT16X8,
    "remedied": past_store.REMEDIED,
    "gate_failed": past_store.GATE_FAILED,
    "sweep_job": past_store.SWEEP_JOBS[1],
    "search": past_store.SEARCH,
    "candidate": past_store.CANDIDATES[0],
    "reproduced": past_store.REPRODUCED,
}
LOGGED = {
    **REBUILDABLE,
    "other_job": past_store.SWEEP_JOBS[0],
    "not_kept": past_store.NOT_KEPT,
    "own_step": past_store.OWN_STEP,
    "failed": past_store.FAILED,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(THREADS, past_store.THREADS)
        yield past_store.unpack(tmp_path_factory.mktemp("past_runs"))


@pytest.fixture
def desk(store, monkeypatch):
    """The folder that the runs were started in, as the working directory."""
    monkeypatch.chdir(store.desk)
    return store.desk


def client(uri):
    import mlflow

    return mlflow.MlflowClient(uri)


def tags_of(store, run_id):
    tags = client(store.uri).get_run(run_id).data.tags
    return {name.removeprefix("tflite_recipes."): value for name, value in tags.items()}


def reproduce(store, run_id, **options):
    return tflite_recipes.reproduce(run_id, store.uri, progress=False, **options)


@pytest.fixture(scope="module")
def reproduction(store, tmp_path_factory):
    """The reproduction of a run, made once, in a folder without any of its inputs."""

    @functools.cache
    def of(run_id):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("elsewhere"))
            return reproduce(store, run_id, output_dir=tmp_path_factory.mktemp("out"))

    return of


def problem_of(refused):
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize("run_id", REBUILDABLE.values(), ids=REBUILDABLE)
def test_reproduce_from_the_store_alone_gives_identical_bytes(run_id, store, reproduction):
    done = reproduction(run_id)
    tags = tags_of(store, run_id)
    assert (done.verdict.value, done.status, done.differences) == (IDENTICAL, ExitStatus.DONE, ())
    assert done.sha256 == (tags["tflite_sha256"],) * 2
    assert done.run.status == (ExitStatus.GATE if run_id == past_store.GATE_FAILED else ExitStatus.DONE)
    assert tags_of(store, done.run.run_id)["reproduces"] == run_id


def test_reproduce_with_the_inputs_where_they_were_gives_identical_bytes(store, desk):
    done = reproduce(store, past_store.NOT_KEPT)
    assert done.verdict.value == IDENTICAL
    assert done.original == past_store.NOT_KEPT


def test_reproduce_without_the_inputs_names_the_flag(store, here):
    with pytest.raises(RequestError) as refused:
        reproduce(store, past_store.NOT_KEPT)
    assert (problem_of(refused).where, problem_of(refused).fix) == ("source.path", "--source FILE")


def test_reproduce_of_own_code_needs_trust(store, here):
    with pytest.raises(RequestError) as refused:
        reproduce(store, past_store.OWN_STEP)
    keys = {problem.where for problem in refused.value.problems}
    assert keys == {"steps[3]", "steps[7]", "halve", "source.function", "calibration.function", "evaluation.function"}
    assert {problem.fix for problem in refused.value.problems} == {"--trust"}


def test_reproduce_of_a_run_without_a_file_is_refused(store, here):
    for run_id, advice in (
        (past_store.FAILED, "tflite-recipes run recipe.yaml"),
        (past_store.SWEEP, f"tflite-recipes reproduce {past_store.SWEEP_JOBS[0]}"),
    ):
        with pytest.raises(RequestError) as refused:
            reproduce(store, run_id)
        assert problem_of(refused).where == run_id
        assert any(advice in way for way in problem_of(refused).alternatives)
    assert list(here.iterdir()) == []


def test_diff_of_past_runs_names_the_settings_that_differ(store):
    difference = tflite_recipes.diff(*past_store.SWEEP_JOBS, tracking_uri=store.uri)
    assert [change.name for change in difference.config] == ["optimization.quantizer"]
    assert difference.environment == ()
    sizes = {metric.name: (metric.a, metric.b) for metric in difference.metrics}["size.tflite_bytes"]
    models = [store.artifact(run_id, "model/model.tflite") for run_id in past_store.SWEEP_JOBS]
    assert sizes == tuple(model.stat().st_size for model in models)


def test_diff_of_a_run_and_its_reproduction_finds_the_same_file(store):
    difference = tflite_recipes.diff(past_store.INTEGER_ONLY, past_store.REPRODUCED, tracking_uri=store.uri)
    assert (difference.config, difference.tensors.changed, difference.tensors.only_a) == ((), (), ())
    assert difference.same["config"] > 50


def test_diff_of_a_past_run_and_its_reproduction_of_today_finds_the_same_file(store, reproduction):
    new = reproduction(past_store.GATE_FAILED).run.run_id
    difference = tflite_recipes.diff(past_store.GATE_FAILED, new, tracking_uri=store.uri)
    assert (difference.tensors.changed, difference.tensors.only_a, difference.tensors.only_b) == ((), (), ())
    assert {name for name, (old, new) in difference.ops.items() if old != new} == set()
    assert difference.ops["FULLY_CONNECTED"] == (2, 2)
    assert difference.gates == ()


def test_compare_of_a_past_run_and_its_reproduction_has_no_key_that_came_later(store, reproduction):
    new = reproduction(past_store.GATE_FAILED).run.run_id
    found = tflite_recipes.compare(past_store.GATE_FAILED, new, tracking_uri=store.uri)
    assert found.keys == ("evaluation.path", "source.path")  # which are the downloaded files


def test_compare_reads_an_experiment_a_sweep_and_a_search(tmp_path):
    store = past_store.unpack(tmp_path)
    jobs = tflite_recipes.compare(past_store.SWEEP, tracking_uri=store.uri)
    assert tuple(run.run_id for run in jobs.runs) == past_store.SWEEP_JOBS
    assert jobs.keys == ("optimization.quantizer",)
    tried = tflite_recipes.compare(past_store.SEARCH, tracking_uri=store.uri)
    assert tuple(run.run_id for run in tried.runs) == past_store.CANDIDATES
    every = tflite_recipes.compare(past_store.EXPERIMENT, tracking_uri=store.uri, candidates=True)
    assert {run.run_id for run in every.runs} == {*LOGGED.values(), *past_store.CANDIDATES}


def test_compare_reads_how_past_runs_ended_from_their_verdict_tag(store):
    every = tflite_recipes.compare(past_store.EXPERIMENT, tracking_uri=store.uri)
    ended = {run.run_id: (run.outcome, run.verdict) for run in every.runs}
    assert ended[past_store.GATE_FAILED] == ("gate_failed", "")
    assert ended[past_store.FAILED] == ("failed", "")
    assert ended[past_store.REPRODUCED][1] == IDENTICAL
    assert ended[past_store.INTEGER_ONLY] == ("passed", "")
    assert {run.outcome for run in every.runs if not run.gates} == {"done", "failed"}


def test_sync_uploads_the_offline_folder_once(store, here, cli):
    late = f"sqlite:///{here}/late.db"
    runs = [store.offline / "run", *(store.offline / "sweep" / job for job in past_store.OFFLINE_JOBS)]
    first = cli("sync", str(store.offline), f"tracking.uri={late}")
    assert (first.status, first.err) == (0, "")
    ids = dict(line.split(" -> ") for line in first.out.splitlines() if " -> " in line)
    assert ids.keys() == {*map(str, runs), str(store.offline / "sweep")}
    again = cli("sync", str(store.offline), f"tracking.uri={late}")
    assert (again.status, again.err) == (0, "")
    assert {run.info.run_id for run in client(late).search_runs(["1"])} == {*ids.values()}
    for folder in runs:
        writers.whole(client(late), ids[str(folder)], folder)
    done = tflite_recipes.reproduce(ids[str(runs[0])], late, progress=False)
    assert done.verdict.value == IDENTICAL


def plain(path):
    """The settings of a recipe as they were written down."""
    return {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "defaults"}


@pytest.mark.parametrize("run_id", LOGGED.values(), ids=LOGGED)
def test_logged_recipe_has_the_digest_that_the_run_tagged_and_composes_to_todays(run_id, store, desk):
    path = store.artifact(run_id, "recipe.yaml")
    tags = tags_of(store, run_id)
    assert recipes.digest_of_every_key(plain(path)) == tags.get("chosen_digest", tags["recipe_digest"])
    assert api.compose(str(path)).digest == recipes.digest_of(plain(path))


@pytest.mark.parametrize("name", past_store.SHOWN)
def test_shown_recipe_has_the_digest_that_it_states_and_composes_to_todays(name, store, desk):
    path = desk / "recipes" / f"{name}.yaml"
    (digest,) = re.findall(r"recipe digest (\w{64})", path.read_text())
    assert recipes.digest_of_every_key(plain(path)) == digest
    assert api.compose(f"recipes/{name}.yaml").digest == recipes.digest_of(plain(path))


def test_logged_recipe_checks_shows_and_runs_again(store, desk, cli, tmp_path):
    file = str(store.artifact(past_store.INTEGER_ONLY, "recipe.yaml"))
    assert cli("check", file).status == 0
    answer = cli("show", file)
    assert answer.status == 0
    (tmp_path / "shown.yaml").write_text(answer.out)
    assert api.compose(str(tmp_path / "shown.yaml")).digest == api.compose(file).digest
    done = api.run(file, ["tracking=none"], output_dir=tmp_path / "out", progress=False)
    assert done.status == ExitStatus.DONE
    found = compare_files(store.artifact(past_store.INTEGER_ONLY, "model/model.tflite"), done.path)
    assert (found.differences, found.renamed) == ((), 0)


def test_registered_version_of_a_past_run_loads(store):
    version = client(store.uri).get_model_version_by_alias(past_store.REGISTERED, "candidate")
    assert version.run_id == past_store.INTEGER_ONLY
    place = Path(client(store.uri).download_artifacts(past_store.INTEGER_ONLY, "model"))
    import mlflow

    model = mlflow.pyfunc.load_model(str(place))
    assert model.predict(model.input_example)["scores"].shape == (1, 4)


# The last test: this code needs a worker process of its own.
def test_reproduce_of_own_code_that_imports_old_modules_gives_identical_bytes(store, here):
    done = reproduce(store, past_store.OWN_STEP, trust=True)
    assert (done.verdict.value, done.status) == (IDENTICAL, ExitStatus.DONE)
    assert done.run.metrics["own.factor"] == 0.5
    assert done.run.metrics["own.samples"] == 16
    assert [gate.name for gate in done.run.gates] == ["own.ops", "evaluation.max_drop"]
    census = (done.run.output_dir / "census.txt").read_text()
    assert census == store.artifact(past_store.OWN_STEP, "census.txt").read_text()
