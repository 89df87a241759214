"""Texts as a Reading carries them, built from their pieces: one event each, from position 5 on, a millisecond apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from recorder.recording import Spoken

__all__ = ["FIRST", "STEP_US", "spoken", "whole"]

FIRST = 5
STEP_US = 1000


def spoken(pieces: Sequence[str], kind: str = "text", *, name: str | None = None, ended: bool = True) -> Spoken:
    """The pieces of a stream."""
    return Spoken(
        kind=kind,
        text="".join(pieces),
        name=name,
        ended=ended,
        offsets=list(accumulate(map(len, pieces[:-1]), initial=0)) if pieces else (),
        positions=range(FIRST, FIRST + len(pieces)),
        times=range(0, STEP_US * len(pieces), STEP_US),
    )


def whole(text: str, kind: str = "text") -> Spoken:
    """A text that came in one piece, without a stream: it has no times."""
    return Spoken(kind=kind, text=text, offsets=(0,), positions=(1,))
