"""The commands as users type them, but for those that need TensorFlow."""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.cli import examples
from tflite_recipes.cli.completion import COMMANDS
from tflite_recipes.config import composition


def test_without_a_command_it_prints_the_commands_to_start_with(cli):
    answer = cli()
    assert answer.status == 0
    starts = ("run digits_integer_only", "run convert source=keras source.path=model.keras", "ls", "--help")
    assert [line.partition("tflite-recipes ")[2] for line in answer.out.splitlines() if ":  " in line] == [*starts]


def test_help_names_every_command_and_the_exit_statuses(cli):
    out = cli("--help").out
    assert all(f"\n    {name} " in out for name in ("run", "ls", "show", "check", "cp", "inspect", "rules", "sync"))
    assert "exit status: 0 done; 1 a gate failed, or reproduce gave another file; 2 the request is wrong;" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(cli, command):
    answer = cli(command, "--help")
    assert answer.status == 0
    assert answer.out.startswith(f"usage: tflite-recipes {command}")
    assert answer.out.endswith(f"{examples.shown(command)}\n")


def test_each_command_has_two_or_three_examples():
    assert examples.EXAMPLES.keys() == set(COMMANDS)
    assert all(2 <= len(listed) <= 3 for listed in examples.EXAMPLES.values())
    lines = [line for command in COMMANDS for line in examples.shown(command).splitlines()]
    assert max(map(len, lines)) <= 110


