"""The key of a request: a hash of the tree of all that counts in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from operator import itemgetter
from typing import Final
from urllib.parse import unquote_to_bytes

from ..recording import Request
from ..redact import credential_query
from .normal import normalised
from .rules import DEFAULT, KEY_VERSION, Rule, prune
from .tree import BOUNDARY, Array, Members, Node, flat, read_body, text_of

__all__ = ["key", "tree"]

_URL: Final = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?([^?#]*)(?:\?([^#]*))?")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^!-~]")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")


def tree(request: Request, rule: Rule) -> Members:
    """What of a request counts."""
    url = _URL.match(request.url)
    assert url is not None  # it matches every text
    path, query = url.groups()
    root = Members(
        [
            (text_of("method"), text_of(request.method.upper())),
            (text_of("path"), text_of(_ESCAPE.sub(_escape, path) or "/")),
            (text_of("query"), _query(query or "")),
            (text_of("headers"), _headers(request, rule.headers)),
            (text_of("body"), _body(request)),
        ]
    )
    prune(root, rule.ignore)
    return normalised(root, rule.normalise) if rule.normalise else root


def _escape(found: re.Match[str]) -> str:
    """One character of a path, percent-encoded if it needs it, in upper case: RFC 3986 sections 6.2.2.1 and 6.2.2.2."""
    if found[0].startswith("%"):
        plain = chr(int(found[0][1:], 16))
        return plain if _UNRESERVED.fullmatch(plain) else found[0].upper()
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _query(query: str) -> Members:
    """The pairs that count, decoded as forms are, sorted by name; those of one name stay in order."""
    pairs = Members()
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not credential_query(name):
            pairs.append((text_of(_decode(name)), text_of(_decode(value)) if equals else b"null"))
    pairs.sort(key=itemgetter(0))
    return pairs


def _decode(text: str) -> str:
    raw = unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "surrogateescape")


def _headers(request: Request, names: Iterable[str]) -> Members:
    """The named headers that are there, each with its values in order."""
    found = Members()
    for wanted in names:
        values = Array(
            text_of(_header_value(wanted, value)) for name, value in request.headers if name.lower() == wanted
        )
        if values:
            found.append((text_of(wanted), values))
    return found


def _header_value(name: str, value: str) -> str:
    # A boundary is made anew for each request.
    return BOUNDARY.sub("", value).strip() if name == "content-type" else value.strip()


def _body(request: Request) -> Node:
    if request.body is None:
        digest = request.body_sha256.hex() if request.body_sha256 else "unknown"
        return f"not kept ({request.body_size:,} bytes, SHA-256 {digest})".encode("ascii")
    content_type = next((value for name, value in request.headers if name.lower() == "content-type"), None)
    return read_body(request.body, content_type)[1]


def key(request: Request, rule: Rule = DEFAULT) -> bytes:
    """The 32 bytes (SHA-256) by which a request is found again. To be computed before anything is redacted.

    The rule itself is not part of it: a rule that changes nothing about a request leaves its key as it was.
    Raises nothing, whatever the request holds.
    """
    return hashlib.sha256(b"recorder key %d\n" % KEY_VERSION + flat(tree(request, rule))).digest()
