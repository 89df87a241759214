"""Request and response heads: bytes to values and back. Strict towards clients, tolerant towards upstreams.

A request is refused unless it is exactly what RFC 9112 allows a client to send, because two parties that read one
request differently are how requests are smuggled. A response is read as HTTP clients read it (bare LF, folded lines, no
reason); what they would refuse is `Malformed`, and whoever forwards it hands the bytes on as they are.

Sans-IO. Names and values are latin-1 text: every byte is one character, so spelling and order survive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from recorder.recording import Head, HeaderList

from .targets import check_target

__all__ = [
    "Malformed",
    "Refused",
    "RequestHead",
    "header",
    "parse_fields",
    "parse_request",
    "parse_response",
    "phrase",
    "tokens",
    "values",
    "write_fields",
]


class Refused(Exception):
    """A request that is not served: the status to answer with, and a reason that holds nothing of the request."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Malformed(Exception):
    """An upstream's bytes that are not HTTP as clients read it. The words are those of h11, which quotes the bytes."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request line and its headers. `version` is "1.0" or "1.1"; `target` is in origin form, as sent."""

    method: str
    target: str
    version: str
    headers: HeaderList
    #: Lower-case name -> the values of the headers of that name.
    _named: dict[str, list[str]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        named = self._named
        for name, value in self.headers:
            named.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The first header of that (lower-case) name; None where there is none."""
        found = self._named.get(name)
        return found[0] if found else None

    def values(self, name: str) -> list[str]:
        """All values of the headers of that (lower-case) name, one for each line."""
        return self._named.get(name, [])

    def tokens(self, name: str) -> list[str]:
        """The members of a comma-separated header, from all its lines, in lower case."""
        return _members(self.values(name))


_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE: Final = re.compile(rf"({_TOKEN.decode()}{{1,32}}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(_TOKEN + rb"{1,256}")
_NAME_TEXT: Final = re.compile(_NAME.pattern.decode())
#: What no value of a request's header may hold: controls but the tab (RFC 9110 section 5.5).
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01])[ \t]+([1-9][0-9]{2})(?:[ \t]([^\x00\r\n]*))?")
_LINE_END: Final = re.compile(rb"\r?\n")
#: What h11 refuses in the values of a response: NUL, and whitespace that is neither a space nor a tab.
_UNREADABLE: Final = re.compile(rb"[\x00\x0b\x0c\r]")


def header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first header of that (lower-case) name; None where there is none."""
    return next((value for known, value in headers if known.lower() == name), None)


def values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """All values of the headers of that (lower-case) name, one for each line."""
    return [value for known, value in headers if known.lower() == name]


def tokens(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The members of a comma-separated header, from all its lines, in lower case."""
    return _members(values(headers, name))


def _members(lines: Iterable[str]) -> list[str]:
    return [part for line in lines for item in line.split(",") if (part := item.strip().lower())]


def phrase(status: int) -> str:
    """The reason that RFC 9110 gives for a status; empty where it names none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def write_fields(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines as they go on the wire."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")


# -- requests ------------------------------------------------------------------------------------------------------


def parse_request(block: bytes, *, most_fields: int = 100, longest_target: int = 16 << 10) -> RequestHead:
    """The head of a request; `block` ends before its blank line. Raises Refused."""
    text = block.decode("latin-1")
    first, *lines = text.split("\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        raise Refused(400, "the request line is not one of HTTP/1.1")
    method, target, version = found[1], found[2], f"{found[3]}.{found[4]}"
    if version not in ("1.0", "1.1"):
        raise Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method in ("CONNECT", "TRACE"):
        raise Refused(405 if method == "TRACE" else 400, f"{method} is not served")
    if len(target) > longest_target:
        raise Refused(414, "the request target is too long")
    if len(lines) > most_fields:
        raise Refused(431, "there are too many header fields")
    fault = check_target(target)
    if fault is not None:
        raise Refused(400, fault)
    return RequestHead(method, target, version, _fields(lines))


def parse_fields(lines: Iterable[bytes]) -> HeaderList:
    """Header (or trailer) lines of a request, read strictly. Raises Refused."""
    return _fields([line.decode("latin-1") for line in lines])


#: Names that were found good: clients send the same ones all the time.
_GOOD: Final[set[str]] = set()
_MOST_GOOD: Final = 1000


def _fields(lines: list[str]) -> HeaderList:
    if _CONTROL.search("".join(lines)):
        raise Refused(400, "a header line holds control characters")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if name not in _GOOD:
            if _NAME_TEXT.fullmatch(name) is None:
                raise Refused(400, "a header line is malformed")
            if len(_GOOD) < _MOST_GOOD:
                _GOOD.add(name)
        if not colon:
            raise Refused(400, "a header line is malformed")
        headers.append((name, value.strip(" \t")))
    return tuple(headers)


# -- responses -----------------------------------------------------------------------------------------------------


def parse_response(block: bytes) -> Head:
    """The head of a response; `block` ends before its blank line. Raises Malformed."""
    first, *lines = _LINE_END.split(block)
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise Malformed(f"illegal status line: {bytearray(first)!r}")
    headers = parse_lenient(lines)
    reason = (found[3] or b"").decode("latin-1")
    return Head(int(found[2]), reason, f"HTTP/1.{int(found[1])}", headers)


def parse_lenient(lines: Iterable[bytes]) -> HeaderList:
    """Header (or trailer) lines of a response: a folded line goes on with one space. Raises Malformed."""
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not headers:
                raise Malformed("continuation line at start of headers")
            name, value = headers.pop()
            headers.append((name, (value + b" " + line.strip(b" \t")).strip(b" \t")))
            continue
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            raise Malformed(f"illegal header line: {bytearray(line)!r}")
        headers.append((name, value.strip(b" \t")))
    for name, value in headers:
        if _UNREADABLE.search(value):
            raise Malformed(f"illegal header line: {bytearray(name + b': ' + value)!r}")
    return tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in headers)
