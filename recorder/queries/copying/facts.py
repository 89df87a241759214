"""The facts: copied whole, or followed from what there was by what has changed since.

What has changed is found by the stamps of the recordings, and the sums of each day tell whether that was all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .parts import MANY, Anew, Following, Work, listed, quoted, union, visible

__all__ = ["NOW", "OTHERWISE", "find_erased", "follow_facts", "make_facts"]

#: Days in which something unexpected changed that are looked at one by one; where there are more, all is copied anew.
_DAYS: Final = 100
#: Microseconds before the newest change that is known, from which on changes are looked for: writers' clocks differ.
#: One that comes later still is found by its day's sum.
_OVERLAP: Final = 5_000_000


def _show(work: Work, name: str, table: str) -> None:
    """Let derived tables that are made later find this one by its name."""
    work.run(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {table}')  # noqa: S608


def _hide(work: Work) -> None:
    for table in (*work.job["tables"], *work.job["derived"]):
        work.run(f'DROP VIEW temp."{table["name"]}"')


def _complete(work: Work, group: Mapping[str, Any], **said: Any) -> dict[str, Any]:
    """Finish a base: the views that show the facts to all, over its tables and those of `delta`, and an empty delta."""
    work.run("COMMIT", f"ATTACH {quoted(str(work.path('facts')))} AS delta", "BEGIN", "CREATE SCHEMA delta.part")
    for name in group["columns"]:
        work.run(f'CREATE TABLE delta.part."{name}" AS SELECT * FROM new.part."{name}" LIMIT 0')  # noqa: S608
    work.run('CREATE TABLE delta.part.dead (name VARCHAR, "row" BIGINT)', "COMMIT", "CHECKPOINT delta")
    work.run("BEGIN", "USE new.main")  # names in views are relative: the file will have another name
    for table in (*work.job["tables"], *work.job["derived"]):
        columns = listed(group["columns"][table["name"]])
        work.run(f'CREATE VIEW "{table["name"]}" AS {union(columns, table["name"], "", "delta.", dead=True)}')
    work.run(*work.job["views"], "USE memory.main")
    base = work.finish(**said)
    delta = work.finished("delta", rows=0, dead=dict.fromkeys(group["columns"], 0))
    return {**group, "base": base, "delta": delta}


def make_facts(work: Work) -> dict[str, Any]:
    """All facts, copied."""
    job = work.job
    work.begin("facts")
    for table in job["tables"]:
        work.source.into(work.connection, f'CREATE TABLE new.part."{table["name"]}" AS', table)
    for name in ("stamps", "erased"):
        work.source.into(work.connection, f"CREATE TABLE new.part.{name} AS", job["watched"][name])
    for table in job["tables"]:
        _show(work, table["name"], f'new.part."{table["name"]}"')
    for table in job["derived"]:
        into = f'new.part."{table["name"]}"'
        work.run(f"CREATE TABLE {into} AS {table['select']}")
        _show(work, table["name"], into)
    _hide(work)
    names = [*(table["name"] for table in (*job["tables"], *job["derived"])), "stamps"]
    columns = {name: work.columns(f'new.part."{name}"') for name in names}
    wide = {name: [column for column, kind in pairs if kind == "HUGEINT"] for name, pairs in columns.items()}
    # Sums of whole numbers; but Parquet, and most readers, do not have so large ones.
    work.run(
        *(
            f'ALTER TABLE new.part."{name}" ALTER "{column}" TYPE BIGINT'
            for name, each in wide.items()
            for column in each
        )
    )
    work.run("CREATE OR REPLACE TEMP TABLE stamps_now AS SELECT recording_id, stamp FROM new.part.stamps")
    rows = work.value("SELECT count(*) FROM stamps_now")
    return _complete(work, {"columns": columns, "wide": wide}, rows=rows)


def follow_facts(work: Work, before: dict[str, Any], erased: int) -> dict[str, Any]:
    """The facts as they are now, of what they were before. Raises Anew, and duckdb.Error where a part is damaged."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        work.run(f"CREATE OR REPLACE TEMP TABLE ours AS {visible(before, 'stamps')}")
        _find_changes(work)
        rewriting = erased != before["erased"] and find_erased(work, NOW)
        touched = work.value("SELECT count(*) FROM touched")
        if job["events"] is not None:
            work.run(_STAMPS_NOW)
        if not touched:
            return before
        ids = work.ids("SELECT recording_id FROM changed")
        if len(ids) > max(job["few"], MANY * work.value("SELECT count(*) FROM ours")):
            raise Anew
        merging = rewriting or delta["rows"] + touched > max(job["few"], before["base"]["rows"] // 20)
        work.begin("facts")
        following = Following(work, before, merging=merging)
        for table in job["tables"]:
            work.source.of(work.connection, f'TABLE new.part."{table["name"]}"', table, ids)
        work.run("CREATE TABLE new.part.stamps AS SELECT * FROM changed")
        known = bool(work.value("SELECT count(*) FROM touched SEMI JOIN ours USING (recording_id)"))
        known_runs = _find_affected(work, before)
        for table in job["derived"]:
            name = table["name"]
            narrow = ", ".join(f'CAST("{column}" AS BIGINT) AS "{column}"' for column in before["wide"][name])
            all_columns = f"* REPLACE ({narrow})" if narrow else "*"
            select = f"SELECT {all_columns} FROM ({table['select']}) WHERE run_id IN (SELECT run_id FROM affected)"  # noqa: S608
            work.run(f'CREATE TABLE new.part."{name}" AS {select}')
            _show(work, name, f'new.part."{name}"')
        _hide(work)
        for name in (*(table["name"] for table in job["tables"]), "stamps"):
            following.keep(name, "recording_id", "touched", known=known)
        for table in job["derived"]:
            following.keep(table["name"], "run_id", "affected", known=known_runs)
        rows = work.value("SELECT count(*) FROM new.part.stamps")
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
            return _complete(work, before, rows=rows)
        return {**before, "delta": work.finish(rows=rows, dead=following.dead)}


#: Those that have another stamp than what is held, or none there.
OTHERWISE: Final = "SELECT * FROM {0} ANTI JOIN ours ON {0}.recording_id = ours.recording_id AND {0}.stamp = ours.stamp"
#: The stamps as they are now.
NOW: Final = """
    SELECT * FROM theirs UNION ALL
    SELECT * FROM ours ANTI JOIN theirs USING (recording_id) ANTI JOIN gone USING (recording_id)
"""
_STAMPS_NOW: Final = f"CREATE OR REPLACE TEMP TABLE stamps_now AS SELECT recording_id, stamp FROM ({NOW})"  # noqa: S608


def _find_changes(work: Work) -> None:
    """Make the tables `changed` (recording_id, day, stamp) and `touched` (the same ids, and those that are gone).

    What has changed lately is asked for; then the sums of each day tell whether that was all.
    """
    watched = work.job["watched"]
    newest = work.value("SELECT coalesce(max(stamp), 0) FROM ours")
    work.temporary("theirs", watched["stamps"], watched["since"].format(newest - _OVERLAP))
    work.run("CREATE OR REPLACE TEMP TABLE gone (recording_id UUID)")
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
        f"CREATE OR REPLACE TEMP TABLE changed AS {OTHERWISE.format('theirs')}",
        "CREATE OR REPLACE TEMP TABLE touched AS SELECT recording_id FROM changed UNION SELECT recording_id FROM gone",
    )


