"""What the tab key offers: asked of Python, and pressed in a real interactive bash."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.checkout import Answer, write

from tflite_recipes.cli import completion
from tflite_recipes.cli.completion import LastWord, candidates, split
from tflite_recipes.config import catalog

TOOL = Path(sys.executable).with_name("tflite-recipes")
BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(
    BASH is None or not TOOL.exists(), reason="bash or the installed command tflite-recipes is not here"
)

OWN_RECIPE = """\
# @package _global_
# tflite-recipes run mine
# Mine
defaults:
  - /builtin/digits_integer_only
  - _self_
"""
OWN_OPTION = """\
# My own source
_target_: my_model:MySource
size: 3
shape: [1, 2]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: a model, a recipe and an option of their own."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("model.keras", "my model.keras", "made.tflite", "quantization_error.csv", ".hidden"):
        (folder / name).touch()
    write(folder / "recipes" / "mine.yaml", OWN_RECIPE)
    write(folder / "conf" / "source" / "my_own.yaml", OWN_OPTION)
    write(folder / "elsewhere" / "other.yaml", OWN_RECIPE)
    write(folder / "more" / "target" / "board.yaml", "# A board\n_target_: board:Board\npins: 8\n")
    return folder


@pytest.fixture
def standing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(desk)
    return desk


def offered(line: str) -> list[str]:
    return candidates(f"tflite-recipes {line}")


