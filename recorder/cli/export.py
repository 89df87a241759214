"""`recorder export`: recordings into a file, whole."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .evidence import PROOF, Proof, proofs
from .options import filters, open_store, to_filter
from .output import safe, several

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.exchange import Entry
    from recorder.store import Store

__all__ = ["export"]

#: What is exported where no --limit is given: all there is.
_EVERYTHING = 1 << 30


@click.command(short_help="Runs into a file: JSONL (lossless), HAR, OpenTelemetry, one page, one stream.")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@filters
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "har", "otlp", "html", "sse"]),
    default="jsonl",
    show_default=True,
    help="jsonl: everything; har: for other tools; otlp: spans; html: a page of one run; sse: one body.",
)
@click.option("--content", is_flag=True, help="In spans of otlp: what was asked and answered, too.")
@click.option("--fixture", is_flag=True, help="JSONL for a test's folder: without ids, digests and sessions.")
@proofs
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; replaced at once. Default: stdout.")
@click.pass_context
def export(
    context: click.Context,
    /,
    *,
    runs: tuple[str, ...],
    format_: str,
    fixture: bool,
    content: bool,
    proof: Proof | None,
    output: Path | None,
    **given: Any,
) -> int:
    """Write runs into a file: those named, those that the filters leave, or all recordings.

    RUN is what `show` takes: an id or the end of one, a provider's id, @last. A recording's id gives its whole run.

    JSONL holds everything, one event a line, and `import` makes the same recordings of it, seals included. HAR is for
    other tools; its own members keep chunks, times and endings. `--format sse` writes the body of one recording.

    otlp writes a span for each run and each of its exchanges, for any OpenTelemetry collector: with tokens, caps, how
    it ended and the trace it belonged to, and texts only with --content. html writes one run as a page that needs
    nothing else, to attach to a ticket.

    --evidence puts proofs before the JSONL, that each recording lies under a checkpoint: under those of --against FILE
    where these cover it, else under a new one. `recorder verify --evidence` checks such a file without the store.
    """
    if proof is not None and (fixture or format_ != "jsonl"):
        raise click.UsageError("--evidence is JSONL, and no fixture: leave out the one or the other")
    if fixture and format_ != "jsonl":
        raise click.UsageError("--fixture goes with --format jsonl")
    if content and format_ != "otlp":
        raise click.UsageError("--content goes with --format otlp: the others hold it anyway")
    filtered = _is_filtered(context)
    if runs and filtered:
        raise click.UsageError("name runs, or give filters, not both")
    if context.get_parameter_source("limit") is click.core.ParameterSource.DEFAULT:
        given["limit"] = _EVERYTHING
    with open_store(context, readonly=proof is None) as store:
        chosen = _chosen(store, runs, given if filtered else None)
        if not chosen:
            click.echo("recorder: nothing matches: nothing was written", err=True)
            context.exit(3)
        running: list[UUID] = []
        if proof is not None:
            _put(output, proof.lines(store, chosen, running))
        elif format_ == "jsonl":
            _put(output, _lines(store, chosen, running, fixture=fixture))
        else:
            _put(output, _pieces(format_, store, chosen, running, content=content))
    if output is not None:
        click.echo(safe(f"{several(len(chosen) - len(running), 'recording')} in {output}"), err=True)
    for recording_id in running:
        click.echo(f"recorder: {recording_id} still goes on, and is left out; export it once it has ended", err=True)
    return 1 if proof is not None and proof.faults else 0


def _lines(store: Store, chosen: Sequence[UUID], running: list[UUID], *, fixture: bool) -> Iterable[bytes]:
    """A recording file. What was erased is in none for tests: nothing can be replayed of it."""
    from recorder import exchange

    entries = _ended(exchange.entries(store, chosen), running)
    return exchange.lines_of(_not_erased(entries) if fixture else entries, identity=not fixture)


def _not_erased(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.recording.erasures:
            click.echo(f"recorder: {entry.recording.recording_id} was erased, and is left out", err=True)
        else:
            yield entry


def _pieces(
    format_: str, store: Store, chosen: Sequence[UUID], running: list[UUID], *, content: bool
) -> Iterable[bytes]:
    """The file in another format, piece by piece."""
    from recorder import __version__, exchange

    if format_ == "sse":
        return [_stream(store, chosen)]
    if format_ == "html":
        return [_page(store, chosen).encode()]
    if format_ == "har":
        texts = exchange.to_har(_ended(exchange.entries(store, chosen), running), __version__)
    else:
        texts = exchange.to_otlp(exchange.traced(store, chosen, running), __version__, content=content)
    return (text.encode("ascii") for text in texts)


def _page(store: Store, chosen: Sequence[UUID]) -> str:
    from recorder import __version__, timeline, verify
    from recorder.store.scanning import Scope

    from .show import links_of, part_of, standing_of
    from .ticket import Ticket, page

    runs = {store.run_of(each) for each in chosen}
    if len(runs) > 1:
        raise click.UsageError(f"a page is of one run, and these are {len(runs)}: name one, or use `recorder report`")
    run = store.run(runs.pop())
    parts = [part_of(store, each) for each in store.members(run.run_id)]
    checked = [verify.check(each) for each in store.scan(Scope(ids=store.members(run.run_id)))]
    links = list(links_of(run, store.linked(run)))
    told = Ticket(run, parts, standing_of(store, run, parts), timeline.timeline(store, run.run_id), checked, links)
    return page(told, version=__version__, made_at=time.time_ns() // 1000)


def _is_filtered(context: click.Context) -> bool:
    """Whether any filter was given."""
    own = {"runs", "format_", "fixture", "content", "output", *PROOF}
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
    from recorder.errors import NotFound

    if len(chosen) > 1:
        raise click.UsageError(
            f"a stream is one recording's, and these are {len(chosen)}: export another format, or `recorder emit` one"
        )
    store.require_content()
    events = list(store.events(chosen[0]))
    plain = [event for event in events if event.kind in ("sse", "body")]
    wire = [event for event in events if event.kind == "wire"]
    told = plain or wire
    if any(event.size and event.data is None and event.raw is None for event in told):
        raise NotFound(
            f"recording {chosen[0]} has no payloads: {store.recording(chosen[0]).missing}; there is no stream to write:"
            " export it as JSONL, which keeps the rest"
        )
    return b"".join([payload_of((b"", *event)) for event in told])


def _put(output: Path | None, pieces: Iterable[bytes]) -> None:
    """To the file, which is replaced at once, or to stdout."""
    from recorder import exchange

    if output is not None:
        exchange.put_in_place(output, pieces)
        return
    stdout = sys.stdout.buffer
    stdout.writelines(pieces)
    stdout.flush()
