"""The backup file: an age file around a canonical archive whose signed manifest lists every entry.

`open_backup` checks in a fixed order and fails closed: size, age header, key, every chunk, archive, signature, signer,
JSON and schema, entries. The bytes verified are the bytes used: one buffer, no second read. Whether the signer is
trusted is asked through a callable, because trust is the vault's; profile, freshness, target and rehearsal are asked by
operations.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockmigrate.errors import BackupError, FileTrouble, PolicyError
from lockmigrate.formats import sshsig
from lockmigrate.formats.age import (
    MAX_PLAIN_BYTES,
    WRITE_LOG_N,
    FileKey,
    Identity,
    Passphrase,
    Recipient,
    decrypt,
    encrypt,
    parse_recipient,
)
from lockmigrate.formats.archive import read_archive, write_archive
from lockmigrate.formats.files import PRIVATE_MODE, read_whole, write_whole
from lockmigrate.formats.manifest import (
    ENTRY_NAME,
    MAX_MANIFEST_BYTES,
    SCHEMA,
    check_entries,
    list_entries,
    read_manifest,
    read_time,
    write_manifest,
    write_time,
)

MANIFEST_NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "manifest.json.sig"
MAX_FILE_BYTES: Final = MAX_PLAIN_BYTES // 3 * 4 + 8 * 1024 * 1024
"""The largest plaintext, encrypted and armored, with room for tags, header and line ends."""

DateCheck = Callable[[datetime], None]
"""Takes `created_at`; raises PolicyError if the signer was not valid then."""
SignerCheck = Callable[[str, bytes], DateCheck | None]
"""Takes the signer's fingerprint and 32-byte public key; raises PolicyError if it is not trusted. Called before any
JSON is parsed; what it returns is called with `created_at` once the manifest is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBackup:
    """A backup whose checks all passed. Its contents never show in a `repr`."""

    manifest: dict[str, Any] = field(repr=False)
    manifest_sha256: str
    """Hexadecimal: the backup's fingerprint on screen and paper."""
    entries: dict[str, bytes] = field(repr=False)
    """By name, in the archive's order; without manifest and signature."""
    signer: str
    """`SHA256:…`."""
    signer_public_key: bytes
    """32 bytes."""
    backup_id: str
    """32 hexadecimal digits."""
    created_at: datetime


def new_backup_id() -> str:
    """Return 16 random bytes as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def default_name(backup_id: str) -> str:
    """Return `backup-<26 base32 characters>.age`: tells nothing about unit, site or date.

    Raises:
        BackupError: `backup_id` is not 32 hexadecimal digits (code `malformed`).
    """
    try:
        raw = bytes.fromhex(backup_id)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise BackupError("a backup_id is 32 hexadecimal digits", code="malformed")
    return f"backup-{base64.b32encode(raw).decode('ascii').rstrip('=')}.age"


def seal(
    meta: Mapping[str, Any],
    entries: Mapping[str, bytes],
    *,
    recipients: Sequence[str | Recipient],
    passphrase: str | None = None,
    signing_key: Ed25519PrivateKey,
    log_n: int = WRITE_LOG_N,
) -> tuple[bytes, FileKey]:
    """Sign, then encrypt.

    Args:
        meta: the manifest's fields; `schema`, `entries`, `operator.key` and `recipients` are set here, and `critical`,
            `backup_id` and `created_at` if absent.
        entries: data by entry name, such as `raw/0001-index.bin`.
        recipients: texts (`age1…`), none with a passphrase.
        passphrase: normalised to NFC here.
        log_n: scrypt's log2 N.

    Returns:
        The file's bytes, and its key for `write_backup`.

    Raises:
        BackupError: a field or name is not allowed (`malformed`), or it is too much (`too-large`).
        ConfigError: the recipients are malformed or cannot share a file.
    """
    for name in entries:
        if ENTRY_NAME.fullmatch(name) is None:
            raise BackupError("an entry has a name that is not allowed in a backup", code="malformed")
    wrappers: list[Recipient] = [
        parse_recipient(each) if isinstance(each, str) else each for each in dict.fromkeys(recipients)
    ]
    digests = [hashlib.sha256(str(each).encode("utf-8")).hexdigest() for each in wrappers if each.label != "scrypt"]
    if passphrase is not None:
        wrappers.append(Passphrase.of(unicodedata.normalize("NFC", passphrase), log_n=log_n))
    signer = sshsig.fingerprint(signing_key.public_key().public_bytes_raw())
    ordered = sorted(entries.items())
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "critical": [],
        "backup_id": new_backup_id(),
        "created_at": write_time(datetime.now(UTC)),
        **meta,
    }
    fields |= {
        "schema": SCHEMA,
        "operator": {**(meta.get("operator") or {}), "key": signer},
        "recipients": digests,
        "entries": list_entries(ordered),
    }
    manifest = write_manifest(fields)
    plain = write_archive([(MANIFEST_NAME, manifest), (SIGNATURE_NAME, sshsig.sign(manifest, signing_key)), *ordered])
    sealed = BytesIO()
    file_key = encrypt(BytesIO(plain), sealed, wrappers)
    return sealed.getvalue(), file_key


def open_backup(
    data: bytes,
    *,
    identities: Sequence[str | Identity] = (),
    passphrase: str | None = None,
    check_signer: SignerCheck | None = None,
) -> OpenedBackup:
    """Decrypt and check everything that a file can be checked for by itself.

    Args:
        identities: texts (`AGE-SECRET-KEY-1…`) or objects, tried in order.
        passphrase: of a backup sealed with one; normalised to NFC here.
        check_signer: see `SignerCheck`; None asks nobody, so that the backup of an unknown signer can be inspected.

    Raises:
        BackupError: code `too-large`, `not-a-backup`, `corrupt`, `malformed`, `bad-signature` or `unsupported`.
        WrongKeyError: no identity or passphrase opens it.
        PolicyError: it is not signed at all (`unsigned`), or `check_signer` refuses (`untrusted`).
        ConfigError: an identity's text is malformed.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BackupError(f"the file is over {MAX_FILE_BYTES} bytes", code="too-large")
    keys: list[str | Identity] = list(identities)
    if passphrase is not None:
        keys.append(Passphrase.of(unicodedata.normalize("NFC", passphrase)))
    plain = BytesIO()
    decrypt(BytesIO(data), plain, keys)
    return _open_plain(plain.getvalue(), check_signer)


