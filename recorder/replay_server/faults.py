"""Failures put on top of a recording, so that a test sees how a program takes them.

A fault is written `WHAT@WHERE`, several wheres separated by commas, a time behind a colon:

    cut@event=12                 the connection ends (FIN) behind the 12th event
    reset@event=12,request=2     it is reset (RST) there, in the second request alone
    stall@event=5:3s             3 seconds of silence behind the 5th event; without a time until the client leaves
    malformed@event=7            the 7th event's last byte is another one, so that its JSON is broken
    status=429@request=1         the first request is answered 429; with :2s it says Retry-After: 2

`event=N` and `byte=N` count in the body; `event=random` and `byte=random` draw one. Without either, cut, reset and
stall happen before the head. `request=N` counts the requests of a session from 1; `rate=0.1` takes every tenth, by
chance. What is drawn depends on `seed=N` (0 if not given), the session and the number of the request, and on nothing
else: the same requests meet the same faults in every process.

An answer that a fault spoils uses up no recording: the next attempt gets the one that this one would have had.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from recorder import sse
from recorder.errors import UsageError
from recorder.recording import Event, HeaderList, Kind
from recorder.replay import Chunk

__all__ = [
    "BEFORE_HEAD",
    "Break",
    "Fault",
    "Faults",
    "Refusal",
    "Spoil",
    "document",
    "is_spoiled",
    "place",
    "refusal",
    "split",
    "spoiled",
]

What: TypeAlias = Literal["cut", "reset", "stall", "malformed", "status"]

#: The offset that stands for: before anything of the response.
BEFORE_HEAD: Final = -1

_FAULT: Final = re.compile(
    r"(?:(?P<what>cut|reset|stall|malformed)|status=(?P<status>[2-5][0-9]{2}))"
    r"(?:@(?P<where>[^:@]+))?(?::(?P<time>[0-9]{1,6}(?:\.[0-9]{1,6})?)(?P<unit>ms|s|m))?"
)
_WHERE: Final = re.compile(
    r"(?:(?P<place>event|byte)=(?P<at>[0-9]{1,12}|random)|request=(?P<request>[1-9][0-9]{0,8})"
    r"|rate=(?P<rate>[01](?:\.[0-9]{1,9})?|\.[0-9]{1,9})|seed=(?P<seed>[0-9]{1,18}))"
)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FORM: Final = (
    "write cut, reset, stall, malformed or status=CODE, then @ and event=N, byte=N, request=N, rate=P or seed=N with"
    " commas between, then :TIME, as in cut@event=12, stall@event=5:3s or status=429@request=1"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it was asked for.

    at: the event or byte; None: one by chance. place None: before the head. seconds None: no time was given.
    request None: every one. rate: the share of requests that it meets.
    """

    text: str
    what: What
    status: int | None = None
    place: Literal["event", "byte"] | None = None
    at: int | None = None
    request: int | None = None
    rate: float = 1.0
    seed: int = 0
    seconds: float | None = None

    @classmethod
    def of(cls, text: str) -> Fault:
        """The fault that a text means. Raises UsageError."""
        found = _FAULT.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"fault {text!r} is none: {_FORM}")
        where = _conditions(text, found["where"])
        fault = cls(
            text=text.strip(),
            what=found["what"] or "status",  # type: ignore[arg-type]  # the expression names no other
            status=int(found["status"]) if found["status"] else None,
            seconds=float(found["time"]) * _SECONDS[found["unit"]] if found["time"] else None,
            place=where.get("place"),  # type: ignore[arg-type]  # nor here
            at=None if where.get("at") in (None, "random") else int(where["at"]),
            request=int(where["request"]) if "request" in where else None,
            rate=float(where.get("rate", 1.0)),
            seed=int(where.get("seed", 0)),
        )
        fault._check()
        return fault

    def _check(self) -> None:
        """Raises UsageError for what makes no sense."""
        if self.what == "status" and self.place is not None:
            raise UsageError(f"fault {self.text!r}: a status stands before the body; leave out {self.place}")
        if self.what == "malformed" and (self.place is None or (self.place == "event" and self.at == 0)):
            raise UsageError(f"fault {self.text!r}: say which is malformed: event=N from 1, or byte=N")
        if self.seconds is not None and self.what not in ("stall", "status"):
            raise UsageError(f"fault {self.text!r}: a time goes with stall or status alone")
        if self.rate > 1:
            raise UsageError(f"fault {self.text!r}: the rate is a share from 0 to 1")

    @property
    def ends(self) -> bool:
        """Whether no whole answer can come."""
        return self.what != "stall" or self.seconds is None

    def meets(self, session: str, number: int) -> bool:
        """Whether it meets this request of a session, counted from 1."""
        if self.request is not None and self.request != number:
            return False
        return self.rate >= 1 or self.draw(session, number, "rate") < self.rate

    def draw(self, session: str, number: int, what: str) -> float:
        """A number from 0 up to 1, the same for the same words in every process."""
        words = f"{self.seed}\0{self.text}\0{session}\0{number}\0{what}"
        return int.from_bytes(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest()[:6], "big") / (1 << 48)


