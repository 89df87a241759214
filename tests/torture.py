"""Drives a torture scenario with the real openai client and says, as one comparable value, what the caller saw.

`drive` makes the calls of a scenario, synchronously or not, and returns an Outcome; two Outcomes are equal when a
program could not tell the two runs apart. What only the test can know (how often the upstream was asked, whether it
noticed that the client left) rides along and is not compared. Nothing here knows recorder: `instrument` is handed the
client and may wrap it as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import itertools
import json
import re
import time
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests import scenarios_answers, scenarios_calls, scenarios_wire
from tests.loopback import PATIENCE, Act, Loopback, Refused
from tests.scenario import Call, Mode, Scenario

__all__ = ["SCENARIOS", "Head", "Outcome", "Raised", "direct", "drive", "named"]

SCENARIOS: tuple[Scenario, ...] = tuple(
    scenario for module in (scenarios_wire, scenarios_answers, scenarios_calls) for scenario in module.listed.scenarios
)
#: Seconds from the last event that is taken (or from the request, where none is), for calls left by a deadline.
DEADLINE = 0.3
#: Seconds that a client waits for what does come, however slow the machine is; a scenario's own limit is for silence.
COMES = 30.0
LONGEST = 400  # characters of a canonical value kept as they are; longer ones become length and digest

Instrument = Callable[[Any], object]


class Raised(NamedTuple):
    """An exception without its traceback: the class with its module, and the message."""

    kind: str
    message: str

    @property
    def name(self) -> str:
        """The class without its module."""
        return self.kind.rpartition(".")[2]


class Head(NamedTuple):
    """A response head as the HTTP client saw it; headers in order, names in their own case."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the caller of the SDK saw. Ports are taken out of every text, so that runs on different ports compare.

    `events`: type and canonical value of everything yielded or returned. `detail`: the error's body, code, param and
    type. `heads`, `requests`: every exchange the HTTP client made, redirects and retries included.
    Not compared: `deeper` (what the HTTP library chained below the cause: there is no socket in a replay), `upstream`
    (requests that reached the server) and `noticed` (whether the server saw a client that left on purpose; None: the
    client did not, or nobody could know).
    """

    events: tuple[tuple[str, str], ...]
    error: Raised | None
    cause: Raised | None
    detail: str | None
    status: int | None
    request_id: str | None
    heads: tuple[Head, ...]
    requests: int
    deeper: tuple[Raised, ...] = field(default=(), compare=False)
    upstream: int | None = field(default=None, compare=False)
    noticed: bool | None = field(default=None, compare=False)


def named(name: str) -> Scenario:
    """The scenario of that name. Raises KeyError."""
    return {scenario.name: scenario for scenario in SCENARIOS}[name]


def direct(scenario: Scenario, mode: Mode, instrument: Instrument | None = None) -> Outcome:
    """Start the scenario's upstream and drive it."""
    with scenario.serve() as server:
        return drive(scenario, server.url, mode=mode, instrument=instrument, server=server)


def drive(
    scenario: Scenario,
    base_url: str,
    *,
    mode: Mode,
    instrument: Instrument | None = None,
    server: Loopback | Refused | None = None,
) -> Outcome:
    """Make the scenario's calls against `base_url` and return what the caller saw.

    `instrument` gets the openai client before its first call. `server`, where there is one, is asked how many requests
    came and whether it noticed that the client left.
    """
    loopback = server if isinstance(server, Loopback) else None
    seen = _Seen(scenario)
    # The Assistants methods are deprecated; the retry delays are the SDK's own, made short.
    with warnings.catch_warnings(), _quick_retries():
        warnings.simplefilter("ignore", DeprecationWarning)
        if mode == "sync":
            _drive_sync(scenario, base_url, instrument, loopback, seen)
        else:
            asyncio.run(_drive_async(scenario, base_url, instrument, loopback, seen))
    if loopback:
        _until(lambda: len(loopback.requests) >= seen.requests)  # one whose client has given up is read all the same
    return seen.outcome(len(loopback.requests) if loopback else None)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


@contextlib.contextmanager
def _quick_retries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
        patch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.002)
        yield


# -- what was seen ---


class Left(Exception):
    """Raised by a caller who leaves a stream by an exception of its own."""


