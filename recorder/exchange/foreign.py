"""Files of any kind in: which kind a file is, and its recordings.

A file is taken whole or refused whole, with what is wrong and what to do. Nothing in it is run: YAML is read by the
safe loader alone.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .. import match
from ..errors import UsageError
from ..recording import Event, Recording
from ..store import Store
from . import aimock, cassettes, har, streams
from .building import Foreign, Maker, Unfit
from .lines import Entry
from .reading import Parsed, read
from .streams import Asked
from .writing import import_, put, write

__all__ = ["FORMATS", "Imported", "convert", "import_file"]

#: What `--format` takes; `auto` looks.
FORMATS: Final = ("auto", "jsonl", "har", "cassette", "aimock", "sse")

#: Bytes of the largest file that is parsed in memory.
LARGEST: Final = 256 << 20

#: Nothing is said of what was asked.
NOTHING: Final = Asked()

_RECORDINGS: Final = b'{"recorder":'


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: `source` is the tool that wrote it; `skipped` says what in it was no recording, and why."""

    source: str
    recordings: tuple[Recording, ...]
    skipped: tuple[str, ...] = ()


def import_file(
    store: Store,
    path: str | os.PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 (the option's name)
    asked: Asked = NOTHING,
    rule: match.Rule = match.DEFAULT,
) -> Imported:
    """Put what a file holds into a store, all or nothing; importing again changes nothing.

    `format` is one of FORMATS. `asked` says what a raw stream answers. `rule` is what the requests' keys are made by.
    Raises UsageError where the file is refused, and as `Store.append` does; OSError.
    """
    source = Path(path)
    kind = _kind(source, format)
    if kind == "jsonl":
        return Imported("recorder", tuple(import_(store, source)))
    found, skipped, name = _found(source, kind, asked, rule)
    return Imported(name, tuple(put(store, found)), tuple(skipped))


def convert(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 (the option's name)
    asked: Asked = NOTHING,
    rule: match.Rule = match.DEFAULT,
) -> Imported:
    """Make a recording file for tests of what a file holds. Raises as `import_file` does."""
    source = Path(path)
    kind = _kind(source, format)
    skipped: list[str] = []
    if kind == "jsonl":
        entries, name = list(read(source)), "recorder"
    else:
        found, skipped, name = _found(source, kind, asked, rule)
        entries = [Entry(recording, [Event(*row[1:]) for row in rows]) for recording, rows in found]
    write(target, entries, keep=False)
    return Imported(name, tuple(entry.recording for entry in entries), tuple(skipped))


def _kind(path: Path, given: str) -> str:
    """Which kind of file it is, by its beginning; among those of JSON and YAML its content decides."""
    if given != "auto":
        return given
    with path.open("rb") as file:
        start = file.read(4096)
    if start.lstrip().startswith(_RECORDINGS):
        return "jsonl"
    if path.suffix.lower() == ".sse" or (path.suffix.lower() not in (".yaml", ".yml") and streams.is_stream(start)):
        return "sse"
    return "any"


def _found(path: Path, kind: str, asked: Asked, rule: match.Rule) -> tuple[list[Parsed], list[str], str]:
    """The recordings of a file that is not ours, what was skipped, and the tool that wrote it."""
    size = path.stat().st_size
    if size > LARGEST:
        raise UsageError(f"{path} is of {size:,} bytes, and at most {LARGEST:,} are imported at once: cut it in parts")
    data = path.read_bytes()
    try:
        if kind == "sse":
            name, exchanges = "a raw stream", _one(streams.of_stream(data, asked))
        else:
            name, exchanges = _read(_parsed(path, data), kind)
        maker = Maker(name, rule)
        found: list[Parsed] = []
        skipped: list[str] = []
        for each in exchanges:
            if isinstance(each, har.Skipped):
                skipped.append(str(each))
            else:
                found.append(maker.make(each))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path} is not imported: {why}") from None
    if not found:
        why = f": {skipped[0]}" if skipped else ""
        raise UsageError(f"{path} holds no exchange to import{why}")
    return found, skipped, name


def _one(exchange: Foreign) -> Iterable[Foreign | har.Skipped]:
    yield exchange


def _read(value: Any, kind: str) -> tuple[str, Iterable[Foreign | har.Skipped]]:
    """The tool's name and the exchanges of a parsed file."""
    known: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], str], Callable[[Any], Any]], ...] = (
        ("har", har.is_har, lambda _: "HAR", har.of_har),
        ("cassette", cassettes.is_cassette, cassettes.source_of, cassettes.of_cassette),
        ("aimock", aimock.is_aimock, lambda _: "aimock", aimock.of_aimock),
    )
    for name, looks, source, exchanges in known:
        if kind in ("any", name) and looks(value):
            return source(value), exchanges(value)
    raise Unfit(
        "it is none of the files that recorder knows (its own, HAR, cassettes of vcrpy, VCR, betamax and cassetter,"
        " aimock fixtures, raw streams); say --format if it is one of these"
    )


def _parsed(path: Path, data: bytes) -> Any:
    """The values of a JSON, TOML or YAML file. Raises Unfit, and UsageError without PyYAML."""
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return tomllib.loads(data.decode("utf-8"))
    if suffix in (".json", ".har") or data.lstrip()[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except json.JSONDecodeError as error:
            raise Unfit(f"it is no JSON: {error.msg.lower()} in line {error.lineno}") from None
    return _yaml(data)


def _yaml(data: bytes) -> Any:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise UsageError("cassettes in YAML need PyYAML: pip install 'run-recorder[cassettes]'") from None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(data, Loader=loader)  # noqa: S506 (it is the safe loader)
    except yaml.constructor.ConstructorError as error:
        raise Unfit(f"it holds {error.problem or 'objects'}: only plain values are read, nothing is run") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise Unfit(f"it is no YAML{where}: {getattr(error, 'problem', None) or 'damaged'}") from None
