"""Keeps the credentials of the environment from servers that the user did not name."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from tflite_recipes.core.tracking_uri import same_place

# What a client may see of the environment at a server that a folder names. Anything else could be a credential: of
# MLflow, a database, a cloud or a plugin.
_HARMLESS = re.compile(
    r"HOME|PATH|PWD|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|COLUMNS|LINES|VIRTUAL_ENV|PYTHON\w*|"
    r"(?i:https?_proxy|no_proxy|all_proxy)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|"
    r"DO_NOT_TRACK|GIT_PYTHON_REFRESH|PGCONNECT_TIMEOUT|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES|"
    r"MLFLOW_(HTTP_REQUEST_\w+|DISABLE_TELEMETRY|ENABLE_ARTIFACTS_PROGRESS_BAR|SUPPRESS_PRINTING_URL_TO_STDOUT|"
    r"HTTP_RESPECT_RETRY_AFTER_HEADER|TRACKING_SERVER_CERT_PATH)"
)
_WITHHELD = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "MYSQL_PWD")


def is_named(uri: str, asked: str | None) -> bool:
    """Return whether the user named this server: by `tracking.uri=` (`asked`), or by MLFLOW_TRACKING_URI."""
    if asked is not None:
        return True
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    return bool(named) and same_place(named, uri)


def present() -> bool:
    """Return whether the environment holds credentials of MLflow or of a database."""
    return any(os.environ.get(name) for name in _WITHHELD)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """Run what is inside without the credentials of the environment, of `~/.mlflow/credentials` and of `~/.netrc`.

    MLflow reads the first two at each request, whatever the server is, and requests the third.
    """
    from mlflow.utils import credentials

    hidden = {name: value for name, value in os.environ.items() if not _HARMLESS.fullmatch(name)}
    read_file: Any = credentials._read_mlflow_creds_from_file
    for name in hidden:
        del os.environ[name]
    credentials._read_mlflow_creds_from_file = lambda: (None, None)
    os.environ["NETRC"] = os.devnull  # which requests reads in place of ~/.netrc
    try:
        yield
    finally:
        credentials._read_mlflow_creds_from_file = read_file
        del os.environ["NETRC"]
        os.environ.update(hidden)
