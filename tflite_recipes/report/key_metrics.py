"""The few figures that a run is judged by, source beside file, the same in the report and in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tflite_recipes.core.number_format import labelled

METRIC = "accuracy.metric"
_PLAIN = {
    "parity.top1_agreement": "same class as the source",
    "parity.cosine": "cosine similarity of the worst output",
    "parity.sqnr_db": "SQNR of the worst output",
    "parity.max_abs_error": "largest difference of an output",
    "parity.from_source_cosine": "cosine similarity to the source after the steps before conversion",
    "latency.p50_ms": "latency, median",
    "latency.p90_ms": "latency, p90",
    "target.inference_ms": "inference",
    "target.cycles": "cycles",
    "target.arena_bytes": "arena",
    "target.sram_bytes": "SRAM",
    "target.flash_bytes": "flash",
    "target.npu_op_percent": "ops on the NPU",
    "target.gpu_op_percent": "ops on the GPU",
    "target.edge_tpu_op_percent": "ops on the Edge TPU",
}
_OPS = (("ops.float", "float"), ("ops.flex", "Flex"), ("ops.custom", "custom"))


@dataclass(frozen=True)
class Row:
    """A line of the table: what, of the source, of the file, and what is to be said of the two; "" for nothing."""

    what: str
    source: str
    tflite: str
    note: str = ""


def headline(metrics: Mapping[str, float], notes: Mapping[str, str], tags: Mapping[str, str]) -> list[Row]:
    """Size, score, speed, ops and parity, as far as they are known. metrics, tags: by tracking name; notes: the run's
    own parameters, of which `accuracy.metric` names the score."""
    return [*_sizes(metrics), *_scores(metrics, notes), *_figures(metrics, tags), *_ops(metrics)]


def _sizes(metrics: Mapping[str, float]) -> Iterator[Row]:
    if "size.tflite_bytes" not in metrics:
        return
    whole, file = metrics.get("size.float_bytes", 0.0), metrics["size.tflite_bytes"]
    ratio = f"{file / whole:.1%} of the source" if whole else ""
    yield Row("size", f"{whole:,.0f} B" if whole else "", f"{file:,.0f} B", ratio)
    if "size.gzip_bytes" in metrics:
        yield Row("size, gzipped", "", f"{metrics['size.gzip_bytes']:,.0f} B")


def _scores(metrics: Mapping[str, float], notes: Mapping[str, str]) -> Iterator[Row]:
    if "accuracy.tflite" not in metrics:
        return
    source, file, drop = (metrics.get(f"accuracy.{name}", float("nan")) for name in ("source", "tflite", "drop"))
    said = f"better by {-drop:.4g}" if drop < 0 else f"drop {drop:.4g}"
    yield Row(notes.get(METRIC, "score"), f"{source:.6g}", f"{file:.6g}", said)
    if "accuracy.worst_class_drop" in metrics:
        yield Row("class that lost most", "", "", f"drop {metrics['accuracy.worst_class_drop']:.4g}")


def _figures(metrics: Mapping[str, float], tags: Mapping[str, str]) -> Iterator[Row]:
    for name, words in _PLAIN.items():
        if name in metrics:
            yield Row(words, "", labelled(name, metrics[name], tags))


def _ops(metrics: Mapping[str, float]) -> Iterator[Row]:
    if "ops.total" not in metrics:
        return
    kinds = [f"{metrics[name]:,.0f} {words}" for name, words in _OPS if metrics.get(name)]
    yield Row("ops", "", f"{metrics['ops.total']:,.0f}", ", ".join(kinds))
