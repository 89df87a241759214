"""`recorder replay`: a server that answers from the store, or a program that is answered by it."""

from __future__ import annotations

import os
from typing import Any

import click

from .serving import Access, access

__all__ = ["replay"]

_FAULTS = """\b
Faults (--fault, more than one is allowed), WHAT@WHERE[:TIME]:
  cut@event=12              the connection ends (FIN) behind the 12th event
  reset@event=12,request=2  it is reset (RST) there, in the second request alone
  stall@event=5:3s          3 seconds of silence behind the 5th event;
                            without a time until the client leaves
  malformed@event=7         the 7th event's JSON is broken in its last byte
  status=429@request=1      the first request is answered 429;
                            with :2s also Retry-After: 2
  cut@event=random,rate=0.1,seed=7   somewhere, in every tenth request by chance
WHERE is event=N or byte=N of the body (or random; without it before the head),
request=N (each session counts from 1), rate=P, seed=N; commas between them.
The same requests meet the same faults each time.
"""


@click.command(short_help="Answer any program from the store: a server, or a program under it.", epilog=_FAULTS)
@click.option("--pace", default="instant", show_default=True, help="instant, recorded, or xN for N times as fast.")
@click.option(
    "--repeat",
    type=click.Choice(["error", "last", "cycle"]),
    default="error",
    show_default=True,
    help="What comes when all recordings of one request have been handed out.",
)
@click.option("--chunks", default="recorded", show_default=True, help="recorded, event, joined, size:N or seed:N.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="A failure on top of what was recorded; below.")
@click.option("--session", help="Share whose turn it is with other processes under this name.")
@click.option("--include-partial", is_flag=True, help="Play also what was not recorded to its end.")
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="[NAME=]URL",
    help="What paths meant when they were recorded, as `record` was told. Default: openai and anthropic.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Listen there; 0 picks one. Default: 8485, or 0 with CMD.")
@access
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ...]")
@click.pass_context
def replay(
    context: click.Context,
    /,
    *,
    faults: tuple[str, ...],
    upstreams: tuple[str, ...],
    port: int | None,
    access: Access,
    command: tuple[str, ...],
    **playing: Any,
) -> int:
    """Answer requests from the store, byte for byte, with no upstream anywhere.

    Point a program's base URL at http://127.0.0.1:8485/openai/v1 or http://127.0.0.1:8485/v1 (openai), or at
    http://127.0.0.1:8485/anthropic. Or let recorder do that: with CMD it sets OPENAI_BASE_URL, ANTHROPIC_BASE_URL and
    the like as `record` does (and an API key where there is none: SDKs want one), runs the program, and exits with its
    code, or with 1 where that is 0 and a request was answered by no recording.

    A request that no recording answers gets a 404 that names the nearest one and what differs; stderr tells it too.
    Requests with the same X-Recorder-Session share whose turn it is, as those of one --session do.
    """
    from recorder import config, match, redact
    from recorder.proxy import routes_for
    from recorder.replay import Player
    from recorder.replay_server import Faults, Settings

    from .options import open_store
    from .replay_run import Plan, run

    settings = config.load(store=context.obj["store"])
    environment = dict(os.environ)
    routes = routes_for(upstreams, environment if command else {})
    planned = Faults.of(faults)
    with open_store(context) as store:
        rule = match.Rule(settings.ignore, settings.match_headers, settings.normalise)
        plan = Plan(
            player=Player(store, rule=rule, redactor=redact.Redactor(settings.redact), **playing),
            settings=Settings(hosts=(access.host,), token=access.token),
            routes=routes,
            faults=planned,
            host=access.host,
            port=port if port is not None else 0 if command else 8485,
            tls=access.tls,
            command=command,
            environment=environment,
        )
        return run(plan)
