"""`recorder.replaying`: a tape for plain functions and unittest."""

from __future__ import annotations

import os
from typing import Any

from .core import Tape
from .options import Options

__all__ = ["MODE_VARIABLE", "replaying"]

#: Sets the mode where a call does not.
MODE_VARIABLE = "RECORDER_MODE"


def replaying(path: str | os.PathLike[str], *, mode: str | None = None, **options: Any) -> Tape:
    """A tape to be used in a `with` block: `with recorder.replaying("chat.jsonl") as tape: ...`.

    All that clients of this process send to known LLM hosts is answered from the file, and from nothing else. At the
    end of the block it raises `TapeError` (an AssertionError) where a request was not answered, whoever swallowed the
    exception, or a recording was not used.

    `mode`: replay (default), once, record, new or live; without one the variable RECORDER_MODE decides. A block that
    raises never writes the file. `options`: see `recorder.tape.Options`. Raises UsageError for what is none.
    """
    given = mode or os.environ.get(MODE_VARIABLE, "").strip() or None
    return Tape(path, Options.layered({"mode": given, **options}))
