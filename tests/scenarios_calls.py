"""Torture scenarios of calls: HTTP/2, clients that leave, JSON exchanges, several exchanges on one client."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.loopback import (
    LAST_CHUNK,
    Act,
    GoAway,
    H2Act,
    Headers,
    Request,
    ResetStream,
    Step,
    chunk,
    head,
    stream_head,
)
from tests.payloads import (
    AFTER_TOOLS,
    ASSISTANT,
    ASSISTANTS,
    CHAT,
    CREATED,
    DONE,
    REQUIRES_ACTION,
    RESPONSES,
    RUN,
    THREAD,
    chat_chunk,
    compact,
    completion,
    error_body,
    response,
    run,
)
from tests.scenario import (
    LIMITED,
    OK,
    PAGE,
    REQUEST_ID,
    STALL,
    STREAM,
    Call,
    Collection,
    Expect,
    Leave,
    Protocol,
    answer,
    chunked,
    frozen,
    without_stream,
)


def _deadline_cause() -> str | None:
    """The class of the cause of asyncio's own TimeoutError: the first Pythons 3.11 name none."""

    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    try:
        asyncio.run(late())
    except TimeoutError as error:
        return type(error.__cause__).__name__ if error.__cause__ else None
    raise AssertionError("a deadline that has passed raises")


DEADLINE_CAUSE = _deadline_cause()

listed = Collection()
add, add_each = listed.add, listed.add_each


# -- HTTP/2 ---

H2_HEAD = Headers(((":status", "200"), ("content-type", "text/event-stream"), ("x-request-id", "req_torture")))
H2: dict[str, Any] = {"server": "http2"}

add("http2-complete", "assistants", (H2_HEAD, *ASSISTANTS, H2Act.END), Expect(6), **H2)
add("http2-complete-on-httpx", "chat", (H2_HEAD, *CHAT, H2Act.END), Expect(5), client="httpx", **H2)
add("http2-trailers", "responses", (H2_HEAD, *RESPONSES, Headers((("x-checksum", "abc"),), end=True)), Expect(5), **H2)
add(
    "http2-gzip",
    "chat",
    (
        replace(H2_HEAD, pairs=(*H2_HEAD.pairs, ("content-encoding", "gzip"))),
        gzip.compress(b"".join(CHAT), mtime=0),
        H2Act.END,
    ),
    Expect(5),
    **H2,
)
add("http2-no-end-after-done", "chat", (H2_HEAD, *CHAT, Act.HOLD), Expect(5), **H2)
add(
    "http2-reset-stream",
    "assistants",
    (H2_HEAD, *ASSISTANTS[:2], H2Act.BARRIER, ResetStream(2), Act.HOLD),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
    **H2,
)
add_each(
    "http2-reset-stream-before-head",
    "chat",
    [(ResetStream(7),), (H2_HEAD, *CHAT, H2Act.END)],
    Expect(5, requests=2),
    retries=1,
    **H2,
)
add(
    "http2-fin",
    "chat",
    (H2_HEAD, *CHAT[:2], H2Act.BARRIER, Act.FIN),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
    **H2,
)
add(
    "http2-tcp-reset",
    "chat",
    (H2_HEAD, *CHAT[:2], H2Act.BARRIER, Act.RESET),
    Expect(2, "APIConnectionError", "ReadError"),
    **H2,
)
add(
    "http2-goaway",
    "chat",
    (H2_HEAD, *CHAT[:2], H2Act.BARRIER, GoAway(0, 1), Act.FIN),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
    **H2,
)
add(
    "http2-goaway-with-error",
    "responses",
    (H2_HEAD, *RESPONSES[:2], H2Act.BARRIER, GoAway(11, 1), Act.FIN),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
    **H2,
)
add(
    "http2-stall",
    "chat",
    (H2_HEAD, *CHAT[:2], Act.HOLD),
    Expect(2, "APITimeoutError", "ReadTimeout"),
    timeout=STALL,
    **H2,
)
add_each(
    "http2-429-then-ok",
    "chat",
    [
        (
            Headers(((":status", "429"), ("content-type", "application/json"))),
            b'{"error":{"message":"Slow down"}}',
            H2Act.END,
        ),
        (H2_HEAD, *CHAT, H2Act.END),
    ],
    Expect(5, requests=2),
    retries=1,
    **H2,
)
add(
    "http2-error-json",
    "assistants",
    (Headers(((":status", "404"),)), compact(error_body("Nobody")).encode(), H2Act.END),
    Expect(0, "NotFoundError", status=404),
    **H2,
)


