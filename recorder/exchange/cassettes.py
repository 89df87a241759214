"""Cassettes of vcrpy, pytest-recording, VCR (Ruby), betamax and cassetter: parsed files to exchanges.

They keep one body an exchange, no cuts, no times but perhaps a date, no ending. Sources of the shapes: vcrpy's
`serializers/compat.py`, VCR's and betamax's "Cassette format" pages, cassetter's SPECIFICATION.md.

Pure: values in, exchanges out; Unfit says what is wrong, and with which interaction.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from .building import Foreign, Unfit, as_json_bytes, header_list
from .lines import micros

__all__ = ["is_cassette", "of_cassette", "source_of"]

#: What none of them keeps.
_UNKNOWN: Final = frozenset({"http_version"})


def is_cassette(value: Any) -> bool:
    """Whether a parsed file looks like one of these."""
    if isinstance(value, Mapping):
        return "interactions" in value or "http_interactions" in value
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], Mapping)
        and {"request", "response"} <= set(value[0])
    )


def source_of(value: Any) -> str:
    """Which tool wrote it."""
    if isinstance(value, Mapping) and "http_interactions" in value:
        return "betamax" if "betamax" in str(value.get("recorded_with", "")).lower() else "VCR for Ruby"
    if isinstance(value, Mapping) and any(_is_cassetter(each) for each in _listed(value.get("interactions"))):
        return "cassetter"
    return "vcrpy"


def _is_cassetter(interaction: Any) -> bool:
    response = interaction.get("response") if isinstance(interaction, Mapping) else None
    return isinstance(response, Mapping) and isinstance(response.get("status"), int)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def of_cassette(value: Any) -> Iterator[Foreign]:
    """The exchanges of a parsed cassette, in its order. Raises Unfit."""
    if isinstance(value, list):
        raise Unfit(
            "it is a cassette of vcrpy's version 0: bring it to version 1 with `python -m vcr.migration FILE` first"
        )
    named = "http_interactions" if "http_interactions" in value else "interactions"
    interactions = value[named]
    if not isinstance(interactions, list):
        raise Unfit(f"`{named}` is no list")
    left = [name for name in ("ws", "websocket", "grpc", "ws_interactions", "grpc_interactions") if value.get(name)]
    if left and not interactions:
        raise Unfit(f"it holds {' and '.join(left)} calls only, and recorder records HTTP")
    for number, interaction in enumerate(interactions, 1):
        try:
            yield _exchange(interaction)
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, Unfit) else f"it has not the form of one ({type(error).__name__})"
            raise Unfit(f"interaction {number}: {why}") from None


def _exchange(interaction: Mapping[str, Any]) -> Foreign:
    request, response = interaction["request"], interaction["response"]
    headers = header_list(response.get("headers"))
    status, reason = _status(response.get("status"))
    if status is None:
        raise Unfit("the response has no status")
    unknown = set(_UNKNOWN)
    body, exact = _body(response)
    asked, asked_exact = _body(request)
    if not exact:
        unknown.add("bytes")
    if not asked_exact:
        unknown.add("request")
    if not headers:
        unknown.add("headers")
    url = request.get("uri") or request.get("url")
    if not isinstance(url, str):
        raise Unfit("the request has no URL")
    return Foreign(
        method=str(request.get("method", "GET")).upper(),
        url=url,
        request_headers=header_list(request.get("headers")),
        request_body=asked,
        status=status,
        reason=reason,
        headers=headers,
        body=body,
        started_at=_moment(interaction.get("recorded_at")) or _date(headers),
        unknown=frozenset(unknown),
    )


def _status(value: Any) -> tuple[int | None, str]:
    if isinstance(value, Mapping):
        code = value.get("code")
        return (None if code is None else int(code)), str(value.get("message") or "")
    return (value, "") if isinstance(value, int) and not isinstance(value, bool) else (None, "")


def _body(side: Mapping[str, Any]) -> tuple[bytes, bool]:
    """The body of a request or response; whether these are the bytes that went over the wire."""
    if side.get("parsed_body") is not None:  # pydantic-ai's serializer: JSON as YAML
        return as_json_bytes(side["parsed_body"]), False
    if "body_type" in side:  # cassetter's TOML: JSON as text
        return _typed(side["body_type"], side.get("body_content"), as_text=True)
    body = side.get("body")
    if isinstance(body, Mapping):
        if "type" in body:
            return _typed(body["type"], body.get("content"), as_text=False)
        return _stringed(body), True
    if isinstance(body, list | tuple):  # a body that was streamed
        return b"".join(map(_bytes, body)), True
    return _bytes(body), True


def _typed(kind: Any, content: Any, *, as_text: bool) -> tuple[bytes, bool]:
    """A body of cassetter. Its text is NFC-normalised and its compression gone, so the bytes may be others."""
    if kind == "none" or content is None:
        return b"", True
    if kind == "binary":
        try:
            return bytes.fromhex(str(content)), True
        except ValueError:
            raise Unfit("a binary body is no hexadecimal") from None
    if kind == "text":
        return _bytes(content), True
    if kind == "json":
        return (_bytes(content) if as_text and isinstance(content, str) else as_json_bytes(content)), False
    raise Unfit(f"a body is of a type that recorder does not know: {str(kind)[:20]!r}")


def _stringed(body: Mapping[str, Any]) -> bytes:
    """{"string": …} of vcrpy, {"encoding": …, "string" or "base64_string": …} of VCR and betamax."""
    packed = body.get("base64_string")
    if packed:
        try:
            return base64.b64decode(packed, validate=False)
        except (binascii.Error, ValueError, TypeError):
            raise Unfit("a base64 body is damaged") from None
    text = body.get("string", "")
    if isinstance(text, str):
        name = str(body.get("encoding") or "utf-8")
        try:
            return text.encode("utf-8" if name.upper() in ("ASCII-8BIT", "BINARY", "NONE") else name)
        except (LookupError, UnicodeError):
            return _bytes(text)
    return _bytes(text)


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    raise Unfit("a body is neither text nor bytes")


def _moment(value: Any) -> int | None:
    """Microseconds UTC of `recorded_at`: ISO 8601, or a date of HTTP."""
    if isinstance(value, datetime):
        return micros(value)
    if not isinstance(value, str):
        return None
    try:
        return micros(datetime.fromisoformat(value))
    except ValueError:
        return _http_date(value)


def _date(headers: tuple[tuple[str, str], ...]) -> int | None:
    """When the answer was made, to the second: its `date` header."""
    return next((_http_date(value) for name, value in headers if name.lower() == "date"), None)


def _http_date(text: str) -> int | None:
    try:
        return micros(parsedate_to_datetime(text))
    except (ValueError, TypeError):
        return None
