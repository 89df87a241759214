"""Recording files that are damaged, too new, or meant to do harm: refused whole, with the line and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import exchange
from recorder.errors import UsageError
from recorder.exchange import lines, reading
from tests.needs import examples
from tests.taped import chat, said

#: A whole file: header, request, head, two events, `[DONE]`, end.
ENTRY = chat("hi", said("a", "b"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    exchange.write(tmp_path / "a.jsonl", [ENTRY], identity=True)
    return tmp_path / "a.jsonl"


def edited(path: Path, line: int, change: Callable[[str], str]) -> None:
    told = path.read_text().splitlines()
    told[line - 1] = change(told[line - 1])
    path.write_text("\n".join(told) + "\n")


def sub(old: str, new: str) -> Callable[[str], str]:
    def change(line: str) -> str:
        assert re.search(old, line), line
        return re.sub(old, lambda _: new, line, count=1)

    return change


_NO_SEAL = sub(r',"digests":\[[^\]]*\]', "")

WRONG: list[tuple[int, Callable[[str], str], str]] = [
    (1, sub('"recordings"', '"other"'), "no recording file"),
    (1, sub('"1.0"', '"2.0"'), "upgrade recorder"),
    (1, sub('"1.0"', '"x"'), "no recording file"),
    (1, sub(r"2026-[^\"]*", "yesterday"), "line 1: `recorded` must be a time"),
    (1, sub(r"\+00:00|Z", ""), "line 1: `recorded` must be a time"),
    (2, sub('"POST"', '"PO ST"'), "line 2: `method`"),
    (2, sub('"https://api', '"https://\\r\\napi'), "line 2: `url`"),
    (2, sub(r'"application/json"', '"a\\r\\nx-evil: 1"'), "line 2: a header holds what none can"),
    (2, sub(r'"content-type"', '"content type"'), "line 2: a header holds what none can"),
    (2, sub(r'\[\["content-type".*?\]\]', '{"a":"b"}'), "line 2: `headers`"),
    (2, sub('"us":0', '"us":"0"'), "line 2: it should open a recording|line 2: `us`"),
    (2, sub('"kind":"request"', '"kind":"end"'), "line 2: it should open a recording"),
    (2, sub('"dialect":"chat"', '"dialect":7'), "line 2: `dialect`"),
    (2, sub('"id":"[^"]*"', '"id":"7"'), "line 2: `id` must be a UUID"),
    (2, sub('"salt":"[^"]*"', '"salt":"xyz"'), "line 2: `salt` must be hex"),
    (2, sub('"dialect"', '"colour":"red","dialect"'), "line 2: nothing is known of 'colour'"),
    (2, sub('"dialect"', '"weight":0,"dialect"'), "line 2: `weight`"),
    (2, sub('"rule":{"key":1', '"rule":{"key":99'), "line 2: `rule` is no match rule"),
    (2, sub('"dialect"', '"method":"GET","dialect"'), "line 2: it is no JSON .a member is there twice"),
    (2, sub(r"\}\Z", ""), "line 2: it is no JSON"),
    (3, sub("200", "20"), "line 3: `status` must be"),
    (3, sub("200", "true"), "line 3: `status` must be"),
    (3, sub('"OK"', '"OK\\r\\nx: y"'), "line 3: its data must be a head"),
    (3, sub('"HTTP/1.1"', '"GOPHER"'), "line 3: its data must be a head"),
    (3, sub("charset=utf-8", "\\r\\nset-cookie: a"), "line 3: a header holds"),
    (3, sub('"kind":"head"', '"kind":"tail"'), "line 3: `kind` must be"),
    (3, sub('"us":900', '"us":90000'), "line 4: `us` is smaller than in the line before"),
    (3, sub('"us":900', '"us":-1'), "line 3: `us` must be a number"),
    (2, sub('"us":0', '"us":9223372036854775807'), "line 2: `us` tells a time of day before the year 2 or after 9998"),
    (2, sub('"us":0', '"us":-64000000000000000'), "line 2: `us` tells a time of day before the year 2 or after 9998"),
    (6, lambda _: '{"us":1000000000000000,"text":"a"}', "line 6: `us` must be a number from 0 to 999999999999999"),
    (6, lambda _: '{"us":3000,"size":9223372036854775807}', "line 7: its events are larger than any could be"),
    (7, sub('"kind":"end"', '"kind":"end","status":9223372036854775807'), "line 7: `status` must be a number from 100"),
    (7, sub('"kind":"end"', '"kind":"end","head_us":9223372036854775807'), "line 7: `head_us` must be a number from 0"),
    (3, sub('"data"', '"cuts":[],"data"'), "line 3: it is no part of the body"),
    (4, sub('"us":1000', '"us":1000,"cuts":[[99999,1000]]'), "line 4: `cuts` must rise"),
    (4, sub('"us":1000', '"us":1000,"cuts":[[5,1],[4,1]]'), "line 4: `cuts` must rise"),
    (4, sub('"us":1000', '"us":1000,"cuts":[5]'), "line 4: `cuts` must be"),
    (4, sub('"us":1000', '"us":1000,"text":"x"'), "line 4: data and text exclude each other|line 4: "),
    (4, sub(r"\}\}\Z", "}"), "line 4: "),
    (4, sub(r"\}\Z", ',"event":"x"}'), "line 4: "),
    (4, lambda line: json.dumps(json.loads(line), sort_keys=True), "line 4: .*`data` must be its last member"),
    (4, sub('"us":1000,', '"us":1000,"kind":"head",'), "line 4: a head cannot come here"),
    (5, sub('"b"', '"c"'), "line 7: the recording is not what was sealed"),
    (5, sub('"us":2000', '"us":2001'), "line 7: the recording is not what was sealed"),
    (5, lambda _: "", "line 5: it is empty"),
    (5, lambda line: line + "\n" + line, "line 8: the recording is not what was sealed"),
    (6, lambda _: '{"us":3000,"raw":"data: [DONE]\\n\\n"}', "line 6: `raw` or `frame` must be one frame"),
    (6, lambda _: '{"us":3000,"raw":": a\\n\\n: b\\n\\n"}', "line 6: `raw` or `frame` must be one frame"),
    (6, lambda _: '{"us":3000,"event":"x","raw":": a\\n\\n"}', "line 6: `event` is not the name"),
    (6, lambda _: '{"us":3000,"text":"a\\nb"}', "line 6: the data of an event is one line"),
    (6, lambda _: '{"us":3000,"text":"\\ud800"}', "line 6: a string holds half a character"),
    (6, lambda _: '{"us":3000,"base64":"***"}', "line 6: base64 is damaged"),
    (6, lambda _: '{"us":3000,"kind":"body","event":"x","text":"a"}', "line 6: only server-sent events have a name"),
    (6, lambda _: '{"us":3000}', "line 6: `size` must be a number"),
    (6, lambda _: '{"us":3000,"text":"a","size":5}', "line 6: `size` says 5"),
    (6, lambda _: '{"us":3000,"data":' + "[" * 100_000 + "]" * 100_000 + "}", "line 6: "),
    (6, lambda _: "[" * 100_000, "line 6: it is nested too deeply|line 6: it is no JSON"),
    (6, lambda _: "\x00\xff", "line 6: it is no JSON"),
    (7, sub('"ending":"eof"', '"ending":"well"'), "line 7: its data must say `ending`"),
    (7, sub(r'"digests":\["[0-9a-f]{6}', '"digests":["000000'), "line 7: the recording is not what was sealed"),
    (7, sub(r'"digests":\[[^\]]*\]', '"digests":7'), "line 7: `digests` must be"),
    (7, lambda line: line + '\n{"us":9000,"text":"late"}', "line 8: it comes after the recording's end"),
    (7, lambda line: line + "\n" + line, "line 8: it comes after the recording's end|line 8: a end cannot"),
]


@pytest.mark.parametrize(("line", "change", "told"), WRONG)
def test_a_wrong_line_is_named_with_what_is_wrong(
    path: Path, line: int, change: Callable[[str], str], told: str
) -> None:
    """And nothing of the file is taken."""
    edited(path, line, change)
    with pytest.raises(UsageError, match=told) as raised:
        list(exchange.read(path))
    assert "\n" not in str(raised.value)
    assert "Bearer" not in str(raised.value)


def test_an_edited_recording_is_imported_as_another_once_its_seal_is_taken_out(path: Path) -> None:
    """People edit test recordings by hand: without `id` and `digests` a changed word is just another recording."""
    edited(path, 2, sub(r',"id":"[^"]*"', ""))
    edited(path, 5, sub('"b"', '"changed"'))
    edited(path, 7, _NO_SEAL)
    (entry,) = exchange.read(path)
    assert entry.recording.recording_id != ENTRY.recording.recording_id
    assert b"changed" in (entry.events[2].data or b"")


def test_a_later_minor_version_may_hold_more(path: Path) -> None:
    """What is not known is left out there; a file of a later minor version is not replaced."""
    edited(path, 1, sub('"1.0"', '"1.9"'))
    for line in (2, 4, 7):
        edited(path, line, sub('"us"', '"us"'))
        edited(path, line, sub(',"', ',"colour":{"deep":[1]},"'))
    (entry,) = exchange.read(path)
    assert entry.recording == ENTRY.recording
    with pytest.raises(UsageError, match="written by a later recorder"):
        exchange.write(path, [ENTRY])


def test_a_checkout_with_crlf_is_read(path: Path) -> None:
    """Git on Windows ends lines so; any other carriage return is refused."""
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (entry,) = exchange.read(path)
    assert list(entry.events) == list(ENTRY.events)
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b'"choices"', b'\r"choices"', 1))
    with pytest.raises(UsageError, match="line 4: a carriage return"):
        list(exchange.read(path))


def test_a_file_without_recordings_holds_none(tmp_path: Path) -> None:
    """It is a file all the same."""
    exchange.write(tmp_path / "a.jsonl", [])
    assert list(exchange.read(tmp_path / "a.jsonl")) == []


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"[]\n", b"data: x\n\n", b"\x00" * 9000, b"interactions: []\n"])
def test_what_is_no_recording_file_is_told(tmp_path: Path, content: bytes) -> None:
    """With the command that reads others."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UsageError, match=r"no recording file: .*`recorder import` reads others"):
        list(exchange.read(tmp_path / "a"))


