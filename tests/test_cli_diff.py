"""`recorder diff` as a shell sees it: exit codes, words for people, JSON, a page; hostile texts stay texts."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recorder.store import Store
from tests.command import invoke, json_lines
from tests.golden import stream
from tests.kept import keep, without_payloads
from tests.tape import post

HOSTILE = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\u202e\x00</pre><img src=x onerror=alert(2)>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorder.db"


def chat(content: str, **asked: Any) -> tuple[Any, bytes]:
    """A chat whose answer says a text."""
    request = post("/v1/chat/completions", model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], **asked)
    chunks: list[dict[str, Any]] = [
        {"id": "chatcmpl-1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": content}}]},
        {"id": "chatcmpl-1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return request, b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in chunks) + b"data: [DONE]\n\n"


@pytest.fixture
def two(path: Path) -> tuple[str, str]:
    """Two runs whose parameters and texts differ."""
    with Store.open(path, create=True) as store:
        first = keep(store, *chat("The harbour is open today.", temperature=0.2))
        second = keep(store, *chat("The harbour is closed today.", temperature=0.9))
    return str(first.recording_id), str(second.recording_id)


def test_runs_that_differ_exit_with_1_and_say_where(path: Path, two: tuple[str, str]) -> None:
    done = invoke("diff", *two, store=path)
    assert done.exit_code == 1, done.stderr
    assert "  body.temperature: 0.2 -> 0.9\n" in done.stdout
    assert "| The harbour is[- open-]{+ closed+} today.\n" in done.stdout
    assert done.stdout.endswith("They differ in parameters, text.\n")
    assert "\x1b" not in done.stdout


def test_a_model_that_wrote_blank_lines_without_end_does_not_fill_the_screen(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *chat('{"a": 1'))
        keep(store, *chat('{"a": 1' + "\n \n" * 500))
    assert len(invoke("diff", "@-2", "@last", store=path).stdout.splitlines()) < 40
    assert len(invoke("show", "@last", "--at", "end", store=path).stdout.splitlines()) < 20


def test_a_run_is_the_same_as_itself_under_any_name(path: Path, two: tuple[str, str]) -> None:
    done = invoke("diff", "@last", two[1][-12:], store=path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith("They are the same.\n")
    assert "Timing  (told, not counted)" in done.stdout


def test_what_is_ignored_changes_the_exit_code(path: Path, two: tuple[str, str]) -> None:
    assert invoke("diff", *two, "--ignore", "text", store=path).exit_code == 1
    assert invoke("diff", *two, "--ignore", "text", "--ignore", "body.temperature", store=path).exit_code == 0


def test_times_count_where_they_are_asked_for(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *chat("Hello"))
        keep(store, *chat("Hello"), step_us=5_000_000)
    assert invoke("diff", "@-2", "@last", store=path).exit_code == 0
    done = invoke("diff", "@-2", "@last", "--timing", store=path)
    assert done.exit_code == 1
    assert done.stdout.endswith("They differ in timing.\n")


def test_json_has_everything_and_the_same_exit_code(path: Path, two: tuple[str, str]) -> None:
    done = invoke("diff", *two, "--json", store=path)
    assert done.exit_code == 1
    (told,) = map(json.loads, done.stdout.splitlines())
    assert (told["same"], told["differing"]) == (False, ["parameters", "text"])
    assert told["parameters"] == [{"path": "body.temperature", "before": "0.2", "after": "0.9"}]
    assert "".join(piece["after"] for piece in told["text"]) == "The harbour is closed today."
    assert (told["a"]["run_id"], told["b"]["run_id"]) == two
    assert {each["name"] for each in told["timing"]} >= {"head", "first_token", "total"}
    (same,) = json_lines("diff", two[0], two[0], store=path)
    assert same["same"] is True


def test_the_nearest_good_run_comes_first_and_why_is_said(path: Path, two: tuple[str, str]) -> None:
    with Store.open(path) as store:
        bad = keep(store, chat("", temperature=0.9)[0], stream("chat-length")[1])
    done = invoke("diff", str(bad.recording_id), "--nearest", store=path)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert two[1] in lines[0]
    assert str(bad.recording_id) in lines[1]
    assert lines[2].startswith("A is the good run")
    assert "  status: completed -> incomplete" in lines


def test_without_a_good_run_nothing_is_compared(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *stream("chat-length"))
    done = invoke("diff", "@last", "--nearest", store=path)
    assert done.exit_code == 3
    assert "no good run to compare with" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["@last"], ["@last", "@last", "--nearest"], ["@last", "@last", "--ignore", "colour"], []]
)
def test_what_makes_no_sense_is_a_mistake_of_use(path: Path, two: tuple[str, str], arguments: list[str]) -> None:
    assert invoke("diff", *arguments, store=path).exit_code == 2


def test_a_run_that_is_not_there_is_not_found(path: Path, two: tuple[str, str]) -> None:
    assert invoke("diff", two[0], "run_nobody", store=path).exit_code == 3


class _Page(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_what_differs_and_nothing_that_acts(path: Path, tmp_path: Path) -> None:
    """Texts of a model's and of a client's are texts, in a page without scripts that may load nothing."""
    with Store.open(path, create=True) as store:
        keep(store, *chat("Hello", user=HOSTILE))
        keep(store, *chat(HOSTILE, user="somebody"))
    out = tmp_path / "diff.html"
    done = invoke("diff", "@-2", "@last", "--html", str(out), store=path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert str(out) in done.stderr
    text = out.read_text(encoding="utf-8")
    page = _Page(text)
    assert {"script", "img", "iframe", "link", "object", "a", "form"}.isdisjoint(page.elements)
    assert set(page.attributes) <= {"charset", "http-equiv", "content", "name", "lang", "class"}
    (policy,) = [value for value in page.attributes["content"] if value and "default-src" in value]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "They differ in parameters, text." in page.text


def test_lines_and_page_say_that_not_all_could_be_compared(path: Path, tmp_path: Path) -> None:
    with Store.open(path, create=True) as store:
        for _ in range(2):
            without_payloads(store, "chat-stop")
    out = tmp_path / "diff.html"
    done = invoke("diff", "@-2", "@last", "--html", str(out), store=path)
    assert done.exit_code == 0, done.output
    for told in (invoke("diff", "@-2", "@last", store=path).stdout, _Page(out.read_text(encoding="utf-8")).text):
        assert "recorded with content=facts" in told
        assert "They are the same in what could be compared." in told


def test_nothing_that_a_terminal_obeys_is_printed(path: Path) -> None:
    with Store.open(path, create=True) as store:
        keep(store, *chat("Hello", user=HOSTILE))
        keep(store, *chat(HOSTILE * 9, user="somebody"))
    done = invoke("diff", "@-2", "@last", store=path)
    assert "\\x1b[2J" in done.stdout
    assert not {"\x1b", "\x07", "\u202e", "\x00"} & set(done.stdout)
    (told,) = map(json.loads, invoke("diff", "@-2", "@last", "--json", store=path).stdout.splitlines())
    assert "".join(piece["after"] for piece in told["text"]).startswith(HOSTILE.replace("\x00", "\ufffd")[:5])
