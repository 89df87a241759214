"""The commands: their contract with scripts (--json, exit codes, stdout and stderr), and what they show people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import click
import pytest
from genai_prices import Usage, calc_price

from recorder import dialects
from recorder.cli import program
from recorder.cli.options import DIALECTS, parse_time
from recorder.cli.output import safe, several, span, table
from recorder.demo import stream
from recorder.recording import Head, Request
from recorder.schema import REVISION
from recorder.store import Store
from recorder.writer import Writer
from tests.asked import fill
from tests.command import invoke, json_lines
from tests.needs import ROOT

RUN_FIELDS = [
    "run_id",
    "recordings",
    "dialect",
    "provider_run_id",
    "assistant_id",
    "thread_id",
    "started_at",
    "model",
    "service_tier",
    "status",
    "stop_reason",
    "stop_reason_raw",
    "ending",
    "complete",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "total_tokens",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "cost_usd",
    "events",
    "bytes",
    "ttft_ms",
    "duration_ms",
    "tags",
    "metadata",
    "group",
    "flags",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the demo left."""
    store = tmp_path_factory.mktemp("demo") / "demo.db"
    done = invoke("demo", "--json", store=store)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 8
    assert all(row["bytes_same"] and row["replay_same"] for row in rows)
    assert {row["status"] for row in rows} == {"completed", "incomplete", "requires_action"}
    return store


def test_runs_are_listed_with_every_field_of_the_contract(demo: Path) -> None:
    """One object a line, newest first, the tool outputs' stream in one run with the run that asked for them."""
    runs = json_lines("runs", store=demo)
    assert [list(run) for run in runs] == [RUN_FIELDS] * 7
    assert [run["dialect"] for run in runs] == ["messages", "chat", "responses", *["assistants"] * 4]
    assert sorted(run["recordings"] for run in runs) == [1, 1, 1, 1, 1, 1, 2]
    starts = [run["started_at"] for run in runs]
    assert starts == sorted(starts, reverse=True)
    assert all(start.endswith("Z") for start in starts)
    assert all(run["tags"] == {"app": "demo"} and run["cost_usd"] is None for run in runs)


def test_recordings_are_listed_with_their_requests(demo: Path) -> None:
    """The fields of runs, and four more."""
    recordings = json_lines("recordings", store=demo)
    assert len(recordings) == 8
    assert set(recordings[0]) == {*RUN_FIELDS, "recording_id", "method", "url", "http_status"}
    assert {row["http_status"] for row in recordings} == {200}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--status", "incomplete"], 2),
        (["--stop-reason", "output_limit"], 2),
        (["--dialect", "chat"], 1),
        (["--model", "gpt-4o-2024-08-06"], 4),
        (["--tag", "app=demo"], 7),
        (["--tag", "app=other"], 0),
        (["--since", "1h"], 7),
        (["--until", "2020-01-01"], 0),
        (["--limit", "3"], 3),
        (["--status", "incomplete", "--limit", "1"], 1),
    ],
)
def test_filters_leave_what_they_say(demo: Path, given: list[str], expected: int) -> None:
    """Each filter, alone and together."""
    assert len(json_lines("runs", *given, store=demo)) == expected


def test_a_stored_stream_is_emitted_exactly(demo: Path) -> None:
    """`emit` writes the very bytes that the upstream sent, at any pace."""
    chat = json_lines("runs", "--dialect", "chat", store=demo)[0]
    for pace in ("instant", "x100"):
        done = invoke("emit", chat["run_id"], "--pace", pace, store=demo)
        assert done.exit_code == 0, done.stderr
        assert done.stdout_bytes == stream("chat-completed")
    by_suffix = invoke("emit", chat["run_id"][-8:], store=demo)
    by_provider = invoke("emit", chat["provider_run_id"], store=demo)
    assert by_suffix.stdout_bytes == by_provider.stdout_bytes == stream("chat-completed")


def test_show_tells_why_a_run_stopped(demo: Path) -> None:
    """The cap is named in a sentence, with a bar; --json has the parts."""
    run = json_lines("runs", "--stop-reason", "output_limit", store=demo)[0]
    told = invoke("show", run["run_id"], store=demo)
    assert told.exit_code == 0, told.stderr
    assert "The model wrote whitespace from character 72 on until the output limit" in told.stdout
    assert "400 of 400 tokens (100 %)" in told.stdout
    assert " blank lines)" in told.stdout
    assert len(told.stdout.splitlines()) < 60
    shown = json_lines("show", run["run_id"], store=demo)[0]
    assert shown["status"] == "incomplete"
    assert [part["ending"] for part in shown["parts"]] == ["client_closed"]
    tools = next(run for run in json_lines("runs", store=demo) if run["recordings"] == 2)
    assert len(json_lines("show", tools["run_id"], store=demo)[0]["parts"]) == 2


