"""Recordings in a real store become readings and runs; what a dialect cannot read still gets a reading."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest

from recorder import demo, dialects, reader
from recorder.dialects.assistants import Assistants
from recorder.errors import NotFound, StoreUnavailable
from recorder.recording import Event, Reading, Recording, Request, Row, Status
from recorder.store import Append, Store
from tests.payloads import ASSISTANTS_DONE, run, run_event
from tests.tape import EVENT_STREAM, JSON, post, recorded, request

CREATE = post("/v1/threads/thread_torture/runs", assistant_id="asst_torture", stream=True)
SUBMIT = post("/v1/threads/thread_torture/runs/run_torture/submit_tool_outputs", tool_outputs=[], stream=True)
POLL = request("GET", "/v1/threads/thread_torture/runs/run_torture")
CANCEL = request("POST", "/v1/threads/thread_torture/runs/run_torture/cancel")

WAITS = run_event("created") + run_event("requires_action") + ASSISTANTS_DONE
GOES_ON = run_event("queued") + run_event("completed") + ASSISTANTS_DONE
POLLED = json.dumps(run("completed")).encode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "recorder.db", create=True) as opened:
        yield opened


def rows_of(recording: Recording, events: list[Event]) -> list[Row]:
    return [(recording.recording_id.bytes, *event) for event in events]


def keep(store: Store, asked: Request, answer: bytes | None, *, payloads: bool = True, **how: Any) -> UUID:
    """Puts a recording into the store, ended; returns its id."""
    recording, events = recorded(asked, answer, **how)
    if not payloads:
        events = [
            event._replace(data=None, raw=None) if event.kind in ("sse", "body", "wire") else event for event in events
        ]
    store.append([Append(recording.recording_id, recording, rows_of(recording, events), recording.ending)])
    return recording.recording_id


def begin(store: Store, asked: Request, answer: bytes) -> tuple[Recording, list[Event]]:
    """Puts a recording into the store that is still open; returns what `finish` needs to end it."""
    recording, events = recorded(asked, answer)
    opened = replace(recording, ending=None)
    store.append([Append(opened.recording_id, opened, rows_of(opened, events[:1]))])
    return recording, events


def finish(store: Store, begun: tuple[Recording, list[Event]]) -> None:
    recording, events = begun
    store.append([Append(recording.recording_id, None, rows_of(recording, events[1:]), recording.ending)])


def run_of(store: Store, recording_id: UUID) -> UUID:
    """The run that a recording was read into."""
    stored = store.reading(recording_id)
    assert stored is not None
    return stored.run_id


# -- one recording ----------------------------------------------------------------------------------------------------


def test_a_due_reading_is_made_once(store: Store) -> None:
    recording_id = keep(store, CREATE, WAITS)
    assert store.unread() == [recording_id]
    assert reader.read_due(store) == 1
    assert store.unread() == []
    assert reader.read_due(store) == 0
    stored = store.reading(recording_id)
    assert stored is not None
    assert (stored.reader_version, stored.run_id) == (reader.VERSION, recording_id)
    assert stored.reading.status == Status.REQUIRES_ACTION
    assert stored.reading.provider_run_id == "run_torture"


def test_reading_on_demand_gives_what_is_stored(store: Store) -> None:
    recording_id = keep(store, CREATE, GOES_ON)
    made = reader.read(store, recording_id)
    stored = store.reading(recording_id)
    assert stored is not None
    assert (
        (made.status, made.output_tokens) == (stored.reading.status, stored.reading.output_tokens) == ("completed", 5)
    )
    with pytest.raises(NotFound):
        reader.read(store, UUID(int=1))


def test_an_open_recording_is_not_due_and_can_be_read_all_the_same(store: Store) -> None:
    """What a stream has said so far."""
    recording, _ = begin(store, CREATE, GOES_ON)
    assert reader.read_due(store) == 0
    assert reader.read(store, recording.recording_id).status == Status.UNKNOWN


def test_times_headers_and_group() -> None:
    """What holds for every protocol, in microseconds since the request."""
    recording, events = recorded(
        CREATE, GOES_ON, chunk=50, headers=(*EVENT_STREAM, ("X-Request-Id", "req_7"), ("request-id", "other"))
    )
    reading = reader.interpret(recording, events)
    times = [event.elapsed_us for event in events if event.kind == "sse"]
    assert reading.facts["times"] == {
        "first_event_us": times[0],
        "last_event_us": times[-1],
        "events": len(times),
    }
    assert reading.longest_gap_us == max(later - earlier for earlier, later in pairwise(times))
    assert (reading.stalls, reading.stalled_us) == (0, 0)
    assert reading.request_id == "req_7"
    assert reading.group == "asst_torture"


@pytest.mark.parametrize("name", ["request-id", "apim-request-id", "x-ms-request-id"])
def test_the_request_id_has_other_names_elsewhere(name: str) -> None:
    recording, events = recorded(CREATE, b"{}", headers=((name, "abc"),))
    assert reader.interpret(recording, events).request_id == "abc"


@pytest.mark.parametrize(
    ("name", "value", "region"),
    [
        ("x-ms-region", "West Europe", "West Europe"),
        ("CF-Ray", "8f2ab1c0de7f3a5e-FRA", "FRA"),
        ("x-amz-cf-pop", "FRA56-P1", "FRA56"),
        ("x-ms-region", "a\tb", None),
        ("cf-ray", "8f2ab1c0de7f3a5e", None),
        ("x-ms-region", "x" * 65, None),
        ("server", "West Europe", None),
    ],
)
def test_where_the_provider_answered_is_known_by_its_headers(name: str, value: str, region: str | None) -> None:
    recording, events = recorded(CREATE, GOES_ON, headers=(*EVENT_STREAM, (name, value)))
    assert reader.interpret(recording, events).facts.get("region") == region


def test_the_group_of_runs_without_an_assistant() -> None:
    """The prompt, else the tag `app`, else what the instructions hash to, else none."""

    def group(body: dict[str, Any], **fields: Any) -> str | None:
        recording, events = recorded(post("/v1/responses", stream=True, **body), b"", **fields)
        return reader.interpret(recording, events).group

    told: dict[str, Any] = {"prompt": {"id": "pmpt_1"}, "instructions": "Be brief."}
    assert group(told, tags={"app": "shop"}) == "pmpt_1"
    assert group({"instructions": "Be brief.", "input": ""}, tags={"app": "shop"}) == "shop"
    hashed = group({"instructions": "Be brief.", "input": ""})
    assert hashed is not None
    assert hashed.startswith("instructions:")
    assert hashed == group({"instructions": "Be brief.", "input": "another"})
    assert group({"input": ""}) is None


# -- what nobody counted ----------------------------------------------------------------------------------------------


def bounds_of(*deltas: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """Between what the tokens of a chat lie that was cut after these pieces."""
    chunks = ({"id": "c", "choices": [{"index": at, "delta": delta}]} for at, delta in enumerate(deltas))
    body = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    recording, events = recorded(post("/v1/chat/completions", messages=[], stream=True, **asked), body)
    bounds: dict[str, Any] = reader.interpret(recording, events).facts["usage_bounds"]
    return bounds


def test_tokens_that_nobody_counted_lie_between_what_was_seen_and_the_cap() -> None:
    """A token has 1 to 128 bytes. What was thought is output, but nothing that the user sees."""
    both = {"content": "x" * 129, "reasoning_content": "y" * 300}
    assert bounds_of(both) == {
        "output_tokens": {"at_least": 4, "at_most": None},
        "visible_tokens": {"at_least": 2, "at_most": 129},
    }
    assert bounds_of(both, max_tokens=50) == {
        "output_tokens": {"at_least": 4, "at_most": 50},
        "visible_tokens": {"at_least": 2, "at_most": 50},
    }
    thoughts = bounds_of({"reasoning_content": "y" * 300})
    assert thoughts["visible_tokens"] == {"at_least": 0, "at_most": 0}


@pytest.mark.parametrize(
    ("pieces", "cap"),
    [(({"content": "x"},), -1), (({"content": "x" * 1000},), 3), (({"content": "x"}, {"content": "y"}), 3)],
)
def test_a_cap_that_is_none_is_no_bound(pieces: tuple[dict[str, Any], ...], cap: int) -> None:
    """None was meant, or nobody kept to it, or each of several answers has it for itself."""
    assert bounds_of(*pieces, max_tokens=cap)["output_tokens"]["at_most"] is None


# What an SDK takes for the end of a stream, with fewer events than were sent or none, and without an error.
SILENT: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "no last event": lambda whole: {
        "answer": whole[: whole.rindex(b"event:") if b"[DONE]" not in whole else whole.rindex(b"data: [DONE]")]
    },
    "cut between two events": lambda whole: {"answer": whole[: whole.index(b"\n\n", len(whole) // 2) + 2]},
    "cut inside an event": lambda whole: {"answer": whole[: len(whole) // 2]},
    "no blank line after the last event": lambda whole: {"answer": whole.rstrip(b"\n")},
    "gzip that ends early": lambda whole: {
        "answer": gzip.compress(whole, mtime=0)[: len(gzip.compress(whole, mtime=0)) // 2],
        "headers": (*EVENT_STREAM, ("content-encoding", "gzip")),
    },
    "JSON": lambda _: {"answer": b'{"ok":true}', "headers": JSON},
    "HTML": lambda _: {"answer": b"<html>login</html>", "headers": (("content-type", "text/html"),)},
    "nothing": lambda _: {"answer": b""},
    "204": lambda _: {"answer": b"", "status": 204, "headers": ()},
    "a byte order mark": lambda whole: {"answer": b"\xef\xbb\xbf" + whole},
}
TRUNCATIONS = {"byte_order_mark", "no_end_marker", "no_terminal_event", "not_sse", "unterminated_tail"}
WHOLE = {protocol: demo.stream(f"{protocol}-completed") for protocol in ("assistants", "responses", "chat", "messages")}


@pytest.mark.parametrize("protocol", WHOLE)
@pytest.mark.parametrize("how", SILENT)
def test_every_silent_truncation_is_flagged_and_no_whole_stream(protocol: str, how: str) -> None:
    asked = {
        "assistants": CREATE,
        "responses": post("/v1/responses", input="", stream=True),
        "chat": post("/v1/chat/completions", messages=[], stream=True),
        "messages": post("/v1/messages", messages=[], max_tokens=9, stream=True),
    }[protocol]
    assert TRUNCATIONS.isdisjoint(reader.interpret(*recorded(asked, WHOLE[protocol])).flags)
    cut = SILENT[how](WHOLE[protocol])
    reading = reader.interpret(*recorded(asked, **cut))
    assert not TRUNCATIONS.isdisjoint(reading.flags)
    if {"no_terminal_event", "not_sse"} & set(reading.flags):
        assert reading.status != Status.COMPLETED


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_is_its_create_its_tool_outputs_and_its_polls(store: Store) -> None:
    opener, submitted, polled = (
        keep(store, CREATE, WAITS),
        keep(store, SUBMIT, GOES_ON),
        keep(store, POLL, POLLED, headers=JSON),
    )
    assert reader.read_due(store) == 3
    assert store.members(opener) == [opener, submitted, polled]
    made = store.run(opener)
    assert (made.recordings, made.status, made.output_tokens, made.assistant_id) == (3, "completed", 5, "asst_torture")


def test_the_order_of_reading_does_not_matter(store: Store) -> None:
    """A continuation that is read first is a run of its own until its opener has been read."""
    opener, submitted = keep(store, CREATE, WAITS), keep(store, SUBMIT, GOES_ON)
    reader.read(store, submitted)
    assert store.members(submitted) == [submitted]
    reader.read(store, opener)
    assert store.members(opener) == [opener, submitted]
    assert store.run(submitted) == store.run(opener)
    assert store.unread() == []


def test_a_cancel_joins_the_stream_that_it_cancelled_once_that_is_read(store: Store) -> None:
    """A cancel ends long before the stream that it cancels, and only the stream's end is read."""
    begun = begin(store, CREATE, run_event("created") + run_event("cancelled") + ASSISTANTS_DONE)
    cancel = keep(store, CANCEL, json.dumps(run("cancelling")).encode(), headers=JSON)
    assert reader.read_due(store) == 1
    assert store.members(cancel) == [cancel]
    finish(store, begun)
    assert reader.read_due(store) == 1
    opener = begun[0].recording_id
    assert store.members(opener) == [opener, cancel]
    assert (store.run(cancel).run_id, store.run(cancel).status) == (opener, "cancelled")


