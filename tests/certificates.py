"""A certificate of our own for `localhost` and 127.0.0.1, made with openssl once for a test run."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.needs import need

__all__ = ["Certificate", "make"]


class Certificate(NamedTuple):
    """Paths of a self-signed certificate and its key."""

    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        """For a client that trusts it alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make(folder: Path, *hosts: str) -> Certificate:
    """Make one in this folder, also for these hosts, or skip the test."""
    need("openssl", shutil.which("openssl") is not None, "no openssl program to make a certificate with")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", f"subjectAltName={','.join(['DNS:localhost', 'IP:127.0.0.1', *map('DNS:{}'.format, hosts)])}"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return made
