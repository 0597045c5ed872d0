"""Points in a plane, as SVG."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.report.scatter_plot import HEIGHT, WIDTH, Axis, Dot, placed, scatter, together

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e9, 1e9)


def dot(x, y, label="1", **more):
    return Dot(x, y, label, f"<{label}> & more", "#11734b", **more)


def texts(found):
    return list(found.iter(f"{SVG}text"))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_every_dot_is_within_the_frame_and_named_once(points):
    dots = [dot(x, y, str(number)) for number, (x, y) in enumerate(points, 1)]
    found = ElementTree.fromstring(scatter(dots, "across <", "up &"))
    circles = list(found.iter(f"{SVG}circle"))
    assert len(circles) == len(points)
    assert all(0 < float(one.get("cx")) < WIDTH and 0 < float(one.get("cy")) < HEIGHT for one in circles)
    listed = {text.text for text in texts(found)}
    assert {"across <", "up &"} <= listed
    names = [name for text in listed for name in text.split(", ") if name.isdigit()]
    assert {str(number) for number in range(1, len(points) + 1)} <= set(names)


def test_labels_of_dots_on_one_another_are_one():
    assert together([(0, 0), (50, 0), (1, 1)], ["1", "2", "3"], 6.0) == [(0, "1, 3"), (1, "2")]


def test_a_label_keeps_clear_of_dots_and_rings():
    (first, second) = placed([(100, 100), (112, 94)], ["1", "2"], [False, True], 0, 500)
    assert (first.number, second.number) == (0, 1)
    assert (first.across, first.down) != (11, -6)  # where the other's ring is


def test_what_is_joined_ringed_and_limited_is_drawn():
    dots = [dot(1, 1, ringed=True), dot(2, 5, "2")]
    found = ElementTree.fromstring(scatter(dots, "x", "y", [(1, 1), (2, 5)], ("limit 3", 3.0)))
    assert len([one for one in found.iter(f"{SVG}circle") if one.get("r") == "9"]) == 1
    (line,) = found.iter(f"{SVG}polyline")
    assert len(line.get("points").split()) == 2
    assert "limit 3" in [text.text for text in texts(found)]
    assert [one.text for one in found.iter(f"{SVG}title")] == ["<1> & more", "<2> & more"]


def test_one_point_and_a_flat_line_have_an_axis():
    for values in ([0.0], [5.0, 5.0], [-2.5]):
        axis = Axis(values, 0, 100)
        assert axis.at(values[0]) == 50
        assert axis.ticks()
