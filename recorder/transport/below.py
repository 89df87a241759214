"""One call on its way through a client that is a stack of layers, told to a tap as each layer sees it.

requests stands on urllib3 and http.client, aiohttp's session on its requests and connections, azure-core on either. A
call may send several requests: redirects, repetitions; each is an exchange of its own. Bytes are noted at the bottom,
below content decoding. A failure is noted by the exception that comes out on top, with what caused it below. Nothing
here raises for recorder's own sake; no client library is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import Any
from uuid import UUID

from recorder.errors import ReplayMiss
from recorder.recording import Captured, Head, HeaderList, Request, Transport
from recorder.writer import Tap

from .caller import call_of
from .chains import ending
from .exchange import Sink, begin, describe, guarded

__all__ = ["Call", "Choose", "Exchange", "always", "behind", "header_list", "mixed", "standing_in"]

#: For the URL of a request: who records it, and the largest streamed body that is kept; None: nobody does.
Choose = Callable[[Any], tuple[Sink, int] | None]


def always(sink: Sink, body_limit: int) -> Choose:
    """Whatever the URL is."""
    return lambda _: (sink, body_limit)


class _Above:
    """What the exchanges of a call know of it. They do not hold the call: dropping a response must end its exchange."""

    __slots__ = ("call", "context", "watched")

    def __init__(self, call: UUID | None) -> None:
        self.call = call
        #: Whether somebody above waits for what the layers below do, and will tell of the exception that comes out.
        self.watched = True
        # The layers below may run in another thread, which has no context of its own.
        self.context = copy_context()


class Call:
    """What is known of one call, from the first layer to the last.

    `choose` says of each request who records it. `call` names the call where that is known already. `unsent` gives the
    request of a call that fails before any layer below sees one.
    """

    def __init__(
        self, choose: Choose, *, call: UUID | None = None, unsent: Callable[[], tuple[Any, Request]] | None = None
    ) -> None:
        self.last: Exchange | None = None
        self._choose = choose
        self._unsent = unsent
        self._tried = False
        self._above = _Above(call)

    @property
    def watched(self) -> bool:
        return self._above.watched

    @watched.setter
    def watched(self, watched: bool) -> None:
        self._above.watched = watched

    @property
    def named(self) -> UUID | None:
        """What links the exchanges of this call, once one has begun."""
        return self._above.call

    @property
    def recorded(self) -> bool:
        """Whether anybody wants to know the rest."""
        return self.last is not None and self.last.recorded

    def attempt(self, url: Any, ask: Callable[[], Request] | None = None) -> Exchange | None:
        """A request is about to go out; None where nobody records it. `ask` gives it, should it fail before `begin`."""
        if self.last is not None:
            self.last.settle()
        self._tried = True
        chosen = self._choose(url)
        self.last = None if chosen is None else Exchange(*chosen, self._above, ask)
        return self.last

    def failed(self, error: BaseException) -> None:
        """This came out on top."""
        if isinstance(error, ReplayMiss):
            return  # it never went out
        if not self._tried and self._unsent is not None:
            guarded(self._begin_unsent, self._unsent)
        if self.last is not None:
            self.last.failed(error)

    def _begin_unsent(self, unsent: Callable[[], tuple[Any, Request]]) -> None:
        """No layer below saw a request: its URL is wrong, its body is no body, its proxy does not answer."""
        url, asked = unsent()
        exchange = self.attempt(url)
        if exchange is not None:
            exchange.begin(asked)

    def closed(self) -> None:
        """The client let go of the response."""
        if self.last is not None:
            self.last.closed()


class Exchange:
    """One request and what came back. Layers may tell things twice."""

    def __init__(self, sink: Sink, body_limit: int, above: _Above, ask: Callable[[], Request] | None = None) -> None:
        self.body_limit = body_limit
        self._sink = sink
        self._above = above
        self._ask = ask
        self._tap: Tap | None = None
        self._sent: HeaderList = ()
        self._begun = self._answered = self._broken = False
        self._pending: tuple[str, dict[str, Any]] | None = None

    @property
    def recorded(self) -> bool:
        """Whether anybody wants to know the rest."""
        return self._tap is not None

    @property
    def begun(self) -> bool:
        """Whether the request is known."""
        return self._begun

    def begin(self, asked: Request, begun: tuple[int, int] | None = None) -> None:
        """The request goes out, as `asked` says; or went out at `begun` (see `exchange.begin`)."""
        self._begun, self._sent = True, asked.headers
        self._ask = None
        if self._above.call is None:
            self._above.call = call_of(asked)
        self._tap = self._above.context.copy().run(begin, self._sink, asked, begun=begun, call=self._above.call)

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
        if not self._above.watched:
            self.failed(error)

    def refused(self, error: BaseException) -> None:
        """No response came to this attempt: that stands, should the layers above make another one of it."""
        if self._tap is not None and not self._answered:
            self._pending = self._told(error)

    def settle(self) -> None:
        """The layers above go on with another attempt."""
        if self._tap is not None and self._pending is not None:
            how, detail = self._pending
            self._tap.end(how, detail=detail)

    def failed(self, error: BaseException) -> None:
        """This came out on top. What no layer below has met is the client's own affair: it leaves, or goes on."""
        if not self._begun and self._ask is not None:
            guarded(lambda ask: self.begin(ask()), self._ask)
        if self._tap is None or (self._answered and not self._broken):
            return
        how, detail = self._told(error)
        self._tap.end(how, detail=detail)

    def _told(self, error: BaseException) -> tuple[str, dict[str, Any]]:
        how = guarded(lambda: ending(error, answered=self._answered)) or Transport.ERROR
        if how is Transport.CLIENT_CLOSED:
            return how, {}
        return how, guarded(describe, error, self._sent) or {}

    def __del__(self) -> None:
        self.settle()
        self.closed()  # dropped without a close


def header_list(items: Any) -> HeaderList:
    """Pairs of names and values, text or bytes, as they go over the wire."""
    return tuple((_latin(name), _latin(value)) for name, value in items)


def _latin(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


@cache
def mixed(part: Any, kind: Any) -> type[Any]:
    """The class with that part in front of it, under its own name."""
    own = {"__slots__": (), "__module__": __name__, "__doc__": kind.__doc__, "recorder_behind": kind}
    return type(kind.__name__, (part, kind), own)


def behind(made: Any) -> Any:
    """The class of an object without the part that `mixed` has put in front of it."""
    return getattr(type(made), "recorder_behind", type(made))


def standing_in(part: Any, real: Any, state: dict[str, Any] | None = None) -> Any:
    """An object of the same class and with the same state as another, with that part in front of its class.

    A part that is there already gives way.
    """
    made = object.__new__(mixed(part, behind(real)))
    object.__setattr__(made, "__dict__", real.__dict__ if state is None else state)
    return made
