"""Replay: clients answered from the store, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from recorder import config
from recorder.errors import UsageError
from recorder.replay import Player
from recorder.transport import attach
from recorder.transport.patch import Others, Patch, patch_replay

__all__ = ["Replay"]

_C = TypeVar("_C")


class Replay:
    """Answers clients from a store: exact bytes, recorded endings, no network. A miss raises `ReplayMiss`.

    It works whether or not recording is disabled. Clients may use it in any number of threads and tasks.
    """

    def __init__(self, player: Player, hosts: tuple[str, ...] = ()) -> None:
        self.player = player
        self._hosts = hosts
        self._patches: list[Patch] = []

    def instrument(self, client: _C) -> _C:
        """Let this client be answered from the store, in place; gives the client. Instrumenting again replaces."""
        attach.replay(client, self.player)
        return client

    def uninstrument(self, client: _C) -> _C:
        """Give the client back the transports that it had before `instrument`; gives the client."""
        attach.unreplay(client, self.player)
        return client

    def patch(self, hosts: str | Iterable[str] | None = None, *, others: Others = "pass") -> Patch:
        """Answer clients that others own: all that httpx, httpx2, requests and aiohttp send to these hosts.

        `hosts` (`name`, `name:port`, with `*` for any text) defaults to the setting. What goes there is answered from
        the store or raises ReplayMiss. Other hosts pass, or raise Blocked with `others="block"`. In force from now
        until the end of a `with` block, `undo`, or `close`; libraries that are loaded later are patched, too. Raises
        UsageError without hosts, or for other words.
        """
        named = self._hosts if hosts is None else (hosts,) if isinstance(hosts, str) else tuple(hosts)
        if hosts is not None:
            named = config.hosts(named)
        if not named and others == "pass":
            raise UsageError('patch() replays listed hosts only: give hosts=["api.openai.com"] or set RECORDER_HOSTS')
        made = patch_replay(named, self.player, others=others)
        self._patches.append(made)
        return made

    def transport(self, *, module: Any = None) -> Any:
        """A transport for a client of `module` (httpx or httpx2; default: the one that is loaded)."""
        return attach.bound(module).ReplayTransport(self.player)

    def async_transport(self, *, module: Any = None) -> Any:
        """A transport for an asynchronous client of `module` (httpx or httpx2; default: the one that is loaded)."""
        return attach.bound(module).AsyncReplayTransport(self.player)

    def close(self) -> None:
        """Take patches back and close the store. Streams that are under way break off."""
        while self._patches:
            self._patches.pop().undo()
        self.player.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
