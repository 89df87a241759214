"""A quick look whether bytes can hold a credential at all, before anybody looks closely.

Nearly everything that passes holds none, so this look is what redaction costs. A few dozen plain words are searched at
nearly the speed of memory. What holds one of them is searched once more by patterns; what still seems to hold something
is for `shapes` to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, product
from typing import Final

from .matcher import Matcher
from .shapes import EDGES, SCREEN, SPELLED, words

__all__ = ["breaks_off", "may_hold", "suspicious"]

#: Words are searched by their lengths: so many at once that the engine compares all in one step (some sixty), and of
#: like lengths, so that it sees by many letters that none is there. [All at once: 4.6 ns/byte, so: 1.2.]
_LENGTHS: Final = (0, 4, 5, 6, 7, 99)

#: How the names end that credentials follow, and what stands before that: `api_key`, `session-token`. In a name such
#: as `input_tokens` other letters do.
_NAME_ENDS: Final = (("key", ("pi", "t", "te", "ss", "ion")), ("token", ("s", "h", "ssion")), ("secret", ("t",)))
#: Parts of all other names.
_NAME_PARTS: Final = ("uthoriz", "ssw", "ssphrase", "ookie")
#: What signs a URL.
_URL_PARTS: Final = ("-Signature", "-signature", "ignature=", "sig=", "ignature%3", "sig%3", "y-Token", "y-token")
#: A URL that may hold a user, or breaks off before one knows; slashes also as PHP spells them. (Most URLs go on with a
#: path, and are looked at no closer.)
_USER: Final = r':\\{0,4}/\\{0,4}/[^/?#"@ ]*[@"]'


def _name_parts() -> Iterator[str]:
    """A part of each name that credentials follow, in each way in which names are written."""
    for part in _NAME_PARTS:
        yield from (part, part.upper())
    for end, befores in _NAME_ENDS:
        for before, mark in product(befores, ("", "_", "-")):
            yield f"{before}{mark}{end}"  # api_key
            yield f"{before}{mark}{end.capitalize()}"  # apiKey, Api-Key
            yield f"{before.upper()}{mark}{end}"  # API-key
            yield f"{before.upper()}{mark}{end.capitalize()}"  # API-Key
            yield f"{mark or before.upper()}{end.upper()}"  # api_KEY, APIKEY


@cache
def _quick() -> Matcher:
    known = sorted({*words(), *_name_parts(), *_URL_PARTS, *map(str.upper, _URL_PARTS)}, key=len)
    # A word that holds another is found with it.
    least = [word for at, word in enumerate(known) if not any(other in word for other in known[:at])]
    groups = [[word for word in least if shortest <= len(word) < longer] for shortest, longer in pairwise(_LENGTHS)]
    return Matcher(*("|".join(map(re.escape, group)) for group in groups), f"{SPELLED}|{_USER}")


@cache
def _screen() -> Matcher:
    return Matcher(SCREEN, SPELLED)


@cache
def _edges() -> Matcher:
    return Matcher(EDGES)


def suspicious(data: bytes) -> bool:
    """Whether a credential may be in these payloads, or may begin in one and go on in the next."""
    return _quick()(data) and (_screen()(data) or _edges()(data))


def may_hold(data: bytes) -> bool:
    """Whether a credential may be in these bytes."""
    return _screen()(data)


def breaks_off(data: bytes) -> bool:
    """Whether a JSON string in these bytes may end within a credential, or begin within one."""
    return _edges()(data)
