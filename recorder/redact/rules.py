"""The rules by which bodies are redacted: the shapes of credentials always, and what a user adds to them.

A user's rule is a text:

- `/regex/` or `/regex/i`, with a name before it or not (`employee: /E[0-9]{6}/`). It is held against each string value
  of a JSON text, spelled out, and against any other text as a whole. Where it has a group named `secret`, that group
  alone is masked. Member names and numbers are never touched: token counts and caps stay what they are.
- a path: `body` (the request), `response` (each event's data, or an answer's body), `query` or `headers`, and then
  `.name`, `["any name"]`, `[0]`, `[*]` (each item or member) or `.**` (at any depth), as in `body.metadata.email`. All
  values there are masked. A number becomes `null`, or 0 where that has no room.

or a hook: a function that is given a payload as text and "request" or "response", and gives the texts in it that are
not to be stored. They are masked in string values. A hook that fails, or gives anything else, withholds the payload.

Counts are kept by rule. Nothing here keeps, logs or raises what was found.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from ..errors import UsageError
from ..recording import HeaderList, Recording, Request
from .leaves import Leaf, Step, Unescaped, leaves, names, parse_steps
from .matcher import Matcher
from .screen import may_hold
from .shapes import REDACTED, Found, cover, find_shapes
from .urls import clean_text

__all__ = ["DEFAULT", "Hook", "Place", "Redactor", "apply", "split", "withheld"]

logger = logging.getLogger("recorder")

Place: TypeAlias = Literal["request", "response"]
#: Given a payload as text and its place; gives the texts in it that are not to be stored.
Hook: TypeAlias = Callable[[str, Place], Iterable[str]]

_REGEX: Final = re.compile(r"(?:([^/]{1,64}):)?\s*/(.+)/(i?)", re.DOTALL)
_ROOTS: Final[Mapping[str, str]] = {"body": "request", "response": "response", "query": "query", "headers": "headers"}
_ROOT: Final = re.compile(r"(body|response|query|headers)(?=[.\[])")

#: After so many matches in one text a pattern is trusted to end.
_DOUBTED: Final = 64


class _Pattern:
    """A user's regex. It is searched only where the linear engine says that it matches at all."""

    __slots__ = ("_matches", "_pattern", "rule")

    def __init__(self, rule: str, source: str, *, ignore_case: bool) -> None:
        self.rule = rule
        try:
            self._pattern = re.compile(source, re.IGNORECASE if ignore_case else 0)
            self._matches = Matcher(f"(?i){source}" if ignore_case else source)
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"redact rule {rule!r} is no regular expression that can be searched in linear time ({error}); write it"
                " without look-around and back references"
            ) from None
        if self._pattern.match(""):
            raise UsageError(f"redact rule {rule!r} matches nothing at all: let it match one character at least")

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """What it masks of a text. What has no (further) match is never searched: a pattern could backtrack in it."""
        at = count = 0
        while at < len(text) and (count > _DOUBTED or self._matches(text[at:] if at else text)):
            found = self._pattern.search(text, at)
            if found is None:
                return
            start, end = found.span("secret") if "secret" in self._pattern.groupindex else found.span()
            if start < end:  # not where the group has no part in the match, nor between two characters (`\b`)
                yield start, end
            at = max(found.end(), found.start() + 1)
            count += 1


