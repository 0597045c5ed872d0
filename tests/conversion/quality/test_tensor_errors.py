"""The table of errors by tensor: its file, its ranking by op, its plot."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tensor_error_rows import activation, names, weight

from tflite_recipes.conversion.quality import tensor_errors as qe
from tflite_recipes.conversion.quality.tensor_errors import TensorError
from tflite_recipes.conversion.sensitivity import sensitivity
from tflite_recipes.core.errors import RequestError
from tflite_recipes.report.sections import tensor_error_plot


def ranked(*rows):
    return [op.tensor for op in sensitivity(rows)]


# What an op adds itself


def test_an_op_behind_a_bad_one_is_not_blamed():
    bad = activation("bad", "CONV_2D", 9.0, 42.0, 40.0)
    behind = activation("behind", "CONV_2D", 8.9, 43.0, 9.0, ["bad"], scale=0.2)
    coarse = activation("coarse", "ADD", 8.5, 25.0, 8.9, ["behind"], scale=0.3)
    assert ranked(behind, coarse, bad)[0] == "bad"
    scores = {op.tensor: op.score for op in sensitivity([bad, behind, coarse])}
    assert scores["bad"] == pytest.approx(9.0, abs=0.01)
    assert scores["behind"] > scores["bad"] + 10


def test_rounding_counts_even_where_noise_from_before_hides_it():
    """The output is as good as the input, by chance; its own rounding is no better for that."""
    (op,) = sensitivity([activation("a", "ADD", 20.0, 20.0, 20.0)])
    assert op.score == pytest.approx(20.0)


def test_bad_weights_are_their_ops_fault():
    rows = [activation("a", "CONV_2D", 39.0, 45.0, 40.0), activation("b", "CONV_2D", 38.5, 45.0, 39.0)]
    assert ranked(*rows, weight("w", "b", 12.0))[0] == "b"


def test_weights_alone_are_ranked_where_activations_stay_float():
    output = TensorError("out", "", "ADD", "activation", "float32", (1,), None, None, 30.0, None, 0.1, None, None)
    assert ranked(weight("v", "b", 40.0), weight("w", "a", 20.0), output) == ["a", "b"]


@pytest.mark.parametrize("op", ["RESHAPE", "TRANSPOSE", "MAX_POOL_2D", "INPUT", "QUANTIZE"])
def test_what_only_passes_values_on_is_never_named(op):
    assert ranked(activation("p", op, 1.0, 1.0)) == []


def test_a_table_that_is_looked_up_is_named():
    rows = [activation("g", "GATHER", 13.0, 13.0), weight("table", "g", 13.0, "GATHER")]
    assert ranked(*rows) == ["g"]


# What goes together


def test_what_amplifies_goes_with_what_it_amplifies():
    rows = [
        activation("pointwise", "CONV_2D", 36.0, 36.0),
        activation("pad", "PAD", 36.0, 36.0, 36.0, ["pointwise"]),
        activation("depthwise", "DEPTHWISE_CONV_2D", 9.0, 41.0, 36.0, ["pad"], scale=0.1),
    ]
    first, second = sensitivity(rows)
    assert (first.tensor, first.together) == ("depthwise", ("pointwise",))
    assert second.together == ()


def test_what_is_joined_at_one_scale_goes_with_the_joint():
    rows = [
        activation("tiny", "FULLY_CONNECTED", 5.0, 5.0, 40.0, scale=7.0),
        activation("flat", "RESHAPE", 5.0, 5.0, 5.0, ["tiny"], scale=7.0),
        activation("own", "FULLY_CONNECTED", 38.0, 40.0, 40.0, scale=1.0),
        activation("joint", "CONCATENATION", 39.0, 39.0, 5.0, ["flat", "own"], scale=7.0),
    ]
    together = {op.tensor: op.together for op in sensitivity(rows)}
    assert together["tiny"] == ("joint",)
    assert together["own"] == ()


# Figures


def test_metrics_are_those_of_all_rows():
    rows = [activation("a", "ADD", 10.0, 10.0), activation("b", "ADD", 20.0, 20.0), weight("w", "b", 48.0)]
    assert qe.metrics(rows) == {"quantization.worst_sqnr_db": 10.0, "quantization.median_sqnr_db": 20.0}
    assert qe.metrics([]) == {}


# The file

finite = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))
tables = st.builds(
    TensorError,
    tensor=names,
    layer=st.one_of(st.just(""), names),
    op=st.sampled_from(["CONV_2D", "ADD"]),
    kind=st.sampled_from(["activation", "weight"]),
    dtype=st.just("int8"),
    shape=st.lists(st.one_of(st.none(), st.integers(0, 99)), max_size=4).map(tuple),
    scale=st.one_of(st.none(), finite),
    zero_point=st.one_of(st.none(), st.integers(-128, 127)),
    sqnr_db=finite,
    local_sqnr_db=st.one_of(st.none(), finite),
    rmse=finite,
    rmse_over_scale=st.one_of(st.none(), finite),
    clipped=st.one_of(st.none(), finite),
    covered=st.one_of(st.none(), finite),
    input_sqnr_db=finite,
    inputs=st.lists(names, max_size=3).map(tuple),
    output=names,
)


@given(st.lists(tables, max_size=6))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / qe.TABLE
    qe.write_csv(path, rows)
    assert qe.read_csv(path) == qe.worst_first(rows)


def test_the_worst_stands_first_and_the_columns_are_known(tmp_path):
    path = tmp_path / qe.TABLE
    qe.write_csv(path, [activation("good", "ADD", 40.0, 41.0), activation("bad", "ADD", 4.0, 41.0)])
    head, first, *_ = path.read_text().splitlines()
    assert head.startswith(
        "tensor,layer,op,kind,dtype,shape,scale,zero_point,sqnr_db,local_sqnr_db,rmse,rmse_over_scale,clipped"
    )
    assert first.startswith("bad,layer_bad,ADD,activation,int8,?x8,0.5,0,4,41,0.1,0.2,0,")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no column tensor"),
        (b"a,b\n1,2\n", "no column tensor"),
        (b"\xff\xfe\x00", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_another_file_is_refused(tmp_path, content, what):
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=what):
        qe.read_csv(path)


@pytest.mark.parametrize(("old", "new"), [(",4,41,", ",four,41,"), ("?x8", "?xy"), ("[]", "{"), (",bad\n", "\n")])
def test_a_damaged_line_is_named(tmp_path, old, new):
    path = tmp_path / qe.TABLE
    qe.write_csv(path, [activation("bad", "ADD", 4.0, 41.0)])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if new == "\n":  # a line that breaks off lacks its last cells
        assert qe.read_csv(path)[0].output == ""
        return
    with pytest.raises(RequestError, match="line 2"):
        qe.read_csv(path)


# The plot


def drawn(rows):
    root = ElementTree.fromstring(tensor_error_plot.plot(rows))
    return root, root.findall("{http://www.w3.org/2000/svg}g")


def test_the_plot_shows_the_worst_twenty_with_layer_and_op():
    rows = [activation(f"t{i:02}", "CONV_2D", float(i), 50.0) for i in range(30)]
    _, bars = drawn(reversed(rows))
    assert len(bars) == 20
    texts = ["".join(bar.itertext()) for bar in bars]
    assert "layer_t00  CONV_2D" in texts[0]
    assert "19.0 dB" in texts[-1]


def test_bars_are_as_long_as_their_values_and_stay_within():
    root, bars = drawn([activation("a", "ADD", -20.0, 50.0), activation("b", "ADD", 40.0, 50.0)])
    first, second = (bar.find("{http://www.w3.org/2000/svg}rect") for bar in bars)
    assert float(second.get("width")) == pytest.approx(2 * float(first.get("width")), rel=0.01)
    zero = float(first.get("x")) + float(first.get("width"))
    assert float(second.get("x")) == pytest.approx(zero, abs=0.2)
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(rect.get("x")) <= float(rect.get("x")) + float(rect.get("width")) <= float(root.get("width"))


def test_names_from_a_model_are_text():
    root, _ = drawn([activation("<script>alert('1')</script>&", "ADD", 1.0, 2.0)])
    assert "<script>alert('1')</script>&" in "".join(root.itertext())