@dataclass(slots=True)
class _Seen:
    """The notes taken while a scenario runs."""

    scenario: Scenario
    events: list[tuple[str, str]] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    requests: int = 0
    noticed: bool | None = None
    error: Raised | None = None
    cause: Raised | None = None
    detail: str | None = None
    status: int | None = None
    request_id: str | None = None
    deeper: tuple[Raised, ...] = ()

    def event(self, value: object) -> None:
        self.events.append((type(value).__name__, canonical(value)))

    def asked(self, request: Any) -> None:
        """The client is about to send. Only an answer that never begins is waited for as long as the scenario says."""
        answer = self.scenario.answers[self.requests] if self.requests < len(self.scenario.answers) else ()
        silent = not callable(answer) and answer[:1] == (Act.HOLD,)
        limits = request.extensions["timeout"]
        limits |= dict.fromkeys(limits, COMES) | {"read": self.scenario.timeout if silent else COMES}
        self.requests += 1

    def head(self, response: Any) -> None:
        """The answer has begun; what falls silent now is waited for as long as the scenario says."""
        response.request.extensions["timeout"]["read"] = self.scenario.timeout
        version, reason = (response.extensions.get(name, b"") for name in ("http_version", "reason_phrase"))
        headers = tuple((_text(name), _text(value)) for name, value in response.headers.raw)
        self.heads.append(Head(_text(version), response.status_code, _text(reason), headers))
        self.status = response.status_code
        self.request_id = response.headers.get("x-request-id")

    async def asked_async(self, request: object) -> None:
        self.asked(request)

    async def head_async(self, response: Any) -> None:
        self.head(response)

    def failed(self, error: BaseException) -> None:
        """Take down an exception and its chain of causes, then forget it: its traceback keeps the response alive."""
        self.error = _raised(error)
        chain = []
        below = error.__cause__
        while below is not None:
            chain.append(_raised(below))
            below = below.__cause__ or (None if below.__suppress_context__ else below.__context__)
        self.cause, self.deeper = (chain[0] if chain else None), tuple(chain[1:])
        if isinstance(error, openai.APIError):
            facts = {name: getattr(error, name, None) for name in ("body", "code", "param", "type")}
            self.detail = canonical(facts)
            self.status = getattr(error, "status_code", self.status)
            self.request_id = getattr(error, "request_id", self.request_id)

    def outcome(self, upstream: int | None) -> Outcome:
        return Outcome(
            events=tuple(self.events),
            error=self.error,
            cause=self.cause,
            detail=self.detail,
            status=self.status,
            request_id=self.request_id,
            heads=tuple(self.heads),
            requests=self.requests,
            deeper=self.deeper,
            upstream=upstream,
            noticed=self.noticed,
        )


