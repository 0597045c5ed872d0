"""Swaps on the layers of a Keras model, before it is traced: the user's own replacements, text vectorization cut off,
LSTMs in the form that the converter fuses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import keras
import tensorflow as tf

from tflite_recipes.backend.models import lstm_fusion, named_model
from tflite_recipes.backend.models.graph_substitution import as_array, hold_against
from tflite_recipes.backend.models.source_model import Model, of_keras
from tflite_recipes.conversion.remedies import TOLERANCE
from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RequestError, StepError, assignment, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import misfit, raised
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz

_ROWS = 4
VOCABULARY = "vocabulary.txt"


def _library(model: Model) -> Any:
    """The Keras that the model is of."""
    return keras if model.generation == 3 else importlib.import_module("tf_keras")


def _cloneable(model: Model, what: str) -> Any:
    """The Keras model of connected layers. Errors: RequestError for any other."""
    owner = model.owner
    if model.generation in (2, 3) and getattr(owner, "inputs", None):
        return owner
    kind = "a subclassed model" if model.generation in (2, 3) else "no Keras model"
    fix = "substitution=none"
    raise RequestError(
        Problem(f"{what} works on Functional and Sequential models, and this is {kind}", "substitution", fix)
    )


def _cloned(model: Model, swap: Callable[[Any], Any]) -> Model:
    """The model with `swap` of each layer in its place, at any depth. The layers that stay are shared, with all that
    they hold, vocabularies and statistics too."""
    owner = _cloneable(model, "replacing layers")
    library = _library(model)

    def clone(layer: Any) -> Any:
        if not hasattr(layer, "get_weights"):  # an operator (`a * b`), which holds nothing
            return layer
        made = swap(layer)
        # Keras 3 asks for nested models too, and does not look into them.
        if made is layer and isinstance(layer, library.Model) and getattr(layer, "inputs", None):
            return library.models.clone_model(layer, clone_function=clone)
        return made

    copy = library.models.clone_model(owner, clone_function=clone)
    shapes = {spec.name: list(spec.shape) for spec in model.inputs}
    return replace(of_keras(copy, shapes, model.generation), rules=model.rules, fused=model.fused)


def replaced(model: Model, layers: Mapping[str, str], reporter: Reporter) -> Model:
    """The model with the user's replacements. Errors: RequestError for a name that matches no layer or a replacement
    that does not fit; StepError where outputs are no longer the same."""
    used: dict[str, list[str]] = {pattern: [] for pattern in layers}
    functions = {pattern: _function(pattern, target) for pattern, target in layers.items()}

    def swap(layer: Any) -> Any:
        pattern = _pattern(layer.name, functions)
        if pattern is None:
            return layer
        used[pattern].append(layer.name)
        return _called(functions[pattern], layer, pattern)

    try:
        made = _cloned(model, swap)
    except (ValueError, TypeError) as error:
        raise RequestError(Problem(f"the model cannot be built again: {gist(error)}", "substitution.layers")) from error
    _check_used(model, used)
    made = _with_names(made, model.outputs)
    for pattern, names in used.items():
        reporter.progress(f"replaced {', '.join(names)} by {layers[pattern]}", 1, 1)
    _check_parity(model, made, f"after replacing {', '.join(n for names in used.values() for n in names)}", reporter)
    return made


def _with_names(model: Model, names: tuple[str, ...]) -> Model:
    """The model with its outputs called so, in their order: a replacement may be named otherwise."""
    inner = model.call

    def call(**tensors: Any) -> dict[str, Any]:
        return dict(zip(names, inner(**tensors).values(), strict=True))

    return replace(model, call=call, outputs=names)


def _pattern(name: str, patterns: Iterable[str]) -> str | None:
    """The pattern that a layer's name matches: the name itself before any other. Errors: RequestError for two."""
    found = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
    if name in found or not found:
        return name if found else None
    if len(found) > 1:
        what = f"the layer {name} matches {' and '.join(found)}"
        where = f"substitution.layers.{found[1]}"
        raise RequestError(Problem(what, where, assignment(f"~substitution.layers.{found[1]}", ...)))
    return found[0]


def _function(pattern: str, target: str) -> Callable[[Any], Any]:
    where = f"substitution.layers.{pattern}"
    try:
        function: Callable[[Any], Any] = schema.load_target(target)
    except RequestError as error:
        raise RequestError([replace(problem, where=where) for problem in error.problems]) from error
    return function


def _called(function: Callable[[Any], Any], layer: Any, pattern: str) -> Any:
    if wrong := misfit(function, layer):
        what = f"the function for {layer.name} {wrong}, the layer"
        raise RequestError(Problem(what, f"substitution.layers.{pattern}"))
    try:
        made = function(layer)
    except Exception as error:
        what = f"the replacement of {layer.name} failed: {raised(error)}"
        raise RequestError(Problem(what, f"substitution.layers.{pattern}")) from error
    if not callable(made) or not hasattr(made, "get_weights"):
        what = f"the replacement of {layer.name} gave {type(made).__name__}, not a layer"
        raise RequestError(Problem(what, f"substitution.layers.{pattern}"))
    return made


