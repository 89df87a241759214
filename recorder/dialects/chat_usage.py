"""The token figures of a chat completion, which servers of this protocol state in more ways than one.

OpenAI's form is the rule: `prompt_tokens` includes what a cache gave, `completion_tokens` what was reasoned. What
departs from it is named where it is read. Knows nothing of streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recorder.dialects.base import dig, integer
from recorder.dialects.usage import tokens

__all__ = ["fields"]

#: What was written to a cache, as a part of the prompt: OpenAI and OpenRouter; LiteLLM; DashScope.
_WRITTEN: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


def fields(usage: Mapping[str, Any], *, final: bool) -> tuple[dict[str, Any], set[str]]:
    """The token fields of a Reading and their flags, as `usage.tokens`. `usage` is {} where none was stated."""
    prompt, output = integer(usage.get("prompt_tokens")), integer(usage.get("completion_tokens"))
    total = integer(usage.get("total_tokens"))
    inside = usage.get("prompt_tokens_details") or usage.get("prompt_token_details")
    cached, missed = _cached(usage, inside), integer(usage.get("prompt_cache_miss_tokens"))
    reasoning = integer(dig(usage, "completion_tokens_details", "reasoning_tokens"))
    if _beside(prompt, output, total, reasoning):
        output = (output or 0) + (reasoning or 0)
    told, flags = tokens(
        input=prompt,
        output=output,
        total=total,
        cached=cached,
        written=next((count for name in _WRITTEN if (count := integer(dig(inside, name))) is not None), None),
        uncached=missed if cached is None else None,
        reasoning=reasoning,
        final=final,
    )
    if None not in (prompt, cached, missed) and prompt != (cached or 0) + (missed or 0):
        flags.add("usage_sum")
    return told, flags


def _cached(usage: Mapping[str, Any], inside: object) -> int | None:
    """What a cache gave of the prompt; beside OpenAI's place for it DeepSeek's, then Moonshot's and Together's."""
    places = (dig(inside, "cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
    return next((count for place in places if (count := integer(place)) is not None), None)


def _beside(prompt: int | None, output: int | None, total: int | None, reasoning: int | None) -> bool:
    """Whether reasoning was counted beside the completion (xAI): then only all three add up to the total."""
    if prompt is None or output is None or total is None or not reasoning:
        return False
    return total == prompt + output + reasoning
