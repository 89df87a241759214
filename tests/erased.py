"""A store full of canaries: texts that stand wherever a text can stand, in recordings that hang together and in some
that do not; and a search for them in every byte that is left.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from recorder.recording import HeaderList, Request, uuid7
from recorder.store import Store
from tests.kept import keep
from tests.postgres import Postgres
from tests.tape import EVENT_STREAM, JSON, post, request

__all__ = [
    "CUSTOMER",
    "RUN",
    "THREAD",
    "Canaries",
    "Filled",
    "fill",
    "in_database",
    "in_files",
    "in_relations",
    "run_answer",
]

CUSTOMER = "C-4711-Quillfeather"
THREAD = "thread_abc123DEF"
RUN = "run_xyz789GHI"


class Canaries:
    """Hands out texts that occur nowhere else."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def __call__(self, where: str) -> str:
        text = f"Canary-{where}-{uuid7().hex[-12:]}-Zaunkoenig"
        self.all.append(text)
        return text


class Filled(NamedTuple):
    """The recordings that have to do with the customer, those that have not, and the canaries of the former."""

    customers: list[UUID]
    others: list[UUID]
    canaries: list[str]
    kept: str


def _sse(*events: tuple[str | None, Any]) -> bytes:
    lines = [
        (f"event: {name}\n" if name else "") + f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        for name, data in events
    ]
    return "".join(lines).encode()


def run_answer(canary: Canaries, status: str, text: str) -> bytes:
    run = {
        "id": RUN,
        "object": "thread.run",
        "thread_id": THREAD,
        "assistant_id": "asst_shared",
        "model": "gpt-4o-2024-08-06",
        "instructions": canary("run-instructions"),
        "metadata": {"customer": CUSTOMER, "note": canary("run-metadata")},
        "tools": [{"type": "function", "function": {"name": canary("tool-name"), "description": canary("tool")}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": json.dumps(canary("args"))}}]
    waiting = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    delta = {"id": "msg_1", "delta": {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}}
    return _sse(
        ("thread.run.created", {**run, "status": "queued"}),
        ("thread.message.delta", delta),
        ("thread.run." + status, {**run, "status": status, "required_action": waiting, "last_error": None}),
        ("done", "[DONE]"),
    )


def _assistants(store: Store, canary: Canaries) -> list[UUID]:
    """A thread: a message added with no metadata, a run that asks for a tool, its output, a poll, a listing."""
    base = f"/v1/threads/{THREAD}"
    tags = {"customer": CUSTOMER, "tag": canary("tag-at-start")}
    long = canary("long-body") + " " + "and so on " * 900
    made = [
        keep(store, post("/v1/threads", messages=[{"role": "user", "content": canary("thread-message")}]),
             json.dumps({"id": THREAD, "object": "thread", "metadata": {"x": canary("thread-meta")}}).encode(),
             headers=JSON, started_at=1_000),
        keep(store, post(f"{base}/messages", role="user", content=canary("added-message")),
             json.dumps({"id": "msg_0", "object": "thread.message", "thread_id": THREAD,
                         "content": [{"type": "text", "text": {"value": canary("echo")}}]}).encode(),
             headers=JSON, started_at=2_000),
        keep(store, post(f"{base}/runs", assistant_id="asst_shared", stream=True, additional_instructions=long,
                         metadata={"customer": CUSTOMER, "n": canary("metadata")}, user=canary("user")),
             run_answer(canary, "requires_action", canary("delta")), started_at=3_000, tags=tags,
             session=canary("session"), trace=canary("trace")[:60]),
        keep(store, post(f"{base}/runs/{RUN}/submit_tool_outputs", stream=True,
                         tool_outputs=[{"tool_call_id": "call_1", "output": canary("tool-output")}]),
             run_answer(canary, "completed", canary("second-delta")), started_at=4_000),
        keep(store, request("GET", f"{base}/messages?order={canary('query')}"),
             json.dumps({"object": "list", "data": [{"thread_id": THREAD, "content": canary("listed")}]}).encode(),
             headers=(*JSON, ("x-note", canary("response-header"))), started_at=5_000),
    ]  # fmt: skip
    return [each.recording_id for each in made]


def _response(canary: Canaries, name: str) -> bytes:
    body = {"id": name, "object": "response", "model": "gpt-4o", "status": "completed", "error": None,
            "output": [{"type": "message", "id": "m_" + name, "content": [
                {"type": "output_text", "text": canary("output-text")}]}],
            "instructions": canary("instructions"), "prompt_cache_key": canary("cache-key"),
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}  # fmt: skip
    delta = {"type": "response.output_text.delta", "item_id": "m_" + name, "delta": canary("response-delta")}
    return _sse(
        ("response.created", {"type": "response.created", "response": {**body, "output": []}}),
        ("response.output_text.delta", delta),
        ("response.completed", {"type": "response.completed", "response": body}),
    )


def _responses(store: Store, canary: Canaries) -> list[UUID]:
    """A chain of three of which only the middle one names the customer; the last one is compressed."""
    gzipped: HeaderList = (*EVENT_STREAM, ("content-encoding", "gzip"))
    asked = {"model": "gpt-4o", "stream": True}
    made = [
        keep(store, post("/v1/responses", input=canary("input"), **asked), _response(canary, "resp_1"),
             started_at=10_000),
        keep(store, post("/v1/responses", input=canary("input"), previous_response_id="resp_1",
                         metadata={"customer": CUSTOMER}, safety_identifier=canary("safety"), **asked),
             _response(canary, "resp_2"), started_at=11_000),
        keep(store, post("/v1/responses", input=canary("input"), previous_response_id="resp_2", **asked),
             gzip.compress(_response(canary, "resp_3")), headers=gzipped, started_at=12_000),
    ]  # fmt: skip
    return [each.recording_id for each in made]


def _calls(store: Store, canary: Canaries) -> list[UUID]:
    """One call in three attempts: refused with an error that quotes it, cut off, answered. The last is tagged later."""
    call = uuid7()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": canary("chat")}], "user": canary("chat-user"),
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
                "title": canary("schema-title"), "properties": {canary("schema-key"): {"type": "string"}}}}},
            "stop": [canary("stop")], canary("unknown-name"): canary("unknown-value"), "stream": True}  # fmt: skip
    headers: HeaderList = (("content-type", "application/json"), ("x-title", canary("request-header")))

    def asked() -> Request:
        plain = post("/v1/chat/completions", **body)
        return Request(plain.method, plain.url + "?k=" + canary("url"), headers, plain.body, plain.body_size)

    error = {"error": {"message": f"bad: {canary('error')}", "type": "invalid_request_error", "code": "bad"}}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [
        {"index": 0, "delta": {"content": canary("chat-delta")}, "finish_reason": None}]}  # fmt: skip
    tool = {"id": "call_9", "index": 0, "function": {"name": canary("called"), "arguments": canary("arguments")}}
    end = {**chunk, "choices": [{"index": 0, "delta": {"tool_calls": [tool]}, "finish_reason": "tool_calls"}]}
    answer = _sse((None, chunk), (None, end), (None, "[DONE]"))
    odd = b"data: " + json.dumps(chunk).encode() + b"\r\n: " + canary("comment").encode() + b"\r\n\r\n"
    made = [
        keep(store, asked(), json.dumps(error).encode(), status=400, headers=JSON, call=call, started_at=20_000),
        keep(store, asked(), odd + b"data: " + canary("tail").encode(), ending="reset", call=call, started_at=21_000),
        keep(store, asked(), answer, call=call, started_at=22_000),
    ]
    store.tag(made[2].recording_id, "customer", CUSTOMER)
    store.tag(made[2].recording_id, "note", canary("tag-later"))
    return [each.recording_id for each in made]


