"""The process that owns TensorFlow: it may die, be slow or greedy, and the next job still runs."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil
import pytest
from support import keras_models
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow

FACTORIES = """
def dies():
    import os
    os.abort()


def leaves():
    raise SystemExit(0)


def sleeps():
    import time
    time.sleep(300)


def eats():
    import numpy, time
    hoard = []
    for _ in range(200):
        hoard.append(numpy.ones(2**25, "uint8"))
        time.sleep(0.02)
    time.sleep(60)


def raises():
    raise KeyError("the weights were not there")


def forks_and_dies():
    import os, time
    if os.fork() == 0:
        time.sleep(300)
        os._exit(0)
    os.abort()


def nan():
    model = small()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * float("nan"))
    return model


def nan_outputs():
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.ops.log(keras.layers.Dense(2, name="y")(i) * 0.0 - 1.0))


def hashes():
    print("hash", hash("a name"))
    return small()


def leaves_files():
    import subprocess, tempfile
    import tensorflow as tf

    def traced(x):
        for _ in tf.range(3):
            x = x + 1
        return x

    tf.autograph.to_graph(traced)
    tempfile.mkstemp()
    subprocess.run(["mktemp"], check=True, stdout=subprocess.DEVNULL)
    print("temporary folder", tempfile.gettempdir())
    return small()


def leaves_files_and_dies():
    import os
    leaves_files()
    os.abort()


def dies_in_the_error_analysis():
    import os, signal
    from tflite_recipes.backend.running import error_analysis
    error_analysis.report_errors = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return small()


def small():
    import keras
    print("printed by a factory")
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""


def run(function, *overrides):
    write_factories()
    source = ["source=factory", f"source.function=make.py:{function}"]
    return api.run("convert", [*source, "tracking=none", *overrides], progress=False)


def write_factories():
    from pathlib import Path

    write(Path("make.py"), FACTORIES)


@pytest.mark.parametrize("function", ["dies", "sleeps", "eats", "forks_and_dies"])
def test_the_next_run_works_after_a_death(here, function):
    limits = {"dies": [], "sleeps": ["worker.timeout_s=8"], "eats": ["worker.memory_gb=1.5"], "forks_and_dies": []}[
        function
    ]
    result = run(function, *limits)
    assert result.status == ExitStatus.FAILED
    assert result.path is None
    assert not list(result.output_dir.glob(".work*"))
    assert not (result.output_dir / "model.tflite").exists()
    (problem,) = result.problems
    expected = {
        "dies": ("SIGABRT", "source", ""),
        "forks_and_dies": ("SIGABRT", "source", ""),
        "sleeps": ("8 s", "worker.timeout_s", "worker.timeout_s=16"),
        "eats": ("GiB", "worker.memory_gb", "worker.memory_gb=3"),
    }[function]
    assert expected[0] in problem.what
    assert (problem.where, problem.fix) == expected[1:]
    assert run("small").status == ExitStatus.DONE


