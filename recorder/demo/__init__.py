"""What `recorder demo` and the tests play: streams that the project wrote itself, in the shapes of four protocols.

The streams lie in `streams/`, one response body a file, named by protocol and by what happens in it. Ids, times and
texts are invented; the objects are those of the API references.
"""

from __future__ import annotations

from importlib import resources

__all__ = ["names", "stream"]

_SUFFIX = ".sse"


def names() -> list[str]:
    """The streams there are, sorted, such as `assistants-completed`."""
    files = (resources.files(__package__) / "streams").iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def stream(name: str) -> bytes:
    """The response body of that name. Raises FileNotFoundError where there is none."""
    return (resources.files(__package__) / "streams" / f"{name}{_SUFFIX}").read_bytes()
