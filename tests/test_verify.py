"""Verification: nothing is found in a store that nobody touched, and everything that was done to one is, by name."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from recorder import evidence
from recorder.capture import seal_interrupted
from recorder.digest import leaf_of
from recorder.errors import StoreError
from recorder.exchange.lines import digests
from recorder.recording import Request
from recorder.store import Append, Store
from recorder.store.scanning import Scope
from recorder.verify import Checkpoint, make
from tests.edits import edit, undo
from tests.kept import clear
from tests.needs import examples, need_corpus
from tests.verified import append, erase, fill, look, made, prune, raw, unguarded

EDITS: Final = examples(300, 10_000)


class Held:
    """A SQLite store with recordings of every shape, closed; and a checkpoint of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with Store.open(path, create=True) as store:
            self.ids = fill(store, streams=False)
            self.line = make(store)
        self.plain = self.ids["plain"]

    def codes(self, *lines: Checkpoint, scope: Scope | None = None) -> set[str]:
        """The codes of all that is found now."""
        with Store.open(self.path, readonly=True) as store:
            return look(store, scope or Scope(), lines).codes

    def faults(self, *lines: Checkpoint) -> dict[Any, set[str]]:
        with Store.open(self.path, readonly=True) as store:
            return look(store, lines=lines).faults


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return Held(tmp_path_factory.mktemp("pristine") / "recorder.db")


@pytest.fixture
def held(pristine: Held, tmp_path: Path) -> Held:
    """A copy of the pristine store, to be attacked."""
    copied = object.__new__(Held)
    copied.__dict__.update(pristine.__dict__)
    copied.path = tmp_path / "recorder.db"
    shutil.copy(pristine.path, copied.path)
    return copied


# -- nothing was done --------------------------------------------------------------------------------------------------


def test_nothing_is_found_in_a_store_that_nobody_touched(url: str) -> None:
    """Golden streams, redacted, encoded, oversize, cut, interrupted, erased and pruned ones; with a checkpoint too."""
    with Store.open(url, create=True) as store:
        ids = fill(store)
        made = make(store)
        looked = look(store, lines=[made])
        assert looked.faults == {}
        assert looked.summary.problems == []
        assert looked.summary.found == 0
        assert looked.summary.pruned == 1
        assert looked.verdict(ids["plain"]) == "intact"
        assert looked.verdict(ids["open"]) == "unfinished"
        assert {looked.verdict(ids[name]) for name in ("erased", "erased_odd")} == {"erased"}
        assert looked.summary.verdicts.keys() == {"intact", "unfinished", "erased"}
        assert looked.summary.verdicts["unfinished"] == 1
        (missing,) = [each for each in looked.checked if each.missing]
        assert (missing.recording_id, missing.complete) == (ids["interrupted"], False)


def test_nothing_is_found_in_published_streams(tmp_path: Path) -> None:
    """All of them, however they were cut; and the evidence of them holds."""
    folder = need_corpus()
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        batch = []
        for number, path in enumerate(sorted(folder.rglob("*.sse"))):
            capture, taken = made(ASKED, path.read_bytes(), chunk=13 + 89 * (number % 50))
            batch.append(Append(capture.recording.recording_id, capture.recording, taken, capture.ending))
        store.append(batch)
        looked = look(store, lines=[make(store)])
        assert (looked.codes, looked.summary.verdicts) == (set(), {"intact": len(batch)})
        file = tmp_path / "evidence.jsonl"
        file.write_bytes(b"".join(evidence.lines_of(store, store.recording_ids(), by="test")))
    outcome = evidence.check(file)
    assert outcome.summary.found == 0
    assert outcome.summary.verdicts == {"intact": len(batch)}


def test_what_was_erased_and_pruned_after_a_checkpoint_is_no_fault(url: str) -> None:
    with Store.open(url, create=True) as store:
        ids = fill(store, streams=False)
        made = make(store)
        erase(store, ids["plain"])
        prune(store, ids["gzip"])
        looked = look(store, lines=[made])
        assert looked.codes == set()
        assert looked.verdict(ids["plain"]) == "erased"
        assert looked.summary.pruned == 2


