"""Recordings that were made when less was withheld: imported without what today's rules withhold, and told as such."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recorder import evidence, exchange, reader, verify
from recorder.digest import payload_of
from recorder.errors import Conflict, UsageError
from recorder.exchange import Entry, lines, writing
from recorder.recording import Head, Kind, Recording, Request
from recorder.store import RunFilter, Store
from recorder.verify import make
from tests.command import invoke, json_lines
from tests.kept import put
from tests.tape import EVENT_STREAM, ORIGIN
from tests.taped import chat, said, taped
from tests.verified import erase

URL = f"{ORIGIN}/v1/chat/completions?api_key=HUNTER2&api-version=1"
COOKIE = (*EVENT_STREAM, ("set-cookie", "HUNTER3"))
BODY = b'{"messages":[{"role":"user","content":"hi"}]}'


def early(url: str = URL, headers: tuple[tuple[str, str], ...] = COOKIE) -> Entry:
    """A sealed recording of which nothing was withheld."""
    made = taped(Request("POST", url, (), BODY, len(BODY)), [(1000, b"".join(said("a")))])
    recording, events = made
    assert recording.ending is not None
    data = Head(200, "OK", headers=headers).to_json()
    events = [each._replace(data=data, size=len(data)) if each.kind == Kind.HEAD else each for each in events]
    entry = Entry(recording, events)
    ending = lines.digests(recording, recording.ending, lines.rows_of(entry))
    return Entry(replace(recording, ending=ending), events)


def written(path: Path, *entries: Entry) -> Path:
    exchange.write(path, entries, identity=True, keep=False)
    assert b"HUNTER" in path.read_bytes()
    return path


def seal_of(recording: Recording) -> bytes:
    assert recording.ending is not None
    assert recording.ending.seal is not None
    return recording.ending.seal


def everything(store: Store, recording: Recording) -> bytes:
    rows = [(recording.recording_id.bytes, *event) for event in store.events(recording.recording_id)]
    return repr(recording).encode() + b"".join(map(payload_of, rows))


# -- in ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_database"])
@pytest.mark.parametrize(
    ("whole", "places"),
    [(early(), ["request", "response"]), (early(URL, EVENT_STREAM), ["request"]), (early(ORIGIN), ["response"])],
    ids=["both", "request", "response"],
)
def test_what_is_withheld_by_now_is_imported_without_it_and_says_so(
    tmp_path: Path, database: str, whole: Entry, places: list[str], request: pytest.FixtureRequest
) -> None:
    """It is sealed anew, verifies, and names the seal that it had; importing again changes nothing; an export of it is
    imported as it is."""
    path = written(tmp_path / "a.jsonl", whole)
    with Store.open(request.getfixturevalue(database), create=True) as store:
        for _ in range(2):
            assert len(exchange.import_file(store, path).recordings) == 1
        reader.read_due_all(store)
        (listed,) = store.recordings(RunFilter())
        recording = store.recording(listed.recording.recording_id)
        assert recording.recording_id == whole.recording.recording_id
        assert recording.match_key == whole.recording.match_key
        assert b"HUNTER" not in everything(store, recording)
        assert [checked.verdict for checked in map(verify.check, store.scan())] == ["intact"]
        assert recording.ending is not None
        assert recording.ending.detail["redacted"] == {
            "on_import": {"places": places, "sealed": seal_of(whole.recording).hex()}
        }
        assert "redacted" in store.run(recording.recording_id).flags
        exchange.write(tmp_path / "b.jsonl", exchange.entries(store, [recording.recording_id]), identity=True)
    (again,) = exchange.read(tmp_path / "b.jsonl")
    assert again.recording == recording


def test_what_was_withheld_before_is_still_told(tmp_path: Path) -> None:
    """By the recorder that recorded it; and the first seal stays the one that is named, whoever imports it later."""
    secret = b"".join(said("sk-proj-" + "Zx9" * 16 + " "))
    recording, events = taped(Request("POST", URL, (), BODY, len(BODY)), [(1000, secret)])
    assert recording.ending is not None
    before = recording.ending.detail["redacted"]
    (once,) = exchange.read(written(tmp_path / "a.jsonl", Entry(recording, events)))
    assert once.recording.ending is not None
    told = once.recording.ending.detail["redacted"]
    assert {name: told[name] for name in before} == before
    more = replace(once.recording, request=replace(once.recording.request, url=URL))
    ending = lines.digests(more, once.recording.ending, lines.rows_of(Entry(more, once.events)))
    (twice,) = exchange.read(written(tmp_path / "b.jsonl", Entry(replace(more, ending=ending), once.events)))
    assert twice.recording.ending is not None
    assert twice.recording.ending.detail["redacted"] == told
    assert seal_of(twice.recording) == seal_of(once.recording)


def test_whoever_imports_it_is_told(tmp_path: Path) -> None:
    """On stderr, and in JSON with its id; not where the store has it whole, nor of what nothing was withheld."""
    whole, other = early(), chat("hi", said("a"))
    path, store = written(tmp_path / "a.jsonl", whole, other), tmp_path / "a.db"
    for _ in range(2):
        done = invoke("import", str(path), store=store)
        assert (done.exit_code, f"{path}: of 1 recording something was withheld" in done.stderr) == (0, True)
    (told,) = json_lines("import", str(path), store=store)
    assert told["withheld"] == [str(whole.recording.recording_id)]
    with Store.open(tmp_path / "b.db", create=True) as opened:
        put(opened, whole.recording, list(whole.events))
    done = invoke("import", str(path), store=tmp_path / "b.db")
    assert (done.stderr, "2 recordings" in done.stdout) == ("", True)


@pytest.mark.parametrize(
    ("old", "new"), [(b"HUNTER2", b"hunter2"), (b"HUNTER3", b"hunter3"), (b'"content": "a"', b'"content": "b"')]
)
def test_what_was_edited_is_refused_all_the_same(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Also where the edit is in what is withheld."""
    path = written(tmp_path / "a.jsonl", early())
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(UsageError, match="not what was sealed"):
        list(exchange.read(path))


