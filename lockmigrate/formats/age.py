"""age v1 encryption: streaming with bounded memory, and whole files as bytes.

Source: C2SP `age.md`. All primitives come from `cryptography`. A file opens with Debian's `age`, rage and typage, and
theirs open here. No consumer may act on decrypted data before `decrypt` has returned: only then is the last chunk, and
with it the length, authenticated.
"""

from __future__ import annotations

import hmac
import io
import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lockmigrate.errors import ConfigError, FileTrouble
from lockmigrate.formats import age_hybrid
from lockmigrate.formats.age_header import (
    INTRO,
    MAX_STANZAS,
    AgeArmorError,
    AgeHeaderError,
    AgeMacError,
    AgeNoMatchError,
    AgePayloadError,
    AgeTooLargeError,
    ArmorReader,
    ArmorWriter,
    ByteReader,
    Header,
    Sink,
    Source,
    Stanza,
    b64_encode,
    looks_armored,
    read_header,
)
from lockmigrate.formats.age_hybrid import HybridIdentity, HybridRecipient
from lockmigrate.formats.age_keys import (
    FILE_KEY_BYTES,
    MAX_READ_LOG_N,
    WRITE_LOG_N,
    FileKey,
    Identity,
    Passphrase,
    Recipient,
    X25519Identity,
    X25519Recipient,
    hkdf_sha256,
    read_work_factor,
)

__all__ = [
    "MAX_PLAIN_BYTES",
    "MAX_READ_LOG_N",
    "WRITE_LOG_N",
    "AgeArmorError",
    "AgeHeaderError",
    "AgeMacError",
    "AgeNoMatchError",
    "AgePayloadError",
    "AgeTooLargeError",
    "FileKey",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Passphrase",
    "Recipient",
    "SecretKey",
    "Sink",
    "Source",
    "X25519Identity",
    "X25519Recipient",
    "decrypt",
    "decrypt_bytes",
    "encrypt",
    "encrypt_bytes",
    "generate_identity",
    "generate_secret_key",
    "parse_identities",
    "parse_identity",
    "parse_recipient",
    "parse_recipients",
    "recipient_of",
    "work_factor",
]

MAX_PLAIN_BYTES: Final = 256 * 1024 * 1024
"""Ours, both ways."""
_CHUNK_BYTES: Final = 64 * 1024
_TAG_BYTES: Final = 16
_BOX_BYTES: Final = _CHUNK_BYTES + _TAG_BYTES
_NONCE_BYTES: Final = 16


# ---- keys as text ---------------------------------------------------------------------------------------------------


SecretKey: TypeAlias = X25519Identity | HybridIdentity
"""A private key of either kind: both have `reveal()`, `recipient` and `unwrap()`."""


def generate_secret_key(*, post_quantum: bool = False) -> SecretKey:
    """Make a new secret key; the post-quantum kind opens only where age 1.3 or newer is at hand.

    Raises:
        ConfigError: post-quantum, and this installation cannot (code `no-post-quantum`).
    """
    return HybridIdentity.generate() if post_quantum else X25519Identity.generate()


def generate_identity(post_quantum: bool = False) -> str:
    """Return a new secret key as text, `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`.

    Raises:
        ConfigError: see `generate_secret_key`.
    """
    return generate_secret_key(post_quantum=post_quantum).reveal()


def parse_identity(text: str) -> SecretKey:
    """Read a secret key of either kind.

    Raises:
        ConfigError: the text is no identity (code `bad-identity`); it is never repeated.
    """
    post_quantum = text.strip().upper().startswith(age_hybrid.IDENTITY_PREFIX + "1")
    return HybridIdentity.parse(text) if post_quantum else X25519Identity.parse(text)


def parse_recipient(text: str) -> X25519Recipient | HybridRecipient:
    """Read a recipient of either kind.

    Raises:
        ConfigError: the text is no recipient (code `bad-recipient`), or a post-quantum one where this installation
            cannot use it (`no-post-quantum`).
    """
    post_quantum = text.strip().lower().startswith(age_hybrid.RECIPIENT_PREFIX + "1")
    return HybridRecipient.parse(text) if post_quantum else X25519Recipient.parse(text)


def recipient_of(identity: str) -> str:
    """Return the recipient, `age1…` or `age1pq1…`, of a secret key.

    Raises:
        ConfigError: the text is no identity, or see `generate_secret_key`.
    """
    return str(parse_identity(identity).recipient)


def parse_identities(text: str) -> tuple[SecretKey, ...]:
    """Read an age identity file: one a line, blank lines and `#` comments skipped.

    Raises:
        ConfigError: a line is something else, or there is none.
    """
    found = tuple(parse_identity(line) for line in _key_lines(text))
    if not found:
        raise ConfigError("the identity file holds no identity", code="bad-identity")
    return found


def parse_recipients(text: str) -> tuple[str, ...]:
    """Read an age recipients file: one a line, blank lines and `#` comments skipped; it may be empty.

    Raises:
        ConfigError: a line is something else, or see `parse_recipient`.
    """
    return tuple(str(parse_recipient(line)) for line in _key_lines(text))


