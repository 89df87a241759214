"""The rules by which bodies are redacted: the shapes of credentials always, and what a user adds to them.

A user's rule is a text:

- `/regex/` or `/regex/i`, with a name before it or not (`employee: /E[0-9]{6}/`). It is held against each string value
  of a JSON text, spelled out, and against any other text as a whole. Where it has a group named `secret`, that group
  alone is masked. Member names and numbers are never touched: token counts and caps stay what they are.
- a path: `body` (the request), `response` (each event's data, or an answer's body), `query` or `headers`, and then
  `.name`, `["any name"]`, `[0]`, `[*]` (each item or member) or `.**` (at any depth), as in `body.metadata.email`. All
  values there are masked. A number becomes `null`, or 0 where that has no room.

or a hook: a function that is given a payload as text and "request" or "response", and gives the texts in it that are
not to be stored. They are masked in string values, however these are spelled; member names and numbers stay. The
payload is withheld where one of them is a piece of JSON (as the whole payload is), and where a hook fails, takes longer
than 5 s (the writer waits so long; after three times the hook is not asked again), or gives anything else.

Counts are kept by rule. Nothing here keeps, logs or raises what was found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from ..errors import UsageError
from ..recording import HeaderList, Recording, Request
from .hooks import Hook, HookError, Place, Timed
from .leaves import Leaf, Step, Unescaped, leaves, names, parse_steps
from .matcher import Matcher
from .screen import may_hold
from .shapes import REDACTED, Found, cover, find_shapes
from .urls import clean_text

__all__ = ["DEFAULT", "Hook", "Place", "Redactor", "apply", "split", "withheld"]

_REGEX: Final = re.compile(r"(?:([^/]{1,64}):)?\s*/(.+)/(i?)", re.DOTALL)
_ROOTS: Final[Mapping[str, str]] = {"body": "request", "response": "response", "query": "query", "headers": "headers"}
_ROOT: Final = re.compile(r"(body|response|query|headers)(?=[.\[])")

#: After so many matches in one text a pattern is trusted to end.
_DOUBTED: Final = 64
#: What ties a pattern to an end of the text.
_ANCHOR: Final = re.compile(r"(?<!\[)\^|\$|\\[AzZ]")


class _Pattern:
    """A user's regex. It is searched only where the linear engine says that it matches at all."""

    __slots__ = ("_is_free", "_matches", "_pattern", "rule")

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
        # Without anchors, what matches in a part of a text matches in the text (`\b` does so at a quotation mark, too).
        self._is_free = not _ANCHOR.search(source)
        if self._pattern.match(""):
            raise UsageError(f"redact rule {rule!r} matches nothing at all: let it match one character at least")

    def may_match_within(self, data: bytes) -> bool:
        """Whether it may match a part of these bytes, which spell nothing by escapes."""
        return not self._is_free or self._matches(data)

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
        self._hooks = tuple(map(Timed, hooks))
        self._patterns: list[_Pattern] = []
        self._paths: dict[str, list[tuple[str, tuple[Step, ...]]]] = {root: [] for root in _ROOTS.values()}
        for number, rule in enumerate(rules, 1):
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
        return bool(self._patterns or self._paths["response"] or self._hooks)

    @property
    def wants_whole(self) -> bool:
        """Whether an answer's body has to be there as a whole before it can be redacted."""
        return bool(self._paths["response"] or self._hooks)

    # -- payloads ------------------------------------------------------------------------------------------------------

    def clean(self, data: bytes, place: Place, found: Counter[str]) -> bytes:
        """The payload as it may be stored, of the same length; `found` counts by rule. The same bytes where nothing is.

        What is withheld altogether counts as `withheld`.
        """
        if may_hold(data):
            data = apply(data, find_shapes(data), found)
        if self._patterns or self._paths[place] or self._hooks:
            data = self._clean_own(data, place, found)
        return data

    def text_spans(self, text: Unescaped) -> Iterator[Found]:
        """What the user's patterns mask of a text; places are those of its bytes."""
        for pattern in self._patterns:
            for start, end in pattern.spans(text.text):
                yield Found(*text.place(start, end), pattern.rule)

    def _clean_own(self, data: bytes, place: Place, found: Counter[str]) -> bytes:
        if not self._paths[place] and not self._hooks and self._is_innocent(data):
            return data
        begin = _json_start(data)
        values = [] if begin is None else list(leaves(data, begin))
        texts = [(leaf.start, leaf.end) for leaf in values if leaf.is_text]
        is_text = not texts and not (begin is not None and _is_json(data[begin:]))
        places = [(0, len(data))] if is_text else texts
        data = apply(data, list(self._by_pattern(data, places, is_json=not is_text)), found)
        for rule, steps in self._paths[place]:
            named = [Found(leaf.start, leaf.end, rule) for leaf in values if leaf.is_text and names(steps, leaf.path)]
            numbers = [leaf for leaf in values if not leaf.is_text and names(steps, leaf.path)]
            data = _without_numbers(apply(data, named, found), numbers, rule, found)
        for hook in self._hooks:
            try:
                hidden = hook(data.decode("utf-8", "surrogateescape"), place)
                finds = _occurrences(data, hidden, places, is_json=not is_text)
            except HookError:
                finds = None
            if finds is None:
                found["withheld"] += 1
                return withheld(len(data))
            data = apply(data, finds, found)
        return data

    def _is_innocent(self, data: bytes) -> bool:
        """Whether it is plain that no pattern matches: so it is with nearly every payload, which is not parsed then."""
        plain = data.isascii() and b"\\" not in data
        return plain and not any(pattern.may_match_within(data) for pattern in self._patterns)

    def _by_pattern(self, data: bytes, places: Sequence[tuple[int, int]], *, is_json: bool) -> Iterator[Found]:
        for start, end in places if self._patterns else ():
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


