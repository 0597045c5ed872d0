"""What the README, the pages in docs/ and `--help` show is what happens: it runs, each page in its own folder."""

import shutil

import pytest
from support import docs_samples
from support.checkout import REPOSITORY
from support.docs_blocks import RUN_LANGUAGES, Block, blocks, pages
from support.docs_runner import PageRunner

from tflite_recipes.cli import examples

RUN_PAGES = [page for page in pages() if any(block.language in RUN_LANGUAGES for block in blocks(page))]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    docs_samples.write(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_code_blocks_of_a_page_run(page, here, cli, samples):
    shutil.copytree(samples, here, dirs_exist_ok=True)
    listed = blocks(page)
    problems = PageRunner(here, cli, listed).problems(listed)
    assert problems == [], f"{page.relative_to(REPOSITORY)}: " + "\n\n".join(problems)


@pytest.mark.slow
def test_examples_of_help_run(here, cli, samples):
    """Runs are checked only: the pages run such commands. The others take the runs that are made for them."""
    shutil.copytree(samples, here, dirs_exist_ok=True)
    shutil.copy("float.tflite", "model.tflite")
    (here / "models").mkdir()
    shutil.copy("model.keras", here / "models")
    runs = Block(1, "sh", _shown("run"), "check")
    others = [Block(1, "sh", _shown(command)) for command in ("ls", "show", "check", "cp", "inspect")]
    quantized = "tflite-recipes run convert source=keras source.path=model.keras optimization=integer_only "
    calibrated = f"{quantized} calibration=npz calibration.path=cal.npz"
    past = [Block(1, "sh", calibrated), *(Block(1, "sh", _shown(name)) for name in ("rules", "diff", "compare"))]
    here_only = [Block(1, "sh", _without_server(_shown(command))) for command in ("reproduce", "sync")]
    listed = [runs, *others, *past, *here_only]
    runner = PageRunner(here, cli, listed)
    for block in listed:
        runner.run(block)


def _shown(command):
    """The examples of a command as a shell text."""
    return "\n".join(line.strip() for line in examples.shown(command).splitlines()[1:])


def _without_server(text):
    lines = text.splitlines()
    server = [line for line in lines if "://127.0.0.1" in line]
    assert len(server) == 1
    return "\n".join(line for line in lines if line not in server)
