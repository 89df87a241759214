"""`recorder rebuild`: readings made again from the recordings, after the reader has learnt something."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .options import as_json, open_store
from .output import json_line, several

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["rebuild"]


@click.command(short_help="Make the readings again, after recorder has learnt to read better.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also those that this version of recorder made.")
@as_json
@click.pass_context
def rebuild(context: click.Context, runs: tuple[str, ...], *, everything: bool, json_: bool) -> None:
    """Make readings again from the recordings: of every RUN named, or of all that an older recorder made.

    A reading is never precious: it follows from its recording alone. Stopped half-way, the command goes on where it
    was when it is run again. Recordings whose payloads are gone keep the reading they have.
    """
    from recorder import reader

    if runs and everything:
        raise click.UsageError("name runs or say --all, not both")
    with open_store(context, readonly=False) as store:
        if runs:
            wanted = [part for run in runs for part in store.members(store.run_of(store.resolve(run)))]
            with _progress(len(wanted)) as advance:
                done = reader.rebuild(store, wanted, advance)
        else:
            version = reader.VERSION + 1 if everything else reader.VERSION
            with _progress(store.count_stale(version)) as advance:
                done = reader.read_due_all(store) + reader.rebuild_stale(store, advance, version=version)
    if json_:
        json_line({"readings": done, "reader_version": reader.VERSION})
    else:
        click.echo(f"{several(done, 'reading')} made by reader {reader.VERSION}", err=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[UUID], None] | None]:
    """A bar on stderr where a person looks at it and there is something to wait for."""
    if not sys.stderr.isatty() or total < 2:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task("readings", total=total)
        yield lambda _: progress.advance(task)
