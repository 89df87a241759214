"""The order of the modules: who may import whom, read from the source with `ast`, whether or not the import ever runs.

An import inside a function or under TYPE_CHECKING counts like any other: what a module knows is what it names.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.needs import ROOT

PACKAGE: Final = ROOT / "recorder"

# A module imports only from earlier lines, never from its own.
ORDER: Final = """
errors
resources config sse cuts decode
recording
digest dialects redact prices
detect match schema
migrate
store
capture
writer
reader
replay queries exchange retention timeline diff verify scan doctor
transport wire evidence
proxy replay_server report
handle
tape
demo pytest_plugin
cli
"""
LINE: Final = {module: number for number, line in enumerate(ORDER.split("\n")) for module in line.split()}

# What the order would allow, and the design does not: who must know nothing of whom.
APART: Final = {
    "store": {"dialects"},
    "schema": {"dialects"},
    "queries": {"capture", "writer"},
    "timeline": {"capture", "writer"},
    "diff": {"capture", "writer"},
    "verify": {"capture", "writer"},
    "doctor": {"capture", "writer"},
    "scan": {"capture", "writer"},
}

# Libraries that a module must not know, so that it stays pure.
_SQL: Final = {"adbc_driver_manager", "alembic", "duckdb", "psycopg", "sqlalchemy", "sqlite3"}
_NETWORK: Final = {"aiohttp", "asyncio", "azure", "http", "httpx", "httpx2", "requests", "socket", "urllib"}
#: What of these knows no network after all: it takes texts apart.
PURE: Final = "urllib.parse"
WITHOUT: Final = {
    "sse": _SQL | _NETWORK,
    "cuts": _SQL | _NETWORK,
    "digest": _SQL | _NETWORK,
    "decode": _SQL | _NETWORK,
    "recording": _SQL | _NETWORK,
    "dialects": _SQL | _NETWORK,
    "prices": _SQL | _NETWORK,
    "detect": _SQL | _NETWORK,
    "capture": _SQL | _NETWORK | {"threading"},
    "store": _NETWORK,  # it has locks, because any thread may use it, but starts no thread
    "transport": _SQL,
    "wire": _SQL,
}

# Loaded only when a user has them and something needs them, so never by a module's own import.
ON_DEMAND: Final = {
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "adbc_driver_sqlite",
    "aiohttp",
    "anthropic",
    "azure",
    "brotli",
    "brotlicffi",
    "cryptography",
    "duckdb",
    "genai_prices",
    "httpx",
    "httpx2",
    "multidict",
    "openai",
    "opentelemetry",
    "pandas",
    "polars",
    "psycopg",
    "pyarrow",
    "requests",
    "urllib3",
    "yaml",
    "zstandard",
}

# Tests that mirror no module.
OTHER_TESTS: Final = {
    "test_advice",
    "test_analytics",
    "test_corpus",
    "test_crash",
    "test_deployments",
    "test_docs",
    "test_fairness",
    "test_fault_table",
    "test_faults",
    "test_fleet",
    "test_fuzz",
    "test_exchange_hostile",
    "test_house",
    "test_incident",
    "test_io_errors",
    "test_layers",
    "test_loopback",
    "test_mutation",
    "test_power",
    "test_power_migration",
    "test_proxy_soak",
    "test_recipes",
    "test_redact_bodies",
    "test_report_browser",
    "test_second_engine",
    "test_secrets",
    "test_torture",
    "test_wheel",
}


class Import(NamedTuple):
    """One name that a file imports, dotted and absolute; `eager` when importing the file itself loads it."""

    name: str
    eager: bool
    line: int


def imports(path: Path, source: str) -> Iterator[Import]:
    """Every import in the `source` of the file `path`, wherever it stands; `from a import b` gives `a.b`."""
    yield from _imports(ast.parse(source), path.parent.relative_to(ROOT).parts, eager=True)


def _imports(node: ast.AST, package: tuple[str, ...], *, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (Import(alias.name, eager, child.lineno) for alias in child.names)
            case ast.ImportFrom():
                base = package[: len(package) + 1 - child.level] if child.level else ()
                prefix = ".".join([*base, *filter(None, [child.module])])
                yield from (Import(f"{prefix}.{alias.name}", eager, child.lineno) for alias in child.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(child, package, eager=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports(ast.Module(child.body, []), package, eager=False)
                yield from _imports(ast.Module(child.orelse, []), package, eager=eager)
            case _:
                yield from _imports(child, package, eager=eager)


def module_of(path: Path) -> str:
    """The module of the one floor that a file belongs to: `dialects/chat.py` is `dialects`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def faults(path: Path, source: str) -> list[str]:
    """What is wrong with the imports of one file, each as a sentence."""
    module, found = module_of(path), []
    for name, eager, line in imports(path, source):
        where = f"{path.relative_to(ROOT)}:{line}"
        top, _, rest = name.partition(".")
        if top == "recorder":
            found += [f"{where}: {fault}" for fault in _inside(module, rest.partition(".")[0], eager=eager)]
        elif top in WITHOUT.get(module, set()) and not name.startswith(PURE):
            found.append(f"{where}: {module} must know nothing of {top}")
        elif eager and top in ON_DEMAND:
            found.append(f"{where}: {top} must be imported where it is used, not on top")
    return found


