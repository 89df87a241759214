"""Bytes of a server-sent event stream in, frames out: no byte lost, the same frames whatever the chunks, linear time.

A frame is everything up to and including the blank line that ends it, so all frames and the unterminated tail, joined,
are the stream again. `Tokenizer` cuts frames; `Dispatcher` says what an EventSource would have made of them, after the
WHATWG algorithm (https://html.spec.whatwg.org/multipage/server-sent-events.html, sections 9.2.5 and 9.2.6). The two
are apart because a frame that dispatches nothing (a comment, a lone `retry:`) must be replayed all the same.

Nearly every frame ever sent is `event: T\\ndata: D\\n\\n` or `data: D\\n\\n`. Those are canonical: T and D say it all,
one regular expression reads a chunk of them, and `wire` writes them back. Every other frame keeps its bytes.

Blank lines: each one ends a frame, so a second one in a row is a frame of its own, b"\\n". A blank line that ends in CR
may still turn out to end in CRLF, so its frame waits for one more byte (or for `finish`): only that makes frames
independent of the chunks. Streams that end lines with LF or CRLF, which is all that providers send, never wait.

This module knows no HTTP, no SQL and no provider, and parses no JSON.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["Dispatcher", "Frame", "Message", "Piece", "Tokenizer", "event_name", "messages", "payload", "wire"]

LIMIT: Final = 16 * 1024 * 1024
PIECE: Final = 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """One frame. Either `data` or `raw` is there, never both; `wire(type, data, raw)` gives the bytes back.

    type: the value of the last `event:` field, invalid UTF-8 as U+FFFD; None where there is none or it is empty.
    data: the payload, exactly, where the frame is canonical; else None.
    raw: the whole frame, every byte of it, where it is not canonical; else None.
    size: bytes on the wire.
    """

    type: str | None
    data: bytes | None
    raw: bytes | None
    size: int


class Piece(NamedTuple):
    """Bytes of a frame above the limit, which is handed on unparsed; `final` says that the frame ends with them."""

    data: bytes
    final: bool


class Message(NamedTuple):
    """What an EventSource would have dispatched (WHATWG 9.2.6).

    type: the event's name, "message" where the frame has none.
    data: the payload as text, lines joined by LF, invalid UTF-8 as U+FFFD.
    id: the last event id as it stands at this message; None as long as the stream gave none, "" once it was reset.
    retry: the reconnection time in milliseconds that this frame set; None where it set none.
    """

    type: str
    data: str
    id: str | None
    retry: int | None


def wire(type: str | None, data: bytes | None, raw: bytes | None) -> bytes:  # noqa: A002 (the column's name)
    """The bytes of a frame as they were on the wire.

    Raises ValueError for a frame that has neither `data` nor `raw`.
    """
    if raw is not None:
        return raw
    if data is None:
        raise ValueError("a frame has data or raw; this one has neither, so it was not made by a Tokenizer")
    if type is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (type.encode(), data)


# -- cutting frames ---------------------------------------------------------------------------------------------------

# The second line ending of a frame is a CR only if the next byte is known and is not the LF of a CRLF.
_BLANK: Final = rb"(?:\n|\r\n|\r(?=[^\n]))"
_BLANK_LINE: Final = re.compile(_BLANK)
_FRAME_END: Final = re.compile(rb"(?:\n|\r\n|\r(?!\n))" + _BLANK)
_FRAME_END_LF: Final = re.compile(rb"\n\r?\n")  # the same where each CR is part of a CRLF: many times faster

_CANONICAL: Final = re.compile(rb"(?:event: ([^\0\r\n]+)\n)?data: ([^\r\n]*)\n\n")

# The fast path, for text that holds no CR. One frame, as most chunks of a live stream are; or a run of them that ends
# with a blank line: (name, data, b"") for each canonical frame, and from the first other frame on everything as
# (b"", b"", rest). That last group keeps the time linear: without it findall would try again at every byte.
_PLAIN: Final = rb"(?:event: ([ -~]+)\n)?data: (.*)\n\n"
_PLAIN_FRAME: Final = re.compile(_PLAIN)
_PLAIN_RUN: Final = re.compile(_PLAIN + rb"|((?s:.+))")

# The end of a frame begins at most so many bytes before a chunk: the last of a line ending, and a CR.
_SEAM: Final = 2
# Up to so many held bytes may be a blank line at the start of a frame (a BOM and a CR): all are looked at again.
_SHORT: Final = 4

_new_frame: Final = tuple.__new__  # half the cost of Frame(...), and there is one for every event


class _Names(dict[bytes, tuple[str | None, int]]):
    """Event name as sent -> as Frame.type, and what a canonical frame of that name measures without its data.

    A stream repeats a few names thousands of times. Bounded, because names come from strangers.
    """

    def __missing__(self, name: bytes) -> tuple[str | None, int]:
        known = (name.decode("ascii"), len(name) + 16) if name else (None, 8)
        if len(self) >= 512:
            self.clear()
        if len(name) <= 64:
            self[name] = known
        return known


_NAMES: Final = _Names()


class Tokenizer:
    """Cuts one stream into frames. Joining the frames' wire bytes, the pieces and the tail gives the input back.

    limit: a frame of more bytes than this is not parsed but handed on in pieces; None for no limit.
    piece: the size of those pieces; only a frame's last one is shorter.
    Neither the frames nor the pieces depend on how the stream was cut into chunks.

    `feed` every chunk, then `finish`, then `close`.
    """

    __slots__ = ("_bom", "_held", "_limit", "_over", "_piece", "_start")

    def __init__(self, limit: int | None = LIMIT, piece: int = PIECE) -> None:
        if limit is not None and limit < _SHORT:
            raise ValueError(f"the frame limit must be at least {_SHORT} bytes, or None for no limit")
        if piece < 1:
            raise ValueError("the size of a piece must be at least 1 byte")
        self._limit = sys.maxsize if limit is None else limit
        self._piece = piece
        self._held = bytearray()  # of the unfinished frame: what is not yet handed out
        self._over = False  # the unfinished frame is above the limit
        self._start = True  # no more than a part of a BOM has been seen
        self._bom = False  # the unfinished frame is the stream's first and begins with a BOM

    @property
    def pending(self) -> int:
        """Bytes held of an unfinished frame."""
        return len(self._held)

    @property
    def unfinished(self) -> bytes:
        """What is held of an unfinished frame."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> list[Frame | Piece]:
        """The frames that this chunk completed, in order. Pieces stand among them only for a frame above the limit."""
        if self._held or self._start or b"\r" in chunk or len(chunk) > self._limit:
            return self._feed(chunk)
        if one := _PLAIN_FRAME.fullmatch(chunk):
            name, data = one.groups(b"")
            return [_new_frame(Frame, (_NAMES[name][0], data, None, len(chunk)))]
        end = chunk.rfind(b"\n\n") + 2
        if end == 1:
            return self._cut(chunk)
        run = _PLAIN_RUN.findall(chunk, 0, end)
        other: bytes = run[-1][2]
        if other:
            run.pop()
        out: list[Frame | Piece] = []
        for name, data, _ in run:
            type_, around = _NAMES[name]
            out.append(_new_frame(Frame, (type_, data, None, around + len(data))))
        if other:
            out += self._cut(other)
        if end != len(chunk):
            self._hold(chunk[end:])
        return out

    def finish(self) -> list[Frame | Piece]:
        """The frame that waited to see whether its CR is a CRLF. Call it once, when the input has ended.

        Only a stream whose last blank line ends in CR has one; without this call its bytes are part of the tail.
        """
        held = bytes(self._held)
        line_start = len(_BOM) if self._bom else 0
        if held.endswith((b"\r\r", b"\n\r")) or held[line_start:] == b"\r":
            self._held.clear()
            return self._complete(held)
        return []

    def close(self) -> bytes:
        """The unterminated tail, b"" where there is none: bytes after the last frame, or after the last piece.

        WHATWG discards it; a recorder keeps it. The tokenizer is of no use afterwards.
        """
        tail = bytes(self._held)
        self._held.clear()
        return tail

    def _feed(self, chunk: bytes) -> list[Frame | Piece]:
        """`feed` for every chunk and every state."""
        if len(self._held) <= _SHORT:
            text = bytes(self._held) + chunk
            self._held.clear()
            return self._begin(text) if self._start else self._cut(text)
        seam = bytes(self._held[-_SEAM:]) + chunk
        found = _frame_end(seam).search(seam)
        if found is None:
            return self._hold(chunk)
        # Pieces of a frame above the limit are cut from its own bytes; anything else is read anew with what follows it.
        end = found.end() - _SEAM if self._over else len(chunk)
        text = bytes(self._held) + chunk[:end]
        self._held.clear()
        return self._complete(text) + self.feed(chunk[end:]) if self._over else self.feed(text)

    def _begin(self, text: bytes) -> list[Frame | Piece]:
        """The stream's first bytes: a BOM there is not part of a line (WHATWG 9.2.5)."""
        if len(text) < len(_BOM) and _BOM.startswith(text):
            return self._hold(text)
        self._start = False
        self._bom = text.startswith(_BOM)
        return self.feed(text)

    def _cut(self, text: bytes) -> list[Frame | Piece]:
        """The frames of a text that begins with a frame, whatever they look like; what remains is held."""
        out: list[Frame | Piece] = []
        frame_end = _frame_end(text)
        start = 0
        line_start = len(_BOM) if self._bom else 0
        while found := _BLANK_LINE.match(text, line_start) or frame_end.search(text, line_start):
            out += self._complete(text[start : found.end()])
            start = line_start = found.end()
        if start != len(text):
            out += self._hold(text[start:])
        return out

    def _complete(self, whole: bytes) -> list[Frame | Piece]:
        """The frame that ends here: `whole` is all of it, or all that is left of it after the pieces handed out."""
        bom, self._bom = self._bom, False
        over, self._over = self._over, False
        if over or len(whole) > self._limit:
            ends = range(self._piece, len(whole) + self._piece, self._piece)
            return [Piece(whole[end - self._piece : end], end >= len(whole)) for end in ends]
        return [_read_frame(whole, bom)]

    def _hold(self, part: bytes) -> list[Frame | Piece]:
        """Keeps the bytes of an unfinished frame; above the limit, hands out all but what the search still needs."""
        self._held += part
        self._over = self._over or len(self._held) > self._limit
        out: list[Frame | Piece] = []
        while self._over and len(self._held) > self._piece + _SHORT:
            out.append(Piece(bytes(self._held[: self._piece]), False))
            del self._held[: self._piece]
        return out


