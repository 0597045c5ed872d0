"""The only module that knows Hydra: where config lies, how it composes, and every config error at once."""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize
from hydra import main as hydra_main
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes import catalog
from tflite_recipes import recipe as recipes
from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.recipe import Recipe
from tflite_recipes.resolved import AS_RESOLVED, is_resolved, unfold
from tflite_recipes.resources import shipped
from tflite_recipes.schema import TARGET, near

_search_path: tuple[Path, ...] = ()


class _OurPlaces(SearchPathPlugin):
    """Adds the folders of the recipe that is being composed, and nothing at any other time."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in _search_path:
            search_path.append("tflite_recipes", f"file://{folder}")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as found: its name as listed, its file, and the folders that Hydra searches for it, first wins."""

    name: str
    path: Path
    folders: tuple[Path, ...]
    recorded: dict[str, str]

    @property
    def config_name(self) -> str:
        return self.path.stem


@contextlib.contextmanager
def opened(name: str, config_dir: Path | None = None) -> Iterator[RecipeFile]:
    """The recipe's file made ready for Hydra: its folders are on the search path inside this context.

    A resolved recipe (one whose sections carry their classes) is unfolded into a tree with one option per group, so
    that a `group=option` override replaces the whole section, as with any other recipe.
    """
    global _search_path
    path = catalog.find(name)
    content = catalog.read(path)
    Plugins.instance().register(_OurPlaces)
    before = _search_path
    with tempfile.TemporaryDirectory(prefix="tflite_recipes_") as folder:
        recorded: dict[str, str] = {}
        first = path.parent
        if is_resolved(content):
            recorded = unfold(path, content, Path(folder))
            first = Path(folder)
        folders = tuple(dict.fromkeys((first, *catalog.places(config_dir))))
        _search_path = folders
        try:
            yield RecipeFile(name, first / path.name, folders, recorded)
        finally:
            _search_path = before


@dataclass(frozen=True)
class Prepared:
    """A request that holds: its recipe (for a sweep, that of each job), and the overrides as Hydra takes them."""

    recipes: tuple[Recipe, ...]
    overrides: tuple[str, ...]


