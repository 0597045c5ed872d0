"""What a device brings back, held against what was asked of it, before anything of it is told, shown or judged.

Its figures become gates, its texts a page and lines to paste: nothing is taken that
`benchmark_script` would not have said.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.measuring import latency

_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "mean_ms")
_WHOLE = (*latency.METRICS, *_PERCENTILES, "cpus", "measured_runs")
_TEXTS = ("runtime", "machine", "system", "python")
_METHODS = ("c_profiler", "prefix")
_BROKEN_ARRAYS = (
    *(OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def checked(path: Path, settings: latency.Settings) -> None:
    """`result.json` of a device made plain, in place: texts without control characters, figures finite and at least 0,
    the settings those that were asked for, and nothing else. Errors: ValueError, where it is another thing."""
    try:
        told = _plain(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError:
        raise ValueError("it is nested without end") from None
    result = _table(told, "it")
    asked = settings.job("")
    kept: dict[str, Any] = {name: asked[name] for name in ("threads", "xnnpack", "warmup", "runs")}
    kept |= {name: _text(result, name) for name in _TEXTS} | {name: _figure(result, name) for name in _WHOLE}
    sweep = _list(result, "sweep")
    if len(sweep) != len(asked["sweep"]):
        raise ValueError("sweep has not the settings that were asked for")
    kept["sweep"] = [_setting(one, setting) for one, setting in zip(sweep, asked["sweep"], strict=True)]
    profile = result.get("profile")
    kept["profile"] = None if profile is None else _profile(_table(profile, "profile"))
    if "profile_error" in result:
        kept["profile_error"] = _text(result, "profile_error")
    path.write_text(json.dumps(kept), encoding="utf-8")


def arrays(path: Path) -> dict[str, Any]:
    """Plain arrays only: nothing that a device sends is unpickled, and what `numpy.savez` would have compressed, which
    it does not, is not blown up either. Errors: ValueError."""
    try:
        with zipfile.ZipFile(path) as stored:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in stored.infolist()):
                raise ValueError("its arrays are compressed")
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except _BROKEN_ARRAYS as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """Texts without control characters: they end up on a terminal."""
    if isinstance(value, str):
        return "".join(letter for letter in value if letter.isprintable())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {_plain(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no table of names")
    return value


def _list(table: Mapping[str, Any], name: str) -> Sequence[Any]:
    if not isinstance(table.get(name), list):
        raise ValueError(f"{name} is no list")
    return list(table[name])


def _text(table: Mapping[str, Any], name: str) -> str:
    if not isinstance(table.get(name), str):
        raise ValueError(f"{name} is no text")
    return str(table[name])


def _figure(table: Mapping[str, Any], name: str) -> float:
    value = table.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    if not 0 <= value <= 1e18 or not math.isfinite(value):
        raise ValueError(f"{name} is {value:.6g}" if isinstance(value, float) else f"{name} is out of range")
    return value


def _setting(value: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """One of the sweep, as it was asked for."""
    one = _table(value, "sweep")
    if any(type(one.get(name)) is not type(asked[name]) or one[name] != asked[name] for name in asked):
        raise ValueError("sweep has not the settings that were asked for")
    if "error" in one:
        return {**asked, "error": _text(one, "error")}
    return {**asked, **{name: _figure(one, name) for name in (*_PERCENTILES, "measured_runs")}}


def _profile(profile: Mapping[str, Any], nested: bool = False) -> dict[str, Any]:
    if profile.get("method") not in _METHODS:
        raise ValueError("profile is by no method that there is")
    rows = [_row(_table(row, "profile")) for row in _list(profile, "ops")]
    kept: dict[str, Any] = {"method": profile["method"], "xnnpack": profile.get("xnnpack") is True, "ops": rows}
    kept |= {name: _figure(profile, name) for name in ("runs", "total_ms")}
    if "delegated" in profile and not nested:
        kept["delegated"] = _profile(_table(profile["delegated"], "profile"), nested=True)
    return kept


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    index = _figure(row, "index")
    if not isinstance(index, int):
        raise ValueError("index is no whole number")
    by = {"by": _text(row, "by")} if "by" in row else {}
    return {"index": index, "name": _text(row, "name"), "ms": _figure(row, "ms"), "share": _figure(row, "share"), **by}
