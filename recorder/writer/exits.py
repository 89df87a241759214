"""The ends of a process, and its forks: every writer drains before the one and begins anew after the other."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from types import FrameType
from typing import Protocol

__all__ = ["DRAIN", "install", "register"]

#: Seconds that closing, SIGTERM and the end of the interpreter wait for the queue.
DRAIN = 5.0


class _Writer(Protocol):
    def close(self, timeout: float | None = ...) -> bool: ...

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


_WRITERS: weakref.WeakSet[_Writer] = weakref.WeakSet()


def register(writer: _Writer) -> None:
    """From now on this writer is drained at the end of the process, and told of forks."""
    _WRITERS.add(writer)


def install() -> None:
    """Drain also where atexit does not run: SIGTERM that nobody handles, and the end of a multiprocessing child.

    Servers handle SIGTERM themselves and end normally. Called when a writer's thread starts, in whichever process.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, _drain, exitpriority=0)


def _drain() -> None:
    for writer in list(_WRITERS):
        writer.close(DRAIN)


def _before_fork() -> None:
    for writer in list(_WRITERS):
        writer.before_fork()


def _after_fork_in_parent() -> None:
    for writer in list(_WRITERS):
        writer.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for writer in list(_WRITERS):
        writer.after_fork_in_child()


def _on_sigterm(_signum: int, _frame: FrameType | None) -> None:
    _drain()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


atexit.register(_drain)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
