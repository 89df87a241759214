"""Who may ask: the checks of Host, Origin and token that a server on somebody's machine owes its owner.

A page in a browser can make requests to 127.0.0.1, under its own name (Origin) or, by DNS rebinding, under ours (Host).
Neither passes. Beyond loopback a token is asked for, in a header of our own and compared in constant time.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from .heads import Refused, RequestHead

__all__ = ["OUR_HEADERS", "OUR_PATHS", "TOKEN_HEADER", "Gate", "is_loopback"]

TOKEN_HEADER: Final = "x-recorder-token"  # noqa: S105 (a name)

#: Headers with this beginning are meant for us: they are never sent on and never stored as headers.
OUR_HEADERS: Final = "x-recorder-"

#: Under these paths we tell of ourselves.
OUR_PATHS: Final = "/__recorder/"

_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_ORIGIN: Final = re.compile(r"https?://([^/?#@\s]+)")
_LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """Whether a name or address (with or without brackets) stays on this machine, without asking DNS."""
    host = host.strip("[]").lower().rstrip(".")
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Gate:
    """Checks requests before anything is looked up. `hosts`: names beside loopback that we answer to."""

    def __init__(self, *, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)
        self._token = token.encode() if token else None

    def check(self, head: RequestHead) -> None:
        """Raises Refused for a request that must not be served."""
        host = self._host(head)
        if self._token is not None:
            given = head.get(TOKEN_HEADER) or ""
            if not hmac.compare_digest(given.encode("latin-1"), self._token):
                raise Refused(401, "the header X-Recorder-Token is missing or wrong")
        elif host is not None and not self._is_ours(host):
            raise Refused(403, "the Host header names another server than this one")
        self._check_origin(head)

    def _host(self, head: RequestHead) -> str | None:
        given = head.values("host")
        if len(given) > 1 or (not given and head.version != "1.0"):
            raise Refused(400, "there must be exactly one Host header")
        if not given:
            return None
        found = _HOST.fullmatch(given[0])
        if found is None or int(found[2] or 0) > 65535:
            raise Refused(400, "the Host header is malformed")
        return found[1]

    def _is_ours(self, host: str) -> bool:
        return is_loopback(host) or host.strip("[]").lower() in self._hosts

    def _check_origin(self, head: RequestHead) -> None:
        """A page of another site may have the browser send requests here; it is neither served nor forwarded."""
        mine = (head.get("host") or "").lower()
        for origin in head.values("origin"):
            found = _ORIGIN.fullmatch(origin)
            if found is None or found[1].lower() != mine:
                raise Refused(403, "requests from web pages of other origins are not served")
        if (head.get("sec-fetch-site") or "").lower() in ("cross-site", "same-site"):
            raise Refused(403, "requests from web pages of other origins are not served")
