"""What `export --evidence` and `verify` share: a file that is checked without the store it came from, and how what a
check found is said.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from recorder.errors import NotFound

from .output import count, json_line, safe, several

if TYPE_CHECKING:
    from uuid import UUID

    from recorder.evidence import Outcome
    from recorder.store import Store
    from recorder.verify import Checked, Summary

__all__ = ["PROOF", "Proof", "faults", "look", "outcome_of", "proofs"]

Command = TypeVar("Command", bound=Callable[..., Any])

#: The options that `proofs` adds.
PROOF: Final = ("evidence", "against", "sign")
_OPTIONS: Final = (
    click.option("--evidence", is_flag=True, help="With proofs, to be checked without the store."),
    click.option(
        "--against", type=click.Path(path_type=Path), metavar="FILE", help="Of evidence: checkpoints that were kept."
    ),
    click.option(
        "--sign", type=click.Path(path_type=Path), metavar="KEYFILE", help="Of evidence: signs a new checkpoint."
    ),
)


@dataclass(frozen=True, slots=True)
class Proof:
    """How evidence is to be made; and the recordings that were found not to be as they were sealed."""

    against: Path | None
    sign: Path | None
    faults: list[Checked] = field(default_factory=list)

    def lines(self, store: Store, chosen: Sequence[UUID], running: list[UUID]) -> Iterator[bytes]:
        """The lines of an evidence file of those that have ended; the ids of the others go into `running`."""
        from recorder import __version__, evidence, verify

        running += [each for each in chosen if store.recording(each).ending is None]
        ended = [each for each in chosen if each not in running]
        if not ended:
            raise NotFound("none of these recordings has ended; export them once they have")
        kept = verify.read_lines(self.against) if self.against else ()
        by = f"recorder {__version__}"
        return evidence.lines_of(store, ended, by=by, kept=kept, key=self.sign, tell=self._tell)

    def _tell(self, checked: Checked) -> None:
        if checked.problems:
            self.faults.append(checked)
            told = "; ".join(problem.text for problem in checked.problems)
            click.echo(f"recorder: {checked.recording_id} is not as it was sealed: {safe(told)}", err=True)


def proofs(command: Command) -> Command:
    """Adds --evidence and what goes with it; the command is given a `proof`, None where none is asked for."""

    @functools.wraps(command)
    def proven(*args: Any, evidence: bool, against: Path | None, sign: Path | None, **rest: Any) -> Any:
        if (against or sign) and not evidence:
            raise click.UsageError("--against and --sign go with --evidence")
        return command(*args, proof=Proof(against, sign) if evidence else None, **rest)

    for option in reversed(_OPTIONS):
        proven = option(proven)
    return cast("Command", proven)


def look(file: Path, against: Path | None, key: Path | None, *, json_: bool) -> int:
    """Check an evidence file and say what was found; gives the exit code."""
    from recorder import evidence, verify

    outcome = evidence.check(file, verify.read_lines(against, key) if against else (), key)
    if json_:
        _as_json(outcome)
    else:
        _as_text(outcome, str(file))
    return 1 if outcome.summary.found else 0


def _as_json(outcome: Outcome) -> None:
    for checked in outcome.checked:
        place = None if checked.recording_id is None else outcome.place.get(checked.recording_id)
        json_line({**checked.to_json(), "place": place})
    found = outcome.summary.to_json()
    # Of a store, not of a file.
    told: dict[str, Any] = {name: found[name] for name in found if name not in ("later", "pruned", "seconds")}
    made = {"made": outcome.preamble.made, "by": outcome.preamble.by, "said": outcome.preamble.transcript}
    json_line({"summary": {**told, "vouched": outcome.anchor, **made}})


def _as_text(outcome: Outcome, where: str) -> None:
    for checked in outcome.checked:
        for line in faults(checked):
            click.echo(line)
        if not checked.problems:
            place = None if checked.recording_id is None else outcome.place.get(checked.recording_id)
            known = "" if place is None else f", number {count(place + 1)} in the store's log"
            partly = "".join(f"; {missing}" for missing in checked.missing)
            click.echo(f"{checked.recording_id}  {checked.verdict}{known}{partly}")
    for problem in outcome.summary.problems:
        click.echo(f"file: {safe(problem.text)}")
    click.echo("\nCheckpoints:")
    for kept, holds in outcome.summary.checkpoints:
        vouched = outcome.anchor is not None and kept.count <= outcome.anchor
        verdict = "does not hold" if not holds else "holds" if vouched else "nothing but this file vouches for it"
        click.echo(f"  {kept.time}  {several(kept.count, 'recording')}: {verdict}")
    said = sum(told.get("verdict") not in ("intact", "erased") for told in outcome.preamble.transcript)
    then = f"{count(said)} not as sealed" if said else "nothing wrong"
    click.echo(f"  when it was made ({outcome.preamble.made}, {safe(outcome.preamble.by)}), its store had {then}")
    if outcome.anchor is None and not outcome.summary.problems:
        click.echo(
            "  so far the file fits itself alone: give --against the checkpoints that were kept elsewhere, or --key the"
            " key that signed them"
        )
    click.echo(outcome_of(outcome.summary, where))


def faults(checked: Checked) -> Iterator[str]:
    """A line for each thing that is wrong with a recording."""
    for problem in checked.problems:
        at = "" if problem.position is None else f" (event {problem.position:,})"
        yield f"{checked.recording_id or '(no id)'}  {checked.verdict}: {safe(problem.text)}{at}"


def outcome_of(summary: Summary, where: str) -> str:
    """What was looked at and how it went, in one line."""
    speed = f", {summary.events / summary.seconds:,.0f} events/s" if summary.seconds > 0 and summary.events else ""
    seen = f"{several(summary.recordings, 'recording')}, {several(summary.events, 'event')}{speed}"
    parts = [f"{count(number)} {kind}" for kind, number in sorted(summary.verdicts.items())]
    parts += [f"{count(summary.incomplete)} incomplete"] if summary.incomplete else []
    parts += [f"{count(summary.pruned)} removed on purpose"] if summary.pruned else []
    verdict = f"{several(summary.found, 'fault')} found" if summary.found else "nothing found"
    return safe(f"{where}: {seen}: {', '.join(parts) or 'nothing there'}; {verdict}")
