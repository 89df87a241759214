"""Chat Completions (API reference "Chat"): OpenAI, Azure, and the many servers that speak the same.

A stream is data-only: chunks, then `data: [DONE]`; what comes after that no client reads, and neither does this
module. Each choice says why it stopped in `finish_reason`; usage comes in a last chunk without choices when the client
asked for it, from some servers in every chunk (the last one counts). Exchanges never merge: each is a run of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.dialects import asked as parameter_set
from recorder.dialects import chat_usage
from recorder.dialects.asked import Limit
from recorder.dialects.base import (
    ODD,
    WEIGHT,
    Answer,
    body_of,
    dig,
    digest,
    error_told,
    flags_of,
    integer,
    mapping,
    parse,
    path_of,
    query_of,
    reason_of_error,
    string,
    without_absent,
)
from recorder.dialects.chat_finish import Verdict, forced, meaning, verdict
from recorder.dialects.chat_told import Choice, Key, Told
from recorder.dialects.models import is_deployment, same_model
from recorder.dialects.usage import fills
from recorder.recording import Event, Reading, Recording, Request, Spoken, Status, StopReason, storable

__all__ = ["Chat"]

_PATH: Final = re.compile(r"/chat/completions$")

#: API reference, "Create chat completion"; a `stop` that is no list is one sequence.
_LIMITS: Final[Mapping[str, Limit]] = {
    "temperature": Limit(0, 2),
    "top_p": Limit(0, 1),
    "n": Limit(1, 128),
    "top_logprobs": Limit(0, 20),
    "frequency_penalty": Limit(-2, 2),
    "presence_penalty": Limit(-2, 2),
    "stop": Limit(high=4, of="list"),
    "tools": Limit(high=128, of="list"),
}

#: As many choices are told of one by one, the most that can be asked for.
_MOST: Final = 128


class Chat:
    """See the module."""

    name: Final = "chat"
    contents: Final = frozenset({"functions", "messages", "prediction", "tools"})

    def recognises(self, request: Request) -> bool:
        """`POST …/chat/completions` with messages."""
        fits = request.method.upper() == "POST" and _PATH.search(path_of(request)) is not None
        return fits and (request.body is None or b'"messages"' in request.body)

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. The older `max_tokens` counts where `max_completion_tokens` is absent."""
        return _parameters(body_of(request))

    def asked(self, request: Request) -> dict[str, Any]:
        """As `Dialect.asked`."""
        return _asked(request, body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`. A stream and the same completion as one JSON give the same status, reason and usage."""
        answer = Answer(events)
        told = Told("delta")
        for frame in answer.frames():
            position, elapsed_us, name, data = frame
            if told.closed:
                told.after_end += 1
            elif data.startswith(b"[DONE]"):
                told.marker, told.closed = position, True
            elif name == "message":
                try:
                    told.chunk(position, elapsed_us, parse(data))
                except ODD:
                    answer.broken(position)
            else:
                _named(told, answer, frame)
        if not answer.streamed:
            told = _document(answer)
        if answer.refused:
            told.fail({}, answer.body_position)
        return _reading(recording.request, told, answer)


# -- what was asked ---------------------------------------------------------------------------------------------------


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    stream, cap = body.get("stream"), integer(body.get("max_completion_tokens"))
    return without_absent(
        model=string(body.get("model")),
        max_completion_tokens=integer(body.get("max_tokens")) if cap is None else cap,
        stream=stream if isinstance(stream, bool) else None,
    )


def _asked(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return {**query_of(request), **body} if body else {}


def _instructions(body: Mapping[str, Any]) -> str | None:
    """The leading system or developer message: its text, or the texts of its parts."""
    messages = body.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if dig(first, "role") not in ("system", "developer"):
        return None
    content = dig(first, "content")
    if isinstance(content, list):
        return "".join(string(dig(part, "text")) or "" for part in content) or None
    return string(content)


def _response_format(body: Mapping[str, Any]) -> str | None:
    """`json_object`, `json_schema`, `text`, or whatever else was asked for."""
    wanted = body.get("response_format")
    return string(wanted) or string(dig(wanted, "type"))


def _choices_asked(body: Mapping[str, Any]) -> int:
    return max(integer(body.get("n")) or 1, 1)


# -- what came back ---------------------------------------------------------------------------------------------------


def _named(told: Told, answer: Answer, frame: tuple[int, int, str, bytes]) -> None:
    """An event with a name, which this protocol does not have: an error, a keepalive, or a chunk all the same."""
    position, elapsed_us, name, data = frame
    try:
        value = parse(data)
    except ValueError:
        value = data.decode(errors="replace")
    if isinstance(value, dict):
        try:
            told.chunk(position, elapsed_us, value)
        except ODD:
            answer.broken(position)
    if name == "error":
        told.fail(without_absent(message=string(value)), position)
    else:
        answer.unheard(name)


def _document(answer: Answer) -> Told:
    """A completion that is not streamed, or the error that came instead."""
    told = Told("message")
    position = answer.body_position or 0
    value = answer.json()
    if value is not None:
        try:
            told.chunk(position, None, value)
        except ODD:
            answer.broken(position)
    return told


def _ended(told: Told, body: Mapping[str, Any], answer: Answer) -> bool:
    """Whether every choice said why it stopped; of those asked for, ones may be missing only where the end is known."""
    if not told.choices or any(choice.finish is None for choice in told.choices.values()):
        return False
    whole = told.marker is not None or not answer.streamed
    return whole or len(told.choices) >= _choices_asked(body)


def _verdicts(told: Told, body: Mapping[str, Any]) -> list[tuple[Choice, Verdict]]:
    """What became of each choice that finished, by its index."""
    must = forced(body)
    return [
        (choice, verdict(choice.finish, called=bool(choice.calls), refused=choice.refused, forced=must))
        for _, choice in sorted(told.choices.items())
        if choice.finish is not None
    ]


def _reading(request: Request, told: Told, answer: Answer) -> Reading:
    """All of it, weighed."""
    body = body_of(request)
    hot = _parameters(body)
    spoken = told.spoken()
    ended, verdicts = _ended(told, body, answer), _verdicts(told, body)
    terminal = ended or told.error is not None
    standing = max(verdicts, key=lambda pair: WEIGHT[pair[1].status], default=None)
    _contradictions(told, verdicts, ended=ended)
    status, reason, raw = _outcome(told, answer, standing, ended=ended)
    usage, odd = chat_usage.fields(told.usage, final=_final(told, terminal=terminal))
    cap = hot.get("max_completion_tokens")
    facts = {**_compared(request, body, told, ended=ended), **_facts(body, told, answer, standing)}
    answer.flags |= odd | flags_of(
        facts,
        output_cap_reached=_cap_reached(cap, usage.get("output_tokens"), len(told.choices)),
        tool_call_open=any(_open(choice, spoken) for choice in told.choices.values()),
    )
    marked = told.marker is not None or told.error is not None
    return Reading(
        dialect=Chat.name,
        action="create",
        status=status,
        stop_reason=reason,
        stop_reason_raw=raw,
        complete=terminal,
        provider_run_id=told.about.get("id"),
        model=told.about.get("model") or hot.get("model"),
        service_tier=told.about.get("service_tier"),
        parameters=_asked(request, body) or None,
        max_completion_tokens=cap,
        response_format=_response_format(body),
        **usage,
        ttft_us=told.first_us,
        ttft_visible_us=told.first_visible_us,
        text=_text(told, spoken),
        metadata=mapping(body.get("metadata")),
        flags=answer.judge(asked=hot.get("stream") is True, terminal=terminal, marker=marked),
        facts=facts,
        spoken=tuple(spoken.values()),
    )


def _text(told: Told, spoken: Mapping[Key, Spoken]) -> str | None:
    """What the first choice said; of an answer in sound alone, its transcript."""
    first = min(told.choices, default=0)
    said = spoken.get((first, "text")) or spoken.get((first, "transcript"))
    return storable(said.text) if said else None


def _outcome(
    told: Told, answer: Answer, standing: tuple[Choice, Verdict] | None, *, ended: bool
) -> tuple[Status, StopReason | None, str | None]:
    """Status, stop reason, and the raw value that they rest on: an error before all, then what the choices say, then
    what is known meanwhile."""
    if told.error is not None:
        return Status.FAILED, reason_of_error(told.error), told.error.get("code") or told.error.get("type")
    raw = standing[0].finish if standing else None
    if standing is not None and ended:
        return standing[1].status, standing[1].reason, raw
    begun = answer.streamed and (told.choices or told.about)
    return (Status.IN_PROGRESS if begun else Status.UNKNOWN), None, raw


def _contradictions(told: Told, verdicts: list[tuple[Choice, Verdict]], *, ended: bool) -> None:
    """Notes which signals say otherwise than what stands."""
    for _, one in verdicts:
        if one.contradiction:
            told.disagree(one.contradiction)
        if told.error is not None and one.status is not Status.FAILED:
            told.disagree("two_endings")
    blocked = any(hit.get("blocked") and hit["where"] == "completion" for hit in told.filtered)
    if ended and blocked and all(one.reason is not StopReason.CONTENT_FILTER for _, one in verdicts):
        told.disagree("content_filter")


def _final(told: Told, *, terminal: bool) -> bool:
    """Whether the figures are the last ones: servers that count in every chunk count on while there is more to say."""
    closed = terminal or told.marker is not None or told.usage_apart
    return closed and told.last_piece <= told.usage_position


def _cap_reached(cap: int | None, output: int | None, choices: int) -> bool:
    """Each choice has the cap for itself, and the usage counts them together."""
    return cap is not None and cap > 0 and fills(output, cap * max(choices, 1))


def _open(choice: Choice, spoken: Mapping[Key, Spoken]) -> bool:
    """Whether the arguments of a tool call did not end: its choice did not, or was cut while they were no JSON yet."""
    if not choice.calls:
        return False
    if choice.finish is None:
        return True
    cut = meaning(choice.finish)[0] not in (Status.COMPLETED, Status.REQUIRES_ACTION)
    last = choice.calls[-1]
    return cut and last.type != "custom" and not _is_json(spoken[last.key].text)


def _is_json(text: str) -> bool:
    try:
        parse(text.encode(errors="surrogatepass"))
    except ValueError:
        return False
    return True


def _compared(request: Request, body: Mapping[str, Any], told: Told, *, ended: bool) -> dict[str, Any]:
    """The facts of what was asked for outside the limits (`limits`), and of what came back other than it was asked for
    (`echo_differs`): another model, another service tier, fewer choices."""
    told_of: dict[str, Any] = {}
    wanted, served = string(body.get("model")), told.about.get("model")
    if wanted and served and not is_deployment(request) and not same_model(wanted, served):
        told_of["model"] = served
    if body.get("service_tier") not in (None, "auto") and "service_tier" in told.about:
        told_of["service_tier"] = told.about["service_tier"]
    if ended and integer(body.get("n")):
        told_of["n"] = len(told.choices)
    _, differs = parameter_set.changes(body, told_of, told_of)
    return without_absent(limits=parameter_set.outside(body, _LIMITS) or None, echo_differs=differs or None)


def _facts(
    body: Mapping[str, Any], told: Told, answer: Answer, standing: tuple[Choice, Verdict] | None
) -> dict[str, Any]:
    """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
    error, message = error_told(told.error, told.error_position)
    choices = sorted(told.choices.items())[:_MOST]
    return without_absent(
        evidence=without_absent(
            finish=_finish(standing[0]) if standing else None,
            usage={"value": told.usage, "position": told.usage_position} if told.usage else None,
            error=error,
            end_marker={"position": told.marker} if told.marker is not None else None,
        ),
        choices={str(index): _finish(choice) for index, choice in choices} if len(choices) > 1 else None,
        steps=told.steps() or None,
        filtered=told.filtered or None,
        disagreements=told.disagreements or None,
        after_end=told.after_end or None,
        system_fingerprint=told.about.get("system_fingerprint"),
        provider=told.about.get("provider"),
        instructions_hash=digest(_instructions(body)),
        content={"error_message": message} if message else None,
        **answer.facts(),
    )


def _finish(choice: Choice) -> dict[str, Any]:
    """The finish reason, the word of the model's own server, and the event that said so; {} for none yet."""
    if choice.finish is None:
        return {}
    return without_absent(value=choice.finish, native=choice.native, position=choice.finish_position)
