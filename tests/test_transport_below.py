"""What holds for bare requests and bare aiohttp alike: the same seen directly, while recording, and from the store."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import aiohttp
import brotli
import pytest
import requests

import recorder
from recorder.errors import Blocked, ReplayMiss, UsageError
from recorder.handle import Handle
from recorder.recording import Transport
from recorder.transport import attach
from tests.bare_calls import KINDS, READS, Ask, Seen, drive
from tests.instrumented import chunks, ending, recordings
from tests.loopback import LAST_CHUNK, Act, Loopback, Refused, chunk, head, in_step, stream_head, stream_script
from tests.needs import ROOT, each
from tests.payloads import CHAT
from tests.scenario import STALL, Scenario
from tests.torture import SCENARIOS

pytest_plugins = ("tests.instrumented",)

every_kind = pytest.mark.parametrize("kind", KINDS)

BODY = b"".join(CHAT)
ASKED = {"model": "gpt-4o", "stream": True, "messages": []}


def replayed(handle: Handle, kind: str, calls: Any, **options: Any) -> list[Seen]:
    """The same calls, answered from the store."""
    with handle.replay(include_partial=True, **options) as replay:
        return drive(kind, calls, replay.instrument)


def asking(url: str, *reads: str, **options: Any) -> Callable[[Ask], Any]:
    """One request for each way of reading."""

    async def calls(one: Ask) -> None:
        for read in reads or (None,):
            await one(url, read, **{"json": ASKED, **options})

    return calls


# -- what is seen and what is stored -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "read"), [(kind, read) for kind in KINDS for read in READS[kind]])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_client_sees_the_same_with_recording_and_on_replay(handle: Handle, kind: str, read: str, coding: str) -> None:
    """Status, reason, headers and body, whichever way it is read; and the store has the bytes of the wire."""
    wire = BODY if coding == "identity" else gzip.compress(BODY, mtime=0)
    coded = [] if coding == "identity" else ["Content-Encoding: gzip"]
    with Loopback([stream_script(wire, cuts=(3, 40, 41, 200), headers=coded)], repeat_last=True) as server:
        calls = asking(server.url, read)
        (bare,) = drive(kind, calls)
        (seen,) = drive(kind, calls, handle.instrument)
        (again,) = (recordings(handle), replayed(handle, kind, calls))[1]
        assert len(server.requests) == 2
    assert bare.status == 200
    assert not bare.raised
    for other in (seen, again):
        assert other._replace(pieces=()) == bare._replace(pieces=())
        assert other.body == bare.body
        if read in {"content", "read", "iter_lines", "lines", "readline", "raw.stream"}:
            assert other.pieces == bare.pieces
    (recording,) = recordings(handle)
    assert handle.body(recording.recording_id) == wire
    assert (ending(recording).ending, ending(recording).captured) == ("eof", "full")


@every_kind
@pytest.mark.parametrize(
    ("coding", "wire"),
    [
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),  # without its header, as some servers send it
        ("br", brotli.compress(BODY)),
        ("gzip", gzip.compress(BODY * 400, mtime=0)),
        ("gzip", gzip.compress(b"x" * 3_000_000, mtime=0)),
    ],
    ids=["deflate", "raw-deflate", "br", "long", "dense"],
)
def test_every_content_coding_is_decoded_as_ever_and_kept_as_it_came(
    handle: Handle, kind: str, coding: str, wire: bytes
) -> None:
    answer = [head("200 OK", f"Content-Encoding: {coding}", f"Content-Length: {len(wire)}") + wire]
    with Loopback([answer], repeat_last=True) as server:
        calls = asking(server.url)
        (bare,) = drive(kind, calls)
        (seen,) = drive(kind, calls, handle.instrument)
    (recording,) = recordings(handle)
    assert len(bare.body) > len(wire)
    assert (seen.body, seen.raised) == (bare.body, ())
    assert handle.body(recording.recording_id) == wire
    (again,) = replayed(handle, kind, calls)
    assert (again.body, again.raised) == (bare.body, ())


def test_chunks_reach_requests_at_once_and_are_stored_and_replayed_as_they_came(handle: Handle) -> None:
    """The upstream goes on only when the chunk before was seen, so a byte held back would stop the test."""
    script, more = in_step(list(CHAT))
    with Loopback([script]) as server, requests.Session() as session:
        handle.instrument(session)
        with session.get(server.url, stream=True) as response:
            more()
            got = [(piece, more())[0] for piece in response.iter_content(1 << 16)]
        assert got == list(CHAT)
        (recording,) = recordings(handle)
        assert chunks(handle, recording) == list(CHAT)
        with handle.replay() as replay:
            replay.instrument(session)
            assert list(session.get(server.url, stream=True).iter_content(1 << 16)) == list(CHAT)


async def in_step_with_aiohttp(handle: Handle, url: str, more: Callable[[], None]) -> None:
    async with aiohttp.ClientSession() as session:
        handle.instrument(session)
        async with session.get(url) as response:
            more()
            got = []
            async for line in response.content:  # the cuts in the store are the network's, not the reader's
                got.append(line)
                if line == b"\n":
                    more()
        assert b"".join(got) == BODY
        (recording,) = recordings(handle)
        assert chunks(handle, recording) == list(CHAT)
        with handle.replay() as replay:
            replay.instrument(session)
            async with session.get(url) as response:
                assert [piece async for piece in response.content.iter_any()] == list(CHAT)


def test_chunks_reach_aiohttp_at_once_and_are_stored_and_replayed_as_they_came(handle: Handle) -> None:
    script, more = in_step(list(CHAT))
    with Loopback([script]) as server:
        asyncio.run(in_step_with_aiohttp(handle, server.url, more))


@every_kind
@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_is_recorded_and_replayed(handle: Handle, kind: str, method: str, status: str) -> None:
    bodiless = method == "HEAD" or not status.startswith("200")
    length = [] if status.startswith("204") else ["Content-Length: 5"]
    answer = [head(status, "Content-Type: text/plain", *length) + (b"" if bodiless else b"hello")]
    with Loopback([answer], repeat_last=True) as server:

        async def calls(one: Ask) -> None:
            await one(server.url, method=method)

        bare = drive(kind, calls)
        assert drive(kind, calls, handle.instrument) == bare
        assert bare[0].body == (b"" if bodiless else b"hello")
        (recording,) = recordings(handle)
        assert ending(recording).ending == "eof"
        assert replayed(handle, kind, calls) == bare


@every_kind
def test_a_kept_connection_is_used_again_while_recording(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)], repeat_last=True) as server:

        async def calls(one: Ask) -> None:
            for number in range(4):
                await one(server.url, json={"n": number})

        seen = drive(kind, calls, handle.instrument)
        assert (len(server.requests), len(server.connections)) == (4, 1)
        assert [one.body for one in seen] == [BODY] * 4
        assert len(recordings(handle)) == 4
        assert replayed(handle, kind, calls) == seen


@every_kind
@pytest.mark.parametrize("status", ["307 Temporary Redirect", "303 See Other"])
def test_a_redirect_is_a_recording_of_its_own_in_the_same_call(handle: Handle, kind: str, status: str) -> None:
    moved = [head(status, "Location: /there", "Content-Length: 2") + b"{}"]
    with Loopback([moved, stream_script(BODY)] * 2) as server:
        calls = asking(server.url)
        bare = drive(kind, calls)
        assert drive(kind, calls, handle.instrument) == bare
        methods = [request.method.decode() for request in server.requests[2:]]
    assert (bare[0].history, bare[0].body) == ((int(status[:3]),), BODY)
    first, second = recordings(handle)
    assert [first.request.method, second.request.method] == methods
    assert second.request.url == f"{server.url}/there"
    assert first.call == second.call is not None
    assert replayed(handle, kind, calls) == bare


@every_kind
def test_uploads_are_stored_as_they_arrived(handle: Handle, kind: str, tmp_path: Path) -> None:
    """A form with a file, a file as a body, generated pieces, text, and JSON."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"line\r\n" * 9000)
    answer = head("200 OK", "Content-Type: application/json", "Content-Length: 13") + b'{"id":"file"}'

    def parts() -> Iterator[bytes]:
        yield b"one,"
        yield b"two"

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    async def calls(one: Ask) -> None:
        with path.open("rb") as file:
            if kind == "requests":
                await one(server.url, data={"a": "1"}, files={"f": ("notes.txt", file, "text/plain")})
                file.seek(0)
            else:
                form = aiohttp.FormData({"a": "1"})
                form.add_field("f", path.read_bytes(), filename="notes.txt", content_type="text/plain")
                await one(server.url, data=form)
            await one(server.url, data=file)
        await one(server.url, data=parts() if kind == "requests" else async_parts())
        await one(server.url, data="text \u2603".encode() if kind == "requests" else "text \u2603")
        await one(server.url, json=ASKED)

    with Loopback([[answer]], repeat_last=True) as server:
        seen = drive(kind, calls, handle.instrument)
        arrived = [asked.body for asked in server.requests]
    assert [one.body for one in seen] == [b'{"id":"file"}'] * 5, [one.raised for one in seen]
    assert [recording.request.body for recording in recordings(handle)] == arrived
    assert arrived[2] == b"one,two"
    assert replayed(handle, kind, calls) == seen


