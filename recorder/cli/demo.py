"""`recorder demo`: records, replays and compares bundled streams, and leaves a store to look at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import as_json
from .output import count, json_line, several, table

if TYPE_CHECKING:
    from recorder.demo.play import Shown

__all__ = ["demo"]


@click.command(short_help="Record, replay and compare bundled streams: no key, no network.")
@click.option("--incident", is_flag=True, help="Record an incident instead, for docs/incident.md to walk through.")
@as_json
@click.pass_context
def demo(context: click.Context, *, incident: bool, json_: bool) -> None:
    """Play a bundled upstream to a real client over loopback, record it, replay it, compare.

    Writes to .recorder/demo.db, made anew each time, or to the store that --store names. Exits with 1 where a replay
    differs from what was recorded. With --incident nothing is replayed, and the store is .recorder/incident.db.
    """
    from recorder.demo.play import demonstrate

    store = _place(context.obj["store"], "incident.db" if incident else "demo.db")
    if incident:
        _record_incident(store, json_=json_)
        return
    shown = demonstrate(store, lambda line: click.echo(line, err=True))
    same = all(one.replay_same and one.bytes_same for one in shown)
    if json_:
        for one in shown:
            json_line(
                {
                    "recording_id": str(one.recording_id),
                    "title": one.scene.title,
                    "stream": one.scene.stream,
                    "events": one.events,
                    "bytes": one.bytes,
                    "replay_same": one.replay_same,
                    "bytes_same": one.bytes_same,
                    **one.outcome,
                }
            )
    else:
        titles = ["stream", "events", "bytes", "stored bytes", "replay", "outcome", "out / cap"]
        table(titles, map(_row, shown), right=("events", "bytes", "out / cap"))
        click.echo()
        verdict = "all the same" if same else "NOT ALL THE SAME"
        click.echo(f"{several(len(shown), 'stream')} recorded and replayed: {verdict}")
        click.echo(f"look around:  recorder --store {store} runs")
        click.echo(f"              recorder --store {store} show @last")
    if not same:
        context.exit(1)


def _record_incident(store: Path | str, *, json_: bool) -> None:
    from recorder.demo.incident import record_incident

    number = record_incident(store, lambda line: click.echo(line, err=True))
    if json_:
        json_line({"runs": number, "store": str(store)})
        return
    click.echo(f"{several(number, 'run')} recorded, an incident among them: docs/incident.md looks into it")
    click.echo(f"begin with:  recorder --store {store} runs --metadata customer=4711")


def _place(named: str | None, name: str) -> Path | str:
    """Where the demo records: its own file, which is ours to delete, unless a store was named."""
    from recorder import config

    if named is not None:
        return config.store_url(named, create=True)
    default = Path(config.store_url(None, create=True).partition("://")[2].removeprefix("/"))
    store = default.with_name(name)
    for old in store.parent.glob(f"{name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    return store


def _row(one: Shown) -> list[str]:
    outcome = one.outcome
    reason = outcome["stop_reason"]
    cap = outcome["max_completion_tokens"]
    tokens = count(outcome["output_tokens"])
    return [
        one.scene.title,
        count(one.events),
        count(one.bytes),
        "exact" if one.bytes_same else "DIFFER",
        "same" if one.replay_same else "DIFFERS",
        outcome["status"] if reason in (None, "stop") else f"{outcome['status']}: {reason}",
        tokens if cap is None else f"{tokens} / {count(cap)}",
    ]
