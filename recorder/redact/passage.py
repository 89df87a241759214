"""The payloads of one recording on their way into the store.

Most go by: a quick look at all new bytes together says that no credential can be in them. Otherwise each payload is
redacted by itself, and then what the events say together is looked at, because a model spells a credential out in
many events: the texts of one member (`delta`, `content`, `text`, …) of one choice, item or block are joined, and what
is found in the whole is masked in its parts. While a text breaks off in what may become a credential, its rows are
held back; they are stored, masked or not, as soon as it is known. So are the last characters of each text, where a
user's patterns look at texts.

What begins in pieces is noticed where a tokenizer would cut it: `sk`, `-proj`, `-…`, but not `s`, `k`, `-…`. Once
something was found in a recording, or where a user's rules look at texts, every event is looked at, and any cut will
do. What is longer than the limits below is masked as far as it was held back.

An answer with a content coding has `wire` rows before the events that they hold. What is masked in an event cannot be
masked in these, so from the first such row on they go without payload. A row that may also hold the beginning of what
is masked later waits for the events of the next one. Where no coding could be taken off (it is unknown, damaged, or
there is none whatever the head says), a `wire` row is a piece of text like any other.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, takewhile
from typing import Final, NamedTuple, TypeAlias

from ..recording import Kind, Row
from .leaves import Unescaped, leaves
from .rules import Redactor, apply, withheld
from .screen import breaks_off, may_hold, suspicious
from .shapes import Found, cover, find_shapes, unfinished

__all__ = ["Passage"]

logger = logging.getLogger("recorder")

_SSE: Final = Kind.SSE.value
_BODY: Final = Kind.BODY.value
_WIRE: Final = Kind.WIRE.value

#: Members that hold pieces of a text, in any of the protocols.
_TEXTS: Final = frozenset(
    {
        *("arguments", "code", "content", "data", "delta", "input", "output", "partial_json", "reasoning"),
        *("reasoning_content", "refusal", "text", "thinking", "token", "transcript", "value"),
    }
)
#: Members that tell one text from another.
_MARKS: Final = frozenset({"index", "output_index", "content_index", "summary_index", "item_id", "candidate_index"})

#: Rows that went by and are remembered, so that what follows is read in its context.
_REMEMBERED: Final = 4
#: Rows and bytes that are held back at most.
_MOST_ROWS: Final = 4096
_MOST_BYTES: Final = 8 << 20
#: What is held back is looked at again when this share of it has come: each time would be quadratic.
_SHARE: Final = 16
#: Characters of each text that are held back where a user's patterns look at it.
_LOOKAHEAD: Final = 256
#: Bytes at the end of a body's row that are looked at for what breaks off there.
_BODY_END: Final = 24 << 10

#: What tells the texts of a recording apart: the event's type, the member's path without indexes, and its marks.
_Channel: TypeAlias = tuple[object, ...]


class _Piece(NamedTuple):
    channel: _Channel
    start: int
    end: int


class _Line:
    """A row on its way: as it came, and as it may be stored. `settled`: it is in the store, and here for what follows.

    A find is looked for in what came, so that a mask never hides that a credential goes on. `is_bare`: nothing was
    decoded from this `wire` row.
    """

    __slots__ = ("came", "is_bare", "pieces", "row", "settled", "touched")

    def __init__(self, row: Row, *, is_bare: bool = False) -> None:
        self.came = self.row = row
        self.settled = False
        self.touched = False
        self.is_bare = is_bare
        self.pieces = list(_pieces(row)) if not is_bare else [_Piece((_WIRE,), 0, len(_payload(row)))]

    def part(self, piece: _Piece) -> bytes:
        """A part of the payload as it came."""
        return _payload(self.came)[piece.start : piece.end]

    def rename(self, type_: str) -> None:
        """Another name of the event, of the same length, is to be stored; `raw` holds it, too, where there is any."""
        recording_id, position, kind, elapsed_us, _, data, raw, size, cut = self.row
        self.row = (recording_id, position, kind, elapsed_us, type_, data, raw, size, cut)
        self.touched = True

    def put(self, payload: bytes) -> None:
        """Another payload of the same length is to be stored."""
        recording_id, position, kind, elapsed_us, type_, data, raw, size, cut = self.row
        if raw is None:
            data = payload
        else:
            raw = payload
        self.row = (recording_id, position, kind, elapsed_us, type_, data, raw, size, cut)
        self.touched = True


def _withheld(row: Row) -> Row:
    recording_id, position, kind, elapsed_us, type_, data, raw, size, cut = row
    if kind == _WIRE:
        return recording_id, position, kind, elapsed_us, type_, None, raw, size, cut
    if kind not in (_SSE, _BODY):
        return row
    if raw is not None:
        return recording_id, position, kind, elapsed_us, None, None, _blind(raw), size, cut
    return recording_id, position, kind, elapsed_us, type_, data and withheld(len(data)), None, size, cut


def _blind(raw: bytes) -> bytes:
    """A frame of this length that holds nothing: a comment, and a blank line (WHATWG 9.2.6)."""
    return b":".ljust(len(raw) - 2, b"*") + b"\n\n" if len(raw) > 2 else raw


def _name(row: Row) -> bytes:
    """An event's name."""
    return (row[4] or "").encode("utf-8", "surrogateescape")


