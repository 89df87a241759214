"""That readings get the same places whatever the order in which they come, and that these are the right ones."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from recorder.recording import ASIDE, Recording, Status, StoredReading
from recorder.schema import VIEWS, readings
from recorder.store import Append, Store, placing
from recorder.store.kinship import FINAL, OPEN, Kin, Place, places
from tests.needs import ROOT, examples
from tests.rows import STARTED, an_end, made_reading, meanwhile, opened, recorded, rows_of

CLIENT, PROXY = "http://127.0.0.1:4010", "https://api.example.com"
SECOND = 1_000_000


def id_of(number: int) -> UUID:
    return UUID(int=(7 << 76) | (2 << 62) | (number << 80))


def kin(
    number: int,
    action: str | None = "create",
    start: float = 0,
    end: float | None = None,
    *,
    origin: str = PROXY,
    finality: int = FINAL,
    waits: bool = False,
    run: int | None = None,
    duplicate: bool = False,
) -> Kin:
    """A reading with this number, from second to second; it is in a run of its own until it is placed."""
    return Kin(
        recording_id=id_of(number),
        origin=origin,
        action=action,
        opens_run=action in ("create", None),
        finality=OPEN if waits else finality,
        waits=waits,
        started_at=round(start * SECOND),
        ended_at=None if end is None else round(end * SECOND),
        run_id=id_of(number if run is None else run),
        duplicate=duplicate,
    )


def runs(found: dict[UUID, Place]) -> dict[int, int]:
    """The number of each one's run, by its own."""
    numbers = {id_of(number): number for number in range(100)}
    return {numbers[key]: numbers[place.run_id] for key, place in found.items()}


def which(found: dict[UUID, Place], holds: Callable[[Place], bool]) -> list[int]:
    """The numbers of those of whose place this holds."""
    return [number for number in range(100) if (place := found.get(id_of(number))) and holds(place)]


def standing(found: dict[UUID, Place]) -> list[int]:
    return which(found, lambda place: not place.superseded)


def duplicates(found: dict[UUID, Place]) -> list[int]:
    return which(found, lambda place: place.duplicate)


# -- which run ---------------------------------------------------------------------------------------------------------


def test_a_continuation_joins_the_newest_earlier_opener() -> None:
    found = places([kin(1), kin(2), kin(3, "retrieve"), kin(4), kin(5, "cancel")])
    assert runs(found) == {1: 1, 2: 2, 3: 2, 4: 4, 5: 4}


def test_a_continuation_of_another_origin_has_a_run_of_its_own() -> None:
    found = places([kin(1), kin(2, "retrieve", origin=CLIENT), kin(3, "retrieve")])
    assert runs(found) == {1: 1, 2: 2, 3: 1}


def test_continuations_without_an_opener_join_the_first_of_them() -> None:
    """Until an opener comes: what follows it is its."""
    found = places([kin(1, "retrieve"), kin(2, "retrieve"), kin(3), kin(4, "retrieve")])
    assert runs(found) == {1: 1, 2: 1, 3: 3, 4: 3}


def test_nothing_has_no_places() -> None:
    assert places([]) == {}


# -- recorded twice ----------------------------------------------------------------------------------------------------


def test_what_client_and_proxy_recorded_is_one_run() -> None:
    """The proxy's exchanges lie within the client's; those that only one of the two saw are part of the run too."""
    found = places(
        [
            kin(1, "create", 0, 10, origin=CLIENT, waits=True),
            kin(2, "create", 0.01, 9.9, waits=True),
            kin(3, "submit_tool_outputs", 12, 20, origin=CLIENT),
            kin(4, "submit_tool_outputs", 12.01, 19.9),
            kin(5, "retrieve", 21, 22),
            kin(6, "retrieve", 23, 24, origin=CLIENT),
        ]
    )
    assert set(runs(found).values()) == {1}
    assert duplicates(found) == [2, 4]
    assert standing(found) == [3]


