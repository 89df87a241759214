"""The values: identity that sorts, heads that come back byte for byte, text that every database takes."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import recording
from recorder.recording import (
    Ending,
    Erasure,
    Event,
    Head,
    HeaderList,
    Kind,
    Reading,
    Recording,
    Request,
    Run,
    storable,
    uuid7,
)
from tests.needs import examples, need

ERASED: Final = Erasure(1, None, None)

# -- what is not there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"erasures": (ERASED,)}, "it was erased"),
        ({"erasures": (ERASED,), "withheld": True}, "it was erased"),
        ({"withheld": True}, "this user may see facts alone"),
        ({"content": "facts", "withheld": True}, "it was recorded with content=facts"),
        ({}, "it is gone, and no erasure is on record"),
    ],
)
def test_a_recording_says_why_its_content_is_not_there(how: dict[str, Any], why: str) -> None:
    """What never was there is told before what went, and what went before what others may see."""
    made = Recording(
        recording_id=uuid7(), started_at=0, writer=uuid7(), dialect="raw", origin="", request=Request("GET", ""), **how
    )
    assert made.missing == why


# -- identity ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the time of day (milliseconds) that ids are made with; starts a process's count of ids anew."""
    now = [0]
    monkeypatch.setattr(recording, "_CLOCK", recording._Clock())
    monkeypatch.setattr(time, "time_ns", lambda: now[0] * 1_000_000 + 999_999)

    def set_to(milliseconds: int) -> None:
        now[0] = milliseconds

    return set_to


def milliseconds(made: UUID) -> int:
    return made.int >> 80


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10."""
    monkeypatch.setattr(recording, "_CLOCK", recording._Clock())  # that of the process may have run ahead
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    for each in made:
        assert each.version == 7
        assert (each.int >> 62) & 0b11 == 0b10
    assert before <= milliseconds(made[0]) <= after + 1


def test_ids_of_one_millisecond_sort_in_the_order_they_were_made(clock: Callable[[int], None]) -> None:
    """Also more of them than the counter has numbers: these borrow from the milliseconds to come."""
    clock(1_700_000_000_000)
    made = [uuid7() for _ in range(10_000)]
    assert all(one < other and one.bytes < other.bytes and one.hex < other.hex for one, other in pairwise(made))
    assert milliseconds(made[0]) == 1_700_000_000_000
    assert milliseconds(made[4095]) == 1_700_000_000_000
    assert milliseconds(made[4096]) == 1_700_000_000_001
    assert milliseconds(made[-1]) == 1_700_000_000_002


@settings(max_examples=examples(33, 5000))
@given(st.lists(st.integers(0, (1 << 48) - 1000) | st.integers(1000, 1005), min_size=2, max_size=30))
def test_ids_sort_whatever_the_clock_does(times: list[int]) -> None:
    """Steps back (NTP, a suspended machine) never put a later id before an earlier one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "_CLOCK", recording._Clock())
        made = []
        for each in times:
            patch.setattr(time, "time_ns", lambda each=each: each * 1_000_000)
            made.append(uuid7())
        assert all(one < other for one, other in pairwise(made))
        assert all(made_at >= at for made_at, at in zip(map(milliseconds, made), times, strict=True))


def test_an_id_follows_the_clock_again_once_it_has_caught_up(clock: Callable[[int], None]) -> None:
    clock(2_000)
    first = uuid7()
    clock(1_000)
    assert milliseconds(uuid7()) == 2_000
    clock(2_001)
    assert milliseconds(uuid7()) == 2_001
    assert milliseconds(first) == 2_000


def test_threads_never_share_an_id_and_each_sees_its_own_in_order() -> None:
    made: list[list[UUID]] = [[] for _ in range(8)]

    def make(mine: list[UUID]) -> None:
        mine.extend(uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one < other for mine in made for one, other in pairwise(mine))
    everything = [each for mine in made for each in mine]
    assert len({each.int >> 64 for each in everything}) == len(everything)


def test_the_random_bits_are_random() -> None:
    """62 of them, and each takes both values."""
    made = [uuid7().int & (1 << 62) - 1 for _ in range(200)]
    ones = zeros = 0
    for each in made:
        ones |= each
        zeros |= ~each & (1 << 62) - 1
    assert ones == zeros == (1 << 62) - 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: threads do not survive a fork
