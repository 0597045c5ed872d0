"""The tests of pages find what is wrong in a page, and its line."""

import pytest
from support.checkout import Answer, write
from support.docs_blocks import PROGRAM, PageError, blocks, commands
from support.docs_overrides import wrong_names
from support.docs_runner import PageRunner, differences


def page(folder, text):
    return write(folder / "page.md", text)


def run_page(folder, text, answers):
    """The problems of a page whose commands answer as `answers` says, and the commands."""
    typed = []

    def cli(*words):
        typed.append(" ".join(words))
        return answers(*words)

    listed = blocks(page(folder, text))
    return PageRunner(folder, cli, listed).problems(listed), typed


def done(*words):
    return Answer(0, "", "")


def test_blocks_have_the_line_of_their_code_and_the_comment_above(tmp_path):
    found = blocks(page(tmp_path, "# Page\n\n<!-- check -->\n```sh\none\n```\n\n```text\n```\n"))
    assert [(block.line, block.language, block.steering) for block in found] == [(5, "sh", "check"), (9, "text", "")]


@pytest.mark.parametrize("text", ["```shell\n```\n", "```\n```\n", "<!-- chekc -->\n```sh\n```\n"])
def test_blocks_refuse_unknown_languages_and_comments(tmp_path, text):
    with pytest.raises(PageError, match="line"):
        blocks(page(tmp_path, text))


def test_commands_of_a_shell_text_are_those_of_this_package():
    text = f"pip install x && {PROGRAM} run a \\\n    b='c d' > out.yaml  # comment\nA=1 {PROGRAM} ls | less\n"
    found = list(commands(text, 10))
    assert [(command.line, command.words, command.output) for command in found] == [
        (10, ("run", "a", "b=c d"), "out.yaml"),
        (12, ("ls",), None),
    ]
    assert found[1].variables == (("A", "1"),)


@pytest.mark.parametrize("text", ["tflite-recipe ls", "tflite-recipes ls 'x"])
def test_commands_refuse_a_program_that_does_not_exist_and_open_quotes(text):
    with pytest.raises(PageError, match="line 3"):
        list(commands(f"\n\n{text}\n", 1))


def test_runner_reports_a_command_that_fails_with_its_line(here):
    text = "```sh\ntflite-recipes ls\ntflite-recipes run b\n```\n"
    problems, typed = run_page(here, text, lambda *words: Answer(2 if "b" in words else 0, "", "wrong key"))
    assert typed == ["ls", "run b tracking=none"]
    assert len(problems) == 1
    assert problems[0].startswith("line 3: tflite-recipes run b")
    assert "wrong key" in problems[0]


@pytest.mark.parametrize(
    ("steering", "typed"),
    [("check", ["check a"]), ("compose", ["check a"]), ("not run: needs a board", [])],
)
def test_runner_obeys_the_comment_above_a_block(here, steering, typed):
    assert run_page(here, f"<!-- {steering} -->\n```sh\ntflite-recipes run a\n```\n", done) == ([], typed)


def test_runner_compares_the_output_of_a_console_block(here):
    text = "```console\n$ tflite-recipes ls\na 12\nb\n$ tflite-recipes show a\nc\n```\n"
    answers = {"ls": "a 13\nb\n", "show": "d\n"}
    problems, _ = run_page(here, text, lambda *words: Answer(2, answers[words[0]], ""))
    assert [problem.splitlines()[0] for problem in problems] == [
        "line 5: $ tflite-recipes show a prints something else:"
    ]


def test_runner_reports_python_that_fails_with_its_line(here):
    text = "```python\nx = 1\n```\n\n```python\nassert x == 1\nx.nothing\n```\n"
    (problem,), _ = run_page(here, text, done)
    assert problem.startswith("line 7: AttributeError")


def test_runner_writes_named_files(here):
    text = "```python\n# mine.py\nx = 1\n```\n\n```yaml\n# recipes/mine.yaml, inherits ours\na: 1\n```\n"
    assert run_page(here, text, done) == ([], [])
    assert (here / "mine.py").read_text().startswith("# mine.py\n")
    assert (here / "recipes" / "mine.yaml").exists()


def test_runner_reports_yaml_that_cannot_be_read(here):
    (problem,), _ = run_page(here, "```yaml\na: [\n```\n", done)
    assert problem.startswith("line 2: no YAML")


def test_output_is_compared_without_what_changes():
    shown = "run ID: 0123456789abcdef0123456789abcdef\ntook 3.5 s\n…\nend\n"
    printed = "run ID: ffffffffffffffffffffffffffffffff\ntook 12 s\nmore\nlines\nend\n"
    assert differences(shown, printed) == ""
    assert "-end" in differences(shown, printed.replace("end", "and"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("`optimization=intger_only`", "optimization has no option intger_only"),
        ("`optimisation=int16x8`", "there is no group or key 'optimisation'"),
        ("`calibration.sample=5`", "calibration has no key 'sample'"),
        ("`evaluation.maxdrop` is a gate", "evaluation has no key 'maxdrop'"),
        ("`target.runner=shh`", "there is no shh"),
        ("```sh\ntflite-recipes run x conversion.fallback=[flot32]\n```", "there is no flot32"),
    ],
)
def test_wrong_names_are_found_with_their_line(text, reason):
    ((line, found),) = wrong_names(f"# Page\n\n{text}\n")
    assert line == (4 if text.startswith("```") else 3)
    assert reason in found


@pytest.mark.parametrize(
    "text",
    [
        "`optimization=none,float16` `calibration.samples=50` `scale=0.5` `target.runner=ssh`",
        "`'substitution.layers={gate: \"gates.py:gate\"}'` `steps` `worker.timeout_s=600`",
        "`calibration.json` `pruning.accuracy_after` `source.path=model.keras` `hydra.launcher.n_jobs=2`",
        "`calibration=mine` is the file `conf/calibration/mine.yaml`",
        "```python\nf(optimisation=3)\n```",
    ],
)
def test_names_that_exist_are_not_reported(text):
    assert wrong_names(text) == []