# -- clients that leave ---


def _endless(_: Request) -> Iterable[Step]:
    yield stream_head(REQUEST_ID)
    while True:
        yield chunk(CHAT[1])
        yield 0.005


def leaving(protocol: Protocol, leave: Leave, take: int | None = 3) -> tuple[Call, ...]:
    """The protocol's stream, left after `take` events."""
    return (replace(STREAM[protocol], take=take, leave=leave),)


THREE = chunked(ASSISTANTS[:3], end=(Act.HOLD,))
LEAVING: tuple[Leave, ...] = ("close", "exit", "drop")
for leave in LEAVING:
    add(f"client-leaves-by-{leave}", "assistants", THREE, Expect(3), calls=leaving("assistants", leave))
add(
    "client-leaves-by-raising",
    "assistants",
    THREE,
    Expect(3, "Left"),
    calls=leaving("assistants", "raise"),
)
for leave, error, cause in (("cancel", "CancelledError", None), ("deadline", "TimeoutError", DEADLINE_CAUSE)):
    add(
        f"client-leaves-by-{leave}",
        "assistants",
        THREE,
        Expect(3, error, cause),
        calls=leaving("assistants", leave),
        modes=("async",),
    )
add("client-leaves-a-flowing-stream", "chat", _endless, Expect(3), calls=leaving("chat", "close"))
add(
    "client-leaves-mid-event",
    "responses",
    chunked([*RESPONSES[:3], RESPONSES[3][:30]], end=(Act.HOLD,)),
    Expect(3),
    calls=leaving("responses", "close"),
)
add(
    "client-leaves-before-head",
    "chat",
    (Act.HOLD,),
    Expect(0, "TimeoutError", DEADLINE_CAUSE, status=None),
    calls=leaving("chat", "deadline", None),
    modes=("async",),
)
add(
    "client-leaves-an-encoded-stream",
    "chat",
    chunked([gzip.compress(b"".join(CHAT[:3]), mtime=0)], "Content-Encoding: gzip", end=(Act.HOLD,)),
    Expect(3),
    calls=leaving("chat", "close"),
)
add(
    "http2-client-leaves",
    "chat",
    (H2_HEAD, *CHAT[:3], Act.HOLD),
    Expect(3),
    calls=leaving("chat", "close"),
    notes="the HTTP library sends no RST_STREAM: the upstream learns of it when the connection closes",
    **H2,
)
add_each(
    "client-leaves-then-asks-again",
    "chat",
    [chunked(CHAT[:3], end=(Act.HOLD,)), OK["chat"]],
    Expect(3 + 5, requests=2),
    calls=(*leaving("chat", "close"), STREAM["chat"]),
)


# -- JSON exchanges ---

CREATE = without_stream("assistants")
COMPLETE = without_stream("chat")
POLL = replace(CREATE, path="beta.threads.runs.create_and_poll", arguments={**CREATE.arguments, "poll_interval_ms": 1})
RETRIEVE = Call("beta.threads.runs.retrieve", frozen(thread_id=THREAD, run_id=RUN), "value")
SPEECH = Call("audio.speech.create", frozen(model="tts-1", voice="alloy", input="Hello"), "bytes")
FILE = Call("files.create", frozen(file=("notes.txt", b"line one\nline two\n"), purpose="assistants"), "value")
PAGES = Call("beta.threads.messages.list", frozen(thread_id=THREAD, limit=2, order="asc"), "pages")


