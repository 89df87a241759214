"""Notices of answers that run away: heard while the stream still runs, and never in the way of anything."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import recorder
from recorder.detect import Notice
from recorder.errors import UsageError
from recorder.handle import Handle
from recorder.handle.notices import WAITING, Notices
from recorder.recording import uuid7
from tests.clients import EVERY, Kind, fetch
from tests.loopback import LAST_CHUNK, Answer, Loopback, Request, Step, chunk, stream_head
from tests.payloads import DONE, frame

PATIENCE = 30.0
JSON_MODE: Any = {"type": "json_object"}
MESSAGES: Any = [{"role": "user", "content": "Three colours, as JSON."}]


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return frame(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


BLANKS = [delta('{"sekret": 1,'), *[delta(" \n")] * 30]
LOOP = [delta("sekret, and again. ")] * 400
GOOD = [delta("All "), delta("is well.")]
END = [delta("", "length"), DONE]


def running(deltas: list[bytes], until: Callable[[], bool]) -> Answer:
    """Sends the deltas, and the end only when `until` gives True: the stream is still running until then."""

    def script(_request: Request) -> Iterator[Step]:
        yield stream_head()
        yield from map(chunk, deltas)
        assert until(), "nobody heard of it while the stream ran"
        yield from map(chunk, END)
        yield LAST_CHUNK

    return script


class Ears:
    """A callback that remembers what it heard, and on which thread."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.threads: set[str] = set()
        self._heard = threading.Event()

    def __call__(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.threads.add(threading.current_thread().name)
        self._heard.set()

    def heard(self) -> bool:
        return self._heard.wait(PATIENCE)


def chat(client: Any) -> int:
    """One streamed call in JSON mode; how many chunks came."""
    asked: dict[str, Any] = {"model": "m", "messages": MESSAGES, "response_format": JSON_MODE, "stream": True}
    return sum(1 for _ in client.chat.completions.create(**asked))


def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=url, max_retries=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


# -- while it runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deltas", "kind"), [(BLANKS, "whitespace_runaway"), (LOOP, "repetition_runaway")], ids=["blanks", "loop"]
)
def test_a_runaway_is_heard_of_before_the_stream_ends(path: Path, deltas: list[bytes], kind: str) -> None:
    ears = Ears()
    with Loopback([running(deltas, ears.heard)]) as server, recorder.open(path, on_notice=ears) as handle:
        with handle.instrument(openai_client(server.url)) as client:
            assert chat(client) == len(deltas) + 1
        assert handle.flush(PATIENCE)
        (listed,) = handle.recordings()
        events = list(handle.events(listed.recording.recording_id))
    (notice,) = ears.notices
    assert (notice.kind, notice.recording_id) == (kind, listed.recording.recording_id)
    assert notice.since_position <= notice.position < len(events) - 2
    assert events[notice.position].elapsed_us == notice.elapsed_us
    assert events[notice.since_position].elapsed_us == notice.since_us
    assert ears.threads == {"recorder-notices"}


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_patched_client_is_heard_of_too_synchronous_or_not(path: Path, kind: Kind) -> None:
    ears = Ears()
    with Loopback([running(BLANKS, ears.heard)]) as server, recorder.open(path, on_notice=ears) as handle:
        with handle.patch(["127.0.0.1"]):
            url = f"{server.url}/v1/chat/completions"
            seen = fetch(kind, kind.client(timeout=PATIENCE), url, json={"response_format": JSON_MODE, "stream": True})
        assert seen.status == 200
    assert [notice.kind for notice in ears.notices] == ["whitespace_runaway"]


def test_an_async_sdk_client_is_heard_of_too(path: Path) -> None:
    ears = Ears()

    async def run(handle: Handle, url: str) -> int:
        async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
            handle.instrument(client)
            asked: dict[str, Any] = {"model": "m", "messages": MESSAGES, "response_format": JSON_MODE}
            stream = await client.chat.completions.create(**asked, stream=True)
            return len([event async for event in stream])

    with Loopback([running(BLANKS, ears.heard)]) as server, recorder.open(path, on_notice=ears) as handle:
        assert asyncio.run(run(handle, server.url)) == len(BLANKS) + 1
    assert len(ears.notices) == 1


