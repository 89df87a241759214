"""Loopback servers that write exact bytes in exact segments and remember what the client did.

An answer is a script of steps, one per request in order of arrival: `bytes` is one send, a `float` a pause in seconds,
an `Act` an ending. Nothing is added, checked or repaired, so hostile answers are as easy to write as correct ones.
The module knows HTTP only as far as reading a request; it knows neither recorder nor any provider.

    with Loopback([(stream_head(), chunk(b"data: 1\\n\\n"), LAST_CHUNK)]) as server:
        httpx.get(server.url)
    assert server.requests[0].target == b"/"
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import itertools
import random
import select
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import h2.config
import h2.connection
import h2.events

from tests.needs import CORPUS

PATIENCE = 30.0  # seconds any wait on a peer may last before the script is called broken
READ = 1 << 16
LAST_CHUNK = b"0\r\n\r\n"


class Act(enum.Enum):
    """What a script can do besides sending and pausing."""

    FIN = "close our side after what was sent"
    RESET = "abort the connection (RST) once the peer's kernel has everything that was sent"
    HOLD = "say nothing more until the client goes away"


@dataclass(frozen=True, slots=True)
class Headers:
    """HTTP/2 only: one HEADERS frame; `end` also ends the stream."""

    pairs: tuple[tuple[str, str], ...]
    end: bool = False


@dataclass(frozen=True, slots=True)
class ResetStream:
    """HTTP/2 only: RST_STREAM with this error code."""

    code: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """HTTP/2 only: GOAWAY with this error code and last stream id."""

    code: int
    last_stream_id: int


class H2Act(enum.Enum):
    """HTTP/2 only: acts without arguments."""

    END = "an empty DATA frame with END_STREAM"
    BARRIER = "wait until the client acknowledges a PING, so that it has read all that came before"


Step = bytes | float | Act | Headers | ResetStream | GoAway | H2Act


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; `index` counts over the whole server, `at` is `time.monotonic()` at its end."""

    index: int
    origin: str
    head: bytes
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    at: float


Answer = Sequence[Step] | Callable[[Request], Iterable[Step]]


@dataclass(slots=True)
class Connection:
    """What one connection saw; `gone_at` is `time.monotonic()` when the client's leaving was noticed."""

    opened_at: float
    requests: list[Request] = field(default_factory=list)
    gone_at: float | None = None
    gone_how: str | None = None
    gone: threading.Event = field(default_factory=threading.Event)

    def leave(self, how: str) -> None:
        """Note once that the client went away, and how it was noticed: `fin`, `reset`, `send`, or `ours` if we left."""
        if self.gone_at is None:
            self.gone_at, self.gone_how = time.monotonic(), how
            self.gone.set()


class ClientGone(Exception):
    """The client left while a script ran; the script ends here."""


class Closed(Exception):
    """The script closed the connection; nothing follows on it."""


# -- bytes ---


def head(status: str = "200 OK", *lines: str | bytes, version: str = "HTTP/1.1") -> bytes:
    """A response head: status line, the header lines given (bytes go out as they are), the blank line."""
    encoded = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    return b"\r\n".join([f"{version} {status}".encode("latin-1"), *encoded, b"", b""])


