"""Whose call an exchange is: what the caller said by `context(...)`, and what the request and the tracer already say.

Nothing here touches the request, and no tracer is imported: OpenTelemetry is asked only where the application has
loaded it. What nobody said is None.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final, NamedTuple, TypedDict
from uuid import UUID

from recorder.recording import Request, uuid7

__all__ = ["Caller", "call_of", "caller", "context"]


class Caller(TypedDict):
    """What a sink's `start` is told beside the request.

    `call` links the attempts of one call: an SDK's retries, a client's redirects. `trace` is a W3C traceparent.
    """

    session: str | None
    trace: str | None
    call: UUID
    tags: dict[str, str]


class _Said(NamedTuple):
    session: str | None
    tags: Mapping[str, str]


_NOTHING: Final = _Said(None, {})
_said: ContextVar[_Said] = ContextVar("recorder context", default=_NOTHING)

#: The method, the URL and the call of the latest first attempt in this context.
_latest: ContextVar[tuple[str, str, UUID] | None] = ContextVar("recorder call", default=None)

#: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

#: Where openai and anthropic say that a request is a repetition; 0 is the first attempt.
_RETRIES: Final = "x-stainless-retry-count"


@contextlib.contextmanager
def context(*, tags: Mapping[str, object] | None = None, session: str | None = None) -> Iterator[None]:
    """Say whose calls are made inside the block, in this thread or task and in the tasks that it starts.

    `tags` are added to those of the blocks around it, the inner value winning; `session` replaces. Threads begin
    without a context (before Python 3.14): open one in them, or run them in `contextvars.copy_context()`.
    """
    around = _said.get()
    added = {str(name): str(value) for name, value in (tags or {}).items()}
    token = _said.set(_Said(session or around.session, {**around.tags, **added}))
    try:
        yield
    finally:
        # A generator-based fixture or dependency may be finished in another context than it was begun in.
        with contextlib.suppress(ValueError):
            _said.reset(token)


def caller(request: Request, call: UUID | None = None) -> Caller:
    """What is known about the caller of this request, in the current context. `call`: where the client named it."""
    said = _said.get()
    return Caller(
        session=said.session,
        trace=_traceparent(request) or _active_span(),
        call=call_of(request) if call is None else call,
        tags=dict(said.tags),
    )


def _header(request: Request, wanted: str) -> str | None:
    return next((value for name, value in request.headers if name.lower() == wanted), None)


def call_of(request: Request) -> UUID:
    """The call this attempt belongs to: a new one, unless an SDK says that it repeats.

    SDKs repeat in the thread or task of the first attempt, one after another, so the latest attempt there is meant.
    """
    latest = _latest.get()
    if latest and latest[:2] == (request.method, request.url) and (_header(request, _RETRIES) or "0") != "0":
        return latest[2]
    made = uuid7()
    _latest.set((request.method, request.url, made))
    return made


def _traceparent(request: Request) -> str | None:
    value = _header(request, "traceparent")
    return value if value and _TRACEPARENT.fullmatch(value) else None


def _active_span() -> str | None:
    """The active OpenTelemetry span as a traceparent."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
