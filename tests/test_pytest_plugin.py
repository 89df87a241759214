"""The plugin as a developer meets it: modes, markers, fixtures, layers of options, and what fails a test.

Each test runs a real pytest over a small project with openai's client, against a provider on loopback.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import httpx2
import pytest

from recorder.demo.upstream import upstream
from tests.needs import ROOT, need
from tests.test_docs import blocks

if TYPE_CHECKING:
    from tests.plugged import Project, Provider

pytest_plugins = ["pytester", "tests.plugged"]

IT = """
@pytest.mark.recorder
def test_it(tape):
    assert ask() == "Hello there".replace(" ", "")
    assert tape.run.status == "completed"
"""


# -- modes -------------------------------------------------------------------------------------------------------------


def test_a_recorded_test_is_answered_from_its_file_alone(project: Project, provider: Provider) -> None:
    """The second run reaches nobody, and the file holds no key."""
    project.write(IT)
    assert project.run("--recorder=record") == {"passed": 1}
    assert "recorded recordings/test_app/test_it.jsonl" in project.said
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1
    text = project.tape().read_text(encoding="utf-8")
    assert "sk-test" not in text
    assert text.count("\n") == 9  # the file's head, request, head, five events, end


def test_without_a_recording_a_test_fails_and_says_how_to_record_it(project: Project, provider: Provider) -> None:
    project.write(IT)
    assert project.run() == {"failed": 1}
    assert "there is no tape recordings/test_app/test_it.jsonl, and 1 request was made" in project.said
    assert "pytest --recorder=record test_app.py::test_it" in project.said
    assert provider.asked == []


def test_once_records_what_is_missing_and_replays_the_rest(project: Project, provider: Provider) -> None:
    project.write(IT)
    assert project.run("--recorder=once") == {"passed": 1}
    before = project.tape().read_bytes()
    assert project.run("--recorder=once") == {"passed": 1}
    assert len(provider.asked) == 1
    assert project.tape().read_bytes() == before


def test_new_adds_what_the_file_has_no_answer_for(project: Project, provider: Provider) -> None:
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask('one')\n")
    project.run("--recorder=record")
    before = project.tape().read_text(encoding="utf-8")
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask('one')\n    ask('two')\n")
    assert project.run("--recorder=new") == {"passed": 1}
    assert [asked["messages"][0]["content"] for asked in provider.asked] == ["one", "two"]
    assert project.tape().read_text(encoding="utf-8").startswith(before)
    assert project.run() == {"passed": 1}


def test_live_neither_replays_nor_keeps(project: Project, provider: Provider) -> None:
    """And what the tests say about their runs still holds."""
    project.write(IT)
    assert project.run("--recorder=live") == {"passed": 1}
    assert project.run("--recorder=live") == {"passed": 1}
    assert (len(provider.asked), project.tapes()) == (2, [])


def test_the_mode_comes_from_the_command_line_the_environment_or_the_file(
    project: Project, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("def test_it(tape):\n    print('mode', tape.mode)\n")
    project.write("[pytest]\nrecorder_mode = once\n", "pytest.ini")
    seen = []
    for variable, arguments in ((None, ()), ("live", ()), ("live", ("--recorder=new",))):
        if variable:
            monkeypatch.setenv("RECORDER_MODE", variable)
        project.run("-s", *arguments)
        seen += [line.partition("mode ")[2] for line in project.said.splitlines() if "mode " in line and "app" in line]
    assert seen == ["once", "live", "new"]


def test_plain_tapes_follow_the_runs_mode(project: Project) -> None:
    project.write(
        "import recorder\ndef test_it(tmp_path):\n"
        "    with recorder.replaying(tmp_path / 'one.jsonl') as tape:\n        print('mode', tape.mode)\n"
    )
    assert project.run("-s", "--recorder=live") == {"passed": 1}
    assert "mode live" in project.said


def test_a_mode_that_is_none_is_refused(project: Project) -> None:
    project.write(IT)
    project.run("--recorder=rewind")
    assert "invalid choice: 'rewind'" in project.said


# -- honesty -----------------------------------------------------------------------------------------------------------


def test_a_changed_parameter_fails_with_the_field_that_differs(project: Project, provider: Provider) -> None:
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask(temperature=0.2)\n")
    project.run("--recorder=record")
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask(temperature=0.7)\n")
    assert project.run() == {"failed": 1}
    assert "body.temperature: wanted 0.7, stored 0.2" in project.said
    assert len(provider.asked) == 1


def test_a_miss_fails_the_test_though_the_application_swallows_it(project: Project, provider: Provider) -> None:
    swallow = "    try:\n        ask(temperature=0.7)\n    except Exception:\n        pass\n"
    project.write(f"@pytest.mark.recorder(unused='ignore')\ndef test_it():\n{swallow}")
    project.run("--recorder=record")
    project.write(f"@pytest.mark.recorder(unused='ignore')\ndef test_it():\n{swallow.replace('0.7', '0.9')}")
    assert project.run() == {"failed": 1}
    assert "1 request was not answered by the tape recordings/test_app/test_it.jsonl" in project.said
    assert "body.temperature: wanted 0.9, stored 0.7" in project.said


@pytest.mark.parametrize(
    ("unused", "outcomes"),
    [("error", {"passed": 1, "errors": 1}), ("warn", {"passed": 1}), ("ignore", {"passed": 1})],
)
def test_a_recording_that_is_not_used_fails_warns_or_passes(
    project: Project, provider: Provider, unused: str, outcomes: dict[str, int]
) -> None:
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask('one')\n    ask('two')\n")
    project.run("--recorder=record")
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask('one')\n")
    assert project.run(f"--recorder-unused={unused}") == outcomes
    told = "1 of 2 recordings in the tape recordings/test_app/test_it.jsonl was not used" in project.said
    assert told == (unused != "ignore")
    assert ('"two"' in project.said) == (unused != "ignore")


def test_recordings_older_than_they_may_be_warn_or_fail_until_recorded_anew(
    project: Project, provider: Provider
) -> None:
    """Recording anew renews the date also where the answer is the same."""
    project.write(IT)
    project.run("--recorder=record")
    head, _, rest = project.tape().read_text(encoding="utf-8").partition("\n")
    project.tape().write_text(head.replace('"recorded":"20', '"recorded":"19') + "\n" + rest, encoding="utf-8")
    assert project.run("--recorder-max-age=90d") == {"passed": 1}
    assert "days old, and max_age is 90d" in project.said
    assert project.run("--recorder-max-age=90d", "--recorder-stale=error") == {"passed": 1, "errors": 1}
    assert project.run("--recorder=record", "--recorder-max-age=90d") == {"passed": 1}
    assert project.run("--recorder-max-age=90d", "--recorder-stale=error") == {"passed": 1}
    assert "days old" not in project.said


@pytest.mark.parametrize(
    "failure", ["    assert False\n", "    pytest.skip('not now')\n", "    pytest.xfail('known')\n"]
)
def test_only_a_test_that_passes_writes_its_recording(project: Project, provider: Provider, failure: str) -> None:
    project.write(IT)
    project.run("--recorder=record")
    before = project.tape().read_bytes()
    provider.say = ["Something else"]
    project.write(f"@pytest.mark.recorder\ndef test_it():\n    ask()\n{failure}")
    project.run("--recorder=record")
    assert project.tape().read_bytes() == before
    assert "not written, because the test did not pass" in project.said


def test_a_failing_teardown_leaves_the_recording_as_it_was(project: Project, provider: Provider) -> None:
    project.write(
        "@pytest.fixture\ndef bad():\n    yield\n    assert False\n"
        "@pytest.mark.recorder\ndef test_it(bad):\n    ask()\n"
    )
    assert project.run("--recorder=record") == {"passed": 1, "errors": 1}
    assert project.tapes() == []


def test_a_miss_in_a_fixtures_end_fails_too(project: Project, provider: Provider) -> None:
    project.write(
        "@pytest.fixture\ndef tidy():\n    yield\n    try:\n        ask('bye')\n    except Exception:\n        pass\n"
        "@pytest.mark.recorder\ndef test_it(tidy):\n    pass\n"
    )
    assert project.run() == {"passed": 1, "errors": 1}
    assert "there is no tape recordings/test_app/test_it.jsonl, and 1 request was made" in project.said


def test_recording_anew_changes_nothing_or_shows_what_changed(project: Project, provider: Provider) -> None:
    """The same answer leaves the file byte for byte; a changed word changes one line."""
    project.write("@pytest.mark.recorder\ndef test_it():\n    ask()\n")
    project.run("--recorder=record")
    before = project.tape().read_text(encoding="utf-8").splitlines()
    assert project.run("--recorder=record") == {"passed": 1}
    assert project.tape().read_text(encoding="utf-8").splitlines() == before
    assert "the same as before: recordings/test_app/test_it.jsonl" in project.said
    provider.say = ["Hello everybody"]
    assert project.run("--recorder=record") == {"passed": 1}
    after = project.tape().read_text(encoding="utf-8").splitlines()
    assert len([1 for old, new in zip(before, after, strict=True) if old != new]) == 1
    assert "replaced recordings/test_app/test_it.jsonl" in project.said
    assert 'run: text: "Hellothere" -> "Helloeverybody"' in project.said


def test_a_test_that_makes_no_calls_any_more_loses_its_recording_only_when_recorded(
    project: Project, provider: Provider
) -> None:
    project.write(IT)
    project.run("--recorder=record")
    project.write("@pytest.mark.recorder\ndef test_it():\n    pass\n")
    assert project.run() == {"passed": 1, "errors": 1}
    assert project.tapes() == ["test_app/test_it.jsonl"]
    assert project.run("--recorder=record") == {"passed": 1}
    assert project.tapes() == []


def test_the_network_is_closed_for_clients_that_no_tape_can_take(project: Project) -> None:
    """Whatever library asks for a known host's address is refused, and that fails the test."""
    project.write(
        "import socket\n"
        "@pytest.mark.recorder\ndef test_it():\n"
        "    try:\n        socket.getaddrinfo('api.openai.com', 443)\n    except Exception:\n        pass\n"
    )
    assert project.run() == {"failed": 1}
    assert "wanted to reach api.openai.com, and the network is closed" in project.said


