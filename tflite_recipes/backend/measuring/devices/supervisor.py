"""What runs on the device, sent there over standard input: standard library only, Python 3.9 or newer.

It takes a request line (JSON: `directory`, `usual`, `seconds`, `imports`, `distributions`) and says what it finds;
then a line with `files` (name and bytes each), `script` and `results`, and the files' bytes. It runs `script` on a
private folder and sends the results back. Whatever happens, it ends what it started and removes the folder: at the
end, after `seconds`, on a signal, and when standard input ends, which is how a connection that is lost shows.

Each message is a line of JSON with the key `said`; other lines (a greeting of the login shell) are none of ours. A
message `file` is followed by the bytes of that file.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

PREFIX = "tflite_recipes_"
CHUNK = 1 << 20
# A connection that is cut without a word takes nothing any more, and a write to it may wait for ever.
LAST_RESORT_S = 30
RECEIVED, GONE, FINISHED = b"r", b"g", b"f"


class Ended(Exception):
    """The time is over, or nobody listens any more."""


class Inbox:
    """What happens, one byte each through a pipe: no lock that a signal could come upon, and no polling beside a
    measurement."""

    def __init__(self):
        self._read, self._write = os.pipe()
        self.deadline = time.monotonic() + 60

    def put(self, what):
        os.write(self._write, what)

    def wait_for(self, wanted):
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise Ended("time")
            news = os.read(self._read, 1)
            if news == GONE:
                raise Ended("it was told to end")
            if news == wanted:
                return


class Supervisor:
    """One request, from its line to its end."""

    def __init__(self):
        self.inbox = Inbox()
        self.folder = None
        self.child = None
        self.request = {}
        self.job = {}
        self._lock = threading.Lock()

    def say(self, said, data=b"", **message):
        with self._lock:
            sys.stdout.buffer.write(json.dumps({"said": said, **message}).encode() + b"\n" + data)
            sys.stdout.buffer.flush()

    def listen(self):
        """The thread that reads standard input, to its end."""
        try:
            self.request = json.loads(sys.stdin.buffer.readline())
            self.inbox.put(RECEIVED)
            self.job = json.loads(sys.stdin.buffer.readline())
            for entry in self.job["files"]:
                self.store(entry)
            self.inbox.put(RECEIVED)
            sys.stdin.buffer.read(1)
        except OSError as error:  # a full disk, say
            with contextlib.suppress(OSError):
                self.say("refused", error=str(error))
        except (EOFError, ValueError):  # ended in the middle, or there is no line
            pass
        self.inbox.put(GONE)

    def store(self, entry):
        with open(os.path.join(self.folder, os.path.basename(entry["name"])), "wb") as file:
            left = entry["bytes"]
            while left:
                data = sys.stdin.buffer.read(min(left, CHUNK))
                if not data:
                    raise EOFError
                file.write(data)
                left -= len(data)

    def serve(self):
        self.inbox.wait_for(RECEIVED)
        self.inbox.deadline = time.monotonic() + self.request["seconds"]
        signal.alarm(int(self.request["seconds"]) + LAST_RESORT_S)
        try:
            directory, usual = self.request["directory"], self.request["usual"]
            if directory is None and usual is not None and os.path.isdir(usual):
                directory = usual
            self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=directory and os.path.expanduser(directory))
        except OSError as error:
            self.say("refused", error=str(error))
            return
        self.say("hello", **self.found())
        self.inbox.wait_for(RECEIVED)
        status = self.run([os.path.join(self.folder, self.job["script"]), self.folder], self.relay)
        for name in self.job["results"]:
            self.send_back(name)
        self.say("done", status=status)

    def run(self, arguments, read):
        """A Python in a session of its own, whose output `read` takes."""
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1", TMPDIR=self.folder)
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "cwd": self.folder, "env": environment}
        self.child = subprocess.Popen([sys.executable, *arguments], start_new_session=True, **options)
        reader = threading.Thread(target=read, args=(self.child.stdout,), daemon=True)
        waiter = threading.Thread(target=self.await_it, args=(self.child,), daemon=True)
        for thread in (reader, waiter):
            thread.start()
        self.inbox.wait_for(FINISHED)
        reader.join(2)  # what it started may hold its output open
        status = self.child.returncode
        self.end_child()
        return status

    def await_it(self, child):
        child.wait()
        self.inbox.put(FINISHED)

    def end_child(self):
        if self.child is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
            self.child = None

    def relay(self, output):
        with contextlib.suppress(OSError):
            for line in iter(lambda: output.readline(CHUNK), b""):
                self.say("line", text=line.decode("utf-8", "replace"))

    def found(self):
        """Which device this is, and whether it has what it takes; that is tried in a process of its own, because a
        library made for another processor ends it."""
        errors = []
        code = "import sys, importlib\ntry:\n for name in sys.argv[1:]: importlib.import_module(name)\n"
        code += "except BaseException as error: print(type(error).__name__ + ': ' + str(error).replace('\\n', ' '))\n"
        code += "else: print('imported')"
        status = self.run(["-c", code, *self.request["imports"]], lambda output: errors.append(output.read()))
        text = b"".join(errors).decode("utf-8", "replace").strip()
        if status != 0:
            text = f"importing numpy and LiteRT ended Python with status {status}"
        versions = {}
        for name in self.request["distributions"]:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        return {
            "missing": "" if text == "imported" else text,
            "versions": versions,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": "Android" if hasattr(sys, "getandroidapilevel") else platform.system(),
            "device": device_name(),
            "free_bytes": shutil.disk_usage(self.folder).free,
        }

    def send_back(self, name):
        path = os.path.join(self.folder, os.path.basename(name))
        if os.path.isfile(path):
            with open(path, "rb") as file:
                data = file.read()
            self.say("file", data=data, name=name, bytes=len(data))

    def clean(self):
        """Nothing stays: no process, no file."""
        self.end_child()
        if self.folder is not None:
            for _ in range(3):  # what was just killed may still have had a file to write
                shutil.rmtree(self.folder, ignore_errors=True)
                if not os.path.exists(self.folder):
                    break
                time.sleep(0.1)


def device_name():
    """What the board calls itself, else its processor's name."""
    with contextlib.suppress(OSError), open("/proc/device-tree/model", encoding="utf-8") as file:
        return file.read().strip("\0 \n")
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main():
    """One request, whose end is the end of the process."""
    supervisor = Supervisor()
    for name in ("SIGHUP", "SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: supervisor.inbox.put(GONE))
    signal.signal(signal.SIGALRM, lambda *_: (supervisor.clean(), os._exit(1)))
    threading.Thread(target=supervisor.listen, daemon=True).start()
    why = ""
    try:
        supervisor.serve()
    except Ended as error:
        why = str(error)
    except OSError as error:
        why = str(error)
    finally:
        supervisor.clean()
    with contextlib.suppress(OSError):
        left = supervisor.folder or ""
        supervisor.say("ended", why=why, left=left if os.path.exists(left) else "")
    os._exit(0)  # the thread that reads holds standard input, which Python would wait for


if __name__ == "__main__":
    main()
