"""What httpx and httpx2 call things, in recorder's words; and a transport that stands around another."""

from __future__ import annotations

from importlib import import_module
from types import TracebackType
from typing import Any, Self

from recorder.recording import Head, HeaderList, Transport
from recorder.writer import Tap

from .exchange import describe, guarded

__all__ = ["Library", "Wrapper", "body_of", "headers_of"]


class Library:
    """What differs between the modules, and how their values read in ours."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._endings: tuple[tuple[Any, Transport], ...] = (
            (
                (
                    module.ConnectError,
                    module.ConnectTimeout,
                    module.PoolTimeout,
                    module.ProxyError,
                    module.UnsupportedProtocol,
                ),
                Transport.CONNECT_ERROR,
            ),
            (module.TimeoutException, Transport.TIMEOUT),
            (module.NetworkError, Transport.RESET),
            (module.ProtocolError, Transport.PROTOCOL_ERROR),
        )

    def libraries(self) -> dict[str, Any]:
        """Which module stands for which package that a recording may name."""
        core = import_module(self.module.__name__.replace("httpx", "httpcore"))
        return {"httpx": self.module, "httpx2": self.module, "httpcore": core, "httpcore2": core}

    def ending(self, error: BaseException) -> Transport:
        """How the transport ended by this exception. What is no `Exception` (a cancellation) is the client leaving."""
        if not isinstance(error, Exception):
            return Transport.CLIENT_CLOSED
        return next((ending for kinds, ending in self._endings if isinstance(error, kinds)), Transport.ERROR)

    def end(self, tap: Tap, error: BaseException, request: Any) -> None:
        """End a recording by the exception that its client gets to see."""
        ending = self.ending(error)
        if ending is Transport.CLIENT_CLOSED:
            tap.end(ending)
        else:
            tap.end(ending, detail=guarded(describe, error, headers_of(request)) or {})

    def head(self, response: Any) -> Head:
        """The response's head as received."""
        version = response.extensions.get("http_version", b"HTTP/1.1").decode("latin-1")
        reason = response.extensions.get("reason_phrase")
        if reason is None:  # HTTP/2 has none; a transport that is no network means the usual one
            reason = b"" if version == "HTTP/2" else response.reason_phrase.encode("latin-1")
        return Head(response.status_code, reason.decode("latin-1"), version, headers_of(response))


def headers_of(message: Any) -> HeaderList:
    """The headers of a request or a response, in order and in the spelling of the wire."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.headers.raw)


def body_of(request: Any, library: Library) -> bytes | None:
    """The body of a request that is in memory; None where it is a stream."""
    try:
        body: bytes = request.content
    except library.module.RequestNotRead:
        return None
    return body


class Wrapper:
    """A transport around another, which it is taken for wherever it does not do its own work."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __enter__(self) -> Self:
        if self.inner is not None:
            self.inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.inner is not None:
            self.inner.__exit__(kind, error, traceback)

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()

    async def __aenter__(self) -> Self:
        if self.inner is not None:
            await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.inner is not None:
            await self.inner.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        if self.inner is not None:
            await self.inner.aclose()
