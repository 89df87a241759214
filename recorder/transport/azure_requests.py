"""Capture and replay under azure-core's requests transports: the session and the adapter, and urllib3 below them.

Recording stands in two places. A session stands in for the real one and puts an adapter around the adapter it
chooses, which sees the request as it goes out. The response of urllib3 stays the object that it is and gets a class
that notes what its reads return below content decoding: one chunk of a chunked body (or as much of one as the reader
wanted), else what one read returned.

Replay stands below http.client: the recorded head, chunks and ending are written as HTTP/1.1 to where a socket's file
would be, so that http.client, urllib3, requests and azure-core all do their own work. There is no connection.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.client import HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, Final, cast

from recorder.recording import Head, Request, Transport

from .azure_exchange import Exchange, header_list
from .azure_faults import failure, why, worded
from .exchange import Upload, guarded
from .httpx_capture import UploadTee

if TYPE_CHECKING:
    from recorder.replay import Pacer, Playback, Player

__all__ = ["playing", "recording"]

_FAILED: Final = "recorder failed on its own"
_OTHER: Final = "the session's adapter answers with another kind of response than urllib3's"

_VERSIONS: Final = {9: "HTTP/0.9", 10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2"}


class _Session:
    """A session of the same class and with the same state as another, whose adapters are ours."""

    __slots__ = ("recorder_adapter",)

    __dict__: dict[str, Any]
    recorder_adapter: Callable[[Any], Any]

    def get_adapter(self, url: Any) -> Any:
        return self.recorder_adapter(cast(Any, super()).get_adapter(url))


def _session(session: Any, state: dict[str, Any], adapter: Callable[[Any], Any]) -> Any:
    made = object.__new__(_class_with(_Session, cast(Any, type(session))))
    made.recorder_adapter = adapter
    made.__dict__ = state
    return made


@cache
def _class_with(part: Any, kind: Any) -> type[Any]:
    """The class with that part in front of it."""
    return type(kind.__name__, (part, kind), {"__slots__": (), "__module__": __name__, "__doc__": kind.__doc__})


# -- recording -----------------------------------------------------------------------------------------------------


def recording(exchange: Exchange) -> Callable[[Any], Any]:
    """What gives a recording session in place of the one that is there."""

    def session(real: Any) -> Any:
        if real is None:
            return None
        return _session(real, real.__dict__, lambda adapter: _RecordingAdapter(adapter, exchange))

    return session


class _RecordingAdapter:
    """Sends what the adapter around which it stands sends, and records it."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        exchange, body = self._exchange, request.body
        upload = guarded(_begin, exchange, request)
        try:
            response = self._inner.send(request, *args, **options)
        finally:
            request.body = body
            if upload is not None:
                guarded(_begin_late, exchange, request, upload)
        if exchange.recorded and not guarded(_watch, exchange, response):
            exchange.lost(_FAILED)
        return response


def _begin(exchange: Exchange, request: Any) -> Upload | None:
    """Begin the recording; or let a body that is no bytes pass by first, and begin when it is known."""
    body = b"" if request.body is None else request.body
    if isinstance(body, str):
        body = body.encode()  # as urllib3 does
    if isinstance(body, bytes):
        exchange.begin(Request(request.method, request.url, header_list(request.headers.items()), body, len(body)))
        return None
    upload = Upload(exchange.body_limit)
    request.body = _ReadTee(body, upload) if hasattr(body, "read") else UploadTee(body, upload)
    return upload


def _begin_late(exchange: Exchange, request: Any, upload: Upload) -> None:
    asked = upload.request(request.method, request.url, header_list(request.headers.items()))
    exchange.begin(asked, upload.begun)


class _ReadTee:
    """A file on its way to the server."""

    def __init__(self, file: Any, upload: Upload) -> None:
        self._file = file
        self._upload = upload

    def __getattr__(self, name: str) -> Any:
        if name == "_file":
            raise AttributeError(name)
        return getattr(self._file, name)

    def read(self, *size: int) -> Any:
        piece = self._file.read(*size)
        self._upload.add(piece.encode() if isinstance(piece, str) else piece)
        self._upload.complete = not piece
        return piece


def _watch(exchange: Exchange, response: Any) -> bool:
    raw = response.raw
    exchange.head(_head(raw, response))
    if all(hasattr(raw, name) for name in ("_fp_read", "_handle_chunk", "_error_catcher")):
        raw.recorder_exchange = exchange
        raw.__class__ = _class_with(_Noting, cast(Any, type(raw)))
    else:
        exchange.lost(_OTHER)
    return True


def _head(raw: Any, response: Any) -> Head:
    """The head as received. urllib3 groups headers by name, http.client keeps their order."""
    message = getattr(getattr(raw, "_original_response", None), "msg", None)
    headers = response.headers if message is None else message
    version = _VERSIONS.get(getattr(raw, "version", 11), "HTTP/1.1")
    return Head(response.status_code, response.reason or "", version, header_list(headers.items()))


