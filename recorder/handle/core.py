"""Handle and open: settings in, a writer and its readings behind, clients instrumented.

Recording never breaks the application: whatever the store does, a live handle warns once and goes on. Only `strict`
raises. The module refuses to know SQL and HTTP libraries.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from recorder import config, match, queries, redact, replay, retention
from recorder.detect import Notice
from recorder.errors import RecorderError, StoreUnavailable, UsageError
from recorder.recording import Event, Recording, Run
from recorder.store import Listed, RunFilter, Store
from recorder.transport import attach
from recorder.transport.patch import Patch, patch
from recorder.writer import Ended, Options, Stats, Writer, exits

from .checkpoints import Checkpoints
from .notices import Notices
from .readings import Readings
from .replaying import Replay
from .source import Source

__all__ = ["Handle", "open"]

logger = logging.getLogger("recorder")

_C = TypeVar("_C")

#: Seconds that `flush` and `close` wait for the store.
PATIENCE = 5.0


def open(  # noqa: A001 (meant to be written with its module)
    url: str | os.PathLike[str] | None = None,
    *,
    content: str | None = None,
    sample: float | None = None,
    strict: bool | None = None,
    hosts: Iterable[str] | None = None,
    tags: Mapping[str, str] | None = None,
    ignore: Iterable[str] | None = None,
    on_notice: Callable[[Notice], object] | None = None,
    **options: Any,
) -> Handle:
    """Open a store for recording and replay.

    `url`: path or URL of the store; default: the nearest `.recorder/recorder.db`, else a new one in the current folder.
    `content`: "full"; "facts" (readings are computed, payloads never written); "none".
    `sample`: the share of runs that is recorded, 0 to 1. `strict`: raise when the store fails.
    `hosts`: whose calls `patch()` records. `tags`: for every recording. `ignore`: what of a request does not count when
    a replay looks for its answer, see `recorder.match.Rule`.
    `on_notice`: called, on a thread of its own, with a `Notice` when an answer that is still streaming runs away into
    whitespace or repeats itself; without it the log "recorder" has a warning. `detect=False` switches that off.
    `redact`: what is not stored beside credentials: a rule (`/regex/`, or a path such as `body.metadata.email`), a
    function, or several of both, see `recorder.redact.rules`.
    `keep`: "30d" (content goes at that age), "365d whole" (everything), or both, with a comma. `max_size`: bytes, or
    "10GiB": the oldest recordings go. Both in small steps beside the writer; without them nothing is deleted.
    `checkpoint_file`: to which a checkpoint of all that is sealed is appended every 10 minutes (`checkpoint_every`) or
    1,000 recordings, see docs/integrity.md; without it the log "recorder.checkpoints" has them. `checkpoint_key`: the
    file of the Ed25519 key that signs them.
    `options`: any other setting.
    What is not given comes from RECORDER_*, recorder.toml or [tool.recorder]; RECORDER_DISABLED=1 goes before all.

    Raises UsageError for wrong settings; with `strict`, StoreError where the store cannot be written.
    """
    given = {"content": content, "sample": sample, "strict": strict, "tags": tags, **options}
    for name, values in {"hosts": hosts, "ignore": ignore}.items():
        given[name] = values if values is None or isinstance(values, str) else tuple(values)
    rules, hooks = redact.split(given.pop("redact", None))
    return Handle(config.load(store=url, redact=rules, **given), url, on_notice, hooks)


class Handle:
    """Records clients and replays to them; a context manager. Any thread may use it, also after a fork.

    A handle that is disabled does nothing at all to clients; it can still look things up and replay.
    """

    def __init__(
        self,
        settings: config.Settings,
        url: str | os.PathLike[str] | None = None,
        on_notice: Callable[[Notice], object] | None = None,
        hooks: Sequence[redact.Hook] = (),
    ) -> None:
        self.settings = settings
        self._url = settings.store if url is None else url
        self._rule = match.Rule(settings.ignore, settings.match_headers, settings.normalise)
        self._lock = threading.Lock()
        self._patches: list[Patch] = []
        self._replays: list[Replay] = []
        self._reading: Store | None = None
        self._closed = False
        self._readings = Readings(self._open_store)
        self._redactor = redact.Redactor(settings.redact, hooks)
        rules = retention.Rules.of(settings)
        limits = Options(
            settings.content,
            self._rule,
            settings.queue_bytes,
            settings.body_limit,
            redactor=self._redactor,
            min_free=settings.min_free,
            warn_large=rules == retention.Rules(),
        )
        self._keeper = retention.Keeper(self._open_store, rules, forget=queries.forget)
        self._checkpoints = Checkpoints(self._open_store, settings)
        self._notices = Notices(None if settings.disabled else on_notice)
        self._writer = Writer(
            self._open_store,
            limits,
            on_ended=self._ended,
            on_notice=self._notices.add if settings.detect else None,
        )
        self._source = Source(self._writer, settings.sample, settings.tags, self)
        self._ends = _Ends(self)
        exits.register(self._ends)
        self._announce()

    def _announce(self) -> None:
        if self.settings.disabled:
            logger.info("recorder is disabled: nothing is recorded")
            return
        try:
            where = redact.clean_url(config.store_url(self._url, create=True))
            if where == "sqlite:///:memory:":
                raise UsageError("a store in memory cannot be shared by the threads of a handle: give a path")
            if self.settings.strict:
                self._open_store().close()
        except StoreUnavailable as error:
            if self.settings.strict:
                raise
            logger.warning("%s; the application goes on, and recorder tries again with each call", error)
            return
        logger.info(
            "recorder writes to %s (content=%s); RECORDER_DISABLED=1 or close() stops it", where, self.settings.content
        )

    def _ended(self, ended: list[Ended]) -> None:
        self._readings.add(ended)
        self._keeper.add(ended)
        self._checkpoints.add(ended)

    def _open_store(self) -> Store:
        return Store.open(config.store_url(self._url, create=True), create=True)

    # -- recording -----------------------------------------------------------------------------------------------------

    @property
    def disabled(self) -> bool:
        """Whether recording is off by RECORDER_DISABLED or the setting `disabled`."""
        return self.settings.disabled

    @property
    def stats(self) -> Stats:
        """What was written so far in this process; `gaps` counts recordings that are not whole, `failing` says why."""
        return self._writer.stats

    @property
    def sink(self) -> Source:
        """Where a proxy begins its recordings: a `transport.exchange.Sink`."""
        return self._source

    def instrument(self, client: _C) -> _C:
        """Record this client's calls, in place; gives the client.

        It may be an openai, anthropic, azure-ai-agents, httpx or httpx2 client, synchronous or not, a requests.Session
        or an aiohttp.ClientSession; copies of an SDK's client (`with_options`) share its transport and are recorded
        too. Proxies and mounts stay. Instrumenting again, by this or another handle, replaces. Raises UsageError for
        anything else.
        """
        if not self.disabled:
            attach.record(client, self._source, self.settings.body_limit)
        return client

    def uninstrument(self, client: _C) -> _C:
        """Give the client back the very transports that it had; nothing where another handle records it by now."""
        if not self.disabled:
            attach.unrecord(client, self._source)
        return client

    def patch(self, hosts: Iterable[str] | None = None) -> contextlib.AbstractContextManager[object]:
        """Record clients that others own: all that httpx, httpx2, requests and aiohttp send to these hosts.

        `hosts` (`name` or `name:port`) defaults to the setting. In force from now until the end of a `with` block, or
        `close`; libraries that are loaded later are patched, too. Raises UsageError without hosts.
        """
        if self.disabled:
            return contextlib.nullcontext()
        named = self.settings.hosts if hosts is None else (hosts,) if isinstance(hosts, str) else tuple(hosts)
        if hosts is not None:
            named = config.hosts(named)
        if not named:
            raise UsageError('patch() records listed hosts only: give hosts=["api.openai.com"] or set RECORDER_HOSTS')
        made = patch(named, self._source, self.settings.body_limit)
        with self._lock:
            self._patches.append(made)
        return made

    def transport(self, *, module: Any = None, **options: Any) -> Any:
        """A recording `HTTPTransport(**options)` of `module` (httpx or httpx2; default: the one that is loaded)."""
        bound = attach.bound(module)
        inner = bound.module.HTTPTransport(**options)
        if self.disabled:
            return inner
        return bound.RecordingTransport(inner, self._source, body_limit=self.settings.body_limit)

    def async_transport(self, *, module: Any = None, **options: Any) -> Any:
        """A recording `AsyncHTTPTransport(**options)` of `module` (httpx or httpx2; default: whichever is loaded)."""
        bound = attach.bound(module)
        inner = bound.module.AsyncHTTPTransport(**options)
        if self.disabled:
            return inner
        return bound.AsyncRecordingTransport(inner, self._source, body_limit=self.settings.body_limit)

    def flush(self, timeout: float | None = PATIENCE) -> bool:
        """Wait until all that was recorded so far is durable and read. False when `timeout` seconds were not enough.

        Not waited for are the last events of a running answer that are held back until it is known that no credential
        begins in them: they become durable with what follows.

        With `strict` it raises StoreUnavailable instead.
        """
        if self._closed:
            return True
        left = _countdown(timeout)
        done = self._writer.flush(left()) and self._readings.flush(left())
        if not done and self.settings.strict:
            raise StoreUnavailable(
                f"not everything is durable yet: {self.stats.failing or 'the store is slow'}; try again"
            )
        return done

    def close(self, timeout: float | None = PATIENCE) -> bool:
        """Flush and stop: calls that are still under way end as interrupted, later ones pass by unrecorded.

        Patches are undone and replays closed; instrumented clients keep their (now idle) wrappers.

        False when the store did not take everything in `timeout` seconds; with `strict` that raises StoreUnavailable.
        """
        if self._closed:
            return True
        done = self._shut(timeout)
        stats = self.stats
        if stats.gaps:
            logger.warning("recorder closes: %d exchanges are not recorded whole; their ends say why", stats.gaps)
        if self.settings.strict and not done:
            raise StoreUnavailable(f"not everything is durable: {stats.failing or 'the store is slow'}")
        return done

    def _shut(self, timeout: float | None) -> bool:
        self._closed = True
        left = _countdown(timeout)
        with self._lock:
            patches, self._patches = self._patches, []
            replays, self._replays = self._replays, []
            reading, self._reading = self._reading, None
        for made in patches:
            made.undo()
        written = self._writer.close(left()) and self.stats.failing is None
        read = self._readings.close(left())
        self._notices.close(left())
        self._keeper.close(left())
        self._checkpoints.close(left())
        for replayed in replays:
            replayed.close()
        if reading is not None:
            reading.close()
        return written and read

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._readings.after_fork()
        self._notices.after_fork()
        self._keeper.after_fork()
        self._checkpoints.after_fork()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif not self._closed:
            self._shut(PATIENCE)

    # -- replay --------------------------------------------------------------------------------------------------------

    def replay(
        self,
        *,
        pace: str | float = "instant",
        chunks: str = "recorded",
        repeat: match.Repeat = "error",
        session: str | None = None,
        include_partial: bool = False,
    ) -> Replay:
        """Answer clients from this store; what was recorded so far is flushed first. The words are `Player`'s.

        It may be closed alone, and is closed with the handle. Raises UsageError, and NotFound or StoreError where there
        is no store to answer from.
        """
        self._writer.flush(PATIENCE)
        player = replay.Player(
            self._open_to_read(),
            pace=pace,
            chunks=chunks,
            repeat=repeat,
            rule=self._rule,
            session=session,
            include_partial=include_partial,
            redactor=self._redactor,
        )
        made = Replay(player, self.settings.hosts)
        with self._lock:
            self._replays.append(made)
        return made

    # -- looking things up ---------------------------------------------------------------------------------------------

    def runs(self, **filters: Any) -> list[Run]:
        """The runs that match `RunFilter(**filters)`, newest first. What is under way may be missing: `flush` first."""
        return self._look().runs(RunFilter(**filters))

    def recordings(self, **filters: Any) -> list[Listed]:
        """The recordings that match `RunFilter(**filters)`, newest first."""
        return self._look().recordings(RunFilter(**filters))

    def query(self, name: str, **options: Any) -> queries.Answer:
        """The answer to a question of analytics/ (`cap_use`, `B1`); `options` are those of `recorder.query`.

        What is under way may be missing: `flush` first.
        """
        return queries.query(config.store_url(self._url, create=False), name, **options)

    def run(self, name: UUID | str) -> Run:
        """The run of that name, or that a recording of that name belongs to. Raises NotFound.

        A name is an id, a unique suffix of one, a provider's id, or @last.
        """
        return self._look().run(self._id(name))

    def recording(self, name: UUID | str) -> Recording:
        """The recording of that name. Raises NotFound."""
        return self._look().recording(self._id(name))

    def events(self, name: UUID | str) -> Iterator[Event]:
        """The events of a recording, in order. Raises NotFound."""
        return self._look().events(self._id(name))

    def body(self, name: UUID | str) -> bytes:
        """The exact bytes of a recording's response body, content codings on. Raises NotFound."""
        pieces: list[bytes] = []
        replay.emit(self._look(), self.recording(name), pieces.append)
        return b"".join(pieces)

    def _id(self, name: UUID | str) -> UUID:
        return name if isinstance(name, UUID) else self._look().resolve(name)

    def _look(self) -> Store:
        with self._lock:
            if self._reading is None:
                self._reading = self._open_to_read()
            return self._reading

    def _open_to_read(self) -> Store:
        url = config.store_url(self._url, create=False)
        try:
            return Store.open(url)
        except StoreUnavailable:
            if not url.startswith("sqlite:"):
                raise
            return Store.open(url, readonly=True)  # a file or folder that this user may only read


class _Ends:
    """Closes a handle at the end of the process, and tells it of forks. Raises nothing."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def close(self, timeout: float | None = PATIENCE) -> bool:
        try:
            return self._handle._shut(timeout)
        except RecorderError as error:
            logger.warning("recorder could not be closed well: %s", error)
            return False

    def before_fork(self) -> None:
        pass

    def after_fork_in_parent(self) -> None:
        pass

    def after_fork_in_child(self) -> None:
        self._handle._after_fork()


def _countdown(timeout: float | None) -> Callable[[], float | None]:
    """How many seconds are left of a timeout, each time it is asked; None where there is none."""
    if timeout is None:
        return lambda: None
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())
