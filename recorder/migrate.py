"""Brings a store's schema to what this code needs: creates it, upgrades it step by step, says what it is.

It works on a connection inside a transaction that its caller began and will commit: so a killed migration leaves the
old schema, on both databases. It refuses to know files, URLs and locks (store), and it never downgrades.

A revision is "major.minor". A newer minor only added something, so this code can go on; a newer major is refused.
Alembic is imported only where there is something to upgrade: it takes longer than all else that a start needs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from recorder import resources, schema
from recorder.errors import NotAStore, SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["VERSION_TABLE", "State", "check", "create", "require", "state", "upgrade"]

#: Alembic's version table under a name of its own: in one PostgreSQL database an application may use alembic too.
VERSION_TABLE: Final = "recorder_version"
_version: Final = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
_TRIGGERS_AND_VIEWS: Final = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')",
    "postgresql": "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
    "WHERE relnamespace = current_schema()::regnamespace AND NOT tgisinternal AND tgenabled <> 'D' "
    "UNION SELECT viewname FROM pg_views WHERE schemaname = current_schema()",
}
_REVISION: Final = re.compile(r"(\d+)\.(\d+)")


class State(NamedTuple):
    """What a database is: empty, a store at a revision, or (neither) something else."""

    empty: bool
    revision: str | None


def state(connection: Connection) -> State:
    """What the database is, by its tables, or views in their place; the rows are not looked at."""
    names = inspect(connection).get_table_names()
    if VERSION_TABLE not in names:
        # Views before tables: a store that another process is just making comes into being at once, between any two
        # of these looks. An inspector remembers what it saw, hence a new one each time.
        views = inspect(connection).get_view_names()
        names = [*inspect(connection).get_table_names(), *views]
    if VERSION_TABLE not in names:
        return State(empty=not names, revision=None)
    found = connection.execute(select(_version.c.version_num)).scalars().all()
    return State(empty=False, revision=found[0] if len(found) == 1 else None)


def require(found: State, where: str) -> bool:
    """Whether a store in this state must be upgraded first; False when this code can use it as it is.

    `where` names the store in errors. Raises NotAStore for a database that is something else, SchemaMismatch for
    one that only a newer recorder can use.
    """
    match = _REVISION.fullmatch(found.revision or "")
    if match is None:
        raise NotAStore(f"{where} is not a recorder store; name another one, or an empty one to make it a store")
    major, minor = int(match[1]), int(match[2])
    our_major, our_minor = map(int, schema.REVISION.split("."))
    if major > our_major:
        raise SchemaMismatch(
            f"{where} has schema {found.revision}, newer than {schema.REVISION}, which this recorder knows; "
            "install a newer run-recorder"
        )
    return (major, minor) < (our_major, our_minor)


def create(connection: Connection) -> None:
    """Make the whole schema in an empty database at once; the same as `upgrade` gives there, without alembic."""
    backend = connection.dialect.name
    schema.metadata.create_all(connection, checkfirst=False)
    for statement in schema.additions(backend):
        connection.exec_driver_sql(statement)
    _version.create(connection, checkfirst=False)
    connection.execute(insert(_version).values(version_num=schema.REVISION))


def upgrade(connection: Connection, *, folder: Path | None = None, target: str = "head") -> None:
    """Run the migrations in `folder` (those that ship with the code) that the store does not have yet.

    Raises SchemaMismatch where its revision is none of them.
    """
    from alembic import command
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    try:
        command.upgrade(_config(connection, folder), target)
    except CommandError as error:
        if isinstance(error.__cause__, ResolutionError):
            raise SchemaMismatch(
                "the store says that it has a schema which no recorder made; restore it from a copy"
            ) from None
        raise


def check(connection: Connection) -> list[str]:
    """How the schema differs from what this code writes to, in words; empty when it does not."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
    differences = [_in_words(difference) for difference in compare_metadata(context, schema.metadata)]
    backend = connection.dialect.name
    wanted = set(re.findall(r"CREATE TRIGGER (\w+)", "\n".join(schema.triggers(backend)))) | set(schema.views(backend))
    there = set(connection.exec_driver_sql(_TRIGGERS_AND_VIEWS[backend]).scalars())
    return differences + [f"missing: {name}" for name in sorted(wanted - there)]


def _config(connection: Connection, folder: Path | None) -> Config:
    """Alembic's configuration, made in code: an installed recorder has no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder or resources.folder("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _in_words(difference: Any) -> str:
    # Alembic gives (what, ...) tuples, and lists of them for changes within one column.
    parts = difference[0] if isinstance(difference, list) else difference
    what, *about = parts
    return f"{what.replace('_', ' ')}: {' '.join(str(part) for part in about if part is not None)}"
