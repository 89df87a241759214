"""What a tape costs: the plugin's loading, a test with one call, a suite of 1,000 recordings, one of 10,000 events.

A test is held against the same call of the same client with a transport that has the answer in memory. The long
recording is held against vcrpy's cassette of the same answer, loaded and read by the same client in the same run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
import vcr

import recorder
from recorder import exchange
from recorder.recording import Kind
from tests.benchmarks.figures import bar, heading, ms, note, table, taking_turns
from tests.needs import ROOT
from tests.plugged import Provider, chat, serving

ROUNDS: Final = 9
CALLS: Final = 100
SUITE: Final = 1000
EVENTS: Final = 10_000

BODY: Final[dict[str, Any]] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}

_LOAD: Final = """
import pytest, time
begun = time.perf_counter()
import recorder.pytest_plugin
print(time.perf_counter() - begun)
"""

_SUITE: Final = """
import httpx, pytest
client = httpx.Client(trust_env=False)

@pytest.mark.recorder(file="one.jsonl")
@pytest.mark.parametrize("number", range({suite}))
def test_it(number):
    assert client.post("{url}", json={body!r}).read()
"""


class _Memory(httpx.BaseTransport):
    """Has the answer already."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=_Pieces(self._pieces))


class _Pieces(httpx.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def environment(bytecode: str) -> dict[str, str]:
    """With bytecode, which an installation has, and no plugin but ours."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "PYTHONPYCACHEPREFIX": bytecode,
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def loading(folder: Path, variables: dict[str, str]) -> None:
    """The plugin alone, in a process that has pytest."""

    def seconds() -> float:
        command = [sys.executable, "-c", _LOAD]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=variables, cwd=folder)
        return float(done.stdout)

    least = 1e3 * min(taking_turns(ROUNDS, {"plugin": seconds})["plugin"])
    heading("Milliseconds to load the plugin")
    table(("", "ms"), [("recorder.pytest_plugin", least)])
    bar("tape: loading the plugin", least, most=2, unit=" ms")


def one_test(path: Path, url: str) -> None:
    """A tape round one call, in CPU time: what a busy machine does beside does not count."""
    (entry,) = exchange.read(path)
    pieces = [b"data: " + (event.data or b"") + b"\n\n" for event in entry.events if event.kind == Kind.SSE]
    memory, client = httpx.Client(transport=_Memory(pieces)), httpx.Client(trust_env=False)

    def alone() -> None:
        memory.post(url, json=BODY).read()

    def taped() -> None:
        with recorder.replaying(path):
            client.post(url, json=BODY).read()

    def spent(call: Callable[[], None]) -> Callable[[], float]:
        def measure() -> float:
            begun = time.process_time()
            for _ in range(CALLS):
                call()
            return (time.process_time() - begun) / CALLS

        return measure

    took = taking_turns(ROUNDS, {"client alone": spent(alone), "with a tape": spent(taped)})
    least = {name: ms(min(values)) for name, values in took.items()}
    heading(f"Milliseconds of CPU for a call with {len(pieces)} events, the least of {ROUNDS} times {CALLS}")
    table(("", "ms"), list(least.items()))
    bar("tape: added to a test", least["with a tape"] - least["client alone"], most=1, unit=" ms")


def suite(folder: Path, url: str, variables: dict[str, str]) -> None:
    """A suite of many tests with tapes: until the first has passed, and all of them."""
    (folder / "test_suite.py").write_text(_SUITE.format(suite=SUITE, url=url, body=BODY), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "recorder.pytest_plugin", "-p", "no:cacheprovider"]

    def seconds(*arguments: str) -> float:
        begun = time.perf_counter()
        subprocess.run([*command, *arguments], check=True, capture_output=True, env=variables, cwd=folder)
        return time.perf_counter() - begun

    contestants = {
        "collected": lambda: seconds("--collect-only"),
        "one of them run": lambda: seconds("test_suite.py::test_it[7]"),
        "all run": seconds,
    }
    took = {name: min(values) for name, values in taking_turns(3, contestants).items()}
    heading(f"Seconds for a suite of {SUITE:,} tests with a recording each, from the process's start to its end")
    table(("", "s"), list(took.items()))
    bar(
        "tape: a suite's first test above its collection",
        took["one of them run"] - took["collected"],
        most=1,
        unit=" s",
    )


def long_one(folder: Path, provider: Provider) -> None:
    """One long recording, loaded and read."""
    path, cassette = folder / "long.jsonl", folder / "long.yaml"
    provider.answer = chat(" ".join(f"word{number}" for number in range(EVENTS)))
    url = f"{provider.origin}/v1/chat/completions"
    recording = vcr.VCR(record_mode="once")
    client = httpx.Client(trust_env=False)

    def read() -> int:
        with client.stream("POST", url, json=BODY) as response:
            return sum(map(len, response.iter_raw()))

    with recorder.replaying(path, mode="record"):
        size = read()
    with recording.use_cassette(str(cassette)):
        read()

    def ours(chunks: str) -> Callable[[], float]:
        def measure() -> float:
            begun = time.process_time()
            with recorder.replaying(path, chunks=chunks):
                assert read() == size
            return time.process_time() - begun

        return measure

    def theirs() -> float:
        begun = time.process_time()
        with recording.use_cassette(str(cassette), record_mode="none"):
            assert read() == size
        return time.process_time() - begun

    contestants = {"ours, in its chunks": ours("recorded"), "ours, in one": ours("joined"), "vcrpy, in one": theirs}
    took = {name: ms(median(values)) for name, values in taking_turns(ROUNDS, contestants).items()}
    heading(f"Milliseconds of CPU to load and read a recording of {EVENTS:,} events, {size:,} bytes")
    table(("", "ms"), list(took.items()))
    note("vcrpy's parser is libyaml's, in C, and gives the body as one text; ours reads each event with its time.")
    bar("tape: a long recording against vcrpy", took["vcrpy, in one"] / took["ours, in one"], least=10)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, serving() as provider:
        folder = Path(name)
        os.environ["OPENAI_BASE_URL"] = provider.origin
        variables = environment(str(folder / "bytecode"))
        url = f"{provider.origin}/v1/chat/completions"
        path = folder / "one.jsonl"
        provider.say = [" ".join("word" for _ in range(16))]
        with recorder.replaying(path, mode="record"), httpx.Client(trust_env=False) as client:
            client.post(url, json=BODY).read()
        loading(folder, variables)
        one_test(path, url)
        suite(folder, url, variables)
        long_one(folder, provider)


if __name__ == "__main__":
    main()
