"""recorder: writes down streaming LLM runs in SQL while they stream, and replays them byte for byte.

The public names below are loaded when they are first used, so that `import recorder` costs next to nothing
(PEP 562). This module holds no code of its own and refuses to import any library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .detect import Notice
    from .errors import (
        Conflict,
        NotAStore,
        NotFound,
        RecorderError,
        ReplayMiss,
        SchemaMismatch,
        StoreError,
        StoreUnavailable,
        UsageError,
    )
    from .handle import open
    from .queries import query
    from .tape import TapeError, TapeWarning, replay_suite, replaying
    from .transport import context

__version__ = "0.1.0"

__all__ = [
    "Conflict",
    "NotAStore",
    "NotFound",
    "Notice",
    "RecorderError",
    "ReplayMiss",
    "SchemaMismatch",
    "StoreError",
    "StoreUnavailable",
    "TapeError",
    "TapeWarning",
    "UsageError",
    "__version__",
    "context",
    "open",
    "query",
    "replay_suite",
    "replaying",
]

# Where a public name lives when it is not an error.
_HOME: Final = {
    "Notice": "recorder.detect",
    "TapeError": "recorder.tape",
    "TapeWarning": "recorder.tape",
    "context": "recorder.transport",
    "open": "recorder.handle",
    "query": "recorder.queries",
    "replay_suite": "recorder.tape",
    "replaying": "recorder.tape",
}


def __getattr__(name: str) -> Any:
    """The public name from the module it lives in, kept here from then on."""
    if name not in __all__:
        raise AttributeError(f"module 'recorder' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME.get(name, "recorder.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
