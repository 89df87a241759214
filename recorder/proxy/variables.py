"""The environment under which a program finds the proxy: which variables hold base URLs, and what they become.

A base URL that the program's environment has already becomes the upstream behind the proxy. Pure: an environment in,
routes and another environment out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from recorder.transport.sdks import VARIABLES

from .routes import DEFAULTS, Route, Routes

__all__ = ["child_environment", "routes_for"]

#: Those that a bare upstream stands for too.
_ANY: Final = ("openai", "anthropic")

#: Requests to this machine must not go through a proxy of the network.
_NO_PROXY: Final = "127.0.0.1,localhost,::1"


def routes_for(texts: Iterable[str], environment: Mapping[str, str]) -> Routes:
    """The upstreams for a program: those given, else the defaults, with what its environment says in their place."""
    given = tuple(texts)
    if given:
        return Routes.of(given)
    routes = {route.name: route for route in map(Route.of, DEFAULTS)}
    for variable in reversed(VARIABLES):
        url = environment.get(variable.name, "").strip()
        if url:
            routes[variable.upstream] = Route.of(f"{variable.upstream}={url}")
    return Routes(routes.values())


def child_environment(routes: Routes, base: str, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The program's environment, and the variables in it that were set, as `NAME=value`. `base` is the proxy's URL.

    The first variable of an upstream that is mounted is always set, the others where they are set already.
    """
    made = dict(environment)
    added: list[str] = []
    named = {route.name: route for route in routes.all}
    seen: set[str] = set()
    for variable in VARIABLES:
        route = named.get(variable.upstream)
        if route is None and variable.upstream in _ANY:
            route = named.get("")
        first = variable.upstream not in seen
        seen.add(variable.upstream)
        if route is not None and (first or variable.name in environment):
            made[variable.name] = f"{base}{route.mount}{'' if route.prefix else variable.path}"
            added.append(f"{variable.name}={made[variable.name]}")
    known = {variable.upstream for variable in VARIABLES}
    for route in routes.all:
        if route.name and route.name not in known:
            name = f"{route.name.upper().replace('-', '_')}_BASE_URL"
            made[name] = f"{base}{route.mount}"
            added.append(f"{name}={made[name]}")
    for name in ("NO_PROXY", "no_proxy"):
        before = environment.get(name)
        made[name] = f"{before},{_NO_PROXY}" if before else _NO_PROXY
    return made, added
