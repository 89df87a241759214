"""Sessions that several processes share: which recordings were handed out, in a side file that may be lost at any time.

A session has a name, and lives as long as some process that used it does: processes that run at the same time share its
repeats, and the next run begins with none handed out. Its file lies in a folder of this user's among the temporary
files, never beside the store, and never in the record. A store in memory is nobody else's: its sessions have no file.

The file is a row of records, appended under a lock: who takes part, what was claimed, where repeats began again.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from .. import match
from ..errors import UsageError
from ..store.locks import Hold, is_at, is_free, try_lock, unlock

__all__ = ["SharedClaims", "claims_of"]

#: Seconds that another process may hold the lock of a session: it needs microseconds.
_PATIENCE: Final = 10.0
_PAUSE: Final = 0.0005

#: What a record begins with; then 32 bytes of a key and 16 of an id.
_TAKES_PART, _CLAIMS, _BEGINS_AGAIN = b"p", b"c", b"a"
_RECORD: Final = 1 + 32 + 16
_NO_KEY: Final = bytes(32)

_lock = threading.RLock()
_known: dict[tuple[str, str], match.Claims] = {}


def _renew_lock() -> None:
    # A thread that does not exist in the child may have held it.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_renew_lock)


def claims_of(store: str, session: str) -> match.Claims:
    """The claims of this session with the store of that (shown) URL: one object for all players of this process."""
    with _lock:
        name = (store, session)
        claims = _known.get(name)
        if claims is None:
            claims = _known[name] = match.Claims() if store.endswith(":memory:") else SharedClaims(_file_of(name))
        return claims


def _file_of(name: tuple[str, str]) -> Path:
    digest = hashlib.sha256("\0".join(name).encode("utf-8", "surrogatepass")).hexdigest()
    return _folder() / f"{digest[:40]}.session"


def _folder() -> Path:
    """The folder of side files, for this user alone. Raises UsageError where somebody else's is in its place."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"recorder-sessions-{user}"
    with _told():
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != user):
        raise UsageError(f"{folder} is somebody else's: set TMPDIR to another folder, or name no session")
    return folder


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Says what an error with a side file means."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"sessions cannot be shared: {error.strerror or error}; set TMPDIR to a folder that can be written"
        ) from None


class _Presence:
    """The sign of life of this process: a lock file that is held until its end. A forked child makes its own."""

    def __init__(self) -> None:
        self._process = 0
        self._token = b""
        self._hold: Hold | None = None

    def token(self) -> bytes:
        """By which this process is named in side files: 16 bytes."""
        if self._process != os.getpid():
            if self._hold is not None:
                self._hold.close()  # the parent's
            self._token = uuid.uuid4().bytes
            self._hold = Hold(_alive(self._token))
            self._process = os.getpid()
        return self._token

    def leave(self) -> None:
        """The process ends."""
        hold, self._hold = self._hold, None
        if hold is not None and self._process == os.getpid():
            hold.release()


def _alive(token: bytes) -> Path:
    return _folder() / f"{token.hex()}.alive"


_presence = _Presence()


@atexit.register
def _leave() -> None:
    """The process ends: sessions that nobody else takes part in are over."""
    with contextlib.suppress(UsageError):
        for claims in _known.values():
            if isinstance(claims, SharedClaims):
                claims.leave()
    _presence.leave()


class SharedClaims(match.Claims):
    """The claims of a session that other processes may share, kept in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._read = 0
        self._token = b""

    def claim(self, match_key: bytes, candidates: Sequence[UUID], repeat: match.Repeat = "error") -> UUID | None:
        """As `Claims.claim` does. Raises UsageError where the file cannot be written, too."""
        if not candidates:
            return None
        with self._opened() as descriptor:
            claimed = self._claimed.setdefault(match_key, set())
            whose = match.turn(claimed, candidates, repeat)
            if whose.over:
                self._add(descriptor, _BEGINS_AGAIN, match_key)
                claimed.clear()
            if whose.fresh and whose.recording_id is not None:
                self._add(descriptor, _CLAIMS, match_key, whose.recording_id.bytes)
                claimed.add(whose.recording_id)
            return whose.recording_id

    def next(self, match_key: bytes, candidates: Sequence[UUID], repeat: match.Repeat = "error") -> UUID | None:
        """What `claim` would give, without claiming it."""
        with self._opened():
            return match.turn(self._claimed.get(match_key, set()), candidates, repeat).recording_id

    def reset(self) -> None:
        """Forgets all claims, of other processes too."""
        with self._opened() as descriptor:
            keys, self._claimed = list(self._claimed), {}
            for key in keys:
                self._add(descriptor, _BEGINS_AGAIN, key)

    def leave(self) -> None:
        """Remove the file, unless another process takes part."""
        if self._token != _presence.token():
            return
        with self._opened() as descriptor:
            if all(is_free(_alive(other), clear=True) for other in _others(descriptor, self._token)):
                self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, locked, and all that others added to it known."""
        with _lock, _told():
            descriptor = _open_locked(self._path)
            try:
                self._catch_up(descriptor)
                yield descriptor
            finally:
                unlock(descriptor)
                os.close(descriptor)

    def _catch_up(self, descriptor: int) -> None:
        token = _presence.token()
        size = os.fstat(descriptor).st_size
        if size % _RECORD:  # whoever wrote it died in the middle
            size -= size % _RECORD
            os.ftruncate(descriptor, size)
        if token != self._token or size < self._read:  # the first time, or somebody removed the file
            self._take_part(descriptor, token)
            size = os.fstat(descriptor).st_size
        os.lseek(descriptor, self._read, os.SEEK_SET)
        data = os.read(descriptor, size - self._read) if size > self._read else b""
        for start in range(0, len(data), _RECORD):
            kind, key, name = data[start : start + 1], data[start + 1 : start + 33], data[start + 33 : start + _RECORD]
            if kind == _CLAIMS:
                self._claimed.setdefault(key, set()).add(UUID(bytes=name))
            elif kind == _BEGINS_AGAIN:
                self._claimed.pop(key, None)
        self._read = size

    def _take_part(self, descriptor: int, token: bytes) -> None:
        """Name this process in the file, which begins anew where nobody that it names is alive."""
        if all(is_free(_alive(other), clear=True) for other in _others(descriptor, token)):
            os.ftruncate(descriptor, 0)
        self._token = token
        self._read = 0
        self._claimed.clear()
        os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, _TAKES_PART + _NO_KEY + token)

    def _add(self, descriptor: int, kind: bytes, key: bytes, name: bytes = bytes(16)) -> None:
        """Append a record, which this process need not read again: nobody else can append before."""
        os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, kind + key + name)
        self._read = os.lseek(descriptor, 0, os.SEEK_CUR)


def _others(descriptor: int, token: bytes) -> set[bytes]:
    """The processes that a side file names, but for the one of this token."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    data = os.read(descriptor, os.fstat(descriptor).st_size)
    starts = (start for start in range(0, len(data), _RECORD) if data[start : start + 1] == _TAKES_PART)
    return {data[start + 33 : start + _RECORD] for start in starts} - {token}


def _open_locked(path: Path) -> int:
    """Open a side file and lock it. Raises UsageError where another process keeps the lock."""
    until = time.monotonic() + _PATIENCE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        # Whoever leaves may remove the file between the two calls.
        if try_lock(descriptor) and is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > until:
            raise UsageError(f"the session's file {path} is locked for too long; end the process that keeps it")
        time.sleep(_PAUSE)
