"""Frozen SavedModel (+ calibration) → `.tflite`, in the scheme that was asked for and no other."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.conversion import rules as quantization_rules
from tflite_recipes.conversion.ranges import RangeChoice, Ranges
from tflite_recipes.conversion.remedies import BEYOND_THE_GRAPH, Remedy, override_of
from tflite_recipes.conversion.rules import Resolved
from tflite_recipes.conversion.schemes import (
    BEFORE_EQUALIZING,
    CALIBRATED,
    IO_TYPES,
    IOType,
    Quantizer,
    RuleScheme,
    Scheme,
    needs_samples,
)
from tflite_recipes.core.analysis import kept
from tflite_recipes.core.errors import Problem, RequestError, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.shapes import fixed_batch
from tflite_recipes.core.state import Intent, State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import io_contract
from tflite_recipes.steps import lstm_state, optimization_checks
from tflite_recipes.steps.optimization_settings import OptimizationSettings

if TYPE_CHECKING:
    from tflite_recipes.backend.converting.conversion_request import Request
    from tflite_recipes.backend.converting.converter import Converted
    from tflite_recipes.files.tflite import TFLiteFile


@dataclass(frozen=True)
class Optimization(OptimizationSettings):
    """Converts with TensorFlow's converter, and quantizes with it or with litert_quantizer."""

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        return optimization_checks.problems(self, steps)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.conversion import scheme_check
        from tflite_recipes.files import tflite as tflite_file

        if "full_integer" in state.intent.taken and self.scheme not in (Scheme.full_integer, Scheme.int16x8_fallback):
            return self._as_full_integer()(state, reporter)
        if "litert_quantizer" in state.intent.taken and self.quantizer is not Quantizer.litert_quantizer:
            return replace(self, quantizer=Quantizer.litert_quantizer)(state, reporter)
        for said in self._unused(state.intent):
            reporter.warn(said)
        samples = npz.open_arrays(state.calibration) if state.calibration else None
        path, remedies = self._written(state, samples if self._needs_samples() else None, reporter)
        done = replace(_with_remedies(state, remedies, reporter), tflite=path, scheme=self.scheme.name)
        file = tflite_file.read_tflite(path)
        self._check_changed(file, reporter)
        try:
            scheme_check.check(file, self.scheme.name, self.input_type.name, self.output_type.name, done)
        except StepError as error:
            self._check_float(done, error, samples, reporter)
            raise
        done = lstm_state.with_state(done, file, reporter)
        with kept(reporter, "the count of ops", "optimization", state=done):
            self._report(done, reporter, file)
        with kept(reporter, "ops.json", "optimization", judges=False):
            _keep(done, "ops.json", tflite_file.to_json(file), reporter)
        with kept(reporter, "io_contract.json", "optimization", judges=False):
            _keep(done, "io_contract.json", io_contract.io_contract(file, done), reporter)
        if state.intent.contract:
            io_contract.check_declared(io_contract.io_contract(file, done), state.intent.contract)
        done = replace(done, runnable=_verify(done, file, samples, reporter))
        with kept(reporter, "the error analysis", "optimization", state=done):
            self._report_errors(done, samples, reporter)
        return replace(done, converted=_converted(done))

    def _written(
        self, state: State, samples: Mapping[str, Any] | None, reporter: Reporter
    ) -> tuple[Path, tuple[str, ...]]:
        """Return the file, and the remedies that were taken on it. From here on memory holds no copy of its bytes."""
        made = self._convert(state, self._request(state, samples), reporter)
        return _write(state, self._with_constants(made.data, reporter)), made.remedies

    def _with_constants(self, data: bytes, reporter: Reporter) -> bytes:
        """The file with its constants inside, if asked; else a warning where they are behind its flatbuffer."""
        from tflite_recipes.backend.converting import model_objects

        if self.inline_constants:
            return model_objects.with_constants_inside(data)
        if model_objects.has_constants_behind(data):
            what = "the file keeps constants behind its flatbuffer, which TensorFlow Lite Micro does not read"
            reporter.warn(f"optimization.inline_constants=false: {what}")
        return data

    def _check_changed(self, file: TFLiteFile, reporter: Reporter) -> None:
        """Warn if the scheme had no tensor to change. Errors: StepError if it had some, and changed none."""
        from tflite_recipes.conversion import scheme_check

        by_converter = self.quantizer is Quantizer.tflite_converter
        try:
            idle = scheme_check.check_changed(file, self.scheme.name, by_converter, optimization_checks.float_fix(self))
        except StepError as error:
            if self.require_change:
                raise
            idle = f"optimization.require_change=false: {error.problems[0].what}"
        if idle and not self._left_float(file):  # which is reported with its reason
            reporter.warn(idle)

    def _needs_samples(self) -> bool:
        return needs_samples(self.scheme, [rule.scheme for rule in quantization_rules.read(self.rules)])

    def _unused(self, intent: Intent) -> Iterable[str]:
        """What was asked of ranges, or of a quantizer, where there is nothing that would take it."""
        method = intent.ranges.get("method", "min_max")
        if method != "min_max" and not self._needs_samples():
            yield f"calibration.method={method} has no effect: {self.scheme.name} has no ranges from samples"
        if self.scheme is Scheme.none and self.quantizer is not Quantizer.tflite_converter:
            yield f"optimization.quantizer={self.quantizer.name} has no effect: nothing is quantized"

    def _as_full_integer(self) -> Optimization:
        """The same in this scheme; types of inputs and outputs that it has not become float32."""
        kinds = (self.input_type, self.output_type)
        input_type, output_type = (k if k in IO_TYPES[Scheme.full_integer] else IOType.float32 for k in kinds)
        return replace(self, scheme=Scheme.full_integer, input_type=input_type, output_type=output_type)

    def _request(self, state: State, samples: Mapping[str, Any] | None) -> Request:
        from tflite_recipes.backend.converting.conversion_request import Request

        return Request(
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
            unclipped_lstm=bool(state.fused),
            per_channel_dense=self.per_channel_dense,
            block_size=self.block_size,
            equalize=self.equalize,
            fallback=state.intent.fallback,
            rules=tuple(quantization_rules.read(self.rules)),
            ranges=RangeChoice(**state.intent.ranges),
            calibration_sha256=state.calibration_sha256,
            utf8_samples=self.utf8_samples,
        )

    def _convert(self, state: State, request: Request, reporter: Reporter) -> Converted:
        from tflite_recipes.backend.converting import converter, float_calibration
        from tflite_recipes.backend.converting.converter import Converted

        if self.scheme is not Scheme.none and self.quantizer is Quantizer.litert_quantizer:
            return self._quantize(state, request, reporter)
        if state.float_file is not None:
            return Converted(state.float_file.read_bytes())
        assert state.saved_model is not None
        path = state.workdir / FLOAT
        converted = converter.convert(state.saved_model, state.signature, request, reporter, path)
        if converted.resolved is not None:
            _tell_rules(self.rules, converted.resolved, reporter)
            if request.samples is not None:
                tell_stability(
                    float_calibration.sampled(path, state.signature, request.samples, request.batch), reporter
                )
        return converted

    def _quantize(self, state: State, request: Request, reporter: Reporter) -> Converted:
        from tflite_recipes.backend.converting import converter, integer_conversion, model_objects, quantizer
        from tflite_recipes.backend.converting.converter import Converted

        path = state.workdir / FLOAT
        fix = "optimization=dynamic_range" if self._needs_samples() else "optimization=none"
        if state.float_file is not None:
            data = state.float_file.read_bytes()
            if self.require_change:
                data = model_objects.with_op_codes_of_today(data)
            elif model_objects.has_old_op_codes(data):
                what = "the file has op codes from before TensorFlow 2.4, which litert_quantizer takes for others"
                reporter.warn(f"optimization.require_change=false: {what}")
            path.write_bytes(data)
        else:
            assert state.saved_model is not None
            fix = "optimization.quantizer=tflite_converter"
            converter.float_file(state.saved_model, state.signature, request, reporter, path)
        prepared = integer_conversion.prepare(path, state.signature, request, reporter)
        request = prepared.request
        ops, resolved = integer_conversion.resolved(path, state.signature, request)
        _tell_rules(self.rules, resolved, reporter)
        made = quantizer.quantize(path, state.signature, request, ops, resolved, reporter, fix)
        if made.ranges is not None:
            tell_stability(made.ranges, reporter)
        return Converted(made.data, remedies=prepared.remedies)

    def _check_float(
        self, state: State, error: StepError, samples: Mapping[str, Any] | None, reporter: Reporter
    ) -> None:
        """Refuse a wrong float file before another scheme is the fix, which would be wrong too. Errors: WrongFile."""
        from tflite_recipes.backend.converting import converter
        from tflite_recipes.backend.running import output_comparison

        other = any(problem.fix == override_of("full_integer") for problem in error.problems)
        named = {name for problem in error.problems for name in problem.remedies}
        untried = named & set(state.offered) - set(state.intent.taken)
        if not other or untried or samples is None or state.saved_model is None:
            return
        path = state.workdir / FLOAT
        converter.float_file(state.saved_model, state.signature, self._request(state, None), reporter, path)
        output_comparison.check_float_file(replace(state, converted=path), samples, reporter)

    def _report_errors(self, state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
        """Where the quantized file loses accuracy, against the float file that it was made from, or would be."""
        from tflite_recipes.backend.converting import converter
        from tflite_recipes.backend.running import error_analysis

        if self.scheme is Scheme.none or not state.runnable:
            return
        path = state.float_file if state.float_file and not self.equalize else state.workdir / FLOAT
        if not path.exists():
            assert state.saved_model is not None
            try:
                converter.float_file(state.saved_model, state.signature, self._request(state, None), reporter, path)
            except StepError as error:
                reporter.warn(f"the error of each tensor was not measured: {error.problems[0].what}")
                return
        error_analysis.report_errors(state, path, samples, reporter)

    def _report(self, state: State, reporter: Reporter, file: TFLiteFile) -> None:
        from tflite_recipes.files import tflite as tflite_file

        reporter.measure(tflite_file.op_metrics(file))
        reporter.measure({"sparsity.overall": tflite_file.sparsity(file)})
        for said in _without_effect(state.intent, file):
            reporter.warn(said)
        if missing := self._left_float(file):
            reporter.warn(missing)
        if self.scheme in CALIBRATED and (said := self._stayed_float(file, state)):
            reporter.warn(said)

    def _stayed_float(self, file: TFLiteFile, state: State) -> str:
        """What to say of ops that are float though integer was asked, and no rule asked for float; "" for none."""
        from tflite_recipes.conversion.op_places import places
        from tflite_recipes.files import tflite as tflite_file

        rules = quantization_rules.read(self.rules)
        ops = [place for graph in file.subgraphs for place in places(file, graph, state.signature, state.layers)]
        asked = {name for place in ops if any(rule.matches(place) for rule in rules) for name in place.outputs}
        floats = [(op, tensor) for op, tensor in tflite_file.float_operators(file) if tensor not in asked]
        if not floats:
            return ""
        named = ", ".join(f"{op} ({tensor})" for op, tensor in floats[:5])
        more = f" and {len(floats) - 5} more" if len(floats) > 5 else ""
        return f"{len(floats)} ops stayed float though integer was asked: {named}{more}"

    def _left_float(self, file: TFLiteFile) -> str:
        """What to say of weights that stayed float though they were to be smaller, else ""."""
        from tflite_recipes.conversion import scheme_check
        from tflite_recipes.files import tflite as tflite_file

        if self.scheme is Scheme.none or self.scheme in CALIBRATED:
            return ""
        if self.quantizer is Quantizer.tflite_converter:
            return scheme_check.left_float(file, self.scheme.name)
        kept = [tensor.name for tensor in tflite_file.weight_tensors(file) if tensor.dtype == "float32"]
        more = f" and {len(kept) - 5} more" if len(kept) > 5 else ""
        return f"litert_quantizer left weights float32: {', '.join(kept[:5])}{more}" if kept else ""


def _without_effect(intent: Intent, file: TFLiteFile) -> Iterable[str]:
    """What was asked of the converter and does not show in the file; it says nothing of that itself."""
    from tflite_recipes.files import tflite as tflite_file

    ops = tflite_file.op_counts(file)
    if unused := [name for name in intent.select_user_tf_ops if f"Flex{name}" not in ops]:
        yield f"conversion.select_user_tf_ops: no {', '.join(unused)} in the file"
    if intent.unfold_batchmatmul and (left := ops.get("BATCH_MATMUL")):
        yield f"conversion.unfold_batchmatmul: {left} BATCH_MATMUL stayed; it unfolds those of fixed shapes only"


def _write(state: State, data: bytes) -> Path:
    """Write the file, inputs and outputs in the source's order."""
    from tflite_recipes.files import tflite as tflite_file

    names = ([spec.name for spec in side] for side in (state.inputs, state.outputs))
    path = state.workdir / "model.tflite"
    path.write_bytes(data)
    tflite_file.in_order(path, state.signature, *names)
    return path


def _keep(state: State, name: str, data: Mapping[str, Any], reporter: Reporter) -> None:
    path = state.workdir / name
    path.write_text(json.dumps(data, indent=2))
    reporter.keep(str(path))


def _with_remedies(state: State, on_file: tuple[str, ...], reporter: Reporter) -> State:
    """The state with the remedies that no step before had to know of: the converter's own, and `on_file`, those on the
    float file in words."""
    beyond = [name for name in BEYOND_THE_GRAPH if name in state.intent.taken]
    taken = (*state.taken, *beyond, *(words.partition(":")[0] for words in on_file))
    if len(taken) > len(state.taken):
        reporter.tag({"tflite_recipes.remedies": ", ".join(taken)})
    said = (f"{name}: {Remedy[name].value}" for name in beyond)
    return replace(state, taken=taken, remedies=(*state.remedies, *said, *on_file))


def _verify(state: State, file: TFLiteFile, samples: Mapping[str, Any] | None, reporter: Reporter) -> bool:
    """Run the file once with XNNPACK and once without, and twice without a reset in between.

    Errors: StepError where it cannot run; False where no runtime here could tell, because the application brings what
    it needs.
    """
    from tflite_recipes.backend.running import file_verification, repeated_invokes
    from tflite_recipes.files import tflite as tflite_file

    metrics = tflite_file.op_metrics(file)
    foreign = [op for op in tflite_file.op_counts(file) if op in tflite_file.foreign_ops(file)]
    if metrics["ops.flex"] or metrics["ops.custom"]:
        kind = "needs the Flex delegate, with which no current Python runtime comes"
        kind = kind if metrics["ops.flex"] else "needs custom ops that the application registers"
        reporter.warn(f"the file {kind} ({', '.join(foreign)}): it was not run, and nothing about it is verified here")
        reporter.tag({"tflite_recipes.verified": "false"})
        return False
    file_verification.verify(state, samples, reporter)
    repeated_invokes.check(state, samples, reporter)
    reporter.tag({"tflite_recipes.verified": "true"})
    return True


# The float file that was quantized, in the run's scratch folder.
FLOAT = "float.tflite"


def _converted(state: State) -> Path | None:
    """Return the float file that the converter made on the way to a quantized one."""
    if state.float_file is not None or state.scheme == Scheme.none.name:
        return None
    path = state.workdir / FLOAT
    paths = (path.with_suffix(BEFORE_EQUALIZING), path)
    return next((found for found in paths if found.exists()), None)


# Below this share of agreement the ranges are more the samples' than the model's.
_STABLE = 0.7
# Characters of the ops that a rule matches, on its line.
_SHOWN = 80


def _tell_rules(rules: Sequence[Mapping[str, str]], resolved: Resolved, reporter: Reporter) -> None:
    """Print and log how many ops each rule matches. Errors: RequestError where they leave nothing to quantize."""
    total = len(resolved.schemes)
    if total and all(scheme is RuleScheme.float for scheme in resolved.schemes):
        raise RequestError(Problem("the rules leave every op float", "optimization.rules", "optimization=none"))
    for position, (rule, found) in enumerate(zip(quantization_rules.read(rules), resolved.matched, strict=True)):
        named = ", ".join(f"{place.op} {place.layer or place.outputs[0]}" for place in found)
        shown = named if len(named) <= _SHOWN else f"{named[:_SHOWN]}…"  # with a detail no progress is passed over
        reporter.progress(f"rule {position}: {rule}", len(found), total, shown)
        reporter.measure({f"rules.{position}.matched_ops": len(found)})
        reporter.note({f"rules.{position}.matched": named[:500]})


def tell_stability(measured: Ranges, reporter: Reporter) -> None:
    """The metric `calibration.stability`, and a warning where the samples are too few to set the ranges."""
    with kept(reporter, "the stability of the ranges", "calibration"):
        _tell_stability(measured, reporter)


def _tell_stability(measured: Ranges, reporter: Reporter) -> None:
    found = measured.stability()
    if not found:
        return
    typical = statistics.median(found.values())
    reporter.measure({"calibration.stability": typical})
    if typical < _STABLE:
        worst = min(found, key=lambda name: found[name])
        what = f"the ranges of two halves of the calibration samples agree on {typical:.0%} of their length only"
        reporter.warn(f"{what}, least in {worst} ({found[worst]:.0%}): more samples would set them better")


def _batch(state: State, samples: Mapping[str, Any] | None) -> int:
    """Rows that the model takes at a time: its fixed batch, or 1. Errors: RequestError for fewer samples than that."""
    fixed = fixed_batch(state.inputs)
    if samples is not None and (total := len(next(iter(samples.values())))) < fixed:
        what = f"the batch is fixed at {fixed}, and there are only {total} samples"
        raise RequestError(Problem(what, "calibration.samples", f"calibration.samples={fixed}"))
    return fixed
