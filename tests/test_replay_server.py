"""The replay server to real clients: whole conversations, hostile wires and published streams, no upstream left."""

from __future__ import annotations

import dataclasses
import itertools
import socket
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

import recorder
from recorder.demo.upstream import ASSISTANTS, upstream
from recorder.dialects.base import path_of
from recorder.recording import Head
from recorder.recording import Request as Asking
from recorder.replay import Player
from recorder.store import RunFilter, Store
from tests import azure_calls as azure
from tests.azure_calls import KINDS, See, each, opened, settled
from tests.clients import EVERY as EVERY_CLIENT
from tests.clients import Kind, fetch
from tests.conversations import CONVERSATIONS, KEY, need_for
from tests.loopback import Loopback, Step, corpus, head, pieces, seeded_cuts, stream_script
from tests.loopback import Request as Asked
from tests.needs import NIGHTLY, SLICE, in_turn, need_corpus
from tests.payloads import compact
from tests.proxied import Proxied
from tests.replaying import EVENTS, Replaying, kept
from tests.scenario import Mode, Scenario
from tests.torture import SCENARIOS, Outcome, direct, drive

JSON: Final = (("content-type", "application/json"),)
CHUNKED: Final = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))
EVERY: Final = RunFilter(limit=10_000)

# -- conversations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_answered_with_the_upstream_gone(name: str, tmp_path: Path) -> None:
    """What the client saw, recorded through the proxy, is what it sees again, by any path to the same API."""
    need_for(name)
    talk = CONVERSATIONS[name]
    path = tmp_path / "recorder.db"
    with upstream(0.0) as base, Proxied(path, f"openai={base}") as proxy:
        told = talk(f"{proxy.url}/openai")
    assert len(told) > 1
    with Replaying(path, repeat="cycle") as replay:
        assert talk(f"{replay.url}/openai") == told
        assert talk(replay.url) == told
        assert replay.said == []
        assert replay.service.misses == 0
        assert replay.service.answered >= 4
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


