"""`recorder prune` on the command line, and the commands of docs/retention.md."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

import pytest

from recorder import config
from recorder.store import Store
from tests.command import invoke, json_lines
from tests.erased import CUSTOMER, fill, in_files
from tests.kept import keep
from tests.needs import ROOT
from tests.tape import post


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        fill(store)
    return tmp_path / "recorder.db"


def test_a_dry_run_counts_and_the_real_one_does(path: Path) -> None:
    (would,) = json_lines("prune", "--older-than", "30d", "--dry-run", store=path)
    (did,) = json_lines("prune", "--older-than", "30d", store=path)
    assert (would["dry_run"], did["dry_run"]) == (True, False)
    assert {name: would[name] for name in ("runs", "recordings", "events", "bytes")} == {
        name: did[name] for name in ("runs", "recordings", "events", "bytes")
    }
    assert did["recordings"] == 13
    (again,) = json_lines("prune", "--older-than", "30d", store=path)
    assert again["recordings"] == 0
    (whole,) = json_lines("prune", "--older-than", "30d", "--whole", "--vacuum", store=path)
    assert (whole["recordings"], whole["whole"]) == (13, True)
    assert whole["store_bytes"] < did["store_bytes"]


def test_facts_kept_for_questions_hold_nothing_of_what_went(path: Path) -> None:
    canaries = [CUSTOMER]
    assert invoke("analyze", "outcomes", store=path).exit_code == 0
    facts = path.with_name("recorder.db.facts")
    assert in_files(facts, canaries)
    assert invoke("prune", "--older-than", "30d", "--whole", "--dry-run", store=path).exit_code == 0
    assert in_files(facts, canaries), "a dry run removed them"
    assert invoke("prune", "--older-than", "30d", "--whole", store=path).exit_code == 0
    assert in_files(facts, canaries) == {}


def test_filters_and_sizes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = json_lines("prune", "--tag", f"customer={CUSTOMER}", "--dialect", "chat", "--whole", store=path)
    assert one["recordings"] == 1
    assert "takes" in invoke("prune", "--max-size", "1GiB", store=path).stdout
    monkeypatch.setattr(config, "LEAST_SIZE", 1)
    (rest,) = json_lines("prune", "--max-size", "1", store=path)
    assert rest["recordings"] == 12


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--older-than", "yesterday"],
        ["--older-than", "6m"],
        ["--tag", f"customer={CUSTOMER}", "--tag", "customer=another"],
        ["--max-size", "much"],
        ["--max-size", "10"],
        ["--max-size", "1GiB", "--older-than", "3d"],
        ["--max-size", "1GiB", "--model", "m"],
        ["--older-than", "3d", "--whole", "--content"],
    ],
)
def test_what_makes_no_sense_is_refused(path: Path, arguments: list[str]) -> None:
    done = invoke("prune", *arguments, store=path)
    assert done.exit_code == 2
    with Store.open(path) as store:
        assert len(store.recording_ids()) == 13


def test_it_says_what_stayed(path: Path) -> None:
    with Store.open(path) as store:
        store.tag(store.recording_ids()[-1], "hold", "case 17")
    done = invoke("prune", "--older-than", "1d", store=path)
    assert "1 run on hold stayed" in done.stdout
    assert "the content of 12 recordings went" in done.stdout


def test_the_commands_of_the_paper_work(path: Path) -> None:
    paper = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    commands = [
        shlex.split(re.split(r"  +", line.strip())[0])
        for line in re.findall(r"^    (recorder .*)$", paper, re.MULTILINE)
    ]
    assert len(commands) == 6
    with Store.open(path) as store:
        asked = post("/v1/chat/completions", model="gpt-4o", messages=[], metadata={"customer": "C-4711"})
        keep(store, asked, None, started_at=time.time_ns() // 1000)
    for command in commands:
        done = invoke(*command[1:], store=path)
        assert done.exit_code == 0, (command, done.stderr)


def test_the_paper_names_every_setting_as_it_is(path: Path) -> None:
    paper = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    for text in re.findall(r'keep="([^"]+)"', paper):
        assert any(config.ages(text))
    assert {"RECORDER_KEEP", "RECORDER_MAX_SIZE", "RECORDER_MIN_FREE"} <= set(re.findall(r"RECORDER_\w+", paper))
    assert {"keep", "max_size", "min_free"} <= set(config.Settings.model_fields)
    assert json.dumps(config.load(keep="30d, 365d whole", max_size="10GiB", min_free="0").max_size) == str(10 << 30)
