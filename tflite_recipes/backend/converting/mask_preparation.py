"""Bound the attention masks of a float file before it is quantized, or warn of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tflite_recipes.backend.converting import attention_masks, float_calibration
from tflite_recipes.backend.converting.attention_masks import Bounded, Mask
from tflite_recipes.backend.converting.attention_masks.mask_paths import LAYOUT, MERGING
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion.remedies import Remedy, added_to_fallback
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Subgraph

_NAME = Remedy.bound_masks.name
_ON_THE_WAY = frozenset(("CONCATENATION", "DIV", "MUL", *LAYOUT))
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
    data = path.read_bytes()
    if _NAME not in request.fallback:
        _warn_of_fault(attention_masks.find(data, number), request, reporter)
        return ()

    def made() -> Bounded:
        return attention_masks.bound_masks(
            data,
            number,
            lambda: float_calibration.activations(path, signature, samples, request.batch, lambda *_: None),
        )

    key = f"{hashlib.sha256(data).hexdigest()} {request.calibration_sha256}"
    done = once(_bounded, key, made) if request.calibration_sha256 else made()
    path.write_bytes(done.data)
    _warn_of_unseen([mask for mask in done.masks if mask.is_unseen], reporter)
    return _report(done.bounded, reporter)


def _has_sums(graph: Subgraph) -> bool:
    """Whether something is added to the scores of a softmax or selected among them. Others need not be unpacked."""
    makers = {index: op for op in graph.operators for index in op.outputs}
    for softmax in (op for op in graph.operators if op.name in ("SOFTMAX", "REDUCE_MAX")):
        maker = makers.get(softmax.inputs[0])
        while maker is not None and maker.name in _ON_THE_WAY:
            maker = next((makers[index] for index in maker.inputs if index in makers), None)
        if maker is not None and maker.name in MERGING:
            return True
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


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
