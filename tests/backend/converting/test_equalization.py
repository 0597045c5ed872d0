"""Equalized files: the same function, channels of like ranges, and what is left alone with a reason."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import float_files, integer_files
from support.tflite_builders import operator, operator_code, tensor

from tflite_recipes.backend.converting.equalization import equalize, factors

RELU6 = schema.ActivationFunctionType.RELU6
# With XNNPACK, with LiteRT's own kernels, and with the plainest that there are.
KERNELS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF)


# Numbers alone.

MAGNITUDES = st.floats(1e-2, 1e2)


@st.composite
def chains(draw):
    """Blocks of a dense, a depthwise and a grouped layer, and a dense one that reads a flattened picture."""
    channels, multiplier, positions = draw(st.integers(2, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    many = channels * multiplier
    shapes = [
        (1, channels, draw(st.integers(1, 4)), 2),
        (channels, multiplier, 1, 3),
        (multiplier, 2, channels, 1),
        (1, 3, 2 * multiplier * positions, 1),
    ]
    blocks = [draw(hnp.arrays("float64", shape, elements=MAGNITUDES)) for shape in shapes]
    return blocks, [(0, 1, channels), (1, 2, many), (2, 3, 2 * multiplier)]


def scaled(blocks, links, scales):
    found = list(blocks)
    for (first, second, _), scale in zip(links, scales, strict=True):
        found[first] = factors.with_outputs_scaled(found[first], 1 / scale)
        found[second] = factors.with_inputs_scaled(found[second], scale)
    return found


@pytest.mark.slow
@given(chains())
def test_both_sides_of_each_channel_come_to_the_same_range(chain):
    blocks, links = chain
    scales = factors.factors(blocks, links)
    assume(all(((scale > 1.01 / factors.LIMIT) & (scale < 0.99 * factors.LIMIT)).all() for scale in scales))
    after = scaled(blocks, links, scales)
    for first, second, channels in links:
        made, read = factors.output_ranges(after[first]), factors.input_ranges(after[second], channels)
        np.testing.assert_allclose(made, read, rtol=1e-2)


@given(chains(), st.data())
def test_what_was_spread_by_hand_is_undone(chain, data):
    """A channel scaled up in one layer and down in the next has a factor as much greater. In longer chains the factors
    are not the only ones that make ranges alike."""
    blocks, links = chain[0][:2], chain[1][:1]
    spread = [data.draw(hnp.arrays("float64", links[0][2], elements=st.floats(0.1, 10)))]
    (plain,) = factors.factors(blocks, links)
    (moved,) = factors.factors(scaled(blocks, links, [1 / spread[0]]), links)
    np.testing.assert_allclose(plain * spread[0], moved, rtol=1e-6)


@given(hnp.arrays("float64", (1, 4, 3, 1), elements=st.floats(0, 1e30)), st.integers(0, 3))
def test_dead_channels_stay_and_no_factor_passes_the_limit(first, dead):
    first[0, dead] = 0
    (found,) = factors.factors([first, np.ones((1, 2, 4, 1))], [(0, 1, 4)])
    assert found[dead] == 1
    assert (found <= factors.LIMIT).all()
    assert (found >= 1 / factors.LIMIT).all()


def test_the_formula_of_a_pair_and_of_a_depthwise_layer_between_two():
    ones = np.ones((1, 1, 2, 1))
    first, second = np.array([4.0, 100.0]).reshape(1, 2, 1, 1), np.array([1.0, 25.0]).reshape(1, 1, 2, 1)
    (scale,) = factors.factors([first, second], [(0, 1, 2)])
    np.testing.assert_allclose(scale, [2, 2])
    between = np.array([2.0, 10.0]).reshape(2, 1, 1, 1)
    blocks, links = [first, between, ones], [(0, 1, 2), (1, 2, 2)]
    after = scaled(blocks, links, factors.factors(blocks, links))
    for blocks in after:
        np.testing.assert_allclose(blocks.reshape(-1), [2, 10], rtol=1e-3)


def test_spread_leaves_dead_channels_out():
    assert factors.spread(np.array([0.0, 2, 6])) == 3
    assert factors.spread(np.zeros(3)) == 1


# Files built here: a dense layer, something, and another dense layer.


class File:
    """A flatbuffer under construction."""

    def __init__(self):
        self.codes, self.buffers, self.tensors, self.operators = [], [schema.BufferT()], [], []
        self.rng = np.random.default_rng(0)

    def add(self, name, shape):
        self.tensors.append(tensor(name, shape))
        return len(self.tensors) - 1

    def constant(self, name, values):
        values = np.asarray(values)
        index, held = self.add(name, values.shape), schema.BufferT()
        if values.dtype.kind == "i":
            self.tensors[index].type = schema.TensorType.INT32
        kind = "int32" if values.dtype.kind == "i" else "float32"
        held.data = np.frombuffer(values.astype(kind).tobytes(), np.uint8)
        self.tensors[index].buffer = len(self.buffers)
        self.buffers.append(held)
        return index

    def op(self, kind, inputs, shape, name, options="", **fields):
        result = self.add(name, shape)
        made = operator(len(self.codes), inputs, [result])
        self.codes.append(operator_code(kind))
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, options + "T")()
            vars(made.builtinOptions).update(fields)
            self.tensors[result].type = fields.get("outType", schema.TensorType.FLOAT32)
        self.operators.append(made)
        return result

    def dense(self, x, inputs, outputs, name, bias=None, **fields):
        spread = 10.0 ** self.rng.uniform(-1, 1, (outputs, 1))
        weights = self.constant(f"{name}/weights", self.rng.standard_normal((outputs, inputs)) * spread)
        bias = self.constant(f"{name}/bias", self.rng.standard_normal(outputs)) if bias is None else bias
        return self.op("FULLY_CONNECTED", [x, weights, bias], (5, outputs), name, "FullyConnectedOptions", **fields)

    def write(self, *outputs):
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.operatorCodes, model.buffers, model.subgraphs = 3, self.codes, self.buffers, [graph]
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [0], list(outputs)
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def small_file(between, **fields):
    """x (5, 4) → first (5, 6) → what `between` makes of it → second (5, 3). fields: the first layer's bias, options."""
    file = File()
    first = file.dense(file.add("x", (5, 4)), 4, 6, "first", **fields)
    return file.write(file.dense(between(file, first), 6, 3, "second"))


