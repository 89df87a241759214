"""A recording file that was recorded again: the same answer leaves it alone, a changed word changes one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recorder import exchange
from recorder.exchange import Entry
from recorder.recording import Request, Transport
from tests.rows import STARTED
from tests.tape import EVENT_STREAM, ORIGIN, post
from tests.taped import chat, said, taped

LATER = STARTED + 86_400_000_000


def rewritten(path: Path, *fresh: Entry) -> tuple[exchange.Written, list[tuple[str, str]]]:
    """What writing did, and the lines that are others now."""
    before = path.read_text().splitlines()
    done = exchange.write(path, fresh)
    after = path.read_text().splitlines()
    assert len(before) == len(after) or done.changed
    return done, [(old, new) for old, new in zip(before, after, strict=len(before) == len(after)) if old != new]


def anew(name: str, *words: str) -> Entry:
    """The same call on another day: other ids, times of day, dates, paddings, headers, pace."""
    frames = [
        b"data: %b\n\n"
        % json.dumps(
            {
                "id": f"chatcmpl-{name}",
                "object": "chat.completion.chunk",
                "created": 1_790_000_000 + len(name),
                "system_fingerprint": f"fp_{name}",
                "obfuscation": name * 3,
                "choices": [{"delta": {"content": word}}],
            }
        ).encode()
        for word in words
    ]
    headers = (*EVENT_STREAM, ("date", f"Sun, 0{len(name)} Mar 2026 12:00:00 GMT"), ("x-request-id", f"req_{name}"))
    return chat("hi", frames, headers=headers, started_at=LATER, step_us=len(name) * 100)


def test_an_unchanged_answer_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    """Also where ids, dates, paddings, volatile headers, times and cuts are others."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [anew("a", "Four", " ships")])
    done, changed = rewritten(path, anew("bcd", "Four", " ships"))
    assert (done.changed, done.kept, changed) == (False, 1, [])


def test_a_changed_word_changes_one_line(tmp_path: Path) -> None:
    """Whatever the times were this time."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("hi", said("Four", " ships")), chat("you", said("x"))])
    fresh = [
        chat("hi", said("Five", " ships"), step_us=77, started_at=LATER),
        chat("you", said("x"), started_at=LATER + 5),
    ]
    done, changed = rewritten(path, *fresh)
    assert done == exchange.Written(True, 2, 1)
    ((old, new),) = changed
    assert old.replace("Four", "Five") == new
    told = [event.data for event in next(exchange.read(path)).events]
    assert told == [event.data for event in fresh[0].events]


@pytest.mark.parametrize(
    "fresh",
    [
        chat("hi", said("Four", " ships", "!"), started_at=LATER),
        chat("hi", said("Four"), started_at=LATER),
        chat("hi", said("Four", " ships"), ending=Transport.RESET, started_at=LATER),
        chat("hi", said("Four", " ships"), status=429, started_at=LATER),
        chat("hi", [b"".join(said("Five", " ships"))], started_at=LATER),
    ],
    ids=["longer", "shorter", "reset", "status", "one chunk"],
)
def test_another_answer_is_taken_as_it_was_recorded(tmp_path: Path, fresh: Entry) -> None:
    """Its bytes, its ending, its status; and the file is a valid one."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("hi", said("Four", " ships"))])
    assert exchange.write(path, [fresh]).changed
    (back,) = exchange.read(path)
    assert [(event.kind, event.data) for event in back.events] == [(event.kind, event.data) for event in fresh.events]
    assert back.recording.ending is not None
    assert fresh.recording.ending is not None
    assert back.recording.ending.ending == fresh.recording.ending.ending
    assert back.recording.ending.http_status == fresh.recording.ending.http_status


def test_another_request_takes_the_place_of_the_old_one_and_the_others_stay(tmp_path: Path) -> None:
    """A changed prompt changes its own lines alone."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("one", said("a")), chat("two", said("b")), chat("three", said("c"))])
    before = path.read_text().splitlines()
    exchange.write(
        path, [chat(each, said(word), started_at=LATER) for each, word in (("one", "a"), ("2", "b"), ("three", "c"))]
    )
    after = path.read_text().splitlines()
    assert after[:6] == before[:6]
    assert after[11:] == before[11:]
    assert after[6] != before[6]


def test_calls_in_another_order_are_the_same_calls(tmp_path: Path) -> None:
    """Concurrent calls are recorded in whatever order they began."""
    path = tmp_path / "a.jsonl"
    one, two = chat("one", said("a")), chat("two", said("b"))
    exchange.write(path, [one, two])
    assert not exchange.write(path, [two, one]).changed


def test_repeats_that_change_places_are_a_change(tmp_path: Path) -> None:
    """The same request answered first so, then so: replay gives them in that order."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("hi", said("a")), chat("hi", said("b"))])
    assert exchange.write(path, [chat("hi", said("b")), chat("hi", said("a"))]).changed
    told = [b"".join(event.data or b"" for event in entry.events[1:2]) for entry in exchange.read(path)]
    assert b'"b"' in told[0]
    assert b'"a"' in told[1]