def test_temporary_files_go_with_the_run_also_when_the_worker_dies(here, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    api.begin_anew()  # a worker that starts with this folder
    for function, status in (
        ("leaves_files_and_dies", ExitStatus.FAILED),
        ("leaves_files", ExitStatus.DONE),
        ("leaves_files", ExitStatus.DONE),
    ):
        result = run(function)
        assert result.status == status, result.problems
        assert list(place.iterdir()) == []
        log = (result.output_dir / "converter.log").read_text()
        assert f"temporary folder {result.output_dir.resolve()}" in log
        assert not list(result.output_dir.glob(".work*"))
    api.begin_anew()
    assert list(place.iterdir()) == []


def test_nan_is_not_parity(here):
    weights = run("nan")
    assert weights.status == ExitStatus.REQUEST
    assert "NaN" in weights.problems[0].what
    outputs = run("nan_outputs")
    assert outputs.status == ExitStatus.FAILED
    assert "NaN" in outputs.problems[0].what


def test_a_scheme_that_left_every_weight_float_is_reported(here):
    result = run("small", "optimization=dynamic_range")
    assert result.status == ExitStatus.DONE
    assert any("no weight came out int8" in warning for warning in result.warnings)


def test_what_a_model_prints_goes_to_the_log(here, capfd):
    result = run("small")
    assert result.status == ExitStatus.DONE
    assert "printed by a factory" in (result.output_dir / "converter.log").read_text()
    assert "printed by a factory" not in "".join(capfd.readouterr())


def test_file_whose_error_analysis_kills_the_process_is_delivered(here):
    result = run("dies_in_the_error_analysis", "optimization=float16")
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    assert result.path.is_file()
    (problem,) = result.problems
    assert problem.where == "optimization"
    assert "SIGKILL" in problem.what
    assert not [warning for warning in result.warnings if "trying the remedy" in warning]  # no second attempt
    assert result.metrics["time.failed_attempts_s"] == 0


def test_sets_have_the_same_order_in_every_process(here):
    """What a factory makes of the names in a set would else be another model each time."""
    result = run("hashes")
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", "print('hash', hash('a name'))"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said in (result.output_dir / "converter.log").read_text()


@pytest.mark.parametrize(("function", "said"), [("raises", "the weights were not there"), ("leaves", "SystemExit")])
def test_an_exception_in_the_users_code_is_the_steps_failure(here, function, said):
    result = run(function)
    assert result.status == ExitStatus.FAILED
    assert said in result.problems[0].what
    assert result.problems[0].where == "source"
    assert "make.py" in (result.output_dir / "converter.log").read_text()  # the traceback is kept


def test_edited_code_is_run_as_it_is_now(here):
    write(here / "shapes.py", "WIDTH = 4\n")
    code = (
        "import shapes\n\n\ndef build():\n    import keras\n    i = keras.Input((shapes.WIDTH,), name='x')\n"
        "    return keras.Model(i, keras.layers.Dense(2)(i))\n"
    )
    write(here / "own.py", code)
    widths = []
    for width in (4, 7):
        write(here / "shapes.py", f"WIDTH = {width}\n")
        result = api.run("convert", ["source=factory", "source.function=own:build", "tracking=none"], progress=False)
        assert result.status == ExitStatus.DONE, result.problems
        widths.append(int(result.metrics["size.float_bytes"]))
    assert widths == [4 * (4 * 2 + 2), 4 * (7 * 2 + 2)]


def test_a_module_of_the_same_name_in_another_folder_is_another(here, monkeypatch):
    code = "def build():\n    import keras\n    i = keras.Input(({width},), name='x')\n"
    code += "    return keras.Model(i, keras.layers.Dense(2)(i))\n"
    sizes = []
    for width in (4, 7):
        folder = here / str(width)
        write(folder / "same_name.py", code.replace("{width}", str(width)))
        monkeypatch.chdir(folder)
        result = api.run(
            "convert", ["source=factory", "source.function=same_name:build", "tracking=none"], progress=False
        )
        sizes.append(int(result.metrics["size.float_bytes"]))
    assert sizes == [4 * (4 * 2 + 2), 4 * (7 * 2 + 2)]


def test_a_converter_that_crashes(here):
    """A real SIGSEGV: int8 of an LSTM with a fixed batch."""
    keras_models.write("sequential_lstm", here)
    np.savez("samples.npz", frames=np.random.default_rng(0).standard_normal((8, 12, 6)).astype("float32"))
    overrides = ["source=keras", "source.path=model.keras", "source.input_shapes={frames:[1,12,6]}"]
    overrides += ["calibration=npz", "calibration.path=samples.npz", "tracking=none", "conversion.fallback=[]"]
    result = api.run("convert", [*overrides, "optimization=integer_only"], progress=False)
    assert result.status == ExitStatus.FAILED
    assert "SIGSEGV" in result.problems[0].what
    assert result.problems[0].where == "optimization"
    assert "Segmentation fault" in (result.output_dir / "converter.log").read_text()
    after = api.run("convert", [*overrides, "optimization=none"], progress=False)
    assert after.status == ExitStatus.DONE
    assert after.metrics["parity.cosine"] > 0.9999


def started(here, *arguments):
    """A command in a process group of its own, as a shell would start it."""
    command = [sys.executable, "-m", "tflite_recipes", "run", *arguments]
    return subprocess.Popen(
        command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def sleeping(process):
    """The worker of a command that has begun its source step."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            if any("worker_main" in part for part in child.cmdline()):
                return child
    return None


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupt_ends_the_worker_and_leaves_nothing_half_written(here, sign):
    import sqlite3

    if sign == signal.SIGTERM and signal.getsignal(sign) is signal.SIG_IGN:
        pytest.skip("whoever started this ignores the signal, and so does what it starts (as after nohup)")
    write(here / "make.py", FACTORIES)
    process = started(here, "convert", "source=factory", "source.function=make.py:sleeps")
    worker = wait_for(lambda: sleeping(process))
    wait_for(lambda: any("StepStarted" in spool.read_text() for spool in here.rglob("events.jsonl")))
    wait_for(lambda: (here / "mlflow.db").exists() and list(here.rglob("environment.txt")))
    os.killpg(process.pid, sign)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert not list(here.rglob("model.tflite"))
    if sign == signal.SIGKILL:
        return  # nobody was left to tell the tracker; the spool has it
    assert process.returncode == 130
    assert not list(here.rglob(".work*"))
    # The tracker gets a few seconds. If a busy machine needs more, the command says to run sync, which completes it.
    if "tflite-recipes sync" in out + err:
        subprocess.run([sys.executable, "-m", "tflite_recipes", "sync", "outputs"], cwd=here, check=True)
    with contextlib.closing(sqlite3.connect(here / "mlflow.db")) as database:
        assert database.execute("select status from runs").fetchall() == [("KILLED",)]
