"""The server: listens, keeps count of its connections, and stops gently or at once. It refuses to know what is served.

An application is a callable that is given each `Exchange` once its head was read and found good, and gives back the
`Receiver` of what follows. One event loop, no threads.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from .access import Gate
from .connection import Connection
from .exchange import Application
from .heads import Refused

__all__ = ["Limits", "Server"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps towards clients: sizes in bytes, times in seconds. `body` None: any length (nobody keeps it).

    head_bytes, fields: 431. target: 414. body: 413. head_seconds (for a head to come whole): 408. connections: 503,
    unless one that is idle can be closed instead. write_high: unsent bytes above which the sender is asked to pause.
    """

    head_bytes: int = 64 << 10
    fields: int = 100
    target: int = 16 << 10
    body: int | None = None
    connections: int = 2048
    head_seconds: float = 10.0
    pipelined: int = 64 << 10
    write_high: int = 256 << 10
    linger_seconds: float = 2.0


class Server:
    """Listens, and gives each request that passes `gate` to `application`. One event loop, no threads.

    `tls`: a context where clients speak TLS. Use: `await start(host, port)`, later `stop()`, `await drained()`.
    """

    def __init__(
        self,
        application: Application,
        *,
        gate: Gate | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.application = application
        self.gate = gate
        self.limits = limits or Limits()
        self.stopping = False
        #: Requests that were refused so far, by status.
        self.refusals: dict[int, int] = {}
        self._tls = tls
        self._connections: set[Connection] = set()
        #: Connections without an exchange, the longest idle first.
        self._waiting: dict[Connection, None] = {}
        self._listener: asyncio.Server | None = None
        self._empty = asyncio.Event()

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """Listen; gives the address. Raises OSError."""
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            host,
            port,
            backlog=1024,
            reuse_port=reuse_port or None,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else self.limits.head_seconds,
        )
        self._listener = listener
        address = listener.sockets[0].getsockname()
        return address[0], address[1]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stop(self) -> None:
        """Take no more connections; close those that are idle, the others once what is under way is over."""
        self.stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._waiting):
            connection.close()
        if not self._connections:
            self._empty.set()

    def abort(self) -> None:
        """End all connections now."""
        self.stop()
        for connection in list(self._connections):
            connection.abort()

    async def drained(self) -> None:
        """Wait, after `stop`, until the last connection has ended."""
        await self._empty.wait()

    # -- what connections call -------------------------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """A client connected. False where it must be turned away."""
        full = len(self._connections) >= self.limits.connections
        self._connections.add(connection)
        if full and self._waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.close()
            full = False
        if not full:
            self._waiting[connection] = None
        return not full

    def busy(self, connection: Connection) -> None:
        """An exchange begins."""
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """An exchange is over, and the connection stays."""
        if self.stopping:
            connection.close()
        else:
            self._waiting[connection] = None

    def refused(self, refusal: Refused) -> None:
        """A request could not be read."""
        self.refusals[refusal.status] = self.refusals.get(refusal.status, 0) + 1

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        if self.stopping and not self._connections:
            self._empty.set()
