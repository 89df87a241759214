"""`recorder erase`: what somebody wants gone goes, with what hangs together with it; and is looked for afterwards."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .options import as_json, open_store
from .output import asked, json_line, moment, safe, several, table, timestamp, unheard

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.retention import Erased, Reached
    from recorder.store import Store

__all__ = ["erase"]

_Pairs = tuple[tuple[str, str], ...]


class _Named(NamedTuple):
    """What is to go, as it was named."""

    names: tuple[str, ...]
    metadata: _Pairs
    tags: _Pairs
    threads: tuple[str, ...]
    traces: tuple[str, ...]


#: What nobody here can reach.
_BEYOND = (
    "Out of reach, look there yourself: exports, reports, pins and recording files; copies and snapshots of the file"
    " system; the logs of your programs; the provider."
)


def _pairs(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> _Pairs:
    for text in texts:
        if "=" not in text or text.startswith("="):
            raise click.BadParameter(f"{text!r} is not name=value")
    return tuple((name, value) for name, _, value in (text.partition("=") for text in texts))


@click.command(short_help="Take away what somebody wants gone, and what hangs together with it.")
@click.option("--run", "names", multiple=True, metavar="RUN", help="A run or recording, by any of its names.")
@click.option("--metadata", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="What has this in its metadata.")
@click.option("--tag", "tags", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="What ever had this tag.")
@click.option("--thread", "threads", multiple=True, metavar="ID", help="What is of this thread.")
@click.option("--trace", "traces", multiple=True, metavar="ID", help="What is of this trace.")
@click.option("--only", is_flag=True, help="Only what is named: follow no links.")
@click.option("--reason", metavar="TEXT", help="Why; kept for good, so name nobody in it.")
@click.option("--by", metavar="NAME", help="Who; kept for good. [default: the login's name]")
@click.option("--rewrite", is_flag=True, help="Write the store anew afterwards (VACUUM, VACUUM FULL); writers wait.")
@click.option("--dry-run", is_flag=True, help="Only say what was reached, and by which link.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def erase(
    context: click.Context,
    /,
    *,
    names: tuple[str, ...],
    metadata: _Pairs,
    tags: _Pairs,
    threads: tuple[str, ...],
    traces: tuple[str, ...],
    only: bool,
    reason: str | None,
    by: str | None,
    rewrite: bool,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> int:
    """Erase the content of all that is named (each option may be given more than once; they add up), and of what hangs
    together with it: the other recordings of its runs, threads, response chains and calls.

    Gone are requests, answers, tags, metadata and every text made of them, from the store, its log, the facts that are
    kept for questions and the copies made before upgrades; then every file of the store is searched for pieces of what
    went. Times, sizes, token counts, the provider's ids and the digests stay: `recorder verify` says erased.

    Killed half-way, the same call goes on. Exit code 1: not all could be erased, or something was still found; 3:
    nothing goes by these names, or nothing does any more.
    """
    from recorder import retention
    from recorder.errors import NotFound

    named = _Named(names, metadata, tags, threads, traces)
    if not any(named):
        raise click.UsageError("say what is to go: --run, --metadata, --tag, --thread or --trace")
    if not dry_run and not (reason or "").strip():
        raise click.UsageError("--reason is needed: it is what the record will say of the gap")
    with open_store(context, readonly=dry_run) as store:
        reached = retention.reached(store, _named(store, named), follow=not only)
        before = store.erasures([each.recording_id for each in reached])
        if dry_run or not json_:
            with unheard() if yes and not dry_run else nullcontext():
                _list(store, reached, before, json_=json_)
        code = 0
        if not dry_run:
            if not yes and reached:
                click.confirm(f"Erase {several(len(reached), 'recording')}?", abort=True, err=True)
            erased = _erased(store, reached, by or retention.who(), str(reason), rewrite=rewrite)
            if json_:
                json_line(_as_json(erased))
            else:
                _tell(erased, store.url, rewrite=rewrite)
            code = 1 if erased.found or erased.missed or erased.open or erased.held else 0
        if not reached:
            raise NotFound(f"nothing in {store.url} goes by these names; `recorder recordings` lists what is there")
    return code


def _erased(store: Store, reached: list[Reached], by: str, reason: str, *, rewrite: bool) -> Erased:
    """Do it, also where nothing was reached: it may have been killed when all had gone but the rest was not done."""
    from functools import partial

    from recorder import config, queries, redact, retention
    from recorder.writer import recover

    recover(store)  # what a writer that died left open can be erased, too
    mask = redact.Redactor(config.load().redact).text
    return retention.erase(
        store, reached, by=mask(by), reason=mask(reason), rewrite=rewrite, forget=partial(queries.forget, store.url)
    )


def _named(store: Store, named: _Named) -> dict[UUID, str]:
    """The recordings that are named, and what named them."""
    from recorder.store import RunFilter

    found: dict[UUID, str] = {}
    for text in named.names:
        recording_id = store.resolve(text)
        members = store.members(recording_id)
        found.update(dict.fromkeys(members or [recording_id], "named"))
    for name, value in named.metadata:
        for each in store.recordings(RunFilter(metadata={name: value}, limit=1 << 40)):
            found.setdefault(each.recording.recording_id, f"metadata {name}")
    others = store.named(tags=named.tags, threads=named.threads, traces=named.traces)
    return {**others, **found}


def _list(store: Store, reached: list[Reached], before: Any, *, json_: bool) -> None:
    """What was reached, and by which link."""
    rows = []
    for each in reached:
        recording = store.recording(each.recording_id)
        erasures = before.get(each.recording_id, ())
        if json_:
            json_line(
                {
                    "recording_id": str(each.recording_id),
                    "run_id": str(store.run_of(each.recording_id)),
                    "link": each.link,
                    "via": None if each.via is None else str(each.via),
                    "started_at": timestamp(recording.started_at),
                    "method": recording.request.method,
                    "erased_at": timestamp(erasures[-1].erased_at) if erasures else None,
                }
            )
            continue
        via = "" if each.via is None else f" of {str(each.via)[-12:]}"
        already = f"erased {moment(erasures[-1].erased_at)}" if erasures else ""
        link = f"{each.link}{via}"
        rows.append([str(each.recording_id)[-12:], moment(recording.started_at), asked(recording), link, already])
    if rows:
        table(["recording", "started", "request", "reached by", ""], rows, spare=("started",))


def _as_json(erased: Erased) -> dict[str, Any]:
    return {
        **{name: [str(each) for each in getattr(erased, name)] for name in ("done", "already", "open", "held")},
        "removed": erased.removed,
        "rewritten": erased.rewritten,
        "searched_pieces": erased.searched,
        "searched_files": erased.files,
        "found_in": erased.found,
        "missed": erased.missed,
    }


def _tell(erased: Erased, where: str, *, rewrite: bool) -> None:
    click.echo(f"{several(len(erased.done), 'recording')} erased, {len(erased.already):,} were before")
    # By their ids: what led to them may be gone now, and then the same call finds them no more.
    if erased.open:
        told = f"{several(len(erased.open), 'recording')} still being recorded: when they have ended,"
        click.echo(f"{told} recorder erase{_runs(erased.open)}")
    if erased.held:
        told = f"{several(len(erased.held), 'recording')} on hold: take the tag `hold` off with recorder tag, then"
        click.echo(f"{told} recorder erase{_runs(erased.held)}")
    for path in erased.removed:
        click.echo(f"removed {safe(path)}")
    if erased.searched:
        verdict = "found again in " + ", ".join(map(safe, erased.found)) if erased.found else "none is left"
        click.echo(
            f"searched {several(erased.files, 'file')} for {several(erased.searched, 'piece')} of it: {verdict}"
            + (" (the store was written anew)" if erased.rewritten else "")
        )
    for text in erased.missed:
        click.echo(f"not done: {safe(text)}")
    for line in _beyond(where, rewrite=rewrite):
        click.echo(line)


def _runs(recording_ids: list[UUID]) -> str:
    return "".join(f" --run {each}" for each in recording_ids)


def _beyond(where: str, *, rewrite: bool) -> list[str]:
    """What no erasure here reaches, so that nobody believes otherwise."""
    lines = [_BEYOND]
    if not where.startswith("sqlite:"):
        pages = "" if rewrite else " free room in its tables, until --rewrite or until it is used again;"
        lines.append(f"PostgreSQL:{pages} the write-ahead log and its archives, replicas, base backups, dumps.")
    return lines
