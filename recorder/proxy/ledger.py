"""The access log: one line for each recording, once its reading is made, and a count of how they ended.

A thread of its own, because a line waits for the reading. A line holds ids, counts, names and times: no body, no
header, no query. It refuses to know sockets.
"""

from __future__ import annotations

import queue
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from recorder.errors import RecorderError
from recorder.recording import Captured, Reading, Recording, Transport
from recorder.store import Store
from recorder.writer import Ended

__all__ = ["Ledger", "line"]

#: Seconds that a line waits for its reading; then it says what is known without.
_PATIENCE: Final = 5.0
#: Ids that are kept for a summary.
_REMEMBERED: Final = 10_000


class Ledger:
    """Writes the lines. `flush` waits until readings are made, `say` is given each line."""

    def __init__(
        self, flush: Callable[[float | None], bool], open_store: Callable[[], Store], say: Callable[[str], None]
    ) -> None:
        self.endings: Counter[str] = Counter()
        #: The recordings that ended, in that order; the last of them.
        self.recordings: list[UUID] = []
        self._flush = flush
        self._open_store = open_store
        self._say = say
        self._queue: queue.SimpleQueue[Sequence[Ended] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, ended: Sequence[Ended]) -> None:
        """These recordings are durable. Returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recorder-ledger", daemon=True)
            self._thread.start()
        self._queue.put(ended)

    def close(self, timeout: float | None = None) -> bool:
        """Write what is left, and stop. False when there was not enough time."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        store: Store | None = None
        try:
            while (ended := self._queue.get()) is not None:
                self._flush(_PATIENCE)
                for one in ended:
                    recording = one.recording
                    store, reading = self._reading(store, recording.recording_id)
                    self._note(recording)
                    self._say(line(recording, reading))
        finally:
            if store is not None:
                store.close()

    def _note(self, recording: Recording) -> None:
        if recording.ending is not None:
            self.endings[recording.ending.ending] += 1
        self.recordings.append(recording.recording_id)
        if len(self.recordings) > _REMEMBERED:
            del self.recordings[: _REMEMBERED // 2]

    def _reading(self, store: Store | None, recording_id: UUID) -> tuple[Store | None, Reading | None]:
        """The reading, if it is there; and the store, if it could be opened."""
        try:
            store = store or self._open_store()
            stored = store.reading(recording_id)
        except RecorderError:
            return store, None
        return store, None if stored is None else stored.reading


def line(recording: Recording, reading: Reading | None) -> str:
    """What became of a recording, on one line."""
    ending = recording.ending
    at = datetime.fromtimestamp(recording.started_at / 1e6).astimezone()
    path = urllib.parse.urlsplit(recording.request.url).path
    status = "-" if ending is None or ending.http_status is None else str(ending.http_status)
    parts = [f"{at:%H:%M:%S}", str(recording.recording_id)[-12:], recording.request.method, _safe(path), status]
    if reading is not None:
        parts += _outcome(reading)
    if ending is not None:
        parts.append(f"{ending.elapsed_us / 1e6:.2f} s")
        parts.append(f"{ending.events} event{'' if ending.events == 1 else 's'}")
        usual = ending.ending == Transport.CLIENT_CLOSED and reading is not None and reading.complete
        if ending.ending != Transport.EOF and not usual:  # SDKs leave at the end marker
            parts.append(f"ending={ending.ending}")
        if ending.captured != Captured.FULL:
            parts.append("NOT WHOLE")
    if reading is not None and reading.flags:
        parts.append(f"[{', '.join(map(_safe, reading.flags))}]")
    return " ".join(parts)


def _outcome(reading: Reading) -> list[str]:
    """Protocol, model, status, tokens against caps, time to the first token: as far as they are known."""
    parts = [reading.dialect]
    if reading.model is not None:
        parts.append(_safe(reading.model))
    if reading.is_run:
        parts.append(reading.status if reading.stop_reason is None else f"{reading.status}/{reading.stop_reason}")
    for name, tokens, cap in (
        ("in", reading.input_tokens, reading.max_prompt_tokens),
        ("out", reading.output_tokens, reading.max_completion_tokens),
    ):
        if tokens is not None:
            parts.append(f"{name}={tokens}" if not cap else f"{name}={tokens}/{cap} ({100 * tokens / cap:.0f}%)")
    if reading.ttft_us is not None:
        parts.append(f"first={reading.ttft_us / 1e6:.2f} s")
    return parts


def _safe(text: str) -> str:
    """Without anything that a terminal acts on: providers choose these words."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
