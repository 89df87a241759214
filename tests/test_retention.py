"""What is old or too much goes, in small steps beside whoever writes; what must stay stays."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import recorder
from recorder import queries, retention
from recorder.errors import StoreUnavailable, UsageError
from recorder.recording import Head, Recording, Request, uuid7
from recorder.retention import Keeper, Rules, Wanted, prune
from recorder.store import Append, RunFilter, Store
from recorder.store.postgresql import PostgreSQL
from recorder.writer import Options, Writer
from recorder.writer.space import FULL_DISK
from tests.erased import RUN, THREAD, Canaries, fill, in_files, run_answer
from tests.kept import keep
from tests.needs import examples
from tests.rows import opened
from tests.tape import JSON, post
from tests.verified import look

DAY = 86_400_000_000
NOW = 1_790_000_000_000_000
#: Seconds that any wait may last before the test is called broken: no measure of speed.
LIMIT = 30.0


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A new store of each kind."""
    with Store.open(url, create=True) as made:
        yield made


def chat(store: Store, days: float, text: str = "hello", **fields: object) -> Recording:
    """A run that began so many days ago."""
    asked = post("/v1/chat/completions", model="gpt-4o", messages=[{"role": "user", "content": text}])
    answer = (
        b'{"id": "chatcmpl-%d", "object": "chat.completion", "model": "gpt-4o", "choices": [{"index": 0, "message": '
        b'{"role": "assistant", "content": "Good day"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, '
        b'"completion_tokens": 2, "total_tokens": 5}}' % uuid7().int
    )
    return keep(store, asked, answer, headers=JSON, started_at=NOW - int(days * DAY), **fields)


def ids(*made: Recording) -> set[UUID]:
    return {each.recording_id for each in made}


def go(store: Store, wanted: Wanted, *, dry: bool = False) -> retention.Pruned:
    return prune(store, wanted, by="cron", reason="old", dry=dry)


# -- what goes ---------------------------------------------------------------------------------------------------------


def test_content_goes_and_what_it_cost_stays(store: Store) -> None:
    old, new = chat(store, 40, tags={"app": "search"}), chat(store, 1)
    before = store.run(old.recording_id)
    pruned = go(store, Wanted(until=NOW - 30 * DAY))
    assert (pruned.runs, pruned.recordings, pruned.events) == (1, 1, 2)
    after = store.run(old.recording_id)
    assert (after.total_tokens, after.status, after.ttft_us, after.tags) == (
        before.total_tokens,
        before.status,
        before.ttft_us,
        {"app": "search"},
    )
    assert store.recording(old.recording_id).request.body is None
    assert store.recording(new.recording_id).request.body is not None
    assert {each.recording_id: each.verdict for each in look(store).checked} == {
        old.recording_id: "erased",
        new.recording_id: "intact",
    }


def test_whole_recordings_go_but_for_the_note_that_they_did(store: Store) -> None:
    old, new = chat(store, 40), chat(store, 1)
    assert go(store, Wanted(until=NOW - 30 * DAY, whole=True)).recordings == 1
    assert store.recording_ids() == [new.recording_id]
    looked = look(store)
    assert (looked.codes, looked.summary.pruned) == (set(), 1)
    assert store.erasures([old.recording_id])[old.recording_id][0].erased_by == "cron"


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store) -> None:
    chat(store, 40), chat(store, 50), chat(store, 1)
    wanted = Wanted(until=NOW - 30 * DAY, whole=True)
    told = go(store, wanted, dry=True)
    assert len(store.recording_ids()) == 3
    assert look(store).codes == set()
    done = go(store, wanted)
    assert (told.runs, told.recordings, told.events, told.bytes) == (
        done.runs,
        done.recordings,
        done.events,
        done.bytes,
    )
    assert go(store, wanted).recordings == 0


