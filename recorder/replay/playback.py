"""One recording on its way out: its head, its chunks with their times, its ending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, takewhile

from ..capture import seal_interrupted
from ..errors import NotFound, StoreError
from ..recording import Captured, Event, Head, Kind, Recording, Transport
from .chunks import RECORDED, Block, Chunk, Chunking, blocks, cut
from .pace import INSTANT, Pacer
from .source import Source

__all__ = ["Playback"]


class Playback:
    """One recording on its way out: what to send, when, and how to end.

    recording: what is played.
    infos, info_due_us: the 1xx answers, and when each came, in microseconds since the request.
    head, head_due_us: the response's head, and when it came. None: no response came, and the ending says why.
        Headers are as recorded: in order, withheld ones as `[redacted]`, lengths and codings included. Of an encoded
        answer of which something is withheld there is only the decoded text: it has no coding and no length.
    ending: how the recording ended; `detail` holds the exception, trailers and reasons. Of a recording that has not
        ended: what recovery would say if its writer died now.
    whole: the stored bytes are the whole answer. False for what is played only with `include_partial`, and for a
        response whose body the client left unread.
    speed: see `parse_pace`.
    """

    __slots__ = (
        "_chunking",
        "_decoded",
        "_encoded",
        "_opened",
        "_start",
        "_store",
        "ending",
        "head",
        "head_due_us",
        "info_due_us",
        "infos",
        "recording",
        "speed",
        "whole",
    )

    def __init__(
        self, store: Source, recording: Recording, *, whole: bool, speed: float = INSTANT, chunking: Chunking = RECORDED
    ) -> None:
        """Read as far as the body. Raises NotFound where the recording has no payloads."""
        _require_payloads(recording.content == "full", recording)
        self.recording = recording
        self.ending = recording.ending or seal_interrupted(recording, store.events(recording.recording_id))[1]
        self.whole = whole
        self.speed = speed
        self._store = store
        self._chunking = chunking
        #: Whether the undecoded bytes are withheld, so that the decoded ones are played.
        self._decoded = self.ending.wire_withheld
        self._read_heads()

    def _read_heads(self) -> None:
        """Read up to the first event of the body, and keep the rest of that reading for `chunks`."""
        events = self._store.events(self.recording.recording_id)
        infos: list[tuple[int, Head]] = []
        self.head: Head | None = None
        self.head_due_us: int | None = None
        self._start = 0
        first: list[Event] = []
        for event in events:
            if event.kind not in (Kind.INFO, Kind.HEAD):
                first.append(event)
                break
            _require_payloads(event.data is not None, self.recording)
            head = Head.from_json(event.data or b"")
            if event.kind == Kind.INFO:
                infos.append((event.elapsed_us, head))
            else:
                self.head, self.head_due_us = _without_coding(head) if self._decoded else head, event.elapsed_us
            self._start = event.position + 1
        for event in first:
            there = event.kind == Kind.END or event.data is not None or event.raw is not None or self._decoded
            _require_payloads(there, self.recording)
        self.infos = tuple(head for _, head in infos)
        self.info_due_us = tuple(due for due, _ in infos)
        # The first wire row stands before the events that it completed, so the first event of the body tells.
        self._encoded = any(event.kind == Kind.WIRE for event in first) and not self._decoded
        self._opened: Iterator[Event] | None = chain(first, events)

    @property
    def finish(self) -> str:
        """What a client meets that reads to the end of the chunks, one of `Transport`: "eof", or a failure as recorded.

        "reset" where the record stops before the answer did (its writer died, or capture was cut short): a clean end
        would be a lie. "client_closed" where the client left there: what would have come, nobody knows. A client that
        leaves too never notices; one that reads on waits for as long as it likes.
        """
        ending = self.ending
        if ending.captured != Captured.FULL or ending.ending == Transport.INTERRUPTED:
            return Transport.RESET.value
        if ending.ending == Transport.CLIENT_CLOSED and self.whole:
            return Transport.EOF.value
        return ending.ending

    def pacer(self, start: float | None = None) -> Pacer:
        """A clock for this playback; see `Pacer`."""
        return Pacer(self.speed, start)

    def chunks(self) -> Iterator[Chunk]:
        """(due_us, bytes) of each chunk of the body; may be asked for again.

        A page of events is in memory at a time, and the chunk that is being put together: with `joined`, all of it.
        A body with a content coding comes in its recorded chunks where one per event is asked for: an event's bytes
        cannot be told apart in it.

        Raises StoreError where the store holds other bytes than the recording says.
        """
        one_each = self._decoded or (self._chunking.mode == "event" and not self._encoded)
        return cut(self._sound(blocks(self._body(), one_each=one_each)), self._chunking)

    def _body(self) -> Iterator[Event]:
        """The events that carry the body's bytes as the network delivered them, and perhaps the `end`."""
        events, self._opened = self._opened, None
        if events is None:
            events = self._store.events(self.recording.recording_id, start=self._start)
        if self.recording.ending is None:  # it may be growing
            events = takewhile(lambda event: event.position < self.ending.events, events)
        return self._played(events)

    def _played(self, events: Iterator[Event]) -> Iterator[Event]:
        if self._encoded:
            return (event for event in events if event.kind == Kind.WIRE)
        return (event for event in events if event.kind != Kind.WIRE) if self._decoded else events

    def events(self) -> Iterator[Event]:
        """The recording's events, without those that have no part in what is played."""
        events = self._store.events(self.recording.recording_id)
        return self._played(events) if self._decoded else events

    @property
    def size(self) -> int:
        """Bytes of the body as it is played."""
        if not self._decoded:
            return self.ending.wire_bytes
        return sum(event.size for event in self.events() if event.kind in (Kind.SSE, Kind.BODY))

    def _sound(self, played: Iterable[Block]) -> Iterator[Block]:
        """The blocks, with a StoreError where they are not what was recorded."""
        sent = 0
        try:
            for block in played:
                sent += len(block[0])
                yield block
        except ValueError as error:
            raise StoreError(f"recording {self.recording.recording_id} is damaged: {error}") from error
        if self.ending.captured == Captured.FULL and sent != self.ending.wire_bytes and not self._decoded:
            raise StoreError(
                f"recording {self.recording.recording_id} is damaged: {sent} of {self.ending.wire_bytes} bytes are"
                " there; restore the store from a copy"
            )


def _without_coding(head: Head) -> Head:
    """The head of an answer whose decoded text is played, of a length that nobody announced."""
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    kept = tuple((name, value) for name, value in head.headers if name.lower() not in gone)
    chunked = (("transfer-encoding", "chunked"),) if head.http_version == "HTTP/1.1" else ()
    return replace(head, headers=(*kept, *chunked))


def _require_payloads(there: bool, recording: Recording) -> None:
    """Raises NotFound where a recording has nothing to play."""
    if not there:
        raise NotFound(
            f"recording {recording.recording_id} has no payloads: {recording.missing};"
            " choose one that was recorded with content=full"
        )