def compose(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> Recipe:
    """The recipe `name` (or YAML file) with `overrides`, checked. Errors: RequestError with every problem at once."""
    return prepare(name, overrides, config_dir).recipes[0]


def prepare(
    name: str, overrides: Sequence[str], config_dir: Path | None = None, sweep: bool = False
) -> Prepared:
    """Compose and check a run, or every job of a sweep. Errors: RequestError; a problem that only some jobs of a sweep
    have names them."""
    with opened(name, config_dir) as file, initialize(version_base="1.3", config_path=None):
        jobs = _jobs(overrides) if sweep else [list(overrides)]
        composed: list[Recipe] = []
        problems: dict[Problem, list[str]] = {}
        free: set[str] = set()
        for job in jobs:
            try:
                composed.append(_compose(file, job, free))
            except RequestError as error:
                for problem in error.problems:
                    problems.setdefault(problem, []).append(" ".join(job))
    if problems:
        raise RequestError([_in_job(problem, where, len(jobs)) for problem, where in problems.items()])
    lines = [f"++{text}" if text.partition("=")[0] in free else text for text in overrides]
    return Prepared(tuple(composed), tuple(lines))


def _in_job(problem: Problem, jobs: list[str], total: int) -> Problem:
    if len(jobs) == total:
        return problem
    return replace(problem, what=f"{problem.what} (in {'; '.join(jobs[:3])}{' …' if len(jobs) > 3 else ''})")


def _jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, as Hydra's own sweeper would expand them."""
    choices: list[list[str]] = []
    for text in overrides:
        override, problem = _parse(text)
        if override is not None and problem is None and override.is_sweep_override() and not override.is_hydra_override():
            if override.value_type is not None and override.value_type.name == "GLOB_CHOICE_SWEEP":
                options = override.sweep_string_iterator(transformer=_glob(override))
            else:
                options = override.sweep_string_iterator()
            prefix = text[: len(text) - len(text.lstrip("+"))]
            choices.append([f"{prefix}{override.get_key_element().lstrip('+')}={value}" for value in options])
        else:
            choices.append([text])
    return [list(job) for job in itertools.product(*choices)]


def _glob(override: Override) -> Any:
    names = GlobalHydra.instance().config_loader().get_group_options(override.key_or_group)
    return lambda value: value if isinstance(value, str) else value.filter(names)


def _compose(file: RecipeFile, overrides: Sequence[str], free: set[str]) -> Recipe:
    """Compose at once where all is well. Else with the group choices first, so that every other override can be held
    against what is there, and all that is wrong is said.

    `free` collects the keys that are new entries of a free mapping (an input's name, an argument).
    """
    parsed, problems = _parse_all(overrides)
    loader = GlobalHydra.instance().config_loader()
    is_group = {id(override): bool(loader.get_group_options(override.key_or_group)) for override in parsed}
    chosen: list[str] = []
    for override in (override for override in parsed if is_group[id(override)]):
        found = list(_option_problems(override))
        problems += found
        chosen += [] if found else [override.input_line or ""]
    lines = [override.input_line or "" for override in parsed]
    config, failed = _hydra(file, lines) if not problems else (None, [])
    if config is not None:
        return _typed(config, file, overrides, [])
    config, failed = _hydra(file, chosen)
    if config is None:
        raise RequestError([*problems, *failed])
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    accepted: list[str] = []
    for override in (override for override in parsed if not is_group[id(override)]):
        line, problem = _against(override, plain)
        if problem is not None:
            problems.append(problem)
            continue
        accepted.append(line)
        if line != override.input_line:
            free.add(override.key_or_group)
    if accepted:
        config, failed = _hydra(file, chosen + accepted)
        problems += failed
    return _typed(config, file, overrides, problems)


def _typed(
    config: DictConfig | None, file: RecipeFile, overrides: Sequence[str], problems: list[Problem]
) -> Recipe:
    """Type the composed config and add what is wrong with it to what is known already."""
    try:
        if config is None:
            raise RequestError(problems)
        choices = dict(config.hydra.runtime.choices)
        built = build(config, choices, file.config_name, overrides, file.recorded)
    except RequestError as error:
        raise RequestError([*problems, *(p for p in error.problems if p not in problems)]) from None
    if problems:
        raise RequestError(problems)
    return built


def build(
    config: DictConfig,
    choices: Mapping[str, Any],
    name: str,
    overrides: Sequence[str],
    recorded: Mapping[str, str],
) -> Recipe:
    """A recipe from a config composed by Hydra and the choices it made. Errors: RequestError."""
    base = yaml.safe_load((shipped("conf") / "base.yaml").read_text())["defaults"]
    groups = [key for entry in base if isinstance(entry, dict) for key in entry if not key.startswith("override")]
    named = {
        group: recorded.get(group, str(option)) if option == AS_RESOLVED else str(option)
        for group, option in choices.items()
        if not group.startswith("hydra/") and option is not None
    }
    ordered = {group: named[group] for group in [*groups, *named] if group in named}
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(task, resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or ""
        raise RequestError(Problem(str(error).splitlines()[0], key)) from error
    assert isinstance(plain, dict)
    values = {str(key): value for key, value in plain.items()}
    return recipes.build(values, ordered, groups, overrides, values.get("name") or name)


@dataclass(frozen=True)
class Job:
    """What Hydra hands to one run: the recipe, or what is wrong with it; the folder; the job's number in a sweep."""

    recipe: Recipe | None
    problems: tuple[Problem, ...]
    overrides: tuple[str, ...]
    output_dir: Path
    number: int


def launch(
    name: str, arguments: Sequence[str], config_dir: Path | None, task: Callable[[Job], None]
) -> None:
    """Hand over to Hydra: it makes the output folder, expands a sweep and launches its jobs. `arguments` are Hydra's
    own flags and overrides. `task` is called once a job and must not raise."""
    with opened(name, config_dir) as file:
        recorded, config_name = dict(file.recorded), file.config_name

        def job(config: DictConfig) -> None:
            hydra_config = HydraConfig.get()
            overrides = tuple(str(override) for override in hydra_config.overrides.task)
            folder, number = Path(hydra_config.runtime.output_dir), hydra_config.job.get("num", 0)
            problems: tuple[Problem, ...] = ()
            recipe = None
            try:
                choices = dict(hydra_config.runtime.choices)
                recipe = build(config, choices, config_name, [o.lstrip("+") for o in overrides], recorded)
            except RequestError as error:
                problems = error.problems
            task(Job(recipe, problems, overrides, folder, int(number) if isinstance(number, int) else 0))

        with _arguments(["tflite-recipes", "--config-name", config_name, *arguments]):
            try:
                hydra_main(version_base="1.3", config_path=None)(job)()
            except SystemExit as leaving:  # Hydra's own errors end with 1, which is a gate's answer here
                if leaving.code:
                    raise RequestError(Problem("Hydra refused this, for the reason above", name)) from None


@contextlib.contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = before


def complete(name: str, line: str) -> list[str]:
    """What may stand next on a command line of overrides, by Hydra's own completion."""
    with opened(name) as file, initialize(version_base="1.3", config_path=None):
        loader = GlobalHydra.instance().config_loader()
        return [str(found) for found in DefaultCompletionPlugin(loader)._query(file.config_name, line)]


def _parse_all(overrides: Sequence[str], sweep: bool = False) -> tuple[list[Override], list[Problem]]:
    parsed, problems = [], []
    for text in overrides:
        override, problem = _parse(text)
        if override is not None and override.is_sweep_override() and not sweep and not problem:
            quoted = text.partition("=")
            what = f"several values for one run: {text}"
            ors = (f"'{quoted[0]}=[{quoted[2]}]'",)
            problem = Problem(what, override.key_or_group, f"-m {text}", ors)
        if problem is not None:
            problems.append(problem)
        elif override is not None:
            parsed.append(override)
    return parsed, problems


def _parse(text: str) -> tuple[Override | None, Problem | None]:
    key, equals, value = text.partition("=")
    try:
        return OverridesParser.create().parse_override(text), None
    except HydraException:
        if not equals:
            return None, Problem(f"{text!r} is not key=value", text, f"{text}=VALUE")
        escaped = value.strip("\"'").replace('"', '\\"')
        return None, Problem("this value needs quotes", key, f"'{key}=\"{escaped}\"'")


def _option_problems(override: Override) -> Iterator[Problem]:
    group, option = override.key_or_group, override.value()
    if override.is_delete() or group.startswith("hydra/"):
        return
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    for one in option if isinstance(option, list) else [option]:
        if one is None or str(one) in options:
            continue
        offered = [known for known in options if known != AS_RESOLVED]
        similar = near(str(one), offered)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(offered)}"
        yield Problem(f"there is no option {one!r}; {hint}", group, f"{group}={(similar or offered)[0]}")


def _hydra(file: RecipeFile, overrides: list[str]) -> tuple[DictConfig | None, list[Problem]]:
    try:
        return hydra_compose(file.config_name, overrides, return_hydra_config=True), []
    except RecursionError:
        return None, [Problem("its defaults inherit each other in a circle", str(file.path))]
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        return None, [Problem(text, file.name)]


def _against(override: Override, plain: dict[str, Any]) -> tuple[str, Problem | None]:
    """The override's line as Hydra takes it, and what is wrong with its key."""
    line, key = override.input_line or "", override.key_or_group
    if override.is_add() or override.is_force_add():
        return line, None
    parts = key.split(".")
    node: Any = plain
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, dict) and depth >= 2 and TARGET not in node and parts[0] not in ("hydra", "worker"):
            return f"++{line}", None  # a free mapping: input_shapes, arguments, tags
        else:
            return line, _unknown(override, parts, depth, node, plain)
    if isinstance(node, dict) and isinstance(override.value(), dict) and len(parts) > 1:
        return f"++{line}", None
    return line, None


