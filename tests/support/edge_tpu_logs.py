"""Logs in the form that the Edge TPU's compiler prints them."""

from __future__ import annotations

# The figures are made up, the lines are those of compiler 16.0.
LOG = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 42 ms.

Input model: model.tflite
Input size: 26.88KiB
Output model: model_edgetpu.tflite
Output size: 53.16KiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 7.75KiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 7
Operation log: model_edgetpu.log

Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
MAX_POOL_2D                    1          Mapped to Edge TPU
FULLY_CONNECTED                1          More than one subgraph is not supported
FULLY_CONNECTED                1          Mapped to Edge TPU
QUANTIZE                       2          Operation is otherwise supported, but not mapped due to some unspecified \
limitation
Compilation child process completed within timeout period.
Compilation succeeded!
"""


FAILED = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized tensors.
Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in Tflite interpreter.
Compilation child process completed within timeout period.
Compilation failed!
"""
