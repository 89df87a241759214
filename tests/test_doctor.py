"""What is wrong with a store, a machine or a configuration is named, with what to do; what is well is called well.

Real files, real locks, real processes; a file system that cannot be had here is told by the text in which Linux tells
it. A store may be broken in any way: the doctor says so, and never fails itself.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from recorder import schema
from recorder.doctor import Finding, Level, examine, here, inside, place, running, walindex
from recorder.recording import uuid7
from recorder.store import Append, Store
from recorder.store.health import File, examined
from tests.command import invoke
from tests.kept import keep
from tests.needs import ROOT
from tests.postgres import Postgres
from tests.tape import post, recorded
from tests.verified import raw

HI: Final = post("/v1/chat/completions", model="m", stream=True, messages=[])
ANSWER: Final = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "recorder.db"
    with Store.open(path, create=True) as store:
        keep(store, HI, ANSWER, started_at=time.time_ns() // 1000)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    copy = Path(shutil.copy(made, folder / "recorder.db"))
    copy.chmod(0o600)
    return copy


def looked(path: Path | str, floor: int | None = None) -> list[Finding]:
    """Every finding about a store."""
    return list(examine(path if isinstance(path, str) else f"sqlite:///{path}", floor=floor))


def about(found: list[Finding], check: str) -> list[Finding]:
    return [each for each in found if each.check == check]


def one(found: list[Finding], check: str) -> Finding:
    (only,) = about(found, check)
    return only


def bad(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.level in (Level.WARNING, Level.FAULT)]


# -- a store that is well ----------------------------------------------------------------------------------------------


def test_a_store_that_is_well_is_called_well_and_left_alone(path: Path) -> None:
    """Each check has its line; no file is changed, made or left behind."""
    before = {each: each.stat().st_mtime_ns for each in path.parent.rglob("*")}
    found = looked(path)
    assert bad(found) == []
    checks = {each.check for each in found}
    assert {"version", "sqlite", "extras", "settings", "file system", "disk", "size", "permissions"} <= checks
    assert {"writers", "wal", "sqlite copies", "schema", "pages", "open recordings", "readings", "clock"} <= checks
    left = {each: each.stat().st_mtime_ns for each in path.parent.rglob("*")}
    assert {each for each in left if each.name not in ("recorder.db-wal", "recorder.db-shm")} == set(before)
    assert left[path] == before[path]


def test_the_command(path: Path) -> None:
    done = invoke("doctor", store=path)
    assert done.exit_code == 0, done.stdout
    assert re.search(r"^ok +schema +1\.", done.stdout, re.MULTILINE)
    told = [json.loads(line) for line in invoke("doctor", "--json", store=path).stdout.splitlines()]
    assert [*told[0]] == ["check", "level", "text", "advice"]
    assert told[-1]["summary"]["fault"] == 0
    assert told[-1]["summary"]["ok"] == sum(each.get("level") == "ok" for each in told)
    path.chmod(0o644)
    warned = invoke("doctor", store=path)
    assert warned.exit_code == 0, "a warning is no fault"
    assert f"-> chmod 600 {path}" in warned.stdout


# -- stores that are broken --------------------------------------------------------------------------------------------


def newer(path: Path) -> None:
    raw(path, ("UPDATE recorder_version SET version_num = '9.0'", ()))


def someones(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 5")


def another(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (a)")


def without_trigger(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER events_no_update")


def torn(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    data, noise = bytearray(path.read_bytes()), random.Random(1)
    for page in range(2, pages):
        data[page * 4096 : page * 4096 + 64] = noise.randbytes(64)
    path.write_bytes(data)


def rubbish(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 1000)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: Final[dict[str, tuple[Callable[[Path], None], str]]] = {
    "missing": (Path.unlink, "no store at"),
    "not a database": (rubbish, "is not a SQLite database"),
    "a folder": (folder, "is not a file"),
    "newer": (newer, "it was made by a newer recorder"),
    "of another program": (someones, "application id 0x5 is another program's"),
    "another database": (another, "something else than a store"),
    "without its triggers": (without_trigger, "missing: events_no_update"),
    "torn": (torn, ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_store_is_a_fault_with_advice_and_never_a_traceback(path: Path, name: str) -> None:
    damage, said = BROKEN[name]
    damage(path)
    done = invoke("doctor", store=path)
    assert done.exit_code == 1, done.stdout + done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)
    faults = [each for each in looked(path) if each.level == Level.FAULT]
    assert any(said in each.text for each in faults), faults
    assert all(each.advice for each in faults)
    assert "Traceback" not in done.stdout + done.stderr


def test_an_empty_file_and_an_older_store_are_none(path: Path) -> None:
    raw(path, ("UPDATE recorder_version SET version_num = '1.0'", ()))
    older = one(looked(path), "schema")
    assert (older.level, older.advice) == (Level.WARNING, "recorder db upgrade")
    raw(path, ("UPDATE recorder_version SET version_num = '1.99'", ()))
    assert one(looked(path), "schema").level == Level.NOTE
    path.write_bytes(b"")
    assert one(looked(path), "schema") == Finding(
        "schema", Level.NOTE, "the database is empty", "the first recording makes the tables"
    )


def test_without_a_store_the_rest_is_looked_at_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("doctor")
    assert done.exit_code == 0
    assert re.search(r"^note +store +no store: looked for", done.stdout, re.MULTILINE)
    assert one(looked(tmp_path / "absent" / "recorder.db"), "store").level == Level.FAULT


# -- files -------------------------------------------------------------------------------------------------------------


def test_links_modes_and_leftovers(path: Path) -> None:
    path.chmod(0o646)
    (path.parent / "recorder.db.backup-1.0").write_bytes(b"x" * 2048)
    (path.parent / "recorder.db.backup-1.0").chmod(0o600)
    (path.parent / "recorder.db-journal").write_bytes(b"")
    (path.parent / "recorder.db-journal").chmod(0o600)
    os.link(path, path.parent / "copy.db")
    found = looked(path)
    assert one(found, "links").level == Level.FAULT
    assert "hard links" in one(found, "links").text
    assert one(found, "permissions").text == f"{path} can be written by others (mode 0646)"
    assert one(found, "backups").text.startswith("1 from before an upgrade, 2.0 KiB")
    assert about(found, "journal")[0].level == Level.WARNING


def test_a_link_to_a_store_is_followed_and_told(path: Path) -> None:
    """What lies beside the store is looked at there, not beside the link."""
    link = path.parent / "link.db"
    link.symlink_to(path)
    found = looked(link)
    assert (one(found, "links").level, str(path) in one(found, "links").text) == (Level.NOTE, True)
    assert bad(found) == []
    path.unlink()
    assert one(looked(link), "links").level == Level.FAULT


def test_links_in_a_circle_are_a_fault_and_no_traceback(path: Path) -> None:
    link = path.parent / "link.db"
    link.symlink_to(path.parent / "knil.db")
    (path.parent / "knil.db").symlink_to(link)
    assert one(looked(link), "links").level == Level.FAULT


def test_of_what_is_no_store_nothing_is_said_that_a_store_needs(path: Path) -> None:
    """A device keeps its mode, a folder has names of its own, and another program's database its journal."""
    other = path.parent / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE theirs (a)")
    other.chmod(0o600)
    assert about(looked(other), "journal") == []
    assert not [each for each in looked(Path("/dev/null")) if "/dev/null" in (each.advice or "")]
    (path.parent / "folder" / "in").mkdir(parents=True)
    assert about(looked(path.parent / "folder"), "links") == []


