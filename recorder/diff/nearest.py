"""The good run that is nearest to a given one: what to compare a bad run with.

Good is: completed, with its last word seen, and nothing noticed that makes the answer unusable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from uuid import UUID

from recorder.errors import NotFound
from recorder.match import nearest
from recorder.recording import Recording, Run, Status
from recorder.store import RunFilter, Store

__all__ = ["Nearest", "nearest_good"]

#: What makes an answer unusable although its run completed.
_BAD: Final = frozenset(
    {
        "arguments_damaged",
        "disagreement",
        "http_error",
        "json_damaged",
        "malformed_json",
        "mid_word_end",
        "no_end_marker",
        "no_terminal_event",
        "not_sse",
        "reader_error",
        "reasoning_starved",
        "repetition_runaway",
        "sequence_gap",
        "text_differs",
        "tool_call_open",
        "undecoded",
        "unterminated_tail",
        "whitespace_runaway",
    }
)

#: The same request is looked for in a year around the run; others among so many good runs, the newest first.
_YEAR_US: Final = 366 * 86_400_000_000
_SAME: Final = 50
_LISTED: Final = 500
#: Requests that are compared one by one.
_COMPARED: Final = 50


class Nearest(NamedTuple):
    """The run that was chosen, and in words why."""

    run_id: UUID
    why: str


def nearest_good(store: Store, recording_id: UUID) -> Nearest:
    """The good run nearest to the one that this recording opened or belongs to. Raises NotFound where there is none."""
    run = store.run(recording_id)
    opener = store.recording(run.run_id)
    if opener.match_key is not None:
        alike = store.alike(opener.match_key, opener.started_at, within=_YEAR_US, limit=_SAME)
        same = _closest(_good_runs(store, alike, run), run)
        if same is not None:
            return Nearest(same.run_id, "the good run of the same request that is nearest in time")
    listed = [
        each
        for each in store.runs(RunFilter(status=Status.COMPLETED.value, dialect=run.dialect, limit=_LISTED))
        if each.run_id != run.run_id and _is_good(each)
    ]
    if not listed:
        raise NotFound(
            f"no good run to compare with: none of the {run.dialect} runs in {store.url} completed without a finding;"
            " name the other run"
        )
    group = [each for each in listed if run.group is not None and each.group == run.group]
    kin = sorted(group or listed, key=lambda each: abs(each.started_at - run.started_at))[:_COMPARED]
    chosen = nearest(opener.request, [store.recording(each.run_id) for each in kin])
    assert chosen is not None  # there are candidates
    number = len(chosen[1])
    what = f"of its group ({run.group})" if group else f"of its protocol ({run.dialect}; none of its group is good)"
    places = "place" if number == 1 else "places"
    return Nearest(
        chosen[0].recording_id,
        f"the good run {what} whose request is nearest: it differs in {number} {places}; {len(kin)} were compared",
    )


def _is_good(run: Run) -> bool:
    return run.status == Status.COMPLETED and run.complete is not False and not _BAD.intersection(run.flags)


def _good_runs(store: Store, recordings: Iterable[Recording], but: Run) -> Iterator[Run]:
    for recording in recordings:
        run = store.run(recording.recording_id)
        if run.run_id != but.run_id and _is_good(run):
            yield run


def _closest(runs: Iterable[Run], run: Run) -> Run | None:
    return min(runs, key=lambda each: abs(each.started_at - run.started_at), default=None)
