"""`recorder emit`: one stored stream to stdout, exact bytes, at once or at its pace."""

from __future__ import annotations

import sys

import click

from .options import open_store
from .story import tell_missing

__all__ = ["emit"]


@click.command(short_help="One stored stream to stdout, exact bytes.")
@click.argument("recording", metavar="RECORDING")
@click.option("--pace", default="instant", show_default=True, help="instant, recorded, or xN for N times as fast.")
@click.pass_context
def emit(context: click.Context, recording: str, pace: str) -> None:
    """Write the body of RECORDING to stdout as the network delivered it, content codings still on.

    RECORDING is an id or the end of one, a provider's id, a request id, or @last.
    """
    from recorder import replay

    with open_store(context) as store:
        out = sys.stdout.buffer

        def write(chunk: bytes) -> None:
            out.write(chunk)
            out.flush()  # whoever reads a paced stream wants each chunk when it is due

        store.require_content()
        chosen = store.recording(store.resolve(recording))
        tell_missing([chosen])
        replay.emit(store, chosen, write, pace=pace)
