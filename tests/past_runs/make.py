"""Make the past runs in `store.tar.xz` with the code of commit 4398311. Never remake them with later code.

Usage: make.py PYTHON CHECKOUT. PYTHON is an interpreter with the requirements, CHECKOUT is the code. Both are paths
below /tmp/past_runs, because paths end up in the runs.
"""

import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path("/tmp/past_runs")
DESK = ROOT / "desk"
HERE = Path(__file__).parent
DOWN = "tracking.uri=http://127.0.0.1:9"

# Weights and samples are multiples of powers of two: float sums are exact, so ranges do not depend on the CPU.
MODELS = """
import keras
import numpy as np
import tensorflow as tf


def exact(shape, seed, unit):
    return (np.random.default_rng(seed).integers(-15, 16, size=shape) * unit).astype("float32")


def save(name, middle=None):
    i = keras.Input((8, 8, 1), name="picture")
    h = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(i)
    h = keras.layers.Flatten(name="flat")(h)
    h = middle(h) if middle else h
    h = keras.layers.Dense(16, activation="relu", name="hidden")(h)
    model = keras.Model(i, keras.layers.Dense(4, name="scores")(h))
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(exact(variable.shape, number, 2**-4))
    model.save(name)
    return model


model = save("net.keras")
save("floors.keras", keras.ops.floor)
model.export("net", verbose=False)
pictures = exact((16, 8, 8, 1), 50, 2**-3)
np.save("cal.npy", pictures)
np.savez_compressed("cal.npz", picture=pictures)
test = exact((24, 8, 8, 1), 60, 2**-3)
np.savez_compressed("test.npz", picture=test, labels=model.predict(test, verbose=0).argmax(1))
feature = tf.train.Feature(float_list=tf.train.FloatList(value=pictures[0].ravel()))
with tf.io.TFRecordWriter("cal.tfrecord") as writer:
    writer.write(tf.train.Example(features=tf.train.Features(feature={"picture": feature})).SerializeToString())
tf.io.write_file("cal.csv", "a,b,label\\n1,2,0\\n2,3,1\\n")
for name in "ab":
    tf.io.write_file(f"images/{name}/0.png", tf.io.encode_png(tf.zeros((8, 8, 1), tf.uint8)))
    tf.io.write_file(f"sounds/{name}/0.wav", tf.audio.encode_wav(tf.zeros((64, 1)), 8000))
"""

OWN = {
    "own_parts/__init__.py": "",
    "own_parts/factors.py": "FACTOR = 0.5\n",
    "own_steps.py": '''"""Steps of a user, who imports from the package what there was."""

from dataclasses import dataclass
from pathlib import Path

from own_parts.factors import FACTOR

from tflite_recipes import datasets
from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.events import Reporter
from tflite_recipes.state import Gate, State
from tflite_recipes.tflite_file.analysis import op_counts
from tflite_recipes.tflite_file.reader import read_tflite


@dataclass(frozen=True)
class Halve:
    layer: str

    def __call__(self, state: State, reporter: Reporter) -> State:
        found = [layer for layer in state.model.owner.layers if layer.name == self.layer]
        if not found:
            raise RequestError(Problem(f"no layer {self.layer!r}", "halve.layer", "halve.layer=conv"))
        for variable in found[0].trainable_variables:
            variable.assign(variable * FACTOR)
        reporter.measure({"own.factor": FACTOR})
        return state


@dataclass(frozen=True)
class Census:
    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.tflite_file import analysis  # later than the module itself

        file = read_tflite(state.tflite)
        samples = datasets.open_arrays(state.calibration)
        ops = op_counts(file)
        note = Path(state.workdir) / "census.txt"
        note.write_text("".join(f"{name} {count}\\n" for name, count in sorted(ops.items())))
        reporter.keep(str(note))
        reporter.measure({"own.samples": len(samples["picture"]), "own.sparsity": analysis.sparsity(file)})
        reporter.judge(Gate("own.ops", sum(ops.values()), 10, sum(ops.values()) <= 10))
        return state
''',
    "own_model.py": '''"""A model, its samples and its score by functions of a user."""

import numpy as np


def build(units: int = 4):
    import keras

    i = keras.Input((8, 8, 1), name="picture")
    h = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(i)
    model = keras.Model(i, keras.layers.Dense(units, name="scores")(keras.layers.Flatten(name="flat")(h)))
    for seed, variable in enumerate(model.trainable_variables):
        values = np.random.default_rng(seed).integers(-15, 16, size=variable.shape)
        variable.assign(values / 16)
    return model


def samples():
    for number in range(16):
        values = np.random.default_rng(100 + number).integers(-15, 16, size=(8, 8, 1))
        yield {"picture": (values / 8).astype("float32")}


def score(outputs, labels):
    return float(np.mean(outputs["scores"].argmax(1) == labels))
''',
    "own.yaml": """# A recipe of the user's own, with steps of their own
defaults:
  - convert
  - override /source: factory
  - override /calibration: generator
  - override /optimization: integer_only
  - override /evaluation: npz
  - _self_
steps: [source, substitution, pruning, halve, freeze, calibration, optimization, 'own_steps.py:Census', target,
  evaluation]
source:
  function: own_model.py:build
  arguments: {units: 4}
calibration:
  function: own_model.py:samples
evaluation:
  path: test.npz
  metric: function
  function: own_model.py:score
  max_drop: 0.5
halve:
  _target_: own_steps.Halve
  layer: conv
""",
}

