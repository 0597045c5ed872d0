"""What every target states of its hardware, and how a limit becomes a gate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.conversion.schemes import IO_TYPES, IOType
from tflite_recipes.core.analysis import Analysis
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import ExistingPath, within
from tflite_recipes.core.state import Gate, State


@unique
class OpSet(Enum):
    """Kinds of ops that a target's runtime may take."""

    builtin = "LiteRT's own"
    select_tf = "TensorFlow's, through the Flex delegate"
    custom = "those that the application registers"


Limit = Annotated[float | None, within(gt=0)]
_SIDES = ("input_type", "output_type")
_IO_TYPES = (IOType.float32, IOType.int8, IOType.uint8, IOType.int16)


@dataclass(frozen=True)
class Hardware(Analysis):
    """What a target has, and what may be used of it.

    `flash_kb` and `ram_kb` are in KiB (1024 bytes), `max_latency_ms` in milliseconds for one inference; each is a gate,
    null is no limit. `clock_mhz` is the processor's. `op_sets` are the kinds of ops, `io_types` the types of inputs and
    outputs that its runtime takes. `deploy` writes what its developer needs; `metadata` writes name, labels (a text
    file, one label a line) and preprocessing into the file.
    """

    flash_kb: Limit = None
    dynamic_batch: bool = True
    # By name, because a default stays what it was when there are more of them.
    op_sets: list[OpSet] = field(default_factory=lambda: [OpSet.builtin, OpSet.select_tf, OpSet.custom])
    io_types: list[IOType] = field(default_factory=lambda: [*_IO_TYPES])
    ram_kb: Limit = None
    max_latency_ms: Limit = None
    clock_mhz: Limit = None
    deploy: bool = True
    metadata: bool = True
    labels: ExistingPath | None = None

    @property
    def measures_latency(self) -> bool:
        """Whether a run has the metric `latency.p50_ms`."""
        return False

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """Inputs and outputs of another type than the runtime takes."""
        optimization = steps.get("optimization")
        for side in _SIDES:
            asked = getattr(optimization, side, None)
            if asked is not None and asked not in self.io_types:
                taken = ", ".join(kind.name for kind in self.io_types)
                what = f"the target takes inputs and outputs of {taken}, and {asked.name} is asked for"
                other = assignment("target.io_types", [*(kind.name for kind in self.io_types), asked.name])
                yield Problem(what, f"optimization.{side}", *self._typed(steps, side, other))

    def label_problems(self, steps: Mapping[str, Any]) -> Iterator[Problem]:
        """What is wrong with the labels themselves, and beside the outputs of a source that tells them."""
        from tflite_recipes.steps.source import Source
        from tflite_recipes.targets.deploy import label_list

        if self.labels is None or not Path(self.labels).exists():
            return  # the schema says so
        source = steps.get("source")
        try:
            labels = label_list.read_labels(Path(self.labels))
        except RequestError as error:
            yield from error.problems
            return
        try:
            outputs = source.outputs() if isinstance(source, Source) else None
        except RequestError:
            return  # said by the source
        shapes = {spec.name: spec.shape for spec in outputs or ()}
        if shapes and all(shape and shape[-1] is not None for shape in shapes.values()):
            try:
                label_list.labelled_outputs(shapes, labels)
            except RequestError as error:
                yield from error.problems

    def unread_labels(self) -> Iterator[Problem]:
        """Labels for firmware stand nowhere but in the metadata."""
        if self.labels is not None and not self.metadata:
            what = "has no effect: for this target labels stand in the file's metadata only, and none is written"
            yield Problem(what, "target.labels", "target.metadata=true", (assignment("target.labels", None),))

    def described(self, state: State, reporter: Reporter) -> State:
        """The state with a file that says what it is, if asked. Errors as `file_delivery.with_metadata`."""
        from tflite_recipes.steps import file_delivery

        labels = None if self.labels is None else Path(self.labels)
        return file_delivery.with_metadata(state, reporter, "", "", labels) if self.metadata else state

    def _typed(self, steps: Mapping[str, Any], side: str, other: str) -> tuple[str, tuple[str, ...]]:
        """The override that gives a type which both take, and the other way."""
        scheme = steps["optimization"].scheme
        both = [kind for kind in IO_TYPES.get(scheme, ()) if kind in self.io_types]
        if both:
            return assignment(f"optimization.{side}", both[0].name), (other,)
        return integer_only(steps), (other,)


def integer_only(steps: Mapping[str, Any]) -> str:
    """The overrides for int8 throughout, with samples where the recipe has none."""
    if steps.get("calibration"):
        return "optimization=integer_only"
    if type(steps.get("source")).__name__ == "DigitsSource":
        return "optimization=integer_only calibration=digits"
    return "optimization=integer_only calibration=npz calibration.path=FILE"


def limit(
    name: str, measured: float, bound: float | None, unit: str = "", *, fix: str = "", estimated: bool = False
) -> Iterator[Gate]:
    """The gate of a limit that is set: `measured` may be as large as `bound`."""
    if bound is not None:
        passed = measured <= bound
        yield Gate(f"target.{name}", measured, bound, passed, unit, estimated, "" if passed else fix)


def least(name: str, measured: float, bound: float, unit: str = "", *, fix: str = "") -> Gate:
    """The gate of what has to be there: `measured` may be as small as `bound`."""
    passed = measured >= bound
    return Gate(f"target.{name}", measured, bound, passed, unit, False, "" if passed else fix, at_least=True)


def smaller_scheme(state: State, limit_kb: float | None, beside: int = 0, schemes: Sequence[str] | None = None) -> str:
    """The overrides of the least change of scheme with which the file would fit, by estimate; "" where none would.

    beside: bytes that come on top of the file. schemes: those that the target takes, all where it is None.
    """
    from tflite_recipes.conversion import estimates
    from tflite_recipes.files import tflite as tflite_file

    assert state.tflite is not None
    bound = 0 if limit_kb is None else limit_kb * 1024 - beside
    if limit_kb is None or state.tflite.stat().st_size <= bound:
        return ""
    file = tflite_file.read_tflite(state.tflite)
    taken = estimates.SCHEMES if schemes is None else schemes
    found = estimates.smaller_file(file, state.scheme, bound, state.calibration is not None, taken)
    return found.overrides if found else ""


def tell_pruning(state: State, reporter: Reporter) -> None:
    """A warning where weights were pruned for a target that stores and computes zeros like all else."""
    from tflite_recipes.files import tflite as tflite_file
    from tflite_recipes.files.tflite import size_metrics as sizes

    assert state.tflite is not None
    if not state.intent.pruned:
        return
    share = tflite_file.sparsity(tflite_file.read_tflite(state.tflite))
    weighs = sizes.size_metrics(state.tflite, state.parameters)
    reporter.warn(
        f"pruning made {share:.0%} of the weights zero, which gives this target nothing: it stores and computes zeros "
        f"like all else; what gains is the gzipped file, {weighs['size.gzip_bytes']:,.0f} B of "
        f"{weighs['size.tflite_bytes']:,.0f} B"
    )
