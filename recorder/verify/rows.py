"""Rows of `recordings` and `endings` as the values that were sealed; or why they cannot be.

SQLite takes a value of any type in any column, and a text may be spelled in many ways; what was sealed has one form, so
anything else was written past the store. No I/O.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, Double, Integer, LargeBinary, Table, Text

from recorder.recording import Ending, Recording
from recorder.schema import CONTENT, Id, endings, recordings
from recorder.store.rows import ending_columns, recording_columns, to_ending, to_recording

__all__ = ["Wrong", "ending_of", "left_over", "recording_of"]

#: Of the columns that are content, those that a recording may lack only once it was erased.
_ALWAYS: Final = ("url", "headers")
_TRUTHS: Final = (0, 1)
#: So many sorts of rows are remembered; a store that somebody tampered with might have one for each.
_KNOWN: Final = 1000


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
    """What a table's rows are like: of each column its types, and what makes a value of some."""

    types: Mapping[str, frozenset[type]]
    makers: Mapping[str, Callable[[Any], Any]]
    #: Which types the columns of rows were of that were looked at before, and as they should be.
    known: set[tuple[type, ...]]


def _form(table: Table) -> _Form:
    types, makers = {}, {}
    for column in table.c:
        _, found, make = next(form for form in _FORMS if isinstance(column.type, form[0]))
        types[column.name] = frozenset(found + (type(None),) * bool(column.nullable))
        if make is not None:
            makers[column.name] = make
    return _Form(types, makers, set())


_RECORDING: Final = _form(recordings)
_ENDING: Final = _form(endings)


def _typed(row: Mapping[str, Any], form: _Form) -> dict[str, Any]:
    """The values of a row. Raises Wrong."""
    values = {name: row[name] for name in form.types}
    found = tuple(map(type, values.values()))
    if found not in form.known:
        for name, types in form.types.items():
            if type(values[name]) not in types:
                raise Wrong(f"`{name}` holds a value of another type than recorder writes")
        if len(form.known) < _KNOWN:
            form.known.add(found)
    for name, make in form.makers.items():
        value = values[name]
        if value is None:
            continue
        if make is bool and value not in _TRUTHS:
            raise Wrong(f"`{name}` holds a value of another type than recorder writes")
        try:
            values[name] = make(value)
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
    values |= {"body": _body(values), "body_encoding": None}
    try:
        recording = to_recording({**values, "ending_ending": None})
        written = recording_columns(recording, body=False)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise Wrong("the request's headers or tags are not what recorder writes") from None
    if not isinstance(recording.tags, dict) or not all(
        type(name) is type(text) is str for name, text in (*recording.request.headers, *recording.tags.items())
    ):
        raise Wrong("the request's headers or tags are not what recorder writes")
    for name, value in values.items():
        if name in ("body", "body_encoding") or (erased and name in CONTENT):
            continue
        if written[name] != value:
            raise Wrong(f"`{name}` is not written as recorder writes it, or does not belong to this recording")
    return recording


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
    return [name for name in CONTENT if row[name] is not None]