def test_other_hosts_pass_or_are_blocked(project: Project, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    project.write(
        "import httpx\n@pytest.mark.recorder\ndef test_it():\n"
        f"    httpx.post('{provider.origin}/other', json={{}}, timeout=30)\n"
    )
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1
    assert project.run("--recorder-others=block") == {"failed": 1}
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("httpx.post(URL + '/some?token=hidden', json={})", "POST http://other.test:8080/some"),
        ("requests.post(URL + '/some?token=hidden', json={})", "POST http://other.test:8080/some"),
        ("asyncio.run(aio())", "POST http://other.test:8080/some"),
        ("openai.OpenAI(base_url=URL, max_retries=0).models.list()", "GET http://other.test:8080/models"),
        ("anthropic.Anthropic(base_url=URL, max_retries=0).models.list()", "GET http://other.test:8080/v1/models"),
    ],
)
def test_a_blocked_request_fails_the_test_though_the_application_swallows_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, call: str, request_: str
) -> None:
    """And the message names it: method, host and path, but no query."""
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    project.write(
        "import asyncio, aiohttp, anthropic, httpx, requests\n"
        "URL = 'http://other.test:8080'\n"
        "async def aio():\n"
        "    async with aiohttp.ClientSession() as session:\n"
        "        await session.post(URL + '/some?token=hidden', json={})\n"
        "@pytest.mark.recorder(others='block')\ndef test_it():\n"
        f"    try:\n        {call}\n    except Exception:\n        pass\n"
    )
    assert project.run() == {"failed": 1}
    assert f"{request_} is blocked: while replaying only listed hosts are answered" in project.said
    assert "hidden" not in project.said


