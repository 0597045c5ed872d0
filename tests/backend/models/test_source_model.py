"""Files that are hard to load: each kind loads, or says what it lacks with a fix that can be pasted."""

import json
import shlex
import shutil
import zipfile

import h5py
import numpy as np
import pytest
from support import keras_models
from support.checkout import first_way, write
from support.tf_scripts import run_script

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files import models, tflite
from tflite_recipes.files.models import missing_in, missing_objects, not_given

LAYERS = """
import KERAS as keras


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.f = self.add_weight(name="f", shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.f


def my_act(x):
    return keras.activations.relu(x) * 2


@keras.utils.register_keras_serializable()
def reg_act(x):
    return keras.activations.relu(x) * 3


@keras.utils.register_keras_serializable(package="pkg")
class Reg(Scale):
    pass


class Single(keras.Model):
    def __init__(self, **more):
        super().__init__(**more)
        self.d = keras.layers.Dense(3)

    def call(self, x):
        return self.d(x)


class Named(Single):
    def call(self, x):
        return self.d(x["a"]) - self.d(x["b"])


class Listed(Single):
    def call(self, x):
        return {"s": self.d(x[0]) - self.d(x[1]), "t": x[1]}
"""
WRITE = """
import importlib, sys
import numpy as np
K = importlib.import_module(sys.argv[1])
import layers as L
i = K.Input((4,), name="x")
one = np.ones((1, 4), "float32")
for name, layer in {"scale": L.Scale(), "act": K.layers.Dense(3, activation=L.my_act), "reg": L.Reg(),
                    "regact": K.layers.Dense(3, activation=L.reg_act)}.items():
    for suffix in (".keras", ".h5"):
        K.Model(i, layer(i)).save(name + suffix)
for kind, data in ((L.Single, one), (L.Named, {"a": one, "b": one}), (L.Listed, [one, one])):
    model = kind(); model(data); model.save(kind.__name__.lower() + ".keras")
a, b, c = [K.Input((4,), name=n) for n in "cab"]
K.Model({"p": [a, b], "q": c}, K.layers.Concatenate()([a, b, c])).save("nested.keras")
ids = K.Input((), dtype="int32", name="ids")
K.Model(ids, K.layers.Embedding(5, 3)(ids)).save("ints.keras")
text = K.Input((), dtype="string", name="text")
K.Model(text, K.layers.StringLookup(vocabulary=["a", "b"])(text)).save("strings.keras")
inner = K.Sequential([K.Input((4,)), K.layers.Lambda(lambda v: v * 2, name="hidden")])
class Mine(K.layers.Lambda): pass
for name, layer in {"inner": inner, "subclass": Mine(lambda v: v * 2, name="hidden")}.items():
    for suffix in (".keras", ".h5"):
        K.Model(i, layer(i)).save("lambda_" + name + suffix)
q = K.Input((5, 4), name="x")
wrapped = {"timed": K.layers.TimeDistributed(K.layers.Lambda(lambda v: v * 2, name="hidden"))(q),
           "activation": K.layers.Dense(3, activation=lambda v: v * 2, name="hidden")(q)}
for name, out in wrapped.items():
    for suffix in (".keras", ".h5"):
        K.Model(q, out).save("lambda_" + name + suffix)
"""
SAVED = """
import shutil
import tensorflow as tf, tf_keras, keras
keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3)]).export("three", verbose=False)
tf_keras.Sequential([tf_keras.Input((4,), name="x"), tf_keras.layers.Dense(3)]).save("two", save_format="tf")
class M(tf.Module):
    def __init__(self): self.v = tf.Variable(2.0)
    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def f(self, x): return {"y": x * self.v}
    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="u"), tf.TensorSpec([None, 4], name="w")])
    def g(self, u, w): return {"uv": u * self.v, "w": w}
m = M(); tf.saved_model.save(m, "none"); tf.saved_model.save(m, "several", signatures={"f": m.f, "g": m.g})
v1 = tf.compat.v1
def one(path, tags):
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x"); y = tf.matmul(x, v1.get_variable("w", [4, 3]))
        session.run(v1.global_variables_initializer())
        if tags is None:
            return v1.saved_model.simple_save(session, path, {"x": x}, {"y": y})
        b = v1.saved_model.Builder(path); signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        b.add_meta_graph_and_variables(session, tags, signature_def_map={"serving_default": signature}); b.save()
one("one", None); one("one_train", ["train"]); one("one_untagged", [])
for name in ("one", "two"):
    shutil.copytree(name, name + "_bare"); shutil.rmtree(name + "_bare/variables")
"""


