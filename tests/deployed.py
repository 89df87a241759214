"""The application that prefork deployments serve, written as a user writes one: recorder opens where it is imported.

RECORDER_STORE and OPENAI_BASE_URL come from the environment. Each call is tagged with its number. The process that
imports the module makes a call itself, so that recorder is busy when a server forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx

import recorder

URL = os.environ["OPENAI_BASE_URL"] + "/responses"

tape = recorder.open()
client = tape.instrument(httpx.Client(timeout=30))


def pieces(number: str, using: httpx.Client = client) -> Iterator[bytes]:
    """One call: first this process's id, then the stream as it comes."""
    yield b"%d\n" % os.getpid()
    body = {"model": "gpt-5-mini", "input": number, "stream": True}
    with recorder.context(tags={"number": number}), using.stream("POST", URL, json=body) as response:
        yield from response.iter_raw()


def ask(number: str) -> tuple[int, bytes]:
    """One call to its end: the process's id and the whole stream."""
    process, *chunks = pieces(number)
    return int(process), b"".join(chunks)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """A WSGI application: /NUMBER makes a call and passes the stream on."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return pieces(environ["PATH_INFO"].strip("/"))


# A client of its own: connections that are open before a fork must not be used after it.
with tape.instrument(httpx.Client(timeout=30)) as early:
    list(pieces("import", early))