def test_what_is_sealed_later_leaves_earlier_checkpoints_as_they_were(url: str) -> None:
    """Also a recording whose id is older than all that are logged: one that ran long, or was imported."""
    with Store.open(url, create=True) as store:
        ids = fill(store, streams=False)
        lines = [make(store)]
        row, ending = seal_interrupted(store.recording(ids["open"]), store.events(ids["open"]))
        store.append([Append(ids["open"], None, [row], ending)])
        lines.append(make(store))
        assert lines[1].count == lines[0].count + 1
        assert lines[1].store == lines[0].store
        looked = look(store, lines=lines)
        assert looked.codes == set()
        assert [holds for _, holds in looked.summary.checkpoints] == [True, True]


def test_an_empty_store_is_verified_and_has_a_checkpoint(url: str) -> None:
    with Store.open(url, create=True) as store:
        made = make(store)
        assert (made.store, made.count) == ("-", 0)
        assert look(store, lines=[made]).summary.found == 0


# -- single edits ------------------------------------------------------------------------------------------------------


def test_every_single_edit_is_found(held: Held) -> None:
    """Of any column of any table of facts, and rows deleted, added and swapped, at random."""
    rng = random.Random(7)
    sealed = {found.bytes for name, found in held.ids.items() if name not in ("open", "pruned")}
    missed, done = [], 0
    with closing(unguarded(held.path)) as connection, Store.open(held.path, readonly=True) as store:
        connection.execute("PRAGMA synchronous = OFF")
        while done < EDITS:
            made = edit(connection, rng, sealed)
            if made is None:
                continue
            done += 1
            if not look(store).summary.found:
                missed.append(made.text)
            undo(connection, made)
        assert look(store).summary.found == 0
    assert missed == []


ASKED: Final = Request("POST", "https://api.openai.com/v1/responses", (), b'{"stream":true}', 15)
FLIPS: Final = examples(40, 10_000)
#: Tables whose rows are sealed, or say what is; of an erasure that there was one: who did it and why no digest covers,
#: as docs/integrity.md says.
SEALED: Final = (
    "* FROM recordings",
    "* FROM events",
    "* FROM endings",
    "* FROM tags",
    "recording_id FROM erasures",
    "* FROM logged",
)


