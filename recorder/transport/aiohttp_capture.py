"""Recording inside aiohttp: bare sessions, and those at the bottom of azure-core.

A call is made by a session of the same class and with the same state as the real one, whose connector, requests and
responses pass by here: each request that goes out is an exchange, redirects and repetitions included. The connection's
parser is told to leave content codings on, so that the reader of the body holds what came; it stays the object that
aiohttp made and gets a class that notes each chunk of the network as the client begins to read it, and how reading
ends. Where the session decodes, that is done above, by aiohttp's own decoder. aiohttp is not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from weakref import ref

from recorder.recording import Head, HeaderList, Request, Transport

from .below import Call, Choose, Exchange, always, header_list, mixed, standing_in
from .exchange import BODY_LIMIT, Around, RecordingLayer, Sink, Upload, guarded

__all__ = [
    "OwnRequests",
    "Requests",
    "StandIn",
    "decoded",
    "headers_of",
    "is_recording",
    "record",
    "sessions",
    "written",
]

_FAILED: Final = "recorder failed on its own"
_UPGRADED: Final = "the connection was upgraded; what passed over it is not recorded"

#: The content codings that aiohttp decodes.
_CODINGS: Final = frozenset({"br", "deflate", "gzip", "zstd"})


class OwnRequests:
    """How a session makes its requests by itself. It is not kept alive by this."""

    def __init__(self, session: Any) -> None:
        self.session = ref(session)

    def __call__(self, method: str, url: Any, **options: Any) -> Awaitable[Any]:
        session = cast(Any, self.session())
        return cast(Awaitable[Any], type(session)._request(session, method, url, **options))


class Requests(RecordingLayer):
    """What a recorded session makes its requests by."""

    def __init__(self, inner: OwnRequests, sink: Sink, *, body_limit: int = BODY_LIMIT) -> None:
        self.inner = inner
        self.sink = sink
        self._choose = always(sink, body_limit)

    def __call__(self, method: str, url: Any, **options: Any) -> Awaitable[Any]:
        session = cast(Any, self.inner.session())
        return record(session, type(session)._request, self._choose, method, url, **options)


async def record(
    session: Any, request: Callable[..., Awaitable[Any]], choose: Choose, method: str, url: Any, **options: Any
) -> Any:
    """Make the request as `request(session, …)` does, and record what `choose` wants recorded."""
    call = Call(choose)
    own = guarded(_recording, session, call)
    if own is None:
        return await request(session, method, url, **options)
    try:
        return await request(own, method, url, **options)
    except BaseException as error:
        call.failed(error)
        raise
    finally:
        call.watched = False


def _recording(session: Any, call: Call) -> Any:
    made = standing_in(_RecordingSession, session)
    object.__setattr__(made, "recorder_real", session)
    object.__setattr__(made, "recorder_call", call)
    return made


# -- sessions --------------------------------------------------------------------------------------------------------


class StandIn:
    """What every session has in common that stands in for another: nobody has to close it."""

    __slots__ = ()

    def __init_subclass__(cls, **_: Any) -> None:
        """aiohttp warns of classes made of its session."""

    def __del__(self) -> None:
        """It is the real one that must be closed."""


class _RecordingSession(StandIn):
    __slots__ = ("recorder_call", "recorder_real")

    recorder_call: Call
    #: Kept as a response keeps its session.
    recorder_real: Any

    @property
    def _connector(self) -> Any:
        real = self.__dict__["_connector"]
        return None if real is None else _Connector(real, self.recorder_call)

    @_connector.setter
    def _connector(self, connector: Any) -> None:
        self.__dict__["_connector"] = connector

    @property
    def _request_class(self) -> Any:
        return mixed(_RecordedRequest, self.__dict__["_request_class"])


def is_recording(session: Any) -> bool:
    """Whether somebody above records what this session sends."""
    return isinstance(session, _RecordingSession)


class _Connector(Around):
    """A connector that begins an exchange for each request."""

    def __init__(self, inner: Any, call: Call) -> None:
        super().__init__(inner)
        self._call = call

    async def connect(self, request: Any, *args: Any, **options: Any) -> Any:
        attempt = guarded(_attempt, self._call, request)
        connection = await self._inner.connect(request, *args, **options)
        if attempt is not None:
            guarded(_leave_codings, connection.protocol, attempt)
        return connection


class _Attempt:
    """One request on its way: what is known of it between the connector, the request and the response."""

    __slots__ = ("decompress", "exchange", "headers", "upload")

    def __init__(self, exchange: Exchange, upload: Upload) -> None:
        self.exchange = exchange
        #: The request's, as they went out.
        self.headers: HeaderList = ()
        #: Notes the body as it is written, and when all of this began.
        self.upload = upload
        #: Whether codings are to be taken off that the parser was told to leave on.
        self.decompress = False


def _attempt(call: Call, request: Any) -> _Attempt | None:
    """The exchange of a request that is about to be connected."""
    request.recorder_attempt = None
    exchange = call.attempt(request.url, lambda: _asked(request))
    if exchange is None:
        return None
    request.recorder_attempt = _Attempt(exchange, Upload(exchange.body_limit))
    return cast(_Attempt, request.recorder_attempt)


def _leave_codings(protocol: Any, attempt: _Attempt) -> None:
    """Let the next parser of the connection leave content codings on."""
    real = protocol.set_response_params

    def once(**options: Any) -> None:
        del protocol.set_response_params
        attempt.decompress = options.get("auto_decompress", True)
        real(**{**options, "auto_decompress": False})

    protocol.set_response_params = once


class _RecordedRequest:
    """A request that notes what it sends, and watches what it gets."""

    __slots__ = ()

    recorder_attempt: _Attempt | None

    async def send(self, connection: Any) -> Any:
        attempt = vars(self).get("recorder_attempt")
        if attempt is None:
            return await cast(Any, super()).send(connection)
        payload = cast(Any, self)._body
        known = _bytes_of(payload)
        attempt.headers = guarded(headers_of, self) or ()
        noted = known is None and guarded(_note, payload, attempt.upload)
        try:
            response = await cast(Any, super()).send(connection)
        except Exception as error:
            attempt.exchange.refused(error)
            raise
        attempt.headers = guarded(headers_of, self) or ()
        if known is not None:
            guarded(_begin, self, attempt, known)
        guarded(_follow, self, response, attempt, payload if noted else None)
        return response


def _asked(request: Any) -> Request:
    """The request as it is when nothing of it went out."""
    body = _bytes_of(request._body)
    return Request(request.method, str(request.url), headers_of(request), body, len(body or b""))


def headers_of(request: Any) -> HeaderList:
    return header_list(request.headers.items())


def _begin(request: Any, attempt: _Attempt, body: bytes | None) -> None:
    """The recording begins, by now or as soon as a body that is no bytes has passed by."""
    if attempt.exchange.begun:
        return
    if body is None:
        asked = attempt.upload.request(request.method, str(request.url), attempt.headers)
    else:
        asked = Request(request.method, str(request.url), attempt.headers, body, len(body))
    attempt.exchange.begin(asked, attempt.upload.begun)


def _bytes_of(payload: Any) -> bytes | None:
    """A request's body that is in memory; None where it is a stream, a file or a form."""
    if payload is None or payload == b"":
        return b""
    if isinstance(payload, sys.modules["aiohttp"].payload.BytesPayload):
        return bytes(payload._value)
    return bytes(payload) if isinstance(payload, (bytes, bytearray)) else None


