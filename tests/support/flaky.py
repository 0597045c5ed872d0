"""A server between a client and a real one, that loses answers or gives wrong ones when told to."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.servers import serving

# What a request (method, path) meets: None for the real answer, "lose" for none though it was done, "hang" for none
# until the server closes, or a status.
Fate = Callable[[str, str], str | int | None]


class FlakyServer(ThreadingHTTPServer):
    """Passes requests on to the server on `port`, as `fate` will have it. `asked` are all of them."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.asked, self.closing = port, list[tuple[str, str]](), threading.Event()
        self.fate: Fate = lambda method, path: None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def _pass(self) -> None:
        self.server.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.server.fate(self.command, self.path)
        self.close_connection = True
        if fate == "hang":
            self.server.closing.wait()
            return
        if isinstance(fate, int):
            self._answer(fate, [("Retry-After", "3600")], b"{}")
            return
        real = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        real.request(self.command, self.path, body, {**self.headers, "Connection": "close"})
        got = real.getresponse()
        content = got.read()
        if fate != "lose":
            kept = [(name, value) for name, value in got.getheaders() if name.lower() in ("content-type", "location")]
            self._answer(got.status, kept, content)
        real.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _pass

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None: ...


@contextlib.contextmanager
def flaky(port: int) -> Iterator[FlakyServer]:
    """Such a server before the one on `port`, as long as the context lasts."""
    server = FlakyServer(port)
    with serving(server):
        yield server
