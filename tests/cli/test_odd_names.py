"""Names and paths that nobody means: every command refuses them in words, never in Python's."""

import re

import pytest
from support.checkout import write

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError

pytestmark = pytest.mark.slow  # for its number of compositions

PYTHON_WORDS = re.compile(
    r"Traceback|[A-Z]\w+(Error|Exception)\b|Errno|codec can't|NoneType|<class '|null byte|fault of"
)
NAMES = ["x" * 300, "a/" * 3000, "nul\0x", "half\ud800", ".", "..", "", "folder", "file/x", "loop", "gone"]
COMMANDS = [
    ["check", "{}"],
    ["check", "{}.yaml"],
    ["check", "convert", "{}"],
    ["check", "convert", "{}=1"],
    ["check", "-m", "convert", "{}=1,2"],
    ["show", "{}"],
    ["run", "convert", "-cd", "{}"],
    ["inspect", "{}"],
    ["rules", "{}"],
    ["cp", "convert", "{}.yaml"],
    ["ls", "{}"],
    ["{}"],
]
# A key that holds a path, and what makes the recipe whole up to it.
KEYS = [
    ["source=keras", "source.path={}"],
    ["source=saved_model", "source.path={}"],
    ["source=tflite", "source.path={}"],
    ["source=factory", "source.function={}.py:build"],
    ["source=factory", "source.function=ok.py:build", "source.weights={}"],
    ["source=digits", "calibration=npz", "calibration.path={}"],
    ["source=digits", "calibration=npy", "calibration.path={}"],
    ["source=digits", "calibration=csv", "calibration.path={}"],
    ["source=digits", "calibration=images", "calibration.path={}"],
    ["source=digits", "calibration=wav", "calibration.path={}"],
    ["source=digits", "calibration=tfrecord", "calibration.path={}"],
    ["source=digits", "calibration=generator", "calibration.function={}.py:rows"],
    ["source=digits", "target=generic", "target.labels={}"],
    ["source=digits", "target=ethos_u55_128", "target.config={}"],
    ["source=digits", "substitution=rules", "substitution.layers.dense={}.py:build"],
]


@pytest.fixture
def places(here):
    (here / "folder").mkdir()
    write(here / "file", "text")
    write(here / "ok.py", "def build():\n    pass\n")
    (here / "loop").symlink_to("loop")
    (here / "gone").symlink_to("nowhere")
    return here


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_with_an_odd_name_refuses_it_in_words(places, cli, command):
    for name in NAMES:
        answer = cli(*(word.format(name) for word in command))
        assert not PYTHON_WORDS.search(answer.err), (name[:20], answer.err[:300])
        assert answer.status in (0, 2), (name[:20], answer.err[:300])


@pytest.mark.parametrize("name", ["x" * 300, "nul\0x", "half\ud800", "folder", "", "loop", "gone", "file/x"])
def test_path_with_an_odd_name_is_refused_in_words(places, name):
    for key in KEYS if name in ("nul\0x", "folder") else KEYS[:7:3]:
        overrides = [re.sub(r"=(\{\}.*)", lambda found: f"='{found[1].format(name)}'", word) for word in key]
        text = refusal(overrides)
        assert not PYTHON_WORDS.search(text), (key, text[:300])


def refusal(overrides):
    try:
        composition.compose("convert", overrides)
    except RequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("sign", ["", "+", "~", "++"])
def test_key_longer_than_a_name_is_an_unknown_key(here, sign):
    with pytest.raises(RequestError) as error:
        composition.compose("digits_float", [f"{sign}{'x' * 300}=1"])
    assert len(error.value.problems[0].where) < 200
