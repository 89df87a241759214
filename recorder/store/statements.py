"""The statements, defined once from the tables and compiled by SQLAlchemy for either database. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Insert,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from recorder.recording import Kind, Status
from recorder.schema import Id, endings, erasures, events, leases, readings, recordings, tags

__all__ = [
    "COUNTED",
    "EXTENTS",
    "OPEN_LEASES",
    "Statements",
    "event_page",
    "id_parameter",
    "in_parts",
    "recording_rows",
    "statements",
]

_T = TypeVar("_T")

#: Ids in one statement.
_AT_ONCE: Final = 500

_INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

#: What an open recording's reading shows of its parameters.
_PARAMETERS: Final = (
    "model",
    "assistant_id",
    "thread_id",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
)

OPEN_LEASES: Final = select(leases.c.recording_id, leases.c.writer).order_by(leases.c.recording_id)

_end_event = events.alias("end_event")
_with_ending = recordings.outerjoin(endings, endings.c.recording_id == recordings.c.recording_id)
_RECORDING: Final = select(
    *(column for column in recordings.c if column.name != "body"),
    *(column.label(f"ending_{column.name}") for column in endings.c if column.name != "recording_id"),
    _end_event.c.data.label("ending_detail"),
).select_from(
    _with_ending.outerjoin(
        _end_event,
        and_(
            _end_event.c.recording_id == endings.c.recording_id,
            _end_event.c.position == endings.c.events,
            _end_event.c.kind == Kind.END.value,
        ),
    )
)

#: Columns of a reading that are copied facts, so that lists and questions touch one table.
_COPIED: Final[Mapping[str, ColumnElement[Any]]] = {
    "started_at": recordings.c.started_at,
    "origin": recordings.c.origin,
    "weight": recordings.c.weight,
    "http_status": endings.c.http_status,
    "ending": endings.c.ending,
    "captured": endings.c.captured,
    "events": endings.c.events,
    "bytes": endings.c.wire_bytes,
    "duration_us": func.nullif(
        endings.c.elapsed_us, literal_column("0"), type_=endings.c.elapsed_us.type
    ),  # 0: imported, and not known
    "head_us": endings.c.head_us,
}


#: What a recording counts for where the size of a store is counted: its rows, with their places in indexes; those of
#: its events; and its payloads as they were recorded, if they were kept and not erased (which leaves no URL).
_ROOM: Final = (
    4096
    + 120 * func.coalesce(endings.c.events, 0)
    + case((recordings.c.body.is_not(None), recordings.c.body_size), else_=0)
    + case(
        (and_(recordings.c.url.is_not(None), recordings.c.content == "full"), func.coalesce(endings.c.wire_bytes, 0)),
        else_=0,
    )
)

#: All of that together.
COUNTED: Final = select(func.coalesce(func.sum(_ROOM), 0)).select_from(_with_ending)

#: Of each recording its events, the bytes of its request and its answer as they went over the wire, and its room.
EXTENTS: Final = select(
    recordings.c.recording_id,
    func.coalesce(endings.c.events, 0).label("events"),
    (recordings.c.body_size + func.coalesce(endings.c.wire_bytes, 0)).label("size"),
    _ROOM.label("room"),
).select_from(_with_ending)


def in_parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """As many of them at a time as go into one statement."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def recording_rows(condition: ColumnElement[bool], *, body: bool = True) -> Select[Any]:
    """Recordings with their endings, as `rows.to_recording` takes them, in the order they were made."""
    columns = _RECORDING.add_columns(recordings.c.body if body else null().label("body"))
    return columns.where(condition).order_by(recordings.c.recording_id)


def event_page(kinds: int) -> Select[Any]:
    """Events of `recording_id` from position `start` on, in order: the columns of `Event`.

    Of as many kinds as said, the parameters `kind_0` and so on; of all kinds where that is 0.
    """
    columns = [column for column in events.c if column.name != "recording_id"]
    page = select(*columns).where(
        events.c.recording_id == id_parameter("recording_id"), events.c.position >= _given(events, "position", "start")
    )
    if kinds:
        page = page.where(events.c.kind.in_([_given(events, "kind", f"kind_{number}") for number in range(kinds)]))
    return page.order_by(events.c.position)


def insert_missing(table: Table, database: str) -> Any:
    """Insert rows; those whose key is taken are left out."""
    return _INSERTS[database](table).on_conflict_do_nothing()


