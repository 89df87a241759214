"""What was looked up once, kept in a file, so that the next process need not load the price list for it.

A file belongs to one version of the prices, which is part of its name: another version never reads it. It holds prices
and names of hosts and models. Losing it costs a quarter of a second, so nothing that is wrong with it is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from recorder.prices.rates import Match, Period, Rates, Reason, Unpriced

__all__ = ["Kept"]

_FORM: Final = 1
#: More names of hosts and models than any fleet has; what comes from strangers must not grow without end.
_MOST: Final = 10_000
#: So many versions' files stay: whoever asks with two configurations in turn reads each time what was kept.
_VERSIONS: Final = 4


class Kept:
    """The matches of one version of the prices, in `folder`; only in memory where that is None."""

    def __init__(self, folder: Path | None, version: str) -> None:
        name = hashlib.sha256(f"{_FORM} {version}".encode()).hexdigest()[:12]
        self._path = None if folder is None else folder / f"prices-{name}.json"
        self._version = version
        self._found: dict[str, Match | Unpriced] = {}
        self._changed = False
        if self._path is not None:
            with suppress(OSError, ValueError, TypeError, KeyError, ArithmeticError):
                self._found = _read(json.loads(self._path.read_bytes()), version)

    def get(self, key: tuple[str | None, ...]) -> Match | Unpriced | None:
        return self._found.get(json.dumps(key))

    def put(self, key: tuple[str | None, ...], match: Match | Unpriced) -> None:
        if len(self._found) < _MOST:
            self._found[json.dumps(key)] = match
            self._changed = True

    def save(self) -> None:
        """Write what is new, in one step, so that whoever reads meanwhile sees all of it or nothing."""
        if not self._changed or self._path is None:
            return
        self._changed = False
        with suppress(OSError):
            handle, name = tempfile.mkstemp(prefix=".prices-", dir=self._path.parent)  # 0600
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    json.dump({"version": self._version, "matches": _written(self._found)}, file)
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            for old in sorted(self._path.parent.glob("prices-*.json"), key=_age)[:-_VERSIONS]:
                old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _written(found: Mapping[str, Match | Unpriced]) -> dict[str, Any]:
    return {
        key: match.reason.value
        if isinstance(match, Unpriced)
        else [
            match.provider,
            match.tier,
            match.otherwise.value,
            match.exact,
            [[*period[:-1], [_text(rate) for rate in period.rates]] for period in match.periods],
        ]
        for key, match in found.items()
    }


def _text(rate: Decimal | tuple[str, ...] | None) -> str | list[str] | None:
    return str(rate) if isinstance(rate, Decimal) else rate if rate is None else list(rate)


def _read(kept: Any, version: str) -> dict[str, Match | Unpriced]:
    if kept["version"] != version:
        return {}
    return {key: _match(value) for key, value in kept["matches"].items()}


def _match(value: Any) -> Match | Unpriced:
    if isinstance(value, str):
        return Unpriced(Reason(value))
    provider, tier, otherwise, exact, periods = value
    return Match(provider, tier, tuple(_period(each) for each in periods), Reason(otherwise), exact)


def _period(value: Any) -> Period:
    *fields, rates = value
    *amounts, apart = rates
    return Period._make(
        [*fields, Rates._make([*(None if each is None else Decimal(each) for each in amounts), tuple(apart)])]
    )
