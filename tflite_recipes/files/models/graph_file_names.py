"""Where a SavedModel's graph takes the names of the files from that its ops read.

A name is allowed where the loader chooses it: the saver's for variables, an asset's for a table. It has to reach the op
unchanged: through an Identity, as an argument of a function, or in a variable that holds nothing else. Any other could
name every file of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

# Ops that read the file whose name is this input of theirs.
_RESTORING = {"Restore": 0, "RestoreSlice": 0, "RestoreV2": 0}
_FILLING = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1}
READING = {**_RESTORING, **_FILLING}
# Ops whose result names the file, or the parts of the file, that their first input names.
_PASSING = frozenset({"Identity", "ShardedFilename", "ShardedFilespec"})
_STRING = 7  # of DataType
# The signature that TensorFlow 2 has for the op that initializes.
_INITIALIZING = "__saved_model_init_op"
# Ops that call functions, and how many of their inputs come before the arguments.
_BEFORE_ARGUMENTS = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), 0),
    **dict.fromkeys(("If", "StatelessIf", "Case", "StatelessCase"), 1),
}

# Of a function, the numbers of arguments that must be names of files, each with the op that reads the file.
_Needs = set[tuple[int, str]]


def readers_of_other_files(meta: Any, assets: Iterable[str]) -> Iterator[str]:
    """Yield the ops of a MetaGraphDef that read files whose names the loader does not choose.

    The loader gives the names while it restores variables and fills tables. So ops that read files count as well if a
    signature or, for variables, an initializer runs them.

    assets: the tensors that the loader gives the paths of assets to.
    """
    functions = {function.signature.name: function for function in meta.graph.library.functions}
    needs, found = _needs(functions)
    yield from found
    nodes = {node.name: node for node in meta.graph.nodes}
    given = {bare(name) for name in assets}
    chosen = dict.fromkeys(_FILLING, given)
    chosen |= {op: {bare(meta.saver.filename)} for op in _RESTORING}
    by_variable = _variables_hold_assets(given, functions, nodes)
    for node in meta.graph.nodes:
        for name, op in _names_of_files(node, needs):
            origin = "" if name is None else _origin(name, nodes, chosen[op])
            held = by_variable and op in _FILLING and origin in nodes and nodes[origin].op == "ReadVariableOp"
            if origin not in chosen[op] and not held:
                yield op
    yield from _captured(meta, functions, needs)
    yield from _run_too_late(meta, nodes, functions)


def bare(name: str) -> str:
    """Return the name of the op that a tensor or a control input comes from."""
    return name.removeprefix("^").partition(":")[0]


def called(node: Any) -> set[str]:
    """Return the functions that a node names: in attributes, or as its op."""
    names = {node.op}
    for pair in node.attributes:
        names |= {pair.value.func.name, *(each.name for each in pair.value.list.func)}
    return names


def calling(functions: Mapping[str, Sequence[Any]], wanted: Callable[[str], bool]) -> set[str]:
    """Return the functions with an op of a wanted type, and those that call one of these. functions: nodes by name."""
    found = {name for name, nodes in functions.items() if any(wanted(node.op) for node in nodes)}
    calls = {name: set().union(*map(called, nodes)) for name, nodes in functions.items()}
    while more := {name for name, names in calls.items() if name not in found and names & found}:
        found |= more
    return found


def signature_tensors(meta: Any) -> dict[str, list[str]]:
    """Return the names of the tensors of each signature, by its key."""
    return {
        pair.key: [tensor.value.name for side in (pair.value.inputs, pair.value.outputs) for tensor in side]
        for pair in meta.signatures
    }


def initializers(meta: Any) -> list[str]:
    """Return the names that collections hold, among which are the ops that initialize."""
    return [name for pair in meta.collections for name in pair.value.nodes.value]


def behind(starts: Iterable[str], nodes: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes of these names, and all that they take."""
    seen: set[str] = set()
    todo = list(starts)
    while todo:
        name = bare(todo.pop())
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        todo += nodes[name].inputs


