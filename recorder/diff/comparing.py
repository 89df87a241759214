"""Two sides in, a Comparison out: seven sections, of which all but timing can make two runs differ. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from recorder.diff.parameters import Change, calls, parameters
from recorder.diff.sides import Side
from recorder.diff.skeleton import Block, blocks, skeleton
from recorder.diff.words import Words, word_diff
from recorder.errors import UsageError
from recorder.match import DEFAULT, Rule
from recorder.recording import Transport

__all__ = ["SECTIONS", "Change", "Comparison", "Ignored", "Timing", "compare", "parse_ignore"]

SECTIONS: Final = ("parameters", "events", "text", "reasoning", "tool_calls", "usage", "outcome", "timing")

_TOKENS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")
_OUTCOME: Final = ("status", "stop_reason", "stop_reason_raw", "complete", "model", "service_tier")

#: Flags that say something of times, or of the record rather than the run.
_NO_OUTCOME: Final = frozenset({"duplicate", "payload_missing", "redacted", "stalled"})

#: A time counts as different when one side took so many times as long as the other, and so many microseconds longer.
_FACTOR: Final = 2
_LEAST_US: Final = 100_000


class Timing(NamedTuple):
    """A time of both sides in microseconds, and how many times as long the second one took; None where not known."""

    name: str
    before: int | None
    after: int | None
    ratio: float | None

    @property
    def differs(self) -> bool:
        """More than twice as long, and more than a tenth of a second longer."""
        if self.before is None or self.after is None:
            return self.before is not self.after
        short, long = sorted((self.before, self.after))
        return long > _FACTOR * short and long - short > _LEAST_US


@dataclass(frozen=True, slots=True)
class Ignored:
    """What does not count: sections or lines of one (`usage.cached_tokens`), and places in requests (a match rule)."""

    lines: tuple[str, ...] = ()
    rule: Rule = DEFAULT

    def drops(self, section: str, path: str | None = None) -> bool:
        """Whether this line of a section does not count."""
        whole = section if path is None else f"{section}.{path}"
        return any(whole == line or whole.startswith((f"{line}.", f"{line}[")) for line in self.lines)


_NOTHING: Final = Ignored()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Where two runs differ. `text` and `reasoning` are whole texts in pieces, `events` whole skeletons in blocks; the
    other sections hold what differs alone, and `timing` all times. `notes` say what could not be compared.
    """

    before: Side
    after: Side
    parameters: Sequence[Change]
    events: Sequence[Block]
    text: Sequence[Words]
    reasoning: Sequence[Words]
    tool_calls: Sequence[Change]
    usage: Sequence[Change]
    outcome: Sequence[Change]
    timing: Sequence[Timing]
    notes: Sequence[str]

    def differing(self, *, timing: bool = False) -> list[str]:
        """The sections that differ, in order; times only where asked for."""
        found = [name for name in ("parameters", "tool_calls", "usage", "outcome") if getattr(self, name)]
        found += [
            name for name in ("events", "text", "reasoning") if any(not each.same for each in getattr(self, name))
        ]
        if timing and any(each.differs for each in self.timing):
            found.append("timing")
        return sorted(found, key=SECTIONS.index)


def parse_ignore(names: Iterable[str]) -> Ignored:
    """What the names say that does not count: `text`, `usage.cached_tokens`, or a place in the request as a match rule
    has it (`body.metadata`, `query.limit`, `body.messages[*].id`). Raises UsageError for anything else.
    """
    lines, paths = [], []
    for name in names:
        word = name.partition(".")[0].partition("[")[0]
        if word in ("body", "query"):
            paths.append(name)
        elif word in SECTIONS:
            lines.append(name)
        else:
            raise UsageError(
                f"--ignore {name!r} is nothing that is compared: write {', '.join(SECTIONS)},"
                " or a place in the request such as body.metadata"
            )
    return Ignored(tuple(lines), Rule(ignore=tuple(paths)))


