"""Evaluation on folders, tables and records: which number a label is, and runs on real files."""

import csv

import numpy as np
import pytest
from support import keras_models, sample_files

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.steps.sampled_evaluation import numbers


def test_numbers_stay_and_names_are_counted_in_the_order_of_the_alphabet():
    assert numbers(["2", "0"], (), None, "f")[0].tolist() == [2, 0]
    assert numbers(["0.5", "2"], (), None, "f")[0].tolist() == [0.5, 2.0]
    found, said = numbers(["dog", "ant"], ["ant", "bee", "dog"], None, "f")
    assert (found.tolist(), said) == ([2, 0], "ant, bee, dog")


def test_classes_say_otherwise():
    assert numbers(["dog", "ant"], (), ["dog", "ant"], "f") == (pytest.approx(np.array([0, 1])), "")
    assert numbers(["7", "3"], (), ["3", "7"], "f")[0].tolist() == [1, 0]
    with pytest.raises(RequestError) as refused:
        numbers(["dgo"], (), ["dog", "ant"], "pets")
    (problem,) = refused.value.problems
    assert "'dgo'" in problem.what
    assert "did you mean dog?" in problem.what
    assert problem.fix == "'evaluation.classes=[dog,ant,dgo]'"


def check(*overrides):
    return [problem.where for problem in api.check("digits_float", list(overrides))]


@pytest.mark.slow
def test_what_a_check_says(here):
    sample_files.images(here / "plain", 2, (8, 8, 3))
    sample_files.images(here / "pets", 2, (8, 8, 3), ("ant", "bee"))
    pets = ("evaluation=images", "evaluation.path=pets")
    assert check(*pets) == []
    assert check(*pets, "evaluation.classes=[ant,ant]") == ["evaluation.classes"]
    assert check(*pets, "evaluation.relative_drop=true") == ["evaluation.relative_drop"]
    assert check(*pets, "evaluation.metric=function") == ["evaluation.metric"]
    assert check("evaluation=images", "evaluation.path=plain", "evaluation.metric=accuracy") == ["evaluation.metric"]
    assert check("evaluation=images", "evaluation.path=plain", "evaluation.metric=top1_agreement") == []
    assert "evaluation.path" in check("evaluation=wav", "evaluation.path=pets")


@pytest.mark.slow
def test_images_are_scored_as_the_same_arrays_are(here):
    """Folders by the names of classes, against a .npz of the pixels that Pillow reads."""
    import mlflow
    from PIL import Image

    keras_models.write("cnn", here)
    rng = np.random.default_rng(0)
    names, images, labels = ("ant", "bee", "cat", "dog", "eel"), [], []
    for number, name in enumerate(names):
        (here / "pets" / name).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(0, 256, (16, 16, 3)).astype("uint8")
            Image.fromarray(pixels).save(here / "pets" / name / f"{k}.png")
            images.append(pixels)
            labels.append(number)
    np.savez("test.npz", picture=np.stack(images) / np.float32(255), labels=np.array(labels))
    base = ["source=keras", "source.path=model.keras"]
    scale = f"evaluation.scale={1 / 255}"
    folder = api.run("convert", [*base, "evaluation=images", "evaluation.path=pets", scale], progress=False)
    assert folder.run_id  # the order of the classes is no parameter that the recipe has already
    base.append("tracking=none")
    arrays = api.run("convert", [*base, "evaluation=npz", "evaluation.path=test.npz"], progress=False)
    turned = "evaluation.classes=[eel,dog,cat,bee,ant]"
    other = api.run("convert", [*base, "evaluation=images", "evaluation.path=pets", scale, turned], progress=False)
    assert folder.status == arrays.status == other.status == ExitStatus.DONE, folder.problems
    assert folder.metrics["accuracy.source"] == arrays.metrics["accuracy.source"]
    params = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}").get_run(folder.run_id).data.params
    assert params["evaluation.class_order"] == "ant, bee, cat, dog, eel"
    assert not [w for w in (*folder.warnings, *other.warnings) if "alphabet" in w]
    with (folder.output_dir / "per_class.csv").open() as stream:
        recalls = {row["class"]: row["source_recall"] for row in csv.DictReader(stream)}
    with (other.output_dir / "per_class.csv").open() as stream:
        samples = {row["class"]: row["samples"] for row in csv.DictReader(stream)}
    assert set(recalls) == set("01234")
    assert set(samples.values()) == {"3"}


@pytest.mark.slow
def test_a_table_is_scored(here):
    keras_models.write("wide_dense", here)
    rng = np.random.default_rng(0)
    rows = rng.random((12, 64))
    with open("t.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow([*(f"x{k}" for k in range(64)), "kind"])
        table.writerows([[*row, int(k % 8)] for k, row in enumerate(rows)])
    base = ["source=keras", "source.path=model.keras", "tracking=none", "evaluation=csv", "evaluation.path=t.csv"]
    result = api.run("convert", [*base, "evaluation.label=kind", "evaluation.max_drop=0"], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["accuracy.drop"] == 0
    assert [gate.name for gate in result.gates] == ["evaluation.max_drop"]
