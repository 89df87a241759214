"""What goes into and comes out of the store beside the values of `recorder.recording`. Frozen, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from recorder.recording import Ending, Recording, Row, Run, StoredReading

__all__ = ["Append", "Lease", "Linked", "Listed", "RunFilter", "path_of"]


@dataclass(frozen=True, slots=True)
class Append:
    """What one recording adds to the store in one append.

    `recording` comes with the first append of a recording. `rows` are its next events, their positions without a
    gap; `ending` comes with the append that holds the `end` row.
    """

    recording_id: UUID
    recording: Recording | None = None
    rows: Sequence[Row] = ()
    ending: Ending | None = None


class Lease(NamedTuple):
    """A recording that has no ending yet, and the writer that makes it."""

    recording_id: UUID
    writer: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs or recordings a list shows; what is None or empty does not filter.

    `since` (inclusive) and `until` (exclusive) are microseconds UTC. A run stands where its latest recording
    started: lists are newest first by that. `tags`, `trace` and `request_id` match a run when any of its recordings
    has them. `metadata` compares with the values in the run's metadata, `grep` looks for a text, case and all, in
    what the model wrote and in the request's body: these two have no index and read the recordings one by one.
    """

    since: int | None = None
    until: int | None = None
    status: str | None = None
    stop_reason: str | None = None
    ending: str | None = None
    model: str | None = None
    dialect: str | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    request_id: str | None = None
    trace: str | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grep: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A recording in a list. The recording comes without its body; `reading` is None where none was made yet.

    `run` says what this recording alone amounted to, in a run's fields, under the id of the run it belongs to.
    """

    recording: Recording
    reading: StoredReading | None
    run: Run


@dataclass(frozen=True, slots=True)
class Linked:
    """What has to do with a run without being part of it; the newest first, and of each the newest few.

    `previous` is the run whose response this one names as the one before, `following` are the runs that name this
    one's. `thread` are the other runs in its thread, and what else was done there (a message added), each as if it were
    a run.
    """

    previous: Run | None = None
    following: tuple[Run, ...] = ()
    thread: tuple[Run, ...] = ()


def path_of(url: str) -> Path | None:
    """The file behind the URL of an opened store; None where it is in memory or on a server."""
    name = url.removeprefix("sqlite:///")
    return None if name in (url, ":memory:") else Path(name)
