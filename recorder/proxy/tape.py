"""The recording of one proxied exchange: what is known of the request, when it begins, what came back, how it ended.

It begins before anything is sent on where the request is whole by then; else once its body has passed, so that the body
is in the record. Nothing here raises, blocks, or touches what is forwarded. It refuses to know sockets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from recorder import redact
from recorder.recording import Captured, Head, HeaderList, Request, Transport, uuid7
from recorder.transport.caller import caller
from recorder.transport.exchange import Sink, Upload, describe, guarded
from recorder.wire import OUR_HEADERS, RequestHead, header
from recorder.writer import NullTap, Tap

__all__ = ["Calls", "Tape", "stored_headers"]

#: Calls whose repetitions are recognised.
_REMEMBERED: Final = 1024

#: Where openai and anthropic say that a request is a repetition; 0 is the first attempt.
_RETRIES: Final = "x-stainless-retry-count"


class Calls:
    """Links the attempts of one call: the same request again, by an SDK that says it repeats."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, UUID] = OrderedDict()

    def of(self, request: Request) -> UUID:
        """The call that this attempt belongs to."""
        body = request.body if request.body is not None else request.body_sha256 or b""
        key = hash((request.method, request.url, body))  # of this process alone, as the calls are
        repeated = (header(request.headers, _RETRIES) or "0") != "0"
        call = (self._known.get(key) if repeated else None) or uuid7()
        self._known[key] = call
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return call


def stored_headers(head: RequestHead, authority: str) -> HeaderList:
    """The request's headers as they are recorded: without ours, and with the Host that the upstream is asked under."""
    return tuple(
        (name, authority if name.lower() == "host" else value)
        for name, value in head.headers
        if not name.lower().startswith(OUR_HEADERS)
    )


def tags_of(lines: Iterable[str]) -> dict[str, str]:
    """The tags that `X-Recorder-Tag: k=v` sets; several in several lines, or separated by commas."""
    tags: dict[str, str] = {}
    for line in lines:
        for part in line.split(","):
            name, equals, value = part.strip().partition("=")
            if equals and name:
                tags[name] = value
    return tags


class Tape:
    """One exchange on its way into the store."""

    __slots__ = ("_calls", "_early", "_head", "_headers", "_over", "_sink", "_tap", "_upload", "_url")

    def __init__(
        self, sink: Sink, calls: Calls, head: RequestHead, *, url: str, authority: str, body_limit: int
    ) -> None:
        self._sink = sink
        self._calls = calls
        self._head = head
        self._url = url
        self._headers = stored_headers(head, authority)
        #: What passed of the request; None once the recording has begun.
        self._upload: Upload | None = Upload(body_limit)
        self._early: list[Head] = []
        self._tap: Tap | None = None
        self._over = False

    def sent(self, piece: bytes) -> None:
        """A piece of the request's body passed."""
        if self._upload is not None:
            self._upload.add(piece)

    def uploaded(self) -> None:
        """The request has passed whole."""
        if self._upload is not None:
            self._upload.complete = True
        self._open()

    def info(self, head: Head) -> None:
        """A 1xx answer came."""
        if self._tap is None:
            self._early.append(head)
        else:
            self._tap.info(head)

    def head(self, head: Head) -> None:
        """The response's head came."""
        self._open().head(head)

    def pieces(self, pieces: Iterable[bytes]) -> None:
        """Pieces of the response's body came. The hot path."""
        assert self._tap is not None
        note = self._tap.data
        for piece in pieces:
            note(piece)

    def end(self, ending: Transport, *, trailers: HeaderList = (), left: bool = False) -> None:
        """The exchange is over. `left`: its client had gone before."""
        detail: dict[str, Any] = {}
        if trailers:
            detail["trailers"] = [list(pair) for pair in redact.keep_response_headers(trailers)]
        if left:
            detail["client"] = "left before the end; the rest was read on purpose"
        self._end(ending, detail)

    def failed(self, ending: Transport, error: BaseException) -> None:
        """The exchange broke."""
        self._end(ending, guarded(describe, error, self._head.headers) or {})

    def tunnelled(self) -> None:
        """The connection was upgraded: what passes from here on is not recorded."""
        detail = {"reason": "the connection was upgraded; what passed over it is not recorded"}
        self._end(Transport.EOF, detail, captured=Captured.TRUNCATED)

    def _end(self, ending: Transport, detail: Mapping[str, Any], *, captured: Captured = Captured.FULL) -> None:
        if not self._over:
            self._over = True
            self._open().end(ending, captured=captured, detail=detail)

    def _open(self) -> Tap:
        tap = self._tap
        if tap is None:
            upload, self._upload = self._upload, None
            tap = self._tap = (upload and guarded(self._begin, upload)) or NullTap()
            for head in self._early:
                tap.info(head)
            self._early.clear()
        return tap

    def _begin(self, upload: Upload) -> Tap | None:
        request = upload.request(self._head.method, self._url, self._headers)
        told = caller(request, self._calls.of(request))
        tap = self._sink.start(
            request,
            started_at=upload.begun[0],
            session=self._head.get("x-recorder-session") or told["session"],
            trace=told["trace"],
            call=told["call"],
            tags={**told["tags"], **tags_of(self._head.values("x-recorder-tag"))},
        )
        if tap is not None and not isinstance(tap, NullTap):
            tap.started = upload.begun[1]  # all elapsed times count from here
        return tap
