"""What older records hold that today's rules would mask is found, counted by rule and place, and never shown."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.recording import Event, Head, HeaderList, Kind, Recording
from recorder.redact import Redactor
from recorder.scan import Findings, scan
from recorder.store import Append, Store
from recorder.store.erasing import Wipe
from recorder.store.scanning import Scope
from tests.command import invoke
from tests.golden import tape
from tests.kept import GOLDEN
from tests.needs import examples
from tests.tape import JSON, post, recorded
from tests.test_redact_bodies import CREDENTIALS, PEM
from tests.test_redact_passage import DELTAS, KEY, cut_up
from tests.verified import raw

#: Stands for the key while it is recorded: the recorder of that day did not know it.
UNKNOWN: Final = "u" * len(KEY)


def learnt(value: Any) -> Any:
    """The value with the key in the place of what stood for it."""
    if isinstance(value, bytes):
        return value.replace(UNKNOWN.encode(), KEY.encode())
    if isinstance(value, str):
        return value.replace(UNKNOWN, KEY)
    if isinstance(value, tuple):
        made = [learnt(each) for each in value]
        return Event(*made) if isinstance(value, Event) else tuple(made)
    return {learnt(name): learnt(each) for name, each in value.items()} if isinstance(value, dict) else value


def older(recording: Recording, events: Sequence[Event]) -> tuple[Recording, list[Event]]:
    """The recording as it was made before anybody knew what a key looks like."""
    request = recording.request
    request = replace(request, url=learnt(request.url), body=learnt(request.body), headers=learnt(request.headers))
    made = replace(recording, request=request, tags=learnt(dict(recording.tags)), session=learnt(recording.session))
    return made, [learnt(event) for event in events]


def put(store: Store, recording: Recording, events: Sequence[Event]) -> Recording:
    rows = [(recording.recording_id.bytes, *event) for event in events]
    store.append([Append(recording.recording_id, recording, rows, recording.ending)])
    return recording


def told(*texts: str) -> bytes:
    """A stream in which a model says these texts."""
    sent = [DELTAS["chat"](number, text)[1] for number, text in enumerate(texts)]
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in sent)


def say(text: str) -> Any:
    return post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": text}])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "recorder.db", create=True) as opened:
        yield opened


def only(store: Store, redactor: Redactor | None = None) -> Findings:
    (found,) = scan(store, redactor or Redactor())
    return found


def test_each_place_is_told_with_its_rules_and_counts(store: Store) -> None:
    asked = replace(
        say(f"one {UNKNOWN}, two {UNKNOWN}"),
        url=f"https://api.openai.com/v1/chat/completions?to={UNKNOWN}",
        headers=(("user-agent", f"x {UNKNOWN}"),),
    )
    answer = json.dumps({"error": {"message": f"wrong {UNKNOWN}"}}).encode()
    recording, events = older(
        *recorded(
            asked,
            answer,
            status=401,
            headers=(*JSON, ("x-error", UNKNOWN)),
            tags={"note": UNKNOWN},
            session=f"s {UNKNOWN}",
        )
    )
    put(store, recording, events)
    store.tag(recording.recording_id, "later", KEY)
    found = only(store)
    assert found.found == {
        "request url": {"url": 1},
        "request headers": {"header": 1},
        "request body": {"provider_key": 2},
        "session and parameters": {"text": 1},
        "tags": {"text": 3},  # the one it began with also stands in its table
        "answer headers": {"header": 1},
        "answer": {"provider_key": 1},
    }
    assert found.recording_id == recording.recording_id
    assert found.problem is None
    assert KEY not in repr(found)


def test_who_erased_and_why_is_looked_at_too(store: Store) -> None:
    recording = put(store, *recorded(say("hello"), told("a")))
    store.wipe([Wipe(recording.recording_id, None, labels=False)], f"Vera {KEY}", "asked to")
    assert only(store).found["erasures"] == {"text": 1}


def test_header_names_that_are_withheld_by_now_are_found(store: Store) -> None:
    recording, events = recorded(say("x"), told("y"))
    request = replace(recording.request, headers=(("x-secret-thing", "v"), ("accept", "*/*")))
    put(store, replace(recording, request=request), events)
    assert only(store).found == {"request headers": {"header": 1}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for many examples."""
    with Store.open(tmp_path_factory.mktemp("shared") / "recorder.db", create=True) as opened:
        yield opened


