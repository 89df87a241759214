"""Who may do what in a PostgreSQL store: four roles, as SQL that can be reviewed before it is run, and run again.

    recorder_writer    records, and reads what it needs for that
    recorder_analyst   sees facts alone: no payload, no text, no metadata, no tags
    recorder_reader    reads everything, and writes nothing
    recorder_eraser    reads everything, erases and prunes; the triggers still want an erasure on record

No role may change a fact; only the owner of the tables could, who is none of the four. Roles have no password and do
not log in: one's own users are made members of them. The analyst's facts are views of the same names in a schema of
their own, so that every command works on them as on the tables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects import postgresql

from recorder import migrate, schema
from recorder.errors import UsageError
from recorder.store.core import backend_for
from recorder.store.postgresql import PostgreSQL, failures

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

__all__ = ["RIGHTS", "ROLES", "WRITER", "apply", "facts_schema", "script", "statements"]

WRITER: Final = "recorder_writer"
ANALYST: Final = "recorder_analyst"
READER: Final = "recorder_reader"
ERASER: Final = "recorder_eraser"
ROLES: Final = (WRITER, ANALYST, READER, ERASER)

#: What each may do with which tables, beside reading all of them.
RIGHTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    WRITER: {
        "INSERT": ("recordings", "events", "endings", "readings", "tags", "leases", "logged"),
        "UPDATE": ("readings", "leases"),
        "DELETE": ("readings", "leases"),
    },
    READER: {},
    ERASER: {
        "INSERT": ("recordings", "events", "endings", "readings", "tags", "erasures"),
        "UPDATE": ("readings",),
        "DELETE": ("recordings", "events", "endings", "readings", "tags", "leases"),
    },
}

#: Columns in which content is, by table: the analyst's views have NULL there. Digests of content are content: whoever
#: guesses what was said could see that it was.
_CONTENT: Final[dict[str, frozenset[str]]] = {
    "recordings": frozenset(schema.CONTENT) - {"call"},  # which says only what was tried again
    "events": frozenset({"data", "raw"}),
    "readings": frozenset({"text", "metadata"}),
    "erasures": frozenset({"erased_by", "reason"}),
}
#: Of these the rows would say too much, or something else without their content.
_EMPTY: Final = frozenset({"tags"})

#: Facts of a reading that are figures and words of recorder's own, and what of the members of lists is.
_FACTS: Final = (
    *("arguments", "choices", "disagreements", "in_progress_us", "json", "limits", "repetition", "steps"),
    *("system_fingerprint", "times", "usage_bounds", "whitespace"),
)
_MEMBERS: Final = ("chars", "damage", "depth", "position", "status", "type", "usage", "valid")
#: Parameters whose texts are words of a protocol, and those whose members are.
_WORDS: Final = ("model", "reasoning_effort", "service_tier", "tool_choice", "truncation", "verbosity", "assistant_id")
_PLAIN: Final = ("reasoning", "stream_options", "thinking", "truncation_strategy")


def statements(url: str | os.PathLike[str]) -> list[str]:
    """The statements for the store at this URL, to be run in one transaction.

    Raises UsageError for SQLite, and what `Store.open` raises.
    """
    with _opened(url) as backend, backend.read() as connection:
        return _statements(connection)


def script(made: Sequence[str]) -> str:
    """Statements as a script, which ends with what is left to do."""
    return "".join(f"{statement};\n" for statement in ("BEGIN", *made, "COMMIT")) + _USERS


def apply(url: str | os.PathLike[str]) -> list[str]:
    """Run them, in one transaction; what was run.

    Raises as `statements`, and StoreUnavailable where this user may not.
    """
    with _opened(url) as backend, failures(backend.display), backend.engine.begin() as connection:
        made = _statements(connection)
        for statement in made:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        return made


@contextlib.contextmanager
def _opened(url: str | os.PathLike[str]) -> Iterator[PostgreSQL]:
    with contextlib.closing(backend_for(url, readonly=False, as_is=True)) as backend:
        if not isinstance(backend, PostgreSQL):
            raise UsageError(
                "a SQLite store has no roles: whoever may read its file reads everything. Keep its files for one user"
                " (`recorder doctor` looks at their modes), and give others `recorder export`, or use PostgreSQL"
            )
        yield backend


#: Users, which are no business of recorder's.
_USERS: Final = f"""\
-- Then make users, for example:
-- CREATE ROLE service LOGIN PASSWORD '...' IN ROLE {WRITER};
-- CREATE ROLE ann LOGIN PASSWORD '...' IN ROLE {ANALYST};
-- ALTER ROLE ann SET search_path = recorder_facts;  -- the schema of the views above"""


def facts_schema(store: str) -> str:
    """The schema of the analyst's views, by that of the store's tables."""
    return "recorder_facts" if store == "public" else f"{store}_facts"


# -- the statements ----------------------------------------------------------------------------------------------------


def _statements(connection: Connection) -> list[str]:
    migrate.require(migrate.state(connection), "this database")
    database, store, version = connection.exec_driver_sql(
        "SELECT current_database(), current_schema(), current_setting('server_version_num')::int"
    ).one()
    tables = ", ".join(f"{_quoted(store)}.{_quoted(name)}" for name in (*schema.metadata.tables, migrate.VERSION_TABLE))
    views = ", ".join(f"{_quoted(store)}.{_quoted(name)}" for name in schema.views("postgresql"))
    return [
        *map(_made, ROLES),
        f"REVOKE ALL ON {tables}, {views} FROM PUBLIC, {', '.join(ROLES)}",
        f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {', '.join(ROLES)}",
        f"GRANT TEMPORARY ON DATABASE {_quoted(database)} TO {WRITER}",
        f"GRANT USAGE ON SCHEMA {_quoted(store)} TO {', '.join(RIGHTS)}",
        f"GRANT SELECT ON {tables}, {views} TO {', '.join(RIGHTS)}",
        *_granted(store),
        *_maintained(store, version),
        *_facts(store),
    ]


def _made(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN "
        f"CREATE ROLE {role} NOLOGIN; END IF; END $$"
    )


def _granted(store: str) -> Iterator[str]:
    for role, rights in RIGHTS.items():
        for right, tables in rights.items():
            named = ", ".join(f"{_quoted(store)}.{table}" for table in tables)
            yield f"GRANT {right} ON {named} TO {role}"


def _maintained(store: str, version: int) -> Iterator[str]:
    """What was erased is gone from the table's file after a VACUUM, which others than the owner may since 17."""
    if version >= 170_000:
        named = ", ".join(f"{_quoted(store)}.{table}" for table in schema.metadata.tables)
        yield f"GRANT MAINTAIN ON {named} TO {ERASER}"