NET = "source=keras source.path=net.keras"
CALIBRATION = "calibration=npz calibration.path=cal.npz"
EVALUATION = "evaluation=npz evaluation.path=test.npz evaluation.max_drop=0.5"
KEPT = "tracking.log_source=true"
RUNS = {
    "integer_only": f"convert {NET} {CALIBRATION} {EVALUATION} {KEPT} optimization=integer_only"
    " tracking.register_as=net",
    "pruned": f"convert {NET} {CALIBRATION} {KEPT} optimization=full_integer pruning=constant pruning.epochs=0",
    "int16x8": f"convert {NET} {CALIBRATION} {KEPT} optimization=int16x8 optimization.quantizer=ai_edge_quantizer",
    "remedied": f"convert source=keras source.path=floors.keras {CALIBRATION} {KEPT} optimization=int16x8"
    " conversion.fallback=[ai_edge_quantizer]",
    "gate_failed": f"convert {NET} {EVALUATION} {KEPT} optimization=dynamic_range target.flash_kb=1",
    "not_kept": f"convert {NET} tracking.log_source=false optimization=weight_only_int8",
    "own_step": f"own.yaml {KEPT} tracking.tags.team=vision",
    "failed": f"own.yaml {KEPT} halve.layer=nowhere",
    "sweep": f"convert {NET} {KEPT} optimization=dynamic_range"
    " optimization.quantizer=tflite_converter,ai_edge_quantizer -m",
    "search": f"convert {NET} {CALIBRATION} {EVALUATION} {KEPT} optimization=auto optimization.max_runs=3",
}
OFFLINE_RUNS = (
    f"convert {NET} optimization=float16 {DOWN} hydra.run.dir=../offline/run",
    f"convert {NET} optimization=none,dynamic_range {DOWN} hydra.sweep.dir=../offline/sweep -m",
)
OWN_SOURCE = "source=factory source.function=own_model.py:build"
FEATURES = "features={picture:{feature:picture,dtype:float32}}"
# Recipes as they were logged: each class that a recipe of that time can name is in one of them, or in one of RUNS.
SHOWN = {
    "csv": f"convert {OWN_SOURCE} calibration=csv calibration.path=cal.csv evaluation=csv evaluation.path=cal.csv"
    " target=cpu",
    "images": f"convert {NET} calibration=images calibration.path=images evaluation=images evaluation.path=images"
    " optimization=integer_only target=edge_tpu",
    "wav": f"convert {OWN_SOURCE} calibration=wav calibration.path=sounds evaluation=wav evaluation.path=sounds"
    " optimization=integer_only target=cortex_m4",
    "tfrecord": f"convert {NET} calibration=tfrecord calibration.path=cal.tfrecord calibration.{FEATURES}"
    f" evaluation=tfrecord evaluation.path=cal.tfrecord evaluation.{FEATURES} evaluation.label=null"
    " optimization=integer_only target=ethos_u55_128",
    "npy": f"convert {NET} calibration=npy calibration.path=cal.npy substitution=rules substitution.rules=[logits]"
    " conversion.fallback=[fixed_batch,ai_edge_quantizer]",
    "saved_model": "convert source=saved_model source.path=net calibration=generator"
    " calibration.function=own_model.py:samples optimization=float16 target=gpu_delegate",
    "keras_application": "convert source=keras_application source.name=MobileNetV2 source.weights=null"
    " calibration=random tracking=none",
    "tflite": "convert source=tflite source.path=net.tflite optimization=dynamic_range"
    " optimization.quantizer=ai_edge_quantizer",
    "digits_pruned": "digits_pruned",
    "search": f"convert {NET} {CALIBRATION} {EVALUATION} optimization=auto optimization.quantizers=[ai_edge_quantizer]",
}


def main(python: str, checkout: str) -> None:
    shutil.rmtree(DESK, ignore_errors=True)
    shutil.rmtree(ROOT / "offline", ignore_errors=True)
    for name, text in OWN.items():
        (DESK / name).parent.mkdir(parents=True, exist_ok=True)
        (DESK / name).write_text(text)
    env = {
        **{"PATH": os.environ["PATH"], "HOME": str(ROOT / "home"), "LOGNAME": "maker", "PYTHONPATH": checkout},
        **{"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "2"},
    }
    subprocess.run([python, "-c", MODELS], cwd=DESK, env=env, check=True)

    def command(line: str) -> str:
        whole = [python, "-m", "tflite_recipes.cli", *line.split()]
        done = subprocess.run(whole, cwd=DESK, env=env, capture_output=True, text=True, check=False)
        print(f"{done.returncode} {line}\n{done.stderr}", flush=True)
        return done.stdout

    for line in OFFLINE_RUNS:
        command(f"run {line}")
    made = {kind: _run_id(command(f"run {line}")) for kind, line in RUNS.items()}
    made["reproduced"] = _run_id(command(f"reproduce {made['integer_only']}"))
    print(made)
    shutil.copyfile(ROOT / "offline" / "sweep" / "0" / "model.tflite", DESK / "net.tflite")
    (DESK / "recipes").mkdir()
    for name, line in SHOWN.items():
        (DESK / "recipes" / f"{name}.yaml").write_text(command(f"show {line}"))


def _run_id(output: str) -> str:
    return re.findall(r"run ID: ([0-9a-f]{32})", output)[-1]


def pack() -> None:
    """Write the archive: the store as SQL, all else as it is, without owners and times and the kernel's release."""
    with sqlite3.connect(DESK / "mlflow.db") as store:
        (DESK / "mlflow.sql").write_text("\n".join(store.iterdump()) + "\n")
    with tarfile.open(HERE / "store.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted([*DESK.rglob("*"), *(ROOT / "offline").rglob("*")]):
            if path.is_file() and path.name not in ("mlflow.db", ".tracking.lock") and path.suffix != ".pyc":
                data = path.read_bytes().replace(os.uname().release.encode(), b"6.1.0")
                entry = tarfile.TarInfo(str(path.relative_to(ROOT)))
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
    pack()
