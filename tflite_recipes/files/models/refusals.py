"""What is wrong with a model file, and the override that asks for the right one."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tflite_recipes.core import paths, regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist

_WHERE = "source.path"
FACTORY = "source=factory source.function=my_model.py:build"
_WEIGHTS = "source.weights"
GRAPH_FILE = "saved_model.pb"
# Protobuf counts the bytes of a message in 31 bits.
MOST_GRAPH = 2**31
ZIP, HDF5, TFLITE = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"TFL3"


def refusal(what: str, fix: str = "") -> RequestError:
    """A problem with the model's path; `fix` is the override that mends it."""
    return RequestError(Problem(what, _WHERE, fix))


def damaged(path: Path, reason: object) -> RequestError:
    """The file is of the right kind, but cannot be read."""
    reason = gist(reason) if isinstance(reason, BaseException) else reason
    return refusal(f"{path} cannot be read ({reason}): it is damaged or cut short; copy it or save it again")


def weights_only(path: Path) -> RequestError:
    """The file holds weights, but not the model they belong to."""
    what = f"{path} holds weights only, no architecture: give a function that builds the model"
    return RequestError(Problem(what, _WHERE, "", (f"{FACTORY} {_override(path, _WEIGHTS)} '~{_WHERE}'",)))


def no_keras_file(path: Path, head: bytes) -> RequestError:
    """The path leads to something other than a Keras file; `head` is what it begins with."""
    if not path.exists():
        return refusal(f"there is no file {path}", instead_of(path))
    folder = path.parent if path.name == GRAPH_FILE else path
    if (folder / GRAPH_FILE).is_file():
        return refusal(f"{folder} is a SavedModel folder, not a Keras file", f"source=saved_model {_override(folder)}")
    if path.is_dir():
        what = f"{path} is a folder, not a Keras file; it holds {listed(paths.names_in(path))}"
        return refusal(what, *map(_override, _keras_files_in(path)[:1]))
    what = "is neither a .keras nor an .h5 file by its content: another format, damaged or cut short"
    if not head:
        what = "is empty"
    elif head[4:8] == TFLITE:
        return refusal(f"{path} is a TFLite file: converted already", f"source=tflite {_override(path)}")
    elif head.startswith(b"version https://git-lfs"):
        what = "is a Git LFS pointer, not the model itself; run `git lfs pull` first"
    if head and path.suffix == ".pb":
        return frozen_graph(path)
    return refusal(f"{path} {what}")


def frozen_graph(path: Path) -> RequestError:
    """The path leads to a graph alone, as TensorFlow 1 froze them: it does not tell its inputs and outputs."""
    what = f"{path} is a frozen graph of TensorFlow 1, which does not say which of its tensors are inputs and outputs"
    return RequestError(Problem(what, _WHERE, "", (f"{FACTORY}, whose function imports it (see the README)",)))


def no_saved_model(path: Path) -> RequestError:
    """The path leads to something other than a SavedModel folder."""
    if not path.exists():
        return refusal(f"there is no folder {path}", instead_of(path))
    if path.is_file():
        is_keras = first_bytes(path).startswith((ZIP, HDF5))
        fix = _override(path.parent) if path.name == GRAPH_FILE else f"source=keras {_override(path)}" * is_keras
        if path.suffix == ".pb" and not fix:
            return frozen_graph(path)
        return refusal(f"{path} is a file, not a SavedModel folder", fix)
    # Model servers keep numbered versions in a folder.
    fixes = [_override(graph.parent) for graph in sorted(path.glob(f"*/{GRAPH_FILE}"), reverse=True)]
    fixes += [f"source=keras {_override(file)}" for file in _keras_files_in(path)]
    what = f"{path} is no SavedModel folder: it has no {GRAPH_FILE}, but {listed(paths.names_in(path))}"
    return refusal(what, *fixes[:1])


def instead_of(path: Path) -> str:
    """The override with the most similar name beside a path that does not exist; "" where none is similar."""
    at_home = path.expanduser() if str(path).startswith("~") else path
    similar = at_home if at_home != path and at_home.exists() else beside(path)
    return _override(similar) if similar else ""


def beside(path: Path) -> Path | None:
    """The most similar name beside a path that does not exist."""
    similar = difflib.get_close_matches(path.name, paths.names_in(path.parent), n=1)
    return path.parent / similar[0] if similar else None


def listed(names: Sequence[str]) -> str:
    """At most eight names, and how many more there are."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) + more) or "nothing"


def first_bytes(path: Path) -> bytes:
    """What a file begins with; empty where there is no file. Errors: RequestError where it cannot be read."""
    try:
        if path.is_dir():
            return b""
        with regular_files.open_regular(path) as file:
            return file.read(32)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise refusal(f"{path} cannot be read: {error.strerror}") from error


def _keras_files_in(folder: Path) -> list[Path]:
    return [folder / name for name in paths.names_in(folder) if name.endswith((".keras", ".h5", ".hdf5"))]


def _override(path: Path, key: str = _WHERE) -> str:
    text = str(path)
    if not re.fullmatch(r"[A-Za-z0-9_./:@%+*?|$-]+", text):
        # Hydra's quotes, inside the shell's. To Hydra a backslash is one, except before a quote.
        text = '"' + re.sub(r'\\+(?="|\Z)', r"\g<0>\g<0>", text).replace('"', r"\"") + '"'
    return shlex.quote(f"{key}={text}")
