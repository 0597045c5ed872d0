"""What a run started from and ran on, and how it is run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from tflite_recipes.config import recipe_inputs
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core import environment
from tflite_recipes.report.bar_chart import columns, table
from tflite_recipes.report.html_page import folded, section

_MACHINE = ("python", "platform", "cpu", "features")
# What decides the bytes of a file, and the figures that are told of it.
_KEY = (
    *("tflite-recipes", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "litert-quantizer"),
    *("tensorflow-model-optimization", "tflite-micro", "ethos-u-vela", "numpy", "flatbuffers", "hydra-core", "mlflow"),
)


def started_from(folder: Path, tags: Mapping[str, str]) -> str:
    """The files and folders that the recipe reads, and every digest."""
    path = folder / recipe_inputs.INPUTS
    read = recipe_inputs.from_text(path.read_text(encoding="utf-8")) if path.exists() else ()
    rows = [(given.key, given.path, f"{given.bytes:,} B", given.sha256) for given in read]
    files = columns(("key", "path", "size", "SHA-256"), rows, ("", "long", "n", "id")) if rows else ""
    digests = sorted((name, text) for name, text in tags.items() if name.endswith("sha256"))
    told = columns((), digests, ("", "id")) if digests else ""
    return section("Inputs and digests", files + told)


def ran_on(folder: Path) -> str:
    """The machine, the packages that matter, and the whole list for whoever opens it."""
    path = folder / environment.ENVIRONMENT
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8")
    found = {name.replace("_", "-"): value for name, value in environment.parsed(text).items()}
    rows = [(name, found[name]) for name in (*_MACHINE, *_KEY) if found.get(name)]
    return section("Environment", table((), rows) + folded("all packages", f"<pre>{escape(text)}</pre>"))


def again(recipe: Recipe, file: str = "recipe.yaml", repeated: str = "") -> str:
    """Three ways, the surest first. file: the artifact that holds the resolved recipe. repeated: the ID of the run that
    this one repeats, "" for a run that was asked for by itself."""
    told = _commands(recipe, file, repeated)
    steps = "".join(f"<li>{text}:<br><code>{escape(command)}</code></li>" for text, command in told)
    return section("Run it again", f"<ul>{steps}</ul>")


def resolved(recipe: Recipe, file: str = "recipe.yaml") -> str:
    """The recipe itself."""
    said = f"<p>Save as <code>{file}</code>, then <code>tflite-recipes run {file}</code></p>"
    return section("Recipe", f"{said}<pre>{escape(recipe.to_yaml())}</pre>")


def _commands(recipe: Recipe, file: str, repeated: str) -> Iterator[tuple[str, str]]:
    """HTML that says what a command starts from, and the command as plain text."""
    if recipe.tracking is not None:
        where = "from MLflow alone, its inputs checked; the run ID stands on top of this run's page there"
        yield where, "tflite-recipes reproduce RUN_ID"
    yield f"from the artifact <code>{file}</code>, the resolved recipe", f"tflite-recipes run {file}"
    if repeated:
        yield "as it was asked for, from the run that this one repeats", f"tflite-recipes reproduce {repeated}"
    else:
        asked = shlex.join(["tflite-recipes", "run", recipe.name, *recipe.overrides])
        yield "as it was asked for, a recipe of your own by its YAML file", asked
