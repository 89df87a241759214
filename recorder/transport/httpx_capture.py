"""Recording inside httpx and httpx2: a tee below content decoding.

Chunks are handed on as they come, one by one; nothing is buffered, re-cut, timed out, or read on behalf of a client
that does not read. A chunk is noted just before it is handed over, so what a client got is in the record, also when it
leaves with that chunk. The response and its connection stay those that the inner transport made; only
`response.stream` is replaced.

What these libraries do not show cannot be recorded here: 1xx answers and trailers (httpcore drops both).
The module refuses to know stores and SDK clients.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, Final
from uuid import UUID

from recorder.recording import Captured, Request, Transport
from recorder.writer import Tap

from .caller import call_of
from .exchange import BODY_LIMIT, RecordingLayer, Sink, Upload, begin, class_name, guarded
from .httpx_values import Library, Wrapper, body_of, headers_of

__all__ = [
    "AsyncRecordingTransport",
    "AsyncTee",
    "AsyncUploadTee",
    "RecordingTransport",
    "Tee",
    "UploadTee",
    "is_recorded",
]

#: The request that is being recorded in this context: two recording transports, one around the other, record it once.
_recorded: ContextVar[object] = ContextVar("recorder request", default=None)

#: Where a request carries its call's id, so that redirects and repetitions of the same request are linked.
_CALL: Final = "recorder.call"

_DECODED: Final = "the transport below had read and decoded the body already"
_FAILED: Final = "recorder failed on its own"
_UPGRADED: Final = "the connection was upgraded; what passed over it is not recorded"


def is_recorded() -> bool:
    """Whether a recording transport waits for what is done here: a transport may stand on another HTTP library."""
    return _recorded.get() is not None


class _Exchange:
    """One request on its way through a recording transport. Nothing here raises for recorder's sake."""

    __slots__ = ("_library", "_original", "_request", "_sink", "_tap", "_upload")

    def __init__(self, library: Library, sink: Sink, request: Any, body_limit: int, tee: type[Any]) -> None:
        self._library = library
        self._sink = sink
        self._request = request
        self._tap: Tap | None = None
        self._upload: Upload | None = None
        guarded(self._open, body_limit, tee)

    def _open(self, body_limit: int, tee: type[Any]) -> None:
        request = self._request
        body = body_of(request, self._library)
        if body is not None:
            self._begin(Request(request.method, str(request.url), headers_of(request), body, len(body)))
            return
        self._upload = Upload(body_limit)
        self._original = request.stream
        request.stream = tee(request.stream, self._upload)

    def _begin(self, asked: Request, begun: tuple[int, int] | None = None) -> None:
        known = self._request.extensions.get(_CALL)
        call = known if isinstance(known, UUID) else call_of(asked)
        self._request.extensions[_CALL] = call
        self._tap = begin(self._sink, asked, begun=begun, call=call)

    def sent(self) -> None:
        """The inner transport is through with the request. A streamed body is known only now."""
        if self._upload is not None:
            self._request.stream = self._original  # a redirect sends it again
            guarded(self._begin_late, self._upload)

    def _begin_late(self, upload: Upload) -> None:
        request = self._request
        self._begin(upload.request(request.method, str(request.url), headers_of(request)), upload.begun)

    def failed(self, error: BaseException) -> None:
        """No response came."""
        if self._tap is not None:
            self._library.end(self._tap, error, self._request)

    def answered(self, response: Any, tee: type[Any]) -> None:
        """A response came: note its head, and watch its body pass by."""
        if self._tap is not None and not guarded(self._watch, self._tap, response, tee):
            self._tap.end(Transport.ERROR, captured=Captured.TRUNCATED, detail={"reason": _FAILED})

    def _watch(self, tap: Tap, response: Any, tee: type[Any]) -> bool:
        tap.head(self._library.head(response))
        if response.status_code == 101:
            tap.end(Transport.EOF, captured=Captured.TRUNCATED, detail={"reason": _UPGRADED})
        elif isinstance(response.stream, self._library.module.ByteStream):
            tap.data(b"".join(response.stream))
            tap.end(Transport.EOF)
        elif response.is_stream_consumed:
            _note_read(tap, response)
        else:
            response.stream = tee(response.stream, tap, self._library, self._request)
        return True


def _note_read(tap: Tap, response: Any) -> None:
    """Note a body that the transport below has read: as it was on the wire, if it was not encoded there."""
    if "content-encoding" in response.headers:
        tap.end(Transport.EOF, captured=Captured.TRUNCATED, detail={"reason": _DECODED})
    else:
        tap.data(response.content)
        tap.end(Transport.EOF)


