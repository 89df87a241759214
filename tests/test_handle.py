"""The handle: real SDK clients instrumented in place, settings obeyed, and stores that fail while no client notices."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import shutil
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recorder
from recorder.demo.upstream import upstream
from recorder.errors import NotFound, ReplayMiss, StoreError, StoreUnavailable, UsageError
from recorder.handle import Handle
from recorder.handle.readings import Readings
from recorder.handle.source import share
from recorder.recording import Recording
from recorder.store import Store
from recorder.transport import bind
from recorder.writer import Writer
from tests.clients import EVERY, Kind, fetch
from tests.loopback import Loopback, stream_script
from tests.payloads import CHAT

every_kind = pytest.mark.parametrize("kind", EVERY, ids=str)

STREAM = b"".join(CHAT)
SCRIPT = stream_script(STREAM, cuts=(9, 50, 51))
EVENTS = len(CHAT) - 1  # the last one is the end marker
MESSAGES: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once and copied for each test."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    Store.open(path, create=True).close()
    return path


@pytest.fixture
def path(tmp_path: Path, empty_store: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path))


@pytest.fixture
def handle(path: Path) -> Iterator[Handle]:
    with recorder.open(path, strict=True) as made:
        yield made


def recordings(handle: Handle) -> list[Recording]:
    """All recordings, oldest first."""
    assert handle.flush(30)
    return [handle.recording(listed.recording.recording_id) for listed in reversed(handle.recordings())]


def chat(client: Any, model: str = "gpt-4o") -> list[str]:
    """One streamed call of an openai client."""
    with client.chat.completions.create(model=model, messages=MESSAGES, stream=True) as stream:
        return [event.model_dump_json() for event in stream]


_C = TypeVar("_C")


def openai_client(server: Loopback, **options: Any) -> openai.OpenAI:
    return _kept(openai.OpenAI(api_key="sk-test", base_url=server.url, max_retries=0, **options))


#: SDK clients are cycles: dropped without a close, their sockets go when the garbage collector comes, in any order.
_OPEN: list[Any] = []


def _kept(client: _C) -> _C:
    """The client, to be closed after the test."""
    _OPEN.append(client)
    return client


@pytest.fixture(autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def post(handle: Handle, url: str) -> bytes:
    """One call by a client of its own; the body."""
    with handle.instrument(httpx2.Client()) as client:
        return client.post(url).content


# -- clients -----------------------------------------------------------------------------------------------------------


def test_openai_is_recorded_and_replayed(handle: Handle) -> None:
    """Also through `with_options`, whose copies share the HTTP client."""
    with Loopback([SCRIPT], repeat_last=True) as server:
        client = openai_client(server)
        bare = chat(client)
        assert handle.instrument(client) is client
        assert chat(client) == bare
        assert chat(client.with_options(timeout=7)) == bare
    assert len(recordings(handle)) == 2
    with handle.replay() as replay:
        replay.instrument(client)
        assert chat(client) == chat(client) == bare
        with pytest.raises(ReplayMiss):
            chat(client)
    client.close()


def test_async_openai_and_azure_openai_are_recorded(handle: Handle) -> None:
    with Loopback([SCRIPT], repeat_last=True) as server:

        async def run() -> int:
            options: dict[str, Any] = {"api_key": "k", "max_retries": 0}
            clients = [
                openai.AsyncOpenAI(base_url=server.url, **options),
                openai.AsyncAzureOpenAI(azure_endpoint=server.url, api_version="2025-01-01", **options),
            ]
            count = 0
            for client in clients:
                async with handle.instrument(client):
                    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
                    async for _ in stream:
                        count += 1
            return count

        assert asyncio.run(run()) == 2 * EVENTS
    openais, azures = recordings(handle)
    assert azures.request.url == f"{server.url}/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01"
    assert openais.request.body is not None
    assert ("api-key", "[redacted]") in azures.request.headers
    assert ("authorization", "[redacted]") in openais.request.headers


def test_anthropic_is_recorded_and_replayed_and_a_miss_is_raised_at_once(handle: Handle) -> None:
    with upstream() as url:
        client = _kept(anthropic.Anthropic(api_key="sk-ant-test", base_url=url.removesuffix("/v1"), max_retries=2))
        handle.instrument(client)

        def ask(text: str) -> list[str]:
            asked: Any = [{"role": "user", "content": text}]
            with client.messages.create(model="claude", max_tokens=9, messages=asked, stream=True) as stream:
                return [event.model_dump_json() for event in stream]

        first = ask("hello")
    handle.flush(30)
    asked: list[Any] = []
    client._client.event_hooks["request"].append(asked.append)
    with handle.replay() as replay:
        replay.instrument(client)
        assert ask("hello") == first
        with pytest.raises(ReplayMiss, match="messages"):
            ask("something else")
    assert len(asked) == 2, "a miss was tried again"


def test_openai_takes_no_second_attempt_at_a_miss(handle: Handle) -> None:
    client = _kept(openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9", max_retries=5))
    asked: list[Any] = []
    client._client.event_hooks["request"].append(asked.append)
    with handle.replay() as replay, pytest.raises(ReplayMiss):
        chat(replay.instrument(client))
    assert len(asked) == 1


def test_an_sdks_attempts_are_recordings_of_one_call(handle: Handle) -> None:
    busy = [b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\nRetry-After-Ms: 1\r\n\r\n{}"]
    with Loopback([busy, busy, SCRIPT]) as server:
        client = handle.instrument(openai_client(server).with_options(max_retries=2))
        assert len(chat(client)) == EVENTS
        client.close()
    found = recordings(handle)
    assert [recording.ending and recording.ending.http_status for recording in found] == [429, 429, 200]
    assert len({recording.call for recording in found}) == 1
    with handle.replay() as replay:
        with replay.instrument(openai_client(server).with_options(max_retries=2)) as client:
            assert len(chat(client)) == EVENTS


def test_something_that_is_no_client_is_refused_with_what_would_be(handle: Handle) -> None:
    for thing in (object(), openai, "client"):
        with pytest.raises(UsageError, match="give an openai, anthropic"):
            handle.instrument(thing)


# -- in place, and back ------------------------------------------------------------------------------------------------


def transports(client: Any) -> list[Any]:
    return [client._transport, *client._mounts.values()]


@every_kind
def test_uninstrument_gives_back_the_very_same_objects(path: Path, kind: Kind) -> None:
    """Proxies and mounts included; a transport that is mounted twice is wrapped once."""
    made = kind.module.HTTPTransport if kind.mode == "sync" else kind.module.AsyncHTTPTransport
    shared = made()
    mounts = {"http://a.test": shared, "http://b.test": shared, "all://direct.test": None}
    client = kind.client(proxy="http://proxy.test:3128", mounts=mounts)
    before = transports(client)
    keys = list(client._mounts)
    with recorder.open(path, strict=True) as handle:
        handle.instrument(client)
        during = transports(client)
        assert [getattr(one, "inner", None) for one in during] == before
        assert len({id(one) for one in during if one is not None}) == len(
            {id(one) for one in before if one is not None}
        )
        assert handle.uninstrument(client) is client
    assert all(one is other for one, other in zip(transports(client), before, strict=True))
    assert list(client._mounts) == keys


def test_a_proxy_is_still_used(handle: Handle) -> None:
    with Loopback([SCRIPT], repeat_last=True) as proxy:
        with handle.instrument(httpx2.Client(trust_env=False, proxy=proxy.url)) as client:
            assert client.get("http://elsewhere.test/x").content == STREAM
        assert proxy.requests[0].target == b"http://elsewhere.test/x"
    assert recordings(handle)[0].request.url == "http://elsewhere.test/x"


@every_kind
def test_instrumenting_again_replaces(tmp_path: Path, kind: Kind) -> None:
    """A notebook's cell that is run twice leaves one recorder, the new one; the old one undoes nothing of it."""
    with (
        Loopback([SCRIPT], repeat_last=True) as server,
        recorder.open(tmp_path / "1.db", strict=True) as first,
        recorder.open(tmp_path / "2.db", strict=True) as second,
    ):
        client = kind.client()
        original = client._transport
        for one in (first, first, second, second):
            one.instrument(client)
        assert client._transport.inner is original
        first.uninstrument(client)
        assert client._transport is not original
        fetch(kind, client, server.url)
        assert (len(recordings(first)), len(recordings(second))) == (0, 1)
        second.uninstrument(client)
        assert client._transport is original


