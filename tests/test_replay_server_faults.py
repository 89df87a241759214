"""Faults: their words are read strictly, they happen where they say, and the same requests meet the same ones."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import UsageError
from recorder.recording import Head
from recorder.replay_server.faults import Fault, Faults, split, spoiled
from tests.payloads import CHAT, DONE
from tests.replaying import EVENTS, Replaying, asking, hear, kept
from tests.wired import exchange

ANSWERED = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))

# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cut@event=12", Fault("cut@event=12", "cut", place="event", at=12)),
        ("reset@byte=0", Fault("reset@byte=0", "reset", place="byte", at=0)),
        ("reset@request=2", Fault("reset@request=2", "reset", request=2)),
        ("cut", Fault("cut", "cut")),
        ("stall@event=5:3s", Fault("stall@event=5:3s", "stall", place="event", at=5, seconds=3.0)),
        ("stall@event=5:250ms", Fault("stall@event=5:250ms", "stall", place="event", at=5, seconds=0.25)),
        ("stall:1.5m", Fault("stall:1.5m", "stall", seconds=90.0)),
        (" malformed@event=7 ", Fault("malformed@event=7", "malformed", place="event", at=7)),
        ("status=429@request=1:2s", Fault("status=429@request=1:2s", "status", status=429, request=1, seconds=2.0)),
        (
            "cut@event=random,rate=.25,seed=7,request=3",
            Fault("cut@event=random,rate=.25,seed=7,request=3", "cut", None, "event", None, 3, 0.25, 7),
        ),
    ],
)
def test_a_fault_is_read(text: str, fault: Fault) -> None:
    assert Fault.of(text) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is none: write cut, reset"),
        ("explode@event=1", "is none: write cut, reset"),
        ("cut@", "is none"),
        ("cut@event", "wrong at 'event'"),
        ("cut@event=-1", "wrong at 'event=-1'"),
        ("cut@event=1,,request=1", "wrong at ''"),
        ("cut@event=1,byte=2", "or both event and byte"),
        ("cut@request=1,request=2", "says 'request' twice"),
        ("cut@request=0", "wrong at 'request=0'"),
        ("cut@event=1:3s", "a time goes with stall or status alone"),
        ("stall@event=1:3", "is none"),
        ("stall@event=1:3h", "is none"),
        ("status=429@event=1", "a status stands before the body"),
        ("status=999", "is none"),
        ("status", "is none"),
        ("malformed", "say which is malformed"),
        ("malformed@event=0", "say which is malformed"),
        ("cut@rate=1.5", "a share from 0 to 1"),
    ],
)
def test_what_is_no_fault_is_refused_with_its_form(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        Fault.of(text)


# -- where -------------------------------------------------------------------------------------------------------------


def body_of(data: bytes) -> tuple[bytes, bool]:
    """The body behind a head, out of its chunks, and whether its last chunk came."""
    rest, body = data.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
        if not int(size, 16):
            return body, True
    return body, False


@pytest.mark.parametrize("whole", [CHAT, [b"".join(CHAT)], [b"".join(CHAT)[:99], b"".join(CHAT)[99:]]])
@pytest.mark.parametrize(("count", "ending"), list(itertools.product([0, 1, 3, len(CHAT)], ["cut", "reset"])))
def test_a_stream_ends_behind_an_event(tmp_path: Path, whole: list[bytes], count: int, ending: str) -> None:
    """However the events were cut into chunks: exactly so many come whole, then the connection ends."""
    kept(tmp_path / "r.db", ANSWERED, *whole)
    with Replaying(tmp_path / "r.db", faults=(f"{ending}@event={count}",)) as replay:
        heard = hear(replay.address, asking())
        assert replay.service.faults.idle == []
    assert body_of(heard.data) == (b"".join(CHAT[:count]), False)
    assert heard.ending == {"cut": "fin", "reset": "reset"}[ending]


@pytest.mark.parametrize("at", [0, 1, 100, 300])
def test_a_stream_ends_behind_a_byte(tmp_path: Path, at: int) -> None:
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    with Replaying(tmp_path / "r.db", faults=(f"cut@byte={at}",)) as replay:
        assert body_of(hear(replay.address, asking()).data) == (b"".join(CHAT)[:at], False)


def test_a_fault_behind_the_end_never_happens(tmp_path: Path) -> None:
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    faults = ("cut@event=99", "reset@byte=99999", "malformed@byte=99999", "status=500@request=2")
    with Replaying(tmp_path / "r.db", faults=faults) as replay:
        assert body_of(hear(replay.address, asking()).data) == (b"".join(CHAT), True)
        assert replay.service.faults.idle == list(faults)


@pytest.mark.parametrize(("fault", "ending"), [("cut", "fin"), ("reset", "reset"), ("stall", "silence")])
def test_without_a_place_it_happens_before_the_head(tmp_path: Path, fault: str, ending: str) -> None:
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    with Replaying(tmp_path / "r.db", faults=(fault,)) as replay:
        heard = hear(replay.address, asking(), silent_at=0 if fault == "stall" else math.inf)
    assert (heard.data, heard.ending) == (b"", ending)


def test_a_stall_with_a_time_goes_on(tmp_path: Path) -> None:
    """Nothing is lost behind it, and two in one stream both happen."""
    kept(tmp_path / "r.db", ANSWERED, b"".join(CHAT))
    faults = ("stall@event=1:20ms", "stall@byte=5:10ms", "cut@event=4")
    with Replaying(tmp_path / "r.db", faults=faults) as replay:
        heard = hear(replay.address, asking())
        assert replay.service.faults.idle == []
    assert body_of(heard.data) == (b"".join(CHAT[:4]), False)


def test_a_stall_without_a_time_lasts(tmp_path: Path) -> None:
    """It stands still where a cut would end it."""
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    faults = ("cut@event=2,request=1", "stall@event=2,request=2")
    with Replaying(tmp_path / "r.db", faults=faults, repeat="last") as replay:
        cut = hear(replay.address, asking(), silent_at=math.inf)
        assert body_of(cut.data) == (b"".join(CHAT[:2]), False)
        assert hear(replay.address, asking(), silent_at=len(cut.data)) == (cut.data, "silence")


@pytest.mark.parametrize("number", [1, 2, len(CHAT)])
def test_a_malformed_event_is_broken_json_of_the_same_length(tmp_path: Path, number: int) -> None:
    """The others are as they were."""
    kept(tmp_path / "r.db", ANSWERED, b"".join(CHAT)[:50], b"".join(CHAT)[50:])
    with Replaying(tmp_path / "r.db", faults=(f"malformed@event={number}",)) as replay:
        body, ended = body_of(hear(replay.address, asking()).data)
    events = [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
    assert ended
    assert [len(event) for event in events] == [len(event) for event in CHAT]
    assert [at for at, (one, other) in enumerate(zip(events, CHAT, strict=True), 1) if one != other] == [number]
    broken = events[number - 1].partition(b"data: ")[2].strip()
    assert broken != b"[DONE]"
    with pytest.raises(ValueError, match=r"line 1"):
        json.loads(broken)


def test_in_a_content_coding_an_event_ends_with_what_completed_it(tmp_path: Path) -> None:
    zipped = gzip.compress(b"".join(CHAT), mtime=0)
    answered = Head(200, "OK", "HTTP/1.1", (*ANSWERED.headers, ("content-encoding", "gzip")))
    kept(tmp_path / "r.db", answered, zipped[:30], zipped[30:])
    with Replaying(
        tmp_path / "r.db", faults=("malformed@byte=12,request=1", "cut@event=1,request=2"), repeat="last"
    ) as r:
        spoilt, _ = body_of(hear(r.address, asking()).data)
        cut, ended = body_of(hear(r.address, asking()).data)
    assert [at for at, pair in enumerate(zip(spoilt, zipped, strict=True)) if pair[0] != pair[1]] == [12]
    assert zipped.startswith(cut)
    assert not ended


# -- which -------------------------------------------------------------------------------------------------------------


def test_a_status_is_answered_before_any_recording_is_used_up(tmp_path: Path) -> None:
    """SDKs take it for the provider's, and their second attempt gets the recording."""
    kept(tmp_path / "r.db", Head(200, "OK", "HTTP/1.1", (("content-type", "application/json"),)), b'{"id":"resp_1"}')
    with Replaying(tmp_path / "r.db", faults=("status=429@request=1:10ms", "status=503@request=2")) as replay:
        reply = exchange(replay.address, asking())
        assert (reply.status, reply.headers[b"retry-after"], reply.headers[b"retry-after-ms"]) == (429, b"1", b"10")
        assert json.loads(reply.body)["error"]["type"] == "injected_fault"
        assert b"x-should-retry" not in reply.headers
        other = exchange(replay.address, asking())
        assert other.status == 503
        assert b"retry-after" not in other.headers
        assert hear(replay.address, asking()).data.endswith(b'{"id":"resp_1"}')
        assert replay.service.faults.idle == []


