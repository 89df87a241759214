"""What every dialect is made of: the protocol itself, and the few ways of looking at a Request and at what came back.

A dialect is one wire protocol: how to recognise its requests, which parameters they carry, and what a recording of it
means. It works on values alone and refuses to know SQL, HTTP libraries and sockets. Bytes from strangers are the rule,
so nothing here trusts a shape: what is not there, or not of the expected type, is None.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from pydantic_core import from_json

from recorder import sse
from recorder.recording import Event, Head, Kind, Reading, Recording, Request, Spoken, Status, StopReason, storable

__all__ = [
    "ODD",
    "REASON_OF_STATUS",
    "WEIGHT",
    "Answer",
    "Dialect",
    "Texts",
    "body_of",
    "dig",
    "digest",
    "error_of",
    "error_told",
    "flags_of",
    "integer",
    "is_token",
    "mapping",
    "parse",
    "path_of",
    "query_of",
    "query_pairs",
    "reason_of_error",
    "string",
    "without_absent",
]


class Dialect(Protocol):
    """One wire protocol. Implementations are stateless; all methods are pure functions of their arguments."""

    @property
    def name(self) -> str:
        """What the store calls it."""

    @property
    def contents(self) -> frozenset[str]:
        """The names of parameters that are content, texts for the model, rather than settings."""

    def recognises(self, request: Request) -> bool:
        """Whether this is a request of this protocol: by method, path shape and body, below any prefix."""

    def parameters(self, request: Request) -> dict[str, Any]:
        """The hot parameters of a request of this protocol, under the names of the columns of `recordings`: model,
        assistant_id, thread_id, max_prompt_tokens, max_completion_tokens, truncation_strategy, stream.

        What the request does not say, or says in a type that the column cannot hold, is absent.
        """

    def asked(self, request: Request) -> dict[str, Any]:
        """The whole parameter set as sent, in body and query: a name that is absent was absent, None was null.

        Names that this dialect does not know are in it too; {} where the body was not kept or is no JSON object.
        """

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """What the recording means. `events` are its rows in order, without `wire`; content codings are off.

        One pass; a prefix of the rows (a stream that was cut, a recording without `end`) is as good as all of them.
        """


# -- JSON from strangers ----------------------------------------------------------------------------------------------

#: What a payload of an unexpected shape raises while it is read; it is noted as malformed, and the reading goes on.
ODD: Final = (ValueError, TypeError, LookupError, AttributeError)

#: Integers that a 64-bit column holds; anything else on the wire stays in the payload alone.
_MOST: Final = (1 << 63) - 1

#: Levels of nesting that pydantic_core reads; no protocol needs a tenth of them.
_DEEPEST: Final = 200


def parse(data: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, however it is broken.

    The last of several equal keys counts, as in the SDKs. Invalid UTF-8 reads as U+FFFD, as in an EventSource. What is
    nested deeper than 200 levels is refused: whoever takes it further may recurse, as json's own encoder does.
    """
    try:
        return from_json(data)
    except ValueError:
        # pydantic_core refuses what the standard library reads: lone surrogates, invalid UTF-8.
        try:
            value = json.loads(data.decode(errors="replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None
    if _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST + 1):
        nested = [each for each in level if isinstance(each, (dict, list))]
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return False
    return True


def string(value: object) -> str | None:
    """The text of a JSON string; None for anything else and for the empty string."""
    return storable(value) if isinstance(value, str) and value else None


def integer(value: object) -> int | None:
    """A JSON number as a count; None for anything that is no whole number of at most 64 bits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MOST:
        return None
    return value


def mapping(value: object) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    return value if isinstance(value, dict) else None


def dig(value: Any, *path: str) -> Any:
    """The value below nested JSON objects; None where the path ends early."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def error_of(value: Any) -> dict[str, str] | None:
    """`code`, `type` and `message` of an error object, nested under `error` or flat, each where it is given.

    None where the value is no error: an object with an `error` that is not null, or one that has both a `message` and
    a `code` or `type` and no `id`.
    """
    error = dig(value, "error")
    if error is None and isinstance(value, dict) and "id" not in value and ("code" in value or "type" in value):
        error = value if isinstance(value.get("message"), str) else None
    if error is None or error is False:
        return None
    if not isinstance(error, dict):
        return without_absent(message=string(error))
    code = error.get("code")
    return without_absent(
        code=string(code) or (str(code) if integer(code) is not None else None),
        type=string(error.get("type")),
        message=string(error.get("message")),
    )


def without_absent(**values: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def digest(text: str | None) -> str | None:
    """A short name for a text (the instructions of a run): 16 hexadecimal digits of its SHA-256. None for no text."""
    return None if text is None else hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


# -- the request ------------------------------------------------------------------------------------------------------


def path_of(request: Request) -> str:
    """The path of the request's URL as sent, without query, fragment and trailing slashes."""
    rest = request.url.split("#", 1)[0].split("?", 1)[0]
    if "://" in rest:
        _, _, rest = rest.partition("://")
        _, _, rest = rest.partition("/")
    return "/" + rest.strip("/")


def query_of(request: Request) -> dict[str, str]:
    """The query of the request's URL as sent, not percent-decoded; the last of several equal names counts."""
    pairs = (pair.partition("=") for pair in _query(request).split("&") if pair)
    return {name: value for name, _, value in pairs}


def query_pairs(request: Request) -> list[tuple[str, str]]:
    """The names and values of the request's query in order, percent-decoded."""
    return parse_qsl(_query(request), keep_blank_values=True)


def _query(request: Request) -> str:
    return request.url.split("#", 1)[0].partition("?")[2]


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; {} where the body is something else or was not kept."""
    if not request.body:
        return {}
    try:
        value = parse(request.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# -- what came back ---------------------------------------------------------------------------------------------------

_SSE: Final = Kind.SSE.value
_BODY: Final = Kind.BODY.value
_HEAD: Final = Kind.HEAD.value

#: What ends a frame; a stream's last bytes that end so are a frame too large to be parsed, any other are its tail.
_BLANK_LINES: Final = (b"\n\n", b"\r\r", b"\n\r\n")

#: Names of events that nobody knows yet are counted, but a stream may bring any number of them.
_MOST_NAMES: Final = 32


class Answer:
    """The response, told in one pass: exhaust `frames`, then ask the rest.

    head: status line and headers; None when no response came.
    streamed: the response is an event stream, by what it says of itself or by what was found in it.
    body: the bytes of a response that is none.
    """

    __slots__ = ("_events", "_rest", "body", "body_position", "flags", "head", "malformed", "streamed", "unknown")

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = events
        self._rest: list[bytes] = []
        self.head: Head | None = None
        self.streamed = False
        self.body = b""
        self.body_position: int | None = None
        self.flags: set[str] = set()
        self.malformed: list[int] = []
        self.unknown: dict[str, int] = {}

    def frames(self) -> Iterator[tuple[int, int, str, bytes]]:
        """(position, elapsed_us, name, payload) of each event that an EventSource would have dispatched.

        Bytes without a blank line behind them are no event, however whole they look: no client hears them.
        """
        first = True
        for position, kind, elapsed_us, type_, data, raw, _, _ in self._events:
            if kind == _SSE:
                if self._rest:
                    self._too_large()
                if raw is not None:
                    if first and raw.startswith(BOM_UTF8):
                        self.flags.add("byte_order_mark")  # an EventSource drops it; SDKs lose the first event
                    payload = sse.payload(type_, data, raw, first=first)
                    if payload is not None:
                        yield position, elapsed_us, sse.event_name(type_, raw, first=first), payload
                elif data is not None:
                    yield position, elapsed_us, type_ or "message", data
                else:
                    self.flags.add("payload_missing")
                first = False
            elif kind == _BODY:
                self._piece(position, data)
            elif kind == _HEAD and data is not None:
                self._headers(Head.from_json(data))
        self.streamed = self.streamed or not first
        if self.refused and first:
            self.streamed = False  # Google refuses with an error's JSON under the content type of a stream
        self._finish()

    @property
    def status(self) -> int | None:
        """The HTTP status; None when no response came."""
        return self.head.status if self.head else None

    @property
    def ok(self) -> bool:
        """A response came and its status is 2xx."""
        return self.head is not None and 200 <= self.head.status < 300

    @property
    def refused(self) -> bool:
        """A response came and its status says that the request failed."""
        return self.head is not None and self.head.status >= 400

    def json(self) -> Any:
        """The value of a body that is no stream; None where there is none or it is no JSON (then flagged).

        An error that is alone in a list is that error: Google's servers refuse so, whatever the protocol.
        """
        if not self.body:
            return None
        try:
            value = parse(self.body)
        except ValueError:
            self.flags.add("malformed_json")
            return None
        alone = isinstance(value, list) and len(value) == 1 and dig(value[0], "error") is not None
        return value[0] if alone else value

    def broken(self, position: int) -> None:
        """An event's payload is not what its name promises: noted, and the reading goes on."""
        self.flags.add("malformed_json")
        if len(self.malformed) < _MOST_NAMES:
            self.malformed.append(position)

    def unheard(self, name: str) -> None:
        """An event of a name that this dialect does not know."""
        if name in self.unknown or len(self.unknown) < _MOST_NAMES:
            self.unknown[name] = self.unknown.get(name, 0) + 1

    def judge(self, *, asked: bool, terminal: bool, marker: bool) -> tuple[str, ...]:
        """The flags, with those that tell a silent truncation. SDKs end such streams without an error.

        asked: the request wanted a stream. terminal: the protocol said how it ended. marker: the end marker was seen,
        or none is due.
        """
        if self.refused:
            self.flags.add("http_error")
        elif self.ok:
            if asked and not self.streamed:
                self.flags.add("not_sse")
            if (asked or self.streamed) and not terminal:
                self.flags.add("no_terminal_event")
            if self.streamed and not marker:
                self.flags.add("no_end_marker")
        return tuple(sorted(self.flags))

    def facts(self) -> dict[str, Any]:
        """What every dialect keeps of the response beside its own facts."""
        return without_absent(
            http_status=self.status, malformed=self.malformed or None, unknown_events=self.unknown or None
        )

    def _headers(self, head: Head) -> None:
        self.head = head
        content_type = head.get("content-type") or ""
        self.streamed = content_type.split(";")[0].strip().lower() == "text/event-stream"

    def _piece(self, position: int, data: bytes | None) -> None:
        if self.body_position is None:
            self.body_position = position
        if data is None:
            self.flags.add("payload_missing")
        else:
            self._rest.append(data)

    def _too_large(self) -> None:
        self.flags.add("oversize_frame")
        self._rest.clear()

    def _finish(self) -> None:
        if not self.streamed:
            self.body = b"".join(self._rest)
        elif self._rest:
            end = b"".join(self._rest[-2:])[-3:]
            self.flags.add("oversize_frame" if end.endswith(_BLANK_LINES) else "unterminated_tail")
        self._rest = []


#: Pieces of a text are joined in batches of as many, and their marks thinned out above as many: memory grows with the
#: text and not with the number of events that brought it.
_PIECES: Final = 8192
_MARKS: Final = 65536


class _Text:
    """One text in pieces; see `Texts`. Above `_MARKS` pieces only every second, fourth, ... one is told apart."""

    __slots__ = ("_chunks", "_length", "_offsets", "_positions", "_stride", "_times", "pieces", "positions", "times")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.positions = array("q")
        self.times = array("q")
        self._chunks: list[str] = []
        self._length = 0
        self._offsets, self._positions, self._times = array("q"), array("q"), array("q")
        self._stride = 1

    def fold(self) -> None:
        """Join what has come since the last time."""
        if not self.pieces:
            return
        offsets = array("q", accumulate(map(len, self.pieces), initial=self._length))
        self._length = offsets.pop()
        self._chunks.append("".join(self.pieces))
        self._offsets += offsets[:: self._stride]
        self._positions += self.positions[:: self._stride]
        self._times += self.times[:: self._stride]
        self.pieces, self.positions, self.times = [], array("q"), array("q")
        if len(self._offsets) > _MARKS:
            self._offsets, self._positions = self._offsets[::2], self._positions[::2]
            self._times = self._times[::2]
            self._stride *= 2

    def text(self) -> str:
        """The whole text so far."""
        self.fold()
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return self._chunks[0] if self._chunks else ""

    def spoken(self, kind: str, name: str | None, *, ended: bool) -> Spoken:
        return Spoken(
            kind=kind,
            text=self.text(),
            name=name,
            ended=ended,
            offsets=self._offsets,
            positions=self._positions,
            times=self._times,
        )


class Texts:
    """Text that arrives in pieces, by where it belongs; order of first appearance. Cheap for thousands of pieces."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: dict[Any, _Text] = {}

    def add(self, key: Any, text: str, position: int, elapsed_us: int | None) -> None:
        """One more piece of the text called `key`, and the event that it came with (None: no stream)."""
        told = self._texts.get(key)
        if told is None:
            self._texts[key] = told = _Text()
        told.pieces.append(text)
        told.positions.append(position)
        if elapsed_us is not None:
            told.times.append(elapsed_us)
        if len(told.pieces) >= _PIECES:
            told.fold()

    def items(self) -> Iterator[tuple[Any, str]]:
        """Each key with its text so far."""
        for key, told in self._texts.items():
            yield key, told.text()

    def cleaned(self) -> Iterator[tuple[Any, str]]:
        """The same, as every database can hold it."""
        for key, text in self.items():
            yield key, storable(text)

    def joined(self) -> str | None:
        """All of it, one text after the other; None where none ever began."""
        return storable("".join(text for _, text in self.items())) if self._texts else None

    def spoken(self, key: Any, kind: str, *, name: str | None = None, ended: bool = True) -> Spoken:
        """The text called `key` with what is known of its pieces; an empty one where it never began."""
        told = self._texts.get(key)
        return (
            Spoken(kind=kind, text="", name=name, ended=ended) if told is None else told.spoken(kind, name, ended=ended)
        )


def is_token(value: object) -> bool:
    """Whether a piece of a stream shows something: a string that is not empty."""
    return isinstance(value, str) and value != ""


# -- what it amounts to -----------------------------------------------------------------------------------------------

#: Facts that are worth a flag wherever there are any.
_FLAGS: Final[Mapping[str, str]] = {
    "disagreements": "disagreement",
    "echo_differs": "echo_differs",
    "limits": "outside_limits",
}


def flags_of(facts: Mapping[str, Any], **found: object) -> set[str]:
    """The flags that facts raise by being there, and the names of what else was found."""
    return {flag for fact, flag in _FLAGS.items() if fact in facts} | {name for name, is_so in found.items() if is_so}


def error_told(error: Mapping[str, Any] | None, position: int | None) -> tuple[dict[str, Any] | None, str | None]:
    """An error as evidence, with the position of the event that told it, and apart from that its message, which is
    content. (None, None) where there was no error; {} is one that says nothing."""
    if error is None:
        return None, None
    evidence = {name: value for name, value in error.items() if name != "message"}
    return evidence | without_absent(position=position), error.get("message")


#: What a neutral stop reason follows from when nothing but the status is said.
REASON_OF_STATUS: Final[Mapping[str, str]] = {
    Status.COMPLETED: StopReason.STOP,
    Status.REQUIRES_ACTION: StopReason.TOOL_CALL,
    Status.FAILED: StopReason.ERROR,
    Status.CANCELLED: StopReason.CANCELLED,
    Status.EXPIRED: StopReason.EXPIRED,
}

#: Of several answers to one request the one with the most to tell stands for all.
WEIGHT: Final[Mapping[Status, int]] = {
    Status.COMPLETED: 0,
    Status.REQUIRES_ACTION: 1,
    Status.UNKNOWN: 2,
    Status.INCOMPLETE: 3,
    Status.CANCELLED: 4,
    Status.FAILED: 5,
}

#: `code` or `type` of an error that says more than that there was one: OpenAI and Azure; llama.cpp's server.
_ERRORS: Final[Mapping[str, StopReason]] = {
    "content_filter": StopReason.CONTENT_FILTER,
    "context_length_exceeded": StopReason.INPUT_LIMIT,
    "exceed_context_size_error": StopReason.INPUT_LIMIT,
}


def reason_of_error(error: Mapping[str, Any]) -> StopReason:
    """The stop reason of an error, as `error_of` tells it: a filter or a full context where it says so."""
    return _ERRORS.get(error.get("code", "")) or _ERRORS.get(error.get("type", "")) or StopReason.ERROR
