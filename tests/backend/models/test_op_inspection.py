"""What the ops of a traced graph are."""

import pytest

pytestmark = pytest.mark.slow


def test_constants_counts_weights_and_no_shapes_axes_or_factors():
    import numpy as np
    import tensorflow as tf

    from tflite_recipes.backend.models import op_inspection

    outside, variable = tf.constant(np.ones((8, 4), "float32")), tf.Variable(tf.ones((4, 3)))
    table = np.arange(12, dtype="int32").reshape(6, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32), tf.TensorSpec([None], tf.int32)])
    def call(x, row):
        h = tf.matmul(x, outside) * 0.5 + tf.constant([1.0, 2.0, 3.0, 4.0])
        h = tf.transpose(tf.reshape(tf.matmul(h, variable), [-1, 3, 1]), [0, 2, 1])
        return h, tf.gather(tf.constant(table), row)

    assert op_inspection.constants(call.get_concrete_function().graph) == 32 + 4 + 12
