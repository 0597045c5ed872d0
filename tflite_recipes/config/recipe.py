"""The recipe: everything that decides what a run does, typed, frozen and digested.

The digest changes only if a setting that the recipe uses changes. So it leaves out what later versions add without a
recipe asking for it: groups in which nothing is chosen, with their entries in `steps`, and keys at their class's
default, which is what recipes get that were written down before the key was there (see `schema`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tflite_recipes.conversion.conversion_settings import Conversion
from tflite_recipes.core import public_names, schema
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.schema import TARGET, WorkerLimits, near
from tflite_recipes.core.state import Intent, TensorSpec
from tflite_recipes.core.tracking_uri import scrubbed, without_password
from tflite_recipes.files.models.model_kinds import source_overrides
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite.io_contract import IOContract
from tflite_recipes.steps.source import Source, code_problems

_APART = ("steps", "name", "worker", "conversion", "io_contract", "tracking")
# The sections that no step and no option has, with their classes.
BESIDE_STEPS: Mapping[str, type] = {"worker": WorkerLimits, "conversion": Conversion, "io_contract": IOContract}
# What decides where a run is tracked and what it may use, and not what it makes.
_NOT_DIGESTED = ("name", "worker", "tracking", "cache", "hydra")


@dataclass(frozen=True)
class StepSpec:
    """One entry of `steps`: its name, the class and its values as plain data, and the instance where it is ours.

    A user's own class is loaded in the worker only, because its module may import TensorFlow.
    """

    name: str
    target: str
    values: Mapping[str, Any]
    instance: Any = None


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    Attributes:
        name: name of the recipe.
        config: all settings as plain data, as `show` prints them.
        choices: the option of each group.
        base_groups: the groups of the base configuration.
        overrides: the overrides as typed.
        steps: the steps in their order.
        worker: limits of the worker process.
        conversion: settings of the converter.
        io_contract: required inputs and outputs of the file.
        tracking: settings of the tracking; None if the run is not tracked.
    """

    name: str
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    base_groups: tuple[str, ...]
    overrides: tuple[str, ...]
    steps: tuple[StepSpec, ...]
    worker: WorkerLimits
    conversion: Conversion
    io_contract: IOContract
    tracking: Any = None

    @property
    def intent(self) -> Intent:
        """What its steps have to know of each other."""
        beside = {spec.name: spec.instance for spec in self.steps}
        scheme = getattr(beside.get("optimization"), "scheme", None)
        return Intent(
            scheme=scheme.name if scheme else "none",
            select_tf_ops=self.conversion.select_tf_ops,
            allow_custom_ops=self.conversion.allow_custom_ops,
            select_user_tf_ops=tuple(self.conversion.select_user_tf_ops),
            unfold_batchmatmul=self.conversion.unfold_batchmatmul,
            exclude_conversion_metadata=self.conversion.exclude_conversion_metadata,
            dynamic_batch=getattr(beside.get("target"), "dynamic_batch", True),
            fallback=tuple(remedy.name for remedy in self.conversion.fallback),
            contract=self.io_contract.declared(),
            sizes=_sample_sizes(beside.get("calibration"), beside.get("evaluation")),
            ranges=_ranges(beside.get("calibration")),
            on_wrong_file=self.conversion.on_wrong_file.name,
            pruned=beside.get("pruning") is not None,
            recipe_digest=self.digest,
            constants_mb=getattr(beside.get("freeze"), "constants_mb", None),
            model_name=_model_name(beside.get("source"), self.choices.get("source", "")),
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the settings that count (see `counted`)."""
        return digest_of(self.config)

    def to_yaml(self) -> str:
        """A recipe file that gives this recipe again, and still takes `group=option` overrides."""
        own = [{f"/{group}": option} for group, option in self.choices.items() if group not in self.base_groups]
        base = [{f"override /{group}": self.choices[group]} for group in self.base_groups if group in self.choices]
        defaults = ["/base", *own, *base, "_self_"]  # Hydra wants overrides behind all that is new
        head = f"# @package _global_\n# {self.name}, resolved; recipe digest {self.digest}\n"
        text = yaml.safe_dump({"defaults": defaults}, sort_keys=False) + "\n"
        return head + text + yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)


def digest_of(config: Mapping[str, Any]) -> str:
    """Return the digest of a resolved recipe, from its plain config: as composed, or as a past run logged it."""
    return _sha256(counted(config))


def counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a resolved recipe that count in its digest, by their names of today.

    Left out are:

    - `name`, `tracking`, `worker`, `cache` and `hydra`, which are no steps;
    - groups in which nothing is chosen, and steps that none of the other sections configures;
    - keys of our own classes that have their class's default.
    """
    listed = config.get("steps")
    steps = listed if isinstance(listed, list) else []
    # A step of the user's own counts, whatever it is called.
    counting = {key: section for key, section in config.items() if key in steps or key not in _NOT_DIGESTED}
    sections = {key: _counted(key, section) for key, section in counting.items()}
    kept = {key: section for key, section in sections.items() if section not in (None, {})}
    if isinstance(listed, list):
        kept["steps"] = [entry for entry in listed if ":" in str(entry) or str(entry) in kept]
    return kept


def _counted(key: str, section: Any) -> Any:
    """Return what counts of a section; None or an empty one if nothing does."""
    if isinstance(section, Mapping) and section.get(TARGET, ...) is None:
        return None
    kind = _kind(key, section)
    if kind is None:
        return schema.to_plain(section)
    defaults = schema.defaults_of(kind)
    values = {name: value for name, value in schema.spelled(kind, section).items() if value != defaults.get(name, ...)}
    return values if key in BESIDE_STEPS else {TARGET: public_names.public_name(kind), **values}


def _kind(key: str, section: Any) -> type | None:
    """Return the class of a section, None for one of the user's own and for what is no section."""
    if not isinstance(section, Mapping):
        return None
    return BESIDE_STEPS.get(key) or schema.class_of(section.get(TARGET))


def _sha256(config: Mapping[str, Any]) -> str:
    # Text for what JSON has no form for, dates of YAML, which only recipes have that were tampered with.
    plain = schema.to_plain(config)
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def has_digest(config: Mapping[str, Any], digest: str) -> bool:
    """Return whether a logged recipe is the one that was logged with this digest, which may be an old one."""
    return digest in (digest_of(config), digest_of_every_key(config))


def digest_of_every_key(config: Mapping[str, Any]) -> str:
    """Return what the digest of a logged recipe was before groups without a choice and defaults were left out."""
    return _sha256({key: value for key, value in config.items() if key not in ("name", "worker", "tracking")})


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a logged recipe with the keys that came later, at the values that a run of it gets."""
    return {key: _completed(key, section) for key, section in config.items()}


def _completed(key: str, section: Any) -> Any:
    kind = _kind(key, section)
    if kind is None:
        return section
    target = {TARGET: public_names.public_name(kind)} if TARGET in section else {}
    return {**target, **schema.defaults_of(kind), **schema.spelled(kind, section)}


def _model_name(source: Any, option: str) -> str:
    """What the source is called: its file, its name, its function, or else the option that it is."""
    if path := getattr(source, "path", None):
        return Path(path).resolve().stem
    return str(getattr(source, "name", None) or getattr(source, "function", "").rpartition(":")[2] or option)


def _ranges(calibration: Any) -> dict[str, Any]:
    """How ranges follow from the samples, where the recipe says so."""
    method = getattr(calibration, "method", None)
    if method is None:
        return {}
    return {"method": method.name, "percentile": calibration.percentile, "smoothing": calibration.smoothing}


def _sample_sizes(*groups: Any) -> dict[str, list[int]]:
    """Shapes of the arrays that the recipe names, which tell the sizes that a model leaves open."""
    arrays = [spec for group in groups for spec in _specs(group)]
    return {spec.name: [size or 0 for size in spec.shape] for spec in reversed(arrays)}


def _specs(group: Any) -> Iterable[TensorSpec]:
    """What the files of a group's data say of its arrays; a `path` of a group that does not tell is a `.npz`."""
    if hasattr(group, "specs"):
        return list(group.specs().values())
    path = getattr(group, "path", None)
    return list(npz.headers(Path(path), "").values()) if path else []


def build(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    base_groups: Sequence[str],
    overrides: Sequence[str],
    name: str,
) -> Recipe:
    """A typed recipe from a composed, resolved config. Errors: RequestError with every problem."""
    sections = {key: value for key, value in config.items() if key != "name"}
    worker, problems = _beside_steps("worker", sections)
    conversion, found = _beside_steps("conversion", sections)
    contract, wrong = _beside_steps("io_contract", sections)
    problems += [*found, *wrong, *(contract.problems() if contract is not None else ())]
    steps, broken, found = _steps(sections.get("steps"), sections)
    tracking, untracked = _tracking(sections.get("tracking"))
    left, forgotten = _left_over(sections)
    problems += [*found, *untracked, *left, *_misfits(steps, [*broken, *forgotten], conversion)]
    if problems:
        raise RequestError(problems)
    typed: dict[str, Any] = {"name": name, "steps": list(sections["steps"])}
    for spec in steps:
        if spec.name in sections:
            own = {TARGET: spec.target, **spec.values}
            typed[spec.name] = own if spec.instance is None else schema.section_of(spec.instance)
    for key, value in (("worker", worker), ("conversion", conversion), ("io_contract", contract)):
        typed[key] = schema.values_of(value)
    if tracking is not None:
        # What is written down of a recipe, here and on a server, holds no password; `tracking` itself has it.
        typed["tracking"] = {**schema.section_of(tracking), "uri": without_password(tracking.uri)}
        overrides = [scrubbed(override, tracking.uri) for override in overrides]
    final = tuple(replace(spec, values=typed.get(spec.name, spec.values)) for spec in steps)
    return Recipe(
        name, typed, dict(choices), tuple(base_groups), tuple(overrides), final, worker, conversion, contract, tracking
    )


def _beside_steps(name: str, sections: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    """A section that is no step's."""
    section = sections.get(name) or {}
    if not isinstance(section, Mapping):
        return None, [Problem(f"{section!r} is not a section with keys", name, assignment(f"~{name}", ...))]
    return schema.build(BESIDE_STEPS[name], section, name)


def _steps(listed: Any, sections: Mapping[str, Any]) -> tuple[list[StepSpec], list[str], list[Problem]]:
    """The steps, the names of those that something is wrong with, and what is wrong."""
    mended = assignment("steps", _mended(listed, sections))
    if not isinstance(listed, (list, tuple)) or not listed:
        return [], [], [Problem("is not a list of step names", "steps", mended)]
    steps: list[StepSpec] = []
    broken: list[str] = []
    problems: list[Problem] = []
    for position, entry in enumerate(map(str, listed)):
        where = f"steps[{position}]"
        if entry in sections and entry not in _APART:
            spec, found = _step(entry, sections[entry] or {})
        elif entry == "source":
            spec, found = None, [_no_source()]
        elif ":" in entry and isinstance(listed[position], str):
            spec = StepSpec(entry, entry, {})
            found = [_in_list(problem, where, entry, listed) for problem in code_problems(entry, where)]
        elif entry in _GROUPS:
            spec, found = None, []  # a group with nothing chosen
        else:
            known = ", ".join(key for key in sections if key not in _APART)
            what = f"{entry!r} is neither a section of the recipe ({known}) nor module:Class"
            spec, found = None, [Problem(what, where, mended)]
        steps += [spec] if spec is not None else []
        broken += [entry] if found else []
        problems += found
    chosen = {*broken, *(spec.name for spec in steps)}
    for name, default in _NEEDED.items():
        if name in listed and name not in chosen:
            problems.append(Problem("no option is chosen, and no file is made without", name, f"{name}={default}"))
    doubled = {entry: None for entry in listed if listed.count(entry) > 1}
    problems += [Problem(f"{name!r} stands twice", "steps", mended) for name in doubled]
    return steps, broken, problems + _order_problems(listed, mended)


def _in_list(problem: Problem, where: str, entry: str, listed: Sequence[Any]) -> Problem:
    """A problem with an entry that is a class, whose fix is the whole list with a better entry."""
    better = "".join(shlex.split(problem.fix)).partition("=")[2]
    fix = assignment("steps", [better if other == entry else other for other in listed]) if better else ""
    return replace(problem, where=where, fix=fix)


_GROUPS = ("source", "substitution", "pruning", "freeze", "calibration", "optimization", "target", "evaluation")
_MODEL_FILES = (".keras", ".h5", ".hdf5", ".tflite")
# Groups that no run can do without, each with the option that the base chooses; "" if the user has to.
_NEEDED = {"source": "", "freeze": "saved_model", "optimization": "none"}


def _mended(listed: Any, sections: Mapping[str, Any]) -> list[str]:
    """The list of steps as it should be: near matches for what is unknown, nothing twice, nothing left out, and our
    own steps in the order in which they run."""
    known = [*_GROUPS, *(key for key in sections if key not in _APART)]
    entries = [entry for entry in listed if isinstance(entry, str)] if isinstance(listed, (list, tuple)) else []
    found = [entry if entry in known or ":" in entry else next(iter(near(entry, known)), "") for entry in entries]
    names = list(dict.fromkeys(name for name in found if name))
    for name in (*_NEEDED, *(key for key in sections if _is_step(key, sections))):
        if name not in names:
            later = [other for other in names if name in _GROUPS and other in _GROUPS[_GROUPS.index(name) :]]
            names.insert(names.index(later[0]) if later else len(names), name)
    ours = iter(sorted((name for name in names if name in _GROUPS), key=_GROUPS.index))
    return [next(ours) if name in _GROUPS else name for name in names]


def _is_step(key: str, sections: Mapping[str, Any]) -> bool:
    section = sections[key]
    return key not in _APART and isinstance(section, Mapping) and bool(section.get(TARGET))


def _order_problems(listed: Sequence[Any], mended: str) -> list[Problem]:
    ours = [entry for entry in listed if entry in _GROUPS]
    problems = []
    if ours != sorted(ours, key=_GROUPS.index):
        problems.append(Problem(f"{', '.join(ours)} cannot run in this order", "steps", mended))
    missing = [group for group in _NEEDED if group not in ours]
    return problems + [
        Problem(f"{group!r} is needed and does not stand in the list", "steps", mended) for group in missing
    ]


def _no_source() -> Problem:
    example = "source=keras source.path=model.keras"
    others = ("source=saved_model source.path=FOLDER", "source=factory source.function=my_model.py:build")
    here = [path for path in sorted(Path().iterdir()) if path.suffix in _MODEL_FILES]
    found = [overrides for path in here if (overrides := source_overrides(path))]
    fix = found[0] if len(found) == 1 else ""
    return Problem("no model is given", "source", fix, others if fix else (example, *others))


def _step(name: str, section: Any) -> tuple[StepSpec | None, list[Problem]]:
    if not isinstance(section, Mapping) or (TARGET not in section and section):
        way = f"{name}=OPTION" if name in _GROUPS else f"+{name}.{TARGET}=my_step.py:MyStep"
        return None, [Problem(f"the section has no {TARGET}, the class of the step", name, "", (way,))]
    target = section.get(TARGET)
    if target is None:
        return (None, [_no_source()]) if name == "source" else (None, [])
    if not public_names.is_ours(target):
        values = {str(key): schema.to_plain(value) for key, value in section.items() if key != TARGET}
        place = str(target) if ":" in str(target) else ":".join(str(target).rsplit(".", 1))
        return StepSpec(name, str(target), values), list(code_problems(place, f"{name}.{TARGET}"))
    public = public_names.resolved(target)
    if public is None or not public.startswith(f"{public_names.STEPS}."):
        return None, [_unknown_step(target, f"{name}.{TARGET}")]
    instance, problems = schema.build(_class_of(public), section, name)
    return (StepSpec(name, public, {}, instance) if instance is not None else None), problems


def _class_of(public: str) -> type:
    kind = schema.class_of(public)
    assert kind is not None
    return kind


def _unknown_step(target: Any, where: str) -> Problem:
    """A `_target_` that names something of this package, which is not a step that recipes can have."""
    last = str(target).replace(":", ".").rpartition(".")[2]
    similar = [f"{public_names.STEPS}.{name}" for name in near(last, public_names.offered(public_names.STEPS))]
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    fix = assignment(where, similar[0]) if similar else ""
    return Problem(f"{target!r} is not a step of this package{hint}", where, fix)


def _tracking(section: Any) -> tuple[Any, list[Problem]]:
    if not section or (isinstance(section, Mapping) and section.get(TARGET) is None):
        return None, []
    public = public_names.resolved(section[TARGET]) if isinstance(section, Mapping) else None
    if public is None or not public.startswith(f"{public_names.TRACKING}."):
        what, known = f"{section!r} is no tracking that this package has", f"{public_names.TRACKING}.Mlflow"
        return None, [Problem(what, "tracking", "tracking=mlflow", (f"tracking.{TARGET}={known}",))]
    tracking, problems = schema.build(_class_of(public), section, "tracking")
    return tracking, problems or list(tracking.problems())


def _left_over(sections: Mapping[str, Any]) -> tuple[list[Problem], list[str]]:
    """A section that no step reads is a typing error, not a note in the margin. Also the steps that are not listed."""
    entries = sections.get("steps")
    listed = [*map(str, entries)] if isinstance(entries, (list, tuple)) else []
    problems = []
    forgotten = []
    for name in sections:
        if name in listed or name in _APART:
            continue
        if _is_step(name, sections):
            what = "this step does not stand in `steps`, so it would not run"
            ors = (assignment(f"~{name}", ...),)
            problems.append(Problem(what, name, assignment("steps", _mended(entries, sections)), ors))
            forgotten.append(name)
        elif name not in _GROUPS:
            similar = near(name, [*_GROUPS, *_APART])
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            problems.append(Problem(f"unknown key{hint}", name, assignment(f"~{name}", ...)))
    return problems, forgotten


def _misfits(steps: Sequence[StepSpec], broken: Sequence[str], conversion: Any) -> Iterable[Problem]:
    """What each step finds wrong with itself beside the others. A step that cannot be asked is there as None, but for
    the source, in whose place stands one that does not know its inputs."""
    beside: dict[str, Any] = {**dict.fromkeys(broken), **{spec.name: spec.instance for spec in steps}}
    beside["source"] = beside.get("source") or Source()
    if conversion is not None:
        yield from conversion.problems(beside)
    for spec in steps:
        if hasattr(spec.instance, "problems"):
            yield from spec.instance.problems(beside)
