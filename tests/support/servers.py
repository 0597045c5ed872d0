"""Real servers for tests: MLflow's over HTTP, on SQLite or PostgreSQL; each ends with all that it started."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PATIENCE_S = 120


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class MlflowServer:
    """`mlflow server` on a database, which keeps the artifacts too. `kill` and `start` are its outage and return."""

    folder: Path
    database: str
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, and return once it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError((self.folder / "server.log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def kill(self) -> None:
        """End it without warning, with all processes that it started: they are a session of their own."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def mlflow_server(folder: Path, database: str | None = None) -> Iterator[MlflowServer]:
    """A server that lasts as long as the context; without a database on a SQLite file of its own."""
    server = MlflowServer(folder, database or f"sqlite:///{folder}/server.db")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def no_postgres() -> str | None:
    """Why there can be no PostgreSQL here; None where there can."""
    if _binary("initdb") is None or _binary("postgres") is None:
        return "PostgreSQL (initdb, postgres) is not installed"
    if importlib.util.find_spec("psycopg2") is None:
        return "psycopg2 is not installed"
    if os.getuid() == 0 and (_user() is None or not (shutil.which("setpriv") or shutil.which("runuser"))):
        return "PostgreSQL does not run as root, and there is no other user to run it as"
    return None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty database `mlflow` in a cluster of its own, on a port of the loopback interface. It has a
    password, so that what must not be written down is there."""
    folder = Path(tempfile.mkdtemp(prefix="tflite_recipes_postgres_"))
    user, port, process = _user(), free_port(), None
    try:
        secret = folder / "password"
        secret.write_text("let-me-in")
        if user:
            for path in (folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        _run(["initdb", "-D", f"{folder}/data", "-U", "owner", "-A", "scram-sha-256", "--pwfile", str(secret), "-N"])
        options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder)}
        options |= {"fsync": "off", "max_connections": "100"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            _as_user(["postgres", "-D", f"{folder}/data", *settings]),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
        )
        _create_database(port, process, folder)
        yield f"postgresql+psycopg2://owner:let-me-in@127.0.0.1:{port}/mlflow"
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # fast shutdown: it ends its own processes
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    import psycopg2

    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user="owner", password="let-me-in", dbname="postgres"
            )
            break
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE mlflow")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(_as_user(command), cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


def _as_user(command: Sequence[str]) -> list[str]:
    """The command with PostgreSQL's own program, as a user that it runs as."""
    whole = [str(_binary(command[0])), *command[1:]]
    user = _user()
    if user is None:
        return whole
    if shutil.which("setpriv"):
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--", *whole]
    return ["runuser", "-u", user.pw_name, "--", *whole]


def _user() -> pwd.struct_passwd | None:
    """Who PostgreSQL is run as where that is not ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _binary(name: str) -> str | None:
    found = shutil.which(name)
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(versions[-1]) if versions else None


@contextlib.contextmanager
def serving(server: http.server.HTTPServer, poll_interval: float = 0.5) -> Iterator[None]:
    """Answer from a thread as long as the context lasts. `server.closing` is set before the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": poll_interval}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
