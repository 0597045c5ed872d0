"""The tables of TensorFlow Lite Micro's kernels and their code, asked again of its interpreter."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import micro_files
from support.checkout import REPOSITORY

from tflite_recipes.files.tflite import Operator, read_tflite
from tflite_recipes.targets.micro import code_sizes
from tflite_recipes.targets.micro.kernels import ADD_METHODS, CUSTOM_ADD_METHODS, KERNELS, add_methods, has_kernel

pytest.importorskip("tflite_micro", reason="the extra `micro` is not installed")


@pytest.mark.slow
def test_the_installed_interpreter_has_the_same_kernels():
    script = REPOSITORY / "benchmarks" / "probe_micro_kernels.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    answers = json.loads(done.stdout)
    assert {op for op, there in answers.items() if there} == KERNELS
    assert len(answers) > 200
    assert not answers["CONV_3D"]


def test_every_kernel_has_a_method_of_its_own():
    assert ADD_METHODS.keys() == KERNELS
    methods = [*ADD_METHODS.values(), *CUSTOM_ADD_METHODS.values()]
    assert len(set(methods)) == len(methods)
    assert ADD_METHODS["CONV_2D"] == "AddConv2D"
    assert ADD_METHODS["BATCH_MATMUL"] == "AddBatchMatMul"
    assert ADD_METHODS["SPACE_TO_BATCH_ND"] == "AddSpaceToBatchNd"


def test_methods_of_a_file_each_once_and_sorted(tmp_path):
    file = read_tflite(micro_files.dense(tmp_path / "x.tflite", after="DEQUANTIZE"))
    assert add_methods(file) == ("AddDequantize", "AddFullyConnected")
    assert add_methods(read_tflite(micro_files.dense(tmp_path / "x.tflite", after="SignalRfft")))[-1] == "AddRfft"
    with pytest.raises(KeyError, match="GELU"):
        add_methods(read_tflite(micro_files.dense(tmp_path / "x.tflite", after="GELU")))


def test_which_ops_have_a_kernel():
    def op(name, custom=""):
        return has_kernel(Operator(0, name, custom, (), ()))

    assert op("CONV_2D")
    assert op("CUSTOM", "TFLite_Detection_PostProcess")
    assert not op("CONV_3D")
    assert not op("CUSTOM", "MyOp")
    assert not op("CUSTOM", "FlexErf")


def test_every_kernel_has_a_size():
    assert code_sizes.KERNEL_BYTES.keys() == KERNELS
    assert all(200 < size < 20_000 for size in code_sizes.KERNEL_BYTES.values())


SOME = st.sets(st.sampled_from(sorted(KERNELS)), min_size=1, max_size=8)


@given(SOME, SOME)
def test_code_that_kernels_share_counts_once(one, other):
    def size(ops):
        return sum(part for part, users in code_sizes.PARTS if users & ops)

    assert max(size(one), size(other)) <= size(one | other) <= size(one) + size(other)
    assert size(one) <= sum(code_sizes.KERNEL_BYTES[op] for op in one)


def test_an_unknown_op_stands_at_the_median_and_is_named(tmp_path):
    plain = read_tflite(micro_files.dense(tmp_path / "plain.tflite"))
    file = read_tflite(micro_files.dense(tmp_path / "custom.tflite", after="MyOp"))
    assert code_sizes.code_bytes(file) - code_sizes.code_bytes(plain) == code_sizes.MEDIAN_BYTES
    assert code_sizes.to_json(file)["median_stands_for"] == ["MyOp"]
    assert code_sizes.to_json(plain)["median_stands_for"] == []


def test_linked_resolvers_are_met(shared):
    """25,088 B beyond the core, linked for real with the six kernels of the keyword spotter."""
    file = read_tflite(shared / "models" / "kws_int8.tflite")
    assert code_sizes.code_bytes(file) - code_sizes.CORE_BYTES == pytest.approx(25_088, rel=0.01)
