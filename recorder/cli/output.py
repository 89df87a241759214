"""How commands print: tables for people, one JSON object a line for scripts, and nothing that a terminal would obey.

Texts come from models and strangers. In a table every control and bidirectional character is shown as an escape; in
JSON everything beyond ASCII is one already.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from recorder.recording import Recording

__all__ = [
    "asked",
    "count",
    "dollars",
    "drop_output",
    "json_line",
    "milliseconds",
    "moment",
    "safe",
    "several",
    "span",
    "table",
    "timestamp",
    "unheard",
]

# C0, DEL, C1, the characters that reorder or hide text (Unicode UAX 9 and zero-width ones), and lone surrogates, which
# no encoding takes.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


#: Blanks between two columns of a table; and how much of a text is always shown, where it is longer.
_GAP, _TEXT = 2, 24


def safe(text: str, *, lines: bool = False) -> str:
    """The text without anything that a terminal acts on; `lines` lets line feeds and tabs through."""

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if lines and character in "\n\t":
            return character
        return character.encode("unicode_escape").decode("ascii")

    return _OBEYED.sub(escape, text)


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout; ASCII, so that any terminal and any reader can take it.

    What JSON has no number for (NaN, the infinities) becomes its name as a text.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(json.loads(json.dumps(value), parse_constant=str), separators=(",", ":"))
    click.echo(text)


def timestamp(micros: int | None) -> str | None:
    """ISO 8601 in UTC with microseconds, for JSON."""
    if micros is None:
        return None
    return _time(micros).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(micros: int | None) -> str:
    """Local date and time to the second, for people."""
    if micros is None:
        return "-"
    return _time(micros).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def milliseconds(micros: int | None) -> float | None:
    """Milliseconds, exact to the microsecond, for JSON."""
    return None if micros is None else micros / 1000


def span(micros: int | None) -> str:
    """A duration as people read it: 850 us, 12.3 ms, 4.21 s, 3 min 20 s."""
    if micros is None:
        return "-"
    if micros < 1000:
        return f"{micros} us"
    if micros < 1_000_000:
        return f"{micros / 1000:.1f} ms"
    if micros < 120_000_000:
        return f"{micros / 1_000_000:.2f} s"
    return f"{micros // 60_000_000} min {micros // 1_000_000 % 60} s"


def count(number: int | None) -> str:
    """A number with thousands separators; a dash where it is not known."""
    return "-" if number is None else f"{number:,}"


def dollars(amount: str | None) -> str:
    """US dollars as people read them, to the hundredth of a cent; a dash where they are not known."""
    return "-" if amount is None else f"${Decimal(amount):,.4f}"


def asked(recording: Recording) -> str:
    """A request's method and URL, or why there is no URL."""
    why = "erased" if recording.erasures else "withheld" if recording.withheld else "gone"
    return f"{recording.request.method} {recording.request.url or f'({why})'}"


def several(number: int, noun: str) -> str:
    """1 recording, 2,000 recordings."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
    width: int | None = None,
) -> None:
    """A plain table on stdout. Columns named in `right` are right-aligned; a pipe gets no colours and no cutting.

    Where the terminal (or `width`) is too narrow, long texts are cut, and the columns named in `spare` left out, the
    first of them first. The first column, an id, and those of `right`, numbers, are shown whole or not at all.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if width is None and not sys.stdout.isatty():
        width = 10_000  # what another program reads must not be cut to the width of a terminal that is not there
    console = Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)
    texts = [[Text(safe(cell)) for cell in row] for row in rows]
    columns = {title: [row[place] for row in texts] for place, title in enumerate(titles)}
    wide = {title: max([len(title), *(cell.cell_len for cell in cells)]) for title, cells in columns.items()}
    uncut = {titles[0], *right}
    for title in spare:
        least = sum(size if name in uncut else min(size, _TEXT) for name, size in wide.items())
        if least + _GAP * (len(wide) - 1) > console.width:
            del columns[title], wide[title]
    for title in sorted(wide.keys() - uncut, key=lambda name: wide[name], reverse=True):
        room = console.width - _GAP * (len(wide) - 1) - sum(size for name, size in wide.items() if name != title)
        wide[title] = min(wide[title], max(room, _TEXT))
        for cell in columns[title]:
            cell.truncate(wide[title], overflow="ellipsis")
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for title in columns:
        made.add_column(title, justify="right" if title in right else "left", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        made.add_row(*row)
    console.print(made)


def drop_output() -> None:
    """Let what is still buffered for stdout go nowhere, so that the interpreter's end does not fail on it."""
    with suppress(OSError, ValueError):  # a stream that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def unheard() -> Iterator[None]:
    """What is told here may be heard by nobody (`| head`): what is still to be done is done all the same."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # rich exits then
        drop_output()
