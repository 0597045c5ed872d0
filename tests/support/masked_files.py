"""Float `.tflite` files with attention masks, written by one process of their own: `python masked_files.py FOLDER`.

Each lands in FOLDER/NAME.tflite; inputs are `x` (1, 8, 16) and `mask` (1, 8), int32. FOLDER/samples.npz has samples.
The mask of the files of `SOFT` is float, with values from 0 to 1. That of `TAKEN` is (1, 8, 8) and holds what is added.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script

LENGTH, WIDTH = 8, 16
SOFT = ("soft", "soft_lowest", "soft_shallow", "soft_multiplied")
TAKEN = {"taken": 1, "taken_negated": -1, "taken_infinite": 1, "taken_and_given": 1}


def write(folder: Path) -> None:
    run_script(__file__, folder)


def _attentions():
    """By name, functions of the scores (1, 8, 8) and the mask (1, 8) that give masked scores."""
    import numpy as np
    import tensorflow as tf

    hidden = np.triu(np.ones((LENGTH, LENGTH), "float32"), 1)
    rows = np.linspace(0.8, 1.2, LENGTH, dtype="float32")[:, None]
    slopes = np.abs(np.arange(LENGTH)[:, None] - np.arange(LENGTH)).astype("float32")

    def off(mask):
        return (1.0 - tf.cast(mask, tf.float32))[:, None]

    def pairs(mask):
        return tf.logical_and(mask[:, :, None] > 0, mask[:, None] > 0)

    return {
        "where": lambda s, m: tf.where(m[:, None] > 0, s, -1e9),
        "where_lowest": lambda s, m: tf.where(m[:, None] > 0, s, tf.float32.min),
        "where_infinite": lambda s, m: tf.where(m[:, None] > 0, s, -np.inf),
        "where_subtracted": lambda s, m: tf.where(pairs(m), s, s - 1e9),
        "where_filled": lambda s, m: tf.where(m[:, None] > 0, s, tf.ones_like(s) * -1e9),
        "scaled_behind": lambda s, m: tf.where(m[:, None] > 0, s * 4.0, -1e9) * 0.25,
        "added": lambda s, m: s + off(m) * -1e9,
        "added_lowest": lambda s, m: s + off(m) * tf.float32.min,
        "added_constant": lambda s, m: s + hidden * -1e9,
        "added_selected": lambda s, m: s + tf.where(m[:, None] > 0, 0.0, -1e4),
        "subtracted": lambda s, m: s - 1e9 * tf.cast(tf.logical_not(pairs(m)), tf.float32),
        "multiplied": lambda s, m: s * (1.0 - off(m)) + off(m) * -1e10,
        "twice": lambda s, m: s + off(m) * -1e9 + hidden * -1e9,
        "whole_rows": lambda s, m: s + (1.0 - tf.cast(pairs(m), tf.float32)) * -1e9,
        "whole_rows_negated": lambda s, m: -((1.0 - tf.cast(pairs(m), tf.float32)) * 1e9 - s),
        "whole_rows_squared": lambda s, m: s - tf.square((1.0 - tf.cast(pairs(m), tf.float32)) * 3e4),
        "combined": lambda s, m: s + tf.minimum(off(m) * -1e9, hidden * -1e9),
        "written_out": lambda s, m: tf.where(m[:, None] > 0, s, -1e9),
        "by_logarithm": lambda s, m: tf.where(m[:, None] > 0, s, -1e9),
        "with_a_sink": lambda s, m: s + off(m) * -1e9,
        "negated": lambda s, m: -(-s + off(m) * 1e9),
        "clipped": lambda s, m: tf.maximum(s + off(m) * -1e9, -1e9),
        "lesser": lambda s, m: tf.minimum(s, 2e9 * tf.cast(m, tf.float32)[:, None] - 1e9),
        "squared": lambda s, m: s - tf.square(3e4 * off(m)),
        "from_integers": lambda s, m: s + tf.cast((1 - m) * -1000000, tf.float32)[:, None],
        "of_logarithm": lambda s, m: s + tf.math.log(tf.cast(m, tf.float32))[:, None],
        "scaled_by_computed": lambda s, m: (s + off(m) * -1e9) / (0.5 + 0.5 * tf.reduce_mean(tf.cast(m, tf.float32))),
        "scaled_by_rows": lambda s, m: (s + off(m) * -1e9) * rows,
        "sum_of_three": lambda s, m: tf.add_n([s, off(m) * -1e9 + s * 0.0, hidden * -1e9 + s * 0.0]),
        "exponent_of_logarithm": lambda s, m: s + off(m) * -1e9,
        "taken_from": lambda s, m: off(m) * -1e9 - s,
        "distances": lambda s, m: s + slopes * -20.0,
        "negated_selection": lambda s, m: -tf.where(m[:, None] > 0, -s, np.inf),
        "within_limits": lambda s, m: tf.clip_by_value(s + off(m) * -1e9, -1e4, 1e4),
        "of_kept_logarithm": lambda s, m: s + tf.maximum(tf.math.log(tf.cast(m, tf.float32)), tf.float32.min)[:, None],
        "of_sum_logarithm": lambda s, m: s + tf.math.log(tf.cast(m, tf.float32) + 1e-45)[:, None],
        "through_half": lambda s, m: s + tf.cast(tf.cast(off(m) * -1e4, tf.float16), tf.float32),
        "soft": lambda s, m: s + (1.0 - m)[:, None] * -1e9,
        "soft_lowest": lambda s, m: s + (1.0 - m)[:, None] * tf.float32.min,
        "soft_shallow": lambda s, m: s - 1e4 * (1.0 - m)[:, None],
        "soft_multiplied": lambda s, m: s * m[:, None] - 1e10 * (1.0 - m)[:, None],
        "taken": lambda s, m: s + m,
        "taken_negated": lambda s, m: s - m,
        "taken_infinite": lambda s, m: s + m,
        "taken_and_given": lambda s, m: s + m,
        "steep_scores": lambda s, m: s + off(m) * -1e9 * 1e-5 * tf.sigmoid(s),
        "near": lambda s, m: tf.where(m[:, None] > 0, s, -21.0),
        "no_mask": lambda s, m: s * 30.0 + off(m),
    }


def main(folder: Path) -> None:
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    lengths = rng.integers(3, LENGTH + 1, 48)
    x = rng.standard_normal((48, LENGTH, WIDTH)).astype("float32")
    mask = (np.arange(LENGTH) < lengths[:, None]).astype("int32")
    np.savez(folder / "samples.npz", x=x, mask=mask)
    weights = [tf.constant(rng.standard_normal((WIDTH, WIDTH)).astype("float32") * 0.3) for _ in range(6)]

    def attention(x, mask, masked, query, key, value, softmax=tf.nn.softmax):
        scores = masked(tf.matmul(x @ query, x @ key, transpose_b=True) / 4.0, mask)
        return softmax(scores) @ (x @ value), scores

    def written_out(scores):
        exponents = tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
        return exponents / tf.reduce_sum(exponents, -1, keepdims=True)

    def by_logarithm(scores):  # as Keras 3 does it over several axes
        return tf.exp(scores - tf.reduce_logsumexp(scores, -1, keepdims=True))

    def with_a_sink(scores):
        return tf.nn.softmax(tf.concat([scores, tf.zeros([1, LENGTH, 1])], -1))[..., :-1]

    def function(name, masked):
        def run(x, mask):
            if name == "shared":  # one mask for two layers, as in BERT
                shared = (1.0 - tf.cast(mask, tf.float32))[:, None] * -10000.0
                first, _ = attention(x, mask, lambda s, m: s + shared, *weights[:3])
                return {"y": attention(first, mask, lambda s, m: s + shared, *weights[3:])[0]}
            softmaxes = {"written_out": written_out, "by_logarithm": by_logarithm, "with_a_sink": with_a_sink}
            softmaxes["exponent_of_logarithm"] = lambda scores: tf.exp(tf.nn.log_softmax(scores))
            result, scores = attention(x, mask, masked, *weights[:3], softmaxes.get(name, tf.nn.softmax))
            if name == "taken_and_given":
                return {"y": result, "beside": mask * 2.0}
            return {"y": result, "scores": scores} if name == "scores_are_an_output" else {"y": result}

        form = ([1, LENGTH, LENGTH], tf.float32) if name in TAKEN else ([1, LENGTH], tf.int32)
        form = ([1, LENGTH], tf.float32) if name in SOFT else form
        shapes = {"x": ([1, LENGTH, WIDTH], tf.float32), "mask": form}
        owner = tf.Module()
        owner.run = tf.function(run, [tf.TensorSpec(*spec, name=key) for key, spec in shapes.items()])
        return owner

    functions = _attentions()
    functions |= {"shared": None, "scores_are_an_output": functions["where"]}
    for name, masked in functions.items():
        tf.saved_model.save(owner := function(name, masked), folder / name, {"serving_default": owner.run})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name), ["serving_default"])
        (folder / f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
