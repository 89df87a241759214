"""Which hosts a list means: by name, by name and port, with `*` for any text."""

from __future__ import annotations

import pytest

from recorder import config
from recorder.errors import UsageError
from recorder.tape.options import KNOWN_HOSTS
from recorder.transport.hosts import Hosts


@pytest.mark.parametrize(
    ("names", "host", "port", "has"),
    [
        (["api.example.com"], "API.example.com", 443, True),
        (["API.Example.com"], "api.example.com", 443, True),
        (["api.example.com"], "x.api.example.com", 443, False),
        (["api.example.com:8080"], "api.example.com", 8080, True),
        (["api.example.com:8080"], "api.example.com", 80, False),
        (["api.example.com"], "api.example.com.", 443, True),
        (["*.example.com"], "a.b.example.com.", 443, True),
        (["*.example.com"], "a.b.example.com", 443, True),
        (["*.example.com"], "example.com", 443, False),
        (["*.example.com:8080"], "a.example.com", 8080, True),
        (["*.example.com:8080"], "a.example.com", 80, False),
        (["runtime.*.example.com"], "runtime.eu-1.example.com", 443, True),
        (["runtime.*.example.com"], "runtime.example.com", 443, False),
        (["*-api.example.com"], "eu-api.example.com", 443, True),
        (["a.example.com"], "axexample.com", 443, False),
        (["[::1]"], "::1", 80, True),
        (["[::1]:80"], "::1", 80, True),
        ([], "example.com", 443, False),
    ],
)
def test_a_list_means_these_hosts(names: list[str], host: str, port: int, *, has: bool) -> None:
    assert Hosts(names).has(host, port) == has


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com",
        "eu.api.openai.com",
        "mine.openai.azure.com",
        "mine.openai.azure.us",
        "mine.services.ai.azure.com",
        "api.anthropic.com",
        "us-east5-aiplatform.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
        "bedrock-runtime.eu-west-1.amazonaws.com",
        "bedrock-runtime.cn-north-1.amazonaws.com.cn",
    ],
)
def test_the_public_apis_are_known_in_each_region(host: str) -> None:
    assert Hosts(KNOWN_HOSTS).has(host, 443)


def test_what_no_setting_takes_for_a_host_is_refused() -> None:
    assert config.hosts(KNOWN_HOSTS) == KNOWN_HOSTS
    for wrong in ("*", "*.", "https://api.openai.com", "api.openai.com/v1", "a b", "", "*:80"):
        with pytest.raises(UsageError, match="hosts"):
            config.hosts([wrong])
