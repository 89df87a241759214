"""What is said when a test and its tape do not agree: missed, left over, too old. Pure texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from recorder import redact
from recorder.dialects.base import path_of
from recorder.recording import Recording
from recorder.replay import Miss
from recorder.tape.deck import Deck

__all__ = ["closed", "leftover", "missed", "named", "stale"]

_DAY: Final = 86_400
#: Misses that are told in full; of more only the number.
_TOLD: Final = 5
#: Characters of what a recording asked, to be recognised by.
_SHOWN: Final = 60


def missed(misses: Sequence[Miss], deck: Deck, tape: str, again: str) -> str:
    """Each request that nothing answered, with the nearest recording and the fields in which it differs."""
    count = "1 request was" if len(misses) == 1 else f"{len(misses)} requests were"
    lines = [f"{count} not answered by the tape {tape}" if len(deck) else f"there is no tape {tape}, and {count} made"]
    for miss in misses[:_TOLD]:
        lines.append(f"  {miss.request_summary}")
        nearest = miss.nearest
        if nearest is not None and not miss.differences:
            lines.append(f"    {_why(miss)}")
        elif nearest is not None:
            lines.append(f"    nearest is {named(nearest, deck)}; it differs in")
            lines += [f"      {difference}" for difference in miss.differences]
    if len(misses) > _TOLD:
        lines.append(f"  and {len(misses) - _TOLD} more")
    lines.append(f"record it: {again}" if len(deck) == 0 else f"if that is meant, record it anew: {again}")
    return "\n".join(lines)


def closed(host: str) -> str:
    """That a client which no tape can take wanted the network."""
    return (
        f"a client that no tape can take wanted to reach {host}, and the network is closed: point it at tape.base_url,"
        " or give it to tape.instrument"
    )


def _why(miss: Miss) -> str:
    """The reason that a miss gives behind the request that it names."""
    return str(miss).partition(": ")[2].partition(" (the tape ")[0]


def named(recording: Recording, deck: Deck) -> str:
    """A recording as a person finds it in its file: its number, and how its request begins."""
    numbers: Mapping[UUID, int] = {name: number for number, name in enumerate(deck.tracks, 1)}
    number = numbers.get(recording.recording_id)
    return f"recording {number} of {len(deck)}" if number else f"recording {recording.recording_id}"


def leftover(left: Sequence[Recording], deck: Deck, tape: str, again: str) -> str:
    """The recordings that a test did not ask for."""
    count = f"{len(left)} of {len(deck)} recordings" if len(deck) > 1 else "the recording"
    lines = [f"{count} in the tape {tape} {'was' if len(left) == 1 else 'were'} not used: the code asks for less"]
    lines += [f"  {named(one, deck)}: {one.request.method} {path_of(one.request)}{_asked(one)}" for one in left]
    lines.append(f"if that is meant, record it anew: {again}; or allow it: unused='ignore'")
    return "\n".join(lines)


def _asked(recording: Recording) -> str:
    """The end of what was asked, where the newest message usually stands."""
    try:
        body = json.loads(recording.request.body or b"")
    except ValueError:
        return ""
    text = redact.mask(json.dumps(body, ensure_ascii=False))
    safe = "".join(char if char.isprintable() else "?" for char in text)
    return f" …{safe[-_SHOWN:]}" if len(safe) > _SHOWN else f" {safe}"


def stale(old: Sequence[Recording], now_us: int, max_age: str, tape: str, again: str) -> str:
    """That recordings are older than they may be."""
    days = (now_us - min(one.started_at for one in old)) // (1_000_000 * _DAY)
    return f"the tape {tape} is {days} days old, and max_age is {max_age}; record it anew: {again}"