def _inside(module: str, other: str, *, eager: bool) -> Iterator[str]:
    """What is wrong with `module` importing `other`, both of the package."""
    if module == "__init__":
        if eager:
            yield "the package itself imports nothing eagerly"
    elif module == "__main__":
        if other != "cli":
            yield "__main__ imports only cli"
    elif other in {"__version__", module}:
        pass
    elif other not in LINE:
        yield f"{other or 'the whole package'} is no module of ORDER"
    elif LINE[other] >= LINE[module]:
        yield f"{module} stands before or beside {other} and must not import it"
    elif other in APART.get(module, set()):
        yield f"{module} must know nothing of {other}"


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def modules() -> set[str]:
    """The modules of the one floor that exist: files, and folders with Python files in them."""
    return {module_of(path) for path in files()} - {"__init__", "__main__"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_earlier_lines(path: Path) -> None:
    if module_of(path) in LINE or module_of(path) in {"__init__", "__main__"}:
        assert faults(path, path.read_text(encoding="utf-8")) == []


def test_every_module_has_its_place_in_the_order() -> None:
    assert sorted(modules() - set(LINE)) == []


def test_every_module_has_one_test_file_and_every_test_file_its_module() -> None:
    """`dialects/chat.py` may be tested by test_dialects.py or by a test_dialects_chat.py beside it."""
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")} - OTHER_TESTS
    expected = {f"test_{module}" for module in modules()}
    parts = {f"test_{'_'.join(path.relative_to(PACKAGE).with_suffix('').parts)}" for path in files()}
    assert sorted(expected - tests) == [], "modules without a test file"
    assert sorted(tests - expected - parts) == [], "test files without a module"


def test_no_module_is_named_like_a_folder_of_the_wheel() -> None:
    assert modules().isdisjoint({"analytics", "migrations"})


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_above_650_lines(path: Path) -> None:
    """A module that outgrows about 600 lines becomes a package of the same name."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 650


def test_third_party_imports_are_declared_and_base_dependencies_are_used() -> None:
    """What the package names is either a dependency, an extra, or a client library that the user brings."""
    named = {
        name.partition(".")[0] for path in files() for name, _, _ in imports(path, path.read_text(encoding="utf-8"))
    }
    # `compression` is Python's own from 3.14, pydantic_core a part of pydantic; pytest loads its plugin itself.
    foreign = named - set(sys.stdlib_module_names) - {"recorder", "compression", "pydantic_core", "pytest"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    base = {requirement.partition(">=")[0].replace("-", "_") for requirement in declared}
    assert sorted(foreign - base - ON_DEMAND) == [], "imported and not declared"
    assert sorted(base - foreign) == [], "declared and never imported"


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("sse", "from recorder import config", "sse stands before or beside config"),
        ("sse", "from recorder.config import Config", "sse stands before or beside config"),
        ("sse", "import recorder.store", "sse stands before or beside store"),
        ("sse", "def f():\n    from recorder import store", "sse stands before or beside store"),
        ("sse", "if TYPE_CHECKING:\n    from recorder import store", "sse stands before or beside store"),
        ("sse", "try:\n    from recorder import store\nfinally:\n    pass", "sse stands before or beside store"),
        ("sse", "from . import config", "sse stands before or beside config"),
        ("dialects/chat", "from ..store import Store", "dialects stands before or beside store"),
        ("sse", "import recorder", "the whole package is no module of ORDER"),
        ("sse", "from urllib.request import urlopen", "sse must know nothing of urllib"),
        ("sse", "import sqlite3", "sse must know nothing of sqlite3"),
        ("store", "from recorder.dialects import chat", "store must know nothing of dialects"),
        ("handle", "from recorder.cli import main", "handle stands before or beside cli"),
        ("handle", "import httpx", "httpx must be imported where it is used"),
        ("handle", "from recorder import nowhere", "nowhere is no module of ORDER"),
        ("__init__", "from recorder import errors", "the package itself imports nothing eagerly"),
        ("__main__", "from recorder import store", "__main__ imports only cli"),
    ],
)
def test_a_forbidden_import_is_found(module: str, line: str, fault: str) -> None:
    (found,) = faults(PACKAGE / f"{module}.py", line)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("store", "from recorder.recording import Event"),
        ("dialects/chat", "from recorder.dialects.base import Dialect"),
        ("dialects/chat", "from .base import Dialect"),
        ("dialects/chat", "from ..recording import Event"),
        ("dialects/chat", "from urllib.parse import unquote"),
        ("handle", "def f():\n    import httpx"),
        ("handle", "if TYPE_CHECKING:\n    import httpx"),
        ("writer", "from recorder import __version__"),
        ("__init__", "if TYPE_CHECKING:\n    from recorder.handle import open"),
        ("__main__", "from recorder.cli import main"),
    ],
)
def test_a_permitted_import_is_left_alone(module: str, line: str) -> None:
    assert faults(PACKAGE / f"{module}.py", line) == []
