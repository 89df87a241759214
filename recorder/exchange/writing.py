"""Recording files and stores: written whole and put in place at once, left alone where nothing new was recorded."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from ..errors import Conflict, NotFound, UsageError
from ..recording import Recording
from ..store import Append, Store
from . import cleaning, keeping
from .lines import Entry, header_line, recording_lines
from .otlp import Part, Traced
from .reading import Parsed, parsed, read, read_head

__all__ = ["Written", "entries", "import_", "lines_of", "load", "put", "put_in_place", "traced", "write"]

#: Bytes of a file that is taken in one go; a larger one is looked through first, and then read again.
_AT_ONCE: Final = 64 << 20
#: Rows of such a file that go into a store in one transaction.
_ROWS: Final = 50_000


class Written(NamedTuple):
    """What `write` did. `changed`: the file is another than before; `kept`: recordings whose lines stayed."""

    changed: bool
    recordings: int
    kept: int


# -- out ---------------------------------------------------------------------------------------------------------------


def entries(store: Store, recording_ids: Iterable[UUID]) -> Iterator[Entry]:
    """These recordings of a store with all their events.

    Raises NotFound, and StoreUnavailable for a user who sees facts alone: without content it is no recording.
    """
    store.require_content()
    for recording_id in recording_ids:
        yield Entry(store.recording(recording_id), list(store.events(recording_id)))


def traced(store: Store, recording_ids: Iterable[UUID], running: list[UUID]) -> Iterator[Traced]:
    """The runs that these recordings belong to, as `to_otlp` takes them; what has not ended goes into `running`.

    Second records of one exchange are left out. Raises NotFound.
    """
    told: set[UUID] = set()
    for recording_id in recording_ids:
        run = store.run(recording_id)
        if run.run_id in told:
            continue
        told.add(run.run_id)
        readings = {name: stored.reading for name in store.members(run.run_id) if (stored := store.reading(name))}
        parts = [Part(store.recording(name), readings.get(name)) for name in store.members(run.run_id)]
        still = [each.recording.recording_id for each in parts if each.recording.ending is None]
        running += still
        doubles = {name for name, reading in readings.items() if "duplicate" in reading.flags}
        kept = [each for each in parts if each.recording.recording_id not in doubles] or parts
        if not still:
            yield Traced(run, kept, readings.get(store.standing(run.run_id) or run.run_id))


def write(
    path: str | os.PathLike[str], recordings: Iterable[Entry], *, identity: bool = False, keep: bool = True
) -> Written:
    """Write recordings into a file, which is replaced at once or not at all; folders are made.

    `identity` also writes what names and seals them, so that they are the same recordings once they are read again.
    Without it (and with `keep`) a file that is there is rewritten as little as possible: what was recorded again with
    the same answer keeps its lines; see `keeping`.

    Raises UsageError where the file is something else, StoreError where a recording is damaged; OSError.
    """
    target = Path(path)
    if identity or not keep or not target.exists():
        return _replaced(target, None, recordings, identity=identity)
    before = read_head(target)
    if before.newer:
        raise UsageError(f"{target} was written by a later recorder: upgrade this one, or delete the file")
    fresh = list(recordings)
    merged = keeping.merged(list(read(target)), fresh)
    if merged is None:
        return Written(False, len(fresh), len(fresh))
    written = _replaced(target, before.recorded, merged.entries, identity=False)
    return written._replace(kept=merged.kept)


def lines_of(recordings: Iterable[Entry], *, identity: bool, recorded: int | None = None) -> Iterator[bytes]:
    """The lines of a recording file; `recorded` is by default when the first of them began."""
    rest = iter(recordings)
    first = next(rest, None)
    if recorded is None:
        recorded = first.recording.started_at if first else 0
    yield header_line(recorded)
    for entry in chain([first] if first else [], rest):
        yield from recording_lines(entry, recorded, identity=identity)


def _replaced(path: Path, recorded: int | None, recordings: Iterable[Entry], *, identity: bool) -> Written:
    count = 0

    def counted() -> Iterator[Entry]:
        nonlocal count
        for entry in recordings:
            count += 1
            yield entry

    changed = put_in_place(path, lines_of(counted(), identity=identity, recorded=recorded))
    return Written(changed, count, 0 if changed else count)


def put_in_place(path: Path, pieces: Iterable[bytes]) -> bool:
    """Write a file beside its place, then put it there; False where that would change nothing. Folders are made.

    A link goes on leading to what it led to. What is no file (a device, a pipe) is written to and never replaced.
    """
    # Before links are followed: /dev/stdout may lead to a pipe, which has no name.
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            device.writelines(pieces)
        return True
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with made.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            made.chmod(path.stat().st_mode & 0o777)
            if filecmp.cmp(made, path, shallow=False):
                return False
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return True


# -- in ----------------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], store: Store | None = None, *, strict: bool = True) -> Store:
    """The recordings of a file in a store: in this one, or in one of its own, in memory.

    All of the file or nothing (of one above 64 MiB, nothing unless all of it is valid). What the store has already, it
    keeps. Raises UsageError where the file is no recording file or damaged, Conflict where the store has another
    recording of the same id, StoreUnavailable; OSError.
    """
    into = Store.open("sqlite:///:memory:", create=True) if store is None else store
    try:
        import_(into, path, strict=strict)
    except BaseException:
        if store is None:
            into.close()
        raise
    return into


def import_(
    store: Store, path: str | os.PathLike[str], *, strict: bool = True, trusted: frozenset[str] | None = None
) -> list[Recording]:
    """Put the recordings of a file into a store, all or nothing; the recordings, in the file's order.

    Of a file that is too large for one transaction whole recordings are there if the process dies midway; importing it
    again brings the others.
    """
    if Path(path).stat().st_size > _AT_ONCE:
        for recording, _ in parsed(path, strict=strict, trusted=trusted):
            if _kept(store, recording) is None:
                _require_no_other(store, recording)
        found: Iterable[Parsed] = parsed(path, strict=strict, trusted=trusted)
    else:
        found = list(parsed(path, strict=strict, trusted=trusted))
    return put(store, found)


def _require_no_other(store: Store, recording: Recording) -> None:
    """Raises Conflict where the store has another recording of this id."""
    try:
        stored = store.recording(recording.recording_id)
    except NotFound:
        return
    if stored.ending is None or recording.ending is None or stored.ending.seal != recording.ending.seal:
        raise Conflict(
            f"recording {recording.recording_id} is in the store already, as another one; nothing was stored"
        )


def _kept(store: Store, recording: Recording) -> Recording | None:
    """What the store has of a recording of which import withheld something: from before that, or as an earlier import
    left it.

    None where it has nothing, or another one; what was erased there does not come back.
    """
    sealed = cleaning.sealed_as(recording)
    if sealed is None:
        return None
    try:
        stored = store.recording(recording.recording_id)
    except NotFound:
        return None
    if stored.ending is None or stored.ending.seal is None or not stored.request.url:
        return None
    return stored if sealed in (stored.ending.seal.hex(), cleaning.sealed_as(stored)) else None


def put(store: Store, found: Iterable[Parsed]) -> list[Recording]:
    """Put these into a store; the recordings. A list goes in whole or not at all, anything else in several parts.

    What import withheld something of stays, and is given, as the store has it already.
    """
    most = sys.maxsize if isinstance(found, list) else _ROWS
    taken: list[Recording] = []
    batch: list[Append] = []
    count = 0
    for recording, rows in found:
        if (kept := _kept(store, recording)) is not None:
            taken.append(kept)
            continue
        taken.append(recording)
        batch.append(Append(recording.recording_id, recording, rows, recording.ending))
        count += len(rows)
        if count > most:
            store.append(batch)
            batch, count = [], 0
    if batch:
        store.append(batch)
    return taken