def _key_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# ---- streaming ------------------------------------------------------------------------------------------------------


def encrypt(source: Source, sink: Sink, recipients: Sequence[str | Recipient], *, armored: bool = False) -> FileKey:
    """Encrypt everything that `source` gives into `sink`, a chunk at a time.

    Args:
        recipients: texts (`age1…`, `age1pq1…`) or objects; a `Passphrase` must stand alone.
        armored: write the ASCII form.

    Returns:
        The file key with the stanzas just made, to verify the file with.

    Raises:
        ConfigError: no recipient, a malformed one, too many, or ones that cannot share a file.
        AgeTooLargeError: more than `MAX_PLAIN_BYTES`.
        FileTrouble: `source` or `sink` failed.
    """
    wrappers: list[Recipient] = [parse_recipient(each) if isinstance(each, str) else each for each in recipients]
    labels = {each.label for each in wrappers}
    if not wrappers:
        raise ConfigError("nobody to seal for: give a recipient or a passphrase", code="no-recipient")
    if len(wrappers) > MAX_STANZAS:
        raise ConfigError(
            f"at most {MAX_STANZAS} recipients fit in one file, not {len(wrappers)}", code="bad-recipient"
        )
    if len(labels) > 1 or ("scrypt" in labels and len(wrappers) > 1):
        raise ConfigError(
            "these recipients cannot share one file",
            hint="a passphrase must stand alone, and a post-quantum recipient protects only among its own kind",
            code="bad-recipient",
        )
    file_key = os.urandom(FILE_KEY_BYTES)
    stanzas = tuple(each.wrap(file_key) for each in wrappers)
    try:
        if armored:
            armor = ArmorWriter(sink)
            _write(source, armor, file_key, stanzas)
            armor.close()
        else:
            _write(source, sink, file_key, stanzas)
    except OSError as trouble:
        raise FileTrouble(f"cannot encrypt: {_cause(trouble)}") from trouble
    return FileKey(stanzas, file_key)


def decrypt(
    source: Source,
    sink: Sink,
    identities: Sequence[str | Identity],
    *,
    armored: bool | None = None,
    max_plain_bytes: int = MAX_PLAIN_BYTES,
) -> int:
    """Decrypt `source` into `sink`, a chunk at a time, each authenticated before it is written.

    What was written may be used only after this returned: an error can come as late as after the last chunk.

    Args:
        identities: texts (`AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…`) or objects (`Passphrase`, `FileKey`), tried in
            order.
        armored: None looks at the first bytes.

    Returns:
        The plaintext's size in bytes.

    Raises:
        AgeHeaderError, AgeArmorError: not an age file, or one over our limits (code `not-a-backup`).
        AgeNoMatchError: no identity opens it (code `wrong-key`).
        AgeMacError, AgePayloadError: damaged (code `corrupt`).
        AgeTooLargeError: the plaintext is over the limit (code `too-large`).
        ConfigError: an identity's text is malformed.
        FileTrouble: `source` or `sink` failed.
    """
    keys: list[Identity] = [parse_identity(each) if isinstance(each, str) else each for each in identities]
    try:
        reader = ByteReader(source)
        if looks_armored(reader) if armored is None else armored:
            reader = ByteReader(ArmorReader(reader))
        header = read_header(reader)
        file_key = _unwrap(header, keys)
        if not hmac.compare_digest(_mac(file_key, header.authenticated), header.mac):
            raise AgeMacError("the file's header was changed after it was written")
        nonce = reader.read(_NONCE_BYTES)
        if len(nonce) != _NONCE_BYTES:
            raise AgeHeaderError("the file is cut short after its header")
        return _read_payload(reader, sink, _payload_cipher(file_key, nonce), max_plain_bytes)
    except OSError as trouble:
        raise FileTrouble(f"cannot decrypt: {_cause(trouble)}") from trouble


def _cause(trouble: OSError) -> str:
    return (trouble.strerror or "input or output failed").lower()


def _mac(file_key: bytes, authenticated: bytes) -> bytes:
    return hmac.digest(hkdf_sha256(file_key, salt=b"", info=b"header"), authenticated, "sha256")


def _payload_cipher(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hkdf_sha256(file_key, salt=nonce, info=b"payload"))


def _chunk_nonce(counter: int, *, last: bool) -> bytes:
    """11 bytes of big-endian counter, then 1 for the last chunk."""
    return counter.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _unwrap(header: Header, identities: Sequence[Identity]) -> bytes:
    by_passphrase = any(stanza.kind == b"scrypt" for stanza in header.stanzas)
    if by_passphrase and len(header.stanzas) > 1:
        raise AgeHeaderError("the file mixes a passphrase with other recipients, which age forbids")
    for identity in identities:
        file_key = identity.unwrap(header.stanzas)
        if file_key is not None:
            if len(file_key) != FILE_KEY_BYTES:
                raise AgeHeaderError("the file's key has the wrong size")
            return file_key
    if by_passphrase and any(isinstance(each, Passphrase) for each in identities):
        raise AgeNoMatchError(
            "the passphrase does not open the file", hint="check capitals, spaces and the keyboard layout"
        )
    if by_passphrase:
        raise AgeNoMatchError("the file is sealed with a passphrase", hint="give its passphrase instead of an identity")
    if identities and all(isinstance(each, Passphrase) for each in identities):
        raise AgeNoMatchError(
            "the file is sealed for recipients, not with a passphrase", hint="give an identity that opens it"
        )
    raise AgeNoMatchError("no identity opens the file", hint="it was sealed for other recipients")


