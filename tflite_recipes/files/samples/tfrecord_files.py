"""TFRecord files of `tf.train.Example`s: which of their features are which inputs.

Reading them all is left to TensorFlow (`backend.models.tfrecords`). What a check can tell, it tells from the first
record, which is taken apart here: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import functools
import gzip
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files, schema
from tflite_recipes.core.errors import Problem, RequestError, assignment, gist
from tflite_recipes.core.schema import near
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples.folders import HasPath
from tflite_recipes.files.samples.images import ImageKeys, decode
from tflite_recipes.files.samples.sample_source import Samples
from tflite_recipes.files.samples.scaling import Scaling

# The values of an Example's features by name: arrays of numbers, or lists of bytes.
Example = Mapping[str, Any]
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


@unique
class FeatureType(Enum):
    """What a feature holds."""

    float32 = "a list of floats"
    int64 = "a list of integers"
    uint8 = "bytes, each of them a number"
    image = "the bytes of a JPEG, PNG, … file"
    text = "byte strings, each of them a text"

    @property
    def kind(self) -> str:
        """The list of `tf.train.Feature` that it is in."""
        return {"float32": "float", "int64": "int64"}.get(self.name, "bytes")


@dataclass(frozen=True)
class _Name:
    feature: str
    dtype: FeatureType


@dataclass(frozen=True)
class Feature(ImageKeys, _Name):
    """One input's feature. shape: of a sample, where the model leaves it open; not for images, which have `size` and
    the other keys of a folder of images. mean and std, or scale and offset, go for all."""

    shape: list[int] | None = None


@dataclass(frozen=True)
class TfrecordFiles(HasPath):
    """A TFRecord file, or a folder of them (names with `.tfrecord` or `.record`); `.gz` ones are compressed.

    features: by input, its feature (see `Feature`). label: the feature of the labels.
    """

    features: dict[str, Any] = field(default_factory=dict)
    label: str | None = None

    def files(self) -> list[Path]:
        """In the order of their names."""
        path = Path(self.path)
        if not path.is_dir():
            return [path]
        named = (file for file in path.iterdir() if ".tfrecord" in file.name or ".record" in file.name)
        return sorted(file for file in named if file.is_file())

    def typed(self, group: str) -> dict[str, Feature]:
        """The features as they are typed. Errors: RequestError."""
        made, problems = {}, []
        for name, section in self.features.items():
            where = f"{group}.features.{name}"
            if not isinstance(section, Mapping):
                example = assignment(where, {"feature": "NAME", "dtype": "float32"})
                problems.append(Problem(f"{section!r} is not a mapping of keys", where, example))
                continue
            instance, found = schema.build(Feature, section, where)
            problems += found
            made[name] = instance
        if problems:
            raise RequestError(problems)
        return made

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        try:
            features = self.typed(group)
        except RequestError as error:
            yield from error.problems
            return
        held: dict[str, tuple[str, int]] | None = None
        try:
            held = self._held(f"{group}.path")
        except RequestError as error:
            yield from error.problems
        if inputs is not None:
            yield from self._input_problems(features, inputs, held, group)
        if held is not None:
            texts = {spec.name for spec in inputs or () if spec.dtype == "string"}
            yield from self._feature_problems(features, held, group, texts)

    def _held(self, where: str) -> dict[str, tuple[str, int]]:
        files = self.files()
        if not files:
            raise RequestError(Problem(f"{self.path} has no files named .tfrecord or .record", where, f"{where}=FILE"))
        return first_features(files[0], where)

    def _input_problems(
        self,
        features: Mapping[str, Feature],
        inputs: tuple[TensorSpec, ...],
        held: Mapping[str, tuple[str, int]] | None,
        group: str,
    ) -> Iterable[Problem]:
        names = [spec.name for spec in inputs]
        for name in features:
            if name not in names:
                better = next(iter(near(name, names)), names[0])
                fixed = {better if other == name else other: section for other, section in self.features.items()}
                what = f"the model has no input {name!r}; it has {', '.join(names)}"
                yield Problem(what, f"{group}.features.{name}", assignment(f"{group}.features", fixed))
                return
        missing = [spec for spec in inputs if spec.name not in features]
        if missing:
            guessed = {spec.name: _guess(spec, held or {}) for spec in missing}
            listed = ", ".join(f"{name} ({kind})" for name, (kind, _) in (held or {}).items()) or "unknown ones"
            what = f"no feature is named for the input {', '.join(guessed)}; the records have {listed}"
            yield Problem(what, f"{group}.features", assignment(f"{group}.features", {**self.features, **guessed}))
        for spec in inputs:
            if spec.name in features:
                yield from _spec_problems(features[spec.name], spec, f"{group}.features.{spec.name}")

    def _feature_problems(
        self, features: Mapping[str, Feature], held: Mapping[str, tuple[str, int]], group: str, texts: set[str]
    ) -> Iterable[Problem]:
        asked = {f"{group}.features.{name}.feature": feature.feature for name, feature in features.items()}
        if self.label is not None:
            asked[f"{group}.label"] = self.label
        for key, name in asked.items():
            if name not in held:
                listed = ", ".join(held) or "none"
                fix = assignment(key, next(iter(near(name, list(held))), next(iter(held), "NAME")))
                yield Problem(f"the first record of {self.path} has no feature {name!r}; it has {listed}", key, fix)
        for name, feature in features.items():
            kind = held.get(feature.feature, (feature.dtype.kind, 0))[0]
            if kind != feature.dtype.kind:
                bytes_type = "text" if name in texts else "image"
                better = {"float": "float32", "int64": "int64"}.get(kind, bytes_type)
                key = f"{group}.features.{name}.dtype"
                what = f"{feature.feature!r} is a list of {kind} in {self.path}, not {feature.dtype.value}"
                ors = (f"{key}=uint8",) if better == "image" else ()
                yield Problem(what, key, f"{key}={better}", ors)

    def open(
        self, inputs: tuple[TensorSpec, ...], group: str, examples: Callable[[Path], Iterator[Example]]
    ) -> Samples:
        """The records in the order of the files. They are read once to count them, and again for the samples;
        `examples` gives those of a file."""
        where = f"{group}.path"
        if problems := list(self.source_problems(inputs, group)):
            raise RequestError(problems)
        features, count, labels = self.typed(group), 0, []
        takers = {spec.name: _taker(features[spec.name], spec, group) for spec in inputs}
        for example in self._examples(examples):
            if self.label is not None:
                labels.append(_label(example, self.label, f"{self.path}: record {count}", f"{group}.label"))
            count += 1

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            awaited = iter(range(count) if wanted is None else wanted)
            row = next(awaited, None)
            for number, example in enumerate(self._examples(examples)):
                if row is None:
                    return
                if number == row:
                    said = f"{self.path}: record {number}"
                    yield {name: taken(example, said, where) for name, taken in takers.items()}
                    row = next(awaited, None)

        done = {spec.name: _recorded(features[spec.name], spec, group) for spec in inputs}
        return Samples(
            self.path,
            where,
            count,
            rows,
            labels if self.label is not None else None,
            lambda row: f"record {row}",
            fix=f"{where}=OTHER.tfrecord",
            preprocessing=done,
        )

    def _examples(self, examples: Callable[[Path], Iterator[Example]]) -> Iterator[Example]:
        for file in self.files():
            yield from examples(file)


def _guess(spec: TensorSpec, held: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """A feature that an input may be, for a fix."""
    name = next(iter(near(spec.name, list(held))), next(iter(held), "NAME"))
    kind = held.get(name, ("float", 0))[0]
    bytes_type = "text" if spec.dtype == "string" else "image"
    return {"feature": name, "dtype": {"float": "float32", "int64": "int64"}.get(kind, bytes_type)}


def _spec_problems(feature: Feature, spec: TensorSpec, group: str) -> Iterable[Problem]:
    if (spec.dtype == "string") is not (feature.dtype is FeatureType.text):
        better = "text" if spec.dtype == "string" else "uint8"
        what = f"{feature.dtype.name} does not fit the model's {spec}"
        yield Problem(what, f"{group}.dtype", f"{group}.dtype={better}")
        return
    if feature.dtype is FeatureType.image:
        yield from feature.key_problems(spec, group)
        return
    yield from Scaling.of(vars(feature)).problems(group, None)
    inner, shape = spec.shape[1:], feature.shape
    if shape is None and None in inner:
        example = [size or 1 for size in inner]
        what = f"the model leaves the shape open: {spec}"
        yield Problem(what, f"{group}.shape", assignment(f"{group}.shape", example))
    elif shape is not None and (
        len(shape) != len(inner) or any(own not in (None, size) for own, size in zip(inner, shape, strict=True))
    ):
        fixed = [own or size for own, size in zip(inner, [*shape, *[1] * len(inner)], strict=False)]
        what = f"{shape} does not fit the model's {spec}, batch left out"
        yield Problem(what, f"{group}.shape", assignment(f"{group}.shape", fixed))


def _taker(feature: Feature, spec: TensorSpec, group: str) -> Callable[[Example, str, str], Any]:
    """An input's sample, from the features of a record called `said`; for errors RequestError."""
    import numpy as np

    scaled = Scaling.of(vars(feature)).function()
    shape = tuple(feature.shape or (size or 1 for size in spec.shape[1:]))
    image = feature.dtype is FeatureType.image
    geometry = feature.geometry(spec, f"{group}.features.{spec.name}") if image else None

    def take(example: Example, said: str, where: str) -> Any:
        def refuse(what: str) -> RequestError:
            return RequestError(Problem(f"{said}: {what}", where, f"{where}=OTHER.tfrecord"))

        if feature.feature not in example:
            raise refuse(f"it has no feature {feature.feature!r}; it has {', '.join(example) or 'none'}")
        values = example[feature.feature]
        if isinstance(values, list) is not (feature.dtype.kind == "bytes"):
            raise refuse(f"{feature.feature!r} is not {feature.dtype.value}")
        if feature.dtype is FeatureType.text:
            if len(values) != math.prod(shape):
                raise refuse(f"{feature.feature!r} has {len(values)} texts, which do not fill {list(shape)}")
            return np.array(values, object).reshape(shape)
        if feature.dtype.kind == "bytes" and len(values) != 1:
            raise refuse(f"{feature.feature!r} has {len(values)} byte strings; one is needed")
        if geometry is not None:
            try:
                return scaled(decode(values[0], geometry))
            except ValueError as error:
                raise refuse(f"{feature.feature!r} cannot be read: {error}") from error
        array = np.frombuffer(values[0], "uint8") if isinstance(values, list) else values
        if array.size != math.prod(shape):
            raise refuse(f"{feature.feature!r} has {array.size} numbers, which do not fill {list(shape)}")
        return scaled(array.reshape(shape))

    return take


