"""A sample of the kills of `benchmarks/kills.py`: nothing is lost, doubled or left."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# The seed of this sample. Each command is killed within its first seconds, which is where most of it happens, and where
# a kill costs least: a third of the time goes into TensorFlow's start.
SEED = "sample"
COMMANDS = (
    ("run", "parent", 7.0),
    ("run", "worker", 5.0),
    ("run", "both", 4.0),
    ("sweep", "parent", 4.0),
    ("joblib", "parent", 4.0),
    ("joblib", "both", 4.0),
    ("search", "both", 5.0),
    ("sync", "parent", 3.0),
    ("sync", "parent", 3.0),
    ("reproduce", "parent", 5.0),
)


@pytest.fixture(scope="module")
def kills():
    file = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills", file)
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["kills"]


def test_kills_at_ten_random_moments_lose_double_and_leave_nothing(kills, tmp_path):
    desk = kills.Desk(tmp_path.resolve() / "desk")
    wrong, works = [], []
    for drawn, (command, victim, seconds) in zip(kills.moments(10, SEED), COMMANDS, strict=True):
        moment = kills.Moment(drawn.number, command, victim, drawn.share, drawn.new_store and command != "reproduce")
        works.append(desk.work_folder(moment))
        wrong += [f"{moment}: {text}" for text in desk.kill(moment, moment.share * seconds, works[-1])]
    wrong += desk.sync(*works)
    assert wrong == []


def test_mismatches_name_what_is_lost_and_what_is_doubled(kills, tmp_path):
    """The checks of the sample can fail."""
    import json

    from tflite_recipes.tracking.client import client

    mlflow_client = client(f"sqlite:///{tmp_path}/mlflow.db")
    for _ in range(2):
        mlflow_client.create_run("0", tags={"tflite_recipes.run_key": "k"})
    for key, complete in (("k", True), ("other", False)):
        folder = tmp_path / "outputs" / key
        folder.mkdir(parents=True)
        (folder / "tracking.json").write_text(json.dumps({"key": key, "complete": complete, "run_id": None}))
    kinds = [text.partition(":")[0] for text in kills._mismatches(tmp_path)]
    assert sorted(kinds) == ["lost", "lost", "not ended", "not ended", "twice"]
