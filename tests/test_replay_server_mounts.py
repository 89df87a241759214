"""Under which paths a request may have been recorded: mounts are taken off, an upstream's own path is put before."""

from __future__ import annotations

import pytest

from recorder.replay_server import Mounts

DEFAULT = Mounts({"openai": "", "anthropic": ""})
NAMED = Mounts({"gateway": "/llm/v2", "": ""})
BARE = Mounts({"": "/base"})


@pytest.mark.parametrize(
    ("mounts", "target", "readings"),
    [
        (DEFAULT, "/openai/v1/responses", ["/v1/responses", "/openai/v1/responses"]),
        (DEFAULT, "/anthropic/v1/messages?beta=true", ["/v1/messages?beta=true", "/anthropic/v1/messages?beta=true"]),
        (DEFAULT, "/v1/responses", ["/v1/responses"]),
        (
            DEFAULT,
            "/openai/deployments/x?a=/openai/",
            ["/deployments/x?a=/openai/", "/openai/deployments/x?a=/openai/"],
        ),
        (DEFAULT, "/openai", ["/", "/openai"]),
        (DEFAULT, "/openai?a=1", ["/?a=1", "/openai?a=1"]),
        (DEFAULT, "/openaix/v1", ["/openaix/v1"]),
        (DEFAULT, "/v1/openai/x", ["/v1/openai/x"]),
        (DEFAULT, "/", ["/"]),
        (NAMED, "/gateway/chat", ["/llm/v2/chat", "/gateway/chat"]),
        (NAMED, "/gateway", ["/llm/v2", "/gateway"]),
        (NAMED, "/gateway/", ["/llm/v2/", "/gateway/"]),
        (NAMED, "/gateway?x", ["/llm/v2?x", "/gateway?x"]),
        (BARE, "/chat?x=1", ["/base/chat?x=1", "/chat?x=1"]),
    ],
)
def test_a_target_has_these_readings(mounts: Mounts, target: str, readings: list[str]) -> None:
    """The likeliest first; as it came always, and last."""
    assert list(mounts.readings(target)) == readings


@pytest.mark.parametrize("texts", [[], ["a=https://h/x/y/", "b=http://h"], ["http://h/base"], ["http://h"]])
@pytest.mark.parametrize("target", ["/a/v1/x?q=1", "/openai/v1/x", "/b", "/v1/x", "/a"])
def test_a_path_is_read_as_the_proxy_reads_it(texts: list[str], target: str) -> None:
    """What the proxy would ask an upstream for, and record, is the first reading."""
    from recorder.proxy import Routes

    routes = Routes.of(texts)
    found = routes.find(target)
    mounts = Mounts({route.name: route.prefix for route in routes.all})
    if found is None:
        assert mounts.readings(target) == (target,)
    else:
        assert (mounts.readings(target)[0]) in (found[1], found[1] or "/")
