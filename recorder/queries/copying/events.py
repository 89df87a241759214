"""The events without their payloads: copied whole, or fetched again for the recordings that have changed or go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .facts import OTHERWISE, find_erased
from .parts import MANY, Anew, Following, Work, visible

__all__ = ["event_rows", "follow_events", "make_events"]

#: Of which recordings events are held, and as of when; of those that go on nobody knows as of when.
_HELD: Final = """
    SELECT recording_id, CASE WHEN recording_id IN (SELECT recording_id FROM open) THEN NULL ELSE stamp END AS stamp
    FROM stamps_now
"""


def event_rows(group: Mapping[str, Any]) -> str:
    """The select that gives the events, where their parts are attached as `events_base` and `events_delta`."""
    return visible(group, "events", "events_base.", "events_delta.")


def make_events(work: Work) -> dict[str, Any]:
    """All events, copied."""
    work.begin("events")
    work.source.into(work.connection, "CREATE TABLE new.part.events AS", work.job["events"])
    work.source.into(work.connection, "CREATE TABLE new.part.erased AS", work.job["watched"]["erased"])
    work.temporary("open", work.job["watched"]["open"])
    work.run(f"CREATE TABLE new.part.held AS {_HELD}")
    columns = {name: work.columns(f"new.part.{name}") for name in ("events", "held")}
    rows = work.value("SELECT count(*) FROM new.part.events")
    return {"base": work.finish(rows=rows), "delta": None, "columns": columns}


def follow_events(work: Work, before: dict[str, Any], erased: int) -> dict[str, Any]:
    """The events as they are now: those of recordings that have changed since, or go on, are fetched again."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        work.temporary("open", job["watched"]["open"])
        work.run(
            f"CREATE OR REPLACE TEMP TABLE wanted AS {_HELD}",
            f"CREATE OR REPLACE TEMP TABLE ours AS {visible(before, 'held')}",
            f"CREATE OR REPLACE TEMP TABLE changed AS {OTHERWISE.format('wanted')}",
            "CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed "
            "UNION SELECT recording_id FROM ours ANTI JOIN wanted USING (recording_id)",
        )
        rewriting = erased != before["erased"] and find_erased(work, "SELECT * FROM wanted")
        if not work.value("SELECT count(*) FROM touched"):
            return before
        ids = work.ids("SELECT recording_id FROM changed")
        if len(ids) > max(job["few"], MANY * work.value("SELECT count(*) FROM ours")):
            raise Anew
        work.source.of(work.connection, "TEMP TABLE fresh", job["events"], ids)
        rows = (delta["rows"] if delta else 0) + work.value("SELECT count(*) FROM fresh")
        merging = rewriting or rows > max(job["few"] * 50, before["base"]["rows"] // 20)
        known = bool(work.value("SELECT count(*) FROM touched SEMI JOIN ours USING (recording_id)"))
        work.begin("events")
        following = Following(work, before, merging=merging)
        work.run("CREATE TABLE new.part.events AS SELECT * FROM fresh")
        work.run("CREATE TABLE new.part.held AS SELECT * FROM changed")
        for name in ("events", "held"):
            following.keep(name, "recording_id", "touched", known=known)
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
        made = work.finish(rows=work.value("SELECT count(*) FROM new.part.events"), dead=following.dead)
    return {**before, "base": made, "delta": None} if merging else {**before, "delta": made}
