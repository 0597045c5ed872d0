"""Options of TensorFlow's own ops: what they say, whatever the order in which the converter wrote it."""

from __future__ import annotations

import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.files.tflite import flex_options
from tflite_recipes.files.tflite.differences import compare

NAME, ONE, TWO = b"\x0a\x01n", b"\x2a\x03\x0a\x01a", b"\x2a\x03\x0a\x01b"
OP, ORIGIN = b"\x12\x01X", b"\x32\x01o"


def options(node):
    builder = flexbuffers.Builder()
    with builder.Vector():
        builder.String("X")
        builder.String(node.decode("latin-1"))
    return bytes(builder.Finish())


def test_only_what_decides_is_held_against_another():
    one = flex_options.meaning(options(NAME + OP + ONE + TWO + ORIGIN))
    assert one is not None
    assert flex_options.meaning(options(OP + TWO + ONE)) == one
    assert flex_options.meaning(options(OP + TWO + TWO)) != one
    assert flex_options.meaning(options(b"\x12\x01Y" + ONE + TWO)) != one


@given(st.binary(max_size=40))
def test_bytes_of_others_are_no_trouble(data):
    flex_options.meaning(data)
    assert len(flex_options.in_order(data)) == len(data)


@pytest.mark.slow
def test_a_file_has_one_order(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([3], tf.float32)])
    def call(x):
        return tf.strings.as_string(x, precision=3)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    data = flex_options.ordered(converter.convert())
    start = data.index(b"\x12\x08AsString")
    fields = []
    for end in range(start + 1, start + 400):
        fields = flex_options.fields_of(data[start:end]) or []
        if any(number == 6 for number, _ in fields):
            break
    backward = reversed([text for number, text in fields if number == 5])
    other = data.replace(
        b"".join(text for _, text in fields), b"".join(next(backward) if n == 5 else text for n, text in fields)
    )
    assert other != data
    assert flex_options.ordered(other) == data
    for name, content in (("a", data), ("b", other)):
        (tmp_path / name).write_bytes(content)
    assert compare(tmp_path / "a", tmp_path / "b").differences == ()
