"""Two runs compared: what was asked, which events came, what was said and called, what it used, how it ended, how fast.

Parameters are compared by their values, events by their names and what they brought, texts by their words, times as
ratios. Ids that are made anew for each run count by the part they play. It refuses to know how recordings are made, and
it changes nothing.
"""

from __future__ import annotations

from recorder.diff.comparing import SECTIONS, Comparison, Timing, compare, parse_ignore
from recorder.diff.nearest import Nearest, nearest_good
from recorder.diff.parameters import Change
from recorder.diff.sides import Side, side
from recorder.diff.skeleton import Block, Group
from recorder.diff.words import Words, word_diff

__all__ = [
    "SECTIONS",
    "Block",
    "Change",
    "Comparison",
    "Group",
    "Nearest",
    "Side",
    "Timing",
    "Words",
    "compare",
    "nearest_good",
    "parse_ignore",
    "side",
    "word_diff",
]
