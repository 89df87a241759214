"""`recorder import`: recordings out of files, ours or another tool's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import as_json
from .output import json_line, safe, several, unheard

if TYPE_CHECKING:
    from recorder.exchange import Imported
    from recorder.store import Store

__all__ = ["import_"]

#: What is looked for in a folder.
_SUFFIXES = frozenset({".har", ".json", ".jsonl", ".sse", ".toml", ".yaml", ".yml"})


@click.command("import", short_help="Recordings out of files: JSONL, HAR, VCR cassettes, aimock, raw streams.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "har", "cassette", "aimock", "sse"]),
    default="auto",
    show_default=True,
    help="What the files are.",
)
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Make recording files there, not a store.")
@click.option("--url", help="Of a raw stream: what it answers. Default: guessed from its events.")
@click.option("--method", help="Of a raw stream. Default: POST.")
@click.option(
    "--body", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Of a raw stream: the request's body."
)
@as_json
@click.pass_context
def import_(
    context: click.Context,
    /,
    *,
    files: tuple[Path, ...],
    format_: str,
    to: Path | None,
    url: str | None,
    method: str | None,
    body: Path | None,
    json_: bool,
) -> int:
    """Take recordings out of files into the store, or with --to into recording files for tests.

    Understood are recorder's JSONL, HAR 1.2 (browsers, mitmproxy, Proxyman, PollyJS), cassettes of vcrpy,
    pytest-recording, VCR, betamax and cassetter (YAML, JSON, TOML), aimock's fixtures, and raw event streams. A folder
    stands for all such files in it; with --to the files made lie in the same folders below it.

    A file is taken whole or refused whole; importing again changes nothing. Links in a folder are not followed. What
    the source did not keep is marked unknown, and `show` says so. A key in a URL or a header is withheld, and told,
    also where an earlier recorder stored it. The exit code is 2 where a file was refused; the others are imported.
    """
    from recorder import config, exchange, match, reader
    from recorder.errors import Conflict, UsageError
    from recorder.store import Store

    settings = config.load(store=context.obj["store"])
    rule = match.Rule(settings.ignore, settings.match_headers, settings.normalise)
    asked = exchange.Asked(method, url, None if body is None else body.read_bytes())
    how = {"format": format_, "asked": asked, "rule": rule}
    listed, links = _listed(files)
    for link in links:
        click.echo(f"recorder: {safe(str(link))} is a link, which may lead anywhere: name it itself", err=True)
    refused = len(links)
    with ExitStack() as stack:
        store: Store | None = None
        if to is None:
            store = stack.enter_context(Store.open(config.store_url(settings.store, create=True), create=True))
        for path, name in listed:
            try:
                done = _taken(store, path, None if to is None else to / name.with_suffix(".jsonl"), how)
            except (UsageError, Conflict) as error:
                refused += 1
                file = f"{path}: " if isinstance(error, Conflict) else ""
                click.echo(f"recorder: {safe(file + str(error))}", err=True)
                continue
            with unheard():
                _tell(path, done, json_=json_)
        if store is not None:
            reader.read_due_all(store)
    return 2 if refused else 0


def _taken(store: Store | None, path: Path, target: Path | None, how: dict[str, Any]) -> Imported:
    """A file into the store, or into a recording file at `target`. Raises UsageError where it is refused."""
    from recorder import exchange

    if store is None:
        assert target is not None
        return exchange.convert(path, target, **how)
    return exchange.import_file(store, path, **how)


def _listed(files: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Each file, and where it lies below what was named; and the links in folders, which nobody named."""
    found: list[tuple[Path, Path]] = []
    links: list[Path] = []
    for named in files:
        if not named.is_dir():
            found.append((named, Path(named.name)))
            continue
        for path in sorted(named.rglob("*")):
            if path.suffix.lower() not in _SUFFIXES or not path.is_file():
                continue
            if path.is_symlink():
                links.append(path)
            else:
                found.append((path, path.relative_to(named)))
    return found, links


def _tell(path: Path, done: Imported, *, json_: bool) -> None:
    from recorder import exchange

    withheld = [recording for recording in done.recordings if exchange.sealed_as(recording) is not None]
    unknown: Counter[str] = Counter()
    for recording in done.recordings:
        told = recording.ending.detail.get("imported") if recording.ending else None
        unknown.update(told.get("unknown", ()) if isinstance(told, dict) else ())
    if json_:
        json_line(
            {
                "file": str(path),
                "source": done.source,
                "recordings": [str(recording.recording_id) for recording in done.recordings],
                "unknown": sorted(unknown),
                "withheld": [str(recording.recording_id) for recording in withheld],
                "skipped": list(done.skipped),
            }
        )
        return
    line = f"{path}: {several(len(done.recordings), 'recording')} of {done.source}"
    click.echo(safe(f"{line}; unknown: {', '.join(sorted(unknown))}" if unknown else line))
    if withheld:
        some = several(len(withheld), "recording")
        click.echo(
            f"recorder: {safe(str(path))}: of {some} something was withheld that must not be stored; the end of each"
            " tells where, and the seal that it had",
            err=True,
        )
    for skipped in done.skipped:
        click.echo(f"recorder: {safe(str(path))}: {safe(skipped)}; left out", err=True)
