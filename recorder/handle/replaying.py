"""Replay: clients answered from the store, and by nothing else."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar

from recorder.replay import Player
from recorder.transport import attach

__all__ = ["Replay"]

_C = TypeVar("_C")


class Replay:
    """Answers clients from a store: exact bytes, recorded endings, no network. A miss raises `ReplayMiss`.

    It works whether or not recording is disabled. Clients may use it in any number of threads and tasks.
    """

    def __init__(self, player: Player) -> None:
        self.player = player

    def instrument(self, client: _C) -> _C:
        """Let this client be answered from the store, in place; gives the client. Instrumenting again replaces."""
        attach.replay(client, self.player)
        return client

    def uninstrument(self, client: _C) -> _C:
        """Give the client back the transports that it had before `instrument`; gives the client."""
        attach.unreplay(client, self.player)
        return client

    def transport(self, *, module: Any = None) -> Any:
        """A transport for a client of `module` (httpx or httpx2; default: the one that is loaded)."""
        return attach.bound(module).ReplayTransport(self.player)

    def async_transport(self, *, module: Any = None) -> Any:
        """A transport for an asynchronous client of `module` (httpx or httpx2; default: the one that is loaded)."""
        return attach.bound(module).AsyncReplayTransport(self.player)

    def close(self) -> None:
        """Close the store. Streams that are under way break off."""
        self.player.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
