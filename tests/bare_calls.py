"""Drives bare requests and bare aiohttp, and says as one comparable value what the caller saw.

Calls are written once, for both: `ask` makes one request and reads its answer in one of the ways the library has.
Nothing here knows recorder: `instrument` is handed the session.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import aiohttp
import requests

from tests.azure_calls import Raised, chain

__all__ = ["KINDS", "READS", "Ask", "Seen", "ask", "drive"]

KINDS: Final = ("requests", "aiohttp")

#: The ways in which each library reads a body.
READS: Final = {
    "requests": ("content", "iter_content", "one_by_one", "iter_lines", "raw.read", "raw.stream"),
    "aiohttp": ("read", "iter_any", "iter_chunked", "iter_chunks", "readline", "lines", "readexactly"),
}


class Seen(NamedTuple):
    """What the caller saw of one request. Ports are taken out of messages."""

    status: int | None
    reason: str | None
    headers: tuple[tuple[str, str], ...]
    history: tuple[int, ...]
    pieces: tuple[bytes, ...]
    raised: tuple[Raised, ...]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


Ask = Callable[..., Awaitable[Seen]]


def drive(
    kind: str, calls: Callable[[Ask], Awaitable[None]], instrument: Callable[[Any], object] | None = None, **how: Any
) -> list[Seen]:
    """Make the calls with a new session and give what was seen of each."""
    seen: list[Seen] = []

    async def run() -> None:
        if kind == "requests":
            with requests.Session() as session:
                session.trust_env = False
                await _calls(session)
        else:
            async with aiohttp.ClientSession(**how) as session:
                await _calls(session)

    async def _calls(session: Any) -> None:
        if instrument is not None:
            instrument(session)

        async def one(url: str, read: str | None = None, *, method: str = "POST", **options: Any) -> Seen:
            seen.append(await ask(session, method, url, read, **options))
            return seen[-1]

        await calls(one)

    asyncio.run(run())
    return seen


async def ask(session: Any, method: str, url: str, read: str | None = None, **options: Any) -> Seen:
    """Make one request over a session of either kind, and read its answer to the end."""
    pieces: list[bytes] = []
    head: Any = [None, None, (), ()]
    raised: tuple[Raised, ...] = ()
    try:
        if isinstance(session, requests.Session):
            _ask(session, (method, url), read or "iter_content", head, pieces, **options)
        else:
            await _ask_async(session, (method, url), read or "iter_any", head, pieces, **options)
    except Exception as error:
        port = url.rpartition(":")[2].partition("/")[0]
        raised = tuple(Raised(kind, _neutral(message, port)) for kind, message in chain(error))
    status, reason, headers, history = head
    return Seen(status, reason, headers, history, tuple(pieces), raised)


def _neutral(message: str, port: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", message.replace(port, "PORT"))


def _ask(session: Any, asked: tuple[str, str], read: str, head: list[Any], pieces: list[bytes], **options: Any) -> None:
    with session.request(*asked, stream=read != "content", **options) as response:
        headers = tuple(response.raw.headers.items())
        head[:] = response.status_code, response.reason, headers, tuple(old.status_code for old in response.history)
        if read == "content":
            pieces.append(response.content)
        elif read == "raw.read":
            while piece := response.raw.read(100, decode_content=True):
                pieces.append(piece)
        else:
            source = {
                "iter_content": lambda: response.iter_content(4096),
                "one_by_one": response.iter_content,
                "iter_lines": response.iter_lines,
                "raw.stream": lambda: response.raw.stream(50, decode_content=False),
            }[read]
            for piece in source():
                pieces.append(piece)  # noqa: PERF402 (what came before a failure counts)


async def _ask_async(
    session: Any, asked: tuple[str, str], read: str, head: list[Any], pieces: list[bytes], **options: Any
) -> None:
    async with session.request(*asked, **options) as response:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)
        head[:] = response.status, response.reason, headers, tuple(old.status for old in response.history)
        content = response.content
        if read == "read":
            pieces.append(await response.read())
        elif read == "readline":
            while line := await content.readline():
                pieces.append(line)
        elif read == "readexactly":
            pieces.append(await content.readexactly(20))
            pieces.append(await content.read())
        elif read == "iter_chunks":
            async for piece, _ in content.iter_chunks():
                pieces.append(piece)
        else:
            source = {
                "iter_any": content.iter_any,
                "iter_chunked": lambda: content.iter_chunked(64),
                "lines": lambda: content,
            }[read]
            async for piece in source():
                pieces.append(piece)  # noqa: PERF401 (what came before a failure counts)
