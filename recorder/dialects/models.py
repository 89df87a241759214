"""Names of models: whether the one that answered is the one that was asked for. Knows no protocol."""

from __future__ import annotations

import re
from typing import Final

from recorder.recording import Request

__all__ = ["is_deployment", "same_model"]

#: Where the name of the model is the name of a deployment, which may be any.
_DEPLOYED: Final = re.compile(r"/deployments/|^[a-z]+://[^/?#]*\.azure\.com(?=[:/?#]|$)", re.IGNORECASE)

#: The end of a model's name that tells its snapshot: a date, a short number, or whichever is the latest.
_SNAPSHOT: Final = re.compile(r"[-@](latest|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{3,8})$")


def is_deployment(request: Request) -> bool:
    """Whether the request names a deployment, which its owner called as they liked: Azure's paths and hosts."""
    return _DEPLOYED.search(request.url) is not None


def same_model(asked: str, served: str) -> bool:
    """Whether the model that answered is the one that was asked for.

    Servers answer a name with one of its snapshots, or with the name alone: `gpt-4o` is `gpt-4o-2024-08-06`, and
    `mistral-small-latest` is `mistral-small-2506`; but `gpt-4o` is not `gpt-4o-mini`, and one snapshot is not another.
    A provider's prefix (`openai/`) and a variant after a colon that only one of them has (`:free`) do not count, nor
    does the order of a name's words (OpenRouter: `claude-sonnet-4.6` is `claude-4.6-sonnet-20260217`).
    """
    first, second = (name.lower().rpartition("/")[2] for name in (asked, served))
    if (":" in first) != (":" in second):
        first, second = (name.partition(":")[0] for name in (first, second))
    (words, snapshot), (served_words, served_snapshot) = _taken_apart(first), _taken_apart(second)
    return words == served_words and (snapshot is None or served_snapshot is None or snapshot == served_snapshot)


def _taken_apart(name: str) -> tuple[list[str], str | None]:
    """The words of a model's name, in any order, and the snapshot that it names; None for any, or the latest."""
    found = _SNAPSHOT.search(name)
    if found is None:
        return sorted(name.split("-")), None
    return sorted(name[: found.start()].split("-")), None if found[1] == "latest" else found[1]
