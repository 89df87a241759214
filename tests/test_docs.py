"""The papers say what is so: their commands are run, their code is executed, their links and lists are true.

What a reader is told to type is read from the papers and typed here, in a folder of its own with a `.venv/bin` that
leads to this environment. Only two lines are not run as written: `make demo` (it would build an environment; the
Makefile's recipe is run instead) and `pip install` (test_wheel installs the built wheel).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from recorder import schema
from recorder.demo import stream
from recorder.queries import questions
from recorder.store import Store
from tests.command import invoke
from tests.golden import tape
from tests.kept import put
from tests.needs import ROOT, need
from tests.test_layers import ORDER, modules

PAPERS: Final = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/questions.md")


def paper(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a paper in a language; "" for those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", paper(name), re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, list[str]]:
    """The Makefile's targets and the commands of each, as make would run them."""
    found: dict[str, list[str]] = {}
    variables: dict[str, str] = {}
    target = None
    for line in paper("Makefile").splitlines():
        if assigned := re.match(r"(\w+) := (.*)", line):
            variables[assigned[1]] = assigned[2]
        elif rule := re.match(r"([\w.][\w./]*):(?!=)", line):
            target = rule[1]
            found[target] = []
        elif line.startswith("\t") and target:
            command = re.sub(r"\$\((\w+)\)", lambda name: variables.get(name[1], name[0]), line)
            found[target].append(command.strip().removeprefix("@"))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty checkout with its environment: the programs in `.venv/bin` are those that run this test."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("recorder", "alembic"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {name} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return tmp_path


def typed(command: str, folder: Path) -> bytes:
    """What a command prints that is typed into a shell in that folder; it succeeds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
    return done.stdout


# -- README ------------------------------------------------------------------------------------------------------------


def test_the_readmes_commands_do_what_it_says(folder: Path) -> None:
    """In the order in which a reader types them; the run that is shown and emitted is the demo's last."""
    demo = recipes()["demo"]
    assert demo == [".venv/bin/recorder demo"]
    project = tomllib.loads(paper("pyproject.toml"))["project"]["name"]
    said = {}
    for line in "".join(blocks("README.md", "sh")).splitlines():
        if line == f"pip install {project}":
            continue
        said[line] = typed(demo[0] if line == "make demo" else line, folder)
    runs, shown, emitted, analysed, counted, asked, runaway = (said[line] for line in said if line != "make demo")
    assert b"all the same" in said["make demo"]
    assert len(runs.splitlines()) == 8
    assert b"claude" in shown
    assert emitted == stream("messages-completed")
    assert len(counted.splitlines()) > 3
    assert b"output_limit" in counted
    assert b"json_object" in asked
    assert b"How much of each cap is used?" in analysed
    assert b"invoice-intake" in runaway


CODE: Final = """
import contextlib, json, os, sys
import recorder
from recorder.demo.upstream import upstream

first, second, *snippets = json.load(sys.stdin)
names = {}
asked = {"model": "gpt-5-mini", "input": "Hello", "stream": True}
with upstream(pace=0) as base_url:
    os.environ["OPENAI_BASE_URL"] = f"{base_url}/v1"
    exec(first, names)
# The provider is gone by now.
exec(second, names)
client = names["client"]
assert [event.type for event in client.responses.create(**asked)][-1] == "response.completed"
try:
    client.responses.create(**asked | {"input": "Bye"})
except recorder.ReplayMiss as miss:
    print(miss)
(run,) = recorder.open().runs()
print(run.status, run.tags)
names["tape"] = recorder.open()
import httpx
names["httpx"] = httpx
for snippet in snippets:
    exec(snippet, names)
    print('ran')
"""


def test_the_readmes_code_runs_as_it_is_written(tmp_path: Path) -> None:
    """Recorded against the bundled upstream, then answered with none; a request it does not know says what differs."""
    need("openai", find_spec("openai") is not None, "openai's client is not installed")
    python = blocks("README.md", "python")
    inline = re.findall(r"`((?:with tape\.|httpx\.)[^`]+)`", paper("README.md"))
    assert (len(python), len(inline)) == (3, 2)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        input=json.dumps([*python, *(snippet.replace("…", "...") for snippet in inline)]),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    miss, run, *snippets = done.stdout.splitlines()
    assert "body.input" in miss
    assert run == "completed {'feature': 'search'}"
    assert snippets == ["ran"] * 3


def test_every_row_of_a_deployment_has_its_test() -> None:
    """The README's table of deployments and the tests of test_deployments go together."""
    table = paper("README.md").partition("## In deployments")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]
    tests = re.findall(r"^def (test_\w+)", paper("tests/test_deployments.py"), re.MULTILINE)
    words = ("gunicorn", "uvicorn", "pool", "freeze", "streaming", "notebook")
    assert [[word for word in words if word in _plain(row)] for row in rows] == [[word] for word in words]
    assert sorted(word for word in words for test in tests if word in test) == sorted(words)


def _plain(text: str) -> str:
    return text.lower().replace("frozen", "freeze")


# -- docs/questions.md -------------------------------------------------------------------------------------------------


def test_the_table_of_questions_is_what_there_is() -> None:
    rows = re.findall(r"^\| ([A-Z][0-9]+) \| `(\w+)` \| (.*) \|$", paper("docs/questions.md"), re.MULTILINE)
    assert rows == [(question.id, question.name, question.title) for question in questions()]