class RecordingTransport(Wrapper, RecordingLayer):
    """Hands requests to `inner` and records each with what came back; redirects and retries are exchanges too."""

    _library: ClassVar[Library]
    _tee: ClassVar[type[Any]]
    _upload: ClassVar[type[Any]]

    def __init__(self, inner: Any, sink: Sink, *, body_limit: int = BODY_LIMIT) -> None:
        super().__init__(inner)
        self.sink = sink
        self._body_limit = body_limit

    def handle_request(self, request: Any) -> Any:
        if _recorded.get() is request:
            return self.inner.handle_request(request)
        exchange = _Exchange(self._library, self.sink, request, self._body_limit, self._upload)
        token = _recorded.set(request)
        try:
            response = self.inner.handle_request(request)
        except BaseException as error:
            exchange.sent()
            exchange.failed(error)
            raise
        finally:
            _recorded.reset(token)
        exchange.sent()
        exchange.answered(response, self._tee)
        return response


class AsyncRecordingTransport(Wrapper, RecordingLayer):
    """Hands requests to `inner` and records each with what came back; redirects and retries are exchanges too."""

    _library: ClassVar[Library]
    _tee: ClassVar[type[Any]]
    _upload: ClassVar[type[Any]]

    def __init__(self, inner: Any, sink: Sink, *, body_limit: int = BODY_LIMIT) -> None:
        super().__init__(inner)
        self.sink = sink
        self._body_limit = body_limit

    async def handle_async_request(self, request: Any) -> Any:
        if _recorded.get() is request:
            return await self.inner.handle_async_request(request)
        exchange = _Exchange(self._library, self.sink, request, self._body_limit, self._upload)
        token = _recorded.set(request)
        try:
            response = await self.inner.handle_async_request(request)
        except BaseException as error:
            exchange.sent()
            exchange.failed(error)
            raise
        finally:
            _recorded.reset(token)
        exchange.sent()
        exchange.answered(response, self._tee)
        return response


class TeeBase:
    """A response body on its way to the client, each chunk noted as it passes.

    The client leaves in one of three ways: it closes the stream, drops the generator, or is cancelled while it waits.
    Each is noted and goes on to the inner stream at once. Where the client closes because an exception flies through
    it (its parser's, say), the exception's class is noted too.
    """

    def __init__(self, stream: Any, tap: Tap, library: Library, request: Any) -> None:
        self._stream = stream
        self._tap = tap
        self._library = library
        self._request = request

    def _left(self) -> None:
        error = sys.exception()
        if isinstance(error, Exception):
            self._tap.end(Transport.CLIENT_CLOSED, detail={"left_by": class_name(error)})
        else:
            self._tap.end(Transport.CLIENT_CLOSED)

    def __del__(self) -> None:
        self._tap.end(Transport.CLIENT_CLOSED)  # dropped without a close


class Tee(TeeBase):
    def __iter__(self) -> Iterator[bytes]:
        note = self._tap.data
        try:
            for chunk in self._stream:
                note(chunk)
                yield chunk
        except BaseException as error:
            self._library.end(self._tap, error, self._request)
            raise
        self._tap.end(Transport.EOF)

    def close(self) -> None:
        self._left()
        self._stream.close()


class AsyncTee(TeeBase):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        note = self._tap.data
        stream = self._stream.__aiter__()
        try:
            async for chunk in stream:
                note(chunk)
                yield chunk
        except BaseException as error:
            self._library.end(self._tap, error, self._request)
            raise
        else:
            self._tap.end(Transport.EOF)
        finally:
            # As the libraries' own streams do: a generator that is left must not wait for the garbage collector.
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def aclose(self) -> None:
        self._left()
        await self._stream.aclose()


class UploadTee:
    """A request body on its way to the server."""

    def __init__(self, stream: Any, upload: Upload) -> None:
        self._stream = stream
        self._upload = upload

    def __iter__(self) -> Iterator[bytes]:
        self._upload.restart()
        for chunk in self._stream:
            self._upload.add(chunk)
            yield chunk
        self._upload.complete = True

    def close(self) -> None:
        self._stream.close()


class AsyncUploadTee:
    """A request body on its way to the server."""

    def __init__(self, stream: Any, upload: Upload) -> None:
        self._stream = stream
        self._upload = upload

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._upload.restart()
        async for chunk in self._stream:
            self._upload.add(chunk)
            yield chunk
        self._upload.complete = True

    async def aclose(self) -> None:
        await self._stream.aclose()
