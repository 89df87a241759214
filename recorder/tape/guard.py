"""The last line of defence: while a tape replays, this process cannot look up the hosts that the tape stands for.

Clients of the libraries that can be patched never come so far. Whatever else there is (urllib, a library of its own)
asks `socket.getaddrinfo` for an address, and is refused, as long as some tape that is in force says so. Loopback is
never refused: the tape's own server, databases and test servers are there.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from recorder.errors import ReplayMiss

__all__ = ["Guard"]

_LOCK: Final = threading.Lock()
_GUARDS: list[Guard] = []
_ORIGINAL: list[Callable[..., Any]] = []


class Guard:
    """Refuses lookups from `enter` to `close`: those of which `refuses(host, port)` says so. `told` hears of each."""

    def __init__(self, refuses: Callable[[str, int | None], bool], told: Callable[[str], object]) -> None:
        self.refuses = refuses
        self.told = told

    def enter(self) -> None:
        """In force from now on."""
        with _LOCK:
            if not _GUARDS:
                _ORIGINAL[:] = [socket.getaddrinfo]
                socket.getaddrinfo = _guarded(socket.getaddrinfo)
            _GUARDS.append(self)

    def close(self) -> None:
        """No longer; with the last one the module has its own function again."""
        with _LOCK:
            if self in _GUARDS:
                _GUARDS.remove(self)
                if not _GUARDS and _ORIGINAL:
                    socket.getaddrinfo = _ORIGINAL.pop()


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if isinstance(name, str) and not _is_loopback(name):
            number = port if isinstance(port, int) else None
            for guard in reversed(_GUARDS):
                if guard.refuses(name.lower().rstrip("."), number):
                    guard.told(name)
                    raise ReplayMiss(
                        f"the network is closed for {name} while a tape replays, and no tape can take this client:"
                        " point it at tape.base_url, or give it to tape.instrument"
                    )
        return original(host, port, *args, **kwargs)

    return getaddrinfo


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
