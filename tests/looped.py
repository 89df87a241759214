"""What serves on an event loop of its own, on a thread of this process: how it comes up, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from recorder.wire import loop_factory

__all__ = ["PATIENCE", "Looped"]

#: Seconds that coming up, ending, and a call may take.
PATIENCE = 30.0


class Looped(ABC):
    """A server as a context manager. What goes wrong on its loop, or is complained of there, fails the test."""

    def __init__(self, *, plain_loop: bool) -> None:
        self._factory: Callable[[], asyncio.AbstractEventLoop] = (
            asyncio.new_event_loop if plain_loop else loop_factory()
        )
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._complaints: list[dict[str, Any]] = []

    @abstractmethod
    async def listen(self) -> None:
        """Come up. Called on the loop."""

    @abstractmethod
    def abort(self) -> None:
        """End everything now. Called on the loop."""

    def released(self) -> None:  # noqa: B027 (most have nothing to give back)
        """The loop has ended: give back what is left."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"
        self.released()
        if error is None:
            assert self._complaints == [], "the event loop complained"
            if self._failure is not None:
                raise self._failure

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function on the server's event loop and give what it gives."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                self.loop = runner.get_loop()
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self.loop.set_exception_handler(lambda _, context: self._complaints.append(context))
        self._stop = asyncio.Event()
        await self.listen()
        self._started.set()
        await self._stop.wait()
        self.abort()
        await asyncio.sleep(0)