def test_a_poll_during_the_stream_does_not_stand_for_the_run(store: Store) -> None:
    """It began later and knows less: the stream that saw the end stands, whatever came after it."""
    opener = keep(store, CREATE, GOES_ON, started_at=0)
    during = keep(store, POLL, json.dumps(run("in_progress")).encode(), headers=JSON, started_at=1000)
    after = keep(store, POLL, POLLED, headers=JSON, started_at=60_000_000)
    reader.read_due(store)
    assert store.members(opener) == [opener, during, after]
    made = store.run(opener)
    assert (made.status, made.recordings) == ("completed", 3)
    assert store.standing(opener) == opener


def test_without_an_opener_a_continuation_opens_its_run(store: Store) -> None:
    """And the next one joins it."""
    first, second = keep(store, POLL, POLLED, headers=JSON), keep(store, POLL, POLLED, headers=JSON)
    reader.read_due(store)
    assert store.members(first) == [first, second]


def test_two_creates_of_one_provider_run_are_two_runs(store: Store) -> None:
    """A server that gives the same id twice: a continuation belongs to the newer one before it."""
    first, second, submitted = keep(store, CREATE, WAITS), keep(store, CREATE, WAITS), keep(store, SUBMIT, GOES_ON)
    reader.read_due(store)
    assert store.members(first) == [first]
    assert store.members(second) == [second, submitted]


