"""The life of `recorder replay`: listening, a program under it, and what it says at the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from recorder.proxy import Routes, child_environment
from recorder.replay import Player
from recorder.replay_server import Faults, Mounts, Service, Settings
from recorder.transport.sdks import NO_KEY, absent_keys
from recorder.wire import loop_factory, server_context

from .serving import Life, announce, listening_on, raise_file_limit, say, settle, signals_given_back, url_of

__all__ = ["Plan", "run"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What `recorder replay` was asked to do."""

    player: Player
    settings: Settings
    routes: Routes
    faults: Faults
    host: str
    port: int
    tls: tuple[str, str | None] | None = None
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def run(plan: Plan) -> int:
    """Do it; gives the exit code."""
    raise_file_limit()
    with signals_given_back(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_live(plan))


async def _live(plan: Plan) -> int:
    mounts = Mounts({route.name: route.prefix for route in plan.routes.all})
    tls = None if plan.tls is None else server_context(*plan.tls)
    service = Service(plan.player, plan.settings, mounts=mounts, faults=plan.faults, say=say, tls=tls)
    life = Life()
    life.catch_signals()
    with listening_on(plan.host, plan.port):
        address = await service.start(plan.host, plan.port)
    settle()
    base = url_of(service.scheme, address)
    announce(base, program=bool(plan.command))
    say(f"answering from {plan.player.store.url}")
    if plan.command:
        code = await life.program(plan.command, _environment(plan, base))
        service.abort()
        code = code or (1 if service.misses else 0)
    else:
        await life.asked_to_stop()
        code = 0 if await life.end(service.stop(), service.abort) else 130
    for text in service.faults.idle:
        say(f"the fault {text} never happened")
    say(f"{service.answered} answered from the store, {service.misses} missed")
    return code


def _environment(plan: Plan, base: str) -> dict[str, str]:
    """What the program finds: our base URL in its variables, and a key where it has none."""
    environment, added = child_environment(plan.routes, base, plan.environment)
    for name in absent_keys(environment):
        environment[name] = NO_KEY
        added.append(f"{name}={NO_KEY}")
    say("set for the program: " + " ".join(added))
    return environment
