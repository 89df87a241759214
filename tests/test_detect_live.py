"""Runaways noticed in the bytes of a stream: in every protocol, however it is cut, and nowhere else."""

from __future__ import annotations

import json
import random
import sys
import tracemalloc
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import detect
from recorder.capture import Capture
from recorder.detect import LiveDetector, Notice, asks_for_json
from recorder.detect.runaway import repetition, whitespace
from recorder.recording import Head, Recording, Request, Row, uuid7
from tests.cost import cost
from tests.loopback import Stream, corpus, seeded_cuts
from tests.needs import need_corpus
from tests.payloads import compact, frame
from tests.spoken import spoken
from tests.test_detect import published
from tests.test_detect_runaway import prose

#: One delta of each protocol, as a function of its text.
DELTAS: Final[dict[str, Any]] = {
    "assistants": lambda text: {
        "id": "msg_1",
        "object": "thread.message.delta",
        "delta": {"content": [{"index": 0, "type": "text", "text": {"value": text, "annotations": []}}]},
    },
    "assistants arguments": lambda text: {
        "id": "step_1",
        "object": "thread.run.step.delta",
        "delta": {"step_details": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}},
    },
    "responses": lambda text: {"type": "response.output_text.delta", "item_id": "msg_1", "delta": text, "logprobs": []},
    "chat": lambda text: {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}],
    },
    "chat reasoning": lambda text: {"choices": [{"index": 0, "delta": {"content": "", "reasoning_content": text}}]},
    "chat reasoning, null": lambda text: {"choices": [{"delta": {"content": None, "reasoning_content": text}}]},
    "messages": lambda text: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    "messages thinking": lambda text: {"type": "content_block_delta", "delta": {"thinking": text}},
    "messages input": lambda text: {"type": "content_block_delta", "delta": {"partial_json": text}},
    "gemini": lambda text: {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]},
}

WHITESPACE, REPETITION = "whitespace_runaway", "repetition_runaway"


def rows(pieces: Iterable[str], delta: str = "chat", *, spaced: bool = False) -> list[Row]:
    """One event for each piece, from position 2 on."""
    made: list[Row] = []
    for position, piece in enumerate(pieces, 2):
        value = DELTAS[delta](piece)
        data = json.dumps(value).encode() if spaced else compact(value).encode()
        made.append((b"", position, "sse", position * 1000, "message", data, None, len(data) + 8, None))
    return made


def noticed(pieces: Iterable[str], delta: str = "chat", *, is_json: bool = False, spaced: bool = False) -> list[Notice]:
    """What a detector notices in these deltas, given to it in a few batches."""
    detector = LiveDetector(uuid7(), json=is_json)
    made = rows(pieces, delta, spaced=spaced)
    for start in range(0, len(made), 7):
        detector.rows(made[start : start + 7])
    return detector.notices


def kinds(notices: Sequence[Notice]) -> list[str]:
    return [notice.kind for notice in notices]


# -- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, True),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, True),
        ({"generationConfig": {"responseMimeType": "application/json"}}, True),
        ({"generationConfig": {"response_mime_type": "application/json"}}, True),
        ({"generationConfig": {"responseMimeType": "text/plain"}, "media": "application/json"}, False),
        ({"response_format": {"type": "text"}}, False),
        ({"messages": [{"content": 'say {"type": "json_object"}'}]}, False),
        ({}, False),
    ],
)
def test_json_mode_is_known_from_the_request(body: dict[str, Any], asks: bool) -> None:
    assert asks_for_json(compact(body).encode()) == asks
    assert asks_for_json(json.dumps(body, indent=1).encode()) == asks


def test_a_body_that_is_not_there_asks_for_nothing() -> None:
    assert not asks_for_json(None)


