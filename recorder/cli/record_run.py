"""The life of `recorder record`: listening, a program under it, signals, workers, and the summary at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from recorder import config
from recorder.proxy import Routes, Service, Settings, child_environment
from recorder.wire import loop_factory, server_context

from .output import count, several, span, table
from .record_deck import Deck
from .serving import CAUGHT, Life, announce, listening_on, raise_file_limit, say, settle, signals_given_back, url_of

__all__ = ["Plan", "run"]

#: Seconds that the store may take at the end.
_DRAIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What `recorder record` was asked to do."""

    settings: config.Settings
    store: str | None
    routes: Routes
    proxy: Settings
    host: str
    port: int
    tls: tuple[str, str | None] | None = None
    command: tuple[str, ...] = ()
    workers: int = 1
    environment: dict[str, str] = field(default_factory=dict)


def run(plan: Plan) -> int:
    """Do it; gives the exit code."""
    raise_file_limit()
    with signals_given_back():
        if plan.workers > 1:
            return _workers(plan)
        return _one(plan, lambda address: _listening(plan, address), reuse_port=False)


def _one(plan: Plan, listening: Callable[[tuple[str, int]], None], *, reuse_port: bool) -> int:
    """One process: record until told to stop."""
    deck = Deck(plan.settings, plan.store, say, None if plan.command else say)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(_live(plan, deck, listening, reuse_port=reuse_port))
    finally:
        with _patience():
            durable = deck.close(_DRAIN)
    if plan.command:
        _summary(deck)
    if not durable:
        say("recorder: not everything that was recorded is in the store; the lines above say why")
        return code or 4
    return code


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """While what was recorded is written, signals are told so; the third one ends the process all the same."""
    heard: list[int] = []

    def hear(number: int, _frame: Any) -> None:
        heard.append(number)
        if len(heard) > 2:
            os._exit(130)
        say("writing what was recorded; a moment")

    with signals_given_back():
        for number in CAUGHT:
            signal.signal(number, hear)
        yield


def _listening(plan: Plan, address: tuple[str, int]) -> None:
    announce(_base(plan, address), program=bool(plan.command))


def _base(plan: Plan, address: tuple[str, int]) -> str:
    return url_of("http" if plan.tls is None else "https", address)


async def _live(plan: Plan, deck: Deck, listening: Callable[[tuple[str, int]], None], *, reuse_port: bool) -> int:
    tls = None if plan.tls is None else server_context(*plan.tls)
    service = Service(plan.routes, deck, plan.proxy, figures=deck.figures, tls=tls)
    life = Life()
    life.catch_signals()
    with listening_on(plan.host, plan.port):
        address = await service.start(plan.host, plan.port, reuse_port=reuse_port)
    settle()
    listening(address)
    for route in plan.routes.all:
        say(f"  {_base(plan, address)}{route.mount}/ -> {route.url}/")
    say("recording is off (RECORDER_DISABLED)" if plan.settings.disabled else f"recording into {deck.where}")
    if plan.command:
        environment, added = child_environment(plan.routes, _base(plan, address), plan.environment)
        say("set for the program: " + " ".join(added))
        code = await life.program(plan.command, environment)
        await life.end(service.stop(), service.abort)
        return code
    await life.asked_to_stop()
    return 0 if await life.end(service.stop(), service.abort) else 130


# -- workers -------------------------------------------------------------------------------------------------------


def _workers(plan: Plan) -> int:
    """Several processes on one port and one store; this one looks after them."""
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    with socket.socket(family) as held:  # keeps the port; it never listens, so no connection comes to it
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with listening_on(plan.host, plan.port):
            held.bind((plan.host, plan.port))
        address = held.getsockname()[:2]
        return _Crew(plan, address).work()


class _Crew:
    """The workers and their keeper."""

    def __init__(self, plan: Plan, address: tuple[str, int]) -> None:
        self._plan = plan
        self._address = address
        self._children: dict[int, int] = {}
        self._stopping = False
        self._ready, self._tell = os.pipe()

    def work(self) -> int:
        for number in CAUGHT:
            signal.signal(number, self._pass_on)
        for worker in range(self._plan.workers):
            self._hire(worker)
        for _ in range(self._plan.workers):
            if os.read(self._ready, 1) != b"+":
                break
        _listening(self._plan, self._address)
        worst = 0
        while self._children:
            with contextlib.suppress(InterruptedError):
                process, status = os.wait()
                worker = self._children.pop(process, 0)
                code = os.waitstatus_to_exitcode(status)
                worst = worst or abs(code)
                if not self._stopping and code not in (0, 2, 4):
                    say(f"recorder: worker {worker} ended with {code}; another one takes its place")
                    worst = 0
                    self._hire(worker)
        return worst

    def _hire(self, worker: int) -> None:
        process = os.fork()
        if process:
            self._children[process] = worker
            return
        code = 4
        try:
            for number in CAUGHT:
                signal.signal(number, signal.SIG_DFL)
            plan = self._plan
            own = Plan(plan.settings, plan.store, plan.routes, plan.proxy, self._address[0], self._address[1], plan.tls)
            code = _one(own, lambda _: self._announce(), reuse_port=True)
        except BaseException as error:  # noqa: BLE001 (a forked child must not return into its parent's stack)
            say(f"recorder: {error}")
            code = getattr(error, "exit_code", 4)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _announce(self) -> None:
        os.write(self._tell, b"+")

    def _pass_on(self, number: int, _frame: Any) -> None:
        self._stopping = True
        for process in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


# -- small things --------------------------------------------------------------------------------------------------


def _summary(deck: Deck) -> None:
    """The runs that were recorded, as a table on stderr: stdout is the program's."""
    if not deck.ledger.recordings:
        say("nothing was recorded: the program made no request to the base URLs above")
        return
    with deck.open() as store:
        ids = dict.fromkeys(store.run_of(recording_id) for recording_id in deck.ledger.recordings)
        runs = [store.run(run_id) for run_id in ids]
    rows = [
        [
            str(run.run_id)[-12:],
            run.dialect,
            run.model or "-",
            run.status,
            run.stop_reason or "-",
            count(run.input_tokens),
            count(run.output_tokens),
            count(run.max_completion_tokens),
            count(run.events),
            span(run.ttft_us),
            span(run.duration_us),
        ]
        for run in runs
    ]
    numbers = ("in", "out", "cap", "events", "first token", "took")
    titles = ("run", "dialect", "model", "status", "stopped by", *numbers)
    with contextlib.redirect_stdout(sys.stderr):
        table(titles, rows, right=numbers, spare=("events", "took", "first token"))
    say(f"{several(len(deck.ledger.recordings), 'recording')} in {deck.where}")
