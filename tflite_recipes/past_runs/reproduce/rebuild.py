"""From a run's ID to a verdict: fetch, refuse, restore, run, judge."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflite_recipes import api
from tflite_recipes.config import catalog
from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.recipe import Recipe, StepSpec
from tflite_recipes.core import environment, public_names
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError
from tflite_recipes.core.result import RunResult
from tflite_recipes.core.state import Intent
from tflite_recipes.files.models import GRAPH_FILE, reaching_ops
from tflite_recipes.past_runs.reproduce import (
    allowed_overrides,
    changes,
    download,
    imported_modules,
    input_files,
    kept_code,
    trust,
    trusted_source,
)
from tflite_recipes.past_runs.reproduce.download import Fetched
from tflite_recipes.past_runs.reproduce.input_files import Recorded, Restored
from tflite_recipes.steps.reproduction import RECORD, AgainstOriginal, Verdict, sha256, summary
from tflite_recipes.tracking.run_reader import PastRun, PastRuns

_ORIGINAL, _KNOWN, _MODULES = "original", "known.json", "modules"
_WORD = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")
_STEP = "reproduction"


@dataclass(frozen=True)
class Reproduction:
    """The result of a reproduction.

    Attributes:
        original: ID of the run that was rebuilt.
        run: result of the new run.
        verdict: how the files compare; None if the new run made no file.
        status: exit status. 0 for identical bytes and for the same weights and graph. For numerically equal outputs 0
            if a tolerance was given, otherwise 1. 1 if the files differ.
        sha256: digests of the old and the new file; "" for a missing file.
        differences: what differs and what changed, in lines.
        notes: where each file and the code came from.
        record: contents of `reproduction.json`.
    """

    original: str
    run: RunResult
    verdict: Verdict | None
    status: ExitStatus
    sha256: tuple[str, str]
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None


def reproduce(
    run_id: str,
    uri: str | None = None,
    *,
    source: str | Path | None = None,
    calibration_data: str | Path | None = None,
    evaluation_data: str | Path | None = None,
    inputs: Mapping[str, str | Path] | None = None,
    tolerance: float | None = None,
    trust: bool = False,
    use_kept: bool = False,
    overrides: Sequence[str] = (),
    output_dir: str | Path | None = None,
    progress: bool = True,
) -> Reproduction:
    """Rebuild a past run and compare the new file with the old one.

    The new run is logged beside the old one. A step that fails does not raise.

    Args:
        run_id: ID of the run, or the start of it.
        uri: tracking URI; None: MLFLOW_TRACKING_URI, otherwise `sqlite:///mlflow.db`.
        source: where the source model is now. It must have the recorded digest.
        calibration_data: where the calibration data is now, likewise.
        evaluation_data: where the evaluation data is now, likewise.
        inputs: where other files are now, by key of the recipe.
        tolerance: largest difference of outputs, as a share of their range. None: 0.005, one step of an int8 output,
            and `numerically equal` is not a success.
        trust: whether code that the downloaded recipe names may run.
        use_kept: whether files that differ here are downloaded. Missing files always are.
        overrides: `tracking.KEY=VALUE` and `worker.KEY=VALUE`.
        output_dir: folder for the results; by default a new folder below `outputs/`.
        progress: whether the steps are printed.

    Raises:
        RequestError: There is nothing to reproduce, an input is missing or different, or the recipe needs trust.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise RequestError(Problem(f"{tolerance} is no share of a range", "--tolerance", "--tolerance 0.005"))
    said = allowed_overrides.split(overrides)
    flags = {"--source": source, "--calibration-data": calibration_data, "--evaluation-data": evaluation_data}
    given = {key: str(path) for key, path in {**flags, **(inputs or {})}.items() if path is not None}
    past = PastRuns(uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    run = past.beginning(run_id)
    name = run.tag("recipe") if _WORD.fullmatch(run.tag("recipe")) else "reproduction"
    folder = Path(output_dir) if output_dir is not None else api.fresh_folder(name)
    with contextlib.ExitStack() as stack:
        with _filled(folder):
            prepared = _prepare(past, run, name, folder / _ORIGINAL, tolerance, _Asked(said, given, trust, use_kept))
        stack.enter_context(_as_many_threads(prepared.threads))
        stack.enter_context(_with_modules(folder / _ORIGINAL / _MODULES))
        tags = {"tflite_recipes.reproduces": run.run_id}
        result = api.run(prepared.recipe, output_dir=folder, progress=progress, intent=prepared.intent, tags=tags)
    return _concluded(run, result, prepared, tolerance)


@dataclass(frozen=True)
class _Asked:
    said: Mapping[str, dict[str, Any] | None]
    given: Mapping[str, str]
    trust: bool
    use_kept: bool


@dataclass(frozen=True)
class _Prepared:
    """A reproduction that can begin. threads: what TensorFlow had, None where that is not known."""

    recipe: Recipe
    intent: Intent
    model: Path
    threads: int | None
    notes: tuple[str, ...]


@contextlib.contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Leave nothing of a request that is refused while the original is brought into the folder."""
    original = folder / _ORIGINAL
    if original.exists():
        what = f"{folder} holds an earlier reproduction, which would be mixed with this one"
        raise RequestError(Problem(what, "--output-dir", f"--output-dir {folder}_2"))
    parents = [place for place in (folder, *folder.parents) if not place.exists()]
    original.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(original, ignore_errors=True)
        for place in parents:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _prepare(
    past: PastRuns, run: PastRun, name: str, original: Path, tolerance: float | None, asked: _Asked
) -> _Prepared:
    """Everything that can be refused is refused here, before TensorFlow is loaded. Errors: RequestError."""
    found = download.fetched(past, run, original)
    before = trust.parsed(found.recipe)
    if not asked.trust and (problems := trust.problems(before)):
        raise RequestError(problems)
    _authentic(found, before)
    code = kept_code.Resolved(dict(before))
    if asked.trust:
        kept = download.code(past, found)
        laid = imported_modules.laid_out(run.tags, kept, original / _MODULES)
        code = kept_code.resolved(before, run.tags, kept, imported_modules.names(original / _MODULES))
        code = replace(code, notes=(*code.notes, *laid))
    files = _files(past, found, code.config, asked)
    if not asked.trust and (reaching := _reaching(files)):
        raise RequestError(reaching)
    config = _with_paths(code.config, files)
    _settle(config, past, run, name, asked)
    with imported_modules.importable(original / _MODULES):
        composed = trusted_source.built(config, _choices(before), name, asked.trust)
    known = _write_known(found, before, composed, files)
    recipe = _judging(composed, found.model, known, tolerance)
    notes = (*code.notes, *(f"{file.key}: {trust.shown(file.path, 500)[1:-1]}, {file.how}" for file in files))
    return _Prepared(recipe, _intent(composed, found), found.model, changes.threads_of(found.environment), notes)


def _authentic(found: Fetched, config: Mapping[str, Any]) -> None:
    """Whether recipe and file are those that the run tagged. Errors: RequestError with both digests."""
    plain = {key: value for key, value in config.items() if key != "defaults"}
    tagged, model = _recipe_digest(found.run), sha256(found.model)
    if tagged and not recipes.has_digest(plain, tagged):
        raise _changed(found.run, "recipe.yaml", "recipe digest", recipes.digest_of(plain), tagged)
    if (tagged := found.run.tag("tflite_sha256")) and model != tagged:
        raise _changed(found.run, "model.tflite", "sha256", model, tagged)


def _recipe_digest(run: PastRun) -> str:
    """The digest of the recipe that made the run's file: of a search, that of its best candidate."""
    return run.tag("chosen_digest") or run.tag("recipe_digest")


def _changed(run: PastRun, name: str, what: str, has: str, tagged: str) -> RequestError:
    said = f"the run's {name} was changed since: its {what} is {has}, and the run told {trust.shown(tagged)}"
    return RequestError(Problem(said, run.run_id))


def _files(past: PastRuns, found: Fetched, config: Mapping[str, Any], asked: _Asked) -> tuple[Restored, ...]:
    given = input_files.by_key(asked.given, input_files.named_files(config))
    recorded = Recorded(found.inputs, found.run.tag("source_sha256"))
    fetch = functools.partial(download.kept_input, past, found)
    return input_files.restored(config, recorded, given, fetch, asked.use_kept)


def _reaching(files: Sequence[Restored]) -> list[Problem]:
    """Of the files that the server gave the models whose graphs do more than calculate: that TensorFlow runs a graph
    is no reason to have files written by it."""
    found = []
    for file in files:
        if file.served and (Path(file.path) / GRAPH_FILE).exists() and (ops := reaching_ops(Path(file.path))):
            listed = trust.shown(", ".join(ops))
            what = f"the model that the server kept has ops that reach files, processes or Python: {listed}"
            found.append(Problem(what, file.key, "--trust"))
    return found


def _with_paths(config: Mapping[str, Any], files: Sequence[Restored]) -> dict[str, Any]:
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for file in files:
        group, _, name = file.key.partition(".")
        changed[group][name] = file.path
    return changed


def _settle(config: dict[str, Any], past: PastRuns, run: PastRun, name: str, asked: _Asked) -> None:
    """Put in place of the old run's tracking what is at hand, and the worker's limits that were asked for."""
    config.pop("defaults", None)
    config["name"] = name
    said = asked.said["tracking"]
    experiment = past.experiment_name(run) if said is not None else ""
    config["tracking"] = allowed_overrides.tracking_section(said, past.uri, experiment, f"{name} reproduced")
    config["worker"] = {**(config.get("worker") or {}), **(asked.said["worker"] or {})}


def _choices(config: Mapping[str, Any]) -> dict[str, str]:
    """The options that the recipe was composed of: names of parameters and steps, by which nothing is looked up."""
    found = {}
    for entry in config.get("defaults") or ():
        for key, option in entry.items() if isinstance(entry, dict) else ():
            group = str(key).removeprefix("override ").strip().lstrip("/")
            if group in catalog.base_groups() and isinstance(option, str) and _WORD.fullmatch(option):
                found[group] = option
    return found


def _judging(recipe: Recipe, model: Path, known: Path, tolerance: float | None) -> Recipe:
    """The recipe with the step that judges behind all others. Its config and digest stay what they are."""
    step = AgainstOriginal(str(model), str(known), tolerance)
    target = public_names.public_name(AgainstOriginal)
    return replace(recipe, steps=(*recipe.steps, StepSpec(_STEP, target, vars(step))))


def _intent(recipe: Recipe, found: Fetched) -> Intent:
    """What the original's metadata says of where it comes from is true of the new file too: other paths to the same
    contents are no other model."""
    from tflite_recipes.files.tflite.metadata import read_metadata
    from tflite_recipes.files.tflite.reader import read_tflite

    read_tflite(found.model)  # refuses what is damaged
    intent, stated = recipe.intent, read_metadata(found.model)
    digest = stated.recipe_digest or _recipe_digest(found.run)
    target = recipe.config.get("target") or {}
    name = stated.model.name if stated.model is not None and not target.get("model_name") else ""
    return replace(intent, recipe_digest=digest or intent.recipe_digest, model_name=name or intent.model_name)


def _write_known(found: Fetched, before: Mapping[str, Any], after: Recipe, files: Sequence[Restored]) -> Path:
    """What the judging step has to know of the original, as a file: as text in a config it would be filled in."""
    with _as_many_threads(changes.threads_of(found.environment)):
        now = environment.environment_text()
    listed = [*changes.of_environment(found.environment, now), *_versions(found.run)]
    listed += changes.of_config(recipes.completed(before), after.config)
    listed += [changes.Change(file.key, "no digest recorded", "not checked") for file in files if not file.checked]
    digests = {name: found.run.tag(name) for name in ("source_sha256", "calibration_sha256")}
    known = {
        "run_id": found.run.run_id,
        **{name: value if _HEX.fullmatch(value) else "" for name, value in digests.items()},
        "changes": [change.to_json() for change in listed],
    }
    path = found.folder / _KNOWN
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return path


def _versions(run: PastRun) -> list[changes.Change]:
    was, now = run.tag("version"), environment.version()
    return [changes.Change("tflite_recipes", was, now)] if was and was != now else []


@contextlib.contextmanager
def _as_many_threads(count: int | None) -> Iterator[None]:
    """Give TensorFlow as many threads for an op as the original's run had: what training comes to depends on it."""
    before = os.environ.get(environment.THREADS)
    if count is None or count == environment.threads():
        yield
        return
    os.environ[environment.THREADS] = str(count)
    api.begin_anew()  # a worker that runs already has threads of its own
    try:
        yield
    finally:
        api.begin_anew()
        if before is None:
            del os.environ[environment.THREADS]
        else:
            os.environ[environment.THREADS] = before


@contextlib.contextmanager
def _with_modules(folder: Path) -> Iterator[None]:
    """Run with the modules that the original's code imported, in a worker that has no others yet."""
    with imported_modules.importable(folder) as any_there:
        if any_there:
            api.begin_anew()
        try:
            yield
        finally:
            if any_there:
                api.begin_anew()


def _concluded(run: PastRun, result: RunResult, prepared: _Prepared, tolerance: float | None) -> Reproduction:
    path = result.output_dir / RECORD
    original = sha256(prepared.model)
    if result.path is None or not path.exists():
        return Reproduction(run.run_id, result, None, result.status, (original, ""), notes=prepared.notes)
    record = json.loads(path.read_text(encoding="utf-8"))
    verdict = Verdict(record["verdict"])
    success = verdict in (Verdict.identical, Verdict.same_graph) or (verdict is Verdict.equal and tolerance is not None)
    untracked = any(problem.where == "tracking.uri" for problem in result.problems)
    status = ExitStatus.UNTRACKED if untracked else ExitStatus.DONE
    status = ExitStatus.FAILED if result.status is ExitStatus.FAILED else status
    lines = () if verdict is Verdict.identical else tuple(summary(record))
    digests = (original, record["sha256"]["new"])
    answer = status if success else ExitStatus.GATE
    return Reproduction(run.run_id, result, verdict, answer, digests, lines, prepared.notes, record)
