"""Texts that count by their places alone: ids and dates that are made anew for each request.

A normaliser finds such texts anywhere in a request: in the path, in queries, in headers that count, in the texts of a
JSON body or of a part of a multipart one, in a body of plain text. The first text found is taken as if it were the
first of its kind, the same text everywhere the same, and another one another: so a request matches if its ids differ,
but not if they are mixed up.

    ids       what providers make: a prefix and 16 or more letters and digits, a digit among them (`run_…`, `msg_…`,
              `toolu_…`, `chatcmpl-…`, `file-…`); UUIDs, ULIDs. Names of models and tools are shorter.
    dates     2026-03-01, 2026-03-01T12:00:00.123Z and the like; `Sun, 01 Mar 2026 12:00:00 GMT`; `March 1, 2026`
    /regex/   what this regular expression of Python's `re` finds

What a normaliser takes out is no longer looked at; say as little as you need. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from ..errors import UsageError
from .tree import Array, Blob, Members, Node, Secret, text_of

__all__ = ["normalised", "pattern_of"]

_MONTH: Final = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    "|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY: Final = "(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? )?"
_CLOCK: Final = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
_ZONE: Final = r"(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?"

_KNOWN: Final = {
    "ids": (
        r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
        r"|(?<![A-Za-z0-9])(?:[a-z]{2,12}_){1,2}(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,128}(?![A-Za-z0-9])"
        r"|(?<![A-Za-z0-9])(?:chatcmpl|cmpl|file|batch|req)-(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,128}(?![A-Za-z0-9])"
        r"|\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"
    ),
    "dates": (
        rf"\b[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_CLOCK}{_ZONE})?(?![0-9])"
        rf"|\b{_DAY}(?:[0-3]?[0-9] {_MONTH}|{_MONTH} [0-3]?[0-9](?:st|nd|rd|th)?),? [0-9]{{4}}(?: {_CLOCK}{_ZONE})?"
        r"(?![0-9])"
    ),
}


@lru_cache(maxsize=256)
def pattern_of(name: str) -> re.Pattern[str]:
    """What a normaliser looks for. Raises UsageError for a name that is none."""
    if len(name) > 2 and name.startswith("/") and name.endswith("/"):
        try:
            return re.compile(name[1:-1])
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageError(f"normaliser {name!r} is no regular expression: {error}") from None
    if name not in _KNOWN:
        raise UsageError(f"normaliser {name!r} is none: write {', '.join(_KNOWN)}, or a /regular expression/")
    return re.compile(_KNOWN[name])


def normalised(root: Members, names: Iterable[str]) -> Members:
    """The tree with what these normalisers find in it replaced by its number, in place."""
    numbers = _Numbers(names)
    rest: list[Array | Members] = [root]
    while rest:
        node = rest.pop()
        inner: list[Array | Members] = []
        for place, member in enumerate(node):
            value = member[1] if isinstance(member, tuple) else member
            if isinstance(value, list):
                inner.append(value)
                continue
            changed = numbers.leaf(value)
            if isinstance(node, Members):
                node[place] = (node[place][0], changed)
            else:
                node[place] = changed
        rest += reversed(inner)
    return root


class _Numbers:
    """Replaces what normalisers find by `<name N>`, N counting the texts that differ."""

    def __init__(self, names: Iterable[str]) -> None:
        self._patterns = [(name if name in _KNOWN else "text", pattern_of(name)) for name in names]
        self._known: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def leaf(self, leaf: Node) -> Node:
        """A leaf with what is found in it replaced."""
        if isinstance(leaf, (Secret, list)):
            return leaf
        if isinstance(leaf, Blob):
            try:
                text = leaf.decode("utf-8")
            except UnicodeDecodeError:
                return leaf
            changed = self._text(text)
            return leaf if changed == text else Blob(changed.encode("utf-8", "surrogatepass"))
        if not leaf.startswith(b'"'):
            return leaf
        text = json.loads(leaf)
        changed = self._text(text)
        return leaf if changed == text else text_of(changed)

    def _text(self, text: str) -> str:
        for kind, pattern in self._patterns:

            def numbered(found: re.Match[str], kind: str = kind) -> str:
                if not found[0]:
                    return ""
                name = (kind, found[0])
                if name not in self._known:
                    self._counts[kind] = self._counts.get(kind, 0) + 1
                    self._known[name] = self._counts[kind]
                return f"<{kind} {self._known[name]}>"

            text = pattern.sub(numbered, text)
        return text