# -- whitespace -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
def test_whitespace_is_noticed_in_every_protocol(delta: str, spaced: bool) -> None:
    """With the twentieth piece, long before the limit ends it; it is said once, and since when."""
    (notice,) = noticed(['{"a": 1', ",", *[" \n"] * 500], delta, is_json=True, spaced=spaced)
    assert notice.kind == WHITESPACE
    assert (notice.position, notice.elapsed_us) == (2 + 2 + 19, (2 + 2 + 19) * 1000)
    assert (notice.since_position, notice.since_us) == (4, 4000)
    assert "40 characters of whitespace in 20 pieces" in notice.detail


@pytest.mark.parametrize(
    ("pieces", "is_json", "count"),
    [
        (["{", " " * 64], True, 1),
        (["{", " " * 63], True, 0),
        (["{", *[" " * 32] * 2], True, 1),
        (["{", "\n" + " " * 70, '"a"'], True, 0),  # a deep line
        (["{", "\n" + " " * 127], True, 1),
        (['{"a": "', " " * 64, '"}'], True, 0),
        (['{"a": "\\"', " " * 64, '"}'], True, 0),
        (['{"a": "\\', '"', " " * 64, '"}'], True, 0),
        (['{"a": "\\\\"', " " * 64], True, 1),
        (['{"a": "\\', '\\"', " " * 64], True, 1),
        (['{"a": "', " " * 256], True, 1),
        (['{"a": 1,' + " " * 64 + '"b": 2}'], True, 1),
        (['{"a": "1,' + " " * 64 + '"}'], True, 0),
        (["name", " " * 255, "value"], False, 0),
        (["name", " " * 256, "value"], False, 1),
        (["name" + " " * 256 + "value"], False, 1),
        (["so ", *["\n"] * 20], False, 1),
        (["so ", *["\n"] * 19, "on", *["\n"] * 19], False, 0),
        (["so ", *["\t", "\r", "\n", " "] * 5], False, 1),
    ],
)
def test_limits_of_whitespace(pieces: list[str], is_json: bool, count: int) -> None:
    assert kinds(noticed(pieces, is_json=is_json)) == [WHITESPACE] * count


def test_one_giant_event_is_enough() -> None:
    for pieces in ([" \n" * 500_000], ['{"a": ' + "\n" * 1_000_000], ["word " * 1000 + " " * 100_000 + "}"]):
        for is_json in (False, True):
            assert kinds(noticed(pieces, is_json=is_json)) == [WHITESPACE]
    assert kinds(noticed(["I do not know. " * 100_000])) == [REPETITION]


def test_a_string_of_which_only_the_end_is_looked_at_may_hold_blanks() -> None:
    assert noticed(['{"a": "' + "".join(prose(2000)) + " " * 100 + 'x"}'], is_json=True) == []


def test_what_was_reasoned_does_not_count_as_a_part_of_the_json() -> None:
    """An open quote there opens no string here."""
    detector = LiveDetector(uuid7(), json=True)
    detector.rows(rows(['Say "yes', " or no, in"], "chat reasoning"))
    detector.rows(rows(['{"a": 1,', " " * 64], "chat"))
    assert kinds(detector.notices) == [WHITESPACE]


def test_text_that_begins_late_is_found() -> None:
    """After many events without any that is known."""
    detector = LiveDetector(uuid7(), json=True)
    unknown: Row = (b"", 0, "sse", 0, "x", b'{"type": "progress", "share": "0.5"}', None, 20, None)
    detector.rows([unknown] * 1000)
    detector.rows(rows(['{"a": 1,', *[" \n"] * 40]))
    assert kinds(detector.notices) == [WHITESPACE]


def test_code_that_comes_character_by_character_is_left_alone() -> None:
    assert noticed("def function(argument):\n" + " " * 40 + "return argument\n" * 3) == []


# -- repetition -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", DELTAS)
def test_repetition_is_noticed_in_every_protocol(delta: str) -> None:
    """Within some five thousand bytes, and once."""
    lead = prose(300)
    (notice,) = noticed([*lead, *["I do ", "not know. "] * 2000], delta)
    assert notice.kind == REPETITION
    assert 2 + len(lead) < notice.since_position < notice.position < 2 + len(lead) + 2 * 6000 // 15


