"""What an application's developer needs of a file for LiteRT: code, libraries, the oldest runtime, labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tflite_recipes.files.tflite import TFLiteFile, op_counts
from tflite_recipes.files.tflite.io_contract import carries_state
from tflite_recipes.targets.deploy import label_list, snippets
from tflite_recipes.targets.deploy.code_ports import other_types, ports
from tflite_recipes.targets.deploy.runtimes import FLEX, FLEX_RELEASE, GPU, RUNTIME, minimum_runtime, older
from tflite_recipes.targets.deploy.snippets import Model
from tflite_recipes.targets.deploy.template_text import comment, lines, page

RUNTIME_FILE, README = "runtime.json", "README.txt"
_SAY = {
    "predict.py": "runs the file with Python: python predict.py [inputs.npz]",
    "predict.cc": "the same with the C API",
    "Predict.kt": "the same on Android",
    "Predict.swift": "the same on iOS",
    label_list.FILE: "the classes, in the order of the labelled output's last axis",
    RUNTIME_FILE: "types, shapes, scales, ops and libraries, for programs to read",
}


@dataclass(frozen=True)
class About:
    """What is known of a file besides what `file` and `contract` say.

    name: of the model. description: in the user's words. sha256: of the file. min_runtime: what the file states, "" for
    nothing. op_versions: of its builtin ops. labels: of the output `labelled`. runtime: the runtime that ran it here,
    "" where none did. gpu: the file is meant for the GPU delegate.
    """

    name: str
    description: str
    recipe_digest: str
    sha256: str
    min_runtime: str
    op_versions: frozenset[tuple[str, int]]
    labels: tuple[str, ...] = ()
    labelled: str = ""
    runtime: str = ""
    gpu: bool = False


def files(file: TFLiteFile, contract: Mapping[str, Any], about: About) -> dict[str, str]:
    """The files under deploy/, by name."""
    operators = [op for graph in file.subgraphs for op in graph.operators]
    flex = tuple(sorted({op.label for op in operators if op.is_flex}))
    custom = tuple(sorted({op.label for op in operators if op.is_custom}))
    inputs, outputs = ports(contract)
    minimum = minimum_runtime(about.min_runtime, about.op_versions)
    bare = Model(
        name=about.name,
        signature=contract["signature"],
        inputs=inputs,
        outputs=outputs,
        labels=about.labels,
        labelled=about.labelled,
        stateful=carries_state(contract),
        resets=contract["stateful"] and not carries_state(contract),
        flex=flex,
        custom=custom,
    )
    model = replace(bare, notes=tuple(_notes(bare, contract, minimum)))
    others = other_types((*inputs, *outputs))
    made = {"predict.py": snippets.python(model)}
    if not others:
        made |= {
            "predict.cc": snippets.cpp(model),
            "Predict.kt": snippets.kotlin(model),
            "Predict.swift": snippets.swift(model),
        }
    if about.labels:
        made[label_list.FILE] = label_list.to_text(about.labels)
    made[RUNTIME_FILE] = _runtime(file, contract, about, model, minimum)
    made[README] = _readme(about, model, minimum, list(made), others)
    return made


def _notes(model: Model, contract: Mapping[str, Any], minimum: Mapping[str, Any]) -> Iterable[str]:
    """What a developer has to know, beyond the tables."""
    yield from contract["notes"]
    if model.is_open:
        yield "Sizes called any are set by the application, before tensors are allocated."
    if model.flex:
        yield f"Needs select TF ops (Flex): {', '.join(model.flex)}."
        if minimum["version"] is not None and older(FLEX_RELEASE, minimum["version"]):
            yield (
                f"The released select TF ops for Android are of {FLEX_RELEASE}, and the file's ops are of "
                f"{minimum['version']}: build AARs of your own."
            )
    if model.custom:
        yield f"Needs custom ops that the application registers: {', '.join(model.custom)}."


def _runtime(
    file: TFLiteFile, contract: Mapping[str, Any], about: About, model: Model, minimum: Mapping[str, Any]
) -> str:
    document = {
        "model": {
            "file": "model.tflite",
            "name": about.name,
            "bytes": file.size_bytes,
            "sha256": about.sha256,
            "recipe_digest": about.recipe_digest,
        },
        "minimum_runtime_version": minimum,
        "tested_with": about.runtime or None,
        "signature": contract["signature"],
        "stateful": contract["stateful"],
        **({"reset": contract["reset"]} if "reset" in contract else {}),
        "inputs": _tensors(contract["inputs"], ""),
        "outputs": _tensors(contract["outputs"], about.labelled if about.labels else ""),
        "ops": op_counts(file),
        "libraries": {
            "runtime": RUNTIME,
            "select_tf_ops": {"needed": bool(model.flex), "ops": model.flex, **(FLEX if model.flex else {})},
            "custom_ops": {"needed": bool(model.custom), "ops": model.custom},
            "gpu_delegate": {"needed": about.gpu, **GPU},
        },
        "notes": model.notes,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _labels_of(output: str, model: Model) -> str:
    return f", {label_list.FILE}" if model.labels and output == model.labelled else ""


def _tensors(entries: Sequence[Mapping[str, Any]], labelled: str) -> list[dict[str, Any]]:
    found = []
    for entry in entries:
        tensor = {"name": entry["name"], **entry["tflite"]}
        tensor |= {"preprocessing": entry["preprocessing"]} if "preprocessing" in entry else {}
        found.append(tensor | ({"labels": label_list.FILE} if labelled == entry["name"] else {}))
    return found


def _readme(about: About, model: Model, minimum: Mapping[str, Any], made: Sequence[str], others: Sequence[str]) -> str:
    runtime = [f"TensorFlow Lite {minimum['version'] or 'of unknown version'} or later ({minimum['from']})"]
    if about.runtime:
        runtime.append(f"run here with {about.runtime}")
    runtime += [f"{platform}: {name}" for platform, name in RUNTIME.items()]
    runtime += [f"select TF ops, {platform}: {name}" for platform, name in FLEX.items() if model.flex]
    runtime += [f"GPU delegate if wanted, {platform}: {name}" for platform, name in GPU.items()]
    runtime += model.notes
    listed = [f"{name}: {_SAY[name]}" for name in made]
    if others:
        listed.append(f"no code for C++, Kotlin and Swift: it would not know tensors of {', '.join(others)}")
    said = about.description.strip() or "A model for LiteRT."
    return page(
        "litert/README.txt",
        model=comment(about.name),
        summary=f"{said}\nRecipe digest: {about.recipe_digest}\nSHA-256 of model.tflite: {about.sha256}",
        inputs=lines(map(str, model.inputs), "- "),
        outputs=lines((f"{port}{_labels_of(port.name, model)}" for port in model.outputs), "- "),
        runtime=lines(runtime, "- "),
        files=lines(listed, "- "),
    )
