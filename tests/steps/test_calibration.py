"""Calibration as users meet it: what a check says of each source, and whole conversions that were calibrated by it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from support import keras_models, sample_files
from support.checkout import first_way, write
from support.reporters import RecordingReporter
from support.tf_scripts import run_code, run_script

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import digits, npz
from tflite_recipes.steps import calibration
from tflite_recipes.steps.calibration import DigitsCalibration, NpzCalibration, RandomCalibration, RangeMethod

IMAGE = TensorSpec("image", (None, 8, 8, 1), "float32")


def calibrated(step, folder, *inputs):
    """The state behind a step, its manifest, and what was heard."""
    heard = RecordingReporter()
    folder.mkdir(exist_ok=True)
    state = step(State(folder, inputs=inputs), heard)
    return state, json.loads((folder / "calibration.json").read_text()), heard


# Without TensorFlow


def test_the_same_rows_as_ever_are_chosen_of_an_npz(here):
    x = np.random.default_rng(0).random((60, 8, 8, 1)).astype("float32")
    np.savez("x.npz", image=x)
    state, manifest, heard = calibrated(NpzCalibration("x.npz", 10, 3), here / "w", IMAGE)
    rows = np.sort(np.random.default_rng(3).choice(60, 10, replace=False))
    arrays = npz.open_arrays(state.calibration)
    assert arrays["image"].tolist() == x[rows].tolist()
    assert manifest == npz.manifest({"image": x[rows]}, "x.npz", 3)
    assert heard.tags["tflite_recipes.calibration_sha256"] == npz.sha256({"image": x[rows]})
    assert heard.warnings == []
    assert heard.progressed[-1][1:] == (10, 10)


@pytest.mark.slow
def test_digits_are_drawn_as_ever_unless_stratified(here):
    from tflite_recipes.files.samples import digits

    state, manifest, _ = calibrated(DigitsCalibration(50, 0), here / "w", IMAGE)
    expected = npz.choose({"image": digits.training().images}, 50, 0)
    assert npz.sha256(npz.open_arrays(state.calibration)) == npz.sha256(expected)
    assert sum(manifest["labels"].values()) == 50
    _, manifest, _ = calibrated(DigitsCalibration(50, 0, stratify=True), here / "w", IMAGE)
    assert manifest["labels"] == {str(digit): 5 for digit in range(10)}


def test_labels_of_an_npz_stratify_it(here):
    np.savez("x.npz", image=np.random.default_rng(0).random((60, 8, 8, 1)), kind=[0] * 50 + [1] * 10)
    _, manifest, _ = calibrated(NpzCalibration("x.npz", 10, 0, labels="kind"), here / "w", IMAGE)
    assert manifest["labels"] == {"0": 5, "1": 5}
    plain = NpzCalibration("x.npz", 10, 0, labels="kind", stratify=False)
    _, manifest, _ = calibrated(plain, here / "w", IMAGE)
    assert manifest["labels"] != {"0": 5, "1": 5}
    with pytest.raises(RequestError) as refused:
        calibrated(NpzCalibration("x.npz", 10, 0, stratify=True), here / "w", IMAGE)
    assert refused.value.problems[0].fix == "calibration.stratify=null"


def test_text_and_shuffled_noise(here):
    text = TensorSpec("words", (None, 2), "string")
    state, manifest, heard = calibrated(RandomCalibration(5, 0, 0.0, 1.0), here / "w", text, IMAGE)
    arrays = npz.open_arrays(state.calibration)
    expected = npz.random_arrays((text, IMAGE), 5, 0, 0.0, 1.0)
    assert arrays["words"].tolist() == expected["words"].tolist()
    assert manifest["sha256"] == npz.sha256(expected)
    assert "as asked: expect poor accuracy" in heard.warnings[0]


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({}, None),
        ({"method": RangeMethod.mse}, {"method": "mse"}),
        ({"method": RangeMethod.percentile, "percentile": 99.0}, {"method": "percentile", "percentile": 99.0}),
        ({"method": RangeMethod.moving_average}, {"method": "moving_average", "smoothing": 0.95}),
    ],
)
def test_the_manifest_says_how_ranges_are_set(here, ranges, said):
    _, manifest, _ = calibrated(RandomCalibration(5, 0, 0.0, 1.0, **ranges), here / "w", IMAGE)
    assert manifest.get("ranges") == said


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({}, []),
        ({"percentile": 99.0}, ["calibration.percentile is for calibration.method=percentile"]),
        (
            {"method": RangeMethod.mse, "smoothing": 0.5},
            ["calibration.smoothing is for calibration.method=moving_average"],
        ),
        ({"method": RangeMethod.percentile, "percentile": 99.0}, []),
        ({"method": RangeMethod.moving_average, "smoothing": 0.5}, []),
    ],
)
def test_a_key_of_another_method_is_said_to_have_no_effect(here, ranges, said):
    _, _, heard = calibrated(RandomCalibration(5, 0, 0.0, 1.0, **ranges), here / "w", IMAGE)
    assert [text.partition(",")[0] for text in heard.warnings if "no effect" in text] == said


def test_preprocessing_is_in_manifest_and_state_and_outliers_are_named_by_file(here):
    sample_files.images(here / "images", 12, (8, 8), ("a", "b"))
    for file in (here / "images").rglob("*.png"):
        sample_files.image(file, np.full((8, 8), 255 if file.name == "0005.png" else 9))
    step = calibration.ImagesCalibration("images", scale=1 / 255, samples=None)
    state, manifest, heard = calibrated(step, here / "w", IMAGE)
    assert manifest["preprocessing"] == state.preprocessing
    assert state.preprocessing["image"] | {"scale": 1} == {
        "size": [8, 8], "resize": "bilinear", "antialias": True, "crop": "stretch", "channels": "gray", "scale": 1,
    }  # fmt: skip
    assert State.from_json(json.loads(json.dumps(state.to_json()))).preprocessing == state.preprocessing
    (warning,) = heard.warnings
    assert warning.startswith("b/0005.png of the calibration input 'image' reaches 1, all others stay within 0.03")
    assert manifest["labels"] == {"a": 6, "b": 6}


def test_a_calibration_of_more_samples_than_there_are_is_told(here):
    sample_files.images(here / "images", 3, (8, 8))
    step = calibration.ImagesCalibration("images", scale=1 / 255, samples=9)
    _, manifest, heard = calibrated(step, here / "w", IMAGE)
    assert manifest["samples"] == 3
    assert heard.warnings == ["calibration.samples=9, but images holds 3: all are used"]


def check(*overrides):
    return api.check("digits_integer_only", list(overrides))


@pytest.mark.slow
def test_a_check_accepts_each_source(here):
    sample_files.images(here / "images", 2, (9, 9, 3), ("a", "b"))
    np.save("x.npy", np.zeros((3, 8, 8, 1)))
    write(here / "t.csv", ",".join(f"p{i}" for i in range(64)) + ",kind\n" + ",".join(["1"] * 64) + ",a\n")
    sample_files.tfrecord(here / "r.tfrecord", [{"pixels": [0.5] * 64}])
    write(here / "mine.py", "def samples(count):\n    yield 1\n")
    for request in (
        ["images", "path=images", "resize=lanczos", "crop=pad", "order=bgr", "mean=127.5", "std=[127.5]"],
        ["images", "path=images", "stratify=true", "samples=1", "shuffle=true", "size=[8,8]", "channels=1"],
        ["npy", "path=x.npy", "method=percentile", "percentile=99.9"],
        ["csv", "path=t.csv", "label=kind"],
        ["csv", "path=t.csv", "inputs={image: [" + ",".join(f"p{i}" for i in range(64)) + "]}"],
        ["tfrecord", "path=r.tfrecord", "features={image: {feature: pixels, dtype: float32}}"],
        ["generator", "function=mine.py:samples", "arguments={count: 3}"],
    ):
        first, *keys = request
        keys = [f"calibration.{key}" for key in keys]
        assert check(f"calibration={first}", "optimization.quantizer=litert_quantizer", *keys) == (), request


@pytest.mark.parametrize(
    ("request_", "where", "fix"),
    [
        (["images", "path=empty"], "calibration.path", "calibration.path=FOLDER"),
        (["images", "path=images", "mean=1", "scale=2"], "calibration.scale", "calibration.scale=null"),
        (["images", "path=images", "size=[4,4]"], "calibration.size", "calibration.size=null"),
        (["images", "path=images", "stratify=true"], "calibration.stratify", "calibration.stratify=null"),
        (["npy", "path=x.npy"], "calibration.path", "calibration.path=OTHER.npy"),
        (["csv", "path=t.csv", "label=kinds"], "calibration.label", "calibration.label=kind"),
        (
            ["tfrecord", "path=r.tfrecord"],
            "calibration.features",
            "'calibration.features={image:{feature:pixels,dtype:float32}}'",
        ),
        (
            ["tfrecord", "path=r.tfrecord", "features={image: {feature: pixel, dtype: float32}}"],
            "calibration.features.image.feature",
            "calibration.features.image.feature=pixels",
        ),
        (
            ["tfrecord", "path=r.tfrecord", "features={image: {feature: pixels}}"],
            "calibration.features.image.dtype",
            "+calibration.features.image.dtype=float32",
        ),
        (["generator", "function=mine.py:sample"], "calibration.function", "calibration.function=mine.py:samples"),
        (["npy", "path=x.npy", "percentile=40"], "calibration.percentile", "calibration.percentile=75.0"),
    ],
)
def test_a_check_refuses_with_a_fix_that_can_be_pasted(here, request_, where, fix):
    (here / "empty").mkdir()
    sample_files.images(here / "images", 2, (9, 9, 3))
    np.save("x.npy", np.zeros((3, 9)))
    write(here / "t.csv", ",".join(f"p{i}" for i in range(64)) + ",kind\n")
    sample_files.tfrecord(here / "r.tfrecord", [{"pixels": [0.5] * 64}])
    write(here / "mine.py", "def samples():\n    yield 1\n")
    first, *keys = request_
    request = [f"calibration={first}", *(f"calibration.{key}" for key in keys)]
    problem = next(problem for problem in check(*request) if problem.where == where)
    assert first_way(problem) == fix
    if not {"FOLDER", "OTHER"} & set(fix.replace(".", "=").split("=")) and first != "npy":
        assert check(*request, *shlex.split(fix)) == ()


def test_a_wave_is_not_for_the_digits(here):
    sample_files.wav(here / "w" / "a.wav", [0] * 5)
    (problem,) = check("calibration=wav", "calibration.path=w")
    assert problem.what.startswith("waves are (frames) or (frames, channels), the model takes image")


@pytest.mark.slow
def test_a_key_without_an_option_is_given_the_one_that_reads_such_files(here):
    for name, option in (("a.npz", "npz"), ("a.csv", "csv"), ("a.wav", "wav"), ("a.tfrecord", "tfrecord")):
        (problem,) = api.check("convert", ["source=digits", f"calibration.path={name}"])
        assert problem.fix == f"calibration={option} calibration.path={name}"


# Whole conversions


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name in ("cnn", "dense", "two_inputs"):
        (root / name).mkdir()
        keras_models.write(name, root / name)
    return root


def convert(models, model, *overrides, scheme="integer_only"):
    request = ["source=keras", f"source.path={models / model / 'model.keras'}", f"optimization={scheme}"]
    request.append("target.metadata=false")  # which would tell recipes apart that make the same of a model
    result = api.run("convert", [*request, *overrides, "tracking=none"], progress=False)
    assert result.status == ExitStatus.DONE, [problem.lines() for problem in result.problems]
    return result


def manifest_of(result):
    return json.loads((result.output_dir / "calibration.json").read_text())


def contract_of(result):
    return json.loads((result.output_dir / "io_contract.json").read_text())


X = np.random.default_rng(0).random((20, 8)).astype("float32")


@pytest.fixture(scope="module")
def by_npz(models, tmp_path_factory):
    """The bytes of the dense model's file, calibrated on X from a .npz: other forms of X have to give the same."""
    folder = tmp_path_factory.mktemp("by_npz")
    np.savez(folder / "x.npz", x=X)
    folder_ = f"hydra.run.dir={folder / 'out'}"
    result = convert(models, "dense", "calibration=npz", f"calibration.path={folder / 'x.npz'}", folder_)
    return result.path.read_bytes()


