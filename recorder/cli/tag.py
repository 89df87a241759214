"""`recorder tag`: a note on a run, set or taken off."""

from __future__ import annotations

import click

from .options import as_json, open_store
from .output import json_line, safe

__all__ = ["tag"]


@click.command(short_help="Note something on a run: name=value; name= takes it off.")
@click.argument("run", metavar="RUN")
@click.argument("notes", metavar="NAME=VALUE...", nargs=-1)
@as_json
@click.pass_context
def tag(context: click.Context, run: str, notes: tuple[str, ...], *, json_: bool) -> None:
    """Note NAME=VALUE on RUN; of one name the last note holds. NAME= takes it off. Without notes: what is noted.

    A recording is never changed: each note is a new fact beside it, with its time. What recorder masks elsewhere it
    masks here, too.
    """
    from recorder import config, redact

    mask = redact.Redactor(config.load().redact if notes else ()).text
    given = [(mask(name), value and mask(value)) for name, value in map(_note, notes)]
    with open_store(context, readonly=not given) as store:
        run_id = store.run_of(store.resolve(run))
        for name, value in given:
            store.tag(run_id, name, value)
        noted = dict(store.run(run_id).tags)
    if json_:
        json_line({"run_id": str(run_id), "tags": noted})
        return
    for name, value in noted.items():
        click.echo(safe(f"{name}={value}"))


def _note(text: str) -> tuple[str, str | None]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.BadParameter(f"{text!r} is not name=value (name= takes a note off)", param_hint="NAME=VALUE")
    return name, value or None
