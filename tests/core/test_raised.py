"""Exceptions in words: the user's code and the system are quoted, Python is not."""

import builtins
import json

import pytest
from support.checkout import write

from tflite_recipes.core import schema
from tflite_recipes.core.errors import RequestError, gist
from tflite_recipes.core.raised import misfit, raised, unexpected


def error_of(function, *values):
    with pytest.raises(BaseException) as caught:
        function(*values)
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "model.tflite"), "No space left on device: model.tflite"),
        (OSError(36, "File name too long"), "File name too long"),
        (UnicodeDecodeError("utf-8", b"ab\x80", 2, 3, "invalid start byte"), "it is not text in UTF-8 (byte 2)"),
        (KeyError("weights"), "the key 'weights' is missing"),
        (KeyError("the weights were not there"), "the weights were not there"),
        (MemoryError(), "memory ran out"),
        (ValueError("math domain error"), "math domain error"),
    ],
)
def test_gist_puts_what_the_system_refused_in_words(error, words):
    assert gist(error) == words


def test_raised_names_the_line_of_the_users_code(here):
    write(here / "own.py", "import json\n\n\ndef build(text):\n    return json.loads(text)\n")
    error = error_of(schema.load_target("own.py:build"), "{")
    assert raised(error).startswith("JSONDecodeError at line 5 of own.py: ")
    assert unexpected(error) == raised(error)


def test_unexpected_repeats_no_words_of_python():
    assert unexpected(error_of(json.loads, "{")).startswith("JSONDecodeError at line ")  # called by this very file
    inside = error_of(schema.near, None, 5)
    inside.__traceback__ = inside.__traceback__.tb_next
    assert unexpected(inside).startswith("a fault of this version, TypeError at line ")
    assert "schema.py" in unexpected(inside) or "difflib.py" in unexpected(inside)
    assert str(inside) not in unexpected(inside)
    assert unexpected(ValueError("math domain error")) == "a fault of this version, ValueError"
    assert unexpected(OSError(28, "No space left on device")) == "the system refused: No space left on device"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def build(:\n", "line 1 of own.py is not Python"),
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
        ("1 / 0\n", "ZeroDivisionError at line 1 of own.py"),
        ("raise SystemExit(3)\n", "SystemExit at line 1 of own.py"),
        ("x = open('nowhere.txt')\n", "nowhere.txt"),
    ],
)
def test_load_target_of_a_module_that_raises_names_its_line(here, text, words):
    write(here / "own.py", text)
    with pytest.raises(RequestError) as error:
        schema.load_target("own.py:build")
    (problem,) = error.value.problems
    assert words in problem.what
    assert "Errno" not in problem.what


@pytest.mark.parametrize(
    ("function", "values", "arguments", "fits"),
    [
        (lambda a, b: None, (1, 2), {}, True),
        (lambda a: None, (1, 2), {}, False),
        (lambda a: None, (), {"a": 1}, True),
        (lambda a: None, (), {"b": 1}, False),
        (builtins.dict, (), {"b": 1}, True),
        (3, (), {}, False),
    ],
)
def test_misfit_is_empty_if_a_function_takes_the_arguments(function, values, arguments, fits):
    assert (misfit(function, *values, **arguments) == "") is fits
