"""What a Python user holds: a Handle from `recorder.open()`, which records clients and replays to them.

core       Handle and open
source     whether a call is recorded, and what it stands for
readings   the thread that makes readings of ended recordings
notices    the thread that tells of answers that run away while they stream
replaying  Replay: clients answered from the store
"""

from __future__ import annotations

from .core import Handle, open
from .replaying import Replay

__all__ = ["Handle", "Replay", "open"]
