"""Why a chat completion stopped, in the neutral vocabulary: what finish reasons mean, and what contradicts.

The finish reasons are OpenAI's five, those that other servers of the protocol document, and those that gateways pass
through from the protocol behind them. Any other is kept as it is: its status is unknown, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from recorder.recording import Status, StopReason

__all__ = ["Verdict", "forced", "meaning", "verdict"]

_COMPLETED: Final = (Status.COMPLETED, StopReason.STOP)
_CUT: Final = (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT)
_FULL: Final = (Status.INCOMPLETE, StopReason.INPUT_LIMIT)
_FILTERED: Final = (Status.INCOMPLETE, StopReason.CONTENT_FILTER)
_CALLS: Final = (Status.REQUIRES_ACTION, StopReason.TOOL_CALL)
_FAILED: Final = (Status.FAILED, StopReason.ERROR)

#: finish_reason, in lower case -> (status, stop reason)
_FINISH: Final[Mapping[str, tuple[Status, StopReason | None]]] = {
    # OpenAI (API reference, "The chat completion chunk object")
    "stop": _COMPLETED,
    "length": _CUT,
    "content_filter": _FILTERED,
    "tool_calls": _CALLS,
    "function_call": _CALLS,
    # other servers
    "eos": _COMPLETED,  # Together
    "eos_token": _COMPLETED,  # Text Generation Inference
    "stop_sequence": _COMPLETED,  # Text Generation Inference, Anthropic
    "model_length": _FULL,  # Mistral: the model's context is full
    "model_context_window_exceeded": _FULL,  # Z.ai, Anthropic
    "sensitive": _FILTERED,  # Z.ai
    "error": _FAILED,  # Mistral, OpenRouter, vLLM
    "network_error": _FAILED,  # Z.ai
    "insufficient_system_resource": _FAILED,  # DeepSeek: generation was broken off
    "abort": (Status.CANCELLED, StopReason.CANCELLED),  # vLLM, SGLang: the request was aborted
    # of other protocols, passed through
    "end_turn": _COMPLETED,
    "max_tokens": _CUT,
    "tool_use": _CALLS,
    "refusal": (Status.INCOMPLETE, StopReason.REFUSAL),
}

_UNHEARD: Final = (Status.UNKNOWN, None)


class Verdict(NamedTuple):
    """What became of a choice; `contradiction` names what else it said, if that says otherwise."""

    status: Status
    reason: StopReason | None
    contradiction: str | None = None


def meaning(finish: str) -> tuple[Status, StopReason | None]:
    """What a finish reason means by itself. Gemini's compatible endpoint adds a word: `content_filter: SAFETY`."""
    return _FINISH.get(finish.partition(":")[0].strip().lower(), _UNHEARD)


def verdict(finish: str, *, called: bool, refused: bool, forced: bool) -> Verdict:
    """What became of a choice that finished.

    The finish reason decides. Several servers say `stop` though the model `called` the client's tools: that is
    documented where the request `forced` a call, and a contradiction elsewhere. A model that `refused` did so in an
    answer that is whole: the reason is the refusal, the status stays completed.
    """
    status, reason = meaning(finish)
    if status is Status.COMPLETED and called:
        return Verdict(status, reason, None if forced else "tool_calls")
    if status is Status.REQUIRES_ACTION and not called:
        return Verdict(status, reason, "no_tool_call")
    if status is Status.COMPLETED and refused:
        return Verdict(status, StopReason.REFUSAL)
    return Verdict(status, reason)


def forced(body: Mapping[str, Any]) -> bool:
    """Whether the request left the model no choice but to call a tool (API reference, `tool_choice`)."""
    choice, legacy = body.get("tool_choice"), body.get("function_call")
    return choice == "required" or isinstance(choice, dict) or isinstance(legacy, dict)
