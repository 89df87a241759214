"""Rows of `recordings` and `endings` as the values that were sealed; or why they cannot be.

SQLite takes a value of any type in any column, and a text may be spelled in many ways; what was sealed has one form, so
anything else was written past the store. No I/O.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, Double, Integer, LargeBinary, Table, Text

from recorder.recording import Ending, Recording
from recorder.schema import Id, endings, recordings
from recorder.store.rows import ending_columns, recording_columns, to_ending, to_recording

__all__ = ["PAYLOAD", "Wrong", "ending_of", "left_over", "recording_of"]

#: The columns of `recordings` that are content: covered by the payload digest, and empty once erased.
PAYLOAD: Final = (
    "url",
    "headers",
    "body",
    "body_encoding",
    "body_sha256",
    "salt",
    "match_key",
    "match_rule",
    "session",
    "trace",
    "call",
    "tags",
)
#: Of these, what a recording may lack that was not erased.
_ALWAYS: Final = ("url", "headers")
_TRUTHS: Final = (None, 0, 1)


class Wrong(ValueError):
    """What is wrong with a row, in words."""


def _id(value: UUID | bytes) -> UUID:
    return UUID(bytes=value) if isinstance(value, bytes) else value


#: For each kind of column the types that a driver gives for it, and what makes the value of these, if anything must.
_FORMS: Final[tuple[tuple[type, tuple[type, ...], Callable[[Any], Any] | None], ...]] = (
    (Id, (UUID, bytes), _id),
    (Boolean, (bool, int), bool),
    (Integer, (int,), None),
    (Double, (float,), None),
    (Text, (str,), None),
    (LargeBinary, (bytes,), None),
)


class _Form(NamedTuple):
    name: str
    types: frozenset[type]
    make: Callable[[Any], Any] | None


def _forms(table: Table) -> list[_Form]:
    found = []
    for column in table.c:
        _, types, make = next(form for form in _FORMS if isinstance(column.type, form[0]))
        found.append(_Form(column.name, frozenset(types + (type(None),) * bool(column.nullable)), make))
    return found


_RECORDING: Final = _forms(recordings)
_ENDING: Final = _forms(endings)


def _typed(row: Mapping[str, Any], forms: list[_Form]) -> dict[str, Any]:
    """The values of a row. Raises Wrong."""
    values: dict[str, Any] = {}
    for name, types, make in forms:
        value = row[name]
        if type(value) not in types or (make is bool and value not in _TRUTHS):
            raise Wrong(f"`{name}` holds a value of another type than recorder writes")
        try:
            values[name] = value if make is None or value is None else make(value)
        except ValueError:
            raise Wrong(f"`{name}` holds no id") from None
    return values


def recording_of(row: Mapping[str, Any], *, erased: bool) -> Recording:
    """The recording that a row of `recordings` holds. Raises Wrong where no recorder wrote such a row."""
    values = _typed(row, _RECORDING)
    if not erased:
        for name in _ALWAYS:
            if values[name] is None:
                raise Wrong(f"the request's {name} is gone, and no erasure is on record")
    body = _body(values)
    try:
        # Without its body, which would only be packed once more to compare what is not compared.
        recording = to_recording({**values, "body": None, "body_encoding": None, "ending_ending": None})
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise Wrong("the request's headers or tags are not what recorder writes") from None
    if not isinstance(recording.tags, dict) or not all(
        type(name) is type(text) is str for name, text in (*recording.request.headers, *recording.tags.items())
    ):
        raise Wrong("the request's headers or tags are not what recorder writes")
    try:
        written = recording_columns(recording)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Wrong("the request is not what recorder writes") from None
    for name, value in values.items():
        if name in ("body", "body_encoding") or (erased and name in PAYLOAD):
            continue
        if written[name] != value:
            raise Wrong(f"`{name}` is not written as recorder writes it, or does not belong to this recording")
    return replace(recording, request=replace(recording.request, body=body))


def _body(values: Mapping[str, Any]) -> bytes | None:
    """The request's body, unpacked and no longer than it was. Raises Wrong."""
    body, encoding, size = values["body"], values["body_encoding"], values["body_size"]
    if encoding not in (None, "zlib") or (encoding is not None and body is None):
        raise Wrong("`body_encoding` does not fit the request's body")
    if encoding == "zlib":
        unpacker = zlib.decompressobj()
        try:
            body = unpacker.decompress(body, max(size, 0) + 1)
            rest = unpacker.flush() if len(body) <= size else b""
        except (zlib.error, OverflowError):
            raise Wrong("the request's body cannot be unpacked: its bytes were changed") from None
        if rest or unpacker.unused_data or not unpacker.eof:
            raise Wrong("the request's body cannot be unpacked to its length: its bytes were changed")
    if body is not None and len(body) != size:
        raise Wrong(f"the request's body has {len(body):,} bytes, and had {size:,}")
    return None if body is None else bytes(body)


def ending_of(row: Mapping[str, Any]) -> Ending:
    """The ending that a row of `endings` holds, without its detail. Raises Wrong."""
    values = _typed(row, _ENDING)
    ending = to_ending({f"ending_{name}": value for name, value in values.items()} | {"ending_detail": None})
    if ending_columns(values["recording_id"], ending) != values:
        raise Wrong("the ending is not written as recorder writes it")
    return ending


def left_over(row: Mapping[str, Any]) -> list[str]:
    """The columns that still hold content."""
    return [name for name in PAYLOAD if row[name] is not None]
