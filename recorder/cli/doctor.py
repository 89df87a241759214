"""`recorder doctor`: whether all is well with this installation, its settings and the store; what to do where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from recorder.errors import NotFound, RecorderError

from .options import as_json, url_of_store
from .output import json_line, safe

if TYPE_CHECKING:
    from recorder.doctor import Finding

__all__ = ["doctor"]

_WIDTH = 16


@click.command(short_help="What is wrong with the store and this machine, and what to do.")
@as_json
@click.pass_context
def doctor(context: click.Context, *, json_: bool) -> int:
    """Look at this installation, the settings and the store: one line a check.

    Each is ok, a note (good to know), a warning (it will hurt some day) or a fault (recording or reading suffers now),
    and says what to do. Nothing is changed, and the store may be broken, or missing. The exit code is 1 where there is
    a fault.
    """
    from recorder.doctor import Level

    counts: Counter[str] = Counter()
    for found in _findings(context):
        counts[found.level] += 1
        if json_:
            json_line(found._asdict())
        else:
            _print(found)
    if json_:
        json_line({"summary": {level.value: counts[level] for level in Level}})
    else:
        told = ", ".join(f"{counts[level]} {level}" for level in Level if counts[level])
        click.echo(f"\n{told}")
    return 1 if counts[Level.FAULT] else 0


def _print(found: Finding) -> None:
    level = click.style(f"{found.level:<8}", bold=found.level in ("warning", "fault"), dim=found.level == "ok")
    click.echo(f"{level} {found.check:<{_WIDTH}} {safe(found.text)}")
    if found.advice:
        click.echo(f"{'':8} {'':{_WIDTH}} -> {safe(found.advice)}")


def _findings(context: click.Context) -> Iterator[Finding]:
    from recorder.doctor import Finding, Level, examine

    url, missing = None, None
    try:
        url = url_of_store(context)
    except NotFound as error:  # no store was named, and there is none yet
        missing = str(error)
    except RecorderError as error:  # wrong settings are a finding of their own; what was named here is none
        if context.obj["store"] is not None:
            raise error from None
    yield from examine(url, floor=_floor(), commands=variables(context))
    if missing is not None:
        yield Finding("store", Level.NOTE, missing, None)
    if url is not None:
        yield from _facts(url)


def _floor() -> int | None:
    """The setting; None where it is not given, or the settings are wrong, which is a finding of its own."""
    from recorder import config

    try:
        return config.load().min_free
    except RecorderError:
        return None


def variables(context: click.Context) -> Iterator[str]:
    """The variables that commands read, as click names them."""
    root = context.find_root().command
    assert isinstance(root, click.Group)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        for parameter in command.params if command is not None else ():
            yield f"RECORDER_{name}_{parameter.name}".upper().replace("-", "_")


def _facts(url: str) -> Iterator[Finding]:
    """The copies that questions keep."""
    from recorder import queries
    from recorder.config import size_text
    from recorder.doctor import Finding, Level

    try:
        found = queries.kept(url)
    except (RecorderError, OSError):  # what is wrong with the store was said before
        return
    if found is None:
        yield Finding("facts", Level.OK, "none kept for questions yet")
        return
    state = {True: "up to date", False: "behind the store; the next question brings them up to date", None: "kept"}
    yield Finding(
        "facts", Level.OK, f"{size_text(found.size)} kept for questions in {found.folder}: {state[found.current]}"
    )
