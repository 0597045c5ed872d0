"""Parity without data of one's own, of models that look tokens up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.index_limits import index_limits

pytestmark = pytest.mark.slow

ROWS = 50


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of tokens: whole numbers, floats that are cast, and words of a vocabulary. `tables` has two tables, and an
    input that is none of their indices."""
    import keras

    folder = tmp_path_factory.mktemp("tokens")
    keras.utils.set_random_seed(1)
    ids = keras.Input((6,), dtype="int32", name="ids")
    table = keras.layers.Embedding(ROWS, 4)
    values = keras.layers.Dense(3)(keras.layers.Flatten()(table(ids)))
    keras.Model(ids, values).save(folder / "ids.keras")
    large = table.get_weights()[0]
    large[2:] *= 100.0  # the rows of which ids of 0 and 1 show nothing: they share one scale with those two
    table.set_weights([large])
    keras.Model(ids, values).save(folder / "uneven.keras")
    numbers = keras.Input((6,), name="numbers")
    whole = keras.ops.expand_dims(keras.ops.cast(numbers, "int32"), 1)
    keras.Model(numbers, keras.layers.Flatten()(keras.layers.Embedding(ROWS, 4)(whole))).save(folder / "floats.keras")
    pair, weight = keras.Input((2,), dtype="int64", name="pair"), keras.Input((1,), name="weight")
    first = keras.layers.Embedding(ROWS, 4)(pair)
    second = keras.layers.Embedding(9, 4)(pair)
    keras.Model([pair, weight], keras.layers.Flatten()(first + second) * weight).save(folder / "tables.keras")
    later = keras.layers.Embedding(ROWS, 4)((ids - 7) // 2)
    keras.Model(ids, keras.layers.Dense(3)(keras.layers.Flatten()(later))).save(folder / "later.keras")
    word = keras.Input((), dtype="string", name="word")
    known = keras.layers.StringLookup(vocabulary=[f"word {k}" for k in range(20)])(word)
    keras.Model(word, keras.layers.Embedding(21, 4)(known)).save(folder / "words.keras")
    return folder


def ran(model: Path, *overrides: str) -> api.RunResult:
    return api.run("convert", ["source=keras", f"source.path={model}", "tracking=none", *overrides], progress=False)


@pytest.mark.parametrize(
    ("name", "limits"),
    [("ids", {"ids": (0, ROWS - 1)}), ("floats", {"numbers": (0, ROWS - 1)}), ("tables", {"pair": (0, 8)})],
)
def test_inputs_that_are_indices_are_drawn_from_the_whole_table(
    here: Path, models: Path, name: str, limits: dict[str, tuple[int, int]]
) -> None:
    result = ran(models / f"{name}.keras")
    assert result.status == ExitStatus.DONE, result.problems
    assert index_limits(read_tflite(result.path), "serving_default") == limits
    assert result.metrics["parity.max_abs_error"] < 1e-5
    assert result.warnings == ()


def test_random_calibration_draws_the_numbers_that_a_table_is_read_by(here: Path, models: Path) -> None:
    """Numbers from 0 on would be negative rows of it."""
    file = models / "later.keras"
    result = ran(file, "calibration=random", "optimization=full_integer", "optimization.quantizer=litert_quantizer")
    assert result.status == ExitStatus.DONE, result.problems
    limits = index_limits(read_tflite(result.path), "serving_default")
    assert limits == {"ids": (7, 2 * ROWS + 6)}
    drawn = json.loads((result.output_dir / "calibration.json").read_text())["inputs"]["ids"]
    assert (drawn["min"], drawn["max"]) == limits["ids"]


def test_an_error_in_rows_that_0_and_1_do_not_reach_is_seen(here: Path, models: Path) -> None:
    """In int8 one scale covers the table, so that its first two rows are lost beside the others."""
    np.savez(here / "real.npz", ids=np.random.default_rng(0).integers(0, ROWS, (64, 6)).astype("int32"))
    scheme = ["optimization=full_integer", "conversion.fallback=[]"]
    real = ran(models / "uneven.keras", *scheme, "calibration=npz", "calibration.path=real.npz")
    narrow = ran(models / "uneven.keras", *scheme, "calibration=random", "calibration.within_tables=false")
    for result in (real, narrow):
        assert result.status == ExitStatus.DONE, result.problems
    assert real.metrics["parity.sqnr_db"] > 20
    assert narrow.metrics["parity.sqnr_db"] < 10
    assert "calibration samples, ids drawn at random" in (narrow.output_dir / "report.html").read_text()
    assert "drawn at random" not in (real.output_dir / "report.html").read_text()


def test_where_nothing_can_be_shown_there_is_no_figure(here: Path, models: Path) -> None:
    """Words at random are none of the vocabulary, and all give the row of unknown ones."""
    result = ran(models / "words.keras", "conversion.select_tf_ops=false")
    assert result.status == ExitStatus.DONE, result.problems
    assert not [name for name in result.metrics if name.startswith("parity.")]
    assert any(text.startswith("parity was not measured: the source gives the same") for text in result.warnings)
