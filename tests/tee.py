"""A passive listener between an HTTP client and its transport: the bytes that crossed, and how each body ended.

Written without recorder, so that it can stand beside it as the second opinion: wrap the client with a Tee first and
with recorder on top, and both have seen the same chunks. It passes on every chunk and every exception as they come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Exchange:
    """One exchange at the transport: its chunks as delivered, undecoded.

    `ended`: None while the body flows, `eof`, `closed` (the client let go before the end), or the class name of the
    exception that the transport raised, in the head's or in the body's phase. `status` is None where no head came.
    """

    method: str
    path: str
    status: int | None = None
    chunks: list[bytes] = field(default_factory=list)
    ended: str | None = None

    def end(self, how: str) -> None:
        """Note the ending; the first one counts."""
        if self.ended is None:
            self.ended = how


class Tee:
    """Listens to every exchange of the httpx or httpx2 clients it is called with; takes openai clients too."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def __call__(self, client: Any) -> None:
        """Wrap the client's transport in place."""
        http = getattr(client, "_client", client)
        http._transport = _Transport(http._transport, self.exchanges)


class _Transport:
    """Both colours at once: clients only ever call the methods of their own."""

    def __init__(self, inner: Any, exchanges: list[Exchange]) -> None:
        self._inner = inner
        self._exchanges = exchanges

    def _begin(self, request: Any) -> Exchange:
        exchange = Exchange(request.method, request.url.raw_path.decode())
        self._exchanges.append(exchange)
        return exchange

    def handle_request(self, request: Any) -> Any:
        exchange = self._begin(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            exchange.end(type(error).__name__)
            raise
        exchange.status = response.status_code
        response.stream = _stream_class(response.stream)(response.stream, exchange)
        return response

    async def handle_async_request(self, request: Any) -> Any:
        exchange = self._begin(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            exchange.end(type(error).__name__)
            raise
        exchange.status = response.status_code
        response.stream = _stream_class(response.stream)(response.stream, exchange)
        return response

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Stream:
    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._exchange.chunks.append(chunk)
                yield chunk
        except GeneratorExit:
            self._exchange.end("closed")
            raise
        except BaseException as error:
            self._exchange.end(type(error).__name__)
            raise
        self._exchange.end("eof")

    def close(self) -> None:
        self._exchange.end("closed")
        self._inner.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._exchange.chunks.append(chunk)
                yield chunk
        except GeneratorExit:
            self._exchange.end("closed")
            raise
        except BaseException as error:
            self._exchange.end(type(error).__name__)
            raise
        self._exchange.end("eof")

    async def aclose(self) -> None:
        self._exchange.end("closed")
        await self._inner.aclose()


def _stream_class(inner: Any) -> type[_Stream]:
    """A stream class that passes the client's isinstance checks: one that the inner stream's class also inherits."""
    bases = [
        base
        for base in type(inner).__mro__
        if base.__name__ in {"SyncByteStream", "AsyncByteStream"} and base is not object
    ]
    return type("TeeStream", (_Stream, *bases), {})