@pytest.mark.parametrize("ending", [".lock", ".writers"])
def test_what_stands_in_the_place_of_a_lock_is_named(path: Path, ending: str) -> None:
    wrong = path.with_name(path.name + ending)
    shutil.rmtree(wrong) if wrong.is_dir() else wrong.unlink(missing_ok=True)
    if ending == ".lock":
        wrong.mkdir(mode=0o700)
    else:
        wrong.touch(mode=0o600)
    found = one(looked(path), "lock")
    assert (found.level, str(wrong) in found.text) == (Level.FAULT, True)


@pytest.mark.parametrize(("what", "mode"), [("file", 0o400), ("folder", 0o500)])
def test_what_its_owner_cannot_write_is_a_fault(path: Path, what: str, mode: int) -> None:
    """Asked as a user who has no right to everything, as root has."""
    command = [sys.executable, "-m", "recorder", "--store", str(path), "doctor", "--json"]
    if os.geteuid() == 0:
        dropped = "-dac_override,-dac_read_search,-fowner"
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everything, and setpriv is not installed")
        command = [setpriv, f"--bounding-set={dropped}", f"--inh-caps={dropped}", *command]
    target = path if what == "file" else path.parent
    before = target.stat().st_mode
    target.chmod(mode)
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    finally:
        target.chmod(before)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    found = [each for each in told if each.get("check") == "permissions" and each["level"] == "fault"]
    assert [str(target) in each["text"] for each in found] == [True], done.stdout + done.stderr
    assert not [each for each in told if each.get("check") == "journal"]


