"""Who is answered, what a miss says, and that nothing said or logged holds a body or a credential."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from recorder.recording import Head
from recorder.replay_server import Mounts, Settings
from recorder.wire import Limits
from tests.certificates import make
from tests.hostile import REFUSED
from tests.looped import PATIENCE
from tests.payloads import CHAT
from tests.replaying import BODY, EVENTS, Replaying, asking, hear, kept
from tests.wired import exchange, talk

ANSWERED = Head(200, "OK", "HTTP/1.1", (("content-type", "application/json"), ("content-length", "2")))
SECRET = "sk-secret-canary-0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One recording of a chat completion."""
    kept(tmp_path / "r.db", ANSWERED, b"{}")
    return tmp_path / "r.db"


def post(replay: Replaying, value: Any, **headers: str) -> httpx.Response:
    url = f"{replay.url}/v1/chat/completions?key={SECRET}&limit=5"
    return httpx.post(url, json=value, headers={"Authorization": f"Bearer {SECRET}", **headers}, timeout=PATIENCE)


# -- misses ------------------------------------------------------------------------------------------------------------


def test_a_miss_names_the_nearest_and_what_differs(store: Path) -> None:
    """In the answer with both sides; in the log by the fields' names alone, without bodies and credentials."""
    recording = kept(store, ANSWERED, b"{}")
    with Replaying(store) as replay:
        reply = post(replay, {"stream": False, "said": "a private text", "api_key": SECRET})
        assert reply.status_code == 404
        assert reply.headers["x-should-retry"] == "false"
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("replay_miss", "replay_miss")
        assert error["nearest"] == str(recording.recording_id)
        assert {"path": "body.stream", "wanted": "false", "stored": "true"} in error["differences"]
        assert {"path": "query.limit", "wanted": '"5"', "stored": None} in error["differences"]
        assert SECRET not in reply.text
        (said,) = replay.said
        assert said.startswith("MISS no recording answers POST /v1/chat/completions (")
        assert "body.stream" in said
        assert SECRET not in said
        assert "private" not in said
        assert replay.service.misses == 1


def test_an_empty_store_misses(tmp_path: Path) -> None:
    from recorder.store import Store

    Store.open(tmp_path / "r.db", create=True).close()
    with Replaying(tmp_path / "r.db") as replay:
        error = post(replay, {}).json()["error"]
    assert (error["nearest"], error["differences"]) == (None, [])


def test_sdks_tell_a_miss_and_do_not_try_again(store: Path) -> None:
    with Replaying(store) as replay:
        with (
            openai.OpenAI(api_key="k", base_url=f"{replay.url}/openai/v1") as client,
            pytest.raises(openai.NotFoundError, match="recorder: no recording answers POST /v1/responses") as missed,
        ):
            client.responses.create(model="m", input="x")
        assert missed.value.code == "replay_miss"
        with (
            anthropic.Anthropic(api_key="k", base_url=replay.url) as other,
            pytest.raises(anthropic.NotFoundError, match="no recording answers POST /v1/messages"),
        ):
            other.messages.create(model="m", max_tokens=1, messages=[])
        assert len(replay.said) == 2


