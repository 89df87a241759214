"""One request and its answer: the body is collected, the recording looked up, and played to the socket when it is due.

What was recorded is done again: the head, each chunk as a chunk, the trailers, and the end: a clean one, a FIN or a RST
at the same byte, or silence where a client had left or timed out. It refuses to know SQL; looking up and reading happen
on other threads, so that one slow look does not hold up other streams.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder import redact
from recorder.errors import RecorderError, ReplayMiss
from recorder.recording import Head, HeaderList, Request, Transport
from recorder.replay import SILENCE, Chunk, Miss, Pacer, Playback
from recorder.wire import (
    OUR_HEADERS,
    Exchange,
    Framing,
    Malformed,
    Receiver,
    Refused,
    chunk,
    last_chunk,
    response_framing,
)

from .broken import unreadable
from .faults import (
    BEFORE_HEAD,
    Break,
    Fault,
    Meeting,
    Spoil,
    document,
    is_spoiled,
    place,
    refusal,
    split,
    spoiled,
)

if TYPE_CHECKING:
    from .service import Service

__all__ = ["Answer"]

logger = logging.getLogger("recorder")

#: Bytes that are read from the store, and written to the socket, in one go.
_BATCH: Final = 64 << 10

_ORIGIN: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

_CONTINUE: Final = Head(100, "Continue")

#: Ends at which nobody knows what would have come.
_SILENT: Final = frozenset({Transport.TIMEOUT.value, Transport.CLIENT_CLOSED.value})


class _Found(NamedTuple):
    """What answers a request: the playback, its first chunks and whether there are more; where faults happen, and
    those that happened to the chunks themselves.
    """

    playback: Playback
    chunks: Iterator[Chunk]
    first: list[Chunk]
    more: bool
    breaks: list[Break]
    spoils: list[Spoil]


def _pull(chunks: Iterator[Chunk]) -> tuple[list[Chunk], bool]:
    """The next chunks, and whether there may be more."""
    taken = []
    size = 0
    for each in chunks:
        taken.append(each)
        size += len(each[1])
        if size >= _BATCH:
            return taken, True
    return taken, False


class Answer:
    """Receives one request and answers it."""

    __slots__ = (
        "_continued",
        "_exchange",
        "_framing",
        "_meetings",
        "_next",
        "_pieces",
        "_room",
        "_sent",
        "_service",
        "_start",
        "_task",
        "_trailers",
    )

    def __init__(self, service: Service, exchange: Exchange) -> None:
        self._service = service
        self._exchange = exchange
        #: Recorded times count from the beginning of the request.
        self._start = time.perf_counter()
        self._pieces: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._framing = Framing.NONE
        self._sent = 0
        self._meetings: Sequence[Meeting] = ()
        self._trailers: HeaderList = ()
        #: Who has the request now that nothing answers.
        self._next: Receiver | None = None
        #: Whether we asked for the body ourselves.
        self._continued = exchange.framing is not Framing.NONE and "100-continue" in exchange.head.tokens("expect")
        if self._continued:
            exchange.info(_CONTINUE)

    # -- from the client -------------------------------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        self._pieces.append(data)

    def complete(self, trailers: HeaderList) -> None:
        self._trailers = trailers
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._service.begins(self)

    def lost(self) -> None:
        if self._next is not None:
            self._next.lost()
        elif self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        self._room.clear()
        if self._next is not None:
            self._next.pause()

    def resume(self) -> None:
        self._room.set()
        if self._next is not None:
            self._next.resume()

    # -- the answer ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._answer()
        except ReplayMiss as miss:
            if self._service.onward is None:
                self._tell_miss(miss)
            else:
                self._hand_on(self._service.onward)
        except RecorderError as error:
            self._service.say(f"recorder: {error}")
            self._fail(error)
        except Exception as error:  # a defect of ours must be heard of, and must not stay with other connections
            logger.exception("recorder failed on its own; this exchange ends")
            self._fail(error)
        finally:
            self._service.ends(self)

    async def _answer(self) -> None:
        service, head = self._service, self._exchange.head
        session = head.get("x-recorder-session") or None
        self._meetings = service.faults.next(session or service.player.session)
        for fault, _, _ in self._meetings:
            if fault.what == "status":
                self._meet(fault)
                refused = refusal(fault)
                self._exchange.answer(refused.status, refused.body, headers=refused.headers)
                return
        body = b"".join(self._pieces)
        self._pieces = [body]
        headers = tuple((name, value) for name, value in head.headers if not name.lower().startswith(OUR_HEADERS))
        first, *others = service.mounts.readings(head.target)
        asked = Request(head.method, first, headers, body, len(body))
        found = await service.look(lambda: self._look(asked, tuple(others), session))
        service.answered += 1
        self._pieces.clear()
        await self._play(found)

    def _look(self, asked: Request, others: Sequence[str], session: str | None) -> _Found:
        """Find what answers, and read its beginning. Called on another thread."""
        player = self._service.player
        if not self._meetings:
            playback = player.play(player.find(asked, session=session, others=others))
            chunks = playback.chunks()
            return _Found(playback, chunks, *_pull(chunks), [], [])
        recording = player.find(asked, session=session, others=others, use_up=False)
        playback = player.play(recording)
        breaks, spoils = place(self._meetings, playback.events, playback.size)
        if not is_spoiled(breaks, spoils):
            player.find(asked, session=session, others=others)
        chunks = split(spoiled(playback.chunks(), [spoil.offset for spoil in spoils]), [each.offset for each in breaks])
        return _Found(playback, chunks, *_pull(chunks), breaks, spoils)

    async def _play(self, found: _Found) -> None:
        playback, exchange = found.playback, self._exchange
        pacer = playback.pacer(self._start)
        breaks = found.breaks
        for spoil in found.spoils:
            self._meet(spoil.fault)
        while breaks and breaks[0].offset == BEFORE_HEAD:
            if await self._break(breaks.pop(0), pacer):
                return
        for due_us, info in zip(playback.info_due_us, playback.infos, strict=True):
            await pacer.until(due_us, asyncio.sleep)
            if info.status == 100 and self._continued:  # the client has had one
                self._continued = False
            else:
                exchange.info(info)
        if playback.head is None:
            await pacer.until(playback.ending.elapsed_us, asyncio.sleep)
            await self._end(playback)
            return
        await pacer.until(playback.head_due_us or 0, asyncio.sleep)
        framing, size = _framing(playback.head, exchange.head.method)
        self._framing = exchange.respond(self._turned(playback.head, playback), framing)
        if await self._body(found, pacer):
            return
        await pacer.until(playback.ending.elapsed_us, asyncio.sleep)
        if framing is Framing.LENGTH and self._sent != size and playback.finish == Transport.EOF:
            exchange.cut()  # it has not the length that its head says
        else:
            await self._end(playback)

    def _turned(self, head: Head, playback: Playback) -> Head:
        """The head with a redirect to the recorded origin turned to us: the client must not follow it to a network."""
        if not 300 <= head.status < 400:
            return head
        origin = playback.recording.origin
        host = self._exchange.head.get("host")
        ours = "" if host is None else f"{self._service.scheme}://{host}"
        headers = tuple(
            (name, ours + _ORIGIN.sub("", value))
            if name.lower() == "location" and redact.origin(value) == origin
            else (name, value)
            for name, value in head.headers
        )
        return replace(head, headers=headers)

    async def _body(self, found: _Found, pacer: Pacer) -> bool:
        """Send the body. True where a fault has ended the response."""
        batch, more, breaks = found.first, found.more, found.breaks
        while True:
            following = self._service.read(lambda: _pull(found.chunks)) if more else None
            if following is not None:
                following.add_done_callback(_heard)
            if await self._send(batch, breaks, pacer):
                return True
            if following is None:
                return False
            batch, more = await following

    async def _send(self, batch: list[Chunk], breaks: list[Break], pacer: Pacer) -> bool:
        """Send these chunks, each when it is due. True where a fault has ended the response."""
        chunked = self._framing is Framing.CHUNKED
        unsent: list[bytes] = []
        size = 0
        if breaks and await self._breaks(breaks, pacer):
            return True
        for due_us, data in batch:
            if pacer.left(due_us) > 0:
                if unsent:
                    await self._write(unsent)
                    size = 0
                await pacer.until(due_us, asyncio.sleep)
            unsent.append(chunk(data) if chunked else data)
            self._sent += len(data)
            size += len(data)
            if breaks and breaks[0].offset <= self._sent:
                await self._write(unsent)
                if await self._breaks(breaks, pacer):
                    return True
                size = 0
            elif size >= _BATCH:
                await self._write(unsent)
                size = 0
        if unsent:
            await self._write(unsent)
        return False

    async def _write(self, unsent: list[bytes]) -> None:
        """Send these bytes, and wait until the client has room for more."""
        if self._framing is not Framing.NONE:
            self._exchange.write(b"".join(unsent))
        unsent.clear()
        if not self._room.is_set():
            await self._room.wait()

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _breaks(self, breaks: list[Break], pacer: Pacer) -> bool:
        """What happens at this byte. True where it has ended the response."""
        while breaks and breaks[0].offset <= self._sent:
            if await self._break(breaks.pop(0), pacer):
                return True
        return False

    async def _break(self, one: Break, pacer: Pacer) -> bool:
        fault = one.fault
        self._meet(fault)
        if fault.what == "stall":
            before = time.perf_counter()
            await self._service.silence(fault.seconds)
            pacer.start += time.perf_counter() - before
            if fault.seconds is None:
                self._exchange.reset()
            return fault.seconds is None
        if fault.what == "cut":
            self._exchange.cut()
        else:
            self._exchange.reset()
        return True

    def _meet(self, fault: Fault) -> None:
        """A fault happens to this request."""
        self._service.faults.happens(fault)
        self._service.say(f"fault {fault.text} meets {self._exchange.head.method} {_path(self._exchange)}")

    async def _end(self, playback: Playback) -> None:
        """End as the recording did."""
        exchange, finish = self._exchange, playback.finish
        if finish == Transport.EOF and exchange.begun:
            if self._framing is Framing.CHUNKED:
                exchange.write(last_chunk(_trailers(playback)))
            exchange.finish()
        elif finish in _SILENT:
            await self._service.silence(SILENCE if finish == Transport.CLIENT_CLOSED else None)
            exchange.reset()
        elif finish == Transport.PROTOCOL_ERROR:
            garbage = unreadable(playback.ending.detail, self._framing if exchange.begun else None)
            if garbage:
                exchange.raw()
                exchange.write(garbage)
            exchange.cut()
        else:
            exchange.reset()

    def _hand_on(self, onward: Callable[[Exchange], Receiver]) -> None:
        """Nothing answers: let the next one have the request, as it would have had it without us."""
        try:
            taker = self._next = onward(self._exchange)
        except Refused as refusal:
            self._exchange.refuse(refusal)
            return
        for piece in filter(None, self._pieces):
            taker.body(piece)
        self._pieces.clear()
        taker.complete(self._trailers)

    # -- answers of our own ----------------------------------------------------------------------------------------

    def _tell_miss(self, miss: ReplayMiss) -> None:
        """404, which no SDK tries again, with the nearest recording and what differs."""
        self._service.missed(miss)
        error: dict[str, object] = {
            "message": f"recorder: {miss}",
            "type": "replay_miss",
            "param": None,
            "code": "replay_miss",
            "nearest": None,
            "differences": [],
        }
        if isinstance(miss, Miss):
            error["nearest"] = None if miss.nearest is None else str(miss.nearest.recording_id)
            error["differences"] = [
                {"path": each.path, "wanted": each.wanted, "stored": each.stored} for each in miss.differences
            ]
        self._exchange.answer(404, document(error), headers=(("x-should-retry", "false"),))

    def _fail(self, error: Exception) -> None:
        """The store cannot be read, or we are at fault: say so where nothing was sent yet, break off where it was."""
        if self._exchange.begun:
            self._exchange.reset()
            return
        told = str(error) if isinstance(error, RecorderError) else "it failed on its own; its log says why"
        body = {"message": f"recorder: {told}", "type": "replay_failure", "param": None, "code": "replay_failure"}
        self._exchange.answer(500, document(body), headers=(("x-should-retry", "false"),))


def _heard(future: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have gone, and then nobody wants to know how it failed."""
    if not future.cancelled():
        future.exception()


def _framing(head: Head, method: str) -> tuple[Framing, int]:
    """How the body is to be framed. What HTTP/2 delimited by itself goes out in chunks."""
    try:
        framing, size = response_framing(head, method)
    except Malformed:
        return Framing.CLOSE, 0
    if framing is Framing.CLOSE and not head.http_version.startswith("HTTP/1"):
        return Framing.CHUNKED, 0
    return framing, size


def _trailers(playback: Playback) -> HeaderList:
    return tuple((str(name), str(value)) for name, value in playback.ending.detail.get("trailers") or ())


def _path(exchange: Exchange) -> str:
    return redact.mask(exchange.head.target.partition("?")[0])
