"""Recording inside requests: bare sessions, and those at the bottom of azure-core.

Recording stands in three places, each of which is taken for the object around which it stands. A session's adapter
gets pools of connections that send as its own do and share their connections. A pool notes each attempt of urllib3, its
repetitions included, with the request as it goes out. The response of urllib3 stays the object that it is and gets a
class that notes what its reads return below content decoding: one chunk of a chunked body (or as much of one as the
reader wanted), else what one read returned. Neither library is imported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, cast
from uuid import UUID
from weakref import ref

from recorder.recording import Head, HeaderList, Request

from .below import Call, Choose, Exchange, always, behind, header_list, mixed, standing_in
from .exchange import BODY_LIMIT, Around, RecordingLayer, Sink, Upload, guarded
from .httpx_capture import UploadTee

__all__ = [
    "Adapters",
    "OwnAdapters",
    "OwnSession",
    "WiredAdapter",
    "headers_of",
    "is_wired",
    "record",
    "sessions",
    "wired",
]

_FAILED: Final = "recorder failed on its own"
_OTHER: Final = "the session's adapter answers with another kind of response than urllib3's"

_VERSIONS: Final = {9: "HTTP/0.9", 10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2"}

#: Where a request carries its call's id: requests hands its hooks on to the requests that redirects make of it.
_CALL: Final = "recorder.call"


# -- a session's adapters ------------------------------------------------------------------------------------------


class OwnAdapters:
    """How a session chooses its adapters by itself. It is not kept alive by this."""

    def __init__(self, session: Any) -> None:
        self._session = ref(session)

    def __call__(self, url: Any) -> Any:
        session = cast(Any, self._session())
        return type(session).get_adapter(session, url)


class Adapters(RecordingLayer):
    """What a recorded session asks for its adapters, those that are mounted later included."""

    def __init__(self, inner: Any, sink: Sink, *, body_limit: int = BODY_LIMIT) -> None:
        self.inner = inner
        self.sink = sink
        self._choose = always(sink, body_limit)

    def __call__(self, url: Any) -> Any:
        adapter = self.inner(url)
        return guarded(_recorded, adapter, self._choose) or adapter


def _recorded(adapter: Any, choose: Choose) -> Any:
    made = standing_in(_RecordedAdapter, adapter)
    made.recorder_choose = choose
    return made


class _RecordedAdapter:
    """An adapter whose calls are recorded."""

    __slots__ = ("recorder_choose",)

    recorder_choose: Choose

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        return record(self, behind(self).send, self.recorder_choose, request, *args, **options)


def record(adapter: Any, send: Callable[..., Any], choose: Choose, request: Any, *args: Any, **options: Any) -> Any:
    """Send the request as `send(adapter, …)` does, and record what `choose` wants recorded."""
    call = guarded(_call, choose, request)
    own = None if call is None else guarded(wired, adapter, call_pool(call, request))
    if call is None or own is None:
        return send(adapter, request, *args, **options)
    try:
        response = send(own, request, *args, **options)
    except BaseException as error:
        call.failed(error)
        raise
    finally:
        call.watched = False
        guarded(_name, request, call)
    response.connection = adapter  # an answer to a challenge is sent over it
    return response


def _call(choose: Choose, request: Any) -> Call:
    known = request.hooks.get(_CALL)
    return Call(choose, call=known if isinstance(known, UUID) else None, unsent=lambda: (request.url, asked(request)))


def _name(request: Any, call: Call) -> None:
    if call.named is not None:
        request.hooks[_CALL] = call.named


def asked(request: Any) -> Request:
    """A prepared request as it goes out; without its body where that is no bytes."""
    body = b"" if request.body is None else request.body
    if isinstance(body, str):
        body = body.encode()  # as urllib3 does
    kept = bytes(body) if isinstance(body, (bytes, bytearray)) else None
    return Request(request.method, request.url, headers_of(request), kept, len(kept or b""))


def headers_of(request: Any) -> HeaderList:
    return header_list(request.headers.items())


# -- pools -----------------------------------------------------------------------------------------------------------


class WiredAdapter:
    """An adapter whose pools of connections are ours, for one call."""

    __slots__ = ("recorder_pool",)

    recorder_pool: Callable[[Any], Any]

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        return self.recorder_pool(cast(Any, super()).get_connection_with_tls_context(*args, **options))

    def get_connection(self, *args: Any, **options: Any) -> Any:
        return self.recorder_pool(cast(Any, super()).get_connection(*args, **options))


def is_wired(adapter: Any) -> bool:
    """Whether somebody above records what this adapter sends, or answers it."""
    return isinstance(adapter, WiredAdapter)


def wired(adapter: Any, pool: Callable[[Any], Any]) -> Any:
    """The adapter with `pool(its own)` instead of each of its pools."""
    made = standing_in(WiredAdapter, adapter)
    made.recorder_pool = pool
    return made


def call_pool(call: Call, request: Any) -> Callable[[Any], Any]:
    """What gives a recording pool for one of urllib3's."""

    def pool(real: Any) -> Any:
        if isinstance(real, _RecordingPool):
            return real
        made = standing_in(_RecordingPool, real)
        made.recorder_real, made.recorder_call, made.recorder_request = real, call, request
        return made

    return lambda real: guarded(pool, real) or real


