"""Settings come from four places in one order; what is wrong is named with its place; the store lies where said."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recorder.config import Settings, ages, disabled, load, seconds_of, size_of, size_text, store_url
from recorder.errors import NotFound, StoreUnavailable, UsageError

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty, and in no repository."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def message(**options: Any) -> str:
    """What `load` complains about: one line."""
    with pytest.raises(UsageError) as caught:
        load(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- the order -----------------------------------------------------------------------------------------------------


def test_the_defaults() -> None:
    assert load() == Settings(
        store=None,
        content="full",
        sample=1.0,
        strict=False,
        disabled=False,
        hosts=(),
        ignore=(),
        match_headers=(),
        normalise=(),
        redact=(),
        queue_bytes=64 * MIB,
        body_limit=32 * MIB,
        tags={},
    )


def test_options_go_before_the_environment_before_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "recorder.toml", 'content = "none"\nsample = 0.25\nqueue_bytes = 1')
    monkeypatch.setenv("RECORDER_CONTENT", "facts")
    monkeypatch.setenv("RECORDER_SAMPLE", "0.5")
    found = load(content="full")
    assert (found.content, found.sample, found.queue_bytes) == ("full", 0.5, 1)


def test_an_option_that_is_none_and_a_variable_that_is_empty_are_not_given(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here / "recorder.toml", 'content = "facts"')
    monkeypatch.setenv("RECORDER_CONTENT", " ")
    assert load(content=None).content == "facts"


def test_what_is_redacted_adds_up(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place can take back what another one withholds."""
    write(here / "recorder.toml", 'redact = ["/a/"]\nignore = ["body.a"]')
    monkeypatch.setenv("RECORDER_REDACT", "/b/")
    monkeypatch.setenv("RECORDER_IGNORE", "body.b")
    found = load(redact=("/c/",))
    assert found.redact == ("/a/", "/b/", "/c/")
    assert found.ignore == ("body.b",)
    assert "'redact'" in message(redact="/c/")
    assert "'redact'" in message(redact=["/c/", 5])


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        load().sample = 0.5


