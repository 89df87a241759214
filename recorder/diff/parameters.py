"""What was asked, compared by its values: objects in any order, numbers as they are written, lists item by item.

Ids that a run was given by its server (its own, its thread's, those of messages and calls) are made anew each time. Two
of a kind count as the same, wherever they stand; but where the same id stood twice, it must stand twice on the other
side as well, or the two are mixed up. Ids of what outlives runs (assistants, files, vector stores) count as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from recorder.diff.sides import Part, Side
from recorder.diff.words import aligned
from recorder.match import Rule, differences
from recorder.reader.brought import ToolCall
from recorder.recording import Request

__all__ = ["Change", "calls", "parameters"]


class Change(NamedTuple):
    """One place where two runs differ. The sides are JSON texts or words; None: not there."""

    path: str
    before: str | None
    after: str | None


#: Kinds of ids that are made for a run: OpenAI API reference (objects' `id`), Anthropic API reference.
_KINDS: Final = (
    "call|chatcmpl|ci|cmpl|conv|cu|fc|fco|fs|ig|item|lsh|mcp|mcpa|mcpl|mcpr|msg|resp|rs|run|sh|srvtoolu|step|thread"
    "|toolu|ws"
)
#: Such an id anywhere in a text; long enough to be no word (`run_tests`).
_ANYWHERE: Final = rf"(?<![A-Za-z0-9_-])(?P<kind>{_KINDS})[_-][A-Za-z0-9]{{16,128}}(?![A-Za-z0-9])"
#: Any id that a field's name calls one.
_IN_FIELD: Final = (
    r'(?P<field>"(?:call_id|id|item_id|message_id|previous_response_id|run_id|step_id|thread_id|tool_call_id'
    rf'|tool_use_id)"\s*:\s*")(?P<named>{_KINDS})[_-][A-Za-z0-9_-]{{1,200}}(?=")'
)
_IN_BODY: Final = re.compile(f"{_IN_FIELD}|{_ANYWHERE}".encode())
#: What a path's word is followed by.
_IN_PATH: Final = re.compile(r"(?<=/)(threads|runs|messages|steps|responses|conversations)/([^/?#]+)")


def parameters(before: Side, after: Side, rule: Rule) -> tuple[list[Change], list[str]]:
    """Where the requests of two runs differ, and notes on what could not be compared."""
    changes: list[Change] = []
    notes: list[str] = []
    several = max(len(before.parts), len(after.parts)) > 1
    for place, other in _pairs(before.parts, after.parts):
        if place is not None and other is not None:
            prefix = f"{place + 1}." if several else ""
            changes += _asked(prefix, before.parts[place], after.parts[other], rule, notes)
        elif place is not None:
            changes.append(Change(f"{place + 1}.request", _named(before.parts[place]), None))
        elif other is not None:
            changes.append(Change(f"{other + 1}.request", None, _named(after.parts[other])))
    return changes, notes


def _pairs(before: Sequence[Part], after: Sequence[Part]) -> Iterator[tuple[int | None, int | None]]:
    """Which requests are compared: the two that opened the runs, and after them those that do the same, in order."""
    yield 0, 0
    ours, theirs = ([str(part.reading.action) for part in side[1:]] for side in (before, after))
    for op in aligned(ours, theirs):
        if op.same:
            yield from zip(range(op.start + 1, op.end + 1), range(op.other + 1, op.other_end + 1), strict=True)
        else:
            yield from ((place + 1, None) for place in range(op.start, op.end))
            yield from ((None, other + 1) for other in range(op.other, op.other_end))


def _named(part: Part) -> str:
    return f"{part.reading.action or part.recording.request.method}"


def _asked(prefix: str, before: Part, after: Part, rule: Rule, notes: list[str]) -> Iterator[Change]:
    ours, theirs = before.recording.request, after.recording.request
    if ours.body is None or theirs.body is None:
        ours, theirs, unknown = _as_known(before, after)
        notes.append(
            "a request's body is not there: parameters are compared as far as the readings have them"
            + (f", without {', '.join(unknown)}" if unknown else "")
        )
    for each in differences(_neutral(ours), _neutral(theirs), rule, whole=True):
        yield Change(prefix + each.path, each.wanted, each.stored)
    mixed = _mixed(_ids(ours), _ids(theirs))
    if mixed is not None:
        yield Change(f"{prefix}ids", *mixed)


def _as_known(before: Part, after: Part) -> tuple[Request, Request, list[str]]:
    """The two requests with the parameters that their readings have for a body, and what is not known of both."""
    sides = [dict(part.reading.parameters or part.recording.parameters) for part in (before, after)]
    unknown = []
    for name in sorted({**sides[0], **sides[1]}):
        values = [each.get(name) for each in sides]
        digests = [_omitted(value) for value in values]
        if any(digest is not None for digest in digests) and (None in digests or "" in digests):
            unknown.append(name)
            for each in sides:
                each.pop(name, None)
    ours, theirs = (
        replace(part.recording.request, body=json.dumps(each).encode())
        for part, each in zip((before, after), sides, strict=True)
    )
    if not (ours.url and theirs.url):
        unknown.append("URL and headers")
        ours, theirs = (replace(each, url="", headers=()) for each in (ours, theirs))
    return ours, theirs, unknown


def _omitted(value: Any) -> str | None:
    """The digest that stands for a value; "" where it has none, None where it is the value itself."""
    told = value.get("$omitted") if isinstance(value, dict) else None
    return None if not isinstance(told, dict) else str(told.get("sha256", ""))


# -- ids ---------------------------------------------------------------------------------------------------------------


def _neutral(request: Request) -> Request:
    """The request with the kind of each id in its place."""
    url = _IN_PATH.sub(r"\1/*", request.url)
    body = request.body
    return replace(request, url=url, body=None if body is None else _IN_BODY.sub(_kind_alone, body))


def _kind_alone(found: re.Match[bytes]) -> bytes:
    return (found["field"] or b"") + (found["named"] or found["kind"]) + b"_*"


def _ids(request: Request) -> list[tuple[str, str]]:
    """(kind, id) of each id in the request, in order."""
    in_url = [(found[1], found[2]) for found in _IN_PATH.finditer(request.url)]
    in_body = [
        (
            (found["named"] or found["kind"]).decode(),
            found[0].removeprefix(found["field"] or b"").decode(),
        )
        for found in _IN_BODY.finditer(request.body or b"")
    ]
    return in_url + in_body


def _mixed(before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first two ids that play another part than where they stood before; None where all play the same.

    Only requests that name the same kinds in the same order can be compared so.
    """
    if [kind for kind, _ in before] != [kind for kind, _ in after]:
        return None
    places = [_places(each) for each in (before, after)]
    for place, (ours, theirs) in enumerate(zip(*places, strict=True)):
        if ours != theirs:
            return tuple(  # type: ignore[return-value]
                f"{each[place][0]} number {order[place]}" for each, order in zip((before, after), places, strict=True)
            )
    return None