@settings(max_examples=examples(25, 2_000), deadline=None)
@given(st.sampled_from([each for each in CREDENTIALS if each != PEM]), st.integers(0, 1 << 32), st.integers(1, 8))
def test_what_a_model_spelled_out_is_found_however_it_was_cut(shared: Store, secret: str, seed: int, most: int) -> None:
    """The request holds it, too, as it does when somebody pasted it: then any cut is noticed."""
    parts = cut_up(f"You sent {secret}; yes.", seed, most)
    recording, events = recorded(say("a"), told(*("x" for _ in parts)))
    body = json.dumps({"messages": [{"content": secret}]}).encode()
    asked = replace(recording.request, body=body, body_size=len(body))
    spoken = iter(told(*parts).removesuffix(b"\n\n").split(b"\n\n"))
    came = [
        event._replace(data=next(spoken).removeprefix(b"data: ")) if event.kind == Kind.SSE else event
        for event in events
    ]
    put(shared, replace(recording, request=asked), came)
    (looked,) = scan(shared, scope=Scope(ids=[recording.recording_id]))
    assert looked.found == {"request body": {CREDENTIALS[secret]: 1}, "answer": {CREDENTIALS[secret]: 1}}


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_inside_an_encoded_answer_is_found(store: Store, stream: bool) -> None:
    """Of a stream what was decoded from it; of anything else what it unpacks to, also across its rows."""
    plain = told(f"a {KEY} b") if stream else json.dumps({"text": "word " * 2000 + KEY}).encode()
    coding: HeaderList = (("content-encoding", "gzip"),)
    sent = gzip.compress(plain)
    kind: HeaderList = (("content-type", "text/event-stream" if stream else "application/json"),)
    recording, _ = recorded(say("x"), sent, headers=(*kind, *coding))
    head = Event(0, Kind.HEAD, 1, None, Head(200, headers=(*kind, *coding)).to_json(), None, 1, b"")
    parts = [sent[at : at + 40] for at in range(0, len(sent), 40)]
    wires = [Event(number, Kind.WIRE, 2, None, part, None, len(part), b"") for number, part in enumerate(parts, 1)]
    made = [head, *wires]
    if stream:
        data = plain.removeprefix(b"data: ").removesuffix(b"\n\n")
        made.append(Event(len(made), Kind.SSE, 3, None, data, None, len(plain), b""))
    put(store, replace(recording, ending=None), made)
    assert only(store).found == {"answer": {"provider_key": 1}}


@pytest.mark.parametrize("coding", ["utf-8", "base64", "gzip"])
def test_what_is_plain_under_the_name_of_a_coding_is_found(store: Store, coding: str) -> None:
    """A recorder of that day stored it as it came."""
    headers: HeaderList = (("content-type", "application/json"), ("content-encoding", coding))
    recording, _ = recorded(say("x"), b"", headers=headers)
    head = Event(0, Kind.HEAD, 1, None, Head(200, headers=headers).to_json(), None, 1, b"")
    parts = [b'{"text": "my ' + KEY[:12].encode(), KEY[12:].encode() + b' end"}']
    wires = [Event(number, Kind.WIRE, 2, None, part, None, len(part), b"") for number, part in enumerate(parts, 1)]
    put(store, replace(recording, ending=None), [head, *wires])
    assert only(store).found == {"answer": {"provider_key": 1}}


def test_a_users_rules_count_and_so_do_paths(store: Store) -> None:
    put(store, *recorded(say("employee E123456"), told("I am E1", "2345", "6.")))
    put(store, *recorded(say("x"), b'{"email":"a","n":5}', headers=JSON))
    assert [found.found for found in scan(store)] == [{}, {}]
    redactor = Redactor(["employee: /E[0-9]{6}/", "response.email", "response.n"])
    first, second = scan(store, redactor)
    assert first.found == {"request body": {"employee": 1}, "answer": {"employee": 1}}
    assert second.found == {"answer": {"response.email": 1, "response.n": 1}}


def test_mail_addresses_are_told_apart_and_are_no_find(store: Store) -> None:
    recording, events = recorded(say("write to a.b@c.example, d@e.example"), told("x@y", ".exa", "mple"))
    put(store, recording, events)
    assert only(store).found == {}
    assert only(store).addresses == {"request body": 2}
    from recorder import reader

    reader.read(store, recording.recording_id)
    assert only(store).addresses == {"request body": 2, "answer": 1}, "what a model spells out is in the reading"


