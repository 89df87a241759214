"""Replay inside requests: bare sessions, and those at the bottom of azure-core.

Replay stands below http.client: the recorded head, chunks and ending are written as HTTP/1.1 to where a socket's file
would be, so that http.client, urllib3, requests and azure-core all do their own work: redirects, repetitions, content
decoding, exceptions. The pools of connections that a session's adapter gets are ours, and open none.
"""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, Final, cast

from recorder.errors import ReplayMiss
from recorder.recording import Head, Request, Transport
from recorder.redact import REDACTED

from .below import behind, standing_in
from .chains import failure, why, worded
from .exchange import ReplayLayer, hands_on
from .loud import loud
from .requests_capture import OwnSession, WiredAdapter, headers_of

if TYPE_CHECKING:
    from recorder.replay import Pacer, Playback, Player

__all__ = ["PlayedAdapters", "is_playing", "play", "sessions"]

#: urllib3's exceptions that it makes of others, of which the record has the others, too.
_MADE: Final = frozenset({"MaxRetryError", "ResponseError"})

#: What of a request's options is for its response.
_RESPONSES: Final = ("retries", "preload_content", "decode_content", "enforce_content_length")


class PlayedAdapters(ReplayLayer):
    """What a replayed session asks for its adapters. `inner` is asked for the settings of its own."""

    def __init__(self, player: Player, inner: Any) -> None:
        self.inner = inner
        self.player = player

    def __call__(self, url: Any) -> Any:
        below = self.inner
        while hasattr(below, "sink"):
            below = below.inner
        made = _playing(below(url), self.player)
        made.recorder_next = self.inner(url) if hands_on(self.player) else None
        return made


def _playing(adapter: Any, player: Player) -> Any:
    """An adapter with the settings of another, that answers from a store."""
    from requests.adapters import HTTPAdapter

    made = standing_in(_PlayingAdapter, adapter if isinstance(adapter, HTTPAdapter) else HTTPAdapter())
    made.recorder_player, made.recorder_next = player, None
    return made


class _PlayingAdapter:
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    __slots__ = ("recorder_next", "recorder_player")

    #: What has the requests that the player hands on.
    recorder_next: Any
    recorder_player: Player

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        try:
            return play(self, behind(self).send, self.recorder_player, request, *args, **options)
        except ReplayMiss:
            if self.recorder_next is None:
                raise
            return self.recorder_next.send(request, *args, **options)


def is_playing(adapter: Any) -> bool:
    """Whether a store answers what this adapter sends."""
    return isinstance(adapter, _PlayedAdapter)


class _PlayedAdapter(WiredAdapter):
    """An adapter whose pools answer from a store, for one call."""

    __slots__ = ()


def play(adapter: Any, send: Callable[..., Any], player: Player, request: Any, *args: Any, **options: Any) -> Any:
    """What `send(adapter, …)` makes of the recording that answers the request."""

    if not isinstance(request.body, (str, bytes, bytearray, type(None))) and hands_on(player):
        request.body = _whole(request.body)  # it may be read again

    def pool(real: Any) -> Any:
        if isinstance(real, _PlayingPool):
            return real
        made = standing_in(_PlayingPool, real)
        made.recorder_real, made.recorder_player, made.recorder_request = real, player, request
        return made

    made = standing_in(_PlayedAdapter, adapter)
    made.recorder_pool = pool
    response = send(made, request, *args, **options)
    response.connection = adapter
    return response


class _NoConnection:
    """What urllib3 asks of a connection, where there is none."""

    proxy = None
    is_closed = False
    timeout = None

    def close(self) -> None:
        """There is nothing to close."""


