"""What was erased is nowhere any more: in no column, no file, no copy; and the rest is as it was."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from recorder import exchange, queries, reader, retention
from recorder.errors import Conflict, NotFound, RecorderError, StoreError
from recorder.recording import uuid7
from recorder.retention import erasing, pruning
from recorder.store import Append, RunFilter, Store
from recorder.store.erasing import Wipe
from tests import verified
from tests.erased import CUSTOMER, Filled, fill, in_database, in_files, in_relations
from tests.kept import clear, keep
from tests.needs import examples
from tests.postgres import Postgres
from tests.rows import meanwhile
from tests.tape import JSON, post, recorded
from tests.verified import look


def asked_for(store: Store) -> list[retention.Reached]:
    """What the customer's name leads to, as the command finds it."""
    named = {
        each.recording.recording_id: "metadata" for each in store.recordings(RunFilter(metadata={"customer": CUSTOMER}))
    }
    named |= store.named(tags=[("customer", CUSTOMER)])
    return retention.reached(store, named)


def erase(store: Store, *, rewrite: bool = False) -> retention.Erased:
    return retention.erase(
        store,
        asked_for(store),
        by="Vera",
        reason="asked to",
        rewrite=rewrite,
        forget=partial(queries.forget, store.url),
    )


def test_every_place_that_holds_a_customers_text_is_reached_and_nobody_elses(url: str) -> None:
    """Fault row 39: 50 canaries and more, in every place of the request, the answer, and what was made of them."""
    with Store.open(url, create=True) as store:
        filled = fill(store)
        assert len(filled.canaries) > 50
        assert in_database(url, filled.canaries) >= set(filled.canaries) - _compressed(filled), "a canary is not there"
        assert {each.recording_id for each in asked_for(store)} == set(filled.customers)
        erased = erase(store)
        assert (set(erased.done), erased.found, erased.missed) == (set(filled.customers), [], [])
        looked = look(store)
        assert looked.codes == set()
        assert {each.recording_id for each in looked.checked if each.verdict == "erased"} == set(filled.customers)
        assert {each.recording_id for each in looked.checked if each.verdict == "intact"} == set(filled.others)
        told = store.erasures(filled.customers)
        assert {(each[-1].erased_by, each[-1].reason) for each in told.values()} == {("Vera", "asked to")}
    assert in_database(url, filled.canaries) == set()
    assert in_database(url, [filled.kept]) == {filled.kept}


def _compressed(filled: Filled) -> set[str]:
    """Those that stand in a long body or a compressed answer only."""
    return {each for each in filled.canaries if "long-body" in each}


def test_no_file_of_the_store_holds_a_byte_of_it(sqlite_url: str, tmp_path: Path) -> None:
    """Facts kept for questions and copies made before upgrades are files of the store, too."""
    path = tmp_path / "recorder.db"
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        with closing(queries.connect(sqlite_url)) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchall() != [(0,)]
    shutil.copy(path, tmp_path / "recorder.db.backup-1.0")
    with Store.open(sqlite_url) as store:
        reading = iter(store.events(filled.others[0]))
        next(reading)
        erased = erase(store)
        assert any(".facts" in each for each in erased.removed)
        assert any("backup-1.0" in each for each in erased.removed)
        assert erased.searched > 50
        assert in_files(tmp_path, filled.canaries) == {}, "while it is open"
        with closing(queries.connect(sqlite_url)) as connection:
            assert connection.execute("SELECT count(*) FROM recordings").fetchall() == [(13,)]
    assert in_files(tmp_path, filled.canaries) == {}


def test_postgresql_holds_nothing_in_its_files_once_it_was_rewritten(
    postgres: Postgres, new_schema: Callable[[], str]
) -> None:
    url = new_schema()
    with Store.open(url, create=True) as store:
        filled = fill(store)
        assert in_relations(postgres, url, filled.canaries), "the canaries are looked for where they never are"
        assert erase(store, rewrite=True).missed == []
    assert in_relations(postgres, url, filled.canaries) == {}