@pytest.mark.slow
def test_npy(here, models, by_npz):
    np.save("x.npy", X.astype("float64"))
    result = convert(models, "dense", "calibration=npy", "calibration.path=x.npy", "calibration.shuffle=true")
    assert result.path.read_bytes() == by_npz


@pytest.mark.slow
def test_npy_folder_of_two_inputs(here, models):
    (here / "arrays").mkdir()
    for name in ("zeta", "alpha"):
        np.save(here / "arrays" / f"{name}.npy", np.random.default_rng(0).random((20, 4)))
    result = convert(models, "two_inputs", "calibration=npy", "calibration.path=arrays")
    assert set(manifest_of(result)["inputs"]) == {"zeta", "alpha"}


@pytest.mark.slow
def test_csv(here, models, by_npz):
    lines = [",".join([*(f"c{i}" for i in range(8)), "kind"])]
    lines += [",".join([*(repr(float(value)) for value in row), "ab"[i % 2]]) for i, row in enumerate(X)]
    write(here / "t.csv", "\n".join(lines))
    result = convert(models, "dense", "calibration=csv", "calibration.path=t.csv", "calibration.label=kind")
    assert result.path.read_bytes() == by_npz
    assert manifest_of(result)["labels"] == {"a": 10, "b": 10}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r.tfrecord", "r.tfrecord.gz"])
