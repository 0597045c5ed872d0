"""The only module that knows Hydra: where config lies, how it composes, and every config error at once."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra import main as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
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
from tflite_recipes.errors import Problem, RequestError, assignment, gist
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
        """The recipe's name in the first of its folders."""
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
        first: tuple[Path, ...] = (path.parent,)
        if is_resolved(content):
            recorded = unfold(path, content, Path(folder))
            first = (Path(folder),)
        elif path.suffix != ".yaml":  # which Hydra does not look for
            shutil.copyfile(path, Path(folder) / f"{path.stem}.yaml")
            first = (Path(folder), path.parent)
        # Ours come before all others here, because `builtin/NAME` always means ours; nothing else lies in that folder.
        folders = tuple(dict.fromkeys((shipped("recipes").resolve(), *first, *catalog.places(config_dir))))
        _search_path = folders
        try:
            yield RecipeFile(name, path, folders, recorded)
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


def prepare(name: str, overrides: Sequence[str], config_dir: Path | None = None, sweep: bool = False) -> Prepared:
    """Compose and check a run, or every job of a sweep. Errors: RequestError; a problem that only some jobs of a sweep
    have names them."""
    with opened(name, config_dir) as file, initialize_config_dir(str(file.folders[0]), version_base="1.3"):
        latest = _latest(overrides)
        jobs = _jobs(latest) if sweep else [latest]
        request = _Request(file, set(), {} if len(jobs) > 1 else None)
        composed: list[Recipe] = []
        problems: dict[Problem, list[str]] = {}
        for job in jobs:
            try:
                composed.append(_compose(request, job))
            except RequestError as error:
                for problem in dict.fromkeys(error.problems):
                    problems.setdefault(problem, []).append(" ".join(job))
    if problems:
        raise RequestError([_in_job(problem, where, len(jobs)) for problem, where in problems.items()])
    return Prepared(tuple(composed), tuple(f"++{text}" if _key(text) in request.free else text for text in latest))


def _key(text: str) -> str:
    return text.partition("=")[0].lstrip("+~")


@dataclass(frozen=True)
class _Request:
    """What the jobs of a request share. `free` collects the keys that are new entries of a free mapping (an input's
    name, an argument). `known` keeps what Hydra composed, which takes it a tenth of a second, for several jobs."""

    file: RecipeFile
    free: set[str]
    known: dict[tuple[str, ...], tuple[DictConfig | None, list[Problem]]] | None

    def config(self, choices: Sequence[str]) -> tuple[DictConfig | None, list[Problem]]:
        """The recipe with these options, before any value is overridden, or what is wrong with them."""
        if self.known is None:
            return _hydra(self.file, choices)
        if tuple(choices) not in self.known:
            self.known[tuple(choices)] = _hydra(self.file, choices)
        return copy.deepcopy(self.known[tuple(choices)])


def _latest(overrides: Sequence[str]) -> list[str]:
    """Of several overrides of one key the last counts, so that a fix pasted behind a command mends it; and `~key` takes
    back what was asked of the key and of those below it. Only where nothing was asked does it delete."""
    loader = GlobalHydra.instance().config_loader()
    kept: dict[str, list[str]] = {}
    taken_back: set[str] = set()
    for text in overrides:
        key = _key(text)
        is_group = bool(loader.get_group_options(key.partition("@")[0]))
        if text.startswith("~"):
            asked = {other for other in kept if f"{other}.".startswith(f"{key}.") and kept[other] != [f"~{other}"]}
            for other in asked:
                del kept[other]
            taken_back |= asked
            if key not in taken_back and (is_group or not asked):
                kept[key] = [text]
            continue
        before = kept.pop(key, [])
        deleted = [other for other in before if other.startswith("~")] if text.startswith("+") else []
        added = any(other.startswith("+") for other in before) and not text.startswith("+")
        kept[key] = [*deleted, f"++{text}" if added and not is_group else text]
    return [text for texts in kept.values() for text in texts]


def _in_job(problem: Problem, jobs: list[str], total: int) -> Problem:
    if len(jobs) == total:
        return problem
    return replace(problem, what=f"{problem.what} (in {'; '.join(jobs[:3])}{' …' if len(jobs) > 3 else ''})")


