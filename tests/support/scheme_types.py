"""The types of tensors that each scheme allows."""

from __future__ import annotations

CALIBRATED = ("full_integer", "integer_only", "int16x8", "int16x8_fallback")


SIZES = ("SHAPE", "STRIDED_SLICE", "PACK")


def kinds(file):
    """Of the main graph: types of activations that ops produce, of weights (two axes or more), and of biases."""
    (graph,) = file.subgraphs
    # A dynamic batch is reshaped by its own size, which int32 ops compute; those are no activations.
    produced = [index for op in graph.operators if op.name not in SIZES for index in op.outputs]
    activations = {graph.tensors[index].dtype for index in produced}
    used = {index for op in graph.operators if op.name not in (*SIZES, "RESHAPE") for index in op.inputs if index >= 0}
    weights = {t.dtype for t in graph.tensors if t.is_constant and t.index in used and len(t.shape) > 1}
    biases = {t.dtype for t in graph.tensors if t.is_constant and t.index in used and len(t.shape) == 1}
    return activations, weights, biases


def assert_types(file, scheme):
    activations, weights, biases = kinds(file)
    (graph,) = file.subgraphs
    edge_types = {graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)}
    every = {tensor.dtype for tensor in graph.tensors}
    if scheme == "none":
        assert every <= {"float32", "int32"}
        assert weights == {"float32"}
    elif scheme == "dynamic_range":
        assert activations == {"float32"}
        assert "int8" in weights
    elif scheme == "float16":
        assert weights == {"float16"}
        assert edge_types == {"float32"}
        assert activations == {"float32"}  # float16 constants are dequantized for the CPU
    elif scheme == "full_integer":
        assert activations <= {"int8", "float32"}
        assert edge_types == {"float32"}
        produced = [op for op in graph.operators if op.name not in ("DEQUANTIZE", *SIZES)]
        assert {graph.tensors[i].dtype for op in produced for i in op.outputs} == {"int8"}
        assert weights == {"int8"}
        assert biases == {"int32"}
    elif scheme == "integer_only":
        assert every <= {"int8", "int32"}
        assert edge_types == {"int8"}
        assert weights == {"int8"}
    else:
        assert edge_types == {"float32"}
        produced = [op for op in graph.operators if op.name not in ("DEQUANTIZE", *SIZES)]
        assert {graph.tensors[i].dtype for op in produced for i in op.outputs} == {"int16"}
        assert weights == {"int8"}
        assert biases <= {"int64", "int32"}
