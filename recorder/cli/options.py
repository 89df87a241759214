"""What several commands take: the store, times, filters, IDs. And what every command does with an error of ours."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from recorder.recording import Status, StopReason, Transport, storable

if TYPE_CHECKING:
    from recorder.store import RunFilter, Store

__all__ = [
    "DIALECTS",
    "age_option",
    "as_json",
    "filters",
    "open_store",
    "pairs",
    "parse_time",
    "require_sight",
    "scope",
    "selection",
    "time_option",
    "to_filter",
    "url_of_store",
]

Command = TypeVar("Command", bound=Callable[..., Any])

#: What `recorder.dialects` knows; named here so that help needs none of it.
DIALECTS = ("assistants", "responses", "chat", "messages", "gemini", "raw")


def _time(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Microseconds UTC for an option's text."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is not a time; write ISO 8601 (2026-03-01T12:00) or an age (7d, 3h, 20min)"
        ) from None


def _time_without_months(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """The same; who writes 6m for half a year is not taken by his word."""
    if text is not None and text.strip().lower().endswith("m"):
        raise click.BadParameter(f"{text!r} may be minutes or months; write min, or 180d, 26w")
    return _time(context, option, text)


def pairs(_context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """name=value texts of an option, cut at the first equals sign; no name may come twice."""
    found = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{text!r} is not {option.metavar or 'name=value'}")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice, and only one could hold: choose")
        found[name] = value
    return found


def parse_time(text: str) -> int:
    """Microseconds UTC for an ISO 8601 time or an age such as 7d. Raises ValueError, OverflowError."""
    from recorder.config import seconds_of

    age = seconds_of(text)
    if age is not None:
        return time.time_ns() // 1000 - age * 1_000_000
    given = datetime.fromisoformat(text.strip())  # one without its zone is local
    return (given.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def age_option(name: str, text: str) -> Callable[[Command], Command]:
    """An option that takes a span of time, such as 10min; the command gets seconds."""

    def seconds(_context: click.Context, _option: click.Parameter, given: str | None) -> int | None:
        from recorder.config import seconds_of

        found = None if given is None else seconds_of(given)
        if given is not None and not found:
            raise click.BadParameter(f"{given!r} is not a span of time; write 30s, 10min, 1h")
        return found

    return click.option(name, callback=seconds, metavar="SPAN", help=text)


_FILTERS = (
    click.option("--since", callback=_time, help="Started at or after: 2026-03-01T12:00, or an age: 7d, 3h."),
    click.option("--until", callback=_time, help="Started before."),
    click.option("--status", type=click.Choice([each.value for each in Status]), help="What became of the run."),
    click.option("--stop-reason", type=click.Choice([each.value for each in StopReason]), help="Why it stopped."),
    click.option("--ending", type=click.Choice([each.value for each in Transport]), help="How the transport ended."),
    click.option("--model", help="The model that answered."),
    click.option("--dialect", type=click.Choice(DIALECTS), help="The wire protocol."),
    click.option("--assistant", "assistant_id", help="The assistant's id."),
    click.option("--thread", "thread_id", help="The thread's id."),
    click.option("--request-id", help="The provider's request id."),
    click.option("--trace", help="The trace id."),
    click.option("--tag", "tags", callback=pairs, multiple=True, help="A tag: name=value."),
    click.option("--metadata", callback=pairs, multiple=True, help="A metadata pair of the run: name=value."),
    click.option("--grep", help="A text in what the model wrote or in the request's body; reads one by one."),
    click.option(
        "--limit", type=click.IntRange(1, 1_000_000_000), default=50, show_default=True, help="At most so many."
    ),
)


_SCOPE = (
    click.option("--since", callback=_time, help="Runs that started at or after: 2026-03-01T12:00, or an age: 7d, 3h."),
    click.option("--until", callback=_time, help="Runs that started before."),
    click.option(
        "--by", help="Told apart by assistant, model, group, thread, day (UTC), …, tag:NAME or metadata:NAME."
    ),
    click.option("--where", help="An SQL condition on runs, such as \"model = 'gpt-4o' and output_tokens > 500\"."),
)


def filters(command: Command) -> Command:
    """Adds the filters that lists take."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def selection(command: Command) -> Command:
    """Adds the filters that lists take, without their limit: what they leave is meant, all of it."""
    for option in reversed(_FILTERS[:-1]):
        command = option(command)
    return command


def scope(command: Command) -> Command:
    """Adds the options that say which runs a question is about; the command gets them as one `asked_for`."""

    @functools.wraps(command)
    def scoped(
        *given: Any, since: int | None, until: int | None, where: str | None, by: str | None, **rest: Any
    ) -> Any:
        from recorder.queries import Scope, slice_of

        slice_of(by)  # a wrong one is told of before anything is read
        return command(*given, asked_for=Scope(since=since, until=until, where=where, by=by), **rest)

    for option in reversed(_SCOPE):
        scoped = option(scoped)
    return cast("Command", scoped)


def time_option(name: str, text: str, *, months: bool = True) -> Callable[[Command], Command]:
    """An option that takes a time: ISO 8601 or an age; without `months` none that may be taken for some of them."""
    return click.option(name, callback=_time if months else _time_without_months, help=text)


def as_json(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "json_", is_flag=True, help="One JSON object a line.")(command)


def to_filter(given: dict[str, Any]) -> RunFilter:
    """The store's filter from the options that `filters` added; texts as the store holds them."""
    from recorder.store import RunFilter

    return RunFilter(**{name: _as_stored(value) for name, value in given.items()})


def _as_stored(value: Any) -> Any:
    if isinstance(value, dict):
        return {storable(name): storable(text) for name, text in value.items()}
    return storable(value) if isinstance(value, str) else value


def url_of_store(context: click.Context) -> str:
    """The URL of the store that --store, RECORDER_STORE, the configuration or the default names; none is made."""
    from recorder import config

    named = context.obj["store"] if context.obj["store"] is not None else config.load().store
    return config.store_url(named, create=False)


@contextmanager
def open_store(context: click.Context, *, readonly: bool = True, read: bool = True) -> Iterator[Store]:
    """The store of `url_of_store`, opened.

    Recordings that nobody has read yet (their process ended first) are read now, where the store can be written, and
    unless `read` says that readings are not wanted.
    """
    from recorder.errors import SchemaMismatch
    from recorder.store import Store

    url = url_of_store(context)
    try:
        store = Store.open(url, readonly=readonly)
    except SchemaMismatch:
        if not (readonly and url.startswith("sqlite:")):
            raise
        store = Store.open(url)  # a SQLite store upgrades itself, and is copied first
    try:
        if read and store.unread(1):
            _read_due(url)
        yield store
    finally:
        store.close()


def require_sight(store: Store, what: str | None) -> None:
    """Raise StoreUnavailable where runs are to be told apart by content (`tag:NAME`, `metadata:NAME`) that this user
    may not see: nothing would seem to have any.
    """
    if what is not None and what.startswith(("tag:", "metadata:")):
        store.require_content()


def _read_due(url: str) -> None:
    """Make the readings that are due. A store that cannot be written is shown as it is."""
    from recorder import reader
    from recorder.errors import StoreError
    from recorder.store import Store

    try:
        with Store.open(url) as store:
            reader.read_due_all(store)
    except StoreError as error:
        click.echo(f"recorder: some recordings have no reading yet, and none can be stored now: {error}", err=True)
