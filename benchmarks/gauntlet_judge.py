"""Judge a `.tflite` by what LiteRT computes with it, and by nothing that the run wrote but the order of the outputs.

    python benchmarks/gauntlet_judge.py FILE CASE_FOLDER [--op-by-op]     prints a JSON object

The file runs at its own batch, with and without the default delegates, on each sample of `inputs.npz`, without a reset
between invokes. The first sample runs again at the end. It is a process of its own, because a bad file can end it.
A file with TensorFlow's own ops (Flex) runs op by op, see `gauntlet_flex.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from gauntlet_flex import FlexRunner
from gauntlet_models import EXPECTED, INPUTS, LABELLED, REFERENCE, TOKENS

# Outputs that depend on random numbers have no expected value; the first output of these cases has.
_FIRST_OUTPUT_ONLY = ("vae_sampling",)


def judge(file: Path, folder: Path, op_by_op: bool = False) -> dict[str, Any]:
    """Return the greatest error of any output as a share of its range, for both ways to run the file.

    `error` is a share of wrong elements where an output has whole numbers. `absolute` is the greatest error as it is,
    `accuracy` is there for labelled cases, and `repeated` is the difference between two invokes with the first sample.
    """
    verdict: dict[str, Any] = {"error": 0.0, "absolute": 0.0, "repeated": 0.0}
    for make in _runners(file, op_by_op):
        runner = make()
        inputs = np.load(folder / INPUTS, allow_pickle=False)
        rows = {name: inputs[name] for name in inputs.files}
        if (folder / TOKENS).exists() and not runner.takes_text:
            rows = {name: np.load(folder / TOKENS) for name in rows}
        count = len(next(iter(rows.values())))
        outputs = [runner.run(rows, k) for k in range(0, count - runner.batch + 1, runner.batch)]
        again = runner.run(rows, 0)
        for name, expected in _expected(folder, runner, count).items():
            error, absolute = _error([row[name] for row in outputs], expected)
            verdict["error"] = max(verdict["error"], error)
            verdict["absolute"] = max(verdict["absolute"], absolute)
            if folder.name not in _FIRST_OUTPUT_ONLY:
                repeated = _error([again[name]], [outputs[0][name]])
                verdict["repeated"] = max(verdict["repeated"], repeated[0])
        if (folder / LABELLED).exists():
            accuracy = _accuracy(runner, folder)
            verdict["accuracy"] = min(verdict.get("accuracy", 1.0), accuracy)
    if "accuracy" in verdict:
        verdict["drop"] = json.loads((folder / "accuracy.json").read_text()) - verdict["accuracy"]
    return verdict


def _runners(file: Path, op_by_op: bool) -> list[Callable[[], _Runner | _FlexRunner]]:
    """The ways to run a file: with and without the default delegates, or op by op if it needs Flex."""
    if op_by_op:
        return [partial(_FlexRunner, file)]
    kinds = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    return [partial(_Runner, file, kind) for kind in kinds]


class _FlexRunner:
    """A file with TensorFlow's own ops, one sample at a time."""

    batch, takes_text = 1, False

    def __init__(self, file: Path) -> None:
        self._run = FlexRunner(file)
        contract = json.loads((file.parent / "io_contract.json").read_text(encoding="utf-8"))
        self.names = [one["name"] for one in contract["outputs"]]

    def run(self, rows: Mapping[str, Any], first: int) -> dict[str, Any]:
        """Return the outputs by name for the sample at `first`."""
        names = self._run.inputs
        return self._run(
            {
                name: rows[name if name in rows or len(rows) > 1 else next(iter(rows))][first : first + 1]
                for name in names
            }
        )


class _Runner:
    """A file that takes and gives real numbers, `batch` samples at a time."""

    def __init__(self, file: Path, kind: Any) -> None:
        self._interpreter = Interpreter(str(file), experimental_op_resolver_type=kind, num_threads=1)
        self._runner = self._interpreter.get_signature_runner()
        self._inputs = self._runner.get_input_details()
        self._outputs = self._runner.get_output_details()
        contract = json.loads((file.parent / "io_contract.json").read_text(encoding="utf-8"))
        self.names = [one["name"] for one in contract["outputs"]]
        self.batch = 1
        for detail in self._inputs.values():
            if len(detail["shape"]):
                self.batch = max(self.batch, int(detail["shape"][0]) if detail["shape_signature"][0] > 0 else 1)

        self.takes_text = any(detail["dtype"] is np.object_ for detail in self._inputs.values())

    def run(self, rows: Mapping[str, Any], first: int) -> dict[str, Any]:
        """Return the outputs by name for `batch` samples from `first` on."""
        fed = {}
        for name, detail in self._inputs.items():
            samples = rows[name if name in rows or len(rows) > 1 else next(iter(rows))]
            rank = len(detail["shape"])
            value = samples[first : first + self.batch] if rank == samples.ndim else samples[first]
            fed[name] = _quantized(value, detail)
        outputs = self._runner(**fed)
        return {name: _real(value, self._outputs[name]) for name, value in outputs.items()}


