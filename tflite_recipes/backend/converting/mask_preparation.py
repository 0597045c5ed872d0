"""Bound the attention masks of a float file before it is quantized, or warn of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tflite_recipes.backend.converting import attention_masks, float_calibration
from tflite_recipes.backend.converting.attention_masks import Bounded, Mask, Unbounded
from tflite_recipes.backend.converting.attention_masks.mask_paths import MERGING
from tflite_recipes.backend.converting.attention_masks.mask_ranges import LAYERS, SOFTMAXES
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion.remedies import Remedy, added_to_fallback
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Subgraph

_NAME = Remedy.bound_masks.name
# Steps of the integers that each scheme has for an activation.
_STEPS = {"int16x8": 65_535}
# Float32 ends at 3.4e38. TensorFlow's quantizer aborts at a mask of this size.
_ENDLESS = 1e38
# Of the last few float files and data sets.
_bounded: dict[str, Bounded] = {}


@dataclass(frozen=True)
class Prepared:
    """What quantizes a float file: the request, with masks among its samples bounded, and the remedies in words."""

    request: Request
    remedies: tuple[str, ...] = ()


def prepare_masks(path: Path, signature: str, request: Request, reporter: Reporter) -> Prepared:
    """Bound the masks of a float file in place, and those among the samples, if the recipe allows it.

    Raises:
        StepError: if a mask that has no bound would end the quantizer.
    """
    samples = request.samples
    if samples is None:
        return Prepared(request)
    file = tflite.read_tflite(path)
    number = next(port.subgraph for port in file.signatures if port.key == signature)
    if not _has_sums(file.subgraphs[number]):
        return Prepared(request)
    original = data = path.read_bytes()
    if _NAME not in request.fallback:
        _warn_of_fault(attention_masks.find(data, number), request, reporter)
        return Prepared(request)
    if any(op.name == "ADD_N" for op in file.subgraphs[number].operators):
        data = attention_masks.in_pairs(data, number)
        path.write_bytes(data)

    def made() -> Bounded:
        return attention_masks.bound_masks(
            data,
            number,
            lambda: float_calibration.activations(path, signature, samples, request.batch, lambda *_: None),
        )

    key = f"{hashlib.sha256(data).hexdigest()} {request.calibration_sha256}"
    done = once(_bounded, key, made) if request.calibration_sha256 else made()
    path.write_bytes(done.data if done.bounded else original)
    _warn_of_unseen([mask for mask in done.masks if mask.is_unseen], reporter)
    _refuse_endless(done.unbounded, request.scheme)
    _warn_of_unbounded(done.unbounded, request.scheme, reporter)
    return Prepared(_limited(request, done.limits), _report(done.bounded, reporter))


def _limited(request: Request, limits: Mapping[str, tuple[float, float]]) -> Request:
    """The request with samples of masks that end at their bound, so that the integers of these inputs end there."""
    if not limits or request.samples is None:
        return request
    bounds = {name: tuple(map(np.float32, ends)) for name, ends in limits.items()}
    samples = {
        name: np.clip(array, *bounds[name]) if name in bounds else array for name, array in request.samples.items()
    }
    # Ranges that were measured on the samples as they are do not hold.
    sha256 = request.calibration_sha256 and f"{request.calibration_sha256} {sorted(limits.items())}"
    return replace(request, samples=samples, calibration_sha256=sha256)


def _has_sums(graph: Subgraph) -> bool:
    """Whether something is added to the scores of a softmax or selected among them. Others need not be unpacked."""
    makers = {index: op for op in graph.operators for index in op.outputs}
    pending = [op.inputs[0] for op in graph.operators if op.name in SOFTMAXES]
    seen: set[int] = set()
    while pending:
        maker = makers.get(index := pending.pop())
        if maker is None or index in seen or maker.name in LAYERS:
            continue
        if maker.name in MERGING:
            return True
        seen.add(index)
        pending += maker.inputs
    return False


def _report(masks: Sequence[Mask], reporter: Reporter) -> tuple[str, ...]:
    if not masks:
        return ()
    reporter.measure({"masks.bounded": len(masks)})
    listed = ", ".join(f"{mask.name} from {mask.was:.3g} to {mask.value:.3g}" for mask in masks[:3])
    more = f" and {len(masks) - 3} more" if len(masks) > 3 else ""
    reporter.warn(f"remedy taken, {_NAME}: {listed}{more} ({Remedy.bound_masks.value})")
    return (f"{_NAME}: {len(masks)} {'mask' if len(masks) == 1 else 'masks'} ({Remedy.bound_masks.value})",)


def _warn_of_fault(names: Sequence[str], request: Request, reporter: Reporter) -> None:
    if names:
        what = f"{_NAME}: attention masks set the integer scale of the scores that they mask ({_few(names)})"
        reporter.warn(f"{what}\n  by hand: {added_to_fallback(_NAME, request.fallback)}")


def _warn_of_unseen(masks: Sequence[Mask], reporter: Reporter) -> None:
    if masks:
        named = _few([mask.name for mask in masks])
        reporter.warn(
            f"the calibration samples have nothing masked in {named}: the integers have no room for the mask there. "
            "Calibrate with samples that are padded"
        )


def _refuse_endless(softmaxes: Sequence[Unbounded], scheme: str) -> None:
    """Refuse scores further apart than a float32 scale allows: the quantizer ends its process there."""
    endless = [softmax for softmax in softmaxes if softmax.span > _ENDLESS]
    if endless:
        named = _few([f"{softmax.name}: {softmax.span:.3g} apart" for softmax in endless])
        what = f"a mask that could not be bounded leaves {scheme} no scale for what enters a softmax ({named})"
        raise StepError(Problem(what, "optimization", "optimization=dynamic_range"))


def _warn_of_unbounded(softmaxes: Sequence[Unbounded], scheme: str, reporter: Reporter) -> None:
    steps = _STEPS.get(scheme, 255)
    wide = [softmax for softmax in softmaxes if softmax.span > steps]
    if wide:
        named = _few([f"{softmax.name}: {softmax.span:.3g} apart" for softmax in wide])
        reporter.warn(
            f"a mask that could not be bounded, or large scores, set the integer scale of what enters a softmax, "
            f"so that {scheme} cannot tell its values apart ({named})\n  fix: optimization=dynamic_range"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
