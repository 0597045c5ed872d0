"""The last step of a reproduction: the new file against the one that is to be reproduced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.core.analysis import Analysis
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.outcome import VERDICT
from tflite_recipes.core.raised import unexpected
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import State

if TYPE_CHECKING:
    from tflite_recipes.backend.running.paired_outputs import Distance
    from tflite_recipes.files.tflite.differences import Compared

RECORD = "reproduction.json"
# One step of an int8 output is 1/255 of its range: files whose outputs are that far apart are told to be equal.
DEFAULT_TOLERANCE = 0.005
# Differences that are written down, and told in a tag.
_LISTED, _TOLD = 50, 3
_TAG_LENGTH = 4000


@unique
class Verdict(Enum):
    """What a reproduction came to, best first."""

    identical = "identical bytes"
    same_graph = "same weights and graph"
    equal = "numerically equal"
    differs = "differs"


@dataclass(frozen=True)
class AgainstOriginal(Analysis):
    """Compares the run's file with `original`, and tells the verdict in tags and in `reproduction.json`.

    known: a JSON file with what is known of the original's run: `run_id`, the digests `source_sha256` and
    `calibration_sha256` ("" where they are not), and `changes`, a list of {what, before, after} that were found before
    the run. tolerance: how far outputs may be apart to be numerically equal, as a share of the output's range; null
    is 0.005, one step of an int8 output.
    """

    original: str
    known: str
    tolerance: Annotated[float | None, within(ge=0)] = None

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.running import paired_outputs
        from tflite_recipes.files.tflite import differences

        assert state.tflite is not None
        known = json.loads(Path(self.known).read_text(encoding="utf-8"))
        digests = sha256(Path(self.original)), sha256(state.tflite)
        compared: Compared | None = None
        apart: Distance | None = None
        if digests[0] == digests[1]:
            verdict = Verdict.identical
        else:
            try:
                compared = differences.compare(Path(self.original), state.tflite)
            except Exception as error:  # whatever a file that others made leads its reader to
                what = f"the original's graph cannot be compared: {unexpected(error)}"
                reporter.warn(error.problems[0].what if isinstance(error, RequestError) else what)
            if compared is not None and compared.differences:
                apart = paired_outputs.distance(Path(self.original), state, reporter)
            verdict = judged(compared, apart, self._tolerance)
        changes = [*known["changes"], *_data(known, state)]
        record = {
            "verdict": verdict.value,
            "reproduces": known["run_id"],
            "sha256": {"original": digests[0], "new": digests[1]},
            "tolerance": self._tolerance,
            "outputs": _outputs(apart),
            "file": _file(compared),
            "changes": changes,
        }
        _tell(verdict, record, state, reporter)
        return state

    @property
    def _tolerance(self) -> float:
        return DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def judged(compared: Compared | None, apart: Distance | None, tolerance: float) -> Verdict:
    """The verdict on files whose bytes differ. `compared` is None where a file cannot be read, `apart` where nothing
    was run."""
    if compared is None:
        return Verdict.differs
    if not compared.differences:
        return Verdict.same_graph
    close = apart is not None and not apart.failure and apart.relative <= tolerance
    return Verdict.equal if close else Verdict.differs


def _data(known: Mapping[str, Any], state: State) -> list[dict[str, str]]:
    """Digests of what the file was made from: of the source (after training, its weights), and of the calibration
    samples as they were drawn."""
    now = {"source_sha256": state.source_sha256, "calibration_sha256": state.calibration_sha256}
    names = {"source_sha256": "source model", "calibration_sha256": "calibration samples"}
    return [
        {"what": names[key], "before": f"sha256 {known[key]}", "after": f"sha256 {value}"}
        for key, value in now.items()
        if known.get(key) and value and known[key] != value
    ]


def _outputs(apart: Distance | None) -> dict[str, Any] | None:
    if apart is None:
        return None
    if apart.failure:
        return {"failure": apart.failure, "samples": apart.samples}
    # JSON has no infinity.
    absolute, relative = (value if value != float("inf") else None for value in (apart.absolute, apart.relative))
    return {
        "max_abs_difference": absolute,
        "relative_difference": relative,
        "worst_output": apart.worst_output,
        "samples": apart.samples,
    }


def _file(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    listed = [{"where": found.where, "what": found.what} for found in compared.differences[:_LISTED]]
    return {"differences": len(compared.differences), "first": listed, "renamed_tensors": compared.renamed}


def summary(record: Mapping[str, Any], told: int = _TOLD) -> list[str]:
    """The record in lines: what differs in the file, in its outputs, and what changed between the runs."""
    lines = []
    if outputs := record["outputs"]:
        lines.append(f"outputs: {_how_far(outputs, record['tolerance'])}")
    if file := record["file"]:
        found = [f"{entry['where']}: {entry['what']}" for entry in file["first"][:told]]
        lines += found
        if file["differences"] > len(found):
            lines.append(f"{file['differences'] - len(found)} more differences in the file ({RECORD})")
        if not file["differences"]:
            renamed = f", and the names of {file['renamed_tensors']} tensors" if file["renamed_tensors"] else ""
            lines.append(f"the file: its metadata{renamed}")
    return [*lines, *(f"{entry['what']}: {entry['before']} → {entry['after']}" for entry in record["changes"])]


def _how_far(outputs: Mapping[str, Any], tolerance: float) -> str:
    if "failure" in outputs:
        return f"not compared: {outputs['failure']}"
    if outputs["relative_difference"] is None:
        return f"{outputs['worst_output']} is infinitely far off, on {outputs['samples']}"
    share = f"{outputs['relative_difference']:.3g} of the range of {outputs['worst_output']}"
    return (
        f"up to {outputs['max_abs_difference']:.3g} apart, {share} (tolerance {tolerance:g}), on {outputs['samples']}"
    )


def _tell(verdict: Verdict, record: Mapping[str, Any], state: State, reporter: Reporter) -> None:
    path = state.workdir / RECORD
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    reporter.keep(str(path))
    outputs = record["outputs"] or {}
    if outputs.get("relative_difference") is not None:
        names = ("max_abs_difference", "relative_difference")
        reporter.measure({f"reproduction.{name}": outputs[name] for name in names})
    said = [] if verdict is Verdict.identical else summary(record)
    reporter.tag(
        {
            VERDICT: verdict.value,
            "tflite_recipes.reproduces": record["reproduces"],
            "tflite_recipes.differences": "\n".join(said)[:_TAG_LENGTH] or "none",
        }
    )
