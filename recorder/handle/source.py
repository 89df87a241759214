"""Whether a call is recorded, and what its recording stands for: between a handle's transports and its writer."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

from recorder.recording import Request
from recorder.writer import Tap, Writer

__all__ = ["Source", "share"]

#: The thread that an Assistants request works on: all calls of its runs name it in their path.
_THREAD: Final = re.compile(r"/threads/(?!runs(?:[/?#]|\Z))([^/?#]+)")


class Source:
    """Begins a handle's recordings: decides by `sample`, adds `tags`. `keeper` lives as long as a client uses this."""

    def __init__(self, writer: Writer, sample: float, tags: Mapping[str, str], keeper: object) -> None:
        self._writer = writer
        self._sample = sample
        self._tags = dict(tags)
        self._keeper = keeper

    def start(
        self,
        request: Request,
        *,
        started_at: int | None = None,
        session: str | None = None,
        trace: str | None = None,
        call: UUID | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Tap | None:
        """Begin a recording, or None: this call is not in the sample."""
        if share(request.url, session) >= self._sample:
            return None
        return self._writer.start(
            request,
            started_at=started_at,
            weight=1 / self._sample,
            session=session,
            trace=trace,
            call=call,
            tags={**self._tags, **(tags or {})},
        )


def share(url: str, session: str | None) -> float:
    """Where a call stands between 0 and 1: it is in every sample above that.

    The calls of one run stand at the same place, in every process: by the session, or the thread that the path names.
    A call that names neither stands anywhere.
    """
    thread = _THREAD.search(url)
    key = session or (thread[1] if thread else None)
    if key is None:
        return random.random()  # noqa: S311 (a sample, not a secret)
    return int.from_bytes(sha256(key.encode("utf-8", "replace")).digest()[:7], "big") / (1 << 56)
