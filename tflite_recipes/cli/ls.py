"""Commands that look and change nothing that was there: ls, cp, inspect, rules."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.cli.parser import Add
from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError, gist, printable
from tflite_recipes.core.plain_output import show


def add_to(add: Add) -> None:
    """The commands' own lines in the parser."""
    ls = add("ls", _ls, "list recipes, or the options of a group")
    ls.add_argument("group", nargs="?", metavar="GROUP", help="a config group; without it, the recipes")
    cp = add("cp", _cp, "copy a recipe or an option, to change it")
    cp.add_argument("name", metavar="RECIPE|GROUP/OPTION", help="what to copy")
    cp.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="default: recipes/RECIPE.yaml, conf/GROUP/OPTION.yaml"
    )
    inspect = add("inspect", _inspect, "print ops, types, inputs, outputs and sizes of a .tflite file")
    inspect.add_argument("file", type=Path, metavar="FILE.tflite", help="the file")
    _add_rules(add("rules", _rules, "suggest rules for the ops of a quantized run that lose most accuracy"))


def _add_rules(command: argparse.ArgumentParser) -> None:
    from tflite_recipes.conversion.rule_suggestions import MOST, SCHEMES

    command.epilog = (
        "Without --top and --below, the rules are for the ops that together add nine tenths of the error, at most\n"
        f"{MOST}. Ops that these ops depend on get a rule too: the op whose error they amplify, the op that sets\n"
        "their scale."
        f"\n\n{command.epilog}"
    )
    command.add_argument(
        "place", type=Path, metavar="FILE|RUN_FOLDER", help="quantization_error.csv, or the output folder of a run"
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--top", type=int, metavar="N", help="the N ops that lose most by themselves")
    which.add_argument("--below", type=float, metavar="DB", help="the ops whose own SQNR is below DB")
    command.add_argument("--scheme", choices=SCHEMES, default="float", help="the scheme that they get (default float)")
    command.add_argument("--yaml", action="store_true", help="print YAML for a recipe")


def _ls(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.config import catalog
    from tflite_recipes.core.schema import near
    from tflite_recipes.report.console import show_listing

    groups = catalog.list_groups()
    if options.group is None:
        show_listing({name: catalog.describe(path) for name, path in catalog.list_recipes().items()})
        show(f"\ngroups (tflite-recipes ls GROUP): {', '.join(groups)}")
        return ExitStatus.DONE
    if options.group not in groups:
        similar = near(options.group, list(groups))
        what = f"there is no group {options.group!r}; there are {', '.join(groups)}"
        raise RequestError(Problem(what, "ls", "", tuple(f"tflite-recipes ls {name}" for name in similar)))
    show_listing({name: catalog.describe(path) for name, path in groups[options.group].items()})
    return ExitStatus.DONE


def _cp(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.config import catalog

    name: str = options.name
    option = catalog.find_option(name) if name not in catalog.list_recipes() else None
    copy = _recipe_copy(catalog.find(name), options.file) if option is None else _option_copy(option, options.file)
    if copy.target.suffix not in (".yaml", ".yml"):
        other = f"tflite-recipes cp {name} {copy.target}.yaml"
        raise RequestError(Problem(f"{copy.target} is not a .yaml file", "FILE", "", (other,)))
    try:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        with copy.target.open("x", encoding="utf-8") as stream:
            stream.write(copy.text)
    except OSError as error:
        if not os.path.lexists(copy.target):  # its folder is a file, or may not be written
            raise RequestError(Problem(f"{copy.target} cannot be written: {error.strerror}", "FILE")) from error
        what = f"{copy.target} exists already, and is left as it is"
        other = f"tflite-recipes cp {name} {copy.target.with_stem(f'{copy.target.stem}_2')}"
        raise RequestError(Problem(what, "FILE", "", (other,))) from None
    show(f"{copy.target}: yours to change; {copy.use}")
    return ExitStatus.DONE


@dataclass(frozen=True)
class _Copy:
    """What `cp` writes. target: the file. use: how the file is used, in words."""

    text: str
    target: Path
    use: str


def _read(source: Path) -> str:
    from tflite_recipes.config.catalog import MOST

    try:
        return regular_files.read_text(source, MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(Problem(f"cannot be read: {gist(error)}", str(source))) from error


def _recipe_copy(source: Path, file: Path | None) -> _Copy:
    target = file or Path("recipes") / source.name
    own = printable(f"tflite-recipes run {target.stem if target.parent == Path('recipes') else target}")
    text = _read(source).replace(f"tflite-recipes run {source.stem}", own, 1)
    return _Copy(text, target, f"run it with: {own}")


def _option_copy(source: Path, file: Path | None) -> _Copy:
    """An option is found in `conf/GROUP/` alone."""
    from tflite_recipes.config import catalog
    from tflite_recipes.config.option_text import option_text

    root = next(folder for folder in catalog.option_folders() if source.is_relative_to(folder))
    group = source.relative_to(root).parent
    own = Path("conf") / group
    target = file or own / source.name
    found = target.resolve().parent == own.resolve() and target.suffix == ".yaml"
    choice = f"{group}={target.stem}"
    use = f"choose it with: {choice}" if found else f"as {own / target.stem}.yaml it is {choice}"
    return _Copy(option_text(source), target, use)


def _inspect(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.files import tflite
    from tflite_recipes.report.console import show_inspection

    show_inspection(tflite.describe(tflite.read_tflite(options.file)), options.file)
    return ExitStatus.DONE


def _rules(options: argparse.Namespace) -> ExitStatus:
    """The rules alone on standard output, ready to paste; what they are for on standard error."""
    from tflite_recipes.conversion import rule_suggestions
    from tflite_recipes.report.console import show_chosen

    if options.top is not None and options.top < 1:
        raise RequestError(Problem(f"{options.top} ops are none", "--top", f"--top {rule_suggestions.MOST}"))
    if options.below is not None and not math.isfinite(options.below):
        raise RequestError(Problem(f"{options.below} is not a number of decibels", "--below", "--below 20"))
    rows = rule_suggestions.read(options.place)
    chosen = rule_suggestions.choose(rows, options.top, options.below)
    if not chosen:
        limit = "" if options.below is None else f" with an own SQNR below {options.below:g} dB"
        show(f"{options.place} has no quantized op{limit}: there is no rule to give", sys.stderr)
        return ExitStatus.DONE
    show_chosen(chosen, options.scheme)
    found = rule_suggestions.rules(chosen, options.scheme)
    text = rule_suggestions.to_yaml(found) if options.yaml else rule_suggestions.override(found)
    show(text, end="" if options.yaml else "\n")
    return ExitStatus.DONE
