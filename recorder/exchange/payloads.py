"""Bytes as a member of a JSON line, and back: JSON as it is, text as a string, anything else as base64.

A payload that is JSON on one line stands in the line verbatim, byte for byte, as its last member: readers cut it out,
they do not write it anew, so that spacing, escapes and numbers stay what they were. Pretty-printed JSON of more lines
stands there compact, with its indentation beside it, where printing it that way gives the very bytes back.

Knows no recordings, no files.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

__all__ = ["FIELDS", "is_json", "members", "quoted", "restored"]

#: The members by which a payload may be told. `data` is the last in its line, and only there verbatim.
FIELDS: Final = frozenset({"base64", "data", "frame", "indent", "raw", "size", "text"})

#: Deeper JSON than this stays text: parsers of other languages give up early, ours would run out of stack.
_DEEPEST: Final = 200
_INDENTED: Final = re.compile(rb"[\[{]\r?\n( {1,8})\S")
#: A single `data:` line, with what stands round it in its frame.
_FRAME: Final = re.compile(rb"((?s:.*?)(?:(?<=\n)|(?<=\r)|(?<![\s\S]))data: ?)([^\r\n]*)([\r\n](?s:.*))")
_DATA_LINE: Final = re.compile(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?data(?=[:\r\n])")


def quoted(text: str) -> bytes:
    """A JSON string of printable text as it is; what would end a line or hide something is escaped."""
    if text.isascii():
        return json.dumps(text).encode("ascii")
    shown = json.dumps(text, ensure_ascii=False)
    if not shown.isprintable():
        shown = "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in shown)
    return shown.encode("utf-8", "surrogatepass")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def is_json(data: bytes) -> bool:
    """Whether the bytes are JSON on one line (RFC 8259), in UTF-8."""
    if not data or b"\n" in data or b"\r" in data:
        return False
    try:
        text = data.decode("utf-8")
        if text.isspace() or (data.count(b"[") + data.count(b"{") > _DEEPEST and _depth(data) > _DEEPEST):
            return False
        json.loads(text, parse_constant=_refuse, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _depth(data: bytes) -> int:
    deepest = now = 0
    for byte in _STRINGS.sub(b"", data):
        if byte in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif byte in b"]}":
            now -= 1
    return deepest


def members(data: bytes) -> list[bytes]:
    """The members that tell these bytes: `text`, `base64`, or `data` after its `indent` and `frame`."""
    if is_json(data):
        return [b'"data":' + data]
    return _indented(data) or [_plain(b"text", data)]


def _plain(name: bytes, data: bytes) -> bytes:
    try:
        return b'"' + name + b'":' + quoted(data.decode("utf-8"))
    except UnicodeDecodeError:
        return b'"base64":"' + base64.b64encode(data) + b'"'


def raw_members(raw: bytes) -> list[bytes]:
    """The members that tell a frame which is not canonical: its JSON with what stands round it, or all of it."""
    if len(_DATA_LINE.findall(raw)) == 1 and (found := _FRAME.fullmatch(raw)):
        before, data, after = found.groups()
        if is_json(data):
            try:
                around = [before.decode("utf-8"), after.decode("utf-8")]
            except UnicodeDecodeError:
                around = []
            if around:
                return [b'"frame":[%b,%b]' % (quoted(around[0]), quoted(around[1])), b'"data":' + data]
    told = _plain(b"raw", raw)
    return [b'"raw":true', told] if told.startswith(b'"base64"') else [told]


def _indented(data: bytes) -> list[bytes] | None:
    """Pretty-printed JSON that `json.dumps` would print the same way; None for anything else."""
    found = _INDENTED.match(data)
    if found is None or _depth(data) > _DEEPEST:
        return None
    try:
        text = data.decode("utf-8")
        body = text.rstrip("\n")
        value = json.loads(body, parse_constant=_refuse)
        indent = len(found[1])
        if json.dumps(value, indent=indent, ensure_ascii=False) != body:
            return None
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    if json.loads(compact) != value:
        return None
    after = text[len(body) :]
    told = [b'"indent":%d' % indent]
    if after:
        told.append(b'"frame":["",%b]' % quoted(after))
    return [*told, b'"data":' + compact]


def restored(told: Mapping[str, Any], verbatim: bytes | None) -> bytes | None:
    """The bytes that these members of a line tell; None where they tell none.

    `verbatim` is the source text of `data`. Raises ValueError, which says what is wrong with them.
    """
    names = ("data", "text", "base64", *(() if told.get("raw") is True else ("raw",)))
    named = [name for name in names if name in told]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} exclude each other: leave one")
    if not named:
        return None
    name, value = named[0], told[named[0]]
    if name == "data":
        return _from_json(told, verbatim, value)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string")  # noqa: TRY004 (of the line, not of a call)
    if name == "base64":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("base64 is damaged") from None
    return _encoded(value)


def _from_json(told: Mapping[str, Any], verbatim: bytes | None, value: Any) -> bytes:
    if verbatim is None:
        raise ValueError("data must be the last member of its line, written by recorder: reformatting loses bytes")
    data = verbatim
    if "indent" in told:
        indent = told["indent"]
        if not isinstance(indent, int) or isinstance(indent, bool) or not 1 <= indent <= 8:
            raise ValueError("indent must be a number from 1 to 8")
        data = _encoded(json.dumps(value, indent=indent, ensure_ascii=False))
    if "frame" in told:
        around = told["frame"]
        if not (isinstance(around, list) and len(around) == 2 and all(isinstance(each, str) for each in around)):
            raise ValueError("frame must be what stands before and after the data: two strings")
        data = _encoded(around[0]) + data + _encoded(around[1])
    return data


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a string holds half a character (a lone surrogate): use base64") from None
