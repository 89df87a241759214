"""The three ways to install: a wheel built from the sdist, the editable checkout, the bare checkout.

Each runs in a process of its own, from a folder that has nothing to do with the project. The dependencies come from
the environment that runs the tests, so nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.needs import ROOT, need

FOLDERS: Final = ("analytics", "migrations")
# What a user of the code relies on: the command, the module as a command, and the folders that are not code.
PROBE: Final = """
import pathlib, recorder
from recorder import resources
print(pathlib.Path(recorder.__file__).parent)
for name in ("analytics", "migrations"):
    folder = resources.folder(name)
    assert list(folder.glob("*")), folder
    print(folder)
"""


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """The output of a command that must succeed, run in `cwd` with `path` as the whole PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    tools = all(importlib.util.find_spec(name) for name in ("build", "hatchling", "pip"))
    need("build", tools, "build, hatchling and pip are needed to build without a network")
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def install(target: Path, *what: str | Path) -> Path:
    """A new virtual environment with `what` and nothing else installed; returns its programs' folder.

    It sees the libraries of the environment that runs the tests through a .pth file. That one's own editable install
    stays out of sight, because .pth files in a folder named by a .pth file are not read.
    """
    run(sys.executable, "-m", "venv", "--without-pip", target, cwd=target.parent)
    python = target / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=target).strip())
    (site / "zz_libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--force-reinstall", *quiet, *what, cwd=target)
    return target / "bin"


def source_files() -> set[str]:
    """What the package consists of, as names inside a wheel."""
    package = {path.relative_to(ROOT) for path in (ROOT / "recorder").rglob("*")}
    beside = {Path("recorder") / path.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("*")}
    origin = {path: ROOT / path for path in package} | {path: ROOT / path.relative_to("recorder") for path in beside}
    return {path.as_posix() for path, file in origin.items() if file.is_file() and "__pycache__" not in file.parts}


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name for name in names if ".dist-info/" not in name}
    assert sorted(held ^ source_files()) == []
    assert {"recorder/py.typed", "recorder/analytics/README.md", "recorder/migrations/env.py"} <= held
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_its_own_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "Makefile", "alembic.ini", "tests/test_wheel.py"} <= names
    assert [name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/"))] == []


def test_an_installed_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "venv", wheel)
    package, *folders = run(programs / "python", "-c", PROBE, cwd=tmp_path).split()
    assert Path(package).is_relative_to(tmp_path), "the installed package, not the checkout"
    assert [Path(folder) for folder in folders] == [Path(package) / name for name in FOLDERS]
    assert "demo" in run(programs / "recorder", "--help", cwd=tmp_path)
    assert "demo" in run(programs / "python", "-m", "recorder", "--help", cwd=tmp_path)


def test_an_editable_install_works_from_any_folder(built: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "venv", "--editable", ROOT)
    package, *folders = run(programs / "python", "-c", PROBE, cwd=tmp_path).split()
    assert Path(package) == ROOT / "recorder"
    assert [Path(folder) for folder in folders] == [ROOT / name for name in FOLDERS]
    assert "demo" in run(programs / "recorder", "--help", cwd=tmp_path)


def test_a_bare_checkout_works_from_any_folder(tmp_path: Path) -> None:
    package, *folders = run(sys.executable, "-c", PROBE, cwd=tmp_path, path=ROOT).split()
    assert Path(package) == ROOT / "recorder"
    assert [Path(folder) for folder in folders] == [ROOT / name for name in FOLDERS]
    assert "demo" in run(sys.executable, "-m", "recorder", "--help", cwd=tmp_path, path=ROOT)
