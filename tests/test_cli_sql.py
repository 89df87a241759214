"""`recorder sql`: each value as it is in each format, hostile ones inert, and one line about what is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from click.testing import CliRunner

from recorder.cli import main
from recorder.store import Store
from tests.needs import ROOT
from tests.rows import STARTED, made_reading, recorded

HOSTILE: Final = "=cmd|' /C calc'!A0 \x1b[31mred\u202e"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run that asked for a cap, and one whose model has a hostile name."""
    path = tmp_path_factory.mktemp("sql") / "recorder.db"
    with Store.open(path, create=True) as made:
        first, second = recorded(made), recorded(made, started_at=STARTED + 1)
        parameters = {"max_completion_tokens": 256, "metadata": None}
        fields: dict[str, Any] = {"status": "incomplete", "output_tokens": 256, "parameters": parameters}
        made.put_readings([made_reading(first, model="gpt-4o", text="cut", **fields)])
        made.put_readings([made_reading(second, model=HOSTILE, parameters={})])
    return path


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class _Program:
    """`main` as click's runner wants it: something with `main` and a name."""

    name = "recorder"

    def main(self, args: list[str], prog_name: str, **_: Any) -> None:
        main(list(args))


_program: Any = _Program()


def run(store: Path, *arguments: str, given: str | None = None) -> Done:
    """`recorder sql` in this process, with the exit code and the streams that a script would see."""
    done = CliRunner().invoke(_program, ["--store", str(store), "sql", *arguments], input=given)
    return Done(done.exit_code, done.stdout, done.stderr)