def python(code, folder, *arguments):
    run_script(write(folder / "write_models.py", code), *arguments, cwd=folder)  # Keras reads lambdas' source


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folders of model files by the Keras that writes them, each with its layers.py."""
    root = tmp_path_factory.mktemp("files")
    for library in ("keras", "tf_keras"):
        write(root / library / "layers.py", LAYERS.replace("KERAS", library))
        python(WRITE, root / library, library)
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    python(SAVED, folder)
    return folder


def convert(path, *overrides, source="keras"):
    """The result, or a request's problems in its place."""
    overrides = [f"source={source}", f"source.path={path}", *overrides, "tracking=none"]
    try:
        return api.run("convert", overrides, progress=False)
    except RequestError as error:
        return error


def done(result):
    assert not isinstance(result, RequestError), result.problems
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > 0.9999
    return tflite.read_tflite(result.path).signatures[0]


BOTH = pytest.mark.parametrize("library", ["keras", "tf_keras"])
pasted = pytest.mark.parametrize("suffix", [".keras", ".h5"])


@pytest.mark.slow
@BOTH
@pasted
@pytest.mark.parametrize(
    ("name", "missing"), [("scale", "Scale"), ("act", "my_act"), ("reg", "Reg"), ("regact", "reg_act")]
)
def test_what_is_missing_is_named_and_its_fix_loads(here, written, library, suffix, name, missing):
    path = written / library / f"{name}{suffix}"
    (problem,) = convert(path).problems
    assert problem.where == "source.custom_objects"
    assert shlex.split(problem.fix) == [f"source.custom_objects=[{path.parent / 'layers.py'}:{missing}]"]
    done(convert(path, *shlex.split(problem.fix)))


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(("name", "inputs"), [("single", {"x"}), ("named", {"a", "b"}), ("listed", {"x0", "x1"})])
def test_subclassed_models_say_the_shapes_they_were_built_with(here, written, library, name, inputs):
    path, classes = written / library / f"{name}.keras", f"{written / library / 'layers.py'}:{name.title()}"
    asked = f"source.custom_objects=[{classes}]"
    (problem,) = convert(path, asked).problems
    assert problem.where == "source.input_shapes"
    assert "null,4]" in problem.fix
    signature = done(convert(path, asked, *shlex.split(problem.fix)))
    assert {name for name, _ in signature.inputs} == inputs


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(("name", "inputs"), [("nested", {"a", "b", "c"}), ("ints", {"ids"})])
def test_inputs_of_other_structures_and_types(here, written, library, name, inputs):
    assert {name for name, _ in done(convert(written / library / f"{name}.keras")).inputs} == inputs


@pytest.mark.slow
@BOTH
def test_inputs_of_text(here, written, library):
    """Their lengths are the outputs, which random words of one length show nothing of."""
    np.savez("text.npz", text=np.array(["a", "bcd", "ef"]))
    samples = ["calibration=npz", "calibration.path=text.npz"]
    assert {name for name, _ in done(convert(written / library / "strings.keras", *samples)).inputs} == {"text"}


