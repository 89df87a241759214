"""What every store keeps to, on SQLite and on PostgreSQL alike: one contract, run on both."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from recorder import recording as recording_module
from recorder import schema
from recorder.errors import Conflict, NotFound, StoreUnavailable, UsageError
from recorder.recording import Kind, Reading, Recording, Request, Row, storable, uuid7
from recorder.schema import events, readings, recordings, tags
from recorder.store import Append, Linked, RunFilter, Store, check_store, describe_store, migrate_store, path_of
from recorder.store.erasing import Extent, Wipe
from tests.kept import keep
from tests.needs import ROOT, examples
from tests.rows import STARTED, WRITER, an_end, made_reading, opened, positions, recorded, rows_of
from tests.tape import post

#: The rows of an append that PostgreSQL takes as arrays, and of one that it takes by COPY.
FEW, MANY = 5, 2500


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A new store of each kind."""
    with Store.open(url, create=True) as opened_store:
        yield opened_store


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own running the script; what it prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


# -- what goes in comes out --------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=20)
blobs = st.binary(max_size=64)
header_lists = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
requests = st.builds(
    Request,
    method=texts,
    url=texts,
    headers=header_lists,
    body=st.none() | blobs | st.integers(0, 3).map(lambda n: b"body " * (2000 * n)),
    body_size=st.integers(0, 2**40),
    body_sha256=st.none() | blobs,
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "model": texts,
        "assistant_id": texts,
        "thread_id": texts,
        "max_prompt_tokens": st.integers(-(2**63), 2**63 - 1),
        "max_completion_tokens": st.integers(0, 10),
        "truncation_strategy": texts,
        "stream": st.booleans(),
    },
)
any_recording = st.builds(
    Recording,
    recording_id=st.builds(uuid7),
    started_at=st.integers(0, 2**62),
    writer=st.uuids(),
    dialect=texts,
    origin=texts,
    request=requests,
    salt=st.none() | blobs,
    match_key=st.none() | blobs,
    match_rule=st.none() | texts,
    content=texts,
    weight=st.floats(0, 1e6),
    session=st.none() | texts,
    trace=st.none() | texts,
    call=st.none() | st.uuids(),
    tags=st.dictionaries(texts, texts, max_size=3),
    parameters=parameters,
)
event_facts = st.tuples(
    st.sampled_from(list(Kind)).map(str),
    st.integers(0, 2**62),
    st.none() | texts,
    st.none() | blobs,
    st.none() | blobs,
    st.integers(0, 2**40),
    st.none() | blobs,
)


