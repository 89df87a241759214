"""The lines of an evidence file before its record: checkpoints, proofs, and a transcript. No I/O.

    {"recorder":"evidence","version":"1.0","made":"2026-11-23T12:00:00Z","by":"recorder 0.4.0"}
    {"kind":"checkpoint","line":"recorder-checkpoint/1 …"}
    {"kind":"growth","from":12,"to":40,"path":["HEX",…]}
    {"kind":"inclusion","recording":"ID","index":7,"count":40,"path":["HEX",…]}
    {"kind":"verified","recording_id":"ID","verdict":"intact",…}

A file may come from anybody: a line that is not as these are, and exactly, is refused, and the whole file with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn
from uuid import UUID

from recorder.errors import UsageError
from recorder.exchange.reading import once
from recorder.verify import Checked, Checkpoint, parse
from recorder.verify.proofs import LONGEST

__all__ = ["LONGEST_LINE", "MOST", "Growth", "Inclusion", "Preamble", "head_line", "told", "written"]

#: Major and minor.
VERSION: Final = "1.0"
#: The members of what verification said of a recording: those of `Checked.to_json`.
_VERIFIED: Final = ("recording_id", "verdict", "problems", "complete", "missing", "events", "seal")
#: Bytes of a line, and how many lines there are before the record, at most.
LONGEST_LINE: Final = 4 << 20
MOST: Final = 1_000_000
_DEEPEST: Final = 8

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_MOST_COUNT: Final = 10**18


class Growth(NamedTuple):
    """That the first `earlier` of `later` leaves are those of the earlier root."""

    earlier: int
    later: int
    path: tuple[bytes, ...]


class Inclusion(NamedTuple):
    """That a recording's leaf is the one at `place` (from 0) of the first `size`."""

    recording_id: UUID
    place: int
    size: int
    path: tuple[bytes, ...]


@dataclass(slots=True)
class Preamble:
    """What the lines say. `made`, `by`: when, and by which program; `transcript`: what verification said of each
    recording then, as `Checked.to_json` has it.
    """

    made: str
    by: str
    checkpoints: list[Checkpoint] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    inclusions: list[Inclusion] = field(default_factory=list)
    transcript: list[Mapping[str, Any]] = field(default_factory=list)


# -- out ---------------------------------------------------------------------------------------------------------------


def head_line(made: str, by: str) -> bytes:
    """The first line."""
    return _line({"recorder": "evidence", "version": VERSION, "made": made, "by": by})


def written(value: Checkpoint | Growth | Inclusion | Checked) -> bytes:
    """The line of a value."""
    match value:
        case Checkpoint():
            return _line({"kind": "checkpoint", "line": value.text()})
        case Growth(earlier, later, path):
            return _line({"kind": "growth", "from": earlier, "to": later, "path": _hex(path)})
        case Inclusion(recording_id, place, size, path):
            members = {"kind": "inclusion", "recording": str(recording_id), "index": place, "count": size}
            return _line({**members, "path": _hex(path)})
        case Checked():
            return _line({"kind": "verified", **value.to_json()})


def _hex(path: tuple[bytes, ...]) -> list[str]:
    return [each.hex() for each in path]


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode("ascii") + b"\n"


# -- in ----------------------------------------------------------------------------------------------------------------


def told(line: bytes) -> dict[str, Any]:
    """The members of a line. Raises UsageError where it is no JSON object, is nested, or says a thing twice."""
    if len(line) > LONGEST_LINE:
        raise UsageError(f"it is longer than {LONGEST_LINE >> 20} MiB")
    try:
        value = json.loads(line, object_pairs_hook=once, parse_float=_refuse, parse_constant=_refuse, parse_int=_int)
    except (ValueError, RecursionError):
        raise UsageError("it is no JSON, or no such line as recorder writes") from None
    if not isinstance(value, dict) or _depth(value) > _DEEPEST:
        raise UsageError("it is no JSON object of the kind that recorder writes")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{len(text)} characters that are no whole number")


def _int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number of too many digits")
    return int(digits)


def _depth(value: Any) -> int:
    """How deep JSON is nested. (Deeper than the parser's stack it cannot be.)"""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inside = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for some in inside for each in some]
    return deepest


def opened(line: bytes) -> Preamble:
    """What the first line says. Raises UsageError where the file is no evidence, or of a later form."""
    members = told(line)
    if members.get("recorder") != "evidence":
        raise UsageError("its first line does not say that it is evidence; `recorder export RUN --evidence` makes such")
    version = members.get("version")
    if version != VERSION:
        raise UsageError("it is of a version that this recorder does not know: upgrade recorder")
    _exactly(members, "recorder", "version", "made", "by")
    return Preamble(_text(members, "made", _TIME), _text(members, "by"))


def take(preamble: Preamble, members: Mapping[str, Any]) -> None:
    """Add what a further line says. Raises UsageError."""
    kind = members.get("kind")
    if kind == "checkpoint":
        _exactly(members, "kind", "line")
        _take_checkpoint(preamble, parse(_text(members, "line")))
    elif kind == "growth":
        _exactly(members, "kind", "from", "to", "path")
        preamble.growths.append(Growth(_count(members, "from"), _count(members, "to"), _path(members)))
    elif kind == "inclusion":
        _exactly(members, "kind", "recording", "index", "count", "path")
        found = Inclusion(_id(members), _count(members, "index"), _count(members, "count"), _path(members))
        preamble.inclusions.append(found)
    elif kind == "verified":
        _exactly(members, "kind", *_VERIFIED)
        preamble.transcript.append({name: value for name, value in members.items() if name != "kind"})
    else:
        raise UsageError("it is of no kind that recorder writes")


def _take_checkpoint(preamble: Preamble, found: Checkpoint) -> None:
    before = preamble.checkpoints
    if before and (found.count <= before[-1].count or found.store != before[-1].store):
        raise UsageError("checkpoints are not of one store, each of more recordings than the one before")
    before.append(found)


def _exactly(members: Mapping[str, Any], *names: str) -> None:
    if members.keys() != set(names):
        raise UsageError("it has other members than such a line has")


def _text(members: Mapping[str, Any], name: str, form: re.Pattern[str] | None = None) -> str:
    value = members[name]
    if not isinstance(value, str) or (form is not None and not form.fullmatch(value)):
        raise UsageError(f"`{name}` holds what it cannot")
    return value


def _count(members: Mapping[str, Any], name: str) -> int:
    value = members[name]
    if type(value) is not int or not 0 <= value < _MOST_COUNT:
        raise UsageError(f"`{name}` must be a number")
    return value


def _id(members: Mapping[str, Any]) -> UUID:
    return UUID(_text(members, "recording", _UUID))


def _path(members: Mapping[str, Any]) -> tuple[bytes, ...]:
    value = members["path"]
    if not isinstance(value, list) or len(value) > LONGEST:
        raise UsageError(f"`path` must be a list of at most {LONGEST} hashes")
    if not all(isinstance(each, str) and _HEX.fullmatch(each) for each in value):
        raise UsageError("`path` must hold hashes of 64 hexadecimal digits")
    return tuple(bytes.fromhex(each) for each in value)
