"""Files that somebody made to do harm: each is refused whole, in a line, and the store is as it was before."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from recorder import exchange, match, schema
from recorder.errors import Conflict, UsageError
from recorder.exchange import foreign, writing
from recorder.store import RunFilter, Store
from tests.command import invoke
from tests.kept import put
from tests.needs import ROOT, examples
from tests.taped import chat, said


class Boom:
    """What a pickle that is loaded does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/recorder-was-here",)


def archive(name: str) -> bytes:
    """A ZIP whose member climbs out of its folder."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as made:
        made.writestr(name, b'{"recorder":"recordings"}')
    return into.getvalue()


def linked() -> bytes:
    """A tar that begins with a link to /etc."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as made:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        made.addfile(link)
    return into.getvalue()


def edited(good: bytes, old: bytes, new: bytes) -> bytes:
    assert good.count(old) >= 1, old
    return good.replace(old, new, 1)


def har(**response: Any) -> bytes:
    request = {"method": "GET", "url": "http://a/", "headers": []}
    answer = {"status": 200, "headers": [], "content": {"text": ""}, **response}
    return json.dumps({"log": {"entries": [{"request": request, "response": answer}]}}).encode()


def corpus(good: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Name, content, why it is refused. `good` is a recording file that is taken."""
    first, request, head, event, *rest = good.splitlines(keepends=True)
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for number in range(9):
        this, last = chr(98 + number).encode(), chr(97 + number).encode()
        bomb += b"%b: &%b [%b]\n" % (this, this, b",".join([b"*" + last] * 10))
    yield "zip.jsonl", archive("../../etc/cron.d/x"), "not imported: it is a ZIP archive: `unzip` it first"
    yield "tar.yaml", linked(), "not imported: it is compressed with gzip"
    yield "gz.jsonl", gzip.compress(good), "not imported: it is compressed with gzip: `gunzip` it first"
    yield "cut.gz", gzip.compress(good)[:-9], "not imported: it is compressed with gzip"
    yield "store.db", b"SQLite format 3\0" + bytes(84), "not imported: it is a database: if it is a store, `recorder"
    yield "evidence.jsonl", b'{"recorder":"evidence","version":"1.0"}\n' + good, "it is evidence, .*verify --evidence"
    yield "checkpoints", b"recorder-checkpoint/1 store=- time=x\n", "it is a log of checkpoints: .*--against"
    yield "pickle.json", pickle.dumps(Boom()), "not imported"
    yield (
        "tag.yaml",
        b"interactions: !!python/object/apply:os.system ['touch /tmp/recorder-was-here']",
        "nothing is run",
    )
    yield "name.yaml", b"!!python/name:os.system", "nothing is run"
    yield "laughs.yaml", bomb + b"interactions: *j\n", "aliases are written out"
    yield "self.yaml", b"interactions: &a [*a]\n", "aliases are written out|has not the form"
    yield "deep.yaml", b"a: " + b"[" * 200_000, "nested too deeply"
    yield "deep-blocks.yaml", b"- " * 100_000 + b"a", "nested too deeply"
    yield "deep.json", b'{"a":' * 200_000, "nested too deeply"
    yield "deep.toml", b"a=" + b"[" * 200_000, "nested too deeply"
    yield "huge-number.json", b'{"log":{"entries":[%b]}}' % (b"9" * 100_000), "not imported|has not the form"
    yield "crlf.har", har(headers=[{"name": "a\r\nb", "value": "c"}]), "line break"
    yield "nul.har", har(headers=[{"name": "a", "value": "b\0c"}]), "line break or another"
    yield "status.har", har(statusText="OK\r\nset-cookie: a=b"), "line break"
    yield "time.har", edited(har(), b'"request"', b'"startedDateTime":"0001-01-01T00:00:00+14:00","request"'), "times"
    yield "crlf.jsonl", edited(good, b'["content-type","application/json"]', b'["a\\r\\nb","c"]'), "line break"
    yield "nul.jsonl", edited(good, b'"application/json"', b'"a\\u0000"'), "line break"
    yield "url.jsonl", edited(good, b"https://api.openai.com", b"https://a\\r\\nb: c"), "`url`"
    yield "surrogate.jsonl", edited(good, b'"text":"[DONE]"', b'"text":"\\ud800"'), "half a character"
    yield "backwards.jsonl", edited(good, b'{"us":2000,', b'{"us":1,'), "times never run backwards"
    yield "order.jsonl", first + request + event + head + b"".join(rest), "cannot come here|backwards"
    yield "no-end.jsonl", b"".join([first, request, head, event]), "has no end"
    yield "two-ends.jsonl", good + rest[-1], "comes after the recording's end"
    yield "twice.jsonl", good + request + head + event + b"".join(rest), "of that id came before"
    yield "digests.jsonl", edited(good, b"hello", b"jello"), "not what was sealed"
    yield "seal.jsonl", edited(good, b'"digests":["', b'"digests":["00'), "`digests`"
    yield "rows.jsonl", edited(good, b'{"us":2000,"text":"[DONE]"}', b'{"us":2000,"size":1000000000000}'), "sealed"
    yield "size.jsonl", edited(good, b'{"us":2000,', b'{"us":2000,"size":99999999999999999999,'), "`size`"
    yield "number.jsonl", edited(good, b'{"us":2000,', b'{"us":%b,' % (b"9" * 5000)), "`us`|no JSON"
    yield "member.jsonl", edited(good, b'{"us":2000,', b'{"us":2000,"position":7,'), "nothing is known of"
    yield "kind.jsonl", edited(good, b'{"us":2000,', b'{"us":2000,"kind":{"a":[]},'), "`kind` must be"
    yield "weight.jsonl", edited(good, b'"us":0,', b'"us":0,"weight":%b,' % (b"9" * 400)), "`us`|`weight` must be"
    yield "regex.jsonl", edited(good, b'"headers":[]},', b'"headers":[],"normalise":["/(a+)+$/"]},'), "without end"
    yield "rule.jsonl", edited(good, b'"ignore":[]', b'"ignore":[[]]'), "no match rule"
    yield "key.jsonl", edited(good, b'"us":2000,', b'"us":2000,"us":2001,'), "twice"
    yield "deep.jsonl", edited(good, b'{"us":2000,', b'{"us":2000,"cuts":%b,' % (b"[" * 100_000)), "no JSON|nested"
    yield "version.jsonl", edited(good, b'"version":"1.0"', b'"version":"2.0"'), "upgrade recorder"
    yield "binary.jsonl", good + bytes(range(256)), "line"


def everything(url: str) -> list[Any]:
    """All rows of all tables."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        rows = [
            sorted(map(str, connection.execute(text(f'SELECT * FROM "{name}"'))))
            for name in sorted(schema.metadata.tables)
        ]
    engine.dispose()
    return rows


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_database"])
def test_fault_41_a_hostile_file_is_refused_whole(
    tmp_path: Path, database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZIPs that climb, links, bombs, pickles, YAML that runs, bad sequences, header lines in headers, numbers and
    nesting without end, digests that do not fit: nothing of them is in the store, and nothing was run."""
    url = request.getfixturevalue(database)
    monkeypatch.setattr(foreign, "MOST_VALUES", 100_000)
    before = chat("before", said("x"))
    exchange.write(tmp_path / "good.jsonl", [chat("hello", said("a"))], identity=True)
    with Store.open(url, create=True) as store:
        put(store, before.recording, list(before.events))
        rows = everything(url)
        for name, content, why in corpus((tmp_path / "good.jsonl").read_bytes()):
            path = tmp_path / name
            path.write_bytes(content)
            with pytest.raises(UsageError, match=why) as raised:
                exchange.import_file(store, path)
            assert "\n" not in str(raised.value), name
            assert len(str(raised.value)) < 600, name
    assert everything(url) == rows
    assert not Path("/tmp/recorder-was-here").exists()


def test_a_folder_is_taken_without_its_links(tmp_path: Path) -> None:
    """A link may lead anywhere; the files beside it are taken, and the exit code says that one was not."""
    folder = tmp_path / "in"
    folder.mkdir()
    exchange.write(folder / "good.jsonl", [chat("hello", said("a"))], identity=True)
    exchange.write(tmp_path / "secret.jsonl", [chat("secret", said("b"))], identity=True)
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    done = invoke("import", str(folder), store=tmp_path / "a.db")
    assert (done.exit_code, "link.jsonl is a link" in done.output) == (2, True)
    with Store.open(tmp_path / "a.db") as store:
        assert len(store.recordings(RunFilter())) == 1
    done = invoke("import", str(folder), "--to", str(tmp_path / "out"), store=tmp_path / "a.db")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.jsonl"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe would wait for ever, a device never end."""
    make(tmp_path / "a.jsonl")
    done = invoke("import", str(tmp_path / "a.jsonl"), store=tmp_path / "a.db")
    assert (done.exit_code, "no ordinary file" in done.output) == (2, True)


def test_an_expression_of_ones_own_is_taken(tmp_path: Path) -> None:
    """Of a file that brings the one which stands in one's configuration; and the tests' own files are trusted."""
    rule = match.Rule(normalise=("/[0-9]+/",))
    exchange.write(tmp_path / "a.jsonl", [chat("hello", said("a"), match_rule=rule.to_text())], identity=True)
    assert len(list(exchange.read(tmp_path / "a.jsonl"))) == 1
    assert len(foreign.look(tmp_path / "a.jsonl", rule=rule).parsed) == 1
    with pytest.raises(UsageError, match="of your configuration if you trust the file"):
        foreign.look(tmp_path / "a.jsonl")


def test_too_many_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they take memory."""
    monkeypatch.setattr(foreign, "MOST_BRACKETS", 100)
    (tmp_path / "a.json").write_bytes(b'{"log":{"entries":[' + b"{}," * 200 + b"{}]}}")
    with pytest.raises(UsageError, match="more than 100 objects and lists"):
        foreign.look(tmp_path / "a.json")


def test_a_large_file_of_which_the_store_has_another_recording_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it goes in by parts."""
    monkeypatch.setattr(writing, "_AT_ONCE", 0)
    monkeypatch.setattr(writing, "_ROWS", 2)
    entries = [chat(word, said(word)) for word in ("one", "two", "three")]
    exchange.write(tmp_path / "a.jsonl", entries, identity=True)
    other = chat("other", said("x"), recording_id=entries[2].recording.recording_id)
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, other.recording, list(other.events))
        with pytest.raises(Conflict, match="nothing was stored"):
            exchange.import_file(store, tmp_path / "a.jsonl")
        assert len(store.recordings(RunFilter())) == 1


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_database"])
def test_an_import_that_is_killed_left_nothing_or_all(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """kill -9 at any moment, first in the last one before it is durable; and the next import brings the whole."""
    url = request.getfixturevalue(database)
    entries = [chat(str(number), said(*("word" * 20 for _ in range(60)))) for number in range(60)]
    exchange.write(tmp_path / "a.jsonl", entries, identity=True)
    Store.open(url, create=True).close()
    code = (
        "import sys, time; from sqlalchemy import Engine, event\n"
        "from recorder import exchange; from recorder.store import Store\n"
        "store = Store.open(sys.argv[1])\n"
        "if sys.argv[3] == '0': event.listen(Engine, 'commit', lambda _: (print(flush=True), time.sleep(600)))\n"
        "else: print(flush=True)\n"
        "exchange.import_file(store, sys.argv[2]); print('done')"
    )
    counts = []
    for number in range(examples(3, 50)):
        child = subprocess.Popen(
            [sys.executable, "-c", code, url, str(tmp_path / "a.jsonl"), str(number)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        time.sleep(0.02 * (number % 7))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with Store.open(url) as store:
            counts.append(len(store.recordings(RunFilter(limit=1000))))
    assert set(counts) <= {0, 60}
    assert counts[0] == 0
    with Store.open(url) as store:
        assert len(exchange.import_file(store, tmp_path / "a.jsonl").recordings) == 60
        assert len(store.recordings(RunFilter(limit=1000))) == 60