def rows(path: Path, left_out: bytes) -> list[list[tuple[Any, ...]]] | None:
    """All that is sealed, as who reads the tables past their indexes comes upon it; None where that fails."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            found = [connection.execute(f"SELECT {part} NOT INDEXED").fetchall() for part in SEALED]
    except sqlite3.Error:
        return None
    return [[row for row in table if row[0] != left_out] for table in found]


def test_every_bit_that_flips_in_the_file_is_found_or_changes_nothing(held: Held) -> None:
    """What lies in unused room, and in what is derived, no digest covers; what is sealed reads as before then.

    The recording that still goes on is not sealed. A file that SQLite cannot read is refused, and says that.
    """
    rng = random.Random(13)
    Store.open(held.path).close()  # leaves no write-ahead log behind
    whole, left_out = held.path.read_bytes(), held.ids["open"].bytes
    before = rows(held.path, left_out)
    missed, found = [], 0
    for _ in range(FLIPS):
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        flipped = bytearray(whole)
        flipped[at] ^= 1 << bit
        clear(held.path)
        held.path.write_bytes(flipped)
        try:
            fault = bool(held.codes(held.line))
        except StoreError:  # SQLite, or what recorder asks of it, cannot read the file
            continue
        found += fault
        if not fault and rows(held.path, left_out) != before:
            missed.append((at // 4096, at % 4096, bit))
    assert missed == []
    assert found


def test_an_index_that_leads_back_is_said_and_not_followed_for_ever(held: Held) -> None:
    """One bit in the key of a recording, wherever it stands: the list of recordings goes in no circle."""
    Store.open(held.path).close()
    whole, wanted = held.path.read_bytes(), sorted(held.ids.values())[-3].bytes
    said, at = [], whole.find(wanted)
    while at >= 0:
        flipped = bytearray(whole)
        flipped[at + 1] ^= 4
        clear(held.path)
        held.path.write_bytes(flipped)
        try:
            assert held.codes(held.line)
        except StoreError as error:
            said.append(str(error))
        at = whole.find(wanted, at + 1)
    assert any("leads back" in each for each in said)


# -- attacks on the structure ------------------------------------------------------------------------------------------


def key(held: Held, name: str = "plain") -> bytes:
    return held.ids[name].bytes


def last(held: Held, name: str = "plain") -> int:
    """The position of the end event."""
    with closing(sqlite3.connect(held.path)) as connection:
        found: int = connection.execute(
            "SELECT events FROM endings WHERE recording_id = ?", (key(held, name),)
        ).fetchone()[0]
        return found


def reseal(path: Path, recording_id: UUID) -> None:
    """Make the digests of a recording anew, as somebody would who knows how."""
    with Store.open(path, readonly=True) as store:
        recording = store.recording(recording_id)
        assert recording.ending is not None
        rows = [(recording_id.bytes, *event) for event in store.events(recording_id)]
        made = digests(recording, recording.ending, rows)
    statement = "UPDATE endings SET facts_digest = ?, payload_digest = ?, seal = ? WHERE recording_id = ?"
    raw(path, (statement, (made.facts_digest, made.payload_digest, made.seal, recording_id.bytes)))


def test_a_tail_that_was_cut_is_found(held: Held) -> None:
    raw(held.path, ("DELETE FROM events WHERE recording_id = ? AND position > 2", (key(held),)))
    assert held.faults() == {held.plain: {"cut_off"}}


def test_a_tail_that_was_cut_with_its_seal_is_found(held: Held) -> None:
    """It then looks like a recording that is still being made; but nobody makes it."""
    raw(
        held.path,
        ("DELETE FROM events WHERE recording_id = ? AND position > 2", (key(held),)),
        ("DELETE FROM endings WHERE recording_id = ?", (key(held),)),
    )
    assert held.faults()[held.plain] >= {"cut_off"}


def test_a_seal_that_is_gone_is_found_by_the_log_also_where_somebody_claims_to_write(held: Held) -> None:
    raw(
        held.path,
        ("DELETE FROM events WHERE recording_id = ? AND position > 2", (key(held),)),
        ("DELETE FROM endings WHERE recording_id = ?", (key(held),)),
        ("INSERT INTO leases SELECT recording_id, writer, 0 FROM recordings WHERE recording_id = ?", (key(held),)),
    )
    assert held.faults() == {held.plain: {"seal_gone"}}


def test_an_end_event_that_is_gone_is_found(held: Held) -> None:
    raw(held.path, ("DELETE FROM events WHERE recording_id = ? AND kind = 'end'", (key(held),)))
    assert held.faults()[held.plain] == {"cut_off"}


def test_a_gap_is_found_with_its_place(held: Held) -> None:
    raw(held.path, ("DELETE FROM events WHERE recording_id = ? AND position IN (2, 3)", (key(held),)))
    with Store.open(held.path, readonly=True) as store:
        (found,) = [each for each in look(store).checked if each.problems]
    assert found.problems[0][:] == ("gap", "the events 2 to 3 are gone", 2)


@pytest.mark.parametrize(("gone", "said"), [("= 3", "event 3 is gone"), ("IN (3, 4)", "the events 3 to 4 are gone")])
def test_a_gap_says_which_events_are_gone(held: Held, gone: str, said: str) -> None:
    raw(held.path, (f"DELETE FROM events WHERE recording_id = ? AND position {gone}", (key(held),)))
    with Store.open(held.path, readonly=True) as store:
        (checked,) = [each for each in look(store).checked if each.recording_id == held.plain]
    assert [(problem.code, problem.text, problem.position) for problem in checked.problems][:1] == [("gap", said, 3)]


def test_every_event_is_counted_once(held: Held) -> None:
    """Of every sort; what the summary says was looked at is their sum."""
    with Store.open(held.path, readonly=True) as store:
        looked = look(store)
        for each in looked.checked:
            assert each.recording_id is not None
            assert each.events == len(list(store.events(each.recording_id)))
    assert looked.summary.events == sum(each.events for each in looked.checked) > 100


def test_two_events_that_changed_places_are_found(held: Held) -> None:
    raw(
        held.path,
        ("UPDATE events SET position = -9 WHERE recording_id = ? AND position = 2", (key(held),)),
        ("UPDATE events SET position = 2 WHERE recording_id = ? AND position = 3", (key(held),)),
        ("UPDATE events SET position = 3 WHERE recording_id = ? AND position = -9", (key(held),)),
    )
    assert held.faults().keys() == {held.plain}


def test_a_payload_that_moved_between_two_without_is_found(held: Held) -> None:
    """Digests cover unframed bytes: where one payload is absent, only its place tells it from another's."""
    raw(
        held.path,
        ("UPDATE events SET data = NULL WHERE recording_id = ? AND position = 3", (key(held),)),
    )
    assert held.faults() == {held.plain: {"content_gone"}}