class Redactor:
    """What may be stored of requests and answers. Immutable; any number of recordings share one.

    Raises UsageError for a rule that is none.
    """

    def __init__(self, rules: Sequence[str] = (), hooks: Sequence[Hook] = ()) -> None:
        self.rules = tuple(rules)
        self.hooks = tuple(hooks)
        self._patterns: list[_Pattern] = []
        self._paths: dict[str, list[tuple[str, tuple[Step, ...]]]] = {root: [] for root in _ROOTS.values()}
        for number, rule in enumerate(self.rules, 1):
            self._add(rule, number)

    def _add(self, rule: str, number: int) -> None:
        if regex := _REGEX.fullmatch(rule.strip()):
            name, source, ignore_case = regex.groups()
            # The regex itself may be what nobody is to read.
            self._patterns.append(
                _Pattern(name.strip() if name else f"rule {number}", source, ignore_case=bool(ignore_case))
            )
        elif root := _ROOT.match(rule):
            self._paths[_ROOTS[root[1]]].append((rule, parse_steps(rule, root.end())))
        else:
            raise UsageError(
                f"redact rule {number} is none: write /regex/, name: /regex/, or a path that begins with body,"
                " response, query or headers, such as body.metadata.email"
            )

    @property
    def looks_at_text(self) -> bool:
        """Whether it holds patterns of a user's, which may match across pieces of text."""
        return bool(self._patterns)

    @property
    def own(self) -> bool:
        """Whether a user's rules look at answers, all of them."""
        return bool(self._patterns or self._paths["response"] or self.hooks)

    @property
    def wants_whole(self) -> bool:
        """Whether an answer's body has to be there as a whole before it can be redacted."""
        return bool(self._paths["response"] or self.hooks)

    # -- payloads ------------------------------------------------------------------------------------------------------

    def clean(self, data: bytes, place: Place, found: Counter[str]) -> bytes:
        """The payload as it may be stored, of the same length; `found` counts by rule. The same bytes where nothing is.

        What is withheld altogether counts as `withheld`.
        """
        if may_hold(data):
            data = apply(data, find_shapes(data), found)
        if self._patterns or self._paths[place] or self.hooks:
            data = self._clean_own(data, place, found)
        return data

    def find(self, data: bytes) -> dict[str, int]:
        """How often each rule finds something in a payload; nothing of what it is."""
        asked: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        self.clean(data, "request", asked)
        self.clean(data, "response", answered)
        return dict(asked | answered)

    def text_spans(self, text: Unescaped) -> Iterator[Found]:
        """What the user's patterns mask of a text; places are those of its bytes."""
        for pattern in self._patterns:
            for start, end in pattern.spans(text.text):
                yield Found(*text.place(start, end), pattern.rule)

    def _clean_own(self, data: bytes, place: Place, found: Counter[str]) -> bytes:
        begin = _json_start(data)
        values = [] if begin is None else list(leaves(data, begin))
        data = apply(data, list(self._by_pattern(data, values)), found)
        for rule, steps in self._paths[place]:
            named = [Found(leaf.start, leaf.end, rule) for leaf in values if leaf.is_text and names(steps, leaf.path)]
            numbers = [leaf for leaf in values if not leaf.is_text and names(steps, leaf.path)]
            data = _without_numbers(apply(data, named, found), numbers, rule, found)
        for hook in self.hooks:
            try:
                hidden = list(_hidden(hook(data.decode("utf-8", "surrogateescape"), place)))
            except Exception as error:  # noqa: BLE001 (a user's function must not break the recording)
                # Only the class: a message may quote the payload.
                logger.warning("recorder: a redact hook failed (%s); the payload is withheld", type(error).__name__)
                found["withheld"] += 1
                return withheld(len(data))
            data = apply(data, _occurrences(data, hidden, values), found)
        return data

    def _by_pattern(self, data: bytes, values: Sequence[Leaf]) -> Iterator[Found]:
        if not self._patterns:
            return
        texts = [(leaf.start, leaf.end, True) for leaf in values if leaf.is_text] or [(0, len(data), False)]
        for start, end, is_json in texts:
            for each in self.text_spans(Unescaped(data[start:end], is_json=is_json)):
                yield Found(start + each.start, start + each.end, each.rule)

    # -- what is no payload ----------------------------------------------------------------------------------------

    def text(self, text: str, found: Counter[str] | None = None) -> str:
        """A text that is no payload (a tag, a header's value, an error's message); a mask has one length there."""
        cleaned = clean_text(text)
        if found is not None and cleaned != text:
            found["text"] += 1
        return self._own_text(cleaned, found)

    def told(self, value: Any) -> Any:
        """What an `end` event tells, with every text in it as it may be stored."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.told(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.told(each) for each in value]
        return value

    def headers(self, headers: HeaderList) -> HeaderList:
        """Headers that may be kept by their names, without the values that a user's rules withhold."""
        paths = [steps for _, steps in self._paths["headers"]]
        if not paths and not self._patterns:
            return headers
        return tuple(
            (name, REDACTED if any(names(_lower(steps), (name.lower(),)) for steps in paths) else self._own_text(value))
            for name, value in headers
        )

    def _own_text(self, text: str, found: Counter[str] | None = None) -> str:
        """The text without what the user's patterns mask."""
        for pattern in self._patterns:
            for start, end in reversed(list(pattern.spans(text))):
                text = text[:start] + REDACTED + text[end:]
                if found is not None:
                    found[pattern.rule] += 1
        return text

    def request(self, request: Request, found: Counter[str] | None = None) -> Request:
        """The request as it may be stored. Its URL and headers have gone through the lists of what is never stored."""
        found = Counter() if found is None else found
        body = request.body and self.clean(request.body, "request", found)
        url = self._own_text(request.url)
        for rule, steps in self._paths["query"]:
            url, count = _query_value(steps).subn(rf"\1{REDACTED}", url)
            if count:
                found[rule] += count
        headers = self.headers(request.headers)
        if (url, headers) != (request.url, request.headers):
            found.setdefault("url or headers", 1)
        if (body, url, headers) == (request.body, request.url, request.headers):
            return request
        return dataclasses.replace(request, body=body, url=url, headers=headers)

    def recording(self, recording: Recording, found: Counter[str]) -> Recording:
        """The recording as it may be stored; itself where nothing is found. Its match key stays: it was made before."""
        request = self.request(recording.request, found) if recording.content == "full" else recording.request
        tags = {self.text(name): self.text(value, found) for name, value in recording.tags.items()}
        session = recording.session and self.text(recording.session, found)
        parameters = {
            name: self.text(value, found) if isinstance(value, str) else value
            for name, value in recording.parameters.items()
        }
        old = (recording.request, dict(recording.tags), recording.session, dict(recording.parameters))
        if (request, tags, session, parameters) == old:
            return recording
        return dataclasses.replace(recording, request=request, tags=tags, session=session, parameters=parameters)