def _needs(functions: Mapping[str, Any]) -> tuple[dict[str, _Needs], set[str]]:
    """Return what each function needs, and the ops that get a name from anywhere but an argument."""
    needs: dict[str, _Needs] = {name: set() for name in functions}
    found: set[str] = set()
    before = -1
    while before != sum(map(len, needs.values())):
        before = sum(map(len, needs.values()))
        for function_name, function in functions.items():
            nodes = {node.name: node for node in function.nodes}
            arguments = [argument.name for argument in function.signature.inputs]
            for node in function.nodes:
                for name, op in _names_of_files(node, needs):
                    origin = None if name is None else _origin(name, nodes, ())
                    if origin in arguments and origin not in nodes:
                        needs[function_name].add((arguments.index(origin), op))
                    else:
                        found.add(op)
    return needs, found


def _names_of_files(node: Any, needs: Mapping[str, _Needs]) -> Iterator[tuple[str | None, str]]:
    """Yield the inputs of a node that are names of files, each with the op that reads the file.

    None stands for one that cannot be told, because the op calls functions in a way of its own, such as a loop.
    """
    inputs = [name for name in node.inputs if not name.startswith("^")]
    if node.op in READING:
        yield _item(inputs, READING[node.op]), node.op
    for function in called(node) & needs.keys():
        first = 0 if node.op == function else _BEFORE_ARGUMENTS.get(node.op)
        for number, op in needs[function]:
            yield None if first is None else _item(inputs, first + number), op


def _item(names: Sequence[str], number: int) -> str | None:
    return names[number] if number < len(names) else None


def _origin(name: str, nodes: Mapping[str, Any], chosen: Iterable[str]) -> str:
    """Return the node or the argument that a name comes from unchanged."""
    seen: set[str] = set()
    name = bare(name)
    while name not in chosen and name not in seen and name in nodes and nodes[name].op in _PASSING:
        seen.add(name)
        name = bare(nodes[name].inputs[0]) if nodes[name].inputs else ""
    return name


def _variables_hold_assets(assets: Set[str], functions: Mapping[str, Any], nodes: Mapping[str, Any]) -> bool:
    """Return whether nothing but assets is written to variables of text, as `tf.saved_model.save` writes them."""
    if any(_writes_text(node) for function in functions.values() for node in function.nodes):
        return False
    written = [node for node in nodes.values() if _writes_text(node)]
    return all(
        node.op == "AssignVariableOp" and _origin(_item(list(node.inputs), 1) or "", nodes, assets) in assets
        for node in written
    )


def _writes_text(node: Any) -> bool:
    """Return whether an op writes text to a variable. All that do, but the one that assigns, are called Resource…"""
    writes = node.op == "AssignVariableOp" or node.op.startswith("Resource")
    return writes and any(pair.key == "dtype" and pair.value.type == _STRING for pair in node.attributes)


def _captured(meta: Any, functions: Mapping[str, Any], needs: Mapping[str, _Needs]) -> Iterator[str]:
    """Yield the ops of functions in the object graph, whose last arguments are objects that they captured."""
    objects = list(meta.objects.nodes)
    for concrete in meta.objects.concrete:
        if concrete.key not in functions:
            continue
        bound = list(concrete.value.bound)
        first = len(functions[concrete.key].signature.inputs) - len(bound)
        for number, op in needs[concrete.key]:
            place = bound[number - first] if 0 <= number - first < len(bound) else -1
            is_asset = 0 <= place < len(objects) and objects[place].HasField("asset")
            if not (is_asset and op in _FILLING):
                yield op


def _run_too_late(meta: Any, nodes: Mapping[str, Any], functions: Mapping[str, Any]) -> Iterator[str]:
    tensors = signature_tensors(meta)
    initializing = [*initializers(meta), *tensors.pop(_INITIALIZING, [])]
    outputs = [name for names in tensors.values() for name in names]
    bodies = {name: list(function.nodes) for name, function in functions.items()}
    present = {node.op for body in (nodes.values(), *bodies.values()) for node in body}
    for starts, ops in ((outputs, READING), (initializing, _RESTORING)):
        for op in ops.keys() & present:
            holders = calling(bodies, op.__eq__)
            if any(node.op == op or called(node) & holders for node in behind(starts, nodes)):
                yield op
