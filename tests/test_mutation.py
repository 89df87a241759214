"""`make mutation` changes what it says it changes, one thing at a time, and leaves the rest of the text alone."""

from __future__ import annotations

import pytest

from tests.areas import AREAS
from tests.mutation.operators import mutants

HEAD = '"""What it is for."""\n\n'


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = a < b", {"(a <= b)"}),
        ("x = a is b", {"(a is not b)"}),
        ("x = a and b", {"(a or b)"}),
        ("x = a or not b", {"(a and (not b))", "b"}),
        ("x = 'é' + a", {"('é' - a)", "'Xé'"}),
        ("x = a[1:]", {"a[:]", "2", "0"}),
        ("x = True", {"False"}),
        ("if a:\n    b()", {"not (a)", "pass"}),
        ("while a:\n    break", {"not (a)", "continue"}),
        ("def f():\n    return a", {"return None"}),
        ("def f():\n    return None", set()),
        ("def f():\n    raise ValueError('no')", {"pass"}),
        ("def f(a=1):\n    '''Says.'''", {"2", "0"}),
        ("a.b = c", {"pass"}),
        ("a += c", {"pass", "a -= c"}),
        ("x = [a for a in b if c]", {"(not (c))"}),
        ("__all__ = ['a']", set()),
        ("x: int", set()),
        ("assert a < b", set()),
        ("a()  # pragma: no cover (never)", set()),
    ],
)
def test_each_sort_of_change_is_made(code: str, expected: set[str]) -> None:
    assert {mutant.after for mutant in mutants((HEAD + code + "\n").encode())} == expected


@pytest.mark.parametrize("name", ["sse", "match"])
def test_a_mutant_differs_in_its_place_alone_and_still_is_python(name: str) -> None:
    source = AREAS[name].files()[-1].read_bytes()
    found = mutants(source)
    assert len(found) > 50
    for mutant in found:
        changed = mutant.applied(source)
        end = len(source) - mutant.start - len(mutant.before.encode())
        assert changed != source
        assert changed[: mutant.start] == source[: mutant.start]
        assert changed[len(changed) - end :] == source[len(source) - end :]
        assert source[: mutant.start].count(b"\n") + 1 == mutant.line


def test_every_part_has_its_files_and_tests() -> None:
    for area in AREAS.values():
        assert area.files()
        for test in area.tests:
            assert (AREAS["sse"].files()[0].parent.parent / "tests" / f"{test}.py").is_file()