def _jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, as Hydra's own sweeper would expand them; of an interval only its start."""
    choices: list[list[str]] = []
    for text in overrides:
        override, _ = _parse(text)
        if override is None or not override.is_sweep_override() or override.is_hydra_override():
            choices.append([text])
            continue
        discrete = override.is_discrete_sweep()
        values = override.sweep_string_iterator() if discrete else [getattr(override.value(), "start", "")]
        choices.append([f"{text.partition('=')[0]}={value}" for value in values])
    return [list(job) for job in itertools.product(*choices)]


def _compose(request: _Request, overrides: Sequence[str]) -> Recipe:
    """Compose the options first, then hold every other override against what is there, so that all that is wrong is
    said at once."""
    parsed, several, problems = _parse_all(overrides)
    loader = GlobalHydra.instance().config_loader()
    groups = [override for override in parsed if loader.get_group_options(override.key_or_group)]
    groups = [override for override in groups if not isinstance(override.value(), dict)]
    chosen, found, unclear = _chosen(groups)
    problems += found
    config, failed = request.config(chosen)
    if config is None and chosen:
        bare, failed = request.config([])
        if bare is not None:
            chosen, found = _placed(chosen, dict(bare.hydra.runtime.choices))
            problems += found
            config, failed = request.config(chosen)
    if config is None:
        raise RequestError([*problems, *failed])
    plain = _plain(config)
    problems += [_several(override, plain) for override in several]
    for override in (override for override in parsed if override not in groups):
        group = override.key_or_group.partition(".")[0]
        if group in unclear:
            continue
        found = _apply(override, config, plain, request.free)
        problems += found
        if found and _nothing_chosen(group, plain):
            unclear.add(group)
        elif not found and not (override.input_line or "")[0].isalpha():
            plain = _plain(config)  # a + or a ~ changed which keys there are
    return _typed(config, request.file, overrides, problems, unclear)


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return plain


def _apply(override: Override, config: DictConfig, plain: dict[str, Any], free: set[str]) -> list[Problem]:
    """Apply one override of a value as Hydra does, or say what is wrong with it."""
    line, problem = _against(override, plain, free)
    accepted = _parsed(line)
    if problem is not None or accepted is None:
        return [problem] if problem is not None else []
    try:
        ConfigLoaderImpl._apply_overrides_to_config([accepted], config)
    except (HydraException, OmegaConfBaseException) as error:
        fix = shlex.quote(line.lstrip("+")) if override.is_add() else ""
        return [Problem(gist(error), override.key_or_group, fix)]
    return []


def _typed(
    config: DictConfig, file: RecipeFile, overrides: Sequence[str], problems: list[Problem], unclear: set[str]
) -> Recipe:
    """Type the composed config, and add what is wrong with it to what is known already. Nothing is said of `unclear`
    groups, whose options have to be chosen first."""
    found: list[Problem] = []
    try:
        built = build(config, dict(config.hydra.runtime.choices), file.config_name, overrides, file.recorded)
    except RequestError as error:
        said = {problem.where for problem in problems} | unclear
        found = [problem for problem in error.problems if problem.where not in said]
    if problems or found:
        raise RequestError([*problems, *map(_from_folder, found)])
    return built


def _from_folder(problem: Problem) -> Problem:
    """Hydra puts what it inherits from a folder under the folder's name, unless the file says otherwise."""
    if not problem.what.startswith("unknown key") or not (Path("recipes") / problem.where).is_dir():
        return problem
    other = "write `# @package _global_` as the first line of the recipe that is inherited"
    return Problem(f"a recipe in recipes/{problem.where} is inherited as a section", problem.where, "", (other,))


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


def launch(name: str, arguments: Sequence[str], config_dir: Path | None, task: Callable[[Job], None]) -> None:
    """Hand over to Hydra: it makes the output folder, expands a sweep and launches its jobs. `arguments` are Hydra's
    own flags and overrides. `task` is called once a job and must not raise."""
    with opened(name, config_dir) as file:
        recorded, config_name = dict(file.recorded), file.config_name

        def job(config: DictConfig) -> None:
            hydra_config: Any = HydraConfig.get()
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

        with _arguments(["tflite-recipes", "--config-name", config_name, *arguments]), _raising():
            try:
                hydra_main(version_base="1.3", config_path=None)(job)()
            except SystemExit as leaving:  # Hydra's own errors end with 1, which is a gate's answer here
                if leaving.code:
                    raise RequestError(Problem("Hydra refused this, for the reason above", name)) from None
            except Exception as error:
                raise RequestError(Problem(f"{type(error).__name__}: {gist(error)}", name)) from error


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


