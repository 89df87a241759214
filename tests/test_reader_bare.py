"""What is left of a reading when content goes: what would have been stored without it; and no text of anybody's."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from recorder import reader
from recorder.recording import Reading
from tests.golden import tape
from tests.kept import GOLDEN


@pytest.mark.parametrize("name", GOLDEN)
def test_without_content_it_is_what_content_facts_gives(name: str) -> None:
    recording, events = tape(name)
    bare = reader.without_content(reader.interpret(recording, events))
    assert bare == reader.interpret(replace(recording, content="facts"), events)
    assert reader.without_content(bare) == bare


@pytest.mark.parametrize("name", GOLDEN)
def test_without_texts_the_numbers_are_the_same_and_nothing_is_left_to_read(name: str) -> None:
    whole = reader.interpret(*tape(name))
    bare = reader.without_texts(whole)
    assert reader.without_texts(bare) == bare
    assert (bare.text, bare.metadata, bare.spoken) == (None, None, ())
    before, after = asdict(whole), asdict(bare)
    for field in before:
        if isinstance(before[field], int | float):
            assert after[field] == before[field], field
    assert not [text for text in _texts([bare.facts, bare.parameters]) if re.search(r"\s", text)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (key, *_texts(each))]
    if isinstance(value, list | tuple):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def test_what_names_a_person_goes_and_what_names_a_model_stays() -> None:
    asked = {
        "model": "gpt-4o-2024-08-06",
        "user": "smith",
        "safety_identifier": "smith",
        "metadata": {"customer": "smith"},
        "messages": [{"role": "user", "content": "smith"}],
        "stop": ["smith"],
        "temperature": 0.5,
        "reasoning_effort": "high",
        "smith": "smith",
    }
    whole = Reading(dialect="chat", action="create", parameters=asked, group="smith", metadata={"a": "smith"})
    bare = reader.without_texts(whole)
    assert "smith" not in json.dumps([dict(bare.parameters or {}), bare.group, bare.metadata])
    assert bare.parameters is not None
    assert (bare.parameters["model"], bare.parameters["temperature"]) == ("gpt-4o-2024-08-06", 0.5)
    assert bare.parameters["reasoning_effort"] == "high"
    assert list(bare.parameters["metadata"]) == ["$omitted"]


def test_what_looks_as_if_it_was_left_out_is_no_way_round() -> None:
    """A client may send what stands here for what was left out."""
    for sent in ({"$omitted": {"bytes": "smith"}}, {"$omitted": "smith"}, {"$omitted": {"sha256": "smith"}}):
        whole = Reading(
            dialect="chat", action="create", parameters={"tool_choice": sent, "$omitted": {"names": "smith"}}
        )
        assert "smith" not in json.dumps(dict(reader.without_texts(whole).parameters or {}))
