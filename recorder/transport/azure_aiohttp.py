"""Capture and replay under azure-core's aiohttp transport: the session, and the reader of the response's body.

Azure's session leaves content codings on, so what its reader gives is what came: one chunk is what one read returned.
The response stays the object that aiohttp made; only its `content` is replaced, by a reader around the one that the
connection feeds. At replay, session and response are our own, and azure-core's code above them does its own work.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Self

from recorder.recording import Head, HeaderList, Request, Transport

from .azure_exchange import Exchange, header_list
from .azure_faults import failure, why
from .exchange import Upload, guarded

if TYPE_CHECKING:
    from recorder.replay import Pacer, Playback, Player

__all__ = ["playing", "recording"]

_DECODED: Final = "the session below decodes content itself: what came is not seen"
_FAILED: Final = "recorder failed on its own"

#: Seconds that a client is left in silence where a recording's client left: time to leave again.
_SILENCE: Final = 5.0

#: A replay lets others run after this many chunks that were due already.
_TURN: Final = 16


def recording(exchange: Exchange) -> Callable[[Any], Any]:
    """What gives a recording session in place of the one that is there."""
    return lambda real: None if real is None else _RecordingSession(real, exchange)


class _RecordingSession:
    """Is taken for the session around which it stands, and records the request that it makes."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def request(self, method: str, url: Any, **options: Any) -> Any:
        exchange = self._exchange
        upload = guarded(_begin, exchange, method, url, options)
        try:
            response = await self._inner.request(method, url, **options)
        finally:
            if upload is not None:
                guarded(_begin_late, exchange, method, url, options, upload)
        if exchange.recorded and not guarded(_watch, exchange, response, self._inner):
            exchange.lost(_FAILED)
        return response


def _begin(exchange: Exchange, method: str, url: Any, options: dict[str, Any]) -> Upload | None:
    """Begin the recording; or let a body that is no bytes pass by first, and begin when it is known."""
    body = _bytes_of(options.get("data"))
    if body is not None:
        exchange.begin(Request(method, str(url), _headers(options), body, len(body)))
        return None
    upload = Upload(exchange.body_limit)
    options["data"] = _noted(_payload(options["data"]), upload)
    return upload


def _begin_late(exchange: Exchange, method: str, url: Any, options: dict[str, Any], upload: Upload) -> None:
    exchange.begin(upload.request(method, str(url), _headers(options)), upload.begun)


def _headers(options: dict[str, Any]) -> HeaderList:
    """The request's headers, and those that its body brings: the boundary of a form."""
    own = header_list((options.get("headers") or {}).items())
    brought = header_list(getattr(options.get("data"), "headers", {}).items())
    named = {name.lower() for name, _ in own}
    return (*own, *(header for header in brought if header[0].lower() not in named))


def _bytes_of(data: Any) -> bytes | None:
    """A request's body that is in memory; None where it is a stream, a file or a form."""
    if data is None:
        return b""
    if isinstance(data, str):
        return data.encode()  # as aiohttp does
    return bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else None


def _payload(data: Any) -> Any:
    """The body as aiohttp would write it."""
    import aiohttp

    value: Any = data() if isinstance(data, aiohttp.FormData) else data
    try:
        return aiohttp.get_payload(value, disposition=None)
    except aiohttp.payload.LookupError:
        return aiohttp.FormData(value)()


def _noted(payload: Any, upload: Upload) -> Any:
    """The payload, which notes what it writes."""
    write: Any = payload.write
    write_with_length: Any = getattr(payload, "write_with_length", None)

    async def noting(writer: Any) -> None:
        upload.restart()
        await write(_Writer(writer, upload))
        upload.complete = True

    async def noting_with_length(writer: Any, length: int | None) -> None:
        payload.write = write  # the other one may call it
        upload.restart()
        await write_with_length(_Writer(writer, upload), length)
        upload.complete = True

    payload.write = noting
    if write_with_length is not None:
        payload.write_with_length = noting_with_length
    return payload


class _Writer:
    """Writes to the connection, and notes it."""

    def __init__(self, inner: Any, upload: Upload) -> None:
        self._inner = inner
        self._upload = upload

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def write(self, chunk: Any, *args: Any, **options: Any) -> None:
        self._upload.add(chunk)
        await self._inner.write(chunk, *args, **options)


def _watch(exchange: Exchange, response: Any, session: Any) -> bool:
    exchange.head(_head(response))
    if getattr(session, "auto_decompress", False) and "content-encoding" in response.headers:
        exchange.lost(_DECODED, Transport.EOF)
    else:
        response.content = _Reader(response.content, exchange)
    return True


def _head(response: Any) -> Head:
    version = response.version
    named = "HTTP/1.1" if version is None else f"HTTP/{version.major}.{version.minor}"
    return Head(response.status, response.reason or "", named, header_list(response.raw_headers))


class _Readers:
    """The ways of reading to the end that stand on single reads."""

    async def read(self, n: int = -1) -> bytes:
        raise NotImplementedError

    async def readany(self) -> bytes:
        raise NotImplementedError

    async def _rest(self) -> bytes:
        pieces = []
        while piece := await self.readany():
            pieces.append(piece)
        return b"".join(pieces)

    async def iter_any(self) -> AsyncIterator[bytes]:
        while piece := await self.readany():
            yield piece

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        while piece := await self.read(n):
            yield piece


