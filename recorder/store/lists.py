"""Lists with filters: which runs or recordings, newest first, at a million of them.

An index gives candidates, page by page; every condition is checked on each of them. Filters that no index answers
(metadata, grep) are checked last, on what the others leave.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    column,
    exists,
    false,
    func,
    or_,
    select,
    table,
    true,
)

from recorder.recording import Run
from recorder.schema import Id, readings, recordings, tags
from recorder.store.rows import clean_json, to_reading, to_recording, to_run, to_run_alone
from recorder.store.statements import recording_rows
from recorder.store.values import Listed, RunFilter

__all__ = ["list_recordings", "list_runs", "readings_as_runs", "runs_by_id"]

#: How many candidates are looked at together.
PAGE: Final = 500

#: Filters that are columns of a reading.
_EQUAL: Final = ("status", "stop_reason", "ending", "model", "dialect", "assistant_id", "thread_id")
#: Of these, the ones whose indexes hold apart the readings that stand for their run and those that do not.
_SPLIT: Final = ("status", "stop_reason")

_RUN_COLUMNS: Final = [field.name for field in dataclasses.fields(Run) if field.name not in ("tags", "cost_usd")]
_runs = table(
    "runs",
    column("latest_id", Id()),
    *(column(name, Id() if name == "run_id" else None) for name in _RUN_COLUMNS),
)

#: (started_at, recording_id): the order of lists
_Place = tuple[int, UUID]

_l: Final = readings.alias("l")
_member: Final = readings.alias("member")

# Built once: SQLAlchemy takes longer to put such statements together than a database to answer them.
_RUNS: Final = select(_runs)
_READINGS: Final = select(readings)
_RECORDINGS: Final = recording_rows(true(), body=False)
_NOTED: Final = {
    of_runs: select(key.label("id"), tags.c.name, tags.c.value)
    .join_from(readings, tags, tags.c.recording_id == readings.c.recording_id)
    .order_by(tags.c.set_at)
    for of_runs, key in ((True, readings.c.run_id), (False, readings.c.recording_id))
}


# -- what is listed ----------------------------------------------------------------------------------------------------


def list_runs(connection: Connection, wanted: RunFilter) -> list[Run]:
    """The runs that the filter leaves, newest first."""
    latest = _newest(connection, wanted, of_runs=True)
    found = {row["latest_id"]: row for row in _in_pages(connection, _RUNS, _runs.c.latest_id, latest)}
    noted = _tags(connection, [row["run_id"] for row in found.values()], of_runs=True)
    return [to_run(found[key], noted.get(found[key]["run_id"], {})) for key in latest if key in found]


def runs_by_id(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, Run]:
    """These runs; those that do not exist are missing."""
    noted = _tags(connection, run_ids, of_runs=True)
    rows = _in_pages(connection, _RUNS, _runs.c.run_id, run_ids)
    return {row["run_id"]: to_run(row, noted.get(row["run_id"], {})) for row in rows}


def readings_as_runs(connection: Connection, recording_ids: Sequence[UUID]) -> dict[UUID, Run]:
    """What each of these recordings alone amounts to, whether it is part of a run or not."""
    noted = _tags(connection, recording_ids, of_runs=False)
    rows = _in_pages(connection, _READINGS, readings.c.recording_id, recording_ids)
    return {row["recording_id"]: to_run_alone(row, noted.get(row["recording_id"], {})) for row in rows}


def list_recordings(connection: Connection, wanted: RunFilter) -> list[Listed]:
    """The recordings that the filter leaves, newest first."""
    listed = _newest(connection, wanted, of_runs=False)
    made = {row["recording_id"]: row for row in _in_pages(connection, _READINGS, readings.c.recording_id, listed)}
    found = {row["recording_id"]: row for row in _in_pages(connection, _RECORDINGS, recordings.c.recording_id, listed)}
    noted = _tags(connection, listed, of_runs=False)
    return [
        Listed(
            recording=to_recording(found[key]),
            reading=to_reading(made[key]) if made[key]["reader_version"] > 0 else None,
            run=to_run_alone(made[key], noted.get(key, {})),
        )
        for key in listed
    ]


def _in_pages(
    connection: Connection, statement: Select[Any], key: ColumnElement[UUID], ids: Sequence[UUID]
) -> Iterator[Any]:
    for start in range(0, len(ids), PAGE):
        yield from connection.execute(statement.where(key.in_(ids[start : start + PAGE]))).mappings()


def _tags(connection: Connection, ids: Sequence[UUID], *, of_runs: bool) -> dict[UUID, dict[str, str]]:
    """The tags of these runs or recordings: of each name the one set last, if that did not take it off."""
    found: dict[UUID, dict[str, str | None]] = {}
    for row in _in_pages(connection, _NOTED[of_runs], _key(readings, of_runs=of_runs), ids):
        found.setdefault(row["id"], {})[row["name"]] = row["value"]
    return {
        owner: {name: value for name, value in sorted(noted.items()) if value is not None}
        for owner, noted in found.items()
    }


def _key(source: Any, *, of_runs: bool) -> Any:
    return source.c.run_id if of_runs else source.c.recording_id


# -- which -------------------------------------------------------------------------------------------------------------


def _newest(connection: Connection, wanted: RunFilter, *, of_runs: bool) -> list[UUID]:
    """What the filter leaves, newest first; a run by its latest recording."""
    source = _source(wanted, of_runs=of_runs)
    conditions = _conditions(connection.dialect.name, wanted, of_runs=of_runs, by_age=source is None)
    if source is not None:
        found = _by_source(connection, conditions, source, min(wanted.limit, PAGE), of_runs=of_runs)
    else:
        checked = wanted.grep is not None or wanted.metadata
        size = PAGE if checked else min(wanted.limit, PAGE)
        branches: list[list[ColumnElement[bool]]] = [conditions]
        if not of_runs and any(getattr(wanted, name) is not None for name in _SPLIT):
            branches = [[*conditions, _l.c.superseded == false()], [*conditions, _l.c.superseded == true()]]
        found = heapq.merge(*(_by_age(connection, branch, size) for branch in branches), reverse=True)
    if wanted.metadata:
        found = _with_metadata(connection, found, wanted)
    if wanted.grep is not None:
        found = _with_text(connection, found, wanted.grep, of_runs=of_runs)
    return [recording_id for _, recording_id in sorted(islice(found, wanted.limit), reverse=True)]


def _by_age(connection: Connection, conditions: list[ColumnElement[bool]], size: int) -> Iterator[_Place]:
    """Candidates straight from an index that ends in `started_at`."""
    page = (
        select(_l.c.started_at, _l.c.recording_id)
        .where(*conditions)
        .order_by(_l.c.started_at.desc(), _l.c.recording_id.desc())
        .limit(size)
    )
    after: ColumnElement[bool] = true()
    while True:
        places = [(row.started_at, row.recording_id) for row in connection.execute(page.where(after))]
        yield from places
        if len(places) < size:
            return
        at, recording_id = places[-1]
        after = and_(_l.c.started_at <= at, or_(_l.c.started_at < at, _l.c.recording_id < recording_id))


def _by_source(
    connection: Connection, conditions: list[ColumnElement[bool]], source: Select[Any], size: int, *, of_runs: bool
) -> Iterator[_Place]:
    """Candidates from what few recordings have, the newest of these first."""
    recording_id = source.selected_columns[0]
    pairs = source.order_by(recording_id.desc())
    after: ColumnElement[bool] = true()
    seen: set[UUID] = set()
    while True:
        rows = connection.execute(pairs.where(after).limit(size)).all()
        fresh = {row[1] for row in rows} - seen
        seen |= fresh
        if fresh:
            places = select(_l.c.started_at, _l.c.recording_id).where(_key(_l, of_runs=of_runs).in_(fresh), *conditions)
            yield from sorted(((at, found) for at, found in connection.execute(places)), reverse=True)
        if len(rows) < size:
            return
        after = recording_id < rows[-1][0]
        size = min(size * 2, PAGE)


def _source(wanted: RunFilter, *, of_runs: bool) -> Select[Any] | None:
    """The (recording, run or recording) pairs to choose from, where a filter knows them better than age does."""
    owner = readings.alias("owner")
    key = _key(owner, of_runs=of_runs)
    if wanted.request_id is not None:
        return select(owner.c.recording_id, key).where(owner.c.request_id == wanted.request_id)
    if wanted.trace is not None:
        return (
            select(recordings.c.recording_id, key)
            .join_from(recordings, owner, owner.c.recording_id == recordings.c.recording_id)
            .where(recordings.c.trace == wanted.trace)
        )
    for name, value in wanted.tags.items():
        return (
            select(tags.c.recording_id, key)
            .join_from(tags, owner, owner.c.recording_id == tags.c.recording_id)
            .where(tags.c.name == name, tags.c.value == value)
        )
    return None


# -- conditions --------------------------------------------------------------------------------------------------------


def _conditions(database: str, wanted: RunFilter, *, of_runs: bool, by_age: bool) -> list[ColumnElement[bool]]:
    """What must hold for a reading `l` to be listed, as far as SQL can tell. Not `by_age`: the keys are given."""
    # A column in an expression uses no index: where keys are given, none is better than going by these.
    l = _l.c if by_age else {name: _plain(_l.c[name]) for name in ("started_at", *_EQUAL)}  # noqa: E741
    found: list[ColumnElement[bool]] = []
    if of_runs:
        found.append(_l.c.superseded == false())
        found.append(_l.c.is_run.is_not(false()))  # not known to be none, of an older writer's
    if wanted.since is not None:
        found.append(l["started_at"] >= wanted.since)
    if wanted.until is not None:
        found.append(l["started_at"] < wanted.until)
    found += [l[name] == getattr(wanted, name) for name in _EQUAL if getattr(wanted, name) is not None]
    same = _key(_member, of_runs=of_runs) == _key(_l, of_runs=of_runs)
    if wanted.request_id is not None:
        found.append(exists().where(same, _plain(_member.c.request_id) == wanted.request_id))
    if wanted.trace is not None:
        traced = recordings.alias("traced")
        found.append(
            exists().where(
                same, traced.c.recording_id == _member.c.recording_id, _plain(traced.c.trace) == wanted.trace
            )
        )
    found += [_tagged(name, value, of_runs=of_runs) for name, value in wanted.tags.items()]
    for name, text in wanted.metadata.items():
        found += [
            or_(*(_l.c.metadata.contains(inner, autoescape=True) for inner in _in_json(part))) for part in (name, text)
        ]
    if wanted.grep is not None:
        found.append(_may_hold(database, wanted.grep, same))
    return found


def _may_hold(database: str, text: str, same: ColumnElement[bool]) -> ColumnElement[bool]:
    """What was said or asked holds the text; or it is compressed, so that SQL cannot tell."""
    asked = recordings.alias("asked")
    return exists().where(
        same,
        asked.c.recording_id == _member.c.recording_id,
        or_(
            _has(database, _member.c.text, text),
            asked.c.body_encoding.is_not(None),
            *(_has(database, asked.c.body, part) for part in _spellings(text)),
        ),
    )


def _tagged(name: str, value: str, *, of_runs: bool) -> ColumnElement[bool]:
    """Of what was ever noted under this name, the last is this value."""
    note = tags.alias("note")
    current = (
        select(note.c.value)
        .join_from(_member, note, note.c.recording_id == _member.c.recording_id)
        .where(_key(_member, of_runs=of_runs) == _key(_l, of_runs=of_runs), _plain(note.c.name) == name)
        .order_by(note.c.set_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    return current == value


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column's value, in a form that no index answers."""
    return column + ("" if isinstance(column.type, Text) else 0)


