"""What a `.keras` or `.h5` file says about its model."""

from __future__ import annotations

import functools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.regular_files import parse_json
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import archives
from tflite_recipes.files.models.foreign_data import foreign_data
from tflite_recipes.files.models.hdf5 import read_hdf5
from tflite_recipes.files.models.keras_inputs import keras_inputs
from tflite_recipes.files.models.keras_layers import (
    carries_ranges,
    custom_names,
    holds_code,
    names_by_trust,
    package_of,
    reach,
    walk,
    wrappers_among,
)
from tflite_recipes.files.models.refusals import (
    HDF5,
    ZIP,
    damaged,
    first_bytes,
    listed,
    no_keras_file,
    refusal,
    weights_only,
)
from tflite_recipes.files.models.weights import keras_weight_bytes, too_large


@dataclass(frozen=True)
class KerasFile:
    """What a `.keras` or `.h5` file holds.

    keras_version: as written in the file, "" where it is not. generation: 2 or 3, by who wrote the file.
    class_name: `Functional`, `Sequential`, `Model`, or the name of a custom class.
    inputs: in the model's own order; None where only Keras itself can tell (subclassed or never built models).
    lambda_layers: names of the layers, at any depth, that hold code which loading would run.
    custom_layers: classes and functions that are not on the lists of Keras's own, as the file names them.
    wrappers: classes of tensorflow-model-optimization around layers. ranges: whether quantization-aware training left
    the ranges of the whole model in them. reach: what loading would do beyond building the model, with the layers that
    would do it: calls of TensorFlow functions that are not pure, imports, reading files.
    by_trust: those of `custom_layers` that Keras finds by itself once the file is trusted. packages: the packages of
    models, `keras_hub` and others, that classes are from.
    """

    keras_version: str
    generation: int
    class_name: str
    inputs: tuple[TensorSpec, ...] | None
    lambda_layers: tuple[str, ...]
    custom_layers: tuple[str, ...]
    wrappers: tuple[str, ...] = ()
    ranges: bool = False
    reach: tuple[str, ...] = ()
    by_trust: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def trust_problem(self, path: Path) -> Problem | None:
        """Return the problem that only `source.trust=true` solves; None if loading runs nothing of the file's."""
        whys = []
        if self.lambda_layers:
            names = ", ".join(self.lambda_layers)
            whys.append(f"holds code in {names}: loading it would run whatever the file's author put there")
        if self.reach:
            whys.append(f"does more than build a model when it is loaded: {listed(self.reach)}")
        return Problem(f"{path} {'; it '.join(whys)}", "source.trust", "source.trust=true") if whys else None


def read_keras_file(path: Path) -> KerasFile:
    """Reads the description inside a `.keras` or `.h5` file; which of the two it is, is told by its content.

    Errors: RequestError where the file is missing, damaged, too large, holds weights only, or is no Keras model.
    """
    head = first_bytes(path)
    if not head.startswith((ZIP, HDF5)):
        raise no_keras_file(path, head)
    written = path.stat()
    return _described(path, head, written.st_mtime_ns, written.st_size)


# A check asks for the same file several times; its time and size tell whether it is still the same.
@functools.lru_cache(maxsize=8)
def _described(path: Path, head: bytes, mtime_ns: int, size: int) -> KerasFile:
    _check_format(path, head)
    if foreign := foreign_data(path):  # before anything else opens the file, and follows its links
        raise RequestError(foreign)
    # First, because looking through gigabytes for a config takes seconds.
    if large := too_large(str(path), keras_weight_bytes(path), "source.path"):
        raise RequestError(large)
    text, version = _read_zip(path) if head.startswith(ZIP) else read_hdf5(path)
    try:
        model = parse_json(text)
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(model, dict) or not isinstance(model.get("class_name"), str) or "config" not in model:
        raise refusal(f"{path} does not describe a model")
    generation = _generation(version, text)
    # Losses, metrics and the optimizer are never loaded for a conversion.
    nodes = list(walk({key: value for key, value in model.items() if key != "compile_config"}))
    return KerasFile(
        keras_version=version,
        generation=generation,
        class_name=model["class_name"],
        inputs=keras_inputs(model, generation),
        lambda_layers=tuple(dict.fromkeys(owner for node, owner in nodes if holds_code(node))),
        custom_layers=tuple(dict.fromkeys(name for node, _ in nodes for name in custom_names(node))),
        wrappers=wrappers_among(node for node, _ in nodes) if generation == 2 else (),
        ranges=generation == 2 and carries_ranges(model),
        by_trust=tuple(dict.fromkeys(name for node, _ in nodes for name in names_by_trust(node))),
        packages=tuple(dict.fromkeys(package for node, _ in nodes if (package := package_of(node)))),
        reach=tuple(dict.fromkeys(f"{owner} {what}".strip() for node, owner in nodes if (what := reach(node)))),
    )


def _check_format(path: Path, head: bytes) -> None:
    """Refuse a file that is a zip and HDF5 at once: each Keras goes by the name, and would load the other half."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    other = h5py.is_hdf5(path) if head.startswith(ZIP) else path.suffix == ".keras" and zipfile.is_zipfile(path)
    if other:
        raise refusal(f"{path} is a zip file and an HDF5 file at once, which no Keras writes")


def config_of(path: Path) -> str:
    """The JSON text in which the file describes its model. Errors: RequestError."""
    return (_read_zip(path) if first_bytes(path).startswith(ZIP) else read_hdf5(path))[0]


def _read_zip(path: Path) -> tuple[str, str]:
    """The config's text and the Keras version."""
    try:
        with archives.open_zip(path) as archive:
            names = archive.namelist()
            config = archives.read_member(archive, "config.json").decode() if "config.json" in names else None
            metadata = parse_json(archives.read_member(archive, "metadata.json")) if "metadata.json" in names else None
    except Exception as error:  # what damage makes zipfile and its decompressors raise is open-ended
        raise damaged(path, error) from error
    if config is None:
        if any(name.endswith(".weights.h5") for name in names):
            raise weights_only(path)
        raise refusal(f"{path} is a zip file that Keras did not write: it holds {listed(names)}")
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return config, version if isinstance(version, str) else ""


def _generation(version: str, text: str) -> int:
    if match := re.match(r"\d{1,4}", version):
        return 3 if int(match[0]) >= 3 else 2
    # Without a version, the spelling of the input shape tells.
    return 3 if '"batch_shape"' in text and '"batch_input_shape"' not in text else 2