def test_lists_for_people_are_tables(demo: Path) -> None:
    """Every run is a line under the titles, whole also where nobody's terminal is 80 columns wide."""
    done = invoke("runs", store=demo)
    assert len(done.stdout.splitlines()) == 8
    assert done.stdout.startswith("run ")
    assert "400 / 400" in done.stdout
    assert len(invoke("recordings", store=demo).stdout.splitlines()) == 9
    nothing = invoke("runs", "--status", "expired", store=demo)
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no runs" in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs", "--since", "yesterday-ish"], 2, "is not a time"),
        (["runs", "--since", "0001-01-01T00:00:00+14:00"], 2, "is not a time"),
        (["runs", "--limit", "9" * 20], 2, "is not in the range"),
        (["runs", "--tag", "novalue"], 2, "is not name=value"),
        (["runs", "--tag", "a=1", "--tag", "b=2", "--tag", "a=3"], 2, "'a' is given twice"),
        (["runs", "--status", "done"], 2, "completed"),
        (["runs", "--dialect", "assistant"], 2, "'assistants'"),
        (["recordings", "--ending", "foo"], 2, "client_closed"),
        (["nonsense"], 2, "No such command"),
        (["show", "run_does_not_exist"], 3, "run_does_not_exist"),
        (["emit", "@-99"], 3, "@-99"),
        (["emit", "@last", "--pace", "fast"], 2, "pace"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(demo: Path, arguments: list[str], code: int, says: str) -> None:
    """Usage errors are 2, unknown names 3; stdout stays empty."""
    done = invoke(*arguments, store=demo)
    assert (done.exit_code, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_not_there_says_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading commands never make a store."""
    monkeypatch.chdir(tmp_path)
    done = invoke("runs")
    assert done.exit_code == 3
    assert str(tmp_path) in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert invoke("runs", store=tmp_path / "none.db").exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Exit code 4, one line, and the file stays as it was."""
    file = tmp_path / "notes.db"
    file.write_bytes(b"not a database at all" * 100)
    done = invoke("runs", store=file)
    assert done.exit_code == 4
    assert done.stderr.startswith("recorder: ")
    assert done.stderr.count("\n") == 1
    assert file.read_bytes() == b"not a database at all" * 100


def test_an_unknown_kind_of_store_is_a_usage_error() -> None:
    """mysql:// and the like."""
    done = invoke("--store", "mysql://host/db", "runs")
    assert done.exit_code == 2
    assert "mysql" in done.stderr


def test_the_store_may_be_named_by_the_environment(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option also as RECORDER_*."""
    monkeypatch.setenv("RECORDER_STORE", str(demo))
    assert len(invoke("runs").stdout.splitlines()) == 8
    monkeypatch.setenv("RECORDER_RUNS_LIMIT", "2")
    assert len(invoke("runs").stdout.splitlines()) == 3


def test_texts_from_strangers_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """Escape sequences in a model's name and text are shown, not obeyed."""
    url = f"sqlite:///{tmp_path / 'r.db'}"
    writer = Writer(lambda: Store.open(url, create=True))
    body = json.dumps({"model": "evil\x1b]0;owned\x07\u202e", "messages": []}).encode()
    tap = writer.start(Request("POST", "http://model.test/v1/chat/completions", body=body), tags={"t": "\x1b[31mred"})
    tap.head(Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),)))
    tap.data(b'data: {"choices":[{"index":0,"delta":{"content":"\\u001b[2Jgone"}}]}\n\n')
    tap.end("eof")
    assert writer.close(30)
    for command in (["runs"], ["recordings"], ["show", "@last"]):
        done = invoke(*command, store=tmp_path / "r.db")
        assert done.exit_code == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert "\x07" not in done.stdout
        assert "\u202e" not in done.stdout
    assert "\\x1b" in invoke("show", "@last", store=tmp_path / "r.db").stdout


def test_control_characters_are_escaped() -> None:
    """C0, C1, bidirectional and zero-width characters; line feeds pass where lines are wanted."""
    assert safe("a\x1b\x9b\u202e\u200b\nb") == "a\\x1b\\x9b\\u202e\\u200b\\nb"
    assert safe("a\n\tb\r", lines=True) == "a\n\tb\\r"
    assert safe("plain \u00e4\u00f6 \U0001f600") == "plain \u00e4\u00f6 \U0001f600"


def test_spans_read_like_people_say_them() -> None:
    """Units follow the size; unknown is a dash."""
    assert [span(value) for value in (None, 0, 999, 1500, 2_500_000, 200_000_000)] == [
        "-", "0 us", "999 us", "1.5 ms", "2.50 s", "3 min 20 s",
    ]  # fmt: skip


