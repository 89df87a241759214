"""Faults put on top of a recording that is played in process: the same words as `recorder replay --fault`.

What a server does to a socket is told here by what the HTTP library would raise for it. A stall without a time lasts
until the client's timeout, so it is that timeout, at once. An answer that a fault spoils uses up no recording: the next
attempt gets the one that this one would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from recorder.capture import Capture
from recorder.recording import Captured, Ending, Event, Head, Recording, Request, Transport
from recorder.replay import Chunk, Pacer, Playback
from recorder.replay_server import Faults
from recorder.replay_server.faults import (
    BEFORE_HEAD,
    Break,
    Fault,
    Meeting,
    Spoil,
    is_spoiled,
    place,
    refusal,
    split,
    spoiled,
)
from recorder.wire import phrase

__all__ = ["Damaged", "damaged"]

#: What an HTTP library says of the same thing on a socket (httpx 0.28 and h11, by observation): ending, class, message
#: before the head, message in the body.
_SAID: Final[dict[str, tuple[Transport, str, str, str]]] = {
    "cut": (
        Transport.PROTOCOL_ERROR,
        "httpx.RemoteProtocolError",
        "Server disconnected without sending a response.",
        "peer closed connection without sending complete message body (incomplete chunked read)",
    ),
    "reset": (
        Transport.RESET,
        "httpx.ReadError",
        "[Errno 104] Connection reset by peer",
        "[Errno 104] Connection reset by peer",
    ),
    "stall": (Transport.TIMEOUT, "httpx.ReadTimeout", "timed out", "timed out"),
}


def damaged(playback: Playback, meetings: Sequence[Meeting], faults: Faults) -> Damaged:
    """The playback with the faults that meet this request."""
    for fault, _, _ in meetings:
        if fault.what == "status":
            faults.happens(fault)
            return _Refused(playback, fault)
    breaks, spoils = place(meetings, playback.events, playback.size)
    for spoil in spoils:
        faults.happens(spoil.fault)
    return _Broken(playback, faults, breaks, spoils)


class Damaged(Playback):
    """A playback that stands in for another one. `spoiled`: no whole answer comes of it."""

    __slots__ = ("_inner", "spoiled")

    def __init__(self, inner: Playback, *, spoiled: bool) -> None:
        for name in Playback.__slots__:
            setattr(self, name, getattr(inner, name))
        self._inner = inner
        self.spoiled = spoiled

    def seen(self, asked: Request) -> tuple[Recording, list[Event]]:
        """The exchange as its client saw it: what a recording of it would be."""
        recording = replace(self.recording, request=asked, ending=None)
        capture = Capture(recording)
        if self.head is not None:
            capture.head(self.head, self.head_due_us or 0)
            for due_us, data in self.chunks():
                capture.data(data, due_us)
        capture.end(self.finish, self.ending.elapsed_us, detail=self.ending.detail)
        return replace(recording, ending=capture.ending), [Event(*row[1:]) for row in capture.take()]


class _Refused(Damaged):
    """An answer that is only a status."""

    __slots__ = ("_document",)

    def __init__(self, inner: Playback, fault: Fault) -> None:
        super().__init__(inner, spoiled=True)
        status, headers, self._document = refusal(fault)
        own = (("content-type", "application/json"), ("content-length", str(len(self._document))))
        self.head = Head(status, phrase(status), "HTTP/1.1", (*own, *headers))
        self.head_due_us = 0
        self.infos, self.info_due_us = (), ()
        self.whole = True
        self.ending = replace(
            inner.ending,
            ending=Transport.EOF.value,
            captured=Captured.FULL.value,
            elapsed_us=0,
            wire_bytes=len(self._document),
            http_status=status,
            detail={},
        )

    def chunks(self) -> Iterator[Chunk]:
        yield 0, self._document


class _Broken(Damaged):
    """The recorded chunks up to the first break that ends them; stalls on the way."""

    __slots__ = ("_faults", "_pacer", "_spoils", "_stalls", "_stop")

    def __init__(self, inner: Playback, faults: Faults, breaks: list[Break], spoils: list[Spoil]) -> None:
        super().__init__(inner, spoiled=is_spoiled(breaks, spoils))
        self._faults = faults
        self._spoils = [spoil.offset for spoil in spoils]
        self._pacer: _Holding | None = None
        self._stalls = [one for one in breaks if not one.fault.ends]
        self._stop = next((one for one in breaks if one.fault.ends), None)
        if self._stop is not None:
            self._stalls = [one for one in self._stalls if one.offset <= self._stop.offset]
            self.whole = True
            self.ending = _broken(inner.ending, self._stop)
            if self._stop.offset == BEFORE_HEAD:
                self.head = None
                faults.happens(self._stop.fault)

    def pacer(self, start: float | None = None) -> Pacer:
        self._pacer = _Holding(self.speed, start)
        for stall in self._stalls:
            if stall.offset == BEFORE_HEAD:
                self._hold(stall)
        return self._pacer

    def _hold(self, stall: Break) -> None:
        self._faults.happens(stall.fault)
        if self._pacer is not None:
            self._pacer.hold(stall.fault.seconds or 0.0)

    def chunks(self) -> Iterator[Chunk]:
        chunks: Iterator[Chunk] = self._inner.chunks()
        if self._spoils:
            chunks = spoiled(chunks, self._spoils)
        stalls = [stall for stall in self._stalls if stall.offset != BEFORE_HEAD]
        offsets = [stall.offset for stall in stalls]
        last = math.inf if self._stop is None else self._stop.offset
        if self._stop is not None:
            offsets.append(self._stop.offset)
        sent = 0
        for due_us, data in split(chunks, offsets):
            while stalls and stalls[0].offset <= sent:
                self._hold(stalls.pop(0))
            if sent >= last:
                break
            yield due_us, data
            sent += len(data)
        if self._stop is not None:
            self._faults.happens(self._stop.fault)


def _broken(ending: Ending, stop: Break) -> Ending:
    transport, kind, before, within = _SAID[stop.fault.what]
    message = before if stop.offset == BEFORE_HEAD else within
    entry = {"type": kind, "message": message}
    return replace(
        ending,
        ending=transport.value,
        captured=Captured.FULL.value,
        elapsed_us=0,
        detail={"exception": [entry], "fault": stop.fault.text},
    )


class _Holding(Pacer):
    """A pacer that may be held up: what comes later is later by as much."""

    __slots__ = ("_until",)

    def __init__(self, speed: float, start: float | None) -> None:
        super().__init__(speed, start)
        self._until = 0.0

    def hold(self, seconds: float) -> None:
        """Nothing is due for so long."""
        self._until = max(self._until, time.perf_counter()) + seconds
        self.start += seconds

    def left(self, due_us: int) -> float:
        return max(super().left(due_us), self._until - time.perf_counter())

    def wait(self, due_us: int) -> None:
        while (left := self.left(due_us)) > 0:
            time.sleep(left)
