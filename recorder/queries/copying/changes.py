"""What has changed in the store since something was held of it: by the recordings' stamps, and the sums over these.

What has changed lately is asked for; then the sums tell whether that was all. Only where it was not, the sums of each
day say where to look. It refuses to know what is held of a recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .parts import MANY, Anew, Work, visible

__all__ = ["Changes", "find_changes", "held_in"]

#: Days in which something unexpected changed that are looked at one by one; where there are more, all is copied anew.
_DAYS: Final = 100
#: Microseconds before the newest change that is known, from which on changes are looked for: writers' clocks differ.
#: One that comes later still is found by the sums.
_OVERLAP: Final = 5_000_000


class Changes(NamedTuple):
    """How many recordings were `touched`, and how many of these are `held`; the `newest` stamp; whether some were
    erased, so that all that is held must be written again."""

    touched: int
    held: int
    newest: int
    erased: bool


def held_in(group: Mapping[str, Any], name: str) -> str:
    """The select of (recording_id, day, stamp) over the group's table of them."""
    return f"SELECT recording_id, day, stamp FROM ({visible(group, name)})"  # noqa: S608


def find_changes(work: Work, group: Mapping[str, Any], held: str) -> Changes:
    """Make the tables `changed` (recording_id, day, stamp) and `touched` (the same ids, and those that are gone).

    `held` selects what is held, as `held_in` does. Raises Anew where copying all is faster.
    """
    watched = work.job["watched"]
    work.temporary("theirs", watched["stamps"], watched["since"].format(group["newest"] - _OVERLAP))
    work.run(f"""
        CREATE OR REPLACE TEMP TABLE lately AS
        SELECT t.*, h.day AS held_day, h.stamp AS held_stamp FROM theirs t LEFT JOIN ({held}) h USING (recording_id)
    """)  # noqa: S608
    found, known, newest, *more = _summed(work)
    if work.sums == [before + each for before, each in zip(group["sums"], more, strict=True)]:
        work.run(
            "CREATE OR REPLACE TEMP TABLE changed AS "
            "SELECT recording_id, day, stamp FROM lately WHERE stamp IS DISTINCT FROM held_stamp"
        )
        work.run("CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed")
    else:
        _find_all(work, held)
        found, known = _counted(work, held)
    erased = work.erased != group["erased"] and _find_erased(work, held)
    if erased:
        found, known = _counted(work, held)
    if found > max(work.job["few"], MANY * group["sums"][0]):
        raise Anew
    return Changes(found, known, max(newest, group["newest"]), erased)


def _summed(work: Work) -> tuple[int, ...]:
    """How many of the lately changed are not as they are held, how many of these are held, the newest stamp, and what
    all of them add to the sums."""
    watched = work.job["watched"]
    stamps = f"{{0}}stamp % {watched['modulus']}"
    weighted = f"{stamps} * ({watched['weight'].replace('day', '{0}day')}) % {watched['modulus']}"
    more = ", ".join(
        f"coalesce(sum({each.format('')} - coalesce({each.format('held_')}, 0)), 0)" for each in (stamps, weighted)
    )
    ((*sums,),) = work.all(f"""
        SELECT
            count(*) FILTER (stamp IS DISTINCT FROM held_stamp),
            count(*) FILTER (stamp <> held_stamp),
            coalesce(max(stamp), 0),
            count(*) FILTER (held_stamp IS NULL),
            {more}
        FROM lately
    """)  # noqa: S608
    return tuple(int(each) for each in sums)


def _counted(work: Work, held: str) -> tuple[int, int]:
    """How many are touched, and how many of these are held."""
    ((touched, known),) = work.all(
        f"SELECT count(*), count(h.recording_id) FROM touched LEFT JOIN ({held}) h USING (recording_id)"  # noqa: S608
    )
    return touched, known


def _find_all(work: Work, held: str) -> None:
    """The same tables, where something changed with an old stamp, or is gone."""
    watched = work.job["watched"]
    work.temporary("days", watched["days"])
    work.run(f"CREATE OR REPLACE TEMP TABLE ours AS {held}", "CREATE OR REPLACE TEMP TABLE gone (recording_id UUID)")
    different = f"""
        WITH now AS (
            SELECT day, stamp FROM ours ANTI JOIN theirs USING (recording_id) UNION ALL SELECT day, stamp FROM theirs
        ), sums AS (
            SELECT day, count(*) AS recordings, sum(stamp % {watched["modulus"]}) AS stamps FROM now GROUP BY day
        )
        SELECT day FROM sums FULL JOIN days USING (day)
        WHERE sums.recordings IS DISTINCT FROM days.recordings OR sums.stamps IS DISTINCT FROM days.stamps ORDER BY day
    """  # noqa: S608
    wrong = [day for (day,) in work.all(different)]
    if len(wrong) > _DAYS:
        raise Anew
    for day in wrong:
        work.temporary("found", watched["stamps"], watched["on"].format(day))
        lost = f"SELECT recording_id FROM ours ANTI JOIN found USING (recording_id) WHERE day = {int(day)}"  # noqa: S608
        work.run(
            f"INSERT INTO gone {lost}", "INSERT INTO theirs SELECT * FROM found ANTI JOIN theirs USING (recording_id)"
        )
    if wrong:  # one whose day changed was gone from one and found on another
        work.run("DELETE FROM gone WHERE recording_id IN (SELECT recording_id FROM theirs)")
    work.run(
        "CREATE OR REPLACE TEMP TABLE changed AS SELECT * FROM theirs ANTI JOIN ours "
        "ON theirs.recording_id = ours.recording_id AND theirs.stamp = ours.stamp",
        "CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed UNION SELECT recording_id FROM gone",
    )


def _find_erased(work: Work, held: str) -> bool:
    """Have recordings that were erased since the base was made fetched again, if they are there, or removed; whether
    there are any."""
    work.temporary("erased", work.job["watched"]["erased"])
    work.run(
        "CREATE OR REPLACE TEMP TABLE erased_now AS "
        "SELECT DISTINCT recording_id FROM erased ANTI JOIN base.part.erased USING (recording_id)",
        f"INSERT INTO changed SELECT * FROM ({held}) "  # noqa: S608
        "SEMI JOIN erased_now USING (recording_id) ANTI JOIN touched USING (recording_id)",
        "INSERT INTO touched SELECT recording_id FROM erased_now ANTI JOIN touched USING (recording_id)",
    )
    return bool(work.value("SELECT count(*) FROM erased_now"))