@pytest.mark.parametrize(
    "pieces",
    [
        prose(3000),
        ["[", *["0, "] * 900, "0]", *prose(500)],  # a table of zeros of some 2,700 bytes
        [json.dumps([{"id": number, "name": word} for number, word in enumerate(prose(900))])],
        ["| ", *(f"{word}| yes |\n" for word in prose(600))],
    ],
)
def test_honest_texts_are_left_alone(pieces: list[str]) -> None:
    assert noticed(pieces) == []


def test_a_server_that_sends_the_whole_text_each_time_is_left_alone() -> None:
    """As DashScope does, unless it is told to send increments."""
    text, snapshots = "", []
    for word in prose(400):
        text += word
        snapshots.append(text)
    assert noticed(snapshots) == []


def test_whitespace_is_not_called_a_repetition_and_the_other_way_round() -> None:
    assert kinds(noticed([*prose(20), *[" \n"] * 5000])) == [WHITESPACE]
    assert kinds(noticed([*prose(20), *["no.\n\n"] * 5000])) == [REPETITION]
    assert kinds(noticed([*["no. "] * 2000, *["\n"] * 30])) == [REPETITION, WHITESPACE]


# -- with what is found afterwards ------------------------------------------------------------------------------------


@given(
    st.integers(0, 400),
    st.sampled_from([" ", "\n", " \n", "\t", "\n  ", "        "]),
    st.sampled_from(["no ", "And so on, and so forth. ", "\\n", "0,"]),
    st.booleans(),
    st.booleans(),
)
def test_live_and_afterwards_agree_on_streams_that_run_away(
    lead: int, blank: str, loop: str, is_json: bool, blanks: bool
) -> None:
    start = ['{"a": [', *(f'"{word}", ' for word in prose(lead))] if is_json else ["So: ", *prose(lead)]
    pieces = [*start, *[blank if blanks else loop] * 3000]
    told = spoken(pieces)
    after = [WHITESPACE] * bool(whitespace(told, json=is_json)) + [REPETITION] * bool(repetition(told))
    notices = noticed(pieces, is_json=is_json)
    assert kinds(notices) == after == [WHITESPACE if blanks else REPETITION]
    assert notices[0].since_position >= 2 + lead


@given(
    st.lists(st.sampled_from([" ", "\n", " \n", "\t\t", "a", '"', '\\"', "{", "b, ", "word", "é"]), max_size=120),
    st.booleans(),
)
def test_what_is_noticed_live_is_found_afterwards(pieces: list[str], is_json: bool) -> None:
    """The other way round not always: the end of a text is known only then."""
    if noticed(pieces, is_json=is_json):
        assert whitespace(spoken(pieces), json=is_json) is not None


# -- strangers --------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=60), max_size=30), st.booleans())
def test_any_bytes_are_taken(payloads: list[bytes], is_json: bool) -> None:
    marks = [b'"content":"', b'"', b"\\", b" ", b"\\n", b'{"delta": "']
    detector = LiveDetector(uuid7(), json=is_json)
    random.seed(len(payloads))
    for position, payload in enumerate(payloads):
        data = payload + random.choice(marks) + payload[:5] + random.choice(marks) * random.randint(0, 3)
        detector.rows([(b"", position, "sse", 0, None, data, None, 9, None)])
        detector.rows([(b"", position, "sse", 0, None, None, data, 9, None)])
        detector.rows([(b"", position, "sse", 0, None, None, None, 9, None)])
        detector.rows([(b"", position, "body", 0, None, data, None, 9, None)])


def test_events_without_text_between_those_with_text_change_nothing() -> None:
    detector = LiveDetector(uuid7(), json=True)
    ping: Row = (b"", 0, "sse", 0, "ping", b'{"type": "ping"}', None, 20, None)
    for row in rows(['{"a": ', *[" \n"] * 20]):
        detector.rows([ping, row, ping])
    assert kinds(detector.notices) == [WHITESPACE]


