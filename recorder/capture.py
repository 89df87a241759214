"""One recording being made: bytes and times in, event rows out.

A Capture is sans-IO: it does not know where bytes come from, where rows go, or what time it is. It cuts a response
body into events (server-sent events where the body is a stream, pieces otherwise), notes in each row where the
network's chunks ended, and keeps the running digests. It refuses to understand a provider's protocol.

What it is given, in order: `info` for each 1xx answer, `head` once, `data` for each chunk, `end` once. Any of them
may be missing but the last. Times are microseconds since the request and never run backwards in the rows.
"""

from __future__ import annotations

import dataclasses
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from . import cuts, redact
from .decode import Decoder
from .digest import EventDigest, payload_of
from .recording import Captured, Ending, Event, Head, Kind, Recording, Row, Transport
from .sse import Frame, Piece, Tokenizer

__all__ = ["KEPT", "PATIENCE", "PIECE", "Capture", "seal_interrupted"]

#: Longest `body` or `wire` row, in bytes.
PIECE: Final = 1 << 20
#: How long such a row may grow, in microseconds: what it holds is lost when the process dies.
PATIENCE: Final = 1_000_000
#: Payload bytes of a recording that are kept in memory for its reading where the store gets none.
KEPT: Final = 32 << 20
#: What waits is looked at again when this share of it has come.
_SHARE: Final = 16
#: Why an encoded answer is withheld from some point on; the same words in the docs.
_TOO_LARGE: Final = "an encoded answer that may hold a credential was too large to be searched"

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value
_BODY: Final = Kind.BODY.value
_OF_BODY: Final = frozenset({_SSE, _WIRE, _BODY})
_DECODED: Final = frozenset({_SSE, _BODY})
_NO_CUTS: Final = b""

# Some compatible servers stream under one of these types; clients read it as a stream all the same.
_VAGUE_TYPES: Final = ("", "text/plain", "application/octet-stream")
_STREAM_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
_STREAM_STARTS: Final = tuple(
    bom + name + b":" for bom in (b"", b"\xef\xbb\xbf") for name in (b"data", b"event", b"id", b"retry", b"")
)


