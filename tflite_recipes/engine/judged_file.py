"""Whether the file that a run delivers is the one that its steps judged: a later step may have changed it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tflite_recipes.config.recipe import StepSpec
from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.files.models import sha256_of

# The steps of ours that look at the finished file.
_LOOKING = ("target", "evaluation")
# So much of a digest tells files apart in a message.
_SHOWN = 12


@dataclass(frozen=True)
class _Look:
    """A step that looked at the file: the file's SHA-256 and the gates that the step answered."""

    step: str
    sha256: str
    gates: tuple[str, ...]


@dataclass
class JudgedFile:
    """Watch the file from step to step.

    tell: where events of the run go; pass those of each step through `told`.
    listed: the names of the recipe's steps, in their order.
    """

    tell: Callable[[events.Event], None]
    listed: Sequence[str]
    _looks: list[_Look] = field(default_factory=list)
    _changes: list[str] = field(default_factory=list)
    _gates: list[str] = field(default_factory=list)
    _sha256: str = ""

    def told(self, event: events.Event) -> None:
        """Pass an event on, and remember the gates among them."""
        if isinstance(event, events.Judged):
            self._gates.append(event.gate.name)
        self.tell(event)

    def after(self, spec: StepSpec, tflite: Path | None) -> None:
        """Take note of the file after a step. Errors: StepError if the step left none where one was."""
        gates, self._gates = tuple(self._gates), []
        if tflite is None or not tflite.is_file():
            if self._sha256:
                what = "the step left no .tflite: the state's file is missing"
                raise StepError(Problem(what, spec.name))
            return
        before, self._sha256 = self._sha256, sha256_of(tflite)
        is_own = spec.instance is None
        if before and before != self._sha256:
            if is_own:
                self._changes.append(spec.name)
            else:  # metadata, which change nothing of what was judged
                kept = ((replace(look, sha256=self._sha256) if look.sha256 == before else look) for look in self._looks)
                self._looks = list(kept)
        if gates or (not is_own and spec.name in _LOOKING):
            self._looks.append(_Look(spec.name, self._sha256, gates))

    def conclude(self) -> None:
        """Report what was found of another file than the last: as a failure if gates judged it, else as a warning."""
        stale = [look for look in self._looks if look.sha256 != self._sha256]
        if not stale:
            return
        behind = self.listed[self.listed.index(stale[0].step) + 1 :]
        late = [name for name in self._changes if name in behind]
        before, now = (digest[:_SHOWN] for digest in (stale[-1].sha256, self._sha256))
        steps = " and ".join(look.step for look in stale)
        what = f"{' and '.join(late)} changed the file after {steps}: SHA-256 {before}… became {now}…"
        fix, ways = self._order(late, stale[0].step)
        if gates := [name for look in stale for name in look.gates]:
            what = f"{what}, and {', '.join(gates)} judged the file before"
            self.tell(events.AnalysisFailed(Problem(what, "steps", fix, ways), True))
        else:
            self.tell(events.Warned(f"{what}; metrics of {steps} are those of the file before\n  fix: {fix}"))

    def _order(self, late: Sequence[str], first: str) -> tuple[str, tuple[str, ...]]:
        """Return the order of steps in which each sees the file that is delivered, or else another way.

        Steps that come too late go before the first that looked at the file. Of those, one that looks at its own change
        goes last.
        """
        looking = [look.step for look in self._looks]
        both = [name for name in self._changes if name in looking]
        if len(both) > 1:
            way = f"let the gates of {' and '.join(both)} stand in one step, behind those that change the file"
            return "", (way,)
        moved = sorted(late, key=both.__contains__)
        others = [name for name in self.listed if name not in late]
        place = others.index(first)
        return assignment("steps", [*others[:place], *moved, *others[place:]]), ()