def rows(store: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run(store, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_question_is_answered_as_a_table(store: Path) -> None:
    done = run(store, "select status, output_tokens, service_tier from runs where model = 'gpt-4o'")
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines == ["status      output_tokens  service_tier", "incomplete            256  -"]
    assert done.stderr == ""


def test_parameters_are_json_text_null_and_absent(store: Path) -> None:
    select = "select max_completion_tokens, metadata, temperature from run_params order by recording_id"
    assert rows(store, select) == [
        {"max_completion_tokens": "256", "metadata": "null", "temperature": None},
        {"max_completion_tokens": None, "metadata": None, "temperature": None},
    ]


def test_each_type_arrives_in_json_as_itself(store: Path) -> None:
    select = """
        select 1 as i, 170141183460469231731687303715884105727::hugeint as h, 1.50::decimal(9, 2) as d,
        12345678901234567.89::decimal(20, 2) as exact, 0.1::double as f, 'nan'::double as nan, true as b,
        null as nothing, '' as empty, 'x'::blob as blob, date '2026-03-01' as day, interval '1 month 3 days' as span,
        started, to_timestamp(1) as zoned, timestamp_ns '2026-03-01 00:00:00.123456789' as ns,
        timestamp 'infinity' as never, [1, null] as list, {'a': 1, 'b': [date '2026-03-01']} as struct,
        map {'k': 1.5} as map, '[1,2]'::json as j, uuid '00000000-0000-7000-8000-00000000000a' as id, 1 as i
        from runs order by started_at limit 1"""
    (row,) = rows(store, select)
    assert row == {
        "i": 1,
        "h": 170141183460469231731687303715884105727,
        "d": 1.5,
        "exact": "12345678901234567.89",
        "f": 0.1,
        "nan": "nan",
        "b": True,
        "nothing": None,
        "empty": "",
        "blob": "x",
        "day": "2026-03-01",
        "span": "1 month 3 days",
        "started": "2026-09-21T14:13:20.000000Z",
        "zoned": "1970-01-01T00:00:01.000000Z",
        "ns": "2026-03-01 00:00:00.123456789",
        "never": "infinity",
        "list": [1, None],
        "struct": {"a": 1, "b": ["2026-03-01"]},
        "map": {"k": 1.5},
        "j": "[1,2]",
        "id": "00000000-0000-7000-8000-00000000000a",
        "i_2": 1,
    }


def test_rows_keep_their_order_whatever_their_types(store: Path) -> None:
    """The select is wrapped where it gives times or lists."""
    select = "select i, [i] as l from range(5000) as t(i) order by i % 7 desc, i"
    expected = sorted(range(5000), key=lambda number: (-(number % 7), number))
    assert [row["l"] for row in rows(store, select)] == [[number] for number in expected]


def test_hostile_values_are_inert_in_a_table(store: Path) -> None:
    done = run(store, "select model from runs order by started_at desc limit 1")
    assert done.stdout.splitlines()[1] == "=cmd|' /C calc'!A0 \\x1b[31mred\\u202e"


def test_hostile_values_are_inert_in_csv(store: Path) -> None:
    select = "select model, -5 as minus, '-5' as text, '@x' as at, null as nothing, '' as empty from runs"
    done = run(store, "--format", "csv", f"{select} order by started_at desc limit 1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].endswith(",-5,'-5,'@x,,\"\"")
    ((*_,), row) = csv.reader(io.StringIO(done.stdout))
    assert row == ["'=cmd|' /C calc'!A0 \\x1b[31mred\\u202e", "-5", "'-5", "'@x", "", ""]


def test_csv_is_read_back_as_it_was(store: Path) -> None:
    done = run(store, "--format", "csv", "select 'a \"b\", c' as x, e'two\\nlines' as y, true as z")
    assert list(csv.reader(io.StringIO(done.stdout))) == [["x", "y", "z"], ['a "b", c', "two\nlines", "true"]]


def test_json_holds_a_hostile_value_as_it_is(store: Path) -> None:
    select = "select model from runs order by started_at desc limit 1"
    assert rows(store, select) == [{"model": HOSTILE}]
    assert run(store, "--json", select).stdout.isascii()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", "Parser Error: syntax error at or near"),
        ("select nonsense from runs", '"show tables" and "describe runs" say what there is'),
        ("select * from nowhere", "Table with name nowhere does not exist"),
        ("select cast(model as int) from runs", "Conversion Error"),
        ("select ?", "Invalid Input Error"),
        ("", "there is no SQL"),
        ("/* nothing */;", "there is no SQL"),
        ("delete from readings", "read-only"),
        ("copy runs to 'out-of-duckdb.csv'", "SQL here reads the store's tables alone"),
        ("select * from read_csv('/etc/passwd')", "SQL here reads the store's tables alone"),
        ("set threads = 1", "locked"),
        ("select cast('\x1b[31m' as int)", "\\x1b[31m"),
        ("select 'x' + 1", "Could not choose a best candidate function"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(store: Path, sql: str, said: str) -> None:
    done = run(store, sql)
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("recorder: ")
    assert said in line
    assert not Path("out-of-duckdb.csv").exists()


def test_what_is_no_utf_8_in_a_statement_is_replaced(store: Path) -> None:
    assert rows(store, "select '\udcff' as a") == [{"a": "\ufffd"}]
    done = CliRunner().invoke(_program, ["--store", str(store), "sql", "-", "--json"], input=b"select '\xff' as a")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"a": "\ufffd"})


def test_sql_may_come_from_stdin_and_in_several_statements(store: Path) -> None:
    """In a process of its own, as a shell starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "recorder", "--store", str(store), "sql", "-", "--json"],
        cwd=store.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input="create temp table t as select 1 as a;\nselect a from t; -- that is all\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"a":1}\n', "")


def test_tables_can_be_listed_and_described(store: Path) -> None:
    names = [row["name"] for row in rows(store, "show tables")]
    assert {"calls", "endings", "readings", "recordings", "run_params", "run_tags", "runs", "steps", "tags"} <= {*names}
    assert names == sorted(names)
    assert "events" not in names
    described = {row["column_name"]: row["column_type"] for row in rows(store, "describe runs")}
    assert described["started_at"] == "BIGINT"
    assert run(store, "explain select 1").returncode == 0


def test_events_and_content_are_there_when_asked_for(store: Path) -> None:
    assert rows(store, "--events", "select type, count(*) as n from events group by type order by n desc limit 1") == [
        {"type": "thread.message.delta", "n": 6}
    ]
    assert rows(store, "--content", "select text from readings where text is not null") == [{"text": "cut"}]
    assert run(store, "select * from events").returncode == 2


def test_a_table_for_people_has_an_end(store: Path) -> None:
    done = run(store, "select range as i from range(1001)")
    assert len(done.stdout.splitlines()) == 1001
    assert done.stderr == "recorder: the first 1,000 rows; --json and --format csv give all of them\n"
    assert len(rows(store, "select range as i from range(1001)")) == 1001


def test_no_store_is_exit_code_3(tmp_path: Path) -> None:
    done = run(tmp_path / "none.db", "select 1")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "none.db" in done.stderr


def test_a_kind_of_statement_that_python_has_no_name_for_is_refused_like_others(store: Path) -> None:
    done = run(store, "update extensions")
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def used(program: subprocess.Popen[str]) -> float:
    """Seconds of processor time that a program has had; where nothing tells that, of any time."""
    if not Path("/proc/self/stat").exists():
        return time.monotonic()
    status = Path(f"/proc/{program.pid}/stat").read_text(encoding="ascii")
    user, system = status.rpartition(")")[2].split()[11:13]  # what stands before the parenthesis may hold spaces
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def under_way(program: subprocess.Popen[str], folder: Path) -> None:
    """Waits until it has opened the store's facts, for which it makes a folder, and has worked for a second since."""
    until = time.monotonic() + 60
    while not any(folder.iterdir()):
        assert program.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    before = used(program)
    while used(program) < before + 1:
        assert program.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


def test_ctrl_c_ends_a_statement_that_does_not_hear_of_it(store: Path, tmp_path: Path) -> None:
    endless = "with recursive r as (select 1 x union all select x + 1 from r) select max(x) from r"
    program = subprocess.Popen(
        [sys.executable, "-m", "recorder", "--store", str(store), "sql", "--events", endless],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        under_way(program, tmp_path)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 130
    assert "Traceback" not in said
