"""A wire server on a thread of this process, and raw sockets to talk to it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from recorder.recording import HeaderList
from recorder.wire import Exchange, Gate, Limits, Receiver, Server
from tests.looped import PATIENCE, Looped

__all__ = ["Echo", "Reply", "Wired", "exchange", "read_reply", "talk"]


class Echo:
    """An application that answers each request with what it read of it, and remembers that."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.lost = 0

    def __call__(self, exchange: Exchange) -> Receiver:
        return _Echoing(self, exchange)


class _Echoing:
    def __init__(self, echo: Echo, exchange: Exchange) -> None:
        self._echo = echo
        self._exchange = exchange
        self._body = b""

    def body(self, data: bytes) -> None:
        self._body += data

    def complete(self, trailers: HeaderList) -> None:
        head = self._exchange.head
        self._echo.seen.append((head.method, head.target, self._body))
        told: dict[str, Any] = {"method": head.method, "target": head.target, "body": self._body.decode("latin-1")}
        told["headers"] = head.headers
        told["trailers"] = trailers
        self._exchange.answer(200, json.dumps(told).encode())

    def lost(self) -> None:
        self._echo.lost += 1

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class Wired(Looped):
    """A server on a free port of 127.0.0.1; a context manager. Whatever the event loop complains of fails the test."""

    def __init__(
        self,
        application: Callable[[Exchange], Receiver],
        *,
        gate: Gate | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        plain_loop: bool = False,
    ) -> None:
        self._made = (application, gate, limits, tls)
        super().__init__(plain_loop=plain_loop)

    async def listen(self) -> None:
        application, gate, limits, tls = self._made
        self.server = Server(application, gate=gate, limits=limits, tls=tls)
        self.address = await self.server.start("127.0.0.1", 0)

    def abort(self) -> None:
        self.server.abort()

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """A raw connection."""
        with socket.create_connection(self.address, PATIENCE) as sock:
            yield sock


class Reply(NamedTuple):
    """A response that was read from a raw connection."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def read_reply(sock: socket.socket, held: bytearray | None = None) -> Reply | None:
    """The next response with a Content-Length; None where the connection ended before any byte of it."""
    buffer = bytearray() if held is None else held
    while b"\r\n\r\n" not in buffer:
        data = sock.recv(65536)
        if not data:
            assert not buffer, f"the connection ended in a head: {bytes(buffer)!r}"
            return None
        buffer += data
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    size = int(headers.get(b"content-length", b"0"))
    while len(rest) < size:
        data = sock.recv(65536)
        assert data, "the connection ended in a body"
        rest += data
    buffer[:] = rest[size:]
    return Reply(int(first.split(b" ")[1]), headers, rest[:size])


def talk(address: tuple[str, int], data: bytes, *, pieces: int = 1) -> tuple[list[Reply], bool]:
    """Send these bytes, and read until the server closes, which is waited for; the replies, and whether it closed."""
    with socket.create_connection(address, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = max(1, -(-len(data) // pieces))
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), size):
                sock.sendall(data[start : start + size])
        replies: list[Reply] = []
        held = bytearray()
        while True:
            try:
                reply = read_reply(sock, held)
            except TimeoutError:
                return replies, False
            except ConnectionError:
                return replies, True
            if reply is None:
                return replies, True
            replies.append(reply)


def exchange(address: tuple[str, int], data: bytes) -> Reply:
    """One request over a connection of its own, and its reply."""
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(data)
        reply = read_reply(sock)
        assert reply is not None
        return reply


def linger_none(sock: socket.socket) -> None:
    """Let `close` send a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
