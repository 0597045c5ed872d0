"""Files that are opened: regular ones that hold what they claim."""

import json
import os
import socket

import pytest

from tflite_recipes.core import regular_files
from tflite_recipes.core.regular_files import Refused


def sparse(path, size=1 << 40):
    with path.open("wb") as stream:
        stream.truncate(size)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)  # a path of at most 108 bytes


ODD = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "sparse": sparse,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a terminal": lambda path: path.symlink_to("/dev/stdin"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_open_regular_anything_else_is_refused(here, make):
    path = here / "odd"
    make(path)
    assert regular_files.unreadable(path)
    with pytest.raises(Refused):
        regular_files.open_regular(path)


def test_unreadable_files_folders_and_what_is_missing_are_fine(here):
    (here / "a").write_text("a")
    assert [regular_files.unreadable(path) for path in (here, here / "a", here / "b", "a\0b", "x" * 5000)] == [""] * 5


def test_open_regular_with_holes_and_enough_data_is_read(here):
    with (here / "a").open("wb") as stream:
        stream.write(os.urandom(4 << 20))
        stream.truncate(200 << 20)
    assert regular_files.unreadable(here / "a") == ""


def test_read_bytes_beyond_its_limit_is_refused(here):
    (here / "a").write_bytes(b"12345")
    assert regular_files.read_bytes(here / "a", 5) == b"12345"
    with pytest.raises(Refused):
        regular_files.read_bytes(here / "a", 4)
    with pytest.raises(Refused):
        regular_files.read_bytes("/proc/self/maps", 10)  # whose size the system gives as 0


def test_open_regular_of_a_folder_or_a_link_that_is_not_followed_is_refused(here):
    (here / "a").write_text("a")
    (here / "b").symlink_to("a")
    with pytest.raises(Refused):
        regular_files.open_regular(here)
    with pytest.raises(OSError):
        regular_files.open_regular(here / "b", follow=False)
    assert regular_files.read_text(here / "b", 10) == "a"


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 300 + "]" * 300, '{"a":' * 250 + "1" + "}" * 250])
def test_parse_json_nested_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError, match="nested"):
        regular_files.parse_json(text)


def test_parse_json_gives_what_json_gives():
    data = {"a": [1, {"b": None}], "c": "x"}
    assert regular_files.parse_json(json.dumps(data)) == data
