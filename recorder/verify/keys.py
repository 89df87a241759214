"""Ed25519 keys out of files: PEM as OpenSSL writes it, or OpenSSH's own form, without a password.

Needs the extra `sign` (cryptography), which is imported where a key is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recorder.errors import NotFound, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["name_of", "private", "public", "signed"]

_MAKE: Final = "make one with `openssl genpkey -algorithm ed25519 -out FILE` or `ssh-keygen -t ed25519 -N '' -f FILE`"


def private(path: Path) -> Ed25519PrivateKey:
    """The private key in a file. Raises NotFound, UsageError."""
    data = _read(path)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    readers = (serialization.load_pem_private_key, serialization.load_ssh_private_key)
    for found in _found(data, [partial(read, password=None) for read in readers]):
        if isinstance(found, Ed25519PrivateKey):
            return found
    raise UsageError(f"{path} holds no Ed25519 key without a password; {_MAKE}")


def public(path: Path) -> Ed25519PublicKey:
    """The public key in a file; that of a private key where it holds one. Raises NotFound, UsageError."""
    data = _read(path)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for found in _found(data, [serialization.load_pem_public_key, serialization.load_ssh_public_key]):
        if isinstance(found, Ed25519PublicKey):
            return found
    return private(path).public_key()


def name_of(key: Ed25519PublicKey) -> str:
    """What a line calls the key that signed it: the beginning of its SHA-256."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def signed(key: Ed25519PublicKey, text: bytes, signature: bytes) -> bool:
    """Whether the key made this signature of the text."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    """The bytes of a key file, once it is known that keys can be read at all."""
    try:
        import cryptography as _  # noqa: F401
    except ImportError:
        raise UsageError("signatures need cryptography; run `pip install 'run-recorder[sign]'`") from None
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"no key file {path}; {_MAKE}") from None


def _found(data: bytes, readers: Iterable[Callable[[bytes], Any]]) -> Iterable[Any]:
    """What each of the readers makes of the bytes, where it makes anything."""
    from cryptography.exceptions import UnsupportedAlgorithm

    for read in readers:
        try:
            yield read(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
