"""`recorder diff`: two runs, or a run and the good one nearest to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import as_json, open_store
from .output import json_line, safe
from .story import tell_missing

if TYPE_CHECKING:
    from recorder.diff import Comparison, Nearest

__all__ = ["diff"]


@click.command(short_help="Where two runs differ.")
@click.argument("run", metavar="RUN")
@click.argument("other", metavar="[OTHER]", required=False)
@click.option("--nearest", is_flag=True, help="Compare the good run that is nearest to RUN with it.")
@click.option("--ignore", multiple=True, metavar="PATH", help="What does not count: body.metadata, usage, text, …")
@click.option("--timing", is_flag=True, help="Times count: twice as long, and a tenth of a second longer.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to this file.")
@as_json
@click.pass_context
def diff(
    context: click.Context,
    run: str,
    other: str | None,
    *,
    nearest: bool,
    ignore: tuple[str, ...],
    timing: bool,
    html: Path | None,
    json_: bool,
) -> None:
    """Say where OTHER differs from RUN: parameters, events, texts, tool calls, usage, outcome, times. Exit code 1 where
    it does.

    Both are what `show` takes. With --nearest, RUN is compared with the good run nearest to it: one of the same
    request, else of the same group, else of the same protocol. The good one then comes first, and why it was chosen is
    said.

    Times are told and count only with --timing. --ignore takes a section (parameters, events, text, reasoning,
    tool_calls, usage, outcome, timing), a line of one (usage.cached_tokens), or a place in the request as match rules
    have it (body.metadata, body.messages[*].id, query.limit).
    """
    from recorder.diff import compare, nearest_good, parse_ignore, side

    if nearest is (other is not None):
        raise click.UsageError("name two runs, or one run with --nearest")
    ignored = parse_ignore(ignore)
    chosen: Nearest | None = None
    with open_store(context) as store:
        first = store.resolve(run)
        if other is None:
            chosen = nearest_good(store, first)
        # With --nearest the good run comes first: what differs then reads as what went wrong.
        ids = (first, store.resolve(other)) if chosen is None and other is not None else (_other(chosen), first)
        found = compare(side(store, ids[0]), side(store, ids[1]), ignored)
    tell_missing(part.recording for each in (found.before, found.after) for part in each.parts)
    _tell(found, chosen, timing=timing, html=html, json_=json_)
    if found.differing(timing=timing):
        context.exit(1)


def _other(chosen: Nearest | None) -> Any:
    assert chosen is not None  # one of the two is given
    return chosen.run_id


def _tell(found: Comparison, chosen: Nearest | None, *, timing: bool, html: Path | None, json_: bool) -> None:
    from .difference import fields, page, tell

    why = None if chosen is None else chosen.why
    if html is not None:
        html.write_text(page(found, why, timing=timing), encoding="utf-8")
        click.echo(safe(f"recorder: wrote {html}"), err=True)
    if json_:
        json_line(fields(found, why, timing=timing))
    elif html is None:
        for line in tell(found, why, timing=timing):
            click.echo(line)
