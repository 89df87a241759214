"""An evidence file proves what is in it to who has no store: untouched it holds, and whatever is done to it is found,
or the file is refused whole. A program made of docs/integrity.md alone comes to the same answers."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from recorder import evidence
from recorder.errors import NotFound, StoreError, UsageError
from recorder.evidence import Outcome, preamble
from recorder.store import Store
from recorder.verify import Checkpoint, make
from tests.needs import ROOT, examples
from tests.verified import append, erase, fill

EDITS: Final = examples(300, 10_000)


class Made:
    """An evidence file of every shape of recording, and the two checkpoints of it that were kept."""

    def __init__(self, url: str, path: Path, *, streams: bool = False, few: bool = False) -> None:
        self.path = path
        with Store.open(url, create=True) as store:
            self.ids = fill(store, streams=streams)
            self.kept = [make(store)]
            append(store, store.recording(self.ids["plain"]).request, b"data: 1\n\n", tags={"app": "x"})
            self.kept.append(make(store))
            chosen = [each for each in store.recording_ids() if each != self.ids["open"]]
            if few:
                chosen = [self.ids[name] for name in ("plain", "odd", "json", "facts", "secret_gzip", "erased")]
            self.lines = list(evidence.lines_of(store, chosen, by="recorder test", kept=self.kept))
            path.write_bytes(b"".join(self.lines))
            self.count = len(chosen)

    def look(self, change: Callable[[list[bytes]], Any], *, kept: bool = True) -> set[str]:
        """The codes of what is found after a change of the lines."""
        changed = list(self.lines)
        change(changed)
        self.path.write_bytes(b"".join(changed))
        return codes(evidence.check(self.path, self.kept if kept else ()))

    def put(self, place: int, line: bytes) -> set[str]:
        """`look` after a change of one line."""
        return self.look(lambda lines: lines.__setitem__(place, line))

    def at(self, mark: bytes, number: int = 0) -> int:
        """Which line is the first (or so many-th) that holds this."""
        return [place for place, line in enumerate(self.lines) if mark in line][number]


def codes(outcome: Outcome) -> set[str]:
    found = {problem.code for checked in outcome.checked for problem in checked.problems}
    return found | {problem.code for problem in outcome.summary.problems}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("evidence")
    return Made(f"sqlite:///{folder / 'recorder.db'}", folder / "evidence.jsonl")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("small")
    return Made(f"sqlite:///{folder / 'recorder.db'}", folder / "evidence.jsonl", few=True)


def checker() -> dict[str, Any]:
    """The program in docs/integrity.md."""
    text = (ROOT / "docs" / "integrity.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "checker"}
    exec(compile(code, "docs/integrity.md", "exec"), names)
    return names


# -- nothing was done --------------------------------------------------------------------------------------------------


def test_nothing_is_found_in_a_file_that_nobody_touched(url: str, tmp_path: Path) -> None:
    """Golden streams and every other shape, erased ones too; and the paper's program proves the same recordings."""
    made = Made(url, tmp_path / "evidence.jsonl", streams=url.startswith("sqlite:"))
    for kept, anchor in (((), None), (made.kept, made.count), (made.kept[:1], made.count - 1)):
        outcome = evidence.check(made.path, kept)
        assert outcome.anchor == anchor
        assert codes(outcome) == ({"later"} if anchor == made.count - 1 else set())
    assert outcome.summary.recordings == made.count == len(outcome.place)
    assert outcome.summary.verdicts["erased"] == 2
    assert {told["verdict"] for told in outcome.preamble.transcript} == {"intact", "erased"}
    found, line = checker()["check"](made.path)
    assert (len(found), line) == (made.count, made.kept[1].text())


