"""`recorder show --timeline` and `--at` as a shell sees them."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from recorder import match
from recorder.cli.timeline import tell_timeline
from recorder.recording import uuid7
from recorder.store import Store
from tests.command import invoke, json_lines
from tests.golden import stream
from tests.kept import keep, without_payloads
from tests.needs import ROOT
from tests.payloads import ASSISTANTS_DONE, run, run_event
from tests.tape import JSON, request
from tests.test_cli_diff import HOSTILE, chat
from tests.test_timeline import CREATE, SECOND, SUBMIT, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorder.db"


def told(path: Path, *arguments: str) -> str:
    done = invoke("show", "@last", *arguments, store=path)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def golden(path: Path, name: str, **how: Any) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *stream(name), **how)


def lanes(text: str) -> dict[str, str]:
    """The lanes of the only raster by their names."""
    found = (line.partition(" |") for line in text.splitlines())
    return {name.strip(): rest[:-1] for name, mark, rest in found if mark and rest.endswith("|")}


def test_the_timeline_tells_the_request_the_head_the_events_and_the_ending(path: Path) -> None:
    golden(path, "chat-tool-calls")
    text = told(path, "--timeline")
    places = [
        text.index(words)
        for words in (
            "1. POST https://api.openai.com/v1/chat/completions\n",
            "head after 1.0 ms: HTTP/1.1 200",
            "content-type: text/event-stream",
            "lifecycle |",
            "arguments |",
            "one column is ",
            "   3-7 ",
            "ended by eof after ",
            "longest gap ",
            "ok  terminal event: requires_action (tool_calls)   (event 14)",
            "?   sequence numbers",
        )
    ]
    assert places == sorted(places)
    assert 'message x5  "{"' in text


def test_every_event_is_in_the_column_of_its_time(tmp_path: Path) -> None:
    """The drawing against the times themselves: nothing is moved to where there is room for it."""
    width = 64
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        line = stored(store, "assistants-completed")
    (track,) = line.tracks
    drawn = lanes(click.unstyle("\n".join(tell_timeline(line, width))))
    for mark in track.marks:
        column = min(mark.elapsed_us * width // track.lasts_us, width - 1)
        assert drawn[mark.what.value][column] != " "
    filled = {(mark.what.value, min(mark.elapsed_us * width // track.lasts_us, width - 1)) for mark in track.marks}
    assert sum(cell != " " for name, lane in drawn.items() if name != "how many" for cell in lane) == len(filled)
    numbers = [int(cell) for cell in drawn["how many"] if cell.isdigit()]
    assert sum(numbers) == sum(mark.offset is not None for mark in track.marks) or "+" in drawn["how many"]
    assert {len(lane) for lane in drawn.values()} == {width}


def test_a_stall_is_drawn_as_long_as_it_was(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *stream("chat-stop"), chunk=300, step_us=2 * SECOND)
    text = told(path, "--timeline")
    assert "nothing for " not in text  # as slow as everything in it: no stall
    assert "stalls" not in lanes(text)


def test_waits_tries_and_retries_are_told(path: Path) -> None:
    key, call = match.key(CREATE), uuid7()
    with Store.open(path, create=True) as store:
        keep(store, CREATE, b"{}", headers=JSON, status=429, match_key=key, call=call, started_at=SECOND)
        keep(
            store,
            CREATE,
            run_event("requires_action") + ASSISTANTS_DONE,
            match_key=key,
            call=call,
            started_at=2 * SECOND,
        )
        last = keep(store, SUBMIT, run_event("completed") + ASSISTANTS_DONE, started_at=6 * SECOND)
    done = invoke("show", str(last.recording_id), "--timeline", store=path)
    assert done.exit_code == 0, done.stderr
    assert "another try of the same call, 1.00 s earlier: HTTP 429 (recording " in done.stdout
    assert "2 recordings in 4." in done.stdout
    assert "after the one before it ended: the run waited for its tools" in done.stdout
    rows = json_lines("show", str(last.recording_id), "--timeline", store=path)
    assert [row["same_call"] for row in rows if row["about"] == "attempt"] == [True]


def test_a_poll_is_a_line_and_not_a_raster(path: Path) -> None:
    with Store.open(path, create=True) as store:
        first = keep(store, CREATE, run_event("completed") + ASSISTANTS_DONE)
        poll = request("GET", "/v1/threads/thread_torture/runs/run_torture")
        keep(store, poll, json.dumps(run("completed")).encode(), headers=JSON, started_at=9 * SECOND)
    text = invoke("show", str(first.recording_id), "--timeline", store=path).stdout
    assert text.count("one column is") == 1
    assert "asked at 9.00 s: HTTP 200 after " in text


def test_json_is_one_object_a_line_for_every_event(path: Path) -> None:
    golden(path, "assistants-completed")
    rows = json_lines("show", "@last", "--timeline", store=path)
    events = [row for row in rows if row["about"] == "event"]
    with Store.open(path) as store:
        assert [row["position"] for row in events] == [event.position for event in store.events(store.resolve("@last"))]
    assert {row["about"] for row in rows} == {"run", "recording", "event", "check"}
    assert rows[0]["about"] == "run"
    assert all(row["offset"] is not None for row in events if row["what"] == "text")


def test_what_the_client_had_is_told_at_a_time_an_event_a_byte_and_the_end(path: Path) -> None:
    golden(path, "chat-stop")
    whole = invoke("show", "@last", "--at", "end", "--json", store=path)
    (end,) = json.loads(whole.stdout)["parts"]
    grown = []
    for event in range(end["position"] + 1):
        (state,) = json.loads(invoke("show", "@last", "--at", f"event:{event}", "--json", store=path).stdout)["parts"]
        grown.append(state["text"] or "")
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(grown))
    assert grown[-1] == end["text"]
    assert len(set(grown)) > 2
    assert f"   | {end['text'].splitlines()[0]}" in told(path, "--at", "end")
    assert "no answer yet" in told(path, "--at", "0s")
    assert "belong to an event that was not whole yet" in told(path, "--at", "byte:100")


def test_raw_bytes_are_exact_and_alone_on_stdout(path: Path) -> None:
    """Through a real pipe: what is no text must come out as it is."""
    body = b'data: {"x":"\xff\x00\xfe"}\r\n\r\n: \x80\n\ndata: [DONE]\n\n'
    with Store.open(path, create=True) as store:
        keep(store, chat("")[0], body)
    for size in (13, len(body)):
        command = [
            sys.executable,
            "-m",
            "recorder",
            "--store",
            str(path),
            "show",
            "@last",
            "--at",
            f"byte:{size}",
            "--raw",
        ]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
        assert done.stdout == body[:size]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--raw"], 2),
        (["--at", "noon"], 2),
        (["--at", "event:9999"], 2),
        (["--at", "end", "--timeline"], 2),
        (["--cost", "--timeline"], 2),
    ],
)
def test_what_makes_no_sense_is_a_mistake_of_use(path: Path, arguments: list[str], code: int) -> None:
    golden(path, "chat-stop")
    assert invoke("show", "@last", *arguments, store=path).exit_code == code


def test_texts_of_strangers_are_inert(path: Path) -> None:
    """In texts, names of events, headers and errors."""
    asked, body = chat(HOSTILE)
    error = f"event: {HOSTILE[:8]}\ndata: 1\n\nevent: error\ndata: {json.dumps({'error': {'message': HOSTILE}})}\n\n"
    headers = (("content-type", "text/event-stream"), ("x-request-id", HOSTILE[:8]))
    with Store.open(path, create=True) as store:
        keep(store, asked, error.encode() + body, headers=headers)
    for arguments in (["--timeline"], ["--at", "end"], ["--timeline", "--json"], ["--at", "end", "--json"]):
        text = told(path, *arguments)
        assert not {"\x1b", "\x07", "\u202e", "\x00"} & set(text)
    assert "\\x1b[2J" in told(path, "--timeline")


def test_without_payloads_the_raster_stands_and_what_is_missing_is_said(path: Path) -> None:
    with Store.open(path, create=True) as store:
        without_payloads(store, "assistants-completed")
    text = told(path, "--timeline")
    assert "text |" in text
    assert "?   deltas against the completed text: it was recorded with content=facts" in text
    assert "what was said is not known: it was recorded with content=facts" in told(path, "--at", "event:9")
    done = invoke("show", "@last", "--at", "event:9", "--raw", store=path)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "has no payloads" in done.stderr


def test_a_stream_of_many_events_is_listed_in_part_and_drawn_whole(path: Path) -> None:
    """Names that alternate make a row each."""
    frames = b"".join(b"event: %b\ndata: {}\n\n" % name for _ in range(400) for name in (b"ping", b"thread.run.queued"))
    with Store.open(path, create=True) as store:
        keep(store, CREATE, frames)
    text = told(path, "--timeline")
    assert "rows left out here; --json has every event)" in text
    assert len(json_lines("show", "@last", "--timeline", store=path)) > 800
