"""A recorded failure as an exception again: the same class where it is known here, the same message, the same causes.

The words come from a store, so they choose among exceptions that are loaded already and belong to a few known
libraries; nothing is imported because a recording names it. What is not known ends the chain.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from recorder.recording import Transport

__all__ = ["FALLBACK", "rebuild"]

#: The exception of an httpx-like module for an ending whose own exception is unknown.
FALLBACK: Final[Mapping[str, str]] = {
    Transport.CONNECT_ERROR: "ConnectError",
    Transport.RESET: "ReadError",
    Transport.PROTOCOL_ERROR: "RemoteProtocolError",
    Transport.TIMEOUT: "ReadTimeout",
}

#: Packages whose exceptions may be made from a recording: what HTTP libraries raise, and what causes it.
_KNOWN: Final = frozenset({"anyio", "asyncio", "builtins", "h11", "h2", "socket", "ssl"})
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ")


def rebuild(detail: Mapping[str, Any], libraries: Mapping[str, Any]) -> Exception | None:
    """The exception that an ending's detail describes, its causes chained; None where its class is unknown here.

    `libraries` says which module stands for which recorded package: a recording made with one of two like libraries
    is replayed by the other.
    """
    links = []
    for entry in detail.get("exception") or ():
        link = _link(entry, libraries)
        if link is None:
            break
        links.append(link)
    for link, cause in pairwise(links):
        link.__cause__ = cause
    return links[0] if links else None


def _link(entry: Mapping[str, Any], libraries: Mapping[str, Any]) -> Exception | None:
    kind = _class(str(entry.get("type", "")), libraries)
    if kind is None:
        return None
    message, errno = str(entry.get("message", "")), entry.get("errno")
    try:
        if isinstance(errno, int) and issubclass(kind, OSError):
            return kind(errno, _ERRNO.sub("", message, count=1))
        return kind(message)
    except TypeError:  # it wants other arguments than a message
        return None


def _class(name: str, libraries: Mapping[str, Any]) -> type[Exception] | None:
    module_name, _, class_name = name.rpartition(".")
    package = module_name.partition(".")[0]
    if package in libraries:
        module = libraries[package]
    elif package in _KNOWN:
        module = sys.modules.get(module_name)
    else:
        return None
    kind = getattr(module, class_name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None