def _payload(row: Row) -> bytes:
    return (row[5] if row[6] is None else row[6]) or b""


class Passage:
    """One recording's payloads. `armed`: its request held something, so the answer may repeat it.

    found: how often each rule found something so far. wire_withheld: `wire` rows no longer have their payloads.
    """

    __slots__ = (
        *("_always", "_bare_from", "_expected", "_held", "_new", "_redactor", "_remembered"),
        *("found", "wire_withheld"),
    )

    def __init__(self, redactor: Redactor, *, armed: bool = False) -> None:
        self.found: Counter[str] = Counter()
        self.wire_withheld = False
        self._redactor = redactor
        self._always = armed or redactor.own
        # By position the `wire` rows that hold a part of what the next one completes: an event that has begun to be
        # decoded (True), or what is not decoded yet (False).
        self._expected: dict[int, bool] = {}
        self._bare_from: int | None = None
        self._held: list[_Line] = []
        self._new: list[Row] = []  # behind these, and not looked at yet
        self._remembered: deque[Row | _Line] = deque(maxlen=_REMEMBERED)

    def take(self, rows: list[Row], payloads: bytes, *, last: bool = False) -> tuple[list[Row], bool]:
        """The rows that may be stored now, in order, and whether they are `rows` as they came.

        `payloads` are the bytes of these rows' body; `last` says that none follow. What is held back comes later.
        Raises nothing: where looking closely fails, payloads are withheld.
        """
        try:
            rows, self._new = [*self._new, *rows] if self._new else rows, []
            if not self._is_wary() and not suspicious(payloads) and not self._ends_open(rows, last=last):
                ready = self._pass(rows, last=last)  # what nearly everything does
            elif not last and len(rows) * _SHARE < len(self._held):
                ready, self._new = [], rows
            else:
                ready = self._take(rows, last=last)
        except Exception as error:  # noqa: BLE001 (a defect of ours must neither leak nor stop the writer)
            # Only the class: a message may quote the payload.
            logger.warning(
                "recorder could not redact a recording (%s); its payloads are withheld", type(error).__name__
            )
            self.wire_withheld = True
            held, self._held = [line.came for line in self._held], []
            self.found["withheld"] += 1
            return [_withheld(row) for row in (*held, *rows)], False
        if self._expected:
            waiting = [line.row for line in self._held] + self._new
            self._expected = {row[1]: self._expected[row[1]] for row in waiting if row[1] in self._expected}
        return ready, ready is rows

    def _pass(self, rows: list[Row], *, last: bool) -> list[Row]:
        """Rows in which nothing can be. Those wait that hold the beginning of what is still to come."""
        waits = self._first_open(rows) if self._expected and not last else len(rows)
        if waits < len(rows):
            if _is_too_much(rows[waits:]):
                return self._look(rows, last=last)
            rows, self._new = rows[:waits], rows[waits:]
        self._remember(rows)
        return rows

    def _take(self, rows: list[Row], *, last: bool) -> list[Row]:
        if self._is_wary():
            return self._look(rows, last=last)
        ready: list[Row] = []
        by = 0
        for at, row in enumerate(rows):
            if row[2] == _WIRE:  # what follows was decoded from it: they are looked at together
                self._remember(rows[by:at])
                return ready + rows[by:at] + self._look(rows[at:], last=last)
            if self._is_wary() or _is_suspicious(row):
                self._remember(rows[by:at])
                ready += rows[by:at]
                ready += self._look([row], last=last and at == len(rows) - 1)
                by = at + 1
        self._remember(rows[by:])
        return ready + rows[by:]

    def _is_wary(self) -> bool:
        """Whether the next row is to be looked at, whatever it looks like."""
        return self._always or bool(self._held) or self.wire_withheld

    def _remember(self, rows: Sequence[Row | _Line]) -> None:
        """These went into the store, and stand before what follows."""
        self._remembered.extend(rows[-_REMEMBERED:])

    def whole(self, data: bytes, *, complete: bool = True) -> bytes:
        """An answer's body that is there as a whole, as it may be stored. What is not complete is withheld."""
        if complete:
            cleaned = self._redactor.clean(data, "response", self.found)
        else:
            cleaned = withheld(len(data))
            self.found["withheld"] += 1
        self._always = self._always or cleaned is not data
        return cleaned

    def expect(self, wires: Sequence[int], tail: bytes, *, behind: bool) -> None:
        """`wire` rows of these positions come, and then the events that they complete. `tail`: what was decoded behind
        these; `behind`: there may be more that is not decoded yet.
        """
        self._expected.update(dict.fromkeys(wires[:-1], True))
        if tail and self.holds(tail):
            self._expected[wires[-1]] = True
        elif behind:
            self._expected[wires[-1]] = False

    def bare(self, position: int) -> None:
        """Nothing is decoded from the `wire` rows from this position on, nor from those that wait for it."""
        waiting = [each for each, begun in self._expected.items() if not begun]
        self._bare_from = min([position, *waiting])
        self._always = self._always or bool(waiting)
        self._held = [self._line(line.row) if self.is_bare(line.row) else line for line in self._held]

    def is_bare(self, row: Row) -> bool:
        """Whether it is a `wire` row from which nothing is decoded."""
        return row[2] == _WIRE and self._bare_from is not None and row[1] >= self._bare_from

    def _line(self, row: Row) -> _Line:
        return _Line(row, is_bare=self.is_bare(row))

    def _as_settled(self, row: Row | _Line) -> _Line:
        line = row if isinstance(row, _Line) else self._line(row)
        line.settled = True
        return line

    def _ends_open(self, rows: Sequence[Row], *, last: bool) -> bool:
        """Whether the last rows are pieces of a body, which may break off anywhere, also within the few before them."""
        if last or not rows or not self._is_piece(rows[-1]):
            return False
        before = [line.came if isinstance(line, _Line) else line for line in self._remembered]
        end = b""
        for row in takewhile(self._is_piece, chain(reversed(rows), reversed(before))):
            end = (row[5] or b"") + end
            if len(end) >= _BODY_END:
                break
        return unfinished(end[-_BODY_END:]) is not None

    def _is_piece(self, row: Row) -> bool:
        return row[2] == _BODY or self.is_bare(row)

    def holds(self, decoded: bytes) -> bool:
        """Whether what was decoded so far has to be there as a whole before what it came from may be stored."""
        return self._redactor.own or may_hold(decoded) or unfinished(decoded[-_BODY_END:]) is not None

    # -- looking closely ---------------------------------------------------------------------------------------------

    def _look(self, rows: list[Row], *, last: bool) -> list[Row]:
        new = [self._line(row) for row in rows]
        for line in new:
            self._clean(line)
        lines = [*map(self._as_settled, self._remembered), *self._held, *new]
        held_from = len(lines)
        for parts in _texts(lines).values():
            if not lines[parts[-1][0]].settled:
                held_from = min(held_from, self._join(lines, parts, last=last))
        held_from = self._with_wire(lines, held_from, last=last)
        if _is_too_much([line.row for line in lines[held_from:]]):
            self._give_up(lines[held_from:])
            held_from = len(lines)
        self._withhold_wire(lines)
        self._held = lines[held_from:]
        self._always = self._always or bool(self.found)
        ready = [line.row for line in lines[:held_from] if not line.settled]
        self._remembered.clear()
        self._remember([self._as_settled(line) for line in lines[:held_from]])
        return ready

    def _clean(self, line: _Line) -> None:
        """Redact a row by itself."""
        payload = _payload(line.row)
        if (line.row[2] in (_SSE, _BODY) or line.is_bare) and payload:
            cleaned = self._redactor.clean(payload, "response", self.found)
            if cleaned is not payload:
                line.put(cleaned)
        self._clean_name(line)

    def _clean_name(self, line: _Line) -> None:
        """Redact an event's name, which stands in a column of its own."""
        if not (name := _name(line.row)):
            return
        in_raw = line.row[6] is not None
        cleaned = self._redactor.clean(name, "response", Counter() if in_raw else self.found)
        if cleaned is not name:
            line.rename(cleaned.decode("utf-8", "surrogateescape"))

    def _join(self, lines: list[_Line], parts: list[tuple[int, _Piece]], *, last: bool) -> int:
        """Mask what the parts of a text hold together. Gives the first line that must wait, or how many there are."""
        texts = [lines[at].part(piece) for at, piece in parts]
        joined = b"".join(texts)
        ends = list(accumulate(map(len, texts)))
        waits = None if last else unfinished(joined)
        finds = find_shapes(joined) if may_hold(joined) else []
        if self._redactor.looks_at_text:
            finds += self._redactor.text_spans(Unescaped(joined))
            if not last:
                waits = min(waits or len(joined), len(joined) - _LOOKAHEAD)
        for found in sorted(finds, key=lambda each: each.end, reverse=True):
            if waits is not None and found.end > waits:  # it may go on
                waits = min(waits, found.start)
            else:
                self._mask(lines, parts, ends, found)
        if waits is None or waits >= len(joined):
            return len(lines)
        waiting = parts[bisect_right(ends, max(0, waits)) :]
        return next((at for at, _ in waiting if not lines[at].settled), len(lines))

    def _mask(self, lines: list[_Line], parts: list[tuple[int, _Piece]], ends: list[int], found: Found) -> None:
        """Mask a find in all of its parts that are not in the store yet."""
        masked = cover(found.end - found.start)
        changed = False
        for (at, piece), end in zip(parts, ends, strict=True):
            start = end - (piece.end - piece.start)
            begin, stop = max(start, found.start), min(end, found.end)
            if begin >= stop or lines[at].settled:
                continue
            line = lines[at]
            old, new = _payload(line.row), masked[begin - found.start : stop - found.start]
            offset = piece.start + begin - start
            if old[offset : offset + len(new)] != new:
                line.put(old[:offset] + new + old[offset + len(new) :])
                changed = True
        if changed:
            self.found[found.rule] += 1

    def _give_up(self, lines: list[_Line]) -> None:
        """Mask all the texts that have been held back for too long; nobody knows what is in their `wire` rows."""
        self.wire_withheld = self.wire_withheld or any(line.row[2] == _WIRE for line in lines)
        for line in lines:
            for piece in line.pieces:
                counted: Counter[str] = Counter()
                masked = apply(_payload(line.row), [Found(piece.start, piece.end, "unfinished")], counted)
                if counted:
                    line.put(masked)
                    self.found.update(counted)

    # -- content codings -----------------------------------------------------------------------------------------------

    def _with_wire(self, lines: list[_Line], at: int, *, last: bool) -> int:
        """From where on lines wait: with a held event each row that it was decoded from; and what holds the beginning
        of another event waits for that, unless there is none.
        """
        rows = [line.row for line in lines]
        for number, line in enumerate(lines):
            if line.row[2] == _WIRE and not line.settled:
                end, is_open = self._reach(rows, number)
                if end > at or (is_open and not last):
                    return min(number, at)
        return at

    def _first_open(self, rows: Sequence[Row]) -> int:
        """The first row that holds the beginning of what is still to come; how many there are where none does."""
        wires = (at for at, row in enumerate(rows) if row[2] == _WIRE)
        return next((at for at in wires if self._reach(rows, at)[1]), len(rows))

    def _reach(self, rows: Sequence[Row], at: int) -> tuple[int, bool]:
        """The row behind the events that a `wire` row has a part in; whether more of them are to come."""
        end, goes_on = _next_wire(rows, at), rows[at][1] in self._expected
        while goes_on and end < len(rows):
            goes_on = self._expected.get(rows[end][1], False)
            end = _next_wire(rows, end)
        return end, goes_on

    def _withhold_wire(self, lines: list[_Line]) -> None:
        touched = next((at for at, line in enumerate(lines) if line.touched and line.row[2] != _WIRE), None)
        rows = [line.row for line in lines]
        for at, line in enumerate(lines):
            recording_id, position, kind, elapsed_us, type_, data, raw, size, cut = line.row
            if kind != _WIRE or line.settled or data is None:
                continue
            if not self.wire_withheld:
                self.wire_withheld = touched is not None and touched < self._reach(rows, at)[0]
            if self.wire_withheld:
                line.row = (recording_id, position, kind, elapsed_us, type_, None, raw, size, cut)


