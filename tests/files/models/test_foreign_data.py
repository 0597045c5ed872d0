"""HDF5 files whose data lies in other files are refused before anything follows their links."""

from __future__ import annotations

import zipfile

import h5py
import numpy as np
import pytest
from support import hostile_models as hostile

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import models as model_files


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(np.full(64, 0.125, "float32").tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.full((4, 2), 0.125, "float32")
    return path


def external_storage(group, secret):
    group.create_dataset("kernel:0", shape=(4, 2), dtype="f4", external=[(str(secret), 0, 32)])


def external_link(group, secret):
    group["kernel:0"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/kernel")


def link_to_a_missing_file(group, secret):
    group["kernel:0"] = h5py.ExternalLink("gone.h5", "/kernel")


def virtual(group, secret):
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "kernel", (4, 2))
    group.create_virtual_dataset("kernel:0", layout)


KINDS = [external_storage, external_link, link_to_a_missing_file, virtual]
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_model_whose_weights_are_another_file_is_refused(tmp_path, secret, kind):
    path = hostile.write_h5(tmp_path / "m.h5", hostile.functional())
    assert model_files.foreign_data(path) is None
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/kernel:0"]
        kind(file["model_weights/d/d"], secret)
    with pytest.raises(RequestError) as refused:
        model_files.read_keras_file(path)
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("source.path", "")
    (problem,) = model_files.weights_problems(path)
    assert (problem.where, problem.fix) == ("source.weights", "")


def test_group_that_is_another_file_is_refused(tmp_path, secret):
    path = hostile.write_h5(tmp_path / "m.h5", hostile.functional())
    with h5py.File(path, "r+") as file:
        del file["model_weights"]
        file["model_weights"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/")
    assert model_files.foreign_data(path) is not None


@kinds
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_inside_of_an_archive_are_looked_through(tmp_path, secret, kind, compression):
    weights = tmp_path / "w.weights.h5"
    with h5py.File(weights, "w") as file:
        kind(file.create_group("layers/dense/vars"), secret)
    assert model_files.foreign_data(weights) is not None
    archive = hostile.write_keras(tmp_path / "m.keras", hostile.functional())
    assert model_files.foreign_data(archive) is None
    with zipfile.ZipFile(archive, "a", compression) as file:
        file.write(weights, "model_00000.weights.h5")
    with pytest.raises(RequestError):
        model_files.read_keras_file(archive)


def test_weights_behind_a_block_of_the_users_are_looked_through(tmp_path, secret):
    with h5py.File(tmp_path / "w.h5", "w", userblock_size=512) as file:
        external_storage(file.create_group("layers"), secret)
    archive = hostile.write_keras(tmp_path / "m.keras", hostile.functional())
    with zipfile.ZipFile(archive, "a") as file:
        file.write(tmp_path / "w.h5", "model_00001.weights.h5")
    assert model_files.foreign_data(archive) is not None


@pytest.mark.parametrize("block", [b"", b"PK\x03\x04", b"#!/bin/sh"])
def test_weights_file_that_begins_behind_a_block_is_looked_through(tmp_path, secret, block):
    """Keras applications load such a file."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        external_storage(file.create_group("layers"), secret)
    with path.open("r+b") as file:
        file.write(block)
    assert model_files.foreign_data(path) is not None


def test_links_inside_of_a_file_are_free(tmp_path):
    path = hostile.write_h5(tmp_path / "m.h5", hostile.functional())
    with h5py.File(path, "r+") as file:
        file["again"] = h5py.SoftLink("/model_weights/d/d/kernel:0")
        file["model_weights/round"] = file["/"]
        file.create_dataset("packed", data=np.zeros((100, 100)), chunks=(10, 10), compression="gzip")
    assert model_files.foreign_data(path) is None
