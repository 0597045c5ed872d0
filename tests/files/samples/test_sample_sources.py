"""Samples from files and functions: what they become, what is refused, and that they are never all in memory."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import sample_files
from support.checkout import first_way, write

from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples import Samples, npz, read, sample_writer, store
from tflite_recipes.files.samples.arrays import NpyFiles, NpzFile
from tflite_recipes.files.samples.csv_tables import CsvFile
from tflite_recipes.files.samples.folders import listing
from tflite_recipes.files.samples.generators import generated
from tflite_recipes.files.samples.images import ENDINGS, Crop, ImageFolder, Order, Resize
from tflite_recipes.files.samples.sample_source import drawn, label_counts
from tflite_recipes.files.samples.scaling import Scaling
from tflite_recipes.files.samples.tfrecord_files import FeatureType, TfrecordFiles, masked_crc32c
from tflite_recipes.files.samples.wav_files import Loudness, WavFolder

GROUP = "calibration"
X = TensorSpec("x", (None, 4), "float32")
PICTURE = TensorSpec("picture", (None, 6, 8, 3), "float32")
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def problems(source, *inputs):
    return list(source.source_problems(inputs or None, GROUP))


def whats(source, *inputs):
    return [problem.what for problem in problems(source, *inputs)]


def refused(call, *arguments):
    with pytest.raises(RequestError) as raised:
        call(*arguments)
    return [problem.what for problem in raised.value.problems]


def taken(source, *inputs, **more):
    """Arrays and labels, as evaluation would read them."""
    opened = source if isinstance(source, Samples) else source.open(inputs, GROUP)
    return read(opened, inputs, Path("stored"), **more)


# Which samples


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_stratified_shares_are_as_equal_as_the_labels_allow(labels, count, seed):
    rows = drawn(len(labels), count, seed, False, labels, None)
    assert len(rows) == min(count, len(labels))
    assert rows == sorted(set(rows))
    assert rows == drawn(len(labels), count, seed, False, labels, True)
    held, got = Counter(labels), Counter(labels[row] for row in rows)
    most = max(got.values())
    assert all(got[label] in (most, most - 1) or got[label] == held[label] for label in held)


@given(st.integers(1, 50), st.none() | st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_without_labels_the_draw_is_that_of_npz_files_and_shuffling_only_changes_the_order(total, count, seed):
    rows = drawn(total, count, seed, False, None, None)
    assert rows == npz.choose({"x": np.arange(total)}, count, seed)["x"].tolist()
    assert rows == drawn(total, count, seed, False, ["a"] * total, False)
    shuffled = drawn(total, count, seed, True, None, None)
    assert sorted(shuffled) == rows
    assert shuffled == drawn(total, count, seed, True, None, None)


def test_shuffling_does_shuffle():
    assert drawn(50, None, 0, True, None, None) != list(range(50))
    assert drawn(50, None, 0, True, None, None) != drawn(50, None, 1, True, None, None)


def test_labels_are_counted_by_name():
    assert label_counts([1, 0, 1]) == {"0": 1, "1": 2}


# Scaling


def test_both_ways_to_scale():
    x = np.array([[0, 127, 255]], "uint8")
    assert Scaling().apply(x) is x
    assert np.allclose(Scaling(mean=127.5, std=127.5).apply(x), [[-1, -0.00392157, 1]])
    assert np.allclose(Scaling(scale=1 / 255).apply(x), [[0, 127 / 255, 1]])
    assert np.allclose(Scaling(mean=[1, 2, 3]).apply(x), [[-1, 125, 252]])
    assert np.allclose(Scaling(scale=[1, 2, 3], offset=1.0).apply(x), [[1, 255, 766]])
    assert Scaling(std=2.0).apply(x).dtype == "float32"


@pytest.mark.parametrize(
    ("scaling", "what", "fix"),
    [
        (Scaling(mean=1.0, scale=2.0), "mean and scale are two ways to scale: give one", "calibration.scale=null"),
        (
            Scaling(std=1.0, scale=2.0, offset=1.0),
            "std and scale and offset are two ways to scale: give one",
            "calibration.scale=null calibration.offset=null",
        ),
        (Scaling(mean=[1.0, 2.0]), "2 numbers for 3 channels", "'calibration.mean=[1.0,2.0,1.0]'"),
        (Scaling(std=0), "0 has a zero", "calibration.std=127.5"),
        (Scaling(mean="x"), "'x' is neither a number nor a list of them", "calibration.mean=127.5"),
        (Scaling(mean=[]), "[] is neither a number nor a list of them", "calibration.mean=127.5"),
        (Scaling(offset=float("nan")), "nan is neither", "calibration.offset=0.0"),
    ],
)
def test_scaling_that_cannot_be(scaling, what, fix):
    (problem,) = scaling.problems(GROUP, 3)
    assert problem.what.startswith(what)
    assert problem.fix == fix


# Storing


def source(*values, labels=None):
    return Samples("s", "calibration.path", len(values), lambda rows: ({"x": values[r]} for r in rows), labels)


def test_samples_are_stored_as_arrays_are(here):
    values = np.random.default_rng(0).random((30, 4))
    store(source(*values), range(30), (X,), here / "one")
    npz.save_arrays(here / "other", {"x": values.astype("float32")})
    for name in ("0.npy", "names.txt"):
        assert (here / "one" / name).read_bytes() == (here / "other" / name).read_bytes()


@in_one_folder
@given(st.permutations(range(9)), st.integers(1, 9))
def test_samples_are_stored_in_the_order_asked_for(here, order, count):
    values = np.arange(36.0).reshape(9, 4)
    text = TensorSpec("x", (None,), "string")
    for spec, given_ in ((X, values), (text, np.array([f"t{i}" for i in range(9)], object))):
        folder = store(source(*given_), order[:count], (spec,), here / "stored")
        assert npz.open_arrays(folder)["x"].tolist() == given_[order[:count]].tolist()


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (np.nan, "s, input 'x': NaN values in sample 3"),
        (np.inf, "s, input 'x': infinite values in sample 3"),
        (1e300, "s, input 'x': too large values for float32 in sample 3"),
    ],
)
def test_bad_values_are_refused_by_sample(here, bad, what):
    values = np.zeros((6, 4))
    values[3, 1] = bad
    assert refused(store, source(*values), range(6), (X,), here / "stored") == [what]
    values[5] = values[3]
    (said,) = refused(store, source(*values), [5, 1, 3], (X,), here / "stored")
    assert said == what.replace("in sample", "in 2 samples, the first is sample")


def test_bad_values_of_rows_that_are_not_taken_are_not_looked_at(here):
    values = np.repeat(np.arange(6.0)[:, None], 4, axis=1)
    values[3] = np.nan
    store(source(*values), [0, 5], (X,), here / "stored")
    assert np.load(here / "stored" / "0.npy").tolist() == [[0.0] * 4, [5.0] * 4]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([], "s: empty, it holds no sample"),
        (
            [np.zeros(4), np.zeros(5)],
            "s, input 'x': sample 1 has the shape (5,), which does not fit the model's x (?, 4)",
        ),
        ([np.zeros(4, complex)], "s, input 'x': complex128 cannot become the model's float32"),
    ],
)
def test_samples_that_do_not_fit_are_refused(here, values, what):
    (said,) = refused(store, source(*values), range(len(values)), (X,), here / "stored")
    assert said.startswith(what)


def test_open_sizes_are_those_of_the_first_sample(here):
    spec = TensorSpec("x", (None, None), "float32")
    (said,) = refused(store, source(np.zeros(4), np.zeros(5)), range(2), (spec,), here / "stored")
    assert said == "s, input 'x': sample 1 has the shape (5,), those before it have (4,)"


# Arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_rows_are_those_of_the_whole_array(here, save, order):
    x = np.asarray(np.random.default_rng(0).random((40, 4)), order=order)
    save("data.npz", x=x, labels=np.arange(40) % 3)
    opened = NpzFile("data.npz").open((X,), GROUP, "labels")
    arrays, labels = taken(opened, X, count=7, seed=5)
    expected = npz.choose({"x": x.astype("float32"), "labels": np.arange(40) % 3}, 7, 5)
    assert arrays["x"].tolist() == expected["x"].tolist()
    assert labels.tolist() == expected["labels"].tolist()


@in_one_folder
@given(st.data())
def test_damage_in_an_npz_is_refused_and_never_crashes(here, data):
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save("whole.npz", x=np.arange(40, dtype="float32").reshape(10, 4))
    content = bytearray(Path("whole.npz").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path("data.npz").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        arrays, _ = taken(NpzFile("data.npz"), X)
    except RequestError:
        return
    assert arrays["x"].tolist() == np.arange(40).reshape(10, 4).tolist()


def test_pickled_arrays_are_never_loaded(here):
    np.savez("data.npz", x=np.array([[{}] * 4], object))
    np.save("data.npy", np.array([[{}] * 4], object))
    spec = TensorSpec("x", (None, 4), "string")
    assert "Python objects" in refused(taken, NpzFile("data.npz"), spec)[0]
    assert "cannot be read as .npy" in refused(taken, NpyFiles("data.npy"), spec)[0]


def test_an_npy_file_is_for_one_input_and_a_folder_for_several(here):
    x, y = np.random.default_rng(0).random((2, 9, 4))
    np.save("x.npy", x)
    assert taken(NpyFiles("x.npy"), X)[0]["x"].tolist() == x.astype("float32").tolist()
    other = TensorSpec("y", (None, 4), "float32")
    assert "one .npy file's samples are for a model with one input" in whats(NpyFiles("x.npy"), X, other)[0]
    (here / "both").mkdir()
    np.save("both/x.npy", x)
    (said,) = problems(NpyFiles("both"), X, other)
    assert said.what == "both holds x.npy; for the model's inputs y.npy must be there"
    np.save("both/y.npy", y[:3])
    assert whats(NpyFiles("both"), X, other) == ["both: the arrays differ in their number of samples: x 9, y 3"]
    np.save("both/y.npy", y)
    arrays, _ = taken(NpyFiles("both"), X, other, count=3)
    assert arrays["y"].tolist() == npz.choose({"y": y.astype("float32")}, 3, 0)["y"].tolist()
    assert NpyFiles("both").specs()["y"] == TensorSpec("y", (9, 4), "float64")


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((3, 5)), "x.npy: shape (3, 5) does not fit the model's x (?, 4) float32"),
        (np.zeros((0, 4)), "x.npy: empty, it holds no sample"),
        (np.zeros((3, 4), "complex64"), "x.npy: complex64 cannot become the model's float32"),
    ],
)
def test_an_npy_file_is_held_against_the_input_by_its_header(here, array, what):
    np.save("x.npy", array)
    assert whats(NpyFiles("x.npy"), X) == [what]


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_what_is_no_npy_is_refused(here, content):
    Path("x.npy").write_bytes(content)
    assert whats(NpyFiles("x.npy"), X)[0].startswith("x.npy cannot be read as .npy")
    np.savez("x.npz", x=np.zeros(3))
    (problem,) = problems(NpyFiles("x.npz"), X)
    assert problem.fix == "calibration=npz calibration.path=x.npz"


# Images


def one(spec=PICTURE, **keys):
    (array,) = taken(ImageFolder("images", **keys), spec)[0].values()
    return array[0]


def ramp(height, width):
    """Red grows to the right, green downwards, blue is 7."""
    made = np.full((height, width, 3), 7)
    made[..., 0], made[..., 1] = np.arange(width)[None] * 10, np.arange(height)[:, None] * 10
    return made


def test_images_of_the_right_size_are_their_pixels(here):
    sample_files.image(here / "images" / "a.png", ramp(6, 8))
    assert one().dtype == "float32"
    assert one().tolist() == ramp(6, 8).tolist()
    assert one(order=Order.bgr).tolist() == ramp(6, 8)[..., ::-1].tolist()
    assert np.allclose(one(mean=[10, 20, 30], std=2.0), (ramp(6, 8) - [10, 20, 30]) / 2)
    assert np.allclose(one(scale=1 / 255), ramp(6, 8) / 255)
    assert one(TensorSpec("picture", (None, 6, 8, 3), "uint8")).dtype == "uint8"


def test_gray_images_suit_inputs_with_and_without_a_channel(here):
    sample_files.image(here / "images" / "a.png", np.arange(48).reshape(6, 8))
    expected = np.arange(48).reshape(6, 8)
    assert one(TensorSpec("p", (None, 6, 8), "float32")).tolist() == expected.tolist()
    assert one(TensorSpec("p", (None, 6, 8, 1), "float32"))[..., 0].tolist() == expected.tolist()
    assert one()[..., 2].tolist() == expected.tolist()


@pytest.mark.parametrize("resize", Resize)
def test_each_way_to_resize_is_pillows(here, resize):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype("uint8")
    sample_files.image(here / "images" / "a.png", pixels)
    method = {"area": "BOX"}.get(resize.name, resize.name.upper())
    expected = np.asarray(Image.fromarray(pixels).resize((8, 6), Image.Resampling[method]))
    assert one(resize=resize).tolist() == expected.tolist()


def test_ways_to_resize_differ(here):
    sample_files.images(here / "images", 1, (20, 30, 3))
    assert len({one(resize=resize).tobytes() for resize in Resize}) == len(Resize)


def test_each_way_to_treat_another_ratio(here):
    wide = np.zeros((6, 24, 3))
    wide[:, 8:16] = 200  # the middle third
    sample_files.image(here / "images" / "a.png", wide)
    assert (one(crop=Crop.center_crop) == 200).all()
    padded = one(crop=Crop.pad, resize=Resize.nearest)
    assert (padded[:2] == 0).all()
    assert (padded[4:] == 0).all()
    assert (padded[2:4, 3:5] == 200).all()
    stretched = one(crop=Crop.stretch, resize=Resize.nearest)
    assert stretched[:, 3:5].min() == 200
    assert stretched[:, :2].max() == stretched[:, 6:].max() == 0


def test_sub_folders_are_labels_and_other_files_are_told_of(here):
    sample_files.images(here / "images", 6, (6, 8, 3), ("cat", "dog"))
    write(here / "images" / "notes.txt", "x")
    write(here / "images" / ".hidden" / "a.png", "x")
    opened = ImageFolder("images").open((PICTURE,), GROUP)
    assert (opened.count, list(opened.labels)) == (6, ["cat"] * 3 + ["dog"] * 3)
    assert opened.notes == ("images: one file, notes.txt, is left out: no images by name",)
    assert opened.name(4) == "dog/0003.png"
    assert opened.preprocessing["picture"] == {
        "size": [6, 8],
        "resize": "bilinear",
        "antialias": True,
        "crop": "stretch",
        "channels": "rgb",
    }
    assert listing(here / "images" / "cat", (".png",)).labels is None


def test_links_to_folders_elsewhere_are_not_followed(here):
    sample_files.images(here / "elsewhere", 2, (6, 8, 3))
    (here / "images").mkdir()
    (here / "images" / "link").symlink_to(here / "elsewhere")
    assert whats(ImageFolder("images"), PICTURE)[0].startswith("images has no images")


@pytest.mark.parametrize(
    ("keys", "shape", "what", "fix"),
    [
        ({}, (None, None, None, 3), "the model leaves the size of its images open", "'calibration.size=[224,224]'"),
        ({"size": [6]}, (None, 6, 8, 3), "[6] is not [height, width], both at least 1", "'calibration.size=[6,6]'"),
        ({"size": [8, 8]}, (None, 6, 8, 3), "[8, 8] does not fit the model's", "calibration.size=null"),
        ({}, (None, 6, 8, None), "the model leaves the number of channels open", "calibration.channels=3"),
        ({"channels": 1}, (None, 6, 8, 3), "1 does not fit the model's", "calibration.channels=3"),
        ({"channels": 2}, (None, 6, 8, None), "images have 1 or 3 channels", "calibration.channels=3"),
        ({}, (None, 6, 8, 4), "images have 1 or 3 channels", "calibration=npz calibration.path=FILE"),
        ({}, (None, 6), "images are (height, width, channels)", "calibration=npz calibration.path=FILE"),
        ({"mean": 1.0, "scale": 1.0}, (None, 6, 8, 3), "mean and scale are two ways", "calibration.scale=null"),
        ({"mean": [1.0]}, (None, 6, 8, 3), "1 numbers for 3 channels", "'calibration.mean=[1.0,1.0,1.0]'"),
    ],
)
def test_keys_that_images_and_model_do_not_agree_on(here, keys, shape, what, fix):
    sample_files.images(here / "images", 1, (6, 8, 3))
    (problem,) = problems(ImageFolder("images", **keys), TensorSpec("p", shape, "float32"))
    assert problem.what.startswith(what)
    assert first_way(problem) == fix


def test_a_folder_without_images_and_a_model_with_two_inputs(here):
    write(here / "images" / "a.txt", "x")
    (said,) = whats(ImageFolder("images"), PICTURE)
    assert said.startswith("images has no images (.png .jpg")
    assert said.endswith("it holds a.txt")
    assert "is a file; a folder of images is needed" in whats(ImageFolder("images/a.txt"), PICTURE)[0]
    sample_files.images(here / "images", 1, (6, 8, 3))
    assert "images are for a model with one input, this one has 2" in whats(ImageFolder("images"), PICTURE, X)[0]
    assert whats(ImageFolder("images")) == []


def test_images_that_cannot_be_read_are_named(here):
    folder = sample_files.images(here / "images", 2, (6, 8, 3))
    (folder / "0000.png").write_bytes((folder / "0001.png").read_bytes()[:60])
    assert refused(one)[0].startswith("images/0000.png cannot be read: ")
    (folder / "0000.png").write_text("no image")
    assert refused(one) == ["images/0000.png cannot be read: it is no image that Pillow knows"]
    from PIL import Image

    Image.fromarray(np.full((6, 8), 40000, "uint16")).save(folder / "0000.png")
    assert "more than 8 bits" in refused(one)[0]


# Tables


def table(text):
    write(Path("t.csv"), text)


def test_all_columns_but_the_label_in_order(here):
    table("b,a,kind,c,d\n1,2,cat,3,4\n\n5,6,dog,7,8\n")
    arrays, labels = taken(CsvFile("t.csv", label="kind"), X)
    assert arrays["x"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert labels.tolist() == ["cat", "dog"]


def test_columns_by_input_shaped_scaled_and_typed(here):
    table("a;b;c;n\n1;2;3;7\n4;5;6;8\n")
    grid, count = TensorSpec("grid", (None, 1, 2), "float32"), TensorSpec("n", (None, 1), "int32")
    named = CsvFile("t.csv", inputs={"n": ["n"], "grid": ["c", "a"]}, delimiter=";")
    arrays, labels = taken(named, grid, count)
    assert (arrays["grid"].tolist(), arrays["n"].tolist(), labels) == ([[[3, 1]], [[6, 4]]], [[7], [8]], None)
    scaled = CsvFile("t.csv", inputs={"grid": ["a", "b"]}, delimiter=";", mean=1.0, std=2.0)
    assert taken(scaled, grid)[0]["grid"].tolist() == [[[0, 0.5]], [[1.5, 2]]]
    assert scaled.open((grid,), GROUP).preprocessing == {"grid": {"columns": ["a", "b"], "mean": 1.0, "std": 2.0}}


@pytest.mark.parametrize(
    ("text", "keys", "what", "fix"),
    [
        ("a,b,c,d\n", {"label": "e"}, "t.csv has no column 'e'; it has a, b, c, d", None),
        ("a,b,c,dd\n", {"inputs": {"x": ["a", "b", "c", "d"]}}, "no column 'd'", "'calibration.inputs={x:[a,b,c,dd]}'"),
        ("a,b,c,d\n", {"inputs": {"y": ["a"]}}, "the model has no input 'y'; it has x", "'calibration.inputs={x:[a]}'"),
        ("a,b,c,d,e\n", {}, "t.csv: 5 columns do not fill the model's x (?, 4) float32", "calibration.label=e"),
        ("a,b\n", {}, "t.csv: 2 columns do not fill the model's x (?, 4) float32", None),
        ("1,2,3,4\n", {}, "t.csv opens with numbers, not with the names", "calibration.path=OTHER.csv"),
        ("a,a,b,c\n", {}, "t.csv has several columns 'a'", None),
        ("", {}, "t.csv is empty", None),
        ("a,b,c,d\n", {"delimiter": ""}, "'' is not one character that can stand", "'calibration.delimiter=\",\"'"),
    ],
)
def test_a_header_is_held_against_the_model(here, text, keys, what, fix):
    table(text)
    found = problems(CsvFile("t.csv", **keys), X)
    assert what in found[0].what
    assert fix in (None, first_way(found[0]))


def test_two_inputs_need_their_columns_named(here):
    table("a,b,c,d\n1,2,3,4\n")
    y = TensorSpec("y", (None, 4), "float32")
    (problem,) = problems(CsvFile("t.csv"), X, y)
    assert first_way(problem) == "'calibration.inputs={x:[COLUMN],y:[COLUMN]}'"
    (problem,) = problems(CsvFile("t.csv", inputs={"x": ["a", "b", "c", "d"]}), X, y)
    assert problem.what == "no columns for the input y"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("1,2,3", "t.csv, line 3: 3 cells for 4 columns"),
        ("1,2,,4", "t.csv, line 3, column 'c': an empty cell is not a number"),
        ("1,two,3,4", "t.csv, line 3, column 'b': 'two' is not a number"),
        ("1,2,nan,4", "t.csv, input 'x': NaN values in sample 1"),
        ("1,2,inf,4", "t.csv, input 'x': infinite values in sample 1"),
    ],
)
def test_cells_that_are_no_numbers_are_named(here, row, what):
    table(f"a,b,c,d\n1,2,3,4\n{row}\n")
    assert refused(taken, CsvFile("t.csv"), X) == [what]


def test_a_table_that_is_no_text_or_has_no_row(here):
    Path("t.csv").write_bytes(b"a,b,c,d\n1,2,3,\xff\n")
    assert "t.csv is not UTF-8 text" in refused(taken, CsvFile("t.csv"), X)[0]
    table("a,b,c,d\n")
    assert refused(taken, CsvFile("t.csv"), X) == ["t.csv: empty, it holds no sample"]
    table("a" * 200_000)
    assert "t.csv cannot be read as CSV: field larger than" in whats(CsvFile("t.csv"), X)[0]
    (here / "folder").mkdir()
    assert "folder cannot be read" in whats(CsvFile("folder"), X)[0]


@in_one_folder
@given(st.binary(max_size=80))
def test_a_table_of_anything_is_refused_or_read_and_never_crashes(here, data):
    Path("t.csv").write_bytes(b"a,b,c,d\n1,2,3,4\n" + data)
    try:
        arrays, _ = taken(CsvFile("t.csv"), X)
    except RequestError:
        return
    assert np.isfinite(arrays["x"]).all()


# Sounds


SOUND = TensorSpec("sound", (None, 5), "float32")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_waves_of_every_width_are_of_full_scale_one(here, width):
    full = 2 ** (8 * width - 1)
    sample_files.wav(here / "w" / "a.wav", [-full, -full // 2, 0, full // 2, full - 1], width=width)
    assert np.allclose(taken(WavFolder("w"), SOUND)[0]["sound"], [[-1, -0.5, 0, 0.5, (full - 1) / full]])
    whole = taken(WavFolder("w", values=Loudness.int16), SOUND)[0]["sound"][0]
    assert whole[:4].tolist() == [-32768, -16384, 0, 16384]
    assert 32512 <= whole[4] <= 32767


def test_waves_are_cut_and_padded_and_that_is_told(here):
    sample_files.wav(here / "w" / "no" / "a.wav", range(0, 7 * 4096, 4096))
    sample_files.wav(here / "w" / "yes" / "b.wav", [16384])
    opened = WavFolder("w").open((SOUND,), GROUP)
    arrays, labels = taken(opened, SOUND)
    assert arrays["sound"].tolist() == [[0, 0.125, 0.25, 0.375, 0.5], [0.5, 0, 0, 0, 0]]
    assert labels.tolist() == ["no", "yes"]
    assert opened.notes == (
        "w: 1 of 2 waves are longer than 5 frames and cut at their end",
        "w: 1 of 2 waves are shorter than 5 frames and get zeros at their end",
    )
    assert opened.preprocessing["sound"] == {"sample_rate": 16000, "frames": 5, "channels": 1, "values": "unit"}


def test_channels_and_open_lengths(here):
    sample_files.wav(here / "w" / "a.wav", np.arange(12).reshape(6, 2) * 4096, rate=4)
    stereo = TensorSpec("sound", (None, None, 2), "float32")
    (problem,) = problems(WavFolder("w"), stereo)
    assert problem.fix == "calibration.seconds=1.0"
    arrays, _ = taken(WavFolder("w", seconds=0.5), stereo)
    assert arrays["sound"].tolist() == [[[0, 0.125], [0.25, 0.375]]]
    assert whats(WavFolder("w"), SOUND) == ["w/a.wav has 2 channels, 1 are needed"]
    assert problems(WavFolder("w", seconds=1.0), SOUND)[0].fix == "calibration.seconds=null"


def test_sample_rates_must_match(here):
    sample_files.wav(here / "w" / "a.wav", [0] * 5, rate=16000)
    (problem,) = problems(WavFolder("w", sample_rate=8000), SOUND)
    assert problem.what == "w/a.wav has 16000 samples a second, 8000 are needed; nothing is resampled here"
    assert problem.fix == "calibration.sample_rate=16000"
    sample_files.wav(here / "w" / "b.wav", [0] * 5, rate=8000)
    assert whats(WavFolder("w"), SOUND) == [
        "w/b.wav has 8000 samples a second, 16000 are needed; nothing is resampled here"
    ]


def test_waves_that_cannot_be_read_are_named(here):
    sample_files.wav(here / "w" / "a.wav", [0] * 5)
    good = (here / "w" / "a.wav").read_bytes()
    for content, what in (
        (good[:30], "cannot be read"),
        (b"RIFF", "it ends within its header"),
        (b"no wave at all, not by far", "cannot be read"),
        (good[:20] + b"\x03" + good[21:], "unknown format: 3; uncompressed integer samples (PCM) are needed"),
    ):
        (here / "w" / "a.wav").write_bytes(content)
        assert what in whats(WavFolder("w"), SOUND)[0]
    sample_files.wav(here / "w" / "a.wav", [])
    assert whats(WavFolder("w"), SOUND) == ["w/a.wav is empty, it holds no sound"]
    assert "the model takes" in whats(WavFolder("w"), TensorSpec("s", (None, 1, 2, 3), "float32"))[0]


@in_one_folder
@given(st.data())
def test_a_damaged_wave_or_image_is_refused_or_read_and_never_crashes(here, data):
    sample_files.wav(here / "w" / "a.wav", range(5))
    name = data.draw(st.sampled_from(["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif"]))
    for file in listing(here / "images", ENDINGS).files:
        file.unlink()
    sample_files.image(here / "images" / name, ramp(6, 8))
    for path, source_, spec in (
        (here / "w" / "a.wav", WavFolder("w"), SOUND),
        (here / "images" / name, ImageFolder("images"), PICTURE),
    ):
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            arrays, _ = taken(source_, spec)
        except RequestError:
            continue
        assert np.isfinite(arrays[spec.name]).all()


# Records


FLOATS = {"x": {"feature": "values", "dtype": "float32"}}


def test_the_checksum_is_that_of_the_format():
    # From RFC 3720, B.4: CRC-32C of 32 zero bytes is 8a9136aa.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_features_that_fit(here):
    sample_files.tfrecord(here / "a.tfrecord", [{"values": [0.5] * 4, "label": [3]}])
    assert whats(TfrecordFiles("a.tfrecord", FLOATS, "label"), X) == []
    sample_files.tfrecord(here / "many" / "a.tfrecord-00000-of-00001.gz", [{"values": [0.5] * 4}])
    assert whats(TfrecordFiles("many", FLOATS), X) == []


@pytest.mark.parametrize(
    ("features", "label", "what", "fix"),
    [
        ({"x": {"feature": "value", "dtype": "float32"}}, None, "no feature 'value'; it has values, id",
         "calibration.features.x.feature=values"),
        (FLOATS, "ids", "no feature 'ids'", "calibration.label=id"),
        ({"x": {"feature": "id", "dtype": "float32"}}, None, "'id' is a list of int64 in a.tfrecord, not a list of",
         "calibration.features.x.dtype=int64"),
        ({}, None, "no feature is named for the input x; the records have values (float), id (int64)",
         "'calibration.features={x:{feature:values,dtype:float32}}'"),
        ({"y": FLOATS["x"]}, None, "the model has no input 'y'; it has x",
         "'calibration.features={x:{feature:values,dtype:float32}}'"),
        ({"x": {"feature": "values"}}, None, "is missing from the recipe", "+calibration.features.x.dtype=float32"),
        ({"x": {"feature": "values", "dtype": "float"}}, None, "'float' is not one of float32", None),
        ({"x": {"feature": "values", "dtype": "float32", "shape": [5]}}, None, "[5] does not fit the model's x",
         "'calibration.features.x.shape=[4]'"),
        ({"x": 3}, None, "3 is not a mapping of keys", "'calibration.features.x={feature:NAME,dtype:float32}'"),
    ],
)  # fmt: skip
def test_features_are_held_against_the_first_record(here, features, label, what, fix):
    sample_files.tfrecord(here / "a.tfrecord", [{"values": [0.5] * 4, "id": [3]}])
    (problem, *_) = problems(TfrecordFiles("a.tfrecord", features, label), X)
    assert what in problem.what
    assert fix in (None, first_way(problem))


def test_files_that_are_no_records(here):
    good = sample_files.tfrecord(here / "a.tfrecord", [{"values": [0.5] * 4}]).read_bytes()
    changed = bytearray(good)
    changed[20] ^= 1
    for content in (b"", b"text", good[:14], bytes(changed), good[:9] + b"x" + good[10:]):
        Path("a.tfrecord").write_bytes(content)
        assert "a.tfrecord cannot be read as TFRecord: " in whats(TfrecordFiles("a.tfrecord", FLOATS), X)[0]
    (here / "empty").mkdir()
    assert whats(TfrecordFiles("empty", FLOATS), X)[0] == "empty has no files named .tfrecord or .record"


@in_one_folder
@given(st.binary(max_size=60))
def test_records_of_anything_are_refused_and_never_crash(here, data):
    import struct

    length = struct.pack("<Q", len(data))
    framed = length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
    Path("a.tfrecord").write_bytes(framed)
    assert whats(TfrecordFiles("a.tfrecord", FLOATS), X)


def test_examples_become_samples(here):
    """What TensorFlow reads is given here by hand; the real reader is tested with the step."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.full((6, 8, 3), 51, "uint8")).save(buffer, "png")
    examples = [{"v": np.arange(4, dtype="float32"), "i": [buffer.getvalue()], "b": [bytes(range(4))], "l": [b"cat"]}]
    sample_files.tfrecord(here / "a.tfrecord", [{"v": [0.0] * 4, "i": b"x", "b": b"y", "l": b"cat"}])
    raw = TensorSpec("raw", (None, 2, 2), "float32")
    features = {
        "x": {"feature": "v", "dtype": "float32", "scale": 2.0},
        "picture": {"feature": "i", "dtype": "image", "scale": 1 / 255},
        "raw": {"feature": "b", "dtype": "uint8"},
    }
    inputs = (X, PICTURE, raw)
    opened = TfrecordFiles("a.tfrecord", features, "l").open(inputs, GROUP, lambda file: iter(examples))
    arrays, labels = taken(opened, *inputs)
    assert arrays["x"].tolist() == [[0, 2, 4, 6]]
    assert np.allclose(arrays["picture"], 0.2)
    assert arrays["raw"].tolist() == [[[0, 1], [2, 3]]]
    assert labels.tolist() == ["cat"]
    assert opened.preprocessing["picture"]["resize"] == "bilinear"
    assert {kind.kind for kind in FeatureType} == {"bytes", "float", "int64"}
    for wrong, what in (
        ({}, "record 0: it has no feature 'v'"),
        ({"v": np.zeros(3, "float32")}, "'v' has 3 numbers, which do not fill [4]"),
        ({"v": [b"x"]}, "'v' is not a list of floats"),
        ({"i": [b"x"]}, "'i' cannot be read"),
        ({"b": [b"x", b"y"]}, "'b' has 2 byte strings; one is needed"),
        ({"l": []}, "0 labels 'l', one is needed"),
    ):
        changed = [{**examples[0], **wrong}] if wrong else [{"l": [b"cat"]}]

        def opened_(given_=changed):
            source_ = TfrecordFiles("a.tfrecord", features, "l")
            return taken(source_.open(inputs, GROUP, lambda file: iter(given_)), *inputs)

        assert what in refused(opened_)[0]


