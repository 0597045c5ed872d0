"""What a model file says about itself, read without TensorFlow or Keras, so that a wrong request is refused at once."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import mmap
import re
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.state import TensorSpec

_WHERE = "source.path"
_FACTORY = "source=factory source.function=my_model.py:build"
_GRAPH_FILE = "saved_model.pb"
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
# By TensorFlow's DataType number; plus 100 is a reference to the same type, which only TensorFlow 1 graphs have.
_DTYPES = (
    "invalid float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 "
    "quint16 uint16 complex128 float16 resource variant uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz "
    "float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn"
)
# What is read of saved_model.pb, with the field numbers of TensorFlow's protos. A map is, in the bytes, pairs.
_MESSAGES = {
    "SavedModel": "MetaGraphDef[] meta_graphs 2",
    "MetaGraphDef": "MetaInfoDef meta_info_def 1, Signature[] signature_def 5",
    "MetaInfoDef": "string[] tags 4",
    "Signature": "string key 1, SignatureDef value 2",
    "SignatureDef": "Tensor[] inputs 1, Tensor[] outputs 2",
    "Tensor": "string key 1, TensorInfo value 2",
    "TensorInfo": "int32 dtype 2, Shape tensor_shape 3",
    "Shape": "Dim[] dim 2, bool unknown_rank 3",
    "Dim": "int64 size 1",
}


@dataclass(frozen=True)
class KerasFile:
    """What a `.keras` or `.h5` file holds.

    keras_version: as written in the file, "" where it is not. generation: 2 or 3, by who wrote the file.
    class_name: `Functional`, `Sequential`, `Model`, or the name of a custom class.
    inputs: in the model's own order; None where only Keras itself can tell (subclassed or never built models).
    lambda_layers: names of the layers, at any depth, that hold code which loading would run.
    custom_layers: classes that Keras does not bring along, as the file names them. Keras writes this only in `.keras`
    files; in `.h5` files just the classes registered under a package (`Package>Name`) are found.
    """

    keras_version: str
    generation: int
    class_name: str
    inputs: tuple[TensorSpec, ...] | None
    lambda_layers: tuple[str, ...]
    custom_layers: tuple[str, ...]


@dataclass(frozen=True)
class SignatureInfo:
    """A signature of a SavedModel: its key, its inputs and its outputs, both ordered by name.

    unknown_rank: the inputs and outputs that may have any number of dimensions; their shape reads `()`.
    """

    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unknown_rank: tuple[str, ...] = ()


def read_keras_file(path: Path) -> KerasFile:
    """Reads the description inside a `.keras` or `.h5` file; which of the two it is, is told by its content.

    Errors: RequestError where the file is missing, damaged, holds weights only, or is no Keras model.
    """
    head = _head(path)
    if not head.startswith((_ZIP, _HDF5)):
        raise _no_keras_file(path, head)
    written = path.stat()
    return _described(path, head, written.st_mtime_ns, written.st_size)


# A check asks for the same file several times; its time and size tell whether it is still the same.
@functools.lru_cache(maxsize=8)
def _described(path: Path, head: bytes, mtime_ns: int, size: int) -> KerasFile:
    text, version = _read_zip(path) if head.startswith(_ZIP) else _read_hdf5(path)
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(model, dict) or not isinstance(model.get("class_name"), str) or "config" not in model:
        raise _error(f"{path} does not describe a model")
    generation = _generation(version, text)
    # Losses, metrics and the optimizer are never loaded for a conversion.
    nodes = list(_walk({key: value for key, value in model.items() if key != "compile_config"}))
    return KerasFile(
        keras_version=version,
        generation=generation,
        class_name=model["class_name"],
        inputs=_keras_inputs(model, generation),
        lambda_layers=tuple(dict.fromkeys(owner for node, owner in nodes if _holds_code(node))),
        custom_layers=tuple(dict.fromkeys(node["class_name"] for node, _ in nodes if _is_custom(node))),
    )


def read_saved_model(path: Path) -> tuple[SignatureInfo, ...]:
    """The signatures of a SavedModel folder, ordered by key; () where it has none.

    Errors: RequestError where the folder is missing, is no SavedModel, or is damaged.
    """
    graph = path / _GRAPH_FILE
    if not graph.is_file():
        raise _no_saved_model(path)
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    saved = _saved_model_class()()
    try:
        saved.ParseFromString(graph.read_bytes())
    except (DecodeError, OSError) as error:
        raise _damaged(graph, error) from error
    if not saved.meta_graphs:
        raise _damaged(graph, "it holds no graph")
    # A folder may hold one graph per purpose; the one tagged `serve` is what every loader takes.
    meta_graph = next((g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags), saved.meta_graphs[0])
    # Initialization stands among the signatures, as if one could ask for it.
    signatures = {pair.key: pair.value for pair in meta_graph.signature_def if not pair.key.startswith("__saved_model")}
    return tuple(_signature(key, signatures[key]) for key in sorted(signatures))


def saved_model_bytes(path: Path) -> int:
    """The bytes of all files in a folder. Errors: RequestError where there is no such folder."""
    return sum(file.stat().st_size for _, file in _files_in(path))


def sha256_of(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes; of a folder: of its files' names and digests, wherever the folder is.

    A SavedModel's `fingerprint.pb` does not count, because it differs between saves of the same model.
    Errors: RequestError where there is nothing at `path`.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for name, file_path in _files_in(path):
        if name != "fingerprint.pb":
            # A NUL cannot stand in a name, so no two folders can spell the same text.
            whole.update(f"{name}\0{sha256_of(file_path)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _files_in(folder: Path) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise _error(f"there is no {folder}", _instead_of(folder))
    return sorted((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*") if file.is_file())


# ---- Keras files


def _read_zip(path: Path) -> tuple[str, str]:
    """The config's text and the Keras version."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            config = archive.read("config.json").decode() if "config.json" in names else None
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else None
    except Exception as error:  # what damage makes zipfile and its decompressors raise is open-ended
        raise _damaged(path, error) from error
    if config is None:
        if any(name.endswith(".weights.h5") for name in names):
            raise _weights_only(path)
        raise _error(f"{path} is a zip file that Keras did not write: it holds {_listed(names)}")
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return config, version if isinstance(version, str) else ""


