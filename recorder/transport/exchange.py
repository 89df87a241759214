"""What every client library's transport does alike: begin a recording, keep a streamed body, put a failure into words.

Recording never breaks the application: what is called from a client's path here does not raise for recorder's own
sake. The module refuses to know any client library.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, ParamSpec, Protocol, TypeVar
from uuid import UUID

from recorder import redact
from recorder.errors import ReplayMiss
from recorder.recording import HeaderList, Request
from recorder.writer import NullTap, Tap

from .caller import caller

__all__ = [
    "BODY_LIMIT",
    "Around",
    "RecordingLayer",
    "ReplayLayer",
    "Sink",
    "Upload",
    "begin",
    "causes",
    "class_name",
    "describe",
    "guarded",
    "hands_on",
]

logger = logging.getLogger("recorder")

#: Largest streamed request body that is kept, in bytes, where nothing else is said.
BODY_LIMIT: Final = 32 << 20

#: A chain of causes is kept this deep, and each message this long: both may come from a stranger's server.
_DEEPEST: Final = 8
_LONGEST: Final = 2000

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")

#: Where an HTTP library quotes a header line of the server that it refuses: up to the name, the name, the rest.
_REFUSED_LINE: Final = re.compile(r"""(illegal header line: bytearray\(b['"]\s*)([\w-]+)(.*)""", re.DOTALL)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Sink(Protocol):
    """Where recordings begin: a Writer, or a handle's choice of what is recorded (None: leave this one alone)."""

    def start(
        self,
        request: Request,
        *,
        started_at: int | None = None,
        session: str | None = None,
        trace: str | None = None,
        call: UUID | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Tap | None: ...


class Around:
    """Is taken for what it stands around wherever it does not do its own work."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # before it is there, as in a copy
            raise AttributeError(name)
        return getattr(self._inner, name)


class RecordingLayer:
    """What every recording transport is: around `inner`, on behalf of `sink`."""

    inner: Any
    sink: Sink


class ReplayLayer:
    """What every replay transport is: in front of `inner`, which it never asks for anything, on behalf of `player`."""

    inner: Any
    player: Any


def hands_on(player: Any) -> bool:
    """Whether what this player has no recording of goes on to where it would go without it: a player may say so."""
    return bool(getattr(player, "hands_on", False))


def guarded(call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R | None:
    """Call it; a defect of ours is logged and gives None, because the application goes on whatever happens here."""
    try:
        return call(*args, **kwargs)
    except ReplayMiss:
        raise  # no defect: the application is to see it
    except Exception:
        logger.exception("recorder failed on its own; this exchange is not recorded, the application goes on")
        return None


def begin(
    sink: Sink, request: Request, *, begun: tuple[int, int] | None = None, call: UUID | None = None
) -> Tap | None:
    """Begin a recording of the request in the current context; None where it is not to be recorded. Never raises.

    `begun` is when the request went out, if not now: microseconds UTC and monotonic nanoseconds.
    """
    tap = guarded(_start, sink, request, begun[0] if begun else None, call)
    if tap is not None and begun:
        tap.started = begun[1]  # before anything but the opening was put: all elapsed times count from here
    return tap


def _start(sink: Sink, request: Request, started_at: int | None, call: UUID | None) -> Tap | None:
    tap = sink.start(request, started_at=started_at, **caller(request, call))
    return None if isinstance(tap, NullTap) else tap


class Upload:
    """A request body that passes by in chunks: kept up to `limit` bytes, beyond that counted and hashed."""

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self.begun = time.time_ns() // 1000, time.monotonic_ns()
        self._limit = limit
        self.restart()

    def restart(self) -> None:
        """The body is read from its beginning (again)."""
        #: Whether all of it has passed.
        self.complete = False
        self._over = self._spoiled = False
        self._size = 0
        self._kept: list[bytes] = []
        self._hash = sha256()

    def add(self, chunk: Any) -> None:
        """The next chunk passes by. What is no bytes is the client library's to refuse."""
        try:
            data = chunk if type(chunk) is bytes else bytes(memoryview(chunk))
        except TypeError:
            self._spoiled = True
            return
        self._size += len(data)
        if not self._over:
            self._kept.append(data)
            if self._size <= self._limit:
                return
            self._over = True
            data = b"".join(self._kept)
            self._kept.clear()
        self._hash.update(data)

    def request(self, method: str, url: str, headers: HeaderList) -> Request:
        """The request with this body: None where it is too large, or was not sent to its end."""
        if self._spoiled or not self.complete:
            return Request(method, url, headers, None, self._size)
        if self._over:
            return Request(method, url, headers, None, self._size, self._hash.digest())
        return Request(method, url, headers, b"".join(self._kept), self._size)


# -- failures ------------------------------------------------------------------------------------------------------


def describe(error: BaseException, sent: HeaderList = ()) -> dict[str, Any]:
    """The detail of an ending: class, message and errno of an exception and its causes, outermost first.

    Messages are cleaned of URLs' credentials, and of the values of the withheld headers among those `sent`: HTTP
    libraries quote an illegal header value in full.
    """
    secrets = sorted(_secrets(sent), key=len, reverse=True)
    return {"exception": [_entry(link, secrets) for link in causes(error)]}


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what caused it. Azure names the cause in an attribute where it raises outside of `except`."""
    link: Any = error
    for _ in range(_DEEPEST):
        if not isinstance(link, BaseException):
            return
        yield link
        context = None if link.__suppress_context__ else link.__context__
        link = link.__cause__ or context or getattr(link, "inner_exception", None)


def _entry(error: BaseException, secrets: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": class_name(error), "message": _clean(_message(error), secrets)}
    errno = getattr(error, "errno", None)
    if isinstance(errno, int):
        entry["errno"] = errno
    return entry


def class_name(error: BaseException) -> str:
    """The class with its module, as in `httpx.ReadError`."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (a stranger's __str__)
        return ""


def _clean(message: str, secrets: list[str]) -> str:
    for secret in secrets:
        message = message.replace(secret, redact.REDACTED)
    message = _REFUSED_LINE.sub(_withhold, message)
    message = redact.mask(_URL.sub(lambda found: redact.clean_url(found[0]), message))
    return message[:_LONGEST]


def _withhold(line: re.Match[str]) -> str:
    ((_, kept),) = redact.keep_response_headers(((line[2], line[3]),))
    return line[0] if kept != redact.REDACTED else f"{line[1]}{line[2]}{redact.REDACTED}"


def _secrets(sent: HeaderList) -> Iterator[str]:
    """The withheld values, and as they look in the repr of bytes or text."""
    for (_, value), (_, kept) in zip(sent, redact.keep_request_headers(sent), strict=True):
        if kept == redact.REDACTED:
            forms = {value, value.strip(), repr(value)[1:-1], repr(value.encode("latin-1", "replace"))[2:-1]}
            yield from (form for form in forms if len(form) >= 4)
