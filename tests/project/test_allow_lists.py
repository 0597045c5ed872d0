"""The lists of what a model file may name hold nothing that the installed TensorFlow and Kerases do more with."""

from __future__ import annotations

import re

import pytest

from tflite_recipes.files.models import allowed_names


@pytest.mark.slow
def test_lists_are_those_that_are_derived_from_the_installed_packages():
    from support import allow_lists

    derived = allow_lists.lists()
    for name, names in derived.items():
        if names:  # tensorflow-model-optimization is an extra
            assert set((allow_lists.FOLDER / f"{name}.txt").read_text().split()) == names, name


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
