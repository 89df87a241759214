"""Which upstream a path means: a named allow-list, and nothing that a request says can add to it.

An upstream is a URL of the configuration: its origin is fixed, and a request's path is put behind the URL's own. A
named one is mounted at `/NAME/`, a bare one at `/`. Pure: no sockets, no environment.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Final, NamedTuple

from recorder.errors import UsageError
from recorder.wire import OUR_PATHS, Origin, check_target, first_segment, remounted

__all__ = ["DEFAULTS", "Route", "Routes"]

DEFAULTS: Final = ("openai=https://api.openai.com", "anthropic=https://api.anthropic.com")

#: No upstream may have this name.
_OURS: Final = OUR_PATHS.strip("/")

_NAMED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})=(.*)", re.DOTALL)


class Route(NamedTuple):
    """One upstream: its name (empty: mounted at `/`), its origin, and the path that goes before every request's."""

    name: str
    origin: Origin
    prefix: str

    @property
    def mount(self) -> str:
        """Where it is mounted, without a slash at the end."""
        return f"/{self.name}" if self.name else ""

    @property
    def url(self) -> str:
        """The upstream's URL, without a slash at the end."""
        return f"{self.origin}{self.prefix}"

    @classmethod
    def of(cls, text: str) -> Route:
        """From `URL` or `NAME=URL`. Raises UsageError."""
        named = _NAMED.fullmatch(text)
        name, url = (named[1], named[2]) if named else ("", text)
        if name == _OURS:
            raise UsageError(f"the name {_OURS} is taken; give the upstream another one")
        origin = Origin.of(url)
        parts = urllib.parse.urlsplit(url)
        prefix = parts.path.rstrip("/")
        if "@" in parts.netloc or parts.query or parts.fragment or (prefix and check_target(prefix)):
            raise UsageError("an upstream's URL has a scheme, a host and a path, and nothing else: https://host/path")
        return cls(name, origin, prefix)


class Routes:
    """All upstreams. Raises UsageError where two share a name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._named = {route.name: route for route in self.all}
        if len(self._named) < len(self.all):
            raise UsageError("two upstreams have one name, or two have none; name them: --upstream NAME=URL")

    @classmethod
    def of(cls, texts: Iterable[str]) -> Routes:
        """From the texts of the option `--upstream`; the defaults where there are none."""
        return cls(Route.of(text) for text in tuple(texts) or DEFAULTS)

    def find(self, target: str) -> tuple[Route, str] | None:
        """The upstream that a (checked) target means, and the target to ask it for."""
        name = first_segment(target)
        if name and name in self._named:
            route = self._named[name]
            return route, remounted(target, route.prefix)
        bare = self._named.get("")
        return None if bare is None else (bare, f"{bare.prefix}{target}")