def run(name: str, word: str, then: str | None = None) -> list[Entry]:
    """A run of an assistant that asks for a tool: the second request's path holds the id that the first answer gave."""
    asked = post("/v1/threads/thread_0000000000000001/runs", assistant_id="asst_1", stream=True)
    begun = b'event: thread.run.requires_action\ndata: {"id":"run_%b","object":"thread.run"}\n\n' % name.encode()
    ended = b'event: thread.message.delta\ndata: {"id":"msg_%b","delta":"%b"}\n\n' % (name.encode(), word.encode())
    submit = post(f"/v1/threads/thread_0000000000000001/runs/run_{then or name}/submit_tool_outputs", tool_outputs=[])
    return [taped(asked, [(1000, begun)], started_at=LATER), taped(submit, [(1000, ended)], started_at=LATER + 1)]


def test_ids_that_one_call_takes_from_another_stay_together(tmp_path: Path) -> None:
    """All new ids and the same answers: the old file stays. One changed word: all of the new, never a mixture."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, run("aaaaaaaaaaaaaaa1", "yes"))
    assert not exchange.write(path, run("bbbbbbbbbbbbbbb2", "yes")).changed
    assert exchange.write(path, run("ccccccccccccccc3", "no")).changed
    text = path.read_text()
    assert "aaaaaaaaaaaaaaa1" not in text.replace('"run_aaaaaaaaaaaaaaa1","object"', "")
    assert text.count("run_ccccccccccccccc3") >= 1


def test_an_id_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    """The same ids by their places, but mixed up."""
    path = tmp_path / "a.jsonl"
    one = b'data: {"id":"a","tool_call_id":"a"}\n\n'
    other = b'data: {"id":"x","tool_call_id":"y"}\n\n'
    exchange.write(path, [chat("hi", [one])])
    assert exchange.write(path, [chat("hi", [other])]).changed


def test_what_is_not_to_be_kept_is_written_as_given(tmp_path: Path) -> None:
    """`keep=False` renews a file whose recordings have become old."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("hi", said("a"))])
    exchange.write(path, [chat("hi", said("a"), started_at=LATER)], keep=False)
    (back,) = exchange.read(path)
    assert back.recording.started_at == LATER


def test_what_is_added_leaves_the_old_lines(tmp_path: Path) -> None:
    """Reading a file, adding to it, writing it as given."""
    path = tmp_path / "a.jsonl"
    exchange.write(path, [chat("one", said("a"))])
    before = path.read_bytes()
    exchange.write(path, [*exchange.read(path), chat("two", said("b"), started_at=LATER)], keep=False)
    assert path.read_bytes().startswith(before)
    assert len(list(exchange.read(path))) == 2


def test_an_encoded_answer_is_compared_by_what_it_says(tmp_path: Path) -> None:
    """Compressed bytes differ with every id in them."""
    import gzip

    path = tmp_path / "a.jsonl"
    headers = (*EVENT_STREAM, ("content-encoding", "gzip"))
    request = Request("POST", f"{ORIGIN}/v1/chat/completions", (), b"{}", 2)

    def packed(name: str, word: str) -> Entry:
        return taped(request, [(1000, gzip.compress(b"".join(said(word, name=name))))], headers=headers)

    exchange.write(path, [packed("chatcmpl-one", "a")])
    assert not exchange.write(path, [packed("chatcmpl-two", "a")]).changed
    assert exchange.write(path, [packed("chatcmpl-two", "b")]).changed


def test_same_answer_says_what_counts() -> None:
    """Not whose it is; the words, the usage, the status."""
    one = chat("hi", said("a"))
    assert exchange.same_answer(one, Entry(replace(one.recording, tags={"a": "b"}), one.events))
    assert not exchange.same_answer(one, chat("hi", said("b")))
