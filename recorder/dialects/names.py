"""The parameters that each endpoint's API reference documents, so that what a request left out can be named.

Only the names; what they mean is each dialect's business. A request may carry others, which are kept all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["documented"]

#: RunCreateParamsStreaming (`openai.types.beta.threads.run_create_params`), in the API reference's order.
_RUN: Final = (
    "assistant_id",
    "include",
    "additional_instructions",
    "additional_messages",
    "instructions",
    "max_completion_tokens",
    "max_prompt_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "truncation_strategy",
)

#: ThreadCreateAndRunParamsStreaming: no `include`, nothing additional, but the thread itself and its resources.
_THREAD_AND_RUN: Final = (
    "assistant_id",
    "instructions",
    "max_completion_tokens",
    "max_prompt_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "response_format",
    "stream",
    "temperature",
    "thread",
    "tool_choice",
    "tool_resources",
    "tools",
    "top_p",
    "truncation_strategy",
)

_RESPONSE: Final = (
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "reasoning",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
)

_COMPLETION: Final = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "verbosity",
)

_MESSAGE: Final = (
    "container",
    "context_management",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
)

_GENERATE: Final = (
    "cachedContent",
    "contents",
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "toolConfig",
    "tools",
)

_DOCUMENTED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("assistants", "create"): _RUN,
    ("assistants", "create_thread_and_run"): _THREAD_AND_RUN,
    ("assistants", "submit_tool_outputs"): ("stream", "tool_outputs"),
    ("responses", "create"): _RESPONSE,
    ("chat", "create"): _COMPLETION,
    ("messages", "create"): _MESSAGE,
    ("gemini", "create"): _GENERATE,
}


def documented(dialect: str, action: str | None) -> tuple[str, ...]:
    """The documented parameters of a dialect's endpoint, by what its request does (`Reading.action`); () where it has
    none or they are not known."""
    return _DOCUMENTED.get((dialect, action or ""), ())
