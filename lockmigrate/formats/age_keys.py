"""age recipients (who a file is sealed for) and identities (what opens it): X25519, passphrase, and a known file key.

Source: C2SP `age.md`, sections "X25519 recipient stanza" and "scrypt recipient stanza". A recipient wraps the 16-byte
file key into a stanza; an identity unwraps it. A further kind of recipient is one more class with `label` and `wrap`.
Nothing secret shows in a `repr`; `X25519Identity.reveal` is the one loud method.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lockmigrate.errors import ConfigError
from lockmigrate.formats.age_header import AgeHeaderError, AgeMacError, Stanza, b64_decode, b64_encode
from lockmigrate.formats.bech32 import bech32_decode, bech32_encode

FILE_KEY_BYTES: Final = 16
WRAPPED_KEY_BYTES: Final = 32
"""File key and its 16-byte tag."""
MAX_READ_LOG_N: Final = 20
"""Ours: 1 GiB and about 4 s. The Go tool takes 22, which is 4 GiB."""
WRITE_LOG_N: Final = 18
"""scrypt's log2 N for a person's passphrase: 256 MiB and about 1 s; the Go tool's default too."""

_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_SCRYPT_SALT: Final = b"age-encryption.org/v1/scrypt"
_SCRYPT_SALT_BYTES: Final = 16
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_ZERO_NONCE: Final = bytes(12)
"""Every wrap key is used once, so `age.md` fixes the nonce."""
_RECIPIENT_PREFIX: Final = "age"
_IDENTITY_PREFIX: Final = "AGE-SECRET-KEY-"


class Recipient(Protocol):
    """Whoever a file key can be wrapped for."""

    @property
    def label(self) -> str:
        """Recipients share a file only if their labels are equal; `scrypt` stands alone."""

    def wrap(self, file_key: bytes) -> Stanza:
        """Wrap the file key into a new stanza."""


class Identity(Protocol):
    """Whatever can unwrap a file key."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key, or None if no stanza is ours; AgeHeaderError if one of our kind is malformed."""


