"""What a test with a tape goes through: its options from all layers, its file, its end. Loaded when one needs it."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import RecorderError
from recorder.tape import Options, Tape, TapeError, TapeWarning

from . import names

__all__ = ["file_of", "finish", "tape_of"]


def tape_of(request: pytest.FixtureRequest, mode: str, said: Mapping[str, Any], configured: Mapping[str, Any]) -> Tape:
    """The tape of the test that asks, started. What is wrong with its options fails the test."""
    item: Any = request.node
    marked = [dict(mark.kwargs) for mark in item.iter_markers("recorder")]
    if any(mark.args for mark in item.iter_markers("recorder")):
        pytest.fail("the marker recorder takes named options alone, such as hosts=[...]", pytrace=False)
    fixture = request.getfixturevalue("recorder_config")
    if not isinstance(fixture, Mapping):
        pytest.fail("the fixture recorder_config must give a dict of options", pytrace=False)
    layers = [*marked, dict(said), dict(fixture), dict(configured)]
    named = next((layer["file"] for layer in marked if layer.get("file")), None)
    folder = next((layer["dir"] for layer in layers if layer.get("dir")), names.FOLDER)
    for layer in layers:
        layer.pop("file", None)
        layer.pop("dir", None)
        if "mode" in layer:
            pytest.fail("the mode is for the whole run: say --recorder=MODE", pytrace=False)
    path = item.path.parent / named if named else file_of(item, folder)
    again = f"pytest --recorder=record {shlex.quote(item.nodeid)}"
    try:
        return Tape(path, Options.layered({"mode": mode}, *layers), again=again).start()
    except RecorderError as error:
        pytest.fail(f"recorder: {error}", pytrace=False)


def file_of(item: Any, folder: str | os.PathLike[str]) -> Path:
    """Where a test's recording lies, if its marker does not say otherwise."""
    scopes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    scopes.append(getattr(item, "originalname", None) or item.name)
    call = getattr(item, "callspec", None)
    return names.file_of(item.path.parent / folder, item.path.stem, scopes, None if call is None else call.id)


def finish(item: pytest.Item, tape: Tape, *, passed: bool) -> list[str]:
    """The end of a test's tape: fails what is left over, writes the file after a test that has passed, warns.

    Gives what is to be said in the terminal.
    """
    shown = os.path.relpath(tape.path, item.config.rootpath)
    if not passed:
        made = tape.is_recording and tape.runs
        return [f"not written, because the test did not pass: {shown}"] if made else []
    before = tape.path.exists()
    try:
        tape.check()  # fixtures may have asked since
        done = tape.finish()
    except TapeError as error:
        pytest.fail(str(error), pytrace=False)
    except RecorderError as error:
        pytest.fail(f"recorder: {error}", pytrace=False)
    for text in done.warnings:
        place = item.location
        warnings.warn_explicit(text, TapeWarning, str(item.path), (place[1] or 0) + 1)
    if not done.wrote:
        return [f"the same as before: {shown}"] if tape.is_recording and before else []
    verb = "replaced" if before and tape.path.exists() else "removed" if before else "recorded"
    return [f"{verb} {shown}", *(f"    {change}" for change in done.changes)]
