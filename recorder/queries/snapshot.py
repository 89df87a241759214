"""Where the facts of a store lie as DuckDB files, how they are kept up to date, and how they are opened.

The files are immutable parts and a manifest that names them (`copying` makes both), in a folder of the user's own:
`NAME.facts` beside a SQLite store's file NAME, and in the user's cache folder for PostgreSQL. Whoever refreshes holds a
lock there; the copying process inherits it. To open the parts takes no lock: each connection makes itself hard links,
which outlive a part that is replaced, and removes them once DuckDB has opened them. (DuckDB allows SQL to write to the
path of an attached file, though it is attached for reading only; so such a path must lead nowhere.)

Where there can be no such folder, and for content, the facts are copied to a private one that goes with the connection.
It refuses to know what is in the tables.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder.errors import StoreError
from recorder.queries import copying, tables
from recorder.store import locks

if TYPE_CHECKING:
    import duckdb

__all__ = ["Kept", "Snapshot", "locked", "place_of"]

#: Goes up when the parts are made otherwise.
_FORMAT: Final = 4

#: What DuckDB may take before it spills to its private folder: while questions are asked, and while the copy is made
#: (there half of it costs no time).
_MEMORY: Final = "1GiB"
_MEMORY_COPYING: Final = "512MiB"
_THREADS: Final = min(4, os.cpu_count() or 1)

_FEW: Final = 2000
#: Seconds to wait for somebody else who refreshes; then a private copy is made.
_PATIENCE: Final = 10.0

#: Seconds after which links are taken to be nobody's.
_LEFT: Final = 600.0

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

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The facts of one store. `url` is as the user gave it, `shown` without a password.

    They are kept in `folder` (with None where `place_of` says) unless they are to have the `content`. `few` recordings
    at least are kept apart from the others before all are put together again.
    """

    url: str
    shown: str
    content: bool = False
    folder: Path | None = None
    few: int = _FEW

    @property
    def place(self) -> Path:
        """The folder in which the facts are kept."""
        return self.folder or place_of(self.shown)

    @property
    def backend(self) -> str:
        """sqlite or postgresql."""
        return self.shown.partition(":")[0]

    def connection(self, *, events: bool, refresh: bool = True) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection to the facts, not locked yet. Raises StoreError where they cannot be copied."""
        import duckdb

        spare = _Spare()
        try:
            place = None if self.content else _own_folder(self.place)
            if place is not None:
                with suppress(_Busy):
                    # A part that was replaced or touched meanwhile is not found; a damaged one makes DuckDB complain.
                    # A manifest that says nonsense raises the last two.
                    with suppress(FileNotFoundError, duckdb.Error, LookupError, TypeError):
                        return self._kept(place, spare, events=events, refresh=refresh, anew=False)
                    return self._kept(place, spare, events=events, refresh=True, anew=True)
            manifest = self._copy(spare.folder, spare.folder, events=events)["manifest"]
            connection = _open(spare.folder, manifest, spare, events=events)
            with suppress(OSError):  # not every system lets go of the name of an open file
                for path in [*spare.folder.glob("*.duckdb"), *spare.folder.glob("manifest.json")]:
                    path.unlink()
            return connection
        except BaseException:
            spare.remove()
            raise

    def refresh(self, *, events: bool) -> Mapping[str, Any]:
        """Have what is kept follow the store; what was done: `did` ("made", "followed", "nothing"), and in how many
        `seconds`, without the start of the process.

        Raises StoreError where the facts cannot be copied or kept.
        """
        place = _own_folder(self.place)
        if place is None:
            raise StoreError(f"no folder {self.place} can be had; make the folder above it writable")
        with tempfile.TemporaryDirectory(prefix="recorder-") as spill:
            try:
                with _alone(place) as descriptor:
                    return self._copy(place, Path(spill), events=events, lock=descriptor)
            except _Busy:
                raise StoreError(f"{place} is being refreshed by another process; try again") from None

    def kept(self) -> Kept | None:
        """What is kept now; None where nothing is."""
        if not (self.place / "manifest.json").exists():
            return None
        size = sum(each.stat().st_size for each in self.place.rglob("*") if each.is_file())
        manifest = self._manifest(self.place, events=False)
        if manifest is None or self.backend == "sqlite":
            return Kept(self.place, size, manifest is not None and not self._has_changed(manifest, events=False))
        return Kept(self.place, size, None)

    def forget(self) -> list[str]:
        """Remove what is kept; what that was. The next question makes it anew. Raises StoreError."""
        place = self.place
        if not place.is_dir():
            return []
        try:
            with _alone(place):
                gone = [each for each in (*place.glob("*.duckdb*"), *place.glob("manifest.json*")) if each.is_file()]
                for each in gone:
                    each.unlink(missing_ok=True)
                for left in place.glob("open-*"):
                    shutil.rmtree(left, ignore_errors=True)
        except _Busy:
            raise StoreError(f"{place} is being refreshed by another process; try again") from None
        except OSError as error:
            raise StoreError(f"{place} cannot be removed: {error.strerror}; make it writable") from None
        return [str(each) for each in gone]

    def _kept(
        self, place: Path, spare: _Spare, *, events: bool, refresh: bool, anew: bool
    ) -> duckdb.DuckDBPyConnection:
        """The facts as they are kept. Raises _Busy, FileNotFoundError, StoreError, and duckdb.Error."""
        manifest = None if anew else self._manifest(place, events=events)
        if manifest is not None and not (refresh and self._has_changed(manifest, events=events)):
            return _open(place, manifest, spare, events=events)
        with _alone(place) as descriptor:
            _sweep(place)
            if anew:
                (place / "manifest.json").unlink(missing_ok=True)
            manifest = self._copy(place, spare.folder, events=events, lock=descriptor)["manifest"]
            return _open(place, manifest, spare, events=events)

    def _manifest(self, place: Path, *, events: bool) -> Manifest | None:
        """What is kept, as it is; None where it is of no use."""
        try:
            manifest: Manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if (
            not isinstance(manifest, dict)
            or manifest.get("version") != self._job(place, place, events=events)["version"]
        ):
            return None
        return None if events and manifest["events"] is None else manifest

    def _has_changed(self, manifest: Manifest, *, events: bool) -> bool:
        """Whether the store may be otherwise than what is kept of it, by the sums of its stamps.

        Python's own SQLite tells that sooner than a process starts; of PostgreSQL it is not known.
        """
        if self.backend != "sqlite":
            return True
        watched = tables.watched(self.backend, _file_id(self.shown))
        wanted = (watched.now, watched.open)
        try:
            with closing(sqlite3.connect(_file_uri(self.shown), uri=True, isolation_level=None)) as source:
                source.execute("BEGIN")
                # The first column tells a prototype from what is there.
                (now,), going_on = ([row[1:] for row in source.execute(each.there) if not row[0]] for each in wanted)
        except (sqlite3.Error, ValueError):
            return True
        groups = [manifest["facts"], *([manifest["events"]] if events else [])]
        moment = {"erased": now[1], "sums": [*now[2:]]}
        return (
            manifest["identity"] != now[0]
            or any(group[name] != value for group in groups for name, value in moment.items())
            or (events and bool(going_on))
        )

    # -- the copying process -------------------------------------------------------------------------------------------

    def _copy(self, place: Path, spill: Path, *, events: bool, lock: int | None = None) -> dict[str, Any]:
        """Have the folder made, or made to follow the store, by a process of its own; what it says. Raises StoreError.

        It hears of passwords on stdin alone. It holds the lock as long as it lives, whatever becomes of this process.
        """
        inherited = () if lock is None or sys.platform == "win32" else (lock,)
        done = subprocess.run(  # noqa: S603 (our own program)
            [sys.executable, "-P", copying.PROGRAM],
            input=json.dumps(self._job(place, spill, events=events)).encode(),
            capture_output=True,
            env={**_LIBPQ, **os.environ, "PGCLIENTENCODING": "UTF8"},
            pass_fds=inherited,
            check=False,
        )
        try:
            said: dict[str, Any] = json.loads(done.stdout)
            error = said["error"]
        except (ValueError, KeyError, TypeError):
            error = f"the copying process ended with {done.returncode}: {_last_line(done.stderr)}"
        if error is not None:
            raise StoreError(
                f"{self.shown} cannot be copied into DuckDB: {error[:500]}; try again, or see `recorder db check`"
            )
        return said

    def _job(self, place: Path, spill: Path, *, events: bool) -> dict[str, Any]:
        """What `copying` is told to do."""
        import duckdb

        sqlite = self.backend == "sqlite"
        carried = [table._asdict() for table in tables.carried(self.backend, content=self.content)]
        watched = tables.watched(self.backend, _file_id(self.shown) if sqlite else "")
        job: dict[str, Any] = {
            "tables": carried,
            "derived": [table._asdict() for table in tables.derived()],
            "views": tables.views(),
            "watched": {
                name: value._asdict() if isinstance(value, tables.Carried) else value
                for name, value in watched._asdict().items()
            },
        }
        event_table = tables.events(self.backend)._asdict()
        version = json.dumps([_FORMAT, duckdb.__version__, job, event_table], sort_keys=True)
        return {
            **job,
            "events": event_table if events else None,
            "version": hashlib.sha256(version.encode()).hexdigest(),
            "few": self.few,
            "path": sys.path,
            "folder": str(place),
            "driver": self.backend,
            "uri": _file_uri(self.shown) if sqlite else self.url,
            "before": [_BUSY] if sqlite else [],
            "within": [] if sqlite else _ONE_MOMENT,
            "settings": {
                "memory_limit": _MEMORY_COPYING,
                "threads": _THREADS,
                "temp_directory": str(spill / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        }


class Kept(NamedTuple):
    """Where facts are kept, how many bytes they take, and whether they are those of the store now (None: not known)."""

    folder: Path
    size: int
    current: bool | None


class _Busy(Exception):
    """Somebody else refreshes, and takes long."""


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


# -- where -------------------------------------------------------------------------------------------------------------


def place_of(shown: str) -> Path:
    """The folder in which the facts of a store are kept; `shown` is its URL without a password."""
    if shown.startswith("sqlite:"):
        path = _path(shown)
        return path.with_name(f"{path.name}.facts")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    return root / "recorder" / f"{hashlib.sha256(shown.encode()).hexdigest()[:32]}.facts"


def _path(shown: str) -> Path:
    return Path(shown.removeprefix("sqlite:///"))


def _file_id(shown: str) -> str:
    """Text that another file of the same name has otherwise."""
    status = _path(shown).stat()
    return f"{status.st_dev} {status.st_ino}"


def _file_uri(shown: str) -> str:
    """The SQLite file's URI, for reading only."""
    path = _path(shown)
    # Without the right to make a -shm file a WAL cannot be read; where there is no WAL, nothing is in it.
    still = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def _own_folder(place: Path) -> Path | None:
    """The folder, made where it is missing; None where it cannot be had, or where others may write to it."""
    if "?" in str(place):  # DuckDB takes what follows for something else than a name
        return None
    try:
        # pathlib's own parents would be open to all.
        for missing in [*reversed([each for each in place.parents if not each.exists()]), place]:
            missing.mkdir(mode=0o700, exist_ok=True)
        status = place.lstat()
        if not stat.S_ISDIR(status.st_mode) or not os.access(place, os.W_OK | os.X_OK):
            return None
        if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            return None
        ignore = place / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return place


