"""What a PostgreSQL server says: its settings, this user's rights, dead rows, sessions that hold things up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recorder.config import size_text
from recorder.store.health import Health, Rights, Server

from .findings import Finding, fault, note, ok, warning

__all__ = ["rights", "server"]

#: Versions before it get no repairs any more (postgresql.org/support/versioning).
_OLDEST: Final = 14
#: Rows that are dead, and their share of all, from which a table is bloated.
_DEAD_ROWS: Final = 50_000
_DEAD_SHARE: Final = 0.2
#: Seconds that a session may idle within a transaction: vacuum cannot clear away what it might still see.
_IDLE: Final = 300.0
#: Share of the connections that may be in use.
_FULL: Final = 0.8


def server(health: Health) -> Iterator[Finding]:
    """The server, and the store's database on it."""
    found = health.server()
    yield _version(found)
    yield from _durability(found)
    yield from _connection(found)
    yield from _tables(found)
    yield ok("size", f"the database has {size_text(found.size)}")


def _version(found: Server) -> Finding:
    if found.number // 10_000 < _OLDEST:
        return warning(
            "server", f"PostgreSQL {found.version} gets no repairs any more", f"upgrade to {_OLDEST} or newer"
        )
    return ok("server", f"PostgreSQL {found.version}")


def _durability(found: Server) -> Iterator[Finding]:
    setting = found.settings.get
    wrong = False
    for name in ("fsync", "full_page_writes"):
        if setting(name) == "off":
            wrong = True
            yield fault(
                "durability",
                f"{name} is off: what was acknowledged may be lost or damaged when the machine fails",
                f"ALTER SYSTEM SET {name} = on; then reload",
            )
    commit = setting("synchronous_commit")
    if commit == "off":
        wrong = True
        yield note(
            "durability",
            "synchronous_commit is off; recorder turns it on for its own sessions",
            "nothing, unless other programs write here",
        )
    if found.standby:
        wrong = True
        yield fault("durability", "this server is a standby and takes no writes", "name the primary server to record")
    if not wrong:
        yield ok("durability", f"synchronous_commit {commit}, fsync on")


def _connection(found: Server) -> Iterator[Finding]:
    most = int(found.settings.get("max_connections", "0") or 0)
    said = f"{found.connections} of {most} connections in use"
    if most and found.connections > _FULL * most:
        yield warning("connections", said, "raise max_connections, or end programs that hold many")
    else:
        yield ok("connections", said)
    if found.idle_in_transaction > _IDLE:
        yield warning(
            "connections",
            f"a session has been idle within a transaction for {found.idle_in_transaction:,.0f} s: dead rows stay",
            "end it: SELECT pid, application_name FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
        )
    if found.encrypted is False and not found.local:
        yield warning(
            "connections",
            "the connection is not encrypted and leaves this machine",
            "add ?sslmode=verify-full to the URL",
        )


def _tables(found: Server) -> Iterator[Finding]:
    if found.settings.get("autovacuum") == "off":
        yield warning("vacuum", "autovacuum is off: dead rows pile up", "ALTER SYSTEM SET autovacuum = on; then reload")
    bloated = {
        name: dead
        for name, (live, dead, _) in sorted(found.tables.items())
        if dead > _DEAD_ROWS and dead > _DEAD_SHARE * (live + dead)
    }
    if bloated:
        told = ", ".join(f"{name} {dead:,}" for name, dead in bloated.items())
        yield warning("vacuum", f"dead rows: {told}", f"VACUUM ANALYZE {', '.join(bloated)}")
    else:
        dead = sum(dead for _, dead, _ in found.tables.values())
        yield ok("vacuum", f"{dead:,} dead rows")


def rights(health: Health) -> Iterator[Finding]:
    """What this user may do."""
    found = health.rights()
    said = f"user {found.user}" + (f" (member of {', '.join(found.roles)})" if found.roles else "")
    if found.superuser:
        yield warning("rights", f"{said} is a superuser", "record as a user of its own: recorder db roles")
    elif found.owner:
        yield note(
            "rights", f"{said} owns the tables, and could drop what protects them", "recorder db roles parts the rights"
        )
    elif found.too_much:
        yield warning(
            "rights", f"{said} may change facts: {', '.join(found.too_much)}", "recorder db roles --apply, as the owner"
        )
    else:
        yield ok("rights", f"{said} {_may(found)}")


def _may(found: Rights) -> str:
    if not found.missing_to_write:
        return "may record and read"
    if not found.missing_to_read:
        return f"may read, and not record: no {found.missing_to_write[0]}"
    return f"may not record (no {found.missing_to_write[0]}), nor read all (no {found.missing_to_read[0]})"