def _open_plain(plain: bytes, check_signer: SignerCheck | None) -> OpenedBackup:
    listed = read_archive(plain)
    names = [name for name, _ in listed]
    if names[:1] != [MANIFEST_NAME]:
        raise BackupError("the file does not begin with a manifest, so it is not a backup of ours", code="malformed")
    if SIGNATURE_NAME not in names:
        raise PolicyError("the backup is not signed", hint="nothing tells who made it: make a new one", code="unsigned")
    if names[1] != SIGNATURE_NAME:
        raise BackupError("the backup's signature is not in its place", code="malformed")
    raw, signature, entries = listed[0][1], listed[1][1], listed[2:]
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BackupError(f"the manifest is over {MAX_MANIFEST_BYTES} bytes", code="malformed")
    public_key = sshsig.verify(raw, signature)
    signer = sshsig.fingerprint(public_key)
    check_date = check_signer(signer, public_key) if check_signer is not None else None
    fields, manifest = read_manifest(raw)
    created_at = read_time(manifest.created_at)
    if manifest.operator.key != signer:
        raise BackupError("the manifest names another signer than the one who signed it", code="malformed")
    if check_date is not None:
        check_date(created_at)
    check_entries(manifest, entries)
    return OpenedBackup(
        manifest=fields,
        manifest_sha256=hashlib.sha256(raw).hexdigest(),
        entries=dict(entries),
        signer=signer,
        signer_public_key=public_key,
        backup_id=manifest.backup_id,
        created_at=created_at,
    )


# ---- on disk --------------------------------------------------------------------------------------------------------


def read_backup(path: Path) -> bytes:
    """Return a backup file's bytes, for `open_backup`.

    Raises:
        BackupError: it is not a regular file (`not-a-backup`), or over the limit (`too-large`).
        FileTrouble: it cannot be read.
    """
    data = read_whole(path, max_bytes=MAX_FILE_BYTES)
    if data is not None:
        return data
    if path.is_file():
        raise BackupError(f"{path} is over {MAX_FILE_BYTES} bytes", code="too-large")
    raise BackupError(f"{path} is not a regular file, so not a backup", code="not-a-backup")


def write_backup(path: Path, data: bytes, file_key: FileKey, *, force: bool = False) -> OpenedBackup:
    """Write a sealed backup, read it back from the disk, verify all of it, and only then give it its name.

    Args:
        path: where to; an existing file is replaced only with `force`.
        data, file_key: what `seal` returned.

    Returns:
        The backup as read back.

    Raises:
        FileTrouble: it cannot be written or does not read back (code `write-check`); nothing is left behind.
    """

    def check(temporary: Path) -> OpenedBackup:
        try:
            return open_backup(read_backup(temporary), identities=[file_key])
        except (BackupError, PolicyError) as cause:
            raise FileTrouble(
                f"{path} does not read back as it was written: {cause.message}",
                hint="the disk may be failing: choose another place",
                code="write-check",
            ) from cause

    opened = write_whole(path, data, mode=PRIVATE_MODE, replace=force, check=check)
    if opened is None:  # pragma: no cover - `check` always returns
        raise FileTrouble(f"{path} was not read back", code="write-check")
    return opened
