"""The parameter set of the Assistants protocol: as it was sent, within which limits, and as the server echoes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.dialects import by_name
from tests.assistants import POLL, SUBMIT
from tests.payloads import ASSISTANTS_DONE, frame, run, run_event
from tests.tape import JSON, post, read, request

# Every parameter of RunCreateParamsStreaming, but for `include`, which goes into the query.
ASKED: dict[str, Any] = {
    "assistant_id": "asst_1",
    "additional_instructions": "Be brief.",
    "additional_messages": [{"role": "user", "content": "hi"}],
    "instructions": "Answer.",
    "max_completion_tokens": 256,
    "max_prompt_tokens": 256,
    "metadata": {"a": "b"},
    "model": "gpt-4o",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "stream": True,
    "temperature": 0,
    "tool_choice": "none",
    "tools": [],
    "top_p": 0.5,
    "truncation_strategy": {"type": "auto"},
}

FILE_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def test_the_whole_parameter_set_is_kept_as_sent() -> None:
    """What was null is null, what was absent is absent, what nobody documented is there too."""
    for body in (ASKED, dict.fromkeys(ASKED) | {"assistant_id": "a"}, {"assistant_id": "a"}, ASKED | {"new": [1]}):
        asked = post("/v1/threads/thread_1/runs", **body)
        assert by_name("assistants").asked(asked) == body
        assert read(asked, ASSISTANTS_DONE).parameters == body
    both = post("/v1/threads/runs", assistant_id="a", thread={"messages": []}, tool_resources=None)
    assert read(both, ASSISTANTS_DONE).parameters == {
        "assistant_id": "a",
        "thread": {"messages": []},
        "tool_resources": None,
    }
    assert read(SUBMIT, ASSISTANTS_DONE).parameters == {"tool_outputs": [], "stream": True}
    assert read(POLL, json.dumps(run("completed")).encode(), headers=JSON).parameters == {}


@pytest.mark.parametrize(
    ("query", "include"),
    [
        ("", None),
        ("?include[]=" + FILE_CONTENT.replace("[*]", "%5B%2A%5D"), [FILE_CONTENT]),
        ("?include%5B%5D=" + FILE_CONTENT, [FILE_CONTENT]),
        ("?include=a&x=1&include=b#include=c", ["a", "b"]),
        ("?included=a", None),
        ("?include", [""]),
    ],
)
def test_include_is_read_from_the_query(query: str, include: list[str] | None) -> None:
    asked = by_name("assistants").asked(post(f"/v1/threads/thread_1/runs{query}", assistant_id="a"))
    assert asked == {"assistant_id": "a", **({} if include is None else {"include": include})}


def test_of_a_body_that_was_not_kept_nothing_is_known() -> None:
    """Which is not the same as: nothing was asked."""
    gone = request("POST", "/v1/threads/thread_1/runs", None)
    assert by_name("assistants").asked(gone) == {}
    assert read(gone, ASSISTANTS_DONE).parameters is None
    assert by_name("assistants").asked(request("POST", "/v1/threads/thread_1/runs", b"[1]")) == {}


def test_contents_are_the_parameters_that_are_texts_for_the_model() -> None:
    assert by_name("assistants").contents == {
        *("additional_instructions", "additional_messages", "content", "instructions", "messages", "thread"),
        *("tool_outputs", "tools"),
    }


# -- what the server says of it ----------------------------------------------------------------------------------------


def test_a_parameter_that_comes_back_changed_is_flagged() -> None:
    asked = post(
        "/v1/threads/t/runs",
        assistant_id="asst_torture",
        model="gpt-5",
        max_prompt_tokens=2048,
        max_completion_tokens=256,
        truncation_strategy={"type": "last_messages", "last_messages": 3},
        stream=True,
    )
    reading = read(asked, run_event("completed") + ASSISTANTS_DONE)
    assert reading.facts["echo_differs"] == {
        "model": ["gpt-5", "gpt-4o"],
        "max_prompt_tokens": [2048, 1024],
        "truncation_strategy": [
            {"type": "last_messages", "last_messages": 3},
            {"type": "auto", "last_messages": None},
        ],
    }
    assert (reading.model, reading.max_prompt_tokens, reading.truncation_strategy) == ("gpt-4o", 1024, "auto")
    assert "echo_differs" in reading.flags
    unechoed = read(asked, run_event("in_progress", max_prompt_tokens=None))
    assert unechoed.max_prompt_tokens == 2048
    assert unechoed.facts["echo_differs"]["max_prompt_tokens"] == [2048, None]


@pytest.mark.parametrize(
    ("asked", "echoed", "differs"),
    [
        ({"model": "gpt-4o"}, {"model": "gpt-4o"}, {}),
        # a snapshot of the model is the model
        ({"model": "gpt-4o"}, {"model": "gpt-4o-2024-08-06"}, {}),
        ({"model": "gpt-4o"}, {"model": "gpt-4o-mini"}, {"model": ["gpt-4o", "gpt-4o-mini"]}),
        ({"temperature": 1}, {"temperature": 1.0}, {}),
        ({"temperature": 0.5}, {"temperature": 1.0}, {"temperature": [0.5, 1.0]}),
        ({"top_p": None}, {"top_p": 1.0}, {}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": True}, {"parallel_tool_calls": [False, True]}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": None}, {"reasoning_effort": ["high", None]}),
        ({"max_completion_tokens": 300}, {"max_completion_tokens": 256}, {"max_completion_tokens": [300, 256]}),
        (
            {"metadata": {"a": "b"}},
            {"metadata": {"a": "b", "c": "d"}},
            {"metadata": [{"a": "b"}, {"a": "b", "c": "d"}]},
        ),
        ({"tool_choice": {"type": "file_search"}}, {"tool_choice": {"type": "file_search"}}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "auto"}, {"tool_choice": ["required", "auto"]}),
        (
            {"response_format": {"type": "text"}},
            {"response_format": "auto"},
            {"response_format": [{"type": "text"}, "auto"]},
        ),
        (
            {"truncation_strategy": {"type": "auto"}},
            {"truncation_strategy": {"type": "auto", "last_messages": None}},
            {},
        ),
        # what the server fills in changes nothing; which tools there are is content, so only told
        ({"tools": [{"type": "file_search"}]}, {"tools": [{"type": "file_search", "file_search": {"k": 1}}]}, {}),
        ({"tools": [{"type": "file_search"}]}, {"tools": []}, {"tools": None}),
        # a Run's instructions are those it worked with, the additional ones behind the others
        ({"instructions": "A."}, {"instructions": "A."}, {}),
        ({"instructions": "A."}, {"instructions": "B."}, {"instructions": None}),
        ({"instructions": "A.", "additional_instructions": "B."}, {"instructions": "A.B."}, {}),
        ({"instructions": "A.", "additional_instructions": "B."}, {"instructions": "A.\nB."}, {}),
        ({"instructions": "A.", "additional_instructions": "B."}, {"instructions": "C."}, {"instructions": None}),
        ({"additional_instructions": "B."}, {"instructions": "A.B."}, {}),
        # what a server does not echo, it does not change
        ({"temperature": 0.5, "instructions": "A."}, {}, {}),
    ],
)
def test_what_comes_back_is_compared_with_what_was_asked(
    asked: dict[str, Any], echoed: dict[str, Any], differs: dict[str, Any]
) -> None:
    told = {"id": "run_1", "object": "thread.run", "status": "completed", **echoed}
    body = {"assistant_id": "a", "stream": True, **asked}
    reading = read(post("/v1/threads/t/runs", **body), frame(told, "thread.run.completed") + ASSISTANTS_DONE)
    assert reading.facts.get("echo_differs", {}) == differs
    assert ("echo_differs" in reading.flags) == bool(differs)


def test_what_was_left_open_is_told_as_the_server_filled_it_in() -> None:
    """Where no column has it. A poll repeats what the create has said already."""
    whole = run("completed", temperature=0.7, instructions="A.", tools=[{"type": "file_search"}])
    asked = post("/v1/threads/t/runs", assistant_id="a", top_p=1)
    assert read(asked, json.dumps(whole).encode(), headers=JSON).facts["echoed"] == {
        "temperature": 0.7,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    assert "echoed" not in read(POLL, json.dumps(whole).encode(), headers=JSON).facts


@pytest.mark.parametrize(
    ("asked", "outside"),
    [
        ({**ASKED, "temperature": 2, "top_p": 1, "max_prompt_tokens": 256}, []),
        (dict.fromkeys(ASKED), []),
        ({"temperature": 2.1}, ["temperature"]),
        ({"temperature": -0.1, "top_p": 1.01}, ["temperature", "top_p"]),
        ({"max_prompt_tokens": 255, "max_completion_tokens": 16}, ["max_prompt_tokens", "max_completion_tokens"]),
        ({"truncation_strategy": {"type": "last_messages", "last_messages": 0}}, ["truncation_strategy.last_messages"]),
        ({"tools": [{"type": "file_search"}] * 20}, []),
        ({"tools": [{"type": "file_search"}] * 21}, ["tools"]),
        ({"instructions": "x" * 300_000}, []),
        ({"metadata": {str(number): "v" for number in range(17)}}, ["metadata"]),
        ({"metadata": {"k" * 65: "v" * 513}}, ["metadata key", "metadata value"]),
        ({"thread": {"metadata": {"k": "v" * 513}}}, ["thread metadata value"]),
        (
            {"tool_resources": {"file_search": {"vector_store_ids": ["a", "b"]}}},
            ["tool_resources.file_search.vector_store_ids"],
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n" * 65}}},
            ["response_format.json_schema.name"],
        ),
        ({"temperature": "hot", "tools": {}, "metadata": [], "truncation_strategy": 1}, []),
    ],
)
def test_what_lies_outside_the_references_limits_is_told(asked: dict[str, Any], outside: list[str]) -> None:
    reading = read(post("/v1/threads/t/runs", **{"assistant_id": "a", **asked}), ASSISTANTS_DONE)
    assert [found["parameter"] for found in reading.facts.get("limits", [])] == outside
    assert ("outside_limits" in reading.flags) == bool(outside)


@pytest.mark.parametrize(
    ("asked", "echoed", "word"),
    [
        (None, None, None),
        ("auto", None, "auto"),
        ({"type": "json_object"}, None, "json_object"),
        ({"type": "json_schema", "json_schema": {}}, {"type": "json_schema"}, "json_schema"),
        ({"type": "json_object"}, "auto", "auto"),
        (None, {"type": "grammar"}, "grammar"),
        ({"type": 7}, {}, None),
    ],
)
def test_the_response_format_is_the_one_in_effect(asked: Any, echoed: Any, word: str | None) -> None:
    told = {"id": "run_1", "object": "thread.run", "status": "completed", "response_format": echoed}
    body = frame(told, "thread.run.completed")
    assert read(post("/v1/threads/t/runs", assistant_id="a", response_format=asked), body).response_format == word
