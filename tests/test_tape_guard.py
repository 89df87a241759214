"""The network that is closed while a tape replays: for listed hosts, for nobody else, and not for long."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from recorder.errors import ReplayMiss
from recorder.tape.guard import Guard
from recorder.transport.hosts import Hosts

HOSTS = Hosts(["api.openai.com", "llm.example:8443", "*.openai.azure.com", "*.inner.test:8443", "[::2]:80"])


@pytest.mark.parametrize(
    ("host", "port", "listed"),
    [
        ("api.openai.com", 443, True),
        ("api.openai.com", None, True),
        ("files.api.openai.com", 443, False),
        ("llm.example", 8443, True),
        ("llm.example", 443, False),
        ("mine.openai.azure.com", 443, True),
        ("openai.azure.com", 443, False),
        ("evilopenai.azure.com", 443, False),
        ("llm.inner.test", 8443, True),
        ("llm.inner.test", 443, False),
        ("::2", 80, True),
    ],
)
def test_a_host_is_listed_by_name_by_port_or_by_what_it_ends_with(host: str, port: int | None, listed: bool) -> None:
    assert HOSTS.has(host, port) is listed


def closed(told: list[str]) -> Guard:
    return Guard(HOSTS.has, told.append)


def test_lookups_of_listed_hosts_are_refused_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts and loopback are asked for as ever."""
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: asked.append(host))
    told: list[str] = []
    guard = closed(told)
    guard.enter()
    for host in ("API.openai.com", "api.openai.com.", b"mine.openai.azure.com"):
        with pytest.raises(ReplayMiss, match="while a tape replays"):
            socket.getaddrinfo(host, 443)
    for other in ("example.org", "localhost", "127.0.0.1", "::1", None):
        socket.getaddrinfo(other, 443)
    guard.close()
    socket.getaddrinfo("api.openai.com", 443)
    assert asked == ["example.org", "localhost", "127.0.0.1", "::1", None, "api.openai.com"]
    assert told == ["API.openai.com", "api.openai.com.", "mine.openai.azure.com"]


def test_guards_end_in_any_order_and_the_last_puts_the_function_back() -> None:
    original: Callable[..., object] = socket.getaddrinfo
    one, two = closed([]), closed([])
    one.enter()
    two.enter()
    one.close()
    one.close()
    with pytest.raises(ReplayMiss):
        socket.getaddrinfo("api.openai.com", 443)
    two.close()
    assert socket.getaddrinfo is original
