"""Capturing and replaying clients that others own, for listed hosts: the network layers of four libraries, patched.

httpx, httpx2 (their network transports), requests (its adapter) and aiohttp (its session) alike. One hook stands in
each class, however many patches there are; the newest that names a request's host has it. What an instrumented client
records already is not recorded twice; what a patch replays reaches no network, whoever records it. A library that is
loaded later is patched when it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

from recorder import redact
from recorder.errors import Blocked, ReplayMiss, UsageError

from . import aiohttp_capture, aiohttp_replay, requests_capture, requests_replay
from .attach import HTTPX
from .below import always
from .exchange import Sink, hands_on
from .hosts import Hosts
from .httpx_capture import is_recorded
from .httpx_like import bind
from .later import Later
from .loud import louder

__all__ = ["Others", "Patch", "patch", "patch_replay"]

#: What becomes of requests to hosts that are not listed.
Others = Literal["pass", "block"]

_LOCK: Final = threading.RLock()
_PORTS: Final = {"http": 80, "https": 443}


class _Address(NamedTuple):
    """Of a URL, what a patch looks at."""

    scheme: str
    host: str
    port: int | None
    path: str


def _address(url: Any) -> Any:
    """The address of a URL: text, or an object that has these as attributes, as those of httpx and yarl."""
    if not isinstance(url, (str, bytes)):
        return url
    parts = urlsplit(url if isinstance(url, str) else url.decode("latin-1"))
    try:
        return _Address(parts.scheme, parts.hostname or "", parts.port, parts.path)
    except ValueError:  # no port
        return _Address(parts.scheme, parts.hostname or "", None, parts.path)


class Patch:
    """A patch that is in force until `undo`, or the end of its `with` block."""

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        record: tuple[Sink, int] | None = None,
        player: Any = None,
        others: Others = "pass",
    ) -> None:
        if others not in get_args(Others):
            raise UsageError(f"others {others!r} is none: say pass or block")
        self.hosts = Hosts(hosts)
        self.record = record
        self.player = player
        self.others = others

    def names(self, url: Any) -> bool:
        """Whether the URL's host is listed."""
        return self.hosts.has(url.host or "", url.port or _PORTS.get(url.scheme))

    def same(self, other: Patch) -> bool:
        """Whether it does the same on behalf of the same: a notebook's cell that is run again."""
        owner = self.player if self.record is None else self.record[0]
        theirs = other.player if other.record is None else other.record[0]
        return owner is theirs and self.hosts.names == other.hosts.names

    def undo(self) -> None:
        """Take this patch back; with the last one the classes have their own methods again."""
        with _LOCK:
            _PATCHES[:] = [patch for patch in _PATCHES if patch is not self]
            if not _PATCHES:
                _LATER.remove()
                for hook in list(_HOOKS):
                    # Where others have patched over the hook it stays, and only hands on.
                    if getattr(hook.kind, hook.method) is hook.installed:
                        setattr(hook.kind, hook.method, hook.original)
                        _HOOKS.remove(hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


#: What is in force, the newest last.
_PATCHES: list[Patch] = []


def patch(hosts: Iterable[str], sink: Sink, body_limit: int) -> Patch:
    """Record what passes to these hosts (see `Hosts`)."""
    return _put(Patch(hosts, record=(sink, body_limit)))


def patch_replay(hosts: Iterable[str], player: Any, *, others: Others = "pass") -> Patch:
    """Answer what goes to these hosts from a store.

    `others`: what goes elsewhere passes, or raises Blocked. What goes to them and is in no recording raises ReplayMiss,
    or, where the player hands on, goes to the patches before this one, and to the network. Raises UsageError for other
    words.
    """
    return _put(Patch(hosts, player=player, others=others))


def _put(made: Patch) -> Patch:
    with _LOCK:
        _PATCHES[:] = [old for old in _PATCHES if not old.same(made)] + [made]
        for name in _LIBRARIES:
            if (module := sys.modules.get(name)) is not None:
                _install(module)
        _LATER.put(_LIBRARIES)
    return made


def _chosen(method: str, url: Any) -> Iterator[Patch]:
    """The patches that name a request's host, the newest first. Raises Blocked where one lets nothing else pass."""
    address = _address(url)
    for made in reversed(list(_PATCHES)):
        if made.names(address):
            yield made
        elif made.others == "block":
            why = 'while replaying only listed hosts are answered; list it in hosts=, or say others="pass"'
            raise _refused(made.player, Blocked, f"{method} {_place(address)}", f"is blocked: {why}")


def _refused(player: Any, kind: type[ReplayMiss], request: str, why: str) -> ReplayMiss:
    """What a request is refused with that never comes to the player, which is told."""
    player.refused(request, why)
    return louder(kind(f"{request} {why}"))


def _place(address: Any) -> str:
    """Scheme, host and path of a URL, as they may be shown."""
    if not address.host:
        return "no host"
    port = "" if address.port in (None, _PORTS.get(address.scheme)) else f":{address.port}"
    return redact.mask(f"{address.scheme}://{address.host}{port}{address.path}")


def _records(url: Any) -> tuple[Sink, int] | None:
    """Who records a request, if anybody does; for one that is under way already. Raises ReplayMiss if it may not go."""
    for made in _chosen("a redirect to", url):
        if made.record is not None:
            return made.record
        if not hands_on(made.player):
            raise _refused(
                made.player,
                ReplayMiss,
                f"a redirect to {_place(_address(url))}",
                "comes from a host that is not replayed, and leads to one that is: list both in hosts=",
            )
    return None


# -- hooks -----------------------------------------------------------------------------------------------------------


class _Hook:
    """The patched method of one class."""

    def __init__(self, kind: type[Any], method: str, handle: Callable[..., Any]) -> None:
        self.kind = kind
        self.method = method
        self.original: Callable[..., Any] = getattr(kind, method)
        self.installed = wraps(self.original)(handle(self.original))
        setattr(kind, method, self.installed)


_HOOKS: list[_Hook] = []


def _install(module: Any) -> None:
    """Put the hooks of a library in place where there are none."""
    with _LOCK:
        there = {hook.kind for hook in _HOOKS}
        for kind, method, handle in _LIBRARIES[module.__name__](module):
            if kind not in there:
                _HOOKS.append(_Hook(kind, method, handle))


_Place = tuple[type[Any], str, Callable[..., Any]]


def _httpx(module: Any) -> Iterator[_Place]:
    bound = bind(module)

    def sync(original: Callable[..., Any]) -> Callable[..., Any]:
        def handle(self: Any, request: Any) -> Any:
            inner = SimpleNamespace(handle_request=partial(original, self))
            for made in _chosen(request.method, request.url):
                if made.record is not None:
                    sink, limit = made.record
                    return bound.RecordingTransport(inner, sink, body_limit=limit).handle_request(request)
                try:
                    return bound.ReplayTransport(made.player).handle_request(request)
                except ReplayMiss:
                    if not hands_on(made.player):
                        raise
            return original(self, request)

        return handle

    def asynchronous(original: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(self: Any, request: Any) -> Any:
            inner = SimpleNamespace(handle_async_request=partial(original, self))
            for made in _chosen(request.method, request.url):
                if made.record is not None:
                    sink, limit = made.record
                    recording = bound.AsyncRecordingTransport(inner, sink, body_limit=limit)
                    return await recording.handle_async_request(request)
                try:
                    return await bound.AsyncReplayTransport(made.player).handle_async_request(request)
                except ReplayMiss:
                    if not hands_on(made.player):
                        raise
            return await original(self, request)

        return handle

    yield module.HTTPTransport, "handle_request", sync
    yield module.AsyncHTTPTransport, "handle_async_request", asynchronous


def _requests(module: Any) -> Iterator[_Place]:
    def hook(original: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Any, request: Any, *args: Any, **options: Any) -> Any:
            if requests_replay.is_playing(self):
                return original(self, request, *args, **options)
            for made in _chosen(request.method, request.url):
                if made.player is not None:
                    try:
                        return requests_replay.play(self, original, made.player, request, *args, **options)
                    except ReplayMiss:
                        if not hands_on(made.player):
                            raise
                elif made.record is not None and not requests_capture.is_wired(self) and not is_recorded():
                    choose = always(*made.record)
                    return requests_capture.record(self, original, choose, request, *args, **options)
            return original(self, request, *args, **options)

        return send

    yield module.adapters.HTTPAdapter, "send", hook


def _aiohttp(module: Any) -> Iterator[_Place]:
    def hook(original: Callable[..., Any]) -> Callable[..., Any]:
        async def _request(self: Any, method: str, url: Any, **options: Any) -> Any:
            if aiohttp_replay.is_playing(self):
                return await original(self, method, url, **options)
            for made in _chosen(method, _absolute(self, url)):
                if made.player is None:
                    break
                try:
                    return await aiohttp_replay.play(self, original, made.player, method, url, **options)
                except ReplayMiss as miss:
                    if not hands_on(made.player):
                        raise
                    options = aiohttp_replay.again(options, miss)
            if aiohttp_capture.is_recording(self) or is_recorded():
                return await original(self, method, url, **options)
            return await aiohttp_capture.record(self, original, _records, method, url, **options)

        return _request

    yield module.ClientSession, "_request", hook


def _absolute(session: Any, url: Any) -> Any:
    try:
        return session._build_url(url)
    except Exception:  # noqa: BLE001 (aiohttp itself will say what is wrong with it)
        return _Address("", "", None, "")


_LIBRARIES: Final[dict[str, Callable[[Any], Iterator[_Place]]]] = {
    **dict.fromkeys(HTTPX, _httpx),
    "requests": _requests,
    "aiohttp": _aiohttp,
}

_LATER: Final = Later(_install)