# Functions


def test_text_is_read_from_tables_and_records(here):
    pair, one = TensorSpec("x", (None, 2), "string"), TensorSpec("x", (None, 1), "string")
    rows = [["hello", "grüße"], ["a longer text", "b"]]
    table("a,b\n" + "".join(",".join(row) + "\n" for row in rows))
    assert taken(CsvFile("t.csv"), pair)[0]["x"].tolist() == rows
    examples = [{"words": [text.encode() for text in row]} for row in rows]
    sample_files.tfrecord(here / "a.tfrecord", [{"words": b"hello"}])
    features = {"x": {"feature": "words", "dtype": "text"}}
    opened = TfrecordFiles("a.tfrecord", features, None).open((pair,), GROUP, lambda file: iter(examples))
    assert taken(opened, pair)[0]["x"].tolist() == [[text.encode() for text in row] for row in rows]
    with pytest.raises(RequestError, match="which do not fill"):
        taken(TfrecordFiles("a.tfrecord", features, None).open((one,), GROUP, lambda file: iter(examples)), one)


@pytest.mark.parametrize("dtype", ["image", "uint8", "float32", None])
def test_records_for_text_get_the_fix_text(here, dtype):
    spec = TensorSpec("x", (None, 1), "string")
    sample_files.tfrecord(here / "a.tfrecord", [{"words": b"hello"}])
    features = {"x": {"feature": "words", "dtype": dtype}} if dtype else {}
    (problem, *_) = problems(TfrecordFiles("a.tfrecord", features, None), spec)
    whole = "'calibration.features={x:{feature:words,dtype:text}}'"
    assert problem.fix == ("calibration.features.x.dtype=text" if dtype else whole)
    assert problems(TfrecordFiles("a.tfrecord", {"x": {"feature": "words", "dtype": "text"}}, None), spec) == []
    numbers = {"x": {"feature": "words", "dtype": "text"}}
    (problem, *_) = problems(TfrecordFiles("a.tfrecord", numbers, None), TensorSpec("x", (None, 5), "uint8"))
    assert problem.fix == "calibration.features.x.dtype=uint8"


