"""Four roles in PostgreSQL: what each can do with recorder's own commands, and what the database refuses it.

The roles belong to the server, not to a database: this module has a server of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Final

import httpx
import psycopg
import pytest

import recorder
from recorder import schema
from recorder.errors import StoreUnavailable, UsageError
from recorder.schema import FACT_TABLES
from recorder.store import Store, roles
from tests.command import invoke
from tests.kept import keep
from tests.loopback import LAST_CHUNK, Loopback, chunk, stream_head
from tests.needs import need
from tests.postgres import Postgres, binaries
from tests.tape import JSON, post

#: In every place that content can be in; no analyst finds it anywhere.
CANARY: Final = "Canary7Q"
USERS: Final = {"wanda": roles.WRITER, "anna": roles.ANALYST, "rita": roles.READER, "egon": roles.ERASER}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    need("postgres", binaries() is not None, "no PostgreSQL server in /usr/lib/postgresql")
    with Postgres() as own:
        yield own


def say(number: int) -> dict[str, object]:
    return {
        "model": "gpt-4o",
        "max_tokens": 7,
        "temperature": 0.5,
        "tool_choice": "auto",
        "metadata": {"who": CANARY},
        "messages": [{"role": "user", "content": f"{CANARY} {number}"}],
        "tools": [{"type": "function", "function": {"name": CANARY, "parameters": {}}}],
    }


def answer(text: str) -> bytes:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    return json.dumps({"id": "chatcmpl-1", "model": "gpt-4o", "choices": [choice], "usage": usage}).encode()


@pytest.fixture(scope="module")
def url(server: Postgres) -> str:
    """A store with recordings, roles, and a user in each."""
    name = server.create_database("shop")
    url = server.url(name)
    with Store.open(url, create=True) as store:
        for number in range(3):
            made = keep(
                store,
                post(f"/v1/chat/completions?x={CANARY}", **say(number)),
                answer(CANARY),
                headers=(*JSON, ("x-note", CANARY)),
                tags={"app": "shop", "note": CANARY},
                session=CANARY,
                trace=CANARY,
            )
            store.tag(made.recording_id, "later", CANARY)
        failed = {"error": {"message": CANARY, "type": "invalid_request_error", "code": "x"}}
        keep(store, post("/v1/chat/completions", **say(9)), json.dumps(failed).encode(), status=400, headers=JSON)
    done = invoke("--store", url, "db", "roles", "--apply")
    assert done.exit_code == 0, done.stderr
    for user, role in USERS.items():
        server.execute(f"CREATE ROLE {user} LOGIN IN ROLE {role}")
    server.execute("ALTER ROLE anna SET search_path = recorder_facts")
    return url


def of(url: str, user: str) -> str:
    return url.replace("postgres@", f"{user}@")


def run(url: str, user: str, *words: str) -> tuple[int, str]:
    done = invoke("--store", of(url, user), *words)
    return done.exit_code, done.stdout + done.stderr


def checked(url: str, user: str) -> dict[str, str]:
    """What the checks of the newest run come to for this user."""
    lines = run(url, user, "show", "@last", "--timeline", "--json")[1].splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return {row["name"]: row["verdict"] for row in rows if row["about"] == "check"}


def refused(url: str, user: str, statement: str) -> None:
    with psycopg.connect(of(url, user)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


# -- the script --------------------------------------------------------------------------------------------------------


def test_the_script_is_what_is_applied_and_may_be_run_again(server: Postgres, url: str) -> None:
    """Run as it is printed, by psql's rules, and run twice: the rights are the same."""
    printed = invoke("--store", url, "db", "roles")
    assert printed.exit_code == 0
    assert printed.stdout.startswith("BEGIN;\n")
    rights = "SELECT grantee, table_name, privilege_type FROM information_schema.table_privileges ORDER BY 1, 2, 3"
    before = server.execute(rights, "shop")
    server.execute(printed.stdout, "shop")
    applied = json.loads(invoke("--store", url, "db", "roles", "--apply", "--json").stdout)
    assert (applied["applied"], applied["roles"]) == (True, [*roles.ROLES])
    assert all(f"{statement};" in printed.stdout for statement in applied["statements"])
    assert server.execute(rights, "shop") == before
    assert ("recorder_analyst", "readings", "SELECT") in before
    assert not [row for row in before if row[0] == "PUBLIC" and row[1] in FACT_TABLES]


