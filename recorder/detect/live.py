"""Runaways noticed while a stream runs: what `runaway` finds afterwards, found in the bytes of the events as they come.

No JSON is parsed. The text of a delta is found by the name of the member that holds it in all known protocols, and
judged as it stands there, with JSON's escapes on. That costs well below a microsecond per event and a few kilobytes per
recording. What it cannot know, it leaves to the reading: whether a text ends here, what other choices say beside it,
whitespace outside of ASCII.

The module refuses to know where events come from and who wants to hear of a Notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from recorder.recording import Kind, Row

from .runaway import JSON_BLANKS, PIECES, STEP, TEXT_BLANKS, TYPED, WINDOW, is_loop

__all__ = ["LiveDetector", "Notice", "asks_for_json"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something is wrong with an answer that is still under way. Holds nothing of its content.

    `position` and `elapsed_us` (microseconds since the request) are those of the event in which it was noticed;
    `since_position` and `since_us` those of the event in which it began, as far as can be told. `detail` says in words
    how much there was of it.
    """

    kind: Literal["whitespace_runaway", "repetition_runaway"]
    recording_id: UUID
    position: int
    elapsed_us: int
    since_position: int
    since_us: int
    detail: str

    def __str__(self) -> str:
        what = self.kind.replace("_", " ")
        return (
            f"recording {self.recording_id}: {what} since event {self.since_position}, "
            f"{self.since_us / 1e6:.1f} s after the request ({self.detail})"
        )


_ASKED: Final = re.compile(
    rb'"(?:type"\s*+:\s*+"json_(?:object|schema)|response(?:MimeType|_mime_type)"\s*+:\s*+"application/json)"'
)


def asks_for_json(body: bytes | None) -> bool:
    """Whether a request's body, as sent, asks for an answer in JSON; False where it is not known."""
    if body is None or not (b'"json_' in body or b'"application/json"' in body):
        return False
    return _ASKED.search(body) is not None


#: Members that hold the text of a delta, in any of the protocols. Full objects have some of them too: what a stream
#: repeats at its end changes nothing that was noticed before.
_MEMBER: Final = re.compile(
    rb'"(?:value|content|text|delta|arguments|partial_json|thinking|reasoning_content|reasoning|refusal|input)"'
    rb'\s{0,8}+:\s{0,8}+"(?!")'
)
#: The inside of a string. Bounded, because the engine remembers each round of a repetition.
_INSIDE: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+){0,1000}', re.DOTALL)
_BLANK: Final = re.compile(rb"(?: ++|\\[nrt])+")
_ROW: Final = re.compile(rb"(?: |\\[nrt]){%d,}" % JSON_BLANKS)
#: A quote of the text itself, or a backslash and what it takes the meaning from: escaped once more by the event's JSON.
_QUOTE: Final = re.compile(rb'\\\\(?:\\.|[^\\]|\Z)|\\"', re.DOTALL)

_SSE: Final = Kind.SSE.value
_BLANK_ENDS: Final = b" nrt"
_BLANK_BEGINS: Final = b" \\"
_CLOSING, _BACKSLASH, _N = b'"\\n'

#: Looks in a row that must find a repetition, so that a short table of zeros is over by then.
_LOOKS: Final = 3
#: Bytes of one event's text that are looked at: its end.
_LOOKED_AT: Final = WINDOW + _LOOKS * STEP
#: A line break and so many blanks may be the indentation of a deep line of JSON.
_INDENT: Final = 2 * JSON_BLANKS
#: Events in a row without a known member after which only every eighth is searched.
_STRANGE: Final = 64