def test_a_notice_reads_well_and_holds_no_content() -> None:
    (notice,) = noticed(['{"sekret": ', *[" \n"] * 20], is_json=True)
    assert str(notice) == (
        f"recording {notice.recording_id}: whitespace runaway since event 3, 0.0 s after the request"
        " (40 characters of whitespace in 20 pieces in a JSON answer)"
    )
    assert "sekret" not in repr(notice)


# -- cost -------------------------------------------------------------------------------------------------------------


def test_memory_is_a_few_kilobytes_whatever_comes() -> None:
    """Short deltas, long ones, snapshots, whitespace, loops: what is kept of them stays below 8 KB."""
    made = rows([*prose(3000), *(word * 3000 for word in prose(20)), "x" * 2_000_000, *["\n"] * 100, *prose(5000)])
    tracemalloc.start(8)
    try:
        detector = LiveDetector(uuid7(), json=True)
        detector.rows(made)
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    # What other threads of this process take meanwhile is not the detector's.
    its_own = [
        tracemalloc.Filter(True, str(Path(detect.__file__).parent / "*"), all_frames=True),
        tracemalloc.Filter(True, __file__),
    ]
    held = sum(trace.size for trace in snapshot.filter_traces(its_own).traces)
    assert held > 0
    assert held < 8192 + sys.getsizeof(1) * 32


@pytest.mark.parametrize("text", ["x", "\\", '"', '\\"', " ", "\n", "a b\n", "no, ", "é"])
def test_work_on_one_event_grows_no_faster_than_the_event(text: str) -> None:
    def look(power: int) -> None:
        LiveDetector(uuid7(), json=True).rows(made[power])

    made = [rows([text * 20_000 * 2**power, "y"]) for power in range(4)]
    costs = [cost(partial(look, power)) for power in range(4)]
    assert all(more <= 2.2 * less + 100 for less, more in pairwise(costs)), costs


# -- through a capture ------------------------------------------------------------------------------------------------


def captured(answer: bytes, body: bytes = b"{}", *, content: str = "full", cuts: Sequence[int] = ()) -> list[Notice]:
    """What a detector notices behind a real capture."""
    request = Request("POST", "http://127.0.0.1/v1/chat/completions", body=body, body_size=len(body))
    recording = Recording(
        recording_id=uuid7(), started_at=0, writer=uuid7(), dialect="chat", origin="", request=request, content=content
    )
    detector = LiveDetector(recording.recording_id, json=asks_for_json(body))
    capture = Capture(recording, detector.rows)
    capture.head(Head(200, headers=(("content-type", "text/event-stream"),)), 1)
    for start, end in pairwise([0, *cuts, len(answer)]):
        capture.data(answer[start:end], end)
        capture.take()
    capture.end("eof", len(answer))
    capture.take()
    return detector.notices


@pytest.mark.parametrize("content", ["full", "facts", "none"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_content_settings_and_framing_make_no_difference(content: str, end: bytes) -> None:
    answer = b"".join(frame(DELTAS["chat"](piece)) for piece in ['{"a":', *[" \n"] * 30]).replace(b"\n", end)
    body = b'{"response_format": {"type": "json_object"}}'
    for cuts in ([], seeded_cuts(len(answer), "live")):
        assert kinds(captured(answer, body, content=content, cuts=cuts)) == [WHITESPACE]


@pytest.mark.parametrize("stream", [pytest.param(stream, id=stream.id) for stream in corpus()])
def test_no_published_stream_gives_a_notice(stream: Stream) -> None:
    """Neither as it was asked for nor as if JSON had been asked for."""
    need_corpus()
    answer = stream.path.read_bytes()
    cuts = seeded_cuts(len(answer), stream.id)
    for body in (published(stream).body or b"", b'{"response_format": {"type": "json_object"}}'):
        assert captured(answer, body, cuts=cuts) == []
