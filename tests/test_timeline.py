"""Timelines of real recordings in a real store: marks, gaps, tries, moments, checks."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import match, sse
from recorder.demo import stream as demo_stream
from recorder.errors import NotFound, StoreError, UsageError
from recorder.reader import interpret
from recorder.reader.brought import What, said_so_far
from recorder.recording import Event, Kind, Recording, uuid7
from recorder.store import Store
from recorder.store.erasing import Wipe
from recorder.timeline import (
    Moment,
    Timeline,
    Track,
    Verdict,
    bytes_until,
    checks,
    is_decoded,
    moment_of,
    parse_at,
    timeline,
    track,
)
from tests.golden import stream, tape
from tests.kept import GOLDEN, bare, keep, put, without_payloads
from tests.payloads import ASSISTANTS_DONE, frame, run_event
from tests.tape import EVENT_STREAM, JSON, post, recorded, request

DEMO = ("assistants-completed", "assistants-incomplete", "assistants-whitespace", "chat-completed")
CREATE = post("/v1/threads/thread_torture/runs", assistant_id="asst_1", stream=True)
SUBMIT = post("/v1/threads/thread_torture/runs/run_torture/submit_tool_outputs", tool_outputs=[], stream=True)
SECOND = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "recorder.db", create=True) as opened:
        yield opened


def stored(store: Store, name: str) -> Timeline:
    """The timeline of a golden stream out of a store."""
    return timeline(store, put(store, *tape(name)).recording_id)


def alone(recording: Recording, events: list[Event]) -> Timeline:
    """A timeline of one recording, without a store."""
    return timeline_of(track(recording, events))


def timeline_of(one: Track) -> Timeline:
    """A timeline of one track."""
    nothing: Any = object()
    return Timeline(run=nothing, tracks=[one], attempts=(), retry=None)


def at(line: Timeline, text: str) -> Moment:
    return moment_of(line, parse_at(text))


def raw(line: Timeline, then: Moment) -> bytes:
    return b"".join(bytes_until(line.tracks[then.state.number - 1], then.state))


def found(of: Track, name: str) -> tuple[str, int | None]:
    (check,) = [each for each in checks(of) if each.name == name]
    return check.verdict.value, check.position


# -- marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_every_row_has_one_mark_and_their_offsets_lead_through_the_body(
    golden: tuple[Store, dict[str, UUID]], name: str
) -> None:
    store, ids = golden
    one = track(store.recording(ids[name]), store.events(ids[name]))
    asked, body = stream(name)
    assert [mark.position for mark in one.marks] == [event.position for event in store.events(ids[name])]
    for mark, event in zip(one.marks, one.events, strict=True):
        if mark.offset is not None:
            assert body[mark.offset : mark.offset + mark.size] == sse.wire(event.type, event.data, event.raw)
    assert sum(mark.size for mark in one.marks if mark.offset is not None) == len(body) == one.body_size
    assert one.recording.request.body == asked.body


def test_marks_say_what_each_event_brought() -> None:
    whats = {mark.position: mark.what for mark in track(*tape("chat-tool-calls")).marks}
    assert [whats[place] for place in (0, 1, 3, 14, 15, 16, 17)] == [
        What.HEAD,
        What.LIFECYCLE,
        What.ARGUMENTS,
        What.LIFECYCLE,
        What.USAGE,
        What.DONE,
        What.END,
    ]
    assert What.PING in {mark.what for mark in track(*tape("chat-pings")).marks}
    assert What.ERROR in {mark.what for mark in track(*tape("chat-error-event")).marks}


def test_a_stall_is_a_gap_and_lies_where_nothing_came() -> None:
    asked, body = stream("assistants-completed")
    recording, events = recorded(asked, body, chunk=4096)
    late = events[10].position
    slow = [
        event if event.position < late else event._replace(elapsed_us=event.elapsed_us + 9 * SECOND) for event in events
    ]
    assert recording.ending is not None
    ending = replace(recording.ending, elapsed_us=recording.ending.elapsed_us + 9 * SECOND)
    one = track(replace(recording, ending=ending), slow)
    (gap,) = one.stalls
    assert (gap.position, gap.from_us) == (late, slow[9].elapsed_us)
    assert gap.from_us + gap.length_us == slow[10].elapsed_us
    assert one.longest == gap


# -- a run of several exchanges ----------------------------------------------------------------------------------------


def rounds(store: Store) -> list[Recording]:
    """A run that waits for a tool: two recordings, four seconds apart."""
    first = keep(store, CREATE, run_event("requires_action") + ASSISTANTS_DONE, started_at=SECOND)
    second = keep(store, SUBMIT, run_event("completed") + ASSISTANTS_DONE, started_at=5 * SECOND)
    return [first, second]


def test_the_recordings_of_a_run_are_tracks_on_one_axis_and_the_wait_between_them_is_known(store: Store) -> None:
    first, second = rounds(store)
    line = timeline(store, first.recording_id)
    assert [one.recording.recording_id for one in line.tracks] == [first.recording_id, second.recording_id]
    assert [one.starts_us for one in line.tracks] == [0, 4 * SECOND]
    assert first.ending is not None
    assert second.ending is not None
    assert [one.waited_us for one in line.tracks] == [None, 4 * SECOND - first.ending.elapsed_us]
    assert line.lasts_us == 4 * SECOND + second.ending.elapsed_us


def test_a_moment_of_a_run_tells_what_was_there_of_each_of_its_recordings(store: Store) -> None:
    first, second = rounds(store)
    line = timeline(store, second.recording_id)
    between = at(line, "2s")
    assert [state.recording_id for state in between.states] == [first.recording_id]
    assert between.state.over
    assert between.state.reading is not None
    assert between.state.reading.status == "requires_action"
    end = at(line, "end")
    assert [state.number for state in end.states] == [1, 2]
    assert end.state.reading is not None
    assert end.state.reading.status == "completed"
    assert at(line, "event:2:1").state.recording_id == second.recording_id
    assert moment_of(line, parse_at("event:1"), second.recording_id).state.number == 2
    with pytest.raises(UsageError, match="say which one is meant, as in event:1:1"):
        moment_of(line, parse_at("event:1"), first.recording_id)
    with pytest.raises(UsageError, match="there is no 3"):
        at(line, "event:3:1")


def test_the_same_request_near_it_is_a_try_and_one_of_the_same_call_says_so(store: Store) -> None:
    key, call = match.key(CREATE), uuid7()
    refused = keep(store, CREATE, b"{}", headers=JSON, status=429, match_key=key, call=call, started_at=SECOND)
    headers = (("X-Stainless-Retry-Count", "1"),)
    good = keep(
        store,
        replace(CREATE, headers=headers),
        run_event("completed") + ASSISTANTS_DONE,
        match_key=key,
        call=call,
        started_at=2 * SECOND,
    )
    keep(store, CREATE, b"{}", headers=JSON, match_key=key, started_at=3 * SECOND)
    keep(store, CREATE, b"{}", headers=JSON, match_key=key, started_at=5000 * SECOND)
    keep(store, CREATE, b"{}", headers=JSON, match_key=b"k" * 32, started_at=SECOND)
    keep(store, CREATE, b"{}", headers=JSON, match_key=key, started_at=SECOND, origin="http://proxy:1")
    line = timeline(store, good.recording_id)
    assert line.retry == 1
    assert [(each.before_us, each.same_call) for each in line.attempts] == [(SECOND, True), (-SECOND, False)]
    assert line.attempts[0].recording.recording_id == refused.recording_id


# -- moments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_the_end_is_the_reading(golden: tuple[Store, dict[str, UUID]], name: str) -> None:
    store, ids = golden
    stored_reading = store.reading(ids[name])
    assert stored_reading is not None
    line = timeline_of(track(store.recording(ids[name]), store.events(ids[name]), stored_reading.reading))
    state = at(line, "end").state
    made = stored_reading
    assert state.reading is not None
    assert (state.over, state.unfinished) == (True, 0)
    assert state.reading.text == made.reading.text
    assert (state.reading.status, state.reading.stop_reason) == (made.reading.status, made.reading.stop_reason)
    assert state.reading.output_tokens == made.reading.output_tokens
    assert raw(line, at(line, "end")) == stream(name)[1]


@pytest.mark.parametrize("name", random.Random(7).sample(GOLDEN, 12))
def test_at_every_event_the_client_had_what_a_stream_cut_there_says(name: str) -> None:
    """The bytes up to an event, recorded as a stream of their own, are read as the moment is."""
    asked, body = stream(name)
    line = alone(*tape(name))
    for mark in line.tracks[0].marks:
        if mark.offset is None:
            continue
        then = at(line, f"event:{mark.position}")
        had = raw(line, then)
        assert had == body[: mark.offset + mark.size]
        cut, events = recorded(asked, had)
        read, _ = said_so_far(cut, events[:-1])
        assert then.state.reading is not None
        assert (then.state.reading.text, then.state.reading.status) == (read.text, read.status)
        assert then.state.reading.output_tokens == read.output_tokens
        assert [spoken.text for spoken in then.state.reading.spoken] == [spoken.text for spoken in read.spoken]
        assert then.state.position == mark.position


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_at_a_time_the_client_had_the_chunks_that_had_come(data: st.DataObject) -> None:
    """Chunks of any size: all bytes of those that arrived by then, and the events that were whole in them."""
    name = data.draw(
        st.sampled_from(["chat-stop", "assistants-odd-framing", "responses-completed", "messages-thinking"])
    )
    chunk = data.draw(st.integers(1, 700))
    asked, body = stream(name)
    recording, events = recorded(asked, body, chunk=chunk)
    line = alone(recording, events)
    milliseconds = data.draw(st.integers(0, len(body) // chunk + 4))
    had = body[: max(0, milliseconds - 1) * chunk]
    then = at(line, f"{milliseconds}ms")
    assert raw(line, then) == had
    assert then.state.size == len(had)
    tokenizer = sse.Tokenizer()
    whole = [item for item in tokenizer.feed(had) if isinstance(item, sse.Frame)]
    assert abs(then.state.events - len(whole)) <= (1 if then.state.over else 0)
    if not then.state.over:
        assert then.state.unfinished == len(had) - sum(item.size for item in whole)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["chat-stop", "assistants-odd-framing", "gemini-stop"]), st.floats(0, 1))
def test_after_any_byte_the_client_had_the_events_that_are_whole_in_them(name: str, share: float) -> None:
    asked, body = stream(name)
    line = alone(*recorded(asked, body))
    size = round(len(body) * share)
    then = at(line, f"byte:{size}")
    assert raw(line, then) == body[:size]
    ends = [mark.offset + mark.size for mark in line.tracks[0].marks if mark.offset is not None]
    assert then.state.events == sum(end <= size for end in ends)
    assert then.state.unfinished == size - max((end for end in ends if end <= size), default=0)


@pytest.mark.parametrize("chunk", [100, 7, 100_000])
def test_inside_a_coded_body_bytes_are_those_of_the_network_and_events_those_of_the_text(chunk: int) -> None:
    asked, body = stream("assistants-completed")
    coded = gzip.compress(body, mtime=0)
    headers = (*EVENT_STREAM, ("content-encoding", "gzip"))
    line = alone(*recorded(asked, coded, headers=headers, chunk=chunk))
    (one,) = line.tracks
    assert one.encoded
    assert raw(line, at(line, "end")) == coded
    for size in (0, 1, len(coded) // 2, len(coded) - 9, len(coded)):
        then = at(line, f"byte:{size}")
        assert raw(line, then) == coded[:size]
        import zlib

        tokenizer = sse.Tokenizer()
        plain = zlib.decompressobj(31).decompress(coded[:size])
        assert then.state.events == sum(isinstance(item, sse.Frame) for item in tokenizer.feed(plain))
    assert found(one, "content coding undone") == ("ok", None)


def test_before_the_head_there_was_nothing(store: Store) -> None:
    line = stored(store, "chat-stop")
    state = at(line, "0s").state
    assert (state.http_status, state.position, state.events, state.size) == (None, None, 0, 0)
    assert state.reading is not None
    assert state.reading.text is None
    assert at(line, "byte:0").state.http_status == 200


def test_an_answer_that_never_came_has_moments_too(store: Store) -> None:
    line = timeline(store, keep(store, CREATE, None, ending="connect_error").recording_id)
    state = at(line, "end").state
    assert (state.http_status, state.over) == (None, True)
    assert found(line.tracks[0], "captured whole")[0] == "not"


def test_a_recording_that_still_goes_on_is_told_as_far_as_it_has_come(store: Store) -> None:
    asked, body = stream("assistants-completed")
    recording, events = recorded(asked, body)
    line = timeline(store, put(store, replace(recording, ending=None), events[:20]).recording_id)
    state = at(line, "end").state
    assert (state.position, state.over) == (19, False)
    assert found(line.tracks[0], "captured whole") == ("unknown", None)


@pytest.mark.parametrize(
    "text", ["", "event", "event:", "event:-1", "byte:x", "3.2 parsecs", "event:0:3", "-1s", "event:1:2:3"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--at"):
        parse_at(text)


@pytest.mark.parametrize(
    ("text", "value"), [("3.2s", 3_200_000), ("850ms", 850_000), ("2", 2_000_000), ("1.5 min", 90_000_000), ("7us", 7)]
)
def test_times_are_exact(text: str, value: int) -> None:
    assert (parse_at(text).unit, parse_at(text).value) == ("time", value)


def test_places_that_are_not_there_are_refused(store: Store) -> None:
    line = stored(store, "chat-stop")
    with pytest.raises(UsageError, match="has no event 999: it has 0 to"):
        at(line, "event:999")
    with pytest.raises(UsageError, match="bytes, not 99999999"):
        at(line, "byte:99999999")


# -- without payloads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["assistants-completed", "chat-stop", "responses-reasoning"])
def test_what_was_recorded_without_content_keeps_its_raster_and_says_what_is_missing(store: Store, name: str) -> None:
    line = timeline(store, without_payloads(store, name).recording_id)
    (one,) = line.tracks
    full = track(*tape(name))
    assert [mark[3:] for mark in one.marks] == [mark[3:] for mark in full.marks]
    then = at(line, "event:5")
    assert then.state.withheld == "it was recorded with content=facts"
    assert (then.state.reading, then.state.events) == (None, 5)
    with pytest.raises(NotFound, match="has no payloads"):
        raw(line, then)
    assert found(one, "no byte missing")[0] == "ok"
    assert found(one, "payloads readable") == ("unknown", None)


def test_what_was_read_before_its_payloads_went_is_still_known_at_the_end() -> None:
    """With content=facts the reading is made while the payloads are there."""
    asked, body = stream("assistants-completed")
    recording, events = recorded(asked, body)
    kept = replace(recording, content="facts")
    one = track(kept, bare(events), interpret(kept, events))
    line = timeline_of(one)
    state = at(line, "end").state
    assert state.reading is not None
    assert state.reading.status == "completed"
    assert state.reading.text is None
    assert found(one, "terminal event")[0] == "ok"
    assert {mark.what for mark in one.marks} >= {What.TEXT, What.DONE, What.LIFECYCLE}


def test_of_what_was_erased_nothing_is_told_that_is_not_so(store: Store) -> None:
    """An answer did come, with that status; that its coding is unknown is said, and not that there was none."""
    asked, body = stream("chat-stop")
    kept = keep(store, asked, body)
    whole = timeline(store, kept.recording_id).tracks[0]
    store.wipe([Wipe(kept.recording_id, None, labels=False)], "Vera", "asked to")
    line = timeline(store, kept.recording_id)
    (one,) = line.tracks
    assert (one.head, one.answered) == (None, whole.answered)
    assert one.answered is not None
    then = at(line, "end").state
    assert (then.http_status, then.withheld) == (200, "it was erased")
    assert at(line, "0s").state.http_status is None
    assert found(one, "content coding undone") == ("unknown", None)
    with pytest.raises(NotFound, match="has no payloads: it was erased"):
        raw(line, at(line, "end"))


def test_of_a_coded_body_whose_bytes_are_withheld_the_decoded_ones_are_given() -> None:
    asked, body = stream("chat-stop")
    headers = (*EVENT_STREAM, ("content-encoding", "gzip"))
    recording, events = recorded(asked, gzip.compress(body, mtime=0), headers=headers, chunk=100_000)
    assert recording.ending is not None
    detail = {**recording.ending.detail, "redacted": {"wire": "withheld"}}
    masked = replace(recording, ending=replace(recording.ending, detail=detail))
    line = alone(masked, [event if event.kind != Kind.WIRE else event._replace(data=None) for event in events])
    assert is_decoded(line.tracks[0])
    assert raw(line, at(line, "end")) == body


# -- checks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["assistants-completed", "chat-stop", "messages-end-turn", "responses-completed", "gemini-stop"]
)
def test_nothing_is_wrong_with_a_good_stream(store: Store, name: str) -> None:
    (one,) = stored(store, name).tracks
    assert [check.name for check in checks(one) if check.verdict == Verdict.NOT] == []
    assert found(one, "terminal event")[0] == "ok"
    assert found(one, "no row missing")[0] == "ok"


@pytest.mark.parametrize(
    ("name", "check", "position"),
    [
        ("assistants-cut", "terminal event", 16),
        ("assistants-cut", "end marker", 16),
        ("assistants-cut", "steps ended", 13),
        ("chat-cut", "steps ended", 5),
        ("chat-no-done", "end marker", 4),
        ("responses-sequence-gap", "sequence numbers", 6),
        ("responses-sequence-gap", "deltas against the completed text", 7),
        ("assistants-lost-piece", "deltas against the completed text", 10),
        ("assistants-completed-says-incomplete", "signals agree", None),
    ],
)
def test_what_is_incomplete_is_found_where_it_shows(store: Store, name: str, check: str, position: int | None) -> None:
    (one,) = stored(store, name).tracks
    verdict, at_ = found(one, check)
    assert verdict == "not"
    assert at_ == position


def test_a_row_that_is_gone_and_bytes_that_are_gone_are_found() -> None:
    recording, events = tape("chat-stop")
    one = track(recording, [*events[:4], *events[5:]], interpret(recording, events))
    assert found(one, "no row missing") == ("not", 4)
    assert found(one, "no byte missing")[0] == "not"
    short = track(recording, events[:-2], interpret(recording, events))
    assert found(short, "no row missing")[0] == "not"


def test_altered_rows_are_told_of_and_break_nothing() -> None:
    """Each row of a recording in turn lost, its payload replaced, its cuts damaged: a timeline all the same."""
    recording, events = tape("assistants-reasoning")
    reading = interpret(recording, events)
    for place, event in enumerate(events):
        lost = alone(recording, [*events[:place], *events[place + 1 :]])
        assert found(lost.tracks[0], "no row missing") == ("not", place)
        assert at(lost, "end").states
        changed = [*events[:place], event._replace(data=b"\xff{[", raw=None), *events[place + 1 :]]
        one = track(recording, changed, reading)
        assert len(one.marks) == len(events)
        assert checks(one)
        assert at(timeline_of(one), "end").states
    damaged = [*events[:3], events[3]._replace(cuts=b"\x80"), *events[4:]]
    with pytest.raises(StoreError, match="is damaged: cuts are damaged"):
        at(alone(recording, damaged), "1s")


def test_a_body_shorter_than_announced_is_found() -> None:
    recording, events = recorded(
        request("GET", "/v1/threads/t/runs/r"), b'{"a"', headers=(*JSON, ("content-length", "9"))
    )
    assert found(track(recording, events), "no byte missing")[0] == "not"
    assert found(track(recording, events), "payloads readable")[0] == "not"


def test_capture_that_was_cut_short_says_why() -> None:
    recording, events = tape("chat-stop")
    assert recording.ending is not None
    cut = replace(recording.ending, captured="truncated", detail={"reason": "the queue was full"})
    one = track(replace(recording, ending=cut), events)
    (check,) = [each for each in checks(one) if each.name == "captured whole"]
    assert (check.verdict, check.said) == (Verdict.NOT, "capture was cut short: the queue was full")


def test_a_text_that_the_ending_cut_off_is_not_missing_anything(store: Store) -> None:
    """The provider said that it stopped there; where nothing says so, or it said completed, the rest is missing."""
    (one,) = stored(store, "assistants-incomplete-output").tracks
    assert found(one, "steps ended")[0] == "ok"
    lost = run_event("created") + frame(
        {
            "id": "msg_1",
            "object": "thread.message.delta",
            "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "a"}}]},
        },
        "thread.message.delta",
    )
    recording, events = recorded(CREATE, lost + run_event("completed") + ASSISTANTS_DONE)
    assert found(track(recording, events), "steps ended") == ("not", 2)


def test_a_step_that_waits_for_its_tools_has_not_failed(store: Store) -> None:
    (one,) = stored(store, "assistants-tools-1").tracks
    assert found(one, "steps ended")[0] == "ok"


def test_what_a_protocol_does_not_say_is_unknown_and_never_ok(store: Store) -> None:
    (one,) = stored(store, "chat-stop").tracks
    assert found(one, "sequence numbers") == ("unknown", None)
    assert found(one, "deltas against the completed text") == ("unknown", None)
    (other,) = stored(store, "responses-completed").tracks
    assert found(other, "sequence numbers") == ("ok", None)


@pytest.mark.parametrize("name", DEMO)
def test_the_streams_of_the_demo_have_a_timeline(store: Store, name: str) -> None:
    asked = (
        CREATE
        if name.startswith("assistants")
        else post("/v1/chat/completions", model="gpt-4o", messages=[], stream=True)
    )
    line = timeline(store, keep(store, asked, demo_stream(name)).recording_id)
    assert found(line.tracks[0], "terminal event")[0] == "ok"
    assert raw(line, at(line, "end")) == demo_stream(name)


def test_a_second_record_of_the_same_exchange_is_left_out_unless_it_is_asked_for(store: Store) -> None:
    body = run_event("completed") + ASSISTANTS_DONE
    client = keep(store, CREATE, body, started_at=SECOND, origin="http://localhost:8000")
    proxy = keep(store, CREATE, body, started_at=SECOND + 1000)
    line = timeline(store, client.recording_id)
    if len(store.members(line.run.run_id)) == 2:
        assert (len(line.tracks), line.duplicates) == (1, 1)
        assert len(timeline(store, proxy.recording_id).tracks) == 2
    else:
        pytest.fail("the store did not see that both are one exchange")


def test_a_dialects_mistake_leaves_a_raster() -> None:
    """Payloads of shapes that no protocol has: names alone tell."""
    body = frame("[[[[", "thread.message.delta") + frame({"id": 7}, "thread.run.created") + frame("[DONE]", "done")
    one = track(*recorded(CREATE, body))
    assert [mark.name for mark in one.marks if mark.offset is not None] == [
        "thread.message.delta",
        "thread.run.created",
        "[DONE]",
    ]
