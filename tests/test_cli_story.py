"""The words of `recorder show`: that there is one for everything a reading may say, and none for what it never says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import pytest

from recorder.cli import story
from recorder.recording import Status, StopReason, Transport
from recorder.store.rows import DUPLICATE
from tests import golden
from tests.needs import ROOT
from tests.rows import made_reading, opened
from tests.tape import recorded

#: What raises flags.
SOURCES = sorted(path for name in ("dialects", "detect", "reader") for path in (ROOT / "recorder" / name).glob("*.py"))


def _words(node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may give: of a choice both sides, of a tuple or set all of them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_words(node.body), *_words(node.orelse))
    elif isinstance(node, ast.Tuple | ast.Set):
        for each in node.elts:
            yield from _words(each)
    elif isinstance(node, ast.Starred):
        yield from _words(node.value)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def raised(tree: ast.AST) -> Iterator[str]:
    """Every flag that this source can raise: added to `flags`, given to a reading as `flags=`, named in a call of
    `flags_of` or in a table (`flags`: flag -> whether it is so; `_FLAGS`: fact -> flag).
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="add"), args=[given]) if _name(owner) == "flags":
                yield from _words(given)
            case ast.Call(func=ast.Name(id="flags_of"), keywords=given):
                yield from (keyword.arg for keyword in given if keyword.arg)
            case ast.keyword(arg="flags", value=given) | ast.Assign(targets=[ast.Name(id="flags")], value=given):
                yield from _words(given)
                if isinstance(given, ast.Dict):
                    for flag in given.keys:
                        yield from _words(flag)
            case ast.AnnAssign(target=ast.Name(id="_FLAGS"), value=ast.Dict(values=flags)):
                for flag in flags:
                    yield from _words(flag)


def test_every_flag_that_can_be_raised_has_a_text_and_no_other_has() -> None:
    """Read from the sources of all that raise flags; the store itself adds one."""
    found = {flag for path in SOURCES for flag in raised(ast.parse(path.read_text(encoding="utf-8")))}
    assert found | {DUPLICATE} == set(story._NOTICED)


@pytest.mark.parametrize("name", sorted(path.stem for path in golden.STREAMS.glob("*.sse")))
def test_every_flag_of_a_golden_stream_has_a_text(name: str) -> None:
    """Whatever way it was raised."""
    assert set(golden.stream_reading(name).flags) <= set(story._NOTICED)


def test_every_stop_reason_and_every_odd_ending_has_a_sentence() -> None:
    assert set(story._BECAUSE) == {each.value for each in StopReason}
    assert set(story.ENDED) == {each.value for each in Transport} - {Transport.EOF.value}


def test_one_is_not_told_as_many() -> None:
    """A cap of one token, one stall, one byte."""
    reading = replace(
        made_reading(opened(), status=Status.INCOMPLETE, stalls=1, stalled_us=2_000_000).reading, output_tokens=1
    )
    recording, _ = recorded(*golden.stream("assistants-completed"))
    told = list(story._times(story.Part(recording, reading, (), {})))
    assert "1 stall of 2.00 s" in told
    assert "2 stalls of 2.00 s together" in list(
        story._times(story.Part(recording, replace(reading, stalls=2), (), {}))
    )
    assert story._bar(1, 1).endswith("1 of 1 token (100 %)")
    assert story._value({"$omitted": {"bytes": 1}}) == "(1 byte, in the request's body)"
