"""HTTP Archives (HAR 1.2): of browsers, proxies and PollyJS, and our own, in and out.

An archive keeps a body decoded, when a request began and how long its parts took, but not when each event came. Ours
adds that in members that begin with an underscore, as the specification asks
(http://www.softwareishard.com/blog/har-12-spec/): `_recorder` of an entry says where chunks ended and when, and how
the transport ended, so that reading it back gives the same stream; `_eventSourceMessages` lists the events of a stream
with their times, as Chrome's archives do. What came to no answer has the status 0 and says why in `_error`.

Pure: values in and out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from .. import cuts, sse
from ..decode import decode_body
from ..digest import payload_of
from ..recording import Captured, Ending, Event, Head, HeaderList, Kind, Recording, Transport
from .building import Foreign, Unfit, header_list
from .lines import Entry, ended, micros, timestamp

__all__ = ["Skipped", "is_har", "of_har", "to_har"]

#: Seconds since 1970 in which no calendar is any more: what is not below is no time, nor are infinities.
_LATEST: Final = 1e12
_ENDINGS: Final = frozenset(each.value for each in Transport)
#: How much of an error's word is told.
_SHOWN: Final = 40


class Skipped(Unfit):
    """Why an entry of an archive is no recording; the others may be."""


# -- in ----------------------------------------------------------------------------------------------------------------


def is_har(value: Any) -> bool:
    """Whether a parsed file looks like an archive."""
    return isinstance(value, Mapping) and isinstance(value.get("log"), Mapping) and "entries" in value["log"]


def of_har(value: Mapping[str, Any]) -> Iterator[Foreign | Skipped]:
    """The exchanges of an archive in its order, and why one is none. Raises Unfit for what is no archive."""
    entries = value["log"]["entries"]
    if not isinstance(entries, list):
        raise Unfit("`log.entries` is no list")
    for number, entry in enumerate(entries, 1):
        try:
            yield _exchange(entry)
        except Skipped as skipped:
            yield Skipped(f"entry {number}: {skipped}")
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, Unfit) else f"it has not the form of one ({type(error).__name__})"
            raise Unfit(f"entry {number}: {why}") from None


def _exchange(entry: Mapping[str, Any]) -> Foreign:
    request, response = entry["request"], entry["response"]
    status = _status(response)
    if status == 101 or "_webSocketMessages" in entry:
        raise Skipped("it is a WebSocket")
    url = str(request.get("url", ""))
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise Skipped("it did not go over HTTP")
    started_at = _moment(entry.get("startedDateTime"))
    told = _messages(entry, started_at)
    body = _body(response.get("content") or {}, response, known=bool(told))
    version, known = _version(response.get("httpVersion"))
    asked, exact = _asked(request)
    duration, head_us = _times(entry)
    chunks, unknown = _by_message(told, body)
    if not known:
        unknown.add("http_version")
    if not exact:
        unknown.add("request")
    foreign = Foreign(
        method=str(request.get("method", "")).upper(),
        url=url,
        request_headers=_headers(request),
        request_body=asked,
        status=status,
        reason=str(response.get("statusText") or ""),
        http_version=version,
        headers=_headers(response),
        body=body or b"".join(frame for _, frame in chunks or ()),
        chunks=chunks,
        started_at=started_at,
        head_us=head_us,
        duration_us=duration,
        unknown=frozenset(unknown),
    )
    own = entry.get("_recorder")
    return _as_recorded(foreign, own) if isinstance(own, Mapping) else foreign


def _status(response: Mapping[str, Any]) -> int:
    """The response's status. Raises Skipped where no response came."""
    status = response.get("status")
    if isinstance(status, int) and status >= 100:
        return status
    why = response.get("_error")  # ours, and Chrome's
    told = f"says {why[:_SHOWN]!r}" if isinstance(why, str) and why else "does not say why"
    raise Skipped(f"no response came, and the archive {told}")


