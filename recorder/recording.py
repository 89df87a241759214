"""The values everything else passes around: Request, Event, Recording, Reading, Run. Frozen, and without any I/O.

This module refuses to know how a value came about (capture), where it is kept (store) and what it means to a
provider (dialects). Identity lives here too: a recording is named by a UUIDv7 that its writer makes.

Units, everywhere: times of day are integer microseconds since 1970-01-01 UTC; spans are integer microseconds;
sizes are bytes. What is unknown is None, never 0.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from .decode import codings

__all__ = [
    "ASIDE",
    "POLLS",
    "Captured",
    "Ending",
    "Erasure",
    "Event",
    "Head",
    "HeaderList",
    "Kind",
    "Reading",
    "Recording",
    "Request",
    "Row",
    "Run",
    "Spoken",
    "Status",
    "StopReason",
    "StoredReading",
    "Transport",
    "UsageQuality",
    "storable",
    "uuid7",
]

#: Actions that only look at a run: how often a client polls says nothing about the run.
POLLS: Final = frozenset({"retrieve", "steps", "step"})
#: Actions that look at a run, or change what it is called or whether it goes on, while its answer streams elsewhere.
ASIDE: Final = POLLS | {"cancel", "modify"}

#: Headers in the order and spelling of the wire; bytes above 0x7F are decoded as latin-1 (RFC 9110 section 5.5),
#: which maps every byte to one character and back.
HeaderList = tuple[tuple[str, str], ...]

#: An Event as the store takes it: the columns of table `events` in order, the recording's id as 16 bytes first.
#: (recording_id, position, kind, elapsed_us, type, data, raw, size, cuts)
Row = tuple[bytes, int, str, int, str | None, bytes | None, bytes | None, int, bytes | None]


class Kind(StrEnum):
    """What an event row holds. Their order in a recording: info* head? (wire | sse | body)* end?"""

    INFO = "info"
    HEAD = "head"
    SSE = "sse"
    WIRE = "wire"
    BODY = "body"
    END = "end"


class Transport(StrEnum):
    """How the transport ended: the first of the two axes. What the protocol said is in the Reading."""

    EOF = "eof"  # the response was read to its end
    CLIENT_CLOSED = "client_closed"  # the client left first: close(), break, cancellation, or after [DONE]
    RESET = "reset"  # the connection was reset or failed while reading or writing
    PROTOCOL_ERROR = "protocol_error"  # the peer broke HTTP: early end, bad chunk, HTTP/2 stream reset
    TIMEOUT = "timeout"  # the client's own timeout fired
    CONNECT_ERROR = "connect_error"  # no connection: refused, DNS, TLS, proxy
    ERROR = "error"  # any other exception below the client; its class is in the end event
    INTERRUPTED = "interrupted"  # the writer died; recovery closed the recording


class Captured(StrEnum):
    """Whether capture saw the exchange whole."""

    FULL = "full"
    TRUNCATED = "truncated"  # queue overflow, store outage, size cap, tunnel, dead writer: a prefix is stored


class Status(StrEnum):
    """What became of a run, in the neutral vocabulary."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    REQUIRES_ACTION = "requires_action"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    IN_PROGRESS = "in_progress"
    UNKNOWN = "unknown"


