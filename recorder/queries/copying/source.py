"""The store's database, as the copying process reads it: in one transaction, as streams of Arrow.

The rows go straight into DuckDB. It knows drivers and statements; it refuses to know what the tables mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_manager import AdbcConnection, AdbcDatabase

__all__ = ["Source", "SourceError", "one_line", "opened"]

#: Rows in one batch of Arrow's. SQLite's driver takes 1,024 unless it is told more.
_BATCH_ROWS: Final = "16384"
#: Ids in one statement: SQLite takes a million characters.
_IDS: Final = 5000


class SourceError(Exception):
    """The store's database said no, whatever DuckDB said about it."""


class Source:
    """The store's database, in one transaction."""

    def __init__(self, job: Mapping[str, Any], connection: AdbcConnection) -> None:
        self._driver = job["driver"]
        self._literal = job["watched"]["id"]
        self._connection = connection
        self._run(job["before"])
        connection.set_autocommit(False)
        self._run(job["within"])

    def _run(self, statements: Iterable[str]) -> None:
        from adbc_driver_manager import AdbcStatement

        for text in statements:
            with AdbcStatement(self._connection) as statement:
                statement.set_sql_query(text)
                statement.execute_update()

    def into(
        self, target: duckdb.DuckDBPyConnection, before: str, table: Mapping[str, str], narrowed: str = ""
    ) -> None:
        """Run `before` (CREATE TABLE … AS, or INSERT INTO …) with the rows that the table's select gives."""
        from adbc_driver_manager import AdbcStatement, Error
        from duckdb import Error as DuckDBError

        with AdbcStatement(self._connection) as statement:
            if self._driver == "sqlite":
                statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH_ROWS})
            statement.set_sql_query(table["there"] + narrowed)
            try:
                target.register("incoming", statement.execute_query()[0])  # a stream: it can be read once
                target.execute(f"{before} {table['here']}")
                target.unregister("incoming")
            except (Error, DuckDBError) as error:
                raise SourceError(one_line(error)) from error

    def rows(self, target: duckdb.DuckDBPyConnection, table: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """The rows that the table's select gives."""
        self.into(target, "CREATE OR REPLACE TEMP TABLE asked AS", table)
        return target.execute("SELECT * FROM asked").fetchall()

    def of(self, target: duckdb.DuckDBPyConnection, into: str, table: Mapping[str, str], ids: Sequence[str]) -> None:
        """CREATE `into` (TABLE …) with the rows of these recordings."""
        name = into.rpartition(" ")[2]
        for start in range(0, max(len(ids), 1), _IDS):
            some = ", ".join(self._literal.format(each) for each in ids[start : start + _IDS])
            verb = f"INSERT INTO {name}" if start else f"CREATE {into} AS"
            self.into(target, verb, table, f" WHERE recording_id IN ({some})" if ids else " WHERE 1 = 0")


@contextmanager
def opened(job: Mapping[str, Any]) -> Iterator[Source]:
    from adbc_driver_manager import AdbcConnection

    with _database(job["driver"], job["uri"]) as database, AdbcConnection(database) as connection:
        yield Source(job, connection)
        connection.rollback()


def _database(driver: str, uri: str) -> AdbcDatabase:
    if driver == "sqlite":
        import adbc_driver_sqlite as library
    else:
        import adbc_driver_postgresql as library  # type: ignore[no-redef]
    database: AdbcDatabase = library.connect(uri)
    return database


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
