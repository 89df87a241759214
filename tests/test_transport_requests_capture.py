"""What requests alone can do: urllib3's repetitions, proxies, digest authentication, adapters, clients that leave."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3.util.retry import Retry

from recorder.handle import Handle
from tests.instrumented import ending, recordings
from tests.loopback import Act, Loopback, Refused, chunk, head, stream_head, stream_script
from tests.payloads import CHAT

pytest_plugins = ("tests.instrumented",)

BODY = b"".join(CHAT)
BUSY = head("503 Service Unavailable", "Retry-After: 0", "Content-Length: 2") + b"{}"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


def endings(handle: Handle) -> list[tuple[str, int | None]]:
    return [(ending(recording).ending, ending(recording).http_status) for recording in recordings(handle)]


def repeating(session: requests.Session, **retry: Any) -> requests.Session:
    retries = Retry(backoff_factor=0, allowed_methods=None, **retry)
    session.mount("http://", HTTPAdapter(max_retries=retries))
    return session


def test_each_attempt_of_urllib3_is_a_recording_of_one_call(handle: Handle, session: requests.Session) -> None:
    """A status that is repeated, and a connection that broke; on replay urllib3 repeats them again."""
    repeating(session, total=3, status_forcelist=[503])
    with Loopback([[BUSY], [Act.RESET], stream_script(BODY)]) as server:
        handle.instrument(session)
        assert session.post(server.url, json={"n": 1}).content == BODY
        made = recordings(handle)
        assert endings(handle) == [("eof", 503), ("reset", None), ("eof", 200)]
        assert len({recording.call for recording in made}) == 1
        with handle.replay() as replay:
            replay.instrument(session)
            response = session.post(server.url, json={"n": 1})
            assert response.content == BODY
            assert response.raw.retries is not None
            assert len(response.raw.retries.history) == 2
        assert len(server.requests) == 3


def test_attempts_that_all_fail_end_in_the_same_exception(handle: Handle, session: requests.Session) -> None:
    repeating(session, total=2, status_forcelist=[503])

    def failing(call: Callable[[], Any]) -> tuple[type, str]:
        with pytest.raises(requests.RequestException) as raised:
            call()
        return raised.type, str(raised.value)

    with Refused() as refused, Loopback([[BUSY]] * 6) as server:

        def both() -> list[tuple[type, str]]:
            return [failing(partial(session.post, url, json={})) for url in (refused.url, server.url)]

        bare = both()
        handle.instrument(session)
        assert both() == bare
    assert [how for how, _ in endings(handle)] == ["connect_error"] * 3 + ["eof"] * 3
    with handle.replay() as replay:
        replay.instrument(session)
        assert both() == bare


@pytest.mark.parametrize("answered", [True, False])
def test_a_proxy_is_used_while_recording_and_not_on_replay(
    handle: Handle, session: requests.Session, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the environment names; where it cannot be reached the exception is the same again."""
    session.trust_env = True
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    def call() -> Any:
        try:
            return session.get("http://api.test/v1").content
        except requests.RequestException as error:
            return type(error), str(error)

    with Loopback([stream_script(BODY)] * 2) as server, Refused() as nobody:
        monkeypatch.setenv("http_proxy", server.url if answered else nobody.url)
        bare = call()
        handle.instrument(session)
        assert call() == bare
        if answered:
            assert server.requests[1].target == b"http://api.test/v1"
        (recording,) = recordings(handle)
        assert recording.request.url == "http://api.test/v1"
        with handle.replay() as replay:
            replay.instrument(session)
            assert call() == bare
        assert len(server.requests) == 2 * answered
    assert (bare == BODY) is answered
    assert answered or bare[0] is requests.exceptions.ProxyError


def test_a_tunnel_that_is_refused_is_refused_again(handle: Handle, session: requests.Session) -> None:
    with Refused() as nobody:
        session.proxies = {"https": nobody.url}

        def call() -> tuple[type, str]:
            with pytest.raises(requests.exceptions.ProxyError) as raised:
                session.get("https://api.test/v1")
            return raised.type, str(raised.value)

        bare = call()
        handle.instrument(session)
        assert call() == bare
    assert endings(handle) == [("connect_error", None)]
    with handle.replay() as replay:
        replay.instrument(session)
        assert call() == bare


def test_an_answer_to_a_challenge_is_recorded_and_replayed(handle: Handle, session: requests.Session) -> None:
    """requests sends it over the adapter that the response names, behind the session's back."""
    challenge = head(
        "401 Unauthorized", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', "Content-Length: 0"
    )
    with Loopback([[challenge], stream_script(BODY)]) as server:
        handle.instrument(session)
        session.auth = HTTPDigestAuth("user", "secret-word")
        assert session.get(server.url).content == BODY
        assert endings(handle) == [("eof", 401), ("eof", 200)]
        assert b"secret-word" not in b"".join(repr(recording).encode() for recording in recordings(handle))


def test_an_adapter_that_is_mounted_later_is_recorded_too(handle: Handle, session: requests.Session) -> None:
    class Adding(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            request.headers["x-added"] = "yes"
            return super().send(request, *args, **options)

    handle.instrument(session)
    own = Adding()
    session.mount("http://", own)
    with Loopback([stream_script(BODY)]) as server:
        assert session.get(server.url).content == BODY
        assert (b"x-added", b"yes") in server.requests[0].headers
        recordings(handle)
        with handle.replay() as replay:
            replay.instrument(session)
            assert session.get(server.url).content == BODY
    assert session.adapters["http://"] is own


def test_a_session_that_is_recorded_may_be_pickled(handle: Handle, session: requests.Session) -> None:
    handle.instrument(session)
    copy = pickle.loads(pickle.dumps(session))
    assert "get_adapter" not in vars(copy)
    copy.close()


def _close(response: requests.Response) -> None:
    response.close()


def _exit(response: requests.Response) -> None:
    with response:
        pass


def _drop(response: requests.Response) -> None:
    """Nothing: the last reference goes with the caller's."""


@pytest.mark.parametrize("leave", [_close, _exit, _drop])
@pytest.mark.parametrize("read", [True, False])
def test_a_client_that_leaves_is_recorded_as_such_and_missed_by_the_upstream(
    handle: Handle, leave: Callable[[requests.Response], None], read: bool
) -> None:
    def call(session: requests.Session) -> list[bytes]:
        response = session.get(server.url, stream=True)
        pieces = [next(response.iter_content(4096))] if read else []
        leave(response)
        return pieces

    with Loopback([[stream_head(), chunk(CHAT[0]), Act.HOLD]]) as server, requests.Session() as session:
        handle.instrument(session)
        assert call(session) == list(CHAT[:1]) * read
        assert server.wait_gone()
        (recording,) = recordings(handle)
        assert ending(recording).ending == "client_closed"
        assert handle.body(recording.recording_id) == CHAT[0] * read
        with handle.replay(include_partial=True) as replay:
            replay.instrument(session)
            assert call(session) == list(CHAT[:1]) * read
