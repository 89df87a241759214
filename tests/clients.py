"""The same HTTP calls through httpx and httpx2, synchronously or not, and everything a caller can see of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx
import httpx2

from tests.loopback import PATIENCE

__all__ = ["EVERY", "READS", "Kind", "Seen", "fetch", "raised", "seen_of"]

Mode = Literal["sync", "async"]

#: The ways to take a body, those in one piece last.
ONCE = ("read", "json")
READS = ("iter_raw", "iter_raw_sized", "iter_bytes", "iter_text", "iter_lines", *ONCE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A library and whether its client is asynchronous."""

    module: Any
    mode: Mode

    def __str__(self) -> str:
        return f"{self.module.__name__}-{self.mode}"

    def client(self, **options: Any) -> Any:
        """A client with its own settings; the environment of a test holds none but the trusted authority.

        It waits longer than by default: on a busy machine nothing but the server's script may end in a timeout.
        """
        factory = self.module.Client if self.mode == "sync" else self.module.AsyncClient
        return factory(**{"timeout": PATIENCE, **options})


EVERY = [Kind(module, mode) for module in (httpx, httpx2) for mode in ("sync", "async")]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a caller sees of an answer, or of the failure that came instead. `pieces` came before a failure, too."""

    status: int | None = None
    version: str | None = None
    reason: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: tuple[Any, ...] = ()
    failure: tuple[tuple[str, str], ...] = ()


def raised(error: BaseException | None) -> Iterator[tuple[str, str]]:
    """Class and message of an exception and its causes."""
    while error is not None:
        yield f"{type(error).__module__}.{type(error).__qualname__}", str(error)
        error = error.__cause__


def seen_of(response: Any, pieces: list[Any]) -> Seen:
    """What was seen of a response."""
    return Seen(
        response.status_code,
        response.http_version,
        response.reason_phrase,
        tuple(response.headers.raw),
        tuple(pieces),
    )


def fetch(kind: Kind, client: Any, url: str, read: str = "iter_raw", method: str = "POST", **options: Any) -> Seen:
    """One streamed request with this client, its body taken in this way; closes the client."""
    taking = _Taking(method, url, read, options)
    try:
        if kind.mode == "sync":
            taking.run(client)
        else:
            asyncio.run(taking.run_async(client))
    except Exception as error:
        return taking.seen(tuple(raised(error)))
    return taking.seen()


@dataclass(slots=True)
class _Taking:
    """A request, and what came of it so far."""

    method: str
    url: str
    read: str
    options: dict[str, Any]
    response: Any = None
    pieces: list[Any] = field(default_factory=list)

    def seen(self, failure: tuple[tuple[str, str], ...] = ()) -> Seen:
        if self.response is None:
            return Seen(failure=failure)
        return replace(seen_of(self.response, self.pieces), failure=failure)

    def run(self, client: Any) -> None:
        with client, client.stream(self.method, self.url, **self.options) as self.response:
            taken = self._taken("")
            if self.read in ONCE:
                self.pieces.append(self.response.json() if self.read == "json" else taken)
                return
            for piece in taken:
                self.pieces.append(piece)

    async def run_async(self, client: Any) -> None:
        async with client, client.stream(self.method, self.url, **self.options) as self.response:
            taken = self._taken("a")
            if self.read in ONCE:
                content = await taken
                self.pieces.append(self.response.json() if self.read == "json" else content)
                return
            async for piece in taken:
                self.pieces.append(piece)

    def _taken(self, prefix: str) -> Any:
        if self.read == "iter_raw_sized":
            return getattr(self.response, f"{prefix}iter_raw")(chunk_size=7)
        return getattr(self.response, prefix + ("read" if self.read in ONCE else self.read))()
