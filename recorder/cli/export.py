"""`recorder export`: recordings into a file, whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import filters, open_store, to_filter
from .output import safe, several

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.exchange import Entry
    from recorder.store import Store

__all__ = ["export"]

#: What is exported where no --limit is given: all there is.
_EVERYTHING = 1 << 30


@click.command(short_help="Recordings into a file: JSONL (lossless), HAR, or one stream.")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@filters
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "har", "sse"]),
    default="jsonl",
    show_default=True,
    help="jsonl: everything; har: for other tools; sse: the body of one recording.",
)
@click.option("--fixture", is_flag=True, help="JSONL for a test's folder: without ids, digests and sessions.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; replaced at once. Default: stdout.")
@click.pass_context
def export(
    context: click.Context,
    /,
    runs: tuple[str, ...],
    format_: str,
    fixture: bool,
    output: Path | None,
    **given: Any,
) -> None:
    """Write runs into a file: those named, those that the filters leave, or all recordings.

    RUN is what `show` takes: an id or the end of one, a provider's id, @last. A recording's id gives its whole run.

    JSONL holds everything, one event a line, and `import` makes the same recordings of it, seals included. HAR is for
    other tools; its own members keep chunks, times and endings. `--format sse` writes the body of one recording.
    """
    from recorder import __version__, exchange

    if fixture and format_ != "jsonl":
        raise click.UsageError("--fixture goes with --format jsonl")
    filtered = _is_filtered(context)
    if runs and filtered:
        raise click.UsageError("name runs, or give filters, not both")
    if context.get_parameter_source("limit") is click.core.ParameterSource.DEFAULT:
        given["limit"] = _EVERYTHING
    with open_store(context) as store:
        chosen = _chosen(store, runs, given if filtered else None)
        if not chosen:
            click.echo("recorder: nothing matches: nothing was written", err=True)
            context.exit(3)
        running: list[UUID] = []
        entries = _ended(exchange.entries(store, chosen), running)
        if format_ == "sse":
            _put(output, [_stream(store, chosen)])
        elif format_ == "har":
            _put(output, (text.encode("ascii") for text in exchange.to_har(entries, __version__)))
        elif output is not None:
            exchange.write(output, entries, identity=not fixture, keep=False)
        else:
            _put(None, exchange.lines_of(entries, identity=not fixture))
    if output is not None:
        click.echo(safe(f"{several(len(chosen) - len(running), 'recording')} in {output}"), err=True)
    for recording_id in running:
        click.echo(f"recorder: {recording_id} still goes on, and is left out; export it once it has ended", err=True)


def _is_filtered(context: click.Context) -> bool:
    """Whether any filter was given."""
    own = {"runs", "format_", "fixture", "output"}
    default = click.core.ParameterSource.DEFAULT
    return any(context.get_parameter_source(name) is not default for name in context.params if name not in own)


def _chosen(store: Store, runs: Sequence[str], given: dict[str, Any] | None) -> list[UUID]:
    """The recordings to export, in the order they were made."""
    if runs:
        ids = [store.run_of(store.resolve(name)) for name in runs]
        return sorted({member for run_id in ids for member in store.members(run_id)})
    if given is not None:
        found = store.runs(to_filter(given))
        return sorted({member for run in found for member in store.members(run.run_id)})
    return store.recording_ids()


def _ended(entries: Iterable[Entry], running: list[UUID]) -> Iterator[Entry]:
    """Those that have ended; the ids of the others go into `running`."""
    for entry in entries:
        if entry.recording.ending is None:
            running.append(entry.recording.recording_id)
        else:
            yield entry


def _stream(store: Store, chosen: Sequence[UUID]) -> bytes:
    from recorder.digest import payload_of

    if len(chosen) > 1:
        raise click.UsageError(
            f"a stream is one recording's, and these are {len(chosen)}: export another format, or `recorder emit` one"
        )
    events = list(store.events(chosen[0]))
    plain = [event for event in events if event.kind in ("sse", "body")]
    wire = [event for event in events if event.kind == "wire"]
    return b"".join([payload_of((b"", *event)) for event in plain or wire])


def _put(output: Path | None, pieces: Iterable[bytes]) -> None:
    """To the file, which is replaced at once, or to stdout."""
    from recorder import exchange

    if output is not None:
        exchange.put_in_place(output, pieces)
        return
    stdout = sys.stdout.buffer
    stdout.writelines(pieces)
    stdout.flush()
