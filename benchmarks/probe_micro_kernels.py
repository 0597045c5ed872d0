"""Asks the tflite-micro interpreter which builtin ops it has kernels for:
the table `tflite_recipes/targets/micro/kernels.py`.

    python benchmarks/probe_micro_kernels.py            prints {op: whether there is a kernel} as JSON
    python benchmarks/probe_micro_kernels.py --write    writes the ops into the table, as ADD_METHODS has to name them

Each op of the file format is put alone into a file, between tensors that suit few of them, and loaded in a process of
its own, because a kernel may take that down. "Didn't find op for builtin opcode" means that there is none; whatever
else is said, or ends the process, means that its kernel was reached.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

TABLE = Path(__file__).resolve().parents[1] / "tflite_recipes" / "targets" / "micro" / "kernels.py"
MISSING = b"Didn't find op for builtin opcode"
# The placeholders of the format, and what is told by another field than the builtin code.
NO_OPS = ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES", "DELEGATE")
ARENA_BYTES = 1 << 20


def builtin_codes() -> dict[str, int]:
    """The builtin codes of the file format by name."""
    found = {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    return {name: code for name, code in found.items() if name not in NO_OPS}


def file_with(code: int) -> bytes:
    """A `.tflite` whose only op has this builtin code: two float32 tensors of four numbers in, one out."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    op_code = schema.OperatorCodeT()
    op_code.builtinCode, op_code.deprecatedBuiltinCode, op_code.version = code, min(code, 127), 1
    model.operatorCodes = [op_code]
    graph = schema.SubGraphT()
    for name in ("a", "b", "c"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4], schema.TensorType.FLOAT32, 0
        graph.tensors = [*(graph.tensors or []), tensor]
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1], [2]
    graph.operators, graph.inputs, graph.outputs = [op], [0, 1], [2]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def has_kernel(code: int) -> bool:
    """Whether the interpreter finds a kernel for this builtin code."""
    from tflite_micro.python.tflite_micro import runtime

    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            try:
                runtime.Interpreter.from_bytes(file_with(code), arena_size=ARENA_BYTES)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said.seek(0)
        return MISSING not in said.read()


def write(found: dict[str, bool]) -> None:
    """Puts the names into the table's KERNELS."""
    import textwrap

    names = textwrap.fill(" ".join(sorted(name for name, there in found.items() if there)), 110)
    block = 'KERNELS = frozenset(\n    """\n' + textwrap.indent(names, "    ") + '\n    """.split()'
    text = TABLE.read_text(encoding="utf-8")
    changed = re.sub(r'KERNELS = frozenset\(\n    """\n.*?\n    """\.split\(\)', lambda _: block, text, flags=re.S)
    TABLE.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    answers = {name: has_kernel(code) for name, code in builtin_codes().items()}
    if sys.argv[1:] == ["--write"]:
        write(answers)
    else:
        print(json.dumps(answers, indent=1))