def _label(example: Example, name: str, said: str, where: str) -> Any:
    values = example.get(name, ())
    if len(values) != 1:
        raise RequestError(Problem(f"{said}: {len(values)} labels {name!r}, one is needed", where))
    return values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else values[0].item()


def _recorded(feature: Feature, spec: TensorSpec, group: str) -> dict[str, Any]:
    done: dict[str, Any] = {"feature": feature.feature}
    if feature.dtype is FeatureType.image:
        done |= feature.geometry(spec, f"{group}.features.{spec.name}").recorded()
    return {**done, **Scaling.of(vars(feature)).recorded()}


def first_features(file: Path, where: str) -> dict[str, tuple[str, int]]:
    """Names of the first record's features, each with its kind (bytes, float, int64; "" for an empty one) and its
    length in bytes. Errors: RequestError for a file without one, a wrong checksum, or anything but an Example."""
    try:
        with regular_files.open_regular(file) as opened:
            held = file.stat().st_size
            if file.name.endswith(".gz"):
                with gzip.open(opened) as stream:
                    return _features_of(_record(stream, min(_DEFLATE_RATIO * held, _LARGEST_PACKED)))
            return _features_of(_record(opened, held))
    except (OSError, ValueError, EOFError, IndexError, struct.error) as error:
        what = f"{file} cannot be read as TFRecord: {gist(error)}"
        raise RequestError(Problem(what, where, f"{where}=OTHER.tfrecord")) from error


