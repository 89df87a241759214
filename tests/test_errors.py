"""The errors are the tree that the module draws, and each knows the exit code of the command that ends with it."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from recorder import errors
from recorder.errors import RecorderError

CLASSES: dict[str, type[RecorderError]] = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, RecorderError)
}


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Class -> (the class above it, its exit code where one is written) as the docstring draws them."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        found = re.match(r"( +[│ ]*(?:[├└]── )?)([A-Z]\w+)(?: .*?(?:exit (\d+))?)?$", line)
        if found is None:
            continue
        indent, name, code = found.groups()
        above = [entry for entry in above if entry[0] < len(indent)]
        tree[name] = (above[-1][1] if above else None, int(code) if code else None)
        above.append((len(indent), name))
    return tree


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    tree = {name: parent for name, (parent, _) in drawn().items()}
    actual = {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items()}
    assert tree == {**actual, "RecorderError": None}
    assert sorted(errors.__all__) == errors.__all__
    assert set(errors.__all__) == set(CLASSES)


def test_exit_codes_are_those_in_the_docstring() -> None:
    """A child without a code of its own has its parent's. 2 usage, 3 not found, 4 store, 1 a check found something."""
    tree = drawn()
    for name, kind in CLASSES.items():
        code: int | None = None
        at: str | None = name
        while code is None and at is not None:
            at, code = tree[at]
        assert kind.exit_code == (1 if code is None else code), name
    assert {kind.exit_code for kind in CLASSES.values()} == {1, 2, 3, 4}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_says_what_it_was_told_and_survives_pickling(name: str) -> None:
    """Test runners hand errors from process to process."""
    error = CLASSES[name]("nothing there; look elsewhere")
    assert isinstance(error, RecorderError)
    assert str(error) == "nothing there; look elsewhere"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args) == (type(error), error.args)
    assert inspect.getdoc(CLASSES[name])
