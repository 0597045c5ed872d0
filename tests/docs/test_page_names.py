"""Pages name only what exists: overrides, keys, images, pages of the site."""

import re
import tomllib

import pytest
from support.checkout import REPOSITORY
from support.docs_blocks import pages
from support.docs_overrides import wrong_names

import tflite_recipes

PAGES = pages()
DOCS = REPOSITORY / "docs"


def name(page):
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_overrides_and_keys_of_a_page_exist(page):
    wrong = wrong_names(page.read_text(encoding="utf-8"))
    assert [f"{name(page)}, line {line}: {reason}" for line, reason in wrong] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_images_of_a_page_exist(page):
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [path for path in shown if not (page.parent / path).is_file()] == []


def test_python_page_describes_every_public_name():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    described = {*re.findall(r"^::: \S+\.(\w+)$", page, flags=re.MULTILINE), *re.findall(r"^`(\w+)` is ", page, re.M)}
    assert described == set(tflite_recipes.__all__)


def test_navigation_lists_every_page_once():
    config = tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))["project"]

    def files(entries):
        for entry in entries:
            for target in entry.values():
                yield from [target] if isinstance(target, str) else files(target)

    listed = list(files(config["nav"]))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
