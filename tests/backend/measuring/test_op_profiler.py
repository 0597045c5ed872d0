"""Which ops take how long: the file's ops in their order, by the runtime's profiler and by files that are cut."""

from __future__ import annotations

import importlib.metadata
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import runnable_files

from tflite_recipes.backend.measuring import op_profiler
from tflite_recipes.backend.measuring.op_profiler import DELEGATED, OPERATOR

X = np.random.default_rng(1).normal(size=(1, 64)).astype("float32")
JOB = {"signature": "serve", "threads": 1, "xnnpack": True, "profile_seconds": 5.0}
GRAPH = SimpleNamespace(number=0, ops=["CONV_2D", "Mine"], custom=[False, True])


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20))
def test_shares_add_up(times):
    found = op_profiler.table([f"op{n}" for n in range(len(times))], times)
    assert sum(row["share"] for row in found["ops"]) == pytest.approx(1.0)
    assert [row["index"] for row in found["ops"]] == list(range(len(times)))
    assert found["total_ms"] == pytest.approx(sum(times))


def test_ops_that_take_no_time_have_no_share():
    assert [row["share"] for row in op_profiler.table(["a", "b"], [0.0, 0.0])["ops"]] == [0.0, 0.0]


def test_the_slowest_invokes_are_left_out():
    runs = [[1, 3]] * 19 + [[1000, 9000]]
    assert op_profiler.means(runs) == pytest.approx([0.001, 0.003])


def test_only_the_graphs_own_ops_are_taken():
    events = [
        ("Invoke", 1, 0, 0, 99),
        ("CONV_2D", OPERATOR, 0, 0, 7),
        ("ADD", OPERATOR, 0, 3, 50),
        ("GEMM", DELEGATED, 1, 0, 50),
        ("whatever", OPERATOR, 1, 0, 5),
    ]
    assert [event[4] for event in op_profiler.ops_of(events, GRAPH)] == [7, 5]


@pytest.mark.parametrize(
    "events",
    [
        [("CONV_2D", OPERATOR, 0, 0, 7)],
        [("ADD", OPERATOR, 0, 0, 7), ("Mine", OPERATOR, 1, 0, 7)],
        [("Mine", OPERATOR, 1, 0, 7), ("CONV_2D", OPERATOR, 0, 0, 7)],
        [],
    ],
)
def test_what_is_not_the_files_ops_is_refused(events):
    with pytest.raises(op_profiler.Unreachable):
        op_profiler.ops_of(events, GRAPH)


def test_ops_have_to_add_up_to_an_invoke():
    op_profiler.check_total(1.0, 1.2)
    op_profiler.check_total(0.0, 0.003)
    for total in (4.0, 0.2):
        with pytest.raises(op_profiler.Unreachable, match="add up"):
            op_profiler.check_total(total, 1.0)


@pytest.fixture
def file(tmp_path):
    return runnable_files.write(tmp_path / "model.tflite")


def outputs(file):
    return {"scores": runnable_files.reference(file, X)}


def test_a_file_is_cut_in_place_after_each_op(file):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    graph = op_profiler.Graph(file, "serve")
    assert graph.ops == runnable_files.OPS
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    given = []
    for count in range(1, len(graph.ops) + 1):
        data = op_profiler.prefix(graph, count)
        assert len(data) == file.stat().st_size
        made = Interpreter(model_content=data, experimental_op_resolver_type=plain)
        made.allocate_tensors()
        made.set_tensor(0, X)
        made.invoke()
        (output,) = made.get_output_details()
        given.append((output["name"], made.get_tensor(output["index"])))
    assert [name for name, _ in given] == runnable_files.OUTPUTS
    assert given[1][1] == pytest.approx(np.tanh(given[0][1]), abs=1e-5)
    assert given[-1][1] == pytest.approx(outputs(file)["scores"], abs=1e-5)
    assert bytes(graph.data) == file.read_bytes()


