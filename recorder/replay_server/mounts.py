"""Under which URLs a request may have been recorded, given the path by which it came. Pure.

A recording proxy mounts its upstreams at `/NAME/`, and programs keep these paths when they are replayed to; others are
pointed at the root. So a path may carry a mount that the recorded one has not, and may lack what the upstream's own
URL had before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from recorder.wire import first_segment, remounted

__all__ = ["Mounts"]


class Mounts:
    """The paths that stand for upstreams: name (empty for the root) -> what stood before every path there.

    `Mounts({"openai": "", "gateway": "/llm"})`: `/openai/v1/x` may have been recorded as `/v1/x`, and `/gateway/v1/x`
    as `/llm/v1/x`. Each may also have been recorded as it came.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = dict(prefixes)

    def readings(self, target: str) -> tuple[str, ...]:
        """The targets to look for, the likeliest first: a mount goes before a path that only looks like one."""
        found = []
        name = first_segment(target)
        if name and name in self._prefixes:
            found.append(remounted(target, self._prefixes[name]))
        bare = self._prefixes.get("")
        if bare:
            found.append(bare + target)
        return tuple(dict.fromkeys([*found, target]))