def canonical(value: object) -> str:
    """A value as text that is the same in every run: JSON in the order of the wire; long ones by length and digest."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(warnings=False)
    text = _portless(json.dumps(value, ensure_ascii=True, default=repr))
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… {len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"


def _raised(error: BaseException) -> Raised:
    return Raised(f"{type(error).__module__}.{type(error).__qualname__}", _portless(str(error)))


def _text(value: bytes) -> str:
    return _portless(value.decode("latin-1"))


def _portless(text: str) -> str:
    return re.sub(r"(127\.0\.0\.1|localhost)(:|', )\d+", "HOST", text)


# -- sync ---


def _drive_sync(
    scenario: Scenario, base_url: str, instrument: Instrument | None, server: Loopback | None, seen: _Seen
) -> None:
    http2 = scenario.server == "http2"
    factory: Any = (
        openai.DefaultHttpxClient if scenario.client == "httpx2" else partial(httpx.Client, follow_redirects=True)
    )
    http = factory(trust_env=False, verify=False, http1=not http2, http2=http2)
    http.event_hooks = {"request": [seen.asked], "response": [seen.head]}
    with openai.OpenAI(
        api_key="sk-torture",
        base_url=base_url,
        http_client=http,
        timeout=scenario.timeout,
        max_retries=scenario.retries,
    ) as client:
        if instrument:
            instrument(client)
        for call in scenario.made_calls:
            try:
                _call(client, call, seen)
            except Exception as error:
                seen.failed(error)
            if call.leave == "drop":
                gc.collect()
            if call.leave and server and not http2:
                seen.noticed = server.wait_gone()
            if seen.error:
                break


def _method(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


def _call(client: Any, call: Call, seen: _Seen) -> None:
    answer = _method(client, call.path)
    if call.kind == "value":
        seen.event(answer(**call.arguments))
    elif call.kind == "pages":
        for item in answer(**call.arguments):
            seen.event(item)
    elif call.kind == "bytes":
        seen.event(answer(**call.arguments).content)
    elif call.kind == "lines":
        with answer(**call.arguments) as response:
            for line in response.iter_lines():
                seen.event(line)
    else:
        _stream(answer(**call.arguments), call, seen)


def _stream(stream: Any, call: Call, seen: _Seen) -> None:
    if call.leave in {"exit", "raise"}:
        with stream:
            _take(stream, call, seen)
            if call.leave == "raise":
                raise Left("the caller's own exception")
        return
    _take(stream, call, seen)
    if call.leave == "close":
        stream.close()


def _take(stream: Iterable[object], call: Call, seen: _Seen) -> None:
    for number, event in enumerate(stream, 1):
        seen.event(event)
        if number == call.take:
            break


# -- async ---


async def _drive_async(
    scenario: Scenario, base_url: str, instrument: Instrument | None, server: Loopback | None, seen: _Seen
) -> None:
    http2 = scenario.server == "http2"
    factory: Any = (
        openai.DefaultAsyncHttpxClient
        if scenario.client == "httpx2"
        else partial(httpx.AsyncClient, follow_redirects=True)
    )
    http = factory(trust_env=False, verify=False, http1=not http2, http2=http2)
    http.event_hooks = {"request": [seen.asked_async], "response": [seen.head_async]}
    async with openai.AsyncOpenAI(
        api_key="sk-torture",
        base_url=base_url,
        http_client=http,
        timeout=scenario.timeout,
        max_retries=scenario.retries,
    ) as client:
        if instrument:
            instrument(client)
        for call in scenario.made_calls:
            try:
                await _left_or_finished(client, call, seen, server)
            except (Exception, asyncio.CancelledError) as error:
                seen.failed(error)
            if call.leave == "drop":
                await _forget(server)
            if call.leave and server and not http2:
                seen.noticed = await asyncio.to_thread(server.wait_gone)
            if seen.error:
                break


async def _forget(server: Loopback | None) -> None:
    """Let the garbage collector find dropped generators: each one it closes lets go of the next."""
    deadline = time.monotonic() + PATIENCE
    for number in itertools.count(1):
        gc.collect()
        await asyncio.sleep(0.01)
        if number >= 4 and (server is None or server.wait_gone(0) or time.monotonic() > deadline):
            return


async def _left_or_finished(client: Any, call: Call, seen: _Seen, server: Loopback | None) -> None:
    if call.leave == "deadline":
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(None) as limit:

            def count_down() -> None:
                limit.reschedule(clock() + DEADLINE)

            waits = asyncio.create_task(_when_asked(seen, server, count_down)) if call.take is None else None
            try:
                await _call_async(client, call, seen, count_down)
            finally:
                if waits:
                    waits.cancel()
    elif call.leave == "cancel":
        reached = asyncio.Event()
        task = asyncio.create_task(_call_async(client, call, seen, reached.set))
        await reached.wait()
        task.cancel()
        await task
    else:
        await _call_async(client, call, seen)


async def _when_asked(seen: _Seen, server: Loopback | None, reached: Callable[[], None]) -> None:
    """Say so once the request is there: with the server, where there is one."""

    def count() -> int:
        return len(server.requests) if server else seen.requests

    before = count()
    while count() == before:
        await asyncio.sleep(0.005)
    reached()


async def _call_async(client: Any, call: Call, seen: _Seen, reached: Callable[[], None] | None = None) -> None:
    answer = _method(client, call.path)
    if call.kind == "value":
        seen.event(await answer(**call.arguments))
    elif call.kind == "pages":
        async for item in answer(**call.arguments):
            seen.event(item)
    elif call.kind == "bytes":
        seen.event((await answer(**call.arguments)).content)
    elif call.kind == "lines":
        async with answer(**call.arguments) as response:
            async for line in response.iter_lines():
                seen.event(line)
    else:
        await _stream_async(await answer(**call.arguments), call, seen, reached)


async def _stream_async(stream: Any, call: Call, seen: _Seen, reached: Callable[[], None] | None) -> None:
    if call.leave in {"exit", "raise"}:
        async with stream:
            await _take_async(stream, call, seen, reached)
            if call.leave == "raise":
                raise Left("the caller's own exception")
        return
    await _take_async(stream, call, seen, reached)
    if call.leave == "close":
        await stream.close()


async def _take_async(
    stream: AsyncIterable[object], call: Call, seen: _Seen, reached: Callable[[], None] | None
) -> None:
    taken = 0
    async for event in stream:
        seen.event(event)
        taken += 1
        if taken == call.take:
            if reached is None:
                break
            reached()  # and wait for an event that never comes: the cancellation finds the task reading
