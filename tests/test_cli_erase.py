"""`recorder erase` on the command line, and what other commands show of what was erased."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.store import Store
from tests.command import invoke, json_lines
from tests.erased import CUSTOMER, Filled, fill, in_files

WHO = ("--metadata", f"customer={CUSTOMER}", "--tag", f"customer={CUSTOMER}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorder.db"


@pytest.fixture
def filled(path: Path) -> Filled:
    with Store.open(path, create=True) as store:
        return fill(store)


def test_a_dry_run_lists_what_was_reached_and_by_which_link(path: Path, filled: Filled) -> None:
    reached = json_lines("erase", *WHO, "--dry-run", store=path)
    assert {each["recording_id"] for each in reached} == set(map(str, filled.customers))
    links = {each["link"] for each in reached}
    assert links >= {"metadata customer", "tag customer", "same thread", "same call", "a response after"}
    assert "the response before" in links
    for each in reached:
        assert (each["via"] is None) == each["link"].startswith(("metadata", "tag"))
    shown = invoke("erase", *WHO, "--dry-run", store=path).stdout
    assert "same thread of" in shown
    assert in_files(path.parent, filled.canaries)


def test_it_erases_and_says_what_it_cannot_reach(path: Path, filled: Filled) -> None:
    done = invoke("erase", *WHO, "--reason", "asked to", "--by", "Vera", "--yes", store=path)
    assert done.exit_code == 0, done.stderr
    assert "11 recordings erased, 0 were before" in done.stdout
    assert "none is left" in done.stdout
    assert "Out of reach" in done.stdout
    assert in_files(path.parent, filled.canaries) == {}
    again = invoke("erase", "--run", str(filled.customers[0]), "--reason", "again", "--yes", store=path)
    assert "0 recordings erased, 5 were before" in again.stdout


def test_what_other_commands_show_of_it(path: Path, filled: Filled) -> None:
    """Nothing breaks, nothing of the content is shown, and it is said when it went, by whom and why."""
    (told,) = json_lines("erase", *WHO, "--reason", "asked to", "--by", "Vera", "--yes", store=path)
    assert len(told["done"]) == 11
    run, chat = str(filled.customers[2]), str(filled.customers[-1])
    said = []
    for command in (
        ["show", run],
        ["show", run, "--timeline"],
        ["show", run, "--at", "end"],
        ["diff", run, chat],
        ["emit", run],
    ):
        done = invoke(*command, store=path)
        assert "by Vera, because: asked to" in done.stdout + done.stderr, command
        said.append(done)
    for command in (
        ["runs"],
        ["runs", "--json"],
        ["recordings", "--json"],
        ["show", run, "--json"],
        ["verify"],
        ["rebuild", "--all"],
        ["analyze", "outcomes"],
        ["export", "-o", str(path.parent / "all.jsonl")],
        ["prune", "--older-than", "1d", "--dry-run"],
    ):
        done = invoke(*command, store=path)
        assert done.exit_code == 0, (command, done.stderr)
        said.append(done)
    texts = [*(each.stdout + each.stderr for each in said), (path.parent / "all.jsonl").read_text(encoding="utf-8")]
    assert not [canary for canary in filled.canaries for text in texts if canary in text]
    (shown,) = json_lines("show", run, store=path)
    assert {part["erased"]["by"] for part in shown["parts"]} == {"Vera"}
    assert {part["url"] for part in shown["parts"]} == {None}
    assert shown["total_tokens"] == 15
    drawn = json_lines("show", run, "--timeline", store=path)
    assert {each["url"] for each in drawn if each["about"] == "recording"} == {None}
    pinned = invoke("pin", run, "--as", "it", "--dir", str(path.parent / "tests"), store=path)
    assert (pinned.exit_code, "was erased" in pinned.stderr) == (3, True)
    assert not (path.parent / "tests").exists()


def test_a_credential_in_the_reason_is_masked_as_everywhere(path: Path, filled: Filled) -> None:
    key = "sk-proj-" + "aB3" * 16
    done = invoke("erase", *WHO, "--reason", f"held {key}", "--by", f"Vera {key}", "--yes", store=path)
    assert done.exit_code == 0, done.stderr
    with Store.open(path) as store:
        (first,) = store.erasures([filled.customers[0]])[filled.customers[0]]
        assert str(first.reason).startswith("held ")
    assert in_files(path.parent, [key]) == {}


def test_without_a_yes_it_asks(path: Path, filled: Filled) -> None:
    done = invoke("erase", *WHO, "--reason", "asked to", store=path)
    assert done.exit_code != 0
    with Store.open(path) as store:
        assert store.erased_ids() == []
    assert filled.customers


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--metadata", "customer"], 2),
        (["--run", "@last", "--yes"], 2),
        (["--run", "@last", "--reason", " ", "--yes"], 2),
        (["--run", "nothing", "--reason", "x", "--yes"], 3),
        (["--metadata", "customer=nobody", "--reason", "x", "--yes"], 3),
        (["--thread", "thread_none", "--tag", "a=b", "--reason", "x"], 3),
        (["--trace", "none", "--dry-run"], 3),
    ],
)
def test_what_makes_no_sense_is_refused(path: Path, filled: Filled, arguments: list[str], code: int) -> None:
    assert invoke("erase", *arguments, store=path).exit_code == code
    with Store.open(path) as store:
        assert store.erased_ids() == []
    assert filled.customers


def test_what_was_left_to_do_is_done_though_nothing_has_that_name_any_more(path: Path, filled: Filled) -> None:
    """As after a kill: the recordings had gone, a copy that was made before an upgrade had not."""
    copy = path.with_name("recorder.db.backup-1.0")
    whole = path.read_bytes()
    assert invoke("erase", *WHO, "--reason", "asked to", "--yes", store=path).exit_code == 0
    copy.write_bytes(whole)
    done = invoke("erase", *WHO, "--reason", "asked to", "--yes", store=path)
    assert (done.exit_code, "goes by these names" in done.stderr) == (3, True)
    assert not copy.exists()
    assert in_files(path.parent, filled.canaries) == {}


def test_a_hold_is_told_and_is_the_exit_code(path: Path, filled: Filled) -> None:
    with Store.open(path) as store:
        store.tag(filled.customers[0], "hold", "")
    again = f"recorder erase --run {filled.customers[0]}"  # nothing of what named it may be left
    done = invoke("erase", *WHO, "--reason", "asked to", "--yes", store=path)
    assert done.exit_code == 1
    assert f"1 recording on hold: take the tag `hold` off with recorder tag, then {again}" in done.stdout
    (told,) = json_lines_of(invoke("erase", *WHO, "--reason", "x", "--yes", "--json", store=path).stdout)
    assert told["held"] == [] or told["held"] == [str(filled.customers[0])]


def json_lines_of(text: str) -> list[dict[str, list[str]]]:
    return [json.loads(line) for line in text.splitlines()]
