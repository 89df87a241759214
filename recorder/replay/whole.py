"""Whether the stored bytes of a recording are all that there was to answer."""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from .. import sse
from ..dialects.base import dig, error_of, parse, string
from ..recording import Captured, Ending, Event, Head, Kind, Recording, Transport
from .source import Source

__all__ = ["is_whole", "made_to_leave"]

#: The events after which a protocol has nothing to say, and after which SDKs stop reading: OpenAI API reference
#: (Assistants streaming events, Responses streaming events), Anthropic API reference (Streaming messages).
_LAST_WORDS: Final = frozenset(
    {
        "done",
        "error",
        "message_stop",
        "response.cancelled",
        "response.completed",
        "response.failed",
        "response.incomplete",
        "thread.run.cancelled",
        "thread.run.completed",
        "thread.run.expired",
        "thread.run.failed",
        "thread.run.incomplete",
        "thread.run.requires_action",
    }
)

#: What a client raises at an answer that it cannot read. Any other exception may have come from elsewhere in the
#: program, and need not come again.
_UNREADABLE: Final = frozenset(
    {
        "anthropic.APIResponseValidationError",
        "azure.core.exceptions.DecodeError",
        "builtins.RecursionError",
        "builtins.UnicodeDecodeError",
        "builtins.ValueError",
        "httpx.DecodingError",
        "httpx2.DecodingError",
        "json.decoder.JSONDecodeError",
        "openai.APIError",
        "openai.APIResponseValidationError",
        "pydantic_core._pydantic_core.ValidationError",
        "zlib.error",
    }
)

#: The last word may have company: usage, keep-alives, a second end marker, the tail of the same chunk.
_LAST_ROWS: Final = 16


def is_whole(store: Source, recording: Recording) -> bool:
    """Whether the stored bytes are all that the server had to answer."""
    ending = recording.ending
    if ending is None or ending.captured != Captured.FULL or ending.ending == Transport.INTERRUPTED:
        return False
    if ending.ending != Transport.CLIENT_CLOSED:
        return True
    if ending.http_status is None:
        return False
    return _has_last_word(store, recording, ending) or _has_length(store, recording, ending)


def made_to_leave(ending: Ending | None) -> bool:
    """Whether the answer itself made its client leave, and would again: its status had told it all (an error to retry,
    a redirect), or it cannot be read. A content coding that recorder cannot take off counts as such: nobody can tell.
    """
    if ending is None or ending.ending != Transport.CLIENT_CLOSED or ending.captured != Captured.FULL:
        return False
    unreadable = ending.detail.get("left_by") in _UNREADABLE or "undecoded" in ending.detail
    return unreadable or (ending.http_status or 0) >= 300


def _has_last_word(store: Source, recording: Recording, ending: Ending) -> bool:
    start = max(0, ending.events - _LAST_ROWS)
    last = [event for event in store.events(recording.recording_id, start=start) if event.kind == Kind.SSE]
    return any(map(_is_last_word, reversed(last)))


def _is_last_word(event: Event) -> bool:
    """`[DONE]`, a terminal event by its name or by the `type` in its payload, or an error."""
    payload = sse.payload(event.type, event.data, event.raw)
    if payload is None:
        return False
    if payload.startswith(b"[DONE]") or sse.event_name(event.type, event.raw) in _LAST_WORDS:
        return True
    try:
        value = parse(payload)
    except ValueError:
        return False
    return string(dig(value, "type")) in _LAST_WORDS or error_of(value) is not None


def _has_length(store: Source, recording: Recording, ending: Ending) -> bool:
    """Whether the body has the length that its head announced, or can have none (RFC 9110 sections 6.4.1 and 8.6)."""
    if recording.request.method.upper() == "HEAD" or ending.http_status in (204, 304):
        return True
    heads = takewhile(lambda event: event.kind in (Kind.INFO, Kind.HEAD), store.events(recording.recording_id))
    head = next(event for event in heads if event.kind == Kind.HEAD)
    if head.data is None:  # erased
        return False
    length = Head.from_json(head.data).get("content-length")
    return length is not None and length.strip() == str(ending.wire_bytes)
