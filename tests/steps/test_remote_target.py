"""A run whose file is measured on a device: this machine, by way of a real sshd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import devices
from support import sshd as servers
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client on this machine"),
]

FACTORY = """
import keras


def build():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1), name="image")
    h = keras.layers.Conv2D(4, 3, activation="relu", name="first")(x)
    return keras.Model(x, keras.layers.Dense(3, name="second")(keras.layers.Flatten()(h)))
"""
INTEGER = ["optimization=integer_only", "calibration=random", "calibration.samples=8"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with servers.sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a device").mkdir()
    return devices.Place(tmp_path / "a device")


@pytest.fixture
def asked(server, place, here):
    """Overrides that measure on the device."""
    write(here / "make.py", FACTORY)
    values = {"host": "127.0.0.1", "port": server.port, "identity_file": server.identity}
    values |= {"known_hosts": server.known_hosts, "python": sys.executable, "remote_dir": place.folder}
    keys = [f'target.{key}="{value}"' for key, value in values.items()]
    return ["source=factory", "source.function=make.py:build", "target=cpu", "target.runner=ssh", *keys]


def ran(*overrides):
    return api.run("convert", list(overrides), progress=False)


def test_the_metrics_are_those_of_the_device(asked, place, here):
    import mlflow

    result = ran(*asked, *INTEGER, "target.max_latency_ms=1000", "target.sweep=[1]", "tracking.uri=sqlite:///runs.db")
    assert result.status == ExitStatus.DONE, result.problems
    assert 0 < result.metrics["latency.p50_ms"] <= result.metrics["latency.p90_ms"]
    assert result.metrics["latency.threads_1_p50_ms"] > 0
    assert result.metrics["target.device_max_difference"] == 0.0  # the same runtime, processor and settings
    assert [(gate.name, gate.passed) for gate in result.gates] == [("target.max_latency_ms", True)]
    assert not [text for text in result.warnings if "127.0.0.1" in text]
    (run,) = mlflow.MlflowClient("sqlite:///runs.db").search_runs(["1"])
    assert run.data.params["target.runner"] == "ssh"
    assert run.data.params["latency.machine"] == os.uname().machine
    assert run.data.params["latency.runtime"].startswith("ai-edge-litert ")
    assert int(run.data.params["latency.processors"]) >= 1
    assert run.data.params["latency.device"]
    kept = json.loads((result.output_dir / "latency.json").read_text(encoding="utf-8"))
    assert kept["p50_ms"] == result.metrics["latency.p50_ms"]
    assert (result.output_dir / "profile.csv").is_file()
    assert place.is_clean()


def another(folder: Path, steps: int) -> str:
    """A Python of the device whose LiteRT gives other outputs, by so many steps."""
    write(
        folder / "patched" / "sitecustomize.py",
        "import numpy\nsavez = numpy.savez\n"
        f"def shifted(v):\n    return numpy.where(v > 0, v - {steps}, v + {steps}).astype(v.dtype)\n"
        "numpy.savez = lambda path, **arrays: savez(path, **{n: shifted(v) for n, v in arrays.items()})\n",
    )
    program = write(
        folder / "patched" / "python",
        f'#!/bin/sh\nexport PYTHONPATH="{folder}/patched"\nexec "{sys.executable}" "$@"\n',
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(("steps", "warned"), [(1, False), (5, True)])
def test_outputs_that_differ_are_told(asked, place, here, steps, warned):
    python = f'target.python="{another(here, steps)}"'
    result = ran(*asked, *INTEGER, "tracking=none", "target.profile=false", "target.sweep=[]", python)
    assert result.status == ExitStatus.DONE, result.problems
    contract = json.loads((result.output_dir / "io_contract.json").read_text(encoding="utf-8"))
    (output,) = contract["outputs"]
    assert result.metrics["target.device_max_difference"] == pytest.approx(steps * output["tflite"]["scale"])
    told = [text for text in result.warnings if "differs from LiteRT here" in text]
    assert bool(told) == warned
    assert not told or f"of the device differs from LiteRT here by {steps * output['tflite']['scale']:.6g}" in told[0]
    assert place.is_clean()


def test_a_device_that_is_not_known_fails_the_step(asked, place, here):
    """The run says what to do, has no metrics of another machine, and exits with 3."""
    (here / "known hosts").touch()
    result = ran(*asked, "tracking=none", 'target.known_hosts="known hosts"')
    assert result.status == ExitStatus.FAILED
    (problem,) = result.problems
    assert "the key of 127.0.0.1 is not known here" in problem.what
    assert "latency.p50_ms" not in result.metrics
    assert place.is_clean()


def test_ctrl_c_leaves_nothing_there(asked, place, here, server):
    overrides = [*asked, "tracking=none", "target.runs=100000000"]
    command = [sys.executable, "-m", "tflite_recipes", "run", "convert", *overrides]
    with (here / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        assert devices.in_time(lambda: list(place.folder.glob("*/.measuring_*/*")), 60), (here / "out").read_text()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == ExitStatus.KILLED
        assert devices.in_time(place.is_clean)
        assert devices.in_time(lambda: server.sessions() == [])
    finally:
        if process.poll() is None:
            process.kill()


def test_check_refuses_without_contacting_anything(here, cli):
    write(here / "make.py", FACTORY)
    wanted = ["source=factory", "source.function=make.py:build", "target=cpu"]
    missing = cli("check", "convert", *wanted, "target.runner=ssh")
    assert missing.status == ExitStatus.REQUEST
    assert missing.fixes == ["target.host=user@device"]
    assert cli("check", "convert", *wanted, "target.runner=ssh", *missing.fixes).status == ExitStatus.DONE
    unread = cli("check", "convert", *wanted, "target.host=device")
    assert unread.fixes == ["target.host=null"]
