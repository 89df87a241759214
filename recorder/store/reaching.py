"""What has to be looked at when content is to go: what hangs together with a recording, and every text there is.

Links that stay after an erasure (run, thread, responses) are found in readings, the others in `recordings`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from recorder.schema import events, readings, recordings, tags
from recorder.store.backend import Backend
from recorder.store.refusals import require_onward
from recorder.store.rows import indexable
from recorder.store.statements import in_parts
from recorder.store.values import path_of

__all__ = ["copies", "holds", "live_values", "named", "reach"]

#: Attempts of one call begin within this many milliseconds of one another; an id says when it was made.
_CALL_SPAN: Final = 86_400_000
#: Recordings whose texts are read in one transaction.
_GROUP: Final = 200

_r: Final = readings.c
_LINKS: Final = select(
    _r.recording_id, _r.run_id, _r.dialect, _r.thread_id, _r.provider_run_id, _r.previous_response_id
)
_CALLS: Final = select(recordings.c.recording_id, recordings.c.call)
_NAMED_SO: Final = select(
    _r.recording_id,
    _r.dialect,
    _r.provider_run_id,
    func.coalesce(_r.opens_run, _r.run_id == _r.recording_id).label("opens"),
    _r.started_at,
    recordings.c.match_key,
    recordings.c.body_size,
).join(recordings, recordings.c.recording_id == _r.recording_id)


def reach(backend: Backend, recording_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str, UUID]]:
    """What hangs together with each of these recordings: (it, by which link, the other)."""
    for part in in_parts(recording_ids):
        with backend.read() as connection:
            rows = connection.execute(_LINKS.where(_r.recording_id.in_(part))).all()
            found = [*_by_readings(connection, rows), *_by_call(connection, part)]
        yield from found


def _by_readings(connection: Connection, rows: Sequence[Any]) -> Iterator[tuple[UUID, str, UUID]]:
    yield from _same(connection, rows, "same run", lambda row: row.run_id, _r.run_id)
    yield from _same(connection, rows, "same thread", lambda row: row.thread_id, _r.thread_id)
    yield from _same(connection, rows, "the response before", lambda row: row.previous_response_id, _r.provider_run_id)
    yield from _same(connection, rows, "a response after", lambda row: row.provider_run_id, _r.previous_response_id)
    yield from _same_response(connection, [row.recording_id for row in rows if row.provider_run_id is not None])


def _same(
    connection: Connection, rows: Sequence[Any], link: str, value_of: Any, column: ColumnElement[Any]
) -> Iterator[tuple[UUID, str, UUID]]:
    """The others of the same protocol whose column has the value of one of these."""
    wanted: dict[Any, Any] = {}
    for row in rows:
        if value_of(row) is not None:
            wanted.setdefault((row.dialect, value_of(row)), row.recording_id)
    for part in in_parts(list({value for _, value in wanted})):
        others = select(_r.recording_id, _r.dialect, column.label("value")).where(column.in_(part))
        for other in connection.execute(others):
            source = wanted.get((other.dialect, other.value))
            if source is not None and source != other.recording_id:
                yield source, link, other.recording_id


def _same_response(connection: Connection, recording_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str, UUID]]:
    """The others of the same response.

    Some servers give one id to many answers (Ollama draws it among 999). What asked for an answer, and what asked for
    another of that id, are one exchange recorded twice only where they asked alike.
    """
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in connection.execute(_NAMED_SO.where(_r.recording_id.in_(recording_ids))):
        groups.setdefault((row.dialect, row.provider_run_id), []).append(row)
    names = {name for _, name in groups}
    for other in connection.execute(_NAMED_SO.where(_r.provider_run_id.in_(names))):
        for mine in groups.get((other.dialect, other.provider_run_id), ()):
            if mine.recording_id != other.recording_id and _is_one_answer(mine, other):
                yield mine.recording_id, "same response", other.recording_id
                break


def _is_one_answer(one: Any, other: Any) -> bool:
    if not (one.opens and other.opens):
        return True
    if one.match_key is not None and one.match_key == other.match_key:
        return True
    near = abs(one.started_at - other.started_at) <= _CALL_SPAN * 1000
    return near and bool(one.body_size == other.body_size)


def _by_call(connection: Connection, recording_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str, UUID]]:
    """The other attempts of the same call. No index knows calls; ids tell when a recording began."""
    calls = {
        row.call: row.recording_id
        for row in connection.execute(_CALLS.where(recordings.c.recording_id.in_(recording_ids)))
        if row.call is not None
    }
    for first, last in _spans(calls.values()):
        near = recordings.c.recording_id.between(*_ids(first, last))
        for other in connection.execute(_CALLS.where(near, recordings.c.call.in_(calls))):
            source = calls[other.call]
            if source != other.recording_id and abs(_began(source) - _began(other.recording_id)) <= _CALL_SPAN:
                yield source, "same call", other.recording_id


def _spans(recording_ids: Iterable[UUID]) -> list[tuple[int, int]]:
    """The times at which other attempts may have begun, as spans that lie apart: each is looked through once."""
    found: list[tuple[int, int]] = []
    for at in sorted(map(_began, recording_ids)):
        first = max(at - _CALL_SPAN, 0)
        if found and first <= found[-1][1]:
            first, _ = found.pop()
        found.append((first, at + _CALL_SPAN))
    return found


def _began(recording_id: UUID) -> int:
    """The millisecond that an id says (RFC 9562, section 5.7)."""
    return recording_id.int >> 80


def _ids(first: int, last: int) -> tuple[UUID, UUID]:
    """The least id of the one millisecond and the greatest of the other."""
    return UUID(int=first << 80), UUID(int=min(last + 1 << 80, 1 << 128) - 1)


def named(
    backend: Backend, tagged: Sequence[tuple[str, str]], threads: Sequence[str], traces: Sequence[str]
) -> dict[UUID, str]:
    """The recordings that ever had one of these tags, or are of these threads or traces; and which it was."""
    asked: list[tuple[str, Select[Any]]] = [
        *(
            (
                f"tag {name}",
                select(tags.c.recording_id).where(tags.c.name == indexable(name), tags.c.value == indexable(value)),
            )
            for name, value in tagged
        ),
        *(("thread", select(_r.recording_id).where(_r.thread_id == indexable(each))) for each in threads),
        *(("trace", select(recordings.c.recording_id).where(recordings.c.trace == indexable(each))) for each in traces),
    ]
    found: dict[UUID, str] = {}
    with backend.read() as connection:
        for what, statement in asked:
            for recording_id in connection.execute(statement).scalars():
                found.setdefault(recording_id, what)
    return found


# -- every text --------------------------------------------------------------------------------------------------------

_TEXTS: Final = (
    (events, ("data", "raw")),
    (recordings, ("url", "headers", "body", "tags", "session", "trace", "match_rule")),
    (readings, ("text", "parameters", "metadata", "facts", "flags")),
    (tags, ("name", "value")),
)


def live_values(backend: Backend) -> Iterator[bytes]:
    """Every payload and text that is stored."""
    after: UUID | None = None
    while True:
        page = select(recordings.c.recording_id).order_by(recordings.c.recording_id).limit(_GROUP)
        if after is not None:
            page = page.where(recordings.c.recording_id > after)
        with backend.read() as connection:
            ids = list(connection.execute(page).scalars())
            if not ids:
                return
            require_onward(backend.display, ids[-1], after)
            for table, names in _TEXTS:
                columns = [table.c[name] for name in names]
                some = or_(*(column.is_not(None) for column in columns))
                rows = select(*columns).where(table.c.recording_id.between(ids[0], ids[-1]), some)
                for row in connection.execute(rows.execution_options(yield_per=256)):
                    yield from (
                        value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
                        for value in row
                        if value
                    )
        after = ids[-1]


# -- copies ------------------------------------------------------------------------------------------------------------


def copies(url: str) -> list[Path]:
    """The copies that were made beside a SQLite store before it was upgraded."""
    path = path_of(url)
    if path is None:
        return []
    return sorted(each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}.backup-"))


def holds(copy_of: Path, recording_ids: Collection[UUID]) -> bool:
    """Whether a copy has one of these recordings, or cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{copy_of.as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            for part in in_parts([each.bytes for each in recording_ids]):
                marks = ", ".join("?" * len(part))
                known = f"SELECT 1 FROM recordings WHERE recording_id IN ({marks}) LIMIT 1"  # noqa: S608
                if copy.execute(known, part).fetchone():
                    return True
    except sqlite3.Error:
        return True
    return False
