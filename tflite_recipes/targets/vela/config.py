"""Vela's configuration files (`.ini`): systems with their clock and memories, and memory modes. Vela is not needed."""

from __future__ import annotations

import configparser
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist

_OWN = "target.config=null"  # the file that comes with Vela
_SYSTEM, _MODE = "System_Config.", "Memory_Mode."
_READ_ONLY = ("OnChipFlash", "OffChipFlash")
_KINDS = ("Sram", "Dram", *_READ_ONLY)


@dataclass(frozen=True)
class System:
    """A system: the NPU's clock in MHz, and the kind of memory (Sram, Dram, OnChipFlash, OffChipFlash) by AXI port.

    described: the kinds of which speed or latency is said; Vela takes a memory of which nothing is said for absent.
    """

    name: str
    clock_mhz: float
    ports: Mapping[str, str]
    described: tuple[str, ...] = _KINDS


@dataclass(frozen=True)
class MemoryMode:
    """Which AXI port (Axi0, Axi1) constants, the tensor arena and the cache lie behind."""

    name: str
    constants: str
    arena: str
    cache: str


@dataclass(frozen=True)
class VelaConfig:
    """What a configuration file defines, by name, in the file's order."""

    systems: Mapping[str, System] = field(default_factory=dict)
    modes: Mapping[str, MemoryMode] = field(default_factory=dict)


_MOST = 4 << 20  # bytes of a configuration file


def installed() -> bool:
    """Whether Vela can be run by this Python."""
    return importlib.util.find_spec("ethosu") is not None and importlib.util.find_spec("ethosu.vela") is not None


def arm_ini() -> Path:
    """The configuration file that comes with Vela, `Arm/vela.ini`. RequestError where there is none."""
    spec = importlib.util.find_spec("ethosu")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "config_files" / "Arm" / "vela.ini"
        if path.is_file():
            return path
    raise RequestError(Problem("Vela's own Arm/vela.ini is not where Vela is installed", "target.config"))


def read(path: Path) -> VelaConfig:
    """Read a configuration file. RequestError where it is none, or defines no system or no memory mode."""
    parser = configparser.ConfigParser()
    try:
        with regular_files.open_lines(path, _MOST) as file:
            parser.read_file(file)
        sections = {name: _inherited(parser, name) for name in parser.sections()}
        systems = {name: _system(name, values) for name, values in _of(sections, _SYSTEM).items()}
    except (configparser.Error, ValueError, OSError) as error:
        why = gist(error)
        what = f"{path} is no configuration file of Vela's: {why}"
        raise RequestError(Problem(what, "target.config", _OWN)) from error
    modes = {
        name: MemoryMode(name, *(values.get(f"{area}_mem_area", "Axi0") for area in ("const", "arena", "cache")))
        for name, values in _of(sections, _MODE).items()
    }
    for what, found, section in (("system", systems, _SYSTEM), ("memory mode", modes, _MODE)):
        if not found:
            told = f"{path} defines no {what}: there is no section [{section}…]"
            raise RequestError(Problem(told, "target.config", _OWN))
    return VelaConfig(systems, modes)


def unfit(system: System, mode: MemoryMode, accelerator: str) -> str:
    """Why a memory mode cannot be had on a system with an accelerator ("ethos-u55-128"); "" where it can.

    Vela's own rules, and that the Ethos-U55 only reads through its second AXI port: Arm's CMSIS-Ethos-U documentation
    has no Dedicated_Sram for it. Vela does not check that where the system is one with DRAM.
    """
    areas = {"constants": mode.constants, "arena": mode.arena, "cache": mode.cache}
    memories = {what: system.ports.get(port, port) for what, port in areas.items()}
    if memories["cache"] != "Sram":
        return f"it keeps the cache in {memories['cache']}, which has to be Sram"
    if memories["arena"] in _READ_ONLY:
        return f"it keeps the arena in {memories['arena']}, which cannot be written to"
    if memories["constants"] == "Sram" and len(set(areas.values())) > 1:
        return "it keeps constants in Sram apart from the arena or the cache"
    if accelerator.startswith("ethos-u55") and mode.arena == "Axi1":
        return "it keeps the arena behind the second AXI port, through which an Ethos-U55 only reads"
    silent = next((memory for memory in memories.values() if memory not in system.described), "")
    return f"{system.name} has no line on {silent}, such as {silent}_clock_scale=1.0" if silent else ""


def constants_in_sram(system: System, mode: MemoryMode) -> bool:
    """Whether weights take SRAM too; Vela reports them as on-chip flash then."""
    return system.ports.get(mode.constants) == "Sram"


def family(name: str) -> str:
    """`u55` of "ethos-u55-128" and of "Ethos_U55_High_End_Embedded"; "" where a name says none."""
    parts = name.lower().replace("-", "_").split("_")
    return parts[1] if len(parts) > 1 and parts[0] == "ethos" else ""


def _of(sections: Mapping[str, Mapping[str, str]], prefix: str) -> dict[str, Mapping[str, str]]:
    return {name.removeprefix(prefix): values for name, values in sections.items() if name.startswith(prefix)}


def _inherited(parser: configparser.ConfigParser, name: str, seen: tuple[str, ...] = ()) -> dict[str, str]:
    """A section's values over those of the section that it inherits from."""
    if name in seen:
        raise ValueError(f"[{name}] inherits from itself")
    if not parser.has_section(name):
        raise ValueError(f"[{seen[-1]}] inherits from [{name}], which is not there")
    own = dict(parser.items(name))
    base = own.get("inherit")
    return {**_inherited(parser, base, (*seen, name)), **own} if base else own


def _system(name: str, values: Mapping[str, str]) -> System:
    """What is left out has the value that Vela gives it."""
    ports = {"Axi0": values.get("axi0_port", "Sram"), "Axi1": values.get("axi1_port", "Sram")}
    clock = float(values.get("core_clock", 1)) / 1e6
    if not 0 < clock < float("inf"):
        raise ValueError(f"core_clock={values.get('core_clock')} of {name} is no frequency in Hz")
    described = tuple(kind for kind in _KINDS if any(key.startswith(f"{kind.lower()}_") for key in values))
    return System(name, clock, ports, described)
