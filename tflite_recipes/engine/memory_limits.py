"""How much memory a process may still take: of the machine, and of each control group (cgroup v1 and v2) around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_V2, _V1 = (
    ("memory.max", "memory.current", "inactive_file"),
    (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Limit:
    """Memory that somebody grants.

    whose: in words. total: bytes in all. left: bytes that are free or that the system can free, swap included.
    """

    whose: str
    total: int
    left: int


def limits(root: Path = _ROOT) -> tuple[Limit, ...]:
    """Return the limits around this process, the machine's first. Where `/proc` tells nothing there are none.

    root: stands for `/`.
    """
    return (*_machine(root), *_groups(root))


def _machine(root: Path) -> Iterator[Limit]:
    fields = dict(_fields(root / "proc" / "meminfo"))
    total, available = fields.get("MemTotal:"), fields.get("MemAvailable:")
    if total and available is not None:
        total, available = total << 10, available << 10
        yield Limit("the machine", total + (fields.get("SwapTotal:", 0) << 10), available + _free_swap(fields))


def _free_swap(fields: dict[str, int]) -> int:
    return fields.get("SwapFree:", 0) << 10


def _groups(root: Path) -> Iterator[Limit]:
    """The groups of this process and those above them. In a container the path may be that of the host: then its own
    group is the mount's root."""
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, controllers, place = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / "sys" / "fs" / "cgroup" / ("memory" if controllers else "")
        names = _V1 if controllers else _V2
        folder = mount / place.lstrip("/")
        if ".." in folder.parts or not folder.is_dir():
            folder = mount
        for group in (folder, *folder.parents):
            if not group.is_relative_to(mount):
                break
            yield from _group(group, mount, *names)


def _group(group: Path, mount: Path, most: str, now: str, cache: str) -> Iterator[Limit]:
    total, used = _number(group / most), _number(group / now)
    if total is None or used is None or total >= 1 << 60:  # v1 writes a number near 2^63 for no limit
        return
    freed = dict(_fields(group / "memory.stat")).get(cache, 0)
    name = group.relative_to(mount).as_posix()
    yield Limit(f"the control group {'/' if name == '.' else '/' + name}", total, max(0, total - max(0, used - freed)))


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None  # `max` in v2


def _fields(path: Path) -> Iterator[tuple[str, int]]:
    for line in _lines(path):
        name, *values = line.split()
        if values and values[0].isdecimal():
            yield name, int(values[0])


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
