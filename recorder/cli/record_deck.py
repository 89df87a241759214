"""What `recorder record` records with: a writer, the thread that makes readings, the notices, the log of them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from recorder import config, match, queries, redact, retention
from recorder.errors import NotAStore, SchemaMismatch, StoreUnavailable
from recorder.handle.checkpoints import Checkpoints
from recorder.handle.notices import Notices
from recorder.handle.readings import Readings
from recorder.handle.source import Source
from recorder.proxy import Figures, Ledger
from recorder.recording import Request
from recorder.store import Store
from recorder.writer import Ended, Options, Tap, Writer

if TYPE_CHECKING:
    from recorder.detect import Notice

__all__ = ["COMMITS", "Deck"]

#: Seconds from one commit to the next, and with many streams. Slower than in a program that records itself: a commit
#: costs every stream that passes through this process. Who kills it loses so much of their ends.
COMMITS: Final = (0.05, 0.1)


class Deck:
    """Records into the store of these settings. `say` is given each line of the log, `checkpoints` those that go to no
    file.

    Raises NotAStore, SchemaMismatch or UsageError for a store that can never be written; one that is away for now is
    told of and tried again.
    """

    def __init__(
        self,
        settings: config.Settings,
        named: str | None,
        say: Callable[[str], None],
        checkpoints: Callable[[str], object] | None = None,
    ) -> None:
        self.settings = settings
        self._say = say
        self._url = config.store_url(settings.store if named is None else named, create=not settings.disabled)
        rule = match.Rule(settings.ignore, settings.match_headers, settings.normalise)
        redactor = redact.Redactor(settings.redact)
        self._readings = Readings(self._open)
        self.ledger = Ledger(self._readings.flush, self._open, say)
        self._notices = Notices(self._notice)
        rules = retention.Rules.of(settings)
        self._keeper = retention.Keeper(self._open, rules, forget=queries.forget)
        self._checkpoints = Checkpoints(self._open, settings, tell=checkpoints)
        self._writer = Writer(
            self._open,
            Options(
                settings.content,
                rule,
                settings.queue_bytes,
                settings.body_limit,
                *COMMITS,
                redactor=redactor,
                min_free=settings.min_free,
                warn_large=rules == retention.Rules(),
            ),
            on_ended=self._ended,
            on_notice=self._notices.add if settings.detect else None,
        )
        self._source = Source(self._writer, settings.sample, settings.tags, self)
        self._check()

    @property
    def where(self) -> str:
        """The store, as it may be shown."""
        return redact.clean_url(self._url)

    def start(
        self,
        request: Request,
        *,
        started_at: int | None = None,
        session: str | None = None,
        trace: str | None = None,
        call: UUID | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Tap | None:
        """Begin a recording; None where this call is not to be recorded."""
        if self.settings.disabled:
            return None
        return self._source.start(request, started_at=started_at, session=session, trace=trace, call=call, tags=tags)

    def figures(self) -> Figures:
        """What the writer says of itself."""
        stats = self._writer.stats
        return Figures(
            recordings=stats.recordings,
            rows=stats.rows,
            gaps=stats.gaps,
            queue_bytes=stats.held_bytes,
            lag_us=stats.lag_us,
            failing=stats.failing is not None,
            endings=dict(self.ledger.endings),
        )

    def close(self, timeout: float) -> bool:
        """Make everything durable and read, and stop. False where there was not enough time, or the store failed."""
        until = time.monotonic() + timeout
        written = self._writer.close(timeout) and self._writer.stats.failing is None
        read = self._readings.close(max(0.0, until - time.monotonic()))
        self._notices.close(1.0)
        self._keeper.close(1.0)
        self._checkpoints.close(max(1.0, until - time.monotonic()))
        self.ledger.close(max(1.0, until - time.monotonic()))
        return written and read

    def open(self) -> Store:
        """The store, to read from."""
        return Store.open(self._url)

    def _open(self) -> Store:
        return Store.open(self._url, create=True)

    def _check(self) -> None:
        if self.settings.disabled:
            return
        try:
            self._open().close()
        except (NotAStore, SchemaMismatch):
            raise
        except StoreUnavailable as error:
            self._say(f"{error}; requests are forwarded, and recorder tries again")

    def _ended(self, ended: list[Ended]) -> None:
        self._readings.add(ended)
        self.ledger.add(ended)
        self._keeper.add(ended)
        self._checkpoints.add(ended)

    def _notice(self, notice: Notice) -> None:
        self._say(f"WARNING {notice}; it is still streaming")
