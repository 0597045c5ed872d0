"""The commands. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tflite_recipes.errors import ExitStatus, Problem, RequestError

if TYPE_CHECKING:
    from tflite_recipes.composition import Job
    from tflite_recipes.runner import RunResult

_SWEEP = "TFLITE_RECIPES_SWEEP"
# Of several jobs' statuses, the first of these that occurs is the sweep's.
_WORST = (ExitStatus.FAILED, ExitStatus.REQUEST, ExitStatus.GATE, ExitStatus.UNTRACKED, ExitStatus.DONE)
_EPILOG = """\
a first run:      tflite-recipes run digits_integer_only
your own model:   tflite-recipes run convert source=keras source.path=model.keras
what there is:    tflite-recipes ls            (recipes)
                  tflite-recipes ls source     (options of a group)
completion:       eval "$(tflite-recipes -sc install=bash)"

exit status: 0 done; 1 a gate said no; 2 the request is wrong; 3 a step failed; 4 done but not tracked"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of `tflite-recipes`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        status = _dispatch(given)
    except RequestError as error:
        if debug:
            raise
        from tflite_recipes.console import show_problems

        show_problems(error.problems)
        status = error.status
    except KeyboardInterrupt:
        status = ExitStatus.KILLED
    except BrokenPipeError:
        # The reader of a pipe has seen enough (`| head`); python would complain while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.DONE
    except Exception as error:
        if debug:
            raise
        print(f"{type(error).__name__}: {error}\nor: the same command with --debug shows where", file=sys.stderr)
        status = ExitStatus.FAILED
    sys.exit(int(status))


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _dispatch(given: list[str]) -> ExitStatus:
    if given[:1] in (["-sc"], ["--shell-completion"]):
        from tflite_recipes.completion import shell_completion

        print(shell_completion(given[1] if len(given) > 1 else ""), end="")
        return ExitStatus.DONE
    _known_command(given)
    if given[:1] == ["check"]:  # whose overrides argparse takes in one go, so that no flag may stand among them
        flags = [word for word in given[1:] if word in ("-m", "--multirun", "--deep")]
        given = [given[0], *flags, *(word for word in given[1:] if word not in flags)]
    parser = _parser()
    options, rest = parser.parse_known_args(given)
    if options.version:
        from tflite_recipes.tracking.environment import version

        print(f"tflite-recipes {version()}")
        return ExitStatus.DONE
    if options.command is None:
        parser.print_help()
        return ExitStatus.DONE
    if options.command == "run":
        return _run(options, rest)
    if rest:
        ways = (f"tflite-recipes {options.command} --help",)
        raise RequestError(Problem(f"{' '.join(rest)} is not known here", options.command, "", ways))
    command: Callable[[argparse.Namespace], ExitStatus] = options.function
    return command(options)


def _known_command(given: list[str]) -> None:
    """Say near matches, and a command that lacks what it works on, in our own words rather than argparse's."""
    from tflite_recipes.completion import COMMANDS

    if not given or given[0].startswith("-"):
        return
    if given[0] not in COMMANDS:
        from tflite_recipes.schema import near

        similar = near(given[0], COMMANDS)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(COMMANDS)}"
        ways = tuple(f"tflite-recipes {' '.join([name, *given[1:]])}" for name in similar)
        raise RequestError(Problem(f"there is no command {given[0]!r}; {hint}", "tflite-recipes", "", ways))
    if given[1:] == [] and given[0] != "ls":
        examples = {"inspect": "model.tflite", "rules": "quantization_error.csv"}
        missing = "file" if given[0] in examples else "recipe (tflite-recipes ls lists them)"
        raise RequestError(Problem(f"no {missing} is named", given[0], examples.get(given[0], "digits_integer_only")))