def _frame_end(text: bytes) -> re.Pattern[bytes]:
    """The pattern that finds the end of a frame in this text."""
    lone_cr = b"\r" in text and text.count(b"\r") != text.count(b"\r\n")
    return _FRAME_END if lone_cr else _FRAME_END_LF


def _read_frame(whole: bytes, bom: bool) -> Frame:
    if whole.endswith(b"\n\n") and (canonical := _CANONICAL.fullmatch(whole)):
        name, data = canonical.groups()
        try:
            return Frame(None if name is None else name.decode(), data, None, len(whole))
        except UnicodeDecodeError:
            pass  # the name cannot be written back from text: the bytes are kept
    return Frame(_last_name(whole, bom), None, whole, len(whole))


# -- reading frames ---------------------------------------------------------------------------------------------------


def _field(name: bytes) -> re.Pattern[bytes]:
    """Finds the values of a field in a frame led by LF: nothing where there is no colon, and one space dropped.

    That the name begins its line is asked last, because a pattern that begins with plain text is found faster.
    """
    return re.compile(name + rb"(?<=[\r\n]" + name + rb")(?:: ?([^\r\n]*))?(?=[\r\n])")


_EVENT_FIELD: Final = _field(b"event")
_DATA_FIELD: Final = _field(b"data")
_ID_FIELD: Final = _field(b"id")
_RETRY_FIELD: Final = _field(b"retry")