def _read_hdf5(path: Path) -> tuple[str, str]:
    """The config's text and the Keras version."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    try:
        _check_heaps(path)
        with h5py.File(path, "r") as file:
            config, version = _attribute(file.attrs, "model_config"), _attribute(file.attrs, "keras_version")
            names = [str(name) for name in file]  # bytes where a name is not Unicode
            weights = "layer_names" in file.attrs or bool({"layers", "vars", "model_weights"} & set(names))
    except Exception as error:  # what damage makes HDF5 raise is open-ended
        raise _damaged(path, error) from error
    if not config:
        if weights:
            raise _weights_only(path)
        raise _error(f"{path} is an HDF5 file that holds no Keras model, but {_listed(names)}")
    return config, version


def _check_heaps(path: Path) -> None:
    """Follows every string heap in an HDF5 file to its end. Errors: ValueError.

    The HDF5 library itself never returns from a heap that was overwritten with zeros, as a broken download leaves it.
    """
    magic = b"GCOL\x01"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def number(at: int, size: int) -> int:
            return int.from_bytes(data[at : at + size], "little")

        start = data.find(magic)
        while start >= 0:
            at, end = start + 16, start + number(start + 8, 8)
            while at + 16 <= end:
                used, size = number(at, 2), number(at + 8, 8)
                step = 16 + (size + 7) // 8 * 8 if used else size  # objects have a header of 16; free space includes it
                if step < 16 or at + step > end:
                    raise ValueError("a string heap in it is overwritten")
                at += step
            start = data.find(magic, start + 8)


def _attribute(attributes: Any, name: str) -> str:
    import h5py

    if name not in attributes:
        return ""
    stored = attributes.get_id(name)
    # By its HDF5 class, before it is read: a damaged type can send the library anywhere in memory.
    if stored.shape != () or stored.get_type().get_class() != h5py.h5t.STRING:
        raise ValueError(f"{name} is not a text")
    value = attributes[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _generation(version: str, text: str) -> int:
    if match := re.match(r"\d{1,4}", version):
        return 3 if int(match[0]) >= 3 else 2
    # Without a version, the spelling of the input shape tells.
    return 3 if '"batch_shape"' in text and '"batch_input_shape"' not in text else 2


def _walk(tree: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object in a config, in the order of the file, with the name of the layer it belongs to."""
    stack: list[tuple[Any, str]] = [(tree, "")]
    while stack:
        node, owner = stack.pop()
        if isinstance(node, dict):
            class_name, config = node.get("class_name"), node.get("config")
            if isinstance(class_name, str) and isinstance(config, dict):
                name = config.get("name")
                owner = name if isinstance(name, str) and name else owner or class_name
            yield node, owner
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, owner) for child in reversed(list(children)))


