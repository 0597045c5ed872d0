"""Models that do not convert as they are: what is taken, what it gives, and what is refused."""

import json
import shlex

import pytest
from support import hard_models

from tflite_recipes import api
from tflite_recipes.conversion.remedies import Rule
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow
NAMES = [
    *("lstm", "nested_gru", "tensor_array", "long_loop", "mixed", "bicubic", "antialiased", "volume", "spectrogram"),
    *("cepstrum", "gelu", "bare_erf", "normalized", "noisy", "classifier", "many_outputs", "far_apart", "text"),
    *(
        "streaming",
        "read_in_part",
        "standardized",
        "any_size",
        "many_results",
        "mc_dropout",
        "unknown_op",
        "custom_op",
        "open_sizes",
        "double",
        "product",
        "logarithm",
        "looked_up",
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard")
    hard_models.write(folder, *NAMES)
    return folder


@pytest.fixture
def convert(here, models):
    """`convert("lstm", "integer_only", "key=value")`: the model in a scheme, calibrated where that needs it."""

    def run(name, scheme="none", *overrides):
        folder = models / name
        source = ["source=keras", f"source.path={folder / 'model.keras'}"]
        if (folder / "saved_model").is_dir():
            source = ["source=saved_model", f"source.path={folder / 'saved_model'}"]
        calibration = []
        if scheme in ("full_integer", "integer_only", "int16x8"):
            calibration = ["calibration=npz", f"calibration.path={folder / 'samples.npz'}"]
        return api.run(
            "convert", [*source, *calibration, f"optimization={scheme}", "tracking=none", *overrides], progress=False
        )

    return run


def done(result):
    assert result.status == ExitStatus.DONE, result.problems
    return result


def taken(result):
    return set(filter(None, done(result).tags.get("tflite_recipes.remedies", "").split(", ")))


def ops(result):
    return tflite.op_counts(tflite.read_tflite(result.path))


def contract(result):
    return json.loads((result.output_dir / "io_contract.json").read_text())


FLOAT = {
    "lstm": {"unroll"},
    "nested_gru": {"unroll"},
    "tensor_array": set(),
    "mixed": {"float32"},
    "double": {"float32"},
    "bicubic": {"resize"},
    "antialiased": {"resize"},
    "volume": {"pooling_3d"},
    "spectrogram": {"fourier"},
    "cepstrum": {"fourier"},
    "gelu": {"erf"},
    "bare_erf": {"erf"},
    "normalized": set(),
    "looked_up": {"unroll"},
}


@pytest.mark.parametrize("name", FLOAT)
def test_what_a_model_needs_is_taken_and_its_outputs_are_kept(convert, name):
    result = convert(name)
    assert taken(result) == FLOAT[name]
    assert result.metrics["parity.cosine"] > 0.99999
    assert result.metrics["ops.flex"] == result.metrics["ops.custom"] == 0
    assert result.tags["tflite_recipes.verified"] == "true"
    said = " ".join(contract(result)["remedies"])
    for remedy in FLOAT[name]:
        assert f"{remedy}: " in said
        assert any(f"remedy taken, {remedy}" in warning for warning in result.warnings)


INTEGER = {
    "lstm": {"unroll"},
    "tensor_array": {"unroll"},
    "bicubic": {"resize"},
    "volume": {"pooling_3d", "conv_3d"},
    "spectrogram": {"fourier"},
    "gelu": {"erf"},
    "normalized": {"integer_ops"},
}


@pytest.mark.parametrize("name", INTEGER)
def test_integers_throughout_where_the_plain_converter_crashes_or_leaves_floats(convert, name):
    result = convert(name, "integer_only")
    assert taken(result) == INTEGER[name]
    assert result.metrics["ops.float"] == 0
    # Squares of spectra span more than eight bits do.
    assert result.metrics["parity.cosine"] > (0.9 if name == "spectrogram" else 0.98)


@pytest.mark.parametrize("name", ["lstm", "volume", "normalized"])
def test_sixteen_bits_too(convert, name):
    result = convert(name, "int16x8")
    assert result.metrics["parity.cosine"] > 0.999, result.problems


def test_integers_have_no_fix_if_the_float_conversion_fails_too(convert):
    """Before, the fix was full_integer, which was refused for the same reason."""
    refused = {scheme: convert("product", scheme) for scheme in ("none", "integer_only", "int16x8")}
    assert {result.status for result in refused.values()} == {ExitStatus.FAILED}
    problems = {scheme: result.problems for scheme, result in refused.items()}
    assert all(problem.where == "optimization" and not problem.fix for (problem,) in problems.values())
    assert problems["integer_only"] == problems["int16x8"] == problems["none"]


def test_single_values_that_integers_lose_are_warned_of(convert):
    result = done(convert("logarithm", "integer_only"))
    assert result.metrics["parity.cosine"] > 0.95
    assert any(text.startswith("output y: values of the file are off by") for text in result.warnings)
    exact = done(convert("logarithm"))
    assert not any(text.startswith("output y: ") for text in exact.warnings)


def test_an_unrolled_file_has_no_loop_and_keeps_its_open_batch(convert):
    result = done(convert("nested_gru"))
    assert "WHILE" not in ops(result)
    assert contract(result)["inputs"][0]["tflite"]["shape"] == [None, 8, 4]


def test_the_order_of_the_fallback_is_the_users(convert):
    result = convert("lstm", "none", "conversion.fallback=[fixed_batch,unroll]")
    assert taken(result) == {"fixed_batch"}
    assert "WHILE" in ops(result)
    assert contract(result)["inputs"][0]["tflite"]["shape"] == [1, 9, 5]


def test_nothing_is_taken_where_the_fallback_is_empty_and_the_fix_mends_it(convert):
    for name, word in (("lstm", "recurrent"), ("mixed", "conv"), ("bicubic", "resize"), ("volume", "most")):
        refused = convert(name, "none", "conversion.fallback=[]")
        assert refused.status == ExitStatus.FAILED
        (problem,) = refused.problems
        assert word in problem.what
        mended = convert(name, "none", "conversion.fallback=[]", *shlex.split(problem.fix))
        assert mended.status == ExitStatus.DONE, (name, problem.fix, mended.problems)
        assert taken(mended) == set()


def test_a_rule_that_matches_nothing_is_an_error(convert):
    result = convert("classifier", "none", "substitution=rules", "substitution.rules=[erf,logits]")
    (problem,) = result.problems
    assert result.status == ExitStatus.REQUEST
    assert problem.what == "erf matched nothing in the model"
    assert problem.fix == "'substitution.rules=[logits]'"


def test_a_loop_that_is_too_long_is_left_as_it_is(convert):
    assert "WHILE" in ops(done(convert("long_loop")))


def test_logits(convert):
    result = done(convert("classifier", "none", "substitution=rules", "substitution.rules=[logits]"))
    assert "SOFTMAX" not in ops(result)
    assert result.metrics["substitution.logits"] == 1


def test_dropout_that_is_on_is_said_and_can_be_left_out(convert):
    with_noise = convert("noisy")
    assert any("draws random numbers" in warning for warning in with_noise.warnings)
    without = done(convert("noisy", "none", "substitution=rules", "substitution.rules=[no_dropout]"))
    assert not any("draws random numbers" in warning for warning in without.warnings)
    assert without.metrics["parity.max_abs_error"] == 0.0
    kept = done(convert("mc_dropout"))
    assert any("mc was called with training=True" in warning for warning in kept.warnings)


def test_state_in_variables_lives_on_in_the_file(convert):
    result = done(convert("streaming"))
    assert result.metrics["parity.max_abs_error"] < 1e-6
    assert contract(result)["stateful"] is True
    assert "reset_all_variables() starts anew" in contract(result)["notes"][0]


def test_parity_is_told_output_by_output(convert):
    result = done(convert("many_outputs"))
    figures = json.loads((result.output_dir / "parity.json").read_text())
    assert list(figures) == [f"head_{n}" for n in range(12)]
    assert all(figure["cosine"] > 0.99999 for figure in figures.values())


def test_text_is_cut_at_token_ids_and_the_vocabulary_kept(convert):
    refused = convert("text")
    (problem,) = refused.problems
    assert "StringLower in vectorize" in problem.what
    result = done(convert("text", "none", *shlex.split(problem.fix)))
    inputs = {entry["name"]: entry["tflite"]["dtype"] for entry in contract(result)["inputs"]}
    assert inputs == {"vectorize": "int64", "x": "float32"}
    words = (result.output_dir / "vocabulary.txt").read_text().splitlines()
    assert words[:2] == ["", "[UNK]"]
    assert "fox" in words


def test_lstms_can_be_fused(convert):
    result = done(convert("lstm", "none", "substitution=rules", "substitution.rules=[fused_lstm]"))
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in ops(result)
    assert result.metrics["parity.cosine"] > 0.99999
    assert result.metrics["size.tflite_bytes"] < done(convert("lstm")).metrics["size.tflite_bytes"] / 4


REPLACEMENTS = """
import keras


def same(layer):
    # units of another name, the weights of the old one
    made = keras.layers.Dense(layer.units, name="swapped")
    made.build(layer.input.shape)
    made.set_weights(layer.get_weights())
    return made


def other(layer):
    return keras.layers.Dense(layer.units)
"""


def test_layers_of_the_users_own(here, convert):
    (here / "mine.py").write_text(REPLACEMENTS)
    options = ["substitution=rules", "substitution.layers={out: 'mine.py:same'}"]
    swapped = done(convert("lstm", "none", *options))
    assert swapped.metrics["parity.cosine"] > 0.99999
    assert "mine.py:same" in swapped.tags["tflite_recipes.substitution"]
    wrong = convert("lstm", "none", "substitution=rules", "substitution.layers={out: 'mine.py:other'}")
    assert wrong.status == ExitStatus.FAILED
    assert "after replacing out it differs" in wrong.problems[0].what
    nowhere = convert("lstm", "none", "substitution=rules", "substitution.layers={outt: 'mine.py:same'}")
    assert nowhere.status == ExitStatus.REQUEST
    assert "did you mean out?" in nowhere.problems[0].what


def test_outputs_stand_in_the_sources_own_order(convert):
    result = done(convert("many_outputs", "integer_only"))
    file = tflite.read_tflite(result.path)
    names = {index: name for name, index in file.signatures[0].outputs}
    assert [names[index] for index in file.subgraphs[0].outputs] == [f"head_{n}" for n in range(12)]
    assert [file.subgraphs[0].tensors[i].shape[-1] for i in file.subgraphs[0].outputs] == list(range(1, 13))


def test_outputs_of_a_signature_stand_by_name(convert):
    """TensorFlow reads them in another order each time."""
    result = done(convert("many_results"))
    file = tflite.read_tflite(result.path)
    names = {index: name for name, index in file.signatures[0].outputs}
    assert [names[index] for index in file.subgraphs[0].outputs] == [f"result_{n}" for n in range(14)]


def test_values_that_quantization_loses_are_refused(convert):
    refused = convert("far_apart", "integer_only")
    assert refused.status == ExitStatus.FAILED
    (problem,) = refused.problems
    assert problem.where == "output both"
    assert "4 of 8 values are the same for every sample" in problem.what
    assert convert("far_apart", "integer_only", *shlex.split(problem.fix)).status == ExitStatus.DONE


def test_what_nobody_has_a_kernel_for_is_asked_for_by_name(convert):
    refused = convert("unknown_op")
    (problem,) = refused.problems
    assert "Cholesky" in problem.what
    assert problem.fix == "conversion.select_tf_ops=true"
    flex = done(convert("unknown_op", "none", problem.fix))
    assert flex.metrics["ops.flex"] == 1
    assert flex.tags["tflite_recipes.verified"] == "false"
    assert any("no current Python runtime" in warning for warning in flex.warnings)
    custom = convert("custom_op")
    assert custom.problems[0].fix == "conversion.allow_custom_ops=true"
    assert done(convert("custom_op", "none", custom.problems[0].fix)).metrics["ops.custom"] == 1


def test_flex_is_a_remedy_where_it_is_declared(convert):
    result = convert("unknown_op", "none", "conversion.fallback=[select_tf_ops]")
    assert taken(result) == {"select_tf_ops"}
    assert "select_tf_ops: " in contract(result)["remedies"][0]


def test_open_sizes_are_taken_from_the_samples_for_the_fix(convert):
    refused = convert("open_sizes", "integer_only")
    (problem,) = refused.problems
    assert problem.fix == "'source.input_shapes={image:[null,12,12,3]}'"
    assert done(convert("open_sizes", "integer_only", *shlex.split(problem.fix))).metrics["ops.float"] == 0


def test_a_target_may_want_a_fixed_batch(convert):
    result = done(convert("classifier", "none", "target.dynamic_batch=false"))
    assert contract(result)["inputs"][0]["tflite"]["shape"] == [1, 8]


def test_what_a_recipe_declares_of_the_file_holds_or_fails(convert):
    right = "io_contract.inputs={x: {shape: [null, 8], dtype: float32}}"
    assert convert("classifier", "none", right, "io_contract.outputs={classes: {dtype: float32}}").status == 0
    wrong = convert("classifier", "none", "io_contract.inputs={x: {dtype: int8}}")
    assert wrong.status == ExitStatus.FAILED
    (problem,) = wrong.problems
    assert (problem.where, problem.what) == ("io_contract.inputs.x.dtype", "the file has float32, int8 was declared")


def test_the_same_recipe_gives_the_same_bytes_whatever_was_taken(convert):
    digests = {done(convert("nested_gru")).tags["tflite_recipes.tflite_sha256"] for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["lstm", "read_in_part"])
def test_a_result_that_nothing_reads_leaves_neither_floats_nor_chance(convert, name):
    """The first step of a loop at a fixed batch, whose state is zero, reads some of its gates for nothing."""
    sizes = {"lstm": "x:[1,9,5]", "read_in_part": "x:[1,6,8]"}[name]
    results = [done(convert(name, "integer_only", f"source.input_shapes={{{sizes}}}")) for _ in range(3)]
    assert {result.metrics["ops.float"] for result in results} == {0}
    assert len({result.tags["tflite_recipes.tflite_sha256"] for result in results}) == 1


def test_a_deep_check_tells_what_the_file_would_be_and_leaves_nothing(here, models, cli):
    path = models / "lstm" / "model.keras"
    answer = cli("check", "convert", "source=keras", f"source.path={path}", "--deep")
    assert answer.status == 0, answer.err
    assert "unroll: 1 match" in answer.out
    assert "convert: converts, and the file runs; nothing was written" in answer.out
    assert list(here.iterdir()) == []
    refused = cli("check", "convert", "source=keras", f"source.path={models / 'text' / 'model.keras'}", "--deep")
    assert refused.status == 3
    assert refused.fixes == ["substitution=rules 'substitution.rules=[token_ids]'"]


def test_layers_of_a_saved_model_cannot_be_swapped(here, models):
    source = ["source=saved_model", f"source.path={models / 'gelu' / 'saved_model'}"]
    with pytest.raises(RequestError) as refused:
        api.run("convert", [*source, "substitution=rules", "substitution.rules=[erf,fused_lstm]"])
    (problem,) = refused.value.problems
    assert "fused_lstm works on the layers of a Keras model" in problem.what
    assert "'substitution.rules=[erf]'" in problem.fix


def test_every_rule_is_tried_here():
    seen = set().union(*FLOAT.values(), *INTEGER.values(), {"no_dropout", "logits", "token_ids", "fused_lstm"})
    seen |= {"unstack", "branches", "l2_norm", "dynamic_matmul"}  # in test_float_check and test_miscompiled
    assert {rule.name for rule in Rule} <= seen


def test_a_deep_check_judges_what_a_run_would(here, models):
    """The target's word on the batch, and values that quantization loses."""
    source = ["source=keras", f"source.path={models / 'classifier' / 'model.keras'}"]
    rehearsal = api.rehearse("convert", [*source, "target.dynamic_batch=false"], progress=False)
    assert rehearsal.contract["inputs"][0]["tflite"]["shape"] == [1, 8]
    folder = models / "far_apart"
    samples = ["calibration=npz", f"calibration.path={folder / 'samples.npz'}", "optimization=integer_only"]
    lost = api.rehearse("convert", ["source=keras", f"source.path={folder / 'model.keras'}", *samples], progress=False)
    assert lost.result.status == ExitStatus.FAILED
    assert "are the same for every sample" in lost.result.problems[0].what


def test_a_loop_that_cannot_be_unrolled_says_why_before_the_calibrator_crashes_on_it(convert):
    refused = convert("long_loop", "integer_only")
    (problem,) = refused.problems
    assert "it takes more than 512 steps" in problem.what
    assert problem.fix == "optimization=dynamic_range"
    assert done(convert("long_loop", "integer_only", problem.fix))


def test_layers_that_stay_keep_all_that_they_hold(here, convert):
    """A vocabulary, and statistics that no weight has."""
    (here / "mine.py").write_text(REPLACEMENTS)
    options = ["substitution=rules", "substitution.layers={out: 'mine.py:same'}", "conversion.fallback=[]"]
    result = done(convert("standardized", "none", *options))
    assert result.metrics["parity.cosine"] > 0.99999
    assert contract(result)["outputs"][0]["name"] == "out"  # whatever the replacement is called


def test_a_model_of_any_size_is_run_at_one_that_it_takes(convert):
    result = done(convert("any_size"))
    assert contract(result)["inputs"][0]["tflite"]["shape"] == [None, None, None, 3]
    assert result.metrics["parity.cosine"] > 0.99999
