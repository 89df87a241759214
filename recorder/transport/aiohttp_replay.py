"""Replay inside aiohttp: bare sessions, and those at the bottom of azure-core.

A session of the same class and with the same settings stands in for the real one. Its connector opens nothing, and its
requests write to nowhere and look for their recording by what they wrote. The response is one of the session's own,
whose reader gives the recorded chunks when they are due, then the recorded ending; redirects, content decoding and
exceptions about the answer are aiohttp's own work.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

from recorder.errors import ReplayMiss
from recorder.recording import Head, Request, Transport
from recorder.redact import REDACTED

from .aiohttp_capture import AlwaysConnected, OwnRequests, StandIn, decoded, headers_of, written
from .below import mixed, standing_in
from .chains import failure, why
from .exchange import Around, ReplayLayer, hands_on
from .loud import loud

if TYPE_CHECKING:
    from recorder.replay import Pacer, Playback, Player

__all__ = ["PlayedRequests", "is_playing", "play", "sessions"]

#: A replay lets others run after this many chunks that were due already.
_TURN: Final = 16

#: Statuses whose responses have no body (RFC 9110, 15.2, 15.3.5, 15.4.5), as aiohttp lists them.
_BODILESS: Final = frozenset({204, 304, *range(100, 200)})


class PlayedRequests(ReplayLayer):
    """What a replayed session makes its requests by."""

    def __init__(self, player: Player, inner: Any) -> None:
        self.inner = inner
        self.player = player

    def __call__(self, method: str, url: Any, **options: Any) -> Awaitable[Any]:
        below = self.inner
        while not isinstance(below, OwnRequests):
            below = below.inner
        session = cast(Any, below.session())
        return self._play(session, method, url, **options)

    async def _play(self, session: Any, method: str, url: Any, **options: Any) -> Any:
        try:
            return await play(session, type(session)._request, self.player, method, url, **options)
        except ReplayMiss as miss:
            if not hands_on(self.player):
                raise
            return await self.inner(method, url, **again(options, miss))


async def play(
    session: Any, request: Callable[..., Awaitable[Any]], player: Player, method: str, url: Any, **options: Any
) -> Any:
    """What `request(session, …)` makes of the recordings that answer it."""
    return await request(_playing(session, player), method, url, **options)


def again(options: dict[str, Any], miss: ReplayMiss) -> dict[str, Any]:
    """The options of a request that missed, to make it once more: a body that can be read only once is bytes by now."""
    sent = vars(miss).get("recorder_sent")
    if sent is None or isinstance(options.get("data"), (str, bytes, bytearray, type(None))):
        return options
    from multidict import CIMultiDict

    body, kind = sent
    headers = CIMultiDict(options.get("headers") or {})
    if kind is not None:
        headers["Content-Type"] = kind
    return {**options, "data": body, "headers": headers}


def _playing(session: Any, player: Player) -> Any:
    made = standing_in(_PlayingSession, session)
    object.__setattr__(made, "recorder_player", player)
    object.__setattr__(made, "recorder_real", session)
    return made


def sessions(player: Player) -> Callable[[Any], Any]:
    """What gives a session that answers from a store, with the settings of the one that is there, if there is one."""

    def session(real: Any) -> Any:
        return _blank(player) if real is None else _playing(real, player)

    return session


def is_playing(session: Any) -> bool:
    """Whether a store answers what this session sends."""
    return isinstance(session, _PlayingSession)


def _blank(player: Player) -> Any:
    """A session as azure-core makes its own, which nobody has to close."""
    from aiohttp import ClientSession, DummyCookieJar

    kind: Any = mixed(_PlayingSession, ClientSession)
    made = kind(
        connector=_Connector(None),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
    )
    object.__setattr__(made, "recorder_player", player)
    return made


class _PlayingSession(StandIn):
    __slots__ = ("recorder_player", "recorder_real")

    recorder_player: Player
    #: Kept as a response keeps its session.
    recorder_real: Any

    @property
    def _connector(self) -> Any:
        real = self.__dict__["_connector"]
        return real if real is None or isinstance(real, _Connector) else _Connector(real)

    @_connector.setter
    def _connector(self, connector: Any) -> None:
        self.__dict__["_connector"] = connector

    @property
    def _cookie_jar(self) -> Any:
        """Cookies are withheld from the record: nobody is to keep their names without their values."""
        real = self.__dict__["_cookie_jar"]
        return real if isinstance(real, _Jar) else _Jar(real)

    @_cookie_jar.setter
    def _cookie_jar(self, jar: Any) -> None:
        self.__dict__["_cookie_jar"] = jar

    @property
    def _request_class(self) -> Any:
        return mixed(_PlayingRequest, self.__dict__["_request_class"])

    @_request_class.setter
    def _request_class(self, kind: Any) -> None:
        self.__dict__["_request_class"] = kind

    async def close(self) -> None:
        """It is the real one that must be closed."""


class _Jar(Around):
    """Gives the cookies of the jar around which it stands, and takes none whose values are withheld."""

    def update_cookies_from_headers(self, headers: Any, url: Any) -> None:
        kept = [header for header in headers if header != REDACTED]
        if kept:
            self._inner.update_cookies_from_headers(kept, url)


class _Connector:
    """Is taken for the connector around which it stands, and connects to nothing."""

    allowed_protocol_schema_set = frozenset({"", "http", "https", "ws", "wss"})
    force_close = False
    closed = False
    _timeout_ceil_threshold = 5

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        if inner is not None:
            self.allowed_protocol_schema_set = inner.allowed_protocol_schema_set
            self.closed = inner.closed
            self.force_close = inner.force_close
            self._timeout_ceil_threshold = inner._timeout_ceil_threshold

    async def connect(self, request: Any, *_: Any, **__: Any) -> Any:
        from aiohttp.client_proto import ResponseHandler
        from aiohttp.connector import Connection

        protocol: Any = mixed(_Protocol, ResponseHandler)(self._loop)
        protocol.connection_made(_Nowhere())
        kind: Any = mixed(_PlayedConnection, Connection)
        return kind(self, request.connection_key, protocol, self._loop)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        """There is nothing to keep."""


class _PlayedConnection:
    """A connection that nobody has to close."""

    def __del__(self) -> None:
        """There is nothing to close."""


class _Nowhere(asyncio.Transport):
    """Where a request is written that nobody is to get."""

    def write(self, data: Any) -> None:
        """It is forgotten."""

    def writelines(self, data: Any) -> None:
        """It is forgotten."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing comes."""

    def resume_reading(self) -> None:
        """Nothing comes."""

    def close(self) -> None:
        """There is nothing to close."""

    def abort(self) -> None:
        """There is nothing to close."""


