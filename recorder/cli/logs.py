"""What questions are asked of: the store, or with `--from` a log that was never recorded here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click

from .options import open_store, pairs, require_sight, url_of_store
from .output import safe, several

if TYPE_CHECKING:
    import duckdb

    from recorder.queries import Scope

__all__ = ["Log", "connected", "facts", "log", "price_folder"]

Command = TypeVar("Command", bound=Callable[..., Any])


class Log(NamedTuple):
    """A file, and which of its columns tells what."""

    path: Path
    columns: Mapping[str, str]


_OPTIONS = (
    click.option(
        "--from",
        "from_",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Ask a CSV or Parquet file, one run a row, instead of the store.",
    ),
    click.option(
        "--map",
        "maps",
        multiple=True,
        callback=pairs,
        metavar="NAME=COLUMN",
        help="What tells NAME there: output_tokens=completion_tokens, finish_reason=why, tag:team=team; or, "
        "with two equals signs, what it is in all rows: origin==https://api.openai.com.",
    ),
)


def log(command: Command) -> Command:
    """Adds --from and --map; the command gets them as one `source`: a Log, or None for the store."""

    @functools.wraps(command)
    def sourced(*given: Any, from_: Path | None, maps: Mapping[str, str], **rest: Any) -> Any:
        if maps and from_ is None:
            raise click.UsageError("--map says what the columns of --from FILE mean: name a file")
        return command(*given, source=None if from_ is None else Log(from_, maps), **rest)

    for option in reversed(_OPTIONS):
        sourced = option(sourced)
    return cast("Command", sourced)


@contextmanager
def facts(
    context: click.Context, *, by: str | None = None, events: bool = False, content: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the store's facts, of which those that are asked about are told apart `by` something."""
    from recorder import queries

    with open_store(context) as store:  # which makes readings that are due
        require_sight(store, by)
        connection = queries.connect(url_of_store(context), events=events, content=content)
    with closing(connection):
        yield connection


@contextmanager
def connected(
    context: click.Context, source: Log | None, asked_for: Scope, *, events: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the store's facts, or to those of the log. What is to be told of the log goes to stderr."""
    from recorder.errors import UsageError

    if source is None:
        with facts(context, by=asked_for.by, events=events) as connection:
            yield connection
        return
    from recorder.queries import outside

    if events:
        raise UsageError("a log tells nothing of single events; ask this of a store")
    told = outside.connect(source.path, source.columns)
    with closing(told.connection):
        if "started_at" not in told.fields and (asked_for.since is not None or asked_for.until is not None):
            raise UsageError(f"{source.path} tells no times: leave --since and --until out, or --map started_at=COLUMN")
        click.echo(safe(f"{source.path}: {several(told.rows, 'row')}"), err=True)
        for note in told.notes:
            click.echo(safe(f"{source.path}: {note}"), err=True)
        yield told.connection


def price_folder(context: click.Context, source: Log | None) -> Path | None:
    """Where looked-up prices are kept for the next time."""
    from recorder import queries

    return None if source is not None else queries.folder_of(url_of_store(context))
