"""Closing what a dead writer left open. Any number of processes may do it at once, and late writers are fenced."""

from __future__ import annotations

from uuid import UUID

from ..capture import seal_interrupted
from ..errors import Conflict
from ..store import Append, Store

__all__ = ["recover"]


def recover(store: Store) -> list[UUID]:
    """Close every recording whose writer is dead, as interrupted; gives the ones that are closed now.

    Nothing is invented and nothing dropped: the `end` follows the last stored event. It depends on the stored rows
    alone, so racing recoverers append the same row, which counts once. A writer that wakes up late finds the `end`
    where it wants to write, and gets a Conflict.
    """
    closed = []
    for recording_id in store.dead_recordings():
        recording = store.recording(recording_id)
        if recording.ending is None:
            row, ending = seal_interrupted(recording, store.events(recording_id))
            try:
                store.append([Append(recording_id=recording_id, rows=[row], ending=ending)])
            except Conflict:  # another end is there by now; or none, as its writer was alive after all
                if store.recording(recording_id).ending is None:
                    continue
        closed.append(recording_id)
    return closed
