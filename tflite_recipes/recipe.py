"""The recipe: everything that decides what a run does, typed, frozen and digested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tflite_recipes import schema
from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.schema import TARGET, WorkerLimits

_APART = ("steps", "name", "worker", "tracking")
_NOT_DIGESTED = ("name", "worker", "tracking")
# Sections of classes from these places are typed in the parent; a user's own class is only loaded in the worker,
# because its module may import TensorFlow.
_OURS = "tflite_recipes."


@dataclass(frozen=True)
class StepSpec:
    """One entry of `steps`: its name, the class and its values as plain data, and the instance where it is ours."""

    name: str
    target: str
    values: Mapping[str, Any]
    instance: Any = None


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    config: plain data (what `show` prints, without the defaults list). choices: the option of each group.
    overrides: what was asked on top, as typed.
    """

    name: str
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    base_groups: tuple[str, ...]
    overrides: tuple[str, ...]
    steps: tuple[StepSpec, ...]
    worker: WorkerLimits
    tracking: Any = None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the config without the name, the tracking and the worker's limits."""
        config = {key: value for key, value in self.config.items() if key not in _NOT_DIGESTED}
        canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_yaml(self) -> str:
        """A recipe file that gives this recipe again, and still takes `group=option` overrides."""
        defaults: list[Any] = ["/base"]
        for group, option in self.choices.items():
            known = group in self.base_groups
            defaults.append({f"override /{group}" if known else f"/{group}": option})
        defaults.append("_self_")
        head = f"# {self.name}, resolved; recipe digest {self.digest}\n"
        text = yaml.safe_dump({"defaults": defaults}, sort_keys=False) + "\n"
        return head + text + yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)


def build(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    base_groups: Sequence[str],
    overrides: Sequence[str],
    name: str,
) -> Recipe:
    """A typed recipe from a composed, resolved config. Errors: RequestError with every problem."""
    sections = {key: value for key, value in config.items() if key != "name"}
    names = [key for key in sections if key not in _APART]
    worker, problems = schema.build(WorkerLimits, sections.get("worker") or {}, "worker")
    steps, listed = _steps(sections.get("steps"), sections)
    problems += listed
    tracking, untracked = _tracking(sections.get("tracking") or {})
    problems += untracked
    problems += _left_over(names, steps, sections)
    problems += _misfits({spec.name: spec.instance for spec in steps})
    if problems:
        raise RequestError(problems)
    typed: dict[str, Any] = {"name": name, "steps": list(sections["steps"])}
    for spec in steps:
        if spec.name in sections:
            typed[spec.name] = schema.section_of(spec.instance) if spec.instance else {TARGET: spec.target, **spec.values}
    typed["worker"] = {key: value for key, value in schema.section_of(worker).items() if key != TARGET}
    if tracking is not None:
        typed["tracking"] = schema.section_of(tracking)
    final = tuple(replace(spec, values=typed.get(spec.name, spec.values)) for spec in steps)
    return Recipe(name, typed, dict(choices), tuple(base_groups), tuple(overrides), final, worker, tracking)


def _steps(listed: Any, sections: Mapping[str, Any]) -> tuple[list[StepSpec], list[Problem]]:
    if not isinstance(listed, (list, tuple)) or not listed:
        return [], [Problem("is not a list of step names", "steps", "steps=[source,freeze,optimization,evaluation]")]
    steps: list[StepSpec] = []
    problems: list[Problem] = []
    known = [key for key in sections if key not in _APART]
    for position, entry in enumerate(listed):
        where = f"steps[{position}]"
        if isinstance(entry, str) and entry in sections and entry not in _APART:
            spec, found = _step(entry, sections[entry] or {})
        elif isinstance(entry, str) and entry == "source":
            spec, found = None, [_no_source()]
        elif isinstance(entry, str) and ":" in entry:
            spec, found = _step(entry, {TARGET: entry})
        elif isinstance(entry, str) and entry in _GROUPS:
            spec, found = None, []  # a group with nothing chosen
        else:
            similar = schema.near(str(entry), known)
            what = f"{entry!r} is neither a section of the recipe ({', '.join(known)}) nor module:Class"
            spec, found = None, [Problem(what, where, f"steps: {similar[0]}" if similar else "")]
        if spec is not None:
            steps.append(spec)
        problems += found
    doubled = {spec.name for spec in steps if [other.name for other in steps].count(spec.name) > 1}
    problems += [Problem(f"{name!r} stands twice", "steps") for name in sorted(doubled)]
    return steps, problems + _order_problems(listed)


