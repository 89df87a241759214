"""The side towards upstreams: connections that are read tolerantly, kept while that is safe, and watched to their end.

A `Link` carries one request at a time and tells an `Answer` what comes back: heads, the body's bytes as they came
together with the pieces in them, the end, or how it broke. What no HTTP client would understand is handed on as it is.
There is no timeout here: whoever waits decides how long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, cast

from recorder.recording import Head, HeaderList, Transport

from .bodies import Decoder, Framing, decoder_of, response_framing
from .connecting import Dialer, Origin
from .heads import Malformed, parse_response, tokens

__all__ = ["Answer", "Failure", "Link", "Owner", "Pool", "ProtocolError"]

#: A head above this is no head: HTTP clients give up earlier.
_LONGEST_HEAD: Final = 256 << 10
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_START: Final = b"HTTP/1."


class ProtocolError(Exception):
    """The upstream broke HTTP: an early end, a bad chunk, a head that nobody can read."""


class Failure(NamedTuple):
    """How an exchange with an upstream broke.

    kind: one of `recorder.recording.Transport`. reset: by a RST (or an error of the connection) rather than a FIN.
    """

    kind: Transport
    error: BaseException
    reset: bool


class Answer(Protocol):
    """Who is told what comes back over a Link. The first of `ended` and `broken` is the last call but for `raw`."""

    def info(self, head: Head) -> None:
        """A 1xx answer, other than 101."""

    def head(self, head: Head, framing: Framing) -> None:
        """The response's head. After a 101, bytes come by `raw`."""

    def data(self, raw: bytes, pieces: Sequence[bytes]) -> None:
        """A part of the body: the bytes as they came, framing and all, and the pieces of the body in them."""

    def malformed(self, error: ProtocolError) -> None:
        """From here on it is no HTTP that we understand: bytes come by `raw`, until the connection ends."""

    def raw(self, data: bytes) -> None:
        """Bytes as they came."""

    def ended(self, trailers: HeaderList) -> None:
        """The response is complete."""

    def broken(self, failure: Failure) -> None:
        """The connection ended before the response did."""

    def hold_body(self) -> None:
        """The upstream takes the request's body more slowly than it is written."""

    def continue_body(self) -> None:
        """It has taken most of it."""


