"""What Vela 5.2 writes: the summary, the performance by layer, and why ops are left to the CPU. Parsing only.

Everything counted in cycles is Vela's estimate from a model of the NPU and its memories, not a measurement.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_KIB = 1024


@dataclass(frozen=True)
class Summary:
    """The one line of the summary CSV; sizes in bytes, peak use for memories.

    cycles: of the NPU for one inference, waits for memory in them. core_clock_hz: the system configuration's.
    weight_bytes, encoded_weight_bytes: of the ops on the NPU, as in the file and as the NPU reads them.
    on_chip_flash_bytes: constants in SRAM, where the memory mode keeps them there.
    """

    system_config: str
    memory_mode: str
    core_clock_hz: float
    cycles: int
    macs: int
    sram_bytes: int
    dram_bytes: int
    on_chip_flash_bytes: int
    off_chip_flash_bytes: int
    weight_bytes: int
    encoded_weight_bytes: int


@dataclass(frozen=True)
class Row:
    """A line of the performance by layer: an op of Vela's, of which several make one of the file's."""

    original: str
    operator: str
    on_npu: bool
    cycles: int
    macs: int
    name: str


def read_summary(text: str) -> Summary:
    """The summary CSV. ValueError where it is not as Vela 5.2 writes it."""
    lines = list(csv.DictReader(io.StringIO(text)))
    if len(lines) != 1:
        raise ValueError(f"the summary has {len(lines)} lines, not 1")
    line = lines[0]
    try:
        return Summary(
            system_config=line["system_config"],
            memory_mode=line["memory_mode"],
            core_clock_hz=float(line["core_clock"]),
            cycles=int(line["cycles_total"]),
            macs=int(line["nn_macs"]),
            **{f"{area}_bytes": round(float(line[f"{area}_memory_used"]) * _KIB) for area in _AREAS},
            weight_bytes=int(line["total_original_weights"]),
            encoded_weight_bytes=int(line["total_npu_encoded_weights"]),
        )
    except KeyError as error:
        raise ValueError(f"the summary has no column {error}") from error
    except TypeError as error:
        raise ValueError("the summary's line is shorter than its head") from error


_AREAS = ("sram", "dram", "on_chip_flash", "off_chip_flash")


def read_rows(text: str) -> tuple[Row, ...]:
    """The performance by layer, in the order of execution. ValueError where it is not as Vela 5.2 writes it."""
    rows = []
    for line in csv.DictReader(io.StringIO(text.lstrip())):
        try:
            numbers = (int(line["Op Cycles"]), int(line["MAC Count"]))
            kinds = (line["Original Operator"], line["NNG Operator"], line["Target"] == "NPU")
            rows.append(Row(*kinds, *numbers, line["Name"].strip()))
        except KeyError as error:
            raise ValueError(f"the performance by layer has no column {error}") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(f"line {len(rows) + 2} of the performance by layer is shorter than its head") from error
    return tuple(rows)


_REFUSED = re.compile(r"^Warning \(supported operators\) operator: \S+, ofm: '(?P<output>.*)'\s*$")


def read_reasons(text: str) -> dict[str, str]:
    """Why ops are left to the CPU, in Vela's words (its lines joined), by the name of the op's first output."""
    found: dict[str, str] = {}
    output, reason = "", [""]
    for line in [*text.splitlines(), ""]:
        refused = _REFUSED.match(line)
        if refused or not line.strip():
            if output and any(reason):
                found.setdefault(output, "; ".join(part for part in reason if part))
            output, reason = refused["output"] if refused else "", []
        elif output:
            reason.append(line.removeprefix("Reason:").strip())
    return found


_COUNT = re.compile(r"^(CPU|NPU) operators = (\d+) ", re.MULTILINE)


def read_counts(text: str) -> dict[str, int]:
    """How many ops Vela counts on the "CPU" and on the "NPU": its own, of which several make one of the file's."""
    return {side: int(number) for side, number in _COUNT.findall(text)}


def failure(text: str) -> str:
    """The line of its output that tells most of why Vela failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\berror\b|failed|invalid", line, re.IGNORECASE)]
    told = [line for line in telling if not line.startswith(("raise ", "Warning"))]
    return (told or [line for line in lines if not line.startswith("Warning")] or ["it says nothing"])[-1]


def owners(rows: Sequence[Row], outputs: Iterable[str]) -> list[int | None]:
    """Which op of the file each row belongs to, by its position; None where it cannot be told.

    outputs: name of each op's first output. The rows that Vela makes of one op stand together; the last of them
    mostly has the op's own name, the others have names made from it or from its input's.
    """
    positions = {name: position for position, name in enumerate(outputs)}
    kinds: dict[int, str] = {}
    found: list[int | None] = []
    waiting: list[int] = []
    last: int | None = None
    for number, row in enumerate(rows):
        if number and rows[number - 1].original != row.original:
            _settle(found, waiting, last)
            last = None
        position = positions.get(row.name)
        # A name that another kind of op has already taken is that of the input
        if position is not None and kinds.setdefault(position, row.original) == row.original:
            last = position
            found.append(position)
            _settle(found, waiting, last)
        else:
            found.append(None)
            waiting.append(number)
    _settle(found, waiting, last)
    return found


def _settle(found: list[int | None], waiting: list[int], owner: int | None) -> None:
    for number in waiting:
        found[number] = owner
    waiting.clear()
