"""Drives azure-ai-agents over each transport of azure-core, and says as one comparable value what the caller saw.

Synchronous and asynchronous clients have the same methods, so calls are written once, for both. Nothing here knows
recorder: `instrument` is handed the client.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from azure.ai.agents import AgentsClient
from azure.ai.agents import aio as agents_aio
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.core.pipeline.transport import AioHttpTransport, AsyncioRequestsTransport, RequestsTransport

__all__ = ["KEY", "KINDS", "Calls", "Outcome", "Raised", "See", "chain", "client", "drive", "each", "opened", "settled"]

#: The secret that every client sends.
KEY = "azure-key-canary-0123456789"

KINDS: dict[str, Callable[..., Any]] = {
    "requests": RequestsTransport,
    "aiohttp": AioHttpTransport,
    "asyncio-requests": AsyncioRequestsTransport,
}

#: Notes something that the caller saw: a name, and a model, a text or bytes.
See = Callable[[str, Any], None]
Calls = Callable[[Any, See], Awaitable[None]]


class Raised(NamedTuple):
    """One exception of a chain."""

    kind: str
    message: str


class Outcome(NamedTuple):
    """What the caller saw: what was yielded and returned, and what was raised in the end, outermost first."""

    seen: tuple[tuple[str, str], ...]
    raised: tuple[Raised, ...]

    @property
    def names(self) -> list[str]:
        """What was seen, by name."""
        return [name for name, _ in self.seen]


def client(kind: str, url: str, **options: Any) -> Any:
    """A client over that transport, which makes no second attempt unless it is told to.

    A bearer token is refused over plain http, so it authenticates by a key.
    """
    policy = AzureKeyCredentialPolicy(AzureKeyCredential(KEY), "api-key")
    settings = {"authentication_policy": policy, "retry_total": 0, "transport": KINDS[kind](**options), **options}
    nobody: Any = object()  # the policy stands for the credential
    return (AgentsClient if kind == "requests" else agents_aio.AgentsClient)(url, nobody, **settings)


def drive(
    kind: str, url: str, calls: Calls, instrument: Callable[[Any], object] | None = None, **options: Any
) -> Outcome:
    """Make the calls with a new client and give what the caller saw; ports and addresses are taken out of messages."""
    seen: list[tuple[str, str]] = []

    async def run() -> None:
        made = client(kind, url, **options)
        if instrument is not None:
            instrument(made)
        async with opened(made):
            await calls(made, lambda name, value: seen.append((name, _canonical(value))))

    try:
        asyncio.run(run())
    except Exception as error:
        port = url.rpartition(":")[2]
        return Outcome(tuple(seen), tuple(_neutral(raised, port) for raised in chain(error)))
    return Outcome(tuple(seen), ())


def _canonical(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return str(value)
    return json.dumps(value.as_dict(), sort_keys=True)


def _neutral(raised: Raised, port: str) -> Raised:
    return Raised(raised.kind, re.sub(r"0x[0-9a-f]+", "0x", raised.message.replace(port, "PORT")))


def chain(error: BaseException) -> list[Raised]:
    """The exception and what caused it, outermost first, as azure, requests, urllib3 and aiohttp chain theirs."""
    found: list[Raised] = []
    link: BaseException | None = error
    while link is not None and len(found) < 9:
        found.append(Raised(f"{type(link).__module__}.{type(link).__qualname__}", str(link)))
        context = None if link.__suppress_context__ else link.__context__
        link = link.__cause__ or context or getattr(link, "inner_exception", None)
    return found


async def settled(value: Any) -> Any:
    """The value, waited for where it is awaitable."""
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def opened(value: Any) -> AsyncIterator[Any]:
    """The `with` block of a client or a stream of either kind."""
    there = await settled(value)
    if hasattr(there, "__aenter__"):
        async with there as inside:
            yield inside
    else:
        with there as inside:
            yield inside


async def each(items: Any) -> AsyncIterator[Any]:
    """The items of an iterable of either kind."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