def _holds_code(node: dict[str, Any]) -> bool:
    class_name = node.get("class_name")
    # With a module beside it, Keras also takes a dotted name such as `layers.Lambda`.
    if isinstance(class_name, str) and class_name.rpartition(".")[2] in ("Lambda", "__lambda__"):
        return True
    if node.get("function_type") == "lambda":  # a subclass of Lambda, in Keras 2
        return True
    # A lambda outside of a Lambda layer, as both Kerases write it into HDF5: code, defaults, closure.
    value = node.get("value") if len(node) == 1 else None
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _is_custom(node: dict[str, Any]) -> bool:
    class_name = node.get("class_name")
    if not isinstance(class_name, str) or class_name.startswith("__") or not isinstance(node.get("config"), dict):
        return False
    if "module" not in node:
        return ">" in class_name
    module = node["module"]
    top = module.partition(".")[0] if isinstance(module, str) else ""
    if top == "builtins":  # also where a class lands whose file was run without a module name
        return bool(node.get("registered_name"))
    return top not in ("keras", "tf_keras", "tensorflow")


def _keras_inputs(model: dict[str, Any], generation: int) -> tuple[TensorSpec, ...] | None:
    config = model["config"]
    layers = _layers_of(config)
    if not layers:
        return None
    if isinstance(config, dict) and "input_layers" in config:
        by_name = {_name(layer): layer for layer in layers}
        specs = [_input_spec(by_name.get(name, {})) for name in _flat_names(config["input_layers"])]
    elif layers[0].get("class_name") == "InputLayer":
        specs = [_input_spec(layers[0])]
    elif model["class_name"] == "Sequential" and generation == 2:
        specs = [_first_layer_spec(config, layers)]
    else:
        # Keras 3 makes up a name when it builds the model, by how many others it has built before.
        return None
    found = tuple(spec for spec in specs if spec is not None)
    return found if found and len(found) == len(specs) else None


def _layers_of(config: Any) -> list[dict[str, Any]]:
    layers = config.get("layers") if isinstance(config, dict) else config  # early Keras 2: Sequential is a bare list
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return []
    return layers


def _name(layer: dict[str, Any]) -> str:
    config = layer.get("config")
    name = layer.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return name if isinstance(name, str) else ""


def _flat_names(structure: Any) -> list[str]:
    """Layer names of a nest of `[name, node, tensor]`, in Keras' order: dicts by key, whatever their own order."""
    names: list[str] = []
    stack = [structure]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(node[key] for key in sorted(node, reverse=True))
        elif isinstance(node, list) and len(node) >= 3 and isinstance(node[0], str):
            names.append(node[0])
        elif isinstance(node, list):
            stack.extend(reversed(node))
        else:
            names.append("")  # no layer has this name, so the inputs count as unknown
    return names


def _input_spec(layer: dict[str, Any]) -> TensorSpec | None:
    config = layer.get("config")
    if layer.get("class_name") != "InputLayer" or not isinstance(config, dict):
        return None
    return _spec(_name(layer), config.get("batch_shape", config.get("batch_input_shape")), config.get("dtype"))


def _first_layer_spec(config: Any, layers: Sequence[dict[str, Any]]) -> TensorSpec | None:
    """The input of a Sequential as Keras 2 derives it from its first layer, or from the shape it was built with."""
    name = f"{_name(layers[0])}_input"
    first: Any = layers[0].get("config")
    while inner := _layers_of(first):
        first = inner[0].get("config")
    if isinstance(first, dict) and "batch_input_shape" in first:
        return _spec(name, first["batch_input_shape"], first.get("dtype"))
    return _spec(name, config.get("build_input_shape"), None) if isinstance(config, dict) else None


def _spec(name: str, shape: Any, dtype: Any) -> TensorSpec | None:
    if not name or not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return None
    if isinstance(dtype, dict):
        policy = dtype.get("config")
        dtype = policy.get("name") if isinstance(policy, dict) else None
    # A mixed policy computes in another type than the one it takes; without a type Keras takes its default.
    known = isinstance(dtype, str) and not dtype.startswith("mixed_")
    return TensorSpec(name, tuple(shape), dtype if known else "float32")


# ---- SavedModels