def test_a_forged_middle_is_found(held: Held) -> None:
    """Of the same length, at the same time, under the same name."""
    forged = "UPDATE events SET data = CAST(replace(CAST(data AS TEXT), 'chat', 'chit') AS BLOB)"
    raw(held.path, (f"{forged} WHERE recording_id = ? AND position = 3", (key(held),)))
    assert held.faults() == {held.plain: {"content"}}


def test_events_behind_the_end_are_found(held: Held) -> None:
    copied = (
        "INSERT INTO events SELECT recording_id, ?, kind, elapsed_us, type, data, raw, size, cuts FROM events "
        "WHERE recording_id = ? AND position = 2"
    )
    raw(held.path, (copied, (last(held) + 1, key(held))))
    assert "behind_end" in held.faults()[held.plain]


def test_a_forgery_with_fresh_digests_is_found_by_the_log(held: Held) -> None:
    """The digests alone say that all is well: they were made anew. The log knows another seal."""
    raw(
        held.path,
        ("UPDATE events SET elapsed_us = elapsed_us + 1 WHERE recording_id = ? AND kind = 'end'", (key(held),)),
    )
    reseal(held.path, held.plain)
    assert held.faults() == {held.plain: {"sealed_anew"}}
    raw(held.path, ("DELETE FROM logged WHERE recording_id = ?", (key(held),)))
    assert held.codes() == set()
    assert held.codes(held.line) == {"beginning"}  # it was the first one


def test_a_forgery_that_knows_the_log_too_is_found_by_a_checkpoint(held: Held) -> None:
    raw(
        held.path,
        ("UPDATE events SET elapsed_us = elapsed_us + 1 WHERE recording_id = ? AND kind = 'end'", (key(held),)),
    )
    reseal(held.path, held.plain)
    with Store.open(held.path, readonly=True) as store:
        ending = store.recording(held.plain).ending
    assert ending is not None
    assert ending.seal is not None
    raw(held.path, ("UPDATE logged SET leaf = ? WHERE recording_id = ?", (leaf_of(held.plain, ending.seal), key(held))))
    assert held.codes() == set()
    assert held.codes(held.line) == {"rewritten"}


_OF_A_RECORDING = ("events", "endings", "tags", "readings", "leases", "recordings")


def test_a_lost_recording_is_named_by_what_is_left_of_it(held: Held) -> None:
    raw(held.path, ("DELETE FROM recordings WHERE recording_id = ?", (key(held),)))
    assert held.faults() == {held.plain: {"lost"}}


def test_a_recording_that_was_taken_away_whole_is_named_by_the_log(held: Held) -> None:
    _take_away(held, held.plain)
    assert held.faults() == {held.plain: {"lost"}}


