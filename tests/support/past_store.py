"""Real past runs, made by the code of commit 4398311. See `past_runs/fixture/README.md`."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from support.checkout import REPOSITORY

ARCHIVE = REPOSITORY / "tests" / "past_runs" / "fixture" / "store.tar.xz"
EXPERIMENT = "tflite_recipes"
# TensorFlow's threads in these runs. With another number `reproduce` starts a worker of its own.
THREADS = "2"

INTEGER_ONLY = "9f97b2ac67064fd6ae0f23e70e0e4cb0"
PRUNED = "10195ae0176c464d8b9e2eaa40ada996"
INT16X8 = "f692f21a746a4e78862223ed43d4c788"
REMEDIED = "6bafc200d1a744b5b0d2b4ea793027d2"
GATE_FAILED = "a5adbc0795294570ba760817f7637d38"
NOT_KEPT = "03e1b196ed5e4fe79d4b71889ba8ecb9"
OWN_STEP = "0e5e16e0c5e74c59a568ab6c5f3ff7e3"
FAILED = "d37ad5b05d5142d8a3b749311b457421"
SWEEP = "242e3efa434e429a82fc574862c0a99e"
SWEEP_JOBS = ("5d590a965a5b487aa27bdc4ca9902447", "9f92662ed508489ca3922403978e0d0a")
SEARCH = "4d72f011b90d4cf3a7db994670245cd4"
CANDIDATES = (
    "a0cfa29b530b48bba860c79771d1394f",
    "3ed1ca2b43414a909fc632dda166ab48",
    "b206341cc425402ead05528d64e608e6",
)
REPRODUCED = "d8165ecdc9114ad8826d654e62186c34"

REGISTERED = "net"
# Jobs of the offline sweep, below its folder.
OFFLINE_JOBS = ("0", "1")

# Recipes in `recipes/`, as `show` printed them. They and the runs name each class that a recipe could name then.
SHOWN = (
    *("csv", "digits_pruned", "images", "keras_application", "npy"),
    *("saved_model", "search", "tflite", "tfrecord", "wav"),
)

_MADE_AT = "/tmp/past_runs"


@dataclass(frozen=True)
class PastStore:
    """The unpacked archive.

    folder: where it was unpacked.
    """

    folder: Path

    @property
    def desk(self) -> Path:
        """The folder that the runs were started in: inputs, own code, the store, `outputs/` and `recipes/`."""
        return self.folder / "desk"

    @property
    def offline(self) -> Path:
        """A run and a sweep that MLflow lacks, in `run/` and `sweep/`."""
        return self.folder / "offline"

    @property
    def uri(self) -> str:
        """The tracking URI of the store."""
        return f"sqlite:///{self.desk}/mlflow.db"

    def artifact(self, run_id: str, name: str) -> Path:
        """Return the place of an artifact, such as `recipe.yaml`."""
        return self.desk / "mlruns" / "1" / run_id / "artifacts" / name


def unpack(folder: Path) -> PastStore:
    """Unpack the runs into an empty folder. MLflow keeps absolute paths, so they are moved with it."""
    store = PastStore(folder.resolve())
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(store.folder, filter="data")
    for record in store.folder.rglob("tracking.json"):
        record.write_text(_moved(record, store), encoding="utf-8")
    dump = store.desk / "mlflow.sql"
    with closing(sqlite3.connect(store.desk / "mlflow.db")) as database:
        database.executescript(_moved(dump, store))
    dump.unlink()
    return store


def _moved(file: Path, store: PastStore) -> str:
    return file.read_text(encoding="utf-8").replace(_MADE_AT, str(store.folder))
