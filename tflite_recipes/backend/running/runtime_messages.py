"""Messages of LiteRT's runtime in words: the op that it refuses, the layer's tensor, and the reason."""

from __future__ import annotations

import re
from pathlib import Path

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import tflite as tflite_file

_NODE = re.compile(r"Node number (\d+) \((\w+)\) failed to (prepare|invoke)\.?")
_PLACE = re.compile(r"\S*tflite/\S+\.(?:cc|h):\d+ ")


def in_words(error: BaseException, path: Path) -> str:
    """Return the first line of a message of LiteRT's, with the op by its name and its output instead of a number."""
    (text, *_) = str(error).strip().splitlines() or [type(error).__name__]
    found = _NODE.search(text)
    if found is None:
        return text
    reason = _PLACE.sub("", text[: found.start()]).strip().rstrip(".")
    op = _op(path, int(found[1]), found[2])
    return f"{op} cannot be {'prepared' if found[3] == 'prepare' else 'run'}{reason and f': {reason}'}"


def _op(path: Path, number: int, name: str) -> str:
    """The op with the tensor that it gives; its name alone if a delegate took the op, or if nothing can be read."""
    if name.startswith("TfLite") and name.endswith("Delegate"):
        return "what XNNPACK took over" if "XNNPack" in name else f"what {name} took over"
    try:
        (graph, *_) = tflite_file.read_tflite(path).subgraphs
    except (RequestError, ValueError):
        return name
    op = graph.operators[number] if number < len(graph.operators) else None
    if op is None or op.label != name or not op.outputs:
        return name
    return f"{name} ({graph.tensors[op.outputs[0]].name.partition(';')[0]})"
