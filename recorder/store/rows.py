"""Values to columns and back: how a Recording, an Ending, a Reading and a Run lie in their tables. No I/O.

Columns are given and taken by name. Text is made storable on every database (`recorder.recording.storable`); JSON is
written in ASCII, where it cannot hold anything that a database refuses.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from recorder.recording import (
    Ending,
    HeaderList,
    Reading,
    Recording,
    Request,
    Row,
    Run,
    StoredReading,
    storable,
)

__all__ = [
    "HOT_PARAMETERS",
    "clean_rows",
    "ending_columns",
    "reading_columns",
    "recording_columns",
    "suffix",
    "tag_columns",
    "to_ending",
    "to_reading",
    "to_recording",
    "to_run",
]

#: Request bodies from this many bytes are compressed.
_COMPRESS_FROM = 4096
#: Fast rather than small: agents resend a growing history with every turn.
_COMPRESSION_LEVEL = 3

#: The hot parameters, each a column of `recordings`, and the type it takes.
HOT_PARAMETERS: Mapping[str, type] = MappingProxyType(
    {
        "model": str,
        "assistant_id": str,
        "thread_id": str,
        "max_prompt_tokens": int,
        "max_completion_tokens": int,
        "truncation_strategy": str,
        "stream": bool,
    }
)
_INT64 = 1 << 63

#: The columns of a Reading that are plain values under the same name.
_READING_TEXTS = (
    "dialect",
    "status",
    "stop_reason",
    "stop_reason_raw",
    "provider_run_id",
    "request_id",
    "model",
    "service_tier",
    "assistant_id",
    "thread_id",
    "group",
    "truncation_strategy",
    "text",
)
_READING_NUMBERS = (
    "max_prompt_tokens",
    "max_completion_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "total_tokens",
    "ttft_us",
)


# -- into the store ----------------------------------------------------------------------------------------------------


def recording_columns(recording: Recording) -> dict[str, Any]:
    """The row of table `recordings`."""
    request = recording.request
    body, encoding = _packed(request.body)
    columns = {
        "recording_id": recording.recording_id,
        "started_at": recording.started_at,
        "writer": recording.writer,
        "dialect": storable(recording.dialect),
        "origin": storable(recording.origin),
        "content": storable(recording.content),
        "weight": recording.weight,
        "method": storable(request.method),
        "url": storable(request.url),
        "headers": _json(request.headers),
        "body": body,
        "body_encoding": encoding,
        "body_size": request.body_size,
        "body_sha256": request.body_sha256,
        "salt": recording.salt,
        "match_key": recording.match_key,
        "match_rule": _text(recording.match_rule),
        "session": _text(recording.session),
        "trace": _text(recording.trace),
        "call": recording.call,
        "tags": _json(dict(recording.tags)) if recording.tags else None,
        "suffix": suffix(recording.recording_id.hex),
    }
    for name, kind in HOT_PARAMETERS.items():
        columns[name] = _parameter(recording.parameters.get(name), kind)
    return columns


def tag_columns(recording: Recording) -> list[dict[str, Any]]:
    """The rows of table `tags` for the tags that a recording starts with."""
    return [
        {
            "recording_id": recording.recording_id,
            "name": storable(name),
            "set_at": recording.started_at,
            "value": storable(value),
        }
        for name, value in recording.tags.items()
    ]


def ending_columns(recording_id: UUID, ending: Ending) -> dict[str, Any]:
    """The row of table `endings`."""
    return {
        "recording_id": recording_id,
        "ending": storable(ending.ending),
        "captured": storable(ending.captured),
        "elapsed_us": ending.elapsed_us,
        "events": ending.events,
        "wire_bytes": ending.wire_bytes,
        "http_status": ending.http_status,
        "head_us": ending.head_us,
        "facts_digest": ending.facts_digest,
        "payload_digest": ending.payload_digest,
        "seal": ending.seal,
    }


def reading_columns(stored: StoredReading) -> dict[str, Any]:
    """The columns of table `readings` that come from the reading; the copied facts are not among them."""
    reading = stored.reading
    columns: dict[str, Any] = {name: _text(getattr(reading, name)) for name in _READING_TEXTS}
    columns.update({name: _parameter(getattr(reading, name), int) for name in _READING_NUMBERS})
    return columns | {
        "recording_id": stored.recording_id,
        "run_id": stored.run_id,
        "reader_version": stored.reader_version,
        "read_at": stored.read_at,
        "complete": reading.complete,
        "metadata": None if reading.metadata is None else _json(dict(reading.metadata)),
        "flags": _json(reading.flags) if reading.flags else None,
        "facts": _json(dict(reading.facts)) if reading.facts else None,
    }


def clean_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows themselves, unless an event type holds what a database refuses."""
    types = {row[4] for row in rows}
    if all(kind is None or storable(kind) == kind for kind in types):
        return rows
    return [(*row[:4], _text(row[4]), *row[5:]) for row in rows]


def suffix(hexadecimal: str) -> str:
    """The last twelve hexadecimal digits of an id, the last one first: what an index can look up by its beginning."""
    return hexadecimal[-12:][::-1]