def fill(store: Store) -> Filled:
    """Recordings of a customer, and of somebody else who is asked the same things by the same assistant."""
    canary, other = Canaries(), Canaries()
    customers = [*_assistants(store, canary), *_responses(store, canary), *_calls(store, canary)]
    kept = other("kept")
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": kept}], "metadata": {"customer": "another"}}
    others = [
        keep(store, post("/v1/chat/completions", stream=True, **body), _sse((None, {"id": "chatcmpl-2", "choices": []}),
             (None, "[DONE]")), started_at=30_000, tags={"customer": "another"}),
        keep(store, post("/v1/responses", model="gpt-4o", input=kept), b'{"id": "resp_other"}', headers=JSON,
             started_at=31_000),
    ]  # fmt: skip
    return Filled(customers, [each.recording_id for each in others], [*canary.all, CUSTOMER], kept)


# -- looking for them --------------------------------------------------------------------------------------------------


def _found(data: bytes, texts: Iterable[str]) -> set[str]:
    return {text for text in texts if text.encode() in data}


def in_files(folder: Path, texts: Iterable[str]) -> dict[str, set[str]]:
    """Which texts are in which files of a folder. Nobody may have a store in it open."""
    wanted = list(texts)
    held = {str(path): _found(path.read_bytes(), wanted) for path in folder.rglob("*") if path.is_file()}
    return {path: found for path, found in held.items() if found}


def in_database(url: str, texts: Iterable[str]) -> set[str]:
    """Which texts are in any column of any table, whatever its type."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [row for name in names for row in connection.execute(f"SELECT * FROM {name}")]
    else:
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
            rows = [row for (name,) in tables for row in connection.execute(f'SELECT * FROM "{name}"').fetchall()]
    data = b"\0".join(
        value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        for row in rows
        for value in row
    )
    return _found(data, texts)


def in_relations(server: Postgres, url: str, texts: Iterable[str]) -> dict[str, set[str]]:
    """Which texts are in which files of the store's tables, indexes and what they put aside, after a checkpoint."""
    wanted = list(texts)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        paths = connection.execute(
            "SELECT pg_relation_filepath(c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'i', 't') AND "
            "(c.relnamespace = current_schema()::regnamespace OR c.oid IN (SELECT reltoastrelid FROM pg_class "
            "WHERE relnamespace = current_schema()::regnamespace))"
        ).fetchall()
    found = {}
    for (path,) in paths:
        if path is not None and (hits := _found((server.data / path).read_bytes(), wanted)):
            found[path] = hits
    return found
