"""The program that copies a store into a DuckDB file: `python copying.py < job.json`, in a process of its own.

Why a process: it opens a SQLite file through another SQLite library than Python's. Two libraries in one process do not
know of each other's locks, and the first to close its descriptor drops those of both ("How To Corrupt An SQLite
Database File", section 2.2, of SQLite's manual). This process holds the file through one library, and ends.

The rows go from the ADBC driver's Arrow stream straight into DuckDB, in one read-only transaction: one snapshot.
It knows databases and statements; it refuses to know stores, and imports nothing of recorder, so that it starts fast.

The job, as JSON on stdin; the answer, as JSON on stdout, is `{"error": null}` or says what went wrong:

    path      where to look for modules
    driver    "sqlite" or "postgresql"; `uri` says where
    before    statements that are run there first; `within`: the first of the transaction
    tables    each: its name, the select that is run there, DuckDB's select over what that gives (`incoming`)
    after     statements that DuckDB runs at the end
    into      the file to make, with DuckDB's `settings`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_manager import AdbcConnection, AdbcDatabase

__all__ = ["copy"]

#: Rows in one batch of Arrow's. SQLite's driver takes 1,024 unless it is told more.
_BATCH_ROWS = "16384"


def copy(job: Mapping[str, Any]) -> None:
    """Do the job. Raises what the two databases raise."""
    import duckdb
    from adbc_driver_manager import AdbcConnection

    with (
        closing(duckdb.connect(job["into"], config=job["settings"])) as target,
        _database(job["driver"], job["uri"]) as database,
        AdbcConnection(database) as source,
    ):
        _run(source, job["before"])
        source.set_autocommit(False)
        _run(source, job["within"])
        for name, there, here in job["tables"]:
            with _rows(source, job["driver"], there) as rows:
                target.register("incoming", rows)  # a stream: it can be read once
                target.execute(f'CREATE TABLE "{name}" AS {here}')
                target.unregister("incoming")
        source.rollback()
        for statement in job["after"]:
            target.execute(statement)
        _narrow(target)


def _database(driver: str, uri: str) -> AdbcDatabase:
    if driver == "sqlite":
        import adbc_driver_sqlite

        return adbc_driver_sqlite.connect(uri)
    import adbc_driver_postgresql

    database: AdbcDatabase = adbc_driver_postgresql.connect(uri)
    return database


def _run(source: AdbcConnection, statements: Iterable[str]) -> None:
    from adbc_driver_manager import AdbcStatement

    for text in statements:
        with AdbcStatement(source) as statement:
            statement.set_sql_query(text)
            statement.execute_update()


@contextmanager
def _rows(source: AdbcConnection, driver: str, select: str) -> Iterator[Any]:
    """What the select gives, as an Arrow stream."""
    from adbc_driver_manager import AdbcStatement

    with AdbcStatement(source) as statement:
        if driver == "sqlite":
            statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH_ROWS})
        statement.set_sql_query(select)
        yield statement.execute_query()[0]


def _narrow(target: duckdb.DuckDBPyConnection) -> None:
    """Make BIGINT of HUGEINT, which sums of whole numbers are, and which Parquet and most readers do not have."""
    wide = target.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND data_type = 'HUGEINT'"
    )
    for name, column in wide.fetchall():
        target.execute(f'ALTER TABLE "{name}" ALTER "{column}" TYPE BIGINT')


def _main() -> int:
    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    try:
        copy(job)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (whatever it is, the process that waits must be told)
        print(json.dumps({"error": " ".join(f"{type(error).__name__}: {error}".split())}))  # noqa: T201 (the answer)
        return 1
    print(json.dumps({"error": None}))  # noqa: T201 (the answer)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