def _as_recorded(foreign: Foreign, own: Mapping[str, Any]) -> Foreign:
    """With what our own archives tell besides."""
    named = own.get("unknown")
    names = named if isinstance(named, list) else []
    chunks = _chunks(own, foreign.body)
    listed = foreign.unknown if chunks is None else foreign.unknown - {"cuts"}
    unknown = listed.union(name for name in names if isinstance(name, str))
    known = own.get("ending") in _ENDINGS and "ending" not in unknown
    return replace(
        foreign,
        chunks=foreign.chunks if chunks is None else chunks,
        head_us=_microseconds(own, "head_us"),
        duration_us=_microseconds(own, "duration_us"),
        ending=own["ending"] if known else None,
        unknown=unknown,
    )


def _headers(side: Mapping[str, Any]) -> HeaderList:
    """Without the pseudo-headers of HTTP/2 (RFC 9113 section 8.3), which some tools list."""
    return tuple((name, value) for name, value in header_list(side.get("headers")) if not name.startswith(":"))


def _version(value: Any) -> tuple[str, bool]:
    """HTTP version as a status line has it, from `h2`, `http/2.0`, `HTTP/1.1`; whether it is said at all."""
    text = str(value or "").lower().replace("http/", "").replace("h", "")
    known = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2", "2.0": "HTTP/2", "3": "HTTP/3", "3.0": "HTTP/3"}
    return known.get(text, "HTTP/1.1"), text in known


def _body(content: Mapping[str, Any], response: Mapping[str, Any], *, known: bool) -> bytes:
    """The bytes of a body. Raises Skipped where they are not there, and not `known` otherwise."""
    text = content.get("text")
    if not isinstance(text, str):
        size = max(content.get("size") or 0, response.get("bodySize") or 0)
        if size > 0 and not known:
            raise Skipped(f"the archive does not hold its body of {size} bytes: save it with contents")
        return b""
    if content.get("_isBinary") and text.startswith("["):
        return b"".join(_binary(piece, content.get("encoding")) for piece in json.loads(text))
    return _decoded(text, content.get("encoding"))


def _binary(piece: Any, encoding: Any) -> bytes:
    """A chunk of a binary body as PollyJS keeps it: hexadecimal, or base64 where it says so."""
    return _decoded(piece, encoding) if encoding == "base64" else bytes.fromhex(piece)


def _decoded(text: str, encoding: Any) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=False)
        except (binascii.Error, ValueError):
            raise Unfit("a base64 body is damaged") from None
    return text.encode("utf-8", "surrogatepass")


def _messages(entry: Mapping[str, Any], started_at: int | None) -> list[tuple[int, str, str, str]]:
    """Chrome's list of a stream's events: (us since the request, name, id, data); empty where there is none.

    Its times are seconds since 1970, as those of its `_webSocketMessages` are.
    """
    told = entry.get("_eventSourceMessages")
    if not isinstance(told, list) or started_at is None:
        return []
    found: list[tuple[int, str, str, str]] = []
    for each in told:
        moment, data = each.get("time"), each.get("data")
        if not isinstance(moment, int | float) or not 0 <= moment < _LATEST or not isinstance(data, str):
            return []
        elapsed = max(round(moment * 1_000_000) - started_at, found[-1][0] if found else 0)
        found.append((elapsed, str(each.get("eventName") or ""), str(each.get("eventId") or ""), data))
    return found


def _by_message(
    told: Sequence[tuple[int, str, str, str]], body: bytes
) -> tuple[list[tuple[int, bytes]] | None, set[str]]:
    """When the frames of a body came, by the list of its events, and what stays unknown.

    Where the body itself was not kept, it is written anew from the list.
    """
    if not told:
        return None, set()
    if not body:
        return [(elapsed, _frame(name, number, data)) for elapsed, name, number, data in told], {"bytes", "cuts"}
    tokenizer, dispatcher = sse.Tokenizer(limit=None), sse.Dispatcher()
    frames = [frame for frame in tokenizer.feed(body) + tokenizer.finish() if isinstance(frame, sse.Frame)]
    tail = tokenizer.close()
    chunks: list[tuple[int, bytes]] = []
    at = 0
    for frame in frames:
        if at == len(told):
            break
        chunks.append((told[at][0], sse.wire(frame.type, frame.data, frame.raw)))
        if (message := dispatcher.dispatch(frame.type, frame.data, frame.raw)) is not None:
            if message.data != told[at][3]:
                return None, set()
            at += 1
    rest = body[sum(len(chunk) for _, chunk in chunks) :]
    if at < len(told) or (rest and rest != tail):
        return None, set()  # it is a list of something else
    return [*chunks, *([(chunks[-1][0], rest)] if rest else [])], {"cuts"}


