"""OpenSSH signatures by Ed25519 keys, in the one canonical form that `ssh-keygen -Y sign` writes.

Source: openssh/openssh-portable `PROTOCOL.sshsig` (the blob), RFC 4253 section 5 (`string`), RFC 8709 (ssh-ed25519).
One algorithm, one hash (sha512), empty reserved field, exact line breaks: a signature text is a pure function of key,
message and namespace, and the reader accepts nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lockmigrate.errors import BackupError, ConfigError

BACKUP_NAMESPACE: Final = "lockmigrate-backup-v1"
"""Binds a signature to our manifests: one made for git or e-mail is refused."""

_KEY_TYPE: Final = b"ssh-ed25519"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = struct.pack(">I", 1)
_HASH: Final = b"sha512"
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----\n"
_END: Final = b"-----END SSH SIGNATURE-----\n"
_COLUMNS: Final = 70
"""As ssh-keygen wraps it."""
_PUBLIC_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_PUBLIC_KEY_AT: Final = len(_MAGIC) + len(_VERSION) + 4 + 4 + len(_KEY_TYPE) + 4
"""Offset in the blob: behind magic, version, and the lengths of blob, type and key."""

SigningKey = Ed25519PrivateKey
"""What signs; other packages name it by this alias, since cryptography stays in here."""


def generate_key() -> SigningKey:
    """Return a new signing key."""
    return Ed25519PrivateKey.generate()


def sign(message: bytes, key: Ed25519PrivateKey, *, namespace: str = BACKUP_NAMESPACE) -> bytes:
    """Return the armored signature; the same bytes that `ssh-keygen -Y sign -n NAMESPACE` writes."""
    public_key = key.public_key().public_bytes_raw()
    return _armor(_blob(public_key, key.sign(_signed_bytes(message, namespace)), namespace))


def verify(message: bytes, armored: bytes, *, namespace: str = BACKUP_NAMESPACE) -> bytes:
    """Return the signer's public key (32 bytes) if the signature is canonical and fits; trust is asked elsewhere.

    Raises:
        BackupError: it is not, or does not (code `bad-signature`).
    """
    matched = re.fullmatch(re.escape(_BEGIN) + rb"([A-Za-z0-9+/=\n]{1,600})" + re.escape(_END), armored)
    if matched is None:
        raise _bad("the signature is not in OpenSSH's form")
    try:
        blob = base64.b64decode(matched[1].replace(b"\n", b""), validate=True)
    except binascii.Error:
        raise _bad("the signature is not in OpenSSH's form") from None
    public_key = blob[_PUBLIC_KEY_AT : _PUBLIC_KEY_AT + _PUBLIC_KEY_BYTES]
    signature = blob[-_SIGNATURE_BYTES:]
    # What was taken out must give the same file again: every other field, length and line break is thereby checked.
    if (len(public_key), len(signature)) != (_PUBLIC_KEY_BYTES, _SIGNATURE_BYTES) or (
        _armor(_blob(public_key, signature, namespace)) != armored
    ):
        raise _bad("the signature is not of the one form we accept (ssh-ed25519, sha512, our namespace)")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _signed_bytes(message, namespace))
    except (InvalidSignature, ValueError):
        raise _bad("the signature does not fit the manifest") from None
    return public_key


def fingerprint(public_key: bytes) -> str:
    """Return `SHA256:…` of a 32-byte public key, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(_public_blob(public_key)).digest()
    return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode("ascii")


def public_key_line(public_key: bytes, comment: str = "") -> str:
    """Return `ssh-ed25519 AAAA… comment`, without a line end."""
    line = f"{_KEY_TYPE.decode()} {base64.b64encode(_public_blob(public_key)).decode('ascii')}"
    return f"{line} {comment}" if comment else line


def parse_public_key_line(line: str) -> tuple[bytes, str]:
    """Return the 32-byte public key and the comment of an OpenSSH public key line.

    Raises:
        ConfigError: it is not an ssh-ed25519 public key line (code `bad-public-key`).
    """
    kind, _, rest = line.strip().partition(" ")
    text, _, comment = rest.strip().partition(" ")
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        blob = b""
    public_key = blob[-_PUBLIC_KEY_BYTES:]
    if (
        kind.encode("utf-8", "replace") != _KEY_TYPE
        or len(public_key) != _PUBLIC_KEY_BYTES
        or _public_blob(public_key) != blob
    ):
        raise ConfigError(
            "this is not an ssh-ed25519 public key",
            hint="a public key is one line that begins with ssh-ed25519 AAAA, as in signing.pub",
            code="bad-public-key",
        )
    return public_key, comment.strip()


def private_key_text(key: Ed25519PrivateKey) -> bytes:
    """Return the unencrypted OpenSSH private key file: a secret, to be wrapped in an age file before it is stored."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def load_private_key(text: bytes) -> Ed25519PrivateKey:
    """Read what `private_key_text` wrote, or ssh-keygen without a passphrase.

    Raises:
        ConfigError: it is not an unencrypted Ed25519 private key (code `bad-private-key`).
    """
    try:
        key = serialization.load_ssh_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("this is not an unencrypted OpenSSH Ed25519 private key", code="bad-private-key")
    return key


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _public_blob(public_key: bytes) -> bytes:
    return _string(_KEY_TYPE) + _string(public_key)


def _signed_bytes(message: bytes, namespace: str) -> bytes:
    digest = hashlib.sha512(message).digest()
    return _MAGIC + _string(namespace.encode()) + _string(b"") + _string(_HASH) + _string(digest)


def _blob(public_key: bytes, signature: bytes, namespace: str) -> bytes:
    return (
        _MAGIC
        + _VERSION
        + _string(_public_blob(public_key))
        + _string(namespace.encode())
        + _string(b"")
        + _string(_HASH)
        + _string(_string(_KEY_TYPE) + _string(signature))
    )


def _armor(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = b"".join(text[at : at + _COLUMNS] + b"\n" for at in range(0, len(text), _COLUMNS))
    return _BEGIN + lines + _END


def _bad(message: str) -> BackupError:
    return BackupError(message, code="bad-signature")
