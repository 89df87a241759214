"""The queue and its thread: what clients see goes through a Capture into the Store, and never the other way.

The client's side ends at a Tap: each call notes the time, leaves one item with it and returns. It never blocks on the
store, never raises, wakes nobody, and hands over nothing but references. One thread per writer looks after the taps of
the recordings that are live, lets each one's Capture cut the items into rows, and commits the rows of all in groups.

What holds, and is tested:

- A group's rows are durable once `Store.append` returned; `Tap.durable` then names the last durable position.
- What waits is bounded in bytes. When the store cannot keep up, recordings are cut short and marked `truncated`,
  with the reason; no stream is delayed and nothing is lost from the middle of a recording.
- A store that fails is tried again with the same rows: appending twice is the same as once.
- A fork makes the child a writer of its own; what was queued stays with the parent.
- Close, SIGTERM and the end of the interpreter drain the queue first.

This module refuses to know HTTP clients (transport) and readings (reader).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ..capture import Capture
from ..config import LARGE, size_text
from ..detect import Notice
from ..errors import Conflict, RecorderError, StoreError
from ..recording import Captured, Recording, Request, Transport, uuid7
from ..store import Append, Store
from . import exits
from .exits import DRAIN
from .group import GROUP_BYTES, GROUP_ITEMS, Ended, Group, Live, Stats
from .opening import Opening, Options, opened
from .recovery import recover
from .space import FULL_DISK, Floor
from .tap import DATA, END, FULL, HEAD, HEAD_COST, START, NullTap, Room, Tap
from .watch import Watch

__all__ = ["MANY", "Writer"]

logger = logging.getLogger("recorder")

#: More live recordings than this are many.
MANY = 32
#: Seconds that a first recording waits: its client is about to send, and needs the interpreter.
GRACE = 0.002
#: Seconds that the thread leaves to others at most, however much it had to do.
LONGEST_WAIT = 0.1
#: Seconds between renewals of a lease; PostgreSQL's recovery waits for three missed ones.
RENEWAL = 5.0
#: Seconds between attempts while the store fails: the first, doubled up to the last.
RETRY = (0.05, 2.0)
#: While the queue is full, openings (without their bodies) are still taken up to this many bytes beyond the bound,
#: so that the gap is marked in the store.
MARKER_BYTES = 1 << 20
MARKER_COST = 4096


_Notice = Tap | threading.Event | None


class Writer:
    """One writer of one store: a queue, a thread, an identity that recovery can ask after.

    `open_store` makes the Store, on the writer's thread, when the first recording starts; it may raise, and is then
    tried again. `on_ended` is called on the writer's thread once recordings are durable, and must return at once; so
    must `on_notice`, which hears of runaways while they stream (without it nobody looks for them).
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        options: Options | None = None,
        *,
        on_ended: Callable[[list[Ended]], None] | None = None,
        on_notice: Callable[[list[Notice]], None] | None = None,
    ) -> None:
        self.options = options or Options()
        self.stats = Stats()
        self._open_store = open_store
        self._on_ended = on_ended
        self._on_notice = on_notice
        self._store: Store | None = None
        self._stopped = False
        self._floor = Floor(self.options.min_free)
        self._warned = False
        self._begin()
        exits.register(self)

    def _begin(self) -> None:
        """The state of a writer that has nothing queued and no thread: at first, and in a forked child."""
        self.writer_id = uuid7()
        # New taps; an Event to set once all before it is durable; None to stop.
        self._notices: queue.SimpleQueue[_Notice] = queue.SimpleQueue()
        # Taps still to be looked at in this round, with the number of items that they held when it began; and what
        # happens once it is over.
        self._round: deque[tuple[Tap, int]] = deque()
        self._barriers: list[threading.Event] = []
        self._stopping = False
        self._room = Room(self.options.queue_bytes)
        self._lock = threading.RLock()
        # Held while the store is being opened: a fork in the middle of that (of its imports, say) would leave the
        # child with half of it.
        self._opening = threading.Lock()
        self._forking = False
        self._thread: threading.Thread | None = None
        self._live: dict[Tap, Live] = {}
        self._taps: weakref.WeakSet[Tap] = weakref.WeakSet()
        self._collected = 0.0
        self._busy = 0.0
        self._renewed = 0.0

    # -- the clients' side -----------------------------------------------------------------------------------------

    def start(
        self,
        request: Request,
        *,
        started_at: int | None = None,
        content: str | None = None,
        weight: float = 1.0,
        session: str | None = None,
        trace: str | None = None,
        call: UUID | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Tap:
        """Begin a recording of this request, which is given as sent: redaction happens before it is stored.

        `started_at` is in microseconds UTC (default: now). `call` links the attempts of one call.
        """
        if self._stopped:
            return NullTap()
        tap = Tap(uuid7(), self._room, time.monotonic_ns())
        size = self._cost(request)
        opening = Opening(
            request=request,
            started_at=time.time_ns() // 1000 if started_at is None else started_at,
            content=content or self.options.content,
            weight=weight,
            session=session,
            trace=trace,
            call=call,
            tags=dict(tags or {}),
        )
        with self._lock:
            self._taps.add(tap)
        if self._floor.low:
            started = self._start_cut(tap, opening, FULL_DISK)
        else:
            started = tap.start(opening, size) or self._start_cut(tap, opening, FULL)
        if not started:
            return NullTap()
        self._notices.put(tap)
        self._ensure_thread()
        return tap

    def flush(self, timeout: float | None = DRAIN) -> bool:
        """Wait until everything put so far is durable. False when `timeout` seconds were not enough."""
        with self._lock:
            if self._thread is None:
                return True
        barrier = threading.Event()
        self._notices.put(barrier)
        return barrier.wait(timeout)

    def close(self, timeout: float | None = DRAIN) -> bool:
        """Drain, end what is still open as interrupted, stop the thread. False when there was not enough time."""
        self._stopped = True
        with self._lock:
            thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        self._notices.put(None)
        thread.join(timeout)
        return not thread.is_alive()

    def _cost(self, request: Request) -> int:
        """What an opening counts for in the queue: a body that will not be kept does not count."""
        size = len(request.body or b"")
        return MARKER_COST + (size if size <= self.options.body_limit else 0)

    def _start_cut(self, tap: Tap, opening: Opening, why: str) -> bool:
        """There is no room at the start already: mark the gap with an opening that has no body, if even that fits."""
        request = opening.request
        bare = replace(opening, request=replace(request, body=None, body_size=len(request.body or b"")))
        if tap.start(bare, MARKER_COST, MARKER_BYTES):
            tap.cut(why)
            return True
        with self._lock:
            self.stats.gaps += 1
        return False

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="recorder-writer", daemon=True)
                self._thread.start()
                exits.install()

    # -- the writer's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._cycle():
                pass
        except Exception:  # a defect of ours must be heard of, and must not take the application down
            logger.exception("recorder's writer stopped on an unexpected error; recording is off until restart")
            self._stopped = True
        finally:
            self._release()

    def _cycle(self) -> bool:
        """Collect a group and commit it. True when the writer is to stop."""
        notices = [] if self._round else self._wait()
        self._mind_the_floor()
        busy = time.thread_time()
        group = self._collect(notices)
        if group.lives or group.barriers or group.stop:
            self._commit(group)
            self._busy = time.thread_time() - busy
        self._renew()
        return group.stop

    def _mind_the_floor(self) -> None:
        """Cut short what is recorded while the disk has no room; each recording's end says so."""
        changed = self._floor.look()
        if self._floor.size >= LARGE and self.options.warn_large and not self._warned:
            self._warned = True
            logger.warning(
                "the store has %s; nothing is deleted unless keep= or max_size= says so, or `recorder prune`",
                size_text(self._floor.size),
            )
        if self._floor.low:
            for live in self._live.values():
                live.tap.cut(FULL_DISK)
        if changed and self._floor.low:
            logger.warning("recorder stops recording: %s; the application goes on", FULL_DISK)
        elif changed:
            logger.warning("recorder records again; %d exchanges were cut short or missed so far", self.stats.gaps)

    def _wait(self) -> list[_Notice]:
        """Wait until the next group is due, and give what was noticed meanwhile. A flush and a stop end the wait."""
        noticed: list[_Notice] = []
        until = self._due()
        while (left := until - time.monotonic()) > 0:
            try:
                notice = self._notices.get(timeout=left)
            except queue.Empty:
                break
            noticed.append(notice)
            if not isinstance(notice, Tap):
                break
            if not self._live:
                until = min(until, time.monotonic() + GRACE)
        return noticed

    def _due(self) -> float:
        """When the next group is due, on the monotonic clock.

        While there is room, the interpreter is left to the clients for as long as the last group has taken of it.
        """
        now = time.monotonic()
        if not self._live:
            return now + RENEWAL
        pace = self.options.pace if len(self._live) <= MANY else self.options.pace_of_many
        roomy = self._room.held < self._room.limit // 4
        return max(self._collected + pace, now + min(self._busy, LONGEST_WAIT) if roomy else now)

    def _collect(self, notices: list[_Notice]) -> Group:
        """Let Captures take what was put up to now, or as much of it as a group holds; the next group then goes on."""
        self._collected = time.monotonic()
        if not self._round:
            self._begin_round(notices)
        group = Group()
        while self._round and not group.full:
            tap, count = self._round.popleft()
            left = self._drain(group, tap, count)
            if left:
                self._round.appendleft((tap, left))
        if not self._round:
            group.barriers, self._barriers = self._barriers, []
            if self._stopping:
                group.stop = True
                self._interrupt_all(group)
        for live in group.lives:
            self._append_of(group, live)
        return group

    def _begin_round(self, notices: list[_Notice]) -> None:
        """Note what is to be done before anything that waits for durability is released."""
        with contextlib.suppress(queue.Empty):
            while True:
                notices.append(self._notices.get_nowait())
        for notice in notices:
            if notice is None:
                self._stopping = True
            elif isinstance(notice, Tap):
                self._round.append((notice, len(notice.items)))
            else:
                self._barriers.append(notice)
        self._round.extend((live.tap, count) for live in self._live.values() if (count := len(live.tap.items)))

    def _drain(self, group: Group, tap: Tap, count: int) -> int:
        """Let a recording's Capture take so many items of its tap; how many are left when the group is full."""
        items = tap.items
        live = self._live.get(tap)
        if count and items[0][0] == START:
            _, at, opening = items.popleft()
            count -= 1
            live = self._guarded_opening(tap, opening)
            if live is None:
                group.size += tap.taken
            else:
                group.take(live, at, 1, self._cost(opening.request))
        if live is None or not count:  # given up; what it had taken of the room was given back then
            return 0
        started, first = tap.started, items[0][1]
        room, most = GROUP_BYTES - group.size, GROUP_ITEMS - group.items
        left, size, capture = count, 0, live.capture
        going = capture.ending is None
        while left and size < room and count - left < most:
            left -= 1
            what, at, value = items.popleft()
            if what == DATA:
                size += len(value)
                if going:
                    try:
                        capture.data(value, (at - started) // 1000)
                    except Exception as error:  # noqa: BLE001 (it is heard of)
                        self._give_up(live, error, (at - started) // 1000)
                        going = False
            else:
                size += 0 if what == END else HEAD_COST
                if going:
                    self._guarded_event(live, what, (at - started) // 1000, value)
                    going = capture.ending is None
        group.take(live, first, count - left, size)
        return left

    def _guarded_opening(self, tap: Tap, opening: Opening) -> Live | None:
        try:
            recording = opened(opening, tap.recording_id, self.writer_id, self.options)
            watch = self._on_notice and Watch(tap.recording_id, opening.request.body, self._on_notice)
            live = Live(tap, Capture(recording, watch, self.options.redactor))
        except Exception:
            tap.abandon()
            self.stats.gaps += 1
            logger.exception("recorder could not begin a recording; this exchange is not recorded")
            return None
        self._live[tap] = live
        return live

    def _guarded_event(self, live: Live, what: int, elapsed_us: int, value: Any) -> None:
        """Let the Capture take what is no chunk; whatever it raises ends this recording and nothing else."""
        capture = live.capture
        try:
            if what == END:
                ending, captured, detail = value
                if captured == Captured.TRUNCATED:
                    self.stats.gaps += 1
                capture.end(ending, elapsed_us, captured=captured, detail=detail)
            elif what == HEAD:
                capture.head(value, elapsed_us)
            else:
                capture.info(value, elapsed_us)
        except Exception as error:  # noqa: BLE001 (it is heard of)
            self._give_up(live, error, elapsed_us)

    def _give_up(self, live: Live, error: Exception, elapsed_us: int) -> None:
        """End a recording whose Capture failed."""
        live.tap.abandon()
        self.stats.gaps += 1
        logger.error("recorder could not take a recording further; it is marked truncated", exc_info=error)
        live.capture.end(
            Transport.INTERRUPTED,
            elapsed_us,
            captured=Captured.TRUNCATED,
            detail={"reason": f"capture failed: {type(error).__name__}"},
        )

    def _interrupt_all(self, group: Group) -> None:
        now = time.monotonic_ns()
        for live in self._live.values():
            live.tap.abandon()
            if live.capture.ending is None:
                detail = {"reason": "the recorder was closed while the exchange went on"}
                elapsed_us = (now - live.tap.started) // 1000
                live.capture.end(Transport.INTERRUPTED, elapsed_us, captured=Captured.TRUNCATED, detail=detail)
                self.stats.gaps += 1
            group.touch(live)

    def _append_of(self, group: Group, live: Live) -> None:
        live.touched = False
        capture = live.capture
        rows = capture.take()
        group.appends.append(
            Append(
                recording_id=live.tap.recording_id,
                recording=None if live.stored else capture.recording,
                rows=rows,
                ending=capture.ending,
            )
        )

    # -- into the store --------------------------------------------------------------------------------------------

    def _commit(self, group: Group) -> None:
        """Store a group, however often that has to be tried; then tell whoever waits for it."""
        fenced: set[UUID] = set()
        if group.appends:
            fenced = self._append_until_stored(group)
        now = time.monotonic_ns()
        if group.oldest is not None:
            self.stats.lag_us = (now - group.oldest) // 1000
        self.stats.commits += 1
        ended = [
            Ended(replace(live.capture.recording, ending=live.capture.ending), live.capture.kept)
            for live, append in zip(group.lives, group.appends, strict=True)
            if self._settle(live, append, fenced)
        ]
        self._give_back(group)
        if ended and self._on_ended is not None:
            self._on_ended(ended)
        for barrier in group.barriers:
            barrier.set()

    def _give_back(self, group: Group) -> None:
        """Make room for others: what the group took, and what taps of recordings that are over had taken ahead."""
        with self._room.lock:
            for live in group.lives:
                if live.tap not in self._live:
                    group.size += live.tap.taken - live.returned
            self._room.held -= group.size
            self.stats.held_bytes = self._room.held

    def _settle(self, live: Live, append: Append, fenced: set[UUID]) -> bool:
        """Note that an append is durable (or refused for good). True when the recording has ended."""
        tap = live.tap
        if fenced and tap.recording_id in fenced:
            self._live.pop(tap, None)
            tap.abandon()
            return False
        rows = append.rows
        if not live.stored:
            live.stored = True
            live.capture.recording = _without_body(live.capture.recording)
            self.stats.recordings += 1
        if rows:
            self.stats.rows += len(rows)
            tap.durable = rows[-1][1]
        if append.ending is None:
            return False
        self._live.pop(tap, None)
        return True

    def _append_until_stored(self, group: Group) -> set[UUID]:
        """Append the group; the ids that another writer has closed meanwhile come back, and are given up."""
        pause, longest = RETRY
        while True:
            try:
                self._ready_store().append(group.appends)
            except Conflict:
                return self._append_singly(group.appends)
            except RecorderError as error:
                self._report_failure(error)
                if group.stop or self._stopped:
                    logger.warning("recorder closes with rows that the store did not take: %s", error)
                    self.stats.gaps += len(group.appends)
                    return {append.recording_id for append in group.appends}
                time.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                self._report_recovery()
                return set()

    def _append_singly(self, appends: Sequence[Append]) -> set[UUID]:
        fenced = set()
        for append in appends:
            try:
                self._ready_store().append([append])
            except Conflict:
                fenced.add(append.recording_id)
                self.stats.gaps += 1
                logger.warning(
                    "recording %s was closed by another writer while this one was thought dead; "
                    "the rest of it is not recorded",
                    append.recording_id,
                )
            except StoreError as error:
                self._report_failure(error)
                fenced |= self._append_until_stored(Group(appends=[append]))
        return fenced

    def _ready_store(self) -> Store:
        if self._store is None:
            with self._opening:
                store = self._open_store()
            try:
                store.claim_writer(self.writer_id)
            except BaseException:
                store.close()
                raise
            self._store = store
            self._floor.under(store.url)
            self._renewed = time.monotonic()
            self._recover_dead(store)
        return self._store

    def _recover_dead(self, store: Store) -> None:
        try:
            recover(store)
        except RecorderError as error:
            logger.warning("recorder could not close the recordings of dead writers: %s", error)

    def _renew(self) -> None:
        now = time.monotonic()
        if self._store is None or now - self._renewed < RENEWAL:
            return
        self._renewed = now
        try:
            self._store.renew(self.writer_id)
        except RecorderError as error:
            self._report_failure(error)

    def _report_failure(self, error: RecorderError) -> None:
        if self.stats.failing is None:
            logger.warning(
                "recorder cannot write: %s; the application goes on, %s bytes wait in memory at most",
                error,
                self.options.queue_bytes,
            )
        self.stats.failing = str(error)

    def _report_recovery(self) -> None:
        if self.stats.failing is not None:
            self.stats.failing = None
            logger.warning("recorder writes again; %d exchanges were cut short or missed so far", self.stats.gaps)

    def _release(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(RecorderError):
                store.release_writer(self.writer_id)
            store.close()

    # -- fork ------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait, but not for ever, until the store is not just being opened."""
        self._forking = self._opening.acquire(timeout=DRAIN)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._forking:
            self._opening.release()

    def after_fork_in_child(self) -> None:
        """Be a writer of one's own, with nothing queued. What the parent had under way stays the parent's."""
        for tap in list(self._taps):
            tap.abandon()
            tap.items.clear()
        self._store = None
        self.stats = Stats()
        self._begin()


def _without_body(recording: Recording) -> Recording:
    """The recording as it is kept while its stream goes on: bodies are large, and this one is in the store by now."""
    if recording.request.body is None:
        return recording
    return replace(recording, request=replace(recording.request, body=None))