def test_an_end_of_a_strangers_is_told_all_the_same(tmp_path: Path) -> None:
    """As deep as it can be, and with something else where the note goes."""
    recording, events = early()
    assert recording.ending is not None
    detail = b'{"ending":"eof","captured":"full","redacted":"x","a":%b}' % (b"[" * 900 + b"]" * 900)
    events = [*events[:-1], events[-1]._replace(data=detail, size=len(detail))]
    ending = lines.digests(recording, recording.ending, lines.rows_of(Entry(recording, events)))
    (back,) = exchange.read(written(tmp_path / "a.jsonl", Entry(replace(recording, ending=ending), events)))
    assert back.recording.ending is not None
    assert list(back.recording.ending.detail["redacted"]) == ["on_import"]


# -- where the store has it already ------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
def test_a_store_that_has_it_whole_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool) -> None:
    """An export that is brought back to where it was made, by a recorder that withholds more, changes nothing there;
    what else is in the file is taken. What is there under that id as something else is refused as ever."""
    if large:
        monkeypatch.setattr(writing, "_AT_ONCE", 0)
    whole, other = early(), early()
    path = written(tmp_path / "a.jsonl", whole, other)
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, whole.recording, list(whole.events))
        exchange.import_file(store, path)
        assert store.recording(whole.recording.recording_id) == whole.recording
        assert b"HUNTER" not in everything(store, store.recording(other.recording.recording_id))
    third = early()
    third = Entry(replace(third.recording, recording_id=whole.recording.recording_id), third.events)
    ending = lines.digests(third.recording, third.recording.ending, lines.rows_of(third))  # type: ignore[arg-type]
    with Store.open(tmp_path / "b.db", create=True) as store:
        put(store, replace(third.recording, ending=ending), list(third.events))
        with pytest.raises(Conflict):
            exchange.import_file(store, path)
        assert len(store.recordings(RunFilter())) == 1


def test_what_was_erased_does_not_come_back_without_what_is_withheld(tmp_path: Path) -> None:
    whole = early()
    path = written(tmp_path / "a.jsonl", whole)
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, whole.recording, list(whole.events))
        erase(store, whole.recording.recording_id)
        with pytest.raises(Conflict, match="does not come back"):
            exchange.import_file(store, path)


# -- who only looks ----------------------------------------------------------------------------------------------------


def test_evidence_of_it_holds(tmp_path: Path) -> None:
    """What is sealed is held against its seal as it stands in the file: nothing is stored of it."""
    whole = early()
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, whole.recording, list(whole.events))
        kept = [make(store)]
        path = tmp_path / "evidence.jsonl"
        path.write_bytes(b"".join(evidence.lines_of(store, store.recording_ids(), by="x", kept=kept)))
    assert b"HUNTER" in path.read_bytes()
    outcome = evidence.check(path, kept)
    assert [(checked.verdict, checked.problems) for checked in outcome.checked] == [("intact", ())]
    path.write_bytes(path.read_bytes().replace(b"HUNTER2", b"hunter2"))
    assert {checked.verdict for checked in evidence.check(path, kept).checked} == {"altered"}


def test_a_file_for_tests_is_not_marked(tmp_path: Path) -> None:
    """Nothing seals it: it is read without what must not be stored, and is the recording that it was."""
    exchange.write(tmp_path / "a.jsonl", [early()])
    (entry,) = exchange.read(tmp_path / "a.jsonl")
    assert entry.recording.ending is not None
    assert "redacted" not in entry.recording.ending.detail
    assert "HUNTER" not in repr(entry)
    assert json.loads(entry.events[0].data or b"")["headers"][1] == ["set-cookie", "[redacted]"]
