"""Golden streams: for each `streams/<dialect>-<name>.sse` a `.json` beside it that says how it must be read.

The sidecar, reviewed by hand, holds:

- `note`: what the stream shows; `request`: method, url and (JSON) body, as it was asked;
- `reading`: the Reading, without the fields that are None, empty or left at their default;
- `document`: where the protocol has one, the same answer as JSON, not streamed, with its own `document_request` where
  that differs, and in `document_reading` the fields that it reads otherwise (null: the field is not known there).

`python -m tests.golden NAME ...` writes the `reading` of these streams anew, so that a change shows in the diff.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from recorder.recording import Event, Reading, Recording, Request
from tests.tape import JSON, read, recorded, request

__all__ = ["STREAMS", "as_json", "document_differences", "names", "sidecar", "stream", "stream_reading", "tape"]

STREAMS = Path(__file__).parent / "streams"

#: What a JSON answer cannot say, or says elsewhere: pieces, their times and positions.
_ONLY_STREAMED = {"facts", "spoken", "ttft_us", "ttft_visible_us", "parameters", "action", "continues", "opens_run"}

_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(Reading) if field.default is not dataclasses.MISSING
}


def names(dialect: str) -> list[str]:
    """The golden streams of a dialect: `<dialect>-<name>`."""
    return sorted(path.stem for path in STREAMS.glob(f"{dialect}-*.sse"))


def sidecar(name: str) -> dict[str, Any]:
    """What the file beside the stream says."""
    told: dict[str, Any] = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    return told


def _request(told: dict[str, Any]) -> Request:
    body = told.get("body")
    return request(told["method"], told["url"], b"" if body is None else json.dumps(body).encode())


def stream(name: str) -> tuple[Request, bytes]:
    """The request and the bytes of its answer."""
    return _request(sidecar(name)["request"]), (STREAMS / f"{name}.sse").read_bytes()


def stream_reading(name: str) -> Reading:
    """How the stream is read."""
    return read(*stream(name))


def tape(name: str) -> tuple[Recording, list[Event]]:
    """The stream as a recording and its rows."""
    return recorded(*stream(name))


def as_json(reading: Reading) -> dict[str, Any]:
    """The reading as a sidecar holds it."""
    fields = {field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)}
    del fields["spoken"]
    told = {
        name: value
        for name, value in fields.items()
        if (value != _DEFAULTS.get(name) if name in _DEFAULTS else value not in (None, (), {}))
    }
    value: dict[str, Any] = json.loads(json.dumps(told, default=dict))
    return value


def document_differences(name: str) -> dict[str, list[Any]]:
    """Field -> [streamed, from the JSON answer] where the two readings differ and the sidecar does not say so.

    A difference that the sidecar names but that is none is one too.
    """
    told = sidecar(name)
    streamed = stream_reading(name)
    answer = json.dumps(told["document"]).encode()
    status = told.get("document_status", 200)
    document = read(_request(told.get("document_request", told["request"])), answer, headers=JSON, status=status)
    expected = told.get("document_reading", {})
    found = {}
    for field in dataclasses.fields(Reading):
        if field.name in _ONLY_STREAMED and field.name not in expected:
            continue
        wanted, is_so = getattr(streamed, field.name), getattr(document, field.name)
        if field.name in expected:
            same = wanted == expected[field.name]
            wanted = tuple(expected[field.name]) if field.name == "flags" else expected[field.name]
            if same:
                found[field.name] = ["named as a difference, but is none", is_so]
        if wanted != is_so:
            found[field.name] = [wanted, is_so]
    return found


def _write(name: str) -> None:
    told = sidecar(name)
    told["reading"] = as_json(stream_reading(name))
    (STREAMS / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        _write(each)
