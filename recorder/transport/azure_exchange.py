"""What azure-core's transports are besides the sessions below them: whose state they have, and who hears of failures.

An azure-core transport is a stack: azure's own class, below it the session of requests or aiohttp, below that the
connection. Bytes are noted at the bottom, failures by the exception that comes out on top. Nothing here raises for
recorder's own sake; nothing of azure is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, Self, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from recorder.recording import Request, uuid7

from .below import Call, Choose, header_list
from .exchange import Around

__all__ = ["call_of", "stand_in", "watch"]

#: azure's request objects -> the call they are attempts of: its retry and redirect policies send the same object again.
_CALLS: Final[WeakKeyDictionary[Any, UUID]] = WeakKeyDictionary()


def call_of(choose: Choose, request: Any) -> Call:
    """The call of one of azure's requests. It is told of all that comes out on top."""
    return Call(choose, call=_CALLS.setdefault(request, uuid7()), unsent=lambda: (request.url, _asked(request)))


def _asked(request: Any) -> Request:
    """The request as azure has it."""
    body = getattr(request, "content", None) or b""
    kept = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else None
    headers = header_list(request.headers.items())
    return Request(request.method, str(request.url), headers, kept, len(kept or b""))


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


def watch(response: Any, call: Call) -> None:
    """See which exceptions come out of a response that is streamed."""
    call.watched = False
    make = getattr(response, "_stream_download_generator", None)
    if not call.recorded or make is None:
        return
    kind = _AsyncWatched if hasattr(make, "__anext__") else _Watched

    def watched(*args: Any, **options: Any) -> Any:
        return kind(make(*args, **options), call)

    response._stream_download_generator = watched


class _WatchedBase(Around):
    """A stream that is read once: where it is dropped, nobody reads the rest, though aiohttp's response may live on."""

    def __init__(self, stream: Any, call: Call) -> None:
        super().__init__(stream)
        self._call = call

    def __len__(self) -> int:
        return len(self._inner)

    def __del__(self) -> None:
        self._call.closed()


class _Watched(_WatchedBase):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._call.watched = True
        try:
            chunk: bytes = next(self._inner)
        except StopIteration:
            raise
        except BaseException as error:
            self._call.failed(error)
            raise
        finally:
            self._call.watched = False
        return chunk


class _AsyncWatched(_WatchedBase):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._call.watched = True
        try:
            chunk: bytes = await self._inner.__anext__()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._call.failed(error)
            raise
        finally:
            self._call.watched = False
        return chunk
