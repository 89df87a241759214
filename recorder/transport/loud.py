"""A miss as an exception that no SDK takes for a broken connection, retries and renames."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from recorder.errors import ReplayMiss

__all__ = ["loud"]


@contextlib.contextmanager
def loud() -> Iterator[None]:
    """Let a miss that is raised inside come out such that SDKs hand it on.

    openai lets what is no error of the HTTP library pass unchanged and without a second attempt; anthropic does so with
    its own errors only, so that, where it is loaded, a miss is an AnthropicError too.
    """
    try:
        yield
    except ReplayMiss as miss:
        raise _louder(miss) from None


def _louder(miss: ReplayMiss) -> ReplayMiss:
    anthropic = sys.modules.get("anthropic")
    own = getattr(anthropic, "AnthropicError", None)
    if own is None or isinstance(miss, own):
        return miss
    known = next(kind for kind in type(miss).__mro__ if kind.__module__ == ReplayMiss.__module__)
    louder: ReplayMiss = type(known.__name__, (type(miss), own), {"__module__": known.__module__})(*miss.args)
    louder.__dict__.update(miss.__dict__)
    return louder