@every_kind
def test_a_streamed_body_above_the_limit_is_forwarded_and_not_kept(tmp_path: Path, kind: str) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 100

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    async def calls(one: Ask) -> None:
        await one(server.url, data=parts() if kind == "requests" else async_parts())

    with recorder.open(tmp_path / "r.db", strict=True, body_limit=1000) as handle:
        with Loopback([stream_script(BODY)]) as server:
            drive(kind, calls, handle.instrument)
            (arrived,) = server.requests
        (recording,) = recordings(handle)
    assert (recording.request.body, recording.request.body_size) == (None, 4000)
    assert recording.request.body_sha256 is not None
    assert arrived.body == b"x" * 4000


@every_kind
def test_credentials_and_cookies_are_stored_nowhere(handle: Handle, kind: str, tmp_path: Path) -> None:
    script = stream_script(BODY, headers=["Set-Cookie: sid=cookie-secret; Path=/"])
    with Loopback([script], repeat_last=True) as server:
        calls = asking(server.url, headers={"Authorization": "Bearer sk-very-secret"})
        drive(kind, calls, handle.instrument)
        recordings(handle)
        with handle.replay() as replay:
            kept: list[Any] = []

            async def twice(one: Ask) -> None:
                await calls(one)
                kept.extend(session_cookies(kept_session[0]))

            kept_session: list[Any] = []
            drive(kind, twice, lambda session: kept_session.append(replay.instrument(session)))
    assert kept == [], "nobody keeps a cookie whose value is withheld"
    handle.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"very-secret" not in stored
    assert b"cookie-secret" not in stored


