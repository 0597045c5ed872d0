"""C++ source text from names and numbers that may hold anything."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

# numpy's name: the fixed-width type of C++.
TYPES = {
    "float32": "float",
    "int8": "std::int8_t",
    "uint8": "std::uint8_t",
    "int16": "std::int16_t",
    "uint16": "std::uint16_t",
    "int32": "std::int32_t",
    "uint32": "std::uint32_t",
    "int64": "std::int64_t",
    "bool": "bool",
}
_LONGEST = 60
_VALUES_A_LINE = 12
_BYTES_A_LINE = 16


def word(name: str) -> str:
    """ASCII letters, digits and single underscores, to stand behind a prefix: alone it may be a keyword, a macro, or
    begin with a digit. Letters with marks lose them, anything else becomes an underscore."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[^A-Za-z0-9]+", "_", plain)[:_LONGEST].strip("_") or "x"


def words(names: Iterable[str]) -> list[str]:
    """A word for each name, no two alike: of equal ones the later get a number."""
    taken: list[str] = []
    for name in names:
        first = chosen = word(name)
        number = 2
        while chosen in taken:
            chosen, number = f"{first}_{number}", number + 1
        taken.append(chosen)
    return taken


def quoted(value: Any) -> str:
    """A value for a comment: one line of ASCII, that ends in no backslash, behind which a comment would go on."""
    return json.dumps(value, default=str)


def string(text: str) -> str:
    """A string literal of the text's UTF-8 bytes."""
    safe = set(range(0x20, 0x7F)) - {ord(character) for character in '"\\?'}
    return '"' + "".join(chr(byte) if byte in safe else f"\\{byte:03o}" for byte in text.encode()) + '"'


def number(value: Any, dtype: str) -> str:
    """A literal that reads back as the same value of that type. float32: nine digits are enough."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype != "float32":
        whole = int(value)
        if whole == -(1 << 63):  # a minus before a literal that is one too large
            return "INT64_MIN"
        return f"{whole}{'LL' if dtype == 'int64' else 'U' if dtype == 'uint32' else ''}"
    real = float(value)
    if math.isnan(real):
        return "NAN"
    if math.isinf(real):
        return "-INFINITY" if real < 0 else "INFINITY"
    text = f"{real:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def rows(values: Iterable[Any], dtype: str) -> str:
    """Literals, several a line."""
    texts = [number(value, dtype) for value in values]
    lines = (", ".join(texts[start : start + _VALUES_A_LINE]) for start in range(0, len(texts), _VALUES_A_LINE))
    return ",\n".join(f"    {line}" for line in lines)


def byte_rows(data: bytes) -> str:
    """Bytes as literals; megabytes take a blink."""
    text = "0x" + data.hex(",").replace(",", ",0x")
    width = 5 * _BYTES_A_LINE
    return "\n".join(text[start : start + width] for start in range(0, len(text), width))