class _Parser(argparse.ArgumentParser):
    """Says near matches and exits with our status for a wrong request."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(Problem(message, self.prog, "", (f"{self.prog} --help",)))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    summary = "TensorFlow and Keras models to TensorFlow Lite, as recipes that can be repeated exactly."
    parser = _Parser("tflite-recipes", description=summary, epilog=_EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="store_true", help="show the version")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def add(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, formatter_class=formatter)
        command.set_defaults(function=function)
        return command

    run = add("run", None, "run a recipe; with -m a sweep over comma-separated values")
    run.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a YAML file")
    run.add_argument("-m", "--multirun", action="store_true", help="sweep: a run for each combination of values")
    run.add_argument("-cd", "--config-dir", type=Path, metavar="DIR", help="a folder of config groups of your own")
    run.add_argument("-c", "--cfg", choices=("job", "hydra", "all"), help="print the config as Hydra composes it")
    run.add_argument("-i", "--info", nargs="?", const="all", metavar="WHAT", help="print Hydra's own information")
    run.add_argument("-p", "--package", metavar="KEY", help="with --cfg: this part only")
    run.add_argument("--resolve", action="store_true", help="with --cfg: interpolations resolved")
    run.add_argument("--hydra-help", action="store_true", help="Hydra's own help")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="group=option or group.key=value")
    ls = add("ls", _ls, "list recipes, or the options of a group")
    ls.add_argument("group", nargs="?", metavar="GROUP")
    for name, function, text in (
        ("show", _show, "print the resolved recipe, as YAML that run accepts again"),
        ("check", _check, "refuse now what would fail later, without TensorFlow; with --deep, with it"),
    ):
        command = add(name, function, text)
        command.add_argument("recipe", metavar="RECIPE")
        command.add_argument("overrides", nargs="*", metavar="key=value")
        if name == "check":
            command.add_argument("-m", "--multirun", action="store_true", help="check every job of a sweep")
            command.add_argument("--deep", action="store_true", help="load the model and try it, with TensorFlow")
    cp = add("cp", _cp, "copy a recipe, to own it")
    cp.add_argument("recipe", metavar="RECIPE")
    cp.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: recipes/NAME.yaml")
    inspect = add("inspect", _inspect, "ops, types, inputs and outputs, and sizes of a .tflite file")
    inspect.add_argument("file", type=Path, metavar="FILE.tflite")
    _add_rules(add("rules", _rules, "rules for what a quantized run loses most in, from its quantization_error.csv"))
    return parser


def _add_rules(command: argparse.ArgumentParser) -> None:
    from tflite_recipes.rule_making import MOST, SCHEMES

    command.epilog = (
        f"Without --top and --below: the ops that together make nine tenths of what all ops add, at most {MOST}. What\n"
        "they cannot do without (the op that makes what they amplify, the joint that sets their scale) comes with them."
    )
    command.add_argument("place", type=Path, metavar="FILE|RUN_FOLDER", help="the CSV, or a run's output folder")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--top", type=int, metavar="N", help="the N ops that lose most by themselves")
    which.add_argument("--below", type=float, metavar="DB", help="the ops whose own SQNR is below that")
    command.add_argument("--scheme", choices=SCHEMES, default="float", help="what they become (default float)")
    command.add_argument("--yaml", action="store_true", help="print them for a recipe's file")


def _ls(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import catalog
    from tflite_recipes.console import show_listing
    from tflite_recipes.schema import near

    groups = catalog.list_groups()
    if options.group is None:
        show_listing({name: catalog.describe(path) for name, path in catalog.list_recipes().items()})
        print(f"\ngroups (tflite-recipes ls GROUP): {', '.join(groups)}")
        return ExitStatus.DONE
    if options.group not in groups:
        similar = near(options.group, list(groups))
        what = f"there is no group {options.group!r}; there are {', '.join(groups)}"
        raise RequestError(Problem(what, "ls", "", tuple(f"tflite-recipes ls {name}" for name in similar)))
    show_listing({name: catalog.describe(path) for name, path in groups[options.group].items()})
    return ExitStatus.DONE


def _show(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import composition

    print(composition.compose(options.recipe, options.overrides).to_yaml(), end="")
    return ExitStatus.DONE


def _check(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import composition

    prepared = composition.prepare(options.recipe, options.overrides, sweep=options.multirun)
    recipe = prepared.recipes[0]
    if options.deep:
        return _check_deep(prepared.recipes)
    if options.multirun:
        print(f"nothing wrong with the {len(prepared.recipes)} jobs of {recipe.name}")
        return ExitStatus.DONE
    chosen = ", ".join(f"{group}={option}" for group, option in recipe.choices.items())
    print(f"nothing wrong with {recipe.name}: {chosen}\nrecipe digest {recipe.digest}")
    return ExitStatus.DONE


def _check_deep(recipes: Sequence[Any]) -> ExitStatus:
    """Try each with TensorFlow, and say what its file would be."""
    from tflite_recipes import api
    from tflite_recipes.console import show_problems, show_rehearsal

    worst = ExitStatus.DONE
    for recipe in recipes:
        rehearsal = api.rehearse(recipe)
        sys.stdout.flush()
        show_problems(rehearsal.result.problems)
        show_rehearsal(rehearsal.result, rehearsal.contract, rehearsal.candidate)
        worst = max(worst, rehearsal.result.status)
    return worst


def _cp(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import catalog

    source = catalog.find(options.recipe)
    target: Path = options.file or Path("recipes") / source.name
    if target.suffix not in (".yaml", ".yml"):
        other = f"tflite-recipes cp {options.recipe} {target}.yaml"
        raise RequestError(Problem(f"{target} is not a .yaml file", "FILE", "", (other,)))
    text = source.read_text(encoding="utf-8")
    own = f"tflite-recipes run {target.stem if target.parent == Path('recipes') else target}"
    text = text.replace(f"tflite-recipes run {source.stem}", own, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        what = f"{target} exists already, and is left as it is"
        other = f"tflite-recipes cp {options.recipe} {target.with_stem(f'{target.stem}_2')}"
        raise RequestError(Problem(what, "FILE", "", (other,))) from None
    print(f"{target}: yours to change; run it with: {own}")
    return ExitStatus.DONE


def _inspect(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import tflite_file
    from tflite_recipes.console import show_inspection

    show_inspection(tflite_file.describe(tflite_file.read_tflite(options.file)), options.file)
    return ExitStatus.DONE


def _rules(options: argparse.Namespace) -> ExitStatus:
    """The rules alone on standard output, ready to paste; what they are for on standard error."""
    from tflite_recipes import rule_making
    from tflite_recipes.console import show_chosen

    if options.top is not None and options.top < 1:
        raise RequestError(Problem(f"{options.top} ops are none", "--top", f"--top {rule_making.MOST}"))
    if options.below is not None and not math.isfinite(options.below):
        raise RequestError(Problem(f"{options.below} is not a number of decibels", "--below", "--below 20"))
    rows = rule_making.read(options.place)
    chosen = rule_making.choose(rows, options.top, options.below)
    if not chosen:
        limit = "" if options.below is None else f" with an own SQNR below {options.below:g} dB"
        print(f"{options.place} has no quantized op{limit}: there is no rule to give", file=sys.stderr)
        return ExitStatus.DONE
    show_chosen(chosen, options.scheme)
    found = rule_making.rules(chosen, options.scheme)
    print(rule_making.to_yaml(found) if options.yaml else rule_making.override(found), end="")
    print(end="" if options.yaml else "\n")
    return ExitStatus.DONE


def _run(options: argparse.Namespace, rest: list[str]) -> ExitStatus:
    from tflite_recipes import api, composition

    if unknown := [text for text in rest if text.startswith("-")]:
        what = f"{' '.join(unknown)} is not known here"
        raise RequestError(Problem(what, "run", "", ("tflite-recipes run --help",)))
    overrides = [*options.overrides, *rest]
    flags: list[str] = []
    if options.config_dir is not None:
        if not options.config_dir.is_dir():
            raise RequestError(Problem(f"there is no folder {options.config_dir}", "--config-dir"))
        flags = ["--config-dir", str(options.config_dir)]
    if questions := _questions(options):
        arguments = [*questions, *flags, *overrides, *(["--multirun"] if options.multirun else [])]
        composition.launch(options.recipe, arguments, options.config_dir, lambda job: None)
        return ExitStatus.DONE
    prepared = composition.prepare(options.recipe, overrides, options.config_dir, options.multirun)
    arguments = [*flags, *prepared.overrides]
    if options.multirun:
        return _sweep(options, prepared, arguments)
    api.warm_up()  # while Hydra makes its folders
    with _collected({}) as results:
        composition.launch(options.recipe, arguments, options.config_dir, _job)
        (result,) = results()
    return _finish(result[1])


def _questions(options: argparse.Namespace) -> list[str]:
    """Hydra's flags that ask about the config instead of running it."""
    asked = [f"--{name}={value}" for name in ("cfg", "info", "package") if (value := getattr(options, name))]
    return [*asked, *(f"--{name.replace('_', '-')}" for name in ("resolve", "hydra_help") if getattr(options, name))]


