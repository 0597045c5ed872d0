"""Text reaches the calibrators as bytes, whatever the samples come from."""

import numpy as np
import pytest
from support import keras_models

from tflite_recipes import api
from tflite_recipes.backend.converting import text_samples
from tflite_recipes.backend.converting.float_calibration import batches
from tflite_recipes.core.errors import ExitStatus, StepError
from tflite_recipes.files.samples import text

WORDS = [f"w\u00f6rd{k}" * (1 + k % 3) for k in range(30)]


@pytest.mark.parametrize("kind", ["U", "O", "S"])
def test_batches_give_text_as_bytes_without_padding(kind):
    samples = {"words": np.array([word.encode() if kind == "S" else word for word in WORDS]).astype(kind)[:, None]}
    parts = [part["words"] for part, _, _ in batches(samples, 1)]
    assert [part.shape for part in parts] == [(1, 1)] * 30
    assert [part.tobytes().decode() for part in parts] == WORDS
    ((raw, _, _), *_) = batches(samples, 1, utf8=False)
    assert raw["words"].dtype == samples["words"].dtype


def test_encoded_numbers_stay_as_they_are():
    values = np.arange(3.0)
    assert text.encoded(values) is values


@pytest.mark.parametrize(("shape", "batch"), [((8, 2), 1), ((8, 1), 4), ((8,), 2)])
def test_refuse_several_texts_of_a_sample_offers_a_scheme_without_calibration(shape, batch):
    with pytest.raises(StepError) as refused:
        text_samples.refuse_several({"x": np.zeros(shape), "words": np.full(shape, "a")}, batch)
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("optimization.quantizer", "optimization=dynamic_range")
    text_samples.refuse_several({"x": np.zeros((8, 9)), "words": np.full((8, 1), "a")}, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_word")
    keras_models.write("one_word", folder)
    words = np.array([[word] for word in WORDS * 2])
    np.savez(folder / "samples.npz", words=words)
    np.save(folder / "samples.npy", words)
    lines = [f"    yield {{'words': np.array({list(map(str, row))!r})}}" for row in words]
    (folder / "given.py").write_text("\n".join(["import numpy as np", "", "", "def samples():", *lines]) + "\n")
    return folder


SOURCES = {
    "npz": ("calibration=npz", "calibration.path={}/samples.npz"),
    "npy": ("calibration=npy", "calibration.path={}/samples.npy"),
    "generator": ("calibration=generator", "calibration.function={}/given.py:samples"),
}


def convert(folder, source, *more):
    given = ("source=keras", f"source.path={folder / 'model.keras'}", "tracking=none", "optimization=full_integer")
    calibration = [override.format(folder) for override in SOURCES[source]]
    return api.run("convert", [*given, *calibration, *more], progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_model_of_words_is_calibrated_on_them(here, model, source):
    result = convert(model, source)
    assert result.status == ExitStatus.DONE, result.problems
    assert not [said for said in result.warnings if said.startswith("optimization.utf8_samples")]
    assert result.metrics["parity.sqnr_db"] > 25  # 2 dB if all words are unknown


@pytest.mark.slow
def test_a_recipe_without_the_key_calibrates_on_unknown_words_and_says_so(here, model):
    result = convert(model, "npz", "optimization.utf8_samples=false")
    assert result.status == ExitStatus.DONE, result.problems
    assert [said for said in result.warnings if said.startswith("optimization.utf8_samples=false")]
    assert result.metrics["parity.sqnr_db"] < 15
