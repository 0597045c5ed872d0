"""The records of a TFRecord file, read by TensorFlow, which holds each against its checksum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.core.errors import Problem, RequestError, gist


def examples(file: Path, where: str) -> Iterator[dict[str, Any]]:
    """The features of each `tf.train.Example`, by name: float32 (n,), int64 (n,), or a list of bytes.

    Errors: RequestError that names the file and the record.
    """
    compression, number = "GZIP" if file.name.endswith(".gz") else "", 0
    records = tf.data.TFRecordDataset(str(file), compression_type=compression).as_numpy_iterator()
    while True:
        try:
            raw = next(records)
            example = tf.train.Example.FromString(raw)
        except StopIteration:
            return
        except Exception as error:  # tf.errors, and what protobuf makes of bytes that are no message
            what = f"{file}: record {number} cannot be read: {gist(error)}"
            raise RequestError(Problem(what, where, f"{where}=OTHER.tfrecord")) from error
        yield {name: _values(feature) for name, feature in example.features.feature.items()}
        number += 1


def _values(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    if kind == "float_list":
        return np.array(feature.float_list.value, "float32")
    if kind == "int64_list":
        return np.array(feature.int64_list.value, "int64")
    return list(feature.bytes_list.value)
