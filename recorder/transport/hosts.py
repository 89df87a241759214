"""Lists of hosts: whose requests a patch takes, and which names are not looked up while it does. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Hosts"]


class Hosts:
    """Hosts by `name` or `name:port`; a `*` in one stands for any text, such as a region's."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(name.lower() for name in names)
        patterns = sorted(re.escape(name).replace(r"\*", ".+") for name in self.names if "*" in name)
        self._patterns = re.compile("|".join(patterns)) if patterns else None

    def has(self, host: str, port: int | None) -> bool:
        """Whether this host is listed, with its port or without. `name.` is the same host as `name` (RFC 1034, 3.1)."""
        name = host.lower().removesuffix(".")
        name = f"[{name}]" if ":" in name else name
        return any(each in self.names or self._fits(each) for each in (name, f"{name}:{port}"))

    def _fits(self, name: str) -> bool:
        return self._patterns is not None and self._patterns.fullmatch(name) is not None
