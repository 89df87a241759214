"""That every request parameter can be asked for by its name in SQL: set, absent and null are three different things."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnClause, Engine, Select, column, create_engine, literal_column, select, table
from sqlalchemy.pool import NullPool

from recorder import schema
from recorder.recording import storable
from recorder.schema import Id, readings
from recorder.store import Store, rows
from recorder.store.rows import clean_json, recording_columns, to_recording
from tests.needs import examples
from tests.rows import made_reading, opened, recorded

#: openai's `RunCreateParamsStreaming`, with a value of the shape that the API reference gives each.
STREAMING: dict[str, Any] = {
    "assistant_id": "asst_1",
    "additional_instructions": "Say \"please\" & 'thank you' → ünïcode 😀 \\ \n",
    "additional_messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "include": ["step_details.tool_calls[*].file_search.results[*].content"],
    "instructions": "",
    "max_completion_tokens": 256,
    "max_prompt_tokens": 0,
    "metadata": {"user": "u1", "a.b": "c", "": "empty"},
    "model": "gpt-4o",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "temperature": 1.0,
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "tools": [],
    "top_p": 1e-05,
    "truncation_strategy": {"type": "last_messages", "last_messages": 10},
    "stream": True,
}
OTHERS: dict[str, Any] = {
    "thread": {"messages": []},
    "tool_resources": {},
    "tool_outputs": [{"tool_call_id": "call_1", "output": "null"}],
    "seed": 123456789012345678901234567890,
    "stop": [None, "\n"],
    "text": "null",
    "generationConfig": {"maxOutputTokens": 5},
}

_names: list[ColumnClause[str]] = [column(name) for name in schema.PARAMETERS]
_asked = table("run_params", column("recording_id", Id()), column("run_id", Id()), column("action"), *_names)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of each kind, for all of the tests here."""
    if request.param == "sqlite":
        url = str(tmp_path_factory.mktemp("parameters") / "recorder.db")
    else:
        postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.create_database())
    with Store.open(url, create=True) as made:
        yield made


@pytest.fixture(scope="module")
def engine(store: Store) -> Iterator[Engine]:
    """Connections as a person's program makes them.

    The store's own trust no schema: SQLite up to at least 3.40 then lets no view use its JSON functions.
    """
    if store._backend.name == "postgresql":
        yield store._backend.engine
        return
    path = store.url.removeprefix("sqlite:///")
    made = create_engine("sqlite://", creator=lambda: sqlite3.connect(path), poolclass=NullPool)
    yield made
    made.dispose()


@pytest.fixture
def ask(engine: Engine) -> Callable[[UUID], dict[str, Any]]:
    """Gives the row of a recording in the view `run_params`."""

    def asked(recording_id: UUID) -> dict[str, Any]:
        with engine.connect() as connection:
            row = connection.execute(select(_asked).where(_asked.c.recording_id == recording_id)).mappings().one()
        return {str(name): value for name, value in row.items()}

    return asked


def kept(store: Store, parameters: Mapping[str, Any] | None) -> UUID:
    """A recording whose request had these parameters."""
    recording = recorded(store)
    store.put_readings([made_reading(recording, action="create", parameters=parameters)])
    return recording.recording_id


def test_the_names_are_those_of_the_api() -> None:
    assert {*STREAMING, *OTHERS} <= set(schema.PARAMETERS)
    assert len(schema.PARAMETERS) == len(set(schema.PARAMETERS))


def test_a_request_that_sets_each(store: Store, ask: Callable[[UUID], dict[str, Any]]) -> None:
    """Each is the JSON text of its value, to the letter."""
    given = {name: {**STREAMING, **OTHERS}.get(name, f"a {name}") for name in schema.PARAMETERS}
    recording_id = kept(store, given)
    found = ask(recording_id)
    assert found["run_id"] == recording_id
    assert found["action"] == "create"
    assert {name: found[name] for name in schema.PARAMETERS} == {
        name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in given.items()
    }


def test_a_request_that_sets_none(store: Store, ask: Callable[[UUID], dict[str, Any]]) -> None:
    found = ask(kept(store, {"unheard_of": 1}))
    assert [found[name] for name in schema.PARAMETERS] == [None] * len(schema.PARAMETERS)


