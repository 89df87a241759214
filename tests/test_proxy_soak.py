"""Many streams through the proxy at once for a while; clients and upstreams die at random, and the proxy is killed.

Seeded: what each stream is, what its upstream does to it, and what its client does. When streams meet is the clock's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import sqlite3
import statistics
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SO_REUSEADDR, SOL_SOCKET
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest

from recorder.digest import EventDigest, payload_of
from recorder.proxy import Routes
from recorder.recording import Event, Recording
from recorder.store import RunFilter, Store
from tests.loopback import LAST_CHUNK, chunk, stream_head
from tests.needs import CI, NIGHTLY
from tests.proxied import Program, Proxied, killed

#: Streams at once, and for how many seconds new ones begin.
STREAMS, SECONDS = (500, 600.0) if NIGHTLY else (500, 30.0) if CI else (60, 10.0)
#: Events a second of all streams together, and events of one.
RATE, EVENTS = 2500 if NIGHTLY or CI else 1000, 20
#: When the proxy is killed: after this share of the time.
KILLED_AFTER = 0.4
#: MiB by which the second proxy may grow in the latter half of its life.
GROWTH = 16

#: What an upstream does -> how the recording ends, and what a client that stays sees of it.
PLANS: Final = {
    "whole": ("eof", "whole"),
    "fin": ("protocol_error", "fin"),
    "reset": ("reset", "reset"),
    "fin-before-head": ("protocol_error", "fin"),
    "reset-before-head": ("reset", "reset"),
    "endless": ("client_closed", "left"),
    "silent": ("client_closed", "left"),
}
WEIGHTS: Final = (10, 2, 2, 1, 1, 3, 1)
ENDINGS: Final = {ending for ending, _ in PLANS.values()}


class Plan(NamedTuple):
    """What is to become of one stream: its upstream's part, and behind how many events that, or the client, ends it."""

    number: int
    does: str
    at: int
    #: The client leaves with a RST.
    abrupt: bool

    @property
    def target(self) -> str:
        return f"/v1/soak?number={self.number}&does={self.does}&at={self.at}"

    @classmethod
    def of(cls, seed: int, number: int) -> Plan:
        chance = random.Random(f"{seed} {number}")
        does = chance.choices(list(PLANS), WEIGHTS)[0]
        return cls(number, does, chance.randrange(EVENTS), chance.random() < 0.5)


def event(number: int, at: int) -> bytes:
    """One event of a stream, of 60 to 260 bytes."""
    return b'data: {"stream":%d,"event":%d,"text":"%b"}\n\n' % (number, at, b"x" * ((number * 31 + at * 7) % 200))


@dataclass(slots=True)
class Told:
    """What a client saw of its stream; `shaken`: the proxy was killed, or away, meanwhile."""

    plan: Plan
    saw: str
    body: bytes
    shaken: bool


