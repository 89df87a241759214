"""Finds the folders that ship with the code but are not code: `migrations` and `analytics`.

A wheel carries them inside the package, a checkout (bare or installed editable) beside it. Nobody else needs to
know which of the two this is. This module reads nothing in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from .errors import RecorderError

__all__ = ["folder"]

_PACKAGE: Final = Path(__file__).resolve().parent


def folder(name: Literal["analytics", "migrations"], package: Path = _PACKAGE) -> Path:
    """The absolute path of one of the two folders, first looked for inside `package`, then beside it.

    `package` is where the code lies; only a test has another.
    Raises RecorderError where neither holds it: the installation is incomplete.
    """
    inside, beside = package / name, package.parent / name
    if inside.is_dir():
        return inside
    # A folder of that name beside an installed package would be somebody else's: only a checkout has a pyproject.toml.
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise RecorderError(
        f"the folder {name!r} is neither in {package} nor beside it: the installation is incomplete;"
        " install run-recorder again"
    )