def _check_used(model: Model, used: Mapping[str, list[str]]) -> None:
    missing = [pattern for pattern, names in used.items() if not names]
    if missing:
        similar = schema.near(missing[0], sorted(model.layers))
        hint = f"; did you mean {' or '.join(similar)}?" if similar else f"; it has {', '.join(sorted(model.layers))}"
        fix = assignment(f"~substitution.layers.{missing[0]}", ...)
        raise RequestError(Problem(f"no layer is named {missing[0]}{hint}", f"substitution.layers.{missing[0]}", fix))


def _check_parity(before: Model, after: Model, when: str, reporter: Reporter) -> None:
    """Hold the outputs of both against each other, in their order, on seeded random inputs. Errors: StepError."""
    fixed = [spec.shape[0] for spec in before.inputs if spec.shape and spec.shape[0] is not None]
    inputs = npz.with_sizes(before.inputs, {})
    arrays = npz.random_arrays(inputs, max(fixed, default=_ROWS), 0, 0.0, 1.0)
    given = {spec.name: tf.constant(arrays[spec.name], spec.dtype) for spec in before.inputs}
    old, new = ([as_array(value) for value in model.call(**given).values()] for model in (before, after))
    named = dict(zip(before.outputs, old, strict=True)), dict(zip(before.outputs, new, strict=True))
    hold_against(*named, TOLERANCE, when, "substitution=none", reporter)


def token_ids(state: State, reporter: Reporter) -> State:
    """The state with the model from behind its text vectorization on: it takes token ids, and the vocabulary lies
    beside it, one token a line, the line's number its id. What was cut off is kept for evaluations on text."""
    model, workdir = state.model, state.workdir
    owner = _cloneable(model, "token_ids")
    library = _library(model)
    kind = library.layers
    found = [layer for layer in owner.layers if isinstance(layer, (kind.TextVectorization, kind.StringLookup))]
    if not found:
        what = "token_ids matched nothing: no TextVectorization or StringLookup layer stands in the model"
        raise RequestError(Problem(what, "substitution.rules", "substitution=none"))
    fed = {id(tensor): tensor for layer in found for tensor in _flat(layer.input)}
    inputs = [library.Input(tuple(layer.output.shape[1:]), dtype=_dtype(layer), name=layer.name) for layer in found]
    kept = [tensor for tensor in _flat(owner.inputs) if id(tensor) not in fed]
    try:
        new = _rewired(library, owner, found, inputs, kept)
    except KeyError as error:
        what = "token_ids cannot cut this model: its text goes into other layers too"
        raise RequestError(Problem(what, "substitution.rules", "conversion.select_tf_ops=true")) from error
    for layer in found:
        name = VOCABULARY if len(found) == 1 else f"{layer.name}_{VOCABULARY}"
        path = workdir / name
        path.write_text("\n".join(layer.get_vocabulary()) + "\n", encoding="utf-8")
        reporter.keep(str(path), "model")
        said = f"the file takes the token ids of {layer.name}; what gives them is {name}, one token a line"
        reporter.warn(f"{said}, {_standardized(layer)}")
    text = named_model.saved_text(_front(library, owner, found, model), workdir / "text")
    named = replace(state.named, text=text, inputs=state.named.inputs or model.inputs)
    made = replace(of_keras(new, {}, model.generation), rules=model.rules, fused=model.fused)
    return replace(state, model=made, named=named)


def _front(library: Any, owner: Any, found: list[Any], model: Model) -> Model:
    """What is cut off: from the inputs of the layers that were found to the token ids, by the layers' names."""
    if type(owner).__name__ == "Sequential":
        return of_keras(library.Model(owner.inputs[0], found[0].output), {}, model.generation)
    fed = {id(tensor) for layer in found for tensor in _flat(layer.input)}
    inputs = [tensor for tensor in _flat(owner.inputs) if id(tensor) in fed]
    return of_keras(library.Model(inputs, [layer.output for layer in found]), {}, model.generation)


def _dtype(layer: Any) -> str:
    name = layer.output.dtype
    return name if isinstance(name, str) else name.name


def _flat(structure: Any) -> list[Any]:
    return list(tf.nest.flatten(structure))


def _standardized(layer: Any) -> str:
    config = layer.get_config()
    words = [f"{key} {config[key]}" for key in ("standardize", "split", "ngrams", "output_mode") if config.get(key)]
    return f"made with {', '.join(words)}" if words else "looked up as it is"


def _rewired(library: Any, owner: Any, found: list[Any], inputs: list[Any], kept: list[Any]) -> Any:
    """The functional model from the outputs of `found` on; layers are shared, so weights are."""
    if type(owner).__name__ == "Sequential":
        hidden = inputs[0]
        for layer in owner.layers[owner.layers.index(found[0]) + 1 :]:
            hidden = layer(hidden)
        return library.Model(inputs[0], hidden)
    stand_ins = {id(layer.output): tensor for layer, tensor in zip(found, inputs, strict=True)}
    made = {id(tensor): tensor for tensor in kept} | stand_ins
    operations = owner.operations if hasattr(owner, "operations") else owner.layers
    for layer in operations:
        for node in layer._inbound_nodes:
            _replay(layer, node, made)
    outputs = tf.nest.map_structure(lambda tensor: made[id(tensor)], owner.output)
    return library.Model([*inputs, *kept], outputs)