def withheld(size: int) -> bytes:
    """What stands in place of a payload of so many bytes: JSON, where there is room for it."""
    around = len(b'{"redacted":""}')
    return b'{"redacted":"%b"}' % (b"*" * (size - around)) if size >= around else b"*" * size


def apply(data: bytes, finds: Iterable[Found], found: Counter[str]) -> bytes:
    """The data with these bytes masked. What a mask covers already does not count."""
    changed: bytearray | None = None
    for start, end, rule in finds:
        mask_ = cover(end - start)
        if start < end and data[start:end] != mask_:
            if changed is None:
                changed = bytearray(data)
            changed[start:end] = mask_
            found[rule] += 1
    return data if changed is None else bytes(changed)


def _json_start(data: bytes) -> int | None:
    """Where a payload's JSON begins, if it is any."""
    at = re.match(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*(?:(?:event|id|retry)?:[^\r\n]*[\r\n]+)*(?:data: ?)?", data)
    begin = at.end() if at else 0
    return begin if data[begin : begin + 1] in (b"{", b"[", b'"') else None


def _without_numbers(data: bytes, numbers: Sequence[Leaf], rule: str, found: Counter[str]) -> bytes:
    """The data with other values than texts made null, or 0 where null has no room."""
    for leaf in numbers:
        size = leaf.end - leaf.start
        instead = (b"null" if size >= 4 else b"0").ljust(size)
        if data[leaf.start : leaf.end] != instead:
            data = data[: leaf.start] + instead + data[leaf.end :]
            found[rule] += 1
    return data


def _hidden(given: Iterable[str]) -> Iterator[bytes]:
    """What a hook gave, in each form in which it may stand in a payload. Raises TypeError for what is no text."""
    if isinstance(given, str | bytes):
        raise TypeError("a hook gives several texts, not one")
    for text in given:
        if not isinstance(text, str):
            raise TypeError("a hook gives texts")
        forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]} if text else set()
        yield from sorted(form.encode("utf-8", "surrogateescape") for form in forms)


def _occurrences(data: bytes, hidden: Sequence[bytes], values: Sequence[Leaf]) -> Iterator[Found]:
    places = [(leaf.start, leaf.end) for leaf in values if leaf.is_text] or [(0, len(data))]
    for form in hidden:
        for start, end in places:
            at = data.find(form, start, end)
            while at >= 0:
                yield Found(at, at + len(form), "hook")
                at = data.find(form, at + len(form), end)


def _lower(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(step.lower() if isinstance(step, str) else step for step in steps)


def _query_value(steps: Sequence[Step]) -> re.Pattern[str]:
    name = re.escape(step) if isinstance(step := steps[0], str) else r"[^=&#]*"
    return re.compile(rf"([?&]{name}=)[^&#]+")


DEFAULT: Final = Redactor()


def split(option: Any) -> tuple[tuple[str, ...] | None, tuple[Hook, ...]]:
    """What `recorder.open(redact=…)` was given, a rule, a hook, or several of both, as (rules, hooks).

    Rules are None where none were given, so that those of the settings hold. Raises UsageError for anything else.
    """
    if option is None:
        return None, ()
    given = [option] if isinstance(option, str) or callable(option) else option
    if not isinstance(given, Iterable) or not all(isinstance(each, str) or callable(each) for each in given):
        raise UsageError("option 'redact' is wrong: give a rule, a function, or a list of both")
    rules = tuple(each for each in given if isinstance(each, str))
    return rules or None, tuple(cast("Hook", each) for each in given if not isinstance(each, str))
