"""Recordings out of a store into files, and back; and what other tools recorded, in.

    payloads   bytes as a member of a JSON line
    lines      one recording as lines: the grammar of a recording file
    reading    recording files in      writing    recording files out, and replaced
    cleaning   what of a file's recordings must not be stored by now
    keeping    what of a file stays when the same was recorded again
    foreign    files of any kind in: cassettes, har, aimock, streams (raw event streams), each by its module
    building   recordings from what another tool kept, and what of it is unknown
    otlp       runs as OpenTelemetry spans      spoken   what was asked and answered, as these have it

A recording that was imported says so in its `end` event: `imported.from` names the tool, `imported.unknown` what it
did not keep. One of which import itself withheld something has `redacted.on_import`.
"""

from __future__ import annotations

from .cleaning import sealed_as
from .foreign import FORMATS, Imported, convert, import_file
from .har import to_har
from .keeping import same_answer
from .lines import Entry
from .otlp import to_otlp
from .reading import read
from .streams import Asked
from .writing import Written, entries, lines_of, load, put_in_place, traced, write

__all__ = [
    "FORMATS",
    "Asked",
    "Entry",
    "Imported",
    "Written",
    "convert",
    "entries",
    "import_file",
    "lines_of",
    "load",
    "put_in_place",
    "read",
    "same_answer",
    "sealed_as",
    "to_har",
    "to_otlp",
    "traced",
    "write",
]