def test_version(cli):
    assert cli("--version").out == f"tflite-recipes {version('tflite_recipes')}\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["chekc", "convert"], "there is no command 'chekc'; did you mean check?"),
        (["frobnicate"], "there is no command 'frobnicate'; there are run, ls"),
        (["run"], "no recipe"),
        (["show"], "no recipe"),
        (["inspect"], "no file"),
        (["reproduce"], "no run ID is named"),
        (["reproduce", "1", "--trus"], "there is no file mlflow.db with runs"),
        (["reproduce", "1", "--fast"], "--fast is not known here"),
        (["reproduce", "1", "calibration.samples=3"], "it would be another run"),
        (["reproduce", "1", "--input", "model.keras"], "'model.keras' is not KEY=FILE"),
        (["reproduce", "1", "--tolerance", "-1"], "-1.0 is no share of a range"),
        (["ls", "sorce"], "there is no group 'sorce'; there are source, substitution, pruning"),
        (["ls", "source", "target"], "target is not known here"),
        (["check", "convert", "--fast"], "--fast is not known here"),
        (["check", "digits_interger_only"], "did you mean digits_integer_only"),
        (["run", "nope"], "there is no recipe 'nope'; there are anomaly_detection, convert"),
        (["check", "mine.yaml"], "there is no file 'mine.yaml'"),
        (["run", "convert", "--config-dir", "nowhere"], "there is no folder nowhere"),
        (["cp", "nothing"], "there is no recipe 'nothing'"),
        (["cp", "convert", "mine.txt"], "mine.txt is not a .yaml file"),
        (["-sc", "install=zsh"], "completion is for bash"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused_without_a_traceback(cli, here, arguments, what):
    answer = cli(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert what in answer.err
    assert "Traceback" not in answer.err
    assert list(here.iterdir()) == []


def test_a_wrong_command_is_said_right(cli):
    assert "or: tflite-recipes check convert source=digits\n" in cli("chekc", "convert", "source=digits").err


def test_ls(cli, here):
    write(here / "recipes" / "mine.yaml", "# What mine is\ndefaults: [convert]\n")
    write(here / "conf" / "calibration" / "own.yaml", "# My data\n_target_: null\n")
    assert ["mine", "What", "mine", "is"] in [line.split() for line in cli("ls").out.splitlines()]
    assert ["own", "My", "data"] in [line.split() for line in cli("ls", "calibration").out.splitlines()]


@pytest.mark.slow
def test_show_can_be_run_again_to_the_same_digest(cli, here):
    shown = cli("show", "digits_pruned", "calibration.samples=70", "optimization=int16x8")
    assert shown.status == 0
    write(here / "again.yaml", shown.out)
    assert yaml.safe_load(shown.out)["calibration"]["samples"] == 70
    digests = [
        cli("check", *request).out.split()[-1]
        for request in (["again.yaml"], ["digits_pruned", "calibration.samples=70", "optimization=int16x8"])
    ]
    assert digests[0] == digests[1]
    changed = cli("check", "again.yaml", "optimization=float16", "calibration=none", "pruning=none")
    direct = cli("check", "digits_pruned", "optimization=float16", "calibration=none", "pruning=none")
    assert changed.out.split()[-1] == direct.out.split()[-1]


@pytest.mark.slow
def test_cp_gives_a_recipe_of_ones_own_and_never_overwrites(cli, here):
    answer = cli("cp", "digits_integer_only")
    assert answer.status == 0
    copied = here / "recipes" / "digits_integer_only.yaml"
    assert "tflite-recipes run digits_integer_only" in copied.read_text()
    copied.write_text(copied.read_text() + "calibration:\n  samples: 33\n")
    before = hashlib.sha256(copied.read_bytes()).hexdigest()
    assert cli("cp", "digits_integer_only").status == 2
    assert hashlib.sha256(copied.read_bytes()).hexdigest() == before
    assert yaml.safe_load(cli("show", "digits_integer_only").out)["calibration"]["samples"] == 33
    assert yaml.safe_load(cli("show", "builtin/digits_integer_only").out)["calibration"]["samples"] == 100
    assert cli("cp", "digits_pruned", "elsewhere/pruned.yaml").status == 0
    assert "tflite-recipes run elsewhere/pruned.yaml" in (here / "elsewhere" / "pruned.yaml").read_text()


def test_check_says_all_at_once(cli, here):
    answer = cli(
        "check",
        "digits_integer_only",
        "calibration.sample=3",
        "target=cpuu",
        "source.epochs=0",
        "evaluation.max_drop=low",
    )
    assert (answer.status, answer.out) == (2, "")
    assert len(answer.fixes) == 4


@pytest.mark.parametrize("command", ["show", "check", "run"])
def test_each_command_refuses_alike_and_leaves_nothing_behind(cli, here, command):
    answer = cli(command, "digits_integer_only", "calibraton.samples=5", "freeze.variables=no", "calibration=none")
    assert (answer.status, answer.out) == (2, "")
    assert answer.fixes == [
        "'~calibraton.samples' calibration.samples=5",
        "freeze.variables=auto",
        "calibration=digits",
    ]
    assert "or: calibration=npz calibration.path=FILE" in answer.err.splitlines()
    assert answer.err.splitlines()[0].startswith("calibraton.samples: unknown key; did you mean calibration")
    assert list(here.iterdir()) == []


def test_a_fix_is_one_line_however_long(cli, here):
    name = "a" * 300
    (fix,) = cli("check", "digits_float", f"tracking.run_name=~{name}").fixes
    assert fix == f"'tracking.run_name=\"~{name}\"'"


def test_check_says_what_is_chosen_and_the_digest(cli, here):
    answer = cli("check", "digits_float")
    assert (answer.status, answer.err) == (0, "")
    assert "nothing wrong with digits_float: source=digits, " in answer.out
    assert composition.compose("digits_float").digest in answer.out


def test_the_same_from_python(here):
    assert api.check("digits_float") == ()
    (problem,) = api.check("digits_float", ["source.epochs=0"])
    assert problem.fix == "source.epochs=1"
    assert api.compose("digits_float", ["source.epochs=2"]).steps[0].instance.epochs == 2


def test_check_takes_a_sweep(cli, here):
    refused = cli("check", "digits_float", "source.seed=1,2")
    assert refused.status == 2
    answer = cli("check", "digits_float", "source.seed=1,2", "-m")
    assert answer.status == 0
    assert "2 jobs" in answer.out


@pytest.mark.slow
def test_hydras_own_questions(cli_process, here):
    answer = cli_process("run", "digits_float", "--cfg", "job", "-p", "worker", cwd=here)
    assert answer.status == 0
    assert "timeout_s: null" in answer.out
    assert not (here / "outputs").exists()


def test_inspect(cli, shared):
    answer = cli("inspect", str(shared / "models" / "vww_96_int8.tflite"))
    assert answer.status == 0
    for part in ("333,288 bytes", "96, 96, 3)", "int8", "DEPTHWISE_CONV_2D 13"):
        assert part in answer.out


def test_inspect_refuses_what_is_no_tflite(cli, here):
    write(here / "model.tflite", "not one")
    assert cli("inspect", "model.tflite").status == 2
    assert cli("inspect", "absent.tflite").status == 2


@pytest.mark.slow
@pytest.mark.parametrize("file", ["recipes/mine.yaml", "other/mine.yml"])
def test_a_copy_runs_by_the_command_that_it_opens_with(cli, here, file):
    assert cli("cp", "digits_float", file).status == 0
    (command,) = (line for line in (here / file).read_text().splitlines() if "tflite-recipes run" in line)
    recipe = command.split()[-1]
    assert composition.compose(recipe).digest == composition.compose("digits_float").digest


# What goes wrong on the way


def test_an_interrupt_is_not_a_traceback(cli, here, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(composition, "compose", interrupted)
    answer = cli("show", "convert")
    assert (answer.status, answer.err) == (130, "")


def test_a_traceback_comes_with_debug_only(cli, here, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(composition, "compose", broken)
    answer = cli("show", "convert")
    assert answer.status == 3
    assert "ZeroDivisionError at line" in answer.err.splitlines()[0]
    with pytest.raises(ZeroDivisionError):
        cli("show", "convert", "--debug")


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = f"{sys.executable} -m tflite_recipes show digits_float | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_command_works_in_any_locale(tmp_path, cli_process):
    answer = cli_process("ls", "source", cwd=tmp_path, env={**os.environ, "LC_ALL": "C"})
    assert answer.status == 0
    assert answer.out.splitlines()[0].startswith("digits ")
