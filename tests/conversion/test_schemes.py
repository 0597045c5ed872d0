"""What schemes are called elsewhere."""

import pytest

from tflite_recipes.conversion.schemes import Scheme, by_other_name


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("int8", "integer_only"),
        ("W8A8", "integer_only"),
        ("fp16", "float16"),
        ("dynamic", "dynamic_range"),
        ("int4", "weight_only_int4"),
        ("16x8", "int16x8"),
        ("fp32", "none"),
        ("qqq", ""),
    ],
)
def test_by_other_name_gives_the_scheme_that_is_meant(name, scheme):
    assert by_other_name(name) == scheme


def test_no_other_name_is_a_scheme():
    assert not [scheme for scheme in Scheme if by_other_name(scheme.name)]