def hkdf_sha256(key: bytes, *, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA256, the only key derivation in age beside scrypt."""
    return HKDF(hashes.SHA256(), 32, salt or None, info).derive(key)


def _seal_key(wrap_key: bytes, file_key: bytes) -> bytes:
    return ChaCha20Poly1305(wrap_key).encrypt(_ZERO_NONCE, file_key, None)


def _open_key(wrap_key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(wrap_key).decrypt(_ZERO_NONCE, body, None)
    except InvalidTag:
        return None


def check_wrapped_key(stanza: Stanza) -> None:
    """Refuse a wrapped key that is not 32 bytes.

    Raises:
        AgeHeaderError: it is not.
    """
    # Checked before decrypting: a longer body could be a partitioning oracle (`age.md`).
    if len(stanza.body) != WRAPPED_KEY_BYTES:
        raise AgeHeaderError("the file's header holds a wrapped key of the wrong size")


# ---- X25519 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class X25519Recipient:
    """A public key; `str()` is its text, `age1…`."""

    raw: bytes
    """32 bytes."""

    @classmethod
    def parse(cls, text: str) -> X25519Recipient:
        """Read `age1…`.

        Raises:
            ConfigError: it is something else (code `bad-recipient`).
        """
        try:
            prefix, raw = bech32_decode(text.strip())
        except ValueError:
            prefix, raw = "", b""
        if prefix != _RECIPIENT_PREFIX or len(raw) != 32:
            # The text is not repeated: people paste the secret key by mistake.
            raise ConfigError(
                "this is not an age recipient",
                hint="a recipient begins with age1 and is shown by keys show",
                code="bad-recipient",
            )
        recipient = cls(raw)
        try:
            recipient.wrap(bytes(FILE_KEY_BYTES))
        except ValueError:
            raise ConfigError("this age recipient is not a usable key", code="bad-recipient") from None
        return recipient

    @property
    def label(self) -> str:
        """The kind that may share a file."""
        return "X25519"

    def __str__(self) -> str:
        return bech32_encode(_RECIPIENT_PREFIX, self.raw)

    def wrap(self, file_key: bytes) -> Stanza:
        """Wrap with a fresh ephemeral key."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self.raw))
        wrap_key = hkdf_sha256(shared, salt=share + self.raw, info=_X25519_INFO)
        return Stanza((b"X25519", b64_encode(share)), _seal_key(wrap_key, file_key))


@dataclass(frozen=True, slots=True)
class X25519Identity:
    """A private key; it prints as its recipient only."""

    raw: bytes = field(repr=False)
    """32 bytes, secret."""

    @classmethod
    def generate(cls) -> X25519Identity:
        """Make a new one."""
        return cls(os.urandom(32))

    @classmethod
    def parse(cls, text: str) -> X25519Identity:
        """Read `AGE-SECRET-KEY-1…`.

        Raises:
            ConfigError: it is something else (code `bad-identity`); the text is never repeated.
        """
        try:
            prefix, raw = bech32_decode(text.strip())
        except ValueError:
            prefix, raw = "", b""
        if prefix != _IDENTITY_PREFIX or len(raw) != 32:
            raise ConfigError(
                "this is not an age identity", hint="an identity begins with AGE-SECRET-KEY-1", code="bad-identity"
            )
        return cls(raw)

    def reveal(self) -> str:
        """Return the secret text."""
        return bech32_encode(_IDENTITY_PREFIX, self.raw)

    def __str__(self) -> str:
        return f"X25519Identity({self.recipient})"

    @property
    def recipient(self) -> X25519Recipient:
        """The public half."""
        return X25519Recipient(X25519PrivateKey.from_private_bytes(self.raw).public_key().public_bytes_raw())

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity`."""
        for stanza in stanzas:
            if stanza.kind != b"X25519":
                continue
            if len(stanza.args) != 2:
                raise AgeHeaderError("the file's header holds a malformed X25519 recipient")
            share = b64_decode(stanza.args[1])
            if len(share) != 32:
                raise AgeHeaderError("the file's header holds an X25519 share of the wrong size")
            check_wrapped_key(stanza)
            key = X25519PrivateKey.from_private_bytes(self.raw)
            try:
                shared = key.exchange(X25519PublicKey.from_public_bytes(share))
            except ValueError:
                # `cryptography` refuses an all-zero shared secret; the spec wants the whole file refused.
                raise AgeHeaderError("the file's header holds a low-order X25519 share") from None
            wrap_key = hkdf_sha256(shared, salt=share + key.public_key().public_bytes_raw(), info=_X25519_INFO)
            file_key = _open_key(wrap_key, stanza.body)
            if file_key is not None:
                return file_key
        return None


# ---- passphrase -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase, recipient and identity at once. age hashes its bytes: normalise text to NFC where it is typed."""

    raw: bytes = field(repr=False)
    """UTF-8, secret."""
    log_n: int = WRITE_LOG_N
    """scrypt's log2 N for writing."""
    max_log_n: int = MAX_READ_LOG_N
    """A file that asks for more is refused without hashing."""

    @classmethod
    def of(cls, text: str, *, log_n: int = WRITE_LOG_N) -> Passphrase:
        """Take the text as it is.

        Raises:
            ConfigError: it is empty or not encodable (code `bad-passphrase`), or `log_n` is not 1 to 20.
        """
        if not 1 <= log_n <= MAX_READ_LOG_N:
            raise ConfigError(f"the scrypt work factor must be between 1 and {MAX_READ_LOG_N}, not {log_n}")
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigError("the passphrase holds characters that cannot be encoded", code="bad-passphrase") from None
        if not raw:
            raise ConfigError("the passphrase is empty", code="bad-passphrase")
        return cls(raw, log_n)

    @property
    def label(self) -> str:
        """Stands alone in its file."""
        return "scrypt"

    def wrap(self, file_key: bytes) -> Stanza:
        """Hash (slow on purpose; it releases the interpreter lock) and wrap."""
        salt = os.urandom(_SCRYPT_SALT_BYTES)
        args = (b"scrypt", b64_encode(salt), b"%d" % self.log_n)
        return Stanza(args, _seal_key(self._wrap_key(salt, self.log_n), file_key))

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity`."""
        for stanza in stanzas:
            if stanza.kind != b"scrypt":
                continue
            if len(stanza.args) != 3:
                raise AgeHeaderError("the file's header holds a malformed passphrase recipient")
            salt = b64_decode(stanza.args[1])
            if len(salt) != _SCRYPT_SALT_BYTES:
                raise AgeHeaderError("the file's header holds a passphrase salt of the wrong size")
            log_n = read_work_factor(stanza)
            check_wrapped_key(stanza)
            if log_n > self.max_log_n:
                raise AgeHeaderError(
                    f"the file asks for scrypt work factor {log_n}, over our limit of {self.max_log_n}"
                )
            file_key = _open_key(self._wrap_key(salt, log_n), stanza.body)
            if file_key is not None:
                return file_key
        return None

    def _wrap_key(self, salt: bytes, log_n: int) -> bytes:
        try:
            scrypt = Scrypt(salt=_SCRYPT_SALT + salt, length=32, n=1 << log_n, r=_SCRYPT_R, p=_SCRYPT_P)
            return scrypt.derive(self.raw)
        except MemoryError:
            raise ConfigError(
                f"not enough memory for the passphrase: scrypt work factor {log_n} needs {1 << max(log_n - 10, 0)} MiB",
                hint="close other programs, or use a computer with more memory",
            ) from None


def read_work_factor(stanza: Stanza) -> int:
    """Return log2 N of a scrypt stanza; the digits are limited before they become a number.

    Raises:
        AgeHeaderError: it is not a plain positive number.
    """
    if len(stanza.args) != 3 or re.fullmatch(rb"[1-9][0-9]{0,5}", stanza.args[2]) is None:
        raise AgeHeaderError("the file's header holds a malformed scrypt work factor")
    return int(stanza.args[2])


# ---- a key still in memory ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileKey:
    """The key of a file just written, and its stanzas: opens that very file again without an identity."""

    stanzas: tuple[Stanza, ...] = field(repr=False)
    raw: bytes = field(repr=False)
    """16 bytes, secret."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key if the stanzas are the ones just made.

        Raises:
            AgeMacError: they are not.
        """
        if tuple(stanzas) != self.stanzas:
            raise AgeMacError("the file's header is not the one just written")
        return self.raw