class Link(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = (
        "_answer",
        "_buffer",
        "_closed",
        "_decoder",
        "_expiry",
        "_keeps",
        "_method",
        "_pool",
        "_raw",
        "_transport",
        "origin",
        "owner",
    )

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.origin = origin
        #: Who is told when the connection ends while nothing is under way.
        self.owner: Owner | None = None
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._decoder: Decoder | None = None
        self._buffer = b""
        self._method = ""
        self._keeps = True
        self._raw = self._closed = False
        self._expiry: asyncio.TimerHandle | None = None

    # -- what the application calls --------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether the connection is there."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, answer: Answer, method: str, head: bytes) -> None:
        """Begin a request. Its body, framed as the head says, follows by `write`."""
        assert self._transport is not None
        self._answer = answer
        self._method = method
        self._transport.write(head)

    def write(self, data: bytes) -> None:
        """More of the request's body."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Read nothing for now."""
        if self.open:
            assert self._transport is not None
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.open:
            assert self._transport is not None
            self._transport.resume_reading()

    def release(self) -> bool:
        """Request and response are both over. False where the connection cannot carry another one: it is closed."""
        self._answer = None
        if self._keeps and self.open:
            return True
        self.close()
        return False

    def close(self) -> None:
        """End the connection; nobody is told."""
        self._answer = self.owner = None
        self._closed = True
        self._stop_expiry()
        self._pool.closed(self)  # uvloop does not say so where connecting was cancelled
        if self._transport is not None:
            self._transport.abort()

    def expire(self, seconds: float) -> None:
        """Close the connection unless it is taken up again within that time."""
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expired)

    def take_up(self) -> None:
        """It is used again."""
        self._stop_expiry()

    # -- what the loop calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses
        if self._closed:  # whoever asked for it has gone
            made.abort()
        else:
            self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        answer, decoder = self._answer, self._decoder
        if answer is None:
            self._unasked()
        elif decoder is None:
            self._before_body(answer, data)
        else:
            pieces, end = decoder.feed(data)
            if end < 0:
                answer.data(data, pieces)
                if decoder.problem is not None:
                    self._garbled(answer, decoder.problem)
            else:
                rest = len(data) - end
                answer.data(data[:end] if rest else data, pieces)
                self._finish(answer, decoder.trailers, surplus=rest > 0)

    def eof_received(self) -> bool:
        answer = self._answer
        self._keeps = False
        if answer is None:
            self._unasked()
        elif self._decoder is not None and self._decoder.missing is None and self._decoder.problem is None:
            self._finish(answer, (), surplus=False)
        else:
            self._flush(answer)
            self._break(answer, Failure(Transport.PROTOCOL_ERROR, ProtocolError(self._early()), reset=False))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.closed(self)
        self._stop_expiry()
        answer = self._answer
        if answer is not None:
            self._flush(answer)
            error = exc or ConnectionResetError("the connection was lost")
            self._break(answer, Failure(Transport.RESET, error, reset=True))
        elif self.owner is not None:
            self._unasked()

    def pause_writing(self) -> None:
        if self._answer is not None:
            self._answer.hold_body()

    def resume_writing(self) -> None:
        if self._answer is not None:
            self._answer.continue_body()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _before_body(self, answer: Answer, data: bytes) -> None:
        if self._raw:
            answer.raw(data)
            return
        self._buffer += data
        while self._take_head(answer):
            if self._answer is None:  # it closed the link
                return
        if self._buffer and self._has_body():
            data, self._buffer = self._buffer, b""
            self.data_received(data)

    def _has_body(self) -> bool:
        return self._decoder is not None

    def _take_head(self, answer: Answer) -> bool:
        """Read the next head in the buffer. False where there is none, or no more is to be read as heads."""
        buffer = self._buffer
        found = _HEAD_END.search(buffer)
        if found is None or found.start() > _LONGEST_HEAD:
            if not buffer.startswith(_START[: len(buffer)]):
                first = buffer.partition(b"\n")[0].removesuffix(b"\r")
                self._garbled(answer, f"illegal status line: {bytearray(first)!r}")
            elif len(buffer) > _LONGEST_HEAD:
                self._garbled(answer, "Receive buffer too long")
            return False
        try:
            head = parse_response(buffer[: found.start()])
            framing, size = response_framing(head, self._method)
        except Malformed as error:
            self._garbled(answer, str(error))
            return False
        self._buffer = buffer[found.end() :]
        if head.status < 200 and head.status != 101:
            answer.info(head)
            return True
        self._begin_body(answer, head, framing, size)
        return False

    def _begin_body(self, answer: Answer, head: Head, framing: Framing, size: int) -> None:
        if head.http_version != "HTTP/1.1" or "close" in tokens(head.headers, "connection"):
            self._keeps = False
        self._decoder = decoder_of(framing, size)
        answer.head(head, framing)
        if self._answer is None:  # it closed the link
            return
        if head.status == 101:
            self._raw, self._keeps = True, False
            self._flush(answer)
        elif self._decoder is None:
            surplus, self._buffer = bool(self._buffer), b""
            self._finish(answer, (), surplus=surplus)

    def _garbled(self, answer: Answer, problem: str) -> None:
        self._raw, self._keeps = True, False
        self._decoder = None
        answer.malformed(ProtocolError(problem))
        self._flush(answer)

    def _flush(self, answer: Answer) -> None:
        """Hand on what was taken for the beginning of a head, and is none or will not be whole."""
        data, self._buffer = self._buffer, b""
        if data and self._answer is answer:
            answer.raw(data)

    def _finish(self, answer: Answer, trailers: HeaderList, *, surplus: bool) -> None:
        self._answer = self._decoder = None
        self._keeps = self._keeps and not surplus
        answer.ended(trailers)

    def _break(self, answer: Answer, failure: Failure) -> None:
        self._answer = self._decoder = None
        self._keeps = False
        answer.broken(failure)

    def _early(self) -> str:
        """What an early end is called; the words are those of HTTP clients."""
        if self._decoder is None:
            return "Server disconnected without sending a response."
        return self._decoder.missing or ""

    def _unasked(self) -> None:
        """Bytes or an end while nothing is under way: the connection is of no more use."""
        self._keeps = False
        owner, self.owner = self.owner, None
        self._pool.drop(self)
        self.close()
        if owner is not None:
            owner.link_lost(self)

    def _expired(self) -> None:
        self._expiry = None
        self._unasked()

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


class Owner(Protocol):
    """Who keeps an idle link."""

    def link_lost(self, link: Link) -> None:
        """It ended."""


class Pool:
    """The links to all upstreams, and those that nobody uses for the moment: one stack for each origin.

    `idle_seconds`: how long a link without an owner is kept. Short, because a request that is sent while the upstream
    closes an idle connection fails, and the client's own connection is as fresh as it could wish.
    """

    def __init__(self, dialer: Dialer | None = None, *, idle_seconds: float = 4.0) -> None:
        self._dialer = dialer or Dialer()
        self._idle_seconds = idle_seconds
        self._idle: dict[Origin, list[Link]] = {}
        self._links: set[Link] = set()

    def take(self, origin: Origin) -> Link | None:
        """An idle link to this origin, the one used last."""
        idle = self._idle.get(origin)
        while idle:
            link = idle.pop()
            link.take_up()
            if link.open:
                return link
        return None

    def put(self, link: Link) -> None:
        """Keep a link that was released, for a while."""
        link.owner = None
        if link.open:
            self._idle.setdefault(link.origin, []).append(link)
            link.expire(self._idle_seconds)

    async def connect(self, origin: Origin) -> Link:
        """A new link. Raises OSError (refused, unreachable, DNS, TLS, proxy)."""
        made: list[Link] = []

        def make() -> Link:
            made.append(Link(self, origin))
            return made[-1]

        try:
            return await self._dialer.dial(origin, make)
        except BaseException:  # also where the one who asked is cancelled just as the connection is there
            for link in made:
                link.close()
            raise

    @property
    def links(self) -> int:
        """How many connections to upstreams are open."""
        return len(self._links)

    def close(self) -> None:
        """Close all links, whatever is under way."""
        for link in list(self._links):
            link.close()
        self._idle.clear()

    # -- what links call -------------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A connection is there."""
        self._links.add(link)

    def closed(self, link: Link) -> None:
        """A connection has ended."""
        self._links.discard(link)

    def drop(self, link: Link) -> None:
        """An idle link is of no more use."""
        idle = self._idle.get(link.origin)
        if idle and link in idle:
            idle.remove(link)