@pytest.mark.slow
@BOTH
@pasted
@pytest.mark.parametrize("where", ["inner", "subclass", "timed", "activation"])
def test_code_in_a_file_is_refused_wherever_it_hides(here, written, library, suffix, where):
    path = written / library / f"lambda_{where}{suffix}"
    refused = convert(path)
    assert isinstance(refused, RequestError)
    (problem,) = [problem for problem in refused.problems if problem.where == "source.trust"]
    assert "hidden" in problem.what
    if where in ("inner", "timed"):
        done(convert(path, *shlex.split(problem.fix)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "inputs"),
    [
        ("three", [], {"x"}),
        ("two", [], {"x"}),
        ("one", [], {"x"}),
        ("one_train", [], {"x"}),
        ("one_untagged", [], {"x"}),
        ("several", ["source.signature=g"], {"u", "w"}),
    ],
)
def test_saved_models_of_every_origin(here, saved, name, overrides, inputs):
    assert {name for name, _ in done(convert(saved / name, *overrides, source="saved_model")).inputs} == inputs


@pytest.mark.slow
def test_saved_models_that_lack_something(here, saved):
    (problem,) = convert(saved / "none", source="saved_model").problems
    assert "no signature" in problem.what
    assert any("signatures=" in way for way in problem.alternatives)
    assert any("source=factory" in way for way in problem.alternatives)
    (problem,) = convert(saved / "several", source="saved_model").problems
    assert problem.fix == "source.signature=f"
    for name in ("one_bare", "two_bare"):
        result = convert(saved / name, source="saved_model")
        assert (result.status, result.problems[0].where) == (ExitStatus.FAILED, "source.path")
        assert "variables" in result.problems[0].what


@pytest.mark.slow
def test_a_registered_class_again_in_the_next_run(here, written):
    """tf_keras takes no second class of a registered name, and a worker lives on."""
    shutil.copytree(written / "tf_keras", here / "copy")
    for folder in (written / "tf_keras", here / "copy"):
        done(convert(folder / "reg.h5", f"source.custom_objects=[{folder / 'layers.py'}:Reg]"))


MESSAGES = [
    ("Unknown layer: 'Scale'. Please ensure", ["Scale"]),
    ("Error when …\n\nException encountered: Unknown activation function: 'function'. Please", []),
    ("x\n\nException encountered: Could not locate function 'my_act'. Make sure", ["my_act"]),
    ("<class 'F'> could not be …\n\nException encountered: Could not locate class 'Scale'. Make", ["Scale"]),
    ("Cannot deserialize object of type `Mine`. If `Mine` is", ["Mine"]),
    ("Unknown activation function 'my_act' cannot be deserialized.", ["my_act"]),
    ("Unknown loss function '{'module': 'builtins', 'config': 'my_loss', 'a': None}' cannot", ["my_loss"]),
    ("Something else went wrong", []),
]


@pytest.mark.parametrize(("message", "names"), MESSAGES)
def test_names_in_the_messages_of_both_kerases(message, names):
    assert missing_in(message) == names


def test_the_file_that_defines_it_is_found(here):
    write(here / "here.py", "class Both: ...\nclass Broken(: ...")
    write(here / "mine.py", "class Both: ...\n\n\ndef act(): ...\n")
    write(here / "models" / "there.py", "class Both: ...\nclass There: ...\n")
    problem = missing_objects(here / "models" / "m.keras", ["Both", "act", "There", "Nowhere"], ["a.py:Given"])
    there = here / "models" / "there.py"
    wanted = f"a.py:Given,mine.py:Both,mine.py:act,{there}:There,FILE.py:Nowhere"
    assert shlex.split(first_way(problem)) == [f"source.custom_objects=[{wanted}]"]
    assert not_given(["pkg>Both", "act", "x"], ["mine.py:Both", "mine.act"]) == ["x"]


