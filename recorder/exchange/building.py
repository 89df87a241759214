"""Recordings from what another tool kept of an exchange: a request, a status, headers, a body, perhaps times.

Bytes go through the same `Capture` as a live answer, so that imported and recorded exchanges are cut into the same
events, and requests through the same redaction and the same key. What the source does not tell is not made up: the
`end` event says in `imported.unknown` what is unknown,

    cuts      where the network's chunks ended; the events have no cuts
    times     when the events came; each says when all of it was there, or 0 where nobody knows that either
    duration  how long the exchange took, and when its head came
    started   when it began; 1970 stands for that
    ending    how the transport ended: the tool kept whole answers only
    headers   there are none;   head   there is not even a status
    bytes     the source kept a body as values, not as bytes; it is written anew as JSON
    request   what was asked: a part of it was given by whoever imported, or guessed

and in `imported.left_out` which headers contradicted the body as it was kept (decoded, say) and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .. import dialects, match, redact
from ..capture import Capture
from ..decode import decode_body
from ..recording import Head, HeaderList, Kind, Recording, Request, Transport, storable
from ..store.rows import as_stored
from . import lines
from .checks import LONGEST_US
from .reading import NOBODY, Ids, Parsed

__all__ = ["Foreign", "Maker", "Unfit", "as_json_bytes", "header_list"]

_HTTP: Final = "HTTP/1.1"
#: Longest value of a header, and most headers, that are taken from a file.
_LONGEST: Final = 64 << 10


class Unfit(ValueError):
    """Why a file, or an exchange in it, cannot be taken; in words for whoever imports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """An exchange as another tool kept it. Times in microseconds; None is unknown. Without `request_body` no replay
    finds it.

    `status` None: the source has none. `chunks` are (elapsed_us, bytes) where the source has them; else `body` is all.
    `unknown`: what else is not known. `ending` is how the transport ended where the source tells, else None.
    """

    method: str
    url: str
    request_headers: HeaderList = ()
    request_body: bytes | None = b""
    status: int | None = 200
    reason: str = ""
    http_version: str = _HTTP
    headers: HeaderList = ()
    body: bytes = b""
    chunks: Sequence[tuple[int, bytes]] | None = None
    started_at: int | None = None
    head_us: int | None = None
    duration_us: int | None = None
    ending: str | None = None
    unknown: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)

    def whole(self) -> bytes:
        """All of the body, whether in chunks or not."""
        return self.body if self.chunks is None else b"".join(chunk for _, chunk in self.chunks)


class Maker:
    """Makes recordings of one file's exchanges, in their order; `source` names what kind of file it is.

    Raises Unfit for an exchange that cannot be one.
    """

    def __init__(self, source: str, rule: match.Rule = match.DEFAULT) -> None:
        self._source = source
        self._rule = rule
        self._ids = Ids()

    def make(self, foreign: Foreign) -> Parsed:
        """The recording of this exchange."""
        _check(foreign)
        headers, left_out = _fitting(foreign)
        capture = Capture(self._opened(foreign))
        unknown = set(foreign.unknown)
        late = foreign.duration_us or 0
        if foreign.status is not None:
            head = Head(foreign.status, foreign.reason, foreign.http_version, headers)
            capture.head(head, foreign.head_us or 0)
        if foreign.chunks is not None:
            for elapsed, chunk in foreign.chunks:
                capture.data(chunk, elapsed)
        else:
            unknown |= {"cuts", "times"}
            capture.data(foreign.body, late)
        if foreign.duration_us is None:
            unknown.add("duration")
        if foreign.started_at is None:
            unknown.add("started")
        if foreign.ending is None:
            unknown.add("ending")
        told: dict[str, Any] = {"from": self._source, "unknown": sorted(unknown)}
        if left_out:
            told["left_out"] = left_out
        capture.end(foreign.ending or Transport.EOF, late, detail={"imported": told})
        return _without_guesses(capture, foreign)

    def _opened(self, foreign: Foreign) -> Recording:
        request = Request(
            foreign.method,
            foreign.url,
            foreign.request_headers,
            foreign.request_body,
            len(foreign.request_body or b""),
        )
        dialect = dialects.recognise(request)
        started_at = foreign.started_at or 0
        parameters = {} if request.body is None else dialect.parameters(request)
        recording = Recording(
            recording_id=self._ids.make(started_at, _content(foreign)),
            started_at=started_at,
            writer=NOBODY,
            dialect=dialect.name,
            origin=storable(redact.origin(request.url)),
            request=replace(
                request,
                url=storable(redact.clean_url(request.url)),
                headers=redact.keep_request_headers(request.headers),
            ),
            match_key=None if request.body is None else match.key(request, self._rule),
            match_rule=self._rule.to_text(),
            tags={storable(name): storable(value) for name, value in foreign.tags.items()},
            parameters={
                name: storable(value) if isinstance(value, str) else value for name, value in parameters.items()
            },
        )
        return as_stored(recording)


