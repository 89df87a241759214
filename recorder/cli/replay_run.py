"""The life of `recorder replay`: listening, a program under it, and what it says at the end."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Final

import click

from recorder.errors import UsageError
from recorder.proxy import Routes, child_environment
from recorder.replay import Player
from recorder.replay_server import Faults, Mounts, Service, Settings
from recorder.wire import loop_factory, server_context

from .serving import Life, raise_file_limit, say, settle, url_of

__all__ = ["Plan", "run"]

#: Without a key SDKs do not even begin.
_KEYS: Final = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


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
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_live(plan))


async def _live(plan: Plan) -> int:
    mounts = Mounts({route.name: route.prefix for route in plan.routes.all})
    tls = None if plan.tls is None else server_context(*plan.tls)
    service = Service(plan.player, plan.settings, mounts=mounts, faults=plan.faults, say=say, tls=tls)
    life = Life()
    life.catch_signals()
    try:
        address = await service.start(plan.host, plan.port)
    except OSError as error:
        raise UsageError(f"{plan.host}:{plan.port} cannot be listened on: {error.strerror or error}") from None
    settle()
    base = url_of(service.scheme, address)
    click.echo(f"listening on {base}", err=bool(plan.command))
    sys.stdout.flush()
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
    for name in _KEYS:
        if name not in environment:
            environment[name] = "unused"
            added.append(f"{name}=unused")
    say("set for the program: " + " ".join(added))
    return environment
