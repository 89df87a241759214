"""Every error that recorder raises on purpose, and what each asks the reader to do next.

    RecorderError
    ├── UsageError           the call or the configuration is wrong              exit 2
    ├── NotFound             no such recording, run or store                     exit 3
    ├── StoreError           the store cannot do what was asked                  exit 4
    │   ├── StoreUnavailable    unreachable, unwritable, locked or full: may pass
    │   ├── NotAStore           the file or database is something else
    │   ├── SchemaMismatch      the store is older or newer than this code
    │   └── Conflict            another writer already stored something different
    └── ReplayMiss           no recording answers this request                   exit 1
        └── Blocked             it goes to a host that is not replayed

A message is one line: what is wrong, then what to do. It never holds a body, a header value or a password,
because messages end up in logs.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Blocked",
    "Conflict",
    "NotAStore",
    "NotFound",
    "RecorderError",
    "ReplayMiss",
    "SchemaMismatch",
    "StoreError",
    "StoreUnavailable",
    "UsageError",
]


class RecorderError(Exception):
    """The root of all the errors that recorder raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(RecorderError):
    """The call or the configuration is wrong; the message names the right form."""

    exit_code = 2


class NotFound(RecorderError):
    """No recording, run or store goes by that name; the message says where was looked."""

    exit_code = 3


class StoreError(RecorderError):
    """The store cannot do what was asked."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The store is unreachable, unwritable, locked or full. The same call may succeed later."""


class NotAStore(StoreError):
    """The file or database exists but is not a recorder store."""


class SchemaMismatch(StoreError):
    """The store's schema is older or newer than this code can use."""


class Conflict(StoreError):
    """A position that this writer wanted already holds something different.

    It means that another writer (usually recovery, after this one was thought dead) closed the recording.
    Nothing of the refused append was stored.
    """


class ReplayMiss(RecorderError):
    """No recording answers this request. The message names the nearest recording and the fields that differ."""

    exit_code = 1


class Blocked(ReplayMiss):
    """This request goes to a host that is not replayed, and nothing else may pass. The message names the host."""
