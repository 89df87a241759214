"""A comparison of two runs as people and scripts read it: lines, JSON, a page.

The page is one file without scripts, whose policy lets nothing be loaded. Every text of a stranger is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from recorder.report.markup import Child, Markup, element, head

from .output import count, moment, safe, several, span, timestamp
from .story import folded

if TYPE_CHECKING:
    from recorder.diff import Block, Change, Comparison, Group, Side, Timing, Words

__all__ = ["fields", "page", "tell"]

#: Characters of what both sides share that are shown before and after what differs.
_CONTEXT: Final = 60
#: Values that are shown one beside the other; longer ones are shown as one text with what differs in it.
_BESIDE: Final = 60
#: Lines of a section for people; the page and JSON have all.
_MOST: Final = 200

_TITLES: Final = {
    "parameters": "Parameters",
    "events": "Events",
    "text": "Text",
    "reasoning": "Reasoning",
    "tool_calls": "Tool calls",
    "usage": "Usage",
    "outcome": "Outcome",
    "timing": "Timing",
}
_CHANGES: Final = ("parameters", "tool_calls", "usage", "outcome")


# -- for people --------------------------------------------------------------------------------------------------------


def tell(found: Comparison, why: str | None, *, timing: bool) -> Iterator[str]:
    """The comparison in lines."""
    for name, side in (("A", found.before), ("B", found.after)):
        yield _named(name, side)
    if why is not None:
        yield safe(f"A is {why}")
    for note in found.notes:
        yield safe(f"note: {note}")
    differing = found.differing(timing=timing)
    for section in differing:
        if section != "timing":
            yield ""
            yield click.style(_TITLES[section], bold=True)
            yield from _cut(list(_section(found, section)))
    if found.timing:
        yield ""
        yield click.style("Timing" + ("" if timing else "  (told, not counted)"), bold=True)
        yield from map(_time, found.timing)
    yield ""
    yield click.style(_verdict(found, differing), fg="red" if differing else "green")


def _named(name: str, side: Side) -> str:
    run = side.run
    title = run.provider_run_id or str(run.run_id)
    return safe(
        f"{name}  {title}  run {run.run_id}, {moment(run.started_at)}, {run.status}, {run.model or 'model unknown'}"
    )


def _cut(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST]
    if len(lines) > _MOST:
        yield f"  (and {several(len(lines) - _MOST, 'line')} more: --json and --html have all)"


def _verdict(found: Comparison, differing: Sequence[str]) -> str:
    if differing:
        return f"They differ in {', '.join(_TITLES[each].lower() for each in differing)}."
    return f"They are the same{' in what could be compared' if found.notes else ''}."


def _section(found: Comparison, section: str) -> Iterator[str]:
    if section in _CHANGES:
        for change in getattr(found, section):
            yield from _change(change)
    elif section == "events":
        for block in found.events:
            yield from _block(block)
    else:
        yield from _inline(getattr(found, section))


def _change(change: Change) -> Iterator[str]:
    before, after, path = change.before, change.after, safe(change.path)
    if before is not None and after is not None and max(len(before), len(after)) > _BESIDE:
        from recorder.diff import word_diff

        yield f"  {path}:"
        yield from _inline(word_diff(before, after), indent="    ")
        return
    old, new = ("absent" if side is None else safe(_shortened(side)) for side in (before, after))
    yield f"  {path}: {click.style(old, fg='red')} -> {click.style(new, fg='green')}"


def _shortened(text: str) -> str:
    return text if len(text) <= 4 * _BESIDE else f"{text[: 4 * _BESIDE]}... ({count(len(text))} characters)"


def _inline(pieces: Iterable[Words], indent: str = "  ") -> Iterator[str]:
    """One text with what was taken out and put in, as `git diff --word-diff` writes it."""
    told = list(pieces)
    drawn = []
    for place, piece in enumerate(told):
        if piece.same:
            drawn.append(safe(_around(piece.before, first=place == 0, last=place == len(told) - 1), lines=True))
            continue
        for text, marks, colour in ((piece.before, "[--]", "red"), (piece.after, "{++}", "green")):
            if text:
                drawn.append(click.style(marks[:2] + safe(text, lines=True) + marks[2:], fg=colour))
    for line in folded("".join(drawn).split("\n")):
        yield f"{indent}| {line}"


def _around(text: str, *, first: bool, last: bool) -> str:
    """Of a text that both share only what stands next to what differs."""
    if first and last:
        return text
    if first:
        return text if len(text) <= _CONTEXT else f"…{text[-_CONTEXT:]}"
    if last:
        return text if len(text) <= _CONTEXT else f"{text[:_CONTEXT]}…"
    return text if len(text) <= 3 * _CONTEXT else f"{text[:_CONTEXT]} … {text[-_CONTEXT:]}"


def _block(block: Block) -> Iterator[str]:
    if block.same:
        ours, theirs = (sum(group.number for group in side) for side in (block.before, block.after))
        number = several(ours, "event") if ours == theirs else f"{count(ours)} and {several(theirs, 'event')}"
        shown = ", ".join(map(_group, block.before[:2])) + (", …" if len(block.before) > 2 else "")
        yield click.style(safe(f"    {number} the same: {shown}"), dim=True)
        return
    for sign, groups, colour in (("-", block.before, "red"), ("+", block.after, "green")):
        for group in groups:
            at = f"event {group.first}" if group.part == 1 else f"event {group.part}:{group.first}"
            yield click.style(safe(f"  {sign} {_group(group)}   ({at})"), fg=colour)


def _group(group: Group) -> str:
    said = "" if group.what in ("lifecycle", group.name) or group.name == "[DONE]" else f" ({group.what})"
    role = "" if group.role is None or group.role.endswith(" 1") else f" of {group.role}"
    return f"{group.name}{f' x{count(group.number)}' if group.number > 1 else ''}{said}{role}"


def _time(timing: Timing) -> str:
    ratio = "" if timing.ratio is None else f"   x{timing.ratio:.2f}"
    line = f"  {timing.name.replace('_', ' '):<17}{span(timing.before):>10} -> {span(timing.after):>10}{ratio}"
    return click.style(line, fg="yellow") if timing.differs else line


# -- for scripts -------------------------------------------------------------------------------------------------------


def fields(found: Comparison, why: str | None, *, timing: bool) -> dict[str, Any]:
    """The comparison for JSON; nothing in it is shortened."""
    differing = found.differing(timing=timing)
    return {
        "same": not differing,
        "differing": differing,
        "a": _side_fields(found.before),
        "b": _side_fields(found.after),
        "chosen_because": why,
        "notes": list(found.notes),
        **{section: [change._asdict() for change in getattr(found, section)] for section in _CHANGES},
        "events": [
            {
                "same": block.same,
                "a": [group._asdict() for group in block.before],
                "b": [group._asdict() for group in block.after],
            }
            for block in found.events
        ],
        "text": [piece._asdict() for piece in found.text],
        "reasoning": [piece._asdict() for piece in found.reasoning],
        "timing": [each._asdict() | {"differs": each.differs} for each in found.timing],
    }


def _side_fields(side: Side) -> dict[str, Any]:
    run = side.run
    return {
        "run_id": str(run.run_id),
        "provider_run_id": run.provider_run_id,
        "dialect": run.dialect,
        "model": run.model,
        "started_at": timestamp(run.started_at),
        "status": run.status,
        "recordings": [str(part.recording.recording_id) for part in side.parts],
    }


# -- a page ------------------------------------------------------------------------------------------------------------

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem; }
tr { border-bottom: 1px solid #8884; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
pre, td { overflow-wrap: break-word; }
pre { white-space: pre-wrap; border-left: 3px solid #8886; padding: .2rem .8rem; }
del, ins { text-decoration: none; border-radius: 2px; } del { background: #e553; } ins { background: #4b53; }
.same { opacity: .7; } .verdict { font-weight: 600; }
"""