# -- options in layers -------------------------------------------------------------------------------------------------


def test_lists_add_up_and_the_nearest_plain_value_holds(project: Project, provider: Provider) -> None:
    """The file's, the fixture's and the marker's paths are all ignored; the marker's `unused` goes before others'."""
    project.write("[pytest]\nrecorder_ignore = body.user\nrecorder_unused = error\n", "pytest.ini")
    project.write(
        "import pytest\n@pytest.fixture(scope='session')\ndef recorder_config():\n"
        "    return {'ignore': ['body.seed'], 'unused': 'warn'}\n",
        "conftest.py",
    )
    body = "@pytest.mark.recorder(ignore=['body.temperature'], unused='ignore')\ndef test_it():\n    ask(%s)\n"
    project.write(body % "user='a', seed=1, temperature=0.1" + "    ask('two')\n")
    assert project.run("--recorder=record") == {"passed": 1}
    project.write(body % "user='b', seed=2, temperature=0.2")
    assert project.run("-W", "error") == {"passed": 1}


def test_what_is_redacted_adds_up_and_credentials_always_are(project: Project, provider: Provider) -> None:
    """The file's rules, the fixture's (a function among them) and the marker's."""
    project.write("[pytest]\nrecorder_redact =\n    /ACC-[0-9]{6}/\n", "pytest.ini")
    project.write(
        "import pytest\n@pytest.fixture(scope='session')\ndef recorder_config():\n"
        "    return {'redact': [lambda text, where: ['Ludmilla'] if 'Ludmilla' in text else []]}\n",
        "conftest.py",
    )
    key = "sk-proj-" + "Zx9" * 16
    project.write(
        "@pytest.mark.recorder(redact='body.user')\n"
        f"def test_it():\n    ask('ACC-123456 Ludmilla {key} ', user='me@here.example')\n"
    )
    assert project.run("--recorder=record", "--recorder-redact", "/[0-9]{6}/") == {"passed": 1}
    text = project.tape().read_text(encoding="utf-8")
    assert [word for word in ("ACC-123456", "Ludmilla", key, "me@here") if word in text] == []
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("unuesd='error'", "option 'unuesd' is unknown: did you mean 'unused'?"),
        ("unused='never'", "unused 'never' is none of error, warn, ignore"),
        ("'name.jsonl'", "takes named options alone"),
        ("mode='live'", "the mode is for the whole run"),
        ("fault='explode'", "fault 'explode' is none"),
        ("hosts=['https://api.openai.com/v1']", "host names without scheme and path"),
        ("ignore=['temperature']", "ignore path 'temperature' is wrong"),
        ("redact='/(/'", "redact"),
    ],
)
def test_an_option_that_is_wrong_is_named(project: Project, marker: str, told: str) -> None:
    project.write(f"@pytest.mark.recorder({marker})\ndef test_it():\n    pass\n")
    assert project.run() == {"errors": 1}
    assert told in project.said


