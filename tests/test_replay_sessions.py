"""Sessions that processes share: no repeat is handed out twice while anybody takes part; afterwards all are again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from recorder.errors import UsageError
from recorder.match import Claims
from recorder.recording import uuid7
from recorder.replay import sessions
from recorder.replay.sessions import SharedClaims, claims_of
from tests.needs import ROOT

KEY = b"k" * 32
THREE = [UUID(int=number) for number in (1, 2, 3)]

#: Claims so many times and prints what it got; ends when its stdin does.
CLAIMER = """
import sys
from uuid import UUID
from recorder.replay.sessions import claims_of
claims = claims_of("sqlite:////store", "s")
candidates = [UUID(int=number) for number in range(1, int(sys.argv[1]) + 1)]
for _ in range(int(sys.argv[2])):
    print(claims.claim(b"k" * 32, candidates, sys.argv[3]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side files and signs of life of this test lie in its own folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sessions, "_presence", sessions._Presence())
    monkeypatch.setattr(sessions, "_known", {})


class Claimer:
    """Another process that claims."""

    def __init__(self, folder: Path, candidates: int, times: int, repeat: str = "error") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(candidates), str(times), repeat],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
        )

    def got(self, times: int) -> list[str]:
        """What it was given."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().strip() for _ in range(times)]

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Claimer]]:
    """Starts processes that claim in this test's session."""
    started: list[Claimer] = []

    def begin(candidates: int, times: int, repeat: str = "error") -> Claimer:
        started.append(Claimer(tmp_path, candidates, times, repeat))
        return started[-1]

    yield begin
    for each in started:
        each.end(kill=True)


def session() -> SharedClaims:
    """This process's side of that session."""
    claims = claims_of("sqlite:////store", "s")
    assert isinstance(claims, SharedClaims)
    return claims


def side_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.session"))


def names(*numbers: int) -> list[str]:
    return [str(UUID(int=number)) for number in numbers]


def test_processes_share_what_is_left(tmp_path: Path, start: Callable[..., Claimer]) -> None:
    """In recorded order, whoever asks; then nothing is left for anybody."""
    mine = session()
    assert mine.claim(KEY, THREE) == THREE[0]
    assert start(3, 1).got(1) == names(2)
    assert mine.next(KEY, THREE) == THREE[2]
    assert mine.claim(KEY, THREE) == THREE[2]
    assert start(3, 2).got(2) == ["None", "None"]
    assert mine.claim(KEY, THREE, "last") == THREE[2]
    assert mine.claim(b"other" + KEY[5:], THREE) == THREE[0]


def test_processes_at_once_never_get_the_same(start: Callable[..., Claimer]) -> None:
    workers = [start(200, 60) for _ in range(3)]
    got = Counter(name for worker in workers for name in worker.got(60))
    assert set(got.values()) == {1}
    assert set(got) == set(names(*range(1, 181)))


@pytest.mark.parametrize("kill", [False, True])
def test_a_session_ends_with_the_last_that_takes_part(start: Callable[..., Claimer], kill: bool) -> None:
    """Also where they were killed: the next run gets the same answers as this one."""
    for _ in range(2):
        first = start(3, 1)
        assert first.got(1) == names(1)
        second = start(3, 1)
        assert second.got(1) == names(2)
        first.end(kill=kill)
        third = start(3, 1)
        assert third.got(1) == names(3)
        second.end(kill=kill)
        third.end(kill=kill)


def test_nothing_is_left_behind(tmp_path: Path, start: Callable[..., Claimer]) -> None:
    """By processes that end as they should."""
    workers = [start(3, 1) for _ in range(2)]
    for worker in workers:
        worker.got(1)
    assert side_files(tmp_path)
    for worker in workers:
        worker.end()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_cycles_begin_again_for_all(tmp_path: Path, start: Callable[..., Claimer]) -> None:
    mine = session()
    assert [mine.claim(KEY, THREE, "cycle") for _ in range(2)] == THREE[:2]
    assert start(3, 3, "cycle").got(3) == names(3, 1, 2)
    assert mine.claim(KEY, THREE, "cycle") == THREE[2]


