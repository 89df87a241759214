"""Raw event streams, saved by `curl -N > file.sse`: the bytes are all there is, and the rest is given or guessed.

Pure: bytes in, an exchange out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import sse
from ..dialects.base import dig, parse, string
from .building import Foreign, Unfit

__all__ = ["Asked", "is_stream", "of_stream"]

_STREAM: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")

#: How many events are looked at for what protocol they are of.
_LOOKED_AT: Final = 64

_OPENAI: Final = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says was asked, where the file does not."""

    method: str | None = None
    url: str | None = None
    body: bytes | None = None


def is_stream(data: bytes) -> bool:
    """Whether a file begins as an event stream does."""
    return _STREAM.match(data) is not None


def of_stream(data: bytes, asked: Asked) -> Foreign:
    """The exchange of a raw stream. Raises Unfit where the URL is neither given nor to be guessed."""
    url = asked.url or _guessed(data)
    if url is None:
        raise Unfit("nobody can tell from its events what was asked: say --url, and --body for the request's body")
    unknown = {"head", "headers"}
    if asked.url is None or asked.body is None:
        unknown.add("request")
    return Foreign(
        method=(asked.method or "POST").upper(),
        url=url,
        request_headers=() if asked.body is None else (("content-type", "application/json"),),
        request_body=asked.body,
        status=200,
        headers=(("content-type", "text/event-stream"),),
        body=data,
        unknown=frozenset(unknown),
    )


def _guessed(data: bytes) -> str | None:
    """Where such a stream comes from, by its first events."""
    tokenizer = sse.Tokenizer()
    frames = tokenizer.feed(data[: 1 << 20]) + tokenizer.finish()
    for message in sse.messages(frames[:_LOOKED_AT]):
        try:
            value = parse(message.data.encode("utf-8", "surrogatepass"))
        except ValueError:
            continue
        url = _by_event(message.type, value)
        if url is not None:
            return url
    return None


def _by_event(name: str, value: Any) -> str | None:
    kind = string(dig(value, "type")) or name
    if name.startswith("thread."):
        thread = string(dig(value, "thread_id")) or (string(dig(value, "id")) if name == "thread.created" else None)
        return f"{_OPENAI}/threads/{thread}/runs" if thread else f"{_OPENAI}/threads/runs"
    if kind.startswith("response."):
        return f"{_OPENAI}/responses"
    if kind == "message_start":
        return "https://api.anthropic.com/v1/messages"
    if string(dig(value, "object")) == "chat.completion.chunk":
        return f"{_OPENAI}/chat/completions"
    if isinstance(value, Mapping) and ("candidates" in value or "usageMetadata" in value):
        model = string(value.get("modelVersion")) or "gemini"
        return f"https://generativelanguage.googleapis.com/v1beta/models/{model}:streamGenerateContent?alt=sse"
    return None
