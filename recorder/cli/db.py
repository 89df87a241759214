"""`recorder db`: what schema a store has, whether it is sound, bringing it to the present one, and who may do what."""

from __future__ import annotations

import click

from .options import as_json, url_of_store
from .output import json_line, safe

__all__ = ["db"]


@click.group(short_help="The database's schema: upgrade, current, check; who may what: roles.")
def db() -> None:
    """Look after the store's schema. A SQLite store upgrades itself; PostgreSQL waits for `recorder db upgrade`."""


@db.command()
@as_json
@click.pass_context
def current(context: click.Context, *, json_: bool) -> None:
    """Print the store's schema revision."""
    from recorder.store import describe_store

    state = describe_store(url_of_store(context))
    if json_:
        json_line({"revision": state.revision, "empty": state.empty})
        return
    click.echo(state.revision or ("empty" if state.empty else "not a recorder store"))


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Bring the store to the schema of this recorder. A SQLite store is copied first."""
    from recorder.store import migrate_store

    before, after = migrate_store(url_of_store(context))
    if before == after:
        click.echo(f"schema {after}: up to date", err=True)
    else:
        click.echo(f"schema {before or 'none'} -> {after}", err=True)


@db.command()
@as_json
@click.pass_context
def check(context: click.Context, *, json_: bool) -> None:
    """Compare the store's tables with what this recorder writes. Exits with 4 where they differ."""
    from recorder.store import check_store

    differences = check_store(url_of_store(context))
    if json_:
        json_line({"differences": differences})
    else:
        for difference in differences:
            click.echo(safe(difference))
    if differences:
        context.exit(4)
    if not json_:
        click.echo("the tables are as they should be", err=True)


@db.command()
@click.option("--apply", "apply_", is_flag=True, help="Run it, in one transaction, as the owner of the tables.")
@as_json
@click.pass_context
def roles(context: click.Context, *, apply_: bool, json_: bool) -> None:
    """Print the SQL that parts the rights in a PostgreSQL store, to be reviewed; --apply runs it. Run again, it changes
    nothing, or brings the rights to those of this recorder: do so after an upgrade.

    recorder_writer records. recorder_analyst sees facts alone: tokens, times, caps, outcomes; no payload, no text, no
    metadata, no tags. recorder_reader reads everything. recorder_eraser erases and prunes. None of them may change a
    fact. They do not log in: make your users members of them, as the last lines say.
    """
    from recorder.store import roles as parting

    url = url_of_store(context)
    made = parting.apply(url) if apply_ else parting.statements(url)
    if json_:
        json_line({"roles": parting.ROLES, "statements": made, "applied": apply_})
    elif apply_:
        click.echo(f"{len(made)} statements run: {', '.join(parting.ROLES)}", err=True)
    else:
        click.echo(parting.script(made))