def _has(database: str, where: ColumnElement[Any], what: str | bytes) -> ColumnElement[bool]:
    if database == "sqlite":
        return func.instr(where, what) > 0
    return (func.strpos(where, what) if isinstance(what, str) else func.pg_catalog.position(where, what)) > 0


def _with_metadata(connection: Connection, places: Iterable[_Place], wanted: RunFilter) -> Iterator[_Place]:
    """Those whose metadata has these values; JSON is looked into here, because databases differ in what they refuse."""
    for page in _pages(places):
        rows = select(_l.c.recording_id, _l.c.metadata).where(_l.c.recording_id.in_([place[1] for place in page]))
        metadata = {recording_id: json.loads(text) for recording_id, text in connection.execute(rows)}
        yield from (
            place
            for place in page
            if all(_as_text(metadata[place[1]].get(name)) == value for name, value in wanted.metadata.items())
        )


def _with_text(connection: Connection, places: Iterable[_Place], text: str, *, of_runs: bool) -> Iterator[_Place]:
    """Those whose text or request holds the text; compressed bodies are looked into here."""
    rows = (
        select(_l.c.recording_id, _member.c.text, recordings.c.body, recordings.c.body_encoding)
        .join_from(_l, _member, _key(_member, of_runs=of_runs) == _key(_l, of_runs=of_runs))
        .join(recordings, recordings.c.recording_id == _member.c.recording_id)
    )
    parts = _spellings(text)
    for page in _pages(places):
        holding = set()
        for recording_id, said, body, encoding in connection.execute(
            rows.where(_l.c.recording_id.in_([place[1] for place in page]))
        ):
            asked = zlib.decompress(body) if encoding == "zlib" else body or b""
            if text in (said or "") or any(part in asked for part in parts):
                holding.add(recording_id)
        yield from (place for place in page if place[1] in holding)


def _pages(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    rest = iter(places)
    while page := list(islice(rest, PAGE)):
        yield page


def _spellings(text: str) -> list[bytes]:
    """How the text may stand in a body: as it is, and as JSON writes it."""
    return list(dict.fromkeys([text.encode("utf-8", "surrogatepass"), json.dumps(text)[1:-1].encode()]))


def _in_json(text: str) -> set[str]:
    """How the text may stand in JSON of ours: as it is written, and as it was by 1.0, in ASCII."""
    return {clean_json(text)[1:-1], json.dumps(text)[1:-1]}


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