def stream_head(*lines: str | bytes, content_type: str = "text/event-stream; charset=utf-8") -> bytes:
    """The head of a 200 answer in chunked framing."""
    return head("200 OK", f"Content-Type: {content_type}", "Transfer-Encoding: chunked", *lines)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """`data` as one HTTP/1.1 chunk (RFC 9112, 7.1)."""
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` cut at the given offsets; offsets outside it, and repeated ones, cut nothing."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


def every(size: int, data: bytes) -> list[bytes]:
    """`data` in pieces of `size` bytes, the last one shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def seeded_cuts(length: int, seed: str, most: int = 24) -> list[int]:
    """Up to `most` sorted offsets inside `length` bytes; the same for the same seed in every process."""
    chance = random.Random(seed)
    wanted = min(chance.randint(1, most), max(length - 1, 0))
    return sorted(chance.sample(range(1, length), wanted)) if wanted else []


def seeded_pauses(cuts: Sequence[int], seed: str, most: int = 3, longest: float = 0.004) -> dict[int, float]:
    """Seconds to wait after up to `most` of the cuts; the same for the same seed in every process."""
    chance = random.Random(f"{seed} pauses")
    return {cut: chance.uniform(0.0005, longest) for cut in chance.sample(list(cuts), min(most, len(cuts)))}


def stream_script(
    body: bytes,
    *,
    cuts: Iterable[int] = (),
    pauses: Mapping[int, float] | None = None,
    content_type: str = "text/event-stream; charset=utf-8",
    headers: Sequence[str | bytes] = (),
) -> list[Step]:
    """`body` as a complete chunked answer: a new chunk and segment at each cut; `pauses` maps cuts to seconds."""
    steps: list[Step] = [stream_head(*headers, content_type=content_type)]
    position = 0
    for piece in pieces(body, cuts):
        steps.append(chunk(piece))
        position += len(piece)
        if pauses and position in pauses:
            steps.append(pauses[position])
    steps.append(LAST_CHUNK)
    return steps


def in_step(parts: Iterable[bytes], encode: Callable[[bytes], bytes] = chunk) -> tuple[Answer, Callable[[], None]]:
    """A script that sends the next part when the client has seen the one before; and how it is told."""
    seen = threading.Semaphore()

    def script(_: Request) -> Iterator[bytes]:
        yield stream_head()
        for part in parts:
            assert seen.acquire(timeout=PATIENCE)
            yield encode(part)
        yield LAST_CHUNK

    return script, seen.release


# -- servers ---


class Loopback:
    """An HTTP/1.1 server on 127.0.0.1 and a free port; a context manager.

    `answers` holds one script per request, in order of arrival; a request beyond the last is an error unless
    `repeat_last`. A script that ends without `Act.FIN` or `Act.RESET` leaves the connection open for the next request.
    Whatever went wrong in a script is raised when the block ends.
    """

    def __init__(self, answers: Sequence[Answer], *, repeat_last: bool = False) -> None:
        self._answers = list(answers)
        self._repeat_last = repeat_last
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []
        self._served = 0
        self._closing = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="loopback accept", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.send(b"x")
        self._acceptor.join(PATIENCE)
        for link in self._connections:
            link.leave("ours")
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for sock in (self._listener, self._wake, self._woken):
            sock.close()
        if error is None and self._errors:
            raise ExceptionGroup("a loopback script failed", self._errors)

    @property
    def connections(self) -> list[Connection]:
        """Every connection so far, oldest first."""
        with self._lock:
            return list(self._connections)

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return sorted((seen for link in self._connections for seen in link.requests), key=lambda seen: seen.index)

    def wait_gone(self, timeout: float = PATIENCE) -> bool:
        """True once the client has left every connection that was opened; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        return all(link.gone.wait(max(0.0, deadline - time.monotonic())) for link in self.connections)

    def _accept(self) -> None:
        while True:
            readable, _, _ = select.select([self._listener, self._woken], [], [])
            if self._woken in readable:
                return
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Connection(time.monotonic())
            thread = threading.Thread(target=self._serve, args=(sock, link), name="loopback connection", daemon=True)
            with self._lock:
                self._connections.append(link)
                self._sockets.append(sock)
                self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, link: Connection) -> None:
        try:
            self._talk(sock, link)
        except (ClientGone, Closed):
            pass
        except Exception as problem:
            if not self._closing:
                self._errors.append(problem)
        finally:
            sock.close()

    def _answer(self, request: Request) -> Iterable[Step]:
        if request.index >= len(self._answers) and not self._repeat_last:
            raise AssertionError(
                f"request {request.index + 1} came, {len(self._answers)} were expected: {request.head!r}"
            )
        answer = self._answers[min(request.index, len(self._answers) - 1)]
        return answer(request) if callable(answer) else answer

    def _arrived(self, link: Connection, head: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Request:
        method, target = head.split(b" ", 2)[:2]
        with self._lock:
            request = Request(self._served, self.url, head, method, target, tuple(headers), body, time.monotonic())
            self._served += 1
            link.requests.append(request)
        return request

    def _talk(self, sock: socket.socket, link: Connection) -> None:
        wire = _Wire(sock, link)
        while True:
            head, headers, body = _read_request(wire)
            for step in self._answer(self._arrived(link, head, headers, body)):
                if isinstance(step, bytes):
                    wire.send(step)
                elif isinstance(step, float):
                    wire.pause(step)
                elif isinstance(step, Act):
                    wire.act(step)
                else:
                    raise TypeError(f"not a step of an HTTP/1.1 script: {step!r}")


class LoopbackH2(Loopback):
    """The same over HTTP/2 with prior knowledge on plain TCP. `bytes` is one DATA frame."""

    def _talk(self, sock: socket.socket, link: Connection) -> None:
        wire = _H2Wire(sock, link)
        while True:
            stream_id, head, headers, body = wire.read_request()
            for step in self._answer(self._arrived(link, head, headers, body)):
                wire.step(stream_id, step)


class Refused:
    """An address on which nobody listens: the port is held, so nobody else can take it; a context manager."""

    def __enter__(self) -> Self:
        self._held = socket.socket()
        self._held.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._held.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()


class _Wire:
    """A socket that notices at every step whether the client is still there."""

    def __init__(self, sock: socket.socket, link: Connection) -> None:
        self._sock = sock
        self._link = link
        self.buffer = bytearray()

    def send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as problem:
            self._link.leave("send")
            raise ClientGone from problem

    def receive(self) -> bytes:
        """What came, at least one byte. Raises ClientGone at EOF or reset."""
        try:
            data = self._sock.recv(READ)
        except OSError as problem:
            self._link.leave("reset")
            raise ClientGone from problem
        if not data:
            self._link.leave("fin")
            raise ClientGone
        return data

    def more(self) -> None:
        self.buffer += self.receive()

    def readable(self, timeout: float) -> bool:
        return bool(select.select([self._sock], [], [], timeout)[0])

    def pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.readable(left):
                self.more()

    def act(self, act: Act) -> None:
        """Carry out an ending. Raises Closed, or ClientGone when the client left first."""
        if act is Act.HOLD:
            self.pause(PATIENCE)
            raise AssertionError(f"the client stayed for {PATIENCE} s of silence")
        if act is Act.RESET:
            self._settle()
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.close()
            self._link.leave("ours")
            raise Closed
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise Closed from None  # the client, which had all it waited for, was faster
        # Reading on until the client leaves: closing with unread bytes would turn our FIN into a RST.
        self.pause(PATIENCE)
        raise Closed

    def _settle(self) -> None:
        """Wait until the peer's kernel acknowledged all we sent: a RST throws away what is still in our send buffer."""
        if sys.platform != "linux":
            time.sleep(0.05)
            return
        deadline = time.monotonic() + PATIENCE
        while struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            if time.monotonic() > deadline:
                raise AssertionError("the client's kernel never acknowledged what was sent")
            time.sleep(0.001)


def _read_request(wire: _Wire) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """One HTTP/1.1 request: head with its blank line, headers in order, body without framing."""
    while (end := wire.buffer.find(b"\r\n\r\n")) < 0:
        wire.more()
    head = bytes(wire.buffer[: end + 4])
    del wire.buffer[: end + 4]
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:-2])]
    lowered = {name.lower(): value for name, value in headers}
    if lowered.get(b"transfer-encoding", b"").lower() == b"chunked":
        return head, headers, _read_chunks(wire)
    return head, headers, _take(wire, int(lowered.get(b"content-length", b"0")))


def _take(wire: _Wire, size: int) -> bytes:
    while len(wire.buffer) < size:
        wire.more()
    data = bytes(wire.buffer[:size])
    del wire.buffer[:size]
    return data


def _read_chunks(wire: _Wire) -> bytes:
    body = b""
    while True:
        while (end := wire.buffer.find(b"\r\n")) < 0:
            wire.more()
        size = int(_take(wire, end + 2).split(b";")[0], 16)
        body += _take(wire, size + 2)[:-2]
        if size == 0:
            return body


class _H2Wire(_Wire):
    """One HTTP/2 connection, server side; reads whenever it waits, so that SETTINGS and PING are always answered."""

    def __init__(self, sock: socket.socket, link: Connection) -> None:
        super().__init__(sock, link)
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._state = h2.connection.H2Connection(config)
        self._state.initiate_connection()
        self._flush()
        self._pending: dict[int, tuple[list[tuple[bytes, bytes]], bytearray]] = {}
        self._complete: list[int] = []
        self._pongs: list[bytes] = []

    def _flush(self) -> None:
        if data := self._state.data_to_send():
            self.send(data)

    def more(self) -> None:
        for event in self._state.receive_data(self.receive()):
            self._note(event)
        self._flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            pairs = [(bytes(name), bytes(value)) for name, value in event.headers]
            self._pending[event.stream_id] = (pairs, bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self._pending[event.stream_id][1].extend(event.data)
            self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete.append(event.stream_id)
        elif isinstance(event, h2.events.PingAckReceived):
            self._pongs.append(event.ping_data)

    def read_request(self) -> tuple[int, bytes, list[tuple[bytes, bytes]], bytes]:
        while not self._complete:
            self.more()
        stream_id = self._complete.pop(0)
        pairs, body = self._pending.pop(stream_id)
        pseudo = {name: value for name, value in pairs if name.startswith(b":")}
        return stream_id, b"%s %s HTTP/2" % (pseudo[b":method"], pseudo[b":path"]), pairs, bytes(body)

    def step(self, stream_id: int, step: Step) -> None:
        if isinstance(step, float):
            self.pause(step)
        elif isinstance(step, Act):
            self.act(step)
        elif step is H2Act.BARRIER:
            self._barrier()
        else:
            self._frame(stream_id, step)

    def _frame(self, stream_id: int, step: Step) -> None:
        if isinstance(step, bytes):
            self._state.send_data(stream_id, step)
        elif isinstance(step, Headers):
            self._state.send_headers(stream_id, step.pairs, end_stream=step.end)
        elif isinstance(step, ResetStream):
            self._state.reset_stream(stream_id, step.code)
        elif isinstance(step, GoAway):
            self._state.close_connection(step.code, last_stream_id=step.last_stream_id)
        elif step is H2Act.END:
            self._state.end_stream(stream_id)
        else:
            raise TypeError(f"not a step of an HTTP/2 script: {step!r}")
        self._flush()

    def _barrier(self) -> None:
        self._pongs.clear()
        self._state.ping(b"loopback")
        self._flush()
        while b"loopback" not in self._pongs:
            self.more()


def serve_stream(
    body: bytes,
    *,
    cuts: Iterable[int] = (),
    pauses: Mapping[int, float] | None = None,
    content_type: str = "text/event-stream; charset=utf-8",
    headers: Sequence[str | bytes] = (),
) -> Loopback:
    """A server (not yet started: use `with`) that answers every request with `stream_script` of these arguments."""
    script = stream_script(body, cuts=cuts, pauses=pauses, content_type=content_type, headers=headers)
    return Loopback([script], repeat_last=True)


# -- corpus ---


class Stream(NamedTuple):
    """One published stream: its id (`assistants-006-…`), its protocol, the paths of its bytes and its sidecar."""

    id: str
    protocol: str
    path: Path
    sidecar: Path


def corpus() -> list[Stream]:
    """The streams of ../shared/corpus, sorted by protocol and id; empty where that folder is absent."""
    return list(_streams(CORPUS))


def _streams(folder: Path) -> Iterator[Stream]:
    for path in sorted(folder.glob("*/*.sse")):
        yield Stream(path.stem, path.parent.name, path, path.with_suffix(".json"))
