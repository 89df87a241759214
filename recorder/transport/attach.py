"""Where a client keeps its transports, and putting ours around them and taking them off again.

A client that exists already keeps its proxies, limits, hooks and pools: only its transports are wrapped, in place.
Recording transports stand below replaying ones, each at most once: instrumenting again replaces. Taking one off puts
back the very object that it stood around. No client library is imported here: only those that are loaded are known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from recorder.errors import UsageError

from . import aiohttp_capture, aiohttp_replay, azure, requests_capture, requests_replay
from .exchange import RecordingLayer, ReplayLayer, Sink
from .httpx_like import Bound, bind

__all__ = ["HTTPX", "Port", "bound", "loaded", "ports", "record", "replay", "unrecord", "unreplay"]

#: The httpx-like modules.
HTTPX: Final = ("httpx", "httpx2")

#: openai, anthropic and azure clients keep the client below theirs as `_client`; so deep.
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class Port:
    """A place in a client that holds a transport, and how to make ours for it."""

    get: Callable[[], Any]
    put: Callable[[Any], None]
    recording: Callable[..., Any]
    replaying: Callable[..., Any]


def loaded() -> list[Bound]:
    """The httpx-like modules that the application has loaded."""
    return [bind(sys.modules[name]) for name in HTTPX if name in sys.modules]


def bound(module: Any = None) -> Bound:
    """The transports of a module; by default of the one that is loaded. Raises UsageError where that is not one."""
    if module is not None:
        return bind(module)
    found = loaded()
    if len(found) == 1:
        return found[0]
    which = "both httpx and httpx2 are" if found else "neither httpx nor httpx2 is"
    raise UsageError(f"{which} loaded: say which transport is wanted, as in module=httpx")


def ports(client: object) -> list[Port]:
    """The places of a client's transports. Raises UsageError for an object that is no client we know."""
    below = client
    for _ in range(_DEEPEST):
        for bound in loaded():
            module = bound.module
            if isinstance(below, module.Client):
                return list(_httpx_ports(below, bound.RecordingTransport, bound.ReplayTransport))
            if isinstance(below, module.AsyncClient):
                return list(_httpx_ports(below, bound.AsyncRecordingTransport, bound.AsyncReplayTransport))
        below = getattr(below, "_client", None)
    if isinstance(client, _class("requests", "Session")):
        own: type[Any] = requests_capture.OwnAdapters
        return [_method(client, "get_adapter", own, requests_capture.Adapters, requests_replay.PlayedAdapters)]
    if isinstance(client, _class("aiohttp", "ClientSession")):
        own = aiohttp_capture.OwnRequests
        return [_method(client, "_request", own, aiohttp_capture.Requests, aiohttp_replay.PlayedRequests)]
    if found := azure.places(client):
        return [Port(*place) for place in found]
    kind = type(client)
    raise UsageError(
        f"{kind.__module__}.{kind.__qualname__} is no client that can be instrumented: give an openai, anthropic,"
        " azure-ai-agents, httpx, httpx2, requests or aiohttp client"
    )


def _httpx_ports(client: Any, recording: type[Any], replaying: type[Any]) -> Iterator[Port]:
    def put(transport: Any) -> None:
        client._transport = transport

    yield Port(lambda: client._transport, put, recording, replaying)
    mounts = client._mounts
    for pattern, mounted in mounts.items():
        if mounted is not None:
            yield Port(partial(mounts.get, pattern), partial(mounts.__setitem__, pattern), recording, replaying)


def _class(module: str, name: str) -> type[Any] | tuple[()]:
    """A class of a module that is loaded; none where it is not."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind if isinstance(kind, type) else ()


def _method(client: Any, name: str, own: type[Any], recording: type[Any], replaying: type[Any]) -> Port:
    """The method of a session that all its requests pass: what stands before its class's own is its own alone."""

    def get() -> Any:
        there = vars(client).get(name)
        return there if isinstance(there, (RecordingLayer, ReplayLayer)) else own(client)

    def put(layer: Any) -> None:
        if isinstance(layer, own):
            vars(client).pop(name, None)
        else:
            vars(client)[name] = layer

    return Port(get, put, recording, replaying)


def record(client: object, sink: Sink, body_limit: int) -> None:
    """Let the client's exchanges be recorded by `sink`, and by no other sink."""
    made: dict[int, Any] = {}  # mounts may share a transport

    def around(port: Port, inner: Any) -> Any:
        if isinstance(inner, RecordingLayer):
            inner = inner.inner
        if id(inner) not in made:
            made[id(inner)] = port.recording(inner, sink, body_limit=body_limit)
        return made[id(inner)]

    for port in ports(client):
        top = port.get()
        if isinstance(top, ReplayLayer):
            top.inner = around(port, top.inner)
        else:
            port.put(around(port, top))


def unrecord(client: object, sink: Sink) -> None:
    """Undo `record` by this sink; nothing where another has taken its place."""
    for port in ports(client):
        top = port.get()
        if isinstance(top, ReplayLayer):
            if _is_of(top.inner, sink):
                top.inner = top.inner.inner
        elif _is_of(top, sink):
            port.put(top.inner)


def _is_of(transport: Any, sink: Sink) -> bool:
    return isinstance(transport, RecordingLayer) and transport.sink is sink


def replay(client: object, player: Any) -> None:
    """Let the client be answered by `player`, and by nothing else."""
    made: dict[int, Any] = {}
    for port in ports(client):
        top = port.get()
        inner = top.inner if isinstance(top, ReplayLayer) else top
        if id(inner) not in made:
            made[id(inner)] = port.replaying(player, inner)
        port.put(made[id(inner)])


def unreplay(client: object, player: Any) -> None:
    """Undo `replay` by this player; nothing where another has taken its place."""
    for port in ports(client):
        top = port.get()
        if isinstance(top, ReplayLayer) and top.player is player:
            port.put(top.inner)