def test_a_recording_that_was_taken_away_with_its_log_is_found_by_a_checkpoint(held: Held) -> None:
    _take_away(held, held.ids["left"], "logged")
    assert held.codes() == set()
    assert held.codes(held.line) == {"rolled_back"}
    _take_away(held, held.plain, "logged")
    assert held.codes(held.line) == {"beginning"}


def _take_away(held: Held, recording_id: UUID, *others: str) -> None:
    with closing(unguarded(held.path)) as connection:
        for table in (*_OF_A_RECORDING, *others):
            connection.execute(f"DELETE FROM {table} WHERE recording_id = ?", (recording_id.bytes,))


def test_a_store_that_was_rolled_back_is_found_by_a_checkpoint(held: Held) -> None:
    """An older copy of the whole file holds by itself."""
    older = held.path.with_name("older.db")
    shutil.copy(held.path, older)
    with Store.open(held.path) as store:
        append(store, store.recording(held.plain).request, b"data: more\n\n")
        newer = make(store)
    shutil.copy(older, held.path)
    assert held.codes() == set()
    assert held.codes(held.line) == set()
    assert held.codes(held.line, newer) == {"rolled_back"}


def test_a_log_in_another_order_is_found_by_a_checkpoint(held: Held) -> None:
    raw(held.path, ("UPDATE logged SET batch = 9 WHERE recording_id = ?", (key(held),)))
    assert held.codes() == set()
    assert held.codes(held.line) & {"rewritten", "beginning"}


def test_a_store_that_was_written_anew_is_found_by_a_checkpoint(held: Held, tmp_path: Path) -> None:
    other = Held(tmp_path / "other.db")
    assert other.codes(held.line) == {"beginning"}


def test_the_last_checkpoint_that_holds_says_from_where_on_it_was_changed(held: Held) -> None:
    with Store.open(held.path) as store:
        for _ in range(3):
            recording_id = append(store, store.recording(held.plain).request, b"data: more\n\n")
        newer = make(store)
    raw(held.path, ("UPDATE logged SET leaf = x'00' WHERE recording_id = ?", (recording_id.bytes,)))
    with Store.open(held.path, readonly=True) as store:
        looked = look(store, lines=[newer, held.line])
    assert [holds for _, holds in looked.summary.checkpoints] == [True, False]
    (problem,) = looked.summary.problems
    assert problem.code == "rewritten"
    assert f"the first {held.line.count:,} are" in problem.text


def test_an_erasure_that_nobody_recorded_is_found(held: Held) -> None:
    """And one that is on record, while content is there, too."""
    raw(held.path, ("DELETE FROM erasures WHERE recording_id = ?", (key(held, "erased"),)))
    assert held.faults()[held.ids["erased"]] >= {"request", "content_gone"}
    raw(held.path, ("INSERT INTO erasures VALUES (?, 1, 'x', 'y')", (key(held),)))
    assert held.faults()[held.plain] == {"content_left"}


