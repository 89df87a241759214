"""One client's connection: heads and bodies read strictly, exchanges one at a time and in order, an end as one is told.

It refuses to know what is served.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final, cast

from .bodies import Decoder, Framing, decoder_of, request_framing
from .closing import reset, shut
from .exchange import UNHEARD, Companion, Exchange, Receiver
from .heads import Refused, RequestHead, parse_request

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Connection"]

logger = logging.getLogger("recorder")

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_FIRST_BYTE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z\r]")


class Connection(asyncio.Protocol):
    """One client's connection: heads in, exchanges out, one at a time and in order."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_discarding",
        "_exchange",
        "_over",
        "_paused",
        "_received",
        "_receiver",
        "_running",
        "_scanned",
        "_server",
        "_timer",
        "_transport",
        "_tunnelled",
        "companion",
        "uploaded",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = _NO_TRANSPORT
        #: What came and was not looked at yet; how much of it was searched for the end of a head.
        self._buffer = bytearray()
        self._scanned = 0
        self._exchange: Exchange | None = None
        self._receiver: Receiver = UNHEARD
        self._decoder: Decoder | None = None
        self._received = 0
        #: Whether the current request has come whole; whether its response was finished.
        self.uploaded = True
        self._over = False
        self._running = self._discarding = self._paused = self._tunnelled = False
        self._timer: asyncio.TimerHandle | None = None
        #: What the application keeps beside the connection.
        self.companion: Companion | None = None

    # -- what the loop calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses
        self._transport.set_write_buffer_limits(high=self._server.limits.write_high)
        if self._server.admit(self):
            self._start_timer()
        else:
            self._refuse(Refused(503, "too many connections are open; try again"))

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        if self._tunnelled:
            self._receiver.body(data)
            return
        try:
            if self._decoder is not None and not self._buffer:
                data = self._take_body(data)
        except Refused as refusal:
            self._refuse(refusal)
            return
        if data:
            self._buffer += data
            self._proceed()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._stop_timer()
        self._server.forget(self)
        companion, self.companion = self.companion, None
        if companion is not None:
            companion.client_left()

    def pause_writing(self) -> None:
        self._receiver.pause()

    def resume_writing(self) -> None:
        self._receiver.resume()

    # -- what exchanges call ---------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether the server ends its connections with what is under way."""
        return self._server.stopping

    @property
    def idle(self) -> bool:
        """Whether no exchange is under way, and nothing of another one has come."""
        return self._exchange is None and not self._buffer

    def close(self) -> None:
        """End a connection over which nothing is under way."""
        self._discarding = True
        self._leave()
        self._transport.close()

    def abort(self) -> None:
        """End it now, whatever is under way."""
        self._discarding = True
        self._leave()
        self._transport.abort()

    def finished(self, exchange: Exchange) -> None:
        if exchange is not self._exchange:
            return
        self._over = True
        if self.uploaded:
            self._next(exchange)
        elif exchange.closes:
            self._part(exchange)

    def cut(self, exchange: Exchange) -> None:
        if exchange is self._exchange:
            self._part(exchange)

    def reset(self, exchange: Exchange) -> None:
        if exchange is self._exchange:
            self._forget_exchange()
            self._discarding = True
            reset(self._transport)

    def tunnel(self, exchange: Exchange) -> None:
        if exchange is not self._exchange:
            return
        self._tunnelled = True
        self._decoder = None
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._receiver.body(data)

    def hold(self, exchange: Exchange, *, paused: bool) -> None:
        if exchange is self._exchange:
            self._pause(paused)

    # -- one exchange after another --------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Take what is buffered as far as it goes. Not entered twice: an answer may be finished while it runs."""
        if self._running:
            return
        self._running = True
        try:
            while self._buffer and not self._discarding:
                if self._decoder is not None:
                    data = bytes(self._buffer)
                    self._buffer.clear()
                    self._buffer += self._take_body(data)
                elif self._exchange is not None:
                    if self._exchange.unframed:  # the client saw an end where we saw none: this cannot go on
                        self.abort()
                    elif len(self._buffer) > self._server.limits.pipelined:
                        self._pause(True)
                    break
                elif not self._take_head():
                    break
        except Refused as refusal:
            self._refuse(refusal)
        finally:
            self._running = False

    def _take_head(self) -> bool:
        """Begin the next exchange. False where its head has not come whole. Raises Refused."""
        buffer, limits = self._buffer, self._server.limits
        if not self._scanned and buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: one empty line before is ignored
            del buffer[:2]
        found = _HEAD_END.search(buffer, max(0, self._scanned - 3))
        if found is None:
            self._check_start(buffer)
            self._scanned = len(buffer)
            self._start_timer()
            return False
        end, line_ends = found.start(), found[0]
        if end > limits.head_bytes:
            raise Refused(431, "the head is too large")
        block = bytes(buffer[:end])
        del buffer[: end + len(line_ends)]
        self._scanned = 0
        self._stop_timer()
        if line_ends != b"\r\n\r\n":
            raise Refused(400, "a line does not end in CRLF")
        head = parse_request(block, most_fields=limits.fields, longest_target=limits.target)
        self._begin(head)
        return True

    def _check_start(self, buffer: bytearray) -> None:
        """What can never become a head is refused before all of it has come. Raises Refused."""
        limits = self._server.limits
        if buffer and _FIRST_BYTE.match(buffer) is None:
            raise Refused(400, "this is not HTTP/1.1")
        if len(buffer) > limits.target + 64 and b"\n" not in buffer[: limits.target + 64]:
            raise Refused(414, "the request target is too long")
        if len(buffer) > limits.head_bytes:
            raise Refused(431, "the head is too large")

    def _begin(self, head: RequestHead) -> None:
        server = self._server
        framing, size = request_framing(head)
        _check_options(head)
        if server.gate is not None:
            server.gate.check(head)
        if server.limits.body is not None and size > server.limits.body:
            raise Refused(413, "the body is too large")
        exchange = self._exchange = Exchange(self, head, framing, self._transport)
        self._decoder = decoder_of(framing, size, strict=True)
        self._received = 0
        self.uploaded = self._decoder is None
        self._over = False
        server.busy(self)
        try:
            receiver = server.application(exchange)
        except Refused as refusal:
            exchange.refuse(refusal)
            return
        except Exception:  # a defect of ours must be heard of, and must not stay with other connections
            logger.exception("recorder failed on its own; this connection ends")
            self.abort()
            return
        if self._exchange is exchange:
            self._receiver = receiver
            if self.uploaded:
                receiver.complete(())

    def _take_body(self, data: bytes) -> bytes:
        """Hand on what belongs to the current request's body; gives what comes behind it. Raises Refused."""
        decoder = self._decoder
        assert decoder is not None
        pieces, end = decoder.feed(data)
        most = self._server.limits.body
        for piece in pieces:
            self._received += len(piece)
            if most is not None and self._received > most:
                raise Refused(413, "the body is too large")
            self._receiver.body(piece)
        if decoder.problem is not None:
            raise Refused(400, "the chunks or the trailers of the body are malformed")
        if end < 0 or self._discarding:
            return b""
        self._decoder = None
        self.uploaded = True
        exchange = self._exchange
        self._receiver.complete(decoder.trailers)
        if self._over and exchange is not None and exchange is self._exchange:
            self._next(exchange)
        return data[end:]

    def _next(self, exchange: Exchange) -> None:
        """The exchange is over on both sides."""
        if exchange.closes:
            self._part(exchange)
            return
        self._forget_exchange()
        self._server.waits(self)
        self._pause(False)
        if self._buffer:
            self._proceed()

    def _forget_exchange(self) -> None:
        self._exchange = None
        self._decoder = None
        self._receiver = UNHEARD
        self.uploaded = True

    def _part(self, exchange: Exchange) -> None:
        """Send a FIN, and read on until the client has gone: unread bytes would turn it into a RST on its way."""
        self._forget_exchange()
        self._discarding = True
        self._pause(False)
        if shut(self._transport):
            self._stop_timer()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._server.limits.linger_seconds, self._transport.close)

    def _leave(self) -> None:
        """The client has gone, or is to go."""
        receiver = self._receiver
        self._forget_exchange()
        self._tunnelled = False
        receiver.lost()

    def _refuse(self, refusal: Refused) -> None:
        """Answer a request that could not be read, and end the connection: what follows cannot be trusted."""
        exchange = self._exchange
        begun = exchange is not None and exchange.begun
        receiver = self._receiver
        self._forget_exchange()
        self._stop_timer()
        receiver.lost()
        if begun:
            self._discarding = True
            self._transport.abort()
            return
        self._server.refused(refusal)
        exchange = self._exchange = Exchange(self, _UNREAD, Framing.NONE, self._transport)
        exchange.refuse(refusal)

    # -- small things ----------------------------------------------------------------------------------------------

    def _pause(self, paused: bool) -> None:
        if paused is not self._paused and not self._transport.is_closing():
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _start_timer(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._server.limits.head_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._buffer:
            self._refuse(Refused(408, "the head took too long"))
        else:
            self.close()


#: What a `Connection` header must not take away from a request.
_NOT_A_HOPS: Final = frozenset({"host", "content-length", "transfer-encoding", "authorization"})


def _check_options(head: RequestHead) -> None:
    """Raises Refused for what one hop must not ask of the next."""
    if any(word != "100-continue" for word in head.tokens("expect")):
        raise Refused(417, "the only expectation met is 100-continue")
    if not _NOT_A_HOPS.isdisjoint(head.tokens("connection")):
        raise Refused(400, "the Connection header names a header that is not its own")


_NO_TRANSPORT: Final = asyncio.Transport()
#: Stands for a request that could not be read.
_UNREAD: Final = RequestHead("GET", "/", "1.1", (("connection", "close"),))
