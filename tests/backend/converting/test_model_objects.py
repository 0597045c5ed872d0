"""Files as mutable objects: constants behind the flatbuffer, placeholders for positions, op codes of old files."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.tflite_builders import WEIGHTS, appended, buffer, dense, npu_file, operator_code, pack

from tflite_recipes.backend.converting import file_edits, model_objects
from tflite_recipes.files.tflite import constant_array, read_tflite


def objects(data):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def weights(tmp_path, data):
    (tmp_path / "m.tflite").write_bytes(data)
    file = read_tflite(tmp_path / "m.tflite")
    tensors = file.subgraphs[0].tensors
    assert [tensor.is_constant for tensor in tensors] == [False, True, False]
    return constant_array(file, tensors[1]), tensors[1].buffer_offset


def test_with_constants_inside_constants_behind_move_into_the_flatbuffer_aligned(tmp_path):
    data = appended(objects(dense()), {1: WEIGHTS.tobytes()})
    assert model_objects.has_constants_behind(data)
    inside = model_objects.with_constants_inside(data)
    assert not model_objects.has_constants_behind(inside)
    values, start = weights(tmp_path, inside)
    np.testing.assert_array_equal(values, WEIGHTS)
    assert start % 16 == 0


def test_with_constants_inside_other_files_stay_as_they_are():
    for data in (dense(), npu_file(b"bytecode", b"options")):
        assert model_objects.with_constants_inside(data) == data
    assert not model_objects.has_constants_behind(dense())


@pytest.mark.parametrize(
    "edit",
    [lambda data: file_edits.with_signature(data, "serve"), lambda data: model_objects.write(model_objects.read(data))],
)
def test_read_placeholders_of_positions_are_no_constants(tmp_path, edit):
    model = objects(dense())
    model.buffers[0] = buffer(offset=1, size=1)
    model.buffers[1].offset = model.buffers[1].size = 1
    np.testing.assert_array_equal(weights(tmp_path, edit(pack(model)))[0], WEIGHTS)


def test_with_op_codes_of_today_an_old_file_has_both_codes():
    model = objects(dense())
    assert model_objects.with_op_codes_of_today(pack(model)) == pack(model)
    model.operatorCodes = [operator_code("FULLY_CONNECTED", old=True)]
    (code,) = objects(model_objects.with_op_codes_of_today(pack(model))).operatorCodes
    assert code.builtinCode == code.deprecatedBuiltinCode == schema.BuiltinOperator.FULLY_CONNECTED
