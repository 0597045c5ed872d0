"""Bound the attention masks of a float file before it is quantized, or warn of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tflite_recipes.backend.converting import attention_masks, float_calibration
from tflite_recipes.backend.converting.attention_masks import Bounded, Mask, Unbounded
from tflite_recipes.backend.converting.attention_masks.mask_paths import MERGING
from tflite_recipes.backend.converting.attention_masks.mask_ranges import LAYERS, SOFTMAXES
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion.remedies import Remedy, added_to_fallback
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Subgraph

_NAME = Remedy.bound_masks.name
# Steps of the integers that each scheme has for an activation.
_STEPS = {"int16x8": 65_535}
# Of the last few float files and data sets.
_bounded: dict[str, Bounded] = {}


def prepare_masks(path: Path, signature: str, request: Request, reporter: Reporter) -> tuple[str, ...]:
    """Bound the masks of a float file in place if the recipe allows it. The remedy in words for the contract."""
    samples = request.samples
    if samples is None:
        return ()
    file = tflite.read_tflite(path)
    number = next(port.subgraph for port in file.signatures if port.key == signature)
    if not _has_sums(file.subgraphs[number]):
        return ()
    original = data = path.read_bytes()
    if _NAME not in request.fallback:
        _warn_of_fault(attention_masks.find(data, number), request, reporter)
        return ()
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
    _warn_of_unbounded(done.unbounded, request.scheme, reporter)
    return _report(done.bounded, reporter)


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
