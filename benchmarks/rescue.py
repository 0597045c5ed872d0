"""What plain int8 costs models of the kinds that it spoils, what each remedy wins back, and what a search finds.

    python benchmarks/rescue.py [--only depthwise transformer …] [--models FOLDER] [--keep FOLDER]

Prints Markdown on standard output, what it is doing on standard error. Every file is scored on held-out samples, which
neither its calibration nor the search saw. `--models` is a folder with the published models `ad01.h5`,
`kws_saved_model`, and `str_ww.h5` with its samples. `--keep` keeps the models, so that the printed commands run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rescue_models
from run import _machine, _row, _say

from tflite_recipes import api
from tflite_recipes.conversion import rule_suggestions
from tflite_recipes.core.errors import RecipeError, assignment
from tflite_recipes.core.result import RunResult

INTEGERS = ("integer_only", "full_integer", "int16x8", "int16x8_fallback")
# The share of the source's quality that a search has to keep.
_DROP = 0.01


@dataclass(frozen=True)
class Case:
    """metric: what is scored, in words. head: a rule's name for the layers at the output. source: overrides that name
    the model. scoring: overrides of the evaluation. published: it comes with `--models`."""

    metric: str
    head: str
    source: tuple[str, ...] = ("source=keras", "source.path=model.keras")
    scoring: tuple[str, ...] = ()
    published: bool = False


_FREE = ("evaluation.labels=null",)
_LOG_R2 = ("evaluation.metric=function", "evaluation.function=metric.py:log_r2")
_RANGE = (*_FREE, "evaluation.metric=range_fidelity")
CASES = {
    "depthwise": Case("accuracy", "logits"),
    "transformer": Case("accuracy", "symbol"),
    "two_scales": Case("range fidelity", "both", scoring=_RANGE),
    "many_classes": Case("accuracy", "probabilities"),
    "wide_regressor": Case("R² of log", "exp", scoring=_LOG_R2),
    "autoencoder": Case("reconstruction", "output", scoring=(*_FREE, "evaluation.metric=reconstruction")),
    "ad01": Case("range fidelity", "^dense_9$", ("source=keras", "source.path=ad01.h5"), _RANGE, True),
    "kws": Case(
        "top-1 agreement",
        "dense",
        ("source=saved_model", "source.path=kws_saved_model"),
        (*_FREE, "evaluation.metric=top1_agreement"),
        True,
    ),
    "str_ww": Case("accuracy", "dense", ("source=keras", "source.path=str_ww.h5"), published=True),
}

_PLAIN = ("optimization=integer_only",)
_OTHER = "optimization.quantizer=litert_quantizer"
REMEDIES: dict[str, tuple[str, ...]] = {
    "plain int8": _PLAIN,
    "plain int8, litert_quantizer": (*_PLAIN, _OTHER),
    "equalized": (*_PLAIN, "optimization.equalize=true"),
    "ranges by percentile": (*_PLAIN, _OTHER, "calibration.method=percentile"),
    "ranges by MSE": (*_PLAIN, _OTHER, "calibration.method=mse"),
    "head in float": ("optimization=full_integer",),
    "float by `tflite-recipes rules`": ("optimization=full_integer",),
    "16x8": ("optimization=int16x8",),
    "weight-only int8": ("optimization=weight_only_int8",),
    "dynamic range": ("optimization=dynamic_range",),
}
SEARCHES: dict[str, tuple[str, ...]] = {
    "`auto`": ("optimization=auto",),
    "`auto`, integer schemes": ("optimization=auto", assignment("optimization.schemes", list(INTEGERS))),
}


@dataclass(frozen=True)
class Scored:
    """On held-out samples, quality as a share of the source's; None with the reason where there is no file. seconds: of
    the search. named: what a search chose."""

    quality: float | None
    size: float | None = None
    reason: str = ""
    seconds: float = 0.0
    named: str = ""

    def __str__(self) -> str:
        if self.quality is None or self.size is None:
            return "none"
        return f"{self.quality:.1%}, {self.size / 1024:.1f} KiB"


def main() -> int:
    options = _options()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tflite_recipes_rescue_") as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        names = _prepare(options, folder)
        found = {name: _case(name, folder) for name in names}
    print("\n".join(_report(found, time.perf_counter() - started)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="published models")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the models here, and leave them")
    options = parser.parse_args()
    options.only = [name for name in options.only if options.models or not CASES[name].published]
    return options


def _prepare(options: argparse.Namespace, folder: Path) -> list[str]:
    """Each case's files in a folder of its own, by a process that has TensorFlow; what is there already stays."""
    made = [name for name in options.only if name in rescue_models.CASES and not (folder / name).exists()]
    _say(f"making {', '.join(made)}")
    script = Path(rescue_models.__file__)
    subprocess.run([sys.executable, str(script), str(folder), *made] if made else ["true"], check=True)
    for name in options.only:
        case = CASES[name]
        if case.published:
            place, file = folder / name, case.source[1].partition("=")[2]
            place.mkdir(exist_ok=True)
            if not (place / file).exists():
                (place / file).symlink_to((options.models / file).resolve())
            if name == "str_ww":
                _split(options.models / "str_ww_calibration.npz", place)
    return list(options.only)


def _split(samples: Path, place: Path) -> None:
    """The 45 labelled samples of the wake word: a third to calibrate with, all to search by and to score: too few to
    hold any back of."""
    arrays = np.load(samples)
    name, rows, labels = "input_1", arrays["specs"].astype("float32"), arrays["labels"]
    np.savez(place / rescue_models.CALIBRATION, **{name: rows[::3]})
    for file in (rescue_models.SEARCH, rescue_models.HELD_OUT):
        np.savez(place / file, labels=labels, **{name: rows})


