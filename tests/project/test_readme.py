"""What the README shows is what happens."""

import re
import shlex
import shutil

import numpy as np
import pytest
from support import keras_models, sample_files
from support.checkout import REPOSITORY, write

from tflite_recipes import api
from tflite_recipes.cli.completion import COMMANDS
from tflite_recipes.config import catalog
from tflite_recipes.conversion.remedies import Remedy, Rule
from tflite_recipes.core.errors import ExitStatus

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """The tflite-recipes commands of a text, without their program."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"(?:^|&& |`|\$ )(tflite-recipes [^`\n]*)", joined, flags=re.MULTILINE)
    return [shlex.split(command.replace("&&", ""))[1:] for command in found]


def test_it_shows_every_recipe_option_and_command():
    for name in catalog.list_recipes():
        assert f"| `{name}` | `tflite-recipes run {name}" in README
    for group, options in catalog.list_groups().items():
        (row,) = (line for line in README.splitlines() if line.startswith(f"| `{group}` |"))
        assert all(f"`{option}`" in row for option in options), group
    for command in COMMANDS:
        assert f"| `tflite-recipes {command} " in README


@pytest.mark.slow
def test_its_requests_compose(here):
    """Every run that it shows is a request that holds, given the files that it names."""
    keras_models.write("dense", here)
    arrays = {"x": np.zeros((4, 8), "float32")}
    np.savez("cal.npz", **arrays)
    np.savez("test.npz", **arrays, labels=np.zeros(4, "int64"))
    (here / "pictures").mkdir()
    keras_models.write("cnn", here / "pictures")
    (here / "pictures" / "model.keras").rename(here / "classifier.keras")
    sample_files.images(here / "photos", 2, (9, 9, 3))
    shutil.copy("cal.npz", "images.npz")
    shutil.copy("model.keras", "mobilenet_v1_025_96.keras")
    keras_models.write("keras2", here)
    (here / "model.h5").rename("ad01.h5")
    keras_models.write("keras2_saved_model", here)
    (here / "saved_model").rename("kws_saved_model")
    np.savez("frames.npz", image=np.zeros((4, 16, 16, 3), "float32"))
    np.savez("features.npz", image=np.zeros((4, 8, 8, 3), "float32"))
    text = README
    for refused in blocks("console"):
        text = text.replace(refused, "")
    shown = [command for command in commands(text) if command[0] == "run"]
    runs = [command[1:] for command in shown if command[1] in catalog.list_recipes()]
    assert len(runs) >= 8
    for recipe, *overrides in runs:
        if "-m" in overrides:
            from tflite_recipes.config.composition import prepare

            assert len(prepare(recipe, [text for text in overrides if text != "-m"], sweep=True).recipes) > 1
        else:
            assert api.check(recipe, overrides) == ()


def test_the_refused_request_is_printed_as_shown(here, cli):
    (shown,) = blocks("console")
    first, _, expected = shown.partition("\n")
    answer = cli(*shlex.split(first.removeprefix("$ tflite-recipes ")))
    assert answer.status == 2
    assert answer.err == expected


def test_ci_runs_the_linters_and_the_shown_test_command():
    text = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in text
    checks = re.findall(r"^(?:check|timed \S+) '?([^'\n]+)", text, flags=re.MULTILINE)
    linters = ["ruff check .", "ruff format --check .", "mypy", "lint-imports"]
    assert checks == [*linters, 'pytest -m "not slow"', "pytest --durations=25"]
    after = README.partition("<!-- test command -->")[2]
    assert re.match(r"\n```sh\npip install -c constraints.txt -e '\.\[dev\]' && pytest\n```", after)


@pytest.mark.slow
def test_the_main_job_prints_what_is_shown(here, cli_process):
    shown = README.partition("<!-- main output -->")[2].partition("```text\n")[2].partition("```")[0]
    answer = cli_process("run", "digits_integer_only", cwd=here)
    assert answer.status == 0, answer.err

    def outline(text):
        """The lines without what differs from run to run and from machine to machine."""
        text = re.sub(r"\d{4}-\d\d-\d\d_[\d.-]+|[0-9a-f]{32}", "…", text)
        text = re.sub(r"-?\d[\d,]*(\.\d+)?(e-\d+)?", "0", text)
        return [" ".join(line.split()) for line in text.splitlines()]

    assert outline(answer.out) == outline(shown)
    digest = re.search(r"recipe digest (\w+)", shown)[1]
    assert f"recipe digest {digest}" in answer.out


@pytest.mark.slow
def test_the_python_example_runs(here, capsys):
    (example,) = (block for block in blocks("python") if "tflite_recipes.compose" in block)
    names = {}
    exec(example, names)
    assert names["result"].status == ExitStatus.DONE
    assert "calibration.samples=1" in capsys.readouterr().out  # the problem's fix


@pytest.mark.slow
def test_the_replacement_of_a_layer_runs(here):
    (example,) = (block for block in blocks("python") if "def plain_gate" in block)
    write(here / "mine.py", example)
    keras_models.write("gate", here)
    (override,) = set(re.findall(r"'(substitution\.layers=.*?\})'", README))
    result = api.run(
        "convert",
        ["source=keras", "source.path=model.keras", "tracking=none", "substitution=rules", override],
        progress=False,
    )
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > 0.9999


def test_the_rules_and_remedies_that_it_names_are_there():
    named = {name for listed in re.findall(r"substitution\.rules=\[([\w,]+)\]", README) for name in listed.split(",")}
    assert named
    assert named <= set(Rule.__members__)
    for listed in re.findall(r"conversion\.fallback=\[([\w,]*)\]", README):
        assert set(filter(None, listed.split(","))) <= set(Remedy.__members__)
    (row,) = (line for line in README.splitlines() if line.startswith("| `substitution` |"))
    assert all(f"`{rule}`" in row for rule in Rule.__members__)


@pytest.mark.slow
def test_the_own_step_and_the_own_recipe_run(here):
    (step,) = (block for block in blocks("python") if "class Halve" in block)
    write(here / "own_steps.py", step)
    for block in blocks("yaml"):
        path = re.match(r"# (recipes/\w+\.yaml)", block)[1]
        write(here / path, block)
    keras_models.write("dense", here)
    np.savez("cal.npz", x=np.random.default_rng(0).random((16, 8)).astype("float32"))
    phone = api.run("phone", ["tracking=none"], progress=False)
    assert phone.status == ExitStatus.DONE, phone.problems
    halved = api.run("halved", ["source=keras", "source.path=model.keras", "tracking=none"], progress=False)
    assert halved.status == ExitStatus.DONE, halved.problems
    assert halved.metrics["own.factor"] == 0.5


def test_its_pictures_are_there():
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(shown) >= 3
    assert all((REPOSITORY / path).is_file() for path in shown)