def _finish(result: RunResult) -> ExitStatus:
    from tflite_recipes.console import show_problems, show_result

    with contextlib.suppress(BrokenPipeError):  # nobody reads on; the run is done all the same
        sys.stdout.flush()
        show_problems(result.problems)
        show_result(result)
    return result.status


def _sweep(options: argparse.Namespace, prepared: Any, arguments: list[str]) -> ExitStatus:
    from tflite_recipes import composition
    from tflite_recipes.console import show_problems, show_sweep

    tracking, parent, failure = prepared.recipes[0].tracking, None, None
    if tracking is not None:
        from tflite_recipes.tracking import mlflow_tracker

        try:
            parent = mlflow_tracker.start_parent(tracking, prepared.recipes[0].name, list(options.overrides))
        except Exception as error:  # no server: the sweep runs all the same, and each run says so
            failure = str(error).splitlines()[0]
    finished = False
    try:
        with _collected({"parent": parent}) as results:
            composition.launch(options.recipe, ["--multirun", *arguments], options.config_dir, _job)
            jobs = results()
        status = next(s for s in _WORST if s in {result.status for _, result in jobs} or s is ExitStatus.DONE)
        finished = True
    finally:
        if parent is not None:
            outcome = "KILLED" if not finished else "FAILED" if status is ExitStatus.FAILED else "FINISHED"
            with contextlib.suppress(Exception):
                mlflow_tracker.end_parent(tracking, parent, outcome)
    shared = set.intersection(*(set(overrides) for overrides, _ in jobs)) if len(jobs) > 1 else set()
    own = [([text for text in overrides if text not in shared], result) for overrides, result in jobs]
    for overrides, result in own:
        if result.problems:
            print(f"\n{' '.join(overrides)}:", file=sys.stderr)
            show_problems(result.problems)
    show_sweep(own, parent)
    if failure:
        print(f"no parent run: {failure}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _collected(settings: dict[str, Any]) -> Iterator[Callable[[], list[tuple[tuple[str, ...], RunResult]]]]:
    """Results of the jobs that Hydra launches, gathered through a folder, because a launcher may run them in other
    processes. The folder's place goes down in the environment."""
    with tempfile.TemporaryDirectory(prefix="tflite_recipes_") as folder:
        os.environ[_SWEEP] = json.dumps({**settings, "results": folder})

        def gather() -> list[tuple[tuple[str, ...], RunResult]]:
            files = sorted(Path(folder).glob("*.pickle"))
            return [pickle.loads(file.read_bytes()) for file in files]  # written by our own jobs

        try:
            yield gather
        finally:
            del os.environ[_SWEEP]


def _job(job: Job) -> None:
    """One job, in whichever process Hydra's launcher put it. Never raises but for an interrupt."""
    from tflite_recipes import api
    from tflite_recipes.runner import RunResult

    settings = json.loads(os.environ[_SWEEP])
    if job.recipe is None:
        result = RunResult("", "", ExitStatus.REQUEST, job.output_dir, problems=job.problems)
    else:
        try:
            result = api.run(job.recipe, output_dir=_relative(job.output_dir), parent_run_id=settings.get("parent"))
        except RequestError as error:
            result = RunResult(
                job.recipe.name, job.recipe.digest, error.status, job.output_dir, problems=error.problems
            )
    (Path(settings["results"]) / f"{job.number:06d}.pickle").write_bytes(pickle.dumps((job.overrides, result)))


def _relative(path: Path) -> Path:
    """As the user would write it from where they stand."""
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


if __name__ == "__main__":
    main()
