"""A tape in plain code: what record and replay must do for a test, one need after the other.

The needs are those that users of older tools ask for: concurrency, order, repeats, cuts, failures, and no wrong answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
import requests

import recorder
from recorder import exchange, reader
from recorder.demo.upstream import ASSISTANTS, upstream
from recorder.errors import ReplayMiss, UsageError
from recorder.replay import Miss
from recorder.tape import Options, Tape, TapeError
from tests.needs import ROOT
from tests.plugged import chat

if TYPE_CHECKING:
    from tests.plugged import Provider

pytest_plugins = ["tests.plugged"]

#: Seconds that a client or a wait may take: never to be reached, and above what a busy machine may need.
PATIENCE = 30.0


def body(prompt: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1-mini", "stream": True, "messages": [{"role": "user", "content": prompt}], **more}


def post(provider: Provider, asked: dict[str, Any], **options: Any) -> bytes:
    """What an httpx client gets."""
    with httpx.Client(timeout=PATIENCE) as client:
        return client.post(f"{provider.origin}/v1/chat/completions", json=asked, **options).content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a tape that does not exist yet."""
    return tmp_path / "tapes" / "one.jsonl"


# -- which answer ------------------------------------------------------------------------------------------------------


def test_concurrent_identical_requests_each_get_an_answer_of_their_own(path: Path, provider: Provider) -> None:
    """Eight at once, as recorded at once: no answer twice, none missing."""
    provider.say = [f"answer {number}" for number in range(8)]
    with recorder.replaying(path, mode="record"), ThreadPoolExecutor(8) as pool:
        recorded = list(pool.map(lambda _: post(provider, body()), range(8)))
    with recorder.replaying(path), ThreadPoolExecutor(8) as pool:
        replayed = list(pool.map(lambda _: post(provider, body()), range(8)))
    assert len(set(recorded)) == 8
    assert sorted(replayed) == sorted(recorded)
    assert len(provider.asked) == 8


def test_different_requests_in_reverse_order_get_their_own_answers(path: Path, provider: Provider) -> None:
    provider.answer = lambda asked: [json.dumps(asked["messages"]).encode()]
    prompts = [f"question {number}" for number in range(8)]
    with recorder.replaying(path, mode="record"), ThreadPoolExecutor(8) as pool:
        recorded = dict(zip(prompts, pool.map(lambda prompt: post(provider, body(prompt)), prompts), strict=True))
    with recorder.replaying(path):
        replayed = {prompt: post(provider, body(prompt)) for prompt in reversed(prompts)}
    assert replayed == recorded


def test_repeats_come_in_recorded_order_and_then_as_the_tape_is_told(path: Path, provider: Provider) -> None:
    provider.say = ["one", "two"]
    with recorder.replaying(path, mode="record"):
        one, two = post(provider, body()), post(provider, body())
    assert one != two
    for repeat, third in (("last", two), ("cycle", one)):
        with recorder.replaying(path, repeat=repeat):
            assert [post(provider, body()) for _ in range(3)] == [one, two, third]
    with pytest.raises(TapeError, match="it was recorded 2 times and replayed as often"), recorder.replaying(path):
        post(provider, body())
        post(provider, body())
        with pytest.raises(ReplayMiss):
            post(provider, body())


def test_a_run_that_is_asked_for_twice_has_its_own_answers_each_time(path: Path, provider: Provider) -> None:
    """Six calls, three different ones: runs, tool outputs and chats, each repeated word for word."""
    provider.say = [f"answer {number}" for number in range(6)]
    run, outputs, chats = "threads/t/runs", "threads/t/runs/run_1/submit_tool_outputs", "chat/completions"
    bodies: dict[str, dict[str, Any]] = {
        run: {"assistant_id": "asst_1", "stream": True},
        outputs: {"tool_outputs": [{"tool_call_id": "c", "output": "shipped"}], "stream": True},
        chats: body(),
    }

    def calls() -> list[bytes]:
        with httpx.Client(timeout=PATIENCE) as client:
            asked = (run, outputs, chats, run, outputs, chats)
            return [client.post(f"{provider.origin}/v1/{name}", json=bodies[name]).content for name in asked]

    with recorder.replaying(path, mode="record"):
        recorded = calls()
    with recorder.replaying(path):
        assert calls() == recorded
    assert len(set(recorded)) == 6