def test_two_stores_on_one_server_and_a_store_in_a_schema_of_its_own(server: Postgres, url: str) -> None:
    name = server.create_database("other")
    server.execute("CREATE SCHEMA tape", name)
    other = f"{server.url(name)}?options=-csearch_path%3Dtape"
    Store.open(other, create=True).close()
    assert invoke("--store", other, "db", "roles", "--apply").exit_code == 0
    assert server.execute("SELECT count(*) FROM tape_facts.readings", name) == [(0,)]


def test_what_can_have_no_roles(tmp_path: object, url: str) -> None:
    Store.open(f"{tmp_path}/x.db", create=True).close()
    with pytest.raises(UsageError, match="has no roles"):
        roles.statements(f"sqlite:///{tmp_path}/x.db")
    done = invoke("--store", f"{tmp_path}/x.db", "db", "roles")
    assert done.exit_code == 2
    assert "Keep its files for one user" in done.stderr
    code, said = run(url, "rita", "db", "roles", "--apply")
    assert (code, "does not allow this to this user" in said) == (4, True)


# -- each role ---------------------------------------------------------------------------------------------------------


def test_no_role_may_change_a_fact_or_the_tables(url: str) -> None:
    for user in USERS:
        schema = "recorder_facts" if user == "anna" else "public"
        for table in FACT_TABLES:
            refused(url, user, f"UPDATE {schema}.{table} SET recording_id = recording_id")
            refused(url, user, f"TRUNCATE public.{table}")
        refused(url, user, "DROP TABLE public.events")
        refused(url, user, "ALTER TABLE public.events DISABLE TRIGGER ALL")
    for user in ("wanda", "rita"):
        refused(url, user, "DELETE FROM events")
        refused(url, user, "INSERT INTO erasures SELECT recording_id, 1, 'x', 'y' FROM recordings")