def invoke(data, signature, x, kernels=OpResolverType.BUILTIN_REF):
    made = Interpreter(model_content=data, experimental_op_resolver_type=kernels)
    if signature:
        return {name: np.array(values) for name, values in made.get_signature_runner(signature)(x=x).items()}
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    return {"result": made.get_tensor(made.get_output_details()[0]["index"])}


def x_details(made, signature):
    return made.get_signature_runner(signature).get_input_details()["x"] if signature else made.get_input_details()[0]


def assert_same_function(before, after, scale=1.0):
    """Of the same signatures, inputs and outputs, for five rows of random numbers."""
    old, new = Interpreter(model_content=before), Interpreter(model_content=after)
    assert new.get_signature_list() == old.get_signature_list()
    for signature in old.get_signature_list() or [""]:
        sizes = [list(x_details(made, signature)["shape_signature"]) for made in (old, new)]
        assert sizes[0] == sizes[1]
        x = scale * np.random.default_rng(1).standard_normal((5, *sizes[0][1:])).astype("float32")
        wanted = invoke(before, signature, x)
        for kernels in KERNELS:
            found = invoke(after, signature, x, kernels)
            for name, values in wanted.items():
                np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * np.abs(values).max())


def leaky(file, x):
    return file.op("LEAKY_RELU", [x], (5, 6), "leaky", "LeakyReluOptions", alpha=0.3)


def times_each(file, x):
    return file.op("MUL", [file.constant("each", np.arange(1.0, 7)), x], (5, 6), "scaled", "MulOptions")


def plus_each(file, x):
    return file.op("ADD", [x, file.constant("each", np.arange(1.0, 7))], (5, 6), "moved", "AddOptions")


def from_each(file, x):
    return file.op("SUB", [file.constant("each", np.arange(6.0)), x], (5, 6), "turned", "SubOptions")


