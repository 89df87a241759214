"""Tapes: recording files that tests are answered from, and that are made by running them.

A tape takes the calls of all clients of a process to known hosts, answers them from one file or records them into it,
and fails what does not agree with it. `recorder.replaying` is the way in for plain functions and `unittest`; the pytest
plugin stands on the same.

options   what a tape is told, in layers
files     tapes as files
deck      a file's recordings in memory, as a player asks for them
player    what answers, and the account of it
damage    faults put on top of an answer
runs      what a test may say about a run
changes   what is different between two runs
account   what is said where test and tape do not agree
guard     no lookups of hosts that are only replayed
serving   a server on a thread, for subprocesses
core      Tape: one file in use
plain     recorder.replaying
suite     a function run against many stored runs
"""

from __future__ import annotations

from .core import Finished, Tape, TapeError, TapeWarning
from .options import KNOWN_HOSTS, MODES, Options
from .plain import replaying
from .runs import TapeRun, ToolCall, Usage
from .suite import Case, Outcome, Report, replay_suite

__all__ = [
    "KNOWN_HOSTS",
    "MODES",
    "Case",
    "Finished",
    "Options",
    "Outcome",
    "Report",
    "Tape",
    "TapeError",
    "TapeRun",
    "TapeWarning",
    "ToolCall",
    "Usage",
    "replay_suite",
    "replaying",
]
