"""Replay inside httpx and httpx2: the recorded head, chunks and ending, without a network.

A recorded failure is raised again, and a request that no recording answers raises `ReplayMiss`. It is raised rather
than answered by an error status, because bare httpx takes a 404 for an answer like any other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

from recorder.errors import ReplayMiss
from recorder.recording import Head, Request, Transport

from .chains import is_told, why
from .exchange import ReplayLayer, hands_on
from .faults import FALLBACK, rebuild
from .httpx_values import Library, Wrapper, body_of, headers_of
from .loud import loud

if TYPE_CHECKING:
    from recorder.replay import Pacer, Playback, Player

__all__ = ["AsyncPlayed", "AsyncReplayTransport", "Played", "ReplayTransport"]

#: An asynchronous replay lets others run after this many chunks that were due already.
_TURN: Final = 16


class ReplayTransport(Wrapper, ReplayLayer):
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    _library: ClassVar[Library]
    _played: ClassVar[type[Any]]

    def __init__(self, player: Player, inner: Any = None) -> None:
        super().__init__(inner)
        self.player = player

    def handle_request(self, request: Any) -> Any:
        start = time.perf_counter()
        body = body_of(request, self._library)
        if body is None:
            body = b"".join(request.stream)
            _keep(request, body, self._library)
        try:
            playback = _choose(self.player, request, body)
        except ReplayMiss:
            if self.inner is None or not hands_on(self.player):
                raise
            return self.inner.handle_request(request)
        pacer = playback.pacer(start)
        if playback.head is None:
            pacer.wait(playback.ending.elapsed_us)
            raise _failure(playback, self._library)
        pacer.wait(playback.head_due_us or 0)
        return _response(playback.head, self._played(playback, pacer, self._library), self._library)


class AsyncReplayTransport(Wrapper, ReplayLayer):
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    _library: ClassVar[Library]
    _played: ClassVar[type[Any]]

    def __init__(self, player: Player, inner: Any = None) -> None:
        super().__init__(inner)
        self.player = player

    async def handle_async_request(self, request: Any) -> Any:
        start = time.perf_counter()
        body = body_of(request, self._library)
        if body is None:
            body = b"".join([chunk async for chunk in request.stream])
            _keep(request, body, self._library)
        try:
            playback = _choose(self.player, request, body)
        except ReplayMiss:
            if self.inner is None or not hands_on(self.player):
                raise
            return await self.inner.handle_async_request(request)
        pacer = playback.pacer(start)
        await _sleep(0)
        if playback.head is None:
            await pacer.until(playback.ending.elapsed_us, _sleep)
            await _stay_silent(playback)
            raise _failure(playback, self._library)
        await pacer.until(playback.head_due_us or 0, _sleep)
        return _response(playback.head, self._played(playback, pacer, self._library), self._library)


class PlayedBase:
    """A recorded body on its way out: the chunks when they are due, then the recorded ending."""

    def __init__(self, playback: Playback, pacer: Pacer, library: Library) -> None:
        self._playback = playback
        self._pacer = pacer
        self._library = library


class Played(PlayedBase):
    def __iter__(self) -> Iterator[bytes]:
        playback, wait = self._playback, self._pacer.wait
        for due_us, chunk in playback.chunks():
            wait(due_us)
            yield chunk
        wait(playback.ending.elapsed_us)
        if playback.finish != Transport.EOF:
            raise _failure(playback, self._library)


class AsyncPlayed(PlayedBase):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        playback, pacer = self._playback, self._pacer
        for number, (due_us, chunk) in enumerate(playback.chunks()):
            if pacer.left(due_us) > 0:
                await pacer.until(due_us, _sleep)
            elif not number % _TURN:
                await _sleep(0)  # others get their turn, as they would while a network is read
            yield chunk
        await pacer.until(playback.ending.elapsed_us, _sleep)
        if playback.finish != Transport.EOF:
            await _stay_silent(playback)
            raise _failure(playback, self._library)


def _keep(request: Any, body: bytes, library: Library) -> None:
    """A streamed body was read: let it be read again by whoever the request is handed on to."""
    request.stream = library.module.ByteStream(body)


def _choose(player: Player, request: Any, body: bytes) -> Playback:
    asked = Request(request.method, str(request.url), headers_of(request), body, len(body))
    with loud():
        return player.play(player.find(asked))


def _response(head: Head, stream: Any, library: Library) -> Any:
    extensions = {"http_version": head.http_version.encode("latin-1")}
    if head.http_version != "HTTP/2":
        extensions["reason_phrase"] = head.reason.encode("latin-1")
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
    return library.module.Response(head.status, headers=headers, stream=stream, extensions=extensions)


def _failure(playback: Playback, library: Library) -> Exception:
    """The exception by which a recording ends: as recorded, or the one of this library that comes nearest."""
    module, finish = library.module, playback.finish
    kind: type[Exception] = getattr(module, FALLBACK.get(finish, "ReadError"))
    recorded = rebuild(playback.ending.detail, library.libraries()) if is_told(playback) else None
    if recorded is not None and (finish == Transport.ERROR or isinstance(recorded, module.HTTPError)):
        return recorded
    failure = kind(why(playback))
    failure.__cause__ = recorded
    return failure


async def _stay_silent(playback: Playback) -> None:
    """Where the recording's client left, nobody knows what would have come: give this one the time to leave, too."""
    if playback.finish == Transport.CLIENT_CLOSED:
        from recorder.replay import SILENCE

        await _sleep(SILENCE)


async def _sleep(seconds: float) -> None:
    """Sleep in whichever event loop runs: asyncio, or trio where it is not asyncio's."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        await sys.modules["trio"].sleep(seconds)
    else:
        await asyncio.sleep(seconds)
