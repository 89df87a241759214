"""What the record holds that today's rules would mask: how often, by rule, place and recording; never a value.

Recordings are older than rules: than a shape that recorder has learnt since, than a rule that a user has added. So each
recording is read as if it were captured now, page by page, through the same redaction; what that would mask is counted.
Nothing is changed. It refuses to know how to get rid of what it finds.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from recorder import redact
from recorder.decode import Decoder
from recorder.digest import payload_of
from recorder.recording import Head, HeaderList, Kind, Row
from recorder.store import Store
from recorder.store.scanning import EVERYTHING, Scanned, Scope, Unreadable

__all__ = ["Findings", "scan"]

#: Bytes of an answer that are held together where a user's rules look at answers as a whole.
_WHOLE: Final = 32 << 20
#: Bytes of a request's body that are unpacked at most.
_UNPACKED: Final = 64 << 20

#: The part of an address that no other text has.
_ADDRESS: Final = re.compile(rb"(?<=[A-Za-z0-9._%+-])@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,24}")
_SSE: Final = Kind.SSE.value
_BODY: Final = Kind.BODY.value
_WIRE: Final = Kind.WIRE.value
_END: Final = Kind.END.value
_HEADS: Final = frozenset({Kind.INFO.value, Kind.HEAD.value})
_WITHHELD: Final = "withheld"


class Findings(NamedTuple):
    """What one recording holds. `found`: by place, how often each rule finds something. `addresses`: by place, how many
    mail addresses are there, which only a rule of the user's own would mask. `problem`: what could not be looked at.
    """

    recording_id: UUID | None
    started_at: int | None
    found: Mapping[str, Mapping[str, int]]
    addresses: Mapping[str, int]
    problem: str | None


def scan(store: Store, redactor: redact.Redactor = redact.DEFAULT, scope: Scope = EVERYTHING) -> Iterator[Findings]:
    """Each recording in the scope, in the order they were made, with what was found in it, which may be nothing."""
    for stored in store.scan(scope):
        looked = _Look(redactor)
        try:
            looked.request(stored.row)
            looked.tags(stored)
            looked.erasures(stored)
            looked.answer(stored)
        except Unreadable:
            looked.problem = "its events cannot be read; `recorder verify` says why"
        text = None if stored.recording_id is None else store.reading(stored.recording_id)
        if text is not None and text.reading.text:
            # What a model spells out in many events is together here.
            looked.addresses["answer"] = max(
                looked.addresses["answer"], _addresses(text.reading.text.encode("utf-8", "replace"))
            )
        started = stored.row.get("started_at")
        yield Findings(
            recording_id=stored.recording_id,
            started_at=started if isinstance(started, int) else None,
            found={place: dict(sorted(counts.items())) for place, counts in looked.found.items() if counts},
            addresses={place: number for place, number in looked.addresses.items() if number},
            problem=looked.problem,
        )


class _Look:
    """What was found in one recording so far. Values may be of any type: a store can be written past recorder."""

    def __init__(self, redactor: redact.Redactor) -> None:
        self.found: dict[str, Counter[str]] = {}
        self.addresses: Counter[str] = Counter()
        self.problem: str | None = None
        self._redactor = redactor

    # -- the request ---------------------------------------------------------------------------------------------------

    def request(self, row: Mapping[str, Any]) -> None:
        """Its URL, headers, body, session and hot parameters."""
        self._url("request url", row.get("url"))
        self._headers("request headers", _pairs(row.get("headers")), redact.keep_request_headers)
        body = _unpacked(row.get("body"), row.get("body_encoding"))
        if body is None:
            self.problem = "its request's body cannot be looked at whole; `recorder verify` says more"
        elif body:
            self._payload("request body", body)
        for name in ("session", "model", "assistant_id", "thread_id"):
            self._text("session and parameters", row.get(name))

    def tags(self, stored: Scanned) -> None:
        """Those that it began with, and those that were set later."""
        began = stored.row.get("tags")
        for name, value in _members(began):
            self._text("tags", name)
            self._text("tags", value)
        for note in stored.tags:
            self._text("tags", note.name)
            self._text("tags", note.value)

    def erasures(self, stored: Scanned) -> None:
        """Who erased it, and why."""
        for each in stored.erasures:
            self._text("erasures", each.erased_by)
            self._text("erasures", each.reason)

    # -- the answer ----------------------------------------------------------------------------------------------------

    def answer(self, stored: Scanned) -> None:
        """Heads, payloads and the ending."""
        answer = _Answer(self._redactor, armed=bool(self.found))
        for page in stored.pages():
            rows = [row for event in page if (row := _row(event)) is not None]
            for row in rows:
                if row[2] in _HEADS:
                    answer.head(self._head(row))
                elif row[2] == _END:
                    self._ending(row)
                elif data := row[5] or row[6]:
                    self.addresses["answer"] += 0 if row[2] == _WIRE else _addresses(data)
            answer.take(rows)
        self._count("answer", answer.finish())
        self.addresses["answer"] += answer.addresses

    def _head(self, row: Row) -> Head | None:
        try:
            head = Head.from_json(row[5] or b"")
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        self._headers("answer headers", head.headers, redact.keep_response_headers)
        self._text("answer headers", head.reason)
        return head

    def _ending(self, row: Row) -> None:
        try:
            told = json.loads(row[5] or b"{}")
        except ValueError:
            return
        found: Counter[str] = Counter()
        for text in _texts(told):
            self._redactor.text(text, found)
        self._count("ending", found)

    # -- counting ------------------------------------------------------------------------------------------------------

    def _count(self, place: str, found: Mapping[str, int]) -> None:
        if found.get(_WITHHELD):
            self.problem = "a rule failed on it"
        if counts := {rule: number for rule, number in found.items() if number and rule != _WITHHELD}:
            self.found.setdefault(place, Counter()).update(counts)

    def _payload(self, place: str, data: bytes) -> None:
        found: Counter[str] = Counter()
        self._redactor.clean(data, "request", found)
        self._count(place, found)
        self.addresses[place] += _addresses(data)

    def _text(self, place: str, text: object) -> None:
        if isinstance(text, str):
            found: Counter[str] = Counter()
            self._redactor.text(text, found)
            self._count(place, found)
            self.addresses[place] += _addresses(text.encode("utf-8", "replace"))

    def _url(self, place: str, url: object) -> None:
        if isinstance(url, str):
            self._count(place, {"url": redact.clean_url(url) != url})

    def _headers(self, place: str, headers: HeaderList, keep: Callable[[HeaderList], HeaderList]) -> None:
        kept = self._redactor.headers(keep(headers))
        self._count(place, {"header": sum(one != other for one, other in zip(headers, kept, strict=True))})


class _Answer:
    """The payloads of an answer on their way past the redaction, as they came when it was captured."""

    def __init__(self, redactor: redact.Redactor, *, armed: bool) -> None:
        self._redactor = redactor
        self._passage = redact.Passage(redactor, armed=armed)
        self._packed = redact.Passage(redactor, armed=armed)  # of what only `wire` rows hold
        self._decoder: Decoder | None = None
        self._has_decoded = False
        self._whole: bytearray | None = bytearray() if redactor.wants_whole else None
        self.addresses = 0

    def head(self, head: Head | None) -> None:
        """The head says how the payloads are encoded."""
        if head is not None and head.content_encoding:
            self._decoder = Decoder(head.content_encoding)

    def take(self, rows: list[Row]) -> None:
        """Some more rows."""
        passing = []
        for row in rows:
            if row[2] == _SSE:
                self._has_decoded, self._whole = True, None
            elif row[2] == _BODY:
                self._has_decoded = True
                if self._whole is not None:  # no stream: looked at when all of it is there
                    self._whole += payload_of(row)[: _WHOLE - len(self._whole)]
                    continue
            elif row[2] == _WIRE and not self._has_decoded and row[5]:
                self._unpack(row, row[5])
            passing.append(row)
        self._passage.take(passing, b"".join(payload_of(row) for row in passing if row[2] in (_SSE, _BODY)))

    def _unpack(self, row: Row, data: bytes) -> None:
        """A part of an encoded body. (An earlier recorder kept some as such that are not encoded: they are plain.)"""
        plain = data if self._decoder is None else self._decoder.feed(data)
        if self._decoder is not None and self._decoder.problem is not None:
            plain += data
        if plain:
            self.addresses += _addresses(plain)
            made: Row = (*row[:2], _BODY, row[3], None, plain, None, len(plain), None)
            self._packed.take([made], plain)

    def finish(self) -> Mapping[str, int]:
        """How often each rule found something."""
        if not self._has_decoded:
            self._packed.take([], b"", last=True)
            return self._packed.found
        self._passage.take([], b"", last=True)
        self.addresses = 0  # those were counted in what was decoded
        if self._whole:
            self._passage.whole(bytes(self._whole), complete=len(self._whole) < _WHOLE)
        return self._passage.found


# -- values that may be anything ---------------------------------------------------------------------------------------


def _row(event: Sequence[Any]) -> Row | None:
    """The event as a row; None where it is none that recorder writes."""
    position, kind, elapsed_us, type_, data, raw, size, cut = event[:8]  # the id may follow
    if not isinstance(position, int) or not isinstance(kind, str) or not isinstance(type_, str | None):
        return None
    if not isinstance(data, bytes | None) or not isinstance(raw, bytes | None) or not isinstance(size, int):
        return None
    return b"", position, kind, elapsed_us, type_, data, raw, size, cut


def _unpacked(body: object, encoding: object) -> bytes | None:
    """The body; None where it is none that recorder wrote, or unpacks to more than is looked at."""
    if body is None or (isinstance(body, bytes) and encoding is None):
        return body or b""
    if not isinstance(body, bytes) or encoding != "zlib":
        return None
    packed = zlib.decompressobj()
    try:
        plain = packed.decompress(body, _UNPACKED)
    except zlib.error:
        return None
    return plain if packed.eof else None


def _pairs(text: object) -> HeaderList:
    """Headers as they are stored: JSON, a list of pairs."""
    try:
        told = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return ()
    pairs = [each for each in told if isinstance(each, list) and len(each) == 2] if isinstance(told, list) else []
    return tuple((name, value) for name, value in pairs if isinstance(name, str) and isinstance(value, str))


def _members(text: object) -> list[tuple[str, Any]]:
    try:
        told = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return []
    return [*told.items()] if isinstance(told, dict) else []


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _addresses(data: bytes) -> int:
    return sum(1 for _ in _ADDRESS.finditer(data)) if b"@" in data else 0
