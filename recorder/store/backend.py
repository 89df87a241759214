"""What the two databases have in common: how the store gets connections, and that none is open over a fork.

SQLite keeps per-process records of its file locks; a forked child inherits these and believes them, although the
kernel gave it no lock. Such a child loses committed rows, even through connections that it opens itself. (PostgreSQL's
connections would be shared sockets.) So a fork waits until no connection is in use, and closes all of them first; each
side connects again when it needs to. See "How To Corrupt An SQLite Database File", section 2.6, of SQLite's manual.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Pool

from recorder.errors import StoreUnavailable
from recorder.recording import Event, Row
from recorder.store.values import Lease

__all__ = ["Backend", "Gate"]

#: Seconds that a fork and a close wait for connections in use.
QUIET_WAIT = 5.0

#: Bytes of payload that are read in one go, where all events are read.
STREAM_BYTES = 256 << 10


class Gate:
    """Lets any number of users in, until it is shut; who shuts it waits until all have left.

    A thread that is inside may enter again, also while others wait for it to leave.
    """

    __slots__ = ("_condition", "_depth", "_shut", "_users")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, with nobody inside (in a forked child, where the users of before do not exist)."""
        self._condition = threading.Condition()
        self._depth = threading.local()
        self._users = 0
        self._shut = 0

    def __enter__(self) -> None:
        depth = getattr(self._depth, "value", 0)
        with self._condition:
            while self._shut and not depth:
                self._condition.wait()
            self._users += 1
        self._depth.value = depth + 1

    def __exit__(self, *_: object) -> None:
        self._depth.value -= 1
        with self._condition:
            self._users -= 1
            if self._shut:
                self._condition.notify_all()

    def shut(self, timeout: float) -> bool:
        """Let nobody in any more and wait for those inside; False when `timeout` seconds were not enough."""
        with self._condition:
            self._shut += 1
            return self._condition.wait_for(lambda: self._users == 0, timeout)

    def open(self) -> None:
        """Let users in again."""
        with self._condition:
            self._shut -= 1
            self._condition.notify_all()


class _BothGates:
    """A backend's own gate, and the process's round it: whoever uses, opens or closes a backend is inside both."""

    __slots__ = ("own",)

    def __init__(self) -> None:
        self.own = Gate()

    def __enter__(self) -> None:
        _PROCESS.__enter__()
        self.own.__enter__()

    def __exit__(self, *_: object) -> None:
        self.own.__exit__()
        _PROCESS.__exit__()


#: Shut while the process forks. One for all backends, because they share what a database library holds for the
#: process: a child that is forked while any thread is inside SQLite's allocator never gets its mutex.
_PROCESS = Gate()