def test_a_forked_child_makes_other_ids() -> None:
    """Even while another thread of the parent was just making one, whose lock the child never sees released."""
    need("fork", hasattr(os, "fork"), "this platform cannot fork")
    reader, writer = os.pipe()
    with recording._CLOCK.lock:
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, b"".join(uuid7().bytes for _ in range(100)))
            finally:
                os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 1600
    ours = {uuid7().bytes for _ in range(100)}
    assert not ours & {theirs[at : at + 16] for at in range(0, 1600, 16)}


# -- heads -------------------------------------------------------------------------------------------------------------

latin = st.text(st.characters(max_codepoint=255), max_size=12)
header_lists = st.lists(st.tuples(latin, latin), max_size=6).map(tuple)


@settings(max_examples=examples(100, 20_000))
@given(st.integers(0, 999), latin, st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/2"]), header_lists)
def test_a_head_comes_back_from_its_json(status: int, reason: str, version: str, headers: HeaderList) -> None:
    """Whatever bytes its header lines have: every byte is one character of latin-1, and JSON keeps it in ASCII."""
    head = Head(status, reason, version, headers)
    data = head.to_json()
    assert data.isascii()
    assert Head.from_json(data) == head
    assert json.loads(data).keys() == {"http", "status", "reason", "headers"}


def test_header_bytes_above_ascii_survive() -> None:
    every = bytes(range(256)).decode("latin-1")
    assert Head.from_json(Head(200, every, headers=((every, every),)).to_json()).headers[0][1].encode(
        "latin-1"
    ) == bytes(range(256))


def test_a_header_is_found_by_its_name_in_any_case() -> None:
    head = Head(200, headers=(("content-TYPE", "a"), ("Content-Type", "b"), ("x", "")))
    assert (head.get("Content-Type"), head.get("X"), head.get("y")) == ("a", "", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["Identity", " , identity"], None),
        (["gzip"], "gzip"),
        ([" GZip , br"], "gzip, br"),
        (["gzip", "br"], "gzip, br"),
        (["identity", "br"], "br"),
    ],
)
def test_content_codings_of_all_lines_are_one_list(values: list[str], expected: str | None) -> None:
    """RFC 9110 section 5.3: several lines of a list header are one list, in order."""
    head = Head(200, headers=(("x", "gzip"), *(("Content-ENCODING", value) for value in values)))
    assert head.content_encoding == expected


# -- text --------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(100, 20_000))
@given(st.text(st.characters(codec=None, categories=None) | st.sampled_from("\0\ud800\udfff\udc00x"), max_size=12))
def test_text_becomes_storable_character_by_character(text: str) -> None:
    """U+FFFD for NUL and for each lone surrogate; everything else, and the length, stays."""
    stored = storable(text)
    assert stored == "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)
    assert stored.encode().decode() == stored
    assert "\0" not in stored
    assert storable(stored) == stored


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_do_not_change() -> None:
    """Frozen, so that a value handed over is the value that arrives."""
    for kind in (Ending, Head, Reading, Recording, Request, Run):
        assert vars(kind)["__dataclass_params__"].frozen, kind
        assert "__slots__" in vars(kind), kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        Request("GET", "http://x").url = "http://y"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Reading(dialect="chat").facts["x"] = 1  # type: ignore[index]


def test_an_event_is_a_row_without_its_recording() -> None:
    """`Event(*row[1:])` is how rows become events again."""
    assert Event._fields == ("position", "kind", "elapsed_us", "type", "data", "raw", "size", "cuts")


def test_kinds_are_listed_in_the_order_of_a_recording() -> None:
    """The digest numbers them by it: a new kind may only be added at the end."""
    assert [str(kind) for kind in Kind] == ["info", "head", "sse", "wire", "body", "end"]


def test_what_is_unknown_is_none() -> None:
    """No default of a value claims a number, an answer or a text."""
    for kind in (Ending, Reading):
        for field in dataclasses.fields(kind):
            if (
                field.name in {"status", "is_run", "opens_run", "flags", "facts", "spoken", "detail"}
                or field.default is dataclasses.MISSING
            ):
                continue
            assert field.default is None, (kind, field.name)
    assert Reading(dialect="chat").status == "unknown"