def test_a_value_that_sqlite_cannot_read_is_named(held: Held) -> None:
    raw(
        held.path,
        ("UPDATE events SET size = 'x' WHERE recording_id = ? AND position = 2", (key(held),)),
        ("UPDATE events SET type = CAST(x'ff' AS TEXT) WHERE recording_id = ? AND position = 2", (key(held, "left"),)),
        ("UPDATE recordings SET model = CAST(x'6d6d6dff' AS TEXT) WHERE recording_id = ?", (key(held, "large"),)),
        ("UPDATE recordings SET recording_id = x'00' WHERE recording_id = ?", (key(held, "gzip"),)),
    )
    faults = held.faults()
    assert faults.keys() == {held.plain, held.ids["left"], held.ids["large"], held.ids["gzip"], None}


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("plain", "UPDATE recordings SET stream = 5", "request"),
        ("plain", "UPDATE recordings SET writer = x'00'", "request"),
        ("plain", "UPDATE recordings SET call = x'00'", "request"),
        ("plain", "UPDATE recordings SET url = NULL", "request"),
        ("plain", "UPDATE recordings SET headers = '{'", "request"),
        ("plain", "UPDATE recordings SET headers = '[[1,2]]'", "request"),
        ("plain", "UPDATE recordings SET headers = ' ' || headers", "request"),
        ("plain", "UPDATE recordings SET tags = '[]'", "request"),
        ("plain", "UPDATE recordings SET body_encoding = 'zip'", "request"),
        ("plain", "UPDATE recordings SET body_size = 7", "request"),
        ("large", "UPDATE recordings SET body = x'00'", "request"),
        ("large", "UPDATE recordings SET body = body || x'00'", "request"),
        ("large", "UPDATE recordings SET body_size = 7", "request"),
        ("large", "UPDATE recordings SET body_size = 9223372036854775807", "request"),
        ("large", "UPDATE recordings SET body = NULL", "request"),
        ("plain", "UPDATE recordings SET suffix = 'x'", "request"),
        ("plain", "UPDATE endings SET http_status = 'x'", "ending"),
        ("plain", "UPDATE endings SET seal = zeroblob(32)", "seal"),
        ("plain", "UPDATE endings SET facts_digest = zeroblob(32)", "digests"),
        ("plain", "UPDATE endings SET captured = 'truncated'", "ending"),
        ("plain", "UPDATE endings SET ending = ending || char(0)", "ending"),
        ("plain", "UPDATE endings SET events = events + 3", "count"),
    ],
)
def test_each_way_in_which_a_row_is_wrong_is_named(held: Held, name: str, change: str, code: str) -> None:
    raw(held.path, (f"{change} WHERE recording_id = ?", (key(held, name),)))
    assert code in held.faults()[held.ids[name]]


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("plain", "SET kind = 'other' WHERE recording_id = ? AND position = 3", "kind"),
        ("plain", "SET kind = 'head' WHERE recording_id = ? AND position = 3", "order"),
        ("plain", "SET type = 'x' WHERE recording_id = ? AND kind = 'head'", "type"),
        ("plain", "SET type = x'00' WHERE recording_id = ? AND position = 3", "type"),
        ("plain", "SET position = 'x' WHERE recording_id = ? AND position = 3", "position"),
        ("odd", "SET raw = x'', data = NULL WHERE recording_id = ? AND raw IS NOT NULL", "content_gone"),
        ("odd", "SET data = x'00' WHERE recording_id = ? AND raw IS NOT NULL", "frame"),
        ("facts", "SET data = zeroblob(size) WHERE recording_id = ? AND position = 3", "content_put"),
        (
            "secret_gzip",
            "SET data = zeroblob(size) WHERE recording_id = ? AND kind = 'wire' AND position > 2",
            "content_put",
        ),
        ("gzip", "SET data = NULL WHERE recording_id = ? AND kind = 'wire'", "content_gone"),
        ("plain", "SET data = x'7b' WHERE recording_id = ? AND kind = 'end'", "size"),
        ("plain", "SET cuts = 'x' WHERE recording_id = ? AND position = 3", "event"),
        ("plain", "SET elapsed_us = 0.5 WHERE recording_id = ? AND position = 3", "event"),
    ],
)
def test_each_way_in_which_an_event_is_wrong_is_named(held: Held, name: str, change: str, code: str) -> None:
    raw(held.path, (f"UPDATE events {change}", (key(held, name),)))
    assert code in held.faults()[held.ids[name]]