# ---- what is offered


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", [f"{name} " for name in completion.COMMANDS]),
        ("rep", ["reproduce "]),
        ("reproduce abc --use", ["--use-kept "]),
        ("reproduce abc --tr", ["--tracking-uri ", "--trust "]),
        ("reproduce abc --source mo", ["model.keras ", "more/"]),
        ("reproduce abc --tolerance ", []),
        ("ru", ["run ", "rules "]),
        ("run", ["run "]),
        ("--v", ["--version "]),
        ("--debug in", ["inspect "]),
        ("nonsense ", []),
        ("run --mu", ["--multirun "]),
        ("show --c", []),
        ("ls sou", ["source "]),
        ("ls source ", []),
        ("run digits_i", ["digits_integer_only "]),
        ("run -m digits_i", ["digits_integer_only "]),
        ("check mi", ["mine "]),
        ("cp digits_f", ["digits_float "]),
        ("run builtin/conv", ["builtin/convert "]),
        ("run ./el", ["./elsewhere/"]),
        ("run ./elsewhere/", ["./elsewhere/other.yaml "]),
        ("run elsew", ["elsewhere/"]),
        ("inspect ma", ["made.tflite "]),
        ("inspect ./mod", []),
        ("rules ./mor", ["./more/"]),
        ("rules quant", ["quantization_error.csv "]),
        ("rules quantization_error.csv --sch", ["--scheme "]),
        ("rules quantization_error.csv --scheme int", ["int16x8 "]),
        ("rules --top 3 quant", ["quantization_error.csv "]),
        ("rules quantization_error.csv ", []),
        ("run --config-dir mo", ["more/"]),
        ("run --cfg jo", ["job "]),
        ("run --config-dir more convert target=bo", ["target=board "]),
        ("run --config-dir more convert target=board target.", ["target.pins="]),
    ],
)
def test_commands_recipes_flags_and_files(standing: Path, line: str, expected: list[str]) -> None:
    assert offered(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run convert sou", ["source="]),
        ("run convert +sou", ["+source="]),
        ("run convert source=ke", ["source=keras ", "source=keras_application "]),
        ("run convert source=my", ["source=my_own "]),
        ("run mine -m optimization=none,integ", ["optimization=none,integer_only "]),
        ("run mine calibration=npz calibration.sa", ["calibration.samples="]),
        ("run mine source=my_own source.s", ["source.size=", "source.shape="]),
        ("run convert source=keras source.path=./mo", ["source.path=./model.keras ", "source.path=./more/"]),
        ("run convert source=keras source.path=mod", ["source.path=model.keras "]),
        ("run convert source=nonsense source.", []),
        # Hydra is asked for what the recipe itself decides.
        ("run digits_integer_only calibration.sa", ["calibration.samples="]),
        ("run mine calibration.samples=", ["calibration.samples=100 "]),
        ("run elsewhere/other.yaml freeze.va", ["freeze.variables="]),
        ("run mine worker.t", ["worker.timeout_s="]),
        ("run mine optimization.output_type=u", ["optimization.output_type=uint8 "]),
        ("run mine optimization.per_channel=", ["optimization.per_channel=false ", "optimization.per_channel=true "]),
        ("run mine cali", ["calibration=", "calibration."]),
        # Nothing is chosen yet: the keys of every option.
        ("run convert source.pa", ["source.path="]),
        ("run convert calibration.lo", ["calibration.low="]),
        ("run no_such_recipe source=sav", ["source=saved_model "]),
        ("run no_such_recipe source.sig", ["source.signature="]),
    ],
)
def test_groups_options_keys_and_values(standing: Path, line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_every_group_and_option_is_offered(standing: Path) -> None:
    groups = catalog.list_groups()
    assert {f"{group}=" for group in groups} <= set(offered("run convert "))
    for group, options in groups.items():
        assert offered(f"run convert {group}=") == [f"{group}={option} " for option in options]


@pytest.mark.slow
def test_no_key_is_the_class_behind_a_section(standing: Path) -> None:
    found = offered("run mine optimization.") + offered("run convert source.") + offered("run mine worker.")
    assert found
    assert not [text for text in found if "_target_" in text]


@pytest.mark.slow
def test_a_resolved_recipe_completes_like_the_one_it_came_from(
    cli: Callable[..., Answer], standing: Path, tmp_path: Path
) -> None:
    resolved = write(tmp_path / "resolved.yaml", cli("show", "mine").out)
    for line in ("source", "calibration.", "optimization="):
        assert set(offered(f"run {resolved} {line}")) == set(offered(f"run mine {line}"))


def test_an_own_option_that_inherits_has_the_keys_of_both(standing: Path) -> None:
    text = "# Mine, larger\ndefaults:\n  - my_own\n  - _self_\ndepth: 2\n"
    child = write(standing / "conf" / "source" / "my_larger.yaml", text)
    try:
        assert sorted(offered("run mine source=my_larger source.")) == [
            "source.depth=",
            "source.shape=",
            "source.size=",
        ]
    finally:
        child.unlink()


# ---- the line as typed


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        ("", [], LastWord()),
        ("a b", ["a"], LastWord("b", "b")),
        ("a  b ", ["a", "b"], LastWord()),
        (r"a k=my\ m", ["a"], LastWord(r"k=my\ m", "k=my m")),
        ("a k='my m", ["a"], LastWord("k='my m", "k=my m", "'")),
        ('a "k=\\$m \\n', ["a"], LastWord('"k=\\$m \\n', "k=$m \\n", '"')),
        ("a 'b c' d", ["a", "b c"], LastWord("d", "d")),
        ("a '' d", ["a", ""], LastWord("d", "d")),
    ],
)
def test_a_line_splits_as_the_shell_splits_it(line: str, words: list[str], last: LastWord) -> None:
    assert split(line) == (words, last)


def test_anything_that_goes_wrong_is_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", "tflite-recipes r")
    assert completion.shell_completion("query=bash") != ""
    monkeypatch.setenv("COMP_POINT", "no number")
    assert completion.shell_completion("query=bash") == ""
    assert capfd.readouterr() == ("", "")


def test_another_shell_is_refused(cli: Callable[..., Answer]) -> None:
    answer = cli("-sc", "install=zsh")
    assert (answer.status, answer.fixes) == (2, ["-sc install=bash"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("run convert source=ke", ("hydra", "tensorflow", "mlflow", "keras")),
        ("run mine calibration.sa", ("tensorflow", "mlflow", "keras")),
        ("run mine optimization.input_type=", ("tensorflow", "mlflow", "keras")),
    ],
)
def test_a_key_press_loads_little(desk: Path, line: str, absent: tuple[str, ...]) -> None:
    code = (
        "import sys; from tflite_recipes.cli.completion import shell_completion as s; "
        "print(s('query=bash'), *sys.modules)"
    )
    environment = {**os.environ, "COMP_LINE": f"tflite-recipes {line}"}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=True).stdout
    assert line.rpartition(" ")[2] in found
    assert not set(absent) & set(found.split())


# ---- in bash


PROMPT = "READY> "


