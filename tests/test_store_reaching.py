"""What an erasure has to look at beside the rows themselves: the same answer recorded twice, and copies of a store."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy import null, update

from recorder.recording import uuid7
from recorder.schema import readings
from recorder.store import Store
from recorder.store.reaching import copies, holds
from tests.kept import keep
from tests.rows import STARTED, made_reading, recorded
from tests.tape import post

DAY = 86_400_000_000


def test_one_answer_that_was_recorded_twice_is_found_by_the_key_of_what_asked_for_it(url: str) -> None:
    """However far apart, and however else it was asked; whoever asked for something else has the id by chance."""
    chunk = b'data: {"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n\n'

    def ask(store: Store, key: bytes, days: int, text: str) -> UUID:
        asked = post("/v1/chat/completions", model="llama", messages=[{"role": "user", "content": text}])
        return keep(store, asked, chunk, started_at=days * DAY, match_key=key * 32).recording_id

    with Store.open(url, create=True) as store:
        mine, again = ask(store, b"k", 0, "Who am I?"), ask(store, b"k", 9, "Who am I?  ")
        ask(store, b"o", 9, "Who are you?")
        assert list(store.reach([mine])) == [(mine, "same response", again)]


def test_what_goes_on_with_an_answer_has_its_id_by_no_chance(url: str) -> None:
    """Whatever it asked with, and whenever: it named the answer."""
    with Store.open(url, create=True) as store:
        answer = recorded(store, match_key=b"a" * 32)
        poll = recorded(store, match_key=b"b" * 32, started_at=STARTED + 9 * DAY)
        named = [made_reading(answer, provider_run_id="run_1")]
        named.append(made_reading(poll, answer.recording_id, provider_run_id="run_1"))
        store.put_readings(named)
        mine, other = answer.recording_id, poll.recording_id
        assert set(store.reach([mine])) == {(mine, "same run", other), (mine, "same response", other)}


def test_who_asked_in_readings_of_an_older_writer_is_told_by_their_runs(url: str) -> None:
    """They do not say whether they open one; who opened a run of his own has the id by chance."""
    with Store.open(url, create=True) as store:
        one = recorded(store, match_key=b"a" * 32)
        two = recorded(store, match_key=b"b" * 32, started_at=STARTED + 9 * DAY)
        store.put_readings([made_reading(each, provider_run_id="chatcmpl-7") for each in (one, two)])
        with store._backend.write() as connection:
            connection.execute(update(readings).values(opens_run=null()))
        assert list(store.reach([one.recording_id])) == []


def test_a_copy_holds_what_was_there_when_it_was_made(tmp_path: Path) -> None:
    """A store beside it is none of its copies, and what cannot be read may hold anything."""
    path = tmp_path / "recorder.db"
    with Store.open(path, create=True) as store:
        before = recorded(store).recording_id
    copy, damaged = tmp_path / "recorder.db.backup-1.0", tmp_path / "recorder.db.backup-1.1"
    shutil.copy(path, copy)
    shutil.copy(path, tmp_path / "other.db.backup-1.0")
    damaged.write_bytes(b"no database")
    with Store.open(path) as store:
        after = recorded(store).recording_id
        assert copies(store.url) == [copy, damaged]
    many = [uuid7() for _ in range(1500)]
    assert holds(copy, [before])
    assert holds(copy, [*many, before])
    assert not holds(copy, [*many, after])
    assert holds(damaged, [after])


def test_a_store_on_a_server_or_in_memory_has_no_copies() -> None:
    assert copies("postgresql://me@example.com/store") == []
    assert copies("sqlite:///:memory:") == []
