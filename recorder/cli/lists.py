"""`recorder runs` and `recorder recordings`: what is in the store, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import as_json, filters, open_store, to_filter
from .output import asked, count, dollars, json_line, milliseconds, moment, span, table, timestamp

if TYPE_CHECKING:
    from recorder.recording import Run
    from recorder.store import Listed

__all__ = ["recordings", "run_fields", "runs"]


def run_fields(run: Run) -> dict[str, Any]:
    """A run as `--json` gives it. Unknown is null; times of day are ISO 8601 in UTC."""
    return {
        "run_id": str(run.run_id),
        "recordings": run.recordings,
        "dialect": run.dialect,
        "provider_run_id": run.provider_run_id,
        "assistant_id": run.assistant_id,
        "thread_id": run.thread_id,
        "started_at": timestamp(run.started_at),
        "model": run.model,
        "service_tier": run.service_tier,
        "status": run.status,
        "stop_reason": run.stop_reason,
        "stop_reason_raw": run.stop_reason_raw,
        "ending": run.ending,
        "complete": run.complete,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cached_tokens": run.cached_tokens,
        "reasoning_tokens": run.reasoning_tokens,
        "total_tokens": run.total_tokens,
        "max_prompt_tokens": run.max_prompt_tokens,
        "max_completion_tokens": run.max_completion_tokens,
        "truncation_strategy": run.truncation_strategy,
        "cost_usd": run.cost_usd,
        "events": run.events,
        "bytes": run.bytes,
        "ttft_ms": milliseconds(run.ttft_us),
        "duration_ms": milliseconds(run.duration_us),
        "tags": dict(run.tags),
        "metadata": None if run.metadata is None else dict(run.metadata),
        "group": run.group,
        "flags": list(run.flags),
    }


def _recording_fields(listed: Listed) -> dict[str, Any]:
    recording = listed.recording
    own = {
        "recording_id": str(recording.recording_id),
        "method": recording.request.method,
        "url": recording.request.url or None,
        "http_status": None if recording.ending is None else recording.ending.http_status,
    }
    return own | run_fields(listed.run)


def _against(tokens: int | None, cap: int | None) -> str:
    return count(tokens) if cap is None else f"{count(tokens)} / {count(cap)}"


#: What a narrow terminal does without, from the first on.
_SPARE = ("bytes", "events", "first token", "ending", "in", "dialect", "started", "took", "out / cap")

_NUMBERS = ("in", "out / cap", "events", "bytes", "first token", "took", "http", "cost")


@click.command(short_help="The runs, newest first.")
@filters
@click.option("--cost", is_flag=True, help="What each cost, as far as its price is known.")
@as_json
@click.pass_context
def runs(context: click.Context, /, *, cost: bool, json_: bool, **given: Any) -> None:
    """List the runs that the filters leave, newest first."""
    with open_store(context) as store:
        found = store.runs(to_filter(given))
        where = store.url
        if cost:
            from .costs import priced

            found = [run for run, _ in priced(context, store, found)]
    if json_:
        for run in found:
            json_line(run_fields(run))
        return
    if not found:
        click.echo(f"no runs in {where} that fit", err=True)
        return
    titles = ["run", "started", "dialect", "model", "status", "stopped by", "ending", *_NUMBERS[:6]]
    rows = [_run_row(run) for run in found]
    if cost:
        titles.append("cost")
        for row, run in zip(rows, found, strict=True):
            row.append(dollars(run.cost_usd))
    table(titles, rows, right=_NUMBERS, spare=_SPARE)


def _run_row(run: Run) -> list[str]:
    return [
        str(run.run_id)[-12:],
        moment(run.started_at),
        run.dialect,
        run.model or "-",
        run.status,
        run.stop_reason or "-",
        run.ending or "open",
        count(run.input_tokens),
        _against(run.output_tokens, run.max_completion_tokens),
        count(run.events),
        count(run.bytes),
        span(run.ttft_us),
        span(run.duration_us),
    ]


@click.command(short_help="The HTTP exchanges behind the runs, newest first.")
@filters
@as_json
@click.pass_context
def recordings(context: click.Context, /, *, json_: bool, **given: Any) -> None:
    """List the recordings that the filters leave, newest first. Each filter looks at the recording alone."""
    with open_store(context) as store:
        found = store.recordings(to_filter(given))
        where = store.url
    if json_:
        for listed in found:
            json_line(_recording_fields(listed))
        return
    if not found:
        click.echo(f"no recordings in {where} that fit", err=True)
        return
    titles = ["recording", "started", "request", "http", "dialect", "status", "ending", *_NUMBERS[2:4], "took"]
    table(titles, map(_recording_row, found), right=_NUMBERS, spare=("dialect", *_SPARE[:2], "ending", "started"))


def _recording_row(listed: Listed) -> list[str]:
    recording, run = listed.recording, listed.run
    status = None if recording.ending is None else recording.ending.http_status
    return [
        str(recording.recording_id)[-12:],
        moment(recording.started_at),
        asked(recording),
        "-" if status is None else str(status),
        run.dialect,
        run.status,
        run.ending or "open",
        count(run.events),
        count(run.bytes),
        span(run.duration_us),
    ]
