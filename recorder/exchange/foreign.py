"""Files of any kind in: which kind a file is, and its recordings.

A file is taken whole or refused whole, with what is wrong and what to do. Nothing in it is run: YAML is read by the
safe loader alone.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import match
from ..errors import UsageError
from ..recording import Event, Recording
from ..store import Store
from . import aimock, cassettes, har, streams
from .building import Foreign, Maker, Unfit
from .lines import Entry
from .reading import Parsed, parsed
from .streams import Asked
from .writing import import_, put, write

__all__ = ["FORMATS", "Imported", "convert", "import_file"]

#: What `--format` takes; `auto` looks.
FORMATS: Final = ("auto", "jsonl", "har", "cassette", "aimock", "sse")

#: Bytes of the largest file that is parsed in memory.
LARGEST: Final = 256 << 20

#: Collections within collections, and values with aliases written out, that a file of YAML may hold.
DEEPEST: Final = 200
MOST_VALUES: Final = 2_000_000
#: Brackets in a file of JSON, those in its texts too: each may be an object of its own in memory.
MOST_BRACKETS: Final = 8_000_000

#: Nothing is said of what was asked.
NOTHING: Final = Asked()

_RECORDINGS: Final = b'{"recorder":'

#: How files begin that are none to import, what each is, and what to do.
_OTHERS: Final = (
    (b"\x1f\x8b", "it is compressed with gzip: `gunzip` it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard: `unzstd` it first"),
    (b"BZh", "it is compressed with bzip2: `bunzip2` it first"),
    (b"\xfd7zXZ\0", "it is compressed with xz: `unxz` it first"),
    (b"PK\x03\x04", "it is a ZIP archive: `unzip` it first, and import what was in it"),
    (b"PK\x05\x06", "it is a ZIP archive with nothing in it"),
    (b"SQLite format 3\0", "it is a database: if it is a store, `recorder --store FILE export` writes a file of it"),
    (
        b'{"recorder":"evidence"',
        (
            "it is evidence, which `recorder verify --evidence` checks: to import its recordings, make a file of its"
            ' lines from {"recorder":"recordings" on'
        ),
    ),
    (b"recorder-checkpoint/", "it is a log of checkpoints: `recorder verify --against FILE` holds a store against it"),
)


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
    if (kind := _kind(source, format)) == "jsonl":
        return Imported("recorder", tuple(import_(store, source, trusted=frozenset(rule.normalise))))
    found = look(source, format=kind, asked=asked, rule=rule)
    return Imported(found.source, tuple(put(store, found.parsed)), found.skipped)


def convert(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 (the option's name)
    asked: Asked = NOTHING,
    rule: match.Rule = match.DEFAULT,
) -> Imported:
    """Make a recording file for tests of what a file holds. Raises as `import_file` does."""
    found = look(path, format=format, asked=asked, rule=rule)
    entries = [Entry(recording, [Event(*row[1:]) for row in rows]) for recording, rows in found.parsed]
    write(target, entries, keep=False)
    return Imported(found.source, tuple(entry.recording for entry in entries), found.skipped)


class Found(NamedTuple):
    """What a file holds, as a store takes it; see `Imported`."""

    source: str
    parsed: list[Parsed]
    skipped: tuple[str, ...] = ()


def look(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 (the option's name)
    asked: Asked = NOTHING,
    rule: match.Rule = match.DEFAULT,
) -> Found:
    """Read a file whole, and write nothing. Raises UsageError where it is refused; OSError."""
    source = Path(path)
    if (kind := _kind(source, format)) == "jsonl":
        return Found("recorder", list(parsed(source, trusted=frozenset(rule.normalise))))
    return _foreign(source, kind, asked, rule)


def _kind(path: Path, given: str) -> str:
    """Which kind of file it is, by its beginning; among those of JSON and YAML its content decides."""
    if not path.is_file():
        raise UsageError(f"{path} is no ordinary file: only those are imported")
    with path.open("rb") as file:
        start = file.read(4096)
    for beginning, why in _OTHERS:
        if start.startswith(beginning):
            raise UsageError(f"{path} is not imported: {why}")
    if given != "auto":
        return given
    if start.lstrip().startswith(_RECORDINGS):
        return "jsonl"
    if path.suffix.lower() == ".sse" or (path.suffix.lower() not in (".yaml", ".yml") and streams.is_stream(start)):
        return "sse"
    return "any"


def _foreign(path: Path, kind: str, asked: Asked, rule: match.Rule) -> Found:
    """What a file that is not ours holds."""
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
        made: list[Parsed] = []
        skipped: list[str] = []
        for each in exchanges:
            if isinstance(each, har.Skipped):
                skipped.append(str(each))
            else:
                made.append(maker.make(each))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path} is not imported: {why}") from None
    if not made:
        why = f": {skipped[0]}" if skipped else ""
        raise UsageError(f"{path} holds no exchange to import{why}")
    return Found(name, made, tuple(skipped))


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
        if data.count(b"{") + data.count(b"[") > MOST_BRACKETS:
            raise Unfit(f"it holds more than {MOST_BRACKETS:,} objects and lists: cut it in parts")
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
        # The C loader nests calls as the file nests values, and ends the process where these are too deep for it.
        depth = 0
        for event in yaml.parse(data, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEEPEST:
                    raise RecursionError
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        value = yaml.load(data, Loader=loader)  # noqa: S506 (it is the safe loader)
    except yaml.constructor.ConstructorError as error:
        raise Unfit(f"it holds {error.problem or 'objects'}: only plain values are read, nothing is run") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise Unfit(f"it is no YAML{where}: {getattr(error, 'problem', None) or 'damaged'}") from None
    _require_few(value)
    return value


def _require_few(value: Any) -> None:
    """Raises Unfit where the values, with aliases written out, are more than a file can hold."""
    rest, count = [value], 0
    while rest:
        each = rest.pop()
        count += 1
        if count > MOST_VALUES:
            raise Unfit("it is larger than any cassette, once its aliases are written out")
        if isinstance(each, Mapping):
            rest += each.values()
        elif isinstance(each, list | tuple | set):
            rest += each
