"""`recorder record`: the recording proxy."""

from __future__ import annotations

import os

import click

from .serving import Access, access

__all__ = ["record"]


@click.command(
    short_help="Record any program: a proxy, or a program under it.", context_settings={"ignore_unknown_options": False}
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="[NAME=]URL",
    help="Where requests may go: a bare URL is mounted at /, a named one at /NAME/. Default: openai and anthropic.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Listen there; 0 picks one. Default: 8484, or 0 with CMD.")
@access
@click.option("--ca", type=click.Path(), help="A file of certificates to trust beside the system's.")
@click.option("--drain", is_flag=True, help="Read a stream to its end also when its client has left (it is billed).")
@click.option("--content", type=click.Choice(["full", "facts", "none"]), help="What of the contents is stored.")
@click.option("--keep", metavar="AGES", help='"30d": content goes at that age; "365d whole": all; "30d, 365d whole".')
@click.option("--max-size", metavar="SIZE", help="How much the store may take, such as 10GiB; then the oldest go.")
@click.option(
    "--min-free", metavar="SIZE", help="Stop recording when less of the disk is free. [default: 512MiB or 2 %]"
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on one port.")
@click.option("--checkpoint-file", metavar="FILE", help="Append a checkpoint every 10 minutes or 1,000 recordings.")
@click.option("--sign", metavar="KEYFILE", help="An Ed25519 private key signs the checkpoints.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ...]")
@click.pass_context
def record(
    context: click.Context,
    /,
    *,
    upstreams: tuple[str, ...],
    port: int | None,
    access: Access,
    ca: str | None,
    drain: bool,
    content: str | None,
    keep: str | None,
    max_size: str | None,
    min_free: str | None,
    checkpoint_file: str | None,
    sign: str | None,
    workers: int,
    command: tuple[str, ...],
) -> int:
    """Forward requests to providers and record every exchange, while it streams.

    Point a program's base URL at http://127.0.0.1:8484/openai/v1 (openai) or http://127.0.0.1:8484/anthropic. Or let
    recorder do that: with CMD it sets OPENAI_BASE_URL, ANTHROPIC_BASE_URL and the like, runs the program, prints what
    was recorded and exits with its code. A base URL that is set already becomes the upstream.

    Ctrl-C lets open streams end; a second one cuts them off. X-Recorder-Tag: k=v and X-Recorder-Session: NAME label
    what a client sends. GET /__recorder/health and /__recorder/metrics tell how it goes.
    """
    from recorder import config
    from recorder.proxy import Settings, routes_for

    from .record_run import Plan, run

    if command and workers > 1:
        raise click.UsageError("--workers is for a proxy that stays: leave it out, or the command")
    kept = {"keep": keep, "max_size": max_size, "min_free": min_free}
    checked = {"checkpoint_file": checkpoint_file, "checkpoint_key": sign}
    settings = config.load(store=context.obj["store"], content=content, **kept, **checked)
    environment = dict(os.environ)
    plan = Plan(
        settings=settings,
        store=context.obj["store"],
        routes=routes_for(upstreams, environment if command else {}),
        proxy=Settings(drain=drain, hosts=(access.host,), token=access.token, ca=ca, body_limit=settings.body_limit),
        host=access.host,
        port=port if port is not None else 0 if command else 8484,
        tls=access.tls,
        command=command,
        workers=workers,
        environment=environment,
    )
    return run(plan)
