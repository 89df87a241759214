"""One run as a page to attach to a ticket: what was asked, why it stopped, its events, what is missing, does it hold.

One file that needs nothing else and loads nothing: its policy lets only its own style do anything, and it has no
script. Every text of a stranger is escaped, as text, wherever it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder import report
from recorder.report.drawing import Frame, picture, text
from recorder.report.markup import Child, Markup, element, fragment, head
from recorder.report.pieces import Column, fold, note, section, subsection, table, tile
from recorder.report.wording import UNKNOWN, moment, several, span

from .output import asked
from .story import folded, gone, reasons
from .timeline import KINDS, Row, column_of, how_ended, rows_of, said_by

if TYPE_CHECKING:
    from recorder.recording import HeaderList, Run
    from recorder.timeline import Timeline, Track
    from recorder.verify import Checked

    from .story import Part

__all__ = ["Ticket", "page"]

#: Columns of a raster, rows of its table, and characters of one text; what is left out is told.
_COLUMNS: Final = 720
_ROWS: Final = 3000
_TEXT: Final = 400_000

#: Kind of event -> the class that colours it.
_COLOURS: Final = {
    "lifecycle": "c0",
    "text": "c6",
    "reasoning": "c5",
    "arguments": "c2",
    "usage": "c1",
    "error": "o-cut",
    "done": "c0",
}
_LANE: Final = 16.0
_LABELS: Final = 76.0
_VERDICTS: Final = {"ok": "ok", "not": "NOT OK", "unknown": "not known"}
_STYLE: Final = """
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 0.8rem 1rem; overflow: auto;
  max-height: 36rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.6rem 0;
  font: 0.84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.tile strong { font-size: 1.25rem; } .caps { display: grid; gap: 0.9rem; max-width: 46rem; margin-top: 0.9rem; }
