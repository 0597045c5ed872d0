"""A device over ssh, by the OpenSSH client of this machine and the user's own configuration of it."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from tflite_recipes.core.errors import Problem, assignment

# ssh_config(5). What the user has configured holds (aliases, ports, keys, jump hosts), but for what is at stake here:
# the host's key is known already, nobody is asked, nothing of this machine is lent to the device, and the connection is
# one of its own, checked by these rules.
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "NoHostAuthenticationForLocalhost": "no",
    "UpdateHostKeys": "no",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
}
_OWN_FAILURE = 255
_UNREACHABLE = re.compile(
    r"could not resolve|connection (refused|timed out|reset|closed)|no route|unreachable|timed out|banner exchange",
    re.I,
)
# How its messages name the host, which the configuration may know by another name.
_NAMED = re.compile(r"host key (?:is known )?for (?P<host>\S+) (?:and you|has changed)", re.I)
_WITH_PORT = re.compile(r"\[(?P<host>.+)\]:(?P<port>\d+)")


@dataclass(frozen=True)
class SshDevice:
    """`host` is [user@]host or an alias of the user's configuration, which also decides what is null here."""

    host: str
    port: int | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    usual_directory: str | None = None

    @property
    def name(self) -> str:
        return self.host

    def command(self, line: str) -> list[str]:
        options = dict(_OPTIONS)
        if self.port is not None:
            options["Port"] = str(self.port)
        if self.identity_file is not None:
            options |= {"IdentityFile": _file(self.identity_file), "IdentitiesOnly": "yes"}
        if self.known_hosts is not None:
            options |= {"UserKnownHostsFile": _file(self.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
        given = [argument for key, value in options.items() for argument in ("-o", f"{key}={value}")]
        return ["ssh", *given, "--", self.host, line]

    def failure(self, status: int, errors: str) -> Problem | None:
        if status != _OWN_FAILURE:
            return None
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        if "Host key verification failed" in errors or "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors:
            return self._host_key(errors)
        last = lines[-1] if lines else "it said nothing"
        if "Permission denied" in errors or "Too many authentication failures" in errors:
            what = f"{self.host} lets nobody in with the keys that it was offered ({last}); no password is asked for"
            others = (f"ssh-copy-id {self._as_typed()}", "ssh-add, for a key that has a passphrase")
            return Problem(what, "target.identity_file", assignment("target.identity_file", "KEY_FILE"), others)
        if _UNREACHABLE.search(errors):
            return Problem(f"{self.host} cannot be reached: {last}", "target.host")
        return Problem(f"the connection to {self.host} failed: {last}", "target.host")

    def _host_key(self, errors: str) -> Problem:
        """How to make a key known: by somebody who has compared it, never by this program."""
        named = _NAMED.search(errors)
        entry = named["host"] if named else self.host.rpartition("@")[2]
        bracketed = _WITH_PORT.fullmatch(entry)
        scan = ["ssh-keyscan", "-p", bracketed["port"], bracketed["host"]] if bracketed else ["ssh-keyscan", entry]
        file = "~/.ssh/known_hosts" if self.known_hosts is None else shlex.quote(self.known_hosts)
        compare = "compare the fingerprint with that of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there"
        add = f"{shlex.join(scan)} >> {file}, then {compare} (here: ssh-keygen -lf {file})"
        if "HAS CHANGED" in errors:
            what = f"the key of {self.host} is not the one known for it: another machine answers, or it has new keys"
            remove = f"ssh-keygen -R {shlex.quote(entry)} -f {file}, once you know why, and connect anew"
            return Problem(what, "target.host", "", (remove, add))
        what = f"the key of {self.host} is not known here, and no unknown machine is sent anything"
        once = f"ssh {self._as_typed()}, once by hand, and {compare} before you say yes"
        return Problem(what, "target.host", "", (once, add))

    def _as_typed(self) -> str:
        words = ["-p", str(self.port)] if self.port is not None else []
        if self.known_hosts is not None:
            words += ["-o", f"UserKnownHostsFile={_file(self.known_hosts)}"]
        return shlex.join([*words, self.host])


def _file(path: str) -> str:
    """A path as one word of ssh's, which splits at spaces and expands percent signs itself."""
    whole = os.path.abspath(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{whole}"'
