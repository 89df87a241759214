"""Where the recording of a test lies: a file for each test, named so that every file system takes it. Pure.

The recording of `tests/test_chat.py::TestTools::test_call[gpt-4.1]` is
`tests/recordings/test_chat/TestTools.test_call-gpt-4.1.jsonl`.
Names of Python are kept as they are. The id of a parameter set is kept where it is short and plain, in small letters;
any other gives what is plain of it and eight digits of its SHA-256, so that no two sets of one test share a file, also
where file systems take capitals for small letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "SUFFIX", "file_of", "folder_of", "name_of"]

#: Beside the tests, where nothing else is said.
FOLDER: Final = "recordings"

SUFFIX: Final = ".jsonl"

_PLAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9])?")
_OTHER: Final = re.compile(r"[^A-Za-z0-9._-]+")

#: Of a parameter set's id that is not plain, so much is kept to be read.
_READABLE: Final = 40
#: Characters of the name of a test and its classes; file systems take 255 bytes in all.
_LONGEST: Final = 150


def file_of(folder: Path, module: str, scopes: Sequence[str], parameters: str | None) -> Path:
    """The file of a test: `folder` is that of all recordings, `module` the stem of the test's file, `scopes` its
    classes and its function, `parameters` the id of its parameter set (None: it has none).
    """
    return folder / folder_of(module) / f"{name_of(scopes, parameters)}{SUFFIX}"


def folder_of(module: str) -> str:
    """The name of the folder that has the recordings of a module."""
    return _safe(module)


def name_of(scopes: Sequence[str], parameters: str | None) -> str:
    """The name of the file, without its suffix."""
    name = _safe(".".join(scopes))
    if parameters is None:
        return name
    # No name of Python has a dash in it, so the two parts cannot run into each other.
    if _PLAIN.fullmatch(parameters):
        return f"{name}-{parameters}"
    readable = _OTHER.sub("-", parameters)[:_READABLE].strip("-.")
    return f"{name}-{readable}{'-' if readable else ''}{_hash(parameters)}"


def _safe(name: str) -> str:
    """The name with nothing in it that a file system refuses, and no longer than it takes."""
    if name.isascii() and len(name) <= _LONGEST and not _OTHER.search(name):
        return name
    return f"{_OTHER.sub('-', name)[:_LONGEST]}-{_hash(name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