def complete(name: str, line: str) -> list[str]:
    """What may stand next on a command line of overrides, by Hydra's own completion."""
    with opened(name) as file, initialize_config_dir(str(file.folders[0]), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return [str(found) for found in DefaultCompletionPlugin(loader)._query(file.config_name, line)]


def _parse_all(overrides: Sequence[str]) -> tuple[list[Override], list[Override], list[Problem]]:
    """Overrides with one value, those with several, and what is wrong with the others."""
    found = [_parse(text) for text in overrides]
    parsed = [override for override, _ in found if override is not None]
    one = [override for override in parsed if not override.is_sweep_override()]
    several = [override for override in parsed if override.is_sweep_override()]
    return one, several, [problem for _, problem in found if problem is not None]


def _several(override: Override, plain: Mapping[str, Any]) -> Problem:
    """Several values where one run is asked for: a sweep, or a list where the key holds one."""
    line = override.input_line or ""
    node: Any = plain
    for part in override.key_or_group.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    listed = shlex.quote(f"{line.partition('=')[0]}=[{line.partition('=')[2]}]")
    fix, ors = (listed, ("-m",)) if isinstance(node, list) else ("-m", ())
    return Problem(f"several values for one run: {line}", override.key_or_group, fix, ors)


def _parse(text: str) -> tuple[Override | None, Problem | None]:
    override = _parsed(text)
    if override is not None:
        return override, None
    key, equals, value = text.partition("=")
    if not equals:
        return None, Problem("is not key=value", text, assignment(text, "VALUE") if _parsed(f"{text}=VALUE") else "")
    # As in JSON, where the keys have quotes; Hydra's have none.
    unquoted = f"{key}=" + re.sub(r"""(["'])([^"']*)\1\s*:""", r"\2:", value)
    if _parsed(unquoted) is not None:
        return None, Problem("the keys of a mapping have no quotes here", _key(text), shlex.quote(unquoted))
    quoted = assignment(key, value.strip("\"'"))
    if _parsed(shlex.split(quoted)[0]) is not None:
        return None, Problem("this value needs quotes", _key(text), quoted)
    return None, Problem("is not key=value", text)


def _parsed(text: str) -> Override | None:
    try:
        override = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides([text])[0]
    except HydraException:
        return None
    return override if override.key_or_group else None


def _chosen(overrides: Sequence[Override]) -> tuple[list[str], list[Problem], set[str]]:
    """Choices of options that there are, what is wrong with the others, and their groups. A wrong option's best match
    stands in for it, so that what else is wrong is said too."""
    lines: list[str] = []
    problems: list[Problem] = []
    unclear: set[str] = set()
    for override in overrides:
        line = override.input_line or ""
        problem, similar = _no_such_option(override)
        if problem is None:
            lines.append(line)
            continue
        problems.append(problem)
        if similar:
            lines += shlex.split(problem.fix)
        else:
            unclear.add(_key(line))
    return lines, problems, unclear


def _no_such_option(override: Override) -> tuple[Problem | None, list[str]]:
    """What is wrong with the option that is chosen, and those it is like."""
    known = GlobalHydra.instance().config_loader().get_group_options(override.key_or_group)
    offered = [name for name in known if name != AS_RESOLVED]
    option = override.value()
    missing = [one for one in (option if isinstance(option, list) else [option]) if one not in known]
    if override.is_delete() or not missing:
        return None, []
    key = (override.input_line or "").partition("=")[0]
    similar = [str(missing[0])] if str(missing[0]) in known else near(str(missing[0]), offered)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(offered) or 'none'}"
    fix = assignment(key, (similar or offered)[0]) if offered else ""
    return Problem(f"there is no option {missing[0]!r}; {hint}", _key(key), fix), similar


def _placed(lines: Sequence[str], there: Mapping[str, Any]) -> tuple[list[str], list[Problem]]:
    """Choices with a + where the recipe does not have the group, and none where it has; and which were not so."""
    placed: list[str] = []
    problems: list[Problem] = []
    for line in lines:
        key, bare = _key(line), line.lstrip("+")
        right = bare if key in there or bare.startswith("~") else f"+{bare}"
        if bare.startswith("~") and key not in there:
            problems.append(Problem("the recipe has no such group", key))
            continue
        if line != right:
            what = (
                "has this group already: no + is needed"
                if key in there
                else "does not have this group yet: a + adds it"
            )
            problems.append(Problem(f"the recipe {what}", key, shlex.quote(right)))
        placed.append(right)
    return placed, problems


