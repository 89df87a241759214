"""The store in DuckDB, for questions that look at many runs: facts as of one moment, and user's SQL locked in.

It refuses to write to a store, to know what a dialect is, and to use the network: DuckDB loads no extension, and no
statement reaches a file.

    tables     which facts are carried over, and by which statements
    copying    the process that carries them: the only one that opens a store's file through another library
    snapshot   where they are kept beside the store, how they are kept up to date, how they are opened
    questions  the files of analytics/            asking     one of them asked
    pricing    what the runs cost

The facts lie in DuckDB files that are never changed. (Not in Parquet: SQL that may read a file may also write to it,
and half of them would be read twice.) Each connection opens them for reading only, so as many callers as like may ask
at once, while the store is written.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from recorder.errors import StoreError, UsageError
from recorder.queries.asking import Answer, LeftOut, Scope, ask, micros, slice_of
from recorder.queries.copying import quoted
from recorder.queries.questions import Question, find, questions
from recorder.queries.snapshot import Kept, Snapshot, locked
from recorder.store import Store

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "Answer",
    "LeftOut",
    "Question",
    "Scope",
    "ask",
    "connect",
    "export",
    "find",
    "folder_of",
    "forget",
    "kept",
    "query",
    "questions",
    "slice_of",
]

_NEEDED: Final = MappingProxyType(
    {"sqlite": ("duckdb", "adbc_driver_sqlite"), "postgresql": ("duckdb", "adbc_driver_postgresql")}
)


def connect(
    url: str | os.PathLike[str], *, events: bool = False, content: bool = False, refresh: bool = True
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection to the store's facts, as they are at this moment. Close it when done.

    Tables: `recordings`, `readings`, `endings`, `tags` as in the store; `runs` as the store's view, with what became of
    each run; `run_tags`, `steps`, `calls`: those of each run; `run_params`: one column for each parameter, its JSON
    text, NULL where absent, 'null' where null; and with `events`, `events` without payloads. With `content`, `readings`
    has the text that the model wrote.
    Ids are UUID, times BIGINT microseconds (`started_at`) and TIMESTAMP (`started`), both UTC; JSON is VARCHAR, which
    `->` takes.

    The facts are kept in a folder beside the store, and follow it; with content they are copied each time, and nothing
    is kept. Without `refresh` they are taken as they were last kept, if they were: that takes milliseconds.

    SQL on it can read these tables and make temporary ones; it reaches no file, no network, and no setting. Many
    questions may be asked on one connection, which sees one moment; `events` is temporary: a cursor does not see it.

    Raises UsageError (a library is missing), StoreError (the copy failed), and what
    `recorder.store.Store.open` raises.
    """
    connection = _snapshot(url, content=content).connection(events=events, refresh=refresh)
    try:
        return locked(connection)
    except BaseException:
        connection.close()
        raise


def query(
    url: str | os.PathLike[str],
    name: str,
    *,
    since: datetime | int | None = None,
    until: datetime | int | None = None,
    by: str | None = None,
    where: str | None = None,
    candidates: Sequence[int] = (),
    **given: Any,
) -> Answer:
    """The answer of the store at `url` (or a path) to a question, by its id or name; `given` is what it takes.

    `since` and `until`: a datetime, or microseconds UTC; `by` and `where`: see `Scope`.

    Raises NotFound where there is no such question, and what `connect` and `ask` raise.
    """
    question = find(name)
    asked_for = Scope(since=micros(since), until=micros(until), by=by, where=where)
    with closing(connect(url, events="events" in question.uses)) as connection:
        return ask(connection, question, asked_for, given=given, candidates=candidates, price_folder=folder_of(url))


def folder_of(url: str | os.PathLike[str]) -> Path:
    """The folder in which the facts of a store are kept, with what else is worked out of them; it may not be there.

    Raises what `connect` raises.
    """
    return _snapshot(url, content=False).place


def forget(shown: str) -> list[str]:
    """Remove the facts that are kept of the store with this URL (as it is shown); the files that went.

    Other users' copies, and those on other machines, follow the store when they are asked next. Raises StoreError.
    """
    return Snapshot(url=shown, shown=shown).forget()


def export(
    url: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    events: bool = False,
    content: bool = False,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int]:
    """Write the tables of `connect` as Parquet files, one NAME.parquet each, into a folder; the rows of each.

    `more` names further tables and the selects that make them. Ids are text there, as not every reader knows UUIDs.
    A file of the same name is replaced, once the new one is whole.

    Raises StoreError where the folder cannot be written, and what `connect` raises.
    """
    into = Path(folder)
    connection = _snapshot(url, content=content).connection(events=events)
    try:
        names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        selects = {name: f'SELECT * FROM "{name}"' for name in names} | dict(more)  # noqa: S608
        into.mkdir(parents=True, exist_ok=True)
        return {name: _write(connection, select, into / f"{name}.parquet") for name, select in selects.items()}
    except OSError as error:
        raise StoreError(
            f"{into} cannot be written: {error.strerror}; make it writable, or name another folder"
        ) from None
    finally:
        connection.close()


def _write(connection: duckdb.DuckDBPyConnection, select: str, path: Path) -> int:
    """The rows that were written."""
    import duckdb

    described = connection.execute(f"DESCRIBE {select}").fetchall()
    ids = [f'CAST("{name}" AS VARCHAR) AS "{name}"' for name, kind, *_ in described if kind == "UUID"]
    rows = f"SELECT * REPLACE ({', '.join(ids)}) FROM ({select})" if ids else select  # noqa: S608
    partial = path.with_name(f"{path.name}.partial")
    copy = f"COPY ({rows}) TO {quoted(str(partial))} (FORMAT parquet, COMPRESSION zstd)"
    try:
        ((written,),) = connection.execute(copy).fetchall()
    except duckdb.IOException as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}; make room, or name another folder") from None
    partial.replace(path)
    return int(written)


def kept(url: str | os.PathLike[str]) -> Kept | None:
    """What facts are kept of the store for questions; None where none are. Raises what `connect` raises."""
    return _snapshot(url, content=False).kept()


def _snapshot(url: str | os.PathLike[str], *, content: bool) -> Snapshot:
    """Raises UsageError where a library is missing, and what `Store.open` raises."""
    with Store.open(url, readonly=True) as store:
        shown = store.url
    for name in _NEEDED[shown.partition(":")[0]]:
        if importlib.util.find_spec(name) is None:
            extra = "[postgres]" if name == "adbc_driver_postgresql" else ""
            raise UsageError(
                f"questions in DuckDB need {name.replace('_', '-')}; run `pip install 'run-recorder{extra}'`"
            )
    return Snapshot(url=os.fspath(url), shown=shown, content=content)
