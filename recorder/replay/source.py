"""What a Player asks of whoever holds recordings: a store, or the recordings of one file. No other method is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import UUID

from ..recording import Event, Recording

__all__ = ["Source"]


class Source(Protocol):
    """Recordings to be played. `recorder.store.Store` is one, and says what each of these gives."""

    @property
    def url(self) -> str:
        """Where they are, as it may be shown: sessions of a name belong to it."""

    def find(self, match_key: bytes) -> list[Recording]:
        """Those of requests with this key, in recorded order."""

    def candidates(self, method: str, path: str, limit: int = 50) -> list[Recording]:
        """Those to compare a request with that none answers, the likeliest first."""

    def recording(self, recording_id: UUID) -> Recording:
        """The one of this id. Raises NotFound."""

    def events(self, recording_id: UUID, *, start: int = 0, kinds: Sequence[str] | None = None) -> Iterator[Event]:
        """Its events in order, from a position, of these kinds."""

    def close(self) -> None:
        """Give up what is open."""
