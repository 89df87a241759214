"""Token figures: buckets are disjoint, add up, and are left out where they cannot be told apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.dialects.usage import tokens
from recorder.recording import UsageQuality

COUNTS = st.none() | st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("figures", "fields", "flags"),
    [
        # OpenAI: cached tokens are inside the input, reasoning inside the output
        (
            {"input": 100, "output": 50, "total": 150, "cached": 64, "reasoning": 20},
            {"uncached_tokens": 36, "cached_tokens": 64, "visible_tokens": 30, "reasoning_tokens": 20},
            set(),
        ),
        # Anthropic, brought into one form: the provider itself says what was not cached
        (
            {"input": 175, "output": 9, "uncached": 19, "cached": 100, "written_5m": 50, "written_1h": 6},
            {"uncached_tokens": 19, "cache_write_5m_tokens": 50, "cache_write_1h_tokens": 6},
            set(),
        ),
        # without details nobody knows what was cached
        ({"input": 100, "output": 50, "total": 150}, {"input_tokens": 100, "output_tokens": 50}, set()),
        # figures that contradict each other: the reported ones stand, nothing is derived
        ({"input": 10, "output": 5, "cached": 64}, {"input_tokens": 10, "cached_tokens": 64}, {"usage_sum"}),
        ({"input": 10, "output": 5, "reasoning": 6}, {"output_tokens": 5, "reasoning_tokens": 6}, {"usage_sum"}),
        ({"input": 10, "output": 5, "total": 16}, {"total_tokens": 16}, {"usage_sum"}),
        # nothing is 0 because it was not said
        ({"input": None, "output": None}, {}, set()),
        ({"input": 0, "output": 0, "cached": 0}, {"input_tokens": 0, "uncached_tokens": 0}, set()),
    ],
)
def test_the_buckets(figures: dict[str, Any], fields: dict[str, int], flags: set[str]) -> None:
    told, noticed = tokens(**figures)
    assert fields.items() <= told.items()
    assert noticed == flags
    absent = (
        {"uncached_tokens", "visible_tokens", "cached_tokens", "total_tokens"}
        - fields.keys()
        - {
            {
                "input": "input_tokens",
                "output": "output_tokens",
                "total": "total_tokens",
                "cached": "cached_tokens",
            }.get(name)
            for name, value in figures.items()
            if value is not None
        }
    )
    if "usage_sum" not in flags:
        assert absent.isdisjoint(told) or figures.get("cached") is not None


@pytest.mark.parametrize(
    ("figures", "quality"),
    [
        ({"input": 1, "output": None}, UsageQuality.REPORTED),
        ({"input": 1, "output": None, "final": False}, UsageQuality.PARTIAL),
        ({"input": None, "output": None}, UsageQuality.MISSING),
        ({"input": None, "output": None, "cached": 4, "final": False}, UsageQuality.MISSING),
    ],
)
def test_where_the_figures_come_from(figures: dict[str, Any], quality: str) -> None:
    assert tokens(**figures)[0]["usage_quality"] == quality


@given(input_=COUNTS, output=COUNTS, cached=COUNTS, written=COUNTS, reasoning=COUNTS)
def test_buckets_add_up_or_are_not_there(
    input_: int | None, output: int | None, cached: int | None, written: int | None, reasoning: int | None
) -> None:
    """Whatever the figures: no bucket is negative, and where there are buckets their sum is what was reported."""
    told, _ = tokens(input=input_, output=output, cached=cached, written=written, reasoning=reasoning)
    assert all(value >= 0 for name, value in told.items() if name != "usage_quality")
    if "uncached_tokens" in told:
        assert told["uncached_tokens"] + (cached or 0) + (written or 0) == input_
    if "visible_tokens" in told:
        assert told["visible_tokens"] + (reasoning or 0) == output
