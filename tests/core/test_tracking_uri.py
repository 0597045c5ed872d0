"""Which file a tracking URI means, and what of it is never written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import write

from tflite_recipes.config import composition
from tflite_recipes.core.tracking_uri import located, same_place, scrubbed, sqlite_file, without_password


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://owner:secret@host:5432/runs", "postgresql://owner@host:5432/runs"),
        ("postgresql+psycopg2://owner:sec/ret@host/runs?sslmode=require", "postgresql+psycopg2://owner@host/runs?sslmode=require"),
        ("postgresql:///runs?user=me&password=secret", "postgresql:///runs?user=me"),
        ("https://user:secret@host:5000/mlflow", "https://host:5000/mlflow"),
        ("https://secret@host", "https://host"),
        ("mysql://owner@host/runs", "mysql://owner@host/runs"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/a:b@c/mlflow.db", "sqlite:////data/a:b@c/mlflow.db"),
        ("databricks", "databricks"),
    ],
)  # fmt: skip
def test_no_password_is_written_down(uri, shown):
    assert without_password(uri) == shown
    assert without_password(shown) == shown
    assert same_place(uri, shown)
    for text in (f"++tracking.uri='{uri}'", f"API request to {uri}/api failed"):
        assert "secret" not in scrubbed(text, uri)
        assert "sec/ret" not in scrubbed(text, uri)


@given(
    password=st.text(
        st.characters(codec="ascii", exclude_characters="@ \n\r\t", categories=("L", "N", "P")), min_size=8
    )
)
def test_no_password_survives(password):
    uri = f"postgresql://owner:{password}@host/runs"
    assert without_password(uri) == "postgresql://owner@host/runs"
    assert f":{password}@" not in scrubbed(f"could not connect to owner:{password}@host: no", uri)


def test_a_relative_file_is_that_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert located("sqlite:///../mlflow.db?timeout=9") == f"sqlite:///{tmp_path.parent}/mlflow.db?timeout=9"
    assert located("sqlite:///mlflow.db", "/data") == "sqlite:////data/mlflow.db"
    for uri in ("sqlite:////data/mlflow.db", "sqlite://", "sqlite:///:memory:", "http://host"):
        assert located(uri) == uri
    assert sqlite_file("sqlite+pysqlite:////data/a.db?x=1") == "/data/a.db"
    assert sqlite_file("postgresql://host/a.db") is None


def test_a_recipe_is_written_down_without_the_password(here):
    write(here / "make.py", "def build(): ...\n")
    uri = "postgresql://owner:let-me-in@host/runs"
    asked = ["source=factory", "source.function=make.py:build", f"tracking.uri='{uri}'"]
    recipe = composition.compose("convert", asked)
    assert recipe.tracking.uri == uri
    assert recipe.config["tracking"]["uri"] == "postgresql://owner@host/runs"
    assert "let-me-in" not in f"{recipe.to_yaml()}{recipe.overrides}"