def test_a_cycle_begins_again_once_all_have_answered(start: Callable[..., Claimer]) -> None:
    """Also for a process that comes later, and for this key alone."""
    mine = session()
    assert mine.claim(b"o" * 32, THREE, "cycle") == THREE[0]
    assert [mine.claim(KEY, THREE, "cycle") for _ in range(5)] == [*THREE, *THREE[:2]]
    assert start(3, 2, "cycle").got(2) == names(3, 1)
    assert mine.next(KEY, THREE, "cycle") == THREE[1]
    assert mine.next(b"o" * 32, THREE, "cycle") == THREE[1]


def test_a_process_that_claimed_nothing_ends_quietly(tmp_path: Path) -> None:
    """Its sessions with a store in memory have no files, and one that it never used is not its own to end."""
    program = (
        "from recorder.replay.sessions import claims_of\nclaims_of('sqlite:///:memory:', 's').claim(b'k' * 32, [])\n"
    )
    for more in ("", "claims_of('sqlite:////store', 's').claim(b'k' * 32, [])\n"):
        done = subprocess.run(
            [sys.executable, "-c", program + more],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_reset_is_for_all(tmp_path: Path, start: Callable[..., Claimer]) -> None:
    mine = session()
    assert mine.claim(KEY, THREE) == THREE[0]
    mine.reset()
    assert start(3, 1).got(1) == names(1)
    assert mine.claim(KEY, THREE) == THREE[1]


def test_a_side_file_may_be_lost_or_torn(tmp_path: Path) -> None:
    """Removed, the session begins again; half a record at its end is none."""
    mine = session()
    assert [mine.claim(KEY, THREE) for _ in range(2)] == THREE[:2]
    (path,) = side_files(tmp_path)
    with path.open("ab") as file:
        file.write(b"c" + KEY[:9])
    assert mine.claim(KEY, THREE) == THREE[2]
    path.unlink()
    assert mine.claim(KEY, THREE) == THREE[0]


def test_threads_of_one_process_share_too(tmp_path: Path) -> None:
    candidates = [uuid7() for _ in range(64)]
    claims = session()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: claims.claim(KEY, candidates), range(64)))
    assert sorted(filter(None, got)) == sorted(candidates)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests may still be ending
def test_a_forked_child_takes_part_on_its_own(tmp_path: Path) -> None:
    """It shares what is left, and its end does not end the session."""
    mine = session()
    assert mine.claim(KEY, THREE) == THREE[0]
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if mine.claim(KEY, THREE) == THREE[1] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine.claim(KEY, THREE) == THREE[2]


def test_one_name_is_one_session_of_a_store(tmp_path: Path) -> None:
    """Whatever is in it; and a store in memory has none that others could share."""
    odd = "../../\ud800 name" * 99
    assert claims_of("sqlite:////a", odd) is claims_of("sqlite:////a", odd)
    assert claims_of("sqlite:////a", odd) is not claims_of("sqlite:////b", odd)
    assert claims_of("sqlite:////a", odd).claim(KEY, THREE) == THREE[0]
    assert [path.parent for path in tmp_path.rglob("*.session")] == [tmp_path / f"recorder-sessions-{os.getuid()}"]
    assert type(claims_of("sqlite:///:memory:", "a")) is Claims


def test_side_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    claims_of("sqlite:////a", "s").claim(KEY, THREE)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"recorder-sessions-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is somebody else's: set TMPDIR"):
        claims_of("sqlite:////a", "s")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="sessions cannot be shared: Not a directory; set TMPDIR"):
        claims_of("sqlite:////a", "s")


def test_a_lock_that_is_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_PATIENCE", 0.05)
    mine = session()
    done = threading.Event()
    with mine._opened():
        other = SharedClaims(mine._path)

        def ask() -> None:
            with pytest.raises(UsageError, match="is locked for too long"):
                sessions._open_locked(other._path)
            done.set()

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
    assert done.is_set()
