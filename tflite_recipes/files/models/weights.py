"""How many bytes of weights a model file holds, from the shapes it declares: gigabytes are never read."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.regular_files import parse_json
from tflite_recipes.files import archives
from tflite_recipes.files.models import tensor_bundle
from tflite_recipes.files.models.refusals import GRAPH_FILE, ZIP, damaged, first_bytes

# Flatbuffers and protobufs count their bytes in 31 bits; every conversion goes through both.
LIMIT = 2**31
# Bytes above which an array may be only so many times as large as what the file holds of it.
_HOLLOW, _HOLLOW_RATIO = 64 << 20, 200
_WEIGHTS = "model.weights.h5"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip's member; its name and an extra field stand before the data


def too_large(whose: str, size: int | None, where: str) -> list[Problem]:
    """What is wrong with a model of `size` bytes of weights; nothing where the size is not known or small enough."""
    if size is None or size < LIMIT:
        return []
    what = f"{whose} holds {size / 1e9:.2f} GB of weights; a .tflite, and the graph it is made from, must stay below "
    ways = ("split the model, and convert each part by itself", "give a smaller variant of the model")
    return [Problem(f"{what}{LIMIT / 1e9:.2f} GB (2^31 bytes)", where, "", ways)]


def keras_weight_bytes(path: Path) -> int | None:
    """Bytes of a `.keras` or `.h5` file's weights, without the optimizer's; None where the file does not tell.

    Errors: RequestError if its weights promise much more than the file holds.
    """
    return _weights(path).size


def check_promises(path: Path, where: str) -> None:
    """Refuse weights that take much more memory than their file has bytes. Errors: RequestError.

    A dataset of HDF5 that nobody wrote to takes no place in the file, and is read as zeros.
    """
    if hollow := _weights(path).hollow:
        raise RequestError(Problem(f"{path} is not loaded: {hollow}", where))


@dataclass(frozen=True)
class _Weights:
    """size: bytes, None if the file does not tell. hollow: a dataset that promises too much, in words."""

    size: int | None = None
    hollow: str = ""


def _weights(path: Path) -> _Weights:
    try:
        if first_bytes(path).startswith(ZIP):
            return _in_zip(path)
        with regular_files.open_regular(path) as file:
            return _in_hdf5(file)
    except archives.Hollow as error:
        raise damaged(path, error) from error
    except Exception:  # a damaged file is said by whoever loads it; what HDF5 raises for one is open-ended
        return _Weights()


def saved_model_weight_bytes(path: Path) -> int | None:
    """Bytes of a SavedModel's variables, without an optimizer's, and of its graph with the constants in it."""
    try:
        graph = (path / GRAPH_FILE).stat().st_size
        variables = path / "variables" / "variables"
        index = variables.with_suffix(".index")
        return graph + (_model_part(tensor_bundle.sizes(index)) if index.is_file() else 0)
    except (OSError, ValueError, IndexError, struct.error):
        return None


def _in_zip(path: Path) -> _Weights:
    with archives.open_zip(path) as archive:
        if _WEIGHTS not in archive.namelist():
            return _Weights()
        member = archive.getinfo(_WEIGHTS)
        if member.compress_type != zipfile.ZIP_STORED:
            # Unpacked it may be several times the weights, because optimizers store theirs beside them. Of a model
            # that was never compiled it is the weights.
            compiled = parse_json(archives.read_member(archive, "config.json")).get("compile_config")
            return _Weights(None if compiled else member.file_size)
    with regular_files.open_regular(path) as file:
        file.seek(member.header_offset)
        _, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = member.header_offset + _LOCAL_HEADER.size + name + extra
        return _in_hdf5(_Window(file, start, member.file_size))


def _in_hdf5(file: Any) -> _Weights:
    import h5py  # type: ignore[import-untyped, unused-ignore]

    sizes, hollow = [], []

    def add(_: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset):
            return
        size = node.size * node.dtype.itemsize
        if size > _HOLLOW and size > _HOLLOW_RATIO * node.id.get_storage_size():
            words = [regular_files.size_in_words(n) for n in (size, node.id.get_storage_size())]
            hollow.append("{} in it promises {}, and the file holds {}".format(node.name, *words))
        sizes.append(size)

    with h5py.File(file, "r") as opened:
        # `.h5` models have all their weights there; weights files do not have the group.
        root = opened.get("model_weights", opened)
        for name in root:
            if name not in ("optimizer", "optimizer_weights"):
                add(name, root[name])
                if isinstance(root[name], h5py.Group):
                    root[name].visititems(add)
    return _Weights(sum(sizes), hollow[0] if hollow else "")


class _Window(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


# What TensorFlow 1's optimizers call their copies of a variable, behind its name.
_SLOTS = ("Adam", "Adam_1", "Momentum", "RMSProp", "RMSProp_1", "RMSProp_2", "Adagrad", "Adadelta", "Ftrl", "Ftrl_1")


# Where `model.export` lists the same variables a second time.
_AGAIN = ("variables/", "trainable_variables/", "non_trainable_variables/")
_NO_VARIABLE = "_CHECKPOINTABLE_OBJECT_GRAPH"


def _model_part(sizes: Mapping[str, int]) -> int:
    doubled = _AGAIN if any(name.startswith("_all_variables/") for name in sizes) else ()
    return sum(
        size for name, size in sizes.items() if not name.startswith(doubled) and not _not_the_models(name, sizes)
    )


def _not_the_models(name: str, names: Mapping[str, int]) -> bool:
    if name == _NO_VARIABLE:
        return True
    if name.startswith("optimizer/"):  # where those of a Keras 3 model stand beside its own
        return not name.startswith("optimizer/_trainable_variables/")
    variable, _, slot = name.rpartition("/")
    return ".OPTIMIZER_SLOT/" in name or (slot in _SLOTS and variable in names)