def test_a_run_is_as_old_as_its_latest_recording_and_goes_as_one(store: Store) -> None:
    base, canary = f"/v1/threads/{THREAD}/runs", Canaries()
    waits, ends = run_answer(canary, "requires_action", "x"), run_answer(canary, "completed", "y")
    opener = keep(
        store, post(base, assistant_id="asst_shared", stream=True), waits, started_at=NOW - 30 * DAY - 60_000_000
    )
    outputs = post(f"{base}/{RUN}/submit_tool_outputs", tool_outputs=[], stream=True)
    later = keep(store, outputs, ends, started_at=NOW - 30 * DAY + 60_000_000)
    assert store.run_of(later.recording_id) == opener.recording_id
    assert go(store, Wanted(until=NOW - 30 * DAY, whole=True)).recordings == 0
    assert go(store, Wanted(until=NOW - 28 * DAY, whole=True)).recordings == 2


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_open_or_on_hold_stays(store: Store, *, whole: bool) -> None:
    held, other = chat(store, 40), chat(store, 40)
    released = chat(store, 40)
    going = opened(started_at=NOW - 40 * DAY)
    store.append([Append(going.recording_id, going)])
    store.tag(held.recording_id, "hold", "")
    store.tag(released.recording_id, "hold", "x")
    store.tag(released.recording_id, "hold", None)
    pruned = go(store, Wanted(whole=whole))
    assert (pruned.recordings, pruned.left.held, pruned.left.open) == (2, 1, 1)
    stays = {each.recording_id for each in look(store).checked if each.verdict in ("intact", "unfinished")}
    assert stays == ids(held, going)
    assert other.recording_id not in stays


def test_a_hold_set_while_it_is_pruned_counts(store: Store) -> None:
    """What was chosen before is looked at again in the transaction that takes it."""
    held = chat(store, 40)
    store.tag(held.recording_id, "hold", "case 17")
    assert store.remove([held.recording_id], "me", "r") == []
    assert look(store).verdict(held.recording_id) == "intact"


def test_filters_say_which_runs(store: Store) -> None:
    mine, other = chat(store, 5, tags={"app": "a"}), chat(store, 5, tags={"app": "b"})
    lone = keep(store, post("/v1/threads/t1/messages", role="user", content="x"), b"{}", headers=JSON, started_at=NOW)
    assert go(store, Wanted(whole=True, only=RunFilter(tags={"app": "a"}))).recordings == 1
    assert set(store.recording_ids()) == ids(other, lone)
    assert go(store, Wanted(whole=True, only=RunFilter(thread_id="t1"))).recordings == 1
    assert set(store.recording_ids()) == ids(other)
    assert mine.recording_id in store.erasures([mine.recording_id])


