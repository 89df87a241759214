"""The one list of what is never stored: which headers, URL parts and texts carry credentials, and what stands instead.

Whatever writes a header or a URL down asks here, and so does whatever compares them (`recorder.match`), so that
there is no second list to forget. A withheld value leaves its name, its place and `[redacted]` behind.

- Request headers are kept by allow-list: an unknown one may be anybody's credential.
- Response headers are kept in order except a deny-list: replay needs `location`, `retry-after`, `x-should-retry`
  and the lengths, analysis the rate limits and token counts.
- URLs keep their path. User information and the query values (also of a fragment) that carry credentials go.

It refuses to know bodies' formats, and to judge by "token" inside a name: `max_completion_tokens` is a parameter.
Names are compared by their letters and digits alone, so `api_key`, `Api-Key` and `apiKey` are one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_plus

from .recording import HeaderList

__all__ = [
    "REDACTED",
    "clean_text",
    "clean_url",
    "credential_field",
    "credential_header",
    "credential_query",
    "keep_request_headers",
    "keep_response_headers",
    "mask",
    "origin",
]

REDACTED: Final = "[redacted]"

# Raw brackets in the authority make `urllib.parse.urlsplit` look for an IPv6 address and raise.
_REDACTED_USER: Final = "%5Bredacted%5D"

# -- names ---------------------------------------------------------------------------------------------------------

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

# Whose account it is: no credential, and still nobody's business who reads a recording.
_IDENTITIES: Final = frozenset({"openaiorganization", "openaiproject", "anthropicorganizationid"})

_WORDS: Final = re.compile("[a-z0-9]+")


def _squeeze(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return "".join(_WORDS.findall(name.lower()))


def _is_credential(squeezed: str) -> bool:
    if squeezed in _NO_CREDENTIAL:
        return False
    return squeezed in _NAMES or squeezed.endswith("token") or any(part in squeezed for part in _PARTS)


def credential_field(name: str) -> bool:
    """Whether a field of that name, in a body, carries a credential. `max_tokens` and `page_token` do not."""
    return _is_credential(_squeeze(name))


@lru_cache(maxsize=256)
def credential_query(name: str) -> bool:
    """Whether a query parameter of that name carries a credential, whatever its case and percent-encoding.

    These values are never stored and never enter a match key, so that a rotated key still matches.
    """
    for _ in range(3):
        name = unquote_plus(name)
    squeezed = _squeeze(name)
    return (
        squeezed in _QUERY_NAMES
        or squeezed.startswith(_QUERY_PREFIXES)
        or squeezed.endswith("signature")
        or _is_credential(squeezed)
    )


@lru_cache(maxsize=256)
def credential_header(name: str) -> bool:
    """Whether a header of that name carries a credential, judged by the name alone."""
    if name.lower().startswith("access-control-"):  # CORS: `access-control-allow-credentials: true`
        return False
    squeezed = _squeeze(name)
    return squeezed in {"authenticationinfo", "proxyauthenticationinfo"} or _has_token(name) or _is_credential(squeezed)


def _has_token(name: str) -> bool:
    words = _WORDS.findall(name.lower())
    return any(word in {"assertion", "auth", "jwt"} or word.endswith("token") for word in words)


# -- headers -------------------------------------------------------------------------------------------------------

_REQUEST_HEADERS: Final = frozenset(
    re.findall(
        r"\S+",
        """
    accept accept-charset accept-encoding accept-language cache-control connection content-encoding content-language
    content-length content-md5 content-type date expect host if-match if-modified-since if-none-match
    if-unmodified-since keep-alive last-event-id pragma prefer priority range te trailer transfer-encoding upgrade
    user-agent via

    anthropic-beta anthropic-dangerous-direct-browser-access anthropic-version api-version extra-parameters
    idempotency-key mcp-protocol-version openai-beta openai-version request-id traceparent tracestate
    x-amzn-trace-id x-b3-sampled x-b3-spanid x-b3-traceid x-client-name x-client-request-id x-client-version
    x-cloud-trace-context x-correlation-id x-goog-api-client x-idempotency-key x-ms-client-request-id x-ms-date
    x-ms-return-client-request-id x-ms-useragent x-ms-version x-request-id
        """,
    )
)

# What SDK generators say of themselves.
_REQUEST_PREFIXES: Final = ("x-fern-", "x-stainless-")

# A count, a duration (`6m0s`, `1.5ms`) or a time (RFC 3339): what a header that counts tokens may say.
_FIGURE: Final = re.compile(
    r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?"
    r"|(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|ms|s|m|h|d)){1,6}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,20}(?:Z|[+-][0-9]{2}:[0-9]{2})"
)

_PLACES: Final = frozenset({"azure-asyncoperation", "content-location", "location", "operation-location"})


def keep_request_headers(headers: HeaderList) -> HeaderList:
    """The headers as they may be stored: same names, same order; what is not on the allow-list is withheld."""
    return tuple((name, _clean_value(name, value) if _may_keep(name) else REDACTED) for name, value in headers)


def _may_keep(name: str) -> bool:
    name = name.lower()
    return name in _REQUEST_HEADERS or (name.startswith(_REQUEST_PREFIXES) and not credential_header(name))


def keep_response_headers(headers: HeaderList) -> HeaderList:
    """The headers as they may be stored: same names, same order; what is on the deny-list is withheld."""
    return tuple(
        (name, REDACTED if _must_withhold(name, value) else _clean_value(name, value)) for name, value in headers
    )


def _must_withhold(name: str, value: str) -> bool:
    squeezed = _squeeze(name)
    if squeezed in _IDENTITIES or credential_header(name):
        return True
    if "token" not in squeezed or "ratelimit" in squeezed:
        return False
    return not _FIGURE.fullmatch(value.strip())


def _clean_value(name: str, value: str) -> str:
    """A header value that is kept, without the credentials of the URLs in it."""
    return clean_url(value) if name.lower() in _PLACES else clean_text(value)


# -- URLs ----------------------------------------------------------------------------------------------------------

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

    Any text will do: it is not parsed, only searched, so nothing raises. `?api-version=…` and the path stay.
    """
    return _clean_url(url, depth=3)


