"""The questions: each one file of analytics/, whose head says what it asks, of which runs, and what it needs to know.

It refuses to run them. The head of a file, in comments, one subject a line:

    -- B1 How much of each cap is used?       the id, and the question
    -- Of the runs that had a cap …           what the answer says, in lines of free text
    -- among: over                            an SQL condition on `runs`: only of these is it asked
    -- needs: output_tokens                   columns of `runs` that must be known: a run that lacks one is left
                                           out, and counted; of `a|b` one is enough
    -- uses: costs, events                    what there must be besides: costs, prices, events, invoice, curve,
                                           features, marked
    -- given: target DOUBLE = 0.99            what the asker may set, with DuckDB's type, or MOMENT, and the default
    -- must: target > 0 AND target < 1        what must hold of what is given, in SQL
    -- chart: bars slice share low high       the picture, and the columns it is drawn from
    -- default                                `recorder analyze` answers it unasked

What follows is one SELECT over `asked`, the runs that are left, with `slice` for what they are told apart by.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from recorder import resources
from recorder.errors import NotFound, UsageError

__all__ = ["MOMENT", "USES", "Chart", "Given", "Question", "find", "questions", "read"]

#: What a question may use besides the runs.
USES: Final = frozenset({"costs", "curve", "events", "features", "invoice", "marked", "prices"})

#: The type of what is given as a moment: microseconds UTC, or NULL.
MOMENT: Final = "MOMENT"

#: What the questions are about, in order: budgets, truncation, cost, latency, drift, incidents.
_LETTERS: Final = "BTCLDF"

_FIRST: Final = re.compile(r"-- ([A-Z][0-9]+) (.+)")
_SUBJECT: Final = re.compile(r"-- (among|needs|uses|given|must|chart):\s*(.+)")
_GIVEN: Final = re.compile(r"([a-z_]+) ([A-Z]+) = (.+)")


class Given(NamedTuple):
    """Something that the asker may set: `default` as SQL, of the DuckDB type `kind`."""

    name: str
    kind: str
    default: str


class Chart(NamedTuple):
    """A picture of the answer: its kind, and the columns that it is drawn from."""

    kind: str
    columns: tuple[str, ...]


class Question(NamedTuple):
    """One question, as its file says it."""

    id: str
    name: str
    title: str
    text: str
    among: str | None
    needs: tuple[str, ...]
    uses: frozenset[str]
    given: tuple[Given, ...]
    chart: Chart | None
    is_default: bool
    sql: str
    must: tuple[str, ...] = ()

    @property
    def moments(self) -> tuple[str, ...]:
        """The names of what is given as a moment."""
        return tuple(one.name for one in self.given if one.kind == MOMENT)


@cache
def questions() -> tuple[Question, ...]:
    """All that there are, in the order of their ids."""
    files = sorted(resources.folder("analytics").glob("[!_]*.sql"))
    return tuple(sorted(map(read, files), key=_place))


def _place(question: Question) -> tuple[int, int]:
    return _LETTERS.index(question.id[0]), int(question.id[1:])


def find(name: str) -> Question:
    """The question of that id (`B1`), name (`cap_use`), or file (`./mine.sql`).

    Raises NotFound, and UsageError where the file is no question.
    """
    if name.endswith(".sql"):
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"there is no file {name}; `recorder analyze --list` names the questions there are")
        return read(path)
    wanted = name.strip().lower().replace("-", "_")
    known = {key: question for question in questions() for key in (question.id.lower(), question.name)}
    if wanted in known:
        return known[wanted]
    near = [known[key] for key in get_close_matches(wanted, known, n=1, cutoff=0.5)]
    hint = "".join(f"did you mean {one.id} ({one.name})?" for one in near)
    raise NotFound(f"there is no question {name!r}: {hint or '`recorder analyze --list` names them all'}")


def read(path: Path) -> Question:
    """The question in a file. Raises UsageError where its head is not as it must be."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}; make it a readable UTF-8 file") from None
    first = _FIRST.fullmatch(lines[0]) if lines else None
    if first is None:
        raise UsageError(f"{path}: the first line must be an id and the question, such as `-- X1 How many runs?`")
    head = [line for line in lines[1 : _height(lines)] if line.strip() != "--"]
    said: dict[str, list[str]] = {"among": [], "needs": [], "uses": [], "given": [], "must": [], "chart": []}
    text = []
    for line in head:
        subject = _SUBJECT.fullmatch(line)
        if subject:
            said[subject[1]].append(subject[2].strip())
        elif line != "-- default":
            text.append(line.removeprefix("--").strip())
    uses = frozenset(_names(said["uses"]))
    if uses - USES:
        raise UsageError(f"{path}: it uses {', '.join(sorted(uses - USES))}; there is {', '.join(sorted(USES))}")
    chart = said["chart"][0].split() if said["chart"] else None
    return Question(
        id=first[1],
        name=path.stem,
        title=first[2].strip(),
        text=" ".join(text),
        among=" AND ".join(f"({condition})" for condition in said["among"]) or None,
        needs=tuple(_names(said["needs"])),
        uses=uses,
        given=tuple(_given(path, line) for line in said["given"]),
        must=tuple(said["must"]),
        chart=Chart(chart[0], tuple(chart[1:])) if chart else None,
        is_default="-- default" in head,
        sql="\n".join(lines[_height(lines) :]).strip().rstrip(";"),
    )


def _height(lines: list[str]) -> int:
    """How many lines the head has."""
    return next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))


def _names(lines: list[str]) -> list[str]:
    return [name.strip() for line in lines for name in line.split(",") if name.strip()]


def _given(path: Path, line: str) -> Given:
    parts = _GIVEN.fullmatch(line)
    if parts is None:
        raise UsageError(f"{path}: `given` must be a name, a type and a default, such as `target DOUBLE = 0.99`")
    return Given(*parts.groups())
