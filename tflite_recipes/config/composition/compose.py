"""A recipe from its file and overrides: search path, composition, and every config error at once."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import pickle
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes.config import catalog, yaml_text
from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.composition import interpolations
from tflite_recipes.config.composition.comma_values import several_values, unknown_key
from tflite_recipes.config.composition.inherited_recipes import inherited, keys_set
from tflite_recipes.config.composition.named_shapes import lacks_names, with_names
from tflite_recipes.config.composition.overrides import (
    apply,
    chosen_options,
    fragment_problem,
    jobs_of,
    key_of,
    last_of_each,
    nothing_chosen,
    options_of,
    parse_all,
    placed,
    plain_of,
)
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.config.resolved_recipe import AS_RESOLVED, is_resolved, is_whole, unfold
from tflite_recipes.core import leftovers, regular_files
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.resources import shipped
from tflite_recipes.core.schema import defaults_of, near
from tflite_recipes.core.user_code import found_beside

_search_path: tuple[Path, ...] = ()


class _Options(FileConfigSource):
    """A folder of config as Hydra reads it, which lists options and leaves out the fragments that they inherit."""

    @staticmethod
    def scheme() -> str:
        return "options"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        try:
            text = regular_files.read_text(file, catalog.MOST)
            config = pickle.loads(_config_of(text))
        except (yaml.YAMLError, ValueError, OSError) as error:
            raise RequestError(catalog.yaml_problem(error, file)) from error
        return ConfigResult(
            config=config,
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=self._get_header_dict(text[:512]),
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if any(map(catalog.is_fragment, config_path.split("/"))):
            return []
        return [name for name in super().list(config_path, results_filter) if not catalog.is_fragment(name)]


@functools.lru_cache(maxsize=256)
def _config_of(text: str) -> bytes:
    """Return the pickle of the config that a text of YAML is. The jobs of a sweep and the candidates of a search read
    the same options; a text takes 3 ms, its pickle 0.1 ms."""
    yaml_text.check(text)
    return pickle.dumps(OmegaConf.load(io.StringIO(text)))


class _OurPlaces(SearchPathPlugin):
    """Adds the folders of the recipe that is being composed, and nothing at any other time."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in _search_path:
            search_path.append("tflite_recipes", f"{_Options.scheme()}://{folder}")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as found: its name as listed, its file, and the folders that Hydra searches for it, first wins.

    recorded: of a resolved recipe, the options that its groups had. written: what a whole one holds, or the one that
    the recipe inherits, None for others. own_keys: what is set by the recipes that inherit a whole one.
    """

    name: str
    path: Path
    folders: tuple[Path, ...]
    recorded: dict[str, str]
    written: Mapping[str, Any] | None = None
    own_keys: frozenset[str] = frozenset()

    @property
    def config_name(self) -> str:
        """The recipe's name in the first of its folders."""
        return self.path.stem

    @property
    def is_builtin(self) -> bool:
        """Whether all of its folders came with the package."""
        ours = (shipped("recipes").resolve(), shipped("conf").resolve())
        return all(any(folder.is_relative_to(one) for one in ours) for folder in self.folders)


@contextlib.contextmanager
def opened(name: str, config_dir: Path | None = None) -> Iterator[RecipeFile]:
    """The recipe's file made ready for Hydra: its folders are on the search path inside this context.

    A resolved recipe (one whose sections carry their classes) is unfolded into a tree with one option per group, so
    that a `group=option` override replaces the whole section, as with any other recipe. So are the recipes of past runs
    that it inherits, which keep the behaviour of their time there too.
    """
    global _search_path
    path = catalog.find(name)
    content = catalog.read(path)
    for plugin in (_Options, _OurPlaces):
        Plugins.instance().register(plugin)
    before = _search_path
    with leftovers.temporary_folder() as folder:
        recorded: dict[str, str] = {}
        first: tuple[Path, ...] = (path.parent,)
        written: Mapping[str, Any] | None = content if is_whole(content) else None
        others = inherited(content, (path.parent, *catalog.places(config_dir))) if written is None else []
        own_keys = keys_set(content)
        for other in others:
            if other.is_past:
                recorded |= unfold(other.path, other.content, Path(folder), catalog.base_groups(), other.name)
                first, written = (Path(folder), path.parent), other.content
            else:
                own_keys |= keys_set(other.content)
        if is_resolved(content):
            recorded |= unfold(path, content, Path(folder), catalog.base_groups())
            first = (Path(folder), *first[1:])
        elif path.suffix != ".yaml":  # which Hydra does not look for
            shutil.copyfile(path, Path(folder) / f"{path.stem}.yaml")
            first = (Path(folder), path.parent)
        # Ours come before all others here, because `builtin/NAME` always means ours; nothing else lies in that folder.
        folders = tuple(dict.fromkeys((shipped("recipes").resolve(), *first, *catalog.places(config_dir))))
        _search_path = folders
        try:
            own = frozenset() if written is content else frozenset(own_keys)
            yield RecipeFile(name, path, folders, recorded, written, own)
        finally:
            _search_path = before


