"""Two runs compared: golden streams out of a real store, and hypotheses about texts and requests."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import match
from recorder.diff import SECTIONS, Comparison, compare, nearest_good, parse_ignore, side, word_diff
from recorder.diff.words import aligned
from recorder.errors import NotFound, UsageError
from recorder.recording import Request
from recorder.store import Store
from recorder.store.erasing import Wipe
from tests.golden import stream
from tests.kept import GOLDEN, bare, keep, put
from tests.payloads import ASSISTANTS_DONE, run_event
from tests.tape import post, recorded, request
from tests.test_timeline import CREATE, SUBMIT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "recorder.db", create=True) as opened:
        yield opened


def compared(store: Store, before: Any, after: Any, *ignored: str) -> Comparison:
    return compare(side(store, before.recording_id), side(store, after.recording_id), parse_ignore(ignored))


def paths(changes: Any) -> set[str]:
    return {change.path for change in changes}


# -- what must hold for all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_run_does_not_differ_from_itself(golden: tuple[Store, dict[str, Any]], name: str) -> None:
    store, ids = golden
    one, other = side(store, ids[name]), side(store, ids[name])
    assert compare(one, other).differing(timing=True) == []


@pytest.mark.parametrize("name", GOLDEN)
def test_what_differs_is_the_same_from_either_side(golden: tuple[Store, dict[str, Any]], name: str) -> None:
    """Against the next golden stream of its dialect: the same places, with the sides exchanged."""
    store, ids = golden
    kin = [each for each in GOLDEN if each.split("-")[0] == name.split("-", maxsplit=1)[0]]
    ours, theirs = side(store, ids[name]), side(store, ids[kin[(kin.index(name) + 1) % len(kin)]])
    there, back = compare(ours, theirs), compare(theirs, ours)
    assert there.differing(timing=True) == back.differing(timing=True)
    for section in ("parameters", "tool_calls", "usage", "outcome"):
        turned = {(each.path, each.after, each.before) for each in getattr(back, section)}
        assert {tuple(each) for each in getattr(there, section)} == turned
    assert [(each.same, each.before, each.after) for each in there.text] == [
        (each.same, each.after, each.before) for each in back.text
    ]
    assert [(each.same, each.before) for each in there.events] == [(each.same, each.after) for each in back.events]


@pytest.mark.parametrize(
    "name", ["assistants-completed", "chat-tool-calls", "responses-reasoning", "messages-tool-use"]
)
def test_chunks_and_times_make_no_difference(store: Store, name: str) -> None:
    """The same stream again, cut otherwise and slower, with ids of its own."""
    asked, body = stream(name)
    first = keep(store, asked, body)
    again = keep(store, asked, body, chunk=1000, step_us=900_000)
    found = compared(store, first, again)
    assert found.differing() == []
    assert found.differing(timing=True) == ["timing"]


def test_ids_that_play_the_same_part_are_the_same(store: Store) -> None:
    """A run, its steps and messages have ids of their own each time; calls answered in the wrong order differ."""
    asked, body = stream("assistants-completed")
    renamed = body
    for old, new in ((b"run_", b"run_Z"), (b"step_", b"step_Q"), (b"msg_", b"msg_Y"), (b"thread_", b"thread_X")):
        renamed = renamed.replace(old + body.split(old, 1)[1].split(b'"')[0], new + b"7" * 23)
    assert renamed != body
    first, second = keep(store, asked, body), keep(store, asked, renamed)
    assert compared(store, first, second).differing() == []


def answered(store: Store, number: int, *calls: str) -> Any:
    """A run of its own, whose request answers two calls and names one of them again; `number` is in all its ids."""
    one, two, again = (f"{call}_{number}" for call in calls)
    outputs = [{"tool_call_id": one, "output": "7"}, {"tool_call_id": two, "output": "8"}, {"id": again}]
    asked = post(
        f"/v1/threads/thread_{number}/runs/run_{number}/submit_tool_outputs", tool_outputs=outputs, stream=True
    )
    body = run_event("completed") + ASSISTANTS_DONE
    return keep(store, asked, body.replace(b"run_torture", b"run_%d" % number))


def test_ids_in_requests_count_by_the_part_they_play(store: Store) -> None:
    first = answered(store, 1, "call_a", "call_b", "call_a")
    assert compared(store, first, answered(store, 2, "call_x", "call_y", "call_x")).parameters == []
    mixed = compared(store, first, answered(store, 3, "call_x", "call_y", "call_y"))
    assert [tuple(each) for each in mixed.parameters] == [("ids", "call number 1", "call number 2")]


def test_ids_of_what_outlives_runs_are_parameters(store: Store) -> None:
    body = run_event("completed") + ASSISTANTS_DONE
    first = keep(
        store, post("/v1/threads/thread_1/runs", assistant_id="asst_aaaaaaaaaaaaaaaaaaaaaaa1", stream=True), body
    )
    other = keep(
        store, post("/v1/threads/thread_2/runs", assistant_id="asst_bbbbbbbbbbbbbbbbbbbbbbb2", stream=True), body
    )
    assert paths(compared(store, first, other).parameters) == {"body.assistant_id"}


# -- section by section ------------------------------------------------------------------------------------------------


def chat(**asked: Any) -> Request:
    return post("/v1/chat/completions", **{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], **asked})


def test_parameters_are_compared_by_value_and_named_by_their_place(store: Store) -> None:
    body = stream("chat-stop")[1]
    first = keep(store, chat(temperature=0.2, metadata={"a": 1, "b": 2}, stream=True), body)
    reordered = chat(stream=True, metadata={"b": 2, "a": 1}, temperature=0.2)
    assert compared(store, first, keep(store, reordered, body)).parameters == []
    changed = keep(store, chat(temperature=0.7, metadata={"a": 1}, stream=True, seed=None), body)
    found = compared(store, first, changed).parameters
    assert {tuple(each) for each in found} == {
        ("body.temperature", "0.2", "0.7"),
        ("body.metadata.b", "2", None),
        ("body.seed", None, "null"),
    }


def test_long_values_are_whole(store: Store) -> None:
    body = stream("chat-stop")[1]
    text = "word " * 500
    first = keep(store, chat(messages=[{"role": "user", "content": text + "one"}]), body)
    other = keep(store, chat(messages=[{"role": "user", "content": text + "two"}]), body)
    (change,) = compared(store, first, other).parameters
    assert (change.before, change.after) == (json.dumps(text + "one"), json.dumps(text + "two"))


def test_credentials_in_parameters_are_not_shown(store: Store) -> None:
    secret = "sk-proj-" + "a1B2" * 12
    body = stream("chat-stop")[1]
    first = keep(store, chat(api_key="x" * 40), body)
    other = keep(store, chat(api_key="y" * 40, note=secret), body)
    told = str(compared(store, first, other).parameters)
    assert "xxxx" not in told
    assert "yyyy" not in told
    assert secret not in told


def test_how_many_pieces_a_text_came_in_makes_no_difference_but_an_event_more_does(store: Store) -> None:
    def answer(*pieces: str, extra: bytes = b"") -> bytes:
        frames = [
            json.dumps(
                {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": one}}]}
            )
            for one in pieces
        ]
        end = json.dumps({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        return "".join(f"data: {one}\n\n" for one in (*frames, end)).encode() + extra + b"data: [DONE]\n\n"

    first = keep(store, chat(stream=True), answer("Hello ", "world"))
    same = keep(store, chat(stream=True), answer("Hel", "lo", " wor", "ld"))
    assert compared(store, first, same).differing() == []
    more = keep(store, chat(stream=True), answer("Hello ", "world", extra=b'event: new\ndata: {"a":1}\n\n'))
    found = compared(store, first, more)
    assert found.differing() == ["events"]
    (block,) = [block for block in found.events if not block.same]
    assert [(group.name, group.number) for group in block.after] == [("new", 1)]
    assert block.before == ()


def test_obfuscation_is_not_looked_at(store: Store) -> None:
    asked, body = stream("responses-completed")
    plain = body.replace(b'"obfuscation":"', b'"obfuscation":"zzzz')
    padded = plain if plain != body else body.replace(b'"delta":', b'"obfuscation":"zzzz","delta":')
    assert padded != body
    assert compared(store, keep(store, asked, body), keep(store, asked, padded)).differing() == []


def test_a_second_message_is_another_one(golden: tuple[Store, dict[str, Any]]) -> None:
    store, ids = golden
    found = compare(side(store, ids["assistants-completed"]), side(store, ids["assistants-incomplete-output"]))
    gone = [group for block in found.events if not block.same for group in block.before]
    assert ("thread.message.created", "msg 2") in {(group.name, group.role) for group in gone}
    assert ("thread.message.created", "msg 1") not in {(group.name, group.role) for group in gone}


def test_tool_calls_are_compared_by_name_and_by_the_value_of_their_arguments(store: Store) -> None:
    asked, body = stream("chat-tool-calls")
    first = keep(store, asked, body)
    found = compared(store, first, keep(store, asked, body.replace(b"Husum", b"Emden")))
    assert [tuple(each) for each in found.tool_calls] == [
        ("[0] get_tide.place", '"Husum"', '"Emden"'),
        ("[1] get_wind.place", '"Husum"', '"Emden"'),
    ]
    renamed = compared(store, first, keep(store, asked, body.replace(b"get_tide", b"get_moon")))
    assert {(each.before is None, each.after is None) for each in renamed.tool_calls} == {(True, False), (False, True)}


def test_usage_and_outcome_are_named(golden: tuple[Store, dict[str, Any]]) -> None:
    store, ids = golden
    found = compare(side(store, ids["chat-stop"]), side(store, ids["chat-length"]))
    assert ("status", "completed", "incomplete") in {tuple(each) for each in found.outcome}
    assert "output_tokens" in paths(found.usage)


def test_a_client_that_leaves_after_the_last_word_is_as_good_as_one_that_reads_on(store: Store) -> None:
    asked, body = stream("chat-stop")
    found = compared(store, keep(store, asked, body), keep(store, asked, body, ending="client_closed"))
    assert found.differing() == []
    cut = compared(store, keep(store, asked, body), keep(store, asked, body[:-300], ending="reset"))
    assert "ending" in paths(cut.outcome)


def test_a_run_in_several_rounds_is_compared_round_by_round_and_polls_do_not_count(store: Store) -> None:
    first = keep(store, CREATE, run_event("requires_action") + ASSISTANTS_DONE, started_at=0)
    keep(store, SUBMIT, run_event("completed") + ASSISTANTS_DONE, started_at=5_000_000)
    poll = request("GET", "/v1/threads/thread_torture/runs/run_torture")
    keep(store, poll, b'{"id":"run_torture","object":"thread.run","status":"completed"}', started_at=9_000_000)
    asked, body = stream("assistants-completed")
    other = keep(store, asked, body)
    ours = side(store, first.recording_id)
    assert (len(ours.parts), ours.polls) == (2, 1)
    found = compare(ours, side(store, other.recording_id))
    assert ("2.request", "submit_tool_outputs", None) in {tuple(each) for each in found.parameters}
    assert any("looked 1 times at run A" in note for note in found.notes)


def test_what_is_not_there_is_not_compared_and_said(store: Store) -> None:
    asked, body = stream("chat-stop")
    recording, events = recorded(asked, body)
    gone = put(store, replace(recording, content="facts", request=replace(asked, body=None)), bare(events))
    found = compared(store, keep(store, asked, body), gone)
    assert any("content=facts" in note for note in found.notes)
    assert any("body is not there" in note for note in found.notes)
    assert (found.text, found.events, found.tool_calls) == ((), (), ())


# -- what does not count -----------------------------------------------------------------------------------------------


def test_the_url_of_what_was_erased_is_not_compared_and_said(store: Store) -> None:
    """It is not known to be another one."""
    one, other = (keep(store, *stream("chat-stop")) for _ in range(2))
    store.wipe([Wipe(other.recording_id, store.reading(other.recording_id), labels=True)], "V", "r")
    found = compared(store, one, other)
    assert paths(found.parameters) == set()
    assert any("URL" in note for note in found.notes)


def test_what_is_ignored_does_not_differ(golden: tuple[Store, dict[str, Any]]) -> None:
    store, ids = golden
    ours, theirs = side(store, ids["assistants-completed"]), side(store, ids["assistants-failed"])
    assert compare(ours, theirs, parse_ignore(SECTIONS)).differing(timing=True) == []
    every = compare(ours, theirs).differing()
    for section in every:
        rest = compare(ours, theirs, parse_ignore([section])).differing()
        assert rest == [each for each in every if each != section]


def test_lines_and_places_in_requests_can_be_ignored(store: Store) -> None:
    body = stream("chat-stop")[1]
    first, other = keep(store, chat(user="a", seed=1), body), keep(store, chat(user="b", seed=2), body)
    assert paths(compared(store, first, other, "body.user").parameters) == {"body.seed"}
    assert compared(store, first, other, "body.user", "parameters.body.seed").parameters == []


def test_what_is_nothing_cannot_be_ignored() -> None:
    with pytest.raises(UsageError, match="is nothing that is compared"):
        parse_ignore(["colour"])
    with pytest.raises(UsageError, match="ignore path"):
        parse_ignore(["body..x"])


# -- words -------------------------------------------------------------------------------------------------------------

_TEXTS = st.text(st.sampled_from("ab \n"), max_size=60) | st.text(max_size=60)


@settings(max_examples=300, deadline=None)
@given(_TEXTS, _TEXTS)
def test_the_pieces_of_two_texts_are_the_texts_and_the_same_from_either_side(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert "".join(piece.before for piece in pieces) == before
    assert "".join(piece.after for piece in pieces) == after
    assert all((piece.before == piece.after) is piece.same for piece in pieces)
    assert pieces == [type(piece)(piece.same, piece.after, piece.before) for piece in word_diff(after, before)]


def test_what_long_texts_share_is_found_and_a_text_without_end_costs_no_time() -> None:
    """20,000 words of 12 kinds, one in 20 of them changed; and a model that repeats itself."""
    kinds = ["alpha", "beta", "gamma", "delta", "of", "the", "a", "in", "to", "and", "or", "nor"]
    words = random.Random(3).choices(kinds, k=20_000)
    changed = ["CHANGED" if number % 20 == 0 else word for number, word in enumerate(words)]
    pieces = word_diff(" ".join(words), " ".join(changed))
    assert "".join(piece.after for piece in pieces) == " ".join(changed)
    assert sum(len(piece.before) for piece in pieces if piece.same) > 0.85 * len(" ".join(words))
    endless = word_diff("so " * 50_000, "so " * 30_000 + "end")
    assert "".join(piece.before for piece in endless) == "so " * 50_000
    numbers = [str(number) for number in range(20_000)]
    kept = [number for place, number in enumerate(numbers) if place % 20]
    ops = aligned(numbers, kept)
    assert sum(op.end - op.start for op in ops if op.same) == len(kept)


def test_words_that_changed_are_told_apart_from_those_that_did_not() -> None:
    assert [tuple(piece) for piece in word_diff("one two three", "one 2 three")] == [
        (True, "one", "one"),
        (False, " two", " 2"),
        (True, " three", " three"),
    ]


# -- the nearest good run ----------------------------------------------------------------------------------------------


def test_a_good_run_of_the_same_request_is_nearest(store: Store) -> None:
    asked, body = stream("chat-stop")
    key = match.key(asked)
    day = 86_400_000_000
    keep(store, asked, body, match_key=key, started_at=0)
    near = keep(store, asked, body, match_key=key, started_at=5 * day)
    bad = keep(store, asked, body[:-400], match_key=key, started_at=6 * day)
    keep(store, chat(), body, started_at=6 * day)
    chosen = nearest_good(store, bad.recording_id)
    assert (chosen.run_id, "same request" in chosen.why) == (near.recording_id, True)


def test_else_one_of_its_group_whose_request_is_nearest(store: Store) -> None:
    body = stream("chat-stop")[1]
    tags = {"app": "desk"}
    keep(store, chat(temperature=0.2, seed=1), body, tags=tags)
    close = keep(store, chat(temperature=0.2, seed=3), body, tags=tags)
    keep(store, chat(temperature=0.2, seed=2), body)
    bad = keep(store, chat(temperature=0.2, seed=3, top_p=1), stream("chat-length")[1], tags=tags)
    chosen = nearest_good(store, bad.recording_id)
    assert chosen.run_id == close.recording_id
    assert "of its group (desk)" in chosen.why


def test_else_one_of_its_protocol_and_never_itself_or_a_bad_one(store: Store) -> None:
    bad = keep(store, chat(seed=1), stream("chat-length")[1])
    keep(store, *stream("messages-end-turn"))
    with pytest.raises(NotFound, match="no good run to compare with"):
        nearest_good(store, bad.recording_id)
    good = keep(store, chat(seed=9), stream("chat-stop")[1])
    assert nearest_good(store, bad.recording_id).run_id == good.recording_id
    with pytest.raises(NotFound):
        nearest_good(store, good.recording_id)
