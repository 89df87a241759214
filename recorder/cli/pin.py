"""`recorder pin`: a stored run becomes a test's recording, with the test beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import open_store
from .output import safe

if TYPE_CHECKING:
    from recorder.recording import Recording, Run

__all__ = ["pin"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")

_TEST = '''"""Pinned from run {run_id}: {outcome}."""

import pytest


@pytest.mark.recorder(file="recordings/pinned/{name}.jsonl", unused="ignore")
def test_{function}(tape):
    (run,) = tape.recorded
    assert (run.status, run.stop_reason) == ({status}, {stop_reason})
    # Now call your own code here: what it asks is answered by this run, and by nothing else.
    # Assert what it should make of it, and take unused="ignore" out.
'''


@click.command(short_help="Make a run a test's recording.")
@click.argument("run", metavar="RUN")
@click.option(
    "--as", "name", required=True, metavar="NAME", help="What the test is called: small letters, digits, -, _."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tests"),
    show_default=True,
    help="Where the tests are.",
)
@click.option("--no-test", is_flag=True, help="Write the recording alone.")
@click.option("--force", is_flag=True, help="Replace a recording of that name.")
@click.pass_context
def pin(context: click.Context, run: str, name: str, folder: Path, *, no_test: bool, force: bool) -> None:
    """Write RUN to tests/recordings/pinned/NAME.jsonl, and a test that has it to tests/test_pinned_NAME.py.

    The test passes as it is: it says how the run ended. A test file that is there already stays as it is.
    """
    from recorder import exchange

    if not _NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r}: use small letters, digits, - and _", param_hint="--as")
    recording = folder / "recordings" / "pinned" / f"{name}.jsonl"
    if recording.exists() and not force:
        raise click.UsageError(f"{recording} exists: choose another name, or say --force to replace it")
    with open_store(context) as store:
        pinned = store.run(store.run_of(store.resolve(run)))
        entries = list(exchange.entries(store, store.members(pinned.run_id)))
    for entry in entries:
        _require_content(entry.recording)
    exchange.write(recording, [entry for entry in entries if entry.recording.ending is not None], keep=False)
    click.echo(safe(str(recording)))
    if no_test:
        return
    test = folder / f"test_pinned_{name.replace('-', '_')}.py"
    if test.exists():
        click.echo(safe(f"{test} is there already, and stays as it is"), err=True)
        return
    test.write_text(_test(pinned, name), encoding="utf-8")
    click.echo(safe(str(test)))


def _require_content(recording: Recording) -> None:
    """Raises NotFound where nothing is left that could be replayed."""
    from recorder.errors import NotFound

    if recording.erasures or recording.content != "full":
        why = "was erased" if recording.erasures else f"was not recorded (content={recording.content})"
        raise NotFound(
            f"the content of recording {recording.recording_id} {why}, so a test could not replay it; pin another run"
        )


def _test(run: Run, name: str) -> str:
    outcome = run.status if run.stop_reason is None else f"{run.status}, {run.stop_reason}"
    return _TEST.format(
        run_id=run.run_id,
        outcome=outcome,
        name=name,
        function=name.replace("-", "_"),
        status=f'"{run.status}"',
        stop_reason=None if run.stop_reason is None else f'"{run.stop_reason}"',
    )
