"""Cassettes that others recorded: every one comes in, and its SDK sees what it sees of the cassette's own body."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

import recorder
from recorder import exchange, reader, replay
from recorder.errors import UsageError
from recorder.exchange import cassettes
from recorder.exchange.building import Foreign, Unfit
from recorder.recording import Recording
from recorder.store import Store
from tests.clients import raised
from tests.needs import CASSETTES, NIGHTLY, need_cassettes

#: Cassettes that are refused, and why.
REFUSED: dict[str, str] = {}

#: How many exchanges of each protocol the cassettes hold, by what became of them.
READ = {
    ("chat", "completed"): 44,
    ("chat", "failed"): 1,
    ("chat", "incomplete"): 1,
    ("chat", "requires_action"): 13,
    ("gemini", "completed"): 9,
    ("gemini", "failed"): 3,
    ("gemini", "requires_action"): 4,
    ("messages", "completed"): 16,
    ("messages", "requires_action"): 7,
    ("raw", "unknown"): 37,
    ("responses", "completed"): 8,
    ("responses", "requires_action"): 5,
}


def files() -> list[Path]:
    return sorted(CASSETTES.glob("*.yaml"))


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without recordings, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    Store.open(path, create=True).close()
    return path


def test_every_cassette_comes_in_or_is_refused_with_a_reason() -> None:
    """With all its exchanges, in its order; what it does not tell is unknown; twice is once."""
    need_cassettes()
    refused: dict[str, str] = {}
    with Store.open("sqlite:///:memory:", create=True) as store:
        for path in files():
            kept = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["interactions"]
            try:
                done = exchange.import_file(store, path)
            except UsageError as error:
                refused[path.name] = str(error)
                continue
            assert done.source == "vcrpy"
            assert not done.skipped
            assert len(done.recordings) == len(kept)
            again = exchange.import_file(store, path)
            assert [r.recording_id for r in again.recordings] == [r.recording_id for r in done.recordings]
            for told, recording in zip(kept, done.recordings, strict=True):
                _as_kept(store, told, recording)
        assert refused == REFUSED


def _as_kept(store: Store, told: dict[str, Any], recording: Recording) -> None:
    """The recording is the interaction, byte for byte where the cassette has bytes."""
    assert recording.ending is not None
    imported = recording.ending.detail["imported"]
    assert {"cuts", "times", "duration", "ending"} <= set(imported["unknown"])
    assert recording.request.method == told["request"]["method"]
    assert recording.ending.http_status == told["response"]["status"]["code"]
    assert recording.ending.head_us is None
    events = list(store.events(recording.recording_id))
    assert all(event.cuts == b"" and event.elapsed_us == 0 for event in events)
    assert [event.kind for event in events[:1] + events[-1:]] == ["head", "end"]
    body = told["response"].get("body")
    if body is not None:
        kept = body["string"]
        pieces: list[bytes] = []
        replay.emit(store, recording, pieces.append)
        assert b"".join(pieces) == (kept if isinstance(kept, bytes) else kept.encode())
        assert "bytes" not in imported["unknown"]
    else:
        assert "bytes" in imported["unknown"]
    asked = told["request"].get("body")
    if asked is not None:
        assert recording.request.body == asked.encode()


def test_what_cassettes_say_is_read_and_no_time_is_made_up() -> None:
    """Statuses of every protocol; a date where the answer had one, and else none."""
    need_cassettes()
    found: Counter[tuple[str, str]] = Counter()
    with Store.open("sqlite:///:memory:", create=True) as store:
        for path in files():
            for recording in exchange.import_file(store, path).recordings:
                reading = reader.interpret(recording, store.events(recording.recording_id))
                found[recording.dialect, reading.status] += 1
                assert recording.ending is not None
                dated = "started" not in recording.ending.detail["imported"]["unknown"]
                assert (recording.started_at > 1_600_000_000_000_000) == dated
    assert found == READ


# -- played back to the SDKs that made them ----------------------------------------------------------------------------


class Call(NamedTuple):
    """One exchange of a cassette that an SDK understands."""

    method: str
    url: str
    body: dict[str, Any]
    status: int
    headers: list[tuple[str, str]]
    answer: bytes
    dialect: str


def calls(path: Path) -> Iterator[Call]:
    """The exchanges of the protocols that an SDK here speaks, as the cassette has them."""
    with Store.open("sqlite:///:memory:", create=True) as store:
        known = [recording.dialect for recording in exchange.import_file(store, path).recordings]
    kept = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["interactions"]
    for told, dialect in zip(kept, known, strict=True):
        asked, response = told["request"], told["response"]
        if dialect not in ("chat", "responses", "messages"):
            continue
        body = asked["parsed_body"] if "parsed_body" in asked else json.loads(asked["body"])
        answer = response["body"]["string"]
        yield Call(
            asked["method"],
            asked["uri"],
            body,
            response["status"]["code"],
            [(name, value) for name, values in response["headers"].items() for value in values],
            answer if isinstance(answer, bytes) else answer.encode(),
            dialect,
        )


def client_of(dialect: str, http: Any) -> Any:
    options = {"api_key": "x", "max_retries": 0, "http_client": http}
    if dialect == "messages":
        kind: Any = anthropic.Anthropic if isinstance(http, httpx2.Client) else anthropic.AsyncAnthropic
    else:
        kind = openai.OpenAI if isinstance(http, httpx2.Client) else openai.AsyncOpenAI
    return kind(**options)


def how(call: Call, *, asynchronous: bool) -> dict[str, Any]:
    """What the SDK makes of such an answer: its models, streamed or not."""
    streamed = bool(call.body.get("stream"))
    options: dict[str, Any] = {"body": call.body, "stream": streamed}
    if call.dialect == "messages":
        options["cast_to"] = anthropic.types.Message
        stream: Any = anthropic.AsyncStream if asynchronous else anthropic.Stream
        item: Any = anthropic.types.RawMessageStreamEvent
    elif call.dialect == "responses":
        options["cast_to"] = openai.types.responses.Response
        stream = openai.AsyncStream if asynchronous else openai.Stream
        item = openai.types.responses.ResponseStreamEvent
    else:
        options["cast_to"] = openai.types.chat.ChatCompletion
        stream = openai.AsyncStream if asynchronous else openai.Stream
        item = openai.types.chat.ChatCompletionChunk
    return options | ({"stream_cls": stream[item]} if streamed else {})


def seen(call: Call, http: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    """What the SDK yields, and what it raises."""
    told: list[Any] = []
    try:
        if isinstance(http, httpx2.Client):
            with http:
                answer = client_of(call.dialect, http).post(call.url, **how(call, asynchronous=False))
                told += [each.model_dump(warnings=False) for each in (answer if call.body.get("stream") else [answer])]
        else:
            asyncio.run(_seen(call, http, told))
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return told, list(raised(error))
    return told, []


async def _seen(call: Call, http: Any, told: list[Any]) -> None:
    async with http:
        answer = await client_of(call.dialect, http).post(call.url, **how(call, asynchronous=True))
        if call.body.get("stream"):
            told.extend([each.model_dump(warnings=False) async for each in answer])
        else:
            told.append(answer.model_dump(warnings=False))


def own(call: Call) -> Callable[[Any], Any]:
    """Answers with the cassette's own body."""
    import gzip

    packed = any(name.lower() == "content-encoding" for name, _ in call.headers)
    headers = [pair for pair in call.headers if pair[0].lower() not in ("content-encoding", "content-length")]
    content = gzip.decompress(call.answer) if packed else call.answer
    return lambda _: httpx2.Response(call.status, headers=headers, content=content)


