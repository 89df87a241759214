"""What the proxy keeps of what passes: no credential in the store, in its output, or in its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.loopback import Loopback
from tests.needs import ROOT
from tests.test_secrets import Traffic, _finds_bodies, files, found_in, values


class Plain:
    """Stands for a handle that records nobody: what is recorded here is recorded by the proxy."""

    def instrument(self, client: Any) -> Any:
        return client


def test_no_credential_that_passes_the_proxy_is_kept(tmp_path: Path) -> None:
    """Of 300 canaries none is in any file, in stdout or in stderr; those in bodies are found by the same search."""
    folder = tmp_path / "store"
    folder.mkdir()
    traffic = Traffic(Plain())  # type: ignore[arg-type]
    command = [sys.executable, "-m", "recorder", "--store", str(folder / "tape.db"), "record", "--port", "0"]
    with Loopback([traffic.answer], repeat_last=True) as server, (tmp_path / "errors").open("wb") as errors:
        program = subprocess.Popen(
            [*command, "--upstream", server.url],
            cwd=ROOT,
            env=os.environ | {"PYTHONASYNCIODEBUG": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert program.stdout is not None
        first = program.stdout.readline()
        found = re.fullmatch(rb"listening on (http://\S+)\n", first)
        assert found is not None
        traffic.run(found[1].decode())
        program.send_signal(signal.SIGTERM)
        output = program.stdout.read()
        assert program.wait(30) == 0
        program.stdout.close()
    assert len(traffic.canaries.of) >= 300
    contents = {**files(folder), "stdout": first + output, "stderr": (tmp_path / "errors").read_bytes()}
    assert contents["stderr"].count(b" POST /") >= 90
    assert found_in(traffic.canaries, contents) == []
    told = values(folder / "tape.db")
    assert len(told) >= 90
    assert found_in(traffic.canaries, told) == []
    _finds_bodies(traffic, {**contents, **told})
