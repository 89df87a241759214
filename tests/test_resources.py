"""Where the folders that ship with the code are found. test_wheel.py looks at real installations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from recorder import resources
from recorder.errors import RecorderError
from tests.needs import ROOT

NAMES: tuple[Literal["analytics", "migrations"], ...] = ("analytics", "migrations")


@pytest.mark.parametrize("name", NAMES)
def test_a_checkout_has_the_folder_beside_the_package(name: Literal["analytics", "migrations"]) -> None:
    assert resources.folder(name) == ROOT / name


@pytest.mark.parametrize("name", NAMES)
def test_an_installed_package_has_the_folder_inside(name: Literal["analytics", "migrations"], tmp_path: Path) -> None:
    """The one inside wins, also where a checkout's lies beside it."""
    package = tmp_path / "recorder"
    (package / name).mkdir(parents=True)
    (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert resources.folder(name, package) == package / name


def test_a_folder_beside_an_installed_package_is_somebody_elses(tmp_path: Path) -> None:
    """Another distribution may well put a folder `migrations` into site-packages."""
    (tmp_path / "recorder").mkdir()
    (tmp_path / "migrations").mkdir()
    with pytest.raises(RecorderError):
        resources.folder("migrations", tmp_path / "recorder")


def test_an_incomplete_installation_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "recorder").mkdir()
    with pytest.raises(RecorderError, match=r"'migrations' is neither in .* install run-recorder again"):
        resources.folder("migrations", tmp_path / "recorder")


def test_a_file_of_that_name_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "analytics").touch()
    with pytest.raises(RecorderError):
        resources.folder("analytics", tmp_path / "recorder")
