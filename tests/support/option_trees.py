"""The options of `conf/`, and small trees of options that inherit."""

from __future__ import annotations

from support.checkout import REPOSITORY
from tflite_recipes.config import catalog

CONF = REPOSITORY / "conf"


GROUPS = catalog.list_groups([CONF])


OURS = {f"{group}/{name}": path for group, options in GROUPS.items() for name, path in options.items()}


TREES = {
    "own keys win": {"g/a": "defaults: [_b, _self_]\nx: 1\n", "g/_b": "x: 2\ny: 3\n"},
    "what comes behind _self_ wins": {"g/a": "defaults: [_self_, _b]\nx: 1\n", "g/_b": "x: 2\ny: 3\n"},
    "own keys come last where _self_ is not said": {"g/a": "defaults: [_b]\nx: 1\n", "g/_b": "x: 2\n"},
    "mappings are merged": {
        "g/a": "defaults: [_b, _self_]\nm: {p: 1, n: {q: 2}}\n",
        "g/_b": "m: {p: 0, n: {q: 0, r: 5}, s: [1]}\n",
    },
    "lists are replaced": {"g/a": "defaults: [_b, _self_]\nx: [1]\n", "g/_b": "x: [2, 3]\n"},
    "what must be given hides nothing": {"g/a": "defaults: [_b, _self_]\nx: ???\nz: ???\n", "g/_b": "x: 2\ny: ???\n"},
    "over several files": {
        "g/a": "defaults: [_b, _self_]\nx: 1\n",
        "g/_b": "defaults: [_c, _self_]\ny: 2\n",
        "g/_c": "x: 0\ny: 0\nz: 3\n",
    },
    "several": {"g/a": "defaults: [_b, c, _self_]\nx: 1\n", "g/_b": "y: 2\nz: 2\n", "g/c": "z: 3\n"},
    "from another group": {"g/a": "defaults: [/_parts/b@_here_, _self_]\nx: 1\n", "_parts/b": "x: 0\ny: 2\n"},
    "from the same group, in full": {"g/a": "defaults: [/g/_b@_here_, _self_]\nx: 1\n", "g/_b": "y: 2\n"},
}
