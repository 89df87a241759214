"""`recorder prune`: what is old, or too much, goes: its content, or all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import as_json, open_store, selection, time_option, to_filter
from .output import json_line, safe, several

if TYPE_CHECKING:
    from recorder.retention import Pruned, Wanted

__all__ = ["prune"]


def _size(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Bytes of a text such as 10GiB."""
    from recorder import config

    size = None if text is None else config.size_of(text)
    if text is not None and size is None:
        raise click.BadParameter(f"{text!r} is not a size; write 500MiB, 10GiB")
    if size is not None and size < config.LEAST_SIZE:
        raise click.BadParameter(f"{text!r} is less than 1 MiB, which no store can be held to; write 500MiB, 10GiB")
    return size


@click.command(short_help="Take away what is old, or too much: its content, or all of it.")
@time_option("--older-than", "Runs that began before: an age (30d), or 2026-03-01T12:00.", months=False)
@click.option("--content", is_flag=True, help="Their content goes: tokens, times, outcomes, tags stay. [default]")
@click.option("--whole", is_flag=True, help="All of them goes, but a note that it did.")
@click.option("--max-size", callback=_size, metavar="SIZE", help="The oldest go whole until the store takes so much.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--vacuum", is_flag=True, help="Give free room back to the disk afterwards; writers wait meanwhile.")
@selection
@as_json
@click.pass_context
def prune(
    context: click.Context,
    /,
    *,
    older_than: int | None,
    content: bool,
    whole: bool,
    max_size: int | None,
    dry_run: bool,
    vacuum: bool,
    json_: bool,
    **given: Any,
) -> None:
    """Take away the runs that are older than an age, or the oldest of too many, in small steps beside whoever records.

    Runs that are still open stay, and so do those with a tag `hold` on any of their recordings, whatever its value
    (`recorder tag RUN hold=case-17`; `hold=` takes it off). The filters say of which runs; of one run all goes. What
    went can still be verified as erased: digests and the note stay.
    """
    from recorder import queries, retention
    from recorder.errors import StoreError
    from recorder.writer import recover

    refused: StoreError | None = None
    wanted = _wanted(older_than, whole=whole, content=content, max_size=max_size, given=given)
    with open_store(context, readonly=dry_run, read=False) as store:
        if not dry_run:
            recover(store)  # what a writer that died left open may go, too
        pruned = retention.prune(store, wanted, by=retention.who(), reason=_reason(wanted), dry=dry_run)
        if not dry_run:
            queries.forget(store.url)  # facts that are kept for questions hold what went
        if vacuum and not dry_run:
            try:
                store.rewrite()
            except StoreError as error:
                refused = error  # to be told behind what went all the same
            if refused is None and (told := store.tidy()):
                click.echo(f"recorder: not done: {safe(told)}", err=True)
        size = store.size()
        where = store.url
    if json_:
        json_line(_as_json(pruned, wanted, size, dry=dry_run))
    else:
        _tell(pruned, wanted, size, where, dry=dry_run, vacuumed=vacuum)
    if refused is not None:
        raise refused


def _wanted(
    older_than: int | None, *, whole: bool, content: bool, max_size: int | None, given: dict[str, Any]
) -> Wanted:
    from recorder.retention import Wanted

    filtered = any(value not in (None, {}) for value in given.values())
    if content and (whole or max_size is not None):
        raise click.UsageError("--content leaves the facts, --whole and --max-size do not: choose")
    if max_size is not None and (filtered or older_than is not None):
        raise click.UsageError("--max-size takes the oldest, whichever they are: leave out the other filters")
    if max_size is None and older_than is None and not filtered:
        raise click.UsageError("say what is to go: --older-than 30d, --max-size 10GiB, or a filter")
    only = to_filter(given) if filtered else None
    return Wanted(until=older_than, whole=whole or max_size is not None, size=max_size, only=only)


def _reason(wanted: Wanted) -> str:
    if wanted.size is not None:
        return "prune: over the size"
    return "prune: whole" if wanted.whole else "prune: content"


def _as_json(pruned: Pruned, wanted: Wanted, size: int, *, dry: bool) -> dict[str, Any]:
    return {
        "dry_run": dry,
        "whole": wanted.whole,
        "runs": pruned.runs,
        "recordings": pruned.recordings,
        "events": pruned.events,
        "bytes": pruned.bytes,
        "held": pruned.left.held,
        "open": pruned.left.open,
        "store_bytes": size,
    }


def _tell(pruned: Pruned, wanted: Wanted, size: int, where: str, *, dry: bool, vacuumed: bool) -> None:
    from recorder.config import size_text

    what = "" if wanted.whole else "the content of "
    verb = "would go" if dry else "went"
    click.echo(
        f"{what}{several(pruned.recordings, 'recording')} {verb} ({several(pruned.runs, 'run')},"
        f" {several(pruned.events, 'event')}, {size_text(pruned.bytes)} as recorded)"
    )
    if pruned.left.held:
        click.echo(f"{several(pruned.left.held, 'run')} on hold stayed (tag `hold`)")
    if pruned.left.open:
        click.echo(f"{several(pruned.left.open, 'run')} still open stayed")
    click.echo(f"{where} takes {size_text(size)}")
    if pruned.recordings and not dry and not vacuumed:
        click.echo("What is free now will be used again; --vacuum gives it back to the disk.", err=True)
