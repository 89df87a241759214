"""Canaries in every place that carries credentials, sent through a real client: none is in any file of the store.

Each place has a canary of its own. Real requests go through httpx, a recording handle and a real store; then every
byte of the store's folder is searched, while it is live and after it was closed, for each canary and for what encodings
make of it. Two canaries in bodies, which are stored, show that the search finds what is there.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest

import recorder
from recorder.handle import Handle
from recorder.redact import hooks
from recorder.store import RunFilter, Store
from tests.command import invoke
from tests.loopback import LAST_CHUNK, Act, Loopback, Refused, Request, Step, chunk, head, stream_head
from tests.needs import ROOT
from tests.postgres import Postgres, binaries
from tests.test_redact import CREDENTIAL_URLS, QUERY_NAMES, REQUEST_HEADERS, RESPONSE_HEADERS

#: Seconds that an answer may take: never to be reached, however busy the machine is.
PATIENCE: Final = 60.0

#: Response headers that hold URLs; where the URL stands in their values.
URL_HEADERS: Final = {
    "Location": "{}",
    "Content-Location": "{}",
    "Operation-Location": "{}",
    "Azure-AsyncOperation": "{}",
    "Link": '<{}>; rel="next"',
    "Refresh": "5; url={}",
    "X-Request-Url": "{}",
    "Report-To": '{{"endpoints":[{{"url":"{}"}}]}}',
}

#: Lines of a response that no HTTP library accepts; the errors quote them.
ILLEGAL_LINES: Final = ("Set-Cookie : session={}", "X-Api-Key\x01: {}", "Set-Cookie: a=\x00{}", " Authorization: {}")


class Canaries:
    """Gives each place its canary: a core that all share, then the place's own digits; nothing that gets quoted."""

    def __init__(self, core: str) -> None:
        self.core = core
        self.of: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        return self.of.setdefault(place, self.core + hashlib.sha256(place.encode()).hexdigest()[:16] + "yX")


def _is_url(template: str) -> bool:
    """Whether it is a URL by RFC 3986; within a text nothing else can be told from the words around it."""
    return template.startswith("https://") and not set(" \\[").intersection(template)


# -- traffic -----------------------------------------------------------------------------------------------------------


