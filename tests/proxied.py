"""A recording proxy in front of upstreams that a test starts: on a thread of this process, or as the program itself."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recorder.proxy import Figures, Routes, Service, Settings
from recorder.store import Store
from recorder.writer import Writer
from tests.looped import Looped
from tests.needs import ROOT

__all__ = ["Program", "Proxied", "killed"]


class Proxied(Looped):
    """A proxy for these upstreams (`[NAME=]URL`); a context manager. `url` is where it listens, `path` its store."""

    def __init__(
        self,
        path: Path,
        *upstreams: str,
        settings: Settings | None = None,
        plain_loop: bool = False,
        store: type[Store] = Store,
        **options: Any,
    ) -> None:
        self.path = path
        self._upstreams = upstreams
        self._settings = settings
        self._options = options
        super().__init__(plain_loop=plain_loop)
        self.writer = Writer(lambda: store.open(path, create=True))

    async def listen(self) -> None:
        self.service = Service(
            Routes.of(self._upstreams), self.writer, self._settings, figures=self._figures, **self._options
        )
        host, port = await self.service.start("127.0.0.1", 0)
        self.address = (host, port)
        scheme = "https" if "tls" in self._options else "http"
        self.url = f"{scheme}://{host}:{port}"

    def abort(self) -> None:
        self.service.abort()

    def released(self) -> None:
        assert self.writer.close(30)

    def _figures(self) -> Figures:
        stats = self.writer.stats
        return Figures(recordings=stats.recordings, rows=stats.rows, gaps=stats.gaps, queue_bytes=stats.held_bytes)

    def flush(self) -> None:
        """Wait until all that was recorded is durable."""
        assert self.writer.flush(30)


class Program:
    """`recorder record`, or another command that serves, in a process of its own."""

    def __init__(self, store: Path, *arguments: str, serves: str = "record", **environment: str) -> None:
        command = [sys.executable, "-m", "recorder", "--store", str(store), serves, *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for each in self.process.stderr:
            self._said.append(each)

    @property
    def errors(self) -> str:
        """What it wrote to stderr so far."""
        return "".join(self._said)

    def url(self) -> str:
        """Where it listens: the first line of its stdout says so."""
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert re.fullmatch(r"listening on https?://[0-9.]+:[0-9]+\n", first), (first, self.errors)
        return first.removeprefix("listening on ").strip()

    def end(self, *signals: int) -> tuple[int, str]:
        """Send it these signals, each once it has heard the one before; its exit code and the rest of its stdout."""
        for place, number in enumerate(signals):
            if place:  # it says so; two that wait to be heard are one
                deadline = time.monotonic() + 30
                while "stopping when the open streams have ended" not in self.errors:
                    assert time.monotonic() < deadline, self.errors
                    time.sleep(0.01)
            self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        code = self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code, rest


@contextlib.contextmanager
def killed(program: Program) -> Iterator[Program]:
    """The program, which does not outlive a test that fails."""
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
            program.end()
