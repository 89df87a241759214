"""`recorder show`: the whole story of a run, from golden streams in a real store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from recorder import reader
from recorder.recording import Request
from recorder.store import Append, Store
from tests.command import invoke, json_lines
from tests.golden import sidecar, stream
from tests.payloads import ASSISTANTS_DONE, run, run_event
from tests.tape import JSON, post, recorded, request

CREATE = post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True)


def keep(store: Store, asked: Request, answer: bytes | None, **how: Any) -> UUID:
    """Puts a recording into the store, ended; returns its id."""
    recording, events = recorded(asked, answer, **how)
    rows = [(recording.recording_id.bytes, *event) for event in events]
    store.append([Append(recording.recording_id, recording, rows, recording.ending)])
    return recording.recording_id


def shown(path: Path, name: str) -> str:
    """What `show` says of a golden stream."""
    with Store.open(path, create=True) as store:
        keep(store, *stream(name))
    done = invoke("show", "@last", store=path)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorder.db"


def test_a_cut_off_run_is_told_from_the_request_to_the_text(path: Path) -> None:
    """In order: asked, with what was not sent; why, with the evidence; caps as bars; steps; text."""
    told = shown(path, "assistants-incomplete-output")
    asked = sidecar("assistants-incomplete-output")["request"]["body"]
    places = [
        told.index(text)
        for text in (
            "Asked\n",
            *(f"  {name} = " for name in asked),
            "  not sent: ",
            "Why it stopped\n",
            "incomplete (max_completion_tokens). The output reached its token limit (256 of 256 tokens)",
            "event incomplete, incomplete   (event ",
            "reason: max_completion_tokens   (event ",
            "] 256 of 256 tokens (100 %)",
            "Steps\n",
            "   | ",
        )
    ]
    assert places == sorted(places)
    absent = told.split("  not sent: ", 1)[1].split("\n", 1)[0].split(", ")
    assert "temperature" in absent or "temperature" in asked
    assert set(absent).isdisjoint(asked)


def test_signals_that_contradict_each_other_are_named(path: Path) -> None:
    told = shown(path, "assistants-completed-says-incomplete")
    assert "contradicting each other: " in told
    assert "[disagreement]" in told


def test_parameters_that_the_server_changed_or_that_are_outside_its_limits_are_named(path: Path) -> None:
    asked = post("/v1/threads/thread_1/runs", assistant_id="asst_1", temperature=7, metadata=None, stream=True)
    with Store.open(path, create=True) as store:
        keep(store, asked, run_event("completed", temperature=1.0) + ASSISTANTS_DONE)
    told = invoke("show", "@last", store=path).stdout
    assert "  temperature = 7\n" in told
    assert "  metadata = null\n" in told
    assert "the server took temperature = 1.0 instead of 7\n" in told
    assert "outside the limits: temperature 7; 0 to 2\n" in told


def test_a_run_of_several_exchanges_is_one_story(path: Path) -> None:
    """The stream that saw the end stands for the run; each part is listed, and the wait for tools apart."""
    with Store.open(path, create=True) as store:
        keep(store, CREATE, run_event("requires_action") + ASSISTANTS_DONE, started_at=0)
        submit = post("/v1/threads/thread_torture/runs/run_torture/submit_tool_outputs", tool_outputs=[], stream=True)
        keep(store, submit, run_event("completed") + ASSISTANTS_DONE, started_at=5_000_000)
        poll = request("GET", "/v1/threads/thread_torture/runs/run_torture")
        keep(store, poll, json.dumps(run("completed")).encode(), headers=JSON, started_at=9_000_000)
    told = invoke("show", "run_torture", store=path).stdout
    assert "3 recordings" in told
    assert "waited 4." in told
    assert [line[0] for line in told.splitlines() if line[1:3] == ". "] == ["1", "2", "3"]
    (shown_json,) = json_lines("show", "run_torture", store=path)
    assert [part["action"] for part in shown_json["parts"]] == ["create", "submit_tool_outputs", "retrieve"]
    assert shown_json["waited_ms"] is not None
    assert shown_json["because"] == "The model had said what it had to say."


def test_runs_that_follow_each_other_are_linked_and_not_merged(path: Path) -> None:
    with Store.open(path, create=True) as store:
        first = keep(store, *stream("responses-chain-1"))
        second = keep(store, *stream("responses-chain-2"))
    assert len(json_lines("runs", store=path)) == 2
    before, after = (json_lines("show", str(one), store=path)[0] for one in (first, second))
    assert (before["previous_run_id"], before["next_run_ids"]) == (None, [str(second)])
    assert (after["previous_run_id"], after["next_run_ids"]) == (str(first), [])
    assert f"(run {first})" in invoke("show", str(second), store=path).stdout


def test_what_nobody_has_read_yet_is_read_when_it_is_looked_at(path: Path) -> None:
    """The recording process ended before the reading was made."""
    with Store.open(path, create=True) as store:
        recording_id = keep(store, *stream("assistants-completed"))
        assert store.unread() == [recording_id]
    (listed,) = json_lines("runs", store=path)
    assert listed["status"] == "completed"
    with Store.open(path) as store:
        stored = store.reading(recording_id)
        assert stored is not None
        assert stored.reader_version == reader.VERSION


def test_an_open_recording_is_told_as_far_as_it_has_come(path: Path) -> None:
    asked, answer = stream("assistants-completed")
    recording, events = recorded(asked, answer)
    with Store.open(path, create=True) as store:
        rows = [(recording.recording_id.bytes, *event) for event in events[:20]]
        store.append([Append(recording.recording_id, replace(recording, ending=None), rows)])
    told = invoke("show", "@last", store=path)
    assert told.exit_code == 0, told.stderr
    assert "It is still being recorded." in told.stdout
    assert "  not sent: " in told.stdout


HOSTILE = (
    rb'{"model":"m","messages":[],"stop":"\ud800\u001b[31m\u202e","top_p":1e999,"user":{"$omitted":{"bytes":[1]}},'
)


@pytest.mark.parametrize("is_open", [True, False])
def test_hostile_parameters_are_shown_as_texts(path: Path, is_open: bool) -> None:
    """Lone surrogates, control characters, numbers that JSON has none for, what looks like our own mark, too many."""
    body = HOSTILE + b",".join(b'"k%d":0' % number for number in range(300)) + b"}"
    asked = request("POST", "/v1/chat/completions", body)
    with Store.open(path, create=True) as store:
        recording, events = recorded(asked, b"data: [DONE]\n\n")
        rows = [(recording.recording_id.bytes, *event) for event in (events[:-1] if is_open else events)]
        ending = None if is_open else recording.ending
        store.append([Append(recording.recording_id, replace(recording, ending=None), rows, ending)])
    told = invoke("show", "@last", store=path)
    assert told.exit_code == 0, told.stderr
    assert "\x1b[31m" not in told.stdout
    assert "\\x1b[31m\\u202e\n" in told.stdout
    assert '  user = {"$omitted": {"bytes": [1]}}\n' in told.stdout
    assert "  (and 105 more)\n" in told.stdout
    (line,) = invoke("show", "@last", "--json", store=path).stdout.splitlines()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert len(json.loads(line, parse_constant=refuse)["parts"][0]["parameters"]) == 305


def test_a_reading_of_an_older_recorder_still_shows_the_whole_request(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *stream("assistants-completed"))
        reader.read_due_all(store)
        with store._backend.write() as connection:
            connection.exec_driver_sql("UPDATE readings SET parameters = NULL")
    told = invoke("show", "@last", store=path).stdout
    assert all(f"  {name} = " in told for name in sidecar("assistants-completed")["request"]["body"])
    assert "not kept" not in told


def test_where_content_is_not_kept_the_request_is_told_without_it(path: Path) -> None:
    asked = post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": "secret"}], n=1)
    with Store.open(path, create=True) as store:
        recording, events = recorded(asked, b"data: [DONE]\n\n", content="facts")
        bare = replace(recording, ending=None, request=replace(asked, body=None))
        rows = [(recording.recording_id.bytes, *event) for event in events]
        store.append([Append(recording.recording_id, bare, rows, recording.ending)])
        reader.read_rows(store, recording, rows)
    told = invoke("show", "@last", store=path).stdout
    assert "  messages = (36 bytes, not kept)\n  n = 1\n  (the request's body was not kept)\n  not sent: " in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("answer", "ending", "because"),
    [
        (None, "connect_error", "No answer came."),
        (b"", "eof", "Nothing says why: the stream was cut before the protocol said that it was over."),
    ],
)
def test_no_answer_is_told_apart_from_one_that_was_cut(path: Path, answer: bytes, ending: str, because: str) -> None:
    with Store.open(path, create=True) as store:
        keep(store, CREATE, answer, ending=ending)
    assert json_lines("show", "@last", store=path)[0]["because"] == because
