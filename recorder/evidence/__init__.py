"""Recordings in one file that can be checked without the store they came from: the record whole, the proof of each that
it lies under a checkpoint, the checkpoints, and what verification said when the file was made.

    preamble   the lines before the record: values and JSON, each held to its form
    making     such a file out of a store
    checking   such a file, alone or against checkpoints that were kept elsewhere

The file is JSON, one object a line, and not an archive: there is nothing to unpack, so nothing that could be unpacked
to a wrong place or to a wrong size, and a checker needs SHA-256 and a JSON parser alone. docs/integrity.md has every
byte of it. Refuses to know SQL, and what a recording means.
"""

from __future__ import annotations

from .checking import Outcome, check
from .making import lines_of

__all__ = ["Outcome", "check", "lines_of"]
