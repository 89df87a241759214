"""What happened in a run and when: its requests, every event of its streams, the gaps, the tries before it, the ending;
what the client had at any moment; and whether what was recorded is complete.

Everything comes from the record alone and is told as values: drawing is for others. It refuses to know how recordings
are made, and it changes nothing.
"""

from __future__ import annotations

from recorder.timeline.checks import Check, Verdict, checks
from recorder.timeline.moments import At, Moment, State, bytes_until, is_decoded, moment_of, parse_at
from recorder.timeline.tracks import Attempt, Gap, Mark, Timeline, Track, timeline, track

__all__ = [
    "At",
    "Attempt",
    "Check",
    "Gap",
    "Mark",
    "Moment",
    "State",
    "Timeline",
    "Track",
    "Verdict",
    "bytes_until",
    "checks",
    "is_decoded",
    "moment_of",
    "parse_at",
    "timeline",
    "track",
]