class _Noting:
    """What urllib3's response is besides: each read below content decoding is noted, and how reading ends."""

    recorder_exchange: Exchange
    recorder_reading = False

    def _update_chunk_length(self) -> None:
        self.recorder_reading = True
        try:
            cast(Any, super())._update_chunk_length()
        finally:
            self.recorder_reading = False

    def _fp_read(self, *args: Any, **options: Any) -> bytes:
        data: bytes = cast(Any, super())._fp_read(*args, **options)
        self.recorder_exchange.data(data)
        return data

    def _handle_chunk(self, amt: int | None) -> bytes:
        data: bytes = cast(Any, super())._handle_chunk(amt)
        self.recorder_exchange.data(data)
        return data

    @contextlib.contextmanager
    def _error_catcher(self) -> Iterator[None]:
        """Around all reads; around the whole of a chunked body, where the reader's own end comes by, too."""
        exchange = self.recorder_exchange
        try:
            with cast(Any, super())._error_catcher():
                yield
        except Exception as error:
            if type(error).__name__ == "DecodeError":  # the bytes came: what the reader makes of them is its affair
                exchange.closed()
            else:
                exchange.broke(error)
            raise
        except BaseException:
            exchange.closed()
            raise
        if cast(Any, self).isclosed():
            exchange.eof()

    def close(self) -> None:
        if not self.recorder_reading:  # urllib3 itself closes where the size of a chunk is none
            self.recorder_exchange.closed()
        cast(Any, super()).close()


# -- replay --------------------------------------------------------------------------------------------------------


def playing(player: Player) -> Callable[[Any], Any]:
    """What gives a session that answers from a store. It has the settings of the one that is there, not its cookies."""
    import requests

    blank = requests.Session()

    def session(real: Any) -> Any:
        base = real or blank
        state = {**base.__dict__, "cookies": requests.cookies.RequestsCookieJar()}
        return _session(base, state, lambda _: _PlayingAdapter(player))

    return session


class _PlayingAdapter:
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def send(self, request: Any, **_: Any) -> Any:
        from requests.adapters import HTTPAdapter

        start = time.perf_counter()
        body = _whole(request.body)
        headers = header_list(request.headers.items())
        playback = self._player.play(self._player.find(Request(request.method, request.url, headers, body, len(body))))
        pacer = playback.pacer(start)
        if playback.head is None:
            pacer.wait(playback.ending.elapsed_us)
            raise _refusal(playback, request)
        pacer.wait(playback.head_due_us or 0)
        raw = _response(request.method, _wire(playback, playback.head, pacer))
        return HTTPAdapter.build_response(cast(Any, self), request, raw)

    def close(self) -> None:
        """There is nothing to close."""


def _whole(body: Any) -> bytes:
    """A request's body, read to its end."""
    if hasattr(body, "read"):
        body = body.read()
    if body is None or isinstance(body, (str, bytes)):
        return (body or "").encode() if not isinstance(body, bytes) else body
    return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in body)


def _wire(playback: Playback, head: Head, pacer: Pacer) -> Iterator[bytes]:
    """The response as a server would have written it, each piece when it is due; then the recorded ending."""
    version = head.http_version if head.http_version.startswith("HTTP/1") else "HTTP/1.1"
    lines = [f"{version} {head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers), "", ""]
    yield "\r\n".join(lines).encode("latin-1")
    chunked = "chunked" in (head.get("transfer-encoding") or "").lower()
    for due_us, chunk in playback.chunks():
        pacer.wait(due_us)
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk
    pacer.wait(playback.ending.elapsed_us)
    if playback.finish != Transport.EOF:
        raise _breakage(playback)
    if chunked:
        yield b"0\r\n\r\n"


class _File(io.RawIOBase):
    """Pieces of bytes as a socket's file: a read gives what is left of one piece, and nothing at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._piece = b""

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = piece
        part, self._piece = self._piece[: len(buffer)], self._piece[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _response(method: str, pieces: Iterator[bytes]) -> Any:
    """What urllib3 makes of such a response."""
    import urllib3

    below = HTTPResponse(cast(Any, _File(pieces)), method=method)
    below.begin()
    return urllib3.HTTPResponse(
        body=cast(Any, below),
        headers=dict_of(below),
        status=below.status,
        version=below.version,
        reason=below.reason,
        preload_content=False,
        decode_content=False,
        original_response=below,
        request_method=method,
    )


def dict_of(response: HTTPResponse) -> Any:
    """The headers as urllib3 keeps them, repeated ones together."""
    import urllib3

    return urllib3.HTTPHeaderDict(response.msg.items())


def _refusal(playback: Playback, request: Any) -> Exception:
    """The exception of an adapter that got no response: as recorded, or the one that comes nearest."""
    import requests
    import urllib3

    for error in failure(playback):
        if type(error).__module__ in ("requests.exceptions", "urllib3.exceptions"):
            if isinstance(error, requests.RequestException):
                error.request = request
            return error
    text = why(playback)
    if playback.finish == Transport.CONNECT_ERROR:
        return requests.ConnectionError(text, request=request)
    if playback.finish == Transport.TIMEOUT:
        return requests.ReadTimeout(text, request=request)
    if playback.finish == Transport.ERROR:
        return requests.RequestException(text, request=request)
    return requests.ConnectionError(urllib3.exceptions.ProtocolError(text), request=request)


def _breakage(playback: Playback) -> Exception:
    """The exception of a connection that fails in the middle: what urllib3 explains, or urllib3's own."""
    import urllib3

    chain = failure(playback)
    for error in chain:
        if isinstance(error, IncompleteRead) and type(error).__str__ is IncompleteRead.__str__:
            return error
        if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.errno is not None:
            return error
    for error in chain:
        if type(error).__module__ == "urllib3.exceptions":
            return error
    text = why(playback)
    if playback.finish == Transport.TIMEOUT:
        return worded(urllib3.exceptions.ReadTimeoutError, text)
    if playback.finish == Transport.RESET and playback.finish == playback.ending.ending:
        return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return urllib3.exceptions.ProtocolError(text)
