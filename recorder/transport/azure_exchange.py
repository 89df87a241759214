"""One request on its way through an azure-core transport, told to a tap as each layer sees it.

An azure-core transport is a stack: azure's own class, below it the session of requests or aiohttp, below that the
connection. Bytes are noted at the bottom, below content decoding. A failure is noted by the exception that comes out on
top, with what caused it below. Nothing here raises for recorder's own sake; neither library is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import Any, Final, Self, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from recorder.recording import Captured, Head, HeaderList, Request, Transport, uuid7
from recorder.writer import Tap

from .azure_faults import described, ending
from .exchange import Sink, begin, guarded

__all__ = ["Exchange", "header_list", "stand_in", "watch"]

#: azure's request objects -> the call they are attempts of: its retry and redirect policies send the same object again.
_CALLS: Final[WeakKeyDictionary[Any, UUID]] = WeakKeyDictionary()


class Exchange:
    """What is known of one attempt of a request, from the first layer to the last. Layers may tell things twice."""

    def __init__(self, sink: Sink, request: Any, body_limit: int) -> None:
        self.body_limit = body_limit
        #: Whether somebody above waits for what the layers below do, and will tell of the exception that comes out.
        self.watched = True
        self._sink = sink
        self._request = request
        # The layers below may run in another thread, which has no context of its own.
        self._context = copy_context()
        self._tap: Tap | None = None
        self._sent: HeaderList = ()
        self._begun = self._answered = self._broken = False

    @property
    def recorded(self) -> bool:
        """Whether anybody wants to know the rest."""
        return self._tap is not None

    def begin(self, asked: Request, begun: tuple[int, int] | None = None) -> None:
        """The request goes out, as `asked` says; or went out at `begun` (see `exchange.begin`)."""
        self._begun, self._sent = True, asked.headers
        call = _CALLS.setdefault(self._request, uuid7())
        self._tap = self._context.run(begin, self._sink, asked, begun=begun, call=call)

    def head(self, head: Head) -> None:
        """The response's head came."""
        self._answered = True
        if self._tap is not None:
            self._tap.head(head)

    def data(self, chunk: bytes) -> None:
        """The client is about to get these bytes, still encoded."""
        if self._tap is not None and chunk:
            self._tap.data(chunk)

    def eof(self) -> None:
        """The response was read to its end."""
        if self._tap is not None:
            self._tap.end(Transport.EOF)

    def closed(self) -> None:
        """The client let go of the response; where that is because reading failed, `failed` says the rest."""
        if self._tap is not None and not self._broken:
            self._tap.end(Transport.CLIENT_CLOSED)

    def lost(self, reason: str, how: str = Transport.ERROR) -> None:
        """The rest of the response passes by unrecorded."""
        if self._tap is not None:
            self._tap.end(how, captured=Captured.TRUNCATED, detail={"reason": reason})

    def broke(self, error: Exception) -> None:
        """Reading failed at the bottom. The exception is not kept: its traceback would keep the response."""
        self._broken = True
        if not self.watched:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """This came out on top. What no layer below has met is the client's own affair: it leaves, or goes on."""
        if not self._begun:
            guarded(self._begin_unsent)
        if self._tap is None or (self._answered and not self._broken):
            return
        how = guarded(ending, error, answered=self._answered) or Transport.ERROR
        if how is Transport.CLIENT_CLOSED:
            self._tap.end(how)
        else:
            self._tap.end(how, detail=guarded(described, error, self._sent) or {})

    def _begin_unsent(self) -> None:
        """No layer below saw the request: its URL is wrong, its body is no body."""
        request = self._request
        body = getattr(request, "content", None) or b""
        kept = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else None
        headers = header_list(request.headers.items())
        self.begin(Request(request.method, str(request.url), headers, kept, len(kept or b"")))

    def __del__(self) -> None:
        self.closed()  # dropped without a close


def header_list(items: Any) -> HeaderList:
    """Pairs of names and values, text or bytes, as they go over the wire."""
    return tuple((_latin(name), _latin(value)) for name, value in items)


def _latin(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


# -- standing in for a transport -----------------------------------------------------------------------------------


class _StandIn:
    """A transport of the same class and with the same state as another, whose `session` is one of ours."""

    __slots__ = ("recorder_session",)

    __dict__: dict[str, Any]
    recorder_session: Callable[[Any], Any]

    @property
    def session(self) -> Any:
        return self.recorder_session(self.__dict__.get("session"))

    @session.setter
    def session(self, session: Any) -> None:
        self.__dict__["session"] = session


def stand_in(transport: Any, state: dict[str, Any], session: Callable[[Any], Any]) -> Any:
    """A transport that does what `transport` does with `state`, over `session(the session that is there, or None)`.

    So azure's own code makes the request, reads what is not streamed, and turns exceptions into its own.
    """
    made = object.__new__(_stand_in_class(cast(Any, type(transport))))
    made.recorder_session = session
    made.__dict__ = state
    return made


@cache
def _stand_in_class(kind: Any) -> type[Any]:
    return type(kind.__name__, (_StandIn, kind), {"__slots__": (), "__module__": __name__})


# -- watching a stream from above -------------------------------------------------------------------------------------


def watch(response: Any, exchange: Exchange) -> None:
    """See which exceptions come out of a response that is streamed."""
    exchange.watched = False
    make = getattr(response, "_stream_download_generator", None)
    if not exchange.recorded or make is None:
        return
    kind = _AsyncWatched if hasattr(make, "__anext__") else _Watched

    def watched(*args: Any, **options: Any) -> Any:
        return kind(make(*args, **options), exchange)

    response._stream_download_generator = watched


class _WatchedBase:
    """A stream that is read once: where it is dropped, nobody reads the rest, though aiohttp's response may live on."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __len__(self) -> int:
        return len(self._stream)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self) -> None:
        self._exchange.closed()


class _Watched(_WatchedBase):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._exchange.watched = True
        try:
            chunk: bytes = next(self._stream)
        except StopIteration:
            raise
        except BaseException as error:
            self._exchange.failed(error)
            raise
        finally:
            self._exchange.watched = False
        return chunk


class _AsyncWatched(_WatchedBase):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._exchange.watched = True
        try:
            chunk: bytes = await self._stream.__anext__()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._exchange.failed(error)
            raise
        finally:
            self._exchange.watched = False
        return chunk
