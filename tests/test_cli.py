"""The commands as users type them, but for those that need TensorFlow."""

import hashlib

import pytest
import yaml
from conftest import write


def test_without_a_command_it_says_what_to_do_next(cli):
    answer = cli()
    assert answer.status == 0
    assert "tflite-recipes run digits_integer_only" in answer.out
    assert cli("--help").out == answer.out


def test_version(cli):
    assert cli("--version").out.startswith("tflite-recipes ")


@pytest.mark.parametrize(
    "arguments", [["runn", "x"], ["run"], ["show"], ["ls", "sorce"], ["run", "nope"], ["-sc", "install=zsh"]]
)
def test_a_wrong_command_line_is_refused_without_a_traceback(cli, here, arguments):
    answer = cli(*arguments)
    assert answer.status == 2
    assert answer.err
    assert "Traceback" not in answer.err


def test_ls(cli, here):
    write(here / "recipes" / "mine.yaml", "# What mine is\ndefaults: [convert]\n")
    write(here / "conf" / "calibration" / "own.yaml", "# My data\n_target_: null\n")
    assert ["mine", "What", "mine", "is"] in [line.split() for line in cli("ls").out.splitlines()]
    assert ["own", "My", "data"] in [line.split() for line in cli("ls", "calibration").out.splitlines()]


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
    assert answer.status == 2
    assert len(answer.fixes) == 4


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