@functools.cache
def _saved_model_class() -> Any:
    """The class of SavedModel messages, described down to what is read here; all other fields are skipped over.

    The pool is our own, and the package too, so that nothing meets TensorFlow's descriptors in the same process.
    """
    from google.protobuf import (  # type: ignore[import-untyped, unused-ignore]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    package = "tflite_recipes_saved_model"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    constants: Any = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        message_type = file.message_type.add(name=message)
        for text in fields.split(", "):
            kind, name, number = text.split()
            field = message_type.field.add(name=name, number=int(number))
            field.label = constants.LABEL_REPEATED if kind.endswith("[]") else constants.LABEL_OPTIONAL
            kind = kind.removesuffix("[]")
            if kind in _MESSAGES:
                field.type, field.type_name = constants.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = constants.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.SavedModel"))


def _signature(key: str, definition: Any) -> SignatureInfo:
    tensors = [*definition.inputs, *definition.outputs]
    unknown = {tensor.key for tensor in tensors if tensor.value.tensor_shape.unknown_rank}
    inputs, outputs = _tensor_specs(definition.inputs), _tensor_specs(definition.outputs)
    return SignatureInfo(key, inputs, outputs, tuple(sorted(unknown)))


def _tensor_specs(tensors: Any) -> tuple[TensorSpec, ...]:
    dtypes = dict(enumerate(_DTYPES.split()))
    specs = {}
    for tensor in tensors:
        shape = tuple(dim.size if dim.size >= 0 else None for dim in tensor.value.tensor_shape.dim)
        number = tensor.value.dtype
        dtype = dtypes.get(number - 100, dtypes.get(number, "unknown"))
        specs[tensor.key] = TensorSpec(tensor.key, shape, dtype)
    return tuple(specs[name] for name in sorted(specs))


# ---- What is wrong


def _error(what: str, fix: str = "") -> RequestError:
    return RequestError(Problem(what, _WHERE, fix))


def _damaged(path: Path, reason: object) -> RequestError:
    reason = str(reason) or type(reason).__name__
    return _error(f"{path} cannot be read ({reason}): it is damaged or cut short; copy it or save it again")


def _weights_only(path: Path) -> RequestError:
    return _error(f"{path} holds weights only, no architecture: build the model in code and load them there", _FACTORY)


def _no_keras_file(path: Path, head: bytes) -> RequestError:
    if not path.exists():
        return _error(f"there is no file {path}", _instead_of(path))
    folder = path.parent if path.name == _GRAPH_FILE else path
    if (folder / _GRAPH_FILE).is_file():
        return _error(f"{folder} is a SavedModel folder, not a Keras file", f"source=saved_model {_override(folder)}")
    if path.is_dir():
        what = f"{path} is a folder, not a Keras file; it holds {_listed(_names_in(path))}"
        return _error(what, *map(_override, _keras_files_in(path)[:1]))
    what = "is neither a .keras nor an .h5 file by its content: another format, damaged or cut short"
    if not head:
        what = "is empty"
    elif head[4:8] == b"TFL3":
        what = "is a TFLite file: converted already; give the model that it was made from"
    elif head.startswith(b"version https://git-lfs"):
        what = "is a Git LFS pointer, not the model itself; run `git lfs pull` first"
    return _error(f"{path} {what}")


def _no_saved_model(path: Path) -> RequestError:
    if not path.exists():
        return _error(f"there is no folder {path}", _instead_of(path))
    if path.is_file():
        is_keras = _head(path).startswith((_ZIP, _HDF5))
        fix = _override(path.parent) if path.name == _GRAPH_FILE else f"source=keras {_override(path)}" * is_keras
        return _error(f"{path} is a file, not a SavedModel folder", fix)
    # Model servers keep numbered versions in a folder.
    fixes = [_override(graph.parent) for graph in sorted(path.glob(f"*/{_GRAPH_FILE}"), reverse=True)]
    fixes += [f"source=keras {_override(file)}" for file in _keras_files_in(path)]
    what = f"{path} is no SavedModel folder: it has no {_GRAPH_FILE}, but {_listed(_names_in(path))}"
    return _error(what, *fixes[:1])


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from error


def _names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _keras_files_in(folder: Path) -> list[Path]:
    return [folder / name for name in _names_in(folder) if name.endswith((".keras", ".h5", ".hdf5"))]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) + more) or "nothing"


def _instead_of(path: Path) -> str:
    similar = difflib.get_close_matches(path.name, _names_in(path.parent), n=1)
    return _override(path.parent / similar[0]) if similar else ""


def _override(path: Path) -> str:
    text = str(path)
    if not re.fullmatch(r"[A-Za-z0-9_./:@%+*?|$-]+", text):
        # Hydra's quotes, inside the shell's. To Hydra a backslash is one, except before a quote.
        text = '"' + re.sub(r'\\+(?="|\Z)', r"\g<0>\g<0>", text).replace('"', r"\"") + '"'
    return shlex.quote(f"{_WHERE}={text}")
