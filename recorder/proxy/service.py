"""The recording proxy: a server that forwards to an allow-list of upstreams and records every exchange.

Whoever builds it says where recordings go (`Sink`) and what the writer's figures are; it refuses to know the store.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recorder.transport.exchange import BODY_LIMIT, Sink
from recorder.wire import OUR_PATHS, UNHEARD, Dialer, Exchange, Gate, Limits, Pool, Receiver, Refused, Server

from .forward import Forward
from .metrics import Figures, text
from .routes import Routes
from .tape import Calls, Tape

__all__ = ["Service", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the proxy behaves. `drain`: when a client leaves, the rest of the response is read all the same.

    `hosts`: names beside loopback that it answers to. `token`: what X-Recorder-Token must say; None: nothing.
    `ca`: certificates to trust beside the system's. `body_limit`: the largest request body that is kept, in bytes.
    """

    drain: bool = False
    hosts: tuple[str, ...] = ()
    token: str | None = None
    ca: str | None = None
    body_limit: int = BODY_LIMIT
    limits: Limits = field(default_factory=Limits)


class Service:
    """One proxy on one event loop. Raises UsageError for settings that cannot be."""

    def __init__(
        self,
        routes: Routes,
        sink: Sink,
        settings: Settings | None = None,
        *,
        figures: Callable[[], Figures] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.routes = routes
        self.drain = self.settings.drain
        dialer = Dialer(ca=self.settings.ca)
        for route in routes.all:
            dialer.check(route.origin)
        self.pool = Pool(dialer)
        self.requests = 0
        self._sink = sink
        self._figures = figures or Figures
        self._calls = Calls()
        self._open: set[Forward] = set()
        self._idle = asyncio.Event()
        gate = Gate(hosts=self.settings.hosts, token=self.settings.token)
        self.server = Server(self.serve, gate=gate, limits=self.settings.limits, tls=tls)

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """Listen; gives the address. Raises OSError."""
        return await self.server.start(host, port, reuse_port=reuse_port)

    async def stop(self) -> None:
        """Take nothing new, and wait until what is under way has ended."""
        self.server.stop()
        await self.server.drained()
        while self._open:  # read on after their clients had left
            self._idle.clear()
            await self._idle.wait()
        self.pool.close()

    def abort(self) -> None:
        """End everything now. What is under way is recorded as far as it got; its writer says so."""
        for forward in list(self._open):
            forward.interrupt()
        self.server.abort()
        self.pool.close()
        self._idle.set()

    # -- one request -----------------------------------------------------------------------------------------------

    def serve(self, exchange: Exchange) -> Receiver:
        """Who forwards this exchange; it need not have come to this server. Raises Refused."""
        head = exchange.head
        if head.target.startswith(OUR_PATHS):
            self._answer(exchange)
            return UNHEARD
        found = self.routes.find(head.target)
        if found is None:
            mounts = " ".join(f"{route.mount}/" for route in self.routes.all)
            raise Refused(404, f"no upstream is mounted at this path; there are: {mounts}")
        route, target = found
        self.requests += 1
        url = f"{route.origin}{target}"
        limit = self.settings.body_limit
        tape = Tape(self._sink, self._calls, head, url=url, authority=route.origin.authority, body_limit=limit)
        return Forward(self, exchange, route, target, tape)

    def _answer(self, exchange: Exchange) -> None:
        """What we say of ourselves."""
        exchange.check_question()
        path = exchange.head.target.partition("?")[0]
        figures = self._figures()
        if path == f"{OUR_PATHS}health":
            state = {"status": "failing" if figures.failing else "ok", "open_streams": len(self._open)}
            exchange.answer(503 if figures.failing else 200, json.dumps(state).encode())
        elif path == f"{OUR_PATHS}metrics":
            body = text(figures, self._counts(), self.server.refusals).encode()
            exchange.answer(200, body, "text/plain; version=0.0.4; charset=utf-8")
        else:
            raise Refused(404, "there are /__recorder/health and /__recorder/metrics")

    def _counts(self) -> Mapping[str, int]:
        return {
            "requests": self.requests,
            "open_streams": len(self._open),
            "connections": self.server.connections,
            "upstream_connections": self.pool.links,
        }

    # -- what forwards call ----------------------------------------------------------------------------------------

    def begins(self, forward: Forward) -> None:
        """An exchange is under way."""
        self._open.add(forward)

    def ends(self, forward: Forward) -> None:
        """It is over."""
        self._open.discard(forward)
        if not self._open:
            self._idle.set()