def compare(before: Side, after: Side, ignored: Ignored = _NOTHING) -> Comparison:
    """Where the second run differs from the first. Raises nothing: what is not known is told in the notes."""
    notes = [
        f"run {name}: {one.withheld}, so texts, tool calls and what events were about are not compared"
        for name, one in (("A", before), ("B", after))
        if one.withheld is not None
    ]
    told = not notes

    def kept(section: str, found: Iterable[Change]) -> list[Change]:
        return [each for each in found if not ignored.drops(section, each.path)]

    asked, more = parameters(before, after, ignored.rule) if not ignored.drops("parameters") else ([], [])
    return Comparison(
        before=before,
        after=after,
        parameters=kept("parameters", asked),
        events=_events(before, after) if told and not ignored.drops("events") else (),
        text=word_diff(before.text(), after.text()) if told and not ignored.drops("text") else (),
        reasoning=word_diff(before.reasoning(), after.reasoning()) if told and not ignored.drops("reasoning") else (),
        tool_calls=kept("tool_calls", calls(before.calls(), after.calls())) if told else (),
        usage=kept("usage", _changes(_usage(before), _usage(after))),
        outcome=kept("outcome", _changes(_outcome(before), _outcome(after))),
        timing=[each for each in _timing(before, after) if not ignored.drops("timing", each.name)],
        notes=tuple(dict.fromkeys([*notes, *more, *_polls(before, after)])),
    )


def _events(before: Side, after: Side) -> list[Block]:
    return blocks(skeleton(before), skeleton(after))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """What differs between two flat sets; None is not there."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new:
            yield Change(name, _word(old), _word(new))


def _word(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _usage(side: Side) -> dict[str, Any]:
    told = {name: getattr(side.run, name) for name in _TOKENS}
    return told | {"quality": side.standing.usage_quality}


def _outcome(side: Side) -> dict[str, Any]:
    """How the run ended, in flat words. That a client leaves after the last word is as good as reading to the end."""
    ending = side.parts[-1].recording.ending
    how = None if ending is None else ending.ending
    if how == Transport.CLIENT_CLOSED and side.run.complete:
        how = Transport.EOF.value
    told: dict[str, Any] = {name: getattr(side.run, name) for name in _OUTCOME}
    told |= {
        "http_status": None if ending is None else ending.http_status,
        "ending": how,
        "captured": None if ending is None else ending.captured,
        "system_fingerprint": side.standing.facts.get("system_fingerprint"),
        "json_valid": side.standing.json_valid,
    }
    error = side.standing.facts.get("evidence", {}).get("error")
    if isinstance(error, Mapping):
        told["error"] = error.get("code") or error.get("type") or "an error"
    return told | {f"flags.{flag}": "noticed" for flag in side.standing.flags if flag not in _NO_OUTCOME}


def _timing(before: Side, after: Side) -> Iterator[Timing]:
    ours, theirs = _times(before), _times(after)
    for name in ours:
        old, new = ours[name], theirs[name]
        if old is not None or new is not None:
            yield Timing(name, old, new, None if not old or new is None else new / old)


def _times(side: Side) -> dict[str, int | None]:
    first, run = side.parts[0], side.run
    ending = first.recording.ending
    gaps = [part.reading.longest_gap_us for part in side.parts if part.reading.longest_gap_us is not None]
    return {
        "head": None if ending is None else ending.head_us,
        "first_token": first.reading.ttft_us,
        "first_text": first.reading.ttft_visible_us,
        "longest_gap": max(gaps, default=None),
        "waited_for_tools": run.waited_us,
        "streamed": run.streamed_us,
        "total": run.duration_us,
    }


def _polls(before: Side, after: Side) -> Iterator[str]:
    if before.polls != after.polls:
        yield f"the client looked {before.polls} times at run A and {after.polls} times at run B; that is not compared"
