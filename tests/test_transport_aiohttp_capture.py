"""What aiohttp alone can do: middlewares, kept connections that broke, proxies, upgrades, time limits, leaving."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest

from recorder.handle import Handle
from tests.instrumented import ending, recordings
from tests.loopback import (
    LAST_CHUNK,
    PATIENCE,
    Act,
    Loopback,
    Request,
    Step,
    chunk,
    head,
    stream_head,
    stream_script,
)
from tests.payloads import CHAT

pytest_plugins = ("tests.instrumented",)

BODY = b"".join(CHAT)


def endings(handle: Handle) -> list[tuple[str, int | None]]:
    return [(ending(recording).ending, ending(recording).http_status) for recording in recordings(handle)]


Calls = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Any]]


def run(calls: Calls, instrument: Callable[[Any], object] | None = None, **options: Any) -> Any:
    """What the calls give, or the class and the words of what they raise."""

    async def main() -> Any:
        async with aiohttp.ClientSession(**options) as session:
            if instrument is not None:
                instrument(session)
            try:
                return await calls(session)
            except Exception as error:
                return type(error), str(error)

    return asyncio.run(main())


def replayed(handle: Handle, calls: Calls, **options: Any) -> Any:
    recordings(handle)
    with handle.replay(include_partial=True) as replay:
        return run(calls, replay.instrument, **options)


def test_each_attempt_that_a_middleware_makes_is_a_recording_of_one_call(handle: Handle) -> None:
    async def again(request: Any, handler: Any) -> Any:
        response = await handler(request)
        if response.status == 503:
            response.release()
            response = await handler(request)
        return response

    async def calls(session: aiohttp.ClientSession) -> bytes:
        async with session.post(server.url, json={"n": 1}) as response:
            return await response.read()

    busy = head("503 Service Unavailable", "Content-Length: 2") + b"{}"
    with Loopback([[busy], stream_script(BODY)]) as server:
        assert run(calls, handle.instrument, middlewares=[again]) == BODY
        made = recordings(handle)
        assert [status for _, status in endings(handle)] == [503, 200]
        assert made[0].call == made[1].call is not None
        assert replayed(handle, calls, middlewares=[again]) == BODY


def test_a_kept_connection_that_broke_is_a_recording_and_its_repetition_another(handle: Handle) -> None:
    async def calls(session: aiohttp.ClientSession) -> list[bytes]:
        return [await (await session.get(f"{server.url}/{number}")).read() for number in range(2)]

    with Loopback([stream_script(BODY), [Act.RESET], stream_script(BODY)]) as server:
        assert run(calls, handle.instrument) == [BODY, BODY]
        assert endings(handle) == [("eof", 200), ("reset", None), ("eof", 200)]
        assert replayed(handle, calls) == [BODY, BODY]


def test_a_proxy_of_the_environment_is_used_while_recording_and_not_on_replay(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def calls(session: aiohttp.ClientSession) -> bytes:
        return await (await session.get("http://api.test/v1")).read()

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Loopback([stream_script(BODY)]) as server:
        monkeypatch.setenv("http_proxy", server.url)
        assert run(calls, handle.instrument, trust_env=True) == BODY
        assert server.requests[0].target == b"http://api.test/v1"
        (recording,) = recordings(handle)
        assert recording.request.url == "http://api.test/v1"
        assert replayed(handle, calls, trust_env=True) == BODY
        assert len(server.requests) == 1


def test_a_connection_that_is_upgraded_is_recorded_as_its_head_alone(handle: Handle) -> None:
    from aiohttp import web

    async def main() -> str:
        async def echo(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data + "!")
                break
            await socket.close()
            return socket

        app = web.Application()
        app.router.add_get("/", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session:
            handle.instrument(session)
            async with session.ws_connect(f"http://127.0.0.1:{runner.addresses[0][1]}/") as socket:
                await socket.send_str("hello")
                said = await socket.receive_str()
        await runner.cleanup()
        return said

    assert asyncio.run(main()) == "hello!"
    (recording,) = recordings(handle)
    assert (ending(recording).http_status, ending(recording).captured) == (101, "truncated")
    assert "upgraded" in ending(recording).detail["reason"]


@pytest.mark.parametrize("when", ["head", "body"])
def test_a_time_limit_for_everything_is_a_timeout(handle: Handle, when: str) -> None:
    script: list[Any] = [Act.HOLD] if when == "head" else [stream_head(), chunk(CHAT[0]), Act.HOLD]

    async def calls(session: aiohttp.ClientSession) -> bytes:
        async with session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.3)) as response:
            return await response.read()

    with Loopback([script], repeat_last=True) as server:
        bare = run(calls)
        assert run(calls, handle.instrument) == bare
    assert bare[0] is TimeoutError
    assert [how for how, _ in endings(handle)] == ["timeout"]
    assert replayed(handle, calls) == bare


def test_a_limit_of_the_client_on_lines_is_no_failure_of_the_network(handle: Handle) -> None:
    long = b"data: " + b"x" * 5000 + b"\n\n"

    async def calls(session: aiohttp.ClientSession) -> tuple[str, bytes]:
        async with session.get(server.url) as response:
            try:
                await response.content.readuntil(b"\n", max_size=1000)
            except Exception as error:
                return type(error).__name__, await response.content.read()
        raise AssertionError

    with Loopback([stream_script(long + BODY, cuts=[len(long)])], repeat_last=True) as server:
        bare = run(calls)
        assert run(calls, handle.instrument)[0] == bare[0] == "LineTooLong"
    (recording,) = recordings(handle)
    assert ending(recording).ending == "eof"
    assert handle.body(recording.recording_id) == long + BODY


def test_bytes_that_a_reader_puts_back_are_recorded_once(handle: Handle) -> None:
    async def calls(session: aiohttp.ClientSession) -> bytes:
        async with session.get(server.url) as response:
            first = await response.content.read(20)
            with pytest.warns(DeprecationWarning, match="unread_data"):
                response.content.unread_data(first)
            return await response.read()

    with Loopback([stream_script(BODY)]) as server:
        assert run(calls, handle.instrument) == BODY
        (recording,) = recordings(handle)
        assert handle.body(recording.recording_id) == BODY


def test_a_replay_has_the_settings_of_the_session(handle: Handle) -> None:
    """Base URL, headers, raise_for_status, response class, and codings that stay on."""

    class Own(aiohttp.ClientResponse):
        pass

    async def calls(session: aiohttp.ClientSession) -> Any:
        async with session.get("/missing") as response:
            return isinstance(response, Own), response.headers["x-echo"]

    answer = head("404 Not Found", "X-Echo: \u00fc".encode(), "Content-Length: 2") + b"{}"
    with Loopback([[answer]], repeat_last=True) as server:
        options: dict[str, Any] = {"base_url": server.url, "response_class": Own}
        bare = run(calls, **options)
        assert run(calls, handle.instrument, **options) == bare == (True, "\u00fc")
        assert replayed(handle, calls, **options) == bare
        failing = run(calls, raise_for_status=True, **options)
        assert failing[0] is aiohttp.ClientResponseError
        assert replayed(handle, calls, raise_for_status=True, **options) == failing


async def _close(response: aiohttp.ClientResponse) -> None:
    response.close()


async def _exit(response: aiohttp.ClientResponse) -> None:
    async with response:
        pass


async def _cancel(response: aiohttp.ClientResponse) -> None:
    async def read() -> None:
        async with response:
            await response.content.read()

    task = asyncio.create_task(read())
    async with asyncio.timeout(PATIENCE):
        while not response.content.total_bytes:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)  # what came is read in the next turn of the loop; then it waits for more
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("leave", [_close, _exit, _cancel])
@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_leaves_is_recorded_as_such_and_missed_by_the_upstream(
    handle: Handle, leave: Callable[[aiohttp.ClientResponse], Coroutine[Any, Any, None]], reads: bool
) -> None:
    async def calls(session: aiohttp.ClientSession) -> bytes:
        response = await session.get(server.url)
        piece = await response.content.readany() if reads else b""
        await leave(response)
        return piece

    with Loopback([[stream_head(), chunk(CHAT[0]), Act.HOLD]]) as server:
        assert run(calls, handle.instrument) == CHAT[0] * reads
        assert server.wait_gone()
    (recording,) = recordings(handle)
    assert ending(recording).ending == "client_closed"
    assert handle.body(recording.recording_id) == CHAT[0] * (reads or leave is _cancel)
    assert replayed(handle, calls) == CHAT[0] * reads


def test_a_replay_is_paced_when_it_is_asked_to_be(handle: Handle) -> None:
    """The pieces are those that came, whatever the pace; others run meanwhile."""

    taken = threading.Semaphore(0)

    async def calls(session: aiohttp.ClientSession) -> list[bytes]:
        pieces = []
        async with session.get(server.url) as response:
            async for piece in response.content.iter_any():
                pieces.append(piece)
                taken.release()
        return pieces

    def script(_: Request) -> Iterator[Step]:
        yield stream_head()
        for part in CHAT[:2]:
            yield chunk(part)
            assert taken.acquire(timeout=PATIENCE)  # else a client that is late takes two for one
            yield 0.05
        yield LAST_CHUNK

    with Loopback([script]) as server:
        assert run(calls, handle.instrument) == list(CHAT[:2])
    recordings(handle)
    for pace in ("recorded", "x4", "instant"):
        with handle.replay(pace=pace) as replay:
            assert run(calls, replay.instrument) == list(CHAT[:2])
