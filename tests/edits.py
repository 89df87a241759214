"""Single random edits of a SQLite store, past its triggers, each of which can be undone."""

from __future__ import annotations

import random
import sqlite3
import zlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

__all__ = ["TABLES", "Edit", "edit", "undo"]

#: What digests cover. (Tags that were set later are not: see docs/integrity.md.)
TABLES: Final = ("recordings", "events", "endings", "tags", "erasures")
#: Of an erasure only that there is one.
_LOOSE: Final = {"erasures": ("erased_at", "erased_by", "reason")}


@dataclass(frozen=True, slots=True)
class Edit:
    """What was done, in words, and the rows to put back: (table, rowid, columns or None where there was no row)."""

    text: str
    before: tuple[tuple[str, int, tuple[Any, ...] | None], ...]


def edit(connection: sqlite3.Connection, rng: random.Random, sealed: set[bytes]) -> Edit | None:
    """Change one thing of a recording that is sealed; None where what was thought of changes nothing."""
    table = rng.choices(TABLES, (5, 8, 4, 1, 1))[0]
    rowid, key = rng.choice(_rows(connection, table, sealed))
    what = rng.choices(("update", "delete", "insert", "swap"), (16, 2, 1, 2 if table == "events" else 0))[0]
    if what == "delete":
        made = Edit(f"{table} {rowid} ({UUID(bytes=key)}) deleted", ((table, rowid, _row(connection, table, rowid)),))
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        return made
    if what == "swap":
        return _swap(connection, rng, rowid, key)
    if what == "insert":
        return _insert(connection, rng, table, rowid, key)
    return _update(connection, rng, table, rowid, key)


def undo(connection: sqlite3.Connection, made: Edit) -> None:
    """Put everything back."""
    for table, rowid, _ in made.before:
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
    for table, rowid, columns in made.before:
        if columns is not None:
            names = ", ".join(f'"{name}"' for name in _columns(connection, table))
            marks = ", ".join("?" * (len(columns) + 1))
            connection.execute(f"INSERT INTO {table} (rowid, {names}) VALUES ({marks})", (rowid, *columns))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _rows(connection: sqlite3.Connection, table: str, sealed: set[bytes]) -> list[tuple[int, bytes]]:
    return [row for row in connection.execute(f"SELECT rowid, recording_id FROM {table}") if row[1] in sealed]


def _row(connection: sqlite3.Connection, table: str, rowid: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (rowid,)).fetchone()
    return row


def _update(connection: sqlite3.Connection, rng: random.Random, table: str, rowid: int, key: bytes) -> Edit | None:
    names = _columns(connection, table)
    name = rng.choice([each for each in names if each not in _LOOSE.get(table, ())])
    before = _row(connection, table, rowid)
    old = before[names.index(name)]
    others = [row[0] for row in connection.execute(f'SELECT DISTINCT "{name}" FROM {table}')]
    new = rng.choice(others) if rng.random() < 0.2 else _other(rng, old)
    try:
        connection.execute(f'UPDATE {table} SET "{name}" = ? WHERE rowid = ?', (new, rowid))
    except sqlite3.IntegrityError:
        return None  # the column takes no NULL, or the key is taken
    after = _row(connection, table, rowid)
    made = Edit(f"{table}.{name} of {UUID(bytes=key)}: {old!r:.60} -> {new!r:.60}", ((table, rowid, before),))
    if _same(before, after) or (name == "body" and _unpacked(old) == _unpacked(new)):
        undo(connection, made)
        return None
    return made


def _same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    return before == after and list(map(type, before)) == list(map(type, after))


def _unpacked(body: Any) -> Any:
    """Bytes that unpack to the same are the same: the end of a packed body has bits that nobody reads."""
    try:
        return zlib.decompress(body)
    except (zlib.error, TypeError):
        return body


def _other(rng: random.Random, value: Any) -> Any:
    """Another value, near the one that is there, or nothing, or of another type."""
    if rng.random() < 0.1 and value is not None:
        return None
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return rng.choice([value[:at] + "x" + value[at:], value[:at] + value[at + 1 :], value.encode(), value + " "])
    if isinstance(value, bytes):
        at = rng.randrange(len(value) + 1)
        flipped = bytearray(value or b"\0")
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        cut = value[:at] + value[at + 1 :]
        return rng.choice([bytes(flipped), bytes(flipped), cut, value + b"\0", value.decode("latin-1")])
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, value ^ (1 << rng.randrange(40)), -value, value + 0.5, f"{value}x"])
    if isinstance(value, float):
        return value * 2 + 1
    return rng.choice([b"", b"x", "", "x", 0, 1])


def _insert(connection: sqlite3.Connection, rng: random.Random, table: str, rowid: int, key: bytes) -> Edit | None:
    """A copy of a row: behind the others of its recording, or under an id that is not there."""
    names = _columns(connection, table)
    columns = list(_row(connection, table, rowid))
    if table == "events" and rng.random() < 0.7:
        last = connection.execute("SELECT max(position) FROM events WHERE recording_id = ?", (key,)).fetchone()[0]
        columns[names.index("position")] = rng.choice([last + 1, last + 7, -1])
    elif table == "tags":
        columns[names.index("name")] += "x"
    elif table == "erasures":
        return None  # a second erasure of what was erased is no fault
    else:
        columns[0] = rng.randbytes(16)
    marks = ", ".join("?" * len(columns))
    new = connection.execute(f"INSERT INTO {table} VALUES ({marks})", columns).lastrowid
    assert new is not None
    return Edit(f"{table}: a copy of row {rowid} of {UUID(bytes=key)}: {columns[:3]!r:.90}", ((table, new, None),))


def _swap(connection: sqlite3.Connection, rng: random.Random, rowid: int, key: bytes) -> Edit | None:
    """Two events of a recording change places."""
    names = _columns(connection, "events")
    found = connection.execute("SELECT rowid FROM events WHERE recording_id = ?", (key,)).fetchall()
    other = rng.choice(found)[0]
    one, two = _row(connection, "events", rowid), _row(connection, "events", other)
    place = names.index("position")
    if rowid == other or one[place + 1 :] == two[place + 1 :]:
        return None
    connection.execute("UPDATE events SET position = -9 WHERE rowid = ?", (rowid,))
    connection.execute("UPDATE events SET position = ? WHERE rowid = ?", (one[place], other))
    connection.execute("UPDATE events SET position = ? WHERE rowid = ?", (two[place], rowid))
    return Edit(
        f"events {one[place]} and {two[place]} of {UUID(bytes=key)} swapped",
        (("events", rowid, one), ("events", other, two)),
    )
