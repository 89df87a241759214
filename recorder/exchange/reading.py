"""Recording files in: bytes to recordings, each checked whole before it is handed on.

A file may come from anybody. What is not as the grammar says (see `lines`) is refused with the line's number and what
to do about it; nothing of the recording that the line is in is handed on. One recording is in memory at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn
from uuid import UUID

from pydantic_core import from_json

from .. import match, redact, sse
from ..digest import seal_of
from ..errors import RecorderError, UsageError
from ..recording import Captured, Ending, Event, Kind, Recording, Request, Row, Transport
from ..store.rows import as_stored
from . import checks, cleaning, lines
from .checks import Wrong
from .lines import Entry

__all__ = ["NOBODY", "FileHead", "Ids", "Parsed", "once", "parsed", "read", "read_head", "told"]

#: The writer of recordings that do not say who wrote them.
NOBODY: Final = UUID("00000000-0000-7000-8000-000000000000")

#: Bytes of the longest line and of the largest recording that are read.
LONGEST_LINE: Final = 128 << 20
LARGEST: Final = 512 << 20
_BLOCK: Final = 8 << 20
_LONGEST_HEAD: Final = 4096

_OPENS: Final = b'"kind":"request"'
_START: Final = re.compile(rb'\{"us":-?[0-9]+,"kind":"request"')

#: A line as most are: an event whose payload is JSON. Any other comes whole, as the last group.
_LINES: Final = re.compile(
    rb'\{"us":([0-9]{1,15})(?:,"cuts":(\[[0-9,\[\]]*\]))?(?:,"event":"([ !#-\[\]-~]+)")?'
    rb',"data":(\{.*\}|\[.*\]|".*")\}\n|(.+\n?|\n)'
)
_DATA: Final = re.compile(rb'(?:\A\{|,)"data":')

_PAYLOAD: Final = frozenset({"size", "indent", "frame", "data", "text", "base64"})
_REQUEST: Final = _PAYLOAD | {"us", "kind", "method", "url", "dialect", "origin", "content", "weight", "rule", "key"}
_IDENTITY: Final = frozenset({"id", "writer", "salt", "session", "trace", "call"})
_OPENING: Final = _REQUEST | _IDENTITY | {"tags", "parameters", "headers", "sha256", "erased"}
_EVENT: Final = _PAYLOAD | {"us", "kind", "cuts", "event", "raw"}
_END: Final = _EVENT | {"status", "head_us", "bytes", "digests", "ending", "captured"}
_ORDER: Final = {"info": 0, "head": 1, "wire": 2, "sse": 2, "body": 2, "end": 3}


_ENDINGS: Final = frozenset(each.value for each in Transport)
_CAPTURED: Final = frozenset(each.value for each in Captured)
_SSE: Final = Kind.SSE.value
_NO_CUTS: Final = b""

_new_event: Final = tuple.__new__  # a third of the cost of Event(...)


class FileHead(NamedTuple):
    """What the first line says. `newer`: the file is of a later minor version, and may hold what is not known here.

    `trusted` are the normalisers that its match rules may have beside the named ones: an expression of a stranger's
    could run without end. None trusts the file as a test's own.
    """

    recorded: int
    newer: bool
    trusted: frozenset[str] | None = None


class Parsed(NamedTuple):
    """A recording as a store takes it: its ending within, its rows with its id."""

    recording: Recording
    rows: list[Row]


# -- files -------------------------------------------------------------------------------------------------------------


def read(
    path: str | os.PathLike[str], *, strict: bool = True, trusted: frozenset[str] | None = None
) -> Iterator[Entry]:
    """The recordings of a file, in its order. Raises UsageError where it is none, or damaged; OSError.

    `strict` also looks whether each JSON payload is JSON; without it reading takes half the time, and what is not JSON
    is replayed as it stands there. Recordings of a file without identity have no digests; a store's are made by `put`.
    """
    with Path(path).open("rb") as file:
        for _, entry in _read(file, path, 1, strict=strict, trusted=trusted):
            yield entry


def told(file: IO[bytes], path: str | os.PathLike[str], line: int) -> Iterator[tuple[bytes, Entry]]:
    """The recordings of an open file from here on, its first line first: each with its lines as they stand there.

    Nobody held the digests that it tells against anything, and nothing is withheld: for who looks, and stores nothing.
    `line` is the number of the first line. Raises as `read`.
    """
    return _read(file, path, line, strict=True, trusted=frozenset(), as_told=True)


def _read(
    file: IO[bytes],
    path: str | os.PathLike[str],
    number: int,
    *,
    strict: bool,
    trusted: frozenset[str] | None,
    as_told: bool = False,
) -> Iterator[tuple[bytes, Entry]]:
    place, known = Ids(), set[int]()
    head = _head(file.readline(_LONGEST_HEAD), path)._replace(trusted=trusted)
    number += 1
    for segment in _segments(file, path):
        try:
            entry = _recording(segment, head, place, strict=strict, as_told=as_told)
        except Wrong as wrong:
            _refuse(path, number + wrong.line, str(wrong))
        if entry.recording.recording_id.int in known:
            _refuse(path, number, "a recording of that id came before: leave one")
        known.add(entry.recording.recording_id.int)
        yield segment, entry
        number += segment.count(b"\n")


def parsed(
    path: str | os.PathLike[str], *, strict: bool = True, trusted: frozenset[str] | None = None
) -> Iterator[Parsed]:
    """The recordings of a file as a store takes them. Raises as `read` does."""
    for entry in read(path, strict=strict, trusted=trusted):
        recording, rows = entry.recording, lines.rows_of(entry)
        if recording.ending is not None and recording.ending.seal is None:
            recording = replace(recording, ending=lines.digests(recording, recording.ending, rows))
        yield Parsed(recording, rows)


def read_head(path: str | os.PathLike[str]) -> FileHead:
    """The first line of a file. Raises UsageError where it is no recording file, or too new; OSError."""
    with Path(path).open("rb") as file:
        return _head(file.readline(_LONGEST_HEAD), path)


def _refuse(path: str | os.PathLike[str], line: int, why: str) -> NoReturn:
    raise UsageError(f"{os.fspath(path)} line {line}: {why}; nothing of the file was taken") from None


def _head(line: bytes, path: str | os.PathLike[str]) -> FileHead:
    try:
        told = json.loads(line)
        if told["recorder"] != "recordings":
            raise ValueError
        major, minor = (int(each) for each in str(told["version"]).split("."))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(
            f"{os.fspath(path)} is no recording file: its first line does not say so; `recorder import` reads others"
        ) from None
    if major != lines.VERSION[0]:
        raise UsageError(
            f"{os.fspath(path)} is of version {major}.{minor}, and this recorder reads {lines.VERSION[0]}.x:"
            " upgrade recorder, or export it again"
        )
    try:
        recorded = _micros(told["recorded"])
    except (ValueError, KeyError, TypeError):
        _refuse(path, 1, '`recorded` must be a time of day such as "2026-03-01T12:00:00.000000Z"')
    return FileHead(recorded, minor > lines.VERSION[1])


def _micros(text: str) -> int:
    """Microseconds UTC of an ISO 8601 time with its zone. Raises ValueError."""
    given = datetime.fromisoformat(text)
    if given.tzinfo is None:
        raise ValueError("a time of day without its zone")
    return lines.micros(given)


def _segments(file: IO[bytes], path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The lines of one recording after the other."""
    held = bytearray()
    looked = 0  # no further recording begins before that
    while block := file.read(_BLOCK):
        held += block
        while (start := _next_start(held, looked)) > 0:
            segment = bytes(held[:start])
            del held[:start]
            looked = 0
            yield _plain(segment)
        looked = max(0, held.rfind(b"\n") + 1)
        if len(held) > LARGEST or len(held) - looked > LONGEST_LINE:
            raise UsageError(
                f"{os.fspath(path)} holds a recording above {LARGEST >> 20} MiB, or a line above {LONGEST_LINE >> 20}"
                " MiB; keep such recordings in a store; nothing of the file was taken"
            )
    if held:
        yield _plain(bytes(held))


