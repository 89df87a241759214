"""A run told to people, in order: what was asked, what came back, why it stopped and how one knows, what it used.

Knows no protocol: what a dialect found is in the readings' columns, flags and facts, under names that are the same for
all. Every text of a stranger goes through `safe`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .output import asked, count, moment, safe, several, span

if TYPE_CHECKING:
    from recorder.recording import Erasure, Reading, Recording, Run

__all__ = ["ENDED", "Part", "because", "folded", "gone", "reasons", "tell", "tell_missing"]


class Part(NamedTuple):
    """One recording of a run. `reading` is made from what is there where none is stored; `names` counts its events."""

    recording: Recording
    reading: Reading
    absent: tuple[str, ...]
    names: Mapping[str, int]

    @property
    def erased(self) -> Erasure | None:
        """When its content was erased last, by whom and why."""
        return self.recording.erasures[-1] if self.recording.erasures else None


_BAR: Final = 30

#: A value of a parameter is shown so far, and so many parameters.
_VALUE: Final = 100
_PARAMETERS: Final = 200

# -- why it stopped ----------------------------------------------------------------------------------------------------

#: What a stop reason means, in a plain sentence.
_BECAUSE: Final = {
    "stop": "The model had said what it had to say.",
    "output_limit": "The output reached its token limit, so the answer is cut off.",
    "input_limit": "The input reached its token limit.",
    "content_filter": "The provider's content filter stopped it.",
    "refusal": "The model refused.",
    "tool_call": "It waits for the results of the tools that it called.",
    "paused": "The provider paused it; it may be continued.",
    "error": "It ended in an error.",
    "cancelled": "It was cancelled.",
    "expired": "It expired before it was continued.",
}

#: How the transport ended, where that is not the normal way.
ENDED: Final = {
    "client_closed": "The client closed the connection.",
    "reset": "The connection was reset.",
    "protocol_error": "The server broke off in the middle of the response.",
    "timeout": "The client's timeout fired.",
    "connect_error": "There was no connection to the server.",
    "error": "The client's HTTP library failed.",
    "interrupted": "The recording process died or was closed; what came after that is not known.",
}

#: What a flag means, to somebody who has never seen it.
_NOTICED: Final = {
    "arguments_damaged": "a tool call's arguments are no valid JSON",
    "byte_order_mark": "the stream begins with a byte order mark: SDKs lose its first event",
    "disagreement": "the stream's signals contradict each other",
    "duplicate": "another recording of the same exchange exists; it counts once",
    "echo_differs": "the server worked with other parameters than were asked for",
    "http_error": "the server refused the request",
    "input_cap_reached": "the input reached its cap",
    "json_damaged": "the JSON that was asked for is not valid",
    "json_not_asked_for": "JSON mode, but no message says the word JSON: whitespace up to the limit may follow",
    "malformed_json": "an event's payload is no valid JSON",
    "mid_word_end": "the text ends in the middle of a word or sentence",
    "no_end_marker": "the end marker of the protocol did not come",
    "no_terminal_event": "no event said how it ended: the stream was cut, and clients do not notice that",
    "not_sse": "a stream was asked for, but something else came",
    "output_cap_reached": "the output reached its cap",
    "outside_limits": "a parameter is outside the provider's documented limits",
    "oversize_frame": "an event was too large to be read",
    "payload_missing": "the payloads are not there",
    "reader_error": "the reading failed; the recording is whole",
    "reasoning_starved": "reasoning used up the output limit, so there is no answer",
    "redacted": "parts of the request or the answer were masked before they were stored",
    "repetition_runaway": "the model repeated itself without end",
    "sequence_gap": "the events' sequence numbers have gaps or are out of order",
    "stalled": "the stream stood still for a while",
    "step_usage_sum": "the steps' tokens add up to something else than the run's",
    "text_differs": "the pieces of the text are not the text that was declared complete",
    "tool_call_open": "a tool call's arguments did not come to their end",
    "undecoded": "the answer's content coding could not be taken off",
    "unterminated_tail": "the last event was not terminated",
    "usage_sum": "the reported token counts contradict each other",
    "whitespace_runaway": "the model wrote whitespace without end",
}


def because(run: Run, reading: Reading) -> str:
    """Why the run stopped, in one plain sentence."""
    used, cap, flags = run.output_tokens, run.max_completion_tokens, reading.flags
    if run.stop_reason == "output_limit":
        spent = f"{count(used)} of {several(cap, 'token')}" if used is not None and cap else "its token limit"
        if "reasoning_starved" in flags:
            return f"Reasoning used up the output limit ({spent}), so no answer was written."
        if "whitespace_runaway" in flags:
            onset = _dig(reading.facts, "whitespace", "at")
            where = f" from character {count(onset)} on" if isinstance(onset, int) else ""
            return f"The model wrote whitespace{where} until the output limit ({spent})."
        if "repetition_runaway" in flags:
            return f"The model repeated itself until the output limit ({spent})."
        if used is not None and cap:
            return f"The output reached its token limit ({spent}), so the answer is cut off."
    if run.stop_reason == "input_limit" and run.input_tokens is not None and run.max_prompt_tokens:
        spent = f"{count(run.input_tokens)} of {several(run.max_prompt_tokens, 'token')}"
        return f"The input reached its token limit ({spent})."
    if run.stop_reason is None:
        return _unsaid(run, reading)
    return _BECAUSE.get(run.stop_reason, "Nothing that was recorded says why.")


def _unsaid(run: Run, reading: Reading) -> str:
    """Why nothing says why it stopped."""
    if run.ending is None:
        return "It is not over yet."
    if run.complete is not False:
        return "Nothing that was recorded says why."
    if "http_status" not in reading.facts and not run.bytes:
        return "No answer came."
    return "Nothing says why: the stream was cut before the protocol said that it was over."


def reasons(run: Run, standing: Part) -> Iterator[str]:
    """Why it stopped and how one knows, a line each."""
    return (click.unstyle(line).strip() for line in itertools.islice(_why(run, standing), 1, None))


def _why(run: Run, standing: Part) -> Iterator[str]:
    yield click.style("Why it stopped", bold=True)
    said = run.status if run.stop_reason_raw is None else f"{run.status} ({run.stop_reason_raw})"
    yield safe(f"  {said}. {because(run, standing.reading)}")
    if run.ending in ENDED and not (run.ending == "client_closed" and run.complete):
        yield f"  {ENDED[run.ending]}"
    ending = standing.recording.ending
    if ending is None:
        yield "  It is still being recorded."
    elif ending.captured == "truncated":
        yield safe(f"  Only a part was recorded: {ending.detail.get('reason', 'the end is missing')}.")
    for line in _evidence(standing.reading.facts):
        yield safe(f"  {line}")
    for flag in run.flags:
        yield safe(f"  noticed: {_NOTICED.get(flag, flag)} [{flag}]")


def _evidence(facts: Mapping[str, Any]) -> Iterator[str]:
    """What the verdict rests on: raw values, and the events that they came with."""
    for what, told in (facts.get("evidence") or {}).items():
        if not isinstance(told, dict):
            continue
        nested = all(isinstance(value, dict) for value in told.values())
        for name, found in told.items() if nested else ((None, told),):
            said = ", ".join(
                _figures(value) if key == "value" else f"{key} {_short(value)}"
                for key, value in found.items()
                if key != "position"
            )
            at = found.get("position")
            yield (
                f"{what}{'' if name is None else f' {name}'}: {said or 'seen'}"
                f"{'' if at is None else f'   (event {at})'}"
            )
    if facts.get("disagreements"):
        yield f"contradicting each other: {', '.join(map(str, facts['disagreements']))}"


def _figures(value: Any) -> str:
    """A raw value; of an object the figures that are not 0, however deep."""
    if not isinstance(value, dict):
        return _short(value)
    figures = []
    left = [("", value)]
    while left:
        above, told = left.pop(0)
        for name, inner in told.items():
            if isinstance(inner, dict):
                left.append((f"{above}{name}.", inner))
            elif inner and not isinstance(inner, list):
                figures.append(f"{above}{name} {_short(inner)}")
    return _short(", ".join(figures), 240)


# -- what was asked ----------------------------------------------------------------------------------------------------


def _asked(part: Part) -> Iterator[str]:
    recording, reading = part.recording, part.reading
    yield click.style("Asked", bold=True)
    yield "  " + safe(asked(recording))
    parameters = recording.parameters if reading.parameters is None else reading.parameters
    for name, value in itertools.islice(parameters.items(), _PARAMETERS):
        yield "  " + safe(f"{_short(name)} = {_value(value, _left_in(recording))}")
    if len(parameters) > _PARAMETERS:
        yield f"  (and {count(len(parameters) - _PARAMETERS)} more)"
    if part.erased is not None:
        yield f"  {gone(part.erased)}"
    elif recording.withheld:
        yield f"  (the request is withheld: {recording.missing})"
    elif recording.request.body is None:
        yield "  (the request's body was not kept)"
    if part.absent:
        yield "  " + click.style(f"not sent: {', '.join(part.absent)}", dim=True)
    if echoed := reading.facts.get("echoed"):
        taken = ", ".join(f"{name} = {_value(value)}" for name, value in echoed.items())
        yield "  " + click.style(safe(f"the server took {taken}"), dim=True)
    for name, both in (reading.facts.get("echo_differs") or {}).items():
        changed = "something else" if not both else f"{_value(both[1])} instead of {_value(both[0])}"
        yield "  " + safe(f"the server took {name} = {changed}")
    for broken in reading.facts.get("limits") or ():
        yield "  " + safe(f"outside the limits: {broken.get('parameter')} {broken.get('size')}; {broken.get('limit')}")
    for name, text in recording.tags.items():
        yield "  " + safe(f"tag {name} = {text}")


def _left_in(recording: Recording) -> str:
    """Where a parameter is that is left out of the reading."""
    if recording.request.body is not None:
        return "in the request's body"
    return "erased" if recording.erasures else "withheld" if recording.withheld else "not kept"


def gone(erased: Erasure) -> str:
    """That content is not there, in a line."""
    by = "" if erased.erased_by is None else f" by {erased.erased_by}, because: {erased.reason}"
    return safe(f"erased on {moment(erased.erased_at)}{by}")


def tell_missing(recordings: Iterable[Recording]) -> None:
    """Say on stderr which of these recordings have no content any more, since when and why; and what is withheld."""
    withheld = False
    for each in recordings:
        withheld = withheld or each.withheld
        if each.erasures:
            click.echo(f"recorder: recording {each.recording_id}: {gone(each.erasures[-1])}", err=True)
    if withheld:
        click.echo("recorder: content is withheld: this user may see facts alone", err=True)


def _value(value: Any, where: str = "in the request's body") -> str:
    """A JSON value on one line, short; `where` that is which was left out of it."""
    size = _dig(value, "$omitted", "bytes")
    return f"({several(size, 'byte')}, {where})" if isinstance(size, int) else _short(value)


def _short(value: Any, most: int = _VALUE) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}... ({count(len(text))} characters)"


# -- what came back ----------------------------------------------------------------------------------------------------


def _usage(run: Run, reading: Reading) -> Iterator[str]:
    buckets = {
        "cached": reading.cached_tokens,
        "written to the cache": _sum(
            reading.cache_write_tokens, reading.cache_write_5m_tokens, reading.cache_write_1h_tokens
        ),
    }
    yield f"  input  {_bar(run.input_tokens, run.max_prompt_tokens)}{_of_which(buckets)}"
    reasoning = _of_which({"reasoning": run.reasoning_tokens})
    yield f"  output {_bar(run.output_tokens, run.max_completion_tokens)}{reasoning}"
    bounds = _dig(reading.facts, "usage_bounds", "output_tokens")
    if bounds:
        most = bounds.get("at_most")
        least = several(bounds["at_least"], "output token")
        yield f"  at least {least}" + (f", at most {count(most)}" if most else "")
    if reading.usage_quality == "partial":
        yield "  these are figures from the middle of the stream: the last ones did not come"


def _sum(*parts: int | None) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _of_which(parts: Mapping[str, int | None]) -> str:
    return "".join(f", {count(tokens)} {what}" for what, tokens in parts.items() if tokens)


def _bar(tokens: int | None, cap: int | None) -> str:
    """Tokens against their cap, as a bar where both are known."""
    if tokens is None:
        return "tokens unknown" if cap is None else f"tokens unknown, at most {count(cap)}"
    if not cap:
        return f"{several(tokens, 'token')}, no cap"
    filled = min(_BAR, round(_BAR * tokens / cap))
    drawn = "#" * filled + "." * (_BAR - filled)
    return f"[{drawn}] {count(tokens)} of {several(cap, 'token')} ({100 * tokens // cap} %)"


def _steps(reading: Reading) -> Iterator[str]:
    """Run steps, output items or content blocks, in order."""
    steps = reading.facts.get("steps") or ()
    if not steps:
        return
    yield click.style("Steps", bold=True)
    for number, step in enumerate(steps, 1):
        usage = step.get("usage")
        told = [step.get("type"), step.get("name"), step.get("status"), step.get("error")]
        spent = _step_tokens(usage) if isinstance(usage, dict) else ""
        at = "" if step.get("position") is None else f"   (event {step['position']})"
        yield safe(f"  {number}. {' '.join(str(word) for word in told if word)}{spent}{at}")


def _step_tokens(usage: Mapping[str, Any]) -> str:
    into, out = (usage.get(f"{side}_tokens") for side in ("prompt", "completion"))
    return "" if into is None and out is None else f", {into} in, {out} out"


def _part(number: int, part: Part) -> Iterator[str]:
    recording, reading, ending = part.recording, part.reading, part.recording.ending
    status = "no answer" if ending is None or ending.http_status is None else f"HTTP {ending.http_status}"
    if ending is None:
        status = "still open"
    elif ending.http_status is None and ending.captured == "truncated":
        status = "answer not recorded"
    yield click.style(safe(f"{number}. {asked(recording)}"), bold=True)
    yield f"   recording {recording.recording_id}, {status}" + ("" if ending is None else f", ended by {ending.ending}")
    if ending is not None:
        yield "   " + ", ".join(_times(part))
        for link in ending.detail.get("exception", ()):
            yield safe(f"   {link.get('type')}: {link.get('message')}")
    if part.names:
        listed = (f"{name} x{times}" if times > 1 else name for name, times in part.names.items())
        yield "   " + safe(", ".join(listed))
    for call in _dig(reading.facts, "content", "tool_calls") or ():
        if call.get("earlier"):
            continue  # of a round before: the part before this one has it
        yield "   " + safe(f"calls {call.get('name') or call.get('type')}({_short(call.get('arguments') or '')})")
    if part.erased is not None:
        yield f"   {gone(part.erased)}"
    if reading.text:
        for line in folded(safe(reading.text, lines=True).splitlines()):
            yield f"   | {line}"


def _times(part: Part) -> Iterator[str]:
    reading, ending = part.reading, part.recording.ending
    if ending is None:
        return
    yield f"headers after {span(ending.head_us)}"
    if reading.ttft_us is not None:
        yield f"first token after {span(reading.ttft_us)}"
    if reading.ttft_visible_us not in (None, reading.ttft_us):
        yield f"first text after {span(reading.ttft_visible_us)}"
    if reading.longest_gap_us:
        yield f"longest gap between two events {span(reading.longest_gap_us)}"
    if reading.stalls:
        together = " together" if reading.stalls > 1 else ""
        yield f"{several(reading.stalls, 'stall')} of {span(reading.stalled_us)}{together}"
    yield f"whole after {span(ending.elapsed_us)}"


def folded(lines: list[str]) -> Iterator[str]:
    """The lines, with each run of more than two blank ones as its number: JSON mode can write thousands."""
    for blank, run in itertools.groupby(lines, key=lambda line: not line.strip()):
        held = list(run)
        if blank and len(held) > 2:
            yield f"({len(held):,} blank lines)"
        else:
            yield from held


# -- the whole ---------------------------------------------------------------------------------------------------------


def tell(run: Run, parts: Sequence[Part], standing: Part, links: Iterable[str] = ()) -> Iterator[str]:
    """The lines of the story. `standing` is the part that stands for the run; `links` are lines about other runs."""
    title = run.provider_run_id or str(run.run_id)
    yield click.style(safe(f"{title}  ({run.dialect}, {run.model or 'model unknown'})"), bold=True)
    yield f"run {run.run_id}, {moment(run.started_at)}, took {span(run.duration_us)}{_counted(run, len(parts))}"
    for line in links:
        yield safe(line)
    yield ""
    yield from _asked(parts[0])
    yield ""
    yield from _why(run, standing)
    yield from _usage(run, standing.reading)
    yield ""
    if steps := list(_steps(standing.reading)):
        yield from steps
        yield ""
    for number, part in enumerate(parts, 1):
        yield from _part(number, part)


def _counted(run: Run, parts: int) -> str:
    """How many recordings the run is made of, and how its time divides."""
    told = f", {parts} recordings" if parts > 1 else ""
    if run.duplicates:
        told += f" ({run.duplicates} of them a second record of the same exchange)"
    if run.waited_us:
        told += f", streamed {span(run.streamed_us)}, waited {span(run.waited_us)} for tools"
    return told


def _dig(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
