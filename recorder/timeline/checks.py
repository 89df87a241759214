"""Whether what was recorded is complete: a list of checks, each ok, not, or unknown, with where it shows.

Complete is not the same as unaltered, which the digests tell. What a protocol does not say, such as numbers of its
events, cannot be checked and is unknown, never ok.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from recorder.reader.brought import PIECES, What
from recorder.recording import Captured, Kind, Reading, Transport
from recorder.timeline.tracks import Track

__all__ = ["Check", "Verdict", "checks"]

#: Dialects whose events are numbered (Responses: `sequence_number`), and those that repeat a text once it is complete.
_NUMBERED: Final = frozenset({"responses"})
_REPEATED: Final = frozenset({"assistants", "responses"})

#: Events that repeat a text, or what a tool is called with; and those that repeat an item or step with all it holds.
_REPEATING: Final = frozenset(
    {
        "response.function_call_arguments.done",
        "response.output_text.done",
        "response.refusal.done",
        "thread.message.completed",
        "thread.message.incomplete",
    }
)
_COMPLETED: Final = _REPEATING | {"response.output_item.done", "thread.run.step.completed"}

#: States in which a step has not ended.
_UNDER_WAY: Final = frozenset({"in_progress", "queued", "searching", "interpreting", "generating"})

#: How a run ends that leaves a text or a call in the middle.
_CUT_OFF: Final = frozenset({"cancelled", "expired", "failed", "incomplete"})


class Verdict(StrEnum):
    """What came of a check."""

    OK = "ok"
    NOT = "not"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `name` is short and the same for all recordings; `position` is the event where it shows."""

    name: str
    verdict: Verdict
    said: str
    position: int | None = None


def checks(track: Track) -> list[Check]:
    """All checks of a recording, in the order in which one would look."""
    return [
        _captured(track),
        _rows(track),
        _bytes(track),
        *_stream(track),
    ]


# -- what the transport tells ------------------------------------------------------------------------------------------


def _captured(track: Track) -> Check:
    name, ending, reading = "captured whole", track.recording.ending, track.reading
    if ending is None:
        return Check(name, Verdict.UNKNOWN, "it is still being recorded, or its writer died")
    if ending.captured != Captured.FULL:
        why = ending.detail.get("reason", "the end is missing")
        return Check(name, Verdict.NOT, f"capture was cut short: {why}", ending.events)
    if ending.ending == Transport.EOF:
        return Check(name, Verdict.OK, "read to the end of the response", ending.events)
    if ending.ending == Transport.CLIENT_CLOSED and reading.complete:
        return Check(name, Verdict.OK, "the client left after the last word, as SDKs do", ending.events)
    return Check(name, Verdict.NOT, f"the transport ended by {ending.ending}", ending.events)


def _rows(track: Track) -> Check:
    name, ending = "no row missing", track.recording.ending
    for place, row in enumerate(track.events):
        if row.position != place:
            return Check(name, Verdict.NOT, f"row {place} is not there; the next one is {row.position}", place)
    if ending is None:
        return Check(name, Verdict.UNKNOWN, f"{len(track.events)} rows so far")
    if len(track.events) != ending.events + 1 or track.events[-1].kind != Kind.END:
        said = f"{len(track.events)} rows are there, {ending.events + 1} were written"
        return Check(name, Verdict.NOT, said, len(track.events))
    return Check(name, Verdict.OK, f"{len(track.events)} rows, without a gap")


def _bytes(track: Track) -> Check:
    name, ending, have = "no byte missing", track.recording.ending, track.body_size
    if ending is None:
        return Check(name, Verdict.UNKNOWN, f"{have:,} bytes so far")
    if have != ending.wire_bytes:
        return Check(name, Verdict.NOT, f"{have:,} bytes are there, {ending.wire_bytes:,} came")
    length = track.head[1].get("content-length") if track.head is not None else None
    announced = length is not None and length.isascii() and length.isdigit() and len(length) <= 18
    if announced and track.recording.request.method.upper() != "HEAD" and int(length or 0) != have:
        return Check(name, Verdict.NOT, f"the head announced {int(length or 0):,} bytes, {have:,} came")
    return Check(name, Verdict.OK, f"{have:,} bytes" + (", as announced" if announced else ""))


