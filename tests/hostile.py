"""Requests that must not be served: each with its name, its bytes, and the statuses that refuse it.

Those of `REFUSED` are answered with one of the statuses and nothing else, on a connection that then ends. They are
about one server with the default limits; HOST is replaced by its address.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REFUSED", "Hostile"]


class Hostile(NamedTuple):
    """One attack."""

    name: str
    data: bytes
    statuses: frozenset[int] = frozenset({400})


REFUSED: list[Hostile] = []
#: What an attacker hopes to have smuggled in.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n"


def add(name: str, data: bytes, *statuses: int) -> None:
    REFUSED.append(Hostile(name, data, frozenset(statuses or (400,))))


def get(target: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: HOST", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST /v1/x HTTP/" + version, b"Host: HOST", *lines, b"", b""]) + body


# -- targets ---

for number, target in enumerate(
    [
        b"http://169.254.169.254/latest/meta-data",
        b"http://evil.example/v1/x",
        b"https://evil.example/",
        b"HTTP://evil.example/",
        b"http:/evil.example/",
        b"http:evil.example",
        b"ftp://evil.example/",
        b"file:///etc/passwd",
        b"gopher://evil.example/1",
        b"ws://evil.example/",
        b"//evil.example/v1/x",
        b"///evil.example",
        b"/v1//x",
        b"/v1/x//",
        b"//",
        b"/../etc/passwd",
        b"/..",
        b"/.",
        b"/./",
        b"/v1/../x",
        b"/v1/x/..",
        b"/v1/x/.",
        b"/v1/./x",
        b"/v1/..;/x",
        b"/v1/..;a=b/x",
        b"/v1/.;/x",
        b"/v1/../../../../x",
        b"/%2e%2e/x",
        b"/%2E%2E/x",
        b"/%2e./x",
        b"/.%2e/x",
        b"/%2e/x",
        b"/v1/%2e%2e%2fx",
        b"/v1/..%2fx",
        b"/v1/..%2Fx",
        b"/v1/a%2fb",
        b"/v1/%2f%2fevil.example",
        b"/v1/..%5cx",
        b"/v1/..%5Cx",
        b"/v1/a%5Cb",
        b"/v1\\x",
        b"/\\evil.example",
        b"\\\\evil.example\\x",
        b"/v1/..\\x",
        b"/%252e%252e/x",
        b"/v1/%252f",
        b"/v1/%25%32%65",
        b"/v1/%00",
        b"/v1/x%00.json",
        b"/v1/%0d%0aHost:%20evil",
        b"/v1/%0a",
        b"/v1/%09",
        b"/v1/%1f",
        b"/v1/%7f",
        b"/v1/%",
        b"/v1/%2",
        b"/v1/%zz",
        b"/v1/%u002e%u002e",
        b"/v1/%c0%ae%c0%ae/%2e",
        b"/v1/x?a=%",
        b"/v1/x?a=%zz",
        b"/v1/x?a=%2",
        b"/v1/x#fragment",
        b"/v1/x?a#b",
        b"/@evil.example/x",
        b"/user@evil.example/x",
        b"/user:password@evil.example/x",
        b"user@evil.example",
        b"user:password@evil.example:80",
        b"evil.example:443",
        b"127.0.0.1:22",
        b"*",
        b"v1/x",
        b".",
        b"..",
        b"?a=b",
        b"#",
        b"%2fv1",
        b"/v1/x\x7f",
        b"/v1/\xc3\xa9",
        b"/v1/\xff",
        b"/v1/\x80",
        b"/v1/<script>",
        b'/v1/"x"',
        b"/v1/x?a=<b>",
        b'/v1/x?a="b"',
        b"/v1/x?a=\\",
        b"/v1/x\x01y",
        b"/v1/x\x1by",
    ]
):
    add(f"target-{number}", get(target))

add("target-with-nul", b"GET /v1/\0x HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("target-with-tab", b"GET /v1\tx HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("target-with-space", b"GET /v1 x HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("target-with-cr", b"GET /v1\rx HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("no-target", b"GET  HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("connect", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n")
add("connect-path", b"CONNECT /v1/x HTTP/1.1\r\nHost: HOST\r\n\r\n")
add("trace", b"TRACE /v1/x HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer x\r\n\r\n", 405)
add("options-star", b"OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n")

# -- request lines ---

for number, line in enumerate(
    [
        b"GET /v1/x",
        b"GET /v1/x HTTP/1.1 ",
        b"GET  /v1/x HTTP/1.1",
        b"GET /v1/x  HTTP/1.1",
        b" GET /v1/x HTTP/1.1",
        b"GET\t/v1/x\tHTTP/1.1",
        b"GET /v1/x HTTP/1",
        b"GET /v1/x HTTP/1.",
        b"GET /v1/x HTTP/11",
        b"GET /v1/x HTTP/1.11",
        b"GET /v1/x HTTP/ 1.1",
        b"GET /v1/x HTTP/+1.1",
        b"GET /v1/x http/1.1",
        b"GET /v1/x HTTPS/1.1",
        b"GET /v1/x ICY/1.1",
        b"GET /v1/x HTTP/1.1\0",
        b"GE\0T /v1/x HTTP/1.1",
        b"G(T /v1/x HTTP/1.1",
        b"GET: /v1/x HTTP/1.1",
        b"\xc3\x89T /v1/x HTTP/1.1",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /v1/x HTTP/1.1",
        b"/v1/x HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"GET /v1/x HTTP/1.1\x0b",
    ]
):
    add(f"request-line-{number}", line + b"\r\nHost: HOST\r\n\r\n")
for version in (b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9"):
    add(f"version-{version.decode()}", b"GET /v1/x HTTP/" + version + b"\r\nHost: HOST\r\n\r\n", 505)
add("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505)
add("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64)
add("binary", bytes(range(256)))
add("ssh", b"\x00\x00\x00\x00SSH-2.0\r\n\r\n")
add("bare-lf-lines", b"GET /v1/x HTTP/1.1\nHost: HOST\n\n")
add("bare-lf-one-line", b"GET /v1/x HTTP/1.1\nHost: HOST\r\n\r\n")
add("bare-lf-header", b"GET /v1/x HTTP/1.1\r\nHost: HOST\nX: 1\r\n\r\n")
add("bare-lf-end", b"GET /v1/x HTTP/1.1\r\nHost: HOST\r\n\n")
add("lf-then-crlf-end", b"GET /v1/x HTTP/1.1\r\nHost: HOST\n\r\n")
add("bare-cr-line", b"GET /v1/x HTTP/1.1\rHost: HOST\r\n\r\n")
add("bare-cr-header", b"GET /v1/x HTTP/1.1\r\nHost: HOST\rX: 1\r\n\r\n")
add("two-empty-lines-before", b"\r\n\r\nGET /v1/x HTTP/1.1\r\nHost: HOST\r\n\r\n")

# -- header lines ---

for number, line in enumerate(
    [
        b"X",
        b"X 1",
        b": 1",
        b" X: 1",
        b"\tX: 1",
        b"X : 1",
        b"X\t: 1",
        b"X Y: 1",
        b"X\0: 1",
        b"X(Y): 1",
        b"X\xe9: 1",
        b'"X": 1',
        b"X,Y: 1",
        b"X;Y: 1",
        b"X@Y: 1",
        b"X/Y: 1",
        b"X: a\0b",
        b"X: a\x01b",
        b"X: a\x08b",
        b"X: a\x0bb",
        b"X: a\x0cb",
        b"X: a\x1bb",
        b"X: a\x7fb",
        b"X: a\rb",
        b"X: one\r\n two",
        b"X: one\r\n\ttwo",
        b"X: one\r\n ",
        b"Transfer-Encoding : chunked",
        b"Content-Length : 5",
        b"Content-Length\0: 5",
        b"Connection: host",
        b"Connection: close, content-length",
        b"Connection: Transfer-Encoding",
        b"Connection: authorization",
    ]
):
    add(f"header-line-{number}", get(b"/v1/x", line))
add("first-line-folded", b"GET /v1/x HTTP/1.1\r\n Host: HOST\r\n\r\n")
add("no-host", b"GET /v1/x HTTP/1.1\r\nX: 1\r\n\r\n")
add("two-hosts", get(b"/v1/x", b"Host: HOST"))
add("two-different-hosts", get(b"/v1/x", b"host: evil.example"))
for number, host in enumerate(
    [
        b"",
        b" ",
        b"user@HOST",
        b"HOST/path",
        b"HOST?x",
        b"HOST#x",
        b"http://HOST",
        b"HOST, evil.example",
        b"evil.example HOST",
        b"127.0.0.1:99999",
        b"127.0.0.1:-1",
        b"127.0.0.1:80:80",
        b"127.0.0.1:8a",
        b"[::1",
        b"::1",
        b"[zz]:80",
        b"\xe9vil.example",
        b"a" * 300,
        b"..%2f",
        b"<x>",
    ]
):
    add(f"host-{number}", b"GET /v1/x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
for number, host in enumerate(
    [
        b"evil.example",
        b"evil.example:80",
        b"169.254.169.254",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"evil-localhost",
        b"0.0.0.0",
        b"10.0.0.1",
        b"[::2]",
        b"[fe80::1]",
        b"2130706433",
        b"0x7f000001",
    ]
):
    add(f"rebinding-{number}", b"GET /v1/x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 403)
for number, line in enumerate(
    [
        b"Origin: https://evil.example",
        b"Origin: http://evil.example",
        b"Origin: null",
        b"Origin: http://localhost:1",
        b"Origin: http://127.0.0.1:1",
        b"Origin: file://",
        b"Origin: http://HOST.evil.example",
        b"Origin: http://HOST@evil.example",
        b"Origin: chrome-extension://abcdef",
        b"Origin: http://HOST http://evil.example",
        b"Sec-Fetch-Site: cross-site",
        b"Sec-Fetch-Site: same-site",
    ]
):
    add(f"origin-{number}", post(line, b"Content-Length: 0"), 403)
add("two-origins", post(b"Origin: http://HOST", b"Origin: https://evil.example", b"Content-Length: 0"), 403)
for number, value in enumerate([b"200-ok", b"100-continue, x", b"100-continue;q=1", b"x"]):
    add(f"expect-{number}", post(b"Expect: " + value, b"Content-Length: 0"), 417)

# -- framing: what smuggles ---

CHUNKED = b"Transfer-Encoding: chunked"
for number, lines in enumerate(
    [
        (b"Content-Length: 5", CHUNKED),
        (CHUNKED, b"Content-Length: 5"),
        (b"Content-Length: 0", CHUNKED),
        (b"content-length: 4", b"transfer-encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: 5,6",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: 5 ;",),
        (b"Content-Length: 5 5",),
        (b"Content-Length: 5.0",),
        (b"Content-Length: 5e0",),
        (b"Content-Length: \xb2",),
        (b"Content-Length:",),
        (b"Content-Length: five",),
        (b"Content-Length: 99999999999999999999999999",),
        (b"Content-Length: 1_0",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: identity, chunked",),
        (b"Transfer-Encoding: chunked;x",),
        (b'Transfer-Encoding: "chunked"',),
        (b"Transfer-Encoding: chunked,",),
        (b"Transfer-Encoding:",),
        (b"Transfer-Encoding: \x0bchunked",),
        (b"Transfer-Encoding: chunk",),
        (b"Transfer-Encoding: chunked x",),
        (CHUNKED, CHUNKED),
        (CHUNKED, b"Transfer-Encoding: x"),
        (b"Transfer-Encoding: x", CHUNKED),
        (CHUNKED, b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding\x0b: chunked",),
        (b"Transfer\0-Encoding: chunked",),
    ]
):
    add(f"framing-{number}", post(*lines, body=b"0\r\n\r\n" + SMUGGLED))
add("chunked-in-http-1.0", post(CHUNKED, version=b"1.0", body=b"0\r\n\r\n"))
for number, body in enumerate(
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\rX0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"10000000000000000\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5;\nx\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a=\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\0\r\nhello\r\n0\r\n\r\n",
        b"5;a=b c\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5;" + b";".join([b"a=b"] * 100) + b"\r\nhello\r\n0\r\n\r\n",
        b"5\x0b\r\nhello\r\n0\r\n\r\n",
        b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: evil.example\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
    ]
):
    add(f"chunk-{number}", post(CHUNKED, body=body + SMUGGLED))

# -- too much ---

add("long-target", get(b"/" + b"a" * 20_000), 414)
add("long-target-without-end", b"GET /" + b"a" * 40_000, 414)
add("long-query", get(b"/v1/x?" + b"a" * 20_000), 414)
add("long-header", get(b"/v1/x", b"X: " + b"a" * 70_000), 431)
add("long-header-without-end", b"GET /v1/x HTTP/1.1\r\nHost: HOST\r\nX: " + b"a" * 100_000, 431)
add("long-name", get(b"/v1/x", b"X" * 300 + b": 1"))
add("many-headers", get(b"/v1/x", *(b"X-%d: 1" % n for n in range(200))), 431)
add("many-small-headers", get(b"/v1/x", *(b"a:" for _ in range(20_000))), 431)
