"""The replay server: answers each request from a store. There is no upstream, and nothing that could reach one."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from recorder.errors import ReplayMiss
from recorder.replay import Player
from recorder.wire import OUR_PATHS, UNHEARD, Exchange, Gate, Limits, Receiver, Refused, Server

from .answer import Answer
from .faults import Faults
from .mounts import Mounts

__all__ = ["Service", "Settings"]

T = TypeVar("T")

#: Threads that read chunks ahead of the sockets.
_READERS: Final = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves. `hosts`: names beside loopback that it answers to. `token`: what X-Recorder-Token must
    say; None: nothing. A request's body is kept whole until its recording is found, so `limits.body` caps it.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None
    limits: Limits = field(default_factory=lambda: Limits(body=256 << 20))


class Service:
    """One replay server on one event loop.

    player: finds and plays; its session is that of requests that name none. mounts, faults: as they say themselves.
    onward: has the requests that nothing answers; None: they are refused, and nobody has them.
    say: is given one line for each miss and each fault; it holds no bodies, headers or query values.
    answered, misses: how many requests were answered from the store, and how many could not be.
    """

    def __init__(
        self,
        player: Player,
        settings: Settings | None = None,
        *,
        mounts: Mounts | None = None,
        faults: Faults | None = None,
        say: Callable[[str], object] | None = None,
        onward: Callable[[Exchange], Receiver] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.player = player
        self.settings = settings or Settings()
        self.mounts = mounts or Mounts({"openai": "", "anthropic": ""})
        self.faults = faults or Faults()
        self.say: Callable[[str], object] = say or (lambda _: None)
        self.onward = onward
        #: How clients speak to us.
        self.scheme = "http" if tls is None else "https"
        self.answered = 0
        self.misses = 0
        self._open: set[Answer] = set()
        self._stopping = asyncio.Event()
        # One thread looks up, so that requests are answered in the order in which they came.
        self._looking = ThreadPoolExecutor(1, "recorder-look")
        self._reading = ThreadPoolExecutor(_READERS, "recorder-read")
        gate = Gate(hosts=self.settings.hosts, token=self.settings.token)
        self.server = Server(self._serve, gate=gate, limits=self.settings.limits, tls=tls)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; gives the address. Raises OSError."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """Take nothing new, end what is silent, and wait until the other streams have ended."""
        self._stopping.set()
        self.server.stop()
        await self.server.drained()
        self._shut()

    def abort(self) -> None:
        """End everything now."""
        self._stopping.set()
        self.server.abort()
        self._shut()

    def _shut(self) -> None:
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._reading.shutdown(wait=False, cancel_futures=True)

    # -- one request -----------------------------------------------------------------------------------------------

    def _serve(self, exchange: Exchange) -> Receiver:
        if exchange.head.target.startswith(OUR_PATHS):
            self._tell(exchange)
            return UNHEARD
        return Answer(self, exchange)

    def _tell(self, exchange: Exchange) -> None:
        """What we say of ourselves."""
        exchange.check_question()
        if exchange.head.target.partition("?")[0] != f"{OUR_PATHS}health":
            raise Refused(404, "there is /__recorder/health")
        state = {"status": "ok", "answered": self.answered, "misses": self.misses, "open_streams": len(self._open)}
        exchange.answer(200, json.dumps(state).encode())

    # -- what answers call -----------------------------------------------------------------------------------------

    def begins(self, answer: Answer) -> None:
        """An answer is under way."""
        self._open.add(answer)

    def ends(self, answer: Answer) -> None:
        """It is over."""
        self._open.discard(answer)

    def missed(self, miss: ReplayMiss) -> None:
        """No recording answers a request."""
        self.misses += 1
        self.say(f"MISS {miss}")

    def look(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call a function on the thread that looks up, one after another."""
        return asyncio.get_running_loop().run_in_executor(self._looking, function)

    def read(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call a function on a thread that reads."""
        return asyncio.get_running_loop().run_in_executor(self._reading, function)

    async def silence(self, seconds: float | None) -> None:
        """Say nothing for so long; None: until the client leaves. The server's end ends it, too."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
