"""HTTP Archives: ours come back as they were recorded, others with what they hold and no more."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from recorder import exchange, reader, replay
from recorder.exchange import Entry, har
from recorder.exchange.building import Foreign, Maker, Unfit
from recorder.recording import Event, Head, Request, Transport
from recorder.store import Store
from tests import golden
from tests.rows import STARTED
from tests.tape import EVENT_STREAM, JSON, ORIGIN, recorded
from tests.taped import chat, said, taped


def archive(*entries: Entry) -> dict[str, Any]:
    value: dict[str, Any] = json.loads("".join(exchange.to_har(entries, "1.2.3")))
    return value


def back(*entries: Entry) -> list[Entry]:
    """Through an archive."""
    maker = Maker("HAR")
    found = []
    for each in har.of_har(archive(*entries)):
        assert isinstance(each, Foreign)
        recording, rows = maker.make(each)
        found.append(Entry(recording, [Event(*row[1:]) for row in rows]))
    return found


def entry(**changes: Any) -> dict[str, Any]:
    """An entry as browsers write one."""
    told: dict[str, Any] = {
        "startedDateTime": "2026-03-01T12:00:00.123Z",
        "time": 1500.5,
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "httpVersion": "h2",
            "headers": [{"name": ":authority", "value": "api.openai.com"}, {"name": "Accept", "value": "*/*"}],
            "postData": {"mimeType": "application/json", "text": '{"model":"gpt-4o","messages":[]}'},
            "bodySize": 32,
        },
        "response": {
            "status": 200,
            "statusText": "",
            "httpVersion": "h2",
            "headers": [
                {"name": "content-type", "value": "text/event-stream"},
                {"name": "content-encoding", "value": "br"},
                {"name": "content-length", "value": "17"},
                {"name": "set-cookie", "value": "session=1"},
            ],
            "content": {"size": 15, "mimeType": "text/event-stream", "text": "data: [DONE]\n\n"},
            "bodySize": 17,
        },
        "timings": {"blocked": -1, "send": 1, "wait": 200, "receive": 1000},
    }
    for path, value in changes.items():
        *parents, name = path.split("__")
        at = told
        for parent in parents:
            at = at[parent]
        at[name] = value
    return told


def one(**changes: Any) -> Foreign:
    (found,) = har.of_har({"log": {"version": "1.2", "entries": [entry(**changes)]}})
    assert isinstance(found, Foreign)
    return found


@pytest.mark.parametrize(
    "name", [*golden.names("assistants")[:8], *golden.names("gemini")[:3], *golden.names("raw")[:3]]
)
def test_our_own_archive_keeps_chunks_and_times(name: str) -> None:
    """The rows of a stream come back with their bytes, cuts, times and ending."""
    asked, answer = golden.stream(name)
    recording, events = recorded(asked, answer, chunk=37, started_at=STARTED)
    (found,) = back(Entry(recording, events))
    assert list(found.events)[:-1] == list(events)[:-1]
    assert found.recording.started_at == STARTED
    assert found.recording.request == asked
    assert found.recording.ending is not None
    assert found.recording.ending.detail["imported"] == {"from": "HAR", "unknown": []}
    assert found.recording.ending.elapsed_us == events[-1].elapsed_us


def test_how_an_answer_ended_comes_back() -> None:
    """A reset is a reset."""
    (found,) = back(chat("hi", said("a"), ending=Transport.RESET))
    assert found.recording.ending is not None
    assert found.recording.ending.ending == "reset"


def test_an_encoded_answer_is_written_decoded() -> None:
    """As archives are; its chunks are unknown then, and its events have the times that the list of them says."""
    answer = b"".join(said("a"))
    headers = (*EVENT_STREAM, ("content-encoding", "gzip"))
    (found,) = back(taped(Request("GET", ORIGIN + "/x"), [(1000, gzip.compress(answer))], headers=headers))
    assert b"".join(event.data or b"" for event in found.events if event.kind == "wire") == b""
    assert found.recording.ending is not None
    told = found.recording.ending.detail["imported"]
    assert "cuts" in told["unknown"]
    assert "times" not in told["unknown"]
    assert [event.elapsed_us for event in found.events if event.kind == "sse"] == [1000, 1000]
    assert told["left_out"] == ["content-encoding"]
    assert found.recording.ending.elapsed_us == 2000


def test_what_was_unknown_stays_unknown() -> None:
    """An archive of what came out of a cassette tells no more than that did."""
    (first,) = [Maker("vcrpy").make(Foreign(method="GET", url="https://a.test/x", body=b"{}", headers=JSON))]
    (found,) = back(Entry(first.recording, [Event(*row[1:]) for row in first.rows]))
    assert first.recording.ending is not None
    assert found.recording.ending is not None
    assert found.recording.ending.detail["imported"]["unknown"] == first.recording.ending.detail["imported"]["unknown"]


def test_an_archive_is_as_the_specification_and_chrome_have_it() -> None:
    """Every member that HAR 1.2 asks for is there, ours begin with an underscore, parts of the time add up to it, and a
    stream's events are listed as Chrome lists them."""
    answer = b"".join(said("a", "b"))
    encoded = (*EVENT_STREAM, ("content-encoding", "gzip"))
    packed = taped(Request("GET", ORIGIN + "/x?a=b"), [(1000, gzip.compress(answer))], headers=encoded)
    failed = taped(Request("GET", ORIGIN + "/x"), None, ending="connect_error")
    told = archive(chat("hi", [b": ping\n\n", *said("a")]), packed, failed)["log"]
    assert (told["version"], set(told["creator"])) == ("1.2", {"name", "version"})
    asked = {"method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"}
    came = {
        "status",
        "statusText",
        "httpVersion",
        "cookies",
        "headers",
        "content",
        "redirectURL",
        "headersSize",
        "bodySize",
    }
    for each in told["entries"]:
        assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= set(each)
        assert asked <= set(each["request"])
        assert came <= set(each["response"])
        assert {"size", "mimeType"} <= set(each["response"]["content"])
        assert set(each["timings"]) == {"send", "wait", "receive"}
        assert abs(sum(each["timings"].values()) - each["time"]) < 0.001
        for part in (each, each["request"], each["response"], each["request"].get("postData", {})):
            others = set(part) - asked - came - {"startedDateTime", "time", "request", "response", "cache", "timings"}
            assert all(name.startswith("_") or name in {"postData", "mimeType", "text"} for name in others)
    first, second, third = told["entries"]
    assert [(each["eventName"], each["data"]) for each in first["_eventSourceMessages"]][1] == ("message", "[DONE]")
    assert first["_eventSourceMessages"][0]["time"] == (STARTED + 2000) / 1_000_000
    assert len(second["_eventSourceMessages"]) == 3
    content = second["response"]["content"]
    assert content["size"] - content["compression"] == second["response"]["bodySize"] < len(answer)
    assert (third["response"]["status"], third["response"]["_error"]) == (0, "connect_error")
    (skipped,) = [each for each in har.of_har({"log": told}) if isinstance(each, har.Skipped)]
    assert str(skipped) == "entry 3: no response came, and the archive says 'connect_error'"


