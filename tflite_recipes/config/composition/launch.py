"""Handing over to Hydra, which makes the output folder, expands a sweep and launches its jobs."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tflite_recipes.config.composition.compose import build, opened
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.tracking_uri import scrubbed, without_password


@dataclass(frozen=True)
class Job:
    """What Hydra hands to one run: the recipe, or what is wrong with it; the folder; the job's number in a sweep,
    and the sweep's own folder."""

    recipe: Recipe | None
    problems: tuple[Problem, ...]
    overrides: tuple[str, ...]
    output_dir: Path
    number: int
    sweep_dir: Path


def launch(name: str, arguments: Sequence[str], config_dir: Path | None, task: Callable[[Job], None]) -> None:
    """Hand over to Hydra: it makes the output folder, expands a sweep and launches its jobs. `arguments` are Hydra's
    own flags and overrides. `task` is called once a job and must not raise."""
    with opened(name, config_dir) as file:

        def job(config: DictConfig) -> None:
            hydra_config: Any = HydraConfig.get()
            overrides = tuple(str(override) for override in hydra_config.overrides.task)
            folder, number = Path(hydra_config.runtime.output_dir), hydra_config.job.get("num", 0)
            problems: tuple[Problem, ...] = ()
            recipe = None
            try:
                choices = dict(hydra_config.runtime.choices)
                recipe = build(config, choices, file, [o.lstrip("+") for o in overrides])
            except RequestError as error:
                problems = error.problems
            around = _sweep_dir(hydra_config, folder)
            if recipe is not None and recipe.tracking is not None:
                _scrub((folder / str(hydra_config.output_subdir), around), recipe.tracking.uri)
            number = int(number) if isinstance(number, int) else 0
            task(Job(recipe, problems, overrides, folder, number, around))

        with _arguments(["tflite-recipes", "--config-name", file.config_name, *arguments]), _raising():
            try:
                hydra_main(version_base="1.3", config_path=None)(job)()
            except RequestError:
                raise
            except SystemExit as leaving:  # Hydra's own errors end with 1, which is a gate's answer here
                if leaving.code:
                    raise RequestError(Problem("Hydra refused this, for the reason above", name)) from None
            except Exception as error:
                raise RequestError(Problem(f"Hydra cannot do this: {gist(error)}", name)) from error


def _scrub(folders: Iterable[Path], uri: str) -> None:
    """Take the password of the tracking URI out of what Hydra wrote down of the request."""
    if without_password(uri) == uri:
        return
    for file in (file for folder in folders for file in folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if (clean := scrubbed(text, uri)) != text:
            file.write_text(clean, encoding="utf-8")


def _sweep_dir(hydra_config: Any, folder: Path) -> Path:
    """The folder around those of a sweep's jobs; a single run's own."""
    if hydra_config.mode is not RunMode.MULTIRUN:
        return folder
    return next(itertools.islice(folder.parents, len(Path(str(hydra_config.sweep.subdir)).parts) - 1, None), folder)


@contextlib.contextmanager
def _raising() -> Iterator[None]:
    """Have Hydra raise its errors, which it would print with a traceback."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextlib.contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = before
