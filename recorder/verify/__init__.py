"""Whether the record itself can be trusted: each sealed recording held against its digests, the store against its
checkpoints.

    rows         a stored row as the value that was sealed, or why it cannot be
    recordings   one recording: its events in one pass, its digests, what is wrong with it, in plain words
    checkpoints  the tree over all sealed recordings (RFC 6962), and the line that is kept elsewhere
    proofs       that a leaf is in a tree, and that a tree only grew, for who has no store
    emitting     one checkpoint after the other of a store, and the file that they are kept in
    keys         Ed25519 keys out of files (the extra `sign`)
    whole        a whole store, with or without checkpoints

Integrity (is this what was recorded?) and completeness (did capture see all of it?) are two verdicts. What neither
proves is in docs/integrity.md. Refuses to know providers' protocols, and how a recording is made.
"""

from __future__ import annotations

from .checkpoints import Checkpoint, parse, read_lines
from .emitting import make
from .recordings import Checked, Problem, Verdict, check
from .whole import Summary, verify

__all__ = ["Checked", "Checkpoint", "Problem", "Summary", "Verdict", "check", "make", "parse", "read_lines", "verify"]