def _replay(layer: Any, node: Any, made: dict[int, Any]) -> None:
    """Call a layer again on what its inputs have become, if all of them are there."""
    arguments = getattr(node, "arguments", None)
    args, kwargs = (arguments.args, arguments.kwargs) if arguments else (node.call_args, node.call_kwargs)
    before = _flat(node.output_tensors if hasattr(node, "output_tensors") else node.outputs)
    taken = _flat(node.input_tensors)
    if not taken or any(id(tensor) in made for tensor in before) or any(id(t) not in made for t in taken):
        return
    known = {id(tensor): made[id(tensor)] for tensor in taken}
    new_args, new_kwargs = tf.nest.map_structure(lambda value: known.get(id(value), value), (tuple(args), dict(kwargs)))
    for old, new in zip(before, _flat(layer(*new_args, **new_kwargs)), strict=True):
        made[id(old)] = new


def fused_lstm(model: Model, reporter: Reporter) -> Model:
    """Keras 3 LSTMs copied into the model's clone in tf_keras at batch 1, whose LSTMs the converter fuses.

    Whether the fused op computes what they compute is for freezing to check. Errors: RequestError, StepError.
    """
    import tf_keras

    owner = _cloneable(model, "fused_lstm")
    lstms = lstm_fusion.layers_of(owner)
    if not lstms:
        what = "fused_lstm matched nothing: no LSTM layer stands in the model"
        raise RequestError(Problem(what, "substitution.rules", "substitution=none"))
    shapes = {spec.name: [1, *spec.shape[1:]] for spec in model.inputs}
    if model.generation == 2:
        return replace(of_keras(owner, shapes, 2), rules=model.rules, fused=tuple(layer.name for layer in lstms))
    try:
        copy = _in_tf_keras(owner, tf_keras)
    except Exception as error:
        what = f"the model cannot be built in tf_keras: {gist(error)}"
        raise StepError(
            Problem(what, "substitution.rules", "substitution=rules 'substitution.rules=[unroll]'")
        ) from error
    fused = tuple(layer.name for layer in lstm_fusion.layers_of(copy))
    made = replace(of_keras(copy, shapes, 2), rules=model.rules, fused=fused)
    reporter.progress(f"rebuilt in tf_keras at batch 1 for {', '.join(layer.name for layer in lstms)}", 1, 1)
    try:
        _check_parity(replace(model, inputs=made.inputs), made, "after fused_lstm", reporter)
    except StepError:
        lstm_fusion.check_layers(lstms, model.unfused)  # whose message names the layer
        raise
    return made


# Keys that tf_keras does not know, and those that only matter in training, which both write in their own way.
_LEFT_OUT = ("quantization_config", "use_cudnn", "sparse", "ragged", "seed_generator", "zero_output_for_mask")
_LEFT_OUT += ("_initializer", "_regularizer", "_constraint")


def _in_tf_keras(owner: Any, tf_keras: Any) -> Any:
    """A stack of layers, each in tf_keras with the same config and weights. Errors: whatever tf_keras raises."""
    hidden = first = tf_keras.Input(
        tuple(owner.inputs[0].shape[1:]), batch_size=1, name=owner.inputs[0]._keras_history.operation.name
    )
    if len(owner.inputs) != 1 or len(_flat(owner.outputs)) != 1:
        raise ValueError("it has several inputs or outputs")
    layers = [layer for layer in owner.layers if type(layer).__name__ != "InputLayer"]
    for before, layer in zip([None, *layers], layers, strict=False):
        chained = type(owner).__name__ == "Sequential" or before is None or layer.input is before.output
        if not chained:
            raise ValueError(f"its layers are no plain stack at {layer.name}")
        made = _layer_in_tf_keras(layer, tf_keras)
        hidden = made(hidden)
        made.set_weights(layer.get_weights())
    return tf_keras.Model(first, hidden)


def _layer_in_tf_keras(layer: Any, tf_keras: Any) -> Any:
    kind = getattr(tf_keras.layers, type(layer).__name__)
    config = {key: value for key, value in layer.get_config().items() if not key.endswith(_LEFT_OUT)}
    if "layer" in config:  # a wrapper
        inner = _layer_in_tf_keras(getattr(layer, "forward_layer", None) or layer.layer, tf_keras)
        return kind(
            inner, name=layer.name, **({"merge_mode": layer.merge_mode} if hasattr(layer, "merge_mode") else {})
        )
    config["dtype"] = "float32"
    return kind.from_config(config)


RULES: dict[str, Callable[[Model, Reporter], Model]] = {"fused_lstm": fused_lstm}
