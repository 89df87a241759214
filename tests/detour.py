"""A stand-in for the Internet: an HTTP proxy on loopback behind which every host is the bundled upstream, over TLS.

Clients reach it through the variables that say where a proxy is and whom to trust, so that nothing of theirs is
changed: they ask the provider's own URL, and the answers are those of `recorder.demo`. It knows no recording or replay.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from recorder.demo.upstream import upstream
from tests.certificates import make

__all__ = ["HOSTS", "detour"]

#: Whom the certificate stands for.
HOSTS: Final = ("api.openai.com", "api.anthropic.com", "*.services.ai.azure.com")


@contextmanager
def detour(folder: Path) -> Iterator[dict[str, str]]:
    """Runs it while the block runs; gives the variables for a process that is to go this way. `folder` is for its keys.

    Hosts that are not among HOSTS cannot be reached through it.
    """
    certificate = make(folder, *HOSTS)
    context = certificate.server()
    with upstream(0) as base_url, socket.create_server(("127.0.0.1", 0)) as server:
        goal = urlsplit(base_url)
        assert goal.hostname is not None
        assert goal.port is not None
        accepting = threading.Thread(target=_accept, args=(server, context, (goal.hostname, goal.port)), daemon=True)
        accepting.start()
        trust = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        try:
            yield {
                "HTTPS_PROXY": f"http://127.0.0.1:{server.getsockname()[1]}",
                **dict.fromkeys(trust, str(certificate.certificate)),
            }
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # closing it would leave who accepts where he is, on a port in use
            accepting.join(30)


def _accept(server: socket.socket, context: ssl.SSLContext, goal: tuple[str, int]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # it is over
            return
        threading.Thread(target=_serve, args=(client, context, goal), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, goal: tuple[str, int]) -> None:
    """One connection: `CONNECT host:443`, then TLS, then what the upstream says."""
    try:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := client.recv(1)):
                return
            head += byte
        host = head.split()[1].decode().rpartition(":")[0]
        if not any(host == name or (name[0] == "*" and host.endswith(name[1:])) for name in HOSTS):
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with context.wrap_socket(client, server_side=True) as secure, socket.create_connection(goal) as behind:
            while data := _next(secure, behind):
                for source, piece in data.items():
                    (behind if source is secure else secure).sendall(piece)
    except OSError:
        pass  # clients may leave
    finally:
        client.close()


def _next(secure: ssl.SSLSocket, behind: socket.socket) -> dict[socket.socket, bytes]:
    """What came from either side; nothing once one of them has ended. One thread, because TLS wants that."""
    ready = [secure] if secure.pending() else select.select([secure, behind], [], [])[0]
    pieces = {source: source.recv(65536) for source in ready}
    return pieces if all(pieces.values()) else {}
