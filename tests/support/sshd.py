"""A real sshd on loopback with keys and a configuration of its own, for one test, as whoever runs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/lib/ssh")
# Where an sshd that runs as root puts the child that has no privileges; the service makes it, and so must we.
_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class Sshd:
    """Where it listens, and the files that let one in. `known_hosts` knows its key; `log` is what it says."""

    port: int
    identity: Path
    known_hosts: Path
    host_key: Path
    log: Path
    pid: int
    home: Path

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        return children(self.pid)


def children(pid: int) -> list[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def key(path: Path, kind: str = "ed25519") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return path


def known(path: Path, port: int, public: Path) -> Path:
    """A file of known hosts with this key."""
    kind, data = public.read_text(encoding="utf-8").split()[:2]
    path.write_text(f"[127.0.0.1]:{port} {kind} {data}\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Start it in `folder`, and end it."""
    if _SSHD is None:
        pytest.skip("there is no sshd on this machine")
    if os.geteuid() == 0:
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir()
    host_key, identity = key(folder / "host_key"), key(folder / "user_key")
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text(encoding="utf-8"), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {folder / 'authorized_keys'}\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n"
        "PermitRootLogin yes\nPermitUserEnvironment no\nAcceptEnv *\n",
        encoding="utf-8",
    )
    log = folder / "sshd.log"
    with log.open("wb") as out:
        command = [_SSHD, "-D", "-e", "-f", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _await(port, process, log)
        hosts = known(folder / "known_hosts", port, folder / "host_key.pub")
        yield Sshd(port, identity, hosts, host_key, log, process.pid, folder)
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {log.read_text(encoding='utf-8', errors='replace')[-300:]}")
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))
