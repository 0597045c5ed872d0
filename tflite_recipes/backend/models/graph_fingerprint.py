"""Whether two traces are the same model: a digest of ops, constants and variables, without TensorFlow's counters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflite_recipes.backend.models.traced_model import Traced

# TensorFlow ends the name of each function with a count of all that the process has made so far.
_COUNT = re.compile(r"_\d+$")


def of(traced: Traced) -> str:
    """Return the SHA-256 of a traced function, "" if it owns resources whose contents cannot be read.

    Equal digests mean equal outputs. Digests may differ for the same model, if names differ.
    """
    graph = traced.graph
    variables = {id(variable.handle): variable for variable in graph.variables}
    captured = [outside for outside, _ in graph.captures]
    if any(outside.dtype.name == "resource" and id(outside) not in variables for outside in captured):
        return ""
    digest = hashlib.sha256()
    for outside in captured:
        value = np.asarray(variables[id(outside)].numpy() if id(outside) in variables else outside.numpy())
        content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        digest.update(f"{value.dtype.str}{value.shape}".encode() + content)
    definition = graph.as_graph_def()
    names = {function.signature.name for function in definition.library.function}
    # TensorFlow names what a function captures of another one by a count of the process, too.
    captures = {inside.op.name: f"capture_{number}" for number, (_, inside) in enumerate(graph.captures)}
    _add_nodes(digest, definition.node, names, captures)
    functions = [(_plain(function.signature.name), function) for function in definition.library.function]
    for name, function in sorted(functions, key=lambda pair: pair[0]):
        digest.update(name.encode())
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            digest.update(f"{argument.name}|{argument.type}".encode())
        _add_nodes(digest, function.node_def, names, {})
        digest.update(repr(sorted(function.ret.items())).encode())
    digest.update(repr([str(spec) for spec in traced.inputs]).encode() + repr(traced.outputs).encode())
    return digest.hexdigest()


def _plain(name: str) -> str:
    return _COUNT.sub("", name)


def _add_nodes(digest: Any, nodes: Any, functions: set[str], captures: Mapping[str, str]) -> None:
    """Add nodes in their order, with the functions that they call and what they capture by plain names."""
    for node in nodes:
        calls = [key for key, value in node.attr.items() if value.WhichOneof("value") == "func"]
        captured = node.name in captures or any(name in captures for name in node.input)
        if not calls and not captured and node.op not in functions:
            digest.update(node.SerializeToString(deterministic=True))
            continue
        copy = type(node)()
        copy.CopyFrom(node)
        copy.op = _plain(node.op)
        for key in calls:
            copy.attr[key].func.name = _plain(copy.attr[key].func.name)
        if captured:
            copy.name = captures.get(node.name, node.name)
            copy.input[:] = [captures.get(name, name) for name in node.input]
            copy.attr.pop("_user_specified_name", None)
        digest.update(copy.SerializeToString(deterministic=True))
