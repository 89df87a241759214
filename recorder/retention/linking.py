"""What a recording hangs together with: a customer's text also stands where no metadata names the customer.

A message is added to a thread by a request that has no metadata, a tool's output goes back to a run, a response is
carried on by another: so links are followed until there are no more. It refuses to know how they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from recorder.store import Store

__all__ = ["Reached", "reached"]


class Reached(NamedTuple):
    """A recording, the link by which it was reached, and from which other (None: it was named itself)."""

    recording_id: UUID
    link: str
    via: UUID | None


def reached(store: Store, named: Mapping[UUID, str], *, follow: bool = True) -> list[Reached]:
    """The named recordings (each with what named it), and with `follow` all that hangs together with them.

    Those that were named come first, what they led to follows, and so on.
    """
    found = {recording_id: Reached(recording_id, what, None) for recording_id, what in named.items()}
    fresh = list(found)
    while follow and fresh:
        latest: list[UUID] = []
        for source, link, other in store.reach(fresh):
            if other not in found:
                found[other] = Reached(other, link, source)
                latest.append(other)
        fresh = latest
    return list(found.values())