def test_bytes_that_are_no_text_are_base64() -> None:
    """In requests and answers."""
    told = archive(taped(Request("POST", ORIGIN + "/x", (), b"\xff", 1), [(1000, b"\xfe")], headers=()))
    assert told["log"]["entries"][0]["response"]["content"]["encoding"] == "base64"
    assert told["log"]["entries"][0]["request"]["postData"]["_encoding"] == "base64"
    (found,) = [each for each in har.of_har(told) if isinstance(each, Foreign)]
    assert (found.request_body, found.body) == (b"\xff", b"\xfe")


def test_an_archive_of_a_browser() -> None:
    """Pseudo-headers are no headers; what a decoded body contradicts is left out, what must not be stored withheld."""
    found = one()
    assert found.http_version == "HTTP/2"
    assert found.request_headers == (("Accept", "*/*"),)
    assert (found.started_at, found.duration_us, found.head_us) == (1_772_366_400_123_000, 1_500_500, 500_500)
    recording, rows = Maker("HAR").make(found)
    head = Head.from_json(rows[0][5] or b"")
    assert head.headers == (("content-type", "text/event-stream"), ("set-cookie", "[redacted]"))
    assert recording.ending is not None
    assert recording.ending.detail["imported"] == {
        "from": "HAR",
        "unknown": ["cuts", "ending", "times"],
        "left_out": ["content-encoding", "content-length"],
    }
    assert (recording.ending.head_us, recording.ending.elapsed_us) == (500_500, 1_500_500)
    assert recording.dialect == "chat"