# Longer than any time anybody could mean, and short enough for int() and for a 64-bit column.
_RETRY_DIGITS: Final = 18


def _values(field: re.Pattern[bytes], raw: bytes, first: bool) -> list[bytes]:
    lines = raw.removeprefix(_BOM) if first else raw
    return field.findall(b"\n" + lines)


def _last_name(raw: bytes, first: bool) -> str | None:
    names = _values(_EVENT_FIELD, raw, first)
    return names[-1].decode(errors="replace") or None if names else None


def event_name(type: str | None, raw: bytes | None, *, first: bool = False) -> str:  # noqa: A002 (the column's name)
    """The event's name: "message" where the frame has none (WHATWG 9.2.6).

    A frame stored without its type (U+0000 is legal in it and in no PostgreSQL text) is read again from `raw`.
    first: the frame is the stream's first, where a BOM is to be skipped.
    """
    if type is None and raw is not None:
        type = _last_name(raw, first)  # noqa: A001 (the column's name)
    return type or "message"


def payload(
    type: str | None,  # noqa: A002, ARG001 (so that a stored frame can be passed as it is)
    data: bytes | None,
    raw: bytes | None,
    *,
    first: bool = False,
) -> bytes | None:
    """The data of a frame, several `data:` lines joined by LF; None where nothing would be dispatched.

    first: the frame is the stream's first, where a BOM is to be skipped.
    """
    if data is not None or raw is None:
        return data
    lines: list[bytes] = _values(_DATA_FIELD, raw, first)
    return b"\n".join(lines) if lines else None


