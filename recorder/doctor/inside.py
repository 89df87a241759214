"""What the store itself says: its schema, what is open, what is due, its clock. For both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from recorder import reader, schema
from recorder.config import size_text
from recorder.migrate import State
from recorder.store.health import CHECKED, Clock, Contents, File, Health

from .findings import Finding, fault, note, ok, warning

__all__ = ["clock", "contents", "is_usable", "pages", "whose"]

_SECOND: Final = 1_000_000
#: Clocks of machines are apart by so much without anything being wrong.
_APART: Final = 5 * _SECOND
#: A step back of so much is one of the clock, not of the scheduler.
_BACK: Final = 2 * _SECOND
#: Free pages above this share of a file, and this many bytes, could be given back.
_FREE_SHARE: Final = 0.25
_FREE_BYTES: Final = 64 << 20


def whose(health: Health, state: State, mark: int | None) -> Iterator[Finding]:
    """Whether it is a store that this recorder can use; `mark` is SQLite's application id."""
    if state.revision is not None:
        # What another program made may have a table of that name.
        if _is_anothers(mark):
            yield fault("schema", f"application id {mark:#x} is another program's", "name the store's own file")
        else:
            yield from _revision(health, state)
    elif state.empty:
        yield note("schema", "the database is empty", "the first recording makes the tables")
    else:
        yield fault("schema", "the database is something else than a store", "name another one")


def is_usable(state: State, mark: int | None) -> bool:
    """Whether there are tables that this recorder knows."""
    there, ours = _numbers(state.revision or ""), _numbers(schema.REVISION)
    return there is not None and ours is not None and there[0] <= ours[0] and not _is_anothers(mark)


def _is_anothers(mark: int | None) -> bool:
    return mark is not None and mark != schema.APPLICATION_ID


def _revision(health: Health, state: State) -> Iterator[Finding]:
    there, ours = _numbers(str(state.revision)), _numbers(schema.REVISION)
    said = f"schema {state.revision}, this recorder's is {schema.REVISION}"
    if there is None or ours is None:
        yield fault("schema", f"schema {state.revision} is none that recorder makes", "restore the store from a copy")
    elif there[0] > ours[0]:
        yield fault("schema", f"{said}: it was made by a newer recorder", "install a newer run-recorder")
    elif there > ours:
        yield note("schema", f"{said}: it has what this one does not know, and leaves alone", None)
    elif there < ours:
        yield warning("schema", f"{said}: it is older", "recorder db upgrade")
    elif health.sees_facts_alone():
        yield ok("schema", f"{state.revision}, seen through an analyst's views: facts alone")
    elif different := health.differences():
        yield fault(
            "schema",
            f"{said}, and differs: {'; '.join(different[:5])}",
            "recorder db check tells all; restore what was changed",
        )
    else:
        yield ok("schema", state.revision or "")


def _numbers(revision: str) -> tuple[int, int] | None:
    major, _, minor = revision.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


# -- what is open, what is due -----------------------------------------------------------------------------------------


def contents(health: Health) -> Iterator[Finding]:
    """What is there, what is going on, what is left to do."""
    found = health.contents(reader.VERSION)
    yield ok("recordings", f"{found.recordings:,}")
    yield from _open(found)
    if found.due:
        yield note("readings", f"{found.due:,} due: their programs ended first", "any list reads them: recorder runs")
    elif found.stale:
        yield note("readings", f"{found.stale:,} made by an older recorder", "recorder rebuild makes them again")
    else:
        yield ok("readings", "none due")


def _open(found: Contents) -> Iterator[Finding]:
    living = [each for each in found.open if each.alive]
    dead = [each for each in found.open if not each.alive]
    if dead:
        number = sum(each.recordings for each in dead)
        oldest = min((each.oldest for each in dead if each.oldest is not None), default=None)
        since = "" if oldest is None else f", the oldest since {_moment(oldest)}"
        yield warning(
            "open recordings",
            f"{number:,} of {len(dead)} writer{'s' * (len(dead) > 1)} that died{since}",
            "the next program that records here closes them as interrupted",
        )
    if living or not dead:
        yield ok("open recordings", f"{sum(each.recordings for each in living):,}")


# -- clock -------------------------------------------------------------------------------------------------------------


def clock(health: Health) -> Iterator[Finding]:
    """Whether times can be trusted."""
    found = health.clock()
    wrong = [*_wrong_times(found)]
    yield from wrong
    if not wrong:
        yield ok("clock", "no recording from the future, no step back")


def _wrong_times(found: Clock) -> Iterator[Finding]:
    if found.server_us is not None and abs(found.server_us) > _APART:
        way = "ahead of" if found.server_us > 0 else "behind"
        yield warning(
            "clock", f"the server's is {_seconds(abs(found.server_us))} {way} this machine's", "let NTP set both"
        )
    if found.future and found.ahead_us > _APART:
        yield warning(
            "clock",
            f"{found.future:,} recordings from the future, up to {_seconds(found.ahead_us)} ahead",
            "let NTP set the clocks of the machines that record; times of what was recorded stay as they are",
        )
    if found.back_us > _BACK:
        yield note(
            "clock",
            f"the clock stepped back by {_seconds(found.back_us)} while the newest were recorded",
            "their order is right all the same (ids do not step back); let NTP slew the clock rather than step it",
        )


def _seconds(micros: int) -> str:
    return str(timedelta(seconds=round(micros / _SECOND)))


def _moment(micros: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).strftime("%Y-%m-%d %H:%M UTC")
    except OverflowError:
        return "no time that there is"


# -- SQLite's file -----------------------------------------------------------------------------------------------------


def pages(found: File, has: int, *, tells_journal: bool = True) -> Iterator[Finding]:
    """What SQLite says of its file, of so many bytes; `tells_journal`: its journal is a store's, and is known."""
    if tells_journal and found.journal != "wal":
        yield warning(
            "journal",
            f"the journal mode is {found.journal}, and should be wal: somebody changed it",
            "stop all programs that use the store, then: sqlite3 STORE 'PRAGMA journal_mode=wal'",
        )
    if found.damage is None:
        yield note("pages", f"not checked, above {size_text(CHECKED)}", "recorder verify reads everything")
    elif found.damage:
        yield fault(
            "pages",
            f"SQLite finds damage: {'; '.join(found.damage)}",
            "copy the file away, restore the last good copy, and look at the disk",
        )
    else:
        yield ok("pages", "SQLite finds no damage")
    free = found.free * found.page_size
    if free > _FREE_BYTES and free > _FREE_SHARE * has:
        yield note("pages", f"{size_text(free)} of the file are free", "new recordings use them first")
