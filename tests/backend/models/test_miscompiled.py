"""Ops that the converter compiles wrongly: each is a fault of this TensorFlow, is found, and is mended by its rule."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow
# By name: the shapes of the inputs, and the rule that mends it; None where the converter is right.
CASES = {
    "joined_before": ([(4, 5, 3)], "unstack"),
    "joined_behind": ([(2, 3, 4, 5)], "unstack"),
    "joined_column": ([(4, 5, 1)], "unstack"),
    "joined_in_place": ([(4, 5, 3)], None),
    "joined_of_one": ([(1, 5, 3)], None),
    "joined_reversed": ([(4, 5, 3)], None),
    "norm_of_all": ([(4, 8)], "l2_norm"),
    "norm_of_column": ([(8, 1)], "l2_norm"),
    "norm_of_last_two": ([(2, 4, 8)], "l2_norm"),
    "norm_broadcast": ([(8, 8)], "l2_norm"),
    "norm_of_last": ([(4, 8)], None),
    "norm_of_first": ([(4, 8)], None),
    "relu_of_computed": ([(3, 8), (8, 4)], "dynamic_matmul"),
    "clipped_of_computed": ([(3, 8), (8, 4)], "dynamic_matmul"),
    "relu_of_reshaped": ([(3, 8), (8, 4)], "dynamic_matmul"),
    "relu_of_gram": ([(3, 8)], "dynamic_matmul"),
    "relu_of_transposed": ([(3, 8), (4, 8)], None),
    "relu_of_constant": ([(3, 8)], None),
    "relu_in_branch": ([(1, 8)], "branches"),
    "relu6_in_branch_of_branch": ([(1, 8)], "branches"),
    "relu_in_loop": ([(1, 8)], None),
}


def functions():
    import tensorflow as tf

    square, other = (tf.random.stateless_normal([8, 8], [1, seed]) for seed in (1, 2))

    def divided(x, axes, keep):
        return x * tf.math.rsqrt(tf.reduce_sum(tf.square(x), axes, keepdims=keep))

    def branch(x, bound=tf.nn.relu):
        return tf.cond(tf.reduce_mean(x) > -9.0, lambda: bound(x @ square), lambda: tf.tanh(x @ other))

    def nested(x):
        return tf.cond(tf.reduce_max(x) > -9.0, lambda: branch(x, tf.nn.relu6), lambda: x + 1.0)

    return {
        "joined_before": lambda x: tf.concat(tf.unstack(x, axis=1), axis=0),
        "joined_behind": lambda x: tf.concat([tf.identity(part) for part in tf.unstack(x, axis=1)], axis=-1),
        "joined_column": lambda x: tf.concat(tf.unstack(x, axis=1), axis=0),
        "joined_in_place": lambda x: tf.concat(tf.unstack(x, axis=1), axis=1),
        "joined_of_one": lambda x: tf.concat(tf.unstack(x, axis=1), axis=0),
        "joined_reversed": lambda x: tf.concat(tf.unstack(x, axis=1)[::-1], axis=0),
        "norm_of_all": lambda x: tf.nn.l2_normalize(x, [0, 1]),
        "norm_of_column": lambda x: tf.nn.l2_normalize(x, [0, 1]),
        "norm_of_last_two": lambda x: tf.nn.l2_normalize(x, [2, 1]),
        "norm_broadcast": lambda x: divided(x, -1, False),
        "norm_of_last": lambda x: divided(x, -1, True),
        "norm_of_first": lambda x: divided(x, 0, True),
        "relu_of_computed": lambda x, y: tf.nn.relu(tf.matmul(x, y)),
        "clipped_of_computed": lambda x, y: tf.clip_by_value(tf.matmul(x, y), -1.0, 1.0),
        "relu_of_reshaped": lambda x, y: tf.nn.relu(tf.reshape(tf.matmul(x, y), [4, 3])),
        "relu_of_gram": lambda x: tf.nn.relu(tf.matmul(x, x, transpose_a=True)),
        "relu_of_transposed": lambda x, y: tf.nn.relu(tf.matmul(x, y, transpose_b=True)),
        "relu_of_constant": lambda x: tf.nn.relu(tf.matmul(x, square)),
        "relu_in_branch": branch,
        "relu6_in_branch_of_branch": nested,
        "relu_in_loop": lambda x: tf.while_loop(
            lambda step, _: step < 3, lambda step, y: (step + 1, tf.nn.relu(y @ square)), [0, x]
        )[1],
    }


def traced(call, shapes):
    from tflite_recipes.backend.models import traced_model
    from tflite_recipes.core.state import TensorSpec

    names = [f"x{number}" for number in range(len(shapes))]
    specs = tuple(TensorSpec(name, shape, "float32") for name, shape in zip(names, shapes, strict=True))
    return traced_model.frozen(traced_model.trace(call, specs, ("y",)))


def error_of_file(made, arrays, expected):
    """The largest difference as a share of the output's range."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = tf.lite.TFLiteConverter.from_concrete_functions([made.concrete]).convert()
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    run = Interpreter(model_content=data, experimental_op_resolver_type=kind)
    run.allocate_tensors()
    for details in run.get_input_details():
        run.set_tensor(details["index"], arrays[details["name"]])
    run.invoke()
    return np.abs(run.get_tensor(run.get_output_details()[0]["index"]) - expected).max() / np.ptp(expected)


