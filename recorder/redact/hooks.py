"""A user's functions, called so that none of them can break a recording, or hold up the writer for more than seconds.

A hook runs on a thread of its own, and is waited for only so long. What it did not say in time, it did not say; the
payload is withheld. A thread cannot be ended from outside, so one that hangs is left behind; after a few of these the
hook is not asked any more.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Final, Literal, TypeAlias

__all__ = ["DEADLINE", "Hook", "HookError", "Place", "Timed"]

logger = logging.getLogger("recorder")

Place: TypeAlias = Literal["request", "response"]
#: Given a payload as text and its place; gives the texts in it that are not to be stored.
Hook: TypeAlias = Callable[[str, Place], Iterable[str]]

#: Seconds that a hook may take for one payload.
DEADLINE: Final = 5.0
#: Threads of one hook that may hang.
_PATIENCE: Final = 3

_Answer: TypeAlias = list[str] | BaseException
_Asked: TypeAlias = tuple[str, Place, "SimpleQueue[_Answer]"] | None


class HookError(Exception):
    """A hook gave nothing that can be used. The message is a class's name: another one might quote the payload."""


class Timed:
    """A hook with a deadline. Any thread may call it; after a fork each side has a thread of its own."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._asked: SimpleQueue[_Asked] | None = None
        self._process = os.getpid()
        self._hung = 0
        self._told: set[str] = set()

    def __call__(self, text: str, place: Place) -> list[str]:
        """What is not to be stored. Raises HookError, and logs that once for each kind of failure."""
        if os.getpid() != self._process:
            self._begin()
        try:
            return self._answer(text, place)
        except HookError as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                logger.warning(
                    "recorder: a redact hook failed (%s); the payload is withheld, and so is each for which it fails",
                    error,
                )
            raise

    def _answer(self, text: str, place: Place) -> list[str]:
        if self._hung >= _PATIENCE:
            raise HookError("it hung too often and is not asked any more")
        with self._lock:
            if self._asked is None:
                self._asked = SimpleQueue()
                weakref.finalize(self, self._asked.put, None)  # the thread ends with its hook
                worked = (self._hook, self._asked)
                threading.Thread(target=_work, args=worked, name="recorder-redact", daemon=True).start()
            answers: SimpleQueue[_Answer] = SimpleQueue()
            self._asked.put((text, place, answers))
            try:
                said = answers.get(timeout=DEADLINE)
            except Empty:
                self._hung += 1
                self._asked = None
                raise HookError(f"no answer within {DEADLINE:g} s") from None
        if isinstance(said, BaseException):
            raise HookError(type(said).__name__)
        return said


def _work(hook: Hook, asked: SimpleQueue[_Asked]) -> None:
    while (one := asked.get()) is not None:
        text, place, answers = one
        try:
            answers.put(_texts(hook(text, place)))
        except BaseException as error:  # noqa: BLE001 (a user's function must not break the recording)
            answers.put(error)
        del one, text, answers


def _texts(given: Iterable[str]) -> list[str]:
    """What a hook gave. Raises TypeError for what is no text."""
    if isinstance(given, str | bytes):
        raise TypeError("a hook gives several texts, not one")
    texts = list(given)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a hook gives texts")
    return [str.__str__(text) for text in texts]  # those of a class of the user's own run no code of it later
