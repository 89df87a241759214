"""Whether this installation, this configuration and this store are well: one finding a check, with what to do about it.

    findings   a finding, and its levels
    here       the installation: versions, extras, SQLite's known bugs, settings and where they come from
    place      a SQLite store's files: file system, permissions, links, room, what was left behind
    running    the processes that have it open, its locks and its WAL     walindex   how far the WAL's readers are
    inside     what the store says: schema, open recordings, readings due, clock
    server     what PostgreSQL says: settings, rights, dead rows

It works on what is broken, too: a check that cannot be made is a finding. It writes nothing, takes no lock that anybody
waits for, and opens the database through the store alone. It refuses to know who captures and who writes.
"""

from __future__ import annotations

from .examine import examine
from .findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