def test_the_same_provider_id_elsewhere_is_another_run(store: Store) -> None:
    keep(store, CREATE, WAITS)
    other = keep(store, SUBMIT, GOES_ON, origin="https://elsewhere")
    reader.read_due(store)
    assert store.members(other) == [other]


def test_one_exchange_recorded_by_client_and_proxy_counts_once(store: Store) -> None:
    """The client's recording goes to the proxy's address and holds the proxy's within it; so do the tool outputs'."""
    proxy = "http://127.0.0.1:4010"
    client_side = [keep(store, CREATE, WAITS, origin=proxy, started_at=0)]
    proxy_side = [keep(store, CREATE, WAITS, started_at=500)]
    client_side.append(keep(store, SUBMIT, GOES_ON, origin=proxy, started_at=10_000_000))
    proxy_side.append(keep(store, SUBMIT, GOES_ON, started_at=10_000_500))
    reader.read_due(store)
    (made,) = store.runs()
    assert store.members(made.run_id) == sorted([*client_side, *proxy_side])
    assert (made.run_id, made.recordings, made.output_tokens) == (client_side[0], 2, 5)
    assert [each.run.flags for each in store.recordings() if "duplicate" in each.run.flags] == [("duplicate",)] * 2


def test_chat_and_messages_never_merge(store: Store) -> None:
    asked = post("/v1/chat/completions", messages=[], stream=True)
    ids = [keep(store, asked, demo.stream("chat-completed")) for _ in range(2)]
    reader.read_due(store)
    assert [store.members(recording_id) for recording_id in ids] == [[ids[0]], [ids[1]]]