def test_the_tapes_server_and_its_clients_share_the_repeats(path: Path, provider: Provider) -> None:
    """One test, one file: what a client has had, a subprocess does not get again."""
    provider.say = ["one", "two"]
    with recorder.replaying(path, mode="record"):
        one, two = post(provider, body()), post(provider, body())
    with recorder.replaying(path) as tape, httpx.Client(timeout=PATIENCE) as other:
        assert post(provider, body()) == one
        assert other.post(f"{tape.env['OPENAI_BASE_URL']}/chat/completions", json=body()).content == two


def test_key_order_and_headers_do_not_count_and_values_do(path: Path, provider: Provider) -> None:
    with recorder.replaying(path, mode="record"):
        recorded = post(provider, body(temperature=0.2))
    turned = dict(reversed(body(temperature=0.2).items()))
    with recorder.replaying(path):
        assert post(provider, turned, headers={"x-trace": "another"}) == recorded
    with pytest.raises(TapeError, match=r"body\.temperature: wanted 0\.7, stored 0\.2"), recorder.replaying(path):
        with pytest.raises(ReplayMiss):
            post(provider, body(temperature=0.7))
    assert len(provider.asked) == 1


def test_what_is_to_be_ignored_does_not_count(path: Path, provider: Provider) -> None:
    """Also where the recording was made before anybody said so."""
    with recorder.replaying(path, mode="record"):
        post(provider, body(user="a", metadata={"at": "2026-01-02"}))
    with recorder.replaying(path, ignore=["body.user"], normalise=["dates"]):
        post(provider, body(user="b", metadata={"at": "2026-11-12"}))


# -- how it comes ------------------------------------------------------------------------------------------------------


def test_what_is_recorded_streams_while_it_is_recorded(path: Path, provider: Provider) -> None:
    """The first chunk is there before the provider makes the second."""
    seen = threading.Event()

    def pieces(asked: object) -> Any:
        yield b"data: 1\n\n"
        assert seen.wait(PATIENCE)
        yield b"data: 2\n\n"

    provider.answer = pieces
    with recorder.replaying(path, mode="record"), httpx.Client(timeout=PATIENCE) as client:
        with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=body()) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"data: 1\n\n"
            seen.set()
            assert list(chunks) == [b"data: 2\n\n"]


def test_eight_calls_are_recorded_at_once(path: Path, provider: Provider) -> None:
    """None waits for another to be recorded: the provider answers when all eight are there."""
    there = threading.Barrier(8, timeout=PATIENCE)

    def pieces(asked: object) -> Any:
        there.wait()
        yield b"data: 1\n\n"

    provider.answer = pieces
    with recorder.replaying(path, mode="record") as tape, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: post(provider, body(str(number))), range(8))) == {b"data: 1\n\n"}
        assert len(tape.runs) == 8


READS: dict[str, Any] = {
    "iter_raw": lambda response: b"".join(response.iter_raw()),
    "iter_bytes": lambda response: b"".join(response.iter_bytes(7)),
    "iter_lines": lambda response: "\n".join(response.iter_lines()).encode() + b"\n",
    "iter_text": lambda response: "".join(response.iter_text()).encode(),
    "read": lambda response: response.read(),
}


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("read", READS)
def test_a_body_can_be_read_in_every_way(path: Path, provider: Provider, module: Any, read: str) -> None:
    """While it is recorded and when it is replayed alike."""

    def call() -> bytes:
        with module.Client(timeout=PATIENCE) as client:
            with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=body()) as response:
                answer: bytes = READS[read](response)
                return answer

    with recorder.replaying(path, mode="record"):
        recorded = call()
    with recorder.replaying(path):
        assert call() == recorded
    assert recorded.rstrip() == b"".join(chat("Hello there")).rstrip()


def chunks_of(provider: Provider) -> list[bytes]:
    with httpx.Client(timeout=PATIENCE) as client:
        with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=body()) as response:
            return list(response.iter_raw())


def test_chunks_come_as_the_network_cut_them_or_as_the_test_wants(path: Path, provider: Provider) -> None:
    """In pieces of 37 bytes, across events; or cut anew by a seed: the same bytes at other places."""
    whole = b"".join(b'data: {"number": %d}\n\n' % number for number in range(20))
    provider.answer = [whole[start : start + 37] for start in range(0, len(whole), 37)]
    with recorder.replaying(path, mode="record"):
        recorded = chunks_of(provider)
    assert {len(chunk) for chunk in recorded[:-1]} == {37}
    with recorder.replaying(path):
        assert chunks_of(provider) == recorded
    with recorder.replaying(path, chunks="seed:7"):
        cut = chunks_of(provider)
    assert cut != recorded
    assert b"".join(cut) == whole


