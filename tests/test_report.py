"""The report: its figures are the answers of the questions, nothing in it is obeyed, it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from recorder import queries, report
from recorder.queries import Scope
from recorder.report import Made
from recorder.report.gathering import CAPS
from recorder.report.wording import count, share, usd
from recorder.store import Store
from tests import asked, fleet
from tests.command import invoke
from tests.needs import each

MADE_AT: Final = 1_800_000_000_000_000
RUNS: Final = 2000


class _Reader(html.parser.HTMLParser):
    """The elements of a page, their attributes, and the text that a reader sees, scripts and styles apart."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.pieces: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "hr", "input", "col"}:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        at = self.inside[-1] if self.inside else ""
        self.raw.get(at, self.pieces).append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).replace("\u00a0", " ").split())


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.inside == []
    return reader


def figures(page: _Reader) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(page.raw["script"][0])
    return told


def made(store: Path, **scope: Any) -> Made:
    return report.make(store, Scope(**scope), made_at=MADE_AT)


@pytest.fixture(scope="module")
def known() -> fleet.Fleet:
    return fleet.make(RUNS, seed=3)


@pytest.fixture(scope="module")
def store(known: fleet.Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "recorder.db"
    with Store.open(path, create=True) as opened:
        fleet.fill(opened, known)
    return path


@pytest.fixture(scope="module")
def whole(store: Path) -> Made:
    return made(store, by="tag:app")


@pytest.fixture(scope="module")
def page(whole: Made) -> _Reader:
    return read(whole.page)


def small(folder: Path, runs: Sequence[Mapping[str, Any]]) -> Path:
    path = folder / "small.db"
    with Store.open(path, create=True) as opened:
        asked.fill(opened, "report", runs)
    return path


# -- figures -----------------------------------------------------------------------------------------------------------


def test_the_tiles_say_what_the_questions_answer(store: Path, page: _Reader, known: fleet.Fleet) -> None:
    (spent,) = queries.query(store, "spend")
    cut = sum(run.weight for run in known.runs if run.truncated) / sum(run.weight for run in known.runs)
    for told in (count(RUNS), usd(spent["spent_usd"]), share(cut)):
        assert told.replace("\u00a0", " ") in page.text


@pytest.mark.parametrize("app", ["support", "extract", "coder", "reason", "short"])
def test_a_finding_counts_the_runs_that_were_cut(whole: Made, known: fleet.Fleet, app: str) -> None:
    capped = [run for run in known.of(app) if run.cap is not None]
    cut = sum(run.outcome == "truncated_output" for run in capped)
    (found,) = [one for one in whole.findings if one.sentence.partition("'s runs with an output cap")[0].endswith(app)]
    assert found.runs == cut
    assert f"{count(cut)} of {count(len(capped))}" in found.sentence


def test_a_finding_counts_the_runs_that_ran_away(whole: Made, known: fleet.Fleet) -> None:
    (found,) = [one for one in whole.findings if "whitespace without end" in one.sentence]
    assert found.runs == sum(run.runaway for run in known.runs)


def test_findings_come_by_the_money_at_stake_and_then_by_runs(whole: Made) -> None:
    stakes = [(one.usd or Decimal(0), one.runs) for one in whole.findings]
    priced = [money for money, _ in stakes if money]
    assert priced == sorted(priced, reverse=True)
    assert all(not money for money, _ in stakes[len(priced) :])
    assert [runs for _, runs in stakes[len(priced) :]] == sorted(
        (runs for _, runs in stakes[len(priced) :]), reverse=True
    )


def test_where_nothing_can_be_advised_the_page_says_so(page: _Reader) -> None:
    """Every run of `short` has the same cap, which is too low for nearly all: the tail is not known."""
    assert "not estimable; the tail is censored" in page.text


@pytest.mark.parametrize("place", each(3, [0, 0.3, 0.7, 1]))
def test_the_slider_holds_what_the_question_answers(store: Path, page: _Reader, place: float) -> None:
    told = figures(page)["groups"]["c0"]
    stop = round(place * (len(told["cap_tokens"]) - 1))
    answer = queries.query(store, "cap_what_if", by="tag:app", candidates=[told["cap_tokens"][stop]])
    (row,) = [row for row in answer if row["slice"] == "support"]
    for column in figures(page)["kinds"]:
        assert told[column][stop] == (None if row[column] is None else pytest.approx(float(row[column]), rel=1e-9))


def test_the_slider_stops_at_every_cap_that_cut_a_run(page: _Reader) -> None:
    stops = figures(page)["groups"]["c0"]["cap_tokens"]
    assert {256, 512, 1024} <= set(stops)
    assert stops == sorted(set(stops))
    assert len(stops) <= CAPS


def test_each_question_says_who_was_left_out(store: Path, page: _Reader) -> None:
    answer = queries.query(store, "cap_use")
    assert answer.left_out
    for left in answer.left_out:
        assert f"{count(left.runs)}: {left.why}" in page.text


def test_a_condition_and_a_time_narrow_what_the_page_is_about(store: Path, known: fleet.Fleet) -> None:
    since = known.runs[RUNS // 2].started_at
    narrow = made(store, since=since, where="model = 'gpt-4o'", by="model")
    assert narrow.runs == sum(run.started_at >= since and run.app.model == "gpt-4o" for run in known.runs)
    text = read(narrow.page).text
    assert "model = 'gpt-4o'" in text
    assert "Asked for" in text


def test_groups_beyond_the_first_are_in_the_totals_alone(store: Path) -> None:
    many = made(store, by="day")
    text = read(many.page).text
    days = len(list(queries.query(store, "outcomes", by="day")))
    assert days > 8
    assert re.search(r"day, 8 groups with the most runs; \d+ more, with [\d,]+ runs, are in the totals alone", text)
    assert many.runs == RUNS


def test_without_a_word_runs_are_told_apart_by_their_group(store: Path) -> None:
    assert "group, 6 groups" in read(made(store).page).text


def test_every_link_leads_somewhere(page: _Reader) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert {f"#{id_}" for id_ in ids} >= links


def test_each_listed_run_says_what_to_type(store: Path, page: _Reader) -> None:
    commands = re.findall(r"recorder show ([0-9a-f-]{36})", page.text)
    assert commands
    assert invoke("show", commands[0], store=store).exit_code == 0


# -- one file, that asks for nothing -----------------------------------------------------------------------------------


def test_the_policy_names_the_style_and_the_script_by_their_digests(page: _Reader) -> None:
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in ("".join(page.raw["style"]), page.raw["script"][1])
    ]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digests[0]}'",
        f"script-src 'sha256-{digests[1]}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_nothing_is_asked_for_and_nothing_runs_but_the_one_script(page: _Reader) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "foreignObject", "image", "use"}
        assert not any(name.startswith("on") or name in {"style", "src", "srcset"} for name in attributes)
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert [attributes.get("type") for tag, attributes in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert "url(" not in "".join(page.raw["style"])
    assert "@import" not in "".join(page.raw["style"])


def test_each_picture_tells_what_it_shows(page: _Reader, whole: Made) -> None:
    assert sum(tag == "svg" and attributes.get("role") == "img" for tag, attributes in page.elements) > 20
    for drawing in re.findall(r"<svg[^>]*role=\"img\".*?</svg>", whole.page, re.DOTALL):
        assert re.match(r"<svg[^>]*><title>[^<]+</title><desc>[^<]+</desc>", drawing)


# -- hostile values ----------------------------------------------------------------------------------------------------

HOSTILE: Final = {
    "a script's end": '</script><script>alert("x")</script>',
    "a comment": "<!--<script>",
    "an attribute": '" onmouseover="alert(\'x\')" x="',
    "an entity": "&lt;script&gt;&#x3c;",
    "colours for a terminal": "\x1b[31mred\x1b]0;title\x07",
    "reversed": "gpt-\u202e4o\u2066",
    "a formula": "=cmd()|'/C calc'!A1",
    "SQL": "'; DROP TABLE runs; --",
    "lines": "one\u2028two\u2029three\nfour",
    "a template": "${alert(1)}`{{7*7}}",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose every text is somebody's attempt."""
    runs = []
    for number, value in enumerate(HOSTILE.values()):
        told = {
            "dialect": "chat",
            "model": value,
            "group": value,
            "assistant_id": value,
            "metadata": {value: value},
            "tags": {"team": value},
            "origin": "https://api.openai.com",
            "status": "incomplete" if number % 2 else "completed",
            "stop_reason": "output_limit" if number % 2 else "stop",
            "complete": True,
            "max_completion_tokens": 50,
            "input_tokens": 10,
            "output_tokens": 50 if number % 2 else 30,
            "duration_us": 1_000_000,
            "started": number,
        }
        runs.append({**told, "times": 6})
    return small(tmp_path_factory.mktemp("hostile"), runs)


@pytest.mark.parametrize("by", each(3, ["model", "tag:team", 'metadata:</script><script>alert("x")</script>']))
def test_hostile_values_are_texts_and_nothing_else(hostile: Path, by: str) -> None:
    told = read(report.make(hostile, Scope(by=by), made_at=MADE_AT, title=HOSTILE["a script's end"]).page)
    assert [attributes.get("type") for tag, attributes in told.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert not any(name.startswith("on") for _, attributes in told.elements for name in attributes)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]", told.text)
    assert HOSTILE["a script's end"] in told.text  # the title
    if by == "model":
        assert "\\x1b[31mred" in told.text
        assert "gpt-\\u202e4o" in told.text
        assert HOSTILE["SQL"] in told.text


def test_a_hostile_condition_is_shown_or_refused_but_never_run(store: Path) -> None:
    told = made(store, where="model <> '</code><script>alert(1)</script>'")
    assert len([tag for tag, _ in read(told.page).elements if tag == "script"]) == 2
    refused = invoke("report", "-o", "-", "--where", "1=1) ; drop table runs; --", store=store)
    assert refused.exit_code == 2


# -- little to tell ----------------------------------------------------------------------------------------------------


def test_an_empty_store_gives_a_page_that_says_so(tmp_path: Path) -> None:
    told = made(small(tmp_path, []))
    assert told.runs == 0
    assert told.findings == ()
    assert "No runs" in read(told.page).text


def test_a_condition_that_no_run_meets_gives_a_page_that_says_so(store: Path) -> None:
    assert "No runs" in read(made(store, where="model = 'none such'").page).text


ONE_RUN: Final[Mapping[str, Mapping[str, Any]]] = {
    "knows nothing": {"status": "completed", "stop_reason": "stop", "complete": True},
    "goes on": {"status": "in_progress", "ending": None},
    "was cut": {"status": "incomplete", "stop_reason": "output_limit", "output_tokens": 9, "max_completion_tokens": 9},
    "failed": {"status": "failed", "http_status": 500},
    "is empty": {
        "status": "completed",
        "output_tokens": 0,
        "input_tokens": 0,
        "max_completion_tokens": 1,
        "duration_us": 0,
    },
    "is sampled": {
        "status": "completed",
        "output_tokens": 5,
        "model": "gpt-4o",
        "weight": 1000.0,
        "max_completion_tokens": 10**9,
    },
}


@pytest.mark.parametrize("name", each(3, ONE_RUN))
def test_one_run_gives_an_honest_page(tmp_path: Path, name: str) -> None:
    told = made(small(tmp_path, [{"dialect": "chat", **ONE_RUN[name]}]))
    text = read(told.page).text
    assert told.runs == 1
    assert "Report on 1 run" in text
    assert "nan" not in told.page.lower().replace("nano", "")
    assert "None" not in text


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_file_and_makes_its_folders(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.html"
    done = invoke("report", "-o", str(path), "--by", "model", "--title", "October", store=store)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert f"{path}: {count(RUNS)} runs" in done.stderr
    assert "<h1>October</h1>" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    path.write_text("an older one", encoding="utf-8")
    assert invoke("report", "-o", str(path), store=store).exit_code == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_writes_to_stdout(store: Path) -> None:
    done = invoke("report", "-o", "-", store=store)
    assert done.exit_code == 0
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.rstrip().endswith("</html>")


def test_what_the_command_cannot_do_it_says_in_one_line(store: Path, tmp_path: Path) -> None:
    assert invoke("report", store=store).exit_code == 2
    assert "cannot be told apart" in invoke("report", "-o", "-", "--by", "colour", store=store).stderr
    folder = invoke("report", "-o", str(tmp_path), store=store)
    assert folder.exit_code == 2
    assert f"{tmp_path} is a folder" in " ".join(folder.stderr.split())
    (tmp_path / "file").touch()
    under = invoke("report", "-o", str(tmp_path / "file" / "report.html"), store=store)
    assert under.exit_code == 4
    assert invoke("report", "-o", "-", store=tmp_path / "none.db").exit_code == 3
