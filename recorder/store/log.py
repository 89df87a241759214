"""The log of what is sealed: in which order recordings came under checkpoints, and the leaf of each.

The order of ids would not do: a recording that began early may be sealed late, or imported, and a tree that was rooted
already cannot take it in between. So each checkpoint first appends what was sealed since the last one, in batches; the
order is (batch, recording_id) and never changes. Only who makes checkpoints writes here, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select, tuple_
from sqlalchemy.types import NullType

from recorder.digest import leaf_of
from recorder.schema import endings, logged
from recorder.store.backend import Backend
from recorder.store.refusals import require_onward
from recorder.store.scanning import as_id

__all__ = ["Logged", "leaves", "log_sealed", "logged_after"]

#: Recordings in a batch, and leaves that are read in one go.
BATCH: Final = 1000
PAGE: Final = 10_000
#: Whose turn it is to append: a number of its own among those of `take_turns`.
_TURN: Final = 0x6C6F67

_KEY: Final[ColumnElement[Any]] = literal_column("endings.recording_id")
_LOGGED: Final[Select[Any]] = (
    select(literal_column("1")).select_from(logged).where(literal_column("logged.recording_id") == _KEY)
)
_UNLOGGED: Final = (
    select(_KEY.label("key"), literal_column("endings.seal").label("seal"))
    .select_from(endings)
    .where(~_LOGGED.correlate(endings).exists())
    .order_by(_KEY)
    .limit(BATCH)
)
_UNLOGGED_AFTER: Final = _UNLOGGED.where(bindparam("after", type_=NullType()) < _KEY)

_PLACE: Final = tuple_(literal_column("logged.batch"), literal_column("logged.recording_id"))
_COLUMNS: Final[list[ColumnElement[Any]]] = [
    literal_column(f"logged.{name}").label(label)
    for name, label in (("batch", "batch"), ("recording_id", "key"), ("leaf", "leaf"))
]
_LEAVES: Final[Select[Any]] = (
    select(*_COLUMNS)
    .select_from(logged)
    .order_by(literal_column("logged.batch"), literal_column("logged.recording_id"))
)
_LEAVES_AFTER: Final[Select[Any]] = _LEAVES.where(
    tuple_(bindparam("batch", type_=NullType()), bindparam("after", type_=NullType())) < _PLACE
)


def log_sealed(backend: Backend) -> int:
    """Append every recording that was sealed and is not in the log yet; how many there were."""
    count = 0
    after: Any = None
    while True:
        with backend.write() as connection:
            backend.take_turns(connection, [_TURN])
            given = {} if after is None else {"after": after}
            found = connection.execute(_UNLOGGED if after is None else _UNLOGGED_AFTER, given).all()
            if not found:
                return count
            require_onward(backend.display, found[-1].key, after)
            batch = connection.execute(select(func.coalesce(func.max(logged.c.batch), 0))).scalar_one() + 1
            rows = [
                {"recording_id": recording_id, "batch": batch, "leaf": leaf_of(recording_id, row.seal)}
                for row in found
                if (recording_id := as_id(row.key)) and isinstance(row.seal, bytes)
            ]
            if rows:
                connection.execute(logged.insert(), rows)
        count += len(rows)
        after = found[-1].key


class Logged(NamedTuple):
    """A leaf as it is stored, unchecked: in which batch it was appended, whose it is (None: of no id), its hash."""

    batch: Any
    key: Any
    leaf: Any

    @property
    def recording_id(self) -> UUID | None:
        return as_id(self.key)


def logged_after(backend: Backend, after: Logged | None, limit: int = PAGE) -> list[Logged]:
    """The next leaves of the log, those behind this one."""
    given = {} if after is None else {"batch": after.batch, "after": after.key}
    page = (_LEAVES if after is None else _LEAVES_AFTER).limit(limit)
    with backend.read() as connection:
        return [Logged(*row) for row in connection.execute(page, given)]


def leaves(backend: Backend) -> Iterator[tuple[UUID | None, Any]]:
    """The log from its beginning: each recording's id (None where it is none) and its leaf, as they are stored."""
    last: Logged | None = None
    while found := logged_after(backend, last):
        require_onward(backend.display, found[-1][:2], None if last is None else last[:2])
        last = found[-1]
        for each in found:
            yield each.recording_id, each.leaf
        if len(found) < PAGE:
            return