def _packed(body: bytes | None) -> tuple[bytes | None, str | None]:
    if body is None or len(body) < _COMPRESS_FROM:
        return body, None
    packed = zlib.compress(body, _COMPRESSION_LEVEL)
    return (packed, "zlib") if len(packed) < len(body) else (body, None)


def _parameter(value: object, kind: type) -> Any:
    """The value if it is what the column takes; a client may send anything under these names."""
    if kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    else:
        fits = isinstance(value, kind)
    if not fits:
        return None
    return storable(value) if isinstance(value, str) else value


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# -- out of the store --------------------------------------------------------------------------------------------------


def to_recording(row: Mapping[Any, Any]) -> Recording:
    """A Recording from its row of `recordings`, joined with its ending and the `end` event's payload if it has one.

    The ending's columns are named `ending_…`, the payload `ending_detail`.
    """
    request = Request(
        method=row["method"],
        url=row["url"] or "",
        headers=_headers(row["headers"]),
        body=_unpacked(row["body"], row["body_encoding"]),
        body_size=row["body_size"],
        body_sha256=_bytes(row["body_sha256"]),
    )
    parameters = {name: row[name] for name in HOT_PARAMETERS if row[name] is not None}
    return Recording(
        recording_id=row["recording_id"],
        started_at=row["started_at"],
        writer=row["writer"],
        dialect=row["dialect"],
        origin=row["origin"],
        request=request,
        salt=_bytes(row["salt"]),
        match_key=_bytes(row["match_key"]),
        match_rule=row["match_rule"],
        content=row["content"],
        weight=row["weight"],
        session=row["session"],
        trace=row["trace"],
        call=row["call"],
        tags=json.loads(row["tags"]) if row["tags"] else {},
        parameters=parameters,
        ending=to_ending(row) if row["ending_ending"] is not None else None,
    )


def to_ending(row: Mapping[Any, Any]) -> Ending:
    """An Ending from columns named `ending_…`."""
    detail = _bytes(row["ending_detail"])
    return Ending(
        ending=row["ending_ending"],
        captured=row["ending_captured"],
        elapsed_us=row["ending_elapsed_us"],
        events=row["ending_events"],
        wire_bytes=row["ending_wire_bytes"],
        http_status=row["ending_http_status"],
        head_us=row["ending_head_us"],
        facts_digest=_bytes(row["ending_facts_digest"]),
        payload_digest=_bytes(row["ending_payload_digest"]),
        seal=_bytes(row["ending_seal"]),
        detail=json.loads(detail) if detail else {},
    )


def to_reading(row: Mapping[Any, Any]) -> StoredReading:
    """A StoredReading from its row of `readings`."""
    reading = Reading(
        **{name: row[name] for name in (*_READING_TEXTS, *_READING_NUMBERS)},
        complete=row["complete"],
        opens_run=row["run_id"] == row["recording_id"],
        metadata=json.loads(row["metadata"]) if row["metadata"] else None,
        flags=tuple(json.loads(row["flags"])) if row["flags"] else (),
        facts=json.loads(row["facts"]) if row["facts"] else {},
    )
    return StoredReading(
        recording_id=row["recording_id"],
        run_id=row["run_id"],
        reader_version=row["reader_version"],
        read_at=row["read_at"],
        reading=reading,
    )


def to_run(row: Mapping[Any, Any], tags: Mapping[str, str]) -> Run:
    """A Run from its row of the view `runs`. The store knows no prices: `cost_usd` is None."""
    return Run(
        run_id=row["run_id"],
        recordings=row["recordings"],
        dialect=row["dialect"],
        provider_run_id=row["provider_run_id"],
        assistant_id=row["assistant_id"],
        thread_id=row["thread_id"],
        started_at=row["started_at"],
        model=row["model"],
        service_tier=row["service_tier"],
        status=row["status"],
        stop_reason=row["stop_reason"],
        stop_reason_raw=row["stop_reason_raw"],
        ending=row["ending"],
        complete=_flag(row["complete"]),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_tokens=row["cached_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        total_tokens=row["total_tokens"],
        max_prompt_tokens=row["max_prompt_tokens"],
        max_completion_tokens=row["max_completion_tokens"],
        truncation_strategy=row["truncation_strategy"],
        cost_usd=None,
        events=_count(row["events"]),
        bytes=_count(row["bytes"]),
        ttft_us=row["ttft_us"],
        duration_us=row["duration_us"],
        tags=tags,
        metadata=json.loads(row["metadata"]) if row["metadata"] else None,
        group=row["group"],
        flags=tuple(json.loads(row["flags"])) if row["flags"] else (),
    )


def _headers(text: str | None) -> HeaderList:
    return tuple((name, value) for name, value in json.loads(text)) if text else ()


def _unpacked(body: bytes | None, encoding: str | None) -> bytes | None:
    if body is None:
        return None
    return zlib.decompress(body) if encoding == "zlib" else bytes(body)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _count(value: Any) -> int | None:
    # A sum over bigint columns is `numeric` on PostgreSQL.
    return None if value is None else int(value)
