"""What a text lacks to be JSON: against the standard library for every prefix, and against how the text was built."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.detect import JsonVerdict, json_reading
from tests.cost import cost

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.text('"\\/\b\n\u2028\ud800😀a', max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
BLANKS = st.text(" \t\n\r", max_size=3)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def accepted(text: str) -> bool:
    """Whether the standard library takes it; NaN and Infinity, which RFC 8259 does not have, left out."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return False
    return True


class Builder:
    """Writes a value with whitespace between its tokens, and knows what a cut at each character leaves."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.ascii = draw(st.booleans())
        self.text = ""
        self.depth = 0
        #: For each prefix: damage and open brackets.
        self.left: list[tuple[str | None, int]] = []

    def put(self, text: str, *, inside: str | None, after: str | None) -> None:
        """A token: what is wrong with a text that ends inside of it, and with one that ends behind it."""
        for _ in text:
            self.left.append((inside, self.depth))
        if text:
            self.left[-1] = (after, self.depth)
        self.text += text

    def blanks(self, after: str | None) -> None:
        self.put(self.draw(BLANKS), inside=after, after=after)

    def value(self, value: Any) -> None:
        within = self.depth > 0
        done = "unclosed" if within else None
        if isinstance(value, dict):
            self.brackets("{}", [(name, value[name]) for name in value])
        elif isinstance(value, list):
            self.brackets("[]", [(None, one) for one in value])
        elif isinstance(value, str):
            self.put(json.dumps(value, ensure_ascii=self.ascii), inside="in_string", after=done)
        elif value is None or isinstance(value, bool):
            self.put(json.dumps(value), inside="in_literal", after=done)
        else:
            self.number(json.dumps(value), within=within)
        self.blanks(done)

    def number(self, text: str, *, within: bool) -> None:
        """Inside brackets any cut is in the number; outside of them a prefix may be a whole number."""
        for end in range(1, len(text) + 1):
            whole = not within and accepted(text[:end])
            self.put(text[end - 1], inside=None, after=None if whole else "in_number")

    def brackets(self, both: str, members: list[tuple[str | None, Any]]) -> None:
        self.depth += 1
        self.put(both[0], inside=None, after="unclosed")
        self.blanks("unclosed")
        for number, (name, value) in enumerate(members):
            if number:
                self.put(",", inside=None, after="after_comma")
                self.blanks("after_comma")
            if name is not None:
                self.put(json.dumps(name, ensure_ascii=self.ascii), inside="in_string", after="after_key")
                self.blanks("after_key")
                self.put(":", inside=None, after="after_colon")
                self.blanks("after_colon")
            self.value(value)
        self.depth -= 1
        self.put(both[1], inside=None, after="unclosed" if self.depth else None)


@given(st.data(), VALUES)
def test_every_prefix_of_every_document_is_told_as_it_was_cut(data: st.DataObject, value: Any) -> None:
    """Valid exactly where the standard library takes it; otherwise the class and the depth of the cut.

    (A number at the end of an array may lack digits, so it counts as cut although brackets alone would mend the text.)
    """
    built = Builder(data.draw)
    built.value(value)
    assert json_reading(built.text) == JsonVerdict(True, None, 0, None)
    for end, (damage, depth) in enumerate(built.left, 1):
        text = built.text[:end]
        verdict = json_reading(text)
        if damage is None:
            assert accepted(text)
            assert verdict.valid
        else:
            assert not accepted(text)
            assert (verdict.valid, verdict.damage, verdict.depth) == (False, damage, depth), text
            assert verdict.at is not None
            assert 0 <= verdict.at <= len(text)


@given(st.text('{}[]",:\\/u0123456789eE+-.tfnrualsb \t\n\r\x00é', max_size=24))
def test_any_text_is_valid_exactly_where_the_standard_library_takes_it(text: str) -> None:
    verdict = json_reading(text)
    assert verdict.valid == accepted(text)
    assert verdict.valid == (verdict.damage is None)


@given(VALUES, st.data())
def test_a_document_with_one_character_changed_is_judged_as_the_standard_library_does(
    value: Any, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from('"\\{}[],:0x \n')) + text[at + data.draw(st.integers(0, 1)) :]
    assert json_reading(changed).valid == accepted(changed)


@pytest.mark.parametrize(
    ("text", "damage", "depth", "at"),
    [
        ("", "empty", None, 0),
        (" \n", "empty", None, 0),
        ('{"a": "b', "in_string", 1, 6),
        ('{"a": "b\\', "in_string", 1, 6),
        ('{"a": "b\\u00', "in_string", 1, 6),
        ('{"a', "in_string", 1, 1),
        ("[12", "in_number", 1, 1),
        ("[1.", "in_number", 1, 1),
        ("-", "in_number", 0, 0),
        ("1e+", "in_number", 0, 0),
        ("[tr", "in_literal", 1, 1),
        ("[1,", "after_comma", 1, 3),
        ('{"a":1, ', "after_comma", 1, 8),
        ('{"a"', "after_key", 1, 4),
        ('{"a":', "after_colon", 1, 5),
        ("{", "unclosed", 1, 1),
        ('{"a": [[{"b": 1 }, "x"]', "unclosed", 2, 23),
        ("[true", "unclosed", 1, 5),
        ("{} {}", "garbage_after", 0, 3),
        ('{"a": 1}\n```', "garbage_after", 0, 9),
        ("12 apples", "garbage_after", 0, 3),
        ("[1}", "malformed", 1, 2),
        ("[1,]", "malformed", 1, 3),
        ("{a: 1}", "malformed", 1, 1),
        ("[NaN]", "malformed", 1, 1),
        ("[01]", "malformed", 1, 2),
        ('["a\nb"]', "malformed", 1, 3),
        ('["\\x"]', "malformed", 1, 2),
        ("[trux]", "malformed", 1, 1),
        ("NaN", "not_json", None, 0),
        ("Here is the JSON: {}", "not_json", None, 0),
        ("```json\n{}\n```", "not_json", None, 0),
        ("- one", "not_json", None, 0),
        ("\ufeff{}", "not_json", None, 0),
    ],
)
def test_damage_is_told_with_its_depth_and_place(text: str, damage: str, depth: int | None, at: int) -> None:
    assert json_reading(text) == JsonVerdict(False, damage, depth, at)


@pytest.mark.parametrize(
    "text", ["{}", " [] \n", '"x"', "0", "-1.5e+3", "null", '"\\ud800"', '{"a": 1, "a": 2}', "9" * 5000]
)
def test_what_the_rfc_allows_is_valid(text: str) -> None:
    assert json_reading(text).valid


def test_closing_what_is_unclosed_gives_a_valid_text() -> None:
    """`depth` is the number of brackets that are missing."""
    whole = '{"a": [1, {"b": [true]}]}'
    for end in range(1, len(whole)):
        verdict = json_reading(whole[:end])
        if verdict.damage == "unclosed":
            closings = (text for text in _closings(verdict.depth or 0) if accepted(whole[:end] + text))
            assert next(closings, None) is not None, whole[:end]


def _closings(depth: int) -> Iterator[str]:
    if depth == 0:
        yield ""
    else:
        yield from (bracket + rest for bracket in "]}" for rest in _closings(depth - 1))


@pytest.mark.parametrize(
    "pattern",
    ["[", '{"a":', "[[],", '{"a":1,"b":[', '"\\n\\n"', '["x",', "[1e5,", "[ ", '{"a":{},', "[null,"],
)
def test_work_grows_no_faster_than_the_text(pattern: str) -> None:
    """Also for deep nesting, which never recurses."""
    costs = [cost(partial(json_reading, pattern * 500 * 2**power)) for power in range(4)]
    assert all(more <= 2.2 * less + 100 for less, more in pairwise(costs))


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, '["' + "\\n" * 500_000, "[" + "0," * 500_000 + "0]", " " * 1_000_000]
)
def test_memory_is_at_most_a_byte_for_each_open_bracket(text: str) -> None:
    json_reading("[]")
    tracemalloc.start()
    try:
        json_reading(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * text.count("[") + 100_000
