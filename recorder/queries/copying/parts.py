"""The parts in which what is kept lies: DuckDB files that are never changed, and the manifest that names them.

A group of tables (the facts; the events) has a part `base` and a `delta`: rows that came later, and which of the base's
they replace. It knows files and how rows are put together; it refuses to know what is in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

    from .source import Source

__all__ = [
    "MANY",
    "Anew",
    "Following",
    "Manifest",
    "Work",
    "listed",
    "manifest_in",
    "quoted",
    "sweep",
    "union",
    "visible",
]

Manifest = dict[str, Any]

#: Where so large a share of the rows has changed, copying all is faster.
MANY: Final = 0.3


#: Of a delta's file: a tenth as many bytes are written for some rows (DuckDB's own blocks have 256 KiB).
_SMALL: Final = " (BLOCK_SIZE 16384)"


class Anew(Exception):
    """Following would cost more than copying."""


# -- which parts count -------------------------------------------------------------------------------------------------


def manifest_in(folder: Path, version: str, identity: str) -> Manifest | None:
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


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove the parts that do not count: replaced ones, and those that somebody who was killed left."""
    groups = [group for group in (manifest["facts"], manifest["events"]) if group is not None]
    counting = {part["file"] for group in groups for part in _parts(group)}
    for path in folder.glob("*.duckdb*"):
        if path.name not in counting:
            with suppress(OSError):
                path.unlink()


# -- what parts are made in --------------------------------------------------------------------------------------------


class Work:
    """A connection in whose temporary tables changes are gathered, and to which parts are attached: `base`, `old` (the
    delta there was) and `new`. `erased` and `sums` are the store's now: how often something was erased, and the sums
    over the stamps."""

    def __init__(self, job: Mapping[str, Any], source: Source, connection: duckdb.DuckDBPyConnection) -> None:
        self.job = job
        self.source = source
        self.connection = connection
        self._folder = Path(job["folder"])
        self._made: dict[str, Path] = {}
        connection.execute("SET TimeZone = 'UTC'")
        ((self.identity, self.erased, *sums),) = source.rows(connection, job["watched"]["now"])
        self.sums: list[int] = sums

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

    def temporary(self, name: str, table: Mapping[str, str], narrowed: str = "") -> None:
        """What the store's database gives, as a temporary table."""
        self.source.into(self.connection, f'CREATE OR REPLACE TEMP TABLE "{name}" AS', table, narrowed)

    def tried(self, follow: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What following gives; None where a part turned out to be damaged, or copying all is better."""
        import duckdb

        try:
            return follow()
        except (duckdb.Error, Anew):
            with suppress(duckdb.Error):
                self.run("ROLLBACK")
            self.run("USE memory.main")
            attached = {name for (name,) in self.all("SELECT database_name FROM duckdb_databases()")}
            self.run(*(f"DETACH {name}" for name in ("base", "old", "new", "delta") if name in attached))
            # the facts that runs were made of again
            self.run(*(f'DROP TABLE IF EXISTS temp."{table["name"]}"' for table in self.job["tables"]))
            return None

    @contextmanager
    def attached(self, group: Mapping[str, Any]) -> Iterator[None]:
        """Have the group's parts attached."""
        parts = {name: part for name, part in (("base", group["base"]), ("old", group["delta"])) if part is not None}
        for name, part in parts.items():
            self.run(f"ATTACH {quoted(str(self._folder / part['file']))} AS {name} (READ_ONLY)")
        yield
        self.run(*(f"DETACH {name}" for name in parts))

    def begin(self, group: str, *, delta: bool = False) -> None:
        """Begin a new part, in a transaction."""
        self.attach(group, "new", delta=delta)
        self.run("BEGIN", "CREATE SCHEMA new.part")

    def attach(self, group: str, name: str, *, delta: bool) -> None:
        """Attach a new file as `name`."""
        self._made[name] = self._folder / f"{group}-{os.urandom(16).hex()}.duckdb"
        self.run(f"ATTACH {quoted(str(self._made[name]))} AS {name}" + (_SMALL if delta else ""))

    def finish(self, **said: Any) -> dict[str, Any]:
        """End the transaction, and make the part's file whole; what the manifest says of it."""
        self.run("COMMIT", "CHECKPOINT new")
        return self.finished("new", **said)

    def finished(self, name: str, **said: Any) -> dict[str, Any]:
        """Let go of an attached file; what the manifest says of it."""
        self.run(f"DETACH {name}")
        file = self._made.pop(name)
        status = file.stat()
        return {"file": file.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns, **said}

    def columns(self, table: str) -> list[tuple[str, str]]:
        """A table's columns: their names and types."""
        return [(name, kind) for name, kind, *_ in self.all(f"DESCRIBE {table}")]


class Following:
    """How a new part is made of base, delta and changes; `merging` makes it a base, else a delta.

    First the changes are put into its tables; then, by `keep`, what was there and still counts.
    """

    def __init__(self, work: Work, group: Mapping[str, Any], *, merging: bool) -> None:
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
        columns = listed(self._group["columns"][name])
        gone = f'"{key}" IN (SELECT "{key}" FROM {touched})'  # noqa: S608
        left = f" WHERE NOT {gone}" if known else ""
        delta = self._group["delta"]
        into = f'INSERT INTO new.part."{name}" ({columns}) SELECT {columns} FROM'
        if self._merging:
            self._work.run(f"{into} ({visible(self._group, name)}){left}")
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


def listed(columns: Iterable[Sequence[str]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in columns)


def visible(group: Mapping[str, Any], name: str, base: str = "base.", over: str = "old.") -> str:
    """The rows of a table that count: the delta's, in the catalog `over`, and those of the base's that it leaves."""
    columns, delta = listed(group["columns"][name]), group["delta"]
    if delta is None:
        return f'SELECT {columns} FROM {base}part."{name}"'  # noqa: S608
    return union(columns, name, base, over, dead=delta["dead"][name] > 0)


def union(columns: str, name: str, base: str, over: str, *, dead: bool) -> str:
    left = f" WHERE rowid NOT IN (SELECT \"row\" FROM {over}part.dead WHERE name = '{name}')" if dead else ""  # noqa: S608
    return (
        f'SELECT {columns} FROM {base}part."{name}"{left} '  # noqa: S608
        f'UNION ALL SELECT {columns} FROM {over}part."{name}"'
    )


def quoted(value: str) -> str:
    """SQL's literal of a text."""
    return "'" + value.replace("'", "''") + "'"
