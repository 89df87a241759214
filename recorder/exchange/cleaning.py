"""Recordings of a file as they may be stored: by today's rules, which may withhold more than those it was recorded by.

URLs and headers are held to `recorder.redact` once more, because a file may come from anybody, or from an earlier
recorder. Payloads are taken as they are; `recorder scan` looks through them. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any, Final

from .. import redact
from ..recording import Event, Head, Kind, Recording, Request
from . import lines
from .lines import Entry

__all__ = ["cleaned", "cleaned_request", "sealed_as"]

_HEADS: Final = frozenset({Kind.INFO.value, Kind.HEAD.value})


def cleaned(entry: Entry) -> Entry:
    """The recording without what must not be stored; itself where nothing has to be withheld.

    A sealed one of which something is withheld is sealed anew, and its end says so: under `redacted`, `on_import` has
    the places, and the seal that the whole recording had.
    """
    recording, events = entry
    asked = cleaned_request(recording.request)
    heads = [_head(event) for event in takewhile(lambda event: event.kind in _HEADS, events)]
    changed = [asked != recording.request, heads != list(events[: len(heads)])]
    if not any(changed):
        return entry
    clean = Entry(replace(recording, request=asked), [*heads, *events[len(heads) :]])
    if recording.ending is None or recording.ending.seal is None:
        return clean
    return _sealed_anew(clean, [place for place, is_so in zip(("request", "response"), changed, strict=True) if is_so])


def cleaned_request(told: Request) -> Request:
    """The request without what must not be stored."""
    return replace(told, url=redact.clean_url(told.url), headers=redact.keep_request_headers(told.headers))


def sealed_as(recording: Recording) -> str | None:
    """The seal that the whole recording had, in hexadecimal, of one of which import withheld something; else None."""
    told = _mapping(_mapping(recording.ending.detail if recording.ending else None).get("redacted"))
    sealed = _mapping(told.get("on_import")).get("sealed")
    return sealed if isinstance(sealed, str) else None


def _head(event: Event) -> Event:
    if event.data is None:
        return event
    head = Head.from_json(event.data)
    kept = redact.keep_response_headers(head.headers)
    if kept == head.headers:
        return event
    data = replace(head, headers=kept).to_json()
    return event._replace(data=data, size=len(data))


def _sealed_anew(entry: Entry, places: list[str]) -> Entry:
    """With an end that tells what was withheld, and digests of what is left."""
    recording, events = entry
    ending = recording.ending
    assert ending is not None
    assert ending.seal is not None
    note = {"places": places, "sealed": sealed_as(recording) or ending.seal.hex()}
    redacted = {**_mapping(ending.detail.get("redacted")), "on_import": note}
    detail = {**ending.detail, "ending": ending.ending, "captured": ending.captured, "redacted": redacted}
    data = json.dumps(detail, separators=(",", ":")).encode("ascii")
    entry = Entry(recording, [*events[:-1], events[-1]._replace(data=data, size=len(data))])
    ending = lines.digests(recording, replace(ending, detail=detail), lines.rows_of(entry))
    return entry._replace(recording=replace(recording, ending=ending))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
