"""One request and the response to it, towards a client: what an application holds, and what it must be able to hear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from recorder.recording import Head, HeaderList

from .bodies import Framing
from .heads import Refused, RequestHead, header, phrase, tokens, write_fields

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["UNHEARD", "Application", "Companion", "Exchange", "Receiver"]

#: What one hop says to the next, and is never passed on (RFC 9110 section 7.6.1). `Connection` and the two framing
#: headers are decided by themselves.
_HOP: Final = frozenset({"keep-alive", "proxy-connection", "te"})


class Receiver(Protocol):
    """What an application does with the rest of a request, and with what becomes of its client."""

    def body(self, data: bytes) -> None:
        """The next piece of the request's body. After `Exchange.tunnel`: bytes as they came."""

    def complete(self, trailers: HeaderList) -> None:
        """The request is whole. Called once, also where there is no body."""

    def lost(self) -> None:
        """The client has gone before the response was finished, or its request broke. Nothing can be written."""

    def pause(self) -> None:
        """The client reads more slowly than is written: write no more until `resume`, as far as that is possible."""

    def resume(self) -> None:
        """The client has taken most of what was written."""


class _Unheard:
    """Hears nothing."""

    def body(self, data: bytes) -> None:
        pass

    def complete(self, trailers: HeaderList) -> None:
        pass

    def lost(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


#: Who hears what follows a request that was answered already, or what comes while no exchange is under way.
UNHEARD: Final[Receiver] = _Unheard()

Application = Callable[["Exchange"], Receiver]


class Companion(Protocol):
    """What an application keeps beside a client's connection, from one exchange to the next."""

    def client_left(self) -> None:
        """The connection is over."""


class Exchange:
    """One request and the response to it, towards a client.

    head, framing: the request as it was read. `framing.NONE` where no body follows.
    connection: what it came over; outlives the exchange.
    write: bytes straight to the client. Only after `respond` or `raw`, and framed as these said.
    """

    __slots__ = ("_closes", "begun", "connection", "framing", "head", "unframed", "write")

    def __init__(self, connection: Connection, head: RequestHead, framing: Framing, transport: asyncio.Transport):
        self.connection = connection
        self.head = head
        self.framing = framing
        self.write = transport.write
        #: Whether anything of the final response was written.
        self.begun = False
        #: Whether what is written is no response that we understand: nobody here knows where it ends.
        self.unframed = False
        options = head.tokens("connection")
        self._closes = head.version == "1.0" or "close" in options

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this exchange."""
        return self._closes

    def check_question(self) -> None:
        """Raises Refused where this is no plain question, such as what we tell of ourselves answers."""
        if self.head.method not in ("GET", "HEAD"):
            raise Refused(405, "only GET is served here")
        if self.framing is not Framing.NONE:
            raise Refused(400, "a body has no meaning here")

    def info(self, head: Head) -> None:
        """Send a 1xx answer; an HTTP/1.0 client gets none (RFC 9110 section 15.2)."""
        if self.head.version != "1.0":
            self.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, _reason(head), write_fields(head.headers)))

    def respond(self, head: Head, framing: Framing) -> Framing:
        """Send the response's head; gives the framing in which the body is to be written.

        Headers go out in order as given, but for those that concern one hop; the two that frame the body are kept
        where they are true. An HTTP/1.0 client gets no chunks: then, and for `Framing.CLOSE`, the end of the
        connection ends the body.
        """
        old = head.http_version == "HTTP/1.0"
        if framing is Framing.CHUNKED and (old or self.head.version == "1.0"):
            framing = Framing.CLOSE
        options = tokens(head.headers, "connection")
        if old or framing is Framing.CLOSE or "close" in options or self.connection.stopping:
            self._closes = True
        headers = self._headers(head, framing, options)
        version = b"1.0" if old else b"1.1"
        self.write(b"HTTP/%b %d %b\r\n%b\r\n" % (version, head.status, _reason(head), write_fields(headers)))
        self.begun = True
        return framing

    def _headers(self, head: Head, framing: Framing, options: list[str]) -> list[tuple[str, str]]:
        if head.status == 101:
            return list(head.headers)
        said = options == ["close" if self._closes else "keep-alive"]
        drop = _HOP.union(options)
        drop = drop if said else drop | {"connection"}
        if head.status != 426:
            drop |= {"upgrade"}
        chunked = framing is Framing.CHUNKED
        if chunked:
            drop |= {"content-length"}
        elif framing in (Framing.LENGTH, Framing.CLOSE):
            drop |= {"transfer-encoding"}
        headers = [(name, value) for name, value in head.headers if name.lower() not in drop]
        if chunked and header(headers, "transfer-encoding") is None:
            headers.append(("Transfer-Encoding", "chunked"))
        if self._closes and not said and framing is not Framing.CLOSE:
            headers.append(("Connection", "close"))
        return headers

    def raw(self) -> None:
        """What is written from here on is no response that we understand: the connection ends with it."""
        self.begun = self.unframed = self._closes = True

    def answer(
        self, status: int, body: bytes, content_type: str = "application/json", headers: HeaderList = ()
    ) -> None:
        """Send a whole response of our own and finish. A body that is still coming is not waited for."""
        if not self.connection.uploaded:
            self._closes = True
        fields = (("Content-Type", content_type), ("Content-Length", str(len(body))), *headers)
        head = Head(status, phrase(status), "HTTP/1.1", (*fields, ("Cache-Control", "no-store")))
        self.respond(head, Framing.LENGTH)
        if self.head.method != "HEAD":
            self.write(body)
        self.finish()

    def refuse(self, refusal: Refused) -> None:
        """Answer with the refusal's status and reason, as an error that SDKs show and do not retry."""
        retry = () if refusal.status == 503 else (("x-should-retry", "false"),)
        body = {"error": {"message": f"recorder: {refusal}", "type": "recorder_refused", "code": refusal.status}}
        self.answer(refusal.status, json.dumps(body).encode(), headers=retry)

    def finish(self) -> None:
        """The response was written to its end."""
        self.connection.finished(self)

    def cut(self) -> None:
        """End the connection with a FIN behind what was written, in the middle of the response or before it."""
        self.connection.cut(self)

    def reset(self) -> None:
        """End the connection with a RST once what was written has arrived."""
        self.connection.reset(self)

    def tunnel(self) -> None:
        """From here on bytes pass as they come, in both directions, until one side ends."""
        self._closes = True
        self.connection.tunnel(self)

    def pause_body(self) -> None:
        """Read no more of the request's body for now."""
        self.connection.hold(self, paused=True)

    def resume_body(self) -> None:
        """Read on."""
        self.connection.hold(self, paused=False)


def _reason(head: Head) -> bytes:
    return head.reason.encode("latin-1")
