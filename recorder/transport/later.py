"""Being told when a library is loaded: by a finder before all others, which lets these do the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .exchange import Around

__all__ = ["Later"]


class Later:
    """Calls `loaded` with each module of some names, as soon as it is loaded: from `put` until `remove`."""

    def __init__(self, loaded: Callable[[ModuleType], None]) -> None:
        self._loaded = loaded
        self._names: frozenset[str] = frozenset()

    def put(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        self._names = frozenset()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that tells."""
        if name not in self._names:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Telling(spec.loader, self._tell)  # type: ignore[assignment]
                return spec
        return None

    def _tell(self, module: ModuleType) -> None:
        if module.__name__ in self._names:
            self._loaded(module)


class _Telling(Around):
    """Loads as the loader around which it stands, and tells."""

    def __init__(self, inner: Any, tell: Callable[[ModuleType], None]) -> None:
        super().__init__(inner)
        self._tell = tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._inner.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        self._tell(module)
