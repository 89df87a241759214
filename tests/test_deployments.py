"""recorder where applications run: each way of deploying that the README names, with the real servers and processes.

Whatever the processes do, at the end every call stands in the store exactly once, whole or marked, nothing is left
open, and SQLite finds its file sound.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from recorder import replay
from recorder.demo import stream
from recorder.demo.upstream import upstream
from recorder.recording import Recording
from recorder.store import RunFilter, Store
from recorder.writer import recover
from tests.loopback import LAST_CHUNK, Act, Loopback, Request, Step, chunk, stream_head
from tests.needs import ROOT

WHOLE = stream("responses-completed")
FRAMES = [frame + b"\n\n" for frame in WHOLE.split(b"\n\n")[:-1]]
PATIENCE = 30.0


# -- what is in the store ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """One recording: its number, how it ended, and the bytes of its answer."""

    number: str
    ending: str
    captured: str
    body: bytes


def found(path: Path, *, recovered: int = 0, unread: int = 0) -> list[Found]:
    """Every recording of a store that nobody writes to any more, by number.

    Recovery has to close `recovered` recordings, and then nothing is open; `unread` readings are due.
    """
    with Store.open(path) as store:
        assert len(recover(store)) == recovered
        assert store.open_recordings() == []
        assert len(store.unread()) == unread
        listed = store.recordings(RunFilter(limit=10_000))
        entries = [_entry(store, store.recording(one.recording.recording_id)) for one in listed]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return sorted(entries, key=lambda entry: entry.number)


def _entry(store: Store, recording: Recording) -> Found:
    body: list[bytes] = []
    replay.emit(store, recording, body.append)
    assert recording.ending is not None
    return Found(recording.tags["number"], recording.ending.ending, recording.ending.captured, b"".join(body))


def wholes(*numbers: object) -> list[Found]:
    """What is found of calls that came to their end."""
    return [Found(number, "eof", "full", WHOLE) for number in sorted(map(str, numbers))]


def wait_until(path: Path, *, ended: int, under_way: int) -> None:
    """Wait until the store has so many recordings that have ended, and so many, with an event, that are under way."""
    deadline = time.monotonic() + PATIENCE
    with Store.open(path) as store:
        while time.monotonic() < deadline:
            leases = store.open_recordings()
            begun = all(next(store.events(one.recording_id), None) for one in leases)
            known = len(store.recordings(RunFilter(limit=1000)))
            if begun and (len(leases), known) == (under_way, ended + under_way):
                return
            time.sleep(0.02)
    raise AssertionError(f"there were never {ended} that have ended and {under_way} under way")


# -- processes ---------------------------------------------------------------------------------------------------------


def environment(path: Path, base_url: str) -> dict[str, str]:
    """The environment of an application: its store, its provider, and where this checkout is."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RECORDER_STORE": str(path),
        "OPENAI_BASE_URL": f"{base_url}/v1",
        "OPENAI_API_KEY": "none",
        # IPython's folder would be shared by all that run at the same time.
        "HOME": str(path.parent),
        # Else uvicorn kills a worker that had no turn for five seconds.
        "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "60",
    }


@contextlib.contextmanager
def served(command: list[str], path: Path, base_url: str) -> Iterator[str]:
    """A server in processes of its own while the block runs; gives its URL. Then it is ended as an operator would."""
    log = path.with_name("server.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=path.parent,
            env=environment(path, base_url),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield _address(process, log)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said, said
    assert "recorder cannot" not in said, said


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text(encoding="utf-8")
        address = re.search(r"http://127\.0\.0\.1:[1-9]\d*", said)
        # uvicorn names its address before its workers have imported the application.
        if address and ("Application startup complete" in said or "Booting worker" in said):
            return address[0]
        time.sleep(0.02)
    raise AssertionError(log.read_text(encoding="utf-8"))


def ask_all(url: str, numbers: Iterable[object]) -> set[int]:
    """Makes these calls, six at a time, and sees that each gets the same answer; the processes that answered."""
    with httpx.Client(timeout=PATIENCE) as client, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: client.get(f"{url}/{number}").raise_for_status().content, numbers))
    processes, bodies = zip(*(answer.split(b"\n", 1) for answer in answers), strict=True)
    assert len(set(bodies)) == 1
    assert bodies[0].count(b"response.completed") > 0
    return set(map(int, processes))


