"""Names of models: aliases and snapshots are the model, other sizes and other snapshots are not."""

from __future__ import annotations

import pytest

from recorder.dialects.models import is_deployment, same_model
from tests.tape import request


@pytest.mark.parametrize(
    ("asked", "served", "is_so"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-08-06", "gpt-4o", True),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("mistral-small-latest", "mistral-small-2506", True),
        ("openai/gpt-5.1", "gpt-5.1", True),
        ("gpt-5.1", "openai/gpt-5.1", True),
        ("anthropic/claude-sonnet-4.6", "anthropic/claude-4.6-sonnet-20260217", True),
        ("anthropic/claude-sonnet-4.6", "anthropic/claude-4.5-sonnet-20250929", False),
        ("o3-mini", "o3", False),
        ("gpt-4", "gpt-4-0613", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("mistral-small-2506", "mistral-small-latest", True),
        ("claude-3-7-sonnet", "claude-3-7-sonnet@20250219", True),
        ("gemini-2.0-flash", "models/gemini-2.0-flash-001", True),
        ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1", True),
        ("llama3.1:8b", "llama3.1:8b", True),
        ("GPT-4o", "gpt-4o", True),
        ("llama3.1:8b", "llama3.1:70b", False),
        ("claude-3", "claude-3-5", False),
        ("openrouter/auto", "anthropic/claude-sonnet-4.5", False),
    ],
)
def test_the_model_that_answered_is_the_one_asked_for(asked: str, served: str, is_so: bool) -> None:
    assert same_model(asked, served) is is_so


@pytest.mark.parametrize(
    ("url", "is_so"),
    [
        ("https://x.openai.azure.com/openai/deployments/mine/chat/completions?api-version=1", True),
        ("https://x.services.ai.azure.com/api/projects/p/threads/t/runs", True),
        ("http://gateway/deployments/mine/chat/completions", True),
        ("https://api.openai.com/v1/responses", False),
        ("https://azure.com.example/v1/responses", False),
    ],
)
def test_a_deployment_may_be_called_anything(url: str, is_so: bool) -> None:
    assert is_deployment(request("POST", url)) is is_so
