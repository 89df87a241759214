"""Recordings that lost their order: events removed, doubled, moved, or all cut off from somewhere on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from recorder.recording import Event

__all__ = ["damaged"]


def damaged(data: st.DataObject, whole: Sequence[Event]) -> list[Event]:
    """The events after one to four such accidents; none may be left."""
    events = list(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(events) - 1))
        how = data.draw(st.sampled_from(["removed", "doubled", "moved", "cut"]))
        if how == "removed":
            del events[where]
        elif how == "doubled":
            events.insert(where, events[where])
        elif how == "moved":
            events.insert(data.draw(st.integers(0, len(events) - 1)), events.pop(where))
        else:
            events = events[: where + 1]
        if not events:
            break
    return events
