"""`recorder show`: one run as a story: what was asked, what came back, why it stopped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from .lists import run_fields
from .options import as_json, open_store
from .output import count, json_line, moment, safe, span, timestamp

if TYPE_CHECKING:
    from recorder.recording import Recording, Run, StoredReading
    from recorder.store import Store

__all__ = ["show"]

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
_ENDED: Final = {
    "client_closed": "The client closed the connection.",
    "reset": "The connection was reset.",
    "protocol_error": "The server broke off in the middle of the response.",
    "timeout": "The client's timeout fired.",
    "connect_error": "There was no connection to the server.",
    "error": "The client's HTTP library failed.",
    "interrupted": "The recording process died or was closed; what came after that is not known.",
}

_BAR: Final = 30


@click.command(short_help="One run: what was asked, what came back, why it stopped.")
@click.argument("run", metavar="RUN")
@as_json
@click.pass_context
def show(context: click.Context, run: str, *, json_: bool) -> None:
    """Tell the story of RUN.

    RUN is a run or recording id or the end of one, a provider's id (run_…, resp_…, chatcmpl-…, msg_…), a request id,
    @last, or @-2 for the one before the last.
    """
    with open_store(context) as store:
        found = store.run(store.resolve(run))
        parts = [(store.recording(part), store.reading(part)) for part in store.members(found.run_id)]
        if json_:
            json_line(_as_json(found, parts))
            return
        for line in _story(store, found, parts):
            click.echo(line)


def _as_json(run: Run, parts: list[tuple[Recording, StoredReading | None]]) -> dict[str, Any]:
    return run_fields(run) | {
        "parts": [
            {
                "recording_id": str(recording.recording_id),
                "started_at": timestamp(recording.started_at),
                "method": recording.request.method,
                "url": recording.request.url,
                "parameters": dict(recording.parameters),
                "ending": None if recording.ending is None else recording.ending.ending,
                "captured": None if recording.ending is None else recording.ending.captured,
                "http_status": None if recording.ending is None else recording.ending.http_status,
                "detail": {} if recording.ending is None else dict(recording.ending.detail),
                "text": None if stored is None else stored.reading.text,
                "facts": {} if stored is None else dict(stored.reading.facts),
            }
            for recording, stored in parts
        ]
    }


def _story(store: Store, run: Run, parts: list[tuple[Recording, StoredReading | None]]) -> Iterator[str]:
    title = run.provider_run_id or str(run.run_id)
    yield click.style(safe(f"{title}  ({run.dialect}, {run.model or 'model unknown'})"), bold=True)
    yield f"run {run.run_id}, {moment(run.started_at)}, took {span(run.duration_us)}"
    yield ""
    yield from _asked(parts[0][0])
    yield ""
    yield from _outcome(run, parts[-1][0])
    yield from _usage(run)
    yield ""
    for number, (recording, stored) in enumerate(parts, 1):
        yield from _part(store, number, recording, stored)


def _asked(recording: Recording) -> Iterator[str]:
    yield click.style("Asked", bold=True)
    yield "  " + safe(f"{recording.request.method} {recording.request.url}")
    for name, value in recording.parameters.items():
        yield "  " + safe(f"{name} = {value}")
    for name, text in recording.tags.items():
        yield "  " + safe(f"tag {name} = {text}")


def _outcome(run: Run, last: Recording) -> Iterator[str]:
    yield click.style("Why it stopped", bold=True)
    said = run.status if run.stop_reason_raw is None else f"{run.status} ({run.stop_reason_raw})"
    because = _BECAUSE.get(run.stop_reason or "", "The stream says no reason.")
    yield safe(f"  {said}. {because}")
    if run.ending in _ENDED and not (run.ending == "client_closed" and run.complete):
        yield f"  {_ENDED[run.ending]}"
    if run.ending is None:
        yield "  It is still being recorded."
    if last.ending is not None and last.ending.captured == "truncated":
        yield safe(f"  Only a part was recorded: {last.ending.detail.get('reason', 'the end is missing')}.")
    if run.complete is False:
        yield "  The stream ended before the protocol said it was over."
    if run.flags:
        yield safe(f"  noticed: {', '.join(run.flags)}")


def _usage(run: Run) -> Iterator[str]:
    yield f"  input  {_bar(run.input_tokens, run.max_prompt_tokens)}{_of_which(run.cached_tokens, 'cached')}"
    yield f"  output {_bar(run.output_tokens, run.max_completion_tokens)}{_of_which(run.reasoning_tokens, 'reasoning')}"


def _of_which(tokens: int | None, what: str) -> str:
    return "" if not tokens else f", {count(tokens)} {what}"


def _bar(tokens: int | None, cap: int | None) -> str:
    """Tokens against their cap, as a bar where both are known."""
    if tokens is None:
        return "tokens unknown" if cap is None else f"tokens unknown, at most {count(cap)}"
    if not cap:
        return f"{count(tokens)} tokens, no cap"
    filled = min(_BAR, round(_BAR * tokens / cap))
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {count(tokens)} of {count(cap)} tokens ({100 * tokens // cap} %)"


def _part(store: Store, number: int, recording: Recording, stored: StoredReading | None) -> Iterator[str]:
    ending = recording.ending
    status = "no answer" if ending is None or ending.http_status is None else f"HTTP {ending.http_status}"
    if ending is None:
        status = "still open"
    elif ending.http_status is None and ending.captured == "truncated":
        status = "answer not recorded"
    yield click.style(safe(f"{number}. {recording.request.method} {recording.request.url}"), bold=True)
    yield f"   recording {recording.recording_id}, {status}" + ("" if ending is None else f", ended by {ending.ending}")
    if ending is not None:
        yield f"   headers after {span(ending.head_us)}, whole after {span(ending.elapsed_us)}"
        for link in ending.detail.get("exception", ()):
            yield safe(f"   {link.get('type')}: {link.get('message')}")
    counts: dict[str, int] = {}
    for event in store.events(recording.recording_id, kinds=["sse"]):
        counts[event.type or "message"] = counts.get(event.type or "message", 0) + 1
    if counts:
        yield "   " + safe(", ".join(f"{name} x{times}" if times > 1 else name for name, times in counts.items()))
    if stored is not None and stored.reading.text:
        for line in _folded(safe(stored.reading.text, lines=True).splitlines()):
            yield f"   | {line}"


def _folded(lines: list[str]) -> Iterator[str]:
    """The lines, with each run of more than two blank ones as its number: JSON mode can write thousands."""
    for blank, run in itertools.groupby(lines, key=lambda line: not line.strip()):
        held = list(run)
        if blank and len(held) > 2:
            yield f"({len(held):,} blank lines)"
        else:
            yield from held