def _clean_url(url: str, depth: int) -> str:
    url = _USER.sub(rf"\1{_REDACTED_USER}@", url)
    url = _INNER_USER.sub(rf"\1{_REDACTED_USER}@", url)
    url = _clean_pairs(url, depth)
    query = _end(_QUERY, url, 0)
    return url[:query] + mask(url[query:])


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


# -- text ----------------------------------------------------------------------------------------------------------

_URL_IN_TEXT: Final = re.compile(r'[^\s<>"]+')

# Each is anchored at the start of a run or bounded, so that the search stays linear on any text.
_SHAPES: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk|xai)-(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, Stripe, xAI
    r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,}"  # Google
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS
    r"|(?<![A-Za-z0-9])(?:gh[opsru]_|github_pat_|hf_|gsk_|r8_)[A-Za-z0-9_]{20,}"  # GitHub, HF, Groq, Replicate
    r"|(?<![A-Za-z0-9])xox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*"  # JSON Web Token
    r"|(?i:(?<![A-Za-z])bearer[ ]{1,4})(?=[A-Za-z._~+/-]{0,64}[0-9])[A-Za-z0-9._~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
)


def clean_text(text: str) -> str:
    """A message as it may be stored: masked, and without the credentials of the URLs in it."""
    if "//" in text or "?" in text:
        text = _URL_IN_TEXT.sub(lambda found: clean_url(found[0]), text)
    return mask(text)


def mask(text: str) -> str:
    """The text with everything that has the shape of a well-known credential replaced by `[redacted]`."""
    return _SHAPES.sub(REDACTED, text)