def as_stored(value: Any) -> Any:
    """The value with its texts as every database takes them."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {key: as_stored(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        # Headers and tags are JSON, which holds any text.
        kept = {name: item for name, item in fields.items() if name not in ("headers", "tags")}
        return dataclasses.replace(value, **{name: as_stored(item) for name, item in kept.items()})
    return value


class TestRoundTrip:
    @given(recording=any_recording)
    @settings(
        max_examples=examples(25, 2000),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_a_recording_comes_back_equal(self, store: Store, recording: Recording) -> None:
        """Every field, whatever text or bytes; only NUL and lone surrogates in texts become U+FFFD."""
        recording = dataclasses.replace(recording, recording_id=uuid7())
        store.append([Append(recording.recording_id, recording)])
        assert store.recording(recording.recording_id) == as_stored(recording)

    @given(facts=st.lists(event_facts, min_size=1, max_size=8))
    @settings(
        max_examples=examples(25, 2000),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_events_come_back_equal(self, store: Store, facts: list[tuple[Any, ...]]) -> None:
        """Every column exactly, None apart from empty; and the same again is stored once."""
        recording = opened()
        rows: list[Row] = [(recording.recording_id.bytes, at, *rest) for at, rest in enumerate(facts)]
        store.append([Append(recording.recording_id, recording, rows)])
        store.append([Append(recording.recording_id, None, rows)])
        expected = [(at, kind, us, as_stored(type_), *rest) for _, at, kind, us, type_, *rest in rows]
        assert [tuple(event) for event in store.events(recording.recording_id)] == expected

    def test_an_ending_comes_back_with_its_recording(self, store: Store) -> None:
        recording = recorded(store)
        assert store.recording(recording.recording_id) == recording
        assert store.find(b"k" * 32) == [recording]

    def test_a_large_body_is_stored_compressed_and_comes_back(self, store: Store) -> None:
        bodies = [b"a" * 4095, b"a" * 4096, random.Random(1).randbytes(5000)]
        made = [recorded(store, request=Request("POST", "/", (), body, len(body))) for body in bodies]
        assert [store.recording(one.recording_id).request.body for one in made] == bodies
        with store._backend.read() as connection:
            found = connection.execute(
                select(recordings.c.body_encoding, recordings.c.body).order_by(recordings.c.recording_id)
            ).all()
        assert [encoding for encoding, _ in found] == [None, "zlib", None]
        assert len(found[1].body) < 100

    def test_parameters_that_do_not_fit_their_column_are_unknown(self, store: Store) -> None:
        odd = {"model": 5, "max_prompt_tokens": 2**63, "max_completion_tokens": True, "stream": "yes", "more": 1}
        recording = recorded(store, parameters=odd)
        assert store.recording(recording.recording_id).parameters == {}

    def test_names_too_long_for_an_index_are_stored_as_their_beginning_and_digest(self, store: Store) -> None:
        """PostgreSQL's indexes take 2,704 bytes. Equal names stay equal, others stay others."""
        one, other = ("".join(random.Random(seed).choices(string.ascii_letters + "é😀", k=9000)) for seed in (1, 2))
        named = ("model", "assistant_id", "thread_id")
        recording = recorded(store, parameters=dict.fromkeys(named, one), trace=one, tags={one: other})
        store.tag(recording.recording_id, other, one)
        names: dict[str, Any] = dict.fromkeys((*named, "provider_run_id", "request_id", "previous_response_id"), one)
        store.put_readings([made_reading(recording, **names)])
        again = recorded(store)
        store.put_readings([made_reading(again, run_id=recording.recording_id, provider_run_id=one)])
        run = store.run(again.recording_id)
        assert (run.run_id, run.recordings) == (recording.recording_id, 2)
        assert len(run.tags) == 2
        assert store.resolve(one) == recording.recording_id
        with pytest.raises(NotFound):
            store.resolve(one[:-1] + "!")

    @pytest.mark.parametrize("count", [FEW, MANY])
    def test_events_are_read_in_pages(self, store: Store, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        """From a position on, of some kinds, across any number of pages."""
        monkeypatch.setattr("recorder.store.core._PAGE_BYTES", 10_000)
        recording = opened()
        rows = rows_of(recording, 0, count)
        rows[2] = (*rows[2][:2], str(Kind.WIRE), *rows[2][3:])
        store.append([Append(recording.recording_id, recording, rows)])
        everything = list(store.events(recording.recording_id))
        assert [tuple(event) for event in everything] == [row[1:] for row in rows]
        assert list(store.events(recording.recording_id, start=3)) == everything[3:]
        assert list(store.events(recording.recording_id, kinds=[Kind.WIRE])) == [everything[2]]
        assert list(store.events(recording.recording_id, kinds=[Kind.WIRE, Kind.SSE], start=1)) == everything[1:]
        assert list(store.events(recording.recording_id, kinds=[])) == []

    def test_event_types_are_counted_by_their_first(self, store: Store) -> None:
        """Of server-sent events alone; those without a type by themselves."""
        recording = opened()
        rows = rows_of(recording, 0, 6)
        types = ["b", None, "a", "b", None, "b"]
        kinds = [*["sse"] * 5, "body"]
        typed = [(*row[:2], kind, row[3], type_, *row[5:]) for row, kind, type_ in zip(rows, kinds, types, strict=True)]
        store.append([Append(recording.recording_id, recording, typed)])
        assert list(store.event_types(recording.recording_id).items()) == [("b", 2), (None, 2), ("a", 1)]
        assert store.event_types(uuid7()) == {}

    def test_all_recordings_can_be_named(self, store: Store) -> None:
        """In the order they were made, open ones too."""
        assert store.recording_ids() == []
        made = [recorded(store).recording_id, recorded(store).recording_id]
        begun = opened()
        store.append([Append(begun.recording_id, begun)])
        assert store.recording_ids() == [*made, begun.recording_id]

    def test_all_events_are_there_also_those_that_are_nowhere_to_be(self, store: Store) -> None:
        """Who checks a store has to see what somebody put before its beginning."""
        recording = recorded(store)
        lowest = 1 - (1 << 31)
        with store._backend.write() as connection:
            connection.execute(
                events.insert().values(
                    recording_id=recording.recording_id, position=lowest, kind="sse", elapsed_us=0, size=0
                )
            )
        with store._backend.read() as connection:
            pages = list(store._backend.stream_events(connection, recording.recording_id))
        assert [row[0] for page in pages for row in page] == [lowest, 0, 1, 2, 3]

    @pytest.mark.parametrize("count", [256, 600])
    def test_all_events_of_a_long_recording_are_read(self, store: Store, count: int) -> None:
        """However many are read together."""
        recording = recorded(store, events=count)
        with store._backend.read() as connection:
            pages = list(store._backend.stream_events(connection, recording.recording_id))
        assert [row[0] for page in pages for row in page] == [*range(count + 1)]

    def test_an_iterator_over_events_holds_nothing_open(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between two events anything may happen to the store, even an append to the same recording."""
        monkeypatch.setattr("recorder.store.core._PAGE_BYTES", 1)
        recording = opened()
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 600))])
        reading = store.events(recording.recording_id)
        first = next(reading)
        store.append([Append(recording.recording_id, None, rows_of(recording, 600, 610))])
        assert [first.position, *(event.position for event in reading)] == list(range(610))

    def test_what_is_unknown_is_not_found(self, store: Store) -> None:
        unknown = uuid7()
        for ask in (store.recording, store.run, store.run_of, lambda one: store.tag(one, "a", "b")):
            with pytest.raises(NotFound, match=str(unknown)):
                ask(unknown)
        assert list(store.events(unknown)) == []
        assert store.find(b"none") == []
        assert store.members(unknown) == []
        assert store.reading(unknown) is None


# -- append-only -------------------------------------------------------------------------------------------------------


class TestAppend:
    @pytest.mark.parametrize("count", [FEW, MANY])
    def test_an_append_that_overlaps_stores_what_is_missing(self, store: Store, count: int) -> None:
        """A writer that did not hear the answer sends the same again, perhaps with more."""
        recording = opened()
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, count))])
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, count + 3))])
        store.append([Append(recording.recording_id, None, rows_of(recording, count - 2, count + 5))])
        assert positions(store, recording) == list(range(count + 5))

    @pytest.mark.parametrize("count", [FEW, MANY])
    def test_a_position_that_holds_something_else_is_a_conflict(self, store: Store, count: int) -> None:
        """Nothing of that append is stored, of no recording in it; afterwards the store goes on."""
        recording, other = opened(), opened()
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 3))])
        batch = [
            Append(other.recording_id, other, rows_of(other, 0, count)),
            Append(recording.recording_id, None, rows_of(recording, 2, count, data=b"different")),
        ]
        with pytest.raises(Conflict, match=f"position 2 of recording {recording.recording_id}"):
            store.append(batch)
        assert positions(store, recording) == [0, 1, 2]
        with pytest.raises(NotFound):
            store.recording(other.recording_id)
        store.append(batch[:1])
        assert positions(store, other) == list(range(count))

    @pytest.mark.parametrize("column", range(2, 9))
    def test_a_difference_in_any_column_is_a_conflict(self, store: Store, column: int) -> None:
        recording = opened()
        row: Row = (recording.recording_id.bytes, 0, "sse", 1, "a", b"data", b"raw", 9, b"\x01\x01")
        store.append([Append(recording.recording_id, recording, [row])])
        others = {2: "wire", 3: 2, 4: None, 5: None, 6: b"", 7: 10, 8: None}
        changed: Any = (*row[:column], others[column], *row[column + 1 :])
        with pytest.raises(Conflict):
            store.append([Append(recording.recording_id, None, [changed])])

    def test_the_same_id_with_another_request_is_a_conflict(self, store: Store) -> None:
        recording = opened()
        store.append([Append(recording.recording_id, recording)])
        store.append([Append(recording.recording_id, recording)])
        other = dataclasses.replace(recording, request=Request("POST", "/other"))
        with pytest.raises(Conflict, match=str(recording.recording_id)):
            store.append([Append(recording.recording_id, other)])

    def test_a_gap_is_refused(self, store: Store) -> None:
        """Whether the store object remembers the recording or not."""
        recording = opened()
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 2))])
        with pytest.raises(Conflict, match="nothing at position 2"):
            store.append([Append(recording.recording_id, None, rows_of(recording, 3, 4))])
        with pytest.raises(ValueError, match="not consecutive"):
            store.append([Append(recording.recording_id, None, [*rows_of(recording, 2, 3), *rows_of(recording, 4, 5)])])
        assert positions(store, recording) == [0, 1]

    def test_events_without_a_recording_are_refused(self, store: Store) -> None:
        recording = opened()
        with pytest.raises(Conflict, match="no beginning"):
            store.append([Append(recording.recording_id, None, rows_of(recording, 0, 1))])

    @pytest.mark.parametrize("offset", [0, 1, 5])
    def test_nothing_goes_behind_an_end(self, store: Store, offset: int) -> None:
        """Not at its position and not beyond it: a writer that was thought dead finds out at once."""
        recording = opened()
        store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 3))])
        row, ended = an_end(recording, 3, "interrupted")
        store.append([Append(recording.recording_id, None, [row], ended)])
        with pytest.raises(Conflict, match=str(recording.recording_id)):
            store.append([Append(recording.recording_id, None, rows_of(recording, 3 + offset, 6 + offset))])
        assert positions(store, recording) == [0, 1, 2, 3]

    def test_a_stale_writer_is_fenced_by_another_stores_end(self, url: str) -> None:
        """The writer's own store remembers its position, which the recoverer's `end` took meanwhile."""
        with Store.open(url, create=True) as writer, Store.open(url) as recoverer:
            recording = opened()
            writer.append([Append(recording.recording_id, recording, rows_of(recording, 0, 3))])
            row, ended = an_end(recording, 3, "interrupted")
            recoverer.append([Append(recording.recording_id, None, [row], ended)])
            with pytest.raises(Conflict, match="position 3"):
                writer.append([Append(recording.recording_id, None, rows_of(recording, 3, 5))])
            own_row, own_end = an_end(recording, 3, "eof")
            with pytest.raises(Conflict):
                writer.append([Append(recording.recording_id, None, [own_row], own_end)])
            assert recoverer.recording(recording.recording_id).ending == ended

    def test_of_racing_recoverers_all_succeed_with_the_same_end(self, url: str) -> None:
        """They make the same row, so it does not matter who is first."""
        with Store.open(url, create=True) as store:
            made = [opened() for _ in range(20)]
            store.append([Append(one.recording_id, one, rows_of(one, 0, 2)) for one in made])
            failures: list[BaseException] = []

            def recover() -> None:
                try:
                    with Store.open(url) as own:
                        for one in made:
                            row, ended = an_end(one, 2, "interrupted")
                            own.append([Append(one.recording_id, None, [row], ended)])
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=recover) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            assert all(store.recording(one.recording_id).ending for one in made)
            assert store.open_recordings() == []

    def test_one_of_racing_writers_wins(self, url: str) -> None:
        """Two that want the same position with different content: one is stored whole, the other not at all."""
        with Store.open(url, create=True) as store:
            for _ in range(10):
                recording = opened()
                store.append([Append(recording.recording_id, recording)])
                outcomes: list[str] = []

                def write(name: str, recording: Recording = recording, outcomes: list[str] = outcomes) -> None:
                    with Store.open(url) as own:
                        try:
                            own.append(
                                [Append(recording.recording_id, None, rows_of(recording, 0, 4, data=name.encode()))]
                            )
                            outcomes.append(name)
                        except Conflict:
                            pass

                threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                (winner,) = outcomes
                data = [event.data for event in store.events(recording.recording_id)]
                assert data == [f"{winner}{at}".encode() for at in range(4)]

    def test_an_empty_append_does_nothing(self, store: Store) -> None:
        store.append([])
        store.put_readings([])
        assert store.recordings() == []

    def test_threads_may_share_a_store(self, store: Store) -> None:
        """Four write and four read at once; every row arrives."""
        made = [opened() for _ in range(4)]
        store.append([Append(one.recording_id, one) for one in made])
        failures: list[BaseException] = []

        def work(call: Callable[[Recording], None], one: Recording) -> None:
            try:
                call(one)
            except BaseException as error:
                failures.append(error)

        def write(one: Recording) -> None:
            for start in range(0, 100, 5):
                store.append([Append(one.recording_id, None, rows_of(one, start, start + 5))])

        def read(one: Recording) -> None:
            for _ in range(20):
                found = positions(store, one)
                assert found == list(range(len(found)))

        threads = [threading.Thread(target=work, args=(call, one)) for call in (write, read) for one in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert [positions(store, one) for one in made] == [list(range(100))] * 4


# -- life cycle, readings, tags ----------------------------------------------------------------------------------------


class TestLifeCycle:
    def test_an_opening_is_listed_as_in_progress_and_leased(self, store: Store) -> None:
        store.claim_writer(WRITER)
        recording = opened(parameters={"model": "gpt", "max_completion_tokens": 7})
        store.append([Append(recording.recording_id, recording)])
        (found,) = store.runs()
        assert (found.status, found.ending, found.events, found.model) == ("in_progress", None, None, "gpt")
        assert found.max_completion_tokens == 7
        assert store.open_recordings() == [(recording.recording_id, WRITER)]
        assert store.dead_recordings() == []
        assert store.unread() == []
        assert store.reading(recording.recording_id) is None

    def test_an_end_gives_up_the_lease_and_makes_the_reading_due(self, store: Store) -> None:
        recording = recorded(store, ending="reset")
        (found,) = store.runs()
        assert (found.status, found.ending, found.events, found.bytes) == ("unknown", "reset", 3, 90)
        assert found.duration_us == 3000
        assert store.open_recordings() == []
        assert store.unread() == [recording.recording_id]

    def test_an_opening_sent_again_after_the_end_opens_nothing(self, store: Store) -> None:
        recording = recorded(store)
        opening = dataclasses.replace(recording, ending=None)
        store.put_readings([made_reading(recording, status="completed")])
        store.append([Append(recording.recording_id, opening)])
        assert store.open_recordings() == []
        assert store.runs()[0].status == "completed"

    def test_an_end_sent_again_is_stored_once(self, store: Store) -> None:
        recording = recorded(store)
        row, ended = an_end(recording, 3)
        store.append([Append(recording.recording_id, None, [row], ended)])
        assert positions(store, recording) == [0, 1, 2, 3]
        with pytest.raises(Conflict, match="ended otherwise"):
            store.append([Append(recording.recording_id, None, [], dataclasses.replace(ended, ending="reset"))])

    def test_unread_recordings_come_oldest_first_and_leave_when_read(self, store: Store) -> None:
        made = [recorded(store) for _ in range(5)]
        ids = [one.recording_id for one in made]
        assert store.unread() == ids
        assert store.unread(limit=2) == ids[:2]
        store.put_readings([made_reading(one) for one in made[:3]])
        assert store.unread() == ids[3:]

    def test_a_reading_comes_back_equal(self, store: Store) -> None:
        """Each of its fields; but for `spoken`, which only detectors look at, and what it continues, which is a run."""
        recording = recorded(store)
        by_type: dict[str, Callable[[int], Any]] = {
            "str": lambda n: f"{n} saïd 😀",
            "str | None": lambda n: f"{n}",
            "int | None": lambda n: 2**40 + n,
            "bool": lambda n: True,
            "bool | None": lambda n: False,
            "Mapping[str, Any] | None": lambda n: {"a": "b", "n": n, "null": None},
            "Mapping[str, Any]": lambda n: {"usage": {"x": [1, None, "é"]}},
            "tuple[str, ...]": lambda n: ("cut", "slow"),
        }
        fields = {
            field.name: by_type[str(field.type)](number)
            for number, field in enumerate(dataclasses.fields(Reading))
            if field.name not in ("spoken", "continues")
        }
        stored = made_reading(recording, None, **fields)
        store.put_readings([stored])
        assert store.reading(recording.recording_id) == stored
        nothing = dataclasses.replace(stored, reading=Reading(dialect="raw", is_run=False))
        store.put_readings([nothing])
        assert store.reading(recording.recording_id) == nothing

    def test_readings_that_an_older_reader_made_are_found_page_by_page(self, store: Store) -> None:
        """In the order they were made, whatever the versions; those that are due are not among them."""
        made = [recorded(store) for _ in range(8)]
        versions = (3, 1, 2, 0, 1, 4, 2, 1)
        for one, version in zip(made, versions, strict=True):
            if version:
                store.put_readings([dataclasses.replace(made_reading(one), reader_version=version)])
        older = [one.recording_id for one, version in zip(made, versions, strict=True) if 0 < version < 3]
        assert store.stale(3) == older
        assert store.count_stale(3) == len(older) == 5
        pages, after = [], None
        while page := store.stale(3, limit=2, after=after):
            pages.append(page)
            after = page[-1]
        assert pages == [older[:2], older[2:4], older[4:]]
        assert store.stale(1) == []
        assert store.count_stale(1) == 0
        store.put_readings([dataclasses.replace(made_reading(made[1]), reader_version=3)])
        assert store.stale(3) == older[1:]

    def test_a_reading_replaces_the_one_before(self, store: Store) -> None:
        recording = recorded(store)
        for status in ("failed", "completed"):
            store.put_readings([made_reading(recording, status=status, text=status)])
        found = store.reading(recording.recording_id)
        assert found is not None
        assert found.reading.text == "completed"
        assert len(store.recordings()) == 1

    def test_a_reading_of_nothing_is_left_out(self, store: Store) -> None:
        store.put_readings([made_reading(opened())])
        assert store.runs() == []

    def test_tags_last_one_wins_and_none_takes_off(self, store: Store) -> None:
        recording = recorded(store, tags={"app": "shop", "env": "prod"})
        for value in ("a", "b"):
            store.tag(recording.recording_id, "note", value)
        store.tag(recording.recording_id, "env", None)
        assert store.runs()[0].tags == {"app": "shop", "note": "b"}
        assert store.recordings()[0].run.tags == {"app": "shop", "note": "b"}
        assert store.recording(recording.recording_id).tags == {"app": "shop", "env": "prod"}

    def test_a_tag_wins_over_earlier_ones_when_the_clock_stands_still(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recording_module, "_CLOCK", recording_module._Clock())  # ids would go on from there
        monkeypatch.setattr("time.time_ns", lambda: STARTED * 1000)
        recording = recorded(store, tags={"n": "first"})
        for value in ("1", "2", "3"):
            store.tag(recording.recording_id, "n", value)
        assert store.runs()[0].tags == {"n": "3"}
        with store._backend.read() as connection:
            assert len(connection.execute(select(tags)).all()) == 4


#: What the two recordings of a run say of it.
WAITS: dict[str, Any] = {"provider_run_id": "run_1", "status": "requires_action"}
DONE: dict[str, Any] = {"provider_run_id": "run_1", "status": "completed"}


class TestRuns:
    def test_the_recording_that_saw_the_end_stands_for_its_run(self, store: Store) -> None:
        """Its outcome, the opener's start and caps, and the sums of all."""
        opener = recorded(store, started_at=STARTED, tags={"app": "shop"})
        submitted = recorded(store, started_at=STARTED + 50_000, events=5)
        store.put_readings(
            [made_reading(opener, model="gpt", max_prompt_tokens=9, ttft_us=4, group="g", **WAITS)],
        )
        store.put_readings([made_reading(submitted, opener.recording_id, output_tokens=3, **DONE)])
        (found,) = store.runs()
        assert found.run_id == opener.recording_id
        assert (found.recordings, found.status, found.model, found.group) == (2, "completed", "gpt", "g")
        assert (found.started_at, found.max_prompt_tokens, found.ttft_us) == (STARTED, 9, 4)
        assert (found.events, found.bytes, found.output_tokens) == (8, 240, 3)
        assert found.duration_us == 55_000
        assert found.tags == {"app": "shop"}
        assert store.members(opener.recording_id) == [opener.recording_id, submitted.recording_id]
        assert store.run(submitted.recording_id) == store.run(opener.recording_id) == found
        assert store.run_of(submitted.recording_id) == opener.recording_id

    def test_a_run_that_is_asked_for_by_its_id_has_the_tags_of_all_its_recordings(self, store: Store) -> None:
        """Of one name the one set last, whichever recording it was set on."""
        opener = recorded(store, tags={"app": "shop", "env": "prod"})
        going_on = recorded(store, started_at=STARTED + 1, tags={"app": "till", "host": "a"})
        store.put_readings([made_reading(opener, **WAITS), made_reading(going_on, opener.recording_id, **DONE)])
        expected = {"app": "till", "env": "prod", "host": "a"}
        assert store.run(opener.recording_id).tags == expected
        assert store.run(going_on.recording_id).tags == expected
        assert store.runs()[0].tags == expected

    def test_a_reading_that_is_moved_says_when(self, store: Store) -> None:
        """Facts kept for questions follow what has changed since they were taken."""
        opener, going_on = recorded(store), recorded(store, started_at=STARTED + 1)
        store.put_readings([made_reading(opener, **WAITS)])

        def changed() -> int:
            mine = readings.c.recording_id == opener.recording_id
            with store._backend.read() as connection:
                return int(connection.execute(select(readings.c.changed_at).where(mine)).scalar_one())

        before = changed()
        while time.time_ns() // 1000 <= before:
            time.sleep(0)
        store.put_readings([made_reading(going_on, opener.recording_id, **DONE)])
        assert changed() > before

    def test_a_run_that_went_on_is_not_listed_under_its_earlier_status(self, store: Store) -> None:
        opener, submitted = recorded(store), recorded(store)
        store.put_readings([made_reading(opener, **WAITS)])
        assert len(store.runs(RunFilter(status="requires_action"))) == 1
        store.put_readings([made_reading(submitted, opener.recording_id, **DONE)])
        assert store.runs(RunFilter(status="requires_action")) == []
        assert len(store.recordings(RunFilter(status="requires_action"))) == 1
        store.put_readings([made_reading(opener, **WAITS)])
        assert store.runs(RunFilter(status="requires_action")) == []

    def test_a_recording_that_leaves_a_run_gives_it_back_to_the_one_before(self, store: Store) -> None:
        """A better reader may find that a continuation belongs elsewhere."""
        opener, submitted = recorded(store), recorded(store)
        store.put_readings([made_reading(opener, **WAITS)])
        store.put_readings([made_reading(submitted, opener.recording_id, **DONE)])
        store.put_readings([made_reading(submitted, status="completed", provider_run_id="run_2")])
        assert [run.run_id for run in store.runs(RunFilter(status="requires_action"))] == [opener.recording_id]
        assert len(store.runs()) == 2

    def test_an_exchange_that_is_part_of_no_run_is_no_run(self, store: Store) -> None:
        """It is listed as a recording, found by its id, and shown alone."""
        run, message = recorded(store), recorded(store)
        store.put_readings([made_reading(run, status="completed")])
        store.put_readings([made_reading(message, is_run=False, action="message", thread_id="thread_1")])
        assert [one.run_id for one in store.runs()] == [run.recording_id]
        assert [one.recording.recording_id for one in store.recordings()] == [message.recording_id, run.recording_id]
        assert store.resolve("@last") == run.recording_id
        assert store.resolve(str(message.recording_id)) == message.recording_id
        shown = store.run(message.recording_id)
        assert (shown.run_id, shown.thread_id, shown.recordings) == (message.recording_id, "thread_1", 1)
        assert store.standing(message.recording_id) is None


class TestLinks:
    """What has to do with a run without being part of it."""

    def test_responses_name_the_one_before(self, store: Store) -> None:
        """Of the same dialect; a poll of the next one does not hide it."""
        one, two, three, other, poll = (recorded(store, dialect=name) for name in ("r", "r", "r", "chat", "r"))
        store.put_readings(
            [
                made_reading(one, provider_run_id="resp_1"),
                made_reading(two, provider_run_id="resp_2", previous_response_id="resp_1", status="in_progress"),
                made_reading(poll, two.recording_id, provider_run_id="resp_2", status="completed"),
                made_reading(three, provider_run_id="resp_3", previous_response_id="resp_1"),
                made_reading(other, provider_run_id="resp_1", previous_response_id="resp_1"),
            ]
        )
        runs = {run.run_id: run for run in store.runs()}
        first, second, third = (runs[each.recording_id] for each in (one, two, three))
        assert store.linked(first) == Linked(None, (third, second), ())
        assert store.linked(second) == Linked(first, (), ())
        assert store.linked(runs[other.recording_id]).previous is None
        assert second.status == "completed"

    def test_a_thread_holds_other_runs_and_what_is_part_of_none(self, store: Store) -> None:
        same: dict[str, Any] = {"thread_id": "thread_1"}
        message, run, tools, later, elsewhere = (recorded(store, started_at=STARTED + at) for at in range(5))
        store.put_readings(
            [
                made_reading(message, is_run=False, action="message", **same),
                made_reading(run, **WAITS, **same),
                made_reading(tools, run.recording_id, **DONE),
                made_reading(later, provider_run_id="run_2", **same),
                made_reading(elsewhere, provider_run_id="run_3", thread_id="thread_2"),
            ]
        )
        found = store.linked(store.run(run.recording_id))
        assert [one.run_id for one in found.thread] == [later.recording_id, message.recording_id]
        assert (found.previous, found.following) == (None, ())
        assert store.linked(store.run(elsewhere.recording_id)) == Linked()
        assert [one.run_id for one in store.linked(store.run(message.recording_id)).thread] == [
            later.recording_id,
            run.recording_id,
        ]

    def test_the_newest_few_are_found(self, store: Store) -> None:
        made = [recorded(store, started_at=STARTED + at) for at in range(25)]
        same: dict[str, Any] = {"thread_id": "thread_1", "previous_response_id": "resp_0"}
        store.put_readings([made_reading(one, provider_run_id=f"resp_{at}", **same) for at, one in enumerate(made)])
        found = store.linked(store.run(made[0].recording_id))
        newest = [one.recording_id for one in reversed(made)][:20]
        assert [one.run_id for one in found.following] == newest
        assert [one.run_id for one in found.thread] == newest


# -- finding -----------------------------------------------------------------------------------------------------------


class TestFinding:
    def test_recordings_with_a_key_come_in_the_order_they_were_made(self, store: Store) -> None:
        made = [recorded(store) for _ in range(3)]
        recorded(store, match_key=b"other")
        begun = opened()
        store.append([Append(begun.recording_id, begun)])
        assert store.find(b"k" * 32) == [*made, begun]

    def test_candidates_are_the_most_alike_and_of_these_the_newest(self, store: Store) -> None:
        asks = [("POST", "/v1/a?x=1"), ("GET", "/v1/a"), ("POST", "/v1/b"), ("GET", "/v1/c"), ("POST", "/v1/a")]
        made = [recorded(store, request=Request(method, f"https://h{url}")) for method, url in asks]
        found = store.candidates("POST", "/v1/a", limit=4)
        assert [made.index(one) for one in found] == [4, 0, 1, 2]

    def test_an_id_is_found_by_whatever_name_it_has(self, store: Store) -> None:
        made = [recorded(store, started_at=STARTED + at) for at in range(3)]
        store.put_readings(
            [made_reading(one, provider_run_id=f"run_{at}", request_id=f"req_{at}") for at, one in enumerate(made)]
        )
        for at, one in enumerate(made):
            names = [str(one.recording_id), one.recording_id.hex.upper(), f"run_{at}", f"req_{at}", f"@-{3 - at}"]
            names += [one.recording_id.hex[-length:] for length in (10, 12, 13, 20)]
            assert {store.resolve(name) for name in names} == {one.recording_id}
        assert store.resolve("@last") == made[2].recording_id

    def test_an_unknown_or_ambiguous_name_says_so(self, store: Store) -> None:
        for name in ("run_x", "ffff", str(uuid7()), "@last", "@-2", "", "%", "@0", "é"):
            with pytest.raises(NotFound):
                store.resolve(name)
        same = [opened(recording_id=UUID(int=(7 << 76) | (2 << 62) | (at << 90) | 0xABC)) for at in range(1, 9)]
        store.append([Append(one.recording_id, one) for one in same])
        with pytest.raises(UsageError, match=r"'abc' may be any of .*, …; name one"):
            store.resolve("abc")

    def test_one_run_of_several_recordings_is_not_ambiguous(self, store: Store) -> None:
        opener, submitted = recorded(store), recorded(store)
        store.put_readings([made_reading(opener, **WAITS)])
        store.put_readings([made_reading(submitted, opener.recording_id, **DONE)])
        assert store.resolve("run_1") == opener.recording_id


# -- lists against a model ---------------------------------------------------------------------------------------------

CHOICES: dict[str, tuple[Any, ...]] = {
    "status": ("completed", "failed", "requires_action"),
    "stop_reason": ("stop", "tool_call", None),
    "model": ("gpt", "claude", None),
    "assistant_id": ("asst_1", None),
    "thread_id": ("thread_1", "thread_2", None),
    "request_id": ("req_1", "req_2", None),
}


class Model:
    """The same lists, made the slow and obvious way from what was put in."""

    def __init__(self, store: Store, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.made: list[tuple[Recording, dict[str, Any]]] = []
        self.run: dict[UUID, UUID] = {}
        #: (whose, name, value) in the order of setting: the starts first, as what is set later has the present's time
        self.noted: list[tuple[UUID, str, str | None]] = []
        for number in range(size):
            self._one(store, number)
        for recording, _ in rng.sample(self.made, size // 4):
            name, value = rng.choice(("app", "env")), rng.choice(("x", "y", None))
            store.tag(recording.recording_id, name, value)
            self.noted.append((recording.recording_id, name, value))

    def _one(self, store: Store, number: int) -> None:
        rng = self.rng
        body = json.dumps({"ask": rng.choice(("häuser", "needle", "x")), "pad": "p" * rng.choice((0, 5000))}).encode()
        is_run = rng.random() < 0.9
        openers = [one for one, facts in self.made if facts["opens_run"] and facts["is_run"]]
        opener = rng.choice(openers) if openers and is_run and rng.random() < 0.3 else None
        recording = recorded(
            store,
            started_at=STARTED + number // 2 * 1000,
            dialect=opener.dialect if opener else rng.choice(("assistants", "chat")),
            ending=rng.choice(("eof", "client_closed", "reset")),
            trace=rng.choice(("trace_1", "trace_2", None)),
            tags={name: rng.choice(("x", "y")) for name in ("app", "env") if rng.random() < 0.5},
            request=Request("POST", "/", (), body, len(body)),
        )
        fields = {name: rng.choice(values) for name, values in CHOICES.items()}
        fields["text"] = rng.choice(("the needle", "nothing", None))
        fields["metadata"] = rng.choice(({"user": "u1"}, {"user": 2, "user2": "u1"}, {"user": "häuser"}, None))
        run_id = opener.recording_id if opener else recording.recording_id
        self.run[recording.recording_id] = run_id
        fields["is_run"], fields["opens_run"] = is_run, opener is None
        fields["provider_run_id"] = f"run_{run_id}" if is_run else None
        store.put_readings([made_reading(recording, **fields)])
        if opener is not None:
            opened_with = next(facts for one, facts in self.made if one is opener)
            for name in ("model", "assistant_id", "thread_id", "metadata"):
                fields[name] = opened_with[name] if fields[name] is None else fields[name]
        self.noted += [(recording.recording_id, *tag) for tag in recording.tags.items()]
        self.made.append((recording, fields))

    def lists(self, wanted: RunFilter, *, of_runs: bool) -> list[UUID]:
        """The ids listed: of runs, or of recordings."""
        owners: dict[UUID, list[tuple[Recording, dict[str, Any]]]] = {}
        for recording, facts in self.made:
            if of_runs and not facts["is_run"]:
                continue
            key = self.run[recording.recording_id] if of_runs else recording.recording_id
            owners.setdefault(key, []).append((recording, facts))
        found = [key for key, members in owners.items() if self._fits(wanted, members)]
        stands = {key: self._standing(owners[key])[0] for key in found}
        place = {key: (stands[key].started_at, stands[key].recording_id) for key in found}
        return sorted(found, key=lambda key: place[key], reverse=True)[: wanted.limit]

    def _fits(self, wanted: RunFilter, members: list[tuple[Recording, dict[str, Any]]]) -> bool:
        recording, facts = self._standing(members)
        assert recording.ending is not None
        shown = {**facts, "dialect": recording.dialect, "ending": recording.ending.ending}
        owned = {one.recording_id for one, _ in members}
        noted = {name: value for whose, name, value in self.noted if whose in owned}
        names = ("status", "stop_reason", "ending", "model", "dialect", "assistant_id", "thread_id")
        return (
            all(getattr(wanted, name) in (None, shown[name]) for name in names)
            and (wanted.since is None or recording.started_at >= wanted.since)
            and (wanted.until is None or recording.started_at < wanted.until)
            and (wanted.trace is None or any(one.trace == wanted.trace for one, _ in members))
            and (wanted.request_id is None or any(f["request_id"] == wanted.request_id for _, f in members))
            and all(noted.get(name) == value for name, value in wanted.tags.items())
            and all(str((facts["metadata"] or {}).get(name, "")) == value for name, value in wanted.metadata.items())
            and (wanted.grep is None or any(self._holds(wanted.grep, *member) for member in members))
        )

    @staticmethod
    def _standing(members: list[tuple[Recording, dict[str, Any]]]) -> tuple[Recording, dict[str, Any]]:
        """The first that saw the run's end; where nobody did, the last. (All take the same time here.)"""
        return next((one for one in members if one[1]["status"] in ("completed", "failed")), members[-1])

    @staticmethod
    def _holds(text: str, recording: Recording, facts: dict[str, Any]) -> bool:
        body = json.dumps(json.loads(recording.request.body or b""), ensure_ascii=False)
        return text in body or text in (facts["text"] or "")


def some_filters(rng: random.Random) -> Iterator[RunFilter]:
    """Each filter with each value, alone; then some together, and small limits."""
    singles: list[dict[str, Any]] = [{}, {"since": STARTED + 20_000}, {"until": STARTED + 9_000}]
    singles += [{name: value} for name, values in CHOICES.items() for value in (*values, "none") if value]
    singles += [{"ending": value} for value in ("reset", "eof", "timeout")]
    singles += [{"dialect": value} for value in ("chat", "gemini")]
    singles += [{"trace": value} for value in ("trace_1", "none")]
    singles += [{"tags": {name: value}} for name in ("app", "env") for value in ("x", "y", "z")]
    singles += [{"metadata": value} for value in ({"user": "u1"}, {"user": "2"}, {"user": "häuser"}, {"nobody": "u1"})]
    singles += [{"grep": value} for value in ("needle", "häuser", "nowhere", "%", "p" * 4000)]
    yield from (RunFilter(**one, limit=1000) for one in singles)
    yield from (RunFilter(**one, limit=3) for one in singles[::2])
    for _ in range(20):
        one, two = rng.sample(singles, 2)
        yield RunFilter(**{**one, **two}, limit=rng.choice((2, 1000)))


def test_lists_are_what_the_slow_way_gives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every filter alone and in pairs, of runs and of recordings, whatever the page size."""
    rng = random.Random(7)
    model = Model(store, rng, 50)
    for page, wanted in itertools.product((2, 500), some_filters(rng)):
        monkeypatch.setattr("recorder.store.lists.PAGE", page)
        runs = [run.run_id for run in store.runs(wanted)]
        listed = [one.recording.recording_id for one in store.recordings(wanted)]
        if wanted.limit < 1000 and (wanted.tags or wanted.trace or wanted.request_id):
            # These are found by the age of any recording that has what is wanted, so that the limit may cut others.
            everything = dataclasses.replace(wanted, limit=1000)
            assert len(runs) == min(wanted.limit, len(model.lists(everything, of_runs=True))), wanted
            assert set(runs) <= set(model.lists(everything, of_runs=True)), wanted
        else:
            assert runs == model.lists(wanted, of_runs=True), wanted
        if not (wanted.limit < 1000 and (wanted.tags or wanted.trace or wanted.request_id)):
            assert listed == model.lists(wanted, of_runs=False), wanted


def test_metadata_is_found_as_it_is_written_and_as_schema_1_0_wrote_it(store: Store) -> None:
    """In ASCII: what an upgrade left as it was is found by the same words."""
    now, then = recorded(store), recorded(store)
    store.put_readings([made_reading(each, metadata={"who": "häuser"}) for each in (now, then)])
    with store._backend.write() as connection:
        old = update(readings).where(readings.c.recording_id == then.recording_id)
        connection.execute(old.values(metadata=json.dumps({"who": "häuser"})))
    found = store.runs(RunFilter(metadata={"who": "häuser"}))
    assert {run.run_id for run in found} == {now.recording_id, then.recording_id}


def test_a_listed_recording_shows_itself_alone(store: Store) -> None:
    opener, submitted = recorded(store), recorded(store, events=5)
    store.put_readings([made_reading(opener, **WAITS)])
    store.put_readings([made_reading(submitted, opener.recording_id, **DONE)])
    begun = opened()
    store.append([Append(begun.recording_id, begun)])
    third, second, first = store.recordings()
    assert first.recording == dataclasses.replace(opener, request=dataclasses.replace(opener.request, body=None))
    assert (first.run.status, second.run.status, third.run.status) == ("requires_action", "completed", "in_progress")
    assert (second.run.run_id, second.run.events, second.run.recordings) == (opener.recording_id, 5, 1)
    assert second.reading == made_reading(submitted, opener.recording_id, **DONE)
    assert third.reading is None


# -- who is alive ------------------------------------------------------------------------------------------------------


class TestLiveness:
    def test_a_claimed_writer_is_alive_until_released(self, store: Store) -> None:
        writer = uuid7()
        assert not store.writer_alive(writer)
        store.claim_writer(writer)
        assert store.writer_alive(writer)
        recording = opened(writer=writer)
        store.append([Append(recording.recording_id, recording)])
        store.renew(writer)
        assert store.dead_recordings() == []
        store.release_writer(writer)
        assert not store.writer_alive(writer)
        assert store.dead_recordings() == [recording.recording_id]
        store.release_writer(writer)

    def test_others_see_who_is_alive(self, url: str) -> None:
        with Store.open(url, create=True) as store, Store.open(url) as other:
            writer = uuid7()
            store.claim_writer(writer)
            recording = opened(writer=writer)
            store.append([Append(recording.recording_id, recording)])
            assert other.writer_alive(writer)
            assert other.dead_recordings() == []
            store.release_writer(writer)
            assert other.dead_recordings() == [recording.recording_id]


# -- opening, closing, forking -----------------------------------------------------------------------------------------


class TestOpening:
    def test_what_was_stored_is_there_when_opened_again(self, url: str) -> None:
        with Store.open(url, create=True) as store:
            recording = recorded(store)
        for options in ({}, {"create": True}, {"readonly": True}, {"upgrade": False}):
            with Store.open(url, **options) as again:
                assert again.recording(recording.recording_id) == recording
                assert again.readonly == bool(options.get("readonly"))

    def test_a_store_for_reading_takes_no_writes(self, url: str) -> None:
        with Store.open(url, create=True) as store:
            recording = recorded(store)
        with Store.open(url, readonly=True) as store:
            assert store.unread() == [recording.recording_id]
            for write in (
                lambda: recorded(store),
                lambda: store.put_readings([made_reading(recording)]),
                lambda: store.tag(recording.recording_id, "a", "b"),
                lambda: store.claim_writer(WRITER),
            ):
                with pytest.raises(StoreUnavailable, match="reading only"):
                    write()

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            store.runs()
        with pytest.raises(StoreUnavailable, match="closed"):
            recorded(store)

    def test_nothing_is_made_unless_asked(self, url: str) -> None:
        for options in ({}, {"readonly": True}, {"readonly": True, "create": True}):
            with pytest.raises(NotFound, match="no store"):
                Store.open(url, **options)

    @pytest.mark.parametrize("url", ["mysql://x/y", "http://x", "sqlite://x.db", "sqlite:///", "sqlite:x://"])
    def test_an_unknown_kind_of_url_names_the_right_form(self, url: str) -> None:
        with pytest.raises(UsageError, match="sqlite:///"):
            Store.open(url)

    def test_the_schema_is_described_and_checked_from_outside(self, url: str) -> None:
        Store.open(url, create=True).close()
        assert describe_store(url) == (False, schema.REVISION)
        assert check_store(url) == []
        assert migrate_store(url) == (schema.REVISION, schema.REVISION)

    def test_what_is_missing_in_the_schema_is_named(self, url: str) -> None:
        with Store.open(url, create=True) as store, store._backend.write() as connection:
            connection.exec_driver_sql("DROP VIEW runs")
            connection.exec_driver_sql("DROP INDEX readings_due")
        differences = check_store(url)
        assert len(differences) == 2
        assert "readings_due" in differences[0]
        assert differences[1] == "missing: runs"


FORK = """
import os, sys
from recorder.store import Append, Store
from tests.postgres import Postgres
from tests.rows import opened, rows_of, positions
store = Store.open(sys.argv[1], create=True)
mine = opened()
store.append([Append(mine.recording_id, mine, rows_of(mine, 0, 50))])
store.claim_writer(mine.writer)
parent_closed, parent_closes = os.pipe()
child_began, child_begins = os.pipe()
child = os.fork()
if child == 0:
    theirs = opened()
    store.append([Append(theirs.recording_id, theirs, rows_of(theirs, 0, 50))])
    os.write(child_begins, b".")
    os.read(parent_closed, 1)
    # The parent closed first. It would have taken the write-ahead log with it, had this process inherited its state.
    store.append([Append(theirs.recording_id, None, rows_of(theirs, 50, 100))])
    assert positions(store, theirs) == list(range(100)) and positions(store, mine) == list(range(60))
    assert not store.writer_alive(mine.writer)
    print(theirs.recording_id, flush=True)
    os._exit(0)
os.read(child_began, 1)
store.append([Append(mine.recording_id, None, rows_of(mine, 50, 60))])
assert store.writer_alive(mine.writer)
store.close()
os.write(parent_closes, b".")
assert os.waitpid(child, 0)[1] == 0
print(mine.recording_id)
"""


def test_parent_and_child_of_a_fork_both_go_on(url: str) -> None:
    """Neither loses a row that was acknowledged, whoever closes first; the parent's claim ends with the parent."""
    done = run(FORK, url)
    assert (done.stderr, done.returncode) == ("", 0)
    theirs, mine = done.stdout.split()
    with Store.open(url) as store:
        assert len(list(store.events(UUID(theirs)))) == 100
        assert len(list(store.events(UUID(mine)))) == 60


def test_a_recording_counts_for_its_rows_and_the_payloads_that_are_kept(store: Store) -> None:
    """What is not kept, or was erased, takes no room; one that is still open has no events yet that count."""
    asked = Request("POST", "https://api.example.com/v1/threads/runs", (), b"x" * 500, 500)
    whole, erased = recorded(store, events=10, request=asked), recorded(store, events=10, request=asked)
    facts = recorded(store, events=10, content="facts", request=dataclasses.replace(asked, body=None))
    begun = opened(request=asked)
    store.append([Append(begun.recording_id, begun)])
    store.wipe([Wipe(erased.recording_id, None, labels=True)], "Vera", "asked to")
    ids = [each.recording_id for each in (whole, erased, facts, begun)]
    found = store.extents(ids)
    assert [found[each] for each in ids] == [
        Extent(10, 800, 4096 + 10 * 120 + 500 + 300),
        Extent(10, 800, 4096 + 10 * 120),
        Extent(10, 800, 4096 + 10 * 120),
        Extent(0, 500, 4096 + 500),
    ]


def test_the_file_of_a_store_is_told_where_it_has_one() -> None:
    assert path_of("sqlite:////data/recorder.db") == Path("/data/recorder.db")
    assert path_of("sqlite:///recorder.db") == Path("recorder.db")
    assert path_of("sqlite:///:memory:") is None
    assert path_of("postgresql://me@example.com/store") is None


def test_a_store_in_memory_does_the_same() -> None:
    """For tests of others: nothing on disk, one process."""
    with Store.open("sqlite:///:memory:") as store:
        recording = recorded(store)
        begun = opened()
        store.claim_writer(begun.writer)
        store.append([Append(begun.recording_id, begun, rows_of(begun, 0, 3))])
        with pytest.raises(Conflict):
            store.append([Append(begun.recording_id, None, rows_of(begun, 0, 3, data=b"other"))])
        assert store.recording(recording.recording_id) == recording
        assert positions(store, begun) == [0, 1, 2]
        assert [run.run_id for run in store.runs()] == [begun.recording_id, recording.recording_id]
        assert store.dead_recordings() == []


def test_the_type_of_an_event_may_be_any_text(store: Store) -> None:
    """A server's: what a database has no character for is marked, and the others are as they were."""
    recording = opened()
    rows = [
        (*row[:4], kind, *row[5:])
        for row, kind in zip(rows_of(recording, 0, 3), ("a\0b", "c\ud800", "done"), strict=True)
    ]
    store.append([Append(recording.recording_id, recording, rows)])
    assert [event.type for event in store.events(recording.recording_id)] == ["a\ufffdb", "c\ufffd", "done"]


def test_content_goes_of_a_recording_that_nobody_has_read(store: Store) -> None:
    """With no reading there is none to leave anything of; it is due as before."""
    recording = recorded(store, tags={"a": "b"})
    assert recording.ending is not None
    gone = Wipe(recording.recording_id, None, labels=True)
    assert store.wipe([gone], "Vera", "asked to") == [recording.recording_id]
    after = store.recording(recording.recording_id)
    assert (after.request.url, after.request.body) == ("", None)
    assert after.ending == dataclasses.replace(recording.ending, detail={})
    assert [event.data for event in store.events(recording.recording_id)] == [None] * 4
    assert store.unread() == [recording.recording_id]
    assert store.run(recording.recording_id).tags == {}
    assert [each.reason for each in store.erasures([recording.recording_id])[recording.recording_id]] == ["asked to"]
    store.put_readings([made_reading(recording, status="completed")])
    assert store.run(recording.recording_id).status == "completed"


def test_no_statement_is_put_together_from_text() -> None:
    """Values are always bound: `text()` with an f-string never occurs, nor does an f-string hold a value."""
    package = Path(ROOT, "recorder", "store")
    found = [path.name for path in package.glob("*.py") if "text(f" in path.read_text(encoding="utf-8")]
    assert found == []


def test_of_the_recordings_with_one_key_the_nearest_to_a_time_are_found(store: Store) -> None:
    """On either side of it, in the order they began."""
    second = 1_000_000
    asked = post("/v1/chat/completions", model="m", messages=[])
    for number in range(9):
        keep(store, asked, None, match_key=b"k" * 32, started_at=number * second)
    keep(store, asked, None, match_key=b"o" * 32, started_at=4 * second)
    near = store.alike(b"k" * 32, 4 * second, within=3 * second, limit=2)
    assert [each.started_at // second for each in near] == [3, 4, 5, 6]
    assert [each.started_at // second for each in store.alike(b"k" * 32, 0, within=second)] == [0, 1]
    assert store.alike(b"n" * 32, 0, within=second) == []