def test_more_than_a_batch_is_read_in_order(store: Store) -> None:
    opener = keep(store, CREATE, WAITS)
    others = [keep(store, CREATE, run_event("completed", id=f"run_{number}")) for number in range(70)]
    submitted = keep(store, SUBMIT, GOES_ON)
    assert reader.read_due(store, limit=50) == 50
    assert reader.read_due(store) == 22
    assert store.members(opener) == [opener, submitted]
    assert all(run_of(store, recording_id) == recording_id for recording_id in others)


# -- encoded, missing, unreadable -------------------------------------------------------------------------------------


def test_an_encoded_json_answer_is_decoded_for_its_dialect(store: Store) -> None:
    recording_id = keep(store, POLL, gzip.compress(POLLED), headers=(*JSON, ("content-encoding", "gzip")))
    assert [event.kind for event in store.events(recording_id)][1] == "wire"
    reading = reader.read(store, recording_id)
    assert (reading.status, reading.flags) == (Status.COMPLETED, ())


def test_an_encoded_stream_reads_like_a_plain_one(store: Store) -> None:
    plain = reader.read(store, keep(store, CREATE, GOES_ON))
    encoded = reader.read(
        store, keep(store, CREATE, gzip.compress(GOES_ON), headers=(*EVENT_STREAM, ("content-encoding", "gzip")))
    )
    assert (encoded.status, encoded.output_tokens, encoded.flags) == (plain.status, plain.output_tokens, plain.flags)