def test_a_replay_stands_before_the_recorder_and_gives_its_place_back(handle: Handle) -> None:
    client: Any = httpx2.Client()
    with Loopback([SCRIPT], repeat_last=True) as server, client:
        original = client._transport
        handle.instrument(client)
        recording = client._transport
        client.post(server.url)
        with handle.replay(repeat="last") as replay, handle.replay() as other:
            replay.instrument(client)
            replay.instrument(client)
            client.post(server.url)
            other.uninstrument(client)
            handle.instrument(client)  # while it is replayed
            client.post(server.url)
            assert len(server.requests) == 1
            replay.uninstrument(client)
        assert type(client._transport) is type(recording)
        assert client._transport.inner is original
        client.post(server.url)
        with handle.replay() as replay:
            replay.instrument(client)
            handle.uninstrument(client)
            replay.uninstrument(client)
        assert client._transport is original
    assert len(recordings(handle)) == 2


def test_a_handle_lives_as_long_as_a_client_that_it_records(path: Path) -> None:
    client = httpx2.Client()
    recorder.open(path).instrument(client)
    gc.collect()
    with Loopback([SCRIPT]) as server:
        client.post(server.url)
    kept: Any = client._transport
    assert kept.sink._keeper.flush(20)
    assert len(kept.sink._keeper.recordings()) == 1
    gone = weakref.ref(kept.sink._keeper)
    kept.sink._keeper.close(30)
    del kept
    client.close()
    del client
    gc.collect()
    assert gone() is None