def test_bodies_that_were_not_sent_as_text() -> None:
    """Form fields; a body that the archive does not hold is unknown, and no replay finds it."""
    form = one(
        request__postData={"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a", "value": "b c"}]}
    )
    assert (form.request_body, "request" in form.unknown) == (b"a=b+c", True)
    assert one(request__postData=None).request_body is None
    assert one(request__postData=None, request__bodySize=0).request_body == b""
    assert (
        one(request__postData={"text": base64.b64encode(b"\xff").decode(), "encoding": "base64"}).request_body
        == b"\xff"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"response__status": 0}, "entry 1: no response came"),
        ({"response__status": 101}, "entry 1: it is a WebSocket"),
        ({"request__url": "data:text/plain,hi"}, "entry 1: it did not go over HTTP"),
        ({"response__content": {"size": 500}}, "entry 1: the archive does not hold its body of 500 bytes"),
    ],
)
def test_entries_that_are_no_recordings_are_skipped(changes: dict[str, Any], why: str) -> None:
    """With the reason; the others are taken."""
    skipped, taken = har.of_har({"log": {"entries": [entry(**changes), entry()]}})
    assert isinstance(skipped, har.Skipped)
    assert why in str(skipped)
    assert isinstance(taken, Foreign)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"response__headers": 7}, "headers are neither"),
        ({"response__content": {"text": "é", "encoding": "base64"}}, "base64"),
        ({"request": None}, "has not the form"),
    ],
)
def test_what_is_wrong_with_an_archive_is_told(changes: dict[str, Any], why: str) -> None:
    """And with which entry."""
    with pytest.raises(Unfit, match=rf"entry 1: .*{why}"):
        list(har.of_har({"log": {"entries": [entry(**changes)]}}))


@pytest.mark.parametrize(
    "own",
    [{"chunks": [[5, 3]]}, {"chunks": [[5, -1], [6, 15]]}, {"chunks": "x"}, {"chunks": [[9, 1], [8, 13]]}, 7, None],
)
def test_chunks_that_do_not_fit_are_unknown(own: Any) -> None:
    """Members with an underscore are anybody's."""
    assert one(_recorder=own).chunks is None


def test_an_archive_goes_into_a_store_and_is_replayed(tmp_path: Path) -> None:
    """From a file."""
    (tmp_path / "a.har").write_text(json.dumps({"log": {"entries": [entry()]}}))
    with Store.open(tmp_path / "a.db", create=True) as store:
        done = exchange.import_file(store, tmp_path / "a.har")
        assert done.source == "HAR"
        reader.read_due_all(store)
        player = replay.Player(store)
        body = b'{"messages": [], "model": "gpt-4o"}'
        found = player.find(Request("POST", f"{ORIGIN}/v1/chat/completions", (), body, len(body)))
        assert list(player.play(found).chunks()) == [(1_500_500, b"data: [DONE]\n\n")]


def test_binary_bodies_of_pollyjs() -> None:
    """A JSON list of chunks, hexadecimal or base64."""
    assert one(response__content={"text": '["00ff","41"]', "_isBinary": True}).body == b"\0\xffA"
    packed = json.dumps([base64.b64encode(b"\0").decode(), base64.b64encode(b"A").decode()])
    assert one(response__content={"text": packed, "encoding": "base64", "_isBinary": True}).body == b"\0A"


def listed(*messages: tuple[float, str]) -> list[dict[str, Any]]:
    """Events as Chrome lists them, at these seconds after the request."""
    start = 1_772_366_400.123
    return [{"time": start + after, "eventName": "", "eventId": "", "data": data} for after, data in messages]


def test_events_that_chrome_lists_have_their_times() -> None:
    """The bytes are the body's; where chunks ended stays unknown."""
    body = ": hello\n\ndata: 1\n\ndata: [DONE]\n\n"
    found = one(response__content={"text": body}, _eventSourceMessages=listed((0.25, "1"), (1.5, "[DONE]")))
    assert found.chunks == [(250_000, b": hello\n\n"), (250_000, b"data: 1\n\n"), (1_500_000, b"data: [DONE]\n\n")]
    recording, rows = Maker("HAR").make(found)
    assert recording.ending is not None
    assert recording.ending.detail["imported"]["unknown"] == ["cuts", "ending"]
    assert [(row[3], row[8]) for row in rows if row[2] == "sse"] == [(500_500, b""), (500_500, b""), (1_500_000, b"")]


def test_a_body_that_chrome_did_not_keep_is_written_anew_from_its_list() -> None:
    """And says that its bytes are not the provider's."""
    found = one(response__content={"size": 99}, _eventSourceMessages=listed((0.25, "a\nb"), (1.5, "c")))
    assert found.body == b"data: a\ndata: b\n\ndata: c\n\n"
    assert {"bytes", "cuts"} <= found.unknown


@pytest.mark.parametrize(
    "told",
    [listed((1.0, "other")), listed((1.0, "[DONE]"), (2.0, "more")), [{"time": "x"}], 7, listed((1e999, "[DONE]"))],
)
def test_a_list_of_other_events_says_nothing(told: Any) -> None:
    """Then times are unknown."""
    assert one(_eventSourceMessages=told).chunks is None