def test_tfrecord(here, models, by_npz, name):
    sample_files.tfrecord(here / name, [{"row": row.tolist(), "kind": [i % 2]} for i, row in enumerate(X)])
    features = "calibration.features={x: {feature: row, dtype: float32}}"
    more = [f"calibration.path={name}", features, "calibration.label=kind"]
    result = convert(models, "dense", "calibration=tfrecord", *more)
    assert result.path.read_bytes() == by_npz
    assert manifest_of(result)["labels"] == {"0": 10, "1": 10}


@pytest.mark.slow
def test_a_damaged_record_is_refused_by_its_number(here, models):
    data = bytearray(sample_files.tfrecord(here / "r.tfrecord", [{"row": row.tolist()} for row in X]).read_bytes())
    data[-10] ^= 1
    (here / "r.tfrecord").write_bytes(data)
    features = "calibration.features={x: {feature: row, dtype: float32}}"
    request = ["calibration=tfrecord", "calibration.path=r.tfrecord", features, "optimization=integer_only"]
    source = ["source=keras", f"source.path={models / 'dense' / 'model.keras'}", "tracking=none"]
    result = api.run("convert", [*source, *request], progress=False)
    assert result.status == ExitStatus.REQUEST
    assert result.problems[0].what.startswith("r.tfrecord: record 19 cannot be read: ")