def session_cookies(session: Any) -> list[Any]:
    return list(session.cookies if isinstance(session, requests.Session) else session.cookie_jar)


@every_kind
def test_what_is_said_by_a_context_is_stored(handle: Handle, kind: str) -> None:
    async def calls(one: Ask) -> None:
        with recorder.context(tags={"app": "desk"}, session="s-1"):
            await one(server.url)

    with Loopback([stream_script(BODY)]) as server:
        drive(kind, calls, handle.instrument)
    (recording,) = recordings(handle)
    assert (recording.tags["app"], recording.session) == ("desk", "s-1")


# -- failures ----------------------------------------------------------------------------------------------------------

#: Why a scenario cannot be asked of these libraries.
LEFT_OUT = {
    "http2": "neither library speaks HTTP/2",
    "abandons": "the ways of leaving are the SDK's own; see the tests of clients that leave",
}
OUT = {
    ("requests", "redirect-loop"): "requests follows 30 redirects, the script has 21",
    ("aiohttp", "bad-chunk-size"): "aiohttp waits for ever, in one of ten runs, when such a line comes by itself",
    ("aiohttp", "bad-chunk-end"): "the same",
    ("aiohttp", "content-length-shorter-than-body"): "aiohttp answers, or fails, by how segments happen to come",
}
TORTURES = [scenario for scenario in SCENARIOS if scenario.server != "http2" and not scenario.abandons]
#: Scenarios after which these libraries wait for more, where the SDK does not, or has a shorter patience of its own.
WAITED_FOR = {
    *("silence-after-done", "bad-chunk-end", "header-without-colon", "control-character-in-header"),
    "error-body-stalls-then-ok",
}
PARTS = 12
PATIENCE: Final = 3.0  # seconds that they wait then; for all that comes they have the scenario's


