"""A run's timeline as people and scripts read it: a raster of every event, the gaps, the checks, a single moment.

Every text of a stranger goes through `safe`; in JSON nothing is left out or shortened.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from recorder.recording import POLLS

from .output import asked, count, json_line, milliseconds, moment, safe, several, span, timestamp
from .story import ENDED, folded

if TYPE_CHECKING:
    from recorder.recording import Head, Reading
    from recorder.timeline import Check, Mark, Moment, State, Timeline, Track

__all__ = [
    "KINDS",
    "Row",
    "column_of",
    "how_ended",
    "lines_of",
    "print_lines",
    "print_moment",
    "print_timeline",
    "rows_of",
    "said_by",
    "tell_moment",
    "tell_timeline",
]

#: Kind of event -> its letter in the raster, and its colour.
KINDS: Final = {
    "lifecycle": ("L", "blue"),
    "text": ("t", "green"),
    "reasoning": ("r", "magenta"),
    "arguments": ("a", "cyan"),
    "usage": ("u", "yellow"),
    "ping": ("p", "bright_black"),
    "error": ("E", "red"),
    "done": ("D", "blue"),
    "other": ("o", "white"),
    "head": ("h", "bright_black"),
    "body": ("b", "white"),
    "wire": ("w", "bright_black"),
    "end": ("|", "bright_black"),
}
#: Lanes that every raster has not, because their rows are told of elsewhere.
_NO_LANE: Final = frozenset({"wire"})

_LABEL: Final = 11
_WIDTH: Final = (40, 100, 200)  # columns of a raster: at least, where no terminal says, at most

#: Rows of the list of events, half of them from its beginning.
_ROWS: Final = 240
_PREVIEW: Final = 48

#: Headers of a response that say something about how it went.
_HEADERS: Final = frozenset(
    str.split(
        """
        age apim-request-id cf-ray content-encoding content-length content-type date location openai-model
        openai-processing-ms openai-version request-id retry-after retry-after-ms server transfer-encoding via
        x-amzn-requestid x-cache x-envoy-upstream-service-time x-ms-region x-ms-request-id x-request-id x-should-retry
        """
    )
)
_LIMITS: Final = ("anthropic-ratelimit-", "x-ratelimit-")

_VERDICTS: Final = {"ok": ("ok ", "green"), "not": ("NOT", "red"), "unknown": ("?  ", "yellow")}


# -- the timeline ------------------------------------------------------------------------------------------------------


def print_timeline(line: Timeline) -> None:
    """The timeline for people."""
    for each in tell_timeline(line, _width()):
        click.echo(each)


def _width() -> int:
    least, usual, most = _WIDTH
    columns = shutil.get_terminal_size((usual + _LABEL + 2, 24)).columns if sys.stdout.isatty() else usual + _LABEL + 2
    return max(least, min(most, columns - _LABEL - 2))


def tell_timeline(line: Timeline, width: int) -> Iterator[str]:
    """The lines of a timeline whose rasters are so many columns wide."""
    run = line.run
    yield click.style(
        safe(f"{run.provider_run_id or run.run_id}  ({run.dialect}, {run.model or 'model unknown'})"), bold=True
    )
    recordings = several(len(line.tracks), "recording")
    yield f"run {run.run_id}, {moment(run.started_at)}, {recordings} in {span(line.lasts_us)}"
    if line.duplicates:
        yield f"{several(line.duplicates, 'second record')} of the same exchange left out; name its id to see it"
    yield from _attempts(line)
    if len(line.tracks) > 1:
        yield ""
        yield from _overview(line, width)
    for number, track in enumerate(line.tracks, 1):
        if track.reading.action in POLLS:
            yield from _poll(number, track)
            continue
        yield ""
        yield from _track(number, track, width)


def _poll(number: int, track: Track) -> Iterator[str]:
    """A look at the run: in one line, and what is wrong with it."""
    from recorder.timeline import checks

    status = "no answer" if track.answered is None else f"HTTP {track.answered[1]}"
    yield ""
    yield click.style(safe(f"{number}. {asked(track.recording)}"), bold=True)
    yield safe(
        f"   recording {track.recording.recording_id}, asked at {span(track.starts_us)}: {status} after"
        f" {span(track.lasts_us)}, {track.reading.status}"
    )
    yield from (_check(check) for check in checks(track) if check.verdict == "not")


def _attempts(line: Timeline) -> Iterator[str]:
    if line.retry:
        yield f"the client says that this is retry {line.retry}"
    for each in line.attempts:
        when = f"{span(abs(each.before_us))} {'earlier' if each.before_us >= 0 else 'later'}"
        why = "another try of the same call" if each.same_call else "the same request"
        ending = each.recording.ending
        came = "still open" if ending is None else f"HTTP {ending.http_status}" if ending.http_status else ending.ending
        yield f"{why}, {when}: {came} (recording {each.recording.recording_id})"


def _overview(line: Timeline, width: int) -> Iterator[str]:
    """The recordings of a run on one axis."""
    whole = max(line.lasts_us, 1)
    yield _axis(whole, width)
    for number, track in enumerate(line.tracks, 1):
        start, end = (column_of(at, whole, width) for at in (track.starts_us, track.starts_us + track.lasts_us))
        waited = "" if not track.waited_us or track.waited_us < 0 else f" {span(track.waited_us)} after the one before"
        yield f"{number:>{_LABEL}} |{' ' * start}{'=' * (end - start + 1)}{' ' * (width - end - 1)}|{waited}"


def _axis(whole: int, width: int) -> str:
    end = span(whole)
    return f"{'':>{_LABEL}}  0{' ' * max(1, width - 1 - len(end))}{end}"


def _track(number: int, track: Track, width: int) -> Iterator[str]:
    recording, ending = track.recording, track.recording.ending
    yield click.style(safe(f"{number}. {asked(recording)}"), bold=True)
    sent = f"{several(recording.request.body_size, 'byte')} asked at {span(track.starts_us)}"
    waited = "" if track.waited_us is None else f", {_pause(track)}"
    yield f"   recording {recording.recording_id}, {sent}{waited}"
    for at, head in track.infos:
        yield safe(f"   info after {span(at)}: {head.status} {head.reason}")
    if track.head is not None:
        yield from _head(*track.head)
    elif track.answered is not None:
        at, status = track.answered
        yield f"   head after {span(at)}: {status}; the rest of it is not there: {recording.missing}"
    elif ending is not None and ending.http_status is None:
        yield "   no answer came"
    if track.marks:
        yield ""
        yield from _raster(track, width)
        yield ""
        yield from _listed(track)
    yield ""
    yield from _ended(track)
    from recorder.timeline import checks

    for check in checks(track):
        yield _check(check)


def _pause(track: Track) -> str:
    waited = track.waited_us or 0
    if waited < 0:
        return f"{span(-waited)} before the one before it ended"
    why = ": the run waited for its tools" if track.reading.action == "submit_tool_outputs" else ""
    return f"{span(waited)} after the one before it ended{why}"


def _head(at: int, head: Head) -> Iterator[str]:
    yield safe(f"   head after {span(at)}: {head.http_version} {head.status} {head.reason}".rstrip())
    for name, value in head.headers:
        if name.lower() in _HEADERS or name.lower().startswith(_LIMITS):
            yield safe(f"      {name}: {value}")


# -- the raster --------------------------------------------------------------------------------------------------------


def column_of(at_us: int, whole_us: int, width: int) -> int:
    """In which of so many columns a time is drawn."""
    return min(max(at_us, 0) * width // whole_us, width - 1)


def _raster(track: Track, width: int) -> Iterator[str]:
    """A lane for each kind of event, all on one axis of time; every event is in its column, however many share it."""
    whole = max(track.lasts_us, 1)
    lanes: dict[str, list[int]] = {}
    numbers = [0] * width
    for mark in track.marks:
        if mark.what in _NO_LANE:
            continue
        lane = lanes.get(mark.what)
        if lane is None:
            lane = lanes[mark.what] = [0] * width
        column = column_of(mark.elapsed_us, whole, width)
        lane[column] += 1
        if mark.offset is not None:
            numbers[column] += 1
    yield _axis(whole, width)
    for kind, (letter, colour) in KINDS.items():
        if kind in lanes:
            drawn = "".join(letter if number else " " for number in lanes[kind])
            yield f"{kind:>{_LABEL}} |{click.style(drawn, fg=colour)}|"
    if any(number > 1 for number in numbers):
        drawn = "".join(" " if not number else str(number) if number < 10 else "+" for number in numbers)
        yield f"{'how many':>{_LABEL}} |{drawn}|"
    if track.stalls:
        yield f"{'stalls':>{_LABEL}} |{click.style(_stalls(track, whole, width), fg='red')}|"
    yield f"{'':>{_LABEL}}  one column is {span(max(1, whole // width))}"


def _stalls(track: Track, whole: int, width: int) -> str:
    drawn = [" "] * width
    for gap in track.stalls:
        start, end = (column_of(at, whole, width) for at in (gap.from_us, gap.from_us + gap.length_us))
        drawn[start : end + 1] = "-" * (end - start + 1)
    return "".join(drawn)


# -- the list ----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """Events in a row that have the same name and brought the same."""

    marks: Sequence[Mark]
    stalled_us: int | None


def _listed(track: Track) -> Iterator[str]:
    rows = list(rows_of(track))
    half = _ROWS // 2
    shown = rows if len(rows) <= _ROWS else [*rows[:half], *rows[-half:]]
    where = "decoded " if track.encoded else ""
    yield click.style(
        f"   {'event':<13}{'after':>9}  {'until':>9}  {where + 'byte':>12}  {'size':>9}  kind       name", dim=True
    )
    for place, row in enumerate(shown):
        if place == half and len(rows) > _ROWS:
            yield f"   ({count(len(rows) - _ROWS)} rows left out here; --json has every event)"
        if row.stalled_us is not None:
            yield click.style(f"   {'':<13}nothing for {span(row.stalled_us)}", fg="red")
        yield _row(track, row)


def rows_of(track: Track) -> Iterator[Row]:
    """The events, those in a row that are alike together; a stall parts them."""
    stalls = {gap.position: gap.length_us for gap in track.stalls}
    held: list[Mark] = []
    stalled: int | None = None
    for mark in track.marks:
        if held and (held[-1].name != mark.name or held[-1].what != mark.what or mark.position in stalls):
            yield Row(held, stalled)
            held, stalled = [], None
        if not held:
            stalled = stalls.get(mark.position)
        held.append(mark)
    if held:
        yield Row(held, stalls.get(None) if held[0].what == "end" else stalled)


def _row(track: Track, row: Row) -> str:
    first, last = row.marks[0], row.marks[-1]
    number = len(row.marks)
    where = f"{first.position}" if number == 1 else f"{first.position}-{last.position}"
    until = "" if number == 1 else span(last.elapsed_us)
    offset = "" if first.offset is None else count(first.offset)
    size = sum(mark.size for mark in row.marks)
    named = safe(first.name) + (f" x{count(number)}" if number > 1 else "")
    kind = click.style(f"{first.what:<9}", fg=KINDS[first.what][1])
    said = said_by(track, row)
    return (
        f"   {where:<13}{span(first.elapsed_us):>9}  {until:>9}  {offset:>12}  {count(size):>9}  {kind}  {named}{said}"
    )


def said_by(track: Track, row: Row) -> str:
    """The beginning of what these events said."""
    from recorder.reader.brought import place_of

    first, last = row.marks[0].position, row.marks[-1].position
    if row.marks[0].what == "error":
        place = place_of(track.events, first)
        data = None if place is None else track.events[place].data
        return "" if data is None else f"  {_short(data.decode(errors='replace'))}"
    if row.marks[0].what not in ("text", "reasoning", "arguments"):
        return ""
    pieces = []
    for spoken in track.told.reading.spoken:
        start, end = bisect_left(spoken.positions, first), bisect_right(spoken.positions, last)
        if start < end:
            until = spoken.offsets[end] if end < len(spoken.offsets) else len(spoken.text)
            pieces.append(spoken.text[spoken.offsets[start] : min(until, spoken.offsets[start] + _PREVIEW + 1)])
    said = "".join(pieces)
    return f"  {_short(said)}" if said else ""


def _short(text: str) -> str:
    return f'"{safe(text[:_PREVIEW])}"' + ("..." if len(text) > _PREVIEW else "")


# -- how it ended ------------------------------------------------------------------------------------------------------


def how_ended(track: Track) -> str:
    """How the transport ended, in a sentence."""
    ending = track.recording.ending
    if ending is None:
        return "It is still being recorded, or its writer died."
    if ending.ending == "client_closed" and track.reading.complete:
        return "The client closed the connection after the last word, as SDKs do."
    return ENDED.get(ending.ending, "The response was read to its end.")


def _ended(track: Track) -> Iterator[str]:
    ending = track.recording.ending
    if ending is None:
        yield f"   {how_ended(track)}"
        return
    came = f"after {span(ending.elapsed_us)}, {several(ending.wire_bytes, 'byte')}"
    yield f"   ended by {ending.ending} {came}. {how_ended(track)}"
    for link in ending.detail.get("exception", ()):
        yield safe(f"   {link.get('type')}: {link.get('message')}")
    if track.longest is not None:
        at = span(track.longest.from_us)
        length = span(track.longest.length_us)
        yield f"   longest gap between two events {length}, from {at} to event {track.longest.position}"


def _check(check: Check) -> str:
    word, colour = _VERDICTS[check.verdict]
    at = "" if check.position is None else f"   (event {check.position})"
    return f"   {click.style(word, fg=colour)} {check.name}: {safe(check.said)}{at}"


# -- the timeline for scripts ------------------------------------------------------------------------------------------


def lines_of(line: Timeline) -> Iterator[dict[str, Any]]:
    """One object for the run, each try before it, each recording, each of its events and gaps, and each check."""
    from recorder.timeline import checks

    yield _run_fields(line)
    for each in line.attempts:
        ending = each.recording.ending
        yield {
            "about": "attempt",
            "recording_id": str(each.recording.recording_id),
            "before_us": each.before_us,
            "same_call": each.same_call,
            "http_status": None if ending is None else ending.http_status,
            "ending": None if ending is None else ending.ending,
        }
    for number, track in enumerate(line.tracks, 1):
        yield _recording_fields(number, track)
        for mark in track.marks:
            yield {
                "about": "event",
                "part": number,
                "position": mark.position,
                "what": mark.what.value,
                "name": mark.name,
                "elapsed_us": mark.elapsed_us,
                "offset": mark.offset,
                "size": mark.size,
            }
        for gap in track.stalls:
            yield {"about": "stall", "part": number, **gap._asdict()}
        for check in checks(track):
            yield {
                "about": "check",
                "part": number,
                "name": check.name,
                "verdict": check.verdict.value,
                "said": check.said,
                "position": check.position,
            }


def _run_fields(line: Timeline) -> dict[str, Any]:
    run = line.run
    return {
        "about": "run",
        "run_id": str(run.run_id),
        "provider_run_id": run.provider_run_id,
        "dialect": run.dialect,
        "model": run.model,
        "status": run.status,
        "started_at": timestamp(run.started_at),
        "recordings": len(line.tracks),
        "duplicates": line.duplicates,
        "lasts_us": line.lasts_us,
        "retry": line.retry,
    }


def _recording_fields(number: int, track: Track) -> dict[str, Any]:
    recording, ending, longest = track.recording, track.recording.ending, track.longest
    return {
        "about": "recording",
        "part": number,
        "recording_id": str(recording.recording_id),
        "action": track.reading.action,
        "method": recording.request.method,
        "url": recording.request.url or None,
        "request_bytes": recording.request.body_size,
        "starts_us": track.starts_us,
        "waited_us": track.waited_us,
        "infos": [{"elapsed_us": at, "status": head.status} for at, head in track.infos],
        "head_us": None if track.answered is None else track.answered[0],
        "http_status": None if track.answered is None else track.answered[1],
        "headers": [] if track.head is None else [list(pair) for pair in track.head[1].headers],
        "encoded": track.encoded,
        "bytes": track.body_size,
        "longest_gap": None if longest is None else longest._asdict(),
        "ending": None if ending is None else ending.ending,
        "captured": None if ending is None else ending.captured,
        "elapsed_us": None if ending is None else ending.elapsed_us,
        "detail": {} if ending is None else dict(ending.detail),
    }


#: Lines that are written together.
_TOGETHER: Final = 2000


def print_lines(line: Timeline) -> None:
    """The timeline for scripts; tens of thousands of lines in batches."""
    told = (json.dumps(each, separators=(",", ":"), default=str) for each in lines_of(line))
    while batch := list(itertools.islice(told, _TOGETHER)):
        click.echo("\n".join(batch))


# -- a moment ----------------------------------------------------------------------------------------------------------


def print_moment(then: Moment, line: Timeline, *, json_: bool) -> None:
    """What the client had then."""
    if json_:
        json_line(_moment_fields(then))
        return
    for each in tell_moment(then, line):
        click.echo(each)


def tell_moment(then: Moment, line: Timeline) -> Iterator[str]:
    """The lines of a moment: the recordings before it in short, then what was there."""
    yield click.style(f"{span(then.at_us)} after the run began, the client had:", bold=True)
    for state in then.states:
        track = line.tracks[state.number - 1]
        yield ""
        yield safe(f"{state.number}. {asked(track.recording)}, {span(state.elapsed_us)} after it was sent")
        yield from _state(state, track)


def _state(state: State, track: Track) -> Iterator[str]:
    if state.http_status is None:
        yield "   no answer yet" if not state.over else "   no answer: the exchange was over"
    else:
        yield f"   HTTP {state.http_status}, {several(state.events, 'event')}, {several(state.size, 'byte')}"
        if state.unfinished:
            yield f"   {count(state.unfinished)} of these bytes belong to an event that was not whole yet"
        last = track.events[-1].position
        yield f"   the last whole row is {state.position} of 0 to {last}" + (": the end" if state.over else "")
    if state.withheld is not None:
        yield f"   what was said is not known: {state.withheld}"
    reading = state.reading
    if reading is None:
        return
    said = reading.status if reading.stop_reason_raw is None else f"{reading.status} ({reading.stop_reason_raw})"
    yield safe(f"   status: {said}")
    yield f"   tokens: {_tokens(reading)}"
    for call in state.calls:
        yield safe(f"   calls {call.name or 'a tool'}({'' if call.arguments is None else call.arguments})")
    if state.reasoning:
        yield f"   reasoning, {several(len(state.reasoning), 'character')}:"
        yield from _quoted(state.reasoning)
    if reading.text:
        yield f"   text, {several(len(reading.text), 'character')}:"
        yield from _quoted(reading.text)
    elif state.withheld is None:
        yield "   no text"


def _tokens(reading: Reading) -> str:
    stated = {"input": reading.input_tokens, "output": reading.output_tokens, "reasoning": reading.reasoning_tokens}
    told = ", ".join(f"{count(number)} {name}" for name, number in stated.items() if number is not None)
    return told or "none stated"


def _quoted(text: str) -> Iterable[str]:
    return (f"   | {each}" for each in folded(safe(text, lines=True).split("\n")))


def _moment_fields(then: Moment) -> dict[str, Any]:
    return {"at_ms": milliseconds(then.at_us), "parts": [_state_fields(state) for state in then.states]}


def _state_fields(state: State) -> dict[str, Any]:
    reading = state.reading
    return {
        "part": state.number,
        "recording_id": str(state.recording_id),
        "elapsed_ms": milliseconds(state.elapsed_us),
        "position": state.position,
        "events": state.events,
        "bytes": state.size,
        "unfinished_bytes": state.unfinished,
        "over": state.over,
        "http_status": state.http_status,
        "withheld": state.withheld,
        "status": None if reading is None else str(reading.status),
        "stop_reason": None if reading is None or reading.stop_reason is None else str(reading.stop_reason),
        "stop_reason_raw": None if reading is None else reading.stop_reason_raw,
        "input_tokens": None if reading is None else reading.input_tokens,
        "output_tokens": None if reading is None else reading.output_tokens,
        "reasoning_tokens": None if reading is None else reading.reasoning_tokens,
        "text": None if reading is None else reading.text,
        "reasoning": state.reasoning if state.withheld is None else None,
        "tool_calls": [call._asdict() for call in state.calls] if state.withheld is None else None,
    }
