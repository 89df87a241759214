"""The facts that are kept: whatever happens to the store, the files and who makes them, they are those of a copy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import psycopg
import pytest

from recorder import queries
from recorder.errors import StoreError
from recorder.queries import copying
from recorder.queries import snapshot as kept_facts
from recorder.queries.snapshot import Snapshot, place_of
from recorder.recording import Recording
from recorder.store import Append, Store
from tests.needs import ROOT, each, examples
from tests.rows import STARTED, an_end, made_reading, opened, recorded, rows_of

DAY: Final = 86_400_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    found: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database")
    return found


def snapshot_of(url: str, folder: Path | None = None, **options: Any) -> Snapshot:
    with Store.open(url, readonly=True) as store:
        return Snapshot(url=url, shown=store.url, folder=folder, **options)


Rows = list[tuple[Any, ...]]


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[Rows, Rows]]:
    """The columns and the rows of all tables."""
    with contextlib.closing(connection):
        names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        return {
            name: (
                connection.execute(f'DESCRIBE "{name}"').fetchall(),
                connection.execute(f'SELECT * FROM "{name}" ORDER BY ALL').fetchall(),
            )
            for name in names
        }


def kept(snapshot: Snapshot, *, events: bool = True) -> dict[str, tuple[Rows, Rows]]:
    return contents(snapshot.connection(events=events))


def copied(url: str, folder: Path, *, events: bool = True) -> dict[str, tuple[Rows, Rows]]:
    """The same of a copy that was made from nothing."""
    found = contents(snapshot_of(url, folder).connection(events=events))
    shutil.rmtree(folder)
    return found


def parts(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*.duckdb*"))


# -- it follows the store ----------------------------------------------------------------------------------------------


class Life:
    """What may happen to a store, at random."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._day = 0
        self._open: list[tuple[Recording, int]] = []
        self._ended: list[Recording] = []

    def step(self) -> None:
        happen = [self.begin, self.grow, self.end, self.whole, self.read, self.read, self.tag, self.erase, self.prune]
        self._rng.choice([*happen, self.new_day])()

    def _recording(self) -> Recording:
        started = STARTED + self._day * DAY + self._rng.randrange(DAY // 2)
        return opened(started_at=started, tags={"app": self._rng.choice(["shop", "search"])})

    def begin(self) -> None:
        made = self._recording()
        self._store.append([Append(made.recording_id, made, rows_of(made, 0, 2))])
        self._open.append((made, 2))

    def grow(self) -> None:
        if self._open:
            made, at = self._open.pop(0)
            self._store.append([Append(made.recording_id, None, rows_of(made, at, at + 3))])
            self._open.append((made, at + 3))

    def end(self) -> None:
        if self._open:
            made, at = self._open.pop(0)
            row, ending = an_end(made, at)
            self._store.append([Append(made.recording_id, None, [row], ending)])
            self._ended.append(dataclasses.replace(made, ending=ending))

    def whole(self) -> None:
        for _ in range(self._rng.randrange(1, 4)):
            made = self._recording()
            recorded(self._store, recording_id=made.recording_id, started_at=made.started_at, tags=made.tags)
            self._ended.append(made)

    def read(self) -> None:
        """Some are read, or read again: as another run's, another protocol's, or none's."""
        for made in self._rng.sample(self._ended, min(len(self._ended), 2)):
            action = self._rng.choice(["create", "submit_tool_outputs", "retrieve"])
            fields: dict[str, Any] = {
                "status": self._rng.choice(["completed", "incomplete", "requires_action"]),
                "action": action,
                "opens_run": action == "create",
                "provider_run_id": self._rng.choice([None, "run_1", "run_2"]),
                "model": self._rng.choice([None, "gpt-4o"]),
                "input_tokens": self._rng.choice([None, 1, 2**40]),
                "is_run": self._rng.random() < 0.9,
                "facts": {"steps": [{"id": "step_1"}], "arguments": [{"name": "f", "valid": True}]},
                "parameters": {"model": "gpt-4o"},
            }
            self._store.put_readings([made_reading(made, **fields)])

    def tag(self) -> None:
        if self._ended:
            one = self._rng.choice(self._ended)
            self._store.tag(one.recording_id, "note", self._rng.choice([None, "a", "b"]))

    def erase(self) -> None:
        """What erasing does to the tables: payloads go, and what was read of them."""
        self._rid("UPDATE readings SET metadata = NULL, text = NULL, facts = NULL, changed_at = {now} WHERE {it}")

    def prune(self) -> None:
        """What pruning does: nothing is left but the note that it was."""
        names = ("events", "tags", "endings", "readings", "recordings")
        self._rid(*(f"DELETE FROM {name} WHERE {{it}}" for name in names), gone=True)

    def _rid(self, *statements: str, gone: bool = False) -> None:
        if not self._ended:
            return
        one = self._ended.pop() if gone else self._rng.choice(self._ended)
        now = time.time_ns() // 1000
        note = f"INSERT INTO erasures SELECT recording_id, {now}, 'me', 'test' FROM recordings WHERE {{it}}"
        run(self._store.url, *(text.format(now=now, it=it(self._store.url, one)) for text in (note, *statements)))

    def new_day(self) -> None:
        self._day += 1
        self.whole()


def it(url: str, recording: Recording) -> str:
    key = recording.recording_id.hex
    return f"recording_id = x'{key}'" if url.startswith("sqlite") else f"recording_id = '{key}'"


def run(url: str, *statements: str) -> None:
    """In one transaction."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            for text in statements:
                connection.execute(text)
    else:
        with psycopg.connect(url) as connection_:
            for text in statements:
                connection_.execute(text.encode())


@pytest.mark.parametrize("seed", range(examples(1, 30)))
def test_whatever_happens_what_is_kept_is_what_a_copy_gives(url: str, tmp_path: Path, seed: int) -> None:
    """Every table, row by row, after each refresh; a few recordings are soon too many for a delta."""
    rng = random.Random(seed)
    with Store.open(url, create=True) as store:
        life = Life(store, rng)
        life.whole()
        snapshot = snapshot_of(url, few=8)
        for _ in range(examples(5, 12)):
            for _ in range(rng.randrange(1, 8)):
                life.step()
            with_events = rng.random() < 0.7
            assert kept(snapshot, events=with_events) == copied(url, tmp_path / "fresh", events=with_events)


def test_what_is_known_is_not_copied_again(url: str) -> None:
    with Store.open(url, create=True) as store:
        for _ in range(5):
            store.put_readings([made_reading(recorded(store))])
        snapshot = snapshot_of(url)
        first = snapshot.refresh(events=True)
        second = snapshot.refresh(events=True)
        assert (first["did"], second["did"]) == ("made", "nothing")
        assert second["manifest"] == first["manifest"]
        store.put_readings([made_reading(recorded(store))])
        third = snapshot.refresh(events=True)
    assert third["did"] == "followed"
    for group, rows in (("facts", 1), ("events", 4)):
        assert third["manifest"][group]["base"] == first["manifest"][group]["base"]
        assert third["manifest"][group]["delta"]["rows"] == rows


def test_a_store_that_is_as_it_was_needs_no_copying_process(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change does: a recording, a reading, a tag, an erasure; and a recording that goes on, for its events."""
    with Store.open(sqlite_url, create=True) as store:
        made = recorded(store)
        snapshot = snapshot_of(sqlite_url)
        changes: list[Callable[[], object]] = [
            lambda: recorded(store),
            lambda: store.put_readings([made_reading(made, status="completed")]),
            lambda: store.tag(made.recording_id, "note", "a"),
            lambda: run(
                store.url,
                f"INSERT INTO erasures SELECT recording_id, 1, 'me', '' FROM recordings WHERE {it(store.url, made)}",
            ),
        ]
        for change in changes:
            kept(snapshot)
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/bin/false")
                kept(snapshot)
                change()
                with pytest.raises(StoreError, match="the copying process ended"):
                    kept(snapshot)
        begun = opened()
        store.append([Append(begun.recording_id, begun, rows_of(begun, 0, 2))])
        kept(snapshot)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        kept(snapshot, events=False)
        with pytest.raises(StoreError, match="the copying process ended"):
            kept(snapshot)


def test_a_change_that_was_stamped_long_ago_is_found_by_its_day(url: str, tmp_path: Path) -> None:
    """By a writer whose clock is slow, or whose transaction took long; and a row that is gone without a trace."""
    with Store.open(url, create=True) as store:
        made = [recorded(store, started_at=STARTED + number * DAY) for number in range(5)]
        snapshot = snapshot_of(url)
        kept(snapshot)
        run(url, f"UPDATE readings SET status = 'completed', changed_at = 1 WHERE {it(store.url, made[1])}")
        found = kept(snapshot)
        assert found == copied(url, tmp_path / "fresh")
        assert [row for row in found["readings"][1] if "completed" in row]
        run(url, f"DELETE FROM readings WHERE {it(store.url, made[2])}")
        assert len(kept(snapshot)["runs"][1]) == len(found["runs"][1]) - 1


def test_changes_that_make_up_for_each_other_are_found(url: str, tmp_path: Path) -> None:
    """Two recordings of two days change, and each gets the stamp that the other had: there are as many, of one sum."""
    with Store.open(url, create=True) as store:
        made = [recorded(store, started_at=STARTED + number * DAY) for number in range(3)]
        for one, stamp in zip(made, (10, 20), strict=False):
            run(url, f"UPDATE readings SET changed_at = {stamp} WHERE {it(store.url, one)}")
        snapshot = snapshot_of(url)
        kept(snapshot)
        for one, stamp in zip(made, (20, 10), strict=False):
            run(url, f"UPDATE readings SET changed_at = {stamp}, status = 'expired' WHERE {it(store.url, one)}")
        found = kept(snapshot)
        assert found == copied(url, tmp_path / "fresh")
        assert sum("expired" in row for row in found["readings"][1]) == 2


def test_what_an_erased_recording_was_is_in_no_file(url: str) -> None:
    """Not in the parts, which are written again, and none of the old ones is left."""
    secret = "hunter2-hunter2-hunter2"
    with Store.open(url, create=True) as store:
        made = [recorded(store) for _ in range(5)]
        store.put_readings([made_reading(one, status="completed", metadata={"key": secret}) for one in made[:1]])
        snapshot = snapshot_of(url)
        kept(snapshot)
        held = [path for path in snapshot.place.iterdir() if secret.encode() in path.read_bytes()]
        assert held, "the test knows how to look"
        recorded(store)
        kept(snapshot)
        now = time.time_ns() // 1000
        where = it(store.url, made[0])
        run(
            url,
            f"INSERT INTO erasures SELECT recording_id, {now}, 'me', 'test' FROM recordings WHERE {where}",
            f"UPDATE readings SET metadata = NULL, changed_at = {now} WHERE {where}",
        )
        kept(snapshot)
    assert not [path for path in snapshot.place.iterdir() if secret.encode() in path.read_bytes()]
    assert len(parts(snapshot.place)) == 3, "a base and an empty delta of the facts, a base of the events"


def test_another_store_in_the_same_place_is_not_taken_for_it(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    counts = []
    for number in (3, 1):
        with Store.open(sqlite_url, create=True) as store:
            for _ in range(number):
                recorded(store)
        counts.append(len(queries_of(sqlite_url)))
        for left in (path, *path.parent.glob("recorder.db-*")):
            left.unlink(missing_ok=True)
    assert counts == [3, 1]


def queries_of(url: str, **options: bool) -> list[tuple[Any, ...]]:
    with contextlib.closing(queries.connect(url, **options)) as connection:
        return connection.execute("SELECT * FROM recordings ORDER BY ALL").fetchall()


def test_without_a_refresh_the_last_one_counts(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
        assert len(queries_of(sqlite_url, refresh=False)) == 1, "there was none, so it is made"
        recorded(store)
        assert len(queries_of(sqlite_url, refresh=False)) == 1
        assert len(queries_of(sqlite_url)) == 2
        assert len(queries_of(sqlite_url, refresh=False)) == 2


def test_with_content_nothing_is_kept(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        store.put_readings([made_reading(recorded(store), text="what it said")])
    with contextlib.closing(queries.connect(sqlite_url, content=True)) as connection:
        assert connection.execute("SELECT text FROM readings").fetchall() == [("what it said",)]
    assert not place_of(sqlite_url).exists()


# -- the folder --------------------------------------------------------------------------------------------------------


def test_it_is_the_users_own(url: str) -> None:
    old = os.umask(0)
    try:
        with Store.open(url, create=True) as store:
            recorded(store)
        snapshot = snapshot_of(url)
        kept(snapshot)
    finally:
        os.umask(old)
    assert stat.S_IMODE(snapshot.place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in parts_of(snapshot.place)} == {0o600}
    assert (snapshot.place / ".gitignore").read_text() == "*\n"


def parts_of(place: Path) -> Iterator[Path]:
    yield from place.glob("*.duckdb")
    yield from place.glob("*.json")
    yield place / "lock"


def test_its_place_knows_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one = place_of("postgresql://me:***@db/one")
    assert one.parent == tmp_path / "recorder"
    assert one != place_of("postgresql://me:***@db/two")
    assert place_of("sqlite:////a/b.db") == Path("/a/b.db.facts")


@pytest.mark.parametrize("hindrance", ["a file", "a link", "open to others"])
def test_a_folder_that_is_not_ours_is_left_alone(sqlite_url: str, tmp_path: Path, hindrance: str) -> None:
    """The facts are copied to a private one, as where no folder can be made."""
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
    place = place_of(sqlite_url)
    other = tmp_path / "other"
    other.mkdir()
    if hindrance == "a file":
        place.write_text("mine")
    elif hindrance == "a link":
        place.symlink_to(other)
    else:
        place.mkdir()
        place.chmod(0o777)
    assert len(queries_of(sqlite_url)) == 1
    assert list(other.iterdir()) == []
    assert place.is_file() or list(place.iterdir()) == []


def test_sql_cannot_write_over_the_parts(sqlite_url: str) -> None:
    """DuckDB lets it write to the path of an attached file, even of one that is attached for reading only."""
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
    place = place_of(sqlite_url)
    with contextlib.closing(queries.connect(sqlite_url, events=True)) as connection:
        before = {path.name: path.read_bytes() for path in place.glob("*.duckdb")}
        paths = [path for (path,) in connection.execute("SELECT path FROM duckdb_databases()").fetchall() if path]
        assert paths
        allowed = connection.execute("SELECT unnest(current_setting('allowed_paths')::VARCHAR[])").fetchall()
        for path in {*paths, *(path for (path,) in allowed), *(str(place / name) for name in before)}:
            with pytest.raises(duckdb.Error):
                connection.execute(f"COPY (SELECT 1 AS a) TO '{path}' (FORMAT csv, USE_TMP_FILE false)")
        assert {path.name: path.read_bytes() for path in place.glob("*.duckdb")} == before
        assert connection.execute("SELECT count(*) FROM recordings").fetchall() == [(1,)]
    assert not list(place.glob("open-*"))


# -- damage ------------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def garble_unseen(path: Path) -> None:
    """As a failing disk does: neither size nor time tells."""
    before = path.stat()
    garble(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    path.unlink()
    path.mkdir()
    path.rmdir()


def foreign(path: Path) -> None:
    """Made by another version."""
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": "0"}))
    else:
        path.unlink()


@pytest.mark.parametrize("damage", each(3, [cut, empty, garble, garble_unseen, replace, foreign]))
def test_damage_is_noticed_and_made_good(sqlite_url: str, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Of each file there is: the manifest, a base, a delta, those of the events."""
    with Store.open(sqlite_url, create=True) as store:
        for _ in range(3):
            recorded(store)
        snapshot = snapshot_of(sqlite_url)
        kept(snapshot)
        recorded(store)
        kept(snapshot)
        expected = copied(sqlite_url, tmp_path / "fresh")
        names = ["manifest.json", *parts(snapshot.place)]
        assert len(names) == 5, "a base and a delta of each"
        whole = tmp_path / "whole"
        shutil.copytree(snapshot.place, whole)
        for name in each(5, names):
            shutil.rmtree(snapshot.place)
            shutil.copytree(whole, snapshot.place)
            damage(snapshot.place / name)
            assert kept(snapshot) == expected, name


@pytest.mark.parametrize("said", each(3, ["[]", "FACTS", '{"version": 1}', "null", "EVENTS", "7"]))
def test_a_manifest_that_says_nonsense_is_made_anew(sqlite_url: str, said: str) -> None:
    """JSON it is, and of the right version, but of another shape."""
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
    snapshot = snapshot_of(sqlite_url)
    expected = kept(snapshot)
    path = snapshot.place / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    shapes = {"FACTS": {**manifest, "facts": "x"}, "EVENTS": {"version": manifest["version"]}}
    path.write_text(json.dumps(shapes[said]) if said in shapes else said, encoding="utf-8")
    assert kept(snapshot) == expected


# -- several at once, and the end of one -------------------------------------------------------------------------------

_REFRESHER: Final = """
import sys
from tests.test_queries_snapshot import kept, snapshot_of
snapshot = snapshot_of(sys.argv[1], few=8)
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    found = kept(snapshot)
    print(len(found["recordings"][1]), len(found["endings"][1]), flush=True)
"""


@contextlib.contextmanager
def process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def test_several_refresh_and_read_while_another_writes(url: str, tmp_path: Path) -> None:
    """None of them fails, each sees whole moments that come one after the other, and the last sees all."""
    with Store.open(url, create=True) as store:
        for _ in range(3):
            recorded(store)
        with process(_REFRESHER, url, "6") as one, process(_REFRESHER, url, "6") as other:
            for _ in range(40):
                store.put_readings([made_reading(recorded(store), status="completed")])
            for refresher in (one, other):
                assert refresher.stdout is not None
                lines = refresher.stdout.read().split("\n")[:-1]
                assert len(lines) == 6
                assert lines == sorted(lines, key=lambda line: int(line.split()[0]))
                assert all(len(set(line.split())) == 1 for line in lines), "endings and recordings are of one moment"
                assert refresher.wait() == 0
    assert kept(snapshot_of(url, few=8)) == copied(url, tmp_path / "fresh")


@contextlib.contextmanager
def stuck() -> Iterator[int]:
    """An output that takes no more: who writes to it waits, and so does not end before it is killed."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(write, bytes(4096)):
                pass
        with contextlib.suppress(BlockingIOError):
            while os.write(write, b"x"):
                pass
        os.set_blocking(write, True)
        yield write
    finally:
        os.close(write)
        os.close(read)


def test_a_refresher_may_be_killed_at_any_time(sqlite_url: str, tmp_path: Path) -> None:
    """What was kept still counts, and nothing of the dead one stays. At the latest it dies telling what it did."""
    rng = random.Random(5)
    with stuck() as output, Store.open(sqlite_url, create=True) as store:
        for _ in range(3):
            recorded(store)
        snapshot = snapshot_of(sqlite_url, few=4)
        kept(snapshot)
        for number in range(examples(8, 60)):
            for _ in range(rng.randrange(1, 4)):
                recorded(store)
            # the copying process, without the one that waits for it
            job = json.dumps(snapshot._job(snapshot.place, tmp_path, events=number % 2 == 0)).encode()
            command = [sys.executable, "-P", copying.PROGRAM]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as child:
                assert child.stdin is not None
                child.stdin.write(job)
                child.stdin.close()
                with pytest.raises(subprocess.TimeoutExpired):
                    child.wait(rng.uniform(0.1, 0.5))
                child.send_signal(signal.SIGKILL)
            with contextlib.closing(snapshot.connection(events=False, refresh=False)) as connection:
                assert connection.execute("SELECT count(*) FROM endings").fetchall() >= [(3,)]
        assert kept(snapshot) == copied(sqlite_url, tmp_path / "fresh")
    manifest = json.loads((snapshot.place / "manifest.json").read_text())
    named = [
        part["file"]
        for group in (manifest["facts"], manifest["events"])
        for part in (group["base"], group["delta"])
        if part
    ]
    assert parts(snapshot.place) == sorted(named)


def test_whoever_cannot_have_the_lock_makes_a_copy_of_his_own(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
        snapshot = snapshot_of(sqlite_url)
        kept(snapshot)
        recorded(store)
        monkeypatch.setattr(kept_facts, "_PATIENCE", 0.0)
        with kept_facts._alone(snapshot.place):
            before = parts(snapshot.place)
            assert len(queries_of(sqlite_url)) == 2
            assert parts(snapshot.place) == before
