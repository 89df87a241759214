"""`make mutation` changes what it says it changes, one thing at a time, and leaves the rest of the text alone."""

from __future__ import annotations

import ast

import pytest

from tests.areas import AREAS
from tests.mutation.__main__ import known
from tests.mutation.operators import mutants
from tests.mutation.tree import concerned
from tests.needs import ROOT

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
        ("if sys.platform == 'win32':\n    a()\nelse:\n    b()", {"pass"}),
        ("if sys.platform == 'win32' and a < b:\n    c()", set()),
        ("x = a + 1 if sys.platform == 'darwin' else not b", {"b"}),
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


def test_what_is_named_on_import_concerns_the_lines_that_use_it() -> None:
    """Also by another name, and in another file where it is not private; any other line concerns itself."""
    one = "_A = 1\nB = _A + 1\n\ndef f():\n    return (\n        B\n    )\n\ndef g():\n    return _A\n_UNUSED = 2\n"
    two = "import one\n_A = 3\n\ndef h():\n    return one.B + 1\n\ndef i():\n    return _A\n"
    files = {"one.py": ast.parse(one), "two.py": ast.parse(two)}
    assert concerned(files, "one.py", 1) == [("one.py", 6), ("one.py", 10), ("two.py", 5)]
    assert concerned(files, "two.py", 2) == [("two.py", 8)]
    assert concerned(files, "one.py", 10) == [("one.py", 10)]
    assert concerned(files, "one.py", 11) == [("one.py", 11)]


def test_every_part_has_its_files_and_tests() -> None:
    for area in AREAS.values():
        assert area.files()
        for test in area.tests:
            assert (ROOT / "tests" / f"{test}.py").is_file()


def test_what_is_listed_as_changing_nothing_stands_in_the_code() -> None:
    """A line that was written anew since needs another look."""
    lines = {path: (ROOT / path).read_text(encoding="utf-8").splitlines() for path, *_ in known()}
    gone = [(path, line) for path, line, *_ in known() if line not in map(str.strip, lines[path])]
    assert gone == []