@pytest.mark.parametrize("path", files() or [CASSETTES], ids=lambda path: path.stem[:60])
def test_an_sdk_sees_what_it_sees_of_the_cassettes_own_body(tmp_path: Path, empty: Path, path: Path) -> None:
    """openai and anthropic as installed here, synchronous and not: the same objects, or the same error."""
    need_cassettes()
    found = list(calls(path))
    if not found:
        pytest.skip("no SDK that is installed here speaks its protocol")
    shutil.copy(empty, tmp_path / "a.db")
    with Store.open(tmp_path / "a.db") as store:
        exchange.import_file(store, path)
    with recorder.open(tmp_path / "a.db") as handle:
        # Asynchronous clients share all but the carrying of bytes: a slice of them is enough where time is short.
        both = NIGHTLY or files().index(path) % 4 == 0
        for factory in (httpx2.Client, httpx2.AsyncClient) if both else (httpx2.Client,):
            replaying = handle.replay()
            for call in found:
                expected = seen(call, factory(transport=httpx2.MockTransport(own(call))))
                client = replaying.instrument(factory(verify=False, trust_env=False))
                assert seen(call, client) == expected
                assert expected[0] or expected[1]


# -- other shapes ------------------------------------------------------------------------------------------------------

_REQUEST = {"method": "POST", "uri": "https://api.openai.com/v1/chat/completions", "headers": {"a": ["b", "c"]}}


def one(value: Any) -> Foreign:
    (found,) = cassettes.of_cassette(value)
    return found


def vcrpy(request: dict[str, Any] | None = None, response: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "hi"}} | (response or {})
    return {
        "version": 1,
        "interactions": [{"request": {**_REQUEST, "body": None, **(request or {})}, "response": answer}],
    }