def test_a_checkpoint_is_made_where_those_that_were_kept_do_not_cover_all(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", create=True) as store:
        ids = fill(store, streams=False)
        first = make(store)
        later = append(store, store.recording(ids["plain"]).request, b"data: 1\n\n")
        for kept, sizes in (((), [20]), ((first,), [19, 20])):
            path = tmp_path / "evidence.jsonl"
            path.write_bytes(b"".join(evidence.lines_of(store, [ids["plain"], later], by="x", kept=kept)))
            outcome = evidence.check(path)
            assert [line.count for line, _ in outcome.summary.checkpoints] == sizes
            assert codes(outcome) == set()
        other = Checkpoint("01a208dc-1d3e-7000-8458-b88ab2219ac9", first.time, 3, bytes(32))
        path.write_bytes(b"".join(evidence.lines_of(store, [later], by="x", kept=[other])))
        assert codes(evidence.check(path, [other])) == {"unanchored"}
        wrong = Checkpoint(first.store, first.time, 19, bytes(32))
        with pytest.raises(StoreError, match="does not fit the checkpoint"):
            list(evidence.lines_of(store, [ids["plain"]], by="x", kept=[wrong]))
        with pytest.raises(NotFound, match="is not sealed"):
            list(evidence.lines_of(store, [ids["open"]], by="x"))


def test_an_erasure_is_told_with_who_and_why(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", create=True) as store:
        ids = fill(store, streams=False)
        erase(store, ids["plain"])
        (erasure,) = store.erasures([ids["plain"]])[ids["plain"]]
        data = b"".join(evidence.lines_of(store, [ids["plain"]], by="x"))
    assert b'"erased":[[%d,"me","asked"]]' % erasure.erased_at in data
    assert b"gpt-4o" in data
    assert b"hello" not in data


# -- something was done ------------------------------------------------------------------------------------------------


def test_every_edit_is_found_or_refused(small: Made) -> None:
    """Of any byte of any line that proves something; what the exporter merely says is left alone."""
    rng = random.Random(11)
    said = (b'{"recorder":"evidence"', b'{"kind":"verified"')
    provable = [place for place, line in enumerate(small.lines) if not line.startswith(said)]
    missed = []
    for _ in range(EDITS):
        place = rng.choice(provable)
        line = small.lines[place]
        new = _edited(rng, line)
        # Of an erasure nothing but that there was one is proven.
        if new == line or b'"erased":' in line:
            continue
        try:
            found = small.put(place, new)
        except UsageError:
            continue
        if not found:
            missed.append((line[:80], new[:80]))
    assert missed == []


def _edited(rng: random.Random, line: bytes) -> bytes:
    at = rng.randrange(len(line))
    flipped = bytearray(line)
    flipped[at] ^= 1 << rng.randrange(8)
    other = b"" if rng.random() < 0.5 else line + line
    digit = re.sub(rb"\d", lambda found: b"%d" % (9 - int(found[0])), line, count=1)
    return rng.choice(
        [bytes(flipped), bytes(flipped), line[:at] + line[at + 1 :], line[:at] + b"0" + line[at:], digit, other]
    )


@pytest.mark.parametrize("kind", ["content", "time", "gone", "swapped", "end"])
def test_an_edited_recording_is_named(made: Made, kind: str) -> None:
    start = made.at(str(made.ids["plain"]).encode(), -1)
    event = start + 2

    def change(lines: list[bytes]) -> None:
        if kind == "content":
            lines[event] = lines[event].replace(b"chat", b"chit", 1)
        elif kind == "time":
            lines[event] = re.sub(rb'"us":(\d+)', lambda found: b'"us":%d' % (int(found[1]) + 1), lines[event], count=1)
        elif kind == "gone":
            del lines[event]
        elif kind == "swapped":
            lines[event], lines[event + 1] = lines[event + 1], lines[event]
            lines[event : event + 2] = [
                re.sub(rb'"us":\d+|"cuts":[0-9\[\],]+\],', b'"us":9000', each, count=1)
                for each in lines[event : event + 2]
            ]
        else:
            end = next(place for place in range(start, len(lines)) if b'"kind":"end"' in lines[place])
            lines[end] = lines[end].replace(b'"eof"', b'"reset"')

    changed = list(made.lines)
    change(changed)
    assert changed != made.lines
    made.path.write_bytes(b"".join(changed))
    outcome = evidence.check(made.path, made.kept)
    assert [each.recording_id for each in outcome.checked if each.problems] == [made.ids["plain"]]
    with pytest.raises((AssertionError, KeyError)):
        checker()["check"](made.path)


def test_what_no_digest_covers_cannot_stand_in_the_record(made: Made) -> None:
    """A tag that is there twice is read as the later one, and the digests fit: the lines do not."""
    start = made.at(str(made.ids["plain"]).encode(), -1)
    added = made.lines[start].replace(b'"tags":[[', b'"tags":[["app","forged"],[', 1)
    assert added != made.lines[start]
    assert made.put(start, added) == {"form"}
    spaced = made.lines[start].replace(b'"kind":', b'"kind": ', 1)
    assert made.put(start, spaced) == {"form"}


def test_a_recording_that_was_taken_out_is_found_by_its_proof(made: Made) -> None:
    start = made.at(str(made.ids["plain"]).encode(), -1)
    end = next(place for place in range(start, len(made.lines)) if b'"kind":"end"' in made.lines[place])
    assert made.look(lambda lines: lines.__delitem__(slice(start, end + 1))) == {"lost"}


def test_proofs_that_are_gone_or_of_another_are_found(made: Made) -> None:
    plain = str(made.ids["plain"]).encode()
    other = str(made.ids["left"]).encode()
    proofs = [
        place for place, line in enumerate(made.lines) if line.startswith(b'{"kind":"inclusion"') and plain in line
    ]
    assert len(proofs) == 2
    assert made.look(lambda lines: lines.__delitem__(slice(proofs[0], proofs[1] + 1))) == {"unproven"}
    moved = made.lines[proofs[0]].replace(plain, other)
    assert made.put(proofs[0], moved) == {"unproven"}
    place = made.lines[proofs[1]].replace(b'"index":', b'"index":1', 1)
    assert made.put(proofs[1], place) == {"proof"}
    path = made.lines[proofs[1]].replace(b'"path":["', b'"path":["%b","' % (b"0" * 64), 1)
    assert made.put(proofs[1], path) == {"proof"}
    growth = made.at(b'{"kind":"growth"')
    assert made.look(lambda lines: lines.__delitem__(growth)) == {"growth"}
    first = made.at(b'{"kind":"checkpoint"')
    assert "unproven" in made.look(lambda lines: lines.__delitem__(first))


def test_a_store_that_was_written_anew_is_found_by_what_was_kept_alone(made: Made, tmp_path: Path) -> None:
    """By itself such a file holds; that nothing vouches for it is said."""
    forged = Made(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "forged.jsonl")
    alone = evidence.check(forged.path)
    assert (codes(alone), alone.anchor) == (set(), None)
    assert codes(evidence.check(forged.path, made.kept)) == {"unanchored"}
    line = Checkpoint(forged.kept[1].store, forged.kept[1].time, forged.kept[1].count, bytes(32))
    assert codes(evidence.check(forged.path, [line])) == {"forked", "unanchored"}


def test_a_signature_vouches_and_another_does_not(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    for name in ("mine", "other"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / name], check=True)
    path = tmp_path / "evidence.jsonl"
    with Store.open(tmp_path / "a.db", create=True) as store:
        ids = fill(store, streams=False)
        path.write_bytes(b"".join(evidence.lines_of(store, [ids["plain"]], by="x", key=tmp_path / "mine")))
    outcome = evidence.check(path, (), tmp_path / "mine")
    assert (codes(outcome), outcome.anchor) == (set(), 19)
    assert codes(evidence.check(path, (), tmp_path / "other")) == {"unsigned"}
    path.write_bytes(path.read_bytes().replace(b" time=2", b" time=3"))
    assert codes(evidence.check(path, (), tmp_path / "mine")) == {"signature"}
    with pytest.raises(NotFound):
        evidence.check(path, (), tmp_path / "none")


# -- hostile files -----------------------------------------------------------------------------------------------------

HEAD: Final = b'{"recorder":"evidence","version":"1.0","made":"2026-11-23T12:00:00Z","by":"x"}\n'
ROOTS: Final = b'["%b"]' % (b"0" * 64)
INCLUSION: Final = (
    b'{"kind":"inclusion","recording":"01a208dc-1d3e-7000-8458-b88ab2219ac9","index":%b,"count":%b,"path":%b}\n'
)
RECORD: Final = b'{"recorder":"recordings","version":"1.0","recorded":"2026-11-23T12:00:00.000000Z"}\n'
HOSTILE: Final = {
    "nothing": b"",
    "no JSON": b"\x00\xff" * 100,
    "another file": RECORD,
    "a later version": HEAD.replace(b"1.0", b"2.0"),
    "no record": HEAD,
    "an unknown member": HEAD.replace(b'"by"', b'"hidden":1,"by"'),
    "a member twice": HEAD.replace(b'"by"', b'"by":"y","by"'),
    "a time that is none": HEAD.replace(b"12:00:00Z", b"noon"),
    "an unknown kind": HEAD + b'{"kind":"exec","data":"x"}\n' + RECORD,
    "a list": HEAD + b"[]\n" + RECORD,
    "deep": HEAD + b'{"kind":"verified","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n" + RECORD,
    "a little deep": HEAD + b'{"kind":"verified","x":' + b"[" * 20 + b"]" * 20 + b"}\n" + RECORD,
    "a long line": HEAD + b'{"kind":"verified","x":"' + b"a" * (5 << 20) + b'"}\n' + RECORD,
    "a huge number": HEAD + INCLUSION % (b"9" * 5000, b"1", b"[]") + RECORD,
    "a large number": HEAD + INCLUSION % (b"1" + b"0" * 19, b"1", b"[]") + RECORD,
    "a negative number": HEAD + INCLUSION % (b"-1", b"1", b"[]") + RECORD,
    "no whole number": HEAD + INCLUSION % (b"1.5", b"1", b"[]") + RECORD,
    "no number": HEAD + INCLUSION % (b"NaN", b"1", b"[]") + RECORD,
    "true": HEAD + INCLUSION % (b"true", b"1", b"[]") + RECORD,
    "a long path": HEAD + INCLUSION % (b"0", b"1", b"[" + b",".join([b'"%b"' % (b"0" * 64)] * 65) + b"]") + RECORD,
    "a path of something else": HEAD + INCLUSION % (b"0", b"1", b'["x"]') + RECORD,
    "a checkpoint that is none": HEAD + b'{"kind":"checkpoint","line":"recorder-checkpoint/1 x"}\n' + RECORD,
    "a record that is none": HEAD + RECORD.replace(b"2026", b"noon"),
    "a record of a later version": HEAD + RECORD.replace(b"1.0", b"1.1"),
    "a recording that is cut off": HEAD
    + RECORD
    + b'{"us":0,"kind":"request","method":"GET","url":"","dialect":"raw"}\n',
    "something else in the record": HEAD + RECORD + b'{"kind":"inclusion"}\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_evidence_is_refused_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UsageError, match=r"refused whole|nothing of the file was taken") as refused:
        evidence.check(path)
    assert len(str(refused.value)) < 400 + len(str(path))


def test_a_file_that_was_cut_anywhere_is_refused_or_found(made: Made) -> None:
    whole = b"".join(made.lines)
    rng = random.Random(5)
    for at in [0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(30))]:
        made.path.write_bytes(whole[:at])
        try:
            found = codes(evidence.check(made.path, made.kept))
        except UsageError:
            continue
        assert found, at


def test_a_recording_that_is_there_twice_is_refused(made: Made) -> None:
    start = made.at(str(made.ids["plain"]).encode(), -1)
    end = next(place for place in range(start, len(made.lines)) if b'"kind":"end"' in made.lines[place])
    with pytest.raises(UsageError, match="came before"):
        made.look(lambda lines: lines.extend(made.lines[start : end + 1]))


def test_a_file_without_recordings_or_checkpoints_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(HEAD + RECORD)
    assert codes(evidence.check(path)) == {"no_checkpoint"}
    with pytest.raises(NotFound, match="--evidence"):
        evidence.check(tmp_path / "none")
    with pytest.raises(NotFound):
        evidence.check(tmp_path)


def test_a_recording_without_a_seal_proves_nothing(made: Made) -> None:
    start = made.at(str(made.ids["plain"]).encode(), -1)
    end = next(place for place in range(start, len(made.lines)) if b'"kind":"end"' in made.lines[place])
    bare = re.sub(rb'"digests":\[[^]]*\],', b"", made.lines[end])
    assert bare != made.lines[end]
    assert made.put(end, bare) == {"ending"}


def test_checkpoints_that_do_not_rise_and_too_many_lines_are_refused(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made.at(b'{"kind":"checkpoint"')
    with pytest.raises(UsageError, match="each of more recordings"):
        made.put(first + 1, made.lines[first])
    monkeypatch.setattr(preamble, "MOST", 10)
    with pytest.raises(UsageError, match="more than 10 lines"):
        made.look(lambda lines: None)


def test_the_lines_are_json(made: Made) -> None:
    for line in made.lines:
        assert isinstance(json.loads(line), dict)
