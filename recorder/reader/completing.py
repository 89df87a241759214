"""What holds for every protocol, added to what a dialect said: times, bounds, findings, the group, what may be kept.

Pure functions over values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from recorder.detect import examine
from recorder.dialects import Dialect
from recorder.dialects.names import documented
from recorder.reader.passing import Passing
from recorder.recording import Head, Reading, Recording, Spoken, UsageQuality

__all__ = [
    "completed",
    "facts_without_content",
    "is_long",
    "is_plain",
    "omitted",
    "setting",
    "settings_of",
    "stub",
    "without_payloads",
]

#: Response headers that name the exchange for the provider's support.
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id")

#: Response headers that say where the provider answered: Azure's region; the data centre of Cloudflare, behind a
#: hyphen, and of CloudFront, before one.
_REGIONS: Final = (
    ("x-ms-region", re.compile(r"([\w -]{1,64})")),
    ("cf-ray", re.compile(r"\w{1,64}-([A-Z]{3})")),
    ("x-amz-cf-pop", re.compile(r"([A-Z]{3}[0-9]{0,4})(?:-\w{1,16})?")),
)

#: A parameter's JSON text above this many bytes stays in the request's body alone.
_LONGEST_VALUE: Final = 4096

#: Parameters in a URL that are no content.
_SETTINGS: Final = frozenset({"model", "api-version"})

#: Names of parameters kept: a stranger's request may hold any number.
_MOST_NAMES: Final = 1000

#: Bytes of text that one token stands for at most: the longest entries of published vocabularies (o200k_base).
_LONGEST_TOKEN: Final = 128


def completed(recording: Recording, dialect: Dialect, reading: Reading, passing: Passing) -> Reading:
    """The dialect's reading with what holds for every protocol. Where content is not to be kept, without any."""
    full = recording.content == "full"
    findings = examine(reading, recording.request)
    timed = not _imported_without(recording, "times")
    stalls = passing.stalls(waited_us=_waited(recording, reading, passing)) if timed else []
    flags = {*reading.flags, *passing.flags, *findings.flags, *(("stalled",) if stalls else ())}
    if recording.ending is not None and "redacted" in recording.ending.detail:
        flags.add("redacted")
    facts = {**reading.facts, **findings.facts, **_bounds(reading)}
    if not full:
        facts = facts_without_content(facts, dialect, reading)
    if timed and (times := passing.times(stalls)):
        facts["times"] = times
    if region := _region(passing.head):
        facts["region"] = region
    estimated = reading.usage_quality == UsageQuality.MISSING and "usage_bounds" in facts
    return replace(
        reading,
        is_run=reading.is_run and not _redirected(passing.head),
        text=reading.text if full else None,
        facts=facts,
        parameters=_kept(recording, dialect, reading),
        usage_quality=UsageQuality.ESTIMATED.value if estimated else reading.usage_quality,
        request_id=_request_id(passing.head) or reading.request_id,
        group=_group(recording, reading),
        ttft_us=reading.ttft_us if timed else None,
        ttft_visible_us=reading.ttft_visible_us if timed else None,
        longest_gap_us=passing.longest_gap_us if timed else None,
        stalls=len(stalls) if timed and passing.count else None,
        stalled_us=sum(waited for _, waited in stalls) if timed and passing.count else None,
        text_chars=findings.text_chars,
        blank_chars=findings.blank_chars,
        json_valid=findings.json_valid,
        json_damage=findings.json_damage,
        flags=tuple(sorted(flags)),
        spoken=(),
    )


def without_payloads(recording: Recording, reading: Reading) -> Reading:
    """All that can be said without payloads: what was asked, and what the transport saw. Nothing is guessed."""
    hot = recording.parameters
    return Reading(
        dialect=reading.dialect,
        action=reading.action,
        is_run=reading.is_run,
        opens_run=reading.opens_run,
        continues=reading.continues,
        provider_run_id=reading.continues,
        model=hot.get("model"),
        assistant_id=hot.get("assistant_id"),
        thread_id=hot.get("thread_id"),
        max_prompt_tokens=hot.get("max_prompt_tokens"),
        max_completion_tokens=hot.get("max_completion_tokens"),
        truncation_strategy=hot.get("truncation_strategy"),
        flags=("payload_missing",),
    )


def _imported_without(recording: Recording, what: str) -> bool:
    """Whether it was imported from a source that does not know this: then the rows say nothing about it."""
    imported = recording.ending.detail.get("imported") if recording.ending else None
    unknown = imported.get("unknown") if isinstance(imported, dict) else None
    return isinstance(unknown, list) and what in unknown


def _waited(recording: Recording, reading: Reading, passing: Passing) -> int | None:
    """How long after its last event a stream was waited for that did not say it was over."""
    if reading.complete or recording.ending is None or passing.last_us is None:
        return None
    return recording.ending.elapsed_us - passing.last_us