class StopReason(StrEnum):
    """Why a run stopped, in the neutral vocabulary. None stands for: nothing said."""

    STOP = "stop"
    OUTPUT_LIMIT = "output_limit"
    INPUT_LIMIT = "input_limit"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    PAUSED = "paused"
    ERROR = "error"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UsageQuality(StrEnum):
    """Where a reading's token counts come from. Counts that nobody stated are None, whatever the quality."""

    REPORTED = "reported"  # the provider's final figures
    PARTIAL = "partial"  # the provider's figures up to some point of a stream that was cut
    ESTIMATED = "estimated"  # none stated; what was seen gives bounds (facts `usage_bounds`)
    MISSING = "missing"  # none stated, and nothing was seen that could bound them


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the parameter set as sent.

    `body` is None when it was not kept: above the size limit, withheld by the content setting, or erased;
    `body_size` is its length all the same, and `body_sha256` names an oversize body.
    """

    method: str
    url: str
    headers: HeaderList = ()
    body: bytes | None = b""
    body_size: int = 0
    body_sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A status line and its headers: of the response, or of a 1xx answer before it."""

    status: int
    reason: str = ""
    http_version: str = "HTTP/1.1"
    headers: HeaderList = ()

    def to_json(self) -> bytes:
        """The payload of a `head` or `info` event: ASCII JSON, header names and values as latin-1 text."""
        value = {"http": self.http_version, "status": self.status, "reason": self.reason, "headers": self.headers}
        return json.dumps(value, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Head:
        value = json.loads(data)
        headers = tuple((name, content) for name, content in value["headers"])
        return cls(value["status"], value["reason"], value["http"], headers)

    def get(self, name: str) -> str | None:
        """The first header of that name, whatever its case; None where there is none."""
        wanted = name.lower()
        return next((content for header, content in self.headers if header.lower() == wanted), None)

    @property
    def content_encoding(self) -> str | None:
        """The content codings in the order they were applied, from all such headers (RFC 9110 section 5.3).

        None where there are none, or none but what leaves a body as it is (`identity`).
        """
        lines = ",".join(content for header, content in self.headers if header.lower() == "content-encoding")
        return ", ".join(codings(lines)) or None


class Event(NamedTuple):
    """One thing that happened in a recording, at a position and an elapsed time.

    `data` is the payload exactly (None when the frame is kept whole in `raw`, or erased); `size` is the length on
    the wire (payloads may be gone, lengths stay); `cuts` says how the network delivered it (see `recorder.cuts`).
    """

    position: int
    kind: str
    elapsed_us: int
    type: str | None = None
    data: bytes | None = None
    raw: bytes | None = None
    size: int = 0
    cuts: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a recording ended, and the digests that seal it.

    `events` counts the rows before `end`; `wire_bytes` is the length of the body as the network delivered it;
    `head_us` is the time to the response's headers. `detail` is what the `end` event's payload adds:
    trailers, the exception's class, message and causes, the reason for a truncated capture.
    """

    ending: str
    captured: str
    elapsed_us: int
    events: int
    wire_bytes: int
    http_status: int | None = None
    head_us: int | None = None
    facts_digest: bytes | None = None
    payload_digest: bytes | None = None
    seal: bytes | None = None
    detail: Mapping[str, Any] = field(default_factory=_empty)

    @property
    def wire_withheld(self) -> bool:
        """Whether the undecoded bytes of a coded body are not there, because they hold what is redacted."""
        told = self.detail.get("redacted")
        return isinstance(told, Mapping) and told.get("wire") == "withheld"


class Erasure(NamedTuple):
    """That content was erased on purpose: when (microseconds UTC), by whom, why; None for a user who may not know."""

    erased_at: int
    erased_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One Request and the stream of Events that answered it: one HTTP exchange. `ending` is None while it runs.

    `erasures`, the oldest first, say that its content was erased. `withheld`: its content is there, and kept from the
    user who read it from the store (see `recorder.store.roles`).
    """

    recording_id: UUID
    started_at: int
    writer: UUID
    dialect: str
    origin: str
    request: Request
    salt: bytes | None = None
    match_key: bytes | None = None
    match_rule: str | None = None
    content: str = "full"
    weight: float = 1.0
    session: str | None = None
    trace: str | None = None
    call: UUID | None = None
    tags: Mapping[str, str] = field(default_factory=_empty)
    parameters: Mapping[str, Any] = field(default_factory=_empty)
    ending: Ending | None = None
    erasures: tuple[Erasure, ...] = ()
    withheld: bool = False

    @property
    def missing(self) -> str:
        """Why its content is not there, where it is not, as a clause."""
        if self.content != "full":
            return f"it was recorded with content={self.content}"
        if self.erasures:
            return "it was erased"
        return "this user may see facts alone" if self.withheld else "it is gone, and no erasure is on record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One text that an answer spelled out: what it said, how it thought, or what it called a tool with.

    `kind` is "text", "refusal", "reasoning", "arguments" (JSON that a tool is called with; `name` is the tool's) or
    "input" (what a tool gets that is no JSON: a program, a command, a diff). `ended` tells whether its own
    end was seen. Piece i begins at the character `offsets[i]` of `text` and came with the event at `positions[i]`,
    `times[i]` microseconds after the request; an answer that is no stream has one piece, and no times.
    """

    kind: str
    text: str
    name: str | None = None
    ended: bool = True
    offsets: Sequence[int] = ()
    positions: Sequence[int] = ()
    times: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a Dialect made of a Recording. A projection: always derivable again from the recording.

    `action` is what the request does to its run (`create`, `submit_tool_outputs`, `retrieve`, `cancel`, ...).
    `is_run` is False for an exchange that is part of no run: adding a message to a thread, making an assistant.
    `provider_run_id` is the provider's own id; `opens_run` is False for a continuation (tool outputs, a poll, a
    cancel), which then takes the run of the newest earlier opener. `previous_response_id` and `thread_id` link runs,
    which they do not merge. `complete` is None where the dialect cannot tell.

    `parameters` is the request's parameter set as sent: a name that is absent was absent, None was null.

    Tokens: `input_tokens` and `output_tokens` are all of either side; the buckets are disjoint. Input is
    `uncached_tokens` + `cached_tokens` (read from a cache) + what was written to one, by the life it was given
    (`cache_write_5m_tokens`, `cache_write_1h_tokens`, or `cache_write_tokens` where none was stated). Output is
    `visible_tokens` + `reasoning_tokens`. A bucket is None where the provider did not say enough to tell.

    `facts` carries what is not hot: raw values with the position of the event that each came from. `spoken` is what
    the detectors look through; it is never stored.
    """

    dialect: str
    action: str | None = None
    is_run: bool = True
    status: str = Status.UNKNOWN
    stop_reason: str | None = None
    stop_reason_raw: str | None = None
    complete: bool | None = None
    provider_run_id: str | None = None
    request_id: str | None = None
    opens_run: bool = True
    continues: str | None = None
    previous_response_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    parameters: Mapping[str, Any] | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: str | None = None
    response_format: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    uncached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    visible_tokens: int | None = None
    usage_quality: str | None = None
    ttft_us: int | None = None
    ttft_visible_us: int | None = None
    longest_gap_us: int | None = None
    stalls: int | None = None
    stalled_us: int | None = None
    text_chars: int | None = None
    blank_chars: int | None = None
    json_valid: bool | None = None
    json_damage: str | None = None
    text: str | None = None
    group: str | None = None
    metadata: Mapping[str, Any] | None = None
    flags: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=_empty)
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReading:
    """A Reading as the store takes it: whose it is, the run it belongs to, which reader made it, and when.

    `run_id` is the recording that opened the run (the recording itself where it opened one). `reader_version` is
    at least 1; the store itself writes 0 for a reading that is due.
    """

    recording_id: UUID
    run_id: UUID
    reader_version: int
    read_at: int
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the recordings of one provider run amounted to: one row of the view `runs`.

    `recordings` leaves out the `duplicates`: second records of an exchange, made by a proxy that it went through.
    `streamed_us` is the time that its answers took, `waited_us` the time between them that it waited for tool outputs.
    """

    run_id: UUID
    recordings: int
    dialect: str
    provider_run_id: str | None
    assistant_id: str | None
    thread_id: str | None
    started_at: int
    model: str | None
    service_tier: str | None
    status: str
    stop_reason: str | None
    stop_reason_raw: str | None
    ending: str | None
    complete: bool | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    truncation_strategy: str | None
    cost_usd: str | None
    events: int | None
    bytes: int | None
    ttft_us: int | None
    duration_us: int | None
    tags: Mapping[str, str]
    metadata: Mapping[str, Any] | None
    group: str | None
    flags: tuple[str, ...]
    duplicates: int | None = None
    waited_us: int | None = None
    streamed_us: int | None = None


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text as every database takes it: NUL and lone surrogates become U+FFFD (payload bytes never pass here)."""
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


class _Clock:
    """Hands out strictly increasing UUIDv7 time-and-counter values within this process."""

    __slots__ = ("last", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0

    def tick(self) -> int:
        """Milliseconds since the epoch in the high bits, a 12-bit counter in the low ones; never the same twice."""
        with self.lock:
            self.last = max((time.time_ns() // 1_000_000) << 12, self.last + 1)
            return self.last


_CLOCK = _Clock()


def _after_fork() -> None:
    # The lock may have been held by a thread that does not exist in the child.
    _CLOCK.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def uuid7() -> UUID:
    """A new UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, a 12-bit counter, 62 random bits.

    Ids made in one process sort in the order they were made, also within a millisecond and when the clock
    steps back.
    """
    tick = _CLOCK.tick()
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | random)
