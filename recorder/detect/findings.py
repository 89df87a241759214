"""What went wrong inside an answer, told from the texts that a Reading carries: `examine`, one pass, nothing kept.

It judges texts by what the protocol said about them (why the run stopped, which format was asked for, what the caps
were), and refuses to know how that was said, and where a finding goes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from recorder.dialects.base import body_of, without_absent
from recorder.recording import ASIDE, Reading, Request, Spoken, Status, StopReason

from .jsontext import JsonVerdict, json_reading
from .runaway import ENOUGH, Repetition, Whitespace, repetition, whitespace

__all__ = ["Findings", "examine"]

#: Formats whose answer is meant to be JSON.
_JSON_FORMATS: Final = ("json_object", "json_schema")
#: Kinds of text that the user sees.
_SEEN: Final = ("text", "refusal")
#: Visible characters up to which an answer is as good as none.
_NEARLY_NOTHING: Final = 20
#: The share of the output that is reasoning when it has eaten the budget.
_EATEN: Final = 0.9
#: Calls whose verdict is kept.
_MOST_CALLS: Final = 64


@dataclass(frozen=True, slots=True)
class Findings:
    """What `examine` found. Facts are small, JSON-ready, and hold none of the texts.

    flags: whitespace_runaway, repetition_runaway, reasoning_starved, mid_word_end, json_damaged, arguments_damaged,
    json_not_asked_for.
    facts: `whitespace` and `repetition` (the first runaway of each kind; `of` is the kind of text it is in), `json`
    (damage, depth, at) where the text is damaged, `arguments` (one verdict for each tool call), `cut_end` (in what the
    text ends: word, sentence, fence).
    text_chars: characters of what the user sees; blank_chars: how many of them are in whitespace runaways. None where
    there is no such text.
    json_valid: whether the text is JSON where a JSON format was asked for, None otherwise; json_damage: see
    `JsonVerdict`.
    """

    flags: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    text_chars: int | None = None
    blank_chars: int | None = None
    json_valid: bool | None = None
    json_damage: str | None = None


class _Told(NamedTuple):
    """One text with what was found in it; `verdict` is None where it is not meant to be JSON."""

    spoken: Spoken
    verdict: JsonVerdict | None
    blanks: Whitespace | None
    loop: Repetition | None


def examine(reading: Reading, request: Request) -> Findings:
    """Look through everything the answer said. `request` tells what the model was told; its body may be None."""
    asks_json = reading.response_format in _JSON_FORMATS
    told = [_told(spoken, json=asks_json) for spoken in reading.spoken]
    seen = [one for one in told if one.spoken.kind in _SEEN]
    damage = _damage(reading, told) if asks_json else None
    calls = [_call(one) for one in told if one.verdict and one.spoken.kind == "arguments"]
    blanks = next(((one.spoken, one.blanks) for one in told if one.blanks), None)
    loop = next(((one.spoken, one.loop) for one in told if one.loop), None)
    cut_end = _cut_end(reading) if not asks_json else None
    flags = {
        "whitespace_runaway": blanks is not None,
        "repetition_runaway": loop is not None,
        "reasoning_starved": _starved(reading),
        "mid_word_end": cut_end is not None,
        "json_damaged": damage is not None and not damage.valid,
        "arguments_damaged": any(not call["valid"] for call in calls),
        "json_not_asked_for": reading.response_format == "json_object" and _never_says_json(reading, request),
    }
    return Findings(
        flags=tuple(sorted(name for name, raised in flags.items() if raised)),
        facts=without_absent(
            whitespace=_whitespace_fact(*blanks) if blanks else None,
            repetition=_repetition_fact(*loop) if loop else None,
            json=_verdict_fact(damage) if damage is not None and not damage.valid else None,
            arguments=calls[:_MOST_CALLS] or None,
            cut_end=cut_end,
        ),
        text_chars=sum(len(one.spoken.text) for one in seen) if seen else None,
        blank_chars=sum(one.blanks.all_chars for one in seen if one.blanks) if seen else None,
        json_valid=damage.valid if damage else None,
        json_damage=damage.damage if damage else None,
    )


def _told(spoken: Spoken, *, json: bool) -> _Told:
    is_json = spoken.kind == "arguments" or (json and spoken.kind == "text")
    verdict = json_reading(spoken.text) if is_json else None
    loop = repetition(spoken)
    if loop and verdict and verdict.valid and (loop.chars < ENOUGH or loop.period is None):
        loop = None  # a list of zeros, or of records that are much alike, that came to its end
    return _Told(spoken, verdict, whitespace(spoken, json=is_json), loop)


# -- JSON -------------------------------------------------------------------------------------------------------------


def _damage(reading: Reading, told: list[_Told]) -> JsonVerdict | None:
    """The verdict on an answer that should be JSON: the first text that is none, or that all are.

    None where there is nothing to judge: the model refused, called tools, or the run has no answer (yet).
    """
    verdicts = [one.verdict for one in told if one.verdict and one.spoken.kind == "text" and one.spoken.text]
    if verdicts:
        return next((verdict for verdict in verdicts if not verdict.valid), verdicts[0])
    other = any(one.spoken.kind != "reasoning" and one.spoken.text for one in told)
    over = reading.stop_reason in (StopReason.STOP, StopReason.OUTPUT_LIMIT)
    if other or not over or reading.action in ASIDE or not reading.is_run:
        return None
    return json_reading("")


def _call(told: _Told) -> dict[str, Any]:
    """The verdict on a call's arguments. A call that ended without any took none: as good as an empty object."""
    verdict = told.verdict or json_reading(told.spoken.text)
    if verdict.damage == "empty" and told.spoken.ended:
        verdict = JsonVerdict(True)
    return without_absent(name=told.spoken.name, valid=verdict.valid) | (
        {} if verdict.valid else _verdict_fact(verdict) | {"chars": len(told.spoken.text)}
    )