# -- what the protocol tells -------------------------------------------------------------------------------------------


def _stream(track: Track) -> Iterator[Check]:
    reading = track.reading
    if "payload_missing" in reading.flags:
        yield _coding(track)
        why = track.recording.missing
        for name in ("payloads readable", "terminal event", "end marker", "sequence numbers", "steps ended"):
            yield Check(name, Verdict.UNKNOWN, why)
        yield Check("deltas against the completed text", Verdict.UNKNOWN, why)
        return
    yield _coding(track)
    yield _readable(track, reading)
    yield _terminal(track, reading)
    yield _marker(track, reading)
    yield _sequence(reading)
    yield _steps(track, reading)
    yield _deltas(track, reading)
    if reading.facts.get("disagreements"):
        yield Check("signals agree", Verdict.NOT, ", ".join(map(str, reading.facts["disagreements"])))


def _coding(track: Track) -> Check:
    name = "content coding undone"
    encoding = track.head[1].content_encoding if track.head is not None else None
    detail = track.recording.ending.detail if track.recording.ending is not None else {}
    if "undecoded" in detail or "undecoded" in track.reading.flags:
        return Check(name, Verdict.NOT, str(detail.get("undecoded", f"{encoding or 'it'} could not be taken off")))
    if encoding is not None or track.encoded:
        return Check(name, Verdict.OK, f"{encoding or 'it'} was taken off")
    if track.head is None and track.answered is not None:
        return Check(name, Verdict.UNKNOWN, f"the headers are not there: {track.recording.missing}")
    return Check(name, Verdict.OK, "there is none")


def _readable(track: Track, reading: Reading) -> Check:
    name, flags = "payloads readable", {*reading.flags}
    malformed = reading.facts.get("malformed")
    if "malformed_json" in flags:
        first = malformed[0] if isinstance(malformed, (list, tuple)) and malformed else None
        number = len(malformed) if isinstance(malformed, (list, tuple)) and malformed else None
        said = "a body is no valid JSON" if number is None else f"{number} payloads are no valid JSON"
        return Check(name, Verdict.NOT, said, first)
    body = next((mark.position for mark in track.marks if mark.what == What.BODY), None)
    for flag, said in (
        ("oversize_frame", "an event was too large to be read"),
        ("unterminated_tail", "the last bytes are no whole event"),
        ("reader_error", "the reading failed"),
    ):
        if flag in flags:
            return Check(name, Verdict.NOT, said, body)
    return Check(name, Verdict.OK, "every payload was read")


def _is_stream(track: Track) -> bool:
    return track.told.passing.count > 0


def _terminal(track: Track, reading: Reading) -> Check:
    name = "terminal event"
    if "no_terminal_event" in reading.flags:
        return Check(name, Verdict.NOT, "no event said how it ended: the stream was cut", _last_event(track))
    if not _is_stream(track):
        return Check(name, Verdict.UNKNOWN, "the answer is no event stream")
    evidence = reading.facts.get("evidence")
    for fact in ("status", "finish", "stop", "error"):
        position = _position(evidence, fact)
        if position is not None and reading.complete is not False:
            said = reading.stop_reason_raw or reading.status
            return Check(name, Verdict.OK, f"{reading.status} ({said})" if said != reading.status else said, position)
    if reading.complete:
        return Check(name, Verdict.OK, reading.status)
    return Check(name, Verdict.UNKNOWN, "nothing was recognised as one")


def _marker(track: Track, reading: Reading) -> Check:
    name = "end marker"
    if "no_end_marker" in reading.flags:
        return Check(name, Verdict.NOT, "the protocol's end marker did not come", _last_event(track))
    if not _is_stream(track):
        return Check(name, Verdict.UNKNOWN, "the answer is no event stream")
    position = _position(reading.facts.get("evidence"), "end_marker")
    if position is None:
        position = next((mark.position for mark in reversed(track.marks) if mark.what == What.DONE), None)
    if position is not None:
        return Check(name, Verdict.OK, "it came", position)
    if reading.complete:
        return Check(name, Verdict.OK, "none is due")
    return Check(name, Verdict.UNKNOWN, "none came, and none is known to be due")


