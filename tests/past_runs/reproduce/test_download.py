"""Names and sizes of artifacts are the server's word: refused before anything is asked for or written."""

from __future__ import annotations

from typing import Any

import pytest

from tflite_recipes.config.recipe_inputs import Input
from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce.download import Fetched, download, kept_input
from tflite_recipes.tracking.run_reader import PastRun

RUN = PastRun("sqlite:///runs.db", "0" * 32, "convert", "1", "FINISHED", 0.0, {}, {}, {})
# Nothing may be asked of a server for a name that is refused.
NOBODY: Any = None


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "inputs/source.path/../../../outside",
        "/etc/passwd",
        "inputs//model.keras",
        "inputs/./model.keras",
        "inputs\\..\\outside",
        "C:outside",
        "inputs/${oc.env:HOME}",
        "inputs/a\x1b[2J",
        "inputs/a\nb",
        "",
    ],
)
def test_a_name_that_leads_elsewhere_is_not_taken(here, name):
    with pytest.raises(RequestError, match="a name that is not taken"):
        download(NOBODY, RUN, {name: 1}, name, here / "folder", 10)
    assert list(here.iterdir()) == []


def test_a_file_too_large_is_not_asked_for(here):
    with pytest.raises(RequestError, match="1,000,001 bytes, more than the 1,000,000"):
        download(NOBODY, RUN, {"recipe.yaml": 1_000_001}, "recipe.yaml", here, 1_000_000)


def test_kept_inputs_may_not_lead_elsewhere_either(here):
    files = {"inputs/source.path/../../x": 1}
    found = Fetched(RUN, "", None, None, here / "model.tflite", files, here)
    with pytest.raises(RequestError, match="a name that is not taken"):
        kept_input(NOBODY, found, Input("source.path", "model.keras", "0" * 64, 10))
    other = Input("calibration.path", "cal.npz", "0" * 64, 10)
    assert kept_input(NOBODY, found, other) is None