def page(found: Comparison, why: str | None, *, timing: bool) -> str:
    """The comparison as one HTML file: no script, and a policy under which nothing is loaded."""
    differing = found.differing(timing=timing)
    body = element(
        "body",
        element("h1", "Two runs compared"),
        element("p", _verdict(found, differing), class_="verdict"),
        _sides(found),
        None if why is None else element("p", f"A is {why}."),
        [element("p", f"Note: {note}.") for note in found.notes],
        [_page_section(found, section) for section in differing if section != "timing"],
        _page_timing(found) if found.timing else None,
    )
    return "<!doctype html>\n" + element("html", head("Two runs compared", _STYLE), body, lang="en") + "\n"


def _sides(found: Comparison) -> Markup:
    rows = []
    for name, side in (("A", found.before), ("B", found.after)):
        run = side.run
        told = (
            run.provider_run_id or "-",
            str(run.run_id),
            moment(run.started_at),
            run.status,
            run.model or "unknown",
        )
        rows.append(_cells(name, *told))
    return _table(("", "provider's id", "run", "started", "status", "model"), rows)


def _page_section(found: Comparison, section: str) -> Markup:
    content: Child
    if section in _CHANGES:
        content = _table(
            ("", "A", "B"),
            [element("tr", element("td", each.path), *_page_sides(each)) for each in getattr(found, section)],
        )
    elif section == "events":
        content = element("pre", [_page_block(block) for block in found.events])
    else:
        content = element("pre", [_page_words(piece) for piece in getattr(found, section)])
    return element("section", element("h2", _TITLES[section]), content)


def _page_sides(change: Change) -> Iterator[Markup]:
    """Both sides of a change; where both are there, with the words marked that differ."""
    from recorder.diff import word_diff

    if change.before is None or change.after is None:
        for text, name in ((change.before, "del"), (change.after, "ins")):
            yield element("td", element("em", "absent") if text is None else element(name, text))
        return
    pieces = word_diff(change.before, change.after)
    yield element("td", [each.before if each.same else element("del", each.before) for each in pieces])
    yield element("td", [each.after if each.same else element("ins", each.after) for each in pieces])


def _page_words(piece: Words) -> Child:
    if piece.same:
        return element("span", piece.before, class_="same")
    return [
        element("del", piece.before) if piece.before else None,
        element("ins", piece.after) if piece.after else None,
    ]


def _page_block(block: Block) -> Child:
    if block.same:
        return [element("span", f"  {_group(group)}\n", class_="same") for group in block.before]
    sides = (("-", block.before, "del"), ("+", block.after, "ins"))
    return [element(name, f"{sign} {_group(group)}\n") for sign, groups, name in sides for group in groups]


def _page_timing(found: Comparison) -> Markup:
    rows = [
        element(
            "tr",
            element("td", each.name.replace("_", " ")),
            element("td", span(each.before), class_="n"),
            element("td", span(each.after), class_="n"),
            element("td", "" if each.ratio is None else f"x{each.ratio:.2f}", class_="n"),
        )
        for each in found.timing
    ]
    return element("section", element("h2", "Timing"), _table(("", "A", "B", "B to A"), rows))


def _table(titles: Sequence[str], rows: Sequence[Markup]) -> Markup:
    return element("table", element("tr", [element("th", title) for title in titles]), rows)


def _cells(*texts: str | None) -> Markup:
    return element("tr", [element("td", text) for text in texts])