def made(scenario: Scenario, kind: str, url: str, asked: Callable[[], int]) -> Callable[[Ask], Any]:
    """Requests as long as the scenario has answers left; a client that gave up on redirects would leave some."""
    patience = min(scenario.timeout, PATIENCE) if scenario.name in WAITED_FOR else scenario.timeout
    timeout: Any = patience if kind == "requests" else aiohttp.ClientTimeout(sock_read=patience)

    async def calls(one: Ask) -> None:
        for number in range(max(1, len(scenario.answers))):
            if number == 0 or asked() < len(scenario.answers):
                seen = await one(url, json={"number": number}, timeout=timeout)
                if seen.raised and "TooManyRedirects" in seen.raised[0].kind:
                    return

    return calls


def neutral(seen: list[Seen]) -> list[Seen]:
    """Cookies are withheld from the record, and how a body is cut depends on when it was read."""
    return [
        one._replace(
            headers=tuple(header for header in one.headers if header[0].lower() != "set-cookie"), pieces=(one.body,)
        )
        for one in seen
    ]


@every_kind
@pytest.mark.parametrize("part", each(3, range(PARTS)))
def test_recording_and_replay_change_nothing(handle: Handle, kind: str, part: int) -> None:
    """Ordinary and hostile servers: the same answers, exceptions, messages and causes each time."""
    bares: dict[str, list[Seen]] = {}
    urls: dict[str, str] = {}
    scenarios = [scenario for scenario in TORTURES[part::PARTS] if (kind, scenario.name) not in OUT]

    def served(scenario: Scenario, instrument: Callable[[Any], object] | None = None) -> list[Seen]:
        with scenario.serve() as server:
            urls[scenario.name] = server.url
            count = (lambda: len(server.requests)) if isinstance(server, Loopback) else (lambda: 1)
            return neutral(drive(kind, made(scenario, kind, server.url, count), instrument))

    for scenario in scenarios:
        bares[scenario.name] = served(scenario)
        assert served(scenario, handle.instrument) == bares[scenario.name], scenario.name
    assert {ending(recording).captured for recording in recordings(handle)} == {"full"}
    with handle.replay(include_partial=True) as replay:
        for scenario in scenarios:
            bare, url = bares[scenario.name], urls[scenario.name]
            answered = iter([*[0] * (len(bare) - 1), *[1 << 30] * len(scenario.answers)])
            calls = made(scenario, kind, url, lambda answered=answered: next(answered))  # type: ignore[misc]
            assert neutral(drive(kind, calls, replay.instrument)) == bare, scenario.name