def message(number: int) -> dict[str, Any]:
    """A thread message."""
    return {
        "id": f"msg_{number}",
        "object": "thread.message",
        "created_at": CREATED,
        "thread_id": THREAD,
        "role": "user",
        "content": [{"type": "text", "text": {"value": f"number {number}", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


def page(numbers: range, more: bool) -> dict[str, Any]:
    """One page of messages."""
    ids = {"first_id": f"msg_{numbers[0]}", "last_id": f"msg_{numbers[-1]}"}
    return {"object": "list", "data": [message(number) for number in numbers], **ids, "has_more": more}


add("json-run-created", "assistants", answer("200 OK", run("queued")), Expect(1), calls=(CREATE,))
add("json-run-retrieved", "assistants", answer("200 OK", run("completed")), Expect(1), calls=(RETRIEVE,))
add_each(
    "json-create-and-poll",
    "assistants",
    [answer("200 OK", run(status)) for status in ("queued", "queued", "in_progress", "completed")],
    Expect(1, requests=4),
    calls=(POLL,),
)
add(
    "json-run-cancelled",
    "assistants",
    answer("200 OK", run("cancelling")),
    Expect(1),
    calls=(replace(RETRIEVE, path="beta.threads.runs.cancel"),),
)
add(
    "json-404",
    "assistants",
    answer("404 Not Found", error_body("No run found")),
    Expect(0, "NotFoundError", status=404),
    calls=(RETRIEVE,),
)
add("json-completion", "chat", answer("200 OK", completion("Hello world")), Expect(1), calls=(COMPLETE,))
add(
    "json-response",
    "responses",
    answer("200 OK", response("completed")),
    Expect(1),
    calls=(without_stream("responses"),),
)
add(
    "json-two-megabytes-gzip",
    "chat",
    answer("200 OK", gzip.compress(compact(completion("x" * 2_000_000)).encode(), mtime=0), "Content-Encoding: gzip"),
    Expect(1),
    calls=(COMPLETE,),
)
add(
    "json-chunked",
    "chat",
    (
        *chunked(
            [compact(completion("Hi")).encode()[:99], compact(completion("Hi")).encode()[99:]],
            "Content-Type: application/json",
        ),
    ),
    Expect(1),
    calls=(COMPLETE,),
)
add(
    "json-malformed",
    "chat",
    answer("200 OK", b'{"id": "chatcmpl'),
    Expect(0, "JSONDecodeError"),
    calls=(COMPLETE,),
)
add(
    "json-is-html",
    "chat",
    (head("200 OK", "Content-Type: text/html", f"Content-Length: {len(PAGE)}") + PAGE,),
    Expect(1),
    calls=(COMPLETE,),
    notes="the page is handed on as a str where a completion was promised",
)
add_each(
    "json-cut-then-ok",
    "chat",
    [
        (head("200 OK", "Content-Type: application/json", "Content-Length: 500"), b'{"id":', Act.FIN),
        answer("200 OK", completion("Hello")),
    ],
    Expect(1, requests=2),
    calls=(COMPLETE,),
    retries=2,
)
add(
    "json-reset",
    "chat",
    (head("200 OK", "Content-Type: application/json", "Content-Length: 500"), b'{"id":', Act.RESET),
    Expect(0, "APIConnectionError", "ReadError"),
    calls=(COMPLETE,),
)
add(
    "json-stall",
    "chat",
    (head("200 OK", "Content-Type: application/json", "Content-Length: 500"), b'{"id":', Act.HOLD),
    Expect(0, "APITimeoutError", "ReadTimeout"),
    calls=(COMPLETE,),
    timeout=STALL,
)
add(
    "json-eof-delimited",
    "chat",
    (head("200 OK", "Content-Type: application/json"), compact(completion("Hi")).encode(), Act.FIN),
    Expect(1),
    calls=(COMPLETE,),
)
add_each(
    "json-429-then-ok",
    "chat",
    [LIMITED, answer("200 OK", completion("Hello"))],
    Expect(1, requests=2),
    calls=(COMPLETE,),
    retries=1,
)
add(
    "json-odd-values",
    "chat",
    answer("200 OK", b'{"id":"a","id":"b","created":1e400,"model":"\\ud83d","choices":[],"object":NaN}'),
    Expect(1),
    calls=(COMPLETE,),
)
add(
    "binary-body",
    "chat",
    (
        head("200 OK", "Content-Type: audio/mpeg", "Transfer-Encoding: chunked"),
        chunk(bytes(range(256)) * 20),
        chunk(b"\r\n\r\n\0"),
        LAST_CHUNK,
    ),
    Expect(1),
    calls=(SPEECH,),
)
add(
    "multipart-upload",
    "assistants",
    answer(
        "200 OK",
        {
            "id": "file_1",
            "object": "file",
            "bytes": 18,
            "created_at": CREATED,
            "filename": "notes.txt",
            "purpose": "assistants",
            "status": "processed",
        },
    ),
    Expect(1),
    calls=(FILE,),
)
add_each(
    "two-pages",
    "assistants",
    [answer("200 OK", page(range(2), True)), answer("200 OK", page(range(2, 4), False))],
    Expect(4, requests=2),
    calls=(PAGES,),
)
add(
    "empty-request-body",
    "assistants",
    answer("200 OK", {"id": THREAD, "object": "thread", "created_at": CREATED, "metadata": {}, "tool_resources": {}}),
    Expect(1),
    calls=(Call("beta.threads.create", frozen(), "value"),),
)
add(
    "large-request",
    "chat",
    OK["chat"],
    Expect(5),
    calls=(
        replace(
            STREAM["chat"],
            arguments={**STREAM["chat"].arguments, "messages": [{"role": "user", "content": "ü" * 500_000}]},
        ),
    ),
)


# -- several exchanges on one client ---

SUBMIT = Call(
    "beta.threads.runs.submit_tool_outputs",
    frozen(
        run_id=RUN,
        thread_id=THREAD,
        tool_outputs=[{"tool_call_id": "call_torture", "output": "22 degrees"}],
        stream=True,
    ),
)
LINES = Call("chat.completions.with_streaming_response.create", STREAM["chat"].arguments, "lines")

add_each(
    "tools-flow-streamed",
    "assistants",
    [chunked(REQUIRES_ACTION), chunked(AFTER_TOOLS)],
    Expect(4 + 4, requests=2),
    calls=(STREAM["assistants"], SUBMIT),
)
add_each(
    "tools-flow-with-a-poll-between",
    "assistants",
    [
        chunked(REQUIRES_ACTION),
        answer("200 OK", run("requires_action")),
        chunked(AFTER_TOOLS),
        answer("200 OK", run("completed")),
    ],
    Expect(4 + 1 + 4 + 1, requests=4),
    calls=(STREAM["assistants"], RETRIEVE, SUBMIT, RETRIEVE),
)
add_each(
    "tools-flow-second-stream-dies",
    "assistants",
    [chunked(REQUIRES_ACTION), chunked(AFTER_TOOLS[:2], end=(Act.RESET,))],
    Expect(4 + 2, "APIConnectionError", "ReadError", requests=2),
    calls=(STREAM["assistants"], SUBMIT),
)
add_each(
    "identical-requests-in-order",
    "chat",
    [answer("200 OK", completion(text)) for text in ("first", "second", "third")],
    Expect(3, requests=3),
    calls=(COMPLETE, COMPLETE, COMPLETE),
)
add_each(
    "streams-on-one-connection",
    "responses",
    [OK["responses"], OK["responses"]],
    Expect(10, requests=2),
    calls=(STREAM["responses"], STREAM["responses"]),
)
add(
    "lines-below-the-sdk",
    "chat",
    chunked([chat_chunk({"content": "a\u2028b"}), DONE]),
    Expect(5),
    calls=(LINES,),
    notes="iter_lines of the HTTP library splits at U+2028, against the specification of event streams",
)
add(
    "assistant-named",
    "assistants",
    answer(
        "200 OK",
        {
            "id": ASSISTANT,
            "object": "assistant",
            "created_at": CREATED,
            "name": "Zoë",
            "model": "gpt-4o",
            "instructions": None,
            "description": None,
            "tools": [],
            "metadata": {"k": "v"},
        },
    ),
    Expect(1),
    calls=(Call("beta.assistants.retrieve", frozen(assistant_id=ASSISTANT), "value"),),
)