# -- the environment -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("RECORDER_STORE", "runs.db", "store", "runs.db"),
        ("RECORDER_SAMPLE", "0.1", "sample", 0.1),
        ("RECORDER_STRICT", "1", "strict", True),
        ("RECORDER_STRICT", "false", "strict", False),
        (
            "RECORDER_HOSTS",
            "API.openai.com, localhost:8080 ,[::1]:80",
            "hosts",
            ("api.openai.com", "localhost:8080", "[::1]:80"),
        ),
        ("RECORDER_IGNORE", "body.user,query.seed,", "ignore", ("body.user", "query.seed")),
        ("RECORDER_MATCH_HEADERS", "openai-beta", "match_headers", ("openai-beta",)),
        ("RECORDER_NORMALISE", "ids, /n-[0-9]+/", "normalise", ("ids", "/n-[0-9]+/")),
        ("RECORDER_REDACT", "/E[0-9]+/, body.user", "redact", ("/E[0-9]+/", "body.user")),
        ("RECORDER_QUEUE_BYTES", "1000", "queue_bytes", 1000),
        ("RECORDER_QUEUE_BYTES", "64KiB", "queue_bytes", 65536),
        ("RECORDER_QUEUE_BYTES", "1 gib", "queue_bytes", 1024 * MIB),
        ("RECORDER_BODY_LIMIT", "0", "body_limit", 0),
        ("RECORDER_TAGS", "app=search, query=a=b,empty=", "tags", {"app": "search", "query": "a=b", "empty": ""}),
    ],
)
def test_a_variable_is_read(
    variable: str, text: str, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(load(), name) == value


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "TRUE", "y", "anything"])
def test_the_switch_goes_before_everything(text: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read, no option is looked at: nothing can go wrong."""
    write(here / "recorder.toml", "not TOML")
    monkeypatch.setenv("RECORDER_DISABLED", text)
    monkeypatch.setenv("RECORDER_SAMPLE", "7")
    assert disabled()
    assert load(disabled=False, unheard_of=1) == Settings(disabled=True)


@pytest.mark.parametrize("text", ["", " ", "0", "false", "No", "OFF"])
def test_a_clear_no_does_not_switch_off(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_DISABLED", text)
    assert not disabled()
    assert not load().disabled


def test_recording_can_be_switched_off_by_option_and_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(disabled=True).disabled
    write(here / "recorder.toml", "disabled = true")
    assert load().disabled
    monkeypatch.setenv("RECORDER_DISABLED", "0")
    assert not load().disabled


# -- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "head"), [("recorder.toml", ""), ("pyproject.toml", "[tool.recorder]\n")])
def test_a_file_holds_every_setting(name: str, head: str, here: Path) -> None:
    text = """
    store = "sqlite:////data/runs.db"
    content = "facts"
    sample = 0.5
    strict = true
    hosts = ["api.openai.com"]
    ignore = ["body.metadata.session_id"]
    match_headers = ["openai-beta"]
    normalise = ["ids", "dates"]
    queue_bytes = "1MiB"
    body_limit = 1
    tags = { app = "search" }
    """
    write(here / name, head + text)
    assert load() == Settings(
        store="sqlite:////data/runs.db",
        content="facts",
        sample=0.5,
        strict=True,
        hosts=("api.openai.com",),
        ignore=("body.metadata.session_id",),
        match_headers=("openai-beta",),
        normalise=("ids", "dates"),
        queue_bytes=MIB,
        body_limit=1,
        tags={"app": "search"},
    )


def test_the_nearest_file_up_to_the_repository_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    write(tmp_path / "recorder.toml", "sample = 0.1")
    assert load().sample == 1.0
    write(repository / ".git" / "HEAD", "")
    assert load().sample == 1.0
    write(repository / "recorder.toml", "sample = 0.2")
    assert load().sample == 0.2
    write(repository / "a" / "pyproject.toml", "[tool.other]")
    assert load().sample == 0.2
    write(repository / "a" / "pyproject.toml", "[tool.recorder]")
    assert load().sample == 1.0
    write(inner / "recorder.toml", "sample = 0.4")
    assert load().sample == 0.4


def test_outside_of_a_repository_only_the_current_folder_counts(tmp_path: Path) -> None:
    write(tmp_path / "recorder.toml", "sample = 0.1")
    assert load().sample == 1.0


def test_a_worktree_has_a_file_named_git(tmp_path: Path) -> None:
    write(tmp_path / ".git", "gitdir: elsewhere")
    write(tmp_path / "recorder.toml", "sample = 0.1")
    assert load().sample == 0.1


def test_a_deleted_current_folder_is_no_reason_to_fail(here: Path) -> None:
    here.rmdir()
    assert load() == Settings()
    with pytest.raises(StoreUnavailable, match="no longer exists"):
        store_url(None, create=True)


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("runs.db", "{}/runs.db"),
        ("../runs.db", "{}/../runs.db"),
        ("/data/runs.db", "/data/runs.db"),
        (":memory:", ":memory:"),
        ("sqlite:///runs.db", "sqlite:///{}/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_a_store_in_a_file_is_seen_from_that_file(store: str, expected: str, tmp_path: Path) -> None:
    write(tmp_path / ".git" / "HEAD", "")
    write(tmp_path / "recorder.toml", f'store = "{store}"')
    assert load().store == expected.format(tmp_path)


# -- spans and sizes as people write them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("30s", 30), ("10min", 600), ("10m", 600), (" 3 H ", 10_800), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_a_span_of_time_is_so_many_seconds(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    assert load(checkpoint_every="5min").checkpoint_every == 300


@pytest.mark.parametrize("text", ["", "7", "d", "-3h", "1.5h", "7y", "12345678s", "1h 30min", "\u0663h"])
def test_another_text_is_no_span_of_time(text: str) -> None:
    assert seconds_of(text) is None


def test_what_goes_after_an_age_goes_after_no_minute_that_may_be_a_month() -> None:
    assert ages("1W, 30 d  whole ") == (604_800, 2_592_000)
    assert ages("90min") == (5400, None)
    for rule in ("6m", "30s", "0d", "30dwhole", "whole", "30d whole whole"):
        with pytest.raises(ValueError, match="no rule for keeping"):
            ages(rule)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (10 << 30, "10.0 GiB"), (1 << 51, "2,048.0 TiB")],
)
def test_a_size_is_told_in_the_units_in_which_it_is_given(size: int, text: str) -> None:
    assert size_text(size) == text
    number, unit = text.replace(",", "").split()
    assert size_of(number.removesuffix(".0") + unit.removesuffix("bytes")) == size


# -- what is wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "form"),
    [
        ("store", 3, "a path, sqlite:///path or postgresql://user@host/database"),
        ("store", "", "a path, sqlite:///path or postgresql://user@host/database"),
        ("content", "all", "full, facts or none"),
        ("sample", 1.5, "a number from 0 to 1"),
        ("sample", -0.1, "a number from 0 to 1"),
        ("sample", float("nan"), "a number from 0 to 1"),
        ("sample", "half", "a number from 0 to 1"),
        ("strict", "maybe", "true or false"),
        ("disabled", 7, "true or false"),
        ("hosts", "api.openai.com", "host names without scheme and path"),
        ("hosts", ["https://api.openai.com"], "host names without scheme and path"),
        ("hosts", ["api.openai.com/v1"], "host names without scheme and path"),
        ("hosts", ["user@host"], "host names without scheme and path"),
        ("hosts", ["host:port"], "host names without scheme and path"),
        ("hosts", [""], "host names without scheme and path"),
        ("ignore", "body.x", "paths, such as"),
        ("match_headers", [1], "header names, such as"),
        ("normalise", "ids", "ids, dates or /regular expressions/, such as"),
        ("queue_bytes", 0, "a number of bytes above 0, such as 67108864 or 64MiB"),
        ("queue_bytes", "64MB", "a number of bytes above 0"),
        ("body_limit", -1, "a number of bytes, such as"),
        ("max_size", "10", "a number of bytes from 1MiB on, such as 10GiB"),
        ("tags", ["a"], "names with texts"),
        ("tags", {"a": 1}, "names with texts"),
        ("tags", {"": "x"}, "names with texts"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_its_form(name: str, value: Any, form: str, here: Path) -> None:
    assert message(**{name: value}).startswith(f"option {name!r} is wrong: it must be {form}")


@pytest.mark.parametrize(
    ("variable", "text", "form"),
    [
        ("RECORDER_CONTENT", "all", "full, facts or none"),
        ("RECORDER_SAMPLE", "2", "a number from 0 to 1"),
        ("RECORDER_STRICT", "maybe", "1 or 0"),
        ("RECORDER_HOSTS", "https://api.openai.com", "host names without scheme and path, separated by commas"),
        ("RECORDER_QUEUE_BYTES", "much", "a number of bytes above 0, such as 67108864 or 64MiB"),
        ("RECORDER_TAGS", "app", "name=text pairs, separated by commas"),
        ("RECORDER_TAGS", "=text", "name=text pairs, separated by commas"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    assert message() == f"environment variable {variable} is wrong: it must be {form}"


def test_a_wrong_value_in_a_file_is_named_with_the_file(here: Path) -> None:
    path = write(here / "pyproject.toml", "[tool.recorder]\nsample = 2")
    assert message() == f"{path}: sample is wrong: it must be a number from 0 to 1"
    write(path, "[tool.recorder]\nstore = 1")
    assert message().startswith(f"{path}: store is wrong")


def test_a_wrong_value_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a URL with a password."""
    assert "hunter2" not in message(store=["postgresql://me:hunter2@host/db"])
    monkeypatch.setenv("RECORDER_HOSTS", "https://me:hunter2@host")
    assert "hunter2" not in message()


@pytest.mark.parametrize(
    ("name", "near"), [("contents", "content"), ("queue-bytes", "queue_bytes"), ("Sample", "sample"), ("tag", "tags")]
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(name: str, near: str, here: Path) -> None:
    path = write(here / "recorder.toml", f"{name} = 1")
    assert message() == f"{path}: key {name!r} is unknown: did you mean {near!r}?"
    path.unlink()
    assert message(**{name: 1}) == f"option {name!r} is unknown: did you mean {near!r}?"


def test_a_key_like_no_other_is_an_error_too(here: Path) -> None:
    assert message(zzzz=1).startswith("option 'zzzz' is unknown: did you mean ")


def test_a_file_that_is_no_toml_is_named_without_its_content(here: Path) -> None:
    path = write(here / "recorder.toml", 'store = "postgresql://me:hunter2@host\n')
    assert message().startswith(f"{path} is no TOML file: ")
    assert "hunter2" not in message()
    path.write_bytes(b'store = "hunter2\xff"')
    assert message() == f"{path} is no TOML file: it is not UTF-8; correct it"


def test_a_file_that_cannot_be_read_is_named(here: Path) -> None:
    (here / "recorder.toml").mkdir()
    assert message() == f"{here / 'recorder.toml'} cannot be read: Is a directory; make it readable"


def test_a_table_that_is_none_is_named(here: Path) -> None:
    path = write(here / "pyproject.toml", "[tool]\nrecorder = 1")
    assert message() == f"{path}: tool.recorder must be a table: write [tool.recorder]"


def test_a_pyproject_without_a_table_of_ours_is_none_of_our_business(here: Path) -> None:
    for text in ("", "tool = 1", "[tool.other]"):
        write(here / "pyproject.toml", text)
        assert load() == Settings()


def test_two_files_of_settings_side_by_side_are_one_too_many(here: Path) -> None:
    write(here / "recorder.toml", "sample = 0.5")
    write(here / "pyproject.toml", "[tool.other]")
    assert load().sample == 0.5
    write(here / "pyproject.toml", "[tool.recorder]")
    assert "both hold settings: keep one of them" in message()


# -- the store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("runs.db", "sqlite:///{here}/runs.db"),
        (Path("a/runs.db"), "sqlite:///{here}/a/runs.db"),
        ("/data/runs.db", "sqlite:////data/runs.db"),
        ("/data/100% ?#.db", "sqlite:////data/100% ?#.db"),
        ("~/runs.db", "sqlite:///{home}/runs.db"),
        (":memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite:///:memory:"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///runs.db", "sqlite:///{here}/runs.db"),
        ("SQLite:////data/runs.db", "sqlite:////data/runs.db"),
        ("postgresql://me:p%40ss@host:5432/db?sslmode=require", "postgresql://me:p%40ss@host:5432/db?sslmode=require"),
        ("postgres://host/db", "postgresql://host/db"),
        ("postgresql+psycopg://host/db", "postgresql://host/db"),
    ],
)
def test_a_path_or_url_becomes_a_url(value: str | Path, expected: str, create: bool, here: Path) -> None:
    """Nothing is made for a store that is named: opening it does that."""
    assert store_url(value, create=create) == expected.format(here=here, home=Path.home())
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite:////data/runs.db", "postgresql://host/db", "sqlite:///:memory:"])
def test_a_url_stays_itself(url: str) -> None:
    assert store_url(store_url(url, create=False), create=False) == url


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("mysql://me:hunter2@host/db", "store scheme 'mysql' is unknown: give a path, sqlite:///path or postgresql"),
        ("sqlite+aiosqlite:///x.db", "store scheme 'sqlite\\+aiosqlite' is unknown"),
        ("sqlite://runs.db", "three slashes"),
        ("sqlite:///runs.db?mode=ro", "takes no parameters"),
    ],
)
def test_another_scheme_or_form_is_refused_in_one_line(value: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        store_url(value, create=True)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_without_a_store_it_says_where_it_looked(here: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no store: looked for \.recorder/recorder\.db in ") as caught:
        store_url(None, create=False)
    assert str(here) in str(caught.value)
    assert list(here.iterdir()) == []
    write(tmp_path / ".git" / "HEAD", "")
    with pytest.raises(NotFound, match="and the folders above it up to") as caught:
        store_url(None, create=False)
    assert str(here) in str(caught.value)
    assert f"up to {tmp_path};" in str(caught.value)


def test_the_nearest_store_up_to_the_repository_is_taken(here: Path, tmp_path: Path) -> None:
    above = write(tmp_path / ".recorder" / "recorder.db", "")
    with pytest.raises(NotFound):
        store_url(None, create=False)
    write(tmp_path / ".git" / "HEAD", "")
    assert store_url(None, create=False) == f"sqlite:///{above}"
    assert store_url(None, create=True) == f"sqlite:///{above}"
    near = write(here / ".recorder" / "recorder.db", "")
    assert store_url(None, create=True) == f"sqlite:///{near}"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_new_folder_is_its_owners_alone_and_out_of_git(umask: int, here: Path) -> None:
    before = os.umask(umask)
    try:
        url = store_url(None, create=True)
    finally:
        os.umask(before)
    assert url == f"sqlite:///{here}/.recorder/recorder.db"
    assert stat.S_IMODE((here / ".recorder").stat().st_mode) == 0o700
    assert (here / ".recorder" / ".gitignore").read_text() == "*\n" if umask != 0o777 else True
    assert not (here / ".recorder" / "recorder.db").exists()
    assert store_url(None, create=True) == url


def test_git_does_not_see_the_store(here: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    store_url(None, create=True)
    write(here / ".recorder" / "recorder.db", "x")
    status = subprocess.run(["git", "status", "--porcelain"], check=True, capture_output=True)
    assert status.stdout == b""


def test_a_gitignore_that_was_taken_away_stays_away(here: Path) -> None:
    """Somebody wants the recordings in git."""
    store_url(None, create=True)
    (here / ".recorder" / ".gitignore").unlink()
    store_url(None, create=True)
    assert list((here / ".recorder").iterdir()) == []


def test_many_may_make_the_folder_at_once() -> None:
    start = threading.Barrier(8)

    def make() -> str:
        start.wait()
        return store_url(None, create=True)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: make(), range(8)))) == 1


def test_a_folder_that_may_be_somebody_elses_is_refused(here: Path, tmp_path: Path) -> None:
    folder = here / ".recorder"
    folder.symlink_to(tmp_path)
    with pytest.raises(StoreUnavailable, match=r"is no folder \(or a link\): move it away"):
        store_url(None, create=True)
    folder.unlink()
    write(folder, "a file")
    with pytest.raises(StoreUnavailable, match="is no folder"):
        store_url(None, create=True)
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="can be written by anybody: `chmod 700` it"):
        store_url(None, create=True)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no new folder: /proc")
def test_a_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    with pytest.raises(
        StoreUnavailable, match=r"^/proc/\.recorder cannot be made: .*; name another place with --store"
    ):
        store_url(None, create=True)
