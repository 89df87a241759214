"""The program that copies a store into DuckDB files and lets them follow it: Python runs this folder, a job on stdin.

Why a process: it opens a SQLite file through another library than Python's. Two in one process do not know of each
other's locks, and the first to close its descriptor drops those of both ("How To Corrupt An SQLite Database File",
section 2.2, of SQLite's manual). This process holds the file through one library, and ends.

The rows go from the ADBC driver's Arrow stream straight into DuckDB, in one read-only transaction: one moment.
It knows databases, statements and files; it refuses to know stores, and imports nothing of recorder's other modules, so
that it starts fast.

In its folder lie parts, DuckDB files that are never changed, and manifest.json, which names those that count. A delta
is made anew each time; when it has grown, base and delta become one base. The manifest is renamed into place, and what
it does not name is removed: whenever the process is killed, the old parts still count.

    source   the store's database        parts   files, and how they are put together
    changes  what is not as it was       facts   the facts        events   the events

The job, as JSON on stdin (see `recorder.queries.snapshot`, which writes it); the answer, as JSON on stdout: `error`
says what went wrong, or is null; then `manifest` is what the folder now holds, `did` is "made", "followed" or
"nothing", and `seconds` is the time it took, without the start.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .events import event_rows, follow_events, make_events
from .facts import follow_facts, make_facts
from .parts import Manifest, Work, manifest_in, quoted, sweep
from .source import SourceError, one_line, opened

if TYPE_CHECKING:
    import duckdb

__all__ = ["PROGRAM", "event_rows", "main", "quoted", "refresh"]

#: What Python runs: this folder.
PROGRAM: Final = str(Path(__file__).parent)


def refresh(job: Mapping[str, Any], connection: duckdb.DuckDBPyConnection) -> tuple[Manifest, str]:
    """Do the job: what the folder holds now, and what was done. Raises what the two databases raise."""
    folder = Path(job["folder"])
    with opened(job) as source:
        work = Work(job, source, connection)
        # By these a snapshot is found to be as the store is.
        moment = {"erased": work.erased, "sums": work.sums}
        known = manifest_in(folder, job["version"], work.identity)
        before = None if known is None else known["facts"]
        facts = None if before is None else work.tried(lambda: follow_facts(work, before))
        did = "made"
        if before is not None and facts is not None:
            did = "nothing" if facts["delta"] == before["delta"] else "followed"
        facts = {**(facts or make_facts(work)), **moment}
        events = None if known is None else known["events"]
        if job["events"] is not None:
            had = events
            events = None if had is None else work.tried(lambda: follow_events(work, had))
            events = {**(events or make_events(work)), **moment}
            if did == "nothing" and (had is None or had["delta"] != events["delta"]):
                did = "followed"
    manifest = {"version": job["version"], "identity": work.identity, "facts": facts, "events": events}
    if manifest != known:
        partial = folder / "manifest.json.new"
        partial.write_text(json.dumps(manifest), encoding="utf-8")
        partial.replace(folder / "manifest.json")
    sweep(folder, manifest)
    return manifest, did


def main() -> int:
    """Do the job on stdin, in a process of its own; the exit code."""
    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    os.umask(0o077)
    try:
        import duckdb

        connection = duckdb.connect(":memory:", config=job["settings"])
        begun = time.monotonic()
        manifest, did = refresh(job, connection)
        answer = {"error": None, "manifest": manifest, "did": did, "seconds": time.monotonic() - begun}
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (whatever it is, the process that waits must be told)
        answer = {"error": str(error) if isinstance(error, SourceError) else one_line(error)}
    print(json.dumps(answer), flush=True)  # noqa: T201
    return 0 if answer["error"] is None else 1
