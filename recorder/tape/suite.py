"""A function run against many stored runs, to see which of them come out otherwise.

Each run is answered from its own recordings and from nothing else. A run is the same where the function made the very
requests of it; where it asked for something else, or left something out, or raised, the report says what.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder import exchange
from recorder.errors import NotFound, ReplayMiss, UsageError
from recorder.tape import account, files
from recorder.tape.core import Tape, TapeError
from recorder.tape.deck import Deck, Track
from recorder.tape.options import Options
from recorder.tape.runs import Exchange, TapeRun, runs_of

__all__ = ["Case", "Outcome", "Report", "replay_suite"]

_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True)
class Case:
    """One stored run that the function is tried with. `name`: its file, or its id in a store."""

    name: str
    run: TapeRun
    tape: Tape

    @property
    def params(self) -> Any:
        """What was asked when it was recorded."""
        return self.run.params


@dataclass(frozen=True)
class Outcome:
    """What came of one case. `changes` is empty where it is the same; `value` is what the function gave."""

    name: str
    value: Any = None
    error: Exception | None = None
    changes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the function made the run's requests and did not raise."""
        return self.error is None and not self.changes


class Report(tuple[Outcome, ...]):
    """The outcomes of all cases, in the order of the cases. `str()` says which changed, and how."""

    __slots__ = ()

    @property
    def changed(self) -> list[Outcome]:
        """Those that are not the same."""
        return [one for one in self if not one.same]

    def __str__(self) -> str:
        changed = self.changed
        lines = [f"{len(self)} runs replayed, {len(changed)} changed"]
        for one in changed:
            lines.append(f"{one.name}:")
            if one.error is not None:
                lines.append(f"    it raised {type(one.error).__name__}: {one.error}")
            lines += [f"    {line}" for change in one.changes for line in change.splitlines()]
        return "\n".join(lines)

    def check(self) -> None:
        """Raises TapeError where one changed, and where there was none at all."""
        if not self:
            raise TapeError("no stored run matches: nothing was tested")
        if self.changed:
            raise TapeError(str(self))


def replay_suite(
    function: Callable[[Case], Any],
    source: str | os.PathLike[str],
    *,
    options: Options | None = None,
    **filters: Any,
) -> Report:
    """Call `function` once for each stored run, answered from that run alone.

    `source`: a folder of recording files, one such file, or a store (path or URL) whose runs match `filters` (the words
    of `recorder.store.RunFilter`). Calls to known hosts are taken; a client for another one can be given to
    `case.tape.instrument`. Raises UsageError and NotFound where there is nothing of that kind.
    """
    given = options or Options()
    return Report(_outcome(function, name, tracks, given) for name, tracks in _cases(source, filters))


def _cases(source: str | os.PathLike[str], filters: dict[str, Any]) -> Iterator[tuple[str, Sequence[Track]]]:
    path = Path(source)
    if "://" not in str(source) and (path.is_dir() or path.suffix == _SUFFIX):
        if filters:
            raise UsageError("filters are for stores: name the files, or a store")
        found = sorted(path.rglob(f"*{_SUFFIX}")) if path.is_dir() else [path]
        for file in found:
            files.note(file)
            for run in runs_of(Exchange(*track) for track in files.load(file)):
                yield str(file), [Track(one.recording, one.events) for one in run.exchanges]
        return
    yield from _stored(source, filters)


def _stored(source: str | os.PathLike[str], filters: dict[str, Any]) -> Iterator[tuple[str, Sequence[Track]]]:
    from recorder import config
    from recorder.store import RunFilter, Store

    with Store.open(config.store_url(source, create=False), readonly=True) as store:
        for run in reversed(store.runs(RunFilter(**{"limit": 1 << 20, **filters}))):
            tracks = [Track(*entry) for entry in exchange.entries(store, store.members(run.run_id))]
            yield str(run.run_id), [track for track in tracks if track.recording.ending is not None]


def _outcome(function: Callable[[Case], Any], name: str, tracks: Sequence[Track], options: Options) -> Outcome:
    runs = runs_of(Exchange(*track) for track in tracks)
    if not runs:
        raise NotFound(f"{name} holds no run: name another one")
    deck = Deck(tracks)
    tape = Tape(name, options, deck=deck)
    value, error = None, None
    tape.start()
    try:
        value = function(Case(name, runs[0], tape))
    except Exception as raised:  # noqa: BLE001 (told as the outcome)
        error = None if isinstance(raised, ReplayMiss) and tape.misses else raised
    finally:
        tape.stop()
    changes = [told] if (told := tape.misses) else []
    if not changes and error is None:
        left = tape.unused
        if left:
            changes.append(account.leftover(left, deck, name, "say what is meant"))
    return Outcome(name, value, error, tuple(changes))