def test_what_recorder_stores_today_holds_nothing_more_to_mask(store: Store) -> None:
    """Whatever goes in by today's rules is found clean by them: masks are no finds. So are the golden streams."""
    for secret in CREDENTIALS:
        put(store, *recorded(say(f"a {secret} b"), told("w ", *cut_up(f"x {secret} y", 1, 9), " z")))
        put(store, *recorded(say(secret), json.dumps([secret]).encode(), headers=(*JSON, ("x-a", secret))))
    for name in GOLDEN:
        put(store, *tape(name))
    looked = list(scan(store))
    assert len(looked) == 2 * len(CREDENTIALS) + len(GOLDEN)
    assert [found for found in looked if found.found or found.problem] == []


def test_since_and_a_hook_that_fails(store: Store) -> None:
    put(store, *older(*recorded(say(UNKNOWN), told("x"), started_at=1_000_000)))
    put(store, *older(*recorded(say(UNKNOWN), told("x"), started_at=2_000_000_000_000_000)))
    assert len([found for found in scan(store, scope=Scope(since=2_000_000)) if found.found]) == 1

    def hook(text: str, place: str) -> list[str]:
        raise ValueError(text)

    assert [found.problem for found in scan(store, Redactor(hooks=[hook]))] == ["a rule failed on it"] * 2


def test_a_store_that_was_written_past_recorder_is_read_as_far_as_it_goes(store: Store, tmp_path: Path) -> None:
    """Odd types, broken JSON, bodies that unpack to nothing: nothing is raised, the rest is found."""
    recording, events = older(*recorded(say("x" * 5000), told(f"a {UNKNOWN}")))
    put(store, recording, events)
    store.close()
    path = tmp_path / "recorder.db"
    for column, value in (("headers", "[1,[2]]"), ("tags", "{"), ("body", b"\x00"), ("session", 5), ("url", 1.5)):
        raw(path, (f"UPDATE recordings SET {column} = ?", (value,)))
    raw(path, ("UPDATE events SET data = 'text' WHERE kind = 'head'", ()))
    with Store.open(path, readonly=True) as opened:
        assert only(opened).found == {"answer": {"provider_key": 1}}


@pytest.mark.parametrize("change", ["body = x'00ff'", "body_encoding = 'br'", "body = substr(body, 1, 20)"])
def test_a_body_that_cannot_be_looked_at_is_no_body_without_a_find(store: Store, tmp_path: Path, change: str) -> None:
    put(store, *older(*recorded(say("x" * 5000), told("a"))))
    store.close()
    path = tmp_path / "recorder.db"
    raw(path, (f"UPDATE recordings SET {change}", ()))
    done = invoke("scan", store=path)
    assert done.exit_code == 1
    assert "its request's body cannot be looked at whole" in done.stdout
    assert "nothing found; 1 recording could not be looked at whole" in done.stdout


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_counts_and_never_shows(store: Store, tmp_path: Path) -> None:
    """Exit code 1 and what to do where something is found, 0 where nothing is."""
    path = tmp_path / "recorder.db"
    clean = invoke("scan", store=path)
    assert clean.exit_code == 0
    assert clean.stdout.endswith("0 recordings looked at; nothing found\n")
    recording = put(store, *older(*recorded(say(f"{UNKNOWN} a@b.example"), told(f"a {UNKNOWN}"))))
    done = invoke("scan", store=path)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["place", "rule", "found", "recordings"],
        ["answer", "provider_key", "1", "1"],
        ["request", "body", "provider_key", "1", "1"],
    ]
    assert f"{recording.recording_id}  request body: provider_key 1; answer: provider_key 1" in lines
    assert "erase --run" in done.stdout
    assert "note: mail addresses: request body 1" in done.stdout
    assert "b.example" not in done.stdout
    assert KEY[:12] not in done.stdout + done.stderr
    counted = invoke("scan", "--json", "--rule", "mail: /[a-z]+@[a-z.]+/", store=path)
    first, last = map(json.loads, counted.stdout.splitlines())
    assert counted.exit_code == 1
    assert first["found"] == {"request body": {"provider_key": 1, "mail": 1}, "answer": {"provider_key": 1}}
    assert last["summary"]["recordings"] == 1
    assert {"place": "answer", "rule": "provider_key", "found": 1, "recordings": 1} in last["summary"]["found"]
    assert invoke("scan", "--rule", "x", store=path).exit_code == 2
    assert invoke("scan", "--since", "2100-01-01", store=path).exit_code == 0
