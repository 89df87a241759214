"""What is never stored: credentials in headers, URLs, texts and bodies, and what a user adds to that.

Whatever writes a header, a URL or a payload down asks here, and so does whatever compares them (`recorder.match`), so
that there is no second list to forget.

names     which names carry credentials: of headers, query parameters, fields
headers   request headers by allow-list, response headers by deny-list
urls      user information, query values and shapes in URLs, and in messages with URLs
shapes    what well-known credentials look like
matcher   whether a pattern is in a text at all, in linear time
screen    a quick look whether bytes may hold one, which is all that most bytes cost
leaves    the values of a JSON text, by their bytes and paths
hooks     a user's functions, with a deadline
rules     Redactor: the shapes, and a user's patterns, paths and hooks, on payloads
passage   the payloads of one recording on their way into the store, where a credential comes in pieces

A mask in a payload has the length of what it covers, and stands within a string: sizes, cuts, lengths and JSON stay
true. Elsewhere it is `[redacted]`, and leaves the name and the place of what it stands for.
"""

from __future__ import annotations

from .headers import keep_request_headers, keep_response_headers
from .hooks import Hook
from .names import credential_field, credential_header, credential_query
from .passage import Passage
from .rules import DEFAULT, Redactor, split
from .shapes import REDACTED, mask
from .urls import clean_text, clean_url, origin

__all__ = [
    "DEFAULT",
    "REDACTED",
    "Hook",
    "Passage",
    "Redactor",
    "clean_text",
    "clean_url",
    "credential_field",
    "credential_header",
    "credential_query",
    "keep_request_headers",
    "keep_response_headers",
    "mask",
    "origin",
    "split",
]