def _is_json(data: bytes) -> bool:
    """Whether it is JSON, which has no text in it then: what is no JSON is searched as a whole."""
    try:
        json.loads(data, parse_int=str, parse_float=str)
    except ValueError:
        return False
    except RecursionError:
        pass
    return True


def _without_numbers(data: bytes, numbers: Sequence[Leaf], rule: str, found: Counter[str]) -> bytes:
    """The data with other values than texts made null, or 0 where null has no room."""
    for leaf in numbers:
        size = leaf.end - leaf.start
        instead = (b"null" if size >= 4 else b"0").ljust(size)
        if data[leaf.start : leaf.end] != instead:
            data = data[: leaf.start] + instead + data[leaf.end :]
            found[rule] += 1
    return data


#: What a text has that reaches across names and values.
_STRUCTURE: Final = re.compile(r'[{}\[\]:,"]')


class _Place(NamedTuple):
    """Where a text stands in a payload, and, where escapes are in it, what it spells."""

    start: int
    end: int
    spelled: Unescaped | None


def _occurrences(
    data: bytes, texts: Iterable[str], places: Sequence[tuple[int, int]], *, is_json: bool
) -> list[Found] | None:
    """Where these texts are to be masked; None where one is a piece of the JSON, in which no value alone can be."""
    known = [
        _Place(start, end, Unescaped(data[start:end]) if is_json and data.find(b"\\", start, end) >= 0 else None)
        for start, end in places
    ]
    finds: set[tuple[int, int]] = set()
    for text in filter(None, texts):
        forms = _forms(text)
        own = {span for place in known for span in _spans(data, text, forms, place)}
        if not own and _STRUCTURE.search(text) and any(form in data for form in forms):
            return None
        finds |= own
    return [Found(*span, "hook") for span in sorted(finds)]


def _forms(text: str) -> list[bytes]:
    """Each form in which a text usually stands in a payload."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    encoded: list[bytes] = []
    for form in sorted(forms):
        with contextlib.suppress(UnicodeEncodeError):  # half a character stands in JSON as an escape only
            encoded.append(form.encode("utf-8", "surrogateescape"))
    return encoded


def _spans(data: bytes, text: str, forms: Sequence[bytes], place: _Place) -> Iterator[tuple[int, int]]:
    for form in forms:
        at = data.find(form, place.start, place.end)
        while at >= 0:
            yield at, at + len(form)
            at = data.find(form, at + len(form), place.end)
    if place.spelled is not None:
        at = place.spelled.text.find(text)
        while at >= 0:
            start, end = place.spelled.place(at, at + len(text))
            yield place.start + start, place.start + end
            at = place.spelled.text.find(text, at + len(text))


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
