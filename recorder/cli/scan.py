"""`recorder scan`: what the record holds that today's rules would mask; counts, never values."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from .options import as_json, open_store, time_option
from .output import count, json_line, safe, several, table, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recorder.scan import Findings

__all__ = ["scan"]

#: So many recordings are told one by one.
_SHOWN = 20


@click.command(short_help="What the record holds that today's rules would mask: counts.")
@time_option("--since", "Recordings that started at or after: 2026-03-01T12:00, or an age: 7d.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="One more: /regex/, name: /regex/, or a path.")
@as_json
@click.pass_context
def scan(context: click.Context, *, since: int | None, rules: tuple[str, ...], json_: bool) -> int:
    """Read what is stored as if it were recorded now, by the shapes of credentials that recorder knows and the rules of
    the setting `redact`, also where a credential goes across events or chunks. What these would mask is counted by
    rule, place and recording; no value is shown. Nothing is changed. The exit code is 1 where something was found.

    Mail addresses are counted beside, and are no find: only a rule of yours masks them.
    """
    from recorder import config, redact
    from recorder.scan import scan as scanned
    from recorder.store.scanning import Scope

    redactor = redact.Redactor((*config.load().redact, *rules))
    total = _Total(json_=json_)
    with open_store(context, read=False) as store:
        for each in scanned(store, redactor, Scope(since=since)):
            total.one(each)
        total.told(store.url)
    return 1 if total.recordings or total.problems else 0


class _Total:
    """What was found so far."""

    def __init__(self, *, json_: bool) -> None:
        self._json = json_
        self._looked_at = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._holders: Counter[tuple[str, str]] = Counter()
        self._addresses: Counter[str] = Counter()
        self._shown: list[str] = []
        self.recordings = 0
        self.problems = 0

    def one(self, found: Findings) -> None:
        """One recording was looked at."""
        self._looked_at += 1
        self.recordings += bool(found.found)
        self.problems += found.problem is not None
        for place, counts in found.found.items():
            for rule, number in counts.items():
                self._counts[place, rule] += number
                self._holders[place, rule] += 1
        self._addresses.update(found.addresses)
        if not found.found and found.problem is None:
            return
        if self._json:
            json_line(_as_json(found))
        elif len(self._shown) < _SHOWN:
            self._shown.append(f"{found.recording_id or '(no id)'}  {safe(found.problem or _told(found.found))}")

    def told(self, where: str) -> None:
        """All were looked at."""
        if self._json:
            found = [
                {"place": place, "rule": rule, "found": number, "recordings": self._holders[place, rule]}
                for (place, rule), number in sorted(self._counts.items())
            ]
            summary = {"looked_at": self._looked_at, "recordings": self.recordings, "problems": self.problems}
            json_line({"summary": {**summary, "found": found, "addresses": dict(sorted(self._addresses.items()))}})
            return
        if self._counts:
            rows = [
                (place, rule, count(number), count(self._holders[place, rule]))
                for (place, rule), number in sorted(self._counts.items())
            ]
            table(("place", "rule", "found", "recordings"), rows, right=("found", "recordings"))
            click.echo()
        for line in self._shown:
            click.echo(line)
        if (left := self.recordings + self.problems - len(self._shown)) > 0:
            click.echo(f"and {count(left)} more (--json tells all)")
        if self._addresses:
            places = ", ".join(f"{place} {count(number)}" for place, number in sorted(self._addresses.items()))
            click.echo(f"note: mail addresses: {places}; a rule masks them: redact = ['mail: /\\S+@\\S+/']")
        if self.recordings:
            click.echo(_ADVICE)
        verdict = f"{several(self.recordings, 'recording')} with finds" if self.recordings else "nothing found"
        if self.problems:
            verdict += f"; {several(self.problems, 'recording')} could not be looked at whole"
        click.echo(f"{where}: {several(self._looked_at, 'recording')} looked at; {verdict}")


_ADVICE = """\
What to do: rotate the credentials first: whoever could read the store has seen them. Then `recorder erase --run ID
--reason TEXT` takes the content away and leaves figures and digests, as `recorder prune --content` does by age;
exports and copies have to be found by hand. RECORDER_CONTENT=facts keeps no content in the first place."""


def _told(found: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{place}: {', '.join(f'{rule} {number}' for rule, number in counts.items())}"
        for place, counts in found.items()
    )


def _as_json(found: Findings) -> dict[str, Any]:
    return {
        "recording_id": None if found.recording_id is None else str(found.recording_id),
        "started_at": timestamp(found.started_at),
        "found": {place: dict(counts) for place, counts in found.found.items()},
        "addresses": dict(found.addresses),
        "problem": found.problem,
    }
