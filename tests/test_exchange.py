"""Recording files: whatever was recorded comes back as it was, in few readable lines, and into any store."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import exchange, match, verify
from recorder.capture import Capture
from recorder.digest import erased
from recorder.errors import UsageError
from recorder.exchange import Entry, lines
from recorder.recording import Erasure, Event, Request, Transport, uuid7
from recorder.replay import Player
from recorder.store import Append, RunFilter, Store
from tests import golden
from tests.needs import examples
from tests.tape import EVENT_STREAM, JSON, ORIGIN, recorded
from tests.taped import chat, said, taped

STREAM = b"event: a\ndata: {}\n\n"


def written(path: Path, *entries: Entry, identity: bool = True) -> list[Entry]:
    """The recordings, through a file."""
    exchange.write(path, entries, identity=identity, keep=False)
    return list(exchange.read(path))


def same(one: Entry, other: Entry) -> bool:
    return one.recording == other.recording and list(one.events) == list(other.events)


def post(body: bytes = b"{}") -> Request:
    return Request("POST", f"{ORIGIN}/v1/chat/completions", (), body, len(body))


# -- round trips -------------------------------------------------------------------------------------------------------

_frames = st.one_of(
    st.sampled_from(
        [
            STREAM,
            b"data: [DONE]\n\n",
            b'data: {"a":1}\r\n\r\n',
            b'id: 7\nevent: b\ndata: {"t":"\\u00e9\\ud800"}\n\n',
            b": ping\n\n",
            b"data: one\ndata: two\n\n",
            b"\n",
            b"data: \xff\xfe\n\n",
            b'data: {"n":1.0,"n":1e400,"big":' + b"9" * 30 + b"}\n\n",
            b'data:  {"spaced": true} \n\n',
            b'\xef\xbb\xbfdata: {"bom":1}\n\n',
            b'data: {"a":"\xe2\x80\xa8"}\n\n',
            b"data: NaN\n\n",
            b'event: \xc3\xa9"\\\ndata: {}\n\n',
            b"data\n\n",
            b"data: {}\r\r",
        ]
    ),
    st.binary(max_size=40),
)


@settings(max_examples=examples(50, 5000))
@given(
    st.lists(_frames, max_size=8),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.sampled_from([EVENT_STREAM, JSON, (("content-type", "text/plain"),)]),
    st.sampled_from([Transport.EOF, Transport.RESET, Transport.CLIENT_CLOSED]),
    st.sampled_from(["full", "facts", "none"]),
    st.binary(max_size=60),
    st.booleans(),
)
def test_any_recording_comes_back_the_same(  # noqa: PLR0917 (as drawn)
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[bytes],
    sizes: list[int],
    headers: Any,
    ending: str,
    content: str,
    body: bytes,
    packed: bool,
) -> None:
    """Values, rows, cuts, times, seals; and written again it is the same file."""
    answer = b"".join(frames)
    if packed:
        answer, headers = gzip.compress(answer, mtime=0), (*headers, ("content-encoding", "gzip"))
    chunks: list[tuple[int, bytes]] = []
    at = 0
    while at < len(answer):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append((1000 + len(chunks) * 7, answer[at : at + size]))
        at += size
    asked = post(body if content == "full" else b"")
    entry = taped(
        asked if content == "full" else replace(asked, body=None, body_size=len(body)),
        chunks,
        headers=headers,
        ending=ending,
        content=content,
        session="s\u00e9",
        tags={"k": "v"},
        call=uuid7(),
        weight=2.5,
    )
    path = tmp_path_factory.mktemp("x") / "a.jsonl"
    (back,) = written(path, entry)
    assert same(back, entry)
    first = path.read_bytes()
    written(path, back)
    assert path.read_bytes() == first
    (plain,) = written(path, entry, identity=False)
    assert list(plain.events) == list(entry.events)
    first = path.read_bytes()
    written(path, plain, identity=False)
    assert path.read_bytes() == first


@settings(max_examples=examples(66, 5000))
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([None, 2, 4]),
    st.sampled_from(["", "\n"]),
    st.booleans(),
)
def test_any_body_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, value: Any, indent: int | None, after: str, plain: bool
) -> None:
    """JSON however it was printed, of a request and of an answer."""
    body = (json.dumps(value, indent=indent, ensure_ascii=plain) + after).encode("utf-8", "surrogatepass")
    entry = taped(post(body), [(1000, body)], headers=JSON)
    (back,) = written(tmp_path_factory.mktemp("x") / "a.jsonl", entry)
    assert same(back, entry)


@pytest.mark.parametrize(
    "name",
    [
        name
        for dialect in ("assistants", "chat", "responses", "messages", "gemini", "raw")
        for name in golden.names(dialect)
    ],
)
def test_golden_streams_come_back_the_same(tmp_path: Path, name: str) -> None:
    """Through a file into a store, the rows of both stores are equal; and out again, the same file."""
    asked, answer = golden.stream(name)
    recording, events = recorded(asked, answer, chunk=37, salt=b"s" * 16, started_at=1_790_000_000_123_456)
    entry = Entry(recording, events)
    exchange.write(tmp_path / "a.jsonl", [entry], identity=True)
    (back,) = exchange.read(tmp_path / "a.jsonl")
    assert same(back, entry)


def test_a_store_takes_a_file_and_gives_it_back(tmp_path: Path) -> None:
    """Rows, requests, endings and seals of the second store are those of the first; importing again changes nothing."""
    entries = [chat(f"say {word}", said(word, "!")) for word in ("one", "two", "three")]
    with Store.open(tmp_path / "a.db", create=True) as one:
        one.append(
            [Append(e.recording.recording_id, e.recording, lines.rows_of(e), e.recording.ending) for e in entries]
        )
        ids = [entry.recording.recording_id for entry in entries]
        exchange.write(tmp_path / "a.jsonl", exchange.entries(one, ids), identity=True)
    with Store.open(tmp_path / "b.db", create=True) as other:
        exchange.load(tmp_path / "a.jsonl", other)
        exchange.load(tmp_path / "a.jsonl", other)
        assert len(other.recordings(RunFilter())) == 3
        for given_, back in zip(entries, exchange.entries(other, ids), strict=True):
            assert same(given_, back)
        exchange.write(tmp_path / "b.jsonl", exchange.entries(other, ids), identity=True)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_file_without_identity_is_the_same_whoever_recorded_it(tmp_path: Path) -> None:
    """No id, salt, session, writer, seal; and the recordings made of it are the same each time it is read."""
    one = chat("hi", said("a"), session="s", trace="t", call=uuid7())
    other = Entry(replace(one.recording, recording_id=uuid7(), writer=uuid7(), salt=b"x", session=None), one.events)
    exchange.write(tmp_path / "a.jsonl", [one])
    exchange.write(tmp_path / "b.jsonl", [other])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    first, again = list(exchange.read(tmp_path / "a.jsonl")), list(exchange.read(tmp_path / "a.jsonl"))
    assert first == again
    assert first[0].recording.started_at == one.recording.started_at
    assert first[0].recording.match_key == one.recording.match_key


def test_recordings_of_one_request_are_replayed_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Whatever their times and ids were: a file may hold what was recorded later before what was recorded earlier."""
    entries = [chat("hi", said(str(number)), started_at=9_000_000 - number) for number in range(5)]
    exchange.write(tmp_path / "a.jsonl", entries)
    with exchange.load(tmp_path / "a.jsonl") as store:
        player = Player(store)
        told = [
            b"".join(chunk for _, chunk in player.play(player.find(entries[0].recording.request)).chunks())
            for _ in range(5)
        ]
    assert told == [b"".join(said(str(number))) for number in range(5)]