@pytest.mark.parametrize(
    "other",
    [
        kin(2, "create", 1, 9),  # the same origin: a second request
        kin(2, "create", 10.2, 11, origin=CLIENT),  # after it
        kin(2, "create", 9, 12, origin=CLIENT),  # begun in time, ended later
        kin(2, "create", 1, None, origin=CLIENT),  # no end known
        kin(2, None, 1, 9, origin=CLIENT),  # no action known, from an older writer
        kin(2, "create_thread_and_run", 1, 9, origin=CLIENT),
    ],
)
def test_what_is_no_duplicate(other: Kin) -> None:
    found = places([kin(1, "create", 0, 10), other])
    assert duplicates(found) == []


def test_clocks_may_differ_a_little() -> None:
    found = places([kin(1, "create", 0, 10), kin(2, "create", -0.04, 10.04, origin=CLIENT)])
    assert duplicates(found) == [2]
    found = places([kin(1, "create", 0, 10), kin(2, "create", -0.06, 10, origin=CLIENT)])
    assert duplicates(found) == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(-0.05, 10, [2]), (-0.050_001, 10, []), (0, 10.05, [2]), (0, 10.050_001, []), (-0.05, 10.05, [2])],
)
def test_the_little_is_a_twentieth_of_a_second_at_either_end(start: float, end: float, expected: list[int]) -> None:
    found = places([kin(1, "create", 0, 10), kin(2, "create", start, end, origin=CLIENT)])
    assert duplicates(found) == expected


def test_each_of_many_short_polls_has_one_duplicate() -> None:
    """The clocks' slack is longer than the polls: the nearest start tells which is whose."""
    polls = []
    for number in range(20):
        at = 5 + number * 0.02
        polls += [
            kin(10 + 2 * number, "retrieve", at, at + 0.01, origin=CLIENT),
            kin(11 + 2 * number, "retrieve", at + 0.002, at + 0.008),
        ]
    found = places([kin(1, "create", 0, 1, origin=CLIENT), kin(2, "create", 0.1, 0.9), *polls])
    assert duplicates(found) == [2, *range(11, 51, 2)]
    assert set(runs(found).values()) == {1}


def test_a_chain_of_recorders_leaves_one_original() -> None:
    found = places(
        [kin(1, "create", 0, 10, origin=CLIENT), kin(2, "create", 1, 9), kin(3, "create", 2, 8, origin="https://next")]
    )
    assert duplicates(found) == [2, 3]
    assert set(runs(found).values()) == {1}


def test_a_client_that_was_instrumented_late_joins_the_run_that_the_proxy_opened() -> None:
    """Its first exchange is a continuation, of which the proxy knows the opener; and it goes on there."""
    found = places(
        [
            kin(1, "create", 0, 1, waits=True),
            kin(2, "submit_tool_outputs", 5, 9, origin=CLIENT),
            kin(3, "submit_tool_outputs", 5.1, 8.9),
            kin(4, "retrieve", 10, 11, origin=CLIENT),
        ]
    )
    assert set(runs(found).values()) == {1}
    assert duplicates(found) == [3]


def test_a_proxy_that_was_started_late_joins_the_run_that_the_client_opened() -> None:
    found = places(
        [
            kin(1, "create", 0, 1, origin=CLIENT, waits=True),
            kin(2, "submit_tool_outputs", 5, 9, origin=CLIENT),
            kin(3, "submit_tool_outputs", 5.1, 8.9),
            kin(4, "retrieve", 10, 11),
        ]
    )
    assert set(runs(found).values()) == {1}
    assert duplicates(found) == [3]


def test_an_opener_at_the_other_recorder_leads_rather_than_what_stands_in_for_one_here() -> None:
    """The client's recorder joined late: what it saw goes on with the run that the proxy saw begin."""
    found = places(
        [
            kin(1, "retrieve", 0, 1, origin=CLIENT),
            kin(2, "create", 2, 3, origin=PROXY),
            kin(3, "retrieve", 4, 9, origin=CLIENT),
            kin(4, "retrieve", 5, 8, origin=PROXY),
        ]
    )
    assert runs(found) == {1: 1, 2: 2, 3: 2, 4: 2}
    assert duplicates(found) == [4]


