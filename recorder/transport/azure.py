"""Capture and replay under azure-core's pipelines: azure-ai-agents, and whatever else stands on azure-core.

A pipeline ends in a transport, below all policies, so each attempt of azure's retry policy and each submission of tool
outputs passes here, and what a client makes up itself does not. The transport keeps its session, its settings and its
proxies; ours stands around it. Azure's own code sends and reads; the parts
below it are those of bare requests and bare aiohttp. Nothing of azure is imported: only what is loaded is known.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from recorder.errors import UsageError

from . import aiohttp_capture, aiohttp_replay, requests_capture, requests_replay
from .azure_exchange import call_of, stand_in, watch
from .below import Call, always
from .exchange import BODY_LIMIT, RecordingLayer, ReplayLayer, Sink, guarded

if TYPE_CHECKING:
    from recorder.replay import Player

__all__ = [
    "AsyncRecordingTransport",
    "AsyncReplayTransport",
    "Place",
    "RecordingTransport",
    "ReplayTransport",
    "places",
    "recording",
    "replaying",
]

#: Clients keep the pipeline's client as `_client`, some of them in a client below theirs; so deep.
_DEEPEST = 4


class Place(NamedTuple):
    """Where a pipeline keeps its transport, and what makes ours for it."""

    get: Callable[[], Any]
    put: Callable[[Any], None]
    recording: Callable[..., Any]
    replaying: Callable[..., Any]


def places(client: object) -> list[Place]:
    """The places of a client's transports: of its own pipeline, and of `agents` for a client of a whole project."""
    found: list[Any] = []
    own = _pipeline(client)
    if own is not None:
        found.append(own)
        agents = _pipeline(getattr(client, "agents", None))
        if agents is not None and agents is not own:
            found.append(agents)
    return [_place(pipeline) for pipeline in found]


def _pipeline(client: object) -> Any:
    kinds = tuple(_loaded("azure.core.pipeline", "Pipeline", "AsyncPipeline"))
    below = client
    for _ in range(_DEEPEST):
        pipeline = getattr(below, "_pipeline", None)
        if isinstance(pipeline, kinds):
            return pipeline
        below = getattr(below, "_client", None)
    return None


def _loaded(module: str, *names: str) -> Iterator[type[Any]]:
    """Classes of a module that is loaded; none where it is not."""
    there = sys.modules.get(module)
    yield from (kind for name in names if isinstance(kind := getattr(there, name, None), type))


def _place(pipeline: Any) -> Place:
    def put(transport: Any) -> None:
        pipeline._transport = transport
        for policy in pipeline._impl_policies[-1:]:  # the last one hands to whoever asks the transport
            policy.next._sender = transport

    return Place(lambda: pipeline._transport, put, recording, replaying)


# -- the transports --------------------------------------------------------------------------------------------------


class _Parts(NamedTuple):
    """What gives, for a call or a player, what gives a session in place of the one that is there."""

    recording: Callable[[Call], Callable[[Any], Any]]
    playing: Callable[[Any], Callable[[Any], Any]]


def _parts(transport: Any) -> _Parts:
    """What is below a transport of azure-core. Raises UsageError for another one."""
    known = (
        (requests_capture, requests_replay, "azure.core.pipeline.transport._requests_basic", "RequestsTransport"),
        (aiohttp_capture, aiohttp_replay, "azure.core.pipeline.transport._aiohttp", "AioHttpTransport"),
    )
    for capture, replay, module, name in known:
        if isinstance(transport, tuple(_loaded(module, name))):
            return _Parts(capture.sessions, replay.sessions)
    kind = type(transport)
    raise UsageError(
        f"the client's transport {kind.__module__}.{kind.__qualname__} cannot be instrumented: give the client an"
        " azure-core RequestsTransport, AsyncioRequestsTransport or AioHttpTransport"
    )


def recording(inner: Any, sink: Sink, *, body_limit: int = BODY_LIMIT) -> Any:
    """A recording transport around one of azure-core's. Raises UsageError where that is of an unknown kind."""
    kind = AsyncRecordingTransport if inspect.iscoroutinefunction(inner.send) else RecordingTransport
    return kind(inner, sink, body_limit=body_limit)


def replaying(player: Player, inner: Any) -> Any:
    """A transport that answers from a store. Raises UsageError where `inner` is of an unknown kind."""
    kind = AsyncReplayTransport if inspect.iscoroutinefunction(inner.send) else ReplayTransport
    return kind(player, inner)


class _Layer:
    """A transport around another, which it is taken for wherever it does not do its own work."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.inner.__exit__(kind, error, traceback)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(kind, error, traceback)


class _Recording(_Layer, RecordingLayer):
    def __init__(self, inner: Any, sink: Sink, *, body_limit: int = BODY_LIMIT) -> None:
        super().__init__(inner)
        self.sink = sink
        self._choose = always(sink, body_limit)
        self._parts = _parts(inner)

    def _begin(self, request: Any) -> tuple[Any, Call] | None:
        """What sends this request, and what is told of it."""
        call = call_of(self._choose, request)
        return stand_in(self.inner, vars(self.inner), self._parts.recording(call)), call


class RecordingTransport(_Recording):
    """Hands requests to `inner` and records each with what came back; retries are exchanges too."""

    def send(self, request: Any, **options: Any) -> Any:
        begun = guarded(self._begin, request)
        if begun is None:
            return self.inner.send(request, **options)
        sender, call = begun
        try:
            response = sender.send(request, **options)
        except BaseException as error:
            call.failed(error)
            raise
        guarded(watch, response, call)
        return response


class AsyncRecordingTransport(_Recording):
    """Hands requests to `inner` and records each with what came back; retries are exchanges too."""

    async def send(self, request: Any, **options: Any) -> Any:
        begun = guarded(self._begin, request)
        if begun is None:
            return await self.inner.send(request, **options)
        sender, call = begun
        try:
            response = await sender.send(request, **options)
        except BaseException as error:
            call.failed(error)
            raise
        guarded(watch, response, call)
        return response


class _Replay(_Layer, ReplayLayer):
    """`inner` is never asked for anything and never opened, only closed."""

    def __init__(self, player: Player, inner: Any) -> None:
        super().__init__(inner)
        self.player = player
        self._sessions = _parts(_bottom(inner)).playing(player)

    def _sender(self) -> Any:
        bottom = _bottom(self.inner)
        return stand_in(bottom, dict(vars(bottom)), self._sessions)


def _bottom(transport: Any) -> Any:
    """The client's own transport."""
    return transport.inner if isinstance(transport, RecordingLayer) else transport


class ReplayTransport(_Replay):
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    def open(self) -> None:
        """There is nothing to open."""

    def __enter__(self) -> Self:
        return self

    def send(self, request: Any, **options: Any) -> Any:
        return self._sender().send(request, **options)


class AsyncReplayTransport(_Replay):
    """Answers from a store and never from the network. Raises ReplayMiss for a request that no recording answers."""

    async def open(self) -> None:
        """There is nothing to open."""

    async def __aenter__(self) -> Self:
        return self

    async def send(self, request: Any, **options: Any) -> Any:
        return await self._sender().send(request, **options)
