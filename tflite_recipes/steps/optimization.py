"""Frozen SavedModel (+ calibration) → `.tflite`, in the scheme that was asked for and no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes import datasets, io_contract
from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.events import Reporter
from tflite_recipes.remedies import Remedy
from tflite_recipes.state import State

if TYPE_CHECKING:
    from tflite_recipes.tflite_file import TFLiteFile


@unique
class Scheme(Enum):
    """Quantization schemes."""

    none = "float32 throughout"
    dynamic_range = "int8 weights, activations quantized as they come"
    float16 = "float16 weights"
    full_integer = "int8 wherever an integer kernel exists, float elsewhere"
    integer_only = "int8 throughout, or the conversion fails"
    int16x8 = "int16 activations, int8 weights"


@unique
class IOType(Enum):
    """Types that a TFLite model's inputs and outputs can be given."""

    float32 = "float32"
    int8 = "int8"
    uint8 = "uint8"
    int16 = "int16"


_IO_TYPES = {
    Scheme.none: (IOType.float32,),
    Scheme.dynamic_range: (IOType.float32,),
    Scheme.float16: (IOType.float32,),
    Scheme.full_integer: (IOType.float32, IOType.int8, IOType.uint8),
    Scheme.integer_only: (IOType.int8, IOType.uint8, IOType.float32),
    Scheme.int16x8: (IOType.float32, IOType.int16),
}
CALIBRATED = (Scheme.full_integer, Scheme.integer_only, Scheme.int16x8)


