"""Signatures: the documented vector, ssh-keygen on the other end, and every other form refused."""

from __future__ import annotations

import base64
import hashlib
import struct
import subprocess
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import BackupError, ConfigError
from lockmigrate.formats import sshsig

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
MESSAGE = b"{}\n"
SIGNATURE = sshsig.sign(MESSAGE, KEY)

needs_ssh_keygen = pytest.mark.skipif(which("ssh-keygen") is None, reason="the program `ssh-keygen` is not installed")


def refused(armored: bytes, message: bytes = MESSAGE) -> None:
    with pytest.raises(BackupError) as caught:
        sshsig.verify(message, armored)
    assert (caught.value.exit_code, caught.value.code) == (6, "bad-signature")


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def armored(blob: bytes, width: int = 70) -> bytes:
    text = base64.b64encode(blob)
    lines = b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"


def signature(
    *,
    magic: bytes = b"SSHSIG",
    version: int = 1,
    kind: bytes = b"ssh-ed25519",
    namespace: bytes = b"lockmigrate-backup-v1",
    reserved: bytes = b"",
    algorithm: bytes = b"sha512",
    tail: bytes = b"",
    width: int = 70,
) -> bytes:
    """A signature that verifies by the letter of PROTOCOL.sshsig, with one field of one's own."""
    digest = hashlib.new(algorithm.decode(), MESSAGE).digest()
    signed = b"SSHSIG" + string(namespace) + string(reserved) + string(algorithm) + string(digest)
    blob = (
        magic
        + struct.pack(">I", version)
        + string(string(kind) + string(PUBLIC))
        + string(namespace)
        + string(reserved)
        + string(algorithm)
        + string(string(kind) + string(KEY.sign(signed)))
        + tail
    )
    return armored(blob, width)


def test_the_documented_vector_holds() -> None:
    assert PUBLIC.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert sshsig.fingerprint(PUBLIC) == "SHA256:lbmsoA0yIEcEiVDRnMWuzm+nV+3ZEEpVIURqFoeSspg"
    blob = base64.b64decode(b"".join(SIGNATURE.splitlines()[1:-1]))
    assert blob[-64:].hex() == (
        "892289f18bb0471da8865cb77f40054caeb8420eb9d248055119cd41d4ed7a13"
        "feae4e0bb7775969965ad73b39cb30a68acdddc7e091107958d1978d3679140d"
    )