def _places(ids: Iterable[tuple[str, str]]) -> list[int]:
    """For each id which of the different ones of its kind it is, counted from 1."""
    known: dict[str, dict[str, int]] = {}
    return [(kin := known.setdefault(kind, {})).setdefault(name, len(kin) + 1) for kind, name in ids]


# -- tool calls --------------------------------------------------------------------------------------------------------


def calls(before: Sequence[ToolCall], after: Sequence[ToolCall]) -> list[Change]:
    """Where the tool calls of two runs differ: a call more or less, and arguments by their values."""
    changes: list[Change] = []
    ours, theirs = ([call.name or "" for call in each] for each in (before, after))
    for op in aligned(ours, theirs):
        if op.same:
            for place, other in zip(range(op.start, op.end), range(op.other, op.other_end), strict=True):
                changes += _called(f"[{place}] {before[place].name or 'a tool'}", before[place], after[other])
            continue
        changes += [Change(f"[{place}]", _shown(before[place]), None) for place in range(op.start, op.end)]
        changes += [Change(f"[{other}]", None, _shown(after[other])) for other in range(op.other, op.other_end)]
    return changes


def _shown(call: ToolCall) -> str:
    return f"{call.name or 'a tool'}({call.arguments or ''})"


def _called(name: str, before: ToolCall, after: ToolCall) -> Iterator[Change]:
    for each in differences(_as_request(before), _as_request(after), whole=True):
        yield Change(name + each.path.removeprefix("body"), each.wanted, each.stored)


def _as_request(call: ToolCall) -> Request:
    """The call's arguments as the body of a request, which knows how to compare them."""
    text = call.arguments
    if text is None:
        body = b"null"
    else:
        try:
            json.loads(text)
            body = text.encode(errors="surrogatepass")
        except (ValueError, RecursionError):  # cut off, or no JSON at all: by its characters
            body = json.dumps(text).encode()
    return _neutral(Request(method="CALL", url="/", body=body, body_size=len(body)))
