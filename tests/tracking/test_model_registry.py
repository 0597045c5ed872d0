"""Versions of registered models: of runs that passed, once, under names that MLflow takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import tracked_models
from support.flaky import flaky

from tflite_recipes import api
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.model_registry import name_problems, why_not
from tflite_recipes.tracking.run_writer import RunWriter
from tflite_recipes.tracking.settings import Mlflow


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "Keyword spotting, int8", "größe_1", "a.b-c", "it's"])
@pytest.mark.parametrize("alias", ["candidate", "best-of_3", "v", "vv1", None])
def test_names_that_mlflow_takes(name, alias):
    from mlflow.utils import validation

    assert list(name_problems(name, alias)) == []
    validation._validate_model_name(name)
    if alias is not None:
        validation._validate_model_alias_name(alias)
        validation._validate_model_alias_name_reserved(alias)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", ".", ".."])
def test_names_that_mlflow_refuses(name):
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    (problem,) = name_problems(name, None)
    assert problem.where == "tracking.register_as"
    with pytest.raises(MlflowException):
        validation._validate_model_name(name)


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v1", "V23", "a b", "a.b", "a" * 256])
def test_aliases_that_mlflow_refuses(alias):
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    (problem,) = name_problems(None, alias)
    assert problem.where == "tracking.alias"

    def validate():
        validation._validate_model_alias_name(alias)
        validation._validate_model_alias_name_reserved(alias)

    with pytest.raises(MlflowException):
        validate()


@pytest.mark.slow
def test_check_says_it_with_a_fix_that_works():
    asked = ["tracking.register_as=team/digits", "tracking.alias=v1"]
    problems = api.check("digits_integer_only", asked)
    assert [problem.fix for problem in problems] == ["tracking.register_as=team-digits", "tracking.alias=candidate"]
    assert api.check("digits_integer_only", [*asked, *(problem.fix for problem in problems)]) == ()


@pytest.mark.parametrize(
    ("outcome", "gates", "is_model", "reason"),
    [
        ("passed", {"a": True}, True, ""),
        ("done", {}, True, ""),
        ("gate_failed", {"a": True, "b": False}, True, "a gate failed: b"),
        ("failed", {}, False, "the run failed"),
        ("killed", {}, False, "the run was ended"),
        ("not_evaluated", {"a": False}, True, "the file was not evaluated"),
        ("done", {}, False, "the run's file could not be logged as a model"),
    ],
)
def test_what_keeps_a_run_out(outcome, gates, is_model, reason):
    assert why_not(RunOutcome(outcome), gates, is_model) == reason


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Mlflow(f"sqlite:///{folder / 'mlflow.db'}", "models", None, {})


def tell(settings, happened, parent=None):
    writer = RunWriter(client(settings.uri), settings, parent)
    for event in happened:
        writer.tell(event)
    return client(settings.uri).get_run(writer.run_id), writer


@pytest.mark.slow
def test_a_run_that_passed_becomes_a_version_once(settings, tmp_path):
    import mlflow

    settings = replace(settings, register_as="it's small")
    made = client(settings.uri)
    happened = tracked_models.told(tmp_path)
    run, writer = tell(settings, happened)
    (version,) = made.search_model_versions(f"run_id='{run.info.run_id}'")
    assert run.data.tags["tflite_recipes.registered"] == f"it's small/{version.version}"
    assert version.source == f"runs:/{run.info.run_id}/model"
    assert version.tags["tflite_recipes.recipe_digest"] == "ab" * 32
    assert version.tags["tflite_recipes.tflite_sha256"] == "cd" * 32
    assert version.tags["tflite_recipes.outcome"] == "passed"
    assert "Recipe small" in version.description
    assert "gates passed" in version.description
    writer.tell(happened[-1])  # as another go at it would
    assert len(made.search_model_versions(f"run_id='{run.info.run_id}'")) == 1
    mlflow.set_tracking_uri(settings.uri)
    try:
        model = mlflow.pyfunc.load_model("models:/it's small@candidate")
    finally:
        mlflow.set_tracking_uri(None)
    assert model.predict({"x": model.input_example["x"]})["y"].shape == (1, 3)


@pytest.mark.slow
def test_the_alias_moves_on_and_not_back(settings, tmp_path):
    settings = replace(settings, register_as="moving", alias="champion")
    made = client(settings.uri)
    happened = tracked_models.told(tmp_path)
    _, first = tell(settings, happened)
    _, second = tell(settings, happened)
    assert int(made.get_model_version_by_alias("moving", "champion").version) == 2
    first.tell(happened[-1])
    assert int(made.get_model_version_by_alias("moving", "champion").version) == 2
    made.set_registered_model_alias("moving", "champion", "1")
    second.tell(happened[-1])
    assert int(made.get_model_version_by_alias("moving", "champion").version) == 2
    tell(replace(settings, alias=None), happened)
    assert int(made.get_model_version_by_alias("moving", "champion").version) == 2
    assert len(made.search_model_versions("name='moving'")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "reason"), [("gate_failed", "a gate failed: target.flash_kb"), ("failed", "the run failed")]
)
def test_a_run_that_did_not_pass_says_why_it_is_none(settings, tmp_path, outcome, reason):
    run, _ = tell(
        replace(settings, register_as="never"), tracked_models.told(tmp_path, outcome, passed=outcome == "failed")
    )
    assert run.data.tags["tflite_recipes.registered"] == f"no: {reason}"
    assert f"not registered as never: {reason}" in run.data.tags["tflite_recipes.warnings"]
    assert client(settings.uri).search_registered_models("name='never'") == []


@pytest.mark.slow
def test_candidates_of_a_search_are_none(settings, tmp_path):
    from tflite_recipes.tracking.mlflow_tracker import MlflowTracker

    happened = tracked_models.told(tmp_path)
    tracker = MlflowTracker(replace(settings, register_as="searched"))
    tracker(happened[0])
    candidate = tracker.child("01 integer_only")
    for event in tracked_models.told(tmp_path / "candidates" / "01"):
        candidate(event)
    candidate.close()
    for event in happened[1:]:
        tracker(event)
    tracker.close()
    assert tracker.failures == []
    versions = client(settings.uri).search_model_versions("name='searched'")
    assert [version.run_id for version in versions] == [tracker.run_id]


@pytest.mark.slow
def test_a_registry_that_refuses_loses_no_run(settings, tmp_path):
    from tflite_recipes.tracking.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(replace(settings, register_as="a/b"))  # which check would have refused
    for event in tracked_models.told(tmp_path):
        tracker(event)
    tracker.close()
    assert "Invalid model name 'a/b'" in tracker.failure
    run = client(settings.uri).get_run(tracker.run_id)
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_server_has_the_version_and_gives_the_model(mlflow_server, tmp_path):
    import mlflow

    settings = Mlflow(mlflow_server.uri, "models", None, {}, register_as="served")
    run, writer = tell(settings, tracked_models.told(tmp_path))
    assert writer.registered == "served/1"
    assert run.data.tags["tflite_recipes.registered"] == "served/1"
    mlflow.set_tracking_uri(mlflow_server.uri)
    try:
        models = [
            mlflow.pyfunc.load_model(uri) for uri in ("models:/served@candidate", f"runs:/{run.info.run_id}/model")
        ]
    finally:
        mlflow.set_tracking_uri(None)
    example = models[0].input_example
    for model in models:
        assert (model.predict(example)["y"] == tracked_models.expected(example["x"])).all()


@pytest.mark.slow
def test_a_lost_answer_makes_no_second_version_and_healing_says_which_it_is(mlflow_server, tmp_path):
    from tflite_recipes.tracking.mlflow_tracker import MlflowTracker

    with flaky(mlflow_server.port) as server:

        def fate(method, path):
            times = len([one for one in server.asked if one[1] == path])
            if path.endswith("/registered-models/create"):
                return 500 if times <= 2 else None  # the run is told again from its folder
            return "lose" if path.endswith("/model-versions/create") and times == 1 else None

        server.fate = fate
        tracker = MlflowTracker(Mlflow(server.uri, "models", None, {}, register_as="lost"))
        for event in tracked_models.told(tmp_path):
            tracker(event)
        tracker.close()
    assert (tracker.failures, tracker.registered) == ([], "lost/1")
    versions = client(mlflow_server.uri).search_model_versions("name='lost'")
    assert [version.run_id for version in versions] == [tracker.run_id]
