"""Weights with a scale for each block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@pytest.mark.slow
@given(
    hnp.arrays("float32", st.tuples(st.integers(1, 5), st.just(32)), elements=st.floats(-100, 100, width=32)),
    st.sampled_from([4, 8]),
)
def test_no_value_is_off_by_more_than_half_a_step(weights, bits):
    from tflite_recipes.backend.converting import block_weights

    values, scales = block_weights.quantized(weights, 16, bits)
    assert values.shape == (weights.size // 16, 16)
    restored = (values * scales[:, None]).reshape(weights.shape)
    steps = np.repeat(scales, 16).reshape(weights.shape)
    assert (np.abs(restored - weights) <= steps / 2 + 1e-4 * steps).all()
    assert np.abs(values).max() <= 2 ** (bits - 1) - 1


@pytest.mark.slow
@given(hnp.arrays("int8", st.integers(1, 33), elements=st.integers(-7, 7)))
def test_four_bits_are_packed_low_half_first(values):
    from tflite_recipes.backend.converting import block_weights

    packed = block_weights.packed(values).astype(int)
    nibbles = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[: len(values)]
    assert (np.where(nibbles > 7, nibbles - 16, nibbles) == values).all()
