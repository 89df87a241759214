"""Ten million inputs that are nearly right, at night; some thousands at each run: parser, match and import take each of
them, or refuse it with an error of their own.

Nothing else may come out, and nothing may take long: a clock of processor time, which other programs do not slow down,
breaks off whoever stands still. The same seed gives the same inputs; the nightly run takes new ones, and says its seed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import UUID

import pytest

from recorder import exchange, match, sse
from recorder.errors import RecorderError
from recorder.exchange import foreign
from recorder.match import DEFAULT, Rule
from recorder.recording import Request
from tests import golden
from tests.mutated import HUGE, NASTY, Mutator
from tests.needs import NIGHTLY, examples
from tests.taped import chat, said, taped

#: How the work is divided, so that all cores have some of it.
SHARDS: Final = examples(1, 16)
#: Inputs of one run: ten million at night.
INPUTS: Final = {
    "parser": examples(6_000, 5_300_000),
    "match": examples(4_000, 4_250_000),
    "lines": examples(800, 300_000),
    "values": examples(400, 100_000),
    "files": examples(200, 50_000),
}
#: Seconds of processor time that no input of these sizes can take, however slow the machine.
MOST: Final = 20.0


class Hang(BaseException):
    """Somebody stood still."""


@contextmanager
def watched() -> Iterator[Callable[[], object]]:
    """Raises Hang where more than MOST seconds of processor time pass between two calls of what it gives."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_VIRTUAL, MOST)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


#: Inputs made of one seed: whoever looks for a failure makes these again, and not the millions before.
BLOCK: Final = 250

Try = Callable[[Mutator], None]


def fuzz(name: str, shard: int, told: Callable[[str, object], None], one: Try) -> None:
    """Tries as many inputs as this shard has. A failure says which seed makes it again."""
    run = os.environ.get("FUZZ_SEED") or (str(time.time_ns()) if NIGHTLY else "usual")
    count, done = INPUTS[name] // SHARDS, 0
    with watched() as alive:
        while done < count:
            seed = f"{name} {run} {shard} {done // BLOCK}"
            source = Mutator(seed)
            for _ in range(min(BLOCK, count - done)):
                alive()
                try:
                    one(source)
                except BaseException as error:
                    error.add_note(f"input {done % BLOCK} of seed {seed!r}")
                    raise
                done += 1
    told(f"{name}: inputs", done)
    told("seed", run)


def shards(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shard", range(SHARDS), ids=[f"{name}-{number}" for number in range(SHARDS)])


# -- what is taken -----------------------------------------------------------------------------------------------------

STREAMS: Final = [
    *(b"".join(said("Hello", " world")), b"event: a\r\ndata: {}\r\n\r\n", b": ping\n\ndata: one\ndata: two\nid: 7\n\n"),
    *(golden.stream(name)[1][:1500] for name in ("assistants-completed", "responses-completed", "messages-end-turn")),
    *(b"\xef\xbb\xbfdata: bom\r\rretry: 10\r\n\n", b"event: \xc3\xa9\ndata: \xff\xfe\n\n\n\ndata\n\n"),
]
SSE_WORDS: Final = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"data:",
        b"data: ",
        b"\ndata: {}\n\n",
        b"event: ",
        b"event:",
    ),
    *(
        b"id: \0",
        b"id: 7",
        b"retry: 10",
        b"retry: 9" * 20,
        b":",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\0",
        b"x" * 400,
        b"data: [DONE]\n\n",
    ),
)


def parse(source: Mutator) -> None:
    """The frames are the same at any chunking, they join to the input, and each dispatches or does not."""
    stream = source.octets(STREAMS, SSE_WORDS)
    found = []
    for chunks in ([stream], source.chunks(stream)):
        tokenizer = sse.Tokenizer()
        frames = [frame for chunk in chunks for frame in tokenizer.feed(chunk)] + tokenizer.finish()
        found.append((frames, tokenizer.close()))
    assert found[0] == found[1]
    frames, tail = found[0]
    assert b"".join(sse.wire(*frame[:3]) for frame in frames) + tail == stream
    for message in sse.messages(frames):
        assert "\r" not in message.data