@pytest.mark.parametrize("name", CASES)
def test_converter_is_wrong_exactly_where_a_fault_is_found_and_the_rule_mends_it(name):
    import tensorflow as tf

    from tflite_recipes.backend.models import op_inspection, traced_model
    from tflite_recipes.backend.models.rewriting import rewrite
    from tflite_recipes.core.state import Intent

    shapes, rule = CASES[name]
    function = functions()[name]
    plain = traced(lambda **tensors: {"y": function(*[tensors[key] for key in sorted(tensors)])}, shapes)
    rng = np.random.default_rng(5)
    arrays = {f"x{n}": rng.standard_normal(shape).astype("float32") * 2 for n, shape in enumerate(shapes)}
    expected = plain(**{name: tf.constant(values) for name, values in arrays.items()})["y"].numpy()
    found = {found.remedies[0] for found in op_inspection.inspect(plain.graph, Intent())}
    assert found == ({rule} if rule else set())
    error = error_of_file(plain, arrays, expected)
    assert error > 0.05 if rule else error < 1e-5
    if rule:
        rewritten = rewrite(plain.concrete, sorted(arrays), ["y"], frozenset({rule}))
        mended = traced_model.trace(rewritten.call, plain.inputs, ("y",))
        assert rewritten.matches.keys() == {rule}
        assert error_of_file(traced_model.frozen(mended), arrays, expected) < 1e-5
        assert not op_inspection.inspect(mended.graph, Intent())


def test_branches_that_may_fail_or_write_are_kept():
    import tensorflow as tf

    from tflite_recipes.backend.models.rewriting import branches

    table, state = tf.constant([1.0, 2.0]), tf.Variable(1.0)

    def kept(one, other):
        def run(x0):
            return {"y": tf.cond(tf.reduce_mean(x0) > 0, lambda: one(x0), lambda: other(x0))}

        graph = traced_graph(run)
        (op,) = (op for op in graph.get_operations() if op.type in branches.BRANCHES)
        return not branches.all_may_run(op)

    def traced_graph(run):
        return tf.function(run).get_concrete_function(tf.TensorSpec([2], tf.float32, name="x0")).graph

    assert not kept(lambda x: x * 2, lambda x: x + 1)
    assert kept(lambda x: tf.gather(table, tf.cast(x, tf.int32)), lambda x: x)
    assert kept(lambda x: state.assign_add(1.0) + x, lambda x: x)
    assert kept(lambda x: x[:1], lambda x: x)
    assert kept(lambda x: tf.random.normal([2]) + x, lambda x: x)
    assert kept(lambda x: tf.cast(7 // tf.cast(x, tf.int32), tf.float32), lambda x: x)
