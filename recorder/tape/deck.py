"""The recordings of one file in memory, asked as a store is asked by a `Player`: a `recorder.replay.Source`.

A test holds a handful of recordings and must not pay for a database: to make one, even in memory, takes ten times as
long as to read and play a file. What a Player asks of a store is answered here from a few dicts. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from recorder.dialects.base import path_of
from recorder.errors import NotFound
from recorder.recording import Event, Recording

__all__ = ["Deck", "Track"]


class Track(NamedTuple):
    """A recording and all its events in order (positions from 0, without a gap)."""

    recording: Recording
    events: Sequence[Event]


class Deck:
    """The recordings of a file. Any thread may use it."""

    @property
    def url(self) -> str:
        """Claims of a session are not shared with other processes: see `recorder.replay.sessions`."""
        return ":memory:"

    def __init__(self, tracks: Iterable[Track] = ()) -> None:
        self.tracks = {track.recording.recording_id: track for track in tracks}
        self._keyed: dict[bytes | None, list[Recording]] = {}
        for track in self.tracks.values():
            self._keyed.setdefault(track.recording.match_key, []).append(track.recording)

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def recordings(self) -> list[Recording]:
        """All, in recorded order."""
        return [track.recording for track in self.tracks.values()]

    # -- what a Player asks ------------------------------------------------------------------------------------------

    def find(self, match_key: bytes) -> list[Recording]:
        """The recordings of requests with this key, in recorded order."""
        return list(self._keyed.get(match_key, ()))

    def candidates(self, method: str, path: str, limit: int = 50) -> list[Recording]:
        """Recordings to compare a request with: those of the same path and method first; the newest first."""

        def rank(recording: Recording) -> tuple[bool, bool]:
            asked = recording.request
            return path_of(asked) != path, asked.method.upper() != method.upper()

        found = self.recordings
        found.reverse()
        found.sort(key=rank)  # the newest stays first among equals
        return found[:limit]

    def recording(self, recording_id: UUID) -> Recording:
        """The recording. Raises NotFound."""
        return self._track(recording_id).recording

    def events(self, recording_id: UUID, *, start: int = 0, kinds: Sequence[str] | None = None) -> Iterator[Event]:
        """The recording's events in order, from position `start`, of these kinds. Raises NotFound."""
        events = self._track(recording_id).events
        wanted = events[start:] if start else events
        return iter(wanted) if kinds is None else (event for event in wanted if event.kind in kinds)

    def close(self) -> None:
        """Nothing is open."""

    def _track(self, recording_id: UUID) -> Track:
        found = self.tracks.get(recording_id)
        if found is None:
            raise NotFound(f"no recording {recording_id} on this tape; look at what the file holds")
        return found