class Capture:
    """Turns one exchange into rows. `ending` is None until `end` was called.

    `kept` holds the rows with their payloads where the recording's content setting is "facts", which keeps these out
    of the store: a reading can then still be made of them. It is None otherwise, and once they are above KEPT bytes.

    `watch` is shown all rows in batches, with their payloads as they came, whatever the content setting; it must not
    raise.

    `recording` is the given one as it may be stored: what `redactor` withholds of its request is masked. Payloads are
    redacted on their way into rows that are stored; the `end` event then tells how much was, and by which rules, in
    `redacted`. A mask has the length of what it covers, so sizes and cuts stay those of the network. (Where payloads
    are not stored, nothing of them needs to be redacted.) Rows may be held back by `take` until it is known that no
    credential begins in them.

    Calls out of order raise ValueError and change nothing.
    """

    def __init__(
        self,
        recording: Recording,
        watch: Callable[[Sequence[Row]], None] | None = None,
        redactor: redact.Redactor = redact.DEFAULT,
    ) -> None:
        self._asked: Counter[str] = Counter()  # what was redacted of the request
        recording = redactor.recording(recording, self._asked)
        self.recording = recording
        self._redactor = redactor
        self._passage = redact.Passage(redactor, armed=bool(self._asked))
        self._watch = watch
        self.ending: Ending | None = None
        self.kept: list[Row] | None = [] if recording.content == "facts" else None
        self._kept_size = 0
        self._id = recording.recording_id.bytes
        self._full = recording.content == "full"
        self._digest = EventDigest(recording)
        self._rows: list[Row] = []  # fresh, with payloads
        self._settled: list[Row] = []  # as they go into the store, and digested
        # Of a body that is not encoded: bytes that came, in rows or not yet, and how many came before them.
        self._arrived: list[bytes] = []
        self._passed = 0
        # Of an encoded body that is no stream: what is decoded, how much of it holds nothing, how much there must be
        # before it is looked at again, and whether a part before it, which held nothing, is forgotten.
        self._plain: bytearray | None = None
        self._harmless = 0
        self._look_from = 0
        self._forgotten = False
        self._too_large = False  # what was not searched is withheld
        self._position = 0
        self._now = 0
        self._status: int | None = None
        self._head_us: int | None = None
        # The body as the network delivers it: bytes received, bytes already in rows, chunk ends not yet in a row.
        self._received = 0
        self._stored = 0
        self._ends: list[cuts.Cut] = []
        self._held: list[bytes] = []  # undecoded (wire) or plain (body) bytes not yet in a row
        self._held_size = 0
        self._held_since = 0
        self._decoder: Decoder | None = None
        self._tokenizer: Tokenizer | None = None
        self._feed: Callable[[bytes], list[Frame | Piece]] | None = None  # the tokenizer's, where nothing is encoded
        self._start: bytes | None = b""  # the (decoded) body so far while that cannot tell yet whether it is a stream

    # -- what happened ---------------------------------------------------------------------------------------------

    def info(self, head: Head, elapsed_us: int) -> None:
        """A 1xx answer arrived."""
        self._head_row(Kind.INFO, head, elapsed_us)

    def head(self, head: Head, elapsed_us: int) -> None:
        """The response's status line and headers arrived; they decide how the body is cut."""
        self._head_row(Kind.HEAD, head, elapsed_us)
        self._status = head.status
        self._head_us = self._now
        if encoding := head.content_encoding:
            self._decoder = Decoder(encoding)
            self._plain = bytearray()
            if self._decoder.problem is not None:
                self._passage.bare(self._position)
        content_type = (head.get("content-type") or "").split(";")[0].strip().lower()
        if content_type == "text/event-stream":
            self._begin_stream()
        elif content_type not in _VAGUE_TYPES:
            self._start = None

    def data(self, chunk: bytes, elapsed_us: int) -> None:
        """A chunk of the body arrived, as the network delivered it (content codings still on)."""
        if not chunk:
            return
        if self.ending is not None:
            raise ValueError("the recording has ended; begin another one")
        if elapsed_us > self._now:  # noqa: PLR1730 (max() takes three times as long)
            self._now = elapsed_us
        if self._feed is None:
            self._not_plain_stream(chunk)
            return
        items = self._feed(chunk)
        if self._full:
            self._arrived.append(chunk)
        size = len(chunk)
        self._received += size
        if len(items) == 1 and not self._ends and isinstance(frame := items[0], Frame) and frame.size == size:
            # Nearly every chunk of a live stream is one whole frame.
            type_, data, raw, _ = frame
            if raw is not None:
                type_ = _storable_type(type_)
            self._rows.append((self._id, self._position, _SSE, self._now, type_, data, raw, size, None))
            self._position += 1
            self._stored += size
            return
        self._ends.append((self._received, self._now))
        self._stream_rows(items)

    def end(
        self, ending: str, elapsed_us: int, *, captured: str = Captured.FULL, detail: Mapping[str, Any] | None = None
    ) -> None:
        """The exchange is over. Puts what is still held into rows, then the `end` row and the digests.

        Raises TypeError or ValueError for a `detail` that is no JSON; the call may then be made again without.
        """
        if self.ending is not None:
            raise ValueError("the recording has ended; begin another one")
        told = {**self._redactor.told(detail or {}), "ending": str(ending), "captured": str(captured)}
        _json(told)
        self._tick(elapsed_us)
        self._finish_body(told)
        self._settle(last=True)
        if self._too_large:
            told = {"reason": _TOO_LARGE, **told, "captured": Captured.TRUNCATED.value}
        if redacted := self._redacted():
            told["redacted"] = redacted
        events = self._position
        self._envelope(Kind.END, _json(told))
        self._settle(last=True)
        ended = Ending(
            ending=str(ending),
            captured=told["captured"],
            elapsed_us=self._now,
            events=events,
            wire_bytes=self._received,
            http_status=self._status,
            head_us=self._head_us,
            detail=told,
        )
        facts, payload, seal = self._digest.finish(self.recording, ended)
        self.ending = dataclasses.replace(ended, facts_digest=facts, payload_digest=payload, seal=seal)

    def take(self) -> list[Row]:
        """The rows made since the last call, as they go into the store."""
        self._settle()
        rows, self._settled = self._settled, []
        return rows

    # -- how rows come about ---------------------------------------------------------------------------------------

    def _settle(self, *, last: bool = False) -> None:
        """Bring fresh rows into the form in which they are stored, and into the digests."""
        rows, self._rows = self._rows, []
        if self._watch is not None:
            self._watch(rows)
        if not self._full:
            self._keep(rows)
            rows = [_without_payload(row) for row in rows]
        else:
            rows = self._screened(rows, last=last)
        self._digest.rows(rows)
        self._settled += rows

    def _screened(self, rows: list[Row], *, last: bool) -> list[Row]:
        """Rows with their payloads as these may be stored: nearly always as they came."""
        if not rows and not last:
            return rows
        payloads = self._payloads(rows)
        ready, as_they_came = self._passage.take(rows, payloads, last=last)
        if as_they_came and self._decoder is None:
            self._digest.payload(payloads)
        else:
            for row in ready:
                if row[2] in _OF_BODY:
                    self._digest.payload(payload_of(row))
        return ready

    def _payloads(self, rows: list[Row]) -> bytes:
        """The bytes of the body that are in these rows; of an encoded one, those that were found inside, and those in
        which nothing was.
        """
        if self._decoder is not None:
            is_bare = self._passage.is_bare
            return b"".join([payload_of(row) for row in rows if row[2] in _DECODED or is_bare(row)])
        size = self._stored - self._passed
        if not size:
            return b""
        joined = b"".join(self._arrived)
        self._arrived = [joined[size:]] if size < len(joined) else []
        self._passed = self._stored
        return joined[:size]

    def _redacted(self) -> dict[str, Any]:
        """What the `end` event tells of it: how often each rule found something, and what is withheld altogether."""
        told: dict[str, Any] = {}
        for place, found in (("request", self._asked), ("response", self._passage.found)):
            if counts := {rule: count for rule, count in sorted(found.items()) if rule != "withheld"}:
                told[place] = counts
            if found["withheld"]:
                told.setdefault("withheld", []).append(place)
        if self._passage.wire_withheld:
            told["wire"] = "withheld"
        return told

    def _keep(self, rows: Sequence[Row]) -> None:
        if self.kept is None:
            return
        self.kept += rows
        self._kept_size += sum(row[7] for row in rows)
        if self._kept_size > KEPT:
            self.kept = None

    def _tick(self, elapsed_us: int) -> None:
        self._now = max(self._now, elapsed_us)

    def _head_row(self, kind: Kind, head: Head, elapsed_us: int) -> None:
        if self._status is not None or self._received or self.ending is not None:
            raise ValueError(f"{kind} comes too late: a head, a body or the end is there already")
        self._tick(elapsed_us)
        headers = self._redactor.headers(redact.keep_response_headers(head.headers))
        kept = dataclasses.replace(head, headers=headers, reason=self._redactor.text(head.reason))
        self._envelope(kind, kept.to_json())

    def _envelope(self, kind: Kind, payload: bytes) -> None:
        """A row that is no part of the body. Its payload is kept whatever the content setting."""
        self._digest.payload(payload)
        self._row(kind.value, None, payload, None, len(payload), _NO_CUTS)

    def _row(  # noqa: PLR0917 (the columns in order)
        self, kind: str, type_: str | None, data: bytes | None, raw: bytes | None, size: int, cut: bytes | None
    ) -> None:
        self._rows.append((self._id, self._position, kind, self._now, type_, data, raw, size, cut))
        self._position += 1

    def _begin_stream(self) -> None:
        self._start = self._plain = None
        self._tokenizer = Tokenizer()
        if self._decoder is None:
            self._feed = self._tokenizer.feed

    def _sniff(self, text: bytes) -> bytes:
        """Look whether the body is a stream by its first bytes; gives all of them once it is."""
        start = (self._start or b"") + text
        if _STREAM_START.match(start):
            self._begin_stream()
            return start
        self._start = start if any(known.startswith(start) for known in _STREAM_STARTS) else None
        return b""

    def _not_plain_stream(self, chunk: bytes) -> None:
        """A chunk of a body that is encoded, that is no stream, or that does not tell yet."""
        self._received += len(chunk)
        self._ends.append((self._received, self._now))
        if self._decoder is not None:
            self._encoded(self._decoder, chunk)
            return
        if self._full:
            self._arrived.append(chunk)
        if self._start is not None:
            text = self._sniff(chunk)
            if self._feed is not None:
                self._held.clear()
                self._stream_rows(self._feed(text))
                return
        self._hold(_BODY, chunk)

    def _encoded(self, decoder: Decoder, chunk: bytes) -> None:
        """A chunk with content codings on: itself a part of a `wire` row, and read for what is inside."""
        was_well = decoder.problem is None
        text = b"" if self._is_opaque() else decoder.feed(chunk)
        if was_well and decoder.problem is not None:
            self._passage.bare(self._position)
        if self._plain is not None:
            self._plain += text
            if len(self._plain) > KEPT:
                self._forget(self._plain)
        if self._start is not None:
            text = self._sniff(text)
        # Before the chunk goes into a row: what it completes and begins tells whether that row waits.
        items = self._tokenizer.feed(text) if self._tokenizer is not None else []
        if not items:
            self._hold(_WIRE, chunk)
            return
        self._held.append(chunk)
        self._held_size += len(chunk)
        self._flush(_WIRE)
        self._decoded_rows(items)

    def _forget(self, plain: bytearray) -> None:
        """More is decoded than memory should hold: what holds nothing goes; if that is not enough, all is given up."""
        self._forgotten = True
        del plain[: self._harmless]
        self._look_from = max(0, self._look_from - self._harmless)
        self._harmless = 0
        if len(plain) > KEPT:
            if self._passage.holds(bytes(plain)):
                self._withhold_rest()
            else:
                plain.clear()
                self._look_from = 0

    def _withhold_rest(self) -> None:
        """Nobody can tell any more what is in the rest of an encoded body: none of it is stored."""
        self._plain = None
        if self._full:
            self._too_large = True
            self._passage.wire_withheld = True
            self._passage.found["withheld"] += 1

    def _is_opaque(self) -> bool:
        """Whether nobody looks into the encoded body: it is no stream, and not searched (any more)."""
        return self._tokenizer is None and self._start is None and self._plain is None

    def _stream_rows(self, items: Iterable[Frame | Piece]) -> None:
        """Rows for what a chunk of a plain stream completed. The hot path: most chunks complete frames only."""
        rows, recording_id, now, ends = self._rows, self._id, self._now, self._ends
        position, stored = self._position, self._stored
        for item in items:
            if isinstance(item, Frame):
                kind = _SSE
                type_, data, raw, size = item
                if raw is not None:
                    type_ = _storable_type(type_)
            else:
                kind, type_, data, raw, size = _BODY, None, item.data, None, len(item.data)
            stored += size
            end, arrived = ends[0]
            if end > stored:
                cut: bytes | None = _NO_CUTS
            elif end == stored and arrived == now:
                cut = None
                del ends[0]
            else:
                cut = self._take_cuts(stored, size)
            rows.append((recording_id, position, kind, now, type_, data, raw, size, cut))
            position += 1
        self._position, self._stored = position, stored

    def _decoded_rows(self, items: Iterable[Frame | Piece]) -> None:
        """Rows for what was found inside an encoded stream; the `wire` rows before them have the chunks."""
        for item in items:
            if isinstance(item, Frame):
                type_, data, raw, size = item
                self._row(_SSE, type_ if raw is None else _storable_type(type_), data, raw, size, _NO_CUTS)
            else:
                self._row(_BODY, None, item.data, None, len(item.data), _NO_CUTS)

    def _take_cuts(self, stored: int, size: int) -> bytes | None:
        """The packed cuts of a row of `size` bytes that ends at body offset `stored`; they leave the list."""
        ends = self._ends
        count = bisect_left(ends, (stored + 1, 0))
        start = stored - size
        inside = [(offset - start, arrived) for offset, arrived in ends[:count]]
        del ends[:count]
        return cuts.pack(inside, size, self._now)

    def _hold(self, kind: str, chunk: bytes) -> None:
        if not self._held:
            self._held_since = self._now
        self._held.append(chunk)
        self._held_size += len(chunk)
        if kind == _BODY and self._start is not None:
            return  # a few bytes that may still be a stream's
        late = self._now - self._held_since >= PATIENCE
        if (late or self._held_size >= PIECE) and not self._must_wait(kind):
            keep = max(0 if late else self._held_size % PIECE, self._decoder.behind if self._decoder else 0)
            if keep < self._held_size:
                self._flush(kind, keep)
                if late:
                    self._held_since = self._now

    def _must_wait(self, kind: str) -> bool:
        """Whether held bytes cannot go into rows yet, because it takes more of them to tell what is redacted.

        The same whatever the content setting, so that the facts are.
        """
        if kind == _BODY:
            return self._redactor.wants_whole and self._held_size < KEPT
        if not self._plain:  # nothing was decoded, or it is in events: the one in these bytes is not over
            is_open = self._tokenizer is not None or self._start is not None
            return is_open and self._held_size < KEPT and not (self._decoder and self._decoder.problem)
        size = len(self._plain)
        if size < self._look_from and self._held_size < KEPT:
            return True
        if not self._passage.holds(bytes(self._plain[self._harmless :])):
            self._harmless = size
            return False
        if self._held_size >= KEPT:
            self._withhold_rest()
            return False
        self._look_from = size + (size - self._harmless) // _SHARE + 1  # looking again each time would be quadratic
        return True

    def _flush(self, kind: str, keep: int = 0) -> None:
        """Put the held bytes into rows of at most PIECE bytes; the last `keep` bytes stay held."""
        data = b"".join(self._held)
        end = len(data) - keep
        if kind == _BODY and self._full and self._redactor.wants_whole:
            data = self._passage.whole(data, complete=len(data) < KEPT)
        first = self._position
        for start in range(0, end, PIECE):
            piece = data[start : min(start + PIECE, end)]
            self._stored += len(piece)
            self._row(kind, None, piece, None, len(piece), self._take_cuts(self._stored, len(piece)))
        if end and self._full and self._decoder is not None and self._tokenizer is not None:
            behind = self._decoder.behind > 0
            self._passage.expect(range(first, self._position), self._tokenizer.unfinished, behind=behind)
        self._held = [data[end:]] if keep else []
        self._held_size = keep

    def _finish_body(self, told: dict[str, Any]) -> None:
        """Rows for what is still held when the exchange is over."""
        if self._decoder is not None and self._decoder.problem is None and not self._decoder.finished:
            self._passage.bare(self._position)
        if self._plain and self._full:
            self._finish_plain(bytes(self._plain))
        else:
            self._flush(_BODY if self._decoder is None else _WIRE)
        rest = _last_items(self._tokenizer) if self._tokenizer is not None else []
        if self._decoder is None:
            self._stream_rows(rest)
            return
        self._decoded_rows(rest)
        if self._tokenizer is None:
            return
        if self._decoder.problem is not None:
            told["undecoded"] = self._decoder.problem
        elif told["ending"] == Transport.EOF and not self._decoder.finished:
            told["undecoded"] = "the body ended before its content coding did"

    def _finish_plain(self, text: bytes) -> None:
        """The rest of an encoded body that is no stream; all of it decoded, too, where something in it is masked."""
        kept = self._passage.whole(text)
        if kept is not text:
            self._passage.wire_withheld = True
            self._too_large = self._forgotten
        self._flush(_WIRE)
        if kept is not text and not self._forgotten:
            for start in range(0, len(kept), PIECE):
                piece = kept[start : start + PIECE]
                self._row(_BODY, None, piece, None, len(piece), _NO_CUTS)