class Statements:
    """What the store runs, for one kind of database ("sqlite" or "postgresql")."""

    def __init__(self, database: str) -> None:
        names = [column.name for column in readings.c]
        #: Rows of facts as they are; parameters are named like the columns.
        self.recording: Insert = insert_missing(recordings, database)
        self.tag: Insert = insert_missing(tags, database)
        self.ending: Insert = insert_missing(endings, database)
        self.erasure: Insert = insert_missing(erasures, database)
        #: `recording_id`, `writer`, `expires_at`: a lease, unless the recording has ended.
        self.lease: Insert = insert_missing(leases, database).from_select(
            ["recording_id", "writer", "expires_at"], _lease()
        )
        #: `recording`, `read_at`: a reading that is due.
        self.reading_due: Insert = insert_missing(readings, database).from_select(names, _reading_due())
        #: A reading in the place that it has without kin: text for the driver, and the columns of
        #: `rows.reading_columns` in the order in which it takes them. (There are many, and SQLAlchemy looks at each.)
        self.reading, self.reading_order = _as_text(
            insert_missing(readings, database).from_select(names, _reading_made()), database
        )
        #: `recording_id`, `name`, `value`, `now`: a tag that is newer than any other of that name.
        self.tag_now: Insert = insert_missing(tags, database).from_select(
            ["recording_id", "name", "set_at", "value"], _tag_now()
        )
        #: `recording`: away with it.
        self.no_lease = delete(leases).where(leases.c.recording_id == id_parameter("recording"))
        #: `recording`, `now`: something about the recording was written.
        self.changed = (
            update(readings)
            .where(readings.c.recording_id == id_parameter("recording"))
            .values(changed_at=_given(readings, "changed_at", "now"))
        )
        self.no_reading = delete(readings).where(readings.c.recording_id == id_parameter("recording"))
        #: `recording`: away with what was said of it before it ended.
        self.no_open_reading = self.no_reading.where(readings.c.ending.is_(None))


@cache
def statements(database: str) -> Statements:
    """The statements for one kind of database, made once in a process."""
    return Statements(database)


def _as_text(statement: Insert, database: str) -> tuple[str, tuple[str, ...]]:
    if database == "sqlite":
        compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    else:
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

        compiled = statement.compile(dialect=PGDialect_psycopg(paramstyle="format"))  # type: ignore[no-untyped-call]
    assert isinstance(compiled, SQLCompiler)
    return str(compiled), tuple(compiled.positiontup or ())


def id_parameter(name: str) -> BindParameter[Any]:
    """A parameter that takes a recording's id."""
    return bindparam(name, type_=Id())


def _given(table: Table, column: str, name: str | None = None) -> BindParameter[Any]:
    """A parameter typed like a column of the table, and named like it."""
    return bindparam(name or column, type_=table.c[column].type)


def _lease() -> Select[Any]:
    ended = exists().where(endings.c.recording_id == id_parameter("recording_id"))
    return select(id_parameter("recording_id"), id_parameter("writer"), _given(leases, "expires_at")).where(~ended)


def _tag_now() -> Select[Any]:
    now = _given(tags, "set_at", "now")
    newest = (
        select(func.max(tags.c.set_at) + 1)
        .where(tags.c.recording_id == id_parameter("recording_id"), tags.c.name == _given(tags, "name"))
        .scalar_subquery()
    )
    set_at = case((newest > now, newest), else_=now)
    return select(recordings.c.recording_id, _given(tags, "name"), set_at, _given(tags, "value")).where(
        recordings.c.recording_id == id_parameter("recording_id")
    )


def _reading_due() -> Select[Any]:
    """A reading that says: not read yet. Made from the recording and, where there is one, its ending."""
    filled: dict[str, ColumnElement[Any]] = {
        **_COPIED,
        **{name: recordings.c[name] for name in _PARAMETERS},
        "recording_id": recordings.c.recording_id,
        "run_id": recordings.c.recording_id,
        "reader_version": literal(0),
        "read_at": _given(readings, "read_at"),
        "changed_at": _given(readings, "read_at"),
        "superseded": false(),
        "dialect": recordings.c.dialect,
        "status": case((endings.c.recording_id.is_(None), Status.IN_PROGRESS.value), else_=Status.UNKNOWN.value),
    }
    columns = [filled.get(column.name, null().cast(column.type)).label(column.name) for column in readings.c]
    return select(*columns).select_from(_with_ending).where(recordings.c.recording_id == id_parameter("recording"))


def _reading_made() -> Select[Any]:
    """A reading as given, with what its recording adds to it, and as if it had no kin."""
    filled: dict[str, ColumnElement[Any]] = {
        **_COPIED,
        "recording_id": recordings.c.recording_id,
        "run_id": recordings.c.recording_id,
        "superseded": _given(readings, "superseded"),
        "duplicate": false(),
        "waited_us": null().cast(BigInteger),
        "inherited": null().cast(Text),
    }
    columns = [filled.get(column.name, _given(readings, column.name)).label(column.name) for column in readings.c]
    return select(*columns).select_from(_with_ending).where(recordings.c.recording_id == id_parameter("recording_id"))