def _conditions(text: str, where: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in (where or "").split(",") if where is not None else ():
        one = _WHERE.fullmatch(part.strip())
        if one is None:
            raise UsageError(f"fault {text!r} is wrong at {part!r}: {_FORM}")
        given = {name: value for name, value in one.groupdict().items() if value is not None}
        if found.keys() & given.keys():
            raise UsageError(f"fault {text!r} says {part.partition('=')[0]!r} twice, or both event and byte")
        found |= given
    return found


class Meeting(NamedTuple):
    """A fault, and the request that it meets."""

    fault: Fault
    session: str
    number: int


class Faults:
    """All faults of a server, the requests that it has counted, and which faults have happened. For any thread."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.all = tuple(faults)
        self._counts: dict[str, int] = {}
        self._happened: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Faults:
        """From the texts of the option `--fault`. Raises UsageError."""
        return cls(map(Fault.of, texts))

    def next(self, session: str | None) -> list[Meeting]:
        """Count a request; the faults that it meets."""
        if not self.all:
            return []
        name = session or ""
        with self._lock:
            number = self._counts[name] = self._counts.get(name, 0) + 1
        return [Meeting(fault, name, number) for fault in self.all if fault.meets(name, number)]

    def happens(self, fault: Fault) -> None:
        """Note that it did."""
        self._happened.add(fault.text)

    @property
    def idle(self) -> list[str]:
        """Those that never happened: no request was met, or no body was long enough."""
        return [fault.text for fault in self.all if fault.text not in self._happened]


# -- in place of an answer -----------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """What a fault answers instead of the recording. SDKs may try it again, as they would a provider's."""

    status: int
    headers: HeaderList
    body: bytes


def refusal(fault: Fault) -> Refusal:
    """The answer of a fault that is a status."""
    error = {"message": f"recorder: the fault {fault.text}", "type": "injected_fault", "param": None, "code": "fault"}
    after: HeaderList = ()
    if fault.seconds is not None:  # in whole seconds (RFC 9110 section 10.2.3), and as exactly as SDKs read it
        after = (("Retry-After", str(math.ceil(fault.seconds))), ("retry-after-ms", f"{fault.seconds * 1000:.0f}"))
    return Refusal(fault.status or 500, after, document(error))


def document(error: Mapping[str, object]) -> bytes:
    """An error as OpenAI's and Anthropic's SDKs both read it."""
    return json.dumps({"type": "error", "error": error}).encode("ascii")


# -- in a body -----------------------------------------------------------------------------------------------------


class Break(NamedTuple):
    """Something that happens behind so many bytes of a body; BEFORE_HEAD: before the response."""

    offset: int
    fault: Fault


class Spoil(NamedTuple):
    """A byte of a body that goes out as another one."""

    offset: int
    fault: Fault


def place(
    meetings: Sequence[Meeting], events: Callable[[], Iterable[Event]], size: int
) -> tuple[list[Break], list[Spoil]]:
    """Where in a body of `size` bytes these faults happen, in order. `events` reads the recording's events.

    What lies behind the body's end is left out: it never happens.
    """
    breaks: list[Break] = []
    spoils: list[Spoil] = []
    frames: list[tuple[int, int]] | None = None
    for fault, session, number in meetings:
        if fault.what == "status":
            continue
        if fault.place is None:
            breaks.append(Break(BEFORE_HEAD, fault))
            continue
        drawn = fault.draw(session, number, "at")
        if fault.place == "byte":
            least = 0 if fault.what == "malformed" else 1
            at = fault.at if fault.at is not None else least + int(drawn * size)
            last = at
        else:
            frames = frames if frames is not None else list(_frames(events()))
            count = fault.at if fault.at is not None else 1 + int(drawn * len(frames))
            if count > len(frames):
                continue
            last, at = frames[count - 1] if count else (0, 0)
        if fault.what == "malformed":
            if last < size:
                spoils.append(Spoil(last, fault))
        elif at <= size:
            breaks.append(Break(at, fault))
    return sorted(breaks, key=lambda each: each.offset), spoils


def is_spoiled(breaks: Iterable[Break], spoils: Sequence[Spoil]) -> bool:
    """Whether no whole answer comes of a body with these."""
    return bool(spoils) or any(one.fault.ends for one in breaks)


def _frames(events: Iterable[Event]) -> Iterator[tuple[int, int]]:
    """Of each server-sent event: the offset of its last byte that is no line end, and the offset behind it.

    In a body with a content coding an event ends with the bytes that completed it.
    """
    at = 0
    encoded = False
    for event in events:
        if event.kind == Kind.WIRE:
            encoded = True
            at += event.size
        elif event.kind == Kind.SSE:
            if encoded:
                yield max(0, at - 1), at
                continue
            frame = sse.wire(event.type, event.data, event.raw)
            yield at + max(0, len(frame.rstrip(b"\r\n")) - 1), at + event.size
            at += event.size
        elif event.kind == Kind.BODY and not encoded:
            at += event.size


def split(chunks: Iterable[Chunk], offsets: Iterable[int]) -> Iterator[Chunk]:
    """The same chunks, cut once more at these offsets."""
    wanted = sorted({offset for offset in offsets if offset > 0}, reverse=True)
    at = 0
    for due_us, data in chunks:
        start, end = 0, at + len(data)
        while wanted and wanted[-1] <= end:
            here = wanted.pop() - at
            if start < here < len(data):
                yield due_us, data[start:here]
                start = here
        yield due_us, data[start:]
        at = end


def spoiled(chunks: Iterable[Chunk], offsets: Iterable[int]) -> Iterator[Chunk]:
    """The same chunks, with other bytes at these offsets."""
    wanted = sorted(set(offsets), reverse=True)
    at = 0
    for due_us, data in chunks:
        end = at + len(data)
        if not wanted or wanted[-1] >= end:
            yield due_us, data
        else:
            changed = bytearray(data)
            while wanted and wanted[-1] < end:
                here = wanted.pop() - at
                changed[here] = ord("?") if changed[here] == ord("!") else ord("!")
            yield due_us, bytes(changed)
        at = end
