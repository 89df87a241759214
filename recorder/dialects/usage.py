"""What a provider's token figures come to: disjoint buckets whose sums are checked. Knows no protocol.

Each protocol counts in its own way (cached tokens inside the input or beside it, reasoning inside the output or beside
it). A dialect brings its figures into one form, totals that include everything; the arithmetic is here, once.
"""

from __future__ import annotations

from typing import Any

from recorder.dialects.base import without_absent
from recorder.recording import UsageQuality

__all__ = ["fills", "tokens"]


def fills(count: int | None, cap: int | None) -> bool:
    """Whether so many tokens reach the cap; False where either is not known."""
    return count is not None and cap is not None and count >= cap


def tokens(
    *,
    input: int | None,  # noqa: A002 (the word that everybody uses)
    output: int | None,
    total: int | None = None,
    cached: int | None = None,
    written: int | None = None,
    written_5m: int | None = None,
    written_1h: int | None = None,
    uncached: int | None = None,
    reasoning: int | None = None,
    final: bool = True,
) -> tuple[dict[str, Any], set[str]]:
    """The token fields of a Reading, those that are known, and the flags that go with them.

    `input` and `output` are everything of either side, cache and reasoning included. `written` is what was written to
    a cache for a time that was not stated; `uncached` is given only where the provider itself states it. `final` is
    False while figures may still grow: those of a stream that was cut.

    A bucket that cannot be told apart is left out: without `cached` nobody knows what was uncached. `usage_sum` is
    flagged where the figures contradict each other; the reported ones then stand, the derived ones are left out.
    """
    flags = set()
    if uncached is None and input is not None and cached is not None:
        uncached = input - cached - sum(part or 0 for part in (written, written_5m, written_1h))
    visible = output - reasoning if output is not None and reasoning is not None else None
    if uncached is not None and uncached < 0:
        uncached = None
        flags.add("usage_sum")
    if visible is not None and visible < 0:
        visible = None
        flags.add("usage_sum")
    if total is not None and input is not None and output is not None and total != input + output:
        flags.add("usage_sum")
    known = any(figure is not None for figure in (input, output, total))
    quality = UsageQuality.REPORTED if final else UsageQuality.PARTIAL
    fields = without_absent(
        input_tokens=input,
        output_tokens=output,
        total_tokens=total,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        uncached_tokens=uncached,
        cache_write_tokens=written,
        cache_write_5m_tokens=written_5m,
        cache_write_1h_tokens=written_1h,
        visible_tokens=visible,
    )
    return {**fields, "usage_quality": quality.value if known else UsageQuality.MISSING.value}, flags