def test_hosts_may_be_added_and_a_file_may_be_named(
    project: Project, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    project.write(
        "import httpx2\n@pytest.mark.recorder(hosts=['127.0.0.1'], file='shared/one.jsonl')\n"
        "def test_it(tape):\n"
        f"    httpx2.post('{provider.origin}/v1/chat/completions', json={{'model': 'm'}}, timeout=30)\n"
    )
    assert project.run("--recorder=record") == {"passed": 1}
    assert (project.path / "shared" / "one.jsonl").exists()
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1


def test_the_folder_of_the_recordings_is_a_setting(project: Project, provider: Provider) -> None:
    project.write("[pytest]\nrecorder_dir = tapes\n", "pytest.ini")
    project.write(IT, "unit/test_app.py")
    project.run("--recorder=record")
    assert (project.path / "unit" / "tapes" / "test_app" / "test_it.jsonl").exists()


# -- the fixture -------------------------------------------------------------------------------------------------------


def test_the_fixture_alone_makes_a_tape_and_says_what_it_does(project: Project, provider: Provider) -> None:
    project.write(
        "def test_it(tape):\n    ask()\n    print('seen', tape.is_replaying, tape.is_recording, len(tape.recorded))\n"
    )
    project.run("--recorder=record", "-s")
    assert "seen False True 0" in project.said
    project.run("-s")
    assert "seen True False 1" in project.said


def test_a_fixture_of_that_name_that_is_somebody_elses_is_left_alone(project: Project, provider: Provider) -> None:
    """It is not started early, and its test has no tape; a marked test has one beside it."""
    project.write(
        "@pytest.fixture\ndef tape():\n    return 'scotch'\n"
        "def test_theirs(tape):\n    assert tape == 'scotch'\n    ask()\n"
        "@pytest.mark.recorder\ndef test_both(tape):\n    assert tape == 'scotch'\n    ask()\n"
    )
    assert project.run("--recorder=record") == {"passed": 2}
    assert len(provider.asked) == 2
    assert project.run() == {"passed": 2}
    assert len(provider.asked) == 3  # theirs alone


def test_a_client_of_another_host_can_be_given_to_the_tape(
    project: Project, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    project.write(
        "def test_it(tape):\n"
        f"    client = tape.instrument(openai.OpenAI(base_url='{provider.origin}/v1', api_key='none'))\n"
        "    client.responses.with_raw_response.create(model='m', input='Hi', stream=True)\n"
    )
    assert project.run("--recorder=record") == {"passed": 1}
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1


CHILD = """
import subprocess
import sys

CODE = '''
import json, os, urllib.request
body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
asked = urllib.request.Request(url, body, {"content-type": "application/json"})
print(urllib.request.urlopen(asked).read().count(b"data:"))
'''

def test_it(tape):
    done = subprocess.run([sys.executable, "-c", CODE], env=tape.env, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 5
    assert tape.run.text == "Hellothere"
"""


def test_a_program_under_the_test_is_recorded_and_replayed_by_a_server(project: Project, provider: Provider) -> None:
    """Any program, whatever its HTTP library: it is led to the tape by its environment."""
    project.write(CHILD)
    assert project.run("--recorder=record") == {"passed": 1}
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 1


def test_a_program_under_the_test_gets_what_is_there_and_adds_what_is_not(project: Project, provider: Provider) -> None:
    """In mode `new` its server answers from the file, and records the rest."""
    project.write(CHILD)
    assert project.run("--recorder=record") == {"passed": 1}
    before = project.tape().read_text(encoding="utf-8")
    more = CHILD.replace("def test_it(tape):\n", "def test_it(tape):\n    ask('more')\n    ask('and more')\n")
    twice = more + (
        "    again = CODE.replace('\"m\"', '\"other\"')\n"
        "    subprocess.run([sys.executable, '-c', again], env=tape.env, capture_output=True, check=True)\n"
    )
    project.write(twice.replace("assert tape.run.text", "assert tape.runs[0].text"))
    assert project.run("--recorder=new") == {"passed": 1}
    assert [asked["model"] for asked in provider.asked] == ["m", "gpt-4.1-mini", "gpt-4.1-mini", "other"]
    assert project.tape().read_text(encoding="utf-8").startswith(before)
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 4


def test_fixtures_of_the_test_are_on_its_tape_and_those_of_wider_scopes_are_not(
    project: Project, provider: Provider
) -> None:
    project.write(
        "@pytest.fixture(scope='session')\ndef wide():\n    return openai.OpenAI(max_retries=0)\n"
        "@pytest.fixture\ndef greeting():\n    return ask('greeting')\n"
        "@pytest.mark.recorder\ndef test_it(greeting, wide):\n"
        "    wide.chat.completions.create(model='m', messages=[], stream=True).close()\n"
    )
    assert project.run("--recorder=record") == {"passed": 1}
    assert project.run() == {"passed": 1}
    assert len(provider.asked) == 2


# -- beside others -----------------------------------------------------------------------------------------------------


def test_everything_is_put_back_after_a_test(project: Project, provider: Provider) -> None:
    """Classes, the resolver and the environment are what they were; the next test is not on the tape."""
    kinds = (httpx.HTTPTransport, httpx2.HTTPTransport)
    methods = [kind.handle_request for kind in kinds]
    resolver, environment = socket.getaddrinfo, dict(os.environ)
    project.write(IT + "def test_other():\n    assert ask('by the way')\n")
    assert project.run("--recorder=record") == {"passed": 2}
    assert project.run() == {"passed": 2}
    assert [kind.handle_request for kind in kinds] == methods
    assert socket.getaddrinfo is resolver
    assert {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} == {
        name: value for name, value in environment.items() if not name.startswith("PYTEST")
    }
    assert len(provider.asked) == 3


def test_it_goes_with_strict_markers_and_without_the_plugin(project: Project, provider: Provider) -> None:
    project.write(IT)
    assert project.run("--strict-markers", "--strict-config", "--recorder=record") == {"passed": 1}
    project.write("def test_it():\n    pass\n")
    assert project.run("-p", "no:recorder", plugin=()) == {"passed": 1}


def test_classes_parameters_and_unittest_have_tapes_of_their_own(project: Project, provider: Provider) -> None:
    project.write(
        "import unittest\n"
        "@pytest.mark.recorder\nclass TestTools:\n"
        "    @pytest.mark.parametrize('prompt', ['plain', 'with space', 'With space'])\n"
        "    def test_it(self, prompt):\n        ask(prompt)\n"
        "class TestOld(unittest.TestCase):\n"
        "    @pytest.mark.recorder\n    def test_it(self):\n        self.assertTrue(ask())\n"
    )
    assert project.run("--recorder=record") == {"passed": 4}
    names = project.tapes()
    assert len(names) == 4
    assert {"test_app/TestOld.test_it.jsonl", "test_app/TestTools.test_it-plain.jsonl"} < set(names)
    assert project.run() == {"passed": 4}
    assert len(provider.asked) == 4


def test_asynchronous_tests_have_tapes(project: Project, provider: Provider) -> None:
    need("anyio", find_spec("anyio") is not None, "anyio is not installed")
    project.write(
        "pytestmark = pytest.mark.anyio\n"
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        "@pytest.mark.recorder\nasync def test_it(tape):\n"
        "    async with openai.AsyncOpenAI(max_retries=0) as client:\n"
        "        stream = await client.chat.completions.create(model='m', messages=[], stream=True)\n"
        "        assert len([chunk async for chunk in stream]) == 4\n"
        "    assert tape.run.text == 'Hellothere'\n"
    )
    assert project.run("-p", "anyio", "--recorder=record") == {"passed": 1}
    assert project.run("-p", "anyio") == {"passed": 1}
    assert len(provider.asked) == 1


def test_workers_of_xdist_record_and_replay_and_the_end_tells_of_all(project: Project, provider: Provider) -> None:
    need("xdist", find_spec("xdist") is not None, "pytest-xdist is not installed")
    project.write("@pytest.mark.recorder\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n):\n    ask(str(n))\n")
    assert project.run("-p", "xdist", "--recorder=record", "-n", "2", apart=True) == {"passed": 3}
    assert project.said.count("recorded recordings/test_app/test_it-") == 3
    assert project.run() == {"passed": 3}
    assert len(provider.asked) == 3


def test_it_stands_beside_pytest_recording(project: Project, provider: Provider) -> None:
    """A test with a cassette of theirs and one with a tape of ours, in one module."""
    need("pytest_recording", find_spec("pytest_recording") is not None, "pytest-recording is not installed")
    project.write(
        "import requests\n@pytest.mark.vcr\ndef test_theirs():\n"
        f"    assert requests.post('{provider.origin}/x', json={{}}).ok\n" + IT
    )
    theirs = ("-p", "pytest_recording.plugin")
    assert project.run(*theirs, "--recorder=record", "--record-mode=once", apart=True) == {"passed": 2}
    assert project.run(*theirs, apart=True) == {"passed": 2}
    assert len(provider.asked) == 2


# -- cost --------------------------------------------------------------------------------------------------------------


def test_the_plugin_loads_nothing_before_a_test_has_a_tape() -> None:
    """A run without such a test imports the standard library, pytest, and of the package these two modules."""
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport recorder.pytest_plugin\n"
        "new = set(sys.modules) - before\nforeign = {name.partition('.')[0] for name in new}\n"
        "print(sorted(foreign - set(sys.stdlib_module_names)), sorted(name for name in new if 'recorder' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['recorder'] ['recorder', 'recorder.pytest_plugin']"


def test_an_installed_plugin_is_loaded_by_its_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `recorder`, so that `-p no:recorder` takes it out; a project without tapes never loads them."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    if not list(entry_points(group="pytest11", name="recorder")):
        installed = project.path / "installed" / "recorder-0.dist-info"
        installed.mkdir(parents=True)
        lines = [f"{name} = {value}" for name, value in declared["pytest11"].items()]
        (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]), encoding="utf-8")
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 0\n", encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", f"{installed.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    path = project.path / "test_plain.py"
    path.write_text(
        "import sys\n\n"
        "def test_loaded(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('recorder')\n"
        "    assert 'recorder.tape' not in sys.modules\n\n"
        "def test_taken_out(pytestconfig):\n"
        "    assert not pytestconfig.pluginmanager.has_plugin('recorder')\n",
        encoding="utf-8",
    )
    assert project.run("-k", "loaded", apart=True, plugin=()) == {"passed": 1, "deselected": 1}
    assert project.run("-p", "no:recorder", "-k", "taken_out", apart=True, plugin=()) == {"passed": 1, "deselected": 1}


