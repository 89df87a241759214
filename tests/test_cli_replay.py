"""`recorder replay` as a shell sees it: its first line, a program under it, its exit codes, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest

from recorder.recording import Head
from tests.command import invoke
from tests.needs import ROOT
from tests.payloads import CHAT
from tests.replaying import BODY, EVENTS, asking, kept

ANSWERED = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))

#: Seconds that anything here may take: never to be reached, and above what a busy machine may need.
PATIENCE = 60.0

#: Posts the recorded request so many times to the base URL in its environment; prints the statuses.
PROGRAM = """
import os, sys, urllib.request, urllib.error
for _ in range(int(sys.argv[1])):
    asked = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", b'{"stream":true}')
    asked.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(asked) as reply:
            reply.read()
            print(reply.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same request twice."""
    path = tmp_path_factory.mktemp("replay") / "recorder.db"
    for _ in range(2):
        kept(path, ANSWERED, *CHAT)
    return path


def command(store: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "recorder", "--store", str(store), "replay", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def under(store: Path, *arguments: str, times: int = 1, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """The program under `recorder replay`."""
    program = [sys.executable, "-c", PROGRAM, str(times), str(code)]
    return subprocess.run(
        [*command(store, *arguments), "--", *program],
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=PATIENCE,
        check=False,
    )


@contextlib.contextmanager
def server(store: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of its own; the base URL out of its first line."""
    with subprocess.Popen(
        command(store, "--port", "0", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            first = _pipe(process.stdout).readline()
            assert first.startswith("listening on http://127.0.0.1:")
            yield first.split()[-1], process
        finally:
            process.kill()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def post(base: str, **headers: str) -> int:
    kind = {"content-type": "application/json"}
    url = f"{base}/v1/chat/completions"
    return httpx.post(url, content=BODY, headers={**kind, **headers}, timeout=PATIENCE).status_code


# -- a server ----------------------------------------------------------------------------------------------------------


def test_a_server_says_where_it_listens_and_ends_when_told(store: Path) -> None:
    """A first signal lets streams end; the rest of what it says goes to stderr."""
    with server(store, "--repeat", "last") as (base, process):
        assert [post(base), post(f"{base}/openai"), post(base)] == [200, 200, 200]
        assert httpx.post(f"{base}/v1/x", json={"said": "a private text"}, timeout=PATIENCE).status_code == 404
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out == ""
    assert "MISS no recording answers POST /v1/x (" in err
    assert "private" not in err
    assert "3 answered from the store, 1 missed" in err


def test_a_second_signal_ends_what_hangs(store: Path) -> None:
    """A stream at a slow pace is broken off; whoever listens to it meets a reset."""
    with server(store, "--pace", "x0.00001") as (base, process):
        host, _, port = base.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as sock:
            sock.sendall(asking())
            while not httpx.get(f"{base}/__recorder/health", timeout=PATIENCE).json()["open_streams"]:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            while "stopping when" not in _pipe(process.stderr).readline():
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""


def test_two_servers_share_a_session(store: Path) -> None:
    """By the option or the header, the second gets what the first has left; another name has them all."""
    with server(store, "--session", "suite") as (one, _), server(store) as (two, _):
        assert post(one) == 200
        assert post(two, **{"X-Recorder-Session": "suite"}) == 200
        assert post(one) == 404
        assert post(two, **{"X-Recorder-Session": "other"}) == 200
        assert post(two) == 200


def test_a_port_that_is_taken_is_told(store: Path) -> None:
    with server(store) as (base, _):
        done = subprocess.run(
            command(store, "--port", base.rpartition(":")[2]),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr


# -- a program under it ------------------------------------------------------------------------------------------------


def test_a_program_finds_the_server_in_its_environment(store: Path) -> None:
    """Its output is its own, what we say goes to stderr; its code is passed on. A key that is empty is none."""
    done = under(store, times=2, code=3, OPENAI_API_KEY="")
    assert (done.returncode, done.stdout) == (3, "200\n200\n")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("listening on http://127.0.0.1:")
    (said,) = [line for line in rest if line.startswith("set for the program: ")]
    base = first.split()[-1]
    keys = ("OPENAI_API_KEY=unused", "ANTHROPIC_API_KEY=unused")
    for word in (f"OPENAI_BASE_URL={base}/openai/v1", f"ANTHROPIC_BASE_URL={base}/anthropic", *keys):
        assert word in said
    assert "2 answered from the store, 0 missed" in done.stderr


def test_a_miss_turns_success_into_1_and_leaves_a_failure(store: Path) -> None:
    assert under(store, times=3).returncode == 1
    assert under(store, times=3, code=7).returncode == 7
    assert under(store, "--repeat", "cycle", times=3).returncode == 0


def test_a_base_url_that_is_set_says_what_paths_mean(tmp_path: Path) -> None:
    """As it does when recording: the gateway's own path stands before what was recorded. A key stays as it is."""
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    done = under(
        tmp_path / "r.db", OPENAI_BASE_URL="https://gateway.test/v1", OPENAI_API_KEY="sk-of-ones-own-0123456789"
    )
    assert (done.returncode, done.stdout) == (0, "200\n")
    assert "sk-of" not in done.stderr


def test_faults_meet_a_program_and_those_that_did_not_are_told(store: Path) -> None:
    done = under(store, "--fault", "status=503@request=1", "--fault", "cut@event=99", times=2)
    assert done.stdout == "503\n200\n"
    assert done.returncode == 0
    assert "the fault cut@event=99 never happened" in done.stderr


def test_a_program_that_is_not_there_is_127(store: Path) -> None:
    done = subprocess.run(
        [*command(store), "--", "no-such-program-anywhere"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 127
    assert "'no-such-program-anywhere' cannot be run" in done.stderr


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "explode@event=1"], "fault 'explode@event=1' is none: write cut, reset"),
        (["--pace", "fast"], "say instant, recorded, or xN"),
        (["--chunks", "none"], "say recorded, event, joined"),
        (["--repeat", "always"], "'always' is not one of"),
        (["--host", "0.0.0.0"], "lets other machines in: give --token too"),
        (["--host", "0.0.0.0", "--token", "t" * 32], "over plain HTTP: give --tls-cert, or --insecure-http"),
        (["--token", "short"], "--token is too short"),
        (["--tls-key", "x"], "--tls-key is of no use without --tls-cert"),
        (["--token", "t" * 32, "--", "true"], "the program could not send the token"),
        (["--upstream", "ftp://x"], "http"),
    ],
)
def test_what_cannot_be_is_a_usage_error(store: Path, arguments: list[str], says: str) -> None:
    done = invoke("replay", *arguments, store=store)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_without_a_store_there_is_nothing_to_answer_from(tmp_path: Path) -> None:
    done = invoke("replay", store=tmp_path / "none.db")
    assert done.exit_code == 3
    assert not (tmp_path / "none.db").exists()


def test_help_names_each_fault(store: Path) -> None:
    text = invoke("replay", "--help").stdout
    for word in ("cut@event=", "reset@", "stall@event=", "malformed@event=", "status=", "rate=", "seed=", "byte="):
        assert word in text


def test_the_rule_of_the_configuration_holds(tmp_path: Path) -> None:
    """An ignore path in recorder.toml lets a request pass that differs there."""
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    (tmp_path / "recorder.toml").write_text('ignore = ["body.extra"]\n')
    program = (
        "import os, urllib.request as u; u.urlopen(u.Request(os.environ['OPENAI_BASE_URL'] + '/chat/completions', "
    )
    program += json.dumps('{"stream":true,"extra":1}') + ".encode(), {'Content-Type': 'application/json'})).read()"
    arguments = ["--", sys.executable, "-c", program]
    codes = [
        subprocess.run(
            command(tmp_path / "r.db", *arguments), cwd=folder, env=environment(), capture_output=True, check=False
        ).returncode
        for folder in (tmp_path, tmp_path.parent)
    ]
    assert codes == [0, 1]
