"""Inputs that are nearly right: what somebody would send to break a parser, made of what it takes by changing pieces.

Everything follows from the seed. Values are changed as values, so that the text around them stays whole and the deeper
layers are reached; bytes are changed as bytes, with a dictionary of what the format is made of.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final, TypeVar

__all__ = ["HUGE", "NASTY", "Mutator"]

#: Stands for a number that Python refuses to read; whoever writes the value as text puts digits in its place.
HUGE: Final = "@huge@"

#: Values that something may stumble over.
NASTY: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 7, 255, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63), 10**30, 10**4200),
    *(0.0, -0.5, 1e-320, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "\0", "\r\n", "a\r\nb: c", "\ud800", "\u202e", "\ufeff", "é" * 40, "x" * 3000, "../../x", "/etc/passwd"),
    *("file:///etc/passwd", "http://", "https://a b/", "http://[::1", "data:,x", "9" * 60, "1e999", "%", "%zz", "=?="),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30", "base64", "utf-32", "hex", "rot13", HUGE),
    *([], {}, [[]], [{}], {"": ""}, [None], {"a": {"b": []}}, ["a", "b"], [["a"]], [["a", "b", "c"]], [0, 0], [[0, 0]]),
)

_BYTES: Final = tuple(
    bytes([each]) for each in (0, 9, 10, 13, 32, 34, 44, 58, 91, 92, 93, 123, 125, 127, 128, 239, 255)
)


_Any = TypeVar("_Any")


class Mutator:
    """Makes inputs out of good ones, the same from the same seed."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)

    def pick(self, values: Sequence[_Any]) -> _Any:
        return values[int(self.chance.random() * len(values))]

    def octets(self, good: Sequence[bytes], words: Sequence[bytes]) -> bytes:
        """One of the good ones after one to four changes."""
        data = self.pick(good)
        for _ in range(1 + int(self.chance.random() * 4)):
            data = self._changed(data, good, words)
        return data

    def _changed(self, data: bytes, good: Sequence[bytes], words: Sequence[bytes]) -> bytes:
        chance = self.chance.random
        at = int(chance() * (len(data) + 1))
        to = min(len(data), at + int(chance() ** 3 * 60))
        match int(chance() * 8):
            case 0:
                return data[:at] + data[to:]
            case 1:
                return data[:to] + data[at:]
            case 2:
                return data[:at] + self.pick(_BYTES) + data[at + 1 :]
            case 3:
                return data[:at] + self.pick(words) + data[to:]
            case 4:
                return data[:at]
            case 5:
                other = self.pick(good)
                return data[:at] + other[int(chance() * (len(other) + 1)) :]
            case 6:
                return data[:at] + data[at:to] * int(2 + chance() * 6) + data[to:]
            case _:
                return data[:at] + self.pick(words) + data[at:]

    def chunks(self, data: bytes) -> list[bytes]:
        """The bytes in up to four pieces."""
        cuts = sorted(int(self.chance.random() * (len(data) + 1)) for _ in range(int(self.chance.random() * 4)))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def value(self, value: Any) -> Any:
        """A value of JSON after one to three changes somewhere in it; the original stays as it is."""
        for _ in range(1 + int(self.chance.random() * 3)):
            value = self._altered(value)
        return value

    def _altered(self, value: Any) -> Any:
        chance = self.chance.random
        if not isinstance(value, dict | list) or not value or chance() < 0.12:
            return self._other(value)
        if isinstance(value, list):
            place = int(chance() * len(value))
            return self._in_list(value, place)
        name = self.pick(list(value))
        roll = chance()
        if roll < 0.08:
            return {each: inner for each, inner in value.items() if each != name}
        if roll < 0.12:
            return {**value, self.pick(list(value)): value[name]}
        return {**value, name: self._altered(value[name])}

    def _in_list(self, value: list[Any], place: int) -> list[Any]:
        roll = self.chance.random()
        if roll < 0.08:
            return value[:place] + value[place + 1 :]
        if roll < 0.16:
            return value[:place] + [value[place]] * 3 + value[place:]
        return [*value[:place], self._altered(value[place]), *value[place + 1 :]]

    def _other(self, value: Any) -> Any:
        roll = self.chance.random()
        if isinstance(value, str) and roll < 0.4:
            at = int(self.chance.random() * (len(value) + 1))
            return value[:at] + str(self.pick(("\0", "\r\n", "\ud800", '"', "\\", "é", " ", ":", "%"))) + value[at:]
        if isinstance(value, int) and roll < 0.4:
            return self.pick((-value, value + 1, value * 10**6, value << 40, str(value), float(value % (1 << 50))))
        if roll < 0.5:
            return [value]
        if roll < 0.55:
            return {"a": value}
        return self.pick(NASTY)