@dataclass(frozen=True)
class Optimization:
    """Converts with TensorFlow's converter. `per_channel: false` gives each weight tensor one scale."""

    scheme: Scheme
    input_type: IOType
    output_type: IOType
    per_channel: bool

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        for key in ("input_type", "output_type"):
            yield from self._type_problems(key, getattr(self, key))
        if not self.per_channel and self.scheme not in CALIBRATED:
            what = f"{self.scheme.name} has no per-tensor form in this converter"
            yield Problem(what, "optimization.per_channel", "optimization.per_channel=true")
        if self.scheme in CALIBRATED and "calibration" not in steps and not _carries_ranges(steps.get("source")):
            what = f"{self.scheme.name} needs representative data to set its ranges, and there is none"
            fixes = ("calibration=npz calibration.path=FILE", ("calibration=random",))
            if type(steps.get("source")).__name__ == "DigitsSource":
                fixes = ("calibration=digits", ("calibration=npz calibration.path=FILE",))
            yield Problem(what, "calibration", fixes[0], fixes[1])

    def _type_problems(self, key: str, asked: IOType) -> Iterable[Problem]:
        allowed = _IO_TYPES[self.scheme]
        if asked in allowed:
            return
        what = f"{self.scheme.name} cannot give {asked.name}; it gives {', '.join(t.name for t in allowed)}"
        others = [scheme.name for scheme, types in _IO_TYPES.items() if asked in types]
        ors = tuple(f"optimization={other} optimization.{key}={asked.name}" for other in others[:1])
        yield Problem(what, f"optimization.{key}", f"optimization.{key}={allowed[0].name}", ors)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes import scheme_check, tflite_file

        if "full_integer" in state.intent.taken and self.scheme is not Scheme.full_integer:
            changed = replace(self, scheme=Scheme.full_integer)(state, reporter)
            said = f"full_integer: {Remedy.full_integer.value}"
            return replace(changed, remedies=(*changed.remedies, said))
        samples = datasets.open_arrays(state.calibration) if state.calibration else None
        path = self._convert(state, samples if self.scheme in CALIBRATED else None, reporter)
        done = replace(
            state, tflite=path, scheme=self.scheme.name, remedies=(*state.remedies, *_taken(state, reporter))
        )
        file = tflite_file.read_tflite(path)
        scheme_check.check(file, self.scheme.name, self.input_type.name, self.output_type.name, done)
        self._report(done, reporter, file)
        contract = io_contract.io_contract(file, done)
        _keep(done, "ops.json", tflite_file.to_json(file), reporter)
        _keep(done, "io_contract.json", contract, reporter)
        io_contract.check_declared(contract, state.intent.contract)
        return replace(done, runnable=_verify(done, file, samples, reporter))

    def _convert(self, state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> Path:
        from tflite_recipes import tflite_file
        from tflite_recipes.backend import converter

        request = converter.Request(
            scheme=self.scheme.name,
            input_type=self.input_type.name,
            output_type=self.output_type.name,
            per_channel=self.per_channel,
            samples=samples,
            inputs=state.inputs,
            batch=_batch(state, samples),
            select_tf_ops=state.intent.allows("select_tf_ops"),
            allow_custom_ops=state.intent.allows("allow_custom_ops"),
            layers=state.layers,
        )
        assert state.saved_model is not None
        data = converter.convert(state.saved_model, state.signature, request, reporter)
        names = ([spec.name for spec in side] for side in (state.inputs, state.outputs))
        path = state.workdir / "model.tflite"
        path.write_bytes(tflite_file.in_order(data, state.signature, *names))
        return path

    def _report(self, state: State, reporter: Reporter, file: TFLiteFile) -> None:
        from tflite_recipes import scheme_check, tflite_file

        assert state.tflite is not None
        reporter.measure(scheme_check.size_metrics(state.tflite, state.parameters))
        reporter.measure(tflite_file.op_metrics(file))
        reporter.measure({"sparsity.overall": tflite_file.sparsity(file)})
        if missing := scheme_check.left_float(file, self.scheme.name):
            reporter.warn(missing)
        floats = tflite_file.float_operators(file)
        if self.scheme in CALIBRATED and floats:
            named = ", ".join(f"{op} ({tensor})" for op, tensor in floats[:5])
            more = f" and {len(floats) - 5} more" if len(floats) > 5 else ""
            reporter.warn(f"{len(floats)} ops stayed float though integer was asked: {named}{more}")


def _keep(state: State, name: str, data: Mapping[str, Any], reporter: Reporter) -> None:
    path = state.workdir / name
    path.write_text(json.dumps(data, indent=2))
    reporter.keep(str(path))


def _taken(state: State, reporter: Reporter) -> tuple[str, ...]:
    """The remedies that are the converter's own, in words."""
    names = [name for name in ("select_tf_ops", "allow_custom_ops") if name in state.intent.taken]
    if state.intent.taken:
        reporter.tag({"tflite_recipes.remedies": ", ".join(state.intent.taken)})
    return tuple(f"{name}: {Remedy[name].value}" for name in names)


def _verify(state: State, file: TFLiteFile, samples: Mapping[str, Any] | None, reporter: Reporter) -> bool:
    """Run the file once with XNNPACK and once without. Errors: StepError where it cannot run; False where no runtime
    here could tell, because the application brings what it needs."""
    from tflite_recipes import tflite_file
    from tflite_recipes.backend import verification

    metrics = tflite_file.op_metrics(file)
    foreign = [op for op in tflite_file.op_counts(file) if op in tflite_file.foreign_ops(file)]
    if metrics["ops.flex"] or metrics["ops.custom"]:
        kind = "needs the Flex delegate, with which no current Python runtime comes"
        kind = kind if metrics["ops.flex"] else "needs custom ops that the application registers"
        reporter.warn(f"the file {kind} ({', '.join(foreign)}): it was not run, and nothing about it is verified here")
        reporter.tag({"tflite_recipes.verified": "false"})
        return False
    verification.verify(state, samples, reporter)
    reporter.tag({"tflite_recipes.verified": "true"})
    return True


def _carries_ranges(source: Any) -> bool:
    """Whether the model was trained with fake quantization, whose ranges stand for calibration."""
    asked = getattr(source, "carries_ranges", None)
    return bool(asked()) if asked is not None else False


def _batch(state: State, samples: Mapping[str, Any] | None) -> int:
    """Rows that the model takes at a time: its fixed batch, or 1. Errors: RequestError for fewer samples than that."""
    fixed = max((spec.shape[0] or 1 for spec in state.inputs if spec.shape), default=1)
    if samples is not None and (total := len(next(iter(samples.values())))) < fixed:
        what = f"the batch is fixed at {fixed}, and there are only {total} samples"
        raise RequestError(Problem(what, "calibration.samples", f"calibration.samples={fixed}"))
    return fixed
