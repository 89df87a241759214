"""Which request targets are served: a path and a query, and nothing that one reader takes for another path or host.

A target is checked before anything is looked up by it. What is refused: absolute and authority form, `..` and `.` in
any encoding, encoded slashes, backslashes and controls, empty segments, and what reads as user information.
Sans-IO, and without any knowledge of what is served.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["check_target", "first_segment", "remounted"]

#: What a browser leaves unencoded in a path or a query. `#` never reaches a server.
_CHARACTERS: Final = re.compile(r"""/[!$%&'()*+,\-./0-9:;=?@A-Z\[\]^_`a-z{|}~]*""")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Encoded: a slash, a backslash, a dot, a percent sign (encoded twice), a control, DEL.
_TRAVERSAL: Final = re.compile(r"%(?:2[FfEe5]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")
_DOTS: Final = re.compile(r"/\.{1,2}(?:[/;]|\Z)")
_USER: Final = re.compile(r"/[^/]*@")


def check_target(target: str) -> str | None:
    """What is wrong with a request target; None where nothing is."""
    path, _, query = target.partition("?")
    if _CHARACTERS.fullmatch(target) is None:
        return "the request target is not a path, or holds characters that must be encoded"
    if _BAD_ESCAPE.search(path) or _BAD_ESCAPE.search(query):
        return "the request target holds a broken percent escape"
    if _TRAVERSAL.search(path):
        return "the path holds an encoded dot, slash, percent sign or control character"
    if "//" in path:
        return "the path holds an empty segment"
    if _DOTS.search(path):
        return "the path holds a dot segment"
    if _USER.match(path):
        return "the path begins like user information"
    return None


def first_segment(target: str) -> str:
    """The name that a target's path begins with: `openai` of `/openai/v1/x`."""
    return target.partition("?")[0][1:].partition("/")[0]


def remounted(target: str, prefix: str) -> str:
    """The target with `prefix` in place of its path's first segment: `/openai/v1/x` below `/llm` is `/llm/v1/x`."""
    path, mark, query = target.partition("?")
    _, slash, rest = path[1:].partition("/")
    path = f"{prefix}{slash}{rest}" or "/"
    return f"{path}{mark}{query}"
