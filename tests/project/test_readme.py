"""The README is short and true. `tests/docs/` runs the commands of the README and of all pages."""

import re

import pytest
from support.checkout import REPOSITORY
from support.docs_runner import outline

from tflite_recipes.cli.completion import COMMANDS
from tflite_recipes.conversion.remedies import Remedy, Rule

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").rglob("*.md")}
QUICKSTART = PAGES[REPOSITORY / "docs" / "quickstart.md"]


def test_readme_has_at_most_150_lines_and_7_kb():
    assert len(README.splitlines()) <= 150
    assert len(README.encode()) <= 7 * 1024


def test_readme_has_every_command():
    for command in COMMANDS:
        assert f"| `tflite-recipes {command} " in README


def test_readme_links_and_pictures_exist():
    targets = re.findall(r"\]\(([^)#]+)", README)
    assert len(targets) >= 15
    assert all((REPOSITORY / path).is_file() for path in targets if "://" not in path)


def test_ci_runs_the_linters_and_the_shown_test_command():
    text = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in text
    checks = re.findall(r"^(?:check|timed \S+) '?([^'\n]+)", text, flags=re.MULTILINE)
    linters = ["ruff check .", "ruff format --check .", "mypy", "lint-imports", "zensical build --strict"]
    assert checks == [*linters, 'pytest -m "not slow"', "pytest --durations=25"]
    after = README.partition("<!-- test command -->")[2]
    assert re.match(r"\n```sh\npip install -c constraints.txt -e '\.\[dev\]' && pytest\n```", after)


def main_output(page):
    return page.partition("<!-- main output -->")[2].partition("```text\n")[2].partition("```")[0]


@pytest.mark.slow
def test_main_job_prints_the_output_of_quickstart_and_readme(here, cli_process):
    answer = cli_process("run", "digits_integer_only", cwd=here)
    assert answer.status == 0, answer.err
    shown = main_output(QUICKSTART)
    assert outline(answer.out) == outline(shown)
    digest = re.search(r"recipe digest (\w+)", shown)[1]
    assert f"recipe digest {digest}" in answer.out
    cut = main_output(README)
    assert len(cut.splitlines()) <= 12
    assert set(cut.splitlines()) <= set(shown.splitlines())


def test_pages_name_only_rules_and_remedies_that_exist():
    text = "".join(PAGES.values())
    rules = {name for listed in re.findall(r"substitution\.rules=\[([\w,]+)\]", text) for name in listed.split(",")}
    assert len(rules) >= 4
    assert rules <= set(Rule.__members__)
    for listed in re.findall(r"conversion\.fallback=\[([\w,]*)\]", text):
        assert set(filter(None, listed.split(","))) <= set(Remedy.__members__)