def _verdict_fact(verdict: JsonVerdict) -> dict[str, Any]:
    return without_absent(damage=verdict.damage, depth=verdict.depth, at=verdict.at)


_JSON_WORD: Final = re.compile("json", re.IGNORECASE)
#: By dialect: the members of a request that hold all that the model is told, and that must be there to be sure.
_MESSAGES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "chat": (("messages",), "messages"),
    "responses": (("input", "instructions"), "input"),
    "assistants": (("thread", "instructions", "additional_instructions"), "thread"),
}
#: What tells the model more than the request does.
_TOLD_ELSEWHERE: Final = ("previous_response_id", "conversation", "prompt")


def _never_says_json(reading: Reading, request: Request) -> bool:
    """Whether no message of the request has the word JSON, which OpenAI's JSON mode needs. False where in doubt:

    the body is not there, or messages or instructions stand in a thread, an assistant, a prompt or an earlier response.
    """
    names, needed = _MESSAGES.get(reading.dialect, ((), ""))
    body = body_of(request)
    if body.get(needed) is None or any(body.get(name) is not None for name in _TOLD_ELSEWHERE):
        return False
    if reading.dialect == "assistants" and not isinstance(body.get("instructions"), str):
        return False
    return not any(map(_JSON_WORD.search, _texts([body.get(name) for name in names])))


def _texts(value: Any) -> Iterator[str]:
    """Every text inside a JSON value, names of members aside."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()


# -- where it was cut -------------------------------------------------------------------------------------------------


def _starved(reading: Reading) -> bool:
    """Whether the output limit was reached by reasoning, and next to nothing was left for the answer."""
    if reading.stop_reason != StopReason.OUTPUT_LIMIT:
        return False
    if any(spoken.kind in ("arguments", "input") and spoken.text for spoken in reading.spoken):
        return False
    visible = "".join(spoken.text for spoken in reading.spoken if spoken.kind in _SEEN).strip()
    thought = any(spoken.kind == "reasoning" and spoken.text for spoken in reading.spoken)
    if visible.startswith("<think>"):  # models that reason inside of their text
        thought = True
        visible = visible.partition("</think>")[2].strip()
    if thought and not visible:
        return True
    reasoning, output = reading.reasoning_tokens, reading.output_tokens
    eaten = bool(reasoning and output and reasoning >= _EATEN * output)
    return eaten and len(visible) <= _NEARLY_NOTHING


_FENCE: Final = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})(.*)$", re.MULTILINE)


def _cut_end(reading: Reading) -> str | None:
    """In what the visible text ends where it was, or may have been, cut at a token limit: `fence` (an open code block),
    `word`, `sentence` (behind a word or a comma). None where the end looks like one, or cannot be judged: scripts that
    put no spaces between words are left alone.
    """
    cap, used = reading.max_completion_tokens, reading.output_tokens
    cut = reading.stop_reason == StopReason.OUTPUT_LIMIT and reading.status == Status.INCOMPLETE
    silently = reading.stop_reason == StopReason.STOP and bool(cap and used and used >= cap)
    last = next((one.text for one in reversed(reading.spoken) if one.kind == "text" and one.text.strip()), None)
    if last is None or not (cut or silently):
        return None
    if _open_fence(last):
        return "fence"
    kind = unicodedata.category(last.rstrip()[-1])
    if kind in ("Ll", "Lu", "Lt", "Nd"):
        return "sentence" if last[-1].isspace() else "word"
    return "sentence" if kind in ("Ps", "Pi", "Pd") or last.rstrip()[-1] in ",;:" else None


def _open_fence(text: str) -> bool:
    """Whether the text ends inside a fenced code block (CommonMark 0.31 section 4.5)."""
    fence = ""
    for marks, rest in _FENCE.findall(text):
        if not fence:
            fence = marks if marks[0] == "~" or "`" not in rest else ""
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            fence = ""
    return bool(fence)


# -- facts ------------------------------------------------------------------------------------------------------------


def _whitespace_fact(spoken: Spoken, blanks: Whitespace) -> dict[str, Any]:
    several = {"runs": blanks.runs, "all_chars": blanks.all_chars} if blanks.runs > 1 else {}
    return several | without_absent(
        of=spoken.kind,
        at=blanks.at,
        chars=blanks.chars,
        pieces=blanks.pieces if len(spoken.offsets) > 1 else None,
        position=blanks.position,
        elapsed_us=blanks.elapsed_us,
        to_end=blanks.to_end,
    )


def _repetition_fact(spoken: Spoken, loop: Repetition) -> dict[str, Any]:
    return without_absent(
        of=spoken.kind,
        at=loop.at,
        chars=loop.chars,
        period=loop.period,
        position=loop.position,
        elapsed_us=loop.elapsed_us,
        to_end=loop.to_end,
    )