_GROUPS = ("source", "pruning", "freeze", "calibration", "optimization", "target", "evaluation")


def _order_problems(listed: Sequence[Any]) -> list[Problem]:
    ours = [entry for entry in listed if entry in _GROUPS]
    wanted = [group for group in _GROUPS if group in ours]
    problems = []
    if ours != wanted and len(set(ours)) == len(ours):
        problems.append(Problem(f"{', '.join(ours)} cannot run in this order", "steps", f"'steps=[{','.join(wanted)}]'"))
    for group in ("source", "freeze", "optimization"):
        if group not in ours:
            problems.append(Problem(f"{group!r} is needed and does not stand in the list", "steps"))
    return problems


def _no_source() -> Problem:
    others = ("source=saved_model source.path=FOLDER", "source=factory source.function=my_model.py:build")
    return Problem("no model is given", "source", "source=keras source.path=model.keras", others)


def _step(name: str, section: Mapping[str, Any]) -> tuple[StepSpec | None, list[Problem]]:
    if not isinstance(section, Mapping) or (TARGET not in section and section):
        return None, [Problem(f"the section has no {TARGET}, the class of the step", name, f"{name}=OPTION")]
    target = section.get(TARGET)
    if target is None:
        return (None, [_no_source()]) if name == "source" else (None, [])
    if not target.startswith(_OURS):
        from tflite_recipes.steps.source import code_problems

        values = {key: value for key, value in section.items() if key != TARGET}
        place = target if ":" in target else ":".join(target.rsplit(".", 1))
        return StepSpec(name, target, values), list(code_problems(place, f"{name}.{TARGET}"))
    try:
        kind = schema.load_target(target)
    except RequestError as error:
        return None, [replace(problem, where=f"{name}.{TARGET}") for problem in error.problems]
    instance, problems = schema.build(kind, section, name)
    return (StepSpec(name, target, {}, instance), []) if instance else (None, problems)


def _tracking(section: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    if section.get(TARGET) is None:
        return None, []
    try:
        kind = schema.load_target(section[TARGET])
    except RequestError as error:
        return None, [replace(problem, where=f"tracking.{TARGET}") for problem in error.problems]
    tracking, problems = schema.build(kind, section, "tracking")
    if not problems:
        problems = list(tracking.problems())
    return tracking, problems


def _left_over(names: list[str], steps: list[StepSpec], sections: Mapping[str, Any]) -> list[Problem]:
    """A section that no step reads is a typing error, not a note in the margin."""
    listed = {entry for entry in sections.get("steps") or () if isinstance(entry, str)}
    problems = []
    for name in names:
        if name in listed:
            continue
        section = sections[name]
        if isinstance(section, Mapping) and section.get(TARGET):
            what = "this step does not stand in `steps`, so it would not run"
            problems.append(Problem(what, name, f"'steps=[{','.join([*map(str, sections['steps']), name])}]'"))
        elif name not in _GROUPS:
            similar = schema.near(name, [*_GROUPS, *_APART])
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            problems.append(Problem(f"unknown key{hint}", name, f"'~{name}'"))
    return problems


def _misfits(instances: Mapping[str, Any]) -> Iterable[Problem]:
    """What each step finds wrong with itself beside the others."""
    typed = {name: instance for name, instance in instances.items()}
    problems: list[Problem] = []
    for name, instance in typed.items():
        if instance is not None and hasattr(instance, "problems") and "source" in typed:
            problems += instance.problems(typed)
        elif instance is not None and hasattr(instance, "problems") and name == "optimization":
            problems += instance.problems(typed)
    return problems