def test_what_the_questions_guide_tells_to_type_works(folder: Path) -> None:
    """On the demo's store: the commands, the Python, the prices, and the question of one's own."""
    typed(recipes()["demo"][0], folder)
    said = [typed(line, folder) for block in blocks("docs/questions.md", "sh") for line in block.splitlines()]
    assert len(said) == 3
    (python,) = blocks("docs/questions.md", "python")
    (own,) = blocks("docs/questions.md", "sql")
    limits, prices = blocks("docs/questions.md", "toml")
    (folder / "recorder.toml").write_text(f"{limits}\n{prices}", encoding="utf-8")
    (folder / "most.sql").write_text(own, encoding="utf-8")
    (told,) = re.findall(r"`recorder (analyze ./most.sql [^`]+)`", paper("docs/questions.md"))
    rows = typed(f".venv/bin/recorder --store .recorder/demo.db {told} --json", folder).splitlines()
    assert [json.loads(row)["output_tokens"] for row in rows] == [400, 256, 61]
    typed(f"{shlex.quote(sys.executable)} -c {shlex.quote(python)}", folder)
    assert b"genai-prices" in typed(".venv/bin/recorder --store .recorder/demo.db analyze C1 2>&1", folder)
    held = typed(".venv/bin/recorder --store .recorder/demo.db budget || [ $? -eq 1 ]", folder)
    assert b"max_truncated_share" in held


# -- docs/integrity.md -------------------------------------------------------------------------------------------------


def test_what_the_page_on_integrity_tells_to_type_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of its blocks, in order, on a store with one recording; and the key that it says how to make."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recorder.db"
    with Store.open(path, create=True) as store:
        put(store, *tape("messages-end-turn"))
    page = paper("docs/integrity.md")
    lines = re.findall(r"^    (recorder (?:verify|checkpoint|export)\b.*?)(?:  .*)?$", page, re.MULTILINE)
    assert len(lines) == 7
    for line in lines:
        named = line.replace("RUN", "@last").replace("FILE", "evidence.jsonl")
        done = invoke(*shlex.split(named)[1:], store=path)
        assert done.exit_code == 0, (named, done.stderr)
    need("openssl", shutil.which("openssl") is not None, "openssl is not installed")
    (made,) = re.findall(r"`(openssl [^`]*)`", page.replace("\n", " "))
    subprocess.run(shlex.split(made), check=True, capture_output=True)
    line = invoke("checkpoint", "--sign", "KEYFILE", store=path).stdout
    assert re.fullmatch(r"recorder-checkpoint/1 store=\S+ time=\S+ count=1 root=\w+ key=\w+ signature=\S+\n", line)


# -- CONTRIBUTING and ARCHITECTURE -------------------------------------------------------------------------------------


def test_the_commands_of_contributing_exist() -> None:
    text = paper("CONTRIBUTING.md") + paper("README.md") + paper("Makefile")
    wanted = set(re.findall(r"`make (\w+)", text)) | set(re.findall(r"'make (\w+) ", text))
    assert {"demo", "test", "lint", "format", "bench", "nightly", "clean"} <= wanted
    assert wanted - set(recipes()) == set()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_command_for_a_migration_makes_the_next_one(folder: Path) -> None:
    """As CONTRIBUTING and alembic.ini give it: it follows the present schema, and its file keeps the numbering."""
    (command,) = set(re.findall(r"`(\.venv/bin/alembic [^`]+)`", paper("CONTRIBUTING.md") + paper("alembic.ini")))
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "migrations", folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    before = set((folder / "migrations" / "versions").glob("*.py"))
    typed(command, folder)
    (made,) = set((folder / "migrations" / "versions").glob("*.py")) - before
    major, minor = map(int, schema.REVISION.split("."))
    assert re.fullmatch(rf"{len(before) + 1:04}_[a-z_]+\.py", made.name)
    assert f'revision = "{major}.{minor + 1}"\ndown_revision = "{schema.REVISION}"' in made.read_text(encoding="utf-8")


def test_the_lists_of_modules_are_the_order_that_is_tested() -> None:
    """CONTRIBUTING's has every module, ARCHITECTURE's those that exist."""
    order = [line.split() for line in ORDER.strip().splitlines()]
    whole, there = (_lists(name) for name in ("CONTRIBUTING.md", "ARCHITECTURE.md"))
    assert order in whole
    existing = [[module for module in line if module in modules()] for line in order]
    assert [line for line in existing if line] in there


def _lists(name: str) -> list[list[list[str]]]:
    return [[line.split() for line in block.splitlines()] for block in blocks(name, "")]


PAGES: Final = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", sorted({*PAPERS, *PAGES}))
def test_every_link_leads_somewhere(name: str) -> None:
    """Links lead to files of the project; what stands after # is a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", paper(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / name).parent / path if path else ROOT / name
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*PAPERS, "Makefile", "alembic.ini", "pyproject.toml"])
def test_every_file_that_is_named_is_there(name: str) -> None:
    """A path, or a module's file by its name alone; capitals stand for a name to be chosen."""
    named = set(re.findall(r"(?<![\w/.*])[\w./-]*\w\.(?:py|md|toml|ini|sse)\b", paper(name)))
    missing = {path for path in named if not any(char.isupper() for char in Path(path).stem) and not _is_there(path)}
    assert missing - {"recorder.toml"} == set()


def _is_there(path: str) -> bool:
    places = (ROOT, ROOT / "docs", ROOT / "recorder", ROOT / "recorder" / "dialects", ROOT / "tests")
    return any((place / path.lstrip("/")).exists() for place in places)


def test_the_papers_are_read_whole() -> None:
    """A block, a recipe or a missing file that these tests did not see would not be tested."""
    assert sum(paper("README.md").count(f"```{language}\n") for language in ("sh", "python")) == 8
    assert (len(blocks("README.md", "sh")), len(blocks("README.md", "python"))) == (5, 3)
    assert recipes()["clean"][0].startswith("rm -rf .venv")
    assert not _is_there("recorder/nonsense.py")
