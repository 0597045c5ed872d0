"""The section `conversion`: what it refuses, and that each of its keys shows in the file."""

import pytest
from ai_edge_litert import schema_py_generated as schema
from support.checkout import write
from support.recipe_sections import CONFIG, built, said
from support.tflite_builders import dense

from tflite_recipes import api
from tflite_recipes.conversion.conversion_settings import Conversion
from tflite_recipes.conversion.remedies import Remedy
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import tflite

NEW = {"select_user_tf_ops": ["BesselI0"], "unfold_batchmatmul": True, "exclude_conversion_metadata": True}


def test_a_recipe_that_was_written_down_before_a_key_came_still_holds():
    old = {key: value for key, value in CONFIG["conversion"].items() if key not in NEW}
    recipe = built(conversion=old)
    assert recipe.conversion == Conversion([Remedy.unroll], False, False, [], False, False)
    assert recipe.digest == built().digest


@pytest.mark.parametrize("key", NEW)
def test_each_key_counts_in_the_digest_and_reaches_the_steps(key):
    conversion = {**CONFIG["conversion"], "select_tf_ops": True}
    recipe = built(conversion={**conversion, key: NEW[key]})
    assert recipe.digest != built(conversion=conversion).digest
    reached = getattr(recipe.intent, key)
    assert reached == (tuple(NEW[key]) if isinstance(NEW[key], list) else NEW[key])


def test_ops_of_the_delegate_need_the_delegate():
    changes = {"conversion__select_user_tf_ops": ["BesselI0"]}
    assert [where for where, _ in said(**changes)] == ["conversion.select_user_tf_ops"]
    assert built(conversion__select_tf_ops=True, **changes)


def test_what_a_finished_file_cannot_be_given_is_refused(here):
    (here / "model.tflite").write_bytes(dense())
    overrides = [
        "source=tflite",
        "source.path=model.tflite",
        "conversion.select_tf_ops=true",
        "conversion.select_user_tf_ops=[BesselI0]",
        "conversion.unfold_batchmatmul=true",
        "conversion.exclude_conversion_metadata=true",
    ]
    problems = api.check("convert", overrides)
    assert {problem.where for problem in problems} == {f"conversion.{key}" for key in NEW}
    assert api.check("convert", [*overrides, *(problem.fix for problem in problems)]) == ()


FACTORIES = """
import numpy as np
import tensorflow as tf


class Function(tf.Module):
    def __init__(self, run, rows):
        super().__init__()
        self.run = tf.function(run, input_signature=[tf.TensorSpec([rows, 3, 4], tf.float32, name="x")])


def products(rows=2):
    return Function(lambda x: {"y": tf.matmul(x, tf.transpose(x, [0, 2, 1]))}, rows)


def bessel():
    return Function(lambda x: {"y": tf.math.bessel_i0(x)}, 2)
"""


def convert(folder, function, *overrides):
    write(folder / "own.py", FACTORIES)
    given = ["source=factory", f"source.function=own.py:{function}", "tracking=none", *overrides]
    result = api.run("convert", given, progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    return result, tflite.op_counts(tflite.read_tflite(result.path))


def metadata(result):
    model = schema.Model.GetRootAs(result.path.read_bytes(), 0)
    return {model.Metadata(number).Name() for number in range(model.MetadataLength())}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme",
    [
        ["optimization=none"],
        ["optimization=integer_only", "calibration=random"],
        ["optimization=integer_only", "calibration=random", "optimization.quantizer=litert_quantizer"],
    ],
    ids=["float", "converter", "litert_quantizer"],
)
def test_the_file_without_the_metadata_of_its_conversion(here, scheme):
    plain, _ = convert(here, "products", *scheme)
    assert b"CONVERSION_METADATA" in metadata(plain)
    without, _ = convert(here, "products", *scheme, "conversion.exclude_conversion_metadata=true")
    assert metadata(without) == metadata(plain) - {b"CONVERSION_METADATA"}
    assert without.metrics["size.tflite_bytes"] < plain.metrics["size.tflite_bytes"]
    assert without.metrics["parity.cosine"] == plain.metrics["parity.cosine"]


@pytest.mark.slow
def test_batched_products_are_unfolded_where_shapes_are_fixed(here):
    assert convert(here, "products")[1] == {"BATCH_MATMUL": 1}
    unfolded, ops = convert(here, "products", "conversion.unfold_batchmatmul=true")
    assert "BATCH_MATMUL" not in ops
    assert ops["FULLY_CONNECTED"] == 2
    assert unfolded.metrics["parity.max_abs_error"] < 1e-5
    assert unfolded.warnings == ()
    left, ops = convert(here, "products", "conversion.unfold_batchmatmul=true", "+source.arguments.rows=null")
    assert ops == {"BATCH_MATMUL": 1}
    assert any("1 BATCH_MATMUL stayed" in warning for warning in left.warnings)


@pytest.mark.slow
def test_ops_that_the_application_links_are_the_delegates(here):
    """Without being named this one is a custom op, which the delegate does not come with."""
    flex = ["conversion.select_tf_ops=true", "conversion.fallback=[]"]
    assert convert(here, "bessel", *flex, "conversion.allow_custom_ops=true")[1] == {"BesselI0": 1}
    _, ops = convert(here, "bessel", *flex, "conversion.select_user_tf_ops=[BesselI0]")
    assert ops == {"FlexBesselI0": 1}
    result, ops = convert(here, "products", *flex, "conversion.select_user_tf_ops=[BesselI0]")
    assert ops == {"BATCH_MATMUL": 1}
    assert "conversion.select_user_tf_ops: no BesselI0 in the file" in result.warnings
