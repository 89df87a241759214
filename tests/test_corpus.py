"""The 216 published streams over real sockets, through httpx and httpx2, sync and async: 864 exchanges, byte for byte.

Each stream is cut at seeded random places, each piece an HTTP chunk and a TCP segment of its own, with short pauses.
What a client is handed is compared as chunks, not only as bytes: while recording, in the store, and on replay. Without
RECORDER_NIGHTLY=1 each stream goes through one of the four clients, in turn.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Literal, NamedTuple

import httpx
import httpx2
import pytest

import recorder
from tests.loopback import Loopback, Stream, corpus, seeded_cuts, seeded_pauses, serve_stream
from tests.needs import in_turn, need_corpus

need_corpus()

Wrap = Callable[[Any], object]


class Client(NamedTuple):
    """One of the four HTTP clients."""

    module: ModuleType
    mode: Literal["sync", "async"]

    def __str__(self) -> str:
        return f"{self.module.__name__}-{self.mode}"


CLIENTS = [Client(module, mode) for module in (httpx, httpx2) for mode in ("sync", "async")]
STREAMS = corpus()
EVERY_EXCHANGE = pytest.mark.parametrize(
    ("stream", "client"),
    [
        pytest.param(stream, client, id=f"{stream.id}-{client}")
        for number, stream in enumerate(STREAMS)
        for client in in_turn(number, CLIENTS)
    ],
)


def exchange(client: httpx.Client, url: str) -> list[bytes]:
    """One streamed POST; the chunks as `iter_raw` yields them, undecoded."""
    with client.stream("POST", url, json={"stream": True}) as response:
        return list(response.iter_raw())


async def exchange_async(client: httpx.AsyncClient, url: str) -> list[bytes]:
    """The same with an asynchronous client."""
    async with client.stream("POST", url, json={"stream": True}) as response:
        return [chunk async for chunk in response.aiter_raw()]


def run(client: Client, url: str, wrap: Wrap | None = None) -> list[bytes]:
    """Open a client, let `wrap` have it where given, make one exchange, close the client."""
    options: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 30.0}
    if client.mode == "sync":
        with client.module.Client(**options) as http:
            if wrap:
                wrap(http)
            return exchange(http, url)

    async def asynchronous() -> list[bytes]:
        async with client.module.AsyncClient(**options) as http:
            if wrap:
                wrap(http)
            return await exchange_async(http, url)

    return asyncio.run(asynchronous())


def cuts_of(stream: Stream, client: Client) -> list[int]:
    """Where this stream is cut for this client; the same in every process."""
    return seeded_cuts(stream.path.stat().st_size, f"{stream.id} {client}")


def serve(stream: Stream, client: Client) -> Loopback:
    """The upstream of one exchange, not yet started: use `with`."""
    cuts = cuts_of(stream, client)
    return serve_stream(stream.path.read_bytes(), cuts=cuts, pauses=seeded_pauses(cuts, f"{stream.id} {client}"))


def edges(chunks: Iterable[bytes]) -> set[int]:
    """The offsets at which chunks end."""
    return set(itertools.accumulate(len(chunk) for chunk in chunks))


def test_the_corpus_is_whole() -> None:
    """216 streams, each with its sidecar."""
    assert len(STREAMS) == 216
    assert [stream.id for stream in STREAMS if not stream.sidecar.is_file()] == []


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[recorder.Handle]:
    """One store for all of a test process's exchanges."""
    with recorder.open(tmp_path_factory.mktemp("corpus") / "recorder.db", strict=True) as handle:
        yield handle


@EVERY_EXCHANGE
def test_a_stream_is_recorded_and_replayed_exactly(stream: Stream, client: Client, tape: recorder.Handle) -> None:
    """Recording hands the client the stream's bytes, cut where the upstream cut; the store gives the same chunks back,
    and so does a replay to the same kind of client."""
    path = f"/{stream.protocol}/{stream.id}/{client}"
    with serve(stream, client) as server:
        chunks = run(client, server.url + path, tape.instrument)
    whole = stream.path.read_bytes()
    assert b"".join(chunks) == whole
    assert set(cuts_of(stream, client)) <= edges(chunks)
    assert b"" not in chunks
    assert [request.body for request in server.requests] in ([b'{"stream":true}'], [b'{"stream": true}'])
    tape.flush(30)
    (listed,) = tape.recordings(limit=1)
    assert listed.recording.request.url.endswith(path)
    assert tape.body(listed.recording.recording_id) == whole
    with tape.replay() as replay:
        assert run(client, "http://replay.invalid" + path, replay.instrument) == chunks
