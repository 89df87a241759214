"""One recording as lines of JSON, and back: the grammar of a recording file, without any I/O.

    {"recorder":"recordings","version":"1.0","recorded":"2026-03-01T12:00:00.000000Z"}
    {"us":0,"kind":"request","method":"POST","url":"https://…","dialect":"chat","headers":[…],"data":{…}}
    {"us":184021,"kind":"head","data":{"http":"HTTP/1.1","status":200,"reason":"OK","headers":[…]}}
    {"us":190377,"event":"thread.run.created","data":{…}}
    {"us":190412,"cuts":[],"data":{…}}
    {"us":520118,"text":"[DONE]"}
    {"us":520204,"kind":"end","data":{"ending":"eof","captured":"full"}}

The first line says what the file is, and when its recordings began. A recording is its `request` line and the lines
that follow, one event each, in order: their places are their positions. Members, in this order, those left out that
say nothing:

    us       microseconds: of a request since `recorded`, of an event since its request
    kind     request, info, head, wire, body, end; a line without it is a server-sent event
    cuts     [[offset, us], …]: where chunks of the network ended in this event; absent: one did, at its last byte
    event    the event's name
    data     the payload, JSON, byte for byte; always the last member. With `frame` [before, after] and `indent` (it was
             printed so) the payload is what these make of it. Or, where it is no JSON on one line:
    text     the payload as text
    base64   the payload, where it is no UTF-8 (with `raw` true: a whole frame)
    raw      a whole frame, where it is not `event: …`, `data: …` and a blank line; with `frame` round the data, too
    size     the payload's length, where the payload itself was not kept
    erased   of a request: [[us since 1970, by whom, why], …]: its content was erased; then nothing of that is told, and
             the end, whose payload is gone as well, has `ending` and `captured` as members

A request says method, url, dialect, headers; and of the rest what cannot be had from these. An end says `ending`,
`captured` and what else the transport told. A file with identity adds what names and seals a recording: `id`, `writer`,
`salt`, `session`, `trace`, `call`, `digests`; one without is for reading, and the same whoever recorded it.

A reader of 1.x takes every 1.y: members that it does not know it leaves out, if the file says a later minor version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from .. import cuts, match
from ..capture import seal_interrupted
from ..dialects import by_name
from ..digest import EventDigest, payload_of
from ..errors import StoreError
from ..recording import Captured, Ending, Event, Head, Kind, Recording, Row
from ..redact import origin
from ..sse import wire
from .payloads import members, quoted, raw_members

__all__ = [
    "VERSION",
    "Entry",
    "derived_ending",
    "digests",
    "event_line",
    "header_line",
    "is_time_of_day",
    "micros",
    "recording_lines",
    "request_line",
    "rows_of",
    "timestamp",
]

#: The version that is written, major and minor.
VERSION: Final = (1, 0)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Between these a time of day can be shown in any zone; calendars end with the years 1 and 9999.
_EARLIEST: Final = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST: Final = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND

_SSE: Final = Kind.SSE.value
_CHUNKED: Final = frozenset({Kind.SSE.value, Kind.WIRE.value, Kind.BODY.value})


class Entry(NamedTuple):
    """A recording with all its events, from `info` or `head` to `end`."""

    recording: Recording
    events: Sequence[Event]


def timestamp(micros: int) -> str:
    """ISO 8601 in UTC with microseconds."""
    moment = _EPOCH + micros * _MICROSECOND
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def micros(moment: datetime) -> int:
    """Microseconds UTC of a time of day; one without its zone is UTC."""
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND


def is_time_of_day(micros: int) -> bool:
    """Whether microseconds UTC are a time in the years 2 to 9998."""
    return _EARLIEST <= micros < _LATEST


def header_line(recorded: int) -> bytes:
    """The first line of a file whose recordings began at this time of day."""
    told = {
        "recorder": "recordings",
        "version": ".".join(map(str, VERSION)),
        "recorded": timestamp(recorded),
    }
    return _compact(told) + b"\n"


def recording_lines(entry: Entry, recorded: int, *, identity: bool) -> Iterator[bytes]:
    """The lines of a recording, each with its line feed. Raises StoreError for one that is damaged.

    One that has not ended is written as recovery would end it.
    """
    recording, events = ended(entry)
    yield request_line(recording, recorded, identity=identity)
    ending = recording.ending
    assert ending is not None
    heads = [event for event in events if event.kind == Kind.HEAD]
    try:
        for event in events[:-1]:
            yield event_line(event)
        yield _end_line(events[-1], ending, derived_ending(events, heads[-1] if heads else None), identity=identity)
    except ValueError as error:
        raise StoreError(f"recording {recording.recording_id} is damaged: {error}; restore the store") from error


def ended(entry: Entry) -> Entry:
    """The recording with an ending and its row: as recovery would end it, where it has none yet."""
    recording, events = entry
    if recording.ending is not None:
        return entry
    row, ending = seal_interrupted(recording, events)
    return Entry(replace(recording, ending=ending), [*events, Event(*row[1:])])


# -- the request -------------------------------------------------------------------------------------------------------


def request_line(recording: Recording, recorded: int, *, identity: bool) -> bytes:
    """The line that opens a recording."""
    request = recording.request
    told: dict[str, Any] = {
        "us": recording.started_at - recorded,
        "kind": "request",
        "method": request.method,
        "url": request.url,
        "dialect": recording.dialect,
    }
    if identity or recording.origin != origin(request.url):
        told["origin"] = recording.origin
    if recording.content != "full":
        told["content"] = recording.content
    if recording.weight != 1.0:
        told["weight"] = recording.weight
    told |= _matching(recording, identity=identity)
    if recording.tags:
        told["tags"] = list(recording.tags.items())
    parameters = {name: value for name, value in recording.parameters.items() if value is not None}
    if identity or parameters != hot_parameters(recording):
        told["parameters"] = list(parameters.items())
    if identity:
        told |= _identity(recording)
    if recording.erasures:
        told["erased"] = recording.erasures
    told["headers"] = request.headers
    body = request.body
    if request.body_sha256 is not None:
        told["sha256"] = request.body_sha256.hex()
    if body is None or request.body_size != len(body):
        told["size"] = request.body_size
    return _line(told, members(body) if body else [])


def hot_parameters(recording: Recording) -> dict[str, Any]:
    """What the dialect finds in the request, as a writer would have stored it."""
    if recording.request.body is None:
        return {}
    found = by_name(recording.dialect).parameters(recording.request)
    return {name: value for name, value in found.items() if value is not None}


def _matching(recording: Recording, *, identity: bool) -> dict[str, Any]:
    """The match rule and the key, as far as they do not follow from the request; what is sealed is told in full."""
    told: dict[str, Any] = {}
    rule = match.DEFAULT
    if recording.match_rule is None:
        told["rule"] = None
    elif identity or recording.match_rule != rule.to_text():
        told["rule"] = json.loads(recording.match_rule)
        rule = match.Rule.from_text(recording.match_rule)
    if identity or recording.match_key != key_of(recording, rule):
        told["key"] = None if recording.match_key is None else recording.match_key.hex()
    return told


def key_of(recording: Recording, rule: match.Rule) -> bytes | None:
    """The key that the stored request gives; None where it has none because its body or rule was not kept."""
    kept = recording.match_rule is not None and recording.request.body is not None
    return match.key(recording.request, rule) if kept else None


def _identity(recording: Recording) -> dict[str, Any]:
    told = {
        "id": str(recording.recording_id),
        "writer": str(recording.writer),
        "salt": recording.salt.hex() if recording.salt is not None else None,
        "session": recording.session,
        "trace": recording.trace,
        "call": str(recording.call) if recording.call else None,
    }
    return {name: value for name, value in told.items() if value is not None}


# -- events ------------------------------------------------------------------------------------------------------------


def event_line(event: Event) -> bytes:
    """The line of an event other than `end`. Raises ValueError for one that is damaged."""
    told = _opening(event)
    if event.data is not None and event.raw is not None:
        raise ValueError(f"event {event.position} has two payloads")
    if event.raw is not None:
        payload = [b'"raw":""'] if not event.raw else raw_members(event.raw)
    else:
        payload = [] if event.data is None else members(event.data)
    if _size(event) != event.size:
        told["size"] = event.size
    return _line(told, payload)


def _opening(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {"us": event.elapsed_us}
    if event.kind != _SSE:
        told["kind"] = event.kind
    if event.kind in _CHUNKED:
        if event.cuts is not None:
            found = cuts.unpack(event.cuts, event.size, event.elapsed_us)
            if cuts.pack(found, event.size, event.elapsed_us) != event.cuts:
                raise ValueError(f"the cuts of event {event.position} are not written as they should be")
            told["cuts"] = found
    elif event.cuts != b"":
        raise ValueError(f"event {event.position} is no part of the body, but has cuts")
    if event.type is not None:
        told["event"] = event.type
    return told


def _size(event: Event) -> int | None:
    """The size that the payload gives; None where there is none."""
    if event.raw:
        return len(event.raw)
    if event.data is None:
        return None
    return len(wire(event.type, event.data, None)) if event.kind == _SSE else len(event.data)


def _end_line(event: Event, ending: Ending, derived: Ending, *, identity: bool) -> bytes:
    if event.kind != Kind.END:
        raise ValueError("its last event is no end")
    told = _opening(event)
    if event.data is None:
        told |= {"ending": ending.ending, "captured": ending.captured, "size": event.size}
    for name, known in (("status", "http_status"), ("head_us", "head_us"), ("bytes", "wire_bytes")):
        if getattr(ending, known) != getattr(derived, known):
            told[name] = getattr(ending, known)
    if identity and ending.seal is not None and ending.facts_digest is not None and ending.payload_digest is not None:
        told["digests"] = [ending.facts_digest.hex(), ending.payload_digest.hex(), ending.seal.hex()]
    return _line(told, [] if event.data is None else members(event.data))


def derived_ending(events: Sequence[Event], head: Event | None) -> Ending:
    """What follows from the events and from no digest: the Ending that a capture of them would have had."""
    end = events[-1]
    detail = json.loads(end.data or b"{}")
    undecoded = sum(event.size for event in events if event.kind == Kind.WIRE)
    plain = sum(event.size for event in events if event.kind in (Kind.SSE, Kind.BODY))
    return Ending(
        ending=str(detail.get("ending")),
        captured=str(detail.get("captured", Captured.FULL)),
        elapsed_us=end.elapsed_us,
        events=end.position,
        wire_bytes=undecoded or plain,
        http_status=None if head is None or head.data is None else Head.from_json(head.data).status,
        head_us=None if head is None else head.elapsed_us,
        detail=detail,
    )


def rows_of(entry: Entry) -> list[Row]:
    """The events as the store takes them."""
    name = entry.recording.recording_id.bytes
    return [(name, *event) for event in entry.events]


def digests(recording: Recording, ending: Ending, rows: Sequence[Row]) -> Ending:
    """The ending with the digests over all of it."""
    digest = EventDigest(recording)
    digest.rows(rows)
    digest.payload(b"".join(map(payload_of, rows)))
    facts, payload, seal = digest.finish(recording, ending)
    return replace(ending, facts_digest=facts, payload_digest=payload, seal=seal)


# -- JSON --------------------------------------------------------------------------------------------------------------


def _line(told: Mapping[str, Any], payload: Sequence[bytes]) -> bytes:
    return b"".join([_compact(told)[:-1], *(b"," + member for member in payload), b"}\n"])


def _compact(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if "\\u" in text:  # readable where it can be
        return quoted_value(value)
    return text.encode("ascii")


def quoted_value(value: Any) -> bytes:
    """Compact JSON in which texts are as `quoted` writes them."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return b"{" + b",".join(quoted(str(name)) + b":" + quoted_value(each) for name, each in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(quoted_value, value)) + b"]"
    return json.dumps(value, allow_nan=False).encode("ascii")
