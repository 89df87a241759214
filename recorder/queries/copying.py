"""The program that copies a store into DuckDB files and lets them follow it: `python copying.py < job.json`.

Why a process: it opens a SQLite file through another library than Python's. Two in one process do not know of each
other's locks, and the first to close its descriptor drops those of both ("How To Corrupt An SQLite Database File",
section 2.2, of SQLite's manual). This process holds the file through one library, and ends.

The rows go from the ADBC driver's Arrow stream straight into DuckDB, in one read-only transaction: one moment.
It knows databases, statements and files; it refuses to know stores, and imports nothing of recorder, so that it starts
fast.

In its folder lie parts, DuckDB files that are never changed, and manifest.json, which names those that count. A group
of tables (the facts; the events) has a part `base` and a `delta`: rows that came later, and which of the base's they
replace. A delta is made anew each time; when it has grown, base and delta become one base. The manifest is renamed into
place, and what it does not name is removed: whenever the process is killed, the old parts still count.

The job, as JSON on stdin (see `recorder.queries.snapshot`, which writes it); the answer, as JSON on stdout: `error`
says what went wrong, or is null; then `manifest` is what the folder now holds, `did` is "made", "followed" or
"nothing", and `seconds` is the time it took, without the start.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_manager import AdbcConnection, AdbcDatabase

__all__ = ["event_rows", "refresh"]

Manifest = dict[str, Any]

#: Rows in one batch of Arrow's. SQLite's driver takes 1,024 unless it is told more.
_BATCH_ROWS: Final = "16384"
#: Ids in one statement: SQLite takes a million characters.
_IDS: Final = 5000
#: Days in which something unexpected changed that are looked at one by one; where there are more, all is copied anew.
_DAYS: Final = 100
#: Microseconds before the newest change that is known, from which on changes are looked for: writers' clocks differ.
#: One that comes later still is found by its day's sum.
_OVERLAP: Final = 5_000_000
#: Where so large a share of the rows has changed, copying all is faster.
_MANY: Final = 0.3


class _SourceError(Exception):
    """The store's database said no, whatever DuckDB said about it."""


class _Anew(Exception):
    """Following would cost more than copying."""


# -- the store's database ----------------------------------------------------------------------------------------------


class _Source:
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
                raise _SourceError(_one_line(error)) from error

    def of(self, target: duckdb.DuckDBPyConnection, into: str, table: Mapping[str, str], ids: Sequence[str]) -> None:
        """CREATE `into` (TABLE …) with the rows of these recordings."""
        name = into.rpartition(" ")[2]
        for start in range(0, max(len(ids), 1), _IDS):
            some = ", ".join(self._literal.format(each) for each in ids[start : start + _IDS])
            verb = f"INSERT INTO {name}" if start else f"CREATE {into} AS"
            self.into(target, verb, table, f" WHERE recording_id IN ({some})" if ids else " WHERE 1 = 0")


@contextmanager
def _opened(job: Mapping[str, Any]) -> Iterator[_Source]:
    from adbc_driver_manager import AdbcConnection

    with _database(job["driver"], job["uri"]) as database, AdbcConnection(database) as connection:
        yield _Source(job, connection)
        connection.rollback()


def _database(driver: str, uri: str) -> AdbcDatabase:
    if driver == "sqlite":
        import adbc_driver_sqlite as library
    else:
        import adbc_driver_postgresql as library  # type: ignore[no-redef]
    database: AdbcDatabase = library.connect(uri)
    return database


# -- the whole ---------------------------------------------------------------------------------------------------------


