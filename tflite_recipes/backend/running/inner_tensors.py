"""A `.tflite` in LiteRT whose inner tensors can be read after an invoke."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflite_recipes.backend.running import runtime
from tflite_recipes.backend.running.runtime_messages import in_words
from tflite_recipes.core.errors import Problem, StepError


class InnerTensors:
    """A file without delegates that keeps every tensor of one subgraph, so that memory holds all of them at once."""

    def __init__(self, path: Path, signature: str, graph: int) -> None:
        try:
            self._made = Interpreter(
                model_path=str(path),
                num_threads=2,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._runner = self._made.get_signature_runner(signature)
        except (RuntimeError, ValueError, KeyError) as error:
            raise _refusal("load", path, error) from error
        self._path, self._graph, self._ran = path, graph, False
        self._inputs = self._runner.get_input_details()
        fixed = [int(d["shape_signature"][0]) for d in self._inputs.values() if len(d["shape_signature"])]
        self.batch = max([size for size in fixed if size > 0], default=1)

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke once on real values by input name, and return outputs as the file stores them. Errors: StepError."""
        if missing := [name for name in self._inputs if name not in arrays]:
            raise StepError(Problem(f"the samples lack the inputs {', '.join(missing)}", "optimization"))
        part = {name: runtime.quantize(arrays[name], details) for name, details in self._inputs.items()}
        try:
            if self._ran:  # before the first invoke nothing is allocated, and nothing to reset
                self._made.reset_all_variables()
            outputs = dict(self._runner(**part))
            self._ran = True
        except (RuntimeError, ValueError) as error:
            raise _refusal("run", self._path, error) from error
        return outputs

    def values(self, index: int) -> Any:
        """A tensor's values as stored; None for one that LiteRT did not compute."""
        try:
            return self._made.get_tensor(index, self._graph)
        except (RuntimeError, ValueError):
            return None


def _refusal(what: str, path: Path, error: Exception) -> StepError:
    return StepError(Problem(f"LiteRT cannot {what} {path.name}: {in_words(error, path)}", "optimization"))
