"""`recorder export` and `recorder import`: out of a store, into another, and into files for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recorder import exchange, reader
from recorder.exchange import lines
from recorder.store import Append, RunFilter, Store
from tests.command import invoke, json_lines
from tests.kept import without_payloads
from tests.taped import chat, said
from tests.test_exchange import without_content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with three chats, the middle one by another model's word."""
    entries = [chat(word, said(word, name=f"chatcmpl-{word}"), tags={"nr": word}) for word in ("one", "two", "three")]
    with Store.open(tmp_path / "a.db", create=True) as store:
        store.append(
            [Append(e.recording.recording_id, e.recording, lines.rows_of(e), e.recording.ending) for e in entries]
        )
        reader.read_due_all(store)
    return tmp_path / "a.db"


def test_a_store_goes_through_a_file_into_another(path: Path, tmp_path: Path) -> None:
    """With ids, times, seals; a second import changes nothing."""
    assert invoke("export", "-o", str(tmp_path / "all.jsonl"), store=path).exit_code == 0
    for _ in range(2):
        done = invoke("import", str(tmp_path / "all.jsonl"), store=tmp_path / "b.db")
        assert (done.exit_code, "3 recordings of recorder" in done.stdout) == (0, True)
    with Store.open(path) as one, Store.open(tmp_path / "b.db") as other:
        ids = sorted(listed.recording.recording_id for listed in one.recordings())
        assert list(exchange.entries(one, ids)) == list(exchange.entries(other, ids))
        assert [run.run_id for run in one.runs()] == [run.run_id for run in other.runs()]


def test_runs_are_chosen_by_name_or_filter(path: Path) -> None:
    """Each with all its recordings; nothing found is exit code 3."""
    told = invoke("export", "chatcmpl-two", store=path)
    assert told.stdout.count('"kind":"request"') == 1
    assert '"chatcmpl-two"' in told.stdout
    filtered = invoke("export", "--tag", "nr=three", store=path)
    assert '"chatcmpl-three"' in filtered.stdout
    assert '"chatcmpl-two"' not in filtered.stdout
    assert invoke("export", store=path).stdout.count('"kind":"request"') == 3
    newest = invoke("export", "--limit", "1", store=path).stdout
    assert (newest.count('"kind":"request"'), '"chatcmpl-three"' in newest) == (1, True)
    assert invoke("export", "--tag", "nr=four", store=path).exit_code == 3
    assert invoke("export", "chatcmpl-two", "--tag", "nr=two", store=path).exit_code == 2
    assert invoke("export", "nobody", store=path).exit_code == 3


def test_a_fixture_is_without_identity(path: Path, tmp_path: Path) -> None:
    """For a test's folder."""
    invoke("export", "chatcmpl-two", "--fixture", "-o", str(tmp_path / "deep" / "t.jsonl"), store=path)
    text = (tmp_path / "deep" / "t.jsonl").read_text()
    assert '"id":' not in text.replace('"id": "chatcmpl', "")
    assert "digests" not in text
    assert invoke("export", "--fixture", "--format", "har", store=path).exit_code == 2


def test_what_was_erased_is_exported_as_that_and_in_no_fixture(tmp_path: Path) -> None:
    """Its facts go into another store; a test could replay nothing of it. The page says that content is gone."""
    exchange.write(tmp_path / "in.jsonl", [without_content(chat("hi", said("secret")))], identity=True)
    store = tmp_path / "b.db"
    assert invoke("import", str(tmp_path / "in.jsonl"), store=store).exit_code == 0
    assert invoke("export", "-o", str(tmp_path / "out.jsonl"), store=store).exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "in.jsonl").read_bytes()
    fixture = invoke("export", "--fixture", store=store)
    assert (fixture.stdout.count("\n"), "was erased, and is left out" in fixture.stderr) == (1, True)
    page = invoke("export", "@last", "--format", "html", store=store)
    assert (page.exit_code, "by Ann, because: asked for" in page.stdout) == (0, True)
    (entry,) = json.loads(invoke("export", "--format", "har", store=store).stdout)["log"]["entries"]
    assert (entry["response"]["status"], entry["response"]["content"]["text"]) == (200, "")
    assert invoke("export", "--format", "otlp", store=store).exit_code == 0