class _Protocol:
    """Notes how the response is to be read."""

    recorder_decompress = True
    recorder_limit = 1 << 16
    recorder_timer: Any = None

    def set_response_params(self, **options: Any) -> None:
        self.recorder_decompress = options.get("auto_decompress", True)
        self.recorder_limit = options.get("read_bufsize", self.recorder_limit)
        self.recorder_timer = options.get("timer")

    def start_timeout(self) -> None:
        """What is recorded comes when it is due."""


class _PlayingRequest:
    """A request that looks for its recording by what it would have sent."""

    __slots__ = ()

    async def send(self, connection: Any) -> Any:
        start = time.perf_counter()
        request = cast(Any, self)
        waiting = request._continue
        if waiting is not None and not waiting.done():
            waiting.set_result(True)
        payload = request._body
        body = await written(payload)
        request._body = None  # it is written; the head that goes before it says how long it was
        try:
            response = await cast(Any, super()).send(connection)
        finally:
            request._body = payload
        asked = Request(request.method, str(request.url), headers_of(request), body, len(body))
        player: Player = request._session.recorder_player
        try:
            with loud():
                playback = player.play(player.find(asked))
        except ReplayMiss as miss:
            vars(miss)["recorder_sent"] = body, request.headers.get("Content-Type")
            raise
        playing = _Playing(playback, playback.pacer(start), response)
        response.start = playing.start
        return response