def test_replay_from_a_file_has_the_recorded_chunks_times_and_ending(tmp_path: Path) -> None:
    """Cuts within events, a reset in the middle, the exception's words."""
    answer = b"".join(said("one", "two"))
    chunks = [(1000 + at * 10, answer[at : at + 37]) for at in range(0, len(answer), 37)]
    entry = taped(post(), chunks, ending=Transport.RESET, detail={"exception": {"class": "x.Y", "message": "gone"}})
    exchange.write(tmp_path / "a.jsonl", [entry])
    with exchange.load(tmp_path / "a.jsonl") as store:
        player = Player(store)
        playback = player.play(player.find(entry.recording.request))
        assert list(playback.chunks()) == chunks
        assert playback.finish == "reset"
        assert playback.ending.detail["exception"] == {"class": "x.Y", "message": "gone"}


def test_an_open_recording_is_written_as_recovery_would_end_it(tmp_path: Path) -> None:
    """It says `interrupted`, and nothing that is not known."""
    entry = chat("hi", said("a", "b"))
    growing = Entry(replace(entry.recording, ending=None), entry.events[:2])
    (back,) = written(tmp_path / "a.jsonl", growing)
    assert back.recording.ending is not None
    assert (back.recording.ending.ending, back.recording.ending.captured) == ("interrupted", "truncated")


