"""From the error of each tensor to rules: which ops get another scheme so that the file loses less."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.quality.tensor_errors import TABLE, TensorError, read_csv
from tflite_recipes.conversion.schemes import RuleScheme
from tflite_recipes.conversion.sensitivity import Sensitive, sensitivity
from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment

KEY = "optimization.rules"
SCHEMES = tuple(RuleScheme.__members__)
MOST = 5
# Of the noise that all ops add, each relative to its signal, what is worth a rule.
_WORTH = 0.9


def read(place: Path) -> list[TensorError]:
    """The table in a file, or in a run's output folder. Errors: RequestError."""
    path = place / TABLE if os.path.isdir(place) else place
    if reason := regular_files.unreadable(path):
        raise RequestError(Problem(f"cannot be read: {reason}", str(path)))
    if not os.path.exists(path):
        ways = (f"a run of a quantized scheme writes {TABLE} into its output folder",)
        raise RequestError(Problem("there is no such file", str(path), "", ways))
    return read_csv(path)


def choose(rows: Iterable[TensorError], top: int | None = None, below: float | None = None) -> list[Sensitive]:
    """The ops that lose most by themselves, worst first, and behind each what goes together with it.

    These are the first `top` of `sensitivity`, or those whose own SQNR is `below` so many dB; where neither is given,
    the first that together make nine tenths of the noise which all add, at most 5.
    """
    ranked = sensitivity(rows)
    by_name = {op.tensor: op for op in ranked}
    if below is not None:
        worst = [op for op in ranked if op.score < below]
    else:
        worst = ranked[: _telling(ranked) if top is None else top]
    names = dict.fromkeys(name for op in worst for name in (op.tensor, *op.together))
    return [by_name[name] for name in names]


def _telling(ranked: Sequence[Sensitive]) -> int:
    noise = [10.0 ** (-op.score / 10.0) for op in ranked]
    sums = list(itertools.accumulate(noise))
    return min(MOST, sum(before < _WORTH * sums[-1] for before in (0.0, *sums[:-1]))) if sums else 0


def rules(chosen: Sequence[Sensitive], scheme: str) -> list[dict[str, Any]]:
    """One rule for each op, by the whole name of its output tensor."""
    return [{"name": f"^{re.escape(op.tensor)}$", "op": op.op, "scheme": scheme} for op in chosen]


def override(found: Sequence[dict[str, Any]]) -> str:
    """`optimization.rules=[…]`, quoted for shell and Hydra."""
    return assignment(KEY, list(found))


def to_yaml(found: Sequence[dict[str, Any]]) -> str:
    """The same for a recipe's file."""
    import yaml

    group, key = KEY.split(".")
    return yaml.safe_dump({group: {key: list(found)}}, sort_keys=False, width=10_000, allow_unicode=True)
