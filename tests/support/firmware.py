"""Builds the sources of `deploy/`, and says against what.

Each test that builds tells by its name what TensorFlow Lite Micro is there: `stubs` are the few declarations in
tests/tflm_stubs, with an interpreter that hands inputs on to outputs; `tflm` is the real one, whose sources TFLM_DIR
names, with its library built there:

    TFLM_DIR=/path/to/tflite-micro pytest tests/targets/deploy/test_firmware.py tests/steps/test_micro_deploy.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.checkout import REPOSITORY

STUBS = REPOSITORY / "tests" / "support" / "tflm_stubs"
TFLM = os.environ.get("TFLM_DIR", "")
_TOOLS_MISSING = not all(map(shutil.which, ("g++", "make", "ar")))
_NOT_HERE = "TFLM_DIR does not name TensorFlow Lite Micro's sources: built against stubs only, and not run"
EITHER = ["stubs", pytest.param("tflm", marks=pytest.mark.skipif(not TFLM, reason=_NOT_HERE))]


def builds(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that builds."""
    return pytest.mark.slow(pytest.mark.skipif(_TOOLS_MISSING, reason="no g++, make or ar here")(test))


def made(
    folder: Path, texts: Mapping[str, str], *settings: str, tflm: str = "", goal: str = "run"
) -> subprocess.CompletedProcess[str]:
    """`make GOAL` in a folder with these texts."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = ["make", f"TFLM_DIR={tflm or STUBS}", "CXX=g++", *settings, goal]
    if not tflm:
        subprocess.run(["ar", "rc", "empty.a"], cwd=folder, check=True, timeout=60)
        command.append("TFLM_LIB=empty.a")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def status(done: subprocess.CompletedProcess[str]) -> int:
    """Of main: make says it, and ends with 2 itself."""
    said = re.search(r"\[Makefile:\d+: run\] Error (\d+)", done.stderr)
    assert said or not done.returncode, done.stdout + done.stderr
    return int(said[1]) if said else 0


def subtraction(path: Path) -> Path:
    """y = a - b in int8, each with a scale of its own, where `b` comes first in the file's list of inputs; the batch
    is 2. Its signature calls them left, right and difference."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SUB
    code.version, model.operatorCodes = 2, [code]
    graph.tensors = []
    for name, scale in (("a", 0.5), ("b", 0.25), ("y", 1.0)):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = f"{name}:0", [2, 3], schema.TensorType.INT8, 0
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [3]
        graph.tensors.append(made)
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1], [2]
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.SubOptions, schema.SubOptionsT()
    graph.operators, graph.inputs, graph.outputs = [op], [1, 0], [2]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_port("right", 1), _port("left", 0)]
    signature.outputs = [_port("difference", 2)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _port(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made