async def azure_run(made: Any, see: See) -> None:
    """A thread, a run as a stream, and one that is polled and cancelled; then one that is not there."""
    thread = await settled(made.threads.create(metadata={"scene": "release-notes"}))
    see("thread", thread)
    assistant = ASSISTANTS["release-notes"]
    async with opened(made.runs.stream(thread.id, agent_id=assistant)) as events:
        async for event in each(events):
            see(event[0], event[1])
    run = await settled(made.runs.create(thread.id, agent_id=assistant))
    see("run", run)
    see("poll", await settled(made.runs.get(thread.id, run.id)))
    see("cancel", await settled(made.runs.cancel(thread.id, run.id)))
    await settled(made.runs.get(thread.id, "run_unknown"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_azure_recorded_in_process_is_answered_over_the_wire(kind: str, tmp_path: Path) -> None:
    """By each of azure-core's transports; to the others as well, which see the same."""
    with upstream(0.0) as base, recorder.open(tmp_path / "r.db", strict=True) as handle:
        told = azure.drive(kind, base, azure_run, handle.instrument)
    assert "thread.run.completed" in told.names
    assert told.raised[0].kind == "azure.core.exceptions.ResourceNotFoundError"
    with Replaying(tmp_path / "r.db", repeat="cycle") as replay:
        for other in KINDS:
            assert azure.drive(other, replay.url, azure_run).seen == told.seen
        assert azure.drive(kind, replay.url, azure_run) == told
        assert replay.said == []


def test_an_upload_is_answered_whatever_its_boundary(tmp_path: Path) -> None:
    """Each part counts: other bytes, or another name of the file, are another request."""
    told = compact(
        {"id": "file-1", "object": "file", "bytes": 9, "filename": "a.bin", "purpose": "assistants"}
    ).encode()
    answer = (head("200 OK", "Content-Type: application/json", f"Content-Length: {len(told)}") + told,)

    def upload(base: str, name: str, data: bytes) -> str:
        with openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0) as client:
            return client.files.create(file=(name, data), purpose="assistants").id

    data = b"\x00\xff\r\n--x\r\n"
    with Loopback([answer]) as server, Proxied(tmp_path / "r.db", server.url) as proxy:
        assert upload(proxy.url, "a.bin", data) == "file-1"
    with Replaying(tmp_path / "r.db", repeat="last") as replay:
        assert [upload(replay.url, "a.bin", data) for _ in range(2)] == ["file-1"] * 2
        for name, other in (("b.bin", data), ("a.bin", data + b"!")):
            with pytest.raises(openai.NotFoundError, match="no recording answers POST /v1/files"):
                upload(replay.url, name, other)


# -- hostile wires -----------------------------------------------------------------------------------------------------

#: What cannot be the same over HTTP/1.1 once a connection is accepted, and why.
NOT_THE_SAME: Final = {
    "connection-refused": "a connection that is not accepted: a server can only reset one that was",
    "transfer-encoding-and-content-length": "RFC 9112 section 6.3: a sender must not send both",
}
#: Replayed as it was from a recording made in process.
PAST_THE_PROXY: Final = "308-absolute"
#: The same events; but how an HTTP/2 stream breaks has no counterpart in HTTP/1.1.
BREAKS_IN_HTTP2: Final = frozenset(
    {
        "http2-reset-stream",
        "http2-reset-stream-before-head",
        "http2-fin",
        "http2-tcp-reset",
        "http2-goaway",
        "http2-goaway-with-error",
        "http2-no-end-after-done",
    }
)


def slices(every: int, first: int, *servers: str) -> pytest.MarkDecorator:
    """At night all scenarios of these servers, sync and async; else each so many (an odd number, see `each`)."""
    cases = [
        (scenario, mode)
        for number, scenario in enumerate(SCENARIOS)
        if scenario.server in servers and scenario.name not in NOT_THE_SAME
        if NIGHTLY or (number + SLICE) % every == first or scenario.server == "http2"
        for mode in in_turn(number, scenario.modes)
    ]
    return pytest.mark.parametrize(
        ("scenario", "mode"), [pytest.param(scenario, mode, id=f"{scenario.name}-{mode}") for scenario, mode in cases]
    )


def same(one: Outcome, other: Outcome, scenario: Scenario) -> None:
    """The same outcome, as far as HTTP/1.1 can express it; cookies are credentials, and not kept."""
    both: list[dict[str, Any]] = []
    for outcome in (one, other):
        heads: list[Any] = [
            head._replace(headers=tuple(h for h in head.headers if h[0].lower() != "set-cookie"))
            for head in outcome.heads
        ]
        facts = {
            "events": outcome.events,
            "error": outcome.error,
            "cause": outcome.cause,
            "detail": outcome.detail,
            "status": outcome.status,
            "request_id": outcome.request_id,
            "requests": outcome.requests,
            "heads": heads,
        }
        if scenario.server == "http2":
            facts["heads"] = [
                (head.status, [h for h in head.headers if h[0].lower() != "transfer-encoding"]) for head in heads
            ]
        if scenario.name in BREAKS_IN_HTTP2:
            for name in ("error", "cause", "detail", "heads", "status", "request_id"):
                del facts[name]
            facts["failed"] = outcome.error is not None
        both.append(facts)
    assert both[1] == both[0]


def over_http1(scenario: Scenario) -> Scenario:
    """The same calls by a client of HTTP/1.1."""
    return dataclasses.replace(scenario, server="http1")


def record_in_process(scenario: Scenario, mode: Mode, path: Path) -> None:
    with recorder.open(path, strict=True) as handle:
        direct(scenario, mode, instrument=handle.instrument)


def record_by_proxy(scenario: Scenario, mode: Mode, path: Path) -> None:
    with scenario.serve() as server, Proxied(path, server.url) as proxy:
        drive(scenario, proxy.url, mode=mode)


@slices(5, 0, "http1", "http2")
def test_a_hostile_wire_is_replayed_as_it_was(scenario: Scenario, mode: Mode, tmp_path: Path) -> None:
    """Events, exception, message, cause, status, request id, heads, number of attempts: as from the upstream."""
    first = direct(scenario, mode)
    path = tmp_path / "recorder.db"
    record_in_process(scenario, mode, path)
    with Replaying(path, include_partial=scenario.abandons) as replay:
        same(first, drive(over_http1(scenario), replay.url, mode=mode), scenario)


@slices(7, 1, "http1")
def test_a_hostile_wire_that_a_proxy_recorded_is_replayed_as_it_was(
    scenario: Scenario, mode: Mode, tmp_path: Path
) -> None:
    """Why a client left, a proxy cannot know: what it left is played when asked for."""
    if scenario.name == PAST_THE_PROXY:
        pytest.skip("an absolute redirect led the client past the proxy: what came of it was never recorded")
    first = direct(scenario, mode)
    path = tmp_path / "recorder.db"
    record_by_proxy(scenario, mode, path)
    with Replaying(path, include_partial=True) as replay:
        same(first, drive(scenario, replay.url, mode=mode), scenario)


def test_what_is_excluded_exists() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    assert {*NOT_THE_SAME, *BREAKS_IN_HTTP2, PAST_THE_PROXY} <= names


# -- published streams -------------------------------------------------------------------------------------------------


class Published:
    """A proxy in front of an upstream that answers each path with one published stream, cut at seeded places."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams = {f"/{stream.protocol}/{stream.id}": stream for stream in corpus()}

    def cuts(self, target: str) -> list[int]:
        return seeded_cuts(self.streams[target].path.stat().st_size, target)

    def answer(self, request: Asked) -> list[Step]:
        target = request.target.decode()
        return stream_script(self.streams[target].path.read_bytes(), cuts=self.cuts(target), headers=["X-Odd-CASE: 1"])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Each twelfth published stream, as a recording without a network."""
    need_corpus()
    made = Published(tmp_path_factory.mktemp("published") / "recorder.db")
    for target in list(made.streams)[::12]:
        chunks = pieces(made.streams[target].path.read_bytes(), made.cuts(target))
        kept(made.path, CHUNKED, *chunks, asked=Asking("POST", f"https://x{target}", JSON, b"{}", 2))
    return made


def proxied(path: Path) -> Published:
    """All published streams, recorded by a proxy; the upstream is gone."""
    need_corpus()
    made = Published(path / "recorder.db")
    with Loopback([made.answer], repeat_last=True) as server, Proxied(made.path, server.url) as proxy:
        for target in made.streams:
            with httpx.Client(timeout=60) as client, client.stream("POST", proxy.url + target, json={}) as reply:
                assert b"".join(reply.iter_raw()) == made.streams[target].path.read_bytes()
    return made


def chunks_of(address: tuple[str, int], target: str) -> tuple[bytes, list[bytes]]:
    """A head, and the body's chunks as they were framed, read from a raw connection."""
    with socket.create_connection(address, 20) as sock:
        sock.sendall(
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}" % target.encode()
        )
        data = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    start, _, body = data.partition(b"\r\n\r\n")
    chunks = []
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        assert rest[length : length + 2] == b"\r\n"
        body = rest[length + 2 :]
        if not length:
            return start, chunks[:-1]


