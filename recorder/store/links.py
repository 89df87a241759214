"""What has to do with a run without being part of it: the responses before and after it, and the rest of its thread."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, false, or_, select

from recorder.recording import Run
from recorder.schema import readings
from recorder.store.lists import readings_as_runs, runs_by_id
from recorder.store.values import Linked

__all__ = ["MOST", "linked"]

#: How many of each are found.
MOST: Final = 20

_r: Final = readings.c


def linked(connection: Connection, run: Run) -> Linked:
    """See `Linked`."""
    return Linked(_previous(connection, run), _following(connection, run), _thread(connection, run))


def _previous(connection: Connection, run: Run) -> Run | None:
    named = select(_r.previous_response_id).where(_r.run_id == run.run_id, _r.previous_response_id.is_not(None))
    name = connection.execute(named.limit(1)).scalar()
    if name is None:
        return None
    before = _newest(_r.provider_run_id == name, _r.recording_id < run.run_id)
    found = _runs(connection, before, run)
    return found[0] if found else None


def _following(connection: Connection, run: Run) -> tuple[Run, ...]:
    if run.provider_run_id is None:
        return ()
    return _runs(connection, _newest(_r.previous_response_id == run.provider_run_id), run)


def _thread(connection: Connection, run: Run) -> tuple[Run, ...]:
    if run.thread_id is None:
        return ()
    others = (
        select(_r.recording_id, _r.run_id, _r.is_run)
        .where(
            _r.thread_id == run.thread_id,
            _r.run_id != run.run_id,
            or_(_r.superseded == false(), _r.is_run == false()),
        )
        .order_by(_r.started_at.desc(), _r.recording_id.desc())
        .limit(MOST)
    )
    found = connection.execute(others).all()
    apart = readings_as_runs(connection, [row.recording_id for row in found if row.is_run is False])
    runs = runs_by_id(connection, [row.run_id for row in found if row.is_run is not False])
    return tuple({**runs, **apart}[row.run_id] for row in found)


def _newest(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The newest readings of which this holds; a run may have several of them."""
    found = select(_r.run_id, _r.dialect).where(*conditions)
    return found.order_by(_r.recording_id.desc()).limit(MOST)


def _runs(connection: Connection, found: Select[Any], run: Run) -> tuple[Run, ...]:
    """The runs of these readings, of the same dialect as the run."""
    run_ids = [row.run_id for row in connection.execute(found) if row.dialect == run.dialect]
    others = [run_id for run_id in dict.fromkeys(run_ids) if run_id != run.run_id]
    runs = runs_by_id(connection, others)
    return tuple(runs[run_id] for run_id in others if run_id in runs)
