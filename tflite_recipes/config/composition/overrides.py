"""Overrides: what each stands for, which of several counts, and what is wrong with them, with the fix."""

from __future__ import annotations

import copy
import itertools
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes.config import catalog
from tflite_recipes.config.resolved_recipe import AS_RESOLVED
from tflite_recipes.conversion.schemes import by_other_name
from tflite_recipes.core import paths
from tflite_recipes.core.errors import Problem, assignment, gist
from tflite_recipes.core.schema import TARGET, class_of, closest, near, types_of
from tflite_recipes.files.models.model_kinds import source_overrides
from tflite_recipes.files.models.refusals import FACTORY

# Keys with paths on a device, where ~ is the home folder there.
_ON_THE_DEVICE = ("target.python", "target.remote_dir")


def key_of(text: str) -> str:
    """The key of an override as typed, without its sign."""
    return text.partition("=")[0].lstrip("+~")


def last_of_each(overrides: Sequence[str]) -> list[str]:
    """Of several overrides of one key the last counts, so that a fix pasted behind a command mends it; and `~key` takes
    back what was asked of the key and of those below it. Only where nothing was asked does it delete. An option without
    a class (`substitution=none`) takes back what was asked of its group's keys before, because it has none."""
    kept: dict[str, list[str]] = {}
    taken_back: set[str] = set()
    for text in overrides:
        key = key_of(text)
        is_group = bool(options_of(key.partition("@")[0]))
        if text.startswith("~"):
            asked = {other for other in kept if f"{other}.".startswith(f"{key}.") and _is_asked(kept[other])}
            for other in asked:
                del kept[other]
            if _taken_out(kept, key):
                asked.add(key)
            taken_back |= asked
            if key not in taken_back and (is_group or not asked):
                kept[key] = [text]
            continue
        if is_group and _chooses_nothing(key, text.partition("=")[2]):
            kept = {other: texts for other, texts in kept.items() if not other.startswith(f"{key}.")}
        before = kept.pop(key, [])
        deleted = [other for other in before if other.startswith("~")] if text.startswith("+") else []
        added = any(other.startswith("+") for other in before) and not text.startswith("+")
        kept[key] = [*deleted, f"++{text}" if added and not is_group else text]
    return [text for texts in kept.values() for text in texts]


def _is_asked(texts: Sequence[str]) -> bool:
    return any(not text.startswith("~") for text in texts)


def _taken_out(kept: dict[str, list[str]], key: str) -> bool:
    """Take an entry out of the mappings that were asked for above it; return whether there was one."""
    found = False
    for above, texts in kept.items():
        if not key.startswith(f"{above}."):
            continue
        parts = key.removeprefix(f"{above}.").split(".")
        lines = [_without_entry(text, parts) for text in texts]
        found = found or lines != texts
        kept[above] = lines
    return found