def _quantized(value: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    kind = np.dtype(detail["dtype"])
    if kind.kind == "O" or np.asarray(value).dtype.kind in "US":
        return np.char.encode(np.asarray(value, dtype=str), "utf-8").astype(object)
    if scale and kind.kind in "iu":
        limits = np.iinfo(kind)
        value = np.clip(np.round(np.asarray(value, dtype="float64") / scale) + zero, limits.min, limits.max)
    return np.asarray(value).astype(kind)


def _real(value: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    if scale and np.asarray(value).dtype.kind in "iu":
        return (np.asarray(value, dtype="float64") - zero) * scale
    return np.asarray(value)


def _expected(folder: Path, runner: _Runner, count: int) -> dict[str, list[Any]]:
    """Return what each output has to be, invoke by invoke."""
    found: dict[str, list[Any]] = {}
    if (folder / EXPECTED).exists() and (folder / "expected.npy").exists():
        arrays = np.load(folder / EXPECTED)
        found = {name: list(arrays[name]) for name in arrays.files}
    elif (folder / "expected.npy").exists():
        found = {"0": list(np.load(folder / "expected.npy"))}
    else:
        arrays = np.load(folder / REFERENCE)
        for key in sorted(arrays.files, key=lambda key: int(key.split("/")[0])):
            found.setdefault(key.split("/", 1)[1], []).append(arrays[key])
    if folder.name in _FIRST_OUTPUT_ONLY:
        found = {"0": found["0"]}
    # A model that returns a list has its outputs in the order of the contract.
    named = {runner.names[int(key)] if key.isdecimal() else key: rows for key, rows in found.items()}
    if len(named) == len(runner.names) == 1:
        named = {runner.names[0]: next(iter(named.values()))}
    if not named.keys() & set(runner.names):
        raise ValueError(f"the file has the outputs {runner.names}, the model {list(named)}")
    return {name: _regrouped(named[name], count, runner.batch) for name in runner.names if name in named}


def _regrouped(rows: list[Any], count: int, batch: int) -> list[Any]:
    """Return expected outputs of the samples in groups of `batch`, however the script grouped them."""
    if len(rows) * batch == count:
        return rows
    samples = np.concatenate(rows)
    return [samples[k : k + batch] for k in range(0, count - batch + 1, batch)]


def _error(outputs: list[Any], expected: list[Any]) -> tuple[float, float]:
    """Return the greatest error as a share of the range, and as it is. Whole numbers: the share that differs."""
    endless = float("inf")
    if any(np.size(one) != np.size(other) for one, other in zip(outputs, expected, strict=True)):
        return endless, endless
    computed, right = (np.concatenate([np.ravel(one) for one in rows]) for rows in (outputs, expected))
    if right.dtype.kind in "iub":
        return float(np.mean(np.abs(computed.astype("float64") - right) > 0.5)), 0.0
    computed, right = computed.astype("float64"), right.astype("float64")
    if not np.array_equal(np.isfinite(computed), np.isfinite(right)):
        return endless, endless
    finite = np.isfinite(right)
    if not finite.any():
        return 0.0, 0.0
    # Of an output that hardly varies, the range would be rounding: two steps of int16 are 6e-5 of the greatest value,
    # which is the limit of int16x8 (0.03) for 2e-3 of it.
    spread = max(float(np.ptp(right[finite])), 2e-3 * float(np.abs(right[finite]).max()), 1e-9)
    absolute = float(np.abs(computed - right)[finite].max())
    return absolute / spread, absolute


def _accuracy(runner: _Runner, folder: Path) -> float:
    data = np.load(folder / LABELLED)
    rows = {name: data[name] for name in data.files if name != "labels"}
    groups = range(0, len(data["labels"]) - runner.batch + 1, runner.batch)
    classes = np.concatenate([runner.run(rows, k)[runner.names[0]].argmax(-1) for k in groups])
    return float(np.mean(classes == data["labels"][: len(classes)]))


if __name__ == "__main__":
    print(json.dumps(judge(Path(sys.argv[1]), Path(sys.argv[2]), "--op-by-op" in sys.argv[3:])))
