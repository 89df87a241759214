"""A function tried with stored runs: the same, changed, or failing, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import recorder
from recorder.errors import NotFound, UsageError
from recorder.tape import Case, TapeError

if TYPE_CHECKING:
    from tests.plugged import Provider

pytest_plugins = ["tests.plugged"]


def post(provider: Provider, asked: dict[str, Any]) -> None:
    httpx.post(f"{provider.origin}/v1/chat/completions", json=asked).read()


def asked(prompt: str) -> dict[str, Any]:
    return {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}


@pytest.fixture
def folder(tmp_path: Path, provider: Provider) -> Path:
    """Two tapes: one run, and two."""
    for name, prompts in (("one", ["a"]), ("two", ["b", "c"])):
        with recorder.replaying(tmp_path / "tapes" / f"{name}.jsonl", mode="record"):
            for prompt in prompts:
                post(provider, asked(prompt))
    provider.asked.clear()
    return tmp_path / "tapes"


def test_runs_that_are_asked_as_before_are_the_same(folder: Path, provider: Provider) -> None:
    """Each is answered from its own recording, and nobody else is asked."""
    said = []

    def again(case: Case) -> str | None:
        post(provider, dict(case.params))
        said.append(case.params["messages"][0]["content"])
        return case.tape.run.text

    report = recorder.replay_suite(again, folder)
    report.check()
    assert said == ["a", "b", "c"]
    assert [one.value for one in report] == ["Hellothere"] * 3
    assert str(report) == "3 runs replayed, 0 changed"
    assert provider.asked == []


def test_what_changed_is_told_for_each_run(folder: Path, provider: Provider) -> None:
    """A changed parameter, a call that is left out, an exception; though the function swallows the miss."""

    def again(case: Case) -> None:
        prompt = case.params["messages"][0]["content"]
        if prompt == "a":
            try:
                post(provider, {**case.params, "temperature": 1})
            except recorder.ReplayMiss:
                return
        elif prompt == "c":
            raise ValueError("no answer")

    report = recorder.replay_suite(again, folder)
    assert len(report.changed) == 3
    told = str(report)
    assert "3 runs replayed, 3 changed" in told
    assert "body.temperature: wanted 1, stored absent" in told
    assert "was not used: the code asks for less" in told
    assert "it raised ValueError: no answer" in told
    with pytest.raises(TapeError, match="3 changed"):
        report.check()


def test_a_suite_without_runs_is_no_success(tmp_path: Path) -> None:
    report = recorder.replay_suite(lambda case: None, tmp_path)
    with pytest.raises(TapeError, match="nothing was tested"):
        report.check()


def test_a_source_that_is_none_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFound, match="no store at"):
        recorder.replay_suite(lambda case: None, tmp_path / "none.db")
    with pytest.raises(UsageError, match="cannot be read"):
        recorder.replay_suite(lambda case: None, tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="filters are for stores"):
        recorder.replay_suite(lambda case: None, folder, model="m")


def test_runs_of_a_store_can_be_chosen(tmp_path: Path, provider: Provider) -> None:
    store = tmp_path / "recorder.db"
    with recorder.open(store, strict=True) as handle, httpx.Client() as client:
        handle.instrument(client)
        for feature in ("search", "chat"):
            with recorder.context(tags={"feature": feature}):
                client.post(f"{provider.origin}/v1/chat/completions", json=asked(feature)).read()
    report = recorder.replay_suite(lambda case: post(provider, dict(case.params)), store, tags={"feature": "search"})
    report.check()
    assert len(report) == 1