_LARGEST, _LARGEST_PACKED = 1 << 30, 128 << 20
_DEFLATE_RATIO = 1032  # what zeros are packed to, at most


def _record(stream: Any, most: int) -> bytes:
    """Return the first record of a stream in which it can have at most so many bytes. Errors: ValueError."""
    head = stream.read(12)
    if not head:
        raise ValueError("it is empty")
    length, check = struct.unpack("<QI", head)
    if masked_crc32c(head[:8]) != check or length > _LARGEST:
        raise ValueError("the length of its first record has a wrong checksum")
    if length > most:
        words = [regular_files.size_in_words(n) for n in (length, most)]
        raise ValueError("its first record promises {}, and can have {}".format(*words))
    data, check = stream.read(length), stream.read(4)
    if len(data) < length or len(check) < 4:
        raise ValueError("it ends within its first record")
    # Python takes a second for 10 MB; TensorFlow holds all records against their sums when it reads them.
    if length <= 1 << 20 and masked_crc32c(data) != struct.unpack("<I", check)[0]:
        raise ValueError("its first record has a wrong checksum")
    return bytes(data)


def masked_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and offset as TFRecord has it, so that sums of sums are no weak ones."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> list[int]:
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        made.append(value)
    return made


def _features_of(data: bytes) -> dict[str, tuple[str, int]]:
    """Example { Features features = 1 }, Features { map<string, Feature> feature = 1 }, in protobuf's wire format."""
    found = {}
    for number, features in _fields(data):
        if number != 1:
            raise ValueError("its records are no tf.train.Example")
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            values = list(_fields(parts.get(2, b"")))
            kind = _KINDS.get(values[0][0], "") if values else ""
            found[parts.get(1, b"").decode()] = (kind, len(values[0][1]) if values else 0)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of a message whose fields are all messages or strings."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        length, at = _varint(data, at)
        if key & 7 != 2 or at + length > len(data):
            raise ValueError("its records are no tf.train.Example")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("its records are no tf.train.Example")
