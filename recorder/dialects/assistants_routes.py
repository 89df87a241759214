"""The endpoints of the Assistants protocol (API reference "Runs", "Threads", "Messages"): which one a request goes to.

By method and the end of the path, below any prefix; where that is not enough, by what the request itself says. Other
servers use the same paths: LangGraph's has runs below threads too, with a body of its own and UUIDs for ids, and any
forum has threads with messages. So where neither ids nor body have this protocol's shape, the request must name it: by
the header `OpenAI-Beta: assistants=…` or by azure-ai-agents' `api-version`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from recorder.dialects.base import body_of, path_of, query_of
from recorder.recording import Request

__all__ = ["OPENERS", "Route", "route"]


class Route(NamedTuple):
    """Which endpoint a request goes to, and the ids in its path. `is_run` is False for those of a thread alone."""

    action: str
    thread_id: str | None = None
    run_id: str | None = None
    is_run: bool = True


#: What opens a run.
OPENERS: Final = frozenset({"create", "create_thread_and_run"})

_PATH: Final = re.compile(r"/threads(?:/([^/]+)(?:/(runs|messages)(?:/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?)?)?)?$")

_OF_ONE_RUN: Final = {
    ("GET", None): "retrieve",
    ("POST", None): "modify",
    ("POST", "submit_tool_outputs"): "submit_tool_outputs",
    ("POST", "cancel"): "cancel",
    ("GET", "steps"): "steps",
}

#: (method, whether it is one message of the thread, whether it is one thread)
_OF_MESSAGES: Final = {
    ("POST", False): "add_message",
    ("GET", False): "list_messages",
    ("GET", True): "retrieve_message",
    ("POST", True): "modify_message",
    ("DELETE", True): "delete_message",
}
_OF_THREADS: Final = {
    ("POST", False): "create_thread",
    ("GET", False): "list_threads",
    ("GET", True): "retrieve_thread",
    ("POST", True): "modify_thread",
    ("DELETE", True): "delete_thread",
}

#: Words that stand where a run's id would, on LangGraph's servers.
_NO_RUN_IDS: Final = frozenset({"batch", "crons", "stream", "wait"})

#: Keys that tell LangGraph's request to create a run from one of this protocol.
_FOREIGN_KEYS: Final = frozenset(
    {
        *("checkpoint", "checkpoint_id", "command", "config", "context", "durability", "if_not_exists", "input"),
        *("interrupt_after", "interrupt_before", "multitask_strategy", "on_completion", "on_disconnect"),
        *("stream_mode", "stream_resumable", "stream_subgraphs", "webhook"),
    }
)

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_THREAD_KEYS: Final = frozenset({"messages", "metadata", "tool_resources"})
_ROLES: Final = frozenset({"assistant", "user"})


def route(request: Request) -> Route | None:
    """The endpoint; None where the request is not of this protocol.

    A body that was not kept speaks neither for nor against it.
    """
    path = path_of(request)
    if "/threads" not in path:
        return None
    found = _PATH.search(path)
    if found is None:
        return None
    thread_id, kind, item, action, part = found.groups()
    method = request.method.upper()
    if thread_id == "runs":
        both = method == "POST" and kind is None and _creates(request)
        return Route("create_thread_and_run") if both else None
    if kind == "runs" and item is None:
        return _of_runs(request, method, thread_id)
    if kind == "runs":
        name = _OF_ONE_RUN.get((method, action))
        if name is None or _foreign(request, item) or (part is not None and name != "steps"):
            return None
        return Route("step" if part else name, thread_id, item)
    if action is not None:
        return None
    of_thread = _of_messages(request, method, thread_id, item) if kind else _of_threads(request, method, thread_id)
    return Route(of_thread, thread_id, is_run=False) if of_thread else None


def _of_runs(request: Request, method: str, thread_id: str) -> Route | None:
    if method == "POST":
        return Route("create", thread_id) if _creates(request) else None
    return Route("list_runs", thread_id, is_run=False) if method == "GET" and _ours(request, thread_id) else None


def _of_messages(request: Request, method: str, thread_id: str, message_id: str | None) -> str | None:
    name = _OF_MESSAGES.get((method, message_id is not None))
    fits = _adds(request) if name == "add_message" and request.body is not None else _ours(request, thread_id)
    return name if fits else None


def _of_threads(request: Request, method: str, thread_id: str | None) -> str | None:
    name = _OF_THREADS.get((method, thread_id is not None))
    fits = _makes(request) if name == "create_thread" else _ours(request, thread_id)
    return name if fits else None


def _foreign(request: Request, run_id: str) -> bool:
    """Whether the id of a run is one of LangGraph's, or no id at all."""
    return run_id in _NO_RUN_IDS or (_UUID.fullmatch(run_id) is not None and not _named(request))


def _creates(request: Request) -> bool:
    if request.body is None:
        return True
    body = body_of(request)
    return ("assistant_id" in body or "agent_id" in body) and _FOREIGN_KEYS.isdisjoint(body)


def _adds(request: Request) -> bool:
    """Whether the body is a message of this protocol."""
    body = body_of(request)
    return body.get("role") in _ROLES and "content" in body


def _makes(request: Request) -> bool:
    """Whether the body is a thread of this protocol; all its fields may be left out."""
    named = _named(request) or path_of(request).endswith("/v1/threads")
    if request.body is None:
        return named
    body = body_of(request)
    if not body and request.body.strip() not in (b"", b"{}"):
        return False
    return _THREAD_KEYS.issuperset(body) and (named or "messages" in body or "tool_resources" in body)


def _ours(request: Request, thread_id: str | None) -> bool:
    """Whether a request that says little is of this protocol: by its thread's id, or because it names the protocol."""
    return (thread_id or "").startswith("thread_") or _named(request)


def _named(request: Request) -> bool:
    beta = (value for name, value in request.headers if name.lower() == "openai-beta")
    return any("assistants" in value for value in beta) or "api-version" in query_of(request)
