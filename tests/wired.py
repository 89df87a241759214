"""A wire server on a thread of this process, and raw sockets to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from recorder.recording import HeaderList
from recorder.wire import Exchange, Gate, Limits, Receiver, Server, loop_factory

__all__ = ["Echo", "Reply", "Wired", "exchange", "read_reply", "talk"]

PATIENCE = 10.0


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


class Wired:
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
        self._factory: Callable[[], asyncio.AbstractEventLoop] = (
            asyncio.new_event_loop if plain_loop else loop_factory()
        )
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self.complaints: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="wired", daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if error is None:
            assert self.complaints == []
            if self._failure is not None:
                raise self._failure

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                self.loop = runner.get_loop()
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._stop = asyncio.Event()
        application, gate, limits, tls = self._made
        self.server = Server(application, gate=gate, limits=limits, tls=tls)
        self.address = await self.server.start("127.0.0.1", 0)
        self._started.set()
        await self._stop.wait()
        self.server.abort()
        await asyncio.sleep(0)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function on the server's event loop and give what it gives."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

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
    """Send these bytes, and read until the server closes or is silent; the replies, and whether it closed."""
    with socket.create_connection(address, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = max(1, -(-len(data) // pieces))
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), size):
                sock.sendall(data[start : start + size])
        replies: list[Reply] = []
        held = bytearray()
        sock.settimeout(0.25 if replies else PATIENCE)
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
            sock.settimeout(0.1)


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
