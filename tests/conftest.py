"""Fixtures and settings that every test shares."""

from __future__ import annotations

import gc
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import certifi
import hypothesis
import pytest

from tests.disk import shim
from tests.needs import NIGHTLY, left_out, left_out_of_dear, need
from tests.postgres import Postgres, binaries

if TYPE_CHECKING:
    from recorder.store import Store

__all__ = ["need"]

# No deadline and no complaint about slowness: a busy machine is not a defect. The nightly run finds new examples.
hypothesis.settings.register_profile(
    "nightly", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=10_000
)
# The same examples at each run, so that a red one is a change's doing and no chance's.
hypothesis.settings.register_profile(
    "default", hypothesis.settings.get_profile("nightly"), max_examples=100, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("nightly" if NIGHTLY else "default")

# A shell ignores Ctrl-C for what it starts in the background, and whatever a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for a process, a socket or a clock."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """What tests are made of lives to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


#: Files whose tests start processes and browsers, or copy stores, by the dozen: a third of all time.
_DEAR = {
    *("test_deployments.py", "test_faults.py", "test_pytest_plugin.py", "test_pytest_plugin_items.py"),
    *("test_pytest_plugin_orphans.py", "test_queries.py", "test_queries_snapshot.py", "test_report.py"),
    "test_report_browser.py",
}
#: Those that hold the house together, and cost nothing, take all.
_WHOLE = {"test_layers.py", "test_house.py", "test_schema.py", "test_docs.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In `make test` a slice of each test with many cases and of each dear file, which RECORDER_SLICE names.

    CI takes all of the dear files, `make nightly` all there is.
    """
    families: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.name not in _WHOLE:
            families.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left = {item for family in families.values() for item in left_out(family)}
    dear: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.name in _DEAR and item not in left:
            dear.setdefault(item.path.name, []).append(item)
    left.update(item for tests in dear.values() for item in left_out_of_dear(tests))
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clients trust one authority and not all of them: a client of httpx reads them when it is made, 10 ms each time.

    No test speaks with the world; one that speaks TLS names its own authority.
    """
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")
    trusted = tmp_path_factory.mktemp("trust") / "one.pem"
    trusted.write_text(first + end, encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(trusted)


_FOREIGN = ("RECORDER_", "OPENAI_", "ANTHROPIC_", "AZURE_", "PG")


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test sees none of the shell's settings: not recorder's, a client's, libpq's, a proxy's, and no user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'recorder.db'}"


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with recordings of every shape, to be copied."""
    from recorder.store import Store
    from tests.verified import fill

    path = tmp_path_factory.mktemp("filled") / "recorder.db"
    with Store.open(path, create=True) as store:
        fill(store, streams=False)
    return path


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, UUID]]]:
    """A SQLite store with every golden stream, to be read, and their ids by their names."""
    from recorder.store import Store
    from tests.golden import tape
    from tests.kept import GOLDEN, put

    with Store.open(tmp_path_factory.mktemp("golden") / "recorder.db", create=True) as store:
        yield store, {name: put(store, *tape(name)).recording_id for name in GOLDEN}


@pytest.fixture(scope="session")
def disk_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that watches a process's files and lets them fail, compiled once for each test process."""
    return shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL server, one for each test process. A test that stops or kills one starts its own."""
    need("postgres", binaries() is not None, "no PostgreSQL server in /usr/lib/postgresql")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The URL of the private server's database `postgres`, for the superuser."""
    return postgres.url()


@pytest.fixture(scope="module")
def new_schema(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Gives URLs of empty schemas in one database of the module: a database each would take a second each."""
    name = postgres.create_database()
    numbers = itertools.count()

    def make() -> str:
        called = f"test_{next(numbers)}"
        postgres.execute(f"CREATE SCHEMA {called}", name)
        return f"{postgres.url(name)}?options=-csearch_path%3D{called}"

    yield make
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_schema")
        return make()
    found: str = request.getfixturevalue("sqlite_url")
    return found


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of the private server; dropped afterwards, whoever is still connected."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests measured: each pair given to the fixture `record_property`."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [
        f"{report.nodeid}: {name} {value}"
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
    ]
    if figures:
        terminalreporter.section("figures")
        for line in sorted(figures):
            terminalreporter.line(line)
