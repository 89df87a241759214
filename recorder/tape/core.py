"""Tape: one recording file in use. It takes the calls of clients, answers or records them, and gives account at last.

The file is read when the tape starts and written when it finishes, and only then: a test that fails, and one that
recorded nothing, leave it as it was. Nothing here knows pytest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import urlsplit

from recorder import config, match, redact
from recorder.errors import RecorderError, UsageError
from recorder.recording import Transport
from recorder.tape import account, files, guard
from recorder.tape.deck import Deck, Track
from recorder.tape.options import KNOWN_HOSTS, Options, age
from recorder.tape.player import Ledger, Played, TapePlayer
from recorder.tape.runs import Exchange, TapeRun, runs_of
from recorder.transport.hosts import Hosts
from recorder.transport.sdks import KEYS, NO_KEY, VARIABLES, absent_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recorder.handle import Handle, Replay
    from recorder.proxy import Routes
    from recorder.recording import Recording
    from recorder.replay_server import Faults
    from recorder.tape.serving import Serving

__all__ = ["Finished", "Tape", "TapeError", "TapeWarning"]

_C = TypeVar("_C")

#: Seconds that recordings are waited for when a tape is asked for its runs, or stops.
_PATIENCE: Final = 20.0


class TapeError(RecorderError, AssertionError):
    """What a test did is not what its tape says: a request missed, or recordings were left over."""


class TapeWarning(UserWarning):
    """Something about a tape that does not fail the test."""


@dataclass(slots=True)
class Finished:
    """What came of a tape. `wrote`: its file was made, replaced or removed; `changes` says what is different in it.

    `warnings` are what does not fail the test.
    """

    wrote: bool = False
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Tape:
    """A recording file and the clients whose calls it takes; a context manager, once.

    path: the file, which need not exist. again: how to record anew, for messages. deck: recordings that stand for the
    file's, which is then not read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: Options | None = None,
        *,
        again: str | None = None,
        deck: Deck | None = None,
    ) -> None:
        self.path = Path(path)
        self.options = _only_replayed(options or Options())
        self.ledger = Ledger()
        self._claims = match.Claims()
        self._how = again
        self._given = deck
        self._deck = deck or Deck()
        self._state = "new"
        self._taking = contextlib.ExitStack()
        self._folder: str | None = None
        self._handle: Handle | None = None
        self._replay: Replay | None = None
        self._serving: Serving | None = None
        self._faults_made: Faults | None = None
        self._kept: list[Track] = []
        self._runs_of: tuple[int, list[TapeRun]] = (0, [])

    @property
    def _shown(self) -> str:
        """The path as a person would type it."""
        with contextlib.suppress(ValueError, OSError):
            return str(self.path.absolute().relative_to(Path.cwd()))
        return str(self.path)

    @property
    def _again(self) -> str:
        """How to record anew."""
        if self.options.fault:
            return (
                "a test with a fault is only replayed: record it without, or name another test's recording with file="
            )
        return self._how or f"recorder.replaying({self._shown!r}, mode='record')"

    def _where(self) -> str:
        """How a miss ends."""
        what = "the tape" if len(self._deck) else "there is no tape"
        return f" ({what} {self._shown}; record it: {self._again})"

    # -- what a test asks ----------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """replay, once, record, new or live."""
        return self.options.mode

    @property
    def is_replaying(self) -> bool:
        """Whether answers come from the file. In mode `new` they do where the file has them."""
        return self._replay is not None

    @property
    def is_recording(self) -> bool:
        """Whether what the network answers goes into the file, once the test has passed."""
        return self._handle is not None and self.mode != "live"

    @property
    def runs(self) -> list[TapeRun]:
        """The runs of this test so far, in the order in which they began."""
        if self._handle is None:
            played = len(self.ledger.played)
            if self._runs_of[0] != played:
                self._runs_of = played, runs_of(self._played())
            return list(self._runs_of[1])
        made = [Exchange(*track) for track in self._made()]
        return runs_of(sorted([*self._played(), *made], key=lambda one: one.recording.started_at))

    @property
    def run(self) -> TapeRun:
        """The run of this test, which has exactly one. Raises TapeError."""
        runs = self.runs
        if len(runs) != 1:
            raise TapeError(f"the test made {len(runs)} runs so far, not one; look at tape.runs")
        return runs[0]

    @property
    def recorded(self) -> list[TapeRun]:
        """The runs in the file as it was when the tape started, whether or not they were asked for."""
        return runs_of(Exchange(*track) for track in self._deck.tracks.values())

    def _played(self) -> list[Exchange]:
        """What was answered from the file, each with the request as it was made this time."""
        return [_exchange(one, self._deck) for one in list(self.ledger.played)]

    def _made(self) -> list[Track]:
        """What was recorded so far."""
        if self._state != "started" or self._handle is None:
            return self._kept
        self._handle.flush(_PATIENCE)
        return self._in_store(readonly=True)

    def _in_store(self, *, readonly: bool) -> list[Track]:
        from recorder.store import Store

        with Store.open(self._store, readonly=readonly) as store:
            return files.taken(store)

    # -- taking calls --------------------------------------------------------------------------------------------------

    def instrument(self, client: _C) -> _C:
        """Take the calls of this client, in place and whatever its host; gives the client.

        It may be an openai, anthropic, azure-ai-agents, httpx or httpx2 client. Raises UsageError for anything else.
        """
        self._need_started()
        if self._handle is not None:
            self._handle.instrument(client)
            self._taking.callback(self._handle.uninstrument, client)
        if self._replay is not None:
            self._replay.instrument(client)
            self._taking.callback(self._replay.uninstrument, client)
        return client

    @property
    def base_url(self) -> str:
        """Where a server of this tape listens: for subprocesses, and for clients in other languages.

        Upstreams are mounted at `/openai`, `/anthropic` and so on (openai's SDKs want `/v1` behind that), and what goes
        to the root is taken for openai's.
        """
        return self._serve().base_url

    @property
    def env(self) -> dict[str, str]:
        """The environment of this process, with base URLs that lead to the tape's server: for a subprocess."""
        from recorder.proxy import child_environment

        environment, _ = child_environment(self._routes(), self.base_url, os.environ)
        if self._handle is None:
            environment |= dict.fromkeys(absent_keys(environment), NO_KEY)
        return environment

    def _routes(self) -> Routes:
        from recorder.proxy import routes_for

        return routes_for(self.options.upstreams, os.environ)

    def _serve(self) -> Serving:
        self._need_started()
        if self._serving is None:
            from recorder.tape import serving

            routes, handle = self._routes(), self._handle
            if self._replay is None and handle is not None:
                make = serving.recording_service(handle.sink, routes)
            elif handle is not None:
                make = serving.adding_service(self._player(in_process=False), routes, handle.sink)
            else:
                make = serving.replaying_service(self._player(in_process=False), routes, self._faults())
            self._serving = serving.Serving(make)
            self._taking.callback(self._serving.close)
        return self._serving

    # -- its life ------------------------------------------------------------------------------------------------------

    def start(self, *, patch: bool = True) -> Self:
        """Read the file; with `patch`, take what all clients of this process send to the hosts of the options.

        Where nothing is recorded, absent keys of the SDKs are made up until the tape stops.

        Raises UsageError for a file that is none, and for options that cannot be.
        """
        if self._state != "new":
            raise UsageError("a tape is used once: make another one")
        self._state = "started"
        try:
            self._begin()
            if patch:
                self._patch()
        except BaseException:
            self.stop()
            raise
        return self

    def _begin(self) -> None:
        mode, exists = self.mode, self._given is not None or self.path.exists()
        if self._given is None:
            files.note(self.path)
        if exists and self._given is None and mode != "live":
            self._deck = Deck(files.load(self.path))
        if mode in ("record", "new", "live") or (mode == "once" and not exists):
            self._handle = self._recording_handle()
        if mode in ("replay", "new") or (mode == "once" and exists):
            from recorder.handle import Replay

            self._replay = Replay(self._player())
        if self._handle is None:
            self._make_up_keys()

    def _make_up_keys(self) -> None:
        """Absent keys that the recordings' SDKs want; of all SDKs where there are none.

        Not more: some programs choose a provider by the keys that they find.
        """
        wanted = {_key_of(one) for one in self._deck.recordings} or set(KEYS)
        for name in absent_keys(os.environ, sorted(wanted)):
            self._taking.callback(_take_back, name, os.environ.get(name))
            os.environ[name] = NO_KEY

    def _recording_handle(self) -> Handle:
        from recorder.handle import open as open_recorder

        if config.disabled():
            raise UsageError(f"mode {self.mode} records, and RECORDER_DISABLED is set: unset it")
        self._folder = tempfile.mkdtemp(prefix="recorder-tape-")
        rule = self.options.rule
        return open_recorder(
            self._store,
            content="full",
            sample=1.0,
            strict=True,
            detect=False,
            ignore=rule.ignore,
            match_headers=rule.headers,
            normalise=rule.normalise,
            redact=self.options.redact,
        )

    @property
    def _store(self) -> Path:
        assert self._folder is not None
        return Path(self._folder) / "recorder.db"

    def _player(self, *, in_process: bool = True) -> TapePlayer:
        options = self.options
        return TapePlayer(
            self._deck,
            self.ledger,
            claims=self._claims,
            faults=self._faults() if in_process else None,
            hands_on=self.mode == "new",
            where=self._where,
            pace=options.pace,
            chunks=options.chunks,
            repeat=options.repeat,
            rule=options.rule,
            withheld=cache(self._redactor),
        )

    def _redactor(self) -> redact.Redactor:
        """What is withheld from this tape: what its options say, and what the settings say for all that is recorded."""
        rules, hooks = redact.split(self.options.redact)
        return redact.Redactor(config.load(redact=rules).redact or rules or (), hooks)

    def _faults(self) -> Faults | None:
        if self._faults_made is None and self.options.fault:
            from recorder.replay_server import Faults

            self._faults_made = Faults.of(self.options.fault)
        return self._faults_made

    def _patch(self) -> None:
        hosts = tuple(dict.fromkeys([*KNOWN_HOSTS, *_environment_hosts(), *self.options.hosts]))
        if self._handle is not None:
            self._taking.enter_context(self._handle.patch(hosts))
        if self._replay is not None:
            self._taking.enter_context(self._replay.patch(hosts, others=self.options.others))
        self._guard(hosts)

    def _guard(self, hosts: Sequence[str]) -> None:
        """Close the network for the hosts that are only replayed, and for all others where these are blocked."""
        replays, blocks = self._handle is None, self.options.others == "block"
        if not replays and not blocks:
            return

        listed = Hosts(hosts)

        def refuses(host: str, port: int | None) -> bool:
            return replays if listed.has(host, port) else blocks

        made = guard.Guard(refuses, self.ledger.closed)
        made.enter()
        self._taking.callback(made.close)

    def _need_started(self) -> None:
        if self._state != "started":
            raise UsageError("this tape takes no calls now: it does between start and stop, or in its with block")

    def stop(self) -> None:
        """Put everything back: clients, patches, the server. What was recorded is kept for `finish`."""
        if self._state != "started":
            return
        try:
            self._taking.close()
            if self._handle is not None:
                self._handle.close(_PATIENCE)
                self._kept = self._in_store(readonly=False)  # what is still open is sealed
        finally:
            self._state = "stopped"
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.stop()
        if error is not None:
            return
        self.check()
        for text in self.finish().warnings:
            warnings.warn(text, TapeWarning, stacklevel=2)

    # -- giving account ------------------------------------------------------------------------------------------------

    @property
    def misses(self) -> str | None:
        """What is to be said about requests that nothing answered, whoever swallowed the exception; None: none."""
        missed = list(self.ledger.missed)
        told = [account.missed(missed, self._deck, self._shown, self._again)] if missed else []
        told += [f"{request} {why}" for request, why in dict.fromkeys(self.ledger.refusals)]
        told += [account.closed(host) for host in dict.fromkeys(self.ledger.closed_hosts)]
        return "\n".join(told) or None

    def check(self) -> None:
        """Raises TapeError where a request was not answered."""
        if (told := self.misses) is not None:
            raise TapeError(told)

    @property
    def leftover(self) -> str | None:
        """What is to be said about recordings that were not used so far; None: all were, or that does not matter."""
        left = self.unused if self._replay is not None and self.options.unused != "ignore" else []
        return account.leftover(left, self._deck, self._shown, self._again) if left else None

    @property
    def unused(self) -> list[Recording]:
        """The recordings of the file that have answered nothing so far."""
        used = self.ledger.used
        return [one for one in self._deck.recordings if one.recording_id not in used]

    def finish(self) -> Finished:
        """After a test that has passed: look whether all was used, and write the file where the mode says so.

        Raises TapeError where recordings were left over or are too old, and these are to be errors.
        """
        done = Finished()
        if self._replay is not None:
            self._look_back(done)
        if self.is_recording:
            self._write(done)
        return done

    def _look_back(self, done: Finished) -> None:
        """Recordings that were not used, too old ones, faults that never happened."""
        options = self.options
        if (told := self.leftover) is not None:
            if options.unused == "error" and self.mode != "new":
                raise TapeError(told)
            done.warnings.append(told)
        if old := self._stale():
            told = account.stale(old, time.time_ns() // 1000, options.max_age or "", self._shown, self._again)
            if options.stale == "error":
                raise TapeError(told)
            done.warnings.append(told)
        idle = self._faults_made.idle if self._faults_made is not None else list(options.fault)
        if idle and self.ledger.played:
            raise TapeError(f"the fault {idle[0]} never happened: no answer was long enough, or no request was met")

    def _stale(self) -> Sequence[Recording]:
        if self.options.max_age is None:
            return []
        least = time.time_ns() // 1000 - age(self.options.max_age) * 1_000_000
        return [one for one in self._deck.recordings if one.started_at < least]

    def _write(self, done: Finished) -> None:
        if self.mode == "new":
            if not self._kept:
                return
            tracks = [*self._deck.tracks.values(), *self._kept]
        else:
            tracks = self._kept
        if not tracks:
            if self._deck.tracks:
                self.path.unlink()
                done.wrote = True
                done.changes.append("the test makes no calls any more: the file is removed")
            return
        open_ones = sum(_is_interrupted(track.recording) for track in self._kept)
        if open_ones:
            done.warnings.append(
                f"{open_ones} streams were still open when the test ended, and stand in the tape {self._shown} as cut"
                " off: read them to the end, or close them"
            )
        from recorder.tape.changes import changed

        before = self.recorded
        done.wrote = files.save(self.path, tracks, keep=self.mode != "new" and not self._stale())
        if done.wrote and before:
            after = runs_of(Exchange(*track) for track in tracks)
            done.changes += changed(before, after) or ["the same runs, in other bytes"]


def _only_replayed(options: Options) -> Options:
    """What goes wrong on purpose is never recorded: with faults a tape is replayed in every mode."""
    return replace(options, mode="replay") if options.fault else options


def _environment_hosts() -> Iterator[str]:
    """The hosts, with their ports, of the base URLs that SDKs find in the environment."""
    for variable in VARIABLES:
        with contextlib.suppress(UsageError, ValueError):  # an SDK will say what is wrong with it
            yield from config.hosts(
                filter(None, [urlsplit(os.environ.get(variable.name, "")).netloc.rpartition("@")[2]])
            )


def _key_of(recording: Recording) -> str:
    """The variable in which the SDK that made this request looks for its key."""
    anthropic = recording.dialect == "messages" or "anthropic" in recording.origin
    return "ANTHROPIC_API_KEY" if anthropic else "OPENAI_API_KEY"


def _take_back(name: str, before: str | None) -> None:
    """Undo a made-up key, unless somebody has set another one since."""
    if os.environ.get(name) != NO_KEY:
        return
    if before is None:
        del os.environ[name]
    else:
        os.environ[name] = before


def _exchange(played: Played, deck: Deck) -> Exchange:
    """What was asked this time, and what came of it."""
    if played.damaged is not None:
        recording, seen = played.damaged.seen(played.asked)
        return Exchange(replace(recording, started_at=played.at), seen)
    events = deck.tracks[played.recording.recording_id].events
    return Exchange(replace(played.recording, request=played.asked, started_at=played.at), events)


def _is_interrupted(recording: Recording) -> bool:
    """Whether its stream was still open when the tape stopped."""
    return recording.ending is None or recording.ending.ending == Transport.INTERRUPTED