def _follow(request: Any, response: Any, attempt: _Attempt, noted: Any) -> None:
    """Watch the response begin."""
    real = response.start

    async def start(connection: Any) -> Any:
        vars(response).pop("start", None)  # the response must not hold itself
        try:
            started = await real(connection)
        except Exception as error:
            guarded(_begin, request, attempt, None)
            attempt.exchange.refused(error)
            raise
        finally:
            guarded(_begin, request, attempt, None)
            if noted is not None:
                _forget(noted)
        exchange = attempt.exchange
        vars(request).pop("recorder_attempt", None)
        if exchange.recorded and not guarded(_watch, exchange, response):
            exchange.lost(_FAILED)
        if attempt.decompress:
            response.content = decoded(response.content, response)
        return started

    response.start = start


# -- bodies of requests ----------------------------------------------------------------------------------------------


def _note(payload: Any, upload: Upload) -> bool:
    """Let a payload note what it writes, until `_forget`."""
    write: Any = payload.write
    write_with_length: Any = getattr(payload, "write_with_length", None)

    async def noting(writer: Any, *args: Any) -> None:
        upload.restart()
        await write(_Writer(writer, upload), *args)
        upload.complete = True

    async def noting_with_length(writer: Any, length: int | None) -> None:
        payload.write = write  # the other one may call it
        upload.restart()
        await write_with_length(_Writer(writer, upload), length)
        upload.complete = True

    payload.write = noting
    if write_with_length is not None:
        payload.write_with_length = noting_with_length
    return True


