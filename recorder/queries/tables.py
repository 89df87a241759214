"""Which facts of a store DuckDB gets, and the statements that carry them over. It runs none of them.

The columns are those of `recorder.schema`, so that a new one is carried from the day it is there. Two things are left
behind: payloads (bodies, headers, events' data, digests: no bytes), and, unless it is asked for, the text
that the model wrote. `runs` and `run_params`, which the store has as views, are made again on DuckDB's side, by
analytics/_runs.sql and here: whichever database the store is in, they are the same, and faster.

Beside the facts go the stamps: of each recording its day, and when it last changed; by these a copy follows the store.

SQLite does not tell a column's type; its driver goes by the first rows. So each select is led by a typed row, the
prototype, which is dropped on arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, Table, Text

from recorder import resources, schema
from recorder.queries.copying import quoted

__all__ = ["BACKENDS", "Carried", "Derived", "Watched", "carried", "derived", "events", "shared", "views", "watched"]

#: How a recording id, bytes there, is said in text: the only thing that the two databases say differently.
BACKENDS: Final[Mapping[str, str]] = MappingProxyType(
    {"sqlite": 'lower(hex("{}"))', "postgresql": 'CAST("{}" AS TEXT)'}
)

#: How DuckDB's UUID, as 32 hexadecimal digits, is said there.
_LITERALS: Final[Mapping[str, str]] = MappingProxyType({"sqlite": "x'{}'", "postgresql": "CAST('{}' AS UUID)"})

_DAY: Final = 86_400_000_000
#: A sum of stamps must not outgrow 64 bits.
_MODULUS: Final = 2_147_483_647
#: So many times a stamp of a day counts: a prime's rests, which keep the product within 64 bits.
_WEIGHT: Final = "{} % 65521"

#: SQLAlchemy's type -> the prototype's value (which both databases understand), and DuckDB's type.
_TYPES: Final = (
    (schema.Id, "CAST('' AS TEXT)", "UUID"),
    (BigInteger, "CAST(0 AS BIGINT)", "BIGINT"),
    (Integer, "CAST(0 AS INTEGER)", "INTEGER"),
    (Boolean, "CAST(0 AS BOOLEAN)", "BOOLEAN"),
    (Double, "CAST(0 AS DOUBLE PRECISION)", "DOUBLE"),
    (Text, "CAST('' AS TEXT)", "VARCHAR"),
    (LargeBinary, "CAST('' AS TEXT)", "VARCHAR"),  # as hexadecimal text
)

#: Microseconds are exact and compare well; a TIMESTAMP (UTC) is what DuckDB's functions of time take.
_STARTED: Final = "make_timestamp(started_at) AS started"

#: Never carried, though they are no bytes: a client's headers, and what only the store's own look-ups need.
_LEFT: Final = frozenset(
    {("recordings", "headers"), ("recordings", "match_rule"), ("recordings", "suffix"), ("readings", "changed_at")}
)
#: Bytes of which the first eight are carried, as hexadecimal text: they tell whether two are the same.
_ALIKE: Final = frozenset({("recordings", "match_key")})
_BEGINNINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"sqlite": 'lower(hex(substr("{0}", 1, 8)))', "postgresql": """encode(substr("{0}", 1, 8), 'hex')"""}
)
#: Carried only with the content.
_CONTENT: Final = frozenset({("readings", "text")})


class Carried(NamedTuple):
    """A table, the select that the store's database runs, and DuckDB's over the rows `incoming` that it gave.

    `there` ends with the name of a table, or with a condition.
    """

    name: str
    there: str
    here: str


class Derived(NamedTuple):
    """A table with a column `run_id`, and the select that makes it of the facts and of those before it.

    What it says of a run depends on what is known of that run alone.
    """

    name: str
    select: str


class Watched(NamedTuple):
    """What is asked of the store's database to find out what has changed.

    `now`: text that another database has otherwise, how often something was erased, and the sums over all recordings:
    how many there are, their stamps modulo `modulus`, and the same with each multiplied by the `weight` of its day. So
    neither a change nor one that makes up for it on another day goes unseen. `days`: (day, recordings, stamps), the
    sums of each day, which say where it was. `stamps`: (recording_id, day, stamp), to be narrowed by `since` (a stamp)
    or `on` (a day). `open`: the recordings that go on. `erased`: those that were erased. `id` makes a literal of an
    id's 32 hexadecimal digits.
    """

    days: Carried
    stamps: Carried
    since: str
    on: str
    open: Carried
    erased: Carried
    now: Carried
    id: str
    modulus: int
    weight: str


def carried(backend: str, *, content: bool) -> list[Carried]:
    """The tables of facts to carry over from `backend` ("sqlite" or "postgresql"), without events."""
    tables = (schema.recordings, schema.readings, schema.endings, schema.tags)
    return [_carried(table, backend, content=content) for table in tables]


def events(backend: str) -> Carried:
    """The table of events, without their payloads."""
    return _carried(schema.events, backend, content=False)


def derived() -> list[Derived]:
    """What is made of the facts once, and not with each question, in this order."""
    runs = f"WITH stored_runs AS (\n{shared('runs')})\n{shared('outcomes')}"
    day = "CAST(make_timestamp(started_at) AS DATE) AS day"
    return [
        Derived("runs", f"SELECT *, {_STARTED}, {day} FROM (\n{runs})"),  # noqa: S608
        *(Derived(name, shared(name)) for name in ("run_tags", "steps", "calls", "findings", "disagreements")),
    ]


def views() -> list[str]:
    """The statements that make the views over all this."""
    names = ("retries", "needs", "parameter_values")
    return [_run_params(), *(f"CREATE VIEW {name} AS\n{shared(name)}" for name in names)]


def watched(backend: str, place: str) -> Watched:
    """How a database of this kind tells what has changed; `place` is text that another SQLite file has otherwise."""
    name = BACKENDS[backend].format("recording_id")
    stamp = "coalesce(changed_at, read_at)"  # an older writer leaves it NULL
    day = f"started_at / {_DAY}"
    sums = f"{day}, count(*), CAST(sum({stamp} % {_MODULUS}) AS BIGINT) FROM readings GROUP BY 1, 2"
    sums_of = "SELECT count(*) AS recordings, sum({0} % {1}) AS stamps, sum({0} % {1} * ({2}) % {1}) AS weighted"
    # Apart, so that an index alone tells the former.
    everything = " UNION ALL ".join(
        f"{sums_of.format(column, _MODULUS, _WEIGHT.format(day))} FROM readings WHERE changed_at IS {condition}"
        for column, condition in (("changed_at", "NOT NULL"), ("read_at", "NULL"))
    )
    totals = ", ".join(f"CAST(coalesce(sum({each}), 0) AS BIGINT)" for each in ("recordings", "stamps", "weighted"))
    oid = "CAST(CAST(CAST('readings' AS regclass) AS oid) AS TEXT)"
    identity = oid if backend == "postgresql" else quoted(place)
    return Watched(
        days=_listed("days", sums, day="BIGINT", recordings="BIGINT", stamps="BIGINT"),
        stamps=_listed(
            "stamps",
            f"{name}, {day}, {stamp} FROM readings WHERE 1 = 1",
            recording_id="UUID",
            day="BIGINT",
            stamp="BIGINT",
        ),
        since=" AND (changed_at >= {0} OR (changed_at IS NULL AND read_at >= {0}))",
        on=f" AND started_at >= {{0}} * {_DAY} AND started_at < ({{0}} + 1) * {_DAY}",
        open=_listed("open", f"{name} FROM leases", recording_id="UUID"),
        erased=_listed("erased", f"{name} FROM erasures", recording_id="UUID"),
        now=_listed(
            "now",
            f"{identity}, (SELECT count(*) FROM erasures), {totals} FROM ({everything}) AS parts",  # noqa: S608
            identity="VARCHAR",
            erasures="BIGINT",
            recordings="BIGINT",
            stamps="BIGINT",
            weighted="BIGINT",
        ),
        id=_LITERALS[backend],
        modulus=_MODULUS,
        weight=_WEIGHT.format("day"),
    )


def _listed(table: str, select: str, **columns: str) -> Carried:
    """Rows of these columns, given with DuckDB's types."""
    prototypes = {kind: value for _, value, kind in _TYPES}
    leading = ", ".join(f"{prototypes[kind]} AS {column}" for column, kind in columns.items())
    here = ", ".join(f"CAST({column} AS {kind}) AS {column}" for column, kind in columns.items())
    return Carried(
        table,
        f"SELECT 1 AS prototype, {leading} UNION ALL SELECT 0, {select}",
        f"SELECT {here} FROM incoming WHERE prototype = 0",  # noqa: S608
    )