@pytest.mark.parametrize(("coding", "cut"), [("gzip", 20), ("gzip", 0), ("dreamzip", None)])
def test_what_cannot_be_decoded_is_flagged(coding: str, cut: int | None) -> None:
    body = gzip.compress(POLLED)[:cut] if cut else POLLED
    recording, events = recorded(POLL, body, headers=(*JSON, ("content-encoding", coding)))
    reading = reader.interpret(recording, events)
    assert "undecoded" in reading.flags
    assert (reading.status, reading.complete) == (Status.UNKNOWN, False)


def test_an_empty_encoded_answer_is_empty() -> None:
    recording, events = recorded(POLL, b"", headers=(*JSON, ("content-encoding", "gzip")))
    assert reader.interpret(recording, events).flags == ()


def test_with_facts_alone_no_text_for_or_from_the_model_is_kept() -> None:
    """Not under names that nobody documents, nor in schemas, descriptions and messages of errors; settings stay."""
    schema = {"name": "invoice", "description": "SECRET", "schema": {"properties": {"SECRET": {"enum": ["SECRET"]}}}}
    asked = post(
        "/v1/threads/thread_1/runs",
        assistant_id="asst_1",
        instructions="SECRET",
        documents=["SECRET"],
        user="SECRET",
        top_k=5,
        response_format={"type": "json_schema", "json_schema": schema},
        temperature=0.5,
        metadata=None,
        tools=[{"type": "function", "function": {"name": "f", "description": "SECRET"}}],
    )
    echoed = run_event("failed", response_format={"type": "json_schema", "json_schema": {**schema, "name": "other"}})
    recording, events = recorded(asked, echoed + ASSISTANTS_DONE, content="facts")
    reading = reader.interpret(recording, events)
    assert "SECRET" not in repr(reading)
    assert reading.parameters is not None
    kept = {name: value for name, value in reading.parameters.items() if "$omitted" not in repr(value)}
    named = {"thread_id": "thread_1"} if "thread_id" in reading.parameters else {}
    assert kept == {**named, "assistant_id": "asst_1", "top_k": 5, "temperature": 0.5, "metadata": None}
    assert reading.parameters["response_format"] == {"type": "json_schema", "json_schema": {"$omitted": ANY}}
    assert reading.facts["echo_differs"].keys() >= {"response_format", "temperature"}

    refused = json.dumps({"error": {"message": "SECRET", "type": "t", "code": "c"}}).encode()
    message = post("/v1/threads/thread_1/messages", role="user", content="SECRET")
    for request_, status in ((message, 400), (asked, 400)):
        recording, events = recorded(request_, refused, status=status, headers=JSON, content="facts")
        reading = reader.interpret(recording, events)
        assert "SECRET" not in repr(reading)
        assert reading.facts["evidence"]["error"]["code"] == "c"


def test_without_payloads_only_what_was_asked_is_said(store: Store) -> None:
    recording_id = keep(store, CREATE, GOES_ON, payloads=False)
    reading = reader.read(store, recording_id)
    assert (reading.status, reading.complete, reading.flags) == (Status.UNKNOWN, None, ("payload_missing",))
    assert (reading.assistant_id, reading.thread_id) == ("asst_torture", "thread_torture")


@pytest.mark.parametrize("content", ["facts", "none"])
def test_where_content_is_not_to_be_kept_the_reading_holds_none(store: Store, content: str) -> None:
    """Figures, reasons and ids stay. With `facts` they are read from rows in memory, never stored."""
    asked = post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True)
    body = (Path(__file__).parent / "streams" / "assistants-tools-3.sse").read_bytes()
    recording, events = recorded(asked, body, content=content)
    bare = [event._replace(data=None, raw=None) if event.kind == "sse" else event for event in events]
    store.append([Append(recording.recording_id, recording, rows_of(recording, bare), recording.ending)])
    reading = reader.read_rows(store, recording, rows_of(recording, events))
    stored = store.reading(recording.recording_id)
    assert stored is not None
    for made in (reading, stored.reading):
        assert made.text is None
        assert "content" not in made.facts
        assert "ships" not in json.dumps(dict(made.facts))
        if content == "facts":
            assert (made.status, made.input_tokens) == (Status.COMPLETED, 760)
    assert store.unread() == []


