"""`recorder checkpoint`: one line over all that is sealed, to be kept where who can write the store cannot."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import age_option, as_json, open_store
from .output import json_line

if TYPE_CHECKING:
    from recorder.verify import Checkpoint

__all__ = ["checkpoint"]


@click.command(short_help="One line over all that is sealed, to be kept elsewhere.")
@click.option("--sign", metavar="KEYFILE", type=click.Path(path_type=Path), help="An Ed25519 private key signs it.")
@click.option("--to", "file", metavar="FILE", type=click.Path(path_type=Path), help="Appended to FILE, and printed.")
@age_option("--every", "Stays, and makes one so often (10min), whenever something was sealed since.")
@as_json
@click.pass_context
def checkpoint(context: click.Context, *, sign: Path | None, file: Path | None, every: int | None, json_: bool) -> None:
    """Print one line that covers every recording that is sealed, now and for ever.

    Keep it where who can write the store cannot: a log service, another machine, a commit, an object lock. With such
    lines `recorder verify --against FILE` finds what digests in the store itself cannot show: recordings that were
    taken away whole, a store that was rolled back, or written anew. What was sealed since the last line is not covered:
    run it from cron, or with --every beside the programs that record.
    """
    from recorder.verify.emitting import Emitter

    emitter = Emitter(sign)
    while True:
        with open_store(context, readonly=False, read=False) as store:
            made = emitter.next(store)
        if made is not None:
            _tell(made, file, json_=json_)
        if every is None:
            return
        time.sleep(every)


def _tell(made: Checkpoint, file: Path | None, *, json_: bool) -> None:
    from recorder.verify.emitting import keep

    line = made.text()
    if file is not None:
        keep(file, line)
    if json_:
        told = {"store": made.store, "time": made.time, "count": made.count, "root": made.root.hex()}
        json_line({**told, "key": made.key, "line": line})
    else:
        click.echo(line)
    sys.stdout.flush()
