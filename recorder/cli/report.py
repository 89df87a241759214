"""`recorder report`: one self-contained HTML page about the runs that are meant."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import open_store, require_sight, scope, url_of_store
from .output import several

if TYPE_CHECKING:
    from recorder.queries import Scope

__all__ = ["report"]


@click.command(short_help="One self-contained page of figures: budgets, truncation, cost, latency.")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="The HTML file to write; - for stdout. An older one is replaced, missing folders are made.",
)
@scope
@click.option("--title", help="The heading of the page.")
@click.option("--runs", "most", type=click.IntRange(1, 1000), default=20, show_default=True, help="Runs in each list.")
@click.pass_context
def report(context: click.Context, output: str, *, asked_for: Scope, title: str | None, most: int) -> None:
    """Write a page that says where tokens, money and time went, and which caps would do.

    It needs no network and no server: send it, keep it, print it. Groups are told apart by --by; without it by their
    group (assistant, prompt or app), or by model.
    """
    path = None if output == "-" else Path(output)
    if path is not None and path.is_dir():
        raise click.BadParameter(f"{path} is a folder; name a file in it", param_hint="--output")
    from recorder import report as pages

    from .answers import complaints

    with open_store(context) as store, complaints(), _progress() as progress:  # which makes readings that are due
        require_sight(store, asked_for.by)
        made = pages.make(
            url_of_store(context),
            asked_for,
            made_at=time.time_ns() // 1000,
            title=title,
            most=most,
            progress=progress,
        )
    page = made.page.encode()
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(page)
        return
    from recorder.config import size_text
    from recorder.exchange import put_in_place

    put_in_place(path, [page])
    told = f"{several(made.runs, 'run')}, {several(len(made.findings), 'finding')}, {size_text(len(page))}"
    click.echo(f"recorder: {path}: {told}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    """A bar on a terminal's stderr, and silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _part: None
        return
    with click.progressbar(length=100, label="asking", file=sys.stderr) as bar:
        yield lambda part: bar.update(round(100 * part) - bar.pos)