def test_numbers_and_their_nouns_agree() -> None:
    """One is one, none and many are many, with separators."""
    assert [several(value, "event") for value in (0, 1, 2, 1000)] == ["0 events", "1 event", "2 events", "1,000 events"]


@pytest.mark.parametrize("option", ["--model", "--assistant", "--thread", "--request-id", "--trace", "--grep"])
def test_a_filter_in_no_encoding_finds_nothing(demo: Path, option: str) -> None:
    """Arguments are bytes: what is not UTF-8 in them arrives as lone surrogates, which no database takes."""
    for command in ("runs", "recordings"):
        done = invoke(command, option, "\udcff", "--tag", "\udcfe=\udcff", "--metadata", "\udcfe=\udcff", store=demo)
        assert (done.exit_code, done.stdout) == (0, ""), done.stderr


def test_times_are_iso_or_ages() -> None:
    """A zone is honoured, an age counts back from now, anything else is refused."""
    assert parse_time("1970-01-01T00:00:01Z") == 1_000_000
    assert parse_time("1970-01-01T01:00:00+01:00") == 0
    before = time.time_ns() // 1000
    ago = parse_time("2h")
    assert before <= ago + 2 * 3_600_000_000 <= time.time_ns() // 1000
    for wrong in ("soon", "", "7y", "-3h"):
        with pytest.raises(ValueError, match=r"."):
            parse_time(wrong)


def test_every_dialect_can_be_filtered_by() -> None:
    assert list(DIALECTS) == [dialect.name for dialect in (*dialects.DIALECTS, dialects.RAW)]


def test_help_names_every_command_and_imports_none() -> None:
    """`recorder --help` is quick because it loads no command and no library that commands need."""
    heavy = ["sqlalchemy", "alembic", "pydantic", "rich", "httpx", "httpx2", "openai", "duckdb"]
    script = (
        "import sys\nfrom recorder.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for command in program.list_commands(click.Context(program)):
        assert f"  {command} " in done.stdout


def test_a_reader_that_has_enough_is_no_error(demo: Path) -> None:
    """`recorder runs | head -1` says nothing on stderr."""
    command = f"{sys.executable} -m recorder --store {demo} emit @last | head -c 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == 0
    assert done.stderr == b""


def test_the_database_commands_say_what_the_schema_is(demo: Path) -> None:
    """current, check and upgrade on a store that is up to date."""
    current = invoke("db", "current", store=demo)
    assert (current.exit_code, current.stdout) == (0, f"{REVISION}\n")
    assert invoke("db", "check", store=demo).exit_code == 0
    assert invoke("db", "upgrade", store=demo).exit_code == 0


#: Commands that have nothing to say in JSON: they listen, write bytes or files, or change the schema.
WITHOUT_JSON = {"record", "replay", "emit", "export", "pin", "report", "db upgrade"}


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its name, those of groups with the group's."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


@pytest.mark.parametrize(("name", "command"), list(commands(program)))
def test_every_command_that_tells_something_takes_json(name: str, command: click.Command) -> None:
    flags = [parameter for parameter in command.params if "--json" in parameter.opts]
    assert len(flags) == (name not in WITHOUT_JSON)


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs"],
        ["recordings"],
        ["show", "@last"],
        ["tag", "@last"],
        ["rebuild"],
        ["sql", "select 1 as a"],
        ["db", "current"],
        ["db", "check"],
    ],
    ids=" ".join,
)
def test_json_is_one_object_a_line(demo: Path, arguments: list[str]) -> None:
    """In ASCII, and nothing else on stdout or stderr."""
    done = invoke(*arguments, "--json", store=demo)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines
    assert done.stdout.isascii()
    assert all(type(json.loads(line)) is dict for line in lines)


def test_the_database_commands_say_in_json_what_they_say_in_words(demo: Path, tmp_path: Path) -> None:
    assert json_lines("db", "current", store=demo) == [{"revision": REVISION, "empty": False}]
    assert json_lines("db", "check", store=demo) == [{"differences": []}]
    other = tmp_path / "other.db"
    with Store.open(other, create=True) as store, store._backend.engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW runs")
    done = invoke("db", "check", "--json", store=other)
    assert (done.exit_code, json.loads(done.stdout)) == (4, {"differences": ["missing: runs"]})


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_4(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (["export", "-o"], ["export", "--format", "har", "-o"], ["pin", "@last", "--as", "a", "--dir"]):
        done = invoke(*arguments, str(tmp_path / "file" / "below"), store=demo)
        assert (done.exit_code, done.stdout) == (4, "")
        assert done.stderr.startswith(f"recorder: {tmp_path / 'file'}")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["runs", "--json"], ["runs"], ["emit", "@last"], ["show", "@last"]])
