"""A model's API in a process of its own, so that what it costs is nobody's: streams at a pace, or at full speed.

`python -m tests.benchmarks.upstream` prints its port and serves until its stdin closes. The query says what to stream:
`events`, `gap_us` between two of them (0: at once), and `shape` (assistants, chat). Each event is an HTTP chunk of its
own; with a gap it is a segment of its own as well.
"""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

__all__ = ["REQUEST", "events", "serving"]

#: A request body of a usual size.
REQUEST = (
    b'{"assistant_id":"asst_abc123","stream":true,"model":"gpt-4o","max_prompt_tokens":20000,'
    b'"max_completion_tokens":1000,'
    b'"instructions":"' + b"You answer briefly, in the language of the question, and name your sources. " * 12 + b'"}'
)

_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Sun, 23 Nov 2025 05:00:00 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nx-request-id: req_0123456789abcdef\r\n"
    b"openai-version: 2020-10-01\r\nopenai-processing-ms: 210\r\nCache-Control: no-cache\r\n\r\n"
)
_LAST = b"0\r\n\r\n"
#: Bytes handed to the kernel in one go.
_BLOCK = 1 << 18


def events(count: int, shape: str = "assistants") -> list[bytes]:
    """So many server-sent events as a model streams them, the protocol's last word at the end."""
    if shape == "chat":
        delta = (
            b'data: {"id":"chatcmpl-B9xyz","object":"chat.completion.chunk","created":1741290000,"model":"gpt-4o",'
            b'"choices":[{"index":0,"delta":{"content":" word%04d"},"finish_reason":null}]}\n\n'
        )
    else:
        delta = (
            b'event: thread.message.delta\ndata: {"id":"msg_abc123","object":"thread.message.delta","delta":{"content":'
            b'[{"index":0,"type":"text","text":{"value":" word%04d","annotations":[]}}]}}\n\n'
        )
    return [*(delta % (at % 10_000) for at in range(count - 1)), b"data: [DONE]\n\n"]


@functools.cache
def _chunks(count: int, shape: str) -> tuple[bytes, ...]:
    return tuple(b"%x\r\n%s\r\n" % (len(event), event) for event in events(count, shape))


def _answer(sock: socket.socket, count: int, gap_us: int, shape: str) -> None:
    chunks = _chunks(count, shape)
    if not gap_us:
        whole = _HEAD + b"".join(chunks) + _LAST
        for start in range(0, len(whole), _BLOCK):
            sock.sendall(whole[start : start + _BLOCK])
        return
    sock.sendall(_HEAD)
    begun = time.perf_counter()
    for number, chunk in enumerate(chunks):
        left = begun + number * gap_us / 1e6 - time.perf_counter()
        if left > 0:
            time.sleep(left)
        sock.sendall(chunk)
    sock.sendall(_LAST)


def _serve(sock: socket.socket) -> None:
    held = b""
    with sock:
        while True:
            while (end := held.find(b"\r\n\r\n")) < 0:
                held += (piece := sock.recv(1 << 16))
                if not piece:
                    return
            head, held = held[:end].lower(), held[end + 4 :]
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            while len(held) < length:
                held += (piece := sock.recv(1 << 16))
                if not piece:
                    return
            held = held[length:]
            asked = dict(parse_qsl(head.split(b" ", 2)[1].partition(b"?")[2].decode()))
            _answer(sock, int(asked["events"]), int(asked.get("gap_us", 0)), asked.get("shape", "assistants"))


def _listen() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_guarded, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def _guarded(sock: socket.socket) -> None:
    try:
        _serve(sock)
    except ConnectionError:
        return


@contextmanager
def serving() -> Iterator[str]:
    """The base URL of such a process, which ends with the block."""
    command = [sys.executable, "-m", "tests.benchmarks.upstream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1/threads/thread_abc123/runs"
        finally:
            child.kill()


if __name__ == "__main__":
    _listen()
