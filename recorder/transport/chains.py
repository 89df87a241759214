"""Failures of clients that are stacks of layers, in words and back: what an exception means, how it is stored and made.

The exceptions of requests are made by its own code from those of urllib3 and http.client, azure's from those of
requests and aiohttp. So the whole chain is stored, and at replay the exception is raised again where the library below
would have raised it: the code above turns it into its own. The words come from a store, so they choose among exceptions
that are loaded already and belong to a few known modules; what is not known is left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from recorder.recording import Transport

from .exchange import causes

if TYPE_CHECKING:
    from recorder.replay import Playback

__all__ = ["ending", "failure", "is_told", "links", "why", "worded"]

#: Names of exceptions, of any module, whose presence in a chain decides; the first line that has one wins.
_MEANING: Final = (
    (
        Transport.CONNECT_ERROR,
        frozenset(
            {
                "ClientConnectorCertificateError",
                "ClientConnectorError",
                "ConnectTimeout",
                "ConnectTimeoutError",
                "ConnectionTimeoutError",
                "InvalidSchema",
                "InvalidURL",
                "MissingSchema",
                "NewConnectionError",
                "NonHttpUrlClientError",
                "ProxyError",
            }
        ),
    ),
    (Transport.TIMEOUT, frozenset({"ReadTimeout", "ReadTimeoutError", "TimeoutError"})),
    (
        Transport.PROTOCOL_ERROR,
        frozenset({"ClientResponseError", "HTTPException", "HttpProcessingError", "ServerDisconnectedError"}),
    ),
)

#: How aiohttp says, in the text alone, which failure of the connection cut a body short.
_CUT_BY: Final = re.compile(r"\. [A-Za-z]*Error\(")


def ending(error: BaseException, *, answered: bool) -> Transport:
    """How the transport ended by this exception. What is no `Exception` (a cancellation) is the client leaving."""
    if not isinstance(error, Exception):
        return Transport.CLIENT_CLOSED
    chain = list(causes(error))
    names = {base.__name__ for link in chain for base in type(link).__mro__}
    if not answered and "SSLError" in names:
        return Transport.CONNECT_ERROR
    if "ClientPayloadError" in names:
        return Transport.RESET if _CUT_BY.search(str(error)) else Transport.PROTOCOL_ERROR
    for meaning, telling in _MEANING:
        if names & telling:
            return meaning
    if "ClientConnectionError" in names or any(_is_os_error(link) for link in chain):
        return Transport.RESET
    return Transport.PROTOCOL_ERROR if "ProtocolError" in names else Transport.ERROR


def _is_os_error(error: BaseException) -> bool:
    """Whether the operating system said it: all exceptions of requests are OSErrors, too."""
    return isinstance(error, OSError) and type(error).__module__ in ("builtins", "socket", "ssl")


# -- made again ----------------------------------------------------------------------------------------------------

_KNOWN: Final = frozenset(
    {
        "aiohttp.client_exceptions",
        "aiohttp.http_exceptions",
        "builtins",
        "http.client",
        "requests.exceptions",
        "socket",
        "ssl",
        "urllib3.exceptions",
    }
)
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ")
_PAIR: Final = re.compile(r"\('([^']*)', ")
_READ: Final = re.compile(r"IncompleteRead\((\d{1,7}) bytes read(?:, (\d{1,18}) more expected)?\)")


def links(detail: Mapping[str, Any]) -> list[Exception]:
    """The exceptions that an ending's detail describes, as far as they are known here; each caused by the next."""
    chain: list[Exception] = []
    for entry in reversed(detail.get("exception") or ()):
        kind = _class(str(entry.get("type", "")))
        if kind is not None:
            chain.insert(0, _link(kind, str(entry.get("message", "")), entry.get("errno"), chain[:1]))
    return chain


def _class(name: str) -> type[Exception] | None:
    module, _, short = name.rpartition(".")
    kind = getattr(sys.modules.get(module), short, None) if module in _KNOWN else None
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None


def _link(kind: type[Exception], message: str, errno: object, cause: Sequence[Exception]) -> Exception:
    error = _made(kind, message, errno, cause)
    if cause:
        error.__cause__ = cause[0]
    return error


def _made(kind: type[Exception], message: str, errno: object, cause: Sequence[Exception]) -> Exception:
    """The exception, by the first way that gives these words: the likelier ways come first."""
    ways: list[tuple[type[Exception], tuple[Any, ...]]] = [(kind, (message,) if message else ())]
    if isinstance(errno, int):
        ways.insert(0, (kind, (errno, _ERRNO.sub("", message, count=1))))
    if read := _READ.fullmatch(message):
        ways.insert(0, (kind, _incomplete(kind, int(read[1]), read[2])))
    if cause and kind.__module__ == "requests.exceptions":
        ways.insert(0, (kind, (cause[0],)))  # azure asks for the class of the first argument
    if cause and (pair := _PAIR.match(message)):
        ways.insert(0, (kind, (pair[1], cause[0])))
    for way, arguments in ways:
        try:
            error = way(*arguments)
            if str(error) == message:
                return error
        except Exception:  # noqa: BLE001, S112 (it wants other arguments: try the next way)
            continue
    return worded(kind, message)


def _incomplete(kind: type[Exception], read: int, missing: str | None) -> tuple[Any, ...]:
    """http.client counts the bytes that it holds, urllib3 has counted them."""
    partial = bytes(read) if kind.__module__ == "http.client" else read
    return (partial,) if missing is None else (partial, int(missing))


def worded(kind: type[Exception], message: str) -> Exception:
    """An exception of that class that says this, whatever else the class would be made from."""
    own = _worded(cast(Any, kind))
    error = own.__new__(own)
    error.args = (message,)
    return error


@cache
def _worded(kind: Any) -> type[Exception]:
    """The class with words instead of the objects that it would make them from (a connection, a pool)."""

    def text(self: Exception) -> str:
        return str(self.args[0])

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, "__str__": text})


def failure(playback: Playback) -> list[Exception]:
    """The exceptions by which a recording ends, outermost first; none where they are not known, or not meant."""
    return links(playback.ending.detail) if is_told(playback) else []


def is_told(playback: Playback) -> bool:
    """Whether the recorded exception is to be repeated: not where the client left, nor where the record stops before
    the answer did.
    """
    return playback.finish == playback.ending.ending != Transport.CLIENT_CLOSED


def why(playback: Playback) -> str:
    """Why a recording does not go on, where its exceptions are not known here."""
    stops = f"recording {playback.recording.recording_id} goes no further"
    detail = playback.ending.detail
    if playback.finish == Transport.CLIENT_CLOSED:
        return f"{stops}: its client left here"
    if playback.finish != playback.ending.ending:
        return f"{stops}: {detail.get('reason', 'its writer died')}"
    return next((str(entry.get("message", "")) for entry in detail.get("exception") or ()), "") or (
        f"{stops}: {playback.finish}"
    )
