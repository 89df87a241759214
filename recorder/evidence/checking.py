"""An evidence file checked with nothing but itself, or against checkpoints that were kept elsewhere, or a key.

Each recording is held against its digests as one in a store would be; its lines must be those that recorder writes of
what was sealed, byte for byte, so that nothing stands there that no digest covers; its leaf must lie under a checkpoint
of the file; and the checkpoints must be of one log that only grew. Whether these checkpoints are true the file cannot
say of itself: one of them must be among those that were kept, or signed.

A file that is damaged or of another form is refused whole; one that merely does not hold is looked through, and what
does not hold is named. One recording is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID

from recorder.digest import leaf_of
from recorder.errors import NotFound, RecorderError, UsageError
from recorder.exchange import lines, reading
from recorder.exchange.lines import Entry
from recorder.schema import CONTENT
from recorder.store.rows import ending_columns, recording_columns, tag_columns
from recorder.store.scanning import Note, Scanned
from recorder.verify import Checked, Checkpoint, Problem, Summary, Verdict
from recorder.verify import check as check_stored
from recorder.verify.keys import name_of, public, signed
from recorder.verify.proofs import consistent, included

from . import preamble as form
from .preamble import Inclusion, Preamble

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Outcome", "check"]

_RECORD: Final = b'{"recorder":"recordings"'


@dataclass(slots=True)
class Outcome:
    """What was found. `summary.problems` are the file's as a whole; `summary.checkpoints` says which fit together.

    `anchor`: the size of the newest checkpoint that something outside of the file vouches for, None where nothing does
    (nothing was given, or nothing fits). `place`: where in the store's log each one stands, from 0.
    """

    preamble: Preamble
    summary: Summary = field(default_factory=Summary)
    checked: list[Checked] = field(default_factory=list)
    anchor: int | None = None
    place: dict[UUID, int] = field(default_factory=dict)


def check(path: Path, kept: Sequence[Checkpoint] = (), key: Path | None = None) -> Outcome:
    """Look through a file. `kept`: checkpoints that were kept elsewhere; `key`: a file with the key that signed them.

    With both, `kept` were signed by the key already, and the file's own need not be. Raises NotFound, and UsageError
    where the file is no evidence, or damaged.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"no file {path}; `recorder export RUN --evidence -o FILE` makes one") from None
    with file:
        found, line = _preamble(file, path)
        outcome = Outcome(found)
        outcome.anchor = _checkpoints(outcome, kept, None if kept or key is None else key)
        roots = {line.count: line.root for line in found.checkpoints}
        proofs: dict[UUID, list[Inclusion]] = {}
        for each in found.inclusions:
            proofs.setdefault(each.recording_id, []).append(each)
            outcome.place[each.recording_id] = each.place
        for checked in _recordings(file, path, line):
            assert checked.recording_id is not None
            _note(outcome, _proven(checked, proofs.pop(checked.recording_id, []), roots, outcome.anchor))
    for recording_id in proofs:
        text = "the file proves that it was recorded, and does not hold it: it was taken out"
        _note(outcome, Checked(recording_id, Verdict.LOST, (Problem("lost", text),)))
    return outcome


def _note(outcome: Outcome, checked: Checked) -> None:
    outcome.checked.append(checked)
    outcome.summary.add(checked)


# -- before the record -------------------------------------------------------------------------------------------------


def _preamble(file: IO[bytes], path: Path) -> tuple[Preamble, int]:
    """What the lines before the record say; and the number of the line that the record begins with."""
    number = 1
    try:
        found = form.opened(file.readline(form.LONGEST_LINE + 1))
        while True:
            at = file.tell()
            number += 1
            line = file.readline(form.LONGEST_LINE + 1)
            if line.startswith(_RECORD):
                file.seek(at)
                return found, number
            if not line:
                raise UsageError("the file ends before its record: it was cut off")
            if number > form.MOST:
                raise UsageError(f"there are more than {form.MOST:,} lines before the record")
            form.take(found, form.told(line))
    except UsageError as error:
        raise UsageError(f"{path} line {number}: {error}; the file is refused whole") from None


def _checkpoints(outcome: Outcome, kept: Sequence[Checkpoint], key: Path | None) -> int | None:
    """Hold the checkpoints against each other, and those outside; the size of the newest that is vouched for."""
    ours = outcome.preamble.checkpoints
    problems = outcome.summary.problems
    if not ours:
        problems.append(Problem("no_checkpoint", "the file holds no checkpoint: nothing in it can be proven"))
    shown = {(growth.earlier, growth.later): growth.path for growth in outcome.preamble.growths}
    holds = dict.fromkeys((line.count for line in ours), True)
    for earlier, later in pairwise(ours):
        path = shown.get((earlier.count, later.count))
        if path is None or not consistent(earlier.count, earlier.root, later.count, later.root, path):
            holds[later.count] = False
            text = f"nothing shows that the checkpoint of {later.time} covers all that the one of {earlier.time} does"
            problems.append(Problem("growth", text))
    known = public(key) if key is not None else None
    told = [line if known is None else replace(line, trusted=_signed(line, known)) for line in ours]
    outcome.summary.checkpoints = [(line, holds[line.count]) for line in told]
    if kept:
        return _among(ours, kept, problems)
    if known is None:
        return None
    by_key = [line.count for line in told if line.trusted]
    if any(line.trusted is False for line in told):
        problems.append(Problem("signature", "a signature does not fit: its checkpoint was changed after it was made"))
    elif not by_key:
        problems.append(Problem("unsigned", "this key signed none of the file's checkpoints; name the key that did"))
    return max(by_key, default=None)


