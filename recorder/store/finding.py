"""Finding one recording or run by whatever name somebody has for it; and recordings that resemble a request."""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Select, select

from recorder.errors import NotFound, UsageError
from recorder.recording import Recording
from recorder.schema import readings, recordings
from recorder.store.lists import list_runs
from recorder.store.rows import indexable, suffix, to_recording
from recorder.store.statements import recording_rows
from recorder.store.values import RunFilter

__all__ = ["candidates", "resolve"]

_UUID: Final = re.compile(r"[0-9a-f]{32}")
_SUFFIX: Final = re.compile(r"[0-9a-f]{1,12}")
_LATEST: Final = re.compile(r"@last|@-([1-9][0-9]{0,5})")
#: How many of an ambiguous name's meanings are named.
_NAMED: Final = 5
#: How many of the newest recordings are looked at for resembling ones.
_LOOKED_AT: Final = 1000


def resolve(connection: Connection, text: str, where: str) -> UUID:
    """The recording or run that goes by this name. See `Store.resolve`."""
    latest = _LATEST.fullmatch(text)
    if latest:
        back = int(latest[1] or 1)
        runs = list_runs(connection, RunFilter(limit=back))
        if len(runs) < back:
            raise NotFound(f"{where} has no {text}: it holds {len(runs)} run{'' if len(runs) == 1 else 's'}")
        return runs[-1].run_id
    hexadecimal = text.lower().replace("-", "")
    if _UUID.fullmatch(hexadecimal):
        found = _ids(
            connection, select(recordings.c.recording_id).where(recordings.c.recording_id == UUID(hexadecimal))
        )
    else:
        found = _by_provider_id(connection, text)
        if not found and _SUFFIX.fullmatch(hexadecimal[-12:]):
            found = _by_suffix(connection, hexadecimal)
    if not found:
        raise NotFound(f"nothing in {where} goes by the id {text!r}; `recorder runs` lists what is there")
    if len(found) > 1:
        names = ", ".join(str(one) for one in found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
        raise UsageError(f"{text!r} may be any of {names}; name one of them")
    return found[0]


def _by_provider_id(connection: Connection, text: str) -> list[UUID]:
    """The runs of a provider's run id; the recordings of a request id."""
    r = readings.c
    name = indexable(text)
    runs = _ids(connection, select(r.run_id).where(r.provider_run_id == name).distinct())
    return runs or _ids(connection, select(r.recording_id).where(r.request_id == name))


def _by_suffix(connection: Connection, hexadecimal: str) -> list[UUID]:
    beginning = suffix(hexadecimal)
    column = recordings.c.suffix
    # "g" sorts after every hexadecimal digit.
    within = select(recordings.c.recording_id).where(column >= beginning, column < beginning + "g")
    return [one for one in _ids(connection, within) if one.hex.endswith(hexadecimal)]


def _ids(connection: Connection, statement: Select[Any]) -> list[UUID]:
    return sorted(connection.execute(statement.limit(100)).scalars(), reverse=True)


def candidates(connection: Connection, method: str, path: str, limit: int) -> list[Recording]:
    """Recordings to compare a request with that none answers. See `Store.candidates`."""
    r = recordings.c
    newest = connection.execute(
        select(r.recording_id, r.method, r.url).order_by(r.recording_id.desc()).limit(_LOOKED_AT)
    ).all()
    # Sorting is stable: among equals the newest stay first.
    ranked = sorted(newest, key=lambda row: (row.method != method) + 2 * (_path(row.url) != path))
    chosen = [row.recording_id for row in ranked[:limit]]
    found = {
        row["recording_id"]: to_recording(row)
        for row in connection.execute(recording_rows(r.recording_id.in_(chosen))).mappings()
    }
    return [found[recording_id] for recording_id in chosen]


def alike(connection: Connection, match_key: bytes, at: int, within: int, limit: int) -> list[Recording]:
    """Recordings of requests with this key that began near a time. See `Store.alike`."""
    r = recordings.c
    near = select(r.recording_id).where(r.match_key == match_key)
    before = near.where(r.started_at.between(at - within, at)).order_by(r.started_at.desc())
    after = near.where(r.started_at.between(at + 1, at + within)).order_by(r.started_at)
    chosen = [one for part in (before, after) for one in connection.execute(part.limit(limit)).scalars()]
    found = connection.execute(recording_rows(r.recording_id.in_(chosen))).mappings()
    return sorted(map(to_recording, found), key=lambda one: (one.started_at, one.recording_id))


def _path(url: str | None) -> str:
    """The path of a URL, without its query."""
    _, _, rest = (url or "").partition("://")
    return "/" + rest.partition("/")[2].partition("?")[0].partition("#")[0]