def test_a_function_without_a_name_may_be_given_under_any(here):
    write(here / "mine.py", "double = lambda t: t * 2\n")
    for given, fix in (([], "mine.py:double"), (["other.py:Given"], None)):
        missing = not_given(["<lambda>"], given)
        assert missing == ([] if given else ["<lambda>"])
        if fix:
            problem = missing_objects(here / "m.h5", missing, given)
            assert shlex.split(problem.fix) == [f"source.custom_objects=[{fix}]"]
    assert not_given(["<lambda>", "Given"], ["other.py:Given"]) == ["<lambda>"]
    (here / "mine.py").unlink()
    way = first_way(missing_objects(here / "m.h5", ["<lambda>"], []))
    assert shlex.split(way) == ["source.custom_objects=[FILE.py:NAME]"]


def archive(path, version, layer):
    shape = {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}}
    model = {"class_name": "Sequential", "config": {"name": "s", "layers": [shape, layer]}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version}))
        file.writestr("config.json", json.dumps(model))
        file.writestr("model.weights.h5", b"")
    return path


@pytest.mark.parametrize(
    ("version", "given", "missing"),
    [
        ("3.15.0", [], ["A", "B"]),
        ("3.15.0", ["m.py:A"], []),  # whose module may register the other
        ("2.15.0", ["m.py:A"], ["B"]),  # tf_keras would import any module that the file names
        ("2.15.0", ["m.py:A", "m.py:B"], []),
    ],
)
def test_check_names_missing_classes_without_loading(here, version, given, missing):
    write(here / "m.py", "class A: ...\nclass B: ...\n")
    inner = {"class_name": "B", "config": {}, "module": "m", "registered_name": "B"}
    layer = {"class_name": "A", "config": {"name": "a", "inner": inner}, "module": "m", "registered_name": "A"}
    archive(here / "m.keras", version, layer)
    problems = api.check(
        "convert", ["source=keras", "source.path=m.keras", f"source.custom_objects=[{','.join(given)}]"]
    )
    fixes = [shlex.split(problem.fix) for problem in problems]
    named = [*given, *(f"m.py:{name}" for name in missing)]
    assert fixes == ([[f"source.custom_objects=[{','.join(named)}]"]] if missing else [])


def test_a_function_of_a_module_that_the_file_names_is_custom(here):
    dense = {"class_name": "Dense", "module": "keras.layers", "registered_name": None}
    for module, custom in (("os", ("system",)), ("builtins", ("system",)), ("keras.activations", ("system",))):
        function = {"module": module, "class_name": "function", "config": "system", "registered_name": "function"}
        archive(here / "m.keras", "2.15.0", {**dense, "config": {"name": "d", "activation": function}})
        assert models.read_keras_file(here / "m.keras").custom_layers == custom


def test_a_class_of_a_package_that_keras_imports_itself_needs_trust(here):
    layer = {"class_name": "X", "module": "keras_hub.layers", "registered_name": "keras_hub>X", "config": {"name": "x"}}
    archive(here / "m.keras", "3.15.0", layer)
    problem = models.read_keras_file(here / "m.keras").trust_problem(here / "m.keras")
    assert problem is not None
    assert problem.fix == "source.trust=true"


def test_hdf5_is_described_as_before(here):
    with h5py.File(here / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": []}})
        file.attrs["keras_version"] = "2.15.0"
    assert json.loads(models.config_of(here / "m.h5"))["class_name"] == "Sequential"


@pytest.mark.slow
def test_names_in_the_file_do_not_tell_what_the_process_did_before(here):
    """TensorFlow names what a loaded SavedModel captures by a count that goes on and on."""
    keras_models.write("keras2_saved_model", here)
    asked = ["source=saved_model", "source.path=saved_model", "tracking=none"]
    results = [api.run("convert", asked, output_dir=f"out{number}", progress=False) for number in range(2)]
    first, second = (result.path.read_bytes() for result in results)
    assert first == second
    (graph,) = tflite.read_tflite(results[0].path).subgraphs
    parts = {part for tensor in graph.tensors for part in tensor.name.split(";")}
    assert any(part.startswith("captured_") for part in parts), parts