class Shell:
    """An interactive bash on a terminal of its own, with completion installed."""

    def __init__(self, folder: Path) -> None:
        path = f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}"
        home = {"HOME": str(folder), "INPUTRC": os.devnull, "HISTFILE": os.devnull}
        environment = {**os.environ, **home, "PATH": path, "TERM": "dumb", "PS1": PROMPT, "COLUMNS": "500"}
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execve(BASH or "", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.run("bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; stty cols 500")
        # Ctrl-X d shows the line as it stands.
        self.run(r"""bind -x '"\C-xd": printf "LINE%s[%s]\n" : "$READLINE_LINE"'""")
        self.run('eval "$(tflite-recipes -sc install=bash)"')

    def run(self, command: str) -> str:
        """What a command prints, behind its echo."""
        self._write(f"{command}; printf 'STATUS%s[%s]\\n' : $?\n")
        shown = self._until(rf"STATUS:\[\d+\]\s[\s\S]*{PROMPT}$")
        return re.sub(r"STATUS:\[.*", "", shown.partition("\n")[2], flags=re.DOTALL)

    def press(self, typed: str) -> tuple[str, str]:
        """The line after typing this, tabs and all, and everything that the terminal showed. The line is not run."""
        self._write(f"{typed}\x18d")
        shown = self._until(r"LINE:\[.*\]\r?\n")
        self._write("\x05\x15")  # to its end, and away with it
        self.run(":")
        return re.findall(r"LINE:\[(.*)\]", shown)[-1], shown

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)

    def _write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _until(self, pattern: str, seconds: float = 60) -> str:
        shown = ""
        end = time.monotonic() + seconds
        while not re.search(pattern, shown):
            ready, _, _ = select.select([self._terminal], [], [], end - time.monotonic())
            assert ready, f"bash showed only {shown!r}"
            shown += os.read(self._terminal, 65536).decode(errors="replace")
        return shown


@pytest.fixture(scope="module")
def shell(desk: Path) -> Iterator[Shell]:
    started = Shell(desk)
    yield started
    started.close()


PRESSED = [
    ("tflite-recipes run\t", "tflite-recipes run "),
    ("tflite-recipes rul\t", "tflite-recipes rules "),
    ("tflite-recipes run digits_i\t", "tflite-recipes run digits_integer_only "),
    ("tflite-recipes run mi\tsou\t", "tflite-recipes run mine source"),
    ("tflite-recipes run ./els\to\t", "tflite-recipes run ./elsewhere/other.yaml "),
    ("tflite-recipes run convert sou\tke\t", "tflite-recipes run convert source=keras"),
    ("tflite-recipes run convert source=sa\t", "tflite-recipes run convert source=saved_model "),
    ("tflite-recipes run mine calibration.sa\t", "tflite-recipes run mine calibration.samples="),
    (
        "tflite-recipes run mine -m optimization=none,integ\t",
        "tflite-recipes run mine -m optimization=none,integer_only ",
    ),
    ("tflite-recipes run convert source.path=./mod\t", "tflite-recipes run convert source.path=./model.keras "),
    ("tflite-recipes ls opt\t", "tflite-recipes ls optimization "),
    ("tflite-recipes inspect mad\t", "tflite-recipes inspect made.tflite "),
]


@pytest.mark.slow
@needs_bash
@pytest.mark.parametrize(("typed", "line"), PRESSED)
def test_pressing_tab(shell: Shell, typed: str, line: str) -> None:
    assert shell.press(typed)[0] == line


@pytest.mark.slow
@needs_bash
def test_words_may_break_at_equals_and_colon_or_not(shell: Shell) -> None:
    before = shell.run('printf %q "$COMP_WORDBREAKS"')
    assert "=" in before
    shell.run('kept="$COMP_WORDBREAKS"; COMP_WORDBREAKS="${COMP_WORDBREAKS//[=:]}"')
    try:
        for typed, line in PRESSED[4:9]:
            assert shell.press(typed)[0] == line
    finally:
        shell.run('COMP_WORDBREAKS="$kept"')
    assert shell.run('printf %q "$COMP_WORDBREAKS"') == before  # completing has not touched it


