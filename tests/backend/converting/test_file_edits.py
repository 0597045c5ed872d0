"""Small edits of a finished file."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.tflite_builders import operator, operator_code, tensor

from tflite_recipes.files.tflite import fused_lstms, keeps_state, read_tflite


def lstm(clip, state="variable"):
    """A file with one LSTM, whose state is a tensor of this kind."""
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.cellClip, options.projClip, options.timeMajor = clip, 7.0, True
    op = operator(0, [0, 1], [2])
    op.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    op.builtinOptions = options
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, 4, 2]), tensor("state", [1, 3]), tensor("y", [1, 4, 3])]
    graph.tensors[1].isVariable = state == "variable"
    graph.inputs, graph.outputs, graph.operators = [0], [2], [op]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [operator_code("UNIDIRECTIONAL_SEQUENCE_LSTM")]
    model.subgraphs, model.buffers = [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def options_of(data):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data)))
    return model.subgraphs[0].operators[0].builtinOptions


@pytest.mark.slow
@pytest.mark.parametrize("clip", [10.0, 0.0])
def test_without_cell_clip_leaves_all_but_the_limit_as_it_is(clip):
    from tflite_recipes.backend.converting.file_edits import without_cell_clip

    before = lstm(clip)
    after = without_cell_clip(before)
    options = options_of(after)
    assert (options.cellClip, options.projClip, options.timeMajor) == (0.0, 7.0, True)
    changed = np.frombuffer(before, "uint8") != np.frombuffer(after, "uint8")
    assert changed.sum() == (2 if clip else 0)  # 10.0 has two bytes that are not 0


@pytest.mark.parametrize(("state", "keeps"), [("variable", True), ("computed", False)])
def test_keeps_state_is_whether_an_op_reads_a_variable(tmp_path, state, keeps):
    path = tmp_path / "lstm.tflite"
    path.write_bytes(lstm(10.0, state))
    file = read_tflite(path)
    assert fused_lstms(file) == 1
    assert keeps_state(file) is keeps