@dataclass(frozen=True)
class Prepared:
    """A request that holds: its recipe (for a sweep, that of each job), the overrides as Hydra takes them, and the keys
    of those that every job of a sweep has."""

    recipes: tuple[Recipe, ...]
    overrides: tuple[str, ...]
    shared: tuple[str, ...] = ()


def compose(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> Recipe:
    """The recipe `name` (or YAML file) with `overrides`, checked. Errors: RequestError with every problem at once."""
    return prepare(name, overrides, config_dir, may_sweep=False).recipes[0]


def prepare(
    name: str,
    overrides: Sequence[str],
    config_dir: Path | None = None,
    sweep: bool = False,
    may_sweep: bool = True,
) -> Prepared:
    """Compose and check a run, or every job of a sweep.

    Args:
        name: of the recipe, or its file.
        overrides: as typed.
        config_dir: a further folder of config groups.
        sweep: whether each combination of values is a job of its own.
        may_sweep: whether the user can ask for that.

    Raises:
        RequestError: a problem that only some jobs of a sweep have names them.
    """
    with opened(name, config_dir) as file, initialize_config_dir(str(file.folders[0]), version_base="1.3"):
        latest = last_of_each(overrides)
        jobs = jobs_of(latest) if sweep else [latest]
        request = _Request(file, set(), {} if len(jobs) > 1 else None, may_sweep and not sweep)
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
    taken = tuple(f"++{text}" if key_of(text) in request.free and not text.startswith("~") else text for text in latest)
    shared = set(latest).intersection(*jobs)
    return Prepared(tuple(composed), taken, tuple(sorted({key_of(text) for text in shared})))


@dataclass(frozen=True)
class _Request:
    """What the jobs of a request share. `free` collects the keys that are new entries of a free mapping (an input's
    name, an argument). `known` keeps what Hydra composed, which takes it a tenth of a second, for several jobs.
    `may_sweep`: whether several values can be made a sweep."""

    file: RecipeFile
    free: set[str]
    known: dict[tuple[str, ...], tuple[DictConfig | None, list[Problem]]] | None
    may_sweep: bool = False

    def config(self, choices: Sequence[str]) -> tuple[DictConfig | None, list[Problem]]:
        """The recipe with these options, before any value is overridden, or what is wrong with them."""
        if self.known is None:
            return _hydra(self.file, choices)
        if tuple(choices) not in self.known:
            self.known[tuple(choices)] = _hydra(self.file, choices)
        return copy.deepcopy(self.known[tuple(choices)])


def _in_job(problem: Problem, jobs: list[str], total: int) -> Problem:
    if len(jobs) == total:
        return problem
    return replace(problem, what=f"{problem.what} (in {'; '.join(jobs[:3])}{' …' if len(jobs) > 3 else ''})")


def _compose(request: _Request, overrides: Sequence[str]) -> Recipe:
    """Compose the options first, then hold every other override against what is there, so that all that is wrong is
    said at once."""
    parsed, several, problems = parse_all(overrides)
    groups = [override for override in parsed if options_of(override.key_or_group)]
    groups = [override for override in groups if not isinstance(override.value(), dict)]
    chosen, found, unclear = chosen_options(groups)
    problems += found
    config, failed = request.config(chosen)
    if config is None and chosen:
        bare, failed = request.config([])
        if bare is not None:
            chosen, found = placed(chosen, dict(bare.hydra.runtime.choices))
            problems += found
            config, failed = request.config(chosen)
    if config is None:
        raise RequestError([*problems, *failed])
    plain = plain_of(config)
    values = [override for override in parsed if override not in groups]
    nameless = [override for override in values if lacks_names(override, plain)]
    for override in (override for override in values if override not in nameless):
        group = override.key_or_group.partition(".")[0]
        if group in unclear:
            continue
        found = apply(override, config, plain, request.free)
        problems += found
        if found and nothing_chosen(group, plain):
            unclear.add(group)
        elif not found and (not (override.input_line or "")[0].isalpha() or isinstance(override.value(), dict)):
            plain = plain_of(config)  # a +, a ~ or a mapping changed which keys there are
    problems += [
        with_names(override.key_or_group, cast("list[Any]", override.value()), config) for override in nameless
    ]
    lines = {override.input_line for override in several}
    alone = [text for text in overrides if text not in lines]
    for override in several:
        group = override.key_or_group
        if (problem := unknown_key(override, plain)) is not None:
            problems.append(problem)
            continue

        def fits(others: Sequence[str], key: str = group) -> bool:
            return all(_fits(request, [*alone, other], key) for other in others)

        problems.append(several_values(override, config, fits, request.may_sweep))
    return _typed(config, request.file, overrides, problems, unclear)


def _fits(request: _Request, overrides: Sequence[str], key: str) -> bool:
    """Return whether these overrides compose without a problem of this key."""
    below = f"{key}." if "." in key else "\0"  # an option whose own keys are missing is an option all the same
    try:
        _compose(request, last_of_each(overrides))
    except RequestError as error:
        return not any(problem.where == key or problem.where.startswith(below) for problem in error.problems)
    return True


def _typed(
    config: DictConfig, file: RecipeFile, overrides: Sequence[str], problems: list[Problem], unclear: set[str]
) -> Recipe:
    """Type the composed config, and add what is wrong with it to what is known already. Nothing is said of `unclear`
    groups, whose options have to be chosen first."""
    found: list[Problem] = []
    try:
        built = build(config, dict(config.hydra.runtime.choices), file, overrides)
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
    file: RecipeFile,
    overrides: Sequence[str],
) -> Recipe:
    """A recipe from a config composed by Hydra and the choices it made. Errors: RequestError."""
    groups = catalog.base_groups()
    named = {
        group: file.recorded.get(group, str(option)) if option == AS_RESOLVED else str(option)
        for group, option in choices.items()
        if not group.startswith("hydra/") and option is not None
    }
    ordered = {group: named[group] for group in [*groups, *named] if group in named}
    if fragments := [
        fragment_problem(group, option) for group, option in ordered.items() if catalog.is_fragment(option)
    ]:
        raise RequestError(fragments)
    try:
        with interpolations.bounded():
            plain = {str(key): _resolved(config, str(key)) for key in config if key != "hydra"}
    except RecursionError as error:
        raise RequestError(Problem("its interpolations stand for each other in a circle", str(file.path))) from error
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or ""
        raise RequestError(Problem(str(error).splitlines()[0], key)) from error
    values = found_beside(plain, file.path.parent)
    if file.written is not None:
        asked = {key_of(text) for text in overrides} | file.own_keys
        values |= _without_later_keys(values, file.written, asked)
    return recipes.build(values, ordered, groups, overrides, values.get("name") or file.config_name)


