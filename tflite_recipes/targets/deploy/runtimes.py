"""Which runtime a file needs, and by which names application developers find it and what goes with it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).parent / "op_runtimes.txt"

# By platform. Kotlin: developers.google.com/edge/litert/android (the Interpreter is in 1.4.2, and in 2.1 and later for
# the CPU). Swift: the podspecs under tflite/ios and tflite/swift of github.com/google-ai-edge/LiteRT; the C API, as
# `Tensor.DataType` of the Swift library knows no int8 (tflite/swift/Sources/Tensor.swift, commit f677574). C++:
# tflite/c/c_api.h, whose ABI is kept stable, and tflite/c/CMakeLists.txt.
RUNTIME = {
    "python": "pip install ai-edge-litert",
    "android": 'implementation("com.google.ai.edge.litert:litert:1.4.2")',
    "ios": "pod 'TensorFlowLiteC'",
    "c++": "tensorflowlite_c, built with CMake or Bazel from github.com/google-ai-edge/LiteRT (tflite/c)",
}
# Source: tflite/g3doc/guide/ops_select.md of the same repository, and the releases on Maven Central (the last is of
# TensorFlow 2.16.1) and of CocoaPods.
FLEX_RELEASE = "2.16.1"
FLEX = {
    "python": "no released wheel runs files with select TF ops of TensorFlow 2.21",
    "android": f'implementation("org.tensorflow:tensorflow-lite:{FLEX_RELEASE}") and '
    f'implementation("org.tensorflow:tensorflow-lite-select-tf-ops:{FLEX_RELEASE}") in place of litert, or AARs of '
    "your own by tensorflow/lite/tools/build_aar.sh --input_models=model.tflite",
    "ios": "pod 'TensorFlowLiteSelectTfOps', and its framework behind -force_load in Other Linker Flags",
    "c++": "tensorflow/lite/delegates/flex:delegate in the deps of the Bazel target; it registers itself",
}
# Source: developers.google.com/edge/litert/android/gpu and .../ios/gpu.
GPU = {
    "android": 'implementation("com.google.ai.edge.litert:litert-gpu:1.4.2")',
    "ios": "pod 'TensorFlowLiteC/Metal'",
    "c++": "tflite/delegates/gpu:delegate in the deps of the Bazel target",
}


@functools.cache
def op_runtimes() -> Mapping[tuple[str, int], str]:
    """The first TensorFlow Lite release that runs an op, by the op's name and version."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    pairs = [(op, *entry.split(":")) for op, *entries in rows for entry in entries]
    return {(op, int(version)): release for op, version, release in pairs}


def minimum_runtime(stated: str, versions: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """The oldest TensorFlow Lite release that can run a file, None where it is not known, and where this is from.

    stated: what the file says itself, "" where it does not. versions: its builtin ops with their versions. The newer of
    both counts: what quantizes a converted file raises the versions of its ops, and leaves the statement as it was.
    """
    table = op_runtimes()
    known: list[tuple[str, int]] = []
    unknown: list[tuple[str, int]] = []
    for op in set(versions):
        (known if op in table else unknown).append(op)
    of_ops = max((table[op] for op in known), key=_parts, default="")
    if of_ops and (older(stated, of_ops) if stated else not unknown):
        beside = f"; its own entry min_runtime_version says {stated}" if stated else ""
        return {"version": of_ops, "from": f"the versions of its ops{beside}"}
    if stated:
        return {"version": stated, "from": "the file's own entry min_runtime_version"}
    names = ", ".join(f"{op} of version {version}" for op, version in sorted(unknown))
    why = f", and not known of {names}" if unknown else ""
    return {"version": None, "from": f"not stated by the file{why}"}


def older(release: str, than: str) -> bool:
    """Whether a release came before another."""
    return _parts(release) < _parts(than)


def _parts(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdigit())