def _hydra(file: RecipeFile, overrides: Sequence[str]) -> tuple[DictConfig | None, list[Problem]]:
    try:
        return hydra_compose(file.config_name, list(overrides), return_hydra_config=True), []
    except RecursionError:
        return None, [Problem("its defaults inherit each other in a circle", str(file.path))]
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: an option that is no text
        telling = str(error).partition("Config search path")[0]
        text = " ".join(line.strip() for line in telling.splitlines() if line.strip())
        missing = re.search(r"Could not (?:load|find) '/?([^']+)'", text)
        similar = near(missing[1], list(catalog.list_recipes())) if missing else []
        return None, [Problem(f"{text} Did you mean {' or '.join(similar)}?" if similar else text, file.name)]


def _against(override: Override, plain: dict[str, Any], free: set[str]) -> tuple[str, Problem | None]:
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
            free.add(key)  # input_shapes, arguments, tags
            return f"++{line}", None
        else:
            return line, _unknown(override, parts, depth, node, plain)
    if isinstance(node, dict) and isinstance(override.value(), dict) and len(parts) > 1:
        free.add(key)
        return f"++{line}", None
    if isinstance(node, dict) and len(parts) == 1 and not (override.is_delete() or isinstance(override.value(), dict)):
        what = f"is a section with keys of its own: {', '.join(map(str, node))}"
        return line, Problem(what, key, assignment(f"~{key}", ...))
    return line, None


def _unknown(override: Override, parts: list[str], depth: int, node: Any, plain: dict[str, Any]) -> Problem:
    """An unknown key: what it may have been meant for. The fix takes the key back and says it right."""
    line, key = override.input_line or "", override.key_or_group
    known = [str(name) for name in node if name != TARGET] if isinstance(node, dict) else []
    section = ".".join(parts[:depth])
    if len(parts) > 1 and _nothing_chosen(parts[0], plain):
        return _no_option(parts[0], parts[1], override)
    if depth and not isinstance(node, dict):
        return Problem(f"unknown key: {section} has no keys of its own", key, assignment(f"~{key}", ...))
    if depth == 0:
        known = [name for name in dict.fromkeys([*known, *catalog.list_groups()]) if name not in ("hydra", "name")]
    similar = (_elsewhere(parts[0], plain) if len(parts) == 1 else []) or near(parts[depth], known)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(known) or 'none'}"
    if override.is_delete():
        ors = tuple(assignment("~" + ".".join([*parts[:depth], name]), ...) for name in similar[:1])
        return Problem(f"unknown key; {hint}", key, "", ors)
    fix = assignment(f"~{key}", ...)
    if similar:
        better = ".".join([*parts[:depth], similar[0], *parts[depth + 1 :]])
        fix += " " + shlex.quote(f"{better}={_likely(better, line.partition('=')[2])}")
    return Problem(f"unknown key; {hint}", key, fix)


def _elsewhere(name: str, plain: Mapping[str, Any]) -> list[str]:
    """The sections that have this key, named without them: samples=10 for calibration.samples=10."""
    sections = {group: section for group, section in plain.items() if isinstance(section, dict) and group != "hydra"}
    return [f"{group}.{name}" for group, section in sections.items() if name in section]


def _likely(key: str, value: str) -> str:
    options = list(catalog.list_groups().get(key, ()))
    return next(iter(near(value, options)), options[0]) if options else value


def _nothing_chosen(group: str, config: Mapping[str, Any]) -> bool:
    section = config.get(group)
    return group in catalog.list_groups() and (not isinstance(section, Mapping) or section.get(TARGET) is None)


def _no_option(group: str, name: str, override: Override) -> Problem:
    """A key of a group in which nothing is chosen: the options that have it."""
    line, key = override.input_line or "", override.key_or_group
    options = catalog.list_groups()[group]
    having = [option for option, path in options.items() if name in catalog.read(path)]
    fixes = [f"{group}={option} {shlex.quote(line)}" for option in having] or [assignment(f"~{key}", ...)]
    fixes = [""] if override.is_delete() else fixes
    which = f"{name} is a key of {', '.join(having)}" if having else f"there are {', '.join(options)}"
    return Problem(f"no option of {group} is chosen; {which}", key, fixes[0], tuple(fixes[1:]))