def test_a_recording_that_is_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is in memory."""
    monkeypatch.setattr(reading, "LARGEST", 300)
    with pytest.raises(UsageError, match="keep such recordings in a store"):
        list(exchange.read(path))


@settings(max_examples=examples(100, 20_000))
@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """Bytes changed, cut out, doubled anywhere: UsageError, or a file that still holds."""
    path = tmp_path_factory.mktemp("x") / "a.jsonl"
    exchange.write(path, [ENTRY], identity=data.draw(st.booleans()))
    text = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 40)))
        text = text[:at] + data.draw(st.binary(max_size=12) | st.just(text[at:until] * 2)) + text[until:]
    path.write_bytes(text)
    try:
        for entry in exchange.read(path):
            assert entry.recording.ending is not None
            assert entry.events[-1].kind == "end"
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 (it may also be taken)


@given(st.integers(-62_104_060_800_000_000, 253_370_764_799_999_999))
def test_a_time_of_day_and_its_text_are_the_same(micros: int) -> None:
    """To the microsecond, in any year that is taken."""
    assert lines.is_time_of_day(micros)
    assert lines.micros(datetime.fromisoformat(lines.timestamp(micros))) == micros


@pytest.mark.parametrize("micros", [-62_104_060_800_000_001, 253_370_764_800_000_000])
def test_what_no_zone_can_show_is_no_time_of_day(micros: int) -> None:
    assert not lines.is_time_of_day(micros)
