"""Tags that MLflow's own pages read."""

import getpass

from tflite_recipes.tracking.run_tags import started_by, with_version


def test_a_user_without_a_name_is_no_error(monkeypatch):
    assert started_by()["mlflow.user"] == getpass.getuser()

    def nobody():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert started_by() == {"mlflow.source.name": "tflite-recipes", "mlflow.source.type": "LOCAL"}


def test_the_commit_is_the_version():
    assert with_version({"tflite_recipes.git_commit": "abc"})["mlflow.source.git.commit"] == "abc"
    assert with_version({"x": "y"}) == {"x": "y"}
