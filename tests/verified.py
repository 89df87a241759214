"""Stores to be verified: recordings of every shape, erased and pruned ones too, and attacks."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from recorder import demo
from recorder.capture import Capture, seal_interrupted
from recorder.recording import Head, HeaderList, Request, Row, Transport, uuid7
from recorder.store import Append, Store
from recorder.store.erasing import Wipe
from recorder.store.scanning import EVERYTHING, Scope
from recorder.verify import Checked, Checkpoint, Summary, verify
from recorder.writer.opening import Opening, Options, opened
from tests.golden import STREAMS, stream

__all__ = ["SECRET", "Looked", "append", "begin", "erase", "fill", "look", "made", "prune", "raw", "unguarded"]

STREAM: HeaderList = (("content-type", "text/event-stream"),)
SECRET = "sk-proj-" + "Ab3" * 20


class Looked:
    """What a verification said."""

    def __init__(self, summary: Summary, checked: Sequence[Checked]) -> None:
        self.summary = summary
        self.checked = list(checked)

    @property
    def faults(self) -> dict[UUID | None, set[str]]:
        """The codes of what is wrong with each recording."""
        faulty = [each for each in self.checked if each.problems]
        return {each.recording_id: {problem.code for problem in each.problems} for each in faulty}

    @property
    def codes(self) -> set[str]:
        """The codes of all that is wrong, the store's too."""
        return set().union(*self.faults.values(), {problem.code for problem in self.summary.problems})

    def verdict(self, recording_id: UUID) -> str:
        (found,) = [each.verdict for each in self.checked if each.recording_id == recording_id]
        return found


def look(store: Store, scope: Scope = EVERYTHING, lines: Sequence[Checkpoint] = ()) -> Looked:
    """Verify the store."""
    checked: list[Checked] = []
    return Looked(verify(store, checked.append, scope, lines), checked)


def begin(asked: Request, *, content: str = "full", **fields: Any) -> Capture:
    """A capture of a request as a writer opens it."""
    given: dict[str, Any] = {"session": None, "trace": None, "call": None, "tags": {}, "weight": 1.0} | fields
    opening = Opening(request=asked, started_at=1_790_000_000_000_000, content=content, **given)
    return Capture(opened(opening, uuid7(), uuid7(), Options()))


def made(
    asked: Request,
    answer: bytes | None,
    *,
    headers: HeaderList = STREAM,
    chunk: int = 97,
    ending: str = Transport.EOF,
    detail: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Capture, list[Row]]:
    """A capture that is over, and its rows."""
    capture = begin(asked, **fields)
    if answer is not None:
        capture.head(Head(200, "OK", headers=headers), 1000)
        for number, start in enumerate(range(0, len(answer), chunk), 2):
            capture.data(answer[start : start + chunk], 1000 * number)
    capture.end(ending, 10_000_000, detail=detail)
    return capture, capture.take()


def append(store: Store, asked: Request, answer: bytes | None, **how: Any) -> UUID:
    """Put an exchange into the store; its id."""
    capture, rows = made(asked, answer, **how)
    recording_id = capture.recording.recording_id
    store.append([Append(recording_id, capture.recording, rows, capture.ending)])
    return recording_id


def _post(**body: Any) -> Request:
    data = json.dumps(body).encode()
    url, headers = "https://api.openai.com/v1/chat/completions?a=1", (("content-type", "application/json"),)
    return Request("POST", url, headers, data, len(data))


