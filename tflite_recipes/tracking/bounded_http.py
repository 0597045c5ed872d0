"""MLflow's requests with an end: each answer is waited for and read up to a limit, whatever the server sends.

MLflow's timeout is one for each read of the socket. A server that sends a byte now and then, or without end, holds it
for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import requests
from mlflow.utils import request_utils
from urllib3 import connectionpool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry

from tflite_recipes.tracking.patience import NoAnswer, Patience, current

_BLOCK = 1 << 14
# A file that is downloaded makes progress if so many bytes come within the time for one answer.
_PROGRESS_BYTES = 10_000
# An upload of so many bytes gives the server another second to store them.
_STORED_BYTES_IN_A_SECOND = 1e6
_HEADER_BYTES = 1 << 16
_of_thread = threading.local()


def install() -> None:
    """Let MLflow use sessions that keep to the limits of `patience.current`; without any they do as before."""
    if request_utils.TCPKeepAliveHTTPAdapter is not _Adapter:
        request_utils.TCPKeepAliveHTTPAdapter = _Adapter
        request_utils.Retry = _Retry
        request_utils._cached_get_request_session.cache_clear()


class _Request:
    """A request under way, with all its retries. limit_s: for the answer, from when the last byte was sent."""

    def __init__(self, patience: Patience, limit_s: float, is_file: bool) -> None:
        self.patience, self._limit_s, self._is_file = patience, limit_s, is_file
        self._since = time.monotonic()
        self._until = self._since + limit_s
        self._sent = self._received = 0
        self._socket: Any = None

    def left_s(self) -> float:
        """Return the seconds that are left. Raises: NoAnswer if none are."""
        left_s = min(self._until, self.patience.until) - time.monotonic()
        if left_s <= 0:
            self.fail()
        return left_s

    def fail(self) -> NoReturn:
        """Give up. Raises: NoAnswer."""
        if self.patience.until > time.monotonic():  # else the answer may have been on its way
            self.patience.failed(min(time.monotonic() - self._since, self._limit_s))
        raise NoAnswer(self.patience.late(self._limit_s, "no whole answer" if self._received else "no answer"))

    def uses(self, connection: Any) -> None:
        """Remember the connection, to close it if the waiting ends."""
        self._socket = connection.sock

    def abort(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # of TLS the connection below, which needs no goodbye
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def sent(self, count: int) -> None:
        """Count bytes that were sent: the answer comes after the last."""
        self._sent += count
        self._since = time.monotonic()
        self._until = self._since + self._limit_s + self._sent / _STORED_BYTES_IN_A_SECOND

    def received(self, count: int) -> None:
        """Count bytes of the answer. Of an answer to a question all have to be there in time."""
        before, self._received = self._received, self._received + count
        most = self.patience.file_bytes if self._is_file else self.patience.answer_bytes
        if self._received > most + _HEADER_BYTES:
            raise _too_long(most)
        if self._is_file and self._received // _PROGRESS_BYTES > before // _PROGRESS_BYTES:
            self._until = time.monotonic() + self._limit_s

    def answered(self) -> None:
        self.patience.answered(time.monotonic() - self._since)


def _too_long(most: float) -> NoAnswer:
    """Return the error of an answer of more bytes than are read."""
    return NoAnswer(f"the server's answer has more than {most / 1e6:.3g} MB")


def _request() -> _Request | None:
    return getattr(_of_thread, "request", None)


class _CountedSocket(io.RawIOBase):
    """Reads a connection no longer than the request may take."""

    def __init__(self, raw: io.RawIOBase, connection: Any, request: _Request) -> None:
        self._raw, self._connection, self._request = raw, connection, request

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(self._request.left_s())
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            self._request.fail()
        self._request.received(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *positional: Any, **named: Any) -> None:
        super().__init__(sock, *positional, **named)
        if (request := _request()) is not None:
            self.fp = io.BufferedReader(_CountedSocket(self.fp.detach(), sock, request))


class _Bounded:
    """A connection of urllib3 that looks its host up, sends and reads within the limits of the request."""

    response_class = _Response
    sock: Any

    def _new_conn(self) -> socket.socket:
        if (request := _request()) is not None:
            _look_up(self._dns_host, self.port, request)  # type: ignore[attr-defined]
            self.timeout = request.left_s()
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        return made

    def send(self, data: Any) -> None:
        request = _request()
        if request is None or not isinstance(data, (bytes, bytearray)):
            super().send(data)  # type: ignore[misc]
            return
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        request.uses(self)
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK]
            self.sock.settimeout(request.left_s())
            try:
                super().send(block)  # type: ignore[misc]
            except TimeoutError:
                request.fail()
            request.sent(len(block))


def _look_up(host: str, port: int, request: _Request) -> None:
    """Look a name up before urllib3 does, which can take minutes where no name server answers."""
    done = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):  # which urllib3 gets too
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    if not done.wait(request.left_s()):
        request.fail()


class _HttpConnection(_Bounded, HTTPConnection):  # type: ignore[misc]
    pass


class _HttpsConnection(_Bounded, HTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _HttpConnection  # type: ignore[assignment]


class _HttpsPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection  # type: ignore[assignment]


class _Retry(Retry):
    """Does not sleep longer than the request may take."""

    def sleep(self, response: Any = None) -> None:
        if (request := _request()) is not None:
            asked_s = self.get_retry_after(response) if self.respect_retry_after_header and response else None
            if max(asked_s or 0.0, self.get_backoff_time()) >= request.left_s():
                request.fail()
        super().sleep(response)


class _Adapter(request_utils.TCPKeepAliveHTTPAdapter):  # type: ignore[misc]
    """Makes each request within the limits of `patience.current`."""

    def init_poolmanager(self, *positional: Any, **named: Any) -> None:
        super().init_poolmanager(*positional, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, *positional: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*positional, **named)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager

    def send(self, request: Any, stream: bool = False, timeout: Any = None, **named: Any) -> requests.Response:
        patience = current()
        if patience is None:
            plain: requests.Response = super().send(request, stream=stream, timeout=timeout, **named)
            return plain
        limit_s = patience.limit_s()
        if isinstance(timeout, (int, float)) and timeout > 0:
            limit_s = min(limit_s, timeout)
        bounded = _Request(patience, limit_s, stream)
        before, _of_thread.request = _request(), bounded
        try:
            with patience.asking(bounded):
                response: requests.Response = super().send(request, stream=stream, timeout=limit_s, **named)
                if stream:
                    _count(response, patience.file_bytes)
                else:
                    _read(response, patience.answer_bytes)
        finally:
            _of_thread.request = before
        bounded.answered()
        return response


def _read(response: requests.Response, most: float) -> None:
    """Read an answer, unpacked, up to a limit."""
    _count(response, most)
    try:
        _ = response.content  # which requests keeps
    except BaseException:
        response.close()
        raise


def _count(response: requests.Response, most: float) -> None:
    """Let an answer end in NoAnswer once more bytes are read of it than `most`."""
    chunks: Callable[..., Iterator[bytes]] = response.iter_content

    def counted(*positional: Any, **named: Any) -> Iterator[bytes]:
        total = 0
        for chunk in chunks(*positional, **named):
            total += len(chunk)
            if total > most:
                response.close()
                raise _too_long(most)
            yield chunk

    response.iter_content = counted  # type: ignore[method-assign]
