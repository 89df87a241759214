"""What of a request counts: the rule, its ignore paths, and how they take parts out of a tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from ..errors import UsageError
from ..redact import credential_header
from .normal import pattern_of
from .tree import Array, Members, Node, text_of

__all__ = ["DEFAULT", "KEY_VERSION", "SIMPLE", "Rule", "prune"]

#: Part of every key: another way to compute keys gets another number, so that old keys are never mistaken for new.
KEY_VERSION: Final = 1

SIMPLE: Final = r"""[^\s.\[\]"*]+"""
_STEP: Final = re.compile(
    rf"""\.(?P<name>{SIMPLE})|\[(?:(?P<index>[0-9]{{1,9}})|(?P<all>\*)|(?P<quoted>"(?:[^"\\]|\\.)*"))\]"""
)
#: What headers that are meant for us begin with.
_OURS: Final = "x-recorder-"
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# The name of a member as canonical text, the index of an item, or None for all of them.
_Step: TypeAlias = bytes | int | None


@lru_cache(maxsize=1024)
def _parse_path(path: str) -> tuple[_Step, ...]:
    """The steps from a request to what an ignore path names. Raises UsageError where the path has another form."""
    root = path[: 5 if path.startswith("query") else 4]
    if root not in {"body", "query"}:
        raise _wrong_path(path, 0)
    steps: list[_Step] = [text_of(root)]
    position = len(root)
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise _wrong_path(path, position)
        try:
            steps.append(_parse_step(step))
        except ValueError:
            raise _wrong_path(path, position) from None
        position = step.end()
    return tuple(steps)


def _parse_step(step: re.Match[str]) -> _Step:
    if step["index"]:
        return int(step["index"])
    if step["all"]:
        return None
    return text_of(step["name"] or json.loads(step["quoted"]))


def _wrong_path(path: str, position: int) -> UsageError:
    return UsageError(
        f'ignore path {path!r} is wrong at character {position + 1}: write body or query, then .name, ["any name"],'
        " [0] or [*], as in body.messages[*].id"
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a request does not count (`ignore`, paths), which headers do (`headers`, names in any case), and which
    texts count only by their places (`normalise`: `ids`, `dates`, or `/regex/`; `recorder.match.normal` says how).

    The order in which they are given does not matter. Raises UsageError for a path that is none, for a name that no
    header can have, for a header that carries credentials or is meant for us (`X-Recorder-...`): those never enter a
    key; and for a normaliser that is none.
    """

    ignore: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    normalise: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in self.ignore:
            _parse_path(path)
        for name in self.headers:
            if not _HEADER.fullmatch(name):
                raise UsageError(f"match header {name!r} is no header name: write it without colon and value")
            if credential_header(name):
                raise UsageError(f"match header {name!r} carries credentials, which never enter a key: leave it out")
            if name.lower().startswith(_OURS):
                raise UsageError(f"match header {name!r} is recorder's own, and no part of a request: leave it out")
        for name in self.normalise:
            pattern_of(name)
        object.__setattr__(self, "ignore", tuple(sorted(set(self.ignore))))
        object.__setattr__(self, "headers", tuple(sorted({name.lower() for name in self.headers})))
        object.__setattr__(self, "normalise", tuple(sorted(set(self.normalise))))

    def to_text(self) -> str:
        """The rule as it is stored with the keys made by it."""
        value: dict[str, object] = {"key": KEY_VERSION, "ignore": self.ignore, "headers": self.headers}
        if self.normalise:  # without it the text is what it was before there were any
            value["normalise"] = self.normalise
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Rule:
        """The rule that `to_text` wrote. Raises UsageError where it was made by other code than this."""
        try:
            value = json.loads(text)
            version, ignore, headers = value["key"], tuple(value["ignore"]), tuple(value["headers"])
            normalise = tuple(value.get("normalise", ()))
            if not all(isinstance(each, str) for each in (*ignore, *headers, *normalise)):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise UsageError("a stored match rule is damaged; restore the store from a copy") from None
        if version != KEY_VERSION:
            raise UsageError(f"a stored match rule is of version {version}, this is {KEY_VERSION}: upgrade recorder")
        return cls(ignore, headers, normalise)


DEFAULT: Final = Rule()


def prune(root: Node, paths: Iterable[str]) -> None:
    """Takes what the paths name out of the tree. All are found before any is taken: indexes count what was sent."""
    doomed: dict[int, tuple[Array | Members, set[int]]] = {}
    for path in paths:
        *steps, last = _parse_path(path)
        nodes = [root]
        for step in steps:
            nodes = [_child(node, place) for node in nodes for place in _places(node, step)]
        for node in nodes:
            if isinstance(node, list):
                doomed.setdefault(id(node), (node, set()))[1].update(_places(node, last))
    for node, places in doomed.values():
        for place in sorted(places, reverse=True):
            del node[place]


def _places(node: Node, step: _Step) -> Iterable[int]:
    """Where in a node a step leads to."""
    if step is None:
        return range(len(node)) if isinstance(node, list) else ()
    if isinstance(node, Members):
        return [place for place, (name, _) in enumerate(node) if name == step]
    return [step] if isinstance(node, Array) and isinstance(step, int) and step < len(node) else ()


def _child(node: Node, place: int) -> Node:
    if isinstance(node, Members):
        return node[place][1]
    assert isinstance(node, Array)
    return node[place]