def test_the_writer_records_and_reads_what_it_recorded(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A handle that may no more than that: real calls through a real client, a tag, a checkpoint, and no warning."""
    with Loopback([[stream_head(), chunk(b'data: {"choices":[]}\n\n'), LAST_CHUNK]], repeat_last=True) as upstream:
        with caplog.at_level(logging.WARNING, "recorder"), recorder.open(of(url, "wanda")) as handle:
            with handle.instrument(httpx.Client()) as client:
                for _ in range(3):
                    assert client.post(f"{upstream.url}/v1/chat/completions", json=say(1)).status_code == 200
            assert handle.flush(30)
            assert handle.stats.failing is None
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert run(url, "wanda", "tag", "@last", "seen=yes")[0] == 0
    assert run(url, "wanda", "rebuild", "--all")[0] == 0
    assert run(url, "wanda", "checkpoint")[0] == 0
    assert run(url, "wanda", "verify")[0] == 0
    code, told = run(url, "wanda", "doctor")
    assert (code, "may record and read" in told) == (0, True)


def test_the_analyst_sees_facts_and_nothing_that_anybody_wrote(url: str) -> None:
    """Lists, questions and SQL work; the canary, which is in every place that content can be in, is nowhere."""
    for words in (
        ["runs", "--json"],
        ["recordings", "--json"],
        ["show", "@last", "--json"],
        ["show", "@last", "--timeline"],
        ["analyze", "cap_use"],
        ["sql", "SELECT * FROM readings"],
        ["db", "current"],
        ["doctor"],
    ):
        code, told = run(url, "anna", *words)
        assert code == 0, (words, told)
        assert CANARY not in told, words
    runs = [json.loads(line) for line in run(url, "anna", "runs", "--json")[1].splitlines()]
    facts = {"model": "gpt-4o", "output_tokens": 7, "max_completion_tokens": 7, "stop_reason": "output_limit"}
    assert facts.items() <= runs[-1].items()
    assert (runs[-1]["metadata"], runs[-1]["tags"]) == ({}, {}) or not (runs[-1]["metadata"] or runs[-1]["tags"])
    with psycopg.connect(of(url, "anna")) as connection:
        for table in ("recordings", "events", "readings", "endings", "tags", "erasures", "leases", "logged", "runs"):
            rows = connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            assert CANARY not in repr(rows), table
            if table != "logged":  # it fills with the first checkpoint
                assert bool(rows) == (table in {"recordings", "events", "readings", "endings", "runs"}), table
        asked = connection.execute(b"SELECT parameters FROM readings ORDER BY recording_id").fetchone()
        assert asked is not None
        kept = json.loads(asked[0])
        assert (kept["temperature"], kept["max_tokens"], kept["tool_choice"]) == (0.5, 7, "auto")
        assert [*kept["tools"]] == ["$omitted"]
    for table in ("recordings", "events", "readings", "tags"):
        refused(url, "anna", f"SELECT * FROM public.{table}")


def test_an_analyst_is_not_told_that_what_is_withheld_was_altered(url: str) -> None:
    for command in ("verify", "scan"):
        code, told = run(url, "anna", command)
        assert (code, "facts alone" in told) == (4, True), told


def test_an_analyst_is_given_no_hollow_recording_and_told_nothing_that_is_not_so(url: str) -> None:
    """A file without payloads would be refused by `import` as edited; nothing is pinned that answers nothing."""
    exports = [["export", "@last", "--format", each] for each in ("jsonl", "har", "sse", "html")]
    for words in (*exports, ["pin", "@last", "--as", "hollow"]):
        code, told = run(url, "anna", *words)
        assert (code, "facts alone" in told) == (4, True), (words, told)
    code, told = run(url, "anna", "show", "@last")
    assert (code, "No answer came" in told) == (0, False), told


def test_an_analyst_is_told_that_content_is_withheld_and_not_that_it_was_erased(url: str) -> None:
    """Whatever is looked at; and what came, came: a status that the ending has, a coding that nobody here can know."""
    for words in (
        ["recordings"],
        ["show", "@last"],
        ["show", "@last", "--timeline"],
        ["show", "@last", "--at", "end"],
        ["diff", "@-2", "@last"],
        ["erase", "--run", "@last", "--dry-run"],
    ):
        code, told = run(url, "anna", *words)
        assert code in {0, 1}, (words, told)
        assert "withheld" in told, (words, told)
        for untrue in ("erased", "no answer", "not in the store", "not kept"):
            assert untrue not in told, (words, told)
    code, told = run(url, "anna", "show", "@last", "--json")
    assert [(part["withheld"], part["erased"], part["url"]) for part in json.loads(told)["parts"]] == [
        (True, None, None)
    ]
    hers, whole = (checked(url, user) for user in ("anna", "rita"))
    assert (hers["content coding undone"], whole["content coding undone"]) == ("unknown", "ok")
    assert {name for name in whole if hers[name] not in (whole[name], "unknown")} == set()
    code, told = run(url, "anna", "emit", "@last")
    assert (code, "facts alone" in told) == (4, True), told
    assert "withheld" not in run(url, "rita", "recordings")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "--tag", "app=shop"],
        ["runs", "--grep", CANARY],
        ["recordings", "--metadata", f"who={CANARY}"],
        ["recordings", "--trace", CANARY],
        ["analyze", "outcomes", "--by", "tag:app"],
        ["advise", "--by", "metadata:who"],
        ["report", "--by", "tag:app", "-o", "-"],
        ["blast", "--feature", "tag:app=shop", "--since", "1970-01-01"],
        ["erase", "--tag", "app=shop", "--dry-run"],
        ["erase", "--trace", CANARY, "--dry-run"],
        ["erase", "--metadata", f"who={CANARY}", "--dry-run"],
    ],
    ids=" ".join,
)
def test_what_an_analyst_may_not_see_is_not_told_to_be_none(url: str, words: list[str]) -> None:
    code, told = run(url, "anna", *words)
    assert (code, "facts alone" in told, CANARY in told) == (4, True, False), told
    assert run(url, "rita", *words)[0] == 0


@pytest.mark.parametrize(("version", "granted"), [(169_999, 0), (170_000, 1), (180_001, 1)])
def test_the_eraser_may_vacuum_where_the_server_can_allow_it(version: int, granted: int) -> None:
    """MAINTAIN is of PostgreSQL 17; an older one leaves it to the owner."""
    made = list(roles._maintained("s", version))
    assert len(made) == granted
    for statement in made:
        assert statement.startswith('GRANT MAINTAIN ON "s".')
        assert statement.endswith(f" TO {roles.ERASER}")
        assert all(f'"s".{table}' in statement for table in schema.metadata.tables)


def test_the_reader_reads_everything_and_writes_nothing(url: str) -> None:
    code, told = run(url, "rita", "show", "@last", "--json")
    assert (code, CANARY in told) == (0, True)
    for words in (["export"], ["verify"], ["analyze", "cap_use"], ["recordings"]):
        assert run(url, "rita", *words)[0] == 0, words
    code, told = run(url, "rita", "tag", "@last", "a=b")
    assert (code, "does not allow this to this user" in told) == (4, True)
    for table in FACT_TABLES:
        refused(url, "rita", f"INSERT INTO {table} SELECT * FROM {table}")
    code, told = run(url, "rita", "doctor")
    assert (code, "may read, and not record" in told) == (0, True)


def test_who_may_not_write_the_tables_anew_is_told_who_may(url: str) -> None:
    """PostgreSQL itself says no more than a notice, and does nothing."""
    with Store.open(of(url, "wanda")) as store, pytest.raises(StoreUnavailable, match="have the owner do so"):
        store.rewrite()


def test_who_may_not_read_all_of_a_recording_is_shown_none_of_it(server: Postgres, url: str) -> None:
    """Without its ending, say, it would seem to have none."""
    server.execute("CREATE ROLE petra LOGIN; GRANT SELECT ON recordings, recorder_version TO petra", "shop")
    with Store.open(of(url, "petra"), readonly=True) as store:
        with pytest.raises(StoreUnavailable, match="does not allow this to this user"):
            next(store.scan())


def test_the_eraser_erases_with_an_erasure_on_record_and_not_without(server: Postgres, url: str) -> None:
    with psycopg.connect(of(url, "egon")) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(b"DELETE FROM events")
    runs = [json.loads(line)["run_id"] for line in run(url, "egon", "runs", "--json")[1].splitlines()]
    code, told = run(url, "egon", "erase", "--run", runs[-1], "--only", "--reason", "asked for", "--yes")
    # Before 17 nobody but the owner may clear away the dead rows; that is said, and counts as not all done.
    may_vacuum = int(server.execute("SHOW server_version_num")[0][0]) >= 170_000
    assert (code, "have the owner do so" in told) == ((0, False) if may_vacuum else (1, True)), told
    assert "1 recording erased" in told
    assert server.execute("SELECT count(*) FROM erasures", "shop") == [(1,)]
    code, told = run(url, "egon", "erase", "--run", runs[-1], "--only", "--rewrite", "--reason", "asked for", "--yes")
    assert (code, "1 were before" in told, told.count("have the owner do so")) == (
        (0, True, 0) if may_vacuum else (1, True, 1)
    ), told
    told = run(url, "anna", "recordings")[1]
    assert (told.count("(erased)"), "(withheld)" in told) == (1, True), told
    code, told = run(url, "anna", "show", runs[-1])
    assert (code, "  erased on 20" in told, "None" in told) == (0, True, False), told
    code, told = run(url, "anna", "show", runs[-1], "--timeline")
    assert (code, "erased on 20" in told, "withheld" in told, "None" in told) == (0, True, False, False), told
    code, told = run(url, "egon", "prune", "--older-than", "1d", "--whole", "--vacuum")
    assert (code, "4 recordings went" in told) == (0 if may_vacuum else 4, True), told
    assert server.execute("SELECT count(*) FROM recordings WHERE started_at = 0", "shop") == [(0,)]
    assert run(url, "rita", "verify")[0] == 0