def test_a_folder_that_anybody_may_write_to_is_a_fault(path: Path) -> None:
    path.parent.chmod(0o777)
    found = one(looked(path), "permissions")
    assert (found.level, f"{path.parent} can be written by anybody" in found.text) == (Level.FAULT, True)
    path.parent.chmod(0o1777)
    assert one(looked(path), "permissions").level == Level.OK, "with the sticky bit nobody takes another's file away"


MOUNTS: Final = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
26 24 0:24 / /mnt/far rw,relatime shared:5 - nfs4 host:/x rw,vers=4.2
27 24 0:25 / /mnt/a\\040b ro,relatime - ext4 /dev/vdb ro
28 24 0:26 / /layered rw - overlay overlay rw,lowerdir=/l
29 24 0:27 / /fused rw - fuse.rclone x rw
30 26 0:28 / /mnt/far/near rw - xfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("folder", "level", "said"),
    [
        ("/srv/me", Level.OK, "ext4 at /"),
        ("/dev/shm/x", Level.WARNING, "gone with the next start"),
        ("/mnt/far/x", Level.FAULT, "do not hold across a network"),
        ("/mnt/far/near/x", Level.OK, "xfs"),
        ("/mnt/farther", Level.OK, "ext4 at /"),
        ("/mnt/a b/x", Level.FAULT, "takes no writes"),
        ("/layered", Level.NOTE, "goes with its container"),
        ("/fused", Level.WARNING, "up to its driver"),
    ],
)
def test_what_a_file_system_is_good_for(folder: str, level: Level, said: str) -> None:
    mount = place.mount_of(Path(folder), MOUNTS)
    assert mount is not None
    found = place.judge(mount)
    assert (found.level, said in found.text) == (level, True), found


def test_a_real_file_system_in_memory_is_named(made: Path) -> None:
    if not Path("/dev/shm").is_dir() or not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm")
    folder = Path("/dev/shm") / f"recorder-{uuid7()}"
    folder.mkdir(mode=0o700)
    try:
        copy = shutil.copy(made, folder / "recorder.db")
        assert "tmpfs at /dev/shm is memory" in one(looked(Path(copy)), "file system").text
    finally:
        shutil.rmtree(folder)


def test_room_is_held_against_the_floor(path: Path) -> None:
    free = shutil.disk_usage(path).free
    assert one(looked(path, floor=1), "disk").level == Level.OK
    assert one(looked(path, floor=int(free * 0.7)), "disk").level == Level.WARNING
    short = one(looked(path, floor=free * 2), "disk")
    assert (short.level, "recording stops" in short.text) == (Level.FAULT, True)