@every_kind
def test_own_transports_record(handle: Handle, kind: Kind) -> None:
    made = handle.transport if kind.mode == "sync" else handle.async_transport
    with Loopback([SCRIPT], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url)
        assert fetch(kind, kind.client(transport=made(module=kind.module, retries=1)), server.url) == bare
    assert len(recordings(handle)) == 1


def test_which_module_is_meant_must_be_clear(handle: Handle) -> None:
    """Both are loaded here: guessing would hand one library the transport of the other."""
    for make in (handle.transport, handle.async_transport, handle.replay().transport):
        with pytest.raises(UsageError, match="say which"):
            make()


# -- patch -------------------------------------------------------------------------------------------------------------


@every_kind
def test_a_patch_records_clients_that_others_own_for_listed_hosts(handle: Handle, kind: Kind) -> None:
    method = (
        (kind.module.HTTPTransport, "handle_request")
        if kind.mode == "sync"
        else (kind.module.AsyncHTTPTransport, "handle_async_request")
    )
    original = getattr(*method)
    with Loopback([SCRIPT], repeat_last=True) as server, Loopback([SCRIPT], repeat_last=True) as other:
        bare = fetch(kind, kind.client(), server.url)
        with handle.patch(hosts=[server.url.removeprefix("http://")]):
            assert fetch(kind, kind.client(), server.url) == bare
            assert fetch(kind, kind.client(), other.url) == bare
            assert fetch(kind, handle.instrument(kind.client()), server.url) == bare, "recorded twice?"
        assert getattr(*method) is original
        fetch(kind, kind.client(), server.url)
    assert [recording.origin for recording in recordings(handle)] == [server.url] * 2


def test_patches_may_be_taken_back_in_any_order_and_end_with_their_handle(handle: Handle, tmp_path: Path) -> None:
    original = httpx2.HTTPTransport.handle_request
    with Loopback([SCRIPT], repeat_last=True) as server, recorder.open(tmp_path / "2.db") as second:
        first = handle.patch(hosts="127.0.0.1")
        again = handle.patch(hosts=["127.0.0.1"])  # a cell that is run again
        second.patch(hosts=["127.0.0.1"])
        httpx2.post(server.url)
        assert (len(recordings(handle)), len(recordings(second))) == (0, 1)
        with first, again:
            pass
        httpx2.post(server.url)
        assert (len(recordings(handle)), len(recordings(second))) == (0, 2)
        handle.patch(hosts=["elsewhere.test"])
    assert httpx2.HTTPTransport.handle_request is not original
    handle._shut(30)
    assert httpx2.HTTPTransport.handle_request is original


