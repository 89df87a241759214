"""URLs, and texts with URLs in them, as they may be stored.

User information and the query values (also of a fragment) that carry credentials go, and so does what has the shape of
a credential anywhere, the path too. Nothing is parsed, only searched, so any text will do and nothing raises.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from .names import credential_query
from .shapes import REDACTED, mask

__all__ = ["clean_text", "clean_url", "origin"]

# Raw brackets in the authority make `urllib.parse.urlsplit` look for an IPv6 address and raise.
_REDACTED_HERE: Final = "%5Bredacted%5D"

_ORIGIN: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

# A backslash counts as a slash there (WHATWG URL, special schemes).
_USER: Final = re.compile(r"^(\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2})[^/?#]+@")
# The same in a URL that stands within the path or the query of another.
_INNER_USER: Final = re.compile(r"(:[/\\]{2})[^/?#\\]+@")

_NAME_IN_QUERY: Final = re.compile(r"[?&;#]([^=&;#?]*)=")
_AFTER_PAIR: Final = re.compile(r"[&#]")
_AFTER_VALUE: Final = re.compile(r"[&;#?]")
_QUERY: Final = re.compile(r"[?#]")


def origin(url: str) -> str:
    """Scheme, host and port of a URL, without user information and default port; `null` where there is no host.

    The form is that of RFC 6454 section 6.1.
    """
    found = _ORIGIN.match(url)
    if not found or not found[2]:
        return "null"
    scheme, host = found[1].lower(), found[2].lower()
    host = host.removesuffix(_DEFAULT_PORTS.get(scheme, ":")).removesuffix(":")
    return f"{scheme}://{host}"


def clean_url(url: str) -> str:
    """The URL as it may be stored: user information and the values that carry credentials are withheld.

    `?api-version=…` stays, and so does the path but for what has the shape of a credential.
    """
    return _clean_url(url, depth=3)


def _clean_url(url: str, depth: int) -> str:
    url = _USER.sub(rf"\1{_REDACTED_HERE}@", url)
    url = _INNER_USER.sub(rf"\1{_REDACTED_HERE}@", url)
    url = _clean_pairs(url, depth)
    query = _end(_QUERY, url, 0)
    return mask(url[:query], _REDACTED_HERE) + mask(url[query:])


def _clean_pairs(url: str, depth: int) -> str:
    kept = []
    done = 0
    for found in _NAME_IN_QUERY.finditer(url):
        start = found.end()
        if start < done:  # within a value that was withheld
            continue
        # Some servers split at semicolons too: after a credential's name everything up to the next & is withheld.
        withhold = credential_query(found[1])
        end = _end(_AFTER_PAIR if withhold else _AFTER_VALUE, url, start)
        if end > start and (withhold or _hides_credential(url[start:end], depth)):
            kept += [url[done:start], REDACTED]
            done = end
    return "".join([*kept, url[done:]])


def _end(delimiter: re.Pattern[str], text: str, start: int) -> int:
    """Where the delimiter next stands in the text, or the text's end."""
    found = delimiter.search(text, start)
    return found.start() if found else len(text)


def _hides_credential(value: str, depth: int) -> bool:
    """Whether a percent-encoded value is, or is a URL with, a credential. It may be encoded several times."""
    plain = unquote(value)
    if depth == 0 or plain == value:
        return False
    return mask(plain) != plain or _clean_url(plain, depth - 1) != plain or _hides_credential(plain, depth - 1)


_URL_IN_TEXT: Final = re.compile(r'[^\s<>"]+')


def clean_text(text: str) -> str:
    """A message as it may be stored: masked, and without the credentials of the URLs in it."""
    if "//" in text or "?" in text:
        text = _URL_IN_TEXT.sub(lambda found: clean_url(found[0]), text)
    return mask(text)
