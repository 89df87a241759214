"""Programs that record make checkpoints beside it: in time, after many seals and at the end; together they have no gap,
and nothing that goes wrong with them reaches the program."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import recorder
from recorder import config
from recorder.errors import NotFound, StoreUnavailable, UsageError
from recorder.handle import checkpoints
from recorder.handle.checkpoints import Checkpoints
from recorder.store import Store
from recorder.verify import emitting as emitting_
from recorder.verify import parse, read_lines
from recorder.verify.emitting import Emitter, keep, make
from tests.needs import ROOT
from tests.verified import append, begin, fill, look

REQUEST = recorder.recording.Request("POST", "https://x.test/v1/chat/completions", (), b"{}", 2)
WAIT = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recorder.db"
    Store.open(path, create=True).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'both.db'}"
    found: str = request.getfixturevalue("postgres_database")
    return found


class Lines:
    """Takes lines; `wait` waits for so many."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._more = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._more:
            self.all.append(line)
            self._more.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.all) >= count, WAIT)
        return self.all


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What recorder itself said: asyncio, say, may complain of what another test left behind at any time."""
    return [record for record in caplog.records if record.name.partition(".")[0] == "recorder"]


def seal(path: Path | str, times: int = 1) -> list[object]:
    with Store.open(path) as store:
        return [append(store, REQUEST, b"data: 1\n\n") for _ in range(times)]


def made(path: Path, tell: object = None, **settings: object) -> Checkpoints:
    assert tell is None or callable(tell)
    return Checkpoints(lambda: Store.open(path), config.Settings(**settings), tell)  # type: ignore[arg-type]


# -- when --------------------------------------------------------------------------------------------------------------


def test_a_handle_appends_checkpoints_and_its_store_holds_against_them(path: Path, tmp_path: Path) -> None:
    """At the end, and of everything: the last exchange too."""
    file = tmp_path / "checkpoints"
    with recorder.open(path, checkpoint_file=file) as handle:
        for _ in range(3):
            tap = handle.sink.start(REQUEST)
            assert tap is not None
            tap.end("eof")
    (line,) = read_lines(file)
    assert line.count == 3
    assert file.stat().st_mode & 0o777 == 0o600
    with Store.open(path, readonly=True) as store:
        looked = look(store, lines=[line])
    assert (looked.codes, looked.summary.later) == (set(), 0)


def test_one_is_made_after_some_time_and_not_without_news(path: Path) -> None:
    lines = Lines()
    emitting = made(path, lines, checkpoint_every=0.05)
    emitting.add(seal(path))
    emitting.add(seal(path, 2))
    lines.wait(1)
    emitting.add([None])  # was logged already, or never was
    assert emitting.close(WAIT)
    counts = [parse(line).count for line in lines.all]
    assert counts == sorted(set(counts))
    assert counts[-1] == 3


def test_one_is_made_after_many_seals_however_short_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SEALS", 5)
    lines = Lines()
    emitting = made(path, lines)
    emitting.add(seal(path, 4))
    emitting.add(seal(path, 1))
    assert [parse(line).count for line in lines.wait(1)] == [5]
    assert emitting.close(WAIT)
    assert len(lines.all) == 1


def test_nobody_who_listens_no_checkpoint(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a file they go to a log; where that is switched off nothing is made, and nothing is written."""
    with caplog.at_level(logging.WARNING, "recorder.checkpoints"):
        emitting = made(path)
        emitting.add(seal(path))
        assert emitting.close(WAIT)
    with Store.open(path, readonly=True) as store:
        assert list(store.leaves()) == []
    with caplog.at_level(logging.INFO, "recorder.checkpoints"):
        emitting = made(path)
        emitting.add(seal(path))
        assert emitting.close(WAIT)
    (said,) = [record for record in caplog.records if record.name == "recorder.checkpoints"]
    assert parse(said.getMessage()).count == 2


