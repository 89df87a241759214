"""`recorder verify`: whether the record is what was recorded, and which of it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .evidence import faults, look, outcome_of
from .options import as_json, open_store, time_option
from .output import count, json_line, safe, several

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.store import Store
    from recorder.verify import Checked, Summary

__all__ = ["verify"]

#: Of what is no fault, so many are told one by one.
_SHOWN = 20


@click.command(short_help="Whether the record is what was recorded; names what is not.")
@click.argument("names", metavar="[RUN|RECORDING]...", nargs=-1)
@time_option("--since", "Recordings that started at or after: 2026-03-01T12:00, or an age: 7d.")
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Checkpoints that were kept elsewhere, one a line; - reads them from stdin.",
)
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), help="The public key that signed them.")
@click.option(
    "--evidence",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Not a store, but a file that `export --evidence` made.",
)
@as_json
@click.pass_context
def verify(
    context: click.Context,
    names: tuple[str, ...],
    *,
    since: int | None,
    against: Path | None,
    key: Path | None,
    evidence: Path | None,
    json_: bool,
) -> int:
    """Hold each recording against its digests: of RUN or RECORDING, or of the whole store.

    Two verdicts: integrity (is this what was recorded?) and completeness (did capture see all of it?). What was
    altered, shortened, forged or lost is named, and the exit code is 1. What was erased on purpose, what is still being
    recorded and what capture saw only in part is told apart, and is no fault. Only a checkpoint that was kept elsewhere
    shows that whole recordings were taken away, or that the store was rolled back or written anew.

    With --evidence FILE no store is needed: the recordings in the file, their proofs and its checkpoints are checked.
    """
    from recorder import verify as verifying
    from recorder.store.scanning import Scope

    if evidence is not None:
        if names or since is not None:
            raise click.UsageError("an evidence file is checked whole: leave out the names and --since")
        return look(evidence, against, key, json_=json_)
    if (names or since is not None) and against:
        raise click.UsageError("checkpoints are of the whole store: leave out the names and --since, or --against")
    if key and not against:
        raise click.UsageError("--key belongs to --against or --evidence")
    lines = verifying.read_lines(against, key) if against else ()
    told = _Told(json_=json_, every=bool(names))
    with open_store(context, read=False) as store:
        scope = Scope(ids=_named(store, names) if names else None, since=since)
        summary = verifying.verify(store, told.one, scope, lines)
        told.whole(summary, store.url)
    return 1 if summary.found else 0


def _named(store: Store, names: tuple[str, ...]) -> list[UUID]:
    """The recordings that the names stand for: of a run all, else the one."""
    ids: dict[UUID, None] = {}
    for name in names:
        found = store.resolve(name)
        ids.update(dict.fromkeys(store.members(found) or [found]))
    return list(ids)


class _Told:
    """What was said so far. Faults are told at once, what is no fault at the end."""

    def __init__(self, *, json_: bool, every: bool) -> None:
        self._json = json_
        self._every = every
        self._others: dict[str, list[str]] = {}

    def one(self, checked: Checked) -> None:
        """One recording was looked at."""
        if self._json:
            if self._every or checked.verdict != "intact" or checked.missing:
                json_line(checked.to_json())
            return
        for line in faults(checked):
            click.echo(line)
        name = str(checked.recording_id or "(no id)")
        if not checked.problems and (checked.verdict != "intact" or self._every):
            self._others.setdefault(checked.verdict, []).append(name)
        for missing in checked.missing:
            self._others.setdefault("incomplete", []).append(f"{name}  {missing}")

    def whole(self, summary: Summary, where: str) -> None:
        """All were looked at."""
        if self._json:
            json_line({"summary": summary.to_json()})
            return
        for problem in summary.problems:
            click.echo(f"store: {safe(problem.text)}")
        for kind, title in _TITLES.items():
            found = self._others.get(kind, [])
            if found:
                click.echo(f"\n{title}")
            for line in found[:_SHOWN]:
                click.echo(f"  {line}")
            if len(found) > _SHOWN:
                click.echo(f"  and {count(len(found) - _SHOWN)} more (--json tells all)")
        if summary.checkpoints:
            click.echo("\nCheckpoints:")
        for kept, holds in summary.checkpoints[-_SHOWN:]:
            signed = "" if kept.key is None else ", signature checked" if kept.trusted else ", signature not checked"
            verdict = "holds" if holds else "does not hold"
            click.echo(f"  {kept.time}  {several(kept.count, 'recording')}: {verdict}{signed}")
        if summary.checkpoints:
            click.echo(f"  {several(summary.later, 'sealed recording')} came after the newest")
        click.echo(outcome_of(summary, where))


_TITLES = {
    "intact": "Intact:",
    "erased": "Erased on purpose; facts and seal hold:",
    "unfinished": "Not sealed yet, being recorded or left by a writer that died:",
    "incomplete": "Intact as far as it goes, and not all of the exchange:",
}