def _content(foreign: Foreign) -> bytes:
    """What tells one exchange from another."""
    told = (foreign.method, foreign.url, foreign.status, foreign.started_at, foreign.request_headers, foreign.headers)
    parts = (json.dumps(told).encode("ascii"), foreign.request_body or b"", foreign.whole())
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def _without_guesses(capture: Capture, foreign: Foreign) -> Parsed:
    """The rows without the cuts that capture saw in what was no chunk, and without times of a head nobody saw."""
    rows = capture.take()
    recording, ending = capture.recording, capture.ending
    assert ending is not None
    if foreign.chunks is None or "cuts" in foreign.unknown:
        body = (Kind.SSE, Kind.WIRE, Kind.BODY)
        rows = [(*row[:8], b"") if row[2] in body else row for row in rows]
    if foreign.head_us is None:
        ending = replace(ending, head_us=None)
    ending = lines.digests(recording, ending, rows)
    return Parsed(replace(recording, ending=ending), rows)


def _check(foreign: Foreign) -> None:
    """Raises Unfit for what no HTTP exchange can hold."""
    if not foreign.method.isascii() or not foreign.method.isalpha():
        raise Unfit(f"the method {foreign.method[:20]!r} is none")
    scheme, mark, rest = foreign.url.partition("://")
    if not mark or scheme.lower() not in ("http", "https") or not rest:
        raise Unfit("the URL is not one of http or https")
    if any(character < "!" or character == "\x7f" for character in foreign.url):
        raise Unfit("the URL holds a blank or a control character")
    if foreign.status is not None and not 100 <= foreign.status <= 999:
        raise Unfit(f"the status {foreign.status} is none")
    for name, value in (*foreign.request_headers, *foreign.headers):
        if not name or any(character in name for character in "\r\n\0: ") or any(each in value for each in "\r\n\0"):
            raise Unfit(f"the header {name[:40]!r} holds a line break or another character that none can")
        if len(value) > _LONGEST:
            raise Unfit(f"the header {name[:40]!r} is longer than {_LONGEST} characters")
    if any(each in foreign.reason for each in "\r\n\0"):
        raise Unfit("the status line holds a line break")
    spans = (foreign.head_us, foreign.duration_us, *(elapsed for elapsed, _ in foreign.chunks or ()))
    if not lines.is_time_of_day(foreign.started_at or 0) or not all(0 <= span <= LONGEST_US for span in spans if span):
        raise Unfit("one of its times is none that can be")


def _fitting(foreign: Foreign) -> tuple[HeaderList, list[str]]:
    """The response's headers without those that say of the body what is not so; and their names."""
    body = foreign.whole()
    wrong: set[str] = set()
    coding = Head(200, headers=foreign.headers).content_encoding
    if coding is not None and body and decode_body(coding, body) is None:
        wrong.add("content-encoding")
    for name, value in foreign.headers:
        if name.lower() == "content-length" and value.strip() != str(len(body)) and not _may_be_bare(foreign):
            wrong.add("content-length")
    kept = tuple((name, value) for name, value in foreign.headers if name.lower() not in wrong)
    return kept, sorted(wrong)


def _may_be_bare(foreign: Foreign) -> bool:
    """Whether the answer has no body whatever its headers say (RFC 9110 section 6.4.1)."""
    return foreign.method.upper() == "HEAD" or foreign.status in (204, 304)


def header_list(value: Any) -> HeaderList:
    """Headers however files keep them: {name: value}, {name: [value, …]}, [[name, value]], [{"name": …, "value": …}].

    Raises Unfit for anything else.
    """
    found: list[tuple[str, str]] = []
    if value is None:
        return ()
    if isinstance(value, Mapping):
        pairs = [(name, each) for name, values in value.items() for each in _several(values)]
    elif isinstance(value, list):
        pairs = [_pair(each) for each in value]
    else:
        raise Unfit("headers are neither a mapping nor a list")
    for name, each in pairs:
        if isinstance(each, bytes):
            each = each.decode("latin-1")  # noqa: PLW2901 (the same value, as text)
        if not isinstance(name, str) or isinstance(each, dict | list) or each is None:
            raise Unfit("a header is no name and value")
        found.append((name, _latin(str(each))))
    return tuple(found)


def _several(values: Any) -> Sequence[Any]:
    return values if isinstance(values, list | tuple) else [values]


def _pair(each: Any) -> tuple[Any, Any]:
    if isinstance(each, Mapping):
        return each.get("name"), each.get("value", "")
    if isinstance(each, list | tuple) and len(each) == 2:
        return each[0], each[1]
    raise Unfit("a header is no name and value")


def _latin(text: str) -> str:
    """A header's value as the wire's bytes map to characters; files keep it as UTF-8 text."""
    try:
        text.encode("latin-1")
        return text.strip(" \t")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("latin-1").strip(" \t")


def as_json_bytes(value: Any) -> bytes:
    """A body that was kept as values, as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")
