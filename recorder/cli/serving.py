"""What commands that listen share: who may connect, signals, a program under the server, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple, TypeVar, cast

import click

from recorder.errors import UsageError

__all__ = [
    "CAUGHT",
    "Access",
    "Life",
    "access",
    "announce",
    "listening_on",
    "raise_file_limit",
    "say",
    "settle",
    "signals_given_back",
    "url_of",
]

#: The signals that a server ends by.
CAUGHT: Final = (signal.SIGINT, signal.SIGTERM)

Command = TypeVar("Command", bound=Callable[..., Any])

#: A token of 128 bits has so many characters at least (in base64).
_TOKEN = 22

_ACCESS = (
    click.option(
        "--host", default="127.0.0.1", show_default=True, help="Listen there; beyond loopback with --token alone."
    ),
    click.option("--token", help="What the header X-Recorder-Token must say: 22 characters or more."),
    click.option("--tls-cert", type=click.Path(), help="Speak TLS to clients: the certificate's file."),
    click.option("--tls-key", type=click.Path(), help="Its key, where that is another file."),
    click.option("--insecure-http", is_flag=True, help="Beyond loopback: speak plain HTTP, where anybody may listen."),
)


class Access(NamedTuple):
    """Who may connect to a server, and how. `tls`: the files of a certificate and its key; None: plain HTTP."""

    host: str
    token: str | None
    tls: tuple[str, str | None] | None


def access(command: Command) -> Command:
    """Adds the options that say who may connect, and how; the command is given them, checked, as `access`."""

    @wraps(command)
    def checked(
        *args: Any,
        host: str,
        token: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        insecure_http: bool,
        **options: Any,
    ) -> Any:
        tls = None if tls_cert is None else (tls_cert, tls_key)
        given = Access(host, token, tls)
        if tls_key is not None and tls is None:
            raise click.UsageError("--tls-key is of no use without --tls-cert")
        _check(given, insecure_http=insecure_http, command=options["command"])
        return command(*args, access=given, **options)

    for option in reversed(_ACCESS):
        option(checked)
    return cast(Command, checked)


def _check(access: Access, *, insecure_http: bool, command: Sequence[str]) -> None:
    """Raises UsageError for what would let strangers in, or listen, or could not work."""
    from recorder.wire import is_loopback

    host, token, tls = access
    if not is_loopback(host) and token is None:
        raise click.UsageError(
            f"--host {host} lets other machines in: give --token too, as `openssl rand -hex 16` makes"
        )
    if not is_loopback(host) and tls is None and not insecure_http:
        raise click.UsageError("other machines would send keys over plain HTTP: give --tls-cert, or --insecure-http")
    if token is not None and len(token) < _TOKEN:
        raise click.UsageError(
            f"--token is too short: give {_TOKEN} characters or more, as `openssl rand -hex 16` does"
        )
    if command and token is not None:
        raise click.UsageError("the program could not send the token: leave out --token, or the command")


def say(text: str) -> None:
    """A line on stderr."""
    click.echo(text, err=True)


def url_of(scheme: str, address: tuple[str, int]) -> str:
    """The base URL of a server at this address."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}"


@contextlib.contextmanager
def listening_on(host: str, port: int) -> Iterator[None]:
    """Says what it means where this address cannot be listened on."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from None


def announce(base: str, *, program: bool) -> None:
    """The first line of stdout, or of stderr where a program owns stdout: at which base URL we listen."""
    click.echo(f"listening on {base}", err=program)
    sys.stdout.flush()


def raise_file_limit() -> None:
    """Each stream takes two files; the usual soft limit of 1,024 is soon reached."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle() -> None:
    """What is loaded by now stays: looking through it again and again costs streams their pace."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def signals_given_back() -> Iterator[None]:
    """Afterwards signals are heard by whoever heard them before. (uvloop leaves handlers behind that do nothing.)"""
    before = {number: signal.getsignal(number) for number in CAUGHT}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: it was not set from Python, and cannot be
                signal.signal(number, handler)


class Life:
    """A server's life between its start and its end: waits for a signal, or runs a program.

    The first SIGINT or SIGTERM lets open streams end, the second does not. A program under the server gets what it is
    sent, and its end is the server's.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._stop = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None

    def catch_signals(self) -> None:
        """From now on signals are heard here."""
        loop = asyncio.get_running_loop()
        for number in CAUGHT:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self._signalled, number)

    async def asked_to_stop(self) -> None:
        """Wait for the first signal."""
        await self._stop.wait()

    async def program(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the program; gives its exit code, 128 more than the signal that ended it."""
        try:
            self._child = await asyncio.create_subprocess_exec(*command, env=environment)
        except OSError as error:
            say(f"recorder: {command[0]!r} cannot be run: {error.strerror or error}")
            return 127 if isinstance(error, FileNotFoundError) else 126
        code = await self._child.wait()
        return code if code >= 0 else 128 - code

    async def end(self, stop: Coroutine[Any, Any, None], abort: Callable[[], None]) -> bool:
        """Let what is under way come to its end by `stop`, unless a second signal cuts that short: then `abort`.

        False where it did.
        """
        ending = asyncio.ensure_future(stop)
        if self._asked < 2:
            self._stop.clear()
        hard = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({ending, hard}, return_when=asyncio.FIRST_COMPLETED)
        hard.cancel()
        if ending.done():
            ending.result()
            return True
        abort()
        await asyncio.sleep(0)
        ending.cancel()
        return False

    def _signalled(self, number: signal.Signals) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            if number == signal.SIGTERM:
                child.terminate()
            return  # a terminal's Ctrl-C reaches it by itself
        self._asked += 1
        if self._asked == 1:
            say("stopping when the open streams have ended; once more cuts them off")
        self._stop.set()