def test_erasing_again_says_what_was_done_before(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        reached = asked_for(store)
        erase(store)
        again = retention.erase(store, reached, by="Vera", reason="again")
        assert (again.done, set(again.already)) == ([], set(filled.customers))
        assert {len(each) for each in store.erasures(filled.customers).values()} == {1}


def test_what_is_on_hold_or_still_open_stays_and_is_told(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        store.tag(filled.customers[0], "hold", "case 17")
        erased = erase(store)
        assert erased.held == [filled.customers[0]]
        assert look(store).verdict(filled.customers[0]) == "intact"
        store.tag(filled.customers[0], "hold", None)
        assert retention.erase(
            store, retention.reached(store, {filled.customers[0]: "named"}), by="V", reason="r"
        ).done == [filled.customers[0]]


def test_a_copy_of_what_is_on_hold_stays(sqlite_url: str, tmp_path: Path) -> None:
    """Nothing was erased, so nothing in the copy has to go."""
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        store.tag(filled.customers[0], "hold", "case 17")
    copy = tmp_path / "recorder.db.backup-1.0"
    shutil.copy(tmp_path / "recorder.db", copy)
    with Store.open(sqlite_url) as store:
        wanted = retention.reached(store, {filled.customers[0]: "named"}, follow=False)
        erased = retention.erase(store, wanted, by="V", reason="r")
        assert (erased.held, erased.removed) == ([filled.customers[0]], [])
        assert copy.exists()


def test_what_was_pruned_before_still_has_names_that_go(sqlite_url: str) -> None:
    """Pruning leaves tags and metadata; they lead to the recordings, and are erased. (What tied attempts of one call
    together went with the content: of these only those that have a provider's id in common are found.)
    """
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        retention.prune(store, retention.Wanted(), by="cron", reason="prune: content")
        assert CUSTOMER in in_database(sqlite_url, [CUSTOMER])
        refused = filled.customers[8]
        erased = erase(store)
        assert {*erased.done, *erased.already} == set(filled.customers) - {refused}
        erased = retention.erase(store, retention.reached(store, {refused: "named"}), by="V", reason="r")
        assert erased.done == [refused]
        assert look(store).codes == set()
    assert in_database(sqlite_url, filled.canaries) == set()


def test_only_what_is_named_goes_where_no_link_is_followed(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        one = filled.customers[2]
        retention.erase(store, retention.reached(store, {one: "named"}, follow=False), by="V", reason="r")
        verdicts = {each.recording_id: each.verdict for each in look(store).checked}
        assert [key for key, verdict in verdicts.items() if verdict == "erased"] == [one]


def test_what_others_of_the_run_had_from_it_goes_with_it(url: str) -> None:
    """A continuation that says no metadata of its own shows its opener's."""
    with Store.open(url, create=True) as store:
        filled = fill(store)
        opener = filled.customers[2]
        path = "/v1/threads/thread_abc123DEF/runs/run_xyz789GHI/submit_tool_outputs"
        heir = keep(store, post(path, tool_outputs=[]), None, started_at=3_500)
        before = store.reading(heir.recording_id)
        assert before is not None
        assert "customer" in (before.reading.metadata or {})
        assert before.reading.group == before.reading.assistant_id is not None
        retention.erase(store, retention.reached(store, {opener: "named"}, follow=False), by="V", reason="r")
        after = store.reading(heir.recording_id)
        assert after is not None
        assert after.reading.metadata is None
        assert after.reading.group == before.reading.group, "the id of an assistant is nobody's text"


def test_a_reading_that_was_made_before_does_not_bring_the_text_back(url: str) -> None:
    """A reader may have the payloads in hand while they are erased."""
    with Store.open(url, create=True) as store:
        filled = fill(store)
        late = [stored for each in filled.customers if (stored := store.reading(each))]
        erase(store)
        store.put_readings(late)
    assert in_database(url, filled.canaries) == set()


@pytest.mark.parametrize("labels", [True, False])
def test_recordings_of_every_shape_verify_as_erased(url: str, *, labels: bool) -> None:
    """Also those without payloads, masked, withheld, cut off, or closed by recovery."""
    with Store.open(url, create=True) as store:
        verified.fill(store, streams=False)
        whole = {each.recording_id: each.verdict for each in look(store).checked}
        sealed = {key for key, verdict in whole.items() if verdict == "intact" and key is not None}
        assert len(sealed) > 10
        if labels:
            retention.erase(store, retention.reached(store, dict.fromkeys(sealed, "named")), by="V", reason="r")
        else:
            retention.prune(store, retention.Wanted(), by="V", reason="r")
        looked = look(store)
        assert looked.codes == set()
        before = {key for key, verdict in whole.items() if verdict == "erased"}
        assert {each.recording_id for each in looked.checked if each.verdict == "erased"} == sealed | before
        assert not any(event.data or event.raw for key in sealed for event in store.events(key))


def test_bytes_that_are_left_somewhere_are_found_and_told(sqlite_url: str, tmp_path: Path) -> None:
    """Nobody is told that it is gone while a file of the store still has it."""
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        body = store.recording(filled.customers[1]).request.body or b""
        (tmp_path / "recorder.db.spare").write_bytes(b"0" * 5003 + body + b"1" * 99)
        erased = erase(store)
        assert erased.found == [str(tmp_path / "recorder.db.spare")]
        assert erased.rewritten
        # The same words, said by somebody who did not ask for anything, are no find.
        assert filled.kept not in str(erased.found)


def test_a_reader_that_keeps_older_pages_is_told_of(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a transaction reads what was there before, the log cannot be emptied; once it ended, the same call can."""
    monkeypatch.setattr("recorder.store.sqlite.WRITE_WAIT", 0.1)
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        with closing(sqlite3.connect(tmp_path / "recorder.db", isolation_level=None)) as looking:
            looking.execute("BEGIN")
            looking.execute("SELECT count(*) FROM recordings").fetchall()
            erased = erase(store)
            assert len(erased.done) == len(filled.customers)
            assert any("still holds older pages" in each for each in erased.missed)
        assert erase(store).missed == []
        assert in_files(tmp_path, filled.canaries) == {}


def test_words_that_others_said_too_are_no_find(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        asked = post("/v1/chat/completions", model="gpt-4o", messages=[{"role": "user", "content": "the same " * 9}])
        mine, others = keep(store, asked, b"data: [DONE]\n\n"), keep(store, asked, b"data: [DONE]\n\n")
        erased = retention.erase(store, retention.reached(store, {mine.recording_id: "named"}), by="V", reason="r")
        assert (erased.done, erased.found, erased.rewritten) == ([mine.recording_id], [], False)
        assert store.recording(others.recording_id).request.body == asked.body


def prune_content(store: Store) -> None:
    retention.prune(store, retention.Wanted(), by="Vera", reason="old")


def prune_whole(store: Store) -> None:
    retention.prune(store, retention.Wanted(whole=True), by="Vera", reason="old")


DEEDS: tuple[Callable[[Store], object], ...] = (erase, partial(erase, rewrite=True), prune_content, prune_whole)


def test_killed_at_any_moment_it_goes_on_by_the_same_names(tmp_path: Path) -> None:
    """Fault row 40: after each kill every recording is whole or erased, and the last call leaves nothing."""
    template = tmp_path / "template.db"
    with Store.open(template, create=True) as store:
        filled = fill(store)
    kills, wanted, random_ = 0, examples(5, 300), random.Random(40)
    longest = {deed: _duration(tmp_path / "timed.db", template, deed) for deed in DEEDS}
    for number in itertools.count():
        if number >= wanted and kills >= wanted:
            break
        assert number < 20 * wanted, "it can hardly be killed"
        path = tmp_path / f"{number}.db"
        shutil.copy(template, path)
        deed = DEEDS[number % len(DEEDS)]
        for _ in range(2):
            delay = random_.uniform(0, longest[deed])
            if _killed(path, deed, delay):
                kills += 1
            else:  # it was timed on a machine that was busier, or its rest was short
                longest[deed] = delay
            with Store.open(path) as store:
                looked = look(store)
                assert looked.codes == set()
                assert {each.verdict for each in looked.checked} <= {"erased", "intact"}
        with Store.open(path) as store:
            deed(store)
            assert look(store).codes == set()
            assert set(store.erasures(filled.customers)) == set(filled.customers)
        if deed in DEEDS[:2]:
            assert {key: found for key, found in in_files(tmp_path, filled.canaries).items() if path.name in key} == {}
        clear(path)


def _duration(path: Path, template: Path, deed: Callable[[Store], object]) -> float:
    """Seconds that the deed takes on a copy, where nobody disturbs it."""
    shutil.copy(template, path)
    with Store.open(path) as store:
        began = time.perf_counter()
        deed(store)
        lasted = time.perf_counter() - began
    clear(path)
    return lasted


def _killed(path: Path, deed: Callable[[Store], object], delay: float) -> bool:
    """Do it in a process that is killed so many seconds after it began; whether it had not ended by then."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with Store.open(path) as store:
                os.write(write, b"!")
                deed(store)
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"!"
    os.close(read)
    time.sleep(delay)
    done, _ = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    return False


def test_one_id_for_two_answers_leads_to_nobody_else(url: str) -> None:
    """Ollama draws the ids of its answers among 999. An exchange that was recorded twice is still found by its id."""
    chunk = b'data: {"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n\n'

    def ask(store: Store, text: str, started_at: int) -> UUID:
        asked = post("/v1/chat/completions", model="llama", messages=[{"role": "user", "content": text}])
        return keep(store, asked, chunk, started_at=started_at).recording_id

    with Store.open(url, create=True) as store:
        mine = ask(store, "Who am I?", 1_000_000)
        ask(store, "Somebody else's words.", 90_000_000)
        again = ask(store, "Who am I?", 95_000_000)
        led_to = retention.reached(store, {mine: "named"})
        assert {(each.recording_id, each.link) for each in led_to} == {(mine, "named"), (again, "same response")}


@pytest.mark.parametrize("whole", [False, True])
def test_an_older_export_does_not_bring_the_content_back(url: str, tmp_path: Path, *, whole: bool) -> None:
    """Nor does the file of what was taken away whole; as another recording it can be imported."""
    file = tmp_path / "before.jsonl"
    with Store.open(url, create=True) as store:
        filled = fill(store)
        one = filled.others[0]
        exchange.write(file, exchange.entries(store, [one]), identity=True)
        if whole:
            store.remove([one], "cron", "prune: whole")
        else:
            retention.erase(store, retention.reached(store, {one: "named"}), by="V", reason="asked to")
        with pytest.raises(Conflict, match=r"erased in this store \((prune: whole|asked to)\)"):
            exchange.import_file(store, file)
        assert in_database(url, [filled.kept]) == {filled.kept}  # the other one's, as before
        assert look(store).codes == set()
        file.write_bytes(re.sub(rb'"id":"[0-9a-f-]{36}",|"digests":\[[^]]*\],', b"", file.read_bytes()))
        (taken,) = exchange.import_file(store, file).recordings
        assert look(store).verdict(taken.recording_id) == "intact"


def test_an_export_of_what_was_erased_can_be_imported_again(url: str, tmp_path: Path) -> None:
    file = tmp_path / "after.jsonl"
    with Store.open(url, create=True) as store:
        filled = fill(store)
        erase(store)
        exchange.write(file, exchange.entries(store, filled.customers), identity=True)
        assert len(exchange.import_file(store, file).recordings) == len(filled.customers)
        assert look(store).codes == set()


def test_what_was_pruned_and_is_imported_again_keeps_its_outcome(url: str, tmp_path: Path) -> None:
    """It could not be read again: there is nothing left to be read."""
    file = tmp_path / "after.jsonl"
    with Store.open(url, create=True) as store:
        filled = fill(store)
        for each in filled.customers:
            store.wipe([Wipe(each, pruning.bare_reading(store, each), labels=False)], "V", "prune: content")
        before = [store.reading(each) for each in filled.customers]
        exchange.write(file, exchange.entries(store, filled.customers), identity=True)
        exchange.import_file(store, file)
        reader.read_due_all(store)
        assert [store.reading(each) for each in filled.customers] == before


def test_a_reading_of_what_is_imported_again_does_not_bring_the_text_back(url: str, tmp_path: Path) -> None:
    """The file comes when the erasure is under way, and a reader that has the payloads in hand when it is over."""
    file, text = tmp_path / "before.jsonl", "Words that nobody else says, to be looked for."
    with Store.open(url, create=True) as store:
        one = keep(store, post("/v1/chat/completions", messages=[], user=text), b"{}", headers=JSON).recording_id
        late = store.reading(one)
        assert late is not None
        assert text in str(late.reading.parameters)
        exchange.write(file, exchange.entries(store, [one]), identity=True)
        deed = deeds(store, one, whole=False)
        exchange.import_file(store, file)
        deed()
        store.put_readings([late])
    assert in_database(url, [text]) == set()


def test_a_reason_of_any_bytes_is_kept(url: str) -> None:
    """What a shell hands over that is no UTF-8, and NUL, which PostgreSQL refuses."""
    with Store.open(url, create=True) as store:
        filled = fill(store)
        one = filled.others[0]
        retention.erase(store, retention.reached(store, {one: "named"}), by="J\udcfcrgen", reason="a\0b")
        (erasure,) = store.erasures([one])[one]
        assert (erasure.erased_by, erasure.reason) == ("J\ufffdrgen", "a\ufffdb")


def test_a_store_that_is_reached_through_a_link_is_the_same_store(tmp_path: Path) -> None:
    """Its locks, facts and backups lie beside the file, whatever it was called by; and are found there."""
    real, link = tmp_path / "real" / "recorder.db", tmp_path / "link" / "other.db"
    for folder in (real.parent, link.parent):
        folder.mkdir()
    with Store.open(real, create=True) as store:
        filled = fill(store)
    link.symlink_to(real)
    with closing(queries.connect(link)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() != [(0,)]
    shutil.copy(real, real.with_name("recorder.db.backup-1.0"))
    with Store.open(link) as store:
        erased = erase(store)
    assert {Path(each).name for each in erased.removed} >= {"recorder.db.backup-1.0", "manifest.json"}
    assert [*link.parent.iterdir()] == [link]
    assert in_files(tmp_path, filled.canaries) == {}


def test_a_question_that_is_being_answered_is_told_and_the_search_goes_on(sqlite_url: str) -> None:
    """The facts that it is being answered from could not be removed: not done, and said so."""

    def busy(_: str = "") -> list[str]:
        raise StoreError("the facts are being refreshed; try again")

    with Store.open(sqlite_url, create=True) as store:
        fill(store)
        erased = retention.erase(store, asked_for(store), by="V", reason="r", forget=busy)
        assert erased.missed == ["the facts are being refreshed; try again"]
        assert erased.searched > 0


# -- beside others -----------------------------------------------------------------------------------------------------


def deeds(store: Store, one: UUID, *, whole: bool) -> Callable[[], object]:
    """Take it away, or its content with its tags."""
    left = erasing._bare(store, one)
    return lambda: store.remove([one], "V", "r") if whole else store.wipe([Wipe(one, left, labels=True)], "V", "r")


def said(deed: Callable[[], object]) -> Callable[[list[Exception]], None]:
    """Do it, and note how it was refused."""

    def do(refusals: list[Exception]) -> None:
        try:
            deed()
        except RecorderError as error:
            refusals.append(error)

    return do


@pytest.mark.parametrize("whole", [False, True])
def test_a_hold_is_seen_by_who_erases_or_comes_after_him(
    url: str, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    """Never is it set first and the content goes all the same; and of what went whole no tag is left."""
    with Store.open(url, create=True) as store, Store.open(url) as other:
        one = keep(store, post("/v1/x", a=1), b"{}", headers=JSON, tags={"app": "a"}).recording_id
        refused: list[Exception] = []
        hold = said(lambda: other.tag(one, "hold", "case 17"))
        assert meanwhile(monkeypatch, store, deeds(store, one, whole=whole), lambda: hold(refused))
        assert [type(each) for each in refused] == [NotFound] * whole
        assert store.orphans() == ({one: {"erasures"}} if whole else {})
        assert look(store).codes == set()
        assert whole or dict(store.run(one).tags) == {"hold": "case 17"}


def test_a_hold_on_another_recording_of_the_run_is_seen_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(url, create=True) as store, Store.open(url) as other:
        opener, continued = fill(store).customers[2:4]
        assert store.run_of(continued) == opener
        deed = deeds(store, opener, whole=False)
        assert meanwhile(monkeypatch, store, deed, lambda: other.tag(continued, "hold", "case 17"))
        assert store.remove([continued], "V", "r") == []


@pytest.mark.parametrize("whole", [False, True])
def test_an_import_beside_it_does_not_bring_the_content_back(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    """The file of before is read while the recording goes."""
    file, text = tmp_path / "before.jsonl", "Words that nobody else says, to be looked for."
    with Store.open(url, create=True) as store, Store.open(url) as other:
        one = keep(store, post("/v1/x", a=text), b"{}", headers=JSON).recording_id
        exchange.write(file, exchange.entries(store, [one]), identity=True)
        refused: list[Exception] = []
        take_in = said(lambda: exchange.import_file(other, file))
        meanwhile(monkeypatch, store, deeds(store, one, whole=whole), lambda: take_in(refused))
        assert ["was erased in this store (r)" in str(each) for each in refused] == [True]
        assert store.orphans() == ({one: {"erasures"}} if whole else {})
        assert look(store).codes == set()
    assert in_database(url, [text]) == set()


def test_what_is_imported_again_while_it_is_compared_goes_afterwards(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round: nothing of it is left behind by either."""
    file = tmp_path / "before.jsonl"
    with Store.open(url, create=True) as store, Store.open(url) as other:
        one = keep(store, post("/v1/x", a=1), b"{}", headers=JSON).recording_id
        exchange.write(file, exchange.entries(store, [one]), identity=True)
        taken = deeds(other, one, whole=True)
        assert meanwhile(monkeypatch, store, lambda: exchange.import_file(store, file), taken)
        assert store.orphans() == {one: {"erasures"}}
        assert store.recording_ids() == []


def test_a_reading_that_is_put_beside_it_takes_no_metadata_from_what_is_going(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continuation shows its opener's metadata, and is read while that is erased."""
    with Store.open(url, create=True) as store, Store.open(url) as other:
        filled = fill(store)
        opener = filled.customers[2]
        path = "/v1/threads/thread_abc123DEF/runs/run_xyz789GHI/submit_tool_outputs"
        heir, events = recorded(post(path, tool_outputs=[]), None, started_at=3_500)
        rows = [(heir.recording_id.bytes, *event) for event in events]
        store.append([Append(heir.recording_id, heir, rows, heir.ending)])
        deed = deeds(store, opener, whole=False)
        meanwhile(monkeypatch, store, deed, lambda: reader.read(other, heir.recording_id))
        after = store.reading(heir.recording_id)
        assert after is not None
        assert after.reading.metadata is None


# -- by which links ----------------------------------------------------------------------------------------------------


def test_other_attempts_of_a_call_began_within_a_day(url: str) -> None:
    """Of many recordings those near to each are found, and not those that are near to another one of them."""
    hour, base, calls = 3_600_000, 1_790_000_000_000, [uuid7() for _ in range(3)]

    def attempt(store: Store, call: UUID, hours: int, number: int) -> UUID:
        recording_id = UUID(int=base + hours * hour << 80 | 7 << 76 | 2 << 62 | number)
        made, events = recorded(post("/v1/x", n=number), None, call=call)
        made = replace(made, recording_id=recording_id)
        rows = [(recording_id.bytes, *event) for event in events]
        store.append([Append(recording_id, made, rows, made.ending)])
        return recording_id

    with Store.open(url, create=True) as store:
        first, second, again, too_late, before, lone = (
            attempt(store, calls[call], hours, number)
            for number, (call, hours) in enumerate([(0, 0), (1, 30), (0, 24), (0, 36), (1, 7), (2, 31)])
        )
        found = set(store.reach([first, second, lone]))
        assert found == {(first, "same call", again), (second, "same call", before)}
        assert too_late not in {other for _, _, other in found}
        last = UUID(int=(1 << 128) - 1)
        assert list(store.reach([last])) == []