def test_a_duplicate_stands_only_where_it_knows_more() -> None:
    """The client left early; the proxy saw the end."""
    both = [kin(1, "create", 0, 10, origin=CLIENT), kin(2, "create", 1, 9)]
    assert standing(places(both)) == [1]
    assert standing(places([kin(1, "create", 0, 10, origin=CLIENT, finality=0), both[1]])) == [2]


# -- which stands ------------------------------------------------------------------------------------------------------


def test_the_one_that_saw_the_end_first_stands() -> None:
    """A poll during the stream began later and knows less; one after it repeats what the stream said."""
    found = places(
        [
            kin(1, "create", 0, 10),
            kin(2, "retrieve", 4, 5, finality=OPEN),
            kin(3, "retrieve", 11, 12),
            kin(4, "steps", 13, 14, finality=0),
        ]
    )
    assert standing(found) == [1]


def test_of_those_that_did_not_the_last_stands() -> None:
    assert standing(places([kin(1, "create", 0, 1, waits=True), kin(2, "retrieve", 4, 5, finality=OPEN)])) == [2]
    assert standing(places([kin(1, "create", 0, 9, waits=True), kin(2, "cancel", 4, 5, finality=0)])) == [1]
    assert standing(places([kin(1, "create", 0, 5, waits=True), kin(2, "retrieve", 4, 5, finality=OPEN)])) == [2]
    assert standing(places([kin(1, "create", 0, waits=True), kin(2, "retrieve", 4, 5, finality=OPEN)])) == [2]


# -- time waited for tools ---------------------------------------------------------------------------------------------


def waited(*exchanges: Kin) -> list[float | None]:
    """The seconds of each, in the order given."""
    found = places(exchanges)
    times = [found[one.recording_id].waited_us for one in exchanges]
    return [None if time is None else time / SECOND for time in times]


def test_each_round_of_tools_is_waited_for_since_the_stream_before() -> None:
    assert waited(
        kin(1, "create", 0, 1, waits=True),
        kin(2, "submit_tool_outputs", 3, 5, waits=True),
        kin(3, "submit_tool_outputs", 9, 12),
    ) == [None, 2, 4]


def test_a_poll_does_not_end_a_wait_nor_begin_one_that_has_begun() -> None:
    assert waited(
        kin(1, "create", 0, 1, waits=True), kin(2, "retrieve", 2, 3, waits=True), kin(3, "submit_tool_outputs", 7, 9)
    ) == [None, None, 6]


def test_without_a_stream_the_wait_begins_with_the_poll_that_says_so() -> None:
    """A create that is no stream answers at once; the model's own time is no wait for tools."""
    assert waited(
        kin(1, "create", 0, 0.2, finality=OPEN),
        kin(2, "retrieve", 2, 2.1, finality=OPEN),
        kin(3, "retrieve", 4, 4.1, waits=True),
        kin(4, "retrieve", 6, 6.1, waits=True),
        kin(5, "submit_tool_outputs", 7.1, 9),
    ) == [None, None, None, None, 3]


def test_a_wait_is_unknown_where_its_beginning_is_and_never_negative() -> None:
    assert waited(kin(1, "submit_tool_outputs", 3, 4)) == [None]
    assert waited(kin(1, "create", 0, None), kin(2, "submit_tool_outputs", 3, 4)) == [None, None]
    assert waited(kin(1, "create", 0, 5, waits=True), kin(2, "submit_tool_outputs", 3, 9)) == [None, 0]


def test_a_duplicate_waits_for_nothing() -> None:
    """Else the same wait would be summed twice."""
    assert waited(
        kin(1, "create", 0, 1, origin=CLIENT, waits=True),
        kin(2, "create", 0.1, 0.9, waits=True),
        kin(3, "submit_tool_outputs", 4, 9, origin=CLIENT),
        kin(4, "submit_tool_outputs", 4.1, 8.9),
    ) == [None, None, 3, None]


# -- too many to have all ----------------------------------------------------------------------------------------------


def test_those_that_are_settled_keep_their_runs_and_lead_the_others() -> None:
    """Though their opener is not known any more."""
    found = places([kin(5, "retrieve", run=1), kin(6, "retrieve")], settled={id_of(5)})
    assert runs(found) == {5: 1, 6: 1}