@every_kind
@pytest.mark.parametrize(
    ("script", "how", "body"),
    [
        ([stream_head(), chunk(CHAT[0]), Act.RESET], "reset", CHAT[0]),
        ([Act.RESET], "reset", b""),
        ([stream_head(), chunk(CHAT[0]), Act.FIN], "protocol_error", CHAT[0]),
        ([Act.FIN], "protocol_error", b""),
        ([stream_head(), chunk(CHAT[0]), Act.HOLD], "timeout", CHAT[0]),
        ([Act.HOLD], "timeout", b""),
        ([stream_head(), chunk(CHAT[0]), LAST_CHUNK], "eof", CHAT[0]),
        ([head("400 Bad Request", "Content-Length: 99") + b"{}", Act.FIN], "protocol_error", b"{}"),
    ],
    ids=["reset", "reset-first", "fin", "fin-first", "silence", "silence-first", "end", "short"],
)
def test_how_an_exchange_ends_is_stored_with_what_had_come(
    handle: Handle, kind: str, script: Any, how: str, body: bytes
) -> None:
    # A client that waits for ever may be impatient; one that is to get something first must be as patient as a busy
    # machine is slow. (Both at once: half the time.)
    seconds = 30.0 if how != "timeout" else STALL if body else 0.3
    timeout: Any = seconds if kind == "requests" else aiohttp.ClientTimeout(sock_read=seconds)
    with Loopback([script], repeat_last=True) as server, ThreadPoolExecutor(2) as two:
        calls = asking(server.url, timeout=timeout)
        alone, seen = two.submit(drive, kind, calls), two.submit(drive, kind, calls, handle.instrument)
        bare = alone.result()
        assert seen.result() == bare
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).captured) == (how, "full")
    if kind == "aiohttp" or body != b"{}":  # requests hands over no part of a block that never got whole
        assert handle.body(recording.recording_id) == body
    assert bool(ending(recording).detail.get("exception")) == (how != "eof") == bool(bare[0].raised)
    assert replayed(handle, kind, calls) == bare


@every_kind
def test_a_refused_connection_is_refused_again_on_replay(handle: Handle, kind: str) -> None:
    with Refused() as server:
        calls = asking(server.url)
        bare = drive(kind, calls)
        assert drive(kind, calls, handle.instrument) == bare
    (recording,) = recordings(handle)
    assert ending(recording).ending == Transport.CONNECT_ERROR
    assert [entry["type"] for entry in ending(recording).detail["exception"]] == [
        raised.kind for raised in bare[0].raised
    ]
    assert replayed(handle, kind, calls) == bare


@pytest.mark.parametrize(("kind", "other"), [KINDS, KINDS[::-1]])
def test_what_one_library_recorded_the_other_replays(handle: Handle, kind: str, other: str) -> None:
    with Loopback([stream_script(BODY), [stream_head(), chunk(CHAT[0]), Act.FIN]]) as server:

        async def calls(one: Ask) -> None:
            await one(server.url, json=ASKED)
            await one(server.url, json={"n": 2})

        recorded = drive(kind, calls, handle.instrument)
    recordings(handle)
    again = replayed(handle, other, calls)
    assert [seen.body for seen in again] == [seen.body for seen in recorded]
    assert [bool(seen.raised) for seen in again] == [False, True]
    assert again[1].raised[0].kind.partition(".")[0] == other


@every_kind
def test_a_miss_is_raised_at_once_and_asks_no_network(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)]) as server:
        drive(kind, asking(server.url), handle.instrument)
        recordings(handle)
        (missed,) = replayed(handle, kind, asking(server.url, json={"model": "other"}))
        assert len(server.requests) == 1
    assert missed.raised[0].kind.endswith("Miss")
    assert "model" in missed.raised[0].message


@every_kind
def test_a_defect_of_the_recorder_is_not_the_clients(
    handle: Handle, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def start(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    sink: Any = Broken()
    packed = gzip.compress(BODY)
    with Loopback([stream_script(packed, headers=["Content-Encoding: gzip"])], repeat_last=True) as server:
        bare = drive(kind, asking(server.url))
        seen = drive(kind, asking(server.url), lambda session: attach.record(session, sink, 1 << 20))
    assert neutral(seen) == neutral(bare)
    assert "recorder failed on its own" in caplog.text


# -- clients that others own -------------------------------------------------------------------------------------------

ORIGINALS = (requests.adapters.HTTPAdapter.send, requests.Session.get_adapter, aiohttp.ClientSession._request)


def methods() -> tuple[Any, ...]:
    return requests.adapters.HTTPAdapter.send, requests.Session.get_adapter, aiohttp.ClientSession._request


@every_kind
def test_a_patch_records_clients_that_others_own_for_listed_hosts_once(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)], repeat_last=True) as server, Refused() as elsewhere:
        bare = drive(kind, asking(server.url))
        with handle.patch(hosts=[server.url.removeprefix("http://")]):
            assert drive(kind, asking(server.url)) == bare
            assert drive(kind, asking(server.url), handle.instrument) == bare, "recorded twice?"
            drive(kind, asking(elsewhere.url))
        assert methods() == ORIGINALS
        drive(kind, asking(server.url))
    assert [recording.origin for recording in recordings(handle)] == [server.url] * 2