def shape_asked(file, x):
    file.op("SHAPE", [x], (2,), "shape", "ShapeOptions", outType=schema.TensorType.INT32)
    return x


def relu6(file, x):
    return file.op("RELU6", [x], (5, 6), "clipped")


def gelu(file, x):
    return file.op("GELU", [x], (5, 6), "bent", "GeluOptions")


def plus_one(file, x):
    return file.op("ADD", [x, file.constant("one", np.float32([1]))], (5, 6), "moved", "AddOptions")


def reciprocal(file, x):
    return file.op("DIV", [file.constant("each", np.arange(1.0, 7)), x], (5, 6), "divided", "DivOptions")


def doubled(file, x):
    return file.op("ADD", [x, x], (5, 6), "doubled", "AddOptions")


def turned_over(file, x):
    y = file.op("RESHAPE", [x, file.constant("to", np.array([6, 5]))], (6, 5), "thin", "ReshapeOptions")
    return file.op("RESHAPE", [y, file.constant("back", np.array([5, 6]))], (5, 6), "wide", "ReshapeOptions")


@pytest.mark.parametrize("between", [lambda file, x: x, leaky, times_each, plus_each, from_each, shape_asked])
def test_ops_between_that_keep_channels_apart(between):
    before = small_file(between)
    found = equalize(before)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.channels) == ("first", "second", 6)
    assert pair.after < pair.before
    assert not found.skipped
    assert_same_function(before, found.data)
    assert equalize(before) == found


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (relu6, "RELU6 (clipped) clips at 6, and no ranges say that nothing gets there"),
        (gelu, "GELU (bent) stands behind it"),
        (plus_one, "ADD (moved) stands behind it"),
        (reciprocal, "DIV (divided) stands behind it"),
        (doubled, "first is read by 2 operators"),
        (turned_over, "RESHAPE (thin) stands behind it"),
    ],
)
def test_what_stops_it_is_said_and_the_file_stays(between, reason):
    before = small_file(between)
    found = equalize(before)
    assert found.data is before
    assert not found.pairs
    assert [(skipped.name, skipped.reason) for skipped in found.skipped] == [("first", reason)]


def test_an_output_in_the_middle_stays_as_it_is():
    file = File()
    first = file.dense(file.add("x", (5, 4)), 4, 6, "first")
    before = file.write(file.dense(first, 6, 3, "second"), first)
    found = equalize(before)
    assert found.data is before
    assert found.skipped[0].reason == "first is an output of the model"


@pytest.mark.parametrize("fused", [True, False])
def test_relu6_is_lifted_where_the_ranges_stay_below_it(fused):
    before = small_file(lambda file, x: x, fusedActivationFunction=RELU6) if fused else small_file(relu6)
    name = "first" if fused else "clipped"
    assert "the data get to 4.6" in equalize(before, {name: (0.0, 4.6)}).skipped[0].reason
    found = equalize(before, {name: (0.0, 4.4)})
    assert found.unclipped == (name,)
    assert len(found.pairs) == 1
    assert_same_function(before, found.data, scale=0.02)
    again = equalize(found.data)
    assert not again.unclipped
    assert len(again.pairs) == 1


@pytest.mark.parametrize("activation", ["RELU_N1_TO_1", "TANH"])
def test_other_bounded_activations_stop_it(activation):
    before = small_file(lambda file, x: x, fusedActivationFunction=getattr(schema.ActivationFunctionType, activation))
    found = equalize(before, {"first": (0.0, 0.1)})
    assert found.data is before
    assert found.skipped[0].reason == f"{activation} (first) is no activation that scales"


def test_a_bias_that_others_read_is_copied():
    file = File()
    x, bias = file.add("x", (5, 4)), file.constant("bias", np.arange(6.0))
    h = file.dense(file.dense(x, 4, 6, "first", bias), 6, 6, "second", bias)
    before = file.write(file.dense(h, 6, 6, "third", bias))
    found = equalize(before)
    assert len(found.pairs) == 2
    assert_same_function(before, found.data)