def _next_wire(rows: Sequence[Row], at: int) -> int:
    """The next `wire` row behind a row; how many rows there are where none follows."""
    return next((number for number in range(at + 1, len(rows)) if rows[number][2] == _WIRE), len(rows))


def _is_too_much(rows: Sequence[Row]) -> bool:
    return len(rows) > _MOST_ROWS or sum(row[7] for row in rows) > _MOST_BYTES


def _is_suspicious(row: Row) -> bool:
    """The same for one row. A canonical one is framed by a quotation mark less than its bytes on the wire."""
    payload = _payload(row)
    return may_hold(payload) or breaks_off(payload) or row[2] == _BODY or may_hold(_name(row))


def _texts(lines: Sequence[_Line]) -> dict[_Channel, list[tuple[int, _Piece]]]:
    """The parts of each text, each with the line that it stands in."""
    found: defaultdict[_Channel, list[tuple[int, _Piece]]] = defaultdict(list)
    for at, line in enumerate(lines):
        for piece in line.pieces:
            found[piece.channel].append((at, piece))
    return found


def _pieces(row: Row) -> Iterator[_Piece]:
    """The parts of texts in a row."""
    _, _, kind, _, type_, _, raw, _, _ = row
    payload = _payload(row)
    if kind == _BODY:
        yield _Piece((_BODY,), 0, len(payload))
    if kind != _SSE or not payload:
        return
    start = payload.find(b"{")
    if start < 0:
        if raw is None:
            yield _Piece((type_, None), 0, len(payload))
        return
    values = list(leaves(payload, start))
    marks = tuple(payload[leaf.start : leaf.end] for leaf in values if leaf.path and leaf.path[-1] in _MARKS)
    for leaf in values:
        if leaf.is_text and leaf.path and leaf.path[-1] in _TEXTS and leaf.start < leaf.end:
            names = tuple(step for step in leaf.path if isinstance(step, str))
            yield _Piece((type_, names, marks), leaf.start, leaf.end)
