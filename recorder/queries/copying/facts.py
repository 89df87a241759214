"""The facts: copied whole, or followed from what there was by what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .changes import find_changes, held_in
from .parts import Following, Work, listed, union, visible

__all__ = ["follow_facts", "make_facts"]


def _derive(work: Work, select: str, *, wide: Mapping[str, Any] | None = None) -> None:
    """Make the new part's derived tables, of its own facts, or of temporary tables of the same names. `select` is
    formatted with the columns and the select of each."""
    work.run("USE new.part")
    for table in work.job["derived"]:
        narrow = ", ".join(
            f'CAST("{column}" AS BIGINT) AS "{column}"' for column in (wide or {}).get(table["name"], ())
        )
        columns = f"* REPLACE ({narrow})" if narrow else "*"
        work.run(f'CREATE TABLE "{table["name"]}" AS ' + select.format(columns, table["select"]))
    work.run("USE memory.main")


def _complete(work: Work, group: Mapping[str, Any], **said: Any) -> dict[str, Any]:
    """Finish a base: the views that show the facts to all, over its tables and those of `delta`, and an empty delta."""
    work.run("COMMIT")
    work.attach("facts", "delta", delta=True)
    work.run("BEGIN", "CREATE SCHEMA delta.part")
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
    _derive(work, "SELECT {0} FROM ({1})")
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
    rows, newest = work.all("SELECT count(*), coalesce(max(stamp), 0) FROM new.part.stamps")[0]
    return {**_complete(work, {"columns": columns, "wide": wide}, rows=rows), "newest": newest}


def follow_facts(work: Work, before: dict[str, Any]) -> dict[str, Any]:
    """The facts as they are now, of what they were before. Raises Anew, and duckdb.Error where a part is damaged."""
    job, delta = work.job, before["delta"]
    with work.attached(before):
        changes = find_changes(work, before, held_in(before, "stamps"))
        if not changes.touched:
            return before
        merging = changes.erased or delta["rows"] + changes.touched > max(job["few"], before["base"]["rows"] // 20)
        ids = work.ids("SELECT recording_id FROM changed")
        work.begin("facts", delta=not merging)
        following = Following(work, before, merging=merging)
        for table in job["tables"]:
            work.source.of(work.connection, f'TABLE new.part."{table["name"]}"', table, ids)
        work.run("CREATE TABLE new.part.stamps AS SELECT * FROM changed")
        known = changes.held > 0
        known_runs = _find_affected(work, before, known=known)
        _derive(work, "SELECT {0} FROM ({1}) WHERE run_id IN (SELECT run_id FROM affected)", wide=before["wide"])
        if known_runs:
            work.run(*(f'DROP TABLE temp."{table["name"]}"' for table in job["tables"]))
        for name in (*(table["name"] for table in job["tables"]), "stamps"):
            following.keep(name, "recording_id", "touched", known=known)
        for table in job["derived"]:
            following.keep(table["name"], "run_id", "affected", known=known_runs)
        rows = work.value("SELECT count(*) FROM new.part.stamps")
        after = {**before, "newest": changes.newest}
        if merging:
            work.source.into(work.connection, "CREATE TABLE new.part.erased AS", job["watched"]["erased"])
            return _complete(work, after, rows=rows)
        return {**after, "delta": work.finish(rows=rows, dead=following.dead)}


def _find_affected(work: Work, before: Mapping[str, Any], *, known: bool) -> bool:
    """Make the table `affected` of the runs that are not what they were, and, if there may have been anything of these
    before, temporary tables of all the facts that they are made of, with the names of these; whether that is so.

    `known` says whether anything of the touched recordings is held.
    """
    ids = f"SELECT recording_id, run_id FROM ({visible(before, 'readings')})"  # noqa: S608
    had = f"UNION SELECT run_id FROM ({ids}) SEMI JOIN touched USING (recording_id)" if known else ""  # noqa: S608
    work.run(
        f"""
        CREATE TEMP TABLE affected AS
        SELECT recording_id AS run_id FROM touched UNION SELECT run_id FROM new.part.readings {had}
        """,  # noqa: S608
        f"""
        CREATE TEMP TABLE members AS
        SELECT recording_id FROM ({ids})
        WHERE run_id IN (SELECT run_id FROM affected) OR recording_id IN (SELECT run_id FROM affected)
        """,  # noqa: S608
    )
    if not work.value("SELECT count(*) FROM members"):
        return False
    for name in [table["name"] for table in work.job["tables"]]:
        work.run(f"""
            CREATE TEMP TABLE "{name}" AS
            SELECT * FROM ({visible(before, name)}) WHERE recording_id IN (
                SELECT recording_id FROM members EXCEPT SELECT recording_id FROM touched
            )
            UNION ALL SELECT * FROM new.part."{name}"
        """)  # noqa: S608
    return True
