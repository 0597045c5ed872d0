"""Templates of the files under deploy/, and text made safe for them."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).parent / "templates"


class _Page(string.Template):
    """`@{name}` is filled in; `$`, `%` and braces are for the languages of the templates."""

    delimiter = "@"


def page(name: str, **values: str) -> str:
    """The template `name` (folder and file, without .tmpl), every place in it filled in."""
    return _Page((_FOLDER / f"{name}.tmpl").read_text(encoding="utf-8")).substitute(values)


def comment(text: str) -> str:
    """Text that ends no comment and no docstring, on one line."""
    return re.sub(r"\s+", " ", text.replace("\\", "/").replace('"""', "'''").replace("*/", "* /")).strip()


def literal(text: str) -> str:
    """A string literal of C++, Swift and Python. Control characters become spaces: each language has its own escapes
    for them."""
    return json.dumps(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text), ensure_ascii=False)


def lines(items: Iterable[str], prefix: str = "") -> str:
    """Each on a line of its own."""
    return "\n".join(f"{prefix}{item}" for item in items)
