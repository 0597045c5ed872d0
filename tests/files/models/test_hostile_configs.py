"""What the config of a Keras model names is read as data, and nothing but Keras's own passes without trust."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import hostile_models as hostile

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import models as model_files


def _words(text: str) -> list[str]:
    return text.split()


Json = Any


def both(tmp_path: Path, model: Json) -> list[model_files.KerasFile]:
    paths = hostile.write_h5(tmp_path / "m.h5", model), hostile.write_keras(tmp_path / "m.keras", model)
    newer = hostile.write_keras(tmp_path / "m3.keras", model, "3.12.0")
    return [model_files.read_keras_file(path) for path in (*paths, newer)]


def refuses(file: model_files.KerasFile) -> bool:
    problem = file.trust_problem(Path("m"))
    return bool(file.custom_layers) or (problem is not None and problem.fix == "source.trust=true")


OP_LAYERS = {
    "write": hostile.op_layer("TFOpLambda", "f", {"contents": "x"}, function="io.write_file"),
    "alias": hostile.op_layer("TFOpLambda", "f", {"contents": "x"}, function="compat.v1.write_file"),
    "raw": hostile.op_layer("TFOpLambda", "f", {"contents": "x"}, function="raw_ops.WriteFile"),
    "slicing": hostile.op_layer("SlicingOpLambda", "f", function="io.gfile.rmtree"),
    "library": hostile.op_layer("TFOpLambda", "f", function="load_library"),
    "keras": hostile.op_layer("TFOpLambda", "f", function="keras.models.load_model"),
    "download": hostile.op_layer("TFOpLambda", "f", function="keras.utils.get_file"),
    "summary": hostile.op_layer("TFOpLambda", "f", function="summary.create_file_writer"),
    "dump": hostile.op_layer("TFOpLambda", "f", function="debugging.experimental.enable_dump_debug_info"),
    "print": hostile.op_layer("TFOpLambda", "f", {"output_stream": "file:///f"}, function="print"),
    "vocabulary": hostile.op_layer("TFOpLambda", 1, {"vocab_file": "f"}, function="nn.fixed_unigram_candidate_sampler"),
    "no_text": hostile.op_layer("TFOpLambda", "f", function=["io.write_file"]),
    "class_method": hostile.op_layer("ClassMethod", "f", cls_symbol="io.gfile.GFile", method_name="__init__"),
    "class_method_of_ragged": hostile.op_layer("ClassMethod", "f", cls_symbol="RaggedTensor", method_name="__new__"),
    "method": hostile.op_layer("InstanceMethod", "f", attr_name="eval"),
    "property": hostile.op_layer("InstanceProperty", "f", attr_name="__class__"),
    "node": hostile.op_layer("TensorFlowOpLayer", "f", node_def={"name": "w", "op": "WriteFile"}),
    "node_text": hostile.op_layer("TensorFlowOpLayer", "f", node_def="\n\x01w\x12\tWriteFile"),
    "dotted": hostile.op_layer("layers.TFOpLambda", "f", function="io.write_file"),
}


@pytest.mark.parametrize("name", OP_LAYERS)
def test_op_layer_with_an_effect_needs_trust(tmp_path, name):
    for file in both(tmp_path, hostile.functional(OP_LAYERS[name])):
        problem = file.trust_problem(tmp_path)
        assert problem is not None
        assert (problem.where, problem.fix) == ("source.trust", "source.trust=true")


@pytest.mark.parametrize(
    "function",
    _words(
        "math.add math.multiply __operators__.getitem nn.relu nn.silu nn.softmax nn.conv2d image.resize "
        "math.reduce_mean reshape concat cast expand_dims tile where linalg.matmul signal.stft strings.lower "
        "clip_by_value keras.backend.mean compat.v1.nn.relu math.subtract math.greater stack split gather one_hot pad "
        "image.rgb_to_grayscale image.per_image_standardization nn.l2_normalize random.normal boolean_mask "
        "compat.v1.transpose nn.depth_to_space quantization.fake_quant_with_min_max_vars einsum ones_like "
        "nn.local_response_normalization math.l2_normalize image.extract_patches slice shape broadcast_to"
    ),
)
def test_op_layer_that_only_calculates_is_free(tmp_path, function):
    for file in both(tmp_path, hostile.functional(hostile.op_layer("TFOpLambda", 1.0, function=function))):
        assert not refuses(file)


def _class(name: str, module: Json, registered: Json = None, **config: Json) -> Json:
    return {"class_name": name, "module": module, "registered_name": registered, "config": {"name": "q", **config}}


def _function(name: str, module: str, registered: str = "function") -> Json:
    return {"class_name": "function", "module": module, "config": name, "registered_name": registered}


OBJECTS = {
    "type_spec": hostile.type_spec(),
    "type_spec_of_tensorflow": hostile.type_spec("tensorflow.python.lib.io.file_io", "FileIO"),
    "type_spec_in_list": [{"a": [hostile.type_spec()]}],
    "class": _class("Anything", hostile.MODULE, "Anything"),
    "class_under_a_known_name": _class("Dense", hostile.MODULE),
    "class_of_a_module_like_keras": _class("Dense", "keras_of_a_stranger.layers"),
    "registered_as_another": _class("Dense", "keras.layers", "TFSMLayer"),
    "lambda_by_its_registered_name": _class("Missing", "tf_keras.src.layers.core.lambda_layer", "Lambda"),
    "lambda_in_cell": _class("ResidualWrapper", "keras.layers", None, residual_fn_type="lambda", residual_fn=["x"]),
    "lambda": {"class_name": "__lambda__", "config": {"value": "x"}},
    "other_model": _class("TFSMLayer", "keras.layers", None, filepath="f"),
    "other_special_form": {"class_name": "__future__", "config": {}},
    "class_without_config": {"class_name": "Anything", "module": hostile.MODULE, "config": None},
    "class_that_is_no_text": {"class_name": ["Dense"], "config": {}},
    "class_that_is_a_mapping": {"class_name": {"a": 1}, "config": {}},
    "function": _function("relu", hostile.MODULE),
    "function_of_tensorflow": _function("load_library", "tensorflow.python.framework.load_library"),
    "function_registered_as_another": _function("relu", "tensorflow.python.framework.load_library", "load_library"),
    "function_of_keras": _function("load_model", "keras.models"),
    "json_in_text": json.dumps(hostile.type_spec()),
    "json_in_text_with_escaped_keys": json.dumps(hostile.type_spec()).replace("class_", "class\\u005f"),
    "json_behind_spaces": " \n" + json.dumps(hostile.type_spec()),
    "json_in_json": json.dumps([json.dumps(_class("Anything", hostile.MODULE))]),
    "type": {"class_name": "TypeSpec", "type_spec": "other.Spec", "serialized": []},
    "vocabulary": _class("StringLookup", "keras.layers", None, vocabulary="/etc/hostname"),
    "inner_compile": {
        **_class("Sequential", "keras", None, layers=[]),
        "compile_config": {"loss": hostile.type_spec()},
    },
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("place", ["config", "argument", "whole"])
def test_object_that_is_not_of_keras_needs_trust_or_its_class(tmp_path, name, place):
    if place == "whole":
        model = {**hostile.functional(), "build_config": OBJECTS[name]}
    elif place == "config":
        model = hostile.functional(last=hostile.dense(kernel_initializer=OBJECTS[name]))
    else:
        layer = hostile.dense()
        layer["inbound_nodes"] = [[["x", 0, 0, {"mask": OBJECTS[name]}]]]
        model = hostile.functional(last=layer)
    assert all(map(refuses, both(tmp_path, model)))


PLAIN = {
    "policy": _class("DTypePolicy", "keras"),
    "initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "initializer_by_name": {"class_name": "glorot_uniform", "config": {}},
    "function": _function("relu", "builtins"),
    "function_of_tensorflow": _function("relu", "tensorflow.python.ops.gen_nn_ops", "relu"),
    "tensor_spec": {
        **hostile.type_spec("tensorflow.python.framework.tensor", "TensorSpec"),
        "registered_name": None,
    },
    "registered_by_tf_keras": _class("Adam", "keras.optimizers", "Custom>Adam"),
    "op_of_keras_3": _class("Add", "keras.src.ops.numpy", "Add"),
    "tensor": {"class_name": "__keras_tensor__", "config": {"shape": [1], "dtype": "float32", "keras_history": []}},
    "tuple": {"class_name": "__tuple__", "items": [1]},
    "shape": {"class_name": "TensorShape", "items": [None, 4]},
    "array": {"class_name": "__numpy__", "config": {"value": [1], "dtype": "float32"}},
    "vocabulary": _class("StringLookup", "keras.layers", None, vocabulary=["a", "b"]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_object_of_keras_is_free(tmp_path, name):
    model = hostile.functional(last=hostile.dense(kernel_initializer=PLAIN[name]))
    assert not any(map(refuses, both(tmp_path, model)))


def test_a_file_of_two_formats_is_refused(tmp_path):
    archive = hostile.write_keras(tmp_path / "a.keras", hostile.functional())
    model = hostile.write_h5(tmp_path / "m.h5", hostile.functional())
    joined = tmp_path / "joined.keras"
    joined.write_bytes(model.read_bytes() + archive.read_bytes())
    with pytest.raises(RequestError):
        model_files.read_keras_file(joined)
    shutil.copyfile(model, tmp_path / "one.keras")
    assert not refuses(model_files.read_keras_file(tmp_path / "one.keras"))


def test_a_class_that_is_given_is_found_under_the_name_that_it_is_registered_under(tmp_path):
    scale = _class("Scale", hostile.MODULE, "stranger>Scale")
    (_, file, _) = both(tmp_path, hostile.functional(last=hostile.dense(kernel_initializer=scale)))
    assert model_files.not_given(file.custom_layers, ["layers.py:Scale"]) == []
    # Keras 2 looks for it under this name, and imports the module of the file if it is not there.
    assert "stranger>Scale" in file.custom_layers