def test_a_call_without_a_session_is_recorded_and_replayed_by_a_patch(handle: Handle) -> None:
    with Loopback([stream_script(BODY)]) as server:
        with handle.patch(hosts=["127.0.0.1"]):
            assert requests.post(server.url, json=ASKED, timeout=30).content == BODY
        recordings(handle)
        with handle.replay() as replay, replay.patch(hosts=["127.0.0.1"]):
            assert requests.post(server.url, json=ASKED, timeout=30).content == BODY
    assert methods() == ORIGINALS


@every_kind
def test_a_replaying_patch_answers_listed_hosts_and_blocks_the_rest(handle: Handle, kind: str) -> None:
    """What it answers asks no network, also of a client that is recorded; a miss and another host are refused."""
    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        bare = drive(kind, asking(server.url), handle.instrument)
        recordings(handle)
        elsewhere = server.url.replace("127.0.0.1", "localhost")
        with handle.replay(repeat="last") as replay:
            with replay.patch(hosts=["127.0.0.1"], others="block"):
                assert drive(kind, asking(server.url)) == bare
                assert drive(kind, asking(server.url), handle.instrument) == bare
                (missed,) = drive(kind, asking(server.url, json={"n": 1}), handle.instrument)
                (blocked,) = drive(kind, asking(elsewhere), handle.instrument)
            assert len(server.requests) == 1
            with replay.patch(hosts=["127.0.0.1"]):
                (passed,) = drive(kind, asking(elsewhere))
                assert len(server.requests) == 2
            replay.patch(hosts=["127.0.0.1"])
        assert methods() == ORIGINALS, "a replay that is closed takes its patches back"
    assert missed.raised[0].kind.endswith("Miss")
    assert blocked.raised[0].kind == "recorder.errors.Blocked"
    assert "localhost" in blocked.raised[0].message
    assert passed.body == BODY
    assert issubclass(Blocked, ReplayMiss)
    assert len(recordings(handle)) == 1, "what never went out is not recorded"


@every_kind
def test_a_redirect_to_a_replayed_host_does_not_reach_it(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)]) as server:
        moved = [head("307 Temporary Redirect", f"Location: {server.url}/", "Content-Length: 0")]
        with Loopback([moved]) as first, handle.replay() as replay:
            with replay.patch(hosts=["127.0.0.1"]):
                (seen,) = drive(kind, asking(first.url.replace("127.0.0.1", "localhost")))
        assert len(first.requests) == 1
        assert server.requests == []
    assert seen.raised[0].kind.endswith("Miss")


@every_kind
@pytest.mark.parametrize("streamed", [False, True], ids=["json", "streamed"])
@pytest.mark.parametrize("how", ["patch", "instrument"])
def test_a_player_may_hand_on_what_it_has_no_recording_of(handle: Handle, kind: str, streamed: bool, how: str) -> None:
    """It goes on to what stands below: a recording patch, a recorded client. What is recorded is answered."""

    def data() -> Any:
        def parts() -> Iterator[bytes]:
            yield b'{"n"'
            yield b": 1}"

        async def async_parts() -> AsyncIterator[bytes]:
            for part in parts():
                yield part

        return {"data": parts() if kind == "requests" else async_parts()} if streamed else {"json": {"n": 1}}

    async def calls(one: Ask) -> None:
        await one(server.url, json=ASKED)
        await one(server.url, **data())

    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        drive(kind, asking(server.url), handle.instrument)
        recordings(handle)
        with handle.replay(repeat="last") as replay:
            replay.player.hands_on = True  # type: ignore[attr-defined]
            if how == "patch":
                with handle.patch(hosts=["127.0.0.1"]), replay.patch(hosts=["127.0.0.1"], others="block"):
                    seen = drive(kind, calls)
            else:
                seen = drive(kind, calls, lambda session: replay.instrument(handle.instrument(session)))
        assert [one.body for one in seen] == [BODY] * 2, seen
        assert len(server.requests) == 2
        assert server.requests[1].body.replace(b" ", b"") == b'{"n":1}'
    _, second = recordings(handle)
    assert (second.request.body or b"").replace(b" ", b"") == b'{"n":1}'


