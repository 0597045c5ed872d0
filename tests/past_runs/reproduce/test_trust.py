"""Recipes from a server: what is refused of them, and that refusing looks at nothing that they name."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import write

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce import trust

EVIL = "open('imported', 'w').close()\n\n\ndef build():\n    return None\n"


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A recipe of built-in steps on files, as a run logs it."""
    folder = tmp_path_factory.mktemp("logged")
    np.savez(folder / "cal.npz", x=np.zeros((3, 4), "float32"))
    write(folder / "make.py", "def build():\n    pass\n")
    overrides = ["source=factory", f"source.function={folder}/make.py:build"]
    overrides += ["calibration=npz", f"calibration.path={folder}/cal.npz"]
    config = yaml.safe_load(composition.compose("convert", [*overrides, "target=cpu"]).to_yaml())
    keras = {"_target_": "tflite_recipes.steps.source.KerasSource", "path": "model.keras", "custom_objects": []}
    config["source"] = {**keras, "trust": False, "input_shapes": {}}
    return config


@pytest.fixture
def plain(logged, here):
    return copy.deepcopy(logged)


def keys(config):
    return [problem.where for problem in trust.problems(trust.parsed(yaml.safe_dump(config)))]


def with_(config, key, value):
    group, _, name = key.partition(".")
    return {**config, group: {**config.get(group, {}), name: value}} if name else {**config, group: value}


@pytest.mark.slow
def test_a_recipe_of_built_in_steps_needs_no_trust(plain):
    assert keys(plain) == []


@pytest.mark.parametrize("name", ["digits_float", "digits_integer_only", "digits_pruned", "mobilenet_v2_latency"])
def test_our_own_recipes_need_no_trust(name):
    assert trust.problems(trust.parsed(composition.compose(f"builtin/{name}").to_yaml())) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source.custom_objects", ["evil:build"]),
        ("source.trust", True),
        ("source._target_", "evil.Source"),
        ("source._target_", "os.system"),
        ("source._target_", "tflite_recipes.backend.models.session.start"),
        ("source._target_", "tflite_recipes.steps.target.CpuTarget"),
        ("source._target_", "tflite_recipes.steps.CpuTarget"),
        ("source._target_", "tflite_recipes.steps.AgainstOriginal"),
        ("source._target_", "tflite_recipes.steps.os"),
        ("source._target_", "tflite_recipes.steps.source.os.system"),
        ("source._target_", "tflite_recipes.core.state.os.system"),
        ("source._target_", "tflite_recipes.steps.KerasSource.__init__"),
        ("source._target_", "tflite_recipes.tracking.Mlflow"),
        ("source._target_", ["tflite_recipes.steps.KerasSource"]),
        ("source._target_", {"a": 1}),
        ("target.runner", "ssh"),
        ("target.runner", "adb"),
        ("target.host", "evil.example"),
        ("target.serial", "emulator-5554"),
        ("target.python", "/tmp/python"),
        ("target.remote_dir", "/"),
        ("target.identity_file", "~/.ssh/id_ed25519"),
        ("target.known_hosts", "/dev/null"),
        ("halve", {"_target_": "evil.Halve"}),
        ("notes", {"a": 1}),
    ],
)
def test_what_runs_code_or_reaches_devices_is_refused_by_its_key(plain, key, value):
    changed = with_(plain, key, value)
    assert keys(changed) == [key]
    (problem,) = trust.problems(changed)
    assert problem.fix == "--trust"
    assert trust.shown(value if key != "halve" else "evil.Halve") in problem.what


@pytest.mark.parametrize(
    ("group", "section", "key"),
    [
        ("source", {"_target_": "tflite_recipes.steps.source.FactorySource", "function": "evil.py:build"}, "function"),
        (
            "calibration",
            {"_target_": "tflite_recipes.steps.calibration.GeneratorCalibration", "function": "evil:build"},
            "function",
        ),
        (
            "evaluation",
            {"_target_": "tflite_recipes.steps.evaluation.NpzEvaluation", "path": "a.npz", "function": "evil:build"},
            "function",
        ),
        (
            "substitution",
            {"_target_": "tflite_recipes.steps.substitution.Substitution", "layers": {"a": "evil:build"}},
            "layers",
        ),
        (
            "target",
            {"_target_": "tflite_recipes.steps.edge_tpu_target.EdgeTpuTarget", "compiler": "/tmp/evil"},
            "compiler",
        ),
        (
            "source",
            {
                "_target_": "tflite_recipes.steps.source.KerasApplicationSource",
                "name": "MobileNetV2",
                "arguments": {"classifier_activation": {"module": "evil", "class_name": "build", "config": {}}},
            },
            "arguments.classifier_activation",
        ),
    ],
)
def test_code_is_refused_in_every_section_that_takes_it(plain, group, section, key):
    assert keys({**plain, group: section}) == [f"{group}.{key}"]


