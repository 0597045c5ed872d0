"""The user's own code that a trusted recipe names: the version that the past run loaded, or none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tflite_recipes.core import public_names, schema
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.schema import TARGET, NeedsTrust

_REFERENCE = re.compile(r"(?P<place>[^:]+):(?P<name>[^\W\d]\w*)")
# How a run tags what it loaded: `layers.py:Scale sha256:0123456789ab`, several with commas between.
_TAGGED = re.compile(r"(?P<place>[^:,]+):(?P<name>\w+) sha256:(?P<digest>[0-9a-f]{12})")
_TAGS = "tflite_recipes."


@dataclass(frozen=True)
class Resolved:
    """The config with its code's places as they are now, and what to say of each."""

    config: dict[str, Any]
    notes: tuple[str, ...] = ()


def resolved(
    config: Mapping[str, Any], tags: Mapping[str, str], kept: Mapping[str, Path], importable: Collection[str] = ()
) -> Resolved:
    """Spell each `file.py:name` and `module:name` that the run loaded from a user's own file by the file that was kept,
    else by the one here if it has the same content.

    tags: of the run, by their whole names. kept: files by path below `code/`. importable: the modules that are imported
    as the run had them, which keep their names. Errors: RequestError for code that is neither kept nor the same here.
    """
    work = _Places(tags, kept, importable)
    changed = {
        key: work.section(key, value) if key not in ("steps", "tracking") else value for key, value in config.items()
    }
    changed["steps"] = [work.reference(f"steps[{i}]", entry) for i, entry in enumerate(config["steps"])]
    if work.problems:
        raise RequestError(work.problems)
    return Resolved(changed, tuple(dict.fromkeys(work.notes)))


def versions(tags: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """By place (a file's name, or a module) and name, the first 12 digits of the SHA-256 of the file."""
    listed = (text for key, text in tags.items() if key.startswith(_TAGS))
    return {
        (match["place"].strip(), match["name"]): match["digest"] for text in listed for match in _TAGGED.finditer(text)
    }


@dataclass
class _Places:
    tags: Mapping[str, str]
    kept: Mapping[str, Path]
    importable: Collection[str] = ()
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def section(self, group: str, section: Any) -> Any:
        """The section with its references spelled anew: of our own classes the keys that name code, of others the class
        itself."""
        target = section.get(TARGET) if isinstance(section, Mapping) else None
        if not isinstance(target, str):
            return section
        if not public_names.is_ours(target):
            place = target if ":" in target else ":".join(target.rsplit(".", 1))
            return {**section, TARGET: self.reference(f"{group}.{TARGET}", place)}
        kind = schema.class_of(target)
        marks = schema.marks_of(kind, NeedsTrust) if kind is not None else {}  # else composing refuses it
        return {key: self._value(f"{group}.{key}", value) if key in marks else value for key, value in section.items()}

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._value(f"{key}.{name}", item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(key, item) for item in value]
        return self.reference(key, value)

    def reference(self, key: str, text: Any) -> Any:
        match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            return text
        place, name = match["place"], match["name"]
        is_file = place.endswith(".py")
        if place in self.importable:
            return text
        known = Path(place).name if is_file else place
        digest = versions(self.tags).get((known, name))
        if digest is None and not is_file:
            return text  # of an installed package, whose version environment.txt tells
        here = Path(place) if is_file else Path(*place.split(".")).with_suffix(".py")
        own = _sha256(here) if here.is_file() else ""
        file = next(self._candidates(known if is_file else f"{place.rpartition('.')[2]}.py", digest), None)
        if file is not None:
            other = f"; {here} here has other content (sha256:{own[:12]})" if own and own != _sha256(file) else ""
            self.notes.append(f"{key}: {known} as the run had it, from the server (sha256:{_sha256(file)[:12]}){other}")
            return f"{os.path.relpath(file)}:{name}"
        if digest is not None and own[:12] == digest:
            self.notes.append(f"{key}: {here} here, the same that the run had (sha256:{digest})")
            return text
        said = f"sha256:{own[:12]} here" if own else "not here"
        what = f"{known} is {said}, and the run had {f'sha256:{digest}' if digest else 'an unknown version'}"
        self.problems.append(Problem(f"{what}, which the server did not keep", key))
        return text

    def _candidates(self, name: str, digest: str | None) -> Iterator[Path]:
        """Kept files that may be meant: of the digest, or, where none is known, of the name."""
        for kept, path in self.kept.items():
            if _sha256(path)[:12] == digest or (digest is None and PurePosixPath(kept).name == name):
                yield path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
