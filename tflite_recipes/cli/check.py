"""Commands that compose a recipe without running it: show, check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tflite_recipes.cli.parser import Add
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.core.plain_output import show


def add_to(add: Add) -> None:
    """The commands' own lines in the parser."""
    show = add("show", _show, "print the resolved recipe as YAML, which run accepts")
    check = add("check", _check, "validate a recipe without running it; --deep also tries the conversion")
    for command in (show, check):
        command.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a YAML file")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="group=option or group.key=value")
    check.add_argument("-m", "--multirun", action="store_true", help="check every job of a sweep")
    check.add_argument("--deep", action="store_true", help="also load the model with TensorFlow and try the conversion")


def _show(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.config import composition

    show(composition.compose(options.recipe, options.overrides).to_yaml(), end="")
    return ExitStatus.DONE


def _check(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.config import composition

    prepared = composition.prepare(options.recipe, options.overrides, sweep=options.multirun)
    recipe = prepared.recipes[0]
    if options.deep:
        return _check_deep(prepared.recipes)
    if options.multirun:
        show(f"nothing wrong with the {len(prepared.recipes)} jobs of {recipe.name}")
        return ExitStatus.DONE
    chosen = ", ".join(f"{group}={option}" for group, option in recipe.choices.items())
    show(f"nothing wrong with {recipe.name}: {chosen}\nrecipe digest {recipe.digest}")
    return ExitStatus.DONE


def _check_deep(recipes: Sequence[Any]) -> ExitStatus:
    """Try each with TensorFlow, and say what its file would be."""
    from tflite_recipes import api
    from tflite_recipes.report.console import show_problems, show_rehearsal

    worst = ExitStatus.DONE
    for recipe in recipes:
        rehearsal = api.rehearse(recipe)
        sys.stdout.flush()
        show_problems(rehearsal.result.problems)
        show_rehearsal(rehearsal.result, rehearsal.contract, rehearsal.candidate)
        worst = max(worst, rehearsal.result.status)
    return worst
