"""One side of a comparison: a run with its recordings, and what each of them brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from recorder.reader.brought import Brought, ToolCall, brought, tool_calls, withheld
from recorder.recording import POLLS, Reading, Recording, Run
from recorder.store import Store

__all__ = ["Part", "Side", "side"]

#: Kinds of spoken texts that a user sees.
_SHOWN: Final = ("text", "refusal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One recording of a run. `reading` is the stored one where there is one, `told` what its rows brought."""

    recording: Recording
    reading: Reading
    told: Brought


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A run. `parts` are its recordings but for polls (`polls` of them) and second records of the same exchange.

    `standing` is the reading that stands for the run. `withheld` says why texts and events' payloads are not known.
    """

    run: Run
    parts: Sequence[Part]
    polls: int
    standing: Reading
    withheld: str | None

    def text(self) -> str:
        """What the run said, in order."""
        return self._said(_SHOWN)

    def reasoning(self) -> str:
        """How it thought, as far as that was shown."""
        return self._said(("reasoning",))

    def calls(self) -> list[ToolCall]:
        """What it called."""
        return [call for part in self.parts for call in tool_calls(part.told.reading)]

    def _said(self, kinds: Sequence[str]) -> str:
        texts = (one.text for part in self.parts for one in part.told.reading.spoken if one.kind in kinds)
        return "\n".join(text for text in texts if text)


def side(store: Store, recording_id: UUID) -> Side:
    """The run that this recording opened or belongs to. Raises NotFound."""
    run = store.run(recording_id)
    latest = store.standing(run.run_id)
    parts, standing = [], None
    for member in store.members(run.run_id):
        recording, stored = store.recording(member), store.reading(member)
        told = brought(recording, store.events(member))
        reading = told.reading if stored is None else stored.reading
        if standing is None or member == latest:
            standing = reading
        parts.append(Part(recording=recording, reading=reading, told=told))
    assert standing is not None  # a run has the recording that opened it
    first = [part for part in parts if "duplicate" not in part.reading.flags] or parts
    kept = [part for part in first if part.reading.action not in POLLS] or first[:1]
    return Side(
        run=run,
        parts=tuple(kept),
        polls=len(first) - len(kept),
        standing=standing,
        withheld=next(
            (
                why
                for part in kept
                if (why := withheld(part.recording, part.told.reading, part.told.passing)) is not None
            ),
            None,
        ),
    )
