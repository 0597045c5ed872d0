"""Tables that are made of the finished file, kept beside it and shown in the report."""

from __future__ import annotations

import json
from pathlib import Path

from tflite_recipes.core.state import State
from tflite_recipes.files.tflite.activation_ranges import RANGES, activation_ranges, write_csv
from tflite_recipes.files.tflite.op_layers import scopes_of_ops
from tflite_recipes.files.tflite.size_breakdown import SIZES, breakdown


def write(state: State, folder: Path) -> list[Path]:
    """Write `sizes.json` and, of a file with quantized activations, `activation_ranges.csv` into `folder`. Errors:
    RequestError for a file that cannot be read."""
    from tflite_recipes.files.tflite import read_tflite
    from tflite_recipes.files.tflite.metadata import read_metadata

    assert state.tflite is not None
    file = read_tflite(state.tflite)
    owners = [scopes_of_ops(file, graph, state.signature, state.layers) for graph in file.subgraphs]
    stated = read_metadata(state.tflite)
    metadata = sum(map(len, (*stated.entries.values(), *stated.files.values())))
    sizes, ranges = folder / SIZES, folder / RANGES
    sizes.write_text(json.dumps(breakdown(file, owners, metadata).to_json(), indent=2) + "\n", encoding="utf-8")
    rows = activation_ranges(file, owners)
    if rows:
        write_csv(ranges, rows)
    return [sizes, *([ranges] if rows else [])]