def given_by(function, most=None, inputs=(X,), **arguments):
    return generated(function, arguments, "mine.py:f", most, "calibration.function", inputs)


def test_a_function_gives_dicts_or_pairs_with_a_label(here):
    def plain(n):
        for i in range(n):
            yield {"x": [i] * 4}

    arrays, labels = taken(given_by(plain, 3, n=10), X)
    assert (arrays["x"].tolist(), labels) == ([[i] * 4 for i in range(3)], None)

    def labelled():
        return [({"x": np.full(4, i)}, np.int64(i % 2)) for i in range(4)]

    arrays, labels = taken(given_by(labelled), X)
    assert (arrays["x"][:, 0].tolist(), labels.tolist()) == ([0, 1, 2, 3], [0, 1, 0, 1])


LABEL = np.int64(7)
ROW = np.arange(4.0, dtype="float32")


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ([ROW], None),
        ([ROW[None]], None),
        (ROW, None),
        (ROW[None], None),
        ({"x": ROW[None]}, None),
        ((ROW,), None),
        ((ROW, LABEL), 7),
        (([ROW], LABEL), 7),
        ((ROW[None], np.array([7])), 7),
        (({"x": ROW[None]}, 7), 7),
    ],
)
def test_what_people_yield_is_taken(here, given, label):
    arrays, labels = taken(given_by(lambda: [given, given]), X)
    assert arrays["x"].tolist() == [[0, 1, 2, 3]] * 2
    assert labels is None if label is None else labels.tolist() == [7, 7]