@pytest.mark.slow
def test_generator(here, models, by_npz):
    np.save("x.npy", X)
    write(
        here / "mine.py",
        "import numpy as np\n\n\ndef samples(path):\n    for i, row in enumerate(np.load(path)):\n"
        '        yield {"x": row}, i % 4\n\n\ndef noise():\n'
        '    while True:\n        yield {"x": np.random.random(8)}\n\n\ndef broken():\n'
        '    yield {"x": np.zeros(8)}\n    raise OSError("gone")\n',
    )
    more = ["calibration.function=mine.py:samples", "calibration.arguments={path: x.npy}", "calibration.samples=50"]
    result = convert(models, "dense", "calibration=generator", *more)
    assert result.path.read_bytes() == by_npz
    assert manifest_of(result)["labels"] == {"0": 5, "1": 5, "2": 5, "3": 5}
    assert "calibration.samples=50, but mine.py:samples gave 20: all are used" in result.warnings
    assert (result.output_dir / "mine.py").exists()
    assert result.tags["tflite_recipes.calibration_function"].startswith("mine.py:samples sha256:")
    noise = ["calibration=generator", "calibration.function=mine.py:noise"]
    one, again, other = (
        manifest_of(convert(models, "dense", *noise, f"calibration.seed={seed}", f"hydra.run.dir=out{i}"))["sha256"]
        for i, seed in enumerate((0, 0, 1))
    )
    assert one == again != other
    source = ["source=keras", f"source.path={models / 'dense' / 'model.keras'}", "tracking=none"]
    broken = ["calibration=generator", "calibration.function=mine.py:broken", "optimization=integer_only"]
    failed = api.run("convert", [*source, *broken], progress=False)
    assert failed.status == ExitStatus.REQUEST
    assert failed.problems[0].what == "mine.py:broken failed at sample 1: OSError at line 16 of mine.py: gone"


