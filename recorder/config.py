"""The settings of a recorder, from four places: options > RECORDER_* > recorder.toml or [tool.recorder] > defaults.

It also finds the store, because where that lies is a setting. Files are looked for from the current folder up to the
root of its repository (the folder with `.git`); outside of a repository only in the current folder, so that nothing
in a shared parent such as /tmp is taken for one's own.

`RECORDER_DISABLED` (anything but 0, false, no, off or nothing) goes before everything, options too: then no file is
read and nothing can be wrong. It refuses to know what the settings do.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from .errors import NotFound, StoreUnavailable, UsageError

__all__ = [
    "LARGE",
    "LEAST_SIZE",
    "Given",
    "Settings",
    "ages",
    "disabled",
    "hosts",
    "least_free",
    "load",
    "origins",
    "seconds_of",
    "size_of",
    "size_text",
    "store_url",
]

_MIB: Final = 1024 * 1024
#: Bytes that a store may be limited to at least; one with nothing in it takes a fifth of that.
LEAST_SIZE: Final = 1 << 20
#: Bytes of a store from which on its user is told of it, where no setting limits it.
LARGE: Final = 10 << 30

_UNITS: Final = {"": 1, "kib": 1024, "mib": _MIB, "gib": 1024 * _MIB, "tib": _MIB * _MIB}
_SIZE: Final = re.compile(r"\s*([0-9]{1,15})\s*(|[kmgt]ib)\s*", re.IGNORECASE)
_SPAN: Final = re.compile(r"\s*([0-9]{1,7})\s*(s|m|min|h|d|w)\s*", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: What an age after which things go may be told in: nobody's months are to be taken for minutes.
_AGE: Final = re.compile(r"(.*(?:min|h|d|w))(\s+whole)?\s*", re.IGNORECASE)

Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Host: TypeAlias = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        pattern=r"^(?:[*.]*[^\s/:@*.?#\[\]][^\s/:@?#\[\]]*|\[[0-9a-f:.]+\])(?::[0-9]+)?$",
    ),
]


class Settings(BaseModel):
    """How to record. Immutable; `load` makes one. Sizes are bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Path or URL; None: the default store, see `store_url`.
    store: Text | None = None
    #: full; facts: the reading is computed, payloads are never written; none: neither request nor response content.
    content: Literal["full", "facts", "none"] = "full"
    #: Which share of the runs is recorded.
    sample: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    #: Fail when recording fails, instead of leaving the app alone.
    strict: bool = False
    #: Record nothing, touch nothing.
    disabled: bool = False
    #: Whose calls `.patch()` records.
    hosts: tuple[Host, ...] = ()
    #: Ignore paths, counting headers and normalisers of the match rule; `recorder.match.Rule` says their form.
    ignore: tuple[Text, ...] = ()
    match_headers: tuple[Text, ...] = ()
    normalise: tuple[Text, ...] = ()
    #: What is never stored beside credentials; `recorder.redact.rules` says the form. These add up from all places.
    redact: tuple[Text, ...] = ()
    #: How much may wait to be written before recordings are cut short.
    queue_bytes: Annotated[int, Field(ge=1)] = 64 * _MIB
    #: A larger request body is kept as length and SHA-256 alone.
    body_limit: Annotated[int, Field(ge=0)] = 32 * _MIB
    #: Look for runaway whitespace and repetition while answers stream, and tell of them as they happen.
    detect: bool = True
    #: How long recordings are kept, see `ages`; None: for ever.
    keep: Text | None = None
    #: How much the store may take; then the oldest recordings go.
    max_size: Annotated[int, Field(ge=LEAST_SIZE)] | None = None
    #: How much of the disk is to stay free, or nothing more is recorded; None: 512 MiB or 2 % of it; 0: nothing.
    min_free: Annotated[int, Field(ge=0)] | None = None
    #: Where checkpoints go, one a line; None: the log "recorder.checkpoints". A private key that signs them. How often
    #: one is made, in seconds, while there is news; 0: never.
    checkpoint_file: Text | None = None
    checkpoint_key: Text | None = None
    checkpoint_every: Annotated[float, Field(ge=0, le=31 * 86400, allow_inf_nan=False)] = 600.0
    tags: dict[Text, str] = Field(default_factory=dict)
    #: One's own prices, aliases of deployments, providers of hosts; `recorder.prices.own` says its form.
    prices: dict[str, Any] = Field(default_factory=dict)
    #: The limits that `recorder budget` checks; `recorder.queries.limits` says their form.
    budget: dict[str, Any] = Field(default_factory=dict)

    @field_validator("keep")
    @classmethod
    def _ages(cls, value: str | None) -> str | None:
        """Refuse what is no rule."""
        if value is not None:
            ages(value)
        return value

    @field_validator("queue_bytes", "body_limit", "max_size", "min_free", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        """A number of bytes from text such as `64MiB`."""
        size = size_of(value) if isinstance(value, str) else None
        return value if size is None else size

    @field_validator("checkpoint_every", mode="before")
    @classmethod
    def _span(cls, value: Any) -> Any:
        """A number of seconds from text such as `10min`."""
        span = seconds_of(value) if isinstance(value, str) else None
        return value if span is None else span


_FORMS: Final = {
    "store": "a path, sqlite:///path or postgresql://user@host/database",
    "content": "full, facts or none",
    "sample": "a number from 0 to 1",
    "strict": "true or false",
    "disabled": "true or false",
    "hosts": 'host names without scheme and path, such as ["api.openai.com"]',
    "ignore": 'paths, such as ["body.metadata.session_id"]',
    "match_headers": 'header names, such as ["openai-beta"]',
    "normalise": 'ids, dates or /regular expressions/, such as ["ids", "/build-[0-9]+/"]',
    "redact": '/regular expressions/ or paths, such as ["/E[0-9]{6}/", "body.metadata.email"]',
    "queue_bytes": "a number of bytes above 0, such as 67108864 or 64MiB",
    "body_limit": "a number of bytes, such as 33554432 or 32MiB",
    "detect": "true or false",
    "keep": "an age after which content goes, such as 30d, or 365d whole after which all goes, or content first and "
    "all later: 30d, 365d whole",
    "max_size": "a number of bytes from 1MiB on, such as 10GiB",
    "min_free": "a number of bytes, such as 2GiB, or 0",
    "checkpoint_file": "a path",
    "checkpoint_key": "the path of an Ed25519 private key",
    "checkpoint_every": "a span of time such as 10min, a number of seconds, or 0 for never",
    "tags": 'names with texts, such as { app = "search" }',
    "prices": "a table in a file, with providers, models and own",
    "budget": "a table in a file, with limits such as max_truncated_share = 0.02",
}
_ENVIRONMENT_FORMS: Final = {
    "strict": "1 or 0",
    "disabled": "1 or 0",
    "hosts": "host names without scheme and path, separated by commas",
    "ignore": "paths, separated by commas, such as body.metadata.session_id,body.user",
    "match_headers": "header names, separated by commas",
    "normalise": "ids, dates or /regular expressions/ without commas, separated by commas",
    "redact": "/regular expressions/ without commas or paths, separated by commas",
    "detect": "1 or 0",
    "tags": "name=text pairs, separated by commas",
}


class Given(NamedTuple):
    """A value, where it came from, and what it should look like there."""

    value: Any
    source: str
    form: str


def load(**options: Any) -> Settings:
    """The settings that hold here and now. An option that is None counts as not given.

    Raises UsageError for an unknown option or key, a value of the wrong form (named with the place it came from, never
    with the value), and a file that cannot be read.
    """
    if disabled():
        return Settings(disabled=True)
    given = origins(**options)
    try:
        return Settings(**{name: one.value for name, one in given.items()})
    except ValidationError as error:
        one = given[str(error.errors(include_input=False, include_url=False)[0]["loc"][0])]
        raise UsageError(f"{one.source} is wrong: it must be {one.form}") from None


def origins(**options: Any) -> dict[str, Given]:
    """What was given, of all places together; a setting that is missing has its default. The values are not checked.

    Raises UsageError for an unknown option or key, and a file that cannot be read.
    """
    _check_names(options, "option {}")
    places = (_from_file(), _from_environment(), _from_options(options))
    given = {name: one for place in places for name, one in place.items()}
    _add_up("redact", given, places)
    return given


def _add_up(name: str, given: dict[str, Given], places: Iterable[Mapping[str, Given]]) -> None:
    """A setting of which no place takes back what another one says. Lists of the wrong form are left to be told of."""
    values = [place[name].value for place in places if name in place]
    if len(values) > 1 and all(isinstance(value, list | tuple) for value in values):
        given[name] = given[name]._replace(value=[each for value in values for each in value])


def size_of(text: str) -> int | None:
    """Bytes of a text such as `64MiB`; None of another text."""
    size = _SIZE.fullmatch(text)
    return None if size is None else int(size[1]) * _UNITS[size[2].lower()]


def size_text(count: float) -> str:
    """A number of bytes as people read it, in the units that `size_of` takes."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def seconds_of(text: str) -> int | None:
    """Seconds of a span of time such as `30s`, `10min` (or `10m`), `3h`, `7d`, `2w`; None of another text."""
    span = _SPAN.fullmatch(text)
    return None if span is None else int(span[1]) * _SECONDS[span[2].lower()]


def least_free(min_free: int | None, disk: int) -> int:
    """How many bytes of a disk of so many are to stay free by this setting: without one 512 MiB, or 2 % if more."""
    return max(512 * _MIB, disk // 50) if min_free is None else min_free


def ages(text: str) -> tuple[int | None, int | None]:
    """After how many seconds the content of recordings goes, and all of them, of a text such as `30d, 365d whole`.

    None where the text does not say. Raises ValueError for another text, and where content would go last.
    """
    found: dict[bool, int] = {}
    for rule in text.split(","):
        age = _AGE.fullmatch(rule)
        seconds = None if age is None else seconds_of(age[1])
        if age is None or not seconds or (whole := age[2] is not None) in found:
            raise ValueError("no rule for keeping recordings")
        found[whole] = seconds
    content, everything = found.get(False), found.get(True)
    if content is not None and everything is not None and content >= everything:
        raise ValueError("no content is left to be kept")
    return content, everything


def disabled() -> bool:
    """Whether the environment switches recording off (`RECORDER_DISABLED`). Any text that is not a clear no does."""
    return os.environ.get("RECORDER_DISABLED", "").strip().lower() not in {"", "0", "false", "no", "off"}


def hosts(names: Iterable[str]) -> tuple[str, ...]:
    """The names as `Settings.hosts` holds them. Raises UsageError for what is no host name, such as a URL."""
    try:
        return Settings(hosts=tuple(names)).hosts
    except ValidationError:
        raise UsageError(f"option 'hosts' is wrong: it must be {_FORMS['hosts']}") from None


def _check_names(names: Mapping[str, Any], what: str) -> None:
    for name in names:
        if name not in Settings.model_fields:
            near = get_close_matches(name.replace("-", "_").lower(), Settings.model_fields, n=1, cutoff=0.0)[0]
            raise UsageError(f"{what.format(repr(name))} is unknown: did you mean {near!r}?")


# -- the three places ----------------------------------------------------------------------------------------------


def _from_options(options: Mapping[str, Any]) -> dict[str, Given]:
    return {
        name: Given(os.fspath(value) if isinstance(value, os.PathLike) else value, f"option {name!r}", _FORMS[name])
        for name, value in options.items()
        if value is not None
    }


def _from_environment() -> dict[str, Given]:
    found = {}
    for name in Settings.model_fields:
        variable = f"RECORDER_{name.upper()}"
        text = os.environ.get(variable, "").strip()
        if text:
            form = _ENVIRONMENT_FORMS.get(name, _FORMS[name])
            found[name] = Given(_from_text(name, text, variable, form), f"environment variable {variable}", form)
    return found


def _from_text(name: str, text: str, variable: str, form: str) -> Any:
    if name not in {"hosts", "ignore", "match_headers", "normalise", "redact", "tags"}:
        return text
    items = [item.strip() for item in text.split(",") if item.strip()]
    if name != "tags":
        return tuple(items)
    pairs = [item.partition("=") for item in items]
    if not all(equals for _, equals, _ in pairs):
        raise UsageError(f"environment variable {variable} is wrong: it must be {form}")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _from_file() -> dict[str, Given]:
    for folder in _folders():
        own, shared = folder / "recorder.toml", folder / "pyproject.toml"
        tables = {own: _read(own)} if _is_there(own) else {}
        if _is_there(shared):
            tools = _read(shared).get("tool")
            if isinstance(tools, dict) and "recorder" in tools:
                tables[shared] = tools["recorder"]
        if len(tables) > 1:
            raise UsageError(f"{own} and [tool.recorder] in {shared} both hold settings: keep one of them")
        for path, table in tables.items():
            return _from_table(table, path)
    return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML file: {_one_line(error)}; correct it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; make it readable") from None


def _one_line(error: Exception) -> str:
    # A decoding error would quote the file.
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else " ".join(str(error).split())


def _from_table(table: Any, path: Path) -> dict[str, Given]:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.recorder must be a table: write [tool.recorder]")
    _check_names(table, f"{path}: key {{}}")
    found = {name: Given(value, f"{path}: {name}", _FORMS[name]) for name, value in table.items()}
    store = found.get("store")
    if store and isinstance(store.value, str):
        found["store"] = store._replace(value=_beside(store.value, path.parent))
    for name in ("checkpoint_file", "checkpoint_key"):
        if name in found and isinstance(found[name].value, str):
            found[name] = found[name]._replace(value=str(path.parent / Path(found[name].value).expanduser()))
    return found


def _beside(store: str, folder: Path) -> str:
    """A store named in a file, as seen from that file's folder."""
    relative = _RELATIVE_URL.match(store)
    if relative:
        return f"sqlite:///{folder}/{store[relative.end() :]}"
    if store == ":memory:" or _SCHEME.match(store):
        return store
    return str(folder / Path(store).expanduser())


def _folders() -> list[Path]:
    """The current folder and those above it up to the repository's root; outside of a repository that one alone."""
    try:
        here = Path.cwd()
    except OSError:  # deleted under our feet
        return []
    folders = [here, *here.parents]
    root = next((place for place, folder in enumerate(folders) if _is_there(folder / ".git")), 0)
    return folders[: root + 1]


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


# -- the store -----------------------------------------------------------------------------------------------------

_DEFAULT: Final = Path(".recorder", "recorder.db")
_MEMORY: Final = "sqlite:///:memory:"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_RELATIVE_URL: Final = re.compile(r"sqlite:///(?!/|:memory:|\Z)", re.IGNORECASE)


def store_url(value: str | os.PathLike[str] | None, *, create: bool) -> str:
    """The URL of the store that `value` (a path, a URL, or None) means.

    `sqlite:///` and an absolute path as it is (nothing is percent-encoded); `sqlite:///:memory:`; or
    `postgresql://…` as it was given. For None it is the nearest `.recorder/recorder.db` upward to the repository's
    root; where there is none and `create` is set, `.recorder` is made in the current folder, for its owner alone,
    and kept out of git.

    Raises NotFound where there is none and `create` is not set, UsageError for another scheme or form,
    StoreUnavailable where the folder cannot be made.
    """
    if value is None:
        return _sqlite(_default_store(create=create))
    text = os.fspath(value).strip()
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _MEMORY if text == ":memory:" else _sqlite(Path(text).expanduser())
    rest = text[scheme.end() :]
    match scheme[1].lower():
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return f"postgresql://{rest}"
        case "sqlite":
            return _sqlite_url(rest)
    raise UsageError(
        f"store scheme {scheme[1]!r} is unknown: give a path, sqlite:///path or postgresql://user@host/database"
    )


def _sqlite_url(rest: str) -> str:
    if rest in {"", "/", "/:memory:"}:
        return _MEMORY
    if not rest.startswith("/"):
        raise UsageError("a sqlite URL has three slashes before a relative path and four before an absolute one")
    path, mark, _ = rest[1:].partition("?")
    if mark:
        raise UsageError("a sqlite store takes no parameters: leave out the question mark and what follows")
    return _sqlite(Path(path))


def _sqlite(path: Path) -> str:
    return f"sqlite:///{os.path.realpath(path)}"


def _default_store(*, create: bool) -> Path:
    folders = _folders()
    for folder in folders:
        if _is_there(folder / _DEFAULT):
            return folder / _DEFAULT
    if not folders:
        raise StoreUnavailable("the current folder no longer exists: change to another, or name a store with --store")
    if create:
        _make_folder(folders[0] / _DEFAULT.parent)
        return folders[0] / _DEFAULT
    where = f"{folders[0]}" if len(folders) == 1 else f"{folders[0]} and the folders above it up to {folders[-1]}"
    raise NotFound(
        f"no store: looked for {_DEFAULT} in {where}; record something there, or name a store with --store or"
        " RECORDER_STORE"
    )


def _make_folder(folder: Path) -> None:
    """Makes the folder of the default store, for its owner alone, unless it is there."""
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # whatever the umask
        (folder / ".gitignore").write_text("*\n", encoding="ascii")
    except FileExistsError:
        _check_folder(folder)
    except OSError as error:
        raise StoreUnavailable(
            f"{folder} cannot be made: {error.strerror}; name another place with --store or RECORDER_STORE"
        ) from None


def _check_folder(folder: Path) -> None:
    """Raises StoreUnavailable where what is there could be somebody else's."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise StoreUnavailable(f"{folder} is no folder (or a link): move it away, or name a store with --store")
    if status.st_mode & stat.S_IWOTH:
        raise StoreUnavailable(f"{folder} can be written by anybody: `chmod 700` it, or name a store with --store")