def _write(source: Source, sink: Sink, file_key: bytes, stanzas: Sequence[Stanza]) -> None:
    authenticated = INTRO + b"".join(stanza.marshal() for stanza in stanzas) + b"---"
    nonce = os.urandom(_NONCE_BYTES)
    sink.write(authenticated + b" " + b64_encode(_mac(file_key, authenticated)) + b"\n" + nonce)
    cipher = _payload_cipher(file_key, nonce)
    reader = ByteReader(source)
    counter, total, chunk = 0, 0, reader.read(_CHUNK_BYTES)
    while True:
        total += len(chunk)
        if total > MAX_PLAIN_BYTES:
            raise AgeTooLargeError(f"more than {MAX_PLAIN_BYTES} bytes cannot be sealed in one file")
        # One chunk ahead: a full chunk is the last one if nothing follows; only an empty payload ends in an empty one.
        ahead = reader.read(_CHUNK_BYTES) if len(chunk) == _CHUNK_BYTES else b""
        sink.write(cipher.encrypt(_chunk_nonce(counter, last=not ahead), chunk, None))
        if not ahead:
            return
        chunk, counter = ahead, counter + 1


def _read_payload(reader: ByteReader, sink: Sink, cipher: ChaCha20Poly1305, max_plain_bytes: int) -> int:
    counter = total = 0
    box = reader.read(_BOX_BYTES)
    while True:
        if len(box) < _TAG_BYTES or (counter and len(box) == _TAG_BYTES):
            raise AgePayloadError("the file is cut short")
        total += len(box) - _TAG_BYTES
        if total > max_plain_bytes:
            raise AgeTooLargeError(f"the file holds more than {max_plain_bytes} bytes")
        # A full chunk is the last one if nothing follows. If that is not what it says, it is authentic all the same,
        # and the file is cut short or too long.
        full = len(box) == _BOX_BYTES
        ahead = reader.read(_BOX_BYTES) if full else b""
        last = not ahead
        plain = _open_chunk(cipher, _chunk_nonce(counter, last=last), box)
        if plain is None and full:
            last = not last
            plain = _open_chunk(cipher, _chunk_nonce(counter, last=last), box)
        if plain is None:
            raise AgePayloadError("the file is damaged: a part of it does not authenticate")
        sink.write(plain)
        if last:
            # A short chunk has been read to the end already, but armor may still have to end.
            if ahead or reader.read(1):
                raise AgePayloadError("the file is damaged: data follows its end")
            return total
        box, counter = ahead, counter + 1


def _open_chunk(cipher: ChaCha20Poly1305, nonce: bytes, box: bytes) -> bytes | None:
    try:
        return cipher.decrypt(nonce, box, None)
    except InvalidTag:
        return None


# ---- whole files as bytes -------------------------------------------------------------------------------------------


def encrypt_bytes(
    data: bytes,
    *,
    recipients: Sequence[str | Recipient] = (),
    passphrase: str | None = None,
    log_n: int = WRITE_LOG_N,
    armored: bool = False,
) -> bytes:
    """Encrypt `data` for recipients, or with a passphrase (its text exactly as given).

    Raises:
        ConfigError: neither, both, or a malformed one.
        AgeTooLargeError: `data` is over the limit.
    """
    wrappers: list[str | Recipient] = list(recipients)
    if passphrase is not None:
        wrappers.append(Passphrase.of(passphrase, log_n=log_n))
    out = io.BytesIO()
    encrypt(io.BytesIO(data), out, wrappers, armored=armored)
    return out.getvalue()


def decrypt_bytes(data: bytes, *, identities: Sequence[str | Identity] = (), passphrase: str | None = None) -> bytes:
    """Decrypt `data`, binary or armored, and return the plaintext once all of it is authenticated.

    Raises:
        BackupError: see `decrypt`.
        ConfigError: an identity's text is malformed, or the passphrase is empty.
    """
    keys: list[str | Identity] = list(identities)
    if passphrase is not None:
        keys.append(Passphrase.of(passphrase))
    out = io.BytesIO()
    decrypt(io.BytesIO(data), out, keys)
    return out.getvalue()


def work_factor(data: bytes) -> int | None:
    """Return scrypt's log2 N of a passphrase file, None for one sealed for recipients; needs no key.

    Raises:
        AgeHeaderError, AgeArmorError: not an age file.
    """
    reader = ByteReader(io.BytesIO(data))
    if looks_armored(reader):
        reader = ByteReader(ArmorReader(reader))
    stanzas = read_header(reader).stanzas
    return read_work_factor(stanzas[0]) if stanzas[0].kind == b"scrypt" else None
