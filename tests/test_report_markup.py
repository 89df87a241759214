"""Elements, escaped: whatever text goes in comes out as that text, and as nothing else."""

from __future__ import annotations

import html.parser
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.report.markup import Markup, data_block, element, fragment, shown


class _Read(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> _Read:
    reader = _Read()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(), st.text())
def test_a_text_stays_that_text(child: str, value: str) -> None:
    told = read(element("p", child, title=value))
    assert told.tags == ["p"]
    assert told.text == shown(child)
    assert told.attributes == [("title", shown(value))]


@given(st.text())
def test_what_nobody_would_see_is_shown(text: str) -> None:
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", shown(text)
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_data_comes_out_as_it_went_in_and_ends_no_script(value: object) -> None:
    block = data_block(value, id_="figures")
    inside = block.removeprefix('<script type="application/json" id="figures">').removesuffix("</script>")
    assert not set(inside) & set("<>&\u2028\u2029")
    assert json.loads(inside) == value


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        data_block(float("nan"), id_="figures")


def test_markup_is_not_escaped_twice_and_nothing_is_left_out() -> None:
    assert element("p", Markup("<b>a</b>"), "<b>", ["c", None, [1]]) == "<p><b>a</b>&lt;b&gt;c1</p>"
    assert fragment("a", None, 2) == "a2"


def test_attributes_are_spelt_as_html_spells_them() -> None:
    made = element("input", class_="a", aria_label="b", hidden=True, title=None, checked=False, x=1.25, y=2.0)
    assert made == '<input class="a" aria-label="b" hidden x="1.2" y="2">'


@pytest.mark.parametrize("name", ["style", "onclick", "onload"])
def test_what_the_policy_forbids_cannot_be_written(name: str) -> None:
    with pytest.raises(ValueError, match="forbids"):
        element("p", **{name: "x"})
