"""`recorder show`: one run as a story: what was asked, what came back, why it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from .lists import run_fields
from .options import as_json, open_store
from .output import json_line, milliseconds, timestamp
from .story import Part, because, tell

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.recording import Reading, Run
    from recorder.store import Store

__all__ = ["show"]


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
        parts = [_part(store, each) for each in store.members(found.run_id)]
        standing = _standing(store, found, parts)
        if json_:
            json_line(_as_json(store, found, parts, standing))
            return
        for line in tell(found, parts, standing, _links(store, found)):
            click.echo(line)


def _part(store: Store, recording_id: UUID) -> Part:
    """One recording with its reading: the stored one, or one made now of what is there so far."""
    from recorder import reader
    from recorder.dialects import by_name
    from recorder.dialects.names import documented

    recording, stored = store.recording(recording_id), store.reading(recording_id)
    reading = stored.reading if stored else reader.interpret(recording, store.events(recording_id))
    if reading.parameters is None and recording.request.body is not None:  # of an older reader
        reading = replace(reading, parameters=by_name(reading.dialect).asked(recording.request))
    names = documented(reading.dialect, reading.action) if reading.parameters is not None else ()
    absent = tuple(name for name in names if name not in (reading.parameters or ()))
    seen = Counter(event.type or "message" for event in store.events(recording_id, kinds=["sse"]))
    return Part(recording, reading, absent, seen)


def _standing(store: Store, run: Run, parts: Sequence[Part]) -> Part:
    """The part whose reading stands for the run."""
    latest = store.standing(run.run_id)
    return next((part for part in parts if part.recording.recording_id == latest), parts[-1])


def _links(store: Store, run: Run) -> Iterator[str]:
    """Lines about the runs before and after this one, and about its thread."""
    linked = store.linked(run)
    if linked.previous is not None:
        yield f"answers after {linked.previous.provider_run_id} (run {linked.previous.run_id})"
    for each in linked.following:
        yield f"followed by {each.provider_run_id} (run {each.run_id}, {each.status})"
    if run.thread_id is not None and linked.thread:
        yield f"thread {run.thread_id}: {len(linked.thread)} other runs or exchanges recorded"


def _as_json(store: Store, run: Run, parts: Sequence[Part], standing: Part) -> dict[str, Any]:
    linked = store.linked(run)
    return (
        run_fields(run)
        | {"because": because(run, standing.reading), "reading": _reading_fields(standing.reading)}
        | {
            "duplicates": run.duplicates,
            "streamed_ms": milliseconds(run.streamed_us),
            "waited_ms": milliseconds(run.waited_us),
            "previous_run_id": None if linked.previous is None else str(linked.previous.run_id),
            "next_run_ids": [str(each.run_id) for each in linked.following],
            "parts": [_part_fields(part) for part in parts],
        }
    )


def _reading_fields(reading: Reading) -> dict[str, Any]:
    """What a run's fields leave out: the buckets, the stream's shape, the verdict on JSON."""
    return {
        "response_format": reading.response_format,
        "usage_quality": reading.usage_quality,
        "uncached_tokens": reading.uncached_tokens,
        "cache_write_tokens": reading.cache_write_tokens,
        "cache_write_5m_tokens": reading.cache_write_5m_tokens,
        "cache_write_1h_tokens": reading.cache_write_1h_tokens,
        "visible_tokens": reading.visible_tokens,
        "ttft_visible_ms": milliseconds(reading.ttft_visible_us),
        "longest_gap_ms": milliseconds(reading.longest_gap_us),
        "stalls": reading.stalls,
        "stalled_ms": milliseconds(reading.stalled_us),
        "text_chars": reading.text_chars,
        "blank_chars": reading.blank_chars,
        "json_valid": reading.json_valid,
        "json_damage": reading.json_damage,
    }


def _part_fields(part: Part) -> dict[str, Any]:
    recording, reading, ending = part.recording, part.reading, part.recording.ending
    return {
        "recording_id": str(recording.recording_id),
        "action": reading.action,
        "started_at": timestamp(recording.started_at),
        "method": recording.request.method,
        "url": recording.request.url,
        "parameters": dict(recording.parameters if reading.parameters is None else reading.parameters),
        "absent": list(part.absent),
        "status": reading.status,
        "ending": None if ending is None else ending.ending,
        "captured": None if ending is None else ending.captured,
        "http_status": None if ending is None else ending.http_status,
        "detail": {} if ending is None else dict(ending.detail),
        "events": dict(part.names),
        "flags": list(reading.flags),
        "text": reading.text,
        "facts": dict(reading.facts),
    }
