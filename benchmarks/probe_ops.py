"""Measures which TensorFlow ops the converter has no LiteRT kernel for:
the table `tflite_recipes/targets/litert_ops.py`.

    python benchmarks/probe_ops.py [OP …]     prints {op: "flex" | "custom" | "builtin"} as JSON; with no name, all ops

Each op is traced alone on small constant-shaped inputs, of the first kind that it takes, and converted. What the
converter's message says of it is its entry. Ops that take none of these inputs (resources, functions) are left out.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
AT_ONCE = 40


def probe(name: str) -> str | None:
    """What the converter says of one op; None where it could not be traced."""
    import tensorflow as tf

    traced = _traced(name)
    if traced is None:
        return None
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    try:
        converter.convert()
    except Exception as error:
        for kind, title in (("flex", "TF Select ops: "), ("custom", "Custom ops: ")):
            lists = [line.removeprefix(title) for line in str(error).splitlines() if line.startswith(title)]
            if any(name in line.split(", ") for line in lists):
                return kind
        return None
    return "builtin"


def _traced(name: str) -> object | None:
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(name)
    wrapper = getattr(tf.raw_ops, name, None)
    if definition is None or wrapper is None or not definition.input_arg:
        return None
    kinds = [("float32", (2, 4)), ("float32", (1, 6, 6, 3)), ("float32", (1, 4, 4, 4, 2)), ("int32", (2, 4))]
    kinds += [("string", (2,)), ("bool", (2, 4)), ("float32", (2, 3, 3)), ("complex64", (2, 4)), ("float32", (4,))]
    second = [None, ("int32", (2,)), ("int32", ()), ("float32", ()), ("int32", (1,)), ("float32", (2, 2, 3, 4))]
    attributes = [{}, *_attribute_sets(definition)]
    for kind, other, attrs in itertools.product(kinds, second, attributes):
        specs = [kind] + [other or kind] * (len(definition.input_arg) - 1)
        first = tf.TensorSpec(specs[0][1], specs[0][0])
        constants = [_constant(dtype, shape) for dtype, shape in specs[1:]]
        names = [argument.name for argument in definition.input_arg]

        def call(x: object) -> object:
            made = wrapper(**dict(zip(names, [x, *constants], strict=True)), **attrs)  # noqa: B023
            outputs = [t for t in tf.nest.flatten(made) if hasattr(t, "dtype")]
            return outputs or None

        try:
            traced = tf.function(call, autograph=False).get_concrete_function(first)
        except Exception:
            continue
        if traced.outputs:
            return traced
    return None


def _constant(dtype: str, shape: tuple[int, ...]) -> object:
    import numpy as np
    import tensorflow as tf

    if dtype == "string":
        return tf.constant(np.full(shape, "a"))
    return tf.constant(np.ones(shape), dtype)


def _attribute_sets(definition: object) -> list[dict[str, object]]:
    """Values for attributes that have no default, as convolutions and pooling have them."""
    needed = {a.name: a.type for a in definition.attr if not a.HasField("default_value")}
    if not needed:
        return []
    sets = []
    for rank in (4, 5):
        window = [1, *(2,) * (rank - 2), 1]
        values = {"ksize": window, "strides": window, "padding": "VALID", "block_size": 2}
        sets.append({name: value for name, value in values.items() if name in needed})
    return [found for found in sets if found]


def main(names: list[str]) -> None:
    """Probe in processes of their own, because the converter may take one down."""
    if names[:1] == ["--here"]:
        print(json.dumps({name: probe(name) for name in names[1:]}))
        return
    if not names:
        import tensorflow as tf

        names = [name for name in dir(tf.raw_ops) if name[0].isupper()]
    found: dict[str, str] = {}
    pending = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
    while pending:
        part = pending.pop(0)
        done = subprocess.run([sys.executable, __file__, "--here", *part], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            answers = json.loads(done.stdout.splitlines()[-1])
            found |= {name: answer for name, answer in answers.items() if answer}
        elif len(part) > 1:
            pending += [part[: len(part) // 2], part[len(part) // 2 :]]
    print(json.dumps(dict(sorted(found.items())), indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