class Dispatcher:
    """Frames of one stream, in order, to Messages. The tail of a stream is not a frame and dispatches nothing.

    last_event_id: what a reconnecting client would send; None as long as the stream gave none, "" once it was reset.
    retry: the reconnection time in force, in milliseconds; None as long as the stream set none. A time of more than
        18 digits is ignored like one that is no number.
    """

    __slots__ = ("_first", "last_event_id", "retry")

    def __init__(self) -> None:
        self.last_event_id: str | None = None
        self.retry: int | None = None
        self._first = True

    def dispatch(self, type: str | None, data: bytes | None, raw: bytes | None) -> Message | None:  # noqa: A002
        """The message of the next frame; None where it dispatches nothing (no data line)."""
        first, self._first = self._first, False
        if raw is None:
            return None if data is None else self._message(type, data, None)
        for value in _values(_ID_FIELD, raw, first):
            if b"\0" not in value:
                self.last_event_id = value.decode(errors="replace")
        retry = None
        for value in _values(_RETRY_FIELD, raw, first):
            if value.isdigit() and len(digits := value.lstrip(b"0")) <= _RETRY_DIGITS:
                self.retry = retry = int(digits or b"0")
        lines = payload(type, data, raw, first=first)
        return None if lines is None else self._message(_last_name(raw, first), lines, retry)

    def skip(self) -> None:
        """A frame went by that was not parsed, because it is above the limit: what it set is unknown."""
        self._first = False

    def _message(self, name: str | None, data: bytes, retry: int | None) -> Message:
        return Message(name or "message", data.decode(errors="replace"), self.last_event_id, retry)


def messages(frames: Iterable[Frame | Piece]) -> Iterator[Message]:
    """The messages of one stream's frames, from its first on."""
    dispatcher = Dispatcher()
    for frame in frames:
        if isinstance(frame, Piece):
            dispatcher.skip()
        elif message := dispatcher.dispatch(frame.type, frame.data, frame.raw):
            yield message
