"""What a target adds to a finished file: metadata within it, and what its developer needs beside it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tflite_recipes.core.analysis import kept
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.models import sha256_of
from tflite_recipes.files.tflite.io_contract import io_contract
from tflite_recipes.targets.deploy import label_list


def with_metadata(state: State, reporter: Reporter, name: str, description: str, labels: Path | None) -> State:
    """Return the state with a file that holds metadata. If that fails, it is reported, and the file stays as it was."""
    with kept(reporter, "the metadata", "target.metadata", judges=False, state=state):
        state = _with_metadata(state, reporter, name, description, labels)
    return state


def _with_metadata(state: State, reporter: Reporter, name: str, description: str, labels: Path | None) -> State:
    """Errors: RequestError for labels that suit no output; StepError for a file that can hold no metadata."""
    from tflite_recipes.files.tflite import metadata, read_tflite
    from tflite_recipes.targets.deploy.file_description import describe

    assert state.tflite is not None
    file = read_tflite(state.tflite)
    contract = io_contract(file, state)
    named = label_list.read_labels(labels) if labels is not None else ()
    labelled = _labelled(contract, named, reporter) if named else ""
    said = describe(file, contract, _name(state, name), description, state.intent.recipe_digest, labelled)
    before = metadata.read_metadata(state.tflite)
    if before.model is not None:
        held = f" and {', '.join(before.files)}" if before.files else ""
        reporter.warn(f"the file came with metadata of its own, of {before.model.name!r}{held}: it is replaced")
    path = state.workdir / "described.tflite"
    files = {label_list.FILE: label_list.to_text(named).encode()} if named else {}
    metadata.write_metadata(state.tflite, path, said, state.intent.recipe_digest, files)
    return replace(state, tflite=path)


def deploy(
    state: State, reporter: Reporter, name: str, description: str, labels: Path | None, gpu: bool = False
) -> None:
    """Write the files of `deploy/` for an application with LiteRT, and with its GPU delegate. A failure is reported."""
    with kept(reporter, "the files for deployment", "target.deploy", judges=False, state=state):
        _deploy(state, reporter, name, description, labels, gpu)


def _deploy(state: State, reporter: Reporter, name: str, description: str, labels: Path | None, gpu: bool) -> None:
    from tflite_recipes.files.tflite import metadata, read_tflite
    from tflite_recipes.targets.deploy import litert_package

    assert state.tflite is not None
    file = read_tflite(state.tflite)
    contract = io_contract(file, state)
    named = label_list.read_labels(labels) if labels is not None else ()
    about = litert_package.About(
        name=_name(state, name),
        description=description,
        recipe_digest=state.intent.recipe_digest,
        sha256=sha256_of(state.tflite),
        min_runtime=metadata.read_metadata(state.tflite).min_runtime_version,
        op_versions=metadata.op_versions(state.tflite),
        labels=named,
        labelled=label_list.labelled_outputs(_shapes(contract), named)[0] if named else "",
        gpu=gpu,
        runtime=f"ai-edge-litert {version('ai-edge-litert')}" if state.runnable else "",
    )
    folder = state.workdir / "deploy"
    folder.mkdir(exist_ok=True)
    for file_name, text in litert_package.files(file, contract, about).items():
        (folder / file_name).write_text(text, encoding="utf-8")
        reporter.keep(str(folder / file_name), "deploy")


def _name(state: State, name: str) -> str:
    return name or state.intent.model_name or "model"


def _shapes(contract: dict[str, Any]) -> dict[str, list[int | None]]:
    return {entry["name"]: entry["tflite"]["shape"] for entry in contract["outputs"]}


def _labelled(contract: dict[str, Any], labels: tuple[str, ...], reporter: Reporter) -> str:
    fitting = label_list.labelled_outputs(_shapes(contract), labels)
    if len(fitting) > 1:
        reporter.warn(f"the labels are those of output {fitting[0]}; {', '.join(fitting[1:])} would fit them too")
    return fitting[0]