def shared(name: str) -> str:
    """The select in analytics/_NAME.sql, without its comments: DuckDB takes as long to read these as the rest."""
    text = (resources.folder("analytics") / f"_{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("--"))


def _carried(table: Table, backend: str, *, content: bool) -> Carried:
    prototype, there, here = ["1 AS prototype"], ["0"], []
    for column in _columns(table, content=content):
        name = column.name
        value, kind = _type(column)
        prototype.append(f'{value} AS "{name}"')
        form = BACKENDS if isinstance(column.type, schema.Id) else _BEGINNINGS if (table.name, name) in _ALIKE else None
        there.append(f'"{name}"' if form is None else form[backend].format(name))
        # hex(NULL) is '' on SQLite
        here.append(f"""CAST({f'"{name}"' if form is None else f"nullif({name}, '')"} AS {kind}) AS "{name}\"""")
    if "started_at" in table.c:
        here.append(_STARTED)
    return Carried(
        table.name,
        f'SELECT {", ".join(prototype)} UNION ALL SELECT {", ".join(there)} FROM "{table.name}"',  # noqa: S608
        f"SELECT {', '.join(here)} FROM incoming WHERE prototype = 0",  # noqa: S608
    )


def _columns(table: Table, *, content: bool) -> Iterator[Column[Any]]:
    for column in table.columns:
        key = (table.name, column.name)
        payload = isinstance(column.type, LargeBinary) and key not in _ALIKE
        if not (payload or key in _LEFT or (key in _CONTENT and not content)):
            yield column


def _type(column: Column[Any]) -> tuple[str, str]:
    for kind, value, ours in _TYPES:
        if isinstance(column.type, kind):
            return value, ours
    raise TypeError(f"no DuckDB type is known for {column.table.name}.{column.name}: {column.type!r}")


def _run_params() -> str:
    """The view of the asked parameters, with the columns and rows of the store's own: JSON text of each value, SQL NULL
    where the parameter is absent, 'null' where it is null. DuckDB spells the JSON without blanks and escapes.

    VARCHAR, not DuckDB's JSON type: that one would take the right side of `tool_choice = '"auto"'` for JSON as well.
    """
    each = [f"""CAST(json_extract(parameters, '$."{name}"') AS VARCHAR) AS "{name}\"""" for name in schema.PARAMETERS]
    return (
        f"CREATE VIEW run_params AS SELECT recording_id, run_id, dialect, action, {', '.join(each)} "  # noqa: S608
        "FROM readings WHERE parameters IS NOT NULL"
    )