class Clumsy(Assistants):
    """A dialect with a mistake in it."""

    def read(self, recording: Recording, events: Any) -> Reading:
        next(iter(events))
        raise ZeroDivisionError("secret from the payload")


def test_a_dialects_mistake_becomes_a_flag(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reading says nothing else, the next one is read, and the log shows no content."""
    clumsy, next_one = keep(store, CREATE, GOES_ON), keep(store, request("GET", "/v1/models"), b"{}", headers=JSON)
    monkeypatch.setitem(dialects._BY_NAME, "assistants", Clumsy())
    with caplog.at_level(logging.WARNING, "recorder"):
        assert reader.read_due(store) == 2
    stored, other = store.reading(clumsy), store.reading(next_one)
    assert stored is not None
    assert other is not None
    assert (stored.reading.dialect, stored.reading.status) == ("assistants", Status.UNKNOWN)
    assert stored.reading.flags == ("reader_error",)
    assert stored.reading.facts["reader_error"] == "ZeroDivisionError"
    assert other.reading.flags == ()
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_a_store_that_fails_is_no_dialects_mistake() -> None:
    recording, events = recorded(CREATE, GOES_ON)

    def failing() -> Iterator[Event]:
        yield events[0]
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        reader.interpret(recording, failing())


def test_what_was_recorded_before_its_dialect_was_known_is_recognised_now(store: Store) -> None:
    made = reader.read(store, keep(store, CREATE, GOES_ON, dialect="raw"))
    assert (made.dialect, made.status) == ("assistants", Status.COMPLETED)
    assert reader.read(store, keep(store, CREATE, GOES_ON, dialect="telepathy")).dialect == "assistants"


# -- rebuild ----------------------------------------------------------------------------------------------------------


def test_rebuild_makes_the_same_readings_and_runs_again(store: Store) -> None:
    ids = [keep(store, CREATE, WAITS), keep(store, SUBMIT, GOES_ON), keep(store, POLL, POLLED, headers=JSON)]
    reader.read_due(store)
    before = [store.reading(recording_id) for recording_id in ids]
    seen: list[UUID] = []
    assert reader.rebuild(store, reversed(ids), seen.append) == 3
    assert seen == ids
    after = [store.reading(recording_id) for recording_id in ids]
    assert [made and (made.run_id, made.reading) for made in after] == [
        made and (made.run_id, made.reading) for made in before
    ]


def test_rebuild_keeps_the_reading_of_a_recording_whose_payloads_are_gone(store: Store) -> None:
    recording, events = recorded(CREATE, GOES_ON, content="facts")
    bare = [event._replace(data=None, raw=None) if event.kind == "sse" else event for event in events]
    store.append([Append(recording.recording_id, recording, rows_of(recording, bare), recording.ending)])
    reader.read_rows(store, recording, rows_of(recording, events))
    assert reader.rebuild(store, [recording.recording_id, UUID(int=1)]) == 0
    stored = store.reading(recording.recording_id)
    assert stored is not None
    assert stored.reading.status == Status.COMPLETED


def test_a_redirect_is_no_run(store: Store) -> None:
    """The exchange that it leads to is one; both are recordings."""
    keep(store, CREATE, b"", status=307, headers=(("location", "/elsewhere"),))
    followed = keep(store, CREATE, GOES_ON)
    reader.read_due(store)
    assert [run.run_id for run in store.runs()] == [followed]
    assert len(store.recordings()) == 2


def test_a_request_of_a_thousand_names_and_more_keeps_a_thousand() -> None:
    body = {"assistant_id": "asst_1", **{f"name_{number}": number for number in range(3000)}}
    reading = reader.interpret(*recorded(post("/v1/threads/thread_1/runs", **body), b""))
    assert reading.parameters is not None
    assert reading.parameters["assistant_id"] == "asst_1"
    assert (len(reading.parameters), reading.parameters["$omitted"]) == (1001, {"names": 2001})
