"""Gemini: every finish reason, blocked prompts, calls, thoughts, all shapes of an answer, and the published streams.

The golden streams in streams/ were written by the project; their readings were reviewed by hand. No SDK reads them
here: what the published streams come to was worked out by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.dialects.gemini import Gemini
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason
from tests import golden
from tests.damage import damaged
from tests.needs import CORPUS, need_corpus
from tests.tape import JSON, post, read, recorded, request

NAMES = golden.names("gemini")
MODEL = "/v1beta/models/gemini-x"
CONTENTS: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "hi"}]}]
ASK = post(f"{MODEL}:streamGenerateContent?alt=sse", contents=CONTENTS)
ARRAY = post(f"{MODEL}:streamGenerateContent", contents=CONTENTS)

_DIALECT = Gemini()


def frames(*values: Any) -> bytes:
    """The responses as the wire has them."""
    return b"".join(f"data: {json.dumps(value)}\r\n\r\n".encode() for value in values)


def response(*parts: dict[str, Any], finish: Any = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1", **fields}


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"text": text, **fields}


def told(*values: Any, asked: Request = ASK) -> Reading:
    return read(asked, frames(*values))


# -- golden streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_golden_streams(name: str) -> None:
    assert golden.as_json(golden.stream_reading(name)) == golden.sidecar(name)["reading"]


@pytest.mark.parametrize("name", [name for name in NAMES if "document" in golden.sidecar(name)])
def test_the_same_answer_as_json_reads_alike(name: str) -> None:
    assert golden.document_differences(name) == {}


# -- the shapes of an answer ------------------------------------------------------------------------------------------


def array_of(stream: bytes) -> bytes:
    """The same responses as the array that comes without `alt=sse`."""
    chunks = [line.removeprefix(b"data: ") for line in stream.splitlines() if line.startswith(b"data: ")]
    return b"[" + b"\n,\r\n".join(chunks) + b"\n]\n"


def as_array(name: str, left: slice = slice(None)) -> Reading:
    told = golden.sidecar(name)["request"]
    body = array_of((golden.STREAMS / f"{name}.sse").read_bytes())
    return read(post(told["url"].removesuffix("?alt=sse"), **told["body"]), body[left], headers=JSON, chunk=1 << 16)


@pytest.mark.parametrize("name", NAMES)
def test_without_alt_sse_the_responses_come_as_an_array(name: str) -> None:
    streamed, whole = golden.stream_reading(name), as_array(name)
    only_streamed = {"facts", "parameters", "spoken", "ttft_us", "ttft_visible_us"}
    differing = {field for field in Reading.__slots__ if getattr(streamed, field) != getattr(whole, field)}
    assert differing <= only_streamed
    for part in ("finish", "block"):
        mine, theirs = (dict(reading.facts.get("evidence", {})).get(part) for reading in (streamed, whole))
        assert (mine is None) == (theirs is None)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_that_was_cut_is_read_as_far_as_it_came(name: str) -> None:
    whole = as_array(name)
    length = len(array_of((golden.STREAMS / f"{name}.sse").read_bytes()))
    for end in range(1, length - 2, 13):
        reading = as_array(name, slice(end))
        assert reading.complete is False
        assert {"no_end_marker", "malformed_json"} <= set(reading.flags)
        assert (whole.text or "").startswith(reading.text or "")
        if reading.status == Status.COMPLETED:
            assert whole.status in {Status.COMPLETED, Status.REQUIRES_ACTION, Status.INCOMPLETE}


def test_a_stream_that_was_asked_for_as_events_and_is_none_is_flagged() -> None:
    body = array_of(frames(response(said("a"), finish="STOP")))
    assert read(ASK, body, headers=JSON).flags == ("not_sse",)
    assert read(ARRAY, body, headers=JSON).flags == ()


@pytest.mark.parametrize("asked", [ASK, ARRAY])
@pytest.mark.parametrize("shape", [lambda error: error, lambda error: [error]])
def test_a_refused_request_failed(asked: Request, shape: Any) -> None:
    error = {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}
    reading = read(asked, json.dumps(shape(error)).encode(), status=429, headers=JSON)
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == (
        Status.FAILED,
        StopReason.ERROR,
        "RESOURCE_EXHAUSTED",
    )
    assert reading.flags == ("http_error",)
    assert reading.facts["evidence"]["error"] == {"code": "429", "status": "RESOURCE_EXHAUSTED", "position": 1}


def test_an_error_that_calls_itself_an_event_stream_is_one_all_the_same() -> None:
    """Google answers so where `alt=sse` was asked for (seen in a published cassette of crewAI)."""
    error = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}
    reading = read(ASK, json.dumps(error, indent=2).encode(), status=400)
    assert (reading.status, reading.stop_reason) == (Status.FAILED, StopReason.ERROR)
    assert "http_error" in reading.flags


# -- the outcome ------------------------------------------------------------------------------------------------------

FILTERED = (Status.INCOMPLETE, StopReason.CONTENT_FILTER)


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [
        ("STOP", (Status.COMPLETED, StopReason.STOP)),
        ("MAX_TOKENS", (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT)),
        *((name, FILTERED) for name in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")),
        *((name, FILTERED) for name in ("MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION")),
        *((name, (Status.INCOMPLETE, None)) for name in ("LANGUAGE", "OTHER", "IMAGE_OTHER", "NO_IMAGE")),
        *((name, (Status.FAILED, StopReason.ERROR)) for name in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")),
        *((name, (Status.FAILED, StopReason.ERROR)) for name in ("TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE")),
        ("FINISH_REASON_UNSPECIFIED", (Status.UNKNOWN, None)),
        ("TIRED", (Status.UNKNOWN, None)),
    ],
)
def test_finish_reasons(finish: str, outcome: tuple[str, str | None]) -> None:
    reading = told(response(said("a")), response(finish=finish))
    assert (reading.status, reading.stop_reason) == outcome
    assert (reading.stop_reason_raw, reading.complete, reading.flags) == (finish, True, ())
    assert reading.facts["evidence"]["finish"] == {"0": {"value": finish, "position": 2}}


@pytest.mark.parametrize(
    ("number", "name"), [(1, "STOP"), (2, "MAX_TOKENS"), (3, "SAFETY"), (4, "RECITATION"), (9, "9")]
)
def test_finish_reasons_as_numbers(number: int, name: str) -> None:
    assert told(response(said("a"), finish=number)).stop_reason_raw == name


def test_the_last_finish_reason_of_a_candidate_stands_and_a_change_is_flagged() -> None:
    """Older models say STOP with every response."""
    assert told(response(said("a"), finish="STOP"), response(said("b"), finish="STOP")).flags == ()
    reading = told(response(said("a"), finish="STOP"), response(said("b"), finish="SAFETY"))
    assert (reading.stop_reason_raw, reading.flags) == ("SAFETY", ("disagreement",))
    assert reading.facts["disagreements"] == ["two_endings"]


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SOMETHING_NEW"])
def test_a_blocked_prompt_is_incomplete(reason: str) -> None:
    reading = told({"promptFeedback": {"blockReason": reason, "blockReasonMessage": "m"}, "responseId": "r1"})
    assert (reading.status, reading.stop_reason) == FILTERED
    assert (reading.stop_reason_raw, reading.complete, reading.flags) == (reason, True, ())
    assert reading.facts["content"] == {"block_message": "m"}


def test_a_response_that_was_cut_leaves_the_stream_incomplete_whatever_was_said_before() -> None:
    """Older models give `STOP` with every response."""
    stream = frames(response(said("a"), finish="STOP"), response(said("b"), finish="STOP"))
    whole, cut = read(ASK, stream), read(ASK, stream[:-20])
    assert (whole.complete, cut.complete) == (True, False)
    assert (cut.text, cut.flags) == ("a", ("unterminated_tail",))


def test_the_end_marker_of_a_gateway_is_no_response() -> None:
    reading = read(ASK, frames(response(said("hi"), finish="STOP")) + b"data: [DONE]\n\n")
    assert (reading.status, reading.text, reading.flags) == (Status.COMPLETED, "hi", ())


def test_a_stream_without_a_finish_reason_is_cut() -> None:
    one: list[Any] = [response(said("a")), {"candidates": [{"content": {}}]}, {"usageMetadata": {}}]
    for values in ([], *([value] for value in one)):
        reading = told(*values)
        assert reading.status in {Status.IN_PROGRESS, Status.UNKNOWN}
        assert (reading.complete, reading.flags) == (False, ("no_terminal_event",))


def test_of_several_candidates_all_must_finish_and_the_worst_one_stands() -> None:
    def candidates(*finishes: str | None) -> dict[str, Any]:
        return {
            "candidates": [
                {
                    "index": index,
                    "content": {"parts": [said(f"t{index}")]},
                    **({"finishReason": finish} if finish else {}),
                }
                for index, finish in enumerate(finishes)
            ]
        }

    assert told(candidates("STOP", None)).flags == ("no_terminal_event",)
    for finishes, status in (
        (("STOP", "STOP"), Status.COMPLETED),
        (("SAFETY", "STOP"), Status.INCOMPLETE),
        (("STOP", "MALFORMED_FUNCTION_CALL", "MAX_TOKENS"), Status.FAILED),
        (("TIRED", "STOP"), Status.UNKNOWN),
    ):
        reading = told(candidates(*finishes))
        assert (reading.status, reading.text, reading.facts["choices"]) == (status, "t0", len(finishes))


def test_a_call_waits_for_the_client_unless_something_else_cut_the_answer() -> None:
    call = {"functionCall": {"name": "t", "args": {}}}
    assert told(response(call, finish="STOP")).status == Status.REQUIRES_ACTION
    assert told(response(call, finish="MAX_TOKENS")).status == Status.INCOMPLETE
    assert told(response({"toolCall": {"id": "1"}}, said("a"), finish="STOP")).status == Status.COMPLETED


# -- usage ------------------------------------------------------------------------------------------------------------

BUCKETS = ("input_tokens", "uncached_tokens", "cached_tokens", "output_tokens", "visible_tokens", "reasoning_tokens",
           "total_tokens")  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "buckets", "flags"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 19},
         (9, None, None, 10, 4, 6, 19), ()),
        # What was left out is zero where the total says so, else not known.
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}, (9, None, None, 4, 4, 0, 13), ()),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 6, "totalTokenCount": 15}, (9, None, None, 6, 0, 6, 15), ()),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, (9, None, None, 0, 0, 0, 9), ()),
        ({"promptTokenCount": 9, "candidatesTokenCount": 4}, (9, None, None, 4, None, None, None), ()),
        ({"promptTokenCount": 9}, (9, None, None, None, None, None, None), ()),
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 20},
         (9, None, None, 4, None, None, 20), ("usage_sum",)),
        # Cached tokens are part of the prompt; what tools put in is beside it.
        ({"promptTokenCount": 9, "cachedContentTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 10},
         (9, 4, 5, 1, 1, 0, 10), ()),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 17},
         (16, None, None, 1, 1, 0, 17), ()),
        ({"promptTokenCount": 4, "cachedContentTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 5},
         (4, None, 5, 1, 1, 0, 5), ("usage_sum",)),
    ],
)  # fmt: skip
def test_usage(usage: dict[str, Any], buckets: tuple[int | None, ...], flags: tuple[str, ...]) -> None:
    reading = told(response(said("a"), finish="STOP", usageMetadata=usage))
    assert tuple(getattr(reading, name) for name in BUCKETS) == buckets
    assert (reading.flags, reading.usage_quality) == (flags, "reported")


def test_the_last_usage_counts_and_one_without_counts_takes_nothing_away() -> None:
    first = {"promptTokenCount": 9, "totalTokenCount": 9}
    last = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
    reading = told(
        response(said("a"), usageMetadata=first),
        response(said("b"), finish="STOP", usageMetadata=last),
        response(usageMetadata={"trafficType": "ON_DEMAND"}),
    )
    assert (reading.output_tokens, reading.service_tier) == (4, "ON_DEMAND")
    assert reading.facts["evidence"]["usage"] == {"value": {**last, "trafficType": "ON_DEMAND"}, "position": 3}


def test_a_cut_stream_has_partial_usage_and_no_guess_at_its_output() -> None:
    reading = told(response(said("a"), usageMetadata={"promptTokenCount": 9, "totalTokenCount": 9}))
    assert (reading.input_tokens, reading.output_tokens, reading.usage_quality) == (9, None, "partial")
    thoughts = {"promptTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 13}
    reading = told(response(said("a", thought=True), usageMetadata=thoughts))
    assert (reading.output_tokens, reading.reasoning_tokens) == (None, None)


def test_the_cap_holds_for_each_candidate() -> None:
    asked = post(f"{MODEL}:streamGenerateContent?alt=sse", contents=CONTENTS, generationConfig={"maxOutputTokens": 4})
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 4, "totalTokenCount": 5}
    assert told(response(said("a"), finish="STOP", usageMetadata=usage), asked=asked).flags == ("output_cap_reached",)
    second = {"candidates": [{"index": 1, "finishReason": "STOP"}], "usageMetadata": usage}
    assert told(response(said("a"), finish="STOP"), second, asked=asked).flags == ()


# -- text, thoughts, calls --------------------------------------------------------------------------------------------


def test_everything_spelled_out_is_told_apart() -> None:
    values = (
        response(said("hm ", thought=True)),
        response(said("yes", thought=True), said("")),
        response(said("Aye"), {"inlineData": {"mimeType": "image/png", "data": "aQ=="}}, said(".")),
        response({"functionCall": {"name": "tide", "args": {"port": "Kiel"}, "id": "c1"}, "thoughtSignature": "s"}),
        response({"functionCall": {"name": "now"}}, finish="STOP"),
    )
    recording, events = recorded(ASK, frames(*values))
    reading = _DIALECT.read(recording, events)
    times = [event.elapsed_us for event in events if event.kind == "sse"]
    assert (reading.ttft_us, reading.ttft_visible_us, reading.text) == (times[0], times[2], "Aye.")
    assert [(spoken.kind, spoken.name, spoken.text) for spoken in reading.spoken] == [
        ("reasoning", None, "hm yes"),
        ("text", None, "Aye."),
        ("arguments", "tide", '{"port":"Kiel"}'),
    ]
    assert [(list(spoken.offsets), list(spoken.positions)) for spoken in reading.spoken] == [
        ([0, 3], [1, 2]),
        ([0, 3], [3, 3]),
        ([0], [4]),
    ]
    assert reading.facts["steps"] == [
        {"type": "thought", "position": 1},
        {"type": "text", "position": 3},
        {"type": "inlineData", "position": 3},
        {"type": "text", "position": 3},
        {"type": "functionCall", "name": "tide", "position": 4},
        {"type": "functionCall", "name": "now", "position": 5},
    ]
    assert reading.facts["content"]["tool_calls"] == [
        {"id": "c1", "type": "functionCall", "name": "tide", "arguments": '{"port":"Kiel"}'},
        {"type": "functionCall", "name": "now"},
    ]


def test_a_call_alone_is_a_token_but_nothing_to_see() -> None:
    reading = told(response({"functionCall": {"name": "now"}}, finish="STOP"))
    assert reading.ttft_us is not None
    assert (reading.ttft_visible_us, reading.text) == (None, None)


def partial(*pieces: dict[str, Any], more: bool = True, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {**fields, "partialArgs": list(pieces), **({"willContinue": True} if more else {})}}


def test_arguments_in_pieces_are_put_together_where_their_paths_are_plain() -> None:
    plain = (
        {"jsonPath": "$.a", "stringValue": "x"},
        {"jsonPath": "$.a", "stringValue": "y"},
        {"jsonPath": "$.b", "boolValue": True},
    )
    deep = ({"jsonPath": "$.a[0].b", "numberValue": 1},)
    for pieces, arguments in ((plain, '{"a":"xy","b":true}'), (deep, None), ((), None)):
        reading = told(
            response(partial(name="t")),
            *(response(partial(piece)) for piece in pieces),
            response({"functionCall": {}}),
            response(said(""), finish="STOP"),
        )
        (call,) = reading.facts["content"]["tool_calls"]
        assert call.get("arguments") == arguments
        assert reading.flags == ()


def test_a_call_whose_arguments_go_on_and_never_end_is_open() -> None:
    reading = told(response(partial({"jsonPath": "$.a", "stringValue": "x"}, name="t"), finish="MAX_TOKENS"))
    assert reading.flags == ("tool_call_open",)
    assert [spoken.ended for spoken in reading.spoken] == [False]


# -- what was asked ---------------------------------------------------------------------------------------------------


def test_the_whole_parameter_set_is_kept_as_sent_but_for_the_key() -> None:
    body = {"contents": CONTENTS, "generationConfig": {"temperature": None}, "tomorrow": 1}
    asked = post(f"{MODEL}:streamGenerateContent?alt=sse&key=AIzaX&access_token=t", **body)
    assert _DIALECT.asked(asked) == {**body, "model": "gemini-x", "alt": "sse"}
    assert told(asked=asked).parameters == {**body, "model": "gemini-x", "alt": "sse"}
    assert _DIALECT.asked(request("POST", f"{MODEL}:generateContent", None)) == {}
    assert {"contents", "systemInstruction"} <= _DIALECT.contents


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, None),
        ({"responseMimeType": "text/plain"}, "text"),
        ({"responseMimeType": "application/json"}, "json_object"),
        ({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}, "json_schema"),
        ({"response_mime_type": "application/json", "response_json_schema": {"type": "object"}}, "json_schema"),
        ({"responseMimeType": "text/x.enum"}, "text/x.enum"),
    ],
)
def test_response_format(config: dict[str, Any], name: str | None) -> None:
    for spelling in ("generationConfig", "generation_config"):
        asked = post(f"{MODEL}:generateContent", contents=CONTENTS, **{spelling: config})
        assert read(asked, b"{}", headers=JSON).response_format == name


@pytest.mark.parametrize(
    ("config", "outside"),
    [
        ({"temperature": 2, "topP": 1, "candidateCount": 8, "stopSequences": ["a"] * 5, "maxOutputTokens": 1}, []),
        ({"temperature": 2.1}, ["generationConfig.temperature"]),
        ({"top_p": 1.1}, ["generationConfig.topP"]),
        ({"candidateCount": 0, "stopSequences": ["a"] * 6},
         ["generationConfig.candidateCount", "generationConfig.stopSequences"]),
        ({"temperature": "hot"}, []),
    ],
)  # fmt: skip
def test_limits_are_told_and_refuse_nothing(config: dict[str, Any], outside: list[str]) -> None:
    asked = post(f"{MODEL}:generateContent", contents=CONTENTS, generationConfig=config)
    reading = read(asked, json.dumps(response(said("a"), finish="STOP")).encode(), headers=JSON)
    assert [limit["parameter"] for limit in reading.facts.get("limits", [])] == outside
    assert reading.flags == (("outside_limits",) if outside else ())


@pytest.mark.parametrize(
    ("path", "served", "same"),
    [
        ("/v1beta/models/gemini-2.0-flash", "gemini-2.0-flash", True),
        ("/v1beta/models/gemini-2.0-flash", "models/gemini-2.0-flash-001", True),
        ("/v1beta/models/gemini-flash-latest", "gemini-2.5-flash", True),
        ("/v1beta/tunedModels/mine", "gemini-2.5-flash", True),
        ("/v1/projects/p/locations/l/endpoints/12", "gemini-2.5-flash", True),
        ("/v1beta/models/gemini-2.5-pro", "gemini-2.5-flash", False),
        ("/v1beta/models/gemini-2.5-pro", "gemini-2.5-pro-preview-tts", False),
    ],
)
def test_a_snapshot_is_no_difference_and_another_model_is(path: str, served: str, same: bool) -> None:
    asked = post(f"{path}:generateContent", contents=CONTENTS)
    reading = read(asked, json.dumps(response(said("a"), finish="STOP", modelVersion=served)).encode(), headers=JSON)
    assert reading.model == served
    assert reading.flags == (() if same else ("echo_differs",))
    assert reading.facts.get("echo_differs") == (None if same else {"model": ["gemini-2.5-pro", served]})


# -- published streams ------------------------------------------------------------------------------------------------

# Worked out by hand from the last usageMetadata of each: input (prompt + what tools put in), output (candidates +
# thoughts), visible, reasoning, total; then the names of the functions called.
PUBLISHED: dict[str, tuple[int | None, int | None, int | None, int | None, int | None, list[str]]] = {
    "gemini-006": (44, 1510, 608, 902, 1554, []),
    "gemini-007": (43, 1375, 618, 757, 1418, []),
    "gemini-008": (785, 779, 37, 742, 1564, []),
    "gemini-009": (9, 208, 23, 185, 217, []),
    "gemini-010": (None, None, None, None, None, []),
    "gemini-011": (1198, 569, 122, 447, 1767, []),
    "gemini-012": (581, 384, 192, 192, 965, []),
    "gemini-013": (30, 1947, 0, 1947, 1977, []),
    "gemini-014": (16, 1307, 1307, 0, 1323, []),
    "gemini-016": (None, None, None, None, None, []),
    "gemini-017": (None, None, None, None, None, []),
    "gemini-021": (9, 47, 15, 32, 56, []),
    "gemini-022": (None, None, None, None, None, []),
    "gemini-023": (9, 261, 261, 0, 270, []),
    "gemini-024": (None, None, None, None, None, []),
    "gemini-025": (9, 48, 10, 38, 57, []),
    "gemini-026": (10, 66, 66, 0, 76, []),
    "gemini-030": (249, 241, 58, 183, 490, ["read_theme", "read_screen", "read_screen", "read_screen"]),
    "gemini-031": (70, 60, 17, 43, 130, ["weather"]),
    "gemini-032": (318, 65, 16, 49, 383, ["double"]),
    "gemini-033": (47, 65, 16, 49, 112, ["double"]),
    "gemini-034": (52, 5, 5, 0, 57, ["get_capital"]),
}


@pytest.mark.parametrize("number", PUBLISHED)
def test_published_streams(number: str) -> None:
    (path,) = (need_corpus() / "gemini").glob(f"{number}-*.sse")
    reading = _DIALECT.read(*recorded(ASK, path.read_bytes()))
    *tokens, calls = PUBLISHED[number]
    assert [
        reading.input_tokens,
        reading.output_tokens,
        reading.visible_tokens,
        reading.reasoning_tokens,
        reading.total_tokens,
    ] == tokens
    assert [call["name"] for call in dict(reading.facts.get("content", {})).get("tool_calls", [])] == calls
    assert (reading.text or "") == plain_text(path)
    assert "usage_sum" not in reading.flags


def plain_text(path: Path) -> str:
    """What a naive reader puts together: the text of the parts that are no thoughts."""
    frames = path.read_bytes().replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
    values = [json.loads(frame.removeprefix(b"data: ")) for frame in frames if frame]
    parts = [
        part
        for value in values
        for candidate in value.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]
    return "".join(part.get("text", "") for part in parts if not part.get("thought"))


def test_all_published_streams_are_listed() -> None:
    assert {path.stem[:10] for path in (need_corpus() / "gemini").glob("*.sse")} == set(PUBLISHED)


# -- whatever comes ---------------------------------------------------------------------------------------------------


def tapes() -> list[tuple[Recording, list[Event]]]:
    """The golden streams and the published ones as recordings."""
    paths = [*sorted(golden.STREAMS.glob("gemini-*.sse")), *sorted((CORPUS / "gemini").glob("*.sse"))]
    return [recorded(ASK, path.read_bytes(), chunk=512) for path in paths]


TAPES = tapes()


@given(st.data())
def test_events_removed_doubled_moved_or_cut_never_make_a_stream_complete(data: st.DataObject) -> None:
    recording, whole = data.draw(st.sampled_from(TAPES))
    events = damaged(data, whole)
    reading = _DIALECT.read(recording, events)
    raw = b"".join(event.raw or event.data or b"" for event in events if event.kind == "sse")
    if reading.status == Status.COMPLETED:
        assert b'"STOP"' in raw
    if reading.complete:
        assert any(word in raw for word in (b"finishReason", b"blockReason", b'"error"'))
    elif any(event.kind == "head" for event in events):
        assert "no_terminal_event" in reading.flags
    golden.as_json(reading)  # all of it is JSON


_NAMES = [
    *("candidates", "content", "parts", "text", "thought", "functionCall", "args", "name", "partialArgs", "jsonPath"),
    *("finishReason", "index", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "totalTokenCount"),
    *("error", "status", "modelVersion", "safetyRatings", "stringValue"),
]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=16,
)


@given(st.lists(_VALUES, max_size=4), st.lists(_VALUES, max_size=3))
def test_payloads_of_any_shape_are_read(values: list[Any], parts: list[Any]) -> None:
    candidates = [{"content": {"parts": parts}, "finishReason": "STOP"}, *values]
    for reading in (
        told(*values, {"candidates": candidates}),
        read(ARRAY, json.dumps([{"candidates": candidates}, *values]).encode(), headers=JSON),
    ):
        assert reading.status in set(Status)
        golden.as_json(reading)
