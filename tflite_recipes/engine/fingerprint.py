"""The fingerprint of a run: one digest of its settings and of the contents that they name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

TAG = "tflite_recipes.run_fingerprint"


def run_fingerprint(recipe_digest: str, inputs: Mapping[str, str], code: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of the canonical JSON of what a run is made from, without paths and versions.

    Args:
        recipe_digest: the digest of the settings.
        inputs: the SHA-256 of each file or folder that the recipe reads, by its key.
        code: name and SHA-256 of each module of the user's own code.
    """
    content = {"code": sorted(set(code)), "inputs": dict(inputs), "recipe_digest": recipe_digest}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
