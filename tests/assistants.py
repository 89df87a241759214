"""Streams of the Assistants protocol for several tests: requests, the project's own and the published streams."""

from __future__ import annotations

from pathlib import Path

from recorder.dialects import by_name
from recorder.recording import Reading
from tests.golden import STREAMS
from tests.needs import CORPUS
from tests.payloads import ASSISTANTS_DONE
from tests.tape import post, read, recorded, request

__all__ = ["CREATE", "POLL", "SAID", "SUBMIT", "comparable", "golden", "name_of", "ours", "stream"]

CREATE = post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True)

SUBMIT = post("/v1/threads/thread_1/runs/run_torture/submit_tool_outputs", tool_outputs=[], stream=True)

POLL = request("GET", "/v1/threads/thread_1/runs/run_torture")

SAID = "Four ships can sail today."


def golden(name: str) -> bytes:
    """The bytes of one of the project's own streams."""
    return (STREAMS / f"assistants-{name}.sse").read_bytes()


def stream(*events: bytes, done: bool = True) -> Reading:
    """How a stream of these events is read, as the answer to a create."""
    return read(CREATE, b"".join(events) + (ASSISTANTS_DONE if done else b""))


def comparable() -> list[Path]:
    """The project's own streams and the published ones."""
    return [*sorted(STREAMS.glob("assistants-*.sse")), *sorted((CORPUS / "assistants").glob("*.sse"))]


def name_of(path: Path) -> str:
    """As the lists of exceptions call it."""
    return path.stem if path.parent == STREAMS else path.stem[:14]


def ours(path: Path) -> Reading:
    """How the stream is read, as the answer to a create."""
    recording, events = recorded(CREATE, path.read_bytes())
    return by_name("assistants").read(recording, events)
