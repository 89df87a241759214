"""One exchange on its way: the client's request to the upstream, and what comes back to the client, as it comes.

What the upstream does to its connection is done to the client's: a clean end, a FIN in the middle, a reset, a head that
nobody can read. There is no answer of our own once a request is forwarded, and no timeout. Bytes go to the client
first, and into the record after that. It refuses to know the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recorder.recording import Head, HeaderList, Transport
from recorder.wire import (
    OUR_HEADERS,
    Connection,
    Exchange,
    Failure,
    Framing,
    Link,
    Origin,
    Pool,
    ProtocolError,
    chunk,
    last_chunk,
    write_fields,
)

from .routes import Route
from .tape import Tape

if TYPE_CHECKING:
    from .service import Service

logger = logging.getLogger("recorder")

__all__ = ["Forward", "Links", "request_head"]

#: What one hop says to the next. (`Transfer-Encoding` stays: the body is framed anew in the same way.)
_HOP: Final = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"})

#: Bytes of a request's body that wait until the upstream is connected, before the client is asked to pause.
_WAITING: Final = 256 << 10

#: Seconds that a head waits for the first piece of its body. It usually comes along; a client whose request breaks off
#: in the middle (because the upstream cannot be reached, say) tells another error than one that waits for the answer.
_PATIENCE: Final = 0.05


def request_head(exchange: Exchange, route: Route, target: str) -> bytes:
    """The head that the upstream gets: the client's, in order and spelling, but for the hop's own headers and ours."""
    head = exchange.head
    options = head.tokens("connection")
    drop = _HOP.union(options)
    upgrade = "upgrade" in options and head.tokens("upgrade") == ["websocket"]
    if upgrade:
        drop -= {"upgrade", "connection"}
    headers = []
    for name, value in head.headers:
        lower = name.lower()
        if lower == "host":
            headers.append((name, route.origin.authority))
        elif lower == "connection" and upgrade:
            headers.append((name, "Upgrade"))
        elif lower not in drop and not lower.startswith(OUR_HEADERS):
            headers.append((name, value))
    if head.get("host") is None:
        headers.insert(0, ("Host", route.origin.authority))
    return f"{head.method} {target} HTTP/1.1\r\n".encode("ascii") + write_fields(headers) + b"\r\n"


class Links:
    """The links that belong to one client's connection: as long as it lives, its requests go over the same ones.

    So the client sees of an upstream's keep-alive what it would see without us: where the upstream closes an idle
    connection, so do we. What is left when the client leaves goes to the pool.
    """

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._idle: dict[Origin, Link] = {}

    @classmethod
    def of(cls, pool: Pool, connection: Connection) -> Links:
        """Those of this connection."""
        if not isinstance(connection.companion, cls):
            connection.companion = cls(pool, connection)
        assert isinstance(connection.companion, cls)
        return connection.companion

    def take(self, origin: Origin) -> Link | None:
        """An idle link to this origin: this client's, or one that nobody owns."""
        link = self._idle.pop(origin, None)
        return link if link is not None and link.open else self._pool.take(origin)

    def keep(self, link: Link) -> None:
        """The exchange over this link is over on both sides."""
        if not link.release():
            return
        if self._connection.companion is self and link.origin not in self._idle:
            link.owner = self
            self._idle[link.origin] = link
        else:
            self._pool.put(link)

    def link_lost(self, link: Link) -> None:
        """The upstream closed an idle connection."""
        if self._idle.get(link.origin) is link:
            del self._idle[link.origin]
        if self._connection.idle:
            self._connection.close()

    def client_left(self) -> None:
        """The client closed its connection."""
        links, self._idle = self._idle, {}
        for link in links.values():
            self._pool.put(link)


