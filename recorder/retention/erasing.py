"""Erasing on request: the content of recordings goes from the store and from what lies beside it, and is looked for.

The order is such that it can be killed at any moment and run again. What was led to goes before what led there, so that
the second call finds by the same names all that is left. Files are tidied each time. Pieces of what goes are kept in
memory alone, to look for them afterwards in every file that belongs to the store.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from recorder import reader
from recorder.errors import NotFound, StoreError
from recorder.recording import Recording, StoredReading
from recorder.retention import searching
from recorder.retention.linking import Reached
from recorder.retention.pruning import PRUNING, bare_reading
from recorder.store import Store, path_of, reaching, surely
from recorder.store.erasing import Member, Wipe
from recorder.store.rows import recording_columns

__all__ = ["Erased", "erase", "files_of", "nothing_left"]

#: Of one recording so many pieces are looked for at most, chosen evenly.
_PER_RECORDING: Final = 200


@dataclass(slots=True)
class Erased:
    """What became of an erasure.

    `done` were erased now, `already` before; `open` (still recorded) and `held` (on legal hold) were left. `removed`
    are files that went. `searched` is how many pieces were looked for in `files` files, `found` those that are still
    there. `missed` says what could not be done.
    """

    done: list[UUID] = field(default_factory=list)
    already: list[UUID] = field(default_factory=list)
    open: list[UUID] = field(default_factory=list)
    held: list[UUID] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rewritten: bool = False
    searched: int = 0
    files: int = 0
    found: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def erase(
    store: Store,
    wanted: Sequence[Reached],
    *,
    by: str,
    reason: str,
    rewrite: bool = False,
    forget: Callable[[], Iterable[str]] = tuple,
    progress: Callable[[Reached], None] = lambda _: None,
) -> Erased:
    """Erase the content of these recordings, everywhere that is in reach.

    `forget` removes the files that are kept of the store's facts elsewhere, and says which. `rewrite` has the store
    written anew, whatever is found. Raises StoreUnavailable; called again, it goes on.
    """
    erased = Erased()
    pieces: set[bytes] = set()
    kin = _kin(store, wanted)
    held = {each.run_id for each in kin.values() if each.held}
    for each in reversed(wanted):
        member = kin.get(each.recording_id)
        if member is None:
            erased.missed.append(f"recording {each.recording_id} is not there any more, or nothing was read of it")
        elif member.run_id in held:
            erased.held.append(each.recording_id)
        elif member.open:
            erased.open.append(each.recording_id)
        elif nothing_left(store, member):
            erased.already.append(each.recording_id)
        else:
            pieces.update(_pieces(store, member))
            reading = _bare(store, each.recording_id)
            if store.wipe([Wipe(each.recording_id, reading, labels=True)], by, reason):
                erased.done.append(each.recording_id)
            else:
                erased.missed.append(f"recording {each.recording_id} was put on hold, or went, meanwhile; run it again")
            progress(each)
    kept = {*erased.open, *erased.held}
    _tidy(
        store, erased, [each.recording_id for each in wanted if each.recording_id not in kept], forget, rewrite=rewrite
    )
    _look(store, erased, pieces)
    return erased


def _kin(store: Store, wanted: Sequence[Reached]) -> dict[UUID, Member]:
    run_ids: set[UUID] = set()
    for each in wanted:
        with suppress(NotFound):
            run_ids.add(store.run_of(each.recording_id))
    return {member.recording_id: member for member in store.kin(sorted(run_ids))}


def nothing_left(store: Store, member: Member) -> bool:
    """Whether the recording was erased before, to the last text."""
    if not member.erased or member.tagged or store.recording(member.recording_id).request.url:
        return False
    stored = store.reading(member.recording_id)
    return stored is None or reader.without_texts(stored.reading) == stored.reading


def _bare(store: Store, recording_id: UUID) -> StoredReading | None:
    stored = bare_reading(store, recording_id)
    return None if stored is None else replace(stored, reading=reader.without_texts(stored.reading))


# -- what is looked for ------------------------------------------------------------------------------------------------


def _pieces(store: Store, member: Member) -> set[bytes]:
    """Pieces of all that goes with a recording; of very much of it a choice."""
    found: set[bytes] = set()
    recording = store.recording(member.recording_id)
    for value in (*_asked(recording), *_answered(store, recording.recording_id), *_read(store, recording.recording_id)):
        found.update(searching.pieces_of(value))
    if len(found) > _PER_RECORDING:
        return set(random.Random(member.recording_id.int).sample(sorted(found), _PER_RECORDING))  # noqa: S311
    return found


def _asked(recording: Recording) -> Iterator[bytes]:
    request = recording.request
    yield request.url.partition("?")[2].encode()
    yield request.body or b""
    yield recording_columns(recording)["body"] or b""  # as it lies in the store
    yield from (value.encode("utf-8", "surrogatepass") for _, value in request.headers)
    yield from (value.encode("utf-8", "surrogatepass") for value in recording.tags.values())


def _answered(store: Store, recording_id: UUID) -> Iterator[bytes]:
    for event in store.events(recording_id):
        yield event.raw or event.data or b""


def _read(store: Store, recording_id: UUID) -> Iterator[bytes]:
    stored = store.reading(recording_id)
    if stored is not None:
        yield (stored.reading.text or "").encode("utf-8", "surrogatepass")
        yield from _texts(stored.reading.metadata or {})


def _texts(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)


# -- the files ---------------------------------------------------------------------------------------------------------


def _tidy(
    store: Store, erased: Erased, recording_ids: Sequence[UUID], forget: Callable[[], Iterable[str]], *, rewrite: bool
) -> None:
    _empty(store, erased, rewrite=rewrite)
    try:
        erased.removed += forget()
    except StoreError as error:
        erased.missed.append(str(error))
    for folder in sorted({Path(each).parent for each in erased.removed}):
        _settle(erased, folder)
    copies = reaching.copies(store.url)
    gone = {*recording_ids, *_asked_for_before(store)} if copies else set()
    for path in copies:
        if not reaching.holds(path, gone):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            erased.missed.append(f"{path} could not be removed: {error.strerror}")
        else:
            erased.removed.append(str(path))
            _settle(erased, path.parent)


def _empty(store: Store, erased: Erased, *, rewrite: bool) -> None:
    """The log, and with `rewrite` all that is free; where that is refused, or has no room, the rest is done."""
    if rewrite:
        try:
            store.rewrite()
            erased.rewritten = True
        except StoreError as error:
            erased.missed.append(str(error))
    told = store.tidy()
    if told is not None and told not in erased.missed:
        erased.missed.append(told)


def _settle(erased: Erased, folder: Path) -> None:
    """Have it on the disk that files went from a folder, or a power failure brings them back."""
    try:
        surely.settle(folder)
    except OSError as error:
        erased.missed.append(f"{folder} could not be synced, so that a power failure may undo it: {error.strerror}")


def _asked_for_before(store: Store) -> list[UUID]:
    """What was erased on request: who was killed between a recording and the files finds nothing by its name now."""
    erasures = store.erasures(store.erased_ids())
    return [each for each, told in erasures.items() if not all((one.reason or "").startswith(PRUNING) for one in told)]


def files_of(url: str) -> list[Path]:
    """Every file that belongs to a SQLite store: its own, and whatever lies beside it under its name."""
    path = path_of(url)
    if path is None:
        return []
    beside = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    return sorted(each for top in beside for each in (top, *(top.rglob("*") if top.is_dir() else ())) if each.is_file())


def _look(store: Store, erased: Erased, wanted: set[bytes]) -> None:
    """Look for the pieces in every file; where some are left that nothing in the store has rightly, write it anew."""
    files = files_of(store.url)
    pieces = sorted(wanted)
    if len(pieces) > searching.MOST:
        pieces = sorted(random.Random(len(pieces)).sample(pieces, searching.MOST))  # noqa: S311
    erased.files, erased.searched = len(files), len(pieces) if files else 0
    if not files or not pieces:
        return
    left = _not_rightly(store, _search(files, pieces, erased), pieces)
    if left and not erased.rewritten:
        _empty(store, erased, rewrite=True)
        again = [pieces[number] for number in sorted({number for _, number in left})]
        left = _not_rightly(store, _search(files, again, erased), again)
    erased.found = sorted({str(files[place]) for place, _ in left})


def _search(files: Sequence[Path], pieces: Sequence[bytes], erased: Erased) -> list[tuple[int, int]]:
    """(number of a file, number of a piece) of what is there. Raises StoreError where it could not be looked for."""
    job = {"files": [str(path) for path in files], "pieces": [piece.hex() for piece in pieces]}
    done = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-P", searching.__file__], input=json.dumps(job).encode(), capture_output=True, check=False
    )
    try:
        told = json.loads(done.stdout)
    except ValueError:
        raise StoreError(
            f"the files could not be looked through (the program ended with {done.returncode}); run it again"
        ) from None
    erased.missed += [f"{files[place]} could not be looked through: {why}" for place, why in told["unreadable"]]
    return [(place, number) for place, number in told["found"]]


def _not_rightly(store: Store, found: Sequence[tuple[int, int]], pieces: Sequence[bytes]) -> list[tuple[int, int]]:
    """What was found, without the pieces that recordings hold which are not to be erased: the same words said twice."""
    left = {number for _, number in found}
    if not left:
        return []
    for value in store.live_values():
        left -= {number for number in left if pieces[number] in value}
        if not left:
            return []
    return [(place, number) for place, number in found if number in left]
