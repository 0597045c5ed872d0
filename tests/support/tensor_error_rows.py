"""Rows of a table of tensor errors."""

from __future__ import annotations

from hypothesis import strategies as st

from tflite_recipes.conversion.quality.tensor_errors import TensorError


def activation(name, op, sqnr, local, incoming=200.0, inputs=(), scale=0.5, zero=0):
    return TensorError(
        tensor=name,
        layer=f"layer_{name}",
        op=op,
        kind="activation",
        dtype="int8",
        shape=(None, 8),
        scale=scale,
        zero_point=zero,
        sqnr_db=sqnr,
        local_sqnr_db=local,
        rmse=0.1,
        rmse_over_scale=0.2,
        clipped=0.0,
        covered=0.9,
        input_sqnr_db=incoming,
        inputs=tuple(inputs),
        output=name,
    )


def weight(name, output, sqnr, op="CONV_2D"):
    return TensorError(
        name, f"layer_{output}", op, "weight", "int8", (8, 8), 0.1, 0, sqnr, sqnr, 0.01, 0.29, 0.0, output=output
    )


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