def without_content(whole: Entry) -> Entry:
    """What is left of a recording once it was erased."""
    assert whole.recording.ending is not None
    recording = replace(
        whole.recording,
        request=replace(whole.recording.request, url="", headers=(), body=None),
        salt=None,
        match_key=None,
        match_rule=None,
        ending=replace(whole.recording.ending, detail={}),
        erasures=(Erasure(1_790_000_000_000_000, "Ann", "asked for"),),
    )
    return Entry(recording, [Event(*erased(row)[1:]) for row in lines.rows_of(whole)])


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_database"])
def test_an_erased_recording_is_imported_as_erased(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Its facts and all three digests, and who erased it, when and why: verification says erased, and a further import
    changes nothing. One that still holds something, or does not say that it was erased, is refused."""
    gone = without_content(chat("hi", [b": x\n\n", *said("a")]))
    path = tmp_path / "a.jsonl"
    (back,) = written(path, gone)
    assert same(back, gone)
    with Store.open(request.getfixturevalue(database), create=True) as store:
        for _ in range(2):
            exchange.load(path, store)
        (checked,) = list(map(verify.check, store.scan()))
        assert (checked.verdict, checked.problems) == ("erased", ())
        (scanned,) = store.scan()
        assert list(scanned.erasures) == list(gone.recording.erasures)
        ids = [gone.recording.recording_id]
        exchange.write(tmp_path / "b.jsonl", exchange.entries(store, ids), identity=True)
        assert (tmp_path / "b.jsonl").read_bytes() == path.read_bytes()
    text = path.read_bytes()
    for good, bad, why in (
        (b',"erased":[[1790000000000000,"Ann","asked for"]]', b"", "not what was sealed"),
        (b'"url":""', b'"url":"https://h/"', "holds content"),
        (b'"Ann"', b"7", "`erased` must be"),
        (b'"captured":"full",', b"", "`captured` is missing"),
        (b'{"us":2000,"size":', b'{"us":2000,"text":"x","size":', "holds content|size"),
    ):
        assert text.count(good) == 1
        path.write_bytes(text.replace(good, bad))
        with pytest.raises(UsageError, match=why):
            list(exchange.read(path))


def test_an_id_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Nobody can tell which of the two is meant."""
    one = chat("hi", said("a"))
    exchange.write(tmp_path / "a.jsonl", [one, one], identity=True)
    with pytest.raises(UsageError, match="line 7: a recording of that id came before"):
        list(exchange.read(tmp_path / "a.jsonl"))


# -- what it looks like ------------------------------------------------------------------------------------------------


def test_a_file_is_pleasant_to_read(tmp_path: Path) -> None:
    """One event a line; JSON as JSON, however it was printed; text as text; base64 for what is neither."""
    frames = [*said("caf\u00e9"), b'data: {"crlf":true}\r\n\r\n', b": ping\n\n", b"data: \xff\n\n"]
    entry = chat("hi", frames)
    document = taped(post(json.dumps({"a": 1}, indent=2).encode()), [(1000, b'{\n  "id": "x"\n}\n')], headers=JSON)
    exchange.write(tmp_path / "a.jsonl", [entry, document])
    told = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert told[0] == '{"recorder":"recordings","version":"1.0","recorded":"2026-09-21T14:13:20.000000Z"}'
    assert told[1].startswith(
        '{"us":0,"kind":"request","method":"POST","url":"https://api.openai.com/v1/chat/completions",'
    )
    assert told[1].endswith('"stream": true}}')
    assert told[2].startswith('{"us":900,"kind":"head","data":{"http":"HTTP/1.1","status":200,')
    assert told[3].endswith('"chat.completion.chunk", "choices": [{"delta": {"content": "caf\\u00e9"}}]}}')
    assert told[4] == '{"us":2000,"text":"[DONE]"}'
    assert told[5] == '{"us":3000,"frame":["data: ","\\r\\n\\r\\n"],"data":{"crlf":true}}'
    assert told[6] == '{"us":4000,"raw":": ping\\n\\n"}'
    assert told[7] == '{"us":5000,"base64":"/w=="}'
    assert told[8] == '{"us":6000,"kind":"end","data":{"ending":"eof","captured":"full"}}'
    assert told[9].endswith('"headers":[],"indent":2,"data":{"a":1}}')
    assert told[11] == '{"us":2000,"kind":"body","cuts":[[16,1000]],"indent":2,"frame":["","\\n"],"data":{"id":"x"}}'
    for line in told:
        json.loads(line)


def test_a_file_holds_what_a_store_holds_and_no_credential(tmp_path: Path) -> None:
    """A header by hand that recorder would never store is withheld when the file is read."""
    exchange.write(tmp_path / "a.jsonl", [chat("hi", said("a"))])
    text = (
        (tmp_path / "a.jsonl")
        .read_text()
        .replace('[["content-type","application/json"]]', '[["authorization","Bearer abc123456789"],["x-api-key","k"]]')
    )
    (tmp_path / "a.jsonl").write_text(text)
    (entry,) = exchange.read(tmp_path / "a.jsonl")
    assert entry.recording.request.headers == (("authorization", "[redacted]"), ("x-api-key", "[redacted]"))


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    """A damaged recording leaves the old file, and nothing beside it; the mode of the file stays."""
    path = tmp_path / "deep" / "a.jsonl"
    good = chat("hi", said("a"))
    exchange.write(path, [good])
    path.chmod(0o640)
    before = path.read_bytes()
    bad = Entry(good.recording, [good.events[0]._replace(cuts=b"\x01"), *good.events[1:]])
    with pytest.raises(Exception, match="damaged"):
        exchange.write(path, [good, bad], keep=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    exchange.write(path, [good, good], keep=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_of_many_recordings_is_read_one_at_a_time(tmp_path: Path) -> None:
    """The second is not looked at before the first was handed on: a file may be larger than memory."""
    exchange.write(tmp_path / "a.jsonl", [chat(str(number), said("x" * 400_000)) for number in range(8)])
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"what is this\n")
    reading = exchange.read(tmp_path / "a.jsonl")
    assert [next(reading).recording.request.body_size > 0 for _ in range(7)] == [True] * 7
    with pytest.raises(UsageError, match=r"line 42: it comes after the recording's end|line 42: it is no JSON"):
        list(reading)


def test_a_file_that_is_refused_leaves_no_trace_in_a_store(tmp_path: Path) -> None:
    """All or nothing."""
    exchange.write(tmp_path / "a.jsonl", [chat("one", said("a")), chat("two", said("b"))])
    text = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(text[: text.rindex(b'{"us"')])
    with Store.open(tmp_path / "a.db", create=True) as store:
        with pytest.raises(UsageError, match="has no end: the file was cut off"):
            exchange.load(tmp_path / "a.jsonl", store)
        assert store.recordings(RunFilter()) == []


def ids(entries: Sequence[Entry]) -> list[Any]:
    return [entry.recording.recording_id for entry in entries]


def test_a_file_under_another_rule_keeps_it(tmp_path: Path) -> None:
    """The key by which a request is found is made again by the rule that stands in the file."""
    rule = match.Rule(("body.messages",), ("x-tenant",))
    entry = chat("hi", said("a"), match_rule=rule.to_text())
    (back,) = written(tmp_path / "a.jsonl", entry, identity=False)
    assert (back.recording.match_rule, back.recording.match_key) == (rule.to_text(), entry.recording.match_key)
    assert Capture(back.recording).recording is back.recording


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    """A pipe as it is, as `/dev/stdout` may be one; and where a link leads, the file."""
    pipe, file, link = tmp_path / "pipe", tmp_path / "file", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(file)
    with ThreadPoolExecutor(1) as other:
        read = other.submit(pipe.read_bytes)
        assert exchange.put_in_place(pipe, [b"a", b"b"])
        assert read.result(timeout=20) == b"ab"
    assert pipe.is_fifo()
    assert exchange.put_in_place(link, [b"c"])
    assert (link.is_symlink(), file.read_bytes()) == (True, b"c")
    assert sorted(tmp_path.iterdir()) == [file, link, pipe]
    out, into = os.pipe()
    with os.fdopen(out, "rb") as end:
        assert exchange.put_in_place(Path(f"/proc/self/fd/{into}"), [b"d"]), "a pipe that has no name"
        os.close(into)
        assert end.read() == b"d"
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        exchange.put_in_place(tmp_path, [b"e"])
