"""What is left when no protocol is known: nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from recorder.dialects.base import Answer
from recorder.recording import Event, Reading, Recording, Request

__all__ = ["Raw"]


class Raw:
    """Takes any request, knows no parameter, and says of a recording only what holds for every protocol."""

    name: Final = "raw"
    contents: Final = frozenset[str]()

    def recognises(self, request: Request) -> bool:
        """Always."""
        return True

    def parameters(self, request: Request) -> dict[str, Any]:
        """None."""
        return {}

    def asked(self, request: Request) -> dict[str, Any]:
        """None: a body of unknown meaning is not taken apart."""
        return {}

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """Status unknown; the flags tell a broken stream. Only what answered with an event stream counts as a run."""
        answer = Answer(events)
        for _ in answer.frames():
            pass
        flags = answer.judge(asked=False, terminal=True, marker=True)
        return Reading(dialect=self.name, is_run=answer.streamed, flags=flags, facts=answer.facts())
