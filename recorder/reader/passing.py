"""Looks at a recording's events on their way to its dialect: times, gaps, headers; takes content codings off.

One pass, in memory that does not grow with the stream. Knows no protocol.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Final

from recorder.decode import decode_body
from recorder.dialects.base import without_absent
from recorder.recording import Event, Head, Kind

__all__ = ["Passing"]

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value

#: A gap between two events is a stall when it is longer than both: microseconds, and times the median gap.
_STALL_US: Final = 1_000_000
_STALL_MEDIANS: Final = 20

#: Gaps are counted by their length in units of 1,024 us; the last counter is for all from 4.2 s.
_SHIFT: Final = 10
_COUNTERS: Final = 4096
_COUNTED_US: Final = (_COUNTERS - 1) << _SHIFT

#: Stalls that facts name one by one.
_MOST_STALLS: Final = 16


class Passing:
    """Fed by `through`; ask it when that is exhausted.

    head: the response's status line and headers. flags: what was noticed on the way. count: events of the stream.
    first_us, last_us: when the first and the last of them came, since the request.
    """

    def __init__(self) -> None:
        self.source_failed = False
        self.head: Head | None = None
        self.flags: set[str] = set()
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.longest_gap_us: int | None = None
        self.count = 0
        self._gaps = array("q", bytes(8 * _COUNTERS))
        self._long: list[tuple[int, int]] = []  # position of the event after it, length

    def through(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events without `wire`; after them the decoded body of an encoded answer that is no event stream."""
        undecoded: list[Event] = []
        body = False
        last, longest, gaps = None, -1, self._gaps
        try:
            for event in self._source(events):
                kind = event.kind
                if kind == _SSE:
                    elapsed = event.elapsed_us
                    if last is None:
                        self.first_us = elapsed
                        undecoded = []  # a stream: its events are here, decoded
                    else:
                        gap = elapsed - last
                        if gap > longest:  # noqa: PLR1730 (a call for each event costs more than all the rest here)
                            longest = gap
                        if 0 <= gap < _COUNTED_US:
                            gaps[gap >> _SHIFT] += 1
                        else:
                            gaps[-1] += 1
                        if gap > _STALL_US:
                            self._long.append((event.position, gap))
                    last = elapsed
                    self.count += 1
                elif kind == _WIRE:
                    if last is None:
                        undecoded.append(event)
                    continue
                elif kind == Kind.HEAD and event.data is not None:
                    self.head = Head.from_json(event.data)
                elif kind == Kind.BODY:
                    body = True
                yield event
        finally:
            self.last_us = last
            self.longest_gap_us = longest if longest >= 0 else None
        if undecoded and not self.count and not body:
            yield from self._decoded(undecoded)

    def stalls(self, *, waited_us: int | None = None) -> list[tuple[int | None, int]]:
        """(position of the event that came late, microseconds waited for it) of each stall.

        `waited_us` is how long a stream that never said it was over was waited for after its last event; as a stall
        it has no position.
        """
        if not self._long and (waited_us is None or waited_us <= _STALL_US):
            return []
        limit = max(_STALL_US, _STALL_MEDIANS * self._median_us())
        found: list[tuple[int | None, int]] = [(position, gap) for position, gap in self._long if gap > limit]
        if waited_us is not None and self.count and waited_us > limit:
            found.append((None, waited_us))
        return found

    def times(self, stalls: list[tuple[int | None, int]]) -> dict[str, Any]:
        """In microseconds since the request; what did not happen is absent."""
        return without_absent(
            first_event_us=self.first_us,
            last_event_us=self.last_us,
            events=self.count or None,
            stalls=stalls[:_MOST_STALLS] or None,
        )

    def _median_us(self) -> int:
        """Of the gaps, to the millisecond; 0 where there is none."""
        half, seen = (sum(self._gaps) + 1) // 2, 0
        if half == 0:
            return 0
        for counter, number in enumerate(self._gaps):
            seen += number
            if seen >= half:
                return counter << _SHIFT
        return 0

    def _source(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events; notes whose fault it is when they cannot be had."""
        try:
            yield from events
        except Exception:
            self.source_failed = True
            raise

    def _decoded(self, wire: list[Event]) -> Iterator[Event]:
        pieces = [event.data for event in wire]
        if None in pieces:
            self.flags.add("payload_missing")
            return
        encoding = self.head.content_encoding if self.head else None
        body = decode_body(encoding, b"".join(piece for piece in pieces if piece is not None))
        if body is None:
            self.flags.add("undecoded")
        else:
            yield wire[0]._replace(kind=Kind.BODY.value, data=body, elapsed_us=wire[-1].elapsed_us)