def _json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":"), allow_nan=False).encode("ascii")


def _storable_type(type_: str | None) -> str | None:
    """PostgreSQL's text has no U+0000. `recorder.sse.event_name` reads such a type again from the frame's bytes."""
    return None if type_ is None or "\0" in type_ else type_


def _last_items(tokenizer: Tokenizer) -> list[Frame | Piece]:
    """What the end of a stream brings out: a frame that had waited for a LF, then the unterminated tail in pieces."""
    items = tokenizer.finish()
    tail = tokenizer.close()
    return items + [Piece(tail[start : start + PIECE], True) for start in range(0, len(tail), PIECE)]


def _without_payload(row: Row) -> Row:
    recording_id, position, kind, elapsed_us, type_, data, _, size, cut = row
    kept = None if kind in (_SSE, _WIRE, _BODY) else data
    return recording_id, position, kind, elapsed_us, type_, kept, None, size, cut


def seal_interrupted(recording: Recording, events: Iterable[Event]) -> tuple[Row, Ending]:
    """The `end` row and the ending for a recording whose writer died after these events.

    Says `interrupted`, adds nothing else and depends on nothing else: any number of recoverers make the same row.
    """
    recording_id = recording.recording_id.bytes
    digest = EventDigest(recording)
    position = now = plain = undecoded = 0
    status = head_us = None
    for event in events:
        row: Row = (recording_id, *event)
        digest.rows([row])
        digest.payload(payload_of(row))
        position, now = event.position + 1, event.elapsed_us
        if event.kind == Kind.HEAD and event.data is not None:
            status, head_us = Head.from_json(event.data).status, now
        elif event.kind == Kind.WIRE:
            undecoded += event.size
        elif event.kind in (Kind.SSE, Kind.BODY):
            plain += event.size
    told = {"ending": Transport.INTERRUPTED.value, "captured": Captured.TRUNCATED.value}
    payload = _json(told)
    row = (recording_id, position, Kind.END.value, now, None, payload, None, len(payload), _NO_CUTS)
    digest.rows([row])
    digest.payload(payload)
    ending = Ending(
        ending=told["ending"],
        captured=told["captured"],
        elapsed_us=now,
        events=position,
        wire_bytes=undecoded or plain,
        http_status=status,
        head_us=head_us,
        detail=told,
    )
    facts, sealed_payload, seal = digest.finish(recording, ending)
    return row, dataclasses.replace(ending, facts_digest=facts, payload_digest=sealed_payload, seal=seal)