.track { fill: var(--grid); } .fill { fill: var(--c); } .tick { fill: none; stroke: var(--c); stroke-width: 1.4; }
.bad { color: var(--cut); font-weight: 620; } .why { padding-left: 1.1rem; } .why li { margin: 0.2rem 0; }
td code { white-space: normal; overflow-wrap: anywhere; } td { max-width: 40rem; overflow-wrap: anywhere; }
@media print { pre { max-height: none; overflow: visible; } details > summary { display: block; } }
"""


class Ticket(NamedTuple):
    """What the page tells of a run. `standing` is the part that stands for it, `checked` its recordings, verified."""

    run: Run
    parts: Sequence[Part]
    standing: Part
    line: Timeline
    checked: Sequence[Checked]
    links: Sequence[str]


def page(told: Ticket, *, version: str, made_at: int) -> str:
    """The page, made at `made_at` (microseconds UTC) by this version of recorder."""
    run = told.run
    name = run.provider_run_id or str(run.run_id)
    body = element(
        "body",
        _header(told, name, made_at),
        element(
            "main",
            _tiles(told),
            _why(told),
            _asked(told.parts[0]),
            _timeline(told.line),
            *(_track(number, track) for number, track in enumerate(told.line.tracks, 1)),
            _answers(told),
            _integrity(told.checked),
        ),
        element("footer", f"Made by recorder {version} at {moment(made_at)} from run {run.run_id}."),
    )
    style = Path(report.__file__).with_name("page.css").read_text(encoding="utf-8") + _STYLE
    return "<!doctype html>\n" + element("html", head(f"Run {name}", style), body, lang="en") + "\n"


def _header(told: Ticket, name: str, made_at: int) -> Markup:
    run = told.run
    said = {
        "Run": str(run.run_id),
        "Model": run.model or "unknown",
        "Protocol": run.dialect,
        "Assistant": run.assistant_id,
        "Thread": run.thread_id,
        "Began": moment(run.started_at),
        "Recordings": str(len(told.parts)),
        "Tags": ", ".join(f"{tag}={value}" for tag, value in run.tags.items()) or None,
        "Page made": moment(made_at),
    }
    pairs = (element("div", element("dt", title), element("dd", words)) for title, words in said.items() if words)
    return element("header", element("h1", name), element("dl", pairs, class_="about"), *map(note, told.links))


def _tiles(told: Ticket) -> Markup:
    run = told.run
    used, cap = run.output_tokens, run.max_completion_tokens
    of = "no cap was set" if cap is None else f"of {several(cap, 'token')}"
    stopped = run.stop_reason or "nothing says why"
    faults = sum(check.verdict == "not" for check in _checks(told.line))
    sound = all(each.verdict in ("intact", "erased") for each in told.checked)
    return element(
        "dl",
        tile(
            "Status",
            run.status,
            stopped if run.stop_reason_raw in (None, stopped) else f"{stopped} ({run.stop_reason_raw})",
        ),
        tile("Output", UNKNOWN if used is None else several(used, "token"), of),
        tile("Until the end", span(run.duration_us), f"first token after {span(run.ttft_us)}"),
        tile("Transport", run.ending or "still open", "of the recording that stands for the run"),
        tile(
            "Complete",
            "no" if faults else "yes",
            several(faults, "check") + " found something" if faults else "no check failed",
        ),
        tile("Record", "holds" if sound else "does NOT hold", "against its digests"),
        class_="tiles",
    )


# -- why, and what was asked -------------------------------------------------------------------------------------------


def _why(told: Ticket) -> Markup:
    run, reading = told.run, told.standing.reading
    bars = [
        _bar("Output", run.output_tokens, run.max_completion_tokens, reading.reasoning_tokens),
        _bar("Input", run.input_tokens, run.max_prompt_tokens, None),
    ]
    first, *others = reasons(run, told.standing)
    return section(
        "why",
        "Why it stopped",
        first,
        element("ul", (element("li", line) for line in others), class_="why") if others else None,
        element("div", bars, class_="caps"),
    )


def _bar(title: str, used: int | None, cap: int | None, reasoning: int | None) -> Markup:
    """Tokens against their cap."""
    if used is None:
        return note(f"{title}: tokens unknown" + ("" if cap is None else f", at most {several(cap, 'token')}"))
    if not cap:
        return note(f"{title}: {several(used, 'token')}, no cap")
    said = f"{title}: {several(used, 'token')} of {several(cap, 'token')} ({100 * used // cap} %)"
    if reasoning:
        said += f", {several(reasoning, 'token')} of them reasoning"
    full = min(1000.0, 1000 * used / cap)
    thought = min(full, 1000 * (reasoning or 0) / cap)
    bar = element(
        "svg",
        element("title", said),
        element("rect", class_="track", width=1000.0, height=10.0),
        element("rect", class_="fill o-cut" if used >= cap else "fill c0", width=full, height=10.0),
        element("rect", class_="fill c5", width=thought, height=10.0) if thought else None,
        class_="shares",
        viewBox="0 0 1000 10",
        preserveAspectRatio="none",
        role="img",
    )
    return element("div", element("p", said), bar)


def _asked(part: Part) -> Markup:
    recording, reading = part.recording, part.reading
    request = recording.request
    parameters = recording.parameters if reading.parameters is None else reading.parameters
    rows = [(name, element("code", _short(value))) for name, value in parameters.items()]
    return section(
        "asked",
        "What was asked",
        asked(recording) if part.erased is None else f"{request.method}; {gone(part.erased)}",
        table("Parameters as they were sent", [Column("Parameter"), Column("Value")], rows),
        note("Not sent: ", ", ".join(part.absent)) if part.absent else None,
        fold("Headers", _headers(request.headers)) if request.headers else None,
        fold(f"Body, {several(request.body_size, 'byte')}", _pre(_readable(request.body)))
        if request.body
        else note(
            f"The body of {several(request.body_size, 'byte')} is not in the store."
            if request.body_size
            else "No body."
        ),
    )


def _headers(headers: HeaderList) -> Markup:
    return table("Headers; what is never stored is masked", [Column("Name"), Column("Value")], headers)


def _readable(body: bytes) -> str:
    """JSON indented, anything else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _short(value: Any, most: int = 400) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= most else f"{said[:most]}… ({len(said):,} characters)"