@pytest.mark.slow
def test_by_prefixes(file):
    told = []
    found = op_profiler.by_prefixes(file, JOB, {"features": X}, outputs(file), lambda *at: told.append(at))
    assert (found["method"], found["xnnpack"]) == ("prefix", False)
    assert [row["name"] for row in found["ops"]] == runnable_files.OPS
    assert all(row["ms"] >= 0 for row in found["ops"])
    assert told == [(n, 4) for n in range(1, 5)]


def test_only_the_first_graph_can_be_cut(tmp_path):
    path = runnable_files.write(tmp_path / "two.tflite", ("one", "serve"))
    with pytest.raises(op_profiler.Unreachable, match="first graph"):
        op_profiler.by_prefixes(path, JOB, {"features": X}, {}, lambda *_: None)
    with pytest.raises(op_profiler.Unreachable, match="no signature"):
        op_profiler.Graph(path, "three")


PROFILER = pytest.mark.skipif(
    tuple(map(int, importlib.metadata.version("ai-edge-litert").split(".")[:2])) < (2, 3),
    reason="LiteRT before 2.3 has another C API; benchmark_script.py takes prefixes there",
)


def in_a_process_of_its_own(file, call, signature="serve", **more):
    """A runtime with another C API may die of it."""
    import subprocess
    import sys
    from pathlib import Path

    np.savez(file.with_name("inputs.npz"), features=X)
    np.savez(file.with_name("outputs.npz"), **outputs(file), **more)
    program = (
        "import json, sys; from pathlib import Path; import numpy as np; import op_profiler\n"
        f"path = Path({str(file)!r}); job = json.loads({json.dumps({**JOB, 'signature': signature})!r})\n"
        "arrays, outputs = (dict(np.load(path.with_name(n + '.npz'))) for n in ('inputs', 'outputs'))\n"
        f"print(json.dumps(op_profiler.{call}(path, job, arrays, outputs, lambda *_: None)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(op_profiler.__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@PROFILER
@pytest.mark.slow
def test_by_the_runtimes_own_profiler(file):
    found = in_a_process_of_its_own(file, "by_profiler")
    assert found["method"] == "c_profiler"
    assert [row["name"] for row in found["ops"]] == runnable_files.OPS
    assert sum(row["share"] for row in found["ops"]) == pytest.approx(1.0)
    # The second product has eight times the work of the first.
    assert found["ops"][2]["ms"] == max(row["ms"] for row in found["ops"])


@PROFILER
@pytest.mark.slow
def test_of_the_second_graph_by_the_runtimes_own_profiler(tmp_path):
    path = runnable_files.write(tmp_path / "two.tflite", ("one", "serve"))
    found = in_a_process_of_its_own(path, "by_profiler")
    assert [row["name"] for row in found["ops"]] == runnable_files.OPS


def with_another_output(path):
    """A second output of another size, which the signature names first and the graph last, as the converter does."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    graph.tensors.append(runnable_files.tensor_of("net/another/Tanh", 0, (1, 64)))
    graph.operators.append(runnable_files.operator_of("TANH", [0], 7, schema.BuiltinOptions.NONE, None))
    graph.outputs = [6, 7]
    signature.outputs = [runnable_files.port_of("another", 7), *signature.outputs]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path


@PROFILER
@pytest.mark.slow
@pytest.mark.parametrize("call", ["by_profiler", "delegated"])
def test_outputs_in_another_order_by_the_runtimes_own_profiler(file, call):
    found = in_a_process_of_its_own(with_another_output(file), call, another=np.tanh(X))
    assert len(found["ops"]) >= 5


@PROFILER
@pytest.mark.slow
def test_xnnpacks_ops_by_the_runtimes_own_profiler(file):
    found = in_a_process_of_its_own(file, "delegated")
    assert found["xnnpack"] is True
    assert {row["by"] for row in found["ops"]} <= {"XNNPACK", "LiteRT"}
    assert sum("Fully Connected" in row["name"] for row in found["ops"]) == 2
