"""The digests are what the module's docstring says, byte for byte, and no edit of a recording escapes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.digest import Digests, EventDigest, erased, leaf_of, payload_of
from recorder.recording import Ending, Kind, Recording, Request, Row
from tests.needs import examples

ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")

RECORDING: Final = Recording(
    recording_id=ID,
    started_at=1_700_000_000_000_000,
    writer=UUID("01890a5d-ac96-774b-bcce-b302099a8058"),
    dialect="assistants",
    origin="https://api.openai.com",
    request=Request(
        method="POST",
        url="https://api.openai.com/v1/threads/runs?a=1",
        headers=(("content-type", "application/json"), ("X-Latin", "caf\xe9")),
        body=b'{"assistant_id":"asst_1"}',
        body_size=25,
        body_sha256=None,
    ),
    salt=bytes(range(16)),
    match_key=bytes(32),
    match_rule="{}",
    content="full",
    weight=1.0,
    session="s",
    trace=None,
    call=None,
    tags={"b": "2", "a": "\ufffd"},
    parameters={"model": "gpt-4o", "max_prompt_tokens": 1024, "stream": True},
)

ROWS: Final[list[Row]] = [
    (ID.bytes, 0, "info", 10, None, b'{"status":103}', None, 14, b""),
    (ID.bytes, 1, "head", 20, None, b'{"status":200}', None, 14, b""),
    (ID.bytes, 2, "sse", 1_000, "thread.run.created", b'{"id":"run_1"}', None, 48, None),
    (ID.bytes, 3, "sse", 2_000, None, b"x", None, 9, b""),
    (ID.bytes, 4, "sse", 2_000, "é", None, "event:é\ndata\n\n".encode(), 15, b"\x04\x05\x0b\x00"),
    (ID.bytes, 5, "sse", 2_000, None, None, b": ping\n\n", 8, None),
    (ID.bytes, 6, "wire", 2_500, None, b"\x1f\x8b", None, 2, None),
    (ID.bytes, 7, "body", 3_000, None, b"data: cut o", None, 11, None),
    (ID.bytes, 8, "end", 4_000, None, b'{"ending":"eof"}', None, 16, b""),
]

ENDING: Final = Ending(
    ending="eof", captured="full", elapsed_us=4_000, events=8, wire_bytes=93, http_status=200, head_us=None
)


def digests(recording: Recording, rows: Sequence[Row], ending: Ending, batches: Sequence[int] = ()) -> Digests:
    """What the module makes of stored rows, given in batches of these sizes (the rest in one)."""
    digest = EventDigest(recording)
    at = 0
    for size in [*batches, len(rows)]:
        digest.rows(rows[at : at + size])
        for row in rows[at : at + size]:
            digest.payload(payload_of(row))
        at += size
    return digest.finish(recording, ending)


# -- the format --------------------------------------------------------------------------------------------------------


def spec_part(value: bytes | str | None) -> bytes:
    if value is None:
        return (-1).to_bytes(8, "little", signed=True)
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "little") + data


def spec_integer(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def spec_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def spec(recording: Recording, rows: Sequence[Row], ending: Ending) -> Digests:
    """The docstring, followed word by word."""
    request = recording.request
    payload = b"".join(
        spec_part(value)
        for value in (
            recording.salt,
            request.url,
            spec_json(request.headers),
            request.body,
            request.body_sha256,
            recording.match_key,
            recording.match_rule,
            recording.session,
            recording.trace,
            recording.call.bytes if recording.call is not None else None,
            spec_json(dict(recording.tags)),
        )
    )
    for _, _, kind, _, type_, data, raw, _, _ in rows:
        if raw is not None:
            payload += raw
        elif kind == "sse" and data is not None:
            payload += (b"" if type_ is None else b"event: " + type_.encode() + b"\n") + b"data: " + data + b"\n\n"
        else:
            payload += data or b""
    facts = b"".join(
        spec_part(value)
        for value in (
            b"recorder 1",
            recording.recording_id.bytes,
            recording.writer.bytes,
            recording.dialect,
            recording.origin,
            request.method,
            recording.content,
            repr(recording.weight),
            spec_json({name: value for name, value in recording.parameters.items() if value is not None}),
        )
    )
    facts += spec_integer(recording.started_at) + spec_integer(request.body_size)
    facts += spec_part(ending.ending) + spec_part(ending.captured)
    for number in (ending.http_status, ending.head_us, ending.elapsed_us, ending.events, ending.wire_bytes):
        facts += spec_part(None if number is None else spec_integer(number))
    codes = {"info": 0, "head": 1, "sse": 2, "wire": 3, "body": 4, "end": 5}
    numbers = types = cuts = b""
    for _, position, kind, elapsed_us, type_, data, raw, size, cut in rows:
        flags = codes[kind] + 16 * (type_ is not None) + 32 * (raw is not None) + 64 * (cut is not None)
        flags += 128 * (raw is not None and data is not None)
        numbers += b"".join(map(spec_integer, (position, elapsed_us, size, flags, len(cut or b""))))
        types += b"" if type_ is None else type_.encode() + b"\n"
        cuts += cut or b""
    facts_digest = hashlib.sha256(facts + b"".join(hashlib.sha256(part).digest() for part in (numbers, types, cuts)))
    payload_digest = hashlib.sha256(payload)
    seal = hashlib.sha256(b"recorder 1" + facts_digest.digest() + payload_digest.digest())
    return facts_digest.digest(), payload_digest.digest(), seal.digest()


@st.composite
def stored_rows(draw: st.DrawFn) -> list[Row]:
    kinds = st.sampled_from([str(kind) for kind in Kind])
    texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=4)
    maybe = st.none() | st.binary(max_size=8)
    numbers = st.integers(0, (1 << 63) - 1)
    rows = st.tuples(st.just(ID.bytes), numbers, kinds, numbers, texts, maybe, maybe, numbers, maybe)
    return draw(st.lists(rows, max_size=10))


@settings(max_examples=examples(100, 20_000))
@given(stored_rows(), st.lists(st.integers(0, 3), max_size=4))
def test_digests_are_what_the_docstring_says(rows: list[Row], batches: list[int]) -> None:
    """Whatever the rows, and however they are batched."""
    assert digests(RECORDING, rows, ENDING, batches) == spec(RECORDING, rows, ENDING)


def test_thousands_of_rows_in_any_batches() -> None:
    """Facts are hashed in groups inside; nobody may see that from outside."""
    rows: list[Row] = [
        (
            ID.bytes,
            at,
            "sse",
            at * 7,
            f"type {at % 3}" if at % 5 else None,
            b"%d" % at,
            None,
            at,
            None if at % 2 else b"",
        )
        for at in range(3_000)
    ]
    expected = spec(RECORDING, rows, ENDING)
    for size in (1, 7, 255, 256, 257, 1000, 3000):
        assert digests(RECORDING, rows, ENDING, [size] * (3_000 // size)) == expected


def test_the_format_stays() -> None:
    """Seals in stores that exist already must verify tomorrow: a change here is a new VERSION."""
    assert [digest.hex() for digest in digests(RECORDING, ROWS, ENDING)] == [
        "0d7b9220e22b893d884b4394db0e7c7edfc09534d4d1950be0056879e245de94",
        "afd7f2451970350b356d009bbb303f1c9b9e994266734dbf6a5f1cd5d9667bef",
        "aa08771a9bc168eb50301e70026afded249c9b96923429e59e8eabfecbb1d1a1",
    ]


# -- edits -------------------------------------------------------------------------------------------------------------

FACTS, PAYLOAD, SEAL = range(3)


def changed(before: Digests, after: Digests) -> set[int]:
    return {number for number in range(3) if before[number] != after[number]}


RECORDING_EDITS: Final[dict[str, tuple[int, Sequence[Any]]]] = {
    "recording_id": (FACTS, [UUID(int=ID.int ^ 1)]),
    "started_at": (FACTS, [1_700_000_000_000_001, -1]),
    "writer": (FACTS, [ID]),
    "dialect": (FACTS, ["assistantt", ""]),
    "origin": (FACTS, ["https://api.openai.con"]),
    "content": (FACTS, ["facts"]),
    "weight": (FACTS, [1.0000000000000002, 10.0]),
    "parameters": (
        FACTS,
        [
            {},
            {"model": "gpt-4o", "max_prompt_tokens": 1024},
            {"model": "gpt-4o", "max_prompt_tokens": 1025, "stream": True},
            {"model": "gpt-4o", "max_prompt_tokens": "1024", "stream": True},
            {"model": "gpt-4o", "max_prompt_tokens": 1024, "stream": 1},
            {"model": "gpt-4o", "max_completion_tokens": 1024, "stream": True},
        ],
    ),
    "salt": (PAYLOAD, [bytes(16), None, b""]),
    "match_key": (PAYLOAD, [bytes(31) + b"\1", None, b""]),
    "match_rule": (PAYLOAD, ["{} ", None, ""]),
    "session": (PAYLOAD, ["t", None, ""]),
    "trace": (PAYLOAD, ["s", ""]),
    "call": (PAYLOAD, [ID]),
    "tags": (PAYLOAD, [{}, {"b": "2"}, {"b": "2", "a": "\ufffd", "c": ""}, {"b": "\ufffd", "a": "2"}]),
}
REQUEST_EDITS: Final[dict[str, tuple[int, Sequence[Any]]]] = {
    "method": (FACTS, ["PUT", "POST "]),
    "body_size": (FACTS, [24, -1]),
    "url": (PAYLOAD, ["https://api.openai.com/v1/threads/runs?a=2", ""]),
    "headers": (
        PAYLOAD,
        [
            (),
            (("content-type", "application/json"), ("X-Latin", "caf\xe8")),
            (("X-Latin", "caf\xe9"), ("content-type", "application/json")),
            (("content-type", "application/json"), ("x-Latin", "caf\xe9")),
        ],
    ),
    "body": (PAYLOAD, [b'{"assistant_id":"asst_2"}', b"", None]),
    "body_sha256": (PAYLOAD, [bytes(32), b""]),
}
ENDING_EDITS: Final[dict[str, Sequence[Any]]] = {
    "ending": ["interrupted", "eog"],
    "captured": ["truncated"],
    "elapsed_us": [4_001, -1],
    "events": [9],
    "wire_bytes": [0],
    "http_status": [None, 201, 0, -1],
    "head_us": [0, -1],
}


def recording_edits() -> Iterator[Any]:
    for name, (digest, values) in RECORDING_EDITS.items():
        for value in values:
            yield pytest.param(digest, {name: value}, {}, id=f"{name}={value!r}")
    for name, (digest, values) in REQUEST_EDITS.items():
        for value in values:
            yield pytest.param(digest, {}, {name: value}, id=f"request.{name}={value!r}")


@pytest.mark.parametrize(("digest", "fields", "of_request"), list(recording_edits()))
def test_an_edit_of_the_recording_changes_its_digest(
    digest: int, fields: Mapping[str, Any], of_request: Mapping[str, Any]
) -> None:
    """The digest of facts for what stays when a recording is erased, that of payloads for what goes."""
    edited = dataclasses.replace(RECORDING, **fields, request=dataclasses.replace(RECORDING.request, **of_request))
    assert changed(digests(RECORDING, ROWS, ENDING), digests(edited, ROWS, ENDING)) == {digest, SEAL}


def test_every_field_of_a_recording_is_under_a_digest() -> None:
    """A field that is added later must be added to the format, or named here as one that is not sealed."""
    # What was erased was sealed before that; who may not see it has nothing to do with it.
    derived = {"request", "ending", "erasures", "withheld"}
    assert {field.name for field in dataclasses.fields(Recording)} == set(RECORDING_EDITS) | derived
    assert {field.name for field in dataclasses.fields(Request)} == set(REQUEST_EDITS)
    unsealed = {"facts_digest", "payload_digest", "seal", "detail"}  # the detail is the `end` row's payload
    assert {field.name for field in dataclasses.fields(Ending)} == set(ENDING_EDITS) | unsealed


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ENDING_EDITS for value in ENDING_EDITS[name]])
def test_an_edit_of_the_ending_changes_the_facts(name: str, value: Any) -> None:
    edited = dataclasses.replace(ENDING, **{name: value})
    assert changed(digests(RECORDING, ROWS, ENDING), digests(RECORDING, ROWS, edited)) == {FACTS, SEAL}


def test_a_parameter_that_is_unknown_is_one_that_is_absent() -> None:
    """A store keeps NULL for both, so both must have the same digest."""
    parameters = {**RECORDING.parameters, "thread_id": None}
    edited = dataclasses.replace(RECORDING, parameters=parameters)
    assert digests(edited, ROWS, ENDING) == digests(RECORDING, ROWS, ENDING)


def row_edits() -> Iterator[tuple[int, int, Any, set[int]]]:
    """(row, column, new value, digests that must change): every byte of every column of every row."""
    for number, (_, position, kind, elapsed_us, type_, data, raw, size, cut) in enumerate(ROWS):
        yield number, 1, position + 1, {FACTS}
        yield number, 2, "body" if kind != "body" else "wire", {FACTS}
        yield number, 3, elapsed_us + 1, {FACTS}
        yield number, 7, size + 1, {FACTS}
        if type_ is None:
            yield number, 4, "x", {FACTS}
            yield number, 4, "", {FACTS}
        else:
            for at in range(len(type_)):
                yield number, 4, type_[:at] + chr(ord(type_[at]) + 1) + type_[at + 1 :], {FACTS}
            yield number, 4, None, {FACTS}
        for column, value in ((5, data), (6, raw), (8, cut)):
            touched = {FACTS} if column == 8 else {PAYLOAD}
            for at in range(len(value or b"")):
                assert value is not None
                yield number, column, value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :], touched
        if cut is None:
            yield number, 8, b"", {FACTS}
        else:
            yield number, 8, None, {FACTS}
            yield number, 8, cut + b"\1\0", {FACTS}
        if raw is None:
            yield number, 6, b"", {FACTS}
            yield number, 5, None, {PAYLOAD}
        else:
            yield number, 5, b"", {FACTS}
            yield number, 5, b"another story", {FACTS}
            yield number, 6, b"", {PAYLOAD}


def test_an_edit_of_a_row_changes_the_right_digest() -> None:
    """One byte of any column: facts for what stays when a recording is erased, payload for what goes."""
    before = digests(RECORDING, ROWS, ENDING)
    count = 0
    for number, column, value, expected in row_edits():
        row: Any = (*ROWS[number][:column], value, *ROWS[number][column + 1 :])
        assert row != ROWS[number]
        after = digests(RECORDING, [*ROWS[:number], row, *ROWS[number + 1 :]], ENDING)
        assert changed(before, after) >= expected | {SEAL}, (number, column, value)
        count += 1
    assert count > 200


def test_rows_that_go_come_or_change_places_are_seen() -> None:
    """Dropped, doubled or swapped, whether or not they are numbered anew."""
    before = digests(RECORDING, ROWS, ENDING)

    def renumbered(rows: Sequence[Row]) -> list[Row]:
        return [(row[0], position, *row[2:]) for position, row in enumerate(rows)]

    for at in range(len(ROWS)):
        for rows in (
            [*ROWS[:at], *ROWS[at + 1 :]],
            [*ROWS[: at + 1], *ROWS[at:]],
            [*ROWS[:at], *reversed(ROWS[at : at + 2]), *ROWS[at + 2 :]] if at + 1 < len(ROWS) else ROWS[:-1],
        ):
            assert SEAL in changed(before, digests(RECORDING, rows, ENDING))
            assert SEAL in changed(before, digests(RECORDING, renumbered(rows), ENDING))


# -- erasing -----------------------------------------------------------------------------------------------------------


def test_an_erased_recording_keeps_its_facts() -> None:
    """And its kept payload digest still binds the payload, for who has it and the salt."""
    rows = [erased(row) for row in ROWS]
    assert all(row[5] is None and not row[6] for row in rows)
    assert b"run_1" not in repr(rows).encode()
    bare = dataclasses.replace(
        RECORDING,
        request=Request(RECORDING.request.method, "", (), None, RECORDING.request.body_size, None),
        salt=None,
        match_key=None,
        match_rule=None,
        session=None,
        tags={},
    )
    assert changed(digests(RECORDING, ROWS, ENDING), digests(bare, rows, ENDING)) == {PAYLOAD, SEAL}


def test_the_payload_digest_is_salted() -> None:
    """Without the salt nobody can try out what an erased payload was."""
    other = dataclasses.replace(RECORDING, salt=bytes(16))
    assert digests(RECORDING, [], ENDING)[PAYLOAD] != digests(other, [], ENDING)[PAYLOAD]


def test_a_frame_counts_as_its_wire_bytes() -> None:
    assert [payload_of(row) for row in ROWS] == [
        b'{"status":103}',
        b'{"status":200}',
        b'event: thread.run.created\ndata: {"id":"run_1"}\n\n',
        b"data: x\n\n",
        "event:é\ndata\n\n".encode(),
        b": ping\n\n",
        b"\x1f\x8b",
        b"data: cut o",
        b'{"ending":"eof"}',
    ]
    assert [payload_of(erased(row)) for row in ROWS] == [b""] * len(ROWS)


# -- columns -----------------------------------------------------------------------------------------------------------

_COUNTS = st.integers(-(2**63), 2**63 - 1)
_FRAMES = st.tuples(_COUNTS, _COUNTS, st.none() | st.text(max_size=5), _COUNTS, st.none() | st.binary(max_size=6))


@given(st.lists(_FRAMES, max_size=30))
def test_frames_as_columns_are_the_rows_that_they_are(
    frames: list[tuple[int, int, str | None, int, bytes | None]],
) -> None:
    rows: list[Row] = [
        (ID.bytes, position, "sse", elapsed, type_, b"x", None, size, cuts)
        for position, elapsed, type_, size, cuts in frames
    ]
    by_rows, by_columns = EventDigest(RECORDING), EventDigest(RECORDING)
    by_rows.rows([*ROWS, *rows, *ROWS])
    by_columns.rows(ROWS)
    if frames:
        by_columns.frames(*zip(*frames, strict=True))
    by_columns.rows(ROWS)
    assert by_columns.finish(RECORDING, ENDING) == by_rows.finish(RECORDING, ENDING)


@pytest.mark.parametrize("at", range(5))
def test_frames_of_other_types_are_refused(at: int) -> None:
    """They stand in a store that somebody else wrote to."""
    columns: list[list[Any]] = [[1], [2], ["t"], [3], [b""]]
    columns[at] = [1.5]
    with pytest.raises(TypeError):
        EventDigest(RECORDING).frames(*columns)


def test_a_leaf_is_what_rfc_6962_hashes() -> None:
    assert leaf_of(ID, b"s" * 32) == hashlib.sha256(b"\0" + ID.bytes + b"s" * 32).digest()
