"""What SQLite or the operating system refused, as an error that says what is wrong and what to do next. No I/O."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any, Final
from uuid import UUID

from recorder.errors import NotAStore, StoreError, StoreUnavailable

__all__ = ["failure", "require_onward"]

#: What a primary result code of SQLite means for the user (sqlite.org/rescode.html).
_TOLD: Final[tuple[tuple[set[int], type[StoreError], str], ...]] = (
    (
        {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED},
        StoreUnavailable,
        "is locked by another program; end it, or try again",
    ),
    ({sqlite3.SQLITE_FULL}, StoreUnavailable, "cannot grow: the disk is full; make room"),
    (
        {sqlite3.SQLITE_IOERR},
        StoreUnavailable,
        "cannot be read or written: an I/O error; look at the disk, which may be full",
    ),
    (
        {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH},
        StoreUnavailable,
        "cannot be opened for this: file or folder is not readable and writable for this user; change their rights",
    ),
    ({sqlite3.SQLITE_NOTADB}, NotAStore, "is not a SQLite database; name another file"),
    (
        {sqlite3.SQLITE_CORRUPT},
        StoreError,
        "is damaged, or the disk cannot read it; look at the disk, keep a copy, and restore the last good one",
    ),
)


#: How SQLite orders values of different types. PostgreSQL has one type in a column.
_ORDER: Final[tuple[tuple[type, ...], ...]] = ((type(None),), (int, float), (str,), (bytes, UUID))


def _place(value: Any) -> tuple[Any, ...]:
    """What orders values, or rows of them, as the database does, whatever somebody wrote into a column."""
    if isinstance(value, tuple):
        return tuple(map(_place, value))
    rank = next(number for number, types in enumerate(_ORDER) if isinstance(value, types))
    return (rank, 0 if value is None else value)


def require_onward(where: str, last: Any, before: Any) -> None:
    """Raise StoreError where a page of a table ends no further than the one before it (None: it is the first).

    In a damaged file the index that pages are read by may lead back, and who follows it would never come to an end.
    """
    if before is not None and _place(last) <= _place(before):
        raise StoreError(f"{where} is damaged: an index of it leads back; keep a copy, and restore the last good one")


def failure(where: str, cause: BaseException | None) -> StoreError:
    """The error for what was refused of the store `where`."""
    if isinstance(cause, OSError):
        return StoreUnavailable(f"{where} {_told(cause)}")
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    for codes, kind, text in _TOLD:
        if code in codes:
            return kind(f"{where} {text}")
    if str(cause).startswith("Could not decode"):  # the rest of the message quotes it
        return StoreError(f"{where} holds a text that is no UTF-8; `recorder verify` names where")
    return StoreError(f"{where}: SQLite says: {cause}; look at the disk, and at who else uses the file")


def _told(error: OSError) -> str:
    """What the operating system refused, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "cannot grow: the disk is full; make room"
    if error.errno == errno.EIO:
        return "cannot be read or written: an I/O error; look at the disk"
    which = "" if error.filename is None else f" ({error.filename})"
    return f"cannot be used: {error.strerror or type(error).__name__}{which}; make the folder and the files writable"
