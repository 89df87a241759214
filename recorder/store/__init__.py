"""Append, read, find: the append-only event store, synchronous SQL on SQLite and PostgreSQL. No thread of its own.

The only package that writes SQL. It refuses to know dialects (what events mean), captures (how they came about) and
prices. One `Store` may be used from several threads; over a fork each side reopens it by itself.

    core         Store: what the rest of the code sees
    values       what goes in and out beside the values of `recorder.recording`
    rows         values to columns and back
    writing      how facts go in, idempotent and fenced
    kinship      which run a reading belongs to     placing      and how it gets there
    lists        lists and filters                  finding      by any id
    links        what a run has to do with others
    scanning     all of it in order, unchecked      log          in which order recordings came under checkpoints
    erasing      how content, or all, leaves        reaching     what hangs together with what is to go
    statements   the SQL, compiled for either database
    backend      what the two databases have in common: connections, and nothing open over a fork
    sqlite       files, locks, checkpoints          locks        the only code that locks files
    sqlite_events    how events go in and come out of such a file
    refusals     what SQLite or the disk refused    surely       what a failed sync may have lost, written again
    postgresql   bulk loading, leases by the server's clock
    admin        the schema, looked at and upgraded from outside
    health       what a store says of itself, whatever state it is in     roles        who may do what on PostgreSQL
"""

from __future__ import annotations

from recorder.store.admin import check_store, describe_store, migrate_store
from recorder.store.core import Store
from recorder.store.scanning import Erasure
from recorder.store.values import Append, Lease, Linked, Listed, RunFilter, path_of

__all__ = [
    "Append",
    "Erasure",
    "Lease",
    "Linked",
    "Listed",
    "RunFilter",
    "Store",
    "check_store",
    "describe_store",
    "migrate_store",
    "path_of",
]