@pytest.mark.slow
def test_tensors_are_arrays(here):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((np.stack([ROW] * 3), [7, 8, 9]))
    for made in (dataset, dataset.batch(2)):
        arrays, labels = taken(given_by(lambda made=made: made), X)
        assert arrays["x"].tolist() == [[0, 1, 2, 3]] * 3
        assert labels.tolist() == [7, 8, 9]


def test_rows_of_a_batch_are_samples_also_of_several_inputs(here):
    pair = (TensorSpec("b", (None, 2), "float32"), TensorSpec("a", (1,), "int64"))
    batch = (np.arange(6.0).reshape(3, 2), np.arange(3))
    arrays, labels = taken(given_by(lambda: [(list(batch), np.array([4, 5, 6]))] * 2, 5, pair), *pair)
    assert arrays["b"].tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3]]
    assert arrays["a"].tolist() == [0, 1, 2, 0, 1]
    assert labels.tolist() == [4, 5, 6, 4, 5]


def test_a_function_without_end_is_stopped(here):
    def endless():
        while True:
            yield {"x": np.zeros(4)}

    assert len(taken(given_by(endless, 5), X)[0]["x"]) == 5


def failing():
    yield {"x": np.zeros(4)}
    raise KeyError("gone")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (failing, "mine.py:f failed at sample 1: KeyError at line "),
        (lambda: 1 / 0, "mine.py:f failed when it was called: ZeroDivisionError at line "),
        (lambda: sys.exit(3), "mine.py:f failed when it was called: SystemExit at line "),
        (lambda: 3, "mine.py:f gave int, nothing that yields samples one by one"),
        (lambda: {"x": [1]}, "mine.py:f gave dict, nothing that yields"),
        (lambda: [[0.0] * 4], "mine.py:f gave list for sample 0; arrays by input name are needed, or a list of 1 in"),
        (lambda: [[np.zeros(4)] * 2], "mine.py:f gave list for sample 0; arrays by input name are needed"),
        (lambda: [np.zeros((2, 1, 4))], "mine.py:f, input 'x': sample 0 has the shape (2, 1, 4), which does not fit"),
        (lambda: [({"x": [0] * 4}, 1), {"x": [0] * 4}], "mine.py:f gave a label for some samples and not for others"),
        (lambda: [{"y": [0] * 4}], "mine.py:f: sample 0 has no 'x'; it has y"),
        (lambda: [], "mine.py:f: empty, it holds no sample"),
        (lambda wrong: [], "mine.py:f takes (wrong), and is called with nothing"),
        (lambda: [{"x": [np.nan] * 4}], "mine.py:f, input 'x': NaN values in sample 0"),
    ],
)
def test_functions_that_fail_or_give_something_else_are_named(here, function, what):
    assert refused(taken, given_by(function), X)[0].startswith(what)


