"""Post-quantum keys for age files: ML-KEM-768 and X25519 together, so that both would have to be broken.

Source: C2SP `age.md`, section "mlkem768x25519 recipient stanza" (HPKE base mode, HKDF-SHA256, ChaCha20-Poly1305, empty
aad), and FiloSottile/hpke `hpke-pq.md` for the expansion of the 32-byte seed. All of it comes from `cryptography`; its
part for it is imported when such a key is first used. An installation whose OpenSSL has no ML-KEM says so; nothing ever
falls back to X25519 alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from lockmigrate.errors import ConfigError
from lockmigrate.formats.age_header import AgeHeaderError, Stanza, b64_decode, b64_encode
from lockmigrate.formats.age_keys import FILE_KEY_BYTES, check_wrapped_key
from lockmigrate.formats.bech32 import bech32_decode, bech32_encode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hpke
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

KIND: Final = b"mlkem768x25519"
RECIPIENT_PREFIX: Final = "age1pq"
IDENTITY_PREFIX: Final = "AGE-SECRET-KEY-PQ-"

_INFO: Final = b"age-encryption.org/mlkem768x25519"
_SEED_BYTES: Final = 32
_MLKEM_SEED_BYTES: Final = 64
_X25519_BYTES: Final = 32
_MLKEM_PUBLIC_BYTES: Final = 1184
"""FIPS 203, ML-KEM-768's encapsulation key."""
_MLKEM_CIPHERTEXT_BYTES: Final = 1088
"""FIPS 203, ML-KEM-768's ciphertext."""
_PUBLIC_BYTES: Final = _MLKEM_PUBLIC_BYTES + _X25519_BYTES
_ENC_BYTES: Final = _MLKEM_CIPHERTEXT_BYTES + _X25519_BYTES


@dataclass(frozen=True, slots=True)
class HybridRecipient:
    """A public key; `str()` is its text, `age1pq1…`."""

    raw: bytes
    """1,216 bytes: ML-KEM-768's, then X25519's."""

    @classmethod
    def parse(cls, text: str) -> HybridRecipient:
        """Read `age1pq1…`.

        Raises:
            ConfigError: it is something else (code `bad-recipient`), or this installation has no ML-KEM
                (`no-post-quantum`).
        """
        try:
            prefix, raw = bech32_decode(text.strip())
        except ValueError:
            prefix, raw = "", b""
        if prefix != RECIPIENT_PREFIX or len(raw) != _PUBLIC_BYTES:
            raise ConfigError(
                "this is not a post-quantum age recipient",
                hint="such a recipient begins with age1pq1 and is shown by keys show",
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
        """The kind that may share a file: beside an X25519 stanza the post-quantum one would protect nothing."""
        return KIND.decode("ascii")

    def __str__(self) -> str:
        return bech32_encode(RECIPIENT_PREFIX, self.raw)

    def wrap(self, file_key: bytes) -> Stanza:
        """Encapsulate to both keys and wrap.

        Raises:
            ConfigError: this installation has no ML-KEM.
        """
        try:
            from cryptography.hazmat.primitives import hpke
            from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

            mlkem = MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_BYTES])
            x25519 = X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:])
            boxed = _suite().encrypt(file_key, hpke.MLKEM768X25519PublicKey(mlkem, x25519), info=_INFO)
        except (ImportError, AttributeError, UnsupportedAlgorithm):
            raise _unsupported() from None
        return Stanza((KIND, b64_encode(boxed[:_ENC_BYTES])), boxed[_ENC_BYTES:])


@dataclass(frozen=True, slots=True)
class HybridIdentity:
    """A private key; it prints as its kind only."""

    raw: bytes = field(repr=False)
    """The seed, 32 bytes, secret."""

    @classmethod
    def generate(cls) -> HybridIdentity:
        """Make a new one.

        Raises:
            ConfigError: this installation has no ML-KEM.
        """
        identity = cls(os.urandom(_SEED_BYTES))
        identity.recipient.wrap(bytes(FILE_KEY_BYTES))
        return identity

    @classmethod
    def parse(cls, text: str) -> HybridIdentity:
        """Read `AGE-SECRET-KEY-PQ-1…`; whether ML-KEM is there shows at first use.

        Raises:
            ConfigError: it is something else (code `bad-identity`); the text is never repeated.
        """
        try:
            prefix, raw = bech32_decode(text.strip())
        except ValueError:
            prefix, raw = "", b""
        if prefix != IDENTITY_PREFIX or len(raw) != _SEED_BYTES:
            raise ConfigError(
                "this is not a post-quantum age identity",
                hint="such an identity begins with AGE-SECRET-KEY-PQ-1",
                code="bad-identity",
            )
        return cls(raw)

    def reveal(self) -> str:
        """Return the secret text."""
        return bech32_encode(IDENTITY_PREFIX, self.raw)

    def __str__(self) -> str:
        # No key is derived for a log line: an installation without ML-KEM must be able to print its objects.
        return "HybridIdentity()"

    @property
    def recipient(self) -> HybridRecipient:
        """The public half.

        Raises:
            ConfigError: this installation has no ML-KEM.
        """
        mlkem, x25519 = self._expand()
        return HybridRecipient(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity`; without a stanza of our kind nothing is imported.

        Raises:
            AgeHeaderError: a stanza of our kind is malformed.
            ConfigError: this installation has no ML-KEM.
        """
        for stanza in stanzas:
            if stanza.kind != KIND:
                continue
            if len(stanza.args) != 2:
                raise AgeHeaderError("the file's header holds a malformed post-quantum recipient")
            enc = b64_decode(stanza.args[1])
            if len(enc) != _ENC_BYTES:
                raise AgeHeaderError("the file's header holds a post-quantum share of the wrong size")
            check_wrapped_key(stanza)
            file_key = self._open(enc, stanza.body)
            if file_key is not None:
                return file_key
        return None

    def _open(self, enc: bytes, body: bytes) -> bytes | None:
        mlkem, x25519 = self._expand()
        try:
            # HPKE reports a low-order share as a wrong key; the spec wants the whole file refused. So: ask first.
            x25519.exchange(X25519PublicKey.from_public_bytes(enc[_MLKEM_CIPHERTEXT_BYTES:]))
        except ValueError:
            raise AgeHeaderError("the file's header holds a low-order X25519 share") from None
        try:
            from cryptography.hazmat.primitives import hpke

            return _suite().decrypt(enc + body, hpke.MLKEM768X25519PrivateKey(mlkem, x25519), info=_INFO)
        except InvalidTag:
            return None
        except (ImportError, AttributeError, UnsupportedAlgorithm):
            raise _unsupported() from None

    def _expand(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        """SHAKE256(seed, 96): 64 bytes of ML-KEM's seed, then the X25519 private key."""
        try:
            from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

            shake = hashes.Hash(hashes.SHAKE256(_MLKEM_SEED_BYTES + _X25519_BYTES))
            shake.update(self.raw)
            seeds = shake.finalize()
            mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[:_MLKEM_SEED_BYTES])
        except (ImportError, AttributeError, UnsupportedAlgorithm):
            raise _unsupported() from None
        return mlkem, X25519PrivateKey.from_private_bytes(seeds[_MLKEM_SEED_BYTES:])


def _suite() -> hpke.Suite:
    from cryptography.hazmat.primitives import hpke

    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def _unsupported() -> ConfigError:
    return ConfigError(
        "this installation has no post-quantum support",
        hint="it needs the cryptography package of version 47 or newer on an OpenSSL that has ML-KEM-768",
        code="no-post-quantum",
    )