def _resolved(config: DictConfig, key: str) -> Any:
    """The value of a top-level key as plain data, its interpolations replaced. The rest is not copied, which would take
    most of the time of a composition. Errors: OmegaConfBaseException."""
    if OmegaConf.is_missing(config, key):
        return "???"
    value = config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _without_later_keys(
    values: Mapping[str, Any], written: Mapping[str, Any], asked: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    """Return the sections of no step without the keys that came after the recipe was written down, unless they are
    asked for: they have the base's values of today, and are to have their defaults, as at that time."""

    def is_later(section: str, key: str) -> bool:
        key_is_asked = any(section == one or f"{one}.".startswith(f"{section}.{key}.") for one in asked)
        return key not in (written.get(section) or {}) and not key_is_asked

    found: dict[str, Mapping[str, Any]] = {}
    for section, kind in recipes.BESIDE_STEPS.items():
        have, defaults = values.get(section), defaults_of(kind)
        if isinstance(have, Mapping):
            found[section] = {k: v for k, v in have.items() if k not in defaults or not is_later(section, str(k))}
    return found


def complete(name: str, line: str) -> list[str]:
    """What may stand next on a command line of overrides, by Hydra's own completion."""
    with opened(name) as file, initialize_config_dir(str(file.folders[0]), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return [str(found) for found in DefaultCompletionPlugin(loader)._query(file.config_name, line)]


@functools.lru_cache(maxsize=512)
def _composed(config_name: str, overrides: tuple[str, ...], folders: tuple[Path, ...]) -> bytes:
    """Return the pickle of what Hydra composes from files that do not change while this process runs.

    Hydra takes 0.1 s. Reading the pickle (20 kB) takes 1 ms, a deep copy of the config 10 ms.
    """
    assert folders == _search_path
    return pickle.dumps(hydra_compose(config_name, list(overrides), return_hydra_config=True))


def _hydra(file: RecipeFile, overrides: Sequence[str]) -> tuple[DictConfig | None, list[Problem]]:
    try:
        if file.is_builtin:
            return pickle.loads(_composed(file.config_name, tuple(overrides), file.folders)), []
        return hydra_compose(file.config_name, list(overrides), return_hydra_config=True), []
    except RecursionError:
        own = [folder for folder in file.folders if not folder.is_relative_to(shipped("recipes").resolve())]
        if found := catalog.circles(own):
            return None, found
        return None, [Problem("its defaults inherit each other in a circle", str(file.path))]
    except RequestError as error:
        return None, list(error.problems)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: an option that is no text
        telling = str(error).partition("Config search path")[0].partition("full_key:")[0]
        telling = re.sub(r"\w+ raised while composing config:", "", telling)
        text = " ".join(line.strip() for line in telling.splitlines() if line.strip())
        missing = re.search(r"Could not (?:load|find) '/?([^']+)'", text)
        similar = near(missing[1], list(catalog.list_recipes())) if missing else []
        return None, [Problem(f"{text} Did you mean {' or '.join(similar)}?" if similar else text, file.name)]
    except Exception:  # Hydra asserts the forms of a defaults list, and stumbles over what it did not expect
        ways = ("write each entry of its defaults as `- group: option`, `- override /group: option` or `- recipe`",)
        return None, [Problem("its defaults have a form that Hydra does not take", str(file.path), "", ways)]