class _RecordingPool:
    """A pool of connections that records each attempt of a request. It shares the connections of the real one."""

    __slots__ = ("recorder_call", "recorder_real", "recorder_request")

    recorder_call: Call
    #: Kept, because a pool that nobody has closes its connections.
    recorder_real: Any
    recorder_request: Any

    def _make_request(
        self, conn: Any, method: str, url: str, body: Any = None, *args: Any, retries: Any = None, **options: Any
    ) -> Any:
        def send(body: Any) -> Any:
            sent = cast(Any, super(_RecordingPool, self))._make_request
            return sent(conn, method, url, body, *args, retries=retries, **options)

        request = self.recorder_request
        exchange = guarded(self.recorder_call.attempt, request.url)
        if exchange is None:
            return send(body)
        upload = guarded(_begin, exchange, request, body)
        try:
            response = send(body if upload is None else _noted(body, upload))
        except BaseException as error:
            _late(exchange, request, upload)
            if isinstance(error, Exception) and guarded(_is_repeated, retries, method, url, error, self):
                exchange.failed(error)
            else:
                exchange.refused(error)
            raise
        _late(exchange, request, upload)
        if exchange.recorded and not guarded(_watch, exchange, response):
            exchange.lost(_FAILED)
        return response


def _begin(exchange: Exchange, request: Any, body: Any) -> Upload | None:
    """Begin the recording; or let a body that is no bytes pass by first, and begin when it is known."""
    if body is None or isinstance(body, (str, bytes, bytearray)):
        exchange.begin(asked(request))
        return None
    return Upload(exchange.body_limit)


def _late(exchange: Exchange, request: Any, upload: Upload | None) -> None:
    if upload is not None:
        guarded(lambda: exchange.begin(upload.request(request.method, request.url, headers_of(request)), upload.begun))


def _noted(body: Any, upload: Upload) -> Any:
    return _ReadTee(body, upload) if hasattr(body, "read") else UploadTee(body, upload)


class _ReadTee(Around):
    """A file on its way to the server."""

    def __init__(self, file: Any, upload: Upload) -> None:
        super().__init__(file)
        self._upload = upload

    def read(self, *size: int) -> Any:
        piece = self._inner.read(*size)
        self._upload.add(piece.encode() if isinstance(piece, str) else piece)
        self._upload.complete = not piece
        return piece


def _is_repeated(retries: Any, method: str, url: str, error: Exception, pool: Any) -> bool:
    """Whether urllib3 will try again after this failure: then no layer above will tell of it."""
    urllib3 = sys.modules["urllib3"]
    met: Exception = error
    if not isinstance(error, urllib3.exceptions.HTTPError):
        met = urllib3.exceptions.ProtocolError("Connection aborted.", error)
    try:
        retries.increment(method, url, error=met, _pool=pool)
    except Exception:  # noqa: BLE001 (it gives up)
        return False
    return True


# -- responses -------------------------------------------------------------------------------------------------------


def _watch(exchange: Exchange, raw: Any) -> bool:
    exchange.head(_head(raw))
    if all(hasattr(raw, name) for name in ("_fp_read", "_handle_chunk", "_error_catcher")):
        raw.recorder_exchange = exchange
        raw.__class__ = mixed(_Noting, cast(Any, type(raw)))
    else:
        exchange.lost(_OTHER)
    return True


def _head(raw: Any) -> Head:
    """The head as received. urllib3 groups headers by name, http.client keeps their order."""
    message = getattr(getattr(raw, "_original_response", None), "msg", None)
    headers = raw.headers if message is None else message
    version = _VERSIONS.get(getattr(raw, "version", 11), "HTTP/1.1")
    return Head(raw.status, raw.reason or "", version, header_list(headers.items()))


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


# -- for azure-core --------------------------------------------------------------------------------------------------


class OwnSession:
    """A session whose adapters are ours."""

    __slots__ = ("recorder_adapter",)

    recorder_adapter: Callable[[Any], Any]

    def get_adapter(self, url: Any) -> Any:
        return self.recorder_adapter(cast(Any, super()).get_adapter(url))


def sessions(call: Call) -> Callable[[Any], Any]:
    """What gives a session that records for this call, in place of another: the caller tells of failures."""

    def adapter(real: Any) -> Any:
        return guarded(lambda: _sending(real, call)) or real

    def session(real: Any) -> Any:
        if real is None:
            return None
        made = standing_in(OwnSession, real)
        made.recorder_adapter = adapter
        return made

    return session


def _sending(adapter: Any, call: Call) -> Any:
    made = standing_in(_CallAdapter, adapter)
    made.recorder_call = call
    return made


class _CallAdapter:
    """An adapter that sends for a call of which somebody above knows more."""

    __slots__ = ("recorder_call",)

    recorder_call: Call

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        own = guarded(wired, self, call_pool(self.recorder_call, request)) or self
        return behind(self).send(own, request, *args, **options)
