"""The modules that a run's code imported, laid out again as they were."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys

import pytest
from support.checkout import write

from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce import imported_modules


def tag(name, text):
    return {f"tflite_recipes.code.{name}": f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"}


def test_modules_are_imported_as_they_were_kept(here, monkeypatch):
    texts = {"zz_parts/__init__.py": "", "zz_parts/sizes.py": "from zz_top import N\n", "zz_top.py": "N = 3\n"}
    for name, text in texts.items():
        write(here / "kept" / name, text)
    write(here / "zz_top.py", "N = 4\n")
    monkeypatch.syspath_prepend(str(here))
    kept = {name: here / "kept" / name for name in texts}
    tags = {**tag("zz_parts", ""), **tag("zz_parts.sizes", texts["zz_parts/sizes.py"]), **tag("zz_top", "N = 3\n")}
    notes = imported_modules.laid_out(tags, kept, here / "laid")
    assert [note.split(" (")[0] for note in notes] == [
        f"module {name}: as the run had it" for name in ("zz_parts", "zz_parts.sizes", "zz_top")
    ]
    assert imported_modules.names(here / "laid") == {"zz_parts", "zz_parts.sizes", "zz_top"}
    before = os.environ.get("PYTHONPATH"), list(sys.path)
    try:
        with imported_modules.importable(here / "laid") as there:
            assert there
            assert importlib.import_module("zz_parts.sizes").N == 3
    finally:
        for name in ("zz_parts", "zz_parts.sizes", "zz_top"):
            sys.modules.pop(name, None)
    assert (os.environ.get("PYTHONPATH"), list(sys.path)) == before


def test_one_of_two_files_of_a_name_is_found_by_its_digest(here):
    """As where the recipe names `models/layers.py`, and its code imports `layers`."""
    digest = hashlib.sha256(b"A = 1\n").hexdigest()
    write(here / "layers.py", "A = 2\n")
    write(here / f"layers_{digest[:8]}.py", "A = 1\n")
    kept = {file.name: file for file in here.glob("*.py")}
    imported_modules.laid_out(tag("layers", "A = 1\n"), kept, here / "laid")
    assert (here / "laid" / "layers.py").read_text() == "A = 1\n"


def test_what_was_not_kept_is_here_with_that_content_or_refused(here):
    write(here / "alike.py", "A = 1\n")
    write(here / "other.py", "A = 1\n")
    (note,) = imported_modules.laid_out(tag("alike", "A = 1\n"), {}, here / "laid")
    assert "here, the same that the run had" in note
    with pytest.raises(RequestError, match=r"module other .* not here with that content"):
        imported_modules.laid_out(tag("other", "A = 2\n"), {}, here / "laid")
    (note,) = imported_modules.laid_out({"tflite_recipes.code.native": "not kept"}, {}, here / "none")
    assert "not checked" in note
    with imported_modules.importable(here / "none") as there:
        assert not there


def test_names_that_lead_out_are_no_modules(here):
    assert imported_modules.laid_out(tag("../evil", ""), {"../evil.py": here / "x"}, here / "laid") == ()