def _unknown(override: Override, parts: list[str], depth: int, node: Any, plain: dict[str, Any]) -> Problem:
    key, (_, _, value) = override.key_or_group, (override.input_line or "").partition("=")
    known = [str(name) for name in node if name != TARGET] if isinstance(node, dict) else []
    if depth == 0:
        known = [name for name in dict.fromkeys([*known, *catalog.list_groups()]) if name not in ("hydra", "name")]
    # The key alone, without its group: samples=10 for calibration.samples=10.
    sections = plain.items() if depth == 0 and len(parts) == 1 else ()
    owners = [group for group, section in sections if isinstance(section, dict) and parts[0] in section]
    similar = [f"{group}.{parts[0]}" for group in owners if group != "hydra"] or near(parts[depth], known)
    if depth == 0 and similar and similar[0] in catalog.list_groups() and len(parts) == 1:
        options = list(catalog.list_groups()[similar[0]])
        value = (near(value, options) or options)[0]
    section = ".".join(parts[:depth])
    option_hint = f" (no option of {section} is chosen)" if depth and not known else ""
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(known) or 'none'}{option_hint}"
    better = ".".join([*parts[:depth], similar[0], *parts[depth + 1 :]]) if similar else ""
    return Problem(f"unknown key; {hint}", key, f"{better}={value}" if better else "")