_JSON: Final = b"application/json"
_PARTS: Final = (
    b'--b\r\ncontent-disposition: form-data; name="a"; filename="x.png"\r\n\r\n\x89PNG\r\n'
    b'--b\r\ncontent-disposition: form-data; name="b"\r\ncontent-type: text/plain\r\n\r\n{}\r\n--b--\r\n'
)
BODIES: Final = [
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi \\ud83d\\ude00"}],"max_tokens":1.0,"stream":true}',
    b'{"a":{"a":1,"a":2,"b":[1,[2,[3,{"c":null}]]]},"x":-0.0e+5,"y":12345678901234567890}',
    *(_PARTS, b"a=b&c=%20&a=", b"\xff\xfe\0", b"[" * 40 + b"]" * 40, b'"text"', b""),
]
BODY_WORDS: Final = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"null",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 400,
        b"0.10",
        b"-",
        b"tru",
    ),
    *(
        b'"\\ud800"',
        b"\\u0000",
        b"\\",
        b'\\"',
        b'{"a":' * 60,
        b"[" * 300,
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"--b",
        b"\r\n\r\n",
    ),
)
URLS: Final = [
    "https://api.openai.com/v1/threads/thread_1/runs?api-version=2024-05-01-preview&include[]=a%20b&include[]=c",
    *("http://127.0.0.1:8080/v1/x?key=abc&a=1&a=&b", "https://h/a%2Fb//../c;d=1?%zz=%", "http://[::1]/?#f", "/", ""),
]
TYPES: Final = (
    _JSON,
    _JSON,
    b"application/json; charset=utf-8",
    b"multipart/form-data; boundary=b",
    b"text/plain",
    b"",
    b'a;b="c',
)
RULES: Final = (
    DEFAULT,
    Rule(("body.messages[*].content", 'query["include[]"]', "body.a"), ("x-tenant",), ("ids", "dates", "/[0-9]+/")),
)


def request(source: Mutator) -> Request:
    body = source.octets(BODIES, BODY_WORDS)
    url = source.octets([url.encode() for url in URLS], (b"?", b"&", b"=", b"%", b"/", b"[", b"\0", b"#", b"\xc3\xa9"))
    headers = (("content-type", source.pick(TYPES).decode()), ("x-tenant", "a"))
    return Request("POST", url.decode("utf-8", "replace"), headers, body, len(body))


