"""Capturing clients that others own, for listed hosts: the network transports of httpx and httpx2, patched as classes.

One hook stands in each class, however many patches there are; the newest that names a request's host records it. What
an instrumented client records already is not recorded twice. Modules that are loaded later are not patched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial, wraps
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self

from .attach import loaded
from .exchange import Sink

__all__ = ["Patch", "patch"]

_LOCK: Final = threading.Lock()
_PORTS: Final = {"http": 80, "https": 443}


class Patch:
    """A patch that is in force until `undo`, or the end of its `with` block."""

    def __init__(self, hosts: Iterable[str], sink: Sink, body_limit: int) -> None:
        self.hosts = frozenset(host.lower() for host in hosts)
        self.sink = sink
        self.body_limit = body_limit

    def names(self, url: Any) -> bool:
        """Whether the URL's host is listed, with its port or without."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        return host in self.hosts or f"{host}:{url.port or _PORTS.get(url.scheme)}" in self.hosts

    def undo(self) -> None:
        """Take this patch back; with the last one the classes have their own methods again."""
        with _LOCK:
            for hook in list(_HOOKS):
                hook.patches = [patch for patch in hook.patches if patch is not self]
                # Where others have patched over the hook it stays, and only hands on.
                if not hook.patches and getattr(hook.kind, hook.method) is hook.installed:
                    setattr(hook.kind, hook.method, hook.original)
                    _HOOKS.remove(hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


@dataclass(slots=True)
class _Hook:
    """The patched method of one class."""

    kind: type[Any]
    method: str
    original: Callable[..., Any]
    recording: type[Any]
    installed: Callable[..., Any] | None = None
    patches: list[Patch] = field(default_factory=list)

    def transport(self, own: Any, request: Any) -> Any:
        """What handles the request that the transport `own` was given: the class's own method, recorded or not."""
        inner = SimpleNamespace(**{self.method: partial(self.original, own)})
        for patch in reversed(self.patches):
            if patch.names(request.url):
                return self.recording(inner, patch.sink, body_limit=patch.body_limit)
        return inner


_HOOKS: list[_Hook] = []


def patch(hosts: Iterable[str], sink: Sink, body_limit: int) -> Patch | None:
    """Record what passes to these hosts (`name` or `name:port`). None where nothing is loaded that could be patched."""
    made = Patch(hosts, sink, body_limit)
    with _LOCK:
        hooks = [hook for bound in loaded() for hook in _hooks(bound)]
        for hook in hooks:
            # A notebook's cell that is run again replaces what it did before.
            hook.patches = [old for old in hook.patches if (old.sink, old.hosts) != (sink, made.hosts)] + [made]
    return made if hooks else None


def _hooks(bound: Any) -> list[_Hook]:
    module = bound.module
    return [
        _hook(module.HTTPTransport, "handle_request", bound.RecordingTransport),
        _hook(module.AsyncHTTPTransport, "handle_async_request", bound.AsyncRecordingTransport),
    ]


def _hook(kind: type[Any], method: str, recording: type[Any]) -> _Hook:
    """The class's hook, put in place if there is none."""
    for hook in _HOOKS:
        if hook.kind is kind:
            return hook
    hook = _Hook(kind, method, getattr(kind, method), recording)
    if method == "handle_request":

        @wraps(hook.original)
        def handle(self: Any, request: Any) -> Any:
            return hook.transport(self, request).handle_request(request)
    else:

        @wraps(hook.original)
        async def handle(self: Any, request: Any) -> Any:
            return await hook.transport(self, request).handle_async_request(request)

    hook.installed = handle
    setattr(kind, method, handle)
    _HOOKS.append(hook)
    return hook