def _case(name: str, folder: Path) -> dict[str, Scored]:
    """Every remedy and search by name, run inside the case's own folder, as a user stands in it."""
    found: dict[str, Scored] = {}
    before = Path.cwd()
    os.chdir(folder / name)
    try:
        for remedy, overrides in REMEDIES.items():
            found[remedy] = _remedy(CASES[name], remedy, overrides)
            _say(f"{name}: {remedy}: {found[remedy]} {found[remedy].reason}")
        for search, overrides in SEARCHES.items():
            found[search] = _search(CASES[name], overrides)
            _say(f"{name}: {search}: {found[search]} in {found[search].seconds:.0f} s: {found[search].named}")
    finally:
        os.chdir(before)
    return found


def _words(case: Case, data: str) -> list[str]:
    """The overrides that all runs of a case share; `data` is what it is judged by."""
    calibration = ("calibration=npz", f"calibration.path={rescue_models.CALIBRATION}")
    gate = (f"evaluation.max_drop={_DROP}", "evaluation.relative_drop=true")
    return [*case.source, *calibration, "evaluation=npz", f"evaluation.path={data}", *case.scoring, *gate]


def _remedy(case: Case, remedy: str, overrides: Sequence[str]) -> Scored:
    words = [*_words(case, rescue_models.HELD_OUT), *overrides]
    with tempfile.TemporaryDirectory() as place:
        if remedy == "head in float":
            rule = {"name": case.head, "op": "*", "scheme": "float"}
            return _scored(words + shlex.split(assignment(rule_suggestions.KEY, [rule])), Path(place))
        if remedy.startswith("float by"):
            plain = _run("convert", words, Path(place) / "plain")
            if isinstance(plain, str):
                return Scored(None, reason=plain)
            chosen = rule_suggestions.choose(rule_suggestions.read(plain.output_dir))
            words += shlex.split(rule_suggestions.override(rule_suggestions.rules(chosen, "float")))
        scored = _scored(words, Path(place))
        by_other = scored.quality is None and remedy in ("16x8", "weight-only int8")
        return replace(_scored([*words, _OTHER], Path(place) / "other"), named=_OTHER) if by_other else scored


def _search(case: Case, overrides: Sequence[str]) -> Scored:
    """What the search found, made again by its recipe and scored on what the search did not see."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        words = shlex.split(shlex.join(_words(case, rescue_models.SEARCH))) + [shlex.split(o)[0] for o in overrides]
        found = _run("convert", words, Path(place) / "search")
        seconds = time.perf_counter() - started
        if isinstance(found, str) or found.found is None or found.path is None:
            return Scored(None, reason=str(found), seconds=seconds)
        again = [f"evaluation.path={rescue_models.HELD_OUT}"]
        scored = _scored(again, Path(place) / "again", str(found.found))
        again_path = Path(place) / "again" / "run" / "model.tflite"
        if not again_path.exists() or again_path.read_bytes() != found.path.read_bytes():
            raise SystemExit(f"the recipe that the search found gives another file, or none: {scored.reason}")
        return replace(scored, seconds=seconds, named=found.tags["tflite_recipes.chosen"].partition(" ")[2])


def _scored(words: Sequence[str], place: Path, recipe: str = "convert") -> Scored:
    result = _run(recipe, words, place / "run")
    if isinstance(result, str):
        return Scored(None, reason=result)
    source, drop = result.metrics["accuracy.source"], result.metrics["accuracy.drop"]
    return Scored(1.0 - drop / abs(source), result.metrics["size.tflite_bytes"])


def _run(recipe: str, words: Sequence[str], place: Path) -> RunResult | str:
    """The result where there is a file, else why not."""
    try:
        result = api.run(recipe, [*words, "tracking=none"], output_dir=place, progress=False)
    except RecipeError as error:
        return error.problems[0].what
    return result if result.path is not None else result.problems[0].what


def _report(found: dict[str, dict[str, Scored]], seconds: float) -> Iterator[str]:
    yield f"{_machine()}; {seconds:.0f} s in all.\n"
    yield "Quality on held-out samples as a share of the source's, and size of the file:\n"
    yield _row("", *(f"`{name}`" for name in found))
    yield _row("---", *["---:"] * len(found))
    yield _row("metric", *(CASES[name].metric for name in found))
    for remedy in (*REMEDIES, *SEARCHES):
        yield _row(remedy, *(str(case[remedy]) for case in found.values()))
    for search in SEARCHES:
        yield f"\n{search} found:\n"
        for name, case in found.items():
            yield f"- `{name}`: {case[search].named or case[search].reason}, in {case[search].seconds:.0f} s"
    reasons = [(n, remedy, one.reason) for n, case in found.items() for remedy, one in case.items() if one.reason]
    if reasons:
        yield "\nWhere there is no file:\n"
        yield from (f"- `{name}`, {remedy}: {reason}" for name, remedy, reason in reasons)
    yield "\nThe same by hand, in the folder of each case (`--keep FOLDER`):\n"
    for name in found:
        command = shlex.join(["tflite-recipes", "run", "convert", *_words(CASES[name], rescue_models.SEARCH)])
        yield f"    cd {name} && {command} optimization=auto"


if __name__ == "__main__":
    sys.exit(main())