class Forward:
    """Receives from the client and from the upstream, and hands on to the other."""

    __slots__ = (
        "_begun",
        "_drain",
        "_exchange",
        "_gone",
        "_head",
        "_held",
        "_link",
        "_links",
        "_over",
        "_plain",
        "_route",
        "_service",
        "_tape",
        "_task",
        "_uploaded",
        "_waiting",
        "_waiting_size",
    )

    def __init__(self, service: Service, exchange: Exchange, route: Route, target: str, tape: Tape) -> None:
        self._service = service
        self._exchange = exchange
        self._route = route
        self._tape = tape
        self._links = Links.of(service.pool, exchange.connection)
        self._head = request_head(exchange, route, target)
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        #: What of the request waits for the upstream's connection.
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        #: begun: forwarding began. uploaded: the request has passed. over: the response has ended, one way or another.
        #: gone: the client has. held: the client was asked to pause. plain: the client gets the body without chunks.
        self._begun = self._uploaded = self._over = self._gone = self._held = self._plain = False
        self._drain = service.drain
        service.begins(self)
        if exchange.head.get("expect") is not None:
            self._soon()
        elif exchange.framing is not Framing.NONE:
            asyncio.get_running_loop().call_soon(self._wait)

    # -- from the client -------------------------------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        if self._uploaded:  # a tunnel
            self._to_upstream(data)
            return
        self._tape.sent(data)
        self._to_upstream(chunk(data) if self._exchange.framing is Framing.CHUNKED else data)
        if not self._begun:
            self._soon()

    def complete(self, trailers: HeaderList) -> None:
        self._uploaded = True
        if not self._over:
            self._tape.uploaded()
        if self._exchange.framing is Framing.CHUNKED:
            self._to_upstream(last_chunk(trailers))
        self._begin()
        if self._over:
            self._give_back()

    def lost(self) -> None:
        self._gone = True
        if self._over:
            self._drop()
        elif self._drain and self._uploaded and self._begun:
            if self._link is not None:
                self._link.resume()
        else:
            self._tape.end(Transport.CLIENT_CLOSED)
            self._stop()

    def pause(self) -> None:
        if self._link is not None and not self._over:
            self._link.pause()

    def resume(self) -> None:
        if self._link is not None and not self._over:
            self._link.resume()

    # -- to the upstream -------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """What came with the head is in; wait a little for the first piece of the body."""
        if not self._begun:
            asyncio.get_running_loop().call_later(_PATIENCE, self._begin)

    def _soon(self) -> None:
        """Begin once what came with this is in: where it is the whole request, its record begins before it is sent."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self._begun or self._over:
            return
        self._begun = True
        link = self._links.take(self._route.origin)
        if link is not None:
            self._send(link)
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            link = await self._service.pool.connect(self._route.origin)
        except OSError as error:
            self._task = None
            self.broken(Failure(Transport.CONNECT_ERROR, error, reset=True))
            return
        except Exception as error:
            logger.exception("recorder failed on its own; this exchange ends")
            self._task = None
            self.broken(Failure(Transport.ERROR, error, reset=True))
            return
        self._task = None
        self._send(link)

    def _send(self, link: Link) -> None:
        self._link = link
        waiting, self._waiting = [self._head, *self._waiting], []
        self._head = b""
        link.send(self, self._exchange.head.method, b"".join(waiting))
        self._let_go()

    def _to_upstream(self, data: bytes) -> None:
        if self._link is not None:
            self._link.write(data)
        elif not self._over:
            self._waiting.append(data)
            self._waiting_size += len(data)
            if self._waiting_size > _WAITING:
                self.hold_body()

    def hold_body(self) -> None:
        if not self._held:
            self._held = True
            self._exchange.pause_body()

    def continue_body(self) -> None:
        if self._link is not None:
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self._exchange.resume_body()

    # -- from the upstream -----------------------------------------------------------------------------------------

    def info(self, head: Head) -> None:
        if not self._gone:
            self._exchange.info(head)
        self._tape.info(head)

    def head(self, head: Head, framing: Framing) -> None:
        if not self._gone:
            self._plain = self._exchange.respond(head, framing) is not framing
        self._tape.head(head)
        if head.status == 101:
            self._tape.tunnelled()
            self._drain = False
            self._exchange.tunnel()

    def data(self, raw: bytes, pieces: Sequence[bytes]) -> None:
        if not self._gone:
            self._exchange.write(b"".join(pieces) if self._plain else raw)
        self._tape.pieces(pieces)

    def malformed(self, error: ProtocolError) -> None:
        self._exchange.raw()
        self._tape.failed(Transport.PROTOCOL_ERROR, error)

    def raw(self, data: bytes) -> None:
        if not self._gone:
            self._exchange.write(data)

    def ended(self, trailers: HeaderList) -> None:
        self._tape.end(Transport.EOF, trailers=trailers, left=self._gone)
        self._finish()
        if self._gone:
            self._drop()
        else:
            if self._uploaded:
                self._give_back()
            elif self._exchange.closes:  # nobody waits for the rest of the request
                self._drop()
            self._exchange.finish()

    def broken(self, failure: Failure) -> None:
        self._tape.failed(failure.kind, failure.error)
        self._finish()
        self._drop()
        if self._gone:
            return
        if failure.reset:
            self._exchange.reset()
        else:
            self._exchange.cut()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._service.ends(self)

    def _give_back(self) -> None:
        """Both directions are over: the link may carry another exchange."""
        link, self._link = self._link, None
        if link is not None:
            self._links.keep(link)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _stop(self) -> None:
        """Let go of the upstream at once."""
        self._finish()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._drop()

    def interrupt(self) -> None:
        """We are being stopped: end both sides now."""
        self._stop()
        if not self._gone:
            self._exchange.connection.abort()