def _next_start(held: bytearray, looked: int) -> int:
    """Where the next recording after the first line begins; 0 where none does."""
    at = held.find(_OPENS, max(looked, 1))
    while at > 0:
        start = held.rfind(b"\n", 0, at) + 1
        if start > 0 and _START.match(held, start):
            return start
        at = held.find(_OPENS, at + 1)
    return 0


def _plain(segment: bytes) -> bytes:
    # Some checkouts end lines with CRLF. No line holds a CR otherwise.
    return segment.replace(b"\r\n", b"\n") if b"\r\n" in segment else segment


# -- one recording -----------------------------------------------------------------------------------------------------


class Ids:
    """Ids for recordings that have none: made of what they are, and rising within a file, as replay needs them."""

    def __init__(self) -> None:
        self._last = 0

    def make(self, started_at: int, segment: bytes) -> UUID:
        tick = max(max(started_at, 0) // 1000 << 12, self._last + 1)
        self._last = tick
        digest = int.from_bytes(hashlib.blake2b(segment, digest_size=8).digest()) & ((1 << 62) - 1)
        return UUID(int=(tick >> 12 & (1 << 48) - 1) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | digest)


def _recording(segment: bytes, head: FileHead, ids: Ids, *, strict: bool, as_told: bool) -> Entry:
    """The recording of these lines: held against its digests, then as it may be stored, unless `as_told`.

    Raises Wrong.
    """
    break_ = segment.find(b"\n") + 1 or len(segment)
    told, verbatim = _told(segment[:break_], _OPENING, newer=head.newer)
    if told.get("kind") != "request":
        raise Wrong('it should open a recording: {"us":…,"kind":"request",…}')
    recording = _opened(told, verbatim, head, ids, segment)
    taken = _Events(newer=head.newer, strict=strict)
    taken.take(segment[break_:])
    entry = _ended(recording, taken, as_told=as_told)
    return entry if as_told else cleaning.cleaned(entry)


def _told(line: bytes, known: frozenset[str], *, newer: bool) -> tuple[dict[str, Any], bytes | None]:
    """The members of a line, and the source of its `data`. Raises Wrong."""
    if len(line) > LONGEST_LINE:
        raise Wrong(f"it is longer than {LONGEST_LINE >> 20} MiB")
    text = line.strip()
    if b"\r" in text or b"\n" in text:
        raise Wrong("a carriage return stands in it: recorder writes none")
    verbatim = None
    try:
        if (found := _DATA.search(text)) and text.endswith(b"}"):
            verbatim = text[found.end() : -1]
            before = text[: found.start()] + b"}" if found.start() else b"{}"
            told = json.loads(before, object_pairs_hook=once)
            told["data"] = json.loads(verbatim, parse_int=_as_it_is)
        else:
            told = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        # A line that was written by another tool may hold `data` elsewhere: then there is no source to take.
        raise Wrong(_why_no_json(error)) from None
    if not isinstance(told, dict):
        raise Wrong("it is no JSON object")
    unknown = set(told) - known
    if unknown and not newer:
        raise Wrong(f"nothing is known of {', '.join(sorted(map(repr, unknown))[:4])}: take it out")
    return {name: value for name, value in told.items() if name in known}, verbatim


def _as_it_is(digits: str) -> int | str:
    return int(digits) if len(digits) < 4000 else digits


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object. Raises ValueError where one is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a member is there twice")
    return made


def _why_no_json(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON ({error.msg.lower()}); `data` must be its last member"
    return f"it is no JSON ({error})" if str(error) == "a member is there twice" else "it is no JSON in UTF-8"


def _opened(told: Mapping[str, Any], verbatim: bytes | None, head: FileHead, ids: Ids, segment: bytes) -> Recording:
    """The recording that a request line opens. Raises Wrong."""
    url, method = checks.text(told, "url", checks.URL), checks.text(told, "method", checks.TOKEN)
    body = checks.payload_of_line(told, verbatim)
    size = told.get("size")
    request = Request(
        method=method,
        url=url,
        headers=checks.headers(told.get("headers", [])),
        body=b"" if body is None and size is None else body,
        body_size=len(body or b"") if size is None else checks.count(told, "size"),
        body_sha256=checks.hexadecimal(told, "sha256", 32),
    )
    started_at = head.recorded + checks.count(told, "us", least=-checks.MOST)
    if not lines.is_time_of_day(started_at):
        raise Wrong("`us` tells a time of day before the year 2 or after 9998")
    tags = checks.pairs(told, "tags")
    recording = Recording(
        recording_id=checks.uuid(told, "id") or ids.make(started_at, segment),
        started_at=started_at,
        writer=checks.uuid(told, "writer") or NOBODY,
        dialect=checks.text(told, "dialect", checks.NAME),
        origin=checks.text(told, "origin", checks.NAME) if "origin" in told else redact.origin(url),
        request=request,
        salt=checks.hexadecimal(told, "salt", None),
        content=checks.text(told, "content", re.compile("full|facts|none")) if "content" in told else "full",
        weight=checks.weight(told),
        session=checks.optional(told, "session"),
        trace=checks.optional(told, "trace"),
        call=checks.uuid(told, "call"),
        tags={name: str(value) for name, value in tags.items()},
        erasures=checks.erasures(told),
    )
    return _matched(told, recording, head.trusted)


def _matched(told: Mapping[str, Any], recording: Recording, trusted: frozenset[str] | None) -> Recording:
    """With its match rule, key and hot parameters."""
    rule: match.Rule | None = match.DEFAULT
    if "rule" in told:
        try:
            rule = None if told["rule"] is None else match.Rule.from_text(json.dumps(told["rule"]))
        except RecorderError as error:
            raise Wrong(f"`rule` is no match rule: {error}") from None
        if rule is not None and trusted is not None:
            checks.require_trusted(rule.normalise, trusted)
    recording = replace(recording, match_rule=None if rule is None else rule.to_text())
    clean = replace(recording, request=cleaning.cleaned_request(recording.request))
    key = checks.hexadecimal(told, "key", 32) if "key" in told else lines.key_of(clean, rule or match.DEFAULT)
    parameters = checks.pairs(told, "parameters") if "parameters" in told else lines.hot_parameters(clean)
    return as_stored(replace(recording, match_key=key, parameters=parameters))


def _ended(recording: Recording, taken: _Events, *, as_told: bool) -> Entry:
    """With its ending. Raises Wrong."""
    end = taken.end
    if end is None:
        raise Wrong("the recording has no end: the file was cut off; export it again", taken.line)
    outer = [event for event in taken.events if event.kind != _SSE]
    ending = lines.derived_ending(outer, next((event for event in outer if event.kind == Kind.HEAD), None))
    try:
        ending = replace(ending, **_without_data(end, taken.events[-1]))
        checks.require_nothing_left(recording, taken.events)
        if ending.ending not in _ENDINGS or ending.captured not in _CAPTURED:
            raise Wrong("its data must say `ending` and `captured` in recorder's words")
        ending = replace(ending, wire_bytes=ending.wire_bytes if taken.wired else taken.plain)
        ending = replace(ending, **_differing(end))
        if ending.wire_bytes > checks.MOST:
            raise Wrong("its events are larger than any could be")
        if "digests" in end:
            ending = _sealed(Entry(replace(recording, ending=ending), taken.events), end["digests"], as_told=as_told)
    except Wrong as wrong:
        raise Wrong(str(wrong), taken.line) from None
    return Entry(replace(recording, ending=ending), taken.events)


def _without_data(end: Mapping[str, Any], row: Event) -> dict[str, Any]:
    """What the line of an end says whose data was erased. Raises Wrong."""
    if row.data is None:
        return {name: checks.text(end, name, checks.TOKEN) for name in ("ending", "captured")}
    if "ending" in end or "captured" in end:
        raise Wrong("`ending` and `captured` stand in its data: take them out of the line")
    return {}


def _differing(end: Mapping[str, Any]) -> dict[str, Any]:
    """What an end says that does not follow from the events. Raises Wrong."""
    forms: dict[str, tuple[str, dict[str, Any]]] = {
        "status": ("http_status", {"least": 100, "most": 999, "unknown": True}),
        "head_us": ("head_us", {"most": checks.LONGEST_US, "unknown": True}),
        "bytes": ("wire_bytes", {}),
    }
    return {name: checks.count(end, field, **form) for field, (name, form) in forms.items() if field in end}


def _sealed(entry: Entry, told: Any, *, as_told: bool) -> Ending:
    """The ending with the digests that the file tells, if they fit what it holds, or are not compared. Raises Wrong."""
    recording = entry.recording
    assert recording.ending is not None
    wrong = Wrong("`digests` must be three SHA-256 in hexadecimal")
    if not isinstance(told, list) or len(told) != 3:
        raise wrong
    try:
        facts, payload, seal = (bytes.fromhex(each) for each in told)
    except (TypeError, ValueError):
        raise wrong from None
    ending = replace(recording.ending, facts_digest=facts, payload_digest=payload, seal=seal)
    if as_told:
        return ending
    made = lines.digests(recording, ending, lines.rows_of(entry))
    same = payload == made.payload_digest or recording.erasures
    if facts != made.facts_digest or seal != seal_of(facts, payload) or not same:
        raise Wrong(
            "the recording is not what was sealed: it was edited; export it again, or take out `id` and `digests` to"
            " import it as another one"
        )
    return ending


# -- events ------------------------------------------------------------------------------------------------------------


class _Events:
    """The events of one recording, taken line by line; `line` counts them."""

    def __init__(self, *, newer: bool, strict: bool) -> None:
        self.events: list[Event] = []
        self.end: Mapping[str, Any] | None = None
        self.line = 0
        #: Bytes of events and pieces; whether there are undecoded ones.
        self.plain = 0
        self.wired = False
        self._newer = newer
        self._strict = strict
        self._now = 0
        self._order = 0
        self._names: dict[bytes, tuple[str | None, int]] = {b"": (None, 8)}

    def take(self, text: bytes) -> None:
        """All lines after the first. Raises Wrong."""
        if b"\r" in text:
            number = text[: text.index(b"\r")].count(b"\n") + 1
            raise Wrong("a carriage return stands in it: recorder writes none", number)
        found = _LINES.findall(text)
        try:
            self._many(found)
        except ValueError as error:
            raise Wrong(str(error), self.line) from None
        if self._strict:
            self._check([(number, line[3]) for number, line in enumerate(found, 1) if line[3]])

    def _many(self, found: list[tuple[bytes, bytes, bytes, bytes, bytes]]) -> None:
        events, names = self.events, self._names
        now, plain, position = self._now, self.plain, 0
        for us, cut, type_, data, other in found:
            self.line += 1
            if other:
                self._now, self.plain = now, plain
                self._other(other)
                now, plain, position = self._now, self.plain, len(events)
                continue
            elapsed = int(us)
            if elapsed < now or self._order == _ORDER["end"]:
                self._misplaced()
            now, self._order = elapsed, 2
            if type_ not in names:
                names[type_] = (type_.decode("ascii"), len(type_) + 16)
            kind, around = names[type_]
            size = around + len(data)
            plain += size
            packed = checks.packed_cuts(json.loads(cut), size, elapsed) if cut else None
            events.append(_new_event(Event, (position, _SSE, elapsed, kind, data, None, size, packed)))
            position += 1
        self._now, self.plain = now, plain

    def _misplaced(self) -> NoReturn:
        if self._order == _ORDER["end"]:
            raise Wrong("it comes after the recording's end", self.line)
        raise Wrong("`us` is smaller than in the line before: times never run backwards", self.line)

    def _check(self, payloads: list[tuple[int, bytes]]) -> None:
        """Look whether payloads are JSON: all at once, and one by one only where that fails."""
        with contextlib.suppress(ValueError):
            # It knows no lone surrogates, and knows the rest in half the time.
            if len(from_json(b"[" + b",".join([data for _, data in payloads]) + b"]")) == len(payloads):
                return
        for number, data in payloads:
            try:
                json.loads(data, parse_int=_as_it_is)
            except (ValueError, RecursionError):
                raise Wrong("its `data` is no JSON; or it is not the last member", number) from None

    def _other(self, line: bytes) -> None:
        """A line that is not as most are. Raises Wrong or ValueError."""
        if not line.strip():
            raise Wrong("it is empty: take it out", self.line)
        try:
            told, verbatim = _told(line, _END if b'"kind":"end"' in line else _EVENT, newer=self._newer)
            kind = told.get("kind", _SSE)
            if not isinstance(kind, str) or kind not in _ORDER:
                raise Wrong("`kind` must be info, head, wire, body or end, or not there")
            elapsed = checks.count(told, "us", most=checks.LONGEST_US)
            if self._order == _ORDER["end"]:
                self._misplaced()
            if _ORDER[kind] < self._order or (kind == "head" and self._order == 1):
                raise Wrong(f"a {kind} cannot come here: info, head, events, end is the order")
            if elapsed < self._now:
                self._misplaced()
            self._now, self._order = elapsed, _ORDER[kind]
            self.events.append(self._event(kind, told, verbatim))
        except Wrong as wrong:
            raise Wrong(str(wrong), self.line) from None
        if kind == "end":
            self.end = told

    def _event(self, kind: str, told: Mapping[str, Any], verbatim: bytes | None) -> Event:
        type_ = checks.text(told, "event", checks.NAME) if "event" in told else None
        payload = checks.payload_of_line(told, verbatim)
        raw: bytes | None = None
        if kind == _SSE:
            if "raw" in told or "frame" in told:
                payload, raw = None, payload
            if raw:
                checks.require_frame(raw, type_, first=all(event.kind != _SSE for event in self.events))
            elif payload is not None and (b"\n" in payload or b"\r" in payload):
                raise Wrong("the data of an event is one line: use raw")
        elif type_ is not None:
            raise Wrong("only server-sent events have a name")
        elif kind in ("info", "head"):
            checks.require_head(payload)
        elif kind == "end" and (payload is not None or "ending" not in told):
            checks.require_end(payload)
        size = self._size(kind, type_, payload, raw, told)
        cut: bytes | None = _NO_CUTS
        if kind in ("sse", "wire", "body"):
            cut = checks.packed_cuts(told["cuts"], size, self._now) if "cuts" in told else None
        elif "cuts" in told:
            raise Wrong("it is no part of the body, so it has no cuts")
        if kind == "wire":
            self.wired = True
        elif kind in (_SSE, "body"):
            self.plain += size
        return Event(len(self.events), kind, self._now, type_, payload, raw, size, cut)

    def _size(
        self, kind: str, type_: str | None, data: bytes | None, raw: bytes | None, told: Mapping[str, Any]
    ) -> int:
        if raw:
            size = len(raw)
        elif data is not None:
            size = len(sse.wire(type_, data, None)) if kind == _SSE else len(data)
        else:
            size = checks.count(told, "size")
        if told.get("size", size) != size:
            raise Wrong(f"`size` says {told['size']}, and the payload is of {size} bytes: take `size` out")
        return size