def test_sdks_retry_as_they_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    asked: Any = {"model": "gpt-4o", "input": "Hello"}
    document = b'{"id":"resp_1","object":"response","output":[]}'
    with Replaying(_responses(tmp_path, asked, document), faults=("status=429@request=1", "reset@request=2")) as replay:
        with openai.OpenAI(api_key="k", base_url=f"{replay.url}/v1", max_retries=2) as client:
            assert client.responses.create(**asked).id == "resp_1"
        assert replay.said == [
            "fault status=429@request=1 meets POST /v1/responses",
            "fault reset@request=2 meets POST /v1/responses",
        ]


def _responses(folder: Path, asked: Any, document: bytes) -> Path:
    import recorder
    from tests.loopback import Loopback, head

    answer = head("200 OK", "Content-Type: application/json", f"Content-Length: {len(document)}") + document
    with recorder.open(folder / "r.db", strict=True) as handle, Loopback([(answer,)]) as server:
        with openai.OpenAI(api_key="k", base_url=f"{server.url}/v1") as client:
            handle.instrument(client).responses.create(**asked)
    return folder / "r.db"


def test_what_a_fault_spoils_is_not_used_up(tmp_path: Path) -> None:
    """The next attempt gets the recording; one that was only held up had it."""
    for text in CHAT[:2]:
        kept(tmp_path / "r.db", ANSWERED, text, DONE)
    faults = ("cut@event=1,request=1", "malformed@event=1,request=2", "reset@request=3", "stall@event=1,request=4:1ms")
    with Replaying(tmp_path / "r.db", faults=faults) as replay:
        bodies = [body_of(hear(replay.address, asking()).data) for _ in range(5)]
        assert replay.service.faults.idle == []
    assert [body for body, _ in bodies[3:]] == [CHAT[0] + DONE, CHAT[1] + DONE]
    assert bodies[0] == (CHAT[0], False)


