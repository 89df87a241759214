"""Members of a line, each held to its form: what a file says is believed only so far.

Every function raises Wrong for what cannot be; `reading` says in which line of which file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from .. import cuts, sse
from ..recording import Erasure, Event, HeaderList, Recording
from .payloads import restored

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER: Final = re.compile(r"[^\0-\x20\x7f:]+")
VALUE: Final = re.compile(r"[^\0\r\n]*")
_HTTP: Final = re.compile(r"HTTP/[0-9](?:\.[0-9])?")
URL: Final = re.compile(r"[^\0-\x1f\x7f]*")
NAME: Final = re.compile(r"[^\0\r\n]+")
MOST: Final = (1 << 63) - 1
#: Microseconds that an exchange takes at most: fifteen digits, 31 years.
LONGEST_US: Final = 10**15 - 1
#: How often a recording is erased at most.
MOST_ERASURES: Final = 1000


class Wrong(ValueError):
    """What is wrong with a line; `line` counts from the recording's first, which is 0."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


# -- members -----------------------------------------------------------------------------------------------------------


def payload_of_line(told: Mapping[str, Any], verbatim: bytes | None) -> bytes | None:
    try:
        return restored(told, verbatim)
    except ValueError as error:
        raise Wrong(str(error)) from None


def text(told: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise Wrong(f"`{name}` is missing, or holds what it cannot")
    return value


def optional(told: Mapping[str, Any], name: str) -> str | None:
    return text(told, name, VALUE) if told.get(name) is not None else None


def count(told: Mapping[str, Any], name: str, *, least: int = 0, most: int = MOST, unknown: bool = False) -> Any:
    value = told.get(name)
    if value is None and unknown:
        return None
    if type(value) is not int or not least <= value <= most:
        raise Wrong(f"`{name}` must be a number" + ("" if most == MOST else f" from {least} to {most}"))
    return value


def weight(told: Mapping[str, Any]) -> float:
    value = told.get("weight", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise Wrong("`weight` must be a number above 0")
    return float(value)


def hexadecimal(told: Mapping[str, Any], name: str, size: int | None) -> bytes | None:
    value = told.get(name)
    if value is None:
        return None
    try:
        found = bytes.fromhex(value)
    except (TypeError, ValueError):
        found = b""
    if not found or (size is not None and len(found) != size):
        raise Wrong(f"`{name}` must be hexadecimal")
    return found


def uuid(told: Mapping[str, Any], name: str) -> UUID | None:
    value = told.get(name)
    if value is None:
        return None
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise Wrong(f"`{name}` must be a UUID") from None


def pairs(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = told.get(name, [])
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in value
    ):
        raise Wrong(f"`{name}` must be [[name, value], …]")
    return {str(pair[0]): pair[1] for pair in value}


def headers(told: Any) -> HeaderList:
    found: list[tuple[str, str]] = []
    for pair in told if isinstance(told, list) else [None]:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(each, str) for each in pair)):
            raise Wrong("`headers` must be [[name, value], …]")
        name, value = pair
        if not _HEADER.fullmatch(name) or not VALUE.fullmatch(value):
            raise Wrong("a header holds what none can: a line break, or no name")
        found.append((name, value))
    return tuple(found)


def require_trusted(normalise: Iterable[str], trusted: Collection[str]) -> None:
    """See that a rule brings no expression but these. Raises Wrong."""
    strange = [name for name in normalise if name.startswith("/") and name not in trusted]
    if strange:
        raise Wrong(
            f"`rule` brings the regular expression {strange[0][:80]!r}, which may run without end: put it into"
            " `normalise` of your configuration if you trust the file"
        )


def erasures(told: Mapping[str, Any]) -> tuple[Erasure, ...]:
    value = told.get("erased")
    if value is None:
        return ()
    found: list[Erasure] = []
    for each in value if isinstance(value, list) and 0 < len(value) <= MOST_ERASURES else [None]:
        if not (isinstance(each, list) and len(each) == 3 and type(each[0]) is int and 0 <= each[0] <= MOST):
            raise Wrong("`erased` must be [[us, by whom, why], …]")
        if not all(isinstance(text, str) and VALUE.fullmatch(text) for text in each[1:]):
            raise Wrong("`erased` must be [[us, by whom, why], …]")
        found.append(Erasure(*each))
    return tuple(found)


def require_nothing_left(recording: Recording, events: Sequence[Event]) -> None:
    """See that nothing is told of a recording that was erased but facts. Raises Wrong."""
    if not recording.erasures:
        return
    request = recording.request
    left = (request.url, request.headers, request.body, request.body_sha256, recording.salt, recording.match_key)
    others = (recording.match_rule, recording.session, recording.trace, recording.call, recording.tags)
    if any(left) or any(others) or request.body is not None or any(event.data or event.raw for event in events):
        raise Wrong("it says that the recording was erased, and holds content: export it again")


# -- payloads ----------------------------------------------------------------------------------------------------------


def packed_cuts(told: Any, size: int, elapsed: int) -> bytes:
    if not isinstance(told, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair) for pair in told
    ):
        raise Wrong("`cuts` must be [[offset, us], …]")
    try:
        packed = cuts.pack([(pair[0], pair[1]) for pair in told], size, elapsed)
    except ValueError:
        raise Wrong("`cuts` must rise within the event, and not be later than it") from None
    if packed is None:
        raise Wrong("these cuts are what an event without any has: take `cuts` out")
    return packed


def require_frame(raw: bytes, type_: str | None, *, first: bool) -> None:
    """Raises Wrong where the bytes are not one frame of that name that is not canonical."""
    tokenizer = sse.Tokenizer(limit=None)
    if not first:
        tokenizer.feed(b"\n")
    found = tokenizer.feed(raw) + tokenizer.finish()
    frame = found[0] if len(found) == 1 and not tokenizer.close() else None
    if not isinstance(frame, sse.Frame) or frame.raw != raw:
        raise Wrong("`raw` or `frame` must be one frame up to its blank line, and not of the plain form")
    if (frame.type if frame.type is None or "\0" not in frame.type else None) != type_:
        raise Wrong("`event` is not the name that the frame has")


def require_head(payload: bytes | None) -> None:
    """See that the payload of a head, where it is there, is one. Raises Wrong."""
    if payload is None:
        return
    wrong = Wrong("its data must be a head: http, status, reason, headers")
    try:
        told = json.loads(payload)
        status, reason, version = told["status"], told["reason"], told["http"]
        headers(told["headers"])
    except (KeyError, TypeError, RecursionError):
        raise wrong from None
    except ValueError as error:
        raise error if isinstance(error, Wrong) else wrong from None
    if type(status) is not int or not 100 <= status <= 999:
        raise Wrong("`status` must be a number from 100 to 999")
    if not isinstance(reason, str) or not VALUE.fullmatch(reason):
        raise wrong
    if not isinstance(version, str) or not _HTTP.fullmatch(version):
        raise wrong


def require_end(payload: bytes | None) -> None:
    """See that the payload of an end says how the transport ended."""
    try:
        told = json.loads(payload or b"")
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Wrong("its data must say how the transport ended")
