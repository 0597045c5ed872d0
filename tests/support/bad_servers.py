"""A stand-in for MLflow's server that answers a run's questions, slowly, wrongly, without end, or not at all."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from enum import Enum, unique
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.servers import serving

RUN_ID = "0123456789abcdef0123456789abcdef"


@unique
class Fault(Enum):
    """What a request meets."""

    NONE = "the right answer"
    SLOW = "the right answer after `pause_s`"
    HANG = "no answer until the server ends"
    DRIP = "a byte every `pause_s`, from the first line on"
    DRIP_BODY = "the head at once, then a byte every `pause_s`"
    ENDLESS = "a body that never ends, at full speed"
    ENDLESS_GZIP = "the same, packed: a thousand bytes for each that is sent"
    ENDLESS_ERROR = "the same, with status 500"
    CONTINUE = "100 Continue, again and again"
    CLOSE = "a connection that is closed without an answer"
    NO_JSON = "text that is not JSON"
    DEEP_JSON = "JSON of lists in lists, a million deep"
    OTHER_JSON = "JSON of another shape"
    ERROR = "status 500"


class BadServer(ThreadingHTTPServer):
    """Answers as `fault` will have it. `asked`: the requests (method, path). `after`: how many go well before."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault, self.pause_s, self.after = Fault.NONE, 0.05, 0
        self.asked: list[tuple[str, str]] = []
        self.closing = threading.Event()
        self.tags: dict[str, str] = {}

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def set(self, fault: Fault, pause_s: float = 0.05, after: int = 0) -> str:
        """Answer like this from now on. Returns the tracking URI."""
        self.fault, self.pause_s, self.after = fault, pause_s, after
        self.asked.clear()
        return self.uri

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client has gone, which it is to do."""


class _Handler(BaseHTTPRequestHandler):
    server: BadServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.asked.append((self.command, self.path))
        fault = server.fault if len(server.asked) > server.after else Fault.NONE
        self.close_connection = fault is not Fault.NONE
        content = json.dumps(_content(self.path, body, server)).encode()
        match fault:
            case Fault.NONE | Fault.SLOW:
                server.closing.wait(server.pause_s if fault is Fault.SLOW else 0)
                self._send(content)
            case Fault.HANG:
                server.closing.wait()
            case Fault.DRIP | Fault.DRIP_BODY:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(content) + 1000)
                self.wfile.write(head if fault is Fault.DRIP_BODY else b"")
                for byte in (b"" if fault is Fault.DRIP_BODY else head) + content + b" " * 1000:
                    self.wfile.write(bytes([byte]))
                    if server.closing.wait(server.pause_s):
                        return
            case Fault.ENDLESS | Fault.ENDLESS_ERROR | Fault.ENDLESS_GZIP:
                self._send_endlessly(fault)
            case Fault.CONTINUE:
                while not server.closing.is_set():
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    time.sleep(0.01)
            case Fault.CLOSE:
                return
            case Fault.NO_JSON:
                self._send(b"<html>no tracking server</html>")
            case Fault.DEEP_JSON:
                self._send(b"[" * 1_000_000)
            case Fault.OTHER_JSON:
                self._send(b'{"experiments": 7, "experiment": [], "run": "x", "runs": {"a": 1}}')
            case Fault.ERROR:
                self._send(b"{}", 500)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

    def _send(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:  # or the client sends its next request down a connection that is about to close
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _send_endlessly(self, fault: Fault) -> None:
        import zlib

        packed = zlib.compressobj(wbits=31) if fault is Fault.ENDLESS_GZIP else None
        self.wfile.write(b"HTTP/1.1 %d X\r\n" % (500 if fault is Fault.ENDLESS_ERROR else 200))
        self.wfile.write(b"Content-Encoding: gzip\r\n\r\n" if packed else b"\r\n")
        while not self.server.closing.is_set():
            block = b" " * (1 << 20)
            self.wfile.write(packed.compress(block) + packed.flush(2) if packed else block)

    def log_message(self, format: str, *arguments: object) -> None: ...


def _content(path: str, body: bytes, server: BadServer) -> Any:
    """What a run needs to be told: an experiment and a run that are always there."""
    place = path.partition("?")[0].rpartition("/mlflow/")[2]
    info = {
        "run_id": RUN_ID,
        "run_name": "a run",
        "experiment_id": "1",
        "status": "RUNNING",
        "start_time": 1000,
        "lifecycle_stage": "active",
        "artifact_uri": f"mlflow-artifacts:/1/{RUN_ID}/artifacts",
    }
    if place == "runs/create":
        server.tags = {tag["key"]: tag["value"] for tag in json.loads(body)["tags"]}
    run = {"info": info, "data": {"tags": [{"key": key, "value": text} for key, text in server.tags.items()]}}
    experiment = {"experiment_id": "1", "name": "tflite_recipes", "lifecycle_stage": "active"}
    answers = {
        "experiments/search": {"experiments": [experiment]},
        "experiments/get-by-name": {"experiment": experiment},
        "experiments/get": {"experiment": experiment},
        "experiments/create": {"experiment_id": "1"},
        "runs/create": {"run": run},
        "runs/get": {"run": run},
        "runs/update": {"run_info": info},
        "runs/search": {"runs": [run] if server.tags else []},
    }
    return answers.get(place, {})


@contextlib.contextmanager
def bad_server() -> Iterator[BadServer]:
    """Such a server, as long as the context lasts."""
    server = BadServer()
    with serving(server, 0.05):
        yield server