@pytest.mark.parametrize("settings", [{"checkpoint_every": 0}, {"disabled": True}])
def test_never_is_never(path: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    emitting = made(path, checkpoint_file=str(tmp_path / "checkpoints"), **settings)
    emitting.add(seal(path))
    assert emitting.close(WAIT)
    assert not (tmp_path / "checkpoints").exists()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_what_fails_is_told_once_and_covered_by_the_next(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there yet; the program never hears of it."""
    monkeypatch.setattr(checkpoints, "_RETRY", 0.02)
    file = tmp_path / "later" / "checkpoints"
    emitting = made(path, checkpoint_file=str(file), checkpoint_every=0.02)
    emitting.add(seal(path))
    while not told(caplog):
        threading.Event().wait(0.01)
    emitting.add(seal(path))
    threading.Event().wait(0.1)
    file.parent.mkdir()
    assert emitting.close(WAIT)
    assert [line.count for line in read_lines(file)][-1] == 2
    (said,) = told(caplog)
    assert "recorder cannot keep checkpoints now: No such file or directory" in said.getMessage()


def test_a_store_that_is_away_is_no_failure_of_the_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    emitting = made(tmp_path / "none.db", checkpoint_file=str(tmp_path / "checkpoints"))
    emitting.add([None])
    assert emitting.close(WAIT)
    (said,) = told(caplog)
    assert "no store" in said.getMessage()


def test_a_listener_that_raises_is_told_of_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(line: str) -> None:
        raise ZeroDivisionError(line)

    emitting = made(path, fail)
    emitting.add(seal(path))
    assert emitting.close(WAIT)
    (said,) = told(caplog)
    assert said.exc_info is not None


def test_a_key_that_is_none_is_a_wrong_setting(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(NotFound, match="no key file"):
        recorder.open(path, checkpoint_key=str(tmp_path / "none"))
    with pytest.raises(UsageError, match="checkpoint_every"):
        recorder.open(path, checkpoint_every="often")


def test_signed_ones_are_taken_by_their_key(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key, file = tmp_path / "key", tmp_path / "checkpoints"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    emitting = made(path, checkpoint_file=str(file), checkpoint_key=str(key))
    emitting.add(seal(path))
    assert emitting.close(WAIT)
    assert [line.trusted for line in read_lines(file, key)] == [True]


# -- several -----------------------------------------------------------------------------------------------------------


def _record(url: str, file: str, times: int) -> None:
    settings = config.Settings(checkpoint_file=file, checkpoint_every=0.01)
    emitting = Checkpoints(lambda: Store.open(url), settings)
    with Store.open(url) as store:
        for _ in range(times):
            capture = begin(REQUEST)
            capture.end("eof", 10)
            from recorder.store import Append

            store.append([Append(capture.recording.recording_id, capture.recording, capture.take(), capture.ending)])
            emitting.add([None])
    assert emitting.close(WAIT)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests may still be ending
def test_several_processes_make_one_order_without_a_gap(url: str, tmp_path: Path) -> None:
    """Into one file: each line holds, and what the last of each covers is all that was sealed."""
    file = tmp_path / "checkpoints"
    Store.open(url, create=True).close()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_record, args=(url, str(file), 10)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    lines = read_lines(file)
    assert len(lines) >= 3
    assert max(line.count for line in lines) == 30
    with Store.open(url, readonly=True) as store:
        looked = look(store, lines=lines)
    assert looked.codes == set()
    assert looked.summary.later == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests may still be ending
def test_a_forked_child_makes_its_own(path: Path, tmp_path: Path) -> None:
    """By a thread of its own; the parent's goes on."""
    file = tmp_path / "checkpoints"
    emitting = made(path, checkpoint_file=str(file), checkpoint_every=600)
    emitting.add(seal(path))
    child = os.fork()
    if not child:
        code = 1
        try:
            emitting.after_fork()
            emitting.add(seal(path))
            code = 0 if emitting.close(WAIT) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [line.count for line in read_lines(file)] == [2]
    emitting.add(seal(path))
    assert emitting.close(WAIT)
    assert [line.count for line in read_lines(file)] == [2, 3]


def test_a_proxy_keeps_them_or_says_them(tmp_path: Path) -> None:
    """To a file where one is named, for a program under it too; else a proxy that stays says them on stderr."""
    file, store = tmp_path / "checkpoints", tmp_path / "recorder.db"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = "import os, urllib.request as u\ntry: u.urlopen(os.environ['OPENAI_BASE_URL'])\nexcept OSError: pass"
    command = [sys.executable, "-m", "recorder", "--store", str(store), "record", "--upstream", "http://127.0.0.1:9"]
    for more in (["--checkpoint-file", str(file)], []):
        done = subprocess.run(
            [*command, *more, "--", sys.executable, "-c", call],
            capture_output=True,
            env=environment,
            text=True,
            check=True,
        )
        assert "recorder-checkpoint/" not in done.stderr
    assert [line.count for line in read_lines(file)] == [1]


# -- the tree, and the file --------------------------------------------------------------------------------------------


def test_the_hundredth_is_that_of_all_leaves(url: str) -> None:
    """However the log grew in between, and in whose hands."""
    with Store.open(url, create=True) as store:
        emitter, other = Emitter(), Emitter()
        assert emitter.next(store) is not None
        fill(store, streams=False)
        for _ in range(4):
            append(store, REQUEST, b"data: 1\n\n")
            found = [each.next(store) for each in (emitter, other)]
            fresh = make(store)
            assert [(each.count, each.root, each.store) for each in found if each] == [
                (fresh.count, fresh.root, fresh.store)
            ] * 2
            assert emitter.next(store) is None


def test_another_store_in_its_place_is_read_anew(tmp_path: Path) -> None:
    emitter = Emitter()
    found = []
    for name in ("a.db", "b.db"):
        with Store.open(tmp_path / name, create=True) as store:
            for _ in range(3):
                append(store, REQUEST, b"data: 1\n\n")
            found.append(emitter.next(store))
            fresh = make(store)
            assert found[-1] is not None
            assert (found[-1].root, found[-1].store) == (fresh.root, fresh.store)


def test_a_file_that_somebody_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(emitting_, "_PATIENCE", 0.03)
    file = tmp_path / "checkpoints"
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="is locked by another program"):
            keep(file, "line")
    keep(file, "line")
    assert file.read_text(encoding="ascii") == "line\n"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoints"
    keep(file, "first")
    written = os.write

    def fail(descriptor: int, data: bytes) -> int:
        if not os.path.samestat(os.fstat(descriptor), file.stat()):  # somebody else's
            return written(descriptor, data)
        if len(data) < 6:
            raise OSError(28, "No space left on device")
        return written(descriptor, data[:3])

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space"):
        keep(file, "second")
    assert file.read_text(encoding="ascii") == "first\n"


def test_a_line_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    """On a disk that is full no half of a line stays, which would make the whole file unreadable."""
    file = tmp_path / "checkpoints"
    keep(file, "first")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom recorder.verify.emitting import keep\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        f"try: keep(Path({json.dumps(str(file))}), 'second')\nexcept OSError: sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 7
    assert file.read_text(encoding="ascii") == "first\n"


def test_a_line_does_not_run_on_from_one_that_a_crash_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints"
    file.write_text("recorder-checkpoint/1 store=", encoding="ascii")
    keep(file, "second")
    assert file.read_text(encoding="ascii") == "recorder-checkpoint/1 store=\nsecond\n"


@pytest.mark.parametrize(("name", "why"), [("no/such", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_is_told_of_at_the_start(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    with caplog.at_level(logging.WARNING, "recorder"):
        made(path, checkpoint_file=str(tmp_path / name))
        made(path, checkpoint_file=str(tmp_path / "fine"))
        made(path, checkpoint_file=str(tmp_path / name), disabled=True)
    (said,) = [each.getMessage() for each in told(caplog)]
    assert said.startswith(f"recorder cannot keep checkpoints now: {why}")
    assert not (tmp_path / "fine").exists()
