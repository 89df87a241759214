"""Request bodies as trees that can be compared: JSON by its value, multipart by its parts, the rest by its bytes.

A leaf is text that delimits itself: JSON source, or a blob. Nothing here recurses, because bodies nest as deep as
their sender likes.
A body is never refused: what is not exactly what its content type says is one leaf, its bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from json.decoder import scanstring  # type: ignore[attr-defined]
from operator import itemgetter
from typing import Final, TypeAlias

from ..redact import REDACTED, credential_field

__all__ = [
    "BOUNDARY",
    "Array",
    "Blob",
    "Members",
    "Node",
    "Secret",
    "canonical",
    "flat",
    "is_secret",
    "leaves",
    "read_body",
    "text_of",
]


class Array(list["Node"]):
    """Items in order."""


class Members(list[tuple[bytes, "Node"]]):
    """Members of an object, sorted by name (its canonical JSON text); those of one name stay in order."""


class Blob(bytes):
    """Bytes that are compared exactly."""


class Secret(Blob):
    """Bytes that are compared exactly and never shown."""


Node: TypeAlias = bytes | Array | Members


def text_of(value: str) -> bytes:
    """The canonical JSON text of a string: ASCII, lone surrogates as escapes."""
    return json.dumps(value).encode("ascii")


def flat(root: Node) -> bytes:
    """The tree as bytes: two trees give the same bytes only if they are equal."""
    return b"".join(b"%d:%b" % (len(leaf), leaf) if isinstance(leaf, Blob) else leaf for leaf in leaves(root))


def leaves(root: Node, *, hide: bool = False) -> Iterator[bytes]:
    """Leaves, brackets, commas and names in order; with `hide`, what a field's name calls a credential is replaced."""
    rest = [root]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += reversed(_unfold(node, hide))
        else:
            yield node


def _unfold(node: Array | Members, hide: bool) -> list[Node]:
    pieces: list[Node] = []
    if isinstance(node, Array):
        for item in node:
            pieces += [b",", item]
        return [b"[", *pieces[1:], b"]"]
    for name, value in node:
        pieces += [b",", name, b":", text_of(REDACTED) if hide and is_secret(name) else value]
    return [b"{", *pieces[1:], b"}"]


@lru_cache(maxsize=1024)
def is_secret(name: bytes) -> bool:
    """Whether a member of that name (canonical text) carries a credential."""
    return credential_field(json.loads(name))


_TOKEN: Final = re.compile(
    r"[ \t\n\r]*+("
    r'["\[\]{},:]'
    r"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
    r"|true|false|null|NaN|-?Infinity"
    r"|\Z)"
)

# What may come next in a JSON text (RFC 8259), by the first character of a token; s for a scalar, $ for the end.
_VALUE, _FIRST_ITEM, _NEXT_ITEM = '"s[{', '"s[{]', ",]"
_NAME, _FIRST_NAME, _COLON, _NEXT_NAME = '"', '"}', ":", ",}"
_AFTER: Final = {",]": _VALUE, ",}": _NAME, ":": _VALUE}
_END: Final = "$"
_KINDS: Final = frozenset('"[]{},:')


def _json(source: str) -> Node:
    """The tree of a JSON text. Raises ValueError where it is none; NaN and Infinity pass, as in Python's own."""
    opened: list[Array | Members] = []
    names: list[bytes] = []
    node: Node = b""
    expected = _VALUE
    position = 0
    while True:
        token = _TOKEN.match(source, position)
        if token is None:
            raise ValueError("no JSON token")
        position = token.end()
        text = token[1]
        kind = text[0] if text[:1] in _KINDS else "s" if text else _END
        if kind not in expected:
            raise ValueError("not the JSON token that must come here")
        if kind == _END:
            return node
        if kind in ",:":
            expected = _AFTER[expected]
            continue
        if kind in "[{":
            opened.append(Array() if kind == "[" else Members())
            expected = _FIRST_ITEM if kind == "[" else _FIRST_NAME
            continue
        if kind == '"':
            string, position = _string(source, position)
            if expected in {_NAME, _FIRST_NAME}:
                names.append(string)
                expected = _COLON
                continue
        node = opened.pop() if kind in "]}" else string if kind == '"' else text.encode("ascii")
        expected = _close(node, opened, names)


def _close(node: Node, opened: list[Array | Members], names: list[bytes]) -> str:
    """Puts a complete node into the container around it; what may come after it."""
    if isinstance(node, Members):
        node.sort(key=itemgetter(0))
    if not opened:
        return _END
    around = opened[-1]
    if isinstance(around, Members):
        around.append((names.pop(), node))
        return _NEXT_NAME
    around.append(node)
    return _NEXT_ITEM


def _string(source: str, start: int) -> tuple[bytes, int]:
    """The canonical text of the JSON string whose inside begins at `start`, and where the text goes on behind it.

    Raises ValueError where it has no end, or a wrong escape or a control character in it.
    """
    value, end = scanstring(source, start)
    if end - start == len(value) + 1 and value.isascii() and value.isprintable():
        return source[start - 1 : end].encode("ascii"), end
    return text_of(value), end


BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_PART_NAME: Final = re.compile(r';\s*name="?([^";]*)', re.IGNORECASE)


def _multipart(body: bytes, boundary: bytes) -> Node:
    """The parts of a body (RFC 2046 section 5.1.1). Raises ValueError at whatever else stands in it.

    A part is an object of its headers and its `content`, which comes last.
    """
    first, *parts, last = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if first or not parts or last not in {b"--", b"--\r\n"}:
        raise ValueError("not multipart")
    return Array(map(_part, parts))


def _part(part: bytes) -> Members:
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or not (head + separator).startswith(b"\r\n"):
        raise ValueError("not a part")
    headers = []
    disposition = ""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise ValueError("not a part's header")
        headers.append((text_of(name.lower()), text_of(value.strip())))
        if name.lower() == "content-disposition":
            disposition = value
    named = _PART_NAME.search(disposition)
    secret = named is not None and credential_field(named[1])
    kept = (Secret if secret else Blob)(content)
    return Members([*sorted(headers, key=itemgetter(0)), (text_of("content"), kept)])


def read_body(body: bytes, content_type: str | None) -> tuple[str, Node]:
    """What form a body has (json, multipart, bytes) and its tree. Without a content type JSON is tried."""
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    try:
        if media_type in {"application/json", "text/json"} or media_type.endswith("+json"):
            return "json", _json(body.decode("utf-8"))
        boundary = BOUNDARY.search(content_type or "")
        if media_type.startswith("multipart/") and boundary:
            return "multipart", _multipart(body, (boundary[1] or boundary[2]).encode("latin-1"))
    except ValueError:
        pass  # it is not what it says
    return "bytes", Blob(body)


def canonical(body: bytes, content_type: str | None) -> bytes:
    """The bytes by which a body is compared: two bodies share them only if they mean the same, as the module says.

    They open with the form that was recognised: `json:`, `multipart:` or `bytes:`.
    """
    form, node = read_body(body, content_type)
    return form.encode("ascii") + b":" + flat(node)
