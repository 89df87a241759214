"""The parameter set of a request: what was sent, what of it lies outside the provider's limits, what came back changed.

Recording refuses nothing that a client really sent: limits and changes are only told. Knows no protocol; which names
there are, and which limits, is a dialect's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

__all__ = ["METADATA", "Limit", "changes", "outside", "same"]

#: Parameters come from strangers: as many are looked at.
_MOST: Final = 64


class Limit(NamedTuple):
    """From `low` to `high`, both included: what a number may be, or the length of a list or of a text."""

    low: float | None = None
    high: float | None = None
    of: Literal["number", "list", "text"] = "number"

    def holds(self, size: float) -> bool:
        """Whether the size is within."""
        return (self.low is None or size >= self.low) and (self.high is None or size <= self.high)

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high}"
        return f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"


#: Metadata (API reference): pairs, characters of a key, characters of a value.
METADATA: Final = (Limit(high=16), Limit(high=64), Limit(high=512))


def outside(parameters: Mapping[str, Any], limits: Mapping[str, Limit]) -> list[dict[str, Any]]:
    """What of the parameters is outside its limit: `parameter`, `limit` in words, and the `size` it has.

    `limits` go by name. Metadata is checked by its own rule whenever it is there. What is absent, null, or of another
    type than its limit is about, is within.
    """
    found = []
    for name, limit in limits.items():
        size = _size(parameters.get(name), limit.of)
        if size is not None and not limit.holds(size):
            found.append({"parameter": name, "limit": str(limit), "size": size})
    return found + _metadata(parameters.get("metadata"))


def _size(value: object, of: str) -> float | None:
    """What is measured; None where the value is of another type."""
    if of == "number":
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return len(value) if isinstance(value, str if of == "text" else list) else None


def _metadata(metadata: object) -> list[dict[str, Any]]:
    if not isinstance(metadata, dict):
        return []
    pairs, key, value = METADATA
    longest_key = max(map(len, metadata), default=0)
    longest_value = max((len(text) for text in metadata.values() if isinstance(text, str)), default=0)
    sizes = (("metadata", pairs, len(metadata)), ("metadata key", key, longest_key))
    return [
        {"parameter": name, "limit": f"{limit} {unit}", "size": size}
        for (name, limit, size), unit in zip(
            (*sizes, ("metadata value", value, longest_value)), ("pairs", "characters", "characters"), strict=True
        )
        if not limit.holds(size)
    ]


def changes(
    asked: Mapping[str, Any], echoed: Mapping[str, Any], names: Iterable[str], contents: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the server said it works with: (what was not asked for, what differs from what was asked).

    Of the `names` that `echoed` has: {name: echoed} where the request left it open (absent or null), and
    {name: [asked, echoed]} where it comes back as something else. Of `contents` no value is repeated: None stands
    for it.
    """
    beyond: dict[str, Any] = {}
    differs: dict[str, Any] = {}
    for name in names:
        if name not in echoed:
            continue
        told, wanted = echoed[name], asked.get(name)
        if wanted is None:
            if told is not None and name not in contents:
                beyond[name] = told
        elif not same(wanted, told):
            differs[name] = None if name in contents else [wanted, told]
    return beyond, differs


def same(asked: Any, echoed: Any) -> bool:
    """Whether two JSON values mean the same: 1 is 1.0 but not true, and a member that is null is like none."""
    if isinstance(asked, dict) and isinstance(echoed, dict):
        names = {name for value in (asked, echoed) for name in value if value[name] is not None}
        return all(same(asked.get(name), echoed.get(name)) for name in names)
    if isinstance(asked, list) and isinstance(echoed, list):
        return len(asked) == len(echoed) and all(map(same, asked, echoed))
    if isinstance(asked, bool) or isinstance(echoed, bool):
        return asked is echoed
    return bool(asked == echoed)