# -- the guide ---------------------------------------------------------------------------------------------------------


GUIDE: Final = "docs/pytest.md"


class Reader:
    """Follows the guide in a folder of its own, with the programs of this environment."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        programs = folder.parent / "programs"
        programs.mkdir()
        for name, arguments in (("pytest", ["pytest", "-p", "recorder.pytest_plugin"]), ("recorder", ["recorder"])):
            program = programs / name
            program.write_text(
                f'#!/bin/sh\nexec {shlex.join([sys.executable, "-m", *arguments])} "$@"\n', encoding="utf-8"
            )
            program.chmod(0o755)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "none",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # so that only the first process compiles
        }

    def types(self, command: str, *, code: int = 0) -> str:
        """What a command prints that is typed there."""
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


#: What the guide's function `check` is told to check, and a run in a store for `recorder pin`.
CHECKED = """

@pytest.mark.recorder(file="recordings/test_haiku/test_haiku.jsonl")
def test_checked(tape):
    haiku("ships")
    check(tape)
"""
STORED = """
import openai, recorder
with recorder.open() as tape:
    client = tape.instrument(openai.OpenAI())
    client.responses.create(model="gpt-5-mini", input="A haiku about ships")
"""


def test_the_guide_can_be_followed_in_a_fresh_folder(tmp_path: Path) -> None:
    """Written, recorded, replayed with no provider, changed, pinned: and what it shows is what is said."""
    install, record, replay, pin = blocks(GUIDE, "sh")
    assert install.startswith("pip install run-recorder")
    haiku, conftest, check, fault, _, plain, suite = blocks(GUIDE, "python")
    failed, replaced = (block.splitlines() for block in blocks(GUIDE, "text"))
    tests = tmp_path / "fresh" / "tests"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text(conftest, encoding="utf-8")
    test = tests / "test_haiku.py"
    with upstream(0) as base:
        reader = Reader(tests.parent, f"{base}/v1")
        test.write_text(haiku, encoding="utf-8")
        assert "recorded tests/recordings/test_haiku/test_haiku.jsonl" in reader.types(record)
        reader.types(f"{shlex.quote(sys.executable)} -c {shlex.quote(STORED)}")
        assert "tests/test_pinned_slow_haiku.py" in reader.types(pin)
        test.write_text("\n\n".join((haiku, check, CHECKED, fault)), encoding="utf-8")
        assert "4 passed" in reader.types(replay)
        changed = haiku.replace("temperature=0.2", "temperature=0.7").replace("== 0.2", "== 0.7")
        test.write_text(changed, encoding="utf-8")
        said = reader.types(f"{replay.strip()} --tb=short", code=1)
        assert [line for line in failed if line not in said] == []
        said = reader.types(f"{record.strip()} {test}")
        assert [line for line in replaced if line not in said] == []
    shutil.copy(tests / "recordings" / "test_haiku" / "test_haiku.jsonl", tests.parent / "ships.jsonl")
    shutil.rmtree(tests / "recordings" / "pinned")
    alone = "import sys; sys.path.insert(0, 'tests'); import recorder; from test_haiku import haiku\n"
    (tests.parent / "alone.py").write_text(alone + plain + suite, encoding="utf-8")
    reader.types(f"{shlex.quote(sys.executable)} alone.py")
