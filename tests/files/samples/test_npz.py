"""Sample data: what its headers tell, what would poison a calibration, and the way through the scratch folder."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.checkout import Answer, first_way

from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.shapes import shape_fits
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples import npz

IMAGE = TensorSpec("image", (None, 4), "float32")
MASK = TensorSpec("mask", (None,), "bool")
WHERE = "calibration.path"
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\n\r"), min_size=1)


def said(path, inputs, **more):
    return [problem.what for problem in npz.npz_problems(str(path), inputs, WHERE, **more)]


def refused(call, *arguments):
    with pytest.raises(RequestError) as raised:
        call(*arguments)
    return raised.value.problems


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


# Headers


def test_headers_tell_names_shapes_and_types_without_the_data(here):
    np.savez("data.npz", image=np.zeros((3, 4), "float32"), labels=np.zeros(3, "int64"), name=np.array(["a"]))
    assert list(npz.headers(Path("data.npz"), WHERE).values()) == [
        TensorSpec("image", (3, 4), "float32"),
        TensorSpec("labels", (3,), "int64"),
        TensorSpec("name", (1,), "str32"),
    ]
    np.savez_compressed("small.npz", image=np.zeros((10**4, 100), "float32"))
    assert npz.headers(Path("small.npz"), WHERE)["image"].shape == (10**4, 100)


def test_nothing_is_wrong_with_data_that_fits(here):
    np.savez("data.npz", image=np.zeros((3, 4)), mask=np.ones(3, bool), labels=np.zeros(3))
    assert said("data.npz", (IMAGE, MASK), extra=("labels",)) == []
    assert said("data.npz", None) == []


def test_missing_inputs_stand_beside_what_the_file_has(here):
    np.savez("data.npz", x=np.zeros((3, 4), "float32"), y=np.zeros(3, "int8"))
    (what,) = said("data.npz", (IMAGE, MASK))
    assert what.splitlines() == [
        "data.npz has not the model's inputs",
        "  the model takes        the file has",
        "  image (?, 4) float32   x (3, 4) float32",
        "  mask (?) bool          y (3) int8",
    ]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (
            np.zeros((3, 5), "float32"),
            "data.npz, array 'image': shape (3, 5) does not fit the model's image (?, 4) float32",
        ),
        (np.zeros((3, 4, 1), "float32"), "shape (3, 4, 1) does not fit"),
        (np.zeros((), "float32"), "shape () does not fit"),
        (np.zeros((0, 4), "float32"), "data.npz, array 'image': empty, it holds no sample"),
        (np.zeros((3, 4), "complex64"), "data.npz, array 'image': complex64 cannot become the model's float32"),
        (np.full((3, 4), "a"), "str32 cannot become the model's float32"),
    ],
)
def test_arrays_that_the_model_cannot_take_are_named(here, array, what):
    np.savez("data.npz", image=array)
    (problem,) = npz.npz_problems("data.npz", (IMAGE,), WHERE)
    assert what in problem.what
    assert (problem.where, first_way(problem)) == (WHERE, "calibration.path=OTHER.npz")


def test_arrays_of_different_length_are_refused(here):
    np.savez("data.npz", image=np.zeros((3, 4)), mask=np.ones(2, bool), labels=np.zeros(3))
    assert said("data.npz", (IMAGE, MASK), extra=("labels",)) == [
        "data.npz: the arrays differ in their number of samples: image 3, mask 2, labels 3"
    ]


def test_a_missing_label_array_is_fixed_by_the_one_that_is_there(here):
    np.savez("data.npz", image=np.zeros((3, 4)), classes=np.zeros(3, "int64"))
    (problem,) = npz.npz_problems("data.npz", (IMAGE,), "evaluation.path", ("labels",))
    assert problem.what == "data.npz has no array 'labels'; it has image (3, 4) float64, classes (3) int64"
    assert problem.fix == "evaluation.labels=classes"
    (problem,) = npz.npz_problems("data.npz", (IMAGE,), WHERE, ("labels",))
    assert problem.fix == "calibration.labels=classes"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", b"\x93NUMPY"])
def test_a_file_that_is_no_npz_is_named(here, content):
    Path("data.npz").write_bytes(content)
    (problem,) = npz.npz_problems("data.npz", (IMAGE,), WHERE)
    assert problem.what.startswith("data.npz cannot be read as .npz: ")
    assert (problem.where, first_way(problem)) == (WHERE, "calibration.path=OTHER.npz")


def test_a_folder_or_nothing_is_no_npz(here):
    (here / "folder").mkdir()
    assert "cannot be read" in said("folder", (IMAGE,))[0]
    assert "cannot be read" in said("absent.npz", (IMAGE,))[0]


@in_one_folder
@given(st.data())
def test_damage_anywhere_is_refused_and_never_crashes(here, data):
    buffer = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(buffer, image=np.arange(40, dtype="float64").reshape(10, 4), mask=np.ones(10, bool))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path("data.npz").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        arrays = npz.load_npz(Path("data.npz"), (IMAGE, MASK), WHERE)
    except RequestError:
        return
    assert arrays["image"].tolist() == np.arange(40).reshape(10, 4).tolist()


@in_one_folder
@given(st.text("{}()[]',:0123456789 <f8TrueFalsdecoi_hpnb", max_size=90))
def test_a_damaged_header_is_refused_and_never_crashes(here, header):
    padded = (header.ljust(117) + "\n").encode()
    archive(Path("data.npz"), image=b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(32))
    assert refused(npz.load_npz, Path("data.npz"), (IMAGE,), WHERE)


# Samples


def test_arrays_come_in_the_types_and_the_order_of_the_inputs(here):
    np.savez("data.npz", labels=[2, 1, 0], mask=np.ones(3, bool), image=np.arange(12).reshape(3, 4), unused=1)
    arrays = npz.load_npz(Path("data.npz"), (IMAGE, MASK), WHERE, ("labels",))
    assert (arrays["image"].dtype, arrays["mask"].dtype) == ("float32", "bool")
    assert arrays["image"].tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert arrays["labels"].tolist() == [2, 1, 0]
    assert "unused" not in arrays


@pytest.mark.parametrize(
    ("value", "dtype", "what"),
    [
        (np.nan, "float32", "NaN values"),
        (np.inf, "float32", "infinite values"),
        (-np.inf, "float64", "infinite values"),
        (1e300, "float64", "too large values for float32"),
    ],
)
@pytest.mark.parametrize(("rows", "which"), [((7,), "sample 7"), ((7, 3), "2 samples, the first is sample 3")])
def test_values_that_would_poison_a_calibration_name_file_array_and_sample(here, value, dtype, what, rows, which):
    image = np.zeros((10, 4), dtype)
    image[list(rows), 2] = value
    np.savez("data.npz", image=image)
    (problem,) = refused(npz.load_npz, Path("data.npz"), (IMAGE,), WHERE)
    assert problem.what == f"data.npz, array 'image': {what} in {which}"
    assert problem.where == WHERE


@pytest.mark.parametrize(
    ("given_", "wanted", "bad"), [(300, "uint8", True), (-1, "uint8", True), (200, "uint8", False)]
)
def test_integers_are_not_wrapped(given_, wanted, bad):
    arrays = {"x": np.array([[1], [given_]], "int64")}
    spec = TensorSpec("x", (None, 1), wanted)
    if bad:
        (problem,) = refused(npz.check_arrays, arrays, (spec,), "f.npz", WHERE)
        assert problem.what == "f.npz, array 'x': too large or too small values for uint8 in sample 1"
    else:
        assert npz.check_arrays(arrays, (spec,), "f.npz", WHERE)["x"].dtype == wanted


def test_every_bad_array_is_said_at_once():
    arrays = {"image": np.full((2, 4), np.nan), "mask": np.zeros(2, "int8")}
    whats = [problem.what for problem in refused(npz.check_arrays, arrays, (IMAGE, MASK), "f.npz", WHERE)]
    assert whats == [
        "f.npz, array 'image': NaN values in 2 samples, the first is sample 0",
        "f.npz, array 'mask': int8 cannot become the model's bool",
    ]


def test_pickled_arrays_are_never_loaded(here):
    np.savez("data.npz", image=np.array([[{}] * 4], object))
    spec = TensorSpec("image", (None, 4), "string")
    (problem,) = refused(npz.load_npz, Path("data.npz"), (spec,), WHERE)
    assert "data.npz, array 'image'" in problem.what


@pytest.mark.parametrize(
    ("given_", "wanted", "fits"),
    [
        ("float64", "float32", True),
        ("float16", "float32", True),
        ("int64", "float32", True),
        ("uint8", "int32", True),
        ("bool", "float32", True),
        ("float32", "int8", False),
        ("complex64", "float32", False),
        ("str32", "float32", False),
        ("str32", "string", True),
        ("bytes8", "string", True),
        ("float32", "string", False),
        ("float32", "bfloat16", True),
        ("int8", "bool", False),
        ("bool", "bool", True),
    ],
)
def test_which_types_can_become_which(here, given_, wanted, fits):
    array = np.zeros((2, 1), "U8" if given_ == "str32" else "S8" if given_ == "bytes8" else given_)
    np.savez("data.npz", x=array)
    problems = said("data.npz", (TensorSpec("x", (None, 1), wanted),))
    assert bool(problems) is not fits


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import ml_dtypes"])
def test_castable_to_bfloat16_does_not_depend_on_what_is_imported(before):
    answers = "print(datasets.castable('float32', 'bfloat16'), datasets.castable('int8', 'bfloat16'))"
    command = [sys.executable, "-c", f"{before}\nfrom tflite_recipes import datasets\n{answers}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True", "False"]


@given(
    hnp.arrays(st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]), (3, 2)),
    st.sampled_from(["float32", "int8", "int32", "uint8", "bool"]),
)
def test_what_is_accepted_is_what_was_given(array, wanted):
    spec = TensorSpec("x", (None, 2), wanted)
    try:
        checked = npz.check_arrays({"x": array}, (spec,), "f.npz", WHERE)["x"]
    except RequestError:
        return
    assert checked.dtype == wanted
    assert np.isfinite(checked).all()
    assert np.allclose(checked.astype("float64"), array.astype("float64"), rtol=1e-6, atol=1e-37)


@given(st.lists(st.none() | st.integers(1, 3), max_size=4), st.lists(st.none() | st.integers(1, 3), max_size=4))
def test_shapes_fit_but_for_their_first_axis_and_where_either_is_open(declared, sample):
    expected = len(declared) == len(sample) and all(
        a == b or None in (a, b) for a, b in zip(declared[1:], sample[1:], strict=True)
    )
    assert shape_fits(tuple(declared), tuple(sample)) is expected


# Choice


@given(st.integers(1, 50), st.none() | st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_samples_are_drawn_by_seed_in_order_without_doubles_and_alike_for_all_arrays(total, samples, seed):
    arrays = {"a": np.arange(total), "b": np.arange(total) * 10}
    chosen = npz.choose(arrays, samples, seed)
    rows = chosen["a"].tolist()
    assert len(rows) == min(total, samples or total)
    assert rows == sorted(set(rows))
    assert chosen["b"].tolist() == [10 * row for row in rows]
    assert npz.choose(arrays, samples, seed)["a"].tolist() == rows


def test_another_seed_draws_other_samples():
    arrays = {"a": np.arange(1000)}
    assert npz.choose(arrays, 10, 0)["a"].tolist() != npz.choose(arrays, 10, 1)["a"].tolist()


@given(
    st.sampled_from(["float16", "float32", "int8", "uint8", "int32", "bool"]),
    st.integers(-300, 300),
    st.integers(1, 500),
    st.integers(0, 2**32 - 1),
)
def test_random_samples_stay_in_their_range_and_their_type(dtype, low, span, seed):
    spec = TensorSpec("x", (None, None, 3), dtype)
    made = [npz.random_arrays((spec,), 20, seed, low, low + span)["x"] for _ in range(2)]
    assert made[0].shape == (20, 1, 3)
    assert made[0].dtype == dtype
    assert np.array_equal(*made)
    limits = np.iinfo(dtype) if dtype in ("int8", "uint8", "int32") else None
    least = max(low, limits.min) if limits else low
    if dtype != "bool" and not (limits and (low > limits.max or low + span < limits.min)):
        assert made[0].min() >= least - 1e-3 * abs(least)
        assert made[0].max() <= (low + span) * (1 + 1e-3 * np.sign(low + span)) + 1e-3


def test_random_words_stand_for_text():
    made = npz.random_arrays((TensorSpec("x", (None, 2), "string"),), 3, 0, 0.0, 1.0)["x"]
    assert made.shape == (3, 2)
    assert all(len(word) == 5 and word.isalpha() for word in made.ravel())


# The scratch folder, the digest, the manifest


def same(one, other):
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and one[name].tolist() == other[name].tolist() for name in one
    )


@in_one_folder
@given(
    st.dictionaries(
        names,
        hnp.arrays(
            st.sampled_from(["float32", "int8", "int64", "bool"]),
            hnp.array_shapes(max_dims=3, max_side=4),
            elements={"allow_nan": False},
        ),
        min_size=1,
        max_size=3,
    )
)
def test_arrays_come_back_as_they_were_saved(here, arrays):
    folder = npz.save_arrays(here / "arrays", arrays)
    assert same(npz.open_arrays(folder), arrays)


def test_text_and_names_that_no_file_may_have_come_back(here):
    arrays = {"a/b:0": np.array([b"x", "é"], object), "": np.zeros(2)}
    assert same(npz.open_arrays(npz.save_arrays(here / "arrays", arrays)), arrays)


def test_opened_arrays_are_mapped_not_read(here):
    npz.save_arrays(here / "arrays", {"a": np.zeros(3)})
    assert isinstance(npz.open_arrays(here / "arrays")["a"], np.memmap)


def test_the_digest_is_of_names_types_shapes_and_values():
    base = {"a": np.arange(6, dtype="float32"), "b": np.zeros(1)}
    others = [
        {"a": base["a"]},
        {"c": base["a"], "b": base["b"]},
        {"a": base["a"].astype("float64"), "b": base["b"]},
        {"a": base["a"].reshape(2, 3), "b": base["b"]},
        {"a": base["a"][::-1], "b": base["b"]},
        {"a": np.array(["0"], object), "b": base["b"]},
    ]
    digests = {npz.sha256(arrays) for arrays in (base, *others)}
    assert len(digests) == 1 + len(others)


def test_the_digest_is_not_of_order_or_memory_layout():
    a, b = np.arange(6).reshape(2, 3), np.zeros(1)
    assert npz.sha256({"a": a, "b": b}) == npz.sha256({"b": b, "a": np.asfortranarray(a)})
    assert npz.sha256({"a": a}) == npz.sha256({"a": np.repeat(a, 2, 1)[:, ::2]})


def test_the_digest_is_the_same_everywhere():
    array = np.array([1.0, 2.0], "<f4")
    assert npz.sha256({"a": array}) == hashlib.sha256(b"a|<f4|(2,)|" + array.tobytes()).hexdigest()


def test_the_manifest_says_what_the_samples_were():
    arrays = {"image": np.array([[0.0, 1.0], [2.0, 5.0]], "float32"), "text": np.array(["a", "b"], object)}
    found = npz.manifest(arrays, "cal.npz", 7)
    assert found == {
        "source": "cal.npz",
        "samples": 2,
        "seed": 7,
        "sha256": npz.sha256(arrays),
        "inputs": {
            "image": {"shape": [2], "dtype": "float32", "min": 0.0, "max": 5.0, "mean": 2.0},
            "text": {"shape": [], "dtype": "object"},
        },
    }


# As users meet it


def test_a_check_shows_inputs_and_arrays_side_by_side(here, cli):
    np.savez("data.npz", pictures=np.zeros((3, 8, 8), "float32"))
    answer: Answer = cli("check", "digits_integer_only", "calibration=npz", "calibration.path=data.npz")
    assert answer.status == 2
    assert "  the model takes              the file has\n" in answer.err
    assert "  image (?, 8, 8, 1) float32   pictures (3, 8, 8) float32\n" in answer.err
    assert "or: calibration.path=OTHER.npz" in answer.err.splitlines()


@pytest.mark.slow
def test_going_through_a_mapped_array_does_not_keep_it_in_memory(here):
    """64 MB: a quarter of them is more than what else may come and go meanwhile."""
    import psutil

    folder = npz.save_arrays(here / "arrays", {"a": np.ones((64, 1 << 18), "float32")})
    arrays = npz.open_arrays(folder)
    npz.manifest({"a": arrays["a"][:1]}, "", None)
    before = psutil.Process().memory_info().rss
    seen = [psutil.Process().memory_info().rss for _ in npz.chunks(arrays["a"])]
    assert max(seen) - before < 16 << 20
    npz.manifest(arrays, "", None)
    assert psutil.Process().memory_info().rss - before < 16 << 20
