"""Values to columns and back: how a Recording, an Ending, a Reading and a Run lie in their tables. No I/O.

Columns are given and taken by name. Text is made storable on every database (`recorder.recording.storable`). JSON of
what was recorded is written in ASCII, which can hold anything; JSON that is derived is written as short as it goes, and
holds nothing that the JSON functions of a database refuse: no NUL, no lone surrogate, no NaN, not even escaped.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    Status,
    StoredReading,
    storable,
)
from recorder.schema import readings
from recorder.store.kinship import FINAL, OPEN

__all__ = [
    "HOT_PARAMETERS",
    "as_stored",
    "clean_json",
    "clean_rows",
    "ending_columns",
    "erasure_columns",
    "finality",
    "indexable",
    "reading_columns",
    "recording_columns",
    "suffix",
    "tag_columns",
    "to_ending",
    "to_reading",
    "to_recording",
    "to_run",
    "to_run_alone",
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

#: Columns of readings that an index holds (so that the hot parameters, which come to be readings', are limited too).
_INDEXED = frozenset(column.name for index in readings.indexes for column in index.columns)
#: Bytes of a text in an index. PostgreSQL refuses a row of which an index would hold more than 2,704.
_INDEXED_BYTES = 1000
#: Characters that are left of a longer one, before its digest.
_INDEXED_CHARACTERS = 200

#: The flag of a recording that was made twice, and of a run that has such recordings.
DUPLICATE = "duplicate"

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
    "action",
    "previous_response_id",
    "response_format",
    "usage_quality",
    "json_damage",
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
    "uncached_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "visible_tokens",
    "ttft_visible_us",
    "longest_gap_us",
    "stalls",
    "stalled_us",
    "text_chars",
    "blank_chars",
)
_FINALITY: Mapping[str, int] = MappingProxyType(
    {
        Status.COMPLETED: FINAL,
        Status.INCOMPLETE: FINAL,
        Status.FAILED: FINAL,
        Status.CANCELLED: FINAL,
        Status.EXPIRED: FINAL,
        Status.IN_PROGRESS: OPEN,
        Status.REQUIRES_ACTION: OPEN,
    }
)


# -- into the store ----------------------------------------------------------------------------------------------------


def recording_columns(recording: Recording, *, body: bool = True) -> dict[str, Any]:
    """The row of table `recordings`; without its body where that need not be packed."""
    request = recording.request
    packed, encoding = _packed(request.body) if body else (None, None)
    columns = {
        "recording_id": recording.recording_id,
        "started_at": recording.started_at,
        "writer": recording.writer,
        "dialect": storable(recording.dialect),
        "origin": storable(recording.origin),
        "content": storable(recording.content),
        "weight": recording.weight,
        "method": storable(request.method),
        "url": None if recording.erasures else storable(request.url),
        "headers": None if recording.erasures else _json(request.headers),
        "body": packed,
        "body_encoding": encoding,
        "body_size": request.body_size,
        "body_sha256": request.body_sha256,
        "salt": recording.salt,
        "match_key": recording.match_key,
        "match_rule": _text(recording.match_rule),
        "session": _text(recording.session),
        "trace": _text(recording.trace, indexed=True),
        "call": recording.call,
        "tags": _json(dict(recording.tags)) if recording.tags else None,
        "suffix": suffix(recording.recording_id.hex),
    }
    for name, kind in HOT_PARAMETERS.items():
        columns[name] = _parameter(recording.parameters.get(name), kind, indexed=name in _INDEXED)
    return columns


def as_stored(recording: Recording) -> Recording:
    """The recording as it will come out of the store: what is sealed has to be made of that.

    Texts that an index holds are shortened where they are very long, and only what a column takes is a parameter.
    """
    parameters = {
        name: value
        for name, kind in HOT_PARAMETERS.items()
        if (value := _parameter(recording.parameters.get(name), kind, indexed=name in _INDEXED)) is not None
    }
    return replace(recording, parameters=parameters, trace=_text(recording.trace, indexed=True))


def tag_columns(recording: Recording) -> list[dict[str, Any]]:
    """The rows of table `tags` for the tags that a recording starts with."""
    return [
        {
            "recording_id": recording.recording_id,
            "name": indexable(name),
            "set_at": recording.started_at,
            "value": indexable(value),
        }
        for name, value in recording.tags.items()
    ]


def erasure_columns(recording: Recording) -> list[dict[str, Any]]:
    """The rows of table `erasures` of a recording that was erased in another store."""
    return [
        {
            "recording_id": recording.recording_id,
            "erased_at": erasure.erased_at,
            "erased_by": _text(erasure.erased_by),
            "reason": _text(erasure.reason),
        }
        for erasure in recording.erasures
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


def finality(status: str) -> int:
    """How much a status settles (see `kinship`)."""
    return _FINALITY.get(status, 0)


def reading_columns(stored: StoredReading) -> dict[str, Any]:
    """The columns of table `readings` that come from the reading itself.

    The copied facts are not among them, nor what depends on other readings: so it stands for a run of its own, if it is
    part of any.
    """
    reading = stored.reading
    columns: dict[str, Any] = {name: _text(getattr(reading, name), indexed=name in _INDEXED) for name in _READING_TEXTS}
    columns.update({name: _parameter(getattr(reading, name), int) for name in _READING_NUMBERS})
    return columns | {
        "recording_id": stored.recording_id,
        "reader_version": stored.reader_version,
        "read_at": stored.read_at,
        "complete": reading.complete,
        "superseded": not reading.is_run,
        "is_run": reading.is_run,
        "opens_run": reading.opens_run,
        "finality": finality(reading.status),
        "json_valid": reading.json_valid,
        "parameters": None if reading.parameters is None else clean_json(dict(reading.parameters)),
        "metadata": None if reading.metadata is None else clean_json(dict(reading.metadata)),
        "flags": _flags_json(reading.flags),
        "facts": clean_json(dict(reading.facts)) if reading.facts else None,
    }


def _flags_json(flags: Sequence[str]) -> str | None:
    """Without what the store itself says."""
    own = [flag for flag in flags if flag != DUPLICATE]
    return clean_json(own) if own else None


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


def _parameter(value: object, kind: type, *, indexed: bool = False) -> Any:
    """The value if it is what the column takes; a client may send anything under these names."""
    if kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    else:
        fits = isinstance(value, kind)
    if not fits:
        return None
    return _text(value, indexed=indexed) if isinstance(value, str) else value


def _text(value: str | None, *, indexed: bool = False) -> str | None:
    if value is None:
        return None
    return indexable(value) if indexed else storable(value)


def indexable(text: str) -> str:
    """The text as an index takes it: of a very long one the beginning, and a digest, so that only equals are equal."""
    text = storable(text)
    if len(text) * 4 <= _INDEXED_BYTES or len(whole := text.encode()) <= _INDEXED_BYTES:
        return text
    return f"{text[:_INDEXED_CHARACTERS]}…{hashlib.sha256(whole).hexdigest()}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def clean_json(value: Any) -> str:
    """The value as JSON text that every database takes apart: NUL and lone surrogates become U+FFFD.

    What JSON has no number for (NaN, the infinities) becomes its name as a text.
    """
    try:
        text = _compact(value)
    except ValueError:
        return storable(_compact(_cleaned(value)))
    # A NUL is written as an escape; so may be text that only looks like one.
    return storable(text if "\\u0000" not in text else _compact(_cleaned(value)))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


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
    """A StoredReading from its row of `readings`.

    Where an older writer made it, it does not say whether it opens a run or is part of any.
    """
    opens_run = row["run_id"] == row["recording_id"] if row["opens_run"] is None else row["opens_run"]
    reading = Reading(
        **{name: row[name] for name in (*_READING_TEXTS, *_READING_NUMBERS)},
        complete=row["complete"],
        is_run=row["is_run"] is not False,
        opens_run=opens_run,
        json_valid=row["json_valid"],
        parameters=json.loads(row["parameters"]) if row["parameters"] else None,
        metadata=json.loads(row["metadata"]) if row["metadata"] else None,
        flags=_flags(row["flags"], duplicate=bool(row["duplicate"])),
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
        flags=_flags(row["flags"], duplicate=bool(row["duplicates"])),
        duplicates=row["duplicates"],
        waited_us=_count(row["waited_us"]),
        streamed_us=_count(row["streamed_us"]),
    )


def to_run_alone(row: Mapping[Any, Any], tags: Mapping[str, str]) -> Run:
    """What one recording amounts to, in a run's fields, from its row of `readings`."""
    alone = to_run({**row, "recordings": 1, "duplicates": None, "waited_us": None, "streamed_us": None}, tags)
    return replace(alone, flags=_flags(row["flags"], duplicate=bool(row["duplicate"])))


def _flags(text: str | None, *, duplicate: bool) -> tuple[str, ...]:
    flags = tuple(json.loads(text)) if text else ()
    return tuple(sorted({*flags, DUPLICATE})) if duplicate else flags


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