@dataclass
class Soak:
    """The upstream, its clients and what they saw."""

    seed: int
    gap: float
    told: list[Told] = field(default_factory=list)
    #: Targets that the upstream was asked for.
    asked: Counter[str] = field(default_factory=Counter)
    over: bool = False
    #: Odd from before the kill until the next proxy is there.
    epoch: int = 0
    number: int = 0

    # -- the upstream ----------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the proxy to the upstream."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                await reader.readexactly(2)
                self.asked[target] += 1
                asked = dict(parse_qsl(urlsplit(target).query))
                if not await self._answer(reader, writer, asked["does"], int(asked["number"]), int(asked["at"])):
                    break
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, does: str, number: int, at: int
    ) -> bool:
        """Play one stream; False where the connection is over."""
        if does == "silent":
            await reader.read(1)  # until the client is seen to leave
            return False
        if not does.endswith("before-head"):
            writer.write(stream_head())
            for each in range(EVENTS * 50 if does == "endless" else EVENTS if does == "whole" else at):
                writer.write(chunk(event(number, each)))
                await asyncio.sleep(self.gap)
                if reader.at_eof() or writer.transport.is_closing():
                    return False
        if does == "whole":
            writer.write(LAST_CHUNK)
            return True
        if does.startswith("reset"):
            reset(writer)
        return False

    # -- the clients -----------------------------------------------------------------------------------------------

    async def client(self, address: tuple[str, int], delay: float) -> None:
        """One stream after the other; a connection is kept where the stream before came to its end."""
        await asyncio.sleep(delay)
        kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.over:
            plan = Plan.of(self.seed, self.number)
            self.number += 1
            epoch = self.epoch
            try:
                reader, writer = kept or await asyncio.open_connection(*address)
            except ConnectionError:
                assert epoch != self.epoch or epoch % 2, "a connection was refused while the proxy was there"
                await asyncio.sleep(0.1)
                continue
            saw, body = await self._ask(reader, writer, plan)
            self.told.append(Told(plan, saw, body, shaken=epoch != self.epoch or epoch % 2 == 1))
            kept = (reader, writer) if saw == "whole" else None
        if kept is not None:
            kept[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan) -> tuple[str, bytes]:
        """How one stream ended, and its body."""
        data = b""
        stays = PLANS[plan.does][1] != "left"
        saw = "whole"
        try:
            writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}" % plan.target.encode())
            while not data.endswith(LAST_CHUNK):
                if not stays and plan.does == "silent":
                    await asyncio.sleep(plan.at * self.gap)
                    saw = "left"
                    break
                piece = await reader.read(1 << 16)
                if not piece:
                    saw = "fin"
                    break
                data += piece
                if not stays and data.count(b"data: ") > plan.at:
                    saw = "left"
                    break
        except ConnectionError:
            saw = "reset"
        if saw != "whole":
            if plan.abrupt:
                reset(writer)
            writer.close()
        return saw, unchunked(data.partition(b"\r\n\r\n")[2])


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def unchunked(data: bytes) -> bytes:
    """The whole chunks of a body."""
    body: list[bytes] = []
    while True:
        size, found, rest = data.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if not length or len(rest) < length:
            return b"".join(body)
        body.append(rest[:length])
        data = rest[length + 2 :]


# -- the run -------------------------------------------------------------------------------------------------------


class Acknowledged(NamedTuple):
    """What the proxy had in its store before it was killed: the last position of each recording, and its figure."""

    positions: dict[bytes, int]
    events: int


def positions(path: Path) -> dict[bytes, int]:
    """The last position of each recording, as any other process sees it."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        return dict(connection.execute("SELECT recording_id, max(position) FROM events GROUP BY recording_id"))


def ended(path: Path) -> set[str]:
    """The targets of the recordings that have their ending."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        query = "SELECT recordings.url FROM recordings JOIN endings USING (recording_id)"
        return {target_of(url) for (url,) in connection.execute(query)}


def target_of(url: str) -> str:
    """The path and query of a URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


async def settled(path: Path, targets: set[str]) -> None:
    """Wait until these streams, which are over for their clients, have their endings in the store."""
    while not targets <= await asyncio.to_thread(ended, path):
        await asyncio.sleep(0.05)


async def seen(soak: Soak, enough: Callable[[], bool]) -> None:
    """Wait until what clients have seen is enough."""
    until = asyncio.get_running_loop().time() + 60
    while not enough():
        assert asyncio.get_running_loop().time() < until, Counter(each.plan.does for each in soak.told)
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def reserved() -> Iterator[int]:
    """A port that nobody else is given between one proxy and the next, and no client of it as its own.

    It is bound and not listened on: whoever asks for it by its number may listen, as the proxy does.
    """
    with socket.socket() as sock:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def figure(address: tuple[str, int], name: str) -> int:
    """One of the proxy's figures."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /__recorder/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))))


