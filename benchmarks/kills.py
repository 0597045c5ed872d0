"""Kills commands at random moments, and checks that nothing is lost, doubled or left once the next command has run.

python benchmarks/kills.py --moments 100
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

COMMANDS = ("run", "sweep", "joblib", "search", "sync", "reproduce")
VICTIMS = ("parent", "worker", "both")
_MODEL = """
def build(n=1):
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""
_SOURCE = ("convert", "source=factory", "source.function=make.py:build")
_SWEEP = ("run", "-m", *_SOURCE, "source.arguments.n=1,2")
_DATA = ("evaluation=npz", "evaluation.path=test.npz", "evaluation.max_drop=1")
_ARGUMENTS = {
    "run": ("run", *_SOURCE),
    "sweep": _SWEEP,
    "joblib": (*_SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "search": ("run", *_SOURCE, *_DATA, "optimization=auto", "optimization.schemes=[dynamic_range,float16]"),
    "sync": ("sync",),
}
# In the command line of the processes that own TensorFlow, and of joblib's.
_WORKERS = ("worker_main", "popen_loky_posix")
# What no finished command leaves in a folder.
_STRANGE = (".work*", "*.lock", "*.half_made*", ".mlflow.db*", "mlflow.db-*", ".tracking.json*", ".model.tflite*")
# Seconds until what a killed process started has to be gone.
_GONE_S = 8.0
# Seconds that a command takes at most; one that takes longer hangs.
_LONGEST_S = 300.0


@dataclass(frozen=True)
class Moment:
    """When to kill what: a share of the command's usual time, from 0 to 1."""

    number: int
    command: str
    victim: str
    share: float
    new_store: bool


def moments(count: int, seed: int) -> Iterator[Moment]:
    """Draw moments: commands and victims in turns, so that each pair comes as often; the share is uniform.

    A third of them begins without an MLflow store, which the command then makes.
    """
    pairs = [(command, victim) for victim in VICTIMS for command in COMMANDS]
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        command, victim = pairs[number % len(pairs)]
        if command == "sync":  # has no worker
            victim = "parent"
        yield Moment(number, command, victim, draw.random(), draw.random() < 1 / 3 and command != "reproduce")


class Desk:
    """Makes folders that commands run in, kills the commands, and looks at what is there afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._kept = folder, folder / "kept"
        self._temporary, self._state = folder / "temporary", folder / "state"
        for place in (self._kept, self._temporary, self._state):
            place.mkdir(parents=True)
        self._seconds: dict[str, float] = {}
        self._prepare()

    @property
    def environment(self) -> dict[str, str]:
        """What the commands get: a state folder and a folder for temporary files of their own."""
        own = {"XDG_STATE_HOME": str(self._state), "TMPDIR": str(self._temporary), "CUDA_VISIBLE_DEVICES": "-1"}
        return {**os.environ, **own}

    def _prepare(self) -> None:
        """Make what the commands start from: a finished run in a store, which `reproduce` and `sync` take."""
        (self._kept / "make.py").write_text(_MODEL, encoding="utf-8")
        np.savez(self._kept / "test.npz", x=np.eye(4, dtype=np.float32), labels=np.arange(4) % 2)
        started = time.monotonic()
        if self._start(_ARGUMENTS["run"], self._kept).wait(_LONGEST_S) != 0:
            raise SystemExit(f"the first run failed: {self.output()}")
        self._seconds["run"] = time.monotonic() - started
        ((self._run_id, *_),) = _rows(self._kept, "SELECT run_uuid FROM runs")

    def work_folder(self, moment: Moment) -> Path:
        """Make the folder that a moment's command runs in."""
        work = self.folder / f"work_{moment.number}"
        shutil.copytree(self._kept, work)
        self._move(work)
        if moment.command == "sync":  # of two runs that MLflow does not have
            (first,) = work.glob("outputs/convert/*")
            shutil.copytree(first, first.with_name("another"))
            for folder in (first, first.with_name("another")):
                record = json.loads((folder / "tracking.json").read_text(encoding="utf-8"))
                record |= {"complete": False, "run_id": None, "key": folder.name.replace(".", "_")}
                (folder / "tracking.json").write_text(json.dumps(record), encoding="utf-8")
            _change(work, "DELETE FROM tags", "UPDATE runs SET lifecycle_stage = 'deleted'")
        if moment.new_store:
            (work / "mlflow.db").unlink()
            shutil.rmtree(work / "mlruns")
            if moment.command != "sync":
                shutil.rmtree(work / "outputs")
        return work

    def _move(self, work: Path) -> None:
        """Have the records and the store in a copy name the copy."""
        for file in work.glob("outputs/**/tracking.json"):
            text = file.read_text(encoding="utf-8").replace(str(self._kept), str(work))
            file.write_text(text, encoding="utf-8")
        columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
        for table, column in columns.items():
            _change(work, f"UPDATE {table} SET {column} = replace({column}, '{self._kept}', '{work}')")

    def _start(self, arguments: Sequence[str], work: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tflite_recipes", *arguments]
        with (self.folder / "output.txt").open("wb") as output:
            return subprocess.Popen(command, cwd=work, env=self.environment, stdout=output, stderr=output)

    def output(self) -> str:
        """What the last command printed."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def usual_seconds(self, command: str) -> float:
        """How long a command takes that nobody kills; measured once."""
        if command not in self._seconds:
            work = self.work_folder(Moment(-1, command, "parent", 1.0, False))
            started = time.monotonic()
            self._start(self._arguments(command), work).wait(_LONGEST_S)
            self._seconds[command] = time.monotonic() - started
            shutil.rmtree(work)
        return self._seconds[command]

    def _arguments(self, command: str) -> Sequence[str]:
        return ("reproduce", self._run_id) if command == "reproduce" else _ARGUMENTS[command]

    def kill(self, moment: Moment, seconds: float, work: Path) -> Iterator[str]:
        """Kill a command after so many seconds, and yield what hangs or still runs after it."""
        process = self._start(self._arguments(moment.command), work)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._strike(process, moment.victim)
        try:
            process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            yield "the command hangs"
        yield from (f"still runs: {name}" for name in self._running())

    def sync(self, *works: Path) -> Iterator[str]:
        """Run the next command, and yield what is wrong after it."""
        folders = [str(work / "outputs") for work in works if (work / "outputs").is_dir()]
        status = self._start(("sync", *folders), works[0]).wait(_LONGEST_S) if folders else 0
        if status or (not folders and self._start(("ls",), works[0]).wait(_LONGEST_S)):
            yield f"the next command ends with status {status}: {self.output()[-2000:]}"
        places = [(self._temporary, ("*",)), (self._state, ("*",)), *((work, _STRANGE) for work in works)]
        for place, patterns in places:
            for path in (path for pattern in patterns for path in place.rglob(pattern)):
                if not (path.is_dir() and place == self._state):
                    yield f"left: {path.relative_to(place.parent)}"
        for work in works:
            yield from _mismatches(work)

    def _strike(self, process: subprocess.Popen[bytes], victim: str) -> None:
        try:
            below = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            return
        workers = [one for one in below if any(name in " ".join(_command(one)) for name in _WORKERS)]
        if victim in ("parent", "both") or not workers:
            process.send_signal(signal.SIGKILL)
        for worker in workers if victim in ("worker", "both") else ():
            try:
                worker.kill()
            except psutil.Error:
                continue

    def _running(self) -> list[str]:
        """The commands of processes that are still there when all have to be gone."""
        mine = {"XDG_STATE_HOME": str(self._state)}.items()
        deadline = time.monotonic() + _GONE_S
        while True:
            there = [one for one in psutil.process_iter() if mine <= _environment(one).items()]
            if not there or time.monotonic() > deadline:
                return [" ".join(_command(one))[:120] for one in there]
            time.sleep(0.1)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except (psutil.Error, OSError):
        return {}


def _rows(work: Path, query: str) -> list[tuple[str, ...]]:
    if not (work / "mlflow.db").exists():
        return []
    database = sqlite3.connect(work / "mlflow.db")
    try:
        return list(database.execute(query))
    finally:
        database.close()


def _change(work: Path, *queries: str) -> None:
    database = sqlite3.connect(work / "mlflow.db")
    for query in queries:
        database.execute(query)
    database.commit()
    database.close()


def _mismatches(work: Path) -> Iterator[str]:
    """How MLflow differs from the folders: each run once, ended, and with its model."""
    in_store = Counter(
        key
        for (key,) in _rows(
            work,
            "SELECT value FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = 'tflite_recipes.run_key' AND lifecycle_stage = 'active'",
        )
    )
    yield from (f"twice: {key}" for key, count in in_store.items() if count > 1)
    for run_id, status in _rows(work, "SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'"):
        if status not in ("FINISHED", "FAILED", "KILLED"):
            yield f"not ended: {run_id} is {status}"
    recorded = {}
    for file in work.glob("outputs/**/tracking.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        recorded[record["key"]] = record
        if not record["complete"]:
            yield f"lost: {file.parent.relative_to(work)} is not complete"
        if record["key"] not in in_store:
            yield f"lost: {file.parent.relative_to(work)} is not in MLflow"
        yield from _model_mismatch(work, file.parent, record["run_id"])
    yield from (f"without a folder: {key}" for key in in_store if key not in recorded)
    for file in work.glob("outputs/**/events.jsonl"):
        if not (file.parent / "tracking.json").exists() and file.stat().st_size:
            yield f"lost: {file.parent.relative_to(work)} has events and no record"


def _model_mismatch(work: Path, folder: Path, run_id: str) -> Iterator[str]:
    events = folder / "events.jsonl"
    is_kept = events.exists() and '"model.tflite"' in events.read_text(encoding="utf-8").replace(f"{folder}/", "")
    if not is_kept or not (folder / "model.tflite").exists():
        return
    there = list(work.glob(f"mlruns/*/{run_id}/artifacts/model/model.tflite"))
    if [_digest(path) for path in there] != [_digest(folder / "model.tflite")]:
        yield f"lost: the model of {folder.relative_to(work)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="begin with this moment, to repeat one of them")
    parser.add_argument("--minutes", type=float, default=None, help="begin no moment after so many minutes")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    ends = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    with tempfile.TemporaryDirectory(prefix="kills_") as folder:
        desk = Desk(Path(folder).resolve())
        for moment in moments(options.moments, options.seed):
            if moment.number < options.first or time.monotonic() > ends:
                continue
            seconds = moment.share * desk.usual_seconds(moment.command)
            work = desk.work_folder(moment)
            wrong = [*desk.kill(moment, seconds, work), *desk.sync(work)]
            shutil.rmtree(work)
            counts[f"{moment.command} {moment.victim}"] += 1
            faults[f"{moment.command} {moment.victim}"] += bool(wrong)
            print(f"{moment.number}: {moment.command}, {moment.victim} after {seconds:.2f} s", file=sys.stderr)
            for text in wrong:
                print(f"    {text}", file=sys.stderr, flush=True)
    print("| command | kills of the parent | of the worker | of both | with a fault |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for command in COMMANDS:
        row = [counts[f"{command} {victim}"] for victim in VICTIMS]
        print(f"| `{command}` | {' | '.join(map(str, row))} | {sum(faults[f'{command} {v}'] for v in VICTIMS)} |")
    print(f"\n{counts.total()} kills, {faults.total()} with a fault")
    return int(faults.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