def _bounds(reading: Reading) -> dict[str, Any]:
    """Between what the output tokens lie that nobody stated: from the text that was seen, and from the cap.

    A token is at most 128 bytes of text and at least one (byte-level vocabularies). Reasoning may be hidden, so of all
    the output only the cap is an upper bound; of what is visible the text is one too.
    """
    seen = sum(map(_bytes, reading.spoken))
    if reading.output_tokens is not None or not seen:
        return {}
    shown = sum(_bytes(spoken) for spoken in reading.spoken if spoken.kind != "reasoning")
    least = _fewest_tokens(seen)
    cap = _upper_bound(reading, least)
    return {
        "usage_bounds": {
            "output_tokens": {"at_least": least, "at_most": cap},
            "visible_tokens": {"at_least": _fewest_tokens(shown), "at_most": shown if cap is None else min(shown, cap)},
        }
    }


def _bytes(spoken: Spoken) -> int:
    return len(spoken.text.encode(errors="surrogatepass"))


def _fewest_tokens(size: int) -> int:
    return -(-size // _LONGEST_TOKEN)


def _upper_bound(reading: Reading, least: int) -> int | None:
    """The cap, where it is one: several answers have it each for itself, some clients send -1 for none, and an output
    that cannot be made of so few tokens shows that nobody kept to it."""
    cap, several = reading.max_completion_tokens, "choices" in reading.facts
    return None if cap is None or several or cap < least else cap


def _kept(recording: Recording, dialect: Dialect, reading: Reading) -> dict[str, Any] | None:
    """The parameter set as the reading keeps it: a value that is too long, or not to be kept, gives its size alone.

    The request's body has it all, where content is kept.
    """
    if reading.parameters is None:
        return None
    parameters = dict(islice(reading.parameters.items(), _MOST_NAMES))
    if beyond := len(reading.parameters) - len(parameters):
        parameters["$omitted"] = {"names": beyond}
    full = recording.content == "full"
    if full and recording.request.body_size <= _LONGEST_VALUE:
        return parameters
    settings = settings_of(dialect, reading)
    return {
        name: omitted(value, named=full)
        if is_long(value) or not (full or name in settings or is_plain(value))
        else value
        if full
        else setting(value)
        for name, value in parameters.items()
    }


def settings_of(dialect: Dialect, reading: Reading) -> frozenset[str]:
    """The names of parameters that are no content. What a name means that nobody documents is not known."""
    return _SETTINGS.union(documented(dialect.name, reading.action)) - dialect.contents


def is_plain(value: Any) -> bool:
    """Whether it is a value that no text can be in."""
    return value is None or isinstance(value, (bool, int, float))


def setting(value: Any) -> Any:
    """A setting without what it may say to the model: the schema of an answer, and descriptions."""
    if isinstance(value, list):
        return [setting(each) for each in value]
    if not isinstance(value, dict):
        return value
    if (left_out := stub(value)) is not None:
        return left_out
    return {
        name: omitted(each, named=False)
        if not is_plain(each) and (name == "description" or ("schema" in name.lower() and not isinstance(each, str)))
        else setting(each)
        for name, each in value.items()
    }


def facts_without_content(facts: Mapping[str, Any], dialect: Dialect, reading: Reading) -> dict[str, Any]:
    """The facts without texts of the model's, of the client's, and of error messages, which may quote both."""
    settings = settings_of(dialect, reading)
    kept = {name: value for name, value in facts.items() if name != "content"}
    for name, absent in (("echoed", False), ("echo_differs", True)):
        if name in kept:
            kept[name] = {
                key: setting(value) if key in settings else None
                for key, value in kept[name].items()
                if absent or key in settings
            }
    if "evidence" in kept:
        kept["evidence"] = _without_messages(kept["evidence"])
    return kept


def _without_messages(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: _without_messages(each)
        for name, each in value.items()
        if not (name == "message" and isinstance(each, str))
    }


def is_long(value: Any) -> bool:
    return isinstance(value, (str, list, dict)) and len(_text(value)) > _LONGEST_VALUE


def omitted(value: Any, *, named: bool) -> dict[str, Any]:
    """What stands for a value. Its digest would give away a short text that is not to be kept, so only `named` ones."""
    if not named and (left_out := stub(value)) is not None:
        return left_out
    text = _text(value)
    told: dict[str, Any] = {"bytes": len(text)}
    if named:
        told["sha256"] = hashlib.sha256(text).hexdigest()
    return {"$omitted": told}


def stub(value: Any) -> dict[str, Any] | None:
    """What already stands for a value, without its digest; None where the value is another."""
    told = value.get("$omitted") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(told, dict):
        return None
    return {"$omitted": {name: size for name, size in told.items() if name in ("bytes", "names") and is_plain(size)}}


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def _redirected(head: Head | None) -> bool:
    """The run is what the next exchange gets: this one only says where."""
    return head is not None and 300 <= head.status < 400


def _request_id(head: Head | None) -> str | None:
    found = (head.get(name) for name in _REQUEST_IDS) if head else ()
    return next((value for value in found if value), None)


def _region(head: Head | None) -> str | None:
    """Where the provider answered, in its own word."""
    if head is None:
        return None
    told = (form.fullmatch(head.get(name) or "") for name, form in _REGIONS)
    return next((found[1] for found in told if found), None)


def _group(recording: Recording, reading: Reading) -> str | None:
    """What runs of the same kind have in common: assistant, else prompt, else the tag `app`, else instructions."""
    told: str | None = reading.assistant_id or reading.facts.get("prompt_id") or recording.tags.get("app")
    instructions = reading.facts.get("instructions_hash")
    return told if told or not instructions else f"instructions:{instructions}"
