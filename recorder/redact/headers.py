"""Headers as they may be stored.

- Request headers are kept by allow-list: an unknown one may be anybody's credential.
- Response headers are kept in order except a deny-list: replay needs `location`, `retry-after`, `x-should-retry`
  and the lengths, analysis the rate limits and token counts.

A withheld value leaves its name, its place and `[redacted]` behind.
"""

from __future__ import annotations

import re
from typing import Final

from ..recording import HeaderList
from .names import credential_header, squeezed
from .shapes import REDACTED
from .urls import clean_text, clean_url

__all__ = ["keep_request_headers", "keep_response_headers"]

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

# Whose account it is: no credential, and still nobody's business who reads a recording.
_IDENTITIES: Final = frozenset({"openaiorganization", "openaiproject", "anthropicorganizationid"})

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
    word = squeezed(name)
    if word in _IDENTITIES or credential_header(name):
        return True
    if "token" not in word or "ratelimit" in word:
        return False
    return not _FIGURE.fullmatch(value.strip())


def _clean_value(name: str, value: str) -> str:
    """A header value that is kept, without the credentials of the URLs in it."""
    return clean_url(value) if name.lower() in _PLACES else clean_text(value)