def test_an_output_that_is_full_is_one_line_and_exit_code_4(demo: Path, arguments: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recorder", "--store", str(demo), *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert done.stderr == (
        "recorder: the output cannot be written: No space left on device; write it to another place\n"
    )


def unread(store: Path, *arguments: str) -> tuple[int, bytes]:
    """The exit code and stderr of a command whose stdout nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "recorder", "--store", str(store), *arguments],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", ["runs --json", "runs", "show @last"])
def test_a_reader_that_has_left_before_is_exit_code_0(demo: Path, arguments: str) -> None:
    assert unread(demo, *arguments.split()) == (0, b"")


def test_what_changes_the_store_is_done_though_nobody_reads_what_is_told(demo: Path, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("one.jsonl", "two.jsonl")]
    for name, file in zip(("@last", "@-2"), files, strict=True):
        assert invoke("export", name, "-o", file, store=demo).exit_code == 0
    store = tmp_path / "recorder.db"
    assert unread(store, "import", *files) == (0, b"")
    ids = [row["recording_id"] for row in json_lines("recordings", store=store)]
    assert len(ids) >= 2
    wanted = [word for each in ids for word in ("--run", each)]
    assert unread(store, "erase", *wanted, "--reason", "asked to", "--yes") == (0, b"")
    assert invoke("recordings", store=store).stdout.count("(erased)") == len(ids)


def test_the_store_after_the_command_says_where_it_belongs(demo: Path) -> None:
    done = invoke("runs", "--store", str(demo))
    assert done.exit_code == 2
    assert "--store stands before the command" in done.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_cuts_no_id_and_no_number(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    titles = ["run", "started", "model", "bytes", "took"]
    rows = [["065cfb938b7c", "2026-11-23 07:05:04", "m" * 90, "12,345,678", "790 us"]]
    table(titles, rows, right=("bytes", "took"), spare=("bytes", "started"), width=width)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("065cfb938b7c  ")
    assert lines[1].rstrip().endswith("790 us")
    assert ("bytes" in lines[0]) == (width >= 80)
    assert "…" in lines[1]
    assert max(map(len, lines)) <= width


def test_a_part_that_is_open_or_not_recorded_is_not_called_unanswered(tmp_path: Path) -> None:
    path = tmp_path / "recorder.db"
    request = Request("POST", "http://127.0.0.1/v1/responses", (), b'{"input":""}', 12)
    with closing(Writer(lambda: Store.open(f"sqlite:///{path}", create=True))) as writer:
        tap = writer.start(request)
        tap.head(Head(200, "OK", "HTTP/1.1", ()))
        assert writer.flush(30)
        assert ", still open\n" in invoke("show", "@last", store=path).stdout
        cut = writer.start(request)
        cut.cut("the queue was full")
        cut.end("eof")
        assert writer.flush(30)
        assert ", answer not recorded, ended by eof\n" in invoke("show", "@last", store=path).stdout


# -- what runs cost ----------------------------------------------------------------------------------------------------


def test_what_runs_cost_is_said_on_demand_and_unknown_is_null(tmp_path: Path) -> None:
    """gpt-4o in November 2026, a million tokens each way: the price list is the library's, the sum is ours."""
    store = tmp_path / "recorder.db"
    with Store.open(store, create=True) as made:
        usage = {"input_tokens": 1_000_000, "uncached_tokens": 1_000_000, "output_tokens": 1_000_000}
        run = {"status": "completed", "stop_reason": "stop", "usage_quality": "reported", **usage}
        fill(made, "cost", [{**run, "model": "gpt-4o-2024-08-06"}, {**run, "model": "nobody-knows", "started": 1}])
    expected = calc_price(
        Usage(input_tokens=1_000_000, output_tokens=1_000_000), "gpt-4o-2024-08-06", provider_id="openai"
    ).total_price
    unknown, known = json_lines("runs", "--cost", store=store)
    assert unknown["cost_usd"] is None
    assert Decimal(known["cost_usd"]) == expected
    assert [row["cost_usd"] for row in json_lines("runs", store=store)] == [None, None]
    assert f"${expected:,.4f}" in invoke("runs", "--cost", store=store).stdout
    shown = invoke("show", known["run_id"], "--cost", store=store).stdout
    assert f"Cost  ${expected:,.4f}" in shown
    assert "Cost  - (" in invoke("show", unknown["run_id"], "--cost", store=store).stdout
    assert "Cost" not in invoke("show", unknown["run_id"], store=store).stdout