def test_a_patch_below_another_ones_patch_only_hands_on(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody else has patched over it, taking it back leaves theirs alone."""
    original = httpx2.HTTPTransport.handle_request
    with Loopback([SCRIPT], repeat_last=True) as server:
        ours = handle.patch(hosts=["127.0.0.1"])
        hook = httpx2.HTTPTransport.handle_request

        def theirs(self: Any, request: Any) -> Any:
            return hook(self, request)

        httpx2.HTTPTransport.handle_request = theirs  # type: ignore[method-assign]
        try:
            with ours:
                httpx2.post(server.url)
            assert httpx2.HTTPTransport.handle_request is theirs
            httpx2.post(server.url)
        finally:
            httpx2.HTTPTransport.handle_request = hook  # type: ignore[method-assign]
            with handle.patch(hosts=["127.0.0.1"]):
                pass
        assert httpx2.HTTPTransport.handle_request is original
    assert len(recordings(handle)) == 1


def test_a_patch_needs_hosts(handle: Handle, path: Path) -> None:
    with pytest.raises(UsageError, match="hosts"):
        handle.patch()
    with pytest.raises(UsageError, match="without scheme"):
        handle.patch(hosts=["https://api.openai.com/v1"])
    with recorder.open(path, hosts=["127.0.0.1"]) as set_before, Loopback([SCRIPT]) as server:
        with set_before.patch():
            httpx2.post(server.url)
        assert len(recordings(set_before)) == 1


# -- in control --------------------------------------------------------------------------------------------------------


@every_kind
def test_disabled_touches_nothing(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_DISABLED", "1")
    monkeypatch.chdir(tmp_path)
    before = kind.client()
    method = kind.module.HTTPTransport.handle_request
    original = transports(before)
    with recorder.open("store.db", strict=True) as handle:
        assert handle.disabled
        assert handle.instrument(before) is before
        assert all(one is other for one, other in zip(transports(before), original, strict=True))
        with handle.patch(hosts=["127.0.0.1"]):
            assert kind.module.HTTPTransport.handle_request is method
        assert type(handle.transport(module=kind.module)) is kind.module.HTTPTransport
        assert type(handle.async_transport(module=kind.module)) is kind.module.AsyncHTTPTransport
        with Loopback([SCRIPT]) as server:
            fetch(kind, handle.uninstrument(before), server.url)
        assert handle.flush()
        assert handle.stats.recordings == 0
    assert list(tmp_path.iterdir()) == []


def test_disabled_does_not_let_a_replay_reach_the_network(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder.open(path) as handle, Loopback([SCRIPT]) as server:
        first = post(handle, server.url)
        assert handle.flush(30)
    monkeypatch.setenv("RECORDER_DISABLED", "1")
    with recorder.open(path) as handle, handle.replay() as replay:
        with replay.instrument(httpx2.Client()) as client:
            assert client.post(server.url).content == first
            with pytest.raises(ReplayMiss):
                client.post(server.url)


def test_one_line_says_where_content_goes_and_how_to_stop_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recorder")
    recorder.open(path, content="facts").close()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert str(path) in line
    assert "content=facts" in line
    assert "RECORDER_DISABLED=1" in line


def test_a_password_in_the_stores_url_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    recorder.open("postgresql://me:hunter2@127.0.0.1:9/db").close()
    assert "127.0.0.1:9" in caplog.text
    assert "hunter2" not in caplog.text


def test_wrong_settings_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        recorder.open(path, nonsense=1)
    with pytest.raises(UsageError, match="content"):
        recorder.open(path, content="everything")
    with pytest.raises(UsageError, match="memory"):
        recorder.open(":memory:")
    with pytest.raises(UsageError):
        recorder.open(path, ignore=["headers.x"])


def test_tags_of_the_handle_and_of_the_context_are_kept(path: Path) -> None:
    with recorder.open(path, tags={"app": "a", "team": "t"}) as handle, Loopback([SCRIPT]) as server:
        with recorder.context(tags={"app": "b"}):
            post(handle, server.url)
        assert dict(recordings(handle)[0].tags) == {"app": "b", "team": "t"}


def test_content_none_and_facts_keep_no_payload_and_facts_still_gives_the_reading(tmp_path: Path) -> None:
    """The reading is made of what is in memory: nothing that was said is in any file of the store."""
    secret = "Rumpelstiltskin"
    for content, expected in (("facts", "completed"), ("none", None)):
        folder = tmp_path / content
        folder.mkdir()
        with recorder.open(folder / "store.db", content=content, strict=True) as handle, upstream() as url:
            client = handle.instrument(_kept(openai.OpenAI(api_key="k", base_url=url)))
            list(
                client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": secret}], stream=True
                )
            )
            (recording,) = recordings(handle)
            assert (recording.request.body, recording.content) == (None, content)
            (run,) = handle.runs()
            if expected:
                assert run.status == expected
                assert run.output_tokens
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files
        assert not any(secret.encode() in file.read_bytes() for file in files)


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_a_sample_takes_or_leaves_runs_as_a_whole_and_says_what_each_stands_for(path: Path) -> None:
    with recorder.open(path, sample=0.5) as handle, Loopback([SCRIPT], repeat_last=True) as server:
        with handle.instrument(httpx2.Client()) as client:
            for thread in range(20):
                for call in ("runs", "runs/run_1/submit_tool_outputs"):
                    client.post(f"{server.url}/v1/threads/thread_{thread}/{call}")
        found = recordings(handle)
    threads = [recording.request.url.split("/threads/")[1].split("/")[0] for recording in found]
    assert 0 < len(set(threads)) < 20
    assert all(threads.count(thread) == 2 for thread in threads)
    assert {recording.weight for recording in found} == {2.0}


def test_a_sample_of_none_and_all(path: Path) -> None:
    for sample, expected in ((0, 0), (1, 3)):
        with recorder.open(path, sample=sample) as handle, Loopback([SCRIPT], repeat_last=True) as server:
            for _ in range(3):
                assert post(handle, server.url) == STREAM
            assert len(recordings(handle)) == expected


@given(st.text(min_size=1), st.text(alphabet="abc_123", min_size=1))
def test_a_share_depends_on_the_session_or_the_thread_alone(session: str, thread: str) -> None:
    by_session = {share(url, session) for url in ("/v1/responses", f"/v1/threads/{thread}/runs", "/x?y")}
    by_thread = {share(f"https://h{tail}/threads/x{thread}/runs{tail}", None) for tail in ("", "/run_1", "?a=b")}
    assert len(by_session) == len(by_thread) == 1
    assert 0 <= min(by_session | by_thread) <= max(by_session | by_thread) < 1
    assert share("/v1/threads/runs", None) != share("/v1/threads/runs", None), "no thread is named there"


# -- a store that fails ------------------------------------------------------------------------------------------------


def _not_a_database(folder: Path) -> str:
    file = folder / "notes.txt"
    file.write_text("these are notes\n" * 100)
    return str(file)


def _not_writable(folder: Path) -> str:
    file = folder / "a file"
    file.write_text("")
    return str(file / "store.db")


def _newer(folder: Path) -> str:
    file = folder / "newer.db"
    Store.open(file, create=True).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE recorder_version SET version_num = '99.0'")
    connection.close()
    return str(file)


def _nobody(folder: Path) -> str:
    return "postgresql://me:pw@127.0.0.1:9/db"


@pytest.mark.parametrize("bad", [_not_a_database, _not_writable, _newer, _nobody])
def test_a_live_handle_warns_once_about_a_store_that_fails_and_the_stream_is_whole(
    tmp_path: Path, bad: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    handle = recorder.open(bad(tmp_path))
    with Loopback([SCRIPT], repeat_last=True) as server:
        bare = fetch(EVERY[2], httpx2.Client(), server.url)
        for _ in range(3):
            assert fetch(EVERY[2], handle.instrument(httpx2.Client()), server.url) == bare
        deadline = time.monotonic() + 30
        while not handle.stats.failing and time.monotonic() < deadline:
            time.sleep(0.01)
        assert handle.stats.failing
        assert handle.flush(0.1) is False
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1, [record.getMessage() for record in warnings]
        assert handle.close(30) is False  # and the writer has ended: its last words belong to no later test
        assert fetch(EVERY[2], handle.instrument(httpx2.Client()), server.url) == bare


@pytest.mark.parametrize("bad", [_not_a_database, _not_writable, _newer, _nobody])
def test_a_strict_handle_raises_for_a_store_that_fails(tmp_path: Path, bad: Callable[[Path], str]) -> None:
    with pytest.raises((StoreError, NotFound)):
        recorder.open(bad(tmp_path), strict=True)


def test_a_store_that_comes_late_gets_what_waited(tmp_path: Path) -> None:
    """Down at the start: nothing is lost that the queue holds."""
    blocked = tmp_path / "place"
    blocked.write_text("")
    with recorder.open(blocked / "store.db") as handle, Loopback([SCRIPT], repeat_last=True) as server:
        post(handle, server.url)
        assert handle.flush(0.3) is False
        blocked.unlink()
        blocked.mkdir()
        (recording,) = recordings(handle)
        assert recording.ending is not None
        assert recording.ending.captured == "full"


def test_a_queue_that_is_full_marks_the_gap_and_the_stream_is_whole(tmp_path: Path) -> None:
    """Down in the middle: what does not fit is cut off, and said so."""
    blocked = tmp_path / "place"
    blocked.write_text("")
    big = stream_script(b"data: " + b"x" * 100_000 + b"\n\n", cuts=range(1000, 100_000, 1000))
    with recorder.open(blocked / "store.db", queue_bytes=40_000) as handle, Loopback([big]) as server:
        assert len(post(handle, server.url)) == 100_008
        blocked.unlink()
        blocked.mkdir()
        (recording,) = recordings(handle)
        assert recording.ending is not None
        assert recording.ending.captured == "truncated"
        assert "queue was full" in recording.ending.detail["reason"]
        assert handle.stats.gaps == 1


def test_a_strict_flush_raises_where_a_live_one_says_no(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder.open(path, strict=True) as handle, Loopback([SCRIPT]) as server:
        post(handle, server.url)
        with monkeypatch.context() as patched:
            patched.setattr(handle._writer, "flush", lambda timeout: False)
            with pytest.raises(StoreUnavailable, match="durable"):
                handle.flush(0.1)
        assert handle.flush(20)


# -- looking things up -------------------------------------------------------------------------------------------------


def test_runs_recordings_events_and_bodies_are_found(handle: Handle) -> None:
    with upstream() as url:
        client = handle.instrument(openai.OpenAI(api_key="k", base_url=url))
        list(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
        client.close()
    assert handle.flush(20)
    (run,) = handle.runs(dialect="chat")
    assert handle.runs(model="none") == []
    assert run.status == "completed"
    assert handle.run("@last") == handle.run(run.run_id) == run
    (listed,) = handle.recordings()
    recording_id = listed.recording.recording_id
    assert handle.recording(str(recording_id)) == handle.recording(recording_id)
    assert next(handle.events(recording_id)).kind == "head"
    assert handle.body("@last").startswith(b"data: ")
    with pytest.raises(NotFound):
        handle.run("run_nobody_has")


def test_a_store_that_may_only_be_read_is_read_and_replayed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder.open(path) as handle, Loopback([SCRIPT]) as server:
        url = server.url
        sent = post(handle, url)
        assert handle.flush(30)
    opened = Store.open

    def only_reading(url: str, **options: Any) -> Store:
        if not options.get("readonly"):
            raise StoreUnavailable("the folder is not writable")
        return opened(url, **options)

    monkeypatch.setattr(Store, "open", only_reading)
    with recorder.open(path) as handle:
        assert handle.body("@last") == sent
        with httpx2.Client(transport=handle.replay().transport(module=httpx2)) as client:
            assert client.post(url).content == sent


def test_reading_where_there_is_no_store_says_so_and_makes_none(tmp_path: Path) -> None:
    handle = recorder.open(tmp_path / "none.db")
    with pytest.raises(NotFound):
        handle.runs()
    with pytest.raises(NotFound):
        handle.replay()
    handle.close()
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_private_and_out_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorder.open(strict=True).close()
    folder = tmp_path / ".recorder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE((folder / "recorder.db").stat().st_mode) == 0o600


def test_what_others_left_unread_is_read(path: Path) -> None:
    """A process that died between the end of a recording and its reading; a writer alone is such a one."""
    writer = Writer(lambda: Store.open(path))
    transport = bind(httpx2).RecordingTransport(httpx2.HTTPTransport(), writer)
    with upstream() as url:
        with openai.OpenAI(api_key="k", base_url=url, http_client=httpx2.Client(transport=transport)) as client:
            list(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
        assert writer.close(20)
        with Store.open(path) as store:
            assert len(store.unread()) == 1
        with recorder.open(path, strict=True) as handle:
            with handle.instrument(openai.OpenAI(api_key="k", base_url=url)) as client:
                list(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
            assert handle.flush(20)
            assert [run.status for run in handle.runs()] == ["completed", "completed"]


def test_readings_are_tried_again_while_the_store_fails(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, nothing lost: also what only memory holds."""
    failures = iter([StoreUnavailable("down"), StoreUnavailable("still down")])

    def opened() -> Store:
        for failure in failures:
            raise failure
        return Store.open(path)

    with recorder.open(path, content="facts", strict=True) as handle, upstream() as url:
        handle._readings._open_store = opened
        with handle.instrument(openai.OpenAI(api_key="k", base_url=url)) as client:
            list(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
        assert handle.flush(20)
        (run,) = handle.runs()
        assert (run.status, bool(run.output_tokens)) == ("completed", True)
    assert [record.levelname for record in caplog.records if "readings" in record.message] == ["WARNING"]


def test_nobody_waits_for_readings_whose_thread_has_ended(path: Path) -> None:
    """What the proxy says of the last calls waits for their readings, while all is being closed."""
    failing = threading.Event()

    def opened() -> Store:
        if failing.is_set():
            raise StoreUnavailable("down")
        return Store.open(path)

    for expected in (True, False):
        readings = Readings(opened)
        readings.add([])
        assert readings.flush(None)
        if not expected:
            failing.set()
            assert readings._store is not None
            readings._store.close()
            readings._store = None
            readings.add([])
        assert readings.close(30)
        assert readings.flush(None) is expected
        readings.add([])  # which nobody reads any more
        assert readings.flush(None) is False


# -- the life of a handle ----------------------------------------------------------------------------------------------


def test_a_closed_handle_lets_calls_pass(path: Path) -> None:
    handle = recorder.open(path)
    with Loopback([SCRIPT], repeat_last=True) as server, handle.instrument(httpx2.Client()) as client:
        client.post(server.url)
        assert handle.close(30) is True
        assert handle.close() is True
        assert client.post(server.url).content == STREAM
    with recorder.open(path) as later:
        assert len(later.recordings()) == 1
        assert len(later.runs()) == 1


def test_an_exception_in_the_block_is_not_hidden_by_the_store(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        with recorder.open(tmp_path / "x.db", strict=True) as handle, Loopback([SCRIPT]) as server:
            post(handle, server.url)
            raise LookupError


def _in_child(client: Any, url: str, handle: Handle, done: Any) -> None:
    client.post(url)
    handle.flush(20)
    done.put(len(handle.recordings()))


def test_a_handle_works_on_both_sides_of_a_fork(handle: Handle) -> None:
    with Loopback([SCRIPT], repeat_last=True) as server:
        client = handle.instrument(httpx2.Client())
        client.post(server.url)
        handle.flush(20)
        fork = multiprocessing.get_context("fork")
        done = fork.SimpleQueue()
        child = fork.Process(target=_in_child, args=(client, server.url, handle, done))
        child.start()
        seen = done.get()
        child.join()
        assert (seen, child.exitcode) == (2, 0)
        client.post(server.url)
        client.close()
        found = recordings(handle)
    assert len(found) == 3
    assert len({recording.writer for recording in found}) == 2
    assert len(handle.runs()) == 3
    assert os.getpid() != child.pid
