"""The lists of what a model file may name hold nothing that the installed TensorFlow and Kerases do more with."""

from __future__ import annotations

import json
import re

import pytest
from support.allow_lists import FOLDER
from support.checkout import REPOSITORY
from support.tf_scripts import run_code

from tflite_recipes.files.models import allowed_names

DERIVE = """
import json, sys
from support import allow_lists
lists = {name: sorted(names) for name, names in allow_lists.lists().items()}
open(sys.argv[1], "w").write(json.dumps(lists))
"""


@pytest.mark.slow
def test_lists_are_those_that_are_derived_from_the_installed_packages(tmp_path):
    # Not in this process: an interpreter of LiteRT that another test made adds ops to TensorFlow's.
    run_code(DERIVE, tmp_path / "lists.json", cwd=REPOSITORY / "tests")
    derived = json.loads((tmp_path / "lists.json").read_text())
    assert {"tensorflow_functions", "tensorflow_ops", "keras_classes", "keras_functions"} <= derived.keys()
    for name, names in derived.items():
        if names:  # tensorflow-model-optimization is an extra
            assert set((FOLDER / f"{name}.txt").read_text().split()) == set(names), name


@pytest.mark.slow
def test_what_a_function_reaches_is_found():
    import tensorflow as tf
    from support.allow_lists import effects

    for function in (tf.io.write_file, tf.io.read_file, tf.py_function, tf.load_library, tf.map_fn, tf.print):
        assert effects(function)
    for function in (tf.nn.relu, tf.image.resize, tf.math.reduce_mean, tf.signal.stft, tf.strings.lower):
        assert not effects(function)


def test_no_list_names_files_programs_or_code():
    names = allowed_names.tensorflow_functions() | allowed_names.tensorflow_ops()
    reaching = re.compile(r"(?i).*(write|read)_?file.*|.*py_?func.*|.*load_|.*gfile.*|.*summary.*|.*save.*|.*restore.*")
    exempt = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
    assert [name for name in names - exempt if reaching.fullmatch(name)] == []
    assert not {"Lambda", "TFSMLayer", "TorchModuleWrapper", "TFOpLambda"} & allowed_names.keras_classes()