def _pre(words: str) -> Markup:
    left = len(words) - _TEXT
    more = note(f"{left:,} more characters are left out here; the store has them.") if left > 0 else None
    return fragment(element("pre", words[:_TEXT]), more)


# -- when --------------------------------------------------------------------------------------------------------------


def _timeline(line: Timeline) -> Markup:
    rows = [
        (
            str(number),
            track.reading.action or UNKNOWN,
            span(track.starts_us),
            span(track.waited_us) if track.waited_us else UNKNOWN,
            span(track.lasts_us),
            "none came" if track.answered is None else str(track.answered[1]),
            _ending(track),
        )
        for number, track in enumerate(line.tracks, 1)
    ]
    tries = [
        f"{span(abs(each.before_us))} {'earlier' if each.before_us >= 0 else 'later'}:"
        f" recording {each.recording.recording_id}"
        for each in line.attempts
    ]
    titles = ("#", "What for", "Asked at", "Waited before", "Took", "HTTP", "Ended by")
    return section(
        "timeline",
        "Timeline",
        f"{several(len(line.tracks), 'recording')} in {span(line.lasts_us)}"
        + (f"; {several(line.duplicates, 'second record')} of the same exchange left out" if line.duplicates else ""),
        table("Exchanges of the run", [Column(title) for title in titles], rows),
        subsection("Other tries of the same request", None, *map(note, tries)) if tries else None,
    )


def _ending(track: Track) -> str:
    ending = track.recording.ending
    return "still open" if ending is None else ending.ending


def _track(number: int, track: Track) -> Markup:
    rows = list(rows_of(track))
    left = len(rows) - _ROWS
    longest = (
        None
        if track.longest is None
        else f"Longest gap: {span(track.longest.length_us)}, to event {track.longest.position}."
    )
    return section(
        f"exchange-{number}",
        f"Exchange {number}",
        f"Recording {track.recording.recording_id}. {how_ended(track)}",
        element("figure", _raster(track), element("figcaption", _lanes_said(track))) if track.marks else None,
        note(longest) if longest else None,
        table("Is it complete?", [Column("Check"), Column("Verdict"), Column("Why"), Column("Event")], _checked(track)),
        fold("Response headers", _headers(track.head[1].headers)) if track.head else None,
        fold(
            f"Events, {len(track.marks):,}",
            _events(track, rows[:_ROWS]),
            note(f"{left:,} rows are left out here.") if left > 0 else None,
        ),
    )


def _checks(line: Timeline) -> Iterator[Any]:
    from recorder.timeline import checks

    for track in line.tracks:
        yield from checks(track)


def _checked(track: Track) -> Iterator[tuple[Child, ...]]:
    from recorder.timeline import checks

    for check in checks(track):
        word = _VERDICTS[check.verdict]
        shown = element("span", word, class_="bad") if check.verdict == "not" else word
        yield check.name, shown, check.said, UNKNOWN if check.position is None else str(check.position)


def _lanes(track: Track) -> dict[str, list[int]]:
    """Kind of event -> its columns in the raster, each once."""
    whole = max(track.lasts_us, 1)
    lanes: dict[str, set[int]] = {}
    for mark in track.marks:
        lanes.setdefault(mark.what, set()).add(column_of(mark.elapsed_us, whole, _COLUMNS))
    return {kind: sorted(lanes[kind]) for kind in KINDS if kind in lanes and kind != "wire"}


def _lanes_said(track: Track) -> str:
    stalls = f"; {several(len(track.stalls), 'stall')} shaded" if track.stalls else ""
    return f"Every event, by kind, over {span(track.lasts_us)}{stalls}."


