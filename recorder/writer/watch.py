"""Looking at a recording's events on their way into the store, for what should be heard of before the answer is over.

It stands on the writer's thread: a failure in here ends the looking, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from ..detect import LiveDetector, Notice, asks_for_json
from ..recording import Row

__all__ = ["Watch"]

logger = logging.getLogger("recorder")


class Watch:
    """Shows a recording's rows to a detector, and hands on what that notices. `tell` must return at once."""

    __slots__ = ("_detector", "_tell")

    def __init__(self, recording_id: UUID, body: bytes | None, tell: Callable[[list[Notice]], None]) -> None:
        self._detector: LiveDetector | None = LiveDetector(recording_id, json=asks_for_json(body))
        self._tell = tell

    def __call__(self, rows: Sequence[Row]) -> None:
        """Look at more rows, with their payloads. Raises nothing."""
        detector = self._detector
        if detector is None:
            return
        try:
            detector.rows(rows)
            if detector.notices:
                notices, detector.notices = detector.notices, []
                self._tell(notices)
        except Exception as error:  # noqa: BLE001 (a defect of ours must not touch the recording)
            self._detector = None
            # Only the class: a message may quote what was looked at.
            logger.warning(
                "recorder no longer looks for runaways in one recording (%s); it is recorded all the same",
                type(error).__name__,
            )
