"""The listener that people see: steps as they run, then a table, then where everything is."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from tflite_recipes.conversion.sensitivity import Sensitive
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus, Problem
from tflite_recipes.core.number_format import figure, labelled, tensor_kind
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.result import CANDIDATES, LOG, RunResult
from tflite_recipes.report.terminal import rich_console

if TYPE_CHECKING:
    from tflite_recipes.files.tflite import Inspection


class Console:
    """Prints a run as it happens. On a terminal, progress is a bar; elsewhere each part is a line when it is over."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out = rich_console(stream)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._last: events.Progress | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                over = f"  {' '.join(event.overrides)}" if event.overrides else ""
                self.say(f"{event.recipe}{over}  (recipe digest {event.digest[:12]})")
            case events.StepStarted(step=step, option=option):
                self.say(f"• {step}{f' = {option}' if option else ''}")
            case events.Progress():
                self._progress(event)
            case events.Warned(text=text):
                self._end_progress()
                self.say(f"  warning: {text}", "yellow")
            case events.Judged(gate=gate):
                self._end_progress()
                self.say(f"  gate {gate.name}: {gate}", "green" if gate.passed else "red")
                if gate.fix:
                    self.say(f"  fix: {gate.fix}", "bold")
                for other in gate.alternatives:
                    self.say(f"  or: {other}")
            case events.AnalysisFailed(problem=problem):
                self._end_progress()
                self.say(f"  failed: {problem.lines()[0]}", "red")
            case events.Tried():
                self._last = None  # the line of the candidate itself says more
                self._end_progress()
                self.say(tried_line(event), None if event.outcome in ("passed", "done") else "yellow")
            case events.StepFinished(seconds=seconds):
                self._end_progress()
                self.say(f"  {seconds:.1f} s", "dim")
            case events.RunFinished():
                self._end_progress()
                self._failure(event)

    def say(self, text: str, style: str | None = "") -> None:
        self._out.print(text, style=style or None, markup=False, highlight=False)

    def _progress(self, event: events.Progress) -> None:
        if event.what != self._what:
            self._end_progress()
        self._what, self._last = event.what, event
        if not self._out.is_terminal:
            return
        if self._bar is None:
            columns = (
                TextColumn("  {task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._out, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(event.what, total=event.total, detail=event.detail)
        assert self._task is not None
        self._bar.update(self._task, completed=event.done, total=event.total, detail=event.detail)

    def _end_progress(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        last = self._last
        if last is not None:
            detail = f"  {last.detail}" if last.detail else ""
            count = f" {last.done}/{last.total}" if last.what != "converting" else ""
            self.say(f"  {last.what}{count}{detail}")
        self._bar, self._task, self._what, self._last = None, None, "", None

    def _failure(self, event: events.RunFinished) -> None:
        if event.log_tail and event.died:
            self.say(f"the last lines of {LOG}:", "dim")
            for line in event.log_tail.splitlines():
                self.say(f"  | {line}", "dim")
        if event.outcome == RunOutcome.killed:
            self.say("interrupted: the worker was ended, nothing half-written is left", "red")


def tried_line(event: events.Tried) -> str:
    """A candidate of a search on a line: number, what it is, what it came to, and why it did not pass."""
    names = {"accuracy.tflite": "metric", "accuracy.drop": "drop", "latency.p50_ms": ""}
    cells = [f"{event.number:>4} {event.what:<44}"]
    size = event.metrics.get("size.tflite_bytes")
    cells.append(f"{figure('size.tflite_bytes', size) if size is not None else '':>13}")
    for name, title in names.items():
        if name in event.metrics:
            cells.append(f"{title} {figure(name, event.metrics[name])}".strip())
    reason = event.reason if len(event.reason) <= 160 else f"{event.reason[:157]}…"
    return "  ".join([*cells, f"{event.outcome}{f': {reason}' if reason else ''}"])


def show_problems(problems: Sequence[Problem]) -> None:
    """Problems on standard error, `fix:` lines on lines of their own."""
    out = rich_console(sys.stderr)
    for number, problem in enumerate(problems):
        if number:
            out.print()
        for index, line in enumerate(problem.lines()):
            style = "red" if index == 0 else "bold" if line.startswith("fix: ") else None
            out.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def show_result(result: RunResult) -> None:
    """The table of results, the model's path and the run ID: the last lines of a run."""
    out = rich_console()
    if result.metrics and result.path:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for name, value in _shown(result.metrics, result.tags).items():
            table.add_row(name, value)
        for gate in result.gates:
            table.add_row(f"gate {gate.name}", str(gate))
        out.print(table)
    out.print(f"{result.recipe}: {_outcome(result)}", markup=False)
    if result.found:
        out.print(f"recipe: {result.found}", markup=False, soft_wrap=True)
    if registered := result.tags.get("tflite_recipes.registered"):
        out.print(f"registered: {registered}", markup=False, soft_wrap=True)
    if result.path:
        out.print(f"model:  {result.path}", markup=False, soft_wrap=True)
    elif (result.output_dir / CANDIDATES).is_dir():
        out.print(f"logs:   {result.output_dir / CANDIDATES}", markup=False, soft_wrap=True)
    if result.status is ExitStatus.FAILED and not (result.output_dir / CANDIDATES).is_dir():
        out.print(f"log:    {result.output_dir / LOG}", markup=False, soft_wrap=True)
    out.print(f"run ID: {result.run_id or 'none (not tracked)'}", markup=False)
    for problem in result.problems:
        if problem.where == "tracking.uri":  # said above too, but a long table may stand between
            out.print(f"upload: {' '.join(problem.alternatives)}", markup=False, soft_wrap=True)


def _outcome(result: RunResult) -> str:
    return f"{result.outcome}{', not tracked' if result.status is ExitStatus.UNTRACKED else ''}"


def show_reproduction(
    original: str, verdict: str | None, digests: tuple[str, str], differences: Sequence[str], notes: Sequence[str]
) -> None:
    """The verdict on a run that was made again, both files' digests, and what differs."""
    out = rich_console()
    for note in notes:
        out.print(f"input:  {note}", markup=False, soft_wrap=True)
    out.print(f"reproduces: {original}", markup=False)
    if verdict is None:
        out.print("verdict: none, because no file was made", markup=False)
        return
    out.print(f"sha256:  {digests[0]} (original)\n         {digests[1]}", markup=False, soft_wrap=True)
    out.print(f"verdict: {verdict}", style="bold", markup=False)
    for line in differences:
        out.print(f"  {line}", markup=False, soft_wrap=True)


def show_rehearsal(result: RunResult, contract: Mapping[str, Any], candidate: str = "") -> None:
    """What a deep check found: the inputs and outputs that the file would have, and its ops."""
    out = rich_console()
    if candidate:
        out.print(f"optimization=auto: tried by its first candidate, {candidate}", markup=False, soft_wrap=True)
    if contract:
        table = Table("", "name", "source", "file", box=None, pad_edge=False)
        for side in ("inputs", "outputs"):
            for entry in contract[side]:
                kinds = (tensor_kind(entry[one]) for one in ("source", "tflite"))
                table.add_row(side[:-1], entry["name"], *kinds)
        out.print(table)
        for line in [*contract["remedies"], *contract["notes"]]:
            out.print(line, markup=False, soft_wrap=True)
        sizes = {name: figure(name, result.metrics[name]) for name in _TOLD if name in result.metrics}
        out.print(", ".join(f"{name} {text}" for name, text in sizes.items()), markup=False)
    verdict = "converts, and the file runs" if result.status is ExitStatus.DONE else "does not convert"
    if result.tags.get("tflite_recipes.verified") == "false":
        verdict = "converts; no runtime here can run the file"
    out.print(f"{result.recipe}: {verdict}; nothing was written", markup=False)


_TOLD = ("size.tflite_bytes", "ops.total", "ops.float", "ops.flex", "ops.custom")


def _shown(metrics: Mapping[str, float], tags: Mapping[str, str]) -> dict[str, str]:
    return {
        name: labelled(name, value, tags)
        for name, value in sorted(metrics.items())
        if not name.startswith("time.") or name == "time.total_s"
    }


def show_sweep(results: Sequence[tuple[Sequence[str], RunResult]], parent: str | None) -> None:
    """One line per job of a sweep."""
    out = rich_console()
    table = Table(box=None, pad_edge=False)
    for column in ("job", "overrides", "outcome", "size", "accuracy", "cosine", "run ID"):
        table.add_column(column)
    for number, (overrides, result) in enumerate(results):
        metrics: Mapping[str, Any] = result.metrics
        table.add_row(
            str(number),
            " ".join(overrides),
            _outcome(result),
            f"{metrics['size.tflite_bytes']:,.0f} B" if result.path else "",
            f"{metrics['accuracy.tflite']:.4f}" if result.path and "accuracy.tflite" in metrics else "",
            f"{metrics['parity.cosine']:.6f}" if result.path and "parity.cosine" in metrics else "",
            result.run_id or "",
        )
    out.print(table)
    if parent:
        out.print(f"parent run ID: {parent}", markup=False)


def show_chosen(chosen: Sequence[Sensitive], scheme: str) -> None:
    """What rules are given for, on standard error: standard output is for the rules."""
    table = Table(box=None, pad_edge=False)
    for column in ("own SQNR", "op", "layer", "output"):
        table.add_column(column)
    for op in chosen:
        table.add_row(figure("own_db", op.score), op.op, op.layer, op.tensor)
    out = rich_console(sys.stderr)
    out.print(table)
    out.print(f"{len(chosen)} ops become {scheme}:", markup=False)


def show_listing(entries: Mapping[str, str]) -> None:
    """Names with one line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in entries.items():
        table.add_row(name, text)
    rich_console().print(table)


def show_inspection(found: Inspection, path: Path) -> None:
    """What is in a `.tflite`: its signatures, ops, tensor types and largest constants."""
    out = rich_console()
    out.print(f"{path}: {found.size_bytes:,} bytes", markup=False)
    for signature in found.signatures:
        table = Table("", "name", "shape", "type", "scale", "zero point", box=None, pad_edge=False)
        for side, ports in (("input", signature.inputs), ("output", signature.outputs)):
            for name, tensor in ports:
                shape = ", ".join("?" if size is None else str(size) for size in tensor.shape)
                scale = f"{tensor.scales[0]:.6g}" if tensor.scales else ""
                zero = str(tensor.zero_points[0]) if tensor.zero_points else ""
                table.add_row(side, name, f"({shape})", tensor.dtype, scale, zero)
        out.print(f"\nsignature {signature.key or '(none)'}", markup=False)
        out.print(table)
    histograms = (
        ("ops", found.op_counts),
        ("tensors", found.tensor_dtypes),
        ("bytes of constants", found.constant_bytes),
    )
    for title, counts in histograms:
        out.print(f"\n{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()), markup=False)
    table = Table("largest constants", "shape", "type", "bytes", box=None, pad_edge=False)
    for tensor in found.largest_constants:
        table.add_row(tensor.name, str(tensor.shape), tensor.dtype, f"{tensor.buffer_bytes:,}")
    out.print()
    out.print(table)