def resident(process: int) -> float:
    """MiB that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def watch(process: int, seconds: float) -> list[float]:
    """What it holds, again and again, for so long."""
    seen = []
    for _ in range(40):
        await asyncio.sleep(seconds / 40)
        seen.append(resident(process))
    return seen


async def run(soak: Soak, path: Path) -> tuple[Acknowledged, list[float], str]:
    """Let it all happen; what was acknowledged before the kill, the second proxy's memory, and what both said."""
    with reserved() as port:
        return await run_on(port, soak, path)


async def run_on(port: int, soak: Soak, path: Path) -> tuple[Acknowledged, list[float], str]:
    server = await asyncio.start_server(soak.serve, "127.0.0.1", 0, backlog=1000)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    arguments = ["--upstream", upstream, "--port", str(port)]
    with killed(Program(path, *arguments)) as first:
        url = urlsplit(await asyncio.to_thread(first.url))
        address = (url.hostname or "", url.port or 0)
        clients = [
            asyncio.ensure_future(soak.client(address, number / STREAMS * EVENTS * soak.gap))
            for number in range(STREAMS)
        ]
        await asyncio.sleep(SECONDS * KILLED_AFTER)
        await seen(soak, lambda: {PLANS[told.plan.does][0] for told in soak.told} >= ENDINGS)
        soak.epoch += 1
        await settled(path, {told.plan.target for told in soak.told})
        events = await figure(address, "recorder_events_total")
        acknowledged = Acknowledged(await asyncio.to_thread(positions, path), events)
        first.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.end)
    after = await asyncio.to_thread(positions, path)
    assert {
        key: after.get(key, -1) >= at for key, at in acknowledged.positions.items() if after.get(key, -1) < at
    } == {}
    assert sum(at + 1 for at in after.values()) >= events > 0
    with killed(Program(path, *arguments)) as second:
        await asyncio.to_thread(second.url)
        soak.epoch += 1
        before = len(soak.told)  # what is loaded with the first streams is no growth
        await seen(soak, lambda: len(soak.told) >= before + 2 * STREAMS)
        held = await watch(second.process.pid, SECONDS * (1 - KILLED_AFTER))
        soak.over = True
        await asyncio.gather(*clients)
        assert await figure(address, "recorder_gaps_total") == 0
        assert await figure(address, "recorder_store_failing") == 0
        second.process.send_signal(signal.SIGTERM)
        code, _ = await asyncio.to_thread(second.end)
        assert code == 0, second.errors
    server.close()
    return acknowledged, held, first.errors + second.errors


# -- what must hold ------------------------------------------------------------------------------------------------


def check(store: Store, recording: Recording, told: Told) -> str:
    """That one recording has the right ending and bytes; gives the ending."""
    plan = told.plan
    events = list(store.events(recording.recording_id))
    assert [each.position for each in events] == list(range(len(events))), plan
    body = b"".join(payload_of((b"", *each)) for each in events if each.kind in ("sse", "body"))
    ending = recording.ending
    assert ending is not None, plan
    assert [each.kind for each in events].count("end") == 1, plan
    whole = b"".join(event(plan.number, at) for at in range(max(EVENTS, body.count(b"data: ") + 1)))
    assert whole.startswith(body), plan
    if ending.ending == "interrupted":
        assert told.shaken, f"{plan} was interrupted though no proxy died meanwhile"
        assert ending.captured == "truncated", plan
        check_digests(recording, events)
        return ending.ending
    assert (ending.ending, ending.captured) == (PLANS[plan.does][0], "full"), plan
    assert body.startswith(told.body), f"{plan}: the client had more than is stored"
    if plan.does != "endless":
        count = (
            EVENTS if plan.does == "whole" else 0 if plan.does.endswith("head") or plan.does == "silent" else plan.at
        )
        assert body.count(b"data: ") == count, plan
    return ending.ending


def check_digests(recording: Recording, events: list[Event]) -> None:
    """That its seal fits its rows."""
    assert recording.ending is not None
    digest = EventDigest(recording)
    for each in events:
        row = (recording.recording_id.bytes, *each)
        digest.rows([row])
        digest.payload(payload_of(row))
    ending = recording.ending
    assert digest.finish(recording, ending) == (ending.facts_digest, ending.payload_digest, ending.seal)


