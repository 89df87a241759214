"""The wire protocols, one module each: how to recognise a request of one, and what a recording of one means.

Pure functions over values; no SQL, no HTTP library. `raw` stands for whatever is not known and never guesses.
"""

from __future__ import annotations

from typing import Final

from recorder.dialects.assistants import Assistants
from recorder.dialects.base import Dialect
from recorder.dialects.chat import Chat
from recorder.dialects.gemini import Gemini
from recorder.dialects.messages import Messages
from recorder.dialects.raw import Raw
from recorder.dialects.responses import Responses
from recorder.recording import Request

__all__ = ["DIALECTS", "RAW", "Dialect", "by_name", "recognise"]

RAW: Final[Dialect] = Raw()

#: In the order in which they are asked; at most one recognises a request.
DIALECTS: Final[tuple[Dialect, ...]] = (Assistants(), Responses(), Chat(), Messages(), Gemini())

_BY_NAME: Final = {dialect.name: dialect for dialect in (*DIALECTS, RAW)}


def recognise(request: Request) -> Dialect:
    """The dialect of a request; `raw` where none recognises it."""
    return next((dialect for dialect in DIALECTS if dialect.recognises(request)), RAW)


def by_name(name: str) -> Dialect:
    """The dialect that a store calls by this name; `raw` for a name that this version does not know."""
    return _BY_NAME.get(name, RAW)
