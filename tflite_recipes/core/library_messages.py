"""The line of a library's message that tells most: TensorFlow, Keras and h5py put much around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What TensorFlow puts before and behind the message of an op that runs at once.
_FUNCTION = re.compile(r"^\{\{function_node [^}]*\}\}\s*")
_OP = re.compile(r"\s*\[Op:[^\]]*\](\s*name:.*)?$")
_NODE = re.compile(r"\{\{node ([^}]+)\}\}")
_CALL = re.compile(r"^(Stateful)?PartitionedCall(_\d+)?$")
_AROUND = ("Graph execution error", "Detected at node", "<stack traces", "File ", "[[{{node", "(0)", "(1)")
# h5py says what it was about to do, and in brackets why it could not.
_HDF5 = re.compile(r"^(?:Unable|Can't|Can not|Cannot) to? ?(?:synchronously )?[^()]*\((.+)\)$")
_HDF5_WORDS = {
    "file signature not found": "it is not an HDF5 file",
    "truncated file": "the file ends too early",
    "bad object header version number": "the file is damaged",
}


def telling_line(lines: Sequence[str]) -> str:
    """Return the line that tells most of a message's lines, none of which is empty.

    It is the first, or the last of one that retells a traceback. Keras puts where it happened first, and what happened
    on the next line. A graph that fails names its node last.
    """
    if lines[0].startswith("Exception encountered when calling") and len(lines) > 1:
        return f"{lines[0].removeprefix('Exception encountered when ')} {lines[1]}"
    if lines[0].startswith("Graph execution error"):
        return _of_graph(lines)
    if lines[0].endswith("in user code:"):
        return lines[-1]
    first = _OP.sub("", _FUNCTION.sub("", lines[0]))
    found = _HDF5.match(first)
    return first if found is None else _of_hdf5(found[1])


def _of_graph(lines: Sequence[str]) -> str:
    """What happened while a graph ran, with the op that it happened in."""
    telling = [line for line in lines if not line.startswith(_AROUND)]
    node = _NODE.search(" ".join(lines))
    name = "/".join(part for part in node[1].split("/") if not _CALL.match(part)) if node else ""
    what = _OP.sub("", _FUNCTION.sub("", telling[0])) if telling else "a graph failed"
    return f"{what} (in {name})" if name else what


def _of_hdf5(reason: str) -> str:
    return next((words for text, words in _HDF5_WORDS.items() if text in reason), reason)