def test_published_streams_come_back_in_their_chunks(tmp_path: Path) -> None:
    """216 of 216: exact bytes, one HTTP chunk for each that was recorded, an edge wherever the upstream had one."""
    published = proxied(tmp_path)
    assert len(published.streams) == 216
    with Replaying(published.path) as replay, Store.open(published.path, readonly=True) as store:
        recordings = {path_of(listed.recording.request): listed.recording for listed in store.recordings(EVERY)}
        for target, stream in published.streams.items():
            start, chunks = chunks_of(replay.address, target)
            assert b"\r\nX-Odd-CASE: 1" in start
            assert b"".join(chunks) == stream.path.read_bytes()
            recorded = Player(store).play(recordings[target]).chunks()
            assert chunks == [chunk for _, chunk in recorded]
            assert set(published.cuts(target)) <= set(itertools.accumulate(map(len, chunks)))


@pytest.mark.parametrize("chunks", ["event", "joined", "size:1000", "seed:3"])
def test_published_streams_come_back_cut_anew(published: Published, chunks: str) -> None:
    """The same bytes, whatever the cuts."""
    with Replaying(published.path, chunks=chunks) as replay, Store.open(published.path, readonly=True) as store:
        recordings = {path_of(listed.recording.request): listed.recording for listed in store.recordings(EVERY)}
        for target, recording in recordings.items():
            _, sent = chunks_of(replay.address, target)
            assert b"".join(sent) == published.streams[target].path.read_bytes()
            recorded = Player(store, chunks=chunks).play(recording).chunks()
            assert sent == [chunk for _, chunk in recorded]


@pytest.mark.parametrize("kind", EVERY_CLIENT, ids=str)
def test_published_streams_reach_http_clients(published: Published, kind: Kind) -> None:
    """httpx and httpx2, synchronous and not, over the loop of the standard library."""
    with Replaying(published.path, plain_loop=True) as replay:
        for target, stream in list(published.streams.items())[::12]:
            seen = fetch(kind, kind.client(timeout=20), replay.url + target, json={})
            assert seen.failure == ()
            assert b"".join(seen.pieces) == stream.path.read_bytes()
