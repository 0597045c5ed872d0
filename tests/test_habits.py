"""Lint, format and types, so that a checkout that passes its tests has them in order too."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_it_finds_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
