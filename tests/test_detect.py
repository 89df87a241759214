"""What `examine` makes of an answer: flags, facts and JSON verdicts, and no false alarm on any published stream."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from recorder.detect import Findings, examine
from recorder.dialects import by_name
from recorder.recording import Reading, Request, Spoken
from tests.loopback import Stream, corpus
from tests.needs import need_corpus
from tests.spoken import spoken, whole
from tests.tape import post, recorded, request

BARE = request("POST", "/v1/chat/completions", None)


def chat(*texts: Spoken, **fields: Any) -> Reading:
    """A reading of a completed answer, unless it says otherwise."""
    given: dict[str, Any] = {"action": "create", "status": "completed", "stop_reason": "stop"}
    return Reading(dialect="chat", spoken=texts, **(given | fields))


def cut(*texts: Spoken, **fields: Any) -> Reading:
    """A reading of an answer that its token limit cut."""
    return chat(*texts, **({"status": "incomplete", "stop_reason": "output_limit"} | fields))


def flags(reading: Reading, asked: Request = BARE) -> tuple[str, ...]:
    return examine(reading, asked).flags


def test_a_good_answer_has_only_its_length() -> None:
    assert examine(chat(whole("All is well.")), BARE) == Findings(text_chars=12, blank_chars=0)


def test_an_answer_without_texts_has_nothing() -> None:
    assert examine(chat(status="failed", stop_reason="error"), BARE) == Findings()


def test_facts_hold_nothing_of_the_texts_and_are_json() -> None:
    secret = "sekret"
    found = examine(
        cut(
            spoken([f'{{"{secret}": "', *[secret] * 900], "text"),
            spoken([f'{{"{secret}"', " " * 200], "arguments", name="look"),
            spoken([secret] * 900, "reasoning"),
            response_format="json_object",
        ),
        post("/v1/chat/completions", messages=[{"role": "user", "content": secret}]),
    )
    assert set(found.facts) == {"whitespace", "repetition", "json", "arguments"}
    assert secret not in json.dumps(dict(found.facts))


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["json_object", "json_schema"])
def test_text_is_judged_as_json_where_a_json_format_was_asked_for(name: str) -> None:
    valid = examine(chat(whole('{"a": 1}'), response_format=name), BARE)
    assert (valid.json_valid, valid.json_damage, valid.flags) == (True, None, ())
    damaged = examine(cut(spoken(['{"a": ', '"b']), response_format=name), BARE)
    assert (damaged.json_valid, damaged.json_damage, damaged.flags) == (False, "in_string", ("json_damaged",))
    assert damaged.facts["json"] == {"damage": "in_string", "depth": 1, "at": 6}


@pytest.mark.parametrize("name", ["text", "auto", "grammar", None])
def test_text_is_not_judged_as_json_otherwise(name: str | None) -> None:
    assert examine(chat(whole('{"a": '), response_format=name), BARE).json_valid is None


def test_the_first_damaged_of_several_texts_is_told() -> None:
    found = examine(chat(whole("{}"), whole("[1,"), whole("nothing"), response_format="json_object"), BARE)
    assert (found.json_valid, found.json_damage) == (False, "after_comma")


def test_no_text_at_all_is_damaged_json_only_where_an_answer_was_due() -> None:
    """Not where the model called a tool or refused, where the run failed, and where the request only looks at a run."""
    asked = {"response_format": "json_object"}
    assert examine(chat(**asked), BARE).json_damage == "empty"
    assert examine(cut(whole("hm", "reasoning"), **asked), BARE).json_damage == "empty"
    for other in (
        chat(whole("{}", "arguments"), stop_reason="tool_call", **asked),
        chat(whole("I can't.", "refusal"), **asked),
        chat(status="failed", stop_reason="error", **asked),
        chat(action="retrieve", **asked),
        chat(is_run=False, **asked),
        chat(status="in_progress", stop_reason=None, **asked),
    ):
        assert examine(other, BARE).json_valid is None


def test_each_call_has_a_verdict_whatever_the_format() -> None:
    found = examine(
        cut(
            spoken(['{"city"', ': "Oslo"}'], "arguments", name="weather"),
            spoken(['{"city', '": "Os'], "arguments", name="weather", ended=False),
            spoken([], "arguments", name="now"),
            spoken([], "arguments", name="later", ended=False),
        ),
        BARE,
    )
    assert found.flags == ("arguments_damaged",)
    assert found.facts["arguments"] == [
        {"name": "weather", "valid": True},
        {"name": "weather", "valid": False, "damage": "in_string", "depth": 1, "at": 9, "chars": 12},
        {"name": "now", "valid": True},
        {"name": "later", "valid": False, "damage": "empty", "at": 0, "chars": 0},
    ]
    assert found.json_valid is None


def test_a_free_form_tool_input_is_no_json() -> None:
    assert "arguments" not in examine(chat(whole("print(1)", "input")), BARE).facts


# -- JSON mode without the word ---------------------------------------------------------------------------------------

JSON_MODE: dict[str, Any] = {"response_format": {"type": "json_object"}}
USER = [{"role": "user", "content": "List three colours."}]


def asked(dialect: str, path: str, **body: Any) -> tuple[str, ...]:
    """The flags of a good answer to that request."""
    reading = Reading(dialect=dialect, spoken=(whole("{}"),), response_format="json_object", stop_reason="stop")
    return flags(reading, post(path, **body))


def test_json_mode_without_the_word_json_in_any_message_is_told() -> None:
    told = ("json_not_asked_for",)
    tool = {"type": "function", "function": {"name": "json", "description": "JSON"}}
    assert asked("chat", "/v1/chat/completions", messages=USER, model="json-4", tools=[tool], **JSON_MODE) == told
    assert asked("responses", "/v1/responses", input="Three colours", text={"format": JSON_MODE}) == told
    thread = {"messages": USER}
    assert asked("assistants", "/v1/threads/runs", thread=thread, instructions="Be brief", **JSON_MODE) == told


@pytest.mark.parametrize("word", ["JSON", "json", "as Json, please", "a jsonl file"])
def test_the_word_counts_in_any_case_and_in_any_message(word: str) -> None:
    parts = [{"role": "system", "content": [{"type": "text", "text": word}]}, *USER]
    assert asked("chat", "/v1/chat/completions", messages=parts, **JSON_MODE) == ()
    assert asked("responses", "/v1/responses", input=USER, instructions=word) == ()
    thread = {"messages": [{"role": "user", "content": word}]}
    assert asked("assistants", "/v1/threads/runs", thread=thread, instructions="Be brief", **JSON_MODE) == ()


def test_the_word_is_not_missed_where_messages_are_not_all_known() -> None:
    """Instructions of the assistant, messages of a thread, earlier responses, bodies that were not kept."""
    assert asked("assistants", "/v1/threads/runs", thread={"messages": USER}, **JSON_MODE) == ()
    assert asked("assistants", "/v1/threads/t/runs", instructions="Be brief", **JSON_MODE) == ()
    assert asked("responses", "/v1/responses", input="Go on", previous_response_id="resp_1") == ()
    assert asked("responses", "/v1/responses", input="Go on", prompt={"id": "pmpt_1"}) == ()
    assert asked("chat", "/v1/chat/completions", **JSON_MODE) == ()
    assert flags(chat(whole("{}"), response_format="json_object"), BARE) == ()


def test_a_schema_says_it_all() -> None:
    body = post("/v1/chat/completions", messages=USER)
    assert flags(chat(whole("{}"), response_format="json_schema"), body) == ()


# -- runaways ---------------------------------------------------------------------------------------------------------


def test_a_whitespace_runaway_is_told_with_what_it_wasted() -> None:
    found = examine(cut(spoken(['{"a": 1,', *[" \n"] * 200]), response_format="json_object"), BARE)
    assert found.flags == ("json_damaged", "whitespace_runaway")
    assert found.facts["whitespace"] == {
        "of": "text",
        "at": 8,
        "chars": 400,
        "pieces": 200,
        "position": 6,
        "elapsed_us": 1000,
        "to_end": True,
    }
    assert (found.text_chars, found.blank_chars) == (408, 400)


def test_a_runaway_in_arguments_or_reasoning_does_not_count_as_text() -> None:
    found = examine(cut(whole('{"a":' + "\n" * 100, "arguments"), whole("So:" + "\n" * 100, "reasoning")), BARE)
    assert found.flags == ("arguments_damaged", "whitespace_runaway")
    assert found.facts["whitespace"]["of"] == "arguments"
    assert found.text_chars is None


def test_a_repetition_runaway_is_told() -> None:
    found = examine(cut(spoken(["Well. ", *["I do not know. "] * 300])), BARE)
    assert "repetition_runaway" in found.flags
    told = found.facts["repetition"]
    assert (told["of"], told["period"], told["to_end"]) == ("text", 15, True)
    assert told["position"] in (5, 6)


def test_a_valid_list_of_zeros_is_no_repetition() -> None:
    zeros = "[" + "0, " * 1500 + "0]"
    assert flags(chat(whole(zeros), response_format="json_object")) == ()
    assert flags(chat(whole(zeros, "arguments"))) == ()
    assert flags(cut(whole(zeros[:-1]), response_format="json_object")) == ("json_damaged", "repetition_runaway")


def test_valid_records_that_are_much_alike_are_no_repetition() -> None:
    """However many; the same one over and over is."""
    alike = [{"id": number, "name": f"item {number}", "active": True, "tags": ["a", "b"]} for number in range(400)]
    assert flags(chat(whole(json.dumps(alike, indent=2)), response_format="json_object")) == ()
    assert flags(cut(whole(json.dumps(alike, indent=2)[:-1]), response_format="json_object")) == (
        "json_damaged",
        "repetition_runaway",
    )
    same = json.dumps([alike[0]] * 400, indent=2)
    assert flags(chat(whole(same), response_format="json_object")) == ("repetition_runaway",)


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "starved"),
    [
        (cut(whole("Let me think", "reasoning")), True),
        (cut(whole("Let me think", "reasoning"), whole(" \n")), True),
        (cut(reasoning_tokens=90, output_tokens=100), True),
        (cut(whole("Sure"), reasoning_tokens=95, output_tokens=100), True),
        (cut(whole("<think>So I"), reasoning_tokens=0, output_tokens=100), True),
        (cut(whole("<think>So</think>\n")), True),
        (cut(whole("<think>So</think>\nHere is a long answer to it all")), False),
        (cut(reasoning_tokens=89, output_tokens=100), False),
        (cut(), False),
        (cut(whole("Here is a long answer to it all"), reasoning_tokens=95, output_tokens=100), False),
        (cut(whole("Let me think", "reasoning"), whole('{"a"', "arguments")), False),
        (cut(whole("Let me think", "reasoning"), whole("Here")), False),
        (chat(whole("Let me think", "reasoning")), False),
    ],
)
def test_reasoning_that_ate_the_budget_is_told(reading: Reading, starved: bool) -> None:
    assert ("reasoning_starved" in flags(reading)) == starved


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("and so the wo", "word"),
        ("1. one\n2. two\n3", "word"),
        ("и так дал", "word"),
        ("and so the ", "sentence"),
        ("first, second,", "sentence"),
        ("as follows (", "sentence"),
        ("```python\nx = 1;\n", "fence"),
        ("````\n```\n", "fence"),
        ("```python\nx = 1\n```\n", None),
        ("All done.", None),
        ("All done!\n", None),
        ('He said "no"', None),
        ("| a | b |", None),
        ("这就是全部的内", None),
        ("これで終わ", None),
        ("그래서 나는", None),
        ("", None),
    ],
)
def test_an_end_in_the_middle_is_told_where_a_limit_cut(text: str, end: str | None) -> None:
    """Not guessed for scripts that put no spaces between words, or whose words do not tell."""
    found = examine(cut(whole(text)), BARE)
    assert (found.facts.get("cut_end"), "mid_word_end" in found.flags) == (end, end is not None)


def test_a_silent_cut_is_told_where_the_cap_is_used_up() -> None:
    """The provider says `stop` although the cap is reached, and the text says otherwise."""
    text = whole("and so the wo")
    assert flags(chat(text, max_completion_tokens=64, output_tokens=64)) == ("mid_word_end",)
    assert flags(chat(text, max_completion_tokens=64, output_tokens=63)) == ()
    assert flags(chat(text, max_completion_tokens=64)) == ()
    assert flags(chat(text)) == ()
    assert flags(chat(whole("Done."), max_completion_tokens=64, output_tokens=64)) == ()


def test_json_is_judged_by_its_own_rules_and_not_by_its_end() -> None:
    assert flags(cut(whole('{"a": 1'), response_format="json_object")) == ("json_damaged",)


# -- published streams ------------------------------------------------------------------------------------------------

PATHS = {
    "assistants": "/v1/threads/thread_1/runs",
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini:streamGenerateContent?alt=sse",
    "other": "/v1/other",
}

#: All that is found in them. Those that end in a word were cut at a small limit by their authors; those with damaged
#: arguments are recordings of just that.
FOUND = {
    "mid_word_end": {
        "anthropic-041-incomplete-dd-trace-py-anthropic-completion-stream-cache-read",
        "anthropic-044-incomplete-dd-trace-py-anthropic-completion-stream-helper",
        "anthropic-046-incomplete-mirascope-async-stream",
        "anthropic-047-incomplete-mirascope-stream",
        "anthropic-048-incomplete-dd-trace-py-anthropic-completion-stream",
        "assistants-043-incomplete-ruby-openai-runs-streamed-create",
        "chat-063-incomplete-dd-trace-py-chat-completion-stream-prompt-caching-cache-read",
        "chat-066-incomplete-magentic-test-openai-chat-model-completion",
        "chat-067-incomplete-dd-trace-py-chat-completion-stream-prompt-caching-cache-writ",
        "chat-068-incomplete-dd-trace-py-llama-index-complete-stream",
        "chat-069-incomplete-mirascope-stream",
        "gemini-021-incomplete-mirascope-async-stream",
        "responses-067-incomplete-dd-trace-py-response-stream-incomplete",
        "responses-068-incomplete-mirascope-async-stream",
    },
    "arguments_damaged": {
        "anthropic-045-incomplete-anthropic-sdk-typescri-incomplete-partial-json-response",
        "anthropic-050-incomplete-anthropic-sdk-python-incomplete-partial-json-response",
    },
}


def published(stream: Stream) -> Request:
    """The request of a published stream, as far as it is known."""
    told = json.loads(stream.sidecar.read_bytes()).get("request") or {}
    return post(told.get("url") or PATHS[stream.protocol], **(told.get("params") or {"stream": True}))


def test_no_published_stream_gives_a_false_alarm() -> None:
    need_corpus()
    found: dict[str, set[str]] = {}
    judged: Counter[bool | None] = Counter()
    for stream in corpus():
        name = {"anthropic": "messages", "other": None}.get(stream.protocol, stream.protocol)
        recording, events = recorded(published(stream), stream.path.read_bytes(), dialect=name)
        told = examine(by_name(recording.dialect).read(recording, events), recording.request)
        judged[told.json_valid] += 1
        for flag in told.flags:
            found.setdefault(flag, set()).add(stream.id)
    assert found == FOUND
    assert judged[False] == 0
    assert judged[True] > 0
