"""A writer that is killed at a random moment, again and again, and what must be in the store afterwards.

Run as a program (`python -m tests.crash URL ROUNDS SEED`): each round forks a child that records several streams at
once and reports what it was told is durable; the child is killed with SIGKILL; then three recoverers race; then every
row is compared with what the child's seed says was sent. Prints one JSON line of figures, or fails with what was wrong.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from uuid import UUID

from recorder import cuts
from recorder.digest import EventDigest, payload_of
from recorder.recording import Event, Head, Request
from recorder.store import Store
from recorder.writer import Writer, recover

STREAMS = 3
#: Seconds after which what does not come is taken to hang.
PATIENCE = 60.0
HEAD = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),))


def chunks(seed: str) -> Iterator[bytes]:
    """The endless body of one stream, in the chunks in which it was sent: events cut anywhere."""
    random_ = random.Random(seed)
    left = b""
    number = 0
    while True:
        while len(left) < 400:
            kind = random_.choice(["data: %d\n\n", 'event: delta\ndata: {"n": %d}\n\n', ": %d\n\n", "id: %d\r\n\r\n"])
            left += (kind % number).encode()
            number += 1
        size = random_.choice([1, 5, 20, 40, 200, 400])
        yield left[:size]
        left = left[size:]


def write_until_killed(url: str, seed: str, report: int) -> None:
    """The child: records STREAMS streams and reports (stream, recording, durable position), until it is killed."""
    writer = Writer(lambda: Store.open(url, create=True))
    taps = [writer.start(Request("POST", f"http://model.test/{seed}/{n}", body=b"{}")) for n in range(STREAMS)]
    for tap in taps:
        tap.head(HEAD)
    bodies = [chunks(f"{seed}/{n}") for n in range(STREAMS)]
    random_ = random.Random(seed)
    while True:
        for _ in range(random_.choice([1, 3, 30])):
            n = random_.randrange(STREAMS)
            taps[n].data(next(bodies[n]))
        acks = "".join(f"{n} {tap.recording_id} {tap.durable}\n" for n, tap in enumerate(taps))
        os.write(report, acks.encode())
        time.sleep(random_.choice([0, 0.0005, 0.003]))


def kill_after(url: str, seed: str, delay: float) -> dict[UUID, tuple[int, int]]:
    """Fork the child, kill it `delay` seconds after its first acknowledged event; what was acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            write_until_killed(url, seed, write)
        finally:
            os._exit(1)
    os.close(write)
    told = bytearray()
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        wait = PATIENCE if deadline is None else max(deadline - time.monotonic(), 0)
        if not select.select([read], [], [], wait)[0]:
            break
        piece = os.read(read, 1 << 16)
        if not piece:
            raise AssertionError("the writing child ended by itself")
        told += piece
        if deadline is None and _acknowledged(told, whole=False):
            deadline = time.monotonic() + delay
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert deadline is not None, "the writing child hangs"
    while piece := os.read(read, 1 << 16):
        told += piece
    os.close(read)
    return _acknowledged(told)


def _acknowledged(told: bytearray, *, whole: bool = True) -> dict[UUID, tuple[int, int]]:
    """The last durable position that was reported of each recording that has one: id -> (stream, position)."""
    found: dict[UUID, tuple[int, int]] = {}
    lines = told.decode().split("\n")[:-1]
    for line in lines if whole else lines[-STREAMS:]:
        number, recording_id, position = line.split()
        if int(position) >= 0:
            found[UUID(recording_id)] = (int(number), int(position))
    return found


def race(url: str, recoverers: int = 3) -> None:
    """Several recoverers at once, each with a store of its own; any failure of one of them is raised."""
    failures: list[BaseException] = []

    def one() -> None:
        try:
            store = Store.open(url)
            try:
                recover(store)
            finally:
                store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(recoverers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def check(store: Store, recording_id: UUID, stream: str, acknowledged: int) -> int:
    """That this recording is whole up to its end and holds what was acknowledged; gives the number of its events."""
    recording = store.recording(recording_id)
    events = list(store.events(recording_id))
    assert [event.position for event in events] == list(range(len(events))), "positions have a gap"
    assert len(events) > acknowledged, f"position {acknowledged} was acknowledged, {len(events)} rows are there"
    assert recording.ending is not None, "no end"
    assert (recording.ending.ending, recording.ending.captured) == ("interrupted", "truncated"), recording.ending
    assert [event.kind for event in events].count("end") == 1
    assert events[-1].kind == "end"
    _check_body(events, stream)
    check_digests(store, recording_id, events)
    return len(events)


def _check_body(events: list[Event], stream: str) -> None:
    body = bytearray()
    ends = []
    for event in events:
        if event.kind in ("sse", "body"):
            for offset, _ in cuts.unpack(event.cuts, event.size, event.elapsed_us):
                ends.append(len(body) + offset)
            body += payload_of((b"", *event))
    sent, expected = bytearray(), []
    for chunk in chunks(stream):
        if len(sent) >= len(body):
            break
        sent += chunk
        expected.append(len(sent))
    assert sent.startswith(body), "the stored bytes are not a prefix of what was sent"
    assert ends == [end for end in expected if end <= len(body)], "the cuts are not those of the wire"


def check_digests(store: Store, recording_id: UUID, events: list[Event]) -> None:
    recording = store.recording(recording_id)
    ending = recording.ending
    assert ending is not None
    digest = EventDigest(recording)
    for event in events:
        row = (recording_id.bytes, *event)
        digest.rows([row])
        digest.payload(payload_of(row))
    found = digest.finish(recording, ending)
    assert found == (ending.facts_digest, ending.payload_digest, ending.seal), "the digests do not verify"


def expire_leases(url: str) -> None:
    """PostgreSQL: as if the dead writer's lease had run out already."""
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
            connection.execute("UPDATE leases SET expires_at = 0")


def wait_until_left(url: str) -> None:
    """PostgreSQL: until the server has heard of the death of all who were connected.

    What it was told last it still does, and a COMMIT may take its time. A lease lasts longer than that: nobody takes
    a recording for dead while events are on their way into it.
    """
    if url.startswith("postgresql"):
        import psycopg

        others = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        give_up = time.monotonic() + PATIENCE
        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
            while connection.execute(others).fetchone() != (0,):
                assert time.monotonic() < give_up, "somebody is still connected"
                time.sleep(0.005)


def main(url: str, rounds: int, seed: str) -> dict[str, int]:
    """Kill a writer `rounds` times; the figures."""
    Store.open(url, create=True).close()
    random_ = random.Random(seed)
    figures = {"kills": 0, "recordings": 0, "events": 0, "acknowledged": 0}
    for number in range(rounds):
        stream = f"{seed}.{number}"
        acknowledged = kill_after(url, stream, random_.choice([0.01, 0.03, 0.06, 0.12]))
        wait_until_left(url)
        expire_leases(url)
        race(url)
        store = Store.open(url)
        for recording_id, (n, position) in acknowledged.items():
            figures["events"] += check(store, recording_id, f"{stream}/{n}", position)
            figures["acknowledged"] += position + 1
            figures["recordings"] += 1
        assert recover(store) == [], "a second recovery found something to do"
        store.close()
        figures["kills"] += 1
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))  # noqa: T201