def run(script: str, path: Path, base_url: str) -> str:
    """A program in a process of its own, to its end, without a word on stderr; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=path.parent,
        env=environment(path, base_url),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 2,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# -- gunicorn ----------------------------------------------------------------------------------------------------------

GUNICORN = ["gunicorn", "--preload", "--workers", "3", "--bind", "127.0.0.1:0", "--timeout", "100"]


def _answered(asked: Request) -> Iterator[Step]:
    """The whole stream, event by event; but to the call `killed` its first events alone, while the client stays."""
    yield stream_head()
    held = json.loads(asked.body)["input"] == "killed"
    for frame in FRAMES[:3] if held else FRAMES:
        yield chunk(frame)
        yield 0.005
    yield Act.HOLD if held else LAST_CHUNK


def test_gunicorn_preload(tmp_path: Path) -> None:
    """The master opens, records and forks; each worker is a writer of its own, and all drain when the server ends.

    A worker is killed in the middle of a call: another closes that one as interrupted, and all else is whole.
    """
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    path = tmp_path / "tape.db"
    command = [*GUNICORN, "tests.deployed:wsgi"]
    with Loopback([_answered], repeat_last=True) as provider, served(command, path, provider.url) as url:
        workers = ask_all(url, range(24))
        wait_until(path, ended=25, under_way=0)  # an end that its client has seen may not be stored yet
        with httpx.stream("GET", f"{url}/killed", timeout=PATIENCE) as response:
            chunks = response.iter_raw()
            doomed = int(next(chunks))
            wait_until(path, ended=25, under_way=1)
            os.kill(doomed, signal.SIGKILL)
            _wait_for_the_end_of(doomed)
        workers.add(doomed)
        after = ask_all(url, range(24, 36))
        # Who writes for the first time looks for the dead: of these workers, maybe the killed one's heir alone.
        deadline = time.monotonic() + PATIENCE
        more = 0
        while (after <= workers or len(after) < 2) and time.monotonic() < deadline:
            after |= ask_all(url, [f"more-{more + number}" for number in range(6)])
            more += 6
        assert not after <= workers, "nobody took the place of the killed worker"
        assert len(after) >= 2
    entries = {entry.number: entry for entry in found(path)}
    killed = entries.pop("killed")
    assert list(entries.values()) == wholes("import", *range(36), *(f"more-{number}" for number in range(more)))
    assert (killed.number, killed.ending, killed.captured) == ("killed", "interrupted", "truncated")
    assert killed.body
    assert WHOLE.startswith(killed.body)


def _wait_for_the_end_of(process: int) -> None:
    """Until its master has taken notice of it: by then it holds no file and no lock."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(process, 0)
            time.sleep(0.01)
        raise AssertionError(f"{process} did not die")


# -- uvicorn -----------------------------------------------------------------------------------------------------------

UVICORN = ["uvicorn", "--host", "127.0.0.1", "--port", "0", "tests.deployed_fastapi:app"]


def test_uvicorn_workers(tmp_path: Path) -> None:
    """Workers that never forked write one file together; SIGTERM ends them with everything stored."""
    _need_fastapi()
    path = tmp_path / "tape.db"
    with upstream() as base_url, served([*UVICORN, "--workers", "2"], path, base_url) as url:
        workers = ask_all(url, range(12))
        while len(workers) < 2:  # the other one may still be importing
            workers |= ask_all(url, [f"more-{time.monotonic_ns()}" for _ in range(6)])
    entries = found(path)
    assert [entry for entry in entries if entry.number.isdigit()] == wholes(*range(12))
    assert {(entry.ending, entry.captured, entry.body) for entry in entries} == {("eof", "full", WHOLE)}


def _need_fastapi() -> None:
    for module in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(module, reason=f"{module} is not installed")


def _held(_: Request) -> Iterator[Step]:
    """Three events, then silence for as long as the client stays."""
    yield stream_head()
    yield chunk(b"".join(FRAMES[:3]))
    yield Act.HOLD


def _ticking(_: Request) -> Iterator[Step]:
    """Three events, then one of them again and again."""
    yield stream_head()
    yield chunk(b"".join(FRAMES[:3]))
    for _number in range(3000):  # for longer than anybody waits for the client's leaving
        yield 0.02
        yield chunk(FRAMES[2])
    yield LAST_CHUNK


def _leave(url: str) -> None:
    """Reads what there is, and goes away."""
    with httpx.stream("GET", url, timeout=PATIENCE) as response:
        lines = response.iter_lines()
        events = [next(lines) for _ in range(4)][1:]
    assert events == ["response.created", "response.in_progress", "response.output_item.added"]


def test_a_client_of_a_streaming_response_that_leaves(tmp_path: Path) -> None:
    """The upstream sees the close and the record says so: from an async generator at once, from a plain one when
    Python collects it."""
    _need_fastapi()
    path = tmp_path / "tape.db"
    with Loopback([_held, _ticking]) as provider, served(UVICORN, path, provider.url) as url:
        _leave(f"{url}/left")
        assert provider.connections[0].gone.wait(PATIENCE)
        _leave(f"{url}/sync/left-sync")
        deadline = time.monotonic() + PATIENCE
        while not provider.connections[1].gone.wait(0.05) and time.monotonic() < deadline:
            httpx.get(f"{url}/collect").raise_for_status()
        assert "ours" not in {link.gone_how for link in provider.connections}
    held, ticking = found(path)
    assert held == Found("left", "client_closed", "full", b"".join(FRAMES[:3]))
    assert (ticking.number, ticking.ending, ticking.captured) == ("left-sync", "client_closed", "full")
    assert ticking.body.startswith(held.body)
    assert ticking.body[len(held.body) :].replace(FRAMES[2], b"") == b""


