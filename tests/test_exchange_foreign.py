"""Files of any kind: known by what is in them, taken whole or refused with a reason; nothing in them is run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import evidence, exchange, match, reader, replay
from recorder.errors import RecorderError, UsageError
from recorder.exchange import foreign
from recorder.exchange.building import Foreign, Maker, Unfit
from recorder.recording import Request, StopReason
from recorder.store import RunFilter, Store
from tests import golden
from tests.kept import put as stored
from tests.needs import examples
from tests.taped import chat, said


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "a.db", create=True) as opened:
        yield opened


def put(store: Store, path: Path, content: bytes, **how: Any) -> exchange.Imported:
    path.write_bytes(content)
    return exchange.import_file(store, path, **how)


# -- raw streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("assistants-completed", "https://api.openai.com/v1/threads/"),
        ("chat-stop", "https://api.openai.com/v1/chat/completions"),
        ("responses-completed", "https://api.openai.com/v1/responses"),
        ("messages-end-turn", "https://api.anthropic.com/v1/messages"),
    ],
)
def test_a_raw_stream_tells_its_protocol(store: Store, name: str, url: str) -> None:
    """By its first events; what was asked is marked as guessed, and the reading is the protocol's."""
    names = golden.names(name.partition("-")[0])
    path = golden.STREAMS / f"{name if name in names else names[0]}.sse"
    (recording,) = exchange.import_file(store, path).recordings
    assert recording.request.url.startswith(url)
    assert recording.dialect == name.partition("-")[0]
    assert recording.request.body is None
    assert recording.ending is not None
    assert {"bytes"}.isdisjoint(recording.ending.detail["imported"]["unknown"])
    assert {"head", "headers", "request", "cuts", "times", "started"} <= set(
        recording.ending.detail["imported"]["unknown"]
    )
    assert reader.read(store, recording.recording_id).status != "unknown"


def test_a_raw_stream_with_its_request_is_replayed(store: Store, tmp_path: Path) -> None:
    """Given the URL and the body, it answers that request."""
    asked = exchange.Asked("POST", "https://api.openai.com/v1/chat/completions", b'{"model": "x"}')
    put(store, tmp_path / "a.sse", b"".join(said("a")), asked=asked)
    player = replay.Player(store)
    body = b'{"model":"x"}'
    found = player.find(Request("POST", "http://127.0.0.1/v1/chat/completions", (), body, len(body)))
    assert b"".join(chunk for _, chunk in player.play(found).chunks()) == b"".join(said("a"))
    assert found.ending is not None
    assert "request" not in found.ending.detail["imported"]["unknown"]


def test_a_raw_stream_of_nobody_knows_what_is_refused(store: Store, tmp_path: Path) -> None:
    """With the options that help."""
    with pytest.raises(UsageError, match="say --url, and --body"):
        put(store, tmp_path / "a.sse", b"data: hello\n\n")


# -- aimock ------------------------------------------------------------------------------------------------------------


def fixture(response: Any, **asked: Any) -> bytes:
    return json.dumps({"fixtures": [{"match": {"userMessage": "hello", **asked}, "response": response}]}).encode()


def test_fixtures_of_aimock_come_in_as_a_mock_would_answer(store: Store, tmp_path: Path) -> None:
    """Text and tool calls; that neither bytes nor request are the provider's is said."""
    call = {"name": "get_weather", "arguments": {"city": "Bergen"}}
    content = fixture({"blocks": [{"type": "toolCall", **call}, {"type": "text", "text": "Looking"}]}, model="gpt-4o")
    done = put(store, tmp_path / "a.json", content)
    assert done.source == "aimock"
    (recording,) = done.recordings
    reading = reader.read(store, recording.recording_id)
    assert (reading.text, reading.stop_reason) == ("Looking", StopReason.TOOL_CALL)
    assert recording.ending is not None
    assert {"bytes", "request", "head", "times"} <= set(recording.ending.detail["imported"]["unknown"])
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}],"stream":true}'
    asked = Request("POST", "https://api.openai.com/v1/chat/completions", (), body, len(body))
    assert replay.Player(store).find(asked).recording_id == recording.recording_id


@pytest.mark.parametrize(
    ("response", "text", "status"),
    [
        ({"content": "Hi", "reasoning": "hm"}, "Hi", 200),
        ({"toolCalls": [{"name": "f", "arguments": "{}"}]}, None, 200),
        ({"error": {"message": "slow down", "type": "rate_limit"}, "status": 429}, None, 429),
    ],
)
def test_answers_of_aimock(store: Store, tmp_path: Path, response: Any, text: str | None, status: int) -> None:
    """Content, tool calls, errors."""
    (recording,) = put(store, tmp_path / "a.json", fixture(response)).recordings
    assert recording.ending is not None
    assert recording.ending.http_status == status
    assert reader.read(store, recording.recording_id).text == text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (fixture({"embedding": [1, 2]}), "neither text nor tool calls"),
        (fixture({"blocks": [{"type": "hologram"}]}), "a block of a kind"),
        (b'{"fixtures": [{"match": {"message": "x"}, "events": []}]}', "no chat answer to a user's message"),
        (b'{"fixtures": [7]}', "fixture 1 has not the form"),
    ],
)
def test_fixtures_that_are_no_chat_answer_are_refused(store: Store, tmp_path: Path, content: bytes, why: str) -> None:
    """With the number of the fixture."""
    with pytest.raises(UsageError, match=why):
        put(store, tmp_path / "a.json", content)


