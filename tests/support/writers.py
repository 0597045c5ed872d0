"""Recorded runs to write: copies of a run's folder, one process each that tells its events as a run does, and what
MLflow then must hold of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.core import events
from tflite_recipes.tracking import run_record, spool_reader
from tflite_recipes.tracking.mlflow_tracker import MlflowTracker
from tflite_recipes.tracking.settings import Mlflow


def copies(recorded: Path, folder: Path, number: int, **values: Any) -> list[Path]:
    """Folders of `number` runs that nobody was told of, each with a key of its own. `values` go into the records."""
    made = []
    for index in range(number):
        copy = folder / f"run{index}"
        shutil.copytree(recorded, copy)
        key = f"{folder.name}-{index}-{os.urandom(8).hex()}"
        run_record.save(copy, replace(run_record.load(recorded), key=key, run_id=None, complete=False, **values))
        made.append(copy)
    return made


def lighten(folder: Path) -> None:
    """Leave out artifacts that lie in the way of no other writer: of those at the top and below deploy/ all but every
    fourth. All that goes to the database stays."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [events.from_json(json.loads(line)) for line in lines]
    spare = [number for number, event in enumerate(told) if isinstance(event, events.ArtifactKept)]
    spare = [number for number in spare if told[number].folder in ("", "deploy")]
    left_out = {number for place, number in enumerate(spare) if place % 4}
    kept = [line for number, line in enumerate(lines) if number not in left_out or "io_contract.json" in line]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def whole(client: Any, run_id: str, folder: Path) -> None:
    """Hold a run against the events of its folder: each metric there (some looked at closely: once for each time that
    it was told), each parameter and artifact, and the model's bytes."""
    told = spool_reader.read(folder, run_record.load(folder).cwd)
    run = client.get_run(run_id)
    measured = Counter(
        (name, int(event.at * 1e3)) for event in told if isinstance(event, events.Measured) for name in event.metrics
    )
    assert {name for name, _ in measured} <= run.data.metrics.keys()
    for name in sorted({name for name, _ in measured})[::8]:  # a request each
        points = Counter((name, point.timestamp) for point in client.get_metric_history(run_id, name))
        assert set(points.values()) == {1}, (name, points)
        assert points.keys() == {point for point in measured if point[0] == name}
    kept, listed = set[str](), set[str]()
    for event in told:
        match event:
            case events.Noted(params=params):
                assert params.items() <= run.data.params.items()
            case events.Tagged(tags=tags):
                assert tags.keys() <= run.data.tags.keys()
            case events.ArtifactKept(path=path, folder=place):
                kept = (
                    kept if place in listed else kept | {i.path for i in client.list_artifacts(run_id, place or None)}
                )
                listed.add(place)
                assert f"{place}/{Path(path).name}".lstrip("/") in kept
    model = Path(client.download_artifacts(run_id, "model/model.tflite"))
    assert model.read_bytes() == (folder / "model.tflite").read_bytes()
    (finished,) = (event for event in told if isinstance(event, events.RunFinished))
    assert run.info.status == {"done": "FINISHED", "passed": "FINISHED", "killed": "KILLED"}[finished.outcome]
    assert run.info.end_time == int(finished.at * 1e3)
    used = {(event.name, event.context) for event in told if isinstance(event, events.DatasetUsed)}
    inputs = {(each.dataset.name, tag.value) for each in run.inputs.dataset_inputs for tag in each.tags}
    assert used <= inputs


def write_in_parallel(folders: Sequence[Path], uri: str, experiment: str) -> list[str]:
    """Tell each folder's events from a process of its own, all at once; the IDs of the runs, in the same order."""
    command = [sys.executable, __file__, uri, experiment, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    return [told[str(folder)] for folder in folders]


def tell(folder: Path, uri: str, experiment: str) -> MlflowTracker:
    """Tell the folder's events to a tracker, as the run did, and wait for it."""
    tracker = MlflowTracker(Mlflow(uri, experiment, None, {}))
    for event in spool_reader.read(folder, run_record.load(folder).cwd):
        tracker(replace(event, output_dir=str(folder)) if isinstance(event, events.RunStarted) else event)
    tracker.close()
    return tracker


def main(uri: str, experiment: str, *folders: str) -> int:
    """Fork once MLflow is loaded, which takes longest, and before any connection or thread is there."""
    import mlflow.tracking  # noqa: F401

    children = []
    for folder in folders:
        if (child := os.fork()) == 0:
            tracker = tell(Path(folder), uri, experiment)
            line = f"{folder} {tracker.run_id if not tracker.failures else json.dumps(tracker.failures)}\n"
            os.write(1, line.encode())
            os._exit(1 if tracker.failures else 0)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
