"""The documented parameter names, held against the real SDKs' types."""

from __future__ import annotations

import typing

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.beta.thread_create_and_run_params import ThreadCreateAndRunParamsStreaming
from openai.types.beta.threads.run_create_params import RunCreateParamsStreaming
from openai.types.beta.threads.run_submit_tool_outputs_params import RunSubmitToolOutputsParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from recorder.dialects.names import documented

SEED = {
    "assistant_id", "additional_instructions", "additional_messages", "include", "instructions",
    "max_completion_tokens", "max_prompt_tokens", "metadata", "model", "parallel_tool_calls", "response_format",
    "stream", "temperature", "tool_choice", "tools", "top_p", "truncation_strategy",
}  # fmt: skip

#: Sampling parameters that the SDK's newest types leave out; the wire still takes them.
BEYOND = {"temperature", "top_k", "top_p", "context_management"}


def test_every_parameter_of_a_run_is_named() -> None:
    """The 17 parameters that a streamed run may be created with, and the one that came later."""
    assert set(documented("assistants", "create")) == SEED | {"reasoning_effort"}
    assert set(documented("assistants", "create")) == set(typing.get_type_hints(RunCreateParamsStreaming))


@pytest.mark.parametrize(
    ("dialect", "action", "sdk"),
    [
        ("assistants", "create_thread_and_run", ThreadCreateAndRunParamsStreaming),
        ("assistants", "submit_tool_outputs", RunSubmitToolOutputsParamsStreaming),
        ("responses", "create", ResponseCreateParamsStreaming),
        ("chat", "create", CompletionCreateParamsStreaming),
        ("messages", "create", MessageCreateParamsBase),
    ],
)
def test_the_names_are_the_sdks(dialect: str, action: str, sdk: type) -> None:
    names = documented(dialect, action)
    assert len(set(names)) == len(names)
    assert set(names) - {"stream"} <= set(typing.get_type_hints(sdk)) | BEYOND


def test_other_actions_have_no_names() -> None:
    """A poll or a cancel has no parameters to be missed; an unknown dialect has none that are known."""
    assert documented("assistants", "cancel") == documented("telepathy", "create") == documented("chat", None) == ()