def test_many_of_one_moment_are_all_found_by_a_filter(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.retention.choosing.PAGE", 3)
    with Store.open(sqlite_url, create=True) as store:
        for number in range(11):
            chat(store, 5 if number < 8 else 6)
        assert go(store, Wanted(whole=True, only=RunFilter(model="gpt-4o"))).recordings == 11


def test_a_size_takes_the_oldest_and_no_more_than_it_has_to(store: Store) -> None:
    made = [chat(store, 40 - number, os.urandom(50_000).hex()) for number in range(24)]
    size = store.size()
    pruned = go(store, Wanted(whole=True, size=size * 3 // 4))
    assert store.size() <= size * 3 // 4
    left = store.recording_ids()
    assert left == [each.recording_id for each in made[-len(left) :]], "others than the oldest went"
    assert len(left) >= 15
    assert pruned.size == store.size()


def test_content_that_went_no_longer_counts(store: Store) -> None:
    chat(store, 40, os.urandom(50_000).hex())
    before = store.size()
    go(store, Wanted())
    assert store.size() < before - 50_000


def test_postgresql_is_not_counted_again_after_each_of_many_transactions(
    new_schema: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That goes through every recording there is. What the last one says was counted."""
    monkeypatch.setattr("recorder.retention.pruning.MOST", 1)
    with Store.open(new_schema(), create=True) as store:
        for number in range(12):
            chat(store, 40 - number)
        counted: list[int] = []
        size = PostgreSQL.size

        def count(backend: PostgreSQL) -> int:
            counted.append(size(backend))
            return counted[-1]

        monkeypatch.setattr(PostgreSQL, "size", count)
        pruned = go(store, Wanted(whole=True, size=store.size() // 3))
        assert pruned.recordings == 8
        assert pruned.size == counted[-1] == store.size()
        assert len(counted) == 4


def test_a_run_that_goes_in_several_transactions_is_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.retention.pruning.MOST", 1)
    fill(store)
    runs = len({store.run_of(each) for each in store.recording_ids()})
    assert go(store, Wanted(), dry=True).runs == runs
    assert go(store, Wanted()).runs == runs < len(store.recording_ids())


def test_facts_kept_for_questions_follow(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        chat(store, 40), chat(store, 1)
        for wanted, left in ((Wanted(until=NOW - 30 * DAY), 2), (Wanted(until=NOW - 30 * DAY, whole=True), 1)):
            with closing(queries.connect(sqlite_url)) as connection:
                assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]
            go(store, wanted)
            with closing(queries.connect(sqlite_url)) as connection:
                assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(left,)]


def test_facts_kept_for_questions_hold_nothing_of_what_a_program_pruned(sqlite_url: str, tmp_path: Path) -> None:
    """They are files of the store: what went by age is not to be found there, whether or not anybody asks again."""
    with Store.open(sqlite_url, create=True) as store:
        filled = fill(store)
        queries.connect(sqlite_url).close()
        assert in_files(tmp_path / "recorder.db.facts", filled.canaries)
        keeper = Keeper(lambda: store, Rules(whole=60), forget=queries.forget)
        keeper.look(store)
        assert store.recording_ids() == []
        assert in_files(tmp_path / "recorder.db.facts", filled.canaries) == {}


# -- beside writers ----------------------------------------------------------------------------------------------------


def _write(url: str, seconds: float) -> str:
    """Record for so long; how many were begun, how many are durable, the gaps, whether all is, what was logged."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logging.getLogger("recorder").addHandler(Ear())
    writer = Writer(lambda: Store.open(url, create=True))
    until, made = time.monotonic() + seconds, 0
    while not made or time.monotonic() < until:
        stream(writer, b"{}")
        made += 1
        time.sleep(0.01)
    whole = writer.close(60)
    return json.dumps([made, writer.stats.recordings, writer.stats.gaps, whole, heard])


def _forked(url: str, seconds: float) -> tuple[int, int]:
    """A process that writes: its id, and where its figures can be read."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, _write(url, seconds).encode())
        finally:
            os._exit(0)
    os.close(write)
    return child, read


def test_four_writers_beside_it_lose_nothing_and_are_never_told_to_wait(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        for _ in range(30):
            chat(store, 40, "text " * 500)
    writers = [_forked(sqlite_url, examples(1, 60)) for _ in range(4)]
    running = {child for child, _ in writers}
    with Store.open(sqlite_url) as store:
        while running:
            go(store, Wanted(until=NOW - 30 * DAY, whole=True))
            go(store, Wanted(whole=True, size=1))
            running -= {child for child in running if os.waitpid(child, os.WNOHANG)[0]}
            time.sleep(0.02)
        for _, read in writers:
            with os.fdopen(read, "rb") as figures:
                made, stored, gaps, whole, heard = json.load(figures)
            assert (made, gaps, whole, heard) == (stored, 0, True, [])
            assert made > 0
        assert look(store).codes == set()


# -- beside one's own writer -------------------------------------------------------------------------------------------


def stream(sink: Writer, body: bytes) -> None:
    """One recording through a writer."""
    tap = sink.start(Request("POST", "https://api.openai.com/v1/chat/completions", body=body, body_size=len(body)))
    tap.head(Head(200, headers=(("content-type", "text/event-stream"),)))
    tap.data(b"data: [DONE]\n\n")
    tap.end("eof")


def test_max_size_bounds_the_file_while_it_is_written(tmp_path: Path) -> None:
    """The log beside it comes on top: some MiB, as much as comes in while others read.

    The keeper gets the time that it needs: what comes in faster than it can prune is not what is looked at here.
    """
    limit, path, sizes = 4 << 20, tmp_path / "recorder.db", []
    with Store.open(path, create=True) as beside, recorder.open(path, max_size="4MiB") as handle:
        for number in range(examples(150, 2000)):
            stream(handle._writer, os.urandom(100_000))
            if number % 5 == 0:
                assert handle.flush(LIMIT)
                eventually(lambda: beside.size() <= limit)
                sizes.append((path.stat().st_size, path.with_name("recorder.db-wal").stat().st_size))
        assert handle.close(LIMIT)
    with Store.open(path) as store:
        assert store.size() <= limit
        assert len(store.recording_ids()) > 10
        assert look(store).codes == set()
    file, log = (max(size) for size in zip(*sizes, strict=True))
    assert max(file, path.stat().st_size) <= limit * 5 // 4
    assert log <= 64 << 20


def test_keep_takes_content_and_then_everything(tmp_path: Path) -> None:
    path = tmp_path / "recorder.db"
    now = time.time_ns() // 1000
    with Store.open(path, create=True) as store:
        ancient, old, young = (
            keep(store, post("/v1/x", a=1), b"{}", headers=JSON, started_at=now - days * DAY) for days in (400, 40, 1)
        )
    with recorder.open(path, keep="30d, 365d whole") as handle:
        stream(handle._writer, b"{}")
        assert handle.flush(LIMIT)
        eventually(lambda: len(handle.recordings()) == 3)
        assert handle._keeper.close(LIMIT)
    with Store.open(path) as store:
        assert ancient.recording_id not in store.recording_ids()
        verdicts = {each.recording_id: each.verdict for each in look(store).checked}
        assert (verdicts[old.recording_id], verdicts[young.recording_id]) == ("erased", "intact")


def test_without_a_rule_nothing_is_deleted_and_no_thread_begins(tmp_path: Path) -> None:
    with recorder.open(tmp_path / "recorder.db") as handle:
        stream(handle._writer, b"{}")
        assert handle.flush(LIMIT)
        assert handle._keeper._thread is None
        assert handle._keeper.rules == Rules()


@pytest.mark.parametrize("rules", [{}, {"max_size": "1GiB"}, {"keep": "30d"}])
def test_a_large_store_without_rules_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any]
) -> None:
    monkeypatch.setattr("recorder.writer.thread.LARGE", 1)
    monkeypatch.setattr("recorder.writer.space._HOLDS", 0.0)
    with caplog.at_level(logging.WARNING, "recorder"), recorder.open(tmp_path / "recorder.db", **rules) as handle:
        for _ in range(3):
            stream(handle._writer, b"{}")
            assert handle.flush(LIMIT)
    told = [each for each in caplog.records if "nothing is deleted unless" in each.getMessage()]
    assert len(told) == (0 if rules else 1)


@pytest.mark.parametrize(
    "rule", ["30", "d", "30d, 40d", "0d", "30d all", "-1d", "30d,", "30days whole", "60d, 30d whole", "30d whole, 30d"]
)
def test_a_rule_that_says_nothing_is_refused(tmp_path: Path, rule: str) -> None:
    with pytest.raises(UsageError, match="'keep' is wrong: it must be an age"):
        recorder.open(tmp_path / "recorder.db", keep=rule)


def failing(writer: Writer) -> str | None:
    return writer.stats.failing


def is_low(writer: Writer) -> bool:
    return writer._floor.low


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


# -- no room -----------------------------------------------------------------------------------------------------------


def test_below_the_floor_recording_stops_and_says_so_and_goes_on_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged stays, streams pass by whole, each end says why it is not."""
    path = tmp_path / "recorder.db"
    writer = Writer(lambda: Store.open(path, create=True), Options(min_free=1))
    stream(writer, b'{"n": 1}')
    assert writer.flush(LIMIT)
    tap = writer.start(Request("POST", "https://api.openai.com/v1/chat/completions", body=b"{}", body_size=2))
    tap.head(Head(200))
    tap.data(b"data: 1\n\n")
    assert writer.flush(LIMIT)
    acknowledged = tap.durable
    writer._floor._least = 1 << 62
    with caplog.at_level(logging.WARNING, "recorder"):
        eventually(lambda: is_low(writer) and tap._cut is not None)
        tap.data(b"data: 2\n\n")
        tap.end("eof")
        stream(writer, b'{"n": 2}')
        assert writer.flush(LIMIT)
        writer._floor._least = 1
        until = time.monotonic() + LIMIT
        while is_low(writer) and time.monotonic() < until:
            stream(writer, b'{"n": 3}')
            time.sleep(0.05)
        stream(writer, b'{"n": 4}')
        assert writer.close(LIMIT)
    assert [each.getMessage().split(":")[0] for each in caplog.records][:1] == ["recorder stops recording"]
    assert len([each for each in caplog.records if "stops recording" in each.getMessage()]) == 1
    with Store.open(path) as store:
        assert look(store).codes == set()
        ends = {each: store.recording(each).ending for each in store.recording_ids()}
        cut = ends[tap.recording_id]
        assert cut is not None
        assert (cut.captured, cut.detail["reason"]) == ("truncated", FULL_DISK)
        assert len(list(store.events(tap.recording_id))) > acknowledged
        marked = [each for each in ends.values() if each is not None and each.captured == "truncated"]
        assert len(marked) == writer.stats.gaps >= 2
        last = store.recording(max(ends))
        assert (last.request.body, last.ending and last.ending.captured) == (b'{"n": 4}', "full")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_streams_go_on_and_nothing_acknowledged_is_lost(tiny: Path) -> None:
    """Fault row 4: SQLITE_FULL in the middle of it; with room again it is written again at once."""
    path = tiny / "recorder.db"
    writer = Writer(lambda: Store.open(path, create=True), Options(min_free=0, queue_bytes=1 << 20))
    taps = []
    for number in range(60):
        body = b'{"number": %d, "text": "%s"}' % (number, os.urandom(60_000).hex().encode())
        tap = writer.start(
            Request("POST", "https://api.openai.com/v1/chat/completions", body=body, body_size=len(body))
        )
        tap.head(Head(200))
        tap.data(b"data: [DONE]\n\n")
        tap.end("eof")
        taps.append(tap)
        if number % 4 == 0 and failing(writer) is None:
            # Never more than the queue holds: all of it gets as far as the disk, and that is too small.
            eventually(lambda: writer.flush(0.2) or failing(writer) is not None)
    acknowledged = {tap.recording_id: tap.durable for tap in taps if tap.durable >= 0}
    assert failing(writer) is not None, "the disk was never full"
    assert acknowledged
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny)], check=True)
    assert writer.flush(60)
    assert failing(writer) is None
    assert writer.close(60)
    with Store.open(path) as store:
        assert look(store).codes == set()
        for recording_id, position in acknowledged.items():
            assert len(list(store.events(recording_id))) > position


def test_erasing_needs_no_more_of_a_full_disk_than_its_log(tiny: Path) -> None:
    """What fails for want of room leaves everything as it was, and works once there is some."""
    path = tiny / "recorder.db"
    with Store.open(path, create=True) as store:
        fill(store)
        (tiny / "ballast").write_bytes(b"x" * ((4 << 20) - _used(tiny) - 8192))
        try:
            go(store, Wanted())
        except StoreUnavailable:
            assert look(store).codes == set()
        (tiny / "ballast").unlink()
        assert go(store, Wanted(whole=True)).recordings > 0
        assert look(store).codes == set()


def _used(folder: Path) -> int:
    return sum(-(-each.stat().st_size // 4096) * 4096 for each in folder.rglob("*") if each.is_file())