def test_weights_that_are_read_twice_are_left_alone():
    file = File()
    x, weights = file.add("x", (5, 6)), file.constant("weights", file.rng.standard_normal((6, 6)))
    bias = file.constant("bias", np.zeros(6))
    for name in ("first", "second"):
        x = file.op("FULLY_CONNECTED", [x, weights, bias], (5, 6), name, "FullyConnectedOptions")
    before = file.write(file.dense(x, 6, 3, "third"))
    found = equalize(before)
    assert found.data is before
    assert [s.name for s in found.skipped] == ["first", "second"]
    assert "read by 2 operators" in found.skipped[0].reason


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_left_alone(broken):
    file = File()
    first = file.dense(file.add("x", (5, 4)), 4, 6, "first")
    second = file.dense(first, 6, 3, "second")
    (index,) = (k for k, t in enumerate(file.tensors) if t.name == "second/weights")
    values = np.full((3, 6), 1, "float32")
    values[1, 2] = broken
    file.buffers[file.tensors[index].buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    found = equalize(file.write(second))
    assert found.skipped[0].reason == "the weights of second are not all finite"


# Files as TensorFlow writes them.

PAIRS = {
    "separable": 5,
    "dense": 3,
    "flattened": 3,
    "decoder": 5,
    "series": 2,
    "normalized_late": 2,
    "residual": 1,
    "shared": 0,
    "clipped": 0,
    "spread_channels": 6,
    "two_graphs": 0,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    float_files.write(folder, *PAIRS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_networks_keep_their_function(files, name):
    before = (files / f"{name}.tflite").read_bytes()
    found = equalize(before)
    assert len(found.pairs) == PAIRS[name], found.skipped
    assert (found.data is before) == (not found.pairs)
    assert_same_function(before, found.data)
    assert equalize(before) == found


def measured(data, x):
    """Least and greatest value of each tensor of the one graph."""
    made = Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    made.resize_tensor_input(made.get_input_details()[0]["index"], x.shape)
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    values = {details["name"]: made.get_tensor(details["index"]) for details in made.get_tensor_details()}
    return {name: (float(v.min()), float(v.max())) for name, v in values.items() if v.size}


@pytest.mark.slow
def test_clipped_network_is_equalized_while_nothing_clips(files):
    before = (files / "clipped.tflite").read_bytes()
    x = np.random.default_rng(1).standard_normal((5, *float_files.PICTURE)).astype("float32")
    found = equalize(before, measured(before, x))
    assert len(found.pairs) == 2
    assert len(found.unclipped) == 3  # two activations, and one that the pooling took in
    assert_same_function(before, found.data)
    loud = equalize(before, measured(before, 1000 * x))
    assert "clips at 6, and the data get to 6" in loud.skipped[0].reason
    assert len(loud.pairs) < 2


@pytest.fixture(scope="module")
def integers(files, tmp_path_factory):
    """Integer files of `spread_channels`, plain and equalized, with samples of many colours."""
    folder = tmp_path_factory.mktemp("integers")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 1, 1, 3)) + 0.3 * rng.standard_normal((256, 16, 16, 3))
    np.save(folder / "x.npy", x.astype("float32"))
    plain = (files / "spread_channels.tflite").read_bytes()
    (folder / "plain.tflite").write_bytes(plain)
    (folder / "equalized.tflite").write_bytes(equalize(plain).data)
    integer_files.write(folder, "plain", "equalized")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("grain", "lost", "kept"), [("per_channel", 15, 28), ("per_tensor", 5, 28)])
def test_integers_keep_what_channels_decades_apart_lost(integers, grain, lost, kept):
    """SQNR in dB of the integer file's outputs, and how often the greatest of ten is the same."""
    x = np.load(integers / "x.npy")

    def outputs(name):
        (found,) = invoke((integers / f"{name}.tflite").read_bytes(), "serving_default", x, KERNELS[0]).values()
        return found

    def quality(found):
        return 10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2)), np.mean(found.argmax(1) == classes)

    wanted = outputs("plain")
    classes = wanted.argmax(1)
    sqnr, same = quality(outputs(f"plain_{grain}"))
    assert sqnr < lost
    assert same < 0.8
    sqnr, same = quality(outputs(f"equalized_{grain}"))
    assert sqnr > kept
    assert same > 0.95
