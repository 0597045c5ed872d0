"""The generated pages of docs/reference/ are what the code generates.

After a change that is meant, read the diff of
`TFLITE_RECIPES_REGENERATE=1 pytest tests/docs/test_generated_pages.py`.
"""

import os

import pytest
from support import docs_reference
from support.checkout import REPOSITORY

from tflite_recipes.cli.completion import COMMANDS
from tflite_recipes.config import catalog
from tflite_recipes.core import schema

REFERENCE = REPOSITORY / "docs" / "reference"


@pytest.fixture(scope="module")
def pages():
    return docs_reference.pages()


def test_pages_in_docs_equal_what_the_code_generates(pages):
    if os.environ.get("TFLITE_RECIPES_REGENERATE"):
        for path, text in pages.items():
            (REFERENCE / path).parent.mkdir(parents=True, exist_ok=True)
            (REFERENCE / path).write_text(text, encoding="utf-8")
    stale = [path for path, text in pages.items() if (REFERENCE / path).read_text(encoding="utf-8") != text]
    assert stale == [], "run TFLITE_RECIPES_REGENERATE=1 pytest tests/docs/test_generated_pages.py"
    assert {path.relative_to(REFERENCE).as_posix() for path in (REFERENCE / "groups").iterdir()} <= pages.keys()


def test_group_pages_list_every_option_and_key(pages):
    for group, options in catalog.list_groups([docs_reference.CONF]).items():
        page = pages[f"groups/{group}.md"]
        for name, path in options.items():
            assert f"\n| `{name}` |" in page
            keys = catalog.option_values(path, [docs_reference.CONF]).keys() - {schema.TARGET}
            assert [key for key in keys if f"\n| `{group}.{key}` |" not in page] == [], name


def test_every_key_and_argument_has_a_meaning(pages):
    lines = [line for page in pages.values() for line in page.splitlines()]
    assert [line for line in lines if line.startswith("| `") and line.endswith("|  |")] == []


def test_command_page_lists_every_command_and_example(pages):
    for command in COMMANDS:
        _, _, section = pages["cli.md"].partition(f"\n## {command}\n")
        assert "examples:" in section.partition("\n## ")[0]


def test_recipe_page_lists_every_built_in_recipe(pages):
    names = [path.stem for path in (REPOSITORY / "recipes" / "builtin").glob("*.yaml")]
    assert all(f"\n## {name}\n" in pages["recipes.md"] for name in names)