class LiveDetector:
    """Looks at the events of one recording, in order and on one thread. Each kind of runaway is noticed once."""

    __slots__ = (
        "_breaks",
        "_chars",
        "_id",
        "_in_string",
        "_json",
        "_key",
        "_last",
        "_looks",
        "_loop_since",
        "_pieces",
        "_recent",
        "_since",
        "_strange",
        "_taken",
        "_usual",
        "_wide",
        "notices",
        "repeating",
        "running_away",
    )

    def __init__(self, recording_id: UUID, *, json: bool) -> None:
        #: What was noticed; whoever feeds the detector empties it.
        self.notices: list[Notice] = []
        self.running_away = False
        self.repeating = False
        self._id = recording_id
        self._json = json
        #: The member that held the last text, up to the quote that opens it.
        self._key = b'"value":"'
        #: Where the text began in the last event.
        self._usual = 0
        self._strange = 0
        #: The row of whitespace-only pieces under way: how many, their characters, line breaks, and the first event.
        self._pieces = self._chars = self._breaks = 0
        self._since = (0, 0)
        #: Whether a piece that is no whitespace was longer than a character.
        self._wide = False
        #: Of a JSON text: whether it is inside a string, and whether it ended in a backslash that takes the next one.
        self._in_string = self._taken = False
        #: The end of what was said, whitespace-only pieces aside; its last piece; looks in a row that found a loop.
        self._recent = bytearray()
        self._last = b""
        self._looks = 0
        self._loop_since = (0, 0)

    def rows(self, rows: Iterable[Row]) -> None:
        """More events, as a Capture makes them: with their payloads. The hot path: most are one short piece of text."""
        if self.running_away and self.repeating:
            return
        recent, key, json = self._recent, self._key, self._json
        size, usual, wide, last = len(key), self._usual, self._wide, self._last
        for _, position, kind, elapsed_us, _, data, raw, _, _ in rows:
            payload = data if raw is None else raw
            if kind != _SSE or not payload:
                continue
            # Behind envelopes of one length the text stands in one place; searching for it costs three times as much.
            at = usual
            if payload[at - size : at] != key:
                at = usual = payload.find(key) + size
            end = payload.find(_CLOSING, at) if at >= size else -1
            if end <= at:
                at, end = self._search(payload)
                key, usual = self._key, at
                size = len(key)
                if end <= at:
                    continue
            closing = payload[end - 1]
            if closing == _BACKSLASH:
                end = _end_of(payload, at)
            elif closing in _BLANK_ENDS and payload[at] in _BLANK_BEGINS and _is_blank(payload, at, end):
                self._blank(payload[at:end], position, elapsed_us)
                continue
            self._pieces = 0
            if end - at > JSON_BLANKS:
                at = self._long(payload, at, end, position, elapsed_us)
            piece = payload[at:end]
            if not wide and len(piece) > 2:
                self._wide = wide = True
            if json and (_BACKSLASH in piece or self._taken):
                self._track(piece)
            recent += piece
            if len(recent) >= WINDOW:
                self._look(piece, last, position, elapsed_us)
            last = piece
        self._usual, self._last = usual, last

    # -- where the text is ---------------------------------------------------------------------------------------------

    def _search(self, payload: bytes) -> tuple[int, int]:
        """From where to where the text goes in an event unlike the one before; (0, 0) where there is none."""
        self._strange += 1
        if self._strange > _STRANGE and self._strange % 8:
            return 0, 0
        found = _MEMBER.search(payload)
        if found is None:
            return 0, 0
        self._strange = 0
        if found[0] != self._key:
            self._key = found[0]
            self._in_string = self._taken = False
        end = payload.find(b'"', found.end())
        return found.end(), end if end >= 0 else len(payload)

    def _track(self, piece: bytes) -> None:
        """Follow a JSON text into its strings and out again."""
        if self._taken:
            piece = b"\\\\" + piece
            self._taken = False
        for mark in _QUOTE.findall(piece):
            if mark == b'\\"':
                self._in_string = not self._in_string
            elif len(mark) == 2:
                self._taken = True

    # -- whitespace ----------------------------------------------------------------------------------------------------

    def _blank(self, piece: bytes, position: int, elapsed_us: int) -> None:
        """A piece of whitespace."""
        if self.running_away:
            return
        if not self._pieces:
            self._since = (position, elapsed_us)
            self._chars = self._breaks = 0
        self._pieces += 1
        self._chars += len(piece) - piece.count(_BACKSLASH)
        self._breaks += piece.count(_N)
        typed = self._chars == self._pieces and not self._wide and len(self._recent) >= TYPED
        if (self._pieces >= PIECES and not typed) or self._chars >= self._limit(self._breaks, self._in_string):
            self._run_away(self._chars, self._pieces, position, elapsed_us)

    def _limit(self, breaks: int, in_string: bool) -> int:
        """How many characters of whitespace in a row, with so many line breaks, are too many here."""
        if in_string or not self._json:
            return TEXT_BLANKS
        return _INDENT if breaks == 1 else JSON_BLANKS

    def _long(self, payload: bytes, at: int, end: int, position: int, elapsed_us: int) -> int:
        """A long text may hold a row of whitespace within it. Gives from where on it is looked at: only its end is."""
        start = max(at, end - _LOOKED_AT)
        if start > at:
            self._in_string = True  # nobody knows: the higher limit then holds
        if self.running_away:
            return start
        behind, in_string = start, self._in_string
        for row in _ROW.finditer(payload, start, end):
            if self._json:
                in_string ^= _QUOTE.findall(payload, behind, row.start()).count(b'\\"') % 2 == 1
                behind = row.end()
            chars = len(row[0]) - row[0].count(_BACKSLASH)
            if chars >= self._limit(row[0].count(_N), in_string):
                self._since = (position, elapsed_us)
                self._run_away(chars, 1, position, elapsed_us)
                break
        return start

    def _run_away(self, chars: int, pieces: int, position: int, elapsed_us: int) -> None:
        self.running_away = True
        where = " in a JSON answer" if self._json else ""
        detail = f"{chars} characters of whitespace in {pieces} pieces{where}"
        self.notices.append(Notice("whitespace_runaway", self._id, position, elapsed_us, *self._since, detail))

    # -- repetition ----------------------------------------------------------------------------------------------------

    def _look(self, piece: bytes, last: bytes, position: int, elapsed_us: int) -> None:
        """Whether what was said last, up to `piece` and `last` before it, says the same as what was said before."""
        recent = self._recent
        if self.repeating:
            recent.clear()
        elif last and len(last) < len(piece) and piece.startswith(last):
            # An event that tells the whole text so far, as some servers do each time.
            del recent[:-WINDOW]
            return
        while len(recent) >= WINDOW:
            window = bytes(recent[:WINDOW])
            if not is_loop(window) or len(_BLANK.sub(b"", window)) * 8 < WINDOW:
                self._looks = 0
            elif not self._looks:
                self._looks, self._loop_since = 1, (position, elapsed_us)
            else:
                self._looks += 1
            del recent[:STEP]
            if self._looks >= _LOOKS:
                self._repeat(position, elapsed_us)
                return

    def _repeat(self, position: int, elapsed_us: int) -> None:
        self.repeating = True
        self._recent.clear()
        detail = f"{WINDOW + (_LOOKS - 1) * STEP} bytes of text say the same over and over"
        self.notices.append(Notice("repetition_runaway", self._id, position, elapsed_us, *self._loop_since, detail))


def _is_blank(payload: bytes, at: int, end: int) -> bool:
    """Whether a text that is not very long is whitespace alone."""
    blank = _BLANK.match(payload, at, end) if end - at <= _LOOKED_AT else None
    return blank is not None and blank.end() == end


def _end_of(payload: bytes, at: int) -> int:
    """Where a string ends that has escapes: its closing quote, or the end of the payload."""
    while (end := _INSIDE.match(payload, at).end()) > at:  # type: ignore[union-attr]
        at = end
    return at
