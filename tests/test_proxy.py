"""`recorder record` as a program, and the parts of the proxy that need no wire: routes, variables, metrics, lines."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from recorder.cli import main
from recorder.demo.upstream import ASSISTANTS, upstream
from recorder.errors import UsageError
from recorder.proxy import Figures, Route, Routes, Service, Settings, child_environment, routes_for
from recorder.proxy.ledger import line
from recorder.proxy.metrics import text
from recorder.proxy.tape import Calls, tags_of
from recorder.recording import Reading, Recording, Request
from recorder.store import RunFilter, Store
from tests.certificates import make
from tests.conversations import KEY, Talk, agents_with_a_token
from tests.loopback import LAST_CHUNK, Act, Loopback, chunk, head, stream_head, stream_script
from tests.proxied import Program, Proxied, killed
from tests.rows import an_end, opened
from tests.wired import exchange, talk

BODY = b"".join(b'event: a\ndata: {"n":%d}\n\n' % number for number in range(20))
#: Seconds that a client or a wait may take: never to be reached, and above what a busy machine may need.
PATIENCE = 30.0

# -- routes --------------------------------------------------------------------------------------------------------


def test_the_defaults_are_openai_and_anthropic() -> None:
    assert [(route.name, route.url) for route in Routes.of([]).all] == [
        ("openai", "https://api.openai.com"),
        ("anthropic", "https://api.anthropic.com"),
    ]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/a/v1/x?b=c", ("http://one/v1/x?b=c")),
        ("/a/", "http://one/"),
        ("/a", "http://one/"),
        ("/b/x", "http://two:81/base/x"),
        ("/b", "http://two:81/base"),
        ("/b?x=1", "http://two:81/base?x=1"),
        ("/c/x?y", "http://bare/root/c/x?y"),
        ("/", "http://bare/root/"),
        ("/aa/x", "http://bare/root/aa/x"),
    ],
)
def test_a_path_means_one_upstream(target: str, found: str) -> None:
    routes = Routes.of(["a=http://one", "b=http://two:81/base/", "http://bare/root"])
    hit = routes.find(target)
    assert hit is not None
    assert f"{hit[0].origin}{hit[1]}" == found


def test_without_a_bare_upstream_other_paths_mean_nothing() -> None:
    routes = Routes.of(["a=http://one"])
    assert routes.find("/b/x") is None
    assert routes.find("/") is None


@pytest.mark.parametrize(
    "text_",
    [
        "api.openai.com",
        "ftp://x",
        "https://user:password@x",
        "https://x?a=b",
        "https://x#f",
        "https://x/a/../b",
        "https://x//y",
        "__recorder=https://x",
        "a b=https://x",
        "=https://x",
    ],
)
def test_what_is_no_upstream(text_: str) -> None:
    """Said without the text, which may hold a password."""
    with pytest.raises(UsageError) as refused:
        Route.of(text_)
    assert "password" not in str(refused.value)


def test_two_upstreams_need_two_names() -> None:
    for texts in (["a=http://one", "a=http://two"], ["http://one", "http://two"]):
        with pytest.raises(UsageError, match="NAME=URL"):
            Routes.of(texts)


# -- the environment of a program ----------------------------------------------------------------------------------

BASE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("texts", "environment", "added"),
    [
        ([], {}, {"OPENAI_BASE_URL": f"{BASE}/openai/v1", "ANTHROPIC_BASE_URL": f"{BASE}/anthropic"}),
        (
            [],
            {"OPENAI_BASE_URL": "http://mine:8/api/v1"},
            {"OPENAI_BASE_URL": f"{BASE}/openai", "ANTHROPIC_BASE_URL": f"{BASE}/anthropic"},
        ),
        (
            [],
            {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/", "OPENAI_API_BASE": "http://mine"},
            {
                "OPENAI_BASE_URL": f"{BASE}/openai/v1",
                "OPENAI_API_BASE": f"{BASE}/openai/v1",
                "ANTHROPIC_BASE_URL": f"{BASE}/anthropic",
                "AZURE_OPENAI_ENDPOINT": f"{BASE}/azure-openai",
            },
        ),
        (["http://bare"], {}, {"OPENAI_BASE_URL": f"{BASE}/v1", "ANTHROPIC_BASE_URL": BASE}),
        (["http://bare/v1"], {}, {"OPENAI_BASE_URL": BASE, "ANTHROPIC_BASE_URL": BASE}),
        (["my-llm=http://one"], {}, {"MY_LLM_BASE_URL": f"{BASE}/my-llm"}),
        (["openai=http://one"], {}, {"OPENAI_BASE_URL": f"{BASE}/openai/v1"}),
    ],
)
def test_a_program_finds_the_proxy_by_its_variables(
    texts: list[str], environment: dict[str, str], added: dict[str, str]
) -> None:
    routes = routes_for(texts, environment)
    made, told = child_environment(routes, BASE, {**environment, "HOME": "/h"})
    assert {name: value for name, value in made.items() if "PROXY" not in name.upper()} == {
        **environment,
        "HOME": "/h",
        **added,
    }
    assert sorted(told) == sorted(f"{name}={value}" for name, value in added.items())


def test_what_was_set_becomes_the_upstream() -> None:
    routes = routes_for([], {"OPENAI_BASE_URL": "http://mine:8/api/v1", "OPENAI_API_BASE": "http://other"})
    assert {route.name: route.url for route in routes.all} == {
        "openai": "http://mine:8/api/v1",
        "anthropic": "https://api.anthropic.com",
    }


def test_a_program_does_not_look_for_us_behind_its_proxy() -> None:
    made, _ = child_environment(Routes.of([]), BASE, {"NO_PROXY": "example.com"})
    assert made["NO_PROXY"].split(",") == ["example.com", "127.0.0.1", "localhost", "::1"]


# -- small things --------------------------------------------------------------------------------------------------


def test_metrics_are_prometheus_text() -> None:
    figures = Figures(recordings=2, queue_bytes=5, lag_us=1500, endings={"eof": 2})
    shown = text(figures, {"requests": 3, "open_streams": 1}, {400: 7}).splitlines()
    assert "recorder_requests_total 3" in shown
    assert "recorder_open_streams 1" in shown
    assert "recorder_durable_lag_seconds 0.0015" in shown
    assert 'recorder_refusals_total{status="400"} 7' in shown
    assert 'recorder_endings_total{ending="eof"} 2' in shown
    for each in shown:
        assert re.fullmatch(r'# (HELP|TYPE) recorder_\w+ .+|recorder_\w+(\{\w+="\w+"\})? [0-9.e+-]+', each), each


def test_a_line_says_what_became_of_a_recording() -> None:
    request = Request("POST", "https://x/v1/runs?api-key=canary", (), b"{}", 2)
    recording = opened(request=request)
    _, ending = an_end(recording, 7, "reset")
    reading = Reading(
        dialect="chat",
        status="incomplete",
        stop_reason="output_limit",
        model="evil\x1b[31m\u202e",
        input_tokens=10,
        output_tokens=64,
        max_completion_tokens=256,
        ttft_us=120_000,
        flags=("whitespace_runaway",),
    )
    import dataclasses

    shown = line(dataclasses.replace(recording, ending=ending), reading)
    assert "incomplete/output_limit in=10 out=64/256 (25%) first=0.12 s" in shown
    assert shown.endswith("7 events ending=reset [whitespace_runaway]")
    assert "canary" not in shown
    assert shown.isprintable()
    assert shown.isascii()


def test_tags_come_from_a_header() -> None:
    assert tags_of(["a=1, b=x=y", "c=", "nothing, =x"]) == {"a": "1", "b": "x=y", "c": ""}


def test_only_what_says_that_it_repeats_is_linked() -> None:
    calls = Calls()

    def asked(count: str, body: bytes = b"{}") -> Any:
        return calls.of(Request("POST", "http://x/", (("X-Stainless-Retry-Count", count),), body, len(body)))

    first = asked("0")
    assert asked("1") == asked("2") == first
    assert asked("1", b"[]") != first
    assert asked("0") != first


# -- the service ---------------------------------------------------------------------------------------------------


def test_health_and_metrics_are_served(tmp_path: Path) -> None:
    with Loopback([stream_script(BODY)]) as server, Proxied(tmp_path / "r.db", server.url) as proxy:
        httpx.post(proxy.url + "/v1/x", json={}, timeout=PATIENCE)
        health = httpx.get(proxy.url + "/__recorder/health", timeout=PATIENCE)
        assert (health.status_code, health.json()) == (200, {"status": "ok", "open_streams": 0})
        talk(proxy.address, b"nonsense\r\n\r\n")
        metrics = httpx.get(proxy.url + "/__recorder/metrics", timeout=PATIENCE)
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "recorder_requests_total 1\n" in metrics.text
        assert 'recorder_refusals_total{status="400"} 1\n' in metrics.text
        assert httpx.post(proxy.url + "/__recorder/metrics", timeout=PATIENCE).status_code == 405
        assert httpx.get(proxy.url + "/__recorder/x", timeout=PATIENCE).status_code == 404
        assert len(server.requests) == 1


def test_a_path_without_an_upstream_names_those_that_are_there(tmp_path: Path) -> None:
    with Proxied(tmp_path / "r.db", "a=http://127.0.0.1:9", "b=http://127.0.0.1:9") as proxy:
        answer = httpx.get(proxy.url + "/c/x", timeout=PATIENCE)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (404, "false")
    assert answer.json()["error"]["message"].endswith("there are: /a/ /b/")


def test_hostile_requests_reach_no_upstream(tmp_path: Path) -> None:
    from tests.hostile import REFUSED

    with Loopback([[head("200 OK", "Content-Length: 0")]]) as server, Proxied(tmp_path / "r.db", server.url) as proxy:
        for case in REFUSED[::4]:
            data = case.data.replace(b"HOST", b"%s:%d" % (proxy.address[0].encode(), proxy.address[1]))
            replies, closed = talk(proxy.address, data)
            assert (len(replies), closed) == (1, True), case.name
            assert replies[0].status in case.statuses, case.name
        wait_until(lambda: not proxy.service._open)
        for request in server.requests:  # a body that broke may have been on its way
            assert request.target == b"/v1/x"
        assert b"smuggled" not in b"".join(request.head for request in server.requests)


def test_a_token_opens_other_names(tmp_path: Path) -> None:
    settings = Settings(token="t" * 32, hosts=("0.0.0.0",))
    with (
        Loopback([stream_script(BODY)]) as server,
        Proxied(tmp_path / "r.db", server.url, settings=settings) as proxy,
    ):
        plain = b"GET /v1/x HTTP/1.1\r\nHost: box.example\r\n"
        assert exchange(proxy.address, plain + b"\r\n").status == 401
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(plain + b"X-Recorder-Token: " + b"t" * 32 + b"\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: bool(server.requests))
        assert b"oken" not in server.requests[0].head


def test_tls_towards_clients(tmp_path: Path) -> None:
    certificate = make(tmp_path)
    with (
        Loopback([stream_script(BODY), [stream_head(), chunk(BODY[:50]), Act.FIN]]) as server,
        Proxied(tmp_path / "r.db", server.url, tls=certificate.server()) as proxy,
        httpx.Client(verify=certificate.client(), trust_env=False, timeout=PATIENCE) as client,
    ):
        assert client.post(proxy.url + "/v1/x", json={}).content == BODY
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            client.post(proxy.url + "/v1/x", json={})


def test_azure_clients_are_recorded_and_answered_over_tls(tmp_path: Path) -> None:
    """They send a bearer token over nothing else. The whole conversation is there again with the upstream gone."""
    certificate = make(tmp_path)
    tls = ("--tls-cert", str(certificate.certificate), "--tls-key", str(certificate.key))
    store = tmp_path / "r.db"

    def talk(program: Program) -> Talk:
        told = agents_with_a_token(program.url(), certificate.certificate)
        code, _ = program.end(signal.SIGINT)
        assert code == 0, program.errors
        return told

    with upstream(0.0) as base:
        with killed(Program(store, "--port", "0", "--upstream", base, *tls)) as program:
            told = talk(program)
    assert {"thread", "created", "polled"} < {name for name, _ in told}
    with killed(Program(store, "--port", "0", *tls, serves="replay")) as program:
        assert talk(program) == told
        assert "no recording" not in program.errors
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.glob("r.db*") if file.is_file())


def test_the_record_begins_before_the_upstream_is_asked(tmp_path: Path) -> None:
    """When the upstream has a request, its recording is on its way into the store."""
    begun: list[int] = []

    with Proxied(tmp_path / "r.db", "http://127.0.0.1:9") as proxy:
        start = proxy.writer.start

        def noted(*given: Any, **named: Any) -> Any:
            begun.append(len(server.requests))
            return start(*given, **named)

        proxy.writer.start = noted  # type: ignore[method-assign]
        with Loopback([stream_script(BODY)], repeat_last=True) as server:
            proxy.service.routes = Routes.of([server.url])
            for _ in range(5):
                httpx.post(proxy.url + "/v1/x", json={}, timeout=PATIENCE)
    assert begun == [0, 1, 2, 3, 4]


def test_a_store_that_fails_stops_no_stream(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder").mkdir()
    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        proxy = Proxied(tmp_path / "folder", server.url)
        got = []
        with contextlib.suppress(AssertionError), proxy:
            got += [httpx.post(proxy.url + "/v1/x", json={}, timeout=PATIENCE).content for _ in range(3)]
    assert got == [BODY] * 3


def test_a_store_that_stalls_delays_no_client(tmp_path: Path) -> None:
    """While an append stands still, streams pass from their first byte to their last; all is stored afterwards."""
    stalled, go_on = threading.Event(), threading.Event()

    class Stalling(Store):
        def append(self, batch: Any) -> None:
            if not go_on.is_set():
                stalled.set()
                assert go_on.wait(60)
            super().append(batch)

    with (
        Loopback([stream_script(BODY)], repeat_last=True) as server,
        Proxied(tmp_path / "r.db", server.url, store=Stalling) as proxy,
    ):
        first = httpx.post(proxy.url + "/v1/0", json={}, timeout=PATIENCE)
        assert stalled.wait(PATIENCE)
        others = [httpx.post(f"{proxy.url}/v1/{at}", json={}, timeout=PATIENCE) for at in range(1, 6)]
        assert proxy.writer.stats.rows == 0
        go_on.set()
        proxy.flush()
    assert [answer.content for answer in (first, *others)] == [BODY] * 6
    assert [one.ending and (one.ending.ending, one.ending.captured) for one in stored(tmp_path / "r.db")] == [
        ("eof", "full")
    ] * 6


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- the program ---------------------------------------------------------------------------------------------------


def stored(path: Path) -> list[Recording]:
    with Store.open(path, readonly=True) as store:
        return [one.recording for one in reversed(store.recordings(RunFilter(limit=1000)))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_proxy_listens_records_and_stops(tmp_path: Path, number: int) -> None:
    """The first line says where; one line a run on stderr; a stop lets the open stream end and makes all durable."""
    go_on = threading.Event()

    def answer(_: Any) -> Iterator[Any]:
        yield stream_head()
        yield chunk(BODY[:50])
        assert go_on.wait(2 * PATIENCE)
        yield chunk(BODY[50:]) + LAST_CHUNK

    with (
        Loopback([answer]) as server,
        killed(Program(tmp_path / "r.db", "--port", "0", "--upstream", server.url)) as ran,
    ):
        url = ran.url()
        with httpx.stream("POST", url + "/v1/threads/t/runs", json={}, timeout=PATIENCE) as response:
            pieces = response.iter_raw()
            got = next(pieces)
            ran.process.send_signal(number)
            wait_until(lambda: "stopping" in ran.errors)
            go_on.set()
            assert got + b"".join(pieces) == BODY
        code, rest = ran.end()
    assert (code, rest) == (0, "")
    assert re.search(r"POST /v1/threads/t/runs 200 .* 21 events", ran.errors), ran.errors
    (recording,) = stored(tmp_path / "r.db")
    assert recording.ending is not None
    assert recording.ending.ending == "eof"


def test_a_second_signal_is_hard_and_leaves_a_marked_prefix(tmp_path: Path) -> None:
    with (
        Loopback([[stream_head(), chunk(BODY[:50]), Act.HOLD]]) as server,
        killed(Program(tmp_path / "r.db", "--port", "0", "--upstream", server.url)) as ran,
        contextlib.suppress(httpx.HTTPError),
        httpx.stream("POST", ran.url() + "/v1/x", json={}, timeout=PATIENCE) as response,
    ):
        pieces = response.iter_raw()
        assert next(pieces) == BODY[:50]
        ran.process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in ran.errors)  # or both might be delivered as one
        code, _ = ran.end(signal.SIGINT)
        assert next(pieces, b"") == b""
    assert code == 130
    (recording,) = stored(tmp_path / "r.db")
    assert recording.ending is not None
    assert (recording.ending.ending, recording.ending.captured) == ("interrupted", "truncated")
    assert recording.ending.wire_bytes == 50


CLIENT = """
import sys, openai, anthropic
client = openai.OpenAI(api_key="canary-of-openai-0123456789", max_retries=0)
list(client.responses.create(model="gpt-5-mini", input="Hello", stream=True))
list(client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}], stream=True))
client = anthropic.Anthropic(api_key="canary-of-anthropic-0123456789", max_retries=0)
messages = [{"role": "user", "content": "Hello"}]
list(client.messages.create(model="claude-haiku-4-5", max_tokens=512, messages=messages, stream=True))
print("the program's own output")
sys.exit(7)
"""


def test_a_program_is_recorded_by_its_environment(tmp_path: Path) -> None:
    """Its base URLs become the upstreams; its output and exit code are its own; a table says what was recorded."""
    with upstream() as url:
        environment = {"OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url}
        ran = Program(tmp_path / "r.db", "--", sys.executable, "-c", CLIENT, **environment)
        code, output = ran.end()
    assert (code, output) == (7, "the program's own output\n")
    first, *rest = ran.errors.splitlines()
    assert first.startswith("listening on http://127.0.0.1:")
    assert any(each.startswith("set for the program: OPENAI_BASE_URL=http://127.0.0.1:") for each in rest)
    assert len([each for each in rest if " POST /v1/" in each]) == 3
    assert "3 recordings in " in rest[-1]
    assert re.search(r"^\w{12} +messages +claude-haiku-4-5\S* +completed", ran.errors, re.MULTILINE)
    recordings = stored(tmp_path / "r.db")
    assert [recording.dialect for recording in recordings] == ["responses", "chat", "messages"]
    assert {recording.origin for recording in recordings} == {url}
    kept = ran.errors.encode() + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"canary" not in kept


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    ran = Program(tmp_path / "r.db", "--", "no-such-program-anywhere")
    assert ran.end()[0] == 127
    assert "'no-such-program-anywhere' cannot be run" in ran.errors


def test_a_killed_proxy_leaves_a_prefix_of_each_stream(tmp_path: Path) -> None:
    """Whatever was under way: the clients see an end in the middle, and the next one to write marks the recordings."""
    from recorder.replay import emit
    from recorder.writer.recovery import recover

    whole = BODY * 100  # takes longer than all of them take to be stored in part

    def answer(_: Any) -> Iterator[Any]:
        yield stream_head()
        for at in range(0, len(whole), 25):
            yield chunk(whole[at : at + 25])
            yield 0.01

    def begun() -> int:
        """How many recordings have so much in the store that something is left of them, whenever the kill comes."""
        with Store.open(tmp_path / "r.db", readonly=True) as store:
            ids = [listed.recording.recording_id for listed in store.recordings(RunFilter(limit=100))]
            return sum(sum(event.size for event in store.events(one, kinds=["sse"])) > 100 for one in ids)

    def read() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(url + "/v1/x", json={}, timeout=PATIENCE)

    with (
        Loopback([answer], repeat_last=True) as server,
        killed(Program(tmp_path / "r.db", "--port", "0", "--upstream", server.url)) as ran,
    ):
        url = ran.url()
        clients = [threading.Thread(target=read) for _ in range(20)]
        for client in clients:
            client.start()
        wait_until(lambda: len(server.requests) == 20)
        wait_until(lambda: begun() == 20)
        ran.end(signal.SIGKILL)
        for client in clients:
            client.join(PATIENCE)
        assert server.wait_gone(PATIENCE)
    with Store.open(tmp_path / "r.db") as store:
        recover(store)
        for listed in (listings := store.recordings(RunFilter(limit=100))):
            recording = store.recording(listed.recording.recording_id)
            pieces: list[bytes] = []
            emit(store, recording, pieces.append)
            assert whole.startswith(b"".join(pieces))
            assert recording.ending is not None
            assert (recording.ending.ending, recording.ending.captured) == ("interrupted", "truncated")
            assert len(b"".join(pieces)) > 100
    assert len(listings) == 20


def test_a_runaway_is_warned_of_while_it_streams(tmp_path: Path) -> None:
    """And the line of the run says so again."""
    with (
        upstream() as url,
        killed(Program(tmp_path / "r.db", "--port", "0", "--upstream", url)) as ran,
        openai.OpenAI(base_url=f"{ran.url()}/v1", api_key="k", max_retries=0) as client,
    ):
        body: dict[str, Any] = {"assistant_id": ASSISTANTS["invoice-intake"], "stream": True}
        body["response_format"] = {"type": "json_object"}
        kind = openai.Stream[Any]
        list(client.post("/threads/thread_demo/runs", body=body, cast_to=object, stream=True, stream_cls=kind))
        wait_until(lambda: " POST /v1/threads/thread_demo/runs 200 " in ran.errors)
        ran.end(signal.SIGTERM)
    warning, said = ran.errors.find("whitespace runaway since event"), ran.errors.find(" POST /v1/threads/")
    assert 0 < warning < said
    assert "whitespace_runaway" in ran.errors[said:]


def test_workers_share_a_port_and_a_store(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--workers", "2"]
    with (
        Loopback([stream_script(BODY)], repeat_last=True) as server,
        killed(Program(tmp_path / "r.db", *arguments, "--upstream", server.url)) as ran,
    ):
        url = ran.url()
        for _ in range(20):
            assert httpx.post(url + "/v1/x", json={}, timeout=PATIENCE).content == BODY
        code, _ = ran.end(signal.SIGTERM)
    assert code == 0, ran.errors
    recordings = stored(tmp_path / "r.db")
    assert len(recordings) == 20
    assert {recording.ending and recording.ending.ending for recording in recordings} == {"eof"}
    assert len({recording.writer for recording in recordings}) == 2


def test_disabled_means_forwarding_alone(tmp_path: Path) -> None:
    with (
        Loopback([stream_script(BODY)]) as server,
        killed(Program(tmp_path / "r.db", "--port", "0", "--upstream", server.url, RECORDER_DISABLED="1")) as ran,
    ):
        assert httpx.post(ran.url() + "/v1/x", json={}, timeout=PATIENCE).content == BODY
        assert ran.end(signal.SIGTERM)[0] == 0
    assert list(tmp_path.iterdir()) == []
    assert "recording is off" in ran.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "give --token too"),
        (["--host", "0.0.0.0", "--token", "t" * 30], "--tls-cert, or --insecure-http"),
        (["--token", "short"], "too short"),
        (["--tls-key", "x"], "--tls-cert"),
        (["--tls-cert", "nowhere.pem"], "certificate"),
        (["--ca", "nowhere.pem"], "--ca"),
        (["--upstream", "nonsense"], "must begin with http"),
        (["--upstream", "http://a", "--upstream", "http://b"], "NAME=URL"),
        (["--workers", "2", "--", "true"], "--workers"),
        (["--token", "t" * 30, "--", "true"], "token"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--store", str(tmp_path / "r.db"), "record", "--port", "0", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the process hears signals as before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        main(["--store", str(tmp_path / "r.db"), "record", "--port", str(taken.getsockname()[1])])
    assert ended.value.code == 2
    assert "cannot be listened on" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("asynchronous", [False, True])
def test_sdks_stream_through_the_proxy(tmp_path: Path, asynchronous: bool) -> None:
    """openai's Assistants, Responses and Chat, and anthropic's Messages: the same events as without."""
    import asyncio
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)

    async def stream_async(base: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="k", max_retries=0) as client:
            made = await client.responses.create(model="gpt-5-mini", input="Hello", stream=True)
            return [repr(event) async for event in made]

    def stream(base: str) -> list[str]:
        seen: list[Any] = []
        with openai.OpenAI(base_url=f"{base}/v1", api_key="k", max_retries=0) as client:
            assistant = ASSISTANTS["release-notes"]
            seen += client.beta.threads.runs.create(thread_id="thread_demo", assistant_id=assistant, stream=True)
            asked: Any = [{"role": "user", "content": "Hello"}]
            seen += client.chat.completions.create(model="gpt-4.1-mini", messages=asked, stream=True)
        with anthropic.Anthropic(base_url=base, api_key="k", max_retries=0) as other:
            seen += other.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=asked, stream=True)
        return list(map(repr, seen))

    with upstream() as url, Proxied(tmp_path / "r.db", url) as proxy:
        if asynchronous:
            assert asyncio.run(stream_async(proxy.url)) == asyncio.run(stream_async(url))
        else:
            assert stream(proxy.url) == stream(url)
        wait_until(lambda: not proxy.service._open)  # a client may leave at [DONE], before the last chunk
        proxy.flush()
    assert all(one.ending is not None and one.ending.captured == "full" for one in stored(tmp_path / "r.db"))


def test_figures_of_a_fresh_service_are_zero() -> None:
    service = Service(Routes.of([]), sink=Nobody())
    assert json.loads(json.dumps(dict(service._counts()))) == {
        "requests": 0,
        "open_streams": 0,
        "connections": 0,
        "upstream_connections": 0,
    }


class Nobody:
    """A sink that records nothing."""

    def start(self, request: Request, **told: Any) -> None:
        return None
