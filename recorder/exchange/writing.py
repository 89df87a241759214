"""Recording files and stores: written whole and put in place at once, left alone where nothing new was recorded."""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from ..errors import UsageError
from ..recording import Recording
from ..store import Append, Store
from . import keeping
from .lines import Entry, header_line, recording_lines
from .reading import Parsed, parsed, read, read_head

__all__ = ["Written", "entries", "import_", "lines_of", "load", "put", "put_in_place", "write"]

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
    """These recordings of a store with all their events. Raises NotFound."""
    for recording_id in recording_ids:
        yield Entry(store.recording(recording_id), list(store.events(recording_id)))


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
    """Write a file beside its place, then put it there; False where that would change nothing. Folders are made."""
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


def import_(store: Store, path: str | os.PathLike[str], *, strict: bool = True) -> list[Recording]:
    """Put the recordings of a file into a store, all or nothing; the recordings, in the file's order."""
    if Path(path).stat().st_size > _AT_ONCE:
        for _ in parsed(path, strict=strict):
            pass
        found: Iterable[Parsed] = parsed(path, strict=strict)
    else:
        found = list(parsed(path, strict=strict))
    return put(store, found)


def put(store: Store, found: Iterable[Parsed]) -> list[Recording]:
    """Put these into a store; the recordings. A list goes in whole or not at all, anything else in several parts."""
    most = sys.maxsize if isinstance(found, list) else _ROWS
    taken: list[Recording] = []
    batch: list[Append] = []
    count = 0
    for recording, rows in found:
        taken.append(recording)
        batch.append(Append(recording.recording_id, recording, rows, recording.ending))
        count += len(rows)
        if count > most:
            store.append(batch)
            batch, count = [], 0
    if batch:
        store.append(batch)
    return taken