@pytest.mark.slow
@needs_bash
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("source.path=./my\t", r"source.path=./my\ model.keras "),
        (r"source.path=./my\ m" "\t", r"source.path=./my\ model.keras "),
        ("source.path='./my m\t", "source.path='./my model.keras'"),
        ('"source.path=./my m\t', '"source.path=./my model.keras"'),
        ('"source=sav\t', '"source=saved_model"'),
    ],
)
def test_quoting_goes_on_as_it_was_begun(shell: Shell, typed: str, line: str) -> None:
    assert shell.press(f"tflite-recipes run convert {typed}")[0] == f"tflite-recipes run convert {line}"


@pytest.mark.slow
@needs_bash
def test_several_candidates_are_listed_without_what_is_typed(shell: Shell) -> None:
    line, shown = shell.press("tflite-recipes run convert source=ke\t\t\t")
    assert line == "tflite-recipes run convert source=keras"
    assert re.search(r"\n\s*keras\s+keras_application\s", shown)


@pytest.mark.slow
@needs_bash
def test_the_cursor_may_stand_inside_the_line(shell: Shell) -> None:
    back = "\x1b[D" * len(" source=keras")
    line, _ = shell.press(f"tflite-recipes run convert source.cust source=keras{back}\t")
    assert line == "tflite-recipes run convert source.custom_objects= source=keras"


@pytest.mark.slow
@needs_bash
def test_a_redirection_is_left_to_bash(shell: Shell) -> None:
    assert shell.press("tflite-recipes show mine > elsewh\t")[0].startswith("tflite-recipes show mine > elsewhere")


@pytest.mark.slow
@needs_bash
def test_the_command_may_be_given_by_its_path(shell: Shell) -> None:
    assert shell.press(f"cd . && {TOOL} run convert source=sa\t")[0].endswith(" run convert source=saved_model ")


@pytest.mark.slow
@needs_bash
@pytest.mark.parametrize(
    "typed",
    [
        "tflite-recipes run no_such_recipe nonsense.ke",
        "tflite-recipes run convert nonsense=1 source=nonsense calibration.nonse",
        "tflite-recipes run convert '%broken=[{ ",
        "/no/such/folder/tflite-recipes run convert nonse",
        "tflite-recipes run broken calibration.nonse",
    ],
)
def test_where_nothing_fits_the_terminal_stays_clean(shell: Shell, desk: Path, typed: str) -> None:
    broken = write(desk / "recipes" / "broken.yaml", "defaults: [\n")
    try:
        line, shown = shell.press(f"{typed}\t\t")
    finally:
        broken.unlink()
    assert line == typed
    assert re.sub(r"LINE:\[.*", "", shown, flags=re.DOTALL).strip() == typed.strip()


@pytest.mark.slow
@needs_bash
def test_the_function_can_be_called_by_hand(desk: Path) -> None:
    script = """
    eval "$(tflite-recipes -sc install=bash)"
    COMP_LINE="tflite-recipes run convert source=sav" COMP_POINT=37
    COMP_WORDS=(tflite-recipes run convert source = sav) COMP_CWORD=5
    _tflite_recipes_complete && printf '<%s>' "${COMPREPLY[@]}"
    COMP_WORDS=(tflite-recipes run convert source=sav) COMP_CWORD=3
    _tflite_recipes_complete && printf '<%s>' "${COMPREPLY[@]}"
    unset COMP_POINT
    _tflite_recipes_complete tflite-recipes sav = && printf '<%s>' "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [BASH or "", "--norc", "--noprofile", "-c", script]
    done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("<saved_model ><source=saved_model ><saved_model >", "")


@pytest.mark.slow
@needs_bash
def test_uninstalling_leaves_nothing(desk: Path) -> None:
    script = """
    set | grep -v '^\\(BASH_LINENO\\|PIPESTATUS\\|_\\)=' > before
    eval "$(tflite-recipes -sc install=bash)"
    complete -p tflite-recipes
    eval "$(tflite-recipes -sc uninstall=bash)"
    set | grep -v '^\\(BASH_LINENO\\|PIPESTATUS\\|_\\)=' > after
    complete -p tflite-recipes
    diff before after && echo same
    """
    environment = {**os.environ, "PATH": f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [BASH or "", "--norc", "--noprofile", "-c", script]
    done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "complete -o default -o nospace -F _tflite_recipes_complete tflite-recipes",
        "same",
    ]
    assert "no completion specification" in done.stderr