# Memory


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "npz_compressed", "npy", "images", "csv", "function"])
def test_memory_does_not_grow_with_the_number_of_samples(here, kind, monkeypatch):
    """Of many more samples, a quarter of what they weigh would be seen; blocks and bookkeeping are far less."""
    spec = TensorSpec("x", (None, 32, 32), "float32")
    sizes = {"images": (20, 400), "csv": (20, 120)}.get(kind, (50, 1000))
    monkeypatch.setattr(npz, "_CHUNK_BYTES", 1 << 14)  # smaller blocks, so that fewer samples show it
    monkeypatch.setattr(sample_writer, "_BLOCK_BYTES", 1 << 14)

    def peak(count):
        folder = Path(f"{kind}{count}")
        folder.mkdir()
        source_ = _written(kind, folder, count)
        tracemalloc.start()
        opened = source_ if isinstance(source_, Samples) else source_.open((spec,), GROUP)
        arrays, _ = read(opened, (spec,), folder / "stored")
        manifest = npz.manifest(arrays, "", None)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert manifest["samples"] == count
        return used

    peak(5)  # what is imported on the way
    few, many = map(peak, sizes)
    whole = sizes[1] * 32 * 32 * 4
    assert many < few + whole / 4


def _written(kind, folder, count):
    def values(i):
        return np.full((32, 32), i % 200, "float32")

    if kind.startswith("npz"):
        save = np.savez_compressed if kind == "npz_compressed" else np.savez
        save(folder / "x.npz", x=np.stack([values(i) for i in range(count)]))
        return NpzFile(str(folder / "x.npz"))
    if kind == "npy":
        np.save(folder / "x.npy", np.stack([values(i) for i in range(count)]))
        return NpyFiles(str(folder / "x.npy"))
    if kind == "images":
        for i in range(count):
            sample_files.image(folder / "images" / f"{i}.png", values(i))
        return ImageFolder(str(folder / "images"))
    if kind == "csv":
        with (folder / "x.csv").open("w") as file:
            file.write(",".join(f"c{i}" for i in range(1024)) + "\n")
            for i in range(count):
                file.write(",".join([str(i)] * 1024) + "\n")
        return CsvFile(str(folder / "x.csv"))
    return given_by(lambda: ({"x": values(i)} for i in range(count)))
