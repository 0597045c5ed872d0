"""The hard cases: each ends in a right file, or in a refusal whose fix mends it."""

import shlex

import pytest
from support.checkout import first_way
from support.tf_scripts import run_script

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError

pytestmark = pytest.mark.slow
# What a case has to be given besides its file; {} stands for its folder.
GIVEN = {
    "lambda_keras": ["source.trust=true"],
    "custom_layer": ["source.custom_objects=[{}/layers.py:Scale]"],
    "two_signatures": ["source.signature=embed"],
}
KERAS = [
    *("legacy_depthwise_h5", "legacy_tf_op_h5", "lambda_keras", "compiled_string_loss_h5", "custom_layer"),
    *("dict_inputs", "many_outputs", "lstm", "masked_bigru", "dynamic_hw_upsample", "mixed_float16", "resize_bicubic"),
    *("max_pool_3d", "exact_gelu_erf", "text_vectorization", "transformer_block", "depthwise_imbalance"),
    *("tiny_and_huge_heads", "integer_and_float_inputs"),
]
CASES = [*KERAS, "two_signatures", "tensor_array_loop", "stft_400"]
# Depthwise ranges over three decades lose accuracy in eight bits, whatever converts them; parity says how much.
POOR = {("depthwise_imbalance", "integer_only"): 0.85}


@pytest.fixture(scope="module")
def gauntlet(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gauntlet")
    run_script(shared / "gauntlet" / "cases.py", folder)
    return folder


def convert(folder, scheme, *overrides):
    name = folder.name
    file = next((folder / f for f in ("model.keras", "model.h5") if (folder / f).exists()), folder / "saved_model")
    source = "saved_model" if file.name == "saved_model" else "keras"
    samples = folder / "calibration.npz"
    data = ["calibration=npz", f"calibration.path={samples}"] if samples.exists() else []
    given = [text.format(folder) for text in GIVEN.get(name, ())]
    request = [f"source={source}", f"source.path={file}", *given, *data, f"optimization={scheme}", "tracking=none"]
    return api.run("convert", [*request, *overrides], progress=False)


@pytest.mark.parametrize("scheme", ["none", "integer_only", "int16x8"])
@pytest.mark.parametrize("case", CASES)
def test_a_right_file_or_a_fix_that_gives_one(here, gauntlet, case, scheme):
    if case == "text_vectorization" and scheme != "none":
        pytest.skip("the case has no samples")
    result = convert(gauntlet / case, scheme)
    if result.status != ExitStatus.DONE:
        assert len(result.problems) == 1
        assert result.problems[0].fix, result.problems
        result = convert(gauntlet / case, scheme, *shlex.split(result.problems[0].fix))
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > (0.9999 if scheme == "none" else POOR.get((case, scheme), 0.99))
    assert result.tags["tflite_recipes.verified"] == "true"


def refused(folder, *overrides):
    """Where the problem is, said by the check or by the run."""
    try:
        result = convert(folder, "integer_only", *overrides)
    except RequestError as error:
        return [problem.where for problem in error.problems]
    return [problem.where for problem in result.problems if result.status == ExitStatus.REQUEST]


@pytest.mark.parametrize("name", ["empty", "nan", "inf", "wrong_shape", "wrong_name"])
def test_bad_samples_are_refused_before_the_converter_sees_them(here, gauntlet, name):
    folder = gauntlet / "bad_calibration"
    assert "calibration.path" in refused(folder, f"calibration.path={folder / f'{name}.npz'}")


def test_weights_alone_ask_for_their_architecture(here, gauntlet):
    with pytest.raises(RequestError) as asked:
        api.run("convert", ["source=keras", f"source.path={gauntlet / 'weights_only_h5' / 'only.weights.h5'}"])
    way = first_way(asked.value.problems[0])
    assert way.startswith("source=factory source.function=my_model.py:build source.weights=")
