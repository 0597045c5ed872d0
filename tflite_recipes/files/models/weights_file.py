"""Files that hold weights without their model: which kind, and what is wrong with one before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.files.models.digest import sha256_of
from tflite_recipes.files.models.foreign_data import foreign_data
from tflite_recipes.files.models.graph_ops import trust_problem
from tflite_recipes.files.models.refusals import GRAPH_FILE, HDF5, ZIP, beside, first_bytes
from tflite_recipes.files.models.weights import keras_weight_bytes, too_large

_WHERE = "source.weights"
_INDEX, _SHARDS = ".index", ".data-*"


class WeightsKind(Enum):
    """By content, since Keras goes by a name that somebody may have changed.

    LAYERS: HDF5 by the order of layers, as all Kerases before 2.12 and `.h5` models have it. VARIABLES: HDF5 by the
    structure of the model (`.weights.h5`). ARCHIVE: a `.keras` file. CHECKPOINT: TensorFlow's own.
    """

    LAYERS = "layers"
    VARIABLES = "variables"
    ARCHIVE = "archive"
    CHECKPOINT = "checkpoint"


def weights_kind(path: Path) -> WeightsKind | None:
    """What kind of weights lie at `path`, where a checkpoint may be given by its prefix; None for no weights."""
    head = first_bytes(path)
    if head.startswith(ZIP):
        return WeightsKind.ARCHIVE
    if head.startswith(HDF5):
        import h5py  # type: ignore[import-untyped, unused-ignore]

        try:
            with h5py.File(path, "r") as file:
                by_layer = "layer_names" in file.attrs or "model_weights" in file
        except Exception:  # what damage makes HDF5 raise is open-ended
            return None
        return WeightsKind.LAYERS if by_layer else WeightsKind.VARIABLES
    return WeightsKind.CHECKPOINT if Path(f"{checkpoint_prefix(path)}{_INDEX}").is_file() else None


def checkpoint_prefix(path: Path) -> Path:
    """What a checkpoint's files are called before `.index` and `.data-…`."""
    return path.with_suffix("") if path.suffix == _INDEX else path


def weights_sha256(path: Path) -> str:
    """SHA-256 of the weights. A checkpoint's is that of its parts, one text per line."""
    if weights_kind(path) is not WeightsKind.CHECKPOINT:
        return sha256_of(path)
    prefix = checkpoint_prefix(path)
    shards = sorted(prefix.parent.glob(f"{prefix.name}{_SHARDS}"))
    return "\n".join(sha256_of(part) for part in (Path(f"{prefix}{_INDEX}"), *shards))


def weights_problems(path: Path, trust: bool = False) -> Iterable[Problem]:
    """What is wrong with a file of weights as far as it can be known without TensorFlow.

    trust: take the checkpoint of a SavedModel whose graph does more than calculate.
    """
    if foreign := foreign_data(path, _WHERE):  # before anything else opens the file, and follows its links
        yield foreign
        return
    folder = checkpoint_prefix(path).parent.parent
    if not trust and path.parent.name == "variables" and (folder / GRAPH_FILE).is_file():
        try:
            yield from filter(None, [trust_problem(folder)])
        except RequestError as error:
            yield from error.problems
    if weights_kind(path) is None:
        near = None if path.exists() else beside(path)
        what = "is no file of weights: neither .weights.h5, .h5, .keras nor a TensorFlow checkpoint"
        if not path.exists():
            what = "is not there"
        fix = assignment(_WHERE, str(near)) if near else ""
        yield Problem(f"{path} {what}", _WHERE, fix, () if near else (assignment(_WHERE, None),))
    elif weights_kind(path) is not WeightsKind.CHECKPOINT:
        try:
            yield from too_large(str(path), keras_weight_bytes(path), _WHERE)
        except RequestError as error:
            yield from (replace(problem, where=_WHERE) for problem in error.problems)
