"""Files of every kind that is read, damaged at random as `benchmarks/mutations.py` damages them."""

import random
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.checkout import REPOSITORY
from support.tf_scripts import run_script

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import mutations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    run_script(REPOSITORY / "benchmarks" / "mutations.py", "--write-models", folder)
    mutations.write_rest(folder)
    return folder


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# Damaged files of a kind: fewest recipes, which take longest to read. 2,100 in all.
EXAMPLES = {"yaml": 100, "tflite": 400, "events": 400}


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_mutated_file_is_read_or_refused_in_words(here, originals, kind):
    before = files(originals)

    @settings(max_examples=EXAMPLES.get(kind, 300), suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**32))
    def check(number):
        with tempfile.TemporaryDirectory() as folder:
            path = mutations.mutate(kind, originals, Path(folder), random.Random(number))
            damaged = files(Path(folder))
            assert mutations.fault_of(mutations.read(kind, path, originals)) == ""
            assert files(Path(folder)) == damaged
        assert files(originals) == before
        assert list(here.iterdir()) == []

    check()


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_original_is_read(here, originals, kind):
    assert mutations.read(kind, mutations.original(kind, originals), originals) == ()


def test_fault_of_bare_error_text_is_found():
    problem = mutations.Problem("the step failed: TypeError: unhashable type: 'dict'", "source.path")
    assert mutations.fault_of((problem,)) == problem.what
    assert mutations.fault_of((mutations.Problem("model.keras is damaged", "source.path"),)) == ""


def test_reader_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(mutations, "LONGEST_S", 1)
    with pytest.raises(TimeoutError), mutations.limited():
        time.sleep(60)