# -- files -------------------------------------------------------------------------------------------------------------

_TOML = b"""version = 1
[[interactions]]
recorded_at = "2026-02-01T00:00:00Z"
[interactions.request]
method = "PUT"
uri = "https://api.example.com/binary"
body_type = "binary"
body_content = "0001ff"
[interactions.request.headers]
[interactions.response]
status = 204
body_type = "none"
[interactions.response.headers]
"""


def test_a_file_is_known_by_what_is_in_it(store: Store, tmp_path: Path) -> None:
    """Whatever it is called; recorder's own first."""
    exchange.write(tmp_path / "mine.txt", [chat("hi", said("a"))])
    assert exchange.import_file(store, tmp_path / "mine.txt").source == "recorder"
    assert put(store, tmp_path / "a.toml", _TOML).source == "cassetter"
    har = b'{"log":{"entries":[{"request":{"method":"GET","url":"http://a/"},"response":{"status":200}}]}}'
    assert put(store, tmp_path / "a.txt", har).source == "HAR"
    assert (
        put(store, tmp_path / "b.txt", b'event: message_start\ndata: {"type":"message_start"}\n\n').source
        == "a raw stream"
    )
    cassette = b"interactions:\n- request: {method: GET, uri: 'http://a/b'}\n  response: {status: {code: 200}}\n"
    assert put(store, tmp_path / "c.txt", cassette).source == "vcrpy"
    assert len(store.recordings(RunFilter())) == 5


def test_a_cassette_becomes_a_recording_file(tmp_path: Path) -> None:
    """In one call, with the rule under which its requests are found."""
    (tmp_path / "a.toml").write_bytes(_TOML)
    rule = match.Rule(normalise=("ids",))
    exchange.convert(tmp_path / "a.toml", tmp_path / "rec" / "a.jsonl", rule=rule)
    (entry,) = exchange.read(tmp_path / "rec" / "a.jsonl")
    assert entry.recording.match_rule == rule.to_text()
    assert entry.recording.request.body == b"\0\x01\xff"
    exchange.convert(tmp_path / "rec" / "a.jsonl", tmp_path / "rec" / "b.jsonl")
    assert (tmp_path / "rec" / "a.jsonl").read_bytes() == (tmp_path / "rec" / "b.jsonl").read_bytes()


