"""The proxy's figures as Prometheus reads them (text exposition format 0.0.4). Pure; counts only, no contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Figures", "text"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the writer says of itself: see `recorder.writer.Stats`. `endings`: recordings by how they ended."""

    recordings: int = 0
    rows: int = 0
    gaps: int = 0
    queue_bytes: int = 0
    lag_us: int = 0
    failing: bool = False
    endings: Mapping[str, int] | None = None


#: Name -> (type, help).
_KNOWN: Final = {
    "requests": ("counter", "Requests that were forwarded."),
    "open_streams": ("gauge", "Exchanges under way."),
    "connections": ("gauge", "Connections of clients."),
    "upstream_connections": ("gauge", "Connections to upstreams."),
    "recordings": ("counter", "Recordings that were begun in the store."),
    "events": ("counter", "Events that are durable."),
    "gaps": ("counter", "Recordings that are not whole."),
    "queue_bytes": ("gauge", "Bytes that wait to be written."),
    "durable_lag_seconds": ("gauge", "Age of the oldest event of the latest commit when it was durable."),
    "store_failing": ("gauge", "1 while the store does not take what is recorded."),
}


def text(figures: Figures, counts: Mapping[str, int], refusals: Mapping[int, int]) -> str:
    """All figures, one family after another."""
    values: dict[str, float] = {
        **counts,
        "recordings": figures.recordings,
        "events": figures.rows,
        "gaps": figures.gaps,
        "queue_bytes": figures.queue_bytes,
        "durable_lag_seconds": figures.lag_us / 1e6,
        "store_failing": int(figures.failing),
    }
    lines: list[str] = []
    for name, (kind, told) in _KNOWN.items():
        full = f"recorder_{name}_total" if kind == "counter" else f"recorder_{name}"
        lines += [f"# HELP {full} {told}", f"# TYPE {full} {kind}", f"{full} {values.get(name, 0):g}"]
    lines += _family("refusals", "Requests that were refused, by status.", "status", refusals)
    lines += _family("endings", "Recordings that ended, by how.", "ending", figures.endings or {})
    return "\n".join([*lines, ""])


def _family(name: str, told: str, label: str, counts: Mapping[int, int] | Mapping[str, int]) -> list[str]:
    full = f"recorder_{name}_total"
    members = [f'{full}{{{label}="{value}"}} {count}' for value, count in counts.items()]
    return [f"# HELP {full} {told}", f"# TYPE {full} counter", *members]
