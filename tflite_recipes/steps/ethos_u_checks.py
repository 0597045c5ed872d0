"""What is wrong with an Ethos-U target beside the other steps, said before TensorFlow or Vela loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.conversion import rules as quantization_rules
from tflite_recipes.conversion.schemes import RuleScheme, Scheme
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.schema import near
from tflite_recipes.core.state import CALIBRATED
from tflite_recipes.steps.ethos_u_settings import EthosUSettings
from tflite_recipes.steps.hardware import integer_only
from tflite_recipes.targets.vela import config as vela_config
from tflite_recipes.targets.vela.config import VelaConfig

# Vela's own choice for each family where nothing is named (its architecture_features.py, 5.2).
DEFAULTS = {
    "u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}


def vela_problems(asked: EthosUSettings) -> Iterable[Problem]:
    """Vela is missing; its configuration file, or what is named of it, cannot be had on this accelerator."""
    if not vela_config.installed():
        what = "Vela, which compiles for this target, is not installed: pip install 'tflite_recipes[vela]'"
        yield Problem(what, "target", "target=generic")
        if asked.config is None:
            return
    if asked.config is not None and Path(asked.config).suffix != ".ini":
        yield Problem("Vela takes configuration files whose names end in .ini", "target.config", "target.config=null")
        return
    if asked.config is not None and not Path(asked.config).is_file():
        return  # which the schema says
    try:
        config = asked.vela_config()
    except RequestError as error:
        yield from error.problems
        return
    yield from _choices(asked, config)


def _choices(asked: EthosUSettings, config: VelaConfig) -> Iterable[Problem]:
    system, mode = DEFAULTS[vela_config.family(asked.accelerator.value)]
    unknown = [
        *_unknown("system_config", asked.system_config, list(config.systems), system),
        *_unknown("memory_mode", asked.memory_mode, list(config.modes), mode),
    ]
    yield from unknown
    own = vela_config.family(asked.accelerator.value)
    named = vela_config.family(asked.system_config)
    if asked.config is None and named not in ("", own) and asked.system_config in config.systems:
        what = f"{asked.system_config} is a system of another accelerator than {asked.accelerator.value}"
        others = [name for name in config.systems if vela_config.family(name) == own]
        fix, *ors = (assignment("target.system_config", name) for name in sorted(others, key=lambda n: n != system))
        yield Problem(what, "target.system_config", fix, tuple(ors))
    elif not unknown:
        yield from _unfit(asked, config)


def _unfit(asked: EthosUSettings, config: VelaConfig) -> Iterable[Problem]:
    fits = fitting_modes(config, asked.system_config, asked.accelerator.value)
    if asked.memory_mode in fits:
        return
    system, mode = config.systems[asked.system_config], config.modes[asked.memory_mode]
    why = vela_config.unfit(system, mode, asked.accelerator.value)
    what = f"{asked.memory_mode} cannot be had on {asked.accelerator.value} with {asked.system_config}: {why}"
    ways = [assignment("target.memory_mode", name) for name in _nearest(fits, asked.memory_mode)]
    yield Problem(what, "target.memory_mode", ways[0] if ways else "", tuple(ways[1:]))


def fitting_modes(config: VelaConfig, system: str, accelerator: str) -> list[str]:
    """The memory modes that can be had, in the file's order."""
    found = config.systems[system]
    return [name for name, mode in config.modes.items() if not vela_config.unfit(found, mode, accelerator)]


def _nearest(modes: list[str], to: str) -> list[str]:
    """Those most like a name first; the one that shares the SRAM before the one that has nothing else."""
    alike = near(to, modes)
    return [*alike, *(name for name in reversed(modes) if name not in alike)]


def _unknown(key: str, name: str, known: list[str], default: str) -> Iterable[Problem]:
    if name in known:
        return
    best = (near(name, known) or [default if default in known else known[0]])[0]
    what = f"{name!r} is not in the configuration file, which has {', '.join(known)}"
    yield Problem(what, f"target.{key}", assignment(f"target.{key}", best))


def scheme_problems(steps: Mapping[str, Any]) -> Iterable[Problem]:
    """Schemes of whose ops the NPU takes none: it computes in integers only."""
    scheme = getattr(steps.get("optimization"), "scheme", None)
    if scheme is None or scheme.name in CALIBRATED or _integer_rules(steps["optimization"]):
        return
    what = f"the NPU computes in integers only: Vela puts nothing of a {scheme.name} file on it"
    yield Problem(what, "optimization", integer_only(steps), (*_float_ways(scheme),))


def _float_ways(scheme: Scheme) -> Iterable[str]:
    if scheme is Scheme.none:
        yield "target=generic"


def _integer_rules(optimization: Any) -> bool:
    rules = getattr(optimization, "rules", [])
    if not rules or list(quantization_rules.problems(rules)):
        return False
    return any(rule.scheme in (RuleScheme.full_integer, RuleScheme.int16x8) for rule in quantization_rules.read(rules))
