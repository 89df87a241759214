"""A replay server on a thread of this process, recordings made without a network, a raw connection to hear it by."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from recorder.capture import Capture
from recorder.recording import Head, HeaderList, Recording, Request, Transport, uuid7
from recorder.replay import Player
from recorder.replay_server import Faults, Service, Settings
from recorder.store import Append, Store
from recorder.writer.opening import Opening, Options, opened
from tests.looped import Looped

__all__ = ["BODY", "EVENTS", "Heard", "Replaying", "asking", "hear", "kept"]

#: The body that `asking` sends and `kept` was asked with.
BODY: Final = b'{"stream":true}'
EVENTS: Final[HeaderList] = (("content-type", "text/event-stream"),)

#: Seconds without a byte after which a peer counts as silent: once its answer is whole, or all that was expected has
#: come; where that is nothing; where nobody knows what will come; and where it is known that more will, or an end.
SILENT: Final = 0.3
NOTHING: Final = 2.0
UNFINISHED: Final = 5.0
PATIENCE: Final = 30.0


class Replaying(Looped):
    """Answers from the store at `path`; a context manager. `url` is where it listens, `said` what it said.

    `options` are the player's. Whatever the event loop complains of fails the test.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        faults: tuple[str, ...] = (),
        settings: Settings | None = None,
        plain_loop: bool = False,
        server: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.said: list[str] = []
        self._path = path
        self._faults = Faults.of(faults)
        self._settings = settings
        self._server = server or {}
        self._options = options
        super().__init__(plain_loop=plain_loop)

    async def listen(self) -> None:
        self._store = Store.open(self._path, readonly=True)
        player = Player(self._store, **self._options)
        self.service = Service(player, self._settings, faults=self._faults, say=self.said.append, **self._server)
        self.address = await self.service.start("127.0.0.1", 0)
        scheme = "https" if "tls" in self._server else "http"
        self.url = f"{scheme}://{self.address[0]}:{self.address[1]}"

    def abort(self) -> None:
        self.service.abort()

    def released(self) -> None:
        self._store.close()


def asking(*lines: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1", body: bytes = BODY) -> bytes:
    """A request as bytes."""
    fields = (b"Host: 127.0.0.1", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines)
    return b"%b /v1/chat/completions %b\r\n%b\r\n\r\n%b" % (method, version, b"\r\n".join(fields), body)


class Heard(NamedTuple):
    """What came over a raw connection, and how that ended: fin, reset, or silence."""

    data: bytes
    ending: str


def hear(address: tuple[str, int], asked: bytes, *, silent_at: float | None = None) -> Heard:
    """Send a request and read until nothing comes any more.

    `silent_at`: how many bytes an answer has that is not whole and stays open; infinite where each of these ends. A
    busy machine is slower than any short limit, so the silence that is expected alone is judged by one.
    """
    data = b""
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(asked)
        while True:
            if whole(data, asked) or (silent_at is not None and len(data) >= silent_at):
                sock.settimeout(SILENT if data else NOTHING)
            else:
                sock.settimeout(UNFINISHED if silent_at is None else PATIENCE)
            try:
                piece = sock.recv(1 << 16)
            except ConnectionResetError:
                return Heard(data, "reset")
            except TimeoutError:
                return Heard(data, "silence")
            if not piece:
                return Heard(data, "fin")
            data += piece


def whole(data: bytes, asked: bytes) -> bool:
    """Whether this is an answer to its end, behind which the connection stays."""
    status = b"100"
    fields: dict[bytes, bytes] = {}
    version = b""
    while status.startswith(b"1"):
        head, found, data = data.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.split(b"\r\n")
        version, _, rest = first.partition(b" ")
        status = rest[:3]
        fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
    if version != b"HTTP/1.1" or b" HTTP/1.0\r\n" in asked or fields.get(b"connection") == b"close":
        return False  # its end is that of the connection
    if asked.startswith(b"HEAD ") or status in (b"204", b"304"):
        return True
    if fields.get(b"transfer-encoding") == b"chunked":
        return _chunks_end(data)
    return b"content-length" in fields and len(data) >= int(fields[b"content-length"])


def _chunks_end(data: bytes) -> bool:
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            return False  # what it is nobody knows, and what follows is no answer's end
        if not size:
            return data.startswith(b"\r\n", end + 2) or b"\r\n\r\n" in data[end + 2 :]
        at = end + 2 + size + 2
    return False


ASKED: Final = Request("POST", "https://api.openai.com/v1/chat/completions", (), BODY, len(BODY))


def kept(
    path: Path | str,
    answered: Head | None,
    *chunks: bytes,
    ending: str = Transport.EOF,
    asked: Request = ASKED,
    **detail: Any,
) -> Recording:
    """A recording made without a network, of one chunk each millisecond."""
    opening = Opening(asked, time.time_ns() // 1000, "full", 1.0, None, None, None, {})
    recording = opened(opening, uuid7(), uuid7(), Options())
    capture = Capture(recording)
    if answered is not None:
        capture.head(answered, 1000)
    for number, piece in enumerate(chunks, 2):
        capture.data(piece, number * 1000)
    capture.end(ending, (len(chunks) + 2) * 1000, detail=detail)
    with Store.open(path, create=True) as store:
        store.append([Append(recording.recording_id, recording, capture.take(), capture.ending)])
    return recording