def test_a_settled_duplicate_stays_one() -> None:
    found = places([kin(5, duplicate=True, run=4), kin(6, "retrieve")], settled={id_of(5)})
    assert runs(found) == {5: 4, 6: 4}
    assert duplicates(found) == [5]


def test_a_settled_original_has_its_duplicate_among_those_that_come() -> None:
    found = places([kin(5, start=0, end=9, origin=CLIENT), kin(6, start=1, end=8)], settled={id_of(5)})
    assert duplicates(found) == [6]
    assert runs(found) == {5: 5, 6: 5}


# -- whatever there is -------------------------------------------------------------------------------------------------

any_kin = st.builds(
    kin,
    st.just(0),
    st.sampled_from(["create", "submit_tool_outputs", "retrieve", "cancel"]),
    st.integers(0, 8).map(lambda tenths: tenths / 10),
    st.none() | st.integers(8, 16).map(lambda tenths: tenths / 10),
    origin=st.sampled_from([CLIENT, PROXY]),
    finality=st.sampled_from([0, OPEN, FINAL]),
    waits=st.booleans(),
)


@given(made=st.lists(any_kin, max_size=12), random=st.randoms())
@settings(max_examples=examples(66, 5000))
def test_every_run_has_one_opener_and_one_that_stands(made: list[Kin], random: Any) -> None:
    """In whatever order they are given; and nothing is changed by placing again what was placed."""
    numbered = [one._replace(recording_id=id_of(at), run_id=id_of(at)) for at, one in enumerate(made)]
    found = places(numbered)
    shuffled = random.sample(numbered, len(numbered))
    assert places(shuffled) == found
    again = [
        one._replace(run_id=place.run_id, duplicate=place.duplicate)
        for one in shuffled
        for place in [found[one.recording_id]]
    ]
    assert places(again) == found
    assert places(again, settled=found.keys()).keys() == found.keys()
    for place in found.values():
        members = [one for one in found.values() if one.run_id == place.run_id]
        assert sum(not one.superseded for one in members) == 1
        assert found[place.run_id].run_id == place.run_id
        assert not found[place.run_id].duplicate


# -- in a store --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    found: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url, create=True) as made:
        yield made


def kept(store: Store, one: Kin) -> Recording:
    """A recording with this origin and time."""
    recording = opened(recording_id=one.recording_id, origin=one.origin, started_at=STARTED + one.started_at)
    row, ended = an_end(recording, 1, elapsed_us=(one.ended_at or one.started_at) - one.started_at)
    store.append([Append(recording.recording_id, recording, [*rows_of(recording, 0, 1), row], ended)])
    return recording


STATUS = {FINAL: Status.COMPLETED, OPEN: Status.IN_PROGRESS, 0: Status.UNKNOWN}


def reading_of(one: Kin, recording: Recording, **fields: Any) -> StoredReading:
    status = Status.REQUIRES_ACTION if one.waits else STATUS[one.finality]
    made = made_reading(recording, status=status, action=one.action, **{"provider_run_id": "run_1", **fields})
    return dataclasses.replace(made, reading=dataclasses.replace(made.reading, opens_run=one.opens_run))


PLACED = ("run_id", "duplicate", "superseded", "waited_us", "inherited", *placing.INHERITED)


def placed(store: Store) -> dict[UUID, tuple[Any, ...]]:
    with store._backend.read() as connection:
        rows = connection.execute(select(readings.c.recording_id, *(readings.c[name] for name in PLACED)))
        return {row[0]: tuple(row[1:]) for row in rows}


inherited = st.fixed_dictionaries(
    {"model": st.sampled_from([None, "a", "b"]), "provider_run_id": st.sampled_from(["run_1", "run_1", "run_2", None])}
)


