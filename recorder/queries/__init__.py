"""The store in DuckDB, for questions that look at many runs: facts copied as of one moment, and user's SQL locked in.

It refuses to write to a store, to know what a dialect is, and to use the network: DuckDB loads no extension, and no
statement reaches a file.

    tables    which facts are carried over, and by which statements
    copying   the process that carries them: the only one that opens a store's file through another library

The facts go into a DuckDB file in a private folder, which the caller's connection opens for reading only and unlinks.
(Half of what is needed for the same over Parquet, which has to be read once more.) Nothing is left behind, and as many
callers as like may ask at once, while the store is written.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recorder.errors import StoreError, UsageError
from recorder.queries import copying, tables
from recorder.store import Store

if TYPE_CHECKING:
    import duckdb

__all__ = ["connect"]

#: What DuckDB may take before it spills to its private folder: while questions are asked, and while the copy is made
#: (there half of it costs no time).
_MEMORY: Final = "1GiB"
_MEMORY_COPYING: Final = "512MiB"
_THREADS: Final = min(4, os.cpu_count() or 1)

#: In this order: after the last, nothing can be changed.
_LOCKS: Final = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "allow_persistent_secrets = false",
    "enable_external_access = false",
    "lock_configuration = true",
)

#: How long SQLite waits for one who recovers or closes the file; a writer is never waited for.
_BUSY: Final = "PRAGMA busy_timeout=10000"
#: PostgreSQL's first statements: all selects see one moment, and a migration is not waited for for ever.
_ONE_MOMENT: Final = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL lock_timeout = '30s'")
#: What libpq is told, where the environment or the URL does not say otherwise.
_LIBPQ: Final = {"PGCONNECT_TIMEOUT": "5", "PGAPPNAME": "recorder"}


def connect(url: str | os.PathLike[str], *, events: bool = False, content: bool = False) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection to a copy of the store's facts, as they are at this moment. Close it when done.

    Tables: `recordings`, `readings`, `endings`, `tags` as in the store; `runs` as the store's view; the view
    `run_params`: one column for each parameter, its JSON text, NULL where absent, 'null' where null; and with `events`,
    `events` without payloads. With `content`, `readings` has the text that the model wrote.
    Ids are UUID, times BIGINT microseconds (`started_at`) and TIMESTAMP (`started`), both UTC; JSON is VARCHAR, which
    `->` takes.

    SQL on it can read these tables and make temporary ones; it reaches no file, no network, and no setting.

    Raises UsageError (a library is missing), StoreError (the copy failed), and what
    `recorder.store.Store.open` raises.
    """
    with Store.open(url, readonly=True) as store:
        shown = store.url
    backend = shown.partition(":")[0]
    _require(backend)
    folder = Path(tempfile.mkdtemp(prefix="recorder-"))
    try:
        _copy(_job(os.fspath(url), shown, folder, events=events, content=content), shown)
        return _opened(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _require(backend: str) -> None:
    """Raises UsageError where a library is missing."""
    needed = {"sqlite": ("duckdb", "adbc_driver_sqlite"), "postgresql": ("duckdb", "adbc_driver_postgresql")}
    for name in needed[backend]:
        if importlib.util.find_spec(name) is None:
            extra = "[postgres]" if name == "adbc_driver_postgresql" else ""
            raise UsageError(
                f"questions in DuckDB need {name.replace('_', '-')}; run `pip install 'run-recorder{extra}'`"
            )


def _job(url: str, shown: str, folder: Path, *, events: bool, content: bool) -> dict[str, Any]:
    """What `copying` is told to do."""
    backend = shown.partition(":")[0]
    sqlite = backend == "sqlite"
    return {
        "path": sys.path,
        "driver": backend,
        "uri": _file_uri(shown) if sqlite else url,
        "before": [_BUSY] if sqlite else [],
        "within": [] if sqlite else _ONE_MOMENT,
        "settings": {"memory_limit": _MEMORY_COPYING, "threads": _THREADS, "temp_directory": str(folder / "spill")},
        "tables": tables.carried(backend, events=events, content=content),
        "after": tables.made(),
        "into": str(folder / "facts.duckdb"),
    }


def _file_uri(shown: str) -> str:
    """The SQLite file's URI, for reading only."""
    path = Path(shown.removeprefix("sqlite:///"))
    # Without the right to make a -shm file a WAL cannot be read; where there is no WAL, nothing is in it.
    still = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def _copy(job: dict[str, Any], shown: str) -> None:
    """Have the job done by a process of its own, which hears of passwords on stdin alone. Raises StoreError."""
    done = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-P", copying.__file__],
        input=json.dumps(job).encode(),
        capture_output=True,
        env={**_LIBPQ, **os.environ, "PGCLIENTENCODING": "UTF8"},
        check=False,
    )
    try:
        said = json.loads(done.stdout)["error"]
    except (ValueError, KeyError, TypeError):
        said = f"the copying process ended with {done.returncode}: {_last_line(done.stderr)}"
    if said is not None:
        raise StoreError(f"{shown} cannot be copied into DuckDB: {said[:500]}; try again, or see `recorder db check`")


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:  # a forked child that ends leaves its parent's folder alone
        shutil.rmtree(folder, ignore_errors=True)


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    """The copy, opened for reading only and locked; its folder goes with the connection, or with the process."""
    import duckdb

    file = folder / "facts.duckdb"
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": _THREADS,
        "temp_directory": str(folder / "spill"),
        # A name in SQL means a table, never a variable of the Python around it.
        "python_enable_replacements": False,
    }
    connection = duckdb.connect(str(file), read_only=True, config=settings)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        for lock in _LOCKS:
            connection.execute(f"SET {lock}")
        with suppress(OSError):  # not every system lets go of the name of an open file
            file.unlink()
        weakref.finalize(connection, _remove, folder, os.getpid())
    except BaseException:
        connection.close()
        raise
    return connection