def matched(source: Mutator) -> None:
    """A key of 32 bytes, the same again; and what is told of two requests, and of a path that somebody wrote."""
    asked, rule = request(source), RULES[source.chance.random() < 0.3]
    found = match.key(asked, rule)
    assert len(found) == 32
    if source.chance.random() < 0.06:
        other = request(source)
        assert match.key(asked, rule) == found
        assert bool(match.differences(asked, other, rule)) == (found != match.key(other, rule))
        path = source.octets(
            (b"body.a[0].b", b'query["a b"]', b"body[*]"), (b"[", b"]", b'"', b".", b"*", b"-1", b"\\")
        )
        with_text = json.dumps(
            {"ignore": [path.decode("utf-8", "replace")], "headers": [], "v": source.pick(NASTY[:16])}
        )
        with suppress(RecorderError):
            Rule.from_text(source.pick((with_text, with_text[: len(with_text) // 2], rule.to_text())))


def refused_or_taken(path: Path, content: bytes, **how: Any) -> None:
    """A file is taken, or refused in one line."""
    path.write_bytes(content)
    try:
        found = foreign.look(path, **how)
    except RecorderError as error:
        assert "\n" not in str(error)  # noqa: PT017 (it may also be taken)
    else:
        for recording, rows in found.parsed:
            assert recording.ending is not None
            assert [row[1] for row in rows] == list(range(len(rows)))
            assert rows[-1][2] == "end"


def lines_of(path: Path) -> list[bytes]:
    """Recording files that are taken, whole; the same each time, ids included, or no seed would make an input again."""
    numbers = itertools.count((7 << 76) | (2 << 62))

    def ids() -> dict[str, Any]:
        return {"recording_id": UUID(int=next(numbers)), "writer": UUID(int=next(numbers))}

    answer, text = [(1000, b'{\n  "a": 1\n}\n')], (("content-type", "text/plain"),)
    frames = [*said("c"), b": ping\n\n", b'data: {"crlf":1}\r\n\r\n', b"data: \xff\n\n"]
    entries = [
        chat("hi", said("a", "b"), **ids()),
        chat("two", frames, tags={"k": "v"}, **ids()),
        taped(Request("GET", "https://h/x"), answer, headers=text, **ids()),
        taped(Request("GET", "https://h/x"), None, ending="connect_error", **ids()),
    ]
    made = []
    for identity in (True, False):
        for some in (entries[:1], entries[1:]):
            exchange.write(path, some, identity=identity, keep=False)
            made.append(path.read_bytes())
    return made


LINE_WORDS: Final = (
    *(b'"kind":{"a":1},', b'"kind":[],', b'"event":[],', b'"method":{},', b'"rule":{"key":[]},'),
    *(b'{"us":', b'"kind":"request",', b'"kind":"end",', b'"kind":"head",', b'"kind":"wire",', b'"kind":"info",'),
    *(
        b'"cuts":[[0,0]],',
        b'"cuts":[],',
        b'"size":1000000000,',
        b'"size":-1,',
        b'"raw":true,',
        b'"raw":"',
        b'"base64":"/w==",',
    ),
    *(b'"frame":["",""],', b'"indent":8,', b'"text":"', b'"data":', b'"event":"a\\nb",', b'"event":"x",', b'"us":0,'),
    *(
        b'"digests":[',
        b'"id":"',
        b'"salt":"00",',
        b'"key":null,',
        b'"rule":null,',
        b'"tags":[["a","b"]],',
        b'"erased":[],',
    ),
    *(
        b'"headers":[["a\\r\\nb","c"]],',
        b'"headers":[["a","\\u0000"]],',
        b'"headers":[["a","b"]],',
        b'"content":"facts",',
    ),
    *(
        b'"us":-9223372036854775808',
        b'"us":1e3',
        b"9" * 5000,
        b"\\ud800",
        b"\\u0000",
        b"\r\n",
        b"\n",
        b"\n\n",
        b"\0",
        b"null",
    ),
    *(
        b"{",
        b"}",
        b"[" * 300,
        b"]",
        b'"',
        b",",
        b":",
        b"\xff",
        b'"weight":0,',
        b'"bytes":0,',
        b'"status":7,',
        b"\xef\xbb\xbf",
    ),
)

_EXCHANGE: Final[dict[str, Any]] = {
    "request": {
        "method": "POST",
        "url": "https://api.openai.com/v1/chat/completions?api_key=x",
        "uri": "https://api.openai.com/v1/chat/completions",
        "httpVersion": "h2",
        "headers": [{"name": ":authority", "value": "h"}, {"name": "content-type", "value": "application/json"}],
        "postData": {
            "mimeType": "application/json",
            "text": '{"model":"gpt-4o"}',
            "params": [{"name": "a", "value": "b"}],
        },
        "bodySize": 18,
        "body": {"encoding": "utf-8", "string": '{"model":"gpt-4o"}'},
    },
    "response": {
        "status": 200,
        "statusText": "OK",
        "httpVersion": "HTTP/1.1",
        "headers": [
            {"name": "content-encoding", "value": "gzip"},
            {"name": "date", "value": "Sun, 01 Mar 2026 12:00:00 GMT"},
        ],
        "content": {
            "size": 15,
            "mimeType": "text/event-stream",
            "text": "H4sIAAAAAAAC",
            "encoding": "base64",
            "_isBinary": False,
        },
        "bodySize": 17,
        "body": {"base64_string": "H4sIAAAAAAAC"},
    },
    "startedDateTime": "2026-03-01T12:00:00.123Z",
    "recorded_at": "2026-03-01T12:00:00Z",
    "time": 1500.5,
    "timings": {"blocked": -1, "send": 1, "wait": 200, "receive": 1000},
    "_eventSourceMessages": [{"time": 1772366401.5, "eventName": "message", "eventId": "", "data": "[DONE]"}],
    "_recorder": {
        "ending": "reset",
        "captured": "full",
        "head_us": 10,
        "duration_us": 90,
        "chunks": [[20, 9]],
        "unknown": [],
    },
}
_PLAIN: Final[dict[str, Any]] = {
    "request": {
        "method": "GET",
        "uri": "http://h/a",
        "headers": {"Accept": ["*/*"]},
        "body": None,
        "parsed_body": {"a": [1]},
    },
    "response": {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Content-Type": ["text/event-stream"], "Content-Length": ["5"]},
        "body": {"string": "data: x\n\n", "type": "json", "content": {"a": 1}},
        "body_type": "binary",
        "body_content": "0001ff",
    },
}
VALUES: Final[tuple[Any, ...]] = (
    {"log": {"version": "1.2", "entries": [_EXCHANGE]}},
    {"interactions": [_PLAIN, {**_PLAIN, "response": {**_PLAIN["response"], "status": 200}}], "version": 1},
    {"http_interactions": [_EXCHANGE | {"response": _PLAIN["response"]}], "recorded_with": "VCR 6.0.0"},
    [_PLAIN],
    {
        "fixtures": [
            {
                "match": {"userMessage": "hello", "model": "gpt-4o"},
                "response": {
                    "content": "Hi",
                    "reasoning": "hm",
                    "blocks": [{"type": "toolCall", "name": "f", "arguments": {"a": 1}}, {"type": "text", "text": "x"}],
                    "toolCalls": [{"name": "f", "arguments": "{}", "id": "call_1"}],
                    "error": {"message": "slow", "type": "rate_limit"},
                    "status": 429,
                },
            }
        ]
    },
)


YAML: Final = (
    b"interactions:\n- request: {method: GET, uri: 'http://a/b', body: !!binary aGk=}\n  response:\n"
    b"    status: {code: 200, message: OK}\n    headers: {a: [b]}\n    body: {string: 'x'}\n"
)
TOML: Final = (
    b'version = 1\n[[interactions]]\n[interactions.request]\nmethod = "PUT"\nuri = "http://a/b"\n'
    b'body_type = "binary"\nbody_content = "00ff"\n[interactions.response]\nstatus = 204\n'
)


class Imports:
    """Files of every kind, one after the other at one place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = lines_of(folder / "good.jsonl")
        self._texts = [json.dumps(value).encode() for value in VALUES]
        self._texts += [YAML, TOML]

    def lines(self, source: Mutator) -> None:
        refused_or_taken(self._folder / "a.jsonl", source.octets(self._lines, LINE_WORDS), format="jsonl")

    def values(self, source: Mutator) -> None:
        value = source.value(source.pick(VALUES))
        text = json.dumps(value).replace(f'"{HUGE}"', "9" * 5000)
        refused_or_taken(self._folder / "a.json", text.encode())

    def files(self, source: Mutator) -> None:
        name = source.pick(("a.yaml", "a.json", "a.har", "a.toml", "a.sse", "a.txt", "a.jsonl"))
        good = STREAMS if name == "a.sse" else (*self._texts, *self._lines)
        words = (*YAML_WORDS, *LINE_WORDS, *SSE_WORDS)
        asked = source.pick(
            (foreign.NOTHING, exchange.Asked("GET", "http://a/", b"x"), exchange.Asked("\0", "x", None))
        )
        refused_or_taken(self._folder / name, source.octets(good, words), asked=asked)


YAML_WORDS: Final = (
    *(b"!!python/object/apply:os.system ['true']", b"!!python/name:os.system", b"!!binary |\n  aGk=\n", b"!!set {a}"),
    *(
        b"&a [*a, *a]",
        b"*a",
        b"<<: *a",
        b"- ",
        b"\n- ",
        b"? ",
        b": ",
        b"|\n",
        b">\n",
        b"---\n",
        b"...\n",
        b"\t",
        b"!",
        b"@",
        b"%YAML 9",
    ),
    *(
        b"2026-13-45",
        b"0x" + b"f" * 60,
        b".inf",
        b"1_000",
        b"1:60:60",
        b"[[interactions]]\n",
        b"[interactions]\n",
        b'"""',
    ),
)


# -- runs --------------------------------------------------------------------------------------------------------------


@shards("parser")
def test_any_stream_is_cut_into_frames(shard: int, record_property: Callable[[str, object], None]) -> None:
    fuzz("parser", shard, record_property, parse)


@shards("match")
def test_any_request_has_a_key(shard: int, record_property: Callable[[str, object], None]) -> None:
    fuzz("match", shard, record_property, matched)


@pytest.mark.parametrize("name", ["lines", "values", "files"])
@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_file_is_taken_or_refused(
    tmp_path: Path, name: str, shard: int, record_property: Callable[[str, object], None]
) -> None:
    """Recording files; archives, cassettes and fixtures that were changed as values; files of all kinds, as bytes."""
    fuzz(name, shard, record_property, getattr(Imports(tmp_path), name))


#: What may take time that grows with the square of its length: each at 256 KiB, at night at a megabyte.
REPEATED: Final = (
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"data\n",
        b"data: x\r",
        b"event: a\n",
        b"data: {}\n\n",
        b"data: \n",
        b": \n\n",
        b"a",
        b"\xef\xbb\xbf",
    ),
    *(
        b"[",
        b"{",
        b'{"a":',
        b'[{"a":1},',
        b'"',
        b'\\"',
        b"\\u00e9",
        b"9",
        b"0.1,",
        b" ",
        b"-",
        b"--b\r\n",
        b"&a=",
        b"%",
    ),
    *(
        b'{"us":1,"data":{}}\n',
        b'{"us":1,"kind":"request"',
        b'"data":',
        b'{"us":0,"raw":"',
        b"- ",
        b"- a\n",
        b"&a ",
        b"[[a]]\n",
    ),
)


@pytest.mark.parametrize("name", ["stream", "match", "a.jsonl", "a.json", "a.yaml", "a.toml", "a.sse"])
def test_much_of_one_thing_takes_no_time(tmp_path: Path, name: str) -> None:
    """Nor memory without end: work grows with the length of the input, and not with its square."""
    opening = lines_of(tmp_path / "good.jsonl")[2][: -len(b"}}\n")]
    with watched() as alive:
        for unit in REPEATED if NIGHTLY else REPEATED[:: 6 if name == "a.yaml" else 4]:
            data = unit * (examples(1 << 18, 1 << 20) // len(unit))
            alive()
            if name == "stream":
                tokenizer = sse.Tokenizer()
                frames = [frame for at in range(0, len(data), 100) for frame in tokenizer.feed(data[at : at + 100])]
                for _ in sse.messages(frames + tokenizer.finish()):
                    pass
            elif name == "match":
                for kind in ("application/json", "multipart/form-data; boundary=b", "text/plain"):
                    match.key(Request("POST", "http://h/x", (("content-type", kind),), data, len(data)), RULES[1])
            else:
                refused_or_taken(tmp_path / name, opening + data if name == "a.jsonl" else data)


def test_the_night_has_ten_million_inputs() -> None:
    """Of each kind as many as its shards divide evenly, so that none is left out."""
    if NIGHTLY:
        assert sum(INPUTS.values()) == 10_000_000
    assert all(count % SHARDS == 0 for count in INPUTS.values())


def test_what_stands_still_is_found() -> None:
    """The clock works: a loop without end is broken off."""
    with watched() as alive, pytest.raises(Hang):
        alive()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
        while True:
            pass