class Traffic:
    """All the exchanges: what the client sends to `url`, and what `answer` sends back."""

    def __init__(self, handle: Handle) -> None:
        self.canaries = Canaries("SecretZq")
        self.stored = Canaries("StoredZq")
        self.sent = 0
        self._handle = handle

    def answer(self, request: Request) -> Iterator[Step]:
        """By path: what a server does with credentials."""
        name, _, number = request.target.decode().partition("?")[0].removeprefix("/").partition("/")
        if name == "headers":
            lines = [f"{each}: {self.canaries(f'response header {each}')}" for each in RESPONSE_HEADERS]
            yield stream_head(*lines, f"Set-Cookie: sid={self.canaries('Set-Cookie')}; HttpOnly; Path=/")
            yield chunk(f"data: {self.stored('response body')}\n\n".encode())
            yield LAST_CHUNK
        elif name == "location":
            template = CREDENTIAL_URLS[int(number)]
            lines = [
                f"{header}: {form.format(template.format(self.canaries(f'{header} {template}')))}"
                for header, form in URL_HEADERS.items()
                if _is_url(template) or header.endswith("Location")
            ]
            yield head("302 Found", *lines, "Content-Length: 0")
        elif name == "redirect":
            token = self.canaries("followed redirect")
            yield head("307 Temporary Redirect", f"Location: /landing?access_token={token}#id_token={token}")
            yield Act.FIN
        elif name == "illegal":
            line = ILLEGAL_LINES[int(number)].format(self.canaries(f"illegal line {number}"))
            yield head("200 OK", "Content-Length: 0", line)
            yield Act.FIN
        elif name == "refused":
            yield head("401 Unauthorized", 'WWW-Authenticate: Digest realm="r", nonce="n"', "Content-Length: 0")
        elif request.method == b"CONNECT":
            yield head("407 Proxy Authentication Required", "Proxy-Authenticate: Basic", "Content-Length: 0")
            yield Act.FIN
        else:
            yield head("200 OK", "Content-Length: 2")
            yield b"ok"

    def client(self, **options: object) -> httpx.Client:
        """A recorded client that sees no proxy of the environment."""
        return self._handle.instrument(httpx.Client(timeout=PATIENCE, **options))  # type: ignore[arg-type]

    def send(self, client: httpx.Client, url: str, **options: object) -> None:
        """One request, whatever comes of it."""
        self.sent += 1
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
            client.request("POST", url, **options)  # type: ignore[arg-type]

    def run(self, url: str) -> None:
        """Every exchange, one after the other."""
        canary = self.canaries
        with self.client() as client:
            headers = [(name, canary(f"request header {name}")) for name in REQUEST_HEADERS if name == name.strip()]
            body = self.stored("request body").encode()
            self.send(client, f"{url}/headers", headers=headers, content=body)
            self.send(client, f"{url}/again")  # sends the cookie that was set
            for name in QUERY_NAMES:
                self.send(client, f"{url}/v1?limit=1&{name}={canary(f'query {name}')}")
            for number, template in enumerate(CREDENTIAL_URLS):
                self.send(client, f"{url}/location/{number}")
                if template.startswith("https://example.com/"):
                    here = template.replace("https://example.com", url, 1)
                    self.send(client, here.format(canary(f"url {template}")))
            self.authenticate(client, url)
            self.fail(client, url)
        with self.client(follow_redirects=True) as client:
            self.send(client, f"{url}/redirect")
        with self.client(cookies={"session": canary("client's cookies")}) as client:
            client.cookies.set("more", canary("cookie jar"), domain="127.0.0.1")
            self.send(client, f"{url}/v1")
        self.pass_proxies(url)

    def authenticate(self, client: httpx.Client, url: str) -> None:
        """What httpx makes of user names, passwords and challenges."""
        canary = self.canaries
        self.send(client, f"{url}/v1", auth=(canary("basic user"), canary("basic password")))
        self.send(client, f"{url}/refused", auth=httpx.DigestAuth(canary("digest user"), canary("digest password")))
        userinfo = f"{canary('userinfo user')}:{canary('userinfo password')}@"
        self.send(client, f"{url}/v1".replace("://", f"://{userinfo}"))
        with self.client(headers={"X-Api-Key": canary("client's headers")}, auth=("u", canary("client's auth"))) as own:
            self.send(own, f"{url}/v1")

    def fail(self, client: httpx.Client, url: str) -> None:
        """Failures whose messages quote what was sent, or what came."""
        canary = self.canaries
        for name in ("Authorization", "X-Api-Key", "Cookie", "X-Unheard-Of"):
            for bad in ("{}\n", "{}\x00", "Bearer {}\r\nX: y", "{}\x01'\"\\"):
                value = bad.format(canary(f"illegal {name} {bad!r}"))
                self.send(client, f"{url}/v1", headers={name: value})
        for number in range(len(ILLEGAL_LINES)):
            self.send(client, f"{url}/illegal/{number}")
        with Refused() as refused:
            hidden = refused.url.replace("://", f"://u:{canary('refused userinfo')}@")
            self.send(client, f"{hidden}/v1?sig={canary('refused query')}")
        self.send(client, f"ftp://u:{canary('ftp userinfo')}@127.0.0.1/v1?token={canary('ftp query')}")
        self.send(client, f"http://u:{canary('no host')}@nowhere.invalid/v1?key={canary('no host query')}")

    def pass_proxies(self, url: str) -> None:
        """Proxies that want a password: one that passes requests on, one that refuses to."""
        canary = self.canaries
        for target in (f"{url}/v1", "https://example.invalid/v1"):
            userinfo = f"{canary(f'proxy user {target[:6]}')}:{canary(f'proxy password {target[:6]}')}@"
            with self.client(proxy=url.replace("://", f"://{userinfo}")) as client:
                self.send(client, target)
            proxy = httpx.Proxy(url, auth=("u", canary(f"proxy auth {target[:6]}")), headers={})
            with self.client(proxy=proxy) as client:
                self.send(client, target, headers={"Proxy-Authorization": canary(f"proxy header {target[:6]}")})


@contextlib.contextmanager
def recorded(url: str | Path, caplog: pytest.LogCaptureFixture) -> Iterator[Traffic]:
    """All the traffic, recorded in the store there, which is durable and still open; checks what was logged."""
    caplog.set_level(logging.DEBUG)
    handle = recorder.open(url)
    traffic = Traffic(handle)
    with Loopback([traffic.answer], repeat_last=True) as server:
        traffic.run(server.url)
    assert handle.flush(30)
    stored = len(handle.recordings(limit=10_000))
    assert stored >= traffic.sent, "a request was sent and not recorded"
    assert len(traffic.canaries.of) >= 300
    yield traffic
    assert handle.close(30)
    assert found_in(traffic.canaries, {"log": "\n".join(_ours(caplog.records)).encode()}) == []