class _PlayingPool:
    """A pool of connections that has none, and answers from a store."""

    __slots__ = ("recorder_player", "recorder_real", "recorder_request")

    recorder_player: Player
    recorder_real: Any
    recorder_request: Any

    def _get_conn(self, *_: Any, **__: Any) -> Any:
        return _NoConnection()

    def _put_conn(self, conn: Any) -> None:
        """There is nothing to keep."""

    def _make_request(self, conn: Any, method: str, url: str, body: Any = None, *_: Any, **options: Any) -> Any:
        start = time.perf_counter()
        request = self.recorder_request
        sent = _whole(body)
        asked = Request(request.method, request.url, headers_of(request), sent, len(sent))
        player = self.recorder_player
        with loud():
            playback = player.play(player.find(asked))
        pacer = playback.pacer(start)
        if playback.head is None:
            pacer.wait(playback.ending.elapsed_us)
            raise _refusal(playback)
        pacer.wait(playback.head_due_us or 0)
        below = HTTPResponse(cast(Any, _File(_wire(playback, playback.head, pacer))), method=method)
        below.begin()
        kept = {name: options[name] for name in _RESPONSES if name in options}
        return _response(below, request_method=method, request_url=url, pool=self, **kept)


def _response(below: HTTPResponse, **options: Any) -> Any:
    """The response of urllib3 that stands on one of http.client."""
    import urllib3

    response: Any = urllib3.HTTPResponse(
        body=cast(Any, below),
        headers=urllib3.HTTPHeaderDict(below.msg.items()),
        status=below.status,
        version=below.version,
        reason=below.reason,
        original_response=below,
        **options,
    )
    response.version_string = f"HTTP/{below.version // 10}.{below.version % 10}"
    if any(value == REDACTED for value in below.msg.get_all("set-cookie", ())):
        del below.msg["set-cookie"]  # nobody is to keep cookies whose values are withheld
    return response


def _whole(body: Any) -> bytes:
    """A request's body, read to its end."""
    if hasattr(body, "read"):
        body = body.read()
    if body is None or isinstance(body, (str, bytes, bytearray)):
        return (body or "").encode() if not isinstance(body, (bytes, bytearray)) else bytes(body)
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


def _refusal(playback: Playback) -> Exception:
    """The exception of a connection that gave no response: what urllib3 explains, or the one that comes nearest."""
    import urllib3

    chain = failure(playback)
    for error in chain:
        if _is_a_connections(error, chain):
            return error
    text = why(playback)
    if playback.finish == Transport.CONNECT_ERROR:
        return worded(urllib3.exceptions.NewConnectionError, text)
    if playback.finish == Transport.TIMEOUT:
        return worded(urllib3.exceptions.ReadTimeoutError, text)
    return urllib3.exceptions.ProtocolError(text)


def _is_a_connections(error: Exception, chain: list[Exception]) -> bool:
    """Whether a connection raises this: urllib3 and requests make the ones above it in the chain of it again."""
    if type(error).__module__ == "urllib3.exceptions":
        name = type(error).__name__
        if name == "SSLError":
            return not any(type(other).__module__ == "ssl" for other in chain)
        made = name == "ProtocolError" and any(isinstance(other, (OSError, HTTPException)) for other in _below(error))
        return not made and name not in _MADE
    return type(error).__module__ in ("builtins", "http.client", "socket", "ssl")


def _below(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause


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


# -- for azure-core --------------------------------------------------------------------------------------------------


def sessions(player: Player) -> Callable[[Any], Any]:
    """What gives a session that answers from a store. It has the settings of the one that is there, not its cookies.

    Where there is none, it is as azure-core makes its own: it leaves repetitions to azure's policies.
    """
    import requests
    from urllib3.util.retry import Retry

    blank = requests.Session()
    for scheme in ("https://", "http://"):
        blank.mount(scheme, requests.adapters.HTTPAdapter(max_retries=Retry(False, redirect=False)))

    def session(real: Any) -> Any:
        base = real or blank
        state = {**base.__dict__, "cookies": requests.cookies.RequestsCookieJar()}
        state.pop("get_adapter", None)
        made = standing_in(OwnSession, base, state)
        made.recorder_adapter = lambda adapter: _playing(adapter, player)
        return made

    return session
