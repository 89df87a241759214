"""The parameter set of the Assistants protocol: what was asked, within which limits, and what the Run says of it.

Names and limits follow the API reference (RunCreateParams, ThreadCreateAndRunParams, ThreadCreateParams). It knows
nothing of streams and of what became of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recorder.dialects.asked import Limit, changes, outside, same
from recorder.dialects.assistants_routes import Route
from recorder.dialects.base import body_of, dig, integer, query_pairs, string, without_absent
from recorder.dialects.models import same_model
from recorder.recording import Request

__all__ = ["CAPS", "CONTENTS", "asked", "broken_limits", "echo", "format_of", "hot", "strategy"]

#: Texts for the model. Tools are among them: their names, descriptions and schemas are part of the prompt.
CONTENTS: Final = frozenset(
    {
        *("additional_instructions", "additional_messages", "content", "instructions", "messages"),
        *("thread", "tool_outputs", "tools"),
    }
)

#: Cap -> the usage that fills it.
CAPS: Final = {"max_prompt_tokens": "prompt_tokens", "max_completion_tokens": "completion_tokens"}

#: By path below the body. A run's instructions have no limit in the schema; an assistant's have.
_LIMITS: Final = {
    "temperature": Limit(0, 2),
    "top_p": Limit(0, 1),
    "max_prompt_tokens": Limit(low=256),
    "max_completion_tokens": Limit(low=256),
    "truncation_strategy.last_messages": Limit(low=1),
    "tools": Limit(high=20, of="list"),
    "tool_resources.code_interpreter.file_ids": Limit(high=20, of="list"),
    "tool_resources.file_search.vector_store_ids": Limit(high=1, of="list"),
    "response_format.json_schema.name": Limit(high=64, of="text"),
}
_LIMITED: Final = frozenset({"metadata", "thread", *(name.split(".")[0] for name in _LIMITS)})
_PATHS: Final = tuple((name, name.split(".")) for name in _LIMITS if "." in name)

#: What a Run repeats of the request that created it.
_ECHOED: Final = (
    *("model", "max_prompt_tokens", "max_completion_tokens", "truncation_strategy", "temperature", "top_p"),
    *("tool_choice", "tools", "response_format", "parallel_tool_calls", "metadata", "reasoning_effort"),
)

#: Of these the Run's value has a column; it is not repeated where nothing was asked.
_COLUMNS: Final = frozenset(
    {"model", "max_prompt_tokens", "max_completion_tokens", "truncation_strategy", "response_format", "metadata"}
)

#: In these the server fills in what was left open (`strict`, `ranking_options`): that changes nothing.
_FILLED_IN: Final = frozenset({"response_format", "tool_choice", "tools", "truncation_strategy"})


def asked(request: Request) -> dict[str, Any]:
    """As `Dialect.asked`. `include` of the query is a list, whether it was sent as `include` or as `include[]`."""
    parameters = body_of(request)
    included = [value for name, value in query_pairs(request) if name in ("include", "include[]")]
    return {**parameters, "include": included} if included else parameters


def hot(where: Route | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """As `Dialect.parameters`. DashScope's `max_tokens` counts as the completion cap."""
    stream = body.get("stream")
    completion = integer(body.get("max_completion_tokens"))
    return without_absent(
        model=string(body.get("model")),
        assistant_id=string(body.get("assistant_id")) or string(body.get("agent_id")),
        thread_id=string(where.thread_id) if where else None,
        max_prompt_tokens=integer(body.get("max_prompt_tokens")),
        max_completion_tokens=integer(body.get("max_tokens")) if completion is None else completion,
        truncation_strategy=strategy(body.get("truncation_strategy")),
        stream=stream if isinstance(stream, bool) else None,
    )


def strategy(value: object) -> str | None:
    """A truncation strategy as the column holds it: its type, or `last_messages:N`."""
    kind = string(dig(value, "type"))
    count = integer(dig(value, "last_messages"))
    return f"{kind}:{count}" if kind == "last_messages" and count is not None else kind


def format_of(*told: Any) -> str | None:
    """The neutral word for the first response format that says one: `auto`, `text`, `json_object`, `json_schema`."""
    return next((word for word in (string(value) or string(dig(value, "type")) for value in told) if word), None)


def broken_limits(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What of the parameters is outside the limits of the API reference (see `asked.outside`)."""
    if _LIMITED.isdisjoint(parameters):
        return []
    flat = {**parameters, **{name: dig(parameters, *path) for name, path in _PATHS}}
    of_thread = outside({"metadata": dig(parameters, "thread", "metadata")}, {})
    return outside(flat, _LIMITS) + [{**found, "parameter": f"thread {found['parameter']}"} for found in of_thread]


def echo(parameters: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """`echoed`, what a Run says beyond what was asked and what columns hold, and `echo_differs`; each if there is any.

    A Run's instructions are those that it worked with: after them stand the additional ones of the request.
    """
    beyond, differs = changes(parameters, run, _ECHOED, CONTENTS)
    beyond = {name: value for name, value in beyond.items() if name not in _COLUMNS and value not in ("", [], {})}
    differs = {
        name: both
        for name, both in differs.items()
        if not (name in _FILLED_IN and _holds(parameters.get(name), run.get(name)))
    }
    model, served = parameters.get("model"), run.get("model")
    if isinstance(model, str) and isinstance(served, str) and same_model(model, served):
        differs.pop("model", None)
    if _other_instructions(parameters, run):
        differs["instructions"] = None
    return without_absent(echoed=beyond or None, echo_differs=differs or None)


def _holds(wanted: Any, told: Any) -> bool:
    """Whether what was asked comes back whole; the server may have filled in more."""
    if isinstance(wanted, dict) and isinstance(told, dict):
        return all(_holds(value, told.get(name)) for name, value in wanted.items() if value is not None)
    if isinstance(wanted, list) and isinstance(told, list):
        return len(wanted) == len(told) and all(map(_holds, wanted, told))
    return same(wanted, told)


def _other_instructions(parameters: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    wanted, told = parameters.get("instructions"), run.get("instructions")
    if not isinstance(wanted, str) or not wanted or "instructions" not in run:
        return False
    if not parameters.get("additional_instructions"):
        return told != wanted
    return not (isinstance(told, str) and told.startswith(wanted))
