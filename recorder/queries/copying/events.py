"""The events without their payloads: copied whole, or fetched again for the recordings that have changed or go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .changes import find_changes, held_in
from .parts import Following, Work, visible

__all__ = ["event_rows", "follow_events", "make_events"]

#: Of which recordings events are held, as of when, and which of them go on: of those nobody knows as of when.
_HELD: Final = "SELECT *, recording_id IN (SELECT recording_id FROM open) AS going_on FROM {}"


def event_rows(group: Mapping[str, Any]) -> str:
    """The select that gives the events, where their parts are attached as `events_base` and `events_delta`."""
    return visible(group, "events", "events_base.", "events_delta.")


def make_events(work: Work) -> dict[str, Any]:
    """All events, copied."""
    work.begin("events")
    work.source.into(work.connection, "CREATE TABLE new.part.events AS", work.job["events"])
    work.source.into(work.connection, "CREATE TABLE new.part.erased AS", work.job["watched"]["erased"])
    work.temporary("open", work.job["watched"]["open"])
    work.temporary("theirs", work.job["watched"]["stamps"])
    work.run(f"CREATE TABLE new.part.held AS {_HELD.format('theirs')}")
    columns = {name: work.columns(f"new.part.{name}") for name in ("events", "held")}
    rows, newest = work.all("SELECT (SELECT count(*) FROM new.part.events), coalesce(max(stamp), 0) FROM theirs")[0]
    return {"base": work.finish(rows=rows), "delta": None, "columns": columns, "newest": newest}


def follow_events(work: Work, before: dict[str, Any]) -> dict[str, Any]:
    """The events as they are now: those of recordings that have changed since, or go on, are fetched again."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        changes = find_changes(work, before, held_in(before, "held"))
        work.temporary("open", job["watched"]["open"])
        going_on = _add_going_on(work, before)
        if not changes.touched + going_on:
            return before
        ids = work.ids("SELECT recording_id FROM changed")
        work.source.of(work.connection, "TEMP TABLE fresh", job["events"], ids)
        rows = (delta["rows"] if delta else 0) + work.value("SELECT count(*) FROM fresh")
        merging = changes.erased or rows > max(job["few"] * 50, before["base"]["rows"] // 20)
        work.begin("events", delta=not merging)
        following = Following(work, before, merging=merging)
        work.run("CREATE TABLE new.part.events AS SELECT * FROM fresh")
        work.run(f"CREATE TABLE new.part.held AS {_HELD.format('changed')}")
        for name in ("events", "held"):
            following.keep(name, "recording_id", "touched", known=changes.held + going_on > 0)
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
        made = work.finish(rows=work.value("SELECT count(*) FROM new.part.events"), dead=following.dead)
    after = {**before, "newest": changes.newest}
    return {**after, "base": made, "delta": None} if merging else {**after, "delta": made}


def _add_going_on(work: Work, before: dict[str, Any]) -> int:
    """Have those that go on, or went on, count as changed; how many they are besides what was found."""
    work.run(f"""
        CREATE OR REPLACE TEMP TABLE going_on AS
        SELECT recording_id, day, stamp FROM ({visible(before, "held")})
        WHERE (going_on OR recording_id IN (SELECT recording_id FROM open))
            AND recording_id NOT IN (SELECT recording_id FROM touched)
    """)  # noqa: S608
    count: int = work.value("SELECT count(*) FROM going_on")
    if count:
        work.run("INSERT INTO changed SELECT * FROM going_on", "INSERT INTO touched SELECT recording_id FROM going_on")
    return count