def _without_entry(text: str, parts: Sequence[str]) -> str:
    """Return an override without an entry of the mapping that it holds; as it is if it holds no such entry."""
    override = None if text.startswith("~") else parsed(text)
    if override is None or override.is_sweep_override() or not isinstance(value := override.value(), dict):
        return text
    whole = copy.deepcopy(value)
    node: Any = whole
    for part in parts[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or parts[-1] not in node:
        return text
    del node[parts[-1]]
    return shlex.split(assignment(text.partition("=")[0], whole))[0]


def _chooses_nothing(group: str, option: str) -> bool:
    """Whether an option of a group is one in which nothing is chosen."""
    file = catalog.list_groups().get(group, {}).get(option)
    return file is not None and catalog.option_values(file).get(TARGET, ...) is None


def options_of(group: str) -> list[str]:
    """Return the options of a group, none for anything else.

    The loader's own method copies all of its sources for every question, which takes ten times as long as the answer.
    """
    if paths.unusable(group):
        return []  # Hydra would look for a folder of this name
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    return loader.repository.get_group_options(group)


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, as Hydra's own sweeper would expand them; of an interval only its start."""
    choices: list[list[str]] = []
    for text in overrides:
        override, _ = _parse(text)
        # A file with a comma in its name is one value.
        is_file = os.path.exists(text.partition("=")[2])
        if override is None or not override.is_sweep_override() or override.is_hydra_override() or is_file:
            choices.append([text])
            continue
        discrete = override.is_discrete_sweep()
        values = override.sweep_string_iterator() if discrete else [getattr(override.value(), "start", "")]
        choices.append([f"{text.partition('=')[0]}={value}" for value in values])
    return [list(job) for job in itertools.product(*choices)]


def plain_of(config: DictConfig) -> dict[str, Any]:
    """The config as plain data, interpolations left as they are."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return plain


def apply(override: Override, config: DictConfig, plain: dict[str, Any], free: set[str]) -> list[Problem]:
    """Apply one override of a value as Hydra does, or say what is wrong with it."""
    line, problem = against(override, plain, free)
    accepted = parsed(line)
    if problem is not None or accepted is None:
        return [problem] if problem is not None else []
    try:
        ConfigLoaderImpl._apply_overrides_to_config([accepted], config)
    except (HydraException, OmegaConfBaseException) as error:
        key, value = override.key_or_group, override.value()
        if override.is_add() and value_at(key, plain) is not None:
            return [Problem("is in the recipe already: no + is needed", key, shlex.quote(line.lstrip("+")))]
        if isinstance(value, dict) and isinstance(value_at(key, plain), list):
            return [Problem("holds a list, and this is a mapping", key, assignment(key, [value]))]
        return [Problem(gist(error), key)]
    return []


def parse_all(overrides: Sequence[str]) -> tuple[list[Override], list[Override], list[Problem]]:
    """Overrides with one value, those with several, and what is wrong with the others."""
    found = [_parse(text) for text in overrides]
    parsed = [override for override, _ in found if override is not None]
    one = [override for override in parsed if not override.is_sweep_override()]
    several = [override for override in parsed if override.is_sweep_override()]
    return one, several, [problem for _, problem in found if problem is not None]


def collection(text: str) -> Any:
    """The list or mapping that YAML, which asks for fewer quotes, reads in a value; None for anything else."""
    try:
        found = yaml.safe_load(text) if text.startswith(("[", "{")) else None
    except yaml.YAMLError:
        return None
    return found if isinstance(found, (list, dict)) else None


def value_at(key: str, plain: Mapping[str, Any]) -> Any:
    """What stands at a dotted key, None for nothing."""
    node: Any = plain
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _parse(text: str) -> tuple[Override | None, Problem | None]:
    override = parsed(text)
    if override is not None and not paths.unusable(override.key_or_group):
        return override, None
    key, equals, value = text.partition("=")
    if reason := paths.unusable(key):
        return None, Problem(f"is not key=value: {reason}", paths.shortened(key))
    if not equals and (source := source_overrides(Path(text))):
        is_example = source == FACTORY  # a function that the user has to write first
        ways = (source,) if is_example else ()
        return None, Problem("is a model, not key=value", text, "" if is_example else source, ways)
    if not equals:
        return None, Problem("is not key=value", text, assignment(text, "VALUE") if parsed(f"{text}=VALUE") else "")
    if value.startswith("~"):
        if key_of(text) in _ON_THE_DEVICE:
            return None, Problem("a value with ~ needs quotes", key_of(text), assignment(key, value))
        what = "~ is not expanded behind a key"
        return None, Problem(what, key_of(text), assignment(key, os.path.expanduser(value)))
    # As in JSON, where the keys have quotes; Hydra's have none.
    unquoted = f"{key}=" + re.sub(r"""(["'])([^"']*)\1\s*:""", r"\2:", value)
    if parsed(unquoted) is not None:
        return None, Problem("the keys of a mapping have no quotes here", key_of(text), shlex.quote(unquoted))
    quoted = assignment(key, collection(value) or value.strip("\"'"))
    if parsed(shlex.split(quoted)[0]) is not None:
        return None, Problem("this value needs quotes", key_of(text), quoted)
    return None, Problem("is not key=value", text)


def parsed(text: str) -> Override | None:
    """Return an override as Hydra reads it, None for what is none."""
    try:
        override = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides([text])[0]
    except HydraException:
        return None
    return override if override.key_or_group else None


def chosen_options(overrides: Sequence[Override]) -> tuple[list[str], list[Problem], set[str]]:
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
            unclear.add(key_of(line))
    return lines, problems, unclear


def _no_such_option(override: Override) -> tuple[Problem | None, list[str]]:
    """What is wrong with the option that is chosen, and those it is like."""
    known = options_of(override.key_or_group)
    offered = [name for name in known if name != AS_RESOLVED]
    option = override.value()
    missing = [one for one in (option if isinstance(option, list) else [option]) if one not in known]
    if override.is_delete() or not missing:
        return None, []
    key = (override.input_line or "").partition("=")[0]
    if catalog.is_fragment(str(missing[0])):
        return fragment_problem(key_of(key), str(missing[0])), []
    offered = _offered(override.key_or_group)
    similar = [str(missing[0])] if str(missing[0]) in known else near(str(missing[0]), offered)
    if key_of(key) == "optimization" and (meant := by_other_name(str(missing[0]))) in offered:
        similar = [meant]
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(offered) or 'none'}"
    # Where nothing is like it: none is the option that needs no more keys.
    offered.sort(key=lambda name: name != "none")
    fix = assignment(key, (similar or offered)[0]) if offered else ""
    return Problem(f"there is no option {missing[0]!r}; {hint}", key_of(key), fix), similar


def _offered(group: str) -> list[str]:
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    return [name for name in options if name != AS_RESOLVED]


def fragment_problem(group: str, fragment: str) -> Problem:
    """The problem that a fragment is chosen. It has no fix: which of the options is meant cannot be known."""
    options = ", ".join(_offered(group)) or "none"
    return Problem(f"{fragment!r} is a fragment that options share, not an option; there are {options}", group)


def placed(lines: Sequence[str], there: Mapping[str, Any]) -> tuple[list[str], list[Problem]]:
    """Choices with a + where the recipe does not have the group, and none where it has; and which were not so."""
    placed: list[str] = []
    problems: list[Problem] = []
    for line in lines:
        key, bare = key_of(line), line.lstrip("+")
        right = bare if key in there or bare.startswith("~") else f"+{bare}"
        if bare.startswith("~") and key not in there:
            problems.append(Problem("the recipe has no such group", key))
            continue
        if bare.startswith("~") and (named := bare.partition("=")[2]) and named != there[key]:
            what = f"the option is {there[key]}, not {named}"
            problems.append(Problem(what, key, assignment(f"~{key}", ...)))
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


def against(override: Override, plain: dict[str, Any], free: set[str]) -> tuple[str, Problem | None]:
    """The override's line as Hydra takes it, and what is wrong with its key."""
    line, key = override.input_line or "", override.key_or_group
    if _is_fragment_folder(key) and not override.is_delete():
        groups = ", ".join(catalog.list_groups())
        what = f"{key!r} is a folder of fragments that options share, not a group; there are {groups}"
        return line, Problem(what, key)
    if override.is_add() or override.is_force_add():
        return line, None
    parts = key.split(".")
    node: Any = plain
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        elif override.is_delete():
            return line, _unknown(override, parts, depth, node, plain)
        elif isinstance(node, dict) and depth >= 2 and TARGET not in node and parts[0] not in ("hydra", "worker"):
            free.add(key)  # input_shapes, arguments, tags
            return f"++{line}", None
        elif part in _fields_of(node):
            free.add(key)  # of a recipe that was written down before there was this key
            return f"++{line}", None
        else:
            return line, _unknown(override, parts, depth, node, plain)
    if override.is_delete():
        return line, _undeletable(override, node)
    if isinstance(node, dict) and isinstance(override.value(), dict) and len(parts) > 1:
        free.add(key)
        return f"++{line}", None
    if isinstance(node, dict) and len(parts) == 1 and not isinstance(override.value(), dict):
        what = f"is a section with keys of its own: {', '.join(map(str, node))}"
        return line, Problem(what, key, assignment(f"~{key}", ...))
    return line, None


def _undeletable(override: Override, held: Any) -> Problem | None:
    """Return why Hydra does not delete a key that is there: it holds null, or another value than was named."""
    key, value = override.key_or_group, override.value()
    if held is None:
        return Problem("holds null: there is nothing to delete", key, assignment(key, None))
    if value not in (None, "") and value != held:
        return Problem(f"holds {held!r}, not {value!r}", key, assignment(f"~{key}", ...))
    return None


def _is_fragment_folder(key: str) -> bool:
    """Return whether a key names a folder of config that is no group."""
    if not any(map(catalog.is_fragment, key.split("/"))):
        return False
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    return bool(loader.repository.group_exists(key))


def _fields_of(section: Any) -> Mapping[str, Any]:
    """The keys, with their types, that a section of our own may have, whether or not they are in it."""
    return types_of(class_of(section.get(TARGET))) if isinstance(section, dict) else {}


def _unknown(override: Override, parts: list[str], depth: int, node: Any, plain: dict[str, Any]) -> Problem:
    """An unknown key: what it may have been meant for. The fix takes the key back and says it right."""
    key = override.key_or_group
    known = [str(name) for name in {**node, **_fields_of(node)} if name != TARGET] if isinstance(node, dict) else []
    section = ".".join(parts[:depth])
    if len(parts) > 1 and nothing_chosen(parts[0], plain):
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
    fix = f"{assignment(f'~{key}', ...)} {_meant(override, similar, parts, depth, node)}"
    return Problem(f"unknown key; {hint}", key, fix.rstrip())


def _meant(override: Override, similar: list[str], parts: list[str], depth: int, node: Any) -> str:
    """The same value for the key that is most alike and takes it; "" where none does."""
    taken = _fields_of(node) if len(parts) == depth + 1 else {}
    value = (override.input_line or "").partition("=")[2]
    for name in similar:
        better = ".".join([*parts[:depth], name, *parts[depth + 1 :]])
        given = closest(taken[name], override.value()) if name in taken else override.value()
        if given is not None and given != override.value():
            return assignment(better, given)
        if given is not None or override.value() is None:
            return shlex.quote(f"{better}={_likely(better, value)}")
    return ""


def _elsewhere(name: str, plain: Mapping[str, Any]) -> list[str]:
    """The sections that have this key, named without them: samples=10 for calibration.samples=10."""
    sections = {group: section for group, section in plain.items() if isinstance(section, dict) and group != "hydra"}
    return [f"{group}.{name}" for group, section in sections.items() if name in section]


def _likely(key: str, value: str) -> str:
    options = list(catalog.list_groups().get(key, ()))
    return next(iter(near(value, options)), options[0]) if options else value


def nothing_chosen(group: str, config: Mapping[str, Any]) -> bool:
    """Whether no option of a group is chosen, so that it has no keys."""
    section = config.get(group)
    return group in catalog.list_groups() and (not isinstance(section, Mapping) or section.get(TARGET) is None)


def _no_option(group: str, name: str, override: Override) -> Problem:
    """A key of a group in which nothing is chosen: the options that have it."""
    line, key = override.input_line or "", override.key_or_group
    options = catalog.list_groups()[group]
    having = [option for option, path in options.items() if name in catalog.option_values(path)]
    likely = sorted(having, key=lambda option: not line.endswith(f".{option}"))  # x.npz is read by npz
    fixes = [f"{group}={option} {shlex.quote(line)}" for option in likely] or [assignment(f"~{key}", ...)]
    fixes = [""] if override.is_delete() else fixes
    which = f"{name} is a key of {', '.join(having)}" if having else f"there are {', '.join(options)}"
    return Problem(f"no option of {group} is chosen; {which}", key, fixes[0], tuple(fixes[1:]))
