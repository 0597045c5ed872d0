"""The tables of `from-tfliteconverter.md` have every attribute and flag of the converter, and keys of ours."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import yaml
from support import keras_models
from support.checkout import REPOSITORY, write

from tflite_recipes import api
from tflite_recipes.config import catalog

PAGE = (REPOSITORY / "docs" / "reference" / "from-tfliteconverter.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
# In a process of its own, so that pytest's own stays free of TensorFlow.
INTROSPECTION = """
import json, sys, tempfile
import keras
import tensorflow as tf
from tensorflow.lite.python import tflite_convert

module = tf.Module()
module.run = tf.function(tf.nn.relu, input_signature=[tf.TensorSpec([1, 4], tf.float32)])
function = module.run.get_concrete_function()
folder = tempfile.mkdtemp()
tf.saved_model.save(module, folder, signatures=function)
kind = tf.lite.TFLiteConverter
converters = [
    kind.from_saved_model(folder),
    kind.from_keras_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])),
    kind.from_concrete_functions([function], module),
]
attributes = {name for one in (kind, *converters) for name in dir(one) if not name.startswith("__")}
attributes |= {f"target_spec.{name}" for name in dir(converters[0].target_spec) if not name.startswith("_")}
attributes |= {f"OpsSet.{one.name}" for one in tf.lite.OpsSet} | {f"Optimize.{one.name}" for one in tf.lite.Optimize}
parsers = [tflite_convert._get_parser(use_v2_converter=new) for new in (True, False)]
flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
json.dump([sorted(attributes | {"RepresentativeDataset"}), sorted(flags - {"-h", "--help"})], sys.stdout)
"""


def rows(title):
    """The rows of a table: what is plain, what we have, an example."""
    table = PAGE.partition(f"<!-- {title} -->\n")[2].partition("\n\n")[0]
    split = [[cell.strip() for cell in line.strip("|").split(" |")] for line in table.splitlines()[2:]]
    assert all(len(row) == 3 for row in split), split
    return split


ATTRIBUTES, FLAGS = rows("converter attributes"), rows("tflite_convert flags")


def plain(table):
    names = [name for row in table for name in CODE.findall(row[0])]
    assert len(set(names)) == len(names)
    return set(names)


@functools.cache
def known_keys():
    """Every key of every section, as `section.key`."""
    sections = yaml.safe_load((REPOSITORY / "conf" / "base.yaml").read_text(encoding="utf-8"))
    keys = {f"{name}.{key}" for name, values in sections.items() if isinstance(values, dict) for key in values}
    for group, options in catalog.list_groups().items():
        keys |= {f"{group}.{key}" for path in options.values() for key in catalog.option_values(path)}
    return keys | {"hydra.run.dir"}


@functools.cache
def known_groups():
    return catalog.list_groups()


def ours(text):
    """What a cell names of recipes: groups, their options as `group=option`, and keys."""
    sections = {*known_groups(), "conversion", "hydra"}
    return [code for code in CODE.findall(text) if re.split(r"[.=]", code)[0] in sections]


@pytest.mark.slow
def test_they_are_of_every_attribute_and_flag_of_the_installed_converter():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", INTROSPECTION]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    attributes, flags = map(set, json.loads(done.stdout))
    public = {name for name in attributes if not name.startswith("_")}
    assert {name for name in plain(ATTRIBUTES) if not name.startswith("_")} == public
    assert plain(ATTRIBUTES) <= attributes
    assert plain(FLAGS) == flags


@pytest.mark.parametrize("row", [*ATTRIBUTES, *FLAGS], ids=lambda row: CODE.findall(row[0])[0])
def test_a_row_names_keys_that_there_are_or_says_why_not(row):
    _, has, example = row
    groups, keys = known_groups(), known_keys()
    for code in ours(has):
        group, _, option = code.partition("=")
        assert (option in groups[group]) if option else (code in groups or code in keys), code
    assert has.startswith("none") != bool(example)
    assert has.startswith("none") or ours(has)


@pytest.mark.slow
def test_the_examples_hold(here):
    """Each beside the recipe `convert`, of a Keras model where it names no other."""
    keras_models.write("dense", here)
    keras_models.write("two_signatures", here)
    np.savez("cal.npz", x=np.zeros((4, 8), "float32"))
    write(here / "my_model.py", "def build():\n    pass\n")
    examples = {example for row in (*ATTRIBUTES, *FLAGS) for example in CODE.findall(row[2])}
    assert len(examples) >= 20
    for example in sorted(examples):
        overrides = shlex.split(example)
        source = [] if "source=" in example else ["source=keras", "source.path=model.keras"]
        assert api.check("convert", [*source, *overrides]) == (), example
