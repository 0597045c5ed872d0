"""Classes that a Keras finds by itself once a file is trusted: packages of models, TensorFlow's feature columns."""

from pathlib import Path

import pytest
from support import hostile_models as hostile

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import models as model_files

COLUMN = {"class_name": "NumericColumn", "config": {"key": "a", "shape": [1]}}
FEATURES = {
    "class_name": "DenseFeatures",
    "name": "features",
    "config": {"name": "features", "feature_columns": [COLUMN]},
}


def hub(package):
    module = f"{package}.src.layers.doubled"
    return {
        "class_name": "Doubled",
        "config": {"name": "twice"},
        "module": module,
        "registered_name": f"{package}>Doubled",
    }


def problems(*overrides):
    with pytest.raises(RequestError) as refused:
        composition.compose("convert", ["source=keras", "source.path=m.keras", *overrides])
    return refused.value.problems


@pytest.mark.parametrize("package", ["keras_hub", "keras_cv", "keras_nlp"])
def test_class_of_a_package_of_models_needs_trust_and_no_custom_objects(here, package):
    """A stand-in of the package lies where the user stands."""
    (here / package).mkdir()
    hostile.write_keras(here / "m.keras", hostile.functional(hub(package)), "3.12.0")
    (problem,) = problems()
    assert (problem.where, problem.fix) == ("source.trust", "source.trust=true")
    assert f"{package}.src.layers.doubled.Doubled" in problem.what
    assert composition.compose("convert", ["source=keras", "source.path=m.keras", problem.fix])


def test_package_of_models_that_is_missing_gets_no_fix_that_leads_to_another_refusal(here):
    hostile.write_keras(here / "m.keras", hostile.functional(hub("keras_cv")), "3.12.0")
    for trust in ([], ["source.trust=true"]):
        (problem,) = problems(*trust)
        assert (problem.where, problem.fix, problem.alternatives) == ("source.path", "", ("pip install keras-cv",))


def test_feature_columns_need_trust_and_no_custom_objects(here):
    for path in (hostile.write_h5(here / "m.h5", hostile.functional(FEATURES)), here / "m.keras"):
        if path.suffix == ".keras":
            hostile.write_keras(path, hostile.functional(FEATURES))
        file = model_files.read_keras_file(path)
        assert file.by_trust == ("DenseFeatures", "NumericColumn") == file.custom_layers
        assert file.trust_problem(path).fix == "source.trust=true"


def test_class_of_the_users_own_is_named_as_before(here):
    own = {**hub("mine"), "registered_name": "mine>Doubled"}
    file = model_files.read_keras_file(hostile.write_keras(Path("m.keras"), hostile.functional(own), "3.12.0"))
    assert (file.by_trust, file.packages, file.custom_layers) == ((), (), ("mine>Doubled",))
