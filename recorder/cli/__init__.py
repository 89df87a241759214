"""The command line. Each command is a few lines in a module of its own, and imports what it needs when it runs.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 a check found something, 2 usage, 3 not found,
4 store or integrity, 130 interrupted. Nobody imports this package.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from recorder import __version__

__all__ = ["main", "program"]

#: Command -> (module, one-line help). The help stands here so that `recorder --help` imports no command.
_COMMANDS: Final = {
    "demo": ("demo", "Record, replay and compare bundled streams: no key, no network."),
    "record": ("record", "Record any program: a proxy, or a program under it."),
    "replay": ("replay", "Answer any program from the store: a server, or a program under it."),
    "runs": ("lists", "The runs, newest first."),
    "recordings": ("lists", "The HTTP exchanges behind the runs, newest first."),
    "show": ("show", "One run: what was asked, what came back, why it stopped."),
    "diff": ("diff", "Where two runs differ, or a run and the good one nearest to it."),
    "blast": ("blast", "How far an incident reaches: which runs share it, what they have in common."),
    "tag": ("tag", "Note something on a run: name=value; name= takes it off."),
    "pin": ("pin", "Make a run a test's recording."),
    "emit": ("emit", "One stored stream to stdout, exact bytes."),
    "export": ("export", "Recordings into a file: JSONL (lossless), HAR, or one stream."),
    "import": ("import_", "Recordings out of files: JSONL, HAR, VCR cassettes, aimock, raw streams."),
    "rebuild": ("rebuild", "Make the readings again, after recorder has learnt to read better."),
    "analyze": ("analyze", "Questions about budgets, truncation, cost and latency."),
    "report": ("report", "One self-contained page of figures: budgets, truncation, cost, latency."),
    "advise": ("advise", "Which token cap is enough, for each assistant or model."),
    "budget": ("budget", "Check the limits that the configuration sets; for CI."),
    "verify": ("verify", "Whether the record is what was recorded; names what is not."),
    "prune": ("prune", "Take away what is old, or too much: its content, or all of it."),
    "erase": ("erase", "Take away what somebody wants gone, and what hangs together with it."),
    "checkpoint": ("checkpoint", "One line over all that is sealed, to be kept elsewhere."),
    "sql": ("sql", "Your own SQL over the store's facts, in DuckDB."),
    "scan": ("scan", "What the record holds that today's rules would mask: counts."),
    "doctor": ("doctor", "What is wrong with the store and this machine, and what to do."),
    "db": ("db", "The database's schema: upgrade, current, check; who may what: roles."),
}


class _Group(click.Group):
    """Loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"recorder.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, "import_" if name == "import" else name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RECORDER"})
@click.version_option(__version__, prog_name="recorder")
@click.option("--store", metavar="URL|PATH", help="The store. Default: .recorder/recorder.db here or further up.")
@click.pass_context
def program(context: click.Context, store: str | None) -> None:
    """Records streaming LLM runs into SQL while they stream, and replays them byte for byte."""
    context.obj = {"store": store}


def main(arguments: list[str] | None = None) -> None:
    """The program `recorder`: runs one command and exits with its code."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    from recorder.errors import RecorderError

    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (it lives as long as the process)
    try:
        code: Any = program.main(arguments, prog_name="recorder", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except (SystemExit, BrokenPipeError):
        from .output import drop_output

        # Whoever read our output has enough (click and rich exit then); there is nobody left to tell.
        drop_output()
        return 0
    except (click.ClickException, RecorderError, OSError) as error:
        return _tell(error)
    return code if isinstance(code, int) else 0


def _tell(error: Exception) -> int:
    """One line on stderr about what is wrong, and the exit code for it."""
    from recorder.errors import RecorderError

    if isinstance(error, click.NoSuchOption) and error.option_name == "--store":
        error = click.UsageError("--store stands before the command: recorder --store PATH COMMAND", error.ctx)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, RecorderError):
        click.echo(f"recorder: {error}", err=True)
        return error.exit_code
    from .output import drop_output, safe

    assert isinstance(error, OSError)
    if error.filename is not None:
        said = safe(f"{error.filename}: {error.strerror}")
        click.echo(f"recorder: {said}; name another place, or see to its permissions", err=True)
    else:
        click.echo(f"recorder: the output cannot be written: {error.strerror}; write it to another place", err=True)
        drop_output()
    return 4