class _Playing:
    """A response on its way."""

    def __init__(self, playback: Playback, pacer: Pacer, response: Any) -> None:
        self._playback = playback
        self._pacer = pacer
        self._response = response

    async def start(self, connection: Any) -> Any:
        response, playback = self._response, self._playback
        vars(response).pop("start", None)
        protocol = connection.protocol
        response._closed = False
        response._protocol = protocol
        response._connection = connection
        await asyncio.sleep(0)
        with response._timer:
            if playback.head is None:
                await self._pacer.until(playback.ending.elapsed_us, asyncio.sleep)
                await _stay_silent(playback)
                raise _failure(playback)
            await self._pacer.until(playback.head_due_us or 0, asyncio.sleep)
        _fill(response, playback.head)
        reader = self._reader(response, playback.head, protocol)
        response.content = decoded(reader, response) if protocol.recorder_decompress else reader
        return response

    def _reader(self, response: Any, head: Head, protocol: Any) -> Any:
        from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

        if response.method == "HEAD" or head.status in _BODILESS:
            response._response_eof()
            return EMPTY_PAYLOAD
        chunked = "chunked" in (head.get("transfer-encoding") or "").lower()
        kind: Any = mixed(_PlayedReader, StreamReader)
        reader = kind(self._playback, self._pacer, chunked, protocol.recorder_limit, response._timer)
        reader.on_eof(response._response_eof)
        return reader


def _fill(response: Any, head: Head) -> None:
    """Give the response its head, in aiohttp's words."""
    from aiohttp import HttpVersion
    from multidict import CIMultiDict, CIMultiDictProxy

    major, _, minor = head.http_version.removeprefix("HTTP/").partition(".")
    response.version = HttpVersion(int(major), int(minor or 0))
    response.status, response.reason = head.status, head.reason
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers)
    texts = [(_text(name), _text(value)) for name, value in raw]
    response._headers = CIMultiDictProxy(CIMultiDict(texts))
    response._raw_headers = raw
    if cookies := response._headers.getall("Set-Cookie", ()):
        response._raw_cookie_headers = tuple(cookies)


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")  # as aiohttp does


class _PlayedReader:
    """aiohttp's own reader of a recorded body: it is fed a chunk when one is waited for and due, then the ending."""

    def __init__(self, playback: Playback, pacer: Pacer, chunked: bool, limit: int, timer: Any) -> None:
        made: Any = self
        cast(Any, super()).__init__(AlwaysConnected(), limit, timer=timer, loop=asyncio.get_running_loop())
        self._playback = playback
        self._pacer = pacer
        self._chunked = chunked
        self._chunks = playback.chunks()
        self._given = 0
        self._next = next(self._chunks, None)
        if chunked:
            made.begin_http_chunk_receiving()
        self._end_at_once()

    def _end_at_once(self) -> None:
        """The end that is due comes together with the last chunk, as it mostly does."""
        ended = self._next is None and self._playback.finish == Transport.EOF
        if ended and self._pacer.left(self._playback.ending.elapsed_us) <= 0:
            cast(Any, self).feed_eof()

    async def _wait(self, _: str) -> None:
        made: Any = self
        with made._timer:
            if self._next is None:
                await self._end()
                return
            due_us, chunk = self._next
            await self._pacer.until(due_us, asyncio.sleep)
            self._given += 1
            if not self._given % _TURN:
                await asyncio.sleep(0)  # others get their turn, as they would while a network is read
        self._next = next(self._chunks, None)
        made.feed_data(chunk, len(chunk))
        if self._chunked:
            made.end_http_chunk_receiving()
        self._end_at_once()

    async def _end(self) -> None:
        made: Any = self
        await self._pacer.until(self._playback.ending.elapsed_us, asyncio.sleep)
        if self._playback.finish == Transport.EOF:
            made.feed_eof()
            return
        await _stay_silent(self._playback)
        error = _failure(self._playback)
        made.set_exception(error)
        raise error


def _failure(playback: Playback) -> Exception:
    """The exception of a session or a reader that fails: as recorded, or the one that comes nearest."""
    import aiohttp

    for error in failure(playback):
        if isinstance(error, (aiohttp.ClientError, TimeoutError)):
            return error
    text = why(playback)
    if playback.finish == Transport.CONNECT_ERROR:
        return aiohttp.ClientConnectionError(text)
    if playback.finish == Transport.TIMEOUT:
        return aiohttp.ServerTimeoutError(text)
    if playback.head is not None:
        return aiohttp.ClientPayloadError(text)
    if playback.finish == Transport.RESET:
        return aiohttp.ClientOSError(errno.ECONNRESET, text)
    if playback.finish == Transport.PROTOCOL_ERROR:
        return aiohttp.ServerDisconnectedError(text)
    return aiohttp.ClientError(text)


async def _stay_silent(playback: Playback) -> None:
    """Where the recording's client left, nobody knows what would have come: give this one the time to leave, too."""
    if playback.finish == Transport.CLIENT_CLOSED:
        from recorder.replay import SILENCE

        await asyncio.sleep(SILENCE)
