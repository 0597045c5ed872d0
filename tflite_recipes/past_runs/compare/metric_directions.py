"""Of which metrics more is better, and of which less."""

from __future__ import annotations

import math
from collections.abc import Mapping

# The others are errors, drops, sizes, times and counts: less is better.
HIGHER_IS_BETTER = frozenset(
    {
        "calibration.stability",
        "parity.cosine",
        "parity.from_source_cosine",
        "parity.from_source_sqnr_db",
        "parity.from_source_top1_agreement",
        "parity.sqnr_db",
        "parity.top1_agreement",
        "parity.without_delegates_cosine",
        "quantization.median_sqnr_db",
        "quantization.worst_sqnr_db",
        "sparsity.overall",
        "target.edge_tpu_op_percent",
        "target.gpu_op_percent",
        "target.npu_mac_percent",
        "target.npu_op_percent",
    }
)
_SCORES = ("accuracy.source", "accuracy.tflite")
# What says which run it is about, not how good it is: no direction.
_NEITHER = ("search.", "time.")


def higher_is_better(name: str, params: Mapping[str, str]) -> bool:
    """Whether more of a metric is better. Of a score the run's own metric decides, which its params name."""
    from tflite_recipes.conversion.quality.metrics import Metric
    from tflite_recipes.conversion.quality.metrics import higher_is_better as of_metric

    if name not in _SCORES:
        return name in HIGHER_IS_BETTER or (name.startswith("pruning.") and "accuracy" in name)
    metric = params.get("accuracy.metric", "accuracy")
    if metric in Metric.__members__ and metric != Metric.function.name:
        return of_metric(Metric[metric])
    return params.get("evaluation.higher_is_better", "True").lower() == "true"


def better(name: str, a: float, b: float, params: Mapping[str, str]) -> bool | None:
    """Whether b is better than a; None where they are the same, or where neither is."""
    if a == b or math.isnan(a) or math.isnan(b) or name.startswith(_NEITHER):
        return None
    return (b > a) is higher_is_better(name, params)
