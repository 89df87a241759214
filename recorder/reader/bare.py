"""What is left of a reading when its recording's content goes, without reading the recording again.

Two degrees: `without_content` leaves what a recording with `content=facts` would have; `without_texts` leaves only what
no text of anybody's can be in: numbers, times, ids, and the protocol's own words. Pure functions; done twice is done
once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from recorder.dialects import Dialect, by_name
from recorder.dialects.names import documented
from recorder.reader.completing import facts_without_content, is_long, is_plain, omitted, setting, settings_of, stub
from recorder.recording import Reading

__all__ = ["without_content", "without_texts"]

_OMITTED: Final = "$omitted"

#: A word of a protocol: a status, a reason, the name of an event or of a field.
_WORD: Final = re.compile(r"[a-z][a-z0-9]*(?:[_.][a-z0-9]+)*")
_LONGEST_WORD: Final = 48
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.-][A-Za-z0-9]+)*")
#: How Gemini spells its words; what was seen as such stands under `value`.
_CAPITALS: Final = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
#: Names, versions and ids that providers give: of models, of what serves them, of their own objects.
_VERSION: Final = re.compile(r"[A-Za-z0-9][\w.:/@-]*")
_VERSIONS: Final = frozenset(
    {"api-version", "assistant_id", "conversation", "id", "model", "previous_response_id", "system_fingerprint"}
)
#: Whatever they hold, it is somebody's: they name whoever asked, what was said, or what was called.
_SOMEBODYS: Final = frozenset(
    {
        *("arguments", "description", "instructions_hash", "message", "metadata", "name", "prompt_cache_key"),
        *("prompt_id", "safety_identifier", "stop", "stop_sequences", "text", "title", "user", "user_id"),
    }
)


def without_content(reading: Reading) -> Reading:
    """As it would be had the recording been made with `content=facts`. Tags, metadata and the group stay."""
    dialect = by_name(reading.dialect)
    return replace(
        reading,
        text=None,
        facts=facts_without_content(reading.facts, dialect, reading),
        parameters=_settings(dialect, reading),
        spoken=(),
    )


def without_texts(reading: Reading) -> Reading:
    """Without anything that somebody may have written: no metadata, no names of people, tools or groups, no digests
    of texts. Ids of the provider's stay, which say nothing by themselves.
    """
    bare = without_content(reading)
    known = frozenset(documented(reading.dialect, reading.action)) | {_OMITTED}
    asked = bare.parameters
    return replace(
        bare,
        metadata=None,
        group=reading.assistant_id if reading.group == reading.assistant_id else None,
        stop_reason_raw=_words(reading.stop_reason_raw, "value"),
        json_damage=_word(reading.json_damage),
        facts=_words(bare.facts),
        parameters=None
        if asked is None
        else {name: _nameless(name, value) for name, value in asked.items() if name in known},
    )


def _settings(dialect: Dialect, reading: Reading) -> dict[str, Any] | None:
    if reading.parameters is None:
        return None
    settings = settings_of(dialect, reading)
    return {name: _setting_of(name, value, name in settings) for name, value in reading.parameters.items()}


def _setting_of(name: str, value: Any, known: bool) -> Any:
    if name == _OMITTED:
        return setting({name: value})[name]
    if (left_out := stub(value)) is not None:
        return left_out
    if is_long(value) or not (known or is_plain(value)):
        return omitted(value, named=False)
    return setting(value)


def _nameless(name: str, value: Any) -> Any:
    """A parameter's value, or its size where somebody's text may be in it."""
    if is_plain(value) or name == _OMITTED:
        return value
    if (left_out := stub(value)) is not None:
        return left_out
    if name in _SOMEBODYS:
        return omitted(value, named=False)
    if isinstance(value, str):
        pattern = _VERSION if name in _VERSIONS else _WORD
        return value if not value or _is(pattern, value) else omitted(value, named=False)
    return _words(value)


def _words(value: Any, name: str = "") -> Any:
    """Numbers, truth values, words of the protocol; of all else that there was something (null)."""
    if name in ("metadata", "arguments"):
        return None
    if isinstance(value, Mapping):
        if (left_out := stub(value)) is not None:
            return left_out
        return {key: _words(each, key) for key, each in value.items() if _is(_FIELD, key)}
    if isinstance(value, list | tuple):
        return [_words(each, name) for each in value]
    if not isinstance(value, str):
        return value
    if name in _SOMEBODYS:
        return None
    if name in _VERSIONS:
        return value if _is(_VERSION, value) else None
    return value if name == "value" and _is(_CAPITALS, value) else _word(value)


def _word(text: str | None) -> str | None:
    return text if text is not None and _is(_WORD, text) else None


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= _LONGEST_WORD and pattern.fullmatch(text) is not None
