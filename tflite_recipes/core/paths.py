"""Questions about paths that people typed: whatever the text is, the answer is not an exception."""

from __future__ import annotations

import os

# Limits of Linux: bytes of one name, and of a whole path.
_LONGEST_NAME = 255
_LONGEST_PATH = 4095


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the sorted names in a folder; none if it is not there or cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def impossible(text: str) -> str:
    """Return why a text can neither be typed nor be a name, "" if it can."""
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        return "it holds half of a character"
    return "it holds a null character" if b"\0" in raw else ""


def unusable(text: str) -> str:
    """Return why a text cannot be a path, "" if it can be one."""
    if reason := impossible(text):
        return f"{reason}, which no file name can"
    raw = os.fsencode(text)
    if len(raw) > _LONGEST_PATH:
        return f"it has {len(raw)} bytes, and a path can have {_LONGEST_PATH}"
    longest = max(map(len, raw.split(b"/")))
    return f"a name in it has {longest} bytes, and can have {_LONGEST_NAME}" if longest > _LONGEST_NAME else ""


def shortened(text: str) -> str:
    """Return a text as it is shown in a message: whole up to 120 characters."""
    return text if len(text) <= 120 else f"{text[:80]}…{text[-30:]} ({len(text)} characters)"