def _forget(payload: Any) -> None:
    for name in ("write", "write_with_length"):
        vars(payload).pop(name, None)


class _Writer(Around):
    """Writes to the connection, and notes it."""

    def __init__(self, inner: Any, upload: Upload) -> None:
        super().__init__(inner)
        self._upload = upload

    async def write(self, chunk: Any, *args: Any, **options: Any) -> None:
        self._upload.add(chunk)
        await self._inner.write(chunk, *args, **options)


async def written(payload: Any) -> bytes:
    """A request's body, written to its end where nobody gets it."""
    body = _bytes_of(payload)
    if body is not None:
        return body
    nowhere = _Nowhere()
    await payload.write(nowhere)
    return b"".join(nowhere.written)


class _Nowhere:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, chunk: Any, *_: Any, **__: Any) -> None:
        self.written.append(bytes(chunk))


# -- responses -------------------------------------------------------------------------------------------------------


def _watch(exchange: Exchange, response: Any) -> bool:
    exchange.head(_head(response))
    content = response.content
    if response.status == 101:
        exchange.lost(_UPGRADED, Transport.EOF)
    elif not hasattr(content, "_timer"):  # it is empty, and shared by all that are
        exchange.eof()
    else:
        content._timer = _Noted(content._timer, exchange)
        content.__class__ = mixed(_Noting, cast(Any, type(content)))
    return True


def _head(response: Any) -> Head:
    version = response.version
    named = "HTTP/1.1" if version is None else f"HTTP/{version.major}.{version.minor}"
    return Head(response.status, response.reason or "", named, header_list(response.raw_headers))


class _Noted(Around):
    """A reader's timer, and the exchange whose body it reads: readers have no other place to keep one."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        super().__init__(inner)
        self.exchange = exchange
        #: How many chunks that wait in the reader were noted: the one that is read from, and those that were put back.
        self.begun = 0

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._inner.__exit__(*error)


class _Noting:
    """What aiohttp's reader is besides: each chunk is noted when its first byte is read, and how reading ends.

    A cancelled read says nothing: the client may read on. When it lets go of the response, aiohttp tells the reader, or
    both are dropped.
    """

    __slots__ = ()

    def _read_nowait_chunk(self, n: int) -> bytes:
        reader = cast(Any, self)
        noted = reader._timer
        first = reader._buffer[0]
        if not noted.begun:
            noted.exchange.data(first)
            noted.begun = 1
        if n == -1 or len(first) - reader._buffer_offset <= n:
            noted.begun -= 1
        data: bytes = cast(Any, super())._read_nowait_chunk(n)
        if reader._eof and not reader._buffer:
            noted.exchange.eof()
        return data

    def unread_data(self, data: bytes) -> None:
        cast(Any, super()).unread_data(data)
        if data:
            cast(Any, self)._timer.begun += 1

    async def read(self, n: int = -1) -> Any:
        return await _reading(self, cast(Any, super()).read(n))

    async def readany(self) -> Any:
        return await _reading(self, cast(Any, super()).readany())

    async def readchunk(self) -> Any:
        return await _reading(self, cast(Any, super()).readchunk())

    async def readuntil(self, *args: Any, **options: Any) -> Any:
        return await _reading(self, cast(Any, super()).readuntil(*args, **options))

    def set_exception(self, error: Any, *cause: Any) -> None:
        reader = cast(Any, self)
        if type(error).__name__ == "ClientConnectionError" and str(error) == "Connection closed":
            _let_go(reader)  # the response is closed or released
        cast(Any, super()).set_exception(error, *cause)


def _let_go(reader: Any) -> None:
    """Nobody will read on."""
    exchange = getattr(reader._timer, "exchange", None)
    if exchange is not None:
        if reader.at_eof():
            exchange.eof()
        exchange.closed()


async def _reading(reader: Any, read: Awaitable[Any]) -> Any:
    exchange = reader._timer.exchange
    try:
        got = await read
    except Exception as error:
        if error is reader._exception or isinstance(error, TimeoutError):
            exchange.broke(error)
        raise
    if reader.at_eof():
        exchange.eof()
    return got


# -- content codings -------------------------------------------------------------------------------------------------


def decoded(reader: Any, response: Any) -> Any:
    """A reader of what a response's reader gives, without its content coding; the reader itself where it has none.

    Raises ClientResponseError for a coding that cannot be decoded here, as aiohttp does when the head comes.
    """
    coding = response.headers.get("Content-Encoding", "").lower()
    if coding not in _CODINGS or not hasattr(reader, "_timer"):
        return reader
    import aiohttp
    from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

    try:
        return mixed(_Decoded, aiohttp.StreamReader)(reader, coding)
    except ContentEncodingError as error:
        refused = HttpProcessingError(code=error.code, message=error.message, headers=error.headers)
        refused.__cause__ = error
        raise aiohttp.ClientResponseError(
            response.request_info, response.history, status=error.code, message=error.message, headers=error.headers
        ) from refused


class AlwaysConnected:
    """A reader's connection, where it reads from something else."""

    connected = True

    def pause_reading(self) -> None:
        """Nothing comes unasked."""

    def resume_reading(self, *_: Any, **__: Any) -> None:
        """Nothing comes unasked."""


