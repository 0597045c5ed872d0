"""Damages real files at random and checks that each is read or refused in words.

python benchmarks/mutations.py --mutations 2000
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes import api
from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.files import tflite
from tflite_recipes.tracking import missing_runs, run_record, spool_reader
from tflite_recipes.tracking.settings import Mlflow

KINDS = ("keras", "h5", "saved_model", "tflite", "npz", "yaml", "events")
# A command that takes longer hangs.
LONGEST_S = 20
# How Python, and libraries that nobody translated, put an error.
_BARE = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception)\b|a fault of this version|object has no|unhashable")
_WORDS = (b"{", b"[", b"\0", b"\xff\xfe", b"!!python/name:os.system", b"../..", b"1e999", b"-1", b"\x1b[2J", b"${a}")
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    1.5,
    "",
    "x",
    "\x1b[31m",
    [],
    {},
    [[]],
    {"a": {}},
    [None],
    ["x", 0, 0],
)


def write_models(folder: Path) -> None:
    """Write a model of each kind with TensorFlow: `model.keras`, `model.h5`, `saved_model/` and `model.tflite`."""
    import keras
    import tensorflow as tf

    i = keras.Input((8, 8, 1), name="x")
    h = keras.layers.Conv2D(4, 3, activation="relu")(i)
    h = keras.layers.Dense(3, activation=keras.activations.softmax)(keras.layers.Flatten()(h))
    model = keras.Model(i, h)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "model.tflite").write_bytes(converter.convert())


def write_rest(folder: Path) -> None:
    """Write samples for the models, a recipe and the record of a run: `data.npz`, `recipe.yaml` and `run/`."""
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.random((4, 8, 8, 1), np.float32), labels=np.arange(4) % 3)
    source = ["source=keras", f"source.path={folder / 'model.keras'}"]
    (folder / "recipe.yaml").write_text(api.compose("convert", source).to_yaml(), encoding="utf-8")
    run = folder / "run"
    run.mkdir()
    (run / "a.txt").write_text("an artifact")
    told: list[events.Event] = [
        events.RunStarted("convert", "d" * 64, {"optimization": "none"}, {"tag": "value"}, (), str(run), at=5.0),
        events.Measured({"size.tflite_bytes": 3.0}, at=5.1),
        events.Tagged({"tflite_recipes.outcome": "done"}, at=5.2),
        events.ArtifactKept(str(run / "a.txt"), "", at=5.3),
        events.RunFinished("done", 1.0, at=6.0),
    ]
    lines = [json.dumps(events.to_json(event)) for event in told]
    (run / "events.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    store = (folder / "mlflow.db").resolve()
    with closing(sqlite3.connect(store)) as database:  # all that `sync` looks at before it would upload
        database.execute("CREATE TABLE experiments (name TEXT, artifact_location TEXT)")
    run_record.save(run, run_record.begun(Mlflow(f"sqlite:///{store}", "mutations", None, {}), {}))


def original(kind: str, originals: Path) -> Path:
    """Return what a command is given of a kind before any damage."""
    names = {"npz": "data.npz", "yaml": "recipe.yaml", "events": "run", "saved_model": "saved_model"}
    return originals / names.get(kind, f"model.{kind}")


def mutate(kind: str, originals: Path, folder: Path, rng: random.Random) -> Path:
    """Write a damaged copy of the original of a kind into an empty folder, and return what a command is given."""
    if kind == "saved_model":
        copy = folder / "saved_model"
        for file in sorted(path for path in (originals / kind).rglob("*") if path.is_file()):
            target = copy / file.relative_to(originals / kind)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            hit = file.name == "saved_model.pb" or rng.random() < 0.2
            target.write_bytes(_of_bytes(content, rng) if hit else content)
        return copy
    if kind == "events":
        copy = folder / "run"
        copy.mkdir()
        for name in ("events.jsonl", "tracking.json", "a.txt"):
            content = (originals / "run" / name).read_bytes()
            (copy / name).write_bytes(_of_lines(content, rng) if name != "a.txt" else content)
        return copy
    file = original(kind, originals)
    content = file.read_bytes()
    damage: Callable[[bytes, random.Random], bytes] = _of_bytes
    if kind in ("keras", "npz") and rng.random() < 0.8:
        damage = _of_archive
    elif kind == "h5" and rng.random() < 0.5:
        damage = _of_hdf5
    elif kind == "yaml" and rng.random() < 0.7:
        damage = _of_yaml
    path = folder / file.name
    path.write_bytes(damage(content, rng))
    return path


def _of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, overwrite and insert bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 4, 16, 256)))
        way = rng.randrange(6)
        if way == 0:
            data[at:end] = rng.randbytes(end - at)
        elif way == 1:
            data[at:end] = bytes(end - at)
        elif way == 2:
            data[at:end] = b"\xff" * (end - at)
        elif way == 3:
            data[at:at] = data[at:end] * rng.choice((1, 9))
        elif way == 4:
            data[at:at] = rng.choice(_WORDS)
        elif rng.random() < 0.3:
            del data[at:]
        else:
            del data[at:end]
    return bytes(data)


def _of_archive(content: bytes, rng: random.Random) -> bytes:
    """Damage one member of a zip archive, and pack the archive again."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(output, "w") as new:
        names = old.namelist()
        hit = rng.choice(names)
        for name in names:
            member = old.read(name)
            if name == hit and rng.random() < 0.1:
                continue
            if name == hit:
                member = _of_lines(member, rng) if name.endswith(".json") else _of_bytes(member, rng)
            new.writestr(name, member, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return output.getvalue()


def _of_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Damage the configuration that an HDF5 file holds as JSON."""
    import h5py

    file = io.BytesIO(content)
    with h5py.File(file, "r+") as model:
        config = model.attrs["model_config"]
        text = config.encode() if isinstance(config, str) else bytes(config)
        model.attrs["model_config"] = np.bytes_(_of_lines(text, rng))
    return file.getvalue()


def _of_yaml(content: bytes, rng: random.Random) -> bytes:
    """Damage lines of a text of keys and values."""
    lines = content.decode().splitlines()
    values = (
        "{",
        "[1",
        "*a",
        "&a x",
        "!!python/object:os.system {}",
        "null",
        "1e999",
        "'",
        "- 1",
        "${a.b}",
        "\t",
        "1: 2",
    )
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        way = rng.randrange(5)
        if way == 0:
            lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(values)}"
        elif way == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif way == 2 and len(lines) > 1:
            del lines[at]
        elif way == 3:
            lines[at] = " " * rng.randint(1, 6) + lines[at]
        else:
            lines[at] = lines[at].strip()
    return "\n".join(lines).encode()


def _of_lines(content: bytes, rng: random.Random) -> bytes:
    """Damage values of JSON, line by line where each line is JSON, or its bytes."""
    if rng.random() < 0.2:
        return _of_bytes(content, rng)
    try:
        values = [json.loads(content)]
    except ValueError:
        values = [json.loads(line) for line in content.splitlines()]
    at = rng.randrange(len(values))
    values[at] = _of_value(values[at], rng)
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def _of_value(value: Any, rng: random.Random) -> Any:
    """Replace a value at a random depth, or drop it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {other: inner for other, inner in value.items() if other != key}
        return {**value, key: _of_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _of_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(_VALUES)


def read(kind: str, path: Path, originals: Path) -> tuple[Problem, ...]:
    """Give a file to its reader and to `check`, and return what they found wrong. Errors: any, which is a fault."""
    if kind in ("keras", "h5"):
        return api.check("convert", ["source=keras", f"source.path={path}"])
    if kind == "saved_model":
        return api.check("convert", ["source=saved_model", f"source.path={path}"])
    if kind == "yaml":
        return api.check(str(path))
    if kind == "npz":
        model = ["source=keras", f"source.path={originals / 'model.keras'}", "optimization=integer_only"]
        data = ["calibration=npz", f"calibration.path={path}"]
        return api.check("convert", [*model, *data])
    try:
        if kind == "tflite":
            file = tflite.read_tflite(path)
            tflite.describe(file)
            tflite.op_metrics(file)
            return api.check("convert", ["source=tflite", f"source.path={path}"])
        spool_reader.read(path, str(path))
        run_record.load(path)
        return tuple(problem for synced in missing_runs.sync([path], dry_run=True) for problem in synced.problems)
    except RequestError as error:
        return error.problems


def fault_of(problems: tuple[Problem, ...]) -> str:
    """Return a text that no user can do anything with, or ""."""
    texts = [problem.what for problem in problems]
    return next((text for text in texts if _BARE.search(text) or not text.strip()), "")


@contextmanager
def limited() -> Iterator[None]:
    """Raise TimeoutError where a reader hangs."""

    def end(*_: object) -> None:
        raise TimeoutError(f"took more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=2000, help="how many in all, of the kinds by turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    asked = parser.parse_args()
    read_whole, refused, faults = Counter[str](), Counter[str](), Counter[str]()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        originals = Path(place) / "originals"
        originals.mkdir()
        _models_by_another(originals)
        write_rest(originals)
        for kind in asked.kinds:
            assert not read(kind, original(kind, originals), originals), f"the original {kind} is refused"
        for number in range(asked.mutations):
            kind = asked.kinds[number % len(asked.kinds)]
            with tempfile.TemporaryDirectory(dir=place) as folder:
                started = time.monotonic()
                fault = ""
                try:
                    path = mutate(kind, originals, Path(folder), random.Random(f"{asked.seed} {number}"))
                    with limited():
                        problems = read(kind, path, originals)
                    fault = fault_of(problems)
                    (refused if problems else read_whole)[kind] += 1
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    fault = traceback.format_exc()
                slowest = max(slowest, time.monotonic() - started)
            if fault:
                faults[kind] += 1
                print(f"{kind}, mutation {number} of seed {asked.seed}: {fault}", file=sys.stderr)
    print("| kind | read | refused in words | faults |\n| --- | ---: | ---: | ---: |")
    for kind in asked.kinds:
        print(f"| {kind} | {read_whole[kind]} | {refused[kind]} | {faults[kind]} |")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nThe slowest took {slowest:.1f} s, and the process at most {megabytes:.0f} MB of memory.")
    return 1 if faults else 0


def _models_by_another(folder: Path) -> None:
    """Write the models from a process of its own, so that this one's memory is that of the readers."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, __file__, "--write-models", str(folder)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write-models"]:
        write_models(Path(sys.argv[2]))
    else:
        sys.exit(main())