# -- pools -------------------------------------------------------------------------------------------------------------

POOL = """
    import multiprocessing
    from tests.deployed import ask

    if __name__ == "__main__":
        pool = multiprocessing.get_context("fork").Pool(3)
        answers = pool.map(ask, map(str, range(12)), chunksize=1)
        pool.close()
        pool.join()
        # Leaving the block ends these workers by SIGTERM.
        with multiprocessing.get_context("fork").Pool(2) as pool:
            answers += pool.imap_unordered(ask, map(str, range(12, 24)))
        answers.append(ask("after"))
        assert len({body for _, body in answers}) == 1
        print(len({process for process, _ in answers}))
"""


def test_a_prefork_pool(tmp_path: Path) -> None:
    """Children of a process that records are writers of their own, and drain when the pool closes or is terminated."""
    path = tmp_path / "tape.db"
    with upstream() as base_url:
        assert int(run(POOL, path, base_url)) >= 3
    assert found(path) == wholes("import", "after", *range(24))


# -- freezing ----------------------------------------------------------------------------------------------------------

FUNCTION = """
    from tests.deployed import ask, tape

    # A function as a platform runs it that freezes the process between two calls, and may never thaw it.
    while True:
        number = input()
        answer = ask(number)
        print(number, tape.flush(timeout=30), flush=True)
"""


def test_flush_before_a_freeze(tmp_path: Path) -> None:
    """What was flushed survives that the process is stopped at once, thawed, stopped again, and killed."""
    path = tmp_path / "tape.db"
    with (
        upstream() as base_url,
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(FUNCTION)],
            cwd=tmp_path,
            env=environment(path, base_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(4):
            process.stdin.write(f"{number}\n")
            assert process.stdout.readline() == f"{number} True\n"
            process.send_signal(signal.SIGSTOP)
            if number < 3:
                time.sleep(0.05)
                process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
    assert found(path) == wholes("import", *range(4))


# -- notebooks ---------------------------------------------------------------------------------------------------------

CELLS = {
    "everything in one cell": [
        """
        import httpx, os, recorder
        URL = os.environ["OPENAI_BASE_URL"] + "/responses"
        tape = recorder.open()
        client = tape.instrument(httpx.Client())
        with recorder.context(tags={"number": "x"}):
            answer = client.post(URL, json={"input": "x", "stream": True}).content
        """
    ],
    "the client in a cell before": [
        """
        import httpx, os, recorder
        URL = os.environ["OPENAI_BASE_URL"] + "/responses"
        client = httpx.Client()
        """,
        """
        tape = recorder.open()
        tape.instrument(client)
        tape.instrument(client)
        with recorder.context(tags={"number": "x"}):
            answer = client.post(URL, json={"input": "x", "stream": True}).content
        """,
    ],
    "a patch": [
        """
        import httpx, os, recorder
        URL = os.environ["OPENAI_BASE_URL"] + "/responses"
        """,
        """
        tape = recorder.open()
        tape.patch(hosts=["127.0.0.1"])
        client = tape.instrument(httpx.Client())
        with recorder.context(tags={"number": "x"}):
            answer = client.post(URL, json={"input": "x", "stream": True}).content
        """,
    ],
}

PLAIN = """
    def execute(source, namespace={}):
        exec(source, namespace)
"""
IPYTHON = """
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    def execute(source):
        shell.run_cell(source).raise_error()
"""


@pytest.mark.parametrize("shell", [PLAIN, IPYTHON], ids=["exec", "IPython"])
@pytest.mark.parametrize("cells", CELLS)
def test_a_notebook_cell_that_is_run_twice(cells: str, shell: str, tmp_path: Path) -> None:
    """Its calls are recorded once each: instrumenting again, also through a new handle, replaces and never stacks."""
    if shell is IPYTHON and find_spec("IPython") is None:
        pytest.skip("IPython is not installed")
    path = tmp_path / "tape.db"
    sources = [textwrap.dedent(cell) for cell in CELLS[cells]]
    order = [*sources, sources[-1]]
    with upstream() as base_url:
        run(textwrap.dedent(shell) + f"\nfor source in {order!r}:\n    execute(source)\n", path, base_url)
    assert found(path) == wholes("x", "x")