def test_nothing_is_logged_that_was_sent(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At any level, hits, misses and refusals alike."""
    caplog.set_level(logging.DEBUG)
    with Replaying(store, faults=("cut@event=0,request=9",)) as replay:
        for value in ({"stream": True}, {"said": "a private text"}):
            post(replay, value, **{"X-Recorder-Session": SECRET})
        exchange(replay.address, b"GET /%b/../x HTTP/1.1\r\nHost: h\r\n\r\n" % SECRET.encode())
        text = "\n".join(
            [*replay.said, *(record.getMessage() for record in caplog.records if "recorder" in record.name)]
        )
    assert SECRET not in text
    assert "private" not in text


# -- who is answered ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Host: 127.0.0.1:1234", 200),
        (b"Host: localhost", 200),
        (b"Host: evil.test", 403),
        (b"Host: 169.254.169.254", 403),
        (b"Host: localhost\r\nOrigin: https://evil.test", 403),
        (b"Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        (b"Host: localhost\r\nHost: localhost", 400),
    ],
)
def test_only_this_machine_is_answered(store: Path, lines: bytes, status: int) -> None:
    """Neither pages of other sites nor names that somebody points here."""
    with Replaying(store, repeat="last") as replay:
        asked = asking().replace(b"Host: 127.0.0.1", lines)
        assert exchange(replay.address, asked).status == status


def test_a_token_is_asked_for_where_there_is_one(store: Path) -> None:
    """It stands in a header of its own, and is no part of the request."""
    token = "0123456789abcdef0123456789"
    with Replaying(store, settings=Settings(token=token), repeat="last") as replay:
        for given, status in ((None, 401), ("wrong", 401), (token, 200)):
            lines = () if given is None else (b"X-Recorder-Token: " + given.encode(),)
            assert exchange(replay.address, asking(*lines)).status == status


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://169.254.169.254/latest", 400),
        (b"/v1/../admin", 400),
        (b"/v1/%2e%2e/admin", 400),
        (b"//evil.test/x", 400),
        (b"/__recorder/metrics", 404),
        (b"/__recorder/health", 200),
        (b"/__recorder", 404),
    ],
)
def test_a_target_leads_nowhere_else(store: Path, target: bytes, status: int) -> None:
    with Replaying(store) as replay:
        assert exchange(replay.address, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target).status == status


def test_hostile_requests_are_refused_and_use_nothing_up(store: Path) -> None:
    """Each fifth of those that the wire is tried with; the recording is there for the one good request behind them."""
    with Replaying(store) as replay:
        host = b"%b:%d" % (replay.address[0].encode(), replay.address[1])
        for case in REFUSED[::5]:
            replies, closed = talk(replay.address, case.data.replace(b"HOST", host))
            assert [reply.status in case.statuses for reply in replies] == [True], case.name
            assert closed
        assert replay.said == []
        assert exchange(replay.address, asking()).status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"POST /__recorder/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /__recorder/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 400),
    ],
)
def test_what_we_say_of_ourselves_is_only_read(store: Path, asked: bytes, status: int) -> None:
    with Replaying(store) as replay:
        assert exchange(replay.address, asked).status == status


def test_a_body_has_its_cap(store: Path) -> None:
    """With a length before it is read, without one as it comes; others are served meanwhile."""
    with Replaying(store, settings=Settings(limits=Limits(body=100)), repeat="last") as replay:
        assert exchange(replay.address, asking(body=b"x" * 101)).status == 413
        chunked = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert exchange(replay.address, chunked + b"40\r\n%b\r\n" % (b"x" * 64) * 2).status == 413
        assert exchange(replay.address, asking()).status == 200


def test_no_connection_is_ever_made(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked for: hits, misses, absolute targets and redirects."""
    moved = Head(302, "Found", "HTTP/1.1", (("Location", "https://api.openai.com/v1/x"), ("content-length", "0")))
    kept(store, moved)
    made: list[Any] = []
    connect = socket.socket.connect
    # We that ask, and what other tests left behind: neither is the server.
    strangers = set(threading.enumerate())

    def watched(self: socket.socket, address: Any) -> None:
        if threading.current_thread() not in strangers:
            made.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    with Replaying(store, plain_loop=True) as replay:
        for _ in range(3):
            hear(replay.address, asking())
        hear(replay.address, b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert made == []


# -- sessions and mounts -----------------------------------------------------------------------------------------------


def test_a_session_is_named_by_a_header(store: Path) -> None:
    """Each counts for itself; the header is no part of the request."""
    kept(store, Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked"))), *CHAT)
    with Replaying(store) as replay:
        seen = [
            exchange(replay.address, asking(*((b"X-Recorder-Session: %b" % name,) if name else ())))
            for _ in range(3)
            for name in (b"", b"one", b"two")
        ]
    assert [reply.status for reply in seen] == [200] * 6 + [404] * 3
    assert [b"transfer-encoding" in reply.headers for reply in seen] == [False] * 3 + [True] * 3 + [False] * 3


def test_a_mount_of_ones_own(store: Path) -> None:
    with Replaying(store, repeat="last", server={"mounts": Mounts({"gw": "/v1"})}) as replay:
        asked = asking()
        assert exchange(replay.address, asked.replace(b"/v1/chat", b"/gw/chat")).status == 200
        assert exchange(replay.address, asked).status == 200
        assert exchange(replay.address, asked.replace(b"/v1/chat", b"/openai/v1/chat")).status == 404


def test_a_server_stops_with_what_is_silent_and_after_what_streams(store: Path) -> None:
    """A stream at its pace ends first; one that hangs is broken off; nobody new is let in."""
    with Replaying(store, faults=("stall@event=0,request=1",), pace="recorded") as replay:
        with socket.create_connection(replay.address, PATIENCE) as sock:
            sock.sendall(asking())
            assert sock.recv(12) == b"HTTP/1.1 200"
            asyncio.run_coroutine_threadsafe(replay.service.stop(), replay.loop).result(PATIENCE)
            with pytest.raises(ConnectionResetError):
                while sock.recv(1 << 16):
                    pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(replay.address, PATIENCE)


def test_clients_may_speak_tls(store: Path, tmp_path: Path) -> None:
    """azure's clients send a bearer token over nothing else. A redirect back is one to https."""
    moved = Head(
        308, "Permanent Redirect", "HTTP/1.1", (("Location", "https://api.openai.com/v1/y"), ("content-length", "0"))
    )
    kept(store, moved)
    certificate = make(tmp_path)
    with (
        Replaying(store, server={"tls": certificate.server()}) as replay,
        httpx.Client(verify=certificate.client(), trust_env=False, timeout=PATIENCE) as client,
    ):
        assert replay.url.startswith("https://")
        asked: Any = {"content": BODY, "headers": {"content-type": "application/json"}}
        assert client.post(f"{replay.url}/v1/chat/completions", **asked).content == b"{}"
        assert client.post(f"{replay.url}/v1/chat/completions", **asked).headers["location"] == f"{replay.url}/v1/y"


def test_a_store_may_be_a_postgresql(postgres_database: str) -> None:
    """Of several pages; the same request is answered twice, and then no more."""
    pieces = [b"data: %0500d\n\n" % number for number in range(2000)]
    for _ in range(2):
        kept(postgres_database, Head(200, "OK", "HTTP/1.0", EVENTS), *pieces)
    with Replaying(postgres_database) as replay:
        heard = [hear(replay.address, asking()) for _ in range(3)]
    assert [one.data.partition(b"\r\n\r\n")[2] for one in heard[:2]] == [b"".join(pieces)] * 2
    assert b" 404 " in heard[2].data[:15]


def test_many_streams_at_once_are_exact_whoever_leaves(tmp_path: Path) -> None:
    """200 clients at the recorded pace, each third leaving in the middle: all others get all, and none is left over."""
    pieces = [b"data: %d\n\n" % number for number in range(40)]
    kept(tmp_path / "r.db", Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked"))), *pieces)

    async def talk(url: str) -> list[bytes]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            return await asyncio.gather(*(stream(client, url, number) for number in range(200)))

    async def stream(client: httpx.AsyncClient, url: str, number: int) -> bytes:
        got = b""
        headers = {"content-type": "application/json"}
        async with client.stream("POST", f"{url}/v1/chat/completions", content=BODY, headers=headers) as response:
            async for piece in response.aiter_raw():
                got += piece
                if not number % 3 and len(got) > 100:
                    break
        return got

    with Replaying(tmp_path / "r.db", repeat="cycle", pace="recorded") as replay:
        bodies = asyncio.run(talk(replay.url))
        assert [body for number, body in enumerate(bodies) if number % 3] == [b"".join(pieces)] * 133
        until = time.monotonic() + PATIENCE
        while replay.call(lambda: len(replay.service._open)):
            assert time.monotonic() < until, "the server keeps streams that nobody reads"
            time.sleep(0.01)
        assert replay.said == []