# -- who has it open ---------------------------------------------------------------------------------------------------

_HOLDER: Final = """
import sys, time
from uuid import UUID
from recorder.store import Store
store = Store.open(sys.argv[1])
store.claim_writer(UUID(sys.argv[2]))
{more}
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def process(path: Path, writer: UUID, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open, as a writer."""
    made = subprocess.Popen(
        [sys.executable, "-c", _HOLDER.format(more=more), str(path), str(writer)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert made.stdout is not None
        assert made.stdout.readline() == "ready\n"
        yield made
    finally:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()


def begin(path: Path, writer: UUID, started_at: int | None = None) -> None:
    """A recording that has no end."""
    recording, events = recorded(HI, ANSWER, writer=writer, started_at=started_at or time.time_ns() // 1000)
    with Store.open(path) as store:
        rows = [(recording.recording_id.bytes, *event) for event in events[:-1]]
        store.append([Append(recording.recording_id, replace(recording, ending=None), rows, None)])


def test_writers_are_told_by_their_processes_and_the_dead_from_the_living(path: Path) -> None:
    living, dead = uuid7(), uuid7()
    begin(path, living)
    begin(path, dead)
    with process(path, living) as other:
        with process(path, dead) as killed:
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait()
        found = looked(path)
        assert about(found, "writers")[0].text == f"1 recording now: {other.pid} (python)"
        assert about(found, "writers")[1].text == "1 lock file of writers that died"
        assert [(each.level, each.text.partition(",")[0]) for each in about(found, "open recordings")] == [
            (Level.WARNING, "1 of 1 writer that died"),
            (Level.OK, "1"),
        ]
        assert (path.parent / "recorder.db.writers" / f"{dead}.lock").exists(), "nothing is cleared"


def test_a_stopped_process_that_holds_the_write_lock_is_named(path: Path) -> None:
    with process(path, uuid7(), "lock = store._backend._locked(5); lock.__enter__()") as other:
        found = one(looked(path), "lock")
        assert found.level == Level.WARNING
        assert f"the file is open in {other.pid} (python)" in found.text
    assert about(looked(path), "lock") == []


_READ: Final = """
import sqlite3
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN"); reader.execute("SELECT count(*) FROM events").fetchone()
"""


def test_a_wal_that_grew_is_told_with_the_process_that_holds_it(path: Path) -> None:
    """It is the reader that does not end, and nobody else who has the store open."""
    if walindex.look(path.with_name("recorder.db-shm")) is None and not sys.platform.startswith("linux"):
        pytest.skip("this system does not tell")
    with process(path, uuid7()), process(path, uuid7(), _READ) as reading:
        begin(path, uuid7())
        opened = running.open_files(path)
        found = running.wal(path, opened, large=1000)
        assert (found.level, found.text.partition("; ")[2]) == (
            Level.WARNING,
            f"held by a read in {reading.pid} (python)",
        )
        assert running.wal(path, opened).level == Level.OK
    begin(path, uuid7())
    with process(path, uuid7(), "store.tag(store.recording_ids()[0], 'a', 'b')"):
        assert "nobody holds it now" in running.wal(path, None, large=1000).text


def test_reading_the_wal_index_leaves_this_processs_locks_alone(path: Path) -> None:
    """It is done by another process: were it done here, SQLite's locks would be gone, and others would get in."""
    with closing(sqlite3.connect(path, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        seen = walindex.look(path.with_name("recorder.db-shm"))
        assert seen is not None
        assert seen.writer == os.getpid()
        got_in = subprocess.run(
            [sys.executable, "-c", _WRITE, str(path)], capture_output=True, text=True, check=False
        ).stdout
        assert got_in == "database is locked"


_WRITE: Final = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    sys.stdout.write(str(error))
"""

MAPS: Final = """\
55d0 r--p 00000000 fe:00 1 /usr/bin/python3
7f00 r-xp 00000000 fe:00 2 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f01 r-xp 00001000 fe:00 2 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f10 r-xp 00000000 fe:00 3 /usr/lib/python3/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so
"""


def test_two_sqlite_libraries_in_one_process_are_found() -> None:
    """Python's module and the library that it is linked to are one; another module with its own is a second."""
    assert running.libraries(MAPS) == ["/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6"]
    second = "7f20 r-xp 00000000 fe:00 4 /x/site-packages/adbc_driver_sqlite/libadbc_driver_sqlite.so\n"
    assert len(running.libraries(MAPS + second)) == 2
    assert running.libraries("") == []


# -- inside ------------------------------------------------------------------------------------------------------------


def test_readings_due_and_times_that_cannot_be(path: Path) -> None:
    now = time.time_ns() // 1000
    with Store.open(path) as store:
        keep(store, HI, ANSWER, started_at=now + 7200 * 1_000_000)
    raw(path, ("UPDATE readings SET reader_version = 0 WHERE started_at < ?", (now + 1_000_000,)))
    found = looked(path)
    assert one(found, "readings").text.startswith("1 due")
    told = re.fullmatch(r"1 recordings from the future, up to (\d):(\d\d):(\d\d) ahead", about(found, "clock")[0].text)
    assert told is not None
    hours, minutes, seconds = map(int, told.groups())
    passed = (time.time_ns() // 1000 - now) / 1_000_000
    assert 7199 - passed <= hours * 3600 + minutes * 60 + seconds <= 7200
    raw(path, ("UPDATE recordings SET started_at = started_at - 10800000000", ()))
    # Beside the three hours, what passed between the time that `made` was given and the making of its id.
    assert any("the clock stepped back by 3:0" in each.text for each in about(looked(path), "clock"))


def test_readings_of_an_older_reader(path: Path) -> None:
    raw(path, ("UPDATE readings SET reader_version = 1", ()))
    assert one(looked(path), "readings").advice == "recorder rebuild makes them again"


def test_what_sqlite_says_of_its_file() -> None:
    def said(**changed: Any) -> list[tuple[Level, str]]:
        file = File("wal", 4096, 100_000, 0, ())._replace(**changed)
        return [(each.level, each.check) for each in inside.pages(file, 400 << 20)]

    assert said() == [(Level.OK, "pages")]
    assert said(journal="delete") == [(Level.WARNING, "journal"), (Level.OK, "pages")]
    assert said(damage=("Tree 5 page 7: x",)) == [(Level.FAULT, "pages")]
    assert said(damage=None, free=50_000) == [(Level.NOTE, "pages"), (Level.NOTE, "pages")]


# -- this installation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.51.3", Level.OK),
        ("3.52.0", Level.OK),
        ("3.51.2", Level.NOTE),
        ("3.50.7", Level.OK),
        ("3.50.6", Level.NOTE),
        ("3.44.6", Level.OK),
        ("3.44.5", Level.NOTE),
        ("3.45.0", Level.NOTE),
        ("3.37.0", Level.NOTE),
        ("3.36.0", Level.WARNING),
        ("3.23.1", Level.FAULT),
        ("3.x", Level.WARNING),
    ],
)
def test_sqlites_known_bugs_by_version(version: str, level: Level) -> None:
    assert here.sqlite_version(version).level == level


def test_settings_are_told_with_where_they_come_from_and_without_what_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recorder.toml").write_text('content = "facts"\nredact = ["/canaryA/"]\n', encoding="utf-8")
    monkeypatch.setenv("RECORDER_TAGS", "team=canaryB")
    monkeypatch.setenv("RECORDER_STORE", "postgresql://u:canaryC@127.0.0.1:1/db?sslpassword=canaryD")
    monkeypatch.setenv("RECORDER_RECORD_TOKEN", "canaryE")
    monkeypatch.setenv("RECORDER_CONTNET", "canaryF")
    done = invoke("doctor")
    assert done.exit_code == 1, "the server cannot be reached"
    assert "content = 'facts'" in done.stdout
    assert "recorder.toml: content" in done.stdout
    assert "tags = 1 of them (environment variable RECORDER_TAGS)" in done.stdout
    assert "nothing reads the variable RECORDER_CONTNET" in done.stdout
    assert "RECORDER_CONTENT" in done.stdout
    assert "RECORDER_RECORD_TOKEN" not in done.stdout, "a command reads it"
    assert "canary" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_settings_that_are_wrong_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECORDER_CONTENT", "canary")
    done = invoke("doctor")
    assert done.exit_code == 1
    assert "environment variable RECORDER_CONTENT is wrong" in done.stdout
    assert "canary" not in done.stdout
    monkeypatch.delenv("RECORDER_CONTENT")
    monkeypatch.setenv("RECORDER_REDACT", '["canary"]')
    broken = invoke("doctor").stdout
    assert "redact rule 1 is none" in broken, "recording would refuse to begin"
    monkeypatch.delenv("RECORDER_REDACT")
    monkeypatch.setenv("RECORDER_DISABLED", "1")
    assert one(looked(tmp_path / "x.db"), "settings").level == Level.WARNING


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def test_a_postgresql_store(postgres_database: str, postgres: Postgres) -> None:
    """Its server, rights, dead rows, leases; a user of its own, and a superuser, who is warned of."""
    empty = looked(postgres_database)
    assert one(empty, "schema").level == Level.NOTE
    with Store.open(postgres_database, create=True) as store:
        recording = keep(store, HI, ANSWER, started_at=time.time_ns() // 1000)
    found = looked(postgres_database)
    assert [each.check for each in bad(found)] == ["rights"]
    assert "is a superuser" in one(found, "rights").text
    assert one(found, "server").text.startswith("PostgreSQL ")
    assert one(found, "durability").text == "synchronous_commit on, fsync on"
    assert one(found, "schema") == Finding("schema", Level.OK, schema.REVISION)
    name = postgres_database.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.execute("DROP TRIGGER events_append_only ON events", name)
    lease = f"INSERT INTO leases VALUES ('{recording.recording_id}', '{uuid7()}', 5)"
    postgres.execute(lease, name)
    found = looked(postgres_database)
    assert "synchronous_commit is off" in one(found, "durability").text
    assert one(found, "schema").level == Level.FAULT
    postgres.execute(
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events "
        "FOR EACH ROW EXECUTE FUNCTION recorder_append_only()",
        name,
    )
    assert one(looked(postgres_database), "open recordings").level == Level.WARNING
    with examined(postgres_database) as health:
        assert health.server().tables["events"][0] >= 0
        assert abs(health.clock().server_us or 0) < 60_000_000


def test_a_server_that_cannot_be_reached_is_one_fault() -> None:
    found = looked("postgresql://me:canary@127.0.0.1:1/db")
    (only,) = bad(found)
    assert (only.check, only.level) == ("store", Level.FAULT)
    assert "canary" not in repr(found)


# -- its page ----------------------------------------------------------------------------------------------------------


def test_the_page_names_each_check_and_its_commands_run(path: Path) -> None:
    """docs/operations.md: what is looked at is what the code looks at; what a reader types works on a store."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = {
        name for row in re.findall(r"^\| (`[a-z` ]+) \|", page, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    made = set()
    for source in [*(ROOT / "recorder" / "doctor").glob("*.py"), ROOT / "recorder" / "cli" / "doctor.py"]:
        text = source.read_text(encoding="utf-8")
        made |= set(re.findall(r"""\b(?:ok|note|warning|fault|Finding|_safely)\(\s*"([a-z ]+)",""", text))
    assert made - named == {"store", "recordings"}
    assert named - made == set()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "recorder"
        done = invoke(*words, store=path)
        assert done.exit_code == 0, (line, done.stdout, done.stderr)
