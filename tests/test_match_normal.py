"""Normalisers: ids and dates that are made anew count by their places alone, and everything else counts as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recorder
from recorder import config
from recorder.errors import UsageError
from recorder.match import DEFAULT, Rule, differences, key
from recorder.match.normal import pattern_of
from recorder.recording import Request
from recorder.replay import Player
from recorder.store import Store
from tests.loopback import Loopback, head

IDS, DATES = Rule(normalise=("ids",)), Rule(normalise=("dates",))
BOTH = Rule(normalise=("ids", "dates"))
PLAIN = "https://api.openai.com/v1/responses"
URL = "https://api.openai.com/v1/threads/thread_abc123ABC456def789/runs?after=run_abc123ABC456def789"

RUNS = ("run_abc123ABC456def789", "run_zzz999ZZZ888yyy777")
CALLS = ("call_0123456789abcdefABCDEF01", "call_98765432109876543210abcd")


def asked(body: Any, url: str = PLAIN, content_type: str = "application/json", **headers: str) -> Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept = (("Content-Type", content_type), *((name.replace("_", "-"), value) for name, value in headers.items()))
    return Request("POST", url, kept, data, len(data))


def same(one: Any, other: Any, rule: Rule) -> bool:
    return key(asked(one), rule) == key(asked(other), rule)


# -- what is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *RUNS,
        *CALLS,
        "chatcmpl-AbCdEf0123456789AbCdEf0123456",
        "file-abc123ABC456def789",
        "resp_68a1b2c3d4e5f60718293a4b5c6d7e8f",
        "toolu_01A09q90qw90lq917835lq9",
        "gw_run_abc123ABC456def789",
        "0190aF3e-7b1c-7def-8abc-0123456789ab",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_these_are_ids(text: str) -> None:
    """Alone and within other text."""
    assert pattern_of("ids").fullmatch(text)
    assert pattern_of("ids").sub("*", f"see ({text}), and /{text}/x") == "see (*), and /*/x"


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-2024-08-06",
        "claude-3-5-haiku-20241022",
        "claude-sonnet-4-20250514",
        "text-embedding-3-large",
        "get_weather2",
        "search_documents_2024",
        "max_completion_tokens",
        "thread.run.created",
        "auto",
        "a text of words",
        "https://api.example.com/v1/things",
        "sha256:" + "a" * 15,
    ],
)
def test_these_are_no_ids(text: str) -> None:
    """Names of models, tools and fields count."""
    assert pattern_of("ids").search(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026-03-01T12:00:00Z",
        "2026-03-01 12:00:00.123456+01:00",
        "2026-03-01T12:00",
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "March 1, 2026",
        "March 1st, 2026",
        "Monday, November 23, 2026",
        "1 Mar 2026",
        "23 November 2026",
    ],
)
def test_these_are_dates(text: str) -> None:
    assert pattern_of("dates").sub("*", f"today is {text}.") == "today is *."


@pytest.mark.parametrize("text", ["12:30", "2026", "1-2-3", "gpt-4o-2024-08-061", "March", "May 2026", "10 Downing"])
def test_these_are_no_dates(text: str) -> None:
    assert pattern_of("dates").search(text) is None


# -- what it does to keys ----------------------------------------------------------------------------------------------


def test_ids_count_by_their_places() -> None:
    """The same id in two places is the same, two ids are two, and without an id there is another request."""
    one = {"run": RUNS[0], "again": RUNS[0], "call": CALLS[0], "note": f"about {RUNS[0]}"}
    renamed = {"run": RUNS[1], "again": RUNS[1], "call": CALLS[1], "note": f"about {RUNS[1]}"}
    assert same(one, renamed, IDS)
    assert not same(one, renamed, DEFAULT)
    assert not same(one, {**renamed, "again": RUNS[0]}, IDS)
    assert not same(one, {**renamed, "note": f"on {RUNS[1]}"}, IDS)
    assert not same(one, {**renamed, "run": "none"}, IDS)


def test_ids_count_by_their_places_in_paths_and_queries_too() -> None:
    other = URL.replace("thread_abc123ABC456def789", "thread_other012OTHER345").replace(RUNS[0], RUNS[1])
    assert key(asked({}, URL), IDS) == key(asked({}, other), IDS)
    assert key(asked({}, URL), IDS) != key(asked({}, URL.replace("/runs", "/messages")), IDS)


def test_an_id_of_the_path_is_the_same_in_the_body() -> None:
    thread = "thread_abc123ABC456def789"
    other = "thread_other012OTHER345"
    assert key(asked({"t": thread}, URL), IDS) == key(asked({"t": other}, URL.replace(thread, other)), IDS)
    assert key(asked({"t": thread}, URL), IDS) != key(asked({"t": other}, URL), IDS)


def test_dates_may_pass() -> None:
    """In a system prompt, say; a number is no date, nor is a name."""
    said = [{"role": "system", "content": "Today is Monday, November 23, 2026. The deadline is 2026-12-01."}]
    later = [{"role": "system", "content": "Today is Tuesday, November 24, 2026. The deadline is 2026-12-02."}]
    assert same({"messages": said}, {"messages": later}, DATES)
    assert not same({"messages": said}, {"messages": later}, IDS)
    assert not same({"seed": 20260301}, {"seed": 20260302}, DATES)
    assert not same({"2026-03-01": 1}, {"2026-03-02": 1}, DATES)


def test_ones_own_expression() -> None:
    rule = Rule(normalise=("/build-[0-9]+/",))
    assert same({"tag": "build-1 of x"}, {"tag": "build-22 of x"}, rule)
    assert not same({"tag": "build-1 of x"}, {"tag": "build-22 of y"}, rule)
    assert same({"tag": "größe-1"}, {"tag": "größe-2"}, Rule(normalise=("/größe-[0-9]/",)))


def test_an_expression_that_also_matches_nothing_takes_out_what_it_matches() -> None:
    """Between two characters there is nothing to number."""
    rule = Rule(normalise=("/[0-9]*/",))
    assert same({"tag": "a7b"}, {"tag": "a22b"}, rule)
    assert not same({"tag": "a7b"}, {"tag": "ab"}, rule)
    assert not same({"tag": "a7b"}, {"tag": "a7c"}, rule)
    assert not same({"tag": "a7b7"}, {"tag": "a7b8"}, rule)


def test_other_bodies_have_ids_as_well() -> None:
    """Texts, forms and the parts of a multipart body; bytes that are no text count as they are."""
    for form in (b"id=%b&x=1", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\nabout %b\r\n--b--\r\n"):
        kind = "multipart/form-data; boundary=b" if form.startswith(b"--") else "application/x-www-form-urlencoded"
        one, other = (asked(form % run.encode(), content_type=kind) for run in RUNS)
        assert key(one, IDS) == key(other, IDS)
        assert key(one) != key(other)
    blobs = [asked(b"\xff" + run.encode(), content_type="application/octet-stream") for run in RUNS]
    assert key(blobs[0], IDS) != key(blobs[1], IDS)


def test_headers_that_count_have_ids_as_well() -> None:
    rule = Rule(headers=("x-run",), normalise=("ids",))
    assert key(asked({}, x_run=RUNS[0]), rule) == key(asked({}, x_run=RUNS[1]), rule)
    assert key(asked({}, x_run=RUNS[0]), rule) != key(asked({}, x_run="none"), rule)


def test_a_credential_in_a_part_is_left_alone() -> None:
    """It is compared, and never shown, whatever it looks like."""
    for name in (b"api_key", b'"auth"', b'"bearer"'):
        form = b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n--b--\r\n"
        one, other = (
            asked(form % (name, run.encode()), content_type="multipart/form-data; boundary=b") for run in RUNS
        )
        assert key(one, IDS) != key(other, IDS)
        (found,) = differences(one, other, IDS)
        assert RUNS[0] not in str(found)


def test_what_is_ignored_has_no_number() -> None:
    """An ignored id does not shift those behind it."""
    rule = Rule(ignore=("body.a",), normalise=("ids",))
    assert same({"a": RUNS[0], "b": CALLS[0]}, {"b": CALLS[1]}, rule)


def test_a_diff_shows_what_was_compared() -> None:
    (found,) = differences(asked({"a": [RUNS[0], "x"]}), asked({"a": [RUNS[1], "y"]}), BOTH)
    assert (found.path, found.wanted, found.stored) == ("body.a[1]", '"x"', '"y"')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{RUNS[0]} {CALLS[0]} {RUNS[0]}.", "<ids 1> <ids 2> <ids 1>."),
        ("build-1 and build-2", "<text 1> and <text 2>"),
        ("2026-03-01T12:00:00.123Z, 2026-03-01 12:00 +01:00, 2026-03-01.", "<dates 1>, <dates 2>, <dates 3>."),
        ("Sun, 01 Mar 2026 12:00:00 GMT; March 1, 2026", "<dates 1>; <dates 2>"),
        (f"2026-03-01 {RUNS[0]} build-7", "<dates 1> <ids 1> <text 1>"),
    ],
)
def test_what_is_found_is_taken_out_whole_and_numbered_by_its_kind(text: str, shown: str) -> None:
    rule = Rule(normalise=("ids", "dates", "/build-[0-9]+/"))
    (found,) = differences(asked({"a": text}), asked({"a": "other"}), rule)
    assert (found.wanted, found.stored) == (json.dumps(shown), '"other"')


@given(st.text(), st.text())
def test_what_holds_nothing_to_find_keeps_its_key(name: str, text: str) -> None:
    """So recordings made without a normaliser are found by one, and the other way round."""
    body = {name: [text, {"n": 1}]}
    found = any(pattern_of(kind).search(text) for kind in ("ids", "dates"))
    assert found or key(asked(body), BOTH) == key(asked(body))


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_a_rule_with_normalisers_survives_its_text() -> None:
    """And one without has the text that it had before there were any."""
    rule = Rule(("body.x",), ("openai-beta",), ("ids", "/a{2}/", "ids"))
    assert rule.normalise == ("/a{2}/", "ids")
    assert Rule.from_text(rule.to_text()) == rule
    assert "normalise" not in DEFAULT.to_text()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("uuid", "normaliser 'uuid' is none: write ids, dates, or a /regular expression/"),
        ("/[/", r"normaliser '/\[/' is no regular expression"),
        ("//", "is none"),
        ("", "is none"),
    ],
)
def test_what_is_no_normaliser_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Rule(normalise=(name,))


def test_our_own_headers_never_count() -> None:
    with pytest.raises(UsageError, match="'X-Recorder-Session' is recorder's own"):
        Rule(headers=("X-Recorder-Session",))


# -- from the settings to an answer ------------------------------------------------------------------------------------


def test_the_rule_of_the_settings_is_kept_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[tool.recorder] names it; each recording keeps it; a replay under it finds the request with other ids."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.recorder]\nignore = ["body.user"]\nmatch_headers = ["openai-beta"]\nnormalise = ["ids", "/n-[0-9]+/"]\n'
    )
    monkeypatch.chdir(tmp_path)
    settings = config.load()
    rule = Rule(settings.ignore, settings.match_headers, settings.normalise)
    assert rule == Rule(("body.user",), ("openai-beta",), ("/n-[0-9]+/", "ids"))
    answer = (head("200 OK", "Content-Length: 2") + b"{}",)
    body = {"run": RUNS[0], "user": "u1", "note": "n-1"}
    import httpx

    with recorder.open(tmp_path / "r.db", strict=True) as handle, Loopback([answer]) as server:
        with httpx.Client(timeout=30) as client:
            handle.instrument(client).post(f"{server.url}/v1/x", json=body, headers={"openai-beta": "v2"})
    with Store.open(tmp_path / "r.db", readonly=True) as store:
        (listed,) = store.recordings()
        assert listed.recording.match_rule == rule.to_text()
        request = listed.recording.request
        changed = json.dumps({"run": RUNS[1], "user": "u2", "note": "n-77"}).encode()
        wanted = replace(request, body=changed)
        assert Player(store, rule=rule).find(wanted).recording_id == listed.recording.recording_id
        # A player of another rule asks the stored request itself.
        other = Rule(("body.note", "body.user"), (), ("ids",))
        assert Player(store, rule=other).find(wanted).recording_id == listed.recording.recording_id
        with pytest.raises(recorder.ReplayMiss, match="rule"):
            Player(store).find(wanted)