class Backend(ABC):
    """One opened database. Every failure leaves it as an error of `recorder.errors`."""

    #: SQLAlchemy's name of the database: "sqlite" or "postgresql".
    name: str
    #: The store as it may be shown: without a password.
    display: str
    readonly: bool

    def __init__(self) -> None:
        self.gate = _BothGates()
        self.closed = False
        #: Counts how often the store was found anew; what was known of the one before says nothing.
        self.epoch = 0
        #: Why this process must not touch the store any more; only after a fork that could not wait.
        self.abandoned: str | None = None
        _BACKENDS.add(self)

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """Where connections come from."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state of the store for as long as the block lasts."""

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that is committed when the block ends, durable then, and rolled back when it raises."""

    @abstractmethod
    def take_turns(self, connection: Connection, turns: Sequence[int]) -> None:
        """Wait until no other transaction has any of these turns, and keep them until this one ends."""

    @abstractmethod
    def share_turn(self, connection: Connection, turn: int) -> None:
        """The same with a turn that others may share, while nobody has it for himself."""

    def wrote(self, rows: int) -> None:  # noqa: B027 (most need not know)
        """The transaction under way has written about so many rows, of 256 bytes, beside `insert_events`."""

    @abstractmethod
    def size(self) -> int:
        """Bytes that what is stored takes, without what is free to be used again."""

    def size_without(self, size: int, room: int) -> int:
        """What `size` is, now that recordings of so much room are gone since it said `size`."""
        return self.size()

    @abstractmethod
    def tidy(self) -> str | None:
        """Have nothing of what was deleted stand where the database can put it away, while writers go on.

        Why that was not all done, or None.
        """

    @abstractmethod
    def rewrite(self) -> None:
        """Write everything anew and give back what is free. Writers wait; as much room again is needed meanwhile."""

    @abstractmethod
    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert rows whose positions are free; the number inserted."""

    @abstractmethod
    def select_events(
        self, connection: Connection, recording_id: UUID, start: int, kinds: Sequence[str], size: int
    ) -> tuple[list[Event], bool]:
        """The next events from position `start`, up to about `size` bytes; and whether there may be more.

        Of these kinds, of all where there are none given.
        """

    def stream_events(self, connection: Connection, recording_id: UUID) -> Iterator[Sequence[tuple[Any, ...]]]:
        """All events of a recording in order, in batches: the columns of `Event` as the driver gives them.

        Behind these, where rows are found by an index that might say otherwise, 1 if the row has that id, too. Nothing
        else may be asked of the connection meanwhile.
        """
        start, more = 1 - (1 << 31), True  # where there are none, the position before it is asked for
        while more:
            page, more = self.select_events(connection, recording_id, start, (), STREAM_BYTES)
            if page:
                start = page[-1].position + 1
                yield page

    def any_text(self, connection: Connection) -> AbstractContextManager[None]:
        """Where texts may be no UTF-8, these are read all the same while the block lasts."""
        return contextlib.nullcontext()  # pragma: no cover (PostgreSQL's are UTF-8, and SQLite has its own)

    @abstractmethod
    def claim(self, writer: UUID) -> None:
        """Begin to show that this writer is alive."""

    @abstractmethod
    def renew(self, writer: UUID) -> None:
        """Show again that this writer is alive."""

    @abstractmethod
    def release(self, writer: UUID) -> None:
        """Stop showing that this writer is alive."""

    @abstractmethod
    def alive(self, writer: UUID) -> bool:
        """Whether this writer shows that it is alive."""

    @abstractmethod
    def dead(self) -> list[Lease]:
        """The leases whose writers do not."""

    @abstractmethod
    def lease_until(self, connection: Connection) -> int:
        """What a new lease says in `expires_at`."""

    def close(self) -> None:
        """Close every connection. The backend cannot be used afterwards."""
        with _PROCESS:
            self.gate.own.shut(QUIET_WAIT)
            try:
                self.closed = True
                self.disconnect()
            finally:
                self.gate.own.open()

    @abstractmethod
    def disconnect(self) -> None:
        """Close every connection that is not in use; the next use connects again."""

    def usable(self) -> None:
        """Raises StoreUnavailable where the store was closed or must not be touched."""
        if self.closed:
            raise StoreUnavailable("the store was closed; open it again")
        if self.abandoned:
            raise StoreUnavailable(self.abandoned)

    # -- fork ----------------------------------------------------------------------------------------------------------

    def before_fork(self, *, quiet: bool) -> None:
        """Close every connection; `quiet` says that nobody in this process is using any."""
        if quiet:
            with contextlib.suppress(Exception):  # a fork must not fail for the store's sake
                self.disconnect()
            self.abandoned = None
        else:
            self.abandoned = (
                "this process was forked while its parent was busy with the store, which makes the store unsafe here; "
                "start the process again, or fork before recording"
            )

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.abandoned = None

    def after_fork_in_child(self) -> None:
        """Begin anew, or give up where the parent was busy: its connections are then kept, never closed or used."""
        self.gate = _BothGates()
        if self.abandoned:
            _ABANDONED.append(self.engine.pool)
            self.engine.dispose(close=False)


_BACKENDS: weakref.WeakSet[Backend] = weakref.WeakSet()
#: Connection pools of a parent process that this process must keep its hands off; closing one would harm the parent.
_ABANDONED: list[Pool] = []


class _Forking(threading.local):
    """The backends that this thread's fork has made wait."""

    def __init__(self) -> None:
        self.backends: list[Backend] = []


_forking = _Forking()


def _before_fork() -> None:
    quiet = _PROCESS.shut(QUIET_WAIT)
    _forking.backends = [backend for backend in list(_BACKENDS) if not backend.closed]
    for backend in _forking.backends:
        backend.before_fork(quiet=quiet)


def _after_fork_in_parent() -> None:
    for backend in _each_forked():
        backend.after_fork_in_parent()
    _PROCESS.open()


def _after_fork_in_child() -> None:
    _PROCESS.reset()
    for backend in _each_forked():
        backend.after_fork_in_child()


def _each_forked() -> Iterator[Backend]:
    while _forking.backends:
        yield _forking.backends.pop()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
