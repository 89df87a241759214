"""From a request as a client sent it to the Recording as it is stored: recognised, keyed, and only then redacted.

The order matters: the match key is made of the request as sent, so that redaction never changes what matches.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from .. import dialects, match, redact
from ..recording import Recording, Request, storable
from ..store.rows import as_stored

__all__ = ["Opening", "Options", "opened"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a writer records. Sizes in bytes: of the queue, and of the largest request body that is kept.

    `pace`, `pace_of_many`: seconds from one group to the next while recordings are live, and where many are. An event
    waits so long at most, and a little more, until it is durable. A group costs nearly the same whether a recording
    adds one event to it or ten: who records for many clients at once saves most of that by a slower pace.

    `min_free`: bytes of the disk that are to stay free, see `space.Floor`. `warn_large`: tell once that
    the store has grown large.
    """

    content: str = "full"
    rule: match.Rule = match.DEFAULT
    queue_bytes: int = 64 << 20
    body_limit: int = 32 << 20
    pace: float = 0.01
    pace_of_many: float = 0.02
    redactor: redact.Redactor = redact.DEFAULT
    min_free: int | None = None
    warn_large: bool = True


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client's side knows when an exchange begins."""

    request: Request
    started_at: int
    content: str
    weight: float
    session: str | None
    trace: str | None
    call: UUID | None
    tags: Mapping[str, str]


def opened(opening: Opening, recording_id: UUID, writer_id: UUID, options: Options) -> Recording:
    """The Recording for an opening, trimmed to the settings.

    A body above the limit stays as its length and SHA-256; such a request has no key, so replay never chooses it.
    """
    request = opening.request
    body = request.body
    full = opening.content == "full"
    oversize = body is not None and len(body) > options.body_limit
    readable = body is not None and not oversize
    recording = Recording(
        recording_id=recording_id,
        started_at=opening.started_at,
        writer=writer_id,
        dialect=(dialect := dialects.recognise(request)).name,
        origin=storable(redact.origin(request.url)),
        request=replace(
            request,
            method=storable(request.method),
            url=storable(redact.clean_url(request.url)),
            headers=redact.keep_request_headers(request.headers),
            body=body if full and readable else None,
            body_size=request.body_size if body is None else len(body),
            body_sha256=_body_sha256(request, oversize) if full else None,
        ),
        salt=secrets.token_bytes(16),
        match_key=match.key(request, options.rule) if full and readable else None,
        match_rule=options.rule.to_text() if full else None,
        content=opening.content,
        weight=opening.weight,
        session=_clean(opening.session),
        trace=_clean(opening.trace),
        call=opening.call,
        tags={storable(str(name)): storable(str(value)) for name, value in opening.tags.items()},
        parameters=_parameters(dialect, request) if readable and opening.content != "none" else {},
    )
    return as_stored(recording)


def _body_sha256(request: Request, oversize: bool) -> bytes | None:
    """What names a body that is not kept. (A streamed one was hashed while it was sent.)"""
    if request.body is None:
        return request.body_sha256
    return sha256(request.body).digest() if oversize else None


def _parameters(dialect: dialects.Dialect, request: Request) -> dict[str, Any]:
    return {name: _clean(value) for name, value in dialect.parameters(request).items()}


def _clean(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value