def _raster(track: Track) -> Markup:
    """A lane for each kind of event, all on one axis of time; stalls are shaded behind them."""
    lanes, whole = _lanes(track), max(track.lasts_us, 1)
    frame = Frame(_LABELS + _COLUMNS, _LANE * len(lanes) + 22)
    shapes: list[Child] = []
    for gap in track.stalls:
        start, width = (_COLUMNS * each / whole for each in (gap.from_us, gap.length_us))
        high = _LANE * len(lanes)
        shapes.append(
            element("rect", class_="fill w-retried", x=_LABELS + start, y=0.0, width=max(width, 1.0), height=high)
        )
    for row, (kind, columns) in enumerate(lanes.items()):
        top = row * _LANE + 2
        drawn = "".join(f"M{_LABELS + column:.0f} {top:.0f}v12" for column in columns)
        shapes += [text(0, top + 10, kind, "tick"), element("path", d=drawn, class_=f"tick {_COLOURS.get(kind, 'cx')}")]
    foot = _LANE * len(lanes) + 14
    shapes += [text(_LABELS, foot, "0", "tick"), text(_LABELS + _COLUMNS, foot, span(whole), "tick", "end")]
    return picture(frame, "Events over time", _lanes_said(track), *shapes)


def _events(track: Track, listed: Sequence[Row]) -> Markup:
    titles = ("Event", "#Times", "After", "Kind", "Name", "#Bytes", "Says")
    rows = []
    for row in listed:
        first, last = row.marks[0], row.marks[-1]
        where = str(first.position) if len(row.marks) == 1 else f"{first.position} to {last.position}"
        after = span(first.elapsed_us)
        if row.stalled_us is not None:
            after += f" (nothing for {span(row.stalled_us)})"
        size = sum(mark.size for mark in row.marks)
        said = element("code", said_by(track, row).strip())
        rows.append((where, f"{len(row.marks):,}", after, first.what, first.name, f"{size:,}", said))
    columns = [Column(title.lstrip("#"), title.startswith("#")) for title in titles]
    return table("Events in order; those in a row that are alike stand together", columns, rows)


# -- what came back, and whether the record holds ----------------------------------------------------------------------


def _answers(told: Ticket) -> Markup:
    parts: list[Child] = []
    for number, part in enumerate(told.parts, 1):
        parts += _answer(number, part)
    return section("answer", "What came back", None, *(parts or [note("No text and no call of a tool.")]))


def _answer(number: int, part: Part) -> Iterator[Markup]:
    reading = part.reading
    if part.erased is not None:
        yield note(f"Exchange {number}: {gone(part.erased)}")
    if reading.text:
        yield subsection(
            f"Text of exchange {number}",
            several(len(reading.text), "character"),
            _pre("\n".join(folded(reading.text.splitlines()))),
        )
    content = reading.facts.get("content")
    calls = content.get("tool_calls") if isinstance(content, Mapping) else None
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, Mapping) and not call.get("earlier"):
            name = str(call.get("name") or call.get("type") or "a tool")
            yield subsection(f"Exchange {number} calls {name}", None, _pre(str(call.get("arguments") or "")))


def _integrity(checked: Sequence[Checked]) -> Markup:
    rows = [
        (
            str(each.recording_id),
            each.verdict if each.verdict in ("intact", "erased") else element("span", each.verdict, class_="bad"),
            "; ".join(problem.text for problem in each.problems) or UNKNOWN,
            element("code", each.seal.hex() if each.seal else UNKNOWN),
        )
        for each in checked
    ]
    return section(
        "integrity",
        "Does the record hold?",
        "Each recording against the digests that were made when it ended, as this page was made.",
        table("Recordings", [Column(title) for title in ("Recording", "Verdict", "Why", "Seal (SHA-256)")], rows),
    )