def _sequence(reading: Reading) -> Check:
    name, gaps = "sequence numbers", reading.facts.get("sequence_gaps")
    if "sequence_gap" in reading.flags:
        first = gaps[0] if isinstance(gaps, (list, tuple)) and gaps else None
        if isinstance(first, (list, tuple)) and len(first) == 3:
            position, expected, got = first
            more = f", and {len(gaps or ()) - 1} more" if len(gaps or ()) > 1 else ""
            return Check(name, Verdict.NOT, f"{expected} was due, {got} came{more}", position)
        return Check(name, Verdict.NOT, "they have gaps or are out of order")
    if reading.dialect in _NUMBERED and reading.facts.get("times"):
        return Check(name, Verdict.OK, "without a gap")
    return Check(name, Verdict.UNKNOWN, "this protocol does not number its events")


def _steps(track: Track, reading: Reading) -> Check:
    name, steps = "steps ended", reading.facts.get("steps")
    known = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, (list, tuple)) else []
    left = [step for step in known if step.get("status") in _UNDER_WAY]
    if left and reading.status == "requires_action":
        return Check(
            name, Verdict.OK, "those that wait for tool outputs are under way, as they should be", _at(left[0])
        )
    if left:
        kinds = ", ".join(sorted({str(step.get("type")) for step in left}))
        return Check(name, Verdict.NOT, f"{len(left)} of {len(known)} did not end: {kinds}", _at(left[0]))
    cut = [one for one in track.told.reading.spoken if not one.ended and one.kind in ("text", "arguments", "input")]
    if cut or "tool_call_open" in reading.flags:
        kinds = ", ".join(sorted({one.kind for one in cut})) or "arguments"
        position = cut[0].positions[-1] if cut and len(cut[0].positions) else None
        if reading.complete and reading.status in _CUT_OFF:
            return Check(name, Verdict.OK, f"the ending cut off what was being said ({kinds})", position)
        return Check(name, Verdict.NOT, f"a text did not come to its end: {kinds}", position)
    if not known:
        return Check(name, Verdict.UNKNOWN, "no step was seen")
    return Check(name, Verdict.OK, f"all {len(known)}" if len(known) > 1 else "it did")


def _deltas(track: Track, reading: Reading) -> Check:
    name, told = "deltas against the completed text", reading.facts.get("text_differs")
    if "text_differs" in reading.flags:
        number = len(told) if isinstance(told, (list, tuple)) and told else 1
        several = "" if number == 1 else f", {number} times"
        repeated = [mark for mark in track.marks if mark.name in _COMPLETED]
        nearest = [mark.position for mark in repeated if mark.name in _REPEATING]
        position = next(iter([*nearest, *(mark.position for mark in repeated)]), None)
        return Check(name, Verdict.NOT, f"the pieces are not the text that was declared complete{several}", position)
    if reading.dialect not in _REPEATED:
        return Check(name, Verdict.UNKNOWN, "this protocol does not repeat the text")
    completed = [mark.position for mark in track.marks if mark.name in _COMPLETED]
    spoken = {mark.what for mark in track.marks} & PIECES
    if not completed:
        return Check(name, Verdict.UNKNOWN, "no completed text came")
    if not spoken:
        return Check(name, Verdict.UNKNOWN, "no pieces came")
    return Check(name, Verdict.OK, "the same, as far as it was completed", completed[-1])


# -- where it shows ----------------------------------------------------------------------------------------------------


def _last_event(track: Track) -> int | None:
    return next((row.position for row in reversed(track.events) if row.kind == Kind.SSE), None)


def _position(evidence: Any, name: str) -> int | None:
    """The position in a piece of evidence, its own or the last one of its parts."""
    told = evidence.get(name) if isinstance(evidence, Mapping) else None
    if not isinstance(told, Mapping):
        return None
    own = _at(told)
    return (
        own if own is not None else max((at for each in told.values() if (at := _at(each)) is not None), default=None)
    )


def _at(told: Any) -> int | None:
    position = told.get("position") if isinstance(told, Mapping) else None
    return position if isinstance(position, int) else None
