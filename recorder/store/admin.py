"""A store's schema, looked at and upgraded from outside, whatever it is: what the `db` commands ask for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from recorder import migrate, schema
from recorder.store.backend import Backend
from recorder.store.core import backend_for

__all__ = ["check_store", "describe_store", "migrate_store"]

_Where = str | os.PathLike[str]


def describe_store(url: _Where) -> migrate.State:
    """What the database at this URL or path is: empty, a store at some revision, or something else.

    Raises UsageError, NotFound (no file), NotAStore (not even a database), StoreUnavailable.
    """
    with _as_is(url) as backend, backend.read() as connection:
        return migrate.state(connection)


def check_store(url: _Where) -> list[str]:
    """How the store's schema differs from what this code writes to, in words; empty when it does not.

    Raises SchemaMismatch and NotAStore too, where there is nothing to compare.
    """
    with _as_is(url) as backend, backend.read() as connection:
        migrate.require(migrate.state(connection), backend.display)
        return migrate.check(connection)


def migrate_store(url: _Where) -> tuple[str | None, str]:
    """Bring the store to the present schema. The revision before (None for an empty database) and the one now.

    Raises UsageError, NotFound, NotAStore, SchemaMismatch (made by a newer recorder), StoreUnavailable.
    """
    before = describe_store(url).revision
    backend_for(url, create=True, upgrade=True, migrate=True).close()
    return before, describe_store(url).revision or schema.REVISION


@contextlib.contextmanager
def _as_is(url: _Where) -> Iterator[Backend]:
    with contextlib.closing(backend_for(url, readonly=True, as_is=True)) as backend:
        yield backend