def test_a_signature_made_by_hand_from_the_specification_is_the_same_file() -> None:
    assert signature() == SIGNATURE
    assert sshsig.verify(MESSAGE, SIGNATURE) == PUBLIC


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_what_was_signed_verifies_and_names_its_key(message: bytes, seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert sshsig.verify(message, sshsig.sign(message, key)) == key.public_key().public_bytes_raw()


@given(st.binary(max_size=700))
def test_garbage_is_refused_with_our_error(data: bytes) -> None:
    refused(data)
    refused(armored(data))


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    for at in range(len(SIGNATURE) * 8):
        flipped = bytearray(SIGNATURE)
        flipped[at // 8] ^= 1 << at % 8
        refused(bytes(flipped))
    for cut in range(len(SIGNATURE)):
        refused(SIGNATURE[:cut])


@pytest.mark.parametrize(
    "other",
    [
        signature(magic=b"SSHSIX"),
        signature(version=2),
        signature(kind=b"ssh-rsa"),
        signature(namespace=b"git"),
        signature(namespace=b"lockmigrate-tombstone-v1"),
        signature(reserved=b"x"),
        signature(algorithm=b"sha256"),
        signature(tail=b"\0"),
        signature(width=64),
        signature(width=1000),
        SIGNATURE.replace(b"\n", b"\r\n"),
        SIGNATURE + b"\n",
        SIGNATURE + SIGNATURE,
        b" " + SIGNATURE,
        SIGNATURE[:-1],
        b"",
    ],
)
def test_every_other_form_is_refused(other: bytes) -> None:
    refused(other)


def test_the_signature_of_another_message_is_refused() -> None:
    refused(SIGNATURE, b"{ }\n")


def test_a_namespace_of_one_s_own_verifies_only_there() -> None:
    other = sshsig.sign(MESSAGE, KEY, namespace="other")
    assert sshsig.verify(MESSAGE, other, namespace="other") == PUBLIC
    refused(other)


def test_a_public_key_line_is_read_back() -> None:
    line = sshsig.public_key_line(PUBLIC, "tech@example van 2")
    assert sshsig.parse_public_key_line(line + "\n") == (PUBLIC, "tech@example van 2")
    assert sshsig.parse_public_key_line(sshsig.public_key_line(PUBLIC)) == (PUBLIC, "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 ä",
        "\ud800 AAAA",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==",
        sshsig.public_key_line(PUBLIC)[:-1],
        sshsig.public_key_line(PUBLIC).replace("ssh-ed25519", "ssh-dss"),
    ],
)
def test_anything_else_is_no_public_key_line(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sshsig.parse_public_key_line(line)
    assert caught.value.code == "bad-public-key"


def test_a_private_key_is_read_back() -> None:
    assert sshsig.load_private_key(sshsig.private_key_text(KEY)).private_bytes_raw() == bytes(range(32))


def test_anything_else_is_no_private_key() -> None:
    pem = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for text in (b"", b"x", pem, sshsig.private_key_text(KEY)[:-60]):
        with pytest.raises(ConfigError) as caught:
            sshsig.load_private_key(text)
        assert caught.value.code == "bad-private-key"


# ---- ssh-keygen on the other end ------------------------------------------------------------------------------------


def run(*command: str | Path, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, check=check, timeout=30)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(sshsig.private_key_text(KEY))
    return path


@pytest.mark.peer
@needs_ssh_keygen
def test_ssh_keygen_signs_the_very_same_bytes(key_file: Path) -> None:
    signed = run("ssh-keygen", "-Y", "sign", "-f", key_file, "-n", sshsig.BACKUP_NAMESPACE, stdin=MESSAGE)
    assert signed.stdout == SIGNATURE


@pytest.mark.peer
@needs_ssh_keygen
def test_ssh_keygen_prints_the_same_public_key_and_fingerprint(key_file: Path) -> None:
    assert run("ssh-keygen", "-y", "-f", key_file).stdout.decode().strip() == sshsig.public_key_line(PUBLIC)
    assert sshsig.fingerprint(PUBLIC) in run("ssh-keygen", "-l", "-f", key_file).stdout.decode()


@pytest.mark.peer
@needs_ssh_keygen
def test_ssh_keygen_verifies_ours_and_refuses_another_message(tmp_path: Path) -> None:
    allowed, signed = tmp_path / "allowed_signers", tmp_path / "sig"
    allowed.write_text(f'tech@example namespaces="{sshsig.BACKUP_NAMESPACE}" {sshsig.public_key_line(PUBLIC)}\n')
    signed.write_bytes(SIGNATURE)
    command = "ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "tech@example", "-n", sshsig.BACKUP_NAMESPACE, "-s"
    assert run(*command, signed, stdin=MESSAGE).returncode == 0
    assert run(*command, signed, stdin=b"other", check=False).returncode != 0


@pytest.mark.peer
@needs_ssh_keygen
@pytest.mark.at_once
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_signatures_by_other_kinds_of_keys_are_refused(kind: str, tmp_path: Path) -> None:
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / "key")
    signed = run("ssh-keygen", "-Y", "sign", "-f", tmp_path / "key", "-n", sshsig.BACKUP_NAMESPACE, stdin=MESSAGE)
    assert signed.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----")
    refused(signed.stdout)


@pytest.mark.peer
@needs_ssh_keygen
def test_keys_made_by_ssh_keygen_load_unless_they_have_a_passphrase(tmp_path: Path) -> None:
    for name, passphrase in (("open", ""), ("locked", "secret")):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", tmp_path / name)
    loaded = sshsig.load_private_key((tmp_path / "open").read_bytes())
    line = (tmp_path / "open.pub").read_text()
    assert loaded.public_key().public_bytes_raw() == sshsig.parse_public_key_line(line)[0]
    with pytest.raises(ConfigError):
        sshsig.load_private_key((tmp_path / "locked").read_bytes())
