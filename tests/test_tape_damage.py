"""Faults in process: what a client meets, that nothing is used up by them, and that the run says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

import recorder
from recorder.errors import ReplayMiss, UsageError
from recorder.tape import TapeError

if TYPE_CHECKING:
    from tests.plugged import Provider

pytest_plugins = ["tests.plugged"]

BODY: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def tape(tmp_path: Path, provider: Provider) -> Callable[..., Any]:
    """A tape of one stream of five events, with a fault."""
    path = tmp_path / "one.jsonl"
    with recorder.replaying(path, mode="record"):
        fetch(provider)
    return lambda fault, **options: recorder.replaying(path, fault=fault, **options)


def fetch(provider: Provider) -> tuple[httpx.Response, list[bytes], Exception | None]:
    """The answer as far as it came, and what cut it short."""
    chunks: list[bytes] = []
    with httpx.Client() as client:
        asked = client.build_request("POST", f"{provider.origin}/v1/chat/completions", json=BODY)
        response = client.send(asked, stream=True)
        try:
            chunks += response.iter_raw()
        except httpx.HTTPError as error:
            return response, chunks, error
        finally:
            response.close()
    return response, chunks, None


@pytest.mark.parametrize(
    ("fault", "kind", "events"),
    [
        ("cut@event=2", httpx.RemoteProtocolError, 2),
        ("reset@event=3", httpx.ReadError, 3),
        ("stall@event=1", httpx.ReadTimeout, 1),
        ("cut@event=0", httpx.RemoteProtocolError, 0),
    ],
)
def test_a_stream_breaks_where_it_is_to_break(
    tape: Callable[..., Any], provider: Provider, fault: str, kind: type[Exception], events: int
) -> None:
    """The client gets the events before it, then the library's own exception; the run is not complete."""
    with tape(fault, unused="ignore") as taken:
        response, chunks, error = fetch(provider)
        run = taken.run
    assert (response.status_code, b"".join(chunks).count(b"\n\n"), type(error)) == (200, events, kind)
    assert run.complete is not True
    assert (run.text or "") == {0: "", 1: "", 2: "Hello", 3: "Hellothere"}[events]


@pytest.mark.parametrize(
    ("fault", "kind"), [("cut", httpx.RemoteProtocolError), ("reset", httpx.ReadError), ("stall", httpx.ReadTimeout)]
)
def test_a_fault_without_a_place_comes_before_the_head(
    tape: Callable[..., Any], provider: Provider, fault: str, kind: type[Exception]
) -> None:
    with tape(fault), pytest.raises(kind):
        fetch(provider)


def test_a_status_is_an_answer_of_its_own_and_uses_up_nothing(tape: Callable[..., Any], provider: Provider) -> None:
    """An SDK that tries again gets the recording; both attempts are told."""
    with tape("status=429@request=1:0.01s") as taken:
        client = openai.OpenAI(max_retries=1)
        stream: Any = client.chat.completions.create(**BODY)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hellothere"
        assert [run.status for run in taken.runs] == ["failed", "completed"]
    with tape("status=503:1.5s") as taken:
        response, chunks, _ = fetch(provider)
    assert response.status_code == 503
    told = {name: value for name, value in response.headers.items() if name.startswith("retry-after")}
    assert told == {"retry-after": "2", "retry-after-ms": "1500"}  # as the server says it
    assert json.loads(b"".join(chunks))["error"]["type"] == "injected_fault"


def test_a_malformed_event_is_no_json_and_all_others_are(tape: Callable[..., Any], provider: Provider) -> None:
    with tape("malformed@event=2"):
        _, chunks, _ = fetch(provider)
    payloads = [line.removeprefix(b"data: ") for line in b"".join(chunks).splitlines() if line]
    bad = []
    for number, payload in enumerate(payloads[:-1], 1):
        try:
            json.loads(payload)
        except ValueError:
            bad.append(number)
    assert bad == [2]


def test_a_stall_with_a_time_delays_and_changes_nothing(tape: Callable[..., Any], provider: Provider) -> None:
    with tape("stall@event=2:10ms"):
        _, chunks, error = fetch(provider)
    with tape(()):
        assert (b"".join(chunks), error) == (b"".join(fetch(provider)[1]), None)


def test_asynchronous_clients_meet_the_same(tape: Callable[..., Any], provider: Provider) -> None:
    async def broken() -> int:
        async with httpx.AsyncClient() as client:
            got = b""
            with pytest.raises(httpx.RemoteProtocolError):
                async with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=BODY) as response:
                    async for chunk in response.aiter_raw():
                        got += chunk
            return got.count(b"\n\n")

    with tape("cut@event=3"):
        assert asyncio.run(broken()) == 3


def test_a_fault_that_never_happens_fails(tape: Callable[..., Any], provider: Provider) -> None:
    with pytest.raises(TapeError, match="the fault cut@event=99 never happened"), tape("cut@event=99"):
        fetch(provider)


def test_what_goes_wrong_on_purpose_is_never_recorded(tmp_path: Path, tape: Any, provider: Provider) -> None:
    """In every mode it is replayed, and there must be something to replay."""
    with tape("cut@event=2", mode="record") as taken:
        assert (taken.mode, taken.is_recording) == ("replay", False)
        assert isinstance(fetch(provider)[2], httpx.RemoteProtocolError)
    none = recorder.replaying(tmp_path / "none.jsonl", fault="cut@event=2", mode="once")
    with pytest.raises(TapeError, match="a test with a fault is only replayed"), none, pytest.raises(ReplayMiss):
        fetch(provider)
    assert len(provider.asked) == 1


def test_a_fault_that_is_none_is_refused(tape: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="fault 'explode' is none"), tape("explode"):
        pass
