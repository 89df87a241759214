"""What is different between two runs, or two tapes, as short lines for a person: parameters, events, text, usage.

Pure. It shows what the requests and answers say, so its lines are for terminals and test reports, not for logs; what
looks like a credential is masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder import redact
from recorder.match.diff import shared, shortened

if TYPE_CHECKING:
    from recorder.tape.runs import TapeRun, Usage

__all__ = ["Change", "changed", "compared"]

#: Characters shown of a value, and of these before the first that differs.
_SHOWN: Final = 60
_BEFORE: Final = 15
#: Levels of parameters that are taken apart.
_DEEPEST: Final = 12


class Change(NamedTuple):
    """One thing that is different: `what` reads like an attribute of a run. None: not there."""

    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before, after = ("absent" if side is None else side for side in (self.before, self.after))
        return f"{self.what}: {before} -> {after}"


def changed(before: Sequence[TapeRun], after: Sequence[TapeRun]) -> list[str]:
    """What is different between the runs of two tapes, in order; nothing where they are the same."""
    lines = []
    for number, (old, new) in enumerate(zip_longest(before, after), 1):
        name = f"run {number}" if max(len(before), len(after)) > 1 else "run"
        if old is None:
            lines.append(f"{name}: new: {_short(_name(new))}")
        elif new is None:
            lines.append(f"{name}: gone: {_short(_name(old))}")
        else:
            lines += [f"{name}: {change}" for change in compared(old, new)]
    return lines


def _name(run: TapeRun) -> str:
    return f"{run.dialect} {run.status}{'' if run.text is None else ' ' + json.dumps(run.text, ensure_ascii=False)}"


def compared(before: TapeRun, after: TapeRun) -> list[Change]:
    """What is different between two runs."""
    return [*_compared(before, after)]


def _compared(before: TapeRun, after: TapeRun) -> Iterator[Change]:
    yield from _values("params", before.params, after.params)
    for name in ("status", "stop_reason"):
        if (old := getattr(before, name)) != (new := getattr(after, name)):
            yield Change(name, old, new)
    if before.skeleton != after.skeleton:
        yield _events(before.skeleton, after.skeleton)
    yield from _values("text", before.text, after.text)
    calls = [[{"name": call.name, "arguments": call.arguments} for call in run.tool_calls] for run in (before, after)]
    yield from _values("tool_calls", calls[0], calls[1])
    yield from _usage(before.usage, after.usage)


def _usage(before: Usage, after: Usage) -> Iterator[Change]:
    for name, old, new in zip(before._fields, before, after, strict=True):
        if old != new:
            yield Change(f"usage.{name}", *(None if side is None else str(side) for side in (old, new)))


def _events(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> Change:
    """The first place where the names of the events part."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    sides = []
    for side in (before, after):
        shown = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in side[start : start + 3])
        sides.append(f"{sum(count for _, count in side)} ({'...' if start else ''}{_short(shown) or 'end'})")
    return Change("events", *sides)


#: What stands for a side that has no such member.
_ABSENT: Final = object()


def _values(path: str, before: Any, after: Any, depth: int = 0) -> Iterator[Change]:
    """The places where two JSON values differ."""
    if before == after and type(before) is type(after):
        return
    inner: list[tuple[str, Any, Any]] = []
    if depth < _DEEPEST and isinstance(before, Mapping) and isinstance(after, Mapping):
        inner = [
            (f"{path}.{name}", before.get(name, _ABSENT), after.get(name, _ABSENT)) for name in {**before, **after}
        ]
    elif depth < _DEEPEST and isinstance(before, list) and isinstance(after, list):
        pairs = zip_longest(before, after, fillvalue=_ABSENT)
        inner = [(f"{path}[{number}]", old, new) for number, (old, new) in enumerate(pairs)]
    for place, old, new in inner:
        yield from _values(place, old, new, depth + 1)
    if not inner:
        yield _change(path, before, after)


def _change(path: str, before: Any, after: Any) -> Change:
    hidden = redact.credential_field(path.rpartition(".")[2])
    sides = [None if side is _ABSENT else _shown(side, hidden=hidden) for side in (before, after)]
    there = [side for side in sides if side is not None]
    start = shared(*there) if len(there) == 2 else 0
    return Change(path, *(None if side is None else _short(side, start) for side in sides))


def _shown(value: Any, *, hidden: bool) -> str:
    return redact.REDACTED if hidden else json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str, start: int = 0) -> str:
    """So much of a text as a line takes, from a little before `start`."""
    return shortened(redact.mask(text), start, _SHOWN, _BEFORE)
