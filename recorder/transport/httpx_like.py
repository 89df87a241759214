"""Capture and replay inside httpx and httpx2: one source, bound to the module that it is given.

The parts are plain classes (`httpx_capture`, `httpx_replay`); here they become transports and streams of one module,
because a client takes only its own kind. Neither library is imported.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from . import httpx_capture, httpx_replay
from .httpx_values import Library

__all__ = ["Bound", "bind"]


class Bound(NamedTuple):
    """The transports of one module. `inner` is a transport of that module; the wrapped one keeps it as `.inner`.

    RecordingTransport(inner, sink, body_limit=…), AsyncRecordingTransport(…): record what passes through `inner`.
    ReplayTransport(player, inner=None), AsyncReplayTransport(…): answer from a store; `inner` is never asked for
    anything, only entered and closed with its client.
    """

    module: Any
    RecordingTransport: type[Any]
    AsyncRecordingTransport: type[Any]
    ReplayTransport: type[Any]
    AsyncReplayTransport: type[Any]


@cache
def bind(module: Any) -> Bound:
    """The transports for the module `httpx` or `httpx2`; the same classes each time."""
    library = Library(module)
    sync, asynchronous = module.SyncByteStream, module.AsyncByteStream
    return Bound(
        module,
        _concrete(
            httpx_capture.RecordingTransport,
            module.BaseTransport,
            _library=library,
            _tee=_concrete(httpx_capture.Tee, sync),
            _upload=_concrete(httpx_capture.UploadTee, sync),
        ),
        _concrete(
            httpx_capture.AsyncRecordingTransport,
            module.AsyncBaseTransport,
            _library=library,
            _tee=_concrete(httpx_capture.AsyncTee, asynchronous),
            _upload=_concrete(httpx_capture.AsyncUploadTee, asynchronous),
        ),
        _concrete(
            httpx_replay.ReplayTransport,
            module.BaseTransport,
            _library=library,
            _played=_concrete(httpx_replay.Played, sync),
        ),
        _concrete(
            httpx_replay.AsyncReplayTransport,
            module.AsyncBaseTransport,
            _library=library,
            _played=_concrete(httpx_replay.AsyncPlayed, asynchronous),
        ),
    )


def _concrete(part: type[Any], base: type[Any], **attributes: Any) -> type[Any]:
    """The part as a class of the module that `base` comes from."""
    return type(part.__name__, (part, base), {"__doc__": part.__doc__, "__module__": part.__module__, **attributes})