def fill(store: Store, *, streams: bool = True) -> dict[str, UUID]:
    """Recordings of every shape, sealed, unfinished and erased; some of them by name."""
    if streams:
        for path in sorted(STREAMS.glob("*.sse")):
            tags_ = {"app": "shop", "näme": "\U0001f600"}
            append(store, *stream(path.stem), session="s", trace="00-a-b-01", tags=tags_)
    chat = demo.stream("chat-completed") if "chat-completed" in demo.names() else demo.stream(demo.names()[0])
    asked = _post(model="gpt-4o", messages=[{"role": "user", "content": "hello"}], stream=True)
    odd = b"\xef\xbb\xbfdata: 1\r\n\r\n: ping\n\nevent:x\ndata: \xff\n\nevent: caf\xc3\xa9\ndata: y\n\ndata: cut o"
    spilt = b'data: {"choices":[{"delta":{"content":"key ' + SECRET.encode() + b'"}}]}\n\n' + chat
    long = "m" * 3000
    shapes: dict[str, dict[str, Any]] = {
        "plain": {"tags": {"app": "shop"}, "call": uuid7()},
        "facts": {"content": "facts"},
        "none": {"content": "none"},
        "left": {"ending": Transport.CLIENT_CLOSED},
        "odd": {"answer": odd, "chunk": 3},
        "empty": {"answer": b""},
        "refused": {"answer": None, "ending": Transport.CONNECT_ERROR},
        "json": {"answer": b'{"id":"x","choices":[]}', "headers": (("content-type", "application/json"),)},
        "gzip": {"answer": gzip.compress(chat), "headers": (*STREAM, ("content-encoding", "gzip"))},
        "secret": {"answer": spilt, "asked": _post(model="gpt-4o", messages=[{"content": SECRET}])},
        "secret_gzip": {"answer": gzip.compress(spilt), "headers": (*STREAM, ("content-encoding", "gzip"))},
        "large": {"asked": _post(model="gpt-4o", messages=[{"content": "word " * 5000}])},
        "oversize": {"asked": replace(asked, body=None, body_size=1 << 30, body_sha256=b"h" * 32)},
        "long": {"asked": _post(model=long, messages=[]), "trace": long, "session": long, "tags": {long: long}},
        "surrogate": {"asked": _post(model="\ud83d\0", messages=[]), "tags": {"\ud83d": "\0"}, "session": "\ud83d"},
        "huge": {"asked": _post(model=7, stream="yes", max_tokens=1 << 80, messages=[])},
    }
    found = {}
    for name, how in shapes.items():
        given: dict[str, Any] = {"asked": asked, "answer": chat} | how
        found[name] = append(store, **given)
    found["interrupted"] = _interrupted(store, asked)
    found["open"] = _open(store, asked)
    for name in ("erased", "erased_odd"):
        found[name] = append(store, asked, odd if name == "erased_odd" else chat, tags={"app": "shop"})
        erase(store, found[name])
    found["pruned"] = append(store, asked, chat)
    prune(store, found["pruned"])
    return found


def _open(store: Store, asked: Request) -> UUID:
    capture = begin(asked)
    capture.head(Head(200, "OK", headers=STREAM), 1000)
    capture.data(b"data: 1\n\n", 2000)
    store.append([Append(capture.recording.recording_id, capture.recording, capture.take())])
    return capture.recording.recording_id


def _interrupted(store: Store, asked: Request) -> UUID:
    recording_id = _open(store, asked)
    recording = store.recording(recording_id)
    row, ending = seal_interrupted(recording, store.events(recording_id))
    store.append([Append(recording_id, None, [row], ending)])
    return recording_id


def erase(store: Store, recording_id: UUID) -> None:
    """Take a recording's content away, its tags too."""
    assert store.wipe([Wipe(recording_id, None, labels=True)], "me", "asked") == [recording_id]


def prune(store: Store, recording_id: UUID) -> None:
    """Take all of a recording away; its erasure stays, and its leaf where it was logged."""
    assert store.remove([recording_id], "me", "asked") == [recording_id]


# -- past the store ----------------------------------------------------------------------------------------------------


def unguarded(path: Path) -> sqlite3.Connection:
    """A connection to a SQLite store that nobody has open, its triggers gone."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    return connection


def raw(path: Path, *statements: str | tuple[str, Sequence[Any]]) -> None:
    """Run statements past the store. Each must change something."""
    with closing(unguarded(path)) as connection:
        for statement in statements:
            text, given = (statement, ()) if isinstance(statement, str) else statement
            assert connection.execute(text, given).rowcount, text