def test_spans_for_a_collector(path: Path, tmp_path: Path) -> None:
    """A span for each run and each exchange; texts only where they are asked for."""
    done = invoke("export", "--format", "otlp", "-o", str(tmp_path / "a.json"), store=path)
    assert (done.exit_code, "3 recordings" in done.output) == (0, True)
    (line,) = (tmp_path / "a.json").read_text().splitlines()
    assert line.count('"kind":3') == 6
    assert "gen_ai.output.messages" not in line
    assert "gen_ai.output.messages" in invoke("export", "--format", "otlp", "--content", store=path).stdout
    assert invoke("export", "--content", store=path).exit_code == 2


def test_har_and_one_stream(path: Path, tmp_path: Path) -> None:
    """An archive is JSON; a stream is the exact bytes, of one recording alone."""
    assert invoke("export", "--format", "har", "-o", str(tmp_path / "a.har"), store=path).exit_code == 0
    assert len(json.loads((tmp_path / "a.har").read_text())["log"]["entries"]) == 3
    (told,) = json_lines("import", str(tmp_path / "a.har"), store=tmp_path / "b.db")
    assert (told["source"], len(told["recordings"]), told["skipped"]) == ("HAR", 3, [])
    again = tmp_path / "deep" / "a.har"
    assert invoke("export", "--format", "har", "-o", str(again), store=path).exit_code == 0
    assert again.read_bytes() == (tmp_path / "a.har").read_bytes()
    one = invoke("export", "chatcmpl-one", "--format", "sse", store=path)
    assert one.stdout_bytes == b"".join(said("one", name="chatcmpl-one"))
    assert invoke("export", "--format", "sse", store=path).exit_code == 2


def test_a_stream_that_is_not_in_the_store_is_not_an_empty_one(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", create=True) as store:
        bare = without_payloads(store, "assistants-azure")
    done = invoke("export", "--format", "sse", "-o", str(tmp_path / "a.sse"), store=tmp_path / "a.db")
    assert (done.exit_code, f"{bare.recording_id} has no payloads" in done.stderr) == (3, True)
    assert not (tmp_path / "a.sse").exists()


def test_cassettes_become_recording_files_in_one_command(tmp_path: Path) -> None:
    """A folder of them, each in its place; one that is refused does not hold up the others."""
    cassette = "interactions: [{request: {method: GET, uri: 'http://a/b'}, response: {status: {code: 200}}}]"
    for name in ("test_a/one.yaml", "test_b/two.yaml"):
        (tmp_path / "cassettes" / name).parent.mkdir(parents=True)
        (tmp_path / "cassettes" / name).write_text(cassette)
    (tmp_path / "cassettes" / "bad.yaml").write_text("interactions: []")
    done = invoke("import", str(tmp_path / "cassettes"), "--to", str(tmp_path / "recordings"), store=tmp_path / "x.db")
    assert done.exit_code == 2
    assert "bad.yaml holds no exchange to import" in done.stderr
    assert "test_a/one.yaml: 1 recording of vcrpy; unknown: cuts, duration, ending" in done.stdout
    found = sorted(
        str(path.relative_to(tmp_path / "recordings")) for path in (tmp_path / "recordings").rglob("*.jsonl")
    )
    assert found == ["test_a/one.jsonl", "test_b/two.jsonl"]
    assert not (tmp_path / "x.db").exists()


def test_a_raw_stream_with_what_was_asked(tmp_path: Path) -> None:
    """--url and --body; without them what is guessed is said."""
    (tmp_path / "a.sse").write_bytes(b"".join(said("a")))
    (tmp_path / "q.json").write_text('{"model":"m"}')
    given = ("--url", "https://api.openai.com/v1/chat/completions", "--body", str(tmp_path / "q.json"))
    (told,) = json_lines("import", str(tmp_path / "a.sse"), *given, store=tmp_path / "a.db")
    assert "request" not in told["unknown"]
    (told,) = json_lines("import", str(tmp_path / "a.sse"), store=tmp_path / "a.db")
    assert "request" in told["unknown"]
    with Store.open(tmp_path / "a.db") as store:
        assert len(store.recordings(RunFilter())) == 2


def test_what_still_goes_on_is_left_out(path: Path, tmp_path: Path) -> None:
    """It would be another recording once it has ended."""
    growing = chat("four", said("four"))
    with Store.open(path) as store:
        store.claim_writer(growing.recording.writer)
        begun = replace(growing.recording, ending=None)
        store.append([Append(begun.recording_id, begun, lines.rows_of(growing)[:2])])
        done = invoke("export", "-o", str(tmp_path / "a.jsonl"), store=path)
    assert f"{begun.recording_id} still goes on" in done.stderr
    assert "3 recordings in" in done.stderr
    assert len(list(exchange.read(tmp_path / "a.jsonl"))) == 3
