"""Every page of docs/recipes is followed in a fresh folder, with the real library.

Its tests are recorded from the provider's own URL, behind which the bundled upstream answers; then they are replayed by
a process that has neither upstream nor network nor key; and with another question they fail as the page says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.detour import detour
from tests.needs import CI, ROOT, each, need
from tests.test_docs import blocks

PAGES: Final = ROOT / "docs" / "recipes"

#: The secrets that the applications send while they are recorded.
KEY: Final = "sk-recipe-canary-0123456789abcdef"

#: litellm wants an older openai than the other libraries, so it may have an environment of its own.
APART: Final = ROOT / ".venv-litellm" / "bin" / "python"

#: Refuses and writes down every attempt to reach anything, by whatever library of the process.
OFFLINE: Final = """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        goal = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        with open(os.environ["ATTEMPTS"], "a") as file:
            print(event, goal, file=file)
        raise OSError("there is no network")

sys.addaudithook(refuse)
"""

#: Stands for a person who has signed in with Azure, and for one who has not.
SIGNED: Final = """
import os, sys, types
from azure.core.credentials import AccessToken

class DefaultAzureCredential:
    def get_token(self, *scopes, **options):
        return AccessToken(os.environ["OPENAI_API_KEY"], sys.maxsize)

sys.modules["azure.identity"] = types.ModuleType("azure.identity")
sys.modules["azure.identity"].DefaultAzureCredential = DefaultAzureCredential
"""


class Page(NamedTuple):
    """A page: the module it is about, and how many of its tests fail when they ask about boats instead of ships."""

    module: str
    tests: int
    changed: int


RECIPES: Final = {
    "anthropic": Page("anthropic", 1, 1),
    "azure-ai-agents": Page("azure.ai.agents", 1, 1),
    "langchain": Page("langchain_openai", 2, 2),
    "litellm": Page("litellm", 3, 3),
    "openai": Page("openai", 3, 2),
    "openai-agents": Page("agents", 2, 2),
    "pydantic-ai": Page("pydantic_ai", 2, 2),
}


def interpreter(name: str, module: str) -> str:
    """A Python that has the library, or a skip."""
    try:
        here = find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        here = False
    apart = name == "litellm" and APART.is_file()
    need(name, here or apart, f"{name} is not installed")
    return sys.executable if here else str(APART)


class Reader:
    """Writes down a page's files and types its commands, with a Python of that environment."""

    def __init__(self, page: str, python: str, folder: Path) -> None:
        self.folder = folder / "fresh"
        self.folder.mkdir()
        for block in blocks(f"docs/recipes/{page}.md", "python"):
            if named := re.match(r"# (\w+\.py)\n", block):
                (self.folder / named[1]).write_text(block, encoding="utf-8")
        self._python = python
        self._world = folder / "world"
        self._world.mkdir()
        self.attempts = folder / "attempts"
        (self._world / "offline.py").write_text(OFFLINE, encoding="utf-8")
        (self._world / "signed.py").write_text(SIGNED, encoding="utf-8")

    def types(self, command: str, code: int, *plugins: str, **environment: str) -> str:
        """What a command of the page prints, which begins with `pytest`."""
        program, *arguments = command.split()
        assert program == "pytest"
        # The one that is left out collects garbage at the end, half a second in processes as large as these.
        loaded = ("recorder.pytest_plugin", "no:unraisableexception", *plugins)
        asked = [self._python, "-m", "pytest", *(f"-p{name}" for name in loaded)]
        done = subprocess.run(
            [*asked, "--tb=line", *arguments],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._world),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(self._world)]),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "ATTEMPTS": str(self.attempts),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.mark.parametrize("name", RECIPES if CI else each(5, RECIPES))
def test_a_recipe_can_be_followed_in_a_fresh_folder(name: str, tmp_path: Path) -> None:
    """Recorded, replayed with no network at all, changed: and what the page shows is what is said."""
    page = RECIPES[name]
    reader = Reader(name, interpreter(name, page.module), tmp_path)
    install, record, replay = blocks(f"docs/recipes/{name}.md", "sh")
    assert install.startswith("pip install run-recorder")
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), KEY)
    login = ("signed",) if name == "azure-ai-agents" else ()
    with detour(tmp_path) as way:
        said = reader.types(record, 0, *login, **keys, **way)
    assert f"{page.tests} passed" in said
    recordings = reader.folder / "recordings"
    tapes = sorted((recordings / "test_app").iterdir())
    assert len(tapes) == page.tests
    assert [tape for tape in tapes if KEY in tape.read_text(encoding="utf-8")] == []

    # The changed tests go along in the same process: starting one of these libraries takes seconds.
    shutil.copytree(recordings / "test_app", recordings / "test_changed")
    changed = (reader.folder / "test_app.py").read_text(encoding="utf-8").replace("ships", "boats")
    (reader.folder / "test_changed.py").write_text(changed, encoding="utf-8")
    said = reader.types(replay, 1, "offline", *login)
    assert f"{page.changed} failed, {2 * page.tests - page.changed} passed" in said
    assert "FAILED test_app.py" not in said
    assert not reader.attempts.exists(), reader.attempts.read_text(encoding="utf-8")
    (shown,) = blocks(f"docs/recipes/{name}.md", "text")
    assert [line for line in shown.replace("test_app", "test_changed").splitlines() if line not in said] == []


def test_every_page_is_followed_and_listed() -> None:
    """A page without a test would rot; one that the list does not name would not be found."""
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(RECIPES)
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "README.md").read_text(encoding="utf-8"))) == pages
