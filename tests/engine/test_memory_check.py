"""A run that cannot fit in memory is refused before it starts, by figures; one that may fit is not."""

import json

import h5py
import pytest
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.config import composition
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.engine import memory_check
from tflite_recipes.engine.memory_limits import Limit, limits

GB = 1000**3
MODEL = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [{"class_name": "InputLayer", "config": {"batch_shape": [None, 8], "dtype": "float32", "name": "x"}}],
    },
}
MEMINFO = "MemTotal: {} kB\nMemFree: 1 kB\nMemAvailable: {} kB\nSwapTotal: {} kB\nSwapFree: {} kB\n"


def model(folder, megabytes):
    """Write a model file with weights of this size, whose values are never written."""
    with h5py.File(folder / "model.h5", "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(MODEL), "3.15.0"
        values = megabytes * 250_000
        file.create_dataset("model_weights/dense/kernel", shape=(values,), dtype="f4", chunks=(2**17,))


def recipe(*overrides):
    return composition.compose("convert", ["source=keras", "source.path=model.h5", *overrides])


def machine(total, left=None):
    return [Limit("the machine", int(total * GB), int((total if left is None else left) * GB))]


@pytest.mark.parametrize(
    ("megabytes", "limit", "held", "refused"),
    [
        (281, machine(1), 0, True),
        (281, machine(4), 0, False),
        (281, machine(4, 0.5), 0, True),
        (281, machine(4, 0.5), GB, False),
        (1130, machine(3), 0, True),
        (1130, machine(16, 8), 0, False),
        (1, machine(0.5), 0, False),
        (281, [], 0, False),
    ],
)
def test_refusal_by_the_machine(here, megabytes, limit, held, refused):
    model(here, megabytes)
    problem = memory_check.refusal(recipe(), limit, held)
    assert (problem is not None) == refused
    if problem is not None:
        assert (problem.where, problem.fix) == ("source", "")
        assert f"{megabytes} MB" in problem.what
        assert "the machine has" in problem.what


def test_refusal_by_the_lowest_of_nested_limits(here):
    model(here, 281)
    group = Limit("the control group /job", GB, GB)
    problem = memory_check.refusal(recipe(), [*machine(16), group], 0)
    assert problem is not None
    assert "the control group /job has 1.0 GB" in problem.what


def test_refusal_by_the_workers_limit_has_one_that_is_enough(here):
    model(here, 281)
    problem = memory_check.refusal(recipe("worker.memory_gb=1"), machine(16), 0)
    assert problem is not None
    assert (problem.where, problem.fix) == ("worker.memory_gb", "worker.memory_gb=4")
    assert memory_check.refusal(recipe(problem.fix), machine(16), 0) is None


@pytest.mark.parametrize("overrides", [["freeze.constants_mb=null"], ["freeze.variables=freeze"]])
def test_refusal_of_constants_has_the_fix_that_takes_less(here, overrides):
    model(here, 281)
    problem = memory_check.refusal(recipe(*overrides), machine(2.5), 0)
    assert problem is not None
    assert problem.fix == memory_check.KEEP
    assert memory_check.refusal(recipe(*overrides, problem.fix), machine(2.5), 0) is None
    hopeless = memory_check.refusal(recipe(*overrides), machine(1), 0)
    assert hopeless is not None
    assert hopeless.fix == ""


def test_own_step_may_make_the_model_smaller(here):
    model(here, 281)
    write(here / "halve.py", "def halve(state, reporter):\n    return state\n")
    steps = "steps=[source,halve.py:halve,freeze,optimization,target,evaluation]"
    assert memory_check.refusal(recipe(steps), machine(1), 0) is None


def files(root, contents):
    for name, text in contents.items():
        write(root / name, text)


def test_limits_of_a_machine_count_swap(tmp_path):
    files(tmp_path, {"proc/meminfo": MEMINFO.format(1000, 400, 200, 100)})
    assert limits(tmp_path) == (Limit("the machine", 1200 * 1024, 500 * 1024),)


def test_limits_of_nested_groups_of_cgroup_v2(tmp_path):
    group = "sys/fs/cgroup/a"
    stat = "anon 5\ninactive_file 30\n"
    files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            f"{group}/memory.max": "100\n",
            f"{group}/memory.current": "60\n",
            f"{group}/memory.stat": stat,
            f"{group}/b/memory.max": "max\n",
            f"{group}/b/memory.current": "50\n",
        },
    )
    assert limits(tmp_path) == (Limit("the control group /a", 100, 70),)


@pytest.mark.parametrize("place", ["/a", "/docker/of/the/host", "/../.."])
def test_limits_of_cgroup_v1_in_a_container_and_outside(tmp_path, place):
    mount = "sys/fs/cgroup/memory"
    files(
        tmp_path,
        {
            "proc/self/cgroup": f"5:cpu,cpuacct:/\n4:memory:{place}\n0::/\n",
            f"{mount}/memory.limit_in_bytes": "200\n",
            f"{mount}/memory.usage_in_bytes": "150\n",
            f"{mount}/memory.stat": "inactive_file 9\ntotal_inactive_file 20\n",
            f"{mount}/a/memory.limit_in_bytes": "9223372036854771712\n",
            f"{mount}/a/memory.usage_in_bytes": "1\n",
        },
    )
    assert limits(tmp_path) == (Limit("the control group /", 200, 70),)


def test_limits_without_proc_are_none(tmp_path):
    assert limits(tmp_path) == ()


@pytest.mark.slow
def test_run_with_a_limit_that_is_too_low_does_not_start_and_its_fix_is_enough(here):
    import keras

    ids = keras.Input((8,), dtype="int32", name="ids")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(100_000, 100)(ids))
    keras.Model(ids, keras.layers.Dense(3)(pooled)).save("model.keras")
    overrides = ["source=keras", "source.path=model.keras", "tracking=none", "freeze.constants_mb=20"]
    refused = api.run("convert", [*overrides, "worker.memory_gb=0.4"], progress=False)
    (problem,) = refused.problems
    assert (refused.status, problem.where) == (ExitStatus.REQUEST, "worker.memory_gb")
    assert "40 MB" in problem.what
    assert not (refused.output_dir / "converter.log").exists()
    api.begin_anew()  # what earlier tests left in the memory of the worker counts too
    done = api.run("convert", [*overrides, problem.fix], progress=False)
    assert (done.status, done.problems) == (ExitStatus.DONE, ())
