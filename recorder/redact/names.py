"""Which names carry credentials: of headers, of query parameters, of a body's fields.

Names are compared by their letters and digits alone, so `api_key`, `Api-Key` and `apiKey` are one. The word "token"
inside a name says nothing: `max_completion_tokens` is a parameter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

__all__ = ["credential_field", "credential_header", "credential_query", "squeezed"]

# A name that contains one of these carries a credential wherever it stands: header, query, field of a body.
_PARTS: Final = (
    "accesskey",
    "accesstoken",
    "accountkey",
    "apikey",
    "apitoken",
    "appkey",
    "authkey",
    "authorization",
    "authtoken",
    "clientassertion",
    "cookie",
    "credential",
    "functionskey",
    "idtokenhint",
    "jsessionid",
    "masterkey",
    "passphrase",
    "passwd",
    "password",
    "phpsessid",
    "privatekey",
    "refreshtoken",
    "secret",
    "securitytoken",
    "sessionkey",
    "sessiontoken",
    "sharedkey",
    "signingkey",
    "subscriptionkey",
)

# Names that are credentials when they are the whole name.
_NAMES: Final = frozenset({"auth", "bearer", "jwt", "otp", "pwd", "sas", "token", "xauth"})

# Credentials in a query, everyday words in a header or a body.
_QUERY_NAMES: Final = frozenset({"assertion", "code", "codeverifier", "key", "pass", "sid", "sig"})

# AWS and Google presigned URLs (Signature Version 4): signature, credential and security token belong together.
_QUERY_PREFIXES: Final = ("xamz", "xgoog")

# They end in "token" and are cursors of a list, or words of a tokenizer.
_NO_CREDENTIAL: Final = frozenset(
    {f"{word}token" for word in ("continuation", "cursor", "delta", "next", "nextpage", "page", "pagination", "prev")}
    | {f"{word}token" for word in ("previouspage", "prevpage", "resume", "skip", "start", "starting", "sync")}
    | {f"{word}token" for word in ("bos", "cls", "eos", "mask", "max", "pad", "per", "sep", "stop", "unk")}
)

_WORDS: Final = re.compile("[a-z0-9]+")


def squeezed(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return "".join(_WORDS.findall(name.lower()))


def _is_credential(word: str) -> bool:
    if word in _NO_CREDENTIAL:
        return False
    return word in _NAMES or word.endswith("token") or any(part in word for part in _PARTS)


def credential_field(name: str) -> bool:
    """Whether a field of that name, in a body, carries a credential. `max_tokens` and `page_token` do not."""
    return _is_credential(squeezed(name))


@lru_cache(maxsize=256)
def credential_query(name: str) -> bool:
    """Whether a query parameter of that name carries a credential, whatever its case and percent-encoding.

    These values are never stored and never enter a match key, so that a rotated key still matches.
    """
    for _ in range(3):
        name = unquote_plus(name)
    word = squeezed(name)
    return (
        word in _QUERY_NAMES or word.startswith(_QUERY_PREFIXES) or word.endswith("signature") or _is_credential(word)
    )


@lru_cache(maxsize=256)
def credential_header(name: str) -> bool:
    """Whether a header of that name carries a credential, judged by the name alone."""
    if name.lower().startswith("access-control-"):  # CORS: `access-control-allow-credentials: true`
        return False
    word = squeezed(name)
    return word in {"authenticationinfo", "proxyauthenticationinfo"} or _has_token(name) or _is_credential(word)


def _has_token(name: str) -> bool:
    words = _WORDS.findall(name.lower())
    return any(word in {"assertion", "auth", "jwt"} or word.endswith("token") for word in words)
