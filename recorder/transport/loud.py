"""A miss as an exception that no SDK takes for a broken connection, retries and renames."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

from recorder.errors import ReplayMiss

__all__ = ["loud", "louder"]

#: The bases of the SDKs' own errors.
_OWN: Final = (("anthropic", "AnthropicError"), ("openai", "OpenAIError"))


@contextlib.contextmanager
def loud() -> Iterator[None]:
    """Let a miss that is raised inside come out such that SDKs hand it on.

    openai from 3 on lets what is no error of the HTTP library pass unchanged and without a second attempt; openai 2 and
    anthropic do so with their own errors only, so that, where they are loaded, a miss is one of these too.
    """
    try:
        yield
    except ReplayMiss as miss:
        raise louder(miss) from None


def louder(miss: ReplayMiss) -> ReplayMiss:
    """The miss as SDKs hand it on."""
    own = [getattr(sys.modules.get(name), kind, None) for name, kind in _OWN]
    missing = [kind for kind in own if kind is not None and not isinstance(miss, kind)]
    if not missing:
        return miss
    known = next(kind for kind in type(miss).__mro__ if kind.__module__ == ReplayMiss.__module__)
    made: ReplayMiss = type(known.__name__, (type(miss), *missing), {"__module__": known.__module__})(*miss.args)
    made.__dict__.update(miss.__dict__)
    return made