def _signed(line: Checkpoint, key: Ed25519PublicKey) -> bool | None:
    """Whether the key signed a line; None where it was not signed, or by another key."""
    if line.signature is None or line.key != name_of(key):
        return None
    return signed(key, line.unsigned().encode("ascii"), line.signature)


def _among(ours: Sequence[Checkpoint], kept: Sequence[Checkpoint], problems: list[Problem]) -> int | None:
    """The size of the newest checkpoint of the file that was kept elsewhere, too."""
    stores = {line.store for line in ours if line.count}
    known: dict[int, set[str]] = {}
    for line in kept:
        if line.store in stores:
            known.setdefault(line.count, set()).add(line.unsigned())
    found = []
    for line in ours:
        same = known.get(line.count, set())
        if line.unsigned() in same:
            found.append(line.count)
        elif same:
            text = f"the checkpoint of {line.time} over {line.count:,} recordings is not the one that was kept"
            problems.append(Problem("forked", text))
    if not found and ours:
        text = (
            "none of the checkpoints that were kept stands in the file: it is of another store, or has to be exported"
            " again with --against that file"
        )
        problems.append(Problem("unanchored", text))
    return max(found, default=None)


# -- the record --------------------------------------------------------------------------------------------------------


def _recordings(file: IO[bytes], path: Path, number: int) -> Iterator[Checked]:
    """Each recording of the file, held against its digests."""
    at = file.tell()
    head = file.readline(form.LONGEST_LINE)
    recorded = _recorded(head, f"{path} line {number}")
    file.seek(at)
    for segment, entry in reading.told(file, path, number):
        checked = check_stored(_as_stored(entry))
        if not _as_written(segment, entry, recorded):
            text = "its lines are not those that recorder writes of it: what stands there is not what was sealed"
            checked = _also(checked, Problem("form", text))
        yield checked


def _recorded(head: bytes, where: str) -> int:
    """The time of day in the line that opens the record, which must be as recorder writes it."""
    try:
        recorded = lines.micros(datetime.fromisoformat(str(form.told(head)["recorded"])))
        if lines.header_line(recorded) == head:
            return recorded
    except (ValueError, KeyError, OverflowError, UsageError):
        pass
    raise UsageError(f"{where}: it does not open a record as recorder writes it; the file is refused whole")


def _as_written(segment: bytes, entry: Entry, recorded: int) -> bool:
    try:
        return b"".join(lines.recording_lines(entry, recorded, identity=True)) == segment
    except (RecorderError, ValueError):
        return False


def _as_stored(entry: Entry) -> Scanned:
    """A recording as a store would hold it."""
    recording = entry.recording
    row: dict[str, Any] = recording_columns(recording)
    if recording.erasures:
        row |= {name: None for name in CONTENT if row[name] in (None, "", "[]", b"")}
    assert recording.ending is not None
    tags = [Note(each["name"], each["set_at"], each["value"]) for each in tag_columns(recording)]
    return Scanned(
        recording_id=recording.recording_id,
        row=row,
        ending=ending_columns(recording.recording_id, recording.ending),
        leased=False,
        leaf=None,
        erasures=recording.erasures,
        tags=tags,
        flags=None,
        pages=lambda: iter([entry.events]),
    )


def _proven(checked: Checked, proofs: Sequence[Inclusion], roots: Mapping[int, bytes], anchor: int | None) -> Checked:
    """With what is wrong with the proofs that it lies under the checkpoints of the file: their roots by their sizes."""
    assert checked.recording_id is not None
    if checked.seal is None or not roots:
        return checked
    leaf = leaf_of(checked.recording_id, checked.seal)
    sizes = [each.size for each in proofs]
    covering = [size for size in roots if size > proofs[0].place] if proofs else []
    if not covering or sizes != list(dict.fromkeys((covering[0], covering[-1]))):
        text = "nothing shows that it lies under the checkpoints: its proofs were taken out, or it was put in"
        return _also(checked, Problem("unproven", text))
    if not all(included(leaf, each.place, each.size, each.path, roots[each.size]) for each in proofs):
        text = "its proof does not lead to the checkpoint: it was altered and sealed anew, or the proof was"
        return _also(checked, Problem("proof", text))
    if anchor is not None and all(each.size > anchor for each in proofs):
        text = "it came under a checkpoint later than those that are vouched for"
        return _also(checked, Problem("later", text))
    return checked


def _also(checked: Checked, problem: Problem) -> Checked:
    return replace(checked, verdict=Verdict.ALTERED, problems=(*checked.problems, problem))
