"""The names of recordings: one for each test, readable, and good on every file system."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.pytest_plugin.names import file_of, name_of

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
SCOPES = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
PARAMETERS = st.none() | st.text(max_size=80) | st.from_regex(r"[a-z0-9.-]{1,9}", fullmatch=True)


@pytest.mark.parametrize(
    ("scopes", "parameters", "name"),
    [
        (("test_call",), None, "test_call"),
        (("TestTools", "test_call"), None, "TestTools.test_call"),
        (("test_call",), "gpt-4.1", "test_call-gpt-4.1"),
        (("test_call",), "a b/c", "test_call-a-b-c-539138d5"),
        (("test_call",), "A", "test_call-A-559aead0"),
        (("test_call",), "../../etc/passwd", "test_call-etc-passwd-3754d6cb"),
        (("test_call",), "", "test_call-e3b0c442"),
    ],
)
def test_a_name_is_the_tests_own(scopes: tuple[str, ...], parameters: str | None, name: str) -> None:
    assert name_of(scopes, parameters) == name


@given(SCOPES, PARAMETERS)
def test_every_file_system_takes_a_name(scopes: tuple[str, ...], parameters: str | None) -> None:
    """Plain characters, no way out of the folder, no dot or dash at an end that Windows would drop."""
    path = file_of(Path("recordings"), "test_app", scopes, parameters)
    assert path.parent == Path("recordings/test_app")
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,240}\.jsonl", path.name)


@given(st.tuples(SCOPES, PARAMETERS), st.tuples(SCOPES, PARAMETERS))
def test_no_two_tests_of_a_module_share_a_file(
    one: tuple[tuple[str, ...], str | None], other: tuple[tuple[str, ...], str | None]
) -> None:
    assert (name_of(*one) == name_of(*other)) == (one == other)


@given(SCOPES, st.text(max_size=30), st.text(max_size=30))
def test_capitals_do_not_make_the_difference_between_parameters(scopes: tuple[str, ...], one: str, other: str) -> None:
    """Some file systems take `A.jsonl` for `a.jsonl`."""
    same = name_of(scopes, one).lower() == name_of(scopes, other).lower()
    assert same == (one == other)