def refresh(job: Mapping[str, Any], connection: duckdb.DuckDBPyConnection) -> tuple[Manifest, str]:
    """Do the job: what the folder holds now, and what was done. Raises what the two databases raise."""
    folder = Path(job["folder"])
    with _opened(job) as source:
        work = _Work(job, source, connection)
        identity, erased = work.row(job["watched"]["now"])
        work.temporary("days", job["watched"]["days"])
        # By these a snapshot is found to be as the store is.
        moment = {"erased": erased, "days": [[*day] for day in work.all("SELECT * FROM days ORDER BY day")]}
        known = _known(folder, job["version"], identity)
        before = None if known is None else known["facts"]
        facts = None if before is None else work.tried(lambda: _follow_facts(work, before, erased))
        did = "made"
        if before is not None and facts is not None:
            did = "nothing" if facts["delta"] == before["delta"] else "followed"
        facts = {**(facts or _make_facts(work)), **moment}
        events = None if known is None else known["events"]
        if job["events"] is not None:
            had = events
            events = None if had is None else work.tried(lambda: _follow_events(work, had, erased))
            events = {**(events or _make_events(work)), **moment}
            if did == "nothing" and (had is None or had["delta"] != events["delta"]):
                did = "followed"
    manifest = {"version": job["version"], "identity": identity, "facts": facts, "events": events}
    if manifest != known:
        partial = folder / "manifest.json.new"
        partial.write_text(json.dumps(manifest), encoding="utf-8")
        partial.replace(folder / "manifest.json")
    _sweep(folder, manifest)
    return manifest, did


def _known(folder: Path, version: str, identity: str) -> Manifest | None:
    """The manifest, if it is of this version and store, and its parts are as they were made."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if (manifest["version"], manifest["identity"]) != (version, identity):
            return None
        if manifest["events"] is not None and not _as_made(folder, manifest["events"]):
            manifest["events"] = None
        if not _as_made(folder, manifest["facts"]):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(manifest)


def _as_made(folder: Path, group: Mapping[str, Any]) -> bool:
    def told(part: Mapping[str, Any]) -> tuple[int, int]:
        status = (folder / part["file"]).stat()
        return status.st_size, status.st_mtime_ns

    try:
        return all(told(part) == (part["size"], part["mtime_ns"]) for part in _parts(group))
    except OSError:
        return False


def _parts(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for part in (group["base"], group["delta"]) if part is not None]


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove the parts that do not count: replaced ones, and those that somebody who was killed left."""
    groups = [group for group in (manifest["facts"], manifest["events"]) if group is not None]
    counting = {part["file"] for group in groups for part in _parts(group)}
    for path in folder.glob("*.duckdb*"):
        if path.name not in counting:
            with suppress(OSError):
                path.unlink()


# -- parts -------------------------------------------------------------------------------------------------------------


