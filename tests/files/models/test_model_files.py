"""What model files say about themselves: hand-made files for the fast tests, real Keras and TensorFlow for the slow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.checkout import REPOSITORY, SHARED, first_way

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import models as model_files

SHARED_MODELS = SHARED / "models"
Json = Any


def input_layer(name: str, shape: list[int | None], dtype: Json = "float32", key: str = "batch_shape") -> Json:
    return {"class_name": "InputLayer", "config": {key: shape, "dtype": dtype, "name": name}, "name": name}


def layer(class_name: str, name: str, **config: Json) -> Json:
    return {"class_name": class_name, "config": {"name": name, **config}, "name": name}


def functional(layers: list[Json], inputs: Json, class_name: str = "Functional") -> Json:
    return {"class_name": class_name, "config": {"name": "m", "layers": layers, "input_layers": inputs}}


def sequential(*layers: Json, **config: Json) -> Json:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers), **config}}


def write_keras(path: Path, model: Json, version: str | None = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if version is not None:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", bytes(100))
    return path


def write_h5(path: Path, model: Json, version: str | None = "2.4.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        file.create_group("model_weights")
    return path


def read(model: Json, folder: Path, version: str | None = "3.15.1") -> model_files.KerasFile:
    return model_files.read_keras_file(write_keras(folder / "model.keras", model, version))


def problem_of(read: Any, path: Path) -> Problem:
    with pytest.raises(RequestError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert problem.where == "source.path"
    assert problem.what
    return problem


# ---- protobuf by hand, so that the reader's field numbers are not checked against themselves


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor_info(dtype: int, shape: list[int] | None) -> bytes:
    dims = field(3, 1) if shape is None else b"".join(field(2, field(1, size)) for size in shape)
    return field(1, "some:0") + field(2, dtype) + field(3, dims)


def signature(inputs: dict[str, bytes], outputs: dict[str, bytes]) -> bytes:
    pairs = [(1, inputs), (2, outputs)]
    maps = [field(n, field(1, name) + field(2, info)) for n, infos in pairs for name, info in infos.items()]
    return b"".join(maps) + field(3, "tensorflow/serving/predict")


def meta_graph(tag: str, signatures: dict[str, bytes]) -> bytes:
    graph = field(1, field(4, tag)) + field(2, b"\x0a\x03abc")
    return graph + b"".join(field(5, field(1, key) + field(2, value)) for key, value in signatures.items())


def write_saved_model(folder: Path, *meta_graphs: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(field(1, 1) + b"".join(field(2, graph) for graph in meta_graphs))
    return folder


SIGNATURE = signature({"x": tensor_info(1, [-1, 8])}, {"y": tensor_info(1, [-1, 2])})
X, Y = TensorSpec("x", (None, 8), "float32"), TensorSpec("y", (None, 2), "float32")


# ---- Keras files


def test_a_keras_3_file_tells_version_class_and_inputs(tmp_path: Path) -> None:
    found = read(functional([input_layer("image", [None, 8, 8, 3])], ["image", 0, 0]), tmp_path)
    spec = TensorSpec("image", (None, 8, 8, 3), "float32")
    assert found == model_files.KerasFile("3.15.1", 3, "Functional", (spec,), (), ())


@pytest.mark.parametrize(
    ("structure", "names"),
    [
        (["a", 0, 0], ["a"]),
        ([["a", 0, 0]], ["a"]),
        ([["b", 0, 0], ["a", 0, 0]], ["b", "a"]),
        ({"b": ["b", 0, 0], "a": ["a", 0, 0]}, ["a", "b"]),
        ({"first": ["b", 0, 0], "second": ["a", 0, 0]}, ["b", "a"]),
        ([{"z": ["a", 0, 0], "y": [["b", 0, 0]]}, ["c", 0, 0]], ["b", "a", "c"]),
    ],
)
def test_inputs_come_in_the_order_keras_flattens_them(tmp_path: Path, structure: Json, names: list[str]) -> None:
    layers = [input_layer(name, [None, 4]) for name in "cba"]
    inputs = read(functional(layers, structure), tmp_path).inputs
    assert inputs is not None
    assert [spec.name for spec in inputs] == names


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int32", "int32"),
        ("string", "string"),
        (None, "float32"),
        ({"class_name": "DTypePolicy", "config": {"name": "float16"}}, "float16"),
        ({"class_name": "Policy", "config": {"name": "mixed_float16"}}, "float32"),
    ],
)
def test_the_dtype_of_an_input_may_be_a_policy(tmp_path: Path, dtype: Json, expected: str) -> None:
    found = read(sequential(input_layer("x", [2, None], dtype)), tmp_path)
    assert found.inputs == (TensorSpec("x", (2, None), expected),)


@pytest.mark.parametrize(
    "model",
    [
        {"class_name": "MyModel", "config": {}},
        sequential(layer("Dense", "d")),
        sequential(layer("Dense", "d"), build_input_shape=[None, 4]),
        functional([input_layer("x", [None, 4])], [["x", 0, 0], ["gone", 0, 0]]),
        functional([layer("Dense", "d")], ["d", 0, 0]),
        functional([input_layer("x", [None, "4"])], ["x", 0, 0]),  # type: ignore[list-item]
        functional([], []),
    ],
)
def test_inputs_are_none_where_only_keras_can_tell(tmp_path: Path, model: Json) -> None:
    assert read(model, tmp_path).inputs is None


def test_a_subclass_of_functional_still_tells_its_inputs(tmp_path: Path) -> None:
    found = read(functional([input_layer("x", [None, 4])], ["x", 0, 0], "MyModel"), tmp_path)
    assert (found.class_name, found.inputs) == ("MyModel", (TensorSpec("x", (None, 4), "float32"),))


DENSE = layer("Dense", "den", batch_input_shape=[None, 5], dtype="float32")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (sequential(input_layer("in", [None, 5], key="batch_input_shape")), TensorSpec("in", (None, 5), "float32")),
        (sequential(DENSE), TensorSpec("den_input", (None, 5), "float32")),
        ({"class_name": "Sequential", "config": [DENSE]}, TensorSpec("den_input", (None, 5), "float32")),
        (
            sequential(layer("Embedding", "emb", batch_input_shape=[None, 9], dtype="int32")),
            TensorSpec("emb_input", (None, 9), "int32"),
        ),
        (
            sequential(layer("Sequential", "inner", layers=[DENSE])),
            TensorSpec("inner_input", (None, 5), "float32"),
        ),
        (
            sequential(layer("Dense", "den"), build_input_shape=[1, 5]),
            TensorSpec("den_input", (1, 5), "float32"),
        ),
    ],
)
def test_a_keras_2_sequential_names_its_input_after_its_first_layer(
    tmp_path: Path, model: Json, expected: TensorSpec
) -> None:
    found = model_files.read_keras_file(write_h5(tmp_path / "old.h5", model))
    assert (found.generation, found.inputs) == (2, (expected,))


@pytest.mark.parametrize(("version", "generation"), [("2.4.0", 2), ("2.13.1-tf", 2), ("3.0.0", 3), ("3.15.1", 3)])
@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5", "m"])
def test_content_and_not_the_suffix_tells_the_format(tmp_path: Path, name: str, version: str, generation: int) -> None:
    model = sequential(input_layer("x", [None, 5]))
    for write in (write_keras, write_h5):
        found = model_files.read_keras_file(write(tmp_path / name, model, version))
        assert (found.keras_version, found.generation) == (version, generation)


@pytest.mark.parametrize(("key", "generation"), [("batch_shape", 3), ("batch_input_shape", 2)])
def test_without_a_version_the_config_tells_the_generation(tmp_path: Path, key: str, generation: int) -> None:
    model = sequential(input_layer("x", [None, 5], key=key))
    for path in (write_keras(tmp_path / "m.keras", model, None), write_h5(tmp_path / "m.h5", model, None)):
        found = model_files.read_keras_file(path)
        assert (found.keras_version, found.generation) == ("", generation)


def test_code_is_found_at_every_depth_and_named_once(tmp_path: Path) -> None:
    python_lambda = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}}
    legacy_lambda = ["4wEA", None, None]
    model = functional(
        [
            input_layer("x", [None, 5]),
            layer("Lambda", "outer", function=python_lambda),
            layer("TimeDistributed", "td", layer=layer("Lambda", "wrapped", function=legacy_lambda)),
            layer("Bidirectional", "bi", layer=layer("RNN", "rnn", cell=layer("Lambda", "cell"))),
            layer("Sequential", "inner", layers=[layer("Dense", "square", activation=python_lambda)]),
            layer("Dense", "in_h5", activation={"value": legacy_lambda}),
            layer("MyLambda", "subclass", function_type="lambda", function=legacy_lambda),
            {"module": "keras", **layer("layers.Lambda", "dotted")},
            layer("TFOpLambda", "harmless", function="math.add"),
            layer("Dense", "plain", activation="relu", value=[1, 2, 3]),
        ],
        ["x", 0, 0],
    )
    model["compile_config"] = {"loss": python_lambda}
    expected = ("outer", "wrapped", "cell", "square", "in_h5", "subclass", "dotted")
    assert read(model, tmp_path).lambda_layers == expected
    assert model_files.read_keras_file(write_h5(tmp_path / "m.h5", model)).lambda_layers == expected


def test_custom_classes_are_named_as_in_the_file(tmp_path: Path) -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    relu = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    model = functional(
        [
            {"module": "keras.layers", **layer("Dense", "d", dtype=policy, activation=relu), "registered_name": None},
            {"module": "tf_keras.src.x", **layer("Functional", "f"), "registered_name": "Functional"},
            {"module": "my.layers", **layer("Scale", "s1"), "registered_name": "my>Scale"},
            {"module": "my.layers", **layer("Scale", "s2"), "registered_name": "my>Scale"},
            {"module": None, **layer("Local", "l"), "registered_name": "Local"},
            {"module": "builtins", **layer("FromScript", "b"), "registered_name": "FromScript"},
            layer("Addons>GroupNorm", "g"),
        ],
        ["x", 0, 0],
    )
    assert read(model, tmp_path).custom_layers == ("my>Scale", "Local", "FromScript", "Addons>GroupNorm")


# ---- Keras files that are none


def test_a_missing_file_offers_the_nearest(tmp_path: Path) -> None:
    write_keras(tmp_path / "model.keras", {})
    problem = problem_of(model_files.read_keras_file, tmp_path / "modle.keras")
    assert "no file" in problem.what
    assert problem.fix == f"source.path={tmp_path}/model.keras"
    assert problem_of(model_files.read_keras_file, tmp_path / "gone" / "model.keras").fix == ""


def test_a_saved_model_folder_is_sent_to_its_own_source(tmp_path: Path) -> None:
    folder = write_saved_model(tmp_path / "saved", meta_graph("serve", {}))
    for path in (folder, folder / "saved_model.pb"):
        problem = problem_of(model_files.read_keras_file, path)
        assert problem.fix == f"source=saved_model source.path={folder}"


def test_another_folder_offers_the_model_inside(tmp_path: Path) -> None:
    assert problem_of(model_files.read_keras_file, tmp_path).fix == ""
    path = write_h5(tmp_path / "model.h5", {})
    assert problem_of(model_files.read_keras_file, tmp_path).fix == f"source.path={path}"


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
@pytest.mark.parametrize("group", ["layers", "model_weights", ""])
def test_weights_alone_ask_for_the_architecture(tmp_path: Path, name: str, group: str) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        if group:
            file.create_group(group)
        else:
            file.attrs["layer_names"] = ["dense"]
    problem = problem_of(model_files.read_keras_file, tmp_path / name)
    assert "holds weights only, no architecture" in problem.what
    factory = "source=factory source.function=my_model.py:build"
    assert first_way(problem) == f"{factory} source.weights={tmp_path / name} '~source.path'"


def test_a_zip_with_weights_alone_asks_for_the_architecture(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    assert "weights only" in problem_of(model_files.read_keras_file, tmp_path / "m.keras").what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "is a TFLite file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"not a model", "neither a .keras nor an .h5 file"),
        (b"PK\x03\x04" + bytes(50), "damaged or cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "damaged or cut short"),
    ],
)
@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.tflite"])
def test_other_content_is_called_what_it_is(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert what in problem_of(model_files.read_keras_file, tmp_path / name).what


def test_containers_without_a_model_list_what_they_hold(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for number in range(10):
            archive.writestr(f"{number}.npy", b"")
    assert "7.npy and 2 more" in problem_of(model_files.read_keras_file, tmp_path / "data.npz").what
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = [1, 2]
        file[b"\xff"] = [3]
    assert "no Keras model, but images, b" in problem_of(model_files.read_keras_file, tmp_path / "data.h5").what


@pytest.mark.parametrize("model", [[], "text", {"class_name": 3, "config": {}}, {"class_name": "Sequential"}])
def test_a_config_that_describes_no_model_is_refused(tmp_path: Path, model: Json) -> None:
    for path in (write_keras(tmp_path / "m.keras", model), write_h5(tmp_path / "m.h5", model)):
        assert "does not describe a model" in problem_of(model_files.read_keras_file, path).what


def test_a_config_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[" * 200_000)
    assert "damaged" in problem_of(model_files.read_keras_file, path).what


@pytest.mark.parametrize(
    "name", ["a b", "a=b", "it's", 'say "hi"', "back\\slash", '\\"', "ä", "a,b", "(a)", "{a}", "a#b"]
)
def test_a_fix_survives_the_shell_and_hydra(tmp_path: Path, name: str) -> None:
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    path = write_keras(tmp_path / f"{name}.keras", {})
    (argument,) = shlex.split(problem_of(model_files.read_keras_file, tmp_path).fix)
    override = parser.parse_override(argument)
    assert (override.key_or_group, override.value()) == ("source.path", str(path))


# ---- SavedModels


def test_signatures_are_read_in_a_fixed_order(tmp_path: Path) -> None:
    second = signature(
        {"b": tensor_info(3, []), "a": tensor_info(7, [1, -1]), "c": tensor_info(9, None)},
        {"z": tensor_info(101, [2]), "y": tensor_info(10, None), "w": tensor_info(99, [-1])},
    )
    graph = meta_graph("serve", {"serving_default": SIGNATURE, "other": second, "__saved_model_init_op": SIGNATURE})
    folder = write_saved_model(tmp_path, meta_graph("train", {"training": SIGNATURE}), graph)
    other = model_files.SignatureInfo(
        "other",
        (TensorSpec("a", (1, None), "string"), TensorSpec("b", (), "int32"), TensorSpec("c", (), "int64")),
        (TensorSpec("w", (None,), "unknown"), TensorSpec("y", (), "bool"), TensorSpec("z", (2,), "float32")),
        unknown_rank=("c", "y"),
    )
    assert model_files.read_saved_model(folder) == (other, model_files.SignatureInfo("serving_default", (X,), (Y,)))


def test_without_a_serve_tag_the_first_graph_counts(tmp_path: Path) -> None:
    folder = write_saved_model(tmp_path, meta_graph("a", {"first": SIGNATURE}), meta_graph("b", {"second": SIGNATURE}))
    assert [info.key for info in model_files.read_saved_model(folder)] == ["first"]


def test_a_saved_model_may_have_no_signatures(tmp_path: Path) -> None:
    assert model_files.read_saved_model(write_saved_model(tmp_path, meta_graph("serve", {}))) == ()


def test_a_folder_that_is_no_saved_model_says_what_it_holds(tmp_path: Path) -> None:
    assert "but nothing" in problem_of(model_files.read_saved_model, tmp_path).what
    path = write_keras(tmp_path / "model.keras", {})
    problem = problem_of(model_files.read_saved_model, tmp_path)
    assert "no saved_model.pb, but model.keras" in problem.what
    assert problem.fix == f"source=keras source.path={path}"
    assert problem_of(model_files.read_saved_model, path).fix == f"source=keras source.path={path}"
    write_saved_model(tmp_path / "1", meta_graph("serve", {}))
    assert problem_of(model_files.read_saved_model, tmp_path).fix == f"source.path={tmp_path}/1"


def test_the_file_inside_a_saved_model_leads_to_its_folder(tmp_path: Path) -> None:
    folder = write_saved_model(tmp_path / "saved", meta_graph("serve", {}))
    assert problem_of(model_files.read_saved_model, folder / "saved_model.pb").fix == f"source.path={folder}"
    assert problem_of(model_files.read_saved_model, tmp_path / "saved_").fix == f"source.path={folder}"


@pytest.mark.parametrize("content", [b"", field(1, 1), b"not a graph"])
def test_a_saved_model_without_a_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert "damaged" in problem_of(model_files.read_saved_model, tmp_path).what


# ---- sizes and digests


def test_the_digest_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "variables" / "data").write_bytes(b"weights")
        (folder / "fingerprint.pb").write_bytes(folder.name.encode())
    assert model_files.sha256_of(one) == model_files.sha256_of(two)
    assert model_files.saved_model_bytes(one) == len(b"graph" + b"weights" + b"one")
    (two / "variables" / "data").write_bytes(b"Weights")
    assert model_files.sha256_of(one) != model_files.sha256_of(two)
    (two / "variables" / "data").write_bytes(b"weights")
    (two / "variables" / "data").rename(two / "variables" / "index")
    assert model_files.sha256_of(one) != model_files.sha256_of(two)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"model")
    assert model_files.sha256_of(tmp_path / "m.h5") == hashlib.sha256(b"model").hexdigest()
    problem_of(model_files.sha256_of, tmp_path / "gone")
    problem_of(model_files.saved_model_bytes, tmp_path / "m.h5")


# ---- damage


def sample(kind: str, folder: Path) -> Path:
    """A small file of each kind, and the path whose bytes get damaged."""
    model = sequential(input_layer("x", [None, 5]), layer("Dense", "d"), layer("Lambda", "l"))
    if kind == "keras":
        return write_keras(folder / "m", model)
    if kind == "h5":
        return write_h5(folder / "m", model)
    return write_saved_model(folder, meta_graph("serve", {"serving_default": SIGNATURE})) / "saved_model.pb"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4 * settings().max_examples)
@given(data=st.data())
def test_damage_gives_an_answer_or_a_request_error(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = sample(kind, tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4), "flips")):
        content[data.draw(st.integers(0, len(content) - 1), "at")] = data.draw(st.integers(0, 255), "byte")
    keep = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))), "keep")
    path.write_bytes(content[:keep])
    with contextlib.suppress(RequestError):
        if kind == "saved_model":
            model_files.read_saved_model(tmp_path)
        else:
            model_files.read_keras_file(path)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_every_cut_of_a_keras_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = sample(kind, tmp_path)
    content = path.read_bytes()
    for keep in range(0, len(content) - 1, max(1, len(content) // 60)):
        path.write_bytes(content[:keep])
        problem_of(model_files.read_keras_file, path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 64, 512, 4096])
def test_blocks_of_zeros_do_not_hang_the_reader(tmp_path: Path, size: int) -> None:
    path = sample("h5", tmp_path)
    content = path.read_bytes()
    refused = 0
    for start in range(0, len(content), size):
        path.write_bytes(content[:start] + bytes(len(content[start : start + size])) + content[start + size :])
        try:
            model_files.read_keras_file(path)
        except RequestError:
            refused += 1
    assert refused


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "class_name", "config", "layers", "input_layers", "module", "value", "dtype"])
            | st.sampled_from(["batch_shape", "batch_input_shape", "build_input_shape", "registered_name"]),
            inner | st.sampled_from(["InputLayer", "Sequential", "Lambda", "x"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(config=json_values, version=st.sampled_from(["2.4.0", "3.0.0", "", "9" * 6000, "x"]))
@example(config={"layers": [], "input_layers": [["x", 0, 0]]}, version="3.0.0")
def test_whatever_the_config_is_the_description_has_its_types(tmp_path: Path, config: Json, version: str) -> None:
    found = read({"class_name": "Sequential", "config": config}, tmp_path, version)
    assert found.generation in (2, 3)
    for spec in found.inputs or ():
        assert isinstance(spec.name, str)
        assert isinstance(spec.dtype, str)
        assert all(size is None or isinstance(size, int) for size in spec.shape)
    assert all(isinstance(name, str) for name in found.lambda_layers + found.custom_layers)


# ---- without TensorFlow, and real files


@pytest.mark.slow
def test_neither_keras_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    model = sequential(input_layer("x", [None, 5]))
    paths = [str(write_keras(tmp_path / "m.keras", model)), str(write_h5(tmp_path / "m.h5", model))]
    folder = str(write_saved_model(tmp_path / "saved", meta_graph("serve", {"s": SIGNATURE})))
    code = f"""
