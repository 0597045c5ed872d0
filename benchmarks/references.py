"""Files that the recipes make, beside the published int8 files of the same models, by the same tools.

    python benchmarks/references.py --models FOLDER

FOLDER holds MLPerf Tiny's models: `kws_saved_model`, `ad01.h5`, `str_ww.h5`, and their int8 files, `vww_96_int8.tflite`
among them, of which a network of the same shape with random weights stands in for the model. Prints a Markdown table:
the file, the arena in the tflite-micro interpreter on this machine, the multiplications with accumulation, flash with
the kernels (estimated), and what Vela says of an Ethos-U55 with 128 MACs: cycles, SRAM, compiled size. Calibrated on
random values, which set scales and not sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from run import _row

from tflite_recipes import api
from tflite_recipes.core.events import Event, EventReporter, Measured
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files import tflite as tflite_file
from tflite_recipes.steps.ethos_u_target import EthosUTarget
from tflite_recipes.steps.micro_target import MicroTarget

COLUMNS = (
    ("arena", "target.arena_bytes"),
    ("flash (≈)", "target.flash_bytes"),
    ("MACs", "target.macs"),
    ("U55-128 cycles", "target.cycles"),
    ("SRAM", "target.sram_bytes"),
    ("compiled", "compiled_bytes"),
)


@dataclass(frozen=True)
class Pair:
    """recipe: that makes the file. source: overrides that name the model, with FOLDER for where the published lie."""

    name: str
    recipe: str
    source: tuple[str, ...]


PAIRS = (
    Pair("kws", "keyword_spotting", ("source.path=FOLDER/kws_saved_model",)),
    Pair("ad01", "anomaly_detection", ("source.path=FOLDER/ad01.h5",)),
    Pair("str_ww", "keyword_spotting", ("source=keras", "source.path=FOLDER/str_ww.h5")),
    Pair("vww_96", "visual_wake_words", ("source.path=vww_96.keras",)),
)


def write_vww(path: Path) -> None:
    """A MobileNetV1 of the published shape with seeded random weights, normalized by a few batches, because without
    that its activations all but vanish."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNet(input_shape=(96, 96, 3), alpha=0.25, classes=2, weights=None)
    draw = np.random.default_rng(0)
    for layer in model.layers:
        layer.momentum = 0.5
    for _ in range(20):
        model(draw.uniform(-1, 1, (32, 96, 96, 3)).astype("float32"), training=True)
    model.save(path)


def published(path: Path) -> dict[str, float]:
    """Metrics of a file, of both targets."""
    (ports,) = tflite_file.describe(tflite_file.read_tflite(path)).signatures
    inputs = tuple(TensorSpec(key, tensor.shape, "float32") for key, tensor in ports.inputs)
    found: dict[str, float] = {"size.tflite_bytes": float(path.stat().st_size)}

    def hear(event: Event) -> None:
        if isinstance(event, Measured):
            found.update(event.metrics)

    for target in (EthosUTarget(deploy=False), MicroTarget(deploy=False)):
        with tempfile.TemporaryDirectory() as folder:
            target(State(Path(folder), tflite=path, signature=ports.key, inputs=inputs), EventReporter(hear))
        found.setdefault("compiled_bytes", found["target.flash_bytes"])
    return found


def ours(pair: Pair, models: Path) -> dict[str, float]:
    """Metrics of what the recipe makes, for both targets. Errors: SystemExit where a run fails."""
    named = [part.replace("FOLDER", str(models)) for part in pair.source]
    found: dict[str, float] = {}
    for target in ("ethos_u55_128", "cortex_m4"):
        overrides = [*named, "calibration=random", "calibration.low=-1.0", f"target={target}", "tracking=none"]
        result = api.run(pair.recipe, overrides, progress=False)
        if result.path is None:
            sys.exit(f"{pair.name}: {result.problems}")
        found |= result.metrics
        found.setdefault("compiled_bytes", found["target.flash_bytes"])
    return found


def line(name: str, metrics: Mapping[str, float]) -> str:
    """A row of the table."""
    return _row(name, *(f"{metrics[key]:,.0f}" for key in ("size.tflite_bytes", *dict(COLUMNS).values())))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    models = parser.parse_args().models.resolve()
    print(_row("file", "bytes", *dict(COLUMNS)))
    print(_row("---", *["---:"] * (1 + len(COLUMNS))))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_vww(Path("vww_96.keras"))
        for pair in PAIRS:
            print(line(f"{pair.name}, published", published(models / f"{pair.name}_int8.tflite")), flush=True)
            print(line(f"{pair.name}, ours", ours(pair, models)), flush=True)


if __name__ == "__main__":
    main()
