"""The points that no other beats."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.core.pareto import dominates, front

COORDINATE = st.integers(0, 6).map(float) | st.floats(-1e6, 1e6)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=30)


@given(POINTS)
def test_no_member_is_dominated_and_every_other_is_by_a_member(points):
    members = front(points)
    for place, point in enumerate(points):
        beaten = [member for member in members if dominates(points[member], point)]
        assert bool(beaten) is (place not in members)


@given(POINTS)
def test_it_goes_on_across_and_never_up(points):
    along = [points[place] for place in front(points)]
    assert along == sorted(along)
    assert [y for _, y in along] == sorted((y for _, y in along), reverse=True)


def test_equal_points_are_all_in_it():
    assert front([(1.0, 2.0), (3.0, 1.0), (1.0, 2.0), (3.0, 2.0)]) == [0, 2, 1]


def test_a_point_that_is_not_known_is_not_in_it():
    assert front([(math.nan, 0.0), (1.0, math.nan), (2.0, 2.0)]) == [2]
    assert front([]) == []
