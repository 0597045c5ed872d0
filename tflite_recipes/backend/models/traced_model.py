"""A model as a traced function with named inputs and outputs, and the same with its variables as constants."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from tflite_recipes.backend.models.rewriting import branches
from tflite_recipes.conversion.diagnosis import open_sizes, sizes_given
from tflite_recipes.core.errors import Problem, StepError, gist
from tflite_recipes.core.state import TensorSpec

_LONGEST = 300


@dataclass(frozen=True)
class Traced:
    """A function of named tensors.

    concrete: TensorFlow's ConcreteFunction; its graph's inputs are `inputs` in order of name (then what it captures),
    its outputs are `outputs` in order of name. function: what it was traced from; None where it was frozen, which
    takes and gives flat lists.
    """

    concrete: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    function: Any = None

    @property
    def graph(self) -> Any:
        return self.concrete.graph

    def __call__(self, **tensors: Any) -> dict[str, Any]:
        if self.function is not None:
            return dict(self.concrete(**tensors))
        results = tf.nest.flatten(self.concrete(*[tensors[name] for name in sorted(tensors)]))
        by_name = dict(zip(sorted(self.outputs), results, strict=True))
        return {name: by_name[name] for name in self.outputs}

    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of the outputs, in the source's order."""
        tensors = dict(zip(sorted(self.outputs), self.graph.outputs, strict=True))
        return tuple(
            TensorSpec(name, tuple(t.shape) if t.shape.rank is not None else (), t.dtype.name)
            for name, t in ((name, tensors[name]) for name in self.outputs)
        )


def trace(
    call: Callable[..., Mapping[str, Any]],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[str, ...],
    sizes: Mapping[str, Any] | None = None,
) -> Traced:
    """The function of a model, traced for these inputs. `sizes`: shapes of samples, by input, for what goes wrong.
    Errors: StepError."""

    def named(**tensors: Any) -> dict[str, Any]:
        # A tensor of its own for each output: the same one may be given twice, or be an input.
        return {name: tf.identity(tensor) for name, tensor in call(**tensors).items()}

    function = tf.function(named, autograph=False)
    try:
        concrete = function.get_concrete_function(**tensor_specs(inputs))
    except Exception as error:
        raise StepError(_untraceable(error, inputs, sizes or {})) from error
    return Traced(concrete, inputs, outputs, function)


def tensor_specs(inputs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    """TensorFlow's specs by input name."""
    return {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=_graph_name(spec.name)) for spec in inputs}


def _graph_name(name: str) -> str:
    """Graph names allow fewer characters than signature names."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return clean if clean[:1].isalnum() else f"x{clean}"


def _untraceable(error: Exception, inputs: tuple[TensorSpec, ...], sizes: Mapping[str, Any]) -> Problem:
    if isinstance(error, KeyError) and error.args and error.args[0] in {spec.name for spec in inputs}:
        what = f"the input {error.args[0]!r} has a name that a signature cannot hold: give its layer a plain one"
        return Problem(what, "source")
    # TensorFlow goes on with advice on how to write the model anew.
    what = f"the model cannot be traced: {gist(error).partition(' You can attempt')[0][:_LONGEST]}"
    if dynamic := open_sizes(inputs):
        what += f"; sizes are open: {', '.join(map(str, dynamic))}"
        return Problem(what, "source.input_shapes", *sizes_given(dynamic, sizes))
    return Problem(what, "freeze")


def frozen(traced: Traced) -> Traced:
    """The function with its variables as constants: TensorFlow's `convert_variables_to_constants_v2`, but for the
    names of what it captured. Errors: StepError."""
    try:
        with _choices_whole():
            # Control flow stays functional, so that the converter still sees loops as loops.
            data = convert_to_constants._FunctionConverterDataInEager(
                func=traced.concrete, lower_control_flow=False, aggressive_inlining=False
            )
            graph, given = convert_to_constants._replace_variables_by_constants(converter_data=data)
        _name_captures(graph)
        concrete = convert_to_constants._construct_concrete_function(traced.concrete, graph, given)
    except Exception as error:
        what = f"the variables cannot be frozen: {gist(error)}"
        raise StepError(Problem(what, "freeze", "freeze.variables=keep")) from error
    return Traced(concrete, traced.inputs, traced.outputs)


@contextlib.contextmanager
def _choices_whole() -> Iterator[None]:
    """Have TensorFlow leave choices by a number as they are too; it forgets them in its list of control flow."""
    before = convert_to_constants._CONTROL_FLOW_OPS
    convert_to_constants._CONTROL_FLOW_OPS = before.union(branches.BY_NUMBER)
    try:
        yield
    finally:
        convert_to_constants._CONTROL_FLOW_OPS = before


def _name_captures(graph: Any) -> None:
    """Number what a function captured in the order of capture, in place. TensorFlow names it by a count of all that the
    process made so far, and such a name goes on into the file, which would differ from process to process."""
    captured = (node.name for node in graph.node if node.op == "Const" and node.name.isdecimal())
    counted = sorted(captured, key=int)
    named = {old: f"captured_{number}" for number, old in enumerate(counted)}
    for node in graph.node:
        node.name = named.get(node.name, node.name)
        for position, given in enumerate(node.input):
            mark = given[: given.startswith("^")]
            name, colon, port = given[len(mark) :].partition(":")
            if name in named:
                node.input[position] = f"{mark}{named[name]}{colon}{port}"
        _rename_neighbours(node, named)


_NEIGHBOUR = "loc:@"  # how a node names one that it is to be placed beside


def _rename_neighbours(node: Any, named: Mapping[str, str]) -> None:
    beside = node.attr["_class"].list.s if "_class" in node.attr else []
    for position, text in enumerate(beside):
        name = text.decode().removeprefix(_NEIGHBOUR)
        if name in named:
            beside[position] = f"{_NEIGHBOUR}{named[name]}".encode()