class _Reader(_Readers):
    """Is taken for the reader around which it stands, and notes what each read returns and how reading ends.

    A cancelled read says nothing: the client may read on. When it lets go of the response, aiohttp tells the reader, or
    both are dropped.
    """

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def _note(self, reading: Awaitable[Any]) -> Any:
        try:
            got = await reading
        except Exception as error:
            self._exchange.broke(error)
            raise
        self._exchange.data(got[0] if isinstance(got, tuple) else got)
        self._end()
        return got

    def _end(self) -> None:
        if self._inner.at_eof():
            self._exchange.eof()

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            return await self._rest()
        data: bytes = await self._note(self._inner.read(n))
        return data

    async def readany(self) -> bytes:
        data: bytes = await self._note(self._inner.readany())
        return data

    async def readexactly(self, n: int) -> bytes:
        data: bytes = await self._note(self._inner.readexactly(n))
        return data

    async def readline(self, **options: Any) -> bytes:
        data: bytes = await self._note(self._inner.readline(**options))
        return data

    async def readuntil(self, separator: bytes = b"\n", **options: Any) -> bytes:
        data: bytes = await self._note(self._inner.readuntil(separator, **options))
        return data

    async def readchunk(self) -> tuple[bytes, bool]:
        got: tuple[bytes, bool] = await self._note(self._inner.readchunk())
        return got

    def read_nowait(self, n: int = -1) -> bytes:
        data: bytes = self._inner.read_nowait(n)
        self._exchange.data(data)
        self._end()
        return data

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        while (got := await self.readchunk()) != (b"", False):
            yield got

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    def set_exception(self, *error: Any) -> None:
        """The response is closed or released."""
        self._end()
        self._exchange.closed()
        self._inner.set_exception(*error)


# -- replay --------------------------------------------------------------------------------------------------------


def playing(player: Player) -> Callable[[Any], Any]:
    """What gives a session that answers from a store."""
    session = _PlayingSession(player)
    return lambda _: session


class _PlayingSession:
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    #: Content codings stay on, as in azure's own session.
    auto_decompress = False

    def __init__(self, player: Player) -> None:
        self._player = player

    async def __aenter__(self) -> Self:
        return self

    async def close(self) -> None:
        """There is nothing to close."""

    async def request(self, method: str, url: Any, **options: Any) -> Any:
        start = time.perf_counter()
        body = await _whole(options)
        asked = Request(method, str(url), _headers(options), body, len(body))
        playback = self._player.play(self._player.find(asked))
        pacer = playback.pacer(start)
        await asyncio.sleep(0)
        if playback.head is None:
            await _wait(pacer, playback.ending.elapsed_us)
            await _stay_silent(playback)
            raise _failure(playback)
        await _wait(pacer, playback.head_due_us or 0)
        return _Played(method, url, playback.head, _PlayedReader(playback, pacer))


async def _whole(options: dict[str, Any]) -> bytes:
    """A request's body, written to its end."""
    body = _bytes_of(options.get("data"))
    if body is None:
        options["data"] = _payload(options["data"])
        nowhere = _Nowhere()
        await options["data"].write(nowhere)
        body = b"".join(nowhere.written)
    return body


class _Nowhere:
    """Where a payload is written that nobody is to get."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, chunk: Any) -> None:
        self.written.append(bytes(chunk))


class _Played:
    """A response as far as azure-core looks at one."""

    closed = False

    def __init__(self, method: str, url: Any, head: Head, content: _PlayedReader) -> None:
        from aiohttp import HttpVersion
        from multidict import CIMultiDict, CIMultiDictProxy

        self.method = method
        self.url = url
        self.status = head.status
        self.reason = head.reason
        major, _, minor = head.http_version.removeprefix("HTTP/").partition(".")
        self.version = HttpVersion(int(major), int(minor or 0))
        self.headers = CIMultiDictProxy(CIMultiDict(head.headers))
        self.raw_headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers)
        self.content = content

    async def read(self) -> bytes:
        return await self.content.read()

    def close(self) -> None:
        self.closed = True

    def release(self) -> None:
        self.closed = True


class _PlayedReader(_Readers):
    """A recorded body on its way out: the chunks when they are due, then the recorded ending."""

    def __init__(self, playback: Playback, pacer: Pacer) -> None:
        self._playback = playback
        self._pacer = pacer
        self._chunks = playback.chunks()
        self._piece = b""
        self._given = 0

    async def readany(self) -> bytes:
        while not self._piece:
            due_us, self._piece = next(self._chunks, (None, b""))
            if due_us is None:
                await self._end()
                return b""
            await _wait(self._pacer, due_us)
            self._given += 1
            if not self._given % _TURN:
                await asyncio.sleep(0)  # others get their turn, as they would while a network is read
        piece, self._piece = self._piece, b""
        return piece

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            return await self._rest()
        piece = await self.readany()
        self._piece = piece[n:]
        return piece[:n]

    async def _end(self) -> None:
        await _wait(self._pacer, self._playback.ending.elapsed_us)
        if self._playback.finish != Transport.EOF:
            await _stay_silent(self._playback)
            raise _failure(self._playback)


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
        await asyncio.sleep(_SILENCE)


async def _wait(pacer: Pacer, due_us: int) -> None:
    if (left := pacer.left(due_us)) > 0:
        await asyncio.sleep(left)
