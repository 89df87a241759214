"""What several commands take: the store, times, filters, IDs. And what every command does with an error of ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recorder.recording import Status, StopReason, Transport, storable

if TYPE_CHECKING:
    from recorder.store import RunFilter, Store

__all__ = ["DIALECTS", "as_json", "filters", "open_store", "parse_time", "to_filter"]

Command = TypeVar("Command", bound=Callable[..., Any])

#: What `recorder.dialects` knows; named here so that help needs none of it.
DIALECTS = ("assistants", "responses", "chat", "messages", "gemini", "raw")

_AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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


def _pairs(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """name=value texts, cut at the first equals sign."""
    pairs = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{text!r} is not name=value")
        pairs[name] = value
    return pairs


def parse_time(text: str) -> int:
    """Microseconds UTC for an ISO 8601 time or an age such as 7d. Raises ValueError, OverflowError."""
    age = _AGO.fullmatch(text.strip())
    if age:
        return time.time_ns() // 1000 - int(age[1]) * _SECONDS[age[2]] * 1_000_000
    given = datetime.fromisoformat(text.strip())
    since = given.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


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
    click.option("--tag", "tags", callback=_pairs, multiple=True, help="A tag: name=value."),
    click.option("--metadata", callback=_pairs, multiple=True, help="A metadata pair of the run: name=value."),
    click.option("--grep", help="A text in what the model wrote or in the request's body; reads one by one."),
    click.option(
        "--limit", type=click.IntRange(1, 1_000_000_000), default=50, show_default=True, help="At most so many."
    ),
)


def filters(command: Command) -> Command:
    """Adds the filters that lists take."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


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


@contextmanager
def open_store(context: click.Context, *, readonly: bool = True) -> Iterator[Store]:
    """The store that --store, RECORDER_STORE, the configuration or the default names. Reading makes no store.

    Recordings that nobody has read yet (their process ended first) are read now, where the store can be written.
    """
    from recorder import config
    from recorder.errors import SchemaMismatch
    from recorder.store import Store

    named = context.obj["store"] if context.obj["store"] is not None else config.load().store
    url = config.store_url(named, create=False)
    try:
        store = Store.open(url, readonly=readonly)
    except SchemaMismatch:
        if not (readonly and url.startswith("sqlite:")):
            raise
        store = Store.open(url)  # a SQLite store upgrades itself, and is copied first
    try:
        if store.unread(1):
            _read_due(url)
        yield store
    finally:
        store.close()


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