def test_bodies_of_vcrpy_in_every_shape() -> None:
    """Text, bytes, base64, parsed JSON, none at all, streamed in pieces."""
    assert one(vcrpy(response={"body": {"string": b"\xff"}})).body == b"\xff"
    assert one(vcrpy(response={"body": {"base64_string": base64.b64encode(b"\xfe").decode()}})).body == b"\xfe"
    assert one(vcrpy(response={"body": "plain"})).body == b"plain"
    assert one(vcrpy(response={"body": None})).body == b""
    assert one(vcrpy(request={"body": [b"a", b"b"]})).request_body == b"ab"
    parsed = one(vcrpy(response={"body": None, "parsed_body": {"a": [1, 1.5, None, "\u00e9"]}}))
    assert parsed.body == '{"a":[1,1.5,null,"é"]}'.encode()
    assert "bytes" in parsed.unknown
    assert one(vcrpy()).request_headers == (("a", "b"), ("a", "c"))


def test_cassettes_of_ruby_and_betamax() -> None:
    """`http_interactions`, encodings, base64, dates."""
    told = {
        "http_interactions": [
            {
                "request": {
                    "method": "post",
                    "uri": _REQUEST["uri"],
                    "body": {"encoding": "UTF-8", "string": "\u00e9"},
                    "headers": {"A": ["b"]},
                },
                "response": {
                    "status": {"code": 201, "message": "Created"},
                    "headers": {"Content-Type": ["text/event-stream"]},
                    "body": {"encoding": "ASCII-8BIT", "base64_string": base64.b64encode(b"data: 1\n\n").decode()},
                },
                "recorded_at": "Tue, 01 Nov 2011 04:58:44 GMT",
            }
        ],
        "recorded_with": "VCR 6.1.0",
    }
    found = one(told)
    assert cassettes.source_of(told) == "VCR for Ruby"
    assert (found.method, found.status, found.reason) == ("POST", 201, "Created")
    assert (found.request_body, found.body) == ("\u00e9".encode(), b"data: 1\n\n")
    assert found.started_at == 1_320_123_524_000_000
    assert cassettes.source_of(told | {"recorded_with": "betamax/0.9.0"}) == "betamax"
    told["http_interactions"][0]["recorded_at"] = "2014-01-01T10:00:00"  # type: ignore[index]
    assert one(told).started_at == 1_388_570_400_000_000


def test_cassettes_of_cassetter() -> None:
    """Typed bodies, whole numbers for statuses; TOML says them flat."""
    told = {
        "version": 1,
        "interactions": [
            {
                "request": {**_REQUEST, "body": {"type": "json", "content": {"b": 1, "a": "x"}}},
                "response": {
                    "status": 200,
                    "headers": {"content-type": ["text/event-stream"]},
                    "body": {"type": "text", "content": "data: 1\n\n"},
                },
                "recorded_at": "2026-02-01T00:00:00Z",
            }
        ],
    }
    assert cassettes.source_of(told) == "cassetter"
    assert (one(told).request_body, one(told).body) == (b'{"b":1,"a":"x"}', b"data: 1\n\n")
    flat = {
        "interactions": [
            {
                "request": {**_REQUEST, "body_type": "json", "body_content": '{"a": 1}'},
                "response": {"status": 204, "headers": {}, "body_type": "binary", "body_content": "00ff"},
            }
        ]
    }
    assert (one(flat).request_body, one(flat).body, one(flat).status) == (b'{"a": 1}', b"\0\xff", 204)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([{"request": {}, "response": {}}], "version 0"),
        ({"interactions": {}}, "no list"),
        ({"interactions": [], "ws": [1]}, "ws calls only"),
        ({"interactions": [{"request": {}}]}, "interaction 1: it has not the form"),
        ({"interactions": [7]}, "interaction 1: it has not the form"),
        (vcrpy(request={"uri": None}), "interaction 1: the request has no URL"),
        (vcrpy(response={"status": None}), "no status"),
        (vcrpy(response={"headers": {"a": {"b": "c"}}}), "a header is no name and value"),
        (vcrpy(response={"headers": 7}), "headers are neither"),
        (vcrpy(response={"body": {"base64_string": "\u00e9"}}), "damaged"),
        (vcrpy(response={"body": 7}), "neither text nor bytes"),
        (vcrpy(response={"body": {"type": "hologram", "content": 1}}), "does not know"),
    ],
)
def test_what_is_wrong_with_a_cassette_is_told(told: Any, why: str) -> None:
    """And with which interaction."""
    with pytest.raises(Unfit, match=why):
        list(cassettes.of_cassette(told))
