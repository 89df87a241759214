"""A private PostgreSQL server for tests, from the distribution's own binaries; it may be stopped, killed and restarted.

It listens on a free port of 127.0.0.1 and on a socket in its folder, trusts every local user, and syncs to disk as
a real one does. It refuses to run as root, so root runs it as `postgres`, or as `nobody`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psycopg

__all__ = ["Postgres", "binaries"]

_START_SECONDS: Final = 60.0


def binaries() -> Path | None:
    """The folder of the newest installed server's programs, or None where there is no server."""
    found = [
        path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres") if path.parent.parent.name.isdigit()
    ]
    found.sort(key=lambda folder: int(folder.parent.name))
    if found:
        return found[-1]
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


class Postgres:
    """One server with its own folder. As a context manager it starts, and at the end stops and removes its folder."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        """Makes the folder and initialises it; `settings` are lines like `max_connections=20`. Starts nothing yet."""
        programs = binaries()
        if programs is None:
            raise RuntimeError("no PostgreSQL server is installed")
        self._programs = programs
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()
        # Not pytest's tmp_path: only root may enter that one, and a socket's path must stay below 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="recorder-pg-"))
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._reserved = _reserved()
        self.port: int = self._reserved.getsockname()[1]
        self._settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "logging_collector=off",
            "autovacuum_naptime=86400",  # its snapshots would keep dead rows from a VACUUM, whenever it happens to run
            *settings,
        )
        data = ["--pgdata", str(self.data), "--username", "postgres", "--auth", "trust"]
        subprocess.run(
            [str(programs / "initdb"), *data, "--encoding", "UTF8", "--locale", "C", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._identity(),
        )

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server wrote to its standard error, over all its starts."""
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, over TCP, for the superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        """The same over the socket in its folder."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def start(self) -> None:
        """Starts the server and returns when it accepts connections.

        After a kill the old server's children need a moment to leave its shared memory; until then a start is refused,
        and tried again.
        """
        assert self._process is None, "the server is running already"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self._process = self._spawn()
            if self._ready(deadline):
                return
            self._process = None
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Stops it in order: connections are ended, everything is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends it as a power cut would end it for its clients: SIGKILL to the server and each of its processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        orphans = [int(child) for child in children.read_text().split()] if children.exists() else []
        # The server first: it would restart a process that it sees dying.
        self._end(signal.SIGKILL)
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)

    def restart(self) -> None:
        """Stops it in order where it runs, and starts it on the same port with the same data."""
        if self._process is not None:
            self.stop()
        self.start()

    def create_database(self, name: str | None = None) -> str:
        """Makes an empty database and returns its name."""
        name = name or f"test_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        """Removes a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs one statement as the superuser, in autocommit, and returns its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(signal.SIGQUIT)
        self._reserved.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._programs / "postgres"), "-D", str(self.data)]
        for setting in self._settings:
            command += ["-c", setting]
        # Where it can be had: a server does not outlive a test process that was killed itself.
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "QUIT", *command]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self._identity()
            )

    def _ready(self, deadline: float) -> bool:
        """True once it accepts connections, False when it ended instead."""
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return True
            time.sleep(0.05)
        self._end(signal.SIGKILL)
        return False

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(how)
        self._process.wait(timeout=_START_SECONDS)
        self._process = None

    def _identity(self) -> dict[str, Any]:
        """Arguments for subprocess: as whom to run, and with which environment."""
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "HOME": str(self.folder)}
        if self._account is None:
            return {"env": environment}
        user, group = self._account.pw_uid, self._account.pw_gid
        return {"env": environment, "user": user, "group": group, "extra_groups": []}


def _account() -> pwd.struct_passwd | None:
    """Whose the server is: None for the current user, another one's entry where that is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody")


def _reserved() -> socket.socket:
    """A socket that is bound to a free port of 127.0.0.1 and never listens: the kernel gives the port to nobody else.

    A server that names the port may have it all the same, as both say SO_REUSEADDR, and so again after each stop.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder
