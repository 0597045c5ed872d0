"""HDF5 files whose damage or design would hold the HDF5 library, or our own checks, for hours."""

import pytest
from support import hostile_models as hostile

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.models import hdf5


def overlapping_heaps(count):
    """Return string heaps that each begin inside an object of the one before, and all end together."""
    blocks = []
    for number in range(count):
        left = (count - number) * 32 - 16
        blocks.append(
            b"\1\0".ljust(8, b"\0") + (16).to_bytes(8, "little") + b"GCOL\1\0\0\0" + left.to_bytes(8, "little")
        )
    return b"".join(blocks)


def test_read_hdf5_with_overlapping_string_heaps_is_refused(tmp_path, monkeypatch):
    path = hostile.write_h5(tmp_path / "m.h5", hostile.functional())
    assert hdf5.read_hdf5(path)[0]
    monkeypatch.setattr(hdf5, "_MOST_HEAP_OBJECTS", 3000)
    with path.open("ab") as file:
        file.write(overlapping_heaps(70))
    assert hdf5.read_hdf5(path)[0]  # 70 * 69 / 2 objects, and those of the model
    with path.open("ab") as file:
        file.write(overlapping_heaps(80))
    with pytest.raises(RequestError) as refused:
        hdf5.read_hdf5(path)
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("source.path", "")
    assert "3,000 objects" in problem.what
