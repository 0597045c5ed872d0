"""Rules from a table of errors: which ops, as what, and that what is printed can be pasted."""

import re
import shlex

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from omegaconf import OmegaConf
from support.tensor_error_rows import activation, names

from tflite_recipes.conversion import rule_suggestions as qr
from tflite_recipes.conversion.quality import tensor_errors as qe

ODD = 'a/b_1;c (x) "q" \\d+$ it\'s ${x} [0]{1}'


def table(folder, *rows):
    qe.write_csv(folder / qe.TABLE, rows)
    return folder / qe.TABLE


def chain(*own):
    """Ops that each add noise of so many dB to an exact input."""
    return [activation(f"t{i}", "CONV_2D", value, value, scale=1.0 + i) for i, value in enumerate(own)]


def parsed(line):
    """What composition makes of an override as the shell hands it over."""
    (text,) = shlex.split(line)
    override = OverridesParser.create().parse_override(text)
    assert override.key_or_group == "optimization.rules"
    return OmegaConf.to_container(OmegaConf.create(override.value()), resolve=True)


# Which


def test_the_few_that_make_most_of_the_noise_come_by_themselves():
    assert [op.tensor for op in qr.choose(chain(3.0, 5.0, 40.0, 42.0))] == ["t0", "t1"]


def test_of_many_alike_only_five_come_by_themselves():
    assert len(qr.choose(chain(*[30.0] * 12))) == 5


def test_by_number_and_by_limit():
    rows = chain(30.0, 10.0, 20.0)
    assert [op.tensor for op in qr.choose(rows, top=2)] == ["t1", "t2"]
    assert [op.tensor for op in qr.choose(rows, below=25.0)] == ["t1", "t2"]
    assert qr.choose(rows, below=5.0) == []
    assert qr.choose([]) == []


def test_what_goes_together_comes_along_and_once():
    rows = [
        activation("before", "CONV_2D", 36.0, 36.0),
        activation("a", "DEPTHWISE_CONV_2D", 9.0, 41.0, 36.0, ["before"], scale=0.1),
        activation("b", "DEPTHWISE_CONV_2D", 10.0, 41.0, 36.0, ["before"], scale=0.1),
    ]
    assert [op.tensor for op in qr.choose(rows, top=2)] == ["a", "before", "b"]


# As what


def test_a_rule_finds_its_op_and_no_other():
    (rule,) = qr.rules(qr.choose([activation(ODD, "ADD", 3.0, 3.0)]), "int16x8")
    assert (rule["op"], rule["scheme"]) == ("ADD", "int16x8")
    assert re.search(rule["name"], ODD)
    assert not re.search(rule["name"], f"{ODD}1")
    assert not re.search(rule["name"], f"x{ODD}")


@given(names)
def test_any_name_survives_shell_and_hydra(name):
    found = qr.rules(qr.choose([activation(name, "ADD", 3.0, 3.0)]), "float")
    assert parsed(qr.override(found)) == found
    assert yaml.safe_load(qr.to_yaml(found)) == {"optimization": {"rules": found}}


def test_an_odd_name_survives_shell_and_hydra():
    found = qr.rules(qr.choose([activation(ODD, "ADD", 3.0, 3.0)]), "float")
    assert parsed(qr.override(found)) == found


# The command


def test_the_command_prints_the_override_alone(cli, here):
    table(here, *chain(3.0, 40.0))
    answer = cli("rules", str(here))
    assert answer.status == 0
    assert answer.out.count("\n") == 1
    assert parsed(answer.out) == [{"name": "^t0$", "op": "CONV_2D", "scheme": "float"}]
    assert "layer_t0" in answer.err
    assert cli("rules", qe.TABLE).out == answer.out


def test_the_command_prints_yaml(cli, here):
    table(here, *chain(3.0, 40.0))
    answer = cli("rules", qe.TABLE, "--top", "2", "--scheme", "int16x8", "--yaml")
    schemes = [rule["scheme"] for rule in yaml.safe_load(answer.out)["optimization"]["rules"]]
    assert schemes == ["int16x8", "int16x8"]


def test_nothing_below_the_limit_is_said_and_no_error(cli, here):
    table(here, *chain(30.0, 40.0))
    answer = cli("rules", qe.TABLE, "--below", "12.5")
    assert (answer.status, answer.out) == (0, "")
    assert "no quantized op with an own SQNR below 12.5 dB" in answer.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nowhere.csv"], "nowhere.csv: there is no such file"),
        (["."], "quantization_error.csv: there is no such file"),
        (["other.csv"], "other.csv: is not a quantization_error.csv as a run writes it"),
        (["other.csv", "--top", "0"], "0 ops are none"),
        (["other.csv", "--below", "nan"], "nan is not a number of decibels"),
        (["other.csv", "--top", "1", "--below", "3"], "not allowed with"),
        (["other.csv", "--scheme", "int7"], "invalid choice"),
        ([], "no file is named"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused(cli, here, arguments, what):
    (here / "other.csv").write_text("a,b\n")
    answer = cli("rules", *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert what in answer.err
    assert "Traceback" not in answer.err