def _frame(name: str, number: str, data: str) -> bytes:
    head = (f"event: {name}\n" if name not in ("", "message") else "") + (f"id: {number}\n" if number else "")
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"{head}{lines}\n".encode("utf-8", "surrogatepass")


def _asked(request: Mapping[str, Any]) -> tuple[bytes | None, bool]:
    """The request's body, and whether these are the bytes that were sent."""
    posted = request.get("postData")
    if not isinstance(posted, Mapping):
        size = request.get("bodySize")
        return (None, False) if isinstance(size, int) and size > 0 else (b"", True)
    text = posted.get("text")
    if isinstance(text, str) and (text or not posted.get("params")):
        return _decoded(text, posted.get("encoding") or posted.get("_encoding")), True
    pairs = [(str(each.get("name", "")), str(each.get("value", ""))) for each in posted.get("params") or ()]
    if not pairs:
        return b"", True
    return (urlencode(pairs).encode("ascii"), False) if "urlencoded" in str(posted.get("mimeType")) else (None, False)


def _times(entry: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How long all took, and when the head came, in microseconds; None where it is not said (-1 stands for that)."""
    whole = entry.get("time")
    if not isinstance(whole, int | float) or isinstance(whole, bool) or not 0 < whole < 1e12:
        return None, None
    timings = entry.get("timings")
    receive = timings.get("receive") if isinstance(timings, Mapping) else None
    if not isinstance(receive, int | float) or isinstance(receive, bool) or not 0 <= receive <= whole:
        return round(whole * 1000), None
    return round(whole * 1000), round((whole - receive) * 1000)


def _microseconds(own: Mapping[str, Any], name: str) -> int | None:
    value = own.get(name)
    return value if type(value) is int and value >= 0 else None


def _chunks(own: Mapping[str, Any], body: bytes) -> list[tuple[int, bytes]] | None:
    """The chunks that our own archive tells; None where they do not make up this body."""
    told = own.get("chunks")
    if not isinstance(told, list):
        return None
    chunks: list[tuple[int, bytes]] = []
    at = now = 0
    for pair in told:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair)):
            return None
        elapsed, size = pair
        if elapsed < now or size < 1:
            return None
        chunks.append((elapsed, body[at : at + size]))
        at, now = at + size, elapsed
    return chunks if at == len(body) else None


def _moment(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return micros(datetime.fromisoformat(value))
    except ValueError:
        return None


# -- out ---------------------------------------------------------------------------------------------------------------


def to_har(entries: Iterable[Entry], version: str) -> Iterator[str]:
    """An archive of these, as text, piece by piece. `version` is recorder's."""
    yield '{"log":{"version":"1.2","creator":{"name":"recorder","version":' + json.dumps(version) + '},"entries":['
    before = ""
    for entry in entries:
        yield before + "\n" + json.dumps(_entry(ended(entry)), separators=(",", ":"))
        before = ","
    yield "\n]}}\n"


def _entry(entry: Entry) -> dict[str, Any]:
    recording, events = entry
    ending = recording.ending
    assert ending is not None
    head = next((Head.from_json(event.data) for event in events if event.kind == Kind.HEAD and event.data), None)
    wait = ending.head_us if ending.head_us is not None else ending.elapsed_us
    encoded = [event for event in events if event.kind == Kind.WIRE]
    body = b"".join(payload_of((b"", *event)) for event in encoded or events if event.kind in ("sse", "body", "wire"))
    coding = head.content_encoding if head else None
    plain = decode_body(coding, body) if encoded else body
    imported = ending.detail.get("imported")
    unknown = imported.get("unknown", []) if isinstance(imported, Mapping) else []
    own: dict[str, Any] = {
        "recording_id": str(recording.recording_id),
        "dialect": recording.dialect,
        "ending": ending.ending,
        "captured": ending.captured,
        "head_us": ending.head_us,
        "duration_us": None if "duration" in unknown else ending.elapsed_us,
    }
    if unknown:
        own["unknown"] = unknown
    if not encoded and len(body) == ending.wire_bytes and "cuts" not in unknown:
        own["chunks"] = _chunk_ends(events)
    if ending.captured != Captured.FULL or ending.ending != Transport.EOF:
        own["detail"] = dict(ending.detail)
    told = {
        "startedDateTime": timestamp(recording.started_at),
        "time": ending.elapsed_us / 1000,
        "request": _request(recording, head),
        "response": _response(head, body if plain is None else plain, ending),
        "cache": {},
        "timings": {"send": 0, "wait": wait / 1000, "receive": (ending.elapsed_us - wait) / 1000},
    }
    if "times" not in unknown and (listed := _listed(recording.started_at, events)):
        told["_eventSourceMessages"] = listed
    return {**told, "_recorder": own}


def _listed(started_at: int, events: Sequence[Event]) -> list[dict[str, Any]]:
    """The events that an EventSource would have seen, as Chrome lists them; none where payloads are not there."""
    dispatcher = sse.Dispatcher()
    found: list[dict[str, Any]] = []
    for event in events:
        if event.kind != Kind.SSE:
            continue
        if event.data is None and not event.raw:
            return []
        if (message := dispatcher.dispatch(event.type, event.data, event.raw)) is not None:
            moment = (started_at + event.elapsed_us) / 1_000_000
            told = {"time": moment, "eventName": message.type, "eventId": message.id or "", "data": message.data}
            found.append(told)
    return found


def _chunk_ends(events: Sequence[Event]) -> list[list[int]]:
    """[us, size] of each chunk; bytes after the last cut are one more."""
    told: list[list[int]] = []
    at = last = now = 0
    for event in events:
        if event.kind not in (Kind.SSE, Kind.BODY):
            continue
        for offset, arrived in cuts.unpack(event.cuts, event.size, event.elapsed_us):
            told.append([arrived, at + offset - last])
            last = at + offset
        at, now = at + event.size, event.elapsed_us
    if at > last:
        told.append([now, at - last])
    return told


def _request(recording: Recording, head: Head | None) -> dict[str, Any]:
    request = recording.request
    told: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "httpVersion": head.http_version if head else "",  # one connection speaks one version
        "cookies": [],
        "headers": _named(request.headers),
        "queryString": [
            {"name": name, "value": value}
            for name, value in parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
        ],
        "headersSize": -1,
        "bodySize": request.body_size,
    }
    if request.body:
        kind = next((value for name, value in request.headers if name.lower() == "content-type"), "")
        # HAR 1.2 knows no encoding here, and lets others have members that begin with an underscore.
        told["postData"] = {"mimeType": kind, **_text(request.body, "_encoding")}
    return told


def _response(head: Head | None, body: bytes, ending: Ending) -> dict[str, Any]:
    kind = (head.get("content-type") if head else None) or ""
    content: dict[str, Any] = {"size": len(body), "mimeType": kind, **_text(body, "encoding")}
    if head is not None and head.content_encoding and len(body) != ending.wire_bytes:
        content["compression"] = len(body) - ending.wire_bytes
    told = {
        "status": ending.http_status or 0,
        "statusText": head.reason if head else "",
        "httpVersion": head.http_version if head else "",
        "cookies": [],
        "headers": _named(head.headers) if head else [],
        "content": content,
        "redirectURL": (head.get("location") if head else None) or "",
        "headersSize": -1,
        "bodySize": ending.wire_bytes,
    }
    return told if ending.http_status else {**told, "_error": ending.ending}


def _text(body: bytes, encoding: str) -> dict[str, str]:
    """The text of a body; where it is none, base64, which the member `encoding` says."""
    try:
        return {"text": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"text": base64.b64encode(body).decode("ascii"), encoding: "base64"}


def _named(headers: HeaderList) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]