class _Decoded:
    """aiohttp's own reader, fed by its own decoder from the reader of what came, as far as the client reads."""

    def __init__(self, raw: Any, coding: str) -> None:
        from aiohttp.http_parser import DeflateBuffer

        cast(Any, super()).__init__(AlwaysConnected(), raw._low_water, loop=raw._loop)
        self._raw = raw
        self._more = False
        if raw._http_chunk_splits is not None:
            self._self.begin_http_chunk_receiving()
        self._decoder: Any = DeflateBuffer(self._self, coding)
        try:
            self._finish()
        except Exception as error:  # noqa: BLE001 (whatever a decoder raises, aiohttp makes one exception of)
            self._fail(error)

    @property
    def _self(self) -> Any:
        return self

    async def _wait(self, _: str) -> None:
        if self._more:
            self._feed(b"")
            return
        await self._pull()
        while self._raw._buffer and self._self._size <= self._self._high_water and not self._more:
            await self._pull()

    async def _pull(self) -> None:
        try:
            data, ends = await self._raw.readchunk()
        except Exception as error:
            cast(Any, super()).set_exception(error)
            raise
        self._feed(data)
        if ends and self._self._http_chunk_splits is not None:
            self._self.end_http_chunk_receiving()

    def _feed(self, data: bytes) -> None:
        try:
            self._more = bool(self._decoder.feed_data(data, len(data)))
            self._finish()
        except Exception as error:
            raise self._fail(error) from error

    def _finish(self) -> None:
        if self._raw.at_eof() and not self._more and not self._self._eof:
            self._decoder.feed_eof()

    def _fail(self, error: Exception) -> Exception:
        """As the connection's parser fails where the decoder does."""
        failed: Exception = sys.modules["aiohttp"].ClientPayloadError(str(error))
        failed.__cause__ = error
        _let_go(self._raw)
        cast(Any, super()).set_exception(failed)
        return failed

    def set_exception(self, error: Any, *cause: Any) -> None:
        """The response is closed or released."""
        if self._raw.exception() is None:
            self._raw.set_exception(error, *cause)
        cast(Any, super()).set_exception(error, *cause)


# -- for azure-core --------------------------------------------------------------------------------------------------


def sessions(call: Call) -> Callable[[Any], Any]:
    """What gives a session that records for this call, in place of another: the caller tells of failures."""

    def session(real: Any) -> Any:
        return None if real is None else guarded(_recording, real, call) or real

    return session