@given(made=st.lists(st.tuples(any_kin, inherited), min_size=1, max_size=9), random=st.randoms())
@settings(max_examples=examples(25, 2000), suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_order_of_arrival_gives_the_same_places(made: list[tuple[Kin, dict[str, Any]]], random: Any) -> None:
    """In whatever batches, some of them again: the same rows as all at once, what was inherited included."""
    numbered = [(one._replace(recording_id=id_of(at)), fields) for at, (one, fields) in enumerate(made)]
    found = []
    for at_once in (True, False):
        with Store.open("sqlite:///:memory:") as store:
            given = [reading_of(one, kept(store, one), **fields) for one, fields in numbered]
            if at_once:
                store.put_readings(given)
            else:
                arriving = random.sample(given, len(given)) + random.choices(given, k=3)
                while arriving:
                    size = random.randint(1, 4)
                    store.put_readings(arriving[:size])
                    arriving = arriving[size:]
            found.append(placed(store))
    assert found[0] == found[1]


def test_the_view_and_the_rules_know_the_same_actions_beside_a_stream() -> None:
    """Their time is no streaming time, and they are no end of a stream."""
    (named,) = re.findall(r"action, ''\) NOT IN \(([^)]*)\)", VIEWS["runs"])
    assert {word.strip(" '") for word in named.split(",")} == ASIDE


def test_a_run_that_was_recorded_twice_counts_once_and_says_so(store: Store) -> None:
    made = [
        kin(1, "create", 0, 10, origin=CLIENT, waits=True),
        kin(2, "create", 0.1, 9.9, waits=True),
        kin(3, "submit_tool_outputs", 12, 20, origin=CLIENT),
        kin(4, "submit_tool_outputs", 12.1, 19.9),
        kin(5, "retrieve", 21, 22),
    ]
    store.put_readings([reading_of(one, kept(store, one), output_tokens=7) for one in reversed(made)])
    (run,) = store.runs()
    assert (run.run_id, run.recordings, run.events, run.output_tokens) == (id_of(1), 3, 3, 7)
    assert run.flags == ("duplicate",)
    assert [one.run.flags for one in store.recordings()] == [(), ("duplicate",), (), ("duplicate",), ()]
    twice = store.reading(id_of(2))
    assert twice is not None
    assert twice.reading.flags == ("duplicate",)
    assert store.members(id_of(1)) == [id_of(number) for number in (1, 2, 3, 4, 5)]
    assert (run.duplicates, run.waited_us, run.streamed_us) == (2, 2 * SECOND, 18 * SECOND)
    # The flag is the store's own: who puts a reading back does not make it a part of the reading.
    store.put_readings([dataclasses.replace(twice, reading=dataclasses.replace(twice.reading, provider_run_id=None))])
    alone = store.reading(id_of(2))
    assert alone is not None
    assert alone.reading.flags == ()


def test_what_was_inherited_is_given_back_when_a_better_opener_comes(store: Store) -> None:
    older, newer, poll = kin(1), kin(2), kin(3, "retrieve")
    first, better, polled = kept(store, older), kept(store, newer), kept(store, poll)
    store.put_readings([reading_of(older, first, model="old", thread_id="thread_1")])
    store.put_readings([reading_of(poll, polled)])
    assert placed(store)[id_of(3)][4:6] == ('["model","thread_id"]', "old")
    store.put_readings([reading_of(newer, better, model="new")])
    assert placed(store)[id_of(3)] == (id_of(2), False, True, None, '["model"]', "new", *[None] * 5)
    store.put_readings([reading_of(newer, better, model="newest")])
    assert placed(store)[id_of(3)][5] == "newest"
    store.put_readings([reading_of(newer, better, model="newest", provider_run_id="run_2")])
    assert placed(store)[id_of(3)][4:6] == ('["model","thread_id"]', "old")


def test_a_reading_of_an_older_writer_is_told_from_what_it_says(store: Store) -> None:
    """It has neither action nor finality: its run id says whether it opened one, its status how it ended."""
    opener, poll, later = recorded(store), recorded(store), recorded(store)
    name: dict[str, Any] = {"provider_run_id": "run_1"}
    store.put_readings([made_reading(opener, status="requires_action", model="m", **name)])
    store.put_readings([made_reading(poll, opener.recording_id, status="in_progress", **name)])
    with store._backend.write() as connection:
        connection.exec_driver_sql(
            "UPDATE readings SET opens_run = NULL, finality = NULL, is_run = NULL, duplicate = NULL, inherited = NULL"
        )
    old = store.reading(poll.recording_id)
    assert old is not None
    assert (old.reading.opens_run, old.reading.is_run) == (False, True)
    store.put_readings([made_reading(later, opener.recording_id, status="completed", **name)])
    (run,) = store.runs()
    assert (run.run_id, run.recordings, run.status, run.model) == (opener.recording_id, 3, "completed", "m")


class TestMany:
    """More kin than are looked at together."""

    @pytest.fixture(autouse=True)
    def few_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(placing, "MOST", 10)
        monkeypatch.setattr(placing, "_BEFORE", 5)

    def test_a_long_run_stays_one(self, store: Store) -> None:
        made = [kin(1, "create", 0, 1, finality=OPEN)]
        made += [kin(number, "retrieve", number, number + 0.5, finality=OPEN) for number in range(2, 40)]
        made.append(kin(40, "retrieve", 40, 41))
        for one in made:
            store.put_readings([reading_of(one, kept(store, one))])
        (run,) = store.runs()
        assert (run.run_id, run.recordings, run.status) == (id_of(1), 40, "completed")
        assert store.standing(id_of(1)) == id_of(40)

    def test_a_poll_of_a_long_run_is_not_compared_with_all_that_were_before(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a run that is polled for long would take time by the square of its length."""
        looked_at: list[int] = []

        def counted(kin: Iterable[Kin], settled: Collection[UUID] = ()) -> dict[UUID, Place]:
            looked_at.append(len(given := list(kin)))
            return places(given, settled)

        monkeypatch.setattr(placing, "places", counted)
        made = [kin(1, "create", 0, 1, waits=True), kin(2, "submit_tool_outputs", 2, 3, finality=OPEN)]
        made += [kin(number, "retrieve", number, number + 0.5, finality=OPEN) for number in range(3, 80)]
        made.append(kin(80, "submit_tool_outputs", 80, 81))
        for one in made:
            store.put_readings([reading_of(one, kept(store, one))])
        assert max(looked_at) <= 10
        (run,) = store.runs()
        assert (run.recordings, run.status, run.waited_us) == (80, "completed", (1 + 77) * SECOND)

    def test_readings_far_apart_are_all_placed(self, store: Store) -> None:
        """Made again in one batch, from one end of a long run to the other."""
        made = [kin(1, "create", 0, 1, finality=OPEN)]
        made += [kin(number, "retrieve", number, number + 0.5, finality=OPEN) for number in range(2, 60)]
        given = [reading_of(one, kept(store, one)) for one in made]
        for reading in given:
            store.put_readings([reading])
        before = placed(store)
        store.put_readings(given[::9])
        assert placed(store) == before

    def test_answers_with_one_id_for_all_are_a_run_each(self, store: Store) -> None:
        """As servers for tests give them."""
        made = [kin(number, "create", number, number + 0.5) for number in range(1, 60)]
        given = [reading_of(one, kept(store, one)) for one in made]
        for size in (1, 7, 25):
            for start in range(0, len(given), size):
                store.put_readings(given[start : start + size])
            assert [run.recordings for run in store.runs()] == [1] * 50
            assert all(place[:3] == (key, False, False) for key, place in placed(store).items())


# -- at the same time --------------------------------------------------------------------------------------------------

ROUNDS = 12

PUTS = """
import sys
from uuid import UUID
from recorder.store import Store
from tests.test_store_kinship import puts
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    puts(store, [UUID(one) for one in sys.argv[3:]], continues=sys.argv[2] == "continues")
"""


def puts(store: Store, recording_ids: Sequence[UUID], *, continues: bool) -> None:
    """Reads each of these, one after the other: openers, or the continuations of runs that others read."""
    for number, recording_id in enumerate(recording_ids):
        recording = store.recording(recording_id)
        status = "completed" if continues else "requires_action"
        made = made_reading(recording, status=status, model=None if continues else "m", provider_run_id=f"run_{number}")
        store.put_readings(
            [dataclasses.replace(made, reading=dataclasses.replace(made.reading, opens_run=not continues))]
        )


def test_who_reads_the_other_half_of_a_run_waits_for_the_first_to_commit(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither would see the other's reading, and both would say that theirs is a run of its own."""
    with Store.open(url, create=True) as store, Store.open(url) as other:
        opener, continued = recorded(store), recorded(store)
        meanwhile(
            monkeypatch,
            store,
            lambda: store.put_readings([made_reading(opener, provider_run_id="run_1")]),
            lambda: other.put_readings([made_reading(continued, opener.recording_id, provider_run_id="run_1")]),
        )
        assert store.members(opener.recording_id) == [opener.recording_id, continued.recording_id]
        assert len(store.runs()) == 1


def test_who_reads_again_what_another_one_just_moved_settles_the_run_that_it_was_moved_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run must not be looked up before the other has committed: nobody would come back to the one in between."""
    with Store.open(url, create=True) as store, Store.open(url) as other:
        moved, left = recorded(store), recorded(store)
        store.put_readings([made_reading(moved, provider_run_id="run_1")])
        store.put_readings([made_reading(left, moved.recording_id, provider_run_id="run_2")])
        meanwhile(
            monkeypatch,
            store,
            lambda: store.put_readings([made_reading(moved, provider_run_id="run_2")]),
            lambda: other.put_readings([made_reading(moved, provider_run_id="run_3")]),
        )
        assert store.members(moved.recording_id) == [moved.recording_id]
        assert store.members(left.recording_id) == [left.recording_id]


def test_of_two_that_read_a_recording_at_once_the_last_holds(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(url, create=True) as store, Store.open(url) as other:
        recording = recorded(store)
        meanwhile(
            monkeypatch,
            store,
            lambda: store.put_readings([made_reading(recording, model="first")]),
            lambda: other.put_readings([made_reading(recording, model="last")]),
        )
        stored = store.reading(recording.recording_id)
        assert stored is not None
        assert stored.reading.model == "last"


def test_two_processes_that_read_the_halves_of_runs_agree(url: str) -> None:
    """Neither sees what the other has not committed; yet each run is whole, and one reading stands for it."""
    with Store.open(url, create=True) as store:
        openers = [recorded(store).recording_id for _ in range(ROUNDS)]
        others = [recorded(store).recording_id for _ in range(ROUNDS)]
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", PUTS, url, kind, *map(str, ids)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for kind, ids in (("opens", openers), ("continues", others))
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for reader in readers:
            reader.communicate("go\n", timeout=60)
        assert [reader.returncode for reader in readers] == [0, 0]
        whole(store, openers, others)


def test_threads_that_read_the_same_recordings_in_any_order_agree(url: str) -> None:
    """Each of them all, the one from the front, the other from the back: nobody waits for ever."""
    with Store.open(url, create=True) as store:
        openers = [recorded(store) for _ in range(ROUNDS)]
        others = [recorded(store) for _ in range(ROUNDS)]
        given = [
            made_reading(
                one, None if status != "completed" else opener.recording_id, status=status, model=model, **name
            )
            for number, (opener, other) in enumerate(zip(openers, others, strict=True))
            for name in [{"provider_run_id": f"run_{number}"}]
            for one, status, model in ((opener, "requires_action", "m"), (other, "completed", None))
        ]
        failures: list[BaseException] = []

        def read(order: Sequence[StoredReading], size: int) -> None:
            try:
                with Store.open(url) as own:
                    for start in range(0, len(order), size):
                        own.put_readings(order[start : start + size])
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(target=read, args=(order, size))
            for order, size in itertools.product((given, given[::-1]), (1, 5))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        whole(store, [one.recording_id for one in openers], [one.recording_id for one in others])


def whole(store: Store, openers: Sequence[UUID], others: Sequence[UUID]) -> None:
    """That each opener and its continuation are one run, listed once, by what the continuation says."""
    assert {run.run_id: (run.status, run.recordings, run.model) for run in store.runs()} == dict.fromkeys(
        openers, ("completed", 2, "m")
    )
    assert {one: (store.run_of(one), store.standing(store.run_of(one))) for one in others} == {
        other: (opener, other) for opener, other in zip(openers, others, strict=True)
    }
