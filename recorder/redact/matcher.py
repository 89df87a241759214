"""Whether a pattern is anywhere in a text, told in linear time whatever the pattern and the text.

The engine is the one that comes with pydantic (Rust's `regex`): it never backtracks, and searches for up to some sixty
plain words in one step. It tells whether there is a match and not where.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["Matcher"]


class Matcher:
    """Whether one of the patterns is anywhere in bytes, in linear time. They are read as UTF-8, else as latin-1.

    Of a text with lone surrogates it says that the pattern may be in it.

    Raises ValueError for a pattern that Rust's `regex` does not take (look-around and back references, say).
    """

    __slots__ = ("_matches",)

    def __init__(self, *patterns: str) -> None:
        try:
            schemas = [core_schema.str_schema(pattern=each, regex_engine="rust-regex") for each in patterns]
            schema = schemas[0] if len(schemas) == 1 else core_schema.union_schema([*schemas], mode="left_to_right")
            self._matches: Callable[[object], bool] = SchemaValidator(schema).isinstance_python
        except SchemaError as error:
            raise ValueError(_reason(error)) from None

    def __call__(self, data: bytes | str) -> bool:
        if self._matches(data):
            return True
        if data.isascii():
            return False
        # What is no UTF-8, or has no such form, never matches, whatever the pattern.
        if isinstance(data, str):
            return not _is_encodable(data)
        return not _utf8()(data) and self._matches(_latin(data))


def _reason(error: SchemaError) -> str:
    """The last line of what the engine says."""
    return str(error).strip().rpartition("\n")[2].strip().removeprefix("error: ")


@cache
def _utf8() -> Callable[[object], bool]:
    return SchemaValidator(core_schema.str_schema()).isinstance_python


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _latin(data: bytes) -> str:
    return data.decode("latin-1")