def test_hosts_may_be_listed_by_what_they_end_with(handle: Handle) -> None:
    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        with handle.patch(hosts=["*.0.0.1"]):
            requests.get(server.url, timeout=30)
        with handle.patch(hosts=["*.0.0.2", "*.test"]):
            requests.get(server.url, timeout=30)
    assert len(recordings(handle)) == 1


def test_a_patch_that_replays_needs_hosts_and_known_words(handle: Handle) -> None:
    recordings(handle)
    with handle.replay() as replay:
        with pytest.raises(UsageError, match="listed hosts"):
            replay.patch()
        with pytest.raises(UsageError, match="say pass or block"):
            replay.patch(hosts=["127.0.0.1"], others="ignore")  # type: ignore[arg-type]
        with replay.patch(others="block"), pytest.raises(Blocked):
            requests.get("http://127.0.0.1:1/", timeout=1)


@pytest.mark.parametrize("name", ["httpx", "httpx2", "requests", "aiohttp"])
def test_a_library_that_is_loaded_later_is_patched_then(tmp_path: Path, name: str) -> None:
    """A test that imports its client inside is replayed as any other."""
    code = f"""
import asyncio, sys
import recorder
from recorder.store import Store
Store.open({str(tmp_path / "r.db")!r}, create=True).close()
with recorder.open({str(tmp_path / "r.db")!r}) as handle, handle.replay() as replay:
    assert {name!r} not in sys.modules
    with replay.patch(hosts=["127.0.0.1"]):
        import {name} as library
        original = library.__spec__.loader
        try:
            if {name!r} == "aiohttp":
                async def call():
                    async with library.ClientSession() as session:
                        await session.get("http://127.0.0.1:9/")
                asyncio.run(call())
            else:
                library.get("http://127.0.0.1:9/")
        except recorder.errors.ReplayMiss:
            print("missed", type(original).__name__)
    print([finder for finder in sys.meta_path if "recorder" in type(finder).__module__])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split("\n")[:2] == ["missed SourceFileLoader", "[]"], done.stderr


# -- instrumenting -----------------------------------------------------------------------------------------------------


@every_kind
def test_uninstrumenting_leaves_a_session_as_it_was(handle: Handle, kind: str, tmp_path: Path) -> None:
    """However often it was instrumented, in whichever order recording and replay came."""

    async def nothing(_: Ask) -> None:
        with handle.replay() as replay, recorder.open(tmp_path / "other.db") as other:
            session = sessions[0]
            before = dict(vars(session))
            assert handle.instrument(handle.instrument(session)) is session
            assert vars(session) != before
            assert handle.uninstrument(session) is session
            assert vars(session) == before
            replay.instrument(session)
            handle.instrument(session)
            other.instrument(session)
            handle.uninstrument(session)
            replay.uninstrument(session)
            assert vars(session) != before
            other.uninstrument(session)
            assert vars(session) == before

    recordings(handle)
    sessions: list[Any] = []
    drive(kind, nothing, sessions.append)


@every_kind
def test_a_session_that_is_instrumented_is_let_go_when_it_is_dropped(handle: Handle, kind: str) -> None:
    """Without the garbage collector: nothing of recorder holds it."""
    kept: list[Any] = []

    async def calls(one: Ask) -> None:
        await one(server.url)

    with Loopback([stream_script(BODY)]) as server:
        drive(kind, calls, lambda session: kept.append(weakref.ref(handle.instrument(session))))
    recordings(handle)
    assert kept[0]() is None


def test_nothing_is_loaded_that_the_application_has_not_loaded() -> None:
    code = (
        "import sys, recorder.handle, recorder.transport.patch as p; p.patch(['x'], None, 1).undo();"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted({'requests', 'urllib3', 'aiohttp', 'multidict', 'httpx', 'httpx2'} & loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