@contextmanager
def _alone(place: Path) -> Iterator[int]:
    """Hold the folder's lock; its descriptor. Raises _Busy."""
    descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not locks.try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise _Busy
            time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)


# -- opening -----------------------------------------------------------------------------------------------------------


class _Spare:
    """A private folder for what DuckDB spills, and for facts that are not kept. It goes with the connection."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="recorder-"))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def goes_with(self, connection: duckdb.DuckDBPyConnection) -> None:
        weakref.finalize(connection, _remove, self.folder, os.getpid())


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:  # a forked child that ends leaves its parent's folder alone
        shutil.rmtree(folder, ignore_errors=True)


def _open(place: Path, manifest: Manifest, spare: _Spare, *, events: bool) -> duckdb.DuckDBPyConnection:
    """The parts that the manifest names, opened for reading only. Raises FileNotFoundError, duckdb.Error."""
    import duckdb

    facts, said = manifest["facts"], manifest["events"]
    parts = {"facts": facts["base"], "delta": facts["delta"]}
    if events:
        parts |= {"events_base": said["base"], "events_delta": said["delta"]}
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": _THREADS,
        "temp_directory": str(spare.folder / "spill"),
        # A name in SQL means a table, never a variable of the Python around it.
        "python_enable_replacements": False,
    }
    with _linked(place, {name: part for name, part in parts.items() if part is not None}) as links:
        connection = duckdb.connect(str(links["facts"]), read_only=True, config=settings)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            for name, link in links.items():
                if name != "facts":
                    connection.execute(f"ATTACH {copying.quoted(str(link))} AS {name} (READ_ONLY)")
            if events:
                connection.execute(f"CREATE TEMP VIEW events AS {copying.event_rows(said)}")
        except BaseException:
            connection.close()
            raise
    spare.goes_with(connection)
    return connection


def _sweep(place: Path) -> None:
    """Remove the links of those who were killed before they could."""
    for left in place.glob("open-*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _linked(place: Path, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Path]]:
    """Hard links to the parts, in a folder that goes. Raises FileNotFoundError where a part is not as it was made."""
    folder = Path(tempfile.mkdtemp(prefix="open-", dir=place))
    links = {}
    try:
        for name, part in parts.items():
            links[name] = folder / f"{name}.duckdb"
            _link(place / part["file"], links[name])
            status = links[name].stat()
            if (status.st_size, status.st_mtime_ns) != (part["size"], part["mtime_ns"]):
                raise FileNotFoundError(f"{part['file']} is not as it was made")
        yield links
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except FileNotFoundError:
        raise
    except OSError:  # not every file system has links
        shutil.copy2(path, link)


def locked(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, from which SQL reaches no file, no network and no setting any more."""
    for lock in _LOCKS:
        connection.execute(f"SET {lock}")
    return connection
