"""What a torture scenario is: the calls a client makes, the bytes it is answered with, the outcome to be expected.

Values only: `scenarios_wire` and `scenarios_calls` list them, `torture` drives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from tests.loopback import LAST_CHUNK, Answer, Loopback, LoopbackH2, Refused, Step, chunk, head, stream_head
from tests.payloads import ASSISTANT, ASSISTANTS, CHAT, RESPONSES, THREAD, compact, error_body

Protocol = Literal["assistants", "chat", "responses"]
Mode = Literal["sync", "async"]
Leave = Literal["close", "exit", "drop", "raise", "cancel", "deadline"]
REQUEST_ID = "X-Request-Id: req_torture"
#: Seconds a client waits for a silent upstream, and so the longest that a busy machine may hold up what is not silent;
#: all else here is a matter of milliseconds.
STALL = 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call on the client: the method's path, its arguments, and how the answer is consumed.

    `kind`: `stream` iterates events, `value` takes the returned object, `pages` iterates a paginated list, `lines` and
    `bytes` read the body below the SDK's parser. `take`: leave the stream after that many events, in the way `leave`
    says: close it, exit its `with` block, drop the last reference, raise inside the `with` block, cancel the task while
    it waits for the next event, or let a `deadline` pass while it waits (without `take`: for the head). The last two
    exist in async mode only.
    """

    path: str
    arguments: Mapping[str, Any]
    kind: Literal["stream", "value", "pages", "lines", "bytes"] = "stream"
    take: int | None = None
    leave: Leave | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """The outcome that was measured and understood, in both modes; `error` and `cause` are class names without module.

    `requests` counts what the client sent, redirects and retries included; `status` is that of the last response head
    (None: no head came).
    """

    events: int
    error: str | None = None
    cause: str | None = None
    requests: int = 1
    status: int | None = 200


@dataclass(frozen=True, slots=True)
class Scenario:
    """One client, one server script, one expected outcome; deterministic."""

    name: str
    protocol: Protocol
    answers: tuple[Answer, ...]
    expect: Expect
    calls: tuple[Call, ...] = ()
    server: Literal["http1", "http2", "refused"] = "http1"
    client: Literal["httpx2", "httpx"] = "httpx2"
    timeout: float = 30.0
    retries: int = 0
    modes: tuple[Mode, ...] = ("sync", "async")
    notes: str = ""

    def serve(self) -> Loopback | LoopbackH2 | Refused:
        """The upstream of this scenario, not yet started: use `with`."""
        if self.server == "refused":
            return Refused()
        return (LoopbackH2 if self.server == "http2" else Loopback)(self.answers)

    @property
    def abandons(self) -> bool:
        """Whether the client leaves a stream on purpose, so that its recording is an abandoned one."""
        return any(call.leave for call in self.calls)

    @property
    def made_calls(self) -> tuple[Call, ...]:
        """The calls to make: those given, else one stream of the protocol."""
        return self.calls or (STREAM[self.protocol],)


def frozen(**arguments: Any) -> Mapping[str, Any]:
    """Call arguments that cannot change."""
    return MappingProxyType(arguments)


STREAM: Mapping[Protocol, Call] = MappingProxyType(
    {
        "assistants": Call(
            "beta.threads.runs.create",
            frozen(
                thread_id=THREAD, assistant_id=ASSISTANT, max_prompt_tokens=1024, max_completion_tokens=256, stream=True
            ),
        ),
        "chat": Call(
            "chat.completions.create",
            frozen(
                model="gpt-4o",
                messages=[{"role": "user", "content": "Say hello."}],
                max_completion_tokens=256,
                stream=True,
                stream_options={"include_usage": True},
            ),
        ),
        "responses": Call(
            "responses.create", frozen(model="gpt-4o", input="Say hello.", max_output_tokens=256, stream=True)
        ),
    }
)


def without_stream(protocol: Protocol) -> Call:
    """The protocol's default call, answered by one JSON body."""
    call = STREAM[protocol]
    arguments = {name: value for name, value in call.arguments.items() if name not in {"stream", "stream_options"}}
    return replace(call, arguments=frozen(**arguments), kind="value")


def chunked(parts: Iterable[bytes], *lines: str | bytes, end: tuple[Step, ...] = (LAST_CHUNK,)) -> tuple[Step, ...]:
    """A 200 event stream in chunked framing: the head, one chunk and one segment per part, then `end`."""
    return (stream_head(REQUEST_ID, *lines), *(chunk(part) for part in parts), *end)


def answer(status: str, value: object, *lines: str) -> tuple[Step, ...]:
    """A JSON answer with its length; a bytes `value` is sent as it is."""
    body = value if isinstance(value, bytes) else compact(value).encode()
    return (head(status, "Content-Type: application/json", f"Content-Length: {len(body)}", REQUEST_ID, *lines) + body,)


OK: dict[Protocol, tuple[Step, ...]] = {
    "assistants": chunked(ASSISTANTS),
    "chat": chunked(CHAT),
    "responses": chunked(RESPONSES),
}
LIMITED = answer("429 Too Many Requests", error_body("Rate limit reached", "requests", "rate_limit_exceeded"))
PAGE = b"<!doctype html><title>502</title><p>The upstream is away."


@dataclass(slots=True)
class Collection:
    """Scenarios as they are listed; names are unique."""

    scenarios: list[Scenario] = field(default_factory=list)

    def add(self, name: str, protocol: Protocol, answer: Answer, expect: Expect, **options: Any) -> None:
        """List a scenario in which one request comes."""
        self.add_each(name, protocol, (answer,), expect, **options)

    def add_each(
        self, name: str, protocol: Protocol, answers: Sequence[Answer], expect: Expect, **options: Any
    ) -> None:
        """List a scenario in which as many requests come as there are answers."""
        if any(listed.name == name for listed in self.scenarios):
            raise ValueError(f"scenario {name} is listed twice")
        self.scenarios.append(Scenario(name, protocol, tuple(answers), expect, **options))