def test_many_sorts_of_rows_are_all_looked_at(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    from recorder.verify import rows as forms

    monkeypatch.setattr(forms, "_KNOWN", 0)
    forms._RECORDING.known.clear()
    assert held.codes() == set()


def test_a_gap_in_the_providers_numbering_is_no_fault_of_the_record(held: Held) -> None:
    """Integrity and completeness are two verdicts."""
    raw(held.path, ("UPDATE readings SET flags = '[\"sequence_gap\"]' WHERE recording_id = ?", (key(held),)))
    with Store.open(held.path, readonly=True) as store:
        looked = look(store)
    assert looked.faults == {}
    (checked,) = [each for each in looked.checked if each.recording_id == held.plain]
    assert checked.missing == ("the provider's own numbering of its events has gaps",)
    assert checked.complete is False


def test_a_row_that_was_changed_past_its_index_is_found(held: Held) -> None:
    """In the bytes of the file: who finds the event by its index sees what was there, who reads the table does not."""
    Store.open(held.path).close()
    data, wanted = held.path.read_bytes(), key(held)
    places = [found.start() for found in re.finditer(re.escape(wanted), data)]
    codes = set()
    for place in places:
        held.path.write_bytes(data[: place + 9] + bytes([data[place + 9] ^ 4]) + data[place + 10 :])
        found = held.codes(held.line)
        assert found, place
        codes |= found
    assert codes >= {"moved", "damaged", "lost"}


def test_readings_and_later_tags_are_not_sealed(held: Held) -> None:
    """They are derived, or come after the seal; docs/integrity.md says so."""
    raw(held.path, "UPDATE readings SET status = 'failed'", "UPDATE erasures SET reason = 'other'")
    with Store.open(held.path) as store:
        store.tag(held.plain, "note", "later")
    raw(held.path, "UPDATE tags SET value = 'other' WHERE name = 'note'")
    assert held.codes(held.line) == set()


def test_a_seal_that_is_none_is_not_logged(tmp_path: Path) -> None:
    """Nothing else is held up by it."""
    path = tmp_path / "recorder.db"
    with Store.open(path, create=True) as store:
        ids = fill(store, streams=False)
        logged = store.log_sealed()
        assert logged > 1
        other = append(store, Request("GET", "https://api.openai.com/v1/models"), b"data: 1\n\n")
    raw(path, ("UPDATE endings SET seal = 'x' WHERE recording_id = ?", (other.bytes,)))
    with Store.open(path) as store:
        assert store.log_sealed() == 0
        late = append(store, Request("GET", "https://api.openai.com/v1/models"), b"data: 1\n\n")
        assert store.log_sealed() == 1
        leaves = list(store.leaves())
        assert (len(leaves), leaves[-1][0]) == (logged + 1, late)
        assert look(store).faults.keys() == {other}
        assert ids["plain"] in {found for found, _ in leaves}


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_the_log_is_read_in_pages(held: Held, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes on behind the last; together they are all of it, in its order."""
    with Store.open(held.path, readonly=True) as store:
        whole = list(store.leaves())
        monkeypatch.setattr("recorder.store.log.PAGE", page)
        assert list(store.leaves()) == whole
        walked = store.logged_after(None, page)
        while found := store.logged_after(walked[-1], page):
            assert len(found) <= page
            walked += found
    assert [(each.recording_id, each.leaf) for each in walked] == whole


# -- what is looked at -------------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_looked_at(held: Held) -> None:
    raw(held.path, ("DELETE FROM events WHERE recording_id = ? AND position = 2", (key(held),)))
    assert held.codes(scope=Scope(ids=[held.ids["gzip"]])) == set()
    assert held.codes(scope=Scope(ids=[held.plain])) == {"gap"}
    assert held.codes(scope=Scope(since=1_800_000_000_000_000)) == set()
    assert held.codes(scope=Scope(since=1_790_000_000_000_000)) == {"gap"}


def test_more_recordings_than_are_read_together_are_all_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.store import scanning, sqlite_events

    monkeypatch.setattr(scanning, "GROUP", 3)
    monkeypatch.setattr(sqlite_events, "_AT_A_TIME", 7)
    monkeypatch.setattr(scanning, "GROUP_BYTES", 150)
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        ids = fill(store, streams=False)
        looked = look(store)
    assert {each.recording_id for each in looked.checked} == set(ids.values()) - {ids["pruned"]}
    assert looked.summary.found == 0
