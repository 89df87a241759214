"""Parameters against the provider's limits, and against what the server said it works with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.dialects.asked import Limit, changes, outside, same

LIMITS = {
    "temperature": Limit(0, 2),
    "max_prompt_tokens": Limit(low=256),
    "tools": Limit(high=20, of="list"),
    "name": Limit(high=64, of="text"),
}


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"temperature": 0}, []),
        ({"temperature": 2}, []),
        ({"temperature": 2.01}, ["temperature"]),
        ({"temperature": -0.5}, ["temperature"]),
        ({"temperature": None}, []),
        ({"temperature": True}, []),
        ({"temperature": {"odd": 1}}, []),
        ({"temperature": "hot"}, []),
        ({"temperature": [0, 1, 2]}, []),
        ({"tools": "x" * 50}, []),
        ({"name": "n" * 64}, []),
        ({"name": "n" * 65}, ["name"]),
        ({"name": 65}, []),
        ({"name": ["n"] * 65}, []),
        ({"tools": 21}, []),
        ({"max_prompt_tokens": 256}, []),
        ({"max_prompt_tokens": 255}, ["max_prompt_tokens"]),
        ({"tools": [{}] * 20}, []),
        ({"tools": [{}] * 21}, ["tools"]),
        ({"metadata": {str(at): "" for at in range(16)}}, []),
        ({"metadata": {str(at): "" for at in range(17)}}, ["metadata"]),
        ({"metadata": {"k" * 64: "v" * 512}}, []),
        ({"metadata": {"k" * 65: "v"}}, ["metadata key"]),
        ({"metadata": {"k": "v" * 513}}, ["metadata value"]),
        ({"metadata": {"k" * 65: "v" * 513, "n": 5}}, ["metadata key", "metadata value"]),
        ({"metadata": None}, []),
        ({"metadata": "text"}, []),
    ],
)
def test_what_is_outside_is_named_with_its_size_and_never_with_its_text(
    parameters: dict[str, Any], named: list[str]
) -> None:
    found = outside(parameters, LIMITS)
    assert [each["parameter"] for each in found] == named
    assert all(set(each) == {"parameter", "limit", "size"} and isinstance(each["limit"], str) for each in found)
    assert all(isinstance(each["size"], (int, float)) for each in found)


def test_a_limit_in_words() -> None:
    assert [str(limit) for limit in (Limit(0, 2), Limit(low=256), Limit(high=20))] == [
        "0 to 2",
        "at least 256",
        "at most 20",
    ]


def test_what_the_server_added_and_what_it_changed() -> None:
    """A null asked for is an open one; what is content is named without its text; names that did not come back say
    nothing."""
    asked = {"model": "gpt-4o", "temperature": 1, "top_p": None, "instructions": "be brief", "seed": 4}
    echoed = {"model": "gpt-4o-mini", "temperature": 1.0, "top_p": 0.9, "instructions": "be long", "tools": []}
    beyond, differs = changes(
        asked, echoed, ["model", "temperature", "top_p", "instructions", "tools", "seed"], frozenset({"instructions"})
    )
    assert beyond == {"top_p": 0.9, "tools": []}
    assert differs == {"model": ["gpt-4o", "gpt-4o-mini"], "instructions": None}


@pytest.mark.parametrize(
    ("asked", "echoed", "is_so"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        ({"type": "auto"}, {"type": "auto", "last_messages": None}, True),
        ({"type": "auto"}, {"type": "last_messages", "last_messages": 3}, False),
        ([{"a": 1}], [{"a": 1.0, "b": None}], True),
        ([1, 2], [2, 1], False),
        ("auto", {"type": "auto"}, False),
    ],
)
def test_two_json_values_that_mean_the_same(asked: Any, echoed: Any, is_so: bool) -> None:
    assert same(asked, echoed) is is_so


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES)
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


@given(st.dictionaries(st.sampled_from(["temperature", "tools", "metadata", "max_prompt_tokens"]), JSON_VALUES))
def test_any_parameters_can_be_checked(parameters: dict[str, Any]) -> None:
    """Bytes from strangers: nothing raises."""
    outside(parameters, LIMITS)
    changes(parameters, parameters, parameters)
