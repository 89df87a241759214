"""A replay or recording server on a thread of this process: for subprocesses, and for clients that cannot be patched.

It listens on loopback alone, on a port of its own, and ends with the tape.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from recorder.errors import RecorderError, StoreUnavailable
from recorder.wire import loop_factory

if TYPE_CHECKING:
    from recorder.proxy import Routes
    from recorder.replay import Player
    from recorder.replay_server import Faults
    from recorder.transport.exchange import Sink

__all__ = ["Serving", "adding_service", "recording_service", "replaying_service"]

#: Seconds for the server to listen, and to end.
_PATIENCE: Final = 10.0


class Service(Protocol):
    """What the replay server and the recording proxy have in common. It is made on the loop that runs it."""

    async def start(self, host: str, port: int) -> tuple[str, int]: ...

    def abort(self) -> None: ...


class Serving:
    """A server while it is open. `base_url` is where it listens. Raises StoreUnavailable where it cannot."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.base_url = ""
        self._thread = threading.Thread(target=self._run, name="recorder-tape", daemon=True)
        self._thread.start()
        if not self._ready.wait(_PATIENCE) or self._failure is not None:
            raise StoreUnavailable(f"the tape's server does not start: {self._why()}") from self._failure

    def _why(self) -> str:
        return "it does not answer" if self._failure is None else str(self._failure)

    def close(self) -> None:
        """End it; streams that are under way break off."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise RecorderError("the tape's server does not end; a stream that it serves is stuck")

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                self._loop = runner.get_loop()
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (told to whoever waits)
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        service = self._make()
        host, port = await service.start("127.0.0.1", 0)
        self.base_url = f"http://{host}:{port}"
        self._ready.set()
        await self._stop.wait()
        service.abort()
        await asyncio.sleep(0)  # so that what was cut off can end


def replaying_service(player: Player, routes: Routes, faults: Faults | None) -> Callable[[], Any]:
    """What makes a server that answers from a tape, under the paths at which these upstreams were recorded."""

    def make() -> Any:
        from recorder.replay_server import Mounts, Service

        return Service(player, mounts=Mounts({route.name: route.prefix for route in routes.all}), faults=faults)

    return make


def adding_service(player: Player, routes: Routes, sink: Sink) -> Callable[[], Any]:
    """What makes a server that answers from a tape, and forwards and records what the tape has no answer for."""
    proxy = recording_service(sink, routes)

    def make() -> Any:
        from recorder.replay_server import Mounts, Service

        behind = proxy()
        mounts = Mounts({route.name: route.prefix for route in routes.all})
        return _Both(Service(player, mounts=mounts, onward=behind.serve), behind)

    return make


class _Both:
    """A server, and what stands behind it, which does not listen by itself."""

    def __init__(self, front: Service, behind: Service) -> None:
        self._front = front
        self._behind = behind

    async def start(self, host: str, port: int) -> tuple[str, int]:
        return await self._front.start(host, port)

    def abort(self) -> None:
        self._front.abort()
        self._behind.abort()


def recording_service(sink: Sink, routes: Routes) -> Callable[[], Any]:
    """What makes a proxy that records into `sink`; what comes to its root goes to openai's upstream, if it has one."""

    def make() -> Any:
        from recorder.proxy import Routes, Service

        every = {route.name: route for route in routes.all}
        every.setdefault("", every.get("openai", routes.all[0])._replace(name=""))
        return Service(Routes(every.values()), sink)

    return make