def _ours(records: Iterable[logging.LogRecord]) -> Iterator[str]:
    """What is said by anybody but the HTTP libraries, which log URLs and headers as they are."""
    formatter = logging.Formatter()
    for record in records:
        if record.name.partition(".")[0] not in {"httpx", "httpcore"}:
            yield formatter.format(record)


# -- the search --------------------------------------------------------------------------------------------------------


def forms(text: str) -> list[bytes]:
    """The text, and what encodings make of it wherever it stands in a longer one."""
    plain = text.encode()
    # What comes before shifts base64 by up to two bytes; the characters at both ends also hold bits of neighbours.
    based = [base64.b64encode(b"\0" * shift + plain)[2 if shift else 0 :] for shift in range(3)]
    based = [form[1 if shift else 0 :].rstrip(b"=")[:-1] for shift, form in enumerate(based)]
    hexadecimal = [plain.hex().encode(), plain.hex().upper().encode()]
    return [plain, plain[::-1], text.encode("utf-16-le"), text.encode("utf-16-be"), *hexadecimal, *based]


def found_in(canaries: Canaries, contents: Mapping[str, bytes]) -> list[str]:
    """Which canary is where: by the core that all share, in every form; then by name, where that can be told."""
    found = []
    for name, content in contents.items():
        for form in forms(canaries.core):
            if form in content:
                places = [place for place, canary in canaries.of.items() if canary.encode() in content]
                found += [f"{place} in {name}" for place in places or [f"some canary as {form!r}"]]
                break
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # what a running server removes meanwhile holds nothing more
                if path.is_file():
                    found[str(path.relative_to(folder))] = path.read_bytes()
    return found


_COPY: Final = """
import pathlib, shutil, sys
# In a process of its own: reading the file here would drop SQLite's locks on it.
shutil.copytree(sys.argv[1], sys.argv[2])
"""


def snapshot(folder: Path, to: Path) -> dict[str, bytes]:
    """Every file below a folder whose store is in use in this process."""
    subprocess.run([sys.executable, "-c", _COPY, str(folder), str(to)], check=True)
    return files(to)


def values(url: str | Path) -> dict[str, bytes]:
    """What the store gives out about each recording: nothing is compressed here."""
    told = {}
    with Store.open(url) as store:
        for listed in store.recordings(RunFilter(limit=10_000)):
            recording_id = listed.recording.recording_id
            parts = [store.recording(recording_id), *store.events(recording_id), store.reading(recording_id)]
            told[f"{recording_id} {listed.recording.request.url}"] = repr(parts).encode()
    return told


def test_the_search_finds_a_canary_in_any_form(tmp_path: Path) -> None:
    """Each form of each canary, in the middle of other bytes, is found, and named; nothing is found in nothing."""
    canaries = Canaries("SecretZq")
    canary = canaries("planted")
    plain = canary.encode()
    planted = {
        "plain": plain,
        "json": b'{"a": "' + plain + b'"}',
        "hex": plain.hex().encode(),
        "percent": b"%20" + plain,
        "wide": canary.encode("utf-16-le"),
        **{f"base64 {n}": base64.b64encode(b"user:12"[:n] + plain + b"#" * (7 - n)) for n in range(7)},
    }
    for name, content in planted.items():
        (tmp_path / name).write_bytes(os.urandom(50) + content + os.urandom(50))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "innocent").write_bytes(plain[:4] + plain[5:])
    found = found_in(canaries, files(tmp_path))
    assert sorted(hit.rpartition(" in ")[2] for hit in found) == sorted(planted)
    assert {"planted in plain", "planted in json", "planted in percent"} <= set(found)


# -- the stores --------------------------------------------------------------------------------------------------------