def test_a_stream_that_died_dies_again_at_the_same_byte(path: Path, provider: Provider) -> None:
    """With the same exception, behind the same events."""
    provider.answer = [b"data: 1\n\n", b"data: 2\n\n", 0.05, ConnectionResetError()]
    seen = []
    for mode in ("record", "replay"):
        got: list[bytes] = []
        with recorder.replaying(path, mode=mode), httpx.Client(timeout=PATIENCE) as client:
            with pytest.raises(httpx.HTTPError) as raised:
                with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=body()) as response:
                    got += response.iter_raw()
        seen.append((b"".join(got), type(raised.value), str(raised.value)))
    assert seen[0] == seen[1]
    assert seen[0][1] is httpx.ReadError
    assert seen[0][0] == b"data: 1\n\ndata: 2\n\n"


def test_a_client_that_leaves_leaves_again(path: Path, provider: Provider) -> None:
    """Who reads on where the recording's client left gets an error, not a clean end."""
    provider.answer = [b"data: 1\n\n", b"data: 2\n\n", 0.3, b"data: 3\n\n"]

    def leave(after: int) -> list[bytes]:
        got = []
        with httpx.Client(timeout=PATIENCE) as client:
            with client.stream("POST", f"{provider.origin}/v1/chat/completions", json=body()) as response:
                for chunk in response.iter_raw():
                    got.append(chunk)
                    if len(got) == after:
                        break
        return got

    with recorder.replaying(path, mode="record"):
        recorded = leave(1)
    with recorder.replaying(path):
        assert leave(1) == recorded
    with recorder.replaying(path), pytest.raises(httpx.ReadError, match="goes no further: its client left here"):
        leave(9)


# -- whose calls -------------------------------------------------------------------------------------------------------