def find_erased(work: Work, known: str) -> bool:
    """Have recordings that were erased fetched again, if they are among the `known`, or removed; whether there are any.

    `known` selects what `changed` has.
    """
    work.temporary("erased", work.job["watched"]["erased"])
    work.run(
        "CREATE OR REPLACE TEMP TABLE erased_now AS "
        "SELECT DISTINCT recording_id FROM erased ANTI JOIN base.part.erased USING (recording_id)",
        f"INSERT INTO changed SELECT * FROM ({known}) "  # noqa: S608
        "SEMI JOIN erased_now USING (recording_id) ANTI JOIN changed USING (recording_id)",
        "INSERT INTO touched SELECT recording_id FROM erased_now ANTI JOIN touched USING (recording_id)",
    )
    return bool(work.value("SELECT count(*) FROM erased_now"))


def _find_affected(work: Work, before: Mapping[str, Any]) -> bool:
    """Make the table `affected` of the runs that are not what they were, and views of the facts they are made of.

    Whether there may have been anything of these runs before.
    """
    ids = f"SELECT recording_id, run_id FROM ({visible(before, 'readings')})"  # noqa: S608
    work.run(
        f"""
        CREATE TEMP TABLE affected AS
        SELECT recording_id AS run_id FROM touched
        UNION SELECT run_id FROM new.part.readings
        UNION SELECT run_id FROM ({ids}) SEMI JOIN touched USING (recording_id)
        """,  # noqa: S608
        f"""
        CREATE TEMP TABLE members AS
        SELECT recording_id FROM ({ids})
        WHERE run_id IN (SELECT run_id FROM affected) OR recording_id IN (SELECT run_id FROM affected)
        """,  # noqa: S608
    )
    known = bool(work.value("SELECT count(*) FROM members"))
    for name in [table["name"] for table in work.job["tables"]]:
        if not known:
            _show(work, name, f'new.part."{name}"')
            continue
        work.run(f"""
            CREATE TEMP TABLE "kin_{name}" AS
            SELECT * FROM ({visible(before, name)}) WHERE recording_id IN (
                SELECT recording_id FROM members EXCEPT SELECT recording_id FROM touched
            )
            UNION ALL SELECT * FROM new.part."{name}"
        """)  # noqa: S608
        _show(work, name, f'"kin_{name}"')
    return known