def test_no_file_of_a_sqlite_store_holds_a_credential(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the database, its log, its locks and its backup, nor anything the store gives out, nor a log line."""
    folder = tmp_path / "store"
    folder.mkdir()
    path = folder / "tape.db"
    with recorded(path, caplog) as traffic:
        live = snapshot(folder, tmp_path / "live")
        assert {"tape.db", "tape.db-wal", "tape.db-shm", "tape.db.lock"} <= set(live)
        assert found_in(traffic.canaries, live) == []
        with Store.open(path) as store:
            store._backend._back_up(folder / "tape.db.backup")  # type: ignore[attr-defined]
    closed = files(folder)
    assert found_in(traffic.canaries, closed) == []
    assert found_in(traffic.canaries, values(path)) == []
    _finds_bodies(traffic, {**live, **closed})


def _finds_bodies(traffic: Traffic, contents: Mapping[str, bytes]) -> None:
    """The canaries that are stored are found by the same search in the same files."""
    where = found_in(traffic.stored, contents)
    assert {"request body", "response body"} <= {hit.partition(" in ")[0] for hit in where}


def test_no_part_of_a_postgresql_store_holds_a_credential(caplog: pytest.LogCaptureFixture, postgres: Postgres) -> None:
    """Neither a table, the server's files and its log, nor a dump; the store's own password is in no message."""
    name = postgres.create_database()
    password = "SecretZq0password"
    url = postgres.url(name).replace("postgres@", f"postgres:{password}@")
    subprocess.run([sys.executable, "-m", "recorder", "--store", url, "db", "upgrade"], cwd=ROOT, check=True)
    with recorded(url, caplog) as traffic:
        traffic.canaries.of["the store's password"] = password
    postgres.execute("CHECKPOINT")
    contents = {**_tables(url), **values(url)}
    contents["dump"] = _dump(url)
    contents["log of the server"] = postgres.log.read_bytes()
    contents.update(files(postgres.data))
    assert found_in(traffic.canaries, contents) == []
    _finds_bodies(traffic, contents)
    postgres.drop_database(name)


def _tables(url: str) -> dict[str, bytes]:
    """Every column of every table there is."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert len(names) >= 6
        return {
            name: repr(connection.execute(f'SELECT * FROM "{name}"'.encode()).fetchall()).encode() for (name,) in names
        }


def _dump(url: str) -> bytes:
    programs = binaries()
    assert programs is not None
    return subprocess.run([programs / "pg_dump", url], capture_output=True, check=True).stdout


# -- bodies ------------------------------------------------------------------------------------------------------------

#: Credentials of many shapes; the canary stands in the part that nobody else has.
SHAPED: Final = (
    *("sk-proj-{}", "sk-ant-api03-{}", "sk-{}", "xai-{}", "hf_{}", "gsk_{}", "AIza{}0123456789", "ghp_{}", "glpat-{}"),
    *("npm_{}0123456789", "xoxb-1-{}", "ya29.{}", "eyJhbGciOiJIUzI1NiJ9.{}.{}", "Bearer {}", "password={}"),
    *("Authorization: Token {}", "Set-Cookie: sid={}; Path=/", "AWS_SECRET_ACCESS_KEY={}"),
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
    *("postgresql://svc:{}@db.example/x", "https://h.example/f?sp=r&sig={}", "https://h.example/k?X-Amz-Signature={}"),
)
_STREAMED: Final = "text/event-stream"


class Bodies:
    """Exchanges with credentials in every body and in what goes with it: what is sent, and what comes back."""

    def __init__(self) -> None:
        self.canaries = Canaries("SecretZq")

    def shaped(self, place: str) -> list[str]:
        """A text with each shape, of this place."""
        return [f"a {shape.replace('{}', self.canaries(f'{place} {shape[:12]}'))} b" for shape in SHAPED]

    def answer(self, request: Request) -> Iterator[Step]:
        """By path: bodies as streams, in pieces, as JSON, encoded, and as an error."""
        name = request.target.decode().partition("?")[0].rpartition("/")[2]
        texts = self.shaped(f"answer {name}")
        body = json.dumps({"id": "x", "usage": {"total_tokens": 123456}, "data": [{"text": text} for text in texts]})
        if name in ("stream", "packed-stream"):
            sent = [f"data: {json.dumps({'type': 'whole', 'n': n, 'text': text})}\n\n" for n, text in enumerate(texts)]
            # As a model spells it out; the shapes that go by a name are only known as a whole.
            spelled = f" {texts[0]} "
            pieces = [spelled[at : at + 5] for at in range(0, len(spelled), 5)]
            sent += [
                f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': each}}]})}\n\n" for each in pieces
            ]
            sent.append("data: [DONE]\n\n")
            parts = [each.encode() for each in sent]
            coding = []
            if name == "packed-stream":
                parts, coding = [gzip.compress("".join(sent).encode())], ["Content-Encoding: gzip"]
            yield stream_head(*coding, content_type=_STREAMED)
            yield from map(chunk, parts)
            yield LAST_CHUNK
        elif name == "packed":
            packed = gzip.compress(body.encode())
            yield head(
                "200 OK", "Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(packed)}"
            )
            yield packed
        else:
            status = "400 Bad Request" if name == "refused" else "200 OK"
            said = f"X-Error: {texts[0]}"
            yield head(status, "Content-Type: application/json", said, f"Content-Length: {len(body)}")
            yield body.encode()

    def send(self, client: httpx.Client, url: str) -> list[httpx.Response]:
        """Every request, the same each time."""
        asked = []
        for name in ("stream", "packed-stream", "packed", "json", "refused"):
            texts = self.shaped(f"asked {name}")
            content = {"model": "m", "max_tokens": 4096, "messages": [{"content": text} for text in texts]}
            content["tools"] = [{"arguments": json.dumps({"text": text})} for text in texts]
            filler = {"filler": "word " * 2000} if name == "json" else {}  # such a body is stored compressed
            path = f"{self.canaries(f'path {name}')}"
            asked.append(client.post(f"{url}/sk-proj-{path}/{name}", json=content | filler))
        form = {"text": " ".join(self.shaped("form")[:3])}
        asked.append(
            client.post(f"{url}/json", data=form, headers={"X-Stainless-Lang": f"sk-{self.canaries('header')}"})
        )
        return asked


def test_no_credential_in_a_body_is_stored_and_what_is_stored_still_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """200 canaries in requests, answers, URLs, tags and errors: in no file, export, page or log line; and a replay of
    the same requests, with their credentials, gives every answer, whole but for the masks.
    """
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "store"
    folder.mkdir()
    path = folder / "tape.db"
    bodies = Bodies()
    handle = recorder.open(path)
    with Loopback([bodies.answer], repeat_last=True) as server:
        client = handle.instrument(httpx.Client(timeout=PATIENCE))
        note = f"sk-proj-{bodies.canaries('tag')}"
        with client, recorder.context(tags={"note": note}, session=f"s sk-proj-{bodies.canaries('session')}"):
            sent = bodies.send(client, server.url)
        url = server.url
    assert handle.flush(30)
    assert len(bodies.canaries.of) >= 200
    live = snapshot(folder, tmp_path / "live")
    assert found_in(bodies.canaries, live) == []
    assert found_in(bodies.canaries, values(path)) == []
    assert found_in(bodies.canaries, {"log": "\n".join(_ours(caplog.records)).encode()}) == []
    assert {"redacted"} <= {flag for run in handle.runs() for flag in run.flags}
    with handle.replay() as replay, replay.instrument(httpx.Client()) as player:
        again = bodies.send(player, url)
    for first, second in zip(sent, again, strict=True):
        assert (second.status_code, len(second.text)) == (first.status_code, len(first.text))
        assert bodies.canaries.core not in second.text
        if "json" in second.headers["content-type"]:
            assert second.json()["usage"] == {"total_tokens": 123456}
    assert handle.close(30)
    told = {" ".join(words): invoked(path, words) for words in surfaces(tmp_path / "made")}
    assert told["export"].count(b"[redacted]") > 50
    assert json.loads(told["scan --json"].splitlines()[-1])["summary"]["found"] == []
    made = {**files(folder), **files(tmp_path / "made")}
    assert {"made.har", "made.jsonl", "report.html", "recordings/pinned/canary.jsonl"} <= set(made)
    assert any(name.startswith("tape.db.facts") for name in made), "what questions keep is looked through, too"
    assert found_in(bodies.canaries, {**told, **made}) == []
    _finds_masks(made)


def surfaces(folder: Path) -> list[list[str]]:
    """Every command that shows or writes what is stored."""
    folder.mkdir()
    return [
        ["export"],
        ["export", "--format", "har", "-o", str(folder / "made.har")],
        ["export", "-o", str(folder / "made.jsonl")],
        ["recordings", "--json"],
        ["recordings"],
        ["runs", "--json"],
        ["show", "@last"],
        ["show", "@last", "--json"],
        ["show", "@last", "--timeline"],
        ["diff", "@last", "@-2"],
        ["analyze"],
        ["sql", "SELECT * FROM recordings"],
        ["sql", "SELECT * FROM readings"],
        ["report", "-o", str(folder / "report.html")],
        ["verify", "--json"],
        ["scan", "--json"],
        ["doctor"],
        ["pin", "@last", "--as", "canary", "--dir", str(folder)],
    ]


def invoked(path: Path, words: list[str]) -> bytes:
    done = invoke(*words, store=path)
    assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
    assert done.exit_code in {0, 1}, (words, done.stderr)
    return (done.stdout + done.stderr).encode()


def _finds_masks(contents: Mapping[str, bytes]) -> None:
    """What was masked was looked at: the masks are in the exports, in the page and in the store itself."""
    for name in ("made.jsonl", "made.har", "tape.db"):
        assert b"[redacted]" in contents[name], name


def test_what_a_user_adds_is_withheld_from_the_store_and_matches_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules of the environment and of `open`, a hook that fails now and then: each request is answered all the same."""
    monkeypatch.setenv("RECORDER_REDACT", "body.metadata.email")
    monkeypatch.setattr(hooks, "DEADLINE", PATIENCE)
    named = []

    def hook(text: str, place: str) -> list[str]:
        named.append(place)
        if "trouble" in text:
            raise ValueError(text)
        return ["Alice"]

    bodies = [
        {"metadata": {"email": "SecretZq@h.example"}, "max_tokens": 12, "messages": ["Alice", "E123456"]},
        {"trouble": "SecretZq1", "n": 1},
    ]
    handle = recorder.open(tmp_path / "tape.db", redact=["/E[0-9]{6}/", hook])
    answer = [
        head("200 OK", "Content-Type: application/json", "Content-Length: 32"),
        b'{"said":"Alice E123456","n":123}',
    ]
    with Loopback([answer], repeat_last=True) as server:
        with handle.instrument(httpx.Client(timeout=PATIENCE)) as client:
            for body in bodies:
                assert client.post(server.url, json=body).json() == {"said": "Alice E123456", "n": 123}
        assert handle.flush(30)
    stored = values(tmp_path / "tape.db")
    assert not any(word in content for content in stored.values() for word in (b"SecretZq", b"Alice", b"E123456"))
    assert any(b'"max_tokens":12' in content for content in stored.values())
    with handle.replay() as replay, replay.instrument(httpx.Client()) as player:
        for body in bodies:
            assert player.post(server.url, json=body).json() == {"said": "***** *******", "n": 123}
    told = [listed.recording.ending.detail["redacted"] for listed in handle.recordings() if listed.recording.ending]
    assert told[1]["request"] == {"body.metadata.email": 1, "hook": 1, "rule 2": 1}
    assert told[0] == {"withheld": ["request"], "response": {"hook": 1, "rule 2": 1}}
    assert {*named} == {"request", "response"}
    assert handle.close(30)


def test_the_stores_own_password_is_in_no_message(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A store that cannot be reached is named without it: in the log, in errors, on the command line."""
    canaries = Canaries("SecretZq")
    caplog.set_level(logging.DEBUG)
    with Refused() as nowhere, Loopback([[head("200 OK", "Content-Length: 0")]]) as server:
        address = nowhere.url.removeprefix("http://")
        url = f"postgresql://me:{canaries('password')}@{address}/db?sslpassword={canaries('sslpassword')}"
        handle = recorder.open(url)
        with handle.instrument(httpx.Client(timeout=PATIENCE)) as client:
            assert client.get(server.url).status_code == 200
        until = time.monotonic() + PATIENCE
        while not any(address in said for said in _ours(list(caplog.records))):
            assert time.monotonic() < until, "nobody is told that the store cannot be reached"
            time.sleep(0.01)
        assert not handle.flush(0.5)
        told = {"failing": str(handle.stats.failing).encode()}
        assert not handle.close(0.5)
        for strict in (False, True):
            with pytest.raises(recorder.StoreUnavailable) as raised:
                recorder.open(url, strict=True) if strict else handle.runs()
            told[f"error {strict}"] = repr((raised.value, raised.value.__cause__)).encode()
        done = subprocess.run(
            [sys.executable, "-m", "recorder", "--store", url, "runs"], cwd=ROOT, capture_output=True, check=False
        )
    told["command line"] = done.stdout + done.stderr
    told["log"] = "\n".join(_ours(caplog.records)).encode()
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert address.encode() in told["log"]
    assert found_in(canaries, told) == []
