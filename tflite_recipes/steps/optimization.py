"""Frozen SavedModel (+ calibration) → `.tflite`, in the scheme that was asked for and no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes import datasets, io_contract
from tflite_recipes.errors import Problem, RequestError, StepError
from tflite_recipes.events import Reporter
from tflite_recipes.remedies import BEYOND_THE_GRAPH, Remedy
from tflite_recipes.state import CALIBRATED as CALIBRATED_NAMES
from tflite_recipes.state import Intent, State

if TYPE_CHECKING:
    from tflite_recipes.backend.converter import Request
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


@unique
class Quantizer(Enum):
    """What quantizes."""

    tflite_converter = "TensorFlow's converter, while it converts"
    ai_edge_quantizer = "ai_edge_quantizer, from the converted float file; takes more ops in 16x8"


# Both quantizers give these.
_IO_TYPES = {
    Scheme.none: (IOType.float32,),
    Scheme.dynamic_range: (IOType.float32,),
    Scheme.float16: (IOType.float32,),
    Scheme.full_integer: (IOType.float32, IOType.int8, IOType.uint8),
    Scheme.integer_only: (IOType.int8, IOType.uint8, IOType.float32),
    Scheme.int16x8: (IOType.float32, IOType.int16),
}
CALIBRATED = tuple(Scheme[name] for name in CALIBRATED_NAMES)


@dataclass(frozen=True)
class Optimization:
    """Converts with TensorFlow's converter, and quantizes with it or with ai_edge_quantizer. `per_channel: false`
    gives each weight tensor one scale."""

    scheme: Scheme
    input_type: IOType
    output_type: IOType
    per_channel: bool
    quantizer: Quantizer = Quantizer.tflite_converter

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        for key in ("input_type", "output_type"):
            yield from self._type_problems(key, getattr(self, key))
        # ai_edge_quantizer would write per-tensor dynamic range, which LiteRT's depthwise kernel computes wrongly.
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
            return self._as_full_integer()(state, reporter)
        if "ai_edge_quantizer" in state.intent.taken and self.quantizer is not Quantizer.ai_edge_quantizer:
            return replace(self, quantizer=Quantizer.ai_edge_quantizer)(state, reporter)
        samples = datasets.open_arrays(state.calibration) if state.calibration else None
        path = self._write(state, samples if self.scheme in CALIBRATED else None, reporter)
        done = replace(_with_remedies(state, reporter), tflite=path, scheme=self.scheme.name)
        file = tflite_file.read_tflite(path)
        scheme_check.check(file, self.scheme.name, self.input_type.name, self.output_type.name, done)
        self._report(done, reporter, file)
        contract = io_contract.io_contract(file, done)
        _keep(done, "ops.json", tflite_file.to_json(file), reporter)
        _keep(done, "io_contract.json", contract, reporter)
        io_contract.check_declared(contract, state.intent.contract)
        done = replace(done, runnable=_verify(done, file, samples, reporter))
        self._report_errors(done, samples, reporter)
        return done

    def _as_full_integer(self) -> Optimization:
        """The same in this scheme; types of inputs and outputs that it has not become float32."""
        kinds = (self.input_type, self.output_type)
        input_type, output_type = (k if k in _IO_TYPES[Scheme.full_integer] else IOType.float32 for k in kinds)
        return replace(self, scheme=Scheme.full_integer, input_type=input_type, output_type=output_type)

    def _request(self, state: State, samples: Mapping[str, Any] | None) -> Request:
        from tflite_recipes.backend import converter

        return converter.Request(
            scheme=self.scheme.name,
            input_type=self.input_type.name,
            output_type=self.output_type.name,
            per_channel=self.per_channel,
            samples=samples,
            inputs=state.inputs,
            batch=_batch(state, samples),
            select_tf_ops=state.intent.allows("select_tf_ops"),
            allow_custom_ops=state.intent.allows("allow_custom_ops"),
            select_user_tf_ops=state.intent.select_user_tf_ops,
            unfold_batchmatmul=state.intent.unfold_batchmatmul,
            exclude_conversion_metadata=state.intent.exclude_conversion_metadata,
            layers=state.layers,
            sizes=state.intent.sizes,
        )

    def _write(self, state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> Path:
        from tflite_recipes import tflite_file

        data = self._convert(state, self._request(state, samples), reporter)
        names = ([spec.name for spec in side] for side in (state.inputs, state.outputs))
        path = state.workdir / "model.tflite"
        path.write_bytes(tflite_file.in_order(data, state.signature, *names))
        return path

    def _convert(self, state: State, request: Request, reporter: Reporter) -> bytes:
        from tflite_recipes.backend import converter

        if self.scheme is not Scheme.none and self.quantizer is Quantizer.ai_edge_quantizer:
            return self._quantize(state, request, reporter)
        if state.float_file is not None:
            return state.float_file.read_bytes()
        assert state.saved_model is not None
        return converter.convert(state.saved_model, state.signature, request, reporter)

    def _quantize(self, state: State, request: Request, reporter: Reporter) -> bytes:
        from tflite_recipes.backend import converter, quantizer

        path, fix = state.float_file, "optimization=dynamic_range" if self.scheme in CALIBRATED else "optimization=none"
        if path is None:
            assert state.saved_model is not None
            path, fix = state.workdir / "float.tflite", "optimization.quantizer=tflite_converter"
            plain = replace(request, scheme="none", input_type="float32", output_type="float32", per_channel=True)
            path.write_bytes(converter.convert(state.saved_model, state.signature, plain, reporter))
        return quantizer.quantize(path, state.signature, request, reporter, fix)

    def _report_errors(self, state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
        """Where the quantized file loses accuracy, against a float file of the same graph."""
        from tflite_recipes.backend import converter, error_analysis

        if self.scheme is Scheme.none or not state.runnable:
            return
        made = state.workdir / "float.tflite"
        if state.float_file is None and not made.exists():
            request = replace(self, scheme=Scheme.none)._request(state, None)
            plain = replace(request, input_type="float32", output_type="float32", per_channel=True)
            assert state.saved_model is not None
            try:
                made.write_bytes(converter.convert(state.saved_model, state.signature, plain, reporter))
            except StepError as error:
                reporter.warn(f"the error of each tensor was not measured: {error.problems[0].what}")
                return
        error_analysis.report_errors(state, state.float_file or made, samples, reporter)

    def _report(self, state: State, reporter: Reporter, file: TFLiteFile) -> None:
        from tflite_recipes import scheme_check, tflite_file

        assert state.tflite is not None
        reporter.measure(scheme_check.size_metrics(state.tflite, state.parameters))
        reporter.measure(tflite_file.op_metrics(file))
        reporter.measure({"sparsity.overall": tflite_file.sparsity(file)})
        for said in _without_effect(state.intent, file):
            reporter.warn(said)
        if missing := self._left_float(file):
            reporter.warn(missing)
        floats = tflite_file.float_operators(file)
        if self.scheme in CALIBRATED and floats:
            named = ", ".join(f"{op} ({tensor})" for op, tensor in floats[:5])
            more = f" and {len(floats) - 5} more" if len(floats) > 5 else ""
            reporter.warn(f"{len(floats)} ops stayed float though integer was asked: {named}{more}")

    def _left_float(self, file: TFLiteFile) -> str:
        """What to say of weights that stayed float though they were to be smaller, else ""."""
        from tflite_recipes import scheme_check, tflite_file

        if self.quantizer is Quantizer.tflite_converter or self.scheme not in (Scheme.dynamic_range, Scheme.float16):
            return scheme_check.left_float(file, self.scheme.name)
        kept = [tensor.name for tensor in tflite_file.weight_tensors(file) if tensor.dtype == "float32"]
        more = f" and {len(kept) - 5} more" if len(kept) > 5 else ""
        return f"ai_edge_quantizer left weights float32: {', '.join(kept[:5])}{more}" if kept else ""


def _without_effect(intent: Intent, file: TFLiteFile) -> Iterable[str]:
    """What was asked of the converter and does not show in the file; it says nothing of that itself."""
    from tflite_recipes import tflite_file

    ops = tflite_file.op_counts(file)
    if unused := [name for name in intent.select_user_tf_ops if f"Flex{name}" not in ops]:
        yield f"conversion.select_user_tf_ops: no {', '.join(unused)} in the file"
    if intent.unfold_batchmatmul and (left := ops.get("BATCH_MATMUL")):
        yield f"conversion.unfold_batchmatmul: {left} BATCH_MATMUL stayed; it unfolds those of fixed shapes only"


def _keep(state: State, name: str, data: Mapping[str, Any], reporter: Reporter) -> None:
    path = state.workdir / name
    path.write_text(json.dumps(data, indent=2))
    reporter.keep(str(path))


def _with_remedies(state: State, reporter: Reporter) -> State:
    """The state with the remedies that are the converter's own, which no step before had to know of."""
    names = [name for name in BEYOND_THE_GRAPH if name in state.intent.taken]
    if names:
        reporter.tag({"tflite_recipes.remedies": ", ".join([*state.taken, *names])})
    said = (f"{name}: {Remedy[name].value}" for name in names)
    return replace(state, taken=(*state.taken, *names), remedies=(*state.remedies, *said))


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
