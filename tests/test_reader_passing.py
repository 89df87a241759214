"""Gaps and stalls of a stream, in one pass and in memory that does not grow with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from recorder.reader.passing import Passing
from recorder.recording import Event
from tests.needs import ROOT

SECOND = 1_000_000


def events(times: Iterable[int]) -> Iterator[Event]:
    return (Event(position, "sse", elapsed, "message", b"{}", None, 10) for position, elapsed in enumerate(times, 1))


def passed(times: Iterable[int]) -> Passing:
    """What is known after a stream whose events came at these times."""
    passing = Passing()
    assert sum(1 for _ in passing.through(events(times))) == passing.count
    return passing


def test_a_stall_is_a_gap_above_a_second_and_above_twenty_times_the_median() -> None:
    quick = [0, 10_000, 20_000, 2 * SECOND, 2 * SECOND + 10_000]
    assert passed(quick).stalls() == [(4, 2 * SECOND - 20_000)]
    slow = list(accumulate([SECOND // 2] * 20 + [4 * SECOND]))
    assert passed(slow).stalls() == []
    slower = list(accumulate([SECOND // 2] * 20 + [11 * SECOND]))
    assert passed(slower).stalls() == [(21, 11 * SECOND)]


def test_the_wait_for_a_stream_that_never_said_it_was_over_is_a_stall_without_a_position() -> None:
    passing = passed([0, 1000, 2000])
    assert passing.stalls(waited_us=30 * SECOND) == [(None, 30 * SECOND)]
    assert passing.stalls(waited_us=SECOND) == passing.stalls() == []
    assert passed([]).stalls(waited_us=30 * SECOND) == []


def test_no_gap_is_known_of_one_event() -> None:
    assert (passed([5]).longest_gap_us, passed([]).longest_gap_us) == (None, None)
    assert (passed([5]).first_us, passed([5]).last_us, passed([]).first_us) == (5, 5, None)
    assert passed([5]).times([]) == {"first_event_us": 5, "last_event_us": 5, "events": 1}


@given(st.lists(st.integers(0, 5 * SECOND), max_size=60))
def test_gaps_are_those_of_the_events(gaps: list[int]) -> None:
    """The longest exactly; a stall by the exact median, but for one whose length is within a millisecond of it."""
    times = list(accumulate(gaps))
    passing = passed(times)
    between = [later - earlier for earlier, later in pairwise(times)]
    assert passing.longest_gap_us == max(between, default=None)
    middle = median(between) if between else 0
    found = {gap for _, gap in passing.stalls()}
    sure = {gap for gap in between if gap > max(SECOND, 20 * (middle + 3000))} if middle < 4 * SECOND else set()
    assert found >= (sure if len(between) % 2 else set())
    assert all(gap > SECOND for gap in found)


PEAKS = """
import tracemalloc
from recorder.reader.passing import Passing
from recorder.recording import Event

def peak(count):
    events = (Event(at, "sse", at * 100, "message", b"{}", None, 10) for at in range(1, count + 1))
    passing = Passing()
    tracemalloc.start()
    assert sum(1 for _ in passing.through(events)) == passing.count == count
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most

peak(10)
print(peak(1000), peak(100_000))
"""


def test_a_hundred_thousand_events_need_no_more_memory_than_a_thousand() -> None:
    """In a process of its own: in this one other threads may take some meanwhile."""
    done = subprocess.run([sys.executable, "-c", PEAKS], cwd=ROOT, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many < few + 10_000
