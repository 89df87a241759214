"""How an upstream is reached: its origin, TLS by the system's trust store, a proxy where the environment names one.

HTTPS_PROXY and NO_PROXY hold for https upstreams, by CONNECT. Certificates are checked against the system's store, or
SSL_CERT_FILE and SSL_CERT_DIR, and those of `ca` besides. An address in a link-local network, where clouds keep their
metadata services, is refused unless it was written as the upstream's own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from recorder.errors import UsageError

__all__ = ["Dialer", "Origin", "ProxyRefused", "server_context"]

_P = TypeVar("_P", bound=asyncio.Protocol)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

#: Bytes that a proxy's answer to CONNECT may have.
_LONGEST_ANSWER: Final = 64 << 10

_NO_PROXY_URL: Final = "HTTPS_PROXY is no http:// URL; give one, or name the upstream in NO_PROXY"


class ProxyRefused(ConnectionError):
    """The proxy did not open a tunnel."""


class Origin(NamedTuple):
    """Scheme, host and port of an upstream; the host without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an http or https URL. Raises UsageError."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("an upstream's URL is malformed; write it as https://host/path") from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise UsageError("an upstream's URL must begin with http:// or https:// and a host")
        return cls(parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port)

    @property
    def authority(self) -> str:
        """What the Host header says: the host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def server_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """TLS towards clients. Raises UsageError where the files do not hold a certificate and its key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the TLS certificate or its key cannot be used: {error.strerror or error}") from None
    return context


class Dialer:
    """Opens connections. `ca`: a file of certificates to trust beside the system's. Raises UsageError for a bad one."""

    def __init__(self, *, ca: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._ca = ca
        self._tls: ssl.SSLContext | None = None
        self._proxies = _proxies(environment)
        if ca is not None:
            self._context()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            if self._ca is not None:
                try:
                    context.load_verify_locations(cafile=self._ca)
                except (OSError, ssl.SSLError) as error:
                    raise UsageError(f"the file given for --ca holds no certificates: {error}") from None
            self._tls = context
        return self._tls

    def check(self, origin: Origin) -> None:
        """Raises UsageError where the environment names a proxy for this origin that cannot be used."""
        self._proxy_for(origin)

    async def dial(self, origin: Origin, protocol: Callable[[], _P]) -> _P:
        """Connect. Raises OSError (ssl.SSLError and socket.gaierror are kinds of it)."""
        loop = asyncio.get_running_loop()
        tls = self._context() if origin.scheme == "https" else None
        proxy = self._proxy_for(origin)
        if proxy is None:
            transport, made = await loop.create_connection(protocol, origin.host, origin.port, ssl=tls)
            _check_address(transport, origin)
            return made
        sock = await _tunnel(proxy, origin)
        try:
            _, made = await loop.create_connection(protocol, sock=sock, ssl=tls, server_hostname=origin.host)
        except BaseException:
            sock.close()
            raise
        return made

    def _proxy_for(self, origin: Origin) -> Proxy | None:
        if origin.scheme != "https" or not self._proxies:
            return None
        if _bypasses(origin.host, self._proxies):
            return None
        url = self._proxies.get("https") or self._proxies.get("all")
        return Proxy.of(url) if url else None


def _proxies(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Scheme -> proxy as the environment says, and `no`; lower-case names go first, as everywhere."""
    if environment is None:
        return urllib.request.getproxies_environment()
    found: dict[str, str] = {}
    for upper in (True, False):
        for name, value in environment.items():
            if value and name.lower().endswith("_proxy") and name.isupper() is upper:
                found[name.lower().removesuffix("_proxy")] = value
    return found


def _bypasses(host: str, proxies: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names this host."""
    bypass: Callable[[str, Mapping[str, str]], bool] = vars(urllib.request)["proxy_bypass_environment"]
    return bool(bypass(host, proxies))


class Proxy(NamedTuple):
    """A forward proxy, spoken to in plain HTTP; `login` is `user:password`, or None."""

    host: str
    port: int
    login: str | None

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Raises UsageError for what is no http:// URL."""
        try:
            parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or 80
        except ValueError:
            raise UsageError(_NO_PROXY_URL) from None
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(_NO_PROXY_URL)
        login = None
        if parts.username is not None:
            login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        return cls(parts.hostname, port, login)


async def _tunnel(proxy: Proxy, origin: Origin) -> socket.socket:
    """A socket that a proxy has connected to the origin. Raises OSError."""
    loop = asyncio.get_running_loop()
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.login is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(proxy.login.encode()).decode()}")
    sock = await _connected(proxy)
    try:
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = await loop.sock_recv(sock, 4096)
            if not data or len(answer) > _LONGEST_ANSWER:
                raise ProxyRefused("the proxy ended the connection without opening a tunnel")
            answer += data
        status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
        if not status or not status[0].startswith(b"2"):
            told = status[0].decode("ascii", "replace")[:3] if status else "nothing"
            raise ProxyRefused(f"the proxy answered {told} to CONNECT")
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(proxy: Proxy) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, number, _, address in await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, number)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure or OSError("the proxy has no address")


def _check_address(transport: asyncio.BaseTransport, origin: Origin) -> None:
    """Raises ConnectionRefusedError where a name led to a link-local address."""
    peer = transport.get_extra_info("peername")
    if not peer or peer[0] == origin.host:
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(str(peer[0]).partition("%")[0]).is_link_local:
            transport.close()
            raise ConnectionRefusedError("the upstream's name leads to a link-local address, which is never asked")
