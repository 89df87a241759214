"""Torture scenarios of what an upstream may say: statuses and retries, redirects, errors and ends of a provider."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from tests.loopback import (
    LAST_CHUNK,
    Act,
    Answer,
    Request,
    Step,
    chunk,
    head,
)
from tests.payloads import (
    ASSISTANTS,
    CHAT,
    DONE,
    REQUIRES_ACTION,
    RESPONSES,
    chat_chunk,
    compact,
    error_body,
    frame,
    response,
    response_event,
    run_event,
)
from tests.scenario import (
    LIMITED,
    OK,
    PAGE,
    STALL,
    Collection,
    Expect,
    answer,
    chunked,
)

listed = Collection()
add, add_each = listed.add, listed.add_each


# -- statuses and retries ---

WAIT = answer("429 Too Many Requests", error_body("Rate limit reached"), "Retry-After-Ms: 5", "X-Ratelimit-Reset: 1s")
OVERLOADED = answer("503 Service Unavailable", error_body("Overloaded", "server_error"))

add_each("429-then-ok", "assistants", [LIMITED, OK["assistants"]], Expect(6, requests=2), retries=2)
add_each("429-with-retry-after-ms", "chat", [WAIT, WAIT, OK["chat"]], Expect(5, requests=3), retries=2)
for status in (
    "500 Internal Server Error",
    "503 Service Unavailable",
    "408 Request Timeout",
    "409 Conflict",
    "529 Overloaded",
):
    add_each(
        f"{status[:3]}-then-ok",
        "responses",
        [answer(status, error_body("Try again", "server_error")), OK["responses"]],
        Expect(5, requests=2),
        retries=2,
    )
add_each(
    "429-until-retries-end",
    "chat",
    [LIMITED, LIMITED, LIMITED],
    Expect(0, "RateLimitError", requests=3, status=429),
    retries=2,
)
add_each(
    "three-failures-then-ok",
    "chat",
    [(Act.RESET,), LIMITED, OVERLOADED, OK["chat"]],
    Expect(5, requests=4),
    retries=3,
)
add(
    "should-retry-false",
    "assistants",
    answer("500 Internal Server Error", error_body("No use", "server_error"), "X-Should-Retry: false"),
    Expect(0, "InternalServerError", status=500),
    retries=2,
)
add_each(
    "should-retry-true",
    "chat",
    [answer("400 Bad Request", error_body("Odd"), "X-Should-Retry: true"), OK["chat"]],
    Expect(5, requests=2),
    retries=2,
)
add_each(
    "error-body-stalls-then-ok",
    "chat",
    [(head("500 Internal Server Error", "Content-Length: 100"), b"half", Act.HOLD), OK["chat"]],
    Expect(5, requests=2),
    retries=1,
    notes="the error body is closed unread: reading it would hang",
)
for status, error in (
    ("400 Bad Request", "BadRequestError"),
    ("401 Unauthorized", "AuthenticationError"),
    ("403 Forbidden", "PermissionDeniedError"),
    ("404 Not Found", "NotFoundError"),
    ("422 Unprocessable Entity", "UnprocessableEntityError"),
):
    add(
        f"{status[:3]}-json",
        "assistants",
        answer(status, error_body(f"Refused with {status}", code="refused")),
        Expect(0, error, status=int(status[:3])),
        retries=2,
    )
add(
    "400-html",
    "chat",
    (head("400 Bad Request", "Content-Type: text/html", f"Content-Length: {len(PAGE)}") + PAGE,),
    Expect(0, "BadRequestError", status=400),
)
add("400-empty", "chat", (head("400 Bad Request", "Content-Length: 0"),), Expect(0, "BadRequestError", status=400))
add(
    "400-cut-body",
    "chat",
    (head("400 Bad Request", "Content-Length: 200"), b'{"error":', Act.FIN),
    Expect(0, "RemoteProtocolError", "RemoteProtocolError", status=400),
    notes="the HTTP library's own exception escapes, not wrapped in an APIError",
)
add(
    "400-stalled-body",
    "chat",
    (head("400 Bad Request", "Content-Length: 200"), b'{"error":', Act.HOLD),
    Expect(0, "ReadTimeout", "ReadTimeout", status=400),
    timeout=STALL,
    notes="the HTTP library's own exception escapes, not wrapped in an APIError",
)
add(
    "400-gzip",
    "chat",
    answer("400 Bad Request", gzip.compress(compact(error_body("Packed")).encode(), mtime=0), "Content-Encoding: gzip"),
    Expect(0, "BadRequestError", status=400),
)
add(
    "400-event-stream",
    "chat",
    (head("400 Bad Request", "Transfer-Encoding: chunked"), chunk(CHAT[0]), LAST_CHUNK),
    Expect(0, "BadRequestError", status=400),
)


# -- redirects ---


def moved(status: str, path: str, *, absolute: bool = False) -> Answer:
    """A redirect to `path` of the same server, relative or absolute."""

    def script(request: Request) -> Iterable[Step]:
        yield head(status, f"Location: {request.origin if absolute else ''}{path}", "Content-Length: 0")

    return script


add_each("307-relative", "chat", [moved("307 Temporary Redirect", "/elsewhere"), OK["chat"]], Expect(5, requests=2))
add_each(
    "308-absolute",
    "assistants",
    [moved("308 Permanent Redirect", "/v2/runs", absolute=True), OK["assistants"]],
    Expect(6, requests=2),
)
add_each("302-becomes-get", "chat", [moved("302 Found", "/elsewhere"), OK["chat"]], Expect(5, requests=2))
add_each(
    "303-becomes-get", "responses", [moved("303 See Other", "/elsewhere?a=1"), OK["responses"]], Expect(5, requests=2)
)
add_each(
    "two-redirects-then-429-then-ok",
    "chat",
    [moved("307 Temporary Redirect", "/a"), moved("307 Temporary Redirect", "/b"), LIMITED, OK["chat"]],
    Expect(5, requests=4),
    retries=1,
)
add_each(
    "redirect-loop",
    "chat",
    [moved("307 Temporary Redirect", "/again")] * 21,
    Expect(0, "APIConnectionError", "TooManyRedirects", requests=21, status=307),
)
add_each(
    "redirect-with-body",
    "chat",
    [(head("307 Temporary Redirect", "Location: /elsewhere", "Content-Length: 5") + b"moved",), OK["chat"]],
    Expect(5, requests=2),
)
add(
    "redirect-without-location",
    "chat",
    (head("307 Temporary Redirect", "Content-Length: 0"),),
    Expect(0, "APIStatusError", status=307),
)
add("304", "chat", (head("304 Not Modified", 'ETag: "a"'),), Expect(0, "APIStatusError", status=304))


# -- what the provider says ---

FAULT = {"message": "The server had an error", "type": "server_error", "param": None, "code": "server_error"}
add(
    "error-event-nested",
    "assistants",
    chunked([ASSISTANTS[0], frame({"error": FAULT}, "error"), *ASSISTANTS[1:]]),
    Expect(1, "APIError"),
)
add(
    "error-event-flat",
    "assistants",
    chunked([ASSISTANTS[0], frame(FAULT, "error"), *ASSISTANTS[3:]]),
    Expect(5),
    notes="without an `error` key it is handed on as an ordinary event",
)
add(
    "error-event-without-message",
    "assistants",
    chunked([frame({"error": {"code": "x"}}, "error")]),
    Expect(0, "APIError"),
)
add("chat-error-chunk", "chat", chunked([*CHAT[:2], frame({"error": FAULT})]), Expect(2, "APIError"))
add(
    "chat-error-in-chunk",
    "chat",
    chunked([CHAT[0], chat_chunk({"content": ""}, "error", error={"code": 502, "message": "Provider is away"}), DONE]),
    Expect(1, "APIError"),
)
add(
    "responses-error-flat",
    "responses",
    chunked([*RESPONSES[:2], frame({"type": "error", "sequence_number": 2, **FAULT, "type_": None}, "error")]),
    Expect(3),
)
add(
    "responses-error-nested",
    "responses",
    chunked([*RESPONSES[:2], frame({"type": "error", "error": FAULT}, "error")]),
    Expect(2, "APIError"),
)
add(
    "responses-failed",
    "responses",
    chunked(
        [
            *RESPONSES[:2],
            response_event("failed", 2, response=response("failed", error={"code": "server_error", "message": "x"})),
        ]
    ),
    Expect(3),
)
add(
    "responses-incomplete",
    "responses",
    chunked(
        [
            *RESPONSES[:4],
            response_event(
                "incomplete", 4, response=response("incomplete", incomplete_details={"reason": "max_output_tokens"})
            ),
        ]
    ),
    Expect(5),
)
add(
    "responses-unknown-event",
    "responses",
    chunked([RESPONSES[0], response_event("daydreaming", 1, thought="x"), *RESPONSES[1:]]),
    Expect(6),
)
add(
    "run-incomplete",
    "assistants",
    chunked(
        [
            *ASSISTANTS[:5],
            run_event("incomplete", incomplete_details={"reason": "max_completion_tokens"}),
            ASSISTANTS[-1],
        ]
    ),
    Expect(6),
)
add(
    "run-failed",
    "assistants",
    chunked(
        [*ASSISTANTS[:3], run_event("failed", last_error={"code": "server_error", "message": "Sorry"}), ASSISTANTS[-1]]
    ),
    Expect(4),
)
add("run-requires-action", "assistants", chunked(REQUIRES_ACTION), Expect(4))
add("chat-length", "chat", chunked([*CHAT[:3], chat_chunk({}, "length"), *CHAT[4:]]), Expect(5))
