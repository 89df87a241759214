"""The proxy between paced streams and their clients, beside nginx and mitmproxy in the same run.

The proxy under test has one core for itself, the load and the upstream another. CPU is that of the whole process, from
the first connection until what was recorded is durable and read. nginx comes from the system, or from Debian's archive
(unpacked, not installed); mitmproxy is installed into a folder of its own. What cannot be had is left out, and said.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.benchmarks.figures import bar, heading, medians, ms, note, table, taking_turns
from tests.benchmarks.upstream import REQUEST
from tests.needs import ROOT

#: (streams, events of each, seconds between two)
CASES = ((1, 400, 0.005), (50, 200, 0.02), (500, 40, 0.1))
#: Events of the stream that comes at once, and how often it is read.
BURST, ROUNDS = 10_000, 7
#: (streams, events of each, seconds between two) while the store stalls again and again for so many seconds.
STALLED_CASE, STALL = (50, 100, 0.02), 0.5

_TICKS = os.sysconf("SC_CLK_TCK")
_BUILD = ROOT / "build" / "benchmarks"


class Proxy(NamedTuple):
    """One proxy that is running: whose CPU counts, and where it listens."""

    name: str
    processes: tuple[int, ...]
    port: int


class Taken(NamedTuple):
    """What a run took: CPU microseconds per event, seconds to the first byte (median), events per second, KiB held."""

    cpu: float
    first: float
    rate: float
    held: float


# -- what is measured ----------------------------------------------------------------------------------------------


def _pinned(core: int, *command: str) -> list[str]:
    return (
        ["taskset", "-c", str(core), *command] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else [*command]
    )


def _cpu(processes: tuple[int, ...]) -> float:
    """Seconds of CPU that they took so far."""
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS


def _memory(processes: tuple[int, ...]) -> float:
    """KiB that they hold."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def _measure(proxy: Proxy, streams: int, events: int, gap: float) -> Taken:
    before, held = _cpu(proxy.processes), _memory(proxy.processes)
    command = [sys.executable, "-m", "tests.benchmarks.paced", "load", str(proxy.port), str(streams), str(events)]
    with subprocess.Popen([*_pinned(1, *command), str(gap)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as load:
        time.sleep(max(0.3, events * gap / 2))
        most = _memory(proxy.processes)
        assert load.stdout is not None
        first, took = map(float, load.stdout.read().split())
    time.sleep(1.0)  # what was recorded becomes durable and read
    cpu = (_cpu(proxy.processes) - before) / (streams * events) * 1e6
    return Taken(cpu, first, streams * events / took, (most - held) / streams)


# -- the proxies ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _upstream() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.benchmarks.paced", "serve"]
    with subprocess.Popen(_pinned(1, *command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield int(child.stdout.readline())
        finally:
            child.kill()


@contextlib.contextmanager
def _recorder(folder: Path, upstream: int, **environment: str) -> Iterator[Proxy]:
    name = "forwarding alone" if environment else "recorder"
    command = [sys.executable, "-m", "recorder", "--store", str(folder / f"{name}.db"), "record", "--port", "0"]
    with (
        (folder / f"{name}.log").open("w") as log,
        subprocess.Popen(
            _pinned(0, *command, "--upstream", f"http://127.0.0.1:{upstream}"),
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        port = int(child.stdout.readline().rpartition(":")[2])
        try:
            yield Proxy(name, (child.pid,), port)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream there {{ server 127.0.0.1:{upstream}; keepalive 1000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://there; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


def _nginx_program() -> str | None:
    """nginx from the system, or unpacked from Debian's archive; None where neither is."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    unpacked = _BUILD / "nginx" / "usr" / "sbin" / "nginx"
    if found is None and not unpacked.exists() and shutil.which("apt-get"):
        _BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "nginx"], cwd=_BUILD, capture_output=True, check=False)
        for archive in _BUILD.glob("nginx_*.deb"):
            subprocess.run(["dpkg", "-x", archive, _BUILD / "nginx"], check=False)
    return found or (str(unpacked) if unpacked.exists() else None)


@contextlib.contextmanager
def _nginx(folder: Path, upstream: int) -> Iterator[Proxy | None]:
    program = _nginx_program()
    if program is None:
        note("no nginx: neither installed nor to be had from Debian's archive")
        yield None
        return
    port = _free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    command = _pinned(0, program, "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(configuration))
    with subprocess.Popen(command) as child:
        _wait_for(port)
        while not (children := Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()):
            time.sleep(0.05)  # the one that works is forked after the port is there
        try:
            yield Proxy("nginx", (child.pid, *(int(each) for each in children)), port)
        finally:
            child.terminate()


@contextlib.contextmanager
def _mitmproxy(upstream: int) -> Iterator[Proxy | None]:
    program = _BUILD / "mitmproxy" / "bin" / "mitmdump"
    if not program.exists():
        _BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", _BUILD / "mitmproxy"], check=True)
        pip = _BUILD / "mitmproxy" / "bin" / "pip"
        subprocess.run([pip, "install", "--quiet", "mitmproxy"], check=False)
    if not program.exists():
        note("no mitmproxy: it could not be installed")
        yield None
        return
    port = _free_port()
    options = ["--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(port), "--set", "stream_large_bodies=1"]
    command = _pinned(0, str(program), "--mode", f"reverse:http://127.0.0.1:{upstream}", *options)
    with subprocess.Popen(command) as child:
        _wait_for(port)
        try:
            yield Proxy("mitmproxy", (child.pid,), port)
        finally:
            child.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("a proxy did not begin to listen")


# -- the run -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(_upstream())
        there: list[Proxy | None] = [
            Proxy("direct", (), upstream),
            stack.enter_context(_nginx(folder, upstream)),
            stack.enter_context(_recorder(folder, upstream)),
            stack.enter_context(_recorder(folder, upstream, RECORDER_DISABLED="1")),
            stack.enter_context(_mitmproxy(upstream)),
        ]
        proxies = [proxy for proxy in there if proxy is not None]
        for proxy in proxies:
            _measure(proxy, 5, 20, 0.01)  # warm
        for streams, events, gap in CASES:
            _case(proxies, streams, events, gap)
        _burst(proxies)
        _stalled(next(proxy for proxy in proxies if proxy.name == "recorder"), folder / "recorder.db")


def _case(proxies: list[Proxy], streams: int, events: int, gap: float) -> None:
    heading(f"{streams} streams of {events} events, {gap * 1e3:g} ms apart")
    taken = {proxy.name: _measure(proxy, streams, events, gap) for proxy in proxies}
    columns = ("proxy", "CPU us/event", "first byte ms", "KiB/stream")
    table(columns, [(name, *_row(name, each)) for name, each in taken.items()])
    ours = taken["recorder"]
    if "nginx" in taken:
        bar(f"proxy CPU, {streams} streams, x nginx", ours.cpu / max(taken["nginx"].cpu, 0.1), most=1.8)
        bar(f"proxy first byte, {streams} streams, x nginx", ours.first / taken["nginx"].first, most=1.5)
    if "mitmproxy" in taken:
        bar(f"proxy CPU, {streams} streams, x mitmproxy", ours.cpu / max(taken["mitmproxy"].cpu, 0.1), most=0.3)
    if streams >= 500:
        bar("proxy memory per open stream", ours.held, most=10, unit=" KiB")


def _row(name: str, taken: Taken) -> tuple[float | None, float, float | None]:
    return (None, ms(taken.first), None) if name == "direct" else (taken.cpu, ms(taken.first), taken.held)


def _burst(proxies: list[Proxy]) -> None:
    heading(f"one stream of {BURST} events at once, read by httpx line by line")
    rates = medians(taking_turns(ROUNDS, {proxy.name: functools.partial(_read, proxy.port) for proxy in proxies}))
    table(("proxy", "events/s"), list(rates.items()))
    bar("proxy throughput, x direct", rates["recorder"] / rates["direct"], least=0.4)


def _stalled(proxy: Proxy, store: Path) -> None:
    streams = STALLED_CASE[0]
    heading(
        f"ms from an event's sending until it is there, {streams} streams; a store shut for {STALL:g} s of each second"
    )
    contestants = {
        "calm": functools.partial(_delays, proxy.port),
        "stalled": functools.partial(_shut, proxy.port, store),
    }
    taken = taking_turns(ROUNDS, contestants)
    half = medians({name: [each[0] for each in delays] for name, delays in taken.items()})
    most = medians({name: [each[1] for each in delays] for name, delays in taken.items()})
    table(("store", "50 %", "99 %"), [(name, ms(half[name]), ms(most[name])) for name in taken])
    bar("proxy latency that a stalled store adds, 99 %", ms(most["stalled"] - most["calm"]), most=2, unit=" ms")


def _delays(port: int) -> tuple[float, float]:
    """Seconds from an event's sending until it was received: the median, and the 99th percentile."""
    command = [sys.executable, "-m", "tests.benchmarks.paced", "delays", str(port), *map(str, STALLED_CASE)]
    done = subprocess.run(_pinned(1, *command), stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    half, most = map(float, done.stdout.split())
    return half, most


def _shut(port: int, store: Path) -> tuple[float, float]:
    """The same while another process's transaction keeps the store shut again and again."""
    over = threading.Event()

    def shut() -> None:
        with contextlib.closing(sqlite3.connect(store, timeout=20, isolation_level=None)) as connection:
            while not over.wait(STALL):
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(STALL)
                connection.execute("ROLLBACK")

    holder = threading.Thread(target=shut)
    holder.start()
    try:
        return _delays(port)
    finally:
        over.set()
        holder.join()


def _read(port: int) -> float:
    """Events per second that a client sees."""
    begun = time.perf_counter()
    url = f"http://127.0.0.1:{port}/v1/threads/thread_abc123/runs?events={BURST}&gap=0"
    with httpx.stream("POST", url, content=REQUEST, trust_env=False) as response:
        seen = sum(line.startswith("data:") for line in response.iter_lines())
    assert seen == BURST
    return seen / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