import sys
from pathlib import Path
from tflite_recipes import model_files
assert not {{"h5py", "google.protobuf"}} & set(sys.modules), "imported before it is needed"
assert all(model_files.read_keras_file(Path(path)).inputs for path in {paths!r})
assert model_files.read_saved_model(Path({folder!r}))
assert not {{"tensorflow", "keras", "tf_keras"}} & set(sys.modules)
"""
    root = REPOSITORY
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="the shared example models are not beside this repository")
def test_real_models_are_read() -> None:
    anomalies = model_files.read_keras_file(SHARED_MODELS / "ad01.h5")
    spec = TensorSpec("input_1", (None, 640), "float32")
    assert anomalies == model_files.KerasFile("2.4.0", 2, "Functional", (spec,), (), ())
    wake_word = model_files.read_keras_file(SHARED_MODELS / "str_ww.h5")
    assert wake_word.inputs == (TensorSpec("input_1", (None, 30, 1, 40), "float32"),)
    (info,) = model_files.read_saved_model(SHARED_MODELS / "kws_saved_model")
    assert info.key == "serving_default"
    assert info.inputs == (TensorSpec("input_1", (None, 49, 10, 1), "float32"),)
    assert info.outputs == (TensorSpec("dense", (None, 12), "float32"),)


def keras_cases(keras: Any) -> dict[str, Any]:
    """Models whose inputs are declared in every way that this Keras knows."""
    import numpy as np

    layers, three = keras.layers, keras.__version__.startswith("3")
    first, second = keras.Input((4,), name="zeta"), keras.Input((4,), name="alpha")
    both = layers.Add()([first, second])
    hidden = layers.Dense(4)(first)
    inner_input = keras.Input((5,), name="deep")
    inner = keras.Model(inner_input, layers.Dense(3)(inner_input))

    class Mine(keras.Model):  # type: ignore[misc]
        pass

    class MineInSequence(keras.Sequential):  # type: ignore[misc]
        pass

    built = keras.Sequential([layers.Dense(2, name="den")])
    built.build((None, 5))
    called = keras.Sequential([layers.Dense(2, name="den")])
    called(np.zeros((3, 5), "float32"))
    fixed = {"batch_shape": (2, 5)} if three else {"batch_size": 2, "shape": (5,)}
    ids = keras.Input((6,), dtype="int32", name="ids")
    return {
        "single": keras.Model(first, layers.Dense(2)(first)),
        "single_in_list": keras.Model([first], layers.Dense(2)(first)),
        "list": keras.Model([first, second], both),
        "tuple": keras.Model((first, second), both),
        "dict": keras.Model({"zeta": first, "alpha": second}, both),
        "dict_of_other_keys": keras.Model({"a": first, "b": second}, both),
        "nested": keras.Model([{"zeta": first}, [second]], both),
        "from_the_middle": keras.Model(hidden, layers.Dense(2)(hidden)),
        "integers": keras.Model(ids, layers.Embedding(9, 2)(ids)),
        "subclass": Mine(first, layers.Dense(2)(first)),
        "subclass_of_sequential": MineInSequence([keras.Input((5,), name="inp"), layers.Dense(2)]),
        "input": keras.Sequential([keras.Input((5,), name="inp"), layers.Dense(2)]),
        "fixed_batch": keras.Sequential([keras.Input(name="inp", **fixed), layers.Dense(2)]),
        "input_shape": keras.Sequential([layers.Dense(2, input_shape=(5,), name="den")]),
        "built": built,
        "called": called,
        "sequential_in_sequential": keras.Sequential(
            [keras.Sequential([layers.Dense(2, input_shape=(5,))]), layers.Dense(2)]
        ),
        "functional_in_sequential": keras.Sequential([inner, layers.Dense(2)]),
        "never_built": keras.Sequential([layers.Dense(2)]),
    }


def own_inputs(keras: Any, model: Any) -> tuple[TensorSpec, ...]:
    flatten = keras.tree.flatten if hasattr(keras, "tree") else pytest.importorskip("tensorflow").nest.flatten
    tensors = flatten(model.inputs if isinstance(model, keras.Sequential) else model.input)
    dtypes = [getattr(tensor.dtype, "name", tensor.dtype) for tensor in tensors]
    return tuple(TensorSpec(t.name, tuple(t.shape), dtype) for t, dtype in zip(tensors, dtypes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "generation"), [("keras", 3), ("tf_keras", 2)])
def test_inputs_agree_with_what_keras_makes_of_the_file(tmp_path: Path, module: str, generation: int) -> None:
    keras = pytest.importorskip(module)
    compared = 0
    for name, model in keras_cases(keras).items():
        for suffix in (".keras", ".h5"):
            if name == "never_built" and (module, suffix) == ("tf_keras", ".h5"):
                continue  # cannot be saved
            path = tmp_path / (name + suffix)
            model.save(path)
            found = model_files.read_keras_file(path)
            assert found.generation == generation, path
            assert found.keras_version == keras.__version__
            assert found.class_name == type(model).__name__
            if name == "never_built":
                assert found.inputs is None
                continue
            custom = {type(model).__name__: type(model)}
            loaded = keras.models.load_model(path, custom_objects=custom, compile=False)
            assert found.inputs == own_inputs(keras, loaded), path
            compared += 1
    assert compared == 36


@pytest.mark.slow
@pytest.mark.parametrize("how", ["first_layer", "nested", "build_input_shape"])
def test_a_sequential_without_input_layer_agrees_with_keras_2(tmp_path: Path, how: str) -> None:
    """Older Keras 2 left the InputLayer out of the file: so does this."""
    keras = pytest.importorskip("tf_keras")
    first = keras.layers.Dense(
        2, name="den", dtype="float64", **({} if how == "build_input_shape" else {"input_shape": (5,)})
    )
    inner = keras.Sequential([first], name="inner") if how == "nested" else first
    model = keras.Sequential([inner, keras.layers.Dense(2)])
    model.build((None, 5))
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        stack = config["config"]
        del stack["layers"][0]
        if how == "nested":
            del stack["layers"][0]["config"]["layers"][0]
        elif how == "build_input_shape":
            stack["build_input_shape"] = [None, 5]
        file.attrs["model_config"] = json.dumps(config)
    loaded = keras.models.load_model(path, compile=False)
    found = model_files.read_keras_file(path).inputs
    assert found is not None
    assert "InputLayer" not in json.dumps(config)
    assert found == own_inputs(keras, loaded)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["keras", "tf_keras"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_that_keras_saved_is_found(tmp_path: Path, module: str, suffix: str) -> None:
    keras = pytest.importorskip(module)
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(2, activation=lambda v: v * v, name="square")])
    model = keras.Sequential(
        [
            keras.Input((3, 5)),
            layers.TimeDistributed(layers.Lambda(lambda v: v * 2, name="wrapped")),
            layers.Lambda(lambda v: v + 1, name="plain"),
            layers.Bidirectional(layers.GRU(2, activation="relu")),
            inner,
        ]
    )
    path = tmp_path / f"model{suffix}"
    model.save(path)
    assert model_files.read_keras_file(path).lambda_layers == ("wrapped", "plain", "square")


@pytest.mark.slow
def test_custom_classes_that_keras_saved_are_found(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    class Scale(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    shrink = keras.saving.register_keras_serializable("mine")(type("Shrink", (Scale,), {}))
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, activation="relu"), Scale(), shrink(), Scale()])
    model.save(tmp_path / "model.keras")
    assert model_files.read_keras_file(tmp_path / "model.keras").custom_layers == ("Scale", "mine>Shrink")
    model.save(tmp_path / "model.h5")
    assert model_files.read_keras_file(tmp_path / "model.h5").custom_layers == ("Scale", "mine>Shrink")


@pytest.mark.slow
def test_signatures_agree_with_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Several(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "b"), tf.TensorSpec((), tf.bool, "a")])  # type: ignore[untyped-decorator]
        def both(self, b: Any, a: Any) -> dict[str, Any]:
            return {"sum": tf.reduce_sum(b, 1), "flag": a}

        @tf.function(input_signature=[tf.TensorSpec(None, tf.float16, "any")])  # type: ignore[untyped-decorator]
        def shapeless(self, any: Any) -> dict[str, Any]:
            return {"twice": any * 2}

        @tf.function(input_signature=[tf.TensorSpec((1, None), tf.string, "text")])  # type: ignore[untyped-decorator]
        def words(self, text: Any) -> dict[str, Any]:
            return {"length": tf.strings.length(text), "wide": tf.cast(tf.strings.length(text), tf.bfloat16)}

    module = Several()
    signatures = {"both": module.both, "any": module.shapeless, "words": module.words}
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=signatures)
    found = model_files.read_saved_model(tmp_path / "saved")
    assert [info.key for info in found] == ["any", "both", "words"]
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for info in found:
        function = loaded.signatures[info.key]
        pairs = ((info.inputs, function.structured_input_signature[1]), (info.outputs, function.structured_outputs))
        for specs, own in pairs:
            assert [spec.name for spec in specs] == sorted(own)
            for spec in specs:
                assert spec.dtype == own[spec.name].dtype.name
                unknown = own[spec.name].shape.rank is None
                assert unknown == (spec.name in info.unknown_rank)
                assert spec.shape == (() if unknown else tuple(own[spec.name].shape))
    tf.saved_model.save(module, str(tmp_path / "again"), signatures=signatures)
    assert model_files.saved_model_bytes(tmp_path / "again") > 0
