"""`recorder pin`: from a run in a store to a test that has it, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import recorder
from recorder import exchange
from tests.command import invoke

if TYPE_CHECKING:
    from tests.plugged import Project, Provider

pytest_plugins = ["pytester", "tests.plugged"]


@pytest.fixture
def store(tmp_path: Path, provider: Provider) -> Path:
    """A store with two runs of one prompt each."""
    path = tmp_path / "recorder.db"
    with recorder.open(path, strict=True) as handle, httpx.Client() as client:
        handle.instrument(client)
        for prompt in ("one", "two"):
            asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}
            client.post(f"{provider.origin}/v1/chat/completions", json=asked).read()
    return path


def test_a_run_becomes_a_recording_and_a_test_that_passes(project: Project, provider: Provider, store: Path) -> None:
    """And whoever calls the code in it is answered by that run, and by nothing else."""
    done = invoke("pin", "@-2", "--as", "slow-one", "--dir", str(project.path), store=store)
    assert done.exit_code == 0, done.stderr
    recording = project.path / "recordings" / "pinned" / "slow-one.jsonl"
    test = project.path / "test_pinned_slow_one.py"
    assert done.stdout.splitlines() == [str(recording), str(test)]
    (entry,) = exchange.read(recording)
    assert b'"content":"one"' in (entry.recording.request.body or b"")
    assert '("completed", "stop")' in test.read_text(encoding="utf-8")
    assert project.run() == {"passed": 1}
    called = test.read_text(encoding="utf-8").replace(
        "    # Now",
        "    import httpx\n    asked = {**run.params, 'temperature': 1}\n"
        f"    httpx.post('{provider.origin}/v1/chat/completions', json=asked)\n    # Now",
    )
    test.write_text(called, encoding="utf-8")
    assert project.run() == {"failed": 1}
    assert "body.temperature: wanted 1, stored absent" in project.said


def test_nothing_is_replaced_unasked(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "tests"
    first = ("pin", "@-2", "--as", "it", "--dir", str(folder))
    assert invoke(*first, store=store).exit_code == 0
    test = folder / "test_pinned_it.py"
    test.write_text("mine\n", encoding="utf-8")
    recording = folder / "recordings" / "pinned" / "it.jsonl"
    before = recording.read_bytes()
    refused = invoke("pin", "@last", "--as", "it", "--dir", str(folder), store=store)
    assert (refused.exit_code, recording.read_bytes()) == (2, before)
    assert "say --force to replace it" in refused.stderr
    forced = invoke("pin", "@last", "--as", "it", "--force", "--dir", str(folder), store=store)
    assert forced.exit_code == 0
    assert "is there already, and stays as it is" in forced.stderr
    assert recording.read_bytes() != before
    assert test.read_text(encoding="utf-8") == "mine\n"


def test_the_recording_can_be_had_alone(tmp_path: Path, store: Path) -> None:
    done = invoke("pin", "@last", "--as", "it", "--no-test", "--dir", str(tmp_path / "tests"), store=store)
    assert done.exit_code == 0
    assert not (tmp_path / "tests" / "test_pinned_it.py").exists()


@pytest.mark.parametrize("name", ["", "../it", "It", "a b", "-it"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, store: Path, name: str) -> None:
    done = invoke("pin", "@last", f"--as={name}", "--dir", str(tmp_path / "tests"), store=store)
    assert done.exit_code == 2
    assert not (tmp_path / "tests").exists()


def test_a_run_that_is_not_there_is_not_found(tmp_path: Path, store: Path) -> None:
    assert invoke("pin", "run_none", "--as", "it", "--dir", str(tmp_path / "tests"), store=store).exit_code == 3
