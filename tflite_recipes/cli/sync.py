"""The command sync: what MLflow was not told, told now."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from pathlib import Path

from tflite_recipes.cli.parser import Add
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError
from tflite_recipes.core.plain_output import show

_URI = "tracking.uri="


def add_to(add: Add) -> None:
    """The command's own lines in the parser."""
    sync = add("sync", _sync, "upload runs that are missing or incomplete in MLflow")
    sync.epilog = (
        "Each run goes to the server of its recipe. Runs that are there are completed, never uploaded twice. The\n"
        "name of the server is printed before the upload.\n\n"
        "Passwords are not saved in a run's folder. Give them again in tracking.uri=URI or MLFLOW_TRACKING_URI. Or\n"
        "name the server by one of these, and set the variables that MLflow and the database read:\n"
        "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, PGPASSWORD. If only the folder names a server, it gets\n"
        "no credentials from the environment.\n\n"
        "exit status: 0 everything is uploaded; 2 a folder is damaged, or the request is wrong; 4 an upload failed"
        f"\n\n{sync.epilog}"
    )
    sync.add_argument("words", nargs="*", metavar="FOLDER|tracking.uri=URI", help="default: outputs")
    sync.add_argument("--dry-run", action="store_true", help="list what is missing, and upload nothing")
    sync.add_argument("--tracking-uri", metavar="URI", help="upload all runs to URI")


def _sync(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.report.console import show_problems
    from tflite_recipes.tracking.missing_runs import Outcome, sync

    folders, uri = _asked(options)
    counts: Counter[Outcome] = Counter()
    sweeps: list[str] = []
    for synced in sync(folders, uri, options.dry_run, lambda server: show(f"uploading to {server}")):
        counts[synced.outcome] += 1
        waiting = synced.outcome is Outcome.WAITING
        came_to = f"{synced.outcome.value} at {synced.uri}" if waiting else synced.run_id or synced.outcome.value
        show(f"{synced.folder} -> {came_to}")
        show_problems(synced.problems)
        if synced.sweep:
            sweeps.append(f"tflite-recipes compare {synced.run_id} --tracking-uri {shlex.quote(synced.uri)}")
    said = [f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]]
    show(", ".join(said) or "nothing to upload: MLflow knows all runs there")
    for command in sweeps:  # which a sweep does by itself at its end
        show(f"its runs beside each other: {command}")
    if counts[Outcome.AWAY]:
        return ExitStatus.UNTRACKED
    return ExitStatus.REQUEST if counts[Outcome.DAMAGED] else ExitStatus.DONE


def _asked(options: argparse.Namespace) -> tuple[list[Path], str | None]:
    """The folders, and the tracking URI, None where none is named."""
    from tflite_recipes.tracking.settings import Mlflow

    uris = [word.removeprefix(_URI) for word in options.words if word.startswith(_URI)]
    names = [word for word in options.words if not word.startswith(_URI)]
    if wrong := [name for name in names if "=" in name and not Path(name).exists()]:
        known = (f"tflite-recipes sync {wrong[0].partition('=')[2]}",)
        raise RequestError(Problem(f"{wrong[0]} is neither a folder nor tracking.uri=URI", "sync", "", known))
    uri = options.tracking_uri or next(iter(uris), None)
    if uri is not None and (problems := list(Mlflow(uri, "any", None, {}).problems())):
        raise RequestError(problems)
    return [Path(name) for name in names] or [Path("outputs")], uri