def test_a_request_that_nulls_each(store: Store, ask: Callable[[UUID], dict[str, Any]]) -> None:
    found = ask(kept(store, dict.fromkeys(schema.PARAMETERS)))
    assert [found[name] for name in schema.PARAMETERS] == ["null"] * len(schema.PARAMETERS)


@pytest.mark.parametrize("name", list(STREAMING))
def test_each_can_be_asked_for_alone(store: Store, engine: Engine, name: str) -> None:
    """As a person does it: the runs that set it, those that set it to null, those that leave it out."""
    ids = {kept(store, {name: STREAMING[name]}): "set", kept(store, {name: None}): "null", kept(store, {}): "absent"}
    value = _asked.c[name]
    conditions = {"set": value != "null", "null": value == "null", "absent": value.is_(None)}
    for what, condition in conditions.items():
        with engine.connect() as connection:
            found = connection.execute(select(_asked.c.recording_id).where(_asked.c.recording_id.in_(ids), condition))
            assert [ids[one] for one in found.scalars()] == [what]


def test_what_is_not_known_is_not_absent(store: Store, engine: Engine) -> None:
    """A recording that was not read yet, or by an older reader, has no row."""
    ids = [kept(store, None), recorded(store).recording_id]
    with engine.connect() as connection:
        assert connection.execute(select(_asked).where(_asked.c.recording_id.in_(ids))).all() == []


def test_sqlite_needs_no_operator_that_3_37_does_not_have() -> None:
    """`->` came with 3.38."""
    assert "->" not in schema.views("sqlite")["run_params"]


# -- whatever was sent -------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["\0", "\\u0000", "\ud800", '"'])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda some: st.lists(some, max_size=3) | st.dictionaries(texts, some, max_size=3))


def as_stored(value: Any) -> Any:
    """The value as every database takes it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {storable(key): as_stored(item) for key, item in value.items()}
    return [as_stored(item) for item in value] if isinstance(value, list) else value


@given(value=values)
@settings(
    max_examples=examples(26, 3000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_any_value_comes_back(store: Store, ask: Callable[[UUID], dict[str, Any]], value: Any) -> None:
    """Equal, from the view and from the reading; only NUL, lone surrogates, NaN and infinities are not themselves."""
    recording_id = kept(store, {"tools": value, "": value})
    found = ask(recording_id)
    assert found["tools"] == clean_json(value)
    assert json.loads(found["tools"]) == as_stored(value)
    stored = store.reading(recording_id)
    assert stored is not None
    assert stored.reading.parameters == {"tools": as_stored(value), "": as_stored(value)}


@given(value=values)
@settings(max_examples=examples(66, 5000))
def test_json_holds_nothing_that_a_database_refuses(value: Any) -> None:
    text = clean_json(value)
    assert storable(text) == text
    assert json.loads(text, parse_constant=pytest.fail) == as_stored(value)
    assert "\0" not in str(json.loads(text))


@pytest.mark.parametrize("field", ["facts", "metadata", "parameters"])
def test_all_json_of_a_reading_can_be_taken_apart(store: Store, engine: Engine, field: str) -> None:
    """By PostgreSQL too, which refuses the whole document where any part of it holds a NUL."""
    recording = recorded(store)
    odd: dict[str, Any] = {"a": "\0", "\0": "\ud800", "b": "plain", "c": math.inf}
    store.put_readings([made_reading(recording, None, flags=("\0",), **{field: odd})])
    asks = {"sqlite": "json_extract({0}, '$.b')", "postgresql": "{0}::jsonb ->> 'b'"}
    value = asks[store._backend.name].format(field)
    found: Select[Any] = (
        select(literal_column(value)).select_from(readings).where(readings.c.recording_id == recording.recording_id)
    )
    with engine.connect() as connection:
        assert connection.execute(found).scalars().all() == ["plain"]


def test_what_is_sealed_is_what_comes_out_of_the_store_again() -> None:
    """Texts that an index holds are shortened where they are very long; what no column takes is no parameter."""
    long = "m" * 3000
    asked = {"model": long, "stream": True, "max_prompt_tokens": 1 << 70, "odd": 1}
    kept = rows.as_stored(opened(parameters=asked, trace=long))
    assert kept.parameters.keys() == {"model", "stream"}
    assert len(kept.parameters["model"]) < 1000
    assert to_recording({**recording_columns(kept), "ending_ending": None}) == kept
    assert rows.as_stored(kept) == kept