class _Work:
    """A connection in whose temporary tables changes are gathered, and to which parts are attached: `base`, `old` (the
    delta there was) and `new`."""

    def __init__(self, job: Mapping[str, Any], source: _Source, connection: duckdb.DuckDBPyConnection) -> None:
        self.job = job
        self.source = source
        self.connection = connection
        self._folder = Path(job["folder"])
        connection.execute("SET TimeZone = 'UTC'")

    def run(self, *statements: str) -> None:
        """Run these in DuckDB."""
        for statement in statements:
            self.connection.execute(statement)

    def all(self, select: str) -> list[tuple[Any, ...]]:
        """The rows."""
        return self.connection.execute(select).fetchall()

    def value(self, select: str) -> Any:
        """The one value that the select gives."""
        ((value,),) = self.all(select)  # a result that is not read to its end blocks the connection
        return value

    def ids(self, select: str) -> list[str]:
        """Ids as 32 hexadecimal digits."""
        return [each.hex for (each,) in self.all(select)]

    def row(self, table: Mapping[str, str]) -> tuple[Any, ...]:
        """The one row that the store's database gives."""
        self.temporary("one", table)
        (row,) = self.all("SELECT * FROM one")
        return row

    def temporary(self, name: str, table: Mapping[str, str], narrowed: str = "") -> None:
        """What the store's database gives, as a temporary table."""
        self.source.into(self.connection, f'CREATE OR REPLACE TEMP TABLE "{name}" AS', table, narrowed)

    def tried(self, follow: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What following gives; None where a part turned out to be damaged, or copying all is better."""
        import duckdb

        try:
            return follow()
        except (duckdb.Error, _Anew):
            with suppress(duckdb.Error):
                self.run("ROLLBACK")
            attached = {name for (name,) in self.all("SELECT database_name FROM duckdb_databases()")}
            self.run(*(f"DETACH {name}" for name in ("base", "old", "new", "delta") if name in attached))
            for (name,) in self.all("SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"):
                self.run(f'DROP VIEW temp."{name}"')
            return None

    @contextmanager
    def attached(self, group: Mapping[str, Any]) -> Iterator[None]:
        """Have the group's parts attached."""
        parts = {name: part for name, part in (("base", group["base"]), ("old", group["delta"])) if part is not None}
        for name, part in parts.items():
            self.run(f"ATTACH {_text(str(self._folder / part['file']))} AS {name} (READ_ONLY)")
        yield
        self.run(*(f"DETACH {name}" for name in parts))

    def begin(self, group: str) -> None:
        """Begin a new part, in a transaction."""
        self.run(f"ATTACH {_text(str(self.path(group)))} AS new", "BEGIN", "CREATE SCHEMA new.part")

    def path(self, group: str) -> Path:
        """Where a new part may be."""
        return self._folder / f"{group}-{uuid.uuid4().hex}.duckdb"

    def finish(self, **said: Any) -> dict[str, Any]:
        """End the transaction, and make the part's file whole; what the manifest says of it."""
        self.run("COMMIT", "CHECKPOINT new")
        return self.finished("new", **said)

    def finished(self, name: str, **said: Any) -> dict[str, Any]:
        """Let go of an attached file; what the manifest says of it."""
        ((file,),) = self.all(f"SELECT path FROM duckdb_databases() WHERE database_name = '{name}'")  # noqa: S608
        self.run(f"DETACH {name}")
        status = Path(file).stat()
        return {"file": Path(file).name, "size": status.st_size, "mtime_ns": status.st_mtime_ns, **said}

    def columns(self, table: str) -> list[tuple[str, str]]:
        """A table's columns: their names and types."""
        return [(name, kind) for name, kind, *_ in self.all(f"DESCRIBE {table}")]


class _Following:
    """How a new part is made of base, delta and changes; `merging` makes it a base, else a delta.

    First the changes are put into its tables; then, by `keep`, what was there and still counts.
    """

    def __init__(self, work: _Work, group: Mapping[str, Any], *, merging: bool) -> None:
        self._work = work
        self._group = group
        self._merging = merging
        #: How many of the base's rows are not what they were.
        self.dead: dict[str, int] = {}
        if not merging:
            work.run('CREATE TABLE new.part.dead (name VARCHAR, "row" BIGINT)')

    def keep(self, name: str, key: str, touched: str, *, known: bool) -> None:
        """Add to the table what there was, without the keys in the table `touched`.

        `known` says whether there may have been such keys.
        """
        columns = _listed(self._group["columns"][name])
        gone = f'"{key}" IN (SELECT "{key}" FROM {touched})'  # noqa: S608
        left = f" WHERE NOT {gone}" if known else ""
        delta = self._group["delta"]
        into = f'INSERT INTO new.part."{name}" ({columns}) SELECT {columns} FROM'
        if self._merging:
            self._work.run(f"{into} ({_visible(self._group, name)}){left}")
            return
        if delta is not None and delta["rows"]:
            self._work.run(f'{into} old.part."{name}"{left}')
        self.dead[name] = delta["dead"][name] if delta is not None else 0
        if known:
            rows = f"SELECT '{name}', rowid FROM base.part.\"{name}\" WHERE {gone}"  # noqa: S608
            before = f"SELECT \"row\" FROM old.part.dead WHERE name = '{name}'" if self.dead[name] else ""  # noqa: S608
            self._work.run(f"INSERT INTO new.part.dead {rows}" + (f" AND rowid NOT IN ({before})" if before else ""))
            self.dead[name] += self._work.value(f"SELECT count(*) FROM new.part.dead WHERE name = '{name}'")  # noqa: S608
        if delta is not None and delta["dead"][name]:
            self._work.run(f"INSERT INTO new.part.dead SELECT * FROM old.part.dead WHERE name = '{name}'")  # noqa: S608


def _listed(columns: Iterable[Sequence[str]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in columns)


def _visible(group: Mapping[str, Any], name: str, base: str = "base.", over: str = "old.") -> str:
    """The rows of a table that count: the delta's, in the catalog `over`, and those of the base's that it leaves."""
    columns, delta = _listed(group["columns"][name]), group["delta"]
    if delta is None:
        return f'SELECT {columns} FROM {base}part."{name}"'  # noqa: S608
    return _union(columns, name, base, over, dead=delta["dead"][name] > 0)


def _union(columns: str, name: str, base: str, over: str, *, dead: bool) -> str:
    left = f" WHERE rowid NOT IN (SELECT \"row\" FROM {over}part.dead WHERE name = '{name}')" if dead else ""  # noqa: S608
    return (
        f'SELECT {columns} FROM {base}part."{name}"{left} '  # noqa: S608
        f'UNION ALL SELECT {columns} FROM {over}part."{name}"'
    )


# -- the facts ---------------------------------------------------------------------------------------------------------


def _show(work: _Work, name: str, table: str) -> None:
    """Let derived tables that are made later find this one by its name."""
    work.run(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {table}')  # noqa: S608


def _hide(work: _Work) -> None:
    for table in (*work.job["tables"], *work.job["derived"]):
        work.run(f'DROP VIEW temp."{table["name"]}"')


def _complete(work: _Work, group: Mapping[str, Any], **said: Any) -> dict[str, Any]:
    """Finish a base: the views that show the facts to all, over its tables and those of `delta`, and an empty delta."""
    work.run("COMMIT", f"ATTACH {_text(str(work.path('facts')))} AS delta", "BEGIN", "CREATE SCHEMA delta.part")
    for name in group["columns"]:
        work.run(f'CREATE TABLE delta.part."{name}" AS SELECT * FROM new.part."{name}" LIMIT 0')  # noqa: S608
    work.run('CREATE TABLE delta.part.dead (name VARCHAR, "row" BIGINT)', "COMMIT", "CHECKPOINT delta")
    work.run("BEGIN", "USE new.main")  # names in views are relative: the file will have another name
    for table in (*work.job["tables"], *work.job["derived"]):
        columns = _listed(group["columns"][table["name"]])
        work.run(f'CREATE VIEW "{table["name"]}" AS {_union(columns, table["name"], "", "delta.", dead=True)}')
    work.run(*work.job["views"], "USE memory.main")
    base = work.finish(**said)
    delta = work.finished("delta", rows=0, dead=dict.fromkeys(group["columns"], 0))
    return {**group, "base": base, "delta": delta}


def _make_facts(work: _Work) -> dict[str, Any]:
    """All facts, copied."""
    job = work.job
    work.begin("facts")
    for table in job["tables"]:
        work.source.into(work.connection, f'CREATE TABLE new.part."{table["name"]}" AS', table)
    for name in ("stamps", "erased"):
        work.source.into(work.connection, f"CREATE TABLE new.part.{name} AS", job["watched"][name])
    for table in job["tables"]:
        _show(work, table["name"], f'new.part."{table["name"]}"')
    for table in job["derived"]:
        into = f'new.part."{table["name"]}"'
        work.run(f"CREATE TABLE {into} AS {table['select']}")
        _show(work, table["name"], into)
    _hide(work)
    names = [*(table["name"] for table in (*job["tables"], *job["derived"])), "stamps"]
    columns = {name: work.columns(f'new.part."{name}"') for name in names}
    wide = {name: [column for column, kind in pairs if kind == "HUGEINT"] for name, pairs in columns.items()}
    # Sums of whole numbers; but Parquet, and most readers, do not have so large ones.
    work.run(
        *(
            f'ALTER TABLE new.part."{name}" ALTER "{column}" TYPE BIGINT'
            for name, each in wide.items()
            for column in each
        )
    )
    work.run("CREATE OR REPLACE TEMP TABLE stamps_now AS SELECT recording_id, stamp FROM new.part.stamps")
    rows = work.value("SELECT count(*) FROM stamps_now")
    return _complete(work, {"columns": columns, "wide": wide}, rows=rows)


def _follow_facts(work: _Work, before: dict[str, Any], erased: int) -> dict[str, Any]:
    """The facts as they are now, of what they were before. Raises _Anew, and duckdb.Error where a part is damaged."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        work.run(f"CREATE OR REPLACE TEMP TABLE ours AS {_visible(before, 'stamps')}")
        _find_changes(work)
        rewriting = erased != before["erased"] and _find_erased(work, _NOW)
        touched = work.value("SELECT count(*) FROM touched")
        if job["events"] is not None:
            work.run(_STAMPS_NOW)
        if not touched:
            return before
        ids = work.ids("SELECT recording_id FROM changed")
        if len(ids) > max(job["few"], _MANY * work.value("SELECT count(*) FROM ours")):
            raise _Anew
        merging = rewriting or delta["rows"] + touched > max(job["few"], before["base"]["rows"] // 20)
        work.begin("facts")
        following = _Following(work, before, merging=merging)
        for table in job["tables"]:
            work.source.of(work.connection, f'TABLE new.part."{table["name"]}"', table, ids)
        work.run("CREATE TABLE new.part.stamps AS SELECT * FROM changed")
        known = bool(work.value("SELECT count(*) FROM touched SEMI JOIN ours USING (recording_id)"))
        known_runs = _find_affected(work, before)
        for table in job["derived"]:
            name = table["name"]
            narrow = ", ".join(f'CAST("{column}" AS BIGINT) AS "{column}"' for column in before["wide"][name])
            all_columns = f"* REPLACE ({narrow})" if narrow else "*"
            select = f"SELECT {all_columns} FROM ({table['select']}) WHERE run_id IN (SELECT run_id FROM affected)"  # noqa: S608
            work.run(f'CREATE TABLE new.part."{name}" AS {select}')
            _show(work, name, f'new.part."{name}"')
        _hide(work)
        for name in (*(table["name"] for table in job["tables"]), "stamps"):
            following.keep(name, "recording_id", "touched", known=known)
        for table in job["derived"]:
            following.keep(table["name"], "run_id", "affected", known=known_runs)
        rows = work.value("SELECT count(*) FROM new.part.stamps")
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
            return _complete(work, before, rows=rows)
        return {**before, "delta": work.finish(rows=rows, dead=following.dead)}


#: Those that have another stamp than what is held, or none there.
_OTHERWISE: Final = (
    "SELECT * FROM {0} ANTI JOIN ours ON {0}.recording_id = ours.recording_id AND {0}.stamp = ours.stamp"
)
#: The stamps as they are now.
_NOW: Final = """
    SELECT * FROM theirs UNION ALL
    SELECT * FROM ours ANTI JOIN theirs USING (recording_id) ANTI JOIN gone USING (recording_id)
"""
_STAMPS_NOW: Final = f"CREATE OR REPLACE TEMP TABLE stamps_now AS SELECT recording_id, stamp FROM ({_NOW})"  # noqa: S608


def _find_changes(work: _Work) -> None:
    """Make the tables `changed` (recording_id, day, stamp) and `touched` (the same ids, and those that are gone).

    What has changed lately is asked for; then the sums of each day tell whether that was all.
    """
    watched = work.job["watched"]
    newest = work.value("SELECT coalesce(max(stamp), 0) FROM ours")
    work.temporary("theirs", watched["stamps"], watched["since"].format(newest - _OVERLAP))
    work.run("CREATE OR REPLACE TEMP TABLE gone (recording_id UUID)")
    different = f"""
        WITH now AS (
            SELECT day, stamp FROM ours ANTI JOIN theirs USING (recording_id) UNION ALL SELECT day, stamp FROM theirs
        ), sums AS (
            SELECT day, count(*) AS recordings, sum(stamp % {watched["modulus"]}) AS stamps FROM now GROUP BY day
        )
        SELECT day FROM sums FULL JOIN days USING (day)
        WHERE sums.recordings IS DISTINCT FROM days.recordings OR sums.stamps IS DISTINCT FROM days.stamps ORDER BY day
    """  # noqa: S608
    wrong = [day for (day,) in work.all(different)]
    if len(wrong) > _DAYS:
        raise _Anew
    for day in wrong:
        work.temporary("found", watched["stamps"], watched["on"].format(day))
        lost = f"SELECT recording_id FROM ours ANTI JOIN found USING (recording_id) WHERE day = {int(day)}"  # noqa: S608
        work.run(
            f"INSERT INTO gone {lost}", "INSERT INTO theirs SELECT * FROM found ANTI JOIN theirs USING (recording_id)"
        )
    if wrong:  # one whose day changed was gone from one and found on another
        work.run("DELETE FROM gone WHERE recording_id IN (SELECT recording_id FROM theirs)")
    work.run(
        f"CREATE OR REPLACE TEMP TABLE changed AS {_OTHERWISE.format('theirs')}",
        "CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed UNION SELECT recording_id FROM gone",
    )


def _find_erased(work: _Work, known: str) -> bool:
    """Have recordings that were erased fetched again, if they are among the `known`, or removed; whether there are any.

    `known` selects what `changed` has.
    """
    work.temporary("erased", work.job["watched"]["erased"])
    work.run(
        "CREATE OR REPLACE TEMP TABLE erased_now AS "
        "SELECT DISTINCT recording_id FROM erased ANTI JOIN base.part.erased USING (recording_id)",
        f"INSERT INTO changed SELECT * FROM ({known}) "  # noqa: S608
        "SEMI JOIN erased_now USING (recording_id) ANTI JOIN changed USING (recording_id)",
        "INSERT INTO touched SELECT recording_id FROM erased_now ANTI JOIN touched USING (recording_id)",
    )
    return bool(work.value("SELECT count(*) FROM erased_now"))


def _find_affected(work: _Work, before: Mapping[str, Any]) -> bool:
    """Make the table `affected` of the runs that are not what they were, and views of the facts they are made of.

    Whether there may have been anything of these runs before.
    """
    ids = f"SELECT recording_id, run_id FROM ({_visible(before, 'readings')})"  # noqa: S608
    work.run(
        f"""
        CREATE TEMP TABLE affected AS
        SELECT recording_id AS run_id FROM touched
        UNION SELECT run_id FROM new.part.readings
        UNION SELECT run_id FROM ({ids}) SEMI JOIN touched USING (recording_id)
        """,  # noqa: S608
        f"""
        CREATE TEMP TABLE members AS
        SELECT recording_id FROM ({ids})
        WHERE run_id IN (SELECT run_id FROM affected) OR recording_id IN (SELECT run_id FROM affected)
        """,  # noqa: S608
    )
    known = bool(work.value("SELECT count(*) FROM members"))
    for name in [table["name"] for table in work.job["tables"]]:
        if not known:
            _show(work, name, f'new.part."{name}"')
            continue
        work.run(f"""
            CREATE TEMP TABLE "kin_{name}" AS
            SELECT * FROM ({_visible(before, name)}) WHERE recording_id IN (
                SELECT recording_id FROM members EXCEPT SELECT recording_id FROM touched
            )
            UNION ALL SELECT * FROM new.part."{name}"
        """)  # noqa: S608
        _show(work, name, f'"kin_{name}"')
    return known


# -- the events --------------------------------------------------------------------------------------------------------

#: Of which recordings events are held, and as of when; of those that go on nobody knows as of when.
_HELD: Final = """
    SELECT recording_id, CASE WHEN recording_id IN (SELECT recording_id FROM open) THEN NULL ELSE stamp END AS stamp
    FROM stamps_now
"""


def event_rows(group: Mapping[str, Any]) -> str:
    """The select that gives the events, where their parts are attached as `events_base` and `events_delta`."""
    return _visible(group, "events", "events_base.", "events_delta.")


def _make_events(work: _Work) -> dict[str, Any]:
    """All events, copied."""
    work.begin("events")
    work.source.into(work.connection, "CREATE TABLE new.part.events AS", work.job["events"])
    work.source.into(work.connection, "CREATE TABLE new.part.erased AS", work.job["watched"]["erased"])
    work.temporary("open", work.job["watched"]["open"])
    work.run(f"CREATE TABLE new.part.held AS {_HELD}")
    columns = {name: work.columns(f"new.part.{name}") for name in ("events", "held")}
    rows = work.value("SELECT count(*) FROM new.part.events")
    return {"base": work.finish(rows=rows), "delta": None, "columns": columns}


def _follow_events(work: _Work, before: dict[str, Any], erased: int) -> dict[str, Any]:
    """The events as they are now: those of recordings that have changed since, or go on, are fetched again."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        work.temporary("open", job["watched"]["open"])
        work.run(
            f"CREATE OR REPLACE TEMP TABLE wanted AS {_HELD}",
            f"CREATE OR REPLACE TEMP TABLE ours AS {_visible(before, 'held')}",
            f"CREATE OR REPLACE TEMP TABLE changed AS {_OTHERWISE.format('wanted')}",
            "CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed "
            "UNION SELECT recording_id FROM ours ANTI JOIN wanted USING (recording_id)",
        )
        rewriting = erased != before["erased"] and _find_erased(work, "SELECT * FROM wanted")
        if not work.value("SELECT count(*) FROM touched"):
            return before
        ids = work.ids("SELECT recording_id FROM changed")
        if len(ids) > max(job["few"], _MANY * work.value("SELECT count(*) FROM ours")):
            raise _Anew
        work.source.of(work.connection, "TEMP TABLE fresh", job["events"], ids)
        rows = (delta["rows"] if delta else 0) + work.value("SELECT count(*) FROM fresh")
        merging = rewriting or rows > max(job["few"] * 50, before["base"]["rows"] // 20)
        known = bool(work.value("SELECT count(*) FROM touched SEMI JOIN ours USING (recording_id)"))
        work.begin("events")
        following = _Following(work, before, merging=merging)
        work.run("CREATE TABLE new.part.events AS SELECT * FROM fresh")
        work.run("CREATE TABLE new.part.held AS SELECT * FROM changed")
        for name in ("events", "held"):
            following.keep(name, "recording_id", "touched", known=known)
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
        made = work.finish(rows=work.value("SELECT count(*) FROM new.part.events"), dead=following.dead)
    return {**before, "base": made, "delta": None} if merging else {**before, "delta": made}


# -- small things ------------------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _main() -> int:
    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    os.umask(0o077)
    try:
        import duckdb

        connection = duckdb.connect(":memory:", config=job["settings"])
        begun = time.monotonic()
        manifest, did = refresh(job, connection)
        answer = {"error": None, "manifest": manifest, "did": did, "seconds": time.monotonic() - begun}
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (whatever it is, the process that waits must be told)
        answer = {"error": str(error) if isinstance(error, _SourceError) else _one_line(error)}
    print(json.dumps(answer), flush=True)  # noqa: T201
    return 0 if answer["error"] is None else 1


if __name__ == "__main__":
    code = _main()
    # Nothing is left to be put in order, and DuckDB takes its time for that.
    os._exit(code)