@pytest.mark.slow
def test_images(here, models):
    sample_files.images(here / "images", 24, (20, 30, 3), ("cat", "dog"))
    more = ["calibration.path=images", "calibration.scale=0.00392156862745098", "calibration.samples=10"]
    result = convert(models, "cnn", "calibration=images", "calibration.crop=center_crop", *more)
    manifest = manifest_of(result)
    assert manifest["labels"] == {"cat": 5, "dog": 5}
    assert 0 <= manifest["inputs"]["picture"]["min"] < manifest["inputs"]["picture"]["max"] <= 1
    (entry,) = contract_of(result)["inputs"]
    assert entry["preprocessing"] == manifest["preprocessing"]["picture"]
    assert entry["preprocessing"]["size"] == [16, 16]
    assert entry["preprocessing"]["scale"] == pytest.approx(1 / 255)
    assert result.warnings == ()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Classifiers of the digits without a scaling of their own, trained on pixels in 0…1 and in 0…255, and these."""
    import keras

    folder = tmp_path_factory.mktemp("trained")
    images, labels = digits.training().images, digits.training().labels
    for name, scale in (("unit", 1.0), ("bytes", 255.0)):
        keras.utils.set_random_seed(0)
        x = keras.Input((8, 8, 1), name="image")
        hidden = keras.layers.Dense(32, activation="relu")(keras.layers.Flatten()(x))
        model = keras.Model(x, keras.layers.Dense(10, activation="softmax")(hidden))
        model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
        model.fit(images * scale, labels, epochs=8, verbose=0)
        model.save(folder / f"{name}.keras")
    np.savez(folder / "bytes.npz", image=np.round(images[:64] * 255).astype("float32"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "warned"), [("unit", True), ("bytes", False)])
def test_pixels_of_another_scale_than_the_models_are_warned_of(here, trained, name, warned):
    request = ["source=keras", f"source.path={trained / name}.keras", "calibration=npz", "tracking=none"]
    file = f"calibration.path={trained / 'bytes.npz'}"
    result = api.run("convert", [*request, file, "optimization=integer_only"], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert any("the model begins with no scaling" in text for text in result.warnings) == warned


@pytest.mark.slow
def test_images_in_records(here, models):
    folder = sample_files.images(here / "images", 6, (20, 20, 3))
    sample_files.tfrecord(here / "r.tfrecord", [{"png": file.read_bytes()} for file in sorted(folder.glob("*.png"))])
    features = "calibration.features={picture: {feature: png, dtype: image, resize: area, scale: 0.004}}"
    by_record = convert(models, "cnn", "calibration=tfrecord", "calibration.path=r.tfrecord", features)
    keys = ["calibration.path=images", "calibration.resize=area", "calibration.scale=0.004", "hydra.run.dir=other"]
    by_file = convert(models, "cnn", "calibration=images", *keys)
    assert by_record.path.read_bytes() == by_file.path.read_bytes()
    assert manifest_of(by_record)["sha256"] == manifest_of(by_file)["sha256"]


@pytest.mark.slow
def test_wav(here, models):
    rng = np.random.default_rng(0)
    for i in range(12):
        sample_files.wav(here / "w" / "no" / f"{i}.wav", rng.integers(-32768, 32768, 8), rate=8000)
    result = convert(models, "dense", "calibration=wav", "calibration.path=w")
    done = {"sample_rate": 8000, "frames": 8, "channels": 1, "values": "unit"}
    assert contract_of(result)["inputs"][0]["preprocessing"] == done
    assert -1 <= manifest_of(result)["inputs"]["x"]["min"] < 0


@pytest.mark.slow
def test_calibration_and_evaluation_are_held_against_each_other(here, models):
    np.savez("small.npz", x=X, labels=np.arange(20) % 3)
    np.savez("large.npz", x=X * 200)
    evaluation = ["evaluation=npz", "evaluation.path=small.npz"]
    same = convert(models, "dense", "calibration=npz", "calibration.path=small.npz", *evaluation)
    assert any(text.startswith("20 of 20 calibration samples are evaluation samples") for text in same.warnings)
    other = convert(models, "dense", "calibration=npz", "calibration.path=large.npz", *evaluation, "hydra.run.dir=o")
    assert any(text.startswith("the input 'x' spans ") for text in other.warnings)
    np.savez("disjoint.npz", x=1 - X)
    fine = convert(models, "dense", "calibration=npz", "calibration.path=disjoint.npz", *evaluation, "hydra.run.dir=p")
    assert not [text for text in fine.warnings if "calibration" in text]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("unscaled", "the model begins with no scaling"),
        ("all_zero", "every value of the calibration input 'image' is 0"),
        ("outlier", "outliers set the range"),
        ("calibration", None),
    ],
)
def test_suspicious_files_of_the_gauntlet_are_warned_of_by_name(here, gauntlet_case, name, what):
    request = ["source=keras", f"source.path={gauntlet_case / 'model.keras'}", "calibration=npz", "tracking=none"]
    file = f"calibration.path={gauntlet_case / f'{name}.npz'}"
    result = api.run("convert", [*request, file, "optimization=integer_only"], progress=False)
    assert result.status == ExitStatus.DONE
    assert [text for text in result.warnings if what and what in text] if what else result.warnings == ()


@pytest.fixture(scope="module")
def gauntlet_case(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gauntlet")
    cases = shared / "gauntlet" / "cases.py"
    run_script(cases, folder, "bad_calibration")
    return folder / "bad_calibration"


@pytest.mark.slow
def test_what_scales_at_a_models_beginning_is_found(tmp_path):
    """In a process of its own, as it imports TensorFlow."""

    code = """
