"""Files that hold less than they declare, and paths that are not files, through the readers and through `check`."""

import gzip
import json
import os
import struct
import wave
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tflite_recipes.conversion import rule_suggestions
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import models, tflite
from tflite_recipes.files.samples import images, npz
from tflite_recipes.files.samples.arrays import NpyFiles
from tflite_recipes.files.samples.csv_tables import CsvFile
from tflite_recipes.files.samples.tfrecord_files import TfrecordFiles, masked_crc32c
from tflite_recipes.files.samples.wav_files import WavFolder

INPUTS = (TensorSpec("x", (None, 4), "float32"),)
HUGE = 1 << 40


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def keras_archive(path: Path, config: bytes = b"", **members: bytes) -> Path:
    """An archive with these members; `config` is repeated in config.json until it unpacks to 100 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
        with archive.open("config.json", "w") as stream:
            for _ in range(100 if config else 0):
                stream.write(config * (1 << 20))
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


def refused(read, *arguments) -> list:
    """What is wrong with a file, in words of our own."""
    with pytest.raises(RequestError) as error:
        read(*arguments)
    text = " ".join(problem.what for problem in error.value.problems)
    assert "Error" not in text
    return list(error.value.problems)


@pytest.mark.slow
def test_read_keras_file_with_a_config_that_unpacks_to_much_is_refused(here):
    path = keras_archive(here / "a.keras", b" ")
    (problem,) = refused(models.read_keras_file, path)
    assert problem.where == "source.path"
    refused(models.config_of, path)


@pytest.mark.slow
def test_read_keras_file_with_padded_weights_is_refused(here):
    path = keras_archive(here / "a.keras", model__weights__h5=bytes(100 << 20))
    refused(models.read_keras_file, path)


@pytest.mark.slow
def test_weights_problems_of_padded_weights_name_the_key(here):
    keras_archive(here / "a.keras", model__weights__h5=bytes(100 << 20))
    (problem,) = models.weights_problems(here / "a.keras")
    assert problem.where == "source.weights"


def test_read_keras_file_nested_too_deep_is_refused(here):
    for text in ("[" * 100_000, '{"a":' * 300 + "1" + "}" * 300):
        with zipfile.ZipFile(here / "a.keras", "w") as archive:
            archive.writestr("config.json", text)
        refused(models.read_keras_file, here / "a.keras")


def test_check_promises_of_h5_with_weights_that_nobody_wrote_is_refused(here):
    h5py = pytest.importorskip("h5py")
    with h5py.File(here / "a.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})
        file.create_dataset("model_weights/d/kernel", (1 << 28,), "float32", chunks=(1 << 20,))
    assert (here / "a.h5").stat().st_size < 1 << 20
    (problem,) = refused(models.check_promises, here / "a.h5", "source.path")
    assert problem.where == "source.path"


def test_read_saved_model_with_a_sparse_graph_is_refused(here):
    with (here / "saved_model.pb").open("wb") as file:
        file.truncate(HUGE)
    refused(models.read_saved_model, here)
    refused(models.reaching_ops, here)


def test_read_tflite_of_anything_but_a_file_is_refused(here):
    os.mkfifo(here / "pipe")
    with (here / "sparse").open("wb") as file:
        file.write(b"\x1c\0\0\0TFL3")
        file.truncate(40 << 30)
    for path in (here / "pipe", here / "sparse", Path("/dev/zero"), here):
        (problem,) = refused(tflite.read_tflite, path)
        assert problem.where == str(path)
        if path != here:
            refused(rule_suggestions.read, path)


def test_npz_headers_that_promise_more_than_there_is_are_refused(here):
    with zipfile.ZipFile(here / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy_header((HUGE, 4)) + bytes(64))
    (problem,) = npz.npz_problems(str(here / "a.npz"), INPUTS, "calibration.path")
    assert (problem.where, "promises" in problem.what) == ("calibration.path", True)


@pytest.mark.slow
def test_npz_that_unpacks_to_much_more_than_it_is_is_refused(here):
    with zipfile.ZipFile(here / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", npy_header((6 << 20, 4)) + bytes(96 << 20))
    (problem,) = npz.npz_problems(str(here / "a.npz"), INPUTS, "calibration.path")
    assert problem.where == "calibration.path"


def test_npz_of_ordinary_zeros_is_read(here):
    np.savez_compressed(here / "a.npz", x=np.zeros((100_000, 4), "float32"))
    assert list(npz.npz_problems(str(here / "a.npz"), INPUTS, "calibration.path")) == []


@pytest.mark.parametrize("size", [200, HUGE])
def test_npy_that_promises_more_than_there_is_is_refused(here, size):
    with (here / "x.npy").open("wb") as file:
        file.write(npy_header((HUGE // 16, 4)))
        file.truncate(size)
    (problem,) = NpyFiles(str(here / "x.npy")).source_problems(INPUTS, "calibration")
    assert problem.where == "calibration.path"


def test_npy_folder_with_a_pipe_is_refused(here):
    os.mkfifo(here / "x.npy")
    (problem,) = NpyFiles(str(here)).source_problems(INPUTS, "calibration")
    assert problem.where == "calibration.path"


def test_decode_image_that_promises_more_pixels_than_there_are_is_refused(here):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(8000 * 1001))) + chunk(b"IEND", b"")
    geometry = images.Geometry(8, 8, 3, images.Resize.bilinear, images.Crop.stretch, images.Order.rgb)
    with pytest.raises(ValueError, match="8000 x 8000"):
        images.decode(data, geometry)
    os.mkfifo(here / "a.png")
    with pytest.raises(ValueError, match="pipe"):
        images.decode(here / "a.png", geometry)


@pytest.mark.parametrize(("frames", "rate"), [(1 << 28, 16_000), (8, 2_000_000_000)])
def test_wave_that_promises_more_than_there_is_is_refused(here, frames, rate):
    with wave.open(str(here / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(16))
    if frames > 8:
        data = bytearray((here / "a.wav").read_bytes())
        data[4:8] = struct.pack("<I", 36 + 2 * frames)
        data[40:44] = struct.pack("<I", 2 * frames)
        (here / "a.wav").write_bytes(data)
    (problem,) = WavFolder(str(here), seconds=1.0).source_problems((TensorSpec("x", (None, None), "float32"),), "c")
    assert problem.where == "c.path"


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
def test_tfrecord_that_promises_more_than_there_is_is_refused(here, name):
    length = struct.pack("<Q", 1 << 29)
    data = length + struct.pack("<I", masked_crc32c(length)) + bytes(64)
    (here / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    problems = list(TfrecordFiles(str(here / name)).source_problems(INPUTS, "calibration"))
    assert "calibration.path" in [problem.where for problem in problems]
    assert "promises" in problems[0].what


@pytest.mark.parametrize(
    "text",
    [",".join(f"c{i}" for i in range(1_000_000)) + "\n", "x" * (20 << 20), ",".join(["c"] * 150_000)],
    ids=["a million columns", "one long line", "the same name often"],
)
def test_csv_of_too_many_columns_is_refused(here, text):
    (here / "a.csv").write_text(text)
    (problem,) = CsvFile(str(here / "a.csv"), label="c5").source_problems(INPUTS, "calibration")
    assert problem.where == "calibration.path"
    assert len(problem.what) < 1000


def test_csv_of_many_columns_is_read(here):
    (here / "a.csv").write_text(",".join(f"c{i}" for i in range(100_000)) + "\n")
    wide = (TensorSpec("x", (None, 100_000), "float32"),)
    assert list(CsvFile(str(here / "a.csv")).source_problems(wide, "calibration")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "overrides"),
    [
        ("source.path", ["source=keras"]),
        ("source.path", ["source=saved_model"]),
        ("source.path", ["source=tflite"]),
        ("source.weights", ["source=factory", "source.function=make.py:build"]),
        ("source.function", ["source=factory"]),
        ("calibration.path", ["source=keras", "source.path=a.keras", "calibration=npz"]),
        ("calibration.path", ["source=keras", "source.path=a.keras", "calibration=csv"]),
        ("evaluation.path", ["source=keras", "source.path=a.keras", "evaluation=npz"]),
        ("target.labels", ["source=keras", "source.path=a.keras", "target=android"]),
    ],
)
@pytest.mark.parametrize("odd", ["pipe", pytest.param("sparse", marks=pytest.mark.slow)])
def test_check_key_with_a_path_that_is_no_file_names_the_key(here, cli, key, overrides, odd):
    (here / "make.py").write_text("def build(): ...\n")
    os.mkfifo(here / "pipe")
    with (here / "sparse").open("wb") as file:
        file.truncate(40 << 30)
    path = here / f"{odd}.py" if key == "source.function" else here / odd
    if key == "source.function":
        (here / odd).rename(path)
    value = f"{path}:build" if key == "source.function" else str(path)
    answer = cli("check", "convert", *overrides, f"{key}={value}")
    assert answer.status == 2
    assert any(line.startswith(f"{key}: {path} cannot be read") for line in answer.err.splitlines()), answer.err


def test_check_recipe_that_is_a_pipe_names_it(here, cli):
    os.mkfifo(here / "a.yaml")
    for command in (["check", "a.yaml"], ["run", "./a.yaml"], ["cp", "a.yaml", "b.yaml"]):
        answer = cli(*command)
        assert answer.status == 2
        assert "named pipe" in answer.err
    (here / "recipes").mkdir()
    os.mkfifo(here / "recipes" / "piped.yaml")
    (here / "conf" / "target").mkdir(parents=True)
    os.mkfifo(here / "conf" / "target" / "piped.yaml")
    assert cli("ls").status == 0
    assert cli("ls", "target").status == 0
    assert cli("check", "piped").status == 2
    assert cli("check", "digits_float", "target=piped").status == 2