def by_target(store: Store) -> dict[str, UUID]:
    """Each recording by what was asked for: once."""
    found: dict[str, UUID] = {}
    for listed in store.recordings(RunFilter(limit=10_000_000)):
        target = target_of(listed.recording.request.url)
        assert target not in found, f"{target} was recorded twice"
        found[target] = listed.recording.recording_id
    return found


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Each stream takes two files here. Other tests find the limit as it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(SECONDS * 3 + 300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_streams_survive_deaths_on_all_sides(tmp_path: Path) -> None:
    """What was acknowledged is stored, each stream has its ending or is marked, memory is flat, nothing was busy."""
    path = tmp_path / "recorder.db"
    soak = Soak(seed=7, gap=STREAMS / RATE)
    acknowledged, held, said = asyncio.run(run(soak, path))
    assert len(soak.told) >= STREAMS
    for told in soak.told:
        assert told.shaken or told.saw == PLANS[told.plan.does][1], told
    endings: Counter[str] = Counter()
    with Store.open(path, readonly=True) as store:
        found = by_target(store)
        for told in soak.told:
            recording_id = found.pop(told.plan.target, None)
            if recording_id is None:
                assert told.shaken, f"{told.plan} was not recorded"
                continue
            endings[check(store, store.recording(recording_id), told)] += 1
    assert found == {}
    assert set(soak.asked.values()) == {1}, "a request was sent twice"
    assert endings["interrupted"] > 0
    assert set(endings) >= ENDINGS
    assert 0 < len(acknowledged.positions) <= sum(endings.values())
    for word in ("busy", "locked", "Traceback", "recorder failed", "NOT WHOLE"):
        assert word not in said
    assert grown(held) < GROWTH, held


def grown(held: list[float]) -> float:
    """MiB from the middle third's median to the last third's."""
    third = len(held) // 3
    return statistics.median(held[-third:]) - statistics.median(held[third : 2 * third])


def test_memory_that_grows_is_seen() -> None:
    """The measure itself: a steady growth of 2 MiB a sample is above the bound, noise about a level is not."""
    assert grown([100 + 2.0 * at for at in range(40)]) > GROWTH
    assert abs(grown([100 + (-1.0) ** at for at in range(40)])) < 3


# -- all at once ---------------------------------------------------------------------------------------------------


async def _stream_own(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream's connection: streams the request's target, again and again."""
    try:
        while True:
            target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            await reader.readexactly(2)
            writer.write(stream_head())
            for _ in range(6):
                writer.write(chunk(b"data: %s\n\n" % target))
                await asyncio.sleep(0.02)
            writer.write(LAST_CHUNK)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def _ask(address: tuple[str, int], number: int) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        b"POST /v1/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % number
    )
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


def test_many_streams_at_once(tmp_path: Path) -> None:
    """500 together; each client gets its own bytes, and each is recorded whole."""

    async def ask_all(proxy: Proxied) -> list[bytes]:
        server = await asyncio.start_server(_stream_own, "127.0.0.1", 0, backlog=1000)
        proxy.service.routes = Routes.of([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"])
        got = await asyncio.gather(*(_ask(proxy.address, number) for number in range(500)))
        server.close()
        return got

    with Proxied(tmp_path / "r.db", "http://127.0.0.1:9") as proxy:
        got = asyncio.run(ask_all(proxy))
        wanted = [chunk(b"data: /v1/%d\n\n" % number) * 6 + LAST_CHUNK for number in range(500)]
        assert [data.partition(b"\r\n\r\n")[2] for data in got] == wanted
        proxy.flush()
        with Store.open(tmp_path / "r.db", readonly=True) as store:
            endings = [listed.recording.ending for listed in store.recordings(RunFilter(limit=1000))]
    assert [ending and (ending.ending, ending.captured) for ending in endings] == [("eof", "full")] * 500