import sys
from pathlib import Path
import tensorflow as tf
from tflite_recipes.backend.models.first_ops import scaled_inputs

def scaled(begin):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
        def run(self, x):
            return {"y": tf.matmul(begin(x), tf.ones([4, 2]))}

    model, folder = Model(), str(Path(sys.argv[1]) / "saved_model")
    tf.saved_model.save(model, folder, signatures={"serve": model.run})
    return scaled_inputs(Path(folder), "serve") == {"x"}

assert scaled(lambda x: x / 255.0)
assert scaled(lambda x: tf.identity(x) * tf.constant([0.1] * 4))
assert scaled(lambda x: x - 127.5)
assert scaled(lambda x: x * 1.0 / 127.5 - 1.0)
assert not scaled(lambda x: x)
assert not scaled(lambda x: x * 1.0 + 0.0)
assert not scaled(lambda x: tf.nn.relu(x) / 255.0)
assert not scaled(lambda x: x * x)
assert not scaled(lambda x: x / 255.0 + tf.nn.relu(x))
table = tf.ones([50, 4])
mended = lambda i: tf.where(i < 0, i + 50, i)
assert scaled(lambda x: tf.gather(table, mended(tf.cast(x, tf.int32)))[:, 0])
assert scaled(lambda x: tf.reduce_sum(tf.one_hot(tf.cast(tf.reshape(x, [1, 4]), tf.int32), 9), -1))

from tflite_recipes.backend.models.first_ops import scaled_inputs_of_file

def scaled_in_file(begin):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
        def run(self, x):
            return {"y": tf.nn.relu(begin(x))}  # a matrix product would take the factor in

    model, path = Model(), Path(sys.argv[1]) / "model.tflite"
    tf.saved_model.save(model, str(path.parent / "other"), signatures={"serve": model.run})
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(path.parent / "other")).convert())
    return scaled_inputs_of_file(path, "serve") == {"x"}

assert scaled_in_file(lambda x: x * 0.25)
assert not scaled_in_file(lambda x: x)
"""
    run_code(code, tmp_path)


def test_old_recipes_still_load():
    for kind, keys in ((NpzCalibration, {"path": __file__, "samples": None, "seed": 0}),
                       (DigitsCalibration, {"samples": 3, "seed": 0}),
                       (RandomCalibration, {"samples": 3, "seed": 0, "low": 0.0, "high": 1.0})):  # fmt: skip
        from tflite_recipes.core import schema

        instance, problems = schema.build(kind, keys, "calibration")
        assert problems == []
        assert instance == replace(instance)
