"""What SDKs read in their environment: where they go, and with which key. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

__all__ = ["KEYS", "NO_KEY", "VARIABLES", "Variable", "absent_keys"]


class Variable(NamedTuple):
    """A variable that holds a base URL, the upstream that it names, and what stands behind the host in it."""

    name: str
    upstream: str
    path: str = ""


#: What SDKs read (each one's reference); of several for one upstream the usual one first.
VARIABLES: Final = (
    Variable("OPENAI_BASE_URL", "openai", "/v1"),
    Variable("OPENAI_API_BASE", "openai", "/v1"),
    Variable("ANTHROPIC_BASE_URL", "anthropic"),
    Variable("AZURE_OPENAI_ENDPOINT", "azure-openai"),
    Variable("GROQ_BASE_URL", "groq"),
    Variable("TOGETHER_BASE_URL", "together", "/v1"),
    Variable("GOOGLE_GEMINI_BASE_URL", "gemini"),
)

#: Without a key SDKs do not even begin; nobody looks at it where they are answered from a record.
KEYS: Final = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
NO_KEY: Final = "unused"


def absent_keys(environment: Mapping[str, str], names: Iterable[str] = KEYS) -> list[str]:
    """Which of these keys are absent, or empty, as a CI's secret is that is not there: SDKs send it all the same."""
    return [name for name in names if not environment.get(name)]