async def _aiohttp(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(url, json=body()) as response:
        return await response.read()


async def _httpx_async(module: Any, url: str) -> bytes:
    async with module.AsyncClient(timeout=PATIENCE) as client:
        answer: bytes = (await client.post(url, json=body())).content
        return answer


CALLS: dict[str, Any] = {
    "httpx": lambda url: httpx.post(url, json=body(), timeout=PATIENCE).content,
    "httpx2": lambda url: httpx2.post(url, json=body(), timeout=PATIENCE).content,
    "httpx-async": lambda url: asyncio.run(_httpx_async(httpx, url)),
    "httpx2-async": lambda url: asyncio.run(_httpx_async(httpx2, url)),
    "requests": lambda url: requests.post(url, json=body(), timeout=PATIENCE).content,
    "aiohttp": lambda url: asyncio.run(_aiohttp(url)),
}


@pytest.mark.parametrize("library", CALLS)
def test_clients_that_nobody_passes_in_are_taken(path: Path, provider: Provider, library: str) -> None:
    """Made deep in an application, by whichever of the libraries: recorded, then answered without a network."""
    url = f"{provider.origin}/v1/chat/completions"
    with recorder.replaying(path, mode="record") as tape:
        recorded = CALLS[library](url)
        assert tape.run.text == "Hellothere"
    with recorder.replaying(path) as tape:
        assert CALLS[library](url) == recorded
        assert tape.run.text == "Hellothere"
        assert (tape.run.first_token_us or 0) > 0
    assert len(provider.asked) == 1


def test_the_sdks_get_the_same_objects(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(base: str) -> list[str]:
        one = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        two = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0)
        asked: Any = [{"role": "user", "content": "Hello"}]
        with one, two:
            return [
                *map(repr, one.responses.create(model="gpt-5-mini", input="Hello", stream=True)),
                repr(one.chat.completions.create(model="gpt-4.1-mini", messages=asked)),
                *map(repr, two.messages.create(model="claude", max_tokens=64, messages=asked, stream=True)),
            ]

    with upstream(0) as base:
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        with recorder.replaying(path, mode="record"):
            recorded = calls(base)
    with recorder.replaying(path) as tape:
        assert calls(base) == recorded
        assert [run.dialect for run in tape.runs] == ["responses", "chat", "messages"]


def test_an_assistants_run_is_one_run_over_its_exchanges(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asked tools for, and how it went on with their outputs."""

    def calls(base: str) -> None:
        with httpx2.Client(base_url=base, timeout=PATIENCE) as client:
            begun = client.post(
                "/v1/threads/thread_1/runs", json={"assistant_id": ASSISTANTS["order-desk"], "stream": True}
            ).text
            run = next(line for line in begun.splitlines() if '"object":"thread.run"' in line)
            run_id = json.loads(run.removeprefix("data: "))["id"]
            outputs = {"tool_outputs": [{"tool_call_id": "c", "output": "shipped"}], "stream": True}
            client.post(f"/v1/threads/thread_1/runs/{run_id}/submit_tool_outputs", json=outputs).read()

    with upstream(0) as base:
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        with recorder.replaying(path, mode="record"):
            calls(base)
    with recorder.replaying(path) as tape:
        calls(base)
        run = tape.run
    assert (run.status, len(run.exchanges)) == ("completed", 2)
    assert [(call.name, call.input) for call in run.tool_calls] == [("order_status", {"order_id": "A-1042"})]
    assert run.params["assistant_id"] == ASSISTANTS["order-desk"]


def test_three_processes_record_into_one_store_and_a_suite_replays_all(tmp_path: Path, provider: Provider) -> None:
    store = tmp_path / "recorder.db"
    code = (
        "import httpx, recorder, sys\n"
        "with recorder.open(sys.argv[1], strict=True) as tape:\n"
        "    client = tape.instrument(httpx.Client(timeout=30))\n"
        "    for number in range(5):\n"
        "        said = [{'role': 'user', 'content': sys.argv[3] + str(number)}]\n"
        "        asked = {'model': 'm', 'stream': True, 'messages': said}\n"
        "        client.post(sys.argv[2] + '/v1/chat/completions', json=asked).read()\n"
    )
    arguments = [sys.executable, "-c", code, str(store), provider.origin]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [subprocess.Popen([*arguments, name], env=environment) for name in "abc"]
    assert [child.wait(60) for child in children] == [0, 0, 0]

    def again(case: Any) -> None:
        post(provider, dict(case.params))

    report = recorder.replay_suite(again, store)
    assert (len(report), report.changed) == (15, [])
    assert len(provider.asked) == 15


def test_what_an_sdk_tells_of_itself_is_on_no_tape(path: Path, provider: Provider) -> None:
    """openai-agents uploads its traces whenever it likes: nobody records them, no test that runs then misses."""

    def upload() -> httpx.Response:
        return httpx.post(f"{provider.origin}/v1/traces/ingest", json={"data": []}, timeout=PATIENCE)

    for mode in ("record", "new"):
        with recorder.replaying(path, mode=mode) as tape:
            upload()
            post(provider, body())
            assert len(tape.runs) == 1
    before = len(provider.asked)
    with recorder.replaying(path) as tape:
        with pytest.raises(ReplayMiss, match="what an SDK tells of itself is on no tape"):
            upload()
        post(provider, body())
        assert len(tape.recorded) == 1
    assert (before, len(provider.asked)) == (3, 3)


# -- its manners -------------------------------------------------------------------------------------------------------


def test_a_block_that_raises_writes_nothing(path: Path, provider: Provider) -> None:
    with pytest.raises(ZeroDivisionError), recorder.replaying(path, mode="record"):
        post(provider, body())
        raise ZeroDivisionError
    assert not path.exists()


def test_no_credential_gets_into_a_tape(path: Path, provider: Provider) -> None:
    """And what only sounds like one (a cap in tokens) stays, so that the request still matches."""
    secrets = {"authorization": "Bearer sk-live-0123456789", "cookie": "id=c00k1e", "api-key": "k3y-of-azure"}
    capped = body(max_completion_tokens=77, metadata={"token_budget": "88"})
    with recorder.replaying(path, mode="record"):
        recorded = post(provider, capped, headers=secrets)
    text = path.read_text(encoding="utf-8")
    assert [name for name in ("sk-live-0123456789", "c00k1e", "k3y-of-azure") if name in text] == []
    assert '"max_completion_tokens":77' in text
    with recorder.replaying(path) as tape:
        assert post(provider, capped, headers={"authorization": "Bearer another"}) == recorded
        assert tape.recorded[0].params["max_completion_tokens"] == 77


def test_a_credential_in_a_prompt_is_masked_and_the_request_still_matches(path: Path, provider: Provider) -> None:
    """Also where an answer quotes it, and the client says the mask again in its next request."""
    secret = "sk-proj-" + "Zx9" * 16

    def echo(asked: dict[str, Any]) -> list[bytes]:
        return [json.dumps({"said": asked["messages"][-1]["content"]}).encode()]

    provider.answer = echo

    def talk() -> list[str]:
        first = json.loads(post(provider, body(f"my key is {secret} ")))["said"]
        second = json.loads(post(provider, body(f"you said: {first}")))["said"]
        return [first, second]

    with recorder.replaying(path, mode="record"):
        talk()
    assert secret not in path.read_text(encoding="utf-8")
    with recorder.replaying(path):
        first, second = talk()
    assert secret not in first + second
    assert first in second
    assert len(provider.asked) == 2


def test_what_is_only_masked_on_a_tape_is_no_difference(path: Path, provider: Provider) -> None:
    """A miss names the field that was changed, not those that are stored masked; another key is one, though."""
    secret, other = "sk-proj-" + "Zx9" * 16, "sk-proj-" + "Ab7" * 16
    asked = body(f"my key is {secret}", temperature=0.2)
    with recorder.replaying(path, mode="record"):
        post(provider, asked)
    for changed, named in (
        ({**asked, "temperature": 0.7}, "body.temperature"),
        (body(f"my key is {other}", temperature=0.2), "body.messages[0].content"),
    ):
        with pytest.raises(ReplayMiss) as missed, Tape(path, Options(unused="ignore")):
            post(provider, changed)
        assert isinstance(missed.value, Miss)
        assert [difference.path for difference in missed.value.differences] == [named]
        assert secret not in str(missed.value)
        assert other not in str(missed.value)


def test_what_else_is_never_stored_can_be_added(
    path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rules of the tape, of the environment and by a function: all of them hold, and the request still matches."""
    provider.answer = lambda asked: [json.dumps({"said": asked["messages"][-1]["content"]}).encode()]
    monkeypatch.setenv("RECORDER_REDACT", "/ACC-[0-9]{6}/")
    seen = []

    def names(text: str, where: str) -> list[str]:
        seen.append(where)
        return [name for name in ("Ludmilla",) if name in text]

    said = body("ACC-123456 of Ludmilla, call 555-0199", metadata={"email": "a@b.example"})
    how: dict[str, Any] = {"redact": ["/[0-9]{3}-[0-9]{4}/", "body.metadata.email", names]}
    with recorder.replaying(path, mode="record", **how):
        post(provider, said)
    text = path.read_text(encoding="utf-8")
    assert [word for word in ("ACC-123456", "Ludmilla", "555-0199", "a@b.example") if word in text] == []
    assert set(seen) == {"request", "response"}
    with recorder.replaying(path, **how):
        first = json.loads(post(provider, said))["said"]
    assert "[redacted]" in first
    with recorder.replaying(path, ignore=["body.seed"], **how):  # found by what is stored, masked as that is
        post(provider, {**said, "seed": 1})
    with pytest.raises(UsageError, match="redact"):
        recorder.replaying(path, redact=["/(/"])


def test_a_process_that_is_killed_leaves_the_tape_as_it_was(path: Path, provider: Provider) -> None:
    with recorder.replaying(path, mode="record"):
        post(provider, body())
    before = path.read_bytes()
    code = (
        "import httpx, os, recorder, sys\n"
        "with recorder.replaying(sys.argv[1], mode='record'), httpx.Client(timeout=30) as client:\n"
        "    asked = {'model': 'm', 'stream': True, 'messages': []}\n"
        "    with client.stream('POST', sys.argv[2] + '/v1/chat/completions', json=asked) as response:\n"
        "        next(response.iter_raw())\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code, str(path), provider.origin], env=environment, check=False)
    assert killed.returncode == -9
    assert [made.read_bytes() for made in path.parent.iterdir()] == [before]
    with recorder.replaying(path):
        post(provider, body())


def test_a_tape_is_not_much_larger_than_what_came_and_can_be_asked_in_sql(path: Path, provider: Provider) -> None:
    provider.answer = chat(" ".join(f"word{number}" for number in range(500)))
    with recorder.replaying(path, mode="record"):
        recorded = post(provider, body())
    assert path.stat().st_size < 1.3 * len(recorded)
    with exchange.load(path) as store:
        reader.read_due_all(store)
        (run,) = store.runs()
        assert (run.status, run.model) == ("completed", "gpt-4.1-mini")
        assert (run.events or 0) > 500


def test_a_stream_left_open_is_told(path: Path, provider: Provider) -> None:
    provider.answer = [b"data: 1\n\n", 2.0, b"data: 2\n\n"]
    tape = recorder.replaying(path, mode="record").start()
    with httpx.Client(timeout=PATIENCE) as client:
        asked = client.build_request("POST", f"{provider.origin}/v1/chat/completions", json=body())
        left = client.send(asked, stream=True)
        tape.stop()
        left.close()
    (told,) = tape.finish().warnings
    assert told.startswith("1 streams were still open when the test ended")


def test_a_tape_is_used_once_and_takes_calls_only_meanwhile(path: Path) -> None:
    tape = recorder.replaying(path)
    with pytest.raises(UsageError, match="takes no calls now"):
        tape.instrument(httpx.Client())
    with tape:
        pass
    with pytest.raises(UsageError, match="a tape is used once"):
        tape.start()


def test_a_file_that_is_no_tape_is_refused_and_everything_put_back(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("interactions: []\n", encoding="utf-8")
    method = httpx.HTTPTransport.handle_request
    with pytest.raises(UsageError, match="is no recording file"), recorder.replaying(path):
        pass
    assert httpx.HTTPTransport.handle_request is method


def test_the_mode_may_come_from_the_environment(path: Path, provider: Provider, monkeypatch: Any) -> None:
    monkeypatch.setenv("RECORDER_MODE", "once")
    with recorder.replaying(path) as tape:
        assert tape.is_recording
        post(provider, body())
    with recorder.replaying(path) as tape:
        assert tape.is_replaying
        post(provider, body())
    assert len(provider.asked) == 1


@pytest.mark.parametrize("before", [None, ""])
def test_a_client_is_made_without_a_key_while_a_tape_only_replays(
    path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Of the provider on the tape alone: a program may choose by the keys that it finds. Later all is as it was."""
    asked = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with recorder.replaying(path, mode="record"):
        list(openai.OpenAI().chat.completions.create(**asked))  # type: ignore[call-overload]
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name)
        if before is not None:
            monkeypatch.setenv(name, before)
    for mode in ("replay", "once"):
        with recorder.replaying(path, mode=mode):
            assert list(openai.OpenAI().chat.completions.create(**asked))  # type: ignore[call-overload]
            assert os.environ.get("ANTHROPIC_API_KEY") == before
        assert os.environ.get("OPENAI_API_KEY") == before
    for mode in ("record", "new", "live"):
        tape = Tape(path, Options(mode=mode)).start()  # type: ignore[arg-type]
        assert os.environ.get("OPENAI_API_KEY") == before
        tape.stop()
    assert len(provider.asked) == 1


def test_a_key_that_a_test_sets_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without recordings nobody knows whose key is wanted, so a test fails by its miss and not by the SDK's words."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    tape = Tape(path).start()
    assert (os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"]) == ("none", "unused")
    os.environ["ANTHROPIC_API_KEY"] = "another"
    tape.stop()
    assert (os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"]) == ("none", "another")


def test_recording_needs_the_recorder_to_be_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tape that is only replayed does not."""
    monkeypatch.setenv("RECORDER_DISABLED", "1")
    with pytest.raises(UsageError, match="RECORDER_DISABLED is set: unset it"), recorder.replaying(path, mode="record"):
        pass
    with recorder.replaying(path):
        pass


def test_it_goes_into_unittest(path: Path, provider: Provider) -> None:
    with recorder.replaying(path, mode="record"):
        post(provider, body())

    class Old(unittest.TestCase):
        def setUp(self) -> None:
            self.tape: Tape = self.enterContext(recorder.replaying(path))

        def test_it(self) -> None:
            post(provider, body())
            assert self.tape.run.text == "Hellothere"

        def test_nothing(self) -> None:
            """Leaves its recording unused."""

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Old).run(result)
    assert result.testsRun == 2
    assert [test.id().rpartition(".")[2] for test, _ in result.failures] == ["test_nothing"]
    assert result.errors == []
    assert len(provider.asked) == 1