@pytest.mark.parametrize("content", ["facts", "none"])
def test_it_is_heard_of_whatever_is_kept_of_the_content(path: Path, content: str) -> None:
    ears = Ears()
    with Loopback([running(BLANKS, ears.heard)]) as server:
        with recorder.open(path, content=content, on_notice=ears) as handle:
            with handle.instrument(openai_client(server.url)) as client:
                chat(client)
    assert [notice.kind for notice in ears.notices] == ["whitespace_runaway"]
    assert "sekret" not in repr(ears.notices)


def test_without_a_callback_the_log_has_a_warning_without_content(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> bool:
        return any("runaway" in record.getMessage() for record in caplog.records)

    def wait() -> bool:
        pause = threading.Event()
        return any(logged() or pause.wait(0.02) for _ in range(int(PATIENCE / 0.02)))

    with Loopback([running(BLANKS, wait)]) as server, recorder.open(path) as handle:
        with handle.instrument(openai_client(server.url)) as client:
            chat(client)
        assert handle.flush(PATIENCE)
        (listed,) = handle.recordings()
    (record,) = [record for record in caplog.records if "runaway" in record.getMessage()]
    assert (record.name, record.levelno) == ("recorder", logging.WARNING)
    assert str(listed.recording.recording_id) in record.getMessage()
    assert "since event 2, " in record.getMessage()
    assert "sekret" not in caplog.text


# -- when nothing is to be heard ---------------------------------------------------------------------------------------


def test_a_good_stream_is_not_heard_of(path: Path) -> None:
    ears = Ears()
    with Loopback([running(GOOD, lambda: True)]) as server, recorder.open(path, on_notice=ears) as handle:
        with handle.instrument(openai_client(server.url)) as client:
            chat(client)
    assert ears.notices == []


def test_detect_false_switches_it_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for detect in (False, None):
        ears = Ears()
        if detect is None:
            monkeypatch.setenv("RECORDER_DETECT", "0")
        with Loopback([running(BLANKS + LOOP, lambda: True)]) as server:
            with recorder.open(path, on_notice=ears, detect=detect) as handle:
                with handle.instrument(openai_client(server.url)) as client:
                    chat(client)
                assert handle.flush(PATIENCE)
                assert handle.recordings()
        assert ears.notices == []


def test_disabled_does_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a wrong callback is looked at."""
    monkeypatch.setenv("RECORDER_DISABLED", "1")
    wrong: Any = "no function"
    with Loopback([running(BLANKS, lambda: True)]) as server, recorder.open(path, on_notice=wrong) as handle:
        with handle.instrument(openai_client(server.url)) as client:
            assert chat(client) == len(BLANKS) + 1
    assert not path.exists()


def test_what_cannot_be_called_is_refused(path: Path) -> None:
    async def later(_notice: Notice) -> None: ...

    for wrong in ("no function", later):
        with pytest.raises(UsageError, match="on_notice"):
            recorder.open(path, on_notice=wrong)  # type: ignore[arg-type]


# -- callbacks that misbehave ------------------------------------------------------------------------------------------


def test_a_callback_that_raises_is_logged_once_and_breaks_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = threading.Semaphore(0)

    def fail(_notice: Notice) -> None:
        calls.release()
        raise ValueError("sekret of the callback")

    script = running(BLANKS, lambda: calls.acquire(timeout=PATIENCE))
    with Loopback([script, script]) as server, recorder.open(path, on_notice=fail) as handle:
        with handle.instrument(openai_client(server.url)) as client:
            assert [chat(client), chat(client)] == [len(BLANKS) + 1] * 2
        assert handle.flush(PATIENCE)
        endings = [listed.recording.ending for listed in handle.recordings()]
        assert [ending.captured for ending in endings if ending] == ["full", "full"]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "on_notice failed; recording goes on, and further failures are not logged"
    ]


def test_a_callback_that_hangs_holds_up_neither_clients_nor_the_store_nor_the_end(path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hang(_notice: Notice) -> None:
        entered.set()
        leave.wait(PATIENCE)

    script = running(BLANKS, lambda: entered.wait(PATIENCE))
    with Loopback([script, script]) as server:
        with recorder.open(path, on_notice=hang) as handle:
            with handle.instrument(openai_client(server.url)) as client:
                assert [chat(client), chat(client)] == [len(BLANKS) + 1] * 2
            assert handle.flush(PATIENCE)
            assert len(handle.recordings()) == 2
        assert not leave.is_set(), "the handle closed while the callback hung"
        leave.set()


def notice() -> Notice:
    return Notice("whitespace_runaway", uuid7(), 3, 3000, 2, 2000, "20 pieces")


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close waits until all is told, though the machine be busy."""
    monkeypatch.setattr("recorder.handle.notices.LAST_WORDS", PATIENCE)


@pytest.mark.usefixtures("no_hurry")
def test_what_a_slow_callback_cannot_take_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    entered, leave = threading.Event(), threading.Event()
    heard: list[Notice] = []

    def slow(told: Notice) -> None:
        heard.append(told)
        entered.set()
        assert leave.wait(PATIENCE)

    notices = Notices(slow)
    first, *others = [notice() for _ in range(1 + WAITING + 3)]
    notices.add([first])
    assert entered.wait(PATIENCE)
    notices.add(others)
    assert notices.dropped == 3
    assert [record.getMessage() for record in caplog.records] == [
        "on_notice does not keep up: notices are dropped (the flags of the readings have them all)"
    ]
    leave.set()
    assert notices.close(PATIENCE)
    assert heard == [first, *others[:WAITING]]


@pytest.mark.usefixtures("no_hurry")
def test_a_close_tells_what_is_left_and_may_come_from_the_callback_itself() -> None:
    ears = Ears()
    notices = Notices(ears)
    assert notices.close(1), "nothing was ever told"
    told = [notice() for _ in range(50)]
    closing: list[bool] = []

    def close(one: Notice) -> None:
        ears(one)
        closing.append(notices.close(PATIENCE))

    notices = Notices(close)
    notices.add(told)
    assert notices.close(PATIENCE)
    assert ears.notices == told
    assert closing == [True] * len(told)


def _child(handle: Handle, url: str, results: Any) -> None:
    with handle.instrument(httpx2.Client(timeout=PATIENCE)) as client:
        client.post(f"{url}/v1/chat/completions", json={"response_format": JSON_MODE})
    results.put((handle.flush(PATIENCE), handle.close(PATIENCE)))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # a fork beside a thread is what is tested
def test_a_forked_child_hears_of_its_own_runaways(path: Path) -> None:
    """The thread of the parent is not in the child."""
    context = multiprocessing.get_context("fork")
    heard, results = context.Event(), context.SimpleQueue()
    count = context.Value("i", 0)

    def hear(_notice: Notice) -> None:
        with count.get_lock():
            count.value += 1
        heard.set()

    def wait() -> bool:
        return bool(heard.wait(PATIENCE))

    with Loopback([running(BLANKS, wait), running(BLANKS, wait)]) as server:
        with recorder.open(path, on_notice=hear) as handle:
            with handle.instrument(httpx2.Client(timeout=PATIENCE)) as client:
                client.post(f"{server.url}/v1/chat/completions", json={"response_format": JSON_MODE})
            heard.clear()
            child = context.Process(target=_child, args=(handle, server.url, results), daemon=True)
            child.start()
            child.join(PATIENCE)
            assert child.exitcode == 0
            assert results.get() == (True, True)
    assert count.value == 2
