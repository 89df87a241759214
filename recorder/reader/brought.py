"""What each event of a recording brought: a piece of text, of reasoning, of a tool's arguments, a count, the end.

Told by what the dialect made of the recording: a piece is where a spoken text says that one of its pieces came from,
usage, errors and end markers are where the evidence says. Only where the payloads are not in the store does the name of
an event have to tell. Pure; knows no protocol but by the names of its events.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, NamedTuple

from recorder import sse
from recorder.dialects.base import dig
from recorder.reader.core import dialect_of
from recorder.reader.passing import Passing
from recorder.recording import Event, Kind, Reading, Recording, Spoken

__all__ = [
    "PIECES",
    "Brought",
    "ToolCall",
    "What",
    "brought",
    "name_of",
    "place_of",
    "said_so_far",
    "tool_calls",
    "withheld",
]


class What(StrEnum):
    """What an event brought. The first eight are events of a stream, the others the rows around them."""

    LIFECYCLE = "lifecycle"  # something began, changed its state, or ended
    TEXT = "text"
    REASONING = "reasoning"
    ARGUMENTS = "arguments"  # what a tool is called with
    USAGE = "usage"  # token counts and nothing else
    PING = "ping"  # a ping event, or a comment
    ERROR = "error"
    DONE = "done"  # the protocol's end marker
    OTHER = "other"  # not known: the payload is not in the store, and the name does not tell
    HEAD = "head"
    BODY = "body"
    WIRE = "wire"
    END = "end"


#: What comes in as many pieces as the server likes: how many there are means nothing.
PIECES: Final = frozenset({What.TEXT, What.REASONING, What.ARGUMENTS})

_ROWS: Final = {
    Kind.INFO.value: What.HEAD,
    Kind.HEAD.value: What.HEAD,
    Kind.BODY.value: What.BODY,
    Kind.WIRE.value: What.WIRE,
    Kind.END.value: What.END,
}
_SPOKEN: Final = {
    "text": What.TEXT,
    "refusal": What.TEXT,
    "reasoning": What.REASONING,
    "arguments": What.ARGUMENTS,
    "input": What.ARGUMENTS,
}
#: Events whose names say what they bring: OpenAI API reference (Assistants, Responses), Anthropic API reference.
_NAMED: Final = {
    "done": What.DONE,
    "error": What.ERROR,
    "message_delta": What.USAGE,
    "message_stop": What.DONE,
    "ping": What.PING,
    "response.output_text.delta": What.TEXT,
    "response.refusal.delta": What.TEXT,
    "thread.message.delta": What.TEXT,
    "thread.run.step.delta": What.ARGUMENTS,
}
#: Words in the names of other deltas.
_DELTAS: Final = (("reasoning", What.REASONING), ("arguments", What.ARGUMENTS), ("input", What.ARGUMENTS))

#: A spoken text with as many marks may have more pieces than marks (see `recorder.dialects.base.Texts`).
_THINNED: Final = 32768

_SSE: Final = Kind.SSE.value


class Brought(NamedTuple):
    """The events of a recording, what the dialect said of them, and what each of them brought, one for one.

    `reading` is the dialect's own: with its texts in `spoken`, and without what holds for every protocol. `passing` has
    the gaps and the head.
    """

    events: Sequence[Event]
    reading: Reading
    passing: Passing
    whats: Sequence[What]
    names: Sequence[str]


class ToolCall(NamedTuple):
    """One call that the model asked for. `arguments` is the text as the model wrote it; None where it wrote none."""

    name: str | None
    arguments: str | None
    id: str | None = None

    @property
    def input(self) -> Any:
        """The arguments as a value. Raises ValueError where they are no JSON (cut off, or a custom tool's text)."""
        return json.loads(self.arguments or "null")


def said_so_far(recording: Recording, events: Iterable[Event]) -> tuple[Reading, Passing]:
    """What the dialect makes of these first rows of the recording, as if nothing more had come yet."""
    return _read(replace(recording, ending=None), events)


def brought(recording: Recording, events: Iterable[Event]) -> Brought:
    """What each of the recording's rows brought. Where the dialect fails, only their names tell."""
    rows = list(events)
    reading, passing = _read(recording, rows)
    names = list(_names(rows))
    whats = list(_guessed(rows, names))
    _told(rows, whats, reading.facts.get("evidence"))
    for spoken in reading.spoken:
        _pieces(rows, names, whats, spoken)
    return Brought(rows, reading, passing, whats, names)


def _read(recording: Recording, events: Iterable[Event]) -> tuple[Reading, Passing]:
    dialect = dialect_of(recording)
    passing = Passing()
    try:
        return dialect.read(recording, passing.through(events)), passing
    except Exception as error:
        if passing.source_failed:
            raise
        failed = {"reader_error": type(error).__name__}
        return Reading(dialect=dialect.name, flags=("reader_error",), facts=failed), passing


def withheld(recording: Recording, reading: Reading, passing: Passing) -> str | None:
    """Why nobody can know what the recording said; None where its payloads are there."""
    gone = recording.content != "full" or "payload_missing" in {*reading.flags, *passing.flags}
    return recording.missing if gone else None


def place_of(rows: Sequence[Event], position: int) -> int | None:
    """Where the row of this position is among rows in order; None where it is missing."""
    place = position - rows[0].position if rows else 0
    if 0 <= place < len(rows) and rows[place].position == position:
        return place
    place = bisect_left(rows, position, key=attrgetter("position"))
    return place if place < len(rows) and rows[place].position == position else None


def name_of(event: Event) -> str:
    """The event's name, `message` where it has none, `[DONE]` for that, `comment` where it dispatches nothing; of a row
    that is no event of a stream its kind."""
    if event.kind != _SSE:
        return event.kind
    payload = event.data if event.raw is None else sse.payload(event.type, event.data, event.raw)
    if payload is None and event.raw is not None:
        return "comment"
    if payload is not None and payload.startswith(b"[DONE]"):
        return "[DONE]"
    return (event.type if event.raw is None else sse.event_name(event.type, event.raw)) or "message"


def tool_calls(reading: Reading) -> tuple[ToolCall, ...]:
    """What the model called in this very answer. `reading` is a dialect's own, with its texts."""
    told = dig(reading.facts, "content", "tool_calls")
    if isinstance(told, list) and told:
        return tuple(
            ToolCall(call.get("name"), call.get("arguments"), call.get("id"))
            for call in told
            if not call.get("earlier")
        )
    return tuple(ToolCall(one.name, one.text) for one in reading.spoken if one.kind in ("arguments", "input"))


def _names(rows: Iterable[Event]) -> Iterator[str]:
    for row in rows:
        data = row.data
        if row.kind != _SSE or row.raw is not None or data is None or data.startswith(b"[DONE]"):
            yield name_of(row)
        else:
            yield row.type or "message"


def _guessed(rows: Sequence[Event], names: Sequence[str]) -> Iterator[What]:
    """What each row brought as far as its name tells."""
    known: dict[str, What] = {}
    for row, name in zip(rows, names, strict=True):
        if row.kind != _SSE:
            yield _ROWS.get(row.kind, What.OTHER)
        elif name == "[DONE]":
            yield What.DONE
        elif name == "comment":
            yield What.PING
        elif row.type is None and row.data is None and row.raw is None:
            yield What.OTHER
        else:
            if name not in known:
                known[name] = _by_name(name)
            yield known[name]


def _by_name(name: str) -> What:
    if name in _NAMED:
        return _NAMED[name]
    if not name.endswith("delta"):
        return What.LIFECYCLE
    return next((what for word, what in _DELTAS if word in name), What.OTHER)


def _told(rows: Sequence[Event], whats: list[What], evidence: object) -> None:
    """What the dialect's evidence says of single events."""
    if not isinstance(evidence, Mapping):
        return
    status = set(_positions(evidence.get("status")))
    for told, what in (("usage", What.USAGE), ("end_marker", What.DONE), ("error", What.ERROR)):
        for position in _positions(evidence.get(told)):
            place = place_of(rows, position)
            if place is not None and rows[place].kind == _SSE and not (what == What.USAGE and position in status):
                whats[place] = what


def _positions(told: Any) -> Iterator[int]:
    """The positions in a piece of evidence: its own, or those of its parts (several answers to one request)."""
    if isinstance(told, Mapping):
        for name, value in told.items():
            if name == "position" and isinstance(value, int):
                yield value
            elif isinstance(value, Mapping) and isinstance(value.get("position"), int):
                yield value["position"]


def _pieces(rows: Sequence[Event], names: Sequence[str], whats: list[What], spoken: Spoken) -> None:
    """Mark the events that the pieces of a text came with."""
    what = _SPOKEN.get(spoken.kind)
    if what is None:
        return
    last = None
    for position in spoken.positions:
        place = place_of(rows, position)
        if place is None or rows[place].kind != _SSE:
            continue
        if whats[place] not in (What.ERROR, What.DONE):
            whats[place] = what
        if last is not None and len(spoken.positions) >= _THINNED:
            for between in range(last + 1, place):
                if names[between] == names[place] and whats[between] in (What.OTHER, What.LIFECYCLE):
                    whats[between] = what
        last = place