#: In UTC it lies before the year 1.
_CALL = {"request": {"uri": "http://a/", "method": "GET"}, "response": {"status": {"code": 200}}}
ANCIENT = json.dumps({"interactions": [{**_CALL, "recorded_at": "0001-01-01T00:00:00+14:00"}]}).encode()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b"{", "it is no JSON: .* in line 1"),
        ("a.json", b"[" * 100_000, "nested too deeply|no JSON"),
        ("a.json", b'{"a": 1}', "none of the files that recorder knows"),
        ("a.json", b"\xff\xfe", "not imported"),
        ("a.yaml", b"a: [", "it is no YAML in line"),
        ("a.yaml", b"", "none of the files"),
        ("a.yaml", b"interactions: []", "holds no exchange"),
        ("a.yaml", b"x: !!python/object/apply:os.system ['true']", "only plain values are read, nothing is run"),
        (
            "a.yaml",
            b"interactions: [{request: {uri: 'file:///etc/passwd', method: GET}, response: {status: {code: 200}}}]",
            "not one of http",
        ),
        (
            "a.yaml",
            b'interactions: [{request: {uri: "http://a/", method: GET}, response: {status: 200, headers: {a: "\\n"}}}]',
            "a line break",
        ),
        (
            "a.yaml",
            b'interactions: [{request: {uri: "http://a/b\\r\\nc: d", method: "GET"}, response: {status: {code: 200}}}]',
            "a blank or a control",
        ),
        (
            "a.yaml",
            b'interactions: [{request: {uri: "http://a/b", method: "G T"}, response: {status: {code: 200}}}]',
            "the method",
        ),
        (
            "a.yaml",
            b'interactions: [{request: {uri: "http://a/b", method: "GET"}, response: {status: {code: 7}}}]',
            "the status",
        ),
        (
            "a.yaml",
            b'interactions: [{request: {uri: "http://a/b", method: "GET"}, response: {status: {code: .inf}}}]',
            "interaction 1: it has not the form of one",
        ),
        ("a.json", ANCIENT, "one of its times is none that can be"),
        ("a.toml", b"= 1", "not imported"),
        ("a.txt", b"hello", "none of the files"),
    ],
)
def test_a_file_that_cannot_be_taken_says_why(
    store: Store, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    """In one line, and nothing is stored."""
    with pytest.raises(UsageError, match=why) as raised:
        put(store, tmp_path / name, content)
    assert "\n" not in str(raised.value)
    assert store.recordings(RunFilter()) == []


def test_evidence_is_imported_as_its_refusal_says(store: Store, tmp_path: Path) -> None:
    """It is checked, and not imported: its recordings are the lines from the record's first on."""
    entry = chat("hi", said("a"))
    stored(store, entry.recording, list(entry.events))
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(b"".join(evidence.lines_of(store, store.recording_ids(), by="x")))
    with Store.open(tmp_path / "other.db", create=True) as other:
        for how in ("auto", "jsonl"):
            with pytest.raises(UsageError, match="it is evidence") as told:
                exchange.import_file(other, path, format=how)
        (beginning,) = re.findall(r"from (\S+) on", str(told.value))
        lines = path.read_text().splitlines(keepends=True)
        (first,) = [number for number, line in enumerate(lines) if line.startswith(beginning)]
        path.write_text("".join(lines[first:]))
        (taken,) = exchange.import_file(other, path).recordings
    assert taken == entry.recording


def test_a_file_of_which_one_exchange_is_wrong_is_refused_whole(store: Store, tmp_path: Path) -> None:
    """The first was fine."""
    content = (
        b"interactions:\n- request: {method: GET, uri: 'http://a/b'}\n  response: {status: {code: 200}}\n"
        b"- request: {method: GET}\n  response: {status: {code: 200}}\n"
    )
    with pytest.raises(UsageError, match="interaction 2: the request has no URL"):
        put(store, tmp_path / "a.yaml", content)
    assert store.recordings(RunFilter()) == []


def test_a_cassette_without_pyyaml_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML is an extra; JSON needs none."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"pip install 'run-recorder\[cassettes\]'"):
        put(store, tmp_path / "a.yaml", b"interactions: []")
    cassette = {
        "interactions": [{"request": {"method": "GET", "uri": "http://a/"}, "response": {"status": {"code": 200}}}]
    }
    assert put(store, tmp_path / "a.json", json.dumps(cassette).encode()).source == "vcrpy"


def test_a_file_that_is_too_large_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read."""
    monkeypatch.setattr(foreign, "LARGEST", 10)
    with pytest.raises(UsageError, match="cut it in parts"):
        put(store, tmp_path / "a.yaml", b"interactions: []")


def test_credentials_of_a_cassette_are_not_taken(store: Store, tmp_path: Path) -> None:
    """Headers by the one list, and the URL's."""
    content = (
        b"interactions:\n- request:\n    method: GET\n    uri: http://a/b?api_key=canary1\n"
        b"    headers: {Authorization: [Bearer canary2]}\n"
        b"  response:\n    status: {code: 200}\n    headers: {Set-Cookie: [canary3]}\n    body: {string: x}\n"
    )
    (recording,) = put(store, tmp_path / "a.yaml", content).recordings
    exchange.write(tmp_path / "out.jsonl", exchange.entries(store, [recording.recording_id]), identity=True)
    assert b"canary" not in (tmp_path / "out.jsonl").read_bytes()


def test_a_maker_refuses_what_no_exchange_can_hold() -> None:
    """Whoever calls it."""
    with pytest.raises(Unfit, match="longer than"):
        Maker("x").make(Foreign(method="GET", url="http://a/", headers=(("a", "b" * 70_000),)))
    with pytest.raises(Unfit, match="status line"):
        Maker("x").make(Foreign(method="GET", url="http://a/", reason="a\r\nb: c"))
    never: list[dict[str, Any]] = [
        {"started_at": 1 << 62},
        {"head_us": 1 << 63},
        {"duration_us": -1},
        {"chunks": [(1 << 63, b"a")]},
    ]
    for times in never:
        with pytest.raises(Unfit, match="times"):
            Maker("x").make(Foreign(method="GET", url="http://a/", **times))


_WORDS = ["interactions", "http_interactions", "log", "entries", "fixtures", "request", "response", "body", "string"]
_WORDS += ["headers", "status", "code", "uri", "url", "method", "match", "userMessage", "content", "text", "postData"]
_WORDS += ["recorded_at", "startedDateTime", "time", "timings", "receive", "_recorder", "duration_us", "chunks"]


@settings(max_examples=examples(50, 10_000))
@given(
    st.sampled_from(["a.yaml", "a.json", "a.har", "a.toml", "a.sse", "a.jsonl"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(
                st.sampled_from(_WORDS),
                each,
                max_size=4,
            )
        ),
        max_leaves=30,
    ),
)
def test_whatever_a_file_holds_it_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    """No other error comes out."""
    path = tmp_path_factory.mktemp("x") / name
    path.write_text(json.dumps(value))
    try:
        exchange.convert(path, path.with_name("out.jsonl"))
    except RecorderError as error:
        assert "\n" not in str(error)  # noqa: PT017 (it may also be taken)
