"""Hostile and ordinary wires, driven by the real openai client: directly, while recording, and on replay.

The outcome of a direct run is the expected one, and the other two are identical with it: events, exception, message,
cause, status, request id, heads. What is stored is what a passive listener below recorder saw cross.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import recorder
from recorder.cuts import unpack
from recorder.digest import payload_of
from recorder.store import Store
from tests.needs import in_turn
from tests.scenario import Expect, Mode, Scenario
from tests.tee import Exchange, Tee
from tests.torture import SCENARIOS, Head, Outcome, direct, drive, named

#: At night all, sync and async; else each in one of the two, in turn.
EVERY_CASE = pytest.mark.parametrize(
    ("scenario", "mode"),
    [
        pytest.param(scenario, mode, id=f"{scenario.name}-{mode}")
        for number, scenario in enumerate(SCENARIOS)
        for mode in in_turn(number, scenario.modes)
    ],
)


def facts(outcome: Outcome) -> Expect:
    """An outcome as an expectation states it."""
    return Expect(
        len(outcome.events),
        outcome.error and outcome.error.name,
        outcome.cause and outcome.cause.name,
        outcome.requests,
        outcome.status,
    )


def test_there_are_scenarios_enough() -> None:
    assert len(SCENARIOS) >= 75
    assert [name for name, times in Counter(scenario.name for scenario in SCENARIOS).items() if times > 1] == []


#: Replay needs an address for its requests; nothing listens there, and nothing is asked.
NOWHERE = "http://127.0.0.1:9"


@EVERY_CASE
def test_recording_and_replay_change_nothing(scenario: Scenario, mode: Mode, tmp_path: Path) -> None:
    """Directly, while recording, and from the store alone: the expected outcome each time, and the stored bytes exact.

    The upstream saw each request, and each client that left on purpose, also while recording.
    """
    first = direct(scenario, mode)
    assert facts(first) == scenario.expect, scenario.notes
    tee = Tee()

    def listen_and_record(client: Any) -> None:
        tee(client)
        handle.instrument(client)

    with recorder.open(tmp_path / "recorder.db", strict=True) as handle:
        recorded = direct(scenario, mode, instrument=listen_and_record)
        assert recorded == first
        for outcome in (first, recorded):
            assert outcome.upstream == (None if scenario.server == "refused" else outcome.requests)
            assert outcome.noticed is (True if scenario.abandons and scenario.server == "http1" else None)
        assert [exchange for exchange in tee.exchanges if exchange.ended is None] == []
        handle.flush(30)
        assert stored(tmp_path / "recorder.db") == [crossed(exchange) for exchange in tee.exchanges]
        with handle.replay(include_partial=scenario.abandons) as replay:
            assert without_cookies(
                drive(scenario, NOWHERE, mode=mode, instrument=replay.instrument)
            ) == without_cookies(first)


def without_cookies(outcome: Outcome) -> Outcome:
    """Cookies are credentials: the store keeps that there were some, and a replay shows as much."""

    def kept(head: Head) -> Head:
        return head._replace(headers=tuple(h if h[0].lower() != "set-cookie" else (h[0], "…") for h in head.headers))

    return dataclasses.replace(outcome, heads=tuple(map(kept, outcome.heads)))


def crossed(exchange: Exchange) -> tuple[str, int | None, list[bytes]]:
    """What the listener saw of an exchange; a chunk without bytes (HTTP/2 has them) is none."""
    return exchange.method, exchange.status, [chunk for chunk in exchange.chunks if chunk]


def stored(path: Path) -> list[tuple[str, int | None, list[bytes]]]:
    """What the store holds of each exchange, in order: the body cut into its chunks again, from the rows alone."""
    found = []
    with Store.open(path, readonly=True) as store:
        for listed in reversed(store.recordings()):
            recording = listed.recording
            assert recording.ending is not None
            events = list(store.events(recording.recording_id))
            body = [event for event in events if event.kind == "wire"]
            body = body or [event for event in events if event.kind in ("sse", "body")]
            chunks, rest = [], b""
            for event in body:
                payload = payload_of((b"", *event))
                assert len(payload) == event.size
                start = 0
                for end, _ in unpack(event.cuts, event.size, event.elapsed_us):
                    chunks.append(rest + payload[start:end])
                    start, rest = end, b""
                rest += payload[start:]
            assert rest == b""
            found.append((recording.request.method, recording.ending.http_status, chunks))
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lf", "unknown-event-name"),
        ("lf", "run-incomplete"),
        ("chunked-early-fin", "reset-after-terminal-event"),
        ("reset-mid-event", "bad-chunk-size"),
        ("fin-inside-a-chunk", "fin-inside-a-chunk-size"),
        ("400-json", "400-html"),
        ("429-then-ok", "lf"),
        ("http2-complete", "lf"),
    ],
)
def test_different_wires_give_different_outcomes(one: str, other: str) -> None:
    """An Outcome tells apart what a caller can tell apart: heads, events, classes, causes, messages, counts."""
    assert direct(named(one), "sync") != direct(named(other), "sync")
