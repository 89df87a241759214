"""The skeleton of a run's events: what came in which order, without what it said.

Events in a row that have the same name, brought the same and are about the same thing are one group. What an event is
about is told by an id in it; ids are made anew for each run, so each is taken as the first, second … of its kind. Of
pieces of a text it means nothing how many there are. `obfuscation`, sizes and times are not looked at. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from recorder.diff.sides import Side
from recorder.diff.words import aligned
from recorder.reader.brought import PIECES, What
from recorder.recording import Kind

__all__ = ["Block", "Group", "blocks", "skeleton"]

#: The first id in a payload is that of the event's subject: `id` of an object, `item_id` of a piece of one.
_ID: Final = re.compile(rb'"(?:item_)?id"\s*:\s*"([A-Za-z]+)[_-]([^"\\]{1,200})"')

_SSE: Final = Kind.SSE.value


class Group(NamedTuple):
    """Events in a row. `part` counts the run's recordings from 1; `role` reads like `msg 2`: the second message that
    the run told of; None where the event names none. `first` is the position of the first of the `number` events.
    """

    name: str
    what: str
    role: str | None
    number: int
    part: int
    first: int

    @property
    def key(self) -> tuple[str, str, str | None, int]:
        """What two groups must share to be the same: not the number of a text's pieces, nor that of pings."""
        loose = self.what in PIECES or self.what == What.PING
        return self.name, self.what, self.role, 1 if loose else self.number


class Block(NamedTuple):
    """Groups that are the same on both sides, one for one, or the groups that stand against each other."""

    same: bool
    before: Sequence[Group]
    after: Sequence[Group]


def skeleton(side: Side) -> list[Group]:
    """The groups of a run's events. Of an answer that is no stream its status."""
    return list(_groups(side))


def _groups(side: Side) -> Iterator[Group]:
    known: dict[bytes, dict[bytes, str]] = {}
    for number, part in enumerate(side.parts, 1):
        held: Group | None = None
        streamed = False
        for event, what, name in zip(part.told.events, part.told.whats, part.told.names, strict=True):
            if event.kind != _SSE:
                continue
            streamed = True
            role = None if event.type is None or event.data is None else _role(event.data, known)
            if held is not None and (held.name, held.what, held.role) == (name, what, role):
                held = held._replace(number=held.number + 1)
                continue
            if held is not None:
                yield held
            held = Group(name, what.value, role, 1, number, event.position)
        if held is not None:
            yield held
        if not streamed:
            ending = part.recording.ending
            status = None if ending is None else ending.http_status
            yield Group("no answer" if status is None else f"HTTP {status}", What.OTHER.value, None, 1, number, 0)


def _role(payload: bytes, known: dict[bytes, dict[bytes, str]]) -> str | None:
    """Which of the things of its kind an event is about."""
    found = _ID.search(payload)
    if found is None:
        return None
    kind, name = found.groups()
    same_kind = known.setdefault(kind, {})
    if name not in same_kind:
        same_kind[name] = f"{kind.decode()} {len(same_kind) + 1}"
    return same_kind[name]


def blocks(before: Sequence[Group], after: Sequence[Group]) -> list[Block]:
    """The two skeletons side by side."""
    ours, theirs = [group.key for group in before], [group.key for group in after]
    return [
        Block(op.same, tuple(before[op.start : op.end]), tuple(after[op.other : op.other_end]))
        for op in aligned(ours, theirs)
    ]