def _facts(store: str) -> Iterator[str]:
    """The analyst's schema."""
    place = _quoted(facts_schema(store))
    yield f"CREATE SCHEMA IF NOT EXISTS {place}"
    for table in schema.metadata.sorted_tables:
        yield _view(place, _quoted(store), table)
    yield (
        f"CREATE OR REPLACE VIEW {place}.{migrate.VERSION_TABLE} AS SELECT * "  # noqa: S608
        f"FROM {_quoted(store)}.{migrate.VERSION_TABLE}"
    )
    # These name `readings` alone: in this transaction that means the view.
    yield f"SET LOCAL search_path TO {place}"
    for statement in schema.views("postgresql").values():
        yield statement.strip().replace("CREATE VIEW ", "CREATE OR REPLACE VIEW ", 1)
    yield f"SET LOCAL search_path TO {_quoted(store)}"
    yield f"GRANT USAGE ON SCHEMA {place} TO {ANALYST}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {ANALYST}"


def _view(place: str, store: str, table: Table) -> str:
    columns = ",\n    ".join(_column(table, column) for column in table.columns)
    where = "\nWHERE false" if table.name in _EMPTY else ""
    return f"CREATE OR REPLACE VIEW {place}.{table.name} AS SELECT\n    {columns}\nFROM {store}.{table.name}{where}"


def _column(table: Table, column: Column[Any]) -> str:
    name = _quoted(column.name)
    if column.name in _CONTENT.get(table.name, ()):
        return f"CAST(NULL AS {column.type.compile(postgresql.dialect())}) AS {name}"  # type: ignore[no-untyped-call]
    if (table.name, column.name) == ("readings", "facts"):
        return f"{_JSON_FACTS} AS facts"
    if (table.name, column.name) == ("readings", "parameters"):
        return f"{_JSON_PARAMETERS} AS parameters"
    return name


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


_JSON_FACTS: Final = f"""CASE WHEN facts IS NOT NULL THEN coalesce((
        SELECT json_object_agg(fact.key, CASE WHEN json_typeof(fact.value) <> 'array' THEN fact.value ELSE (
            SELECT coalesce(json_agg(CASE WHEN json_typeof(one) <> 'object' THEN one ELSE (
                SELECT coalesce(json_object_agg(part.key, part.value), '{{}}') FROM json_each(one) AS part
                WHERE part.key IN ({_listed(_MEMBERS)})) END), '[]')
            FROM json_array_elements(fact.value) AS one) END)
        FROM json_each(facts::json) AS fact WHERE fact.key IN ({_listed(_FACTS)}))::text, '{{}}') END"""  # noqa: S608
_JSON_PARAMETERS: Final = f"""CASE WHEN parameters IS NOT NULL THEN coalesce((
        SELECT json_object_agg(asked.key, CASE
            WHEN json_typeof(asked.value) NOT IN ('string', 'object', 'array') THEN asked.value
            WHEN json_typeof(asked.value) = 'string' AND asked.key IN ({_listed(_WORDS)}) THEN asked.value
            WHEN asked.key IN ({_listed(_PLAIN)}) THEN asked.value
            ELSE json_build_object('$omitted', json_build_object('bytes', octet_length(asked.value::text))) END)
        FROM json_each(parameters::json) AS asked
        WHERE asked.key IN ({_listed(schema.PARAMETERS)}))::text, '{{}}') END"""  # noqa: S608


def _quoted(name: str) -> str:
    """An identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
