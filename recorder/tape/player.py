"""What answers a test's requests from its file, and keeps account of it: used, missed, damaged on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from recorder import match, redact
from recorder.errors import ReplayMiss
from recorder.recording import Recording, Request
from recorder.replay import Miss, Playback, Player
from recorder.tape import account
from recorder.tape.deck import Deck
from recorder.tape.options import is_telemetry

if TYPE_CHECKING:
    from recorder.replay_server import Faults
    from recorder.replay_server.faults import Meeting
    from recorder.tape.damage import Damaged

__all__ = ["Ledger", "Played", "TapePlayer"]


@dataclass(frozen=True, slots=True)
class Played:
    """One request that was answered: what was asked this time (without credentials), by which recording, and when
    (microseconds UTC). `damaged` is how the answer went out, where faults met it.
    """

    asked: Request
    recording: Recording
    at: int
    damaged: Damaged | None = None


class Ledger:
    """What a test asked of its tape, whether or not the code under test swallowed the exception."""

    def __init__(self) -> None:
        self.played: list[Played] = []
        self.missed: list[Miss] = []
        self.refusals: list[tuple[str, str]] = []
        self.closed_hosts: list[str] = []
        self._lock = threading.Lock()

    def answered(self, asked: Request, recording: Recording, damaged: Damaged | None = None) -> None:
        """This recording answers this request."""
        kept = replace(asked, url=redact.clean_url(asked.url), headers=redact.keep_request_headers(asked.headers))
        with self._lock:
            self.played.append(Played(kept, recording, time.time_ns() // 1000, damaged))

    def unanswered(self, miss: Miss) -> None:
        """Nothing answers."""
        with self._lock:
            self.missed.append(miss)

    def refused(self, request: str, why: str) -> None:
        """A request may not go where it wants to go."""
        with self._lock:
            self.refusals.append((request, why))

    def closed(self, host: str) -> None:
        """A client that no tape can take wanted this host."""
        with self._lock:
            self.closed_hosts.append(host)

    @property
    def used(self) -> set[UUID]:
        """The recordings that answered something."""
        with self._lock:
            return {one.recording.recording_id for one in self.played}


class TapePlayer(Player):
    """Answers from a deck and writes down what it did.

    `withheld` gives what was withheld from the file: asked where a request is found nowhere, because settings are read
    for it. `claims`: whose turn it is, where several players answer from one deck. `faults` are put on top of what is
    played in process; a server puts them on by itself. `hands_on`: a request that nothing answers is no miss but goes
    on to the transport below, which records it. What `where` gives ends the message of a miss.
    """

    def __init__(
        self,
        deck: Deck,
        ledger: Ledger,
        *,
        claims: match.Claims | None = None,
        withheld: Callable[[], redact.Redactor] | None = None,
        faults: Faults | None = None,
        hands_on: bool = False,
        where: Callable[[], str] = str,
        **options: Any,
    ) -> None:
        super().__init__(deck, include_partial=True, **options)
        self._claims = claims or match.Claims()
        self._withheld = withheld
        self.deck = deck
        self.ledger = ledger
        self.hands_on = hands_on
        self._faults = faults
        self._where = where
        self._met = threading.local()

    def find(
        self, request: Request, *, session: str | None = None, others: Sequence[str] = (), use_up: bool = True
    ) -> Recording:
        __tracebackhide__ = True
        if is_telemetry(request.url):
            raise ReplayMiss("what an SDK tells of itself is on no tape, and goes nowhere while a tape replays")
        meetings = self._faults.next(session) if self._faults is not None else []
        try:
            found = super().find(request, session=session, others=others, use_up=use_up and not meetings)
            damaged = self._damaged(found, meetings)
            if meetings and use_up and (damaged is None or not damaged.spoiled):
                found = super().find(request, session=session, others=others)
        except Miss as miss:
            if self.hands_on:
                raise
            told = Miss(
                self._said(miss) + self._where(),
                request_summary=miss.request_summary,
                nearest=miss.nearest,
                differences=miss.differences,
            )
            self.ledger.unanswered(told)
            raise told from None
        self._met.playback = damaged
        self.ledger.answered(request, found, damaged)
        return found

    def stored(self, request: Request) -> Request:
        if self._withheld is not None:
            self.redactor = self._withheld()
        return super().stored(request)

    def refused(self, request: str, why: str) -> None:
        """The test has to hear of it, whoever swallows the exception."""
        self.ledger.refused(request, why)

    def _said(self, miss: Miss) -> str:
        """The message with the recording's place in the file for its id, which no file has."""
        if miss.nearest is None:
            return str(miss)
        return str(miss).replace(str(miss.nearest.recording_id), account.named(miss.nearest, self.deck))

    def _damaged(self, found: Recording, meetings: Sequence[Meeting]) -> Damaged | None:
        """How this recording goes out, where faults meet its request."""
        if not meetings or self._faults is None:
            return None
        from recorder.tape.damage import damaged

        return damaged(super().play(found), meetings, self._faults)

    def play(self, recording: Recording) -> Playback:
        """The recording on its way out, as it was just found: with the faults that meet the request."""
        met: Damaged | None = getattr(self._met, "playback", None)
        self._met.playback = None
        return super().play(recording) if met is None else met
