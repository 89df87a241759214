"""What a test may say about a run: how it ended, what it said, which tools it called, what it cost, what was asked.

A run is one call, or the several exchanges of an Assistants run (tool outputs, polls). Its parameters are those of the
request that the test has just made, not of the stored one. Everything is read when it is first asked for. It knows no
files and no clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from recorder import reader
from recorder.reader.brought import ToolCall, name_of, said_so_far, tool_calls
from recorder.recording import Event, Kind, Reading, Recording, Status

__all__ = ["Exchange", "TapeRun", "ToolCall", "Usage", "runs_of"]

_FINAL: Final = frozenset({Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED, Status.EXPIRED})


class Usage(NamedTuple):
    """Tokens as the provider counted them; what it did not say is None, never 0."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None


@dataclass(frozen=True)
class Exchange:
    """One request, the recording that has its answer, and the recording's events."""

    recording: Recording
    events: Sequence[Event]

    @cached_property
    def reading(self) -> Reading:
        """What the exchange meant."""
        return reader.interpret(self.recording, self.events)

    @cached_property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """What the model called in this very answer."""
        return tool_calls(said_so_far(self.recording, self.events)[0])

    @cached_property
    def skeleton(self) -> tuple[tuple[str, int], ...]:
        """The names of the events with how many of each came in a row; of an answer that is no stream its status."""
        names: list[tuple[str, int]] = []
        for event in self.events:
            if event.kind == Kind.SSE:
                name = name_of(event)
                if names and names[-1][0] == name:
                    names[-1] = (name, names[-1][1] + 1)
                else:
                    names.append((name, 1))
        if names:
            return tuple(names)
        ending = self.recording.ending
        return ((f"HTTP {None if ending is None else ending.http_status}", 1),)


class TapeRun:
    """One run of a test. Unknown is None."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.exchanges = tuple(exchanges)

    @cached_property
    def reading(self) -> Reading:
        """The reading that stands for the run: the first that saw its end, else the last."""
        readings = [exchange.reading for exchange in self.exchanges]
        return next((one for one in readings if one.status in _FINAL), readings[-1])

    @property
    def status(self) -> str:
        """completed, incomplete, requires_action, failed, cancelled, expired, in_progress or unknown."""
        return str(self.reading.status)

    @property
    def stop_reason(self) -> str | None:
        """stop, output_limit, input_limit, content_filter, refusal, tool_call, paused, error, cancelled or expired."""
        return None if self.reading.stop_reason is None else str(self.reading.stop_reason)

    @property
    def complete(self) -> bool | None:
        """Whether the protocol's last word was seen."""
        return self.reading.complete

    @property
    def text(self) -> str | None:
        """What the model wrote."""
        return self.reading.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """What the model called, in all exchanges of the run, in order."""
        return tuple(call for exchange in self.exchanges for call in exchange.tool_calls)

    @property
    def usage(self) -> Usage:
        """The tokens that the provider counted."""
        return Usage(*(getattr(self.reading, name) for name in Usage._fields))

    @property
    def input_tokens(self) -> int | None:
        """Tokens read by the model, cached ones too."""
        return self.reading.input_tokens

    @property
    def output_tokens(self) -> int | None:
        """Tokens written by the model, hidden ones too."""
        return self.reading.output_tokens

    @property
    def params(self) -> Mapping[str, Any]:
        """What was asked, as sent: a name that is absent was absent, None was null."""
        return self.exchanges[0].reading.parameters or {}

    @property
    def model(self) -> str | None:
        """The model that answered, as far as it said so; else the one that was asked."""
        return self.reading.model

    @property
    def dialect(self) -> str:
        """The wire protocol: assistants, responses, chat, messages, gemini or raw."""
        return self.reading.dialect

    @property
    def first_token_us(self) -> int | None:
        """Microseconds from the request to the first token, as recorded."""
        return self.exchanges[0].reading.ttft_us

    @property
    def skeleton(self) -> tuple[tuple[str, int], ...]:
        """The names of the events in order, and how many of each came in a row."""
        return tuple(part for exchange in self.exchanges for part in exchange.skeleton)

    def assert_same_as(self, other: TapeRun, *, ignore: Iterable[str] = ()) -> None:
        """Raises AssertionError with all that differs but what `ignore` names, such as `usage` or `params.user`."""
        from recorder.tape.changes import compared

        found = [change for change in compared(other, self) if not _is_ignored(change.what, ignore)]
        if found:
            raise AssertionError("the run is not the same:\n" + "\n".join(f"  {change}" for change in found))

    def __repr__(self) -> str:
        said = "" if self.text is None else f" text={self.text[:40]!r}"
        return f"<run {self.dialect} {self.status}{said}>"


def _is_ignored(what: str, ignored: Iterable[str]) -> bool:
    return any(what == name or what.startswith((f"{name}.", f"{name}[")) for name in ignored)


def runs_of(exchanges: Iterable[Exchange]) -> list[TapeRun]:
    """The runs that these exchanges make up, in the order in which they began.

    An exchange that goes on with a run (tool outputs, a poll) joins the newest earlier one of the same provider's run
    id. What is part of no run (a message added to a thread) is left out.
    """
    groups: list[list[Exchange]] = []
    current: dict[tuple[str, str], list[Exchange]] = {}
    for exchange in exchanges:
        read = exchange.reading
        if not read.is_run:
            continue
        key = (read.dialect, read.provider_run_id) if read.provider_run_id else None
        if key is not None and not read.opens_run and key in current:
            current[key].append(exchange)
            continue
        group = [exchange]
        groups.append(group)
        if key is not None:
            current[key] = group
    return [TapeRun(group) for group in groups]
