"""This installation and its settings, wherever the store is."""

from __future__ import annotations

import difflib
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

from recorder import __version__, config, redact
from recorder.errors import RecorderError

from .findings import Finding, fault, note, ok, warning

__all__ = ["installation", "settings", "sqlite_version"]

#: extra -> the modules that it brings.
_EXTRAS: Final = {
    "postgres": ("psycopg", "adbc_driver_postgresql"),
    "encodings": ("brotli", "zstandard"),
    "cassettes": ("yaml",),
    "sign": ("cryptography",),
}
_NEEDED_FOR: Final = {
    "postgres": "stores in PostgreSQL",
    "encodings": "looking into br and zstd answers",
    "cassettes": "importing VCR cassettes",
    "sign": "signed checkpoints",
}
_MODULES: Final = ("sqlalchemy", "duckdb", "httpx", "pydantic")

_Version = tuple[int, int, int]

#: Upserts, which the store writes with, came with it (sqlite.org/lang_upsert.html).
_OLDEST: Final[_Version] = (3, 24, 0)
#: Views on JSON, and `PRAGMA trusted_schema`.
_PLAIN: Final[_Version] = (3, 37, 0)
#: The WAL-reset bug (sqlite.org/wal.html, "The WAL-Reset Bug"): from the first to before the last; fixed in these too.
_WAL_RESET: Final[tuple[_Version, _Version]] = ((3, 7, 0), (3, 51, 3))
_WAL_RESET_FIXED: Final[tuple[_Version, ...]] = ((3, 44, 6), (3, 50, 7))

#: Settings whose values may be shown; of the others it is told how many there are.
_SHOWN: Final = frozenset(
    {"content", "sample", "strict", "disabled", "hosts", "match_headers", "queue_bytes", "body_limit", "detect"}
    | {"keep", "max_size", "min_free"}
)


def installation() -> Iterator[Finding]:
    """What is installed."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _MODULES)
    where = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    yield ok("version", f"recorder {__version__}, {where}; {versions}")
    yield sqlite_version(sqlite3.sqlite_version)
    missing = [name for name, modules in _EXTRAS.items() if not all(map(find_spec, modules))]
    if missing:
        lacking = ", ".join(f"{name} ({_NEEDED_FOR[name]})" for name in missing)
        yield note("extras", f"not installed: {lacking}", f"pip install 'run-recorder[{','.join(missing)}]' adds them")
    else:
        yield ok("extras", f"installed: {', '.join(_EXTRAS)}")


def sqlite_version(text: str) -> Finding:
    """Whether a version of SQLite is one to use."""
    said = f"SQLite {text}"
    try:
        major, minor, patch = (int(part) for part in text.split(".")[:3])
    except ValueError:
        return warning("sqlite", f"{said} is of no known form", "use Python's own sqlite3 module")
    version = (major, minor, patch)
    if version < _OLDEST:
        return fault("sqlite", f"{said} is too old for the store", "use a Python with SQLite 3.37 or newer")
    if version < _PLAIN:
        return warning(
            "sqlite", f"{said} is old: the view run_params may not work", "use a Python with SQLite 3.37 or newer"
        )
    first, last = _WAL_RESET
    fixed = any(version[:2] == each[:2] and version >= each for each in _WAL_RESET_FIXED)
    if first <= version < last and not fixed:
        return note(
            "sqlite",
            f"{said} has the WAL-reset bug; recorder's lock file keeps clear of it",
            "let no other program write to the store's file, or use a Python with SQLite 3.51.3, 3.50.7 or 3.44.6",
        )
    return ok("sqlite", said)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings(commands: Iterable[str] = ()) -> Iterator[Finding]:
    """What is set, where, and what seems to be meant as a setting; `commands` are variables that commands read.

    Tokens, passwords, and what is to be redacted are never shown.
    """
    try:
        given = config.origins()
        redact.Redactor(config.load().redact)
    except RecorderError as error:
        yield fault("settings", str(error), "correct it; until then commands refuse to run")
        return
    if config.disabled():
        yield warning("settings", "RECORDER_DISABLED switches recording off", "unset it to record")
    given.pop("disabled", None)
    if given:
        told = "; ".join(f"{_shown(name, one.value)} ({one.source})" for name, one in given.items())
        yield ok("settings", f"{told}; all others are the defaults")
    elif not config.disabled():
        yield ok("settings", "the defaults: no configuration file, no RECORDER_* variable")
    yield from _variables(os.environ, commands)


def _shown(name: str, value: Any) -> str:
    if name == "store":
        return f"store = {redact.clean_url(str(value))}"
    if name in _SHOWN:
        return f"{name} = {value!r}"
    if isinstance(value, Mapping):
        return f"{name} = {len(value)} of them"
    return f"{name} = {len(value)} of them" if isinstance(value, list | tuple) else f"{name} is set"


def _variables(environment: Mapping[str, str], commands: Iterable[str]) -> Iterator[Finding]:
    """Variables that are nearly a setting's."""
    known = {f"RECORDER_{name.upper()}" for name in config.Settings.model_fields}
    spoken = [*known, *commands]
    for name in sorted(environment):
        if not name.startswith("RECORDER_") or name in spoken:
            continue
        if near := difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            yield warning(
                "settings", f"nothing reads the variable {name}", f"if it is to be a setting, it is {near[0]}"
            )
