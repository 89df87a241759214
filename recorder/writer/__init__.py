"""What lies between a client and the store: taps on the client's side, a queue, and the thread that commits."""

from __future__ import annotations

from .group import Ended, Stats
from .opening import Options
from .recovery import recover
from .tap import NullTap, Tap
from .thread import Writer

__all__ = ["Ended", "NullTap", "Options", "Stats", "Tap", "Writer", "recover"]
