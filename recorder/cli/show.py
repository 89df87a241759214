"""`recorder show`: one run as a story: what was asked, what came back, why it stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from .lists import run_fields
from .options import as_json, open_store
from .output import dollars, json_line, milliseconds, timestamp
from .story import Part, because, tell, tell_missing

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.recording import Reading, Run
    from recorder.store import Linked, Store

__all__ = ["links_of", "part_of", "show", "standing_of"]


@click.command(short_help="One run: what was asked, what came back, why it stopped.")
@click.argument("run", metavar="RUN")
@click.option("--cost", is_flag=True, help="What it cost, as far as its price is known.")
@click.option("--timeline", "as_timeline", is_flag=True, help="Every event, gap, try and wait, and what is incomplete.")
@click.option("--at", metavar="MOMENT", help="What the client had by then: 3.2s, event:120, byte:4096, end.")
@click.option("--raw", is_flag=True, help="With --at: the very bytes of the body that had arrived, to stdout.")
@as_json
@click.pass_context
def show(
    context: click.Context, run: str, *, cost: bool, as_timeline: bool, at: str | None, raw: bool, json_: bool
) -> None:
    """Tell the story of RUN.

    RUN is a run or recording id or the end of one, a provider's id (run_…, resp_…, chatcmpl-…, msg_…), a request id,
    @last, or @-2 for the one before the last.

    --at counts time from the run's first request; event:2:120 is event 120 of its second recording.
    """
    if raw and at is None:
        raise click.UsageError("--raw goes with --at, as in --at event:120 --raw")
    if cost + as_timeline + (at is not None) > 1:
        raise click.UsageError("--cost, --timeline and --at are three questions: ask one of them")
    if as_timeline or at is not None:
        _in_time(context, run, at, raw=raw, json_=json_)
        return
    with open_store(context) as store:
        found = store.run(store.resolve(run))
        parts = [part_of(store, each) for each in store.members(found.run_id)]
        standing = standing_of(store, found, parts)
        linked = store.linked(found)
        unpriced = None
        if cost:
            from .costs import priced

            ((found, unpriced),) = priced(context, store, [found])
    if json_:
        json_line(_as_json(found, parts, standing, linked))
        return
    for line in tell(found, parts, standing, links_of(found, linked)):
        click.echo(line)
    if cost:
        click.echo(f"\nCost  {dollars(found.cost_usd)}" + (f" ({unpriced})" if unpriced else ""))


def _in_time(context: click.Context, run: str, at: str | None, *, raw: bool, json_: bool) -> None:
    """The run's timeline, or one moment of it."""
    from recorder.timeline import bytes_until, is_decoded, moment_of, parse_at, timeline

    from .timeline import print_lines, print_moment, print_timeline

    asked = None if at is None else parse_at(at)
    with open_store(context) as store:
        recording_id = store.resolve(run)
        line = timeline(store, recording_id)
    tell_missing(track.recording for track in line.tracks)
    if asked is None:
        if json_:
            print_lines(line)
        else:
            print_timeline(line)
        return
    then = moment_of(line, asked, recording_id)
    if not raw:
        print_moment(then, line, json_=json_)
        return
    track = line.tracks[then.state.number - 1]
    if is_decoded(track):
        click.echo("recorder: the undecoded bytes are withheld: these are decoded", err=True)
    if "redacted" in track.reading.flags:
        click.echo(
            "recorder: parts were masked before they were stored: the client had others in their place", err=True
        )
    out = sys.stdout.buffer
    for piece in bytes_until(track, then.state):
        out.write(piece)
    out.flush()


def part_of(store: Store, recording_id: UUID) -> Part:
    """One recording with its reading: the stored one, or one made now of what is there so far."""
    from recorder import reader
    from recorder.dialects import by_name
    from recorder.dialects.names import documented

    recording, stored = store.recording(recording_id), store.reading(recording_id)
    reading = stored.reading if stored else reader.interpret(recording, store.events(recording_id))
    if reading.parameters is None and recording.request.body is not None:  # of an older reader
        reading = replace(reading, parameters=by_name(reading.dialect).asked(recording.request))
    known = documented(reading.dialect, reading.action) if reading.parameters is not None else ()
    absent = tuple(name for name in known if name not in (reading.parameters or ()))
    names = {type_ or "message": number for type_, number in store.event_types(recording_id).items()}
    return Part(recording, reading, absent, names)


def standing_of(store: Store, run: Run, parts: Sequence[Part]) -> Part:
    """The part whose reading stands for the run."""
    latest = store.standing(run.run_id)
    return next((part for part in parts if part.recording.recording_id == latest), parts[-1])


def links_of(run: Run, linked: Linked) -> Iterator[str]:
    """Lines about the runs before and after this one, and about its thread."""
    from recorder.store.links import MOST

    if linked.previous is not None:
        yield f"answers after {linked.previous.provider_run_id} (run {linked.previous.run_id})"
    for each in linked.following:
        yield f"followed by {each.provider_run_id} (run {each.run_id}, {each.status})"
    if run.thread_id is not None and linked.thread:
        number = len(linked.thread)
        others = "other run or exchange" if number == 1 else "other runs or exchanges"
        yield f"thread {run.thread_id}: {'at least ' if number == MOST else ''}{number} {others} recorded"


def _as_json(run: Run, parts: Sequence[Part], standing: Part, linked: Linked) -> dict[str, Any]:
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
        "url": recording.request.url or None,
        "erased": None
        if part.erased is None
        else {"at": timestamp(part.erased.erased_at), "by": part.erased.erased_by, "reason": part.erased.reason},
        "withheld": recording.withheld,
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