@pytest.mark.parametrize("name", ["tflite_recipes.steps.FactorySource", "tflite_recipes.steps.source.FactorySource"])
def test_code_is_refused_by_the_public_name_and_by_the_old_one(plain, name):
    assert keys({**plain, "source": {"_target_": name, "function": "evil.py:build"}}) == ["source.function"]


@pytest.mark.slow
def test_all_is_said_at_once_and_nothing_is_imported_or_looked_for(plain, here):
    write(here / "evil.py", EVIL)
    changed = with_(with_(plain, "source.custom_objects", ["evil.py:build"]), "halve", {"_target_": "evil.build"})
    changed["steps"] = [*plain["steps"], "evil:build", "halve"]
    write(here / "recipe.yaml", yaml.safe_dump(changed))
    code = """
import sys, builtins
from pathlib import Path
from tflite_recipes.past_runs.reproduce import trust
text = Path("recipe.yaml").read_text()
asked = []
sys.addaudithook(lambda event, args: asked.append(args[0]) if event in ("open", "import", "os.scandir") else None)
found = trust.problems(trust.parsed(text))
assert not any("evil" in str(name) or "make" in str(name) for name in asked), asked
print(" ".join(problem.where for problem in found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["steps[8]", "steps[9]", "halve", "source.custom_objects"]
    assert not (here / "imported").exists()


def test_the_fetched_tracking_and_the_options_names_do_not_matter(plain):
    plain["tracking"] = {"_target_": "evil.Tracker", "uri": "http://evil.example", "log_source": True}
    plain["defaults"] = [{"override /source": "../../evil"}]
    assert keys(plain) == []


def test_a_key_at_its_default_is_no_choice(plain):
    assert keys(with_(with_(plain, "target.python", "python3"), "target.runner", "none")) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("steps: [source]\nname: ${oc.env:HOME}\n", "filled in from this machine"),
        ("steps: [source]\nsource: {'${oc.env:HOME}': 1}\n", "filled in from this machine"),
        ("steps: [source]\nsource: {path: 'a/${hydra:runtime.cwd}'}\n", "filled in from this machine"),
        ("steps: !!python/object/apply:os.system ['touch imported']\n", "cannot be read as plain YAML"),
        ("steps: [source]\nx: !!python/name:os.system\n", "cannot be read as plain YAML"),
        ("steps: [source]\nx: 2020-01-01\n", "neither text nor number"),
        ("steps: [source]\nx: !!set {a, b}\n", "neither text nor number"),
        ("steps: [source]\nx: &a [*a]\n", "nested deeper"),
        ("steps: [source]\nx: " + "[" * 500 + "]" * 500, "cannot be read as plain YAML"),
        ("steps: [source]\nx: \x1b[2J\n", "cannot be read as plain YAML"),
        ("- source\n", "holds no resolved recipe"),
        ("", "holds no resolved recipe"),
        ("steps: source\n", "holds no resolved recipe"),
        ("steps: [source]\n# " + "x" * trust.LARGEST_RECIPE, "characters, which no recipe has"),
    ],
)
def test_text_that_is_no_plain_recipe_is_refused(here, text, what):
    with pytest.raises(RequestError, match=what):
        trust.parsed(text)
    assert not (here / "imported").exists()


def test_anchors_cannot_fill_the_memory():
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    with pytest.raises(RequestError, match="values, which no recipe has"):
        trust.parsed(f"steps: [source]\na0: &a0 [x, x]\n{levels}\n")


@given(st.text())
def test_whatever_is_shown_is_one_line_that_no_terminal_obeys(text):
    assert trust.shown(text).isprintable()
    assert trust.shown(text).isascii()
    assert len(trust.shown(text)) <= 80
