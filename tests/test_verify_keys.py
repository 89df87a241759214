"""Keys are Ed25519's or none: in any of the files that people have, and never with a guess at what else it may be."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat

from recorder.errors import NotFound, UsageError
from recorder.verify import keys

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def kept(folder: Path, key: Any, form: PrivateFormat = PrivateFormat.PKCS8, *, password: bytes | None = None) -> Path:
    """A file with the private key."""
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path = folder / "key"
    path.write_bytes(key.private_bytes(Encoding.PEM, form, lock))
    return path


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_a_private_key_is_read_and_has_its_public_one(tmp_path: Path, form: PrivateFormat) -> None:
    path = kept(tmp_path, KEY, form)
    assert keys.private(path).private_bytes_raw() == bytes(range(32))
    assert keys.public(path) == KEY.public_key()


@pytest.mark.parametrize(
    ("encoding", "form"),
    [(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.OpenSSH, PublicFormat.OpenSSH)],
)
def test_a_public_key_is_read_and_signs_nothing(tmp_path: Path, encoding: Encoding, form: PublicFormat) -> None:
    (tmp_path / "key.pub").write_bytes(KEY.public_key().public_bytes(encoding, form))
    assert keys.public(tmp_path / "key.pub") == KEY.public_key()
    with pytest.raises(UsageError, match="holds no Ed25519 key without a password"):
        keys.private(tmp_path / "key.pub")


@pytest.mark.parametrize("other", [ec.generate_private_key(ec.SECP256R1()), ed448.Ed448PrivateKey.generate()])
def test_a_key_of_another_kind_is_none(tmp_path: Path, other: Any) -> None:
    path = kept(tmp_path, other)
    for read in (keys.private, keys.public):
        with pytest.raises(UsageError, match="holds no Ed25519 key"):
            read(path)
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.write_bytes(public)
    with pytest.raises(UsageError, match="holds no Ed25519 key"):
        keys.public(path)


def test_a_key_behind_a_password_is_none(tmp_path: Path) -> None:
    """Nobody is there to type it."""
    with pytest.raises(UsageError, match="without a password"):
        keys.private(kept(tmp_path, KEY, password=b"secret"))


def test_no_file_and_no_library_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound, match="no key file"):
            keys.private(path)
    path = kept(tmp_path, KEY)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for read in (keys.private, keys.public):
        with pytest.raises(UsageError, match=r"pip install 'run-recorder\[sign\]'"):
            read(path)


def test_a_signature_is_that_of_this_key_and_text() -> None:
    public = KEY.public_key()
    signature = KEY.sign(b"text")
    assert keys.signed(public, b"text", signature)
    assert not keys.signed(public, b"texu", signature)
    assert not keys.signed(public, b"text", signature[::-1])
    assert keys.name_of(public) == sha256(public.public_bytes_raw()).hexdigest()[:16]
