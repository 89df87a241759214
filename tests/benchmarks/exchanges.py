"""Exchanges as they are on the wire: published streams, with the request and the headers that belong around them.

The streams and what is known of their requests come from ../shared/corpus. The rest is what the SDKs send and the
providers answer with, credentials and cookies as long as real ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from recorder.recording import Head, HeaderList, Request, uuid7
from tests.loopback import Stream

__all__ = ["Exchange", "exchange"]

_KEY: Final = "sk-proj-" + "k" * 156
_STAINLESS: Final = (
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "3.54.0"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Runtime-Version", "3.13.1"),
    ("X-Stainless-Async", "false"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
)
_CLIENT: Final = (
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
)
_CLOUDFLARE: Final = (
    ("Date", "Sun, 23 Nov 2025 05:12:44 GMT"),
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Transfer-Encoding", "chunked"),
    ("Connection", "keep-alive"),
    ("Server", "cloudflare"),
    ("CF-RAY", "9a2f3c4d5e6f7a8b-FRA"),
    ("cf-cache-status", "DYNAMIC"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
)


def _request_id() -> str:
    return "req_" + uuid7().hex


def _openai(beta: HeaderList = ()) -> tuple[HeaderList, HeaderList]:
    asked = (
        ("Host", "api.openai.com"),
        *_CLIENT,
        ("User-Agent", "OpenAI/Python 3.54.0"),
        *_STAINLESS,
        ("Authorization", f"Bearer {_KEY}"),
        *beta,
    )
    answered = (
        *_CLOUDFLARE,
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "user-abcdefghijklmnopqrstuvwx"),
        ("openai-processing-ms", "388"),
        ("openai-project", "proj_abcdefghijklmnopqrstuvwx"),
        ("openai-version", "2020-10-01"),
        ("x-envoy-upstream-service-time", "402"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "30000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "29999687"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "0s"),
        ("x-request-id", _request_id()),
        ("x-openai-proxy-wasm", "v0.1"),
        (
            "set-cookie",
            "__cf_bm=" + "c" * 130 + "; path=/; expires=Sun, 23-Nov-25 05:42:44 GMT; domain=.api.openai.com",
        ),
        ("X-Content-Type-Options", "nosniff"),
        ("set-cookie", "_cfuvid=" + "c" * 72 + "; path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None"),
        ("alt-svc", 'h3=":443"; ma=86400'),
    )
    return asked, answered


def _anthropic() -> tuple[HeaderList, HeaderList]:
    asked = (
        ("Host", "api.anthropic.com"),
        *_CLIENT,
        ("User-Agent", "Anthropic/Python 2.4.0"),
        *_STAINLESS,
        ("anthropic-version", "2023-06-01"),
        ("X-Api-Key", "sk-ant-api03-" + "k" * 95),
    )
    limits = (("input-tokens", "2000000"), ("output-tokens", "400000"), ("requests", "4000"), ("tokens", "2400000"))
    answered = (
        *_CLOUDFLARE,
        ("Cache-Control", "no-cache"),
        *(
            (f"anthropic-ratelimit-{kind}-{name}", value)
            for kind, limit in limits
            for name, value in (("limit", limit), ("remaining", limit), ("reset", "2025-11-23T05:12:43Z"))
        ),
        ("request-id", _request_id()),
        ("anthropic-organization-id", "01234567-89ab-cdef-0123-456789abcdef"),
        ("via", "1.1 google"),
        ("x-envoy-upstream-service-time", "388"),
        ("X-Robots-Tag", "none"),
        ("set-cookie", "_cfuvid=" + "c" * 72 + "; HttpOnly; SameSite=None; Secure; Path=/; Domain=api.anthropic.com"),
    )
    return asked, answered


def _gemini() -> tuple[HeaderList, HeaderList]:
    asked = (
        ("Host", "generativelanguage.googleapis.com"),
        *_CLIENT,
        ("User-Agent", "google-genai-sdk/1.52.0 gl-python/3.13.1"),
        ("x-goog-api-client", "google-genai-sdk/1.52.0 gl-python/3.13.1"),
        ("x-goog-api-key", "AIza" + "k" * 35),
    )
    answered = (
        ("Content-Type", "text/event-stream"),
        ("Vary", "Origin"),
        ("Vary", "X-Origin"),
        ("Vary", "Referer"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "Sun, 23 Nov 2025 05:12:44 GMT"),
        ("Server", "scaffolding on HTTPServer2"),
        ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server-Timing", "gfet4t7; dur=612"),
        ("Alt-Svc", 'h3=":443"; ma=2592000,h3-29=":443"; ma=2592000'),
    )
    return asked, answered


def _other() -> tuple[HeaderList, HeaderList]:
    asked = (
        ("Host", "localhost"),
        *_CLIENT,
        ("User-Agent", "python-httpx/0.28.1"),
        ("Authorization", f"Bearer {_KEY}"),
    )
    answered = (
        ("date", "Sun, 23 Nov 2025 05:12:44 GMT"),
        ("server", "uvicorn"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("transfer-encoding", "chunked"),
    )
    return asked, answered


class Provider(NamedTuple):
    """How exchanges of a protocol look around what was published: URL, body and headers where those are not known."""

    url: str
    body: Mapping[str, Any]
    headers: Callable[[], tuple[HeaderList, HeaderList]]


_ASK: Final = "Summarise the attached report in five points and name the pages that each of them is taken from."
_MESSAGES: Final = [
    {"role": "system", "content": "You are a careful assistant. " * 8},
    {"role": "user", "content": _ASK},
]
PROVIDERS: Final = {
    "assistants": Provider(
        "https://api.openai.com/v1/threads/thread_abc123def456ghi789jkl012/runs",
        {
            "assistant_id": "asst_abc123def456ghi789jkl012",
            "instructions": "You are a careful assistant. " * 8,
            "max_prompt_tokens": 20000,
            "max_completion_tokens": 1000,
            "stream": True,
        },
        lambda: _openai((("OpenAI-Beta", "assistants=v2"),)),
    ),
    "responses": Provider(
        "https://api.openai.com/v1/responses",
        {"model": "gpt-4.1", "input": _MESSAGES, "max_output_tokens": 1000, "stream": True},
        _openai,
    ),
    "chat": Provider(
        "https://api.openai.com/v1/chat/completions",
        {"model": "gpt-4o", "messages": _MESSAGES, "max_completion_tokens": 1000, "stream": True},
        _openai,
    ),
    "anthropic": Provider(
        "https://api.anthropic.com/v1/messages",
        {"model": "claude-sonnet-4-5", "max_tokens": 1024, "messages": _MESSAGES[1:], "stream": True},
        _anthropic,
    ),
    "gemini": Provider(
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": _ASK}]}], "generationConfig": {"maxOutputTokens": 1000}},
        _gemini,
    ),
    "other": Provider("http://localhost/v1/stream", {"model": "m", "messages": _MESSAGES, "stream": True}, _other),
}


#: Behind a blank line: where a provider's chunks end, one event in each.
_EVENT_END: Final = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")


class Exchange(NamedTuple):
    """One exchange as it was on the wire."""

    request: Request
    head: Head
    chunks: list[bytes]

    @property
    def body_bytes(self) -> int:
        return sum(map(len, self.chunks))

    @property
    def wire_bytes(self) -> int:
        """All bytes of both messages (RFC 9112 section 2.1), the chunk framing left out."""
        request = self.request
        target = request.url.partition("://")[2].partition("/")[2]
        asked = len(f"{request.method} /{target} HTTP/1.1\r\n\r\n") + _header_bytes(request.headers) + request.body_size
        answered = len(f"HTTP/1.1 {self.head.status} {self.head.reason}\r\n\r\n") + _header_bytes(self.head.headers)
        return asked + answered + self.body_bytes


def _header_bytes(headers: HeaderList) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)


def exchange(stream: Stream) -> Exchange:
    """A published stream, with the request it answered where that was published too."""
    provider = PROVIDERS[stream.protocol]
    known = json.loads(stream.sidecar.read_text())["request"]
    body = json.dumps(known["params"] or provider.body, separators=(",", ":"), ensure_ascii=False).encode()
    asked, answered = provider.headers()
    asked = (*asked, ("Content-Length", str(len(body))))
    request = Request("POST", known["url"] or provider.url, asked, body, len(body))
    return Exchange(request, Head(200, "OK", "HTTP/1.1", answered), _EVENT_END.split(stream.path.read_bytes()))