def test_requests_are_counted_for_each_session(tmp_path: Path) -> None:
    kept(tmp_path / "r.db", Head(200, "OK", "HTTP/1.1", (("content-length", "2"),)), b"{}")
    with Replaying(tmp_path / "r.db", faults=("status=500@request=2",), repeat="last") as replay:
        seen = [
            httpx.post(
                f"{replay.url}/v1/chat/completions",
                content=asking().partition(b"\r\n\r\n")[2],
                headers={"content-type": "application/json", "x-recorder-session": session},
                trust_env=False,
            ).status_code
            for session in ("one", "two", "one", "two", "one")
        ]
    assert seen == [200, 200, 500, 500, 200]


def test_chance_is_the_same_in_every_process() -> None:
    """By the seed, the session and the number of the request; the share is about what was asked for."""
    met = [
        [bool(faults.next(None)) for _ in range(400)] for faults in (Faults.of(["cut@rate=0.25,seed=5"]) for _ in "12")
    ]
    assert met[0] == met[1]
    assert 60 < Counter(met[0])[True] < 140
    other = Faults.of(["cut@rate=0.25,seed=6"])
    assert [bool(other.next(None)) for _ in range(400)] != met[0]
    assert [at for at, hit in enumerate(met[0]) if hit][:5] == [5, 9, 21, 24, 34]


def test_a_random_event_is_drawn_anew_for_each_request(tmp_path: Path) -> None:
    kept(tmp_path / "r.db", ANSWERED, *CHAT)
    seen = []
    for _ in range(2):
        with Replaying(tmp_path / "r.db", faults=("cut@event=random,seed=3",), repeat="last") as replay:
            seen.append([body_of(hear(replay.address, asking()).data)[0].count(b"\n\n") for _ in range(12)])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 1
    assert set(seen[0]) <= set(range(1, len(CHAT) + 1))


# -- chunks ------------------------------------------------------------------------------------------------------------

CHUNKS = st.lists(st.binary(min_size=1, max_size=9).map(lambda data: (0, data)), max_size=9)


@given(CHUNKS, st.sets(st.integers(0, 60)))
def test_chunks_are_split_at_offsets_and_lose_nothing(chunks: list[tuple[int, bytes]], offsets: set[int]) -> None:
    parts = [data for _, data in split(chunks, offsets)]
    whole = b"".join(data for _, data in chunks)
    edges = set(itertools.accumulate(map(len, parts)))
    assert b"".join(parts) == whole
    assert b"" not in parts
    assert edges == set(itertools.accumulate(len(data) for _, data in chunks)) | {
        at for at in offsets if 0 < at < len(whole)
    }


@given(CHUNKS, st.sets(st.integers(0, 60)))
def test_bytes_are_spoilt_at_offsets_alone(chunks: list[tuple[int, bytes]], offsets: set[int]) -> None:
    parts = [data for _, data in spoiled(chunks, offsets)]
    before, after = b"".join(data for _, data in chunks), b"".join(parts)
    assert [len(part) for part in parts] == [len(data) for _, data in chunks]
    assert {at for at, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]} == {
        at for at in offsets if at < len(before)
    }


def test_done_is_what_the_last_event_says() -> None:
    """The tests above rest on it."""
    assert CHAT[-1] == DONE
