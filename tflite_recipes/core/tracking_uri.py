"""Tracking URIs as text: which file one means, and what of it must not be written down."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlencode

_SQLITE = "sqlite:///"
_SECRET = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
# As SQLAlchemy reads user:password@: the password ends at the first @, and may hold slashes.
_DATABASE_USER = re.compile(r"([^:/@]*):([^@]*)@")


def sqlite_file(uri: str) -> str | None:
    """The file that a SQLite URI names, as it stands there; None for any other URI, and for one without a file."""
    scheme, _, rest = uri.partition(":///")
    file = rest.partition("?")[0]
    return file if scheme.partition("+")[0] == "sqlite" and file and file != ":memory:" else None


def located(uri: str, folder: str | None = None) -> str:
    """The URI with the SQLite file that it names made absolute: `sqlite:///mlflow.db` means another file in another
    folder (default: the working directory), and MLflow keeps one store for each URI."""
    file = sqlite_file(uri)
    if file is None or file.startswith("file:"):
        return uri
    scheme, _, rest = uri.partition(":///")
    return f"{scheme}:///{os.path.normpath(os.path.join(folder or os.getcwd(), file))}{rest[len(file) :]}"


def without_password(uri: str) -> str:
    """The URI as it may be written down. A database's keeps the user's name, so that PGPASSWORD, ~/.pgpass and the like
    still make it whole; a server's keeps nothing before the host: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD
    stand for it."""
    scheme, sign, rest = uri.partition("://")
    if not sign or scheme.startswith("sqlite"):
        return uri
    if scheme in ("http", "https"):
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        rest = host.rpartition("@")[2] + rest[len(host) :]
    elif found := _DATABASE_USER.match(rest):
        rest = f"{found[1]}@{rest[found.end() :]}"
    place, mark, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if not _SECRET.search(name)]
    if len(kept) == len(pairs):
        return f"{scheme}://{place}{mark}{query}"
    return f"{scheme}://{place}" + (f"?{urlencode(kept)}" if kept else "")


def scrubbed(text: str, uri: str) -> str:
    """A text (an override, an error) that may quote the URI, without its secrets."""
    clean = without_password(uri)
    if clean == uri:
        return text
    text = text.replace(uri, clean)
    for found in re.finditer(r"://([^\s/@]*?:?[^\s@]*)@", uri):
        text = text.replace(f"{found[1]}@", f"{found[1].partition(':')[0]}@" if not uri.startswith("http") else "")
    for name, value in parse_qsl(uri.partition("?")[2]):
        if _SECRET.search(name):
            text = text.replace(f"{name}={value}", f"{name}=***")
    return text


def same_place(uri: str, other: str) -> bool:
    """Whether two URIs differ in their secrets only."""
    return without_password(located(uri)) == without_password(located(other))
